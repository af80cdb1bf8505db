-- Tenant isolation: the tenant of a transaction, and who may say it.

-- Keys that tokens are signed with.  Nobody is granted anything on it; it is not
-- dumped, so that no dump holds a key.
CREATE TABLE _dbpatterns.tenant_key (
    kid        text PRIMARY KEY,
    secret     bytea NOT NULL CHECK (pg_catalog.octet_length(secret) OPERATOR(pg_catalog.>=) 32),
    created_at timestamptz NOT NULL DEFAULT pg_catalog.clock_timestamp()
);
COMMENT ON TABLE _dbpatterns.tenant_key IS 'keys that tokens of tenants are signed with';

CREATE FUNCTION _dbpatterns.tenant_changed() RETURNS trigger
LANGUAGE c AS 'MODULE_PATHNAME', 'dbpatterns_tenant_changed';
COMMENT ON FUNCTION _dbpatterns.tenant_changed() IS 'tells all backends that a table of tenants has changed';

CREATE TRIGGER tenant_changed AFTER INSERT OR UPDATE OR DELETE OR TRUNCATE ON _dbpatterns.tenant_key
    FOR EACH STATEMENT EXECUTE FUNCTION _dbpatterns.tenant_changed();
-- Sessions must be told with session_replication_role = replica, too.
ALTER TABLE _dbpatterns.tenant_key ENABLE ALWAYS TRIGGER tenant_changed;

CREATE FUNCTION dbpatterns.tenant_key_create(kid text) RETURNS void
LANGUAGE c VOLATILE PARALLEL UNSAFE AS 'MODULE_PATHNAME', 'dbpatterns_tenant_key_create';
COMMENT ON FUNCTION dbpatterns.tenant_key_create(text) IS 'makes a key that tokens are signed with';

CREATE FUNCTION dbpatterns.tenant_key_drop(kid text) RETURNS void
LANGUAGE c VOLATILE PARALLEL UNSAFE AS 'MODULE_PATHNAME', 'dbpatterns_tenant_key_drop';
COMMENT ON FUNCTION dbpatterns.tenant_key_drop(text) IS 'deletes a key; what was signed with it is refused';

CREATE FUNCTION dbpatterns.tenant_token(
    tenant text,
    user_id text DEFAULT NULL,
    claims jsonb DEFAULT NULL,
    valid interval DEFAULT '30 seconds',
    nonce text DEFAULT NULL,
    kid text DEFAULT 'default')
RETURNS text
LANGUAGE c VOLATILE PARALLEL UNSAFE AS 'MODULE_PATHNAME', 'dbpatterns_tenant_token';
COMMENT ON FUNCTION dbpatterns.tenant_token(text, text, jsonb, interval, text, text) IS
    'a token for tenant_begin in this database, signed with a key of it';

CREATE FUNCTION dbpatterns.tenant_challenge() RETURNS text
LANGUAGE c VOLATILE PARALLEL UNSAFE AS 'MODULE_PATHNAME', 'dbpatterns_tenant_challenge';
COMMENT ON FUNCTION dbpatterns.tenant_challenge() IS
    'a random word that the next token of this session must carry as its claim nonce';

CREATE FUNCTION dbpatterns.tenant_begin(token text) RETURNS void
LANGUAGE c VOLATILE PARALLEL UNSAFE AS 'MODULE_PATHNAME', 'dbpatterns_tenant_begin';
COMMENT ON FUNCTION dbpatterns.tenant_begin(text) IS
    'makes the tenant, the user and the claims of a token those of this transaction';

CREATE FUNCTION dbpatterns.tenant_set(tenant text, user_id text DEFAULT NULL) RETURNS void
LANGUAGE c VOLATILE PARALLEL UNSAFE AS 'MODULE_PATHNAME', 'dbpatterns_tenant_set';
COMMENT ON FUNCTION dbpatterns.tenant_set(text, text) IS
    'sets tenant and user of this transaction, for roles that are trusted to name them';

CREATE FUNCTION dbpatterns.tenant_residue(OUT kind text, OUT name text) RETURNS SETOF record
LANGUAGE c VOLATILE PARALLEL UNSAFE AS 'MODULE_PATHNAME', 'dbpatterns_tenant_residue';
COMMENT ON FUNCTION dbpatterns.tenant_residue() IS
    'what this session holds beyond its transactions, and another tenant may have left';

CREATE FUNCTION dbpatterns.current_tenant() RETURNS text
LANGUAGE c STABLE PARALLEL SAFE LEAKPROOF AS 'MODULE_PATHNAME', 'dbpatterns_current_tenant';
COMMENT ON FUNCTION dbpatterns.current_tenant() IS 'the tenant of this transaction; NULL if it has none';

CREATE FUNCTION dbpatterns.current_tenant_uuid() RETURNS uuid
LANGUAGE c STABLE PARALLEL SAFE LEAKPROOF AS 'MODULE_PATHNAME', 'dbpatterns_current_tenant_uuid';
COMMENT ON FUNCTION dbpatterns.current_tenant_uuid() IS 'the tenant of this transaction, of type uuid; NULL if it has none';

CREATE FUNCTION dbpatterns.current_tenant_bigint() RETURNS bigint
LANGUAGE c STABLE PARALLEL SAFE LEAKPROOF AS 'MODULE_PATHNAME', 'dbpatterns_current_tenant_bigint';
COMMENT ON FUNCTION dbpatterns.current_tenant_bigint() IS 'the tenant of this transaction, of type bigint; NULL if it has none';

CREATE FUNCTION dbpatterns.current_tenant_int() RETURNS integer
LANGUAGE c STABLE PARALLEL SAFE LEAKPROOF AS 'MODULE_PATHNAME', 'dbpatterns_current_tenant_int';
COMMENT ON FUNCTION dbpatterns.current_tenant_int() IS 'the tenant of this transaction, of type integer; NULL if it has none';

CREATE FUNCTION dbpatterns.require_tenant() RETURNS text
LANGUAGE c STABLE PARALLEL SAFE LEAKPROOF AS 'MODULE_PATHNAME', 'dbpatterns_require_tenant';
COMMENT ON FUNCTION dbpatterns.require_tenant() IS 'the tenant of this transaction; an error if it has none';

CREATE FUNCTION dbpatterns.require_tenant_uuid() RETURNS uuid
LANGUAGE c STABLE PARALLEL SAFE LEAKPROOF AS 'MODULE_PATHNAME', 'dbpatterns_require_tenant_uuid';
COMMENT ON FUNCTION dbpatterns.require_tenant_uuid() IS 'the tenant of this transaction, of type uuid; an error if it has none';

CREATE FUNCTION dbpatterns.require_tenant_bigint() RETURNS bigint
LANGUAGE c STABLE PARALLEL SAFE LEAKPROOF AS 'MODULE_PATHNAME', 'dbpatterns_require_tenant_bigint';
COMMENT ON FUNCTION dbpatterns.require_tenant_bigint() IS 'the tenant of this transaction, of type bigint; an error if it has none';

CREATE FUNCTION dbpatterns.require_tenant_int() RETURNS integer
LANGUAGE c STABLE PARALLEL SAFE LEAKPROOF AS 'MODULE_PATHNAME', 'dbpatterns_require_tenant_int';
COMMENT ON FUNCTION dbpatterns.require_tenant_int() IS 'the tenant of this transaction, of type integer; an error if it has none';

CREATE FUNCTION dbpatterns.current_user_id() RETURNS text
LANGUAGE c STABLE PARALLEL SAFE LEAKPROOF AS 'MODULE_PATHNAME', 'dbpatterns_current_user_id';
COMMENT ON FUNCTION dbpatterns.current_user_id() IS 'the user of this transaction; NULL if there is none';

CREATE FUNCTION dbpatterns.current_user_id_uuid() RETURNS uuid
LANGUAGE c STABLE PARALLEL SAFE LEAKPROOF AS 'MODULE_PATHNAME', 'dbpatterns_current_user_id_uuid';
COMMENT ON FUNCTION dbpatterns.current_user_id_uuid() IS 'the user of this transaction, of type uuid; NULL if there is none';

CREATE FUNCTION dbpatterns.current_user_id_bigint() RETURNS bigint
LANGUAGE c STABLE PARALLEL SAFE LEAKPROOF AS 'MODULE_PATHNAME', 'dbpatterns_current_user_id_bigint';
COMMENT ON FUNCTION dbpatterns.current_user_id_bigint() IS 'the user of this transaction, of type bigint; NULL if there is none';

CREATE FUNCTION dbpatterns.current_user_id_int() RETURNS integer
LANGUAGE c STABLE PARALLEL SAFE LEAKPROOF AS 'MODULE_PATHNAME', 'dbpatterns_current_user_id_int';
COMMENT ON FUNCTION dbpatterns.current_user_id_int() IS 'the user of this transaction, of type integer; NULL if there is none';

CREATE FUNCTION dbpatterns.current_claim(key text) RETURNS text
LANGUAGE c STABLE STRICT PARALLEL SAFE AS 'MODULE_PATHNAME', 'dbpatterns_current_claim';
COMMENT ON FUNCTION dbpatterns.current_claim(text) IS 'a claim of the token of this transaction; NULL if there is none';

-- Administrators of all tenants.
CREATE TABLE _dbpatterns.tenant_admin_log (
    at           timestamptz NOT NULL DEFAULT pg_catalog.clock_timestamp(),
    session_role text NOT NULL,
    role         text NOT NULL,
    reason       text NOT NULL
);
SELECT pg_catalog.pg_extension_config_dump('_dbpatterns.tenant_admin_log', '');

CREATE VIEW dbpatterns.tenant_admin_log AS
SELECT l.at, l.session_role, l.role, l.reason
FROM _dbpatterns.tenant_admin_log l;
COMMENT ON VIEW dbpatterns.tenant_admin_log IS 'who administered all tenants when, and why';

CREATE FUNCTION dbpatterns.tenant_admin_begin(reason text) RETURNS void
LANGUAGE c VOLATILE PARALLEL UNSAFE AS 'MODULE_PATHNAME', 'dbpatterns_tenant_admin_begin';
COMMENT ON FUNCTION dbpatterns.tenant_admin_begin(text) IS
    'lets this transaction of an administrator see the rows of all tenants';

CREATE FUNCTION dbpatterns.tenant_is_admin() RETURNS boolean
LANGUAGE c STABLE PARALLEL SAFE AS 'MODULE_PATHNAME', 'dbpatterns_tenant_is_admin';
COMMENT ON FUNCTION dbpatterns.tenant_is_admin() IS 'whether this transaction may see the rows of all tenants';

CREATE FUNCTION dbpatterns.tenant_lets_pass() RETURNS boolean
LANGUAGE c IMMUTABLE PARALLEL SAFE LEAKPROOF AS 'MODULE_PATHNAME', 'dbpatterns_tenant_lets_pass';
COMMENT ON FUNCTION dbpatterns.tenant_lets_pass() IS 'true: lets rows pass as long as the extension is there';
