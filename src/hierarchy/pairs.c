/*-------------------------------------------------------------------------
 *
 * pairs.c
 *	  Reading and writing a closure table.
 *
 * Pairs are read by the primary key (scope, ancestor, descendant) and by the
 * other index (scope, descendant, ancestor), and written through core's append.
 *
 * The hard part is which pairs to see.  A writer that waited for the lock of a
 * tree must see what was committed meanwhile, and its own changes at once: so
 * the scans look at the table as it is now (SnapshotSelf), which the locks keep
 * from changing.  A transaction that must not see what was committed since it
 * began gets an error where its own snapshot shows other pairs, as foreign
 * keys do it: its changes would rest on a tree that it cannot see.
 *
 * Copyright (c) 2026, dbpatterns contributors
 *
 * src/hierarchy/pairs.c
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "access/genam.h"
#include "access/relscan.h"
#include "access/table.h"
#include "access/tableam.h"
#include "access/xact.h"
#include "compat/compat.h"
#include "core/append.h"
#include "hierarchy/closure.h"
#include "miscadmin.h"
#include "utils/memutils.h"
#include "utils/snapmgr.h"

/* Pairs that wait to be written. */
#define BUFFER_PAIRS	8192

typedef struct Waiting
{
	const Datum *ancestor;
	const Datum *descendant;
	int			depth;
} Waiting;

struct HierPairs
{
	HierState  *state;
	Closure    *closure;
	MemoryContext cxt;			/* owns scans and slots, and what scans keep */
	Relation	rel;
	Relation	forward;
	Relation	backward;
	IndexScanDesc ancestors;	/* scans, made at first need */
	IndexScanDesc descendants;
	IndexScanDesc point;
	TupleTableSlot *slot;		/* for ancestors and point */
	TupleTableSlot *descendant_slot;
	bool		cross_check;	/* the transaction has one snapshot */
	bool		locked;			/* for writing */
	HierCounts *counts;			/* NULL: none are kept */
	bool		by_trigger;		/* deletes must fire triggers of the user's */
	int			nwaiting;
	int			allocated;
	Waiting    *waiting;
};

/* ---- opening and closing ------------------------------------------------------ */

/*
 * dbp_pairs_open opens a closure table to be read.  Who finds out that he needs
 * the lock of the whole must not hold that of a writer by then, or two of them
 * would wait for each other: dbp_pairs_lock comes later.
 */
HierPairs *
dbp_pairs_open(HierState *state)
{
	HierPairs  *pairs = palloc0(sizeof(HierPairs));

	pairs->state = state;
	pairs->cxt = CurrentMemoryContext;
	pairs->rel = table_open(state->storageid, AccessShareLock);
	pairs->closure = dbp_closure_of(pairs->rel, state);
	pairs->forward = index_open(pairs->closure->forward, AccessShareLock);
	pairs->backward = index_open(pairs->closure->backward, AccessShareLock);
	pairs->slot = table_slot_create(pairs->rel, NULL);
	pairs->descendant_slot = table_slot_create(pairs->rel, NULL);
	pairs->cross_check = IsolationUsesXactSnapshot();
	pairs->counts = dbp_counts_begin(state);
	pairs->by_trigger = dbp_hier_deletes_by_trigger(pairs->rel);
	return pairs;
}

static void
end_scan(IndexScanDesc scan)
{
	if (scan != NULL)
		index_endscan(scan);
}

/*
 * dbp_pairs_close writes what waits and ends the work.  Locks are kept.
 */
void
dbp_pairs_close(HierPairs *pairs)
{
	dbp_pairs_write(pairs);
	if (pairs->counts != NULL)
		dbp_counts_write(pairs->counts);
	end_scan(pairs->ancestors);
	end_scan(pairs->descendants);
	end_scan(pairs->point);
	ExecDropSingleTupleTableSlot(pairs->slot);
	ExecDropSingleTupleTableSlot(pairs->descendant_slot);
	index_close(pairs->forward, NoLock);
	index_close(pairs->backward, NoLock);
	table_close(pairs->rel, NoLock);
	pfree(pairs);
}

/* ---- reading ------------------------------------------------------------------ */

static void
set_scan(IndexScanDesc scan, const ScanKeyData *keys, const Datum *key, int n)
{
	ScanKeyData set[2 * HIER_MAX_KEY];

	memcpy(set, keys, sizeof(ScanKeyData) * n);
	for (int i = 0; i < n; i++)
		set[i].sk_argument = key[i];
	index_rescan(scan, set, n, NULL, 0);
}

static void
start_scan(HierPairs *pairs, IndexScanDesc *scan, Relation index, const ScanKeyData *keys,
		   const Datum *key, int n)
{
	MemoryContext oldcxt = MemoryContextSwitchTo(pairs->cxt);

	if (*scan == NULL)
		*scan = index_beginscan(pairs->rel, index, SnapshotSelf, NULL, n, 0);
	set_scan(*scan, keys, key, n);
	MemoryContextSwitchTo(oldcxt);
}

static bool
next_pair(HierPairs *pairs, IndexScanDesc scan, TupleTableSlot *slot)
{
	MemoryContext oldcxt = MemoryContextSwitchTo(pairs->cxt);
	bool		found = index_getnext_slot(scan, ForwardScanDirection, slot);

	MemoryContextSwitchTo(oldcxt);
	return found;
}

static void
read_pair(HierPairs *pairs, TupleTableSlot *slot, const AttrNumber *key, Datum *values,
		  HierPair *pair)
{
	bool		isnull;

	for (int i = 0; i < pairs->state->type.n; i++)
		values[i] = slot_getattr(slot, key[i], &isnull);
	pair->key = values;
	pair->depth = DatumGetInt32(slot_getattr(slot, pairs->closure->depth, &isnull));
	pair->tid = slot->tts_tid;
	pair->ours = dbp_hier_is_own_row(slot);
}

/*
 * current_snapshot is the transaction's own, with what it has done up to now.
 */
static Snapshot
current_snapshot(void)
{
	CommandCounterIncrement();
	return GetTransactionSnapshot();
}

/*
 * frozen_snapshot is a copy of it that does not move on with our commands.
 */
static Snapshot
frozen_snapshot(void)
{
	Snapshot	snapshot;

	PushCopiedSnapshot(current_snapshot());
	snapshot = RegisterSnapshot(GetActiveSnapshot());
	PopActiveSnapshot();
	return snapshot;
}

/*
 * cross_check raises unless a snapshot of the transaction shows as many pairs
 * in an index scan, and in the same places if tids is not NULL.
 */
static void
cross_check(HierPairs *pairs, Snapshot snapshot, Relation index, const ScanKeyData *keys,
			const Datum *key, int n, ItemPointerData *tids, int64 npairs)
{
	TupleTableSlot *slot = table_slot_create(pairs->rel, NULL);
	IndexScanDesc scan;
	int64		found = 0;

	scan = index_beginscan(pairs->rel, index, snapshot, NULL, n, 0);
	set_scan(scan, keys, key, n);
	while (index_getnext_slot(scan, ForwardScanDirection, slot))
	{
		if (found == npairs || (tids != NULL && !ItemPointerEquals(&slot->tts_tid, &tids[found])))
			dbp_hier_refuse_snapshot(pairs->rel);
		found++;
	}
	if (found != npairs)
		dbp_hier_refuse_snapshot(pairs->rel);
	index_endscan(scan);
	ExecDropSingleTupleTableSlot(slot);
}

static void
add_to_list(HierPairs *pairs, HierPairList *list, const HierPair *pair)
{
	if (list->n == list->allocated)
	{
		list->allocated = Max(8, list->allocated * 2);
		list->pairs = list->pairs == NULL ?
			palloc(sizeof(HierPair) * list->allocated) :
			repalloc_huge(list->pairs, sizeof(HierPair) * list->allocated);
	}
	list->pairs[list->n] = *pair;
	list->pairs[list->n++].key = dbp_key_copy(&pairs->state->type, pair->key);
}

/*
 * dbp_pairs_ancestors lists the ancestors of a node, the node itself included:
 * none means that the node is not there.
 */
void
dbp_pairs_ancestors(HierPairs *pairs, const Datum *node, HierPairList *list)
{
	Closure    *closure = pairs->closure;
	int			n = pairs->state->type.n;
	Datum		values[HIER_MAX_KEY];
	HierPair	pair;

	memset(list, 0, sizeof(*list));
	start_scan(pairs, &pairs->ancestors, pairs->backward, closure->backward_keys, node, n);
	while (next_pair(pairs, pairs->ancestors, pairs->slot))
	{
		read_pair(pairs, pairs->slot, closure->ancestor, values, &pair);
		add_to_list(pairs, list, &pair);
	}
	if (pairs->cross_check)
	{
		ItemPointerData *tids = palloc(sizeof(ItemPointerData) * (list->n + 1));

		for (int i = 0; i < list->n; i++)
			tids[i] = list->pairs[i].tid;
		cross_check(pairs, current_snapshot(), pairs->backward, closure->backward_keys, node, n,
					tids, list->n);
		pfree(tids);
	}
}

/*
 * dbp_pairs_descendants visits the descendants of a node in the order of their
 * keys, the node itself included.
 */
void
dbp_pairs_descendants(HierPairs *pairs, const Datum *node, HierPairVisit visit, void *arg)
{
	Closure    *closure = pairs->closure;
	int			n = pairs->state->type.n;
	Datum		values[HIER_MAX_KEY];
	HierPair	pair;
	Snapshot	snapshot = pairs->cross_check ? frozen_snapshot() : NULL;
	int64		found = 0;

	start_scan(pairs, &pairs->descendants, pairs->forward, closure->forward_keys, node, n);
	while (next_pair(pairs, pairs->descendants, pairs->descendant_slot))
	{
		CHECK_FOR_INTERRUPTS();
		read_pair(pairs, pairs->descendant_slot, closure->descendant, values, &pair);
		if (snapshot != NULL)
		{
			bool		shown = table_tuple_satisfies_snapshot(pairs->rel, pairs->descendant_slot,
															   snapshot);

			/* One of ours that it does not show was written by this visit. */
			if (!shown && !pair.ours)
				dbp_hier_refuse_snapshot(pairs->rel);
			found += shown;
		}
		visit(pairs, &pair, arg);
	}

	/* What the visit has deleted meanwhile, the snapshot still shows. */
	if (snapshot != NULL)
	{
		cross_check(pairs, snapshot, pairs->forward, closure->forward_keys, node, n, NULL, found);
		UnregisterSnapshot(snapshot);
	}
}

/*
 * dbp_pairs_find finds the pair of two nodes; pair->key is not set.
 */
bool
dbp_pairs_find(HierPairs *pairs, const Datum *ancestor, const Datum *descendant,
			   HierPair *pair)
{
	Closure    *closure = pairs->closure;
	int			nscope = pairs->state->spec.nscope;
	int			n = pairs->state->type.n;
	Datum		key[2 * HIER_MAX_KEY];
	Datum		values[HIER_MAX_KEY];
	bool		found;

	memcpy(key, ancestor, sizeof(Datum) * n);
	memcpy(key + n, descendant + nscope, sizeof(Datum) * (n - nscope));
	start_scan(pairs, &pairs->point, pairs->forward, closure->forward_keys, key, 2 * n - nscope);
	found = next_pair(pairs, pairs->point, pairs->slot);
	if (found)
		read_pair(pairs, pairs->slot, closure->descendant, values, pair);
	pair->key = NULL;
	if (pairs->cross_check)
		cross_check(pairs, current_snapshot(), pairs->forward, closure->forward_keys, key,
					2 * n - nscope, &pair->tid, found ? 1 : 0);
	return found;
}

/* ---- writing ------------------------------------------------------------------ */

/*
 * dbp_pairs_lock locks the closure table as its writers do, and tells whether
 * that is new, so that what was read may be out of date: whoever repairs or
 * rebuilds the closure table keeps them out.
 */
bool
dbp_pairs_lock(HierPairs *pairs)
{
	bool		new = !pairs->locked && dbp_hier_lock_writing(pairs->rel);

	pairs->locked = true;
	return new;
}

/*
 * count_pair tells the counters of a pair that comes or goes.
 */
static void
count_pair(HierPairs *pairs, const Datum *ancestor, int depth, bool added)
{
	int			sign = added ? 1 : -1;

	if (pairs->counts == NULL)
		return;
	if (depth == 0)
		dbp_counts_node(pairs->counts, ancestor, added);
	else
		dbp_counts_add(pairs->counts, ancestor, depth == 1 ? sign : 0, sign);
}

/*
 * dbp_pairs_delete deletes a pair that was read.
 */
void
dbp_pairs_delete(HierPairs *pairs, const HierPair *pair, const Datum *ancestor,
				 const Datum *descendant)
{
	(void) dbp_pairs_lock(pairs);
	count_pair(pairs, ancestor, pair->depth, false);
	dbp_hier_delete_row(pairs->rel, &pair->tid, pairs->by_trigger);
}

/*
 * dbp_pairs_add adds a pair.
 */
void
dbp_pairs_add(HierPairs *pairs, const Datum *ancestor, const Datum *descendant, int depth)
{
	HierState  *state = pairs->state;
	Waiting    *waiting;

	if (state->spec.max_depth > 0 && depth > state->spec.max_depth)
		ereport(ERROR,
				(errcode(ERRCODE_CHECK_VIOLATION),
				 errmsg("hierarchy \"%s\" is deeper than its limit of %d",
						state->spec.storage, state->spec.max_depth),
				 errdetail("Node %s would be %d below node %s.",
						   dbp_key_text(&state->type, descendant), depth,
						   dbp_key_text(&state->type, ancestor)),
				 errhint("Enable it with a greater max_depth, or NULL for no limit."),
				 errtableconstraint(pairs->rel, state->spec.storage)));

	if (pairs->nwaiting == pairs->allocated)
	{
		if (pairs->allocated == BUFFER_PAIRS)
			dbp_pairs_write(pairs);
		else
		{
			MemoryContext oldcxt = MemoryContextSwitchTo(pairs->cxt);

			pairs->allocated = Max(16, pairs->allocated * 2);
			pairs->waiting = pairs->waiting == NULL ?
				palloc(sizeof(Waiting) * pairs->allocated) :
				repalloc(pairs->waiting, sizeof(Waiting) * pairs->allocated);
			MemoryContextSwitchTo(oldcxt);
		}
	}
	waiting = &pairs->waiting[pairs->nwaiting++];
	waiting->ancestor = ancestor;
	waiting->descendant = descendant;
	waiting->depth = depth;
	count_pair(pairs, ancestor, depth, true);
}

static void
fill_pair(TupleTableSlot *slot, int row, void *arg)
{
	HierPairs  *pairs = arg;
	Closure    *closure = pairs->closure;
	Waiting    *waiting = &pairs->waiting[row];

	memset(slot->tts_isnull, true, slot->tts_tupleDescriptor->natts * sizeof(bool));
	for (int i = 0; i < pairs->state->type.n; i++)
	{
		slot->tts_values[closure->ancestor[i] - 1] = waiting->ancestor[i];
		slot->tts_isnull[closure->ancestor[i] - 1] = false;
		slot->tts_values[closure->descendant[i] - 1] = waiting->descendant[i];
		slot->tts_isnull[closure->descendant[i] - 1] = false;
	}
	slot->tts_values[closure->depth - 1] = Int32GetDatum(waiting->depth);
	slot->tts_isnull[closure->depth - 1] = false;
}

/*
 * dbp_pairs_write writes the pairs that wait.
 */
void
dbp_pairs_write(HierPairs *pairs)
{
	if (pairs->nwaiting == 0)
		return;
	(void) dbp_pairs_lock(pairs);
	dbp_append(dbp_append_relation(pairs->state->storageid), 0, pairs->nwaiting,
			   fill_pair, pairs);
	pairs->nwaiting = 0;
}
