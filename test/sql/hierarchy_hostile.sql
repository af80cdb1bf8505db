-- Triggers that name what is not theirs, statements inside statements that are
-- rolled back, keys that two rows have for a while, and schemas that change
-- their names.
\getenv srcdir PG_ABS_SRCDIR
\set include :srcdir '/sql/include/hierarchy.sql'
\i :include
SET client_min_messages = warning;
DROP ROLE IF EXISTS regress_dbp_mallory;
-- Whoever may create triggers on one table gets no power over others.
CREATE ROLE regress_dbp_mallory;
CREATE TABLE dropzone (id int PRIMARY KEY, parent_id int);
CREATE TABLE payroll (ancestor int, descendant int, depth int, PRIMARY KEY (ancestor, descendant));
CREATE INDEX ON payroll (descendant, ancestor) INCLUDE (depth);
INSERT INTO payroll VALUES (1, 1, 0);
GRANT USAGE ON SCHEMA t TO regress_dbp_mallory;
GRANT TRIGGER, TRUNCATE, INSERT ON dropzone TO regress_dbp_mallory;
SET ROLE regress_dbp_mallory;
CREATE TRIGGER x AFTER TRUNCATE ON dropzone EXECUTE FUNCTION
  dbpatterns.closure_trigger('{"closure": "payroll", "prefix": "x", "key": ["id"], "parent": ["parent_id"]}');
CREATE TRIGGER y AFTER INSERT ON dropzone FOR EACH ROW EXECUTE FUNCTION
  dbpatterns.closure_trigger('{"closure": "payroll", "prefix": "x", "key": ["id"], "parent": ["parent_id"]}');
TRUNCATE dropzone;
INSERT INTO dropzone VALUES (2, NULL);
RESET ROLE;
ALTER TABLE payroll RENAME depth TO level;
ALTER TABLE payroll RENAME level TO depth;
DROP TABLE dropzone;
TABLE payroll;
-- Nor does the owner bring the server down with columns of other types.
CREATE TABLE wide (id bigint PRIMARY KEY, parent_id bigint);
CREATE TABLE narrow (ancestor text, descendant text, depth int, PRIMARY KEY (ancestor, descendant));
CREATE INDEX ON narrow (descendant, ancestor) INCLUDE (depth);
CREATE TRIGGER x AFTER INSERT ON wide FOR EACH ROW EXECUTE FUNCTION
  dbpatterns.closure_trigger('{"closure": "narrow", "prefix": "x", "key": ["id"], "parent": ["parent_id"]}');
CREATE TRIGGER y AFTER INSERT ON wide FOR EACH STATEMENT EXECUTE FUNCTION
  dbpatterns.closure_trigger('{"closure": "narrow", "prefix": "x", "key": ["id"], "parent": ["parent_id"]}');
INSERT INTO wide VALUES (12345678, NULL);
DROP TABLE wide, narrow, payroll;
-- A trigger without an argument is refused, and one that came where event triggers
-- do not fire does not hide what others are like.
CREATE TABLE mute (id int PRIMARY KEY, parent_id int);
SELECT dbpatterns.closure_enable('mute', 'parent_id');
CREATE TRIGGER x AFTER INSERT ON mute EXECUTE FUNCTION dbpatterns.closure_trigger();
SET session_replication_role = replica;
CREATE TRIGGER x AFTER INSERT ON mute EXECUTE FUNCTION dbpatterns.closure_trigger();
RESET session_replication_role;
SELECT closure, active FROM dbpatterns.closure_status;
DROP TABLE mute;
-- A statement inside another one flushes what that has queued, and is rolled
-- back.
CREATE TABLE outer_one (id int PRIMARY KEY, parent_id int);
CREATE INDEX ON outer_one (parent_id);
SELECT dbpatterns.closure_enable('outer_one', 'parent_id');
SELECT watch('outer_one', '{parent_id}');
CREATE FUNCTION fail_inside() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
  IF pg_trigger_depth() = 1 THEN
    BEGIN
      INSERT INTO outer_one VALUES (NEW.id + 100, NULL);
      RAISE EXCEPTION 'take it back';
    EXCEPTION WHEN raise_exception THEN
      NULL;
    END;
  END IF;
  RETURN NULL;
END $$;
CREATE TRIGGER zz AFTER INSERT OR UPDATE ON outer_one FOR EACH ROW EXECUTE FUNCTION fail_inside();
INSERT INTO outer_one VALUES (1, NULL), (2, 1), (3, 2);
:same
UPDATE outer_one SET parent_id = 1 WHERE id = 3;
:same
DROP TABLE outer_one;
-- Two rows with one key until the transaction ends.
CREATE TABLE twice (id int PRIMARY KEY DEFERRABLE INITIALLY DEFERRED, parent_id int);
CREATE INDEX ON twice (parent_id);
SELECT dbpatterns.closure_enable('twice', 'parent_id', '{id}');
SELECT watch('twice', '{parent_id}');
INSERT INTO twice VALUES (5, NULL), (6, NULL);
BEGIN;
INSERT INTO twice VALUES (1, 5);
INSERT INTO twice VALUES (1, 6);
DELETE FROM twice WHERE id = 1 AND parent_id = 6;
COMMIT;
:same
BEGIN;
UPDATE twice SET id = 5 WHERE id = 6;
UPDATE twice SET id = 6 WHERE ctid = (SELECT min(ctid) FROM twice WHERE id = 5);
COMMIT;
:same
DROP TABLE twice;
-- What a replica applies is not checked by foreign keys.
CREATE TABLE applied (id int PRIMARY KEY, parent_id int REFERENCES applied);
CREATE INDEX ON applied (parent_id);
SELECT dbpatterns.closure_enable('applied', 'parent_id', fire => 'always');
SELECT watch('applied', '{parent_id}');
SET session_replication_role = replica;
INSERT INTO applied VALUES (2, 1);
INSERT INTO applied VALUES (1, NULL);
RESET session_replication_role;
:same
DROP TABLE applied;
-- Schemas exchange their names while this session has plans for both.
CREATE SCHEMA blue;
CREATE SCHEMA green;
CREATE TABLE blue.n (id int PRIMARY KEY, parent_id int);
CREATE INDEX ON blue.n (parent_id);
CREATE TABLE green.n (LIKE blue.n INCLUDING ALL);
SELECT dbpatterns.closure_enable('blue.n', 'parent_id', counters => true), dbpatterns.closure_enable('green.n', 'parent_id');
INSERT INTO blue.n VALUES (1, NULL), (2, 1), (3, 4);
INSERT INTO green.n VALUES (10, NULL), (20, 10), (3, 4);
ALTER SCHEMA blue RENAME TO red;
ALTER SCHEMA green RENAME TO blue;
ALTER SCHEMA red RENAME TO green;
INSERT INTO green.n VALUES (5, 2), (6, 5), (8, 7);
INSERT INTO green.n VALUES (7, 1);
UPDATE green.n SET id = 99 WHERE id = 1;
SELECT * FROM dbpatterns.closure_check('green.n');
SELECT * FROM dbpatterns.closure_check('blue.n');
DROP SCHEMA green, blue CASCADE;
-- A partition named like the storage, in another schema, is none.
CREATE SCHEMA elsewhere;
CREATE TABLE parted (id int PRIMARY KEY, parent_id int) PARTITION BY RANGE (id);
CREATE INDEX ON parted (parent_id);
SELECT dbpatterns.closure_enable('parted', 'parent_id');
CREATE TABLE elsewhere.parted_closure PARTITION OF parted FOR VALUES FROM (0) TO (100);
ALTER TABLE elsewhere.parted_closure RENAME TO part;
INSERT INTO parted VALUES (1, NULL), (2, 1);
SELECT * FROM parted_closure ORDER BY 1, 2;
DROP TABLE parted;
DROP SCHEMA elsewhere;
-- A closure table with triggers and more columns is written by INSERT.
CREATE TABLE noted (id int PRIMARY KEY, parent_id int);
CREATE INDEX ON noted (parent_id);
SELECT dbpatterns.closure_enable('noted', 'parent_id');
ALTER TABLE noted_closure ADD gone int, ADD note text;
ALTER TABLE noted_closure DROP gone, ADD below int GENERATED ALWAYS AS (depth + 1) STORED;
CREATE FUNCTION nothing() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN RETURN NULL; END';
CREATE TRIGGER look AFTER INSERT ON noted_closure FOR EACH ROW EXECUTE FUNCTION nothing();
INSERT INTO noted VALUES (1, NULL), (2, 1);
SELECT * FROM noted_closure ORDER BY 1, 2;
DROP TABLE noted;
-- Keys that cannot be counted.
CREATE TYPE pair AS (x int, y text);
CREATE TABLE counted (id pair PRIMARY KEY, parent_id pair);
SELECT dbpatterns.closure_enable('counted', 'parent_id', counters => true);
DROP TABLE counted;
DROP TYPE pair;
REVOKE ALL ON SCHEMA t FROM regress_dbp_mallory;
DROP ROLE regress_dbp_mallory;
:finish
