-- Audit trail: reading it.

CREATE FUNCTION dbpatterns.audit_history(
    target regclass,
    key jsonb,
    since timestamptz DEFAULT NULL,
    until timestamptz DEFAULT NULL)
RETURNS TABLE (
    id bigint,
    transaction bigint,
    at timestamptz,
    statement_at timestamptz,
    op "char",
    key jsonb,
    old jsonb,
    new jsonb,
    login_role text,
    session_role text,
    set_role text,
    effective_role text,
    application_name text,
    client_addr inet,
    context jsonb)
LANGUAGE c VOLATILE ROWS 10 AS 'MODULE_PATHNAME', 'dbpatterns_audit_history';
COMMENT ON FUNCTION dbpatterns.audit_history(regclass, jsonb, timestamptz, timestamptz) IS
    'the log entries of one row, in the order of its changes';

CREATE FUNCTION dbpatterns.audit_changes(
    target regclass,
    since timestamptz DEFAULT NULL,
    until timestamptz DEFAULT NULL,
    key jsonb DEFAULT NULL)
RETURNS TABLE (
    id bigint,
    transaction bigint,
    at timestamptz,
    op "char",
    key jsonb,
    column_name name,
    old jsonb,
    new jsonb,
    session_role text,
    set_role text,
    context jsonb)
LANGUAGE c VOLATILE AS 'MODULE_PATHNAME', 'dbpatterns_audit_changes';
COMMENT ON FUNCTION dbpatterns.audit_changes(regclass, timestamptz, timestamptz, jsonb) IS
    'the changes of a table or a row, one row per changed column';

CREATE FUNCTION dbpatterns.audit_row_at(target regclass, key jsonb, at timestamptz)
RETURNS jsonb
LANGUAGE c VOLATILE AS 'MODULE_PATHNAME', 'dbpatterns_audit_row_at';
COMMENT ON FUNCTION dbpatterns.audit_row_at(regclass, jsonb, timestamptz) IS
    'a row as it was at a time, NULL if there was none';

CREATE FUNCTION dbpatterns.audit_table_at(target regclass, at timestamptz)
RETURNS SETOF jsonb
LANGUAGE c VOLATILE AS 'MODULE_PATHNAME', 'dbpatterns_audit_table_at';
COMMENT ON FUNCTION dbpatterns.audit_table_at(regclass, timestamptz) IS
    'all rows of a table as they were at a time';

CREATE FUNCTION dbpatterns.audit_undo(transaction bigint, dry_run boolean DEFAULT true)
RETURNS TABLE (
    id bigint,
    target regclass,
    op "char",
    sql text,
    conflict text)
LANGUAGE c VOLATILE AS 'MODULE_PATHNAME', 'dbpatterns_audit_undo';
COMMENT ON FUNCTION dbpatterns.audit_undo(bigint, boolean) IS
    'undoes what a transaction did to audited tables, or tells what that would take';
