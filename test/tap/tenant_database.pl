# A database per tenant: made, migrated and dropped by a background worker, and completed
# after a crash.
use strict;
use warnings;
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;

my $node = PostgreSQL::Test::Cluster->new('main');
$node->init;
$node->append_conf('postgresql.conf', "restart_after_crash = on\nautovacuum = off\nmax_worker_processes = 4");
$node->start;

sub sql { return $node->safe_psql('home', shift); }

# The SQLSTATE and message of a statement that fails.
sub refused
{
	my ($sql, $like, $what) = @_;
	my ($rc, $out, $err) = $node->psql('home', "\\set VERBOSITY verbose\n$sql");
	like($err, $like, $what);
}

$node->safe_psql('postgres', q{CREATE DATABASE home; CREATE DATABASE tpl; CREATE ROLE app LOGIN; CREATE ROLE other LOGIN;
	CREATE ROLE boss LOGIN CREATEDB});
$node->safe_psql('postgres', 'GRANT CONNECT, TEMPORARY ON DATABASE tpl TO app');
$node->safe_psql('tpl', 'CREATE EXTENSION dbpatterns; CREATE TABLE item (n int); INSERT INTO item VALUES (0)');
sql('CREATE EXTENSION dbpatterns; CREATE SCHEMA tps; CREATE TABLE tps.item (n int)');

# Made.
sql(q{CALL dbpatterns.tenant_database_create('1', 'tpl', slug => 'acme', limits => '{"work_mem": "3MB"}')});
sql(q{CALL dbpatterns.tenant_database_create('it''s', 'tpl', 'Odd "d''b\\x y')});
sql(q{SELECT dbpatterns.tenant_schema_create('s', 'tps', 'Sch "e m''a')});
sql(q{SELECT dbpatterns.tenant_create('r')});
is(sql('SELECT id, slug, model, place, template, state, limits FROM dbpatterns.tenant ORDER BY id'),
	qq{1|acme|database|acme|tpl|active|{"work_mem": "3MB"}\nit's||database|Odd "d'b\\x y|tpl|active|{}\nr||row|||active|{}\ns||schema|Sch "e m'a|tps|active|{}},
	'tenants are listed');
is($node->safe_psql('acme', 'SELECT n FROM item'), '0', 'the database has what the template has');
is(sql(q{SELECT has_database_privilege('app', 'acme', 'CONNECT'), has_database_privilege('other', 'acme', 'CONNECT')}), 't|f', 'and its rights, but not for everybody');

# Ways to each.
foreach my $case ([ '1', 'acme', '', '0' ], [ q{it's}, q{Odd "d'b\x y}, '', '0' ], [ 's', 'home', q{Sch "e m'a}, '' ])
{
	my ($id, $db, $schema, $rows) = @$case;
	my $quoted = $id =~ s/'/''/gr;
	my $conninfo = sql("SELECT conninfo FROM dbpatterns.tenant_route('$quoted')");
	my $host = $node->host;
	my $port = $node->port;
	my ($out, $err);
	ok( IPC::Run::run(
			[ 'psql', '-XAtq', '-d', "$conninfo host='$host' port=$port", '-c', 'SELECT current_database(), current_schema, (SELECT max(n) FROM item)' ],
			'>', \$out, '2>', \$err),
		"connected to $id") or diag $err;
	chomp $out;
	is($out, "$db|" . ($schema eq '' ? 'public' : $schema) . "|$rows", "and it is where it should be");
}
is(sql(q{SELECT model, dbname, schema FROM dbpatterns.tenant_route('r')}), 'row|home|', 'rows are here');
refused(q{SELECT dbpatterns.tenant_route('nobody')}, qr/28000: there is no active tenant "nobody"/, 'no way to an unknown tenant');

# Migrated, templates first, each once.
sql(q{CALL dbpatterns.tenant_migrate('1', 'INSERT INTO item VALUES (1)')});
sub counts { return join ' ', map { $node->safe_psql($_, 'SELECT count(*) FROM item WHERE n > 0') } ('tpl', 'acme', q{Odd "d'b\\x y}); }
is(counts(), '1 1 1', 'all databases are migrated');
is(sql('SELECT count(*), count(*) FILTER (WHERE state = \'done\') FROM dbpatterns.tenant_migrations'), '5|5', 'schemas with them');
sql(q{CALL dbpatterns.tenant_migrate('1', 'INSERT INTO item VALUES (1)')});
# As after a crash between the two commits.
sql(q{DELETE FROM _dbpatterns.tenant_migration WHERE model = 'database'});
sql(q{CALL dbpatterns.tenant_migrate('1', 'INSERT INTO item VALUES (1)')});
is(counts(), '1 1 1', 'and once, although the ledger here was behind');
sql(q{CALL dbpatterns.tenant_database_create('late', 'tpl')});
sql(q{CALL dbpatterns.tenant_migrate('1', 'INSERT INTO item VALUES (1)')});
is($node->safe_psql('late', 'SELECT count(*) FROM item WHERE n > 0'), '1', 'a copy has what its template had');
$node->safe_psql('acme', 'ALTER TABLE item ADD CHECK (n < 2)');
refused(q{CALL dbpatterns.tenant_migrate('2', 'INSERT INTO item VALUES (2)')}, qr/55000: version "2" failed in 1 places.*acme: new row for relation "item" violates/s, 'an error comes back');
is(sql(q{SELECT place, sqlstate FROM dbpatterns.tenant_migrations WHERE state = 'failed'}), 'acme|23514', 'and is written down');
$node->safe_psql('acme', 'ALTER TABLE item DROP CONSTRAINT item_n_check');
sql(q{CALL dbpatterns.tenant_migrate('2', 'INSERT INTO item VALUES (2)')});
is(counts(), '2 2 2', 'the rest follows');

# Killed while the worker copies: the tenant is there, suspended, and the same call completes it.
my $holder = $node->background_psql('tpl', on_error_stop => 0);		# a connection keeps it from being copied
$holder->query_safe('SELECT 1');
my $call = q{CALL dbpatterns.tenant_database_create('crash', 'tpl')};
my $caller = $node->background_psql('home', on_error_stop => 0);
$caller->query_until(qr/begun/, "\\echo begun\n$call;\n");
$node->poll_query_until('home', "SELECT count(*) > 0 FROM pg_stat_activity WHERE backend_type = 'dbpatterns task'") or die 'no worker';
is(sql(q{SELECT state FROM dbpatterns.tenant WHERE id = 'crash'}), 'suspended', 'it is listed before');
kill 'KILL', sql("SELECT pid FROM pg_stat_activity WHERE backend_type = 'dbpatterns task' LIMIT 1");
eval { $holder->quit; };
eval { $caller->quit; };
$node->poll_query_until('home', "SELECT count(*) = 0 FROM pg_stat_activity WHERE backend_type = 'dbpatterns task'") or die 'the server does not come back';
is(sql(q{SELECT state FROM dbpatterns.tenant WHERE id = 'crash'}), 'suspended', 'and after');
sql($call);
is(sql(q{SELECT state FROM dbpatterns.tenant WHERE id = 'crash'}), 'active', 'the same call completes it');

# Refused, and nothing is left.
my $before = sql('SELECT count(*) FROM dbpatterns.tenant');
refused(q{CALL dbpatterns.tenant_database_create(NULL, 'tpl')}, qr/22004/, 'no tenant');
refused(q{CALL dbpatterns.tenant_database_create('x', 'nowhere')}, qr/3D000/, 'no such template');
refused(q{CALL dbpatterns.tenant_database_create('1', 'tpl', 'other')}, qr/42710: tenant "1" is listed already/, 'listed');
refused(q{CALL dbpatterns.tenant_database_create('x', 'tpl', 'home')}, qr/42P04: database "home" already exists/, 'a database of this name');
refused(q{CALL dbpatterns.tenant_database_create(repeat('x', 64), 'tpl')}, qr/42622/, 'too long a name');
refused(q{BEGIN; CALL dbpatterns.tenant_database_create('x', 'tpl')}, qr/25001/, 'inside a transaction');
my $user = $node->background_psql('tpl', on_error_stop => 0);
$user->query_safe('SELECT 1');
refused(q{CALL dbpatterns.tenant_database_create('x', 'tpl')}, qr/55006: source database "tpl" is being accessed by other users/, 'a template in use');
$user->quit;
sql('GRANT EXECUTE ON ALL ROUTINES IN SCHEMA dbpatterns TO app, boss');
my ($rc, $out, $err) = $node->psql('home', q{CALL dbpatterns.tenant_database_create('x', 'tpl')}, extra_params => [ '-U', 'app' ]);
like($err, qr/permission denied to create database/, 'no right to create databases');
($rc, $out, $err) = $node->psql('home', q{SET ROLE boss; CALL dbpatterns.tenant_database_create('boss', 'template1')});
is($rc, 0, 'the role that calls needs no more') or diag $err;
is($node->safe_psql('postgres', q{SELECT datdba::regrole FROM pg_database WHERE datname = 'boss'}), 'boss', 'and owns it');
sql(q{SELECT dbpatterns.tenant_suspend('boss')});
sql(q{CALL dbpatterns.tenant_database_drop('boss')});
is(sql('SELECT count(*) FROM dbpatterns.tenant'), $before, 'nothing is left');

# Two calls at once: one completes it, and the other takes nothing from it.
my @calls;
foreach my $i (0, 1)
{
	my ($o, $e) = ('', '');
	$calls[$i] = { out => \$o, err => \$e };
	$calls[$i]{run} = IPC::Run::start([ 'psql', '-X', '-d', $node->connstr('home'), '-c', q{CALL dbpatterns.tenant_database_create('twice', 'tpl')} ],
		'>', $calls[$i]{out}, '2>', $calls[$i]{err});
}
$_->{run}->finish foreach @calls;
is(sql(q{SELECT state FROM dbpatterns.tenant WHERE id = 'twice'}), 'active', 'one of two calls at once completes it')
  or diag map { ${ $_->{err} } } @calls;
is(sql(q{SELECT count(*) FROM pg_database WHERE datname = 'twice'}), 1, 'with its database');

# A caller who gives up ends the worker.
$user = $node->background_psql('tpl', on_error_stop => 0);
$user->query_safe('SELECT 1');
refused(q{SET statement_timeout = '1s'; CALL dbpatterns.tenant_database_create('x', 'tpl')}, qr/57014/, 'cancelled');
$node->poll_query_until('home', "SELECT count(*) = 0 FROM pg_stat_activity WHERE backend_type = 'dbpatterns task'") or die 'the worker stays';
$user->quit;

# Dropped.
refused(q{CALL dbpatterns.tenant_database_drop('1')}, qr/55000: tenant "1" of model database is active/, 'an active one stays');
refused(q{CALL dbpatterns.tenant_database_drop('r')}, qr/55000: tenant "r" of model row is active/, 'one without a database is no matter of this');
sql(q{SELECT dbpatterns.tenant_suspend('1')});
my $in = $node->background_psql('acme', on_error_stop => 0);
$in->query_safe('SELECT 1');
refused(q{CALL dbpatterns.tenant_database_drop('1')}, qr/55006: database "acme" is being accessed by other users/, 'one in use stays');
is(sql(q{SELECT state FROM dbpatterns.tenant WHERE id = '1'}), 'deleting', 'but cannot come back');
refused(q{SELECT dbpatterns.tenant_resume('1')}, qr/55000/, 'not even if asked to');
$in->quit;
sql(q{CALL dbpatterns.tenant_database_drop('1')});
is(sql(q{SELECT count(*) FROM pg_database WHERE datname = 'acme'}), 0, 'a second call completes it');
refused(q{CALL dbpatterns.tenant_database_drop('1')}, qr/42704/, 'and then there is none');

# No worker is free.
$node->append_conf('postgresql.conf', 'max_worker_processes = 0');
$node->restart;
refused(q{CALL dbpatterns.tenant_database_create('x', 'tpl')}, qr/53000: no background worker is free.*max_worker_processes/s, 'no free worker');
$node->stop;
done_testing();
