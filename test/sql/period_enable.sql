-- Tables with a period: what they get, what is refused, how they are altered.
\getenv srcdir PG_ABS_SRCDIR
\set include :srcdir '/sql/include/versioning.sql'
\i :include
SET client_min_messages = notice;
CREATE SCHEMA per;
SET search_path = per, dbpatterns, public;
CREATE TABLE early (id int, valid daterange);
\set VERBOSITY terse
DROP EXTENSION IF EXISTS btree_gist;
SELECT period_enable('early', '{id}', 'valid');
CREATE EXTENSION btree_gist SCHEMA per;

-- Periods come into one form: with their beginning, without their end, endless by
-- having no bound.
CREATE TABLE rate (product int, valid daterange, price int);
SELECT period_enable('rate', '{product}', 'valid');
INSERT INTO rate VALUES (1, '[2020-01-01,2020-06-30]', 10), (1, '[2020-07-01,infinity]', 11), (2, '[-infinity,2020-01-01)', 12), (3, '(2020-01-01,)', 13);
SELECT * FROM rate ORDER BY product, valid;
CREATE TABLE slot (id int, during tstzrange);
SELECT period_enable('slot', '{id}', 'during');
INSERT INTO slot VALUES (1, '[2020-01-01,2020-02-01]'), (2, '(2020-01-01,infinity)');
SELECT * FROM slot ORDER BY id;
CREATE TABLE num (id int, r numrange);
SELECT period_enable('num', '{id}', 'r');
INSERT INTO num VALUES (1, '[1,2)');
INSERT INTO num VALUES (2, '[1,2]');
CREATE TABLE span (id int, f date NOT NULL, t date, v int);
SELECT period_enable('span', '{id}', from_column => 'f', to_column => 't');
INSERT INTO span VALUES (1, '2020-01-01', '2020-02-01'), (1, '2020-02-01', 'infinity'), (2, '2020-01-01', NULL);
SELECT * FROM span ORDER BY id, f;

-- Rows of one key do not overlap, and none is empty, NULL or inverted.
INSERT INTO rate VALUES (1, '[2020-06-15,2020-06-16)', 1);
INSERT INTO rate VALUES (1, 'empty', 1);
INSERT INTO rate VALUES (1, NULL, 1);
INSERT INTO rate VALUES (NULL, '[2030-01-01,)', 1);
INSERT INTO span VALUES (1, '2021-01-01', '2021-02-01');
INSERT INTO span VALUES (3, '2021-01-01', '2021-01-01');
INSERT INTO span VALUES (3, '2021-02-01', '2021-01-01');
INSERT INTO span VALUES (2, '2019-01-01', '2020-01-01');
UPDATE span SET t = f WHERE id = 2;
COPY rate FROM stdin;
4	[2020-01-01,2020-01-31]	5
\.
SELECT * FROM rate WHERE product = 4;
-- Shifted and swapped in one statement.
UPDATE rate SET valid = daterange(lower(valid) + 10, upper(valid) + 10);
UPDATE rate SET valid = CASE WHEN upper_inf(valid) THEN daterange('2000-01-01', '2001-01-01') ELSE daterange('2020-01-01', NULL) END WHERE product = 1;
SELECT * FROM rate WHERE product = 1 ORDER BY valid;
BEGIN;
SET CONSTRAINTS ALL DEFERRED;
UPDATE span SET t = '2020-03-01' WHERE id = 1 AND f = '2020-01-01';
UPDATE span SET f = '2020-03-01' WHERE id = 1 AND t IS NULL;
COMMIT;
SELECT * FROM span WHERE id = 1 ORDER BY f;

-- Reading.
SELECT * FROM rate__valid_at('2000-06-01');
SELECT * FROM span__valid_at('2020-02-15') ORDER BY id;
SELECT * FROM span__valid_at('infinity') ORDER BY id;

-- Again, otherwise, and off.
SELECT period_enable('rate', '{product}', 'valid');
SELECT period_enable('rate', '{product}', 'valid', is_deferrable => false);
SELECT condeferrable FROM pg_constraint WHERE conrelid = 'rate'::regclass AND conname = 'rate_valid_overlap';
SELECT period_enable('rate', '{product,price}', 'valid');
INSERT INTO rate VALUES (1, '[2000-01-01,2000-02-01)', 99);
SELECT target, key, period, from_column, to_column, constraint_name FROM period_status ORDER BY target::text;
SELECT * FROM period_check();
SELECT period_disable('rate');
SELECT period_disable('rate');
SELECT to_regprocedure('rate__valid_at(date)');
INSERT INTO rate VALUES (1, '[2000-01-01,2000-02-01)', 99);
SELECT period_enable('rate', '{product}', 'valid');
SELECT to_regprocedure('rate__valid_at(date)'), count(*) FROM pg_trigger WHERE tgrelid = 'rate'::regclass GROUP BY 1;

-- Altered tables.
ALTER TABLE span RENAME f TO "From";
ALTER TABLE span RENAME t TO "To";
ALTER TABLE span RENAME TO "The Span";
ALTER TABLE "The Span" ADD COLUMN more int DEFAULT 1;
INSERT INTO "The Span" VALUES (5, '2020-01-01', 'infinity', 1);
SELECT * FROM "The Span__valid_at"('2025-01-01') WHERE id = 5;
SELECT key, from_column, to_column FROM period_status WHERE target = '"The Span"'::regclass;
CREATE SCHEMA per2;
ALTER TABLE "The Span" SET SCHEMA per2;
SELECT count(*) FROM per2."The Span__valid_at"('2025-01-01');
SET client_min_messages = warning;
ALTER TABLE per2."The Span" DROP COLUMN "To" CASCADE;
SET client_min_messages = notice;
SELECT count(*) FROM period_status WHERE target = 'per2."The Span"'::regclass;
INSERT INTO per2."The Span" VALUES (5, '2020-01-01', 1);
SET client_min_messages = warning;
DROP SCHEMA per2 CASCADE;
SET client_min_messages = notice;
ALTER TABLE slot DISABLE TRIGGER dbpatterns_30_period;
ALTER TABLE num DROP CONSTRAINT num_r_overlap;
SELECT severity, object, problem FROM period_check() ORDER BY object;
SELECT period_enable('slot', '{id}', 'during');
SELECT period_enable('num', '{id}', 'r');
SELECT severity, object, problem FROM period_check() ORDER BY object;

-- Rows that are there.
CREATE TABLE old (id int, valid daterange, f int, t int);
INSERT INTO old VALUES (1, '[2020-01-01,2020-02-01)', 1, 2), (1, '[2020-01-31,infinity)', 5, 3);
SELECT period_enable('old', '{id}', 'valid');
SELECT period_enable('old', '{id}', from_column => 'f', to_column => 't');
UPDATE old SET valid = '[2020-02-01,infinity)' WHERE t = 3;
SELECT period_enable('old', '{id}', 'valid');
SELECT id, valid FROM old ORDER BY 2;

-- Refused.
CREATE TABLE bad (id int, r tsrange, m datemultirange, x text, a timestamp, b timestamp, c date, d int);
CREATE VIEW v AS SELECT 1 AS id;
CREATE TABLE child () INHERITS (bad);
SELECT period_enable('bad', '{id}', 'r');
CREATE TABLE bad2 (id int, r tsrange, m datemultirange, x text, a timestamp, b timestamp, c date, d int);
\set VERBOSITY default
SELECT period_enable('bad2', '{id}', 'r');
\set VERBOSITY terse
SELECT period_enable('bad2', '{id}', 'm');
SELECT period_enable('bad2', '{id}', 'x');
SELECT period_enable('bad2', '{id}', from_column => 'a', to_column => 'b');
SELECT period_enable('bad2', '{id}', from_column => 'c', to_column => 'd');
SELECT period_enable('bad2', '{id}', from_column => 'c');
SELECT period_enable('bad2', '{id}');
SELECT period_enable('bad2', '{id}', 'm', 'c', 'd');
SELECT period_enable('bad2', '{}', 'm');
SELECT period_enable('bad2', NULL, 'm');
SELECT period_enable('bad2', '{none}', 'm');
SELECT period_enable('bad2', '{c}', from_column => 'c', to_column => 'c');
SELECT period_enable('v', '{id}', 'm');
SELECT period_enable(NULL, '{id}', 'm');
SELECT period_disable(NULL);
CREATE TRIGGER wrong BEFORE INSERT ON bad2 FOR EACH ROW EXECUTE FUNCTION period_trigger();
INSERT INTO bad2 DEFAULT VALUES;
SET client_min_messages = warning;
DROP SCHEMA per CASCADE;
