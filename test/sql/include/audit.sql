\set ECHO none
-- Start of an audit test: a new extension, so that the log is empty but has its
-- partitions, and a schema t with two ways to look at the log.  Neither shows
-- times or numbers, and both show only what came since the last look.
--   news()  every entry, in the order of the log, also of this transaction
--   tally() how many entries of each kind
-- The test ends with :finish.
\set SHOW_CONTEXT never
\pset footer off
SET client_min_messages = warning;
SET search_path = public;
-- To make the extension takes minutes where caches are discarded (assert.sh).
SET debug_discard_caches = 0;
DROP EXTENSION IF EXISTS dbpatterns CASCADE;
CREATE EXTENSION dbpatterns;
CALL dbpatterns.audit_run();
DROP SCHEMA IF EXISTS t CASCADE;
CREATE SCHEMA t;
SET search_path = t;

CREATE TABLE t.seen (upto bigint NOT NULL);
INSERT INTO t.seen VALUES (0);

CREATE FUNCTION t.news(OUT "table" name, OUT op "char", OUT old jsonb, OUT new jsonb)
RETURNS SETOF record LANGUAGE plpgsql SET search_path = pg_catalog AS $$
BEGIN
    PERFORM dbpatterns.audit_flush();
    RETURN QUERY SELECT s.table_name, e.op, e.old, e.new
        FROM _dbpatterns.audit_log e LEFT JOIN _dbpatterns.audit_shape s USING (shape)
        WHERE e.id > (SELECT upto FROM t.seen) AND e.op <> 'W' ORDER BY e.id;
    UPDATE t.seen SET upto = coalesce((SELECT max(id) FROM _dbpatterns.audit_log), 0);
END $$;

CREATE FUNCTION t.tally(OUT "table" name, OUT op "char", OUT entries bigint)
RETURNS SETOF record LANGUAGE sql SET search_path = pg_catalog AS $$
    SELECT "table", op, count(*) FROM t.news() GROUP BY 1, 2 ORDER BY 1, 2
$$;

-- Look away: what came until now is no news.
CREATE FUNCTION t.skip() RETURNS void LANGUAGE sql AS $$
    SELECT dbpatterns.audit_flush();
    UPDATE t.seen SET upto = coalesce((SELECT max(id) FROM _dbpatterns.audit_log), 0);
$$;

-- Enable with the defaults, without its entry in the news.
CREATE FUNCTION t.audit(target regclass) RETURNS void LANGUAGE plpgsql AS $$
BEGIN
    PERFORM dbpatterns.audit_enable(target);
    PERFORM t.skip();
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
