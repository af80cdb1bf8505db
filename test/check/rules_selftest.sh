#!/usr/bin/env bash
#
# rules_selftest.sh: each rule of rules.sh reports the violation it guards
# against.
#
# Copies the tree for each rule, plants one violation there with the function
# plant_<rule>, runs that one rule, and expects `not ok`.  A rule without a
# plant is a failure.  Where there is a function accept_<rule>, what it plants
# is just within the rule and must not be reported; its names have `allowed`.
# Ends with `N passed, N failed`.

# shellcheck disable=SC2016
# shellcheck source-path=SCRIPTDIR source=../setup/lib.sh
. "$(dirname "${BASH_SOURCE[0]}")/../setup/lib.sh"

scratch=$(mktemp -d)
trap 'rm -rf "$scratch"' EXIT

c_file() { mkdir -p src/zz; printf '%s\n' "$@" >src/zz/planted.c; }
sql_file() { printf '%s\n' "$@" >sql/install/99_planted.sql; }
lines() { seq "$1" | sed "s/.*/$2/"; }

plant_c_layout() { c_file 'void' 'dbp_x(void)' '{' '    x();' '}'; }
plant_clean_text() { c_file '/* blank at the end */ '; }
plant_elog_is_rare() { c_file "$(lines 9999 'elog(ERROR, "planted");')"; }
plant_ereport_has_errcode() { c_file '	ereport(ERROR,' '			(errmsg("planted")));'; }
plant_expected_complete() { touch expected/planted.out; }
plant_exported_names() { c_file 'int' 'planted(void)' '{' '	return 0;' '}'; }
plant_file_length() { c_file "$(lines 601 planted)"; }
plant_function_has_comment()
{
	sql_file 'CREATE FUNCTION dbpatterns.planted() RETURNS int' "AS 'MODULE_PATHNAME'" 'LANGUAGE C;'
}
plant_function_in_reference() { plant_function_has_comment; }
plant_function_length() { c_file 'void' 'dbp_planted(void)' '{' "$(lines 81 planted)" '}'; }
plant_include_direction()
{
	mkdir -p src/core src/zz
	touch src/zz/planted.h
	echo '#include "zz/planted.h"' >src/core/planted.c
}
plant_lists_complete() { c_file ''; }
plant_no_hosts_or_machine_paths() { echo 'see http://pypi'.org/planted >docs/planted.md; }
plant_no_top_memory_context() { c_file '	planted = palloc_in(TopMemoryContext);'; }
plant_nothing_unfinished() { c_file '/* TO''DO: planted */'; }
plant_one_version() { sed -i "s/^default_version.*/default_version = 'planted'/" dbpatterns.control; }
plant_pgindent() { c_file 'int dbp_planted ( void )' '{' 'return 0;}'; }
plant_plain_create() { sql_file 'CREATE TABLE IF NOT EXISTS _dbpatterns.planted ();'; }
plant_readme_length() { lines 250 planted >README.md; }
plant_search_path_pinned()
{
	sql_file 'CREATE FUNCTION dbpatterns.planted() RETURNS int' "AS 'SELECT 1'" 'LANGUAGE sql;'
}
plant_shellcheck() { echo 'echo $planted' >test/check/planted.sh; }
plant_top_level() { touch planted; }
plant_version_in_compat_only() { c_file '#if PG_VERSION_NUM >= 160000 /* planted */'; }

accept_function_has_comment()
{
	sql_file 'CREATE FUNCTION dbpatterns.allowed() RETURNS int' "AS 'MODULE_PATHNAME'" \
		'LANGUAGE C;' "COMMENT ON FUNCTION dbpatterns.allowed() IS 'x';"
}
accept_function_length()
{
	c_file 'void' 'dbp_allowed(void)' '{' "$(lines 80 x)" '}' \
		'/* Longer than 80 lines because x. */' \
		'void' 'dbp_allowed2(void)' '{' "$(lines 81 x)" '}'
}
accept_file_length()
{
	c_file '/* Longer than 600 lines because x. */' "$(lines 600 x)"
	mv src/zz/planted.c src/zz/allowed.c
}
accept_no_top_memory_context() { c_file '	allowed = AllocSetContextCreate(TopMemoryContext,'; }
accept_search_path_pinned()
{
	sql_file 'CREATE FUNCTION dbpatterns.allowed() RETURNS int' 'LANGUAGE sql' \
		'BEGIN ATOMIC' '	SELECT 1;' 'END;' \
		'CREATE FUNCTION dbpatterns.allowed2() RETURNS int' 'LANGUAGE sql' \
		'SET search_path = pg_catalog, pg_temp' 'AS $$ SELECT 1; $$;'
}

# try PLANT RULE: run one rule on a copy of the tree where something is planted.
try()
{
	local tree=$scratch/tree

	copy_tree "$ROOT" "$tree"
	mkdir -p "$tree/docs"
	(cd "$tree" && "$1")
	RULES=$2 bash "$ROOT/test/check/rules.sh" "$tree" 2>&1 || true
	rm -rf "$tree"
}

passed=0
failed=0
report()
{
	echo "$1 - $2"
	if [ "$1" = ok ]; then passed=$((passed + 1)); else failed=$((failed + 1)); fi
}

sed -nE 's/^rule_([a-z_]+)\(\).*/\1/p' "$ROOT/test/check/rules.sh" >"$scratch/rules"
while read -r rule; do
	if ! declare -F "plant_$rule" >/dev/null; then
		report 'not ok' "$rule: no violation is planted for it"
		continue
	fi
	case $(try "plant_$rule" "$rule") in
		*"not ok - $rule: "*) report ok "$rule" ;;
		"-- - $rule: "*installed*) echo "-- - $rule: its tool is not installed" ;;
		*) report 'not ok' "$rule: a planted violation is not seen" ;;
	esac
	if declare -F "accept_$rule" >/dev/null; then
		case $(try "accept_$rule" "$rule") in
			*allowed*) report 'not ok' "$rule: what is allowed is reported" ;;
			*) report ok "$rule: accepts what is allowed" ;;
		esac
	fi
done <"$scratch/rules"
echo "$passed passed, $failed failed"
[ "$failed" = 0 ]
