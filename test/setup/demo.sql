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
\echo '== Hierarchies: one call, and a closure table follows the tree of sections =='
SELECT dbpatterns.closure_enable('catalogue.section', 'parent_id', order_by => 'name') \g (tuples_only=on)
SELECT count(*) AS pairs, count(DISTINCT descendant) AS nodes, max(depth) AS depth
  FROM catalogue.section_closure;

\echo
\echo '== Functions made for the table read it: a path, a part of the tree =='
SELECT id AS editors FROM catalogue.section__find_path('{main,editors}') \gset
SELECT line FROM catalogue.section__text(:editors) \g (tuples_only=on)

\echo
\echo '== Packages in the five largest sections, whatever lies between =='
SELECT s.name, count(*) AS packages, pg_size_pretty(sum(p.installed_size_kb) * 1024) AS size
  FROM catalogue.section s, catalogue.section__descendants(s.id, include_self => true) below
  JOIN catalogue.package p ON p.section_id = below.id
 WHERE catalogue.section__depth(s.id) = 1
 GROUP BY s.name ORDER BY 2 DESC LIMIT 5;

\echo
\echo '== A move that would make a cycle is refused (the error is expected) =='
\set ON_ERROR_STOP off
UPDATE catalogue.section SET parent_id = :editors WHERE name = 'main';
\set ON_ERROR_STOP on

\echo
\echo '== Any other move is an UPDATE, and takes all that is below along =='
SELECT id AS text FROM catalogue.section__find_path('{main,text}') \gset
UPDATE catalogue.section SET parent_id = :text WHERE id = :editors;
SELECT array_to_string(catalogue.section__path(id), ' / ') AS path
  FROM catalogue.section__descendants(:editors) ORDER BY 1 LIMIT 3;

\echo
\echo '== A graph: what packages need.  Edges that close a cycle are left out =='
CREATE TABLE catalogue.need AS
SELECT DISTINCT p.name AS package, d.name AS needs
  FROM catalogue.dependency
  JOIN catalogue.package p ON p.id = package_id
  JOIN catalogue.package d ON d.id = depends_on_id
 WHERE kind IN ('depends', 'pre-depends') AND alternative = 1;
SELECT string_agg(DISTINCT parent_key, ' ') AS packages_that_need_one_another
  FROM dbpatterns.closure_graph_cycles('catalogue.need', 'package', 'needs')
 GROUP BY component HAVING max(parent_key) IN ('ruby3.1', 'libgcc-s1');
DELETE FROM catalogue.need WHERE ctid IN (
    SELECT edge_tid FROM dbpatterns.closure_graph_cycles('catalogue.need', 'package', 'needs')
     WHERE closes);
SELECT dbpatterns.closure_enable_graph('catalogue.need', 'package', 'needs') \g (tuples_only=on)

\echo
\echo '== What postgresql-15 needs, at once and in all; how much breaks without zlib1g =='
SELECT count(*) FILTER (WHERE depth = 1) AS at_once, count(*) AS in_all
  FROM catalogue.need__descendants('postgresql-15');
\set ECHO none
VACUUM ANALYZE catalogue.need, catalogue.need_closure;
\set ECHO queries
\timing on
SELECT count(*) AS would_break FROM catalogue.need__ancestors('zlib1g');
\timing off
\echo The same by a recursive query:
\timing on
WITH RECURSIVE up AS (
    SELECT package FROM catalogue.need WHERE needs = 'zlib1g'
    UNION
    SELECT n.package FROM up u JOIN catalogue.need n ON n.needs = u.package)
SELECT count(*) AS would_break FROM up;
\timing off

\echo
\echo '== An edge that would close a cycle is refused (the error is expected) =='
\set ON_ERROR_STOP off
INSERT INTO catalogue.need VALUES ('libc6', 'postgresql-15');
\set ON_ERROR_STOP on

\echo
\echo '== Exact all the time: the check compares every pair =='
SELECT target, closure, kind FROM dbpatterns.closure_status;
SELECT * FROM dbpatterns.closure_check();

\echo
\echo '== Tenants: each maintainer sees the packages he maintains, and no others =='
\set ECHO none
CREATE ROLE demo_app;
CREATE SCHEMA shop;
GRANT USAGE ON SCHEMA shop TO demo_app;
CREATE TABLE shop.package AS
    SELECT maintainer_id::integer AS tenant_id, id, name, installed_size_kb FROM catalogue.package;
GRANT SELECT, INSERT, UPDATE, DELETE ON shop.package TO demo_app;
SELECT dbpatterns.tenant_key_create('default') \g /dev/null
SELECT a AS one, b AS two FROM (SELECT array_agg(tenant_id) AS t FROM (
    SELECT tenant_id FROM shop.package GROUP BY 1 ORDER BY count(*) DESC, 1 LIMIT 2) x) y, LATERAL (SELECT t[1] AS a, t[2] AS b) z \gset
SELECT dbpatterns.tenant_token(:'one', 'ann', nonce => dbpatterns.tenant_challenge()) AS token \gset
\set ECHO queries
SELECT count(*) AS commands FROM dbpatterns.tenant_enable('shop.package');
SET ROLE demo_app;
SELECT count(*) AS without_tenant FROM shop.package;
BEGIN;
SELECT dbpatterns.tenant_begin(:'token') \g (tuples_only=on)
SELECT count(*) AS packages, count(DISTINCT tenant_id) AS tenants, dbpatterns.current_user_id() AS "user" FROM shop.package;

\echo
\echo '== A break-in: set the tenant, name another one, use the token again (errors are expected) =='
SAVEPOINT s;
\set ON_ERROR_STOP off
SELECT set_config('dbpatterns.tenant_context', :'two', true);
ROLLBACK TO s;
SELECT dbpatterns.tenant_set(:'two');
ROLLBACK TO s;
INSERT INTO shop.package VALUES (:two, 0, 'planted', 0);
ROLLBACK TO s;
COMMIT;
BEGIN;
SELECT dbpatterns.tenant_begin(:'token');
ROLLBACK;
\set ON_ERROR_STOP on
SELECT count(*) AS packages_of_others FROM shop.package WHERE tenant_id = :two;
RESET ROLE;

\echo
\echo '== What would make it void is found, with a remedy =='
CREATE VIEW shop.sizes AS SELECT tenant_id, sum(installed_size_kb) FROM shop.package GROUP BY 1;
SELECT severity, object, problem, remedy FROM dbpatterns.tenant_check(schema => 'shop') WHERE object = 'shop.sizes';
\set ECHO none
DROP SCHEMA shop CASCADE;
DROP ROLE demo_app;

\set ECHO queries

\echo
\echo '== Versions: one call, and a table keeps the old versions of its rows =='
SELECT dbpatterns.versioning_enable('catalogue.package') \g (tuples_only=on)
\set ECHO none
SELECT clock_timestamp() AS before_upgrade \gset
\set ECHO queries
UPDATE catalogue.package SET version = '16.4-1' WHERE name = 'postgresql-15';
UPDATE catalogue.package SET installed_size_kb = installed_size_kb + 1 WHERE name LIKE 'postgresql%';
DELETE FROM catalogue.dependency WHERE package_id = (SELECT id FROM catalogue.package WHERE name = 'zsh-common') OR depends_on_id = (SELECT id FROM catalogue.package WHERE name = 'zsh-common');
DELETE FROM catalogue.package WHERE name = 'zsh-common';

\echo
\echo '== The catalogue as it was, by an index; and what became of one row =='
SELECT count(*) AS then, (SELECT count(*) FROM catalogue.package) AS now FROM catalogue.package__as_of(:'before_upgrade');
SELECT name, version FROM catalogue.package__as_of(:'before_upgrade') WHERE name = 'zsh-common';
SELECT op, "row" ->> 'version' AS version, "row" ->> 'installed_size_kb' AS kb, changed
  FROM dbpatterns.row_history('catalogue.package', jsonb_build_object('id', :package_id));

\echo
\echo '== Back with the row that is gone; ALTER TABLE is followed =='
\set ECHO none
SELECT id AS gone FROM catalogue.package__as_of(:'before_upgrade') WHERE name = 'zsh-common' \gset
\set ECHO queries
SELECT dbpatterns.restore_as_of('catalogue.package', jsonb_build_object('id', :gone), :'before_upgrade') \g (tuples_only=on)
ALTER TABLE catalogue.package RENAME COLUMN installed_size_kb TO size_kb;
SELECT max(size_kb) FROM catalogue.package_history;

\echo
\echo '== Periods: thirty years of releases, each current until the next one =='
\set ECHO none
CREATE EXTENSION IF NOT EXISTS btree_gist;
\set ECHO queries
CREATE TABLE catalogue.current AS
SELECT source, daterange(released_at::date, lead(released_at::date) OVER w) AS valid, version
  FROM (SELECT DISTINCT ON (source, released_at::date) * FROM catalogue.release WHERE released_at IS NOT NULL ORDER BY source, released_at::date, version DESC) r
WINDOW w AS (PARTITION BY source ORDER BY released_at::date);
SELECT dbpatterns.period_enable('catalogue.current', '{source}', 'valid') \g (tuples_only=on)
SELECT source, version, valid FROM catalogue.current__valid_at('2005-01-01') WHERE source IN ('dpkg', 'binutils', 'base-files') ORDER BY 1;

\echo
\echo '== Two releases cannot be current at once (the error is expected) =='
\set ON_ERROR_STOP off
INSERT INTO catalogue.current VALUES ('dpkg', '[2005-01-01,2005-02-01)', 'another');
\set ON_ERROR_STOP on
SELECT dbpatterns.portion_update('catalogue.current', '{"source": "dpkg"}', '[2005-01-01,2005-02-01)', '{"version": "recalled"}') AS rows_changed;
SELECT period, "row" ->> 'version' AS version FROM dbpatterns.timeline('catalogue.current', '{"source": "dpkg"}') WHERE period::daterange && '[2004-12-01,2005-03-01)';
\set ECHO none

\echo
\echo 'Those were the audit trail, hierarchies, tenants, versions and periods.  The guides are in docs/guide.'
