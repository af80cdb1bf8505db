# hierarchy_insert.sh: what a closure table costs a transaction that inserts one
# leaf, the statement prepared.  The leaf comes at depth 6 of a tree of 37 449
# nodes; the table has a foreign key and its index with and without.
#
# "durable" is the server as it comes; with synchronous_commit = off no
# transaction waits for the disk, so that all the work of the trigger shows.
#
# Variables and functions are those that run.sh describes.
# shellcheck shell=bash disable=SC2034

TITLE='INSERT of one leaf at depth 6 with a closure table'
UNIT='tps'
BETTER='more'
VARIANTS='plain dbpatterns plpgsql'
BASELINE=plain
CASES='durable1 durable8 async1 async8'
ROUNDS=7
LABEL=(
	[plain]='no closure table' [dbpatterns]='dbpatterns' [plpgsql]='PL/pgSQL row trigger'
	[durable1]='1 client, durable' [durable8]='8 clients, durable'
	[async1]='1 client, synchronous_commit = off'
	[async8]='8 clients, synchronous_commit = off'
)

# Nodes 4682 to 37449 are those at depth 5.
prepare()
{
	cat <<-'SQL'
		CREATE EXTENSION dbpatterns;
		CREATE TABLE node (id bigint PRIMARY KEY, parent_id bigint REFERENCES node);
		CREATE INDEX ON node (parent_id);
		CREATE SEQUENCE node_id START 40000 CACHE 100;
		INSERT INTO node SELECT i, CASE WHEN i > 1 THEN (i - 2) / 8 + 1 END FROM generate_series(1, 37449) i;
	SQL
	case $1 in
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
	local commit=on

	[ "${2%?}" = durable ] || commit=off
	PGOPTIONS="-c synchronous_commit=$commit" tps "$1" "${2: -1}" 5 "
		\\set parent random(4682, 37449)
		INSERT INTO node VALUES (nextval('node_id'), :parent);"
}
