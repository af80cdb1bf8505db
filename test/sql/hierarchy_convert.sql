-- From one form of a hierarchy to another, and back.
\getenv srcdir PG_ABS_SRCDIR
\set include :srcdir '/sql/include/hierarchy.sql'
\i :include

CREATE TABLE n (id int PRIMARY KEY, parent_id int REFERENCES n, name varchar, pos smallint,
                path text, lft int, rgt bigint, root int, depth smallint);
INSERT INTO n (id, parent_id, name, pos) VALUES
    (1, NULL, 'Top', 2), (2, 1, 'Science & Art', 2), (3, 1, 'Hobbies', 1), (4, 2, 'Astronomy', 1),
    (5, 4, 'Stars', NULL), (6, 4, 'Cosmology', 3), (10, NULL, 'Other', 1), (11, 10, 'Top', 1);
CREATE TABLE want AS SELECT id, parent_id FROM n;
-- Forgets the parents, and tells afterwards whether they came back.
CREATE FUNCTION forget() RETURNS void LANGUAGE sql AS 'UPDATE t.n SET parent_id = NULL';
CREATE VIEW lost AS SELECT w.id, w.parent_id AS want, n.parent_id AS got
    FROM want w FULL JOIN n USING (id) WHERE w.parent_id IS DISTINCT FROM n.parent_id;

-- Adjacency list to paths: of keys, and of another column.
SELECT dbpatterns.adjacency_to_ltree('n', 'parent_id', 'path');
SELECT id, path FROM n ORDER BY id;
-- What is there already is not written again.
SELECT dbpatterns.adjacency_to_ltree('n', 'parent_id', 'path');
SELECT dbpatterns.adjacency_to_ltree('n', 'parent_id', 'path', label => 'name');
SELECT id, path FROM n ORDER BY id;
-- And back.
SELECT forget();
SELECT dbpatterns.adjacency_from_ltree('n', 'parent_id', 'path');
TABLE lost;
SELECT dbpatterns.adjacency_from_ltree('n', 'parent_id', 'path');

-- Nested sets: one numbering for all trees.
SELECT dbpatterns.adjacency_to_nested_set('n', 'parent_id', 'lft', 'rgt', order_by => 'pos');
SELECT id, lft, rgt FROM n ORDER BY lft;
SELECT forget();
SELECT dbpatterns.adjacency_from_nested_set('n', 'parent_id', 'lft', 'rgt');
TABLE lost;
-- With gaps it is the same.
UPDATE n SET lft = lft * 10 - 3, rgt = rgt * 10 + 3;
SELECT dbpatterns.adjacency_from_nested_set('n', 'parent_id', 'lft', 'rgt');
-- A numbering for each tree.
SELECT dbpatterns.adjacency_to_nested_set('n', '{parent_id}', 'lft', 'rgt', 'root', 'depth');
SELECT root, lft, rgt, depth, id FROM n ORDER BY root, lft;
SELECT forget();
SELECT dbpatterns.adjacency_from_nested_set('n', ARRAY['parent_id'], 'lft', 'rgt', tree => '{root}');
TABLE lost;

-- Pairs.
CREATE TABLE pairs (up int, down int, distance int, PRIMARY KEY (up, down));
SELECT dbpatterns.adjacency_to_closure('n', 'parent_id', 'pairs', '{up}', '{down}', 'distance');
SELECT up, string_agg(down || ':' || distance, ' ' ORDER BY distance, down) FROM pairs GROUP BY up ORDER BY up;
SELECT forget();
SELECT dbpatterns.adjacency_from_closure('n', 'parent_id', 'pairs', '{up}', '{down}', 'distance');
TABLE lost;
-- Pairs of a node with itself may be left out.
DELETE FROM pairs WHERE distance = 0;
SELECT forget();
SELECT dbpatterns.adjacency_from_closure('n', 'parent_id', 'pairs', '{up}', '{down}', 'distance');
TABLE lost;
-- A closure table of ours is one, too.
SELECT dbpatterns.closure_enable('n', 'parent_id');
SELECT dbpatterns.closure_disable('n');
SELECT forget();
SELECT dbpatterns.adjacency_from_closure('n', 'parent_id', 'n_closure');
TABLE lost;
-- While there is a closure table, it follows.
SELECT dbpatterns.closure_enable('n', 'parent_id', closure => 'kept');
SELECT watch('n', '{parent_id}', closure => 'kept');
SELECT forget();
:same
SELECT dbpatterns.adjacency_from_nested_set('n', 'parent_id', 'lft', 'rgt', '{root}');
:same
SELECT count(*) FROM kept;

-- Scopes: a key of two columns, one of which node and parent share; paths and
-- intervals are told apart within it.
CREATE TABLE s (tenant text, id uuid, parent uuid, slug text, path text, lft int, rgt int,
                PRIMARY KEY (id, tenant), FOREIGN KEY (tenant, parent) REFERENCES s (tenant, id),
                UNIQUE (tenant, id));
INSERT INTO s SELECT t, ('00000000-0000-0000-0000-00000000000' || i)::uuid,
                     CASE WHEN i > 1 THEN ('00000000-0000-0000-0000-00000000000' || i / 2)::uuid END, 'n' || i
                FROM unnest('{a,b}'::text[]) t, generate_series(1, 5) i;
SELECT dbpatterns.adjacency_to_ltree('s', '{tenant,parent}', 'path');
SELECT tenant, right(id::text, 1) AS id, replace(path, '00000000_0000_0000_0000_00000000000', '_') AS path FROM s ORDER BY 1, 2;
SELECT dbpatterns.adjacency_to_ltree('s', '{tenant,parent}', 'path', 'slug');
SELECT dbpatterns.adjacency_to_nested_set('s', '{tenant,parent}', 'lft', 'rgt');
CREATE TABLE sp (tenant text, a uuid, d uuid, depth bigint);
SELECT dbpatterns.adjacency_to_closure('s', '{tenant,parent}', 'sp', '{tenant,a}', '{tenant,d}');
CREATE TABLE want_s AS SELECT tenant, id, parent FROM s;
UPDATE s SET parent = NULL;
SELECT dbpatterns.adjacency_from_ltree('s', '{tenant,parent}', 'path');
SELECT * FROM want_s w JOIN s USING (tenant, id) WHERE w.parent IS DISTINCT FROM s.parent;
UPDATE s SET parent = NULL;
SELECT dbpatterns.adjacency_from_nested_set('s', '{tenant,parent}', 'lft', 'rgt');
SELECT * FROM want_s w JOIN s USING (tenant, id) WHERE w.parent IS DISTINCT FROM s.parent;
UPDATE s SET parent = NULL;
SELECT dbpatterns.adjacency_from_closure('s', '{tenant,parent}', 'sp', '{tenant,a}', '{tenant,d}');
SELECT * FROM want_s w JOIN s USING (tenant, id) WHERE w.parent IS DISTINCT FROM s.parent;

-- The path can be the key itself, and names need quoting.
CREATE TABLE "P q" ("Path" text COLLATE "C" PRIMARY KEY, "Up" text COLLATE "C");
INSERT INTO "P q" VALUES ('a'), ('a.b'), ('a.b.c'), ('ab'), ('ab.c'), ('');
SELECT dbpatterns.adjacency_from_ltree('"P q"', 'Up', 'Path');
TABLE "P q" ORDER BY 1;

-- Another key than the primary key; partitions.
CREATE TABLE p (id int, code text NOT NULL UNIQUE, up text, path text);
CREATE TABLE q (id int PRIMARY KEY, up int, path text) PARTITION BY RANGE (id);
CREATE TABLE q1 PARTITION OF q FOR VALUES FROM (0) TO (3);
CREATE TABLE q2 PARTITION OF q FOR VALUES FROM (3) TO (9);
INSERT INTO p VALUES (1, 'x-1', NULL), (2, 'x 2', 'x-1');
INSERT INTO q VALUES (1, 4), (4, NULL), (5, 1);
SELECT dbpatterns.adjacency_to_ltree('p', 'up', 'path', key => '{code}');
SELECT dbpatterns.adjacency_to_ltree('q', 'up', 'path');
SELECT path FROM p UNION ALL SELECT path FROM q ORDER BY 1;

-- A node without its parent, as a root.
CREATE TABLE o (id int PRIMARY KEY, up int, path text, lft int, rgt int);
INSERT INTO o VALUES (2, 1), (3, 2);
SELECT refused($$SELECT dbpatterns.adjacency_to_ltree('o', 'up', 'path')$$);
SELECT dbpatterns.adjacency_to_ltree('o', 'up', 'path', on_orphan => 'root');
TABLE o ORDER BY id;
UPDATE o SET path = '1.' || path;
SELECT refused($$SELECT dbpatterns.adjacency_from_ltree('o', 'up', 'path')$$);
SELECT dbpatterns.adjacency_from_ltree('o', 'up', 'path', on_orphan => 'root');
TABLE o ORDER BY id;

-- A long chain is walked without recursion.
CREATE TABLE c (id int PRIMARY KEY, up int, lft int, rgt int);
INSERT INTO c SELECT i, nullif(i - 1, 0) FROM generate_series(1, 20000) i;
SELECT dbpatterns.adjacency_to_nested_set('c', 'up', 'lft', 'rgt');
SELECT count(*) FROM c WHERE lft <> id OR rgt <> 40001 - id;
SELECT dbpatterns.adjacency_from_nested_set('c', 'up', 'lft', 'rgt');
-- And a long cycle is not printed as a whole.
UPDATE c SET up = 20000 WHERE id = 1;
SELECT regexp_replace(refused($$SELECT dbpatterns.adjacency_to_nested_set('c', 'up', 'lft', 'rgt')$$), '19998 .* 10002', '...');

-- Broken forms are refused, and change nothing.
TRUNCATE o;
INSERT INTO o VALUES (1, 3), (2, 1), (3, 2), (4, 4), (5, 4), (6, NULL), (8, 7), (7, 8);
SELECT refused($$SELECT dbpatterns.adjacency_to_ltree('o', 'up', 'path')$$);
SELECT refused($$SELECT dbpatterns.adjacency_to_nested_set('o', 'up', 'lft', 'rgt')$$);
CREATE TABLE oc (ancestor int, descendant int, depth int);
SELECT refused($$SELECT dbpatterns.adjacency_to_closure('o', 'up', 'oc')$$);
UPDATE n SET path = name;
SELECT refused($$SELECT dbpatterns.adjacency_to_ltree('n', 'parent_id', 'path', label => 'pos')$$);
UPDATE n SET name = 'Astro nomy' WHERE id = 5;
UPDATE n SET name = 'Astro-nomy' WHERE id = 6;
SELECT refused($$SELECT dbpatterns.adjacency_to_ltree('n', 'parent_id', 'path', label => 'name')$$);
UPDATE n SET name = repeat('x', 300) WHERE id = 6;
SELECT refused($$SELECT dbpatterns.adjacency_to_ltree('n', 'parent_id', 'path', label => 'name')$$) ~ '^22001';
-- A path that its column is too short for is not cut.
CREATE TABLE cut (id int PRIMARY KEY, up int, path varchar(3));
INSERT INTO cut VALUES (1, NULL, 'old'), (2, 1, NULL), (3, 2, NULL);
SELECT refused($$SELECT dbpatterns.adjacency_to_ltree('cut', 'up', 'path')$$);
UPDATE o SET path = CASE id WHEN 1 THEN 'a' WHEN 2 THEN 'a' WHEN 3 THEN 'a.b' END;
SELECT refused($$SELECT dbpatterns.adjacency_from_ltree('o', 'up', 'path')$$);
UPDATE o SET lft = id, rgt = id + 1;
SELECT refused($$SELECT dbpatterns.adjacency_from_nested_set('o', 'up', 'lft', 'rgt')$$);
UPDATE o SET lft = id * 10, rgt = id * 10 + CASE WHEN id = 3 THEN 15 ELSE 5 END;
SELECT refused($$SELECT dbpatterns.adjacency_from_nested_set('o', 'up', 'lft', 'rgt')$$);
UPDATE o SET rgt = lft WHERE id = 3;
SELECT refused($$SELECT dbpatterns.adjacency_from_nested_set('o', 'up', 'lft', 'rgt')$$);
UPDATE o SET rgt = NULL WHERE id = 3;
SELECT refused($$SELECT dbpatterns.adjacency_from_nested_set('o', 'up', 'lft', 'rgt')$$);
-- Two parents; a wrong depth; a missing pair; one that follows from nothing; a
-- cycle; a node that is no row.
CREATE FUNCTION pairs(VARIADIC pairs text[]) RETURNS text LANGUAGE plpgsql AS $$
BEGIN
    TRUNCATE t.oc;
    INSERT INTO t.oc SELECT split_part(p, ' ', 1)::int, split_part(p, ' ', 2)::int, split_part(p, ' ', 3)::int
      FROM unnest(pairs) p;
    RETURN t.refused('SELECT dbpatterns.adjacency_from_closure(''t.o'', ''up'', ''t.oc'')');
END $$;
SELECT pairs('1 3 1', '2 3 1');
SELECT pairs('1 1 1');
SELECT pairs('1 2 1', '2 3 1');
SELECT pairs('1 2 1', '1 3 2');
SELECT pairs('1 2 1', '2 1 1');
SELECT pairs('1 2 1', '2 1 1', '1 1 2', '2 2 2');
SELECT pairs('1 2 1', '1 9 1');
SELECT pairs('1 2 0');
SELECT pairs(NULL, '1 2 1');
SELECT count(*) FROM o WHERE up IS NOT NULL;

-- Arguments.
CREATE VIEW v AS TABLE n;
SELECT refused(format('SELECT dbpatterns.%s', call)) FROM unnest(ARRAY[
    'adjacency_to_ltree(NULL, ''parent_id'', ''path'')', 'adjacency_to_ltree(''n'', NULL::name, ''path'')',
    'adjacency_to_ltree(''n'', ''parent_id'', NULL)', 'adjacency_to_ltree(''v'', ''parent_id'', ''path'')',
    'adjacency_to_ltree(''n'', ''none'', ''path'')', 'adjacency_to_ltree(''n'', ''id'', ''path'')',
    'adjacency_to_ltree(''n'', ''name'', ''path'')', 'adjacency_to_ltree(''n'', ''parent_id'', ''pos'')',
    'adjacency_to_ltree(''n'', ''parent_id'', ''none'')', 'adjacency_to_ltree(''n'', ''parent_id'', ''path'', ''none'')',
    'adjacency_to_ltree(''n'', ''parent_id'', ''path'', key => ''{name}'')',
    'adjacency_to_ltree(''n'', ''{parent_id,pos}'', ''path'')',
    'adjacency_to_ltree(''n'', ''parent_id'', ''path'', on_orphan => ''x'')',
    'adjacency_to_ltree(''q1'', ''up'', ''path'')', 'adjacency_to_ltree(''p'', ''up'', ''path'')',
    'adjacency_to_nested_set(''n'', ''parent_id'', ''name'', ''rgt'')',
    'adjacency_to_nested_set(''n'', ''parent_id'', ''lft'', ''rgt'', ''pos'')',
    'adjacency_to_nested_set(''n'', ''parent_id'', ''lft'', ''rgt'', order_by => ''none'')',
    'adjacency_from_nested_set(''n'', ''parent_id'', ''lft'', ''rgt'', ''{none}'')',
    'adjacency_to_closure(''n'', ''parent_id'', NULL)',
    'adjacency_to_closure(''n'', ''parent_id'', ''kept'')',
    'adjacency_to_closure(''n'', ''parent_id'', ''oc'', ''{ancestor,depth}'')',
    'adjacency_to_closure(''s'', ''{tenant,parent}'', ''oc'', ''{ancestor,depth}'', ''{ancestor,descendant}'')',
    'adjacency_from_closure(''n'', ''parent_id'', ''oc'', depth => ''none'')']) AS call;

-- From 18 on a key can be NOT NULL and yet hold NULL, until that is validated.
CREATE FUNCTION not_validated() RETURNS text LANGUAGE plpgsql AS $$
BEGIN
    CREATE TABLE t.nn (code text UNIQUE, up text, lft int, rgt int);
    INSERT INTO t.nn VALUES ('a', NULL, 1, 4), ('b', NULL, 2, 3), (NULL, NULL, 5, 6);
    IF current_setting('server_version_num')::int >= 180000 THEN
        EXECUTE 'ALTER TABLE t.nn ADD CONSTRAINT nn NOT NULL code NOT VALID';
    END IF;
    RETURN t.refused('SELECT dbpatterns.adjacency_from_nested_set(''t.nn'', ''up'', ''lft'', ''rgt'', key => ''{code}'')');
END $$;
SELECT not_validated();

-- Rights: those of the UPDATE, and to see all rows.
CREATE ROLE regress_dbp_user;
GRANT USAGE ON SCHEMA t TO regress_dbp_user;
GRANT EXECUTE ON FUNCTION refused TO regress_dbp_user;
GRANT SELECT ON p TO regress_dbp_user;
SET ROLE regress_dbp_user;
SELECT refused($$SELECT dbpatterns.adjacency_to_ltree('p', 'up', 'path', key => '{code}')$$);
RESET ROLE;
GRANT ALL ON p TO regress_dbp_user;
UPDATE p SET path = NULL;
SET ROLE regress_dbp_user;
SELECT dbpatterns.adjacency_to_ltree('p', 'up', 'path', key => '{code}');
RESET ROLE;
ALTER TABLE p ENABLE ROW LEVEL SECURITY;
CREATE POLICY one_row ON p USING (id = 1);
SET ROLE regress_dbp_user;
SELECT refused($$SELECT dbpatterns.adjacency_to_ltree('p', 'up', 'path', key => '{code}')$$);
RESET ROLE;
REVOKE ALL ON SCHEMA t FROM regress_dbp_user;
DROP OWNED BY regress_dbp_user;
DROP ROLE regress_dbp_user;

-- Real ltree columns, where the extension is at hand.
CREATE FUNCTION ltree_too() RETURNS text LANGUAGE plpgsql AS $$
BEGIN
    IF NOT EXISTS (SELECT FROM pg_available_extensions WHERE name = 'ltree') THEN
        RETURN '1.4.2';
    END IF;
    CREATE EXTENSION ltree SCHEMA t;
    CREATE TABLE t.lt (id int PRIMARY KEY, up int, path t.ltree);
    INSERT INTO t.lt VALUES (1, NULL), (4, 1), (2, 4);
    PERFORM dbpatterns.adjacency_to_ltree('t.lt', 'up', 'path');
    UPDATE t.lt SET up = NULL;
    IF dbpatterns.adjacency_from_ltree('t.lt', 'up', 'path') <> 2 THEN
        RETURN 'wrong';
    END IF;
    RETURN (SELECT path FROM t.lt WHERE up = 4);
END $$;
SELECT ltree_too();
:finish
