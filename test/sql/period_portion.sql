-- Portions: every relation of a row to a portion, several rows, gaps, bounds,
-- what is refused.
\set SHOW_CONTEXT never
SET client_min_messages = warning;
CREATE EXTENSION IF NOT EXISTS btree_gist;
CREATE EXTENSION IF NOT EXISTS dbpatterns;
RESET client_min_messages;
SET datestyle = 'ISO, YMD';
SET timezone = 'UTC';

CREATE TABLE r (k int, valid_at daterange, v int, w int DEFAULT 7);
CREATE TABLE c (k int, b date, e date, v int, w int DEFAULT 7);
SELECT dbpatterns.period_enable('r', '{k}', 'valid_at');
SELECT dbpatterns.period_enable('c', '{k}', from_column => 'b', to_column => 'e');

-- One row [10, 20) and each of Allen's relations to it, by each verb; days are
-- compared with what they have to be, one by one.
CREATE FUNCTION day(int) RETURNS date IMMUTABLE LANGUAGE sql AS 'SELECT date ''2025-01-01'' + $1';
CREATE FUNCTION days(target regclass, key int) RETURNS TABLE (d int, v int) LANGUAGE plpgsql AS $$
BEGIN
    RETURN QUERY EXECUTE format('SELECT d, t.v FROM generate_series(-5, 45) d JOIN %s t ON %s @> day(d) AND t.k = $1',
        target, CASE target::text WHEN 'r' THEN 'valid_at' ELSE 'daterange(b, e)' END) USING key;
END $$;
CREATE FUNCTION try(target regclass, verb text, key int, s int, e int) RETURNS bigint LANGUAGE plpgsql AS $$
DECLARE
    k jsonb := jsonb_build_object('k', key);
    portion daterange := daterange(day(s), day(e));
BEGIN
    RETURN CASE verb WHEN 'update' THEN dbpatterns.portion_update(target, k, portion, '{"v": 2}')
        WHEN 'delete' THEN dbpatterns.portion_delete(target, k, portion)
        ELSE dbpatterns.portion_upsert(target, k || '{"v": 2}', portion) END;
END $$;
CREATE TABLE allen (n int GENERATED ALWAYS AS IDENTITY, relation text, s int, e int);
INSERT INTO allen (relation, s, e) VALUES
    ('before', 2, 8), ('meets', 2, 10), ('overlaps', 5, 15), ('starts', 10, 15),
    ('during', 12, 18), ('finishes', 15, 20), ('equals', 10, 20), ('finished by', 5, 20),
    ('contains', 5, 25), ('started by', 10, 25), ('overlapped by', 15, 25),
    ('met by', 20, 25), ('after', 22, 25);
INSERT INTO r SELECT n, daterange(day(10), day(20)), 1 FROM allen;
INSERT INTO c SELECT n, day(10), day(20), 1 FROM allen;

CREATE TABLE got (relation text, verb text, target text, count bigint, rows bigint, wrong bigint);
DO $$
DECLARE
    a allen;
    t regclass;
    verb text;
    n bigint;
BEGIN
    FOREACH verb IN ARRAY '{update,delete,upsert}'::text[] LOOP
        FOREACH t IN ARRAY '{r,c}'::regclass[] LOOP
            FOR a IN SELECT * FROM allen ORDER BY n LOOP
                n := try(t, verb, a.n, a.s, a.e);
                INSERT INTO got SELECT a.relation, verb, t, n,
                    CASE t::text WHEN 'r' THEN (SELECT count(*) FROM r WHERE k = a.n) ELSE (SELECT count(*) FROM c WHERE k = a.n) END,
                    count(*) FILTER (WHERE x.v IS DISTINCT FROM
                        CASE WHEN d >= a.s AND d < a.e AND (verb = 'upsert' OR d >= 10 AND d < 20) THEN nullif(verb, 'delete')
                             WHEN d >= 10 AND d < 20 THEN '1' END::text)
                FROM generate_series(-5, 45) d
                LEFT JOIN (SELECT y.d, CASE y.v WHEN 2 THEN verb ELSE y.v::text END AS v FROM days(t, a.n) y) x USING (d);
            END LOOP;
        END LOOP;
        DELETE FROM r; DELETE FROM c;
        INSERT INTO r SELECT x.n, daterange(day(10), day(20)), 1 FROM allen x;
        INSERT INTO c SELECT x.n, day(10), day(20), 1 FROM allen x;
    END LOOP;
END $$;
SELECT g.relation, string_agg(format('%s %s/%s', verb, count, rows), ', ' ORDER BY verb DESC) AS "changed/rows after",
       sum(wrong) AS wrong_days
  FROM got g JOIN allen a USING (relation) WHERE target = 'r' GROUP BY g.relation, n ORDER BY n;
-- Two columns do as a range does.
SELECT relation, verb FROM got GROUP BY 1, 2 HAVING count(DISTINCT (count, rows)) > 1 OR sum(wrong) > 0;

-- Three rows, as in the table of case 46: three are changed, two are left over.
DELETE FROM r;
INSERT INTO r VALUES (1, '[2025-01-01,2025-01-10)', 1), (1, '[2025-01-10,2025-01-20)', 2), (1, '[2025-02-01,2025-02-10)', 3),
    (2, '[2025-01-01,2025-03-01)', 1);
SELECT dbpatterns.portion_update('r', '{"k": 1}', '[2025-01-05,2025-02-05)', '{"w": 0}');
SELECT * FROM r ORDER BY k, valid_at;
-- Only what is not so already is changed, and nothing is cut for it.
SELECT dbpatterns.portion_update('r', '{"k": 1}', '[2025-01-02,2025-02-07)', '{"w": 0}');
SELECT dbpatterns.portion_update('r', '{"k": 1}', '[2025-01-02,2025-02-07)', '{"w": 0}');
SELECT dbpatterns.portion_upsert('r', '{"k": 1, "v": 5, "w": 9}', '[2024-12-30,2025-02-03)');
SELECT * FROM r WHERE k = 1 ORDER BY k, valid_at;
-- All keys; no bound; infinity is none.
SELECT dbpatterns.portion_delete('r', '{}', '[2025-01-15,2025-02-02)');
SELECT dbpatterns.portion_update('r', '{"k": 2}', '[2025-02-15,infinity]', '{"v": null}');
SELECT dbpatterns.portion_upsert('r', '{"k": 3, "v": 1}', '[-infinity,2025-01-01)');
SELECT dbpatterns.portion_upsert('r', '{"k": 3, "v": 2}', '(,)');
SELECT dbpatterns.portion_delete('r', '{"k": 3}', daterange('2025-03-01', NULL));
SELECT * FROM r ORDER BY k, valid_at;
SELECT dbpatterns.portion_delete('r', '{}', '(,)');
SELECT count(*) FROM r;

-- Where infinity is the only form of a column, it stays so.
CREATE TABLE i (k int, b date NOT NULL, e date NOT NULL, v int);
SELECT dbpatterns.period_enable('i', '{k}', from_column => 'b', to_column => 'e');
INSERT INTO i VALUES (1, '-infinity', 'infinity', 1);
SELECT dbpatterns.portion_update('i', '{"k": 1}', '[2025-01-01,2025-02-01)', '{"v": 2}');
SELECT dbpatterns.portion_delete('i', '{"k": 1}', '[2025-01-10,2025-01-20)');
SELECT * FROM i ORDER BY b;

-- Other ranges: time, where an end that is included becomes the next microsecond;
-- numbers; a key of two columns, of which one may be given.
CREATE TABLE z (a text, b int, p tstzrange, v int);
SELECT dbpatterns.period_enable('z', '{a,b}', 'p');
INSERT INTO z VALUES ('x', 1, '[2025-01-01,2025-02-01)', 1), ('x', 2, '[2025-01-01,2025-02-01)', 1), ('y', 1, '[2025-01-01,)', 1);
SELECT dbpatterns.portion_update('z', '{"a": "x"}', '(2025-01-10,2025-01-11]', '{"v": 2}');
SELECT * FROM z ORDER BY 1, 2, 3;
CREATE TABLE nr (k int, p numrange, v int);
SELECT dbpatterns.period_enable('nr', '{k}', 'p');
SELECT dbpatterns.portion_upsert('nr', '{"k": 1, "v": 1}', '[0,10)');
SELECT dbpatterns.portion_upsert('nr', '{"k": 1, "v": 2}', numrange(2.5, 3.5));
SELECT * FROM nr ORDER BY p;

-- Nothing is done in part, and undone with the rest.
BEGIN;
SAVEPOINT s;
SELECT dbpatterns.portion_upsert('nr', '{"k": 1, "v": 3}', '[1,20)');
ROLLBACK TO s;
SELECT dbpatterns.portion_delete('nr', '{"k": 1}', '[1,2)');
COMMIT;
SELECT * FROM nr ORDER BY p;
PREPARE cut(text) AS SELECT dbpatterns.portion_delete('nr', '{"k": 1}', $1);
EXECUTE cut('[5,6)');
ALTER TABLE nr ADD COLUMN note text DEFAULT 'n', DROP COLUMN v;
EXECUTE cut('[7,8)');
SELECT * FROM nr ORDER BY p;

-- What is refused.
SELECT dbpatterns.portion_update(NULL, '{}', '(,)', '{"v": 1}');
SELECT dbpatterns.portion_update('r', NULL, '(,)', '{"v": 1}');
SELECT dbpatterns.portion_update('r', '{}', NULL::text, '{"v": 1}');
SELECT dbpatterns.portion_update('r', '{}', '(,)', NULL);
SELECT dbpatterns.portion_update('r', '{}', 'empty', '{"v": 1}');
SELECT dbpatterns.portion_update('r', '{}', '[2025-02-01,2025-01-01)', '{"v": 1}');
SELECT dbpatterns.portion_update('r', '{}', 'tomorrow', '{"v": 1}');
SELECT dbpatterns.portion_update('r', '{}', tstzrange('2025-01-01', '2025-02-01'), '{"v": 1}');
SELECT dbpatterns.portion_update('nr', '{}', '(1,2]', '{"note": 1}');
SELECT dbpatterns.portion_update('r', '{}', '(,)', '{}');
SELECT dbpatterns.portion_update('r', '[]', '(,)', '{"v": 1}');
SELECT dbpatterns.portion_update('r', '{"v": 1}', '(,)', '{"v": 1}');
SELECT dbpatterns.portion_update('r', '{"k": null}', '(,)', '{"v": 1}');
SELECT dbpatterns.portion_update('r', '{"x": 1}', '(,)', '{"v": 1}');
SELECT dbpatterns.portion_update('r', '{}', '(,)', '{"valid_at": null}');
SELECT dbpatterns.portion_update('c', '{}', '(,)', '{"e": null}');
SELECT dbpatterns.portion_update('r', '{}', '(,)', '{"v": "one"}');
SELECT dbpatterns.portion_upsert('r', '{"v": 1}', '(,)');
SELECT dbpatterns.portion_delete('allen', '{}', '(,)');
SELECT dbpatterns.portion_delete('pg_class', '{}', '(,)');

DROP TABLE r, c, i, z, nr, allen, got;
DROP FUNCTION try, days, day;
