-- Who may read the log of a table.
\getenv srcdir PG_ABS_SRCDIR
\set include :srcdir '/sql/include/audit.sql'
\i :include

CREATE ROLE regress_dbp_owner;
CREATE ROLE regress_dbp_auditor;
CREATE ROLE regress_dbp_user;
GRANT ALL ON SCHEMA t TO regress_dbp_owner, regress_dbp_auditor, regress_dbp_user;
GRANT SELECT ON dbpatterns.audit_entries TO regress_dbp_auditor;
SET ROLE regress_dbp_owner;
CREATE TABLE doc (id int PRIMARY KEY, tenant text DEFAULT current_user, body text);
SELECT dbpatterns.audit_enable('doc');
GRANT ALL ON doc TO regress_dbp_user;
INSERT INTO doc VALUES (1, 'a', 'one');
RESET ROLE;
SELECT clock_timestamp() AS middle, max(transaction) AS txn
  FROM dbpatterns.audit_history('doc', '{"id": 1}') \gset
UPDATE doc SET body = 'two';

-- All calls, with what each role gets.
CREATE FUNCTION calls(at timestamptz, txn bigint) RETURNS TABLE (call text, result text)
LANGUAGE plpgsql AS $$
BEGIN
    FOR call IN SELECT unnest(ARRAY[
        'SELECT count(*)::text FROM dbpatterns.audit_history(''doc'', ''{"id": 1}'')',
        'SELECT count(*)::text FROM dbpatterns.audit_changes(''doc'')',
        format('SELECT body FROM jsonb_to_record(dbpatterns.audit_row_at(''doc'', ''{"id": 1}'', %L)) AS (body text)', at),
        format('SELECT count(*)::text FROM dbpatterns.audit_table_at(''doc'', %L)', at),
        format('SELECT conflict FROM dbpatterns.audit_undo(%s)', txn)])
    LOOP
        BEGIN
            EXECUTE call INTO result;
        EXCEPTION WHEN insufficient_privilege THEN
            result := sqlstate || ': ' || sqlerrm;
        END;
        call := substring(call FROM 'audit_\w+');
        RETURN NEXT;
    END LOOP;
END $$;

-- The owner; a role with every right on the table but not its owner; an
-- auditor, who reads the log of every table, but the table itself only with
-- SELECT on it.
SET ROLE regress_dbp_owner;
SELECT * FROM calls(:'middle', :txn);
SET ROLE regress_dbp_user;
SELECT * FROM calls(:'middle', :txn);
SET ROLE regress_dbp_auditor;
SELECT * FROM calls(:'middle', :txn);
RESET ROLE;
GRANT SELECT ON doc TO regress_dbp_auditor;
SET ROLE regress_dbp_auditor;
SELECT * FROM calls(:'middle', :txn);

-- Under row-level security the log would show what the table hides.  Owners
-- are exempt unless it is forced; then they, too, are refused, and an auditor
-- gets no state in which rows are missing.
RESET ROLE;
ALTER TABLE doc ENABLE ROW LEVEL SECURITY;
CREATE POLICY own ON doc USING (tenant = current_user);
SET ROLE regress_dbp_owner;
SELECT * FROM calls(:'middle', :txn);
RESET ROLE;
ALTER TABLE doc FORCE ROW LEVEL SECURITY;
SET ROLE regress_dbp_owner;
SELECT * FROM calls(:'middle', :txn);
SET ROLE regress_dbp_auditor;
SELECT * FROM calls(:'middle', :txn);
RESET ROLE;
SELECT * FROM calls(:'middle', :txn);

-- An undo runs with the caller's rights: a row hidden from the caller is gone
-- for the caller.
GRANT ALL ON doc TO regress_dbp_auditor;
INSERT INTO doc VALUES (2, 'regress_dbp_auditor', 'mine'), (3, 'other', 'not mine');
SELECT max(transaction) AS txn FROM dbpatterns.audit_history('doc', '{"id": 3}') \gset
SET ROLE regress_dbp_auditor;
SELECT op, sql, conflict FROM dbpatterns.audit_undo(:txn);

-- Reading runs no code of the table's owner, here in a domain.
RESET ROLE;
SET ROLE regress_dbp_owner;
CREATE FUNCTION spy(v int) RETURNS boolean LANGUAGE plpgsql AS $$
BEGIN RAISE NOTICE 'checked as %', current_user; RETURN true; END $$;
CREATE DOMAIN spied AS int CHECK (t.spy(value));
CREATE TABLE trap (id spied PRIMARY KEY);
SELECT dbpatterns.audit_enable('trap');
INSERT INTO trap VALUES (1);
GRANT SELECT ON trap TO regress_dbp_auditor;
SET ROLE regress_dbp_auditor;
SELECT count(*) FROM dbpatterns.audit_history('trap', '{"id": 1}');
SELECT count(*) FROM dbpatterns.audit_table_at('trap', clock_timestamp());
RESET ROLE;

-- Inside an array or a composite type a domain is still checked: then with the
-- rights of the table's owner, whoever reads.
CREATE FUNCTION calls_of(target text, key text) RETURNS SETOF text
LANGUAGE plpgsql AS $$
DECLARE
    call text;
BEGIN
    FOREACH call IN ARRAY ARRAY['audit_history(%L, %L)', 'audit_changes(%L, key => %L)',
        'audit_row_at(%L, %L, clock_timestamp())', 'audit_erase(%L, %L, reason => ''test'')']
    LOOP
        RAISE NOTICE '%', substring(call FROM 'audit_\w+');
        EXECUTE format('SELECT FROM dbpatterns.' || call, target, key);
    END LOOP;
END $$;
SET client_min_messages = warning;
SET ROLE regress_dbp_owner;
CREATE TYPE pair AS (a spied, b int);
CREATE TABLE trap_array (id spied[] PRIMARY KEY);
CREATE TABLE trap_pair (id pair PRIMARY KEY);
SELECT dbpatterns.audit_enable('trap_array'), dbpatterns.audit_enable('trap_pair');
INSERT INTO trap_array VALUES ('{1}');
INSERT INTO trap_pair VALUES ('(1,2)');
RESET ROLE;
SET client_min_messages = notice;
SELECT calls_of('trap_array', '{"id": [1]}');
SELECT calls_of('trap_pair', '{"id": "(1,2)"}');
-- So it is where the log has the key as another type.
SET client_min_messages = warning;
SET ROLE regress_dbp_owner;
CREATE TABLE trap_type (id int[] PRIMARY KEY);
SELECT dbpatterns.audit_enable('trap_type');
INSERT INTO trap_type VALUES ('{1}');
DELETE FROM trap_type;
ALTER TABLE trap_type ALTER id TYPE spied[] USING id::spied[];
INSERT INTO trap_type VALUES ('{2}');
RESET ROLE;
SET client_min_messages = notice;
SELECT count(*) FROM dbpatterns.audit_history('trap_type', '{"id": [1]}');

-- A type of another role runs that role's code as that role, also in a table of
-- a superuser, whoever reads or undoes.
SET client_min_messages = warning;
CREATE TABLE trap_super (id spied[] PRIMARY KEY, v spied, p pair);
SELECT audit('trap_super');
INSERT INTO trap_super VALUES ('{1}', 2, '(3,4)');
DELETE FROM trap_super;
SELECT max(transaction) AS txn FROM dbpatterns.audit_changes('trap_super') \gset
SET client_min_messages = notice;
SELECT op, sql, conflict FROM dbpatterns.audit_undo(:txn);
SET ROLE regress_dbp_auditor;
SELECT op, sql, conflict FROM dbpatterns.audit_undo(:txn);
SELECT count(*) FROM dbpatterns.audit_history('trap_super', '{"id": [1]}');
RESET ROLE;
SELECT calls_of('trap_super', '{"id": [1]}');

-- An undo runs triggers only when the caller may read the whole transaction,
-- and no cursor on it is open then.
SET client_min_messages = warning;
CREATE TABLE hidden (id int PRIMARY KEY, body text);
SELECT audit('hidden');
SET ROLE regress_dbp_owner;
CREATE TABLE open (id int PRIMARY KEY);
SELECT dbpatterns.audit_enable('open');
CREATE FUNCTION look() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    RAISE WARNING 'cursors on the log: %',
        (SELECT count(*) FROM pg_cursors WHERE statement ~ '_dbpatterns');
    RETURN old;
END $$;
CREATE TRIGGER look BEFORE DELETE ON open FOR EACH ROW EXECUTE FUNCTION look();
RESET ROLE;
BEGIN;
INSERT INTO hidden VALUES (1, 'secret');
INSERT INTO open VALUES (1);
COMMIT;
SELECT max(transaction) AS txn FROM dbpatterns.audit_changes('open') \gset
SET ROLE regress_dbp_owner;
SELECT op, sql, conflict FROM dbpatterns.audit_undo(:txn);
SELECT op, sql, conflict FROM dbpatterns.audit_undo(:txn, false);
RESET ROLE;
SELECT op, sql, conflict FROM dbpatterns.audit_undo(:txn);

-- What waits to be written is read as well, from inside a savepoint, too; and
-- it is not lost when that is rolled back.
CREATE TABLE source (id int);
CREATE TABLE copy (id int PRIMARY KEY);
SELECT audit('copy');
CREATE FUNCTION copy() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN INSERT INTO t.copy VALUES (new.id); RETURN NULL; END $$;
CREATE TRIGGER copy AFTER INSERT ON source FOR EACH ROW EXECUTE FUNCTION copy();
BEGIN;
INSERT INTO source VALUES (1);
SAVEPOINT s;
SELECT count(*) FROM dbpatterns.audit_history('copy', '{"id": 1}');
ROLLBACK TO s;
SELECT statement, t.refused('SELECT FROM dbpatterns.' || statement) FROM unnest(ARRAY[
    'audit_changes(''copy'')', 'audit_row_at(''copy'', ''{"id": 1}'', now())',
    'audit_table_at(''copy'', now()) AS row']) statement;
RELEASE s;
SELECT count(*) FROM dbpatterns.audit_history('copy', '{"id": 1}');
SAVEPOINT s;
SELECT count(*) FROM dbpatterns.audit_history('copy', '{"id": 1}');
ROLLBACK;

-- Temporary tables of the same name in two sessions are two tables: here the
-- first is dropped, and its entries are not the second one's.
CREATE TEMP TABLE scratch (id int PRIMARY KEY, v text);
SELECT dbpatterns.audit_enable('scratch');
INSERT INTO scratch VALUES (1, 'secret');
SELECT op, new FROM dbpatterns.audit_history('scratch', '{"id": 1}');
SELECT max(transaction) AS txn FROM dbpatterns.audit_history('scratch', '{"id": 1}') \gset
DROP TABLE scratch;
-- What has its OID today, as after a restore, is another table.
CREATE TABLE bystander (id int PRIMARY KEY, v text);
SELECT audit('bystander');
INSERT INTO bystander VALUES (1, 'secret');
UPDATE _dbpatterns.audit_shape SET table_oid = 'bystander'::regclass::oid WHERE table_name = 'scratch';
SELECT target, op, sql, conflict FROM dbpatterns.audit_undo(:txn);
SET ROLE regress_dbp_user;
CREATE TEMP TABLE scratch (id int PRIMARY KEY, v text);
SELECT dbpatterns.audit_enable('scratch');
SELECT op, new FROM dbpatterns.audit_history('scratch', '{"id": 1}');
DROP TABLE scratch;
RESET ROLE;

SET client_min_messages = warning;
DROP SCHEMA t CASCADE;
DROP EXTENSION dbpatterns CASCADE;
DROP OWNED BY regress_dbp_owner, regress_dbp_auditor, regress_dbp_user;
DROP ROLE regress_dbp_owner, regress_dbp_auditor, regress_dbp_user;
