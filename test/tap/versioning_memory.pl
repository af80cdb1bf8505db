# Memory stays flat: a statement of many rows needs hardly more with versions than
# without (the server's own queue of trigger events), and many statements leave
# nothing behind.  DBP_ROWS=1000000 tries a million.
use strict;
use warnings;
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;

my $rows = $ENV{DBP_ROWS} || 200_000;
my $allowed = int(16 + 48 * $rows / 1_000_000);
my $node = PostgreSQL::Test::Cluster->new('main');
$node->init;
$node->append_conf('postgresql.conf',
	"shared_buffers = '16MB'\nfsync = off\nautovacuum = off\nmax_wal_size = '4GB'\nwal_level = minimal\nmax_wal_senders = 0\nsynchronous_commit = off");
$node->start;
sub sql { return $node->safe_psql('postgres', shift); }

sql(qq{
	CREATE EXTENSION dbpatterns;
	CREATE FUNCTION peak() RETURNS bigint LANGUAGE sql AS
		\$\$ SELECT substring(pg_read_file('/proc/self/status', 0, 100000) FROM 'VmHWM:\\s+(\\d+) kB')::bigint \$\$;
	CREATE FUNCTION used() RETURNS bigint LANGUAGE sql AS
		\$\$ SELECT sum(used_bytes)::bigint FROM pg_backend_memory_contexts \$\$;
	CREATE TABLE plain AS SELECT i AS id, 0 AS v, repeat('x', 20) AS t FROM generate_series(1, $rows) i;
	ALTER TABLE plain ADD PRIMARY KEY (id);
	CREATE TABLE versioned (LIKE plain INCLUDING ALL);
	INSERT INTO versioned TABLE plain;
	SELECT dbpatterns.versioning_enable('versioned', on_truncate => 'archive');
});
SKIP:
{
	skip 'no /proc here', 2 unless -r '/proc/self/status';
	foreach my $statement ('UPDATE %s SET v = v + 1', 'DELETE FROM %s WHERE id > ' . $rows / 2)
	{
		my ($name) = $statement =~ /(\w+)/;
		my $without = sql(sprintf("$statement; SELECT peak()", 'plain'));
		my $with = sql(sprintf("$statement; SELECT peak()", 'versioned'));
		my $more = int(($with - $without) / 1024);
		cmp_ok($more, '<=', $allowed, "$name of many rows needs $more MB more");
	}
	my $before = sql('SELECT peak()');
	my $more = int((sql('TRUNCATE versioned; SELECT peak()') - $before) / 1024);
	cmp_ok($more, '<=', $allowed, "TRUNCATE that archives needs $more MB more");
}
is(sql('SELECT count(*) FROM versioned_history'), 2 * $rows, 'all of them are archived');

sql(q{
	CREATE TABLE one (id int PRIMARY KEY, v int);
	INSERT INTO one SELECT i, 0 FROM generate_series(1, 100) i;
	SELECT dbpatterns.versioning_enable('one', same_transaction => 'all');
	CREATE PROCEDURE statements(n int) LANGUAGE plpgsql AS $$
	BEGIN
		FOR i IN 1..n LOOP
			IF i % 100 = 0 THEN
				BEGIN
					UPDATE one SET v = v + 1 WHERE id = 1;
					PERFORM 1 / (i % 200);
				EXCEPTION WHEN division_by_zero THEN NULL;
				END;
			ELSE
				UPDATE one SET v = v + 1 WHERE id = i % 100 + 1;
			END IF;
			IF i % 1000 = 0 THEN COMMIT; END IF;
		END LOOP;
	END $$;
	CREATE PROCEDURE changes(n int) LANGUAGE plpgsql AS $$
	BEGIN
		FOR i IN 1..n LOOP
			ALTER TABLE one ADD COLUMN x int DEFAULT 1;
			UPDATE one SET x = i WHERE id = 1;
			ALTER TABLE one DROP COLUMN x;
			UPDATE one SET v = i WHERE id = 1;
			COMMIT;
		END LOOP;
	END $$;
});
my ($before, $after) = split /\n/, sql(q{
	CALL statements(2000);
	SELECT used();
	CALL statements(30000);
	SELECT used();
});
cmp_ok($after - $before, '<', 500000, 'many statements leave nothing behind: ' . ($after - $before));
($before, $after) = split /\n/, sql(q{
	CALL changes(20);
	SELECT used();
	CALL changes(200);
	SELECT used();
});
cmp_ok($after - $before, '<', 2000000, 'many ALTERs leave little behind: ' . ($after - $before));
$node->stop;
done_testing();
