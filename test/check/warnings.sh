#!/usr/bin/env bash
#
# warnings.sh: the C code compiles without a warning with gcc and with clang.
#
# Compiles two copies of the tree with -Werror and more warnings than the
# server asks for, against the PostgreSQL of PG_CONFIG.  clang is the one that
# PostgreSQL names for bitcode, else the one in the PATH; a compiler that is
# missing is a failure, since nothing was proven.
#
# Run by the suite `warnings` of test.sh.  Ends with `N passed, N failed`.

set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/../.."
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
passed=0
failed=0

flags='-Werror -Wall -Wextra -Wno-unused-parameter -Wno-sign-compare
	-Wno-missing-field-initializers -Wno-cast-function-type'
# Options of the server's gcc that clang does not know are no warnings of ours.
clang_flags='-Wno-unknown-warning-option -Wno-unused-command-line-argument
	-Wno-ignored-optimization-argument -Wno-ignored-attributes'

# compile NAME COMPILER FLAGS
compile()
{
	mkdir "$work/$1"
	cp -R Makefile dbpatterns.control sql src "$work/$1"
	find "$work/$1" -name '*.o' -delete
	if command -v "$2" >/dev/null &&
		make -C "$work/$1" -j "$(nproc)" PG_CONFIG="$PG_CONFIG" CC="$2" \
			COPT="${3//$'\n'/ }" with_llvm=no all >"$work/log" 2>&1
	then
		echo "ok - $1: $("$2" --version | head -n 1)"
		passed=$((passed + 1))
	else
		echo "not ok - $1"
		grep -A 5 -E 'error:|Error' "$work/log" | head -n 60 || echo "no compiler $2"
		failed=$((failed + 1))
	fi
}

PG_CONFIG=${PG_CONFIG:-pg_config}
clang=$(sed -n 's/^CLANG[[:space:]]*=[[:space:]]*//p' \
	"$(dirname "$("$PG_CONFIG" --pgxs)")/../Makefile.global")
command -v "${clang:=clang}" >/dev/null || clang=clang
compile gcc gcc "$flags"
compile clang "$clang" "$flags $clang_flags"
echo "$passed passed, $failed failed"
[ "$failed" = 0 ]
