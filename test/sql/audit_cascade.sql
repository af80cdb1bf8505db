-- Changes that come from somewhere else: foreign keys, TRUNCATE CASCADE,
-- inheritance.
\getenv srcdir PG_ABS_SRCDIR
\set include :srcdir '/sql/include/audit.sql'
\i :include

CREATE ROLE regress_dbp_owner;
CREATE ROLE regress_dbp_user;
GRANT ALL ON SCHEMA t TO regress_dbp_owner, regress_dbp_user;

-- One DELETE of 1000 parents takes 2000 children along.  All of them are
-- logged, and who did it is the one who deleted the parents, although foreign
-- keys act with the rights of the table's owner.
SET ROLE regress_dbp_owner;
CREATE TABLE parent (id int PRIMARY KEY, name text);
CREATE TABLE child (id int PRIMARY KEY,
                    parent int REFERENCES parent ON DELETE CASCADE ON UPDATE CASCADE);
GRANT SELECT, INSERT, UPDATE, DELETE ON parent TO regress_dbp_user;
GRANT SELECT, INSERT ON child TO regress_dbp_user;
SELECT dbpatterns.audit_enable('parent'), dbpatterns.audit_enable('child');
INSERT INTO parent SELECT i FROM generate_series(1, 1002) i;
INSERT INTO child SELECT i, (i + 1) / 2 FROM generate_series(1, 2004) i;
RESET ROLE;
SELECT * FROM tally() WHERE op <> 'M';
SET ROLE regress_dbp_user;
DELETE FROM parent WHERE id <= 1000;
UPDATE parent SET id = 2001 WHERE id = 1001;
RESET ROLE;
SELECT e.table_name, e.op, count(*), count(DISTINCT e.transaction) AS transactions,
       min(e.set_role) AS set_role
  FROM dbpatterns.audit_entries e
 WHERE e.op IN ('D', 'U') GROUP BY 1, 2 ORDER BY 1, 2;
-- The effective role in a cascade is the caller up to 17 and the owner of the
-- table from 18 on.
SELECT DISTINCT CASE WHEN current_setting('server_version_num')::int >= 180000
                     THEN e.effective_role = 'regress_dbp_owner'
                     ELSE e.effective_role = 'regress_dbp_user' END AS expected
  FROM dbpatterns.audit_entries e WHERE e.op = 'D' AND e.table_name = 'child';
SELECT * FROM news() WHERE op = 'U';

-- SET NULL and SET DEFAULT are updates.
CREATE TABLE nullify (id int PRIMARY KEY, parent int REFERENCES parent ON DELETE SET NULL);
INSERT INTO nullify VALUES (1, 1002);
SELECT audit('nullify');
DELETE FROM child;
SELECT skip();
DELETE FROM parent WHERE id = 1002;
SELECT * FROM news() ORDER BY "table";

-- TRUNCATE ... CASCADE: one entry for each audited table it reaches.
CREATE TABLE unaudited (id int REFERENCES parent);
TRUNCATE parent CASCADE;
SELECT * FROM news() ORDER BY "table";
-- With truncate_rows, the rows that go come first, also those that only the
-- transaction itself has seen.
SELECT dbpatterns.audit_enable('parent', truncate_rows => true);
INSERT INTO parent VALUES (1, 'one');
SELECT skip();
BEGIN;
INSERT INTO parent VALUES (2, 'two');
TRUNCATE parent CASCADE;
COMMIT;
SELECT * FROM news() WHERE "table" = 'parent';
-- A TRUNCATE that fails or is rolled back leaves nothing.
BEGIN;
TRUNCATE parent CASCADE;
ROLLBACK;
TRUNCATE parent;
SELECT * FROM news();

-- Inheritance: children are audited with their parent, each as a table of its
-- own with its own columns; TRUNCATE ONLY and plain TRUNCATE tell them apart.
CREATE TABLE base (id int PRIMARY KEY, name text);
CREATE TABLE derived (extra text, PRIMARY KEY (id)) INHERITS (base);
SELECT audit('base');
INSERT INTO base VALUES (1, 'base');
INSERT INTO derived VALUES (2, 'derived', 'more');
UPDATE base SET name = name || '!';
DELETE FROM base WHERE id = 2;
TRUNCATE ONLY base;
TRUNCATE base;
SELECT * FROM news();
SELECT target, active FROM dbpatterns.audit_status WHERE target IN ('base'::regclass, 'derived') ORDER BY 1;
-- A child that is made later is not, and audit_check says so.
CREATE TABLE late () INHERITS (base);
SELECT severity, object, problem FROM dbpatterns.audit_check('base') WHERE severity = 'error';
SELECT audit('base');
INSERT INTO late VALUES (3, 'late');
SELECT * FROM news();
-- Disabling the parent disables the children.
SELECT dbpatterns.audit_disable('base');
SELECT * FROM dbpatterns.audit_status WHERE target IN ('base'::regclass, 'derived', 'late');

-- Temporary and unlogged tables, and a table without any key.
CREATE TEMP TABLE temporary (id int PRIMARY KEY, v text);
CREATE UNLOGGED TABLE unlogged (id int PRIMARY KEY, v text);
CREATE TABLE keyless (v text);
SELECT audit('temporary'), audit('unlogged'), audit('keyless');
INSERT INTO temporary VALUES (1, 'temp');
INSERT INTO unlogged VALUES (1, 'unlogged');
INSERT INTO keyless VALUES ('same'), ('same'), (NULL);
UPDATE keyless SET v = 'none' WHERE v IS NULL;
DELETE FROM keyless WHERE ctid = (SELECT min(ctid) FROM keyless);
SELECT * FROM news();
SELECT count(*) AS with_key FROM _dbpatterns.audit_log e JOIN _dbpatterns.audit_shape s USING (shape)
 WHERE s.table_name = 'keyless' AND e.row_key IS NOT NULL AND e.op IN ('I', 'U', 'D');
DROP TABLE temporary;

:finish
DROP ROLE regress_dbp_owner, regress_dbp_user;
