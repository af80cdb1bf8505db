-- Portions of tables that make it hard: columns that cannot be copied, names,
-- triggers, row-level security, versions, and the view.
\set SHOW_CONTEXT never
SET client_min_messages = warning;
CREATE EXTENSION IF NOT EXISTS btree_gist;
CREATE EXTENSION IF NOT EXISTS dbpatterns;
DROP ROLE IF EXISTS regress_dbp_clerk;
CREATE ROLE regress_dbp_clerk;
RESET client_min_messages;
SET datestyle = 'ISO, YMD';

-- A column that was dropped, a serial primary key, a unique column that may be
-- NULL, an identity, generated and composite columns, arrays, a domain, names that
-- need quotes or are 63 bytes long.
CREATE SCHEMA "Odd ""schema""";
CREATE TYPE pair AS (a int, b text);
CREATE DOMAIN positive AS numeric CHECK (VALUE > 0);
CREATE TABLE "Odd ""schema"""."The table" (
    gone int,
    id serial PRIMARY KEY,
    "Key ""of it""" text COLLATE "C",
    "valid at" daterange,
    ean text UNIQUE,
    token uuid DEFAULT gen_random_uuid() UNIQUE,
    seq int GENERATED ALWAYS AS IDENTITY,
    n text,
    o pair,
    u int[],
    price positive,
    twice numeric GENERATED ALWAYS AS (price * 2) STORED,
    doc json,
    a23456789012345678901234567890123456789012345678901234567890123 int,
    made text DEFAULT current_user || clock_timestamp());
ALTER TABLE "Odd ""schema"""."The table" DROP COLUMN gone;
SELECT dbpatterns.period_enable('"Odd ""schema"""."The table"', ARRAY['Key "of it"'], 'valid at');
SET search_path = "Odd ""schema""", public;
INSERT INTO "The table" ("Key ""of it""", "valid at", ean, n, o, u, price, doc, a23456789012345678901234567890123456789012345678901234567890123, made)
    VALUES ('x', '[2025-01-01,2025-12-31)', NULL, 'n', (1, 'b"'), '{1,2}', 10, '{"j": 1}', 5, 'me');
SELECT dbpatterns.portion_update('"The table"', '{"Key \"of it\"": "x"}', '[2025-03-01,2025-04-01)',
    '{"price": 12, "o": "(2,c)", "u": [3], "doc": "{}", "n": null, "a23456789012345678901234567890123456789012345678901234567890123": 6}');
SELECT id, "valid at", ean, seq, n, o, u, price, twice, doc, a23456789012345678901234567890123456789012345678901234567890123, made
    FROM "The table" ORDER BY "valid at";
SELECT count(DISTINCT token) FROM "The table";
SELECT dbpatterns.portion_delete('"The table"', '{"Key \"of it\"": "x"}', '[2025-06-01,2025-07-01)');
SELECT dbpatterns.portion_upsert('"The table"', '{"Key \"of it\"": "x", "price": 20}', '[2025-05-20,2025-06-10)');
SELECT id, "valid at", seq, price, twice, made = 'me' AS copied FROM "The table" ORDER BY "valid at";
-- What cannot be copied and has no default that could make another is the server's to refuse.
UPDATE "The table" SET ean = 'e' WHERE id = 1;
SELECT dbpatterns.portion_update('"The table"', '{}', '[2025-03-10,2025-03-20)', '{"price": 1}');
SELECT dbpatterns.portion_update('"The table"', '{}', '[2025-03-10,2025-03-20)', '{"price": -1}');
SELECT dbpatterns.portion_update('"The table"', '{}', '[2025-03-10,2025-03-20)', '{"twice": 1}');
SELECT dbpatterns.portion_update('"The table"', '{}', '[2025-03-10,2025-03-20)', '{"seq": 1}');
RESET search_path;

-- An identity that is the key, or part of a key with the period, is copied.
CREATE TABLE own (id int GENERATED ALWAYS AS IDENTITY, b date, e date, v int, PRIMARY KEY (id, b));
SELECT dbpatterns.period_enable('own', '{id}', from_column => 'b', to_column => 'e');
INSERT INTO own (b, v) VALUES ('2025-01-01', 1);
SELECT dbpatterns.portion_update('own', '{"id": 1}', '[2025-02-01,2025-03-01)', '{"v": 2}');
SELECT * FROM own ORDER BY b;

-- Operators of other people are not called.
CREATE SCHEMA evil;
CREATE FUNCTION evil.eq(tid, tid) RETURNS boolean LANGUAGE plpgsql AS $$ BEGIN RAISE 'called'; END $$;
CREATE OPERATOR evil.= (LEFTARG = tid, RIGHTARG = tid, FUNCTION = evil.eq);
CREATE FUNCTION evil.unnest(anymultirange) RETURNS SETOF anyrange LANGUAGE plpgsql AS $$ BEGIN RAISE 'called'; END $$;
SET search_path = evil, pg_catalog, public;
SELECT dbpatterns.portion_update('own', '{"id": 1}', '[2025-02-10,2025-02-20)', '{"v": 3}');
RESET search_path;

-- Triggers fire with the caller's search_path; one that keeps a row from being
-- changed keeps it from being cut; versions are one for each changed row.
CREATE TABLE trig (k int, p daterange, v int);
SELECT dbpatterns.period_enable('trig', '{k}', 'p');
SELECT dbpatterns.versioning_enable('trig') \gset
CREATE TABLE seen (what text);
CREATE FUNCTION tell() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    IF TG_OP = 'UPDATE' AND NEW.v = 13 THEN RETURN NULL; END IF;
    INSERT INTO seen VALUES (format('%s %s', TG_OP, CASE TG_OP WHEN 'DELETE' THEN OLD.p ELSE NEW.p END));
    RETURN CASE TG_OP WHEN 'DELETE' THEN OLD ELSE NEW END;
END $$;
CREATE TRIGGER tell BEFORE INSERT OR UPDATE OR DELETE ON trig FOR EACH ROW EXECUTE FUNCTION tell();
INSERT INTO trig VALUES (1, '[2025-01-01,2025-02-01)', 1), (1, '[2025-02-01,2025-03-01)', 1);
TRUNCATE seen;
SELECT dbpatterns.portion_update('trig', '{"k": 1}', '[2025-01-10,2025-02-10)', '{"v": 2}');
SELECT dbpatterns.portion_update('trig', '{"k": 1}', '[2025-01-12,2025-02-08)', '{"v": 13}');
SELECT dbpatterns.portion_delete('trig', '{"k": 1}', '[2025-01-05,2025-01-15)');
SELECT * FROM seen ORDER BY what DESC;
SELECT k, p, v FROM trig ORDER BY p;
SELECT k, p, v FROM trig_history ORDER BY p, v;

-- A portion is cut with its leftovers at once: what a constraint trigger sees after
-- the statement is the result.
CREATE FUNCTION whole() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    IF NOT (SELECT range_agg(p) @> daterange('2025-02-20', '2025-03-01') FROM trig) THEN RAISE 'a hole'; END IF;
    RETURN NULL;
END $$;
CREATE CONSTRAINT TRIGGER whole AFTER UPDATE ON trig FOR EACH ROW EXECUTE FUNCTION whole();
SELECT dbpatterns.portion_update('trig', '{"k": 1}', '[2025-02-22,2025-02-23)', '{"v": 5}');
DROP TABLE trig, trig_history CASCADE;

-- The caller's rights, and row-level security.
CREATE TABLE mine (k int, p daterange, v int, who text DEFAULT current_user);
SELECT dbpatterns.period_enable('mine', '{k}', 'p');
INSERT INTO mine VALUES (1, '[2025-01-01,2025-02-01)', 1, 'regress_dbp_clerk'), (2, '[2025-01-01,2025-02-01)', 1, 'boss');
ALTER TABLE mine ENABLE ROW LEVEL SECURITY;
CREATE POLICY own ON mine USING (who = current_user);
GRANT SELECT, UPDATE ON mine TO regress_dbp_clerk;
SET ROLE regress_dbp_clerk;
SELECT dbpatterns.portion_update('mine', '{}', '[2025-01-10,2025-01-20)', '{"v": 2}');
RESET ROLE;
GRANT INSERT ON mine TO regress_dbp_clerk;
SELECT dbpatterns.portion_view_enable('mine');
SET ROLE regress_dbp_clerk;
SELECT dbpatterns.portion_update('mine', '{}', '[2025-01-10,2025-01-20)', '{"v": 2}');
SELECT dbpatterns.portion_delete('mine', '{}', '[2025-01-10,2025-01-20)');
SELECT dbpatterns.portion_upsert('mine', '{"k": 2, "v": 3}', '[2025-01-10,2025-01-20)');
UPDATE mine__portion SET v = 4, p = '[2025-01-02,2025-01-03)' RETURNING *;
SELECT * FROM mine__portion ORDER BY k, p;
SELECT dbpatterns.portion_view_disable('mine');
RESET ROLE;
SELECT * FROM mine ORDER BY k, p;

-- A partitioned table, where the server has exclusion constraints on those: from 17 on.
DO $$
BEGIN
    IF current_setting('server_version_num')::int < 170000 THEN RETURN; END IF;
    CREATE TABLE parted (k int, p daterange, v int) PARTITION BY LIST (k);
    CREATE TABLE parted_odd PARTITION OF parted FOR VALUES IN (1, 3);
    CREATE TABLE parted_even PARTITION OF parted FOR VALUES IN (2, 4);
    PERFORM dbpatterns.period_enable('parted', '{k}', 'p');
    INSERT INTO parted SELECT k, '[2025-01-01,2025-02-01)', 1 FROM generate_series(1, 3) k;
    ASSERT dbpatterns.portion_update('parted', '{}', '[2025-01-10,2025-01-20)', '{"v": 2}') = 3;
    ASSERT dbpatterns.portion_delete('parted', '{}', '[2025-01-12,2025-01-15)') = 3;
    ASSERT dbpatterns.portion_upsert('parted', '{"k": 2, "v": 7}', '[2025-01-13,2025-02-15)') = 4;
    ASSERT dbpatterns.portion_update('parted', '{"k": 1}', '[2025-01-05,2025-01-06)', '{"k": 4}') = 1;
    ASSERT (SELECT string_agg(format('%s %s %s', tableoid::regclass, p, v), ', ' ORDER BY p) FROM parted WHERE k IN (1, 4)) =
        'parted_odd [2025-01-01,2025-01-05) 1, parted_even [2025-01-05,2025-01-06) 1, parted_odd [2025-01-06,2025-01-10) 1, '
        'parted_odd [2025-01-10,2025-01-12) 2, parted_odd [2025-01-15,2025-01-20) 2, parted_odd [2025-01-20,2025-02-01) 1';
    DROP TABLE parted;
END $$;

-- The view.
CREATE TABLE price (sku text, valid_at daterange, price numeric(10, 2), note text DEFAULT '-');
SELECT dbpatterns.portion_view_enable('price');
SELECT dbpatterns.period_enable('price', '{sku}', 'valid_at');
SELECT dbpatterns.portion_view_enable('price');
SELECT dbpatterns.portion_view_enable('price');
INSERT INTO price__portion (sku, valid_at, price) VALUES ('a', '[2025-01-01,2025-02-01)', 1), ('a', '[2025-02-01,2025-03-01)', 2), ('b', '[2025-01-01,)', 9);
\set QUIET off
UPDATE price__portion SET price = 5, valid_at = '[2025-01-20,2025-02-10)' WHERE valid_at && '[2025-01-20,2025-02-10)';
UPDATE price__portion SET price = 5, valid_at = '[2025-01-22,2025-02-10)' WHERE sku = 'a';
UPDATE price__portion SET price = price + 1, note = 'x' WHERE price = 5 AND sku = 'a' RETURNING *;
UPDATE price__portion SET sku = 'c' WHERE sku = 'b' AND price = 5 RETURNING *;
UPDATE price__portion SET price = 0, valid_at = NULL;
UPDATE price__portion SET price = 0, valid_at = 'empty';
DELETE FROM price__portion WHERE valid_at && '[2025-01-05,2025-01-10)';
BEGIN;
SET LOCAL dbpatterns.portion = '[2025-01-05,2025-01-10)';
DELETE FROM price__portion WHERE sku IN ('a', 'b');
UPDATE price__portion SET note = 'late' WHERE sku = 'c';
SET LOCAL dbpatterns.portion = '[2025-02-05,)';
UPDATE price__portion SET note = 'late' WHERE sku = 'c';
SET LOCAL dbpatterns.portion = '(,)';
DELETE FROM price__portion WHERE sku = 'b' AND lower(valid_at) < '2025-01-05';
COMMIT;
\set QUIET on
SELECT * FROM price ORDER BY 1, 2;
-- It follows the table's name, and its columns when asked to.
ALTER TABLE price ADD COLUMN extra int;
ALTER TABLE price RENAME TO tariff;
SELECT dbpatterns.portion_view_enable('tariff');
SELECT count(extra) FROM tariff__portion;
ALTER TABLE tariff DROP COLUMN extra;
SELECT dbpatterns.portion_view_disable('tariff');
SELECT dbpatterns.portion_view_disable('tariff');
CREATE TABLE tariff__portion ();
SELECT dbpatterns.portion_view_enable('tariff');
DROP TABLE tariff__portion;
SELECT dbpatterns.portion_view_enable('tariff');
SELECT dbpatterns.period_disable('tariff');
SELECT to_regclass('tariff__portion');
CREATE VIEW joined AS SELECT 1 AS one;
CREATE TRIGGER t INSTEAD OF UPDATE ON joined FOR EACH ROW EXECUTE FUNCTION dbpatterns.portion_trigger();
UPDATE joined SET one = 2;

DROP VIEW joined, mine__portion;
DROP TABLE own, mine, tariff, seen, "Odd ""schema"""."The table";
DROP FUNCTION tell, whole;
DROP SCHEMA "Odd ""schema""", evil CASCADE;
DROP DOMAIN positive;
DROP TYPE pair;
DROP ROLE regress_dbp_clerk;
