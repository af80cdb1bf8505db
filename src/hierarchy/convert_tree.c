/*-------------------------------------------------------------------------
 *
 * convert_tree.c
 *	  From adjacency lists to ltree paths, nested sets and pairs.
 *
 * The forest is walked in preorder, and what each node gets is written in one
 * statement run as the caller.
 *
 * Copyright (c) 2026, dbpatterns contributors
 *
 * src/hierarchy/convert_tree.c
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "access/relation.h"
#include "catalog/pg_collation.h"
#include "catalog/pg_type.h"
#include "core/names.h"
#include "core/target.h"
#include "hierarchy/convert.h"
#include "mb/pg_wchar.h"
#include "miscadmin.h"
#include "utils/builtins.h"
#include "utils/lsyscache.h"
#include "utils/memutils.h"

PG_FUNCTION_INFO_V1(dbpatterns_adjacency_to_ltree);
PG_FUNCTION_INFO_V1(dbpatterns_adjacency_to_nested_set);
PG_FUNCTION_INFO_V1(dbpatterns_adjacency_to_closure);

static void
put_key(Datum *values, HierTable *table, ConvertNode *node)
{
	memcpy(values, node->head.key, sizeof(Datum) * table->n);
}

/* ---- ltree paths --------------------------------------------------------- */

/* what ltree accepts in every version */
#define MAX_LABEL	255

/*
 * label_sql returns an expression for the label of a row of t: what ltree does
 * not take in a label becomes an underscore.
 */
static char *
label_sql(HierTable *table, const char *label)
{
	StringInfoData sql;

	initStringInfo(&sql);
	appendStringInfoString(&sql, "pg_catalog.regexp_replace(pg_catalog.concat_ws('_', ");
	if (label != NULL)
		appendStringInfo(&sql, "t.%s", quote_identifier(label));
	else
		dbp_sql_put_columns(&sql, HIER_NAMED("t", table->key), table->nscope, table->n);
	appendStringInfoString(&sql, ") COLLATE pg_catalog.\"default\", '[^[:alnum:]_]', '_', 'g')");
	return sql.data;
}

/*
 * path_rows fills rows with the path of each node.
 */
static void
path_rows(ConvertForest *forest, HierRows *rows)
{
	HierTable  *table = forest->table;
	MemoryContext row_cxt = AllocSetContextCreate(CurrentMemoryContext, "dbpatterns path",
												  ALLOCSET_DEFAULT_SIZES);
	StringInfoData path;

	initStringInfo(&path);
	for (ConvertNode *node = forest->root; node != NULL; node = dbp_convert_preorder(node))
	{
		Datum		values[HIER_MAX_KEY + 1];
		bool		isnull[HIER_MAX_KEY + 1] = {0};
		MemoryContext oldcxt;

		CHECK_FOR_INTERRUPTS();
		if (node->label == NULL || node->label[0] == '\0' ||
			pg_mbstrlen(node->label) > MAX_LABEL)
			ereport(ERROR,
					(errcode(ERRCODE_STRING_DATA_RIGHT_TRUNCATION),
					 errmsg("node %s of table %s has a label that is empty or longer than %d characters",
							dbp_key_text(&table->type, node->head.key),
							dbp_relation_name(table->rel), MAX_LABEL),
					 errhint("Choose another column in argument \"label\".")));
		path.len = node->parent == NULL ? 0 : node->parent->path;
		if (path.len > 0)
			appendStringInfoChar(&path, '.');
		appendStringInfoString(&path, node->label);
		node->path = path.len;

		oldcxt = MemoryContextSwitchTo(row_cxt);
		put_key(values, table, node);
		values[table->n] = PointerGetDatum(cstring_to_text_with_len(path.data, path.len));
		dbp_rows_put(rows, values, isnull);
		MemoryContextSwitchTo(oldcxt);
		MemoryContextReset(row_cxt);
	}
}

/*
 * adjacency_to_ltree(target regclass, parent name[], path name, label name,
 * key name[], on_orphan text) sets a column to the path of each node from its
 * root, such as a.b.c, and returns how many rows it changed.
 *
 * path: a column of type ltree, text or varchar.  label: the column that gives
 * the labels, NULL for the key, without the scope; characters other than
 * letters, digits and underscores become underscores.  The rest as in
 * adjacency_from_ltree.
 *
 * Raises 22004 (target, parent or path is NULL, a column list holds NULL),
 * 22023 (on_orphan), 42701, 55000 (versions differ), 42P01, 42809, 42704 (no
 * such key), 42703, 22023 (key and parent do not fit), 42804 (types), 42883,
 * 42P16 (a key column may be NULL), 42501 (no right, or row-level security
 * applies), 23503 (a parent is missing), 23514 (cycles, in the detail), 22001
 * (a label is NULL, empty or too long), 23505 (two nodes get the same path),
 * and what the UPDATE raises, such as 22001 (a path is too long for its
 * column).  Locks SHARE ROW EXCLUSIVE on target, the rows it changes.  Runs as
 * the caller.  A second call changes nothing and returns 0.
 */
Datum
dbpatterns_adjacency_to_ltree(PG_FUNCTION_ARGS)
{
	HierTable	table;
	ConvertForest forest;
	HierRows   *rows;
	StringInfoData from;
	char	   *path = dbp_convert_name(fcinfo, 2, "path");
	char	   *label = dbp_convert_name(fcinfo, 3, NULL);
	bool		root = dbp_choose_argument(fcinfo, 5, "on_orphan", "error", "root");
	uint64		changed;

	dbp_convert_open(fcinfo, &table, 4);
	dbp_convert_require_path(&table, path);
	if (label != NULL)
		(void) dbp_column_number(table.rel, label);
	dbp_convert_load(&forest, &table, NULL, label_sql(&table, label), root);

	rows = dbp_rows_create(table.n + 1);
	dbp_rows_key(rows, 0, "k", &table.type);
	dbp_rows_column(rows, table.n, "path", TEXTOID, -1, C_COLLATION_OID);
	path_rows(&forest, rows);

	/* Paths of different scopes may be equal. */
	initStringInfo(&from);
	appendStringInfoString(&from, "SELECT path FROM " HIER_ROWS " GROUP BY path");
	for (int i = 0; i < table.nscope; i++)
		appendStringInfo(&from, ", k%d", i + 1);
	appendStringInfo(&from, " HAVING pg_catalog.count(*) OPERATOR(pg_catalog.>) 1 ORDER BY 1");
	dbp_convert_require(table.rel, rows, from.data, ERRCODE_UNIQUE_VIOLATION,
						"several nodes would get the same path",
						"Choose another column in argument \"label\", or leave it out.");

	/* Not to the length of the column: a cast to that would cut paths. */
	resetStringInfo(&from);
	appendStringInfoString(&from, "(SELECT ");
	dbp_sql_put_columns(&from, HIER_NUMBERED(NULL, "k"), 0, table.n);
	appendStringInfo(&from, ", path::%s AS v1 FROM " HIER_ROWS ")",
					 format_type_extended(dbp_convert_type(&table, path), -1,
										  FORMAT_TYPE_FORCE_QUALIFY));
	changed = dbp_convert_update(&table, rows, from.data, list_make1(path), "v");
	dbp_rows_free(rows);
	dbp_convert_close(&table);
	PG_RETURN_INT64(changed);
}

/* ---- nested sets --------------------------------------------------------- */

/*
 * interval_rows fills rows with key, lft, rgt, depth and the key of the root;
 * the numbering goes on from tree to tree unless trees are told apart.
 */
static void
interval_rows(ConvertForest *forest, HierRows *rows, bool each_tree)
{
	HierTable  *table = forest->table;
	ConvertNode *node = forest->root;
	ConvertNode *root = node;
	int64		next = 1;

	/* A node is put where the walk leaves it. */
	while (node != NULL)
	{
		Datum		values[2 * HIER_MAX_KEY + 3];
		bool		isnull[2 * HIER_MAX_KEY + 3] = {0};

		CHECK_FOR_INTERRUPTS();
		if (node->parent == NULL)
			root = node;
		if (node->parent == NULL && each_tree)
			next = 1;
		node->lft = next++;
		if (node->child != NULL)
		{
			node = node->child;
			continue;
		}
		for (;;)
		{
			put_key(values, table, node);
			values[table->n] = Int64GetDatum(node->lft);
			values[table->n + 1] = Int64GetDatum(next++);
			values[table->n + 2] = Int64GetDatum(node->depth);
			put_key(values + table->n + 3, table, root);
			dbp_rows_put(rows, values, isnull);
			if (node->sibling != NULL || node->parent == NULL)
				break;
			node = node->parent;
		}
		node = node->sibling;
	}
}

/*
 * require_apart raises 22023 if a column to be set is given twice, or tells the
 * nodes apart.
 */
static void
require_apart(HierTable *table, List *columns)
{
	ListCell   *lc;

	foreach(lc, columns)
	{
		char	   *name = lfirst(lc);
		bool		taken = dbp_list_has_name(table->key, name) ||
			dbp_list_has_name(table->parent, name);

		for (int i = 0; i < foreach_current_index(lc); i++)
			taken |= strcmp(list_nth(columns, i), name) == 0;
		if (taken)
			ereport(ERROR,
					(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
					 errmsg("column \"%s\" of table %s cannot be set, for it is given for something else",
							name, dbp_relation_name(table->rel)),
					 errhint("Key, parent, lft, rgt, tree and depth must be different columns.")));
	}
}

/*
 * adjacency_to_nested_set(target regclass, parent name[], lft name, rgt name,
 * tree name, depth name, order_by name, key name[], on_orphan text) sets
 * columns to the nested set of each node, and returns how many rows it changed.
 *
 * lft, rgt: columns for the bounds, integers, numbered from 1 without gaps.
 * tree: a column for the key of the root, NULL if all trees share one
 * numbering; a key of several columns has no place in it, apart from those of
 * the scope.  depth: a column for the number of nodes above, NULL for none.
 * order_by: the column that orders siblings, NULL for the key.  The rest, what
 * it raises and what it locks as in adjacency_to_ltree, without paths.
 */
Datum
dbpatterns_adjacency_to_nested_set(PG_FUNCTION_ARGS)
{
	HierTable	table;
	ConvertForest forest;
	HierRows   *rows;
	StringInfoData from;
	List	   *columns;
	char	   *lft = dbp_convert_name(fcinfo, 2, "lft");
	char	   *rgt = dbp_convert_name(fcinfo, 3, "rgt");
	char	   *tree = dbp_convert_name(fcinfo, 4, NULL);
	char	   *depth = dbp_convert_name(fcinfo, 5, NULL);
	char	   *order_by = dbp_convert_name(fcinfo, 6, NULL);
	bool		root = dbp_choose_argument(fcinfo, 8, "on_orphan", "error", "root");
	uint64		changed;

	dbp_convert_open(fcinfo, &table, 7);
	columns = list_make2(lft, rgt);
	if (depth != NULL)
		columns = lappend(columns, depth);
	for (int i = 0; i < list_length(columns); i++)
		dbp_convert_require_integer(&table, list_nth(columns, i));
	require_apart(&table, tree != NULL ? lappend(list_copy(columns), tree) : columns);
	if (order_by != NULL)
		(void) dbp_column_number(table.rel, order_by);
	if (tree != NULL &&
		(table.n - table.nscope > 1 ||
		 dbp_convert_type(&table, tree) != table.type.col[table.nscope].type))
		ereport(ERROR,
				(errcode(ERRCODE_DATATYPE_MISMATCH),
				 errmsg("column \"%s\" of table %s cannot hold the key of a root", tree,
						dbp_relation_name(table.rel)),
				 errhint("It needs the type of the key, and a key of one column beside the scope.")));
	dbp_convert_load(&forest, &table, order_by, NULL, root);

	rows = dbp_rows_create(2 * table.n + 3);
	dbp_rows_key(rows, 0, "k", &table.type);
	dbp_rows_column(rows, table.n, "lft", INT8OID, -1, InvalidOid);
	dbp_rows_column(rows, table.n + 1, "rgt", INT8OID, -1, InvalidOid);
	dbp_rows_column(rows, table.n + 2, "depth", INT8OID, -1, InvalidOid);
	dbp_rows_key(rows, table.n + 3, "r", &table.type);
	interval_rows(&forest, rows, tree != NULL);

	initStringInfo(&from);
	appendStringInfoString(&from, "(SELECT ");
	dbp_sql_put_columns(&from, HIER_NUMBERED(NULL, "k"), 0, table.n);
	for (int i = 0; i < list_length(columns); i++)
		appendStringInfo(&from, ", %s::%s AS v%d",
						 i == 0 ? "lft" : i == 1 ? "rgt" : "depth",
						 format_type_extended(dbp_convert_type(&table, list_nth(columns, i)), -1,
											  FORMAT_TYPE_FORCE_QUALIFY), i + 1);
	if (tree != NULL)
	{
		columns = lappend(columns, tree);
		appendStringInfo(&from, ", r%d AS v%d", table.nscope + 1, list_length(columns));
	}
	appendStringInfoString(&from, " FROM " HIER_ROWS ")");
	changed = dbp_convert_update(&table, rows, from.data, columns, "v");
	dbp_rows_free(rows);
	dbp_convert_close(&table);
	PG_RETURN_INT64(changed);
}

/* ---- pairs --------------------------------------------------------------- */

/*
 * adjacency_to_closure(target regclass, parent name[], closure regclass,
 * ancestor name[], descendant name[], depth name, key name[], on_orphan text)
 * fills an empty table with the pairs of ancestor and descendant, and returns
 * how many there are: each node with itself at depth 0, its parent at 1.
 *
 * closure: a table with such columns; one for each column of the key.  The
 * rest, what it raises and what it locks as in adjacency_to_ltree, without
 * paths, and 22004 also for closure and its columns, 55000 if closure is not
 * empty; it locks closure as target.
 */
Datum
dbpatterns_adjacency_to_closure(PG_FUNCTION_ARGS)
{
	HierTable	table;
	ConvertPairs pairs;
	ConvertForest forest;
	HierRows   *rows;
	StringInfoData sql;
	bool		root = dbp_choose_argument(fcinfo, 7, "on_orphan", "error", "root");
	uint64		added;
	int			n;
	ListCell   *lc;

	dbp_convert_open(fcinfo, &table, 6);
	n = table.n;
	dbp_convert_open_pairs(fcinfo, 2, &table, &pairs);
	dbp_table_require_all_rows(pairs.rel);
	dbp_sql_command("LOCK TABLE %s IN SHARE ROW EXCLUSIVE MODE", pairs.name);
	if (dbp_sql_query(psprintf("SELECT FROM %s LIMIT 1", pairs.name), 0, NULL) > 0)
		ereport(ERROR,
				(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
				 errmsg("table %s is not empty", pairs.name),
				 errhint("Truncate it first, or give another one.")));
	dbp_convert_load(&forest, &table, NULL, NULL, root);

	rows = dbp_rows_create(2 * n + 1);
	dbp_rows_key(rows, 0, "a", &table.type);
	dbp_rows_key(rows, n, "d", &table.type);
	dbp_rows_column(rows, 2 * n, "depth", INT4OID, -1, InvalidOid);
	for (ConvertNode *node = forest.root; node != NULL; node = dbp_convert_preorder(node))
	{
		for (ConvertNode *above = node; above != NULL; above = above->parent)
		{
			Datum		values[2 * HIER_MAX_KEY + 1];
			bool		isnull[2 * HIER_MAX_KEY + 1] = {0};

			CHECK_FOR_INTERRUPTS();
			put_key(values, &table, above);
			put_key(values + n, &table, node);
			values[2 * n] = Int32GetDatum(node->depth - above->depth);
			dbp_rows_put(rows, values, isnull);
		}
	}

	/* Columns of a scope are both. */
	initStringInfo(&sql);
	appendStringInfo(&sql, "INSERT INTO %s (", pairs.name);
	dbp_sql_put_columns(&sql, HIER_NAMED(NULL, pairs.ancestor), 0, n);
	foreach(lc, pairs.descendant)
	{
		if (!dbp_list_has_name(pairs.ancestor, lfirst(lc)))
			appendStringInfo(&sql, ", %s", quote_identifier(lfirst(lc)));
	}
	appendStringInfo(&sql, ", %s) SELECT ", quote_identifier(pairs.depth));
	dbp_sql_put_columns(&sql, HIER_NUMBERED(NULL, "a"), 0, n);
	foreach(lc, pairs.descendant)
	{
		if (!dbp_list_has_name(pairs.ancestor, lfirst(lc)))
			appendStringInfo(&sql, ", d%d", foreach_current_index(lc) + 1);
	}
	appendStringInfoString(&sql, ", depth FROM " HIER_ROWS);
	added = dbp_rows_query(rows, sql.data, 0, NULL);
	dbp_rows_free(rows);
	relation_close(pairs.rel, NoLock);
	dbp_convert_close(&table);
	PG_RETURN_INT64(added);
}
