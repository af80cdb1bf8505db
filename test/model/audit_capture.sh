#!/usr/bin/env bash
#
# audit_capture.sh: random changes from several sessions at once, with
# savepoints, rollbacks, exception blocks, cascades, moving rows and triggers
# that change rows again; then the log, replayed in plain SQL, must rebuild
# every table exactly.
#
# Wants PGHOST and so on to name an empty database.  DBP_SEED repeats the same
# choices (their interleaving is up to the server), DBP_SESSIONS and
# DBP_TRANSACTIONS set how much is done.  Last line: `N passed, N failed`.

set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")"
SEED=${DBP_SEED:-$RANDOM}
SESSIONS=${DBP_SESSIONS:-5}
TRANSACTIONS=${DBP_TRANSACTIONS:-120}
TMP=$(mktemp -d)
trap 'rm -rf "$TMP"' EXIT
passed=0
failed=0

sql() { psql -XAtq -v ON_ERROR_STOP=1 "$@"; }

# check WHAT GOT WANTED
check()
{
	if [ "$2" = "$3" ]; then
		passed=$((passed + 1))
	else
		failed=$((failed + 1))
		echo "not ok: $1: $2 instead of $3 (DBP_SEED=$SEED)"
	fi
}

# Print the script of one session.
session()
{
	local i r

	RANDOM=$(((SEED + $1 * 7919) % 32768))
	echo "SET search_path = m; SET deadlock_timeout = '20ms'; SET lock_timeout = '2s'; SET client_min_messages = error;"
	echo "SELECT setseed($((RANDOM % 1000)) / 1000.0);"
	for ((i = 0; i < TRANSACTIONS; i++)); do
		r=$((RANDOM % 10))
		case $r in
			0) echo "BEGIN ISOLATION LEVEL SERIALIZABLE;" ;;
			1 | 2) echo "BEGIN ISOLATION LEVEL REPEATABLE READ;" ;;
			3) printf 'COPY part FROM stdin;\n%s\ta\tcopy\n%s\tb\tcopy\n\\.\n' $((RANDOM)) $((RANDOM))
				echo "BEGIN;" ;;
			*) echo "BEGIN;" ;;
		esac
		[ $((RANDOM % 4)) != 0 ] || echo "SELECT dbpatterns.audit_set_context(jsonb_build_object('n', $i));"
		while [ $((RANDOM % 4)) != 0 ]; do
			case $((RANDOM % 6)) in
				0) echo "SAVEPOINT s; SELECT ops(1);" ;;
				1) echo "SAVEPOINT s; SELECT ops(1); ROLLBACK TO s;" ;;
				2) echo "SAVEPOINT s; SELECT op(); RELEASE s;" ;;
				*) echo "SELECT ops(2);" ;;
			esac
		done
		if [ $((RANDOM % 8)) = 0 ]; then echo "ROLLBACK;"; else echo "COMMIT;"; fi
		echo "SELECT op();"
	done
}

echo "seed $SEED, $SESSIONS sessions of $TRANSACTIONS transactions"
sql -f audit_capture.sql >/dev/null
for ((s = 1; s <= SESSIONS; s++)); do
	session "$s" >"$TMP/$s.sql"
done
for ((s = 1; s <= SESSIONS; s++)); do
	psql -Xq -f "$TMP/$s.sql" >/dev/null 2>"$TMP/$s.err" </dev/null &
done
wait

# Only what random changes may run into is allowed to go wrong.
check "unexpected errors" "$(cat "$TMP"/*.err | grep ERROR: | sed 's/.*ERROR:  //' |
	grep -vE '^(duplicate key value violates|deadlock detected|could not serialize|insert or update on table "child" violates|current transaction is aborted|canceling statement due to lock timeout|MERGE command cannot affect row a second time|ON CONFLICT DO UPDATE command cannot affect row a second time|tuple to be (updated|deleted|locked) was already (modified|moved)|savepoint "s" does not exist|no partition of relation)' | sort | uniq -c)" ""

for table in 'plain {id}' 'child {id}' 'part {id,region}' 'multi {a,b}' 'keyless {}'; do
	read -r name keys <<<"$table"
	entries=$(sql -c "SET search_path = m; SELECT replay('$name', '$keys')" 2>&1) || true
	check "replay of $name" "${entries//[0-9]/}" ""
	check "differences of $name" "$(sql -c "SET search_path = m; SELECT differences('$name')" 2>&1)" 0
	echo "$name: $entries entries"
done
# Every entry has its who and when, and nobody else's.
check "entries without a transaction" "$(sql -c "SELECT count(*) FROM dbpatterns.audit_entries WHERE xid IS NULL")" 0
check "facts without an entry" "$(sql -c "SELECT count(*) FROM _dbpatterns.audit_log t
	WHERE op = 'W' AND NOT EXISTS (SELECT FROM _dbpatterns.audit_log l
		WHERE l.xact_time = t.xact_time AND l.txn = t.txn AND l.id > t.id AND l.xid IS NULL)")" 0
check "numbers used twice" "$(sql -c "SELECT count(*) - count(DISTINCT id) FROM _dbpatterns.audit_log")" 0
check "kinds of entries" "$(sql -c "SELECT string_agg(DISTINCT op::text, '' ORDER BY op::text) FROM _dbpatterns.audit_log WHERE op NOT IN ('T', 'W')")" DIMU
check "findings" "$(sql -c "SELECT problem FROM dbpatterns.audit_check() WHERE severity = 'error'")" ""
echo "$passed passed, $failed failed"
[ "$failed" = 0 ]
