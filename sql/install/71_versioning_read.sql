-- The past of versioned tables.  Each table has functions of its own besides.

CREATE FUNCTION dbpatterns.as_of() RETURNS timestamptz
LANGUAGE c STABLE PARALLEL SAFE AS 'MODULE_PATHNAME', 'dbpatterns_as_of';
COMMENT ON FUNCTION dbpatterns.as_of() IS
    'the time that dbpatterns.as_of is set to, infinity for the present';

CREATE FUNCTION dbpatterns.versioning_views(schema name, targets regclass[] DEFAULT NULL)
RETURNS integer
LANGUAGE c VOLATILE PARALLEL UNSAFE AS 'MODULE_PATHNAME', 'dbpatterns_versioning_views';
COMMENT ON FUNCTION dbpatterns.versioning_views(name, regclass[]) IS
    'makes views of versioned tables that show them at the time in dbpatterns.as_of';

CREATE FUNCTION dbpatterns.row_history(
    target regclass, key jsonb,
    OUT period tstzrange, OUT op text, OUT "row" jsonb, OUT changed text[])
RETURNS SETOF record
LANGUAGE c STABLE PARALLEL UNSAFE AS 'MODULE_PATHNAME', 'dbpatterns_row_history';
COMMENT ON FUNCTION dbpatterns.row_history(regclass, jsonb) IS
    'what became of one row of a versioned table';

CREATE FUNCTION dbpatterns.restore_as_of(target regclass, key jsonb, at timestamptz)
RETURNS bigint
LANGUAGE c VOLATILE PARALLEL UNSAFE AS 'MODULE_PATHNAME', 'dbpatterns_restore_as_of';
COMMENT ON FUNCTION dbpatterns.restore_as_of(regclass, jsonb, timestamptz) IS
    'makes one row of a versioned table what it was at a time';

CREATE FUNCTION dbpatterns.history_erase(target regclass, key jsonb, reason text)
RETURNS bigint
LANGUAGE c VOLATILE PARALLEL UNSAFE AS 'MODULE_PATHNAME', 'dbpatterns_history_erase';
COMMENT ON FUNCTION dbpatterns.history_erase(regclass, jsonb, text) IS
    'removes the old versions of one row for good';
