-- Moving, copying and deleting nodes, with the rights of the caller; the
-- closure follows.
\getenv srcdir PG_ABS_SRCDIR
\set include :srcdir '/sql/include/hierarchy.sql'
\i :include

CREATE TABLE c (id int GENERATED ALWAYS AS IDENTITY PRIMARY KEY, parent_id int REFERENCES c,
                pos int, name text UNIQUE, twice int GENERATED ALWAYS AS (pos * 2) STORED);
CREATE INDEX ON c (parent_id);
INSERT INTO c (parent_id, pos, name) VALUES (NULL, 1, 'a'), (1, 1, 'a1'), (1, 2, 'a2'), (2, 1, 'a11'), (NULL, 2, 'b'), (5, NULL, 'b1');
SELECT dbpatterns.closure_enable('c', 'parent_id', order_by => 'pos');
SELECT watch('c', '{parent_id}');
CREATE FUNCTION tree(OUT parent int, OUT children text) RETURNS SETOF record LANGUAGE sql AS $$
    SELECT parent_id, string_agg(id || ':' || coalesce(pos::text, '-'), ' ' ORDER BY pos, id) FROM t.c
     GROUP BY parent_id ORDER BY parent_id NULLS FIRST $$;
SELECT * FROM tree();

-- To the end, before another one, and between two, where room is made.
SELECT dbpatterns.closure_move('c', 4, 1);
SELECT dbpatterns.closure_move('c', 6, 1, 2);
SELECT * FROM tree();
:same
SELECT dbpatterns.closure_move('c', 4, 1, 3);
SELECT * FROM tree();
SELECT dbpatterns.closure_move('c', 6, 1, 3);
SELECT dbpatterns.closure_move('c', 4, 1, 6);
SELECT * FROM tree();
:same
-- To where it is already: at the end of its siblings; before the next one.
SELECT dbpatterns.closure_move('c', 3, 1);
SELECT dbpatterns.closure_move('c', 2, 1, 4);
SELECT * FROM tree();
-- A root, with all below it, and among the roots.
SELECT dbpatterns.closure_move('c', 2, NULL, 5);
SELECT dbpatterns.closure_move('c', 5, 2);
SELECT * FROM tree();
:same
-- Keys as literals without a type, of another type, as parameters, by name.
SELECT dbpatterns.closure_move('c', '5', NULL, '2');
SELECT dbpatterns.closure_move('c', 5::bigint, '2'::text, NULL);
SELECT dbpatterns.closure_move('c', 5, new_parent => NULL, closure => 'c_closure');
PREPARE move AS SELECT dbpatterns.closure_move('c', $1, $2, $3);
EXECUTE move('3', '5', NULL);
PREPARE move_int (int, int) AS SELECT dbpatterns.closure_move('c', $1, $2);
EXECUTE move_int(3, 1);
SELECT count(dbpatterns.closure_move('c', id, 5)) FROM (SELECT id FROM c WHERE parent_id = 1 ORDER BY id) AS x;
SELECT * FROM tree();
:same

-- Siblings with the same number, or none, are numbered anew, and only they.
UPDATE c SET pos = 7 WHERE id IN (3, 4);
UPDATE c SET pos = NULL WHERE id = 6;
SELECT * FROM tree();
SELECT dbpatterns.closure_move('c', 1, 5, 4);
SELECT * FROM tree();
UPDATE c SET pos = NULL WHERE id = 6;
SELECT dbpatterns.closure_move('c', 1, 5);
SELECT * FROM tree();

-- What cannot be.
SELECT refused(format('SELECT dbpatterns.closure_move(%s)', arguments)) FROM unnest(ARRAY[
    '''c'', 5, 6', '''c'', 5, 5', '''c'', 99, 1', '''c'', 1, 99', '''c'', 1, 5, 99', '''c'', 1, 5, 2', '''c'', 1, 5, 1',
    '''c'', NULL, 1', 'NULL, 1, 2', '''c'', ''x'', 1', '''c'', 1, ROW(1, 2)', '''c'', 1, ''{1,2}''::int[]',
    '''c'', 1, 5, closure => ''none''', '''want'', 1, 2', '''pg_class'', 1, 2', '0, 1, 2']) AS arguments;
:same

-- Copies: new keys by the column's default, all other columns as they are.
UPDATE c SET name = NULL WHERE id IN (4, 6);
SELECT refused($$SELECT * FROM dbpatterns.closure_copy_subtree('c', 5, 2)$$);
SELECT refused($$SELECT * FROM dbpatterns.closure_copy_subtree('c', 1, 2, '{"name": "copy of a"}')$$);
ALTER TABLE c DROP CONSTRAINT c_name_key;
SELECT * FROM dbpatterns.closure_copy_subtree('c', 5, 2);
SELECT * FROM dbpatterns.closure_copy_subtree('c', '1', NULL, '{"name": "copied", "pos": 5}');
SELECT id, parent_id, pos, name, twice FROM c ORDER BY id;
:same
-- Below itself it is no cycle; as its own sibling it comes last.
SELECT * FROM dbpatterns.closure_copy_subtree('c', 4, 4, overrides => '{"name": null}');
SELECT * FROM dbpatterns.closure_copy_subtree('c', 3, 5);
SELECT * FROM tree();
:same
SELECT refused(format('SELECT * FROM dbpatterns.closure_copy_subtree(%s)', arguments)) FROM unnest(ARRAY[
    '''c'', 99, 1', '''c'', 5, 99', '''c'', 5, 1, ''[]''', '''c'', 5, 1, ''{"none": 1}''', '''c'', 5, 1, ''{"id": 1}''',
    '''c'', 5, 1, ''{"parent_id": 1}''', '''c'', 5, 1, ''{"twice": 1}''', '''c'', 5, 1, ''{"pos": "x"}''',
    '''c'', 5, 1, NULL, ''[]''', '''c'', 5, 1, NULL, ''{"5": null}''', '''c'', 5, 1, NULL, ''{"5": 1}''']) AS arguments;
:same

-- Deleting: all below, or leaving the children to the parent, in its place.
SELECT * FROM tree();
SELECT dbpatterns.closure_delete('c', 13);
SELECT dbpatterns.closure_delete('c', 5, 'adopt');
SELECT * FROM tree();
:same
SELECT dbpatterns.closure_delete('c', '2', 'cascade');
SELECT dbpatterns.closure_delete('c', (SELECT max(id) FROM c), policy => 'adopt');
SELECT * FROM tree();
:same
SELECT refused(format('SELECT dbpatterns.closure_delete(%s)', arguments)) FROM unnest(ARRAY[
    '''c'', 5', '''c'', NULL', '''c'', 1, ''x''', '''c'', 1, NULL']) AS arguments;

-- With any action of the foreign key.
CREATE TABLE f (id int PRIMARY KEY, up int);
CREATE FUNCTION deletions(action text) RETURNS text LANGUAGE plpgsql AS $$
DECLARE
    adopted bigint;
    cascaded bigint;
BEGIN
    TRUNCATE t.f;
    INSERT INTO t.f VALUES (1, NULL), (2, 1), (3, 2), (4, 3), (5, 3);
    ALTER TABLE t.f DROP CONSTRAINT IF EXISTS up;
    IF action <> '' THEN
        EXECUTE 'ALTER TABLE t.f ADD CONSTRAINT up FOREIGN KEY (up) REFERENCES t.f ON DELETE ' || action;
    END IF;
    adopted := dbpatterns.closure_delete('t.f', 2, 'adopt');
    cascaded := dbpatterns.closure_delete('t.f', 3);
    RETURN format('%s: adopt %s, cascade %s, left %s', action, adopted, cascaded, (SELECT array_agg(id) FROM t.f));
END $$;
SELECT dbpatterns.closure_enable('f', 'up');
SELECT watch('f', '{up}');
SELECT deletions(action) FROM unnest('{"",NO ACTION,RESTRICT,CASCADE,SET NULL}'::text[]) action;
:same
-- A default of the key column is asked for, or a mapping.
SELECT refused($$SELECT * FROM dbpatterns.closure_copy_subtree('f', 1, NULL)$$);
INSERT INTO f VALUES (2, 1), (3, 2);
SELECT * FROM dbpatterns.closure_copy_subtree('f', 1, NULL, mapping => '{"1": 11, "2": "12", "3": 13}');
SELECT refused($$SELECT * FROM dbpatterns.closure_copy_subtree('f', 1, NULL, mapping => '{"1": 21}')$$);
SELECT refused($$SELECT * FROM dbpatterns.closure_copy_subtree('f', 1, NULL, mapping => '{"1": 21, "2": "x", "3": 23}')$$);
SELECT refused($$SELECT * FROM dbpatterns.closure_copy_subtree('f', 1, NULL, mapping => '{"1": 21, "2": 22, "3": 11}')$$);
TABLE f ORDER BY id;
:same
-- Without an order nothing can be put before another.
SELECT refused($$SELECT dbpatterns.closure_move('f', 2, NULL, 1)$$);
SELECT dbpatterns.closure_move('f', 12, 1);
:same

-- Orders of every type, and their limits.
CREATE TABLE o (id int PRIMARY KEY, up int, p smallint, b bigint, n numeric, n2 numeric(4,1), r real, d double precision, t text);
CREATE FUNCTION squeeze(ordered name, moves int) RETURNS text LANGUAGE plpgsql AS $$
DECLARE
    result text;
BEGIN
    TRUNCATE t.o;
    PERFORM dbpatterns.closure_enable('t.o', 'up', order_by => ordered);
    INSERT INTO t.o (id) SELECT generate_series(1, 4);
    PERFORM dbpatterns.closure_move('t.o', i, NULL) FROM generate_series(1, 4) i;
    -- 1 4 3 2: each time before the one that was put before the last one.
    FOR i IN 1 .. moves LOOP
        PERFORM dbpatterns.closure_move('t.o', 3 + i % 2, NULL, 4 - i % 2);
    END LOOP;
    EXECUTE format('SELECT string_agg(id::text, '' '' ORDER BY %1$I, id) || CASE WHEN count(*) > count(DISTINCT %1$I) THEN '' twice'' ELSE '''' END FROM t.o', ordered) INTO result;
    RETURN result;
END $$;
SELECT column_name, squeeze(column_name, 101) FROM unnest('{p,b,n,n2,r,d}'::name[]) column_name;
:same
SELECT squeeze('n2', 9);
SELECT id, n2 FROM o ORDER BY n2;
SELECT squeeze('n', 3);
SELECT id, n FROM o ORDER BY n;
-- No room for so many in the type.
TRUNCATE o;
SELECT dbpatterns.closure_enable('o', 'up', order_by => 'n2');
INSERT INTO o (id, n2) SELECT i, 998.9 FROM generate_series(1, 1200) i;
SELECT refused($$SELECT dbpatterns.closure_move('o', 1, NULL)$$);
DELETE FROM o WHERE id > 990;
SELECT dbpatterns.closure_move('o', 1, NULL, 3);
SELECT count(*), count(DISTINCT n2), min(n2), max(n2) FROM o;
TRUNCATE o;
SELECT dbpatterns.closure_enable('o', 'up', order_by => 't');
INSERT INTO o (id, t) VALUES (1, 'a'), (2, 'b');
SELECT refused($$SELECT dbpatterns.closure_move('o', 1, NULL, 2)$$);
SELECT dbpatterns.closure_move('o', 1, 2);
SELECT id, up, t FROM o ORDER BY id;

-- Several columns: as a row, as an array of text; the scope may be left out.
CREATE TABLE s (tenant text, id bigserial, up bigint, pos real, PRIMARY KEY (tenant, id));
INSERT INTO s (tenant, id, up) VALUES ('a', 1, NULL), ('a', 2, 1), ('a', 3, 2), ('b', 1, NULL), ('b', 2, 1);
SELECT setval('s_id_seq', 10);
SELECT dbpatterns.closure_enable('s', '{tenant,up}', order_by => 'pos');
SELECT watch('s', '{tenant,up}', '{tenant,id}', nscope => 1);
SELECT dbpatterns.closure_move('s', ROW('a', 3), ROW('a', 1));
SELECT dbpatterns.closure_move('s', '{a,3}', 2);
SELECT dbpatterns.closure_move('s', ARRAY['a', '3'], 1, 2);
SELECT dbpatterns.closure_move('s', '{a,3}', NULL, '{a,1}');
TABLE s ORDER BY tenant, id;
:same
SELECT refused(format('SELECT dbpatterns.closure_move(''s'', %s)', arguments)) FROM unnest(ARRAY[
    '3, 1', 'ROW(''a'', 3), ROW(''b'', 1)', 'ROW(''a'', 3), 9', 'ROW(''a'', 3, 4), 1', 'ROW(''a'', NULL), 1',
    'ROW(''a'', 3), ROW(''a'', ''x'')']) AS arguments;
-- A copy can go to another tenant.
SELECT * FROM dbpatterns.closure_copy_subtree('s', ROW('a', 1), ROW('b', 2));
SELECT * FROM dbpatterns.closure_copy_subtree('s', ROW('a', 1), NULL);
SELECT dbpatterns.closure_delete('s', '{a,1}', 'adopt'), dbpatterns.closure_delete('s', ROW('b', 1));
TABLE s ORDER BY tenant, id;
:same

-- uuid and text keys; partitions; a domain.
CREATE DOMAIN key AS text CHECK (value <> '');
CREATE TABLE u (id key DEFAULT 'k' || nextval('s_id_seq'), up key, PRIMARY KEY (id)) PARTITION BY HASH (id);
CREATE TABLE u0 PARTITION OF u FOR VALUES WITH (MODULUS 2, REMAINDER 0);
CREATE TABLE u1 PARTITION OF u FOR VALUES WITH (MODULUS 2, REMAINDER 1);
INSERT INTO u VALUES ('x', NULL), ('y', 'x'), ('z', 'y');
SELECT dbpatterns.closure_enable('u', 'up');
SELECT watch('u', '{up}');
SELECT * FROM dbpatterns.closure_copy_subtree('u', 'x', 'z');
SELECT dbpatterns.closure_move('u', 'z'::varchar, NULL);
SELECT dbpatterns.closure_delete('u', 'y');
SELECT count(*) FROM u;
:same

-- Two hierarchies on one table.
ALTER TABLE f ADD other int;
SELECT dbpatterns.closure_enable('f', 'other', closure => 'second');
SELECT refused($$SELECT dbpatterns.closure_move('f', 3, 11)$$);
SELECT dbpatterns.closure_move('f', 3, 11, closure => 'second');
TABLE f ORDER BY id;
SELECT watch('f', '{other}', closure => 'second');
:same

-- Rights: those of the statements; what is hidden is not half done.
CREATE ROLE regress_dbp_user;
GRANT USAGE ON SCHEMA t TO regress_dbp_user;
GRANT SELECT ON f TO regress_dbp_user;
SET ROLE regress_dbp_user;
SELECT refused($$SELECT dbpatterns.closure_move('f', 3, 12, closure => 'f_closure')$$);
SELECT refused($$SELECT dbpatterns.closure_delete('f', 12, closure => 'f_closure')$$);
RESET ROLE;
GRANT UPDATE (up), DELETE ON f TO regress_dbp_user;
SET ROLE regress_dbp_user;
SELECT dbpatterns.closure_move('f', 3, 12, closure => 'f_closure');
RESET ROLE;
:same
GRANT ALL ON f TO regress_dbp_user;
ALTER TABLE f ENABLE ROW LEVEL SECURITY;
CREATE POLICY small ON f USING (id < 13);
SELECT * FROM below('f_closure');
SET ROLE regress_dbp_user;
SELECT refused($$SELECT dbpatterns.closure_move('f', 13, NULL, closure => 'f_closure')$$);
SELECT refused($$SELECT dbpatterns.closure_delete('f', 12, closure => 'f_closure')$$);
SELECT refused($$SELECT dbpatterns.closure_delete('f', 12, 'adopt', 'f_closure')$$);
SELECT refused($$SELECT * FROM dbpatterns.closure_copy_subtree('f', 12, NULL, mapping => '{"12": 5, "3": 6, "13": 7}', closure => 'f_closure')$$);
SELECT dbpatterns.closure_delete('f', 3, closure => 'f_closure');
RESET ROLE;
:same
-- A trigger that keeps a row from being changed.
CREATE FUNCTION keep() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN RETURN NULL; END';
CREATE TRIGGER keep BEFORE INSERT OR UPDATE ON f FOR EACH ROW EXECUTE FUNCTION keep();
SELECT refused($$SELECT dbpatterns.closure_move('f', 12, NULL, closure => 'f_closure')$$);
SELECT refused($$SELECT * FROM dbpatterns.closure_copy_subtree('f', 12, NULL, mapping => '{"12": 5, "13": 7}', closure => 'f_closure')$$);
REVOKE ALL ON SCHEMA t FROM regress_dbp_user;
DROP OWNED BY regress_dbp_user;
DROP ROLE regress_dbp_user;
:finish
