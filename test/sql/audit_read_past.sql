-- States of the past: a row, a table as it was.
\getenv srcdir PG_ABS_SRCDIR
\set include :srcdir '/sql/include/audit.sql'
\i :include

-- Errors without the times in them.
CREATE FUNCTION said(statement text) RETURNS text LANGUAGE sql AS $$
    SELECT regexp_replace(regexp_replace(t.refused(statement),
        '\d{4}-\d\d-\d\d \S+( [A-Z]\w+)?', '<time>', 'g'), 'Entry \d+', 'Entry <number>')
$$;
CREATE FUNCTION past(target regclass, at timestamptz) RETURNS SETOF jsonb LANGUAGE sql AS $$
    SELECT row FROM dbpatterns.audit_table_at(target, at) row ORDER BY row
$$;

-- Rows that were there before auditing began need no entry.
CREATE TABLE item (id int PRIMARY KEY, name text, price numeric, tags jsonb);
INSERT INTO item VALUES (1, 'old', 1.0, 'null'), (2, 'old', 2, NULL);
SELECT audit('item');
SELECT clock_timestamp() AS t0 \gset
INSERT INTO item VALUES (3, 'new', 'NaN', '[1]');
UPDATE item SET price = 1.00 WHERE id = 1;
SELECT clock_timestamp() AS t1 \gset
UPDATE item SET id = 4 WHERE id = 1;
UPDATE item SET id = 1 WHERE id = 2;
DELETE FROM item WHERE id = 3;
SELECT clock_timestamp() AS t2 \gset
BEGIN;
INSERT INTO item VALUES (3, 'again', 0, NULL);
UPDATE item SET name = 'later' WHERE id = 3;
SAVEPOINT s;
DELETE FROM item;
ROLLBACK TO s;
UPDATE item SET price = 5;
COMMIT;
SELECT * FROM past('item', :'t0');
SELECT * FROM past('item', :'t1');
SELECT * FROM past('item', :'t2');
SELECT * FROM past('item', clock_timestamp());
SELECT k, dbpatterns.audit_row_at('item', jsonb_build_object('id', k), :'t0') AS t0,
       dbpatterns.audit_row_at('item', jsonb_build_object('id', k), :'t1') IS NULL AS gone_t1,
       dbpatterns.audit_row_at('item', jsonb_build_object('id', k), :'t2') ->> 'name' AS t2,
       dbpatterns.audit_row_at('item', jsonb_build_object('id', k), 'infinity') ->> 'name' AS now
  FROM generate_series(1, 5) k;

-- A row image of the past becomes a row again.
SELECT (dbpatterns.row_from_jsonb(NULL::item, row)).* FROM past('item', :'t1') row;

-- One's own uncommitted changes count, and those of a savepoint rolled back
-- do not.
BEGIN;
UPDATE item SET name = 'mine' WHERE id = 4;
SAVEPOINT s;
UPDATE item SET name = 'not' WHERE id = 4;
SELECT dbpatterns.audit_row_at('item', '{"id": 4}', 'infinity') ->> 'name' AS now,
       dbpatterns.audit_row_at('item', '{"id": 4}', :'t2') ->> 'name' AS t2;
ROLLBACK TO s;
SELECT dbpatterns.audit_row_at('item', '{"id": 4}', 'infinity') ->> 'name' AS now,
       dbpatterns.audit_row_at('item', '{"id": 4}', :'t2') ->> 'name' AS t2;
ROLLBACK;
-- An old snapshot: what others commit meanwhile is neither in the table nor
-- in the log.
BEGIN ISOLATION LEVEL REPEATABLE READ;
SELECT count(*) FROM past('item', :'t1');
UPDATE item SET name = 'in old snapshot' WHERE id = 4;
SELECT dbpatterns.audit_row_at('item', '{"id": 1}', :'t1') ->> 'name' AS t1;
SELECT count(*) FROM past('item', :'t1');
COMMIT;

-- Schema changes: columns are shown under the names of today; one added since
-- was not there, one dropped since is nowhere to be had.
CREATE TABLE shape (id int PRIMARY KEY, a text, b int, c text);
SELECT audit('shape');
INSERT INTO shape VALUES (1, 'a1', 1, 'c1'), (2, 'a2', 2, 'c2');
SELECT clock_timestamp() AS t0 \gset
UPDATE shape SET a = 'changed', c = 'changed' WHERE id = 1;
ALTER TABLE shape RENAME a TO x;
ALTER TABLE shape RENAME b TO a;
ALTER TABLE shape RENAME x TO b;
ALTER TABLE shape DROP c;
ALTER TABLE shape ADD d int DEFAULT 9;
SELECT clock_timestamp() AS t1 \gset
UPDATE shape SET a = 10, d = 10;
DELETE FROM shape WHERE id = 2;
SELECT * FROM past('shape', :'t0');
SELECT * FROM past('shape', :'t1');
SELECT dbpatterns.audit_row_at('shape', '{"id": 2}', :'t0');

-- Keys that move about within one statement, as a deferrable key allows.
CREATE TABLE slot (id int, v text, UNIQUE (id) DEFERRABLE INITIALLY DEFERRED);
SELECT dbpatterns.audit_enable('slot', key => '{id}');
INSERT INTO slot VALUES (1, 'a'), (2, 'b'), (3, 'c');
SELECT clock_timestamp() AS t0 \gset
UPDATE slot SET id = id + 1;
SELECT clock_timestamp() AS t1 \gset
UPDATE slot SET id = 6 - id;
BEGIN;
UPDATE slot SET v = v || v;
DELETE FROM slot WHERE id = 3;
INSERT INTO slot VALUES (2, 'd');
UPDATE slot SET id = 3 WHERE v = 'cc';
COMMIT;
SELECT * FROM slot ORDER BY id;
SELECT * FROM past('slot', :'t0');
SELECT * FROM past('slot', :'t1');
SELECT dbpatterns.audit_row_at('slot', '{"id": 2}', :'t0');

-- TRUNCATE can be looked past when it logged the rows.
SELECT dbpatterns.audit_enable('slot', key => '{id}', truncate_rows => true);
SELECT clock_timestamp() AS t0 \gset
TRUNCATE slot;
INSERT INTO slot VALUES (7, 'new');
SELECT * FROM past('slot', :'t0');
SELECT dbpatterns.audit_row_at('slot', '{"id": 4}', :'t0');
SELECT clock_timestamp() AS t1 \gset
TRUNCATE item;
SELECT clock_timestamp() AS t2 \gset
INSERT INTO item VALUES (1);
DELETE FROM item;
SELECT said(format('SELECT dbpatterns.audit_table_at(''item'', %L)', :'t1'));
SELECT said(format('SELECT dbpatterns.audit_row_at(''item'', ''{"id": 4}'', %L)', :'t1'));
SELECT * FROM past('item', :'t2');
SELECT dbpatterns.audit_row_at('item', '{"id": 4}', :'t2');

-- Partitions belong to their root, children of inheritance do not.
CREATE TABLE part (id int, p int, v text, PRIMARY KEY (id, p)) PARTITION BY LIST (p);
CREATE TABLE part1 PARTITION OF part FOR VALUES IN (1);
CREATE TABLE part2 (v text, gone int, p int NOT NULL, id int NOT NULL);
ALTER TABLE part2 DROP gone;
ALTER TABLE part ATTACH PARTITION part2 FOR VALUES IN (2);
CREATE TABLE parent (id int PRIMARY KEY, v text);
CREATE TABLE child (extra int, PRIMARY KEY (id)) INHERITS (parent);
SELECT audit('part'), audit('parent');
INSERT INTO part VALUES (1, 1, 'a'), (2, 2, 'b');
INSERT INTO parent VALUES (1, 'parent');
INSERT INTO child VALUES (1, 'child', 7);
SELECT clock_timestamp() AS t0 \gset
UPDATE part SET p = 3 - p;
DELETE FROM part1;
UPDATE parent SET v = v || '!';
SELECT * FROM past('part', :'t0');
SELECT * FROM past('part2', :'t0');
SELECT dbpatterns.audit_row_at('part1', '{"id": 2, "p": 2}', :'t0');
SELECT clock_timestamp() AS t1 \gset
TRUNCATE part2;
SELECT said(format('SELECT dbpatterns.audit_row_at(''part'', ''{"id": 1, "p": 2}'', %L)', :'t1'));
SELECT dbpatterns.audit_row_at('part', '{"id": 1, "p": 1}', :'t0');
SELECT * FROM past('parent', :'t0');
SELECT * FROM past('child', :'t0');

-- Columns that were not logged all the time are not shown; values that are
-- too large to log are shown as what the log knows of them.
CREATE TABLE card (id int PRIMARY KEY, holder text, number text, pin text);
SELECT dbpatterns.audit_enable('card', redact => '{number}', exclude => '{pin}');
INSERT INTO card VALUES (1, 'ann', '4711', '0000');
SELECT clock_timestamp() AS t0 \gset
UPDATE card SET holder = 'bob', number = '4712', pin = '1111';
SELECT dbpatterns.audit_enable('card', exclude => '{pin}');
SELECT clock_timestamp() AS t1 \gset
UPDATE card SET number = '4713', pin = '2222';
SELECT * FROM past('card', :'t0');
SELECT * FROM past('card', :'t1');

-- Where the log cannot tell, it is not guessed: auditing was off for a while,
-- or did not log all operations, or a trigger was disabled.
SELECT dbpatterns.audit_disable('card');
SELECT said(format('SELECT dbpatterns.audit_table_at(''card'', %L)', :'t1'));
SELECT clock_timestamp() AS off \gset
SELECT dbpatterns.audit_enable('card');
SELECT clock_timestamp() AS t2 \gset
UPDATE card SET holder = 'eve';
SELECT said(format('SELECT dbpatterns.audit_table_at(''card'', %L)', t))
  FROM unnest(ARRAY[:'t1', :'off', '2001-01-01']) t;
SELECT * FROM past('card', :'t2');
ALTER TABLE card DISABLE TRIGGER dbpatterns_80_audit;
SELECT said(format('SELECT dbpatterns.audit_table_at(''card'', %L)', :'t2'));
ALTER TABLE card ENABLE TRIGGER dbpatterns_80_audit;
SELECT clock_timestamp() AS t3 \gset
SELECT said(format('SELECT dbpatterns.audit_table_at(''card'', %L)', :'t2'));
SELECT count(*) FROM past('card', :'t3');
SELECT dbpatterns.audit_enable('card', operations => 'UD');
SELECT said('SELECT dbpatterns.audit_table_at(''card'', ''infinity'')');
SELECT dbpatterns.audit_enable('card');
SELECT said(format('SELECT dbpatterns.audit_table_at(''card'', %L)', :'t3'));
SELECT count(*) FROM past('card', 'infinity');

-- Each way to switch logging off for a while is seen.
CREATE TABLE gap (id int PRIMARY KEY);
SELECT audit('gap');
SET client_min_messages = warning;
SELECT clock_timestamp() AS t5 \gset
SELECT dbpatterns.audit_enable('gap', operations => 'IUD');
SELECT audit('gap');
SELECT left(said(format('SELECT dbpatterns.audit_row_at(''gap'', ''{"id": 1}'', %L)', :'t5')), 5) AS refused;
SELECT clock_timestamp() AS t5 \gset
DROP TRIGGER dbpatterns_81_audit ON gap;
SELECT audit('gap');
SELECT left(said(format('SELECT dbpatterns.audit_row_at(''gap'', ''{"id": 1}'', %L)', :'t5')), 5) AS refused;
SELECT clock_timestamp() AS t5 \gset
ALTER TABLE gap ENABLE REPLICA TRIGGER dbpatterns_80_audit;
SELECT audit('gap');
SELECT left(said(format('SELECT dbpatterns.audit_row_at(''gap'', ''{"id": 1}'', %L)', :'t5')), 5) AS refused;
SELECT clock_timestamp() AS t5 \gset
ALTER TABLE gap ENABLE REPLICA TRIGGER dbpatterns_81_audit;
SELECT audit('gap');
SELECT left(said(format('SELECT dbpatterns.audit_row_at(''gap'', ''{"id": 1}'', %L)', :'t5')), 5) AS refused;
SELECT clock_timestamp() AS t5 \gset
CREATE OR REPLACE TRIGGER dbpatterns_80_audit AFTER INSERT OR UPDATE OR DELETE ON gap
    FOR EACH ROW WHEN (false) EXECUTE FUNCTION dbpatterns.audit_trigger('{}');
SELECT audit('gap');
SELECT left(said(format('SELECT dbpatterns.audit_row_at(''gap'', ''{"id": 1}'', %L)', :'t5')), 5) AS refused;
SELECT clock_timestamp() AS t5 \gset
-- A renamed trigger goes on.
ALTER TRIGGER dbpatterns_80_audit ON gap RENAME TO mine;
INSERT INTO gap VALUES (1);
SELECT dbpatterns.audit_row_at('gap', '{"id": 1}', :'t5') IS NULL AS told;
ALTER TRIGGER mine ON gap RENAME TO dbpatterns_80_audit;
SELECT dbpatterns.audit_row_at('gap', '{"id": 1}', :'t5') IS NULL AS told;
-- Rows leave with a detached partition.
CREATE TABLE left_root (id int PRIMARY KEY) PARTITION BY RANGE (id);
CREATE TABLE left1 PARTITION OF left_root FOR VALUES FROM (0) TO (10);
SELECT audit('left_root');
INSERT INTO left_root VALUES (1);
SELECT clock_timestamp() AS t5 \gset
ALTER TABLE left_root DETACH PARTITION left1;
SELECT left(said(format('SELECT dbpatterns.audit_row_at(''left_root'', ''{"id": 1}'', %L)', :'t5')), 5) AS refused;
RESET client_min_messages;

-- Changes that no trigger saw make table and log disagree.
SELECT clock_timestamp() AS t4 \gset
UPDATE card SET holder = 'joe';
SET session_replication_role = replica;
DELETE FROM card;
RESET session_replication_role;
SELECT said(format('SELECT dbpatterns.audit_table_at(''card'', %L)', :'t4'));
SELECT said(format('SELECT dbpatterns.audit_row_at(''card'', ''{"id": 1}'', %L)', :'t4'));

-- A key that is none, another key since, and a purged log.
CREATE TABLE loose (k int, v int);
SELECT dbpatterns.audit_enable('loose', key => '{k}');
INSERT INTO loose VALUES (1, 1), (1, 2);
SELECT clock_timestamp() AS t0 \gset
UPDATE loose SET v = v + 1;
SELECT said(format('SELECT dbpatterns.audit_table_at(''loose'', %L)', :'t0'));
SELECT said(format('SELECT dbpatterns.audit_row_at(''loose'', ''{"k": 1}'', %L)', :'t0'));
SELECT dbpatterns.audit_enable('loose', key => '{v}');
SELECT said(format('SELECT dbpatterns.audit_table_at(''loose'', %L)', :'t0'));
SELECT said('SELECT dbpatterns.audit_row_at(''loose'', ''{"k": 1}'', ''infinity'')');
SELECT dbpatterns.audit_row_at('loose', '{"v": 2}', 'infinity');
SELECT dbpatterns.audit_enable('loose');
SELECT said('SELECT dbpatterns.audit_table_at(''loose'', ''infinity'')');
SELECT said('SELECT dbpatterns.audit_row_at(''loose'', ''{"k": 1}'', ''infinity'')');
SELECT count(*) FROM past('parent', :'t0');
INSERT INTO _dbpatterns.audit_log (xact_time, id, txn, shape, op)
    SELECT '2001-01-01', 1, 1, shape, 'I' FROM _dbpatterns.audit_shape LIMIT 1;
CALL dbpatterns.audit_purge(now());
SELECT said(format('SELECT dbpatterns.audit_table_at(''parent'', %L)', :'t0'));
SELECT said('SELECT dbpatterns.audit_table_at(''parent'', ''1999-01-01'')');
SELECT * FROM past('parent', 'infinity');

-- Other bad input.
SELECT said(statement) FROM unnest(ARRAY[
    'SELECT dbpatterns.audit_row_at(NULL, ''{}'', now())',
    'SELECT dbpatterns.audit_row_at(''part'', NULL, now())',
    'SELECT dbpatterns.audit_row_at(''part'', ''{}'', NULL)',
    'SELECT dbpatterns.audit_table_at(NULL, now())',
    'SELECT dbpatterns.audit_table_at(''part'', NULL)',
    'SELECT dbpatterns.audit_row_at(''part'', ''{"id": 1}'', ''infinity'')',
    'SELECT dbpatterns.audit_table_at(''seen'', now())']) statement;
:finish
