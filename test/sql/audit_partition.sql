-- Partitioned tables: one history for the whole table, whatever the way a row
-- comes in, and a row that moves to another partition stays the same row.
\getenv srcdir PG_ABS_SRCDIR
\set include :srcdir '/sql/include/audit.sql'
\i :include

-- p2 has its columns in another order and a dropped one before them; p3 is
-- partitioned itself.
CREATE TABLE p (id int, region text, n int, PRIMARY KEY (id, region)) PARTITION BY LIST (region);
CREATE TABLE p1 PARTITION OF p FOR VALUES IN ('a');
CREATE TABLE p2 (n int, gone int, region text NOT NULL, id int NOT NULL);
ALTER TABLE p2 DROP COLUMN gone;
ALTER TABLE p ATTACH PARTITION p2 FOR VALUES IN ('b');
CREATE TABLE p3 PARTITION OF p FOR VALUES IN ('c', 'd') PARTITION BY RANGE (id);
CREATE TABLE p31 PARTITION OF p3 FOR VALUES FROM (0) TO (100);
SELECT audit('p');

-- Rows routed by INSERT and COPY, and rows put straight into a partition.
INSERT INTO p VALUES (1, 'a', 10), (2, 'b', 20), (3, 'c', 30);
COPY p FROM stdin;
4	a	40
5	b	50
6	d	60
\.
INSERT INTO p2 (id, region, n) VALUES (7, 'b', 70);
COPY p31 (id, region, n) FROM stdin;
8	c	80
\.
UPDATE p2 SET n = n + 1 WHERE id = 7;
UPDATE p SET n = n + 1 WHERE id = 8;
DELETE FROM p31 WHERE id = 8;
SELECT * FROM news();

-- A row that moves is updated, in a plain UPDATE, in ON CONFLICT and in MERGE.
UPDATE p SET region = 'b' WHERE id = 1;
UPDATE p SET region = 'a', n = 0 WHERE id IN (2, 3);
INSERT INTO p VALUES (4, 'a', -1) ON CONFLICT (id, region) DO UPDATE SET n = -4;
MERGE INTO p USING (VALUES (5, 'd'), (6, 'a'), (9, 'b')) AS s (id, region) ON p.id = s.id
  WHEN MATCHED AND s.id = 5 THEN UPDATE SET region = s.region
  WHEN MATCHED THEN DELETE
  WHEN NOT MATCHED THEN INSERT VALUES (s.id, s.region, 90);
SELECT * FROM news() ORDER BY coalesce(new, old)->'id';
SELECT tableoid::regclass, * FROM p ORDER BY id;

-- Many rows that move at once, more than a batch holds.
INSERT INTO p SELECT i, 'a', i FROM generate_series(1001, 4000) i;
UPDATE p SET region = 'b' WHERE id > 1000;
DELETE FROM p WHERE id > 1000;
SELECT * FROM tally();

-- A large row that moves (its old image alone fills a batch).
CREATE TABLE big (id int, region text, body text, PRIMARY KEY (id, region)) PARTITION BY LIST (region);
CREATE TABLE big1 PARTITION OF big FOR VALUES IN ('a');
CREATE TABLE big2 PARTITION OF big FOR VALUES IN ('b');
SELECT audit('big');
INSERT INTO big SELECT i, 'a', repeat(i::text, 1500000) FROM generate_series(1, 3) i;
UPDATE big SET region = 'b';
SELECT op, count(*), bool_and(old->>'body' = repeat(old->>'id', 1500000)
                              AND new->>'body' = old->>'body') AS whole
  FROM news() WHERE op <> 'I' GROUP BY 1;
DROP TABLE big;

-- A BEFORE INSERT trigger on the partition it would move to refuses the row:
-- it is deleted.  The rows beside it keep their own old and new values.
CREATE FUNCTION refuse() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    RETURN CASE WHEN new.id = 2 THEN NULL ELSE new END;
END $$;
CREATE TRIGGER refuse BEFORE INSERT ON p2 FOR EACH ROW EXECUTE FUNCTION refuse();
SELECT skip();
UPDATE p SET region = 'b' WHERE id IN (2, 3, 4);
SELECT * FROM news() ORDER BY old->'id';
DROP TRIGGER refuse ON p2;

-- A partitioned table that others refer to: a move is still one update.
ALTER TABLE p ADD UNIQUE (id, region, n);
CREATE TABLE refers (id int, region text, FOREIGN KEY (id, region) REFERENCES p ON UPDATE CASCADE);
INSERT INTO refers VALUES (1, 'b');
UPDATE p SET region = 'a' WHERE id = 1;
SELECT * FROM news();
SELECT * FROM refers;
DROP TABLE refers;

-- Only some operations: a move counts as an update, as nothing else.
SELECT dbpatterns.audit_enable('p', operations => 'U');
UPDATE p SET region = 'b' WHERE id = 1;
INSERT INTO p VALUES (10, 'a', 1);
DELETE FROM p WHERE id = 10;
SELECT dbpatterns.audit_enable('p', operations => 'IDT');
UPDATE p SET region = 'a' WHERE id = 1;
INSERT INTO p VALUES (10, 'a', 1);
DELETE FROM p WHERE id = 10;
SELECT dbpatterns.audit_enable('p');
SELECT * FROM news();

-- TRUNCATE of the root is one entry; of a partition, one that names it; of a
-- partition and the root, both, and nothing is forgotten later on.
TRUNCATE p;
TRUNCATE p31;
TRUNCATE p3;
BEGIN;
TRUNCATE p2, p;
TRUNCATE p2;
COMMIT;
SELECT * FROM news();
SELECT dbpatterns.audit_enable('p', truncate_rows => true);
INSERT INTO p VALUES (1, 'a', 1), (2, 'b', 2), (3, 'c', 3);
SELECT * FROM tally();
TRUNCATE p3;
TRUNCATE p;
SELECT * FROM news();
SELECT dbpatterns.audit_enable('p');

-- A user's trigger that rolls a savepoint back between the partitions of one
-- TRUNCATE does not make them count twice.
CREATE FUNCTION rolls_back() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    BEGIN PERFORM 1 / 0; EXCEPTION WHEN division_by_zero THEN NULL; END;
    RETURN NULL;
END $$;
CREATE TRIGGER rolls_back BEFORE TRUNCATE ON p1 EXECUTE FUNCTION rolls_back();
SELECT skip();
TRUNCATE p;
SELECT * FROM news();
DROP TRIGGER rolls_back ON p1;

-- Partitions that come later are covered at once, those that go are not, and
-- the log says so.
CREATE TABLE p4 PARTITION OF p FOR VALUES IN ('e');
CREATE TABLE p5 (LIKE p INCLUDING ALL);
INSERT INTO p5 VALUES (5, 'f', 5);
ALTER TABLE p ATTACH PARTITION p5 FOR VALUES IN ('f');
CREATE TABLE p32 PARTITION OF p3 FOR VALUES FROM (100) TO (200);
SELECT * FROM dbpatterns.audit_check('p');
INSERT INTO p VALUES (4, 'e', 4), (150, 'c', 6);
UPDATE p5 SET n = 55;
TRUNCATE p4;
TRUNCATE p5;
SELECT * FROM news();
ALTER TABLE p DETACH PARTITION p4;
DROP TABLE p5;
INSERT INTO p4 VALUES (4, 'e', 4);
TRUNCATE p4;
SELECT tgname FROM pg_trigger WHERE tgrelid = 'p4'::regclass;
SELECT * FROM news();

-- A partition cannot be taken off the trail alone; if its owner disables the
-- trigger there, the log and audit_check tell.
SELECT dbpatterns.audit_disable('p1');
ALTER TABLE p1 DISABLE TRIGGER dbpatterns_80_audit;
INSERT INTO p VALUES (1, 'a', 1);
SELECT severity, object, problem FROM dbpatterns.audit_check('p');
SELECT * FROM news();
ALTER TABLE p1 ENABLE TRIGGER dbpatterns_80_audit;

-- A table that is audited for itself has to leave the trail before it can
-- become a partition: its triggers have the names of the root's.
CREATE TABLE p6 (LIKE p INCLUDING ALL);
SELECT dbpatterns.audit_enable('p6');
ALTER TABLE p ATTACH PARTITION p6 FOR VALUES IN ('g');
SELECT dbpatterns.audit_disable('p6');
ALTER TABLE p ATTACH PARTITION p6 FOR VALUES IN ('g');
SELECT * FROM dbpatterns.audit_check('p');

-- The whole tree leaves the trail with its root.
SELECT dbpatterns.audit_disable('p');
SELECT tgrelid::regclass, tgname FROM pg_trigger
 WHERE tgname ~ '^dbpatterns' AND tgrelid IN (SELECT relid FROM pg_partition_tree('p'));
SELECT skip();
INSERT INTO p VALUES (100, 'b', 1);
TRUNCATE p;
SELECT * FROM news();

:finish
