#!/usr/bin/env bash
#
# hierarchy_graph.sh: is the closure of a graph exact, whatever its edges do?
#
# First one session changes tables of edges at random: many edges in one
# statement, re-pointing, duplicates, NULL, MERGE, savepoints, TRUNCATE, and
# statements that a trigger runs inside others.  Each statement is first tried
# on a copy without a closure.  If that has a cycle afterwards, the statement
# must be refused; if not, it must pass, and the closure must then be what a
# recursive query says of the edges.  A larger graph gets statements that
# change thousands of edges.  Then several sessions change one graph at once,
# at all isolation levels, and the closure is compared after each round.
#
# DBP_SEED repeats a run (what the sessions do, not how they interleave).
# STEPS, SESSIONS, ROUNDS and TRANSACTIONS set the size.  The server is found
# by the environment, the database has to be empty.  Ends with `N passed, N
# failed`.

set -euo pipefail
# shellcheck source-path=SCRIPTDIR source=../setup/model.sh
. "$(dirname "${BASH_SOURCE[0]}")/../setup/model.sh"

STEPS=${STEPS:-400}
SESSIONS=${SESSIONS:-4}
ROUNDS=${ROUNDS:-4}
TRANSACTIONS=${TRANSACTIONS:-25}
echo "DBP_SEED=$SEED STEPS=$STEPS SESSIONS=$SESSIONS ROUNDS=$ROUNDS TRANSACTIONS=$TRANSACTIONS"

# statements SEED COUNT NODES: print random statements, one a line; %1$I stands
# for the table.
statements()
{
	awk -v seed="$1" -v count="$2" -v nodes="$3" '
		function r(n) { return int(rand() * n) }
		function node() { return r(40) == 0 ? "NULL::int" : 1 + r(nodes) }
		# Mostly from the lower to the higher node, so that cycles are rare.
		function edge(  a, b, c) {
			a = node(); b = node()
			if (a != "NULL::int" && b != "NULL::int" && a > b && r(8) > 0) { c = a; a = b; b = c }
			return a ", " b
		}
		function edges(  list, n) {
			list = "(" edge() ")"
			for (n = r(5); n > 0; n--)
				list = list ", (" edge() ")"
			return list
		}
		# For a note, which is still a format when it is run.
		function inner(  n) {
			n = r(5)
			if (n == 0) return "DELETE FROM %%1$I WHERE a = " node()
			if (n == 1) return "UPDATE %%1$I SET b = " 1 + r(nodes) " WHERE a = " node()
			if (n == 2) return "INSERT INTO %%1$I (a, b) VALUES " edges()
			if (n == 3) return "DELETE FROM %%1$I WHERE b = " node()
			return "UPDATE %%1$I SET a = b, b = a WHERE a = " node()
		}
		function statement(  n, k) {
			n = r(16)
			if (n < 5) return "INSERT INTO %1$I (a, b) VALUES " edges()
			if (n == 5) return "DELETE FROM %1$I WHERE a = " node()
			if (n == 6) return "DELETE FROM %1$I WHERE b = " node()
			if (n == 7) return "DELETE FROM %1$I WHERE (a, b) IN (VALUES " edges() ")"
			if (n == 8) return "UPDATE %1$I SET b = " 1 + r(nodes) " WHERE a = " node()
			if (n == 9) return "UPDATE %1$I SET a = b, b = a WHERE a = " node()
			if (n == 10) return "UPDATE %1$I SET a = (a + " r(3) ") %% " nodes ", b = (b + " r(3) ") %% " nodes " WHERE b %% 3 = " r(3)
			if (n == 11) return "MERGE INTO %1$I e USING (SELECT DISTINCT ON (a) a, b FROM (VALUES " edges() ") v (a, b) ORDER BY a, b) v ON e.a = v.a AND v.b %% 2 = 0 WHEN MATCHED AND v.b %% 4 = 0 THEN DELETE WHEN MATCHED THEN UPDATE SET note = null, b = e.b %% " nodes " + 1 WHEN NOT MATCHED THEN INSERT (a, b) VALUES (v.a, v.b)"
			if (n == 12) return "WITH gone AS (DELETE FROM %1$I WHERE a = " node() " RETURNING a, b) INSERT INTO %1$I (a, b) SELECT DISTINCT b, a FROM gone"
			if (n == 13) return "WITH new AS (INSERT INTO %1$I (a, b) VALUES " edges() ") DELETE FROM %1$I WHERE b = " node()
			if (n == 14) return "INSERT INTO %1$I (a, b, note) SELECT a, b, CASE WHEN n = 1 THEN " (r(2) ? "\047a " : "\047z ") inner() "\047 END FROM (VALUES " edges() ") v (a, b), generate_series(1, 2) n"
			k = r(6)
			if (k == 0) return r(4) ? "UPDATE %1$I SET note = \047-\047" : "TRUNCATE %1$I"
			return "UPDATE %1$I SET b = b %% " nodes " + 1, note = " (r(2) ? "\047a " : "\047z ") inner() "\047 WHERE a = " node()
		}
		BEGIN {
			srand(seed)
			for (i = 0; i < count; i++)
				print statement()
		}'
}

sql >/dev/null <<'SQL'
SET client_min_messages = warning;
CREATE EXTENSION IF NOT EXISTS dbpatterns;

CREATE FUNCTION note_cycle(edges text) RETURNS void LANGUAGE plpgsql AS $$
BEGIN
	IF has_cycle(edges) THEN
		PERFORM set_config('model.passing', 'on', false);
	END IF;
END $$;

-- A row that says so makes its trigger run a statement on its own table; in the
-- order of names, before or after the triggers of the closure.
CREATE FUNCTION run_note() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
	IF pg_trigger_depth() = 1 AND left(NEW.note, 2) = TG_ARGV[0] THEN
		IF TG_TABLE_NAME LIKE '%copy' THEN
			PERFORM note_cycle(TG_TABLE_NAME),
				set_config('model.inside', (current_setting('model.inside')::int + 1)::text, false);
		END IF;
		EXECUTE format(substr(NEW.note, 3), TG_TABLE_NAME);
		IF TG_TABLE_NAME LIKE '%copy' THEN
			PERFORM note_cycle(TG_TABLE_NAME);
		END IF;
	END IF;
	RETURN NULL;
END $$;

CREATE FUNCTION nest(edges text) RETURNS void LANGUAGE plpgsql AS $$
BEGIN
	EXECUTE format('CREATE TRIGGER a_nested AFTER INSERT OR UPDATE ON %I FOR EACH ROW EXECUTE FUNCTION run_note(''a '')', edges);
	EXECUTE format('CREATE TRIGGER z_nested AFTER INSERT OR UPDATE ON %I FOR EACH ROW EXECUTE FUNCTION run_note(''z '')', edges);
END $$;

-- Does what the edges say have a cycle?
CREATE FUNCTION has_cycle(edges text) RETURNS boolean LANGUAGE plpgsql AS $$
DECLARE result boolean;
BEGIN
	EXECUTE format('WITH RECURSIVE w (s, t) AS (SELECT a, b FROM %1$I WHERE a IS NOT NULL AND b IS NOT NULL
		UNION SELECT s, b FROM w JOIN %1$I ON a = t WHERE b IS NOT NULL)
		SELECT EXISTS (SELECT FROM w WHERE s = t)', edges) INTO result;
	RETURN result;
END $$;

-- Where the closure is not what the edges say.
CREATE FUNCTION differences(edges text) RETURNS SETOF text LANGUAGE plpgsql AS $$
BEGIN
	RETURN QUERY EXECUTE format('WITH RECURSIVE edge AS (SELECT DISTINCT a, b FROM %1$I WHERE a IS NOT NULL AND b IS NOT NULL),
		w (s, t, d) AS (
			SELECT DISTINCT n, n, 0 FROM edge, unnest(ARRAY[a, b]) n
			UNION SELECT s, b, d + 1 FROM w JOIN edge ON a = t),
		wanted AS (SELECT s, t, min(d) AS d FROM w GROUP BY s, t)
		(SELECT format(''missing: %%s %%s %%s'', s, t, d) FROM (TABLE wanted EXCEPT ALL TABLE %2$I) x)
		UNION ALL
		(SELECT format(''wrong: %%s %%s %%s'', ancestor, descendant, depth)
		 FROM (TABLE %2$I EXCEPT ALL TABLE wanted) x)', edges, edges || '_closure');
END $$;

CREATE FUNCTION same_edges(edges text, copy text) RETURNS boolean LANGUAGE plpgsql AS $$
DECLARE result boolean;
BEGIN
	EXECUTE format('SELECT NOT EXISTS (TABLE %1$I EXCEPT ALL TABLE %2$I) AND NOT EXISTS (TABLE %2$I EXCEPT ALL TABLE %1$I)',
		edges, copy) INTO result;
	RETURN result;
END $$;

-- One statement, on the copy and on the table: what is wrong afterwards.  One
-- that has a cycle while it runs may pass or not, and is left out.
CREATE FUNCTION step(edges text, statement text) RETURNS SETOF text LANGUAGE plpgsql AS $$
DECLARE
	copy text := edges || '_copy';
	allowed boolean;
	other text;
	error text := '';
BEGIN
	PERFORM set_config('model.passing', 'off', false), set_config('model.inside', '0', false);
	BEGIN
		EXECUTE format(statement, copy);
		IF current_setting('model.passing') = 'on' THEN
			RAISE 'undo' USING ERRCODE = 'UUUUU';
		END IF;
		allowed := NOT has_cycle(copy);
		IF NOT allowed THEN
			RAISE 'undo' USING ERRCODE = 'UUUUU';
		END IF;
	EXCEPTION
		WHEN SQLSTATE 'UUUUU' THEN
			NULL;
		WHEN OTHERS THEN
			other := SQLSTATE;
	END;
	IF allowed IS NULL AND other IS NULL THEN
		RETURN;
	END IF;
	BEGIN
		EXECUTE format(statement, edges);
	EXCEPTION WHEN OTHERS THEN
		error := SQLSTATE || ' ' || SQLERRM;
	END;
	-- What statements inside others do can depend on the order of rows, and so can
	-- whether there is a cycle between two of them.
	IF current_setting('model.inside')::int > 1 AND
		(error = '' AND NOT (allowed AND same_edges(edges, copy)) AND NOT has_cycle(edges) OR
		 error LIKE '23514%' AND allowed) THEN
		RETURN QUERY SELECT differences(edges);
		EXECUTE format('ALTER TABLE %I DISABLE TRIGGER USER', copy);
		EXECUTE format('TRUNCATE %I', copy);
		EXECUTE format('INSERT INTO %I TABLE %I', copy, edges);
		EXECUTE format('ALTER TABLE %I ENABLE TRIGGER USER', copy);
		RETURN;
	END IF;
	IF left(error, 5) <> coalesce(other, CASE WHEN allowed THEN '' ELSE '23514' END) THEN
		RETURN NEXT format('%s, but: %s', coalesce(other, CASE WHEN allowed THEN 'no cycle' ELSE 'a cycle' END), error);
	END IF;
	RETURN QUERY SELECT differences(edges);
	IF NOT same_edges(edges, copy) THEN
		RETURN NEXT 'the table and its copy differ';
	END IF;
	IF NOT allowed THEN
		INSERT INTO refused VALUES (statement);
	END IF;
END $$;

CREATE TABLE refused (statement text);
CREATE TABLE small (a int, b int, note text);
CREATE TABLE texts (a text, b text, note text);
CREATE TABLE large (a int, b int, PRIMARY KEY (a, b));
CREATE TABLE shared (a int, b int, note text);
SELECT nest('small');
CREATE TABLE small_copy (LIKE small);
SELECT nest('small_copy');
CREATE TABLE large_copy (LIKE large);
SELECT count(dbpatterns.closure_enable_graph(t, 'a', 'b')) FROM unnest('{small,large,shared}'::regclass[]) t;
SQL

# ---- one session -------------------------------------------------------------

# Few nodes, so that most pairs are reached on several paths.
{
	echo "\\set ON_ERROR_STOP 0"
	statements "$SEED" "$STEPS" 9 | while read -r line; do
		printf "SELECT format('%%s\n  after %%s', d, \$s\$%s\$s\$) FROM step('small', \$s\$%s\$s\$) d LIMIT 3;\n" "$line" "$line"
	done
} >"$scratch/small.sql"
ask -f "$scratch/small.sql" >"$scratch/small.log"
check "one statement after the other" "$(cat "$scratch/small.log")"
check "some statements were refused, most were not" "$(sql -c \
	"SELECT count(*) FROM refused HAVING count(*) NOT BETWEEN 1 AND $STEPS / 2")"

# The same in transactions with savepoints, at two isolation levels.
{
	statements $((SEED + 1)) "$STEPS" 12 | awk -v seed="$SEED" '
		function r(n) { return int(rand() * n) }
		BEGIN { srand(seed); print "\\set ON_ERROR_STOP 0"; print "\\set ON_ERROR_ROLLBACK on" }
		{
			gsub(/%+1\$I/, "small"); gsub(/%%/, "%")
			if (NR % 8 == 1) print r(2) ? "BEGIN;" : "BEGIN ISOLATION LEVEL REPEATABLE READ;"
			if (r(3) == 0) { print "SAVEPOINT s;"; inside = 1 }
			print $0 ";"
			if (inside && r(2)) { print r(2) ? "ROLLBACK TO s;" : "RELEASE s;"; inside = 0 }
			if (NR % 8 == 0) {
				print r(5) ? "COMMIT;" : "ROLLBACK;"
				print "SELECT differences(\047small\047) LIMIT 3;"
				inside = 0
			}
		}
		END { print "COMMIT;" }'
} >"$scratch/savepoint.sql"
sql -f "$scratch/savepoint.sql" >"$scratch/savepoint.out" 2>"$scratch/savepoint.err" || true
check "transactions with savepoints" "$(cat "$scratch/savepoint.out")"
check "errors in them" "$(grep ERROR "$scratch/savepoint.err" | grep -v 'below itself' || true)"

# A larger graph of five layers; statements with many edges.
{
	echo "\\set ON_ERROR_STOP 0"
	awk -v seed="$SEED" '
		function r(n) { return int(rand() * n) }
		BEGIN {
			srand(seed)
			for (i = 0; i < 14; i++) {
				n = i < 2 ? 0 : r(8)
				# From each node to two of the next layer, or of the one behind it.
				if (n < 2)
					s = "INSERT INTO %1$I SELECT DISTINCT l * 1000 + i, (l + 1 + ((i + n) %% 9 = 0)::int) * 1000 + (i * " 1 + r(97) " + n * 31) %% 400 FROM generate_series(0, 3) l, generate_series(0, 399) i, generate_series(1, 2) n ON CONFLICT DO NOTHING"
				else if (n == 2) s = "DELETE FROM %1$I WHERE (a * 7 + b) %% 100 < " 40 + r(60)
				else if (n == 3) s = "DELETE FROM %1$I WHERE b = " 1000 * (1 + r(4)) + r(400)
				else if (n == 4) s = "DELETE FROM %1$I WHERE a BETWEEN " 1000 + r(50) " AND " 1200 + r(200)
				else if (n == 5) s = "UPDATE %1$I SET a = a - 9000, b = b - 9000 WHERE (a + b) %% 3 = " r(3)
				else if (n == 6) s = "INSERT INTO %1$I SELECT " r(400) ", b FROM generate_series(1000, 1000 + " r(99) ") b ON CONFLICT DO NOTHING"
				else s = "DELETE FROM %1$I WHERE (a, b) IN (SELECT a, b FROM %1$I ORDER BY md5(a || \047 \047 || b) LIMIT " 1 + r(9) ")"
				print "SELECT format(\047%s after %s\047, d, $s$" s "$s$) FROM step(\047large\047, $s$" s "$s$) d LIMIT 3;"
			}
		}'
} >"$scratch/large.sql"
sql -c "ALTER TABLE large_copy ADD PRIMARY KEY (a, b)"
check "statements with many edges" "$(ask -f "$scratch/large.sql")"

# ---- several sessions ----------------------------------------------------------

for round in $(seq "$ROUNDS"); do
	for session in $(seq "$SESSIONS"); do
		statements $((SEED + round * 100 + session)) $((TRANSACTIONS * 2)) 30 | grep -v TRUNCATE |
			awk -v seed=$((SEED + session)) '
				function r(n) { return int(rand() * n) }
				BEGIN { srand(seed) }
				{
					gsub(/%+1\$I/, "shared"); gsub(/%%/, "%")
					if (NR % 2 == 1)
						print "BEGIN ISOLATION LEVEL " (r(2) ? "READ COMMITTED;" : r(2) ? "REPEATABLE READ;" : "SERIALIZABLE;")
					print $0 ";"
					if (NR % 2 == 0)
						print r(6) ? "COMMIT;" : "ROLLBACK;"
				}
				END { print "COMMIT;" }' >"$scratch/$session.sql"
		PGOPTIONS="-c deadlock_timeout=50ms" psql -X -q -v VERBOSITY=verbose -f "$scratch/$session.sql" \
			>"$scratch/$session.log" 2>&1 &
	done
	wait
	cat "$scratch"/[0-9]*.log >>"$scratch/all.log"
	check "round $round of $SESSIONS sessions" "$(ask -c "SELECT differences('shared') LIMIT 5" \
		-c "SELECT 'a cycle' WHERE has_cycle('shared')")"
	check "closure_check after round $round" "$(ask -c "SELECT problem FROM dbpatterns.closure_check('shared') LIMIT 5")"
done
# Cycles, conflicts between sessions, and what follows them in a transaction.
check "errors of the sessions" "$(grep -E 'ERROR|FATAL|PANIC|closed' "$scratch/all.log" |
	grep -vE 'ERROR:  (23514|40001|40P01|25P02):' | sort | uniq -c || true)"
check "the graph has edges" "$(sql -c "SELECT 'none' WHERE NOT EXISTS (SELECT FROM shared)")"

echo "$passed passed, $failed failed"
[ "$failed" = 0 ]
