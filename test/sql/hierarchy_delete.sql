-- Rows that leave: by every action of a foreign key, without one, together
-- with what comes in the same transaction, by TRUNCATE.
\getenv srcdir PG_ABS_SRCDIR
\set include :srcdir '/sql/include/hierarchy.sql'
\i :include

-- ON DELETE CASCADE.
CREATE TABLE node (id int PRIMARY KEY, parent_id int REFERENCES node ON DELETE CASCADE);
CREATE INDEX ON node (parent_id);
CREATE TABLE rows AS SELECT i AS id, nullif(i / 2, 0) AS parent_id FROM generate_series(1, 63) i;
INSERT INTO node TABLE rows;
SELECT dbpatterns.closure_enable('node', 'parent_id');
SELECT watch('node', '{parent_id}');
DELETE FROM node WHERE id = 63;
:same
DELETE FROM node WHERE id IN (4, 5, 8, 24);
:same
SELECT * FROM below('node_closure') WHERE ancestor IN ('1', '2');
BEGIN;
DELETE FROM node WHERE id = 3;
:same
ROLLBACK;
:same
-- A node that moves in the same transaction, and statement, is spared.
BEGIN;
UPDATE node SET parent_id = NULL WHERE id = 6;
DELETE FROM node WHERE id = 3;
:same
ROLLBACK;
WITH x AS (UPDATE node SET parent_id = 2 WHERE id = 6) DELETE FROM node WHERE id = 3;
:same
SELECT * FROM below('node_closure') WHERE ancestor IN ('1', '2', '3', '6');
DELETE FROM node WHERE id = 1;
SELECT * FROM node_closure;
-- Row triggers of the user's with transition tables cut the cascade into steps.
CREATE TABLE counts (n int);
CREATE FUNCTION count_rows() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    INSERT INTO t.counts SELECT count(*) FROM gone;
    RETURN NULL;
END $$;
CREATE TRIGGER a_count AFTER DELETE ON node REFERENCING OLD TABLE AS gone FOR EACH ROW EXECUTE FUNCTION count_rows();
CREATE TRIGGER z_count AFTER DELETE ON node REFERENCING OLD TABLE AS gone FOR EACH ROW EXECUTE FUNCTION count_rows();
INSERT INTO node TABLE rows;
:same
DELETE FROM node WHERE id IN (2, 12);
:same
DELETE FROM node WHERE id IN (3, 1);
:same
SELECT count(*) > 1 AS in_steps FROM counts;
DROP TRIGGER a_count ON node;
DROP TRIGGER z_count ON node;
-- A row trigger that looks at the closure while rows leave, and one that
-- deletes more.
CREATE FUNCTION more() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    DELETE FROM t.node WHERE id = old.id + 1;
    RETURN old;
END $$;
CREATE TRIGGER more AFTER DELETE ON node FOR EACH ROW EXECUTE FUNCTION more();
INSERT INTO node TABLE rows;
DELETE FROM node WHERE id = 60;
:same
DELETE FROM node WHERE id = 28;
:same
SELECT count(*) FROM node;
DROP TRIGGER more ON node;
CREATE TRIGGER more BEFORE DELETE ON node FOR EACH ROW EXECUTE FUNCTION more();
DELETE FROM node WHERE id = 21;
:same
SELECT count(*) FROM node;
DROP TABLE node, node_closure;

-- ON DELETE SET NULL: the children are roots, with all that is below them.
CREATE TABLE node (id int PRIMARY KEY, parent_id int REFERENCES node ON DELETE SET NULL);
INSERT INTO node TABLE rows;
SELECT dbpatterns.closure_enable('node', 'parent_id');
SELECT watch('node', '{parent_id}');
DELETE FROM node WHERE id = 2;
:same
SELECT ancestor, count(*) FROM node_closure WHERE ancestor < 8 GROUP BY 1 ORDER BY 1;
DELETE FROM node WHERE id IN (1, 3, 7, 62, 8, 16);
:same
DELETE FROM node WHERE id % 3 = 0;
:same
DELETE FROM node WHERE parent_id IS NULL;
:same
SELECT count(*), max(depth) FROM node_closure;
DROP TABLE node, node_closure;

-- RESTRICT, NO ACTION, SET DEFAULT.
CREATE TABLE node (id int PRIMARY KEY, parent_id int REFERENCES node ON DELETE RESTRICT);
INSERT INTO node TABLE rows;
SELECT dbpatterns.closure_enable('node', 'parent_id');
SELECT watch('node', '{parent_id}');
-- PostgreSQL 18 says it in other words.
SELECT refused('DELETE FROM node WHERE id = 31') ~ '^23', refused('DELETE FROM node WHERE id IN (31, 62)') ~ '^23';
:same
DELETE FROM node WHERE id > 31;
:same
ALTER TABLE node DROP CONSTRAINT node_parent_id_fkey, ADD FOREIGN KEY (parent_id) REFERENCES node;
SELECT refused('DELETE FROM node WHERE id = 15');
DELETE FROM node WHERE id IN (15, 30, 31);
:same
DELETE FROM node WHERE id > 1;
:same
ALTER TABLE node DROP CONSTRAINT node_parent_id_fkey, ALTER parent_id SET DEFAULT 9,
    ADD FOREIGN KEY (parent_id) REFERENCES node ON DELETE SET DEFAULT;
INSERT INTO node SELECT id, parent_id FROM rows WHERE id BETWEEN 2 AND 15;
DELETE FROM node WHERE id = 6;
:same
DELETE FROM node WHERE id IN (3, 13);
:same
SELECT * FROM below('node_closure') WHERE ancestor IN ('1', '9');
-- The default is below the node that goes: its child becomes its own descendant.
SELECT refused('DELETE FROM node WHERE id = 2');
SELECT refused('DELETE FROM node WHERE id = 9');
:same
DROP TABLE node, node_closure;

-- No foreign key: children are orphans, which count as roots; pairs through
-- the node are gone.
CREATE TABLE node (id int PRIMARY KEY, parent_id int, deleted_at date);
INSERT INTO node TABLE rows;
SELECT dbpatterns.closure_enable('node', 'parent_id');
SELECT watch('node', '{parent_id}');
DELETE FROM node WHERE id = 2;
:same
DELETE FROM node WHERE id IN (1, 3, 6, 12);
:same
SELECT ancestor, count(*) FROM node_closure WHERE ancestor < 16 GROUP BY 1 ORDER BY 1;
-- It comes back and adopts them.
INSERT INTO node VALUES (3, NULL), (12, NULL), (2, 14);
:same
DELETE FROM node WHERE id IN (SELECT descendant FROM node_closure WHERE ancestor = 15);
:same

-- A node leaves and comes again in one transaction: the last state counts.
BEGIN;
DELETE FROM node WHERE id = 4;
INSERT INTO node VALUES (4, 10);
:same
DELETE FROM node WHERE id = 9;
INSERT INTO node VALUES (9, NULL);
:same
SAVEPOINT s;
DELETE FROM node WHERE id = 9;
:same
ROLLBACK TO s;
DELETE FROM node WHERE id = 4;
COMMIT;
:same
-- In one statement.
WITH x AS (DELETE FROM node WHERE id = 9 RETURNING id) INSERT INTO node SELECT id + 1000, 5 FROM x;
:same
WITH x AS (DELETE FROM node WHERE id = 5 RETURNING id) UPDATE node SET parent_id = 1009 WHERE id IN (10, 11);
:same
WITH x AS (INSERT INTO node VALUES (5, 1009)) DELETE FROM node WHERE id = 1009;
:same
-- A node goes and comes back in one statement, which tells of the new row after
-- it has told that the DELETE is over; its children stay.
CREATE TABLE again (id int PRIMARY KEY, parent_id int REFERENCES again ON DELETE NO ACTION);
SELECT dbpatterns.closure_enable('again', 'parent_id');
SELECT watch('again', '{parent_id}');
INSERT INTO again SELECT i, CASE WHEN i > 1 THEN i / 2 END FROM generate_series(1, 31) i;
WITH x AS (INSERT INTO again VALUES (3, 5)), y AS (DELETE FROM again WHERE id = 3)
SELECT 'both before the triggers';
:same
SELECT * FROM again_closure WHERE descendant = 15 ORDER BY depth;

-- A row that is marked as deleted is a row: its subtree stays where it is, and
-- marking it writes nothing.
BEGIN;
UPDATE node SET deleted_at = '2026-01-01' WHERE id IN (10, 20, 40);
SELECT count(*) FROM node_closure WHERE xmin::text = pg_current_xact_id()::xid::text;
COMMIT;
:same
-- What is not below a marked row.
SELECT n.id FROM node n
 WHERE NOT EXISTS (SELECT FROM node_closure c JOIN node d ON d.id = c.ancestor
                    WHERE c.descendant = n.id AND d.deleted_at IS NOT NULL) AND n.id < 24 ORDER BY 1;

-- TRUNCATE empties the closure, in the same transaction.
BEGIN;
TRUNCATE node;
:same
INSERT INTO node VALUES (2, 1), (1, NULL);
:same
SAVEPOINT s;
INSERT INTO node VALUES (3, 2);
TRUNCATE node;
SELECT * FROM node_closure;
ROLLBACK TO s;
:same
ROLLBACK;
:same
SELECT count(*) FROM node_closure;
BEGIN;
INSERT INTO node VALUES (203, 2);
TRUNCATE node RESTART IDENTITY;
COMMIT;
:same
-- Two hierarchies, one table referring to the other.
CREATE TABLE place (id int PRIMARY KEY, parent_id int REFERENCES place);
CREATE TABLE office (id int PRIMARY KEY, parent_id int REFERENCES office, place int REFERENCES place);
SELECT dbpatterns.closure_enable('place', 'parent_id'), dbpatterns.closure_enable('office', 'parent_id');
SELECT watch('place', '{parent_id}'), watch('office', '{parent_id}');
INSERT INTO place VALUES (1, NULL), (2, 1);
INSERT INTO office VALUES (1, NULL, 1), (2, 1, 2);
:same
SELECT refused('TRUNCATE place');
:same
TRUNCATE place CASCADE;
:same
SELECT count(*) FROM office_closure;
-- The closure alone, by its owner: the check tells, a repair brings it back.
INSERT INTO place VALUES (1, NULL), (2, 1), (3, 2);
BEGIN;
TRUNCATE place_closure;
SELECT severity, problem FROM dbpatterns.closure_check('place');
ROLLBACK;
DELETE FROM place_closure WHERE ancestor = 1 AND descendant = 3;
INSERT INTO place_closure VALUES (3, 1, 1);
UPDATE place_closure SET depth = 7 WHERE ancestor = 1 AND descendant = 2;
SELECT severity, problem FROM dbpatterns.closure_check('place');
SELECT * FROM dbpatterns.closure_sync('place');
:same
SELECT * FROM dbpatterns.closure_check();
:finish
