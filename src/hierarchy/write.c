/*-------------------------------------------------------------------------
 *
 * write.c
 *	  All pairs of a forest into a new table.
 *
 * They are written in the order of the primary key, which makes that index
 * cheap to build and keeps a subtree together: nodes are numbered in the order
 * of their keys, and going through them in this order, each one is added to
 * the list of each of its ancestors.  The lists of as many ancestors as
 * maintenance_work_mem allows are made at a time.
 *
 * Copyright (c) 2026, dbpatterns contributors
 *
 * src/hierarchy/write.c
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "access/table.h"
#include "core/bulk.h"
#include "hierarchy/hierarchy.h"
#include "miscadmin.h"
#include "utils/memutils.h"

#define NO_PARENT		PG_UINT32_MAX

/* Nodes by number, which is the order of their keys. */
typedef struct Numbered
{
	HierState  *state;
	uint32		n;
	Datum	   *keys;			/* type.n values for each node */
	uint32	   *parent;			/* a number, or NO_PARENT */
	int32	   *depth;
	uint32	   *size;			/* nodes in the subtree */
} Numbered;

typedef struct SortItem
{
	int64		value;			/* of an integer key */
	HierNode   *node;
} SortItem;

#define ST_SORT sort_integers
#define ST_ELEMENT_TYPE SortItem
#define ST_COMPARE(a, b) ((a)->value < (b)->value ? -1 : (a)->value > (b)->value)
#define ST_SCOPE static
#define ST_CHECK_FOR_INTERRUPTS
#define ST_DEFINE
#include "lib/sort_template.h"

#define ST_SORT sort_keys
#define ST_ELEMENT_TYPE SortItem
#define ST_COMPARE_ARG_TYPE HierKeyType
#define ST_COMPARE(a, b, type) \
	dbp_key_compare(type, (a)->node->head.key, (b)->node->head.key)
#define ST_SCOPE static
#define ST_CHECK_FOR_INTERRUPTS
#define ST_DEFINE
#include "lib/sort_template.h"

static SortItem *
sort_nodes(HierState *state, HierForest *forest)
{
	SortItem   *items = dbp_forest_alloc(forest->nnodes, sizeof(SortItem));
	Size		n = 0;

	for (HierNode *node = forest->first; node != NULL; node = node->next)
	{
		if (node->depth < 0)
			continue;
		items[n].value = state->type.integer ? (int64) node->head.key[0] : 0;
		items[n++].node = node;
	}
	if (state->type.integer)
		sort_integers(items, n);
	else
		sort_keys(items, n, &state->type);
	return items;
}

static void
number_nodes(HierState *state, HierForest *forest, Numbered *nodes)
{
	SortItem   *items = sort_nodes(state, forest);
	int			width = state->type.n;
	uint32		n = (uint32) (forest->nnodes - forest->ncyclic);

	nodes->state = state;
	nodes->n = n;
	nodes->keys = dbp_forest_alloc(n, sizeof(Datum) * width);
	nodes->parent = dbp_forest_alloc(n, sizeof(uint32));
	nodes->depth = dbp_forest_alloc(n, sizeof(int32));
	nodes->size = dbp_forest_alloc(n, sizeof(uint32));
	for (uint32 i = 0; i < n; i++)
		items[i].node->number = i;
	for (uint32 i = 0; i < n; i++)
	{
		HierNode   *node = items[i].node;

		memcpy(nodes->keys + (Size) i * width, node->head.key, sizeof(Datum) * width);
		nodes->parent[i] = node->parent == NULL ? NO_PARENT : node->parent->number;
		nodes->depth[i] = node->depth;
		nodes->size[i] = 0;
	}
	pfree(items);
	for (uint32 i = 0; i < n; i++)
	{
		if (i % 1024 == 0)
			CHECK_FOR_INTERRUPTS();
		for (uint32 a = i; a != NO_PARENT; a = nodes->parent[a])
			nodes->size[a]++;
	}
}

/*
 * write_pair writes one pair; columns as in the plan of the storage: scope,
 * ancestor, descendant, depth.
 */
static void
write_pair(DbpBulk *bulk, Numbered *nodes, uint32 ancestor, uint32 descendant)
{
	TupleTableSlot *slot = dbp_bulk_row(bulk);
	int			width = nodes->state->type.n;
	int			nscope = nodes->state->spec.nscope;
	Datum	   *a = nodes->keys + (Size) ancestor * width;
	Datum	   *d = nodes->keys + (Size) descendant * width;
	int			column = 0;

	for (int i = 0; i < width; i++)
		slot->tts_values[column++] = a[i];
	for (int i = nscope; i < width; i++)
		slot->tts_values[column++] = d[i];
	slot->tts_values[column++] = Int32GetDatum(nodes->depth[descendant] - nodes->depth[ancestor]);
	memset(slot->tts_isnull, false, column);
	for (; column < slot->tts_tupleDescriptor->natts; column++)
		slot->tts_isnull[column] = true;
}

/*
 * write_lists writes the pairs of the ancestors in [from, upto), of which
 * lists has room for all descendants.
 */
static void
write_lists(DbpBulk *bulk, Numbered *nodes, uint32 from, uint32 upto, uint32 *lists)
{
	Size	   *ends = dbp_forest_alloc(upto - from, sizeof(Size));
	Size		total = 0;

	for (uint32 a = from; a < upto; a++)
	{
		ends[a - from] = total;
		total += nodes->size[a];
	}
	for (uint32 d = 0; d < nodes->n; d++)
	{
		if (d % 1024 == 0)
			CHECK_FOR_INTERRUPTS();
		for (uint32 a = d; a != NO_PARENT; a = nodes->parent[a])
		{
			if (a >= from && a < upto)
				lists[ends[a - from]++] = d;
		}
	}
	total = 0;
	for (uint32 a = from; a < upto; a++)
	{
		for (; total < ends[a - from]; total++)
			write_pair(bulk, nodes, a, lists[total]);
	}
	pfree(ends);
}

/*
 * dbp_forest_write writes all pairs of a forest into an empty table without
 * indexes, in the order of its primary key; nodes on or below a cycle are left
 * out.  The caller has locked the table.
 */
void
dbp_forest_write(HierState *state, HierForest *forest, Oid storageid)
{
	MemoryContext cxt = AllocSetContextCreate(CurrentMemoryContext, "dbpatterns forest write",
											  ALLOCSET_DEFAULT_SIZES);
	MemoryContext oldcxt = MemoryContextSwitchTo(cxt);
	Relation	rel = table_open(storageid, RowExclusiveLock);
	DbpBulk    *bulk = dbp_bulk_begin(rel);
	Numbered	nodes;
	Size		room;
	uint32	   *lists;
	uint32		from = 0;

	number_nodes(state, forest, &nodes);
	room = Max((Size) maintenance_work_mem * 1024 / sizeof(uint32), nodes.n);
	room = Min(room, (Size) forest->npairs);
	lists = dbp_forest_alloc(room, sizeof(uint32));
	while (from < nodes.n)
	{
		uint32		upto = from;
		Size		total = 0;

		while (upto < nodes.n && total + nodes.size[upto] <= room)
			total += nodes.size[upto++];
		write_lists(bulk, &nodes, from, upto, lists);
		from = upto;
	}
	dbp_bulk_end(bulk);
	table_close(rel, NoLock);
	MemoryContextSwitchTo(oldcxt);
	MemoryContextDelete(cxt);
}
