# Behind a real PgBouncer in transaction mode, 8 clients of 50 tenants share three
# server connections, with rollbacks, savepoints, errors, kept plans, parallel plans and
# a crash in the middle: nobody ever sees a row of another tenant, or none of the own.
use strict;
use warnings;
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;

my ($pgbouncer) = grep { -x $_ } ('/usr/sbin/pgbouncer', '/usr/bin/pgbouncer');
plan skip_all => 'needs pgbouncer' unless $pgbouncer;

my $TENANTS = 50;
my $CLIENTS = 8;
my $TRANSACTIONS = $ENV{DBP_POOL_TRANSACTIONS} // 150;
srand($ENV{DBP_SEED} // 1);
note "DBP_SEED=" . ($ENV{DBP_SEED} // 1);

my $node = PostgreSQL::Test::Cluster->new('main');
$node->init;
$node->append_conf('postgresql.conf',
	"shared_preload_libraries = 'dbpatterns'\nrestart_after_crash = on\nmax_connections = 20");
$node->start;
my $parallel = $node->pg_version >= 16 ? 'debug_parallel_query' : 'force_parallel_mode';
sub sql { return $node->safe_psql('postgres', shift); }

sql(qq{
	CREATE EXTENSION dbpatterns;
	CREATE ROLE app LOGIN;
	SELECT dbpatterns.tenant_key_create('default');
	CREATE TABLE item (tenant_id int NOT NULL, id int GENERATED ALWAYS AS IDENTITY, body text);
	INSERT INTO item (tenant_id, body) SELECT t, md5(t::text) FROM generate_series(1, $TENANTS) t, generate_series(1, 20);
	GRANT SELECT, INSERT, UPDATE, DELETE ON item TO app;
	SELECT count(*) FROM dbpatterns.tenant_enable('item');
	-- A plan that every session keeps.
	CREATE FUNCTION seen() RETURNS text LANGUAGE plpgsql AS \$\$
	BEGIN
		RETURN (SELECT string_agg(DISTINCT tenant_id::text, ' ') || CASE WHEN bool_and(body = md5(tenant_id::text)) THEN '' ELSE ' broken' END
				  FROM item);
	END \$\$;
	ANALYZE;
});

# ---- the pool

my $dir = PostgreSQL::Test::Utils::tempdir_short();
my $ini = "$dir/pgbouncer.ini";
append_to_file($ini, sprintf(<<'INI', $node->host, $node->port, $dir, $dir, $dir, $dir));
[databases]
postgres = host=%s port=%s dbname=postgres user=app
[pgbouncer]
pool_mode = transaction
default_pool_size = 3
max_client_conn = 100
auth_type = any
listen_addr =
listen_port = 6432
unix_socket_dir = %s
logfile = %s/log
pidfile = %s/pid
admin_users = app
server_login_retry = 1
server_check_delay = 0
INI
my $pool = IPC::Run::start([ $pgbouncer, '-q', $ini ], '<', \undef, '>', "$dir/out", '2>', "$dir/err");
my $pooled = "host=$dir port=6432 dbname=postgres user=app";
my $up = 0;
for (1 .. 100)
{
	my $ignored = '';
	$up = IPC::Run::run([ 'psql', '-X', '-c', 'SELECT 1', $pooled ], '>', \$ignored, '2>', \$ignored);
	last if $up;
	select(undef, undef, undef, 0.1);
}
ok($up, 'the pool is up');

# ---- what the clients do

my %kinds = (
	commit => "SELECT 'seen ' || seen(); COMMIT;",
	rollback => "INSERT INTO item (body) VALUES (md5(dbpatterns.current_tenant())); SELECT 'seen ' || seen(); ROLLBACK;",
	insert => "INSERT INTO item (body) VALUES (md5(dbpatterns.current_tenant())); COMMIT;",
	update => "UPDATE item SET body = md5(tenant_id::text); SELECT 'seen ' || seen(); COMMIT;",
	savepoint => "SAVEPOINT s; DELETE FROM item; ROLLBACK TO s; SELECT 'seen ' || seen(); COMMIT;",
	error => "SELECT 'seen ' || seen(); SELECT 1 / 0; SELECT 'seen ' || seen(); COMMIT;",
	parallel => "SET LOCAL $parallel = on; SELECT 'seen ' || string_agg(DISTINCT tenant_id::text, ' ') FROM item; COMMIT;",
	cursor => "DECLARE c CURSOR FOR SELECT 'seen ' || tenant_id FROM item; FETCH 3 FROM c; COMMIT;",
	reset => "RESET ALL; SELECT 'none ' || count(*) FROM item; COMMIT;",
	other => "SAVEPOINT s; SELECT dbpatterns.tenant_begin('x'); ROLLBACK TO s; SELECT 'seen ' || seen(); COMMIT;");

sub transaction
{
	my ($tenant, $token) = @_;
	my @names = sort keys %kinds;
	return "BEGIN; SELECT 'none ' || count(*) FROM item; COMMIT;\n" if rand() < 0.1;
	return "BEGIN; SELECT 'tenant $tenant' FROM dbpatterns.tenant_begin('$token'); " . $kinds{ $names[ rand @names ] } . "\n";
}

# Scripts get their tokens in one go.
sub write_scripts
{
	my ($round) = @_;
	my @scripts;
	for my $client (1 .. $CLIENTS)
	{
		my @tenants = map { 1 + int(rand($TENANTS)) } 1 .. $TRANSACTIONS;
		my @tokens = split /\n/, sql("SELECT dbpatterns.tenant_token(t::text, valid => '50 minutes') FROM unnest('{"
			  . join(',', @tenants) . "}'::int[]) WITH ORDINALITY u (t, n) ORDER BY n");
		my $file = "$dir/$round.$client.sql";
		append_to_file($file, "\\set VERBOSITY sqlstate\n" . join('', map { transaction($tenants[$_], $tokens[$_]) } 0 .. $#tenants));
		push @scripts, $file;
	}
	return @scripts;
}

# Run all scripts at once; returns what they saw, and their errors.
sub run_scripts
{
	my ($during, @scripts) = @_;
	my @outs = map { '' } @scripts;
	my @errs = map { '' } @scripts;
	my @runs = map { IPC::Run::start([ 'psql', '-X', '-q', '-A', '-t', '-f', $scripts[$_], $pooled ], '>', \$outs[$_], '2>', \$errs[$_]) } 0 .. $#scripts;
	$during->() if $during;
	IPC::Run::finish($_) foreach @runs;
	return (\@outs, \@errs);
}

# Each client's lines: which tenant it is, then what it saw.
sub judge
{
	my ($outs, $what, $least) = @_;
	my ($looks, $foreign) = (0, '');
	foreach my $out (@$outs)
	{
		my $tenant = 'none';
		foreach my $line (split /\n/, $out)
		{
			if ($line =~ /^tenant (\d+)$/) { $tenant = $1; }
			elsif ($line =~ /^none (.*)$/) { $looks++; $foreign .= "none: $line\n" if $1 ne '0'; }
			elsif ($line =~ /^seen (.*)$/) { $looks++; $foreign .= "tenant $tenant: $line\n" if $1 ne $tenant; }
			elsif ($line ne '') { $foreign .= "unexpected: $line\n"; }
		}
	}
	is($foreign, '', "$what: no foreign row in $looks looks");
	cmp_ok($looks, '>', $least // $CLIENTS * $TRANSACTIONS / 4, "$what: they looked");
}

my ($outs, $errs) = run_scripts(undef, write_scripts(1));
judge($outs, 'in peace');
my %codes = map { $_ => 1 } join('', @$errs) =~ /ERROR:  (\w+)/g;
is(join(' ', sort keys %codes), '22012 25P02 55000', 'and met no other errors than they asked for');
my $pids = $node->safe_psql('postgres', "SELECT count(*) FROM pg_stat_activity WHERE usename = 'app'");
cmp_ok($pids, '<=', 3, 'over at most three connections');

# ---- a crash in the middle

my @scripts = write_scripts(2);
my $unused = sql("SELECT dbpatterns.tenant_token('1', valid => '50 minutes')");
($outs, $errs) = run_scripts(
	sub {
		select(undef, undef, undef, 0.15);
		my $pid = $node->safe_psql('postgres', "SELECT pid FROM pg_stat_activity WHERE usename = 'app' LIMIT 1");
		kill 'KILL', $pid if $pid;
	},
	@scripts);
judge($outs, 'before the crash', 0);
like(join('', @$errs), qr/FATAL|server closed|terminat/, 'the crash met clients at work');
$node->poll_query_until('postgres', 'SELECT true');
sleep(2);
my $said = '';
IPC::Run::run([ 'psql', '-X', '-c', "BEGIN; SELECT dbpatterns.tenant_begin('$unused')", $pooled ], '>', \$said, '2>&1');
like($said, qr/older than the server's memory/, 'tokens from before the crash are worth nothing');
($outs, $errs) = run_scripts(undef, write_scripts(3));
judge($outs, 'after a crash');
is(sql("SELECT count(*) FROM item WHERE body <> md5(tenant_id::text)"), '0', 'every row is its tenant\'s');

# ---- what outlives a transaction

sub pooled
{
	my ($sql) = @_;
	my $out = '';
	IPC::Run::run([ 'psql', '-X', '-A', '-t', '-v', 'ON_ERROR_STOP=0', $pooled ], '<', \$sql, '>', \$out, '2>&1');
	return $out;
}
my $token = sub { sql("SELECT dbpatterns.tenant_token('$_[0]')") };
my $begin = sub { "BEGIN; SELECT FROM dbpatterns.tenant_begin('" . $token->($_[0]) . "');\n" };
foreach my $left ([ 'DECLARE held CURSOR WITH HOLD FOR SELECT * FROM item', 'cursor held', 'CLOSE held' ],
	[ 'CREATE TEMP TABLE kept AS SELECT * FROM item', 'temporary table kept', 'DROP TABLE kept' ],
	[ 'LISTEN news', 'channel news', 'UNLISTEN *' ])
{
	my ($leave, $found, $clean) = @$left;
	# One connection, so that the next client gets what the last one left.
	pooled("BEGIN; SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE usename = 'app' AND pid <> pg_backend_pid(); COMMIT;");
	my $said = pooled($begin->(1) . "$leave; COMMIT; SELECT kind, name FROM dbpatterns.tenant_residue();\n"
		  . $begin->(2) . "SELECT 'lax'; COMMIT;");
	$said =~ s/\|/ /g;
	like($said, qr/$found.*lax/s, "what is left shows: $leave");
	sql("ALTER ROLE app SET dbpatterns.tenant_strict_pool = on");
	$said = pooled("$clean; BEGIN; SELECT pg_terminate_backend(pg_backend_pid()); COMMIT;");
	$said = pooled($begin->(1) . "$leave; COMMIT;\n" . $begin->(2) . "SELECT 'lax'; COMMIT;");
	like($said, qr/this session holds what another tenant may have left: $found/, 'and is refused where that is asked for');
	pooled("$clean; BEGIN; SELECT pg_terminate_backend(pg_backend_pid()); COMMIT;");
	sql("ALTER ROLE app RESET dbpatterns.tenant_strict_pool");
}

# ---- export, which writes files

my $files = "$dir/export";
mkdir $files;
chmod 0777, $files;
my $exported = sql("SELECT string_agg(rows || ' ' || regexp_replace(file, '.*/', ''), ',') FROM dbpatterns.tenant_export('7', '$files')");
my $rows = sql("SELECT count(*) FROM item WHERE tenant_id = 7");
is($exported, "$rows 001_public.item.csv", 'a tenant is exported');
my @lines = split /\n/, slurp_file("$files/001_public.item.csv");
is(scalar(grep { /^7,/ } @lines), $rows, 'with all of its rows');
is(scalar(@lines), $rows + 1, 'and no others');

IPC::Run::kill_kill($pool);
$node->stop;
done_testing();
