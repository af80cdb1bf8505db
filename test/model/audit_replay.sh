#!/usr/bin/env bash
#
# audit_replay.sh: does the log tell every past state of a table?
#
# Several sessions at once change three audited tables at random, with
# savepoints, rollbacks, key changes, rows that move between partitions and
# TRUNCATE.  After each round, when all sessions have ended, the tables are
# copied and the time is taken.  At the end dbpatterns.audit_table_at must
# return each copy, and audit_row_at rows of it.  Then random transactions are
# run and undone one by one, after which each table must be as before.
#
# DBP_SEED repeats a run (what the sessions do, not how they interleave).
# SESSIONS, ROUNDS and TRANSACTIONS set the size.  The server is found by the
# environment, the database has to be empty.  Ends with `N passed, N failed`.

set -euo pipefail
# shellcheck source-path=SCRIPTDIR source=../setup/model.sh
. "$(dirname "${BASH_SOURCE[0]}")/../setup/model.sh"

SESSIONS=${SESSIONS:-4}
ROUNDS=${ROUNDS:-6}
TRANSACTIONS=${TRANSACTIONS:-30}
TABLES="plain parted texts"
echo "DBP_SEED=$SEED SESSIONS=$SESSIONS ROUNDS=$ROUNDS TRANSACTIONS=$TRANSACTIONS"

# transactions SEED COUNT: print random transactions.
transactions()
{
	awk -v seed="$1" -v count="$2" '
		function r(n) { return int(rand() * n) }
		function text() { return "\047" substr("abc:,{}[]\\ xyz", 1 + r(9), 1 + r(6)) "\047" }
		function change_plain(  k) {
			k = 1 + r(40)
			n = r(12)
			if (n < 3) return "INSERT INTO plain VALUES (" k ", " text() ", " r(999) / 10 ", \047{\"n\": " r(9) "}\047, now())"
			if (n < 5) return "UPDATE plain SET a = " text() ", b = b + 1.50 WHERE id = " k
			if (n == 5) return "UPDATE plain SET id = " 1 + r(40) " WHERE id = " k
			if (n == 6) return "DELETE FROM plain WHERE id = " k
			if (n == 7) return "UPDATE plain SET c = CASE WHEN r.x THEN \047null\047 ELSE to_jsonb(id) END FROM (SELECT random() < 2 AS x) r WHERE id % 7 = " r(7)
			if (n == 8) return "INSERT INTO plain (id, a) SELECT i, " text() " FROM generate_series(" k ", " k + 3 ") i ON CONFLICT (id) DO UPDATE SET a = excluded.a || plain.a"
			if (n == 9) return "MERGE INTO plain p USING generate_series(" k ", " k + 2 ") i ON p.id = i WHEN MATCHED AND i % 2 = 0 THEN DELETE WHEN MATCHED THEN UPDATE SET b = -1 WHEN NOT MATCHED THEN INSERT (id, a) VALUES (i, " text() ")"
			if (n == 10) return "DO $$ BEGIN UPDATE plain SET a = " text() " WHERE id <= 5; RAISE \047no\047; EXCEPTION WHEN raise_exception THEN DELETE FROM plain WHERE id = " k "; END $$"
			return r(12) == 0 ? "TRUNCATE plain" : "UPDATE plain SET d = d"
		}
		function change_parted(  k) {
			k = 1 + r(20)
			n = r(7)
			if (n < 3) return "INSERT INTO parted VALUES (" k ", " r(3) ", " text() ")"
			if (n == 3) return "UPDATE parted SET part = " r(3) " WHERE id = " k
			if (n == 4) return "UPDATE parted SET v = " text() ", part = (part + 1) % 3 WHERE id % 5 = " r(5)
			if (n == 5) return "DELETE FROM parted" r(3) " WHERE id % 5 = " r(5)
			return r(12) == 0 ? "TRUNCATE parted" r(3) : "UPDATE parted SET v = v || \047.\047 WHERE part = " r(3)
		}
		function change_texts() {
			n = r(5)
			if (n < 2) return "INSERT INTO texts VALUES (" text() ", " text() ", " r(9) ") ON CONFLICT DO NOTHING"
			if (n == 2) return "UPDATE texts SET y = " text() " WHERE ctid = (SELECT min(ctid) FROM texts)"
			if (n == 3) return "UPDATE texts SET n = n + 1 WHERE x = " text()
			return "DELETE FROM texts WHERE n = " r(9)
		}
		function change(  n) {
			n = r(10)
			return n < 5 ? change_plain() : n < 8 ? change_parted() : change_texts()
		}
		BEGIN {
			srand(seed)
			for (t = 0; t < count; t++) {
				n = r(10)
				print n < 6 ? "BEGIN;" : n < 8 ? "BEGIN ISOLATION LEVEL REPEATABLE READ;" : "BEGIN ISOLATION LEVEL SERIALIZABLE;"
				for (i = r(4); i >= 0; i--) {
					if (r(4) == 0) {
						print "SAVEPOINT s;"
						for (j = r(3); j >= 0; j--)
							print change() ";"
						print r(2) ? "ROLLBACK TO s;" : "RELEASE s;"
					}
					print change() ";"
				}
				print r(5) == 0 ? "ROLLBACK;" : "COMMIT;"
			}
		}'
}

sql <<'SQL'
SET client_min_messages = warning;
CREATE EXTENSION IF NOT EXISTS dbpatterns;
CREATE TABLE plain (id int PRIMARY KEY, a text, b numeric DEFAULT 1.00, c jsonb, d timestamptz);
INSERT INTO plain SELECT i, 'before auditing' FROM generate_series(1, 10) i;
CREATE TABLE parted (id int, part int, v text, PRIMARY KEY (id, part)) PARTITION BY LIST (part);
CREATE TABLE parted0 PARTITION OF parted FOR VALUES IN (0);
CREATE TABLE parted1 (v text, id int NOT NULL, gone int, part int NOT NULL);
ALTER TABLE parted1 DROP gone;
ALTER TABLE parted ATTACH PARTITION parted1 FOR VALUES IN (1);
CREATE TABLE parted2 PARTITION OF parted FOR VALUES IN (2);
CREATE TABLE texts (x text, y text, n int, PRIMARY KEY (x, y));
SELECT dbpatterns.audit_enable(t, truncate_rows => true) FROM unnest('{plain,parted,texts}'::regclass[]) t;
CREATE TABLE copies (tab regclass, round int, at timestamptz, image jsonb);
SQL

for round in $(seq "$ROUNDS"); do
	for session in $(seq "$SESSIONS"); do
		transactions $((SEED + round * 100 + session)) "$TRANSACTIONS" >"$scratch/$session.sql"
		psql -X -q -f "$scratch/$session.sql" >"$scratch/$session.log" 2>&1 &
	done
	wait
	for table in $TABLES; do
		sql -c "INSERT INTO copies SELECT '$table', $round, clock_timestamp(), dbpatterns.row_to_jsonb(t) FROM $table t" \
			-c "INSERT INTO copies SELECT '$table', $round, clock_timestamp()"
	done
	# A column that is new must not show up in what was before.
	if [ "$round" = $((ROUNDS / 2)) ]; then
		sql -c "ALTER TABLE plain ADD e int DEFAULT 5"
	fi
done
if grep -h 'PANIC\|server closed\|XX000' "$scratch"/*.log; then
	failed=$((failed + 1))
fi

for table in $TABLES; do
	for round in $(seq "$ROUNDS"); do
		check "table $table after round $round" "$(ask <<-SQL
			CREATE TEMP VIEW was AS SELECT image FROM copies
				WHERE tab = '$table'::regclass AND round = $round AND image IS NOT NULL;
			CREATE TEMP TABLE told AS SELECT image FROM dbpatterns.audit_table_at('$table',
				(SELECT at FROM copies WHERE tab = '$table'::regclass AND round = $round
				 AND image IS NULL)) image;
			(SELECT 'missing', image FROM was EXCEPT ALL SELECT 'missing', image FROM told)
			UNION ALL (SELECT 'wrong', image FROM told EXCEPT ALL SELECT 'wrong', image FROM was);
			SQL
		)"
	done
done

for round in $(seq "$ROUNDS"); do
	check "rows of table plain after round $round" "$(ask <<-SQL
		SELECT k, a.image, r.image
		FROM generate_series(1, 40) k
		CROSS JOIN (SELECT at FROM copies WHERE tab = 'plain'::regclass
					AND round = $round AND image IS NULL) c
		CROSS JOIN LATERAL dbpatterns.audit_row_at('plain', jsonb_build_object('id', k), c.at) r (image)
		LEFT JOIN copies a ON a.tab = 'plain'::regclass AND a.round = $round
			AND a.image -> 'id' = to_jsonb(k)
		WHERE a.image IS DISTINCT FROM r.image
		SQL
	)"
done

# One transaction after the other, each undone at once.
done_some=0
for i in $(seq "$TRANSACTIONS"); do
	before=$(sql -c "SELECT md5(string_agg(r, ',' ORDER BY r)) FROM (
		SELECT t::text FROM plain t UNION ALL SELECT t::text FROM parted t
		UNION ALL SELECT t::text FROM texts t) x (r)")
	last=$(sql -c "SELECT coalesce(max(txn), 0) FROM _dbpatterns.audit_log")
	transactions $((SEED + 7000 + i)) 1 | psql -X -q >/dev/null 2>&1 || true
	new=$(sql -c "SELECT txn FROM _dbpatterns.audit_log WHERE txn > $last LIMIT 1")
	if [ -n "$new" ]; then
		ask -c "SELECT FROM dbpatterns.audit_undo($new, dry_run => false)"
		done_some=1
	fi
	after=$(sql -c "SELECT md5(string_agg(r, ',' ORDER BY r)) FROM (
		SELECT t::text FROM plain t UNION ALL SELECT t::text FROM parted t
		UNION ALL SELECT t::text FROM texts t) x (r)")
	check "transaction $i undone" "$([ "$before" = "$after" ] || echo "tables differ after undoing transaction $new")"
done
check "some transaction was undone" "$([ "$done_some" = 1 ] || echo none)"

echo "$passed passed, $failed failed"
[ "$failed" = 0 ]
