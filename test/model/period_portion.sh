#!/usr/bin/env bash
#
# period_portion.sh: do edits of portions leave on each day what they should?
#
# First one session edits portions at random, by functions and by the view, of a
# table with a range and of one with two columns, with neighbours, gaps and
# open ends, and keeps for each key and day what has to hold then.  After each
# edit the days are compared, as is the number of rows that it says it changed.
#
# Then several sessions edit the same keys at once, at several isolation levels.
# Each sets a column of its own, so that the last of its edits that covers a day
# says what the column has to be, whatever the others did; what was removed has to
# be gone, and what was there at first or was upserted has to be there.  No
# session may see another error than 40001, and deadlocks only where one edits
# several keys at once, which is so in every second round.
#
# DBP_SEED repeats a run (what the sessions do, not how they interleave).
# STEPS, SESSIONS, ROUNDS and EDITS set the size.  The server is found by the
# environment, the database has to be empty.  Ends with `N passed, N failed`.

set -euo pipefail
# shellcheck source-path=SCRIPTDIR source=../setup/model.sh
. "$(dirname "${BASH_SOURCE[0]}")/../setup/model.sh"

STEPS=${STEPS:-600}
SESSIONS=${SESSIONS:-4}
ROUNDS=${ROUNDS:-3}
EDITS=${EDITS:-60}
echo "DBP_SEED=$SEED STEPS=$STEPS SESSIONS=$SESSIONS ROUNDS=$ROUNDS EDITS=$EDITS"

sql >/dev/null <<'SQL'
SET client_min_messages = warning;
CREATE EXTENSION btree_gist;
CREATE EXTENSION dbpatterns;

-- ---- one session: days 0 to 60; beyond them is like the first or the last day

CREATE TABLE r (k int, p daterange, v int, id serial PRIMARY KEY, note text DEFAULT 'n');
CREATE TABLE c (k int, b date, e date, v int, note text DEFAULT 'n');
SELECT dbpatterns.period_enable('r', '{k}', 'p');
SELECT dbpatterns.period_enable('c', '{k}', from_column => 'b', to_column => 'e');
SELECT dbpatterns.portion_view_enable(t) FROM unnest('{r,c}'::regclass[]) t;
CREATE TABLE model (k int, d int, v int, PRIMARY KEY (k, d));

CREATE FUNCTION day(int) RETURNS date IMMUTABLE LANGUAGE sql AS
    $$ SELECT CASE WHEN $1 <= 0 OR $1 >= 60 THEN NULL ELSE date '2025-01-01' + $1 END $$;

CREATE FUNCTION differences(t regclass) RETURNS SETOF text LANGUAGE plpgsql AS $$
BEGIN
    RETURN QUERY EXECUTE format('WITH rows AS (SELECT k, v, %s AS p FROM %s), '
        'days AS (SELECT r.k, d, r.v FROM rows r JOIN generate_series(0, 60) d ON r.p @> (date ''2025-01-01'' + d)) '
        'SELECT format(''key %%s day %%s is %%s, not %%s'', k, d, coalesce(a.v::text, ''gone''), coalesce(m.v::text, ''gone'')) '
        'FROM days a FULL JOIN model m USING (k, d) WHERE a.v IS DISTINCT FROM m.v LIMIT 3',
        CASE t::text WHEN 'r' THEN 'p' ELSE 'daterange(b, e)' END, t);
    RETURN QUERY EXECUTE format('SELECT format(''%%s overlap'', count(*)) FROM %1$s a JOIN %1$s b ON a.k = b.k AND a.ctid <> b.ctid AND %2$s HAVING count(*) > 0',
        t, CASE t::text WHEN 'r' THEN 'a.p && b.p' ELSE 'daterange(a.b, a.e) && daterange(b.b, b.e)' END);
END $$;

CREATE FUNCTION step(verb int, key int, s int, e int, value int) RETURNS SETOF text LANGUAGE plpgsql AS $$
DECLARE
    portion daterange := daterange(day(s), day(e));
    cond text := CASE WHEN key = 0 THEN 'true' ELSE format('k = %s', key) END;
    which jsonb := CASE WHEN key = 0 THEN '{}' ELSE jsonb_build_object('k', key) END;
    expected bigint[];
    got bigint[];
    t regclass;
    n bigint;
BEGIN
    -- How many rows are to be changed, counted in the rows themselves.
    FOREACH t IN ARRAY '{r,c}'::regclass[] LOOP
        EXECUTE format('SELECT count(*) FROM %s WHERE %s && $1 AND %s AND ($2 IN (1, 4) OR v IS DISTINCT FROM $3)', t,
            CASE t::text WHEN 'r' THEN 'p' ELSE 'daterange(b, e)' END, cond) INTO n USING portion, verb, value;
        IF verb = 2 THEN
            EXECUTE format('SELECT $1 + count(*) FROM unnest(datemultirange($2) - coalesce((SELECT range_agg(%s) FROM %s WHERE %s), ''{}''))',
                CASE t::text WHEN 'r' THEN 'p' ELSE 'daterange(b, e)' END, t, cond) INTO n USING n, portion;
        END IF;
        expected := expected || n;
    END LOOP;
    FOREACH t IN ARRAY '{r,c}'::regclass[] LOOP
        IF verb = 0 THEN
            n := dbpatterns.portion_update(t, which, portion, jsonb_build_object('v', value));
        ELSIF verb = 1 THEN
            n := dbpatterns.portion_delete(t, which, portion);
        ELSIF verb = 2 THEN
            n := dbpatterns.portion_upsert(t, which || jsonb_build_object('v', value), portion);
        ELSIF verb = 3 THEN
            EXECUTE format('UPDATE %s__portion SET v = %s, %s WHERE %s AND v IS DISTINCT FROM %s', t, value,
                CASE t::text WHEN 'r' THEN format('p = %L', portion) ELSE format('b = %L, e = %L', day(s), day(e)) END, cond, value);
            GET DIAGNOSTICS n = ROW_COUNT;
        ELSE
            PERFORM set_config('dbpatterns.portion', portion::text, true);
            EXECUTE format('DELETE FROM %s__portion WHERE %s', t, cond);
            GET DIAGNOSTICS n = ROW_COUNT;
        END IF;
        got := got || n;
    END LOOP;
    IF verb IN (0, 3) THEN
        EXECUTE format('UPDATE model SET v = $1 WHERE d >= $2 AND d < $3 AND %s', cond) USING value, s, CASE WHEN e >= 60 THEN 61 ELSE e END;
    ELSIF verb IN (1, 4) THEN
        EXECUTE format('DELETE FROM model WHERE d >= $1 AND d < $2 AND %s', cond) USING s, CASE WHEN e >= 60 THEN 61 ELSE e END;
    ELSE
        INSERT INTO model SELECT key, d, value FROM generate_series(s, CASE WHEN e >= 60 THEN 60 ELSE e - 1 END) d
            ON CONFLICT (k, d) DO UPDATE SET v = excluded.v;
    END IF;
    IF got <> expected THEN
        RETURN NEXT format('changed %s rows, not %s', got, expected);
    END IF;
    RETURN QUERY SELECT 'r: ' || differences('r') UNION ALL SELECT 'c: ' || differences('c');
END $$;

-- ---- several sessions: keys 1 and 2 only have updates, 3 and 4 deletes, too, 5 and 6
-- only upserts

CREATE TABLE shared (g int, k int, p daterange, s1 int, s2 int, s3 int, s4 int, s5 int, s6 int, s7 int, s8 int);
SELECT dbpatterns.period_enable('shared', '{g,k}', 'p');
CREATE TABLE did (n bigserial, session int, keys int[], p daterange, verb text, value int);

CREATE FUNCTION shared_differences() RETURNS SETOF text LANGUAGE sql AS $$
WITH days AS (
    SELECT s.k, d::date AS d, to_jsonb(s) AS row
      FROM shared s JOIN generate_series(date '2025-01-01', '2025-02-28', '1 day') d ON s.p @> d::date
), wanted AS (
    SELECT k, d::date AS d FROM generate_series(1, 6) k, generate_series(date '2025-01-01', '2025-02-28', '1 day') d
     WHERE k < 5 AND NOT EXISTS (SELECT FROM did WHERE verb = 'delete' AND k = ANY (keys) AND p @> d::date)
        OR k >= 5 AND EXISTS (SELECT FROM did WHERE verb = 'upsert' AND k = ANY (keys) AND p @> d::date)
)
SELECT format('key %s day %s: %s', k, d, CASE WHEN a.d IS NULL THEN 'lost' ELSE 'too much' END)
  FROM days a FULL JOIN wanted w USING (k, d) WHERE a.row IS NULL OR w.k IS NULL
UNION ALL
SELECT format('key %s day %s session %s: %s, not %s', k, d, s, row ->> ('s' || s), value)
  FROM days JOIN wanted USING (k, d), generate_series(1, 8) s
  LEFT JOIN LATERAL (SELECT value FROM did WHERE session = s AND k = ANY (keys) AND p @> d AND verb <> 'delete' ORDER BY n DESC LIMIT 1) l ON true
 WHERE row ->> ('s' || s) IS DISTINCT FROM value::text
UNION ALL
SELECT format('key %s has rows that overlap', a.k) FROM shared a JOIN shared b ON a.k = b.k AND a.p && b.p AND a.ctid <> b.ctid
$$;
SQL

# ---- one session -------------------------------------------------------------

awk -v seed="$SEED" -v steps="$STEPS" '
	function r(n) { return int(rand() * n) }
	BEGIN {
		srand(seed)
		for (i = 1; i <= steps; i++) {
			verb = r(5)
			if (i < 20) verb = 2
			s = r(8) ? r(60) : 0
			e = r(8) ? s + 1 + r(r(2) ? 6 : 30) : 61
			key = r(6) || verb == 2 ? 1 + r(3) : 0
			printf "SELECT \047step %d (%d, %d, %d, %d): \047 || d FROM step(%d, %d, %d, %d, %d) d LIMIT 3;\n", i, verb, key, s, e, verb, key, s, e, r(7)
		}
	}' >"$scratch/one.sql"
check "one edit after the other" "$(ask -f "$scratch/one.sql" | head -5)"
check "there is something left to compare" "$(sql -c "SELECT 'too few' FROM r_id_seq WHERE last_value < $STEPS / 3")"

# ---- several sessions ----------------------------------------------------------

for round in $(seq "$ROUNDS"); do
	sql -c "TRUNCATE did, shared" -c "INSERT INTO shared SELECT (k + 1) / 2, k, daterange(d::date, (d + interval '10 days')::date)
		FROM generate_series(1, 4) k, generate_series(date '2025-01-01', '2025-02-28', '10 days') d"
	sql -c "DELETE FROM shared WHERE upper(p) > '2025-03-01'" \
		-c "INSERT INTO shared SELECT (k + 1) / 2, k, '[2025-02-20,2025-03-01)' FROM generate_series(1, 4) k"
	for session in $(seq "$SESSIONS"); do
		awk -v seed=$((SEED + round * 100 + session)) -v session="$session" -v edits="$EDITS" -v several=$((round % 2)) '
			function r(n) { return int(rand() * n) }
			BEGIN {
				srand(seed)
				for (i = 1; i <= edits; i++) {
					s = r(58); e = s + 1 + r(r(3) ? 8 : 40); if (e > 59) e = 59
					p = sprintf("daterange(date \0472025-01-01\047 + %d, date \0472025-01-01\047 + %d)", s, e)
					group = r(3)
					key = 1 + group * 2 + r(2)
					verb = group == 2 ? "upsert" : group == 1 && r(4) == 0 && e - s < 8 ? "delete" : "update"
					all = verb == "update" && r(5) == 0 && several == 0
					print "BEGIN ISOLATION LEVEL " (r(4) ? "READ COMMITTED;" : r(2) ? "REPEATABLE READ;" : "SERIALIZABLE;")
					if (verb == "update")
						printf "SELECT dbpatterns.portion_update(\047shared\047, \047%s\047, %s, \047{\"s%d\": %d}\047);\n",
							all ? "{\"g\": " group + 1 "}" : "{\"g\": " group + 1 ", \"k\": " key "}", p, session, i
					else if (verb == "delete")
						printf "SELECT dbpatterns.portion_delete(\047shared\047, \047{\"g\": %d, \"k\": %d}\047, %s);\n", group + 1, key, p
					else
						printf "SELECT dbpatterns.portion_upsert(\047shared\047, \047{\"g\": 3, \"k\": %d, \"s%d\": %d}\047, %s);\n", key, session, i, p
					printf "INSERT INTO did (session, keys, p, verb, value) VALUES (%d, \047{%s}\047, %s, \047%s\047, %d);\n",
						session, all ? group * 2 + 1 "," group * 2 + 2 : key, p, verb, i
					if (r(4) == 0) printf "SELECT pg_sleep(0.00%d);\n", r(9)
					print r(8) ? "COMMIT;" : "ROLLBACK;"
				}
			}' >"$scratch/$session.sql"
		psql -X -q -v VERBOSITY=verbose -f "$scratch/$session.sql" >"$scratch/$session.log" 2>&1 &
	done
	wait
	check "errors of round $round" "$(cat "$scratch"/[0-9]*.log | grep -E 'ERROR|FATAL|PANIC|closed' |
		grep -vE "ERROR:  (40001|25P02$([ $((round % 2)) = 1 ] || echo '|40P01')):" | sort | uniq -c || true)"
	check "round $round of $SESSIONS sessions" "$(ask -c "SELECT * FROM shared_differences() LIMIT 5")"
done
check "the sessions did something" "$(sql -c "SELECT 'too little' FROM did HAVING count(*) < $EDITS")"

echo "$passed passed, $failed failed"
[ "$failed" = 0 ]
