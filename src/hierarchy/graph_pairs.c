/*-------------------------------------------------------------------------
 *
 * graph_pairs.c
 *	  Pairs of a graph in memory, for graph_delta.c.
 *
 * A pair is read when it is first asked for, with the depth that is stored; its
 * depth as it is now is the caller's.  One pair is a look-up in an index.  When
 * many pairs of one ancestor are about to be asked for, all its pairs are read,
 * unless ancestors have turned out to have many more.
 *
 * Copyright (c) 2026, dbpatterns contributors
 *
 * src/hierarchy/graph_pairs.c
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "hierarchy/graph.h"
#include "utils/hsearch.h"
#include "utils/memutils.h"

/* Pairs of one ancestor are looked up one by one if they are not more. */
#define MAX_PROBES		16

/* Looking up one pair costs what reading so many of a row does. */
#define PROBE_COST		8

static uint64
pair_key(const GraphNode *ancestor, const GraphNode *descendant)
{
	return ((uint64) ancestor->id << 32) | descendant->id;
}

static GraphPair *
enter_pair(GraphDelta *delta, GraphNode *ancestor, GraphNode *descendant, bool *found)
{
	uint64		key = pair_key(ancestor, descendant);
	GraphPair  *pair = hash_search(delta->pairs, &key, HASH_ENTER, found);

	if (*found)
		return pair;
	memset((char *) pair + sizeof(key), 0, sizeof(*pair) - sizeof(key));
	pair->old = pair->now = ancestor == descendant ? 0 : -1;
	pair->ancestor = ancestor;
	pair->descendant = descendant;
	pair->next_as_source = ancestor->as_source;
	ancestor->as_source = pair;
	pair->next_as_target = descendant->as_target;
	descendant->as_target = pair;
	return pair;
}

static void
set_stored(GraphPair *pair, const HierPair *stored)
{
	pair->old = pair->now = stored->depth;
	pair->tid = stored->tid;
	pair->ours = stored->ours;
}

/*
 * dbp_graph_pair returns a pair, read if it must be.
 */
GraphPair *
dbp_graph_pair(GraphDelta *delta, GraphNode *ancestor, GraphNode *descendant)
{
	bool		found;
	GraphPair  *pair = enter_pair(delta, ancestor, descendant, &found);
	HierPair	stored;

	if (found || ancestor == descendant ||
		(ancestor->row == delta->round && descendant->target == delta->round))
		return pair;
	if (dbp_pairs_find(delta->flush->pairs, ancestor->head.key, descendant->head.key, &stored))
		set_stored(pair, &stored);
	return pair;
}

typedef struct Row
{
	GraphDelta *delta;
	GraphNode  *ancestor;
} Row;

static void
keep_pair(HierPairs *pairs, const HierPair *stored, void *arg)
{
	Row		   *row = arg;
	GraphNode  *node = dbp_map_find(row->delta->flush->graph->map, stored->key);
	bool		found;
	GraphPair  *pair;

	row->delta->row_pairs++;
	if (node == NULL || node->target != row->delta->round)
		return;
	pair = enter_pair(row->delta, row->ancestor, node, &found);
	if (!found && node != row->ancestor)
		set_stored(pair, stored);
}

/*
 * dbp_graph_read_row reads all pairs of an ancestor with the targets of this round.
 */
void
dbp_graph_read_row(GraphDelta *delta, GraphNode *ancestor)
{
	Row			row = {delta, ancestor};

	dbp_pairs_descendants(delta->flush->pairs, ancestor->head.key, keep_pair, &row);
	ancestor->row = delta->round;
	delta->rows++;
}

/*
 * dbp_graph_expect says that an ancestor's pairs with n of the targets will be asked for:
 * if these are many, all are read at once.
 */
void
dbp_graph_expect(GraphDelta *delta, GraphNode *ancestor, int n)
{
	if (ancestor->row == delta->round || n <= MAX_PROBES)
		return;
	if (delta->rows == 0 || delta->row_pairs / delta->rows <= (double) PROBE_COST * n)
		dbp_graph_read_row(delta, ancestor);
}

static void
add_reached(GraphReachList *list, GraphNode *node, int depth)
{
	if (list->n == list->allocated)
	{
		list->allocated *= 2;
		list->nodes = repalloc_huge(list->nodes, sizeof(GraphReach) * list->allocated);
	}
	list->nodes[list->n].node = node;
	list->nodes[list->n++].depth = depth;
}

static void
add_stored(HierPairs *pairs, const HierPair *stored, void *arg)
{
	GraphReachList *list = arg;
	GraphDelta *delta = list->delta;
	GraphNode  *other = dbp_graph_node(delta->flush->graph, stored->key);
	uint64		key = list->up ? pair_key(other, list->node) : pair_key(list->node, other);
	GraphPair  *pair = hash_search(delta->pairs, &key, HASH_FIND, NULL);
	int			depth = pair != NULL ? pair->now : stored->depth;

	if (other != list->node && depth >= 0)
		add_reached(list, other, depth);
}

/*
 * dbp_graph_reach lists the nodes above a node, or below it, as it is now.
 */
void
dbp_graph_reach(GraphDelta *delta, GraphNode *node, bool up, GraphReachList *list)
{
	*list = (GraphReachList)
	{
		delta, node, up, 0, 64
	};
	list->nodes = palloc(sizeof(GraphReach) * list->allocated);
	add_reached(list, node, 0);
	if (up)
	{
		HierPairList above;

		dbp_pairs_ancestors(delta->flush->pairs, node->head.key, &above);
		for (int i = 0; i < above.n; i++)
			add_stored(delta->flush->pairs, &above.pairs[i], list);
	}
	else
		dbp_pairs_descendants(delta->flush->pairs, node->head.key, add_stored, list);
	for (GraphPair *pair = up ? node->as_target : node->as_source; pair != NULL;
		 pair = up ? pair->next_as_target : pair->next_as_source)
	{
		if (pair->old < 0 && pair->now >= 0)
			add_reached(list, up ? pair->ancestor : pair->descendant, pair->now);
	}
	delta->read += list->n;
}
