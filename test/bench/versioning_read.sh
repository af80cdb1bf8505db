# versioning_read.sh: a table as it was, over 10 million old versions of a million
# rows, BENCH_ROWS of them in all.  Versions lie in the order in which they ended.
#
# "by hand" is the best query that the index on key and end of the period allows: of
# one key, the first version that ended after the time, and no other.
#
# Variables and functions are those that run.sh describes.
# shellcheck shell=bash disable=SC2034

TITLE='AS OF over 10 million old versions'
UNIT='queries per second'
BETTER='more'
VARIANTS='byhand dbpatterns'
BASELINE=byhand
CASES='key now slice'
ROUNDS=7
LABEL=(
	[byhand]='SQL written by hand' [dbpatterns]='item__as_of'
	[key]='one key, in the past' [now]='one key, now' [slice]='1 % of the keys, in the past'
)
keys=$((${BENCH_ROWS:-10000000} / 10))

# Both variants read the tables of one of them.
prepare()
{
	[ "$1" = dbpatterns ] || return 0
	cat <<-SQL
		CREATE EXTENSION dbpatterns;
		CREATE TABLE item (id int PRIMARY KEY, amount numeric NOT NULL, note text);
		SELECT dbpatterns.versioning_enable('item');
		SET dbpatterns.versioning_import = on;
		INSERT INTO item SELECT i, i, 'a note of ' || i, tstzrange('2011-01-01'::timestamptz + i * interval '1 s', NULL)
		  FROM generate_series(1, $keys) i;
		INSERT INTO item_history SELECT i, i + v, 'a note of ' || i,
		       tstzrange('2000-01-01'::timestamptz + v * interval '1 y' + i * interval '1 s',
		                 '2000-01-01'::timestamptz + (v + 1) * interval '1 y' + i * interval '1 s')
		  FROM generate_series(1, 10) v, generate_series(1, $keys) i;
		VACUUM ANALYZE item, item_history;
	SQL
}

measure()
{
	local at="timestamptz '2001-06-01' + :year * interval '1 y'" sql

	[ "$2" = now ] && at='now()'
	case $1.$2 in
		dbpatterns.slice)
			sql="SELECT sum(amount) FROM item__as_of($at) WHERE id BETWEEN :id AND :id + $keys / 100" ;;
		byhand.slice)
			sql="SELECT sum(amount) FROM (SELECT amount FROM item
				WHERE id BETWEEN :id AND :id + $keys / 100 AND sys_period @> $at
				UNION ALL SELECT amount FROM item_history WHERE id BETWEEN :id AND :id + $keys / 100
				AND upper(sys_period) > $at AND sys_period @> $at) x" ;;
		dbpatterns.*)
			sql="SELECT * FROM item__as_of($at) WHERE id = :id" ;;
		byhand.*)
			sql="SELECT * FROM item WHERE id = :id AND sys_period @> $at
				UNION ALL SELECT * FROM (SELECT * FROM item_history
				WHERE id = :id AND upper(sys_period) > $at ORDER BY upper(sys_period) LIMIT 1) x
				WHERE sys_period @> $at" ;;
	esac
	tps dbpatterns 1 5 "
		\\set id random(1, $keys * 98 / 100)
		\\set year random(0, 8)
		${sql//$'\n'/ };"
}
