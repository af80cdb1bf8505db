\set ECHO none
-- Start of a test of tenants: a new extension, the schema t, an application role
-- with no rights of its own (app) and a role that is trusted to name tenants.
-- The test ends with :finish.
\set SHOW_CONTEXT never
\pset footer off
SET client_min_messages = warning;
SET search_path = public;
-- To make the extension takes minutes where caches are discarded (assert.sh).
SET debug_discard_caches = 0;
DROP EXTENSION IF EXISTS dbpatterns CASCADE;
DROP SCHEMA IF EXISTS t CASCADE;
CREATE EXTENSION dbpatterns;
CREATE SCHEMA t;
SET search_path = t;
CREATE ROLE regress_dbp_app;
CREATE ROLE regress_dbp_trusted;
GRANT USAGE ON SCHEMA t TO regress_dbp_app, regress_dbp_trusted;
GRANT EXECUTE ON FUNCTION dbpatterns.tenant_set(text, text) TO regress_dbp_trusted;
SELECT FROM dbpatterns.tenant_key_create('default');

-- A token for this session, made by a superuser: :token.
CREATE FUNCTION t.token(tenant text, user_id text DEFAULT NULL, claims jsonb DEFAULT NULL,
                        valid interval DEFAULT '30 seconds')
RETURNS text LANGUAGE sql AS $$
    SELECT dbpatterns.tenant_token(tenant, user_id, claims, valid, dbpatterns.tenant_challenge())
$$;
\set finish 'RESET ROLE; SET client_min_messages = warning; DROP SCHEMA t CASCADE; DROP EXTENSION dbpatterns CASCADE; DROP ROLE regress_dbp_app, regress_dbp_trusted;'
RESET client_min_messages;
RESET debug_discard_caches;
\set ECHO all
