-- A schema per tenant: cloned completely, separate, and with a wall around it.
\getenv srcdir PG_ABS_SRCDIR
\set include :srcdir '/sql/include/tenant.sql'
\i :include
SET client_min_messages = warning;
SET dbpatterns.tenant_application_roles = 'regress_dbp_app';

-- A template with one of everything, some of it under odd names.
CREATE SCHEMA "Te ""m";
SET search_path = "Te ""m";
CREATE TYPE state AS ENUM ('new', 'it''s', 'Done');
CREATE TYPE pair AS (a int, b text COLLATE "C");
CREATE DOMAIN positive AS int DEFAULT 1 NOT NULL CONSTRAINT above CHECK (VALUE > 0);
CREATE SEQUENCE numbers AS smallint START 5 INCREMENT 2 MINVALUE 3 MAXVALUE 99 CACHE 2 CYCLE;
CREATE FUNCTION twice(i int) RETURNS int LANGUAGE sql IMMUTABLE PARALLEL SAFE AS 'SELECT i * 2';
CREATE TABLE customer (
    id int GENERATED ALWAYS AS IDENTITY (START 100) PRIMARY KEY,
    "E ""mail" text NOT NULL COLLATE "C" UNIQUE DEFERRABLE,
    kind state DEFAULT 'it''s',
    much positive,
    b pair,
    doubled int GENERATED ALWAYS AS (twice(id)) STORED,
    CONSTRAINT "odd ""check" CHECK (twice(id) > 0) NO INHERIT
) WITH (fillfactor = 70, toast.autovacuum_enabled = false);
ALTER TABLE customer ADD gone int;
ALTER TABLE customer DROP gone;
ALTER TABLE customer ALTER b SET STORAGE EXTERNAL, ALTER kind SET STATISTICS 77, ALTER kind SET (n_distinct = 3);
CREATE TABLE line (id serial PRIMARY KEY, customer int REFERENCES customer ON DELETE CASCADE DEFERRABLE INITIALLY DEFERRED,
    n int DEFAULT nextval('numbers'), EXCLUDE USING btree (n WITH =));
CREATE UNIQUE INDEX "a 63-byte name of an index that is as long as names may be, x" ON line (n, twice(customer)) INCLUDE (id) WHERE n > 0;
ALTER TABLE line REPLICA IDENTITY FULL;
CREATE TABLE parent (a int NOT NULL, CHECK (a > 0));
CREATE TABLE child (b int, CONSTRAINT mine CHECK (b > 0)) INHERITS (parent);
CREATE UNLOGGED TABLE loose (a int);
CREATE TABLE event (id int, at date NOT NULL, v int DEFAULT 1 CHECK (v > 0), PRIMARY KEY (id, at)) PARTITION BY RANGE (at);
CREATE TABLE event_1 PARTITION OF event FOR VALUES FROM ('2026-01-01') TO ('2027-01-01') PARTITION BY LIST (id);
CREATE TABLE event_1_a PARTITION OF event_1 (v DEFAULT 3) FOR VALUES IN (1, 2);
CREATE TABLE event_rest PARTITION OF event DEFAULT;
CREATE INDEX event_v ON event (v);
CREATE INDEX event_rest_only ON event_rest (at) TABLESPACE pg_default;
ALTER TABLE event ADD FOREIGN KEY (v) REFERENCES line (id);
CREATE VIEW totals WITH (security_barrier) AS SELECT c.id, c."E ""mail", sum(l.n) AS n FROM customer c JOIN line l ON l.customer = c.id GROUP BY c.id;
CREATE VIEW above AS SELECT id FROM customer WHERE id > 1 WITH CASCADED CHECK OPTION;
ALTER VIEW above ALTER id SET DEFAULT 7;
CREATE MATERIALIZED VIEW kept AS SELECT count(*) AS n FROM customer;
CREATE UNIQUE INDEX ON kept (n);
CREATE MATERIALIZED VIEW empty AS SELECT 1 AS n WITH NO DATA;
CREATE FUNCTION body(c customer) RETURNS bigint LANGUAGE sql STABLE BEGIN ATOMIC SELECT count(*) + (c).id FROM totals; END;
CREATE FUNCTION bystring() RETURNS bigint LANGUAGE sql SET search_path = "Te ""m", public AS 'SELECT count(*) FROM customer';
CREATE PROCEDURE proc(INOUT x int DEFAULT 3) LANGUAGE plpgsql AS 'BEGIN x := x + 1; END';
CREATE FUNCTION fill() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN NEW.n := 42; RETURN NEW; END';
CREATE TRIGGER fill BEFORE INSERT ON line FOR EACH ROW WHEN (NEW.n IS NULL) EXECUTE FUNCTION fill();
CREATE TRIGGER off AFTER INSERT ON event FOR EACH ROW EXECUTE FUNCTION fill();
ALTER TABLE event DISABLE TRIGGER off;
CREATE CONSTRAINT TRIGGER late AFTER UPDATE ON customer DEFERRABLE INITIALLY DEFERRED FOR EACH ROW EXECUTE FUNCTION fill();
CREATE RULE note AS ON DELETE TO loose DO ALSO INSERT INTO loose VALUES (OLD.a);
CREATE STATISTICS stat (dependencies) ON id, n FROM line;
ALTER TABLE customer ENABLE ROW LEVEL SECURITY;
ALTER TABLE customer FORCE ROW LEVEL SECURITY;
CREATE POLICY small ON customer AS PERMISSIVE FOR SELECT TO regress_dbp_app, regress_dbp_trusted USING (id < 1000);
CREATE POLICY other ON customer FOR INSERT WITH CHECK (kind = 'new');
CREATE POLICY none ON customer AS RESTRICTIVE USING ("E ""mail" <> 'x');
COMMENT ON SCHEMA "Te ""m" IS 'the template''s';
COMMENT ON TABLE customer IS 'who buys';
COMMENT ON COLUMN customer."E ""mail" IS 'a "column"';
COMMENT ON CONSTRAINT "odd ""check" ON customer IS 'checks';
COMMENT ON CONSTRAINT above ON DOMAIN positive IS 'is above';
COMMENT ON FUNCTION twice(int) IS 'doubles';
COMMENT ON TRIGGER fill ON line IS 'fills';
COMMENT ON POLICY small ON customer IS 'some';
COMMENT ON INDEX event_v IS 'by v';
COMMENT ON TYPE state IS 'states';
GRANT USAGE ON SCHEMA "Te ""m" TO regress_dbp_app;
GRANT SELECT, INSERT ON customer, line, event, totals TO regress_dbp_app WITH GRANT OPTION;
GRANT TRUNCATE ON loose TO regress_dbp_trusted;
GRANT UPDATE (n) ON line TO PUBLIC;
GRANT USAGE ON SEQUENCE numbers, line_id_seq TO regress_dbp_app;
REVOKE EXECUTE ON FUNCTION body FROM PUBLIC;
GRANT USAGE ON TYPE state TO regress_dbp_app;
CREATE ROLE regress_dbp_owner;
ALTER TABLE loose OWNER TO regress_dbp_owner;
ALTER FUNCTION twice(int) OWNER TO regress_dbp_owner;
GRANT USAGE ON SCHEMA "Te ""m" TO regress_dbp_owner;
ALTER DEFAULT PRIVILEGES IN SCHEMA "Te ""m" GRANT SELECT ON TABLES TO regress_dbp_app;

\set include :srcdir '/sql/include/things.sql'
\i :include

-- The clone is the same.
SET search_path = t;
SELECT dbpatterns.tenant_schema_create('bare', 'Te "m', wall => false);
SELECT count(*) > 100 AS many FROM t.things('Te "m');
SELECT 'template' AS only_in, * FROM (SELECT t.things('Te "m') EXCEPT ALL SELECT t.things('bare')) x
UNION ALL SELECT 'clone', * FROM (SELECT t.things('bare') EXCEPT ALL SELECT t.things('Te "m')) x ORDER BY 1, 2;
-- It can be cloned again, and is then still the same.
SELECT dbpatterns.tenant_schema_create('again', 'bare', 'A "gain', wall => false);
SELECT 'template' AS only_in, * FROM (SELECT t.things('Te "m') EXCEPT ALL SELECT t.things('A "gain')) x
UNION ALL SELECT 'clone', * FROM (SELECT t.things('A "gain') EXCEPT ALL SELECT t.things('Te "m')) x ORDER BY 1, 2;
-- Nothing is shared.
INSERT INTO bare.line (customer) VALUES (NULL), (NULL);
INSERT INTO bare.line (n) VALUES (NULL);
INSERT INTO "A ""gain".line (customer) VALUES (NULL);
SELECT id, n FROM bare.line;
SELECT id, n FROM "A ""gain".line;
SELECT count(*) FROM "Te ""m".line;
INSERT INTO bare.customer ("E ""mail") VALUES ('a');
SELECT bare.bystring(), bare.body(c) FROM bare.customer c;

-- With the wall, the application's role sees the schema of its tenant only, whatever it names.
SELECT dbpatterns.tenant_schema_create('acme', 'Te "m');
SELECT dbpatterns.tenant_schema_create('it''s', 'Te "m', slug => 'its', limits => '{"work_mem": "3MB"}');
SELECT id, slug, model, place, template, wall, state, limits FROM dbpatterns.tenant ORDER BY id;
INSERT INTO acme.line (n) VALUES (1);
INSERT INTO its.line (n) VALUES (2), (3);
INSERT INTO acme.event VALUES (1, '2026-02-01'), (1, '2020-01-01');
GRANT SELECT ON acme.event_1_a, acme.above TO regress_dbp_app;
GRANT EXECUTE ON FUNCTION dbpatterns.tenant_set(text, text) TO regress_dbp_app;
SET ROLE regress_dbp_app;
SELECT count(*) FROM acme.line;
BEGIN;
SELECT dbpatterns.tenant_set('acme');
SHOW search_path;
SELECT n FROM line;
SELECT count(*) FROM its.line;
SELECT count(*) FROM acme.event, acme.event_1_a;
INSERT INTO acme.line (n) VALUES (10);
SAVEPOINT s;
INSERT INTO its.line (n) VALUES (10);
ROLLBACK TO s;
SELECT count(*) FROM its.totals;
ROLLBACK TO s;
SELECT nextval('its.line_id_seq') > 0 AS sequences_are_not_rows;
COMMIT;
SHOW search_path;
BEGIN;
SELECT dbpatterns.tenant_set('it''s');
SELECT n FROM line ORDER BY 1;
SHOW work_mem;
COMMIT;
RESET ROLE;
-- New tables get it later.
CREATE TABLE acme.later (n int);
CREATE VIEW acme.later_view AS SELECT * FROM acme.later;
SELECT severity, object, problem, remedy FROM dbpatterns.tenant_check() WHERE object ~ 'acme' ORDER BY 2, 3;
SELECT * FROM dbpatterns.tenant_schema_protect('acme');
SELECT * FROM dbpatterns.tenant_schema_protect('acme');
SELECT severity, object, problem, remedy FROM dbpatterns.tenant_check() WHERE object ~ 'acme' ORDER BY 2, 3;
ALTER POLICY dbpatterns_tenant_schema ON acme.later USING (true);
SELECT severity, object, problem, remedy FROM dbpatterns.tenant_check() WHERE object ~ 'acme' ORDER BY 2, 3;
SELECT * FROM dbpatterns.tenant_schema_protect('acme');
SELECT count(*) > 0 AS raised FROM dbpatterns.tenant_schema_protect('bare');
SELECT id, wall FROM dbpatterns.tenant WHERE id = 'bare';

-- Everything or nothing.
BEGIN;
SELECT dbpatterns.tenant_schema_create('never', 'Te "m');
ROLLBACK;
SELECT count(*) FROM pg_namespace WHERE nspname = 'never';

-- Refused: arguments.
SELECT dbpatterns.tenant_schema_create(NULL, 'Te "m');
SELECT dbpatterns.tenant_schema_create('', 'Te "m');
SELECT dbpatterns.tenant_schema_create('x', NULL);
SELECT dbpatterns.tenant_schema_create('x', 'nowhere');
SELECT dbpatterns.tenant_schema_create('acme', 'Te "m', 'other');
SELECT dbpatterns.tenant_schema_create('x', 'Te "m', 'acme');
SELECT dbpatterns.tenant_schema_create('x', 'Te "m', 'pg_x');
SELECT dbpatterns.tenant_schema_create(repeat('x', 64), 'Te "m');
SELECT dbpatterns.tenant_schema_create('x', 'Te "m', limits => '{"bad": 1}');
SELECT dbpatterns.tenant_schema_create('x', 'Te "m', wall => NULL);
SELECT dbpatterns.tenant_schema_protect('nobody');
SELECT dbpatterns.tenant_create('r');
SELECT dbpatterns.tenant_schema_protect('r');
GRANT EXECUTE ON FUNCTION dbpatterns.tenant_schema_create(text, name, name, name, jsonb, boolean) TO regress_dbp_app;
SET ROLE regress_dbp_app;
\set VERBOSITY sqlstate
SELECT dbpatterns.tenant_schema_create('x', 'Te "m');
\set VERBOSITY default
RESET ROLE;

-- Refused: what cannot be cloned, by name and before anything is made.
CREATE SCHEMA bad;
CREATE AGGREGATE bad.total(int) (sfunc = int4pl, stype = int);
CREATE TYPE bad.span AS RANGE (subtype = int);
CREATE TABLE bad.part PARTITION OF acme.event FOR VALUES FROM ('2028-01-01') TO ('2029-01-01');
CREATE FUNCTION bad.names() RETURNS int LANGUAGE sql AS 'SELECT 1 FROM bad.part';
CREATE FUNCTION bad.quotes() RETURNS text LANGUAGE sql AS 'SELECT set_config(''search_path'', ''bad'', true)';
CREATE TYPE bad.shape AS (a int);
CREATE TABLE bad.typed OF bad.shape;
SELECT dbpatterns.tenant_schema_create('x', 'bad');
SELECT dbpatterns.tenant_schema_create('x', 'acme');
DROP SCHEMA bad CASCADE;
CREATE SCHEMA bad;
CREATE TABLE bad.audited (id int PRIMARY KEY);
SELECT dbpatterns.audit_enable('bad.audited');
SELECT dbpatterns.tenant_schema_create('x', 'bad');
DROP SCHEMA bad CASCADE;
-- A table that is called as one of the server's cannot be told from it.
CREATE SCHEMA bad;
CREATE TABLE bad.pg_class (id int);
CREATE VIEW bad.v AS SELECT id FROM bad.pg_class;
SELECT dbpatterns.tenant_schema_create('x', 'bad');
DROP SCHEMA bad CASCADE;
-- Functions in a template cannot make the clone's maker do anything.
CREATE SCHEMA bad;
CREATE FUNCTION bad.format(text, name) RETURNS text LANGUAGE plpgsql AS 'BEGIN RAISE EXCEPTION ''called''; END';
CREATE FUNCTION bad.quote_ident(name) RETURNS text LANGUAGE plpgsql AS 'BEGIN RAISE EXCEPTION ''called''; END';
CREATE FUNCTION bad.same(oid, oid) RETURNS boolean LANGUAGE plpgsql AS 'BEGIN RAISE EXCEPTION ''called''; END';
CREATE TABLE bad.x (id int);
SELECT dbpatterns.tenant_schema_create('x', 'bad');
SELECT proname FROM pg_proc WHERE pronamespace = 'x'::regnamespace ORDER BY 1;

-- Leaving.
SELECT dbpatterns.tenant_drop('nobody');
SELECT dbpatterns.tenant_drop('x');
SELECT dbpatterns.tenant_suspend('x'), dbpatterns.tenant_suspend('acme'), dbpatterns.tenant_suspend('r');
CREATE VIEW t.outside AS SELECT * FROM x.x;
SELECT dbpatterns.tenant_drop('x');
DROP VIEW t.outside;
SELECT dbpatterns.tenant_drop('x'), dbpatterns.tenant_drop('acme');
SELECT dbpatterns.tenant_drop('r');
SELECT id FROM dbpatterns.tenant ORDER BY 1;
SELECT count(*) FROM pg_namespace WHERE nspname IN ('x', 'acme');
SET client_min_messages = error;
DROP SCHEMA bare, its, "A ""gain", "Te ""m" CASCADE;
DROP SCHEMA bad CASCADE;
DROP OWNED BY regress_dbp_owner;
DROP ROLE regress_dbp_owner;
:finish
