-- Foreign keys between tables with periods.

CREATE TABLE _dbpatterns.period_foreign_key (
    child           regclass NOT NULL,
    constraint_name name NOT NULL,
    parent          regclass NOT NULL,
    argument        text NOT NULL,      -- of the triggers
    PRIMARY KEY (child, constraint_name)
);
SELECT pg_catalog.pg_extension_config_dump('_dbpatterns.period_foreign_key', '');

CREATE FUNCTION dbpatterns.period_foreign_trigger() RETURNS trigger
LANGUAGE c AS 'MODULE_PATHNAME', 'dbpatterns_period_foreign_trigger';
COMMENT ON FUNCTION dbpatterns.period_foreign_trigger() IS
    'trigger function of foreign keys between periods; period_foreign_key creates its triggers';

CREATE FUNCTION dbpatterns.period_foreign_key(
    child regclass,
    columns name[],
    parent regclass,
    parent_columns name[] DEFAULT NULL,
    on_delete text DEFAULT 'no action',
    on_update text DEFAULT 'no action',
    constraint_name name DEFAULT NULL)
RETURNS name
LANGUAGE c VOLATILE PARALLEL UNSAFE AS 'MODULE_PATHNAME', 'dbpatterns_period_foreign_key';
COMMENT ON FUNCTION dbpatterns.period_foreign_key(regclass, name[], regclass, name[], text, text, name) IS
    'makes rows refer to rows of another table all the time that they hold';

CREATE FUNCTION dbpatterns.period_foreign_key_drop(child regclass, constraint_name name) RETURNS void
LANGUAGE c VOLATILE PARALLEL UNSAFE AS 'MODULE_PATHNAME', 'dbpatterns_period_foreign_key_drop';
COMMENT ON FUNCTION dbpatterns.period_foreign_key_drop(regclass, name) IS
    'drops a foreign key between tables with periods';
