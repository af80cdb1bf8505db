# Versioned tables survive dump and restore, whole or data only, prepared
# transactions and logical replication: versions are neither lost nor doubled.
use strict;
use warnings;
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;

my $node = PostgreSQL::Test::Cluster->new('main');
$node->init(allows_streaming => 'logical');
$node->append_conf('postgresql.conf', "fsync = off\nmax_prepared_transactions = 5");
$node->start;
my $dir = $node->basedir;
sub sql { return $node->safe_psql($_[0], $_[1]); }

sql('postgres', 'CREATE DATABASE old');
sql('old', q{
	CREATE EXTENSION dbpatterns;
	CREATE SCHEMA "odd Schema";
	CREATE TABLE plain (gone int, id int PRIMARY KEY, v text, note text);
	ALTER TABLE plain DROP COLUMN gone;
	CREATE TABLE "odd Schema"."table ""x""" (a text, b int GENERATED ALWAYS AS IDENTITY, v text, PRIMARY KEY (a, b));
	CREATE TABLE part (id int, region text, v text, PRIMARY KEY (id, region)) PARTITION BY LIST (region);
	CREATE TABLE part_a PARTITION OF part FOR VALUES IN ('a');
	CREATE TABLE part_b (v text, region text NOT NULL, id int NOT NULL);
	ALTER TABLE part ATTACH PARTITION part_b FOR VALUES IN ('b');
	SELECT dbpatterns.versioning_enable('plain', exclude => '{note}', keep => '1 year');
	SELECT dbpatterns.versioning_enable('"odd Schema"."table ""x"""', time_source => 'clock', on_truncate => 'ignore');
	SELECT dbpatterns.versioning_enable('part', on_truncate => 'archive', partition_by => '1 month');
	INSERT INTO plain SELECT g, 'one', 'n' FROM generate_series(1, 100) g;
	INSERT INTO "odd Schema"."table ""x""" (a, v) VALUES ('a', 'x');
	INSERT INTO part SELECT g, CASE g % 2 WHEN 0 THEN 'a' ELSE 'b' END FROM generate_series(1, 100) g;
});
sql('old', q{UPDATE plain SET v = 'two' WHERE id <= 50; UPDATE "odd Schema"."table ""x""" SET v = 'y'});
sql('old', q{DELETE FROM plain WHERE id <= 10; UPDATE part SET region = 'b' WHERE id <= 20; ALTER TABLE plain RENAME v TO w});

my %facts = (
	'rows' => q{SELECT md5(string_agg(x::text, ',' ORDER BY x::text)) FROM plain x},
	'versions' => q{SELECT md5(string_agg(x::text, ',' ORDER BY x::text)) || count(*) FROM (SELECT to_jsonb(p) FROM plain__versions() p
		UNION ALL SELECT to_jsonb(p) FROM "odd Schema"."table ""x""__versions"() p UNION ALL SELECT to_jsonb(p) FROM part__versions() p) x},
	'settings' => q{SELECT string_agg(s::text, ',' ORDER BY target::text) FROM dbpatterns.versioning_status s},
	'triggers' => q{SELECT string_agg(pg_get_triggerdef(oid) || tgenabled::text, ',' ORDER BY tgrelid::regclass::text, tgname) FROM pg_trigger WHERE tgname ~ 'dbpatterns'},
	'findings' => q{SELECT string_agg(severity || object || problem, ',') FROM dbpatterns.versioning_check()});
my %wanted = map { $_ => sql('old', $facts{$_}) } keys %facts;
is($wanted{findings}, '', 'nothing is wrong before');

foreach my $format ('plain', 'custom')
{
	$node->command_ok([ 'pg_dump', '-F', $format, '-f', "$dir/$format", $node->connstr('old') ], "dump, $format");
	sql('postgres', "CREATE DATABASE new_$format");
	$node->command_ok($format eq 'plain'
		? [ 'psql', '-X', '-v', 'ON_ERROR_STOP=1', '-q', '-f', "$dir/plain", $node->connstr('new_plain') ]
		: [ 'pg_restore', '--exit-on-error', '-j', '2', '-d', $node->connstr('new_custom'), "$dir/custom" ], "restore, $format");
	is(sql("new_$format", $facts{$_}), $wanted{$_}, "$_ after $format") foreach sort keys %facts;
}

# Life goes on in the copy: versions, and an ALTER that the history follows.
sql('new_plain', q{
	ALTER TABLE plain ADD COLUMN extra int DEFAULT 3;
	ALTER TABLE plain RENAME TO renamed;
	UPDATE renamed SET w = 'three' WHERE id = 60;
});
is(sql('new_plain', q{SELECT string_agg(w || coalesce(extra::text, '-'), ' ' ORDER BY sys_period) FROM renamed__versions() WHERE id = 60}),
	'one3 three3', 'the history goes on in the copy');
is(sql('new_plain', q{SELECT dbpatterns.restore_as_of('renamed', '{"id": 5}', (SELECT lower(sys_period) FROM plain_history WHERE id = 5 LIMIT 1))}), '1', 'rows come back in the copy');
my ($ret, $out, $err) = $node->psql('new_plain', 'DROP TABLE plain_history');
like($err, qr/it is the history of table public.renamed/, 'the history is still known');

# Data only: with the setting, periods are kept and nothing is archived.
$node->command_ok([ 'pg_dump', '--data-only', '-t', 'plain', '-t', 'plain_history', '-f', "$dir/data", $node->connstr('old') ], 'dump of data');
sql('postgres', 'CREATE DATABASE empty TEMPLATE new_custom');
sql('empty', q{SET session_replication_role = replica; DELETE FROM plain; DELETE FROM plain_history});
{
	local $ENV{PGOPTIONS} = '-c dbpatterns.versioning_import=on';
	$node->command_ok([ 'psql', '-X', '-v', 'ON_ERROR_STOP=1', '-q', '-f', "$dir/data", $node->connstr('empty') ], 'restore of data');
}
is(sql('empty', $facts{$_}), $wanted{$_}, "$_ after data") foreach ('rows', 'versions');

# A prepared transaction: its versions come with its commit, and go with its rollback.
sql('old', q{BEGIN; UPDATE plain SET w = 'prepared' WHERE id = 70; PREPARE TRANSACTION 'yes'});
sql('old', q{BEGIN; UPDATE plain SET w = 'prepared' WHERE id = 71; PREPARE TRANSACTION 'no'});
$node->stop('immediate');
$node->start;
is(sql('old', q{SELECT count(*) FROM plain_history WHERE id IN (70, 71)}), '0', 'not yet');
sql('old', q{COMMIT PREPARED 'yes'});
sql('old', q{ROLLBACK PREPARED 'no'});
is(sql('old', q{SELECT string_agg(id::text, ' ') FROM plain_history WHERE id IN (70, 71)}), '70', 'committed');
is(sql('old', q{SELECT count(*) FROM plain p JOIN plain_history h USING (id) WHERE id = 70 AND lower(p.sys_period) = upper(h.sys_period)}), '1', 'without a gap');

# Logical replication: rows and history arrive as data, triggers of the subscriber
# do nothing, so that both sides have the same versions.
sql('postgres', 'CREATE DATABASE sub TEMPLATE new_custom');
sql('sub', q{SET session_replication_role = replica; DELETE FROM plain; DELETE FROM plain_history});
sql('old', 'CREATE PUBLICATION pub FOR TABLE plain, plain_history');
sql('old', q{ALTER TABLE plain_history REPLICA IDENTITY FULL});
sql('old', q{SELECT pg_create_logical_replication_slot('sub', 'pgoutput')});
sql('sub', "CREATE SUBSCRIPTION sub CONNECTION '" . $node->connstr . " dbname=old' PUBLICATION pub WITH (create_slot = false)");
$node->wait_for_subscription_sync($node, 'sub', 'sub');
sql('old', q{UPDATE plain SET w = 'replicated' WHERE id BETWEEN 80 AND 90; DELETE FROM plain WHERE id = 91});
$node->wait_for_catchup('sub');
is(sql('sub', $facts{$_}), sql('old', $facts{$_}), "$_ on the subscriber") foreach ('rows');
my $all = q{SELECT md5(string_agg(to_jsonb(p)::text, ',' ORDER BY to_jsonb(p)::text)) || count(*) FROM plain__versions() p};
is(sql('sub', $all), sql('old', $all), 'versions on the subscriber');

# DROP EXTENSION leaves rows, versions and functions.
sql('old', 'DROP SUBSCRIPTION IF EXISTS sub; DROP PUBLICATION pub');
my $versions = sql('old', 'SELECT count(*) FROM plain__versions()');
sql('old', 'DROP EXTENSION dbpatterns CASCADE');
is(sql('old', 'SELECT count(*) FROM plain__versions()'), $versions, 'the past can be read without the extension');
sql('sub', 'ALTER SUBSCRIPTION sub DISABLE; ALTER SUBSCRIPTION sub SET (slot_name = NONE); DROP SUBSCRIPTION sub');
$node->stop;
done_testing();
