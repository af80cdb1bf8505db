-- The trigger function of temporal_tables: partitioned tables and histories.
\getenv srcdir PG_ABS_SRCDIR
\set include :srcdir '/sql/include/dropin.sql'
\i :include

-- p2 has its columns in another order, and a dropped one before them; p3 is
-- partitioned itself.  The history is partitioned by the end of the period.
CREATE TABLE p (id int, region text, n int, sys_period tstzrange) PARTITION BY LIST (region);
CREATE TABLE p1 PARTITION OF p FOR VALUES IN ('a');
CREATE TABLE p2 (n int, gone int, sys_period tstzrange, region text, id int);
ALTER TABLE p2 DROP gone;
ALTER TABLE p ATTACH PARTITION p2 FOR VALUES IN ('b');
CREATE TABLE p3 PARTITION OF p FOR VALUES IN ('c', 'd') PARTITION BY RANGE (id);
CREATE TABLE p31 PARTITION OF p3 FOR VALUES FROM (0) TO (100);
CREATE TABLE h (id int, region text, n int, sys_period tstzrange) PARTITION BY RANGE (upper(sys_period));
CREATE TABLE h1 PARTITION OF h FOR VALUES FROM ('2001-01-01 UTC') TO ('2001-01-05 UTC');
CREATE TABLE h2 PARTITION OF h FOR VALUES FROM ('2001-01-05 UTC') TO ('2002-01-01 UTC');
CREATE TRIGGER versioning BEFORE INSERT OR UPDATE OR DELETE ON p
    FOR EACH ROW EXECUTE FUNCTION versioning('sys_period', 'h', true);
CREATE VIEW now AS SELECT id, region, n, days(sys_period), tableoid::regclass AS "where" FROM p ORDER BY id;
CREATE VIEW past AS SELECT id, region, n, days(sys_period), tableoid::regclass AS "where" FROM h ORDER BY id, sys_period;
SELECT at(1);
INSERT INTO p VALUES (1, 'a', 1), (2, 'b', 1), (3, 'c', 1);
SELECT at(2);
UPDATE p SET n = 2;
SELECT at(3);
UPDATE p2 SET n = 3;
SELECT at(5);
DELETE FROM p WHERE id = 3;
TABLE now;
TABLE past;

-- A row that moves is one change: one version, and no gap.
TRUNCATE p, h;
SELECT at(1);
INSERT INTO p VALUES (1, 'a', 1), (2, 'b', 1), (3, 'c', 1), (4, 'd', 1);
SELECT at(2);
UPDATE p SET region = CASE region WHEN 'a' THEN 'b' WHEN 'b' THEN 'c' WHEN 'c' THEN 'd' ELSE 'a' END, n = 2;
TABLE now;
TABLE past;
-- Also when it moved before in the transaction, or is newer than that.
BEGIN;
SELECT at(4);
UPDATE p SET region = 'a', n = 3 WHERE id = 1;
UPDATE p SET region = 'b', n = 4 WHERE id = 1;
SAVEPOINT a;
UPDATE p SET region = 'c', n = 5 WHERE id = 1;
UPDATE p SET region = 'c', n = 3 WHERE id = 2;
ROLLBACK TO a;
UPDATE p SET region = 'a', n = 6 WHERE id = 1;
UPDATE p SET region = 'b', n = 6 WHERE id = 2;
COMMIT;
SELECT at(3);
UPDATE p SET region = 'd' WHERE id = 1;
SELECT at(5);
MERGE INTO p USING (VALUES (1), (3)) AS v (id) ON p.id = v.id
    WHEN MATCHED AND v.id = 1 THEN UPDATE SET region = 'a'
    WHEN MATCHED THEN DELETE;
TABLE now;
TABLE past;
-- A deletion is one, even of a row that an UPDATE would have moved.
CREATE FUNCTION skip() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN RETURN NULL; END $$;
CREATE TRIGGER z_skip BEFORE UPDATE ON p2 FOR EACH ROW EXECUTE FUNCTION skip();
BEGIN;
SELECT at(6);
UPDATE p SET region = 'a' WHERE id = 2;
DELETE FROM p WHERE id = 2;
COMMIT;
SELECT * FROM past WHERE id = 2;
-- A row put into a partition has the period of its own time, whatever it says.
INSERT INTO p1 VALUES (9, 'a', 9, '[2001-01-02 12:00+0,)');
SELECT * FROM now WHERE id = 9;

-- A partition that is attached is versioned, one that is detached is no longer.
CREATE TABLE p4 (LIKE p);
ALTER TABLE p ATTACH PARTITION p4 FOR VALUES IN ('e');
INSERT INTO p VALUES (10, 'e', 1);
SELECT at(7);
UPDATE p4 SET n = 2;
ALTER TABLE p DETACH PARTITION p4;
SELECT at(8);
UPDATE p4 SET n = 3;
SELECT * FROM past WHERE id = 10;
-- A history without the partition that is needed.
SELECT set_system_time('2003-01-01');
SELECT refused('UPDATE t.p SET n = 9 WHERE id = 1') ~ '^23514: no partition of relation "h" found for row' AS refused;
-- A partition as history takes what belongs there.
CREATE OR REPLACE TRIGGER versioning BEFORE INSERT OR UPDATE OR DELETE ON p
    FOR EACH ROW EXECUTE FUNCTION versioning('sys_period', 'h2', true);
SELECT at(9);
UPDATE p SET n = 7 WHERE id = 1;
SELECT * FROM past WHERE id = 1 AND "where" = 'h2'::regclass;
SELECT set_system_time('2003-01-01');
SELECT refused('UPDATE t.p SET n = 9 WHERE id = 1') ~ '^23514: new row for relation "h2" violates partition constraint' AS refused;

-- Attached AFTER, too, it counts the same.
DROP TABLE p, h, p4 CASCADE;
CREATE TABLE p (id int, region text, v int, sys_period tstzrange) PARTITION BY LIST (region);
CREATE TABLE p1 PARTITION OF p FOR VALUES IN ('a');
CREATE TABLE p2 PARTITION OF p FOR VALUES IN ('b');
CREATE TABLE h (LIKE p);
CREATE TRIGGER versioning BEFORE INSERT OR UPDATE OR DELETE ON p
    FOR EACH ROW EXECUTE FUNCTION versioning('sys_period', 'h', true, false, true, false, true, 'v');
CREATE TRIGGER versioning_write AFTER INSERT OR UPDATE OR DELETE ON p
    FOR EACH ROW EXECUTE FUNCTION versioning('sys_period', 'h', true, false, true, false, true, 'v');
SELECT at(1);
INSERT INTO p VALUES (1, 'a'), (2, 'b');
SELECT at(2);
UPDATE p SET region = CASE region WHEN 'a' THEN 'b' ELSE 'a' END;
SELECT at(1);
UPDATE p SET region = CASE region WHEN 'a' THEN 'b' ELSE 'a' END;
SELECT at(4);
DELETE FROM p WHERE id = 2;
SELECT id, region, v, days(sys_period) FROM p;
SELECT id, region, v, days(sys_period) FROM h ORDER BY id, v;
-- And so does the BEFORE trigger alone.
DROP TRIGGER versioning_write ON p;
TRUNCATE p, h;
SELECT at(1);
INSERT INTO p VALUES (1, 'a'), (2, 'b');
SELECT at(2);
UPDATE p SET region = CASE region WHEN 'a' THEN 'b' ELSE 'a' END;
SELECT at(1);
UPDATE p SET region = CASE region WHEN 'a' THEN 'b' ELSE 'a' END;
SELECT at(4);
DELETE FROM p WHERE id = 2;
SELECT id, region, v, days(sys_period) FROM p;
SELECT id, region, v, days(sys_period) FROM h ORDER BY id, v;

:finish
