-- Readers of the closure table of a graph.
\set SHOW_CONTEXT never
\pset footer off
SET client_min_messages = warning;
SET debug_discard_caches = 0;
DROP EXTENSION IF EXISTS dbpatterns CASCADE;
CREATE EXTENSION dbpatterns;
DROP SCHEMA IF EXISTS hr CASCADE;
CREATE SCHEMA hr;
SET search_path = hr;

-- A diamond with a tail and a short cut, and something apart.
CREATE TABLE needs (package text, requires text, PRIMARY KEY (package, requires));
INSERT INTO needs VALUES ('app', 'web'), ('app', 'db'), ('web', 'libc'), ('db', 'libc'), ('db', 'zlib'),
    ('zlib', 'libc'), ('app', 'libc'), ('a "quoted"', 'b');
SELECT dbpatterns.closure_enable_graph('needs', 'package', 'requires');
SELECT p.proname, pg_get_function_arguments(p.oid) AS arguments, pg_get_function_result(p.oid) AS result
  FROM pg_proc p WHERE p.pronamespace = 'hr'::regnamespace ORDER BY 1;

SELECT * FROM needs__descendants('app') ORDER BY depth, 1;
SELECT * FROM needs__descendants('app', 1, true) ORDER BY depth, 1;
SELECT * FROM needs__ancestors('libc') ORDER BY depth, 1;
SELECT * FROM needs__children('app') ORDER BY 1;
SELECT * FROM needs__parents('libc') ORDER BY 1;
SELECT * FROM needs__leaves('app') ORDER BY 1;
SELECT needs__is_ancestor('app', 'zlib'), needs__is_ancestor('zlib', 'app'), needs__is_ancestor('web', 'web'), needs__is_ancestor('web', 'web', true);
SELECT needs__distance('app', 'zlib'), needs__distance('app', 'libc'), needs__distance('zlib', 'db'), needs__distance('web', 'web');
SELECT * FROM needs__dot();
SELECT * FROM needs__dot('db');
SELECT * FROM needs__mermaid('db');
SELECT * FROM needs__mermaid('a "quoted"');
-- Unknown or no node.
SELECT count(*) FROM (VALUES ('none'), (NULL)) v (node), LATERAL (
    SELECT 1 FROM needs__descendants(node, include_self => true) UNION ALL SELECT 1 FROM needs__ancestors(node, include_self => true)
    UNION ALL SELECT 1 FROM needs__children(node) UNION ALL SELECT 1 FROM needs__parents(node) UNION ALL SELECT 1 FROM needs__leaves(node)) x;
SELECT needs__is_ancestor('none', 'app'), needs__distance('app', 'none'), needs__distance(NULL, 'app');
SELECT * FROM needs__dot('none');

-- In the place of the call stands an index scan.
SET enable_seqscan = off;
EXPLAIN (COSTS OFF) SELECT * FROM needs__descendants('app');
RESET enable_seqscan;
EXPLAIN (COSTS OFF, VERBOSE) SELECT needs__is_ancestor('app', requires), needs__distance('app', requires) FROM needs;

-- Keys of several columns.
CREATE TABLE links (a int, b text, c int, d text);
INSERT INTO links VALUES (1, 'x', 2, 'y'), (1, 'x', 2, 'y'), (2, 'y', 3, 'z'), (1, 'x', 3, 'z');
SELECT dbpatterns.closure_enable_graph('links', '{a,b}', '{c,d}');
SELECT p.proname, pg_get_function_arguments(p.oid) AS arguments, pg_get_function_result(p.oid) AS result
  FROM pg_proc p WHERE p.pronamespace = 'hr'::regnamespace AND starts_with(p.proname, 'links__') ORDER BY 1;
SELECT * FROM links__descendants(1, 'x') ORDER BY depth, 1;
SELECT * FROM links__children(1, 'x') ORDER BY 1;
SELECT * FROM links__parents(3, 'z') ORDER BY 1;
SELECT links__is_ancestor(1, 'x', 3, 'z'), links__distance(1, 'x', 3, 'z'), links__distance(3, 'z', 1, 'x');
SELECT * FROM links__dot();

DROP TABLE needs;
DROP TABLE links;
SELECT count(*) FROM pg_proc p WHERE p.pronamespace = 'hr'::regnamespace;
SET search_path = public;
DROP SCHEMA hr CASCADE;
