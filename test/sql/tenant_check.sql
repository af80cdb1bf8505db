-- What breaks isolation is found, and the remedies that the check gives mend it.
\getenv srcdir PG_ABS_SRCDIR
\set include :srcdir '/sql/include/tenant.sql'
\i :include
SET client_min_messages = error;
SET dbpatterns.tenant_application_roles = 'regress_dbp_app';

-- Findings; an outdated server and settings of this one are not the matter here.
CREATE VIEW t.found AS
SELECT severity, object, problem, remedy FROM dbpatterns.tenant_check()
 WHERE object !~ '^PostgreSQL ' ORDER BY severity, object, problem;

-- Remedies are run until nothing is left that SQL can mend.
CREATE PROCEDURE t.mend() LANGUAGE plpgsql AS $$
DECLARE
    f record;
BEGIN
    FOR f IN SELECT * FROM t.found WHERE remedy !~ '^--' LOOP
        BEGIN
            EXECUTE f.remedy;
        EXCEPTION WHEN undefined_object THEN NULL;      -- another remedy has done it
        END;
    END LOOP;
END $$;

CREATE TABLE customer (id int PRIMARY KEY, tenant_id int, email text UNIQUE);
CREATE TABLE orders (id int PRIMARY KEY, tenant_id int, customer int REFERENCES customer, total numeric, state text);
CREATE TABLE event (tenant_id int, id int) PARTITION BY RANGE (id);
CREATE TABLE event_1 PARTITION OF event FOR VALUES FROM (0) TO (10);
SELECT count(*) FROM dbpatterns.tenant_enable_schema('t', fix_keys => true);
GRANT SELECT, INSERT, UPDATE, DELETE ON customer, orders, event TO regress_dbp_app;

-- All is well.
SELECT * FROM t.found;
SELECT dbpatterns.tenant_assert();

-- Tables, partitions among them.
ALTER TABLE customer DISABLE ROW LEVEL SECURITY;
ALTER POLICY dbpatterns_tenant ON orders USING (tenant_id > 0);
SET session_replication_role = replica;         -- event triggers do not fire
ALTER TABLE event_1 NO FORCE ROW LEVEL SECURITY;
DROP POLICY dbpatterns_tenant ON event_1;
RESET session_replication_role;
GRANT TRUNCATE, REFERENCES ON event TO regress_dbp_app;
ALTER TABLE event ALTER tenant_id DROP DEFAULT;
DROP INDEX event_tenant_id_idx;
CREATE TABLE forgotten (tenant_id int);
CREATE TABLE shared (code text);
SELECT * FROM t.found;
SELECT * FROM dbpatterns.tenant_check('event') ORDER BY 1, 2, 3;
SELECT count(*) FROM dbpatterns.tenant_check(schema => 'public');
SELECT dbpatterns.tenant_assert();
CALL t.mend();
SELECT * FROM t.found;

-- Policies of the user's own.
CREATE POLICY open ON orders USING (true);
CREATE POLICY complicated ON orders USING (state = 'open' OR total > 100);
SELECT * FROM t.found;
CALL t.mend();
SELECT * FROM t.found;

-- Keys.
CREATE TABLE line (id int PRIMARY KEY, tenant_id int, orders int);
CREATE UNIQUE INDEX by_state ON orders (state);
ALTER TABLE orders ADD UNIQUE (id);
ALTER TABLE line ADD CONSTRAINT plain FOREIGN KEY (orders) REFERENCES orders (id);
ALTER TABLE line ADD CONSTRAINT one EXCLUDE USING btree (orders WITH =);
SELECT count(*) FROM dbpatterns.tenant_enable('line');
SELECT * FROM t.found;
CALL t.mend();
SELECT * FROM t.found;

-- Other ways to the rows.
CREATE VIEW v AS SELECT * FROM customer;
CREATE VIEW v2 AS SELECT * FROM v;
CREATE MATERIALIZED VIEW m AS SELECT * FROM customer;
GRANT SELECT ON m TO regress_dbp_app;
CREATE FUNCTION definer() RETURNS bigint LANGUAGE sql SECURITY DEFINER AS 'SELECT count(*) FROM t.customer';
CREATE FUNCTION immutable() RETURNS int LANGUAGE sql IMMUTABLE AS 'SELECT dbpatterns.current_tenant_int()';
CREATE FUNCTION body() RETURNS int LANGUAGE sql IMMUTABLE RETURN dbpatterns.current_tenant_int();
CREATE FOREIGN DATA WRAPPER regress_dbp_none;
CREATE SERVER regress_dbp_server FOREIGN DATA WRAPPER regress_dbp_none;
CREATE FOREIGN TABLE remote (tenant_id int) SERVER regress_dbp_server;
GRANT SELECT ON remote TO PUBLIC;
CREATE PUBLICATION regress_dbp_pub FOR TABLE customer, orders WHERE (tenant_id = 1);
SELECT * FROM t.found;
CALL t.mend();
SELECT * FROM t.found;
CREATE PUBLICATION regress_dbp_all FOR TABLES IN SCHEMA t;
SELECT * FROM t.found;
CALL t.mend();
DROP PUBLICATION regress_dbp_pub;
DROP FOREIGN DATA WRAPPER regress_dbp_none CASCADE;

-- Indexes whose comparisons are not leakproof.
CREATE INDEX by_total ON orders (tenant_id, state, total);
CREATE INDEX by_lower ON customer (tenant_id, lower(email));
SELECT * FROM t.found;
DROP INDEX by_total, by_lower;

-- Roles and rights.
CREATE ROLE regress_dbp_boss BYPASSRLS;
CREATE ROLE regress_dbp_group;
CREATE ROLE regress_dbp_member LOGIN;
GRANT regress_dbp_boss TO regress_dbp_group;
GRANT regress_dbp_group TO regress_dbp_app;
GRANT regress_dbp_app TO regress_dbp_member;
ALTER ROLE regress_dbp_app BYPASSRLS;
GRANT SET ON PARAMETER dbpatterns.tenant_context, dbpatterns.tenant_setting TO regress_dbp_app;
GRANT EXECUTE ON FUNCTION dbpatterns.tenant_set(text, text), dbpatterns.tenant_token(text, text, jsonb, interval, text, text) TO regress_dbp_app;
ALTER TABLE line OWNER TO regress_dbp_app;
SELECT * FROM t.found;
CALL t.mend();
CALL t.mend();
SELECT * FROM t.found;
SET dbpatterns.tenant_setting = 'app.tenant';
SELECT severity, object, problem FROM t.found;
RESET dbpatterns.tenant_setting;
GRANT regress_dbp_boss TO regress_dbp_member;
GRANT SELECT ON customer TO regress_dbp_member;
-- Without names, applications are who has rights on the tables.
RESET dbpatterns.tenant_application_roles;
SELECT severity, object, problem FROM t.found WHERE object !~ 'customer|orders|event|line';
REVOKE ALL ON customer FROM regress_dbp_member;
DROP ROLE regress_dbp_boss, regress_dbp_group, regress_dbp_member;

SELECT dbpatterns.tenant_check(schema => 'nowhere');
:finish
