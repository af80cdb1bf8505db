-- What can happen between a change and the writing of its entry.
\getenv srcdir PG_ABS_SRCDIR
\set include :srcdir '/sql/include/audit.sql'
\i :include

CREATE TABLE item (id int PRIMARY KEY, v int);
SELECT audit('item');

-- A BEFORE trigger makes room for the row: it is deleted first, whatever the
-- numbers of the commands say.
CREATE FUNCTION replace_row() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    UPDATE item SET v = v + 100 WHERE id = new.id;
    DELETE FROM item WHERE id = new.id;
    RETURN new;
END $$;
CREATE TRIGGER a_replace BEFORE INSERT ON item FOR EACH ROW EXECUTE FUNCTION replace_row();
INSERT INTO item VALUES (1, 1);
INSERT INTO item VALUES (1, 2), (2, 1);
SELECT op, old, new FROM news();
DROP TRIGGER a_replace ON item;

-- The same for a row that gets the key of another one.
CREATE TRIGGER a_replace BEFORE UPDATE OF id ON item FOR EACH ROW EXECUTE FUNCTION replace_row();
UPDATE item SET id = 1 WHERE id = 2;
SELECT op, old, new FROM news();
DROP TRIGGER a_replace ON item;

-- In an AFTER trigger it is the row just made that goes; also where what
-- happens to it in between makes no entry.
SELECT dbpatterns.audit_enable('item', operations => 'ID'), skip();
CREATE FUNCTION remove_row() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    UPDATE item SET v = 7 WHERE id = new.id;
    DELETE FROM item WHERE id = new.id;
    RETURN NULL;
END $$;
CREATE TRIGGER a_remove AFTER INSERT ON item FOR EACH ROW EXECUTE FUNCTION remove_row();
INSERT INTO item VALUES (3, 1);
SELECT op, old, new FROM news();
-- Both: the old row goes, the new one comes, and goes.
ALTER TABLE item DISABLE TRIGGER a_remove;
INSERT INTO item VALUES (3, 1);
ALTER TABLE item ENABLE TRIGGER a_remove;
CREATE TRIGGER a_replace BEFORE INSERT ON item FOR EACH ROW EXECUTE FUNCTION replace_row();
SELECT skip();
INSERT INTO item VALUES (3, 2);
SELECT op, old, new FROM news();
DROP TRIGGER a_replace ON item;
DROP TRIGGER a_remove ON item;
SELECT dbpatterns.audit_enable('item'), skip();

-- The rest of the transaction is to be read-only.
BEGIN;
INSERT INTO item VALUES (4, 1);
SET TRANSACTION READ ONLY;
COMMIT;
BEGIN;
INSERT INTO item VALUES (5, 1);
SAVEPOINT s;
SET TRANSACTION READ ONLY;
SELECT op, new FROM dbpatterns.audit_history('item', '{"id": 5}');
SHOW transaction_read_only;
ROLLBACK TO s;
SHOW transaction_read_only;
COMMIT;
SELECT op, new FROM news();

-- Roles that have gone or have another name when the entry is written.
CREATE ROLE regress_dbp_gone;
CREATE ROLE regress_dbp_renamed;
GRANT USAGE ON SCHEMA t TO regress_dbp_gone, regress_dbp_renamed;
GRANT INSERT ON item TO regress_dbp_gone, regress_dbp_renamed;
BEGIN;
SET LOCAL ROLE regress_dbp_gone;
INSERT INTO item VALUES (6, 1);
SET LOCAL ROLE regress_dbp_renamed;
INSERT INTO item VALUES (7, 1);
RESET ROLE;
DROP OWNED BY regress_dbp_gone;
DROP ROLE regress_dbp_gone;
ALTER ROLE regress_dbp_renamed RENAME TO regress_dbp_other;
COMMIT;
SELECT new, set_role, effective_role FROM dbpatterns.audit_entries
 WHERE (new->>'id')::int IN (6, 7) ORDER BY id;
DROP OWNED BY regress_dbp_other;
DROP ROLE regress_dbp_other;
SELECT skip();

-- A trigger on the log that changes an audited table.
CREATE TABLE alert (n int GENERATED ALWAYS AS IDENTITY PRIMARY KEY, old jsonb);
SELECT audit('alert');
CREATE FUNCTION alert() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    INSERT INTO t.alert (old) VALUES (new.old);
    RETURN NULL;
END $$;
CREATE TRIGGER alert AFTER INSERT ON _dbpatterns.audit_log
    FOR EACH ROW WHEN (new.op = 'D') EXECUTE FUNCTION alert();
DELETE FROM item WHERE id IN (4, 5);
BEGIN;
DELETE FROM item WHERE id = 6;
SAVEPOINT s;
SELECT op, old FROM dbpatterns.audit_history('item', '{"id": 6}');
SELECT op, new FROM dbpatterns.audit_history('alert', '{"n": 3}');
ROLLBACK TO s;
COMMIT;
SELECT "table", op, old, new->'old' AS alert FROM news();
SELECT count(*) FROM alert;
INSERT INTO item SELECT i, i FROM generate_series(1001, 4000) i;
DELETE FROM item WHERE id > 1000;
SELECT * FROM tally();
DROP TRIGGER alert ON _dbpatterns.audit_log;

-- The log goes before the entry is written, and perhaps comes back empty.
BEGIN;
INSERT INTO item VALUES (8, 1);
DROP EXTENSION dbpatterns CASCADE;
COMMIT;
SELECT count(*) FROM item WHERE id = 8;
CREATE EXTENSION dbpatterns;
SELECT dbpatterns.audit_enable('item');
BEGIN;
INSERT INTO item VALUES (9, 1);
SAVEPOINT s;
DROP EXTENSION dbpatterns CASCADE;
ROLLBACK TO s;
INSERT INTO item VALUES (10, 1);
COMMIT;
SELECT op, new FROM dbpatterns.audit_entries WHERE op <> 'M' ORDER BY id;
BEGIN;
INSERT INTO item VALUES (11, 1);
DROP EXTENSION dbpatterns CASCADE;
CREATE EXTENSION dbpatterns;
SELECT dbpatterns.audit_enable('alert');
SELECT dbpatterns.audit_enable('item');
INSERT INTO item VALUES (12, 1);
COMMIT;
SELECT table_name, op, new FROM dbpatterns.audit_entries WHERE op <> 'M' ORDER BY id;

:finish
