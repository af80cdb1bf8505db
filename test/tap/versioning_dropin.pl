# The trigger of temporal_tables: it comes back from a dump with no manual step,
# rows can be restored with their periods, a subscriber writes no versions of its
# own, a prepared transaction keeps its versions, and memory stays flat.
use strict;
use warnings;
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;

my $node = PostgreSQL::Test::Cluster->new('main');
$node->init(allows_streaming => 'logical');
$node->append_conf('postgresql.conf',
	"fsync = off\nautovacuum = off\nmax_wal_size = '4GB'\nshared_buffers = '16MB'\nmax_prepared_transactions = 2");
$node->start;
my $dir = $node->basedir;

sub sql
{
	my ($db, $text) = @_;
	return $node->safe_psql($db, $text);
}

# ---- dump and restore ------------------------------------------------------

sql('postgres', 'CREATE DATABASE old');
sql('old', q{
	CREATE EXTENSION dbpatterns;
	CREATE SCHEMA "odd Schema";
	CREATE TABLE "odd Schema"."a table" (gone int, id int PRIMARY KEY, v text, sys_period tstzrange NOT NULL);
	ALTER TABLE "odd Schema"."a table" DROP gone;
	CREATE TABLE "odd Schema"."its past" (LIKE "odd Schema"."a table");
	CREATE TRIGGER versioning BEFORE INSERT OR UPDATE OR DELETE ON "odd Schema"."a table"
		FOR EACH ROW EXECUTE FUNCTION dbpatterns.versioning('sys_period', '"its past"', true);
	CREATE TRIGGER versioning_write AFTER INSERT OR UPDATE OR DELETE ON "odd Schema"."a table"
		FOR EACH ROW EXECUTE FUNCTION dbpatterns.versioning('sys_period', '"its past"', true);
	CREATE TABLE part (id int, region text, sys_period tstzrange, version int) PARTITION BY LIST (region);
	CREATE TABLE part_a PARTITION OF part FOR VALUES IN ('a');
	CREATE TABLE part_b PARTITION OF part FOR VALUES IN ('b');
	CREATE TABLE part_history (LIKE part);
	CREATE TRIGGER versioning BEFORE INSERT OR UPDATE OR DELETE ON part
		FOR EACH ROW EXECUTE FUNCTION dbpatterns.versioning('sys_period', 'public.part_history', true, true, true, false, true);
	SELECT dbpatterns.set_system_time('2001-01-01');
	INSERT INTO "odd Schema"."a table" SELECT i, 'one' FROM generate_series(1, 100) i;
	INSERT INTO part SELECT i, 'a' FROM generate_series(1, 100) i;
	SELECT dbpatterns.set_system_time('2001-01-02');
	UPDATE "odd Schema"."a table" SET v = 'two' WHERE id < 50;
	UPDATE part SET region = 'b' WHERE id < 50;
	DELETE FROM part WHERE id > 90;
});
my $rows = q{
	SELECT (SELECT md5(string_agg(t::text, ',' ORDER BY id)) FROM "odd Schema"."a table" t),
		(SELECT md5(string_agg(t::text, ',' ORDER BY id, sys_period)) FROM "odd Schema"."its past" t),
		(SELECT md5(string_agg(t::text, ',' ORDER BY id)) FROM part t),
		(SELECT md5(string_agg(t::text, ',' ORDER BY id, sys_period)) FROM part_history t)};
my $wanted = sql('old', $rows);

sub check_restored
{
	my ($db, $how) = @_;
	is(sql($db, $rows), $wanted, "$how: rows and versions");
	is( sql($db, q{
			BEGIN;
			SELECT dbpatterns.set_system_time('2001-01-03');
			UPDATE "odd Schema"."a table" SET v = 'three' WHERE id = 1;
			UPDATE part SET region = 'a' WHERE id = 1;
			SELECT v FROM "odd Schema"."its past" WHERE id = 1 ORDER BY sys_period;
			SELECT region, version FROM part_history WHERE id = 1 ORDER BY sys_period;
			ROLLBACK}),
		"\none\ntwo\na|1\nb|2\na|3", "$how: and it goes on");
	return;
}

$node->run_log([ 'pg_dump', '-Fc', '-f', "$dir/old.dump", $node->connstr('old') ]);
sql('postgres', 'CREATE DATABASE whole');
$node->command_ok([ 'pg_restore', '-e', '-d', $node->connstr('whole'), "$dir/old.dump" ], 'restore');
check_restored('whole', 'restored');

# The data alone, into tables with their triggers.
sql('postgres', 'CREATE DATABASE parts');
$node->command_ok([ 'pg_restore', '-e', '-s', '-d', $node->connstr('parts'), "$dir/old.dump" ],
	'restore without data');
{
	local $ENV{PGOPTIONS} = '-c dbpatterns.versioning_import=on';
	$node->command_ok([ 'pg_restore', '-e', '-a', '-d', $node->connstr('parts'), "$dir/old.dump" ],
		'restore of data alone');
}
check_restored('parts', 'in import mode');
sql('parts', 'TRUNCATE "odd Schema"."a table", "odd Schema"."its past", part, part_history');
$node->command_ok([ 'pg_restore', '-e', '-a', '--disable-triggers', '-d', $node->connstr('parts'), "$dir/old.dump" ],
	'restore of data alone, without triggers');
check_restored('parts', 'without triggers');

# ---- prepared transactions, replication ------------------------------------

sql('postgres', 'CREATE DATABASE two');
sql('two', q{
	CREATE EXTENSION dbpatterns;
	CREATE TABLE base (id int PRIMARY KEY, v int, sys_period tstzrange);
	CREATE TABLE history (LIKE base);
	CREATE TRIGGER versioning BEFORE INSERT OR UPDATE OR DELETE ON base
		FOR EACH ROW EXECUTE FUNCTION dbpatterns.versioning('sys_period', 'history', true);
	INSERT INTO base VALUES (1, 1), (2, 1);
	BEGIN;
	SELECT dbpatterns.set_system_time('2999-01-01');
	UPDATE base SET v = 2 WHERE id = 1;
	PREPARE TRANSACTION 'a';
	BEGIN;
	UPDATE base SET v = 2 WHERE id = 2;
	PREPARE TRANSACTION 'b';
});
$node->restart;
sql('two', q{COMMIT PREPARED 'a'; ROLLBACK PREPARED 'b'});
is(sql('two', 'SELECT id, v, upper(sys_period) > now() FROM history'), '1|1|t',
	'a prepared transaction has its versions, one that is rolled back none');

sql('postgres', 'CREATE DATABASE copy');
sql('copy', q{
	CREATE EXTENSION dbpatterns;
	CREATE TABLE base (id int PRIMARY KEY, v int, sys_period tstzrange);
	CREATE TABLE history (LIKE base);
	CREATE TRIGGER versioning BEFORE INSERT OR UPDATE OR DELETE ON base
		FOR EACH ROW EXECUTE FUNCTION dbpatterns.versioning('sys_period', 'history', true);
});
sql('two', q{CREATE PUBLICATION pub FOR TABLE base, history; SELECT pg_create_logical_replication_slot('sub', 'pgoutput')});
my $connstr = $node->connstr . ' dbname=two';
sql('copy', "CREATE SUBSCRIPTION sub CONNECTION '$connstr' PUBLICATION pub WITH (create_slot = false, slot_name = 'sub')");
$node->poll_query_until('copy', q{SELECT count(*) = 0 FROM pg_subscription_rel WHERE srsubstate NOT IN ('r', 's')});
sql('two', 'UPDATE base SET v = v + 10; DELETE FROM base WHERE id = 2');
$node->wait_for_catchup('sub', 'replay', sql('two', 'SELECT pg_current_wal_lsn()'));
my $both = q{SELECT 'now', * FROM base UNION ALL SELECT 'then', * FROM history ORDER BY 1, 2, 4};
is(sql('copy', $both), sql('two', $both), 'a subscriber has the same versions, and none twice');
sql('copy', 'ALTER SUBSCRIPTION sub DISABLE; ALTER SUBSCRIPTION sub SET (slot_name = NONE); DROP SUBSCRIPTION sub');
sql('two', q{SELECT pg_drop_replication_slot('sub')});

# ---- memory: DBP_ROWS=1000000 tries a million -------------------------------

my $rows = $ENV{DBP_ROWS} || 200_000;

sql('postgres', 'CREATE DATABASE much');
sql('much', qq{
	CREATE EXTENSION dbpatterns;
	CREATE FUNCTION peak() RETURNS bigint LANGUAGE sql AS
		\$\$ SELECT substring(pg_read_file('/proc/self/status', 0, 100000) FROM 'VmHWM:\\s+(\\d+) kB')::bigint \$\$;
	CREATE FUNCTION used() RETURNS bigint LANGUAGE sql AS
		\$\$ SELECT sum(used_bytes)::bigint FROM pg_backend_memory_contexts \$\$;
	CREATE TABLE plain (id int PRIMARY KEY, v int, t text, sys_period tstzrange);
	INSERT INTO plain SELECT i, 0, repeat('x', 20), '[2000-01-01,)' FROM generate_series(1, $rows) i;
	-- Some servers lose a few bytes for each row with a BEFORE trigger, whatever it is.
	CREATE TRIGGER other BEFORE UPDATE ON plain FOR EACH ROW EXECUTE FUNCTION suppress_redundant_updates_trigger();
	CREATE TABLE base (LIKE plain INCLUDING ALL);
	INSERT INTO base TABLE plain;
	CREATE TABLE history (LIKE plain);
	CREATE INDEX ON history (id);
	CREATE TRIGGER versioning BEFORE INSERT OR UPDATE OR DELETE ON base
		FOR EACH ROW EXECUTE FUNCTION dbpatterns.versioning('sys_period', 'history', true);
});
SKIP:
{
	skip 'no /proc here', 2 unless -r '/proc/self/status';
	foreach my $statement ('UPDATE %s SET v = v + 1', 'DELETE FROM %s')
	{
		my ($name) = $statement =~ /(\w+)/;
		my $without = sql('much', sprintf("$statement; SELECT peak()", 'plain'));
		my $with = sql('much', sprintf("$statement; SELECT peak()", 'base'));
		my $more = int(($with - $without) / 1024);
		cmp_ok($more, '<=', 16, "$name of $rows rows needs $more MB more");
	}
}
is(sql('much', 'SELECT count(*) FROM history'), 2 * $rows, 'and writes all versions');

# Histories that take the slower road, and those that hold the current versions.
sql('much', q{
	TRUNCATE base, history;
	INSERT INTO base SELECT i, 0, 'x' FROM generate_series(1, 100) i;
	CREATE TABLE checked (LIKE base, CHECK (v >= 0), entry bigserial);
	CREATE PROCEDURE statements(n int) LANGUAGE plpgsql AS $$
	BEGIN
		FOR i IN 1..n LOOP
			UPDATE base SET v = v + 1 WHERE id = i % 100 + 1;
			IF i % 1000 = 0 THEN COMMIT; END IF;
		END LOOP;
	END $$;
	CREATE PROCEDURE changes(n int) LANGUAGE plpgsql AS $$
	BEGIN
		FOR i IN 1..n LOOP
			ALTER TABLE base ADD COLUMN x int DEFAULT 1;
			UPDATE base SET x = i WHERE id = 1;
			ALTER TABLE base DROP COLUMN x;
			UPDATE base SET v = i WHERE id = 1;
			COMMIT;
		END LOOP;
	END $$;
});
foreach my $how ([ 'history', 'true' ], [ 'checked', 'true' ], [ 'history', 'true, false, true' ])
{
	my ($before, $after, $more) = split /\n/, sql('much', qq{
		SET client_min_messages = error;
		CREATE OR REPLACE TRIGGER versioning BEFORE INSERT OR UPDATE OR DELETE ON base
			FOR EACH ROW EXECUTE FUNCTION dbpatterns.versioning('sys_period', $how->[0], $how->[1]);
		TRUNCATE history;
		CALL statements(5000);
		CALL changes(20);
		SELECT used();
		CALL statements(30000);
		SELECT used();
		CALL changes(200);
		SELECT used();
	});
	cmp_ok($after - $before, '<', 200_000, "$how->[0], $how->[1]: 30000 statements leave " . ($after - $before) . ' bytes');
	cmp_ok($more - $after, '<', 300_000, "$how->[0], $how->[1]: 400 changes of the layout leave " . ($more - $after) . ' bytes');
}

$node->stop;
done_testing();
