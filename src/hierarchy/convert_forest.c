/*-------------------------------------------------------------------------
 *
 * convert_forest.c
 *	  Reading an adjacency list as a forest.
 *
 * The nodes are read once and linked in memory, about 150 bytes each, and then
 * walked in preorder, without recursion.  Nodes that the walk does not come to
 * lie on or below a cycle.
 *
 * Copyright (c) 2026, dbpatterns contributors
 *
 * src/hierarchy/convert_forest.c
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "core/names.h"
#include "hierarchy/convert.h"
#include "miscadmin.h"
#include "utils/builtins.h"

/* Nodes of a cycle that an error shows. */
#define CYCLE_PRINTED	10000

/*
 * Columns: key, parent, and the label if there are labels.
 */
static void
node_row(Datum *values, bool *isnull, void *arg)
{
	ConvertForest *forest = arg;
	HierTable  *table = forest->table;
	ConvertNode *node;
	bool		found = false;
	bool		root = false;
	MemoryContext oldcxt;

	for (int i = 0; i < table->n; i++)
	{
		found |= isnull[i];
		root |= i >= table->nscope && isnull[table->n + i];
	}
	if (found)
		ereport(ERROR,
				(errcode(ERRCODE_NOT_NULL_VIOLATION),
				 errmsg("a key column of table %s is NULL", dbp_relation_name(table->rel)),
				 errhint("Choose a key whose columns are never NULL.")));
	node = dbp_map_enter(forest->map, values, &found);
	if (found)
		ereport(ERROR,
				(errcode(ERRCODE_UNIQUE_VIOLATION),
				 errmsg("two rows of table %s have the key %s", dbp_relation_name(table->rel),
						dbp_key_text(&table->type, values)),
				 errhint("Make the keys unique first.")));
	oldcxt = MemoryContextSwitchTo(forest->cxt);
	if (!root)
		node->parent_key = dbp_key_copy(&table->type, values + table->n);
	if (forest->labels && !isnull[2 * table->n])
		node->label = TextDatumGetCString(values[2 * table->n]);
	MemoryContextSwitchTo(oldcxt);
	node->next = forest->nodes;
	forest->nodes = node;
}

/*
 * link_nodes makes trees of the nodes, which are linked from the last to the
 * first, so that siblings and the list of all end up in their order.
 */
static void
link_nodes(ConvertForest *forest, bool orphans_are_roots)
{
	HierKeyType *type = &forest->table->type;
	ConvertNode *node = forest->nodes;
	StringInfoData list;
	int			norphans = 0;

	initStringInfo(&list);
	forest->nodes = NULL;
	while (node != NULL)
	{
		ConvertNode *next = node->next;
		ConvertNode **first = &forest->root;

		if (node->parent_key != NULL)
		{
			node->parent = dbp_map_find(forest->map, node->parent_key);
			if (node->parent != NULL)
				first = &node->parent->child;
			else if (!orphans_are_roots && norphans++ < CONVERT_LISTED)
				appendStringInfo(&list, "%s%s below %s", norphans > 1 ? ", " : "",
								 dbp_key_text(type, node->head.key),
								 dbp_key_text(type, node->parent_key));
		}
		node->sibling = *first;
		*first = node;
		node->next = forest->nodes;
		forest->nodes = node;
		node = next;
	}
	if (norphans > 0)
		ereport(ERROR,
				(errcode(ERRCODE_FOREIGN_KEY_VIOLATION),
				 errmsg("nodes of table %s have a parent that does not exist",
						dbp_relation_name(forest->table->rel)),
				 errdetail("There are %d: %s%s.", norphans, list.data,
						   norphans > CONVERT_LISTED ? ", and more" : ""),
				 errhint("Insert the parents, or call with on_orphan => 'root'.")));
}

/*
 * dbp_convert_preorder returns the node after one, NULL after the last.
 */
ConvertNode *
dbp_convert_preorder(ConvertNode *node)
{
	if (node->child != NULL)
		return node->child;
	while (node != NULL && node->sibling == NULL)
		node = node->parent;
	return node != NULL ? node->sibling : NULL;
}

/*
 * cycle_above returns the least node of the cycle that the ancestors of a node
 * lead to, or NULL if an earlier search has found it.  No node that was not
 * reached has a parent that was.
 */
static ConvertNode *
cycle_above(HierKeyType *type, ConvertNode *node, int mark)
{
	ConvertNode *least;

	for (; node->mark == 0; node = node->parent)
		node->mark = mark;
	if (node->mark != mark)
		return NULL;
	least = node;
	for (ConvertNode *other = node->parent; other != node; other = other->parent)
	{
		if (dbp_key_compare(type, other->head.key, least->head.key) < 0)
			least = other;
	}
	return least;
}

/*
 * put_cycle appends the nodes above one up to itself; not all of a long cycle,
 * which may have more than fit in a message.
 */
static void
put_cycle(StringInfo list, HierKeyType *type, ConvertNode *first)
{
	int			left_out = 0;
	int			n = 0;

	for (ConvertNode *node = first->parent; node != first; node = node->parent)
	{
		CHECK_FOR_INTERRUPTS();
		if (n++ < CYCLE_PRINTED)
			appendStringInfo(list, " -> %s", dbp_key_text(type, node->head.key));
		else
			left_out++;
	}
	if (left_out > 0)
		appendStringInfo(list, " -> (%d more)", left_out);
	appendStringInfo(list, " -> %s", dbp_key_text(type, first->head.key));
}

/*
 * refuse_cycles raises with the cycles among the nodes that were not reached.
 */
static void
refuse_cycles(ConvertForest *forest)
{
	HierKeyType *type = &forest->table->type;
	StringInfoData list;
	int			ncycles = 0;
	int			mark = 0;

	initStringInfo(&list);
	for (ConvertNode *node = forest->nodes; node != NULL; node = node->next)
	{
		ConvertNode *least;

		CHECK_FOR_INTERRUPTS();
		if (node->reached || node->mark != 0 ||
			(least = cycle_above(type, node, ++mark)) == NULL || ncycles++ >= CONVERT_LISTED)
			continue;
		appendStringInfo(&list, "%s%s", ncycles > 1 ? "; " : "",
						 dbp_key_text(type, least->head.key));
		put_cycle(&list, type, least);
	}
	ereport(ERROR,
			(errcode(ERRCODE_CHECK_VIOLATION),
			 errmsg("table %s has cycles", dbp_relation_name(forest->table->rel)),
			 errdetail("From each node to its parent: %s%s.", list.data,
					   ncycles > CONVERT_LISTED ? "; and more" : ""),
			 errhint("Set the parent of a node of each cycle to NULL, or to a node outside.")));
}

/*
 * dbp_convert_load reads the nodes, siblings in the order of a column, or of their
 * keys, and makes trees of them; label is an expression on t, or NULL.
 */
void
dbp_convert_load(ConvertForest *forest, HierTable *table, const char *order_by, const char *label,
				 bool orphans_are_roots)
{
	StringInfoData sql;
	int64		reached = 0;

	memset(forest, 0, sizeof(*forest));
	forest->table = table;
	forest->cxt = CurrentMemoryContext;
	forest->labels = label != NULL;
	forest->map = dbp_map_create(&table->type, sizeof(ConvertNode), CurrentMemoryContext);

	initStringInfo(&sql);
	appendStringInfoString(&sql, "SELECT ");
	dbp_sql_put_columns(&sql, HIER_NAMED("t", table->key), 0, table->n);
	appendStringInfoString(&sql, ", ");
	dbp_sql_put_columns(&sql, HIER_NAMED("t", table->parent), 0, table->n);
	if (label != NULL)
		appendStringInfo(&sql, ", %s", label);
	appendStringInfo(&sql, " FROM %s AS t ORDER BY ", table->name);
	if (order_by != NULL)
		appendStringInfo(&sql, "t.%s, ", quote_identifier(order_by));
	dbp_sql_put_columns(&sql, HIER_NAMED("t", table->key), 0, table->n);
	dbp_sql_scan(sql.data, 0, NULL, node_row, forest);

	link_nodes(forest, orphans_are_roots);
	for (ConvertNode *node = forest->root; node != NULL; node = dbp_convert_preorder(node))
	{
		CHECK_FOR_INTERRUPTS();
		node->reached = true;
		node->depth = node->parent == NULL ? 0 : node->parent->depth + 1;
		reached++;
	}
	if (reached < dbp_map_count(forest->map))
		refuse_cycles(forest);
}
