-- Numbers of children and descendants, exact after every statement.
\getenv srcdir PG_ABS_SRCDIR
\set include :srcdir '/sql/include/hierarchy.sql'
\i :include

CREATE TABLE node (id int PRIMARY KEY, parent_id int REFERENCES node ON DELETE CASCADE ON UPDATE CASCADE DEFERRABLE, name text);
CREATE INDEX ON node (parent_id);
INSERT INTO node VALUES (1, NULL), (2, 1), (3, 1), (4, 2), (5, NULL), (6, 5);
SELECT dbpatterns.closure_enable('node', 'parent_id', counters => true);
TABLE node_closure_counts ORDER BY node;
-- What is counted, and what a query counts; nothing while they are the same.
CREATE VIEW wrong AS
    SELECT w.*, c.* FROM (
        SELECT n.id, count(*) FILTER (WHERE d.depth = 1) AS want_children, count(*) FILTER (WHERE d.depth > 0) AS want_descendants
          FROM node n LEFT JOIN node_closure d ON d.ancestor = n.id GROUP BY n.id) w
      FULL JOIN node_closure_counts c ON c.node = w.id
     WHERE (want_children, want_descendants) IS DISTINCT FROM (children, descendants);
TABLE wrong;

-- Leaves, roots, moves, keys, swaps, deletions.
INSERT INTO node VALUES (7, 6), (8, 7), (9, NULL);
TABLE wrong;
UPDATE node SET parent_id = 4 WHERE id = 6;
TABLE wrong;
TABLE node_closure_counts ORDER BY node;
UPDATE node SET parent_id = CASE id WHEN 2 THEN 6 WHEN 6 THEN 1 END WHERE id IN (2, 6);
TABLE wrong;
UPDATE node SET id = id + 100 WHERE id IN (1, 6);
TABLE wrong;
UPDATE node SET parent_id = NULL WHERE id = 2;
TABLE wrong;
DELETE FROM node WHERE id = 106;
TABLE wrong;
DELETE FROM node WHERE id = 101;
TABLE node_closure_counts ORDER BY node;
SELECT refused('UPDATE node SET parent_id = 4 WHERE id = 2');
TABLE wrong;
BEGIN;
INSERT INTO node VALUES (30, 4);
SAVEPOINT s;
DELETE FROM node WHERE id = 2;
TABLE wrong;
ROLLBACK TO s;
TABLE wrong;
COMMIT;
TABLE node_closure_counts ORDER BY node;
-- Many at once, in any order; many keys, so that they are written in batches.
INSERT INTO node SELECT i, nullif(i / 4, 100) FROM generate_series(20399, 400, -1) i WHERE i / 4 = 100
    UNION ALL SELECT i, CASE WHEN i < 1600 THEN NULL ELSE i / 4 END FROM generate_series(20399, 404, -1) i;
SELECT count(*), max(children), max(descendants), sum(descendants) FROM node_closure_counts;
TABLE wrong;
DELETE FROM node WHERE id % 3 = 0;
SELECT count(*), max(children), max(descendants), sum(descendants) FROM node_closure_counts;
TABLE wrong;
SELECT dbpatterns.closure_move('node', 410, 404);
SELECT dbpatterns.closure_delete('node', 404);
TABLE wrong;
TRUNCATE node;
TABLE node_closure_counts;

-- Found when they are wrong, and repaired.
INSERT INTO node VALUES (1, NULL), (2, 1), (3, 2);
UPDATE node_closure_counts SET children = 7 WHERE node = 1;
DELETE FROM node_closure_counts WHERE node = 2;
INSERT INTO node_closure_counts VALUES (9, 0, 0);
SELECT * FROM dbpatterns.closure_check('node');
SELECT * FROM dbpatterns.closure_sync('node', dry_run => true);
SELECT count(*) FROM dbpatterns.closure_check('node');
SELECT * FROM dbpatterns.closure_sync('node');
SELECT * FROM dbpatterns.closure_check('node');
TABLE wrong;
-- Pairs and counts are wrong at the same time.
DELETE FROM node_closure WHERE descendant = 3 AND depth > 0;
SELECT * FROM dbpatterns.closure_sync('node');
TABLE wrong;
DELETE FROM node_closure WHERE descendant = 3 AND depth > 0;
CALL dbpatterns.closure_rebuild('node');
TABLE wrong;
SELECT * FROM dbpatterns.closure_check('node');
DROP VIEW wrong;

-- The table goes where its closure goes: name, schema, owner.
ALTER TABLE node_closure RENAME TO tree;
CREATE SCHEMA t2;
ALTER TABLE node SET SCHEMA t2;
CREATE ROLE regress_dbp_owner;
GRANT ALL ON SCHEMA t2 TO regress_dbp_owner;
ALTER TABLE t2.node OWNER TO regress_dbp_owner;
SELECT relname, relnamespace::regnamespace, relowner::regrole, relpersistence FROM pg_class
 WHERE relname IN ('node', 'tree', 'tree_counts', 'node_closure_counts') ORDER BY 1;
ALTER TABLE t2.node RENAME id TO node_id;
INSERT INTO t2.node VALUES (4, 3);
TABLE t2.tree_counts ORDER BY node;
-- Switched off and on.
SELECT dbpatterns.closure_enable('t2.node', 'parent_id', closure => 'tree');
SELECT to_regclass('t2.tree_counts');
UPDATE t2.node SET parent_id = 1 WHERE node_id = 3;
CREATE TABLE t2.tree_counts (mine int);
SELECT refused($$SELECT dbpatterns.closure_enable('t2.node', 'parent_id', closure => 'tree', counters => true)$$);
DROP TABLE t2.tree_counts;
SELECT dbpatterns.closure_enable('t2.node', 'parent_id', closure => 'tree', counters => true);
TABLE t2.tree_counts ORDER BY node;
-- Gone, it is missed; with the target it goes.
DROP TABLE t2.tree_counts;
SELECT refused('INSERT INTO t2.node VALUES (5, 1)');
SELECT * FROM dbpatterns.closure_check('t2.node');
SELECT dbpatterns.closure_enable('t2.node', 'parent_id', closure => 'tree');
SELECT dbpatterns.closure_enable('t2.node', 'parent_id', closure => 'tree', counters => true);
DROP TABLE t2.node;
SELECT to_regclass('t2.tree'), to_regclass('t2.tree_counts');

-- Writers need no right on it; those who may read the target may read it.
CREATE ROLE regress_dbp_user;
GRANT USAGE ON SCHEMA t TO regress_dbp_user;
CREATE TABLE w (id text COLLATE "C" PRIMARY KEY, up text COLLATE "C");
GRANT SELECT, INSERT, DELETE ON w TO regress_dbp_user;
SELECT dbpatterns.closure_enable('w', 'up', counters => true);
SET ROLE regress_dbp_user;
INSERT INTO w VALUES ('a', NULL), ('b', 'a'), ('c', 'b');
DELETE FROM w WHERE id = 'c';
TABLE w_closure_counts ORDER BY node;
SELECT refused('DELETE FROM w_closure_counts');
RESET ROLE;
-- A table of its name that is another's is none: triggers on it would run with
-- the rights of the owner.
DROP TABLE w_closure_counts;
GRANT CREATE ON SCHEMA t TO regress_dbp_user;
SET ROLE regress_dbp_user;
CREATE TABLE w_closure_counts (node text COLLATE "C" PRIMARY KEY, children bigint, descendants bigint);
CREATE FUNCTION run() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN RAISE 'run as the owner'; END $$;
CREATE TRIGGER run BEFORE INSERT ON w_closure_counts FOR EACH ROW EXECUTE FUNCTION run();
SELECT refused($$INSERT INTO w VALUES ('d', NULL)$$);
RESET ROLE;
SELECT problem FROM dbpatterns.closure_check('w');
DROP TABLE w_closure_counts;

-- Scopes, domains, orphans, temporary tables.
CREATE DOMAIN number AS numeric;
CREATE TABLE s (tenant text, id number, up numeric, PRIMARY KEY (tenant, id));
SELECT dbpatterns.closure_enable('s', '{tenant,up}', counters => true);
INSERT INTO s VALUES ('a', 1, NULL), ('a', 2, 1.0), ('b', 1, NULL), ('b', 3, 2.00);
INSERT INTO s VALUES ('b', 2, 1);
TABLE s_closure_counts ORDER BY tenant, node;
CREATE TABLE k (a int, b int, c int, d int, PRIMARY KEY (a, b));
SELECT dbpatterns.closure_enable('k', '{c,d}', counters => true);
INSERT INTO k VALUES (1, 1, NULL, 1), (1, 2, 1, 1), (2, 1, 1, 2);
TABLE k_closure_counts ORDER BY 1, 2;
UPDATE k_closure_counts SET children = 9;
SELECT problem FROM dbpatterns.closure_check('k');
CREATE TEMP TABLE tmp (id int PRIMARY KEY, up int UNIQUE);
SELECT dbpatterns.closure_enable('tmp', 'up', counters => true);
INSERT INTO tmp VALUES (1, NULL), (2, 1);
TABLE tmp_closure_counts ORDER BY node;
DROP TABLE tmp;
-- Keys that are arrays cannot be counted.
CREATE TABLE arr (id int[] PRIMARY KEY, up int[]);
SELECT refused($$SELECT dbpatterns.closure_enable('arr', 'up', counters => true)$$);
SELECT to_regclass('arr_closure');
DROP SCHEMA t2;
REVOKE ALL ON SCHEMA t FROM regress_dbp_user;
DROP OWNED BY regress_dbp_user, regress_dbp_owner;
DROP ROLE regress_dbp_user, regress_dbp_owner;
:finish
