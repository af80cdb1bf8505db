# shellcheck shell=bash
#
# model.sh: what the scripts in test/model share, sourced by them.
#
# A script sets the size of its run from the environment, prints what repeats
# it, asks the server, and ends with `N passed, N failed`.  KEEP=1 leaves the
# files of the sessions.

# shellcheck disable=SC2034
SEED=${DBP_SEED:-$((RANDOM * 32768 + RANDOM))}
passed=0
failed=0
scratch=$(mktemp -d)
trap '[ -n "${KEEP:-}" ] || rm -rf "$scratch"' EXIT

sql() { psql -X -q -A -t -v ON_ERROR_STOP=1 "$@"; }

# The same for the result of a check: an error is a result, too.
ask() { sql "$@" 2>&1 || true; }

# check WHAT RESULT: anything but an empty result has failed.
check()
{
	if [ -z "$2" ]; then
		passed=$((passed + 1))
	else
		failed=$((failed + 1))
		printf 'not ok: %s\n%s\n' "$1" "$2" | head -n 60
	fi
}
