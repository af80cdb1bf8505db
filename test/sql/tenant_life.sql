-- Tenants that are listed, suspended and limited; and all that belongs to one.
\getenv srcdir PG_ABS_SRCDIR
\set include :srcdir '/sql/include/tenant.sql'
\i :include

-- While none is listed, every tenant is admitted.
CREATE FUNCTION t.try(tenant text) RETURNS text LANGUAGE plpgsql AS $$
BEGIN
    PERFORM dbpatterns.tenant_set(tenant);
    RETURN 'admitted';
EXCEPTION WHEN invalid_authorization_specification THEN
    RETURN SQLERRM;
END $$;
GRANT EXECUTE ON FUNCTION dbpatterns.tenant_set(text, text) TO PUBLIC;
BEGIN; SELECT t.try('1'); COMMIT;
SELECT dbpatterns.tenant_create('1', 'acme', '{"statement_timeout": "5s", "work_mem": "128kB", "max_rows": 3}');
SELECT dbpatterns.tenant_create('2');
SELECT id, slug, state, limits FROM dbpatterns.tenant ORDER BY 1;
BEGIN; SELECT t.try('1'); COMMIT;
BEGIN; SELECT t.try('3'); COMMIT;
SELECT dbpatterns.tenant_suspend('1');
BEGIN; SELECT t.try('1'); COMMIT;
BEGIN; SELECT t.try('2'); COMMIT;
SELECT dbpatterns.tenant_resume('1');
BEGIN; SELECT t.try('1'); COMMIT;

-- Sessions notice what is done as a replica, too.
SET session_replication_role = replica;
SELECT dbpatterns.tenant_suspend('1');
RESET session_replication_role;
BEGIN; SELECT t.try('1'); COMMIT;
SELECT dbpatterns.tenant_resume('1');
BEGIN; SELECT t.try('1'); COMMIT;

-- What is rolled back has not happened.
BEGIN;
SELECT dbpatterns.tenant_suspend('2');
SELECT t.try('2');
ROLLBACK;
BEGIN; SELECT t.try('2'); COMMIT;
BEGIN;
SAVEPOINT s;
SELECT dbpatterns.tenant_suspend('2');
SELECT t.try('2');
ROLLBACK TO s;
SELECT t.try('2');
ROLLBACK;
BEGIN; SELECT t.try('2'); COMMIT;

-- A token of a tenant that is suspended is used up all the same.
SELECT t.token('9') AS token \gset
BEGIN;
SELECT dbpatterns.tenant_begin(:'token');
ROLLBACK;
BEGIN;
SELECT dbpatterns.tenant_begin(:'token');
ROLLBACK;

-- Limits end with the transaction.
BEGIN;
SELECT dbpatterns.tenant_set('1');
SHOW statement_timeout;
SHOW work_mem;
SELECT count(*) FROM generate_series(1, 1000);
SELECT * FROM generate_series(1, 3);
SAVEPOINT s;
SELECT * FROM generate_series(1, 4);
ROLLBACK TO s;
DECLARE c CURSOR FOR SELECT * FROM generate_series(1, 10);
FETCH 2 FROM c;
FETCH ALL FROM c;
ROLLBACK TO s;
CREATE TEMP TABLE copy AS SELECT * FROM generate_series(1, 10);
INSERT INTO copy VALUES (11) RETURNING *;
UPDATE copy SET generate_series = 0 RETURNING *;
ROLLBACK TO s;
DO $$ BEGIN PERFORM * FROM generate_series(1, 10); END $$;
COPY (SELECT * FROM generate_series(1, 3)) TO STDOUT;
SAVEPOINT c;
COPY (SELECT 1 FROM generate_series(1, 4)) TO STDOUT;
ROLLBACK TO c;
COMMIT;
SHOW statement_timeout;
SELECT count(*) FROM (SELECT * FROM generate_series(1, 5) LIMIT 5) x;
SELECT * FROM generate_series(1, 5);

-- What is refused.
SELECT dbpatterns.tenant_create(NULL);
SELECT dbpatterns.tenant_create('');
SELECT dbpatterns.tenant_create('4', 'acme');
SELECT dbpatterns.tenant_create('4', limits => NULL);
SELECT dbpatterns.tenant_create('4', limits => '[]');
SELECT dbpatterns.tenant_create('4', limits => '{"speed": 1}');
SELECT dbpatterns.tenant_create('4', limits => '{"work_mem": 1}');
SELECT dbpatterns.tenant_create('4', limits => '{"work_mem": "much"}');
SELECT dbpatterns.tenant_create('4', limits => '{"max_rows": 0}');
SELECT dbpatterns.tenant_create('4', limits => '{"max_rows": 1.5}');
SELECT dbpatterns.tenant_create('4', limits => '{"max_rows": "10"}');
SELECT dbpatterns.tenant_suspend('4');
SELECT dbpatterns.tenant_suspend(NULL);

-- All that belongs to a tenant, in tables of several kinds.
CREATE TABLE customer (tenant_id int NOT NULL, id int, parent int, name text, PRIMARY KEY (tenant_id, id));
CREATE TABLE orders (tenant_id int NOT NULL, id int, customer int, total int, PRIMARY KEY (tenant_id, id),
                     FOREIGN KEY (tenant_id, customer) REFERENCES customer);
CREATE TABLE "line Item" (tenant_id int NOT NULL, orders int, pos int, FOREIGN KEY (tenant_id, orders) REFERENCES orders)
    PARTITION BY RANGE (pos);
CREATE TABLE line_1 PARTITION OF "line Item" FOR VALUES FROM (0) TO (100);
CREATE TABLE country (code text);
CREATE TABLE odd (customer_of text NOT NULL, v int);
SET client_min_messages = warning;
SELECT dbpatterns.audit_enable('customer'), dbpatterns.closure_enable('customer', '{tenant_id,parent}', counters => true);
SELECT count(*) FROM dbpatterns.tenant_enable('customer');
SELECT count(*) FROM dbpatterns.tenant_enable('orders');
SELECT count(*) FROM dbpatterns.tenant_enable('"line Item"');
RESET client_min_messages;
INSERT INTO customer SELECT t, i, NULLIF(i / 2, 0), 'customer ' || i FROM generate_series(1, 2) t, generate_series(1, 4) i;
UPDATE customer SET name = 'other ' || id WHERE id = 1;
DELETE FROM customer WHERE id = 4;
INSERT INTO orders SELECT t, i, 1, i FROM generate_series(1, 2) t, generate_series(1, 3) i;
INSERT INTO "line Item" SELECT tenant_id, id, i FROM orders, generate_series(1, 2) i;

-- Nothing is done while a table could hold rows that nobody knows of.
SELECT * FROM dbpatterns.tenant_verify('2');
SELECT dbpatterns.tenant_exempt('country', 'shared'), dbpatterns.tenant_exempt('odd', 'for now');
SELECT * FROM dbpatterns.tenant_verify('2');
SELECT * FROM dbpatterns.tenant_purge('2');
SELECT * FROM dbpatterns.tenant_rows('2');

-- Deleted children first; the other tenant keeps all of its rows.
SELECT * FROM dbpatterns.tenant_purge('2', dry_run => false);
SELECT dbpatterns.tenant_suspend('2');
BEGIN ISOLATION LEVEL REPEATABLE READ;
SELECT * FROM dbpatterns.tenant_purge('2', dry_run => false);
ROLLBACK;
SELECT * FROM dbpatterns.tenant_purge('2', dry_run => false);
SELECT * FROM dbpatterns.tenant_verify('2');
SELECT * FROM dbpatterns.tenant_purge('2', dry_run => false);
SELECT * FROM dbpatterns.tenant_verify('1');
SELECT tenant_id, count(*) FROM customer_closure GROUP BY 1;
SELECT severity, problem FROM dbpatterns.closure_check('customer');
SELECT new ->> 'tenant_id' AS tenant, new ->> 'name' AS name FROM dbpatterns.audit_entries
 WHERE target = 'customer'::regclass AND op = 'I' ORDER BY id;

-- An id that the list of tenants and the audit trail have otherwise.
SELECT dbpatterns.tenant_purge('01', dry_run => false);
SELECT dbpatterns.tenant_verify(' 1');
BEGIN;
SELECT dbpatterns.tenant_suspend('1');
SELECT dbpatterns.tenant_purge('1', dry_run => false);
ROLLBACK;

-- Foreign keys must not delete or change what another tenant has.
CREATE TABLE parent (tenant_id int NOT NULL, id int PRIMARY KEY);
CREATE TABLE child ("tenant ""T" int NOT NULL, id int) PARTITION BY LIST (id);
CREATE TABLE child_1 PARTITION OF child FOR VALUES IN (1);
ALTER TABLE child ADD COLUMN parent int;
ALTER TABLE child_1 ADD CONSTRAINT loose FOREIGN KEY (parent) REFERENCES parent ON DELETE CASCADE;
SET client_min_messages = warning;
SELECT count(*) FROM dbpatterns.tenant_enable('child', 'tenant "T');
SELECT count(*) FROM dbpatterns.tenant_enable('parent');
RESET client_min_messages;
INSERT INTO parent VALUES (2, 1), (2, 2);
INSERT INTO child VALUES (2, 1, 1), (1, 1, 2);
SELECT * FROM dbpatterns.tenant_purge('2', dry_run => false);
SELECT * FROM child ORDER BY 1;
ALTER TABLE child_1 DROP CONSTRAINT loose, ADD CONSTRAINT loose FOREIGN KEY (parent) REFERENCES parent ON DELETE SET NULL;
SELECT * FROM dbpatterns.tenant_purge('2', dry_run => false);
DELETE FROM child WHERE "tenant ""T" = 1;
-- A child whose partition alone refers to the parent is deleted before it.
ALTER TABLE child_1 DROP CONSTRAINT loose, ADD CONSTRAINT loose FOREIGN KEY (parent) REFERENCES parent;
SELECT * FROM dbpatterns.tenant_purge('2', dry_run => false);

-- Triggers that keep rows are noticed.
CREATE FUNCTION t.keep() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN RETURN NULL; END';
CREATE TRIGGER keep BEFORE DELETE ON child_1 FOR EACH ROW EXECUTE FUNCTION t.keep();
INSERT INTO child VALUES (2, 1, NULL);
SELECT * FROM dbpatterns.tenant_purge('2', dry_run => false);
DROP TABLE child, parent;

-- The audit trail is searched by its own key; what it does not show is told.
CREATE TABLE keyed (tenant_id int NOT NULL, id int UNIQUE, secret text);
CREATE TABLE unkeyed (tenant_id int NOT NULL, id int, secret text);
CREATE TABLE hidden (tenant_id int NOT NULL, id int PRIMARY KEY, secret text);
SET client_min_messages = warning;
SELECT c, count(*) FROM unnest('{keyed,unkeyed,hidden}'::regclass[]) c, dbpatterns.tenant_enable(c) GROUP BY 1 ORDER BY 1;
SELECT dbpatterns.audit_enable('keyed', key => '{id}'), dbpatterns.audit_enable('unkeyed'),
       dbpatterns.audit_enable('hidden', exclude => '{tenant_id}');
INSERT INTO keyed VALUES (2, 1, 'a');
INSERT INTO unkeyed VALUES (2, 1, 'b');
INSERT INTO hidden VALUES (2, 1, 'c');
SELECT * FROM dbpatterns.tenant_purge('2', dry_run => false);
SELECT DISTINCT target, coalesce(new, old) -> 'secret' AS secret FROM dbpatterns.audit_entries
 WHERE target = ANY ('{keyed,unkeyed,hidden}'::regclass[]) AND op = ANY ('{I,D}') ORDER BY 1;
DROP TABLE keyed, unkeyed, hidden;
RESET client_min_messages;

-- An id that is none of a column's type.
SELECT * FROM dbpatterns.tenant_verify('acme');

-- Who policies apply to cannot do any of this.
GRANT EXECUTE ON FUNCTION dbpatterns.tenant_verify(text), dbpatterns.tenant_purge(text, boolean), dbpatterns.tenant_rows(text),
    dbpatterns.tenant_export(text, text) TO regress_dbp_app;
SET ROLE regress_dbp_app;
SELECT dbpatterns.tenant_verify('1');
SELECT dbpatterns.tenant_purge('1');
SELECT dbpatterns.tenant_rows('1');
SELECT dbpatterns.tenant_export('1', '/tmp');
SELECT dbpatterns.tenant_create('5');
RESET ROLE;
SELECT dbpatterns.tenant_export('1', 'relative');
SELECT dbpatterns.tenant_export('1', NULL);

:finish
