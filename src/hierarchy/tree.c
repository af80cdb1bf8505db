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
#include "core/names.h"
#include "hierarchy/hierarchy.h"
#include "lib/stringinfo.h"
#include "miscadmin.h"
#include "utils/builtins.h"
#include "utils/memutils.h"

/* Nodes below a moved one whose pairs are made before they are written. */
#define BATCH_BELOW	4096

/* Nodes of a cycle that an error shows. */
#define CYCLE_PRINTED	10000

typedef enum Change
{
	CHANGE_NONE,
	CHANGE_NEW,
	CHANGE_MOVED,
	CHANGE_GONE
} Change;

typedef enum Mark
{
	MARK_OPEN,
	MARK_ON_PATH,				/* somebody above waits for it */
	MARK_DONE
} Mark;

/* A node that is the parent of touched ones. */
typedef struct Parent
{
	HierMapEntry head;			/* MUST BE FIRST */
	HierTouched *touched;		/* NULL: the flush does not concern it */
	bool		exists;
	bool		placed;			/* nothing above it will move any more */
	HierPairList above;			/* it and its ancestors, as stored */
} Parent;

/* A touched node, for one attempt. */
typedef struct Work
{
	HierTouched *touched;
	Change		change;
	Mark		mark;
	bool		orphan;			/* its parent is not there */
	Parent	   *parent;			/* NULL: a root, or an orphan */
} Work;

typedef struct Flush
{
	HierState  *state;
	HierQueue  *queue;
	HierPairs  *pairs;
	bool		adopts;			/* new nodes may have children already */
	bool		leaves;			/* those that go may leave children */
	bool		again;			/* it has begun anew */
	MemoryContext attempt_cxt;	/* reset at each attempt */
	MemoryContext row_cxt;		/* reset for each row */
	Work	   *works;			/* as many as there are touched nodes */
	HierMap    *parents;		/* Parent */
	HierMap    *roots;			/* RootLock */
	int			nnew;
	int			nmoved;
	int			ngone;
} Flush;

typedef struct RootLock
{
	HierMapEntry head;			/* MUST BE FIRST */
	bool		exclusive;
} RootLock;

static inline Work *
work_of(HierTouched *touched)
{
	return (Work *) touched->work;
}

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

static const HierPair *
root_of(const HierPairList *above)
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
	const HierPair *root = root_of(above);
	HierPair	self;
	RootLock   *lock;
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
 * touch_children touches the nodes in the table whose parent is the given one.
 */
static void
touch_children(Flush *flush, Work *work)
{
	HierTouched *touched = work->touched;
	List	   *children = dbp_hier_look_up_children(flush->state, touched->head.key);
	ListCell   *lc;

	if (work->change == CHANGE_NEW)
		dbp_hier_require_same_scope(flush->state, touched->head.key);
	if (children != NIL)
		dbp_hier_widen(flush->state);
	foreach(lc, children)
	{
		bool		found;

		/* It looks up itself whose child it is by then. */
		(void) dbp_hier_touch(flush->queue, lfirst(lc), &found);
	}
}

/*
 * check_orphan raises if a node may not be without its parent.
 */
static void
check_orphan(Flush *flush, Work *work)
{
	HierState  *state = flush->state;
	HierTouched *touched = work->touched;

	if (!flush->queue->final)
		return;
	dbp_hier_require_not_elsewhere(state, touched->head.key, touched->parent);
	if (state->spec.orphan_error && !state->immediate_fk)
		ereport(ERROR,
				(errcode(ERRCODE_FOREIGN_KEY_VIOLATION),
				 errmsg("node %s of hierarchy \"%s\" has no parent",
						dbp_key_text(&state->type, touched->head.key), state->spec.storage),
				 errdetail("Node %s does not exist.",
						   dbp_key_text(&state->type, touched->parent)),
				 errhint("A parent must exist when the statement ends; NULL makes a root."),
				 err_generic_string(PG_DIAG_CONSTRAINT_NAME, state->spec.storage)));
	dbp_hier_remember_orphan(state, touched->head.key);
}

/*
 * classify_node finds out what became of a touched node.
 */
static void
classify_node(Flush *flush, Work *work)
{
	HierState  *state = flush->state;
	HierTouched *touched = work->touched;
	HierPairList above = {0};
	const HierPair *old_parent;
	MemoryContext oldcxt;
	bool		stored;
	bool		same;

	dbp_hier_require_known(state, flush->queue, touched);
	if (touched->exists && touched->parent != NULL)
	{
		if (flush->queue->lock_missing)
			dbp_hier_lock_arrival(state, touched->parent, true);
		work->parent = find_parent(flush, touched->parent);
		work->orphan = work->parent == NULL;
	}

	oldcxt = MemoryContextSwitchTo(flush->row_cxt);
	if (!touched->inserted || flush->again)
		dbp_pairs_ancestors(flush->pairs, touched->head.key, &above);
	stored = above.n > 0;
	old_parent = pair_at(&above, 1);
	same = work->parent == NULL ? old_parent == NULL :
		old_parent != NULL && dbp_key_equal(&state->type, old_parent->key, touched->parent);

	if (touched->exists)
		work->change = !stored ? CHANGE_NEW : same ? CHANGE_NONE : CHANGE_MOVED;
	else
		work->change = stored ? CHANGE_GONE : CHANGE_NONE;

	if (work->change == CHANGE_MOVED)
		want_lock(flush, &above, true);
	else if (work->change == CHANGE_GONE)
		want_lock(flush, &above, !state->immediate_fk);
	MemoryContextSwitchTo(oldcxt);
	MemoryContextReset(flush->row_cxt);

	if (work->change == CHANGE_NONE)
		return;
	if (work->parent != NULL && work->parent->above.n > 0)
		want_lock(flush, &work->parent->above, work->change == CHANGE_MOVED);
	if ((flush->adopts && work->change == CHANGE_NEW) ||
		(flush->leaves && work->change == CHANGE_GONE))
		touch_children(flush, work);
	flush->nnew += work->change == CHANGE_NEW;
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

	MemoryContextReset(flush->attempt_cxt);
	MemoryContextSwitchTo(flush->attempt_cxt);
	flush->parents = dbp_map_create(queue->type, sizeof(Parent), flush->attempt_cxt);
	flush->roots = dbp_map_create(queue->type, sizeof(RootLock), flush->attempt_cxt);
	flush->works = NULL;
	flush->nnew = 0;
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
 * lock_trees locks what classify asked for, and tells whether what was read may
 * have changed before.
 */
static bool
lock_trees(Flush *flush)
{
	int			n = dbp_map_count(flush->roots);
	HierTreeLock *locks;
	HierMapIterator iterator;
	RootLock   *lock;
	int			i = 0;

	if (n == 0)
		return false;
	locks = palloc(sizeof(HierTreeLock) * n);
	dbp_map_iterate(flush->roots, &iterator);
	while ((lock = dbp_map_next(flush->roots, &iterator)) != NULL)
	{
		locks[i].root = lock->head.key;
		locks[i++].exclusive = lock->exclusive;
	}
	return dbp_hier_lock_trees(flush->state, locks, n);
}

/*
 * guess_tree locks the tree that the last leaf came to, before this one's is
 * known: where that is the same, all has to be read only once.
 */
static bool
guess_tree(Flush *flush)
{
	HierTouched *touched = flush->queue->touched[0];

	return flush->state->has_guess && flush->queue->ntouched == 1 && touched->inserted &&
		touched->parent != NULL && !flush->state->spec.counters &&
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
	RootLock   *lock;
	uint32		hash = state->guess;

	if (flush->queue->ntouched != 1)
		return;
	dbp_map_iterate(flush->roots, &iterator);
	lock = dbp_map_next(flush->roots, &iterator);
	if (guessed && (lock == NULL || lock->head.hash != hash))
		dbp_hier_unlock_guess(state, hash);
	if (lock == NULL)
		return;
	state->has_guess = true;
	state->guess = lock->head.hash;
}

/*
 * announce says that nodes arrive, before their children are looked for.
 */
static void
announce(Flush *flush)
{
	HierQueue  *queue = flush->queue;

	if (flush->state->immediate_fk)
		return;
	for (int i = 0; i < queue->ntouched; i++)
	{
		HierTouched *touched = queue->touched[i];

		if (!touched->known || touched->exists)
			dbp_hier_lock_arrival(flush->state, touched->head.key, false);
	}
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

/* ---- 4. attach -------------------------------------------------------------- */

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
	touched = dbp_map_find(flush->queue->map, root_of(&parent->above)->key);
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
	if (work->orphan)
		check_orphan(flush, work);
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
 * refuse_cycle follows the table from a node that seems to be below itself.  It
 * raises if it comes back to a node on the way; otherwise it touches the nodes
 * it has seen, for the flush to begin anew.
 */
static void
refuse_cycle(Flush *flush, Work *work)
{
	HierState  *state = flush->state;
	HierMap    *seen = dbp_map_create(flush->queue->type, sizeof(HierMapEntry),
									  CurrentMemoryContext);
	List	   *path = NIL;
	Datum	   *key = work->touched->head.key;
	StringInfoData text;
	int			printed = 0;
	bool		found;
	ListCell   *lc;

	while (key != NULL)
	{
		Datum	   *parent;

		CHECK_FOR_INTERRUPTS();
		(void) dbp_map_enter(seen, key, &found);
		if (found)
			break;
		path = lappend(path, key);
		if (!dbp_hier_look_up(state, key, &parent))
			parent = NULL;
		key = parent;
	}
	if (key == NULL)
	{
		int			before = flush->queue->ntouched;

		dbp_hier_widen(state);
		foreach(lc, path)
		{
			HierTouched *touched = dbp_hier_touch(flush->queue, lfirst(lc), &found);

			touched->known = touched->inserted = false;
		}
		if (flush->queue->ntouched == before && flush->again)
			ereport(ERROR,
					(errcode(ERRCODE_DATA_CORRUPTED),
					 errmsg("closure table \"%s\" has node %s below itself",
							state->spec.storage, dbp_key_text(&state->type, linitial(path))),
					 errhint("Repair it with dbpatterns.closure_sync.")));
		flush->again = true;
		return;
	}

	/* What comes before the cycle leads to it and is not part of it. */
	initStringInfo(&text);
	found = false;
	foreach(lc, path)
	{
		found |= dbp_key_equal(&state->type, lfirst(lc), key);
		if (!found)
			continue;
		appendStringInfo(&text, "%s -> ", dbp_key_text(&state->type, lfirst(lc)));
		if (++printed == CYCLE_PRINTED)
		{
			appendStringInfo(&text, "(%d more) -> ",
							 list_length(path) - foreach_current_index(lc) - 1);
			break;
		}
	}
	appendStringInfoString(&text, dbp_key_text(&state->type, key));
	ereport(ERROR,
			(errcode(ERRCODE_CHECK_VIOLATION),
			 errmsg("node %s of hierarchy \"%s\" would be below itself",
					dbp_key_text(&state->type, key), state->spec.storage),
			 errdetail("From each node to its parent: %s.", text.data),
			 errhint("Give one of these nodes a parent that is not below it."),
			 err_generic_string(PG_DIAG_CONSTRAINT_NAME, state->spec.storage)));
}

/*
 * attach attaches all that is new or moved, parents first, without recursion:
 * path is the way up to the node that is attached next.  False: begin anew.
 */
static bool
attach(Flush *flush)
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

static void
flush_tree(HierState *state, HierQueue *queue)
{
	Flush		flush = {state, queue};
	bool		done = false;
	bool		guessed;

	flush.pairs = dbp_pairs_open(state);
	flush.attempt_cxt = AllocSetContextCreate(queue->cxt, "dbpatterns hierarchy attempt",
											  ALLOCSET_DEFAULT_SIZES);
	flush.row_cxt = AllocSetContextCreate(queue->cxt, "dbpatterns hierarchy row",
										  ALLOCSET_SMALL_SIZES);
	guessed = guess_tree(&flush);
	while (!done)
	{
		flush.adopts = !state->immediate_fk || dbp_hier_has_orphans(state);
		flush.leaves = flush.adopts || state->unique_alone;
		announce(&flush);
		classify(&flush);
		learn_tree(&flush, guessed);
		guessed = false;
		if (lock_trees(&flush))
			continue;
		cut(&flush);
		done = attach(&flush);
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

/*
 * dbp_hier_init prepares this backend for hierarchies.
 */
void
dbp_hier_init(void)
{
	dbp_hier_state_init();
	dbp_hier_capture_init();
	dbp_hier_lock_init();
	dbp_hier_pairs_init();
	dbp_counts_init();
	dbp_hier_tree_init();
	dbp_hier_ddl_init();
	dbp_hier_compare_init();
}
