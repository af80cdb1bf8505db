-- Tables with a hierarchy that are altered or dropped: names follow, the closure
-- table follows, what would break it is refused.
\getenv srcdir PG_ABS_SRCDIR
\set include :srcdir '/sql/include/hierarchy.sql'
\i :include
CREATE SCHEMA t2;
CREATE ROLE regress_dbp_owner;
CREATE ROLE regress_dbp_other;
GRANT USAGE, CREATE ON SCHEMA t, t2 TO regress_dbp_owner, regress_dbp_other;
-- Only the first line of what the server says: the rest names what others made.
CREATE FUNCTION refused_briefly(statement text) RETURNS text LANGUAGE sql AS $$
    SELECT split_part(refused(statement), E'\n', 1)
$$;
CREATE VIEW hierarchies AS
    SELECT target::text, closure::text, key, parent, order_by, active FROM dbpatterns.closure_status;
-- Where the closure table of a table is, and whose.
CREATE FUNCTION places(target regclass) RETURNS TABLE (schema text, owner text, persistence "char") LANGUAGE sql AS $$
    SELECT relnamespace::regnamespace::text,
           CASE WHEN pg_get_userbyid(relowner) = current_user THEN 'us' ELSE pg_get_userbyid(relowner) END, relpersistence
      FROM pg_class JOIN dbpatterns.closure_status s ON s.closure = oid WHERE s.target = places.target
$$;

-- Columns that are renamed: in the key, the parent, the scope and the order.
CREATE TABLE n (tenant int, id int, up int, pos int, PRIMARY KEY (tenant, id));
CREATE INDEX ON n (tenant, up);
SELECT dbpatterns.closure_enable('n', '{tenant,up}', order_by => 'pos');
CREATE FUNCTION n__mine(node int) RETURNS SETOF int LANGUAGE sql STABLE
BEGIN ATOMIC
    SELECT descendant FROM n_closure WHERE ancestor = node ORDER BY 1;
END;
SELECT dbpatterns.closure_enable('n', '{tenant,up}', order_by => 'pos', max_depth => 50);
INSERT INTO n VALUES (1, 1, NULL, 1), (1, 2, 1, 1);
ALTER TABLE n RENAME id TO "The Id";
ALTER TABLE n RENAME up TO x;
ALTER TABLE n RENAME "The Id" TO up;
ALTER TABLE n RENAME x TO id;
ALTER TABLE n RENAME tenant TO org;
ALTER TABLE n RENAME pos TO "order";
SELECT * FROM hierarchies;
INSERT INTO n (org, up, id) VALUES (1, 3, 2);
UPDATE n SET id = 1 WHERE up = 3;
SELECT * FROM n_closure ORDER BY 1, 2, 3;
SELECT dbpatterns.closure_enable('n', '{org,id}', order_by => 'order', max_depth => 50);
-- Within a transaction, and rolled back.
BEGIN;
ALTER TABLE n RENAME id TO up_id;
INSERT INTO n (org, up, up_id) VALUES (1, 4, 3);
ROLLBACK;
INSERT INTO n (org, up, id) VALUES (1, 4, 3);
SELECT * FROM n_closure WHERE descendant = 4 ORDER BY depth;

-- The closure table that is renamed, and the table.
ALTER TABLE n_closure RENAME TO pairs;
ALTER TABLE n RENAME TO nodes;
SELECT * FROM hierarchies;
DELETE FROM nodes WHERE up = 4;
SELECT count(*) FROM pairs;
SELECT dbpatterns.closure_enable('nodes', '{org,id}', order_by => 'order', max_depth => 50);
SELECT refused('ALTER TABLE pairs RENAME ancestor TO a');
-- ALTER INDEX renames tables, too.
ALTER INDEX pairs RENAME TO other_pairs;
SELECT closure, active FROM hierarchies;
ALTER TABLE other_pairs RENAME TO pairs;

-- To another schema, owner or persistence the closure table follows, and the
-- functions that read it; alone it does not go there.
SELECT refused('ALTER TABLE pairs SET SCHEMA t2');
SELECT refused('ALTER TABLE pairs OWNER TO regress_dbp_owner');
SELECT refused('ALTER TABLE pairs SET UNLOGGED');
ALTER TABLE nodes SET SCHEMA t2;
ALTER TABLE t2.nodes OWNER TO regress_dbp_owner;
ALTER TABLE t2.nodes SET UNLOGGED;
SELECT * FROM places('t2.nodes');
SELECT pronamespace::regnamespace, pg_get_userbyid(proowner) FROM pg_proc WHERE proname = 'n__mine';
SET ROLE regress_dbp_owner;
INSERT INTO t2.nodes (org, up, id) VALUES (1, 5, 1);
SELECT * FROM t2.n__mine(1);
ALTER TABLE t2.nodes SET SCHEMA t;
RESET ROLE;
ALTER TABLE nodes SET LOGGED;
ALTER TABLE nodes OWNER TO CURRENT_USER;
SELECT * FROM places('nodes');
ALTER SCHEMA t2 RENAME TO t3;
-- A name that is taken there: nothing moves.
CREATE TABLE t3.pairs ();
SELECT refused('ALTER TABLE nodes SET SCHEMA t3');
DROP TABLE t3.pairs;
SELECT * FROM places('nodes');
ALTER SCHEMA t3 RENAME TO t2;

-- What a hierarchy needs is not dropped, nor given another type.
SELECT what, left(refused('ALTER TABLE nodes ' || what), 5) AS state FROM unnest(ARRAY[
    'DROP COLUMN id', 'DROP COLUMN org', 'DROP COLUMN "order"', 'ALTER id TYPE bigint', 'ALTER up TYPE bigint',
    'ALTER org TYPE text']) what;
SELECT what, left(refused(what), 5) AS state FROM unnest(ARRAY[
    'DROP TABLE pairs', 'ALTER TABLE pairs DROP COLUMN depth', 'ALTER TABLE pairs ALTER ancestor TYPE bigint']) what;
SELECT refused('CREATE TABLE child () INHERITS (nodes)');
CREATE TABLE child (LIKE nodes INCLUDING ALL);
SELECT refused('ALTER TABLE child INHERIT nodes');
DROP TABLE child;
SELECT active FROM hierarchies;

-- With CASCADE it is, and then there is no hierarchy any more.
BEGIN;
SET LOCAL client_min_messages = warning;
ALTER TABLE nodes DROP COLUMN id CASCADE;
SELECT * FROM hierarchies;
SELECT count(*) FROM pg_trigger WHERE tgrelid = 'nodes'::regclass;
SELECT count(*) FROM pairs;
INSERT INTO nodes (org, up) VALUES (1, 9);
ROLLBACK;
BEGIN;
SET LOCAL client_min_messages = warning;
DROP TABLE pairs CASCADE;
SELECT * FROM hierarchies;
SELECT count(*) FROM pg_trigger WHERE tgrelid = 'nodes'::regclass;
SELECT count(*) FROM pg_proc WHERE proname = 'n__mine';
INSERT INTO nodes (org, up) VALUES (1, 9);
ROLLBACK;
-- A trigger that is dropped leaves a hierarchy that is not complete.
BEGIN;
DROP TRIGGER dbpatterns_41_closure ON nodes;
SELECT * FROM hierarchies;
ROLLBACK;
SELECT active FROM hierarchies;

-- With its table it goes, and so do the functions that read it, but not what
-- users made of it.
CREATE VIEW mine AS SELECT * FROM pairs;
SELECT refused_briefly('DROP TABLE nodes');
DROP VIEW mine;
DROP TABLE nodes;
SELECT to_regclass('pairs'), count(*) FROM pg_proc WHERE proname = 'n__mine';
SELECT * FROM dbpatterns.status;

-- In the transaction that left nodes without their parent, too.
CREATE TABLE o (id int PRIMARY KEY, up int);
CREATE INDEX ON o (up);
SELECT dbpatterns.closure_enable('o', 'up');
BEGIN;
INSERT INTO o VALUES (1, 2);
DROP TABLE o;
COMMIT;

-- Columns that are computed anew.
CREATE TABLE g (id int PRIMARY KEY, path text, up int GENERATED ALWAYS AS (nullif(length(path), 0)) STORED);
CREATE INDEX ON g (up);
INSERT INTO g VALUES (1, ''), (2, 'x');
SELECT dbpatterns.closure_enable('g', 'up');
SELECT left(refused('ALTER TABLE g ALTER up DROP EXPRESSION, ALTER up TYPE bigint'), 5) AS state;
ALTER TABLE g ALTER up DROP EXPRESSION;
UPDATE g SET up = NULL WHERE id = 2;
SELECT * FROM below('g_closure');
DROP TABLE g;

-- Partitions that come and go, with rows and without.
CREATE TABLE p (id int PRIMARY KEY, up int) PARTITION BY RANGE (id);
CREATE TABLE p1 PARTITION OF p FOR VALUES FROM (0) TO (10);
CREATE INDEX ON p (up);
SELECT dbpatterns.closure_enable('p', 'up');
SELECT watch('p', '{up}');
CREATE VIEW parts AS
    SELECT tgrelid::regclass AS "table", string_agg(substr(tgname, 12, 2), ' ' ORDER BY tgname)
      FROM pg_trigger WHERE tgrelid::regclass::text ~ '^p[0-9]*$' GROUP BY 1 ORDER BY 1;
CREATE TABLE p2 PARTITION OF p FOR VALUES FROM (10) TO (20);
CREATE TABLE p3 (id int NOT NULL, up int);
INSERT INTO p VALUES (1, NULL), (2, 1), (11, 2), (12, 11);
INSERT INTO p3 VALUES (20, 12), (21, 20);
ALTER TABLE p ATTACH PARTITION p3 FOR VALUES FROM (20) TO (30);
:same
CREATE TABLE p4 (up int, id int NOT NULL, extra int) PARTITION BY RANGE (id);
ALTER TABLE p4 DROP extra;
CREATE TABLE p41 PARTITION OF p4 FOR VALUES FROM (30) TO (40);
INSERT INTO p41 (id, up) VALUES (30, 21), (31, 30);
ALTER TABLE p ATTACH PARTITION p4 FOR VALUES FROM (30) TO (50);
:same
CREATE TABLE p42 PARTITION OF p4 FOR VALUES FROM (40) TO (50);
SELECT * FROM parts;
INSERT INTO p42 (id, up) VALUES (40, 31);
INSERT INTO p41 (id, up) VALUES (32, 40);
UPDATE p SET id = 45 WHERE id = 32;
:same
ALTER TABLE p RENAME up TO above;
INSERT INTO p42 (id, above) VALUES (41, 40);
SELECT count(*) FROM p_closure WHERE descendant = 41;
ALTER TABLE p RENAME above TO up;
:same
-- A partition that would close a cycle or is not of this server is refused.
CREATE TABLE p5 (id int NOT NULL, up int);
INSERT INTO p5 VALUES (50, 51), (51, 50);
SELECT refused_briefly('ALTER TABLE p ATTACH PARTITION p5 FOR VALUES FROM (50) TO (60)');
SELECT refused('CREATE UNLOGGED TABLE p6 PARTITION OF p FOR VALUES FROM (60) TO (70)');
:same
ALTER TABLE p DETACH PARTITION p4;
:same
SELECT * FROM parts;
INSERT INTO p41 (id, up) VALUES (33, 30);
:same
DROP TABLE p2;
:same
TRUNCATE p3;
:same
SELECT refused_briefly('DROP TABLE p_closure');
BEGIN;
SET LOCAL client_min_messages = warning;
DROP TABLE p_closure CASCADE;
SELECT * FROM parts;
ROLLBACK;
SELECT * FROM parts;
DROP TABLE p, p4;
SELECT * FROM dbpatterns.status;

-- Where event triggers are off, nothing goes wrong silently: what they would
-- have followed is an error, and the next closure_enable or the opposite command
-- makes it good.
CREATE TABLE e (id int PRIMARY KEY, up int);
CREATE INDEX ON e (up);
SELECT dbpatterns.closure_enable('e', 'up');
ALTER EVENT TRIGGER dbpatterns_ddl_command_end DISABLE;
ALTER TABLE e RENAME up TO parent;
SELECT refused('INSERT INTO e VALUES (1, NULL)');
ALTER TABLE e RENAME parent TO up;
ALTER TABLE e SET SCHEMA t2;
SELECT refused('INSERT INTO t2.e VALUES (1, NULL)');
ALTER TABLE e_closure SET SCHEMA t2;
INSERT INTO t2.e VALUES (1, NULL);
ALTER TABLE t2.e OWNER TO regress_dbp_other;
SELECT refused('INSERT INTO t2.e VALUES (2, 1)');
ALTER TABLE t2.e_closure OWNER TO regress_dbp_other;
INSERT INTO t2.e VALUES (2, 1);
SELECT * FROM below('t2.e_closure');
SELECT refused_briefly('DROP TABLE t2.e_closure');
SELECT refused_briefly('ALTER TABLE t2.e DROP up');
CREATE TABLE p (id int PRIMARY KEY, up int) PARTITION BY RANGE (id);
CREATE INDEX ON p (up);
SELECT dbpatterns.closure_enable('p', 'up');
SELECT watch('p', '{up}');
CREATE TABLE p1 (id int NOT NULL, up int);
INSERT INTO p1 VALUES (1, NULL), (2, 1);
ALTER TABLE p ATTACH PARTITION p1 FOR VALUES FROM (0) TO (10);
ALTER EVENT TRIGGER dbpatterns_ddl_command_end ENABLE;
SELECT dbpatterns.closure_enable('p', 'up');
:same
SELECT * FROM parts;

-- What a dump does not carry is made again when the triggers are.
CREATE TABLE r (id int PRIMARY KEY, up int);
CREATE INDEX ON r (up);
CREATE TABLE r_closure (ancestor int NOT NULL, descendant int NOT NULL, depth int NOT NULL, PRIMARY KEY (ancestor, descendant));
CREATE INDEX ON r_closure (descendant, ancestor) INCLUDE (depth);
CREATE TRIGGER dbpatterns_40_closure AFTER INSERT OR DELETE ON r FOR EACH ROW EXECUTE FUNCTION
    dbpatterns.closure_trigger('{"closure": "r_closure", "prefix": "r", "key": ["id"], "parent": ["up"], "max_depth": 1000}');
SELECT refused_briefly('DROP TABLE r_closure');
SELECT refused_briefly('ALTER TABLE r DROP up');
SELECT dbpatterns.closure_enable('r', 'up');
SELECT target, active FROM hierarchies WHERE target = 'r';
DROP TABLE r;
SELECT to_regclass('r_closure');
-- Also where those of a partition come before those of its root.
CREATE TABLE z (id int PRIMARY KEY, up int) PARTITION BY RANGE (id);
CREATE TABLE z1 PARTITION OF z FOR VALUES FROM (0) TO (10);
CREATE TABLE z_closure (ancestor int NOT NULL, descendant int NOT NULL, depth int NOT NULL, PRIMARY KEY (ancestor, descendant));
CREATE INDEX ON z_closure (descendant, ancestor) INCLUDE (depth);
SELECT format('CREATE TRIGGER dbpatterns_%s_closure AFTER %s ON %s FOR EACH %s EXECUTE FUNCTION dbpatterns.closure_trigger(%L)',
              n, events, "table", level, '{"closure": "z_closure", "prefix": "z", "key": ["id"], "parent": ["up"], "max_depth": 1000}')
  FROM (VALUES (42, 'INSERT OR UPDATE OR DELETE', 'z1', 'STATEMENT'), (43, 'TRUNCATE', 'z1', 'STATEMENT'),
               (40, 'INSERT OR DELETE', 'z', 'ROW'), (41, 'UPDATE', 'z', 'ROW'),
               (42, 'INSERT OR UPDATE OR DELETE', 'z', 'STATEMENT'), (43, 'TRUNCATE', 'z', 'STATEMENT')) v (n, events, "table", level) \gexec
INSERT INTO z1 VALUES (1, NULL), (2, 1);
SELECT * FROM below('z_closure');
SET client_min_messages = warning;
DROP TABLE z_closure CASCADE;
RESET client_min_messages;
SELECT tgname FROM pg_trigger WHERE tgrelid IN ('z'::regclass, 'z1'::regclass);
DROP TABLE z;

-- Without the extension tables stay as they are.
SELECT refused_briefly('DROP EXTENSION dbpatterns');
SET client_min_messages = warning;
DROP VIEW hierarchies;
DROP FUNCTION places(regclass);
DROP EXTENSION dbpatterns CASCADE;
RESET client_min_messages;
SELECT * FROM t2.e ORDER BY 1;
SELECT * FROM below('t2.e_closure');
INSERT INTO t2.e VALUES (3, 1);

SET client_min_messages = warning;
DROP SCHEMA t, t2 CASCADE;
CREATE SCHEMA t;
CREATE EXTENSION dbpatterns;
DROP OWNED BY regress_dbp_owner, regress_dbp_other;
DROP ROLE regress_dbp_owner, regress_dbp_other;
:finish
