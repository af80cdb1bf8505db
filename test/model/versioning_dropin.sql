-- The oracle of versioning_dropin.sh: what the tables must hold, kept in plain SQL
-- beside them.  Variables: part, history, args, after.
DROP SCHEMA IF EXISTS m CASCADE;
CREATE SCHEMA m;
SET search_path = m;

SELECT :'part' = 'yes' AS part, :'after' = 'yes' AS after \gset
\if :part
CREATE TABLE base (id int, region text, v int, other int, version int, sys_period tstzrange) PARTITION BY LIST (region);
CREATE TABLE base_a PARTITION OF base FOR VALUES IN ('a');
CREATE TABLE base_b (gone int, sys_period tstzrange, version int, id int, other int, region text, v int);
ALTER TABLE base_b DROP gone;
ALTER TABLE base ATTACH PARTITION base_b FOR VALUES IN ('b');
CREATE TABLE base_c PARTITION OF base DEFAULT PARTITION BY RANGE (id);
CREATE TABLE base_c1 PARTITION OF base_c DEFAULT;
\else
CREATE TABLE base (id int PRIMARY KEY, region text, v int, other int, version int, sys_period tstzrange);
\endif
CREATE TABLE history_plain (sys_period tstzrange NOT NULL, v int, region text, id int, version int);
CREATE INDEX ON history_plain (id);
CREATE TABLE history_slow (LIKE history_plain, entry bigserial, CHECK (id > 0));
CREATE TABLE history_parts (LIKE history_plain) PARTITION BY HASH (id);
CREATE TABLE history_parts_0 PARTITION OF history_parts FOR VALUES WITH (MODULUS 2, REMAINDER 0);
CREATE TABLE history_parts_1 PARTITION OF history_parts FOR VALUES WITH (MODULUS 2, REMAINDER 1);
CREATE VIEW history AS SELECT id, region, v, version, sys_period FROM :"history";

CREATE TRIGGER versioning BEFORE INSERT OR UPDATE OR DELETE ON base
    FOR EACH ROW EXECUTE FUNCTION dbpatterns.versioning('sys_period', :'history', :args);
\if :after
CREATE TRIGGER versioning_write AFTER INSERT OR UPDATE OR DELETE ON base
    FOR EACH ROW EXECUTE FUNCTION dbpatterns.versioning('sys_period', :'history', :args);
\endif

-- Arguments 4, 5 and 7.
CREATE TABLE config AS
SELECT coalesce(a[2], 'false') = 'true' AS ignore, coalesce(a[3], 'false') = 'true' AS current,
       coalesce(a[5], 'false') = 'true' AS counted,
       NOT :'part'::bool AND (:'after'::bool OR coalesce(a[3], 'false') <> 'true') AS conflicts
  FROM string_to_array(replace(:'args', ' ', ''), ',') a;

CREATE TABLE o_base (id int PRIMARY KEY, region text, v int, other int, version int, began timestamptz, made bigint);
CREATE TABLE o_history (id int, region text, v int, version int, began timestamptz, ended timestamptz);
CREATE SEQUENCE clock;
CREATE SEQUENCE ids;

-- A transaction has a time of its own, mostly later than the last one's.
CREATE FUNCTION start() RETURNS void LANGUAGE plpgsql AS $$
DECLARE
    t timestamptz := '2001-01-01 UTC'::timestamptz + nextval('clock') * interval '1 min'
        - CASE WHEN random() < 0.3 THEN random() * 5 ELSE 0 END * interval '1 min' + random() * interval '1 s';
BEGIN
    PERFORM set_config('m.t', t::text, true), set_config('m.tx', txid_current()::text, true),
        dbpatterns.set_system_time(t);
END $$;

CREATE FUNCTION ended(began timestamptz) RETURNS timestamptz LANGUAGE sql AS $$
    SELECT CASE WHEN began < current_setting('m.t')::timestamptz THEN current_setting('m.t')::timestamptz
                ELSE began + interval '1 microsecond' END
$$;

CREATE FUNCTION o_insert(id int, region text, v int, other int) RETURNS void LANGUAGE sql AS $$
    INSERT INTO m.o_base SELECT $1, $2, $3, $4, CASE WHEN counted THEN 1 END, current_setting('m.t')::timestamptz,
           current_setting('m.tx')::bigint FROM m.config
$$;

CREATE FUNCTION o_end(r m.o_base) RETURNS void LANGUAGE sql AS $$
    INSERT INTO m.o_history VALUES (r.id, r.region, r.v, r.version, r.began, m.ended(r.began))
$$;

CREATE FUNCTION o_update(old int, new_id int, new_region text, new_v int, new_other int) RETURNS void LANGUAGE plpgsql AS $$
DECLARE
    r m.o_base;
    c m.config;
BEGIN
    SELECT * INTO c FROM m.config;
    SELECT * INTO r FROM m.o_base WHERE id = old;
    IF r.made = current_setting('m.tx')::bigint AND NOT c.current
        OR c.ignore AND (r.id, r.region, r.v) IS NOT DISTINCT FROM (new_id, new_region, new_v)
    THEN
        UPDATE m.o_base SET id = new_id, region = new_region, v = new_v, other = new_other WHERE id = old;
    ELSE
        PERFORM m.o_end(r);
        UPDATE m.o_base SET id = new_id, region = new_region, v = new_v, other = new_other,
               began = m.ended(r.began), version = r.version + 1, made = current_setting('m.tx')::bigint WHERE id = old;
    END IF;
END $$;

CREATE FUNCTION o_delete(old int) RETURNS void LANGUAGE plpgsql AS $$
DECLARE
    r m.o_base;
BEGIN
    DELETE FROM m.o_base WHERE id = old RETURNING * INTO r;
    IF r.made <> current_setting('m.tx')::bigint OR (SELECT current FROM m.config) THEN
        PERFORM m.o_end(r);
    END IF;
END $$;

-- One random statement, for both.
CREATE FUNCTION op() RETURNS void LANGUAGE plpgsql AS $$
DECLARE
    what int := random() * 11 - 0.5;
    r m.o_base;
    region_ text := substr('abcd', 1 + floor(random() * 4)::int, 1);
    v_ int := floor(random() * 3);
    k int := floor(random() * 4);
BEGIN
    SELECT * INTO r FROM m.o_base ORDER BY random() LIMIT 1;
    IF r IS NULL OR what <= 1 THEN
        k := nextval('m.ids');
        PERFORM m.o_insert(k, region_, v_, 0);
        INSERT INTO m.base VALUES (k, region_, v_, 0, 77, 'empty');
    ELSIF what = 2 THEN
        PERFORM m.o_update(r.id, r.id, r.region, v_, r.other);
        UPDATE m.base SET v = v_ WHERE id = r.id;
    ELSIF what = 3 THEN
        PERFORM m.o_update(r.id, r.id, r.region, r.v, r.other + 1);
        UPDATE m.base SET other = other + 1, sys_period = NULL WHERE id = r.id;
    ELSIF what = 4 THEN
        PERFORM m.o_update(r.id, r.id, region_, r.v, r.other);
        UPDATE m.base SET region = region_ WHERE id = r.id;
    ELSIF what = 5 THEN
        k := nextval('m.ids');
        PERFORM m.o_update(r.id, k, region_, r.v, r.other);
        UPDATE m.base SET region = region_, id = k WHERE id = r.id;
    ELSIF what = 6 THEN
        PERFORM m.o_delete(r.id);
        DELETE FROM m.base WHERE id = r.id;
    ELSIF what = 7 THEN
        PERFORM m.o_update(id, id, region_, v % 3, other) FROM m.o_base WHERE id % 4 = k;
        UPDATE m.base SET region = region_, v = v % 3 WHERE id % 4 = k;
    ELSIF what = 8 THEN
        PERFORM CASE WHEN v > 0 THEN m.o_delete(id) ELSE m.o_update(id, id, region_, v + 1, other) END
           FROM m.o_base WHERE id % 4 = k;
        MERGE INTO m.base b USING (SELECT k AS k) x ON b.id % 4 = x.k
            WHEN MATCHED AND b.v > 0 THEN DELETE
            WHEN MATCHED THEN UPDATE SET v = b.v + 1, region = region_;
    ELSIF what = 9 AND r.id < 1000000 AND (SELECT conflicts FROM m.config) THEN
        PERFORM m.o_update(r.id, r.id, r.region, v_, r.other);
        INSERT INTO m.base VALUES (r.id, 'x', v_, 0), (r.id + 1000000, 'x', 9, 9) ON CONFLICT (id)
            DO UPDATE SET v = excluded.v WHERE excluded.v < 9;
        IF NOT EXISTS (SELECT FROM m.o_base WHERE id = r.id + 1000000) THEN
            PERFORM m.o_insert(r.id + 1000000, 'x', 9, 9);
        END IF;
    ELSE
        PERFORM m.o_update(r.id, r.id, r.region, r.v + 1, r.other);
        WITH u AS (UPDATE m.base SET v = v + 1 WHERE id = r.id RETURNING id), d AS (DELETE FROM m.base WHERE id = r.id RETURNING id)
        SELECT count(*) INTO k FROM u, d;
    END IF;
END $$;

-- A statement in an exception block, which may fail after it.
CREATE FUNCTION op_in_block(fails boolean) RETURNS void LANGUAGE plpgsql AS $$
BEGIN
    PERFORM m.op();
    IF fails THEN
        RAISE division_by_zero;
    END IF;
EXCEPTION WHEN division_by_zero THEN NULL;
END $$;

-- What is wrong.
CREATE VIEW wrong AS
WITH present AS (SELECT id, region, v, other, CASE WHEN counted THEN version END, sys_period FROM base, config),
     o_present AS (SELECT id, region, v, other, version, tstzrange(began, NULL) FROM o_base),
     past AS (SELECT id, region, v, CASE WHEN counted THEN version END, sys_period FROM history, config),
     o_past AS (SELECT id, region, v, version, tstzrange(began, ended) FROM o_history UNION ALL
                SELECT id, region, v, version, tstzrange(began, NULL) FROM o_base, config WHERE current)
SELECT 'a row that should not be' AS what, x::text AS "row" FROM (TABLE present EXCEPT ALL TABLE o_present) x
UNION ALL SELECT 'no such row', x::text FROM (TABLE o_present EXCEPT ALL TABLE present) x
UNION ALL SELECT 'a version that should not be', x::text FROM (TABLE past EXCEPT ALL TABLE o_past) x
UNION ALL SELECT 'no such version', x::text FROM (TABLE o_past EXCEPT ALL TABLE past) x;
