#!/usr/bin/env bash
#
# hierarchy_nested.sh: do nested sets nest exactly as the adjacency list says?
#
# One session changes five tables at random (inserts in any order, moves, swaps,
# chains turned over, new keys, deletes with and without foreign keys, another
# order of siblings, savepoints, TRUNCATE); after every statement an oracle in
# plain SQL compares the table of intervals with what a recursive query finds.
# Then four sessions do so at once, at all isolation levels, and the oracle and
# nested_set_check look at the result of each round.  Gaps are as small as they
# can be, so that numbers run out all the time.
#
# DBP_SEED repeats a run (what the sessions do, not how they interleave).
# SESSIONS, ROUNDS and STATEMENTS set the size.  The server is found by the
# environment, the database has to be empty.  Ends with `N passed, N failed`.

set -euo pipefail
# shellcheck source-path=SCRIPTDIR source=../setup/model.sh
. "$(dirname "${BASH_SOURCE[0]}")/../setup/model.sh"

SESSIONS=${SESSIONS:-4}
ROUNDS=${ROUNDS:-4}
STATEMENTS=${STATEMENTS:-900}
TABLES="free bound ordered tenants parted"
echo "DBP_SEED=$SEED SESSIONS=$SESSIONS ROUNDS=$ROUNDS STATEMENTS=$STATEMENTS"

# Compiling the oracle takes longer than running it.
export PGOPTIONS="-c jit=off"

# statements SEED COUNT VERIFY: print random transactions; with VERIFY, each
# statement is followed by a look at its table.
statements()
{
	awk -v seed="$1" -v count="$2" -v verify="$3" '
		function r(n) { return int(rand() * n) }
		function node() { return 1 + r(t == "tenants" ? 20 : 50) }
		function quoted(x) { return t == "tenants" ? "\047" x "\047" : x }
		function parent() { return r(8) == 0 ? "NULL" : quoted(node()) }
		# Names of columns differ, so that nothing rests on usual ones.
		function id() { return t == "ordered" ? "\"Key\"" : "id" }
		function above() { return t == "ordered" ? "\"Up\"" : "parent" }
		function tenant() { return t == "tenants" ? 1 + r(2) : "" }
		function insert(  i, rows) {
			for (i = 1 + r(4) * r(4); i > 0; i--)
				rows = rows (rows == "" ? "" : ", ") "(" quoted(node()) ", " parent() (t == "ordered" ? ", " (r(6) ? r(10) : "NULL") : "") (t == "tenants" ? ", " 1 + r(2) : "") ")"
			return "INSERT INTO " t " VALUES " rows (r(6) ? " ON CONFLICT DO NOTHING" : "")
		}
		function where(k) { return " WHERE " id() " = " quoted(k) (t == "tenants" ? " AND tenant = " tenant() : "") }
		function change(  n, a, b) {
			n = r(22); a = node(); b = node()
			if (n < 6) return insert()
			if (n < 11) return "UPDATE " t " SET " above() " = " parent() where(a)
			if (n == 11) return "UPDATE " t " SET " above() " = CASE " id() " WHEN " quoted(a) " THEN " parent() " ELSE " parent() " END WHERE " id() " IN (" quoted(a) ", " quoted(b) ")"
			# Turns a node and its parent over.
			if (n == 12) return "UPDATE " t " x SET " above() " = CASE WHEN x." id() " = c." id() " THEN p." above() " ELSE c." id() " END FROM " t " c JOIN " t " p ON p." id() " = c." above() (t == "tenants" ? " AND p.tenant = c.tenant" : "") " WHERE c." id() " = " quoted(a) " AND x." id() " IN (c." id() ", p." id() ")" (t == "tenants" ? " AND c.tenant = 1 AND x.tenant = 1" : "")
			if (n == 13) return "UPDATE " t " SET " id() " = " quoted(b) where(a)
			if (n == 14) return "UPDATE " t " SET " above() " = NULL WHERE " above() " = " quoted(a)
			if (n == 15 || n == 16) return "DELETE FROM " t where(a)
			if (n == 17) return "DELETE FROM " t " WHERE " id() " IN (SELECT " id() " FROM " t " WHERE " above() " = " quoted(a) " LIMIT 3)"
			if (n == 18) return "UPDATE " t " SET " above() " = " above()
			if (n == 19 && t == "ordered") return r(3) ? "UPDATE ordered SET pos = " r(10) " WHERE \"Key\" % 5 = " r(5) : "UPDATE ordered SET pos = 10 - pos WHERE \"Up\" = " a
			if (n == 19) return "MERGE INTO " t " x USING (VALUES (" quoted(a) ", " parent() "), (" quoted(b) ", " quoted(a) ")) s (k, p) ON x." id() " = s.k" (t == "tenants" ? " AND x.tenant = 1" : "") " WHEN MATCHED THEN UPDATE SET " above() " = s.p WHEN NOT MATCHED THEN INSERT (" id() ", " above() (t == "tenants" ? ", tenant" : "") ") VALUES (s.k, s.p" (t == "tenants" ? ", 1" : "") ")"
			if (n == 20) return "WITH d AS (DELETE FROM " t where(a) " RETURNING *) INSERT INTO " t " SELECT * FROM d ON CONFLICT DO NOTHING"
			if (n == 21 && r(20) == 0) return t == "parted" ? "TRUNCATE parted" r(3) : "TRUNCATE " t
			return insert()
		}
		function step() {
			split("free bound ordered tenants parted", tables, " ")
			t = tables[1 + r(5)]
			print change() ";"
			if (verify)
				print "SELECT * FROM verify_" t ";"
			made++
		}
		BEGIN {
			srand(seed)
			while (made < count) {
				n = r(10)
				print n < 6 ? "BEGIN;" : n < 8 ? "BEGIN ISOLATION LEVEL REPEATABLE READ;" : "BEGIN ISOLATION LEVEL SERIALIZABLE;"
				for (i = r(4); i >= 0; i--) {
					if (r(4) == 0) {
						print "SAVEPOINT s;"
						for (j = r(3); j >= 0; j--)
							step()
						print r(2) ? "ROLLBACK TO s;" : "RELEASE s;"
					}
					step()
				}
				print r(6) == 0 ? "ROLLBACK;" : "COMMIT;"
			}
		}'
}

# oracle TABLE KEY PARENT SCOPE ORDER: make a view of what is wrong.
oracle()
{
	local table=$1 key=$2 parent=$3 scope=$4 order=$5 s='' same='' tree='' top='' siblings=''

	if [ -n "$scope" ]; then
		s="$scope, "
		same="AND c.$scope = a.$scope"
		tree="AND m.$scope = n.$scope"
		top="AND n.$scope = w.$scope"
	fi
	[ -z "$order" ] || siblings="
		UNION ALL
		SELECT 'order', n.node::text, m.node::text FROM ${table}_nested_set n
		JOIN ${table}_nested_set m ON m.tree = n.tree AND m.lft > n.lft AND m.depth = n.depth
		JOIN $table x ON x.$key = n.node JOIN $table y ON y.$key = m.node AND y.$parent = x.$parent
		JOIN $table p ON p.$key = x.$parent
		WHERE (x.$order > y.$order) OR (x.$order IS NULL AND y.$order IS NOT NULL)
			OR (x.$order IS NOT DISTINCT FROM y.$order AND x.$key > y.$key)"
	cat <<-SQL
		CREATE VIEW verify_$table AS
		WITH RECURSIVE walk AS (
			SELECT ${s:+c.$s}c.$key AS node, c.$key AS tree, 0 AS depth, ARRAY[c.$key] AS path
			FROM $table c WHERE NOT EXISTS (SELECT FROM $table a WHERE a.$key = c.$parent $same)
			UNION ALL
			SELECT ${s:+c.$s}c.$key, a.tree, a.depth + 1, a.path || c.$key
			FROM walk a JOIN $table c ON c.$parent = a.node $same
		), wrong (problem, node, other) AS (
			SELECT 'row', w.node::text, NULL::text FROM walk w
			WHERE NOT EXISTS (SELECT FROM ${table}_nested_set n
				WHERE n.node = w.node AND n.tree = w.tree AND n.depth = w.depth $top)
			UNION ALL
			SELECT 'number of rows', NULL, NULL
			WHERE (SELECT count(*) FROM walk) <> (SELECT count(*) FROM ${table}_nested_set)
				OR (SELECT count(*) FROM walk) <> (SELECT count(*) FROM $table)
			UNION ALL
			SELECT 'pair', n.node::text, m.node::text FROM ${table}_nested_set n
			JOIN ${table}_nested_set m ON m.tree = n.tree AND m.node <> n.node $tree
			JOIN walk w ON w.node = m.node ${top//n./m.}
			WHERE (n.lft < m.lft AND m.rgt < n.rgt) <> (n.node = ANY (w.path))
				OR n.lft IN (m.lft, m.rgt) OR n.rgt = m.rgt
				OR (n.lft < m.lft AND m.lft < n.rgt AND n.rgt < m.rgt)$siblings
		)
		SELECT 'WRONG $table' AS "table", * FROM wrong LIMIT 3;
	SQL
}

{
	cat <<-'SQL'
		SET client_min_messages = warning;
		CREATE EXTENSION IF NOT EXISTS dbpatterns;
		CREATE TABLE free (id int PRIMARY KEY, parent int);
		CREATE TABLE bound (id int PRIMARY KEY, parent int REFERENCES bound ON DELETE CASCADE ON UPDATE CASCADE);
		CREATE TABLE ordered ("Key" int PRIMARY KEY, "Up" int REFERENCES ordered ON DELETE SET NULL DEFERRABLE INITIALLY DEFERRED, pos numeric);
		CREATE TABLE tenants (id text COLLATE "C", parent text COLLATE "C", tenant int, PRIMARY KEY (tenant, id));
		CREATE TABLE parted (id int PRIMARY KEY, parent int) PARTITION BY HASH (id);
		CREATE TABLE parted0 PARTITION OF parted FOR VALUES WITH (MODULUS 3, REMAINDER 0);
		CREATE TABLE parted1 PARTITION OF parted FOR VALUES WITH (MODULUS 3, REMAINDER 1);
		CREATE TABLE parted2 (parent int, gone int, id int NOT NULL);
		ALTER TABLE parted2 DROP gone;
		ALTER TABLE parted ATTACH PARTITION parted2 FOR VALUES WITH (MODULUS 3, REMAINDER 2);
		SELECT dbpatterns.nested_set_enable('free', 'parent', gap => 4);
		SELECT dbpatterns.nested_set_enable('bound', 'parent', gap => 4);
		SELECT dbpatterns.nested_set_enable('ordered', 'Up', gap => 4, order_by => 'pos');
		SELECT dbpatterns.nested_set_enable('tenants', '{tenant,parent}', gap => 5);
		SELECT dbpatterns.nested_set_enable('parted', 'parent', gap => 100);
	SQL
	oracle free id parent '' ''
	oracle bound id parent '' ''
	oracle ordered '"Key"' '"Up"' '' pos
	oracle tenants id parent tenant ''
	oracle parted id parent '' ''
} | sql >/dev/null

statements "$SEED" "$STATEMENTS" 1 >"$scratch/alone.sql"
psql -X -q -A -t -v ON_ERROR_ROLLBACK=on -f "$scratch/alone.sql" >"$scratch/alone.log" 2>&1 || true
check "one session" "$(grep -E 'WRONG|PANIC|server closed|XX000|damaged' "$scratch/alone.log" || true)"
if [ -n "${DBP_KEEP:-}" ]; then
	cp "$scratch"/alone.* "$DBP_KEEP"
fi

for round in $(seq "$ROUNDS"); do
	for session in $(seq "$SESSIONS"); do
		statements $((SEED + round * 100 + session)) $((STATEMENTS / SESSIONS)) '' >"$scratch/$session.sql"
		psql -X -q -v VERBOSITY=verbose -v ON_ERROR_ROLLBACK=on -f "$scratch/$session.sql" >"$scratch/$session.log" 2>&1 &
	done
	wait
	check "errors of round $round" "$(grep -hE 'PANIC|server closed|XX000|damaged' "$scratch"/*.log || true)"
	for table in $TABLES; do
		check "table $table after round $round" "$(ask -c "SELECT * FROM verify_$table")"
		check "nested_set_check of table $table after round $round" \
			"$(ask -c "SELECT * FROM dbpatterns.nested_set_check('$table') WHERE severity <> 'info'")"
	done
done

# Statements that were refused for what they were are not the rule.
check "statements that worked" "$(awk '/^(INSERT|UPDATE|DELETE|MERGE|WITH|TRUNCATE)/ { n++ }
	END { if (n < 100) print n }' "$scratch/alone.sql")"
echo "$passed passed, $failed failed"
[ "$failed" = 0 ]
