/*-------------------------------------------------------------------------
 *
 * queue.c
 *	  What a statement touched, and when its hierarchy follows.
 *
 * AFTER ROW triggers put the keys of inserted, deleted and moved nodes into a
 * queue; they fire when the statement has done all its changes.  The AFTER
 * STATEMENT trigger comes last and flushes the queue, so that the hierarchy is
 * right when the statement ends.  Whoever has no statement trigger (logical
 * apply, a partition that came in a restore) flushes before the commit.
 *
 * The hard part is nesting: triggers of the user's change the same table
 * between our row triggers, foreign keys cascade, statements end inside
 * others.  So the queue holds what was touched, not what was done: a key that
 * comes twice, whose row has changed again or went, is looked up in the table
 * when the queue is flushed.  Only what the newest version of a row says is taken
 * from it.
 *
 * A statement inside another one flushes what that has queued, too.  If its
 * subtransaction is rolled back, the flush is undone, and the queue must be
 * flushed again: it is kept until that is decided.
 *
 * Copyright (c) 2026, dbpatterns contributors
 *
 * src/hierarchy/queue.c
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "access/table.h"
#include "access/xact.h"
#include "core/names.h"
#include "core/trigger.h"
#include "hierarchy/hierarchy.h"
#include "utils/guc.h"
#include "utils/memutils.h"
#include "utils/rls.h"
#include "utils/snapmgr.h"

/*
 * Nodes, all inserted or all deleted, that are flushed before their statement
 * ends.
 */
#define CHUNK_TOUCHED 32768

/* What a transaction has to do for one hierarchy. */
typedef struct Pending
{
	Oid			storageid;		/* tells them apart */
	Oid			rootid;
	char		trigger[NAMEDATALEN];
	HierQueue  *queue;			/* NULL: nothing */
	HierQueue  *flushed_inside; /* by a subtransaction that goes on */
	int			flush_at;		/* flush when it holds so many, if it may be */
	int			flushing;		/* nest level of the flush that is going on,
								 * or 0 */
	MemoryContext orphan_cxt;	/* NULL: there are none */
	HierMap    *orphans;		/* nodes placed as roots for want of their
								 * parent */
	struct Pending *next;
} Pending;

/* In memory of the transaction. */
static Pending *pendings = NULL;

static HierFlush flushes[HIER_NESTED + 1];

/*
 * dbp_hier_set_flush says how hierarchies of a kind follow their table.
 */
void
dbp_hier_set_flush(HierKind kind, HierFlush flush)
{
	flushes[kind] = flush;
}

/* ---- the queue ------------------------------------------------------------- */

static Pending *
find_pending(Oid storageid)
{
	Pending    *pending = pendings;

	while (pending != NULL && pending->storageid != storageid)
		pending = pending->next;
	return pending;
}

static Pending *
get_pending(HierState *state)
{
	Pending    *pending = find_pending(state->storageid);

	if (pending == NULL)
	{
		pending = MemoryContextAllocZero(TopTransactionContext, sizeof(Pending));
		pending->storageid = state->storageid;
		pending->next = pendings;
		pendings = pending;
	}
	pending->rootid = state->head.rootid;
	strlcpy(pending->trigger, state->trigger, NAMEDATALEN);
	return pending;
}

/*
 * get_queue returns the queue of a hierarchy.  Its memory belongs to the
 * present subtransaction, and goes with it if that is rolled back.
 */
static HierQueue *
get_queue(Pending *pending, HierState *state)
{
	MemoryContext cxt;
	HierQueue  *queue;

	if (pending->queue != NULL)
		return pending->queue;
	cxt = AllocSetContextCreate(CurTransactionContext, "dbpatterns hierarchy queue",
								ALLOCSET_DEFAULT_SIZES);
	queue = MemoryContextAllocZero(cxt, sizeof(HierQueue));
	queue->cxt = cxt;
	queue->type = &state->queue_type;
	queue->map = dbp_map_create(queue->type, sizeof(HierTouched), cxt);
	pending->queue = queue;
	queue->level = GetCurrentTransactionNestLevel();
	pending->flush_at = CHUNK_TOUCHED;
	return queue;
}

/*
 * dbp_hier_queue returns the queue of a hierarchy.
 */
HierQueue *
dbp_hier_queue(HierState *state)
{
	return get_queue(get_pending(state), state);
}

/*
 * dbp_hier_touch puts a key into a queue; when it is new there, nothing is
 * known of it.
 */
HierTouched *
dbp_hier_touch(HierQueue *queue, const Datum *key, bool *found)
{
	HierTouched *touched = dbp_map_enter(queue->map, key, found);

	if (*found)
		return touched;
	if (queue->ntouched == queue->allocated)
	{
		MemoryContext oldcxt = MemoryContextSwitchTo(queue->cxt);

		queue->allocated = Max(8, queue->allocated * 2);
		queue->touched = queue->touched == NULL ?
			palloc(sizeof(HierTouched *) * queue->allocated) :
			repalloc_huge(queue->touched, sizeof(HierTouched *) * queue->allocated);
		MemoryContextSwitchTo(oldcxt);
	}
	queue->touched[queue->ntouched++] = touched;
	return touched;
}

/*
 * dbp_hier_require_known looks a node or an edge up, unless the queue knows it.
 */
void
dbp_hier_require_known(HierState *state, HierQueue *queue, HierTouched *touched)
{
	MemoryContext oldcxt;

	if (touched->known)
		return;
	oldcxt = MemoryContextSwitchTo(queue->cxt);
	touched->exists = dbp_hier_look_up(state, touched->head.key, &touched->parent);
	MemoryContextSwitchTo(oldcxt);
	touched->known = touched->looked_up = true;
}

/*
 * dbp_hier_forget_look_ups forgets what was looked up, for a flush that has
 * waited: rows that are not ours may have changed.
 */
void
dbp_hier_forget_look_ups(HierQueue *queue)
{
	for (int i = 0; i < queue->ntouched; i++)
	{
		if (queue->touched[i]->looked_up)
			queue->touched[i]->known = false;
	}
}

/* ---- orphans --------------------------------------------------------------- */

/*
 * dbp_hier_remember_orphan remembers a node whose parent is not there, to try
 * again before the commit: another transaction may bring it.  So it does with a
 * key that two rows may have until then.
 */
void
dbp_hier_remember_orphan(HierState *state, const Datum *key)
{
	Pending    *pending = get_pending(state);
	bool		found;

	if (pending->orphan_cxt == NULL)
	{
		pending->orphan_cxt = AllocSetContextCreate(TopTransactionContext,
													"dbpatterns hierarchy orphans",
													ALLOCSET_DEFAULT_SIZES);
		pending->orphans = dbp_map_create(&state->type, sizeof(HierMapEntry),
										  pending->orphan_cxt);
	}
	(void) dbp_map_enter(pending->orphans, key, &found);
}

/*
 * dbp_hier_has_orphans tells whether this transaction left nodes without their
 * parent.
 */
bool
dbp_hier_has_orphans(HierState *state)
{
	Pending    *pending = find_pending(state->storageid);

	return pending != NULL && pending->orphans != NULL;
}

/*
 * dbp_hier_announce says that the nodes of a queue arrive, before their children
 * are looked for.  A foreign key that holds at once needs none of this.
 */
void
dbp_hier_announce(HierState *state, HierQueue *queue)
{
	uint64		arrivals = 0;

	if (dbp_hier_immediate_fk(state))
		return;
	for (int i = 0; i < queue->ntouched; i++)
	{
		HierTouched *touched = queue->touched[i];

		if (!touched->known || touched->exists)
			arrivals |= dbp_hier_arrival(state, touched->head.key);
	}
	dbp_hier_lock_arrivals(state, arrivals, false);
}

/* ---- flushing -------------------------------------------------------------- */

/*
 * carry_over keeps what a flush has left for the next one.
 */
static void
carry_over(Pending *pending, HierState *state, HierQueue *old)
{
	for (int i = 0; i < old->ntouched; i++)
	{
		HierTouched *from = old->touched[i];
		HierQueue  *queue;
		HierTouched *to;
		bool		found;

		if (!from->carried)
			continue;
		queue = get_queue(pending, state);
		to = dbp_hier_touch(queue, from->head.key, &found);
		to->known = from->known && !found;
		to->exists = from->exists;
		if (from->parent != NULL)
		{
			MemoryContext oldcxt = MemoryContextSwitchTo(queue->cxt);

			to->parent = dbp_key_copy(&state->type, from->parent);
			MemoryContextSwitchTo(oldcxt);
		}
	}
	/* Each time what is carried has doubled: it is looked at again and again. */
	if (pending->queue != NULL)
		pending->flush_at = Max(CHUNK_TOUCHED, pending->queue->ntouched * 2);
}

/*
 * is_restoring tells whether this session is a restore which has not made the
 * indexes of a hierarchy's storage yet: triggers of partitioned tables can come
 * before the rows of partitions.  What is in the storage by then, or comes, is
 * right for all rows that come.  Only pg_dump's scripts switch both settings
 * off.
 */
static bool
is_restoring(HierState *state)
{
	Relation	storage;
	List	   *indexes;

	if (row_security || check_function_bodies)
		return false;
	storage = table_open(state->storageid, AccessShareLock);
	indexes = RelationGetIndexList(storage);
	table_close(storage, NoLock);
	return list_length(indexes) < 2;
}

/*
 * is_due tells whether there is something to flush.  What triggers of the
 * storage write to the table waits until the flush that fired them is done.
 */
static bool
is_due(Pending *pending)
{
	return pending != NULL && pending->queue != NULL && pending->queue->ntouched > 0 &&
		pending->flushing == 0;
}

/*
 * flush_once brings a hierarchy in line with its table for what is queued.
 */
static void
flush_once(Pending *pending, bool final)
{
	HierQueue  *queue = pending->queue;
	MemoryContext oldcxt;
	Relation	root;
	Trigger    *trigger;
	HierState  *state;

	root = table_open(pending->rootid, AccessShareLock);
	trigger = dbp_find_trigger(root, pending->trigger);
	if (trigger == NULL)
		ereport(ERROR,
				(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
				 errmsg("table %s has lost its trigger \"%s\"", dbp_relation_name(root),
						pending->trigger),
				 errhint("Enable its hierarchy again.")));
	state = dbp_hier_state(root, trigger);

	/* What triggers of the storage do belongs to the next flush. */
	pending->queue = NULL;
	queue->flushed_at = GetCurrentTransactionNestLevel();
	if (queue->flushed_at > queue->level)
	{
		queue->next = pending->flushed_inside;
		pending->flushed_inside = queue;
	}
	queue->final = final;
	CommandCounterIncrement();
	oldcxt = MemoryContextSwitchTo(queue->cxt);
	pending->flushing = GetCurrentTransactionNestLevel();
	if (!is_restoring(state))
		flushes[state->spec.kind] (state, queue);
	pending->flushing = 0;
	MemoryContextSwitchTo(oldcxt);
	if (!final)
		carry_over(pending, state, queue);
	if (queue->flushed_at == queue->level)
		MemoryContextDelete(queue->cxt);
	table_close(root, NoLock);
}

static void
flush_pending(Pending *pending)
{
	while (is_due(pending))
		flush_once(pending, true);
}

/*
 * dbp_hier_flush brings a hierarchy in line with its table, at the end of a
 * statement.
 */
void
dbp_hier_flush(HierState *state)
{
	flush_pending(find_pending(state->storageid));
}

/*
 * dbp_hier_flush_chunk does so in the middle of one, if there is enough.  Nodes
 * that moved must be seen together: one may go below another.
 */
void
dbp_hier_flush_chunk(HierState *state)
{
	Pending    *pending = find_pending(state->storageid);

	if (is_due(pending) && pending->queue->ntouched >= pending->flush_at &&
		!pending->queue->updates && pending->queue->inserts != pending->queue->deletes)
		flush_once(pending, false);
}

/*
 * retry_orphans looks once more for the parents of nodes that were placed as
 * roots.  From here to the commit nobody else can bring one.
 */
static void
retry_orphans(Pending *pending)
{
	Relation	root = try_table_open(pending->rootid, AccessShareLock);
	Trigger    *trigger;
	HierState  *state;
	HierQueue  *queue;
	HierMapIterator iterator;
	HierMapEntry *orphan;
	uint64		missing = 0;

	if (root == NULL)
		return;					/* dropped by now */
	trigger = dbp_find_trigger(root, pending->trigger);
	state = trigger != NULL ? dbp_hier_state(root, trigger) : NULL;
	table_close(root, NoLock);
	if (state == NULL)
		return;
	queue = get_queue(pending, state);
	dbp_map_iterate(pending->orphans, &iterator);
	while ((orphan = dbp_map_next(pending->orphans, &iterator)) != NULL)
	{
		bool		found;
		HierTouched *touched = dbp_hier_touch(queue, orphan->key, &found);

		dbp_hier_require_known(state, queue, touched);
		if (touched->exists && touched->parent != NULL)
			missing |= dbp_hier_arrival(state, touched->parent);
	}
	dbp_hier_lock_arrivals(state, missing, true);
	flush_pending(pending);
}

static void
flush_all(void)
{
	for (Pending *pending = pendings; pending != NULL; pending = pending->next)
	{
		if (pending->queue == NULL && pending->orphans == NULL)
			continue;
		PushActiveSnapshot(GetTransactionSnapshot());
		flush_pending(pending);
		if (pending->orphans != NULL)
			retry_orphans(pending);
		PopActiveSnapshot();
	}
}

static void
at_xact_end(XactEvent event, void *arg)
{
	switch (event)
	{
		case XACT_EVENT_PRE_COMMIT:
		case XACT_EVENT_PRE_PREPARE:
			flush_all();
			break;
		case XACT_EVENT_COMMIT:
		case XACT_EVENT_ABORT:
		case XACT_EVENT_PREPARE:
			pendings = NULL;
			break;
		default:
			break;
	}
}

/*
 * forget_known says that what is known of touched nodes may be wrong.
 */
static void
forget_known(HierQueue *queue)
{
	for (int i = 0; i < queue->ntouched; i++)
		queue->touched[i]->known = false;
}

/*
 * end_inside ends a subtransaction for the queues that were flushed inside of
 * one.  If it is rolled back, a queue from further outside is to be flushed once
 * more; no other one can have begun there meanwhile.
 */
static void
end_inside(Pending *pending, int level, bool is_abort)
{
	HierQueue **link = &pending->flushed_inside;

	while (*link != NULL)
	{
		HierQueue  *queue = *link;

		if (queue->flushed_at < level)
		{
			link = &queue->next;
			continue;
		}
		if (is_abort)
		{
			*link = queue->next;
			if (queue->level >= level)
				continue;		/* it goes with its memory */
			forget_known(queue);
			pending->queue = queue;
		}
		else if (--queue->flushed_at > queue->level)
			link = &queue->next;
		else
		{
			*link = queue->next;
			MemoryContextDelete(queue->cxt);
		}
	}
}

static void
at_subxact_end(SubXactEvent event, SubTransactionId mine, SubTransactionId parent,
			   void *arg)
{
	int			level = GetCurrentTransactionNestLevel();
	bool		is_abort = event == SUBXACT_EVENT_ABORT_SUB;

	if (!is_abort && event != SUBXACT_EVENT_COMMIT_SUB)
		return;
	for (Pending *pending = pendings; pending != NULL; pending = pending->next)
	{
		HierQueue  *queue = pending->queue;

		if (is_abort && pending->flushing >= level)
			pending->flushing = 0;
		if (queue != NULL && queue->level == level)
		{
			if (is_abort)
				pending->queue = NULL;
			else
				queue->level--;
		}
		else if (queue != NULL && is_abort)
			forget_known(queue);
		end_inside(pending, level, is_abort);
	}
}

/*
 * dbp_hier_queue_init prepares this backend.
 */
void
dbp_hier_queue_init(void)
{
	RegisterXactCallback(at_xact_end, NULL);
	RegisterSubXactCallback(at_subxact_end, NULL);
}
