-- New tables, and what is taken from isolated ones.
\getenv srcdir PG_ABS_SRCDIR
\set include :srcdir '/sql/include/tenant.sql'
\i :include

CREATE FUNCTION t.state(OUT "table" name, OUT rls boolean, OUT forced boolean, OUT policies name[])
RETURNS SETOF record LANGUAGE sql AS $$
    SELECT c.relname, c.relrowsecurity, c.relforcerowsecurity,
           ARRAY(SELECT polname FROM pg_policy WHERE polrelid = c.oid ORDER BY 1)
      FROM pg_class c WHERE c.relnamespace = 't'::regnamespace AND c.relkind IN ('r', 'p') ORDER BY 1
$$;

CREATE TABLE event (tenant_id int, id int) PARTITION BY RANGE (id);
CREATE TABLE parent (tenant_id int, id int);
SELECT FROM dbpatterns.tenant_enable_schema('t');

-- What comes below an isolated table is isolated, with all settings off.
CREATE TABLE event_1 PARTITION OF event FOR VALUES FROM (0) TO (10) PARTITION BY RANGE (id);
CREATE TABLE event_1_1 PARTITION OF event_1 FOR VALUES FROM (0) TO (5);
CREATE TABLE event_2 (tenant_id int NOT NULL, id int);
ALTER TABLE event ATTACH PARTITION event_2 FOR VALUES FROM (10) TO (20);
CREATE TABLE child () INHERITS (parent);
CREATE TABLE loose (tenant_id int NOT NULL, id int);
ALTER TABLE loose INHERIT parent;
SELECT * FROM t.state();
DROP TABLE loose;

-- Off: nothing else is looked at.
CREATE TABLE new (tenant_id int);
ALTER TABLE parent NO FORCE ROW LEVEL SECURITY;
DROP POLICY dbpatterns_tenant ON parent;
DROP TABLE new;
SELECT FROM dbpatterns.tenant_enable('parent');

-- Warn.
SET dbpatterns.tenant_new_tables = warn;
CREATE TABLE new (tenant_id int);
CREATE TABLE other AS SELECT 1 AS x;
SELECT 2 AS x INTO another;
CREATE TABLE same (LIKE parent INCLUDING ALL);
ALTER TABLE parent DISABLE ROW LEVEL SECURITY;
ALTER TABLE parent NO FORCE ROW LEVEL SECURITY;
ALTER TABLE event_1 DISABLE ROW LEVEL SECURITY;
ALTER POLICY dbpatterns_tenant ON parent USING (true);
DROP POLICY dbpatterns_tenant ON child;
ALTER TABLE parent ALTER tenant_id DROP DEFAULT;
CREATE SCHEMA t2;
CREATE TABLE t2.elsewhere (tenant_id int);
ALTER TABLE t2.elsewhere SET SCHEMA t;
ALTER TABLE event DETACH PARTITION event_2;
SELECT * FROM t.state();
DROP TABLE new, other, another, same, elsewhere, event_2;
SELECT FROM dbpatterns.tenant_enable('parent');
SELECT FROM dbpatterns.tenant_enable('event');

-- Protect: new tables are isolated, and what is taken comes back.
SET dbpatterns.tenant_new_tables = protect;
CREATE TABLE new (tenant_id int, id int);
CREATE TABLE filled AS SELECT 1 AS tenant_id;
SELECT 1 AS tenant_id INTO another;
CREATE TABLE shared (code text);
ALTER TABLE parent DISABLE ROW LEVEL SECURITY;
ALTER TABLE parent NO FORCE ROW LEVEL SECURITY;
ALTER TABLE event_1 DISABLE ROW LEVEL SECURITY;
ALTER POLICY dbpatterns_tenant ON parent USING (true);
DROP POLICY dbpatterns_tenant ON child;
ALTER TABLE parent DROP COLUMN tenant_id CASCADE;
GRANT TRUNCATE ON parent TO regress_dbp_app;
CREATE TABLE t2.elsewhere (tenant_id int);
ALTER TABLE t2.elsewhere SET SCHEMA t;
SELECT * FROM t.state();
SELECT target, state FROM dbpatterns.tenant_status ORDER BY target::text;

-- Reject.
SET dbpatterns.tenant_new_tables = reject;
CREATE TABLE rejected (tenant_id int);
CREATE TABLE rejected AS SELECT 1 AS tenant_id;
SELECT 1 AS tenant_id INTO rejected;
CREATE TABLE t2.outside (tenant_id int);
ALTER TABLE t2.outside SET SCHEMA t;
ALTER TABLE parent DISABLE ROW LEVEL SECURITY;
DROP POLICY dbpatterns_tenant ON parent;
ALTER TABLE parent DROP COLUMN tenant_id CASCADE;
CREATE TEMP TABLE temporary (x int);
CREATE TABLE event_3 PARTITION OF event FOR VALUES FROM (30) TO (40);
SELECT dbpatterns.tenant_disable('new', 'no longer needed');
DROP TABLE event_3;
SELECT * FROM t.state();
RESET dbpatterns.tenant_new_tables;

-- Names: a renamed column or table stays isolated.
ALTER TABLE parent RENAME tenant_id TO customer_id;
ALTER TABLE parent RENAME TO renamed;
SELECT target, tenant_column FROM dbpatterns.tenant_status WHERE target = 'renamed'::regclass;
SELECT FROM dbpatterns.tenant_enable('renamed', 'customer_id');

-- A foreign table cannot be below an isolated one.
CREATE FOREIGN DATA WRAPPER regress_dbp_none;
CREATE SERVER regress_dbp_server FOREIGN DATA WRAPPER regress_dbp_none;
CREATE FOREIGN TABLE event_9 PARTITION OF event FOR VALUES FROM (90) TO (99) SERVER regress_dbp_server;
DROP FOREIGN DATA WRAPPER regress_dbp_none CASCADE;

-- Without the extension there are no policies, and so no rows.
GRANT SELECT ON renamed TO regress_dbp_app;
INSERT INTO renamed VALUES (1, 1);
SET client_min_messages = warning;
DROP EXTENSION dbpatterns CASCADE;
SET ROLE regress_dbp_app;
SELECT count(*) FROM renamed;
RESET ROLE;
DROP SCHEMA t2 CASCADE;
CREATE EXTENSION dbpatterns;
:finish
