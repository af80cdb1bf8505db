#!/usr/bin/env bash
#
# versioning.sh: are the versions of a table what was done to it?
#
# Sessions of all isolation levels change the same few rows at once, with
# savepoints, parts rolled back, moving rows, cascades, upserts, MERGE and
# updates that change nothing.  An oracle in plain SQL (versioning.sql) keeps
# every change; when all have ended, the versions must be exactly those that
# follow from it, in that order, without an overlap, and with gaps only where a
# row was gone.
#
# DBP_SEED repeats a run (what is done, not how sessions interleave); SESSIONS,
# ROUNDS and TRANSACTIONS set its size.  Ends with `N passed, N failed`.

set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")"
# shellcheck source-path=SCRIPTDIR source=../setup/model.sh
. "../setup/model.sh"
SESSIONS=${SESSIONS:-5}
ROUNDS=${ROUNDS:-4}
TRANSACTIONS=${TRANSACTIONS:-150}
TABLES=(plain part child)
# Unique, foreign key violations, rows touched twice by MERGE, serialization,
# deadlock, lock timeout, what follows in the same transaction, a savepoint that
# is not there.
ALLOWED='23505|23503|21000|27000|40001|40P01|55P03|25P02|3B001'
export PGOPTIONS='-c client_min_messages=warning -c deadlock_timeout=20ms -c lock_timeout=5s'
echo "DBP_SEED=$SEED SESSIONS=$SESSIONS ROUNDS=$ROUNDS TRANSACTIONS=$TRANSACTIONS"

statement() { printf "SELECT m.statement('%s') \\\\gexec\n" "${TABLES[RANDOM % 3]}"; }

# transactions WHO: print the script of a session.
transactions()
{
	local _

	RANDOM=$(($(cksum <<<"$SEED $1" | cut -d ' ' -f 1) % 32768))
	echo "\\set VERBOSITY sqlstate"
	echo "SELECT FROM setseed($(cksum <<<"$SEED s$1" | awk '{ print $1 % 100000 / 50000 - 1 }'));"
	for _ in $(seq "$TRANSACTIONS"); do
		case $((RANDOM % 10)) in
			0|1|2) echo "BEGIN ISOLATION LEVEL REPEATABLE READ;" ;;
			3) echo "BEGIN ISOLATION LEVEL SERIALIZABLE;" ;;
			*) echo "BEGIN;" ;;
		esac
		for _ in $(seq $((1 + RANDOM % 4))); do
			case $((RANDOM % 6)) in
				0) echo "SAVEPOINT s;"; statement; echo "ROLLBACK TO s;" ;;
				1) echo "SAVEPOINT s;"; statement; echo "RELEASE s;" ;;
				*) statement ;;
			esac
			[ $((RANDOM % 2)) = 0 ] || echo "SELECT FROM pg_sleep(0.002);"
		done
		if [ $((RANDOM % 8)) = 0 ]; then echo "ROLLBACK;"; else echo "COMMIT;"; fi
	done
}

sql -f versioning.sql >/dev/null
for round in $(seq "$ROUNDS"); do
	for session in $(seq "$SESSIONS"); do
		transactions "$round.$session" >"$scratch/$round.$session.sql"
	done
	for session in $(seq "$SESSIONS"); do
		psql -X -q -f "$scratch/$round.$session.sql" >/dev/null 2>"$scratch/$round.$session.err" </dev/null &
	done
	wait
	for table in "${TABLES[@]}"; do
		check "$table, round $round" "$(ask -c "SELECT m.wrong('$table') LIMIT 20")"
	done
	# The next round meets a history that has followed an ALTER.
	sql -c "ALTER TABLE m.plain ADD COLUMN x$round int" -c "ALTER TABLE m.plain DROP COLUMN x$round"
done
check "errors of sessions" "$(cat "$scratch"/*.err | grep -vE "^psql:[^ ]*: (ERROR:  ($ALLOWED)|WARNING:  25P01)\$" | sort | uniq -c || true)"
check "there were versions" "$(sql -c "SELECT 'only ' || count(*) FROM m.part__versions() HAVING count(*) < 100")"
check "versioning_check" "$(ask -c "SELECT * FROM dbpatterns.versioning_check()")"
echo "$passed passed, $failed failed"
[ "$failed" = 0 ]
