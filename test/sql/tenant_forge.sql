-- Break-ins: what SQL run as the application's role tries, and does not get.
\getenv srcdir PG_ABS_SRCDIR
\set include :srcdir '/sql/include/tenant.sql'
\i :include
\set VERBOSITY sqlstate

CREATE TABLE item (tenant_id int NOT NULL, id int, secret text);
INSERT INTO item SELECT t, t * 10 + i, 'secret of ' || t FROM generate_series(1, 2) t, generate_series(1, 2) i;
SELECT count(*) FROM dbpatterns.tenant_enable('item');
GRANT SELECT, INSERT, UPDATE, DELETE ON item TO regress_dbp_app;
GRANT CREATE ON SCHEMA t TO regress_dbp_app;
SELECT t.token('1', 'ann') AS token \gset
SET ROLE regress_dbp_app;

-- No tenant, no rows.
SELECT count(*) FROM item;

BEGIN;
SELECT dbpatterns.tenant_begin(:'token');
SELECT * FROM item ORDER BY id;
SAVEPOINT s;

-- The setting under the context: by SET, set_config, pg_settings, a function.
SELECT set_config('dbpatterns.tenant_context', '1:2,,,,', true) FROM item;
ROLLBACK TO s;
SET dbpatterns.tenant_context = '1:2,,,,';
ROLLBACK TO s;
SET LOCAL dbpatterns.tenant_context = '1:2,,,,';
ROLLBACK TO s;
SET SESSION dbpatterns.tenant_context TO DEFAULT;
ROLLBACK TO s;
RESET dbpatterns.tenant_context;
ROLLBACK TO s;
UPDATE pg_settings SET setting = '1:2,,,,' WHERE name = 'dbpatterns.tenant_context';
CREATE FUNCTION t.f() RETURNS bigint LANGUAGE sql SET dbpatterns.tenant_context = '1:2,,,,'
    AS 'SELECT count(*) FROM t.item WHERE tenant_id = 2';
ROLLBACK TO s;
CREATE FUNCTION t.f() RETURNS bigint LANGUAGE sql SET dbpatterns.tenant_context FROM CURRENT
    AS 'SELECT count(*) FROM t.item WHERE tenant_id = 2';
ROLLBACK TO s;
ALTER ROLE regress_dbp_app SET dbpatterns.tenant_context = '1:2,,,,';
ROLLBACK TO s;

-- It cannot be read either.
SHOW dbpatterns.tenant_context;
ROLLBACK TO s;
SELECT current_setting('dbpatterns.tenant_context', true);
ROLLBACK TO s;
SELECT name, setting FROM pg_settings WHERE name ~ '^dbpatterns.tenant_(context|key)';

-- How tenants are told apart is not for the isolated to say.
SET dbpatterns.tenant_setting = 'app.tenant';
ROLLBACK TO s;
SET dbpatterns.tenant_admin_role = 'regress_dbp_app';
ROLLBACK TO s;
SET dbpatterns.tenant_application_roles = 'nobody';
ROLLBACK TO s;
SET dbpatterns.tenant_new_tables = off;
ROLLBACK TO s;
SET dbpatterns.tenant_key_file = '/dev/null';
ROLLBACK TO s;

-- Functions that set a tenant, make tokens or keys, or administer.
SELECT dbpatterns.tenant_set('2');
ROLLBACK TO s;
SELECT dbpatterns.tenant_token('2');
ROLLBACK TO s;
SELECT dbpatterns.tenant_key_create('mine');
ROLLBACK TO s;
SELECT dbpatterns.tenant_key_drop('default');
ROLLBACK TO s;
SELECT dbpatterns.tenant_admin_begin('curious');
ROLLBACK TO s;
SELECT * FROM _dbpatterns.tenant_key;
ROLLBACK TO s;
SELECT * FROM dbpatterns.tenant_admin_log;
ROLLBACK TO s;
CREATE FUNCTION t.set(text, text) RETURNS void LANGUAGE c AS 'dbpatterns', 'dbpatterns_tenant_set';
ROLLBACK TO s;

-- The same token, or another one, in the same transaction.
SELECT dbpatterns.tenant_begin(:'token');
ROLLBACK TO s;

-- Other roles are the same tenant.
RESET ROLE;
SET ROLE regress_dbp_app;
SELECT count(*), min(tenant_id), max(tenant_id) FROM item;

-- Names that hide ours: policies know functions and operators by identity.
CREATE FUNCTION t.current_tenant_int() RETURNS int LANGUAGE sql AS 'SELECT 2';
CREATE FUNCTION t.always(int, int) RETURNS boolean LANGUAGE sql AS 'SELECT true';
CREATE OPERATOR t.= (LEFTARG = int, RIGHTARG = int, FUNCTION = t.always);
SET LOCAL search_path = t, pg_catalog;
SELECT * FROM item ORDER BY id;
CREATE TEMP TABLE item (tenant_id int, id int, secret text);
SELECT count(*) FROM t.item;
ROLLBACK TO s;

-- Functions that show what they see, and divisions that fail on it.
CREATE FUNCTION t.leak(text) RETURNS boolean LANGUAGE plpgsql COST 0.0000001 AS
    $$ BEGIN RAISE NOTICE 'seen: %', $1; RETURN true; END $$;
SELECT count(*) FROM item WHERE t.leak(secret);
SELECT count(*) FROM item WHERE 1 / (tenant_id - 2) < 0;
CREATE FUNCTION t.quiet(text) RETURNS boolean LANGUAGE plpgsql LEAKPROOF AS 'BEGIN RETURN true; END';
ROLLBACK TO s;

-- Writing what belongs to another.
INSERT INTO item VALUES (2, 99, 'planted');
ROLLBACK TO s;
UPDATE item SET tenant_id = 2;
ROLLBACK TO s;
WITH x AS (UPDATE item SET secret = 'gone' WHERE tenant_id = 2 RETURNING 1) SELECT count(*) FROM x;
WITH x AS (DELETE FROM item WHERE tenant_id = 2 RETURNING 1) SELECT count(*) FROM x;
TRUNCATE item;
ROLLBACK TO s;
SET LOCAL row_security = off;
SELECT count(*) FROM item;
ROLLBACK TO s;
ALTER TABLE item DISABLE ROW LEVEL SECURITY;
ROLLBACK TO s;
DROP POLICY dbpatterns_tenant ON item;
ROLLBACK TO s;

-- Resetting everything leaves no tenant, and no other can be set.
RESET ALL;
SELECT count(*) FROM t.item;
SELECT dbpatterns.tenant_begin(:'token');
ROLLBACK TO s;
SELECT count(*) FROM t.item;
COMMIT;

-- Another transaction needs another token.
BEGIN;
SELECT count(*) FROM t.item;
SELECT dbpatterns.tenant_begin(:'token');
ROLLBACK;
BEGIN;
SELECT dbpatterns.tenant_begin(:'token' || 'x');
ROLLBACK;
DISCARD ALL;
SET search_path = t;
SET ROLE regress_dbp_app;
SELECT count(*) FROM item;
RESET ROLE;

-- A superuser cannot set the context by hand either: such a value is a mistake.
SET dbpatterns.tenant_context = '1:2,,,,';
ALTER ROLE regress_dbp_app SET dbpatterns.tenant_context = '1:2,,,,';
SELECT set_config('dbpatterns.tenant_context', '', false);

-- What is granted by mistake does not help.
GRANT SET ON PARAMETER dbpatterns.tenant_context TO regress_dbp_app;
SET ROLE regress_dbp_app;
SET dbpatterns.tenant_context = '1:2,,,,';
SELECT count(*) FROM item;
RESET ROLE;
REVOKE SET ON PARAMETER dbpatterns.tenant_context FROM regress_dbp_app;

-- No function of ours is PUBLIC's by default.
SELECT p.oid::regprocedure FROM pg_proc p
 WHERE p.pronamespace = ANY ('{dbpatterns,_dbpatterns}'::regnamespace[]) AND p.proacl IS NULL;

SELECT * FROM item ORDER BY id;
:finish
