-- Switching versioning on and off, and what is refused.
\getenv srcdir PG_ABS_SRCDIR
\set include :srcdir '/sql/include/versioning.sql'
\i :include
SET client_min_messages = notice;
SET search_path = ena, dbpatterns, public;
CREATE SCHEMA ena;
CREATE TABLE t (id int PRIMARY KEY, v int);
INSERT INTO t VALUES (1, 1);
SELECT set_system_time('2020-01-01');
SELECT versioning_enable('t');
SELECT target, history, period, options FROM versioning_status;
SELECT target, patterns FROM status;
-- Again: nothing changes.  With other settings: they change in place.
SELECT versioning_enable('t');
SELECT versioning_enable('t', time_source => 'statement', exclude => '{v}', on_truncate => 'archive', keep => '1 year');
SELECT options FROM versioning_status;
SELECT versioning_enable('t');
SELECT options FROM versioning_status;
SELECT versioning_enable('t', history => 't_history');
SELECT versioning_enable('t', history => 'other');
SELECT versioning_enable('t', period => 'other');

-- Off and on again: nothing is lost.
SELECT set_system_time('2020-02-01');
UPDATE t SET v = 2;
SELECT versioning_disable('t');
SELECT versioning_disable('t');
\d t
SELECT * FROM t_history;
INSERT INTO t (id, v) VALUES (2, 2);
UPDATE t SET v = 3 WHERE id = 1;
SELECT count(*) FROM t_history;
SELECT versioning_enable('t');
SELECT set_system_time('2020-03-01');
UPDATE t SET v = 4 WHERE id = 1;
SELECT v, sys_period FROM t__versions() WHERE id = 1 ORDER BY sys_period;
SELECT versioning_disable('t', keep_history => false);
\d t
SELECT to_regclass('t_history');

-- A history of one's own: taken over with what it has, completed, relaxed.
CREATE TABLE own_history (note text, v int NOT NULL, sys_period tstzrange NOT NULL);
INSERT INTO own_history VALUES ('from elsewhere', 0, '[2010-01-01,2011-01-01)');
CREATE TABLE own (id int PRIMARY KEY, v int, sys_period tstzrange NOT NULL DEFAULT '[2015-01-01,)');
INSERT INTO own VALUES (1, 1, '[2015-01-01,infinity)');
SELECT versioning_enable('own', history => 'own_history');
\d own_history
SELECT set_system_time('2020-04-01');
UPDATE own SET v = NULL;
SELECT set_system_time('2020-05-01');
UPDATE own SET v = 3;
SELECT * FROM own_history ORDER BY sys_period;
SELECT severity, object, problem, remedy FROM versioning_check('own');
CREATE TABLE dropin (id int PRIMARY KEY, sys_period tstzrange NOT NULL);
CREATE TRIGGER versioning BEFORE UPDATE ON dropin FOR EACH ROW EXECUTE FUNCTION versioning('sys_period', 'own_history', 'true');
SELECT versioning_enable('dropin');

-- Names of 63 bytes, and names that need quotes.
SET client_min_messages = warning;
CREATE TABLE "a table with a name that takes up all of the sixty-three bytes X" ("Id" int PRIMARY KEY, "a ""b" int);
SELECT versioning_enable('"a table with a name that takes up all of the sixty-three bytes X"', period => 'The Period');
INSERT INTO "a table with a name that takes up all of the sixty-three bytes X" VALUES (1, 1);
SELECT set_system_time('2020-06-01');
UPDATE "a table with a name that takes up all of the sixty-three bytes X" SET "a ""b" = 2;
SELECT proname FROM pg_proc WHERE pronamespace = 'ena'::regnamespace AND proname LIKE 'a table%' ORDER BY 1;
SELECT "a ""b" FROM "a table with a name that takes up all of the sixty-three__as_of"('2020-05-15');
SELECT count(*) FROM row_history('"a table with a name that takes up all of the sixty-three bytes X"', '{"Id": 1}');

SET client_min_messages = notice;
-- A table without a key has a history, but its rows have no names.
CREATE TABLE keyless (v int);
SELECT versioning_enable('keyless');
INSERT INTO keyless VALUES (1), (1);
SELECT set_system_time('2020-07-01');
UPDATE keyless SET v = 2;
SELECT v, count(*) FROM keyless__versions() GROUP BY 1 ORDER BY 1;
SELECT * FROM row_history('keyless', '{"v": 1}');
SELECT restore_as_of('keyless', '{"v": 1}', now());

-- Findings.
ALTER TABLE keyless DISABLE TRIGGER dbpatterns_71_versioning;
SELECT severity, object, problem FROM versioning_check('keyless');
DROP FUNCTION keyless__versions();
ALTER TABLE own DROP CONSTRAINT own_pkey;
DROP TRIGGER dbpatterns_72_versioning ON own;
SELECT severity, object, problem FROM versioning_check();
SELECT versioning_enable('keyless');
SELECT severity, object, problem FROM versioning_check('keyless');

-- Refused, with nothing half done.
CREATE VIEW v AS SELECT 1 AS id;
CREATE TEMPORARY TABLE tmp (id int);
CREATE TABLE parent (id int);
CREATE TABLE child () INHERITS (parent);
CREATE TABLE r (id int PRIMARY KEY, v int, sys_period tstzrange, text_period text);
CREATE TABLE r_history (id int, v text, sys_period tstzrange);
CREATE FUNCTION r2__as_of(int) RETURNS int LANGUAGE sql AS 'SELECT 1';
CREATE TABLE r2 (id int PRIMARY KEY);
SELECT versioning_enable(NULL);
SELECT versioning_enable('v');
\set VERBOSITY sqlstate
SELECT versioning_enable('tmp');
\set VERBOSITY default
SELECT versioning_enable('parent');
SELECT versioning_enable('child');
SELECT versioning_enable('pg_class');
SELECT versioning_enable('own_history');
SELECT versioning_enable('t', period => NULL);
SELECT versioning_enable('t', period => 'v');
SELECT versioning_enable('t', time_source => 'sundial');
SELECT versioning_enable('t', same_transaction => 'last');
SELECT versioning_enable('t', on_newer => NULL);
SELECT versioning_enable('t', on_truncate => 'x');
SELECT versioning_enable('t', exclude => '{nothing}');
SELECT versioning_enable('t', exclude => '{id}');
SELECT versioning_enable('t', exclude => '{v,v}');
SELECT versioning_enable('t', history => 't');
SELECT versioning_enable('t', history => 'parent');
SELECT versioning_enable('t', history => 'own');
SELECT versioning_enable('t', history => 'own_history');
SELECT versioning_enable('t', history => 'v');
SELECT versioning_enable('t', history => 'r2');
SELECT versioning_enable('t', history => 'a.b.c.d');
SELECT versioning_enable('r', period => 'text_period');
INSERT INTO r VALUES (1, 1, '[2020-01-01,)'), (2, 1, '[2019-01-01,2020-01-01)'), (3, 1, NULL);
SELECT versioning_enable('r', history => 'r_new');
DELETE FROM r WHERE id > 1;
SELECT versioning_enable('r');
SELECT to_regclass('r_new');
SELECT versioning_enable('r2');
\d r2
SELECT versioning_disable(NULL);
SELECT versioning_disable('t', NULL);
SELECT target FROM versioning_status WHERE target IN ('t'::regclass, 'r'::regclass, 'r2'::regclass);
SELECT set_system_time(NULL);
SET client_min_messages = warning;
DROP SCHEMA ena CASCADE;
