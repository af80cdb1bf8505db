-- Tenants that have a schema of their own.

CREATE FUNCTION dbpatterns.tenant_schema_create(
    tenant text,
    template name,
    schema name DEFAULT NULL,
    slug name DEFAULT NULL,
    limits jsonb DEFAULT '{}',
    wall boolean DEFAULT true)
RETURNS name
LANGUAGE c VOLATILE PARALLEL UNSAFE AS 'MODULE_PATHNAME', 'dbpatterns_tenant_schema_create';
COMMENT ON FUNCTION dbpatterns.tenant_schema_create(text, name, name, name, jsonb, boolean) IS
    'makes a schema for a tenant, which is like a template, and lists the tenant';

CREATE FUNCTION dbpatterns.tenant_schema_protect(tenant text) RETURNS SETOF text
LANGUAGE c VOLATILE PARALLEL UNSAFE AS 'MODULE_PATHNAME', 'dbpatterns_tenant_schema_protect';
COMMENT ON FUNCTION dbpatterns.tenant_schema_protect(text) IS
    'lets only the tenant into the tables of its schema; returns the commands';
