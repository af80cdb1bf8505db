-- Nested sets beside an adjacency list: what nested_set_enable makes, that they
-- follow every change, that numbers that run out are made anew without a node
-- changing its place, and what nested_set_check finds.
\getenv srcdir PG_ABS_SRCDIR
\set include :srcdir '/sql/include/hierarchy.sql'
\i :include

-- Each tree in one line, nodes in the order of their intervals.
CREATE FUNCTION trees(storage regclass, node text DEFAULT 'node', tree text DEFAULT 'tree')
RETURNS TABLE (root text, nodes text) LANGUAGE plpgsql AS $$
BEGIN
    RETURN QUERY EXECUTE format($q$
        SELECT (%2$s)::text, string_agg((%1$s) || ':' || depth, ' ' ORDER BY lft)
          FROM %3$s GROUP BY 1 ORDER BY 1$q$, node, tree, storage);
END $$;
-- Nothing, while nested_set_check finds nothing.
\set same 'SELECT object, problem FROM dbpatterns.nested_set_check() WHERE severity <> ''info'';'

---- What is made
CREATE TABLE node (id int PRIMARY KEY, parent_id int REFERENCES node ON DELETE CASCADE ON UPDATE CASCADE, name text);
CREATE INDEX ON node (parent_id);
INSERT INTO node VALUES (1, NULL), (2, 1), (4, 2), (3, 1), (5, 2), (6, 3), (7, NULL), (8, 7);
SELECT dbpatterns.nested_set_enable('node', 'parent_id');
SELECT * FROM node_nested_set ORDER BY tree, lft;
SELECT attname, format_type(atttypid, atttypmod), attnotnull FROM pg_attribute
 WHERE attrelid = 'node_nested_set'::regclass AND attnum > 0 ORDER BY attnum;
SELECT pg_get_indexdef(indexrelid) FROM pg_index WHERE indrelid = 'node_nested_set'::regclass ORDER BY 1;
SELECT tgname, regexp_replace(pg_get_triggerdef(oid), '^.* (AFTER.*) EXECUTE .*$', '\1') FROM pg_trigger
 WHERE tgrelid = 'node'::regclass AND NOT tgisinternal ORDER BY 1;
SELECT target, nested_set, key, parent, gap, order_by, on_orphan, fire, active FROM dbpatterns.nested_set_status;
SELECT target, patterns, options FROM dbpatterns.status;
SELECT obj_description('node_nested_set'::regclass);
SELECT p.oid::regprocedure, provolatile, proparallel, obj_description(p.oid) FROM pg_proc p
 WHERE pronamespace = 't'::regnamespace AND proname LIKE 'node\_\_%' ORDER BY 1::text;
-- The same again, and other settings.
SELECT dbpatterns.nested_set_enable('node', 'parent_id');
CREATE VIEW reading AS SELECT * FROM node__nested_children(1);
SELECT dbpatterns.nested_set_enable('node', '{parent_id}', gap => 8, on_orphan => 'error', fire => 'always');
TABLE reading;
DROP VIEW reading;
SELECT gap, on_orphan, fire, active FROM dbpatterns.nested_set_status;
SELECT dbpatterns.nested_set_enable('node', 'parent_id');

---- Reading
SELECT * FROM node__nested_descendants(1);
SELECT * FROM node__nested_descendants(1, max_depth => 1, include_self => true);
SELECT * FROM node__nested_ancestors(5);
SELECT * FROM node__nested_ancestors(5, max_depth => 1, include_self => true);
SELECT * FROM node__nested_children(1);
SELECT * FROM node__nested_leaves(1);
SELECT * FROM node__nested_leaves(8);
SELECT (SELECT id FROM node__nested_root(6)) AS root, node__nested_depth(6) AS depth,
       node__nested_count(1) AS count, node__nested_count(8) AS none, node__nested_count(99) AS unknown,
       node__nested_is_ancestor(1, 6) AS above, node__nested_is_ancestor(6, 1) AS below,
       node__nested_is_ancestor(1, 1) AS self, node__nested_is_ancestor(7, 6) AS elsewhere;
-- The body is put in the place of the call.
CREATE FUNCTION plan(query text) RETURNS SETOF text LANGUAGE plpgsql AS $$
BEGIN
    RETURN QUERY EXECUTE 'EXPLAIN ' || query;
END $$;
SELECT f, EXISTS (SELECT FROM plan('SELECT * FROM node__nested_' || f || '(1)') p WHERE p ~ 'Function Scan on node') AS called
  FROM unnest('{descendants,ancestors,children,leaves,root}'::text[]) f;

---- Changes: any order of rows, moves, swaps
INSERT INTO node VALUES (12, 11), (11, 10), (10, 5), (13, NULL);
SELECT * FROM trees('node_nested_set');
:same
SELECT array_agg(ctid ORDER BY node) AS before FROM node_nested_set \gset
UPDATE node SET parent_id = parent_id, name = 'x';
SELECT array_agg(ctid ORDER BY node) = :'before' AS untouched FROM node_nested_set;
UPDATE node SET parent_id = 13 WHERE id = 3;
UPDATE node SET parent_id = NULL WHERE id = 2;
UPDATE node SET parent_id = 7 WHERE id = 13;
SELECT * FROM trees('node_nested_set');
:same
-- A node and one below it, each to another place.
UPDATE node SET parent_id = CASE id WHEN 2 THEN 8 ELSE 1 END WHERE id IN (2, 10);
SELECT * FROM trees('node_nested_set');
-- A chain turned over.
UPDATE node SET parent_id = CASE id WHEN 12 THEN 1 WHEN 11 THEN 12 ELSE 11 END WHERE id IN (10, 11, 12);
SELECT * FROM trees('node_nested_set');
:same
-- The root of a tree becomes part of it.
UPDATE node SET parent_id = CASE id WHEN 7 THEN 8 END WHERE id IN (7, 8);
SELECT * FROM trees('node_nested_set');
:same
-- Cycles, however they come.
SELECT refused('UPDATE node SET parent_id = 1 WHERE id = 1');
SELECT refused('UPDATE node SET parent_id = 10 WHERE id = 1');
SELECT refused('UPDATE node SET parent_id = CASE id WHEN 1 THEN 8 ELSE 1 END WHERE id IN (1, 8)');
SELECT refused('INSERT INTO node VALUES (20, 22), (21, 20), (22, 21)');
SELECT refused('INSERT INTO node VALUES (20, 20)');
SELECT * FROM trees('node_nested_set');
:same
-- Keys: of a root, of an inner node; children follow by the foreign key.
UPDATE node SET id = 100 WHERE id = 8;
UPDATE node SET id = 120 WHERE id = 12;
SELECT * FROM trees('node_nested_set');
:same
-- Deletes.
DELETE FROM node WHERE id IN (11, 6);
SELECT * FROM trees('node_nested_set');
DELETE FROM node WHERE id = 100;
SELECT * FROM trees('node_nested_set');
:same
-- Savepoints, one command with several parts, MERGE, ON CONFLICT.
BEGIN;
INSERT INTO node VALUES (30, 1), (31, 30);
SAVEPOINT s;
UPDATE node SET parent_id = NULL WHERE id = 31;
DELETE FROM node WHERE id = 1;
ROLLBACK TO s;
INSERT INTO node VALUES (32, 31);
COMMIT;
WITH gone AS (DELETE FROM node WHERE id = 32) INSERT INTO node VALUES (33, 30);
INSERT INTO node VALUES (33, NULL), (34, 33) ON CONFLICT (id) DO UPDATE SET parent_id = 120;
MERGE INTO node USING (VALUES (34, 31), (35, 34), (30, NULL)) v (id, parent) ON v.id = node.id
WHEN MATCHED AND v.id = 30 THEN UPDATE SET parent_id = NULL
WHEN MATCHED THEN UPDATE SET parent_id = v.parent
WHEN NOT MATCHED THEN INSERT VALUES (v.id, v.parent);
SELECT * FROM trees('node_nested_set');
:same
TRUNCATE node;
SELECT count(*) FROM node_nested_set;
INSERT INTO node VALUES (2, 1), (1, NULL);
SELECT * FROM trees('node_nested_set');

---- Without a foreign key: orphans, and parents that come later
CREATE TABLE free (id int PRIMARY KEY, up int);
CREATE INDEX ON free (up);
INSERT INTO free VALUES (1, NULL), (2, 1), (3, 99);
SELECT dbpatterns.nested_set_enable('free', 'up', gap => 4);
INSERT INTO free VALUES (4, 98), (5, 4);
SELECT * FROM trees('free_nested_set');
INSERT INTO free VALUES (98, 2), (99, 98);
SELECT * FROM trees('free_nested_set');
DELETE FROM free WHERE id IN (2, 98);
SELECT * FROM trees('free_nested_set');
UPDATE free SET id = 2 WHERE id = 5;
SELECT * FROM trees('free_nested_set');
SELECT severity, object, problem, remedy FROM dbpatterns.nested_set_check('free');
-- on_orphan 'error'
SELECT refused($$SELECT dbpatterns.nested_set_enable('free', 'up', on_orphan => 'error')$$);
UPDATE free SET up = NULL WHERE NOT EXISTS (SELECT FROM free f WHERE f.id = free.up);
SELECT dbpatterns.nested_set_enable('free', 'up', gap => 4, on_orphan => 'error');
SELECT refused('INSERT INTO free VALUES (6, 77)');
SELECT refused('UPDATE free SET up = 77 WHERE id = 1');
SELECT refused('DELETE FROM free WHERE id = 4');
INSERT INTO free VALUES (6, 77), (77, 1);
SELECT * FROM trees('free_nested_set');
:same

---- Order of siblings
CREATE TABLE item (id text COLLATE "C" PRIMARY KEY, list text COLLATE "C" REFERENCES item, pos numeric);
CREATE INDEX ON item (list, pos);
INSERT INTO item VALUES ('r', NULL, NULL), ('c', 'r', 1), ('a', 'r', 3), ('b', 'r', 2), ('z', 'r', NULL), ('y', 'r', NULL);
SELECT dbpatterns.nested_set_enable('item', 'list', gap => 4, order_by => 'pos');
SELECT * FROM trees('item_nested_set');
INSERT INTO item VALUES ('d', 'r', 2.5), ('e', 'r', 0), ('f', 'r', 99), ('g', 'r', 2), ('x', 'r', NULL), ('e1', 'e', 2), ('e0', 'e', 1);
SELECT * FROM trees('item_nested_set');
UPDATE item SET pos = 2.7 WHERE id = 'c';
UPDATE item SET pos = NULL WHERE id = 'e';
SELECT * FROM trees('item_nested_set');
UPDATE item SET pos = 100 - pos WHERE list = 'r';
SELECT * FROM trees('item_nested_set');
:same
-- Without a column, siblings keep their places and new ones come last.
SELECT dbpatterns.nested_set_enable('item', 'list', gap => 4);
SELECT * FROM trees('item_nested_set');
INSERT INTO item VALUES ('0', 'r', 1);
SELECT * FROM trees('item_nested_set');
SELECT dbpatterns.nested_set_enable('item', 'list', gap => 4, order_by => 'id');
SELECT * FROM trees('item_nested_set');
:same

---- Numbers run out (case 64)
CREATE TABLE tight (id int PRIMARY KEY, up int REFERENCES tight, pos int);
CREATE INDEX ON tight (up, pos);
SELECT dbpatterns.nested_set_enable('tight', 'up', gap => 4, order_by => 'pos');
INSERT INTO tight VALUES (1, NULL, 0), (2, 1, 1000), (3, 1, 0);
-- Each child right before the one that came before it.
DO $$ BEGIN FOR i IN 4..300 LOOP INSERT INTO tight VALUES (i, 1, 1000 - i); END LOOP; END $$;
SELECT count(*), count(DISTINCT rgt), max(rgt) < 2 ^ 20 AS small FROM tight_nested_set;
SELECT count(*) FILTER (WHERE pos < before) AS wrong FROM (
    SELECT pos, lag(pos) OVER (ORDER BY lft) AS before FROM tight JOIN tight_nested_set ON node = id WHERE id > 1) x;
:same
-- A chain, node by node.
DO $$ BEGIN FOR i IN 301..600 LOOP INSERT INTO tight VALUES (i, CASE i WHEN 301 THEN 2 ELSE i - 1 END, 0); END LOOP; END $$;
SELECT max(depth), count(*) FROM tight_nested_set;
:same
-- A large subtree into a small gap.
UPDATE tight SET up = 3 WHERE id = 301;
SELECT tight__nested_count(3);
:same
-- With usual gaps, a thousand children move nobody.
CREATE TABLE wide (id int PRIMARY KEY, up int REFERENCES wide);
CREATE INDEX ON wide (up);
INSERT INTO wide VALUES (1, NULL), (2, 1);
SELECT dbpatterns.nested_set_enable('wide', 'up');
SELECT array_agg(ctid ORDER BY node) AS before FROM wide_nested_set \gset
DO $$ BEGIN FOR i IN 3..1000 LOOP INSERT INTO wide VALUES (i, 1); END LOOP; END $$;
SELECT array_agg(ctid ORDER BY node) = :'before' AS untouched FROM wide_nested_set WHERE node < 3;
-- Many rows in any order come in chunks.
INSERT INTO wide SELECT i, (i - 1000) / 3 + 1 FROM generate_series(1001, 30000) i ORDER BY hashint4(i);
SELECT count(*), max(depth) FROM wide_nested_set;
:same
UPDATE wide SET up = 1000 WHERE id = 1001;
SELECT wide__nested_count(1), wide__nested_count(1000);
:same
DELETE FROM wide WHERE id IN (SELECT id FROM wide__nested_descendants(1));
SELECT count(*) FROM wide_nested_set;

---- Keys of several columns, with a scope
CREATE TABLE tenant (tenant_id int, "Id" uuid, "Up" uuid, PRIMARY KEY (tenant_id, "Id"));
INSERT INTO tenant SELECT t, ('00000000-0000-0000-0000-00000000000' || i)::uuid,
       CASE WHEN i > 1 THEN ('00000000-0000-0000-0000-00000000000' || i / 2)::uuid END
  FROM generate_series(1, 2) t, generate_series(1, 7) i;
SELECT dbpatterns.nested_set_enable('tenant', '{tenant_id,Up}');
SELECT * FROM trees('tenant_nested_set', 'right(node::text, 1)', 'tenant_id');
UPDATE tenant SET "Up" = '00000000-0000-0000-0000-000000000007' WHERE tenant_id = 2 AND "Id" = '00000000-0000-0000-0000-000000000002';
UPDATE tenant SET tenant_id = 3 WHERE tenant_id = 1;
SELECT * FROM trees('tenant_nested_set', 'right(node::text, 1)', 'tenant_id');
SELECT right("Id"::text, 1), depth FROM tenant__nested_descendants(2, '00000000-0000-0000-0000-000000000003');
\df tenant__nested_children
:same
CREATE TABLE part (tenant int NOT NULL, id int PRIMARY KEY, up int, UNIQUE (tenant, id));
INSERT INTO part VALUES (1, 1, NULL), (2, 2, NULL);
SELECT dbpatterns.nested_set_enable('part', 'up', scope => '{tenant}');
CREATE TABLE pair (a int, b text, up_b text, up_a int, PRIMARY KEY (a, b), UNIQUE (b, a));
INSERT INTO pair VALUES (1, 'x', NULL, NULL), (1, 'y', 'x', 1), (2, 'x', 'y', 1), (2, 'y', 'y', NULL);
SELECT dbpatterns.nested_set_enable('pair', '{up_a,up_b}', nested_set => 'pairs');
SELECT * FROM pairs ORDER BY tree_a, tree_b, lft;
SELECT * FROM pairs__nested_ancestors(2, 'x');
SELECT proname FROM pg_proc WHERE pronamespace = 't'::regnamespace AND proname ~ '^pair.*children';
ALTER TABLE pair RENAME b TO second;
INSERT INTO pair VALUES (3, 'z', 'x', 2);
:same

---- Two on one table, and a closure table beside them
CREATE TABLE staff (id int PRIMARY KEY, boss int, mentor int);
INSERT INTO staff VALUES (1, NULL, 3), (2, 1, 3), (3, 1, NULL);
SELECT dbpatterns.nested_set_enable('staff', 'boss');
SELECT dbpatterns.nested_set_enable('staff', 'mentor', nested_set => 'mentors_nested_set');
SELECT dbpatterns.closure_enable('staff', 'boss');
UPDATE staff SET boss = 2, mentor = NULL WHERE id = 3;
UPDATE staff SET mentor = 1 WHERE id = 2;
SELECT * FROM trees('staff_nested_set') UNION ALL SELECT * FROM trees('mentors_nested_set');
SELECT * FROM below('staff_closure');
SELECT refused($$SELECT dbpatterns.nested_set_rebuild('staff')$$);
SELECT refused($$SELECT dbpatterns.nested_set_disable('staff')$$);
SELECT tgname FROM pg_trigger WHERE tgrelid = 'staff'::regclass AND NOT tgisinternal ORDER BY 1;
SELECT dbpatterns.nested_set_disable('staff', 'mentors_nested_set');
SELECT dbpatterns.nested_set_disable('staff', 'staff_nested_set', drop_nested_set => true);
SELECT dbpatterns.nested_set_disable('staff');
SELECT refused($$SELECT dbpatterns.nested_set_disable('staff', 'staff_nested_set')$$);
SELECT proname FROM pg_proc WHERE pronamespace = 't'::regnamespace AND proname ~ '^(staff|mentors)__nested';
SELECT patterns FROM dbpatterns.status WHERE target = 'staff'::regclass;
UPDATE staff SET boss = NULL;
SELECT * FROM trees('mentors_nested_set');
SELECT dbpatterns.closure_disable('staff', drop_closure => true);

---- Partitions
CREATE TABLE parted (id int PRIMARY KEY, up int) PARTITION BY RANGE (id);
CREATE TABLE parted1 PARTITION OF parted FOR VALUES FROM (0) TO (10);
CREATE TABLE parted2 (up int, gone int, id int NOT NULL);
ALTER TABLE parted2 DROP gone;
ALTER TABLE parted ATTACH PARTITION parted2 FOR VALUES FROM (10) TO (20);
SELECT dbpatterns.nested_set_enable('parted', 'up');
INSERT INTO parted VALUES (1, NULL), (11, 1), (2, 11);
INSERT INTO parted2 VALUES (2, 12);
UPDATE parted SET id = 13 WHERE id = 2;
SELECT * FROM trees('parted_nested_set');
CREATE TABLE parted3 PARTITION OF parted FOR VALUES FROM (20) TO (30);
INSERT INTO parted3 VALUES (20, 13);
SELECT * FROM trees('parted_nested_set');
TRUNCATE parted2;
SELECT * FROM trees('parted_nested_set');
:same

---- Rights and search_path
SET client_min_messages = warning;
DROP ROLE IF EXISTS regress_dbp_nested;
CREATE ROLE regress_dbp_nested;
RESET client_min_messages;
GRANT USAGE ON SCHEMA t TO regress_dbp_nested;
GRANT SELECT, INSERT, UPDATE, DELETE ON node TO regress_dbp_nested;
ALTER TABLE node ENABLE ROW LEVEL SECURITY, FORCE ROW LEVEL SECURITY;
CREATE POLICY own ON node TO regress_dbp_nested USING (id > 40);
SET ROLE regress_dbp_nested;
SET search_path = pg_catalog;
INSERT INTO t.node VALUES (41, 2), (42, 41);
UPDATE t.node SET parent_id = 1 WHERE id = 42;
\set VERBOSITY sqlstate
SELECT * FROM t.node_nested_set;
SELECT * FROM t.node__nested_descendants(1);
SELECT dbpatterns.nested_set_enable('t.node', 'parent_id');
SELECT dbpatterns.nested_set_disable('t.node');
SELECT dbpatterns.nested_set_rebuild('t.node');
\set VERBOSITY default
SELECT * FROM dbpatterns.nested_set_check('t.node');
RESET ROLE;
SET search_path = t;
SELECT * FROM trees('node_nested_set');
:same
REVOKE ALL ON node FROM regress_dbp_nested;
REVOKE ALL ON SCHEMA t FROM regress_dbp_nested;
DROP POLICY own ON node;
ALTER TABLE node DISABLE ROW LEVEL SECURITY;
DROP ROLE regress_dbp_nested;

---- Edited by hand (case 66)
TRUNCATE node;
INSERT INTO node VALUES (1, NULL), (2, 1), (3, 1), (4, 2), (5, 2), (6, 3), (7, NULL), (8, 7);
SELECT dbpatterns.nested_set_rebuild('node');
SELECT * FROM node_nested_set ORDER BY tree, lft;
CREATE FUNCTION damage(change text) RETURNS TABLE (severity text, object text, problem text) LANGUAGE plpgsql AS $$
BEGIN
    EXECUTE format(change, 'node_nested_set');
    RETURN QUERY SELECT c.severity, c.object, c.problem FROM dbpatterns.nested_set_check('t.node') c;
    DELETE FROM node_nested_set;
    PERFORM dbpatterns.nested_set_rebuild('node');
    PERFORM FROM dbpatterns.nested_set_check('node');
    IF FOUND THEN RAISE 'not repaired'; END IF;
END $$;
SELECT * FROM damage('UPDATE %s SET depth = 7 WHERE node = 3');
SELECT * FROM damage('UPDATE %s SET rgt = rgt + 1000000000000 WHERE node = 4');
SELECT * FROM damage('UPDATE %s SET rgt = lft WHERE node = 4');
SELECT * FROM damage('UPDATE %s s SET rgt = o.rgt FROM node_nested_set o WHERE s.node = 4 AND o.node = 2');
SELECT * FROM damage('DROP INDEX node_nested_set_lft_idx; UPDATE %1$s s SET lft = o.lft, rgt = o.rgt FROM node_nested_set o WHERE s.node = 4 AND o.node = 5; CREATE INDEX node_nested_set_lft_idx ON node_nested_set (tree, lft)');
SELECT * FROM damage('UPDATE %s SET tree = 7, lft = lft + 5 WHERE node = 6');
SELECT * FROM damage('UPDATE %s SET lft = 3, rgt = 4 WHERE node = 6');
SELECT * FROM damage('DELETE FROM %s WHERE node = 5');
SELECT * FROM damage('INSERT INTO %s VALUES (9, 7, 5, 6, 2)');
SELECT * FROM damage('UPDATE %s SET rgt = rgt - 1 WHERE node = 7');
SELECT * FROM damage('UPDATE node SET parent_id = parent_id');
-- Siblings out of order.
BEGIN;
DROP INDEX item_nested_set_lft_idx;
UPDATE item_nested_set i SET lft = o.lft, rgt = o.rgt FROM item_nested_set o
 WHERE (i.node = 'a' AND o.node = 'b') OR (i.node = 'b' AND o.node = 'a');
CREATE UNIQUE INDEX item_nested_set_lft_idx ON item_nested_set (tree, lft);
COMMIT;
SELECT object, problem FROM dbpatterns.nested_set_check('item');
SELECT dbpatterns.nested_set_rebuild('item');
:same
-- Numbers that cannot be are not built upon.
UPDATE node_nested_set SET rgt = -5 WHERE node = 8;
SELECT refused('INSERT INTO node VALUES (9, 8)');
SELECT dbpatterns.nested_set_rebuild('node', tree => '{7}');
INSERT INTO node VALUES (9, 8);
:same
-- Triggers that were off: what is missing is placed when it is met, and by enabling again.
ALTER TABLE node DISABLE TRIGGER USER;
INSERT INTO node VALUES (10, 9), (11, 10), (12, NULL);
ALTER TABLE node ENABLE TRIGGER USER;
INSERT INTO node VALUES (13, 11);
SELECT * FROM trees('node_nested_set');
SELECT object, problem, remedy FROM dbpatterns.nested_set_check('node');
ALTER TABLE node DISABLE TRIGGER USER;
SELECT object, problem, remedy FROM dbpatterns.nested_set_check('node');
SELECT dbpatterns.nested_set_enable('node', 'parent_id');
:same
-- All triggers gone, and the table with them.
BEGIN;
SET LOCAL session_replication_role = replica;
DO $$
DECLARE name name;
BEGIN
    FOR name IN SELECT tgname FROM pg_trigger WHERE tgrelid = 'node'::regclass AND tgname ~ '^dbpatterns' LOOP
        EXECUTE format('DROP TRIGGER %I ON node', name);
    END LOOP;
END $$;
SELECT object, problem, remedy FROM dbpatterns.nested_set_check('node');
SET LOCAL client_min_messages = error;
DROP TABLE node_nested_set CASCADE;
SELECT object, problem, remedy FROM dbpatterns.nested_set_check() WHERE severity <> 'info';
ROLLBACK;
:same

---- Refused
SELECT refused($$SELECT dbpatterns.nested_set_enable(NULL, 'up')$$);
SELECT refused($$SELECT dbpatterns.nested_set_enable('free', NULL::name)$$);
SELECT refused($$SELECT dbpatterns.nested_set_enable('free', 'up', gap => 3)$$);
SELECT refused($$SELECT dbpatterns.nested_set_enable('free', 'up', gap => 1099511627777)$$);
SELECT refused($$SELECT dbpatterns.nested_set_enable('free', 'up', order_by => 'nothing')$$);
SELECT refused($$SELECT dbpatterns.nested_set_enable('free', 'up', on_orphan => 'drop')$$);
SELECT refused($$SELECT dbpatterns.nested_set_enable('free', 'up', fire => 'never')$$);
SELECT refused($$SELECT dbpatterns.nested_set_enable('free', 'up', nested_set => 'node')$$);
SELECT refused($$SELECT dbpatterns.nested_set_enable('parted1', 'up')$$);
CREATE TABLE bad (id int PRIMARY KEY, up int, lft int, "left" bigint, j json);
SELECT refused($$SELECT dbpatterns.nested_set_enable('bad', 'left')$$);
SELECT refused($$SELECT dbpatterns.nested_set_enable('bad', 'up', order_by => 'j')$$);
SELECT refused($$SELECT dbpatterns.nested_set_enable('bad', 'up', scope => '{lft}')$$);
INSERT INTO bad VALUES (1, 2), (2, 1), (3, 3), (4, 5);
SELECT refused($$SELECT dbpatterns.nested_set_enable('bad', 'up')$$);
DELETE FROM bad WHERE id < 4;
CREATE FUNCTION bad__nested_root(int) RETURNS int LANGUAGE sql AS 'SELECT 1';
SELECT refused($$SELECT dbpatterns.nested_set_enable('bad', 'up')$$);
SELECT to_regclass('bad_nested_set');
SELECT refused($$SELECT dbpatterns.nested_set_rebuild('bad')$$);
SELECT refused($$SELECT dbpatterns.nested_set_rebuild('node', tree => '{2}')$$);
SELECT refused($$SELECT dbpatterns.nested_set_rebuild('node', tree => '{1,2}')$$);
SELECT refused($$SELECT dbpatterns.nested_set_rebuild('node', tree => '{NULL}')$$);
SELECT refused('UPDATE part SET up = 1 WHERE id = 2');
SELECT refused('DROP TABLE node_nested_set');
DROP INDEX node_nested_set_depth_idx;
SELECT refused('INSERT INTO node VALUES (50, 1)');
CREATE TRIGGER mine BEFORE INSERT ON bad FOR EACH ROW EXECUTE FUNCTION dbpatterns.nested_set_trigger();
SELECT refused('INSERT INTO bad VALUES (9, 9)');
SELECT refused('SELECT dbpatterns.nested_set_trigger()');

---- With the table, all of it goes
DROP TABLE node, free, item, tight, wide, tenant, pair, parted CASCADE;
SELECT count(*) FROM pg_class WHERE relname ~ '^(node|free|item|tight|wide|tenant|parted).*nested';
SELECT target FROM dbpatterns.nested_set_status;
:finish
