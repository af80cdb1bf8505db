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

:finish
