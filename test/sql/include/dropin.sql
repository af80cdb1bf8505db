\set ECHO none
-- Start of a test of the trigger function that temporal_tables has: a schema t
-- before dbpatterns in search_path, and times in UTC.  Tests set the system time
-- to noon of a day in January 2001: at(n).  They end with :finish.
\set SHOW_CONTEXT never
\pset footer off
SET client_min_messages = warning;
SET search_path = public;
SET debug_discard_caches = 0;
DROP EXTENSION IF EXISTS dbpatterns CASCADE;
CREATE EXTENSION dbpatterns;
DROP SCHEMA IF EXISTS t CASCADE;
CREATE SCHEMA t;
SET search_path = t, dbpatterns;
SET timezone = 'UTC';
SET datestyle = 'ISO';

CREATE FUNCTION t.at(n int) RETURNS void LANGUAGE sql AS $$
    SELECT dbpatterns.set_system_time(make_timestamptz(2001, 1, n, 12, 0, 0, 'UTC'))
$$;
-- A period in days of that month: [1,2), with a + for each microsecond more.
CREATE FUNCTION t.days(p tstzrange) RETURNS text LANGUAGE plpgsql SET timezone = 'UTC' AS $$
DECLARE
    s text := '[';
BEGIN
    IF p IS NULL OR isempty(p) THEN
        RETURN p::text;
    END IF;
    IF lower(p) IS NOT NULL THEN
        s := s || CASE WHEN isfinite(lower(p)) THEN to_char(lower(p), 'FMDD') || repeat('+', extract(microsecond FROM lower(p))::int % 1000) ELSE lower(p)::text END;
    END IF;
    s := s || ',';
    IF upper(p) IS NOT NULL THEN
        s := s || CASE WHEN isfinite(upper(p)) THEN to_char(upper(p), 'FMDD') || repeat('+', extract(microsecond FROM upper(p))::int % 1000) ELSE upper(p)::text END;
    END IF;
    RETURN s || ')';
END $$;
-- What a statement that must fail says.
CREATE FUNCTION t.refused(statement text) RETURNS text LANGUAGE plpgsql AS $$
DECLARE
    detail text;
    hint text;
BEGIN
    EXECUTE statement;
    RETURN 'not refused';
EXCEPTION WHEN OTHERS THEN
    GET STACKED DIAGNOSTICS detail = pg_exception_detail, hint = pg_exception_hint;
    RETURN concat_ws(E'\n', sqlstate || ': ' || sqlerrm, nullif(detail, ''), nullif(hint, ''));
END $$;
\set finish 'SET client_min_messages = warning; SET debug_discard_caches = 0; DROP SCHEMA t CASCADE; DROP EXTENSION dbpatterns CASCADE;'
RESET debug_discard_caches;
RESET client_min_messages;
\set ECHO all
