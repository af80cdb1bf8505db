-- Migrations over all tenants that have a schema of their own.

CREATE TABLE _dbpatterns.tenant_version (
    version    text PRIMARY KEY,
    sql        text NOT NULL,
    created_at timestamptz NOT NULL DEFAULT pg_catalog.clock_timestamp()
);
COMMENT ON TABLE _dbpatterns.tenant_version IS 'migrations, by version';
SELECT pg_catalog.pg_extension_config_dump('_dbpatterns.tenant_version', '');

CREATE TABLE _dbpatterns.tenant_migration (
    place       name NOT NULL,
    version     text NOT NULL REFERENCES _dbpatterns.tenant_version,
    state       text NOT NULL CHECK (state OPERATOR(pg_catalog.=) ANY ('{done,failed}'::pg_catalog.text[])),
    sqlstate    text,
    error       text,
    finished_at timestamptz NOT NULL DEFAULT pg_catalog.clock_timestamp(),
    PRIMARY KEY (place, version)
);
COMMENT ON TABLE _dbpatterns.tenant_migration IS 'which schema is at which version';
SELECT pg_catalog.pg_extension_config_dump('_dbpatterns.tenant_migration', '');

CREATE PROCEDURE dbpatterns.tenant_migrate(
    version text,
    sql text,
    on_error text DEFAULT 'stop',
    batch integer DEFAULT NULL)
LANGUAGE c AS 'MODULE_PATHNAME', 'dbpatterns_tenant_migrate';
COMMENT ON PROCEDURE dbpatterns.tenant_migrate(text, text, text, integer) IS
    'runs SQL in the schema of each tenant, each in a transaction of its own, and goes on where it stopped';

CREATE VIEW dbpatterns.tenant_migrations AS
WITH places (place, tenant, state) AS (
    SELECT t.place, t.id, t.state FROM dbpatterns.tenant t WHERE t.model OPERATOR(pg_catalog.=) 'schema'
    UNION ALL
    SELECT DISTINCT t.template, NULL, 'template' FROM dbpatterns.tenant t
    WHERE t.model OPERATOR(pg_catalog.=) 'schema'
      AND EXISTS (SELECT FROM pg_catalog.pg_namespace n WHERE n.nspname OPERATOR(pg_catalog.=) t.template)
      AND NOT EXISTS (SELECT FROM dbpatterns.tenant o WHERE o.model OPERATOR(pg_catalog.=) 'schema'
                      AND o.place OPERATOR(pg_catalog.=) t.template))
SELECT p.tenant, p.place AS schema, p.state AS tenant_state, v.version,
       coalesce(m.state, 'to do') AS state, m.sqlstate, m.error, m.finished_at
FROM places p
CROSS JOIN _dbpatterns.tenant_version v
LEFT JOIN _dbpatterns.tenant_migration m
  ON m.place OPERATOR(pg_catalog.=) p.place AND m.version OPERATOR(pg_catalog.=) v.version;
COMMENT ON VIEW dbpatterns.tenant_migrations IS
    'which schema is at which version, templates included, which have no tenant';
