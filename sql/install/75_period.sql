-- Application time: each row holds for a period, and rows of one key never overlap.

INSERT INTO _dbpatterns.pattern VALUES ('period', 30);

CREATE FUNCTION dbpatterns.period_trigger() RETURNS trigger
LANGUAGE c AS 'MODULE_PATHNAME', 'dbpatterns_period_trigger';
COMMENT ON FUNCTION dbpatterns.period_trigger() IS
    'trigger function of tables with a period; period_enable creates its trigger';

CREATE FUNCTION dbpatterns.period_enable(
    target regclass,
    key name[],
    period name DEFAULT NULL,
    from_column name DEFAULT NULL,
    to_column name DEFAULT NULL,
    is_deferrable boolean DEFAULT true)
RETURNS void
LANGUAGE c VOLATILE PARALLEL UNSAFE AS 'MODULE_PATHNAME', 'dbpatterns_period_enable';
COMMENT ON FUNCTION dbpatterns.period_enable(regclass, name[], name, name, name, boolean) IS
    'gives a table a period: rows of one key never hold at the same time';

CREATE FUNCTION dbpatterns.period_disable(target regclass) RETURNS void
LANGUAGE c VOLATILE PARALLEL UNSAFE AS 'MODULE_PATHNAME', 'dbpatterns_period_disable';
COMMENT ON FUNCTION dbpatterns.period_disable(regclass) IS
    'lets rows of a table overlap again';

CREATE FUNCTION dbpatterns.period_check(
    target regclass DEFAULT NULL,
    OUT severity text, OUT object text, OUT problem text, OUT remedy text)
RETURNS SETOF record
LANGUAGE c VOLATILE PARALLEL UNSAFE AS 'MODULE_PATHNAME', 'dbpatterns_period_check';
COMMENT ON FUNCTION dbpatterns.period_check(regclass) IS
    'findings about tables with a period; NULL checks all of them';

CREATE VIEW dbpatterns.period_status AS
SELECT r.target, r.options OPERATOR(pg_catalog.->) 'key' AS key,
       r.options OPERATOR(pg_catalog.->>) 'period' AS period,
       r.options OPERATOR(pg_catalog.->>) 'from' AS from_column,
       r.options OPERATOR(pg_catalog.->>) 'to' AS to_column,
       r.options OPERATOR(pg_catalog.->>) 'constraint' AS constraint_name,
       r.enabled_at, r.enabled_by
FROM _dbpatterns.registry r
WHERE r.pattern OPERATOR(pg_catalog.=) 'period';
COMMENT ON VIEW dbpatterns.period_status IS 'tables with a period';

CREATE FUNCTION dbpatterns.timeline(target regclass, key jsonb, OUT period text, OUT "row" jsonb)
RETURNS SETOF record
LANGUAGE c STABLE PARALLEL UNSAFE AS 'MODULE_PATHNAME', 'dbpatterns_timeline';
COMMENT ON FUNCTION dbpatterns.timeline(regclass, jsonb) IS 'the rows of one key in order of time';

CREATE FUNCTION dbpatterns.gaps(target regclass, key jsonb, within text DEFAULT NULL, OUT period text)
RETURNS SETOF text
LANGUAGE c STABLE PARALLEL UNSAFE AS 'MODULE_PATHNAME', 'dbpatterns_gaps';
COMMENT ON FUNCTION dbpatterns.gaps(regclass, jsonb, text) IS 'the periods in which no row of a key holds';

CREATE FUNCTION dbpatterns.coalesce_periods(target regclass, key jsonb) RETURNS bigint
LANGUAGE c VOLATILE PARALLEL UNSAFE AS 'MODULE_PATHNAME', 'dbpatterns_coalesce_periods';
COMMENT ON FUNCTION dbpatterns.coalesce_periods(regclass, jsonb) IS
    'makes one row of rows of a key that follow each other and are equal';
