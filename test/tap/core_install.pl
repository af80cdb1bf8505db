# A database with the extension can be dumped and restored, and a server that
# preloads the library starts.
use strict;
use warnings;
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;

my $node = PostgreSQL::Test::Cluster->new('main');
$node->init;
$node->append_conf('postgresql.conf',
	"shared_preload_libraries = 'dbpatterns'");
$node->start;

$node->safe_psql('postgres', 'CREATE DATABASE old');
$node->safe_psql('postgres', 'CREATE DATABASE new');
$node->safe_psql('old', 'CREATE EXTENSION dbpatterns');

my $dump = $node->basedir . '/old.sql';
$node->command_ok([ 'pg_dump', '-f', $dump, $node->connstr('old') ],
	'a database with the extension can be dumped');
$node->command_ok(
	[
		'psql', '-X', '-v', 'ON_ERROR_STOP=1', '-f', $dump,
		$node->connstr('new')
	],
	'and restored');
is( $node->safe_psql(
		'new', "SELECT count(*) FROM pg_extension WHERE extname = 'dbpatterns'"),
	'1',
	'the extension is there after the restore');

$node->stop;
done_testing();
