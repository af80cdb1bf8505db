-- Tenants, and all that belongs to one.

CREATE TABLE dbpatterns.tenant (
    id         text PRIMARY KEY CHECK (id OPERATOR(pg_catalog.<>) ''),
    slug       name UNIQUE,
    model      text NOT NULL DEFAULT 'row'
        CHECK (model OPERATOR(pg_catalog.=) ANY ('{row,schema,database}'::pg_catalog.text[])),
    place      name,
    template   name,
    wall       boolean NOT NULL DEFAULT false,
    state      text NOT NULL DEFAULT 'active'
        CHECK (state OPERATOR(pg_catalog.=) ANY ('{active,suspended,deleting}'::pg_catalog.text[])),
    limits     jsonb NOT NULL DEFAULT '{}',
    created_at timestamptz NOT NULL DEFAULT pg_catalog.clock_timestamp(),
    UNIQUE (model, place),
    CHECK ((model OPERATOR(pg_catalog.=) 'row') OPERATOR(pg_catalog.=) (place IS NULL))
);
COMMENT ON TABLE dbpatterns.tenant IS 'tenants; while there are none here, every tenant is admitted';
SELECT pg_catalog.pg_extension_config_dump('dbpatterns.tenant', '');

CREATE TRIGGER tenant_changed AFTER INSERT OR UPDATE OR DELETE OR TRUNCATE ON dbpatterns.tenant
    FOR EACH STATEMENT EXECUTE FUNCTION _dbpatterns.tenant_changed();
ALTER TABLE dbpatterns.tenant ENABLE ALWAYS TRIGGER tenant_changed;

CREATE FUNCTION dbpatterns.tenant_create(
    tenant text,
    slug name DEFAULT NULL,
    limits jsonb DEFAULT '{}')
RETURNS void
LANGUAGE c VOLATILE PARALLEL UNSAFE AS 'MODULE_PATHNAME', 'dbpatterns_tenant_create';
COMMENT ON FUNCTION dbpatterns.tenant_create(text, name, jsonb) IS
    'lists a tenant, or changes its slug and limits';

CREATE FUNCTION dbpatterns.tenant_suspend(tenant text) RETURNS void
LANGUAGE c VOLATILE PARALLEL UNSAFE AS 'MODULE_PATHNAME', 'dbpatterns_tenant_suspend';
COMMENT ON FUNCTION dbpatterns.tenant_suspend(text) IS 'refuses new transactions of a tenant';

CREATE FUNCTION dbpatterns.tenant_resume(tenant text) RETURNS void
LANGUAGE c VOLATILE PARALLEL UNSAFE AS 'MODULE_PATHNAME', 'dbpatterns_tenant_resume';
COMMENT ON FUNCTION dbpatterns.tenant_resume(text) IS 'admits new transactions of a tenant again';

CREATE FUNCTION dbpatterns.tenant_drop(tenant text) RETURNS void
LANGUAGE c VOLATILE PARALLEL UNSAFE AS 'MODULE_PATHNAME', 'dbpatterns_tenant_drop';
COMMENT ON FUNCTION dbpatterns.tenant_drop(text) IS
    'takes a tenant without rows, or with its schema, off the list';

CREATE FUNCTION dbpatterns.tenant_verify(
    tenant text,
    OUT target regclass, OUT place text, OUT "rows" bigint)
RETURNS SETOF record
LANGUAGE c VOLATILE PARALLEL UNSAFE AS 'MODULE_PATHNAME', 'dbpatterns_tenant_verify';
COMMENT ON FUNCTION dbpatterns.tenant_verify(text) IS
    'how many rows of a tenant each isolated table has, those of its audit trail included';

CREATE FUNCTION dbpatterns.tenant_purge(
    tenant text,
    dry_run boolean DEFAULT true,
    OUT target regclass, OUT place text, OUT "rows" bigint)
RETURNS SETOF record
LANGUAGE c VOLATILE PARALLEL UNSAFE AS 'MODULE_PATHNAME', 'dbpatterns_tenant_purge';
COMMENT ON FUNCTION dbpatterns.tenant_purge(text, boolean) IS
    'deletes all rows of a suspended tenant, children first, and erases them from the audit trail';

CREATE FUNCTION dbpatterns.tenant_rows(
    tenant text,
    OUT target regclass, OUT data jsonb)
RETURNS SETOF record
LANGUAGE c VOLATILE PARALLEL UNSAFE AS 'MODULE_PATHNAME', 'dbpatterns_tenant_rows';
COMMENT ON FUNCTION dbpatterns.tenant_rows(text) IS 'all rows of a tenant as JSON, parents first';

CREATE FUNCTION dbpatterns.tenant_export(
    tenant text,
    directory text,
    OUT target regclass, OUT "rows" bigint, OUT file text)
RETURNS SETOF record
LANGUAGE c VOLATILE PARALLEL UNSAFE AS 'MODULE_PATHNAME', 'dbpatterns_tenant_export';
COMMENT ON FUNCTION dbpatterns.tenant_export(text, text) IS
    'writes all rows of a tenant to files on the server, in the order to load them';
