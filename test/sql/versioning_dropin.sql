-- The trigger function of temporal_tables: versioning(period, history, adjust).
\getenv srcdir PG_ABS_SRCDIR
\set include :srcdir '/sql/include/dropin.sql'
\i :include

-- What it does.
CREATE TABLE price (id int PRIMARY KEY, amount numeric, sys_period tstzrange);
CREATE TABLE price_history (LIKE price);
CREATE TRIGGER versioning BEFORE INSERT OR UPDATE OR DELETE ON price
    FOR EACH ROW EXECUTE FUNCTION versioning('sys_period', 'price_history', true);
CREATE VIEW now AS SELECT id, amount, days(sys_period) FROM price ORDER BY id;
CREATE VIEW past AS SELECT id, amount, days(sys_period) FROM price_history ORDER BY id, sys_period;
SELECT at(1);
INSERT INTO price VALUES (1, 10), (2, 20);
SELECT at(2);
UPDATE price SET amount = 11 WHERE id = 1;
SELECT at(3);
DELETE FROM price WHERE id = 2;
UPDATE price SET id = 3 WHERE id = 1;
TABLE now;
TABLE past;

-- The period is nobody's to choose, not even in the transaction that made the row.
TRUNCATE price, price_history;
BEGIN;
INSERT INTO price VALUES (1, 10, '[2000-01-01,2000-01-02)');
UPDATE price SET sys_period = '[2000-01-01,2000-01-02)';
UPDATE price SET sys_period = NULL, amount = 11;
COMMIT;
TABLE now;
SELECT at(4);
UPDATE price SET sys_period = 'empty', amount = 12;
TABLE now;
TABLE past;

-- What a transaction does to a row of its own is no version, and a savepoint,
-- an exception block and set_system_time make no difference.
TRUNCATE price, price_history;
BEGIN;
SELECT at(5);
INSERT INTO price VALUES (1, 10), (2, 20);
SAVEPOINT a;
UPDATE price SET amount = 11 WHERE id = 1;
RELEASE a;
DO $$ BEGIN UPDATE t.price SET amount = 12 WHERE id = 1; EXCEPTION WHEN division_by_zero THEN NULL; END $$;
SELECT at(6);
UPDATE price SET amount = 13 WHERE id = 1;
DELETE FROM price WHERE id = 2;
COMMIT;
TABLE now;
TABLE past;

-- What is rolled back has not been; the next change writes one version.
BEGIN;
SELECT at(7);
SAVEPOINT a;
UPDATE price SET amount = 14;
TABLE past;
ROLLBACK TO a;
TABLE past;
UPDATE price SET amount = 15;
DELETE FROM price;
COMMIT;
TABLE past;

-- A row that is newer than the change: one microsecond, and one warning for what a
-- client sends.
TRUNCATE price, price_history;
SELECT at(9);
INSERT INTO price SELECT i, i FROM generate_series(1, 3) i;
SELECT at(8);
\set VERBOSITY sqlstate
UPDATE price SET amount = amount + 1;
\set VERBOSITY default
DELETE FROM price WHERE id = 3;
TABLE now;
TABLE past;
CREATE OR REPLACE TRIGGER versioning BEFORE INSERT OR UPDATE OR DELETE ON price
    FOR EACH ROW EXECUTE FUNCTION versioning('sys_period', 'price_history', false);
UPDATE price SET amount = 0;
SELECT left(refused('UPDATE t.price SET amount = 0'), 5);
DELETE FROM price;
CREATE OR REPLACE TRIGGER versioning BEFORE INSERT OR UPDATE OR DELETE ON price
    FOR EACH ROW EXECUTE FUNCTION versioning('sys_period', 'price_history', perhaps);
SELECT refused('DELETE FROM t.price');

-- Periods that were there before.  One that ends at infinity is a current row's, too.
DROP TRIGGER versioning ON price;
TRUNCATE price, price_history;
INSERT INTO price VALUES (1, 1, '(,)'), (2, 2, '[-infinity,)'), (3, 3, '[2001-01-02 12:00+0,infinity)'),
    (4, 4, '(2001-01-02 12:00+0,)'), (5, 5, NULL), (6, 6, 'empty'), (7, 7, '[2001-01-02 12:00+0,2001-01-05 12:00+0)'),
    (8, 8, '[infinity,)');
CREATE TRIGGER versioning BEFORE INSERT OR UPDATE OR DELETE ON price
    FOR EACH ROW EXECUTE FUNCTION versioning('sys_period', 'price_history', true);
UPDATE price SET amount = 0 WHERE id < 5;
TABLE now;
SELECT id, lower_inc(sys_period), days(sys_period) FROM price_history ORDER BY id;
SELECT id, refused('DELETE FROM t.price WHERE id = ' || id) FROM price WHERE id > 4;
-- Rows without a period that this transaction made get one.
TRUNCATE price, price_history;
DROP TRIGGER versioning ON price;
BEGIN;
INSERT INTO price VALUES (1, 1);
CREATE TRIGGER versioning BEFORE INSERT OR UPDATE OR DELETE ON price
    FOR EACH ROW EXECUTE FUNCTION versioning('sys_period', 'price_history', true);
UPDATE price SET amount = 2;
COMMIT;
TABLE now;

-- Every way to change a row.
TRUNCATE price;
SELECT at(10);
COPY price (id, amount) FROM stdin;
1	1
2	2
\.
SELECT at(11);
INSERT INTO price VALUES (1, 10) ON CONFLICT DO NOTHING;
INSERT INTO price VALUES (2, 20) ON CONFLICT (id) DO UPDATE SET amount = excluded.amount;
TABLE past;
SELECT at(12);
MERGE INTO price p USING (VALUES (1), (2), (3)) AS v (id) ON p.id = v.id
    WHEN MATCHED AND v.id = 1 THEN DELETE
    WHEN MATCHED THEN UPDATE SET amount = 30
    WHEN NOT MATCHED THEN INSERT VALUES (v.id, 3);
SELECT at(13);
WITH a AS (UPDATE price SET amount = 40 WHERE id = 2 RETURNING id),
     b AS (DELETE FROM price WHERE id = 2 RETURNING id)
SELECT (SELECT count(*) FROM a) + (SELECT count(*) FROM b) AS changed;
CREATE TABLE item (price_id int REFERENCES price ON UPDATE CASCADE ON DELETE SET NULL, sys_period tstzrange);
CREATE TABLE item_history (LIKE item);
CREATE TRIGGER versioning BEFORE INSERT OR UPDATE OR DELETE ON item
    FOR EACH ROW EXECUTE FUNCTION versioning('sys_period', 'item_history', true);
INSERT INTO item VALUES (2), (3);
SELECT at(14);
UPDATE price SET id = 4 WHERE id = 2;
DELETE FROM price WHERE id = 3;
TABLE now;
TABLE past;
SELECT price_id, days(sys_period) FROM item ORDER BY 1;
SELECT price_id, days(sys_period) FROM item_history ORDER BY 1;

-- Rows that are loaded keep their periods; it takes the owner to say so.
BEGIN;
SET LOCAL dbpatterns.versioning_import = on;
COPY price FROM stdin;
9	9	[2000-01-01,)
\.
INSERT INTO price VALUES (10, 10, '[2000-01-02,)');
UPDATE price SET amount = 0, sys_period = '[2000-01-03,)' WHERE id = 10;
DELETE FROM price WHERE id = 9;
SELECT * FROM now WHERE id > 8;
SELECT * FROM past WHERE id > 8;
COMMIT;
DELETE FROM price WHERE id = 10;
SELECT * FROM past WHERE id > 8;

-- TRUNCATE writes no history, as in temporal_tables.
TRUNCATE item_history;
TRUNCATE item;
SELECT count(*) FROM item_history;

-- The periods of two transactions without set_system_time.
SELECT set_system_time(NULL);
TRUNCATE price_history, price CASCADE;
BEGIN;
INSERT INTO price VALUES (1, 1);
SELECT sys_period = tstzrange(now(), NULL) AS begins_now FROM price;
COMMIT;
BEGIN;
UPDATE price SET amount = 2;
SELECT sys_period = tstzrange(now(), NULL) AS begins_now FROM price;
SELECT upper(sys_period) = now() AS ends_now FROM price_history;
COMMIT;

-- set_system_time: what ends it, and what it refuses.
SELECT set_system_time('2001-01-01 12:00:00.123456+05');
SHOW dbpatterns.system_time;
BEGIN;
SELECT set_system_time(NULL);
SHOW dbpatterns.system_time;
ROLLBACK;
SHOW dbpatterns.system_time;
BEGIN;
SELECT at(2);
SAVEPOINT a;
SELECT at(3);
SAVEPOINT b;
SELECT at(4);
RELEASE b;
SHOW dbpatterns.system_time;
ROLLBACK TO a;
SHOW dbpatterns.system_time;
COMMIT;
SHOW dbpatterns.system_time;
SELECT set_system_time('infinity');
SELECT set_system_time('-infinity');
SET dbpatterns.system_time = 'infinity';
SET dbpatterns.system_time = 'some day';
BEGIN;
SET LOCAL dbpatterns.system_time = '0044-03-15 12:00 BC';
INSERT INTO price VALUES (5, 5) RETURNING sys_period;
COMMIT;
SHOW dbpatterns.system_time;
DISCARD ALL;
SHOW dbpatterns.system_time;
\set ECHO none
SET search_path = t, dbpatterns;
SET timezone = 'UTC';
SET datestyle = 'ISO';
\set ECHO all

-- A million rows would take no more memory than a thousand: the trigger leaves
-- nothing behind.
CREATE TABLE many (id int, note text, sys_period tstzrange);
CREATE TABLE many_history (LIKE many);
CREATE INDEX ON many_history (id, sys_period);
INSERT INTO many SELECT i, repeat('x', 50), '[2000-01-01,)' FROM generate_series(1, 20000) i;
CREATE TRIGGER versioning BEFORE INSERT OR UPDATE OR DELETE ON many
    FOR EACH ROW EXECUTE FUNCTION versioning('sys_period', 'many_history', true);
UPDATE many SET note = 'y' WHERE id < 10;
CREATE TEMP TABLE used AS SELECT sum(used_bytes) AS before FROM pg_backend_memory_contexts;
UPDATE many SET note = 'y';
SELECT count(*) FROM many_history;
SELECT sum(used_bytes) - max(before) < 200000 AS flat FROM pg_backend_memory_contexts, used;

:finish
