-- Who tries to look over the wall around another tenant's schema, as the application's role.
\getenv srcdir PG_ABS_SRCDIR
\set include :srcdir '/sql/include/tenant.sql'
\i :include
SET client_min_messages = warning;
SET dbpatterns.tenant_application_roles = 'regress_dbp_app';
GRANT EXECUTE ON FUNCTION dbpatterns.tenant_set(text, text) TO regress_dbp_app;
CREATE ROLE regress_dbp_owner;
CREATE SCHEMA w AUTHORIZATION regress_dbp_owner;
SET ROLE regress_dbp_owner;
SET search_path = w;
CREATE TABLE secret (id int, s text, n numeric);
CREATE INDEX secret_n ON secret (n);
CREATE TABLE parent (id int);
CREATE TABLE child () INHERITS (parent);
CREATE TABLE p (id int) PARTITION BY LIST (id);
CREATE TABLE p_1 PARTITION OF p DEFAULT;
CREATE VIEW v AS SELECT * FROM secret;
CREATE VIEW vv AS SELECT * FROM v;
CREATE TABLE key (id int PRIMARY KEY);
CREATE TABLE open (id int);
ALTER TABLE open ENABLE ROW LEVEL SECURITY;
CREATE POLICY all_of_it ON open USING (true);
GRANT ALL ON SCHEMA w TO regress_dbp_app;
GRANT ALL ON ALL TABLES IN SCHEMA w TO regress_dbp_app;
RESET search_path;
RESET ROLE;
SELECT dbpatterns.tenant_schema_create('a', 'w'), dbpatterns.tenant_schema_create('b', 'w');
INSERT INTO b.secret VALUES (1, 'of b', 5);
INSERT INTO b.parent VALUES (1);
INSERT INTO b.child VALUES (2);
INSERT INTO b.p VALUES (3);
INSERT INTO b.key VALUES (4);
INSERT INTO b.open VALUES (5);
SELECT object, problem FROM dbpatterns.tenant_check(schema => 'b') WHERE severity <> 'warning' ORDER BY 1;

SET ROLE regress_dbp_app;
PREPARE q AS SELECT count(*) FROM b.secret;
BEGIN;
SELECT dbpatterns.tenant_set('b');
EXECUTE q;
COMMIT;
BEGIN;
SELECT dbpatterns.tenant_set('a');
EXECUTE q;
CREATE FUNCTION a.tell(text) RETURNS boolean LANGUAGE plpgsql COST 0.0000001 AS 'BEGIN RAISE WARNING ''%'', $1; RETURN true; END';
SELECT count(*) FROM b.secret WHERE a.tell(s);
SELECT (SELECT count(*) FROM b.parent) AS parent, (SELECT count(*) FROM b.child) AS child, (SELECT count(*) FROM b.p) AS p, (SELECT count(*) FROM b.p_1) AS p_1,
    (SELECT count(*) FROM b.v) AS v, (SELECT count(*) FROM b.vv) AS vv, (SELECT count(*) FROM b.key) AS key, (SELECT count(*) FROM b.open) AS open;
COPY b.secret TO stdout;
SELECT count(*) FROM pg_stats WHERE schemaname = 'b';
CREATE VIEW b.mine AS SELECT * FROM b.secret;
SELECT count(*) FROM b.mine;
DROP VIEW b.mine;
UPDATE b.secret SET s = 'x';
DELETE FROM b.parent;
MERGE INTO b.secret USING (VALUES (1)) x (i) ON id = i WHEN MATCHED THEN DELETE;
SAVEPOINT s;
INSERT INTO b.key VALUES (4) ON CONFLICT DO NOTHING;
ROLLBACK TO s;
INSERT INTO b.p_1 VALUES (6);
ROLLBACK TO s;
TRUNCATE b.secret;
ROLLBACK TO s;
CREATE TABLE b.guess (id int REFERENCES b.key);
ROLLBACK TO s;
CREATE TRIGGER mine BEFORE INSERT ON b.secret EXECUTE FUNCTION suppress_redundant_updates_trigger();
ROLLBACK TO s;
COMMIT;
RESET ROLE;
SELECT s FROM b.secret;

-- What no wall keeps back is told when it is built, and by tenant_check.
SET ROLE regress_dbp_owner;
CREATE TABLE w.door (x text);
CREATE RULE redirect AS ON INSERT TO w.door DO INSTEAD INSERT INTO w.secret SELECT 2, NEW.x || s FROM w.secret;
CREATE RULE show AS ON UPDATE TO w.door DO INSTEAD SELECT * FROM w.secret;
CREATE RULE nothing AS ON DELETE TO w.door DO INSTEAD NOTHING;
CREATE MATERIALIZED VIEW w.kept AS SELECT * FROM w.secret;
CREATE FUNCTION w.definer() RETURNS SETOF w.secret LANGUAGE sql SECURITY DEFINER BEGIN ATOMIC SELECT * FROM w.secret; END;
CREATE FUNCTION w.closed() RETURNS int LANGUAGE sql SECURITY DEFINER AS 'SELECT 1';
REVOKE ALL ON FUNCTION w.closed() FROM PUBLIC;
CREATE FUNCTION w.trigger() RETURNS trigger LANGUAGE plpgsql SECURITY DEFINER AS 'BEGIN RETURN NEW; END';
GRANT ALL ON ALL TABLES IN SCHEMA w TO regress_dbp_app;
RESET ROLE;
CREATE TABLE w.theirs (id int);
ALTER TABLE w.theirs OWNER TO regress_dbp_app;
SELECT dbpatterns.tenant_schema_create('c', 'w');
SELECT severity, object, problem, remedy FROM dbpatterns.tenant_check(schema => 'c') WHERE object !~ 'dbpatterns' ORDER BY 2;
-- The remedies are remedies.
SELECT remedy FROM dbpatterns.tenant_check(schema => 'c') WHERE severity = 'error' ORDER BY 1 \gexec
SELECT severity, object, problem FROM dbpatterns.tenant_check(schema => 'c') WHERE severity = 'error';

SET client_min_messages = error;
DROP SCHEMA w, a, b, c CASCADE;
DROP OWNED BY regress_dbp_owner;
DROP ROLE regress_dbp_owner;
:finish
