#!/usr/bin/env bash
#
# docs.sh: run every ```sql block of README.md and docs/guide/*.md, in order.
#
# Each page runs in one psql session in a fresh database, with the extension
# in place unless the page creates it.  A block must succeed; one preceded by
# `<!-- expect: SQLSTATE -->` must fail with that code, and one preceded by
# `<!-- skip: reason -->` is left out.  Where a block fails, the rest of its
# page counts as failed.
#
# Needs a running server (PGHOST and so on).  Ends with `N passed, N failed`.

set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/../.."
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
passed_all=0
failed_all=0

# page_script PAGE: print the psql script of a page.  Marks that begin with
# @@ let the caller see how far the page came.
page_script()
{
	awk '
		/^<!-- *(expect|skip):.*-->/ {
			directive = $2
			sub(/^<!-- *(expect|skip): */, ""); sub(/ *-->.*$/, "")
			value = $0
			next
		}
		/^ *```sql *$/ && !inside {
			inside = 1
			skip = directive == "skip:"
			want = directive == "expect:" ? value : ""
			if (skip)
				next
			print "\\echo @@start", FNR
			print "\\set ON_ERROR_STOP", want == "" ? "on" : "off"
			print "\\set LAST_ERROR_SQLSTATE 00000"
			next
		}
		/^ *``` *$/ && inside {
			inside = directive = 0
			if (!skip)
				print "\n;\n\\echo @@end", want == "" ? "00000 00000" : want " :LAST_ERROR_SQLSTATE"
			next
		}
		inside { if (!skip) print; next }
		NF { directive = "" }' "$1"
}

# run_page PAGE: run it and add up its blocks.
run_page()
{
	local page=$1 db=docs_page want got started=0 passed=0 last=

	page_script "$page" >"$work/script"
	grep -q '^\\echo @@start' "$work/script" || return 0
	PGOPTIONS="-c client_min_messages=warning" \
		psql -X -q -d postgres -c "DROP DATABASE IF EXISTS $db" -c "CREATE DATABASE $db"
	grep -q '^CREATE EXTENSION.* dbpatterns' "$work/script" ||
		psql -X -q -d "$db" -c 'CREATE EXTENSION dbpatterns'
	psql -X -q -d "$db" -f "$work/script" >"$work/out" 2>&1 || true
	while read -r mark want got; do
		case $mark in
			@@start) last=$want ;;
			@@end)
				if [ "$want" = "$got" ]; then
					passed=$((passed + 1))
				else
					echo "$page:$last: expected SQLSTATE $want, got $got"
				fi ;;
		esac
	done <"$work/out"
	started=$(grep -c '^\\echo @@start' "$work/script")
	if [ "$passed" != "$started" ]; then
		echo "$page: $((started - passed)) of $started blocks failed, the last one tried is at line $last"
		tail -n 20 "$work/out" | sed 's/^/    /'
	fi
	passed_all=$((passed_all + passed))
	failed_all=$((failed_all + started - passed))
}

for page in README.md docs/guide/*.md; do
	[ ! -f "$page" ] || run_page "$page"
done
echo "$passed_all passed, $failed_all failed"
[ "$failed_all" = 0 ]
