-- Tables, random changes and the oracle of versioning.sh.
--
-- The oracle keeps every change in SQL: an AFTER trigger logs old and new row,
-- numbered while the row is locked.  From that the versions of each row follow:
-- a transaction that changed a row, and left it there, made one.
CREATE EXTENSION dbpatterns;
CREATE SCHEMA m;
SET search_path = m;
CREATE TABLE change (n bigserial PRIMARY KEY, tx xid8 DEFAULT pg_current_xact_id(), tab text, key text, op text, old jsonb, new jsonb);

CREATE FUNCTION log_change() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    INSERT INTO m.change (tab, key, op, old, new)
    VALUES (TG_ARGV[0], coalesce(NEW.k, OLD.k), left(TG_OP, 1), to_jsonb(OLD) - 'sys_period' - 'note', to_jsonb(NEW) - 'sys_period' - 'note');
    RETURN NULL;
END $$;

-- Rows have an identity of their own: a key that is inserted again by a transaction
-- that began before the old row went is a limit of system time.
CREATE TABLE plain (id int PRIMARY KEY, v int, w text, note int, k text DEFAULT gen_random_uuid());
CREATE TABLE part (id int, v int, w text, note int, k text DEFAULT gen_random_uuid()) PARTITION BY RANGE (v);
CREATE TABLE part_low PARTITION OF part FOR VALUES FROM (MINVALUE) TO (5);
CREATE TABLE part_high (note int, k text DEFAULT gen_random_uuid(), w text, v int, id int);
ALTER TABLE part ATTACH PARTITION part_high FOR VALUES FROM (5) TO (MAXVALUE);
CREATE TABLE child (id int PRIMARY KEY, v int REFERENCES plain ON DELETE CASCADE ON UPDATE CASCADE, w text, note int, k text DEFAULT gen_random_uuid());
SELECT dbpatterns.versioning_enable('plain', exclude => '{note}');
SELECT dbpatterns.versioning_enable('part', exclude => '{note}');
SELECT dbpatterns.versioning_enable('child', exclude => '{note}', partition_by => '1 day');
CREATE TRIGGER a_log AFTER INSERT OR UPDATE OR DELETE ON plain FOR EACH ROW EXECUTE FUNCTION log_change('plain');
CREATE TRIGGER a_log AFTER INSERT OR UPDATE OR DELETE ON part FOR EACH ROW EXECUTE FUNCTION log_change('part');
CREATE TRIGGER a_log AFTER INSERT OR UPDATE OR DELETE ON child FOR EACH ROW EXECUTE FUNCTION log_change('child');

-- A random statement on one of the tables.
CREATE FUNCTION statement(tab text) RETURNS text LANGUAGE plpgsql AS $$
DECLARE
    k int := 1 + random() * 12;
    v int := random() * 9;
    target text := 'm.' || tab;
BEGIN
    IF tab = 'child' THEN v := 1 + random() * 12; END IF;
    RETURN CASE (random() * 11)::int
        WHEN 0 THEN format('INSERT INTO %s (id, v, w) VALUES (%s, %s, ''i'')', target, k, v)
        WHEN 1 THEN format('INSERT INTO %s (id, v, w) SELECT g, %s, ''m'' FROM generate_series(%s, %s) g ON CONFLICT DO NOTHING', target, v, k, k + 3)
        WHEN 2 THEN format('DELETE FROM %s WHERE id = %s', target, k)
        WHEN 3 THEN format('DELETE FROM %s WHERE id > %s AND id %% 3 = 0', target, k)
        WHEN 4 THEN format('UPDATE %s SET w = w WHERE id < %s', target, k)
        WHEN 5 THEN format('UPDATE %s SET note = coalesce(note, 0) + 1 WHERE id < %s', target, k)
        WHEN 6 THEN format('UPDATE %s SET v = %s WHERE id = %s', target, v, k)
        WHEN 7 THEN format('UPDATE %s SET w = left(w || %L, 8) WHERE id BETWEEN %s AND %s', target, chr(97 + k), k, k + 2)
        WHEN 8 THEN CASE tab WHEN 'part' THEN format('UPDATE %s SET v = 9 - v WHERE id = %s', target, k)
            ELSE format('INSERT INTO %s (id, v, w) VALUES (%s, %s, ''u'') ON CONFLICT (id) DO UPDATE SET w = left(%1$s.w || ''u'', 8)', target, k, v) END
        WHEN 9 THEN format('MERGE INTO %s t USING generate_series(%s, %s) g ON t.id = g WHEN MATCHED AND g %% 2 = 0 THEN DELETE'
            ' WHEN MATCHED THEN UPDATE SET w = ''x'' WHEN NOT MATCHED THEN INSERT (id, v, w) VALUES (g, %s, ''n'')', target, k, k + 1, v)
        WHEN 10 THEN format('WITH d AS (DELETE FROM %s WHERE id = %s RETURNING id) UPDATE %1$s SET w = ''cte'' WHERE id = %s', target, k, k % 12 + 1)
        ELSE format('DELETE FROM %s WHERE id = %s; INSERT INTO %1$s (id, v, w) VALUES (%2$s, %s, ''again'')', target, k, v)
    END;
END $$;

-- What the oracle says: versions of each row in order, whether each one ended, and
-- whether the next one began at that moment.
CREATE FUNCTION expected(tab text) RETURNS TABLE (key text, n int, version jsonb, ended boolean, joined boolean) LANGUAGE plpgsql AS $$
DECLARE
    c record;
    last_key text;
BEGIN
    FOR c IN SELECT h.key, h.tx, min(h.n) AS first,
                    bool_or(h.op IN ('I', 'D') OR h.old IS DISTINCT FROM h.new) AS changed,
                    (array_agg(h.new ORDER BY h.n DESC))[1] AS final,
                    (array_agg(h.op ORDER BY h.n))[1] <> 'I' AS was_there
             FROM m.change h WHERE h.tab = $1 GROUP BY h.key, h.tx ORDER BY h.key, min(h.n)
    LOOP
        IF c.key IS DISTINCT FROM last_key THEN
            IF key IS NOT NULL THEN RETURN NEXT; END IF;
            last_key := c.key;
            key := NULL;
            n := 0;
        END IF;
        CONTINUE WHEN NOT c.changed;
        IF key IS NOT NULL AND NOT ended THEN
            ended := true;
            joined := c.final IS NOT NULL;
        END IF;
        IF c.final IS NOT NULL THEN
            IF key IS NOT NULL THEN RETURN NEXT; END IF;
            key := c.key;
            n := n + 1;
            version := c.final;
            ended := false;
            joined := false;
        END IF;
    END LOOP;
    IF key IS NOT NULL THEN RETURN NEXT; END IF;
END $$;

-- What there is.
CREATE FUNCTION actual(tab text) RETURNS TABLE (key text, n int, version jsonb, ended boolean, joined boolean) LANGUAGE plpgsql AS $$
BEGIN
    RETURN QUERY EXECUTE format(
        'SELECT k, (row_number() OVER w)::int, to_jsonb(x) - ''sys_period'' - ''note'', NOT upper_inf(sys_period),'
        ' coalesce(upper(sys_period) = lead(lower(sys_period)) OVER w, false)'
        ' FROM m.%I() x WINDOW w AS (PARTITION BY k ORDER BY lower(sys_period))', tab || '__versions');
END $$;

-- What is wrong.
CREATE FUNCTION wrong(tab text) RETURNS SETOF text LANGUAGE plpgsql AS $$
BEGIN
    RETURN QUERY SELECT 'missing ' || e::text FROM (SELECT * FROM m.expected($1) EXCEPT SELECT * FROM m.actual($1)) e;
    RETURN QUERY SELECT 'too much ' || a::text FROM (SELECT * FROM m.actual($1) EXCEPT SELECT * FROM m.expected($1)) a;
    RETURN QUERY EXECUTE format(
        'SELECT ''overlap '' || x::text FROM (SELECT k, sys_period, lead(lower(sys_period)) OVER (PARTITION BY k ORDER BY lower(sys_period)) AS next'
        ' FROM m.%I() v) x WHERE isempty(sys_period) OR upper(sys_period) > next', $1 || '__versions');
    -- At the time a version began, it is what AS OF shows.
    RETURN QUERY EXECUTE format(
        'SELECT ''as of '' || x.id FROM m.%I() x WHERE (SELECT count(*) FROM m.%I(lower(x.sys_period)) y WHERE y.k = x.k AND y IS NOT DISTINCT FROM x) <> 1',
        $1 || '__versions', $1 || '__as_of');
END $$;
