-- What cannot be right is refused, with an SQLSTATE and a way out, and leaves
-- nothing behind.
\getenv srcdir PG_ABS_SRCDIR
\set include :srcdir '/sql/include/audit.sql'
\i :include

CREATE TABLE a (id int PRIMARY KEY, v text);

-- Arguments.
SELECT refused(format('SELECT dbpatterns.audit_enable(%s)', arguments)) FROM unnest(ARRAY[
    'NULL', '0', '4000000000', '''no_such_table''',
    '''a'', exclude => ''{none}''', '''a'', redact => ''{none}''', '''a'', key => ''{none}''',
    '''a'', exclude => ''{ctid}''', '''a'', exclude => ''{V}''',
    '''a'', exclude => ''{NULL}''', '''a'', redact => ''{v,v}''',
    '''a'', exclude => ''{id}''', '''a'', redact => ''{id}''', '''a'', key => ''{v}'', redact => ''{v}''',
    '''a'', capture => ''all''', '''a'', capture => NULL',
    '''a'', operations => ''X''', '''a'', operations => ''''', '''a'', operations => ''T''',
    '''a'', operations => ''II''', '''a'', operations => ''iud''', '''a'', operations => NULL',
    '''a'', fire => ''never''', '''a'', fire => NULL']) AS arguments;
-- NULL where it means the default, and the empty list.
BEGIN;
SELECT dbpatterns.audit_enable('a', exclude => NULL, redact => '{}', key => NULL, truncate_rows => NULL);
ROLLBACK;

-- Things that are no ordinary tables.
CREATE VIEW v AS SELECT * FROM a;
CREATE MATERIALIZED VIEW m AS SELECT * FROM a;
CREATE SEQUENCE s;
CREATE TYPE c AS (x int);
CREATE FOREIGN DATA WRAPPER regress_dbp_fdw;
CREATE SERVER regress_dbp_server FOREIGN DATA WRAPPER regress_dbp_fdw;
CREATE FOREIGN TABLE f (id int) SERVER regress_dbp_server;
CREATE TABLE p (id int PRIMARY KEY) PARTITION BY RANGE (id);
CREATE TABLE p1 PARTITION OF p FOR VALUES FROM (0) TO (10);
SELECT refused(format('SELECT dbpatterns.audit_enable(%L)', name)) FROM unnest(ARRAY[
    'v', 'm', 's', 'f', 'p1', 'pg_class', 'pg_catalog.pg_largeobject',
    'information_schema.sql_features', '_dbpatterns.audit_log', '_dbpatterns.audit_log_default',
    '_dbpatterns.registry', 'dbpatterns.status']) AS name;
SELECT name, left(refused(format('SELECT dbpatterns.audit_enable(%L)', name)), 5) AS state
  FROM unnest(ARRAY['c', 'a_pkey']) AS name;
-- Nor can the log be audited by a trigger made by hand.
CREATE TRIGGER trail AFTER INSERT ON _dbpatterns.audit_relation
    FOR EACH ROW EXECUTE FUNCTION dbpatterns.audit_trigger();
SELECT refused('INSERT INTO _dbpatterns.audit_relation (temporary_name) VALUES (''x'')');
DROP TRIGGER trail ON _dbpatterns.audit_relation;
-- A foreign table among the children of a table.
CREATE FOREIGN TABLE child () INHERITS (a) SERVER regress_dbp_server;
SELECT refused('SELECT dbpatterns.audit_enable(''a'')');
DROP FOREIGN TABLE child;

-- Tables of others: nobody but the owner switches their trail, a member of the
-- owning role included.
CREATE ROLE regress_dbp_owner;
CREATE ROLE regress_dbp_member IN ROLE regress_dbp_owner;
CREATE ROLE regress_dbp_other;
GRANT USAGE ON SCHEMA t TO PUBLIC;
GRANT ALL ON a TO regress_dbp_other;
CREATE TABLE owned (id int PRIMARY KEY);
ALTER TABLE owned OWNER TO regress_dbp_owner;
SET ROLE regress_dbp_other;
SELECT refused('SELECT dbpatterns.audit_enable(''a'')');
SELECT refused('SELECT dbpatterns.audit_disable(''a'')');
SELECT refused('SELECT dbpatterns.audit_enable(''owned'')');
SET ROLE regress_dbp_member;
SELECT dbpatterns.audit_enable('owned');
SELECT dbpatterns.audit_disable('owned');
RESET ROLE;

-- audit_disable locks the table itself; what is refused leaves no lock.
BEGIN;
SELECT dbpatterns.audit_disable('owned');
SELECT mode FROM pg_locks WHERE relation = 'owned'::regclass AND pid = pg_backend_pid();
ROLLBACK;
SET ROLE regress_dbp_other;
SELECT refused(format('SELECT dbpatterns.%s(''owned'')', f)) FROM unnest(ARRAY['audit_enable', 'audit_disable']) f;
-- Nor does the owner of a parent switch the trail of a stranger's child.
RESET ROLE;
CREATE TABLE heir () INHERITS (owned);
ALTER TABLE heir OWNER TO regress_dbp_other;
SET ROLE regress_dbp_owner;
SELECT refused(format('SELECT dbpatterns.%s(''owned'')', f)) FROM unnest(ARRAY['audit_enable', 'audit_disable']) f;
RESET ROLE;
DROP TABLE heir;

-- The server wants the right to make triggers on every partition.  Given that,
-- a partition of another owner is covered and released with its root.
ALTER TABLE p1 OWNER TO regress_dbp_other;
ALTER TABLE p OWNER TO regress_dbp_owner;
SET ROLE regress_dbp_owner;
SELECT refused('SELECT dbpatterns.audit_enable(''p'')');
SET ROLE regress_dbp_other;
GRANT TRIGGER ON p1 TO regress_dbp_owner;
SET ROLE regress_dbp_owner;
SELECT dbpatterns.audit_enable('p');
SELECT tgname FROM pg_trigger WHERE tgrelid = 'p1'::regclass ORDER BY 1;
SELECT refused('SELECT dbpatterns.audit_disable(''p1'')');
SELECT dbpatterns.audit_disable('p');
SELECT tgname FROM pg_trigger WHERE tgrelid = 'p1'::regclass ORDER BY 1;
RESET ROLE;

-- Disabling what is not audited says so.
SELECT dbpatterns.audit_disable('a');
SELECT refused('SELECT dbpatterns.audit_disable(NULL)');
SELECT refused('SELECT dbpatterns.audit_disable(''v'')');

-- The maintenance procedures.
SELECT refused(format('CALL dbpatterns.%s', call)) FROM unnest(ARRAY[
    'audit_run(every => NULL)', 'audit_run(ahead => NULL)', 'audit_run(every => ''-1 month'')',
    'audit_run(every => ''59 minutes'')', 'audit_run(every => ''1 month -40 days'')',
    'audit_run(ahead => ''-1 day'')', 'audit_run(keep => ''0'')', 'audit_run(keep => ''-1 year'')',
    'audit_purge(NULL)', 'audit_purge(now() + ''1 hour'')', 'audit_purge(''infinity'')']) AS call;

-- The log takes no UPDATE, DELETE or TRUNCATE, from a superuser either.
SELECT dbpatterns.audit_enable('a');
INSERT INTO a VALUES (1, 'x');
SELECT regexp_replace(refused(statement), '_\d+ ', '_... ') AS refused FROM unnest(ARRAY[
    'UPDATE _dbpatterns.audit_log SET new = NULL', 'DELETE FROM _dbpatterns.audit_log',
    'TRUNCATE _dbpatterns.audit_log', 'TRUNCATE _dbpatterns.audit_log_default',
    'MERGE INTO _dbpatterns.audit_log USING (SELECT 1) AS s ON true WHEN MATCHED THEN DELETE',
    'INSERT INTO _dbpatterns.audit_leaf (block, leaf, step, change, hash) VALUES (1, 0, 0, 0, '''');
     DELETE FROM _dbpatterns.audit_leaf',
    'TRUNCATE _dbpatterns.audit_block', 'TRUNCATE _dbpatterns.audit_leaf',
    'SELECT _dbpatterns.audit_guard()',
    'UPDATE dbpatterns.audit_entries SET new = NULL']) AS statement;
-- The same for each partition by its own name.
DO $$
DECLARE
    part regclass;
BEGIN
    FOR part IN SELECT inhrelid FROM pg_inherits
                 WHERE inhparent = '_dbpatterns.audit_log'::regclass LOOP
        IF refused(format('TRUNCATE %s', part)) !~ '^42501'
           OR refused(format('INSERT INTO %1$s SELECT * FROM _dbpatterns.audit_log LIMIT 1; DELETE FROM %1$s', part)) !~ '^(42501|23514)' THEN
            RAISE 'partition % is not guarded', part;
        END IF;
    END LOOP;
END $$;

-- Nothing was left behind by what was refused.
SELECT target FROM dbpatterns.audit_status;
SELECT tgrelid::regclass, count(*) FROM pg_trigger
 WHERE tgname ~ '^dbpatterns_8' GROUP BY 1 ORDER BY 1;
SELECT count(*) FROM _dbpatterns.audit_relation r WHERE r.target NOT IN ('a'::regclass, 'owned', 'p');

DROP FOREIGN TABLE f;
DROP SERVER regress_dbp_server;
DROP FOREIGN DATA WRAPPER regress_dbp_fdw;
:finish
DROP ROLE regress_dbp_owner, regress_dbp_member, regress_dbp_other;
