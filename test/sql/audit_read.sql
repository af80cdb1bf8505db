-- Reading the log: the history of a row, and changes column by column.
\getenv srcdir PG_ABS_SRCDIR
\set include :srcdir '/sql/include/audit.sql'
\i :include

-- What the caller sees of a row, without times and numbers.
CREATE FUNCTION story(target regclass, key jsonb,
                      OUT op "char", OUT key jsonb, OUT old jsonb, OUT new jsonb)
RETURNS SETOF record LANGUAGE sql AS $$
    SELECT h.op, h.key, h.old, h.new FROM dbpatterns.audit_history(target, key) h
$$;

CREATE TABLE item (id int PRIMARY KEY, name text, price numeric);
SELECT audit('item');

-- One transaction that inserts a row, changes it twice and deletes it: four
-- entries in that order, with the value in between.
BEGIN;
INSERT INTO item VALUES (1, 'nail', 1.0);
UPDATE item SET price = 1.00 WHERE id = 1;
UPDATE item SET price = 2 WHERE id = 1;
DELETE FROM item WHERE id = 1;
COMMIT;
SELECT * FROM story('item', '{"id": 1}');
-- A number may come as a string; other rows do not show up.
INSERT INTO item VALUES (2, 'screw', 3), (12, 'bolt', 3);
SELECT * FROM story('item', '{"id": "2"}');

-- Changes inside one function are told apart, and what is rolled back is gone.
DO $$ BEGIN
    UPDATE item SET name = 'wood screw' WHERE id = 2;
    BEGIN
        UPDATE item SET name = 'never' WHERE id = 2;
        RAISE 'back';
    EXCEPTION WHEN raise_exception THEN NULL;
    END;
    UPDATE item SET name = 'long screw' WHERE id = 2;
END $$;
SELECT * FROM story('item', '{"id": 2}');

-- A chain of key changes: an entry is found by the key before and after it.
UPDATE item SET id = 3 WHERE id = 2;
UPDATE item SET id = 4 WHERE id = 3;
SELECT op, key, old->>'id' AS was, new->>'id' AS became FROM story('item', '{"id": 2}');
SELECT op, key, old->>'id' AS was, new->>'id' AS became FROM story('item', '{"id": 3}');
SELECT op, key, old->>'id' AS was, new->>'id' AS became FROM story('item', '{"id": 4}');

-- Who and when.
SET application_name = 'regress reader';
BEGIN;
SELECT dbpatterns.audit_set_context('{"user": "ann"}');
UPDATE item SET price = 4 WHERE id = 4;
SELECT at = now() AS at, statement_at >= at AS statement_at, transaction <= id AS transaction,
       login_role = session_user AS login, session_role = session_user AS session,
       set_role = session_user AS set_role, effective_role = current_user AS effective,
       application_name, client_addr, context
  FROM dbpatterns.audit_history('item', '{"id": 4}') ORDER BY id DESC LIMIT 1;
COMMIT;
RESET application_name;

-- since and until: transactions that began at or after, and before.
SELECT clock_timestamp() AS middle \gset
UPDATE item SET price = 5 WHERE id = 4;
SELECT op, new FROM dbpatterns.audit_history('item', '{"id": 4}', since => :'middle');
SELECT count(*) FROM dbpatterns.audit_history('item', '{"id": 4}', until => :'middle');
SELECT op, column_name, old, new FROM dbpatterns.audit_changes('item', since => :'middle');
SELECT count(*) FROM dbpatterns.audit_changes('item', 'infinity');

-- Column by column: an insert has no old values, a delete no new ones, a
-- column that was NULL is a JSON null.
CREATE TABLE pair (a int, b text, v jsonb, w text, PRIMARY KEY (b, a));
SELECT audit('pair');
INSERT INTO pair VALUES (1, 'x', 'null', NULL);
UPDATE pair SET v = NULL, w = 'w';
UPDATE pair SET a = 2;
DELETE FROM pair;
SELECT op, key, column_name, old, new FROM dbpatterns.audit_changes('pair');
SELECT op, key, column_name, old, new FROM dbpatterns.audit_changes('pair', key => '{"a": 2, "b": "x"}');

-- Keys with separators and nulls in text do not collide.
INSERT INTO pair VALUES (1, 'x,1'), (1, 'x'), (11, 'x'), (1, '{"a": 1}'), (1, 'null'), (1, '');
SELECT key FROM unnest(ARRAY['{"a": 1, "b": "x,1"}', '{"a": 11, "b": "x"}', '{"a": 1, "b": "{\"a\": 1}"}',
    '{"a": 1, "b": "null"}', '{"a": 1, "b": ""}']::jsonb[]) k, dbpatterns.audit_history('pair', k);

-- Nor do two that share a hash: an entry that claims to be of another row.
BEGIN;
ALTER TABLE _dbpatterns.audit_log DISABLE TRIGGER dbpatterns_guard;
UPDATE _dbpatterns.audit_log SET row_key = (SELECT row_key FROM _dbpatterns.audit_log
    WHERE new @> '{"a": 11, "b": "x"}') WHERE new @> '{"a": 1, "b": "x,1"}';
SELECT key FROM dbpatterns.audit_history('pair', '{"a": 11, "b": "x"}');
ROLLBACK;

-- Table, schema and columns renamed, two columns that swap their names, one
-- dropped and another added under its name: history has the names of today,
-- and the key is found by its old and its new name.
CREATE TABLE old_name (id int PRIMARY KEY, a text, b int, c text);
SELECT audit('old_name');
INSERT INTO old_name VALUES (1, 'a', 1, 'c');
ALTER TABLE old_name RENAME TO new_name;
CREATE SCHEMA t2;
ALTER TABLE new_name SET SCHEMA t2;
ALTER TABLE t2.new_name RENAME a TO x;
ALTER TABLE t2.new_name RENAME b TO a;
ALTER TABLE t2.new_name RENAME x TO b;
ALTER TABLE t2.new_name RENAME id TO number;
UPDATE t2.new_name SET a = 2, c = 'cc';
ALTER TABLE t2.new_name DROP c;
ALTER TABLE t2.new_name ADD c int DEFAULT 7;
UPDATE t2.new_name SET c = 8;
DELETE FROM t2.new_name;
SELECT * FROM story('t2.new_name', '{"number": 1}');
-- The former name finds what was written under it.
SELECT op, new FROM story('t2.new_name', '{"id": 1}');
SELECT column_name, old, new FROM dbpatterns.audit_changes('t2.new_name') WHERE op = 'U';
DROP SCHEMA t2 CASCADE;

-- A key of another type: values are read by both.
CREATE TABLE typed (id int PRIMARY KEY, v text);
SELECT audit('typed');
INSERT INTO typed VALUES (5, 'as int');
ALTER TABLE typed ALTER id TYPE text;
UPDATE typed SET v = 'as text';
INSERT INTO typed VALUES ('x');
SELECT * FROM story('typed', '{"id": 5}');
SELECT * FROM story('typed', '{"id": "x"}');
-- Another key altogether: both can be asked for.
ALTER TABLE typed DROP CONSTRAINT typed_pkey, ADD COLUMN code int GENERATED BY DEFAULT AS IDENTITY;
ALTER TABLE typed ADD PRIMARY KEY (code);
UPDATE typed SET v = 'with code' WHERE id = '5';
SELECT op, key, new FROM story('typed', '{"id": 5}');
SELECT op, key, new FROM story('typed', '{"code": 1}');

-- Keys of many types, given as they are in images or in another way.
CREATE TABLE keys (n numeric, f float8, t timestamptz, u uuid, b bytea, c char(4), e name,
                   PRIMARY KEY (n, f, t, u, b, c, e));
SELECT audit('keys');
INSERT INTO keys VALUES (1.50, 'NaN', '2024-05-06 07:08:09+02', '01234567-89ab-cdef-0123-456789abcdef', '\x00ff', 'ab', 'x');
SELECT key FROM dbpatterns.audit_history('keys', '{"n": "1.5", "f": "nan", "t": "2024-05-06 05:08:09",
    "u": "0123456789ABCDEF0123456789abcdef", "b": "\\x00FF", "c": "ab", "e": "x"}');
-- Two readers with other settings see the same.
CREATE TABLE recorded AS SELECT c.key FROM dbpatterns.audit_changes('keys') c LIMIT 1;
SET TimeZone = 'Asia/Tokyo'; SET DateStyle = 'SQL, DMY'; SET bytea_output = 'escape'; SET extra_float_digits = 0;
SELECT count(*) FROM recorded r, dbpatterns.audit_history('keys', r.key) h WHERE h.key::text = r.key::text;
RESET TimeZone; RESET DateStyle; RESET bytea_output; RESET extra_float_digits;

-- A table without a key: no row's history, but all its changes; two equal rows
-- are told apart by their entries.
CREATE TABLE heap (a int, b text);
SELECT audit('heap');
INSERT INTO heap VALUES (1, 'same'), (1, 'same');
UPDATE heap SET b = 'one' WHERE ctid = (SELECT min(ctid) FROM heap);
SELECT refused($$SELECT dbpatterns.audit_history('heap', '{"a": 1}')$$);
SELECT op, count(DISTINCT id) AS entries, column_name, old, new FROM dbpatterns.audit_changes('heap')
 GROUP BY op, column_name, old, new ORDER BY op, column_name;

-- Strange names.
CREATE TABLE "user" ("order by" int PRIMARY KEY, "old" text, "$dbp" text, "Ünïcödé ""x""" int,
                     "123456789012345678901234567890123456789012345678901234567890abc" text);
SELECT audit('"user"');
INSERT INTO "user" VALUES (1, 'o', 'd', 2, 'long');
UPDATE "user" SET "old" = 'p', "Ünïcödé ""x""" = 3;
SELECT * FROM story('"user"', '{"order by": 1}');

-- Full images, redacted and excluded columns.
CREATE TABLE card (id int PRIMARY KEY, holder text, number text, pin text, used int);
SELECT dbpatterns.audit_enable('card', capture => 'full', redact => '{number}', exclude => '{pin}');
INSERT INTO card VALUES (1, 'ann', '4711', '0000', 0);
UPDATE card SET used = 1;
UPDATE card SET number = '4712', pin = '1';
SELECT * FROM story('card', '{"id": 1}');
SELECT op, column_name, old, new FROM dbpatterns.audit_changes('card') WHERE op = 'U';

-- TRUNCATE belongs to the history of every row, partitions to their root.
CREATE TABLE part (id int, p int, PRIMARY KEY (id, p)) PARTITION BY LIST (p);
CREATE TABLE part1 PARTITION OF part FOR VALUES IN (1);
CREATE TABLE part2 PARTITION OF part FOR VALUES IN (2);
SELECT audit('part');
INSERT INTO part VALUES (1, 1);
UPDATE part SET p = 2;
TRUNCATE part2;
TRUNCATE part;
SELECT * FROM story('part', '{"id": 1, "p": 2}');
SELECT * FROM story('part1', '{"id": 1, "p": 1}');

-- A dropped table is in the log for auditors.
DROP TABLE pair;
SELECT target, table_name, op, count(*) FROM dbpatterns.audit_entries
 WHERE table_name = 'pair' AND op <> 'M' GROUP BY 1, 2, 3 ORDER BY 3;

-- Changes of a statement that is still at work, seen from its own trigger.
CREATE FUNCTION look() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    RAISE NOTICE 'entries of row %: %', new.id,
        (SELECT count(*) FROM dbpatterns.audit_history('item', jsonb_build_object('id', new.id)));
    RETURN NULL;
END $$;
CREATE TRIGGER z_look AFTER UPDATE ON item FOR EACH ROW EXECUTE FUNCTION look();
UPDATE item SET price = 0 WHERE id IN (4, 12);
DROP TRIGGER z_look ON item;

-- A reader with an old snapshot sees the log as of then, shown under the
-- names of today.
BEGIN ISOLATION LEVEL REPEATABLE READ;
SELECT count(*) FROM item;
SELECT count(*) AS entries FROM dbpatterns.audit_history('item', '{"id": 4}');
UPDATE item SET price = 99 WHERE id = 4;
SELECT count(*) AS entries FROM dbpatterns.audit_history('item', '{"id": 4}');
ROLLBACK;
BEGIN ISOLATION LEVEL SERIALIZABLE READ ONLY;
SELECT count(*) AS entries FROM dbpatterns.audit_history('item', '{"id": 4}');
COMMIT;

-- What is refused.
CREATE TABLE plain (id int PRIMARY KEY);
CREATE VIEW looks AS SELECT * FROM item;
SELECT refused(statement) FROM unnest(ARRAY[
    'SELECT dbpatterns.audit_history(NULL, ''{}'')',
    'SELECT dbpatterns.audit_history(''item'', NULL)',
    'SELECT dbpatterns.audit_changes(NULL)',
    'SELECT dbpatterns.audit_history(''looks'', ''{"id": 1}'')',
    'SELECT dbpatterns.audit_history(''plain'', ''{"id": 1}'')',
    'SELECT dbpatterns.audit_history(''item'', ''[1]'')',
    'SELECT dbpatterns.audit_history(''item'', ''{}'')',
    'SELECT dbpatterns.audit_history(''item'', ''{"id": 1, "name": 1}'')',
    'SELECT dbpatterns.audit_history(''item'', ''{"id": "one"}'')',
    'SELECT dbpatterns.audit_history(''item'', ''{"id": {"$dbp": "redacted"}}'')',
    'SELECT dbpatterns.audit_history(''item'', ''{"id": [1]}'')',
    'SELECT dbpatterns.audit_changes(''heap'', key => ''{"a": 1}'')']) statement;
-- Indexes of an auditor's own, of other kinds, do not hide entries.
BEGIN;
CREATE TABLE indexed (id int PRIMARY KEY);
SELECT audit('indexed');
INSERT INTO indexed VALUES (1);
SELECT dbpatterns.audit_flush();
DO $$
DECLARE
    old record;
BEGIN
    FOR old IN SELECT i.indexrelid::regclass AS name, i.indrelid::regclass AS part
                 FROM pg_index i JOIN pg_inherits h ON h.inhrelid = i.indrelid
                WHERE h.inhparent = '_dbpatterns.audit_log'::regclass
                  AND pg_get_indexdef(i.indexrelid) ~ '\(row_key\)$' LOOP
        EXECUTE format('DROP INDEX %s', old.name);
        EXECUTE format('CREATE INDEX ON %s (row_key) WHERE id < 0', old.part);
        EXECUTE format('CREATE INDEX ON %s (row_key)', old.part);
    END LOOP;
END $$;
SELECT op, new FROM dbpatterns.audit_history('indexed', '{"id": 1}');
ROLLBACK;

:finish
