/*-------------------------------------------------------------------------
 *
 * nested.c
 *	  How nested sets follow their adjacency list.
 *
 * A flush gets the nodes that a statement touched.  It compares what the table
 * says of them now with what the nested sets say, and makes the difference in
 * sets, so that neither the order of changes nor what was in between matters:
 *
 *	1. classify: which nodes are new, gone, or not where they belong;
 *	2. lock the trees that change, and classify again if that may have waited;
 *	3. load what is cut: nodes that are gone or belong elsewhere, with all that
 *	   is below them.  Where a subtree lies in another one, each is a tree of
 *	   its own in memory;
 *	4. link in memory what belongs to each other there.  Parents that are not
 *	   in memory have no node of it above them, so a cycle shows here;
 *	5. take what was loaded out of the storage, and place each tree in memory
 *	   below its parent there, or number it as a tree of its own.
 *
 * A flush inside another statement may not have been told of everything that
 * has changed.  What it takes for a cycle is looked up in the table, and nodes
 * that it finds without their parent are, too: they are touched, and the flush
 * begins anew.  Nothing has been written before step 5.
 *
 * All changes of a tree, the insert of a leaf among them, lock it exclusively:
 * they take numbers from the same range.
 *
 * Copyright (c) 2026, dbpatterns contributors
 *
 * src/hierarchy/nested.c
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "access/xact.h"
#include "hierarchy/nested.h"
#include "miscadmin.h"
#include "utils/memutils.h"

/* A node that is the parent of touched ones. */
typedef struct Parent
{
	HierMapEntry head;			/* MUST BE FIRST */
	HierTouched *touched;		/* NULL: the flush does not concern it */
	bool		stored;
	NestedRow	row;
} Parent;

/*
 * dbp_nested_touch touches a node that no row has told of.
 */
HierTouched *
dbp_nested_touch(NestedFlush *flush, const Datum *key)
{
	bool		found;

	return dbp_hier_touch(flush->queue, key, &found);
}

static inline NestedNode *
node_of(HierTouched *touched)
{
	return (NestedNode *) touched->work;
}

/* ---- 1. classify ------------------------------------------------------------ */

/*
 * find_parent returns what is known of a parent.  One that is in the table and
 * has no place yet, since a later chunk of the statement brings it, is touched.
 */
static Parent *
find_parent(NestedFlush *flush, const Datum *key)
{
	bool		found;
	Parent	   *parent = dbp_map_enter(flush->parents, key, &found);
	Datum	   *its_parent;

	if (found)
		return parent;
	parent->touched = dbp_map_find(flush->queue->map, key);
	if (parent->touched == NULL)
	{
		parent->stored = dbp_nested_find(flush->store, key, &parent->row);
		if (!parent->stored && dbp_hier_look_up(flush->state, key, &its_parent))
			parent->touched = dbp_nested_touch(flush, key);
	}
	if (parent->touched != NULL)
		dbp_hier_require_known(flush->state, flush->queue, parent->touched);
	return parent;
}

/*
 * touch_children touches the nodes that have a place already and whose parent
 * is the given new one.  Others come in this statement, or did.
 */
static void
touch_children(NestedFlush *flush, NestedNode *node)
{
	ListCell   *lc;

	dbp_hier_require_same_scope(flush->state, node->head.key);
	foreach(lc, dbp_hier_look_up_children(flush->state, node->head.key))
	{
		NestedRow	row;

		if (dbp_nested_find(flush->store, lfirst(lc), &row))
			(void) dbp_nested_touch(flush, lfirst(lc));
	}
}

static void
read_touched(NestedFlush *flush, HierTouched *touched)
{
	HierState  *state = flush->state;
	bool		found;
	NestedNode *node = dbp_map_enter(flush->nodes, touched->head.key, &found);

	touched->work = node;
	touched->carried = false;
	dbp_hier_require_known(state, flush->queue, touched);
	node->exists = touched->exists;
	if (node->exists)
		node->wanted = touched->parent;
	if (node->wanted != NULL)
	{
		(void) find_parent(flush, node->wanted);
	}
	node->stored = dbp_nested_find(flush->store, node->head.key, &node->row);
	if (flush->adopts && node->exists && !node->stored)
		touch_children(flush, node);
}

/*
 * parent_row returns the stored row of a node's parent, or NULL if it has none.
 */
static NestedRow *
parent_row(NestedFlush *flush, NestedNode *node)
{
	Parent	   *parent = dbp_map_find(flush->parents, node->wanted);

	if (parent->touched != NULL)
		return node_of(parent->touched)->stored ? &node_of(parent->touched)->row : NULL;
	return parent->stored ? &parent->row : NULL;
}

static bool
parent_exists(NestedFlush *flush, NestedNode *node)
{
	Parent	   *parent = dbp_map_find(flush->parents, node->wanted);

	return parent->touched != NULL ? parent->touched->exists : parent->stored;
}

/*
 * follows_predecessor tells whether a stored node comes right after the sibling
 * it should come after.
 */
static bool
follows_predecessor(NestedFlush *flush, NestedNode *node, NestedRow *parent)
{
	Datum	   *key;
	NestedRow	row;
	bool		has = dbp_nested_predecessor(flush->state, node->head.key, node->wanted, &key);
	bool		found = dbp_nested_before(flush->store, node->row.tree, node->row.depth,
										  node->row.lft - 1, &row) && row.lft > parent->lft;

	/* One that is touched may be about to go elsewhere. */
	if (has && dbp_map_find(flush->queue->map, key) != NULL)
		return false;
	return has == found && (!has || dbp_key_equal(&flush->state->type, key, row.key));
}

static bool
is_in_place(NestedFlush *flush, NestedNode *node)
{
	NestedRow  *row = &node->row;
	NestedRow  *parent = node->upper;

	if (node->wanted == NULL || node->orphan)
		return row->depth == 0;
	return parent != NULL && row->depth == parent->depth + 1 &&
		row->lft > parent->lft && row->rgt < parent->rgt &&
		dbp_key_equal(&flush->state->type, row->tree, parent->tree) &&
		(flush->state->spec.order_by == NULL || follows_predecessor(flush, node, parent));
}

/*
 * want_lock asks for the lock of a tree, unless its root is of our own making.
 */
static void
want_lock(NestedFlush *flush, const NestedRow *row)
{
	bool		found;
	HierRootLock *lock = dbp_map_enter(flush->roots, row->tree, &found);
	NestedRow	root;

	if (found)
		return;
	lock->exclusive = true;
	lock->is_new = row->ours && dbp_nested_find(flush->store, row->tree, &root) && root.ours;
}

static void
decide(NestedFlush *flush, NestedNode *node)
{
	node->orphan = node->wanted != NULL && !parent_exists(flush, node);
	node->upper = node->wanted != NULL && !node->orphan ? parent_row(flush, node) : NULL;
	node->wants = node->exists && !(node->stored && is_in_place(flush, node));

	/*
	 * Nothing is to be done for one in its place.  But a root may have waited
	 * for the parent it no longer names, and that may be about to take it.
	 */
	if (!node->wants && (node->exists || !node->stored) &&
		!(flush->adopts && node->stored && node->wanted == NULL))
		return;
	if (node->stored)
		want_lock(flush, &node->row);
	if (node->wants && node->upper != NULL)
		want_lock(flush, node->upper);
}

/*
 * classify looks at all touched nodes; those it touches itself come last.
 */
static void
classify(NestedFlush *flush)
{
	HierQueue  *queue = flush->queue;

	MemoryContextReset(flush->cxt);
	MemoryContextSwitchTo(flush->cxt);
	flush->again = false;
	flush->nodes = dbp_map_create(queue->type, sizeof(NestedNode), flush->cxt);
	flush->parents = dbp_map_create(queue->type, sizeof(Parent), flush->cxt);
	flush->roots = dbp_map_create(queue->type, sizeof(HierRootLock), flush->cxt);
	flush->loaded = NIL;

	/* Rows that are not ours may have changed while we waited. */
	dbp_hier_forget_look_ups(queue);
	for (int i = 0; i < queue->ntouched; i++)
	{
		CHECK_FOR_INTERRUPTS();
		read_touched(flush, queue->touched[i]);
	}
	for (int i = 0; i < queue->ntouched; i++)
		decide(flush, node_of(queue->touched[i]));
}

/* ---- 2. lock ----------------------------------------------------------------- */

static void
flush_nested(HierState *state, HierQueue *queue)
{
	NestedFlush flush = {state, queue};
	bool		waited;

	flush.store = dbp_nested_open(state, false);
	flush.cxt = AllocSetContextCreate(queue->cxt, "dbpatterns nested set flush",
									  ALLOCSET_DEFAULT_SIZES);
	if (queue->ntouched <= HIER_FEW_TOUCHED)
		(void) dbp_nested_lock(flush.store);
	do
	{
		flush.adopts = !dbp_hier_immediate_fk(state) || dbp_hier_has_orphans(state);
		dbp_hier_announce(state, queue);
		classify(&flush);
		waited = dbp_hier_lock_roots(state, flush.roots);
		if (dbp_nested_lock(flush.store) || waited)
		{
			flush.again = true;
			continue;
		}
		dbp_nested_gather(&flush);
		if (!flush.again)
			dbp_nested_apply(&flush);
	} while (flush.again);
	dbp_nested_close(flush.store);
	MemoryContextSwitchTo(queue->cxt);
}

/*
 * dbp_hier_nested_init prepares this backend.
 */
void
dbp_hier_nested_init(void)
{
	dbp_nested_store_init();
	dbp_hier_set_flush(HIER_NESTED, flush_nested);
}
