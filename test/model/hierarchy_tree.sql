-- Tables, random statements, and the oracle of hierarchy_tree.sh.
--
-- Each kind of table is there twice: m.<kind> with a closure table, and
-- twin.<kind> without.  statement(kind) makes up a statement with @ in place of
-- the table.  play(kind, seed, groups) runs groups of them on both: what the
-- twin accepts without a cycle in it, the table must accept; what gives the
-- twin a cycle, it must refuse with 23514; what the twin refuses, it must
-- refuse.  After each statement the closure must be what the oracle says.
SET client_min_messages = warning;
CREATE EXTENSION IF NOT EXISTS dbpatterns;
CREATE SCHEMA m;
CREATE SCHEMA twin;

CREATE TABLE m.kinds (name text PRIMARY KEY, type text, keys int, scope text, definition text, parts boolean DEFAULT false, options text DEFAULT '');
INSERT INTO m.kinds (name, type, keys, scope, definition) VALUES
('plain', 'int', 14, NULL, '(id int PRIMARY KEY, parent_id int REFERENCES @)'),
('cascade', 'bigint', 14, NULL, '(id bigint PRIMARY KEY, parent_id bigint REFERENCES @ ON UPDATE CASCADE ON DELETE CASCADE)'),
('setnull', 'text', 14, NULL, '(id text PRIMARY KEY, parent_id text REFERENCES @ ON UPDATE CASCADE ON DELETE SET NULL)'),
('setdefault', 'int', 10, NULL, '(id int PRIMARY KEY, parent_id int DEFAULT 3 REFERENCES @ ON UPDATE SET NULL ON DELETE SET DEFAULT)'),
('soft', 'int', 12, NULL, '(id int PRIMARY KEY, parent_id int)'),
('late', 'uuid', 12, NULL, '(id uuid PRIMARY KEY, parent_id uuid REFERENCES @ ON UPDATE CASCADE DEFERRABLE INITIALLY DEFERRED)'),
('swap', 'int', 10, NULL, '(id int PRIMARY KEY DEFERRABLE, parent_id int)'),
('tenant', 'int', 8, 't', '(t int, id int, parent_id int, PRIMARY KEY (t, id), FOREIGN KEY (t, parent_id) REFERENCES @ ON UPDATE CASCADE ON DELETE CASCADE)'),
('loose', 'text', 8, 't', '(t int, id text COLLATE "C", parent_id text COLLATE "C", PRIMARY KEY (id, t))'),
('part', 'int', 14, NULL, '(id int PRIMARY KEY, parent_id int) PARTITION BY RANGE (id)'),
('partfk', 'int', 14, NULL, '(id int PRIMARY KEY, parent_id int REFERENCES @ ON DELETE CASCADE) PARTITION BY RANGE (id)');
UPDATE m.kinds SET parts = true WHERE name ~ 'part';
UPDATE m.kinds SET options = 'key => ''{id}''' WHERE name = 'swap';
UPDATE m.kinds SET options = 'key => ''{t,id}''' WHERE name = 'loose';

CREATE FUNCTION m.make(kind text) RETURNS void LANGUAGE plpgsql AS $$
DECLARE
    k m.kinds;
    s text;
    tab text;
BEGIN
    SELECT * INTO k FROM m.kinds WHERE name = kind;
    FOREACH s IN ARRAY '{m,twin}'::text[] LOOP
        tab := s || '.' || kind;
        EXECUTE format('CREATE TABLE %s %s', tab, replace(k.definition, '@', tab));
        IF k.parts THEN
            EXECUTE format('CREATE TABLE %1$s_1 PARTITION OF %1$s FOR VALUES FROM (-100) TO (%2$s)', tab, k.keys / 2);
            EXECUTE format('CREATE TABLE %1$s_2 (parent_id int, id int NOT NULL)', tab);
            EXECUTE format('ALTER TABLE %1$s ATTACH PARTITION %1$s_2 FOR VALUES FROM (%2$s) TO (100)', tab, k.keys / 2);
        END IF;
        EXECUTE format('CREATE INDEX ON %s (parent_id)', tab);
    END LOOP;
    EXECUTE format('SELECT dbpatterns.closure_enable(%L, %L%s)', 'm.' || kind,
        CASE WHEN k.scope IS NULL THEN 'parent_id' ELSE format('{%s,parent_id}', k.scope) END,
        CASE WHEN k.options <> '' THEN ', ' || k.options END);
END $$;

CREATE FUNCTION m.below(n int) RETURNS int LANGUAGE sql VOLATILE AS $$ SELECT floor(random() * n)::int $$;

-- The literal of a key.
CREATE FUNCTION m.key(k m.kinds, i int) RETURNS text LANGUAGE sql AS $$
    SELECT CASE WHEN i IS NULL THEN 'NULL'
        WHEN k.type = 'text' THEN quote_literal(chr(64 + i) || repeat('x', i % 5))
        WHEN k.type = 'uuid' THEN quote_literal(md5(i::text)::uuid)
        ELSE i::text END || '::' || k.type $$;

-- Some key, or NULL in one case of so many.
CREATE FUNCTION m.some_key(k m.kinds, null_of int DEFAULT 0) RETURNS text LANGUAGE sql VOLATILE AS $$
    SELECT m.key(k, CASE WHEN null_of > 0 AND m.below(greatest(null_of, 1)) = 0 THEN NULL ELSE 1 + m.below(k.keys) END) $$;

CREATE FUNCTION m.some_rows(k m.kinds, n int) RETURNS text LANGUAGE sql VOLATILE AS $$
    SELECT string_agg('(' || CASE WHEN k.scope IS NOT NULL THEN m.below(2) || ', ' ELSE '' END
                      || m.key(k, i) || ', ' || m.some_key(k, 4) || ')', ', ' ORDER BY r)
      FROM (SELECT i, random() AS r FROM generate_series(1, k.keys) i ORDER BY r LIMIT n) x $$;

CREATE FUNCTION m.some_where(k m.kinds) RETURNS text LANGUAGE sql VOLATILE AS $$
    SELECT CASE m.below(3)
        WHEN 0 THEN 'id = ' || m.some_key(k)
        WHEN 1 THEN 'id IN (' || m.some_key(k) || ', ' || m.some_key(k) || ', ' || m.some_key(k) || ')'
        ELSE 'parent_id = ' || m.some_key(k) END
     || CASE WHEN k.scope IS NOT NULL AND m.below(3) > 0 THEN ' AND t = ' || m.below(2) ELSE '' END $$;

CREATE FUNCTION m.statement(kind text) RETURNS text LANGUAGE plpgsql VOLATILE AS $$
DECLARE
    k m.kinds;
    cols text;
    conflict text;
    tab text := '@';
    joined text;
    pairs text;
BEGIN
    SELECT * INTO k FROM m.kinds WHERE name = kind;
    cols := concat_ws(', ', k.scope, 'id', 'parent_id');
    conflict := CASE k.name WHEN 'loose' THEN 'id, t' WHEN 'tenant' THEN 't, id' ELSE 'id' END;
    joined := CASE WHEN k.scope IS NULL THEN 'n.id = s.id' ELSE 'n.t = s.t AND n.id = s.id' END;
    IF k.parts AND m.below(4) = 0 THEN
        tab := '@_' || 1 + m.below(2);
    END IF;
    CASE m.below(24)
        WHEN 0, 1, 2, 3 THEN
            RETURN format('INSERT INTO %s (%s) VALUES %s', tab, cols, m.some_rows(k, 1 + m.below(2)));
        WHEN 4, 5 THEN
            IF k.name = 'swap' OR tab <> '@' THEN
                RETURN format('INSERT INTO @ (%1$s) SELECT * FROM (VALUES %2$s) s (%1$s) WHERE NOT EXISTS (SELECT FROM @ n WHERE %3$s)',
                              cols, m.some_rows(k, 4), joined);
            END IF;
            RETURN format('INSERT INTO @ AS n (%s) VALUES %s ON CONFLICT (%s) DO NOTHING', cols, m.some_rows(k, 2 + m.below(5)), conflict);
        WHEN 6, 7 THEN
            IF k.name = 'swap' THEN
                RETURN format('UPDATE @ n SET id = s.b FROM (VALUES (%1$s, %2$s), (%2$s, %1$s)) s (a, b) WHERE n.id = s.a',
                              m.some_key(k), m.some_key(k));
            END IF;
            RETURN format('INSERT INTO @ AS n (%s) VALUES %s ON CONFLICT (%s) DO UPDATE SET parent_id = excluded.parent_id',
                          cols, m.some_rows(k, 1 + m.below(5)), conflict);
        WHEN 8, 9, 10 THEN
            RETURN format('UPDATE %s SET parent_id = %s WHERE %s', tab, m.some_key(k, 5), m.some_where(k));
        WHEN 11, 12, 13, 14 THEN
            SELECT string_agg(format('(%s, %s)', m.key(k, i), m.some_key(k, 5)), ', ' ORDER BY r) INTO pairs
              FROM (SELECT i, random() AS r FROM generate_series(1, k.keys) i ORDER BY r LIMIT 2 + m.below(5)) x;
            RETURN format('UPDATE %s n SET parent_id = s.p FROM (VALUES %s) s (k, p) WHERE n.id = s.k', tab, pairs);
        WHEN 15 THEN
            RETURN format('UPDATE @ n SET parent_id = o.id FROM @ o WHERE o.parent_id = n.id AND n.id = %s%s', m.some_key(k),
                          CASE WHEN k.scope IS NULL THEN '' ELSE ' AND o.t = n.t' END);
        WHEN 16 THEN
            RETURN format('UPDATE %s SET id = %s WHERE id = %s%s', tab, m.some_key(k), m.some_key(k),
                          CASE WHEN k.scope IS NULL THEN '' ELSE ' AND t = ' || m.below(2) END);
        WHEN 17 THEN
            IF k.scope IS NOT NULL THEN
                RETURN format('UPDATE @ SET t = %s WHERE %s', m.below(2), m.some_where(k));
            END IF;
            RETURN format('UPDATE @ SET id = %s, parent_id = %s WHERE id = %s', m.some_key(k), m.some_key(k, 3), m.some_key(k));
        WHEN 18, 19 THEN
            RETURN format('DELETE FROM %s WHERE %s', tab, m.some_where(k));
        WHEN 20 THEN
            RETURN format('MERGE INTO @ n USING (VALUES %1$s) s (%2$s) ON %3$s
                WHEN MATCHED AND s.parent_id IS NULL THEN DELETE
                WHEN MATCHED THEN UPDATE SET parent_id = s.parent_id
                WHEN NOT MATCHED THEN INSERT (%2$s) VALUES (%4$s)', m.some_rows(k, 1 + m.below(5)), cols, joined,
                          concat_ws(', ', 's.' || k.scope, 's.id', 's.parent_id'));
        WHEN 21 THEN
            RETURN format('WITH x AS (DELETE FROM @ WHERE id = %s RETURNING *) INSERT INTO @ (%s) SELECT %s FROM x',
                          m.some_key(k), cols, concat_ws(', ', k.scope, m.some_key(k), m.some_key(k, 3)));
        WHEN 22 THEN
            RETURN format('WITH x AS (INSERT INTO @ (%s) VALUES %s RETURNING *), y AS (DELETE FROM @ WHERE id = %s)
                UPDATE @ n SET parent_id = x.id FROM x WHERE n.id = %s%s', cols, m.some_rows(k, 1), m.some_key(k), m.some_key(k),
                          CASE WHEN k.scope IS NULL THEN '' ELSE ' AND n.t = x.t' END);
        ELSE
            RETURN CASE WHEN m.below(12) = 0 THEN format('TRUNCATE %s', CASE WHEN k.name = 'part' THEN tab ELSE '@' END)
                ELSE format('UPDATE %s SET parent_id = parent_id', tab) END;
    END CASE;
END $$;

-- The pairs that are wrong, and 'cycle' if the table has one.
CREATE FUNCTION m.wrong(kind text, tab text, closure text DEFAULT NULL) RETURNS SETOF text LANGUAGE plpgsql AS $$
DECLARE
    s text := (SELECT scope FROM m.kinds WHERE name = kind);
BEGIN
    RETURN QUERY EXECUTE format($q$
        WITH RECURSIVE walk AS (
            SELECT %1$s AS t, id AS a, id AS d, 0 AS depth FROM %2$s
            UNION ALL SELECT w.t, w.a, n.id, w.depth + 1 FROM walk w JOIN %2$s n ON n.parent_id = w.d AND %3$s = w.t
             WHERE w.depth <= 40 AND (w.a <> w.d OR w.depth = 0)),
        found AS (SELECT %3$s AS t, ancestor AS a, descendant AS d, depth FROM %4$s)
        SELECT 'cycle' WHERE EXISTS (SELECT FROM walk WHERE a = d AND depth > 0)
        UNION ALL SELECT 'missing ' || x::text FROM (TABLE walk EXCEPT ALL TABLE found) x WHERE %5$L
        UNION ALL SELECT 'extra ' || x::text FROM (TABLE found EXCEPT ALL TABLE walk) x WHERE %5$L$q$,
        coalesce(s, '0'), tab, CASE WHEN s IS NULL THEN '0' ELSE 'n.' || s END,
        CASE WHEN closure IS NULL THEN format('(SELECT %s, id AS ancestor, id AS descendant, 0 AS depth FROM %s) n',
                                              concat_ws(', ', s, '1'), tab)
             ELSE closure || ' n' END,
        closure IS NOT NULL);
END $$;

CREATE TABLE m.failure (n serial, kind text, what text, statement text);
CREATE TABLE m.tally (kind text, outcome text);

CREATE FUNCTION m.fail(kind text, what text, statement text) RETURNS void LANGUAGE sql AS $$
    INSERT INTO m.failure (kind, what, statement) VALUES (kind, what, statement) $$;

-- One statement on both tables; the oracle.
CREATE FUNCTION m.step(kind text, INOUT outcome text, OUT problem text) LANGUAGE plpgsql AS $$
DECLARE
    statement text := outcome;
    tab text := 'm.' || kind;
    other text := 'twin.' || kind;
    why text;
    refused boolean;
BEGIN
    BEGIN
        BEGIN
            EXECUTE replace(statement, '@', other);
            outcome := 'ok';
        EXCEPTION WHEN OTHERS THEN
            outcome := sqlstate;
        END;
        IF outcome = 'ok' AND EXISTS (SELECT FROM m.wrong(kind, other) w WHERE w = 'cycle') THEN
            outcome := 'cycle';
        END IF;
        refused := false;
        BEGIN
            EXECUTE replace(statement, '@', tab);
        EXCEPTION WHEN OTHERS THEN
            refused := true;
            why := concat(sqlstate, ' ', sqlerrm);
        END;
        IF outcome = 'ok' AND refused THEN
            problem := 'refused: ' || why;
        ELSIF outcome = 'cycle' AND NOT refused THEN
            problem := 'a cycle is accepted';
        ELSIF outcome = 'cycle' AND why NOT LIKE '23514 %' THEN
            problem := 'a cycle is refused so: ' || why;
        ELSIF outcome NOT IN ('ok', 'cycle') AND NOT refused THEN
            problem := 'accepted, the other one with ' || outcome;
        ELSIF outcome NOT IN ('ok', 'cycle') AND why NOT LIKE outcome || ' %' AND why NOT LIKE '23514 %' THEN
            problem := format('refused so: %s, the other one with %s', why, outcome);
        END IF;
        -- The twin is as before where the table is.
        IF outcome = 'cycle' OR problem IS NOT NULL THEN
            RAISE 'undo';
        END IF;
    EXCEPTION WHEN raise_exception THEN NULL;
    END;
    IF problem IS NULL THEN
        problem := (SELECT string_agg(w, '; ') FROM (SELECT w FROM m.wrong(kind, tab, tab || '_closure') w LIMIT 6) x);
    END IF;
END $$;

CREATE FUNCTION m.same_rows(kind text) RETURNS boolean LANGUAGE plpgsql AS $$
DECLARE
    same boolean;
BEGIN
    EXECUTE format('SELECT (SELECT string_agg(x::text, '' '' ORDER BY x) FROM (SELECT %1$s FROM m.%2$s) x)
        IS NOT DISTINCT FROM (SELECT string_agg(x::text, '' '' ORDER BY x) FROM (SELECT %1$s FROM twin.%2$s) x)',
        concat_ws(', ', (SELECT scope FROM m.kinds WHERE name = kind), 'id', 'parent_id'), kind) INTO same;
    RETURN same;
END $$;

-- Groups of statements, each group in a transaction of its own, some with
-- parts that are rolled back.  Ends at the first failure.
CREATE PROCEDURE m.play(kind text, groups int) LANGUAGE plpgsql AS $$
DECLARE
    script text;
    statement text;
    problem text;
    outcome text;
    outcomes text[];
BEGIN
    FOR i IN 1..groups LOOP
        script := '';
        problem := NULL;
        outcomes := '{}';
        BEGIN
            FOR j IN 0..m.below(5) LOOP
                BEGIN
                    FOR l IN 0..m.below(3) LOOP
                        statement := m.statement(kind);
                        SELECT * INTO outcome, problem FROM m.step(kind, statement);
                        script := concat(script, statement, '; -- ', outcome, E'\n');
                        outcomes := outcomes || outcome;
                        EXIT WHEN problem IS NOT NULL;
                    END LOOP;
                    IF problem IS NULL AND m.below(5) = 0 THEN
                        script := script || E'ROLLBACK TO s; -- that inner part\n';
                        RAISE 'back';
                    END IF;
                EXCEPTION WHEN raise_exception THEN NULL;
                END;
                EXIT WHEN problem IS NOT NULL;
                problem := (SELECT string_agg(w, '; ') FROM (SELECT w FROM m.wrong(kind, 'm.' || kind, 'm.' || kind || '_closure') w LIMIT 6) x);
                EXIT WHEN problem IS NOT NULL;
            END LOOP;
            IF problem IS NULL THEN
                SET CONSTRAINTS ALL IMMEDIATE;
                problem := (SELECT string_agg(w, '; ') FROM (SELECT w FROM m.wrong(kind, 'm.' || kind, 'm.' || kind || '_closure') w LIMIT 6) x);
            END IF;
        EXCEPTION WHEN foreign_key_violation OR unique_violation THEN
            script := concat(script, '-- deferred: ', sqlstate, E'; all of it rolled back\n');
        END;
        INSERT INTO m.tally SELECT kind, o FROM unnest(outcomes) o;
        problem := coalesce(problem, (SELECT string_agg(w, '; ') FROM (SELECT w FROM m.wrong(kind, 'm.' || kind, 'm.' || kind || '_closure') w LIMIT 6) x));
        IF problem IS NULL AND NOT m.same_rows(kind) THEN
            problem := 'the rows of the two tables differ';
        END IF;
        IF problem IS NOT NULL THEN
            PERFORM m.fail(kind, problem, script);
            COMMIT;
            RETURN;
        END IF;
        COMMIT;
    END LOOP;
END $$;
