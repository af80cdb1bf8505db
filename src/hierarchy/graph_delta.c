/*-------------------------------------------------------------------------
 *
 * graph_delta.c
 *	  What changes in a graph, pair by pair.
 *
 * The pairs that matter are kept in memory, each with its depth as stored and
 * as it is now; -1 says that there is no path.
 *
 * Removed edges, all at once: a pair (s, t) is affected if one of its shortest
 * paths used a removed edge (a, b), that is if
 *
 *		depth(s, t) = depth(s, a) + 1 + depth(b, t).
 *
 * Then the way from s to b, and that from a to t, is a shortest one as well, so
 * that it is enough to look at those s above a with depth(s, b) = depth(s, a)
 * + 1, and at those t below b with depth(a, t) = 1 + depth(b, t).  All other
 * pairs keep their depth.  Affected pairs get a new one from the children that
 * their ancestor still has, the lowest ancestors first:
 *
 *		depth(s, t) = 1 + least depth(c, t) of children c of s.
 *
 * Added edges, one after the other: (a, b) closes a cycle if b reaches a.
 * Otherwise it can only improve pairs (s, t) where it improves (s, b) and
 * (a, t), to depth(s, a) + 1 + depth(b, t).
 *
 * This is delete and rederive (A. Gupta, I. Mumick, V. Subrahmanian,
 * Maintaining views incrementally, SIGMOD 1993) with the depth deciding what is
 * deleted; the test for affected pairs is that of G. Ramalingam and T. Reps, An
 * incremental algorithm for a generalization of the shortest-path problem,
 * Journal of Algorithms 21 (1996).
 *
 * Copyright (c) 2026, dbpatterns contributors
 *
 * src/hierarchy/graph_delta.c
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "hierarchy/graph.h"
#include "miscadmin.h"
#include "utils/hsearch.h"
#include "utils/memutils.h"

/* With more pairs in memory (some 100 bytes each), rows are walked instead. */
#define MAX_PAIRS		500000

/* So it is when more than this many have been read. */
#define MAX_READ		2000000

/* Below this it does not matter which way is taken. */
#define SMALL_WORK		20000

/* Walking to a node and comparing its pair costs what so many steps here do. */
#define WALK_COST		4

static bool
is_too_much(GraphDelta *delta)
{
	CHECK_FOR_INTERRUPTS();
	return hash_get_num_entries(delta->pairs) > MAX_PAIRS ||
		delta->read + delta->row_pairs > MAX_READ;
}

/*
 * start_round says that pairs with the nodes below an edge are asked for next,
 * first those of its parent.
 */
static void
start_round(GraphDelta *delta, GraphNode *parent, const GraphReachList *below)
{
	delta->round++;
	for (int i = 0; i < below->n; i++)
		below->nodes[i].node->target = delta->round;
	dbp_graph_expect(delta, parent, below->n);
}

/* ---- removed edges ------------------------------------------------------------ */

static void
add_source(GraphDelta *delta, GraphNode *node)
{
	if (node->is_source)
		return;
	node->is_source = true;
	if (delta->nsources == delta->allocated)
	{
		delta->allocated = Max(64, delta->allocated * 2);
		delta->sources = delta->sources == NULL ?
			MemoryContextAlloc(delta->cxt, sizeof(GraphNode *) * delta->allocated) :
			repalloc_huge(delta->sources, sizeof(GraphNode *) * delta->allocated);
	}
	delta->sources[delta->nsources++] = node;
}

/*
 * mark_affected finds the pairs that have a shortest path through an edge.
 */
static bool
mark_affected(GraphDelta *delta, const GraphEdge *edge)
{
	GraphReachList above;
	GraphReachList below;
	int			n = 0;

	dbp_graph_reach(delta, edge->parent, true, &above);
	dbp_graph_reach(delta, edge->child, false, &below);
	start_round(delta, edge->parent, &below);
	for (int i = 0; i < below.n; i++)
	{
		GraphPair  *pair = dbp_graph_pair(delta, edge->parent, below.nodes[i].node);

		if (pair->old == below.nodes[i].depth + 1)
			below.nodes[n++] = below.nodes[i];
	}
	for (int i = 0; i < above.n; i++)
	{
		GraphNode  *source = above.nodes[i].node;
		int			to_child = above.nodes[i].depth + 1;

		if (dbp_graph_pair(delta, source, edge->child)->old != to_child)
			continue;
		dbp_graph_expect(delta, source, n);
		for (int k = 0; k < n; k++)
		{
			GraphPair  *pair = dbp_graph_pair(delta, source, below.nodes[k].node);

			if (pair->old != to_child + below.nodes[k].depth)
				continue;
			pair->affected = true;
			add_source(delta, source);
		}
		if (is_too_much(delta))
			return false;
	}
	return true;
}

/*
 * order_sources puts the ancestors of affected pairs in an order in which none
 * reaches a later one.  The walk keeps its path in an array.
 */
static void
order_sources(GraphDelta *delta)
{
	GraphNode **ordered = MemoryContextAlloc(delta->cxt, sizeof(GraphNode *) * delta->nsources);
	GraphNode **path = MemoryContextAlloc(delta->cxt, sizeof(GraphNode *) * delta->nsources);
	uint32	   *next = MemoryContextAlloc(delta->cxt, sizeof(uint32) * delta->nsources);
	int			n = 0;

	for (int i = 0; i < delta->nsources; i++)
	{
		int			npath = 0;

		if (delta->sources[i]->visited)
			continue;
		delta->sources[i]->visited = true;
		path[npath] = delta->sources[i];
		next[npath++] = 0;
		while (npath > 0)
		{
			GraphNode  *node = path[npath - 1];
			GraphNode  *child;

			if (next[npath - 1] == node->nkept)
			{
				ordered[n++] = node;
				npath--;
				continue;
			}
			child = node->out[next[npath - 1]++];
			if (!child->is_source || child->visited)
				continue;
			child->visited = true;
			path[npath] = child;
			next[npath++] = 0;
		}
	}
	Assert(n == delta->nsources);
	delta->sources = ordered;
}

/*
 * is_worthwhile compares the work of finding new depths for affected pairs with
 * that of walking anew from all nodes above.
 */
static bool
is_worthwhile(GraphDelta *delta)
{
	double		work = 0;

	for (int i = 0; i < delta->nsources; i++)
	{
		GraphNode  *source = delta->sources[i];
		double		naffected = 0;

		dbp_graph_children(delta->flush, source);
		if (is_too_much(delta))
			return false;
		for (GraphPair *pair = source->as_source; pair != NULL; pair = pair->next_as_source)
		{
			naffected += pair->affected;
			if (pair->affected)
				pair->descendant->target = delta->round;
		}
		work += naffected * (source->nkept + 1);
	}
	if (work <= SMALL_WORK)
		return true;
	if (delta->rows == 0)
		dbp_graph_read_row(delta, delta->sources[delta->nsources / 2]);
	return work <= (double) delta->nsources * delta->row_pairs / delta->rows * WALK_COST;
}

static void
rederive(GraphDelta *delta, GraphNode *source)
{
	int			naffected = 0;

	for (GraphPair *pair = source->as_source; pair != NULL; pair = pair->next_as_source)
	{
		if (pair->affected)
		{
			pair->now = -1;
			naffected++;
		}
	}
	for (uint32 i = 0; i < source->nkept; i++)
	{
		GraphNode  *child = source->out[i];

		dbp_graph_expect(delta, child, naffected);
		for (GraphPair *pair = source->as_source; pair != NULL; pair = pair->next_as_source)
		{
			int			depth;

			if (!pair->affected)
				continue;
			depth = dbp_graph_pair(delta, child, pair->descendant)->now;
			if (depth >= 0 && (pair->now < 0 || pair->now > depth + 1))
				pair->now = depth + 1;
		}
	}
}

static bool
remove_edges(GraphDelta *delta)
{
	GraphFlush *flush = delta->flush;

	for (int i = 0; i < flush->nremoved; i++)
	{
		MemoryContext oldcxt = MemoryContextSwitchTo(flush->scratch);
		bool		done = mark_affected(delta, &flush->removed[i]);

		MemoryContextSwitchTo(oldcxt);
		MemoryContextReset(flush->scratch);
		if (!done)
			return false;
	}
	delta->round++;
	if (!is_worthwhile(delta))
		return false;
	order_sources(delta);
	for (int i = 0; i < delta->nsources; i++)
	{
		rederive(delta, delta->sources[i]);
		if (is_too_much(delta))
			return false;
	}
	return true;
}

/* ---- added edges ---------------------------------------------------------------- */

/*
 * improves tells whether a depth is better than what a pair has.
 */
static bool
improves(const GraphPair *pair, int depth)
{
	return pair->now < 0 || pair->now > depth;
}

static GraphResult
add_edge(GraphDelta *delta, const GraphEdge *edge)
{
	GraphReachList above;
	GraphReachList below;
	int			n = 0;

	if (dbp_graph_pair(delta, edge->child, edge->parent)->now >= 0)
		return dbp_graph_refuse_cycle(delta->flush, edge->parent);
	dbp_graph_reach(delta, edge->parent, true, &above);
	dbp_graph_reach(delta, edge->child, false, &below);
	start_round(delta, edge->parent, &below);
	for (int i = 0; i < below.n; i++)
	{
		if (improves(dbp_graph_pair(delta, edge->parent, below.nodes[i].node),
					 below.nodes[i].depth + 1))
			below.nodes[n++] = below.nodes[i];
	}
	for (int i = 0; i < above.n; i++)
	{
		GraphNode  *source = above.nodes[i].node;
		int			to_child = above.nodes[i].depth + 1;

		if (!improves(dbp_graph_pair(delta, source, edge->child), to_child))
			continue;
		dbp_graph_expect(delta, source, n);
		for (int k = 0; k < n; k++)
		{
			GraphPair  *pair = dbp_graph_pair(delta, source, below.nodes[k].node);

			if (improves(pair, to_child + below.nodes[k].depth))
				pair->now = to_child + below.nodes[k].depth;
		}
		if (is_too_much(delta))
			return GRAPH_TOO_MUCH;
	}
	return GRAPH_DONE;
}

/* ---- all of it -------------------------------------------------------------------- */

static void
write_pairs(GraphDelta *delta)
{
	HASH_SEQ_STATUS seq;
	GraphPair  *pair;
	GraphPair  *deepest = NULL;
	int			max_depth = delta->flush->graph->state->spec.max_depth;

	hash_seq_init(&seq, delta->pairs);
	while ((pair = hash_seq_search(&seq)) != NULL)
	{
		if (max_depth > 0 && pair->now > max_depth && pair->now != pair->old &&
			(deepest == NULL || pair->now > deepest->now ||
			 (pair->now == deepest->now && pair->key < deepest->key)))
			deepest = pair;
	}
	if (deepest != NULL)
		dbp_graph_refuse_depth(delta->flush->graph->state, deepest->ancestor,
							   deepest->descendant, deepest->now);

	hash_seq_init(&seq, delta->pairs);
	while ((pair = hash_seq_search(&seq)) != NULL)
	{
		HierPair	stored = {NULL, pair->old, pair->tid, pair->ours};

		if (pair->now != pair->old)
			dbp_graph_put(delta->flush, pair->ancestor, pair->descendant,
						  pair->old >= 0 ? &stored : NULL, pair->now);
	}
}

static GraphResult
apply(GraphDelta *delta)
{
	GraphFlush *flush = delta->flush;

	if (flush->nremoved > 0 && !remove_edges(delta))
		return GRAPH_TOO_MUCH;
	for (int i = 0; i < flush->nadded; i++)
	{
		MemoryContext oldcxt = MemoryContextSwitchTo(flush->scratch);
		GraphResult result = add_edge(delta, &flush->added[i]);

		MemoryContextSwitchTo(oldcxt);
		MemoryContextReset(flush->scratch);
		if (result != GRAPH_DONE)
			return result;
	}
	write_pairs(delta);
	return GRAPH_DONE;
}

/*
 * dbp_graph_apply_delta writes what the changed edges change.
 */
GraphResult
dbp_graph_apply_delta(GraphFlush *flush)
{
	Graph	   *graph = flush->graph;
	GraphDelta	delta = {flush};
	HASHCTL		ctl;
	GraphResult result;

	delta.round = 1;			/* later than never */
	delta.cxt = AllocSetContextCreate(graph->cxt, "dbpatterns pairs", ALLOCSET_DEFAULT_SIZES);
	ctl.keysize = sizeof(uint64);
	ctl.entrysize = sizeof(GraphPair);
	ctl.hcxt = delta.cxt;
	delta.pairs = hash_create("dbpatterns pairs", 256, &ctl,
							  HASH_ELEM | HASH_BLOBS | HASH_CONTEXT);
	result = apply(&delta);
	for (uint32 i = 0; i < graph->nnodes && result != GRAPH_DONE; i++)
	{
		GraphNode  *node = graph->nodes[i];

		node->as_source = node->as_target = NULL;
		node->is_source = node->visited = false;
	}
	MemoryContextDelete(delta.cxt);
	return result;
}
