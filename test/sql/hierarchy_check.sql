-- closure_check: every pair that is missing, extra or of another depth, and
-- whatever else keeps a closure table from being exact.
\set SHOW_CONTEXT never
\pset footer off
SET client_min_messages = warning;
SET search_path = public;
SET debug_discard_caches = 0;
DROP EXTENSION IF EXISTS dbpatterns CASCADE;
CREATE EXTENSION dbpatterns;
DROP SCHEMA IF EXISTS t CASCADE;
CREATE SCHEMA t;
SET search_path = t;

CREATE TABLE c (id int PRIMARY KEY, parent_id int REFERENCES c ON DELETE CASCADE);
INSERT INTO c SELECT i, nullif(i / 2, 0) FROM generate_series(1, 15) i;
SELECT dbpatterns.closure_enable('c', 'parent_id');
SELECT * FROM dbpatterns.closure_check('c');
SELECT * FROM dbpatterns.closure_check();
-- Not a table with a closure table, not a table at all.
CREATE TABLE plain (id int);
SELECT * FROM dbpatterns.closure_check('plain');
SELECT * FROM dbpatterns.closure_check('c_pkey');
SELECT * FROM dbpatterns.closure_check(0);

-- Pairs.
BEGIN;
DELETE FROM c_closure WHERE (ancestor, descendant) IN ((1, 5), (9, 9));
UPDATE c_closure SET depth = 3 WHERE (ancestor, descendant) = (2, 4);
INSERT INTO c_closure VALUES (3, 4, 1), (16, 4, 2), (4, 16, 1);
SELECT severity, object, problem, remedy FROM dbpatterns.closure_check('c') ORDER BY problem COLLATE "C";
SELECT pattern, severity, object, problem FROM dbpatterns."check"('c') ORDER BY problem COLLATE "C";
-- Each twice, since nothing forbids it.
ALTER TABLE c_closure DROP CONSTRAINT c_closure_pkey;
INSERT INTO c_closure VALUES (1, 2, 1), (2, 4, 1);
SELECT object, problem, remedy FROM dbpatterns.closure_check('c') ORDER BY problem COLLATE "C";
ROLLBACK;
BEGIN;
TRUNCATE c_closure;
SELECT count(*), min(problem) FROM dbpatterns.closure_check('c');
ROLLBACK;
-- What this transaction has done counts.
BEGIN;
UPDATE c SET parent_id = 3 WHERE id = 2;
SELECT * FROM dbpatterns.closure_check('c');
ROLLBACK;

-- Triggers.
ALTER TABLE c DISABLE TRIGGER dbpatterns_41_closure;
ALTER TABLE c ENABLE REPLICA TRIGGER dbpatterns_42_closure;
UPDATE c SET parent_id = 3 WHERE id = 9;
SELECT * FROM dbpatterns.closure_check('c') ORDER BY problem COLLATE "C";
UPDATE c SET parent_id = 4 WHERE id = 9;
ALTER TABLE c ENABLE TRIGGER dbpatterns_41_closure;
ALTER TABLE c ENABLE TRIGGER dbpatterns_42_closure;
SELECT * FROM dbpatterns.closure_check('c');
BEGIN;
DROP TRIGGER dbpatterns_43_closure ON c;
SELECT * FROM dbpatterns.closure_check('c');
ROLLBACK;

-- All of them, where no event trigger sees it.
BEGIN;
SET LOCAL session_replication_role = replica;
DROP TRIGGER dbpatterns_40_closure ON c;
DROP TRIGGER dbpatterns_41_closure ON c;
DROP TRIGGER dbpatterns_42_closure ON c;
DROP TRIGGER dbpatterns_43_closure ON c;
SELECT * FROM dbpatterns.closure_check('c');
ROLLBACK;

-- Indexes.
BEGIN;
DROP INDEX c_closure_descendant_idx;
ALTER TABLE c_closure DROP CONSTRAINT c_closure_pkey;
DROP INDEX c_parent_id_idx;
SELECT * FROM dbpatterns.closure_check('c') ORDER BY problem COLLATE "C";
ROLLBACK;
-- A partial or an invalid index does not serve.
BEGIN;
DROP INDEX c_parent_id_idx;
CREATE INDEX ON c (parent_id) WHERE id > 3;
UPDATE pg_index SET indisvalid = false WHERE indexrelid = 'c_closure_descendant_idx'::regclass;
SELECT object, problem FROM dbpatterns.closure_check('c') ORDER BY problem COLLATE "C";
ROLLBACK;

-- The closure table is gone, or it is another one.
BEGIN;
ALTER TABLE c_closure DROP COLUMN depth CASCADE;
SELECT * FROM dbpatterns.closure_check('c');
ROLLBACK;
BEGIN;
DELETE FROM pg_depend WHERE refobjid = 'c_closure'::regclass AND classid = 'pg_trigger'::regclass;
DO $$ BEGIN
    EXECUTE (SELECT 'DROP FUNCTION ' || string_agg(oid::regprocedure::text, ', ') FROM pg_proc WHERE starts_with(proname, 'c__'));
END $$;
ALTER TABLE c_closure ALTER depth TYPE bigint;
SELECT * FROM dbpatterns.closure_check('c');
DROP TABLE c_closure;
SELECT * FROM dbpatterns.closure_check('c');
ROLLBACK;
-- The key is none any more.
BEGIN;
DELETE FROM pg_depend WHERE refobjid = 'c'::regclass AND classid = 'pg_trigger'::regclass;
ALTER TABLE c DROP CONSTRAINT c_pkey CASCADE;
SELECT * FROM dbpatterns.closure_check('c');
ROLLBACK;

-- Cycles, orphans, depth: what comes in past the triggers.
CREATE TABLE f (id int PRIMARY KEY, parent_id int);
INSERT INTO f VALUES (1, NULL), (2, 1), (3, 2), (4, 77), (5, 4);
SELECT dbpatterns.closure_enable('f', 'parent_id', max_depth => 2);
SELECT * FROM dbpatterns.closure_check('f');
SET session_replication_role = replica;
UPDATE f SET parent_id = 3 WHERE id = 1;
INSERT INTO f VALUES (6, 6), (7, 6), (8, 5), (9, 8), (10, 78);
RESET session_replication_role;
SELECT * FROM dbpatterns.closure_check('f') ORDER BY problem COLLATE "C";
DROP TABLE f CASCADE;

-- Partitions, and keys of several columns.
CREATE TABLE p (tenant int, id int, parent_id int, PRIMARY KEY (tenant, id)) PARTITION BY LIST (tenant);
CREATE TABLE p1 PARTITION OF p FOR VALUES IN (1);
CREATE TABLE p2 (id int NOT NULL, junk text, parent_id int, tenant int NOT NULL);
ALTER TABLE p2 DROP COLUMN junk;
ALTER TABLE p ATTACH PARTITION p2 FOR VALUES IN (2);
INSERT INTO p SELECT t, i, nullif(i / 2, 0) FROM generate_series(1, 2) t, generate_series(1, 5) i;
SELECT dbpatterns.closure_enable('p', '{tenant,parent_id}');
SELECT * FROM dbpatterns.closure_check('p');
ALTER TABLE p2 DISABLE TRIGGER dbpatterns_40_closure;
DROP TRIGGER dbpatterns_42_closure ON p1;
UPDATE p_closure SET descendant = 9 WHERE (tenant, ancestor, descendant) = (2, 2, 4);
SELECT * FROM dbpatterns.closure_check('p') ORDER BY problem COLLATE "C", object;
-- A partition stands for its root.
SELECT count(*) FROM dbpatterns.closure_check('p1');
DROP TABLE p CASCADE;

-- A key that is unique beyond its scope.
CREATE TABLE post (id int PRIMARY KEY, forum int NOT NULL, parent_id int);
INSERT INTO post VALUES (1, 1, NULL), (2, 1, 1);
SELECT dbpatterns.closure_enable('post', 'parent_id', scope => '{forum}');
SELECT * FROM dbpatterns.closure_check('post');
DELETE FROM post_closure WHERE depth = 1;
SELECT * FROM dbpatterns.closure_check('post');
DROP TABLE post CASCADE;

-- Who may not read the table learns of its rows nothing.
CREATE ROLE regress_dbp_reader;
GRANT USAGE ON SCHEMA t TO regress_dbp_reader;
DELETE FROM c_closure WHERE (ancestor, descendant) = (1, 5);
SET ROLE regress_dbp_reader;
SELECT * FROM dbpatterns.closure_check('c');
RESET ROLE;
GRANT SELECT ON c TO regress_dbp_reader;
SET ROLE regress_dbp_reader;
SELECT * FROM dbpatterns.closure_check('c');
RESET ROLE;
ALTER TABLE c ENABLE ROW LEVEL SECURITY;
SET ROLE regress_dbp_reader;
SELECT * FROM dbpatterns.closure_check();
RESET ROLE;
SELECT * FROM dbpatterns.closure_check();
ALTER TABLE c FORCE ROW LEVEL SECURITY;
SELECT problem FROM dbpatterns.closure_check();

DROP SCHEMA t CASCADE;
DROP ROLE regress_dbp_reader;
DROP EXTENSION dbpatterns CASCADE;
