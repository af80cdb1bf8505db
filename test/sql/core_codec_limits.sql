-- Row images at the limits: sizes of values and of rows, numbers and names of
-- columns, other database encodings, memory.
SET client_min_messages = warning;
CREATE EXTENSION IF NOT EXISTS dbpatterns;
RESET client_min_messages;
CREATE SCHEMA core_codec;
SET search_path = core_codec;
CREATE CAST (jsonb AS bytea) WITHOUT FUNCTION;

-- What does not fit is replaced by a marker; the statement never fails.  The
-- limit of a value is 64 MB of JSON, or of its binary form for what has to go
-- through an output function.
CREATE FUNCTION shape(image jsonb) RETURNS TABLE (key text, kind text, size int, marker jsonb)
LANGUAGE sql AS $$
    SELECT e.key, jsonb_typeof(e.value), pg_column_size(e.value),
           CASE WHEN e.value ? '$dbp' THEN e.value END
      FROM jsonb_each(image) e ORDER BY 1
$$;
CREATE FUNCTION mb(n int) RETURNS text LANGUAGE sql AS $$ SELECT repeat(repeat('x', 1024 * 1024), n) $$;
SELECT s.* FROM (SELECT mb(64) AS fits) r, shape(dbpatterns.row_to_jsonb(r)) s;
SELECT s.*, s.marker ->> 'sha256' = encode(sha256(r.large), 'hex') AS right_hash
  FROM (SELECT convert_to(left(mb(32), -1), 'SQL_ASCII') AS fits,
               convert_to(mb(32), 'SQL_ASCII') AS large) r,
    shape(dbpatterns.row_to_jsonb(r)) s;
SELECT s.* FROM (SELECT convert_to(mb(200), 'SQL_ASCII') AS huge) r,
    shape(dbpatterns.row_to_jsonb(r)) s;
SELECT s.* FROM (SELECT array_fill(7, '{6000000}') AS list, jsonb_build_array(mb(64)) AS doc) r,
    shape(dbpatterns.row_to_jsonb(r)) s;
-- all together an image stays below the 256 MB of jsonb: later columns yield
SELECT pg_column_size(i), i -> 'e' AS e, i -> 'f' AS f, i -> 'g' AS g, i -> 'h' AS h
  FROM (SELECT big AS a, big AS b, big AS c, big AS d, big AS e, 1 AS f, 'short' AS g, 2.5 AS h
          FROM mb(60) big) r, dbpatterns.row_to_jsonb(r) i;

-- Sizes around the borders of short and long headers, in memory and stored.
CREATE TABLE borders (n int, t text, b bytea, d numeric, j jsonb, a text[]);
INSERT INTO borders
SELECT n, repeat('x', n), convert_to(repeat('y', n), 'SQL_ASCII'), repeat('7', n + 1)::numeric / 10000,
       jsonb_build_object('k', repeat('z', n), 'n', n + 0.5), ARRAY[repeat('x', n), repeat('x', n % 5)]
  FROM generate_series(0, 300) n;
SELECT count(*), bool_and(i::bytea = i::text::jsonb::bytea) AS same_bytes,
       bool_and(dbpatterns.row_from_jsonb(NULL::borders, i) *= r) AS same_row
  FROM borders r, dbpatterns.row_to_jsonb(r) i;
SELECT count(*), bool_and(i::bytea = i::text::jsonb::bytea) AS same_bytes
  FROM (SELECT n, t || '' AS t, j || '{}' AS j, d + 0 AS d, n::numeric AS e FROM borders) r,
       dbpatterns.row_to_jsonb(r) i;

-- As many columns as a table can have.
DO $$
BEGIN
    EXECUTE (SELECT format('CREATE TABLE widest (%s)', string_agg(format('%I %s', 'column ' || n,
                (ARRAY['int2', 'bool', '"char"', 'numeric(3,1)', 'text'])[1 + n % 5]), ', '))
               FROM generate_series(1, 1600) n);
    EXECUTE (SELECT format('INSERT INTO widest SELECT %s FROM generate_series(0, 3) i', string_agg(
                (ARRAY['i', 'i > 1', '''c''', 'nullif(i, 2) / 2.0', 'i'])[1 + n % 5], ', '))
               FROM generate_series(1, 1600) n);
END $$;
SELECT (SELECT count(*) FROM jsonb_object_keys(i)) AS keys, i::bytea = i::text::jsonb::bytea AS same_bytes,
       dbpatterns.row_from_jsonb(NULL::widest, i) *= r AS same_row
  FROM widest r, dbpatterns.row_to_jsonb(r) i;

-- Any name a column can have.
CREATE TABLE "user" ("$dbp" int, " " text, "a""b" int, "a\b" int, "user" int, "A" int, a int, "1" int, "ä" int, "日本" int,
    "sixty-three-bytes-long----------------------------------------1" text,
    "sixty-three-bytes-long----------------------------------------0" text);
INSERT INTO "user" VALUES (1, 'x', 3, 4, 5, 6, 7, 8, 9, 10, 'y', 'z');
SELECT i, i::bytea = i::text::jsonb::bytea AS same_bytes, dbpatterns.row_from_jsonb(NULL::"user", i) *= r AS same_row
  FROM "user" r, dbpatterns.row_to_jsonb(r) i;

-- Text that an output function spoils is kept byte for byte.
CREATE TYPE holder AS (c "char", t text);
CREATE TABLE spoiled (h holder);
INSERT INTO spoiled SELECT ROW(g::"char", 'text')::holder FROM generate_series(-128, 127) g;
SELECT count(*), bool_and(dbpatterns.row_from_jsonb(NULL::spoiled, i) *= r) AS same_row,
       bool_and(octet_length(convert_to(i::text, 'LATIN1')) > 0) AS valid
  FROM spoiled r, dbpatterns.row_to_jsonb(r) i;

-- Memory stays flat over many rows, there and back.
CREATE TABLE many (id int, name text, price numeric, list int[], dims int[], class regclass, place point,
    ratio float8, doc jsonb, range int4range, cash money, pair holder, at timestamptz, span interval);
SELECT count(*), max(used) - min(used) < 100000 AS flat
  FROM (SELECT dbpatterns.row_from_jsonb(NULL::many, dbpatterns.row_to_jsonb(ROW(
                   g, 'name ' || g, g / 8.0, ARRAY[g, g + 1], '{{1},{2}}', 'many', point(g, g),
                   g / 3::float8, jsonb_build_object('g', g), int4range(g, g + 9), '5', ROW('c', 'x'),
                   to_timestamp(g), make_interval(secs => g))::many)) IS NOT NULL AS done,
               CASE WHEN g % 5000 = 0 THEN (SELECT sum(used_bytes) FROM pg_backend_memory_contexts WHERE g > 0) END AS used
          FROM generate_series(1, 30000) g OFFSET 0) s
 WHERE done;

SET client_min_messages = warning;
DROP SCHEMA core_codec CASCADE;
DROP CAST (jsonb AS bytea);
DROP EXTENSION dbpatterns;

-- Databases of other encodings: bytes go through as they are.
\set main :DBNAME
CREATE DATABASE regression_dbp_latin1 TEMPLATE template0 ENCODING 'LATIN1' LC_COLLATE 'C' LC_CTYPE 'C';
CREATE DATABASE regression_dbp_ascii TEMPLATE template0 ENCODING 'SQL_ASCII' LC_COLLATE 'C' LC_CTYPE 'C';
\c regression_dbp_latin1
CREATE EXTENSION dbpatterns;
CREATE TABLE t (c "char", a text);
INSERT INTO t SELECT '', string_agg(chr(n), '') FROM generate_series(1, 255) n;
INSERT INTO t SELECT g::"char", 'x' FROM generate_series(-128, 127) g;
SELECT count(*), bool_and(dbpatterns.row_from_jsonb(NULL::t, i) *= t) AS same_row, bool_and(i = i::text::jsonb) AS same
  FROM t, dbpatterns.row_to_jsonb(t) i;
\c regression_dbp_ascii
CREATE EXTENSION dbpatterns;
CREATE TABLE t (c "char", a text);
INSERT INTO t SELECT '', convert_from(decode(string_agg(lpad(to_hex(n), 2, '0'), ''), 'hex'), 'SQL_ASCII') FROM generate_series(1, 255) n;
INSERT INTO t SELECT g::"char", 'x' FROM generate_series(-128, 127) g;
SELECT count(*), bool_and(dbpatterns.row_from_jsonb(NULL::t, i) *= t) AS same_row, bool_and(i = i::text::jsonb) AS same
  FROM t, dbpatterns.row_to_jsonb(t) i;
\c :main
DROP DATABASE regression_dbp_latin1;
DROP DATABASE regression_dbp_ascii;
