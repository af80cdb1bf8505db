/*-------------------------------------------------------------------------
 *
 * tree.c
 *	  How a closure table follows its adjacency list.
 *
 * A flush gets the nodes that a statement touched.  It compares what the table
 * says of them now with what the closure table says, and makes the difference
 * in sets, so that neither the order of changes nor what was in between
 * matters:
 *
 *	1. classify: a node is new, gone, moved (its parent is another one, or the
 *	   parent came or went), or the same;
 *	2. lock the trees that change, and classify again if that may have waited;
 *	3. cut: of a node that is gone, delete the pairs above it; of a node that
 *	   moved, those between what is above it and what is below.  In a forest
 *	   paths are unique, so these are exactly the pairs that are wrong, however
 *	   the nodes nest;
 *	4. attach, parents first: what is now above a node times what is below it.
 *	   A node that would be attached below itself closes a cycle.
 *
 * The cut and the cross product are those of Dong, Libkin, Su and Wong
 * ("Maintaining the transitive closure of graphs in SQL", 1999), for forests.
 *
 * A flush inside another statement may not have been told of everything that
 * has changed: what it takes for a cycle is looked up in the table, and if
 * there is none, the nodes on the way are touched, too, and it begins anew.
 *
 * Copyright (c) 2026, dbpatterns contributors
 *
 * src/hierarchy/tree.c
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "access/xact.h"
#include "hierarchy/tree.h"
#include "miscadmin.h"
#include "utils/memutils.h"

/* ---- 1. classify --------------------------------------------------------- */

static const HierPair *
pair_at(const HierPairList *list, int depth)
{
	for (int i = 0; i < list->n; i++)
	{
		if (list->pairs[i].depth == depth)
			return &list->pairs[i];
	}
	return NULL;
}

/*
 * dbp_tree_root returns the pair of a node with the root of its tree.
 */
const HierPair *
dbp_tree_root(const HierPairList *above)
{
	const HierPair *root = &above->pairs[0];

	for (int i = 1; i < above->n; i++)
	{
		if (above->pairs[i].depth > root->depth)
			root = &above->pairs[i];
	}
	return root;
}

/*
 * want_lock asks for the lock of the tree that a stored node is in.  A root of
 * our own making needs none: nobody else can see a node of that tree as such.
 */
static void
want_lock(Flush *flush, const HierPairList *above, bool exclusive)
{
	const HierPair *root = dbp_tree_root(above);
	HierPair	self;
	HierRootLock *lock;
	bool		found;

	if (root->ours && dbp_pairs_find(flush->pairs, root->key, root->key, &self) && self.ours)
		return;
	lock = dbp_map_enter(flush->roots, root->key, &found);
	lock->exclusive |= exclusive || flush->state->spec.counters;
}

/*
 * find_parent returns the parent of a node, or NULL if there is no such node.
 */
static Parent *
find_parent(Flush *flush, const Datum *key)
{
	bool		found;
	Parent	   *parent = dbp_map_enter(flush->parents, key, &found);

	if (!found)
	{
		parent->touched = dbp_map_find(flush->queue->map, key);
		if (parent->touched != NULL)
		{
			dbp_hier_require_known(flush->state, flush->queue, parent->touched);
			parent->exists = parent->touched->exists;
		}
		if (parent->touched == NULL || parent->exists)
		{
			dbp_pairs_ancestors(flush->pairs, key, &parent->above);
			parent->exists |= parent->above.n > 0;
		}
	}
	return parent->exists ? parent : NULL;
}

/*
 * touch_children touches the nodes in the table whose parent is the given one,
 * but for those that are not stored: their own rows will tell of them.
 */
static void
touch_children(Flush *flush, Work *work)
{
	HierState  *state = flush->state;
	Datum	   *key = work->touched->head.key;
	ListCell   *lc;

	if (work->change == CHANGE_NEW)
		dbp_hier_require_same_scope(state, key);
	foreach(lc, dbp_hier_look_up_children(state, key))
	{
		HierPair	self;
		bool		found;

		/* It looks up itself whose child it is by then. */
		if (dbp_pairs_find(flush->pairs, lfirst(lc), lfirst(lc), &self))
			(void) dbp_hier_touch(flush->queue, lfirst(lc), &found);
	}
}

/*
 * classify_node finds out what became of a touched node.
 */
static void
classify_node(Flush *flush, Work *work)
{
	HierState  *state = flush->state;
	HierTouched *touched = work->touched;
	HierPairList above;
	const HierPair *old_parent;
	MemoryContext oldcxt;
	bool		stored;
	bool		same;

	dbp_hier_require_known(state, flush->queue, touched);
	if (touched->exists && touched->parent != NULL)
	{
		work->parent = find_parent(flush, touched->parent);
		work->orphan = work->parent == NULL;
	}

	oldcxt = MemoryContextSwitchTo(flush->row_cxt);
	dbp_pairs_ancestors(flush->pairs, touched->head.key, &above);
	stored = above.n > 0;
	old_parent = pair_at(&above, 1);
	same = work->parent == NULL ? old_parent == NULL :
		old_parent != NULL && dbp_key_equal(&state->type, old_parent->key, touched->parent);

	if (touched->exists)
		work->change = !stored ? CHANGE_NEW : same ? CHANGE_NONE : CHANGE_MOVED;
	else
		work->change = stored ? CHANGE_GONE : CHANGE_NONE;

	/* Whoever brings the parent that a root once named would move it. */
	if (work->change == CHANGE_MOVED ||
		(work->change == CHANGE_NONE && stored && flush->adopts))
		want_lock(flush, &above, true);
	else if (work->change == CHANGE_GONE)
		want_lock(flush, &above, !dbp_hier_immediate_fk(state));
	MemoryContextSwitchTo(oldcxt);
	MemoryContextReset(flush->row_cxt);

	if (work->change == CHANGE_NONE)
		return;
	if (work->parent != NULL && work->parent->above.n > 0)
		want_lock(flush, &work->parent->above, work->change == CHANGE_MOVED);
	if ((flush->adopts && work->change == CHANGE_NEW) ||
		(flush->leaves && work->change == CHANGE_GONE))
		touch_children(flush, work);
	flush->nmoved += work->change == CHANGE_MOVED;
	flush->ngone += work->change == CHANGE_GONE;
}

/*
 * classify looks at all touched nodes; those it touches itself come last.
 */
static void
classify(Flush *flush)
{
	HierQueue  *queue = flush->queue;
	int			allocated = 0;

	/* Rows that are not ours may have changed while we waited. */
	dbp_hier_forget_look_ups(queue);
	MemoryContextReset(flush->attempt_cxt);
	MemoryContextSwitchTo(flush->attempt_cxt);
	flush->parents = dbp_map_create(queue->type, sizeof(Parent), flush->attempt_cxt);
	flush->roots = dbp_map_create(queue->type, sizeof(HierRootLock), flush->attempt_cxt);
	flush->nmoved = 0;
	flush->ngone = 0;
	for (int i = 0; i < queue->ntouched; i++)
	{
		Work	   *work;

		CHECK_FOR_INTERRUPTS();
		if (i == allocated)
		{
			/* Those made before stay where they are. */
			allocated = queue->ntouched;
			work = palloc0(sizeof(Work) * (allocated - i));
			for (int j = i; j < allocated; j++)
			{
				queue->touched[j]->work = &work[j - i];
				work[j - i].touched = queue->touched[j];
			}
		}
		classify_node(flush, work_of(queue->touched[i]));
	}
}

/* ---- 2. lock --------------------------------------------------------------- */

/*
 * guess_tree locks the tree that the last leaf came to, before this one's is
 * known: where that is the same, all has to be read only once.
 */
static bool
guess_tree(Flush *flush)
{
	HierQueue  *queue = flush->queue;

	/* A move wants its trees exclusively, and not shared before. */
	return flush->state->has_guess && queue->ntouched == 1 && queue->inserts &&
		!queue->updates && !queue->deletes && !flush->state->spec.counters &&
		queue->touched[0]->parent != NULL &&
		dbp_hier_lock_guess(flush->state, flush->state->guess);
}

/*
 * learn_tree remembers where a leaf came, and gives up what was guessed wrong.
 */
static void
learn_tree(Flush *flush, bool guessed)
{
	HierState  *state = flush->state;
	HierMapIterator iterator;
	HierRootLock *lock;
	uint32		hash = state->guess;

	dbp_map_iterate(flush->roots, &iterator);
	/* A leaf that adopts others is none, and concerns several trees. */
	lock = flush->queue->ntouched == 1 ? dbp_map_next(flush->roots, &iterator) : NULL;
	if (guessed && (lock == NULL || lock->head.hash != hash))
		dbp_hier_unlock_guess(state, hash);
	if (lock == NULL)
		return;
	state->has_guess = true;
	state->guess = lock->head.hash;
}

/* ---- 3. cut ---------------------------------------------------------------- */

static void
delete_above(Flush *flush, const Datum *node, int depth)
{
	MemoryContext oldcxt = MemoryContextSwitchTo(flush->row_cxt);
	HierPairList above;

	dbp_pairs_ancestors(flush->pairs, node, &above);
	for (int i = 0; i < above.n; i++)
	{
		if (above.pairs[i].depth > depth)
			dbp_pairs_delete(flush->pairs, &above.pairs[i], above.pairs[i].key, node);
	}
	MemoryContextSwitchTo(oldcxt);
	MemoryContextReset(flush->row_cxt);
}

/*
 * cut_below deletes the pairs of a node below a moved one with what is above
 * that: in a tree those that are farther away.
 */
static void
cut_below(HierPairs *pairs, const HierPair *below, void *arg)
{
	delete_above(arg, below->key, below->depth);
}

static void
cut(Flush *flush)
{
	HierQueue  *queue = flush->queue;

	for (int i = 0; i < queue->ntouched; i++)
	{
		HierTouched *touched = queue->touched[i];

		CHECK_FOR_INTERRUPTS();
		if (work_of(touched)->change == CHANGE_GONE)
			delete_above(flush, touched->head.key, -1);
		else if (work_of(touched)->change == CHANGE_MOVED)
			dbp_pairs_descendants(flush->pairs, touched->head.key, cut_below, flush);
	}
}

static void
flush_tree(HierState *state, HierQueue *queue)
{
	Flush		flush = {state, queue};
	bool		done = false;
	bool		guessed;
	bool		waited;

	flush.pairs = dbp_pairs_open(state);
	flush.attempt_cxt = AllocSetContextCreate(queue->cxt, "dbpatterns hierarchy attempt",
											  ALLOCSET_DEFAULT_SIZES);
	flush.row_cxt = AllocSetContextCreate(queue->cxt, "dbpatterns hierarchy row",
										  ALLOCSET_SMALL_SIZES);
	if (queue->ntouched <= HIER_FEW_TOUCHED)
		(void) dbp_pairs_lock(flush.pairs);
	guessed = guess_tree(&flush);
	while (!done)
	{
		flush.adopts = !dbp_hier_immediate_fk(state) || dbp_hier_has_orphans(state);
		flush.leaves = flush.adopts || state->unique_alone;
		dbp_hier_announce(state, queue);
		classify(&flush);
		learn_tree(&flush, guessed);
		guessed = false;
		waited = dbp_hier_lock_roots(state, flush.roots);
		if (dbp_pairs_lock(flush.pairs) || waited)
			continue;
		cut(&flush);
		done = dbp_tree_attach(&flush);
		dbp_pairs_write(flush.pairs);
		if (!done)
			CommandCounterIncrement();
	}
	MemoryContextSwitchTo(queue->cxt);
	dbp_pairs_close(flush.pairs);
}

/*
 * dbp_hier_tree_init prepares this backend.
 */
void
dbp_hier_tree_init(void)
{
	dbp_hier_set_flush(HIER_TREE, flush_tree);
}
