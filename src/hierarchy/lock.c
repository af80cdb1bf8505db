/*-------------------------------------------------------------------------
 *
 * lock.c
 *	  Who may change which tree at once.
 *
 * Whoever changes a hierarchy holds ROW EXCLUSIVE on its storage, as any writer
 * does, and before that:
 *
 *	  a tree, by its root		share: a leaf comes; exclusive: nodes move
 *	  the whole					SHARE ROW EXCLUSIVE on the storage, in place
 *								of more tree locks than TREES_MAX
 *	  a key's arrival			where no foreign key sees to it that parents
 *								exist: share by who brings the node, exclusive
 *								by who leaves orphans of it, for a last look
 *								before the commit; keys share ARRIVALS locks
 *	  the rebuild				exclusive: one at a time
 *
 * Trees are locked in the order of their hash, so that two statements which
 * want the same ones wait and do not deadlock.  The root of a node is read
 * before its tree can be locked; the caller reads it again afterwards and, if
 * it is another one now, locks that, too.  All is held until the transaction
 * ends, PREPARE TRANSACTION included.
 *
 * Tree and arrivals locks are of the kind of advisory locks, in classes that
 * pg_advisory_lock cannot reach.  Two roots with the same hash share a lock.
 *
 * Copyright (c) 2026, dbpatterns contributors
 *
 * src/hierarchy/lock.c
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "access/xact.h"
#include "hierarchy/hierarchy.h"
#include "miscadmin.h"
#include "storage/lmgr.h"
#include "storage/lock.h"
#include "utils/inval.h"
#include "utils/memutils.h"

typedef struct TreeLock
{
	uint32		hash;
	bool		exclusive;
} TreeLock;

/* Tree locks of a transaction in one hierarchy. */
#define TREES_MAX	32

/* Locks for the arrival of keys, a bit each. */
#define ARRIVALS	64

typedef struct Held
{
	Oid			storageid;
	bool		whole;
	int			ntrees;
	uint32		trees[TREES_MAX];
	struct Held *next;
} Held;

/* In memory of the transaction: what it asked for, even if rolled back. */
static Held *helds = NULL;

static Held *
get_held(Oid storageid)
{
	Held	   *held = helds;

	while (held != NULL && held->storageid != storageid)
		held = held->next;
	if (held == NULL)
	{
		held = MemoryContextAllocZero(TopTransactionContext, sizeof(Held));
		held->storageid = storageid;
		held->next = helds;
		helds = held;
	}
	return held;
}

static bool
counts_tree(Held *held, uint32 hash)
{
	for (int i = 0; i < held->ntrees; i++)
	{
		if (held->trees[i] == hash)
			return true;
	}
	return false;
}

static int
order_by_hash(const void *a, const void *b)
{
	const TreeLock *left = a;
	const TreeLock *right = b;

	if (left->hash != right->hash)
		return left->hash < right->hash ? -1 : 1;
	return (int) right->exclusive - (int) left->exclusive;
}

/*
 * dbp_hier_lock_writing locks storage as its writers do, and tells whether that
 * is new.
 */
bool
dbp_hier_lock_writing(Relation storage)
{
	bool		new = !CheckRelationLockedByMe(storage, RowExclusiveLock, true);

	LockRelationOid(RelationGetRelid(storage), RowExclusiveLock);
	return new;
}

/*
 * lock_whole tells whether the lock is new: one that was asked for before may
 * have gone with a savepoint.
 */
static bool
lock_whole(HierState *state)
{
	LOCKTAG		tag;
	bool		new;

	SET_LOCKTAG_RELATION(tag, MyDatabaseId, state->storageid);
	new = LockAcquire(&tag, ShareRowExclusiveLock, false, false) != LOCKACQUIRE_ALREADY_HELD;
	if (new)
		AcceptInvalidationMessages();
	get_held(state->storageid)->whole = true;
	return new;
}

/*
 * dbp_hier_lock_whole keeps all other writers of a hierarchy out.
 */
void
dbp_hier_lock_whole(HierState *state)
{
	(void) lock_whole(state);
}

/*
 * dbp_hier_lock_rebuild keeps others from rebuilding a hierarchy.  It is no lock
 * on the storage: each that keeps a second one out would keep out who writes to
 * a graph or to many trees, too.
 */
void
dbp_hier_lock_rebuild(HierState *state)
{
	LOCKTAG		tag;

	SET_LOCKTAG_ADVISORY(tag, MyDatabaseId, state->storageid, 0, HIER_LOCK_REBUILD);
	(void) LockAcquire(&tag, ExclusiveLock, false, false);
}

static void
tree_tag(LOCKTAG *tag, HierState *state, uint32 hash)
{
	SET_LOCKTAG_ADVISORY(*tag, MyDatabaseId, state->storageid, hash, HIER_LOCK_TREE);
}

/*
 * dbp_hier_lock_guess locks a tree in share mode, if that needs no wait, before
 * it is known to be the right one.  True: dbp_hier_unlock_guess may be called.
 */
bool
dbp_hier_lock_guess(HierState *state, uint32 hash)
{
	LOCKTAG		tag;

	if (get_held(state->storageid)->whole)
		return false;
	tree_tag(&tag, state, hash);
	return LockAcquire(&tag, ShareLock, false, true) != LOCKACQUIRE_NOT_AVAIL;
}

/*
 * dbp_hier_unlock_guess takes back what dbp_hier_lock_guess did, and no more.
 */
void
dbp_hier_unlock_guess(HierState *state, uint32 hash)
{
	LOCKTAG		tag;

	tree_tag(&tag, state, hash);
	(void) LockRelease(&tag, ShareLock, false);
}

static bool
lock_trees(HierState *state, TreeLock *locks, int n)
{
	Held	   *held = get_held(state->storageid);
	bool		new = false;
	int			more = 0;

	qsort(locks, n, sizeof(TreeLock), order_by_hash);
	for (int i = 0; i < n && !held->whole; i++)
		more += (i == 0 || locks[i].hash != locks[i - 1].hash) &&
			!counts_tree(held, locks[i].hash);
	if (held->whole || held->ntrees + more > TREES_MAX)
		return lock_whole(state);

	for (int i = 0; i < n; i++)
	{
		LOCKTAG		tag;

		/* Of one hash the stronger comes first. */
		if (i > 0 && locks[i].hash == locks[i - 1].hash)
			continue;
		tree_tag(&tag, state, locks[i].hash);
		if (LockAcquire(&tag, locks[i].exclusive ? ExclusiveLock : ShareLock, false,
						false) != LOCKACQUIRE_ALREADY_HELD)
			new = true;
		if (!counts_tree(held, locks[i].hash))
			held->trees[held->ntrees++] = locks[i].hash;
	}
	return new;
}

/*
 * dbp_hier_lock_roots locks the trees of a map of HierRootLock that are not new,
 * and tells whether one of the locks is, so that what the caller has read may
 * be out of date.
 */
bool
dbp_hier_lock_roots(HierState *state, HierMap *roots)
{
	int			n = 0;
	TreeLock   *locks;
	HierMapIterator iterator;
	HierRootLock *root;

	if (dbp_map_count(roots) == 0)
		return false;
	locks = palloc(sizeof(TreeLock) * dbp_map_count(roots));
	dbp_map_iterate(roots, &iterator);
	while ((root = dbp_map_next(roots, &iterator)) != NULL)
	{
		if (root->is_new)
			continue;
		locks[n].hash = root->head.hash;
		locks[n++].exclusive = root->exclusive;
	}
	return n > 0 && lock_trees(state, locks, n);
}

/*
 * dbp_hier_lock_tree locks the tree of a root exclusively.
 */
void
dbp_hier_lock_tree(HierState *state, const Datum *root)
{
	TreeLock	lock = {dbp_key_hash(&state->type, root), true};

	(void) lock_trees(state, &lock, 1);
}

/*
 * dbp_hier_arrival returns the bit of the lock that a key's arrival has.
 */
uint64
dbp_hier_arrival(HierState *state, const Datum *key)
{
	return UINT64CONST(1) << dbp_key_hash(&state->type, key) % ARRIVALS;
}

/*
 * dbp_hier_lock_arrivals says that nodes arrive (shared), or sees to it that
 * nobody else brings them until the transaction ends.
 */
void
dbp_hier_lock_arrivals(HierState *state, uint64 arrivals, bool exclusive)
{
	for (int i = 0; i < ARRIVALS; i++)
	{
		LOCKTAG		tag;

		if ((arrivals & (UINT64CONST(1) << i)) == 0)
			continue;
		SET_LOCKTAG_ADVISORY(tag, MyDatabaseId, state->storageid, i, HIER_LOCK_ARRIVAL);
		(void) LockAcquire(&tag, exclusive ? ExclusiveLock : ShareLock, false, false);
	}
}

static void
at_xact_end(XactEvent event, void *arg)
{
	if (event == XACT_EVENT_COMMIT || event == XACT_EVENT_ABORT || event == XACT_EVENT_PREPARE)
		helds = NULL;
}

/* What was locked since the savepoint is free again; trees may count still. */
static void
at_subxact_end(SubXactEvent event, SubTransactionId mine, SubTransactionId parent,
			   void *arg)
{
	if (event != SUBXACT_EVENT_ABORT_SUB)
		return;
	for (Held *held = helds; held != NULL; held = held->next)
		held->whole = false;
}

/*
 * dbp_hier_lock_init prepares this backend.
 */
void
dbp_hier_lock_init(void)
{
	RegisterXactCallback(at_xact_end, NULL);
	RegisterSubXactCallback(at_subxact_end, NULL);
}
