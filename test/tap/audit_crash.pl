# What has been committed is in the log after a crash, with its number; what
# has not is not.  Prepared transactions keep their entries across a restart.
use strict;
use warnings;
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;
use Time::HiRes qw(usleep);

my $node = PostgreSQL::Test::Cluster->new('main');
$node->init(allows_streaming => 1);
$node->append_conf('postgresql.conf',
	"max_prepared_transactions = 10\nautovacuum = off\nrestart_after_crash = on");
$node->start;

sub sql { return $node->safe_psql('postgres', shift); }

# Wait until a query returns true.
sub wait_for
{
	my ($query, $what) = @_;
	$node->poll_query_until('postgres', $query) or die "timed out: $what";
}

# The backend of the session whose application is called so.
sub backend
{
	my $name = shift;
	return sql("SELECT pid FROM pg_stat_activity WHERE application_name = '$name'");
}

sql(q{
	CREATE EXTENSION dbpatterns;
	CREATE TABLE a (id int PRIMARY KEY, v text);
	CREATE UNLOGGED TABLE u (id int PRIMARY KEY, v text);
	SELECT dbpatterns.audit_enable('a'), dbpatterns.audit_enable('u');
	INSERT INTO a VALUES (1, 'kept');
	INSERT INTO u VALUES (1, 'lost from the table, not from the log');
});
my $before = sql('SELECT max(id) FROM _dbpatterns.audit_log');

# A transaction that is open, one that is prepared, and one that prepared a
# new layout.
my $open = $node->background_psql('postgres');
$open->query_safe('BEGIN');
$open->query_safe("INSERT INTO a VALUES (2, 'open')");
sql(q{
	BEGIN;
	SAVEPOINT s;
	INSERT INTO a VALUES (3, 'gone');
	ROLLBACK TO s;
	INSERT INTO a VALUES (4, 'prepared');
	SELECT dbpatterns.audit_set_context('{"two": "phases"}');
	INSERT INTO a VALUES (5, 'prepared, too');
	PREPARE TRANSACTION 'commit';
	BEGIN;
	INSERT INTO a VALUES (6, 'prepared');
	PREPARE TRANSACTION 'rollback';
	BEGIN;
	INSERT INTO u VALUES (7, 'hand-made triggers only write at the end');
	PREPARE TRANSACTION 'unlogged';
});
is(sql("SELECT count(*) FROM _dbpatterns.audit_log WHERE new->>'id' IN ('4', '5', '6', '7')"),
	'0', 'entries of prepared transactions are not visible');

$node->stop('immediate');
$node->start;
eval { $open->quit; };

is( sql("SELECT string_agg(new->>'id', ' ' ORDER BY id) FROM _dbpatterns.audit_log WHERE op = 'I'"),
	'1 1',
	'after a crash, the log has what was committed and nothing else');
is(sql('SELECT count(*) FROM u'), '0', 'an unlogged table is empty then');
sql("COMMIT PREPARED 'commit'");
sql("ROLLBACK PREPARED 'rollback'");
sql("COMMIT PREPARED 'unlogged'");
is( sql("SELECT string_agg(new->>'id' || coalesce(context->>'two', ''), ' ' ORDER BY id)
		   FROM dbpatterns.audit_entries WHERE op = 'I' AND id > $before"),
	'4 5phases 7',
	'prepared transactions bring their entries when they are committed');
sql("INSERT INTO a VALUES (10, 'after')");
is( sql("SELECT min(id) > (SELECT max(id) FROM _dbpatterns.audit_log WHERE new->>'id' <> '10')
		   FROM _dbpatterns.audit_log WHERE new->>'id' = '10'"),
	't', 'numbers go on after those before the crash');
is(sql("SELECT count(*) - count(DISTINCT id) FROM _dbpatterns.audit_log"), '0', 'none is used twice');

# A new layout inside a prepared transaction that is rolled back.
sql(q{
	BEGIN;
	CREATE TABLE p (id int PRIMARY KEY);
	SELECT dbpatterns.audit_enable('p');
	INSERT INTO p VALUES (1);
	PREPARE TRANSACTION 'ddl';
});
$node->restart;
sql("ROLLBACK PREPARED 'ddl'");
sql("CREATE TABLE p (id int PRIMARY KEY, more int); SELECT dbpatterns.audit_enable('p'); INSERT INTO p VALUES (1, 2)");
is(sql("SELECT new FROM _dbpatterns.audit_log ORDER BY id DESC LIMIT 1"), '{"id": 1, "more": 2}',
	'a prepared layout that was rolled back leaves nothing');

# A backend killed in the middle of a big statement, timeouts and cancels
# there, and statements afterwards in the same session.
sql("CREATE TABLE big (id int PRIMARY KEY, v int); INSERT INTO big SELECT i, 0 FROM generate_series(1, 200000) i;
	 SELECT dbpatterns.audit_enable('big')");
my $entries = sql('SELECT count(*) FROM dbpatterns.audit_entries');
my $log_size = "SELECT sum(pg_relation_size(inhrelid)) FROM pg_inherits WHERE inhparent = '_dbpatterns.audit_log'::regclass";

# Run the update in a session, wait until it writes entries, and do something
# to its backend.
sub disturb
{
	my ($how) = @_;
	my $size = sql($log_size);
	my ($out, $err) = ('', '');
	my $run = IPC::Run::start(
		[
			'psql', '-XAt', '-d', $node->connstr('postgres') . ' application_name=victim',
			'-c', 'UPDATE big SET v = v + 1',
			'-c', "INSERT INTO a SELECT 100 + count(*), 'next' FROM a"
		],
		'>', \$out, '2>', \$err);
	wait_for("SELECT ($log_size) > $size + 500000", 'entries being written');
	$how->(backend('victim'));
	eval { $run->finish; };
	return $err;
}
my $err = disturb(sub { sql('SELECT pg_cancel_backend(' . shift . ')'); });
like($err, qr/canceling statement due to user request/, 'a statement is canceled while it writes entries');
is(sql('SELECT count(*) FROM dbpatterns.audit_entries'), $entries + 1,
	'it leaves none, and the next statement of the session has its own');

$err = disturb(sub { sql('SELECT pg_terminate_backend(' . shift . ')'); });
like($err, qr/terminating connection/, 'a backend is terminated');
is(sql('SELECT count(*) FROM dbpatterns.audit_entries'), $entries + 1, 'it leaves no entries');

disturb(sub { kill 'KILL', shift; });
$node->poll_query_until('postgres', 'SELECT true') or die 'no recovery';
is(sql('SELECT count(*) FROM dbpatterns.audit_entries'), $entries + 1, 'a killed one neither');

my ($ret, $stdout, $stderr) = $node->psql('postgres', q{
	SET statement_timeout = '150ms';
	UPDATE big SET v = v + 1;
	RESET statement_timeout;
	BEGIN;
	INSERT INTO a VALUES (200, 'after timeout');
	SAVEPOINT s;
	SET LOCAL statement_timeout = '150ms';
	UPDATE big SET v = v + 1;
	ROLLBACK TO s;
	SET LOCAL statement_timeout = 0;
	INSERT INTO a VALUES (201, 'after timeout');
	COMMIT;
}, on_error_stop => 0);
like($stderr, qr/statement timeout.*statement timeout/s, 'two statements run into a timeout');
is(sql('SELECT count(*) FROM dbpatterns.audit_entries'), $entries + 3, 'the others are logged');
is(sql("SELECT count(*) FROM dbpatterns.audit_entries WHERE new->>'v' = 'after timeout' AND xid IS NOT NULL"),
	'2', 'with who and when');

# A standby has the log and can be promoted: numbers go on.
$node->backup('base');
my $standby = PostgreSQL::Test::Cluster->new('standby');
$standby->init_from_backup($node, 'base', has_streaming => 1);
$standby->start;
sql("INSERT INTO a VALUES (300, 'on the primary')");
$node->wait_for_catchup($standby);
is($standby->safe_psql('postgres', "SELECT count(*) FROM dbpatterns.audit_entries WHERE new->>'id' = '300'"),
	'1', 'a standby shows the log');
($ret, $stdout, $stderr) = $standby->psql('postgres', "INSERT INTO a VALUES (301)");
like($stderr, qr/read-only transaction/, 'and takes no changes');
$node->stop;
$standby->promote;
$standby->safe_psql('postgres', "INSERT INTO a VALUES (302, 'promoted')");
is( $standby->safe_psql('postgres',
		"SELECT string_agg(new->>'id', ' ' ORDER BY id) FROM _dbpatterns.audit_log WHERE (new->>'id')::int >= 300"),
	'300 302',
	'after promotion the numbers go on');
$standby->stop;
done_testing();
