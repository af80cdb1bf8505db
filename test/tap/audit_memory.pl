# Memory stays flat: a statement of a million rows needs hardly more with the
# trail than without, many statements leave nothing behind, and values of
# hundreds of megabytes go through.
use strict;
use warnings;
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;

my $node = PostgreSQL::Test::Cluster->new('main');
$node->init;
$node->append_conf('postgresql.conf',
	"shared_buffers = '16MB'\nfsync = off\nautovacuum = off\nmax_wal_size = '4GB'\nwal_level = minimal\nmax_wal_senders = 0\nsynchronous_commit = off");
$node->start;
sub sql { return $node->safe_psql('postgres', shift); }

sql(q{
	CREATE EXTENSION dbpatterns;
	CREATE FUNCTION peak() RETURNS bigint LANGUAGE sql AS
		$$ SELECT substring(pg_read_file('/proc/self/status', 0, 100000) FROM 'VmHWM:\s+(\d+) kB')::bigint $$;
	CREATE TABLE plain AS SELECT i AS id, 0 AS v, repeat('x', 20) AS t FROM generate_series(1, 1000000) i;
	ALTER TABLE plain ADD PRIMARY KEY (id);
	CREATE TABLE audited (LIKE plain INCLUDING ALL);
	INSERT INTO audited TABLE plain;
	SELECT dbpatterns.audit_enable('audited');
});

SKIP:
{
	skip 'no /proc here', 2 unless -r '/proc/self/status';
	foreach my $statement ('UPDATE %s SET v = v + 1', 'DELETE FROM %s')
	{
		my ($name) = $statement =~ /(\w+)/;
		my $without = sql(sprintf("$statement; SELECT peak()", 'plain'));
		my $with = sql(sprintf("$statement; SELECT peak()", 'audited'));
		my $more = int(($with - $without) / 1024);
		cmp_ok($more, '<=', 64, "$name of a million rows needs $more MB more");
	}
}
is(sql("SELECT string_agg(op::text || n, ' ' ORDER BY op::text) FROM (SELECT op, count(*) n FROM _dbpatterns.audit_log WHERE op NOT IN ('M', 'W') GROUP BY 1) x"),
	'D1000000 U1000000', 'all of them are logged');
sql('TRUNCATE plain, audited; DROP TABLE plain, audited');

# One backend, 300000 statements, in transactions of 1000 and with a
# savepoint in each hundredth; then DDL, which makes new states, in a loop.
sql(q{
	CREATE TABLE one (id int PRIMARY KEY, v int, secret text);
	INSERT INTO one SELECT i, 0 FROM generate_series(1, 100) i;
	SELECT dbpatterns.audit_enable('one', redact => '{secret}');
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
	CREATE FUNCTION used() RETURNS bigint LANGUAGE sql AS
		$$ SELECT sum(used_bytes)::bigint FROM pg_backend_memory_contexts $$;
	CREATE FUNCTION ours() RETURNS bigint LANGUAGE sql AS
		$$ SELECT coalesce(sum(total_bytes), 0)::bigint FROM pg_backend_memory_contexts WHERE name ~ 'dbpatterns' $$;
});
my ($before, $after, $ours) = split /\n/, sql(q{
	CALL statements(10000);
	SELECT used();
	CALL statements(300000);
	SELECT used();
	SELECT ours();
});
cmp_ok($after - $before, '<', 100_000, '300000 statements leave ' . ($after - $before) . ' bytes behind');
cmp_ok($ours, '<', 1_000_000, "we keep $ours bytes");
($before, $after) = split /\n/, sql(q{
	CALL changes(20);
	SELECT ours();
	CALL changes(200);
	SELECT ours();
});
cmp_ok($after - $before, '<', 20_000, 'changes of the layout leave ' . ($after - $before) . ' of our bytes behind');

# Values too large for JSON: a marker with size and hash, and no failure.
sql(q{
	CREATE TABLE large (id int PRIMARY KEY, n int, b bytea, t text);
	ALTER TABLE large ALTER b SET STORAGE EXTERNAL, ALTER t SET STORAGE EXTERNAL;
	SELECT dbpatterns.audit_enable('large');
	INSERT INTO large VALUES (1, 0, repeat('b', 200 * 1024 * 1024)::bytea, repeat('t', 70 * 1024 * 1024));
});
is( sql(q{
	SELECT new->'b' = jsonb_build_object('$dbp', 'omitted', 'bytes', 200 * 1024 * 1024, 'sha256', encode(sha256(b), 'hex')),
		   new->'t' = jsonb_build_object('$dbp', 'omitted', 'bytes', 70 * 1024 * 1024, 'sha256', encode(sha256(t::bytea), 'hex')),
		   pg_column_size(new) < 1000
	  FROM _dbpatterns.audit_log, large ORDER BY audit_log.id DESC LIMIT 1}),
	't|t|t', '200 MB are logged as their size and hash');
sql('UPDATE large SET n = 1');
is(sql('SELECT new FROM _dbpatterns.audit_log ORDER BY id DESC LIMIT 1'), '{"n": 1, "id": 1}',
	'an update that does not touch them does not tell of them');
sql('DELETE FROM large');
is(sql(q{SELECT op FROM _dbpatterns.audit_log ORDER BY id DESC LIMIT 1}), 'D', 'and the row can be deleted');

$node->stop;
done_testing();
