# tenant_begin.sh: a transaction that reads one row by its key, with and without a tenant.
#
# Scripts of 2 000 transactions, each with a token of its own where there are tokens, made
# beforehand.  The call is sent in one message with BEGIN, as drivers can do; "a query
# more" has a SELECT that does nothing in its place.
#
# Variables and functions are those that run.sh describes.
# shellcheck shell=bash disable=SC2034

TITLE='A transaction that reads one row, with a tenant'
UNIT='ms'
BETTER='less'
VARIANTS='none query set token'
BASELINE=none
CASES='one'
ROUNDS=7
LABEL=(
	[none]='no tenant' [query]='a query more' [set]='tenant_set' [token]='tenant_begin with a token'
	[one]='2 000 transactions'
)

prepare()
{
	cat <<-'SQL'
		CREATE EXTENSION dbpatterns;
		CREATE TABLE account (id int PRIMARY KEY, balance int);
		INSERT INTO account SELECT i, i FROM generate_series(1, 100000) i;
		SELECT dbpatterns.tenant_key_create('default');
		VACUUM ANALYZE;
	SQL
}

measure()
{
	local call=

	case $1 in
		query) call='SELECT %L;' ;;
		set) call='SELECT dbpatterns.tenant_set(%L);' ;;
		token) call='SELECT dbpatterns.tenant_begin(%L);' ;;
	esac
	number "$1" "
		SELECT CASE WHEN '$1' = 'none' THEN E'BEGIN;\n'
			ELSE format(E'BEGIN \\\\; $call\n', CASE WHEN '$1' = 'token'
				THEN dbpatterns.tenant_token('acme', 'ann', valid => '30 minutes') ELSE 'acme' END) END ||
			format(E'SELECT balance FROM account WHERE id = %s;\nCOMMIT;', 1 + i * 37 % 100000)
		FROM generate_series(1, 2000) i" >"$WORK/transactions.sql"
	as_user pgbench -n -c 1 -t 1 -f "$WORK/transactions.sql" "bench_$1" 2>"$WORK/log/pgbench.log" |
		sed -nE 's/^latency average = ([0-9.]+) ms.*/\1/p'
}
