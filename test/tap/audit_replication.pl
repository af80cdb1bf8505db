# Changes that arrive by logical replication are logged where the table asks
# for it, and nowhere else; so is the first copy of its rows.
use strict;
use warnings;
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;

my $publisher = PostgreSQL::Test::Cluster->new('publisher');
$publisher->init(allows_streaming => 'logical');
$publisher->start;
my $subscriber = PostgreSQL::Test::Cluster->new('subscriber');
$subscriber->init(allows_streaming => 'logical');
$subscriber->append_conf('postgresql.conf', 'max_prepared_transactions = 5');
$subscriber->start;

my $tables = q{
	CREATE TABLE always (id int PRIMARY KEY, v text);
	CREATE TABLE origin (id int PRIMARY KEY, v text);
	CREATE TABLE part (id int PRIMARY KEY, v text) PARTITION BY RANGE (id);
	CREATE TABLE part1 PARTITION OF part FOR VALUES FROM (0) TO (10);
	CREATE TABLE part2 PARTITION OF part FOR VALUES FROM (10) TO (20);
};
$publisher->safe_psql('postgres', $tables . q{
	INSERT INTO always VALUES (1, 'first'), (2, 'first');
	INSERT INTO origin VALUES (1, 'first');
	CREATE PUBLICATION pub FOR TABLE always, origin, part WITH (publish_via_partition_root = true);
});
$subscriber->safe_psql('postgres', $tables . q{
	CREATE EXTENSION dbpatterns;
	SELECT dbpatterns.audit_enable('always', fire => 'always', truncate_rows => true);
	SELECT dbpatterns.audit_enable('origin');
	SELECT dbpatterns.audit_enable('part', fire => 'always');
});
my $connstr = $publisher->connstr . ' dbname=postgres';
$subscriber->safe_psql('postgres',
	"CREATE SUBSCRIPTION sub CONNECTION '$connstr application_name=sub' PUBLICATION pub WITH (streaming = off)");
$subscriber->wait_for_subscription_sync($publisher, 'sub');

# Print the entries with numbers above the one seen last.
my $seen = 0;
sub news
{
	$publisher->wait_for_catchup('sub');
	my $news = $subscriber->safe_psql('postgres', qq{
		SELECT concat_ws(' ', s.table_name, op, old, new) FROM _dbpatterns.audit_log e JOIN _dbpatterns.audit_shape s USING (shape)
		 WHERE op <> 'M' AND id > $seen ORDER BY id});
	$seen = $subscriber->safe_psql('postgres', 'SELECT max(id) FROM _dbpatterns.audit_log');
	return $news;
}

is(news(), qq{always I {"v": "first", "id": 1}\nalways I {"v": "first", "id": 2}}, 'the first copy is logged where asked for');

$publisher->safe_psql('postgres', q{
	BEGIN;
	INSERT INTO always VALUES (3, 'more');
	UPDATE always SET v = 'changed' WHERE id = 1;
	DELETE FROM always WHERE id = 2;
	UPDATE origin SET v = 'changed';
	COMMIT;
	INSERT INTO part VALUES (1, 'one');
	UPDATE part SET id = 11;
	UPDATE part SET v = 'eleven';
});
is( news(),
	q{always I {"v": "more", "id": 3}
always U {"v": "first"} {"v": "changed", "id": 1}
always D {"v": "first", "id": 2}
part I {"v": "one", "id": 1}
part D {"v": "one", "id": 1}
part I {"v": "one", "id": 11}
part U {"v": "one"} {"v": "eleven", "id": 11}},
	'changes are logged; the apply of a row that moves deletes and inserts it');
is( $subscriber->safe_psql('postgres', q{SELECT count(DISTINCT transaction), bool_and(xid IS NOT NULL)
		FROM dbpatterns.audit_entries WHERE table_name = 'always' AND (new->>'v' IN ('more', 'changed') OR op = 'D')}),
	'1|t', 'those of one transaction have one number');

# More than a batch in one transaction; a transaction that is rolled back.
$publisher->safe_psql('postgres', q{
	INSERT INTO always SELECT i, 'bulk' FROM generate_series(100, 5000) i;
	BEGIN;
	INSERT INTO always VALUES (6000, 'rolled back');
	ROLLBACK;
	DELETE FROM always WHERE v = 'bulk';
});
my @news = split /\n/, news();
is(scalar(grep { /^always I/ } @news) . ' ' . scalar(grep { /^always D/ } @news), '4901 4901', 'a large transaction is logged');

# A TRUNCATE arrives as well, with the rows it removes.
$publisher->safe_psql('postgres', 'TRUNCATE always, origin');
is( news(), q{always D {"v": "more", "id": 3}
always D {"v": "changed", "id": 1}
always T {"rows": 2}}, 'a TRUNCATE is logged');

# An apply that fails and is tried again logs once.
$subscriber->safe_psql('postgres', "INSERT INTO always VALUES (7, 'in the way')");
news();
$publisher->safe_psql('postgres', "INSERT INTO always VALUES (8, 'before'), (7, 'conflict')");
$subscriber->poll_query_until('postgres', "SELECT apply_error_count > 0 FROM pg_stat_subscription_stats") or die;
$subscriber->safe_psql('postgres', 'DELETE FROM always WHERE id = 7');
is(news(), q{always D {"v": "in the way", "id": 7}
always I {"v": "before", "id": 8}
always I {"v": "conflict", "id": 7}}, 'an apply that failed first is logged once');

# Local changes of both tables are logged; session_replication_role silences
# one of them only, and needs a superuser.
$subscriber->safe_psql('postgres', q{
	INSERT INTO always VALUES (20, 'local');
	INSERT INTO origin VALUES (20, 'local');
	SET session_replication_role = replica;
	INSERT INTO always VALUES (21, 'replica');
	INSERT INTO origin VALUES (21, 'replica');
	TRUNCATE origin;
});
is( news(), q{always I {"v": "local", "id": 20}
origin I {"v": "local", "id": 20}
always I {"v": "replica", "id": 21}}, 'session_replication_role = replica silences origin');
is( $subscriber->safe_psql('postgres', q{SELECT target, options->>'fire' FROM dbpatterns.audit_status ORDER BY 1}),
	"always|always\norigin|origin\npart|always", 'the status shows the mode');

$subscriber->stop;
$publisher->stop;
done_testing();
