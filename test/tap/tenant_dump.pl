# Isolated tables can be dumped and restored, also where the target database protects
# new tables; afterwards nothing is missing, and no key is in the dump.
use strict;
use warnings;
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;

my $node = PostgreSQL::Test::Cluster->new('main');
$node->init;
$node->start;
$node->safe_psql('postgres', 'CREATE DATABASE old; CREATE ROLE app; CREATE ROLE "Ad Min"');
$node->safe_psql(
	'old', q{
	CREATE EXTENSION dbpatterns;
	SET dbpatterns.tenant_application_roles = app;
	SET dbpatterns.tenant_admin_role = 'Ad Min';
	CREATE TABLE a (id int PRIMARY KEY, tenant_id int NOT NULL, email text UNIQUE);
	CREATE TABLE "B b" (id int PRIMARY KEY, tenant_id int NOT NULL, user_id text, a int REFERENCES a);
	CREATE TABLE shared (code text);
	CREATE TABLE p (tenant_id int NOT NULL, id int) PARTITION BY RANGE (id);
	CREATE TABLE p1 PARTITION OF p FOR VALUES FROM (0) TO (10) PARTITION BY RANGE (id);
	CREATE TABLE p11 PARTITION OF p1 FOR VALUES FROM (0) TO (5);
	CREATE TABLE child () INHERITS (a);
	SELECT count(*) FROM dbpatterns.tenant_enable_schema('public', '{shared}', fix_keys => true);
	SELECT count(*) FROM dbpatterns.tenant_enable('"B b"', user_column => 'user_id', fix_keys => true);
	SELECT dbpatterns.tenant_create('1', 'acme', '{"max_rows": 5}'), dbpatterns.tenant_key_create('k');
	GRANT SELECT ON ALL TABLES IN SCHEMA public TO app;
	INSERT INTO a VALUES (1, 1, 'x'), (2, 2, 'y');
	INSERT INTO p VALUES (1, 1), (2, 2);
});
my $state = q{
	SELECT c.relname, c.relrowsecurity, c.relforcerowsecurity, p.polname, p.polpermissive,
		   pg_get_expr(p.polqual, p.polrelid), p.polroles::regrole[]
	  FROM pg_class c LEFT JOIN pg_policy p ON p.polrelid = c.oid
	 WHERE c.relnamespace = 'public'::regnamespace AND c.relkind IN ('r', 'p') ORDER BY 1, 4};
my $before = $node->safe_psql('old', $state);
my $secret = $node->safe_psql('old', "SELECT encode(secret, 'hex') FROM _dbpatterns.tenant_key");

my $dump = $node->basedir . '/old.dump';
my $text = $node->basedir . '/old.sql';
$node->command_ok([ 'pg_dump', '-Fc', '-f', $dump, $node->connstr('old') ], 'dumped');
$node->command_ok([ 'pg_dump', '-f', $text, $node->connstr('old') ], 'dumped as text');
unlike(slurp_file($text), qr/$secret/, 'no key is in it');

foreach my $mode ('off', 'protect', 'reject')
{
	$node->safe_psql('postgres', "CREATE DATABASE new_$mode");
	$node->safe_psql('postgres', "ALTER DATABASE new_$mode SET dbpatterns.tenant_new_tables = $mode");
	$node->command_ok([ 'pg_restore', '-e', '-j', '2', '-d', $node->connstr("new_$mode"), $dump ], "restored, $mode");
	is($node->safe_psql("new_$mode", $state), $before, "with all policies, $mode");
	is( $node->safe_psql(
			"new_$mode", "SET dbpatterns.tenant_application_roles = app; SET dbpatterns.tenant_admin_role = 'Ad Min';
			SELECT * FROM dbpatterns.tenant_check() WHERE object !~ '^PostgreSQL '"),
		'',
		"and nothing to find, $mode");
	is($node->safe_psql("new_$mode", 'SELECT id, slug, limits FROM dbpatterns.tenant'), '1|acme|{"max_rows": 5}', "and its tenants, $mode");
}
is( $node->safe_psql(
		'new_off', "BEGIN; SELECT FROM dbpatterns.tenant_set('1'); SET LOCAL ROLE app; SELECT string_agg(id::text, ' ') FROM a"),
	'1', 'tenants are told apart');
$node->stop;
done_testing();
