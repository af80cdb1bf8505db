-- Tables change: the trail follows, and where it cannot, it refuses to log
-- rather than log what it must not.
\getenv srcdir PG_ABS_SRCDIR
\set include :srcdir '/sql/include/audit.sql'
\i :include

CREATE TABLE a (id int PRIMARY KEY, name text, secret text, noise int);
SELECT dbpatterns.audit_enable('a', exclude => '{noise}', redact => '{secret}');
INSERT INTO a VALUES (1, 'one', 'hush', 1);

-- Renamed table, schema and columns: options follow, one identity stays.
ALTER TABLE a RENAME TO b;
ALTER TABLE b RENAME name TO title;
ALTER TABLE b RENAME secret TO pin;
ALTER TABLE b RENAME noise TO hits;
ALTER TABLE b RENAME id TO key;
CREATE SCHEMA t2;
ALTER TABLE b SET SCHEMA t2;
UPDATE t2.b SET title = 'uno', pin = 'hush!', hits = 2;
ALTER SCHEMA t2 RENAME TO t3;
UPDATE t3.b SET hits = 3;
DELETE FROM t3.b;
SELECT * FROM news();
SELECT count(*) FROM _dbpatterns.audit_log e WHERE e::text ~ 'hush';
SELECT s.schema_name, s.table_name, s.columns, s.numbers, s.key
  FROM _dbpatterns.audit_shape s ORDER BY shape;
SELECT target, options FROM dbpatterns.audit_status;
SELECT count(DISTINCT relation) FROM _dbpatterns.audit_shape;
-- Two columns that swap their names: the redacted one stays redacted.
INSERT INTO t3.b VALUES (2, 'two', 'hush', 0);
ALTER TABLE t3.b RENAME title TO x;
ALTER TABLE t3.b RENAME pin TO title;
ALTER TABLE t3.b RENAME x TO pin;
UPDATE t3.b SET pin = 'open', title = 'hush';
SELECT * FROM news() WHERE op = 'U';
ALTER TABLE t3.b SET SCHEMA t;
DROP SCHEMA t3;

-- A listed column that is dropped: no change of the table is logged in part or
-- in clear, every one is refused until the options name what is there.
ALTER TABLE b DROP COLUMN title;
SELECT refused('UPDATE b SET pin = ''y''');
SELECT refused('INSERT INTO b VALUES (3)');
SELECT severity, object, problem, remedy FROM dbpatterns.audit_check('b');
SELECT dbpatterns.audit_enable('b', exclude => '{hits}');
UPDATE b SET pin = 'y';
SELECT * FROM news();
SELECT * FROM dbpatterns.audit_check('b');
-- The same for a key column.
CREATE TABLE k (x int, y int);
SELECT dbpatterns.audit_enable('k', key => '{x}');
ALTER TABLE k RENAME x TO z;
INSERT INTO k VALUES (1, 1);
ALTER TABLE k DROP COLUMN z;
SELECT refused('INSERT INTO k VALUES (2)');
SELECT dbpatterns.audit_disable('k');
DROP TABLE k;
SELECT * FROM news();

-- Added columns: a default that needs no rewrite is there in the old image of
-- rows that never had it.  Dropped columns leave no trace and shift nothing.
CREATE TABLE c (gone int, id int PRIMARY KEY, v text);
SELECT audit('c');
INSERT INTO c VALUES (0, 1, 'x');
ALTER TABLE c ADD COLUMN added text DEFAULT 'default', ADD COLUMN empty int;
UPDATE c SET added = 'changed';
ALTER TABLE c DROP COLUMN gone;
UPDATE c SET v = 'y', empty = 1;
DELETE FROM c;
SELECT * FROM news();
-- A type that changes, with and without a rewrite, leaves a marker.
INSERT INTO c VALUES (2, '10');
ALTER TABLE c ALTER v TYPE int USING v::int;
ALTER TABLE c ALTER added TYPE varchar(20);
UPDATE c SET v = 11;
SELECT * FROM news();
SELECT types FROM _dbpatterns.audit_shape WHERE table_name = 'c' ORDER BY shape DESC LIMIT 2;
-- What does not change the layout leaves none.
ALTER TABLE c ALTER v SET DEFAULT 1;
CREATE INDEX ON c (v);
ALTER TABLE c SET (fillfactor = 90);
ANALYZE c;
SELECT * FROM news();

-- The primary key goes, comes back, and becomes another.
ALTER TABLE c DROP CONSTRAINT c_pkey;
UPDATE c SET v = 12;
ALTER TABLE c ADD PRIMARY KEY (id);
UPDATE c SET v = 13;
ALTER TABLE c DROP CONSTRAINT c_pkey, ADD PRIMARY KEY (v, id);
UPDATE c SET added = 'k';
UPDATE c SET v = 14;
SELECT * FROM news();
SELECT key FROM _dbpatterns.audit_shape WHERE table_name = 'c' ORDER BY shape DESC LIMIT 4;

-- Everything in one transaction, and rolled back: the layout before is used
-- again, and nothing of the other stays.
BEGIN;
ALTER TABLE c ADD COLUMN extra int;
UPDATE c SET extra = 1;
SAVEPOINT s;
ALTER TABLE c DROP COLUMN extra, ADD COLUMN other int;
UPDATE c SET other = 2;
ROLLBACK TO s;
UPDATE c SET extra = 3;
SELECT * FROM news();
ROLLBACK;
SELECT skip();
UPDATE c SET added = 'after';
SELECT * FROM news();
-- audit_enable that is rolled back.
CREATE TABLE d (id int PRIMARY KEY);
BEGIN;
SELECT dbpatterns.audit_enable('d');
INSERT INTO d VALUES (1);
ROLLBACK;
INSERT INTO d VALUES (2);
BEGIN;
SELECT dbpatterns.audit_enable('d');
INSERT INTO d VALUES (3);
COMMIT;
SELECT * FROM news();

-- Columns renamed in the parent of an inheritance tree and in a partitioned
-- table: the children's options follow.
CREATE TABLE base (id int PRIMARY KEY, secret text);
CREATE TABLE derived (PRIMARY KEY (id)) INHERITS (base);
CREATE TABLE part (id int PRIMARY KEY, secret text) PARTITION BY RANGE (id);
CREATE TABLE part1 PARTITION OF part FOR VALUES FROM (0) TO (10);
SELECT dbpatterns.audit_enable('base', redact => '{secret}'), dbpatterns.audit_enable('part', redact => '{secret}');
ALTER TABLE base RENAME secret TO hidden;
ALTER TABLE part RENAME secret TO hidden;
INSERT INTO derived VALUES (1, 'hush');
INSERT INTO part1 VALUES (1, 'hush');
SELECT "table", new FROM news() WHERE op = 'I';
SELECT tgrelid::regclass, tgname, tgargs FROM pg_trigger
 WHERE tgrelid IN ('derived'::regclass, 'part1'::regclass) AND tgargs = '{"redact": ["secret"]}\000';
-- A typed table is altered through its type, which nobody tells us: it refuses
-- to log until the options are right.
CREATE TYPE kind AS (id int, secret text);
CREATE TABLE typed OF kind (PRIMARY KEY (id));
SELECT dbpatterns.audit_enable('typed', redact => '{secret}');
ALTER TYPE kind RENAME ATTRIBUTE secret TO hidden CASCADE;
SELECT refused('INSERT INTO typed VALUES (1, ''hush'')');
SELECT dbpatterns.audit_enable('typed', redact => '{hidden}');
INSERT INTO typed VALUES (1, 'hush');
SELECT "table", new FROM news() WHERE op = 'I';
SELECT count(*) FROM _dbpatterns.audit_log e WHERE e::text ~ 'hush';

-- The owner switches triggers off or drops them: seen in status and check,
-- and in the log.
CREATE TABLE e (id int PRIMARY KEY);
SELECT audit('e');
CREATE VIEW e_status AS SELECT active FROM dbpatterns.audit_status WHERE target = 'e'::regclass;
CREATE FUNCTION e_check(OUT severity text, OUT problem text) RETURNS SETOF record
    LANGUAGE sql AS $$ SELECT severity, problem FROM dbpatterns.audit_check('e') $$;
SELECT (SELECT active FROM e_status), e_check();
ALTER TABLE e DISABLE TRIGGER dbpatterns_80_audit;
INSERT INTO e VALUES (1);
SELECT (SELECT active FROM e_status), (e_check()).*;
ALTER TABLE e ENABLE REPLICA TRIGGER dbpatterns_80_audit;
SELECT (SELECT active FROM e_status), (e_check()).*;
ALTER TABLE e ENABLE TRIGGER dbpatterns_80_audit;
ALTER TABLE e DISABLE TRIGGER dbpatterns_81_audit;
SELECT (SELECT active FROM e_status), (e_check()).*;
INSERT INTO e VALUES (2);
SELECT * FROM news();
-- audit_enable puts all of it right.
SELECT dbpatterns.audit_enable('e');
SELECT (SELECT active FROM e_status), (e_check()).*;
DROP TRIGGER dbpatterns_81_audit ON e;
SELECT (SELECT active FROM e_status), (e_check()).*;
DROP TRIGGER dbpatterns_80_audit ON e;
SELECT (SELECT active FROM e_status), (e_check()).*;
INSERT INTO e VALUES (3);
SELECT dbpatterns.audit_enable('e');
INSERT INTO e VALUES (4);
-- A trigger of our name that does something else.
CREATE FUNCTION nothing() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN RETURN NULL; END';
CREATE OR REPLACE TRIGGER dbpatterns_80_audit AFTER INSERT OR UPDATE OR DELETE ON e
    FOR EACH ROW EXECUTE FUNCTION nothing('{}');
SELECT (SELECT active FROM e_status), (e_check()).*;
SELECT dbpatterns.audit_enable('e');
CREATE OR REPLACE TRIGGER dbpatterns_80_audit AFTER INSERT OR UPDATE OR DELETE ON e
    FOR EACH ROW WHEN (pg_trigger_depth() > 9) EXECUTE FUNCTION dbpatterns.audit_trigger('{}');
SELECT (SELECT active FROM e_status), (e_check()).*;
SELECT dbpatterns.audit_enable('e');
INSERT INTO e VALUES (5);
SELECT * FROM news();
SELECT dbpatterns.audit_disable('e');
SELECT dbpatterns.audit_disable('e');
INSERT INTO e VALUES (6);
SELECT * FROM news();

-- Dropped: the history stays, with a marker; a new table of the same name is
-- another one.
SELECT audit('e');
INSERT INTO e VALUES (7);
DROP TABLE e CASCADE;
SELECT * FROM news();
SELECT count(*) FROM dbpatterns.status WHERE target::text ~ '^[0-9]+$';
CREATE TABLE e (id int PRIMARY KEY);
SELECT audit('e');
SELECT count(DISTINCT relation) FROM _dbpatterns.audit_shape WHERE table_name = 'e';
-- A whole schema at once, rolled back and then done.
CREATE SCHEMA gone;
CREATE TABLE gone.x (id int PRIMARY KEY);
SELECT audit('gone.x');
BEGIN;
SET LOCAL client_min_messages = warning;
DROP SCHEMA gone CASCADE;
ROLLBACK;
INSERT INTO gone.x VALUES (1);
SET client_min_messages = warning;
DROP SCHEMA gone CASCADE;
RESET client_min_messages;
SELECT * FROM news();

-- Triggers of our names on tables of others are theirs, whatever is altered.
CREATE TABLE stranger (id int PRIMARY KEY);
CREATE TABLE byhand (id int PRIMARY KEY);
CREATE TRIGGER dbpatterns_81_audit AFTER INSERT ON stranger
    FOR EACH STATEMENT EXECUTE FUNCTION nothing();
CREATE TRIGGER dbpatterns_81_audit AFTER INSERT ON byhand
    FOR EACH STATEMENT EXECUTE FUNCTION dbpatterns.audit_trigger('{}');
CREATE TABLE root (id int PRIMARY KEY) PARTITION BY RANGE (id);
CREATE TABLE root1 PARTITION OF root FOR VALUES FROM (0) TO (10);
SELECT audit('root');
SELECT skip();
ALTER TABLE root DETACH PARTITION root1;
SELECT tgrelid::regclass, tgname FROM pg_trigger
 WHERE tgrelid IN ('stranger'::regclass, 'byhand'::regclass, 'root1'::regclass) ORDER BY 1, 2;
SELECT * FROM news();
-- A bad argument in a trigger made by hand stops changes, not ALTER TABLE.
CREATE TABLE bad (id int PRIMARY KEY);
CREATE TRIGGER dbpatterns_80_audit AFTER INSERT ON bad
    FOR EACH ROW EXECUTE FUNCTION dbpatterns.audit_trigger('{bad');
ALTER TABLE bad ADD COLUMN v text;
ALTER TABLE bad RENAME v TO w;
SELECT left(refused('INSERT INTO bad VALUES (1)'), 5) AS refused;
SELECT dbpatterns.audit_disable('bad');
INSERT INTO bad VALUES (1);
-- The remedy names the trigger that was made by hand.
CREATE TABLE hand (id int PRIMARY KEY);
CREATE TRIGGER "By hand" AFTER INSERT ON hand
    FOR EACH ROW EXECUTE FUNCTION dbpatterns.audit_trigger();
ALTER TABLE hand DISABLE TRIGGER "By hand";
SELECT remedy FROM dbpatterns.audit_check('hand') WHERE problem LIKE '%is disabled%';

:finish
