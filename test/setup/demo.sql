-- The tour of make demo: psql prints the story with \echo, then each statement
-- and its result.
\pset footer off
\pset null '·'
SET client_min_messages = warning;

\echo
\echo '== A catalogue of real Debian packages =='
SELECT (SELECT count(*) FROM catalogue.package)    AS packages,
       (SELECT count(*) FROM catalogue.maintainer) AS maintainers,
       (SELECT count(*) FROM catalogue.dependency) AS dependencies;

\set ECHO queries
\echo
\echo '== Audit trail: one call, and every change of the table is logged =='
SELECT dbpatterns.audit_enable('catalogue.package', redact => '{source}') \g (tuples_only=on)
CALL dbpatterns.audit_run();
SELECT * FROM dbpatterns.status;
\set ECHO none
SELECT clock_timestamp() AS noon \gset
\set ECHO queries

\echo
\echo '== An application changes packages, and says on whose behalf =='
BEGIN;
SELECT dbpatterns.audit_set_context('{"user": "ann", "request": 4711}') \g (tuples_only=on)
UPDATE catalogue.package
   SET version = '16.1-1', installed_size_kb = 50000, source = 'a secret'
 WHERE name = 'postgresql-15';
COMMIT;
BEGIN;
SELECT dbpatterns.audit_set_context('{"user": "bob", "request": 4712}') \g (tuples_only=on)
UPDATE catalogue.package SET version = '17.0-1' WHERE name = 'postgresql-15';
UPDATE catalogue.package SET installed_size_kb = installed_size_kb * 2 WHERE name LIKE 'ruby%';
COMMIT;

\echo
\echo '== The history of one row: changed columns only, no secrets, and who it was =='
\set ECHO none
SELECT id AS package_id FROM catalogue.package WHERE name = 'postgresql-15' \gset
\set ECHO queries
SELECT op, old - 'id' AS old, new - 'id' AS new, context
  FROM dbpatterns.audit_history('catalogue.package', jsonb_build_object('id', :package_id));

\echo
\echo '== Which columns changed, over the whole table =='
SELECT column_name, count(*) AS changes, count(DISTINCT key) AS packages
  FROM dbpatterns.audit_changes('catalogue.package')
 GROUP BY column_name ORDER BY 2 DESC;

\echo
\echo '== The row as it was before all that =='
SELECT jsonb_pretty(dbpatterns.audit_row_at('catalogue.package',
       jsonb_build_object('id', :package_id), :'noon') - '{tags,attributes}'::text[]) AS package;

\echo
\echo '== Take back one transaction: first look, then do =='
\set ECHO none
SELECT max(transaction) AS transaction
  FROM dbpatterns.audit_history('catalogue.package', jsonb_build_object('id', :package_id)) \gset
\echo The number of the last transaction, from its history, is :transaction
\set ECHO queries
SELECT op, conflict, count(*) FROM dbpatterns.audit_undo(:transaction) GROUP BY 1, 2;
SELECT count(*) AS undone FROM dbpatterns.audit_undo(:transaction, dry_run => false);
SELECT name, version FROM catalogue.package WHERE id = :package_id;

\echo
\echo '== A hundred thousand changes in one statement =='
\set ECHO none
CREATE TABLE catalogue.item AS
SELECT p.id + c * 10000 AS id, p.name, p.version, p.installed_size_kb, p.attributes
  FROM catalogue.package p, generate_series(0, 19) c;
ALTER TABLE catalogue.item ADD PRIMARY KEY (id);
\set ECHO queries
\echo Not audited:
\timing on
UPDATE catalogue.item SET installed_size_kb = 1;
\timing off
SELECT dbpatterns.audit_enable('catalogue.item') \g (tuples_only=on)
\echo Audited (docs/benchmarks.md compares it with other ways to do that):
\timing on
UPDATE catalogue.item SET installed_size_kb = 2;
\timing off
SELECT count(*) AS entries FROM dbpatterns.audit_entries WHERE target = 'catalogue.item'::regclass AND op = 'U';

\echo
\echo '== The log is sealed: what is in it now cannot be changed unnoticed =='
SELECT block, entries, left(hash, 16) || '…' AS hash FROM dbpatterns.audit_seal();
SELECT * FROM dbpatterns.audit_verify();

\echo
\echo '== A DELETE on the log is refused, even to a superuser (the error is expected) =='
\set ON_ERROR_STOP off
DELETE FROM _dbpatterns.audit_log;
\set ON_ERROR_STOP on

\echo
\echo '== One place to look for trouble =='
ALTER TABLE catalogue.item DISABLE TRIGGER ALL;
SELECT * FROM dbpatterns.check();
ALTER TABLE catalogue.item ENABLE TRIGGER ALL;
SELECT * FROM dbpatterns.check();

\echo
\echo 'That was the audit trail.  The guide is docs/guide/audit.md.'
