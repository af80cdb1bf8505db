# versioning_oltp.sh: what versioning costs a transaction that updates one row by
# its primary key, the statement prepared.  "durable" is the server as it comes;
# with synchronous_commit = off no transaction waits for the disk.
#
# "the trigger" is dbpatterns.versioning, the one that has the name and arguments
# of temporal_tables'.
#
# Variables and functions are those that run.sh describes.
# shellcheck shell=bash disable=SC2034

TITLE='UPDATE of one row by primary key, versioned'
UNIT='tps'
BETTER='more'
VARIANTS='plain dbpatterns dropin temporal plpgsql'
BASELINE=plain
CASES='durable1 durable8 async1 async8'
ROUNDS=7
EXTENSION=([temporal]=temporal_tables)
LABEL=(
	[plain]='not versioned' [dbpatterns]='versioning_enable' [dropin]='the trigger alone'
	[temporal]='temporal_tables' [plpgsql]='PL/pgSQL row trigger'
	[durable1]='1 client, durable' [durable8]='8 clients, durable'
	[async1]='1 client, synchronous_commit = off'
	[async8]='8 clients, synchronous_commit = off'
)

prepare()
{
	echo "\\! '$STAGE/test/data/load.sh' -d bench_$1"
	cat "$STAGE/test/bench/item.sql"
	versioned_item "$1"
	echo 'VACUUM ANALYZE item;'
}

# versioned_item VARIANT: the SQL that makes table item a versioned one.
versioned_item()
{
	local trigger='CREATE TRIGGER versioning BEFORE INSERT OR UPDATE OR DELETE ON item FOR EACH ROW EXECUTE FUNCTION'

	case $1 in
		dbpatterns)
			echo "CREATE EXTENSION dbpatterns; SELECT dbpatterns.versioning_enable('item');" ;;
		dropin)
			cat "$STAGE/test/bench/versioning_baseline.sql"
			echo "CREATE EXTENSION dbpatterns; $trigger dbpatterns.versioning('sys_period', 'item_history', true);" ;;
		temporal)
			cat "$STAGE/test/bench/versioning_baseline.sql"
			echo "CREATE EXTENSION temporal_tables; $trigger versioning('sys_period', 'item_history', true);" ;;
		plpgsql)
			cat "$STAGE/test/bench/versioning_baseline.sql"
			echo "$trigger version_item();" ;;
	esac
}

measure()
{
	local commit=on

	[ "${2%?}" = durable ] || commit=off
	PGOPTIONS="-c synchronous_commit=$commit -c client_min_messages=error" tps "$1" "${2: -1}" 5 '
		\set id random(1, 101000)
		UPDATE item SET installed_size_kb = installed_size_kb + 1, updated_at = now() WHERE id = :id;'
}
