-- The closure of a graph while its edges change: every pair of a node and what
-- it reaches, with the length of the shortest path, exact after every
-- statement; cycles are refused however they would arise.
\getenv srcdir PG_ABS_SRCDIR
\set include :srcdir '/sql/include/hierarchy.sql'
\i :include

-- As watch(), for a table of edges.
CREATE FUNCTION watch_graph(target regclass, parent text[] DEFAULT '{a}', child text[] DEFAULT '{b}',
                            nscope int DEFAULT 0) RETURNS void LANGUAGE plpgsql AS $$
DECLARE
    n int := array_length(parent, 1);
    edge text;
    complete text;
    above text;
    below text;
    step text;
    meet text;
    pair text;
BEGIN
    SELECT string_agg(format('%I AS a%s', parent[i], i), ', ') || ', ' || string_agg(format('%I AS d%s', child[i], i), ', '),
           string_agg(format('%I IS NOT NULL AND %I IS NOT NULL', parent[i], child[i]), ' AND '),
           string_agg(format('a%s', i), ', ') || ', ' || string_agg(format('a%s AS d%s', i, i), ', '),
           string_agg(format('d%s', i), ', ') || ', ' || string_agg(format('d%s', i), ', '),
           string_agg(format('w.a%s', i), ', ') || ', ' || string_agg(format('e.d%s', i), ', '),
           string_agg(format('e.a%1$s = w.d%1$s', i), ' AND ')
      INTO edge, complete, above, below, step, meet FROM generate_series(1, n) i;
    SELECT string_agg(c, ', ' ORDER BY p, i) INTO pair FROM (
        SELECT 1, i, 'a' || i FROM generate_series(1, n) i
        UNION ALL SELECT 2, i, 'd' || i FROM generate_series(nscope + 1, n) i) x (p, i, c);
    INSERT INTO watched (target, closure, query) VALUES (target, (target || '_closure')::regclass, format($q$
        WITH RECURSIVE _edge AS (SELECT DISTINCT %1$s FROM %2$s WHERE %3$s),
        _walk AS (SELECT %4$s, 0 AS depth FROM _edge UNION SELECT %5$s, 0 FROM _edge
            UNION SELECT %6$s, w.depth + 1 FROM _walk w JOIN _edge e ON %7$s),
        _wanted AS (SELECT %8$s, min(depth) AS depth FROM _walk GROUP BY %8$s)
        SELECT 'missing ' || x::text FROM (TABLE _wanted EXCEPT ALL TABLE %2$s_closure) x
        UNION ALL SELECT 'extra ' || x::text FROM (TABLE %2$s_closure EXCEPT ALL TABLE _wanted) x$q$,
        edge, target, complete, above, below, step, meet, pair));
END $$;

-- ---- a diamond

CREATE TABLE edge (a text, b text, weight int DEFAULT 1);
SELECT dbpatterns.closure_enable_graph('edge', 'a', 'b');
SELECT watch_graph('edge');
SELECT * FROM below('edge_closure');
INSERT INTO edge VALUES ('a', 'b'), ('b', 'd'), ('a', 'c'), ('c', 'd');
:same
SELECT * FROM below('edge_closure');
-- One of two paths goes, then the other.
DELETE FROM edge WHERE a = 'a' AND b = 'b';
:same
SELECT * FROM below('edge_closure');
DELETE FROM edge WHERE a = 'c' AND b = 'd';
:same
SELECT * FROM below('edge_closure');

-- The shortest path goes, and comes back.
INSERT INTO edge VALUES ('a', 'd'), ('c', 'e'), ('e', 'd');
:same
SELECT depth FROM edge_closure WHERE ancestor = 'a' AND descendant = 'd';
DELETE FROM edge WHERE a = 'a' AND b = 'd';
:same
SELECT depth FROM edge_closure WHERE ancestor = 'a' AND descendant = 'd';
INSERT INTO edge VALUES ('a', 'd');
:same
SELECT depth FROM edge_closure WHERE ancestor = 'a' AND descendant = 'd';

-- An edge that is there twice goes with its last row; rows with NULL are no
-- edges, and no nodes.
INSERT INTO edge VALUES ('a', 'd'), ('a', NULL), (NULL, 'x'), (NULL, NULL);
:same
DELETE FROM edge WHERE ctid = (SELECT min(ctid) FROM edge WHERE a = 'a' AND b = 'd');
:same
SELECT depth FROM edge_closure WHERE ancestor = 'a' AND descendant = 'd';
DELETE FROM edge WHERE a = 'a' AND b = 'd';
:same
SELECT depth FROM edge_closure WHERE ancestor = 'a' AND descendant = 'd';
UPDATE edge SET a = 'w' WHERE b = 'x';
:same
UPDATE edge SET a = NULL WHERE a = 'w';
UPDATE edge SET b = 'y', a = 'd' WHERE a IS NULL AND b IS NULL;
:same
DELETE FROM edge WHERE a IS NULL OR b IS NULL;
:same

-- Attributes of edges are nobody's business: nothing is written or locked.
BEGIN;
UPDATE edge SET weight = 2, a = a, b = b;
SELECT count(*) FROM pg_locks WHERE pid = pg_backend_pid() AND relation = 'edge_closure'::regclass;
SELECT count(*) FROM edge_closure WHERE xmin::text = pg_current_xact_id()::xid::text;
COMMIT;

-- Only what changes is written.
BEGIN;
INSERT INTO edge VALUES ('a', 'b');
SELECT * FROM edge_closure WHERE xmin::text = pg_current_xact_id()::xid::text ORDER BY 1, 2;
SELECT locktype, mode FROM pg_locks WHERE pid = pg_backend_pid() AND relation = 'edge_closure'::regclass ORDER BY 2;
ROLLBACK;
:same

-- ---- cycles

SELECT * FROM below('edge_closure');
SELECT refused($$INSERT INTO edge VALUES ('d', 'a')$$);
SELECT refused($$INSERT INTO edge VALUES ('z', 'z')$$);
SELECT refused($$INSERT INTO edge VALUES ('p', 'q'), ('q', 'p')$$);
SELECT refused($$INSERT INTO edge VALUES ('p', 'q'), ('q', 'r'), ('r', 's'), ('s', 'q')$$);
SELECT refused($$UPDATE edge SET b = 'a' WHERE b = 'd'$$);
SELECT refused($$WITH new AS (INSERT INTO edge VALUES ('m', 'a')) UPDATE edge SET b = 'm' WHERE b = 'd'$$);
SELECT refused($$MERGE INTO edge USING (VALUES ('e', 'k'), ('k', 'c')) v (a, b) ON edge.a = v.a
    WHEN MATCHED THEN UPDATE SET b = v.b WHEN NOT MATCHED THEN INSERT (a, b) VALUES (v.a, v.b)$$);
:same
-- Legal: all edges are turned at once, one of a path is, a cycle is broken by the
-- statement that would close it.
UPDATE edge SET a = b, b = a;
:same
SELECT * FROM below('edge_closure');
UPDATE edge SET a = b, b = a;
:same
WITH gone AS (DELETE FROM edge WHERE a = 'a') INSERT INTO edge VALUES ('d', 'a');
:same
DELETE FROM edge WHERE a = 'd' AND b = 'a';
INSERT INTO edge VALUES ('a', 'c');
:same

-- ---- many edges in one statement

INSERT INTO edge SELECT 'n' || i, 'n' || i + 1 + i % 3 FROM generate_series(1, 40) i;
:same
UPDATE edge SET b = 'n' || substr(b, 2)::int + 1 WHERE a LIKE 'n%' AND substr(a, 2)::int % 4 = 0;
:same
DELETE FROM edge WHERE b IN ('n10', 'n20', 'n21');
:same
MERGE INTO edge USING (SELECT 'n' || i AS a, 'n' || i + 5 AS b FROM generate_series(1, 40, 3) i) v ON edge.a = v.a
    WHEN MATCHED AND v.b LIKE '%5' THEN DELETE WHEN MATCHED THEN UPDATE SET b = v.b
    WHEN NOT MATCHED THEN INSERT (a, b) VALUES (v.a, v.b);
:same
COPY edge (a, b) FROM stdin;
n3	leaf
leaf	twig
n30	leaf
n3	leaf
\.
:same
DELETE FROM edge WHERE a LIKE 'n%' OR b = 'twig';
:same
SELECT * FROM below('edge_closure');

-- ---- transactions

BEGIN;
INSERT INTO edge VALUES ('e', 'f');
SAVEPOINT s;
INSERT INTO edge VALUES ('f', 'g');
DELETE FROM edge WHERE b = 'e';
:same
ROLLBACK TO s;
:same
INSERT INTO edge VALUES ('f', 'c');
ROLLBACK TO s;
INSERT INTO edge VALUES ('f', 'h');
DELETE FROM edge WHERE b = 'f';
INSERT INTO edge VALUES ('e', 'f');
:same
COMMIT;
:same
BEGIN;
TRUNCATE edge;
SELECT count(*) FROM edge_closure;
INSERT INTO edge VALUES ('t', 'u');
:same
ROLLBACK;
:same
TRUNCATE edge;
:same
SELECT count(*) FROM edge_closure;
-- One snapshot for all of it: what goes of a node that is walked anew, and what
-- gets another depth, is no change of others.
BEGIN ISOLATION LEVEL REPEATABLE READ;
INSERT INTO edge SELECT 'hub', 'x' || i FROM generate_series(1, 2000) i;
INSERT INTO edge SELECT 'x1', 'y' || i FROM generate_series(1, 2000) i;
SAVEPOINT s;
DELETE FROM edge WHERE b IN (SELECT 'x' || i FROM generate_series(2, 1500) i);
SELECT count(*) FROM edge_closure;
ROLLBACK TO s;
INSERT INTO edge SELECT 'hub', 'y' || i FROM generate_series(1, 1500) i;
SELECT depth, count(*) FROM edge_closure WHERE ancestor = 'hub' GROUP BY depth ORDER BY depth;
SELECT count(*) FROM dbpatterns.closure_check('edge');
ROLLBACK;

-- ---- a ladder of 70 diamonds has 2^70 paths

INSERT INTO edge SELECT x || i, y || i + (x <> 't')::int
  FROM generate_series(1, 70) i, (VALUES ('t', 'l'), ('t', 'r'), ('l', 't'), ('r', 't')) v (x, y);
SELECT count(*), max(depth) FROM edge_closure;
SELECT depth FROM edge_closure WHERE ancestor = 't1' AND descendant = 't71';
DELETE FROM edge WHERE a = 't35' AND b = 'l35';
SELECT depth FROM edge_closure WHERE ancestor = 't1' AND descendant = 't71';
DELETE FROM edge WHERE a = 't35' AND b = 'r35';
SELECT depth FROM edge_closure WHERE ancestor = 't1' AND descendant = 't71';
SELECT count(*), max(depth) FROM edge_closure;
INSERT INTO edge VALUES ('t35', 't36');
SELECT depth FROM edge_closure WHERE ancestor = 't1' AND descendant = 't71';
SELECT count(*) FROM dbpatterns.closure_check('edge');
TRUNCATE edge;

-- ---- keys and tables

CREATE TABLE u (a uuid, b uuid, PRIMARY KEY (a, b));
INSERT INTO u SELECT md5(i::text)::uuid, md5((i + 1)::text)::uuid FROM generate_series(1, 4) i;
SELECT dbpatterns.closure_enable_graph('u', 'a', 'b', max_depth => 4);
SELECT watch_graph('u');
:same
INSERT INTO u SELECT md5('1')::uuid, md5(i::text)::uuid FROM generate_series(2, 5) i ON CONFLICT DO NOTHING;
:same
INSERT INTO u VALUES (md5('1')::uuid, md5('5')::uuid) ON CONFLICT (a, b) DO UPDATE SET b = md5('9')::uuid;
:same
DELETE FROM u WHERE a = md5('1')::uuid AND b <> md5('9')::uuid;
:same
-- Equal by collation is equal.
CREATE COLLATION loose (provider = icu, locale = 'und-u-ks-level2', deterministic = false);
CREATE TABLE c (a text COLLATE loose, b text COLLATE loose);
SELECT dbpatterns.closure_enable_graph('c', 'a', 'b');
INSERT INTO c VALUES ('A', 'b'), ('B', 'c'), ('a', 'B');
SELECT watch_graph('c');
:same
SELECT refused($$INSERT INTO c VALUES ('C', 'A')$$);
DELETE FROM c WHERE a = 'a' AND ctid = '(0,1)';
:same
SELECT count(*) FROM c_closure WHERE ancestor = 'a' AND descendant = 'C';
-- A tenant in front; the same nodes of two tenants do not meet.
CREATE TABLE tenant_edge (tenant int, a int, b int);
SELECT dbpatterns.closure_enable_graph('tenant_edge', '{tenant,a}', '{tenant,b}');
\d tenant_edge_closure
INSERT INTO tenant_edge VALUES (1, 1, 2), (2, 2, 1), (1, 2, 3), (2, 1, 3), (NULL, 3, 1);
SELECT watch_graph('tenant_edge', '{tenant,a}', '{tenant,b}', 1);
:same
SELECT refused('INSERT INTO tenant_edge VALUES (2, 3, 2)');
UPDATE tenant_edge SET tenant = 3 WHERE a = 2;
:same
SELECT refused('UPDATE tenant_edge SET tenant = 4, a = least(a, 2), b = CASE b WHEN 3 THEN 1 ELSE b END');
:same
-- Two columns without a tenant.
CREATE TABLE pair_edge (a1 int, a2 text, b1 int, b2 text);
SELECT dbpatterns.closure_enable_graph('pair_edge', '{a1,a2}', '{b1,b2}');
INSERT INTO pair_edge VALUES (1, 'x', 1, 'y'), (1, 'y', 2, 'x'), (2, 'x', 2, NULL);
SELECT watch_graph('pair_edge', '{a1,a2}', '{b1,b2}');
:same
SELECT refused($$INSERT INTO pair_edge VALUES (2, 'x', 1, 'x')$$);

-- Partitions, written through the root and directly; rows that move.
CREATE TABLE part (a int, b int) PARTITION BY LIST (a);
CREATE TABLE part1 PARTITION OF part FOR VALUES IN (1, 2, 3);
CREATE TABLE part2 (b int, a int);
ALTER TABLE part ATTACH PARTITION part2 FOR VALUES IN (4, 5, 6);
SELECT dbpatterns.closure_enable_graph('part', 'a', 'b');
SELECT watch_graph('part');
INSERT INTO part VALUES (1, 2), (2, 4), (4, 5);
:same
INSERT INTO part2 (a, b) VALUES (5, 7), (6, 1);
:same
UPDATE part SET a = 3 WHERE a = 6;
:same
SELECT refused('INSERT INTO part2 (a, b) VALUES (5, 3)');
UPDATE part SET a = b, b = a WHERE b BETWEEN 4 AND 5;
:same
TRUNCATE part2;
:same
DROP TABLE part1;
SELECT problem FROM dbpatterns.closure_check('part');

-- Foreign keys that delete edges together with their nodes.
CREATE TABLE node (id int PRIMARY KEY);
INSERT INTO node SELECT generate_series(1, 8);
CREATE TABLE link (a int REFERENCES node ON DELETE CASCADE ON UPDATE CASCADE,
                   b int REFERENCES node ON DELETE CASCADE ON UPDATE CASCADE, PRIMARY KEY (a, b));
SELECT dbpatterns.closure_enable_graph('link', 'a', 'b');
SELECT watch_graph('link');
INSERT INTO link VALUES (1, 2), (2, 3), (1, 3), (3, 4), (4, 5), (5, 6), (2, 6), (6, 7), (7, 8);
:same
DELETE FROM node WHERE id IN (3, 6);
:same
UPDATE node SET id = id + 10 WHERE id IN (2, 4);
:same
SELECT * FROM below('link_closure');

-- Triggers of the user's that change edges inside a statement.
CREATE FUNCTION shorten() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    DELETE FROM link WHERE a = NEW.b;
    RETURN NULL;
END $$;
CREATE TRIGGER a_shorten AFTER UPDATE ON link FOR EACH ROW EXECUTE FUNCTION shorten();
CREATE TRIGGER z_shorten AFTER UPDATE ON link FOR EACH ROW EXECUTE FUNCTION shorten();
INSERT INTO node VALUES (20);
SELECT refused('INSERT INTO link VALUES (5, 14)');
UPDATE link SET a = b, b = a WHERE a IN (4, 7, 14, 5);
:same
UPDATE link SET b = 20 WHERE a = 1;
:same

-- ---- limits

CREATE TABLE chain (a int, b int);
SELECT dbpatterns.closure_enable_graph('chain', 'a', 'b', max_depth => 3);
INSERT INTO chain VALUES (1, 2), (2, 3), (3, 4);
SELECT refused('INSERT INTO chain VALUES (4, 5)');
-- Long ways do not count where there is a short one.
INSERT INTO chain VALUES (4, 5), (1, 4), (2, 5);
SELECT watch_graph('chain');
:same
DELETE FROM chain WHERE a = 2 AND b = 5;
:same
SELECT refused('DELETE FROM chain WHERE a = 1 AND b = 4');
:same
SELECT refused($$SELECT dbpatterns.closure_enable_graph('chain', 'a', 'b', max_depth => 2)$$);
SELECT dbpatterns.closure_enable_graph('chain', 'a', 'b', max_depth => NULL);
DELETE FROM chain WHERE a = 1 AND b = 4;
:same

-- ---- cycles in what is there

CREATE TABLE loops (a int, b int);
INSERT INTO loops VALUES (1, 2), (2, 1), (2, 3), (3, 4), (4, 5), (5, 3), (6, 6), (7, 1), (5, 8), (5, 3);
SELECT refused($$SELECT dbpatterns.closure_enable_graph('loops', 'a', 'b')$$);
SELECT to_regclass('loops_closure'), count(*) FROM pg_trigger WHERE tgrelid = 'loops'::regclass;
SELECT component, parent_key, child_key, closes, edge_table, edge_tid FROM dbpatterns.closure_graph_cycles('loops', 'a', 'b');
DELETE FROM loops WHERE ctid IN (SELECT edge_tid FROM dbpatterns.closure_graph_cycles('loops', 'a', 'b') WHERE closes);
SELECT count(*) FROM dbpatterns.closure_graph_cycles('loops', 'a', 'b');
SELECT dbpatterns.closure_enable_graph('loops', 'a', 'b');
SELECT watch_graph('loops');
:same
-- Cycles that came while the triggers were off.
ALTER TABLE loops DISABLE TRIGGER USER;
INSERT INTO loops VALUES (2, 1), (8, 9);
SELECT problem, remedy FROM dbpatterns.closure_check('loops') WHERE problem ~ 'cycle';
SELECT refused($$SELECT FROM dbpatterns.closure_sync('loops')$$);
DELETE FROM loops WHERE a = 2 AND b = 1;
ALTER TABLE loops ENABLE TRIGGER USER;
SELECT * FROM dbpatterns.closure_sync('loops', dry_run => true);
SELECT count(*) FROM dbpatterns.closure_sync('loops');
:same
-- Many sets: some are named, the others counted.
CREATE TABLE many (a int, b int);
INSERT INTO many SELECT i, CASE WHEN i % 2 = 0 THEN i + 1 ELSE i - 1 END FROM generate_series(2, 61) i;
SELECT refused($$SELECT dbpatterns.closure_enable_graph('many', 'a', 'b')$$);
CALL dbpatterns.closure_rebuild('loops');
:same

-- ---- bad input

CREATE VIEW v AS SELECT * FROM edge;
CREATE TABLE odd (a int, b bigint, c text, d point, e point);
SELECT refused(format('SELECT dbpatterns.closure_enable_graph(%s)', arguments)) FROM unnest(ARRAY[
    $$NULL, 'a', 'b'$$, $$'odd', NULL::name, 'b'$$, $$'odd', 'a', NULL::name$$, $$0, 'a', 'b'$$,
    $$'odd', '{}', '{}'$$, $$'odd', '{a,b}', '{c}'$$, $$'odd', 'a', 'none'$$, $$'odd', 'a', 'a'$$,
    $$'odd', 'a', 'b'$$, $$'odd', 'd', 'e'$$, $$'v', 'a', 'b'$$, $$'part2', 'a', 'b'$$,
    $$'chain', 'a', 'b', max_depth => 0$$, $$'chain', 'a', 'b', fire => 'never'$$,
    $$'chain', 'b', 'a', closure => 'chain_closure'$$, $$'chain', 'a', 'b', closure => ''$$]) arguments;
SELECT refused(format('SELECT FROM dbpatterns.closure_graph_cycles(%s)', arguments)) FROM unnest(ARRAY[
    $$NULL, 'a', 'b'$$, $$'odd', NULL::name, 'b'$$, $$0, 'a', 'b'$$, $$'odd', '{a,b}', '{c}'$$,
    $$'odd', 'a', 'none'$$, $$'odd', 'a', 'b'$$, $$'odd', 'd', 'e'$$, $$'v', 'a', 'b'$$]) arguments;
-- Twice the same, and off.
SELECT dbpatterns.closure_enable_graph('chain', 'a', 'b', max_depth => NULL);
SELECT target, closure, kind, key, parent, max_depth, active FROM dbpatterns.closure_status WHERE target = 'chain'::regclass;
SELECT dbpatterns.closure_disable('chain', drop_closure => true);
SELECT to_regclass('chain_closure'), count(*) FROM pg_trigger WHERE tgrelid = 'chain'::regclass;

-- ---- rights: who may write edges needs no right on the closure

CREATE ROLE regress_dbp_graph;
GRANT USAGE ON SCHEMA t TO regress_dbp_graph;
GRANT SELECT, INSERT, DELETE ON u TO regress_dbp_graph;
SET ROLE regress_dbp_graph;
INSERT INTO u VALUES (md5('20')::uuid, md5('21')::uuid);
DELETE FROM u WHERE a = md5('2')::uuid;
SELECT refused('SELECT FROM u_closure');
SELECT refused($$SELECT FROM dbpatterns.closure_graph_cycles('edge', 'a', 'b')$$);
SELECT count(*) FROM dbpatterns.closure_graph_cycles('u', 'a', 'b');
SELECT refused($$SELECT dbpatterns.closure_enable_graph('u', 'a', 'b')$$);
RESET ROLE;
:same
-- A policy that shows other rows each time it is asked.
CREATE SEQUENCE shown;
CREATE TABLE veiled (a int, b int);
INSERT INTO veiled VALUES (3, 4), (1, 2), (2, 1);
ALTER TABLE veiled ENABLE ROW LEVEL SECURITY;
CREATE POLICY veil ON veiled USING (nextval('shown') > 1);
GRANT SELECT ON veiled TO regress_dbp_graph;
GRANT USAGE ON SEQUENCE shown TO regress_dbp_graph;
SET ROLE regress_dbp_graph;
SELECT component, parent_key, child_key, closes FROM dbpatterns.closure_graph_cycles('veiled', 'a', 'b');
RESET ROLE;
DROP OWNED BY regress_dbp_graph;
DROP ROLE regress_dbp_graph;
:finish
