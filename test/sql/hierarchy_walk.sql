-- Walking adjacency lists that have no storage of ours: adjacency_walk and
-- adjacency_cycles.
\getenv srcdir PG_ABS_SRCDIR
\set include :srcdir '/sql/include/hierarchy.sql'
\i :include

-- A forest with all there can be: two roots, an orphan, a cycle of two with
-- something below, a row that is its own parent.
CREATE TABLE node (junk int, id int PRIMARY KEY, up int, pos int, name text);
ALTER TABLE node DROP COLUMN junk;
INSERT INTO node VALUES (1, NULL, 2, 'a'), (2, 1, 2, 'a2'), (3, 1, 1, 'a1'), (4, 2, NULL, 'a2z'), (5, 2, 1, 'a2a'),
    (6, 99, 3, 'orphan'), (7, 8, 1, 'c'), (8, 7, 1, 'd'), (9, 9, 1, 'self'), (10, 7, 1, 'below'), (11, NULL, 1, 'b');
CREATE INDEX ON node (up);

-- All roots; a subtree; in both orders; limited.
SELECT * FROM dbpatterns.adjacency_walk('node', 'up', order_by => 'pos', path => true);
SELECT * FROM dbpatterns.adjacency_walk('node', 'up', 1, order_by => 'pos');
SELECT node, depth FROM dbpatterns.adjacency_walk('node', 'up', order_by => 'pos', search => 'breadth');
SELECT node, depth FROM dbpatterns.adjacency_walk('node', 'up', 1, order_by => 'name', max_depth => 1);
SELECT node, depth, path FROM dbpatterns.adjacency_walk('node', 'up', 1, max_depth => 0, path => true);
-- Upwards.
SELECT * FROM dbpatterns.adjacency_walk('node', 'up', 5, direction => 'up', path => true);
SELECT * FROM dbpatterns.adjacency_walk('node', 'up', 5, direction => 'up', max_depth => 1);
SELECT * FROM dbpatterns.adjacency_walk('node', 'up', 6, direction => 'up');
-- Nothing is above nothing, or below what is not there.
SELECT * FROM dbpatterns.adjacency_walk('node', 'up', direction => 'up');
SELECT * FROM dbpatterns.adjacency_walk('node', 'up', 99);
SELECT * FROM dbpatterns.adjacency_walk('node', 'up', 99, direction => 'up');
SELECT * FROM dbpatterns.adjacency_walk('node', 'up', 4294967297);
-- A cycle is marked where it closes, and not followed.
SELECT * FROM dbpatterns.adjacency_walk('node', 'up', 7, path => true, order_by => 'name');
SELECT * FROM dbpatterns.adjacency_walk('node', 'up', 10, direction => 'up', path => true);
SELECT * FROM dbpatterns.adjacency_walk('node', 'up', 9);
SELECT * FROM dbpatterns.adjacency_walk('node', 'up', 9, direction => 'up');
SELECT * FROM dbpatterns.adjacency_cycles('node', 'up');

-- Joined with its table, and called for each of some rows.
SELECT n.name, w.depth FROM dbpatterns.adjacency_walk('node', 'up', 1, order_by => 'pos') WITH ORDINALITY w
  JOIN node n ON n.id = w.node ORDER BY w.ordinality;
SELECT n.id, array_agg(w.node ORDER BY w.depth) FROM node n,
       dbpatterns.adjacency_walk('node', 'up', n.id, direction => 'up') w
 WHERE n.id < 7 GROUP BY n.id ORDER BY n.id;
-- One by one, where nobody waits for the end.
SELECT dbpatterns.adjacency_walk('node', 'up', order_by => 'pos') LIMIT 3;
SELECT id, (SELECT count(*) FROM (SELECT dbpatterns.adjacency_walk('node', 'up', id)) x) AS subtree
  FROM node WHERE id < 6 ORDER BY id;
BEGIN;
DECLARE c CURSOR FOR SELECT (w).node, (w).depth
  FROM (SELECT dbpatterns.adjacency_walk('node', 'up', 1, order_by => 'pos', search => 'breadth') AS w OFFSET 0) x;
FETCH 2 FROM c;
DELETE FROM node WHERE id > 3;
FETCH 2 FROM c;             -- a cursor sees what was there when it was declared
FETCH ALL FROM c;
-- What the transaction did is seen, what the statement does is not.
SELECT node FROM dbpatterns.adjacency_walk('node', 'up', 1, order_by => 'pos');
WITH x AS (INSERT INTO node VALUES (12, 3, 1, 'new') RETURNING id)
SELECT node, x.id FROM x, dbpatterns.adjacency_walk('node', 'up', 3);
ROLLBACK;

BEGIN;
DECLARE c CURSOR FOR SELECT dbpatterns.adjacency_walk('node', 'up', 1, order_by => 'pos');
FETCH 2 FROM c;
ALTER TABLE node ALTER COLUMN up TYPE text;
FETCH ALL FROM c;
ROLLBACK;
BEGIN;
DECLARE c CURSOR FOR SELECT dbpatterns.adjacency_walk('node', 'up', 1, order_by => 'pos');
FETCH 2 FROM c;
DROP INDEX node_up_idx;
FETCH ALL FROM c;
ROLLBACK;
BEGIN;
DECLARE c CURSOR FOR SELECT dbpatterns.adjacency_walk('node', 'up', 1, order_by => 'pos');
FETCH 2 FROM c;
DROP TABLE node;
FETCH ALL FROM c;
ROLLBACK;
-- Other arguments in each call.
SELECT a, n, w.node, w.parent FROM (VALUES ('node', 'up', 'pos', 1), ('node', 'up', 'name', 2), ('node', 'up', NULL, 3)) x (t, a, o, n),
       dbpatterns.adjacency_walk(t::regclass, a::name, n, order_by => o::name, max_depth => 1) w;

-- Types of keys.  The start says which one comes back.
CREATE TABLE typed (s smallint UNIQUE NOT NULL, s_up smallint, u uuid UNIQUE NOT NULL, u_up uuid,
                    t text UNIQUE NOT NULL, t_up text, v varchar(9) UNIQUE NOT NULL, v_up varchar(9),
                    n numeric UNIQUE NOT NULL, n_up numeric, d date UNIQUE NOT NULL, d_up date);
INSERT INTO typed SELECT i, p, ('00000000-0000-0000-0000-00000000000' || i)::uuid, ('00000000-0000-0000-0000-00000000000' || p)::uuid,
       'n' || i, 'n' || p, 'n' || i, 'n' || p, i + 0.0, p + 0.00, date '2026-01-01' + i, date '2026-01-01' + p
  FROM (VALUES (1, NULL), (2, 1), (3, 2)) x (i, p);
CREATE INDEX ON typed (u_up);
CREATE INDEX ON typed (t_up);
CREATE INDEX ON typed (n_up);
SELECT node, pg_typeof(node) FROM dbpatterns.adjacency_walk('typed', 's_up', 2, key => '{s}');
SELECT node, pg_typeof(node) FROM dbpatterns.adjacency_walk('typed', 'u_up', '00000000-0000-0000-0000-000000000002'::uuid, key => '{u}');
SELECT node, parent, path FROM dbpatterns.adjacency_walk('typed', 'u_up', NULL::uuid, key => '{u}', path => true);
SELECT node, pg_typeof(node) FROM dbpatterns.adjacency_walk('typed', 't_up', 'n2', key => '{t}');
SELECT node, pg_typeof(node) FROM dbpatterns.adjacency_walk('typed', 'v_up', 'n2', key => '{v}');
-- 2 and 2.0 are one node; what comes back is what the table has.
SELECT node, parent, path FROM dbpatterns.adjacency_walk('typed', 'n_up', 1::numeric, key => '{n}', path => true);
SELECT node, parent FROM dbpatterns.adjacency_walk('typed', 'd_up', date '2026-01-04', key => '{d}', direction => 'up');
SELECT node, parent FROM dbpatterns.adjacency_walk('typed', 'd_up', ARRAY['2026-01-03'], key => '{d}');

-- Keys of several columns: as text, in the order of the key.
CREATE TABLE tenant_node (id int, tenant text, up int, pos int, PRIMARY KEY (id, tenant));
INSERT INTO tenant_node VALUES (1, 'a', NULL, 1), (2, 'a', 1, 2), (3, 'a', 1, 1), (1, 'b', NULL, 1), (2, 'b', 1, 1), (4, 'b', 3, 1);
CREATE INDEX ON tenant_node (tenant, up);
SELECT * FROM dbpatterns.adjacency_walk('tenant_node', '{up,tenant}', NULL::text[], order_by => 'pos', path => true);
SELECT * FROM dbpatterns.adjacency_walk('tenant_node', '{up,tenant}', ARRAY['1', 'a'], order_by => 'pos');
SELECT * FROM dbpatterns.adjacency_walk('tenant_node', ARRAY['tenant', 'up']::name[], ARRAY['b', '2'],
                                        key => '{tenant,id}', direction => 'up');
SELECT (w).node FROM (SELECT dbpatterns.adjacency_walk('tenant_node', '{up,tenant}', ARRAY['1', 'b']) OFFSET 0) x (w);
UPDATE tenant_node SET up = 2 WHERE id = 1 AND tenant = 'b';
SELECT * FROM dbpatterns.adjacency_cycles('tenant_node', '{up,tenant}');
SELECT * FROM dbpatterns.adjacency_cycles('tenant_node', ARRAY['tenant', 'up']::name[], '{tenant,id}');

-- Enough rows that the walk goes over to reading all of them, on each way of
-- reading: plain, no index of use, partial, descending, partitioned.
CREATE TABLE big (id bigint PRIMARY KEY, up bigint, pos int);
INSERT INTO big SELECT i, nullif((i - 2) / 3 + 1, i), i % 7 FROM generate_series(1, 4000) i;
UPDATE big SET up = NULL WHERE id = 1;
CREATE TABLE big_none AS TABLE big;
ALTER TABLE big_none ADD PRIMARY KEY (id);
CREATE TABLE big_part (LIKE big, PRIMARY KEY (id)) PARTITION BY HASH (id);
CREATE TABLE big_part_0 PARTITION OF big_part FOR VALUES WITH (MODULUS 2, REMAINDER 0);
CREATE TABLE big_part_1 PARTITION OF big_part FOR VALUES WITH (MODULUS 2, REMAINDER 1);
INSERT INTO big_part TABLE big;
CREATE TABLE big_desc (LIKE big, PRIMARY KEY (id));
INSERT INTO big_desc TABLE big;
CREATE INDEX ON big (up) WHERE up IS NOT NULL;
CREATE INDEX ON big_desc (up DESC);
CREATE INDEX ON big_part (up);
CREATE TABLE big_two AS SELECT id, 0 AS tenant, up, pos FROM big;
ALTER TABLE big_two ADD PRIMARY KEY (id, tenant);
ANALYZE big, big_none, big_part, big_desc, big_two;
CREATE FUNCTION digest(target regclass, start bigint, search text DEFAULT 'depth', OUT rows bigint, OUT deepest int, OUT md5 text)
LANGUAGE sql AS $$
    SELECT count(*), max(depth), substr(md5(string_agg(format('%s<%s', node, parent), ',' ORDER BY n)), 1, 8)
      FROM dbpatterns.adjacency_walk(target, 'up', start, key => '{id}', order_by => 'pos', search => search)
           WITH ORDINALITY w (node, parent, depth, path, is_cycle, n)
$$;
WITH RECURSIVE w AS (
    SELECT id, up, ARRAY[(pos, id)] AS sort FROM big WHERE up IS NULL
    UNION ALL SELECT b.id, b.up, w.sort || (b.pos, b.id) FROM w JOIN big b ON b.up = w.id)
SELECT count(*), max(array_length(sort, 1)) - 1,
       substr(md5(string_agg(format('%s<%s', id, up), ',' ORDER BY sort)), 1, 8) AS depth,
       substr(md5(string_agg(format('%s<%s', id, up), ',' ORDER BY array_length(sort, 1), sort)), 1, 8) AS breadth FROM w;
SELECT t, d.* FROM unnest('{big,big_none,big_part,big_desc}'::regclass[]) t, digest(t, NULL) d;
SELECT t, d.* FROM unnest('{big,big_none,big_part,big_desc}'::regclass[]) t, digest(t, 1, 'breadth') d;
SELECT t, d.* FROM unnest('{big,big_none,big_part,big_desc}'::regclass[]) t, digest(t, 3) d;
SELECT t, d.* FROM unnest('{big,big_none,big_part,big_desc}'::regclass[]) t, digest(t, 40) d;
SELECT count(*), count(DISTINCT w) FROM (SELECT dbpatterns.adjacency_walk('big', 'up', 1)) x (w);
SELECT count(*), count(DISTINCT w) FROM (SELECT dbpatterns.adjacency_walk('big_part', 'up', 1)) x (w);
SELECT node FROM dbpatterns.adjacency_walk('big_part', 'up', 4000, direction => 'up');
-- What the planner expects: about the average subtree, the height, or all.
CREATE FUNCTION expected(query text) RETURNS bigint LANGUAGE plpgsql AS $$
DECLARE plan json;
BEGIN
    EXECUTE 'EXPLAIN (FORMAT json) ' || query INTO plan;
    RETURN plan -> 0 -> 'Plan' -> 'Plan Rows';
END $$;
SELECT arguments, expected(format('SELECT * FROM dbpatterns.adjacency_walk(%s)', arguments)) FROM unnest(ARRAY[
    '''big'', ''up''', '''big'', ''up'', max_depth => 2', '''big'', ''up'', 1', '''big'', ''up'', 1, max_depth => 1',
    '''big'', ''up'', 4000, direction => ''up''', '''big_part'', ''up''', '''node'', ''up''',
    '''big_two'', ''{up,tenant}'', NULL::text[]', '''big_two'', ''{up,tenant}'', ARRAY[''1'', ''0'']']) AS arguments;

-- A chain that is deep, and a node with many children.
CREATE TABLE chain (id int PRIMARY KEY, up int);
INSERT INTO chain SELECT i, nullif(i - 1, 0) FROM generate_series(1, 20000) i;
CREATE INDEX ON chain (up);
SELECT count(*), max(depth), bool_or(is_cycle) FROM dbpatterns.adjacency_walk('chain', 'up', 1);
SELECT count(*), max(depth), bool_or(is_cycle) FROM dbpatterns.adjacency_walk('chain', 'up', 20000, direction => 'up');
SELECT count(*) FROM (SELECT dbpatterns.adjacency_walk('chain', 'up', 1) LIMIT 1500) x;
SELECT count(*) FROM dbpatterns.adjacency_cycles('chain', 'up');
UPDATE chain SET up = 20000 WHERE id = 1;
SELECT count(*), max(depth), bool_or(is_cycle) FROM dbpatterns.adjacency_walk('chain', 'up', 20000);
SELECT count(*), max(depth), bool_or(is_cycle) FROM dbpatterns.adjacency_walk('chain', 'up', 1, direction => 'up');
SELECT count(*), min(node::int), max("position") FROM dbpatterns.adjacency_cycles('chain', 'up');
SELECT count(*) FROM dbpatterns.adjacency_walk('chain', 'up');
UPDATE chain SET up = nullif(1, id);
SELECT count(*), max(depth) FROM dbpatterns.adjacency_walk('chain', 'up', 1, search => 'breadth');

-- A key that is checked at the end may occur twice until then.
CREATE TABLE late (id int UNIQUE DEFERRABLE NOT NULL, up int);
CREATE INDEX ON late (up);
INSERT INTO late VALUES (1, NULL), (2, 1), (3, 2);
SELECT node FROM dbpatterns.adjacency_walk('late', 'up', 1, key => '{id}');
BEGIN;
SET CONSTRAINTS ALL DEFERRED;
INSERT INTO late VALUES (2, 3);
SELECT refused($$SELECT dbpatterns.adjacency_walk('late', 'up', 1, key => '{id}')$$);
ROLLBACK;

-- Names that need quotes.
CREATE TABLE "Node ""x""" ("Id %s" int PRIMARY KEY, "up {" int) PARTITION BY LIST ("Id %s");
CREATE TABLE "Node 0" PARTITION OF "Node ""x""" DEFAULT;
INSERT INTO "Node ""x""" VALUES (1, NULL), (2, 1);
SELECT node, parent FROM dbpatterns.adjacency_walk('"Node ""x"""', 'up {') ORDER BY 1;
SELECT node, parent FROM dbpatterns.adjacency_walk('"Node ""x"""', 'up {', 2, direction => 'up');
SELECT node, parent FROM dbpatterns.adjacency_walk('"Node ""x"""', 'up {', 1);

-- Rights: those of the caller, and the rows he may see.
CREATE ROLE regress_dbp_user;
GRANT USAGE ON SCHEMA t TO regress_dbp_user;
GRANT EXECUTE ON FUNCTION refused(text), digest, expected TO regress_dbp_user;
SET ROLE regress_dbp_user;
SELECT refused($$SELECT dbpatterns.adjacency_walk('node', 'up')$$);
SELECT refused($$SELECT dbpatterns.adjacency_cycles('node', 'up')$$);
SELECT expected($$SELECT * FROM dbpatterns.adjacency_walk('big', 'up', 1)$$);
RESET ROLE;
GRANT SELECT (id, up) ON node TO regress_dbp_user;
SET ROLE regress_dbp_user;
SELECT count(*) FROM dbpatterns.adjacency_walk('node', 'up');
SELECT refused($$SELECT dbpatterns.adjacency_walk('node', 'up', order_by => 'pos')$$);
RESET ROLE;
GRANT SELECT ON node TO regress_dbp_user;
ALTER TABLE node ENABLE ROW LEVEL SECURITY;
CREATE POLICY p ON node TO regress_dbp_user USING (id <> 2);
SET ROLE regress_dbp_user;
SELECT node, depth FROM dbpatterns.adjacency_walk('node', 'up', 1, order_by => 'pos');
SELECT node, depth FROM dbpatterns.adjacency_walk('node', 'up', 5, direction => 'up');
SELECT node, parent FROM dbpatterns.adjacency_walk('node', 'up', order_by => 'name');
SELECT node FROM dbpatterns.adjacency_cycles('node', 'up');
SET row_security = off;
SELECT refused($$SELECT dbpatterns.adjacency_walk('node', 'up', 1)$$);
RESET row_security;
RESET ROLE;

-- Walks up in one query remember what they met on their way: the same as one walk
-- after the other, over rows above and below 2^31, orphans and a cycle.
CREATE TABLE met (id bigint PRIMARY KEY, up bigint);
INSERT INTO met SELECT i, CASE WHEN i > 3 THEN i / 3 END FROM generate_series(1, 3000) i;
INSERT INTO met SELECT i * 1000000007, CASE WHEN i < 2000 THEN (i + 1) * 1000000007 ELSE 9 END FROM generate_series(1900, 2000::bigint) i;
UPDATE met SET up = -1 WHERE id = 20;
UPDATE met SET up = 90 WHERE id = 10;
CREATE FUNCTION one_by_one(limit_to int) RETURNS SETOF text LANGUAGE plpgsql AS $$
DECLARE start bigint;
BEGIN
    FOR start IN SELECT id FROM met LOOP
        RETURN QUERY EXECUTE format('SELECT w::text FROM dbpatterns.adjacency_walk(''met'', ''up'', %L::bigint, direction => ''up'', max_depth => %L) w', start, limit_to);
    END LOOP;
END $$;
SELECT deep, count(*), count(*) FILTER (WHERE a IS DISTINCT FROM b) AS different
  FROM unnest('{NULL,0,1,4}'::int[]) deep, LATERAL (
    SELECT m.w::text AS a, row_number() OVER () AS n FROM (
        SELECT w FROM met, dbpatterns.adjacency_walk('met', 'up', id, direction => 'up', max_depth => deep) w) m) x
  FULL JOIN LATERAL (SELECT b, row_number() OVER () AS n FROM one_by_one(deep) b) y USING (n)
 GROUP BY deep ORDER BY deep NULLS FIRST;
-- The next query sees what has changed.
PREPARE tops AS SELECT w.node, count(*) FROM met, dbpatterns.adjacency_walk('met', 'up', id, direction => 'up') w
 WHERE w.parent IS NULL GROUP BY 1 ORDER BY 1;
EXECUTE tops;
UPDATE met SET up = 1 WHERE id IN (2, 3, 10, 20);
EXECUTE tops;

-- What is refused.
CREATE VIEW node_view AS SELECT * FROM node;
CREATE TABLE old (id int PRIMARY KEY, up int);
CREATE TABLE young () INHERITS (old);
CREATE TABLE keyless (id int, up int, other int UNIQUE);
CREATE TABLE odd (id int PRIMARY KEY, up bigint, body json, spot point);
SELECT refused(format('SELECT dbpatterns.adjacency_walk(%s)', arguments)) FROM unnest(ARRAY[
    'NULL, ''up''', '''node'', NULL::name', '''node'', NULL::name[]', '0, ''up''', '''no_such_table'', ''up''',
    '''node'', ''none''', '''node'', ''{}''', '''node'', ''{up,up}''', '''node'', ''up'', key => ''{none}''',
    '''node'', ''{up,pos}''', '''node'', ''up'', key => ''{pos}''',
    '''node'', ''up'', direction => ''left''', '''node'', ''up'', direction => NULL',
    '''node'', ''up'', search => ''best''', '''node'', ''up'', max_depth => -1', '''node'', ''up'', order_by => ''none''',
    '''odd'', ''up''', '''odd'', ''body''', '''node'', ''up'', order_by => ''up''::name, key => ''{id,id}''',
    '''odd'', ''id''', '''keyless'', ''up''', '''keyless'', ''up'', key => ''{other}''',
    '''node_view'', ''up''', '''node_pkey'', ''up''', '''old'', ''up''']) AS arguments;
CREATE TABLE spots (id int PRIMARY KEY, up int, spot point);
SELECT refused($$SELECT dbpatterns.adjacency_walk('spots', 'up', order_by => 'spot')$$);
-- Starts of another type than the key.
SELECT refused(format('SELECT dbpatterns.adjacency_walk(%s)', arguments)) FROM unnest(ARRAY[
    '''node'', ''up'', ''1''', '''node'', ''up'', 1.0', '''typed'', ''u_up'', key => ''{u}''',
    '''typed'', ''u_up'', ''00000000-0000-0000-0000-000000000002'', key => ''{u}''',
    '''tenant_node'', ''{up,tenant}''', '''tenant_node'', ''{up,tenant}'', 1',
    '''tenant_node'', ''{up,tenant}'', ARRAY[''1'']', '''tenant_node'', ''{up,tenant}'', ARRAY[''1'', NULL]',
    '''tenant_node'', ''{up,tenant}'', ARRAY[''x'', ''a'']']) AS arguments;
-- A domain might refuse what is in the table; over an integer, bigint comes back.
CREATE DOMAIN positive AS int CHECK (VALUE > 0);
CREATE DOMAIN guid AS uuid;
SELECT node, pg_typeof(node) FROM dbpatterns.adjacency_walk('node', 'up', 3::positive);
SELECT refused($$SELECT dbpatterns.adjacency_walk('typed', 'u_up', NULL::guid, key => '{u}')$$);
-- Text with blanks that do not count would not come back as such.
CREATE TABLE short (id char(3) PRIMARY KEY, up char(3));
INSERT INTO short VALUES ('a', NULL), ('b', 'a');
SELECT refused($$SELECT dbpatterns.adjacency_walk('short', 'up', 'a')$$);
SELECT node, parent FROM dbpatterns.adjacency_walk('short', 'up', ARRAY['a']);
SELECT refused(format('SELECT dbpatterns.adjacency_cycles(%s)', arguments)) FROM unnest(ARRAY[
    'NULL, ''up''', '''node'', NULL::name', '''node'', ''none''', '''node_view'', ''up''']) AS arguments;

DROP OWNED BY regress_dbp_user;
DROP ROLE regress_dbp_user;
:finish
