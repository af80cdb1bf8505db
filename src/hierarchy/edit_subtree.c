/*-------------------------------------------------------------------------
 *
 * edit_subtree.c
 *	  Reading and deleting subtrees.
 *
 * Which nodes are below one is read from the closure table, as its owner; what
 * is done with their rows is one statement with the caller's rights, for
 * one statement may leave children without parents while it runs.
 *
 * Copyright (c) 2026, dbpatterns contributors
 *
 * src/hierarchy/edit_subtree.c
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "access/relation.h"
#include "catalog/pg_type.h"
#include "core/names.h"
#include "core/owner.h"
#include "core/target.h"
#include "hierarchy/edit.h"
#include "utils/builtins.h"

PG_FUNCTION_INFO_V1(dbpatterns_closure_delete);

/* ---- what is below a node ------------------------------------------------ */

static void
subtree_row(Datum *values, bool *isnull, void *arg)
{
	dbp_rows_put(arg, values, isnull);
}

/*
 * dbp_edit_subtree returns the keys of the nodes from min_depth to max_depth below
 * a node, and their depth: k1, k2 and so on, depth.
 */
HierRows *
dbp_edit_subtree(Edit *edit, const Datum *node, int min_depth, int max_depth)
{
	HierTable  *table = &edit->table;
	List	   *columns = dbp_hier_closure_columns(edit->spec);
	List	   *scope = list_copy_head(columns, table->nscope);
	List	   *ancestor = list_copy_head(columns, table->n);
	List	   *descendant = list_concat(scope, list_copy_tail(columns, table->n));
	HierRows   *rows = dbp_rows_create(table->n + 1);
	DbpParam	params[HIER_MAX_KEY];
	DbpOwnerScope owner;
	StringInfoData sql;

	dbp_rows_key(rows, 0, "k", &table->type);
	dbp_rows_column(rows, table->n, "depth", INT4OID, -1, InvalidOid);
	initStringInfo(&sql);
	appendStringInfoString(&sql, "SELECT ");
	dbp_sql_put_columns(&sql, HIER_NAMED("c", descendant), 0, table->n);
	appendStringInfo(&sql, ", c.depth FROM %s AS c WHERE %s AND c.depth BETWEEN %d AND %d"
					 " ORDER BY c.depth, ", edit->storage,
					 dbp_edit_condition(edit, HIER_NAMED("c", ancestor), 0, 1), min_depth,
					 max_depth);
	dbp_sql_put_columns(&sql, HIER_NAMED("c", descendant), 0, table->n);
	(void) dbp_edit_params(edit, params, node);
	dbp_enter_owner(&owner, edit->owner);
	dbp_sql_scan(sql.data, table->n, params, subtree_row, rows);
	dbp_leave_owner(&owner);
	return rows;
}

/* ---- deleting ------------------------------------------------------------ */

/*
 * next_sibling returns the key of the sibling after a node, NULL if it is the
 * last one.
 */
static Datum *
next_sibling(Edit *edit, const Datum *node, const Datum *parent)
{
	HierTable  *table = &edit->table;
	int			n = table->n;
	HierColumns key = HIER_NAMED("t", table->key);
	DbpParam	params[2 * HIER_MAX_KEY];
	StringInfoData sql;
	Datum		values[HIER_MAX_KEY];
	bool		isnull = true;

	initStringInfo(&sql);
	appendStringInfoString(&sql, "SELECT ");
	dbp_sql_put_columns(&sql, HIER_NUMBERED("s", "n"), 0, n);
	appendStringInfoString(&sql, " FROM (SELECT ");
	dbp_sql_put_renamed(&sql, key, HIER_NUMBERED(NULL, "k"), n);
	for (int i = 0; i < n; i++)
		appendStringInfo(&sql, ", pg_catalog.lead(%s) OVER w AS n%d", dbp_sql_column(key, i), i + 1);
	appendStringInfo(&sql, " FROM %s AS t WHERE %s WINDOW w AS (ORDER BY t.%s, ", table->name,
					 dbp_edit_siblings(edit, parent), quote_identifier(edit->spec->order_by));
	dbp_sql_put_columns(&sql, key, 0, n);
	appendStringInfo(&sql, ")) AS s WHERE %s",
					 dbp_edit_condition(edit, HIER_NUMBERED("s", "k"), 0, n + 1));
	(void) dbp_edit_params(edit, params, parent != NULL ? parent : node);
	(void) dbp_edit_params(edit, params + n, node);
	if (dbp_sql_query_latest(sql.data, 2 * n, params) > 0)
	{
		for (int i = 0; i < n; i++)
			values[i] = dbp_sql_value(0, i, &isnull);
	}
	return isnull ? NULL : dbp_key_copy(&table->type, values);
}

/*
 * adopt makes the children of a node those of its parent, in its place and in
 * their order.
 */
static void
adopt(Edit *edit, const Datum *node, const Datum *parent)
{
	HierTable  *table = &edit->table;
	HierRows   *rows = dbp_edit_subtree(edit, node, 1, 1);
	List	   *children = NIL;
	Datum	   *places = NULL;
	StringInfoData sql;
	uint64		n;

	if (rows->n > 0)
	{
		initStringInfo(&sql);
		appendStringInfoString(&sql, "SELECT ");
		dbp_sql_put_columns(&sql, HIER_NAMED("t", table->key), 0, table->n);
		appendStringInfo(&sql, " FROM %s AS t JOIN " HIER_ROWS " AS r ON ", table->name);
		dbp_sql_put_match(&sql, &table->type, HIER_NAMED("t", table->key), HIER_NUMBERED("r", "k"));
		appendStringInfoString(&sql, " ORDER BY ");
		if (edit->spec->order_by != NULL)
			appendStringInfo(&sql, "t.%s, ", quote_identifier(edit->spec->order_by));
		dbp_sql_put_columns(&sql, HIER_NAMED("t", table->key), 0, table->n);
		n = dbp_rows_query(rows, sql.data, 0, NULL);
		for (uint64 row = 0; row < n; row++)
		{
			Datum		values[HIER_MAX_KEY];

			for (int i = 0; i < table->n; i++)
				values[i] = dbp_sql_value(row, i, NULL);
			children = lappend(children, dbp_key_copy(&table->type, values));
		}
		dbp_edit_refuse_hidden(edit, n, rows->n);
	}
	if (children != NIL)
	{
		if (edit->order != EDIT_UNORDERED)
		{
			dbp_edit_lock_siblings(edit, node, parent);
			places = dbp_edit_places(edit, children, list_length(children), node, parent,
									 next_sibling(edit, node, parent));
		}
		n = dbp_edit_attach(edit, children, parent, places);
		dbp_edit_refuse_hidden(edit, n, rows->n);
	}
	dbp_rows_free(rows);
}

/*
 * closure_delete(target regclass, node, policy text, closure name) deletes a
 * node and returns how many rows that were.
 *
 * target, node, closure: as for closure_move.  policy: cascade deletes all
 * below the node, too, in one statement; adopt makes its children those of its
 * parent first, in its place and their order, or roots.
 *
 * Raises 22023 (policy), 22004 (target or node is NULL), 55000 (versions
 * differ), 42P01, 42809, 42704 (no such hierarchy), 42P09 (several), 22023 (the
 * key does not fit), 22P02, P0002 (no such node), 42501 (row-level security protects
 * a row that is below the node), and what the statements raise.  Locks what
 * these lock; with adopt the row of the node first, and what closure_move does.
 * Runs as the caller.  A second call raises P0002.
 */
Datum
dbpatterns_closure_delete(PG_FUNCTION_ARGS)
{
	Edit		edit;
	HierTable  *table = &edit.table;
	bool		adopting = dbp_choose_argument(fcinfo, 2, "policy", "cascade", "adopt");
	HierRows   *rows;
	Datum	   *node;
	Datum	   *parent;
	StringInfoData sql;
	uint64		deleted;

	dbp_edit_open(fcinfo, &edit, 3);
	node = dbp_edit_node_argument(fcinfo, 1, &edit, &parent, adopting);
	if (adopting)
		adopt(&edit, node, parent);
	rows = dbp_edit_subtree(&edit, node, 0, adopting ? 0 : PG_INT32_MAX);
	initStringInfo(&sql);
	appendStringInfo(&sql, "DELETE FROM %s AS t USING " HIER_ROWS " AS r WHERE ", table->name);
	dbp_sql_put_match(&sql, &table->type, HIER_NAMED("t", table->key), HIER_NUMBERED("r", "k"));
	deleted = dbp_rows_query(rows, sql.data, 0, NULL);
	dbp_edit_refuse_hidden(&edit, deleted, rows->n);
	dbp_rows_free(rows);
	dbp_edit_close(&edit);
	PG_RETURN_INT64(deleted);
}
