-- Versioned tables: every row has a period of system time, old versions are kept.

INSERT INTO _dbpatterns.pattern VALUES ('versioning', 70);

-- Lists versioned tables with their histories, by OID, so that renames are
-- followed; what the triggers need travels in their argument.  columns is how many
-- the table had, dropped ones too, when its history was brought in line.
CREATE TABLE _dbpatterns.versioning (
    target       regclass PRIMARY KEY,
    history      regclass NOT NULL,
    columns      smallint NOT NULL,
    partition_by interval,
    keep         interval
);
CREATE INDEX versioning_history ON _dbpatterns.versioning (history);
SELECT pg_catalog.pg_extension_config_dump('_dbpatterns.versioning', '');

-- What history_erase removed; not whose.
CREATE TABLE _dbpatterns.versioning_erasure (
    target    text NOT NULL,
    reason    text NOT NULL,
    versions  bigint NOT NULL,
    erased_at timestamptz NOT NULL DEFAULT pg_catalog.now(),
    erased_by text NOT NULL DEFAULT session_user
);
SELECT pg_catalog.pg_extension_config_dump('_dbpatterns.versioning_erasure', '');

CREATE FUNCTION dbpatterns.versioning_trigger() RETURNS trigger
LANGUAGE c AS 'MODULE_PATHNAME', 'dbpatterns_versioning_trigger';
COMMENT ON FUNCTION dbpatterns.versioning_trigger() IS
    'trigger function of versioned tables; versioning_enable creates its triggers';

CREATE FUNCTION dbpatterns.versioning_enable(
    target regclass,
    history text DEFAULT NULL,
    period name DEFAULT 'sys_period',
    time_source text DEFAULT 'transaction',
    same_transaction text DEFAULT 'first',
    on_newer text DEFAULT 'adjust',
    ignore_unchanged boolean DEFAULT true,
    exclude name[] DEFAULT '{}',
    on_truncate text DEFAULT 'error',
    partition_by interval DEFAULT NULL,
    keep interval DEFAULT NULL)
RETURNS regclass
LANGUAGE c VOLATILE PARALLEL UNSAFE AS 'MODULE_PATHNAME', 'dbpatterns_versioning_enable';
COMMENT ON FUNCTION dbpatterns.versioning_enable(regclass, text, name, text, text, text, boolean, name[], text, interval, interval) IS
    'keeps old versions of the rows of a table from now on';

CREATE FUNCTION dbpatterns.versioning_disable(target regclass, keep_history boolean DEFAULT true)
RETURNS void
LANGUAGE c VOLATILE PARALLEL UNSAFE AS 'MODULE_PATHNAME', 'dbpatterns_versioning_disable';
COMMENT ON FUNCTION dbpatterns.versioning_disable(regclass, boolean) IS
    'stops keeping versions of a table';

CREATE FUNCTION dbpatterns.versioning_check(
    target regclass DEFAULT NULL,
    OUT severity text, OUT object text, OUT problem text, OUT remedy text)
RETURNS SETOF record
LANGUAGE c VOLATILE PARALLEL UNSAFE AS 'MODULE_PATHNAME', 'dbpatterns_versioning_check';
COMMENT ON FUNCTION dbpatterns.versioning_check(regclass) IS
    'findings about versioned tables; NULL checks all of them';

CREATE VIEW dbpatterns.versioning_status AS
SELECT v.target, v.history, r.options OPERATOR(pg_catalog.->>) 'period' AS period,
       v.partition_by, v.keep, r.options, r.enabled_at, r.enabled_by
FROM _dbpatterns.versioning v
JOIN _dbpatterns.registry r
  ON r.target OPERATOR(pg_catalog.=) v.target
 AND r.pattern OPERATOR(pg_catalog.=) 'versioning';
COMMENT ON VIEW dbpatterns.versioning_status IS 'versioned tables, their histories and options';

CREATE PROCEDURE dbpatterns.versioning_run(target regclass DEFAULT NULL)
LANGUAGE c AS 'MODULE_PATHNAME', 'dbpatterns_versioning_run';
COMMENT ON PROCEDURE dbpatterns.versioning_run(regclass) IS
    'makes the partitions of histories and removes versions that are too old; NULL: of all tables';

CREATE PROCEDURE dbpatterns.history_purge(
    target regclass, older_than interval, batch_rows bigint DEFAULT 10000)
LANGUAGE c AS 'MODULE_PATHNAME', 'dbpatterns_history_purge';
COMMENT ON PROCEDURE dbpatterns.history_purge(regclass, interval, bigint) IS
    'removes versions of a table that ended longer ago than that';
