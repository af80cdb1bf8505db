-- Tenants that have a database of their own.

CREATE PROCEDURE dbpatterns.tenant_database_create(
    tenant text,
    template name,
    database name DEFAULT NULL,
    slug name DEFAULT NULL,
    limits jsonb DEFAULT '{}')
LANGUAGE c AS 'MODULE_PATHNAME', 'dbpatterns_tenant_database_create';
COMMENT ON PROCEDURE dbpatterns.tenant_database_create(text, name, name, name, jsonb) IS
    'makes a database for a tenant from a template database, and lists the tenant';

CREATE PROCEDURE dbpatterns.tenant_database_drop(tenant text)
LANGUAGE c AS 'MODULE_PATHNAME', 'dbpatterns_tenant_database_drop';
COMMENT ON PROCEDURE dbpatterns.tenant_database_drop(text) IS
    'drops the database of a suspended tenant, and takes the tenant off the list';

CREATE FUNCTION dbpatterns.tenant_route(
    tenant text,
    OUT model text, OUT dbname name, OUT schema name, OUT conninfo text)
LANGUAGE c STABLE PARALLEL UNSAFE AS 'MODULE_PATHNAME', 'dbpatterns_tenant_route';
COMMENT ON FUNCTION dbpatterns.tenant_route(text) IS
    'how to connect to the place of a tenant';

CREATE FUNCTION dbpatterns.tenant_migrate_here(version text, sql text) RETURNS boolean
LANGUAGE c VOLATILE PARALLEL UNSAFE AS 'MODULE_PATHNAME', 'dbpatterns_tenant_migrate_here';
COMMENT ON FUNCTION dbpatterns.tenant_migrate_here(text, text) IS
    'runs a migration in this database, once; tenant_migrate calls it in the databases of tenants';
