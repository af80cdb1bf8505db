-- Nodes arrive in any order and any way: before their parents in the same
-- statement, in an earlier one, for ever without; by INSERT, COPY, MERGE, ON
-- CONFLICT and data-modifying queries; in statements that fail.
\getenv srcdir PG_ABS_SRCDIR
\set include :srcdir '/sql/include/hierarchy.sql'
\i :include

CREATE TABLE node (id int PRIMARY KEY, parent_id int REFERENCES node, v int CHECK (v < 100));
SELECT dbpatterns.closure_enable('node', 'parent_id');
SELECT watch('node', '{parent_id}');

-- Child before parent in one statement.
INSERT INTO node VALUES (4, 3), (3, 1), (2, 1), (1, NULL), (5, 4);
:same
SELECT * FROM below('node_closure');
COPY node (id, parent_id) FROM stdin;
13	12
12	11
11	5
14	13
10	\N
\.
:same
SELECT * FROM below('node_closure');
DELETE FROM node;
:same

-- Many, in an order that mixes children and parents: the same as in order.
CREATE TABLE rows AS
    SELECT i AS id, nullif((i::bigint * 7919 % 10007)::int % i, 0) AS parent_id FROM generate_series(1, 3000) i;
INSERT INTO node SELECT id, parent_id FROM rows ORDER BY md5(id::text);
:same
TRUNCATE node;
INSERT INTO node SELECT id, parent_id FROM rows;
:same
TRUNCATE node;
-- More than a queue holds, each child long before its parent.
INSERT INTO node SELECT i, nullif(i / 4, 0) FROM generate_series(30000, 1, -1) i;
SELECT count(*) FROM node_closure;
SELECT * FROM dbpatterns.closure_check('node');
INSERT INTO node SELECT i, i - 30000 FROM generate_series(60000, 30001, -1) i;
SELECT count(*) FROM node_closure;
SELECT * FROM dbpatterns.closure_check('node');
-- A cycle in such a statement, whose ends are far apart.
SELECT refused($$INSERT INTO node SELECT 100000 + i, CASE i WHEN 1 THEN 120000 ELSE 100000 + i - 1 END
    FROM generate_series(1, 20000) i$$) ~ '^23514';
SELECT * FROM dbpatterns.closure_check('node');
TRUNCATE node;
:same

-- A deferred foreign key: until its parent arrives, a child counts as a root.
CREATE TABLE late (id int PRIMARY KEY, parent_id int REFERENCES late DEFERRABLE INITIALLY DEFERRED);
SELECT dbpatterns.closure_enable('late', 'parent_id');
SELECT watch('late', '{parent_id}');
BEGIN;
INSERT INTO late VALUES (3, 2), (4, 3), (5, 3);
:same
INSERT INTO late VALUES (6, 5);
:same
SELECT * FROM below('late_closure');
INSERT INTO late VALUES (2, 1), (1, NULL);
:same
SELECT * FROM below('late_closure');
COMMIT;
:same
-- The same, each in a statement of its own, roots last.
BEGIN;
INSERT INTO late SELECT i, i / 2 FROM generate_series(63, 32, -1) i;
INSERT INTO late SELECT i, nullif(i / 2, 8) FROM generate_series(31, 16, -1) i;
:same
UPDATE late SET parent_id = 7 WHERE id IN (16, 17);
:same
INSERT INTO late SELECT i, nullif(i / 2, 0) FROM generate_series(15, 7, -1) i;
:same
COMMIT;
:same
-- A cycle through what has not arrived is found when it does.
BEGIN;
INSERT INTO late VALUES (71, 70), (72, 71);
SELECT refused('INSERT INTO late VALUES (70, 72)');
SELECT refused('INSERT INTO late VALUES (70, 70)');
:same
COMMIT;
:same
-- A parent that leaves and comes back, and one that changes to another child.
BEGIN;
DELETE FROM late WHERE id = 7;
:same
INSERT INTO late VALUES (7, 6);
:same
DELETE FROM late WHERE id = 3;
UPDATE late SET parent_id = 1 WHERE id = 4;
:same
INSERT INTO late VALUES (3, 4);
:same
COMMIT;
:same
SELECT ancestor, count(*), max(depth) FROM late_closure WHERE ancestor < 5 GROUP BY 1 ORDER BY 1;

-- No foreign key: an orphan counts as a root and is adopted when the parent
-- comes, with all that is below it.
CREATE TABLE soft (id int PRIMARY KEY, parent_id int);
INSERT INTO soft VALUES (1, 0), (2, 1), (20, 19);
SELECT dbpatterns.closure_enable('soft', 'parent_id');
SELECT watch('soft', '{parent_id}');
:same
INSERT INTO soft VALUES (3, 99), (4, 3), (5, 98), (6, 99);
:same
UPDATE soft SET parent_id = 97 WHERE id = 2;
:same
INSERT INTO soft VALUES (99, 98), (97, 4);
:same
INSERT INTO soft VALUES (98, NULL), (0, 5);
:same
SELECT * FROM below('soft_closure');
-- The adopting parent would close a cycle.
DELETE FROM soft WHERE id = 98;
:same
SELECT refused('INSERT INTO soft VALUES (98, 2)');
SELECT refused('INSERT INTO soft VALUES (98, 98)');
SELECT refused('INSERT INTO soft VALUES (98, 100), (100, 99)');
:same
INSERT INTO soft VALUES (98, 20);
:same
DELETE FROM soft;
:same

-- Orphans are errors: when the statement ends, for parents that go, too.
CREATE TABLE strict (id int PRIMARY KEY, parent_id int);
INSERT INTO strict VALUES (1, NULL), (2, 1), (3, 7);
SELECT refused($$SELECT dbpatterns.closure_enable('strict', 'parent_id', on_orphan => 'error')$$);
UPDATE strict SET parent_id = 2 WHERE id = 3;
SELECT dbpatterns.closure_enable('strict', 'parent_id', on_orphan => 'error');
SELECT watch('strict', '{parent_id}');
:same
SELECT refused('INSERT INTO strict VALUES (4, 9)');
SELECT refused('UPDATE strict SET parent_id = 9 WHERE id = 3');
SELECT refused('DELETE FROM strict WHERE id = 2');
SELECT refused('UPDATE strict SET id = 9 WHERE id = 2');
:same
INSERT INTO strict VALUES (4, 5), (5, 6), (6, 3);
:same
UPDATE strict SET id = id + 10, parent_id = parent_id + 10;
:same
DELETE FROM strict WHERE id > 12;
:same
DELETE FROM strict;
:same

-- Statements that fail half way, in and without a savepoint, leave nothing in
-- the queue of what comes next.
INSERT INTO node VALUES (1, NULL), (2, 1), (3, 2);
INSERT INTO node VALUES (10, 1), (11, 10), (2, 3);
:same
INSERT INTO node VALUES (12, 1, 5), (13, 12, 500);
:same
INSERT INTO node VALUES (14, 3);
:same
BEGIN;
INSERT INTO node VALUES (15, 14);
SAVEPOINT s;
INSERT INTO node VALUES (16, 15), (17, 16);
UPDATE node SET parent_id = NULL WHERE id = 3;
:same
SAVEPOINT s2;
DELETE FROM node WHERE id = 17;
INSERT INTO node VALUES (18, 1, 500);
ROLLBACK TO s2;
:same
INSERT INTO node VALUES (19, 17);
:same
ROLLBACK TO s;
:same
INSERT INTO node VALUES (16, 1);
SAVEPOINT s3;
UPDATE node SET parent_id = 16 WHERE id = 3;
RELEASE s3;
:same
COMMIT;
:same
SELECT * FROM below('node_closure');
-- The failing part of a function.
DO $$
BEGIN
    INSERT INTO node VALUES (20, 16);
    BEGIN
        INSERT INTO node VALUES (21, 20), (22, 21);
        UPDATE node SET parent_id = 22 WHERE id = 20;
    EXCEPTION WHEN check_violation THEN
        INSERT INTO node VALUES (23, 20);
        PERFORM t.same();
    END;
    BEGIN
        INSERT INTO node VALUES (24, 23), (25, 1000);
    EXCEPTION WHEN foreign_key_violation THEN
        PERFORM t.same();
        UPDATE node SET parent_id = 1 WHERE id = 23;
    END;
    PERFORM t.same();
END $$;
:same
BEGIN;
INSERT INTO node VALUES (26, 23);
DELETE FROM node WHERE id = 23;
ROLLBACK;
:same

-- ON CONFLICT: only what is really inserted or changed counts.
INSERT INTO node VALUES (3, 1), (30, 3), (31, 30), (16, 31) ON CONFLICT DO NOTHING;
:same
INSERT INTO node VALUES (30, 16), (32, 30), (31, 32) ON CONFLICT (id) DO UPDATE SET parent_id = excluded.parent_id;
:same
INSERT INTO node VALUES (30, 1), (33, 30) ON CONFLICT (id) DO UPDATE SET parent_id = 2 WHERE node.v = -1;
:same
INSERT INTO node VALUES (30, 1) ON CONFLICT (id) DO UPDATE SET v = 1;
:same
SELECT refused($$INSERT INTO node VALUES (30, 32) ON CONFLICT (id) DO UPDATE SET parent_id = excluded.parent_id$$);
-- The key of a row that is in the way, and of itself, changes.
INSERT INTO node VALUES (33, 30) ON CONFLICT (id) DO UPDATE SET id = 34, parent_id = 32;
:same
SELECT * FROM below('node_closure') WHERE ancestor IN ('16', '30', '32');

-- MERGE with each of its actions, with some, with none.
MERGE INTO node USING (VALUES (34, NULL), (32, 2), (35, 31), (36, 35), (3, 1)) s (id, p) ON node.id = s.id
    WHEN MATCHED AND s.p IS NULL THEN DELETE
    WHEN MATCHED AND s.id = 3 THEN DO NOTHING
    WHEN MATCHED THEN UPDATE SET parent_id = s.p
    WHEN NOT MATCHED THEN INSERT VALUES (s.id, s.p);
:same
MERGE INTO node USING (VALUES (36, 35)) s (id, p) ON node.id = s.id
    WHEN MATCHED THEN UPDATE SET parent_id = s.p
    WHEN NOT MATCHED THEN INSERT VALUES (s.id, s.p);
:same
MERGE INTO node USING (SELECT 1 WHERE false) s (id) ON node.id = s.id
    WHEN MATCHED THEN DELETE
    WHEN NOT MATCHED THEN INSERT VALUES (s.id, 1);
:same
MERGE INTO node USING (VALUES (36), (37)) s (id) ON node.id = s.id
    WHEN MATCHED THEN DELETE
    WHEN NOT MATCHED THEN INSERT VALUES (s.id, 36 - 1);
:same

-- Several changes of one table in one statement.
WITH a AS (INSERT INTO node VALUES (41, 40), (40, 1) RETURNING id),
     b AS (UPDATE node SET parent_id = 3 WHERE id = 30 RETURNING id),
     c AS (DELETE FROM node WHERE id = 37 RETURNING id),
     d AS (INSERT INTO node VALUES (42, 41), (43, 30) RETURNING id)
SELECT (SELECT count(*) FROM a), (SELECT count(*) FROM b), (SELECT count(*) FROM c), (SELECT count(*) FROM d);
:same
WITH a AS (DELETE FROM node WHERE id = 43 RETURNING *)
INSERT INTO node SELECT 44, parent_id FROM a;
:same
WITH a AS (INSERT INTO node VALUES (45, 44) RETURNING id)
UPDATE node SET parent_id = a.id FROM a WHERE node.id IN (41, 42);
:same
-- The statement sees row 46 as another part of it made it: not at all.
WITH a AS (INSERT INTO node VALUES (46, 45)), b AS (UPDATE node SET parent_id = 1 WHERE id = 46)
DELETE FROM node WHERE id = 46;
:same

-- Row triggers that write into the table from within a statement.
CREATE FUNCTION child() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    IF new.id < 1000 THEN
        INSERT INTO t.node VALUES (new.id + 1000, new.id);
        IF new.id % 2 = 0 THEN
            UPDATE t.node SET parent_id = 1 WHERE id = new.id;
        END IF;
    END IF;
    RETURN new;
END $$;
CREATE TRIGGER a_child AFTER INSERT ON node FOR EACH ROW EXECUTE FUNCTION child();
INSERT INTO node VALUES (52, 51), (51, 50), (50, 46), (53, 1052);
:same
ALTER TRIGGER a_child ON node RENAME TO z_child;
INSERT INTO node VALUES (54, 53), (56, 55), (55, 54);
:same
DROP TRIGGER z_child ON node;
CREATE TRIGGER child AFTER UPDATE ON node FOR EACH ROW WHEN (new.id = 55) EXECUTE FUNCTION child();
UPDATE node SET parent_id = 1 WHERE id IN (51, 53);
:same
DELETE FROM node WHERE id = 1055;
UPDATE node SET parent_id = 2 WHERE id IN (55, 51, 53);
:same
DROP TRIGGER child ON node;
-- A function that writes, called by a query and by a statement that writes.
CREATE FUNCTION put(id int, parent_id int) RETURNS int LANGUAGE sql AS $$
    INSERT INTO t.node VALUES (id, parent_id) RETURNING id $$;
SELECT count(put(60 + i, CASE i WHEN 1 THEN 1 ELSE 59 + i END)) FROM generate_series(1, 5) i;
:same
INSERT INTO node SELECT 70 + i, put(80 + i, 65) FROM generate_series(1, 3) i;
:same
UPDATE node SET parent_id = put(90 + id, id - 1) WHERE id BETWEEN 82 AND 83;
:same

SELECT * FROM dbpatterns.closure_check('node');
:finish
