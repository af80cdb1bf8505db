-- The trigger function of temporal_tables: what its sibling in PL/pgSQL adds, and
-- what a second trigger, fired AFTER, is good for.
\getenv srcdir PG_ABS_SRCDIR
\set include :srcdir '/sql/include/dropin.sql'
\i :include

-- Argument 4: what changes nothing that the history keeps makes no version.
CREATE TABLE base (id int, j json, big text, twice int GENERATED ALWAYS AS (id * 2) STORED, other int, sys_period tstzrange);
CREATE TABLE history (id int, j json, big text, twice int, sys_period tstzrange);
ALTER TABLE base ALTER big SET STORAGE EXTERNAL;
CREATE TRIGGER versioning BEFORE INSERT OR UPDATE OR DELETE ON base
    FOR EACH ROW EXECUTE FUNCTION versioning('sys_period', 'history', true, true);
SELECT at(1);
INSERT INTO base VALUES (1, '{"a": 1}', repeat('x', 10000), DEFAULT, 0);
SELECT at(2);
UPDATE base SET id = 1;
UPDATE base SET j = '{"a": 1}', big = repeat('x', 10000);
UPDATE base SET other = 1, sys_period = NULL;
SELECT other, days(sys_period) FROM base;
SELECT count(*) FROM history;
UPDATE base SET j = '{"a":  1}';
SELECT at(3);
UPDATE base SET big = repeat('y', 10000);
SELECT at(4);
UPDATE base SET big = NULL;
SELECT at(5);
UPDATE base SET id = 2;
-- Nor does it hide the next change of the same transaction, even if the version
-- is newer than that.
BEGIN;
SELECT at(7);
UPDATE base SET id = 2;
UPDATE base SET other = 3;
UPDATE base SET id = 3;
UPDATE base SET id = 4;
COMMIT;
BEGIN;
SELECT at(6);
UPDATE base SET id = 4;
UPDATE base SET id = 5;
UPDATE base SET id = 5;
UPDATE base SET id = 6;
COMMIT;
BEGIN;
SELECT at(8);
UPDATE base SET id = 6;
SELECT at(9);
UPDATE base SET id = 7;
SELECT at(10);
UPDATE base SET id = 8;
UPDATE base SET id = 8;
DELETE FROM base RETURNING id, twice, other, days(sys_period);
ROLLBACK;
BEGIN;
SELECT at(8);
UPDATE base SET id = 6;
DELETE FROM base;
SELECT id, days(sys_period) FROM history ORDER BY sys_period DESC LIMIT 1;
ROLLBACK;
SELECT id, j, left(big, 1) AS big, twice, days(sys_period) FROM history ORDER BY sys_period;
SELECT id, twice, other, days(sys_period) FROM base;
DROP TABLE base, history;

-- Argument 5: the history has the current versions, too.  A primary key finds them,
-- or all columns do.
CREATE TABLE base (id int PRIMARY KEY, j json, n numeric, sys_period tstzrange);
CREATE TABLE loose (j json, n numeric, sys_period tstzrange);
CREATE TABLE base_history (LIKE base);
CREATE TABLE loose_history (LIKE loose);
CREATE INDEX ON base_history (id);
CREATE TRIGGER versioning BEFORE INSERT OR UPDATE OR DELETE ON base
    FOR EACH ROW EXECUTE FUNCTION versioning('sys_period', 'base_history', true, false, true);
CREATE TRIGGER versioning BEFORE INSERT OR UPDATE OR DELETE ON loose
    FOR EACH ROW EXECUTE FUNCTION versioning('sys_period', 'loose_history', true, false, true);
CREATE VIEW past AS SELECT id, j, n, days(sys_period) FROM base_history ORDER BY id, sys_period;
CREATE VIEW loose_past AS SELECT j, n, days(sys_period) FROM loose_history ORDER BY j::text, n, sys_period;
SELECT at(1);
INSERT INTO base VALUES (1, '1', 1), (2, '2', 2), (3, '3', 3);
INSERT INTO loose VALUES ('1', 1.0), ('1', 1.0), ('1', 1.00), (NULL, NULL);
SELECT at(2);
UPDATE base SET n = 20 WHERE id = 2;
DELETE FROM base WHERE id = 3;
DELETE FROM loose WHERE ctid = (SELECT min(ctid) FROM loose);
UPDATE loose SET n = 3 WHERE n::text = '1.00';
UPDATE loose SET n = 0 WHERE n IS NULL;
TABLE past;
TABLE loose_past;
-- In one transaction, every version counts; a change of the key is one, too.
BEGIN;
SELECT at(3);
UPDATE base SET n = 30 WHERE id = 2;
UPDATE base SET n = 40 WHERE id = 2;
UPDATE base SET id = 4 WHERE id = 2;
INSERT INTO base VALUES (5, '5', 5);
DELETE FROM base WHERE id = 5;
SAVEPOINT a;
UPDATE base SET n = 50;
ROLLBACK TO a;
COMMIT;
SELECT id, n, days(sys_period) FROM base ORDER BY 1;
SELECT * FROM past WHERE id > 1;
-- What the history lacks is added when it ends, whatever argument 6 says.
TRUNCATE base_history;
SELECT at(5);
UPDATE base SET n = 6 WHERE id = 4;
DELETE FROM base WHERE id = 1;
CREATE OR REPLACE TRIGGER versioning BEFORE INSERT OR UPDATE OR DELETE ON base
    FOR EACH ROW EXECUTE FUNCTION versioning('sys_period', 'base_history', true, false, true, true);
TABLE past;
-- An INSERT that does not take place leaves a version that never was: a BEFORE
-- trigger cannot know.
TRUNCATE base, base_history;
INSERT INTO base VALUES (1, '1', 1);
SELECT at(6);
INSERT INTO base VALUES (1, '1', 2) ON CONFLICT DO NOTHING;
TABLE past;

-- A trigger that is fired AFTER does.
TRUNCATE base, base_history;
CREATE TRIGGER versioning_write AFTER INSERT OR UPDATE OR DELETE ON base
    FOR EACH ROW EXECUTE FUNCTION versioning('sys_period', 'base_history', true, false, true, true);
SELECT at(1);
INSERT INTO base VALUES (1, '1', 1), (2, '2', 2), (3, '3', 3);
SELECT at(2);
INSERT INTO base VALUES (1, '1', 2) ON CONFLICT DO NOTHING;
INSERT INTO base VALUES (2, '2', 3) ON CONFLICT (id) DO UPDATE SET n = excluded.n;
DELETE FROM base WHERE id = 3;
TABLE past;
-- It knows what is not done, and what another trigger makes of a row before.
CREATE OR REPLACE TRIGGER versioning BEFORE INSERT OR UPDATE OR DELETE ON base
    FOR EACH ROW EXECUTE FUNCTION versioning('sys_period', 'base_history', true);
CREATE OR REPLACE TRIGGER versioning_write AFTER UPDATE OR DELETE ON base
    FOR EACH ROW EXECUTE FUNCTION versioning('sys_period', 'base_history', true);
CREATE FUNCTION meddle() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    IF current_setting('t.meddle') = 'skip' THEN
        RETURN NULL;
    ELSIF current_setting('t.meddle') = 'period' THEN
        NEW.sys_period := '[1999-01-01,)';
    ELSIF current_setting('t.meddle') = 'close' THEN
        NEW.sys_period := '[1999-01-01,2000-01-01)';
    ELSIF current_setting('t.meddle') = 'value' THEN
        NEW.n := -1;
    END IF;
    RETURN COALESCE(NEW, OLD);
END $$;
CREATE TRIGGER z_meddle BEFORE UPDATE OR DELETE ON base FOR EACH ROW EXECUTE FUNCTION meddle();
TRUNCATE base_history;
SELECT at(3);
SET t.meddle = 'skip';
UPDATE base SET n = 10;
DELETE FROM base;
TABLE past;
SET t.meddle = 'value';
UPDATE base SET n = 10 WHERE id = 2;
SET t.meddle = 'period';
SELECT refused('UPDATE t.base SET n = 11');
SET t.meddle = 'close';
SELECT refused('UPDATE t.base SET n = 11');
SET t.meddle = '';
TABLE past;
SELECT id, n, days(sys_period) FROM base ORDER BY 1;
-- Alone, the trigger fired BEFORE writes what is then not done.
DROP TRIGGER versioning_write ON base;
SET t.meddle = 'skip';
SELECT at(4);
DELETE FROM base WHERE id = 1;
TABLE past;
SET t.meddle = '';
-- Ignored or not is decided before; another trigger that changes that is told.
CREATE OR REPLACE TRIGGER versioning BEFORE INSERT OR UPDATE OR DELETE ON base
    FOR EACH ROW EXECUTE FUNCTION versioning('sys_period', 'base_history', true, true);
CREATE TRIGGER versioning_write AFTER UPDATE OR DELETE ON base
    FOR EACH ROW EXECUTE FUNCTION versioning('sys_period', 'base_history', true, true);
TRUNCATE base_history;
SELECT at(5);
UPDATE base SET n = n;
SET t.meddle = 'value';
SELECT refused('UPDATE t.base SET n = n WHERE id = 1');
SET t.meddle = '';
TABLE past;
-- What makes two triggers a pair.
ALTER TABLE base DISABLE TRIGGER versioning_write;
UPDATE base SET n = 5 WHERE id = 1;
TABLE past;
ALTER TABLE base ENABLE ALWAYS TRIGGER versioning_write;
SELECT refused('UPDATE t.base SET n = 6');
ALTER TABLE base ENABLE TRIGGER versioning_write;
ALTER TABLE base DISABLE TRIGGER versioning;
SELECT refused('UPDATE t.base SET n = 6');
ALTER TABLE base ENABLE TRIGGER versioning;
CREATE OR REPLACE TRIGGER versioning_write AFTER UPDATE OF n OR DELETE ON base
    FOR EACH ROW EXECUTE FUNCTION versioning('sys_period', 'base_history', true, true);
SELECT refused('UPDATE t.base SET n = 6');
CREATE OR REPLACE TRIGGER versioning_write AFTER UPDATE ON base
    FOR EACH ROW WHEN (OLD.n < 0) EXECUTE FUNCTION versioning('sys_period', 'base_history', true, true);
SELECT refused('UPDATE t.base SET n = 6');
DROP TRIGGER versioning_write ON base;
CREATE CONSTRAINT TRIGGER versioning_write AFTER UPDATE ON base DEFERRABLE
    FOR EACH ROW EXECUTE FUNCTION versioning('sys_period', 'base_history', true, true);
SELECT refused('UPDATE t.base SET n = 6');
DROP TRIGGER versioning_write ON base;
-- Each event is written by one of them.
CREATE OR REPLACE TRIGGER versioning_write AFTER UPDATE ON base
    FOR EACH ROW EXECUTE FUNCTION versioning('sys_period', 'base_history', true, true);
SELECT at(6);
UPDATE base SET n = 6;
SELECT at(7);
DELETE FROM base WHERE id = 2;
TABLE past;
DROP TABLE base, loose, base_history, loose_history CASCADE;

-- Arguments 7 and 8: the number of the version.
CREATE TABLE base (id int, version int, "Revision" int NOT NULL DEFAULT 7, sys_period tstzrange);
CREATE TABLE history (id int, version int, "Revision" int, sys_period tstzrange);
CREATE TRIGGER versioning BEFORE INSERT OR UPDATE OR DELETE ON base
    FOR EACH ROW EXECUTE FUNCTION versioning('sys_period', 'history', true, true, false, false, true);
SELECT at(1);
INSERT INTO base VALUES (1, 77);
SELECT at(2);
UPDATE base SET id = 2, version = 99;
UPDATE base SET id = 2, version = 99;
BEGIN;
SELECT at(3);
UPDATE base SET id = 3;
UPDATE base SET id = 4, version = 99;
COMMIT;
SELECT id, version, days(sys_period) FROM history UNION ALL SELECT id, version, days(sys_period) FROM base ORDER BY 2;
CREATE OR REPLACE TRIGGER versioning BEFORE INSERT OR UPDATE OR DELETE ON base
    FOR EACH ROW EXECUTE FUNCTION versioning('sys_period', 'history', true, true, true, false, true, 'Revision');
SELECT at(4);
UPDATE base SET id = 5;
SELECT id, version, "Revision", days(sys_period) FROM history ORDER BY sys_period;
ALTER TABLE base ALTER "Revision" DROP NOT NULL;
ALTER TABLE base DISABLE TRIGGER versioning;
UPDATE base SET "Revision" = NULL;
ALTER TABLE base ENABLE TRIGGER versioning;
SELECT refused('UPDATE t.base SET id = 6');
SELECT refused('DELETE FROM t.base');
ALTER TABLE history DROP "Revision";
SELECT refused('UPDATE t.base SET id = 6');
ALTER TABLE base DISABLE TRIGGER versioning;
UPDATE base SET "Revision" = 2147483647;
ALTER TABLE base ENABLE TRIGGER versioning;
ALTER TABLE history ADD "Revision" int;
SELECT refused('UPDATE t.base SET id = 6');
SELECT at(5);
DELETE FROM base;
DROP TABLE base, history;

-- The history of current versions gets what the table generates when it knows it.
CREATE TABLE base (id int PRIMARY KEY, twice int GENERATED ALWAYS AS (id * 2) STORED, sys_period tstzrange);
CREATE TABLE history (id int, twice int, sys_period tstzrange) PARTITION BY LIST (id);
CREATE TABLE history_1 PARTITION OF history DEFAULT;
CREATE TRIGGER versioning BEFORE INSERT OR UPDATE OR DELETE ON base
    FOR EACH ROW EXECUTE FUNCTION versioning('sys_period', 'history', true, false, true);
SELECT at(1);
INSERT INTO base VALUES (1);
SELECT id, twice, days(sys_period) FROM history;
SELECT at(2);
UPDATE base SET id = 2;
CREATE TRIGGER versioning_write AFTER INSERT OR UPDATE OR DELETE ON base
    FOR EACH ROW EXECUTE FUNCTION versioning('sys_period', 'history', true, false, true);
SELECT at(3);
UPDATE base SET id = 3;
SELECT id, twice, days(sys_period) FROM history ORDER BY id;

-- A table that is its own history gets new rows, as with temporal_tables.
CREATE TABLE loop (a json, sys_period tstzrange);
CREATE TRIGGER versioning BEFORE INSERT OR UPDATE OR DELETE ON loop
    FOR EACH ROW EXECUTE FUNCTION versioning('sys_period', 'loop', true, true);
INSERT INTO loop VALUES ('1');
SELECT at(4);
UPDATE loop SET a = '2';
SELECT a, days(sys_period) FROM loop ORDER BY a::text;

:finish
