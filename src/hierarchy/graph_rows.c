/*-------------------------------------------------------------------------
 *
 * graph_rows.c
 *	  What changes in a graph, by walking anew from every node above.
 *
 * A pair can only change if its ancestor reached the parent of a changed edge
 * before, over edges that are still there or not: a path that is new or gone
 * has a first changed edge, and leads to its parent over unchanged ones.  Each
 * such ancestor walks the graph as it is now, nearest nodes first, which gives
 * shortest depths, and what it finds is compared with what is stored.  Memory:
 * the edges that are walked and one ancestor's pairs.
 *
 * That there is no cycle is seen first, in one walk over all that is reached:
 * it would contain an added edge, and with it one of the ancestors.
 *
 * Copyright (c) 2026, dbpatterns contributors
 *
 * src/hierarchy/graph_rows.c
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "hierarchy/graph.h"
#include "miscadmin.h"
#include "utils/memutils.h"

/* Ancestors whose pairs may change. */
typedef struct Sources
{
	GraphNode **nodes;
	uint32		n;
	uint32		allocated;
} Sources;

static void
add_source(GraphFlush *flush, Sources *sources, GraphNode *node)
{
	if (node->is_source)
		return;
	node->is_source = true;
	if (sources->n == sources->allocated)
	{
		sources->allocated *= 2;
		sources->nodes = repalloc_huge(sources->nodes, sizeof(GraphNode *) * sources->allocated);
	}
	sources->nodes[sources->n++] = node;
}

static void
add_above(GraphFlush *flush, Sources *sources, const GraphEdge *edges, int n)
{
	for (int i = 0; i < n; i++)
	{
		MemoryContext oldcxt;
		HierPairList list;

		/* Once for each parent: it is visited with its first edge. */
		if (edges[i].parent->visited)
			continue;
		edges[i].parent->visited = true;
		add_source(flush, sources, edges[i].parent);
		oldcxt = MemoryContextSwitchTo(flush->scratch);
		dbp_pairs_ancestors(flush->pairs, edges[i].parent->head.key, &list);
		for (int k = 0; k < list.n; k++)
			add_source(flush, sources, dbp_graph_node(flush->graph, list.pairs[k].key));
		MemoryContextSwitchTo(oldcxt);
		MemoryContextReset(flush->scratch);
		CHECK_FOR_INTERRUPTS();
	}
}

/*
 * find_cycle returns a node that lies on a cycle, or NULL.  It visits all that
 * the sources reach, with its path in an array.
 */
static GraphNode *
find_cycle(GraphFlush *flush, Sources *sources)
{
	uint32		allocated = 256;
	GraphNode **path = MemoryContextAlloc(flush->graph->cxt, sizeof(GraphNode *) * allocated);

	for (uint32 i = 0; i < sources->n; i++)
	{
		uint32		npath = 0;
		GraphNode  *next = sources->nodes[i];

		while (next != NULL || npath > 0)
		{
			GraphNode  *node;

			if (next != NULL && next->state == NODE_ON_PATH)
				return next;
			if (next != NULL && next->state == NODE_NEW)
			{
				dbp_graph_children(flush, next);
				next->state = NODE_ON_PATH;
				next->next_child = 0;
				if (npath == allocated)
				{
					allocated *= 2;
					path = repalloc_huge(path, sizeof(GraphNode *) * allocated);
				}
				path[npath++] = next;
				CHECK_FOR_INTERRUPTS();
			}
			next = NULL;
			if (npath == 0)
				break;
			node = path[npath - 1];
			if (node->next_child < node->nout)
				next = node->out[node->next_child++];
			else
			{
				node->state = NODE_DONE;
				npath--;
			}
		}
	}
	pfree(path);
	return NULL;
}

typedef struct Row
{
	GraphFlush *flush;
	GraphNode  *source;
} Row;

/*
 * compare_pair compares a stored pair with what the last walk has found.
 */
static void
compare_pair(HierPairs *pairs, const HierPair *pair, void *arg)
{
	Row		   *row = arg;
	Graph	   *graph = row->flush->graph;
	GraphNode  *node = dbp_graph_node(graph, pair->key);

	if (node == row->source)
		return;					/* goes by whether it occurs at all */
	if (node->walk != graph->walks)
		dbp_graph_put(row->flush, row->source, node, pair, -1);
	else
	{
		node->matched = graph->walks;
		if (node->depth != pair->depth)
			dbp_graph_put(row->flush, row->source, node, pair, node->depth);
	}
}

/*
 * compare_row brings the pairs of one ancestor in line.
 */
static void
compare_row(GraphFlush *flush, GraphNode *source)
{
	Graph	   *graph = flush->graph;
	GraphNode  *unused;
	uint32		n = dbp_graph_walk(graph, source, &unused);
	Row			row = {flush, source};

	source->matched = graph->walks;
	dbp_pairs_descendants(flush->pairs, source->head.key, compare_pair, &row);
	for (uint32 i = 0; i < n; i++)
	{
		if (graph->queue[i]->matched != graph->walks)
			dbp_graph_put(flush, source, graph->queue[i], NULL, graph->queue[i]->depth);
	}
}

/*
 * dbp_graph_apply_rows writes what the changed edges change.
 */
GraphResult
dbp_graph_apply_rows(GraphFlush *flush)
{
	Graph	   *graph = flush->graph;
	Sources		sources = {NULL, 0, 256};
	GraphNode  *cyclic;

	sources.nodes = MemoryContextAlloc(graph->cxt, sizeof(GraphNode *) * sources.allocated);
	add_above(flush, &sources, flush->removed, flush->nremoved);
	add_above(flush, &sources, flush->added, flush->nadded);

	cyclic = find_cycle(flush, &sources);
	if (cyclic != NULL)
		return dbp_graph_refuse_cycle(flush, cyclic);

	/* In the order of the index that is read and written. */
	dbp_graph_sort_nodes(graph, sources.nodes, sources.n);
	for (uint32 i = 0; i < sources.n; i++)
	{
		MemoryContext oldcxt = MemoryContextSwitchTo(flush->scratch);

		compare_row(flush, sources.nodes[i]);
		MemoryContextSwitchTo(oldcxt);
		MemoryContextReset(flush->scratch);
		CHECK_FOR_INTERRUPTS();
	}
	return GRAPH_DONE;
}
