-- Every way to change a row makes exactly one entry, with what it really did.
\getenv srcdir PG_ABS_SRCDIR
\set include :srcdir '/sql/include/audit.sql'
\i :include

CREATE TABLE item (id int PRIMARY KEY, name text, price numeric, note text);
SELECT audit('item');

-- INSERT ... SELECT: all rows, numbered in the order they were inserted, in
-- one transaction with one record of who did it.
INSERT INTO item SELECT i, 'item ' || i, i, NULL FROM generate_series(1, 10000) i;
SELECT count(*), count(DISTINCT txn) AS transactions, count(DISTINCT id) AS numbers,
       bool_and(new->>'id' = n::text) AS in_order
  FROM (SELECT *, row_number() OVER (ORDER BY id) AS n
          FROM _dbpatterns.audit_log WHERE op = 'I') e;
SELECT count(*) AS who FROM _dbpatterns.audit_log x
 WHERE x.xid IS NOT NULL AND x.txn IN (SELECT txn FROM _dbpatterns.audit_log WHERE op = 'I');
SELECT * FROM tally();

-- COPY, and COPY that fails half way.
COPY item FROM stdin;
10001	ten	1.50	\N
10002	\N	\N	x
\.
SELECT * FROM news();
COPY item FROM stdin;
10003	ok	1	\N
10001	again	1	\N
\.
SELECT * FROM tally();
DELETE FROM item WHERE id > 3;
SELECT * FROM tally();

-- Statements that find no row, and updates that change none.
UPDATE item SET name = 'x' WHERE id = -1;
DELETE FROM item WHERE id = -1;
UPDATE item SET name = name, price = price + 0, note = NULL;
SELECT * FROM news();
-- 1.0 and 1.00 are equal, but not the same.
UPDATE item SET price = price * 1.00 WHERE id = 1;
SELECT * FROM news();

-- ON CONFLICT: three new rows and two conflicting ones.
INSERT INTO item (id, name) SELECT i, 'upsert' FROM generate_series(2, 6) i
    ON CONFLICT (id) DO UPDATE SET name = excluded.name;
SELECT * FROM news();
INSERT INTO item (id) SELECT i FROM generate_series(2, 6) i ON CONFLICT DO NOTHING;
INSERT INTO item (id, name) VALUES (2, 'no')
    ON CONFLICT (id) DO UPDATE SET name = 'no' WHERE item.name = 'never';
SELECT * FROM news();

-- MERGE with every action: one entry for each row, none for DO NOTHING.
MERGE INTO item USING (VALUES (1, 'del'), (2, 'upd'), (3, 'nop'), (20, 'new')) AS s (id, what)
    ON item.id = s.id
  WHEN MATCHED AND s.what = 'del' THEN DELETE
  WHEN MATCHED AND s.what = 'upd' THEN UPDATE SET note = 'merged'
  WHEN MATCHED THEN DO NOTHING
  WHEN NOT MATCHED THEN INSERT (id, name) VALUES (s.id, s.what);
SELECT * FROM news() ORDER BY op;

-- Two parts of one statement that change the same table.
WITH gone AS (DELETE FROM item WHERE id = 20 RETURNING *),
     more AS (INSERT INTO item SELECT id + 1, name FROM gone RETURNING *)
UPDATE item SET note = 'cte' FROM more WHERE item.id = 3;
SELECT * FROM news() ORDER BY op;

-- What BEFORE triggers make of a row is what is logged; a row they refuse is
-- not; a changed one they restore is not either.
CREATE FUNCTION upper_name() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    IF new.name = 'refuse' THEN RETURN NULL; END IF;
    IF new.name = 'restore' THEN RETURN old; END IF;
    new.name := upper(new.name);
    RETURN new;
END $$;
CREATE TRIGGER upper_name BEFORE INSERT OR UPDATE ON item
    FOR EACH ROW EXECUTE FUNCTION upper_name();
INSERT INTO item (id, name) VALUES (30, 'lower'), (31, 'refuse');
UPDATE item SET name = 'refuse' WHERE id = 30;
UPDATE item SET name = 'restore' WHERE id = 30;
UPDATE item SET name = 'changed' WHERE id = 30;
SELECT * FROM news();
DROP TRIGGER upper_name ON item;

-- Views with rules and INSTEAD OF triggers end at the table below.
CREATE VIEW simple AS SELECT id, name FROM item;
UPDATE simple SET name = 'by view' WHERE id = 30;
CREATE VIEW ruled AS SELECT id, name || '!' AS shout FROM item;
CREATE RULE shout AS ON UPDATE TO ruled DO INSTEAD
    UPDATE item SET name = new.shout WHERE id = old.id;
UPDATE ruled SET shout = 'by rule' WHERE id = 30;
CREATE FUNCTION instead() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    DELETE FROM item WHERE id = old.id;
    RETURN old;
END $$;
CREATE VIEW triggered AS SELECT id, name || '?' AS name FROM item;
CREATE TRIGGER instead INSTEAD OF DELETE ON triggered
    FOR EACH ROW EXECUTE FUNCTION instead();
DELETE FROM triggered WHERE id = 30;
SELECT * FROM news();

-- What changes no row makes no entry.
CREATE MATERIALIZED VIEW copy AS SELECT * FROM item;
SELECT FROM item FOR UPDATE;
SELECT FROM item FOR KEY SHARE;
VACUUM FULL item;
CLUSTER item USING item_pkey;
ANALYZE item;
REINDEX TABLE item;
REFRESH MATERIALIZED VIEW copy;
SELECT * FROM news();

-- Several changes of one row: each with the values between, in order.
CREATE FUNCTION twice(int) RETURNS void LANGUAGE sql AS $$
    UPDATE item SET note = 'first' WHERE id = $1;
    UPDATE item SET note = 'second' WHERE id = $1;
$$;
SELECT twice(2);
BEGIN;
INSERT INTO item VALUES (40, 'brief');
UPDATE item SET name = 'life' WHERE id = 40;
DELETE FROM item WHERE id = 40;
COMMIT;
SELECT * FROM news();

-- Row triggers of the user's own that change the row again, before and after
-- ours in the order of names, plainly, in an exception block, and with rights
-- of their own: the log has the changes in the order they were made.
CREATE FUNCTION touch() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    UPDATE item SET note = coalesce(note, '') || tg_argv[0] WHERE id = new.id;
    RETURN NULL;
END $$;
CREATE FUNCTION touch_in_block() RETURNS trigger LANGUAGE plpgsql SECURITY DEFINER
    SET application_name = 'block' AS $$
BEGIN
    BEGIN
        UPDATE item SET note = coalesce(note, '') || tg_argv[0] WHERE id = new.id;
    EXCEPTION WHEN division_by_zero THEN NULL;
    END;
    BEGIN
        UPDATE item SET note = 'undone' WHERE id = new.id;
        PERFORM 1 / 0;
    EXCEPTION WHEN division_by_zero THEN NULL;
    END;
    RETURN NULL;
END $$;
CREATE TRIGGER a AFTER INSERT ON item FOR EACH ROW EXECUTE FUNCTION touch('a');
CREATE TRIGGER b AFTER INSERT ON item FOR EACH ROW EXECUTE FUNCTION touch_in_block('b');
CREATE TRIGGER y AFTER INSERT ON item FOR EACH ROW EXECUTE FUNCTION touch('y');
CREATE TRIGGER z AFTER INSERT ON item FOR EACH ROW EXECUTE FUNCTION touch_in_block('z');
INSERT INTO item VALUES (20050, 'fifty'), (20051, 'fifty-one');
SELECT * FROM news() WHERE new->>'id' = '20050';
SELECT id, note FROM item WHERE id >= 20050 ORDER BY id;
-- Each entry has the facts of the moment of its change.
SELECT e.op, e.new->>'note' AS note, e.application_name = 'block' AS block
  FROM dbpatterns.audit_entries e
 WHERE e.new->>'id' = '20051' ORDER BY e.id;
DROP TRIGGER a ON item;
DROP TRIGGER b ON item;
DROP TRIGGER y ON item;
DROP TRIGGER z ON item;

-- The same over several batches: a statement of 3000 rows, each changed again
-- by its trigger.
CREATE TRIGGER a AFTER INSERT ON item FOR EACH ROW EXECUTE FUNCTION touch('a');
INSERT INTO item SELECT i FROM generate_series(1001, 4000) i;
SELECT count(*) AS rows, count(*) FILTER (WHERE ops = 'IU') AS in_order
  FROM (SELECT string_agg(op::text, '' ORDER BY id) AS ops
          FROM _dbpatterns.audit_log
         WHERE (new->>'id')::int BETWEEN 1001 AND 4000 AND xact_time = (SELECT max(xact_time) FROM _dbpatterns.audit_log)
         GROUP BY new->>'id') g;

:finish
