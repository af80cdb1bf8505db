#!/usr/bin/env bash
#
# hierarchy_tree.sh: is a closure table what its tree says, whatever happens?
#
# First each kind of table (keys of several types and columns, every action of
# foreign keys, none, deferred ones, partitions) gets random statements in one
# session, with parts rolled back; hierarchy_tree.sql tells what is compared
# after each of them.  Then sessions of all isolation levels change the same
# tables at once, with savepoints, COPY and much contention; when all have
# ended, the closure tables must be exact and the trees without a cycle, and
# no error may have come up that such changes cannot run into.
#
# DBP_SEED repeats a run (what is done, not how sessions interleave); GROUPS_OF
# sets how many groups of statements a kind gets, SESSIONS, ROUNDS and
# TRANSACTIONS the size of the second part; KINDS names only some kinds.  The
# server is found by the environment, the database has to be empty.  Ends with
# `N passed, N failed`.

set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")"
# shellcheck source-path=SCRIPTDIR source=../setup/model.sh
. "../setup/model.sh"
GROUPS_OF=${GROUPS_OF:-160}
SESSIONS=${SESSIONS:-4}
ROUNDS=${ROUNDS:-4}
TRANSACTIONS=${TRANSACTIONS:-200}
KINDS=${KINDS:-plain cascade setnull setdefault soft late swap tenant loose part partfk}
# What random changes may run into: unique, foreign and check violations, the
# cycle among these, rows touched twice, serialization, deadlock, what follows
# in the same transaction, a savepoint that is not there, TRUNCATE with
# deferred checks waiting.
ALLOWED='23505|23503|23514|21000|27000|40001|40P01|25P02|3B001|55006'
export PGOPTIONS='-c client_min_messages=warning -c deadlock_timeout=20ms'
echo "DBP_SEED=$SEED GROUPS_OF=$GROUPS_OF SESSIONS=$SESSIONS ROUNDS=$ROUNDS TRANSACTIONS=$TRANSACTIONS"

# seed TEXT: a number from -1 to 1 that SEED and the text decide.
seed() { cksum <<<"$SEED $1" | awk '{ print $1 % 100000 / 50000 - 1 }'; }

# ---- one session ------------------------------------------------------------

play()
{
	sql -c "SELECT FROM m.make('$1')" -c "SELECT FROM setseed($(seed "$1"))" -c "CALL m.play('$1', $GROUPS_OF)" 2>&1 || true
}

sql -f hierarchy_tree.sql
running=0
for kind in $KINDS; do
	play "$kind" >"$scratch/$kind.play" &
	running=$((running + 1))
	[ $((running % SESSIONS)) != 0 ] || wait
done
wait
for kind in $KINDS; do
	check "$kind: one session" "$(cat "$scratch/$kind.play")$(sql -c "SELECT what, E'\n' || statement FROM m.failure WHERE kind = '$kind'")"
	check "$kind: statements are accepted and cycles refused" "$(sql -c "
		SELECT 'only: ' || coalesce(string_agg(outcome || ' ' || n, ', '), '')
		  FROM (SELECT outcome, count(*) AS n FROM m.tally WHERE kind = '$kind' GROUP BY 1) x
		HAVING NOT coalesce(bool_or(outcome = 'ok' AND n > 10), false) OR NOT coalesce(bool_or(outcome = 'cycle'), false)")"
done

# ---- several sessions ---------------------------------------------------------

# transactions WHO: print the script of a session.
transactions()
{
	local _ kind kinds copies=0

	read -ra kinds <<<"$KINDS"
	RANDOM=$(($(cksum <<<"$SEED $1" | cut -d ' ' -f 1) % 32768))
	echo "\\set VERBOSITY sqlstate"
	echo "SELECT FROM setseed($(seed "$1"));"
	for _ in $(seq "$TRANSACTIONS"); do
		kind=${kinds[RANDOM % ${#kinds[@]}]}
		case $((RANDOM % 10)) in
			0|1|2) echo "BEGIN ISOLATION LEVEL REPEATABLE READ;" ;;
			3|4) echo "BEGIN ISOLATION LEVEL SERIALIZABLE;" ;;
			*) echo "BEGIN;" ;;
		esac
		for _ in $(seq $((1 + RANDOM % 4))); do
			case $((RANDOM % 8)) in
				0) echo "SAVEPOINT s;"; statement "$kind"; echo "ROLLBACK TO s;" ;;
				1) echo "SAVEPOINT s;"; statement "$kind"; echo "RELEASE s;" ;;
				2)
					case $kind in
						plain|cascade|setdefault|soft|part|partfk)
							# Not from stdin: what a psql does with the data when the
							# transaction has failed depends on its minor release.
							copies=$((copies + 1))
							printf '%s\t%s\n%s\t%s\n' $((1 + RANDOM % 14)) $((1 + RANDOM % 14)) \
								$((1 + RANDOM % 14)) '\N' >"$scratch/$1.$copies.copy"
							echo "\\copy m.$kind (id, parent_id) from '$scratch/$1.$copies.copy'" ;;
						*) statement "$kind" ;;
					esac ;;
				*) statement "$kind" ;;
			esac
			[ $((RANDOM % 2)) = 0 ] || echo "SELECT FROM pg_sleep(0.003);"
		done
		if [ $((RANDOM % 8)) = 0 ]; then echo "ROLLBACK;"; else echo "COMMIT;"; fi
	done
}

statement() { printf "SELECT replace(m.statement('%s'), '@', 'm.%s') \\\\gexec\n" "$1" "$1"; }

written=0
for round in $(seq "$ROUNDS"); do
	for session in $(seq "$SESSIONS"); do
		transactions "$round.$session" >"$scratch/$round.$session.sql"
	done
	for session in $(seq "$SESSIONS"); do
		psql -X -q -f "$scratch/$round.$session.sql" >/dev/null 2>"$scratch/$round.$session.err" </dev/null &
	done
	wait
	for kind in $KINDS; do
		check "$kind: $SESSIONS sessions, round $round" "$(sql -c "SELECT m.wrong('$kind', 'm.$kind', 'm.${kind}_closure')")"
		written=$((written + $(sql -c "SELECT count(*) FROM m.${kind}_closure WHERE depth > 0")))
	done
done
check "errors of sessions" "$(cat "$scratch"/*.err | grep -vE "^psql:[^ ]*: (ERROR:  ($ALLOWED)|WARNING:  25P01)\$" | sort | uniq -c || true)"

# Loads into more trees than have a lock each wait for one another.
sql -c "CREATE TABLE m.forest (id int PRIMARY KEY, parent_id int REFERENCES m.forest)" \
	-c "CREATE INDEX ON m.forest (parent_id)" \
	-c "SELECT FROM dbpatterns.closure_enable('m.forest', 'parent_id')" \
	-c "INSERT INTO m.forest SELECT i FROM generate_series(1, 300) i"
for session in $(seq "$SESSIONS"); do
	sql -c "INSERT INTO m.forest SELECT $session * 10000 + i, i % 300 + 1 FROM generate_series(1, 5000) i" \
		>"$scratch/$session.load" 2>&1 &
done
wait
check "loads into many trees at once" "$(cat "$scratch"/*.load)"
check "all of it is there" "$(sql -c "SELECT count(*), max(depth) FROM m.forest_closure
	HAVING count(*) <> 300 + $SESSIONS * 10000 OR max(depth) <> 1")"
check "there were trees" "$([ "$written" -gt 100 ] || echo "only $written pairs")"
check "closure_check" "$(sql -c "SELECT * FROM dbpatterns.closure_check() WHERE severity = 'error'")"
check "updates that move nothing" "$(for kind in $KINDS; do
	sql -c "UPDATE m.$kind SET parent_id = parent_id" -c "SELECT m.wrong('$kind', 'm.$kind', 'm.${kind}_closure')"; done)"

echo "$passed passed, $failed failed"
[ "$failed" = 0 ]
