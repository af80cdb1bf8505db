-- The closure of a tree while nodes are added and moved: exact after every
-- statement, whatever one statement moves, and cycles are refused however they
-- would arise.
\getenv srcdir PG_ABS_SRCDIR
\set include :srcdir '/sql/include/hierarchy.sql'
\i :include

CREATE TABLE node (id int PRIMARY KEY, parent_id int REFERENCES node, name text);
CREATE INDEX ON node (parent_id);
INSERT INTO node VALUES (1, NULL, 'a'), (2, 1, 'b'), (3, 2, 'c'), (4, 3, 'd'), (5, 1, 'e'), (6, NULL, 'f');
SELECT dbpatterns.closure_enable('node', 'parent_id');
SELECT watch('node', '{parent_id}');
:same
SELECT * FROM below('node_closure');

-- What this transaction wrote into the closure, and which locks on it it holds.
CREATE VIEW written AS
    SELECT ancestor, descendant, depth FROM node_closure
     WHERE xmin::text = pg_current_xact_id()::xid::text;
CREATE VIEW locks AS
    SELECT locktype, relation::regclass, mode FROM pg_locks
     WHERE pid = pg_backend_pid()
       AND (locktype = 'advisory' OR relation = 'node_closure'::regclass);

-- A leaf and a root: one pair for each ancestor, and nothing else is written.
BEGIN;
INSERT INTO node VALUES (7, 4, 'g');
SELECT * FROM written ORDER BY depth;
COMMIT;
:same
BEGIN;
INSERT INTO node VALUES (8, NULL, 'h');
SELECT * FROM written ORDER BY 1, 2;
COMMIT;
:same

-- A node cannot be its own parent.
SELECT refused('INSERT INTO node VALUES (9, 9)');
SELECT refused('UPDATE node SET parent_id = 1 WHERE id = 1');
:same
-- Nor can it come below its child, its grandchild or what is deeper; the whole
-- cycle is told.
UPDATE node SET parent_id = 2 WHERE id = 1;
UPDATE node SET parent_id = 3 WHERE id = 1;
UPDATE node SET parent_id = 7 WHERE id = 1;
UPDATE node SET parent_id = 7 WHERE id = 2;
:same

-- Two rows of one statement that make a cycle together, whichever comes first.
SELECT refused($$UPDATE node SET parent_id = CASE id WHEN 5 THEN 6 ELSE 5 END WHERE id IN (5, 6)$$);
SELECT refused($$UPDATE node SET parent_id = x.p FROM (VALUES (6, 5), (5, 6)) x (id, p) WHERE node.id = x.id$$);
SELECT refused($$INSERT INTO node VALUES (20, 21), (21, 22), (22, 20)$$);
:same
SELECT count(*) FROM node WHERE id IN (20, 21, 22) OR (id, parent_id) IN ((5, 6), (6, 5));

-- Rows that are inserted and rows that are updated close a cycle together.
SELECT refused($$MERGE INTO node USING (VALUES (6, 30), (30, 31), (31, 6)) s (id, p) ON node.id = s.id
    WHEN MATCHED THEN UPDATE SET parent_id = s.p WHEN NOT MATCHED THEN INSERT VALUES (s.id, s.p)$$);
SELECT refused($$INSERT INTO node VALUES (30, 31), (31, 6), (6, 30)
    ON CONFLICT (id) DO UPDATE SET parent_id = excluded.parent_id$$);
SELECT refused($$WITH x AS (INSERT INTO node VALUES (30, 6)) UPDATE node SET parent_id = 30 WHERE id = 6$$);
:same
-- The same statements where there is none.
MERGE INTO node USING (VALUES (6, 30), (30, 31), (31, 1)) s (id, p) ON node.id = s.id
    WHEN MATCHED THEN UPDATE SET parent_id = s.p WHEN NOT MATCHED THEN INSERT VALUES (s.id, s.p);
:same
INSERT INTO node VALUES (32, 33), (33, 31), (30, 32)
    ON CONFLICT (id) DO UPDATE SET parent_id = excluded.parent_id;
:same
WITH x AS (INSERT INTO node VALUES (34, 5)) UPDATE node SET parent_id = 34 WHERE id = 31;
:same
DELETE FROM node WHERE id >= 30 OR id = 6;
INSERT INTO node VALUES (6, NULL, 'f');
:same

-- A chain a - b is turned over: b to where a was, a below b.
UPDATE node SET parent_id = CASE id WHEN 2 THEN 3 WHEN 3 THEN 1 END WHERE id IN (2, 3);
:same
SELECT * FROM below('node_closure');
UPDATE node SET parent_id = CASE id WHEN 1 THEN 3 END WHERE id IN (1, 3);
:same
SELECT * FROM below('node_closure');
-- A cycle of three that would arise and does not, for one moves out of it.
UPDATE node SET parent_id = x.p FROM (VALUES (3, 1), (1, 6), (6, NULL::int)) x (id, p) WHERE node.id = x.id;
SELECT refused($$UPDATE node SET parent_id = x.p FROM (VALUES (4, NULL::int), (6, 2)) x (id, p) WHERE node.id = x.id$$);
:same
DELETE FROM node;
:same

-- A node moves and, in the same statement, one that is below it: elsewhere,
-- to where it already is, out and above it.
INSERT INTO node VALUES (1, NULL), (2, NULL), (3, 1), (4, 3), (5, 4), (6, 5), (7, 2);
:same
UPDATE node SET parent_id = CASE id WHEN 3 THEN 2 WHEN 5 THEN 1 END WHERE id IN (3, 5);
:same
UPDATE node SET parent_id = CASE id WHEN 3 THEN 1 WHEN 5 THEN 4 END WHERE id IN (3, 5);
:same
UPDATE node SET parent_id = CASE id WHEN 3 THEN 7 WHEN 4 THEN 3 WHEN 6 THEN 4 END WHERE id IN (3, 4, 6);
:same
UPDATE node SET parent_id = CASE id WHEN 3 THEN 6 WHEN 4 THEN 3 WHEN 6 THEN NULL END WHERE id IN (3, 4, 6);
:same
UPDATE node SET parent_id = CASE id WHEN 1 THEN 4 WHEN 2 THEN 1 WHEN 3 THEN NULL WHEN 6 THEN 7 END WHERE id IN (1, 2, 3, 6);
:same
SELECT * FROM below('node_closure');
-- Two moves of one node in one transaction, and back again.
BEGIN;
UPDATE node SET parent_id = NULL WHERE id = 4;
:same
UPDATE node SET parent_id = 4 WHERE id = 3;
:same
ROLLBACK;
:same

-- A node that becomes a root: only pairs that cross the cut go, nothing is
-- written.
BEGIN;
SELECT count(*) FROM node_closure;
UPDATE node SET parent_id = NULL WHERE id = 1;
SELECT count(*) FROM node_closure;
SELECT * FROM written ORDER BY 1, 2;
COMMIT;
:same
-- And one that gets a parent: only pairs that cross come.
BEGIN;
UPDATE node SET parent_id = 3 WHERE id = 1;
SELECT * FROM written ORDER BY 1, 2;
COMMIT;
:same
-- From one place of a tree to another one: what is above both stays.
BEGIN;
UPDATE node SET parent_id = 5 WHERE id = 6;
SELECT * FROM written ORDER BY 1, 2;
ROLLBACK;

-- Updates that move nothing write nothing and take no lock; nor do statements
-- without a row.
BEGIN;
UPDATE node SET parent_id = parent_id, id = id, name = 'x';
UPDATE node SET name = 'y';
UPDATE node SET parent_id = 1 WHERE false;
INSERT INTO node SELECT 1 WHERE false;
DELETE FROM node WHERE id = -1;
SELECT * FROM written ORDER BY 1, 2;
SELECT * FROM locks;
COMMIT;
:same
DELETE FROM node;

-- Many at once: 8-ary, a chain, the chain turned over, random, the same again.
INSERT INTO node SELECT i, nullif((i + 6) / 8, 0) FROM generate_series(1, 300) i;
:same
UPDATE node SET parent_id = nullif(id - 1, 0);
:same
SELECT max(depth), count(*) FROM node_closure;
UPDATE node SET parent_id = nullif(id % 300 + 1, 1);
:same
:same
UPDATE node SET parent_id = nullif((id::bigint * 7919 % 1009)::int % id, 0);
:same
UPDATE node SET parent_id = CASE WHEN id % 3 = 0 THEN nullif((id::bigint * 31 % 1009)::int % id, 0) ELSE parent_id END;
:same
UPDATE node SET parent_id = CASE WHEN id > 1 THEN 1 END;
:same
SELECT substring(refused('UPDATE node SET parent_id = id % 300 + 1') FROM '^.{5}') AS sqlstate;
SELECT refused('UPDATE node SET parent_id = id % 7 + 1 WHERE id < 8');
:same
DELETE FROM node;
SELECT * FROM node_closure;

-- A node with 20 000 children moves.
INSERT INTO node VALUES (1, NULL), (2, NULL), (3, 2), (4, NULL);
INSERT INTO node SELECT i, 4 FROM generate_series(10, 20009) i;
UPDATE node SET parent_id = 3 WHERE id = 4;
SELECT ancestor, depth, count(*) FROM node_closure WHERE ancestor < 10 GROUP BY 1, 2 ORDER BY 1, 2;
UPDATE node SET parent_id = 1 WHERE id = 4;
SELECT ancestor, depth, count(*) FROM node_closure WHERE ancestor < 10 GROUP BY 1, 2 ORDER BY 1, 2;
TRUNCATE node;

-- A limit of depth: a chain up to it, not one more, by INSERT, by a move and
-- by a move of what is above; then without a limit.
CREATE TABLE chain (id int PRIMARY KEY, parent_id int REFERENCES chain);
SELECT dbpatterns.closure_enable('chain', 'parent_id', max_depth => 3);
SELECT watch('chain', '{parent_id}');
INSERT INTO chain VALUES (1, NULL), (2, 1), (3, 2), (4, 3), (10, NULL), (11, 10);
SELECT refused('INSERT INTO chain VALUES (5, 4)');
SELECT refused('INSERT INTO chain VALUES (12, 11), (13, 12), (14, 13), (15, 14)');
SELECT refused('UPDATE chain SET parent_id = 3 WHERE id = 10');
SELECT refused('UPDATE chain SET parent_id = 11 WHERE id = 1');
:same
UPDATE chain SET parent_id = 2 WHERE id = 10;
:same
-- A node that is in the way leaves in the same statement.
UPDATE chain SET parent_id = CASE id WHEN 11 THEN 1 WHEN 10 THEN 3 END WHERE id IN (10, 11);
:same
INSERT INTO chain VALUES (12, 11);
:same
SELECT dbpatterns.closure_enable('chain', 'parent_id', max_depth => NULL);
INSERT INTO chain SELECT i, i - 1 FROM generate_series(13, 1500) i;
SELECT max(depth) FROM chain_closure;
SELECT count(*) FROM chain_closure c LEFT JOIN chain_closure d ON d.descendant = c.descendant - 1 AND d.ancestor = c.ancestor
 WHERE c.descendant > 12 AND c.depth <> coalesce(d.depth, -1) + 1;
SELECT refused($$SELECT dbpatterns.closure_enable('chain', 'parent_id', max_depth => 1000)$$);
DELETE FROM chain WHERE id > 12;
SELECT dbpatterns.closure_enable('chain', 'parent_id', max_depth => 1000);
:same

-- A table that has cycles already.
CREATE TABLE cyclic (id int PRIMARY KEY, parent_id int);
INSERT INTO cyclic VALUES (1, 2), (2, 3), (3, 1), (4, 1), (5, 5), (6, NULL), (7, 6), (8, 9), (9, 8), (10, 99);
SELECT refused($$SELECT dbpatterns.closure_enable('cyclic', 'parent_id')$$);
SELECT to_regclass('cyclic_closure'), count(*) FROM pg_trigger WHERE tgrelid = 'cyclic'::regclass;
UPDATE cyclic SET parent_id = NULL WHERE id IN (1, 5, 9);
SELECT dbpatterns.closure_enable('cyclic', 'parent_id');
SELECT watch('cyclic', '{parent_id}');
:same
SELECT refused('UPDATE cyclic SET parent_id = 3 WHERE id = 1');
:same

-- A statement inside another one flushes what that has queued; in a block that
-- is rolled back, the flush goes with it, and what raised may be caught.
CREATE TABLE nest (id int PRIMARY KEY, parent_id int REFERENCES nest);
SELECT dbpatterns.closure_enable('nest', 'parent_id'), dbpatterns.nested_set_enable('nest', 'parent_id');
SELECT watch('nest', '{parent_id}');
CREATE FUNCTION nest_more() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
  IF new.id >= 1000 THEN RETURN NULL; END IF;
  BEGIN
    INSERT INTO nest VALUES (new.id + 1000, new.id);
    BEGIN
      INSERT INTO nest VALUES (new.id + 2000, new.id);
    EXCEPTION WHEN unique_violation THEN NULL;
    END;
    IF new.id % 2 = 1 THEN RAISE no_data_found; END IF;
  EXCEPTION WHEN no_data_found THEN NULL;
  END;
  BEGIN
    UPDATE nest SET parent_id = id WHERE id = new.id;
  EXCEPTION WHEN check_violation THEN NULL;
  END;
  RETURN NULL;
END $$;
CREATE TRIGGER more AFTER INSERT ON nest FOR EACH ROW EXECUTE FUNCTION nest_more();
INSERT INTO nest VALUES (1, NULL), (2, 1), (3, 2), (4, 3);
:same
SELECT count(*) FROM nest_closure;
SELECT * FROM dbpatterns.nested_set_check('nest');

SELECT * FROM dbpatterns.closure_check();
:finish
