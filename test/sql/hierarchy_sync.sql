-- closure_sync: repairs differences, and nothing else.
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

CREATE TABLE c (id int PRIMARY KEY, parent_id int);
INSERT INTO c SELECT i, nullif(i / 2, 0) FROM generate_series(1, 15) i;
SELECT dbpatterns.closure_enable('c', 'parent_id', max_depth => 10);
SELECT * FROM dbpatterns.closure_sync('c');

-- A load past the triggers.
ALTER TABLE c DISABLE TRIGGER USER;
UPDATE c SET parent_id = 3 WHERE id = 4;
DELETE FROM c WHERE id = 15;
INSERT INTO c VALUES (16, 8), (17, 99);
ALTER TABLE c ENABLE TRIGGER USER;
UPDATE c_closure SET depth = 7 WHERE (ancestor, descendant) = (2, 5);
CREATE TEMP TABLE before AS SELECT ctid AS place, * FROM c_closure;
SELECT * FROM dbpatterns.closure_sync('c', dry_run => true) ORDER BY 1, 2, 3;
SELECT count(*) FROM (SELECT ctid, * FROM c_closure EXCEPT TABLE before) x;
SELECT * FROM dbpatterns.closure_sync('c', 'c_closure') ORDER BY 1, 2, 3;
SELECT * FROM dbpatterns.closure_sync('c');
SELECT severity, problem FROM dbpatterns.closure_check('c');
-- Pairs that were right are where they were.
SELECT count(*) AS kept FROM (SELECT ctid, * FROM c_closure INTERSECT TABLE before) x;
-- It goes on from there.
INSERT INTO c VALUES (99, 5);
SELECT severity, problem FROM dbpatterns.closure_check('c');

-- All of it, in batches.
INSERT INTO c SELECT i, i / 4 FROM generate_series(100, 4000) i;
SELECT severity, problem FROM dbpatterns.closure_check('c');
BEGIN;
DELETE FROM c_closure;
SELECT problem, count(*) FROM dbpatterns.closure_sync('c') GROUP BY 1;
SELECT severity, problem FROM dbpatterns.closure_check('c');
ROLLBACK;
BEGIN;
UPDATE c_closure SET depth = depth + 1;
INSERT INTO c_closure SELECT a, a + 5000, 1 FROM generate_series(1, 3000) a;
SELECT problem, count(*) FROM dbpatterns.closure_sync('c') GROUP BY 1 ORDER BY 1;
SELECT severity, problem FROM dbpatterns.closure_check('c');
ROLLBACK;
-- At any isolation level.
BEGIN ISOLATION LEVEL SERIALIZABLE;
SELECT count(*) FROM c;
DELETE FROM c_closure WHERE descendant = 4000;
SELECT problem, count(*) FROM dbpatterns.closure_sync('c') GROUP BY 1;
SELECT severity, problem FROM dbpatterns.closure_check('c');
COMMIT;

-- What the table itself must not hold.
ALTER TABLE c DISABLE TRIGGER USER;
UPDATE c SET parent_id = 9 WHERE id = 3;
INSERT INTO c VALUES (0, 0);
SELECT * FROM dbpatterns.closure_sync('c');
SELECT * FROM dbpatterns.closure_sync('c', dry_run => true);
UPDATE c SET parent_id = NULL WHERE id IN (0, 3);
INSERT INTO c SELECT i, i - 1 FROM generate_series(5001, 5012) i;
SELECT * FROM dbpatterns.closure_sync('c');
DELETE FROM c WHERE id > 5000;
SELECT count(*) > 0 AS repaired FROM dbpatterns.closure_sync('c');
ALTER TABLE c ENABLE TRIGGER USER;
SELECT severity, problem FROM dbpatterns.closure_check('c');

-- A trigger of the user's on the closure table sees the repair.
CREATE TABLE seen (op text, ancestor int, descendant int);
CREATE FUNCTION see() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    INSERT INTO t.seen SELECT TG_OP, (coalesce(NEW, OLD)).ancestor, (coalesce(NEW, OLD)).descendant;
    RETURN NULL;
END $$;
DELETE FROM c_closure WHERE (ancestor, descendant) = (1, 3);
INSERT INTO c_closure VALUES (3, 1, 5);
CREATE TRIGGER see AFTER INSERT OR DELETE ON c_closure FOR EACH ROW EXECUTE FUNCTION see();
SELECT * FROM dbpatterns.closure_sync('c') ORDER BY 1;
SELECT * FROM seen ORDER BY 1;
DROP TRIGGER see ON c_closure;

-- Arguments.
SELECT * FROM dbpatterns.closure_sync(NULL);
SELECT * FROM dbpatterns.closure_sync('c', dry_run => NULL);
SELECT * FROM dbpatterns.closure_sync('c', 'other');
SELECT * FROM dbpatterns.closure_sync('seen');
SELECT * FROM dbpatterns.closure_sync(0);
ALTER TABLE c ADD other int;
SELECT dbpatterns.closure_enable('c', 'other', closure => 'other_closure');
SELECT * FROM dbpatterns.closure_sync('c');
SELECT * FROM dbpatterns.closure_sync('c', 'other_closure');
-- That of a graph counts, too.
CREATE TABLE both_kinds (id int PRIMARY KEY, up int, a int NOT NULL, b int NOT NULL, UNIQUE (a, b));
SELECT dbpatterns.closure_enable('both_kinds', 'up', closure => 'tree');
SELECT dbpatterns.closure_enable_graph('both_kinds', 'a', 'b', closure => 'graph');
SELECT * FROM dbpatterns.closure_sync('both_kinds');
SELECT * FROM dbpatterns.closure_sync('both_kinds', 'graph');
BEGIN;
ALTER TABLE c_closure DROP CONSTRAINT c_closure_pkey;
SELECT * FROM dbpatterns.closure_sync('c', 'c_closure');
ROLLBACK;
-- The owner's business.
CREATE ROLE regress_dbp_owner;
CREATE ROLE regress_dbp_other;
GRANT USAGE, CREATE ON SCHEMA t TO regress_dbp_owner;
GRANT USAGE ON SCHEMA t TO regress_dbp_other;
SET ROLE regress_dbp_owner;
CREATE TABLE o (id text PRIMARY KEY, parent_id text, mine boolean);
INSERT INTO o VALUES ('a', NULL, true), ('b', 'a', false);
SELECT dbpatterns.closure_enable('o', 'parent_id');
ALTER TABLE o ENABLE ROW LEVEL SECURITY;
ALTER TABLE o FORCE ROW LEVEL SECURITY;
CREATE POLICY p ON o USING (mine);
DELETE FROM o_closure WHERE ancestor = 'a';
-- Row-level security hides rows of the table, not of its closure table.
SELECT * FROM dbpatterns.closure_sync('o') ORDER BY 1, 2, 3;
TABLE o_closure ORDER BY 1, 2;
SET ROLE regress_dbp_other;
SELECT * FROM dbpatterns.closure_sync('o');
SELECT * FROM dbpatterns.closure_sync('o', dry_run => true);
RESET ROLE;
-- A partition stands for its root, whose owner may have rows in others.
CREATE TABLE p (id int PRIMARY KEY, parent_id int) PARTITION BY RANGE (id);
CREATE TABLE p1 PARTITION OF p FOR VALUES FROM (0) TO (10);
CREATE TABLE p2 PARTITION OF p FOR VALUES FROM (10) TO (20);
SELECT dbpatterns.closure_enable('p', 'parent_id');
INSERT INTO p VALUES (1, NULL), (11, 1);
DELETE FROM p_closure WHERE descendant = 11;
ALTER TABLE p1 OWNER TO regress_dbp_other;
SET ROLE regress_dbp_other;
SELECT * FROM dbpatterns.closure_sync('p1', dry_run => true);
CALL dbpatterns.closure_rebuild('p1');
RESET ROLE;
SELECT * FROM dbpatterns.closure_sync('p1') ORDER BY 1, 2, 3;

DROP SCHEMA t CASCADE;
DROP ROLE regress_dbp_owner, regress_dbp_other;
DROP EXTENSION dbpatterns CASCADE;
