-- Isolated tables.

INSERT INTO _dbpatterns.pattern VALUES ('tenant', 10);

CREATE TABLE _dbpatterns.tenant_exempt (
    target      regclass PRIMARY KEY,
    reason      text NOT NULL,
    exempted_by text NOT NULL DEFAULT session_user,
    exempted_at timestamptz NOT NULL DEFAULT pg_catalog.clock_timestamp()
);
COMMENT ON TABLE _dbpatterns.tenant_exempt IS 'tables that need not be isolated, and why';
SELECT pg_catalog.pg_extension_config_dump('_dbpatterns.tenant_exempt', '');

CREATE TABLE _dbpatterns.tenant_schema (
    schema        name PRIMARY KEY,
    tenant_column name NOT NULL,
    on_missing    text NOT NULL,
    form          text NOT NULL,
    fix_keys      boolean NOT NULL
);
COMMENT ON TABLE _dbpatterns.tenant_schema IS 'schemas whose new tables are to be isolated, and how';
SELECT pg_catalog.pg_extension_config_dump('_dbpatterns.tenant_schema', '');

CREATE FUNCTION dbpatterns.tenant_enable(
    target regclass,
    tenant_column name DEFAULT 'tenant_id',
    on_missing text DEFAULT 'deny',
    user_column name DEFAULT NULL,
    fix_keys boolean DEFAULT false,
    form text DEFAULT 'auto',
    dry_run boolean DEFAULT false)
RETURNS SETOF text
LANGUAGE c VOLATILE PARALLEL UNSAFE AS 'MODULE_PATHNAME', 'dbpatterns_tenant_enable';
COMMENT ON FUNCTION dbpatterns.tenant_enable(regclass, name, text, name, boolean, text, boolean) IS
    'isolates the tenants of a table by row-level security; returns the commands';

CREATE FUNCTION dbpatterns.tenant_enable_schema(
    schema name,
    except_tables regclass[] DEFAULT '{}',
    tenant_column name DEFAULT 'tenant_id',
    on_missing text DEFAULT 'deny',
    user_column name DEFAULT NULL,
    fix_keys boolean DEFAULT false,
    form text DEFAULT 'auto',
    dry_run boolean DEFAULT false)
RETURNS SETOF text
LANGUAGE c VOLATILE PARALLEL UNSAFE AS 'MODULE_PATHNAME', 'dbpatterns_tenant_enable_schema';
COMMENT ON FUNCTION dbpatterns.tenant_enable_schema(name, regclass[], name, text, name, boolean, text, boolean) IS
    'isolates the tenants of all tables of a schema, and covers those that come later';

CREATE FUNCTION dbpatterns.tenant_exempt(target regclass, reason text) RETURNS void
LANGUAGE c VOLATILE PARALLEL UNSAFE AS 'MODULE_PATHNAME', 'dbpatterns_tenant_exempt';
COMMENT ON FUNCTION dbpatterns.tenant_exempt(regclass, text) IS
    'writes down that a table need not be isolated, and why';

CREATE FUNCTION dbpatterns.tenant_disable(target regclass, reason text) RETURNS void
LANGUAGE c VOLATILE PARALLEL UNSAFE AS 'MODULE_PATHNAME', 'dbpatterns_tenant_disable';
COMMENT ON FUNCTION dbpatterns.tenant_disable(regclass, text) IS
    'ends the isolation of a table, and writes down why';

CREATE VIEW dbpatterns.tenant_status AS
SELECT r.target,
       'isolated' AS state,
       r.options ->> 'column' AS tenant_column,
       r.options ->> 'user_column' AS user_column,
       r.options ->> 'on_missing' AS on_missing,
       r.options ->> 'form' AS form,
       NULL::text AS reason,
       r.enabled_at AS since
FROM _dbpatterns.registry r
WHERE r.pattern OPERATOR(pg_catalog.=) 'tenant'
UNION ALL
SELECT x.target, 'exempt', NULL, NULL, NULL, NULL, x.reason, x.exempted_at
FROM _dbpatterns.tenant_exempt x;
COMMENT ON VIEW dbpatterns.tenant_status IS 'tables whose tenants are isolated, and tables that need not be';
