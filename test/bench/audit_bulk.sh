# audit_bulk.sh: what auditing costs a statement that changes 101 000 rows.
#
# "by hand" is SQL without a trigger that writes its own log entries:
# WITH x AS (UPDATE ... RETURNING *) INSERT INTO log SELECT ..., to_jsonb(x).
#
# Variables and functions are those that run.sh describes.
# shellcheck shell=bash disable=SC2034

TITLE='One statement, 101 000 rows, audited'
UNIT=ms
BETTER=less
VARIANTS='plain dbpatterns byhand plpgsql tablelog'
BASELINE=plain
ADDED_TO=plpgsql
CASES='insert update delete'
ROUNDS=7
EXTENSION=([tablelog]=table_log)
LABEL=(
	[plain]='not audited' [dbpatterns]='dbpatterns'
	[byhand]='SQL written by hand' [plpgsql]='PL/pgSQL row trigger'
	[tablelog]='table_log'
	[insert]='INSERT' [update]='UPDATE of 2 columns' [delete]='DELETE'
)

prepare()
{
	echo "\\! '$STAGE/test/data/load.sh' -d bench_$1"
	cat "$STAGE/test/bench/item.sql"
	case $1 in
		dbpatterns)
			echo "CREATE EXTENSION dbpatterns; CALL dbpatterns.audit_run(); SELECT dbpatterns.audit_enable('item');" ;;
		byhand)
			cat "$STAGE/test/bench/audit_baseline.sql" ;;
		plpgsql)
			cat "$STAGE/test/bench/audit_baseline.sql"
			echo 'CREATE TRIGGER audit AFTER INSERT OR UPDATE OR DELETE ON item
				FOR EACH ROW EXECUTE FUNCTION log_diff();' ;;
		tablelog)
			echo "CREATE EXTENSION table_log;
				SELECT table_log_init(5, 'public', 'item', 'public', 'item_log', 'SINGLE', true);" ;;
	esac
}

measure()
{
	local work before='VACUUM FULL ANALYZE item; CHECKPOINT' id
	local fill='ALTER TABLE item DISABLE TRIGGER USER; TRUNCATE item; INSERT INTO item SELECT * FROM item_copy; ALTER TABLE item ENABLE TRIGGER USER'

	case $2 in
		insert)
			before="ALTER TABLE item DISABLE TRIGGER USER; TRUNCATE item; ALTER TABLE item ENABLE TRIGGER USER; $before"
			work='INSERT INTO item SELECT * FROM item_copy' ;;
		update)
			before="$fill; $before"
			work='UPDATE item SET installed_size_kb = coalesce(installed_size_kb, 0) + 1, updated_at = clock_timestamp()' ;;
		delete)
			before="$fill; $before"
			work='DELETE FROM item' ;;
	esac
	if [ "$1" = byhand ]; then
		id=${2%"${2#?}"}
		work="WITH x AS ($work RETURNING *) INSERT INTO log (tab, op, row_id, new) SELECT 'item', upper('$id')::\"char\", x.id, to_jsonb(x) FROM x"
	fi
	milliseconds "$1" "$before" "$work"
}
