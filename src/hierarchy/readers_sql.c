/*-------------------------------------------------------------------------
 *
 * readers_sql.c
 *	  The reader functions of a hierarchy, as templates.
 *
 * What is in @{...} is filled in by readers_text.c, which says what it can be.
 * Everything else is SQL that is parsed with pg_catalog as its search_path.
 *
 * A body is one SELECT, so that the planner can put it in the place of the
 * call; it then sees the index and the statistics of the closure table.  That
 * a node is not its own descendant is asked of the keys and not of the depth:
 * an index-only scan of the primary key tells it.  Node and scope are NULL for
 * all: constants are folded, and then one arm of the OR is left.
 *
 * Drawings need an order that no index has: siblings by their order, below
 * each other by the tree.  nodes numbers the nodes in sibling order, and
 * dbpatterns.closure_preorder walks an array that has the number of the parent
 * of each: whatever type a key has, the walk sees integers.
 *
 * Copyright (c) 2026, dbpatterns contributors
 *
 * src/hierarchy/readers_sql.c
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "hierarchy/readers.h"

/*
 * The nodes at and below the one that is given, or of the scope: columns k1, k2,
 * ... (key), p1, p2, ... (parent), is_top, number, and another one.  Nodes that
 * the caller must not see hide what is below them; but if all are asked for, a
 * node whose parent is not seen is a root, as one that has none is.  The first
 * argument is max_depth.
 */
#define NODES(column) \
	"WITH nodes AS MATERIALIZED (" \
	"SELECT @{d.k as k}, @{d.p as p}, d.is_top, d.missing, " \
	"row_number() OVER (ORDER BY @{sorted d})::pg_catalog.int4 AS number" column " " \
	"FROM (SELECT @{b.key as k}, @{b.parent as p}@{sort b}, n.depth = 0 AS is_top, 0 AS missing, " \
	"(b.*)::@{target} AS row " \
	"FROM @{closure} n JOIN @{target} b ON @{b.key = n.descendant} " \
	"WHERE @{n.ancestor = node} AND (@{1} IS NULL OR n.depth <= @{1}) " \
	"UNION ALL SELECT @{b.key as k}, @{b.parent as p}@{sort b}, @{null b.parent}, NULL, " \
	"(b.*)::@{target} " \
	"FROM @{target} b WHERE @{null node} AND @{scope b.key}) d)"

/*
 * They, walked.
 */
#define WALK(path, branch) \
	"nodes n JOIN dbpatterns.closure_preorder((" \
	"SELECT array_agg(CASE WHEN c.is_top THEN NULL ELSE coalesce(a.number, c.missing) END " \
	"ORDER BY c.number) " \
	"FROM nodes c LEFT JOIN nodes a ON @{a.k = c.p}), " path ", " branch ") f " \
	"ON f.node = n.number AND (@{1} IS NULL OR f.depth <= @{1})"

#define LABEL(row, argument)	"dbpatterns.closure_column(" row ", " argument ")"

#define BOTH	(READS_TREE | READS_GRAPH)

const HierReader dbp_hier_readers[] = {
	{
		"descendants", BOTH, TAKES_NODE,
		"max_depth integer DEFAULT NULL; include_self boolean DEFAULT false",
		true, "key; depth integer", "descendant",
		"SELECT @{c.descendant}, c.depth FROM @{closure} c "
		"WHERE @{c.ancestor = node} AND (@{1} IS NULL OR c.depth <= @{1}) "
		"AND (@{2} OR c.depth > 0)",
		"the nodes below one"
	},
	{
		"ancestors", BOTH, TAKES_NODE,
		"max_depth integer DEFAULT NULL; include_self boolean DEFAULT false",
		true, "key; depth integer", "ancestor",
		"SELECT @{c.ancestor}, c.depth FROM @{closure} c "
		"WHERE @{c.descendant = node} AND (@{1} IS NULL OR c.depth <= @{1}) "
		"AND (@{2} OR c.depth > 0)",
		"the nodes above one"
	},
	{
		"children", READS_TREE, TAKES_NODE, "",
		true, "key", NULL,
		"SELECT @{b.key} FROM @{closure} n "
		"JOIN @{target} b ON @{b.parent = n.descendant} "
		"WHERE @{n.ancestor = node} AND @{n.descendant = node} ORDER BY @{order b}",
		"the nodes right below one, in their order"
	},
	{
		"children", READS_GRAPH, TAKES_NODE, "",
		true, "key", "descendant",
		"SELECT @{c.descendant} FROM @{closure} c "
		"WHERE @{c.ancestor = node} AND c.depth = 1 "
		"AND EXISTS (SELECT FROM @{target} e WHERE @{e.parent = node} AND @{e.key = c.descendant})",
		"the nodes that an edge leads to from one"
	},
	{
		"parents", READS_GRAPH, TAKES_NODE, "",
		true, "key", "ancestor",
		"SELECT @{c.ancestor} FROM @{closure} c "
		"WHERE @{c.descendant = node} AND c.depth = 1 "
		"AND EXISTS (SELECT FROM @{target} e WHERE @{e.key = node} AND @{e.parent = c.ancestor})",
		"the nodes from which an edge leads to one"
	},
	{
		"siblings", READS_TREE, TAKES_NODE, "",
		true, "key", NULL,
		"SELECT @{s.k} FROM ("
		"SELECT @{b.key as k}@{sort b} FROM @{closure} c "
		"JOIN @{target} b ON @{b.parent = c.ancestor} "
		"WHERE @{c.descendant = node} AND c.depth = 1 AND NOT @{b.key = node} "
		"UNION ALL SELECT @{b.key as k}@{sort b} FROM (@{roots}) r "
		"JOIN @{target} b ON @{b.key = r.k} WHERE NOT @{b.key = node} "
		"AND EXISTS (SELECT FROM @{closure} c WHERE @{c.ancestor = node} AND @{c.descendant = node}) "
		"AND NOT EXISTS (SELECT FROM @{closure} c WHERE @{c.descendant = node} AND c.depth > 0)) s "
		"ORDER BY @{sorted s}",
		"the other nodes with the same parent, or the other roots, in their order"
	},
	{
		"root", READS_TREE, TAKES_NODE, "",
		true, "key", NULL,
		"SELECT @{c.ancestor} FROM @{closure} c WHERE @{c.descendant = node} "
		"ORDER BY c.depth DESC LIMIT 1",
		"the root of the tree a node is in"
	},
	{
		"roots", READS_TREE, TAKES_SCOPE, "",
		true, "key", NULL,
		"SELECT @{b.key} FROM (@{roots}) r JOIN @{target} b ON @{b.key = r.k} "
		"ORDER BY @{order b}",
		"all roots, in their order"
	},
	{
		"leaves", BOTH, TAKES_NODE, "",
		true, "key; depth integer", "descendant",
		"SELECT @{d.descendant}, d.depth FROM @{closure} d WHERE @{d.ancestor = node} "
		"AND NOT EXISTS (SELECT FROM @{target} b WHERE @{b.parent = d.descendant})",
		"the nodes at and below one that have none below them"
	},
	{
		"depth", READS_TREE, TAKES_NODE, "",
		false, "integer", NULL,
		"SELECT dbpatterns.closure_node_depth(@{closure id}, @{node})",
		"how far below its root a node is; 0 for a root"
	},
	{
		"is_ancestor", BOTH, TAKES_PAIR, "include_self boolean DEFAULT false",
		false, "boolean", NULL,
		"SELECT coalesce(dbpatterns.closure_pair_depth(@{closure id}, @{pair}) "
		">= CASE WHEN @{1} THEN 0 ELSE 1 END, false)",
		"whether a node is above another one"
	},
	{
		"lca", READS_TREE, TAKES_TWO_NODES, "",
		true, "key", NULL,
		"SELECT @{a.ancestor} FROM @{closure} a JOIN @{closure} b ON @{b.ancestor = a.ancestor} "
		"WHERE @{a.descendant = node} AND @{b.descendant = other} ORDER BY a.depth LIMIT 1",
		"the lowest common ancestor of two nodes, which can be one of them"
	},
	{
		"distance", READS_TREE, TAKES_TWO_NODES, "",
		false, "integer", NULL,
		"SELECT min(a.depth + b.depth) "
		"FROM @{closure} a JOIN @{closure} b ON @{b.ancestor = a.ancestor} "
		"WHERE @{a.descendant = node} AND @{b.descendant = other}",
		"the number of steps between two nodes of a tree"
	},
	{
		"distance", READS_GRAPH, TAKES_PAIR, "",
		false, "integer", NULL,
		"SELECT dbpatterns.closure_pair_depth(@{closure id}, @{pair})",
		"the number of edges on the shortest way from a node down to another one"
	},
	{
		"path", READS_TREE, TAKES_NODE, "label name DEFAULT @{label}",
		false, "text[]", NULL,
		"SELECT array_agg(" LABEL("b.*", "@{1}") " ORDER BY c.depth DESC) FROM @{closure} c "
		"JOIN @{target} b ON @{b.key = c.ancestor} WHERE @{c.descendant = node}",
		"the names of the nodes from the root to one"
	},
	{
		"find_path", READS_TREE, TAKES_SCOPE, "names text[]; label name DEFAULT @{label}",
		true, "key", NULL,
		"WITH RECURSIVE found AS ("
		"SELECT @{b.key as k}, 1 AS step FROM (@{roots}) r JOIN @{target} b ON @{b.key = r.k} "
		"WHERE " LABEL("b.*", "@{2}") " = (@{1})[1] "
		"UNION ALL SELECT @{b.key as k}, f.step + 1 FROM found f "
		"JOIN @{target} b ON @{b.parent = f.k} "
		"WHERE " LABEL("b.*", "@{2}") " = (@{1})[f.step + 1]) "
		"SELECT @{f.k} FROM found f WHERE f.step = cardinality(@{1})",
		"the nodes to which a path of names leads from a root"
	},
	{
		"tree", READS_TREE, TAKES_NODE_OR_ALL, "max_depth integer DEFAULT NULL",
		true, "key; depth integer; path integer[]; is_leaf boolean; is_last boolean", NULL,
		NODES("") " SELECT @{n.k}, f.depth, f.path, f.is_leaf AND (@{1} IS NULL OR f.depth < @{1} "
		"OR NOT EXISTS (SELECT FROM @{target} l WHERE @{l.parent = n.k})), f.is_last "
		"FROM " WALK("true", "false") " ORDER BY f.place",
		"a node and all below it, each before those below it, siblings in their order"
	},
	{
		"rollup", READS_TREE, TAKES_NODE_OR_ALL, "measure name DEFAULT NULL",
		true, "key; nodes bigint; sum numeric; min numeric; max numeric", NULL,
		"SELECT @{a.ancestor}, count(*), sum(m.value), min(m.value), max(m.value) "
		"FROM @{closure} a JOIN @{target} b ON @{b.key = a.descendant} "
		"CROSS JOIN LATERAL (SELECT " LABEL("b.*", "@{1}") "::pg_catalog.numeric OFFSET 0) m (value) "
		"WHERE @{a.ancestor = node} OR (@{null node} AND @{scope a.ancestor}) GROUP BY @{a.ancestor}",
		"number of nodes at and below one, with sum, least and greatest of a column"
	},
	{
		"json", READS_TREE, TAKES_NODE_OR_ALL,
		"max_depth integer DEFAULT NULL; columns name[] DEFAULT NULL",
		false, "json", NULL,
		NODES(", row_to_json(dbpatterns.closure_columns(d.row, @{2}))::pg_catalog.text AS body")
		" SELECT (CASE WHEN @{null node} "
		"THEN '[' || coalesce(string_agg(t.piece, '' ORDER BY t.place), '') || ']' "
		"ELSE string_agg(t.piece, '' ORDER BY t.place) END)::pg_catalog.json FROM ("
		"SELECT f.place, "
		"CASE WHEN lag(f.depth) OVER w >= f.depth THEN ',' ELSE '' END "
		"|| CASE n.body WHEN '{}' THEN '{' ELSE left(n.body, -1) || ',' END || '\"children\":[' "
		"|| repeat(']}', f.depth + 1 - coalesce(lead(f.depth) OVER w, 0)) AS piece "
		"FROM " WALK("false", "false") " WINDOW w AS (ORDER BY f.place)) t",
		"a node and all below it as one JSON object, or all trees as an array"
	},
	{
		"text", READS_TREE, TAKES_NODE_OR_ALL,
		"max_depth integer DEFAULT NULL; label name DEFAULT @{label}",
		true, "line text", NULL,
		NODES(", regexp_replace(" LABEL("d.row", "@{2}") ", '[[:cntrl:]]+', ' ', 'g') AS label")
		" SELECT f.branch || coalesce(n.label, '') FROM " WALK("false", "true")
		" ORDER BY f.place",
		"a drawing of a node and all below it, line by line"
	},
	{
		"dot", READS_TREE, TAKES_NODE_OR_ALL,
		"max_depth integer DEFAULT NULL; label name DEFAULT @{label}",
		true, "line text", NULL,
		NODES(", " LABEL("d.row", "@{2}") " AS label")
		" SELECT l.line FROM ("
		"SELECT 0 AS part, 0 AS place, 'digraph ' || dbpatterns.closure_dot_string(@{title}) || ' {' AS line "
		"UNION ALL SELECT v.part, f.place, '  ' || v.line || ';' FROM " WALK("false", "false")
		" CROSS JOIN LATERAL (VALUES "
		"(1, dbpatterns.closure_dot_string(@{text n.k}) || ' [label=' || dbpatterns.closure_dot_string(n.label) || ']'), "
		"(2, CASE WHEN f.depth > 0 THEN dbpatterns.closure_dot_string(@{text n.p}) || ' -> ' "
		"|| dbpatterns.closure_dot_string(@{text n.k}) END)) v (part, line) WHERE v.line IS NOT NULL "
		"UNION ALL SELECT 3, 0, '}') l ORDER BY l.part, l.place",
		"a node and all below it in the language of Graphviz, line by line"
	},
	{
		"mermaid", READS_TREE, TAKES_NODE_OR_ALL,
		"max_depth integer DEFAULT NULL; label name DEFAULT @{label}",
		true, "line text", NULL,
		NODES(", " LABEL("d.row", "@{2}") " AS label")
		" SELECT l.line FROM ("
		"SELECT 0 AS part, 0 AS place, 'flowchart TD' AS line "
		"UNION ALL SELECT v.part, f.place, '  ' || v.line FROM " WALK("false", "false")
		" CROSS JOIN LATERAL (VALUES "
		"(1, dbpatterns.closure_mermaid_id(@{text n.k}) || '[' || dbpatterns.closure_mermaid_string(n.label) || ']'), "
		"(2, CASE WHEN f.depth > 0 THEN dbpatterns.closure_mermaid_id(@{text n.p}) || ' --> ' "
		"|| dbpatterns.closure_mermaid_id(@{text n.k}) END)) v (part, line) WHERE v.line IS NOT NULL"
		") l ORDER BY l.part, l.place",
		"a node and all below it as a flowchart of Mermaid, line by line"
	},
	{
		"dot", READS_GRAPH, TAKES_NODE_OR_ALL, "",
		true, "line text", NULL,
		"SELECT l.line FROM ("
		"SELECT 0 AS part, 'digraph ' || dbpatterns.closure_dot_string(@{title}) || ' {' AS line "
		"UNION ALL SELECT DISTINCT 1, '  ' || dbpatterns.closure_dot_string(@{text e.parent}) || ' -> ' "
		"|| dbpatterns.closure_dot_string(@{text e.key}) || ';' "
		"FROM @{closure} d JOIN @{target} e ON @{e.parent = d.descendant} "
		"WHERE @{d.ancestor = node} OR (@{null node} AND @{scope d.ancestor} AND @{d.descendant = d.ancestor}) "
		"UNION ALL SELECT 2, '}') l ORDER BY l.part, l.line COLLATE pg_catalog.\"C\"",
		"the edges that can be reached from a node in the language of Graphviz, line by line"
	},
	{
		"mermaid", READS_GRAPH, TAKES_NODE_OR_ALL, "",
		true, "line text", NULL,
		"SELECT l.line FROM ("
		"SELECT 0 AS part, 'flowchart TD' AS line "
		"UNION ALL SELECT DISTINCT 1, '  ' || v.line "
		"FROM @{closure} d JOIN @{target} e ON @{e.parent = d.descendant} "
		"CROSS JOIN LATERAL (VALUES (dbpatterns.closure_mermaid_id(@{text e.parent}) "
		"|| '[' || dbpatterns.closure_mermaid_string(@{text e.parent}) || '] --> ' "
		"|| dbpatterns.closure_mermaid_id(@{text e.key}) "
		"|| '[' || dbpatterns.closure_mermaid_string(@{text e.key}) || ']')) v (line) "
		"WHERE @{d.ancestor = node} OR (@{null node} AND @{scope d.ancestor} AND @{d.descendant = d.ancestor})"
		") l ORDER BY l.part, l.line COLLATE pg_catalog.\"C\"",
		"the edges that can be reached from a node as a flowchart of Mermaid, line by line"
	},
};

const int	dbp_hier_nreaders = lengthof(dbp_hier_readers);
