#!/usr/bin/env bash
#
# run.sh: compare variants of the same work side by side (make bench).
#
# BENCH="name ..." runs only those comparisons; BENCH_ROUNDS and BENCH_SECONDS
# override how often and, for pgbench, how long; DBP_TMP says on which disk.
# Each comparison ends as a table in docs/benchmarks.md, between the marks
# `<!-- bench:NAME -->` and `<!-- /bench:NAME -->` (added at the end of the page
# when they are not there), and as docs/benchmarks/NAME.svg.
#
# A comparison is a file test/bench/NAME.sh that sets
#     TITLE      one line
#     UNIT       of the numbers: tps, ms, MB, bytes
#     BETTER     more or less
#     VARIANTS   words; every variant gets a database of its own
#     BASELINE   the variant to which the others are compared
#     LABEL      array: what the table calls a variant or a case
#     CASES      words, for several measurements of the same variants (optional)
#     ROUNDS     how often everything is measured
#     EXTENSION  array: the peer extension that a variant needs (optional); the
#                variant is left out when pg_available_extensions lacks it
#     ADDED_TO   a variant (optional): one more column says what each variant
#                adds to the baseline, as a share of what this one adds
# and defines
#     prepare VARIANT        prints the SQL that makes its database, run once
#     measure VARIANT CASE   prints one number, by one of the helpers below
#
# The rounds are interleaved: each measures all variants once, in an order that
# rotates, so that whatever else the machine does meets all of them.  Ratios
# are taken within a round; table and plot show median, least and greatest.

# shellcheck source-path=SCRIPTDIR source=../setup/lib.sh
. "$(dirname "${BASH_SOURCE[0]}")/../setup/lib.sh"

CONF='fsync = on
shared_buffers = 512MB
max_wal_size = 16GB
checkpoint_timeout = 1h
autovacuum = off
shared_preload_libraries = dbpatterns'

# ---- helpers for measure() ----------------------------------------------

sql() { as_user psql -X -q -v ON_ERROR_STOP=1 -d "bench_$1"; }

# milliseconds VARIANT BEFORE STATEMENT: the time of one SQL statement, after
# other SQL that is not timed.
milliseconds()
{
	printf '%s\n' '\o /dev/null' "$2" ';' '\timing on' "$3" ';' | sql "$1" |
		sed -nE 's/^Time: ([0-9.]+) ms.*/\1/p' |
		awk '{ total += $1 } END { print total }'
}

# tps VARIANT CLIENTS SECONDS SCRIPT [PGBENCH OPTION...]: transactions a second.
tps()
{
	local db=bench_$1 clients=$2 seconds=${BENCH_SECONDS:-$3} script=$4

	shift 4
	printf '%s\n' "$script" >"$WORK/bench.sql"
	as_user pgbench -n -M prepared -c "$clients" -j "$(nproc)" -T "$seconds" \
		-f "$WORK/bench.sql" "$@" "$db" 2>"$WORK/log/pgbench.log" |
		sed -nE 's/^tps = ([0-9.]+).*/\1/p'
}

# number VARIANT QUERY: the one value that a query returns.
number() { as_user psql -X -q -At -v ON_ERROR_STOP=1 -d "bench_$1" -c "$2"; }

# private_memory VARIANT BEFORE STATEMENT: MB of private memory of the backend
# at its greatest while the statement runs, sampled every 20 ms.
private_memory()
{
	local peak=0 now pid

	mkfifo -m 666 "$WORK/pid"
	printf '%s\n' '\o /dev/null' "$2" ';' "\\o $WORK/pid" \
		'SELECT pg_backend_pid();' '\o /dev/null' "$3" ';' | sql "$1" &
	pid=$(grep -oE '[0-9]{2,}' "$WORK/pid")
	while now=$(awk '/^RssAnon/ { print $2 }' "/proc/$pid/status" 2>/dev/null) && [ -n "$now" ]; do
		[ "$now" -le "$peak" ] || peak=$now
		sleep 0.02
	done
	wait
	rm "$WORK/pid"
	awk -v kb="$peak" 'BEGIN { print kb / 1024 }'
}

# ---- one comparison -------------------------------------------------------

# Leave out the variants whose extension is not there.
available_variants()
{
	local variant need

	for variant in $VARIANTS; do
		need=${EXTENSION[$variant]:-}
		if [ -z "$need" ] || [ "$(psql -X -At -c \
			"SELECT 1 FROM pg_available_extensions WHERE name = '$need'")" = 1 ]
		then
			echo "$variant"
		else
			say "    left out: ${LABEL[$variant]}, for extension $need is not available" >&2
		fi
	done
}

# Measure all rounds into a file of lines `round case variant number`.
run_rounds()
{
	local round case variant value order

	order=$VARIANTS
	for round in $(seq "$ROUNDS"); do
		for case in ${CASES:--}; do
			for variant in $order; do
				value=$(measure "$variant" "$case" </dev/null)
				[[ $value =~ ^[0-9.]+$ ]] ||
					die "$NAME: measure $variant $case printed '$value'"
				echo "$round $case $variant $value"
			done
		done
		order="${order#* } ${order%% *}"
		say "    round $round of $ROUNDS" >&2
	done
}

# What report.awk must know, as lines `key name value`.
facts()
{
	local name

	echo "title - $TITLE"
	echo "unit - $UNIT"
	echo "better - $BETTER"
	echo "baseline - $BASELINE"
	echo "added_to - ${ADDED_TO:-}"
	echo "name - $NAME"
	echo "rounds - $ROUNDS"
	echo "server - PostgreSQL $("$PG_CONFIG" --version | cut -d ' ' -f 2), $(nproc) cores"
	for name in "${!LABEL[@]}"; do
		echo "label $name ${LABEL[$name]}"
	done
}

# Put a section into the page between its marks.
update_page()
{
	local page=$ROOT/docs/benchmarks.md

	grep "^<!-- bench:$NAME -->" "$page" >/dev/null ||
		printf '\n<!-- bench:%s -->\n<!-- /bench:%s -->\n' "$NAME" "$NAME" >>"$page"
	awk -v name="$NAME" -v section="$1" '
		$0 == "<!-- /bench:" name " -->" { inside = 0 }
		!inside { print }
		$0 == "<!-- bench:" name " -->" {
			inside = 1
			while ((getline line < section) > 0)
				print line
		}' "$page" >"$WORK/page"
	cat "$WORK/page" >"$page"
}

compare()
{
	local variant

	NAME=$1
	unset -v TITLE UNIT BETTER VARIANTS BASELINE CASES ROUNDS ADDED_TO
	declare -gA LABEL=() EXTENSION=()
	# shellcheck disable=SC1090
	. "$STAGE/test/bench/$NAME.sh"
	ROUNDS=${BENCH_ROUNDS:-$ROUNDS}
	say "$NAME: $TITLE"
	VARIANTS=$(available_variants | xargs)
	for variant in $VARIANTS; do
		createdb "bench_$variant"
		prepare "$variant" >"$WORK/prepare.sql"
		quietly "prepare-$variant" as_user psql -X -v ON_ERROR_STOP=1 \
			-d "bench_$variant" -f "$WORK/prepare.sql"
	done
	psql -X -q -c CHECKPOINT
	facts >"$WORK/facts"
	run_rounds >"$WORK/numbers"
	mkdir -p "$ROOT/docs/benchmarks"
	awk -v svg="$ROOT/docs/benchmarks/$NAME.svg" \
		-f "$STAGE/test/bench/report.awk" "$WORK/facts" "$WORK/numbers" >"$WORK/section"
	update_page "$WORK/section"
	grep '^|' "$WORK/section" | sed 's/^/    /'
	for variant in $VARIANTS; do
		dropdb --force "bench_$variant"
	done
}

names=${BENCH:-$(basename -s .sh "$ROOT"/test/bench/*.sh | grep -vx run)}
for name in $names; do
	[ -f "$ROOT/test/bench/$name.sh" ] || die "no such comparison: $name"
done
[ -f "$ROOT/docs/benchmarks.md" ] || echo '# Benchmarks' >"$ROOT/docs/benchmarks.md"
# shellcheck disable=SC2119
setup
start_server "$CONF"
for name in $names; do
	compare "$name"
done
