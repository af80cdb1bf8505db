-- Entries that wait: they are written at commit, when a batch is full, or when
-- somebody reads; savepoints around them may end either way.
\getenv srcdir PG_ABS_SRCDIR
\set include :srcdir '/sql/include/audit.sql'
\i :include
CREATE TABLE a (id int PRIMARY KEY, v text);
SELECT audit('a');
-- The entries of the last transaction in the order of their numbers, consecutive
-- ones together, each with who made it.
CREATE FUNCTION written() RETURNS TABLE (op "char", ids text, by text) LANGUAGE sql AS $$
    SELECT op, min(id) || CASE WHEN count(*) > 1 THEN '..' || max(id) ELSE '' END, by
      FROM (SELECT e.op, coalesce(e.new, e.old)->>'id' AS text, (coalesce(e.new, e.old)->>'id')::int AS id,
                   e.context->>'by' AS by, e.id AS number,
                   (coalesce(e.new, e.old)->>'id')::int - row_number() OVER (ORDER BY e.id) AS run
              FROM dbpatterns.audit_entries e
             WHERE e.xact_time = (SELECT max(xact_time) FROM dbpatterns.audit_entries)) x
     GROUP BY op, run, by ORDER BY min(number)
$$;
CREATE FUNCTION waiting() RETURNS bigint LANGUAGE sql AS $$
    SELECT (SELECT count(*) FROM a) - (SELECT count(*) FROM dbpatterns.audit_entries WHERE op = 'I')
$$;

-- They wait until the commit, or until they are asked for.
BEGIN;
INSERT INTO a VALUES (1);
SELECT waiting();
SELECT count(*) FROM dbpatterns.audit_history('a', '{"id": 1}');
SELECT waiting();
INSERT INTO a VALUES (2);
SELECT waiting();
SELECT dbpatterns.audit_flush();
SELECT waiting();
INSERT INTO a VALUES (3);
COMMIT;
SELECT waiting();
SELECT * FROM written();

-- A level that ends well hands them to the one around it, one that is rolled
-- back takes its own along, and none of the others.
BEGIN;
SELECT dbpatterns.audit_set_context('{"by": "ann"}');
INSERT INTO a VALUES (11);
SAVEPOINT s;
SELECT dbpatterns.audit_set_context('{"by": "bob"}');
INSERT INTO a VALUES (12);
SAVEPOINT t;
INSERT INTO a VALUES (13);
ROLLBACK TO t;
INSERT INTO a VALUES (13), (14);
RELEASE t;
RELEASE s;
INSERT INTO a VALUES (15);
SAVEPOINT s;
SELECT dbpatterns.audit_set_context('{"by": "eve"}');
INSERT INTO a VALUES (16);
ROLLBACK TO s;
INSERT INTO a VALUES (17);
COMMIT;
SELECT * FROM written();

-- What waits outside is written inside a level: because somebody reads there ...
BEGIN;
SELECT dbpatterns.audit_set_context('{"by": "ann"}');
INSERT INTO a VALUES (21), (22);
SAVEPOINT s;
SELECT dbpatterns.audit_set_context('{"by": "bob"}');
INSERT INTO a VALUES (23), (24);
SELECT count(*) FROM dbpatterns.audit_changes('a') WHERE (new->>0)::int > 20;
SELECT waiting();
ROLLBACK TO s;
SELECT waiting();
INSERT INTO a VALUES (25), (26);
SAVEPOINT t;
SELECT dbpatterns.audit_flush();
RELEASE t;
SELECT waiting();
RELEASE s;
INSERT INTO a VALUES (27);
COMMIT;
SELECT * FROM written();
-- ... or because a batch is full.
BEGIN;
INSERT INTO a VALUES (31);
SAVEPOINT s;
INSERT INTO a SELECT i FROM generate_series(1001, 4000) i;
SELECT waiting() BETWEEN 1 AND 1024 AS some;
ROLLBACK TO s;
SELECT waiting();
INSERT INTO a SELECT i FROM generate_series(32, 3031) i;
RELEASE s;
INSERT INTO a VALUES (3032);
COMMIT;
SELECT * FROM written();
SELECT count(*) FROM dbpatterns.audit_entries WHERE xid IS NULL OR login_role IS NULL;

-- Savepoints one in the other, more than may keep a full batch, and read in
-- between.
DELETE FROM a;
BEGIN;
\set ECHO none
SELECT format('SAVEPOINT s%s', n), format('INSERT INTO a SELECT i FROM generate_series(%s, %s) i', n * 100, n * 100 + 99),
       CASE WHEN n % 7 = 0 THEN 'DO ''BEGIN PERFORM dbpatterns.audit_flush(); END''' END
  FROM generate_series(1, 30) n
\gexec
\set ECHO all
ROLLBACK TO s21;
RELEASE s11;
COMMIT;
SELECT * FROM written();

:finish
