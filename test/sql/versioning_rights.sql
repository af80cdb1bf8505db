-- Who may change, who may read, and what cannot be forged.
\getenv srcdir PG_ABS_SRCDIR
\set include :srcdir '/sql/include/versioning.sql'
\i :include
CREATE ROLE regress_dbp_versioning_owner;
CREATE ROLE regress_dbp_versioning_app;
CREATE ROLE regress_dbp_versioning_evil;
CREATE SCHEMA rights AUTHORIZATION regress_dbp_versioning_owner;
CREATE SCHEMA evil AUTHORIZATION regress_dbp_versioning_evil;
GRANT USAGE ON SCHEMA rights TO regress_dbp_versioning_app, regress_dbp_versioning_evil;
SET ROLE regress_dbp_versioning_owner;
SET search_path = rights, dbpatterns;
CREATE TABLE doc (id int PRIMARY KEY, who text DEFAULT current_user, body text);
SELECT versioning_enable('doc');
GRANT SELECT, INSERT, UPDATE, DELETE ON doc TO regress_dbp_versioning_app, regress_dbp_versioning_evil;

-- A role with rights on the table needs none on the history, and has none.
SET ROLE regress_dbp_versioning_app;
INSERT INTO doc (id, body) VALUES (1, 'a'), (2, 'b'), (3, 'c');
UPDATE doc SET body = 'aa' WHERE id = 1;
DELETE FROM doc WHERE id = 2;
SELECT * FROM doc_history;
INSERT INTO doc_history DEFAULT VALUES;
SELECT * FROM doc__versions();
SELECT * FROM row_history('doc', '{"id": 1}');
SELECT history_erase('doc', '{"id": 1}', 'mine');
SELECT versioning_disable('doc');
SET dbpatterns.versioning_import = on;
INSERT INTO doc (id, sys_period) VALUES (9, '[1999-01-01,)');
RESET dbpatterns.versioning_import;
SELECT set_system_time('1999-01-01');
UPDATE doc SET body = 'forged' WHERE id = 1;
SELECT set_system_time(NULL);
CALL history_purge('doc', '1 second');
-- He may read the past if the owner lets him.
SET ROLE regress_dbp_versioning_owner;
GRANT SELECT ON doc_history TO regress_dbp_versioning_app;
SET ROLE regress_dbp_versioning_app;
SELECT id, body FROM doc__versions() ORDER BY id, sys_period;
SELECT op, "row"->>'body' AS body FROM row_history('doc', '{"id": 1}');

-- Row-level security holds for the past as well: in the functions, in the history,
-- and for rows that are archived.
SET ROLE regress_dbp_versioning_owner;
ALTER TABLE doc ENABLE ROW LEVEL SECURITY;
CREATE POLICY own ON doc USING (who = current_user);
CREATE POLICY not_secret ON doc AS RESTRICTIVE FOR SELECT USING (body <> 'secret');
SELECT polname, polpermissive, polcmd, pg_get_expr(polqual, polrelid) FROM pg_policy WHERE polrelid = 'doc_history'::regclass ORDER BY 1;
GRANT SELECT ON doc_history TO regress_dbp_versioning_evil;
SET ROLE regress_dbp_versioning_evil;
INSERT INTO doc (id, body) VALUES (10, 'x');
UPDATE doc SET body = 'xx';
SELECT id, who, body FROM doc__versions() ORDER BY id, sys_period;
SELECT id, who, body FROM doc_history;
SET ROLE regress_dbp_versioning_app;
UPDATE doc SET body = 'secret' WHERE id = 3;
SELECT id, who, body FROM doc__versions() ORDER BY id, sys_period;
SET ROLE regress_dbp_versioning_owner;
ALTER POLICY not_secret ON doc USING (true);
DROP POLICY own ON doc;
CREATE POLICY all_ ON doc FOR SELECT USING (true);
SELECT polname, pg_get_expr(polqual, polrelid) FROM pg_policy WHERE polrelid = 'doc_history'::regclass ORDER BY 1;
SELECT * FROM versioning_check('doc');
-- Enabled later, it finds the policies that are there.
CREATE TABLE later (id int PRIMARY KEY, who text);
ALTER TABLE later ENABLE ROW LEVEL SECURITY;
CREATE POLICY all_ ON later USING (true);
CREATE POLICY own ON later AS RESTRICTIVE TO regress_dbp_versioning_app USING (who = current_user AND EXISTS (SELECT FROM doc d WHERE d.id = later.id));
SET client_min_messages = notice;
SELECT versioning_enable('later');
SET client_min_messages = warning;
SELECT relrowsecurity FROM pg_class WHERE relname = 'later_history';
SELECT polname, polpermissive, pg_get_expr(polqual, polrelid) FROM pg_policy WHERE polrelid = 'later_history'::regclass ORDER BY 1;

-- A hostile search_path leads nowhere, nor does a history of the attacker's.
SET ROLE regress_dbp_versioning_evil;
CREATE TABLE evil.doc_history (id int, who text, body text, sys_period tstzrange);
CREATE FUNCTION evil.upper(tstzrange) RETURNS timestamptz LANGUAGE sql AS 'SELECT 1/0; SELECT now()';
SET search_path = evil, pg_catalog;
UPDATE rights.doc SET body = 'xxx';
SELECT count(*) FROM evil.doc_history;
SELECT count(*) FROM rights.doc__as_of(now());
SET search_path = evil, rights, dbpatterns;
CREATE TABLE evil.bait (id int PRIMARY KEY, who text, body text);
SELECT versioning_enable('bait', history => 'rights.doc_history');
SELECT versioning_enable('bait', history => 'nowhere.h');
SELECT versioning_enable('rights.doc');
ALTER TABLE bait ADD COLUMN sys_period tstzrange NOT NULL;
CREATE TRIGGER steal BEFORE INSERT OR UPDATE ON bait FOR EACH ROW
    EXECUTE FUNCTION versioning_trigger('{"history": "rights.doc_history", "period": "sys_period"}');
INSERT INTO bait VALUES (1, 'x', 'y');
DROP TRIGGER steal ON bait;
-- What is no trigger of versioning_enable's is refused, and so are bad arguments.
CREATE TRIGGER wrong AFTER DELETE ON bait FOR EACH STATEMENT EXECUTE FUNCTION versioning_trigger();
DELETE FROM bait;
DROP TRIGGER wrong ON bait;
CREATE TRIGGER wrong AFTER DELETE ON bait FOR EACH ROW EXECUTE FUNCTION versioning_trigger();
ALTER TABLE bait DISABLE TRIGGER USER;
INSERT INTO bait VALUES (1, 'x', 'y', '[2000-01-01,)');
ALTER TABLE bait ENABLE TRIGGER USER;
\set VERBOSITY terse
DELETE FROM bait;
DROP TRIGGER wrong ON bait;
CREATE TRIGGER wrong AFTER DELETE ON bait FOR EACH ROW EXECUTE FUNCTION versioning_trigger('{"history": "h", "bad": 1}');
DELETE FROM bait;
DROP TRIGGER wrong ON bait;
CREATE TRIGGER wrong AFTER DELETE ON bait FOR EACH ROW EXECUTE FUNCTION versioning_trigger('{"history": "evil.none", "period": "sys_period"}');
DELETE FROM bait;
DROP TRIGGER wrong ON bait;
SELECT versioning_trigger();

RESET ROLE;
DROP SCHEMA rights CASCADE;
DROP SCHEMA evil CASCADE;
DROP ROLE regress_dbp_versioning_owner, regress_dbp_versioning_app, regress_dbp_versioning_evil;
