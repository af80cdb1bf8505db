-- Editing what holds during a portion of time.
CREATE FUNCTION dbpatterns.portion_update(
    target regclass,
    key jsonb,
    portion text,
    set jsonb)
RETURNS bigint
LANGUAGE c VOLATILE PARALLEL UNSAFE AS 'MODULE_PATHNAME', 'dbpatterns_portion_update';
COMMENT ON FUNCTION dbpatterns.portion_update(regclass, jsonb, text, jsonb) IS
    'sets columns during a portion of time; returns how many rows it changed';

CREATE FUNCTION dbpatterns.portion_update(
    target regclass,
    key jsonb,
    portion anyrange,
    set jsonb)
RETURNS bigint
LANGUAGE c VOLATILE PARALLEL UNSAFE AS 'MODULE_PATHNAME', 'dbpatterns_portion_update';
COMMENT ON FUNCTION dbpatterns.portion_update(regclass, jsonb, anyrange, jsonb) IS
    'sets columns during a portion of time; returns how many rows it changed';

CREATE FUNCTION dbpatterns.portion_delete(
    target regclass,
    key jsonb,
    portion text)
RETURNS bigint
LANGUAGE c VOLATILE PARALLEL UNSAFE AS 'MODULE_PATHNAME', 'dbpatterns_portion_delete';
COMMENT ON FUNCTION dbpatterns.portion_delete(regclass, jsonb, text) IS
    'removes what holds during a portion of time; returns how many rows it changed or deleted';

CREATE FUNCTION dbpatterns.portion_delete(
    target regclass,
    key jsonb,
    portion anyrange)
RETURNS bigint
LANGUAGE c VOLATILE PARALLEL UNSAFE AS 'MODULE_PATHNAME', 'dbpatterns_portion_delete';
COMMENT ON FUNCTION dbpatterns.portion_delete(regclass, jsonb, anyrange) IS
    'removes what holds during a portion of time; returns how many rows it changed or deleted';

CREATE FUNCTION dbpatterns.portion_upsert(
    target regclass,
    "row" jsonb,
    portion text)
RETURNS bigint
LANGUAGE c VOLATILE PARALLEL UNSAFE AS 'MODULE_PATHNAME', 'dbpatterns_portion_upsert';
COMMENT ON FUNCTION dbpatterns.portion_upsert(regclass, jsonb, text) IS
    'sets columns during a portion of time, also where there was no row; returns how many rows it changed or inserted';

CREATE FUNCTION dbpatterns.portion_upsert(
    target regclass,
    "row" jsonb,
    portion anyrange)
RETURNS bigint
LANGUAGE c VOLATILE PARALLEL UNSAFE AS 'MODULE_PATHNAME', 'dbpatterns_portion_upsert';
COMMENT ON FUNCTION dbpatterns.portion_upsert(regclass, jsonb, anyrange) IS
    'sets columns during a portion of time, also where there was no row; returns how many rows it changed or inserted';

-- Plain SQL edits portions through a view.
CREATE FUNCTION dbpatterns.portion_trigger() RETURNS trigger
LANGUAGE c AS 'MODULE_PATHNAME', 'dbpatterns_portion_trigger';
COMMENT ON FUNCTION dbpatterns.portion_trigger() IS
    'trigger function of views for portions; portion_view_enable creates its trigger';

CREATE FUNCTION dbpatterns.portion_view_enable(target regclass) RETURNS void
LANGUAGE c VOLATILE PARALLEL UNSAFE AS 'MODULE_PATHNAME', 'dbpatterns_portion_view_enable';
COMMENT ON FUNCTION dbpatterns.portion_view_enable(regclass) IS
    'makes a view of a table whose UPDATE and DELETE edit portions of time';

CREATE FUNCTION dbpatterns.portion_view_disable(target regclass) RETURNS void
LANGUAGE c VOLATILE PARALLEL UNSAFE AS 'MODULE_PATHNAME', 'dbpatterns_portion_view_disable';
COMMENT ON FUNCTION dbpatterns.portion_view_disable(regclass) IS
    'drops the view of a table that edits portions of time';
