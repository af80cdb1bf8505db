-- closure_rebuild: new files, the same table.
\set SHOW_CONTEXT never
\pset footer off
SET client_min_messages = warning;
SET search_path = public;
SET debug_discard_caches = 0;
DROP EXTENSION IF EXISTS dbpatterns CASCADE;
CREATE EXTENSION dbpatterns;
DROP SCHEMA IF EXISTS t CASCADE;
CREATE SCHEMA t;
SET search_path = t;

-- What stays and what changes: look before, look after.
CREATE FUNCTION look(OUT relation name, OUT file oid, OUT id oid) RETURNS SETOF record LANGUAGE sql AS $$
    SELECT relname, pg_relation_filenode(oid), oid FROM pg_class
    WHERE relnamespace = 't'::regnamespace AND relkind IN ('r', 'i', 'v') AND relname LIKE '%closure%'
$$;

CREATE TABLE c (id int PRIMARY KEY, parent_id int REFERENCES c);
INSERT INTO c SELECT i, nullif(i / 2, 0) FROM generate_series(1, 500) i;
SELECT dbpatterns.closure_enable('c', 'parent_id');
CREATE VIEW closure_of_3 AS SELECT * FROM c_closure WHERE ancestor = 3;
CREATE INDEX closure_extra ON c_closure (depth, (ancestor + descendant)) WHERE depth > 1;
ALTER TABLE c_closure SET (fillfactor = 80, autovacuum_enabled = false);
COMMENT ON COLUMN c_closure.depth IS 'steps';
PREPARE pairs AS SELECT count(*) FROM c_closure;
EXECUTE pairs;
CREATE TEMP TABLE before AS SELECT * FROM look();
CREATE TEMP TABLE pairs_before AS SELECT * FROM c_closure;
CALL dbpatterns.closure_rebuild('c');
SELECT relation, a.id = b.id AS same_table, a.file = b.file AS same_file
  FROM look() a FULL JOIN before b USING (relation) ORDER BY 1;
SELECT count(*) FROM (TABLE pairs_before EXCEPT ALL TABLE c_closure) x;
EXECUTE pairs;
SELECT * FROM dbpatterns.closure_check();
SELECT count(*) FROM closure_of_3;
SELECT reloptions, obj_description(oid), col_description(oid, 3) FROM pg_class WHERE relname = 'c_closure';
-- In the order of the key, known to the planner, visible to all.
SELECT count(*) FROM (SELECT (ancestor, descendant) < lag((ancestor, descendant)) OVER (ORDER BY ctid) AS back FROM c_closure) x WHERE back;
SELECT reltuples, relpages = relallvisible AND relpages > 0 AS all_visible FROM pg_class WHERE relname = 'c_closure';
SET enable_seqscan = off;
SELECT count(*) FROM c_closure WHERE descendant = 500;
SELECT count(*) FROM c_closure WHERE ancestor = 3;
SELECT count(*) FROM c_closure WHERE depth = 5 AND ancestor + descendant = 510;
RESET enable_seqscan;
-- It is kept from there on.
UPDATE c SET parent_id = 3 WHERE id = 2;
INSERT INTO c VALUES (501, 500);
SELECT * FROM dbpatterns.closure_check();
UPDATE c SET parent_id = 1 WHERE id = 2;

-- It repairs, too; also while the transaction has changed the table.
ALTER TABLE c DISABLE TRIGGER USER;
UPDATE c SET parent_id = 3 WHERE id = 4;
ALTER TABLE c ENABLE TRIGGER USER;
DELETE FROM c_closure WHERE ancestor = 7;
SELECT count(*) > 0 AS wrong FROM dbpatterns.closure_check();
BEGIN;
INSERT INTO c VALUES (502, 4);
CALL dbpatterns.closure_rebuild('c', 'c_closure');
INSERT INTO c VALUES (503, 502);
SELECT * FROM dbpatterns.closure_check();
SAVEPOINT s;
CALL dbpatterns.closure_rebuild('c');
ROLLBACK TO s;
SELECT * FROM dbpatterns.closure_check();
ROLLBACK;
SELECT count(*) > 0 AS wrong FROM dbpatterns.closure_check();
CALL dbpatterns.closure_rebuild('c');
SELECT * FROM dbpatterns.closure_check();
-- Twice in a transaction.
BEGIN;
CALL dbpatterns.closure_rebuild('c');
DELETE FROM c WHERE id > 490;
CALL dbpatterns.closure_rebuild('c');
COMMIT;
SELECT * FROM dbpatterns.closure_check();
DO $$ BEGIN CALL dbpatterns.closure_rebuild('c'); COMMIT; END $$;
SELECT * FROM dbpatterns.closure_check();
SELECT * FROM dbpatterns.progress;

-- Empty, unlogged, temporary, partitioned, with long text for a key.
CREATE TABLE e (id int PRIMARY KEY, parent_id int);
SELECT dbpatterns.closure_enable('e', 'parent_id');
CALL dbpatterns.closure_rebuild('e');
INSERT INTO e VALUES (1, NULL);
SELECT * FROM dbpatterns.closure_check('e');
CREATE UNLOGGED TABLE u (id int PRIMARY KEY, parent_id int);
INSERT INTO u VALUES (1, NULL), (2, 1);
SELECT dbpatterns.closure_enable('u', 'parent_id');
CALL dbpatterns.closure_rebuild('u');
SELECT relpersistence FROM pg_class WHERE relname = 'u_closure';
SELECT * FROM dbpatterns.closure_check('u');
CREATE TEMP TABLE m (id int PRIMARY KEY, parent_id int);
INSERT INTO m VALUES (1, NULL), (2, 1);
SELECT dbpatterns.closure_enable('m', 'parent_id');
UPDATE m_closure SET depth = 4;
CALL dbpatterns.closure_rebuild('m');
TABLE m_closure;
SELECT * FROM dbpatterns.closure_check('m');
CREATE TABLE p (tenant int, id int, parent_id int, PRIMARY KEY (tenant, id)) PARTITION BY LIST (tenant);
CREATE TABLE p1 PARTITION OF p FOR VALUES IN (1);
CREATE TABLE p2 PARTITION OF p FOR VALUES IN (2);
INSERT INTO p SELECT t, i, nullif(i / 2, 0) FROM generate_series(1, 2) t, generate_series(1, 5) i;
SELECT dbpatterns.closure_enable('p', '{tenant,parent_id}');
DELETE FROM p_closure WHERE ancestor = 1;
CALL dbpatterns.closure_rebuild('p');
SELECT * FROM dbpatterns.closure_check('p');
CREATE TABLE x (id text PRIMARY KEY, parent_id text);
ALTER TABLE x ALTER id SET STORAGE external;
INSERT INTO x SELECT rpad(i::text, 1200, 'x'), rpad((i / 3)::text, 1200, 'x') FROM generate_series(1, 50) i;
SELECT dbpatterns.closure_enable('x', 'parent_id');
ALTER TABLE x_closure ALTER ancestor SET STORAGE external, ALTER descendant SET STORAGE external,
    SET (toast_tuple_target = 128, toast.autovacuum_enabled = false);
CALL dbpatterns.closure_rebuild('x');
SELECT problem FROM dbpatterns.closure_check('x');
SELECT t.relname = 'pg_toast_' || c.oid AS named, pg_relation_size(t.oid) > 0 AS used, t.reloptions
  FROM pg_class c JOIN pg_class t ON t.oid = c.reltoastrelid WHERE c.relname = 'x_closure';
SELECT count(*), min(length(ancestor)) FROM x_closure;
CALL dbpatterns.closure_rebuild('x');
VACUUM x_closure;
SELECT count(*), min(length(ancestor)) FROM x_closure;
DROP TABLE x CASCADE;
SELECT count(*) FROM pg_class t WHERE relkind = 't' AND NOT EXISTS (SELECT FROM pg_class c WHERE c.reltoastrelid = t.oid);

-- Refused, and nothing changed.
CREATE TEMP TABLE files AS SELECT * FROM look();
CALL dbpatterns.closure_rebuild(NULL);
CALL dbpatterns.closure_rebuild(0);
CALL dbpatterns.closure_rebuild('c', 'other');
CALL dbpatterns.closure_rebuild('c_closure');
BEGIN ISOLATION LEVEL REPEATABLE READ;
CALL dbpatterns.closure_rebuild('c');
ROLLBACK;
BEGIN;
DECLARE k CURSOR FOR SELECT * FROM c_closure;
FETCH 1 FROM k;
CALL dbpatterns.closure_rebuild('c');
ROLLBACK;
ALTER TABLE c DISABLE TRIGGER USER;
UPDATE c SET parent_id = 9 WHERE id = 3;
CALL dbpatterns.closure_rebuild('c');
UPDATE c SET parent_id = 1 WHERE id = 3;
ALTER TABLE c ENABLE TRIGGER USER;
CREATE TABLE refers (a int, d int, FOREIGN KEY (a, d) REFERENCES c_closure);
CALL dbpatterns.closure_rebuild('c');
DROP TABLE refers;
SET client_min_messages = error;
CREATE PUBLICATION closure_pub FOR TABLE c_closure;
SET client_min_messages = warning;
CALL dbpatterns.closure_rebuild('c');
DROP PUBLICATION closure_pub;
CREATE ROLE regress_dbp_other;
GRANT USAGE ON SCHEMA t TO regress_dbp_other;
SET ROLE regress_dbp_other;
CALL dbpatterns.closure_rebuild('t.c');
RESET ROLE;
SELECT count(*) FROM (SELECT * FROM look() EXCEPT TABLE files) x;
SELECT relname FROM pg_class WHERE relname LIKE '%rebuild%';
SELECT * FROM dbpatterns.progress;

-- On behalf of the owner, who has the table afterwards.
CREATE ROLE regress_dbp_owner;
GRANT USAGE, CREATE ON SCHEMA t TO regress_dbp_owner;
SET ROLE regress_dbp_owner;
CREATE TABLE o (id int PRIMARY KEY, parent_id int);
INSERT INTO o VALUES (1, NULL), (2, 1);
SELECT dbpatterns.closure_enable('o', 'parent_id');
CALL dbpatterns.closure_rebuild('o');
RESET ROLE;
CALL dbpatterns.closure_rebuild('o');
SELECT relowner::regrole FROM pg_class WHERE relname = 'o_closure';
SELECT * FROM dbpatterns.closure_check('o');

DROP SCHEMA t CASCADE;
DROP ROLE regress_dbp_owner, regress_dbp_other;
DROP EXTENSION dbpatterns CASCADE;
