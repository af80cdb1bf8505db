-- Undoing transactions.
\getenv srcdir PG_ABS_SRCDIR
\set include :srcdir '/sql/include/audit.sql'
\i :include

CREATE FUNCTION last(target regclass) RETURNS bigint LANGUAGE sql AS $$
    SELECT max(transaction) FROM dbpatterns.audit_changes(target)
$$;
CREATE FUNCTION undo(txn bigint, dry_run boolean DEFAULT true,
                     OUT op "char", OUT sql text, OUT conflict text)
RETURNS SETOF record LANGUAGE sql AS $$
    SELECT u.op, u.sql, u.conflict FROM dbpatterns.audit_undo(txn, dry_run) u
$$;
CREATE FUNCTION said(statement text) RETURNS text LANGUAGE sql AS $$
    SELECT regexp_replace(t.refused(statement), '(transaction|Entry) \d+', '\1 <number>', 'g')
$$;

-- A transaction with everything in it, tried, undone, and its undo undone.
CREATE TABLE item (id int PRIMARY KEY, name text, price numeric, tags jsonb);
SELECT audit('item');
INSERT INTO item VALUES (1, 'one', 1.0, 'null'), (2, 'two', 2.00, NULL), (3, 'three', 'NaN', '{"$dbp": [1]}');
BEGIN;
UPDATE item SET name = 'uno', price = 7 WHERE id = 1;
UPDATE item SET name = 'eins' WHERE id = 1;
DELETE FROM item WHERE id IN (2, 3);
INSERT INTO item VALUES (2, 'new two', 0, NULL);
UPDATE item SET id = 5 WHERE id = 2;
COMMIT;
SELECT last('item') AS txn \gset
SELECT * FROM undo(:txn);
SELECT * FROM item ORDER BY id;
SELECT * FROM undo(:txn, false);
SELECT * FROM item ORDER BY id;
SELECT last('item') AS undone \gset
SELECT op, count(*) FROM dbpatterns.audit_entries WHERE transaction = :undone GROUP BY op ORDER BY op;
SELECT op, conflict FROM undo(:undone, false);
SELECT * FROM item ORDER BY id;

-- Undone twice: nothing is as the transaction left it.
SELECT op, conflict FROM undo(:txn, false) ORDER BY 1;
SELECT op, conflict FROM undo(:txn);
SELECT said(format('SELECT t.undo(%s, false)', :txn));

-- Conflicts: the same column changed later, another one did not matter; the
-- row is gone; the key is taken.
DELETE FROM item;
INSERT INTO item VALUES (1, 'a', 1, NULL), (2, 'b', 2, NULL), (3, 'c', 3, NULL);
UPDATE item SET name = name || '!';
SELECT last('item') AS txn \gset
UPDATE item SET name = 'later' WHERE id = 1;
UPDATE item SET price = 9 WHERE id = 2;
DELETE FROM item WHERE id = 3;
SELECT * FROM undo(:txn);
SELECT said(format('SELECT t.undo(%s, false)', :txn));
SELECT * FROM item ORDER BY id;
SELECT last('item') AS txn \gset
INSERT INTO item VALUES (3, 'other', 0, NULL);
SELECT * FROM undo(:txn);
SELECT last('item') AS txn \gset
UPDATE item SET tags = '[]' WHERE id = 3;
SELECT * FROM undo(:txn);

-- Exact values: what went through the log is what was there, whatever the
-- settings of the session.
CREATE TYPE mood AS ENUM ('sad', 'happy');
CREATE TYPE pair AS (a int, b text);
CREATE DOMAIN small AS int CHECK (value < 100);
CREATE FUNCTION some_xml() RETURNS xml LANGUAGE plpgsql AS $$
BEGIN
    RETURN '<a>b</a>'::xml;
EXCEPTION
    WHEN feature_not_supported THEN		-- a server built without it
        RETURN NULL;
END $$;
CREATE TABLE exact (id int PRIMARY KEY, f float8, n numeric, t timestamptz, i interval, b bytea,
    arr int[], arr2 text[], r int4range, p pair, m mood, d small, js json, x xml, c char(5), bits bit(3), money money);
SELECT audit('exact');
INSERT INTO exact VALUES
  (1, '-0', 1.00, 'infinity', '1 mon -1 day', '\x00ff', '[2:3]={1,NULL}', '{a,"b,c",NULL}', '[1,5)', '(1,"x,y")',
   'sad', 5, '{"a":  1, "a": 2}', some_xml(), 'ab', B'101', 12.34),
  (2, 'NaN', 'NaN', '0044-03-15 12:00:00+00 BC', '0', '', '{}', NULL, 'empty', NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL);
CREATE TABLE before AS SELECT * FROM exact;
SET DateStyle = 'SQL, DMY'; SET TimeZone = 'Asia/Tokyo'; SET IntervalStyle = 'sql_standard'; SET extra_float_digits = 0;
UPDATE exact SET f = 1, n = 1.0, t = now(), i = '0', b = 'x', arr = '{1}', arr2 = '{}', r = NULL, p = '(2,)',
    m = 'happy', d = 1, js = '{"a": 1}', x = NULL, c = 'c', bits = B'000', money = 0;
SELECT op, conflict FROM undo(last('exact'), false);
DELETE FROM exact;
SELECT op, conflict FROM undo(last('exact'), false);
RESET DateStyle; RESET TimeZone; RESET IntervalStyle; RESET extra_float_digits;
SELECT count(*) AS same FROM exact now JOIN before was USING (id)
 WHERE now::text = was::text;

-- Generated and identity columns.
CREATE TABLE made (id int GENERATED ALWAYS AS IDENTITY PRIMARY KEY, v int, twice int GENERATED ALWAYS AS (v * 2) STORED);
SELECT audit('made');
INSERT INTO made (v) VALUES (1), (2);
UPDATE made SET v = 10 WHERE id = 1;
SELECT * FROM undo(last('made'), false);
DELETE FROM made WHERE id = 1;
SELECT * FROM undo(last('made'), false);
SELECT * FROM made ORDER BY id;

-- A table without a key: the row is matched on all its values, and has to be
-- the only one like it.
CREATE TABLE heap (a int, b json, c text);
SELECT audit('heap');
INSERT INTO heap VALUES (1, '{"a": 1}', NULL), (1, '{"a":1}', NULL), (2, NULL, 'x'), (2, NULL, 'x');
SELECT last('heap') AS txn \gset
SELECT * FROM undo(:txn);
UPDATE heap SET c = a WHERE b::text LIKE '%: %';
SELECT op, conflict FROM undo(last('heap'), false);
UPDATE heap SET b = NULL, c = 'y' WHERE a = 1;
SELECT said(format('SELECT t.undo(%s, false)', last('heap')));
DELETE FROM heap WHERE a = 2;
SELECT op, sql, conflict FROM undo(last('heap'), false);
SELECT * FROM heap ORDER BY a, b::text;

-- Rows that moved between partitions move back; cascades are undone in an
-- order that keeps the foreign keys.
CREATE TABLE part (id int, p int, v text, PRIMARY KEY (id, p)) PARTITION BY LIST (p);
CREATE TABLE part1 PARTITION OF part FOR VALUES IN (1);
CREATE TABLE part2 (v text, gone int, p int NOT NULL, id int NOT NULL);
ALTER TABLE part2 DROP gone;
ALTER TABLE part ATTACH PARTITION part2 FOR VALUES IN (2);
SELECT audit('part');
INSERT INTO part VALUES (1, 1, 'a'), (2, 2, 'b');
UPDATE part SET p = 3 - p, v = v || v;
SELECT * FROM undo(last('part'), false);
SELECT tableoid::regclass, * FROM part ORDER BY id;
CREATE TABLE boss (id int PRIMARY KEY, of int REFERENCES boss ON DELETE CASCADE);
CREATE TABLE task (id int PRIMARY KEY, boss int REFERENCES boss ON DELETE CASCADE);
SELECT audit('boss'), audit('task');
INSERT INTO boss VALUES (1, NULL), (2, 1), (3, 2);
INSERT INTO task SELECT i, 1 + i % 3 FROM generate_series(1, 6) i;
DELETE FROM boss WHERE id = 1;
SELECT last('boss') AS txn \gset
SELECT count(*), count(conflict) FROM undo(:txn, false);
SELECT (SELECT count(*) FROM boss) AS bosses, (SELECT count(*) FROM task) AS tasks;
-- A row that others have come to refer to cannot go.
INSERT INTO boss VALUES (7, NULL);
SELECT last('boss') AS txn \gset
INSERT INTO task VALUES (7, 7);
ALTER TABLE task DROP CONSTRAINT task_boss_fkey, ADD CONSTRAINT task_boss_fkey FOREIGN KEY (boss) REFERENCES boss;
SELECT * FROM undo(:txn);
SELECT said(format('SELECT t.undo(%s, false)', :txn));
SELECT count(*) FROM boss WHERE id = 7;

-- What the log does not hold cannot be brought back; what it does can.
CREATE TABLE card (id int PRIMARY KEY, holder text, number text, pin text);
SELECT dbpatterns.audit_enable('card', redact => '{number}', exclude => '{pin}');
INSERT INTO card VALUES (1, 'ann', '4711', '0000');
SELECT * FROM undo(last('card'));
UPDATE card SET holder = 'bob';
SELECT * FROM undo(last('card'));
UPDATE card SET number = '4712';
SELECT * FROM undo(last('card'));
DELETE FROM card;
SELECT * FROM undo(last('card'));
SELECT dbpatterns.audit_enable('card', capture => 'full', redact => '{number}');
INSERT INTO card VALUES (2, 'cid', '1', '2');
UPDATE card SET pin = '3';
SELECT * FROM undo(last('card'));
TRUNCATE item;
SELECT * FROM undo(last('item'));
SELECT dbpatterns.audit_enable('made', truncate_rows => true);
TRUNCATE made;
SELECT * FROM undo(last('made'), false);
SELECT * FROM made ORDER BY id;

-- Schema changes: renamed and retyped columns are followed, a column or a
-- table that is gone is a conflict.
CREATE TABLE shape (id int PRIMARY KEY, a int, b text, c text);
SELECT audit('shape');
INSERT INTO shape VALUES (1, 10, 'b', 'c'), (2, 20, 'b', 'c');
UPDATE shape SET a = 11, b = 'bb' WHERE id = 1;
SELECT last('shape') AS txn1 \gset
UPDATE shape SET c = 'cc' WHERE id = 1;
SELECT last('shape') AS txn2 \gset
DELETE FROM shape WHERE id = 2;
SELECT last('shape') AS txn3 \gset
ALTER TABLE shape RENAME a TO x;
ALTER TABLE shape RENAME b TO a;
ALTER TABLE shape RENAME x TO b;
ALTER TABLE shape ALTER id TYPE text;
ALTER TABLE shape DROP c;
ALTER TABLE shape ADD c int DEFAULT 1;
SELECT * FROM undo(:txn1, false);
SELECT * FROM undo(:txn2);
SELECT * FROM undo(:txn3);
SELECT * FROM shape;
BEGIN;
INSERT INTO shape VALUES ('7');
ALTER TABLE shape ADD d int;
COMMIT;
SELECT op, conflict FROM undo(last('shape'));
DROP TABLE shape;
SELECT * FROM undo(:txn1);

-- Constraints, triggers and policies have their say; a dry run leaves nothing
-- behind, not even a lock.
CREATE TABLE strict (id int PRIMARY KEY, v int);
SELECT audit('strict');
INSERT INTO strict VALUES (1, -1), (2, 2);
UPDATE strict SET v = abs(v) + 10;
SELECT last('strict') AS txn \gset
ALTER TABLE strict ADD CHECK (v > 0);
SELECT * FROM undo(:txn);
CREATE FUNCTION keep() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN RETURN NULL; END $$;
CREATE TRIGGER keep BEFORE UPDATE ON strict FOR EACH ROW WHEN (old.id = 2) EXECUTE FUNCTION keep();
SELECT * FROM undo(:txn);
SELECT * FROM strict ORDER BY id;
SELECT count(*) FROM dbpatterns.audit_entries WHERE target = 'strict'::regclass AND op = 'U';
BEGIN;
SELECT count(*) FROM undo(:txn);
SELECT said('SELECT dbpatterns.audit_undo(0)');
SELECT count(*) FROM pg_locks WHERE locktype = 'tuple' AND pid = pg_backend_pid();
ROLLBACK;

-- In a transaction of its own isolation, and inside a savepoint.
BEGIN ISOLATION LEVEL SERIALIZABLE;
DROP TRIGGER keep ON strict;
ALTER TABLE strict DROP CONSTRAINT strict_v_check;
SAVEPOINT s;
SELECT op, conflict FROM undo(:txn, false);
SELECT * FROM strict ORDER BY id;
ROLLBACK TO s;
SELECT * FROM strict ORDER BY id;
ROLLBACK;

-- Strange names.
CREATE TABLE "user" ("order by" int PRIMARY KEY, "old" text, "$1" text);
SELECT audit('"user"');
INSERT INTO "user" VALUES (1, 'o''o', '\');
UPDATE "user" SET "old" = '$1', "$1" = 'x';
SELECT * FROM undo(last('"user"'), false);
TABLE "user";

-- Bad input.
SELECT said(statement) FROM unnest(ARRAY['SELECT dbpatterns.audit_undo(NULL)',
    'SELECT dbpatterns.audit_undo(1, NULL)', 'SELECT dbpatterns.audit_undo(12345)']) statement;
:finish
