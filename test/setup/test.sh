#!/usr/bin/env bash
#
# test.sh: set up, then run everything that must hold (make test).
#
# The last line is `N passed, N failed`; the exit status is 1 if anything
# failed.  A suite that crashes or runs nothing has failed.  A suite whose
# files do not exist is named and left out.
#
# SUITES="regress tap" runs only those; warnings is run only when named, since
# a compiler we do not know may warn of what ours accept.  KEEP=1 leaves the server and the
# built copy of the tree for a look at a failure.
#
# To add a suite: a function suite_NAME that runs it and prints what it did,
# and its way of counting in counts().

# shellcheck source-path=SCRIPTDIR source=lib.sh
. "$(dirname "${BASH_SOURCE[0]}")/lib.sh"

SUITES=${SUITES:-rules regress isolation tap model docs}
declare -A SUITE_PATH=(
	[warnings]=test/check/warnings.sh [rules]=test/check/rules.sh [regress]=test/sql [isolation]=test/isolation
	[tap]=test/tap [model]=test/model [docs]=docs/guide
)
passed_all=0
failed_all=0

# Run PGXS installcheck for one kind of test; the lists of the others are
# emptied.
installcheck()
{
	as_user make -C "$STAGE" "${MAKE_VARS[@]}" "$@" installcheck
}

suite_warnings() { as_user env PG_CONFIG="$PG_CONFIG" bash "$STAGE/test/check/warnings.sh"; }

# On a copy of the tree without what the build left in it.
suite_rules()
{
	local status=0

	copy_tree "$ROOT" "$WORK/tree"
	bash "$WORK/tree/test/check/rules.sh" || status=1
	bash "$WORK/tree/test/check/rules_selftest.sh" || status=1
	return "$status"
}

suite_regress() { installcheck ISOLATION= TAP_TESTS=; }
suite_isolation() { installcheck REGRESS= TAP_TESTS=; }
suite_tap() { installcheck REGRESS= ISOLATION= PROVE_FLAGS=--verbose; }
suite_docs() { as_user bash "$STAGE/test/check/docs.sh"; }

# Each model test gets a database of its own and the same seed, which repeats
# the run when given as DBP_SEED.
suite_model()
{
	local script name status=0

	export DBP_SEED=${DBP_SEED:-$((RANDOM * 32768 + RANDOM))}
	echo "DBP_SEED=$DBP_SEED"
	for script in "$STAGE"/test/model/*.sh; do
		name=model_$(basename "$script" .sh)
		echo "== $name"
		as_user createdb "$name"
		as_user env PGDATABASE="$name" bash "$script" || status=1
	done
	return "$status"
}

# counts SUITE LOG: print how many passed and how many failed.
# pg_regress up to 15 prints `test x ... ok`, from 16 on TAP, like prove.
counts()
{
	local ok bad

	case $1 in
		regress|isolation|tap)
			ok='^(ok [0-9]+ |(test)? +[^ ]+ +\.\.\. ok( |$))'
			bad='^(not ok [0-9]+ |(test)? +[^ ]+ +\.\.\. FAILED( |$))'
			echo "$(grep -cE "$ok" "$2") $(grep -E "$bad" "$2" | grep -vc '# TO[D]O')" ;;
		*)
			awk '/^[0-9]+ passed, [0-9]+ failed$/ { ok += $1; bad += $3 }
				 END { print ok + 0, bad + 0 }' "$2" ;;
	esac
}

# Show why a suite failed, indented so that no line can pass for a result.
show_failure()
{
	local what=$2

	case $1 in
		regress|isolation)
			[ ! -s "$STAGE/regression.diffs" ] || what=$STAGE/regression.diffs ;;
	esac
	{
		grep -vE '^ok ' "$what" | tail -n 300
		[ "$1" != tap ] ||
			grep -lE 'not ok|Bail out|died' "$STAGE"/tmp_check/log/regress_log_* | xargs -r tail -n 30
	} | sed 's/^/    /'
}

run_suite()
{
	local suite=$1 log=$WORK/log/$1.log start=$SECONDS status=0 passed failed

	if [ ! -e "$STAGE/${SUITE_PATH[$suite]}" ]; then
		printf '%-10s not there: %s\n' "$suite" "${SUITE_PATH[$suite]}"
		return
	fi
	"suite_$suite" >"$log" 2>&1 </dev/null || status=$?
	read -r passed failed <<<"$(counts "$suite" "$log")"
	if [ "$status" != 0 ] && [ "$failed" = 0 ]; then
		echo "it ended with status $status" >>"$log"
		failed=1
	elif [ $((passed + failed)) = 0 ]; then
		echo "it ran nothing" >>"$log"
		failed=1
	fi
	printf '%-10s %4d ok %4d not ok %5d s\n' "$suite" "$passed" "$failed" $((SECONDS - start))
	[ "$failed" = 0 ] || show_failure "$suite" "$log"
	passed_all=$((passed_all + passed))
	failed_all=$((failed_all + failed))
}

finish()
{
	say "$passed_all passed, $failed_all failed"
	[ "$failed_all" = 0 ]
}

for suite in $SUITES; do
	[ -n "${SUITE_PATH[$suite]:-}" ] || die "no such suite: $suite"
done
setup tap
start_server ""
for suite in $SUITES; do
	run_suite "$suite"
done
finish
