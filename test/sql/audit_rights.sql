-- Who may do what, and attempts to get around it.
\getenv srcdir PG_ABS_SRCDIR
\set include :srcdir '/sql/include/audit.sql'
\i :include

CREATE ROLE regress_dbp_owner;
CREATE ROLE regress_dbp_user;
GRANT ALL ON SCHEMA t TO regress_dbp_owner, regress_dbp_user;
SET ROLE regress_dbp_owner;
CREATE TABLE a (id int PRIMARY KEY, tenant text, v text);
CREATE TABLE p (id int PRIMARY KEY) PARTITION BY RANGE (id);
CREATE TABLE p1 PARTITION OF p FOR VALUES FROM (0) TO (10);
SELECT dbpatterns.audit_enable('a', truncate_rows => true), dbpatterns.audit_enable('p');
GRANT INSERT ON a, p TO regress_dbp_user;
RESET ROLE;
SELECT skip();

-- A role that may only insert into the table changes it, and needs no right on
-- the log; none on the log is to be had.
SET ROLE regress_dbp_user;
INSERT INTO a VALUES (1, 'x', 'by user');
INSERT INTO p VALUES (1);
SELECT refused(statement) FROM unnest(ARRAY[
    'SELECT FROM _dbpatterns.audit_log',
    'INSERT INTO _dbpatterns.audit_log (xact_time, id, txn, shape, op) VALUES (now(), 1, 1, 1, ''I'')',
    'UPDATE _dbpatterns.audit_log SET new = NULL', 'DELETE FROM _dbpatterns.audit_log',
    'TRUNCATE _dbpatterns.audit_log', 'SELECT nextval(''_dbpatterns.audit_id'')',
    'UPDATE _dbpatterns.registry SET options = ''{}''', 'SELECT FROM _dbpatterns.audit_shape',
    'SELECT FROM dbpatterns.audit_entries', 'SELECT _dbpatterns.audit_guard()',
    'CALL dbpatterns.audit_run()', 'CALL dbpatterns.audit_purge(now())',
    'SELECT dbpatterns.audit_disable(''a'')', 'CREATE TABLE _dbpatterns.mine ()',
    'CREATE TABLE dbpatterns.mine ()',
    'CREATE TRIGGER spy AFTER INSERT ON _dbpatterns.audit_log FOR EACH ROW EXECUTE FUNCTION dbpatterns.audit_trigger()',
    'ALTER TABLE a DISABLE TRIGGER ALL', 'SET session_replication_role = replica']) AS statement;
-- What is open to everybody.
SELECT target, patterns FROM dbpatterns.status WHERE target = 'a'::regclass;
SELECT target, active FROM dbpatterns.audit_status WHERE target = 'a'::regclass;
SELECT * FROM dbpatterns.audit_check('a');
SELECT dbpatterns.audit_set_context('{"user": 1}');
RESET ROLE;
SELECT * FROM news();
-- No function that changes state is open to PUBLIC unless it checks its caller.
SELECT p.oid::regprocedure FROM pg_proc p
 WHERE p.pronamespace = 'dbpatterns'::regnamespace AND has_function_privilege('regress_dbp_user', p.oid, 'EXECUTE')
   AND p.provolatile = 'v' AND p.proname ~ '^audit' AND p.proname !~ 'check|_(history|changes|row_at|table_at|verify)$'
 ORDER BY p.oid::regprocedure::text;
SELECT p.oid::regprocedure FROM pg_proc p
 WHERE p.pronamespace IN ('dbpatterns'::regnamespace, '_dbpatterns'::regnamespace) AND p.prosecdef;
SELECT c.oid::regclass FROM pg_class c
 WHERE c.relnamespace IN ('dbpatterns'::regnamespace, '_dbpatterns'::regnamespace) AND c.relkind <> 'i'
   AND has_table_privilege('regress_dbp_user', c.oid, 'SELECT, INSERT, UPDATE, DELETE, TRUNCATE, TRIGGER')
   AND c.relname !~ '^(closure|nested_set|tenant|versioning|period|soft_delete)_'
 ORDER BY c.oid::regclass::text;

-- Partitions of the log that are made later are as closed as the first ones.
CALL dbpatterns.audit_run(ahead => '1 year');
SELECT count(*) > 10 AS many, count(*) FILTER (WHERE has_table_privilege('regress_dbp_user', inhrelid, 'SELECT, INSERT, UPDATE, DELETE, TRUNCATE')) AS open
  FROM pg_inherits WHERE inhparent = '_dbpatterns.audit_log'::regclass;

-- Row security: on the audited table, forced, it hides rows from the owner,
-- but none from the log; on the log, it decides what an auditor reads, and
-- keeps nothing from being written.
SET ROLE regress_dbp_owner;
ALTER TABLE a ENABLE ROW LEVEL SECURITY, FORCE ROW LEVEL SECURITY;
CREATE POLICY tenant ON a USING (tenant = current_setting('app.tenant', true)) WITH CHECK (true);
GRANT SELECT, UPDATE, DELETE ON a TO regress_dbp_user;
SET app.tenant = 'y';
SET ROLE regress_dbp_user;
INSERT INTO a VALUES (2, 'y', 'own'), (3, 'z', 'other');
UPDATE a SET v = 'changed';
RESET ROLE;
SELECT * FROM news() WHERE "table" = 'a';
SET ROLE regress_dbp_owner;
TRUNCATE a;
RESET ROLE;
SELECT * FROM news() ORDER BY op, old->'id';
CREATE ROLE regress_dbp_auditor;
GRANT USAGE ON SCHEMA _dbpatterns TO regress_dbp_auditor;
GRANT SELECT ON _dbpatterns.audit_log TO regress_dbp_auditor;
ALTER TABLE _dbpatterns.audit_log ENABLE ROW LEVEL SECURITY, FORCE ROW LEVEL SECURITY;
CREATE POLICY tenant ON _dbpatterns.audit_log FOR SELECT TO regress_dbp_auditor
    USING ('y' IN (old->>'tenant', new->>'tenant'));
SET ROLE regress_dbp_user;
INSERT INTO a VALUES (4, 'z', 'unseen');
SET ROLE regress_dbp_auditor;
SELECT op, old, new FROM _dbpatterns.audit_log ORDER BY id;
RESET ROLE;
SELECT * FROM news();
DROP POLICY tenant ON _dbpatterns.audit_log;
ALTER TABLE _dbpatterns.audit_log NO FORCE ROW LEVEL SECURITY, DISABLE ROW LEVEL SECURITY;
RESET app.tenant;

-- A hostile search_path: operators, functions, casts and tables that shadow
-- ours and the server's, in front of pg_catalog and in pg_temp.  Each raises
-- when it is used.
SET ROLE regress_dbp_owner;
CREATE FUNCTION trap() RETURNS boolean LANGUAGE plpgsql AS $$ BEGIN RAISE 'trapped'; END $$;
CREATE FUNCTION trap_regclass(oid, regclass) RETURNS boolean LANGUAGE sql AS 'SELECT trap()';
CREATE FUNCTION trap_name(name, name) RETURNS boolean LANGUAGE sql AS 'SELECT trap()';
CREATE FUNCTION trap_time(timestamptz, timestamptz) RETURNS boolean LANGUAGE sql AS 'SELECT trap()';
CREATE FUNCTION trap_int(int, int) RETURNS boolean LANGUAGE sql AS 'SELECT trap()';
CREATE FUNCTION trap_text(text, text) RETURNS text LANGUAGE plpgsql AS $$ BEGIN RAISE 'trapped'; END $$;
CREATE FUNCTION trap_plus(timestamp, interval) RETURNS timestamp LANGUAGE plpgsql AS $$ BEGIN RAISE 'trapped'; END $$;
CREATE FUNCTION trap_minus(timestamptz, interval) RETURNS timestamptz LANGUAGE plpgsql AS $$ BEGIN RAISE 'trapped'; END $$;
CREATE OPERATOR + (LEFTARG = timestamp, RIGHTARG = interval, FUNCTION = trap_plus);
CREATE OPERATOR - (LEFTARG = timestamptz, RIGHTARG = interval, FUNCTION = trap_minus);
CREATE OPERATOR = (LEFTARG = oid, RIGHTARG = regclass, FUNCTION = trap_regclass);
CREATE OPERATOR = (LEFTARG = name, RIGHTARG = name, FUNCTION = trap_name);
CREATE OPERATOR < (LEFTARG = timestamptz, RIGHTARG = timestamptz, FUNCTION = trap_time);
CREATE OPERATOR >= (LEFTARG = timestamptz, RIGHTARG = timestamptz, FUNCTION = trap_time);
CREATE OPERATOR = (LEFTARG = int, RIGHTARG = int, FUNCTION = trap_int);
CREATE OPERATOR || (LEFTARG = text, RIGHTARG = text, FUNCTION = trap_text);
CREATE FUNCTION to_regclass(text) RETURNS regclass LANGUAGE plpgsql AS $$ BEGIN RAISE 'trapped'; END $$;
CREATE FUNCTION now() RETURNS timestamptz LANGUAGE plpgsql AS $$ BEGIN RAISE 'trapped'; END $$;
CREATE FUNCTION audit_trigger() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN RAISE 'trapped'; END $$;
CREATE TABLE audit_log ();
CREATE TABLE audit_shape ();
CREATE TEMP TABLE audit_relation ();
CREATE TEMP TABLE pg_trigger ();
CREATE TEMP TABLE pg_class ();
CREATE TEMP TABLE registry ();
SET search_path = t, pg_temp, pg_catalog;
CREATE TABLE h (id int PRIMARY KEY, v text);
SELECT dbpatterns.audit_enable('h', redact => '{v}');
INSERT INTO h VALUES (1, 'x'), (2, 'y');
UPDATE h SET v = 'z' WHERE id OPERATOR(pg_catalog.=) 1;
ALTER TABLE h RENAME v TO w;
ALTER TABLE h ADD COLUMN u int;
SELECT dbpatterns.audit_enable('h', redact => '{w}', capture => 'full');
CREATE TABLE p2 PARTITION OF p FOR VALUES FROM (10) TO (20);
INSERT INTO p VALUES (5), (11);
TRUNCATE h, p;
ALTER TABLE p DETACH PARTITION p1;
SELECT count(*) FROM dbpatterns.audit_check(NULL);
SELECT count(*) FROM dbpatterns."check"(NULL);
SELECT count(*) FROM dbpatterns.status;
SELECT count(*) FROM dbpatterns.audit_status;
SELECT count(*) FROM dbpatterns.progress;
SELECT dbpatterns.audit_disable('h');
DROP TABLE p2;
RESET ROLE;
CALL dbpatterns.audit_run(ahead => '14 months', keep => '30 years');
CALL dbpatterns.audit_purge('2000-01-01');
SELECT count(*) OPERATOR(pg_catalog.>) 0 AS entries FROM dbpatterns.audit_entries;
SET search_path = t;
DROP OPERATOR t.+ (timestamp, interval);
DROP OPERATOR t.- (timestamptz, interval);
DROP OPERATOR t.= (oid, regclass);
DROP OPERATOR t.= (name, name);
DROP OPERATOR t.< (timestamptz, timestamptz);
DROP OPERATOR t.>= (timestamptz, timestamptz);
DROP OPERATOR t.= (int, int);
DROP OPERATOR t.|| (text, text);
DROP FUNCTION t.to_regclass(text);
DROP FUNCTION t.now();
DROP TABLE pg_temp.pg_trigger, pg_temp.pg_class, pg_temp.registry, pg_temp.audit_relation;
SELECT * FROM tally() WHERE "table" IN ('h', 'p');

-- A table whose owner hides code in a CHECK and an index: it runs as the role
-- that changes the row, never as the log's owner.
SET ROLE regress_dbp_owner;
CREATE FUNCTION spy(text) RETURNS text IMMUTABLE LANGUAGE plpgsql AS $$
BEGIN RAISE NOTICE 'as %', current_user; RETURN $1; END $$;
CREATE TABLE bait (id int PRIMARY KEY, v text CHECK (t.spy(v) IS NOT NULL));
CREATE INDEX ON bait (t.spy(v));
SELECT dbpatterns.audit_enable('bait', truncate_rows => true);
GRANT INSERT, UPDATE, SELECT, TRUNCATE ON bait TO regress_dbp_user;
SET ROLE regress_dbp_user;
INSERT INTO bait VALUES (1, 'x');
UPDATE bait SET v = 'y';
TRUNCATE bait;
RESET ROLE;

:finish
DROP ROLE regress_dbp_owner, regress_dbp_user, regress_dbp_auditor;
