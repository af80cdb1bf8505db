-- Readers of a closure table: keys of any type and number, names, rights, what
-- becomes of them when tables change, and what they are made of.
\set SHOW_CONTEXT never
\pset footer off
SET client_min_messages = warning;
SET client_encoding = 'UTF8';
SET debug_discard_caches = 0;
DROP EXTENSION IF EXISTS dbpatterns CASCADE;
CREATE EXTENSION dbpatterns;
DROP SCHEMA IF EXISTS hr, hr_types CASCADE;
CREATE SCHEMA hr;
CREATE SCHEMA hr_types;
CREATE EXTENSION IF NOT EXISTS citext SCHEMA hr_types;
SET search_path = hr;
-- signature() shows the readers of a prefix.
CREATE FUNCTION public.hr_signature(prefix text) RETURNS SETOF text LANGUAGE sql AS $$
    SELECT format('%s(%s) %s', p.proname, pg_get_function_arguments(p.oid), pg_get_function_result(p.oid))
      FROM pg_proc p WHERE p.pronamespace = 'hr'::regnamespace AND starts_with(p.proname, prefix)
     ORDER BY p.proname COLLATE "C" $$;

-- ---- types -----------------------------------------------------------------
-- A type outside pg_catalog, not in the search_path: equal is what it says.
CREATE TABLE c (id hr_types.citext PRIMARY KEY, up hr_types.citext REFERENCES c);
INSERT INTO c VALUES ('Root', NULL), ('Left', 'ROOT'), ('right', 'root'), ('Leaf', 'LEFT');
SELECT dbpatterns.closure_enable('c', 'up');
SELECT id, depth FROM c__descendants('rOOt') ORDER BY depth, id::text;
SELECT c__is_ancestor('ROOT', 'leaf'), c__depth('LEAF'), c__distance('LEAF', 'Right'), (SELECT id FROM c__lca('LEAF', 'RIGHT')) AS lca,
       c__path('leaf'), (SELECT array_agg(line) FROM c__text('LEFT')) AS text;
SELECT * FROM c__tree();
-- Text with a collation of its own, uuid, numeric (1 is 1.0), a domain, an enum,
-- an array.
CREATE COLLATION hr.other FROM "C";
CREATE TABLE t (id text COLLATE hr.other PRIMARY KEY, up text COLLATE hr.other REFERENCES t);
INSERT INTO t VALUES ('b', NULL), ('B', 'b'), ('a', 'b'), ('x/y "z"', 'a');
SELECT dbpatterns.closure_enable('t', 'up');
SELECT * FROM t__tree();
SELECT * FROM t__dot('a');
SELECT * FROM t__mermaid('a');
SELECT t__is_ancestor('b', 'B'), t__depth('x/y "z"'), t__distance('B', 'a');
CREATE TABLE u (id uuid PRIMARY KEY, up uuid REFERENCES u, title varchar(20));
INSERT INTO u SELECT ('00000000-0000-0000-0000-00000000000' || i)::uuid, CASE WHEN i > 1 THEN ('00000000-0000-0000-0000-00000000000' || i / 2)::uuid END, 'T' || i
  FROM generate_series(1, 5) i;
SELECT dbpatterns.closure_enable('u', 'up');
SELECT * FROM u__text();
SELECT u__depth('00000000-0000-0000-0000-000000000005'), u__path('00000000-0000-0000-0000-000000000005');
CREATE TABLE n (id numeric PRIMARY KEY, up numeric REFERENCES n, label text);
INSERT INTO n VALUES (1.0, NULL, 'one'), (2.50, 1, 'two and a half'), (3, 2.5, 'three');
SELECT dbpatterns.closure_enable('n', 'up');
SELECT *, n__is_ancestor(1.000, 3.0), n__depth(3.00) FROM n__ancestors(3.000) ORDER BY depth;
SELECT * FROM n__text();
CREATE DOMAIN hr.positive AS bigint CHECK (VALUE > 0);
CREATE TABLE d (id hr.positive PRIMARY KEY, up hr.positive REFERENCES d);
INSERT INTO d VALUES (1, NULL), (2, 1), (3, 2);
SELECT dbpatterns.closure_enable('d', 'up');
SELECT * FROM public.hr_signature('d__is') UNION ALL SELECT id::text FROM d__descendants(1) UNION ALL SELECT d__depth(3)::text;
CREATE TYPE hr.level AS ENUM ('low', 'mid', 'top');
CREATE TABLE e (id hr.level PRIMARY KEY, up hr.level REFERENCES e);
INSERT INTO e VALUES ('top', NULL), ('mid', 'top'), ('low', 'mid');
SELECT dbpatterns.closure_enable('e', 'up');
SELECT id, depth, e__is_ancestor('top', id), e__depth(id) FROM e__descendants('top') ORDER BY depth;
CREATE TABLE a (id int[] PRIMARY KEY, up int[] REFERENCES a);
INSERT INTO a VALUES ('{}', NULL), ('{1}', '{}'), ('{1,2}', '{1}');
SELECT dbpatterns.closure_enable('a', 'up');
SELECT id, depth, a__is_ancestor('{}', id), a__depth(id) FROM a__descendants('{}') ORDER BY depth;

-- ---- several columns, with a scope -------------------------------------------
CREATE TABLE m (tenant int, area text, no int, up_area text, up_no int, name text, amount int, PRIMARY KEY (tenant, area, no),
    FOREIGN KEY (tenant, up_area, up_no) REFERENCES m);
INSERT INTO m VALUES (1, 'x', 1, NULL, NULL, 'r1', 1), (1, 'y', 1, 'x', 1, 'a1', 2), (1, 'x', 2, 'x', 1, 'b1', 4), (1, 'y', 2, 'y', 1, 'c1', 8),
                     (2, 'x', 1, NULL, NULL, 'r2', 16), (2, 'y', 1, 'x', 1, 'a2', 32), (2, 'z', 9, 'x', NULL, 's2', 64);
SELECT dbpatterns.closure_enable('m', '{up_area,up_no}', scope => '{tenant}', order_by => 'name');
SELECT * FROM public.hr_signature('m__');
SELECT * FROM m JOIN m__descendants(1, 'x', 1) USING (tenant, area, no) ORDER BY depth, name;
SELECT * FROM m__ancestors(1, 'y', 2, include_self => true) ORDER BY depth;
SELECT m__is_ancestor(1, 'x', 1, 'y', 2), m__is_ancestor(2, 'x', 1, 'y', 2), m__distance(1, 'y', 2, 'x', 2), m__depth(1, 'y', 2), m__path(1, 'y', 2);
SELECT * FROM m__lca(1, 'y', 2, 'x', 2);
SELECT * FROM m__children(1, 'x', 1);
SELECT * FROM m__siblings(2, 'x', 1);
SELECT * FROM m__siblings(1, 'y', 1);
SELECT * FROM m__roots();
SELECT * FROM m__roots(2);
SELECT * FROM m__find_path(1, '{r1,a1,c1}');
SELECT * FROM m__find_path(NULL, '{r2}');
SELECT * FROM m__tree();
SELECT * FROM m__tree(2);
SELECT * FROM m__tree(1, 'y', 1);
SELECT * FROM m__rollup(2, measure => 'amount') ORDER BY 1, 2, 3;
SELECT m__json(1, 'y', 1, columns => '{name}'), m__json(2, columns => '{name}');
SELECT * FROM m__text(scope_tenant => 1);
SELECT * FROM m__dot(1, 'y', 1);
SELECT * FROM m__mermaid(1, 'y', 1);

-- ---- orphans -----------------------------------------------------------------
CREATE TABLE o (id int PRIMARY KEY, up int, name text);
INSERT INTO o VALUES (1, NULL, 'r'), (2, 1, 'a'), (3, 99, 'orphan'), (4, 3, 'b'), (5, 98, 'other');
SELECT dbpatterns.closure_enable('o', 'up');
SELECT * FROM o__roots();
SELECT * FROM o__siblings(3);
SELECT * FROM o__children(99);
SELECT * FROM o__text();
SELECT * FROM o__find_path('{orphan,b}');
SELECT o__json(3, columns => '{id}'), o__json(columns => '{id}');
SELECT dbpatterns.closure_may_have_orphans('o', 'o_closure');

-- ---- names -------------------------------------------------------------------
CREATE TABLE "My ""Table"" of things: it has a long name, it is one of many" (node int PRIMARY KEY, depth int, "select" int);
INSERT INTO "My ""Table"" of things: it has a long name, it is one of many" VALUES (1, NULL, 5), (2, 1, 4), (3, 1, 3);
SELECT dbpatterns.closure_enable('"My ""Table"" of things: it has a long name, it is one of many"', 'depth', closure => 'A "b"', order_by => 'select');
SELECT * FROM public.hr_signature('A "b"');
SELECT * FROM "A ""b""__tree"(1);
SELECT * FROM "A ""b""__dot"(2);
CREATE TABLE k (depth int PRIMARY KEY, path int REFERENCES k, max_depth int);
INSERT INTO k VALUES (1, NULL, 0), (2, 1, 0);
SELECT dbpatterns.closure_enable('k', 'path');
SELECT * FROM public.hr_signature('k__tree') UNION ALL SELECT * FROM public.hr_signature('k__desc');
SELECT * FROM k__tree();
-- Columns called as what bodies call tables and columns.
CREATE TABLE b (b int PRIMARY KEY, d int REFERENCES b, n text, k1 text, "row" int, up int, nodes int, c int, node int);
INSERT INTO b VALUES (1, NULL, 'n1', 'x', 1, 2, 3, 4, 5), (2, 1, 'n2', 'y', 1, 2, 3, 4, 5);
SELECT dbpatterns.closure_enable('b', 'd', order_by => 'c');
SELECT b__path(2, 'n'), b__json(2), (SELECT sum FROM b__rollup(1, 'row')), (SELECT b FROM b__find_path('{n1,n2}', 'n')),
       (SELECT count(*) FROM b__tree()), (SELECT min(line) FROM b__text(label => 'k1')), (SELECT b FROM b__siblings(2)), (SELECT b FROM b__roots());
-- Two on one table.
CREATE TABLE w (id int PRIMARY KEY, boss int REFERENCES w, mentor int REFERENCES w);
INSERT INTO w VALUES (1, NULL, NULL), (2, 1, 3), (3, 1, NULL);
SELECT dbpatterns.closure_enable('w', 'boss', closure => 'w_boss_closure'), dbpatterns.closure_enable('w', 'mentor', closure => 'mentors');
SELECT * FROM w_boss__text(), mentors__text(3) AS m;
-- Somebody's function is in the way.
CREATE TABLE taken (id int PRIMARY KEY, up int);
CREATE FUNCTION taken__children(text) RETURNS text LANGUAGE sql AS 'SELECT $1';
SELECT dbpatterns.closure_enable('taken', 'up');
SELECT dbpatterns.closure_enable('taken', 'up', closure => 'free');
SELECT count(*) FROM public.hr_signature('free__');

-- ---- rights ------------------------------------------------------------------
CREATE ROLE regress_dbp_owner;
CREATE ROLE regress_dbp_user;
GRANT ALL ON SCHEMA hr TO regress_dbp_owner;
GRANT USAGE ON SCHEMA hr TO regress_dbp_user;
CREATE TABLE r (id int PRIMARY KEY, up int REFERENCES r, name text, tenant int DEFAULT 1);
INSERT INTO r VALUES (1, NULL, 'one', 1), (2, 1, 'two', 2), (3, 2, 'three', 1), (4, 1, 'four', 1);
ALTER TABLE r OWNER TO regress_dbp_owner;
-- Enabled by a superuser, the readers are the owner's.
SELECT dbpatterns.closure_enable('r', 'up');
SELECT DISTINCT proowner::regrole FROM pg_proc WHERE pronamespace = 'hr'::regnamespace AND starts_with(proname, 'r__');
-- They run with the rights of the caller.
SET ROLE regress_dbp_user;
SELECT * FROM r__descendants(1);
SELECT r__is_ancestor(1, 2);
SELECT r__depth(2);
RESET ROLE;
GRANT SELECT ON r_closure TO regress_dbp_user;
SET ROLE regress_dbp_user;
SELECT * FROM r__descendants(1) ORDER BY id;
SELECT r__is_ancestor(1, 2), r__depth(3);
SELECT * FROM r__text();
RESET ROLE;
GRANT SELECT ON r TO regress_dbp_user;
-- A row that is hidden hides what is below it; of all, those below are roots.
ALTER TABLE r ENABLE ROW LEVEL SECURITY;
CREATE POLICY p ON r USING (tenant = 1);
SET ROLE regress_dbp_user;
SELECT * FROM r__text(1);
SELECT r__json(1, columns => '{id}'), r__json(2), r__json(columns => '{id}');
SELECT * FROM r__text();
RESET ROLE;
-- Policies of the closure table are obeyed by all; columns can be granted one by one.
CREATE POLICY p ON r_closure USING (descendant <> 3);
ALTER TABLE r_closure ENABLE ROW LEVEL SECURITY;
SET ROLE regress_dbp_user;
SELECT r__is_ancestor(1, 3), r__is_ancestor(1, 2), r__depth(3), r__depth(2);
RESET ROLE;
ALTER TABLE r_closure DISABLE ROW LEVEL SECURITY;
REVOKE SELECT ON r_closure FROM regress_dbp_user;
GRANT SELECT (ancestor, descendant, depth) ON r_closure TO regress_dbp_user;
SET ROLE regress_dbp_user;
SELECT r__is_ancestor(1, 3), r__depth(3);
RESET ROLE;

-- ---- changes -----------------------------------------------------------------
-- What pg_dump writes can be read where search_path is empty.
SET search_path = '';
CREATE FUNCTION public.hr_reload(prefix text) RETURNS bigint LANGUAGE plpgsql AS $$
DECLARE
    p record;
    once text;
    n bigint := 0;
BEGIN
    FOR p IN SELECT oid FROM pg_proc WHERE pronamespace = 'hr'::regnamespace AND starts_with(proname, prefix) LOOP
        EXECUTE pg_get_functiondef(p.oid);
        once := pg_get_functiondef(p.oid);
        EXECUTE once;
        n := n + (pg_get_functiondef(p.oid) = once)::int;
    END LOOP;
    RETURN n;
END $$;
SELECT public.hr_reload('c__'), public.hr_reload('m__'), public.hr_reload('t__'), public.hr_reload('A "b"__');
SET search_path = hr;
SELECT * FROM c__tree();
-- Columns that readers use keep their type and stay; names are followed.
\set VERBOSITY sqlstate
ALTER TABLE u ALTER COLUMN id TYPE text;
ALTER TABLE u DROP COLUMN id;
\set VERBOSITY default
ALTER TABLE n RENAME COLUMN up TO parent;
ALTER TABLE n ADD COLUMN more int DEFAULT 7;
SELECT * FROM n__rollup(1, 'more');
SELECT n__json(3);
ALTER TABLE n RENAME TO n2;
SELECT * FROM n__children(1);
ALTER TABLE n2 RENAME COLUMN id TO num;
SELECT dbpatterns.closure_enable('n2', 'parent', order_by => 'label');
SELECT * FROM n__children(1);
-- A second call keeps rights and views.
CREATE VIEW v AS SELECT * FROM m__descendants(1, 'x', 1);
GRANT EXECUTE ON FUNCTION m__depth TO regress_dbp_user;
SELECT dbpatterns.closure_enable('m', '{up_area,up_no}', scope => '{tenant}', order_by => 'amount');
SELECT count(*) FROM v;
SELECT proacl IS NOT NULL AS kept FROM pg_proc WHERE proname = 'm__depth';
SELECT * FROM m__children(1, 'x', 1);
-- With the table they go.
DROP TABLE o;
DROP TABLE w;
SELECT proname FROM pg_proc WHERE pronamespace = 'hr'::regnamespace AND proname ~ '^(o|w|mentors)__';
SELECT dbpatterns.closure_disable('t', drop_closure => true);
SELECT proname FROM pg_proc WHERE pronamespace = 'hr'::regnamespace AND proname ~ '^t__';
-- A temporary table has temporary ones.
CREATE TEMP TABLE tmp (id int PRIMARY KEY, up int);
INSERT INTO tmp VALUES (1, NULL), (2, 1);
SELECT dbpatterns.closure_enable('tmp', 'up');
SELECT * FROM pg_temp.tmp__descendants(1);
DROP TABLE tmp;

-- ---- what they are made of -----------------------------------------------------
SELECT * FROM dbpatterns.closure_preorder('{NULL,1,1,2,NULL,0,6}');
SELECT node, path, branch FROM dbpatterns.closure_preorder('{NULL,1}', false, false);
SELECT * FROM dbpatterns.closure_preorder('{2,1}');
SELECT * FROM dbpatterns.closure_preorder('{}');
SELECT * FROM dbpatterns.closure_preorder(NULL);
SELECT * FROM dbpatterns.closure_preorder('{3,NULL}');
SELECT * FROM dbpatterns.closure_preorder('{-1}');
SELECT dbpatterns.closure_column(x, 'b'), dbpatterns.closure_columns(x, '{b}') FROM (VALUES (1, 'x'), (2, NULL)) x (a, b);
SELECT row_to_json(dbpatterns.closure_columns(x, names)) FROM (VALUES (1, 'x'), (NULL, 'y')) x (a, b), (VALUES ('{b,a}'::name[]), ('{a}'), ('{}'), (NULL)) n (names);
SELECT dbpatterns.closure_columns(NULL::m, '{name}') IS NULL AS nothing;
SELECT dbpatterns.closure_dot_string(E'a"b\\c\r\nd'), dbpatterns.closure_dot_string(NULL);
SELECT dbpatterns.closure_mermaid_string(E'"<a>" & #1;\r\n`b`'), dbpatterns.closure_mermaid_string('  '), dbpatterns.closure_mermaid_string(NULL);
SELECT v, dbpatterns.closure_mermaid_id(v) FROM unnest('{a1,end,A,a b,"",é,xa}'::text[]) v;
SELECT dbpatterns.closure_pair_depth('m_closure', 1, 'x'::text, 1, 'y'::text, 2), dbpatterns.closure_node_depth('m_closure', 1, 'y'::text, 2),
       dbpatterns.closure_pair_depth('r_closure', 1, NULL::int);
SELECT dbpatterns.closure_pair_depth('r_closure', 1);
SELECT dbpatterns.closure_pair_depth('r_closure', 1, 2, 3);
SELECT dbpatterns.closure_pair_depth('r_closure', 1, 2::bigint);
SELECT dbpatterns.closure_node_depth('r_closure', '1'::text);
SELECT dbpatterns.closure_node_depth('r', 1);
SELECT dbpatterns.closure_node_depth('pg_proc', 1);
SELECT dbpatterns.closure_node_depth('v', 1);
SELECT dbpatterns.closure_pair_depth(NULL, 1, 2) IS NULL AS nothing;
SELECT dbpatterns.closure_pair_depth(0, 1, 2);
SELECT dbpatterns.closure_may_have_orphans(0, 0);

SET search_path = public;
DROP SCHEMA hr CASCADE;
DROP SCHEMA hr_types CASCADE;
DROP FUNCTION hr_signature, hr_reload;
DROP ROLE regress_dbp_owner, regress_dbp_user;
