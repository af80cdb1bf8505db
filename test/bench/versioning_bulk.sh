# versioning_bulk.sh: what versioning costs a statement that changes 101 000 rows.
#
# The last column is the time that a variant adds, as a share of what temporal_tables
# adds, or, where that is not installed, the trigger in PL/pgSQL.
#
# Variables and functions are those that run.sh describes.
# shellcheck shell=bash disable=SC2034

# shellcheck source-path=SCRIPTDIR source=versioning_oltp.sh
. "$STAGE/test/bench/versioning_oltp.sh"

TITLE='One statement, 101 000 rows, versioned'
UNIT=ms
BETTER=less
ADDED_TO=$(psql -X -At -c "SELECT 'temporal' FROM pg_available_extensions WHERE name = 'temporal_tables'")
ADDED_TO=${ADDED_TO:-plpgsql}
CASES='insert update delete'
ROUNDS=7
LABEL+=([insert]='INSERT' [update]='UPDATE of 2 columns' [delete]='DELETE')

measure()
{
	local columns='id, maintainer_id, name, source, version, installed_size_kb, packed_ratio, attributes, released_at, updated_at'
	local empty='ALTER TABLE item DISABLE TRIGGER USER; TRUNCATE item; ALTER TABLE item ENABLE TRIGGER USER;'
	local period='' fill='' before work

	[ "$1" = plain ] || {
		period='TRUNCATE item_history;'
		fill="ALTER TABLE item ALTER sys_period SET DEFAULT '[2000-01-01,)';"
	}
	fill="ALTER TABLE item DISABLE TRIGGER USER; TRUNCATE item; $fill INSERT INTO item ($columns) SELECT $columns FROM item_copy; ALTER TABLE item ENABLE TRIGGER USER;"
	case $2 in
		insert)
			work="INSERT INTO item ($columns) SELECT $columns FROM item_copy"
			before="$empty" ;;
		update)
			work='UPDATE item SET installed_size_kb = coalesce(installed_size_kb, 0) + 1, updated_at = clock_timestamp()'
			before="$fill" ;;
		delete)
			work='DELETE FROM item'
			before="$fill" ;;
	esac
	milliseconds "$1" "$period $before; VACUUM FULL ANALYZE item; CHECKPOINT" "$work"
}
