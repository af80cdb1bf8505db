-- Migrations over all tenants that have a schema or a database of their own.

CREATE TABLE _dbpatterns.tenant_version (
    version    text PRIMARY KEY,
    sql        text NOT NULL,
    created_at timestamptz NOT NULL DEFAULT pg_catalog.clock_timestamp()
);
COMMENT ON TABLE _dbpatterns.tenant_version IS 'migrations, by version';
SELECT pg_catalog.pg_extension_config_dump('_dbpatterns.tenant_version', '');

CREATE TABLE _dbpatterns.tenant_migration (
    model       text NOT NULL,
    place       name NOT NULL,
    version     text NOT NULL REFERENCES _dbpatterns.tenant_version,
    state       text NOT NULL CHECK (state OPERATOR(pg_catalog.=) ANY ('{done,failed}'::pg_catalog.text[])),
    sqlstate    text,
    error       text,
    finished_at timestamptz NOT NULL DEFAULT pg_catalog.clock_timestamp(),
    PRIMARY KEY (model, place, version)
);
COMMENT ON TABLE _dbpatterns.tenant_migration IS 'which schema and which database is at which version';
SELECT pg_catalog.pg_extension_config_dump('_dbpatterns.tenant_migration', '');

CREATE PROCEDURE dbpatterns.tenant_migrate(
    version text,
    sql text,
    on_error text DEFAULT 'stop',
    batch integer DEFAULT NULL)
LANGUAGE c AS 'MODULE_PATHNAME', 'dbpatterns_tenant_migrate';
COMMENT ON PROCEDURE dbpatterns.tenant_migrate(text, text, text, integer) IS
    'runs SQL in the schema or database of each tenant, a transaction each, and goes on where it stopped';

CREATE VIEW dbpatterns.tenant_migrations AS
WITH places (model, place, tenant, state) AS (
    SELECT t.model, t.place, t.id, t.state FROM dbpatterns.tenant t
    WHERE t.model OPERATOR(pg_catalog.<>) 'row'
    UNION ALL
    SELECT DISTINCT t.model, t.template, NULL, 'template' FROM dbpatterns.tenant t
    WHERE CASE t.model
          WHEN 'schema' THEN EXISTS (SELECT FROM pg_catalog.pg_namespace n
                                     WHERE n.nspname OPERATOR(pg_catalog.=) t.template)
          WHEN 'database' THEN EXISTS (SELECT FROM pg_catalog.pg_database d
                                       WHERE d.datname OPERATOR(pg_catalog.=) t.template AND d.datallowconn)
          END
      AND NOT EXISTS (SELECT FROM dbpatterns.tenant o WHERE o.model OPERATOR(pg_catalog.=) t.model
                      AND o.place OPERATOR(pg_catalog.=) t.template))
SELECT p.tenant, p.model, p.place, p.state AS tenant_state, v.version,
       coalesce(m.state, 'to do') AS state, m.sqlstate, m.error, m.finished_at
FROM places p
CROSS JOIN _dbpatterns.tenant_version v
LEFT JOIN _dbpatterns.tenant_migration m
  ON m.model OPERATOR(pg_catalog.=) p.model AND m.place OPERATOR(pg_catalog.=) p.place
 AND m.version OPERATOR(pg_catalog.=) v.version;
COMMENT ON VIEW dbpatterns.tenant_migrations IS
    'which schema and which database is at which version, templates included, which have no tenant';
