-- Ways around the policies that rights, roles, rules and settings open.
\getenv srcdir PG_ABS_SRCDIR
\set include :srcdir '/sql/include/tenant.sql'
\i :include
SET client_min_messages = error;
SET dbpatterns.tenant_application_roles = 'regress_dbp_app';
CREATE VIEW t.found AS
SELECT severity, object, problem, remedy FROM dbpatterns.tenant_check()
 WHERE object !~ '^PostgreSQL ' ORDER BY severity, object, problem;
CREATE TABLE orders (tenant_id int, id int, state text, doc jsonb, PRIMARY KEY (tenant_id, id));
SELECT count(*) FROM dbpatterns.tenant_enable('orders');
INSERT INTO orders VALUES (1, 1), (2, 2);
SELECT * FROM t.found;

-- A role that no policy of tenants is for sees all rows, once a policy lets them pass.
CREATE ROLE regress_dbp_report;
GRANT USAGE ON SCHEMA t TO regress_dbp_report;
GRANT SELECT (id) ON orders TO regress_dbp_report;
SET ROLE regress_dbp_report;
SELECT count(id) FROM t.orders;
RESET ROLE;
SELECT * FROM t.found;
CREATE POLICY small ON orders USING (id < 10);
SET ROLE regress_dbp_report;
SELECT count(id) FROM t.orders;
RESET ROLE;
SELECT * FROM t.found;
SELECT remedy FROM t.found \gexec
SELECT * FROM t.found;
DROP POLICY small ON orders;
SELECT count(*) FROM dbpatterns.tenant_enable('orders');

-- Rights that policies do not look at, of the table and of columns, through groups.
CREATE ROLE regress_dbp_group;
GRANT regress_dbp_group TO regress_dbp_app;
GRANT TRUNCATE ON orders TO regress_dbp_group;
GRANT REFERENCES (id) ON orders TO PUBLIC;
GRANT TRIGGER ON orders TO regress_dbp_report;  -- no application
SELECT * FROM t.found;
SELECT remedy FROM t.found \gexec
SELECT * FROM t.found;

-- Roles that read files, replicate, or make themselves members of others.
GRANT pg_read_server_files TO regress_dbp_group;
ALTER ROLE regress_dbp_app CREATEROLE REPLICATION;
SET dbpatterns.tenant_admin_role = 'regress_dbp_report';
GRANT regress_dbp_report TO regress_dbp_app;
SELECT * FROM t.found WHERE object <> 't.orders';
SELECT remedy FROM t.found WHERE object <> 't.orders' \gexec
-- The setting is not what the table was isolated with.
SELECT * FROM t.found;
RESET dbpatterns.tenant_admin_role;
REVOKE pg_read_server_files FROM regress_dbp_group;
ALTER ROLE regress_dbp_app NOCREATEROLE NOREPLICATION;

-- Tables of ours, settings of ours, switches of the server.
GRANT ALL ON ALL TABLES IN SCHEMA _dbpatterns TO regress_dbp_report;
GRANT SELECT ON dbpatterns.tenant TO regress_dbp_app;
GRANT SET ON PARAMETER session_replication_role TO regress_dbp_app;
ALTER EVENT TRIGGER dbpatterns_ddl_command_end DISABLE;
ALTER ROLE regress_dbp_app SET dbpatterns.tenant_setting = 'app.tenant';
SELECT * FROM t.found;
SELECT remedy FROM t.found WHERE severity = 'error' \gexec
SELECT * FROM t.found;
ALTER ROLE regress_dbp_app RESET ALL;
SELECT * FROM t.found;

-- Policies that look at no column, and those that are hard to read.  Strings and names are no words.
CREATE POLICY equal ON orders USING (1 = 1);
CREATE POLICY insert ON orders FOR INSERT WITH CHECK (true);
CREATE POLICY setting ON orders USING (current_setting('app.x', true) = 'y');
CREATE POLICY "coalesce" ON orders USING (coalesce(tenant_id, 1) = 1);
CREATE POLICY "distinct" ON orders USING (tenant_id IS DISTINCT FROM 4);
CREATE POLICY fine ON orders USING (state = 'x OR y');
SELECT object, problem FROM t.found;
SELECT remedy FROM t.found \gexec
DROP POLICY fine ON orders;
SELECT count(*) FROM dbpatterns.tenant_enable('orders');

-- IMMUTABLE functions that read the tenant, whatever they call it, and through others.
CREATE FUNCTION direct() RETURNS int LANGUAGE sql IMMUTABLE AS 'SELECT DBPATTERNS.CURRENT_TENANT_INT()';
CREATE FUNCTION wrapper() RETURNS int LANGUAGE sql STABLE AS 'SELECT dbpatterns.current_tenant_int()';
CREATE FUNCTION indirect() RETURNS int LANGUAGE sql IMMUTABLE AS 'SELECT t.wrapper()';
CREATE FUNCTION harmless() RETURNS int LANGUAGE sql IMMUTABLE AS 'SELECT 1';
SELECT * FROM t.found;
DROP FUNCTION direct, wrapper, indirect, harmless;

-- Rules, and materialized views that applications own.
CREATE TABLE log (n int);
SELECT dbpatterns.tenant_exempt('log', 'shared');
CREATE RULE also AS ON INSERT TO log DO ALSO DELETE FROM t.orders;
CREATE MATERIALIZED VIEW m AS SELECT * FROM orders;
GRANT CREATE ON SCHEMA t TO regress_dbp_app;
ALTER MATERIALIZED VIEW m OWNER TO regress_dbp_app;
SELECT * FROM t.found;
SELECT remedy FROM t.found \gexec
SELECT * FROM t.found;

-- A parent that is not isolated shows rows of its children.
CREATE SCHEMA other;
CREATE TABLE other.parent (tenant_id int NOT NULL);
ALTER TABLE orders INHERIT other.parent;
CREATE TABLE other.root (tenant_id int NOT NULL) PARTITION BY LIST (tenant_id);
CREATE TABLE part (tenant_id int NOT NULL);
SELECT count(*) FROM dbpatterns.tenant_enable('part');
ALTER TABLE other.root ATTACH PARTITION part FOR VALUES IN (1);
SELECT * FROM t.found;
SELECT remedy FROM t.found \gexec
SELECT * FROM t.found;
DROP SCHEMA other CASCADE;

-- Publications whose filter is not of a tenant, and those of the table's schema.
CREATE PUBLICATION regress_dbp_pub FOR TABLE orders WHERE (id > 0);
CREATE PUBLICATION regress_dbp_all FOR TABLES IN SCHEMA t;
SELECT * FROM dbpatterns.tenant_check('orders') WHERE object ~ 'publication' ORDER BY 2, 3;
DROP PUBLICATION regress_dbp_pub, regress_dbp_all;

-- Indexes of any kind.
CREATE INDEX by_doc ON orders USING gin (doc);
CREATE INDEX by_hash ON orders USING hash (state);
CREATE INDEX by_range ON orders USING brin (id);
SELECT severity, object, problem FROM t.found;
DROP INDEX by_doc, by_hash, by_range;

-- Applications that nobody names are those that have rights.
RESET dbpatterns.tenant_application_roles;
SELECT count(*) FROM dbpatterns.tenant_enable('orders');
REVOKE regress_dbp_report FROM regress_dbp_app;
GRANT SELECT (id) ON orders TO regress_dbp_report;
ALTER ROLE regress_dbp_report BYPASSRLS;
SELECT * FROM t.found WHERE object <> 't.part';
DROP OWNED BY regress_dbp_report, regress_dbp_group;
DROP ROLE regress_dbp_report, regress_dbp_group;
:finish
