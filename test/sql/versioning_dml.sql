-- Which changes make which versions.
--
-- The system time is set, so that periods are the same in every run.
\getenv srcdir PG_ABS_SRCDIR
\set include :srcdir '/sql/include/versioning.sql'
\i :include
\set VERBOSITY terse
SET search_path = dml, dbpatterns, public;
CREATE SCHEMA dml;

CREATE TABLE item (id int PRIMARY KEY, name text, price int);
SELECT set_system_time('2020-01-01');
INSERT INTO item VALUES (0, 'older than the history', 1);
SELECT versioning_enable('item');
SELECT * FROM item;

-- A new row begins; an update ends one version and begins the next; a delete
-- ends the last one.
SELECT set_system_time('2020-02-01');
INSERT INTO item VALUES (1, 'lamp', 10), (2, 'desk', 100);
SELECT set_system_time('2020-03-01');
UPDATE item SET price = price + 1 WHERE id > 0;
SELECT set_system_time('2020-04-01');
DELETE FROM item WHERE id = 2;
SELECT * FROM item ORDER BY id;
SELECT * FROM item_history ORDER BY id, sys_period;

-- What one transaction does to its own rows leaves no version in between: not
-- an insert with updates, not an insert with a delete; an update with a delete
-- leaves one.
SELECT set_system_time('2020-05-01');
BEGIN;
INSERT INTO item VALUES (3, 'made', 1), (4, 'made and gone', 1);
UPDATE item SET price = 2 WHERE id IN (3, 4);
UPDATE item SET price = 3 WHERE id = 3;
DELETE FROM item WHERE id = 4;
UPDATE item SET price = 99 WHERE id = 1;
DELETE FROM item WHERE id = 1;
COMMIT;
SELECT * FROM item ORDER BY id;
SELECT * FROM item_history WHERE id IN (1, 3, 4) ORDER BY id, sys_period;

-- Savepoints: a released one belongs to the transaction, one that is rolled
-- back leaves nothing, and the update after it leaves one version.
SELECT set_system_time('2020-06-01');
BEGIN;
SAVEPOINT a;
INSERT INTO item VALUES (5, 'in a savepoint', 1);
RELEASE a;
UPDATE item SET price = 2 WHERE id = 5;
SAVEPOINT b;
UPDATE item SET price = 50 WHERE id = 3;
ROLLBACK TO b;
UPDATE item SET price = 60 WHERE id = 3;
COMMIT;
DO $$
BEGIN
    BEGIN
        UPDATE dml.item SET price = 70 WHERE id = 5;
        RAISE EXCEPTION 'no';
    EXCEPTION WHEN raise_exception THEN NULL;
    END;
    BEGIN
        INSERT INTO dml.item VALUES (6, 'in a block', 1);
    EXCEPTION WHEN division_by_zero THEN NULL;
    END;
    UPDATE dml.item SET price = 7 WHERE id = 6;
END $$;
SELECT * FROM item WHERE id IN (3, 5, 6) ORDER BY id;
SELECT * FROM item_history WHERE id IN (3, 5, 6) ORDER BY id, sys_period;

-- An update that changes nothing makes no version.
SELECT set_system_time('2020-07-01');
UPDATE item SET price = price, name = name;
SELECT count(*) FROM item WHERE lower(sys_period) = '2020-07-01';

-- But a change after it, in the same transaction, does.
BEGIN;
UPDATE item SET price = price WHERE id = 3;
UPDATE item SET price = 61 WHERE id = 3;
UPDATE item SET price = 62 WHERE id = 3;
COMMIT;
SELECT * FROM item__versions() WHERE id = 3 ORDER BY sys_period;
BEGIN;
UPDATE item SET price = price WHERE id = 3;
DELETE FROM item WHERE id = 3;
SELECT * FROM item__versions() WHERE id = 3 ORDER BY sys_period;
ROLLBACK;

-- The period cannot be set by hand, by nobody and at no time.
INSERT INTO item VALUES (7, 'forged', 1, '[1999-01-01,)');
UPDATE item SET price = 2, sys_period = '[1998-01-01,1999-01-01)' WHERE id = 7;
BEGIN;
INSERT INTO item VALUES (8, 'forged', 1, 'empty');
UPDATE item SET sys_period = NULL WHERE id = 8;
UPDATE item SET sys_period = '[1998-01-01,)', price = 2 WHERE id = 8;
COMMIT;
SELECT * FROM item WHERE id IN (7, 8) ORDER BY id;
SELECT count(*) FROM item_history WHERE id IN (7, 8);

-- A clock that steps back: a version lasts 1 microsecond, none is lost.
SELECT set_system_time('2019-01-01');
SET client_min_messages = notice;
UPDATE item SET price = 80 WHERE id IN (7, 8);
DELETE FROM item WHERE id = 5;
SET client_min_messages = warning;
SELECT * FROM item WHERE id IN (7, 8) ORDER BY id;
SELECT * FROM item_history WHERE id IN (5, 7, 8) ORDER BY id, sys_period;

-- Two system times in one transaction: the versions in between are not kept.
BEGIN;
SELECT set_system_time('2020-08-01');
UPDATE item SET price = 81 WHERE id = 7;
SELECT set_system_time('2020-08-02');
UPDATE item SET price = 82 WHERE id = 7;
COMMIT;
SELECT * FROM item_history WHERE id = 7 ORDER BY sys_period;
SELECT set_system_time('infinity');

-- A row that was there from the beginning of time.
SET dbpatterns.versioning_import = on;
INSERT INTO item VALUES (9, 'ancient', 1, '[-infinity,)'), (10, 'unbounded', 1, '(,)');
INSERT INTO item VALUES (11, 'closed', 1, '[2000-01-01,2001-01-01)');
INSERT INTO item VALUES (11, 'never', 1, '[infinity,)');
INSERT INTO item VALUES (11, 'none', 1, NULL);
RESET dbpatterns.versioning_import;
UPDATE item SET price = 2 WHERE id IN (9, 10);
SELECT * FROM item_history WHERE id IN (9, 10) ORDER BY id;

-- INSERT ... ON CONFLICT, MERGE and COPY.
SELECT set_system_time('2020-09-01');
INSERT INTO item VALUES (3, 'upsert', 1), (20, 'upsert', 1)
    ON CONFLICT (id) DO UPDATE SET name = excluded.name;
INSERT INTO item VALUES (3, 'nothing', 1) ON CONFLICT DO NOTHING;
SELECT set_system_time('2020-10-01');
MERGE INTO item USING (VALUES (3), (6), (21)) s (id) ON item.id = s.id
    WHEN MATCHED AND s.id = 6 THEN DELETE
    WHEN MATCHED THEN UPDATE SET price = 1000
    WHEN NOT MATCHED THEN INSERT VALUES (s.id, 'merged', 1);
COPY item (id, name, price) FROM stdin;
30	copied	1
\.
SELECT * FROM item WHERE id IN (3, 6, 20, 21, 30) ORDER BY id;
SELECT * FROM item_history WHERE id IN (3, 6, 20, 21, 30) ORDER BY id, sys_period;

-- Two parts of one statement that change the same row: one change, one version.
SELECT set_system_time('2020-11-01');
WITH a AS (UPDATE item SET price = 1 WHERE id = 20 RETURNING id),
     b AS (UPDATE item SET price = 2 WHERE id = 20 RETURNING id)
SELECT (SELECT count(*) FROM a) + (SELECT count(*) FROM b) AS changed;
SELECT count(*) FROM item_history WHERE id = 20;

-- Foreign keys that cascade make versions; a violation that comes late undoes them.
CREATE TABLE part (id int PRIMARY KEY, item int REFERENCES item ON UPDATE CASCADE ON DELETE SET NULL);
INSERT INTO part VALUES (1, 20), (2, 21);
SELECT versioning_enable('part');
SELECT set_system_time('2020-12-01');
UPDATE item SET id = 220 WHERE id = 20;
DELETE FROM item WHERE id = 21;
SELECT * FROM part ORDER BY id;
SELECT * FROM part_history ORDER BY id;
ALTER TABLE part DROP CONSTRAINT part_item_fkey;
ALTER TABLE part ADD CONSTRAINT late FOREIGN KEY (item) REFERENCES item DEFERRABLE INITIALLY DEFERRED;
BEGIN;
UPDATE part SET item = 12345 WHERE id = 1;
COMMIT;
SELECT count(*) FROM part_history WHERE id = 1;
SELECT set_system_time(NULL);

-- Every change of a transaction: periods ascend, whatever the clock says.
CREATE TABLE every (id int PRIMARY KEY, v int);
SELECT versioning_enable('every', same_transaction => 'all');
BEGIN;
INSERT INTO every VALUES (1, 0);
UPDATE every SET v = 1;
UPDATE every SET v = 2;
DELETE FROM every;
COMMIT;
SELECT v, upper(sys_period) - lower(sys_period) AS lasted, lower(sys_period) - min(lower(sys_period)) OVER () AS began
FROM every_history ORDER BY v;

-- Statement and clock time.
CREATE TABLE stated (id int PRIMARY KEY, v int);
CREATE TABLE clocked (id int PRIMARY KEY, v int);
SELECT versioning_enable('stated', time_source => 'statement');
SELECT versioning_enable('clocked', time_source => 'clock');
BEGIN;
INSERT INTO stated SELECT 1, 1 FROM pg_sleep(0.01);
INSERT INTO clocked VALUES (1, 1);
SELECT lower(sys_period) > transaction_timestamp() AS later, lower(sys_period) < clock_timestamp() - interval '5 ms' AS began FROM stated;
SELECT lower(sys_period) > transaction_timestamp() + interval '5 ms' AS later FROM clocked;
COMMIT;

-- A row newer than the change is an error, if that is wanted.
CREATE TABLE strict (id int PRIMARY KEY, v int);
SELECT versioning_enable('strict', on_newer => 'error');
INSERT INTO strict VALUES (1, 1);
SELECT set_system_time('2019-01-01');
\set VERBOSITY sqlstate
UPDATE strict SET v = 2;
DELETE FROM strict;
\set VERBOSITY terse
SELECT set_system_time(NULL);
SELECT count(*) FROM strict_history;

-- Every update makes a version, if that is wanted.
CREATE TABLE noisy (id int PRIMARY KEY, v int, seen timestamptz);
SELECT versioning_enable('noisy', ignore_unchanged => false, exclude => '{seen}');
INSERT INTO noisy VALUES (1, 1);
UPDATE noisy SET v = v;
SELECT count(*) FROM noisy_history;
UPDATE noisy SET seen = '2020-01-01';
SELECT count(*) FROM noisy_history;

-- Columns without a history: their changes make no version and the row keeps
-- its beginning.
SELECT versioning_enable('noisy', exclude => '{seen}');
SELECT sys_period AS began FROM noisy \gset
UPDATE noisy SET seen = '2021-01-01';
SELECT sys_period = :'began' AS kept, seen FROM noisy;
UPDATE noisy SET seen = '2022-01-01', v = 2;
SELECT sys_period = :'began' AS kept, seen FROM noisy;
\d noisy_history
SELECT count(*) FROM noisy_history;
SELECT v, seen FROM noisy__versions() ORDER BY sys_period;

DROP SCHEMA dml CASCADE;
