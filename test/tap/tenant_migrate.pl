# A migration over schemas of tenants goes on after a crash, and each schema is
# migrated once; walls and ledger come through a dump.
use strict;
use warnings;
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;

my $node = PostgreSQL::Test::Cluster->new('main');
$node->init;
$node->append_conf('postgresql.conf', "restart_after_crash = on\nautovacuum = off");
$node->start;
$node->safe_psql('postgres', 'CREATE DATABASE old; CREATE ROLE app');
$node->safe_psql('postgres', 'ALTER DATABASE old SET dbpatterns.tenant_application_roles = app');

sub sql { return $node->safe_psql('old', shift); }

sql(q{
	CREATE EXTENSION dbpatterns;
	CREATE TABLE gate (n int);
	CREATE SCHEMA template;
	CREATE TABLE template.item (n int);
	GRANT USAGE ON SCHEMA template TO app;
	GRANT SELECT ON template.item TO app;
});
sql("SELECT dbpatterns.tenant_schema_create('t' || i, 'template') FROM generate_series(1, 8) i");

# The fifth schema keeps it waiting, and there it dies.
my $call = q{CALL dbpatterns.tenant_migrate('1', $m$INSERT INTO item VALUES (1);
	DO $do$ BEGIN IF current_schema = 't5' THEN PERFORM FROM gate; END IF; END $do$$m$)};
my $holder = $node->background_psql('old', on_error_stop => 0);
$holder->query_safe('BEGIN; LOCK TABLE gate');
my $caller = $node->background_psql('old', on_error_stop => 0);
$caller->query_until(qr/begun/, "\\echo begun\n$call;\n");
$node->poll_query_until('old', "SELECT count(*) = 1 FROM pg_stat_activity WHERE wait_event_type = 'Lock' AND query ~ 'tenant_migrate'")
  or die 'the migration does not wait';
my $pid = sql("SELECT pid FROM pg_stat_activity WHERE wait_event_type = 'Lock' AND query ~ 'tenant_migrate'");
is(sql("SELECT count(*) FROM dbpatterns.progress WHERE operation = 'tenant_migrate' AND done = 5"), 1, 'progress shows');
kill 'KILL', $pid;
$node->poll_query_until('old', "SELECT count(*) = 0 FROM pg_stat_activity WHERE query ~ 'tenant_migrate' AND pid <> pg_backend_pid()")
  or die 'the server does not come back';
is(sql("SELECT string_agg(place, ' ' ORDER BY place) FROM dbpatterns.tenant_migrations WHERE state = 'done'"),
	't1 t2 t3 t4 template', 'what was done is done');
sql($call);
is(sql("SELECT count(*), count(*) FILTER (WHERE state = 'done') FROM dbpatterns.tenant_migrations"), '9|9', 'the rest followed');
is( sql(q{SELECT string_agg((xpath('/row/n/text()', query_to_xml('SELECT count(*) AS n FROM ' || place || '.item', true, true, '')))[1]::text, ' ')
	FROM dbpatterns.tenant_migrations}),
	'1 1 1 1 1 1 1 1 1', 'and each schema was migrated once');
eval { $holder->quit; };
eval { $caller->quit; };

# A dump brings it all.
my $dump = $node->basedir . '/old.dump';
$node->command_ok([ 'pg_dump', '-Fc', '-f', $dump, $node->connstr('old') ], 'dumped');
$node->safe_psql('postgres', 'CREATE DATABASE new');
$node->safe_psql('postgres', 'ALTER DATABASE new SET dbpatterns.tenant_application_roles = app');
$node->command_ok([ 'pg_restore', '-e', '-d', $node->connstr('new'), $dump ], 'restored');
is($node->safe_psql('new', "SELECT count(*) FROM dbpatterns.tenant WHERE wall"), 8, 'tenants are listed');
is($node->safe_psql('new', "SELECT count(*) FROM dbpatterns.tenant_migrations WHERE state = 'done'"), 9, 'with their versions');
is($node->safe_psql('new', "SELECT object, problem FROM dbpatterns.tenant_check() WHERE severity = 'error'"), '', 'and their walls');
is( $node->safe_psql(
		'new', "BEGIN; SELECT FROM dbpatterns.tenant_set('t1'); SET LOCAL ROLE app; SELECT count(*) FROM item UNION ALL SELECT count(*) FROM t2.item"),
	"1\n0", 'which keep others out');
$node->stop;
done_testing();
