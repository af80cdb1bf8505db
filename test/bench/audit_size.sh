# audit_size.sh: bytes that one entry takes in the log, indexes included, when
# 101 000 rows have 2 of their 10 columns updated.
#
# Variables and functions are those that run.sh describes.
# shellcheck shell=bash disable=SC2034

TITLE='Bytes of a log entry, 2 of 10 columns updated'
UNIT=bytes
BETTER=less
VARIANTS='full dbpatterns diff'
BASELINE=full
ROUNDS=1
LABEL=(
	[full]='PL/pgSQL, whole rows' [diff]='PL/pgSQL, changed columns' [dbpatterns]='dbpatterns'
)

prepare()
{
	echo "\\! '$STAGE/test/data/load.sh' -d bench_$1"
	cat "$STAGE/test/bench/item.sql"
	if [ "$1" = dbpatterns ]; then
		echo "CREATE EXTENSION dbpatterns; CALL dbpatterns.audit_run(); SELECT dbpatterns.audit_enable('item');"
	else
		cat "$STAGE/test/bench/audit_baseline.sql"
		echo "CREATE TRIGGER audit AFTER UPDATE ON item FOR EACH ROW EXECUTE FUNCTION log_$1();"
	fi
	echo 'UPDATE item SET installed_size_kb = coalesce(installed_size_kb, 0) + 1, updated_at = clock_timestamp();'
}

measure()
{
	if [ "$1" = dbpatterns ]; then
		number "$1" "
			SELECT round(sum(pg_total_relation_size(relid)) /
			             (SELECT count(*) FROM _dbpatterns.audit_log))
			FROM pg_partition_tree('_dbpatterns.audit_log')"
	else
		number "$1" "SELECT round(pg_total_relation_size('log') / count(*)::numeric) FROM log"
	fi
}
