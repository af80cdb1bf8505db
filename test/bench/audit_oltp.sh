# audit_oltp.sh: what auditing costs a transaction that updates one row by its
# primary key, the statement prepared.  "durable" is the server as it comes;
# with synchronous_commit = off no transaction waits for the disk, so that all
# the processor work of the trail shows.
#
# Variables and functions are those that run.sh describes.
# shellcheck shell=bash disable=SC2034

TITLE='UPDATE of one row by primary key, audited'
UNIT='tps'
BETTER='more'
VARIANTS='plain dbpatterns plpgsql'
BASELINE=plain
CASES='durable1 durable8 async1 async8'
ROUNDS=7
LABEL=(
	[plain]='not audited' [dbpatterns]='dbpatterns' [plpgsql]='PL/pgSQL row trigger'
	[durable1]='1 client, durable' [durable8]='8 clients, durable'
	[async1]='1 client, synchronous_commit = off'
	[async8]='8 clients, synchronous_commit = off'
)

prepare()
{
	echo "\\! '$STAGE/test/data/load.sh' -d bench_$1"
	cat "$STAGE/test/bench/item.sql"
	case $1 in
		dbpatterns)
			echo "CREATE EXTENSION dbpatterns; CALL dbpatterns.audit_run(); SELECT dbpatterns.audit_enable('item');" ;;
		plpgsql)
			cat "$STAGE/test/bench/audit_baseline.sql"
			echo 'CREATE TRIGGER audit AFTER INSERT OR UPDATE OR DELETE ON item
				FOR EACH ROW EXECUTE FUNCTION log_diff();' ;;
	esac
	echo 'VACUUM ANALYZE item;'
}

measure()
{
	local commit=on

	[ "${2%?}" = durable ] || commit=off
	PGOPTIONS="-c synchronous_commit=$commit" tps "$1" "${2: -1}" 5 '
		\set id random(1, 5050)
		UPDATE item SET installed_size_kb = installed_size_kb + 1, updated_at = now() WHERE id = :id;'
}
