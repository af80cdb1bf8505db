# hierarchy_read.sh: reading trees of 1 million nodes.
#
# Two trees: each node with 8 children (depth 7), and each node below a random
# earlier one (depth about 30).  A case is one statement that looks up many nodes,
# so that neither planning nor the way to the client counts: 200 inner nodes with
# some thousand nodes below them, 20 000 nodes or pairs for the rest.  It ran once
# before it is timed.  Without parallel workers and JIT, which would serve some
# variants and not others.
#
# Variables and functions are those that run.sh describes.
# shellcheck shell=bash disable=SC2034

TITLE='Reading trees of 1 million nodes'
UNIT=ms
BETTER=less
VARIANTS='cte dbpatterns ltree'
BASELINE=cte
CASES='kary_descendants kary_count kary_ancestors kary_is_ancestor
	random_descendants random_count random_ancestors random_is_ancestor'
ROUNDS=5
EXTENSION=([ltree]=ltree)
LABEL=(
	[cte]='recursive CTE' [dbpatterns]='dbpatterns closure' [ltree]='ltree with GiST'
	[kary_descendants]='8-ary, descendants' [kary_count]='8-ary, subtree count'
	[kary_ancestors]='8-ary, ancestors' [kary_is_ancestor]='8-ary, is ancestor'
	[random_descendants]='random, descendants' [random_count]='random, subtree count'
	[random_ancestors]='random, ancestors' [random_is_ancestor]='random, is ancestor'
)

prepare()
{
	local tree parent

	echo 'SELECT setseed(0.5);'
	for tree in kary random; do
		parent='(i - 2) / 8 + 1'
		[ $tree = kary ] || parent='1 + floor(random() * (i - 1))::int'
		cat <<-SQL
			CREATE TABLE $tree (id int PRIMARY KEY, parent_id int, name text NOT NULL);
			INSERT INTO $tree SELECT i, CASE WHEN i > 1 THEN $parent END, 'node ' || i FROM generate_series(1, 1000000) i;
			ALTER TABLE $tree ADD FOREIGN KEY (parent_id) REFERENCES $tree;
			CREATE INDEX ON $tree (parent_id);
		SQL
	done
	# Inner nodes of the fourth level, or as large ones, and any nodes below.
	cat <<-SQL
		CREATE TABLE inner_node AS SELECT 74 + floor(random() * 512)::int AS id FROM generate_series(1, 200);
		CREATE TABLE any_node AS SELECT 74 + floor(random() * 512)::int AS above, 1 + floor(random() * 1000000)::int AS id
		  FROM generate_series(1, 20000);
	SQL
	case $1 in
		dbpatterns)
			echo 'CREATE EXTENSION dbpatterns;'
			for tree in kary random; do
				echo "SELECT dbpatterns.closure_enable('$tree', 'parent_id');"
			done ;;
		ltree)
			echo 'CREATE EXTENSION ltree;'
			for tree in kary random; do
				cat <<-SQL
					CREATE TABLE with_path AS WITH RECURSIVE r AS (
					    SELECT id, parent_id, name, text2ltree(id::text) AS path FROM $tree WHERE parent_id IS NULL
					    UNION ALL SELECT t.id, t.parent_id, t.name, r.path || t.id::text FROM r JOIN $tree t ON t.parent_id = r.id)
					SELECT * FROM r ORDER BY id;
					DROP TABLE $tree;
					ALTER TABLE with_path RENAME TO $tree;
					ALTER TABLE $tree ADD PRIMARY KEY (id);
					CREATE INDEX ON $tree USING gist (path);
				SQL
			done ;;
	esac
	echo 'VACUUM ANALYZE;'
}

# statement VARIANT TREE CASE
statement()
{
	local down="WITH RECURSIVE r AS (
		SELECT id, 1 AS depth FROM $2 WHERE parent_id = s.id
		UNION ALL SELECT t.id, r.depth + 1 FROM r JOIN $2 t ON t.parent_id = r.id)"
	local up="WITH RECURSIVE r AS (
		SELECT parent_id AS id, 1 AS depth FROM $2 WHERE id = s.id
		UNION ALL SELECT t.parent_id, r.depth + 1 FROM r JOIN $2 t ON t.id = r.id)"
	local paths="FROM inner_node s JOIN $2 n ON n.id = s.id JOIN $2 d ON d.path <@ n.path AND d.id <> n.id"

	case $1_$3 in
		cte_descendants)
			echo "SELECT sum(d.id), max(d.depth) FROM inner_node s, LATERAL ($down SELECT id, depth FROM r) d" ;;
		dbpatterns_descendants)
			echo "SELECT sum(d.id), max(d.depth) FROM inner_node s, ${2}__descendants(s.id) d" ;;
		ltree_descendants)
			echo "SELECT sum(d.id), max(nlevel(d.path) - nlevel(n.path)) $paths" ;;
		cte_count)
			echo "SELECT sum(d.n) FROM inner_node s, LATERAL ($down SELECT count(*) AS n FROM r) d" ;;
		dbpatterns_count)
			echo "SELECT sum(n) FROM inner_node s, LATERAL (SELECT count(*) AS n FROM ${2}__descendants(s.id)) d" ;;
		ltree_count)
			echo "SELECT count(*) $paths" ;;
		cte_ancestors)
			echo "SELECT sum(a.id), max(a.depth) FROM any_node s, LATERAL ($up SELECT id, depth FROM r WHERE id IS NOT NULL) a" ;;
		dbpatterns_ancestors)
			echo "SELECT sum(a.id), max(a.depth) FROM any_node s, ${2}__ancestors(s.id) a" ;;
		ltree_ancestors)
			echo "SELECT sum(a.id), max(nlevel(n.path) - nlevel(a.path)) FROM any_node s JOIN $2 n ON n.id = s.id
				JOIN $2 a ON a.path @> n.path AND a.id <> n.id" ;;
		cte_is_ancestor)
			echo "SELECT count(*) FROM any_node s WHERE EXISTS ($up SELECT FROM r WHERE id = s.above)" ;;
		dbpatterns_is_ancestor)
			echo "SELECT count(*) FROM any_node s WHERE ${2}__is_ancestor(s.above, s.id)" ;;
		ltree_is_ancestor)
			echo "SELECT count(*) FROM any_node s JOIN $2 a ON a.id = s.above JOIN $2 n ON n.id = s.id
				WHERE a.path @> n.path AND a.id <> n.id" ;;
	esac
}

measure()
{
	local work

	work=$(statement "$1" "${2%%_*}" "${2#*_}")
	milliseconds "$1" "SET jit = off; SET max_parallel_workers_per_gather = 0; $work" "$work"
}
