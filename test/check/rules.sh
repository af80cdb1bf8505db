#!/usr/bin/env bash
#
# rules.sh [DIRECTORY]: the house rules that a script can check.
#
# One function per rule, named rule_<name>, with a comment that says what it
# guards.  A rule prints one line per violation, `file:line: what`, and nothing
# when all is well; it calls `nothing` when there is not a single file for it
# to look at, and `absent` when a tool it needs is not installed.  Both are
# printed and counted as neither passed nor failed.  rules_selftest.sh plants a
# violation of each rule and sees that the rule reports it.
#
# Filters that stop reading early (grep -q) would fail their pipe: not used.
# RULES="name ..." runs only those.  Ends with `N passed, N failed`.

# The $0 of awk in single quotes is meant.
# shellcheck disable=SC2016
# shellcheck source-path=SCRIPTDIR source=../setup/lib.sh
. "$(dirname "${BASH_SOURCE[0]}")/../setup/lib.sh"

cd "${1:-$ROOT}"
TREE=$(list_tree "$PWD" | tr '\0' '\n' | sed 's|^\./||' | sort)
VARIABLES=$(make -pn check-rules 2>/dev/null || true)
scratch=$(mktemp -d)
trap 'rm -rf "$scratch"' EXIT

nothing() { echo '@nothing to check'; }
absent() { echo "@$1 is not installed"; }

# files REGEX: the files of the tree whose path matches.
files() { grep -E "$1" <<<"$TREE" || true; }

# with_files REGEX COMMAND...: run the command with the files appended.
with_files()
{
	local list

	mapfile -t list <<<"$(files "$1")"
	shift
	if [ -z "${list[0]}" ]; then
		nothing
	else
		"$@" "${list[@]}" || true
	fi
}

# make_list VARIABLE: the words of a list of the Makefile, one per line.
make_list()
{
	sed -nE "s/^$1 :?= //p" <<<"$VARIABLES" | tr -s ' ' '\n' | sort
}

C_FILES='^src/.*\.[ch]$'
INSTALL_FILES='^sql/install/.*\.sql$'
SCRIPT_FILES='^(test/.*\.sh|\.ci/run)$'
# Written by people: not recorded output, not data, not generated plots.
TEXT_FILES='^(Makefile|[^/]*\.(md|control)|(src|sql|docs)/.*\.(c|h|sql|md)|test/.*\.(sh|pl|sql|spec)|\.ci/.*|\.github/.*)$'

# ---- C -----------------------------------------------------------------

# compat <- core <- modules and core <- worker; modules never include each
# other; src/dbpatterns.c may include everything.
rule_include_direction()
{
	local file line header from to

	while IFS=: read -r file line header; do
		header=${header#*\"}
		header=${header%%\"*}
		[ -f "src/$header" ] || continue		# of the server or the same folder
		to=${header%%/*}
		from=${file#src/}
		from=${from%%/*}
		case $from/$to in
			dbpatterns.c/*|*/compat) ;;
			compat/*) echo "$file:$line: compat includes $header" ;;
			*/core) ;;
			*) [ "$from" = "$to" ] || echo "$file:$line: $from includes $header" ;;
		esac
	done <<<"$(with_files "$C_FILES" grep -HnE '^#[[:space:]]*include "')"
	with_files "$C_FILES" grep -HnE '^#[[:space:]]*include "\.'
}

# Version differences live in one file.
rule_version_in_compat_only()
{
	with_files "$C_FILES" grep -HnE 'PG_VERSION_NUM|PG_MAJORVERSION|CATALOG_VERSION_NO' |
		grep -v '^src/compat/compat\.h:' || true
}

# Memory that lives as long as the backend is a named context of ours: the one
# allowed use of TopMemoryContext is as the parent of such a context.
rule_no_top_memory_context()
{
	with_files "$C_FILES" grep -HnE 'TopMemoryContext' |
		grep -vE 'ContextCreate\(TopMemoryContext|:[0-9]+:[[:space:]]*(/\*|\*)' || true
}

# elog is for what cannot happen, so there is less of it than of ereport.
rule_elog_is_rare()
{
	local elog ereport

	[ -n "$(files "$C_FILES")" ] || nothing
	elog=$(with_files "$C_FILES" cat | grep -cE '\belog\((ERROR|FATAL|PANIC)' || true)
	ereport=$(with_files "$C_FILES" cat | grep -cE '\bereport\((ERROR|FATAL|PANIC)' || true)
	[ "$elog" -le "$ereport" ] || echo "src: $elog elog for $ereport ereport"
}

# A caller can branch on every error: ereport names an SQLSTATE.
rule_ereport_has_errcode()
{
	with_files "$C_FILES" awk '
		/ereport\((ERROR|FATAL|PANIC)/ { text = ""; at = FILENAME ":" FNR; open = 1 }
		open { text = text $0 }
		open && /;[ \t]*$/ {
			open = 0
			if (text !~ /errcode(_for_[a-z_]+)?\(/)
				print at ": ereport without errcode"
		}'
}

# Functions fit on a page: at most 80 lines between their braces, unless the
# comment above says why not.
rule_function_length()
{
	with_files '^src/.*\.c$' awk '
		FNR == 1 { excuse = 0; start = 0 }
		/^\/\*/ { excuse = 0 }
		/Longer than 80 lines because/ && !start { excuse = 1 }
		/^[a-z_A-Z0-9]+\(/ { name = $0; sub(/\(.*/, "", name) }
		/^{/ { start = FNR }
		/^}/ {
			if ($0 ~ /^}[ \t]*$/ && start && FNR - start - 1 > 80 && !excuse)
				print FILENAME ":" start ": " name " has " FNR - start - 1 " lines"
			start = excuse = 0
		}'
}

# What the library exports cannot clash with other libraries.
rule_exported_names()
{
	with_files '^src/.*\.c$' awk '
		/^[a-z_A-Z][a-z_A-Z0-9]*\(.*[^;]$/ && before ~ /^[a-zA-Z]/ && before !~ /(^|[ \t])static([ \t]|$)/ {
			name = $0
			sub(/\(.*/, "", name)
			if (name !~ /^(dbp_|dbpatterns_|_PG_init$|PG_|DBP_)/)
				print FILENAME ":" FNR ": " name
		}
		{ before = $0 }'
}

# The rough style, for machines without pgindent: tabs, /* */, 100 columns
# unless a string makes the line long.
rule_c_layout()
{
	with_files "$C_FILES" awk '
		/^    / { print FILENAME ":" FNR ": indented with spaces" }
		/(^|[ \t;{}])\/\/ / { print FILENAME ":" FNR ": // comment" }
		{
			line = ""
			for (i = 1; i <= length($0); i++) {
				c = substr($0, i, 1)
				line = line (c == "\t" ? substr("    ", 1, 4 - length(line) % 4) : c)
			}
			if (length(line) > 100 && line !~ /"/)
				print FILENAME ":" FNR ": " length(line) " columns"
		}'
}

# The exact style, where a development package brings pgindent (17 and later).
rule_pgindent()
{
	local status=0 out

	[ -n "$(files "$C_FILES")" ] || nothing
	out=$(bash test/check/indent.sh --check 2>&1) || status=$?
	case $status in
		0) ;;
		77) absent pgindent ;;
		*) echo "$out" ;;
	esac
}

# ---- SQL ---------------------------------------------------------------

# functions: one line `file:line schema.name statement` per function or
# procedure that the install script creates.
functions()
{
	with_files "$INSTALL_FILES" awk '
		END { if (!found) print "@nothing to check" }
		/^CREATE (FUNCTION|PROCEDURE|AGGREGATE) / {
			name = $3
			sub(/\(.*/, "", name)
			gsub(/"/, "", name)
			text = ""; at = FILENAME ":" FNR; open = 1; quoted = 0
		}
		open {
			line = $0
			sub(/--.*/, "", line)
			text = text " " line
			while (match(line, /\$[a-z_]*\$/)) {
				quoted = !quoted
				line = substr(line, RSTART + RLENGTH)
			}
			if (line ~ /BEGIN ATOMIC/) atomic = 1
			if (line ~ /;[ \t]*$/ && !quoted && (!atomic || line ~ /END;/)) {
				open = atomic = 0
				found = 1
				gsub(/[ \t]+/, " ", text)
				print at, name, text
			}
		}'
}

# Each function has its one line in the catalog.
rule_function_has_comment()
{
	local where name rest

	functions | while read -r where name rest; do
		[ "${where#@}" = "$where" ] || { echo "$where $name $rest"; continue; }
		with_files "$INSTALL_FILES" sed -n '/^COMMENT ON/{s/"//g;p;}' |
			grep -E "^COMMENT ON (FUNCTION|PROCEDURE|AGGREGATE) ${name//./\\.}(\(| )" |
			grep . >/dev/null || echo "$where: $name has no COMMENT ON"
	done
}

# Each function of the API has its entry in the reference.
rule_function_in_reference()
{
	local where name rest

	functions | while read -r where name rest; do
		[ "${where#@}" = "$where" ] || { echo "$where $name $rest"; continue; }
		case $name in
			dbpatterns.*)
				with_files '^docs/reference/.*\.md$' grep -hwF "${name#dbpatterns.}" |
					grep -v '^@' >/dev/null || echo "$where: $name is not in docs/reference" ;;
			_dbpatterns.*) ;;
			*) echo "$where: $name is not qualified with a schema of ours" ;;
		esac
	done
}

# No function depends on the search_path of its caller, and what ships holds
# no PL/pgSQL.
rule_search_path_pinned()
{
	local where name text

	functions | while read -r where name text; do
		case $where$text in
			@*) echo "$where $name $text" ;;
			*LANGUAGE\ plpgsql*) echo "$where: $name is PL/pgSQL" ;;
			*SET\ search_path*) ;;
			*SECURITY\ DEFINER*) echo "$where: $name is SECURITY DEFINER without SET search_path" ;;
			*BEGIN\ ATOMIC*) ;;
			*LANGUAGE\ sql*) echo "$where: $name has neither SET search_path nor BEGIN ATOMIC" ;;
		esac
	done
	with_files "$INSTALL_FILES" grep -HnE '^DO ' | grep -v '^@' || true
}

# CREATE alone, so that nobody can plant an object under one of our names.
rule_plain_create()
{
	with_files "$INSTALL_FILES" sed -nE \
		'/^[^-]*(OR REPLACE|IF NOT EXISTS)/{s/^/sql\/install: /p;}'
}

# ---- lists and files ---------------------------------------------------

# compare VARIABLE REGEX SED: the list of the Makefile and the files agree.
compare()
{
	make_list "$1" >"$scratch/list"
	files "$2" | sed -E "$3" | sort >"$scratch/files"
	diff "$scratch/list" "$scratch/files" |
		sed -nE "s/^< (.+)/Makefile: $1 names \1, which does not exist/p
				 s/^> (.+)/Makefile: $1 lacks \1/p"
}

# The explicit lists of the Makefile leave nothing out.
rule_lists_complete()
{
	compare OBJS '^src/.*\.c$' 's/\.c$/.o/'
	compare INSTALL_SQL "$INSTALL_FILES" ''
	compare REGRESS '^test/sql/[^/]*\.sql$' 's|^test/sql/(.*)\.sql$|\1|'
	compare ISOLATION '^test/isolation/specs/.*\.spec$' 's|^.*/(.*)\.spec$|\1|'
}

# Every test has its expected output and every expected output its test; a dash
# tells isolation tests from the others, for both keep theirs in expected/.
rule_expected_complete()
{
	local test out

	for test in $(make_list REGRESS) $(make_list ISOLATION); do
		[ -f "expected/$test.out" ] || echo "expected/$test.out: missing"
	done
	make_list REGRESS | sed -n 's/.*-.*/Makefile: REGRESS & has a dash/p'
	make_list ISOLATION | sed -n '/-/!s/.*/Makefile: ISOLATION & has no dash/p'
	for out in $(files '^expected/'); do
		test=$(basename "$out" .out)
		{ make_list REGRESS; make_list ISOLATION; } |
			grep -xE "$test|${test%_[0-9]}" >/dev/null || echo "$out: no test of this name"
	done
}

# The control file, the Makefile and so the script name have one version.
rule_one_version()
{
	local control

	control=$(sed -nE "s/^default_version *= *'(.*)'/\1/p" dbpatterns.control)
	[ "$(make_list EXTVERSION)" = "$control" ] ||
		echo "dbpatterns.control: default_version is $control, EXTVERSION is $(make_list EXTVERSION)"
}

# A newcomer sees the whole house from the door.
rule_top_level()
{
	local name

	cut -d / -f 1 <<<"$TREE" | sort -u | while IFS= read -r name; do
		case $name in
			Makefile|README.md|LICENSE|dbpatterns.control|sql|src|expected|test|docs|.*) ;;
			*) echo "$name: not a name for the top level" ;;
		esac
	done
}

# The first page stays a page.
rule_readme_length()
{
	with_files '^README\.md$' awk '
		END { if (NR >= 250) print FILENAME ": " NR " lines, 249 are allowed" }'
}

# Files stay readable: at most 600 lines, unless their head says why not.
rule_file_length()
{
	local file lines

	[ -n "$(files "$C_FILES|$INSTALL_FILES")" ] || nothing
	for file in $(files "$C_FILES|$INSTALL_FILES|$SCRIPT_FILES|^test/(tap|sql|check|bench)/"); do
		lines=$(wc -l <"$file")
		if [ "$lines" -gt 600 ] &&
			! head -n 60 "$file" | grep -q 'Longer than 600 lines because' >/dev/null
		then
			echo "$file: $lines lines"
		fi
	done
}

# What is not done is not there; plans are issues.
rule_nothing_unfinished()
{
	with_files "$TEXT_FILES" grep -HnwE 'TO[D]O|FIX[M]E|XX[X]'
}

# The tree works wherever it is and wherever its packages come from.
rule_no_hosts_or_machine_paths()
{
	local hosts='(deb|snapshot|security|ftp|archive)[.](debian|ubuntu)|apt[.]postgresql[.]|registry[.]npmjs|pypi[.]|crates[.]io|docker[.](io|com)|ghcr[.]io|proxy[.]golang'

	with_files "$TEXT_FILES" grep -HnE "$hosts|(^|[^a-zA-Z0-9_.])/(work|srv|home|Users)/"
}

# Clean text: no blanks at line ends, no CR, a newline at the end.
rule_clean_text()
{
	local file

	with_files "$TEXT_FILES" grep -HnE "[[:blank:]]$|"$'\r'
	for file in $(files "$TEXT_FILES"); do
		[ ! -s "$file" ] || [ -z "$(tail -c 1 "$file")" ] || echo "$file: no newline at the end"
	done
}

# Scripts are clean, where shellcheck is installed.
rule_shellcheck()
{
	if ! command -v shellcheck >/dev/null; then
		absent shellcheck
		return
	fi
	with_files "$SCRIPT_FILES" shellcheck -x -f gcc
}

# ---- run ---------------------------------------------------------------

passed=0
failed=0
for rule in ${RULES:-$(compgen -A function rule_ | sed 's/^rule_//')}; do
	found=$("rule_$rule" 2>&1) || found="$found the rule itself failed"
	case $found in
		'')
			echo "ok - $rule"
			passed=$((passed + 1)) ;;
		@*)
			echo "-- - $rule: ${found#@}" | head -n 1 ;;
		*)
			while IFS= read -r line; do
				echo "not ok - $rule: $line"
			done <<<"$found"
			failed=$((failed + 1)) ;;
	esac
done
echo "$passed passed, $failed failed"
[ "$failed" = 0 ]
