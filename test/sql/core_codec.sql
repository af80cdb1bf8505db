-- A row becomes one jsonb object that does not depend on settings of the
-- session, and the object becomes the same row again, bit for bit.
SET client_min_messages = warning;
CREATE EXTENSION IF NOT EXISTS dbpatterns;
RESET client_min_messages;
CREATE SCHEMA core_codec;
SET search_path = core_codec;
SET lc_monetary = 'C';
-- lets the tests compare jsonb values byte by byte
CREATE CAST (jsonb AS bytea) WITHOUT FUNCTION;

CREATE TYPE mood AS ENUM ('sad', 'so "so"');
CREATE TYPE pair AS (a int, b text, c regclass, d money);
CREATE DOMAIN positive AS int CHECK (value > 0);
CREATE DOMAIN codes AS varchar(3)[];

-- Numbers keep their scale; what JSON has no number for is a string.
CREATE TABLE numbers (i2 int2, i4 int4, i8 int8, n numeric, n2 numeric(10, 2),
    f4 float4, f8 float8, m money, b bool);
INSERT INTO numbers VALUES
    (1, -2, 9223372036854775807, 1.00, 1, 1.1, 0.1, 12.3, true),
    (-32768, 2147483647, -9223372036854775808, 'NaN', 'NaN', 'NaN', 'NaN', -0.01, false),
    (0, 0, 0, 'Infinity', 0, '-Infinity', 'Infinity', 0, NULL),
    (10000, 100000, 1000000000000, 0.000, 1e7, '-0', '-0', 92233720368547758.07, NULL),
    (NULL, NULL, NULL, -1e20, NULL, 16777216, 1e15, -92233720368547758.08, NULL),
    (NULL, NULL, NULL, 1e-20, NULL, 1e-7, -12345.678, NULL, NULL),
    (NULL, NULL, NULL, 12345678901234567890.0987654321, NULL, 3.4028235e38, 1e22, NULL, NULL);
SELECT dbpatterns.row_to_jsonb(r) FROM numbers r;

-- Text is kept as it is, padding and json white space included.
CREATE TABLE texts (t text, v varchar(5), bp bpchar(5), nm name, c "char", e mood,
    j json, u uuid, ba bytea);
INSERT INTO texts VALUES
    ('', '', '', '', '', 'sad', '{"a" : "\u0000", "a":1 }',
     'A0EEBC99-9C0B-4EF8-BB6D-6BB9BD380A11', ''),
    (E'tab\tquote"back\\slash', 'ab', 'ab', 'Name', 'c', 'so "so"', 'null',
     'ffffffff-0000-1111-2222-333333333333', '\x00ff5c');
INSERT INTO texts (c) VALUES ('\'), ((-1)::int::"char"), ((-128)::int::"char");
SELECT dbpatterns.row_to_jsonb(r) FROM texts r;

-- xml as well, where the server was built with it.
DO $$
DECLARE
    good bool;
BEGIN
    CREATE TABLE xmls (x xml);
    INSERT INTO xmls VALUES ('<?xml version="1.0" encoding="latin1"?><a>b</a>'), ('only <b/> content');
    SET LOCAL xmloption = document;
    SELECT bool_and(i ->> 'x' ~ '^(only|<.xml version="1.0" encoding="latin1")'
                    AND dbpatterns.row_from_jsonb(NULL::xmls, i) *= r)
      INTO good
      FROM xmls r, dbpatterns.row_to_jsonb(r) i;
    ASSERT good;
EXCEPTION
    WHEN feature_not_supported THEN
        NULL;
END $$;

-- Points in time are in UTC.
CREATE TABLE times (d date, t time, tz timetz, ts timestamp, tstz timestamptz, iv interval);
SET timezone = 'Asia/Kathmandu';
INSERT INTO times VALUES
    ('2024-02-29', '00:00', '00:00+00', '2024-02-29 12:00', '2024-02-29 12:00', '0'),
    ('infinity', '24:00', '24:00-15:59:59', 'infinity', '-infinity', '1 year -2 mons +3 days -04:05:06.7'),
    ('0044-03-15 BC', '23:59:59.999999', '12:00:00.1+05:45', '0044-03-15 01:02:03.4 BC',
     '0001-01-01 00:00+00', '-178956970 years -8 mons'),
    ('9999-12-31', '01:02:03.004', NULL, '9999-12-31 23:59:59.999999', '10000-01-01 00:00:00.1+00', '1 microsecond'),
    ('4714-11-24 BC', '01:02:03.45', NULL, '4714-11-24 BC', '4714-11-24 00:00+00 BC', 'PT-2562047788H-54.775808S'),
    ('5874897-12-31', NULL, NULL, '294276-12-31 23:59:59.999999', '294276-12-31 23:59:59.999999+00', 'PT2562047788H54.775807S'),
    ('1999-12-31', NULL, NULL, '1999-12-31 23:59:59.5', '1969-12-31 23:59:59.999999+00', '-1 day +1 hour');
RESET timezone;
SELECT dbpatterns.row_to_jsonb(r) FROM times r;

-- jsonb is embedded; SQL NULL and JSON null stay apart, and so do objects
-- that look like a marker.
CREATE TABLE jsons (j jsonb);
INSERT INTO jsons VALUES (NULL), ('null'), ('true'), ('false'), ('1.50'), ('"text"'), ('""'),
    ('[]'), ('{}'), ('[null]'), ('{"a": {"b": [1, 2.0, "x", {"c": null}]}, "bb": 1e3}'),
    ('{"$dbp": "redacted"}'), ('{"$dbp": null, "z": 1.5}'), ('{"x": {"$dbp": 1}}'), ('["$dbp"]');
SELECT dbpatterns.row_to_jsonb(r) FROM jsons r;

-- Plain arrays are JSON arrays; whatever else has a text form is that text.
CREATE TABLE arrays (ai int[], an numeric[], at text[], ab bool[], ats timestamptz[],
    ac "char"[], ae mood[], ap positive[], co codes, aj jsonb[], aba bytea[], am money[], ac5 bpchar(5)[]);
INSERT INTO arrays VALUES
    ('{}', '{}', '{}', '{}', '{}', '{}', '{}', '{}', '{}', '{}', '{}', '{}', '{}'),
    ('{1,NULL,-3}', '{1.0,NaN,NULL}', '{a,NULL,"NULL","b,c",""}', '{t,f,NULL}', '{2024-01-01 00:00+05:45,infinity}',
     '{a,""}', '{sad,NULL}', '{1,NULL}', '{abc,d}', '{"{\"a\": 1}",NULL}', '{"\\x00ff",NULL}', '{1.25,-2}', '{a,NULL}'),
    ('[0:1]={1,2}', '{{1.0,2},{3,4}}', '{{a,NULL},{b,c}}', '[2:2]={t}', '{{2024-01-01 00:00+05:45}}',
     '{{a,b}}', '{{sad}}', '{{1}}', '{{a},{b}}', NULL, '{{NULL}}', '{{1.25},{-2}}', '{{a}}');
SELECT dbpatterns.row_to_jsonb(r) FROM arrays r;

CREATE TABLE others (p pair, pa pair[], ra int4range, tr tstzrange, mr nummultirange, ps positive,
    rc regclass, rt regtype, rp regproc, ro regoper, o oid, ov oidvector, iv int2vector,
    ip inet, cd cidr, ma macaddr, pt point, bx box, b bit(3), vb varbit, tv tsvector, tq tsquery,
    jp jsonpath, ls pg_lsn, iy interval year to month);
INSERT INTO others VALUES (
    ROW(1, 'x"y', 'core_codec.times', 5.5), ARRAY[ROW(2, NULL, 'pg_class', NULL)::pair],
    '[1,5)', '[2024-01-01 00:00+05:45,)', '{[1.0,2),[5,6]}', 7,
    'core_codec.times', 'core_codec.mood', 'lower(text)'::regprocedure::oid::regproc,
    '||(text,text)'::regoperator::oid::regoper, 42, '1 2', '3 4',
    '10.0.0.1/8', '10.0.0.0/8', '08:00:2b:01:02:03', '(1.1,2)', '(0.1,0.2),(0.3,0.4)', '101', '10110',
    $$'a':1 'b c':2A$$, 'a & b', '$.a[*]', '16/B374D848', '1 year 2 months');
INSERT INTO others (rc, rt, rp, ro, p) VALUES (0, 0, 0, 0, NULL), (999999, 999999, 999999, 999999, ROW(NULL, '', 0, NULL));
SELECT jsonb_pretty(dbpatterns.row_to_jsonb(r)) FROM others r LIMIT 1;
SELECT jsonb_strip_nulls(dbpatterns.row_to_jsonb(r)) FROM others r OFFSET 1;

-- Every row above: the image has the very bytes that parsing its text gives,
-- and becomes the same row again.
CREATE FUNCTION all_images() RETURNS TABLE (tab text, image jsonb, same_bytes bool, same_row bool)
LANGUAGE plpgsql AS $$
BEGIN
    FOREACH tab IN ARRAY '{numbers,texts,times,jsons,arrays,others}'::text[] LOOP
        RETURN QUERY EXECUTE format(
            'SELECT %1$L, img, img::bytea = img::text::jsonb::bytea,
                    dbpatterns.row_from_jsonb(NULL::core_codec.%1$I, img) OPERATOR(pg_catalog.*=) r
               FROM core_codec.%1$I r, dbpatterns.row_to_jsonb(r) img', tab);
    END LOOP;
END $$;
SELECT tab, count(*), bool_and(same_bytes) AS same_bytes, bool_and(same_row) AS same_row
  FROM all_images() GROUP BY tab ORDER BY tab;

-- No setting makes a difference, neither writing nor reading.
CREATE TABLE images AS SELECT row_number() OVER () AS n, tab, image FROM all_images();
SET timezone = 'America/St_Johns';
SET datestyle = 'SQL, DMY';
SET intervalstyle = 'sql_standard';
SET extra_float_digits = -15;
SET bytea_output = 'escape';
SET quote_all_identifiers = on;
SET array_nulls = off;
SET search_path = pg_temp, core_codec;
SELECT count(*), count(*) FILTER (WHERE i.image::bytea = a.image::bytea AND a.same_row) AS same
  FROM images i JOIN (SELECT row_number() OVER () AS n, * FROM all_images()) a USING (n);
SET timezone = 'Asia/Kathmandu';
SET datestyle = 'German, MDY';
SET intervalstyle = 'postgres_verbose';
SET extra_float_digits = 3;
SET search_path = '';
SELECT count(*), count(*) FILTER (WHERE i.image::bytea = a.image::bytea AND a.same_row) AS same
  FROM core_codec.images i JOIN (SELECT row_number() OVER () AS n, * FROM core_codec.all_images()) a USING (n);
-- and none is left changed, also not by an error while reading
SELECT dbpatterns.row_from_jsonb(NULL::core_codec.others, '{"rc": "no_such_table"}');
SELECT current_setting('timezone') AS timezone, current_setting('datestyle') AS datestyle,
    current_setting('intervalstyle') AS intervalstyle, current_setting('search_path') AS search_path,
    timestamptz '2024-01-01 00:00+00', interval '1 day -1 hour', '\x00'::bytea, 0.1::float8;
RESET timezone;
RESET datestyle;
RESET intervalstyle;
RESET extra_float_digits;
RESET bytea_output;
RESET quote_all_identifiers;
RESET array_nulls;
SET search_path = core_codec;

-- Entries 0, 32, 64, ... of an object and of an array hold an offset instead
-- of a length: all sizes around these borders, with values of all alignments.
CREATE FUNCTION wide_image(n int) RETURNS jsonb LANGUAGE plpgsql AS $$
DECLARE
    result jsonb;
BEGIN
    EXECUTE format('SELECT dbpatterns.row_to_jsonb(r) FROM (SELECT %s) r',
        (SELECT string_agg(CASE i % 7
                               WHEN 0 THEN 'true'
                               WHEN 1 THEN i::text
                               WHEN 2 THEN quote_literal(repeat('x', i))
                               WHEN 3 THEN 'NULL'
                               WHEN 4 THEN i || '.50'
                               WHEN 5 THEN format('to_jsonb(%s)', i)
                               ELSE format('jsonb_build_object(%L, %s, %L, %L)', 'a', i, 'b', i)
                           END || ' AS c' || i, ',')
           FROM generate_series(1, n) i)) INTO result;
    RETURN result;
END $$;
SELECT count(*), bool_and(i::bytea = i::text::jsonb::bytea) AS same_bytes
  FROM generate_series(1, 100) n, wide_image(n) i;
CREATE TABLE lists (a int[], b text[], c numeric[]);
INSERT INTO lists
SELECT (SELECT array_agg(nullif(g % 9, 3)) FROM generate_series(1, n) g),
       (SELECT array_agg(repeat('x', g % 11)) FROM generate_series(1, n) g),
       (SELECT array_agg(g / 8.0) FROM generate_series(1, n) g)
  FROM generate_series(1, 100) n;
SELECT count(*), bool_and(i::bytea = i::text::jsonb::bytea) AS same_bytes,
       bool_and(dbpatterns.row_from_jsonb(NULL::lists, i) *= r) AS same_row
  FROM lists r, dbpatterns.row_to_jsonb(r) i;

-- Dropped columns leave no trace, added ones show their default in old rows,
-- stored generated ones are part of the row, virtual ones are not.
CREATE TABLE evolving (a int, gone text, b int, g int GENERATED ALWAYS AS (b * 2) STORED);
INSERT INTO evolving VALUES (1, 'gone', 2);
ALTER TABLE evolving DROP COLUMN gone;
ALTER TABLE evolving ADD COLUMN added text DEFAULT 'default';
SELECT dbpatterns.row_to_jsonb(r), dbpatterns.row_from_jsonb(r, '{"a": 9}') FROM evolving r;
ALTER TABLE evolving RENAME COLUMN a TO "a ""quoted"" name";
ALTER TABLE evolving DROP COLUMN g, ALTER COLUMN b TYPE numeric(5, 1);
SELECT dbpatterns.row_to_jsonb(r) FROM evolving r;
SELECT current_setting('server_version_num')::int >= 180000 AS has_virtual \gset
\if :has_virtual
ALTER TABLE evolving ADD COLUMN v int GENERATED ALWAYS AS (b + 1) VIRTUAL;
\endif
SELECT dbpatterns.row_to_jsonb(r) FROM evolving r;

-- Rows that are no table's: the last of two equal names wins, as in jsonb_in.
SELECT dbpatterns.row_to_jsonb(r) FROM (SELECT 1 AS a, 2 AS b, 3 AS a, 'x'::text AS "$dbp", 4 AS "?column?") r;
SELECT dbpatterns.row_to_jsonb(ROW()), dbpatterns.row_to_jsonb(ROW(1, ROW(2, 'x'))), dbpatterns.row_to_jsonb(NULL::numbers);
CREATE DOMAIN sane_pair AS pair CHECK ((VALUE).a > 0);
SELECT dbpatterns.row_to_jsonb(ROW(1, 'b', NULL, NULL)::sane_pair);
SELECT dbpatterns.row_from_jsonb(NULL::sane_pair, '{"a": 1}');
SELECT dbpatterns.row_from_jsonb(NULL::sane_pair, '{"a": 0}');

-- Back: what the image lacks comes from base; unknown keys are ignored.
SELECT dbpatterns.row_from_jsonb(NULL::pair, '{"a": 1, "z": 2}');
SELECT dbpatterns.row_from_jsonb(ROW(1, 'b', 'pg_class', NULL)::pair, '{"a": null, "b": "B"}');
SELECT dbpatterns.row_from_jsonb(ROW(1, 'b', NULL, NULL)::pair, '{"a": {"$dbp": "redacted"}, "b": {"$dbp": "omitted", "bytes": 1}}');
SELECT dbpatterns.row_from_jsonb(ROW(1, 'b', NULL, NULL)::pair, NULL);
SELECT dbpatterns.row_from_jsonb(NULL::texts, '{"v": "abcdef"}');
SELECT dbpatterns.row_from_jsonb(NULL::numbers, '{"i4": 1.5}');
SELECT dbpatterns.row_from_jsonb(NULL::numbers, '{"i4": {"x": 1}}');
SELECT dbpatterns.row_from_jsonb(NULL::numbers, '{"i4": [1]}');
SELECT dbpatterns.row_from_jsonb(NULL::numbers, '{"n": {"$dbp": "surprise"}}');
SELECT dbpatterns.row_from_jsonb(NULL::numbers, '{"n": {"$dbp": "jsonb", "value": 1}}');
SELECT dbpatterns.row_from_jsonb(NULL::numbers, '{"n": {"$dbp": "bytes", "value": "zz"}}');
SELECT dbpatterns.row_from_jsonb(NULL::arrays, '{"ai": [1, [2]]}');
SELECT dbpatterns.row_from_jsonb(NULL::arrays, '{"ai": [1, {"$dbp": "redacted"}]}');
SELECT dbpatterns.row_from_jsonb(NULL::arrays, '{"ap": [1, 0]}');
SELECT dbpatterns.row_from_jsonb(NULL::others, '{"ps": -1}');
SELECT dbpatterns.row_from_jsonb(NULL::numbers, '[1]');
SELECT dbpatterns.row_from_jsonb(1, '{}');
SELECT dbpatterns.row_from_jsonb(NULL::record, '{}');

-- What only C callers can ask for, seen through the audit trail: columns left
-- out, redacted, and picked, here in changing combinations.
CREATE VIEW entries AS SELECT * FROM dbpatterns.audit_entries WHERE schema_name = 'core_codec' AND op <> 'M';
CREATE TABLE picked (k int PRIMARY KEY, a int, b text, c regclass, d int, e numeric, f float8);
SELECT dbpatterns.audit_enable('picked', exclude => '{a}', redact => '{b,c}');
INSERT INTO picked VALUES (1, 1, 'secret', NULL, 2, 3, 4);
UPDATE picked SET a = 2, b = 'other', d = 3;
UPDATE picked SET c = 'picked', b = 'third';
SELECT op, old, new FROM entries WHERE table_name = 'picked' ORDER BY id;
DO $$
BEGIN
    FOR i IN 0..63 LOOP
        UPDATE picked SET a = a + i % 2, b = b || repeat('x', i / 2 % 2), c = nullif(c, 'picked'::regclass),
                          d = d + i / 4 % 2, e = e + i / 8 % 2, f = f + i / 16 % 2;
    END LOOP;
END $$;
SELECT count(*), count(DISTINCT array(SELECT jsonb_object_keys(new))) AS combinations,
       bool_and(new::bytea = new::text::jsonb::bytea AND old::bytea = old::text::jsonb::bytea) AS same_bytes
  FROM entries WHERE table_name = 'picked' AND op = 'U';

-- The identity of a key survives a wider type and another scale, knows sign,
-- NULL and the borders between its columns, and follows the table.
CREATE TABLE keyed (note text, a int);
CREATE TABLE paired (note text, a text, b text);
CREATE TABLE numbered (id int PRIMARY KEY);
SELECT dbpatterns.audit_enable('keyed', key => '{a}'), dbpatterns.audit_enable('paired', key => '{a,b}'),
       dbpatterns.audit_enable('numbered');
\set ECHO none
SELECT statement FROM (VALUES
    (1, '5 int2', 'int2', '5'), (2, '5 int4', 'int4', '5'), (3, '5 int8', 'int8', '5'),
    (4, '1.0', 'numeric', '1.0'), (5, '1.00', 'numeric', '1.00'),
    (6, '-0', 'float8', '-0'), (7, '0', 'float8', '0'),
    (8, 'ab text', 'text', 'ab'), (9, 'ab bpchar', 'bpchar(9)', 'ab'),
    (10, 'ab varchar', 'varchar(9)', 'ab'), (11, 'ab name', 'name', 'ab'),
    (12, '{1,2} int', 'int[]', '{1,2}'), (13, '{1,2} int8', 'int8[]', '{1,2}'),
    (14, '1', 'int', '1'), (15, '-1', 'int', '-1'), (16, 'NULL', 'int', NULL), (17, '0 int', 'int', '0'),
    (18, '1.5', 'numeric', '1.5'), (19, '-1.5', 'numeric', '-1.5'), (20, 'NaN', 'numeric', 'NaN'),
    (21, 'Infinity', 'numeric', 'Infinity'), (22, '-Infinity', 'numeric', '-Infinity'),
    (23, 'empty', 'text', ''), (24, 'text NULL', 'text', 'NULL'),
    (25, 'date', 'date', '2024-01-01'), (26, 'timestamp', 'timestamp', '2024-01-01'),
    (27, '[1,2)', 'int4range', '[1,2)'), (28, '[1,3)', 'int4range', '[1,3)'),
    (29, 'sad', 'mood', 'sad'), (30, 'so so', 'mood', 'so "so"'), (31, '{12}', 'int[]', '{12}'),
    (32, 'uuid', 'uuid', 'a0eebc99-9c0b-4ef8-bb6d-6bb9bd380a11')) v (n, note, type, value),
    LATERAL (VALUES (1, format('ALTER TABLE keyed ALTER a TYPE %s USING NULL', type)),
                    (2, format('INSERT INTO keyed VALUES (%L, %L)', note, value))) s (step, statement)
 ORDER BY n, step
\gexec
\set ECHO all
INSERT INTO paired VALUES ('ab c', 'ab', 'c'), ('a bc', 'a', 'bc'), ('abc empty', 'abc', ''), ('empty abc', '', 'abc'),
    ('abc NULL', 'abc', NULL), ('NULL abc', NULL, 'abc'), ('NULL NULL', NULL, NULL);
INSERT INTO numbered SELECT generate_series(1, 10000);
CREATE VIEW hashes AS
SELECT s.table_name, e.new ->> 'note' AS note, e.row_key AS hash, e.id
  FROM _dbpatterns.audit_log e JOIN _dbpatterns.audit_shape s USING (shape)
 WHERE e.op = 'I' AND s.schema_name = 'core_codec';
-- Those that are the same; all others differ.
SELECT table_name, string_agg(note, ', ' ORDER BY id) AS same, count(hash) = count(*) AS has_hash
  FROM hashes WHERE note IS NOT NULL GROUP BY table_name, hash HAVING count(*) > 1 ORDER BY min(id);
SELECT table_name, count(*) FROM hashes WHERE note IS NOT NULL GROUP BY 1 ORDER BY 1;
SELECT count(DISTINCT hash) FROM hashes WHERE table_name = 'numbered';
SELECT count(*) FROM hashes a JOIN hashes b USING (hash) WHERE a.table_name < b.table_name;

-- A change is a change of bits, not of equality; values stored out of line or
-- compressed are the same when they say the same.
CREATE TABLE watched (step int PRIMARY KEY, id int, n numeric, f float8, j jsonb, bp char(4), u uuid, short text, compressed text, external text);
ALTER TABLE watched ALTER COLUMN external SET STORAGE EXTERNAL;
SELECT dbpatterns.audit_enable('watched', key => '{id}');
INSERT INTO watched VALUES (0, 1, 1.0, 0, '{"a": 1}', 'x', NULL, 'short', repeat('abc', 10000), repeat('abc', 10000));
SELECT i::bytea = i::text::jsonb::bytea AS same_bytes, dbpatterns.row_from_jsonb(NULL::watched, i) *= r AS same_row
  FROM watched r, dbpatterns.row_to_jsonb(r) i;
UPDATE watched SET step = 1, id = 1;
UPDATE watched SET step = 2, n = 1.00, f = '-0', u = 'a0eebc99-9c0b-4ef8-bb6d-6bb9bd380a11';
UPDATE watched SET step = 3, j = '{"a":1}', bp = 'x ', short = 'sh' || 'ort', u = u;
UPDATE watched SET step = 4, compressed = repeat('abc', 10000), external = repeat('abc', 10000);
UPDATE watched SET step = 5, compressed = repeat('abc', 9999) || 'abd', external = repeat('abc', 9999) || 'abd';
UPDATE watched SET step = 6, compressed = external, external = compressed;
UPDATE watched SET step = 7, short = repeat('s', 126), u = NULL, j = '{"a": 1.0}';
UPDATE watched SET step = 8, short = repeat('s', 127), compressed = NULL;
UPDATE watched SET step = 9, short = repeat('s', 126) || 't', external = external || '';
SELECT new ->> 'step' AS step, (SELECT string_agg(key, ' ' ORDER BY key) FROM jsonb_object_keys(old) key) AS changed
  FROM entries WHERE table_name = 'watched' AND op = 'U' ORDER BY id;

SET client_min_messages = warning;
DROP SCHEMA core_codec CASCADE;
DROP CAST (jsonb AS bytea);
DROP EXTENSION dbpatterns;
