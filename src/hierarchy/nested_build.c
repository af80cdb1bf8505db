/*-------------------------------------------------------------------------
 *
 * nested_build.c
 *	  The nested sets of all rows of a table.
 *
 * The forest is loaded once, its nodes are put in the order of siblings, and
 * each tree is numbered evenly in one walk, without recursion.  Rows are
 * written in the order of their numbers, so that a subtree lies together.
 * That takes about 50 bytes a node besides the forest itself.
 *
 * Copyright (c) 2026, dbpatterns contributors
 *
 * src/hierarchy/nested_build.c
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "access/table.h"
#include "access/xact.h"
#include "core/bulk.h"
#include "core/names.h"
#include "hierarchy/nested.h"
#include "hierarchy/rows.h"
#include "lib/stringinfo.h"
#include "miscadmin.h"
#include "utils/builtins.h"
#include "utils/memutils.h"
#include "utils/snapmgr.h"

/* Keys that are read at once. */
#define FETCH_ROWS	10000

/* The number of a node that has none yet. */
#define UNORDERED	PG_UINT32_MAX

/* ---- order ------------------------------------------------------------------- */

typedef struct SortItem
{
	int64		value;			/* of an integer key */
	HierNode   *node;
} SortItem;

#define ST_SORT sort_by_integer
#define ST_ELEMENT_TYPE SortItem
#define ST_COMPARE(a, b) ((a)->value < (b)->value ? -1 : (a)->value > (b)->value)
#define ST_SCOPE static
#define ST_CHECK_FOR_INTERRUPTS
#define ST_DEFINE
#include "lib/sort_template.h"

#define ST_SORT sort_by_key
#define ST_ELEMENT_TYPE SortItem
#define ST_COMPARE_ARG_TYPE HierKeyType
#define ST_COMPARE(a, b, type) \
	dbp_key_compare(type, (a)->node->head.key, (b)->node->head.key)
#define ST_SCOPE static
#define ST_CHECK_FOR_INTERRUPTS
#define ST_DEFINE
#include "lib/sort_template.h"

static void
add_node(NestedForest *forest, HierNode *node)
{
	node->number = forest->n;
	forest->nodes[forest->n++] = node;
}

static void
order_by_key(HierState *state, NestedForest *forest)
{
	SortItem   *items = dbp_forest_alloc(forest->forest->nnodes, sizeof(SortItem));
	Size		n = 0;

	for (HierNode *node = forest->forest->first; node != NULL; node = node->next)
	{
		if (node->depth < 0 || node->number != UNORDERED)
			continue;
		items[n].value = state->type.integer ? (int64) node->head.key[0] : 0;
		items[n++].node = node;
	}
	if (state->type.integer)
		sort_by_integer(items, n);
	else
		sort_by_key(items, n, &state->type);
	for (Size i = 0; i < n; i++)
		add_node(forest, items[i].node);
	pfree(items);
}

/*
 * order_by_query puts the nodes in the order in which a query returns their
 * keys, as the active snapshot shows it.
 */
static void
order_by_query(HierState *state, NestedForest *forest, const char *sql)
{
	SPIPlanPtr	plan = dbp_sql_prepare(sql, 0, NULL, 0);
	Portal		portal;

	/* A read-only cursor takes the active snapshot. */
	portal = SPI_cursor_open(NULL, plan, NULL, NULL, true);
	for (;;)
	{
		SPI_cursor_fetch(portal, true, FETCH_ROWS);
		if (SPI_processed == 0)
			break;
		for (uint64 row = 0; row < SPI_processed; row++)
		{
			Datum		values[HIER_MAX_KEY];
			HierNode   *node;

			for (int i = 0; i < state->type.n; i++)
				values[i] = dbp_sql_value(row, i, NULL);
			node = dbp_map_find(forest->forest->map, values);
			if (node != NULL && node->depth >= 0 && node->number == UNORDERED)
				add_node(forest, node);
		}
		SPI_freetuptable(SPI_tuptable);
	}
	SPI_cursor_close(portal);
	SPI_freeplan(plan);
}

static void
order_by_column(HierState *state, NestedForest *forest)
{
	char	   *key = dbp_hier_quote_columns(state->spec.key);

	order_by_query(state, forest,
				   psprintf("SELECT %s FROM %s ORDER BY %s NULLS LAST, %s", key,
							dbp_relation_name_by_oid(state->head.rootid),
							quote_identifier(state->spec.order_by), key));
}

/*
 * order_by_storage puts nodes that are stored in the order they have there.
 */
static void
order_by_storage(HierState *state, NestedForest *forest)
{
	Relation	rel = table_open(state->storageid, AccessShareLock);
	NestedColumns columns;
	StringInfoData sql;

	dbp_nested_find_columns(rel, &state->spec, &columns);
	initStringInfo(&sql);
	appendStringInfoString(&sql, "SELECT ");
	for (int i = 0; i < columns.n; i++)
		appendStringInfo(&sql, "%s%s", i > 0 ? ", " : "",
						 dbp_nested_column(rel, columns.node[i]));
	appendStringInfo(&sql, " FROM %s ORDER BY ", dbp_relation_name(rel));
	for (int i = 0; i < columns.n; i++)
		appendStringInfo(&sql, "%s, ", dbp_nested_column(rel, columns.tree[i]));
	appendStringInfoString(&sql, dbp_nested_column(rel, columns.lft));
	table_close(rel, NoLock);
	order_by_query(state, forest, sql.data);
}

/*
 * order_nodes puts all nodes in the order of siblings: that of the table's
 * column, or else the one they have and then that of their keys.
 */
static void
order_nodes(HierState *state, NestedForest *forest)
{
	for (HierNode *node = forest->forest->first; node != NULL; node = node->next)
		node->number = UNORDERED;
	if (state->spec.order_by != NULL)
		order_by_column(state, forest);
	else
	{
		order_by_storage(state, forest);
		order_by_key(state, forest);
	}
}

/* ---- numbers ------------------------------------------------------------------ */

static void
link_children(NestedForest *forest)
{
	memset(forest->first, 0xFF, sizeof(uint32) * forest->n);
	memset(forest->next, 0xFF, sizeof(uint32) * forest->n);
	for (uint32 i = forest->n; i-- > 0;)
	{
		HierNode   *parent = forest->nodes[i]->parent;

		if (parent == NULL)
			continue;
		forest->next[i] = forest->first[parent->number];
		forest->first[parent->number] = i;
	}
}

/*
 * next_below returns the node after the given one in a walk below root, and
 * calls for each node that the walk leaves; NESTED_NONE at the end.
 */
static uint32
next_below(NestedForest *forest, uint32 root, uint32 node, NestedSpread *spread)
{
	if (forest->first[node] != NESTED_NONE)
		return forest->first[node];
	while (node != root)
	{
		if (spread != NULL)
			forest->rgt[node] = dbp_nested_next(spread, true);
		if (forest->next[node] != NESTED_NONE)
			return forest->next[node];
		node = forest->nodes[node]->parent->number;
	}
	return NESTED_NONE;
}

/*
 * number_tree numbers one tree, whose nodes go to preorder from place on, and
 * returns how many they are.
 */
static uint32
number_tree(HierState *state, NestedForest *forest, uint32 root, uint32 place)
{
	bool		before = state->spec.order_by != NULL;
	uint32		n = 0;
	NestedSpread spread;

	for (uint32 i = root; i != NESTED_NONE; i = next_below(forest, root, i, NULL))
	{
		forest->preorder[place + n++] = i;
		forest->root[i] = root;
	}
	forest->lft[root] = 0;
	forest->rgt[root] = (INT64CONST(1) << dbp_nested_bits(INT64CONST(2) * n, state->spec.gap)) - 1;
	dbp_nested_spread(&spread, 1, forest->rgt[root], INT64CONST(2) * (n - 1), n - 1, before, true);
	for (uint32 i = root; i != NESTED_NONE; i = next_below(forest, root, i, &spread))
	{
		if (i != root)
			forest->lft[i] = dbp_nested_next(&spread, false);
	}
	return n;
}

/*
 * dbp_nested_load reads all rows of a table and numbers their nodes, in cxt.
 * SPI is connected, and the current user the table's owner.
 */
NestedForest *
dbp_nested_load(HierState *state, MemoryContext cxt)
{
	MemoryContext oldcxt = MemoryContextSwitchTo(cxt);
	NestedForest *forest = palloc0(sizeof(NestedForest));
	uint32		n;
	uint32		placed = 0;

	/* One snapshot for both, or there could be nodes that are in no order. */
	CommandCounterIncrement();
	PushActiveSnapshot(GetLatestSnapshot());
	forest->forest = dbp_forest_load_snapshot(state, GetActiveSnapshot(), cxt);
	n = (uint32) (forest->forest->nnodes - forest->forest->ncyclic);
	forest->nodes = dbp_forest_alloc(n, sizeof(HierNode *));
	order_nodes(state, forest);
	PopActiveSnapshot();
	if (forest->n != n)
		elog(ERROR, "read %u of %u nodes in their order", forest->n, n);

	forest->first = dbp_forest_alloc(n, sizeof(uint32));
	forest->next = dbp_forest_alloc(n, sizeof(uint32));
	forest->root = dbp_forest_alloc(n, sizeof(uint32));
	forest->preorder = dbp_forest_alloc(n, sizeof(uint32));
	forest->lft = dbp_forest_alloc(n, sizeof(int64));
	forest->rgt = dbp_forest_alloc(n, sizeof(int64));
	link_children(forest);
	for (uint32 i = 0; i < n; i++)
	{
		if (i % 1024 == 0)
			CHECK_FOR_INTERRUPTS();
		if (forest->nodes[i]->parent == NULL)
			placed += number_tree(state, forest, i, placed);
	}
	MemoryContextSwitchTo(oldcxt);
	return forest;
}

/* ---- writing ------------------------------------------------------------------ */

static void
set_row(NestedForest *forest, uint32 i, NestedRow *row)
{
	memset(row, 0, sizeof(*row));
	row->key = forest->nodes[i]->head.key;
	row->tree = forest->nodes[forest->root[i]]->head.key;
	row->lft = forest->lft[i];
	row->rgt = forest->rgt[i];
	row->depth = forest->nodes[i]->depth;
}

/*
 * dbp_nested_fill_storage reads the rows of a table, raises if they are no
 * hierarchy, and writes their nested sets into a new table without indexes,
 * unless its OID is invalid.
 */
void
dbp_nested_fill_storage(HierState *state, Oid storageid)
{
	MemoryContext cxt = AllocSetContextCreate(CurrentMemoryContext, "dbpatterns nested forest",
											  ALLOCSET_DEFAULT_SIZES);
	NestedForest *forest = dbp_nested_load(state, cxt);
	NestedColumns columns;
	Relation	rel;
	DbpBulk    *bulk;

	dbp_forest_require(state, forest->forest);
	if (OidIsValid(storageid))
	{
		rel = table_open(storageid, RowExclusiveLock);
		dbp_nested_find_columns(rel, &state->spec, &columns);
		bulk = dbp_bulk_begin(rel);
		for (uint32 i = 0; i < forest->n; i++)
		{
			NestedRow	row;

			set_row(forest, forest->preorder[i], &row);
			dbp_nested_fill(dbp_bulk_row(bulk), &columns, &row);
		}
		dbp_bulk_end(bulk);
		table_close(rel, NoLock);
	}
	MemoryContextDelete(cxt);
}

/*
 * delete_rows deletes the rows of one tree, or all.
 */
static void
delete_rows(HierState *state, NestedForest *forest, const Datum *tree)
{
	Relation	rel = table_open(state->storageid, RowExclusiveLock);
	StringInfoData sql;
	DbpParam	params[HIER_MAX_KEY];
	NestedColumns columns;

	dbp_nested_find_columns(rel, &state->spec, &columns);
	initStringInfo(&sql);
	appendStringInfo(&sql, "DELETE FROM %s", dbp_relation_name(rel));
	for (int i = 0; tree != NULL && i < state->type.n; i++)
	{
		appendStringInfoString(&sql, i > 0 ? " AND " : " WHERE ");
		dbp_sql_put_equal(&sql, state->type.col[i].type, dbp_nested_column(rel, columns.tree[i]),
						  psprintf("$%d", i + 1));
		params[i] = DBP_PARAM(state->type.col[i].type, tree[i]);
	}
	dbp_sql_query_latest(sql.data, tree != NULL ? state->type.n : 0, params);
	table_close(rel, NoLock);
}

/*
 * dbp_nested_rewrite replaces the rows of one tree, or of all if tree is NULL,
 * by those of a forest.  The caller has locked it; SPI is connected, and the
 * current user the owner.
 */
void
dbp_nested_rewrite(HierState *state, NestedForest *forest, const Datum *tree)
{
	NestedStore *store;
	NestedRow	row;
	NestedRow	old;

	delete_rows(state, forest, tree);
	CommandCounterIncrement();
	store = dbp_nested_open(state, true);
	(void) dbp_nested_lock(store);
	/* Nodes of the tree that are stored in another one, where they are wrong. */
	for (uint32 i = 0; tree != NULL && i < forest->n; i++)
	{
		set_row(forest, forest->preorder[i], &row);
		if (dbp_key_equal(&state->type, row.tree, tree) &&
			dbp_nested_find(store, row.key, &old))
			dbp_nested_delete(store, &old);
	}
	for (uint32 i = 0; i < forest->n; i++)
	{
		set_row(forest, forest->preorder[i], &row);
		if (tree == NULL || dbp_key_equal(&state->type, row.tree, tree))
			dbp_nested_insert(store, &row);
	}
	dbp_nested_close(store);
}
