# hierarchy_walk.sh: walking an adjacency list that has no closure table.
#
# The recursive query is what one writes by hand; with CYCLE it is safe against
# cycles and returns paths, as adjacency_walk with path => true does.  Tables:
# an even tree of 1 million nodes with 8 children each, a tree of 1 million
# where each node has a random earlier one as parent, in random order, and
# 100 chains of 2000.
#
# Variables and functions are those that run.sh describes.
# shellcheck shell=bash disable=SC2034

TITLE='Walking an adjacency list'
UNIT=ms
BETTER=less
VARIANTS='cte walk ctecycle walkpath'
BASELINE=cte
CASES='whole subtree up random chain chainup'
ROUNDS=5
LABEL=(
	[cte]='WITH RECURSIVE' [walk]='adjacency_walk'
	[ctecycle]='WITH RECURSIVE ... CYCLE' [walkpath]='adjacency_walk with path'
	[whole]='8-ary tree, all 1 000 000 nodes'
	[subtree]='8-ary tree, 20 subtrees of 4681 nodes'
	[up]='8-ary tree, up from 10 000 nodes'
	[random]='random tree, all 1 000 000 nodes'
	[chain]='20 chains, 2000 nodes down'
	[chainup]='20 chains, 2000 nodes up'
)

prepare()
{
	cat <<-'SQL'
		CREATE EXTENSION dbpatterns;
		CREATE TABLE even (id int PRIMARY KEY, parent_id int);
		INSERT INTO even SELECT i, CASE WHEN i > 1 THEN (i - 2) / 8 + 1 END
			FROM generate_series(1, 1000000) i;
		CREATE INDEX ON even (parent_id);
		CREATE TABLE random (id int PRIMARY KEY, parent_id int);
		SELECT setseed(0.5);
		CREATE TEMP TABLE place AS SELECT i, row_number() OVER (ORDER BY random())::int AS id,
			CASE WHEN i > 1 THEN 1 + floor(random() * (i - 1))::int END AS up
			FROM generate_series(1, 1000000) i;
		ANALYZE place;
		INSERT INTO random SELECT a.id, b.id FROM place a LEFT JOIN place b ON b.i = a.up ORDER BY random();
		CREATE INDEX ON random (parent_id);
		CREATE TABLE chain (id int PRIMARY KEY, parent_id int);
		INSERT INTO chain SELECT i, CASE WHEN i % 2000 <> 1 THEN i - 1 END
			FROM generate_series(1, 200000) i;
		CREATE INDEX ON chain (parent_id);
		VACUUM ANALYZE;
	SQL
}

# walk_of VARIANT TABLE START DIRECTION: a query of all its nodes.
walk_of()
{
	local start="id = $3" meet='c.parent_id = w.id'

	[ "$3" != NULL::int ] || start='parent_id IS NULL'
	[ "$4" = down ] || meet='c.id = w.parent_id'
	case $1 in
		cte | ctecycle)
			cat <<-SQL
				WITH RECURSIVE w AS (
					SELECT id, parent_id, 0 AS depth FROM $2 WHERE $start
					UNION ALL
					SELECT c.id, c.parent_id, w.depth + 1 FROM w JOIN $2 c ON $meet)
				$([ "$1" = cte ] || echo 'CYCLE id SET is_cycle USING path')
				SELECT * FROM w
			SQL
			;;
		walk)
			echo "SELECT * FROM dbpatterns.adjacency_walk('$2', 'parent_id', $3, direction => '$4')" ;;
		walkpath)
			echo "SELECT * FROM dbpatterns.adjacency_walk('$2', 'parent_id', $3, direction => '$4', path => true)" ;;
	esac
}

measure()
{
	local from query

	case $2 in
		whole) from='' query=$(walk_of "$1" even NULL::int down) ;;
		random) from='' query=$(walk_of "$1" random NULL::int down) ;;
		subtree) from='generate_series(100, 119) s' query=$(walk_of "$1" even s down) ;;
		up) from='generate_series(1, 1000000, 100) s' query=$(walk_of "$1" even s up) ;;
		chain) from='generate_series(2001, 40001, 2000) s' query=$(walk_of "$1" chain s down) ;;
		chainup) from='generate_series(4000, 42000, 2000) s' query=$(walk_of "$1" chain s up) ;;
	esac
	milliseconds "$1" 'SET jit = off; SELECT count(*) FROM even; SELECT count(*) FROM random; SELECT count(*) FROM chain' \
		"SELECT count(*) FROM ${from:+$from, LATERAL} ($query) x"
}
