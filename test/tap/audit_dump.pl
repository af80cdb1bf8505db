# The trail survives dump and restore: log, settings and identity of tables come
# back, restoring writes no entries of its own, and the history goes on.
use strict;
use warnings;
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;

my $node = PostgreSQL::Test::Cluster->new('main');
$node->init;
$node->append_conf('postgresql.conf', "fsync = off\ntimezone = 'Asia/Kolkata'");
$node->start;
my $dir = $node->basedir;

$node->safe_psql('postgres', 'CREATE DATABASE old');
$node->safe_psql('old', q{
	CREATE EXTENSION dbpatterns;
	CREATE SCHEMA "odd Schema";
	CREATE TABLE plain (gone int, id int PRIMARY KEY, secret text, v text);
	ALTER TABLE plain DROP COLUMN gone;
	CREATE TABLE "odd Schema"."table ""x""" (a text, b int, v text, PRIMARY KEY (a, b));
	CREATE TABLE part (id int, region text, v text, PRIMARY KEY (id, region)) PARTITION BY LIST (region);
	CREATE TABLE part_a PARTITION OF part FOR VALUES IN ('a');
	CREATE TABLE part_b (v text, region text NOT NULL, id int NOT NULL);
	ALTER TABLE part ATTACH PARTITION part_b FOR VALUES IN ('b');
	CREATE TABLE base (id int PRIMARY KEY);
	CREATE TABLE derived (x int, PRIMARY KEY (id)) INHERITS (base);
	CREATE TABLE refers (id int PRIMARY KEY, plain int REFERENCES plain);
	CREATE TABLE keyed (id int, v text);
	CREATE TABLE gone (id int PRIMARY KEY);
	SELECT dbpatterns.audit_enable('plain', redact => '{secret}');
	SELECT dbpatterns.audit_enable('"odd Schema"."table ""x"""', capture => 'full', fire => 'always');
	SELECT dbpatterns.audit_enable('part', truncate_rows => true, operations => 'IUT');
	SELECT dbpatterns.audit_enable('base');
	SELECT dbpatterns.audit_enable('refers');
	SELECT dbpatterns.audit_enable('keyed', key => '{id}');
	SELECT dbpatterns.audit_enable('gone');
	INSERT INTO plain VALUES (1, 'hush', 'one'), (2, 'hush', E'\t"two"\\n');
	UPDATE plain SET v = 'uno' WHERE id = 1;
	INSERT INTO "odd Schema"."table ""x""" VALUES ('a', 1, 'x');
	INSERT INTO part SELECT i, CASE i % 2 WHEN 0 THEN 'a' ELSE 'b' END FROM generate_series(1, 2000) i;
	UPDATE part SET region = 'b' WHERE id = 2;
	INSERT INTO derived VALUES (1, 1);
	INSERT INTO refers VALUES (1, 1);
	INSERT INTO keyed VALUES (1, 'k');
	INSERT INTO gone VALUES (1);
	DROP TABLE gone;
	ALTER TABLE plain RENAME v TO w;
	CALL dbpatterns.audit_run(ahead => '6 months');
	-- one that waits in the default partition
	INSERT INTO _dbpatterns.audit_log (xact_time, id, txn, shape, op) VALUES ('2001-01-01', 1, 1, 1, 'M');
});

# What must be the same on both sides.
my %facts = (
	'log' => q{SELECT md5(string_agg(e::text, ',' ORDER BY id)) || count(*) FROM _dbpatterns.audit_log e},
	'relation numbers' => q{SELECT string_agg(r::text, ',' ORDER BY relation) FROM _dbpatterns.audit_relation r},
	'layouts' => q{SELECT string_agg(s::text, ',' ORDER BY shape) FROM (SELECT shape, relation, columns, types, numbers, key FROM _dbpatterns.audit_shape) s},
	'settings' => q{SELECT string_agg(s::text, ',' ORDER BY target::text) FROM (SELECT target, options, active, enabled_at, enabled_by FROM dbpatterns.audit_status) s},
	'triggers' => q{SELECT string_agg(pg_get_triggerdef(oid) || tgenabled::text, ',' ORDER BY tgrelid::regclass::text, tgname) FROM pg_trigger WHERE tgname ~ 'dbpatterns'},
	'partitions' => q{SELECT string_agg(inhrelid::regclass::text, ',' ORDER BY inhrelid::regclass::text) FROM pg_inherits WHERE inhparent = '_dbpatterns.audit_log'::regclass},
	'default partition' => q{SELECT count(*) FROM _dbpatterns.audit_log_default},
	'numbers' => q{SELECT last_value FROM _dbpatterns.audit_id},
	'layout numbers' => q{SELECT last_value FROM _dbpatterns.audit_shape_shape_seq},
	'findings' => q{SELECT string_agg(severity || object || problem, ',') FROM dbpatterns.audit_check()});
my %wanted = map { $_ => $node->safe_psql('old', $facts{$_}) } keys %facts;

sub check_restored
{
	my ($db, $how) = @_;
	foreach my $fact (sort keys %facts)
	{
		is($node->safe_psql($db, $facts{$fact}), $wanted{$fact}, "$how: $fact");
	}

	# Before the first change of a table: a new partition is covered, and what
	# switches logging off leaves a marker.
	is( $node->safe_psql($db, q{
			CREATE TABLE part_d PARTITION OF part FOR VALUES IN ('d');
			SELECT count(*) FROM pg_trigger WHERE tgrelid = 'part_d'::regclass AND tgname = 'dbpatterns_81_audit';}),
		'1', "$how: a new partition is covered");
	is( $node->safe_psql($db, q{
			ALTER TABLE refers DISABLE TRIGGER dbpatterns_80_audit;
			INSERT INTO refers VALUES (2, 1);
			ALTER TABLE refers ENABLE TRIGGER dbpatterns_80_audit;
			SELECT string_agg(concat_ws(' ', new->'before'->>'operations', new->'detail'->>'operations'), ', ' ORDER BY id)
			  FROM dbpatterns.audit_entries WHERE target = 'refers'::regclass AND new->>'event' = 'triggers changed';}),
		'IUDT T, T IUDT', "$how: a gap leaves markers");

	# The history goes on, with the same numbers of relations and columns.
	my $highest = $node->safe_psql($db, 'SELECT max(id) FROM _dbpatterns.audit_log');
	$node->safe_psql($db, q{
		UPDATE plain SET w = 'eins', secret = 'hush!' WHERE id = 1;
		UPDATE part SET region = 'a' WHERE id = 3;
		DELETE FROM part WHERE id = 4;
		DELETE FROM derived;
		DELETE FROM "odd Schema"."table ""x""";
		ALTER TABLE plain ADD COLUMN added int;
		UPDATE plain SET added = 1 WHERE id = 1;
		ALTER TABLE part DETACH PARTITION part_b;
		CREATE TABLE part_c PARTITION OF part FOR VALUES IN ('c');
		TRUNCATE part_c;
	});
	is( $node->safe_psql($db, qq{
			SELECT string_agg(concat_ws(' ', s.relation, e.op, e.old, e.new), E'\n' ORDER BY e.id)
			  FROM _dbpatterns.audit_log e JOIN _dbpatterns.audit_shape s USING (shape)
			 WHERE e.id > $highest AND op <> 'M'}),
		q{1 U {"w": "uno", "secret": {"$dbp": "redacted"}} {"w": "eins", "id": 1, "secret": {"$dbp": "redacted"}}
3 U {"v": null, "id": 3, "region": "b"} {"v": null, "id": 3, "region": "a"}
5 D {"x": 1, "id": 1}
2 D {"a": "a", "b": 1, "v": "x"}
1 U {"added": null} {"id": 1, "added": 1}
3 T {"rows": 0, "partition": "public.part_c"}},
		"$how: the history goes on");
	is( $node->safe_psql($db, qq{SELECT count(DISTINCT row_key) FROM _dbpatterns.audit_log e JOIN _dbpatterns.audit_shape s USING (shape)
			WHERE s.relation = 1 AND new->>'id' = '1'}), '1', "$how: a row keeps its identity");
	is( $node->safe_psql($db, q{SELECT columns::text || ':' || numbers::text FROM _dbpatterns.audit_shape WHERE relation = 1 ORDER BY shape DESC LIMIT 1}),
		'{id,secret,w,added}:{1,2,3,4}', "$how: columns keep their numbers");
}

# psql restores a plain dump, in one transaction and without.
$node->command_ok([ 'pg_dump', '-f', "$dir/plain.sql", $node->connstr('old') ], 'plain dump');
foreach my $single (0, 1)
{
	my $db = "plain$single";
	$node->safe_psql('postgres', "CREATE DATABASE $db");
	$node->command_ok(
		[
			'psql', '-X', '-q', '-v', 'ON_ERROR_STOP=1',
			($single ? '-1' : ()), '-f', "$dir/plain.sql", $node->connstr($db)
		],
		"plain restore, single transaction: $single");
	check_restored($db, "plain$single");
}

# pg_restore, in parallel.
$node->command_ok([ 'pg_dump', '-Fd', '-j', '2', '-f', "$dir/dump", $node->connstr('old') ], 'parallel dump');
$node->safe_psql('postgres', 'CREATE DATABASE parallel');
$node->command_ok([ 'pg_restore', '-j', '3', '--exit-on-error', '-d', $node->connstr('parallel'), "$dir/dump" ],
	'parallel restore');
check_restored('parallel', 'parallel');

# Schema and data apart, with triggers disabled.
$node->command_ok([ 'pg_dump', '-s', '-f', "$dir/schema.sql", $node->connstr('old') ], 'schema dump');
$node->command_ok([ 'pg_dump', '-a', '--disable-triggers', '-f', "$dir/data.sql", $node->connstr('old') ], 'data dump');
$node->safe_psql('postgres', 'CREATE DATABASE apart');
foreach my $part ('schema', 'data')
{
	$node->command_ok([ 'psql', '-X', '-q', '-v', 'ON_ERROR_STOP=1', '-f', "$dir/$part.sql", $node->connstr('apart') ],
		"restore of $part");
}
# ENABLE TRIGGER ALL, with which such a dump ends, makes 'always' into 'origin';
# audit_check tells.
is( $node->safe_psql('apart', q{SELECT object || ': ' || problem FROM dbpatterns.audit_check() WHERE severity = 'error'}),
	q{"odd Schema"."table ""x""": replicated changes are not logged, although option fire is 'always'},
	'a lost setting is found');
$node->safe_psql('apart', join('', map { qq{ALTER TABLE "odd Schema"."table ""x""" ENABLE ALWAYS TRIGGER dbpatterns_8${_}_audit;} } 0 .. 1));
check_restored('apart', 'apart');

# A second generation: what was restored can be dumped and restored again.
$node->command_ok([ 'pg_dump', '-Fc', '-f', "$dir/second", $node->connstr('parallel') ], 'second dump');
$node->safe_psql('postgres', 'CREATE DATABASE second');
$node->command_ok([ 'pg_restore', '--exit-on-error', '-d', $node->connstr('second'), "$dir/second" ], 'second restore');
is( $node->safe_psql('second', q{UPDATE plain SET w = 'again' WHERE id = 1;
		SELECT numbers FROM _dbpatterns.audit_shape WHERE relation = 1 ORDER BY shape DESC LIMIT 1}),
	'{1,2,3,4}', 'identities survive twice');

$node->stop;
done_testing();
