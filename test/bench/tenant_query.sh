# tenant_query.sh: queries of one of 1 000 tenants, 1 million rows.
#
# "by hand" has the same tables and indexes without row-level security, and writes
# WHERE tenant_id = ... for each table.  All variants set the tenant first, so that
# only the queries differ; short ones are run five times in a transaction.
#
# Variables and functions are those that run.sh describes.
# shellcheck shell=bash disable=SC2034

TITLE='Queries of one of 1 000 tenants, 1 million rows'
UNIT='tps'
BETTER='more'
VARIANTS='byhand initplan bare'
BASELINE=byhand
CASES='point_prepared point_simple range_prepared range_simple join_prepared join_simple count_prepared count_simple scan_prepared partition_prepared partition_simple'
ROUNDS=5
LABEL=(
	[byhand]='WHERE by hand, no policies' [initplan]='dbpatterns, initplan' [bare]='dbpatterns, bare'
	[point_prepared]='row by key, prepared' [point_simple]='row by key, planned each time'
	[range_prepared]='range of dates, prepared' [range_simple]='range of dates, planned each time'
	[join_prepared]='join of 5 tables, prepared' [join_simple]='join of 5 tables, planned each time'
	[count_prepared]='count by index, prepared' [count_simple]='count by index, planned each time'
	[scan_prepared]='sequential scan, prepared'
	[partition_prepared]='one of 16 partitions, prepared' [partition_simple]='one of 16 partitions, planned each time'
)

prepare()
{
	cat <<-'SQL'
		CREATE EXTENSION dbpatterns;
		DO $$ BEGIN CREATE ROLE bench_app LOGIN; EXCEPTION WHEN duplicate_object THEN NULL; END $$;
		GRANT EXECUTE ON FUNCTION dbpatterns.tenant_set(text, text) TO bench_app;
		CREATE TABLE item (tenant_id int NOT NULL, id int, day date NOT NULL, v int NOT NULL, PRIMARY KEY (tenant_id, id));
		INSERT INTO item SELECT i % 1000, i, '2026-01-01'::date + i / 1000 % 365, i FROM generate_series(1, 1000000) i;
		CREATE INDEX ON item (tenant_id, day);
		CREATE TABLE customer (tenant_id int NOT NULL, id int, name text, PRIMARY KEY (tenant_id, id));
		CREATE TABLE orders (tenant_id int NOT NULL, id int, customer int, day date, PRIMARY KEY (tenant_id, id));
		CREATE TABLE line (tenant_id int NOT NULL, orders int, product int, amount int, PRIMARY KEY (tenant_id, orders, product));
		CREATE TABLE product (tenant_id int NOT NULL, id int, price int, PRIMARY KEY (tenant_id, id));
		CREATE TABLE payment (tenant_id int NOT NULL, orders int, paid int, PRIMARY KEY (tenant_id, orders));
		INSERT INTO customer SELECT i % 1000, i / 1000, 'c' || i FROM generate_series(0, 99999) i;
		INSERT INTO product SELECT i % 1000, i / 1000, i FROM generate_series(0, 49999) i;
		INSERT INTO orders SELECT i % 1000, i / 1000, i / 1000 % 100, '2026-01-01'::date + i % 365 FROM generate_series(0, 299999) i;
		INSERT INTO line SELECT i % 1000, i / 2000, i / 1000 % 50, 1 FROM generate_series(0, 599999) i;
		INSERT INTO payment SELECT i % 1000, i / 1000, i FROM generate_series(0, 299999) i;
		CREATE TABLE event (tenant_id int NOT NULL, id int, v int) PARTITION BY HASH (tenant_id);
		SELECT format('CREATE TABLE event_%s PARTITION OF event FOR VALUES WITH (MODULUS 16, REMAINDER %s)', i, i)
			FROM generate_series(0, 15) i
		\gexec
		INSERT INTO event SELECT i % 1000, i, i FROM generate_series(1, 200000) i;
		CREATE INDEX ON event (tenant_id, id);
		GRANT SELECT ON ALL TABLES IN SCHEMA public TO bench_app;
	SQL
	[ "$1" = byhand ] || cat <<-SQL
		SELECT count(*) FROM dbpatterns.tenant_enable_schema('public', form => '$1');
	SQL
	echo 'VACUUM ANALYZE;'
}

measure()
{
	local mine='' mode=${2#*_} query times=5 user=(-U bench_app)
	local join='SELECT sum(l.amount * p.price), sum(y.paid) FROM customer c, orders o, line l, product p, payment y
		WHERE c.id = :n AND o.customer = c.id AND l.orders = o.id AND p.id = l.product AND y.orders = o.id'

	case ${2%_*} in
		point) query="SELECT v FROM item WHERE id = :n * 1000 + :tenant" mine=item ;;
		range) query="SELECT sum(v) FROM item WHERE day BETWEEN '2026-03-01' AND '2026-03-30'" mine=item ;;
		join) query=$join mine='c o l p y' ;;
		count) query="SELECT count(*) FROM item WHERE true" mine=item ;;
		scan) query="SELECT count(v) FROM item WHERE true" mine=item times=1 ;;
		partition) query="SELECT sum(v) FROM event WHERE id > 100000" mine=event ;;
	esac
	if [ "$1" = byhand ]; then
		user=()			# a superuser, whom policies do not apply to
		for table in $mine; do query+=" AND $table.tenant_id = :tenant"; done
	fi
	PGOPTIONS="$([ "${2%_*}" != scan ] || echo '-c enable_indexscan=off -c enable_indexonlyscan=off -c enable_bitmapscan=off') -c max_parallel_workers_per_gather=0" \
		tps "$1" 1 3 "
		\\set tenant random(1, 999)
		\\set n random(1, 99)
		BEGIN;
		SELECT dbpatterns.tenant_set((:tenant)::text);
		$(for ((i = 0; i < times; i++)); do echo "$query;" | tr '\n\t' '  '; echo; done)
		COMMIT;" -M "$mode" "${user[@]}"
}
