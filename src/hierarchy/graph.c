/*-------------------------------------------------------------------------
 *
 * graph.c
 *	  The closure of a directed acyclic graph, kept by triggers on its edges.
 *
 * The closure table holds a pair for every node and each node it reaches, with
 * the length of the shortest path, and (x, x, 0) for every node of an edge.
 * Paths are not counted: their number grows exponentially with the graph.
 *
 * A flush gets the edges that were touched, whatever happened to them.  An edge
 * was there before if the closure has its pair with depth 1, and is there now
 * if the table says so; the difference is what was removed and added.  All
 * other edges are those of the closure, not the table's: a statement inside
 * another one is flushed while changes of the outer one are in the table but
 * have not been queued yet.  Their turn comes, and until then the closure must
 * be that of a set of edges which it tells itself.
 *
 * There are two ways from the difference to the pairs that change.
 * graph_delta.c looks at single pairs, and is right for changes that are small
 * against the graph; graph_rows.c walks anew from every node above a changed
 * edge, which is less work when most of their pairs are concerned, and takes
 * no more memory than the edges.  Both write differences only.
 *
 * The hard part is who may do this at once.  The depth of a pair rests on edges
 * anywhere between its ends, so one lock is taken for the whole graph, before
 * the first look at the closure: SHARE ROW EXCLUSIVE on the closure table.
 * Whoever changes edges holds it to the end of its transaction.  Even an edge
 * that was there already, in another row, counts as a change: the other row may
 * be going.
 *
 * Copyright (c) 2026, dbpatterns contributors
 *
 * src/hierarchy/graph.c
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "access/table.h"
#include "access/xact.h"
#include "core/names.h"
#include "core/owner.h"
#include "hierarchy/graph.h"
#include "lib/stringinfo.h"
#include "miscadmin.h"
#include "utils/memutils.h"
#include "utils/snapmgr.h"

/* With more changed edges than this, and than a part of all, walks are better. */
#define MANY_EDGES		500
#define MANY_EDGES_PART 50

/* Look-ups that are not more work than reading a table. */
#define FREE_LOOKUPS	1000

/* The same if each of them reads the table. */
#define UNINDEXED_LOOKUPS	2

/* Reading this many rows costs what one look-up does. */
#define ROWS_PER_LOOKUP	16

/* Nodes of a cycle that an error shows. */
#define CYCLE_NODES_SHOWN	50

/* ---- what the ways share ------------------------------------------------------- */

/*
 * dbp_graph_put gives a pair its depth, -1 for none; stored is what the closure
 * has, or NULL.
 */
void
dbp_graph_put(GraphFlush *flush, GraphNode *ancestor, GraphNode *descendant,
			  const HierPair *stored, int depth)
{
	int			max_depth = flush->graph->state->spec.max_depth;

	if (stored != NULL)
		dbp_pairs_delete(flush->pairs, stored, ancestor->head.key, descendant->head.key);
	if (depth < 0)
		return;
	if (max_depth > 0 && depth > max_depth)
		dbp_graph_refuse_depth(flush->graph->state, ancestor, descendant, depth);
	dbp_pairs_add(flush->pairs, ancestor->head.key, descendant->head.key, depth);
}

/*
 * dbp_graph_refuse_depth raises 23514 for a pair whose shortest path is longer
 * than max_depth.
 */
void
dbp_graph_refuse_depth(HierState *state, GraphNode *ancestor, GraphNode *descendant, int depth)
{
	ereport(ERROR,
			(errcode(ERRCODE_CHECK_VIOLATION),
			 errmsg("graph \"%s\" is deeper than its limit of %d", state->spec.storage,
					state->spec.max_depth),
			 errdetail("The shortest path from %s to %s has %d edges.",
					   dbp_key_text(&state->type, ancestor->head.key),
					   dbp_key_text(&state->type, descendant->head.key), depth),
			 errhint("Enable it with a greater max_depth, or NULL for no limit."),
			 err_generic_string(PG_DIAG_CONSTRAINT_NAME, state->spec.storage)));
}

/*
 * touch_missing queues the edges of a path that the table does not have any
 * more, and tells whether there are any.
 */
static bool
touch_missing(GraphFlush *flush, GraphNode **path, int n)
{
	HierState  *state = flush->graph->state;
	int			width = state->type.n;
	bool		any = false;

	for (int i = 0; i < n; i++)
	{
		Datum		edge[2 * HIER_MAX_KEY];
		Datum	   *unused;
		HierTouched *touched;
		bool		found;

		memcpy(edge, path[i]->head.key, sizeof(Datum) * width);
		memcpy(edge + width, path[(i + 1) % n]->head.key, sizeof(Datum) * width);
		if (dbp_hier_look_up(state, edge, &unused))
			continue;
		touched = dbp_hier_touch(flush->queue, edge, &found);
		any |= !found || !touched->known || touched->exists;
		touched->known = true;
		touched->exists = false;
	}
	return any;
}

/*
 * dbp_graph_refuse_cycle raises 23514 for a cycle that a node lies on.  An edge
 * of it that the table has not got is about to be queued as removed: it is
 * queued here, and the flush has to begin again.
 */
GraphResult
dbp_graph_refuse_cycle(GraphFlush *flush, GraphNode *from)
{
	HierState  *state = flush->graph->state;
	GraphNode  *last;
	GraphNode **cycle;
	int			n;
	StringInfoData text;

	(void) dbp_graph_walk(flush->graph, from, &last);
	n = last == NULL ? 0 : last->depth + 1;
	cycle = palloc_extended(sizeof(GraphNode *) * ((Size) n + 1), MCXT_ALLOC_HUGE);
	for (GraphNode *node = last; node != NULL; node = node->via)
		cycle[node->depth] = node;
	if (touch_missing(flush, cycle, n))
		return GRAPH_AGAIN;
	if (n == 0)
		ereport(ERROR,
				(errcode(ERRCODE_DATA_CORRUPTED),
				 errmsg("closure table \"%s\" has node %s below itself", state->spec.storage,
						dbp_key_text(&state->type, from->head.key)),
				 errhint("Repair it with dbpatterns.closure_sync.")));

	initStringInfo(&text);
	for (int i = 0; i < n; i++)
	{
		if (i == CYCLE_NODES_SHOWN)
		{
			appendStringInfoString(&text, "... -> ");
			break;
		}
		appendStringInfo(&text, "%s -> ", dbp_key_text(&state->type, cycle[i]->head.key));
	}
	appendStringInfoString(&text, dbp_key_text(&state->type, from->head.key));
	ereport(ERROR,
			(errcode(ERRCODE_CHECK_VIOLATION),
			 errmsg("node %s of graph \"%s\" would be below itself",
					dbp_key_text(&state->type, from->head.key), state->spec.storage),
			 errdetail("From each node to its child: %s.", text.data),
			 errhint("Leave out one of these edges."),
			 err_generic_string(PG_DIAG_CONSTRAINT_NAME, state->spec.storage)));
	return GRAPH_AGAIN;			/* keep the compiler quiet */
}

/* ---- children ------------------------------------------------------------------ */

typedef struct Children
{
	GraphFlush *flush;
	GraphNode  *node;
	uint32		allocated;
} Children;

static void
add_child(Children *children, GraphNode *child)
{
	GraphNode  *node = children->node;

	if (node->nout == children->allocated)
	{
		children->allocated = Max(4, children->allocated * 2);
		node->out = node->out == NULL ?
			MemoryContextAlloc(children->flush->graph->cxt,
							   sizeof(GraphNode *) * children->allocated) :
			repalloc_huge(node->out, sizeof(GraphNode *) * children->allocated);
	}
	node->out[node->nout++] = child;
}

static void
take_child(HierPairs *pairs, const HierPair *pair, void *arg)
{
	Children   *children = arg;
	GraphNode  *child;

	if (pair->depth != 1)
		return;
	child = dbp_graph_node(children->flush->graph, pair->key);
	if (child->removed_from != children->node)
		add_child(children, child);
}

/*
 * dbp_graph_children finds the children of a node: those that the closure has,
 * without removed edges, and then those of added ones.
 */
void
dbp_graph_children(GraphFlush *flush, GraphNode *node)
{
	Children	children = {flush, node, 0};

	if (node->out_known)
		return;
	node->out_known = true;
	for (GraphEdge *edge = node->removed; edge != NULL; edge = edge->next)
		edge->child->removed_from = node;
	dbp_pairs_descendants(flush->pairs, node->head.key, take_child, &children);
	node->nkept = node->nout;
	for (GraphEdge *edge = node->added; edge != NULL; edge = edge->next)
		add_child(&children, edge->child);
}

/* ---- a flush --------------------------------------------------------------------- */

static void
mark_known(Graph *graph, const Datum *edge, Oid tableoid, ItemPointer tid, void *arg)
{
	HierQueue  *queue = arg;
	HierTouched *touched = dbp_map_find(queue->map, edge);

	if (touched != NULL)
		touched->exists = true;
}

/*
 * read_edges marks the touched edges that are in the table now.
 */
static void
read_edges(Graph *graph, HierQueue *queue)
{
	DbpOwnerScope scope;
	Snapshot	snapshot;

	dbp_enter_owner(&scope, dbp_relation_owner(graph->relid));
	CommandCounterIncrement();
	snapshot = RegisterSnapshot(GetLatestSnapshot());
	dbp_graph_scan(graph, snapshot, mark_known, queue);
	UnregisterSnapshot(snapshot);
	dbp_leave_owner(&scope);
}

/*
 * look_at_table returns how many look-ups of edges are not more work than
 * reading the table, and sets what else depends on it.
 */
static double
look_at_table(GraphFlush *flush)
{
	Graph	   *graph = flush->graph;
	Relation	rel = table_open(graph->relid, AccessShareLock);
	double		most = UNINDEXED_LOOKUPS;

	flush->many = Max(MANY_EDGES, rel->rd_rel->reltuples / MANY_EDGES_PART);
	flush->child_indexed = dbp_graph_is_indexed(rel, graph->child);
	if (flush->child_indexed || dbp_graph_is_indexed(rel, graph->parent))
		most = Max(FREE_LOOKUPS, rel->rd_rel->reltuples / ROWS_PER_LOOKUP);
	table_close(rel, NoLock);
	return most;
}

/*
 * require_known looks up which touched edges are in the table; if they are many
 * against its size, by reading it.
 */
static void
require_known(GraphFlush *flush)
{
	Graph	   *graph = flush->graph;
	HierQueue  *queue = flush->queue;
	int			nunknown = 0;

	for (int i = 0; i < queue->ntouched; i++)
		nunknown += !queue->touched[i]->known;
	if (nunknown > look_at_table(flush))
	{
		for (int i = 0; i < queue->ntouched; i++)
			queue->touched[i]->exists &= queue->touched[i]->known;
		read_edges(graph, queue);
		for (int i = 0; i < queue->ntouched; i++)
			queue->touched[i]->known = true;
		return;
	}
	for (int i = 0; i < queue->ntouched; i++)
	{
		MemoryContext oldcxt = MemoryContextSwitchTo(flush->scratch);

		dbp_hier_require_known(graph->state, queue, queue->touched[i]);
		MemoryContextSwitchTo(oldcxt);
		MemoryContextReset(flush->scratch);
		CHECK_FOR_INTERRUPTS();
	}
}

static void
note_change(GraphEdge *place, const GraphEdge *edge, GraphEdge **first)
{
	*place = *edge;
	place->next = *first;
	*first = place;
}

/*
 * compare_edges finds out which touched edges were removed and added.
 */
static void
compare_edges(GraphFlush *flush)
{
	Graph	   *graph = flush->graph;
	Size		size = sizeof(GraphEdge) * flush->queue->ntouched;

	flush->removed = MemoryContextAllocHuge(graph->cxt, size);
	flush->added = MemoryContextAllocHuge(graph->cxt, size);
	flush->absent = MemoryContextAllocHuge(graph->cxt, size);
	for (int i = 0; i < flush->queue->ntouched; i++)
	{
		HierTouched *touched = flush->queue->touched[i];
		const Datum *parent = touched->head.key;
		const Datum *child = touched->head.key + graph->type->n;
		HierPair	pair;
		bool		was_there;
		GraphEdge	edge = {NULL};

		was_there = dbp_pairs_find(flush->pairs, parent, child, &pair) && pair.depth == 1;
		CHECK_FOR_INTERRUPTS();
		if (was_there && touched->exists)
			continue;
		edge.parent = dbp_graph_node(graph, parent);
		edge.child = dbp_graph_node(graph, child);
		if (touched->exists)
			note_change(&flush->added[flush->nadded++], &edge, &edge.parent->added);
		else if (was_there)
			note_change(&flush->removed[flush->nremoved++], &edge, &edge.parent->removed);
		else
			flush->absent[flush->nabsent++] = edge;
	}
}

/*
 * occurs tells whether some edge has a node.
 */
static bool
occurs(GraphFlush *flush, GraphNode *node)
{
	Graph	   *graph = flush->graph;
	HierPairList above;

	dbp_graph_children(flush, node);
	if (node->nout > 0)
		return true;
	if (flush->child_indexed)
		return dbp_hier_look_up_edge_into(graph->state, node->head.key);
	dbp_pairs_ancestors(flush->pairs, node->head.key, &above);
	for (int i = 0; i < above.n; i++)
	{
		GraphNode  *parent;
		bool		is_removed = false;

		if (above.pairs[i].depth != 1)
			continue;
		parent = dbp_graph_node(graph, above.pairs[i].key);
		for (GraphEdge *edge = parent->removed; edge != NULL; edge = edge->next)
			is_removed |= edge->child == node;
		if (!is_removed)
			return true;
	}
	return false;
}

/*
 * keep_self writes or deletes the pair of a node with itself.  An edge that has
 * not been queued yet may keep a node; if it goes before its turn comes, it is
 * one of those that are absent.
 */
static void
keep_self(GraphFlush *flush, GraphNode *node, bool is_added)
{
	HierPair	pair;
	bool		stored;
	bool		wanted;

	if (node->self_done)
		return;
	node->self_done = true;
	stored = dbp_pairs_find(flush->pairs, node->head.key, node->head.key, &pair);
	wanted = is_added || occurs(flush, node);
	if (wanted && !stored)
		dbp_graph_put(flush, node, node, NULL, 0);
	if (!wanted && stored)
		dbp_graph_put(flush, node, node, &pair, -1);
}

static void
keep_selves(GraphFlush *flush, const GraphEdge *edges, int n, bool added)
{
	for (int i = 0; i < n; i++)
	{
		MemoryContext oldcxt = MemoryContextSwitchTo(flush->scratch);

		keep_self(flush, edges[i].parent, added);
		keep_self(flush, edges[i].child, added);
		MemoryContextSwitchTo(oldcxt);
		MemoryContextReset(flush->scratch);
		CHECK_FOR_INTERRUPTS();
	}
}

/*
 * apply brings the closure in line with the touched edges, all of them known.
 */
static GraphResult
apply(GraphFlush *flush)
{
	GraphResult result = GRAPH_TOO_MUCH;

	flush->nremoved = flush->nadded = flush->nabsent = 0;
	compare_edges(flush);
	if (flush->nremoved + flush->nadded == 0)
		result = GRAPH_DONE;
	else if (flush->nremoved + flush->nadded <= flush->many)
		result = dbp_graph_apply_delta(flush);
	if (result == GRAPH_TOO_MUCH)
		result = dbp_graph_apply_rows(flush);
	if (result != GRAPH_DONE)
		return result;
	keep_selves(flush, flush->added, flush->nadded, true);
	keep_selves(flush, flush->removed, flush->nremoved, false);
	keep_selves(flush, flush->absent, flush->nabsent, false);
	return GRAPH_DONE;
}

/*
 * flush_graph is the flush of graphs.  Before the statement is over nothing is
 * done: all at once is less work.
 */
static void
flush_graph(HierState *state, HierQueue *queue)
{
	GraphFlush	flush = {NULL, queue};
	GraphResult result;
	MemoryContext oldcxt;

	if (!queue->final)
	{
		for (int i = 0; i < queue->ntouched; i++)
			queue->touched[i]->carried = true;
		return;
	}
	if (queue->ntouched == 0)
		return;

	dbp_hier_lock_whole(state);
	flush.scratch = AllocSetContextCreate(queue->cxt, "dbpatterns graph scratch",
										  ALLOCSET_DEFAULT_SIZES);
	flush.pairs = dbp_pairs_open(state);
	do
	{
		MemoryContext cxt = AllocSetContextCreate(queue->cxt, "dbpatterns graph",
												  ALLOCSET_DEFAULT_SIZES);

		flush.graph = dbp_graph_create(state, cxt);
		flush.graph->flush = &flush;
		require_known(&flush);
		oldcxt = MemoryContextSwitchTo(flush.scratch);
		result = apply(&flush);
		dbp_pairs_write(flush.pairs);
		MemoryContextSwitchTo(oldcxt);
		MemoryContextReset(flush.scratch);
		MemoryContextDelete(cxt);
	} while (result == GRAPH_AGAIN);
	dbp_pairs_close(flush.pairs);
}

/*
 * dbp_hier_graph_init prepares this backend.
 */
void
dbp_hier_graph_init(void)
{
	dbp_hier_set_flush(HIER_GRAPH, flush_graph);
	dbp_graph_whole_init();
}
