-- The trigger function of temporal_tables: the history table, whatever it is like.
\getenv srcdir PG_ABS_SRCDIR
\set include :srcdir '/sql/include/dropin.sql'
\i :include

-- What is wrong with the arguments shows at the first change, and what is wrong
-- with the history at the first that needs it.
CREATE FUNCTION try(arguments text, base text) RETURNS text LANGUAGE plpgsql AS $$
DECLARE
    result text;
BEGIN
    EXECUTE 'CREATE TABLE t.base ' || base;
    EXECUTE 'CREATE TRIGGER versioning BEFORE INSERT OR UPDATE OR DELETE ON t.base
             FOR EACH ROW EXECUTE FUNCTION versioning(' || arguments || ')';
    result := t.refused('INSERT INTO t.base DEFAULT VALUES');
    RAISE division_by_zero;
EXCEPTION WHEN division_by_zero THEN
    RETURN result;
END $$;
SELECT try('', '(a int)');
SELECT try($$'sys_period', 'history'$$, '(sys_period tstzrange)');
SELECT try($$1, 2, 3, 4, 5, 6, 7, 8, 9$$, '(sys_period tstzrange)');
SELECT try($$'nothing', NULL, NULL$$, '(sys_period tstzrange)');
SELECT try($$'ctid', NULL, NULL$$, '(sys_period tstzrange)');
SELECT try($$'SYS_PERIOD', NULL, NULL$$, '(sys_period tstzrange)');
SELECT try($$'p', NULL, NULL$$, '(p int)');
SELECT try($$'p', NULL, NULL$$, '(p tstzrange[])');
SELECT try($$'p', NULL, NULL$$, '(p tsrange)');
SELECT try($$'p', NULL, NULL$$, '(p tstzmultirange)');
SELECT try($$'p', NULL, NULL, maybe$$, '(p tstzrange)');
SELECT try($$'p', NULL, NULL, on, 'two'$$, '(p tstzrange)');
SELECT try($$'p', NULL, NULL, on, off, 3$$, '(p tstzrange)');
SELECT try($$'p', NULL, NULL, on, off, f, NULL$$, '(p tstzrange)');
SELECT try($$'p', NULL, NULL, on, off, f, on$$, '(p tstzrange)');
SELECT try($$'p', NULL, NULL, on, off, f, on, a$$, '(p tstzrange, a bigint)');

CREATE TABLE base (id int, d date, p tstzrange);
INSERT INTO base VALUES (1, '2000-01-01', '[2000-01-01,)');
CREATE FUNCTION with_history(arguments text) RETURNS text LANGUAGE plpgsql AS $$
BEGIN
    EXECUTE 'CREATE OR REPLACE TRIGGER versioning BEFORE INSERT OR UPDATE OR DELETE ON t.base
             FOR EACH ROW EXECUTE FUNCTION versioning(' || arguments || ')';
    RETURN t.refused('UPDATE t.base SET id = id + 1');
END $$;
SELECT at(1);
SELECT with_history($$'p', NULL, true$$);
SELECT with_history($$'p', 'nowhere', true$$);
SELECT with_history($$'p', 'nowhere.history', true$$);
SELECT with_history($$'p', 't.nowhere', true$$);
SELECT with_history($$'p', 'a.b.c.d', true$$);
SELECT with_history($$'p', 'elsewhere.t.history', true$$);
SELECT with_history($$'p', '', true$$);
SELECT with_history($$'p', '"', true$$);
CREATE SEQUENCE not_a_table;
SELECT with_history($$'p', 'not_a_table', true$$);
CREATE TABLE "His tory" (id int, d timestamp);
SELECT with_history($$'p', 'His tory', true$$);
SELECT with_history($$'p', '"His tory"', true$$);
ALTER TABLE "His tory" ADD p tstzrange;
SELECT with_history($$'p', 't."His tory"', true$$);
ALTER TABLE "His tory" ALTER d TYPE date, ALTER p TYPE text;
SELECT with_history($$'p', 't."His tory"', true$$);
ALTER TABLE "His tory" DROP p, ADD p tstzrange, ADD v int;
SELECT with_history($$'p', 't."His tory"', true, false, false, false, true, 'id'$$);
SELECT with_history($$'p', 't."His tory"', true, false, false, false, true, 'd'$$);
SELECT id, d, days(p), v FROM "His tory";
ALTER TABLE base ALTER d TYPE timestamp(3);
ALTER TABLE "His tory" ALTER d TYPE timestamp(6);
SELECT at(2);
SELECT with_history($$'p', '"His tory"', true$$);
DROP TABLE base, "His tory";

-- A period may be a range type of the user's, an array any table with the element.
CREATE TYPE span AS RANGE (subtype = timestamptz);
CREATE TABLE base (a int[], p span);
CREATE TABLE history AS SELECT * FROM base;
CREATE TRIGGER versioning BEFORE INSERT OR UPDATE OR DELETE ON base
    FOR EACH ROW EXECUTE FUNCTION versioning('p', 'history', true);
SELECT at(1);
INSERT INTO base VALUES ('{1}');
SELECT at(2);
UPDATE base SET a = '{2}';
TABLE history;
DROP TABLE base, history;

-- Tables change, between executions of a prepared statement, too.
CREATE TABLE base (gone int, id int, note text, sys_period tstzrange);
CREATE TABLE history (also_gone int, sys_period tstzrange, note text, id int);
ALTER TABLE base DROP gone;
ALTER TABLE history DROP also_gone;
INSERT INTO base VALUES (1, 'a', '[2000-01-01,)');
CREATE TRIGGER versioning BEFORE INSERT OR UPDATE OR DELETE ON base
    FOR EACH ROW EXECUTE FUNCTION versioning('sys_period', 'history', true);
PREPARE change(text) AS UPDATE base SET note = $1;
SELECT at(1);
EXECUTE change('b');
ALTER TABLE base ADD added int DEFAULT 7;
SELECT at(2);
EXECUTE change('c');
ALTER TABLE history ADD added int;
SELECT at(3);
EXECUTE change('d');
ALTER TABLE base RENAME added TO renamed;
SELECT at(4);
EXECUTE change('e');
ALTER TABLE history RENAME added TO renamed;
ALTER TABLE history DROP id;
SELECT at(5);
EXECUTE change('f');
ALTER TABLE base ALTER note TYPE varchar(10);
SELECT at(6);
EXECUTE change('g');
ALTER TABLE history ALTER note TYPE varchar(10);
EXECUTE change('g');
ALTER TABLE base DROP renamed;
SELECT at(7);
EXECUTE change('h');
SELECT note, renamed, days(sys_period) FROM history ORDER BY sys_period;
-- A renamed history is missed, and one in its place is found; a renamed schema
-- takes it along.
SELECT at(8);
ALTER TABLE history RENAME TO old_history;
SELECT refused($$EXECUTE change('i')$$);
CREATE TABLE history (LIKE base);
EXECUTE change('i');
DEALLOCATE change;
CREATE SCHEMA t2;
ALTER TABLE base SET SCHEMA t2;
SELECT at(9);
UPDATE t2.base SET note = 'j';
ALTER TABLE history SET SCHEMA t2;
SELECT at(10);
UPDATE t2.base SET note = 'k';
ALTER SCHEMA t2 RENAME TO t3;
SELECT at(11);
UPDATE t3.base SET note = 'l';
SELECT note, days(sys_period) FROM t3.history ORDER BY sys_period;
DROP TABLE t3.history;
SELECT refused($$UPDATE t3.base SET note = 'm'$$);
CREATE TABLE t3.history (LIKE t3.base);
SELECT at(12);
UPDATE t3.base SET note = 'm';
SELECT note, days(sys_period) FROM t3.history ORDER BY sys_period;
DROP TABLE t3.base, t3.history, old_history;
DROP SCHEMA t3;

-- Values out of line and those of a column that came later are complete in the
-- history, also when the table is gone.
CREATE TABLE base (id int, big text, sys_period tstzrange);
ALTER TABLE base ALTER big SET STORAGE EXTERNAL;
INSERT INTO base VALUES (1, repeat('x', 10000), '[2000-01-01,)');
ALTER TABLE base ADD later text DEFAULT 'here';
CREATE TABLE history (LIKE base);
CREATE TRIGGER versioning BEFORE INSERT OR UPDATE OR DELETE ON base
    FOR EACH ROW EXECUTE FUNCTION versioning('sys_period', 'history', true);
SELECT at(1);
UPDATE base SET id = 2;
SELECT at(2);
UPDATE base SET big = 'y';
SELECT at(3);
DROP TABLE base;
SELECT id, md5(big) = md5(repeat('x', 10000)) AS same, later, days(sys_period) FROM history ORDER BY sys_period;
DROP TABLE history;

-- What the server computes, counts, checks and refuses in a history.
CREATE TABLE base (id int GENERATED ALWAYS AS IDENTITY, a int, twice int GENERATED ALWAYS AS (a * 2) STORED,
    sys_period tstzrange NOT NULL);
CREATE TABLE plain (id int, a int, twice int, sys_period tstzrange);
CREATE TABLE everything (LIKE base INCLUDING ALL, entry bigserial, written_by name DEFAULT current_user, CHECK (a < 100));
CREATE TABLE needed (LIKE plain, reason text NOT NULL);
CREATE TABLE half (a int NOT NULL, sys_period tstzrange);
CREATE UNIQUE INDEX ON half (a);
CREATE FUNCTION use(history text) RETURNS void LANGUAGE plpgsql AS $$
BEGIN
    EXECUTE 'CREATE OR REPLACE TRIGGER versioning BEFORE INSERT OR UPDATE OR DELETE ON t.base
             FOR EACH ROW EXECUTE FUNCTION versioning(sys_period, ' || history || ', true)';
END $$;
SELECT use('plain');
SELECT at(1);
INSERT INTO base (a) VALUES (1), (2);
SELECT at(2);
UPDATE base SET a = a + 10;
SELECT id, a, twice, days(sys_period) FROM plain ORDER BY id;
SELECT use('everything');
SELECT at(3);
UPDATE base SET a = a + 10;
SELECT at(4);
DELETE FROM base WHERE id = 2;
SELECT id, a, twice, entry, written_by = current_user AS mine, days(sys_period) FROM everything ORDER BY entry;
SELECT at(5);
UPDATE base SET a = 101;
SELECT at(6);
SELECT refused('UPDATE t.base SET a = 1') ~ '^23514: new row for relation "everything" violates check constraint "everything_a_check"' AS checked;
SELECT use('needed');
SELECT refused('UPDATE t.base SET a = 1') ~ '^23502: null value in column "reason" of relation "needed" violates' AS needed;
ALTER TABLE needed ALTER reason SET DEFAULT 'none';
UPDATE base SET a = NULL;
SELECT id, a, twice, reason, days(sys_period) FROM needed;
SELECT use('half');
SELECT at(7);
SELECT refused('UPDATE t.base SET a = 1') ~ '^23502: null value in column "a" of relation "half" violates' AS needed;
ALTER TABLE half ALTER a DROP NOT NULL;
UPDATE base SET a = 1;
SELECT at(8);
UPDATE base SET a = 2;
SELECT at(9);
UPDATE base SET a = 1;
SELECT at(10);
SELECT refused('UPDATE t.base SET a = 2');
SELECT a, days(sys_period) FROM half ORDER BY sys_period;
-- Triggers, rules and views of the user's.
CREATE VIEW seen AS SELECT id, a, sys_period FROM plain;
TRUNCATE plain;
SELECT use('seen');
UPDATE base SET a = 3;
CREATE FUNCTION mark() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN NEW.a = -NEW.a; RETURN NEW; END $$;
CREATE TRIGGER mark BEFORE INSERT ON plain FOR EACH ROW EXECUTE FUNCTION mark();
SELECT use('plain');
SELECT at(11);
UPDATE base SET a = 4;
ALTER TABLE plain DISABLE TRIGGER mark;
CREATE RULE elsewhere AS ON INSERT TO plain WHERE new.a = 4 DO INSTEAD INSERT INTO half VALUES (400, new.sys_period);
SELECT at(12);
UPDATE base SET a = 5;
SELECT at(13);
UPDATE base SET a = 6;
SELECT id, a, twice, days(sys_period) FROM plain ORDER BY sys_period;
SELECT a, days(sys_period) FROM half WHERE a = 400;
DROP TABLE base, plain, everything, needed, half CASCADE;

-- A temporary table has a temporary history.
CREATE TEMP TABLE base (id int, sys_period tstzrange);
CREATE TEMP TABLE history (LIKE base);
CREATE TABLE t.history (LIKE base);
INSERT INTO base VALUES (1, '[2000-01-01,)');
CREATE TRIGGER versioning BEFORE INSERT OR UPDATE OR DELETE ON base
    FOR EACH ROW EXECUTE FUNCTION versioning('sys_period', 'history', true);
SELECT at(1);
UPDATE base SET id = 2;
CREATE OR REPLACE TRIGGER versioning BEFORE INSERT OR UPDATE OR DELETE ON base
    FOR EACH ROW EXECUTE FUNCTION versioning('sys_period', 'pg_temp.history', true);
SELECT at(2);
UPDATE base SET id = 3;
SELECT id, days(sys_period) FROM pg_temp.history;
SELECT count(*) FROM t.history;
-- What a read-only transaction may do to a temporary table, it may not to a history
-- that is none.
CREATE OR REPLACE TRIGGER versioning BEFORE INSERT OR UPDATE OR DELETE ON base
    FOR EACH ROW EXECUTE FUNCTION versioning('sys_period', 't.history', true);
BEGIN READ ONLY;
SELECT refused('UPDATE base SET id = 4');
COMMIT;
CREATE TABLE t.base (LIKE base);
INSERT INTO t.base TABLE base;
CREATE TRIGGER versioning BEFORE INSERT OR UPDATE OR DELETE ON t.base
    FOR EACH ROW EXECUTE FUNCTION versioning('sys_period', 'pg_temp.history', true);
SELECT at(3);
SELECT refused('UPDATE t.base SET id = 4');
DROP TABLE pg_temp.base, pg_temp.history, t.base, t.history;

-- It is a trigger function, for rows.
SELECT dbpatterns.versioning();
CREATE TABLE base (id int, sys_period tstzrange);
CREATE VIEW seen AS TABLE base;
CREATE TRIGGER versioning BEFORE INSERT ON base
    FOR EACH STATEMENT EXECUTE FUNCTION versioning('sys_period', 'history', true);
SELECT refused('INSERT INTO t.base VALUES (1)');
DROP TRIGGER versioning ON base;
CREATE TRIGGER versioning BEFORE TRUNCATE ON base
    FOR EACH STATEMENT EXECUTE FUNCTION versioning('sys_period', 'history', true);
SELECT refused('TRUNCATE t.base');
CREATE TRIGGER versioning INSTEAD OF INSERT ON seen
    FOR EACH ROW EXECUTE FUNCTION versioning('sys_period', 'history', true);
SELECT refused('INSERT INTO t.seen VALUES (1)');

-- Two kinds of versioning would write each version twice.
CREATE TABLE twice (id int PRIMARY KEY, sys_period tstzrange);
CREATE TABLE twice_history (LIKE twice);
INSERT INTO twice VALUES (1, '[2000-01-01,)');
SELECT dbpatterns.versioning_enable('twice');
CREATE TRIGGER versioning BEFORE INSERT OR UPDATE OR DELETE ON twice
    FOR EACH ROW EXECUTE FUNCTION versioning('sys_period', 'twice_history', true);
SELECT refused('UPDATE t.twice SET id = 2');
DROP TRIGGER versioning ON twice;
UPDATE twice SET id = 2;
SELECT id FROM twice_history;

:finish
