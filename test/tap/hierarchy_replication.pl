# Where changes arrive by logical replication, a hierarchy is kept by triggers
# that fire always, or its closure table is replicated as any other; a standby
# shows it and goes on after promotion.
use strict;
use warnings;
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;

my $publisher = PostgreSQL::Test::Cluster->new('publisher');
$publisher->init(allows_streaming => 'logical');
$publisher->append_conf('postgresql.conf', "autovacuum = off");
$publisher->start;
my $subscriber = PostgreSQL::Test::Cluster->new('subscriber');
$subscriber->init(allows_streaming => 'logical');
$subscriber->append_conf('postgresql.conf', "autovacuum = off");
$subscriber->start;

my $tables = q{
	CREATE EXTENSION dbpatterns;
	CREATE TABLE always (id int PRIMARY KEY, parent_id int REFERENCES always ON DELETE CASCADE);
	CREATE TABLE soft (id int PRIMARY KEY, parent_id int);
	CREATE TABLE shipped (id int PRIMARY KEY, parent_id int);
	CREATE TABLE silent (id int PRIMARY KEY, parent_id int);
	CREATE TABLE part (id int PRIMARY KEY, parent_id int) PARTITION BY RANGE (id);
	CREATE TABLE part1 PARTITION OF part FOR VALUES FROM (0) TO (100);
	CREATE TABLE part2 PARTITION OF part FOR VALUES FROM (100) TO (10000);
};
# The pairs of a table that are wrong.
my $wrong = q{
	WITH RECURSIVE walk AS (
		SELECT id AS ancestor, id AS descendant, 0 AS depth FROM %1$s
		UNION ALL SELECT w.ancestor, n.id, w.depth + 1 FROM walk w JOIN %1$s n ON n.parent_id = w.descendant)
	SELECT (SELECT count(*) FROM (TABLE walk EXCEPT ALL TABLE %1$s_closure) x) || ' missing, '
		|| (SELECT count(*) FROM (TABLE %1$s_closure EXCEPT ALL TABLE walk) x) || ' extra of ' || (SELECT count(*) FROM %1$s_closure)};
sub wrong
{
	my ($node, $table) = @_;
	return $node->safe_psql('postgres', sprintf($wrong, $table));
}

$publisher->safe_psql('postgres', $tables . q{
	SELECT dbpatterns.closure_enable('shipped', 'parent_id');
	INSERT INTO always SELECT i, nullif(i / 2, 0) FROM generate_series(30, 1, -1) i;
	INSERT INTO soft SELECT i, nullif(i / 2, 0) FROM generate_series(30, 1, -1) i;
	INSERT INTO shipped SELECT i, nullif(i / 2, 0) FROM generate_series(30, 1, -1) i;
	INSERT INTO silent SELECT i, nullif(i / 2, 0) FROM generate_series(30, 1, -1) i;
	INSERT INTO part SELECT i, nullif(i / 2, 0) FROM generate_series(150, 1, -1) i;
	CREATE PUBLICATION pub FOR TABLE always, soft, shipped, shipped_closure, silent, part WITH (publish_via_partition_root = true);
});
$subscriber->safe_psql('postgres', $tables . q{
	SELECT dbpatterns.closure_enable('always', 'parent_id', fire => 'always');
	SELECT dbpatterns.closure_enable('soft', 'parent_id', fire => 'always');
	SELECT dbpatterns.closure_enable('shipped', 'parent_id');
	SELECT dbpatterns.closure_enable('silent', 'parent_id');
	SELECT dbpatterns.closure_enable('part', 'parent_id', fire => 'always');
});
my $connstr = $publisher->connstr . ' dbname=postgres';
$subscriber->safe_psql('postgres',
	"CREATE SUBSCRIPTION sub CONNECTION '$connstr application_name=sub' PUBLICATION pub WITH (streaming = off)");
$subscriber->wait_for_subscription_sync($publisher, 'sub');

like(wrong($subscriber, 'always'), qr/^0 missing, 0 extra of 1\d\d$/, 'the first copy fires triggers that fire always');
like(wrong($subscriber, 'soft'), qr/^0 missing, 0 extra of 1\d\d$/, 'without a foreign key, too');
like(wrong($subscriber, 'part'), qr/^0 missing, 0 extra of \d+$/, 'and in partitions');
like(wrong($subscriber, 'shipped'), qr/^0 missing, 0 extra of 1\d\d$/, 'a closure table that is published arrives as it is');
is(wrong($subscriber, 'silent'), '124 missing, 0 extra of 0', 'triggers that fire for local changes only do not fire');
like($subscriber->safe_psql('postgres', q{SELECT string_agg(problem, ' ') FROM dbpatterns.closure_check('silent') WHERE severity = 'error'}),
	qr/is missing/, 'which closure_check finds');
is($subscriber->safe_psql('postgres', q{SELECT count(*) FROM dbpatterns.closure_sync('silent')}), '124', 'and closure_sync repairs');

# Changes of many kinds; several of one row in one transaction.
foreach my $table ('always', 'soft', 'shipped', 'part')
{
	$publisher->safe_psql('postgres', qq{
		UPDATE $table SET parent_id = CASE id WHEN 2 THEN 3 WHEN 6 THEN NULL END WHERE id IN (2, 6);
		INSERT INTO $table VALUES (200, 30), (201, 200);
		BEGIN;
		INSERT INTO $table VALUES (300, 200), (301, 300);
		UPDATE $table SET parent_id = 5 WHERE id = 300;
		SAVEPOINT s;
		UPDATE $table SET parent_id = NULL WHERE id = 300;
		ROLLBACK TO s;
		DELETE FROM $table WHERE id = 301;
		INSERT INTO $table VALUES (301, 1);
		UPDATE $table SET id = 303 WHERE id = 301;
		COMMIT;
		BEGIN;
		INSERT INTO $table VALUES (400, 1);
		ROLLBACK;
		DELETE FROM $table WHERE id IN (8, 16, 17);
	});
	$publisher->safe_psql('postgres', "INSERT INTO $table SELECT i, i - 1 FROM generate_series(1001, 1200) i;") if $table eq 'soft';
}
$publisher->safe_psql('postgres', q{
	DELETE FROM always WHERE id = 5;
	INSERT INTO soft SELECT i, CASE i % 7 WHEN 0 THEN 1 ELSE i - 1 END FROM generate_series(12000, 2000, -1) i;
	UPDATE part SET id = id + 1000 WHERE id = 149;
});
$publisher->wait_for_catchup('sub');
foreach my $table ('always', 'soft', 'shipped', 'part')
{
	like(wrong($subscriber, $table), qr/^0 missing, 0 extra/, "$table: exact after changes");
	is($subscriber->safe_psql('postgres', "SELECT md5(string_agg(t::text, ',' ORDER BY id)) FROM $table t"),
		$publisher->safe_psql('postgres', "SELECT md5(string_agg(t::text, ',' ORDER BY id)) FROM $table t"), "$table: the same rows");
}
$publisher->safe_psql('postgres', 'TRUNCATE soft; INSERT INTO soft VALUES (2, 1), (1, NULL);');
$publisher->wait_for_catchup('sub');
is(wrong($subscriber, 'soft'), '0 missing, 0 extra of 3', 'a TRUNCATE arrives');

# A cycle that arises with a local change stops the apply until it is undone.
$subscriber->safe_psql('postgres', 'UPDATE soft SET parent_id = NULL; INSERT INTO soft VALUES (3, 2); UPDATE soft SET parent_id = 3 WHERE id = 1');
$publisher->safe_psql('postgres', 'UPDATE soft SET parent_id = 1 WHERE id = 2; UPDATE soft SET parent_id = NULL WHERE id = 2; UPDATE soft SET parent_id = 1 WHERE id = 2;');
$subscriber->poll_query_until('postgres', 'SELECT apply_error_count > 0 FROM pg_stat_subscription_stats') or die;
$subscriber->safe_psql('postgres', 'UPDATE soft SET parent_id = NULL WHERE id = 1');
$publisher->wait_for_catchup('sub');
is(wrong($subscriber, 'soft'), '0 missing, 0 extra of 6', 'an apply that failed is exact when it is tried again');

# Local changes, and what a session says of itself.
$subscriber->safe_psql('postgres', q{
	INSERT INTO always VALUES (5000, 1);
	INSERT INTO silent VALUES (5000, 1);
	SET session_replication_role = replica;
	INSERT INTO always VALUES (5001, 5000);
	INSERT INTO silent VALUES (5001, 5000);
});
like(wrong($subscriber, 'always'), qr/^0 missing, 0 extra/, 'triggers that fire always fire for a replica');
like(wrong($subscriber, 'silent'), qr/^[1-9]\d* missing, 0 extra/, 'the others do not');
$subscriber->stop;

# A standby.
$publisher->backup('base');
my $standby = PostgreSQL::Test::Cluster->new('standby');
$standby->init_from_backup($publisher, 'base', has_streaming => 1);
$standby->start;
$publisher->safe_psql('postgres', 'UPDATE shipped SET parent_id = 7 WHERE id = 2');
$publisher->wait_for_catchup($standby);
like(wrong($standby, 'shipped'), qr/^0 missing, 0 extra/, 'a standby shows it');
is($standby->safe_psql('postgres', q{SELECT count(*) FROM dbpatterns.closure_check('shipped') WHERE severity = 'error'}), '0', 'and can check it');
$publisher->stop;
$standby->promote;
$standby->safe_psql('postgres', 'UPDATE shipped SET parent_id = NULL WHERE id = 2');
like(wrong($standby, 'shipped'), qr/^0 missing, 0 extra/, 'after promotion it goes on');
$standby->stop;
done_testing();
