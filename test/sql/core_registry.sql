-- What all patterns share: the list of tables, findings, progress, and the
-- agreement between library and SQL.
\getenv srcdir PG_ABS_SRCDIR
\set include :srcdir '/sql/include/audit.sql'
\i :include

-- Every pattern the registry knows has its functions.
SELECT pattern FROM _dbpatterns.pattern p
 WHERE NOT EXISTS (SELECT FROM pg_proc f WHERE f.pronamespace = 'dbpatterns'::regnamespace AND f.proname = p.pattern || '_check'
                   AND f.proargtypes[0] = 'regclass'::regtype AND f.pronargs - f.pronargdefaults <= 1);

CREATE TABLE a (id int PRIMARY KEY);
CREATE TABLE "B ""quoted""" (id int);
SELECT dbpatterns.audit_enable('a'), dbpatterns.audit_enable('"B ""quoted"""');
SELECT target, patterns, options, since <= now() AS since FROM dbpatterns.status ORDER BY target::text;
-- Temporary tables are not listed: their names mean nothing to others.
CREATE TEMP TABLE tmp (id int PRIMARY KEY);
SELECT dbpatterns.audit_enable('tmp');
SELECT count(*) FROM dbpatterns.status;

-- check() puts the findings of all patterns together, worst first.
SELECT * FROM dbpatterns."check"();
DROP TRIGGER dbpatterns_80_audit ON a;
SELECT * FROM dbpatterns."check"();
SELECT pattern, severity, object FROM dbpatterns."check"('"B ""quoted"""');
-- It raises nothing for what is no table of ours.
CREATE VIEW v AS SELECT 1;
SELECT severity, problem FROM dbpatterns."check"('v');
SELECT severity, problem FROM dbpatterns."check"('pg_class');
SELECT * FROM dbpatterns."check"(0);
-- Not for a trigger made by hand and wrongly either.
CREATE TABLE w (id int PRIMARY KEY);
CREATE TRIGGER dbpatterns_80_audit AFTER INSERT ON w FOR EACH ROW EXECUTE FUNCTION dbpatterns.audit_trigger('{"bad": 1}');
SELECT severity, object, problem, remedy FROM dbpatterns.audit_check('w');
-- What all tables share is looked at when no table is named.
SET client_min_messages = warning;
ALTER EVENT TRIGGER dbpatterns_sql_drop DISABLE;
SELECT severity, object, problem, remedy FROM dbpatterns."check"() WHERE object ~ 'sql_drop';
-- A table that was dropped meanwhile is no longer listed by name, and hurts
-- nobody.
DROP TABLE "B ""quoted""";
SELECT count(*) FROM dbpatterns.status;
SELECT severity, object FROM dbpatterns."check"();
ALTER EVENT TRIGGER dbpatterns_sql_drop ENABLE;
RESET client_min_messages;

-- Dropped and renamed tables.
SELECT dbpatterns.audit_enable('a');
ALTER TABLE a RENAME TO b;
SELECT target FROM dbpatterns.status WHERE target = 'b'::regclass;
BEGIN;
DROP TABLE b;
SELECT count(*) FROM dbpatterns.status WHERE target::text = 'b';
ROLLBACK;
SELECT count(*) FROM dbpatterns.status WHERE target = 'b'::regclass;

-- Progress shows live work only.  What an error leaves behind, here in the third
-- new partition after two were committed, is hidden, and gone with the next work.
CREATE TABLE watched (operation text, done bigint);
CREATE FUNCTION see() RETURNS event_trigger LANGUAGE plpgsql AS $$
BEGIN INSERT INTO t.watched SELECT operation, done FROM dbpatterns.progress; END $$;
SELECT to_char(date_trunc('month', now() AT TIME ZONE 'UTC') + interval '6 months', 'YYYYMMDD') AS third \gset
CREATE TABLE _dbpatterns.audit_log_:third ();
CREATE EVENT TRIGGER see ON ddl_command_start WHEN TAG IN ('CREATE TABLE') EXECUTE FUNCTION see();
\set VERBOSITY sqlstate
CALL dbpatterns.audit_run(ahead => '8 months');
\set VERBOSITY default
DROP EVENT TRIGGER see;
SELECT DISTINCT * FROM watched ORDER BY 2;
SELECT operation, done FROM _dbpatterns.progress;
SELECT * FROM dbpatterns.progress;
DROP TABLE _dbpatterns.audit_log_:third;
CALL dbpatterns.audit_run(ahead => '8 months');
SELECT count(*) FROM _dbpatterns.progress;

-- A library and SQL objects of different versions refuse to work together,
-- with what is to be done.  What is logged is refused, too, rather than wrong.
SELECT extversion FROM pg_extension WHERE extname = 'dbpatterns' \gset
UPDATE pg_extension SET extversion = '0.0.1' WHERE extname = 'dbpatterns';
CREATE TABLE late (id int PRIMARY KEY);
SELECT regexp_replace(refused(statement), '\d+\.\d+\.\d+', 'x', 1, 1) AS refused FROM unnest(ARRAY[
    'SELECT dbpatterns.audit_enable(''late'')', 'SELECT dbpatterns.audit_disable(''b'')']) AS statement;
\c
SET search_path = t;
SELECT regexp_replace(refused('INSERT INTO b VALUES (1)'), '\d+\.\d+\.\d+', 'x', 1, 1) AS refused;
UPDATE pg_extension SET extversion = :'extversion' WHERE extname = 'dbpatterns';
INSERT INTO b VALUES (1);

-- The extension cannot go while tables depend on it; CASCADE takes the triggers
-- along, and the tables work on.
SET client_min_messages = error;
SELECT left(refused('DROP EXTENSION dbpatterns'), 70);
DROP EXTENSION dbpatterns CASCADE;
INSERT INTO b VALUES (2);
SELECT count(*) FROM pg_trigger WHERE tgname ~ '^dbpatterns';
SELECT count(*) FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace WHERE n.nspname ~ 'dbpatterns';
CREATE EXTENSION dbpatterns;
-- The session that has old states in memory goes on with the new ones.
SELECT dbpatterns.audit_enable('b');
INSERT INTO b VALUES (3);
SELECT count(*) FROM _dbpatterns.audit_log WHERE op = 'I';

:finish
