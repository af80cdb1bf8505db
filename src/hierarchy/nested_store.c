/*-------------------------------------------------------------------------
 *
 * nested_store.c
 *	  Reading and writing the table that holds nested sets.
 *
 * Rows are read through the indexes that nested_set_enable made: by node, by
 * (tree, lft) and by (tree, depth, lft).  The last one finds what nested sets
 * are said to be slow at, in one probe a level: the last node of depth d that
 * begins at or before x is the ancestor of x at that depth.
 *
 * Reads show what is committed at that moment, and all that this transaction
 * wrote: a flush holds the locks of the trees it reads, and goes on from what
 * it finds there, not from a snapshot taken before it waited.  Where the
 * transaction has one snapshot for all its statements (REPEATABLE READ and
 * above), a row that this does not show, or that it still shows, makes a
 * serialization failure.
 *
 * Rows to write wait and go to the table together, by core's append.  A row
 * that changes is deleted and written anew: numbers move along in a tree, so
 * the rows that change give up theirs before others take them.
 *
 * Copyright (c) 2026, dbpatterns contributors
 *
 * src/hierarchy/nested_store.c
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "access/genam.h"
#include "access/htup_details.h"
#include "access/relscan.h"
#include "access/table.h"
#include "access/tableam.h"
#include "access/xact.h"
#include "catalog/pg_am.h"
#include "compat/compat.h"
#include "core/append.h"
#include "core/names.h"
#include "hierarchy/nested.h"
#include "miscadmin.h"
#include "utils/builtins.h"
#include "utils/lsyscache.h"
#include "utils/memutils.h"
#include "utils/snapmgr.h"

/* Rows that wait to be written. */
#define BUFFER_ROWS		8192

/* Columns of an index of ours: a key, depth, lft. */
#define MAX_KEYS		(HIER_MAX_KEY + 3)

/* How an index is scanned: keys with their arguments left open. */
typedef struct Probe
{
	Relation	index;
	IndexScanDesc scan;
	int			n;
	ScanKeyData keys[MAX_KEYS];
} Probe;

/* What is known of a storage. */
typedef struct Shape
{
	DbpRelState head;			/* MUST BE FIRST */
	HierKeyShape keys;			/* of the keys that fit */
	NestedColumns columns;
	Oid			node_index;
	Oid			lft_index;
	Oid			depth_index;
} Shape;

struct NestedStore
{
	HierState  *state;
	Relation	rel;
	Shape	   *shape;
	int			n;				/* columns of a key */
	Probe		by_node;
	Probe		up_to_lft;		/* of a tree */
	Probe		up_to_lft_at;	/* of a tree, at one depth */
	Probe		from_lft;
	Probe		between_lft;
	TupleTableSlot *slot;
	bool		repair;			/* whatever the rows say */
	Snapshot	crosscheck;		/* NULL: each statement has its own */
	MemoryContext cxt;
	bool		by_trigger;		/* deletes must fire triggers of the user's */
	int			nwaiting;
	int			allocated;
	NestedRow  *waiting;
	CommandId	written_by;		/* command of the last write */
};

static DbpRelStateCache *shapes;

/* ---- opening --------------------------------------------------------------- */

static bool
has_keys(Relation index, const AttrNumber *attnums, int n)
{
	if (index->rd_rel->relam != BTREE_AM_OID || !index->rd_index->indisvalid ||
		index->rd_index->indnkeyatts != n || RelationGetIndexPredicate(index) != NIL)
		return false;
	for (int i = 0; i < n; i++)
	{
		if (index->rd_index->indkey.values[i] != attnums[i] || index->rd_indoption[i] != 0)
			return false;
	}
	return true;
}

/*
 * find_indexes finds the indexes of ours by what they are on.
 */
static void
find_indexes(Shape *shape, Relation rel)
{
	NestedColumns *columns = &shape->columns;
	AttrNumber	attnums[MAX_KEYS];
	int			n = columns->n;
	ListCell   *lc;

	foreach(lc, RelationGetIndexList(rel))
	{
		Relation	index = index_open(lfirst_oid(lc), AccessShareLock);

		memcpy(attnums, columns->tree, sizeof(AttrNumber) * n);
		if (has_keys(index, columns->node, n))
			shape->node_index = lfirst_oid(lc);
		attnums[n] = columns->lft;
		if (has_keys(index, attnums, n + 1))
			shape->lft_index = lfirst_oid(lc);
		attnums[n] = columns->depth;
		attnums[n + 1] = columns->lft;
		if (has_keys(index, attnums, n + 2))
			shape->depth_index = lfirst_oid(lc);
		index_close(index, AccessShareLock);
	}
	if (!OidIsValid(shape->node_index) || !OidIsValid(shape->lft_index) ||
		!OidIsValid(shape->depth_index))
		ereport(ERROR,
				(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
				 errmsg("table %s lacks an index it had when it was made",
						dbp_relation_name(rel)),
				 errhint("It needs indexes on node; on tree, lft; and on tree, depth, lft.")));
}

static void
build_shape(DbpRelState *head, Relation rel, void *arg)
{
	Shape	   *shape = (Shape *) head;
	HierState  *state = arg;

	head->rootid = head->relid;
	dbp_nested_find_columns(rel, &state->spec, &shape->columns);
	dbp_key_shape(state, &shape->keys);
	if (!dbp_key_fits(&state->type, rel, shape->columns.node) ||
		!dbp_key_fits(&state->type, rel, shape->columns.tree))
		dbp_key_refuse_storage(state, rel);
	find_indexes(shape, rel);
}

/*
 * dbp_nested_store_init prepares this backend.
 */
void
dbp_nested_store_init(void)
{
	shapes = dbp_relstate_cache("dbpatterns nested sets", sizeof(Shape), build_shape);
}

/*
 * dbp_nested_open opens the storage, in CurrentMemoryContext; dbp_nested_lock
 * comes before changes.  repair: take rows as they are.
 */
NestedStore *
dbp_nested_open(HierState *state, bool repair)
{
	NestedStore *store = palloc0(sizeof(NestedStore));
	HierKeyShape keys;

	store->state = state;
	store->repair = repair;
	store->cxt = CurrentMemoryContext;
	store->rel = table_open(state->storageid, AccessShareLock);
	store->shape = (Shape *) dbp_relstate_get(shapes, store->rel, InvalidOid, state);
	store->n = store->shape->columns.n;
	dbp_key_shape(state, &keys);
	if (memcmp(&keys, &store->shape->keys, sizeof(HierKeyShape)) != 0)
		dbp_key_refuse_storage(state, store->rel);
	store->slot = table_slot_create(store->rel, NULL);
	store->written_by = InvalidCommandId;
	store->by_trigger = dbp_hier_deletes_by_trigger(store->rel);
	if (IsolationUsesXactSnapshot())
		store->crosscheck = RegisterSnapshot(GetTransactionSnapshot());
	return store;
}

/*
 * dbp_nested_lock locks the storage as its writers do, and tells whether that is
 * new, so that what was read may be out of date.
 */
bool
dbp_nested_lock(NestedStore *store)
{
	return dbp_hier_lock_writing(store->rel);
}

/*
 * dbp_nested_state returns the state a store was opened with.
 */
HierState *
dbp_nested_state(NestedStore *store)
{
	return store->state;
}

/* ---- reading --------------------------------------------------------------- */

/*
 * add_key adds a condition on the next column of the probe's index, or one
 * more on the last.
 */
static void
add_key(Probe *probe, int column, StrategyNumber strategy, MemoryContext cxt)
{
	Relation	index = probe->index;
	Oid			family = index->rd_opfamily[column];
	Oid			type = index->rd_opcintype[column];
	Oid			operator = get_opfamily_member(family, type, type, strategy);

	if (!OidIsValid(operator))
		elog(ERROR, "missing operator %d(%u,%u) in opfamily %u", strategy, type, type, family);
	ScanKeyEntryInitialize(&probe->keys[probe->n], 0, column + 1, strategy, InvalidOid,
						   index->rd_indcollation[column], get_opcode(operator), (Datum) 0);
	probe->keys[probe->n++].sk_func.fn_mcxt = cxt;
}

static void
open_probe(NestedStore *store, Probe *probe, Oid indexid)
{
	probe->index = index_open(indexid, AccessShareLock);
	for (int i = 0; i < store->n; i++)
		add_key(probe, i, BTEqualStrategyNumber, store->cxt);
}

/*
 * start begins or repeats a scan.  The first arguments are a key.  What a scan
 * allocates outlives the attempt of a flush that needs it first.
 */
static void
start(NestedStore *store, Probe *probe, const Datum *key)
{
	MemoryContext oldcxt = MemoryContextSwitchTo(store->cxt);

	for (int i = 0; i < store->n; i++)
		probe->keys[i].sk_argument = key[i];
	if (probe->scan == NULL)
		probe->scan = index_beginscan(store->rel, probe->index, SnapshotSelf, NULL, probe->n, 0);
	index_rescan(probe->scan, probe->keys, probe->n, NULL, 0);
	MemoryContextSwitchTo(oldcxt);
}

/*
 * read_next reads the next row of a scan.
 */
static bool
read_next(NestedStore *store, Probe *probe, ScanDirection direction, NestedRow *row)
{
	TupleTableSlot *slot = store->slot;
	MemoryContext oldcxt = MemoryContextSwitchTo(store->cxt);
	bool		found = index_getnext_slot(probe->scan, direction, slot);

	MemoryContextSwitchTo(oldcxt);
	if (!found)
		return false;
	dbp_nested_read(slot, &store->shape->columns, &store->state->type, row);
	row->ours = dbp_hier_is_own_row(slot);
	if (store->crosscheck != NULL && !row->ours &&
		!table_tuple_satisfies_snapshot(store->rel, slot, store->crosscheck))
		dbp_hier_refuse_snapshot(store->rel);
	if (!store->repair &&
		(row->lft < 0 || row->lft >= row->rgt || row->rgt >= INT64CONST(1) << NESTED_MAX_BITS ||
		 row->depth < 0))
		dbp_nested_damaged(store, row->tree);
	return true;
}

static bool
read_one(NestedStore *store, Probe *probe, ScanDirection direction, NestedRow *row)
{
	bool		found = read_next(store, probe, direction, row);

	ExecClearTuple(store->slot);
	return found;
}

/*
 * require_unseen raises if the transaction's snapshot shows a row where there
 * is none now.
 */
static void
require_unseen(NestedStore *store, Probe *probe)
{
	IndexScanDesc scan = index_beginscan(store->rel, probe->index, store->crosscheck, NULL,
										 probe->n, 0);

	index_rescan(scan, probe->keys, probe->n, NULL, 0);
	while (index_getnext_slot(scan, ForwardScanDirection, store->slot))
	{
		HeapTuple	tuple = ((BufferHeapTupleTableSlot *) store->slot)->base.tuple;

		/* What we deleted ourselves may still show in it. */
		if (!TransactionIdIsCurrentTransactionId(HeapTupleHeaderGetRawXmax(tuple->t_data)))
			dbp_hier_refuse_snapshot(store->rel);
	}
	ExecClearTuple(store->slot);
	index_endscan(scan);
}

/*
 * dbp_nested_find reads the row of a node.
 */
bool
dbp_nested_find(NestedStore *store, const Datum *node, NestedRow *row)
{
	Probe	   *probe = &store->by_node;

	if (probe->index == NULL)
		open_probe(store, probe, store->shape->node_index);
	start(store, probe, node);
	if (read_one(store, probe, ForwardScanDirection, row))
		return true;
	if (store->crosscheck != NULL)
		require_unseen(store, probe);
	return false;
}

/*
 * dbp_nested_before reads the last row of a tree that begins at upto or
 * before it; only those of one depth count, unless depth is -1.
 */
bool
dbp_nested_before(NestedStore *store, const Datum *tree, int depth, int64 upto, NestedRow *row)
{
	bool		any = depth < 0;
	Probe	   *probe = any ? &store->up_to_lft : &store->up_to_lft_at;

	if (probe->index == NULL)
	{
		open_probe(store, probe, any ? store->shape->lft_index : store->shape->depth_index);
		if (!any)
			add_key(probe, store->n, BTEqualStrategyNumber, store->cxt);
		add_key(probe, any ? store->n : store->n + 1, BTLessEqualStrategyNumber, store->cxt);
	}
	if (!any)
		probe->keys[store->n].sk_argument = Int32GetDatum(depth);
	probe->keys[probe->n - 1].sk_argument = Int64GetDatum(upto);
	start(store, probe, tree);
	return read_one(store, probe, BackwardScanDirection, row);
}

/*
 * dbp_nested_after reads the first row of a tree that begins after a number.
 */
bool
dbp_nested_after(NestedStore *store, const Datum *tree, int64 from, NestedRow *row)
{
	Probe	   *probe = &store->from_lft;

	if (probe->index == NULL)
	{
		open_probe(store, probe, store->shape->lft_index);
		add_key(probe, store->n, BTGreaterStrategyNumber, store->cxt);
	}
	probe->keys[store->n].sk_argument = Int64GetDatum(from);
	start(store, probe, tree);
	return read_one(store, probe, ForwardScanDirection, row);
}

static void
start_range(NestedStore *store, const Datum *tree, int64 from, int64 upto)
{
	Probe	   *probe = &store->between_lft;

	if (probe->index == NULL)
	{
		open_probe(store, probe, store->shape->lft_index);
		add_key(probe, store->n, BTGreaterEqualStrategyNumber, store->cxt);
		add_key(probe, store->n, BTLessStrategyNumber, store->cxt);
	}
	probe->keys[store->n].sk_argument = Int64GetDatum(from);
	probe->keys[store->n + 1].sk_argument = Int64GetDatum(upto);
	start(store, probe, tree);
}

/*
 * dbp_nested_range reads all rows of a tree that begin at from or later and
 * before upto, in order, and sets n to their number.
 */
NestedRow *
dbp_nested_range(NestedStore *store, const Datum *tree, int64 from, int64 upto, int *n)
{
	int			allocated = 16;
	NestedRow  *rows = palloc(sizeof(NestedRow) * allocated);

	*n = 0;
	start_range(store, tree, from, upto);
	for (;;)
	{
		if (*n == allocated)
		{
			CHECK_FOR_INTERRUPTS();
			allocated *= 2;
			rows = repalloc_huge(rows, sizeof(NestedRow) * allocated);
		}
		if (!read_next(store, &store->between_lft, ForwardScanDirection, &rows[*n]))
			break;
		(*n)++;
	}
	ExecClearTuple(store->slot);
	return rows;
}

/*
 * dbp_nested_require_gap raises if the transaction's snapshot shows nodes
 * between two numbers, where there are none now.
 */
void
dbp_nested_require_gap(NestedStore *store, const Datum *tree, int64 from, int64 upto)
{
	if (store->crosscheck == NULL)
		return;
	start_range(store, tree, from + 1, upto);
	require_unseen(store, &store->between_lft);
}

/*
 * dbp_nested_damaged raises for numbers that cannot be of ours.
 */
void
dbp_nested_damaged(NestedStore *store, const Datum *tree)
{
	ereport(ERROR,
			(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
			 errmsg("nested sets of the tree of node %s of table %s are damaged",
					dbp_key_text(&store->state->type, tree),
					dbp_relation_name_by_oid(store->state->head.rootid)),
			 errhint("See dbpatterns.nested_set_check, then call dbpatterns.nested_set_rebuild.")));
}

/* ---- writing --------------------------------------------------------------- */

/*
 * dbp_nested_delete deletes a row that was read.
 */
void
dbp_nested_delete(NestedStore *store, const NestedRow *row)
{
	Assert(store->nwaiting == 0);

	/* A command cannot delete what it wrote itself. */
	if (store->written_by == GetCurrentCommandId(false))
		CommandCounterIncrement();
	dbp_hier_delete_row(store->rel, &row->tid, store->by_trigger);
}

/*
 * dbp_nested_insert adds a row to those that wait to be written.
 */
void
dbp_nested_insert(NestedStore *store, const NestedRow *row)
{
	if (store->nwaiting == store->allocated)
	{
		if (store->allocated == BUFFER_ROWS)
			dbp_nested_write(store);
		else
		{
			store->allocated = Max(16, store->allocated * 2);
			store->waiting = store->waiting == NULL ?
				MemoryContextAlloc(store->cxt, sizeof(NestedRow) * store->allocated) :
				repalloc(store->waiting, sizeof(NestedRow) * store->allocated);
		}
	}
	store->waiting[store->nwaiting++] = *row;
}

static void
fill_row(TupleTableSlot *slot, int i, void *arg)
{
	NestedStore *store = arg;

	dbp_nested_fill(slot, &store->shape->columns, &store->waiting[i]);
}

/*
 * dbp_nested_write writes the rows that wait.  The keys they point to must
 * still be there.
 */
void
dbp_nested_write(NestedStore *store)
{
	if (store->nwaiting == 0)
		return;
	dbp_append(dbp_append_relation(store->state->storageid), 0, store->nwaiting, fill_row, store);
	store->written_by = GetCurrentCommandId(false);
	store->nwaiting = 0;
}

static void
close_probe(Probe *probe)
{
	if (probe->scan != NULL)
		index_endscan(probe->scan);
	if (probe->index != NULL)
		index_close(probe->index, NoLock);
}

/*
 * dbp_nested_close writes what waits and ends the work.  Locks are kept.
 */
void
dbp_nested_close(NestedStore *store)
{
	dbp_nested_write(store);
	close_probe(&store->by_node);
	close_probe(&store->up_to_lft);
	close_probe(&store->up_to_lft_at);
	close_probe(&store->from_lft);
	close_probe(&store->between_lft);
	ExecDropSingleTupleTableSlot(store->slot);
	if (store->crosscheck != NULL)
		UnregisterSnapshot(store->crosscheck);
	table_close(store->rel, NoLock);
}
