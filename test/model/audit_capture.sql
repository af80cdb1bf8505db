-- Tables, random operations, and the oracle of audit_capture.sh.
SET client_min_messages = warning;
CREATE EXTENSION dbpatterns;
CREATE SCHEMA m;
CREATE SCHEMA replay;
SET search_path = m;

-- plain: a user's trigger refuses and changes rows, another one changes rows
-- again after ours has not yet seen them, inside an exception block.
CREATE TABLE plain (id int PRIMARY KEY, n numeric, v text, j jsonb);
CREATE FUNCTION before_plain() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    IF random() < 0.02 THEN RETURN NULL; END IF;
    IF random() < 0.1 THEN new.v := new.v || '*'; END IF;
    RETURN new;
END $$;
CREATE TRIGGER before_plain BEFORE INSERT OR UPDATE ON plain FOR EACH ROW EXECUTE FUNCTION before_plain();
CREATE FUNCTION again() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    IF pg_trigger_depth() < 3 AND random() < 0.2 THEN
        BEGIN
            UPDATE plain SET n = coalesce(n, 0) + 1 WHERE id = new.id + (random() < 0.2)::int;
            IF random() < 0.3 THEN PERFORM 1 / 0; END IF;
        EXCEPTION WHEN division_by_zero THEN NULL;
        END;
    ELSIF pg_trigger_depth() < 3 AND random() < 0.2 THEN
        UPDATE plain SET j = jsonb_build_object('again', new.id) WHERE id = new.id;
    END IF;
    RETURN NULL;
END $$;
CREATE TRIGGER a_again AFTER INSERT OR UPDATE ON plain FOR EACH ROW EXECUTE FUNCTION again();
CREATE TRIGGER z_again AFTER INSERT OR UPDATE ON plain FOR EACH ROW EXECUTE FUNCTION again();
-- child: changed by cascades.  Its row trigger is made by hand: entries wait
-- until something else writes them.
CREATE TABLE child (id int PRIMARY KEY, plain int REFERENCES plain ON DELETE CASCADE ON UPDATE CASCADE);
CREATE TRIGGER trail AFTER INSERT OR UPDATE OR DELETE ON child
    FOR EACH ROW EXECUTE FUNCTION dbpatterns.audit_trigger();
-- part: rows move; partitions have other column orders.
CREATE TABLE part (id int, region text, v text, PRIMARY KEY (id, region)) PARTITION BY LIST (region);
CREATE TABLE part_a PARTITION OF part FOR VALUES IN ('a');
CREATE TABLE part_b (v text, gone int, region text NOT NULL, id int NOT NULL);
ALTER TABLE part_b DROP COLUMN gone;
ALTER TABLE part ATTACH PARTITION part_b FOR VALUES IN ('b');
CREATE TABLE part_c PARTITION OF part FOR VALUES IN ('c', 'd') PARTITION BY HASH (id);
CREATE TABLE part_c0 PARTITION OF part_c FOR VALUES WITH (MODULUS 2, REMAINDER 0);
CREATE TABLE part_c1 PARTITION OF part_c FOR VALUES WITH (MODULUS 2, REMAINDER 1);
CREATE FUNCTION before_part() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    IF random() < 0.05 THEN RETURN NULL; END IF;
    RETURN new;
END $$;
CREATE TRIGGER before_part BEFORE INSERT ON part_b FOR EACH ROW EXECUTE FUNCTION before_part();
-- multi: a composite key of values that look alike when pasted together.
CREATE TABLE multi (a text, b text, v text, PRIMARY KEY (a, b));
-- keyless: equal rows.
CREATE TABLE keyless (v int, w text);

SELECT dbpatterns.audit_enable('plain');
SELECT dbpatterns.audit_enable('part', truncate_rows => true);
SELECT dbpatterns.audit_enable('multi', capture => 'full');
SELECT dbpatterns.audit_enable('keyless');
INSERT INTO plain SELECT i, i, 'start' FROM generate_series(1, 50) i;
INSERT INTO child SELECT i, 1 + i % 40 FROM generate_series(1, 50) i
    WHERE 1 + i % 40 IN (SELECT id FROM plain);

CREATE FUNCTION n(upto int) RETURNS int LANGUAGE sql AS 'SELECT 1 + floor(random() * $1)::int';
CREATE FUNCTION letter() RETURNS text LANGUAGE sql AS $$ SELECT substr('abcd', m.n(4), 1) $$;

-- op makes one random change.
CREATE FUNCTION op() RETURNS void LANGUAGE plpgsql AS $$
DECLARE
    i int := n(60);
    k int := n(60);
BEGIN
    CASE n(26)
    WHEN 1 THEN INSERT INTO plain VALUES (i, k, 'new') ON CONFLICT DO NOTHING;
    WHEN 2 THEN INSERT INTO plain SELECT x, k, 'upsert' FROM generate_series(i, i + 5) x
                    ON CONFLICT (id) DO UPDATE SET v = plain.v || '+', n = excluded.n;
    WHEN 3 THEN UPDATE plain SET n = n + 1, j = to_jsonb(k) WHERE id BETWEEN i AND i + 3;
    WHEN 4 THEN UPDATE plain SET v = v WHERE id = i;
    WHEN 5 THEN DELETE FROM plain WHERE id = i;
    WHEN 6 THEN UPDATE plain SET id = 1000 + n(100000) WHERE id = i;
    WHEN 7 THEN UPDATE plain SET id = i WHERE id = (SELECT min(id) FROM plain WHERE id > 1000);
    WHEN 8 THEN MERGE INTO plain USING (SELECT x FROM generate_series(i, i + 4) x) s ON plain.id = s.x
                    WHEN MATCHED AND s.x % 3 = 0 THEN DELETE
                    WHEN MATCHED THEN UPDATE SET v = 'merged ' || k
                    WHEN NOT MATCHED THEN INSERT VALUES (s.x, NULL, 'merge');
    WHEN 9 THEN INSERT INTO child SELECT n(100000), id FROM plain WHERE id BETWEEN i AND i + 3 ON CONFLICT DO NOTHING;
    WHEN 10 THEN UPDATE child SET plain = (SELECT id FROM plain ORDER BY random() LIMIT 1) WHERE id = (SELECT max(id) FROM child);
    WHEN 11 THEN WITH d AS (DELETE FROM plain WHERE id = i RETURNING *)
                 INSERT INTO plain SELECT k + 200, n, 'moved', j FROM d ON CONFLICT DO NOTHING;
    WHEN 12 THEN INSERT INTO part VALUES (i, letter(), 'new') ON CONFLICT DO NOTHING;
    WHEN 13 THEN INSERT INTO part SELECT x, letter(), 'many' FROM generate_series(i, i + 8) x ON CONFLICT DO NOTHING;
    WHEN 14 THEN UPDATE part SET region = letter() WHERE id BETWEEN i AND i + 4;
    WHEN 15 THEN UPDATE part SET region = letter(), v = 'moved', id = id + 1 WHERE id = i;
    WHEN 16 THEN UPDATE part_b SET v = 'leaf ' || k WHERE id > i;
    WHEN 17 THEN DELETE FROM part_c WHERE id = i;
    WHEN 18 THEN MERGE INTO part USING (SELECT x FROM generate_series(i, i + 4) x) s ON part.id = s.x
                    WHEN MATCHED AND s.x % 3 = 0 THEN DELETE
                    WHEN MATCHED THEN UPDATE SET region = letter()
                    WHEN NOT MATCHED THEN INSERT VALUES (s.x, 'a', 'merge');
    WHEN 19 THEN INSERT INTO multi VALUES (repeat('x', i % 4), repeat('x', k % 4), i) ON CONFLICT (a, b) DO UPDATE SET v = excluded.v;
    WHEN 20 THEN UPDATE multi SET a = b, b = a WHERE v = (SELECT min(v) FROM multi);
    WHEN 21 THEN DELETE FROM multi WHERE a = repeat('x', i % 4);
    WHEN 22 THEN INSERT INTO keyless SELECT i % 5, NULL FROM generate_series(1, k % 4);
    WHEN 23 THEN UPDATE keyless SET w = coalesce(w, '') || 'u' WHERE v = i % 5;
    WHEN 24 THEN DELETE FROM keyless WHERE v = i % 5;
    WHEN 25 THEN
        -- more rows than a batch holds, rarely
        IF random() < 0.1 THEN
            INSERT INTO part SELECT x, letter(), 'bulk' FROM generate_series(5001, 7500) x ON CONFLICT DO NOTHING;
            UPDATE part SET region = letter() WHERE id > 5000;
            DELETE FROM part WHERE id > 5000;
        END IF;
    WHEN 26 THEN
        IF random() < 0.1 THEN TRUNCATE part_b;
        ELSIF random() < 0.05 THEN TRUNCATE part;
        ELSIF random() < 0.1 THEN TRUNCATE multi;
        END IF;
    END CASE;
END $$;

-- ops makes some, in nested blocks that fail now and then.
CREATE FUNCTION ops(depth int) RETURNS void LANGUAGE plpgsql AS $$
BEGIN
    FOR i IN 1..n(3) LOOP
        IF depth > 0 AND random() < 0.4 THEN
            BEGIN
                PERFORM ops(depth - 1);
                IF random() < 0.3 THEN PERFORM 1 / 0; END IF;
            EXCEPTION
                WHEN division_by_zero OR unique_violation OR foreign_key_violation
                  OR serialization_failure OR cardinality_violation THEN NULL;
            END;
        ELSE
            PERFORM op();
        END IF;
    END LOOP;
END $$;

-- The oracle: it applies the log, entry by entry in its order, to an empty
-- copy of a table, and wants each entry to fit what is there: an insert finds
-- no such row, an update and a delete find exactly the old values they tell.
CREATE FUNCTION replay(target regclass, keys text[]) RETURNS bigint LANGUAGE plpgsql AS $$
DECLARE
    copy text := format('replay.%I', (SELECT relname FROM pg_class WHERE oid = target));
    columns text := (SELECT string_agg(quote_ident(attname), ', ' ORDER BY attnum) FROM pg_attribute
                      WHERE attrelid = target AND attnum > 0 AND NOT attisdropped);
    matches text := (SELECT string_agg(format('y.%1$I = (dbpatterns.row_from_jsonb(NULL::%2$s, $1)).%1$I', k, target), ' AND ')
                       FROM unnest(keys) k);
    exact text := 'dbpatterns.row_to_jsonb(y) = dbpatterns.row_to_jsonb(y) || $2';
    e record;
    found bigint;
    entries bigint := 0;
BEGIN
    EXECUTE format('CREATE TABLE %s (LIKE %s)', copy, target);
    IF keys <> '{}' THEN
        EXECUTE format('CREATE UNIQUE INDEX ON %s (%s)', copy, array_to_string(keys, ', '));
    END IF;
    matches := coalesce(matches, 'dbpatterns.row_to_jsonb(y) = $1');
    FOR e IN SELECT l.* FROM _dbpatterns.audit_log l JOIN _dbpatterns.audit_shape s USING (shape)
                         JOIN _dbpatterns.audit_relation r USING (relation)
              WHERE r.target = replay.target AND l.op <> 'M' ORDER BY l.id LOOP
        entries := entries + 1;
        CASE e.op
        WHEN 'I' THEN
            EXECUTE format('INSERT INTO %s SELECT (dbpatterns.row_from_jsonb(NULL::%s, $1)).*', copy, target) USING e.new;
            found := 1;
        WHEN 'U' THEN
            EXECUTE format('UPDATE %s SET (%s) = (SELECT (dbpatterns.row_from_jsonb(%s, $3)).*)
                             WHERE ctid = (SELECT ctid FROM %s y WHERE %s AND %s LIMIT 1)',
                           copy, columns, split_part(copy, '.', 2), copy, matches, exact)
                USING CASE WHEN e.old ?& keys THEN e.old ELSE e.new END, e.old, e.new;
            GET DIAGNOSTICS found = ROW_COUNT;
        WHEN 'D' THEN
            EXECUTE format('DELETE FROM %s WHERE ctid = (SELECT ctid FROM %s y WHERE %s AND %s LIMIT 1)',
                           copy, copy, matches, exact) USING e.old, e.old;
            GET DIAGNOSTICS found = ROW_COUNT;
        WHEN 'T' THEN
            -- part was truncated with its rows, so they are gone already
            IF target <> 'part'::regclass THEN
                EXECUTE format('DELETE FROM %s', copy);
            END IF;
            found := 1;
        END CASE;
        IF found <> 1 THEN
            RAISE 'entry % of %: no row fits %', e.id, target, e;
        END IF;
    END LOOP;
    RETURN entries;
END $$;

CREATE FUNCTION differences(target regclass) RETURNS bigint LANGUAGE plpgsql AS $$
DECLARE
    result bigint;
    copy text := format('replay.%I', (SELECT relname FROM pg_class WHERE oid = target));
BEGIN
    EXECUTE format('SELECT (SELECT count(*) FROM (TABLE %1$s EXCEPT ALL TABLE %2$s) a)
                         + (SELECT count(*) FROM (TABLE %2$s EXCEPT ALL TABLE %1$s) b)', target, copy) INTO result;
    RETURN result;
END $$;
