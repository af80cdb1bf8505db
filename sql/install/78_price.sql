-- Prices that hold for a time.
CREATE FUNCTION dbpatterns.price_set(
    target regclass,
    key jsonb,
    price numeric,
    "from" timestamptz,
    "to" timestamptz DEFAULT NULL,
    price_column name DEFAULT 'price',
    time_zone text DEFAULT NULL)
RETURNS bigint
LANGUAGE c VOLATILE PARALLEL UNSAFE AS 'MODULE_PATHNAME', 'dbpatterns_price_set';
COMMENT ON FUNCTION dbpatterns.price_set(regclass, jsonb, numeric, timestamptz, timestamptz, name, text) IS
    'makes a price hold for a time; returns how many rows it changed or inserted';

CREATE FUNCTION dbpatterns.price_at(
    target regclass,
    key jsonb,
    at timestamptz DEFAULT pg_catalog.now(),
    price_column name DEFAULT 'price',
    time_zone text DEFAULT NULL)
RETURNS numeric
LANGUAGE c STABLE PARALLEL RESTRICTED AS 'MODULE_PATHNAME', 'dbpatterns_price_at';
COMMENT ON FUNCTION dbpatterns.price_at(regclass, jsonb, timestamptz, name, text) IS
    'the price that holds at a time; NULL if there is none';

CREATE FUNCTION dbpatterns.price_lowest(
    target regclass,
    key jsonb,
    before timestamptz,
    lookback interval DEFAULT '30 days',
    price_column name DEFAULT 'price',
    time_zone text DEFAULT NULL)
RETURNS numeric
LANGUAGE c STABLE PARALLEL RESTRICTED AS 'MODULE_PATHNAME', 'dbpatterns_price_lowest';
COMMENT ON FUNCTION dbpatterns.price_lowest(regclass, jsonb, timestamptz, interval, name, text) IS
    'the lowest price that held during the time before a reduction';

CREATE FUNCTION dbpatterns.price_lowest_detail(
    target regclass,
    key jsonb,
    before timestamptz,
    lookback interval DEFAULT '30 days',
    price_column name DEFAULT 'price',
    time_zone text DEFAULT NULL)
RETURNS TABLE (lowest numeric, since timestamptz, window_from timestamptz, window_to timestamptz,
    gaps tstzmultirange)
LANGUAGE c STABLE PARALLEL RESTRICTED ROWS 1 AS 'MODULE_PATHNAME', 'dbpatterns_price_lowest_detail';
COMMENT ON FUNCTION dbpatterns.price_lowest_detail(regclass, jsonb, timestamptz, interval, name, text) IS
    'the lowest price before a reduction, since when it held, and when there was no price';

CREATE FUNCTION dbpatterns.price_changes(
    target regclass,
    key jsonb,
    a timestamptz DEFAULT NULL,
    b timestamptz DEFAULT NULL,
    price_column name DEFAULT 'price',
    time_zone text DEFAULT NULL)
RETURNS TABLE (at timestamptz, old_price numeric, new_price numeric, difference numeric,
    percent numeric)
LANGUAGE c STABLE PARALLEL RESTRICTED ROWS 20 AS 'MODULE_PATHNAME', 'dbpatterns_price_changes';
COMMENT ON FUNCTION dbpatterns.price_changes(regclass, jsonb, timestamptz, timestamptz, name, text) IS
    'when a price changed, from what to what';
