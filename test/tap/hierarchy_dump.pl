# Closure tables survive dump and restore, whole or in parts: exact, with their
# triggers, settings and readers, and kept up from the first statement on.
use strict;
use warnings;
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;

my $node = PostgreSQL::Test::Cluster->new('main');
$node->init;
$node->append_conf('postgresql.conf', "fsync = off\nautovacuum = off");
$node->start;
my $dir = $node->basedir;

$node->safe_psql('postgres', 'CREATE DATABASE old');
$node->safe_psql('old', q{
	CREATE EXTENSION dbpatterns;
	CREATE EXTENSION citext;
	CREATE SCHEMA "odd Schema";
	CREATE TABLE plain (gone int, id int PRIMARY KEY, parent_id int REFERENCES plain ON UPDATE CASCADE ON DELETE CASCADE, v text);
	ALTER TABLE plain DROP COLUMN gone;
	CREATE TABLE soft (id int PRIMARY KEY, parent_id int);
	CREATE TABLE "odd Schema"."table ""x""" ("the id" uuid PRIMARY KEY, "the ""parent" uuid);
	CREATE TABLE tags (id citext PRIMARY KEY, parent_id citext);
	CREATE TABLE unit (tenant int, id int, parent_id int, PRIMARY KEY (tenant, id), FOREIGN KEY (tenant, parent_id) REFERENCES unit);
	CREATE TABLE part (id int PRIMARY KEY, parent_id int, mentor_id int) PARTITION BY RANGE (id);
	CREATE TABLE part_1 PARTITION OF part FOR VALUES FROM (0) TO (100);
	CREATE TABLE part_2 (mentor_id int, id int NOT NULL, parent_id int);
	ALTER TABLE part ATTACH PARTITION part_2 FOR VALUES FROM (100) TO (200);
	SELECT dbpatterns.closure_enable('plain', 'parent_id', max_depth => 50);
	SELECT dbpatterns.closure_enable('soft', 'parent_id', closure => 'soft tree');
	SELECT dbpatterns.closure_enable('"odd Schema"."table ""x"""', 'the "parent', fire => 'always');
	SELECT dbpatterns.closure_enable('tags', 'parent_id');
	SELECT dbpatterns.closure_enable('unit', '{tenant,parent_id}');
	SELECT dbpatterns.closure_enable('part', 'parent_id', closure => 'part_closure');
	SELECT dbpatterns.closure_enable('part', 'mentor_id', closure => 'part_mentors');
	-- Children lie before their parents in the files.
	INSERT INTO plain SELECT i, nullif(i / 3, 0) FROM generate_series(500, 1, -1) i;
	INSERT INTO soft SELECT i, i / 2 FROM generate_series(100, 1, -1) i;
	INSERT INTO soft VALUES (1000, 999);
	INSERT INTO "odd Schema"."table ""x""" SELECT md5(i::text)::uuid, CASE WHEN i > 1 THEN md5((i / 2)::text)::uuid END FROM generate_series(1, 50) i;
	INSERT INTO tags VALUES ('Poodle', 'DOG'), ('dog', 'Animal'), ('ANIMAL', NULL);
	INSERT INTO unit SELECT t, i, nullif(i / 2, 0) FROM generate_series(1, 3) t, generate_series(20, 1, -1) i;
	INSERT INTO part SELECT i, nullif(i / 2, 0), nullif(i / 5, 0) FROM generate_series(199, 1, -1) i;
});

# What must be the same on both sides.
my @closures = ('plain_closure', '"soft tree"', '"odd Schema"."table ""x""_closure"', 'tags_closure', 'unit_closure', 'part_closure', 'part_mentors');
my %facts = (
	(map { ("pairs of $_" => "SELECT md5(string_agg(c::text, ',' ORDER BY c::text)) || count(*) FROM $_ c") } @closures),
	'keys and indexes' => q{SELECT string_agg(pg_get_indexdef(indexrelid), ',' ORDER BY indexrelid::regclass::text) FROM pg_index WHERE indrelid::regclass::text ~ 'closure|tree|mentors'},
	'settings' => q{SELECT string_agg(to_jsonb(s)::text, ',' ORDER BY target::text, closure::text) FROM (SELECT target, closure, key, parent, max_depth, on_orphan, fire, active FROM dbpatterns.closure_status) s},
	'triggers' => q{SELECT string_agg(pg_get_triggerdef(oid) || tgenabled::text, ',' ORDER BY tgrelid::regclass::text, tgname) FROM pg_trigger WHERE tgname ~ 'dbpatterns'},
	'readers' => q{SELECT string_agg(oid::regprocedure::text, ',' ORDER BY oid::regprocedure::text) FROM pg_proc WHERE proname ~ '__'},
	'findings' => q{SELECT string_agg(severity || object || problem, ',' ORDER BY object) FROM dbpatterns.closure_check()});
my %wanted = map { $_ => $node->safe_psql('old', $facts{$_}) } keys %facts;
unlike($wanted{findings}, qr/error/, 'nothing is wrong before');
like($wanted{readers}, qr/plain__/, 'there are readers before');

sub check_restored
{
	my ($db, $how) = @_;
	foreach my $fact (sort keys %facts)
	{
		is($node->safe_psql($db, $facts{$fact}), $wanted{$fact}, "$how: $fact");
	}

	# It goes on: moves, orphans adopted, cycles refused, a new partition.
	$node->safe_psql($db, q{
		SET search_path = pg_catalog;
		UPDATE public.plain SET parent_id = 400 WHERE id = 3;
		DELETE FROM public.plain WHERE id = 6;
		INSERT INTO public.soft VALUES (999, 50), (0, 998);
		UPDATE public.tags SET parent_id = 'animal' WHERE id OPERATOR(public.=) 'poodle'::public.citext;
		UPDATE "odd Schema"."table ""x""" SET "the ""parent" = NULL WHERE "the id" = md5('7')::uuid;
		INSERT INTO public.unit VALUES (1, 21, 20), (9, 1, NULL);
		INSERT INTO public.part_2 (id, parent_id) VALUES (100, 1) ON CONFLICT DO NOTHING;
		UPDATE public.part SET parent_id = 199, mentor_id = 7 WHERE id = 2;
		CREATE TABLE public.part_3 PARTITION OF public.part FOR VALUES FROM (200) TO (300);
		INSERT INTO public.part_3 VALUES (200, 199, 100);
	});
	is($node->safe_psql($db, q{SELECT count(*) FROM dbpatterns.closure_check() WHERE severity = 'error'}), '0', "$how: exact after more changes");
	my ($ret, $out, $err) = $node->psql($db, 'UPDATE soft SET parent_id = 40 WHERE id = 5');
	like($err, qr/would be below itself.*\n.*-> 5\./, "$how: cycles are refused");
}

# psql restores a plain dump, in one transaction and without.
$node->command_ok([ 'pg_dump', '-f', "$dir/plain.sql", $node->connstr('old') ], 'plain dump');
foreach my $single (0, 1)
{
	my $db = "plain$single";
	$node->safe_psql('postgres', "CREATE DATABASE $db");
	$node->command_ok([ 'psql', '-X', '-q', '-v', 'ON_ERROR_STOP=1', ($single ? '-1' : ()), '-f', "$dir/plain.sql", $node->connstr($db) ],
		"plain restore, single transaction: $single");
	check_restored($db, "plain, single transaction: $single");
}

# pg_restore, in parallel, and from the custom format.  In parallel one section after
# the other: else the triggers of a partitioned table can come before the data of its
# partitions, for the server knows of no dependency between them.
$node->command_ok([ 'pg_dump', '-Fd', '-j', '2', '-f', "$dir/dump", $node->connstr('old') ], 'parallel dump');
$node->safe_psql('postgres', 'CREATE DATABASE parallel');
foreach my $section ('pre-data', 'data', 'post-data')
{
	$node->command_ok([ 'pg_restore', '-j', '2', "--section=$section", '--exit-on-error', '-d', $node->connstr('parallel'), "$dir/dump" ],
		"parallel restore: $section");
}
check_restored('parallel', 'parallel');
$node->command_ok([ 'pg_dump', '-Fc', '-f', "$dir/custom", $node->connstr('old') ], 'custom dump');
$node->safe_psql('postgres', 'CREATE DATABASE custom');
$node->command_ok([ 'pg_restore', '--exit-on-error', '-d', $node->connstr('custom'), "$dir/custom" ], 'custom restore');
check_restored('custom', 'custom');

# Schema and data apart, with triggers disabled.
$node->command_ok([ 'pg_dump', '-s', '-f', "$dir/schema.sql", $node->connstr('old') ], 'schema dump');
$node->command_ok([ 'pg_dump', '-a', '--disable-triggers', '-f', "$dir/data.sql", $node->connstr('old') ], 'data dump, triggers disabled');
$node->safe_psql('postgres', 'CREATE DATABASE apart');
foreach my $part ('schema', 'data')
{
	$node->command_ok([ 'psql', '-X', '-q', '-v', 'ON_ERROR_STOP=1', '-f', "$dir/$part.sql", $node->connstr('apart') ], "restore of $part");
}
# ENABLE TRIGGER ALL, with which such a dump ends, makes 'always' into 'origin'.
isnt($node->safe_psql('apart', $facts{findings}), $wanted{findings}, 'the check finds the setting that is lost');
$node->safe_psql('apart', join('', map { qq{ALTER TABLE "odd Schema"."table ""x""" ENABLE ALWAYS TRIGGER dbpatterns_4${_}_closure;} } 0 .. 3));
check_restored('apart', 'apart');

# Data with triggers enabled: pairs that the triggers made already are in the
# way of those in the dump, unless closure tables are left out of it.
$node->command_ok([ 'pg_dump', '-a', (map { ('-T', $_) } '*_closure', '"soft tree"', 'part_mentors', '"odd Schema".*_closure'), '-f', "$dir/fired.sql", $node->connstr('old') ],
	'data dump without closure tables');
$node->safe_psql('postgres', 'CREATE DATABASE fired');
$node->command_ok([ 'psql', '-X', '-q', '-v', 'ON_ERROR_STOP=1', '-f', "$dir/schema.sql", $node->connstr('fired') ], 'restore of schema');
$node->command_ok([ 'psql', '-X', '-q', '-v', 'ON_ERROR_STOP=1', '-f', "$dir/fired.sql", $node->connstr('fired') ],
	'restore of data fires the triggers');
check_restored('fired', 'data through triggers');

# Only the table, into a database where the hierarchy is enabled: as a user
# reloads one table.
$node->command_ok([ 'pg_dump', '-a', '-t', 'soft', '-f', "$dir/soft.sql", $node->connstr('old') ], 'dump of one table');
$node->safe_psql('custom', 'TRUNCATE soft');
$node->command_ok([ 'psql', '-X', '-q', '-v', 'ON_ERROR_STOP=1', '-f', "$dir/soft.sql", $node->connstr('custom') ], 'restore of one table');
is($node->safe_psql('custom', $facts{'pairs of "soft tree"'}), $wanted{'pairs of "soft tree"'}, 'its closure is made by the triggers');

# Schema and data with triggers enabled and the closure in the dump as well.
$node->command_ok([ 'pg_dump', '-a', '-f', "$dir/both.sql", $node->connstr('old') ], 'data dump');
$node->safe_psql('postgres', 'CREATE DATABASE doubled');
$node->command_ok([ 'psql', '-X', '-q', '-v', 'ON_ERROR_STOP=1', '-f', "$dir/schema.sql", $node->connstr('doubled') ], 'restore of schema');
my ($stdout, $stderr) = run_command([ 'psql', '-X', '-q', '-f', "$dir/both.sql", $node->connstr('doubled') ]);
note($stderr);
is($node->safe_psql('doubled', q{SELECT count(*) FROM dbpatterns.closure_check() WHERE severity = 'error'}), '0',
	'where triggers make the pairs and the dump brings them too, the closure tables are exact');

# A second generation: what was restored can be dumped and restored again.
$node->command_ok([ 'pg_dump', '-Fc', '-f', "$dir/second", $node->connstr('plain0') ], 'second dump');
$node->safe_psql('postgres', 'CREATE DATABASE second');
$node->command_ok([ 'pg_restore', '--exit-on-error', '-d', $node->connstr('second'), "$dir/second" ], 'second restore');
is($node->safe_psql('second', q{SELECT count(*) FROM dbpatterns.closure_check() WHERE severity = 'error'}), '0', 'exact again');

$node->stop;
done_testing();
