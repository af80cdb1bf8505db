-- Readers of a closure table: what each returns, for nodes that are there and
-- that are not, and what the planner makes of them.
\set SHOW_CONTEXT never
\pset footer off
SET client_min_messages = warning;
SET client_encoding = 'UTF8';
SET debug_discard_caches = 0;
DROP EXTENSION IF EXISTS dbpatterns CASCADE;
CREATE EXTENSION dbpatterns;
DROP SCHEMA IF EXISTS hr CASCADE;
CREATE SCHEMA hr;
SET search_path = hr;

CREATE TABLE categories (
    id int PRIMARY KEY,
    parent_id int REFERENCES categories,
    name text,
    pos int,
    price numeric);
CREATE INDEX ON categories (parent_id);
INSERT INTO categories VALUES
    (1, NULL, 'Electronics', 1, 0), (2, 1, 'Phones', 2, 10), (3, 1, 'Laptops', 1, 20),
    (4, 2, E'Say "a\\b"\n&<i>#`', 1, 5), (5, 2, 'iPhone', 2, 7), (6, NULL, 'Books', 2, 1),
    (7, 6, 'Fiction', 1, 3), (8, 3, NULL, NULL, NULL), (9, 3, '', 3, 4);
SELECT dbpatterns.closure_enable('categories', 'parent_id', order_by => 'pos');

-- All of them, with their comments.
SELECT p.proname, pg_get_function_arguments(p.oid) AS arguments, pg_get_function_result(p.oid) AS result
  FROM pg_proc p WHERE p.pronamespace = 'hr'::regnamespace ORDER BY 1;
SELECT p.proname, obj_description(p.oid, 'pg_proc') AS comment
  FROM pg_proc p WHERE p.pronamespace = 'hr'::regnamespace ORDER BY 1;
SELECT l.lanname, p.provolatile, p.proparallel, p.proisstrict, p.prosecdef, p.proconfig, p.proacl, count(*)
  FROM pg_proc p JOIN pg_language l ON l.oid = p.prolang
 WHERE p.pronamespace = 'hr'::regnamespace GROUP BY 1, 2, 3, 4, 5, 6, 7;

-- ---- one node --------------------------------------------------------------
SELECT * FROM categories__descendants(1) ORDER BY depth, id;
SELECT * FROM categories__descendants(1, 1) ORDER BY depth, id;
SELECT * FROM categories__descendants(1, 1, true) ORDER BY depth, id;
SELECT name, depth FROM categories JOIN categories__descendants(2, include_self => true) USING (id) ORDER BY id;
SELECT * FROM categories__ancestors(5) ORDER BY depth;
SELECT * FROM categories__ancestors(5, 1, include_self => true) ORDER BY depth;
SELECT * FROM categories__children(1);
SELECT * FROM categories__children(3);
SELECT * FROM categories__siblings(2);
SELECT * FROM categories__siblings(1);
SELECT * FROM categories__leaves(1) ORDER BY depth, id;
SELECT * FROM categories__leaves(8);
SELECT * FROM categories__roots();
SELECT c.id, r.id AS root, categories__depth(c.id), categories__path(c.id), categories__path(c.id, 'id'),
       categories__is_ancestor(1, c.id), categories__is_ancestor(1, c.id, true) AS or_self,
       categories__distance(4, c.id), categories__lca(4, c.id)
  FROM categories c, categories__root(c.id) r ORDER BY c.id;
SELECT * FROM categories__find_path('{Electronics,Phones,iPhone}');
SELECT * FROM categories__find_path('{1,3,9}', label => 'id');
SELECT * FROM categories__find_path('{Electronics}');
SELECT c.id FROM categories c WHERE NOT EXISTS (SELECT FROM categories__find_path(categories__path(c.id)) f WHERE f.id = c.id);

-- Unknown or no node: nothing, or NULL.
SELECT count(*) FROM (VALUES (99), (NULL)) v (node), LATERAL (
    SELECT id FROM categories__descendants(node, include_self => true)
    UNION ALL SELECT id FROM categories__ancestors(node, include_self => true)
    UNION ALL SELECT id FROM categories__children(node)
    UNION ALL SELECT id FROM categories__siblings(node)
    UNION ALL SELECT id FROM categories__leaves(node)
    UNION ALL SELECT id FROM categories__root(node)
    UNION ALL SELECT id FROM categories__lca(node, 1)
    UNION ALL SELECT id FROM categories__lca(1, node)) x;
SELECT node, categories__depth(node), categories__path(node), categories__distance(node, 1), categories__distance(1, node),
       categories__is_ancestor(node, 1), categories__is_ancestor(1, node), categories__is_ancestor(node, node, true)
  FROM (VALUES (99), (NULL)) v (node);
SELECT * FROM categories__find_path('{Electronics,Nothing}') UNION ALL SELECT * FROM categories__find_path('{}')
UNION ALL SELECT * FROM categories__find_path(NULL) UNION ALL SELECT * FROM categories__find_path('{Phones}');
SELECT * FROM categories__tree(99);
SELECT * FROM categories__rollup(99);
SELECT categories__json(99) IS NULL AS json, (SELECT count(*) FROM categories__text(99)) AS text;
SELECT * FROM categories__dot(99);
SELECT * FROM categories__mermaid(99);

-- ---- trees -----------------------------------------------------------------
SELECT * FROM categories__tree();
SELECT * FROM categories__tree(1, max_depth => 1);
SELECT * FROM categories__rollup(1, 'price');
SELECT * FROM categories__rollup(measure => 'price') ORDER BY id;
SELECT * FROM categories__rollup(2);
SELECT categories__json(2);
SELECT categories__json(columns => '{name}');
SELECT categories__json(1, max_depth => 1, columns => '{pos,id}');
SELECT categories__json(6, columns => '{}');
SELECT categories__json()::jsonb @? '$[*].children[*].children[*].name ? (@ == "iPhone")' AS found;
SELECT * FROM categories__text();
SELECT * FROM categories__text(1, 1, 'id');
SELECT * FROM categories__dot();
SELECT * FROM categories__dot(6, label => 'price');
SELECT * FROM categories__mermaid();

-- Columns that are not there.
SELECT categories__path(1, 'nothing');
SELECT * FROM categories__text(1, label => 'nothing');
SELECT * FROM categories__rollup(1, 'nothing');
SELECT categories__json(1, columns => '{id,nothing}');
SELECT categories__json(1, columns => '{id,id}');
SELECT categories__json(1, columns => '{id,NULL}');
SELECT * FROM categories__rollup(1, 'name');

-- ---- the planner -----------------------------------------------------------
CREATE TABLE wide (id int PRIMARY KEY, parent_id int REFERENCES wide, name text);
CREATE INDEX ON wide (parent_id);
INSERT INTO wide SELECT i, CASE WHEN i > 1 THEN (i - 2) / 8 + 1 END, 'n' || i FROM generate_series(1, 20000) i;
SELECT dbpatterns.closure_enable('wide', 'parent_id');
ANALYZE wide, wide_closure;
-- plan() tells of a query which indexes it reads, which functions it scans, and
-- whether the rows it expects are those found, within a factor of 4.
CREATE FUNCTION plan(query text, OUT indexes text, OUT functions text, OUT estimate text)
LANGUAGE plpgsql AS $$
DECLARE
    top json;
    expected numeric;
    found numeric;
BEGIN
    EXECUTE 'EXPLAIN (ANALYZE, TIMING OFF, FORMAT json) ' || query INTO top;
    SELECT string_agg(DISTINCT m[1], ', ') INTO indexes FROM regexp_matches(top::text, '"Index Name": "([^"]+)"', 'g') m;
    SELECT string_agg(DISTINCT m[1], ', ') INTO functions FROM regexp_matches(top::text, '"Function Name": "([^"]+)"', 'g') m;
    expected := top -> 0 -> 'Plan' ->> 'Plan Rows';
    found := top -> 0 -> 'Plan' ->> 'Actual Rows';
    estimate := CASE WHEN expected > found * 4 + 3 THEN 'more' WHEN expected < found / 4 - 3 THEN 'less' ELSE 'good' END;
END $$;
SET max_parallel_workers_per_gather = 0;
SELECT q, p.* FROM unnest(ARRAY[
    'SELECT * FROM wide__descendants(3)',
    'SELECT id FROM wide__descendants(3)',
    'SELECT * FROM wide__descendants(3, include_self => true)',
    'SELECT * FROM wide JOIN wide__descendants(3) USING (id)',
    'SELECT * FROM wide__ancestors(20000)',
    'SELECT * FROM wide__children(3)',
    'SELECT * FROM wide__siblings(3)',
    'SELECT * FROM wide__root(20000)',
    'SELECT * FROM wide__roots()',
    'SELECT * FROM wide__leaves(3)',
    'SELECT * FROM wide__lca(19999, 5000)',
    'SELECT * FROM wide__tree(3)']) q, plan(q) p;
EXPLAIN (COSTS OFF) SELECT * FROM wide__descendants(3);
EXPLAIN (COSTS OFF) SELECT count(*) FROM wide__descendants(3);
EXPLAIN (COSTS OFF) SELECT * FROM wide__ancestors(20000);
-- With the node known only later, too; and what is single is one call.
PREPARE below (int) AS SELECT * FROM wide__descendants($1);
SET plan_cache_mode = force_generic_plan;
EXPLAIN (COSTS OFF) EXECUTE below(3);
RESET plan_cache_mode;
EXPLAIN (COSTS OFF, VERBOSE) SELECT id FROM wide WHERE wide__is_ancestor(3, id) AND wide__depth(id) = 2;
-- Workers read, too.
SET max_parallel_workers_per_gather = 2;
SET parallel_setup_cost = 0;
SET parallel_tuple_cost = 0;
SET min_parallel_table_scan_size = 0;
SELECT count(*) FROM wide WHERE wide__is_ancestor(3, id) AND wide__depth(id) = 5;
SELECT count(*) FROM wide__descendants(3);
RESET ALL;
SET client_min_messages = warning;
SET client_encoding = 'UTF8';
SET search_path = hr;

-- ---- against recursive queries ---------------------------------------------
CREATE TABLE rnd (id int PRIMARY KEY, parent_id int REFERENCES rnd, name text, pos int);
INSERT INTO rnd SELECT i, CASE WHEN i > 3 THEN 1 + (i * 7919 + i * i % 31) % (i - 1) END, 'n' || i, i * 31 % 7
  FROM generate_series(1, 400) i;
SELECT dbpatterns.closure_enable('rnd', 'parent_id', order_by => 'pos');
CREATE TEMP TABLE pairs AS
WITH RECURSIVE p AS (
    SELECT id AS above, id AS below, 0 AS depth FROM rnd
    UNION ALL SELECT p.above, r.id, p.depth + 1 FROM p JOIN rnd r ON r.parent_id = p.below)
SELECT * FROM p;
SELECT max(depth) AS deep, count(*) AS pairs FROM pairs;
-- differ() counts the rows that only one of two queries returns.
CREATE FUNCTION differ(reader text, query text) RETURNS bigint LANGUAGE plpgsql AS $$
DECLARE n bigint;
BEGIN
    EXECUTE format('WITH a AS (%s), b AS (%s) SELECT count(*) FROM (
        (TABLE a EXCEPT ALL TABLE b) UNION ALL (TABLE b EXCEPT ALL TABLE a)) x', reader, query) INTO n;
    RETURN n;
END $$;
SELECT reader, differ(format('SELECT r.id, x.* FROM rnd r, rnd__%s x', reader), query) FROM (VALUES
    ('descendants(r.id)', 'SELECT above, below, depth FROM pairs WHERE depth > 0'),
    ('descendants(r.id, 2, true)', 'SELECT above, below, depth FROM pairs WHERE depth <= 2'),
    ('ancestors(r.id)', 'SELECT below, above, depth FROM pairs WHERE depth > 0'),
    ('children(r.id)', 'SELECT parent_id, id FROM rnd WHERE parent_id IS NOT NULL'),
    ('siblings(r.id)', 'SELECT a.id, b.id FROM rnd a JOIN rnd b ON a.parent_id IS NOT DISTINCT FROM b.parent_id WHERE a.id <> b.id'),
    ('leaves(r.id)', 'SELECT above, below, depth FROM pairs WHERE below NOT IN (SELECT parent_id FROM rnd WHERE parent_id IS NOT NULL)'),
    ('root(r.id)', 'SELECT below, above FROM pairs WHERE above <= 3'),
    ('depth(r.id)', 'SELECT below, max(depth) FROM pairs GROUP BY below'),
    ('rollup(r.id, ''pos'')', 'SELECT above, above, count(*), sum(pos)::numeric, min(pos)::numeric, max(pos)::numeric FROM pairs JOIN rnd ON id = below GROUP BY above')
) v (reader, query);
SELECT differ('SELECT a.id, b.id, rnd__is_ancestor(a.id, b.id) FROM rnd a, rnd b',
              'SELECT a.id, b.id, EXISTS (SELECT FROM pairs WHERE above = a.id AND below = b.id AND depth > 0) FROM rnd a, rnd b') AS is_ancestor,
       differ('SELECT a.id, b.id, l.id, rnd__distance(a.id, b.id) FROM rnd a, rnd b, rnd__lca(a.id, b.id) l WHERE a.id % 7 = 0 AND b.id % 5 = 0',
              'SELECT DISTINCT ON (a.below, b.below) a.below, b.below, a.above, a.depth + b.depth FROM pairs a JOIN pairs b USING (above)
                WHERE a.below % 7 = 0 AND b.below % 5 = 0 ORDER BY a.below, b.below, a.depth') AS lca_distance;
WITH RECURSIVE t AS (
    SELECT id, 0 AS depth, ARRAY[row_number() OVER w::int] AS path, lead(1) OVER w IS NULL AS is_last
      FROM rnd WHERE parent_id IS NULL WINDOW w AS (ORDER BY pos, id)
    UNION ALL
    SELECT r.id, t.depth + 1, t.path || row_number() OVER w::int, lead(1) OVER w IS NULL
      FROM t JOIN rnd r ON r.parent_id = t.id WINDOW w AS (PARTITION BY r.parent_id ORDER BY r.pos, r.id))
SELECT count(*) AS nodes, count(*) FILTER (WHERE (a.id, a.depth, a.path, a.is_last) = (b.id, b.depth, b.path, b.is_last)
         AND a.is_leaf = NOT EXISTS (SELECT FROM rnd WHERE parent_id = b.id)) AS alike
  FROM (SELECT row_number() OVER (), * FROM rnd__tree()) a
  FULL JOIN (SELECT row_number() OVER (ORDER BY path), * FROM t) b USING (row_number);
SELECT count(*) AS objects FROM jsonb_path_query(rnd__json()::jsonb, 'strict $.**.id') x;
SET search_path = public;
DROP SCHEMA hr CASCADE;
