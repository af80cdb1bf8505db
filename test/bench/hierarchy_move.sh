# hierarchy_move.sh: a move of a subtree with a closure table.
#
# "by hand" is the least SQL that does it, in one transaction: the UPDATE of the
# parent, a DELETE of the pairs that cross the cut, an INSERT of those that cross
# at the new place; without any check for cycles, and nobody else may move.
#
# Each measurement moves to the other one of two places that are equally deep:
# 10 000 nodes between two nodes at depth 5, among 300 000 others; 1000 nodes of a
# chain between the ends of two chains of 1000; /usr/share of the file tree of
# this machine between /usr and /usr/lib.
#
# Variables and functions are those that run.sh describes.
# shellcheck shell=bash disable=SC2034

TITLE='Move of a subtree with a closure table'
UNIT=ms
BETTER=less
VARIANTS='byhand dbpatterns'
BASELINE=byhand
CASES='subtree chain usr'
ROUNDS=7
LABEL=(
	[byhand]='DELETE and INSERT by hand' [dbpatterns]='dbpatterns'
	[subtree]='10 000 nodes, 8-ary, below depth 5' [chain]='1000 nodes of a chain of 2000'
	[usr]='/usr/share, some 100 000 files'
)

prepare()
{
	cat <<-'SQL'
		CREATE EXTENSION dbpatterns;
		CREATE TABLE subtree (id int PRIMARY KEY, parent_id int);
		INSERT INTO subtree SELECT i, CASE WHEN i > 1 THEN (i - 2) / 8 + 1 END FROM generate_series(1, 300000) i;
		INSERT INTO subtree SELECT 1000000 + i, CASE WHEN i > 1 THEN 1000000 + (i - 2) / 8 + 1 ELSE 4682 END
			FROM generate_series(1, 10000) i;
		CREATE TABLE chain (id int PRIMARY KEY, parent_id int);
		INSERT INTO chain SELECT i, nullif(i - 1, 0) FROM generate_series(1, 2000) i;
		INSERT INTO chain SELECT i, nullif(i - 1, 3000) FROM generate_series(3001, 4000) i;
		CREATE TEMP TABLE path (id serial, path text);
		\copy path (path) FROM PROGRAM 'find /usr -xdev | LC_ALL=C grep -av "[^ -~]"' (FORMAT csv, QUOTE E'\x01', DELIMITER E'\x02')
		CREATE TABLE usr (id int PRIMARY KEY, parent_id int, path text);
		INSERT INTO usr SELECT c.id, p.id, c.path FROM path c
			LEFT JOIN path p ON p.path = regexp_replace(c.path, '/[^/]*$', '');
		CREATE TABLE place (tree text, node int, one int, other int);
		INSERT INTO place VALUES ('subtree', 1000001, 4682, 4690), ('chain', 1001, 1000, 4000),
			('usr', (SELECT id FROM usr WHERE path = '/usr/share'), (SELECT id FROM usr WHERE path = '/usr'),
				(SELECT id FROM usr WHERE path = '/usr/lib'));
		CREATE INDEX ON subtree (parent_id);
		CREATE INDEX ON chain (parent_id);
		CREATE INDEX ON usr (parent_id);
		SELECT dbpatterns.closure_enable('subtree', 'parent_id');
		SELECT dbpatterns.closure_enable('chain', 'parent_id', max_depth => 5000);
		SELECT dbpatterns.closure_enable('usr', 'parent_id');
	SQL
	if [ "$1" = byhand ]; then
		echo "SELECT dbpatterns.closure_disable(t) FROM unnest('{subtree,chain,usr}'::regclass[]) t;"
	fi
	echo 'VACUUM ANALYZE;'
}

measure()
{
	local where="SELECT node, CASE parent_id WHEN one THEN other ELSE one END AS target
		FROM place JOIN $2 ON id = node WHERE tree = '$2' \\gset" move

	move="UPDATE $2 SET parent_id = :target WHERE id = :node;"
	if [ "$1" = byhand ]; then
		move="$move
			DELETE FROM $2_closure p USING $2_closure d
				WHERE d.ancestor = :node AND p.descendant = d.descendant AND p.depth > d.depth;
			INSERT INTO $2_closure SELECT a.ancestor, d.descendant, a.depth + d.depth + 1
				FROM $2_closure a CROSS JOIN $2_closure d WHERE a.descendant = :target AND d.ancestor = :node;"
	fi
	milliseconds "$1" "VACUUM ANALYZE $2, $2_closure;
		CHECKPOINT;
		$where" "BEGIN; $move COMMIT"
}
