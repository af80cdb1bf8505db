/*-------------------------------------------------------------------------
 *
 * capture.c
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
 * comes twice, or whose row has changed again, is looked up in the table when
 * the queue is flushed.  Only what a row says for certain is taken from it:
 * that it is the newest version, or that it went after the last flush.
 *
 * Copyright (c) 2026, dbpatterns contributors
 *
 * src/hierarchy/capture.c
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "access/htup_details.h"
#include "access/table.h"
#include "access/xact.h"
#include "catalog/pg_class.h"
#include "core/names.h"
#include "core/owner.h"
#include "core/trigger.h"
#include "hierarchy/hierarchy.h"
#include "utils/memutils.h"
#include "utils/snapmgr.h"

PG_FUNCTION_INFO_V1(dbpatterns_closure_trigger);
PG_FUNCTION_INFO_V1(dbpatterns_closure_graph_trigger);
PG_FUNCTION_INFO_V1(dbpatterns_nested_set_trigger);

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
	int			level;			/* nest level of the transaction that owns queue */
	int			flush_at;		/* flush when it holds so many, if it may be */
	bool		flushed;
	CommandId	flushed_by;		/* command of the last flush */
	bool		widened;		/* a flush has taken nodes before their rows came */
	MemoryContext orphan_cxt;	/* NULL: there are none */
	HierMap    *orphans;		/* nodes placed as roots for want of their parent */
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
	pending->level = GetCurrentTransactionNestLevel();
	pending->flush_at = CHUNK_TOUCHED;
	return queue;
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
	touched->known = true;
}

/* ---- orphans --------------------------------------------------------------- */

/*
 * dbp_hier_remember_orphan remembers a node whose parent is not there, to try
 * again before the commit: another transaction may bring it.
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
 * dbp_hier_widen says that a flush takes nodes that no row has told it of: what
 * comes from now on may be stored already.
 */
void
dbp_hier_widen(HierState *state)
{
	get_pending(state)->widened = true;
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
		to->inserted = from->inserted && !found;
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
 * flush_pending brings a hierarchy in line with its table.
 */
static void
flush_pending(Pending *pending, bool final)
{
	HierQueue  *queue = pending->queue;
	MemoryContext oldcxt;
	Relation	root;
	Trigger    *trigger;
	HierState  *state;

	if (queue == NULL)
		return;
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
	queue->final = final;
	CommandCounterIncrement();
	pending->flushed = true;
	pending->flushed_by = GetCurrentCommandId(true);
	oldcxt = MemoryContextSwitchTo(queue->cxt);
	flushes[state->spec.kind] (state, queue);
	MemoryContextSwitchTo(oldcxt);
	if (!final)
		carry_over(pending, state, queue);
	MemoryContextDelete(queue->cxt);
	table_close(root, NoLock);
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
	bool		found;

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
		(void) dbp_hier_touch(queue, orphan->key, &found);
	queue->lock_missing = true;
	flush_pending(pending, true);
}

static void
flush_all(void)
{
	for (Pending *pending = pendings; pending != NULL; pending = pending->next)
	{
		if (pending->queue == NULL && pending->orphans == NULL)
			continue;
		PushActiveSnapshot(GetTransactionSnapshot());
		flush_pending(pending, true);
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

static void
at_subxact_end(SubXactEvent event, SubTransactionId mine, SubTransactionId parent,
			   void *arg)
{
	int			level = GetCurrentTransactionNestLevel();

	for (Pending *pending = pendings; pending != NULL; pending = pending->next)
	{
		HierQueue  *queue = pending->queue;

		if (queue == NULL)
			continue;
		if (event == SUBXACT_EVENT_COMMIT_SUB && pending->level == level)
			pending->level--;
		if (event != SUBXACT_EVENT_ABORT_SUB)
			continue;
		if (pending->level >= level)
			pending->queue = NULL;
		else
		{
			for (int i = 0; i < queue->ntouched; i++)
				queue->touched[i]->known = queue->touched[i]->inserted = false;
		}
	}
}

/*
 * dbp_hier_capture_init prepares this backend.
 */
void
dbp_hier_capture_init(void)
{
	RegisterXactCallback(at_xact_end, NULL);
	RegisterSubXactCallback(at_subxact_end, NULL);
}

/* ---- the triggers ---------------------------------------------------------- */

/*
 * read_key reads a key from a row; false if a column of it from "first" on is
 * NULL.
 */
static bool
read_key(TupleTableSlot *slot, const AttrNumber *attnums, int n, int first, Datum *key)
{
	for (int i = 0; i < n; i++)
	{
		bool		isnull;

		key[i] = slot_getattr(slot, attnums[i], &isnull);
		if (isnull && i >= first)
			return false;
	}
	return true;
}

static bool
read_parent(HierState *state, TupleTableSlot *slot, Datum *parent)
{
	return state->spec.kind != HIER_GRAPH &&
		read_key(slot, state->parent, state->type.n, state->spec.nscope, parent);
}

/*
 * is_newest tells whether no command of ours has changed a row since.
 */
static bool
is_newest(TupleTableSlot *slot, HeapTuple tuple)
{
	return TTS_IS_BUFFERTUPLE(slot) &&
		((tuple->t_data->t_infomask & HEAP_XMAX_INVALID) != 0 ||
		 HEAP_XMAX_IS_LOCKED_ONLY(tuple->t_data->t_infomask));
}

/*
 * went_after_flush tells whether a row was removed later than the last flush,
 * so that no row with its key can have come without passing through the queue.
 */
static bool
went_after_flush(Pending *pending, TupleTableSlot *slot, HeapTuple tuple)
{
	if (!TTS_IS_BUFFERTUPLE(slot) || HeapTupleHeaderIndicatesMovedPartitions(tuple->t_data) ||
		!TransactionIdIsCurrentTransactionId(HeapTupleHeaderGetUpdateXid(tuple->t_data)))
		return false;
	return !pending->flushed ||
		HeapTupleHeaderGetCmax(tuple->t_data) > pending->flushed_by;
}

static void
touch_removed(HierState *state, Pending *pending, TupleTableSlot *slot, HeapTuple tuple)
{
	HierQueue  *queue = get_queue(pending, state);
	Datum		key[2 * HIER_MAX_KEY];
	HierTouched *touched;
	bool		found;

	if (!read_key(slot, state->key, state->queue_type.n, 0, key))
		return;					/* it never was a node */
	touched = dbp_hier_touch(queue, key, &found);
	touched->known = !found && state->spec.kind != HIER_GRAPH &&
		went_after_flush(pending, slot, tuple);
	touched->inserted = false;
	touched->exists = false;
}

static void
touch_present(HierState *state, Pending *pending, Relation rel, TupleTableSlot *slot,
			  HeapTuple tuple, bool is_insert)
{
	HierQueue  *queue = get_queue(pending, state);
	Datum		key[2 * HIER_MAX_KEY];
	Datum		parent[HIER_MAX_KEY];
	HierTouched *touched;
	bool		found;

	if (!read_key(slot, state->key, state->queue_type.n, 0, key))
	{
		if (state->spec.kind == HIER_GRAPH)
			return;				/* not an edge */
		ereport(ERROR,
				(errcode(ERRCODE_NOT_NULL_VIOLATION),
				 errmsg("a row of %s has NULL in its key and cannot be part of a hierarchy",
						dbp_relation_name(rel)),
				 errhint("The columns of the key must be NOT NULL.")));
	}
	touched = dbp_hier_touch(queue, key, &found);
	touched->known = !found && is_newest(slot, tuple);
	touched->inserted = touched->known && is_insert && !pending->widened;
	touched->exists = true;
	touched->parent = NULL;
	if (touched->known && read_parent(state, slot, parent))
	{
		MemoryContext oldcxt = MemoryContextSwitchTo(queue->cxt);

		touched->parent = dbp_key_copy(&state->type, parent);
		MemoryContextSwitchTo(oldcxt);
	}
}

/*
 * is_unchanged tells whether an update left key and parent as they were.
 */
static bool
is_unchanged(HierState *state, TriggerData *data)
{
	Datum		old[2 * HIER_MAX_KEY];
	Datum		new[2 * HIER_MAX_KEY];
	bool		has_old = read_key(data->tg_trigslot, state->key, state->queue_type.n, 0, old);
	bool		has_new = read_key(data->tg_newslot, state->key, state->queue_type.n, 0, new);

	if (has_old != has_new || (has_old && !dbp_key_equal(&state->queue_type, old, new)))
		return false;
	has_old = read_parent(state, data->tg_trigslot, old);
	has_new = read_parent(state, data->tg_newslot, new);
	return has_old == has_new && (!has_old || dbp_key_equal(&state->type, old, new));
}

static void
touch_row(HierState *state, TriggerData *data)
{
	Pending    *pending = get_pending(state);
	HierQueue  *queue;

	if (TRIGGER_FIRED_BY_INSERT(data->tg_event))
		touch_present(state, pending, data->tg_relation, data->tg_trigslot, data->tg_trigtuple,
					  true);
	else if (TRIGGER_FIRED_BY_DELETE(data->tg_event))
		touch_removed(state, pending, data->tg_trigslot, data->tg_trigtuple);
	else if (!is_unchanged(state, data))
	{
		touch_removed(state, pending, data->tg_trigslot, data->tg_trigtuple);
		touch_present(state, pending, data->tg_relation, data->tg_newslot, data->tg_newtuple,
					  false);
	}

	queue = pending->queue;
	if (queue == NULL)
		return;
	queue->inserts |= TRIGGER_FIRED_BY_INSERT(data->tg_event);
	queue->deletes |= TRIGGER_FIRED_BY_DELETE(data->tg_event);
	queue->updates |= TRIGGER_FIRED_BY_UPDATE(data->tg_event);

	/* Nodes that moved must be seen together: one may go below another. */
	if (queue->ntouched >= pending->flush_at && !queue->updates &&
		queue->inserts != queue->deletes)
		flush_pending(pending, false);
}

/*
 * follow_truncate brings a hierarchy in line after TRUNCATE, of the whole table
 * or of a partition.
 */
static void
follow_truncate(HierState *state)
{
	DbpOwnerScope scope;

	SPI_connect();
	dbp_enter_owner(&scope, dbp_relation_owner(state->head.rootid));
	dbp_sql_query(psprintf("SELECT FROM %s LIMIT 1",
						   dbp_relation_name_by_oid(state->head.rootid)), 0, NULL);
	if (SPI_processed == 0)
	{
		dbp_sql_command("TRUNCATE %s", dbp_relation_name_by_oid(state->storageid));
		dbp_leave_owner(&scope);
		if (state->spec.counters)
			dbp_counts_clear(state);
	}
	else
	{
		dbp_leave_owner(&scope);
		dbp_hier_sync(state);
	}
	SPI_finish();
}

/*
 * run_trigger does the work of the three trigger functions.
 */
static Datum
run_trigger(FunctionCallInfo fcinfo, HierKind kind, const char *function)
{
	TriggerData *data = dbp_trigger_data(fcinfo, function);
	HierState  *state;
	Pending    *pending;

	if (!TRIGGER_FIRED_AFTER(data->tg_event))
		ereport(ERROR,
				(errcode(ERRCODE_E_R_I_E_TRIGGER_PROTOCOL_VIOLATED),
				 errmsg("trigger \"%s\" of table %s must be fired AFTER",
						data->tg_trigger->tgname, dbp_relation_name(data->tg_relation)),
				 errhint("Enable the hierarchy, which creates its triggers.")));

	state = dbp_hier_state(data->tg_relation, data->tg_trigger);
	if (state->spec.kind != kind)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("argument of trigger \"%s\" of table %s is for another pattern",
						data->tg_trigger->tgname, dbp_relation_name(data->tg_relation)),
				 errhint("Enable the hierarchy, which creates its triggers.")));

	if (TRIGGER_FIRED_FOR_ROW(data->tg_event))
		touch_row(state, data);
	else
	{
		pending = find_pending(state->storageid);
		if (pending != NULL)
			flush_pending(pending, true);
		if (TRIGGER_FIRED_BY_TRUNCATE(data->tg_event))
			follow_truncate(state);
	}
	return PointerGetDatum(NULL);
}

/*
 * closure_trigger() keeps the closure table of an adjacency list exact.
 *
 * As a row trigger (AFTER INSERT, UPDATE or DELETE) it notes which nodes were
 * touched; as a statement trigger it brings the closure table in line.  Its
 * argument is a JSON object that closure_enable makes.
 *
 * Raises 39P01 when called otherwise, 22023 or 22P02 for a bad argument, 42P01
 * or 42703 when the closure table or a column is gone, 23514 for a cycle, a
 * depth over the limit or a parent in another scope, 23503 for an orphan where
 * the options refuse it, 40001 when REPEATABLE READ or SERIALIZABLE cannot
 * hold, 55000 when library and SQL have different versions.  Locks ROW
 * EXCLUSIVE on the closure table, trees as lock.c says.  Runs as the caller,
 * who needs no right on the closure table.
 */
Datum
dbpatterns_closure_trigger(PG_FUNCTION_ARGS)
{
	return run_trigger(fcinfo, HIER_TREE, "closure_trigger");
}

/*
 * closure_graph_trigger() keeps the closure table of a table of edges exact.
 *
 * Raises as closure_trigger does, but for scopes and orphans.  Locks SHARE ROW
 * EXCLUSIVE on the closure table when edges changed.  Runs as the caller, who
 * needs no right on the closure table.
 */
Datum
dbpatterns_closure_graph_trigger(PG_FUNCTION_ARGS)
{
	return run_trigger(fcinfo, HIER_GRAPH, "closure_graph_trigger");
}

/*
 * nested_set_trigger() keeps the nested sets of an adjacency list exact.
 *
 * Raises as closure_trigger does.  Locks ROW EXCLUSIVE on the table of nested
 * sets, and the trees that change.  Runs as the caller, who needs no right on
 * that table.
 */
Datum
dbpatterns_nested_set_trigger(PG_FUNCTION_ARGS)
{
	return run_trigger(fcinfo, HIER_NESTED, "nested_set_trigger");
}
