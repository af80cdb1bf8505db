-- Who may do what: writers need no right on the closure, row-level security of
-- the table does not hide parents from it, nobody writes into it by hand but
-- its owner, and what the owner's functions run as.
\getenv srcdir PG_ABS_SRCDIR
\set include :srcdir '/sql/include/hierarchy.sql'
\i :include
SET client_min_messages = warning;
DROP ROLE IF EXISTS regress_dbp_owner, regress_dbp_writer, regress_dbp_other;
RESET client_min_messages;
CREATE ROLE regress_dbp_owner;
CREATE ROLE regress_dbp_writer;
CREATE ROLE regress_dbp_other;
GRANT USAGE ON SCHEMA t TO PUBLIC;
GRANT CREATE ON SCHEMA t TO regress_dbp_owner;

SET ROLE regress_dbp_owner;
CREATE TABLE node (id int PRIMARY KEY, tenant text DEFAULT current_user, parent_id int, name text);
INSERT INTO node VALUES (1, 'x', NULL), (2, 'y', 1);
RESET ROLE;
-- Only the owner may enable it; it belongs to the owner then.
SET ROLE regress_dbp_writer;
SELECT refused($$SELECT dbpatterns.closure_enable('t.node', 'parent_id')$$);
RESET ROLE;
SELECT dbpatterns.closure_enable('node', 'parent_id');
SELECT watch('node', '{parent_id}');
:same
SELECT relname, pg_get_userbyid(relowner) FROM pg_class WHERE relname LIKE 'node%' AND relkind = 'r' ORDER BY 1;

-- A role that may only write the table.
GRANT INSERT, UPDATE, DELETE ON node TO regress_dbp_writer;
GRANT SELECT (id) ON node TO regress_dbp_writer;
SET ROLE regress_dbp_writer;
INSERT INTO node (id, parent_id) VALUES (4, 3), (3, 2);
UPDATE node SET parent_id = 1 WHERE id = 4;
DELETE FROM node WHERE id = 2;
SELECT refused('SELECT * FROM node_closure');
SELECT refused('INSERT INTO node_closure VALUES (1, 3, 9)');
SELECT refused('DELETE FROM node_closure');
SELECT refused($$SELECT dbpatterns.closure_disable('node')$$);
SELECT refused($$SELECT * FROM dbpatterns.closure_sync('node')$$);
SELECT refused($$CALL dbpatterns.closure_rebuild('node')$$);
RESET ROLE;
:same
SELECT * FROM below('node_closure');
-- A cycle names no row that the writer could not see otherwise than by its key.
SET ROLE regress_dbp_writer;
SELECT refused('UPDATE node SET parent_id = 4 WHERE id = 1');
RESET ROLE;

-- The owner, who is no superuser, may repair it.
SET ROLE regress_dbp_owner;
DELETE FROM node_closure WHERE ancestor = 1 AND descendant = 4;
SELECT * FROM dbpatterns.closure_sync('node');
DELETE FROM node_closure WHERE ancestor = 1 AND descendant = 4;
CALL dbpatterns.closure_rebuild('node');
RESET ROLE;
:same

-- Row-level security, also forced upon the owner: parents that the writer does
-- not see are parents.
ALTER TABLE node ENABLE ROW LEVEL SECURITY, FORCE ROW LEVEL SECURITY;
CREATE POLICY own ON node USING (tenant = current_user) WITH CHECK (tenant = current_user);
GRANT SELECT ON node TO regress_dbp_writer;
SET ROLE regress_dbp_writer;
SELECT id FROM node ORDER BY 1;
INSERT INTO node (id, parent_id) VALUES (10, 1), (11, 10), (12, 99);
UPDATE node SET parent_id = 1 WHERE id = 3;
RESET ROLE;
:same
SET ROLE regress_dbp_owner;
SELECT id FROM node ORDER BY 1;
INSERT INTO node (id, parent_id) VALUES (20, 11), (99, 20), (98, NULL);
UPDATE node SET parent_id = 3 WHERE id = 20;
RESET ROLE;
:same
SET ROLE regress_dbp_writer;
-- The cycle goes through rows of another tenant.
SELECT refused('UPDATE node SET parent_id = 12 WHERE id = 3');
DELETE FROM node WHERE id = 3;
RESET ROLE;
:same
SELECT * FROM below('node_closure');
-- Policies that fail when anybody but the owner looks.
CREATE FUNCTION fails() RETURNS boolean LANGUAGE plpgsql AS $$ BEGIN RAISE 'looked at by %', current_user; END $$;
CREATE POLICY trap ON node AS RESTRICTIVE FOR SELECT USING (fails());
GRANT INSERT ON node TO regress_dbp_other;
SET ROLE regress_dbp_other;
INSERT INTO node (id, parent_id) VALUES (30, 12), (31, 99);
RESET ROLE;
DROP POLICY trap ON node;
:same
ALTER TABLE node NO FORCE ROW LEVEL SECURITY, DISABLE ROW LEVEL SECURITY;

-- Deferred to the end of a transaction in which the role changes.
ALTER TABLE node ADD CONSTRAINT late FOREIGN KEY (parent_id) REFERENCES node DEFERRABLE INITIALLY DEFERRED NOT VALID;
SET ROLE regress_dbp_writer;
BEGIN;
INSERT INTO node (id, parent_id) VALUES (41, 40), (42, 41);
SET ROLE regress_dbp_owner;
INSERT INTO node (id, parent_id) VALUES (40, 1);
SET ROLE regress_dbp_other;
COMMIT;
RESET ROLE;
:same

-- A hostile search_path and objects of a writer's in it.
CREATE SCHEMA evil AUTHORIZATION regress_dbp_writer;
SET ROLE regress_dbp_writer;
CREATE TABLE evil.node (id int, parent_id int);
CREATE TABLE evil.node_closure (ancestor int, descendant int, depth int);
CREATE FUNCTION evil.eq(int, int) RETURNS boolean LANGUAGE plpgsql AS $$ BEGIN RAISE 'executed as %', current_user; END $$;
CREATE OPERATOR evil.= (LEFTARG = int, RIGHTARG = int, FUNCTION = evil.eq);
SET search_path = evil, pg_catalog;
INSERT INTO t.node (id, parent_id) VALUES (51, 50), (50, 42);
UPDATE t.node SET parent_id = 1 WHERE id OPERATOR(pg_catalog.=) 51;
RESET ROLE;
SET search_path = t;
:same
SELECT count(*) FROM evil.node_closure;

-- The owner changes: so does the owner of the closure, or the check tells.
ALTER TABLE node OWNER TO regress_dbp_other;
SET ROLE regress_dbp_other;
INSERT INTO t.node (id, parent_id) VALUES (61, 60), (60, 51);
RESET ROLE;
:same
SELECT severity, object, problem, remedy FROM dbpatterns.closure_check('node');

SET client_min_messages = warning;
DROP SCHEMA evil CASCADE;
RESET client_min_messages;
DROP TABLE node;
DROP TABLE IF EXISTS node_closure;
REVOKE ALL ON SCHEMA t FROM regress_dbp_owner, regress_dbp_writer;
DROP OWNED BY regress_dbp_owner, regress_dbp_writer, regress_dbp_other CASCADE;
DROP ROLE regress_dbp_owner, regress_dbp_writer, regress_dbp_other;
:finish
