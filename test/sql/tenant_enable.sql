-- Isolating tables: what a table gets, what is refused, and how it ends.
\getenv srcdir PG_ABS_SRCDIR
\set include :srcdir '/sql/include/tenant.sql'
\i :include

-- What a table gets.
CREATE TABLE item (id int, tenant_id int, name text);
INSERT INTO item VALUES (1, 1, 'a'), (2, 2, 'b');
GRANT ALL ON item TO regress_dbp_app;
GRANT SELECT, TRUNCATE ON item TO PUBLIC;
SELECT * FROM dbpatterns.tenant_enable('item', dry_run => true);
SELECT relrowsecurity FROM pg_class WHERE oid = 'item'::regclass;
SELECT * FROM dbpatterns.tenant_enable('item');
SELECT * FROM dbpatterns.tenant_enable('item');
SELECT target, state, tenant_column, user_column, on_missing, form FROM dbpatterns.tenant_status;
SELECT a.grantee::regrole, string_agg(a.privilege_type, ' ' ORDER BY 1)
  FROM pg_class c, aclexplode(c.relacl) a WHERE c.oid = 'item'::regclass AND a.grantee <> c.relowner AND a.privilege_type <> 'MAINTAIN' GROUP BY 1 ORDER BY 1;

-- Without a tenant: no rows, and no writes.
SET ROLE regress_dbp_app;
SELECT * FROM item;
INSERT INTO item VALUES (3, DEFAULT, 'c');
INSERT INTO item VALUES (3, 1, 'c');
UPDATE item SET name = 'x';
DELETE FROM item;
COPY (SELECT * FROM item) TO stdout;
RESET ROLE;

-- With one: its rows, and its id where none is given.
SELECT t.token('1') AS token \gset
SET ROLE regress_dbp_app;
BEGIN;
SELECT dbpatterns.tenant_begin(:'token');
INSERT INTO item (id, name) VALUES (3, 'c') RETURNING *;
INSERT INTO item VALUES (4, NULL, 'd');
ROLLBACK;
RESET ROLE;
SELECT t.token('1') AS token \gset
SET ROLE regress_dbp_app;
BEGIN;
SELECT dbpatterns.tenant_begin(:'token');
MERGE INTO item USING (VALUES (1, 'merged'), (2, 'theirs'), (5, 'new')) v (id, name) ON item.id = v.id
    WHEN MATCHED THEN UPDATE SET name = v.name
    WHEN NOT MATCHED THEN INSERT (id, name) VALUES (v.id, v.name);
UPDATE item SET name = name || '!' WHERE id < 3;
COPY item TO stdout;
COMMIT;
RESET ROLE;
SELECT * FROM item ORDER BY 1, 2;

-- Other options alter it.  Queries without a tenant may be errors instead, and
-- rows the user's as well.
ALTER TABLE item ADD user_id uuid;
UPDATE item SET user_id = '67e55044-10b1-426f-9247-bb680e5fe0c8' WHERE id = 1;
SELECT * FROM dbpatterns.tenant_enable('item', on_missing => 'error', user_column => 'user_id', form => 'bare');
SET ROLE regress_dbp_app;
SELECT count(*) FROM item;
INSERT INTO item (id) VALUES (9);
RESET ROLE;
SELECT t.token('1', '67e55044-10b1-426f-9247-bb680e5fe0c8') AS token \gset
SET ROLE regress_dbp_app;
BEGIN;
SELECT dbpatterns.tenant_begin(:'token');
SELECT id, name FROM item;
COMMIT;
RESET ROLE;
SELECT * FROM dbpatterns.tenant_enable('item');

-- All types of ids, domains and varchar among them; names that need quotes.
CREATE DOMAIN tenant AS bigint CHECK (value > 0);
CREATE TABLE "Odd ""T" ("the Tenant" tenant, v int);
CREATE TABLE u (tenant_id uuid);
CREATE TABLE v (tenant_id varchar(40), v int);
CREATE TABLE x (tenant_id text, v int);
SELECT count(*) FROM dbpatterns.tenant_enable('"Odd ""T"', 'the Tenant');
SELECT count(*) FROM dbpatterns.tenant_enable('u');
SELECT count(*) FROM dbpatterns.tenant_enable('v');
SELECT count(*) FROM dbpatterns.tenant_enable('x');
SELECT c.relname, p.polname, pg_get_expr(p.polqual, p.polrelid)
  FROM pg_policy p JOIN pg_class c ON c.oid = p.polrelid WHERE p.polname = 'dbpatterns_tenant' ORDER BY 1;
SELECT count(*) FROM dbpatterns.tenant_enable('v');

-- Policies of the user's own: those that let pass go on deciding, behind ours.
CREATE TABLE own (tenant_id int, secret boolean);
CREATE POLICY open ON own USING (NOT secret);
INSERT INTO own VALUES (1, false), (1, true), (2, false);
SELECT count(*) FROM dbpatterns.tenant_enable('own');
GRANT SELECT ON own TO regress_dbp_trusted;
SELECT polname, polpermissive FROM pg_policy WHERE polrelid = 'own'::regclass ORDER BY 1;
SET ROLE regress_dbp_trusted;
BEGIN;
SELECT FROM dbpatterns.tenant_set('1');
SELECT * FROM own;
COMMIT;
RESET ROLE;

-- Partitions and children at every level, queried through the root or directly.
CREATE TABLE event (tenant_id int, id int) PARTITION BY LIST (tenant_id);
CREATE TABLE event_1 PARTITION OF event FOR VALUES IN (1) PARTITION BY RANGE (id);
CREATE TABLE event_1_1 PARTITION OF event_1 FOR VALUES FROM (0) TO (100);
CREATE TABLE event_2 PARTITION OF event FOR VALUES IN (2);
CREATE TABLE parent (tenant_id int, id int);
CREATE TABLE child (more text) INHERITS (parent);
INSERT INTO event VALUES (1, 1), (2, 2);
INSERT INTO parent VALUES (1, 1);
INSERT INTO child VALUES (1, 10), (2, 20);
SELECT count(*) FROM dbpatterns.tenant_enable('event');
SELECT count(*) FROM dbpatterns.tenant_enable('parent');
SELECT target, form FROM dbpatterns.tenant_status WHERE target IN ('event'::regclass, 'parent'::regclass) ORDER BY 1;
GRANT SELECT ON ALL TABLES IN SCHEMA t TO regress_dbp_trusted;
SET ROLE regress_dbp_trusted;
BEGIN;
SELECT FROM dbpatterns.tenant_set('1');
SELECT tableoid::regclass, * FROM event;
SELECT * FROM event_2;
SELECT * FROM event_1_1;
SELECT tableoid::regclass, * FROM parent;
SELECT * FROM child;
EXPLAIN (COSTS OFF) SELECT * FROM event;
COMMIT;
RESET ROLE;

-- An owner is isolated, too.
CREATE ROLE regress_dbp_owner;
GRANT CREATE, USAGE ON SCHEMA t TO regress_dbp_owner;
SET ROLE regress_dbp_owner;
CREATE TABLE t.mine (tenant_id int);
INSERT INTO mine VALUES (1);
SELECT count(*) FROM dbpatterns.tenant_enable('mine');
SELECT count(*) FROM mine;
-- and can isolate only what it owns.
SELECT dbpatterns.tenant_enable('item');
SELECT dbpatterns.tenant_disable('item', 'why not');
SELECT dbpatterns.tenant_exempt('item', 'why not');
RESET ROLE;

-- Administrators have policies of their own, and say why they look.
SET dbpatterns.tenant_admin_role = 'regress_dbp_owner';
SELECT dbpatterns.tenant_enable('item');
SET dbpatterns.tenant_application_roles = 'regress_dbp_app, regress_dbp_trusted';
SELECT * FROM dbpatterns.tenant_enable('item');
GRANT SELECT ON item TO regress_dbp_owner;
GRANT EXECUTE ON FUNCTION dbpatterns.tenant_admin_begin(text) TO regress_dbp_owner;
SET ROLE regress_dbp_owner;
SELECT count(*) FROM item;
BEGIN;
SELECT dbpatterns.tenant_admin_begin(NULL);
ROLLBACK;
BEGIN;
SELECT dbpatterns.tenant_admin_begin(' ');
ROLLBACK;
SELECT dbpatterns.tenant_admin_begin('no transaction');
BEGIN;
SELECT dbpatterns.tenant_admin_begin('ticket 17');
SELECT count(*) FROM item;
SELECT dbpatterns.tenant_admin_begin('again');
ROLLBACK;
BEGIN;
SELECT dbpatterns.tenant_admin_begin('ticket 18');
SELECT dbpatterns.current_tenant();
COMMIT;
SELECT count(*) FROM item;
RESET ROLE;
GRANT EXECUTE ON FUNCTION dbpatterns.tenant_admin_begin(text) TO regress_dbp_app;
SET ROLE regress_dbp_app;
BEGIN;
SELECT dbpatterns.tenant_admin_begin('not mine');
ROLLBACK;
RESET ROLE;
SELECT session_role = session_user AS session, role, reason FROM dbpatterns.tenant_admin_log;
SET ROLE regress_dbp_trusted;
BEGIN;
SELECT FROM dbpatterns.tenant_set('2');
SELECT count(*) FROM item;
COMMIT;
RESET ROLE;
RESET dbpatterns.tenant_admin_role;
RESET dbpatterns.tenant_application_roles;

-- What is refused.
CREATE VIEW seen AS SELECT 1 AS tenant_id;
CREATE TABLE bad (tenant_id numeric, gen int GENERATED ALWAYS AS (1) STORED, ident int GENERATED ALWAYS AS IDENTITY);
CREATE COLLATION loose (provider = icu, locale = 'und-u-ks-level2', deterministic = false);
CREATE TABLE nulls (tenant_id int, ci text COLLATE loose);
INSERT INTO nulls VALUES (NULL);
CREATE TEMP TABLE temporary (tenant_id int);
SELECT dbpatterns.tenant_enable('seen');
SELECT dbpatterns.tenant_enable('pg_class');
SELECT dbpatterns.tenant_enable('_dbpatterns.registry');
SELECT dbpatterns.tenant_enable('event_2');
SELECT dbpatterns.tenant_enable('temporary');
SELECT dbpatterns.tenant_enable('bad', 'missing');
SELECT dbpatterns.tenant_enable('bad');
SELECT dbpatterns.tenant_enable('bad', 'gen');
SELECT dbpatterns.tenant_enable('bad', 'ident');
SELECT dbpatterns.tenant_enable('nulls');
SELECT dbpatterns.tenant_enable('nulls', 'ci');
SELECT dbpatterns.tenant_enable(NULL);
SELECT dbpatterns.tenant_enable('nulls', NULL);
SELECT dbpatterns.tenant_enable('nulls', on_missing => 'ignore');
SELECT dbpatterns.tenant_enable('nulls', form => 'fast');
SELECT dbpatterns.tenant_enable('nulls', fix_keys => NULL);
SELECT relrowsecurity FROM pg_class WHERE oid = 'nulls'::regclass;
SET dbpatterns.tenant_application_roles = 'regress_dbp_nobody';
SELECT dbpatterns.tenant_enable('own');
RESET dbpatterns.tenant_application_roles;
SET dbpatterns.tenant_application_roles = ',';

-- Exempt tables, and the end of isolation.
SELECT dbpatterns.tenant_exempt('nulls', 'a list of countries');
SELECT dbpatterns.tenant_exempt('nulls', '');
SELECT dbpatterns.tenant_exempt('item', 'isolated');
SELECT dbpatterns.tenant_disable('nulls', 'was not');
SELECT dbpatterns.tenant_disable('item', '');
SELECT dbpatterns.tenant_disable('item', 'moved away');
SELECT dbpatterns.tenant_disable('event', 'moved away');
SELECT dbpatterns.tenant_disable('own', 'moved away');
SELECT target, state, reason FROM dbpatterns.tenant_status WHERE state = 'exempt' ORDER BY 1;
SELECT c.relname, c.relrowsecurity, c.relforcerowsecurity, array_agg(p.polname) AS policies
  FROM pg_class c LEFT JOIN pg_policy p ON p.polrelid = c.oid
 WHERE c.relname IN ('item', 'event', 'event_1', 'event_1_1', 'event_2', 'own') GROUP BY c.oid ORDER BY 1;
SELECT attname, atthasdef, attnotnull FROM pg_attribute WHERE attrelid = 'item'::regclass AND attname = 'tenant_id';
SELECT count(*) FROM dbpatterns.tenant_enable('own');
DROP TABLE nulls;
SELECT target, state FROM dbpatterns.tenant_status WHERE state = 'exempt' ORDER BY 1;

RESET ROLE;
DROP TABLE mine;
REVOKE ALL ON SCHEMA t FROM regress_dbp_owner;
DROP OWNED BY regress_dbp_owner;
DROP ROLE regress_dbp_owner;
:finish
