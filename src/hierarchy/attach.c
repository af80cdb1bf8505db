/*-------------------------------------------------------------------------
 *
 * attach.c
 *	  Putting new and moved nodes below their parents in a closure table.
 *
 * The last step of a flush (see tree.c).  A node can only be attached when all
 * above it is in its place; nodes that wait for each other close a cycle.
 * Chains can be long: nothing here is recursive.
 *
 * Copyright (c) 2026, dbpatterns contributors
 *
 * src/hierarchy/attach.c
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "hierarchy/tree.h"
#include "miscadmin.h"
#include "utils/memutils.h"

/* Nodes below a moved one whose pairs are made before they are written. */
#define BATCH_BELOW	4096

/*
 * waits_for returns the work that must be done before a node is attached: that
 * of its parent, or of the node that moves and has the parent below it.
 */
static Work *
waits_for(Flush *flush, Work *work)
{
	Parent	   *parent = work->parent;
	HierTouched *touched;

	if (parent == NULL || work->change == CHANGE_NONE)
		return NULL;
	if (parent->touched != NULL &&
		(work_of(parent->touched)->change == CHANGE_NEW ||
		 (work_of(parent->touched)->change == CHANGE_MOVED &&
		  work_of(parent->touched)->mark != MARK_DONE)))
		return work_of(parent->touched);
	if (parent->placed || (flush->nmoved == 0 && flush->ngone == 0))
		return NULL;

	/* What was read above it is from before the cut. */
	dbp_pairs_write(flush->pairs);
	dbp_pairs_ancestors(flush->pairs, parent->head.key, &parent->above);
	touched = dbp_map_find(flush->queue->map, dbp_tree_root(&parent->above)->key);
	if (touched != NULL && work_of(touched)->change == CHANGE_MOVED &&
		work_of(touched)->mark != MARK_DONE)
		return work_of(touched);
	parent->placed = true;
	return NULL;
}

/* What is above a node that is attached, nearest first. */
typedef struct Above
{
	int			n;
	int			allocated;
	Datum	  **keys;
	int		   *depths;			/* of the node below each */
} Above;

static void
add_above(Above *above, Datum *key, int depth)
{
	if (above->n == above->allocated)
	{
		above->allocated = Max(16, above->allocated * 2);
		above->keys = above->keys == NULL ?
			palloc(sizeof(Datum *) * above->allocated) :
			repalloc(above->keys, sizeof(Datum *) * above->allocated);
		above->depths = above->depths == NULL ?
			palloc(sizeof(int) * above->allocated) :
			repalloc(above->depths, sizeof(int) * above->allocated);
	}
	above->keys[above->n] = key;
	above->depths[above->n++] = depth;
}

/*
 * collect_above lists what is above a node: first new nodes, of which only the
 * queue knows, then what is stored above the last of them.  All of it is in its
 * place.
 */
static void
collect_above(Work *work, Above *above)
{
	int			depth = 1;
	Parent	   *parent = work->parent;

	above->n = 0;
	while (parent != NULL && parent->touched != NULL &&
		   work_of(parent->touched)->change == CHANGE_NEW)
	{
		add_above(above, parent->touched->head.key, depth++);
		parent = work_of(parent->touched)->parent;
	}
	for (int i = 0; parent != NULL && i < parent->above.n; i++)
		add_above(above, parent->above.pairs[i].key, parent->above.pairs[i].depth + depth);
}

/* A subtree that is attached. */
typedef struct Subtree
{
	Flush	   *flush;
	Above	   *above;
	MemoryContext key_cxt;
	int			nkeys;
} Subtree;

static void
attach_below(HierPairs *pairs, const HierPair *below, void *arg)
{
	Subtree    *subtree = arg;
	Above	   *above = subtree->above;
	MemoryContext oldcxt;
	Datum	   *key;

	if (subtree->nkeys++ == BATCH_BELOW)
	{
		dbp_pairs_write(pairs);
		MemoryContextReset(subtree->key_cxt);
		subtree->nkeys = 0;
	}
	oldcxt = MemoryContextSwitchTo(subtree->key_cxt);
	key = dbp_key_copy(&subtree->flush->state->type, below->key);
	MemoryContextSwitchTo(oldcxt);
	for (int i = 0; i < above->n; i++)
		dbp_pairs_add(pairs, above->keys[i], key, above->depths[i] + below->depth);
}

static void
attach_moved(Flush *flush, Work *work, Above *above)
{
	Subtree		subtree = {flush, above};

	subtree.key_cxt = AllocSetContextCreate(CurrentMemoryContext,
											"dbpatterns hierarchy keys",
											ALLOCSET_DEFAULT_SIZES);
	dbp_pairs_write(flush->pairs);
	dbp_pairs_descendants(flush->pairs, work->touched->head.key, attach_below, &subtree);
	dbp_pairs_write(flush->pairs);
	MemoryContextDelete(subtree.key_cxt);
}

/*
 * attach_one attaches a node whose parent is in its place.
 */
static void
attach_one(Flush *flush, Work *work, Above *above)
{
	Datum	   *key = work->touched->head.key;

	work->mark = MARK_DONE;
	if (work->orphan && flush->queue->final)
		dbp_hier_accept_orphan(flush->state, key, work->touched->parent);
	if (work->change != CHANGE_NEW && work->change != CHANGE_MOVED)
		return;
	collect_above(work, above);
	if (work->change == CHANGE_MOVED)
		attach_moved(flush, work, above);
	else
	{
		dbp_pairs_add(flush->pairs, key, key, 0);
		for (int i = 0; i < above->n; i++)
			dbp_pairs_add(flush->pairs, above->keys[i], key, above->depths[i]);
	}
}

/*
 * is_left tells whether a node is left to the next flush: it, or a new node
 * above it, waits for a parent that may still come in this statement.
 */
static bool
is_left(Flush *flush, Work *work, Work *waited_for)
{
	work->touched->carried = !flush->queue->final && work->change == CHANGE_NEW &&
		(work->orphan || (waited_for != NULL && waited_for->touched->carried));
	if (work->touched->carried)
		work->mark = MARK_DONE;
	return work->touched->carried;
}

/*
 * refuse_cycle raises if a node is below itself; otherwise the flush begins
 * anew.
 */
static void
refuse_cycle(Flush *flush, Work *work)
{
	HierState  *state = flush->state;
	Datum	   *key = work->touched->head.key;

	if (!dbp_hier_refuse_cycle(state, flush->queue, key) && flush->again)
		ereport(ERROR,
				(errcode(ERRCODE_DATA_CORRUPTED),
				 errmsg("closure table \"%s\" has node %s below itself", state->spec.storage,
						dbp_key_text(&state->type, key)),
				 errhint("Repair it with dbpatterns.closure_sync.")));
	flush->again = true;
}

/*
 * dbp_tree_attach attaches all that is new or moved, parents first: path is the
 * way up to the node that is attached next.  False: begin anew.
 */
bool
dbp_tree_attach(Flush *flush)
{
	HierQueue  *queue = flush->queue;
	Work	  **path = palloc_extended(sizeof(Work *) * (queue->ntouched + 1), MCXT_ALLOC_HUGE);
	Above		above = {0};

	for (int i = 0; i < queue->ntouched; i++)
	{
		int			n = 0;

		path[n++] = work_of(queue->touched[i]);
		while (n > 0)
		{
			Work	   *work = path[n - 1];
			Work	   *upper;

			CHECK_FOR_INTERRUPTS();
			if (work->mark == MARK_DONE)
			{
				n--;
				continue;
			}
			work->mark = MARK_ON_PATH;
			upper = waits_for(flush, work);
			if (upper != NULL && upper->mark == MARK_ON_PATH)
			{
				refuse_cycle(flush, upper);
				return false;
			}
			if (upper != NULL && upper->mark == MARK_OPEN)
			{
				path[n++] = upper;
				continue;
			}
			if (!is_left(flush, work, upper))
				attach_one(flush, work, &above);
			n--;
		}
	}
	return true;
}
