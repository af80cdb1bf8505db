-- What a check says can be run as it is: remedies keep how a table is isolated, work for odd
-- names, partitions and grants of grants, and are readable for everybody.
\getenv srcdir PG_ABS_SRCDIR
\set include :srcdir '/sql/include/tenant.sql'
\i :include
SET client_min_messages = error;
SET dbpatterns.tenant_application_roles = 'regress_dbp_app';
CREATE VIEW t.found AS
SELECT severity, object, problem, remedy FROM dbpatterns.tenant_check()
 WHERE object !~ '^PostgreSQL ' ORDER BY severity, object, problem;

-- All options of a table are repeated, for it and for what is like it.
CREATE TABLE strict (tenant_id int, id int PRIMARY KEY, u int);
SELECT count(*) FROM dbpatterns.tenant_enable('strict', on_missing => 'error', user_column => 'u', form => 'bare');
CREATE TABLE as_strict (tenant_id int, u int);
SELECT * FROM t.found;
SELECT remedy FROM t.found \gexec
SELECT * FROM t.found;
SELECT target, tenant_column, user_column, on_missing, form FROM dbpatterns.tenant_status ORDER BY target::text;

-- A partition is mended through its root, and can be asked for.
CREATE TABLE event (tenant_id int, id int) PARTITION BY RANGE (id);
CREATE TABLE event_1 PARTITION OF event FOR VALUES FROM (0) TO (10);
SELECT count(*) FROM dbpatterns.tenant_enable('event');
CREATE UNIQUE INDEX event_1_id ON event_1 (id);
SELECT * FROM dbpatterns.tenant_check('event_1') WHERE object !~ '^PostgreSQL';
SELECT * FROM dbpatterns.tenant_check('strict') WHERE object !~ '^PostgreSQL';
SELECT remedy FROM t.found \gexec
SELECT * FROM t.found;

-- A table that is not isolated is one, unless it is exempt.
CREATE SCHEMA other;
CREATE TABLE other.plain (tenant_id int);
SELECT * FROM dbpatterns.tenant_check('other.plain');
SELECT * FROM dbpatterns."check"('other.plain');
SELECT dbpatterns.tenant_exempt('other.plain', 'shared');
SELECT * FROM dbpatterns.tenant_check('other.plain');

-- Foreign keys from shared tables first, then the key they rest on.
CREATE TABLE account (tenant_id int, id int PRIMARY KEY);
CREATE TABLE shared (a int REFERENCES account);
SELECT count(*) FROM dbpatterns.tenant_enable('account');
SELECT dbpatterns.tenant_exempt('shared', 'all tenants');
SELECT * FROM t.found;
SELECT remedy FROM t.found WHERE remedy !~ '^--' \gexec
SELECT * FROM t.found;
SELECT remedy FROM t.found \gexec
SELECT * FROM t.found;

-- A foreign key is seen from either side alone.
CREATE TABLE line (tenant_id int, account int);
ALTER TABLE account ADD UNIQUE (id);
ALTER TABLE line ADD CONSTRAINT plain FOREIGN KEY (account) REFERENCES account (id);
SELECT count(*) FROM dbpatterns.tenant_enable('line');
SELECT severity, object FROM dbpatterns.tenant_check('line') WHERE object ~ 'plain';
SELECT severity, object FROM dbpatterns.tenant_check('account') WHERE object ~ 'plain';
SELECT remedy FROM t.found WHERE object ~ 'plain' \gexec
SELECT * FROM t.found;

-- What was granted on is revoked, too.
CREATE ROLE regress_dbp_report;
CREATE MATERIALIZED VIEW m AS SELECT * FROM account;
GRANT SELECT ON m TO regress_dbp_app WITH GRANT OPTION;
GRANT SELECT (id) ON m TO regress_dbp_report;
GRANT TRUNCATE ON account TO regress_dbp_app WITH GRANT OPTION;
SET ROLE regress_dbp_app;
GRANT SELECT ON t.m TO regress_dbp_report;
GRANT TRUNCATE ON t.account TO regress_dbp_report;
RESET ROLE;
SELECT * FROM t.found;
SELECT remedy FROM t.found \gexec
SELECT * FROM t.found;
DROP ROLE regress_dbp_report;

-- Odd names.
CREATE SCHEMA "Odd ""S";
CREATE TABLE "Odd ""S"."T "" x" ("tenant '""c" int, id int PRIMARY KEY);
SELECT count(*) FROM dbpatterns.tenant_enable('"Odd ""S"."T "" x"', 'tenant ''"c');
CREATE VIEW "Odd ""S"."V' x" AS SELECT * FROM "Odd ""S"."T "" x";
CREATE TABLE "Odd ""S"."new'" ("tenant '""c" int);
SELECT * FROM t.found;
SELECT remedy FROM t.found \gexec
SELECT * FROM t.found;
DROP SCHEMA "Odd ""S" CASCADE;

-- Everybody may ask, and owners who are nobody else may isolate.
CREATE ROLE regress_dbp_own;
GRANT CREATE, USAGE ON SCHEMA other TO regress_dbp_own;
SET ROLE regress_dbp_own;
CREATE TABLE other.mine (tenant_id int, id int);
SELECT * FROM dbpatterns.tenant_enable('other.mine', 'tenant_id');
ALTER TABLE other.mine NO FORCE ROW LEVEL SECURITY;
SELECT * FROM dbpatterns.tenant_check('other.mine');
SELECT dbpatterns.tenant_disable('other.mine', 'no longer');
RESET ROLE;
DROP SCHEMA other CASCADE;
DROP ROLE regress_dbp_own;
:finish
