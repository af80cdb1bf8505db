/*-------------------------------------------------------------------------
 *
 * compare.c
 *	  What a closure table holds against what it should hold.
 *
 * The table is read once, in its own order and without sorting.  Whether a
 * pair belongs there is told from two numbers of each node: its place in a
 * walk through the trees from the roots down, and the last place below it.  A
 * bit for each pair that should be there says in the end which ones are
 * missing, and meanwhile which ones are there twice.  That takes 32 bytes a
 * node and a bit a pair besides the forest itself.
 *
 * Copyright (c) 2026, dbpatterns contributors
 *
 * src/hierarchy/compare.c
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "access/table.h"
#include "access/tableam.h"
#include "catalog/pg_type.h"
#include "core/names.h"
#include "hierarchy/hierarchy.h"
#include "miscadmin.h"
#include "utils/lsyscache.h"
#include "utils/memutils.h"
#include "utils/snapmgr.h"

#define NONE			PG_UINT32_MAX

static const HierWhole *wholes[HIER_NESTED + 1];

/*
 * dbp_hier_set_whole tells how to treat storage of a kind as a whole.
 */
void
dbp_hier_set_whole(HierKind kind, const HierWhole *whole)
{
	wholes[kind] = whole;
}

/*
 * dbp_hier_whole returns that; NULL if there is nothing.
 */
const HierWhole *
dbp_hier_whole(HierKind kind)
{
	return wholes[kind];
}

/*
 * dbp_hier_require_whole returns that of a hierarchy, or raises 0A000.
 */
const HierWhole *
dbp_hier_require_whole(HierState *state)
{
	if (wholes[state->spec.kind] == NULL)
		ereport(ERROR,
				(errcode(ERRCODE_FEATURE_NOT_SUPPORTED),
				 errmsg("\"%s\" cannot be built anew as a whole", state->spec.storage),
				 errhint("Disable it and enable it again.")));
	return wholes[state->spec.kind];
}

/*
 * dbp_hier_storage_columns finds the columns of a closure table; false if it
 * has not those that it should have.
 */
bool
dbp_hier_storage_columns(HierState *state, Relation storage, HierStorage *columns)
{
	TupleDesc	desc = RelationGetDescr(storage);
	int			n = state->type.n;
	int			nscope = state->spec.nscope;

	columns->depth = 2 * n - nscope + 1;
	if (desc->natts < columns->depth ||
		TupleDescAttr(desc, columns->depth - 1)->atttypid != INT4OID ||
		strcmp(NameStr(TupleDescAttr(desc, columns->depth - 1)->attname), "depth") != 0)
		return false;
	for (int i = 0; i < n; i++)
	{
		Oid			type = state->type.col[i].type;

		columns->ancestor[i] = i + 1;
		columns->descendant[i] = i < nscope ? i + 1 : n - nscope + i + 1;
		if (getBaseType(TupleDescAttr(desc, columns->ancestor[i] - 1)->atttypid) != type ||
			getBaseType(TupleDescAttr(desc, columns->descendant[i] - 1)->atttypid) != type)
			return false;
	}
	return true;
}

/* ---- places -------------------------------------------------------------- */

/* By the number of the node, which is that of its row in the order read. */
typedef struct Places
{
	uint32		n;
	HierNode  **nodes;
	uint32	   *place;			/* in the walk from the roots down */
	uint32	   *last;			/* the last one below */
	Size	   *bits;			/* first of its bits: one for each ancestor */
	uint8	   *seen;
} Places;

/*
 * walk_tree gives places to a root and all below it, without recursion.
 */
static uint32
walk_tree(Places *places, uint32 root, uint32 next, const uint32 *child, const uint32 *sibling)
{
	uint32		node = root;

	for (;;)
	{
		places->place[node] = next++;
		if (next % 1024 == 0)
			CHECK_FOR_INTERRUPTS();
		if (child[node] != NONE)
		{
			node = child[node];
			continue;
		}
		for (;;)
		{
			places->last[node] = next - 1;
			if (node == root)
				return next;
			if (sibling[node] != NONE)
				break;
			node = places->nodes[node]->parent->number;
		}
		node = sibling[node];
	}
}

static void
number_nodes(HierForest *forest, Places *places)
{
	Size		nbits = 0;

	places->nodes = dbp_forest_alloc(forest->nnodes, sizeof(HierNode *));
	places->bits = dbp_forest_alloc(forest->nnodes, sizeof(Size));
	for (HierNode *node = forest->first; node != NULL; node = node->next)
	{
		if (node->depth < 0)
			continue;
		node->number = places->n++;
		places->nodes[node->number] = node;
		places->bits[node->number] = nbits;
		nbits += node->depth + 1;
	}
	places->seen = MemoryContextAllocExtended(CurrentMemoryContext, nbits / 8 + 1,
											  MCXT_ALLOC_HUGE | MCXT_ALLOC_ZERO);
}

static void
find_places(HierForest *forest, Places *places)
{
	uint32		next = 0;
	uint32	   *child;
	uint32	   *sibling;

	number_nodes(forest, places);
	places->place = dbp_forest_alloc(places->n, sizeof(uint32));
	places->last = dbp_forest_alloc(places->n, sizeof(uint32));
	child = dbp_forest_alloc(places->n, sizeof(uint32));
	sibling = dbp_forest_alloc(places->n, sizeof(uint32));
	memset(child, 0xFF, places->n * sizeof(uint32));
	for (uint32 i = 0; i < places->n; i++)
	{
		HierNode   *parent = places->nodes[i]->parent;

		sibling[i] = NONE;
		if (parent == NULL)
			continue;
		sibling[i] = child[parent->number];
		child[parent->number] = i;
	}
	for (uint32 i = 0; i < places->n; i++)
	{
		if (places->nodes[i]->parent == NULL)
			next = walk_tree(places, i, next, child, sibling);
	}
	pfree(child);
	pfree(sibling);
}

/* ---- comparing ----------------------------------------------------------- */

typedef struct Comparison
{
	HierState  *state;
	HierForest *forest;
	Places		places;
	HierReport	callback;
	void	   *arg;
} Comparison;

static void
report(Comparison *comparison, HierProblem problem, const Datum *ancestor,
	   const Datum *descendant, int expected, int found, ItemPointer tid)
{
	HierDifference difference = {problem, ancestor, descendant, expected, found};

	if (tid != NULL)
		difference.tid = *tid;
	comparison->callback(&difference, comparison->arg);
}

/*
 * compare_pair looks at a pair of the table.
 */
static void
compare_pair(Comparison *comparison, const Datum *ancestor, const Datum *descendant,
			 int depth, ItemPointer tid)
{
	Places	   *places = &comparison->places;
	HierNode   *below = dbp_map_find(comparison->forest->map, descendant);
	HierNode   *above = dbp_map_find(comparison->forest->map, ancestor);
	int			expected;
	Size		bit;

	/* What is right for nodes of a cycle, nobody can tell. */
	if (below != NULL && below->depth == -1)
		return;
	if (below == NULL || above == NULL || below->depth < 0 || above->depth < 0 ||
		places->place[below->number] < places->place[above->number] ||
		places->place[below->number] > places->last[above->number])
	{
		report(comparison, HIER_EXTRA, ancestor, descendant, -1, depth, tid);
		return;
	}
	expected = below->depth - above->depth;
	bit = places->bits[below->number] + expected;
	if (places->seen[bit / 8] & (1 << bit % 8))
		report(comparison, HIER_EXTRA, ancestor, descendant, -1, depth, tid);
	else if (depth != expected)
		report(comparison, HIER_DEPTH, ancestor, descendant, expected, depth, tid);
	places->seen[bit / 8] |= 1 << bit % 8;
}

static void
compare_stored(Comparison *comparison, Relation storage, Snapshot snapshot)
{
	HierKeyType *type = &comparison->state->type;
	HierStorage columns;
	Datum		ancestor[HIER_MAX_KEY];
	Datum		descendant[HIER_MAX_KEY];
	MemoryContext row_cxt;
	MemoryContext oldcxt;
	TupleTableSlot *slot;
	TableScanDesc scan;

	if (!dbp_hier_storage_columns(comparison->state, storage, &columns))
		ereport(ERROR,
				(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
				 errmsg("%s has not the columns of a closure table of %s",
						dbp_relation_name(storage),
						dbp_relation_name_by_oid(comparison->state->head.rootid)),
				 errhint("Call dbpatterns.closure_disable with drop_closure, then dbpatterns.closure_enable.")));
	row_cxt = AllocSetContextCreate(CurrentMemoryContext, "dbpatterns pair",
									ALLOCSET_SMALL_SIZES);
	slot = table_slot_create(storage, NULL);
	scan = table_beginscan(storage, snapshot, 0, NULL);
	oldcxt = MemoryContextSwitchTo(row_cxt);
	while (table_scan_getnextslot(scan, ForwardScanDirection, slot))
	{
		CHECK_FOR_INTERRUPTS();
		slot_getsomeattrs(slot, columns.depth);
		for (int i = 0; i < type->n; i++)
		{
			ancestor[i] = slot->tts_values[columns.ancestor[i] - 1];
			descendant[i] = slot->tts_values[columns.descendant[i] - 1];
		}
		compare_pair(comparison, ancestor, descendant,
					 DatumGetInt32(slot->tts_values[columns.depth - 1]), &slot->tts_tid);
		MemoryContextReset(row_cxt);
	}
	MemoryContextSwitchTo(oldcxt);
	table_endscan(scan);
	ExecDropSingleTupleTableSlot(slot);
	MemoryContextDelete(row_cxt);
}

static void
report_missing(Comparison *comparison)
{
	Places	   *places = &comparison->places;
	MemoryContext row_cxt = AllocSetContextCreate(CurrentMemoryContext, "dbpatterns pair",
												  ALLOCSET_SMALL_SIZES);
	MemoryContext oldcxt = MemoryContextSwitchTo(row_cxt);

	for (uint32 i = 0; i < places->n; i++)
	{
		HierNode   *above = places->nodes[i];
		Size		bit = places->bits[i];

		CHECK_FOR_INTERRUPTS();
		for (int depth = 0; above != NULL; above = above->parent, depth++, bit++)
		{
			if (places->seen[bit / 8] & (1 << bit % 8))
				continue;
			report(comparison, HIER_MISSING, above->head.key, places->nodes[i]->head.key,
				   depth, -1, NULL);
			MemoryContextReset(row_cxt);
		}
	}
	MemoryContextSwitchTo(oldcxt);
	MemoryContextDelete(row_cxt);
}

/*
 * dbp_forest_compare reports each difference between a forest and the closure
 * table as a snapshot shows it, nodes on or below a cycle aside.  Reports come
 * in a memory context that is reset after each.  Takes ACCESS SHARE on the
 * closure table.
 */
void
dbp_forest_compare(HierState *state, HierForest *forest, Oid storageid, Snapshot snapshot,
				   HierReport callback, void *arg)
{
	MemoryContext cxt = AllocSetContextCreate(CurrentMemoryContext, "dbpatterns comparison",
											  ALLOCSET_DEFAULT_SIZES);
	MemoryContext oldcxt = MemoryContextSwitchTo(cxt);
	Relation	storage = table_open(storageid, AccessShareLock);
	Comparison	comparison = {state, forest, {0}, callback, arg};

	find_places(forest, &comparison.places);
	compare_stored(&comparison, storage, snapshot);
	report_missing(&comparison);
	table_close(storage, NoLock);
	MemoryContextSwitchTo(oldcxt);
	MemoryContextDelete(cxt);
}

/* ---- trees --------------------------------------------------------------- */

static void *
load(HierState *state, Snapshot snapshot, MemoryContext cxt)
{
	return dbp_forest_load_snapshot(state, snapshot, cxt);
}

static void
find_facts(HierState *state, void *forest, HierWholeFacts *facts)
{
	facts->cycles = dbp_forest_cycles(state, forest);
	facts->norphans = ((HierForest *) forest)->norphans;
	facts->max_depth = ((HierForest *) forest)->max_depth;
}

static void
require(HierState *state, void *forest)
{
	dbp_forest_require(state, forest);
}

static void
compare(HierState *state, void *forest, Oid storageid, Snapshot snapshot,
		HierReport callback, void *arg)
{
	dbp_forest_compare(state, forest, storageid, snapshot, callback, arg);
}

static void
write_pairs(HierState *state, void *forest, Oid storageid)
{
	dbp_forest_write(state, forest, storageid);
}

static void
follow(HierState *state, void *old, void *new)
{
	dbp_forest_follow(state, old, new);
}

static const HierWhole trees = {load, find_facts, require, compare, write_pairs, follow};

/*
 * dbp_hier_compare_init prepares this backend.
 */
void
dbp_hier_compare_init(void)
{
	dbp_hier_set_whole(HIER_TREE, &trees);
}
