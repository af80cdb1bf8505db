#!/usr/bin/env bash
#
# versioning_dropin.sh: random changes of tables under the trigger that has the name of
# temporal_tables', with savepoints, rollbacks, exception blocks, rows that move and
# times that step back; then table and history must be what an oracle in plain SQL
# says.  Once for each way to set it up.
#
# Wants PGHOST and so on to name an empty database.  DBP_SEED repeats the run,
# DBP_TRANSACTIONS sets how many each way gets.  Last line: `N passed, N failed`.

set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")"
# shellcheck source-path=SCRIPTDIR source=../setup/model.sh
. ../setup/model.sh
TRANSACTIONS=${DBP_TRANSACTIONS:-150}
echo "DBP_SEED=$SEED DBP_TRANSACTIONS=$TRANSACTIONS"

session()
{
	local i

	RANDOM=$1
	echo "SET search_path = m; SET client_min_messages = error; SET jit = off; SELECT setseed($((RANDOM % 1000)) / 1000.0);"
	for ((i = 0; i < TRANSACTIONS; i++)); do
		echo "BEGIN; SELECT start();"
		while [ $((RANDOM % 6)) != 0 ]; do
			case $((RANDOM % 8)) in
				0) echo "SAVEPOINT s; SELECT op(); SELECT op(); ROLLBACK TO s;" ;;
				1) echo "SAVEPOINT s; SELECT op(); RELEASE s;" ;;
				2) echo "SELECT op_in_block(true);" ;;
				3) echo "SELECT op_in_block(false);" ;;
				*) echo "SELECT op();" ;;
			esac
		done
		if [ $((RANDOM % 8)) = 0 ]; then echo "ROLLBACK;"; else echo "COMMIT;"; fi
	done
}

# run PART HISTORY AFTER ARGUMENTS
run()
{
	local name="partitioned $1, $2, second trigger $3, ($4)"

	sql -v part="$1" -v history="$2" -v after="$3" -v args="$4" -f versioning_dropin.sql >/dev/null 2>"$scratch/log" ||
		{ check "$name: set-up" "$(cat "$scratch/log")"; return; }
	session $(((SEED + ways++ * 7919) % 32768)) >"$scratch/session"
	check "$name: changes" "$(sql -f "$scratch/session" 2>&1 >/dev/null || true)"
	check "$name: rows and versions" "$(ask -c "SET search_path = m; SELECT * FROM wrong LIMIT 20")"
	check "$name: there are versions" "$(ask -c "SELECT 'few' FROM m.o_history HAVING count(*) < $TRANSACTIONS")"
}

sql -c 'CREATE EXTENSION dbpatterns'
ways=0
run no history_plain no true
run no history_slow no true
run no history_parts no true,true
run no history_plain yes true
run no history_plain yes true,true
run no history_plain no true,false,true
run no history_plain yes true,true,true
run no history_parts yes true,false,true,false,true
run yes history_plain no true
run yes history_plain yes true
run yes history_slow no true,true,false,false,true
run yes history_parts yes true,true,true,true,true
run yes history_plain no true,false,true,false,true
echo "$passed passed, $failed failed"
