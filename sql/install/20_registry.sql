-- Registry: which table carries which pattern.  It lists and never decides:
-- what a trigger needs travels in its arguments.

CREATE TABLE _dbpatterns.pattern (
    pattern  name PRIMARY KEY,
    position integer NOT NULL UNIQUE
);
COMMENT ON TABLE _dbpatterns.pattern IS
    'patterns this version knows; dbpatterns.<pattern>_check can be called with a regclass for each';

CREATE TABLE _dbpatterns.registry (
    target     regclass NOT NULL,
    pattern    name NOT NULL REFERENCES _dbpatterns.pattern,
    options    jsonb NOT NULL,
    enabled_at timestamptz NOT NULL DEFAULT pg_catalog.clock_timestamp(),
    enabled_by text NOT NULL DEFAULT session_user,
    PRIMARY KEY (target, pattern)
);
SELECT pg_catalog.pg_extension_config_dump('_dbpatterns.registry', '');

CREATE VIEW dbpatterns.status AS
SELECT r.target,
       pg_catalog.array_agg(r.pattern ORDER BY p.position) AS patterns,
       pg_catalog.jsonb_object_agg(r.pattern, r.options) AS options,
       pg_catalog.min(r.enabled_at) AS since
FROM _dbpatterns.registry r
JOIN _dbpatterns.pattern p ON p.pattern OPERATOR(pg_catalog.=) r.pattern
GROUP BY r.target;
COMMENT ON VIEW dbpatterns.status IS 'every table that carries a pattern, with its patterns and their options';

CREATE FUNCTION dbpatterns."check"(
    target regclass DEFAULT NULL,
    OUT pattern name, OUT severity text, OUT object text, OUT problem text, OUT remedy text)
RETURNS SETOF record
LANGUAGE c VOLATILE AS 'MODULE_PATHNAME', 'dbpatterns_check';
COMMENT ON FUNCTION dbpatterns."check"(regclass) IS
    'findings of every pattern, worst first; NULL checks every table';

-- Progress of long work.  Procedures commit in batches, so a plain row is
-- visible to others while the work goes on.  What an error leaves behind is
-- hidden: the process is no longer at that statement.
CREATE UNLOGGED TABLE _dbpatterns.progress (
    pid        integer NOT NULL,
    statement_start timestamptz NOT NULL,
    operation  text NOT NULL,
    target     text,
    done       bigint NOT NULL DEFAULT 0,
    total      bigint,
    started_at timestamptz NOT NULL DEFAULT pg_catalog.clock_timestamp(),
    updated_at timestamptz NOT NULL DEFAULT pg_catalog.clock_timestamp(),
    PRIMARY KEY (pid)
);

CREATE VIEW dbpatterns.progress AS
SELECT p.pid, p.operation, p.target, p.done, p.total, p.started_at, p.updated_at
FROM _dbpatterns.progress p
JOIN pg_catalog.pg_stat_get_activity(NULL) a
  ON a.pid OPERATOR(pg_catalog.=) p.pid
 AND a.query_start OPERATOR(pg_catalog.=) p.statement_start
 AND a.state OPERATOR(pg_catalog.=) 'active';
COMMENT ON VIEW dbpatterns.progress IS 'long work of dbpatterns that is going on now, with what is done and what is to do';

-- One event trigger each for all patterns: the C code hands the commands to
-- the modules that asked for them.
CREATE FUNCTION _dbpatterns.on_ddl_command_end() RETURNS event_trigger
LANGUAGE c AS 'MODULE_PATHNAME', 'dbpatterns_on_ddl_command_end';
COMMENT ON FUNCTION _dbpatterns.on_ddl_command_end() IS 'keeps patterns in step with ALTER and CREATE';

CREATE FUNCTION _dbpatterns.on_sql_drop() RETURNS event_trigger
LANGUAGE c AS 'MODULE_PATHNAME', 'dbpatterns_on_sql_drop';
COMMENT ON FUNCTION _dbpatterns.on_sql_drop() IS 'keeps patterns in step with DROP';

CREATE EVENT TRIGGER dbpatterns_ddl_command_end ON ddl_command_end
    -- ALTER INDEX, for it renames tables as well.
    WHEN TAG IN ('ALTER TABLE', 'ALTER INDEX', 'CREATE TABLE', 'ALTER FOREIGN TABLE', 'CREATE FOREIGN TABLE',
                 'ALTER SCHEMA', 'CREATE SCHEMA', 'CREATE TRIGGER', 'ALTER TRIGGER', 'ALTER TYPE',
                 'CREATE TABLE AS', 'SELECT INTO', 'CREATE POLICY', 'ALTER POLICY')
    EXECUTE FUNCTION _dbpatterns.on_ddl_command_end();
CREATE EVENT TRIGGER dbpatterns_sql_drop ON sql_drop
    EXECUTE FUNCTION _dbpatterns.on_sql_drop();
