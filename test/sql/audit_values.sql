-- Large values: what an update does not touch is not read.  (What values look
-- like in the log is the business of core_codec.)
\getenv srcdir PG_ABS_SRCDIR
\set include :srcdir '/sql/include/audit.sql'
\i :include

CREATE TABLE doc (id int PRIMARY KEY, n int, body text);
ALTER TABLE doc ALTER body SET STORAGE EXTERNAL;
SELECT audit('doc');
INSERT INTO doc SELECT i, 0, repeat(i::text, 10000) FROM generate_series(1, 5) i;
SELECT op, count(*), bool_and(length(new->>'body') = 10000) AS whole FROM news() GROUP BY 1;

-- How often the values stored out of line were looked up so far.
CREATE FUNCTION fetches() RETURNS bigint LANGUAGE plpgsql AS $$
BEGIN
    PERFORM pg_stat_clear_snapshot();
    RETURN (SELECT idx_scan FROM pg_stat_all_tables
             WHERE relid = (SELECT reltoastrelid FROM pg_class WHERE oid = 't.doc'::regclass));
END $$;
SELECT pg_stat_force_next_flush();
SELECT fetches() AS before \gset
UPDATE doc SET n = n + 1;
SELECT pg_stat_force_next_flush();
SELECT fetches() - :before AS fetched;
SELECT * FROM news();
-- The measure itself works: a comparison with an equal literal has to fetch.
-- It is no change.
UPDATE doc SET body = repeat(id::text, 10000), n = n + 1;
SELECT pg_stat_force_next_flush();
SELECT fetches() - :before > 0 AS fetched;
SELECT * FROM news();
-- A changed one is logged on both sides, of the same length or not.
UPDATE doc SET body = repeat('x', 10000) WHERE id = 1;
UPDATE doc SET body = '' WHERE id = 2;
SELECT op, length(old->>'body') AS old, length(new->>'body') AS new, new - 'body' AS rest FROM news();
-- Compressed or not, in line or not: the value counts.
ALTER TABLE doc ALTER body SET STORAGE EXTENDED;
UPDATE doc SET body = body || '' WHERE id = 3;
ALTER TABLE doc ALTER body SET STORAGE MAIN;
UPDATE doc SET body = body || '' WHERE id = 3;
SELECT * FROM news();
-- Excluded and redacted ones are not fetched for the log either.  (The server
-- looks up the values of the two deleted rows once each, to remove them.)
SELECT dbpatterns.audit_enable('doc', exclude => '{body}', capture => 'full');
SELECT pg_stat_force_next_flush();
SELECT fetches() AS before \gset
UPDATE doc SET n = n + 1;
DELETE FROM doc WHERE id = 5;
SELECT dbpatterns.audit_enable('doc', redact => '{body}');
UPDATE doc SET n = n + 1;
DELETE FROM doc WHERE id = 4;
SELECT pg_stat_force_next_flush();
SELECT fetches() - :before AS fetched;
SELECT * FROM tally();

-- What jsonb cannot hold does not keep a row from being changed, and comes back
-- as it was.
CREATE TABLE odd (id int PRIMARY KEY, j json);
SELECT audit('odd');
INSERT INTO odd VALUES (1, '{"a" : "\u0000", "a":1 }');
UPDATE odd SET j = '{"a":1}';
SELECT op, old, new, (dbpatterns.row_from_jsonb(NULL::odd, coalesce(old, new))).j FROM news();

-- A row wider than any page, all of it changed.
\set ECHO none
SELECT format('CREATE TABLE wide (id int PRIMARY KEY, %s)', string_agg(format('c%s text', i), ', ')) FROM generate_series(1, 1000) i \gexec
\set ECHO all
SELECT audit('wide');
INSERT INTO wide (id, c1, c1000) VALUES (1, 'first', 'last');
SELECT format('UPDATE wide SET %s', string_agg(format('c%s = %L', i, i), ', ')) AS "update" FROM generate_series(1, 1000) i \gset
\set ECHO none
:update;
\set ECHO all
SELECT op, (SELECT count(*) FROM jsonb_object_keys(old)) AS old, (SELECT count(*) FROM jsonb_object_keys(new)) AS new FROM news();

:finish
