/*-------------------------------------------------------------------------
 *
 * graph_edges.c
 *	  The edges of a graph, as its table has them now.
 *
 * Maintenance reads all edges of a table at once; a flush knows those that it
 * needs from the closure (graph.c).  Both walk them here.  Rows with NULL in
 * parent or child are no edges, and rows with the same parent and child are
 * one.  A node takes some 150 bytes and its key, an edge 8 (24 while the table
 * is read).
 *
 * Copyright (c) 2026, dbpatterns contributors
 *
 * src/hierarchy/graph_edges.c
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "access/genam.h"
#include "access/table.h"
#include "core/names.h"
#include "hierarchy/graph.h"
#include "lib/stringinfo.h"
#include "miscadmin.h"
#include "utils/builtins.h"
#include "utils/lsyscache.h"
#include "utils/memutils.h"
#include "utils/relcache.h"
#include "utils/snapmgr.h"

/* So many rows are fetched at once. */
#define SCAN_ROWS		1000

/*
 * dbp_graph_is_indexed tells whether an index of rel begins with some columns.
 */
bool
dbp_graph_is_indexed(Relation rel, List *columns)
{
	bool		found = false;
	List	   *indexes = RelationGetIndexList(rel);
	ListCell   *lc;

	foreach(lc, indexes)
	{
		Relation	index = index_open(lfirst_oid(lc), AccessShareLock);
		int			n = list_length(columns);
		int			there = 0;

		for (int i = 0; i < n && i < IndexRelationGetNumberOfKeyAttributes(index); i++)
		{
			AttrNumber	attnum = index->rd_index->indkey.values[i];

			there += attnum > 0 &&
				dbp_list_has_name(columns, get_attname(RelationGetRelid(rel), attnum, false));
		}
		found |= there == n && index->rd_index->indisvalid &&
			heap_attisnull(index->rd_indextuple, Anum_pg_index_indpred, NULL);
		index_close(index, AccessShareLock);
	}
	list_free(indexes);
	return found;
}

/*
 * dbp_graph_create_for makes an empty graph of the edges in a table.
 */
Graph *
dbp_graph_create_for(Oid relid, List *parent, List *child, HierKeyType *type,
					 MemoryContext cxt)
{
	Graph	   *graph = MemoryContextAllocZero(cxt, sizeof(Graph));

	graph->relid = relid;
	graph->parent = parent;
	graph->child = child;
	graph->type = type;
	graph->cxt = cxt;
	graph->map = dbp_map_create(type, sizeof(GraphNode), cxt);
	graph->allocated = 64;
	graph->nodes = MemoryContextAlloc(cxt, sizeof(GraphNode *) * graph->allocated);
	return graph;
}

/*
 * dbp_graph_create makes an empty graph of a hierarchy.
 */
Graph *
dbp_graph_create(HierState *state, MemoryContext cxt)
{
	Graph	   *graph = dbp_graph_create_for(state->head.rootid, state->spec.parent,
											 state->spec.key, &state->type, cxt);

	graph->state = state;
	return graph;
}

/*
 * dbp_graph_node returns the node of a key.
 */
GraphNode *
dbp_graph_node(Graph *graph, const Datum *key)
{
	bool		found;
	GraphNode  *node = dbp_map_enter(graph->map, key, &found);

	if (found)
		return node;
	if (graph->nnodes == graph->allocated)
	{
		graph->allocated *= 2;
		graph->nodes = repalloc_huge(graph->nodes, sizeof(GraphNode *) * graph->allocated);
	}
	node->id = graph->nnodes;
	graph->nodes[graph->nnodes++] = node;
	return node;
}

/* ---- reading all edges ------------------------------------------------------ */

static void
append_names(StringInfo sql, List *columns)
{
	ListCell   *lc;

	foreach(lc, columns)
		appendStringInfo(sql, ", %s", quote_identifier(lfirst(lc)));
}

/*
 * scan_batch hands the rows of a fetch on, without those that are no edges.
 */
static void
scan_batch(Graph *graph, GraphRow row, void *arg)
{
	int			n = 2 * list_length(graph->parent);

	for (uint64 i = 0; i < SPI_processed; i++)
	{
		HeapTuple	tuple = SPI_tuptable->vals[i];
		Datum		edge[2 * HIER_MAX_KEY];
		bool		isnull;
		bool		is_edge = true;
		Oid			tableoid = DatumGetObjectId(SPI_getbinval(tuple, SPI_tuptable->tupdesc,
															  1, &isnull));
		ItemPointerData tid;

		ItemPointerCopy((ItemPointer) DatumGetPointer(SPI_getbinval(tuple, SPI_tuptable->tupdesc,
																	2, &isnull)), &tid);
		for (int k = 0; k < n; k++)
		{
			edge[k] = SPI_getbinval(tuple, SPI_tuptable->tupdesc, k + 3, &isnull);
			is_edge &= !isnull;
		}
		if (is_edge)
			row(graph, edge, tableoid, &tid, arg);
	}
}

/*
 * dbp_graph_scan calls row for each edge of the table that a snapshot shows and
 * the current user may see.  edge is the key of the parent, then the child's.
 * What row allocates in CurrentMemoryContext is gone afterwards.
 */
void
dbp_graph_scan(Graph *graph, Snapshot snapshot, GraphRow row, void *arg)
{
	StringInfoData sql;
	Portal		portal;
	SPIPlanPtr	plan;
	MemoryContext batch;
	MemoryContext oldcxt;

	SPI_connect();
	batch = AllocSetContextCreate(CurrentMemoryContext, "dbpatterns edges",
								  ALLOCSET_DEFAULT_SIZES);
	initStringInfo(&sql);
	appendStringInfoString(&sql, "SELECT tableoid, ctid");
	append_names(&sql, graph->parent);
	append_names(&sql, graph->child);
	appendStringInfo(&sql, " FROM %s", dbp_relation_name_by_oid(graph->relid));
	plan = dbp_sql_prepare(sql.data, 0, NULL, CURSOR_OPT_NO_SCROLL);

	/* A read-only cursor takes the active snapshot. */
	PushActiveSnapshot(snapshot);
	portal = SPI_cursor_open(NULL, plan, NULL, NULL, true);
	for (;;)
	{
		SPI_cursor_fetch(portal, true, SCAN_ROWS);
		if (SPI_processed == 0)
			break;
		oldcxt = MemoryContextSwitchTo(batch);
		scan_batch(graph, row, arg);
		MemoryContextSwitchTo(oldcxt);
		MemoryContextReset(batch);
		SPI_freetuptable(SPI_tuptable);
		CHECK_FOR_INTERRUPTS();
	}
	SPI_cursor_close(portal);
	PopActiveSnapshot();
	SPI_finish();
}

/* All edges, while they are being read. */
typedef struct EdgeList
{
	GraphEdge  *edges;
	Size		n;
	Size		allocated;
} EdgeList;

static void
collect_edge(Graph *graph, const Datum *edge, Oid tableoid, ItemPointer tid, void *arg)
{
	EdgeList   *list = arg;

	if (list->n == list->allocated)
	{
		list->allocated *= 2;
		list->edges = repalloc_huge(list->edges, sizeof(GraphEdge) * list->allocated);
	}
	list->edges[list->n].parent = dbp_graph_node(graph, edge);
	list->edges[list->n].child = dbp_graph_node(graph, edge + list_length(graph->parent));
	list->n++;
}

static int
compare_ids(const void *a, const void *b)
{
	uint32		x = (*(GraphNode *const *) a)->id;
	uint32		y = (*(GraphNode *const *) b)->id;

	return x < y ? -1 : x > y;
}

/*
 * sort_children puts the children of a node in order, each once.
 */
static void
sort_children(GraphNode *node)
{
	uint32		n = 0;

	if (node->nout < 2)
		return;
	qsort(node->out, node->nout, sizeof(GraphNode *), compare_ids);
	for (uint32 i = 0; i < node->nout; i++)
	{
		if (i == 0 || node->out[i] != node->out[i - 1])
			node->out[n++] = node->out[i];
	}
	node->nout = n;
}

/*
 * dbp_graph_load reads all edges of the table that a snapshot shows.
 */
void
dbp_graph_load(Graph *graph, Snapshot snapshot)
{
	EdgeList	list = {NULL, 0, 1024};
	GraphNode **next;

	list.edges = MemoryContextAlloc(graph->cxt, sizeof(GraphEdge) * list.allocated);
	dbp_graph_scan(graph, snapshot, collect_edge, &list);

	/* Children go to one array, by parent. */
	graph->targets = MemoryContextAllocHuge(graph->cxt, sizeof(GraphNode *) * Max(list.n, 1));
	for (Size i = 0; i < list.n; i++)
		list.edges[i].parent->nout++;
	next = graph->targets;
	for (uint32 i = 0; i < graph->nnodes; i++)
	{
		GraphNode  *node = graph->nodes[i];

		node->out = next;
		node->out_known = true;
		next += node->nout;
		node->nout = 0;
	}
	for (Size i = 0; i < list.n; i++)
		list.edges[i].parent->out[list.edges[i].parent->nout++] = list.edges[i].child;
	pfree(list.edges);
	for (uint32 i = 0; i < graph->nnodes; i++)
		sort_children(graph->nodes[i]);
}

static int
compare_keys(const void *a, const void *b, void *type)
{
	return dbp_key_compare(type, (*(GraphNode *const *) a)->head.key,
						   (*(GraphNode *const *) b)->head.key);
}

/*
 * dbp_graph_sort_nodes puts nodes in the order of their keys, which is that of
 * the index of the pairs.
 */
void
dbp_graph_sort_nodes(Graph *graph, GraphNode **nodes, uint32 n)
{
	qsort_arg(nodes, n, sizeof(GraphNode *), compare_keys, graph->type);
}

/*
 * dbp_graph_find_child returns the place of a child among those of a node, or
 * their number.
 */
uint32
dbp_graph_find_child(const GraphNode *node, const GraphNode *child)
{
	uint32		low = 0;
	uint32		high = node->nout;

	while (low < high)
	{
		uint32		middle = (low + high) / 2;

		if (node->out[middle]->id < child->id)
			low = middle + 1;
		else
			high = middle;
	}
	return low < node->nout && node->out[low] == child ? low : node->nout;
}

/* ---- walking -------------------------------------------------------------------- */

static void
enqueue(Graph *graph, uint32 at, GraphNode *node)
{
	if (at == graph->queue_size)
	{
		graph->queue_size = Max(256, graph->queue_size * 2);
		graph->queue = graph->queue == NULL ?
			MemoryContextAlloc(graph->cxt, sizeof(GraphNode *) * graph->queue_size) :
			repalloc_huge(graph->queue, sizeof(GraphNode *) * graph->queue_size);
	}
	graph->queue[at] = node;
}

/*
 * dbp_graph_walk visits all that a node reaches, nearest first, and returns
 * their number, itself included; they are in graph->queue, and marked with
 * graph->walks.  closing becomes a node with an edge back to the first one, the
 * nearest, or NULL.
 */
uint32
dbp_graph_walk(Graph *graph, GraphNode *from, GraphNode **closing)
{
	uint32		n = 1;
	uint32		walk = ++graph->walks;

	*closing = NULL;
	from->walk = walk;
	from->depth = 0;
	from->via = NULL;
	enqueue(graph, 0, from);
	for (uint32 at = 0; at < n; at++)
	{
		GraphNode  *node = graph->queue[at];

		if (!node->out_known)
			dbp_graph_children(graph->flush, node);
		for (uint32 i = 0; i < node->nout; i++)
		{
			GraphNode  *child = node->out[i];

			if (child == from && *closing == NULL)
				*closing = node;
			if (child->walk == walk)
				continue;
			child->walk = walk;
			child->depth = node->depth + 1;
			child->via = node;
			enqueue(graph, n++, child);
		}
		if (at % 1024 == 0)
			CHECK_FOR_INTERRUPTS();
	}
	return n;
}
