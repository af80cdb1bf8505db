-- Options of audit_enable, and triggers made by hand.
\getenv srcdir PG_ABS_SRCDIR
\set include :srcdir '/sql/include/audit.sql'
\i :include

CREATE TABLE person (id int PRIMARY KEY, name text, secret text, seen timestamptz);

-- exclude: never in the log, and a change of nothing else makes no entry.
-- redact: a change makes an entry, which does not say from what to what.
SELECT dbpatterns.audit_enable('person', exclude => '{seen}', redact => '{secret}');
INSERT INTO person VALUES (1, 'Ann', 'hunter2', '2020-01-01'), (2, 'Bob', NULL, NULL);
UPDATE person SET seen = '2021-01-01';
UPDATE person SET secret = 'hunter3' WHERE id = 1;
UPDATE person SET secret = NULL WHERE id = 1;
UPDATE person SET secret = NULL;
UPDATE person SET id = 3, secret = 'x' WHERE id = 2;
DELETE FROM person WHERE id = 3;
SELECT * FROM news();
SELECT count(*) AS leaks FROM _dbpatterns.audit_log e
 WHERE e::text ~ 'hunter|2020|2021';

-- An identical second call changes nothing and says so; another one replaces
-- all settings.
SELECT dbpatterns.audit_enable('person', exclude => '{seen}', redact => '{secret}');
SELECT * FROM news();
SELECT dbpatterns.audit_enable('person', redact => '{name}', capture => 'full');
UPDATE person SET seen = '2022-01-01 UTC';
UPDATE person SET seen = seen;
SELECT * FROM news();
SELECT target, options FROM dbpatterns.audit_status;

-- operations: only some, in any order.
SELECT dbpatterns.audit_enable('person', operations => 'DI');
INSERT INTO person VALUES (10, 'Cyd');
UPDATE person SET name = 'Cid' WHERE id = 10;
DELETE FROM person WHERE id = 10;
TRUNCATE person;
SELECT * FROM news();
SELECT tgname, pg_get_triggerdef(oid) FROM pg_trigger
 WHERE tgrelid = 'person'::regclass ORDER BY 1;
SELECT dbpatterns.audit_enable('person', operations => 'UT');
INSERT INTO person VALUES (10, 'Cyd');
UPDATE person SET name = 'Cid' WHERE id = 10;
TRUNCATE person;
SELECT * FROM news();

-- key: other columns than those of the primary key, or for want of one.
CREATE TABLE booking (room int, day date, guest text, id int GENERATED ALWAYS AS IDENTITY);
SELECT dbpatterns.audit_enable('booking', key => '{day,room}');
INSERT INTO booking VALUES (1, '2026-01-01', 'Ann'), (2, '2026-01-01', 'Bob');
UPDATE booking SET guest = 'Cyd' WHERE room = 1;
UPDATE booking SET day = '2026-01-02' WHERE room = 2;
SELECT * FROM news();
SELECT count(DISTINCT row_key) FROM _dbpatterns.audit_log e JOIN _dbpatterns.audit_shape s USING (shape)
 WHERE s.table_name = 'booking' AND op IN ('I', 'U', 'D');

-- fire: on the origin only, or also for changes that are replicated.
SET session_replication_role = replica;
INSERT INTO booking VALUES (3, '2026-01-03', 'silent');
SELECT dbpatterns.audit_enable('booking', key => '{day,room}', fire => 'always');
INSERT INTO booking VALUES (4, '2026-01-03', 'logged');
TRUNCATE booking;
RESET session_replication_role;
SELECT * FROM news();
SELECT tgname, tgenabled FROM pg_trigger WHERE tgrelid = 'booking'::regclass ORDER BY 1;
SELECT dbpatterns.audit_enable('booking', key => '{day,room}', fire => 'origin');
SELECT tgname, tgenabled FROM pg_trigger WHERE tgrelid = 'booking'::regclass ORDER BY 1;
-- The same for partitions, present and future.
CREATE TABLE part (id int PRIMARY KEY) PARTITION BY RANGE (id);
CREATE TABLE part1 PARTITION OF part FOR VALUES FROM (0) TO (10);
SELECT dbpatterns.audit_enable('part', fire => 'always');
CREATE TABLE part2 PARTITION OF part FOR VALUES FROM (10) TO (20);
SELECT tgrelid::regclass, tgname, tgenabled FROM pg_trigger
 WHERE tgname ~ '^dbp' AND tgrelid IN (SELECT relid FROM pg_partition_tree('part')) ORDER BY 1, 2;
SELECT dbpatterns.audit_enable('part');
SELECT DISTINCT tgenabled FROM pg_trigger
 WHERE tgname ~ '^dbp' AND tgrelid IN (SELECT relid FROM pg_partition_tree('part'));

-- A trigger made by hand: with options, with a condition, for some columns.
CREATE TABLE manual (id int PRIMARY KEY, v text, w text);
CREATE TRIGGER trail AFTER INSERT OR DELETE ON manual
    FOR EACH ROW EXECUTE FUNCTION dbpatterns.audit_trigger('{"redact": ["w"], "capture": "full"}');
CREATE TRIGGER trail_update AFTER UPDATE OF v ON manual
    FOR EACH ROW WHEN (old.v IS DISTINCT FROM new.v)
    EXECUTE FUNCTION dbpatterns.audit_trigger('{"exclude": ["w"], "key": ["id"]}');
CREATE TRIGGER trail_truncate BEFORE TRUNCATE ON manual
    EXECUTE FUNCTION dbpatterns.audit_trigger('{"truncate_rows": true}');
SELECT skip();
INSERT INTO manual VALUES (1, 'a', 'secret');
UPDATE manual SET w = 'other';
UPDATE manual SET v = 'b', w = 'x';
TRUNCATE manual;
SELECT * FROM news();
-- Made by hand wrongly: refused when it fires.
CREATE TRIGGER wrong BEFORE INSERT ON manual FOR EACH ROW EXECUTE FUNCTION dbpatterns.audit_trigger();
SELECT refused('INSERT INTO manual VALUES (2)');
DROP TRIGGER wrong ON manual;
CREATE TRIGGER wrong AFTER TRUNCATE ON manual EXECUTE FUNCTION dbpatterns.audit_trigger();
SELECT refused('TRUNCATE manual');
DROP TRIGGER wrong ON manual;
SELECT refused('SELECT dbpatterns.audit_trigger()');
SELECT refused(format('CREATE TRIGGER wrong AFTER INSERT ON manual FOR EACH ROW
                       EXECUTE FUNCTION dbpatterns.audit_trigger(%L);
                       INSERT INTO manual VALUES (2)', argument))
  FROM unnest(ARRAY['[]', 'no json', '{"exclud": ["w"]}', '{"exclude": "w"}', '{"exclude": [1]}',
    '{"exclude": [["w"]]}', '{"redact": {"w": 1}}', '{"exclude": ["none"]}',
    '{"key": ["none"]}', '{"exclude": ["id"]}', '{"capture": "half"}',
    '{"truncate_rows": 1}', '{"operations": 1}']) AS argument;
SELECT * FROM manual;

:finish
