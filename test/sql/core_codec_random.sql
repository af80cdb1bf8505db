-- Random rows of all built-in types through the codec: there and back without
-- the loss of a bit, and the same JSON as the server makes where it makes the
-- same promise.  The seed is fixed unless DBP_SEED gives one; it is shown with
-- every row that fails.
\getenv seed DBP_SEED
\if :{?seed}
\else
\set seed ''
\endif
SELECT coalesce(nullif(:'seed', ''), '42') AS seed \gset
SET client_min_messages = warning;
CREATE EXTENSION IF NOT EXISTS dbpatterns;
RESET client_min_messages;
CREATE SCHEMA core_codec;
SET search_path = core_codec;
SET lc_monetary = 'C';
SET timezone = 'UTC';
SET jit = off;
CREATE CAST (jsonb AS bytea) WITHOUT FUNCTION;
CREATE TYPE color AS ENUM ('red', 'GREEN', 'dark "blue"', 'comma,blue', '');
CREATE DOMAIN short_text AS varchar(40);

-- Integers of all magnitudes, not only large ones.
CREATE FUNCTION rint(bits int) RETURNS bigint LANGUAGE sql VOLATILE AS $$
    SELECT ((random() * 4294967296)::bigint << 31 # (random() * 4294967296)::bigint) >> (63 - bits + (random() * (bits - 1))::int)
$$;
CREATE FUNCTION one_of(VARIADIC choices text[]) RETURNS text LANGUAGE sql VOLATILE AS $$
    SELECT choices[1 + floor(random() * cardinality(choices))::int]
$$;
CREATE FUNCTION rtext(len int) RETURNS text LANGUAGE sql VOLATILE AS $$
    SELECT coalesce(string_agg(one_of('a', 'Z', ' ', '"', '''', '\', ',', '{', '}', '(', ')', 'NULL', chr(1), chr(9), chr(10), '7', '$',
                                      '%', '\x', 'ä', '日', chr(127), chr(233), chr(128512)), ''), '')
      FROM generate_series(1, floor(random() * (len + 1))::int)
$$;
CREATE FUNCTION rbytes(len int) RETURNS bytea LANGUAGE sql VOLATILE AS $$
    SELECT coalesce(decode(string_agg(lpad(to_hex(floor(random() * 256)::int), 2, '0'), ''), 'hex'), '')
      FROM generate_series(1, floor(random() * (len + 1))::int)
$$;
CREATE FUNCTION rnumeric() RETURNS numeric LANGUAGE sql VOLATILE AS $$
    SELECT CASE floor(random() * 12)::int
               WHEN 0 THEN one_of('NaN', 'Infinity', '-Infinity', '0', '0.00', '1e500', '-1e-500')::numeric
               WHEN 1 THEN (rint(63)::text || repeat('0', floor(random() * 30)::int))::numeric
               WHEN 2 THEN ('0.' || repeat('0', floor(random() * 30)::int) || abs(rint(63)))::numeric
               ELSE round(rint(63)::numeric * (10::numeric ^ floor(random() * 30 - 20)::numeric), floor(random() * 25)::int) END
$$;
CREATE FUNCTION rfloat() RETURNS float8 LANGUAGE sql VOLATILE AS $$
    SELECT CASE floor(random() * 8)::int
               WHEN 0 THEN one_of('NaN', 'Infinity', '-Infinity', '0', '-0', '5e-324', '1.7976931348623157e308', '1e15', '1e16')::float8
               WHEN 1 THEN rint(63)::float8
               WHEN 2 THEN rint(20) / 100.0::float8
               ELSE (random() - 0.5) * 10 ^ floor(random() * 600 - 300) END
$$;
CREATE FUNCTION rfloat4() RETURNS float4 LANGUAGE sql VOLATILE AS $$
    SELECT CASE floor(random() * 6)::int
               WHEN 0 THEN one_of('NaN', 'Infinity', '-Infinity', '0', '-0', '1e-45', '3.4028235e38', '16777217', '8388609')::float4
               WHEN 1 THEN rint(31)::float4
               ELSE ((random() - 0.5) * 10 ^ floor(random() * 72 - 36))::float4 END
$$;
CREATE FUNCTION rtimestamp() RETURNS timestamp LANGUAGE sql VOLATILE AS $$
    SELECT CASE floor(random() * 8)::int
               WHEN 0 THEN one_of('infinity', '-infinity', '4714-11-24 00:00 BC', '294276-12-31 23:59:59.999999', '0001-01-01', '0001-12-31 23:59:59.999999 BC',
                                  '9999-12-31 23:59:59.999999', '10000-01-01', '1999-12-31 23:59:59.999999', '2000-01-01')::timestamp
               WHEN 1 THEN timestamp '2000-01-01' + make_interval(days => floor(random() * 100000000 - 2000000)::int, secs => random() * 86400)
               ELSE timestamp '2000-01-01' + make_interval(days => floor(random() * 20000 - 10000)::int, secs => random() * 86400) END
$$;
CREATE FUNCTION rinterval() RETURNS interval LANGUAGE sql VOLATILE AS $$
    SELECT CASE WHEN random() < 0.03 THEN
                   CASE WHEN current_setting('server_version_num')::int >= 170000 THEN one_of('infinity', '-infinity') ELSE '0' END::interval
                ELSE format('P%sM%sDT%sH%sM%s.%sS', rint(31), rint(31), rint(31), rint(20), rint(16) , lpad(abs(rint(19))::text, 6, '0'))::interval END
$$;
CREATE FUNCTION rjsonb(depth int) RETURNS jsonb LANGUAGE plpgsql VOLATILE AS $$
BEGIN
    RETURN CASE floor(random() * CASE WHEN depth > 0 THEN 8 ELSE 5 END)::int
        WHEN 0 THEN 'null'
        WHEN 1 THEN to_jsonb(random() < 0.5)
        WHEN 2 THEN to_jsonb(rtext(20))
        WHEN 3 THEN to_jsonb(nullif(nullif(nullif(rnumeric(), 'NaN'), 'Infinity'), '-Infinity'))
        WHEN 4 THEN to_jsonb(rint(40))
        WHEN 5 THEN (SELECT coalesce(jsonb_agg(rjsonb(depth - 1)), '[]') FROM generate_series(1, floor(random() * 2 * 5 ^ depth)::int))
        ELSE (SELECT coalesce(jsonb_object_agg(one_of('$dbp', 'value', 'a', 'bb', rtext(9)), rjsonb(depth - 1)), '{}')
                FROM generate_series(1, floor(random() * 2 * 5 ^ depth)::int)) END;
END $$;

-- An array of n random elements: with NULLs, other bounds, more dimensions.
CREATE FUNCTION rarray(elements anyarray) RETURNS anyarray LANGUAGE plpgsql VOLATILE AS $$
DECLARE
    n int := cardinality(elements);
    low int := CASE WHEN random() < 0.2 THEN rint(20) ELSE 1 END;
    result elements%TYPE := '{}';
BEGIN
    IF n = 0 OR random() < 0.1 THEN
        RETURN CASE WHEN random() < 0.5 THEN result END;
    END IF;
    IF n % 2 = 0 AND random() < 0.3 THEN
        RETURN ARRAY[elements[:n / 2], elements[n / 2 + 1:]];
    END IF;
    FOR i IN 1 .. n LOOP
        result[low + i - 1] := CASE WHEN random() < 0.8 THEN elements[i] END;
    END LOOP;
    RETURN result;
END $$;

CREATE TABLE plain (id int, b bool, i2 int2, i4 int4, i8 int8, n numeric, n2 numeric(20, 5), f4 float4, f8 float8,
    t text, v short_text, bp bpchar(30), nm name, c "char", e color, u uuid, ba bytea,
    d date, tm time, tm3 time(3), tz timetz, ts timestamp, tstz timestamptz, tstz0 timestamptz(0));
CREATE TABLE other (id int, m money, iv interval, iv3 interval day to second(3), ym interval year to month, js json, jb jsonb,
    o oid, x xid, ip inet, cd cidr, ma macaddr, m8 macaddr8, bt bit(7), vb varbit, pt point, ln line, sg lseg, bx box,
    pa path, pg polygon, ci circle, tv tsvector, ls pg_lsn, rc regclass, rp regproc, rt regtype, ov oidvector);
CREATE TABLE lists (id int, b bool[], i2 int2[], i8 int8[], n numeric[], f4 float4[], f8 float8[], t text[], v short_text[],
    bp bpchar(9)[], nm name[], c "char"[], e color[], u uuid[], ba bytea[], d date[], tm time[], tz timetz[], ts timestamp[], tstz timestamptz[],
    m money[], iv interval[], js json[], jb jsonb[], ip inet[], ra int4range, nr numrange, mr tstzmultirange, p plain, pl plain[]);

SELECT setseed(sin(:seed));
INSERT INTO plain
SELECT g, random() < 0.5, rint(15), rint(31), rint(63), rnumeric(), round(rint(45) / 99999.0, 5), rfloat4(), rfloat(),
       rtext(300), left(rtext(40), 40), left(rtext(30), 30), left(rtext(60), 60)::name, (floor(random() * 256)::int - 128)::"char",
       one_of('red', 'GREEN', 'dark "blue"', 'comma,blue', '')::color, md5(random()::text)::uuid, rbytes(200),
       CASE WHEN random() < 0.1 THEN one_of('infinity', '-infinity', '4714-11-24 BC', '5874897-12-31')::date ELSE rtimestamp()::date END,
       make_time(floor(random() * 24)::int, floor(random() * 60)::int, random() * 60),
       make_time(floor(random() * 24)::int, floor(random() * 60)::int, random() * 60),
       format('%s%s%s:%s', one_of('24:00:00', '00:00:00', '01:02:03.456', '23:59:59.999999'), one_of('+', '-'),
              lpad(floor(random() * 16)::text, 2, '0'), lpad(floor(random() * 60)::text, 2, '0') || one_of('', ':59'))::timetz,
       rtimestamp(), rtimestamp()::timestamptz, date_trunc('hour', rtimestamp())::timestamptz + interval '0.6 s'
  FROM generate_series(1, 1000) g;
INSERT INTO other
SELECT g, rint(63) * 0.01::numeric::money, rinterval(), make_interval(days => rint(31)::int, secs => rint(31) / 1000.0), make_interval(months => rint(31)::int),
       to_json(rtext(50)), rjsonb(2), (random() * 4294967295)::bigint::oid, (floor(random() * 4294967295)::bigint::text)::xid,
       '0.0.0.0'::inet + floor(random() * 4294967295)::bigint, network(set_masklen('10.0.0.0'::inet + floor(random() * 65536)::bigint, floor(random() * 33)::int)),
       encode(substr(sha256(random()::text::bytea), 1, 6), 'hex')::macaddr, encode(substr(sha256(random()::text::bytea), 1, 8), 'hex')::macaddr8,
       floor(random() * 128)::int::bit(7), left(rint(63)::bit(64)::text, floor(random() * 65)::int)::varbit,
       point(rfloat(), rfloat()), NULL, lseg(point(rfloat(), 1), point(2, rfloat())), box(point(random(), rfloat4()), point(3, 4)),
       path(polygon(3, circle(point(random(), 1), random()))), polygon(4, circle(point(random(), 1), random())), circle(point(rint(9), random()), random()),
       array_to_tsvector(ARRAY[rtext(9) || 'x', rtext(9) || 'y']) || setweight(to_tsvector('simple', 'b c b ' || g), 'A'),
       pg_lsn('0/0') + abs(rint(63)),
       (SELECT oid FROM pg_class OFFSET g % 300 LIMIT 1), (SELECT oid FROM pg_proc OFFSET g * 2 LIMIT 1), (SELECT oid FROM pg_type OFFSET g % 400 LIMIT 1),
       format('%s %s', rint(20), abs(rint(20)))::oidvector
  FROM generate_series(1, 1000) g;
INSERT INTO lists
SELECT p.id, rarray(array_agg(q.b)), rarray(array_agg(q.i2)), rarray(array_agg(q.i8)), rarray(array_agg(q.n)), rarray(array_agg(q.f4)), rarray(array_agg(q.f8)),
       rarray(array_agg(q.t)), rarray(array_agg(q.v::varchar)), rarray(array_agg(left(q.t, 9)::bpchar)), rarray(array_agg(q.nm)), rarray(array_agg(q.c)), rarray(array_agg(q.e)),
       rarray(array_agg(q.u)), rarray(array_agg(q.ba)), rarray(array_agg(q.d)), rarray(array_agg(q.tm)), rarray(array_agg(q.tz)),
       rarray(array_agg(q.ts)), rarray(array_agg(q.tstz)), rarray(array_agg(o.m)), rarray(array_agg(o.iv)), rarray(array_agg(o.js)), rarray(array_agg(o.jb)), rarray(array_agg(o.ip)),
       int4range(min(q.i4), max(q.i4)), numrange(min(q.n), max(q.n), one_of('[]', '()')), range_agg(tstzrange(q.tstz, 'infinity')),
       (array_agg(p))[1], array_agg(q)
  FROM plain p
  JOIN plain q ON q.id BETWEEN p.id AND p.id + p.id % 5
  JOIN other o ON o.id = q.id
 WHERE p.id <= 300
 GROUP BY p.id;
-- some rows with NULLs everywhere
CREATE FUNCTION forget(tab regclass) RETURNS void LANGUAGE plpgsql AS $$
BEGIN
    EXECUTE (SELECT format('UPDATE %s SET %s WHERE id %% 7 = 0', tab,
                           string_agg(format('%1$I = CASE WHEN random() < 0.5 THEN %1$I END', attname), ', '))
               FROM pg_attribute WHERE attrelid = tab AND attnum > 1);
END $$;
SELECT forget(t) FROM unnest('{plain,other,lists}'::regclass[]) t;

-- There and back, under settings that differ between the two.
CREATE TABLE images (tab text, id int, image jsonb, hash bytea);
SET timezone = 'America/St_Johns';
SET datestyle = 'SQL, DMY';
SET intervalstyle = 'sql_standard';
SET extra_float_digits = 0;
SET bytea_output = 'escape';
INSERT INTO images SELECT 'plain', r.id, i, sha256(i::bytea) FROM plain r, dbpatterns.row_to_jsonb(r) i;
INSERT INTO images SELECT 'other', r.id, i, sha256(i::bytea) FROM other r, dbpatterns.row_to_jsonb(r) i;
INSERT INTO images SELECT 'lists', r.id, i, sha256(i::bytea) FROM lists r, dbpatterns.row_to_jsonb(r) i;
SET timezone = 'UTC';
RESET datestyle;
RESET intervalstyle;
RESET extra_float_digits;
RESET bytea_output;
SELECT :seed AS seed, tab, id, image FROM images WHERE hash <> sha256(image::text::jsonb::bytea);
SELECT :seed AS seed, tab, id, image
  FROM (SELECT 'plain', r.id, sha256(dbpatterns.row_to_jsonb(r)::bytea) FROM plain r
        UNION ALL SELECT 'other', r.id, sha256(dbpatterns.row_to_jsonb(r)::bytea) FROM other r
        UNION ALL SELECT 'lists', r.id, sha256(dbpatterns.row_to_jsonb(r)::bytea) FROM lists r) again (tab, id, hash)
  JOIN images i USING (tab, id)
 WHERE again.hash <> i.hash;
SELECT :seed AS seed, i.tab, i.id, i.image FROM images i JOIN plain r USING (id)
 WHERE i.tab = 'plain' AND NOT dbpatterns.row_from_jsonb(NULL::plain, i.image) *= r;
SELECT :seed AS seed, i.tab, i.id, i.image FROM images i JOIN other r USING (id)
 WHERE i.tab = 'other' AND NOT dbpatterns.row_from_jsonb(NULL::other, i.image) *= r;
SELECT :seed AS seed, i.tab, i.id, i.image FROM images i JOIN lists r USING (id)
 WHERE i.tab = 'lists' AND NOT dbpatterns.row_from_jsonb(NULL::lists, i.image) *= r;
SELECT tab, count(*) FROM images GROUP BY tab ORDER BY tab;

-- Types for which to_jsonb keeps the same promise look the same.
SELECT :seed AS seed, e.key, e.value AS ours, s.value AS server
  FROM plain r, jsonb_each(dbpatterns.row_to_jsonb(r)) e, jsonb_each(to_jsonb(r)) s
 WHERE s.key = e.key AND s.value IS DISTINCT FROM e.value
   AND e.key NOT IN ('c', 'tz') AND e.value <> '"-0"';

SET client_min_messages = warning;
DROP SCHEMA core_codec CASCADE;
DROP CAST (jsonb AS bytea);
DROP EXTENSION dbpatterns;
