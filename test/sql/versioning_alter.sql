-- The history follows its table, or the ALTER is refused.
\getenv srcdir PG_ABS_SRCDIR
\set include :srcdir '/sql/include/versioning.sql'
\i :include
SET search_path = alt, dbpatterns, public;
CREATE SCHEMA alt;
CREATE TABLE t (gone int, id int PRIMARY KEY, name text, n int);
ALTER TABLE t DROP COLUMN gone;
SELECT set_system_time('2020-01-01');
INSERT INTO t VALUES (1, 'one', 1);
SELECT versioning_enable('t');
-- How the history is laid out: columns with their types, in order.
CREATE VIEW layout AS
SELECT c.relname, string_agg(a.attname || ' ' || format_type(a.atttypid, a.atttypmod), ', ' ORDER BY a.attnum) AS columns
FROM pg_class c JOIN pg_attribute a ON a.attrelid = c.oid AND a.attnum > 0 AND NOT a.attisdropped
WHERE c.relnamespace = 'alt'::regnamespace AND c.relname LIKE '%history' GROUP BY 1;
PREPARE change AS UPDATE t SET id = id + 100;
SELECT set_system_time('2020-02-01');
EXECUTE change;
SELECT * FROM t_history;

-- ADD: old rows have the default, old versions do not have the column.  What was
-- prepared before goes on working.
ALTER TABLE t ADD COLUMN added int NOT NULL DEFAULT 5, ADD COLUMN again text;
SELECT set_system_time('2020-03-01');
EXECUTE change;
SELECT * FROM t__versions() ORDER BY sys_period;

-- RENAME: values keep flowing, also where the new name was that of a column
-- which the table has lost.
ALTER TABLE t RENAME COLUMN name TO title;
SELECT columns FROM layout;
ALTER TABLE t DROP COLUMN again;
ALTER TABLE t RENAME COLUMN n TO again;
SELECT columns FROM layout;
SELECT set_system_time('2020-04-01');
EXECUTE change;
SELECT * FROM t__versions() ORDER BY sys_period;

-- DROP: the history keeps the values.  Another column of that name and another
-- type gets a place of its own; one of the same type goes on where it stopped.
ALTER TABLE t DROP COLUMN title;
ALTER TABLE t ADD COLUMN title int;
SELECT columns FROM layout;
ALTER TABLE t DROP COLUMN title;
ALTER TABLE t ADD COLUMN title int DEFAULT 7;
SELECT set_system_time('2020-05-01');
EXECUTE change;
SELECT columns FROM layout;
SELECT id, title, title_1, sys_period FROM t_history ORDER BY sys_period;

-- TYPE: what every old value survives is followed, the rest is refused, and
-- nothing has happened then.
ALTER TABLE t ALTER COLUMN added TYPE bigint, ALTER COLUMN title TYPE numeric(10, 2);
SELECT columns FROM layout;
ALTER TABLE t ALTER COLUMN title TYPE int;
SELECT set_system_time('2020-06-01');
UPDATE t SET title = 3;
ALTER TABLE t ALTER COLUMN title TYPE text USING title::text;
UPDATE t SET title = 'three';
SELECT set_system_time('2020-06-02');
UPDATE t SET title = '3';
ALTER TABLE t ALTER COLUMN title TYPE int USING title::int;
ALTER TABLE t ALTER COLUMN added TYPE text USING (added * 2)::text;
SELECT columns FROM layout;
SELECT id, added, title FROM t;
-- The same done to the history first, in one transaction.
BEGIN;
ALTER TABLE t_history ALTER COLUMN added TYPE text USING (added * 2)::text;
ALTER TABLE t ALTER COLUMN added TYPE text USING (added * 2)::text;
COMMIT;
SELECT set_system_time('2020-07-01');
EXECUTE change;
SELECT id, added, sys_period FROM t__versions() ORDER BY sys_period DESC LIMIT 2;

-- The period stays what it is.
ALTER TABLE t DROP COLUMN sys_period;
ALTER TABLE t ALTER COLUMN sys_period TYPE text;

-- Constraints of the table are none of the history.
ALTER TABLE t ADD COLUMN must int NOT NULL DEFAULT 1 CHECK (must > 0) UNIQUE;
ALTER TABLE t ALTER COLUMN must DROP NOT NULL;
SELECT set_system_time('2020-08-01');
UPDATE t SET must = NULL;
SELECT set_system_time('2020-09-01');
UPDATE t SET must = 2;
SELECT count(*) FROM t_history WHERE must IS NULL;

-- A table that is renamed or moved takes its functions with it; a history that
-- is renamed or moved is found again, even if another one has its name by now.
CREATE VIEW past AS SELECT id FROM t__as_of('2020-03-15');
CREATE SCHEMA "Other Place";
ALTER TABLE t RENAME TO "Odd ""Name";
ALTER TABLE "Odd ""Name" SET SCHEMA "Other Place";
ALTER TABLE t_history RENAME TO h;
CREATE TABLE t_history (id int, sys_period tstzrange);
ALTER TABLE h SET SCHEMA "Other Place";
ALTER SCHEMA "Other Place" RENAME TO "Elsewhere";
SET search_path = "Elsewhere", dbpatterns, alt;
\df "Elsewhere".*
SELECT set_system_time('2020-10-01');
UPDATE "Odd ""Name" SET must = 3;
SELECT count(*) FROM alt.t_history;
SELECT id, must, sys_period FROM h ORDER BY sys_period DESC LIMIT 1;
SELECT * FROM past;
SELECT target, history FROM versioning_status;
SELECT * FROM versioning_check('"Odd ""Name"');

-- A column of the history does not go its own way, and a history is not dropped.
ALTER TABLE h RENAME COLUMN must TO may;
DROP TABLE h;
DROP TABLE h CASCADE;
-- A column more is nobody's business.
ALTER TABLE h ADD COLUMN note text;
SELECT set_system_time('2020-11-01');
UPDATE "Odd ""Name" SET must = 4;
SELECT must, note FROM h ORDER BY sys_period DESC LIMIT 1;
DROP VIEW past;
DROP TABLE "Odd ""Name";
SELECT count(*) FROM h;
SELECT count(*) FROM versioning_status;
DROP TABLE h;

-- The owner changes for both.
SET search_path = alt, dbpatterns, public;
CREATE ROLE regress_dbp_versioning_a;
CREATE ROLE regress_dbp_versioning_b;
GRANT ALL ON SCHEMA alt TO regress_dbp_versioning_a, regress_dbp_versioning_b;
SET ROLE regress_dbp_versioning_a;
CREATE TABLE owned (id int PRIMARY KEY, v int);
SELECT versioning_enable('owned');
RESET ROLE;
ALTER TABLE owned OWNER TO regress_dbp_versioning_b;
SELECT relname, relowner::regrole FROM pg_class WHERE relname LIKE 'owned%' AND relkind = 'r' ORDER BY 1;
SELECT proname, proowner::regrole FROM pg_proc WHERE proname LIKE 'owned%' ORDER BY 1;
INSERT INTO owned VALUES (1, 1);
UPDATE owned SET v = 2;
-- A history of somebody else is not written to.
ALTER TABLE owned_history OWNER TO regress_dbp_versioning_a;
UPDATE owned SET v = 3;
SELECT severity, object, problem FROM versioning_check('owned');
ALTER TABLE owned OWNER TO regress_dbp_versioning_b;

-- Generated columns, domains, and values that have no equality.
CREATE DOMAIN positive AS int NOT NULL CHECK (VALUE > 0);
CREATE TYPE pair AS (a int, b json);
CREATE TABLE rich (id int GENERATED ALWAYS AS IDENTITY PRIMARY KEY, n positive, doubled int GENERATED ALWAYS AS (n * 2) STORED,
                   doc json, mark xml, p pair, label text COLLATE "C", big text);
SELECT versioning_enable('rich');
\d rich_history
SELECT set_system_time('2021-01-01');
INSERT INTO rich (n, doc, mark, p, label, big)
VALUES (1, '{"a":  1}', '<x/>', '(1,"{}")', 'a', (SELECT string_agg(md5(g::text), '') FROM generate_series(1, 5000) g));
SELECT set_system_time('2021-02-01');
UPDATE rich SET doc = doc, mark = mark, p = p;
SELECT count(*) FROM rich_history;
UPDATE rich SET doc = '{"a": 1}', n = 2;
SELECT id, n, doubled, doc, mark, p, label, length(big), md5(big) = (SELECT md5(string_agg(md5(g::text), '')) FROM generate_series(1, 5000) g) AS whole
FROM rich__as_of('2021-01-15');
-- Its long value is its own.
SELECT versioning_disable('rich');
DROP TABLE rich;
SELECT length(big) FROM rich_history;

DROP SCHEMA alt CASCADE;
DROP SCHEMA "Elsewhere" CASCADE;
DROP ROLE regress_dbp_versioning_a, regress_dbp_versioning_b;
SELECT set_system_time(NULL);
