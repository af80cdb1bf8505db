# Sealing under load, across a crash, prepared transactions, a dump and restore
# into another cluster and another encoding, and on a standby; and what an
# erasure leaves in the files.
use strict;
use warnings;
use IPC::Run;
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;

my $node = PostgreSQL::Test::Cluster->new('main');
my @utf8 = ('--encoding=UTF8', '--locale=C');
$node->init(allows_streaming => 1, extra => \@utf8);
# Ten connections, as such a node has, are used up while one is still closing.
$node->append_conf('postgresql.conf', "max_prepared_transactions = 10\nmax_connections = 50");
$node->start;

my $seal_sql = "SELECT block FROM dbpatterns.audit_seal()";
my $bad_sql =
  "SELECT block, problem FROM dbpatterns.audit_verify() WHERE NOT ok";

# Quietly: a block that waits for others is no news here.
sub seal
{
	my ($n, $db) = @_;
	return $n->safe_psql($db || 'postgres',
		"SET client_min_messages = warning; $seal_sql");
}

# Until a block is sealed that covers everything; autovacuum is waited for, too.
sub seal_all
{
	my ($n, $db) = @_;
	my $open =
	  "SELECT count(*) FROM _dbpatterns.audit_log WHERE txn > coalesce((SELECT max(upto_txn) FROM _dbpatterns.audit_block WHERE root IS NOT NULL), 0)";
	for (1 .. 100)
	{
		seal($n, $db);
		return 1 if $n->safe_psql($db || 'postgres', $open) eq '0';
		select(undef, undef, undef, 0.1);
	}
	return 0;
}

$node->safe_psql(
	'postgres', q{
	CREATE EXTENSION dbpatterns;
	CREATE TABLE account (id int PRIMARY KEY, owner text, balance numeric);
	SELECT dbpatterns.audit_enable('account');
	INSERT INTO account SELECT i, 'owner ' || i, 0 FROM generate_series(1, 100) i;
});

# Eight writers with savepoints and rollbacks, and a sealer who never rests.
my $script = $node->basedir . '/write.sql';
append_to_file(
	$script, q{
\set id random(1, 100)
\set step random(1, 4)
BEGIN;
UPDATE account SET balance = balance + :step WHERE id = :id;
SAVEPOINT s;
UPDATE account SET owner = 'x' WHERE id = :id;
\if :step = 1
ROLLBACK TO s;
\endif
\if :step = 2
ROLLBACK;
\else
COMMIT;
\endif
});
my $out = '';
my $writers = IPC::Run::start(
	[
		'pgbench', '-n', '-c', '8', '-j', '2', '-T', '4', '-f', $script,
		$node->connstr('postgres')
	],
	'>&',
	\$out);
my $calls = 0;
while ($writers->pumpable)
{
	seal($node);
	$calls++;
	$writers->pump_nb;
}
ok($writers->finish, 'eight writers are not disturbed') or diag($out);
ok(seal_all($node), 'everything is sealed in the end');
my $blocks = $node->safe_psql('postgres',
	"SELECT count(*) FROM _dbpatterns.audit_block");
note("$calls calls, $blocks blocks");
cmp_ok($blocks, '>=', 3, 'blocks were sealed while they wrote');
is( $node->safe_psql(
		'postgres',
		"SELECT (SELECT sum(entries) FROM _dbpatterns.audit_block) = (SELECT count(*) FROM dbpatterns.audit_entries)"
	),
	't',
	'each entry is in one block');
is($node->safe_psql('postgres', $bad_sql), '', 'all blocks are right');
my $digest = $node->safe_psql('postgres', "SELECT dbpatterns.audit_digest()");

# One byte, one row, two rows: the block is named.
my $middle = $node->safe_psql('postgres',
	"SELECT block FROM _dbpatterns.audit_block WHERE entries > 3 AND block > 1 ORDER BY abs(block - $blocks / 2) LIMIT 1"
);
my $inside =
  "(SELECT id, row_number() OVER (ORDER BY id) AS n FROM _dbpatterns.audit_log, _dbpatterns.audit_block WHERE block = $middle AND txn > from_txn AND txn <= upto_txn) i";
my %tampering = (
	'one byte' =>
	  "UPDATE _dbpatterns.audit_log l SET new = replace(l.new::text, 'id', 'iD')::jsonb FROM $inside WHERE l.id = i.id AND n = 2",
	'one row'  => "DELETE FROM _dbpatterns.audit_log l USING $inside WHERE l.id = i.id AND n = 2",
	'two rows' =>
	  "UPDATE _dbpatterns.audit_log l SET row_key = o.row_key, old = o.old, new = o.new FROM $inside, _dbpatterns.audit_log o WHERE l.id = i.id AND n IN (1, 3) AND o.id IN (SELECT j.id FROM $inside AS j WHERE j.n = 4 - i.n)"
);
$tampering{'two rows'} =~ s/i AS j/j/;
foreach my $what (sort keys %tampering)
{
	my $found = $node->safe_psql(
		'postgres', qq{
		BEGIN;
		SELECT format('ALTER TABLE %s DISABLE TRIGGER dbpatterns_guard', inhrelid::regclass)
		  FROM pg_inherits WHERE inhparent = '_dbpatterns.audit_log'::regclass \\gexec
		$tampering{$what};
		SELECT block FROM dbpatterns.audit_verify() WHERE NOT ok;
		ROLLBACK;
	});
	is($found, $middle, "$what changed: the block is named");
}

# A transaction in another database is not waited for, a prepared one is, even
# after a crash.
$node->safe_psql('postgres', 'CREATE DATABASE other');
my ($in, $other) = ('', '');
my $idle = IPC::Run::start(
	[ 'psql', '-X', '-A', '-t', $node->connstr('other') ],
	'<', \$in, '>&', \$other);
$in .= "BEGIN; SELECT 'begun', txid_current();\n";
$idle->pump until $other =~ /begun/;
$node->safe_psql('postgres', "UPDATE account SET balance = 1 WHERE id = 1");
ok(seal_all($node), 'a transaction in another database is not waited for');
$in .= "ROLLBACK;\n\\q\n";
$idle->finish;

$node->safe_psql(
	'postgres', q{
	BEGIN;
	UPDATE account SET owner = 'prepared' WHERE id = 2;
	PREPARE TRANSACTION 'two';
	UPDATE account SET owner = 'later' WHERE id = 3;
});
is(seal($node), '', 'a prepared transaction is waited for');
$node->stop('immediate');
$node->start;
is(seal($node), '', 'also after a crash');
$node->safe_psql('postgres', "COMMIT PREPARED 'two'");
ok(seal_all($node), 'and its entries are sealed when it has committed');
is( $node->safe_psql(
		'postgres',
		"SELECT count(*) FROM _dbpatterns.audit_log, _dbpatterns.audit_block WHERE new ->> 'owner' = 'prepared' AND txn > from_txn AND txn <= upto_txn AND root IS NOT NULL"
	),
	'1',
	'each once');
is($node->safe_psql('postgres', $bad_sql), '', 'all blocks are right');

# A standby can verify, but not seal.
$node->backup('base');
my $standby = PostgreSQL::Test::Cluster->new('standby');
$standby->init_from_backup($node, 'base', has_streaming => 1);
$standby->start;
$node->wait_for_catchup($standby);
is( $standby->safe_psql(
		'postgres',
		"SELECT count(*) > 0, bool_and(ok) FROM dbpatterns.audit_verify(digest => '$digest')"
	),
	't|t',
	'a standby verifies');
my ($rc, $stdout, $stderr) = $standby->psql('postgres', $seal_sql);
like(
	$stderr,
	qr/cannot execute dbpatterns.audit_seal\(\) in a read-only transaction/,
	'but does not seal');
$standby->stop;

# Erased values leave the files, TOAST included, when the tables are rewritten.
$node->safe_psql(
	'postgres', q{
	CREATE TABLE letter (id int PRIMARY KEY, body text);
	SELECT dbpatterns.audit_enable('letter');
	ALTER TABLE _dbpatterns.audit_log ALTER COLUMN new SET STORAGE EXTERNAL;
	SELECT format('ALTER TABLE %s ALTER COLUMN new SET STORAGE EXTERNAL', inhrelid::regclass)
	  FROM pg_inherits WHERE inhparent = '_dbpatterns.audit_log'::regclass \gexec
	INSERT INTO letter VALUES (1, repeat('unforgettable', 1000)), (2, E'caf\u00e9');
});

sub in_files
{
	my ($text) = @_;
	$node->safe_psql('postgres', 'CHECKPOINT');
	my $files = $node->safe_psql(
		'postgres', q{
		SELECT pg_relation_filepath(r) FROM pg_inherits, pg_class c,
		       LATERAL (VALUES (c.oid), (c.reltoastrelid)) v (r)
		 WHERE inhparent = '_dbpatterns.audit_log'::regclass AND c.oid = inhrelid});
	return grep { slurp_file($node->data_dir . "/$_") =~ /$text/ }
	  split(/\n/, $files);
}
ok(seal_all($node), 'a large value is sealed');
ok(in_files('unforgettable'), 'and is in a file');
is( $node->safe_psql(
		'postgres',
		"SELECT dbpatterns.audit_erase('letter', '{\"id\": 1}', 'on request', '{body}')"
	),
	'1',
	'it is erased');
$node->safe_psql(
	'postgres', q{
	SELECT format('VACUUM FULL %s', inhrelid::regclass)
	  FROM pg_inherits WHERE inhparent = '_dbpatterns.audit_log'::regclass \gexec
});
is(scalar(in_files('unforgettable')), 0, 'and is in no file any more');
is($node->safe_psql('postgres', $bad_sql), '', 'all blocks are right');

# Dump while a block waits; restore into another cluster, where nothing runs.
ok(seal_all($node), 'the marker of the erasure is sealed');
$node->safe_psql(
	'postgres', q{
	UPDATE account SET owner = 'dumped' WHERE id = 4;
	BEGIN;
	UPDATE account SET owner = 'not dumped' WHERE id = 5;
	PREPARE TRANSACTION 'five';
});
is(seal($node), '', 'a block waits');
$digest = $node->safe_psql('postgres', "SELECT dbpatterns.audit_digest()");
my $dump = $node->basedir . '/dump.sql';
$node->command_ok([ 'pg_dump', '-f', $dump, $node->connstr('postgres') ],
	'dump');

my $copy = PostgreSQL::Test::Cluster->new('copy');
$copy->init(extra => \@utf8);
$copy->start;
$copy->safe_psql('postgres',
	"CREATE DATABASE latin TEMPLATE template0 ENCODING 'LATIN1' LC_COLLATE 'C' LC_CTYPE 'C'"
);
foreach my $db ('postgres', 'latin')
{
	$copy->command_ok(
		[
			'psql', '-X', '-v', 'ON_ERROR_STOP=1', '-q', '-f', $dump,
			$copy->connstr($db)
		],
		"restore into $db");
	is($copy->safe_psql($db, "SELECT dbpatterns.audit_digest()"),
		$digest, "the digest is the same");
	is( $copy->safe_psql(
			$db,
			"SELECT block, problem FROM dbpatterns.audit_verify(digest => '$digest') WHERE NOT ok"
		),
		'',
		'all blocks are right');
	ok(seal($copy, $db) > 0, 'the block that waited is sealed at once');
	$copy->safe_psql($db, "UPDATE account SET owner = 'restored' WHERE id = 6");
	ok(seal_all($copy, $db), 'sealing goes on');
	is($copy->safe_psql($db, $bad_sql), '', 'all blocks are right');
}
$copy->stop;
$node->safe_psql('postgres', "ROLLBACK PREPARED 'five'");
$node->stop;
done_testing();
