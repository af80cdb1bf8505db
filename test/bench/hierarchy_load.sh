# hierarchy_load.sh: one INSERT of 1 million nodes with a closure table.
#
# "by hand" inserts the same nodes without it and then, in the same transaction,
# the finished pairs from a table, in the order of the primary key, into one with
# the same indexes:
# no trigger can do with less.  BENCH_NODES is the number of nodes.
#
# Variables and functions are those that run.sh describes.
# shellcheck shell=bash disable=SC2034

TITLE='INSERT of 1 million nodes with a closure table'
UNIT=ms
BETTER=less
VARIANTS='byhand dbpatterns plpgsql'
BASELINE=byhand
CASES='ary random'
ROUNDS=3
NODES=${BENCH_NODES:-1000000}
LABEL=(
	[byhand]='nodes, then INSERT ... SELECT of finished pairs' [dbpatterns]='dbpatterns'
	[plpgsql]='PL/pgSQL row trigger'
	[ary]='8-ary, 7.7 million pairs' [random]='random, 14 million pairs'
)

prepare()
{
	cat <<-SQL
		CREATE EXTENSION dbpatterns;
		CREATE TABLE node (id int PRIMARY KEY, parent_id int);
		CREATE INDEX ON node (parent_id);
		SELECT setseed(0.5);
		CREATE TABLE ary AS SELECT i AS id, CASE WHEN i > 1 THEN (i - 2) / 8 + 1 END AS parent_id
			FROM generate_series(1, $NODES) i;
		CREATE TABLE random AS SELECT i AS id, CASE WHEN i > 1 THEN 1 + floor(random() * (i - 1))::int END AS parent_id
			FROM generate_series(1, $NODES) i;
	SQL
	case $1 in
		byhand)
			cat <<-'SQL'
				SELECT dbpatterns.closure_enable('node', 'parent_id');
				INSERT INTO node TABLE ary;
				CREATE TABLE ary_pairs AS SELECT * FROM node_closure ORDER BY ancestor, descendant;
				TRUNCATE node;
				INSERT INTO node TABLE random;
				CREATE TABLE random_pairs AS SELECT * FROM node_closure ORDER BY ancestor, descendant;
				TRUNCATE node;
				SELECT dbpatterns.closure_disable('node');
			SQL
			;;
		dbpatterns)
			echo "SELECT dbpatterns.closure_enable('node', 'parent_id');" ;;
		plpgsql)
			echo "SELECT dbpatterns.closure_enable('node', 'parent_id'); SELECT dbpatterns.closure_disable('node');"
			cat "$STAGE/test/bench/hierarchy_baseline.sql" ;;
	esac
	echo 'VACUUM ANALYZE;'
}

measure()
{
	local before='TRUNCATE node; TRUNCATE node_closure; CHECKPOINT' pairs=

	[ "$1" != byhand ] || pairs="INSERT INTO node_closure TABLE $2_pairs;"
	milliseconds "$1" "$before" "BEGIN; INSERT INTO node TABLE $2; $pairs COMMIT"
}
