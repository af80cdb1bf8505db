-- Audit trail: one append-only log for all audited tables.

INSERT INTO _dbpatterns.pattern VALUES ('audit', 80);

-- Identity of an audited table that outlives rename, dump and restore.
-- target is NULL once the table is dropped, and for temporary tables, which
-- are known by name only (their OIDs mean nothing in a dump).  coverage is
-- what its triggers log, and what those of its partitions do that were once
-- unlike it, by name ("" for the table): the last markers say the same.
CREATE TABLE _dbpatterns.audit_relation (
    relation integer GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    target   regclass UNIQUE,
    temporary_name name UNIQUE,
    coverage jsonb
);
SELECT pg_catalog.pg_extension_config_dump('_dbpatterns.audit_relation', '');
SELECT pg_catalog.pg_extension_config_dump('_dbpatterns.audit_relation_relation_seq', '');

-- Every layout an audited table has had: one row each time a name, a column,
-- a type or the key changes.  Log entries point here, so that old entries
-- stay readable.  columns[i] has type types[i], attribute number attnums[i]
-- in relation OID table_oid, and the lasting column number numbers[i], which
-- a rename does not change.
CREATE TABLE _dbpatterns.audit_shape (
    shape       integer GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    relation    integer NOT NULL,
    schema_name name NOT NULL,
    table_name  name NOT NULL,
    table_oid   bigint NOT NULL,
    columns     name[] NOT NULL,
    types       text[] NOT NULL,
    attnums     smallint[] NOT NULL,
    numbers     smallint[] NOT NULL,
    key         name[] NOT NULL,
    since       timestamptz NOT NULL DEFAULT pg_catalog.clock_timestamp()
);
CREATE INDEX audit_shape_relation ON _dbpatterns.audit_shape (relation, shape);
SELECT pg_catalog.pg_extension_config_dump('_dbpatterns.audit_shape', '');
SELECT pg_catalog.pg_extension_config_dump('_dbpatterns.audit_shape_shape_seq', '');

-- Entry numbers.  A batch of at most 1024 entries takes one number when it
-- is written, while the rows it speaks of are still locked; so entries of one
-- row are numbered in the order the row was changed, whatever the clocks of
-- the transactions say.
CREATE SEQUENCE _dbpatterns.audit_id INCREMENT BY 1024 MINVALUE 1024 START 1024;
SELECT pg_catalog.pg_extension_config_dump('_dbpatterns.audit_id', '');

-- The log.  Fixed-width columns first; names live in audit_shape.  Who and when
-- is with the entry, if it is the only one; otherwise in a row of its own
-- (op W, row_key 0x7000000000000000 + txn), which holds for the entries of the
-- transaction with greater numbers, up to the next such row.
CREATE TABLE _dbpatterns.audit_log (
    xact_time        timestamptz NOT NULL,  -- transaction start, the partition key
    id               bigint NOT NULL,       -- order of changes
    txn              bigint NOT NULL,       -- number of the transaction: the first it drew
    statement_time   timestamptz,           -- statement start; NULL: the same
    row_key          bigint,                -- identity of relation and key; NULL without a key
    old_row_key      bigint,                -- only when the change altered the key
    shape            integer NOT NULL,
    op               "char" NOT NULL,       -- I U D T, M = marker, W = who
    old              jsonb,                 -- D: the row; U: its changed columns
    new              jsonb,                 -- I: the row; U: its key and changed columns
    xid              xid8,                  -- not NULL: this and the rest say who and when
    query_id         bigint,
    pid              integer,
    client_addr      inet,
    login_role       text,                  -- authenticated as
    session_role     text,                  -- after SET SESSION AUTHORIZATION
    set_role         text,                  -- after SET ROLE
    effective_role   text,                  -- inside SECURITY DEFINER functions
    application_name text,
    context          jsonb
) PARTITION BY RANGE (xact_time);

-- Rows that no partition takes: a failed DML for want of a partition is
-- worse than a partition to be drained (audit_run does that).
CREATE TABLE _dbpatterns.audit_log_default PARTITION OF _dbpatterns.audit_log DEFAULT;

-- Each partition has indexes of its own, made like those of the default one.
-- Were they parts of an index on the whole, pg_dump would make them twice: it
-- knows the partitions, which are no members of the extension, but not the
-- index they would get by being attached.
CREATE INDEX audit_log_row_key ON _dbpatterns.audit_log_default (row_key);
CREATE INDEX audit_log_old_row_key ON _dbpatterns.audit_log_default (old_row_key) WHERE old_row_key IS NOT NULL;
CREATE INDEX audit_log_order ON _dbpatterns.audit_log_default USING brin (xact_time, id, txn) WITH (autosummarize = on);
-- Its first range is summarized while empty; each insert would widen that.
SELECT pg_catalog.brin_desummarize_range('_dbpatterns.audit_log_order', 0);
SELECT pg_catalog.pg_extension_config_dump('_dbpatterns.audit_log_default', '');

CREATE FUNCTION _dbpatterns.audit_guard() RETURNS trigger
LANGUAGE c AS 'MODULE_PATHNAME', 'dbpatterns_audit_guard';
COMMENT ON FUNCTION _dbpatterns.audit_guard() IS 'refuses UPDATE, DELETE and TRUNCATE on the audit log';

CREATE TRIGGER dbpatterns_guard BEFORE UPDATE OR DELETE ON _dbpatterns.audit_log
    FOR EACH ROW EXECUTE FUNCTION _dbpatterns.audit_guard();
CREATE TRIGGER dbpatterns_guard_truncate BEFORE TRUNCATE ON _dbpatterns.audit_log
    FOR EACH STATEMENT EXECUTE FUNCTION _dbpatterns.audit_guard();
CREATE TRIGGER dbpatterns_guard_truncate BEFORE TRUNCATE ON _dbpatterns.audit_log_default
    FOR EACH STATEMENT EXECUTE FUNCTION _dbpatterns.audit_guard();
CREATE FUNCTION dbpatterns.audit_trigger() RETURNS trigger
LANGUAGE c AS 'MODULE_PATHNAME', 'dbpatterns_audit_trigger';
COMMENT ON FUNCTION dbpatterns.audit_trigger() IS
    'trigger function of the audit trail; audit_enable creates its triggers';

CREATE FUNCTION dbpatterns.audit_enable(
    target regclass,
    exclude name[] DEFAULT '{}',
    redact name[] DEFAULT '{}',
    capture text DEFAULT 'diff',
    operations text DEFAULT 'IUDT',
    key name[] DEFAULT NULL,
    truncate_rows boolean DEFAULT false,
    fire text DEFAULT 'origin')
RETURNS void
LANGUAGE c VOLATILE AS 'MODULE_PATHNAME', 'dbpatterns_audit_enable';
COMMENT ON FUNCTION dbpatterns.audit_enable(regclass, name[], name[], text, text, name[], boolean, text) IS
    'logs every change of a table from now on';

CREATE FUNCTION dbpatterns.audit_disable(target regclass) RETURNS void
LANGUAGE c VOLATILE AS 'MODULE_PATHNAME', 'dbpatterns_audit_disable';
COMMENT ON FUNCTION dbpatterns.audit_disable(regclass) IS
    'stops logging changes of a table; its log entries stay';

CREATE FUNCTION dbpatterns.audit_check(
    target regclass DEFAULT NULL,
    OUT severity text, OUT object text, OUT problem text, OUT remedy text)
RETURNS SETOF record
LANGUAGE c VOLATILE AS 'MODULE_PATHNAME', 'dbpatterns_audit_check';
COMMENT ON FUNCTION dbpatterns.audit_check(regclass) IS
    'what stands between a table and a complete audit trail';

CREATE FUNCTION dbpatterns.audit_set_context(context jsonb) RETURNS void
LANGUAGE c VOLATILE AS 'MODULE_PATHNAME', 'dbpatterns_audit_set_context';
COMMENT ON FUNCTION dbpatterns.audit_set_context(jsonb) IS
    'attaches application facts (user, request) to the audit entries of this transaction';

CREATE FUNCTION dbpatterns.audit_flush() RETURNS void
LANGUAGE c VOLATILE AS 'MODULE_PATHNAME', 'dbpatterns_audit_flush';
COMMENT ON FUNCTION dbpatterns.audit_flush() IS
    'writes the waiting entries of this transaction, so that it sees them in audit_entries';

CREATE PROCEDURE dbpatterns.audit_run(
    every interval DEFAULT '1 month',
    ahead interval DEFAULT '3 months',
    keep interval DEFAULT NULL)
LANGUAGE c AS 'MODULE_PATHNAME', 'dbpatterns_audit_run';
COMMENT ON PROCEDURE dbpatterns.audit_run(interval, interval, interval) IS
    'creates log partitions ahead of time, drains the default one, purges what is older than keep';

CREATE PROCEDURE dbpatterns.audit_purge(before timestamptz)
LANGUAGE c AS 'MODULE_PATHNAME', 'dbpatterns_audit_purge';
COMMENT ON PROCEDURE dbpatterns.audit_purge(timestamptz) IS
    'removes log entries of transactions that began before a time';

-- Every entry with its names and its who and when.  It shows all tables to
-- whoever may read it: grant it to auditors only.
CREATE VIEW dbpatterns.audit_entries AS
SELECT e.id,
       e.txn AS transaction,
       coalesce(e.xid, w.xid) AS xid,
       e.xact_time,
       coalesce(e.statement_time, e.xact_time) AS statement_time,
       r.target,
       s.schema_name,
       s.table_name,
       e.op,
       e.old,
       e.new,
       coalesce(e.login_role, w.login_role) AS login_role,
       coalesce(e.session_role, w.session_role) AS session_role,
       coalesce(e.set_role, w.set_role) AS set_role,
       coalesce(e.effective_role, w.effective_role) AS effective_role,
       coalesce(e.application_name, w.application_name) AS application_name,
       coalesce(e.client_addr, w.client_addr) AS client_addr,
       coalesce(e.pid, w.pid) AS pid,
       coalesce(e.query_id, w.query_id) AS query_id,
       coalesce(e.context, w.context) AS context
FROM _dbpatterns.audit_log e
LEFT JOIN _dbpatterns.audit_shape s ON s.shape OPERATOR(pg_catalog.=) e.shape
LEFT JOIN _dbpatterns.audit_relation r ON r.relation OPERATOR(pg_catalog.=) s.relation
LEFT JOIN LATERAL (
    SELECT x.*
    FROM _dbpatterns.audit_log x
    WHERE e.xid IS NULL
      AND x.xact_time OPERATOR(pg_catalog.=) e.xact_time
      AND x.row_key OPERATOR(pg_catalog.=) (e.txn OPERATOR(pg_catalog.+) x'7000000000000000'::bigint)
      AND x.op OPERATOR(pg_catalog.=) 'W'
      AND x.id OPERATOR(pg_catalog.<) e.id
    ORDER BY x.id DESC
    LIMIT 1) w ON true
WHERE e.op OPERATOR(pg_catalog.<>) 'W';
COMMENT ON VIEW dbpatterns.audit_entries IS
    'the whole audit log in readable form, names as they were when the entry was written; for auditors';

CREATE VIEW dbpatterns.audit_status AS
SELECT g.target,
       g.options,
       g.enabled_at,
       g.enabled_by,
       pg_catalog.count(t.oid) FILTER (WHERE t.tgenabled OPERATOR(pg_catalog.=) ANY ('{O,A}'::pg_catalog."char"[]))
           OPERATOR(pg_catalog.=)
           CASE WHEN pg_catalog.strpos(g.options OPERATOR(pg_catalog.->>) 'operations', 'T') OPERATOR(pg_catalog.>) 0
                THEN 2 ELSE 1 END AS active
FROM _dbpatterns.registry g
LEFT JOIN pg_catalog.pg_trigger t
  ON t.tgrelid OPERATOR(pg_catalog.=) g.target
 AND t.tgfoid OPERATOR(pg_catalog.=) 'dbpatterns.audit_trigger()'::pg_catalog.regprocedure
 AND t.tgqual IS NULL
 AND t.tgname OPERATOR(pg_catalog.=) ANY ('{dbpatterns_80_audit,dbpatterns_81_audit}'::pg_catalog.name[])
WHERE g.pattern OPERATOR(pg_catalog.=) 'audit'
GROUP BY g.target, g.options, g.enabled_at, g.enabled_by;
COMMENT ON VIEW dbpatterns.audit_status IS
    'audited tables with their options, and whether their triggers are there and enabled';
