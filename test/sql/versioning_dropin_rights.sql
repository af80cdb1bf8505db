-- The trigger function of temporal_tables: whose rights count, and whose names.
\getenv srcdir PG_ABS_SRCDIR
\set include :srcdir '/sql/include/dropin.sql'
\i :include
SET client_min_messages = warning;
DROP ROLE IF EXISTS regress_dbp_owner, regress_dbp_app, regress_dbp_other, regress_dbp_member;
RESET client_min_messages;
CREATE ROLE regress_dbp_owner;
CREATE ROLE regress_dbp_app;
CREATE ROLE regress_dbp_other;
CREATE ROLE regress_dbp_member IN ROLE regress_dbp_owner;
GRANT USAGE, CREATE ON SCHEMA t TO regress_dbp_owner;
GRANT USAGE ON SCHEMA t TO regress_dbp_app;
CREATE SCHEMA evil AUTHORIZATION regress_dbp_other;
GRANT USAGE ON SCHEMA evil TO PUBLIC;

-- An owner needs no superuser; who changes his table needs no rights on the history.
SET ROLE regress_dbp_owner;
CREATE TABLE base (id int, sys_period tstzrange);
CREATE TABLE base_history (LIKE base);
CREATE TRIGGER versioning BEFORE INSERT OR UPDATE OR DELETE ON base
    FOR EACH ROW EXECUTE FUNCTION versioning('sys_period', 'base_history', true);
GRANT SELECT, INSERT, UPDATE, DELETE ON base TO regress_dbp_app;
INSERT INTO base VALUES (1);
SET ROLE regress_dbp_app;
UPDATE base SET id = 2;
SELECT refused('INSERT INTO t.base_history VALUES (0)');
RESET ROLE;
SELECT id FROM base_history;

-- A history that only INSERT serves is written as the owner of the table, with a
-- search_path that nobody chose.
SET ROLE regress_dbp_owner;
CREATE FUNCTION stamp() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    NEW.written_by := current_user || ' ' || current_setting('search_path');
    RETURN NEW;
END $$;
CREATE TABLE stamped (LIKE base, written_by text, sys_entry bigserial);
CREATE TRIGGER stamp BEFORE INSERT ON stamped FOR EACH ROW EXECUTE FUNCTION stamp();
CREATE OR REPLACE TRIGGER versioning BEFORE INSERT OR UPDATE OR DELETE ON base
    FOR EACH ROW EXECUTE FUNCTION versioning('sys_period', 'stamped', true);
SET ROLE regress_dbp_app;
UPDATE base SET id = 3;
RESET ROLE;
SELECT id, written_by FROM stamped;

-- The caller's search_path leads nowhere else.
SET ROLE regress_dbp_other;
CREATE TABLE evil.base_history (id int, sys_period tstzrange);
CREATE TABLE evil.elsewhere (id int, sys_period tstzrange);
GRANT ALL ON evil.base_history, evil.elsewhere TO PUBLIC;
RESET ROLE;
CREATE OR REPLACE TRIGGER versioning BEFORE INSERT OR UPDATE OR DELETE ON base
    FOR EACH ROW EXECUTE FUNCTION versioning('sys_period', 'base_history', true);
SET ROLE regress_dbp_app;
CREATE TEMP TABLE base_history (id int, sys_period tstzrange);
SET search_path = evil, pg_temp;
UPDATE t.base SET id = 4;
RESET ROLE;
SET search_path = t, dbpatterns;
SELECT id FROM t.base_history ORDER BY 1;
SELECT count(*) FROM evil.base_history;
SELECT count(*) FROM pg_temp.base_history;
DROP TABLE pg_temp.base_history;
-- Without one in the schema of the table, search_path counts for tables of its owner.
CREATE OR REPLACE TRIGGER versioning BEFORE INSERT OR UPDATE OR DELETE ON base
    FOR EACH ROW EXECUTE FUNCTION versioning('sys_period', 'elsewhere', true);
SET search_path = evil, t;
SELECT refused('UPDATE t.base SET id = 5');
CREATE SCHEMA archive AUTHORIZATION regress_dbp_owner;
CREATE TABLE archive.elsewhere (LIKE t.base);
ALTER TABLE archive.elsewhere OWNER TO regress_dbp_owner;
SET search_path = archive, evil, t;
UPDATE t.base SET id = 5;
SET search_path = t, dbpatterns;
SELECT id FROM archive.elsewhere;

-- A history of another owner: his INSERT right decides, or the caller's.
CREATE OR REPLACE TRIGGER versioning BEFORE INSERT OR UPDATE OR DELETE ON base
    FOR EACH ROW EXECUTE FUNCTION versioning('sys_period', 'evil.elsewhere', true);
REVOKE ALL ON evil.elsewhere FROM PUBLIC;
SET ROLE regress_dbp_app;
SELECT refused('UPDATE t.base SET id = 6');
RESET ROLE;
GRANT INSERT ON evil.elsewhere TO regress_dbp_app;
SET ROLE regress_dbp_app;
UPDATE base SET id = 6;
SET ROLE regress_dbp_owner;
SELECT refused('UPDATE t.base SET id = 7');
RESET ROLE;
REVOKE INSERT ON evil.elsewhere FROM regress_dbp_app;
GRANT INSERT ON evil.elsewhere TO regress_dbp_owner;
SET ROLE regress_dbp_app;
UPDATE base SET id = 7;
RESET ROLE;
SELECT id FROM evil.elsewhere ORDER BY 1;
-- Policies of such a history are those of the owner of the table, and his own do
-- not bind him.
ALTER TABLE evil.elsewhere ENABLE ROW LEVEL SECURITY;
CREATE POLICY few ON evil.elsewhere FOR INSERT WITH CHECK (id < 8);
SET ROLE regress_dbp_app;
UPDATE base SET id = 8;
SELECT refused('UPDATE t.base SET id = 9');
RESET ROLE;
CREATE OR REPLACE TRIGGER versioning BEFORE INSERT OR UPDATE OR DELETE ON base
    FOR EACH ROW EXECUTE FUNCTION versioning('sys_period', 'base_history', true);
ALTER TABLE base_history ENABLE ROW LEVEL SECURITY, FORCE ROW LEVEL SECURITY;
ALTER TABLE base ENABLE ROW LEVEL SECURITY;
CREATE POLICY mine ON base USING (id > 1);
SET ROLE regress_dbp_app;
UPDATE base SET id = 9;
RESET ROLE;
SELECT id FROM base_history ORDER BY 1;
-- A table of somebody else is no history for him who has no rights on it.
SET ROLE regress_dbp_other;
CREATE TABLE evil.mine (id int, sys_period tstzrange);
INSERT INTO evil.mine VALUES (66, '[2000-01-01,)');
CREATE TRIGGER versioning BEFORE INSERT OR UPDATE OR DELETE ON evil.mine
    FOR EACH ROW EXECUTE FUNCTION dbpatterns.versioning('sys_period', 't.base_history', true);
RESET ROLE;
GRANT USAGE ON SCHEMA t TO regress_dbp_other;
SET ROLE regress_dbp_other;
SELECT refused('UPDATE evil.mine SET id = 67');
RESET ROLE;

-- Whose system time is good for which table.
TRUNCATE base;
SET ROLE regress_dbp_owner;
SELECT at(1);
RESET ROLE;
INSERT INTO base VALUES (10);
SELECT days(sys_period) FROM base;
SET ROLE regress_dbp_member;
SELECT at(2);
RESET ROLE;
UPDATE base SET id = 11;
SELECT days(sys_period) FROM base;
SET ROLE regress_dbp_app;
SELECT at(3);
SELECT refused('UPDATE t.base SET id = 12');
SELECT refused('INSERT INTO t.base VALUES (12)');
SELECT refused('SET dbpatterns.system_time = ''2001-01-01''');
SELECT refused('SET dbpatterns.system_time = DEFAULT');
SELECT set_system_time(NULL);
DELETE FROM base;
RESET ROLE;
GRANT SET ON PARAMETER dbpatterns.system_time TO regress_dbp_app;
SET ROLE regress_dbp_app;
SELECT at(4);
INSERT INTO base VALUES (13);
SELECT days(sys_period) FROM base WHERE id = 13;
SET dbpatterns.system_time = '2001-01-05 12:00 UTC';
UPDATE base SET id = 14 WHERE id = 13;
SELECT days(sys_period) FROM base WHERE id = 14;
RESET ROLE;
SELECT set_system_time(NULL);

SET client_min_messages = warning;
REVOKE SET ON PARAMETER dbpatterns.system_time FROM regress_dbp_app;
DROP SCHEMA evil, archive CASCADE;
DROP OWNED BY regress_dbp_owner, regress_dbp_app, regress_dbp_other, regress_dbp_member CASCADE;
DROP ROLE regress_dbp_owner, regress_dbp_app, regress_dbp_other, regress_dbp_member;
:finish
