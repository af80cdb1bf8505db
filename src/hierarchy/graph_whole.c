/*-------------------------------------------------------------------------
 *
 * graph_whole.c
 *	  A whole graph: its pairs, from all edges of the table.
 *
 * Pairs are made by a walk from each node, nearest first, and come in the order
 * of the primary key, as nodes are numbered in the order of their keys.  Only
 * the pairs of one ancestor are in memory.  To compare them, the pairs of the
 * closure table are sorted by the same numbers (within maintenance_work_mem)
 * and both are merged.
 *
 * Copyright (c) 2026, dbpatterns contributors
 *
 * src/hierarchy/graph_whole.c
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "access/table.h"
#include "access/tableam.h"
#include "catalog/pg_operator_d.h"
#include "catalog/pg_type.h"
#include "core/bulk.h"
#include "core/names.h"
#include "executor/tuptable.h"
#include "hierarchy/graph.h"
#include "lib/stringinfo.h"
#include "miscadmin.h"
#include "utils/builtins.h"
#include "utils/memutils.h"
#include "utils/tuplesort.h"

/* Components, and nodes of one, that a message shows. */
#define COMPONENTS_SHOWN	20
#define NODES_SHOWN			50

typedef struct Whole
{
	Graph	   *graph;
	GraphComponents *components;
	GraphNode **nodes;			/* in the order of their keys */
} Whole;

static void *
load(HierState *state, Snapshot snapshot, MemoryContext cxt)
{
	Whole	   *whole = MemoryContextAllocZero(cxt, sizeof(Whole));
	Graph	   *graph = dbp_graph_create(state, cxt);
	Size		size;

	whole->graph = graph;
	dbp_graph_load(graph, snapshot);
	whole->components = dbp_graph_components(graph);
	size = sizeof(GraphNode *) * Max(graph->nnodes, 1);
	whole->nodes = MemoryContextAllocHuge(cxt, size);
	memcpy(whole->nodes, graph->nodes, sizeof(GraphNode *) * graph->nnodes);
	dbp_graph_sort_nodes(graph, whole->nodes, graph->nnodes);
	for (uint32 i = 0; i < graph->nnodes; i++)
		whole->nodes[i]->rank = i;
	return whole;
}

/* ---- what cannot be ------------------------------------------------------------- */

/*
 * print_component prints the nodes of a component that come from a place on.
 */
static void
print_component(Whole *whole, StringInfo text, uint32 from)
{
	int		   *of_node = whole->components->of_node;
	int			component = of_node[whole->nodes[from]->id];
	int			shown = 0;

	for (uint32 i = from; i < whole->graph->nnodes; i++)
	{
		GraphNode  *node = whole->nodes[i];

		if (of_node[node->id] != component)
			continue;
		if (shown == NODES_SHOWN)
		{
			appendStringInfoString(text, ", ...");
			break;
		}
		appendStringInfo(text, "%s%s", shown++ > 0 ? ", " : "{",
						 dbp_key_text(whole->graph->type, node->head.key));
	}
	appendStringInfoChar(text, '}');
}

/*
 * print_cycles names the sets of nodes that reach one another: "{1, 2}; {5}".
 */
static char *
print_cycles(Whole *whole)
{
	bool	   *seen = palloc0(whole->components->n + 1);
	StringInfoData text;
	int			shown = 0;

	if (whole->components->n == 0)
		return NULL;
	initStringInfo(&text);
	for (uint32 i = 0; i < whole->graph->nnodes && shown < COMPONENTS_SHOWN; i++)
	{
		int			component = whole->components->of_node[whole->nodes[i]->id];

		if (component == 0 || seen[component])
			continue;
		seen[component] = true;
		appendStringInfoString(&text, shown++ > 0 ? "; " : "");
		print_component(whole, &text, i);
	}
	if (shown < whole->components->n)
		appendStringInfo(&text, "; and %d more", whole->components->n - shown);
	return text.data;
}

/*
 * greatest_depth returns the greatest depth of a pair, and its ends; 0 if no
 * path at all is longer than "most".
 */
static int
greatest_depth(Whole *whole, int most, GraphNode **ancestor, GraphNode **descendant)
{
	Graph	   *graph = whole->graph;
	int			greatest = 0;

	for (uint32 i = 0; i < graph->nnodes && whole->components->longest > most; i++)
	{
		GraphNode  *unused;
		uint32		n = dbp_graph_walk(graph, whole->nodes[i], &unused);

		if (graph->queue[n - 1]->depth <= greatest)
			continue;
		*ancestor = whole->nodes[i];
		*descendant = graph->queue[n - 1];
		greatest = graph->queue[n - 1]->depth;
	}
	return greatest;
}

static void
find_facts(HierState *state, void *graph, HierWholeFacts *facts)
{
	Whole	   *whole = graph;
	GraphNode  *ancestor;
	GraphNode  *descendant;

	facts->cycles = print_cycles(whole);
	if (state->spec.max_depth > 0)
		facts->max_depth = greatest_depth(whole, state->spec.max_depth, &ancestor, &descendant);
}

static void
require(HierState *state, void *graph)
{
	Whole	   *whole = graph;
	int			max_depth = state->spec.max_depth;
	GraphNode  *ancestor;
	GraphNode  *descendant;
	int			depth;

	if (whole->components->n > 0)
		ereport(ERROR,
				(errcode(ERRCODE_CHECK_VIOLATION),
				 errmsg("edges of %s form cycles", dbp_relation_name_by_oid(state->head.rootid)),
				 errdetail("These nodes reach one another: %s.", print_cycles(whole)),
				 errhint("dbpatterns.closure_graph_cycles lists the edges; without those that have closes = true there is no cycle."),
				 err_generic_string(PG_DIAG_CONSTRAINT_NAME, state->spec.storage)));
	if (max_depth == 0)
		return;
	depth = greatest_depth(whole, max_depth, &ancestor, &descendant);
	if (depth > max_depth)
		dbp_graph_refuse_depth(state, ancestor, descendant, depth);
}

/* ---- rows ------------------------------------------------------------------------- */

static int
compare_ranks(const void *a, const void *b)
{
	uint32		x = (*(GraphNode *const *) a)->rank;
	uint32		y = (*(GraphNode *const *) b)->rank;

	return x < y ? -1 : x > y;
}

/*
 * make_row leaves all that a node reaches in graph->queue, in the order of the
 * keys, and returns their number.
 */
static uint32
make_row(Whole *whole, GraphNode *ancestor)
{
	Graph	   *graph = whole->graph;
	GraphNode  *unused;
	uint32		n = dbp_graph_walk(graph, ancestor, &unused);

	qsort(graph->queue, n, sizeof(GraphNode *), compare_ranks);
	CHECK_FOR_INTERRUPTS();
	return n;
}

static void
write_pairs(HierState *state, void *graph, Oid storageid)
{
	Whole	   *whole = graph;
	Relation	rel = table_open(storageid, RowExclusiveLock);
	DbpBulk    *bulk = dbp_bulk_begin(rel);
	int			width = state->type.n;

	for (uint32 i = 0; i < whole->graph->nnodes; i++)
	{
		GraphNode  *ancestor = whole->nodes[i];
		uint32		n = make_row(whole, ancestor);

		for (uint32 k = 0; k < n; k++)
		{
			GraphNode  *descendant = whole->graph->queue[k];
			TupleTableSlot *slot = dbp_bulk_row(bulk);
			int			column = 0;

			for (int j = 0; j < width; j++)
				slot->tts_values[column++] = ancestor->head.key[j];
			for (int j = state->spec.nscope; j < width; j++)
				slot->tts_values[column++] = descendant->head.key[j];
			slot->tts_values[column++] = Int32GetDatum(descendant->depth);
			memset(slot->tts_isnull, false, column);
			for (; column < slot->tts_tupleDescriptor->natts; column++)
				slot->tts_isnull[column] = true;
		}
	}
	dbp_bulk_end(bulk);
	table_close(rel, NoLock);
}

/* ---- comparing -------------------------------------------------------------------- */

typedef struct Comparison
{
	Whole	   *whole;
	HierReport	callback;
	void	   *arg;
	MemoryContext report_cxt;
	Tuplesortstate *sort;
	TupleTableSlot *slot;		/* of what is sorted: place, depth, tid */

	/* the next stored pair */
	bool		any;
	uint64		place;			/* ranks of both ends */
	int			depth;
	ItemPointerData tid;
} Comparison;

static void
report(Comparison *comparison, HierProblem problem, const Datum *ancestor,
	   const Datum *descendant, int expected, int found, ItemPointer tid)
{
	HierDifference difference = {problem, ancestor, descendant, expected, found};
	MemoryContext oldcxt = MemoryContextSwitchTo(comparison->report_cxt);

	if (tid != NULL)
		difference.tid = *tid;
	comparison->callback(&difference, comparison->arg);
	MemoryContextSwitchTo(oldcxt);
	MemoryContextReset(comparison->report_cxt);
}

/*
 * sort_pair takes a stored pair along, unless it has a node that is none.
 */
static void
sort_pair(Comparison *comparison, const Datum *ancestor, const Datum *descendant, int depth,
		  ItemPointer tid)
{
	HierMap    *map = comparison->whole->graph->map;
	GraphNode  *above = dbp_map_find(map, ancestor);
	GraphNode  *below = dbp_map_find(map, descendant);
	TupleTableSlot *slot = comparison->slot;

	if (above == NULL || below == NULL)
	{
		report(comparison, HIER_EXTRA, ancestor, descendant, -1, depth, tid);
		return;
	}
	ExecClearTuple(slot);
	slot->tts_values[0] = Int64GetDatum(((int64) above->rank << 32) | below->rank);
	slot->tts_values[1] = Int32GetDatum(depth);
	slot->tts_values[2] = PointerGetDatum(tid);
	memset(slot->tts_isnull, false, sizeof(bool) * 3);
	ExecStoreVirtualTuple(slot);
	tuplesort_puttupleslot(comparison->sort, slot);
}

static void
sort_stored(Comparison *comparison, HierState *state, Relation storage, Snapshot snapshot)
{
	HierStorage columns;
	Datum		ancestor[HIER_MAX_KEY];
	Datum		descendant[HIER_MAX_KEY];
	MemoryContext row_cxt = AllocSetContextCreate(CurrentMemoryContext, "dbpatterns pair",
												  ALLOCSET_SMALL_SIZES);
	TupleTableSlot *slot = table_slot_create(storage, NULL);
	TableScanDesc scan = table_beginscan(storage, snapshot, 0, NULL);
	MemoryContext oldcxt;

	if (!dbp_hier_storage_columns(state, storage, &columns))
		ereport(ERROR,
				(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
				 errmsg("%s has not the columns of a closure table of %s",
						dbp_relation_name(storage),
						dbp_relation_name_by_oid(state->head.rootid)),
				 errhint("Call dbpatterns.closure_disable with drop_closure, then dbpatterns.closure_enable_graph.")));
	while (table_scan_getnextslot(scan, ForwardScanDirection, slot))
	{
		CHECK_FOR_INTERRUPTS();
		slot_getsomeattrs(slot, columns.depth);
		for (int i = 0; i < state->type.n; i++)
		{
			ancestor[i] = slot->tts_values[columns.ancestor[i] - 1];
			descendant[i] = slot->tts_values[columns.descendant[i] - 1];
		}
		oldcxt = MemoryContextSwitchTo(row_cxt);
		sort_pair(comparison, ancestor, descendant,
				  DatumGetInt32(slot->tts_values[columns.depth - 1]), &slot->tts_tid);
		MemoryContextSwitchTo(oldcxt);
		MemoryContextReset(row_cxt);
	}
	table_endscan(scan);
	ExecDropSingleTupleTableSlot(slot);
	MemoryContextDelete(row_cxt);
	tuplesort_performsort(comparison->sort);
}

static void
next_stored(Comparison *comparison, TupleTableSlot *sorted)
{
	bool		isnull;

	comparison->any = tuplesort_gettupleslot(comparison->sort, true, false, sorted, NULL);
	if (!comparison->any)
		return;
	comparison->place = (uint64) DatumGetInt64(slot_getattr(sorted, 1, &isnull));
	comparison->depth = DatumGetInt32(slot_getattr(sorted, 2, &isnull));
	comparison->tid = *(ItemPointer) DatumGetPointer(slot_getattr(sorted, 3, &isnull));
}

/*
 * merge_row merges the pairs of an ancestor with what is stored up to the last
 * of them.
 */
static void
merge_row(Comparison *comparison, GraphNode *ancestor, TupleTableSlot *sorted)
{
	Whole	   *whole = comparison->whole;
	uint32		n = make_row(whole, ancestor);
	bool		cyclic = false;

	/* What is right above a cycle, nobody can tell. */
	for (uint32 i = 0; i < n && whole->components->n > 0; i++)
		cyclic |= whole->components->of_node[whole->graph->queue[i]->id] != 0;
	if (cyclic)
	{
		while (comparison->any && comparison->place >> 32 == ancestor->rank)
			next_stored(comparison, sorted);
		return;
	}
	for (uint32 i = 0; i <= n; i++)
	{
		GraphNode  *node = i < n ? whole->graph->queue[i] : NULL;
		uint64		place = node != NULL ? ((uint64) ancestor->rank << 32) | node->rank :
			(uint64) (ancestor->rank + 1) << 32;

		for (; comparison->any && comparison->place < place; next_stored(comparison, sorted))
			report(comparison, HIER_EXTRA, ancestor->head.key,
				   whole->nodes[(uint32) comparison->place]->head.key, -1, comparison->depth,
				   &comparison->tid);
		if (node == NULL)
			break;
		if (!comparison->any || comparison->place > place)
		{
			report(comparison, HIER_MISSING, ancestor->head.key, node->head.key, node->depth,
				   -1, NULL);
			continue;
		}
		if (comparison->depth != node->depth)
			report(comparison, HIER_DEPTH, ancestor->head.key, node->head.key, node->depth,
				   comparison->depth, &comparison->tid);
		next_stored(comparison, sorted);
	}
}

static void
compare(HierState *state, void *graph, Oid storageid, Snapshot snapshot,
		HierReport callback, void *arg)
{
	MemoryContext cxt = AllocSetContextCreate(CurrentMemoryContext, "dbpatterns comparison",
											  ALLOCSET_DEFAULT_SIZES);
	MemoryContext oldcxt = MemoryContextSwitchTo(cxt);
	Relation	storage = table_open(storageid, AccessShareLock);
	Comparison	comparison = {graph, callback, arg};
	TupleDesc	desc = CreateTemplateTupleDesc(3);
	AttrNumber	column = 1;
	Oid			operator = Int8LessOperator;
	Oid			collation = InvalidOid;
	bool		nulls_first = false;
	TupleTableSlot *sorted;

	TupleDescInitEntry(desc, 1, "place", INT8OID, -1, 0);
	TupleDescInitEntry(desc, 2, "depth", INT4OID, -1, 0);
	TupleDescInitEntry(desc, 3, "tid", TIDOID, -1, 0);
	comparison.report_cxt = AllocSetContextCreate(cxt, "dbpatterns difference",
												  ALLOCSET_SMALL_SIZES);
	comparison.slot = MakeSingleTupleTableSlot(desc, &TTSOpsVirtual);
	sorted = MakeSingleTupleTableSlot(desc, &TTSOpsMinimalTuple);
	comparison.sort = tuplesort_begin_heap(desc, 1, &column, &operator, &collation,
										   &nulls_first, maintenance_work_mem, NULL,
										   TUPLESORT_NONE);
	sort_stored(&comparison, state, storage, snapshot);
	next_stored(&comparison, sorted);
	for (uint32 i = 0; i < comparison.whole->graph->nnodes; i++)
		merge_row(&comparison, comparison.whole->nodes[i], sorted);
	tuplesort_end(comparison.sort);
	ExecDropSingleTupleTableSlot(sorted);
	ExecDropSingleTupleTableSlot(comparison.slot);
	table_close(storage, NoLock);
	MemoryContextSwitchTo(oldcxt);
	MemoryContextDelete(cxt);
}

static const HierWhole graphs = {
	.load = load,
	.find = find_facts,
	.require = require,
	.compare = compare,
	.write = write_pairs
};

/*
 * dbp_graph_whole_init prepares this backend.
 */
void
dbp_graph_whole_init(void)
{
	dbp_hier_set_whole(HIER_GRAPH, &graphs);
}
