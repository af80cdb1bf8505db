-- Transactions: what is rolled back leaves no entry, and every entry knows who
-- made it and when.
\getenv srcdir PG_ABS_SRCDIR
\set include :srcdir '/sql/include/audit.sql'
\i :include

CREATE TABLE a (id int PRIMARY KEY, v text);
SELECT audit('a');

-- Who and when are there although they were first written under a savepoint
-- that is gone.
BEGIN;
SAVEPOINT s;
INSERT INTO a VALUES (1, 'gone');
ROLLBACK TO s;
INSERT INTO a VALUES (2, 'stays');
SAVEPOINT s2;
UPDATE a SET v = 'stays, too' WHERE id = 2;
SAVEPOINT s3;
UPDATE a SET v = 'gone, too' WHERE id = 2;
ROLLBACK TO s3;
RELEASE s2;
INSERT INTO a VALUES (3, 'last');
COMMIT;
SELECT e.op, e.old, e.new, e.login_role = session_user AS login
  FROM dbpatterns.audit_entries e WHERE e.op <> 'M' ORDER BY e.id;
BEGIN;
INSERT INTO a VALUES (4, 'gone');
ROLLBACK;
SELECT count(*) FROM dbpatterns.audit_entries e WHERE e.new->>'v' ~ 'gone';
SELECT skip();

-- A loop of 10000 subtransactions, half of which fail.
DO $$
BEGIN
    FOR i IN 1..10000 LOOP
        BEGIN
            INSERT INTO a VALUES (1000 + i, i);
            IF i % 2 = 0 THEN PERFORM 1 / 0; END IF;
        EXCEPTION WHEN division_by_zero THEN NULL;
        END;
    END LOOP;
END $$;
SELECT * FROM tally();
SELECT count(*) FROM a WHERE id > 1000;

-- Savepoints that are never released nest: 2000 of them need little memory.
CREATE FUNCTION memory() RETURNS bigint LANGUAGE sql AS $$
    SELECT sum(total_bytes)::bigint FROM pg_backend_memory_contexts WHERE name ~ 'dbpatterns audit'
$$;
BEGIN;
\set ECHO none
SELECT format('SAVEPOINT s; INSERT INTO a VALUES (%s);', 20000 + i) FROM generate_series(1, 2000) i \gexec
\set ECHO all
SELECT memory() < 3000000 AS little, sum(total_bytes) < 40000000 AS enough FROM pg_backend_memory_contexts;
COMMIT;
SELECT * FROM tally();
DELETE FROM a WHERE id > 1000;
SELECT skip();

-- One transaction has one number and one time, statements have their own.
BEGIN;
INSERT INTO a VALUES (10);
SELECT pg_sleep(0.01);
INSERT INTO a VALUES (11);
COMMIT;
SELECT count(DISTINCT transaction) AS transactions, count(DISTINCT xact_time) AS times,
       count(DISTINCT statement_time) AS statements,
       bool_and(statement_time BETWEEN xact_time AND clock_timestamp()) AS sane,
       bool_and(pid = pg_backend_pid()) AS pid
  FROM dbpatterns.audit_entries WHERE new->>'id' IN ('10', '11');
BEGIN;
INSERT INTO a VALUES (12);
SELECT pg_current_xact_id() AS xid \gset
COMMIT;
SELECT xid = :xid::text::xid8 AS same_xid FROM dbpatterns.audit_entries WHERE new->>'id' = '12';

-- Roles: who logged in, who the session says it is, who it acts as, and whose
-- rights a function has.
CREATE ROLE regress_dbp_login LOGIN;
CREATE ROLE regress_dbp_acts;
CREATE ROLE regress_dbp_definer;
GRANT regress_dbp_acts TO regress_dbp_login;
GRANT ALL ON a TO regress_dbp_login, regress_dbp_acts, regress_dbp_definer;
GRANT USAGE ON SCHEMA t TO PUBLIC;
CREATE FUNCTION definer(int) RETURNS void LANGUAGE sql SECURITY DEFINER AS 'INSERT INTO t.a VALUES ($1)';
ALTER FUNCTION definer OWNER TO regress_dbp_definer;
BEGIN;
INSERT INTO a VALUES (20);
SET SESSION AUTHORIZATION regress_dbp_login;
INSERT INTO a VALUES (21);
SET ROLE regress_dbp_acts;
INSERT INTO a VALUES (22);
SELECT definer(23);
INSERT INTO a VALUES (24);
RESET SESSION AUTHORIZATION;
INSERT INTO a VALUES (25);
COMMIT;
SELECT new->>'id' AS id, login_role = session_user AS login,
       CASE session_role WHEN session_user THEN 'login' ELSE session_role END AS session_role,
       CASE set_role WHEN session_user THEN 'login' ELSE set_role END AS set_role,
       CASE effective_role WHEN session_user THEN 'login' ELSE effective_role END AS effective_role
  FROM dbpatterns.audit_entries WHERE (new->>'id')::int BETWEEN 20 AND 25 ORDER BY id;

-- The facts are those of the change, also where entries are written later: a
-- table whose row trigger was made by hand has no trigger that writes them at
-- the end of the statement.
CREATE TABLE late (id int PRIMARY KEY);
CREATE TRIGGER trail AFTER INSERT OR UPDATE OR DELETE ON late
    FOR EACH ROW EXECUTE FUNCTION dbpatterns.audit_trigger();
GRANT INSERT ON late TO regress_dbp_acts;
BEGIN;
INSERT INTO late VALUES (1);
SET LOCAL ROLE regress_dbp_acts;
SET LOCAL application_name = 'app';
INSERT INTO late VALUES (2);
SELECT dbpatterns.audit_set_context('{"n": 3}');
INSERT INTO late VALUES (3);
SELECT dbpatterns.audit_set_context('{"n": 4}');
RESET ROLE;
INSERT INTO late VALUES (4);
COMMIT;
SELECT new->>'id' AS id, nullif(effective_role, session_user) AS role,
       nullif(application_name, current_setting('application_name')) AS app, context
  FROM dbpatterns.audit_entries WHERE table_name = 'late' AND op = 'I' ORDER BY id;

-- Application context: for this transaction only, gone at its end, restored by
-- a rollback to a savepoint.
BEGIN;
SELECT dbpatterns.audit_set_context('{"user": 1, "request": "r-1"}');
INSERT INTO a VALUES (30);
SAVEPOINT s;
SELECT dbpatterns.audit_set_context('{"user": 2}');
INSERT INTO a VALUES (31);
ROLLBACK TO s;
INSERT INTO a VALUES (32);
SELECT dbpatterns.audit_set_context(NULL);
INSERT INTO a VALUES (33);
SELECT dbpatterns.audit_set_context('{"late": true}');
INSERT INTO a VALUES (34);
COMMIT;
INSERT INTO a VALUES (35);
SELECT new->>'id' AS id, context FROM dbpatterns.audit_entries
 WHERE (new->>'id')::int BETWEEN 30 AND 35 ORDER BY id;
SHOW dbpatterns.audit_context;
-- The setting can also be used directly, for a session or a transaction.
SET dbpatterns.audit_context = '{"session": true}';
INSERT INTO a VALUES (36);
BEGIN;
SET LOCAL dbpatterns.audit_context = '{"local": true}';
INSERT INTO a VALUES (37);
COMMIT;
INSERT INTO a VALUES (38);
RESET dbpatterns.audit_context;
INSERT INTO a VALUES (39);
SELECT new->>'id' AS id, context FROM dbpatterns.audit_entries
 WHERE (new->>'id')::int BETWEEN 36 AND 39 ORDER BY id;
-- Outside a transaction block it ends with its own statement.
SELECT dbpatterns.audit_set_context('{"lost": 1}');
INSERT INTO a VALUES (40);
SELECT context FROM dbpatterns.audit_entries WHERE new->>'id' = '40';
-- One record of who and when for each change of the facts, not for each row.
BEGIN;
INSERT INTO a SELECT i FROM generate_series(100, 4000) i;
UPDATE a SET v = 'x' WHERE id > 100;
COMMIT;
SELECT op, count(*) FROM _dbpatterns.audit_log
 WHERE xid IS NOT NULL AND xact_time = (SELECT max(xact_time) FROM _dbpatterns.audit_log) GROUP BY op;

-- What is no JSON object is refused when it is set, and nothing changes.
SELECT refused('SET dbpatterns.audit_context = ''no json''');
SELECT refused('SET dbpatterns.audit_context = ''[1]''');
SELECT refused('SET dbpatterns.audit_context = ''"x"''');
SELECT refused('SET dbpatterns.audit_context = ''{"a": "\u0000"}''');
SELECT refused('SELECT dbpatterns.audit_set_context(''3'')');
SELECT left(refused('SELECT set_config(''dbpatterns.audit_context'', repeat(''['', 100000), false)'), 70);
SELECT refused('SET dbpatterns.unknown = 1');
SHOW dbpatterns.audit_context;
INSERT INTO a VALUES (41);

-- COMMIT inside a procedure.
CREATE PROCEDURE commits() LANGUAGE plpgsql AS $$
BEGIN
    INSERT INTO a VALUES (51);
    COMMIT;
    INSERT INTO a VALUES (52);
    ROLLBACK;
    INSERT INTO a VALUES (53);
END $$;
CALL commits();
SELECT new->>'id' AS id, dense_rank() OVER (ORDER BY transaction) AS transaction
  FROM dbpatterns.audit_entries WHERE (new->>'id')::int BETWEEN 51 AND 53 ORDER BY id;

:finish
DROP ROLE regress_dbp_login, regress_dbp_acts, regress_dbp_definer;
