# Tokens work once on a server, whatever becomes of the transaction, the session
# or the server; and the context meets the roads to it that need a server of
# their own: options of a connection, defaults of roles and databases, prepared
# transactions, parallel workers, standbys.
use strict;
use warnings;
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use FindBin;
use Test::More;

my $node = PostgreSQL::Test::Cluster->new('main');
$node->init(allows_streaming => 1);
$node->append_conf(
	'postgresql.conf', q{
shared_preload_libraries = 'dbpatterns'
dbpatterns.tenant_token_slots = 1024
max_prepared_transactions = 10
restart_after_crash = on
});
$node->start;

sub sql { return $node->safe_psql('postgres', shift); }

# What a statement says as the application's role: output and errors.
sub as_app
{
	my ($sql, %how) = @_;
	my ($out, $err) = ('', '');
	($how{node} // $node)->psql(
		$how{db} // 'postgres', "SET ROLE app; $sql",
		stdout => \$out, stderr => \$err, on_error_stop => 0);
	return "$out$err";
}

sub token
{
	my ($tenant, $more) = @_;
	return sql("SELECT dbpatterns.tenant_token('$tenant'" . ($more // '') . ')');
}

sub begin { return "BEGIN; SELECT FROM dbpatterns.tenant_begin('$_[0]'); SELECT 'tenant ' || dbpatterns.current_tenant();" }

sql(q{
	CREATE EXTENSION dbpatterns;
	CREATE ROLE app;
	CREATE ROLE owner;
	CREATE ROLE login LOGIN;
	CREATE DATABASE other OWNER owner;
	SELECT dbpatterns.tenant_key_create('default');
});
$node->safe_psql('other', 'CREATE EXTENSION dbpatterns');
my $secret = sql("SELECT encode(secret, 'hex') FROM _dbpatterns.tenant_key");
$node->safe_psql('other', "INSERT INTO _dbpatterns.tenant_key VALUES ('default', decode('$secret', 'hex'))");

# Once, in this session and in any other, also when the transaction failed.
my $token = token('acme');
like(as_app(begin($token) . 'COMMIT; ' . begin($token)),
	qr/tenant acme.*token has been used/s, 'a token works once in a session');
like(as_app(begin($token)), qr/token has been used/, 'and in no other session');
$token = token('acme');
like(as_app(begin($token) . 'ROLLBACK'), qr/tenant acme/, 'a token that is used and rolled back');
like(as_app(begin($token)), qr/token has been used/, 'is used');
my $twin = $token;
my $last = substr($twin, -1);
substr($twin, -1) = chr(ord($last) + 1);
like(as_app(begin($twin)), qr/token has been used|token is not valid/,
	'another spelling of its signature is no other token');

# For this database, and for as long as it says.
$token = token('acme');
like(as_app(begin($token), db => 'other'), qr/token is for another database/,
	'a token for one database is refused by another that has the same key');
like(as_app(begin($token)), qr/tenant acme/, 'which does not use it up');
$token = token('acme', ", valid => '1 second'");
sleep(3);
like(as_app(begin($token)), qr/token has expired/, 'an expired token');

# Eight sessions at once: one gets in.
$token = token('acme');
my $script = $node->basedir . '/race.sql';
append_to_file($script, begin($token) . " ROLLBACK;\n");
my ($out, $err);
IPC::Run::run(
	[ 'pgbench', '-n', '-c', '8', '-j', '2', '-t', '1', '-f', $script, $node->connstr('postgres') ],
	'>', \$out, '2>', \$err);
like("$out$err", qr/number of transactions actually processed: 1\/8/,
	'of eight sessions with one token, one gets in');

# Tokens that are in use are counted; those that expired make room.
$script = $node->basedir . '/many.sql';
append_to_file($script, <<'SQL');
SELECT dbpatterns.tenant_token('acme', valid => '10 seconds') AS token \gset
BEGIN;
SELECT FROM dbpatterns.tenant_begin(:token);
COMMIT;
SQL
IPC::Run::run(
	[ 'pgbench', '-n', '-M', 'extended', '-c', '4', '-t', '300', '-f', $script, $node->connstr('postgres') ],
	'>', \$out, '2>', \$err);
like("$out$err", qr/too many tokens that have not expired/,
	'more tokens than can be remembered are refused');
my $said = '';
for (1 .. 60)
{
	$said = as_app(begin(token('acme')));
	last if $said =~ /tenant acme/;
	sleep(1);
}
like($said, qr/tenant acme/, 'when they have expired, there is room again');

# What the server forgets it does not take.
$token = token('acme');
$node->restart;
like(as_app(begin($token)), qr/older than the server's memory/, 'a token from before a restart');
sleep(1);
like(as_app(begin(token('acme'))), qr/tenant acme/, 'a new one');
$token = token('acme');
like(as_app(begin($token)), qr/tenant acme/, 'a token is used');
my $victim = $node->background_psql('postgres', on_error_stop => 0);
my $pid = $victim->query_safe('SELECT pg_backend_pid()');
kill 'KILL', $pid;
$node->poll_query_until('postgres', 'SELECT true');
eval { $victim->quit };
$node->poll_query_until('postgres', "SELECT pg_postmaster_start_time() IS NOT NULL");
like(as_app(begin($token)), qr/older than the server's memory/, 'and refused after a crash');
sleep(1);

# Keys in a file.
my $file = $node->basedir . '/keys';
sub write_keys
{
	my ($mode, $text) = @_;
	unlink $file;
	append_to_file($file, $text);
	chmod $mode, $file;
}
my $key1 = 'A' x 43;
my $key2 = 'B' x 43;
write_keys(0600, "# keys\n\nfirst $key1\n");
$node->append_conf('postgresql.conf', "dbpatterns.tenant_key_file = '$file'");
$node->reload;
sub file_token { return token('acme', ", kid => '$_[0]'"); }
like(as_app(begin(file_token('first'))), qr/tenant acme/, 'a key in a file');
$token = file_token('first');
write_keys(0600, "first $key2\nsecond $key1\n");
like(as_app(begin($token)), qr/token is not valid/, 'a key that was replaced');
like(as_app(begin(file_token('second'))), qr/tenant acme/, 'one that was added');
like(as_app(begin(token('acme'))), qr/tenant acme/, 'keys in the database count, too');
write_keys(0640, "first $key1\n");
like(as_app(begin($token)), qr/key file of tenants can be read by others/, 'a file that others can read');
foreach my $bad ("short AAAA\n", "first\n", "first $key1 more\n", "first ===\n")
{
	write_keys(0600, $bad);
	$said = as_app(begin($token));
	like($said, qr/key file of tenants has a line that is no key/, 'a line that is no key');
	unlike($said, qr/AAAA/, 'and is not shown');
}
unlink $file;
like(as_app(begin($token)), qr/key file of tenants cannot be read/, 'no file');
$node->adjust_conf('postgresql.conf', 'dbpatterns.tenant_key_file', "''");
$node->reload;

# Tokens that the guide makes, in the languages that are here.
my $guide = slurp_file("$FindBin::Bin/../../docs/guide/tenant.md");
$secret = sql("SELECT encode(secret, 'hex') FROM _dbpatterns.tenant_key");
my %main = (
	python => [ 'python3', "print(token(bytes.fromhex('$secret'), 'postgres', 42, 'ann'))" ],
	javascript => [ 'node', "console.log(token(Buffer.from('$secret', 'hex'), 'postgres', 42, 'ann'))" ]);
foreach my $language (sort keys %main)
{
	my ($program, $call) = @{ $main{$language} };
  SKIP:
	{
		my ($made, $ignored) = ('', '');
		skip "no $program", 1
		  unless eval { IPC::Run::run([ $program, '--version' ], '>', \$ignored, '2>', \$ignored) };
		my ($code) = $guide =~ /```$language\n(.*?)```/s;
		IPC::Run::run([ $program, '-' ], '<', \"$code\n$call\n", '>', \$made);
		chomp $made;
		like(as_app(begin($made)), qr/tenant 42/, "a token made in $language");
	}
}

# Roads to the setting.
foreach my $setting ('tenant_context=1:b,,,,', 'tenant_setting=app.tenant', 'tenant_admin_role=app')
{
	my ($stdout, $stderr) = ('', '');
	local $ENV{PGOPTIONS} = "-c dbpatterns.$setting";
	my $ret = IPC::Run::run(
		[ 'psql', '-X', '-c', "SELECT dbpatterns.current_tenant()", $node->connstr('postgres') . ' user=login' ],
		'>', \$stdout, '2>', \$stderr);
	ok(!$ret, "options of a connection: $setting");
	like($stderr, qr/permission denied to set parameter/, 'are refused');
}
like(as_app(q{RESET ROLE; SET ROLE owner; ALTER DATABASE other SET dbpatterns.tenant_context = '1:b,,,,'}),
	qr/ERROR/, 'a default of the database, by its owner');
like(as_app(q{RESET ROLE; ALTER SYSTEM SET dbpatterns.tenant_context = '1:b,,,,'}), qr/ERROR/, 'ALTER SYSTEM');

# A prepared transaction leaves no tenant behind.
like(as_app(begin(token('acme')) . q{
		CREATE TEMP TABLE IF NOT EXISTS unused (); ROLLBACK;} . begin(token('zeta')) . q{
		PREPARE TRANSACTION 'p'; SELECT 'then ' || coalesce(dbpatterns.current_tenant(), 'none');
		ROLLBACK PREPARED 'p';}),
	qr/tenant zeta.*then none/s, 'PREPARE TRANSACTION ends the context');

# Workers see what their leader sees, and cannot set it.
my $parallel = $node->pg_version >= 16 ? 'debug_parallel_query' : 'force_parallel_mode';
my $plan = as_app(begin(token('acme', ", 'ann', '{\"role\": \"editor\"}'")) . qq{
	SET LOCAL $parallel = on;
	EXPLAIN (ANALYZE, COSTS OFF, TIMING OFF, SUMMARY OFF, VERBOSE) SELECT dbpatterns.current_tenant();
	SELECT 'worker ' || dbpatterns.current_tenant() || ' ' || dbpatterns.current_user_id() || ' ' ||
		dbpatterns.current_claim('role');});
like($plan, qr/Workers Launched: 1.*worker acme ann editor/s, 'parallel workers have the context');

# A standby takes tokens, too; its memory is its own.
$node->backup('b');
my $standby = PostgreSQL::Test::Cluster->new('standby');
$standby->init_from_backup($node, 'b', has_streaming => 1);
$standby->start;
sleep(1);
$token = token('acme');
$node->wait_for_catchup($standby);
like(as_app(begin($token), node => $standby), qr/tenant acme/, 'a standby takes a token');
like(as_app(begin($token), node => $standby), qr/token has been used/, 'once');
$standby->stop;

# No secret in the log.
my $log = slurp_file($node->logfile);
unlike($log, qr/\Q$key1\E/, 'no key of the file is in the log');

# Without preloading, a value given before the library is loaded is dropped.
my $plain = PostgreSQL::Test::Cluster->new('plain');
$plain->init;
$plain->start;
$plain->safe_psql('postgres', 'CREATE EXTENSION dbpatterns; CREATE ROLE app');
like(as_app(q{SET dbpatterns.tenant_context = '1:b,,,,'; SET dbpatterns.tenant_setting = 'app.tenant'; SET app.tenant = 'b';
		SELECT 'then ' || coalesce(dbpatterns.current_tenant(), 'none');}, node => $plain),
	qr/then none/, 'a value from before the library was loaded is dropped');
like(as_app(begin('x'), node => $plain), qr/token is not valid/, 'a broken token');
$plain->stop;
$node->stop;
done_testing();
