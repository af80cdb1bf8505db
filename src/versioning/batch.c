/*-------------------------------------------------------------------------
 *
 * batch.c
 *	  Old versions on their way to the history.
 *
 * AFTER ROW triggers fire when a statement has made all its changes, one row
 * at a time; writing the history is cheaper in batches.  So versions wait in
 * memory, and are written when there are enough of them, or when the executor
 * has fired the last trigger of the statement: when it ends, the history is
 * complete.
 *
 * The hard part is what happens inside: a trigger of the user's may run
 * statements of its own, in a subtransaction that is rolled back.  So each
 * statement has a batch of its own, known by a frame on the stack, and writes
 * it in the subtransaction it began in.  A trigger that fires outside of any
 * statement (logical apply, deferred constraints) writes at once.
 *
 * Copyright (c) 2026, dbpatterns contributors
 *
 * src/versioning/batch.c
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "access/htup_details.h"
#include "access/xact.h"
#include "core/append.h"
#include "executor/executor.h"
#include "utils/memutils.h"
#include "versioning/versioning.h"

#define BATCH_ROWS	1024
#define BATCH_BYTES (1024 * 1024)
#define FIRST_ROOM	4

/* A version that ended. */
typedef struct Version
{
	VersioningState *state;
	HeapTuple	row;			/* of the table, as it was */
	TimestampTz lower;
	TimestampTz upper;
} Version;

/* A statement whose triggers are being fired. */
typedef struct Frame
{
	struct Frame *outer;
	int			nestlevel;
	MemoryContext parent;		/* memory of the statement */
	MemoryContext cxt;			/* owns the rows; NULL before the first */
	Version    *versions;
	int			nversions;
	int			room;
	Size		bytes;
} Frame;

static Frame *frame = NULL;
static ExecutorFinish_hook_type previous_finish = NULL;

/*
 * fill_row makes a row of the history: the old row's columns, and its period
 * that has ended.
 */
static void
fill_row(TupleTableSlot *slot, int row, void *arg)
{
	Version    *version = &((Version *) arg)[row];
	VersioningState *state = version->state;
	Datum	   *values = slot->tts_values;
	bool	   *isnull = slot->tts_isnull;

	if (state->same_layout)
	{
		heap_deform_tuple(version->row, state->desc, values, isnull);
		for (int i = state->desc->natts; i < state->nhistory; i++)
			isnull[i] = true;
	}
	else
	{
		heap_deform_tuple(version->row, state->desc, state->values, state->isnull);
		for (int i = 0; i < state->nhistory; i++)
		{
			AttrNumber	attno = state->map[i];

			isnull[i] = (attno == InvalidAttrNumber) || state->isnull[attno - 1];
			values[i] = isnull[i] ? (Datum) 0 : state->values[attno - 1];
		}
	}
	values[state->history_period - 1] = dbp_versioning_closed(version->lower, version->upper);
	isnull[state->history_period - 1] = false;
}

/*
 * write_versions writes versions: at once those of one table, and of one time
 * where that decides about the partition.
 */
static void
write_versions(Version *versions, int n)
{
	int			from = 0;

	for (int i = 1; i <= n; i++)
	{
		VersioningState *state = versions[from].state;

		if (i < n && versions[i].state == state &&
			(!state->by_time || versions[i].upper == versions[from].upper))
			continue;
		if (state->by_insert)
			dbp_append_by_insert(state->historyid, i - from, fill_row, &versions[from]);
		else
			dbp_append(dbp_append_relation(state->historyid), versions[from].upper,
					   i - from, fill_row, &versions[from]);
		from = i;
	}
}

/*
 * flush writes what waits in a frame.  Triggers of the user's on the history may
 * run statements meanwhile; those have frames of their own.
 */
static void
flush(Frame *target)
{
	int			n = target->nversions;

	if (n == 0)
		return;
	target->nversions = 0;
	target->bytes = 0;
	write_versions(target->versions, n);
	MemoryContextReset(target->cxt);
	target->versions = NULL;
	target->room = 0;
}

static void
make_room(Frame *target)
{
	if (target->cxt == NULL)
		target->cxt = AllocSetContextCreate(target->parent, "dbpatterns versions",
											ALLOCSET_DEFAULT_SIZES);
	if (target->nversions < target->room)
		return;
	target->room = target->room == 0 ? FIRST_ROOM : target->room * 4;
	if (target->versions == NULL)
		target->versions = MemoryContextAlloc(target->cxt, sizeof(Version) * target->room);
	else
		target->versions = repalloc(target->versions, sizeof(Version) * target->room);
}

/*
 * dbp_versioning_add archives a row of the table as it was from lower to upper.
 */
void
dbp_versioning_add(VersioningState *state, HeapTuple row, TimestampTz lower, TimestampTz upper)
{
	Version		version = {state, row, lower, upper};
	MemoryContext oldcxt;

	if (frame == NULL || frame->nestlevel != GetCurrentTransactionNestLevel())
	{
		write_versions(&version, 1);
		return;
	}
	if (frame->nversions >= BATCH_ROWS || frame->bytes >= BATCH_BYTES)
		flush(frame);
	make_room(frame);
	oldcxt = MemoryContextSwitchTo(frame->cxt);
	version.row = heap_copytuple(row);
	MemoryContextSwitchTo(oldcxt);
	frame->bytes += HEAPTUPLESIZE + row->t_len;
	frame->versions[frame->nversions++] = version;
}

/*
 * in_frame does work whose versions wait, in memory of parent, until it has been done.
 */
static void
in_frame(MemoryContext parent, void (*work) (void *), void *arg)
{
	Frame		mine = {0};

	mine.outer = frame;
	mine.nestlevel = GetCurrentTransactionNestLevel();
	mine.parent = parent;
	frame = &mine;
	PG_TRY();
	{
		work(arg);
		flush(&mine);
	}
	PG_FINALLY();
	{
		frame = mine.outer;
	}
	PG_END_TRY();
	if (mine.cxt != NULL)
		MemoryContextDelete(mine.cxt);
}

/*
 * dbp_versioning_in_batches does work that archives many rows.
 */
void
dbp_versioning_in_batches(void (*work) (void *), void *arg)
{
	in_frame(CurrentMemoryContext, work, arg);
}

static void
finish(void *arg)
{
	QueryDesc  *query = arg;

	if (previous_finish != NULL)
		previous_finish(query);
	else
		standard_ExecutorFinish(query);
}

/*
 * finish_statement fires the triggers of a statement; those of a query that
 * changes nothing archive nothing.
 */
static void
finish_statement(QueryDesc *query)
{
	if (query->operation == CMD_SELECT && !query->plannedstmt->hasModifyingCTE)
		finish(query);
	else
		in_frame(query->estate->es_query_cxt, finish, query);
}

/*
 * dbp_versioning_batch_init prepares this backend.
 */
void
dbp_versioning_batch_init(void)
{
	previous_finish = ExecutorFinish_hook;
	ExecutorFinish_hook = finish_statement;
}
