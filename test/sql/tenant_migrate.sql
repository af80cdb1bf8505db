-- Migrations over the schemas of tenants: each once, in a transaction of its own, and on
-- from where they stopped.
\getenv srcdir PG_ABS_SRCDIR
\set include :srcdir '/sql/include/tenant.sql'
\i :include
SET client_min_messages = warning;
SET dbpatterns.tenant_application_roles = 'regress_dbp_app';
CREATE SCHEMA template;
CREATE TABLE template.item (id int PRIMARY KEY);
SELECT dbpatterns.tenant_schema_create(id, 'template', wall => id <> 'c') FROM (VALUES ('a'), ('b'), ('c'), ('Odd "d')) x (id);
SELECT dbpatterns.tenant_create('of rows');

-- The template first, then every tenant, suspended ones included.
SELECT dbpatterns.tenant_suspend('b');
CALL dbpatterns.tenant_migrate('1', 'ALTER TABLE item ADD name text; CREATE TABLE extra (id int); INSERT INTO item VALUES (1, current_schema)');
SELECT tenant, place, tenant_state, version, state, sqlstate, error FROM dbpatterns.tenant_migrations ORDER BY 1 NULLS FIRST;
SELECT * FROM a.item UNION ALL SELECT * FROM b.item UNION ALL SELECT * FROM c.item UNION ALL SELECT * FROM "Odd ""d".item UNION ALL SELECT * FROM template.item ORDER BY 2;
-- New tables are behind the wall, where there is one.
SELECT c.relnamespace::regnamespace AS schema, c.relrowsecurity FROM pg_class c WHERE c.relname = 'extra' ORDER BY 1::text;
-- Again: nothing is left to do.  Another migration by the same name is refused.
CALL dbpatterns.tenant_migrate('1', 'ALTER TABLE item ADD name text; CREATE TABLE extra (id int); INSERT INTO item VALUES (1, current_schema)');
CALL dbpatterns.tenant_migrate('1', 'SELECT 1');

-- A tenant that comes later has what its template has.
SELECT dbpatterns.tenant_schema_create('e', 'template');
SELECT tenant, version, state FROM dbpatterns.tenant_migrations WHERE tenant = 'e';

-- An error stops at its schema; what was done stays, and the rest follows in the next call.
INSERT INTO b.item VALUES (7, NULL);
CALL dbpatterns.tenant_migrate('2', 'ALTER TABLE item ALTER name SET NOT NULL');
SELECT tenant, place, state, sqlstate, error FROM dbpatterns.tenant_migrations WHERE version = '2' ORDER BY 1 NULLS FIRST;
DELETE FROM b.item WHERE id = 7;
CALL dbpatterns.tenant_migrate('2', 'ALTER TABLE item ALTER name SET NOT NULL');
SELECT state, count(*) FROM dbpatterns.tenant_migrations WHERE version = '2' GROUP BY 1;
-- Or is skipped.
INSERT INTO b.item VALUES (2, 'x');
CALL dbpatterns.tenant_migrate('3', 'ALTER TABLE item ADD CHECK (id < 2)', on_error => 'skip');
SELECT tenant, place, state, sqlstate, error FROM dbpatterns.tenant_migrations WHERE version = '3' ORDER BY 1 NULLS FIRST;
DELETE FROM b.item WHERE id = 2;
-- Some at a time.
CALL dbpatterns.tenant_migrate('4', 'INSERT INTO item VALUES (0, '''')', batch => 2);
SELECT state, count(*) FROM dbpatterns.tenant_migrations WHERE version = '4' GROUP BY 1 ORDER BY 1;
CALL dbpatterns.tenant_migrate('4', 'INSERT INTO item VALUES (0, '''')', batch => 100);
SELECT state, count(*) FROM dbpatterns.tenant_migrations WHERE version = '4' GROUP BY 1 ORDER BY 1;

-- The caller's settings do not matter, nor do those that a migration makes.
SET search_path = '';
CALL dbpatterns.tenant_migrate('5', 'SET LOCAL search_path = nowhere');
SHOW search_path;
SET search_path = t;
-- A schema that is gone is a failure, until the tenant is dropped; nor can the tenant begin.
DROP SCHEMA c CASCADE;
BEGIN;
SELECT dbpatterns.tenant_set('c');
ROLLBACK;
CALL dbpatterns.tenant_migrate('6', 'SELECT 1', on_error => 'skip');
SELECT tenant, state, sqlstate FROM dbpatterns.tenant_migrations WHERE version = '6' AND state <> 'done';

-- Refused.
CALL dbpatterns.tenant_migrate(NULL, 'SELECT 1');
CALL dbpatterns.tenant_migrate('7', NULL);
CALL dbpatterns.tenant_migrate('', 'SELECT 1');
CALL dbpatterns.tenant_migrate('7', ' ');
CALL dbpatterns.tenant_migrate('7', 'SELECT 1', on_error => 'hope');
CALL dbpatterns.tenant_migrate('7', 'SELECT 1', batch => 0);
BEGIN;
CALL dbpatterns.tenant_migrate('7', 'SELECT 1');
ROLLBACK;
CALL dbpatterns.tenant_migrate('7', 'COMMIT');
CALL dbpatterns.tenant_migrate('8', 'no SQL');
-- What no schema has can be corrected.
CALL dbpatterns.tenant_migrate('8', 'SELECT 1', on_error => 'skip');
SELECT tenant, state, error FROM dbpatterns.tenant_migrations WHERE version IN ('7', '8') AND state = 'failed';
GRANT EXECUTE ON PROCEDURE dbpatterns.tenant_migrate(text, text, text, integer) TO regress_dbp_app;
SET ROLE regress_dbp_app;
CALL dbpatterns.tenant_migrate('9', 'ALTER TABLE item ADD x int');
RESET ROLE;

-- A dropped tenant is forgotten.
SELECT dbpatterns.tenant_suspend('e');
SELECT dbpatterns.tenant_drop('e');
SELECT count(*) FROM dbpatterns.tenant_migrations WHERE tenant = 'e';
SELECT count(*) FROM _dbpatterns.tenant_migration WHERE place = 'e';
DROP SCHEMA a, b, "Odd ""d", template CASCADE;
:finish
