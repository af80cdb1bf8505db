\set ECHO none
-- Start of a test of hierarchies: the extension, an empty schema t, and an
-- oracle that computes closures from the tables by a recursive query.
--   watch(target, parent, key, closure, nscope)  from now on look at it, too
--   :same       says nothing while all closures are what the oracle says and
--               closure_check() agrees; a WARNING for each difference
--   below(closure)      a closure with one key column, one line an ancestor
--   refused(statement)  what a statement that has to fail says
-- The test ends with :finish.
\set SHOW_CONTEXT never
\pset footer off
SET client_min_messages = warning;
SET search_path = public;
-- To make the extension takes minutes where caches are discarded (assert.sh).
SET debug_discard_caches = 0;
DROP EXTENSION IF EXISTS dbpatterns CASCADE;
CREATE EXTENSION dbpatterns;
DROP SCHEMA IF EXISTS t CASCADE;
CREATE SCHEMA t;
SET search_path = t;

CREATE TABLE t.watched (n serial, target regclass, closure regclass, query text, PRIMARY KEY (target, closure));

-- The query returns one text for each wrong pair.  Keys are compared as their
-- types do; a path as long as the table is a cycle.
CREATE FUNCTION t.watch(target regclass, parent text[], key text[] DEFAULT '{id}', closure text DEFAULT NULL,
                        nscope int DEFAULT 0)
RETURNS void LANGUAGE plpgsql AS $$
DECLARE
    n int := array_length(key, 1);
    node text;
    walk text;
    step text;
    meet text;
    pair text;
    found text;
BEGIN
    closure := coalesce(closure, (SELECT format('%I.%I', relnamespace::regnamespace::text, relname || '_closure')
                                    FROM pg_class WHERE oid = target));
    SELECT string_agg(format('%1$I AS k%3$s, %2$I AS p%3$s', key[i], parent[i], i), ', '),
           string_agg(format('k%1$s AS a%1$s, k%1$s AS d%1$s', i), ', '),
           string_agg(format('w.a%1$s, n.k%1$s', i), ', '),
           string_agg(format('n.p%1$s = w.d%1$s', i), ' AND ')
      INTO node, walk, step, meet FROM generate_series(1, n) i;
    SELECT string_agg(c, ', ' ORDER BY p, i) INTO pair FROM (
        SELECT 1, i, 'a' || i FROM generate_series(1, nscope) i
        UNION ALL SELECT 2, i, 'a' || i FROM generate_series(nscope + 1, n) i
        UNION ALL SELECT 3, i, 'd' || i FROM generate_series(nscope + 1, n) i) x (p, i, c);
    SELECT string_agg(format('%I', c), ', ' ORDER BY p, i) INTO found FROM (
        SELECT 1, i, key[i] FROM generate_series(1, nscope) i
        UNION ALL SELECT 2, i, CASE WHEN n - nscope = 1 THEN 'ancestor' ELSE 'ancestor_' || key[i] END
          FROM generate_series(nscope + 1, n) i
        UNION ALL SELECT 3, i, CASE WHEN n - nscope = 1 THEN 'descendant' ELSE 'descendant_' || key[i] END
          FROM generate_series(nscope + 1, n) i) x (p, i, c);
    INSERT INTO t.watched (target, closure, query) VALUES (target, closure::regclass, format($q$
        WITH RECURSIVE _node AS (SELECT %1$s FROM %2$s),
        _walk AS (SELECT %3$s, 0 AS depth FROM _node
            UNION ALL SELECT %4$s, w.depth + 1 FROM _walk w JOIN _node n ON %5$s
                      WHERE w.depth < (SELECT count(*) FROM _node)),
        _wanted AS (SELECT %7$s, depth FROM _walk),
        _found AS (SELECT %8$s, depth FROM %6$s)
        SELECT 'cycle in the table' WHERE EXISTS (SELECT FROM _walk WHERE depth = (SELECT count(*) FROM _node))
        UNION ALL SELECT 'missing ' || x::text FROM (TABLE _wanted EXCEPT ALL TABLE _found) x
        UNION ALL SELECT 'extra ' || x::text FROM (TABLE _found EXCEPT ALL TABLE _wanted) x$q$,
        node, target, walk, step, meet, closure, pair, found));
END $$;

CREATE FUNCTION t.same() RETURNS void LANGUAGE plpgsql AS $$
DECLARE
    w record;
    difference text;
    differences int;
    findings bigint;
BEGIN
    DELETE FROM t.watched WHERE NOT EXISTS (SELECT FROM pg_class WHERE oid = target)
                             OR NOT EXISTS (SELECT FROM pg_class WHERE oid = closure);
    FOR w IN SELECT * FROM t.watched ORDER BY n LOOP
        differences := 0;
        FOR difference IN EXECUTE w.query || ' ORDER BY 1' LOOP
            differences := differences + 1;
            IF differences <= 10 THEN
                RAISE WARNING '%: %', w.closure, difference;
            END IF;
        END LOOP;
        IF differences > 10 THEN
            RAISE WARNING '%: % differences', w.closure, differences;
        END IF;
        SELECT count(*) INTO findings FROM dbpatterns.closure_check(w.target) c
         WHERE severity = 'error' AND problem ~ 'pair';
        IF (findings > 0) <> (differences > 0)
            AND (SELECT count(*) FROM t.watched x WHERE x.target = w.target) = 1
        THEN
            RAISE WARNING '%: % differences, but closure_check finds %', w.closure, differences, findings;
        END IF;
    END LOOP;
END $$;

CREATE FUNCTION t.below(closure regclass) RETURNS TABLE (ancestor text, descendants text)
LANGUAGE plpgsql AS $$
BEGIN
    RETURN QUERY EXECUTE format($q$
        SELECT c.ancestor::text, string_agg(c.descendant || ':' || c.depth, ' ' ORDER BY c.depth, c.descendant)
          FROM %s AS c GROUP BY c.ancestor ORDER BY c.ancestor$q$, closure);
END $$;

-- What a statement that must fail says.
CREATE FUNCTION t.refused(statement text) RETURNS text LANGUAGE plpgsql AS $$
DECLARE
    detail text;
    hint text;
    name text;
BEGIN
    EXECUTE statement;
    RETURN 'not refused';
EXCEPTION WHEN OTHERS THEN
    GET STACKED DIAGNOSTICS detail = pg_exception_detail, hint = pg_exception_hint, name = constraint_name;
    RETURN concat_ws(E'\n', concat_ws(' ', sqlstate, nullif(name, '')) || ': ' || sqlerrm,
                     nullif(detail, ''), nullif(hint, ''));
END $$;
\set same 'DO $same$ BEGIN PERFORM t.same(); END $same$;'
\set finish 'SET client_min_messages = warning; SET debug_discard_caches = 0; DROP SCHEMA t CASCADE; DROP EXTENSION dbpatterns CASCADE;'
RESET debug_discard_caches;
RESET client_min_messages;
\set ECHO all
