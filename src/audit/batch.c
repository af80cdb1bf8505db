/*-------------------------------------------------------------------------
 *
 * batch.c
 *	  Entries waiting to be written.
 *
 * The row trigger adds entries to a batch in memory.  The batch is written
 * when the statement ends, when it is full, when its subtransaction or the
 * transaction is about to commit, or when one of our readers wants to see it:
 * whichever comes first.  So a statement with a million rows needs the memory
 * of one batch, and changes that reach a table without statement triggers
 * (logical apply, DML on a partition) are logged all the same.
 *
 * The hard part is subtransactions.  Rows of a parent statement may wait while
 * a trigger of the user's opens a savepoint, logs rows of its own and rolls
 * back.  So each nesting level has its own batch, and a level's batch is only
 * ever written at that level.
 *
 * The other hard part is order: the numbers of one row's entries must ascend
 * in the order of its changes.  Between transactions they do, because a batch
 * gets its numbers when it is written, while the rows it speaks of are still
 * locked; drawing them earlier would not do.  Within a transaction, row
 * triggers are no guide: one of the user's that fires before ours may change
 * the row again, and that change is captured first.  So entries are put in
 * the order of the commands that made the changes, and statements inside
 * triggers leave the writing to the statement around them.  Where a savepoint
 * inside a trigger must write first, its parents reserve numbers for what is
 * changed by then but not written or not even captured yet.
 *
 * What this does not reach is a statement of more rows than a batch holds,
 * whose own row triggers change rows of the same statement far ahead.
 *
 * Copyright (c) 2026, dbpatterns contributors
 *
 * src/audit/batch.c
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "access/xact.h"
#include "audit/audit.h"
#include "commands/sequence.h"
#include "core/append.h"
#include "utils/builtins.h"
#include "utils/datum.h"
#include "utils/fmgrprotos.h"
#include "utils/memutils.h"
#include "utils/snapmgr.h"

/* Numbers for entries of changes made by a command up to drawn_at. */
typedef struct Reservation
{
	int64		first_id;
	CommandId	drawn_at;
	int			used;			/* of AUDIT_BATCH_ROWS */
} Reservation;

typedef struct Batch
{
	struct Batch *parent;
	int			nestlevel;
	MemoryContext cxt;			/* images and facts of the entries */
	int			nentries;
	int			room;			/* entries allocated */
	AuditEntry *entries;
	Size		bytes;
	bool		unordered;		/* entries are not in order of commands */

	/*
	 * Once a batch has filled up, more will follow: their images go to one
	 * piece of memory that is kept, as fresh pages cost more than the copy.
	 */
	char	   *arena;			/* AUDIT_BATCH_BYTES, or NULL */
	Size		arena_used;

	int			nreserved;
	Reservation *reserved;		/* ascending, or NULL */

	/*
	 * A row that left its partition shows up as a delete there, followed at
	 * once by an insert elsewhere.  Until then its old values wait here.
	 */
	int			moved_relation; /* 0: the last entry is no such delete */
	Datum	   *moved_values;
	bool	   *moved_isnull;
	MemoryContext moved_cxt;	/* outlives the writing of the batch */
} Batch;

#define FIRST_ROOM	8

/* Nested savepoints inside a trigger that are told apart. */
#define MAX_NESTED	8

/* What fill_row needs. */
typedef struct WriteArg
{
	Batch	   *batch;
	int64		txn;
} WriteArg;

static DbpAppendTarget *target = NULL;
static Batch *current = NULL;

/*
 * in_trigger tells whether the trigger that is running was fired by a
 * statement inside another trigger.
 */
static bool
in_trigger(void)
{
	return DatumGetInt32(DirectFunctionCall1(pg_trigger_depth, (Datum) 0)) > 1;
}

static Batch *
push_batch(int nestlevel)
{
	Batch	   *batch = MemoryContextAllocZero(TopTransactionContext, sizeof(Batch));

	batch->parent = current;
	batch->nestlevel = nestlevel;
	batch->cxt = AllocSetContextCreate(TopTransactionContext,
									   "dbpatterns audit batch",
									   ALLOCSET_DEFAULT_SIZES);
	current = batch;
	return batch;
}

static void
drop_batch(void)
{
	Batch	   *batch = current;

	current = batch->parent;
	MemoryContextDelete(batch->cxt);
	if (batch->moved_cxt != NULL)
		MemoryContextDelete(batch->moved_cxt);
	if (batch->arena != NULL)
		pfree(batch->arena);
	if (batch->entries != NULL)
		pfree(batch->entries);
	if (batch->reserved != NULL)
		pfree(batch->reserved);
	pfree(batch);
}

static int64
draw_numbers(void)
{
	int64		first_id;

	/*
	 * Our transaction id must be known before the number is drawn: see
	 * seal.c.
	 */
	(void) GetTopFullTransactionId();
	first_id = nextval_internal(dbp_own_relation("audit_id"), false);
	dbp_audit_txn_begin(first_id);
	return first_id;
}

/*
 * reserve_numbers draws numbers for what is changed by now at a batch's level.
 */
static void
reserve_numbers(Batch *batch)
{
	Reservation *last;

	if (batch->reserved == NULL)
		batch->reserved = MemoryContextAlloc(TopTransactionContext,
											 FIRST_ROOM * sizeof(Reservation));
	else if (batch->nreserved >= FIRST_ROOM &&
			 (batch->nreserved & (batch->nreserved - 1)) == 0)
		batch->reserved = repalloc(batch->reserved,
								   2 * batch->nreserved * sizeof(Reservation));
	last = &batch->reserved[batch->nreserved++];
	last->first_id = draw_numbers();
	last->drawn_at = GetCurrentCommandId(false);
	last->used = 0;
}

/*
 * prepare_parents makes ready for a batch of a deeper level.  Empty batches
 * go: a long transaction may open thousands of savepoints, one in the other.
 * One that waits reserves its numbers, lest they come after those of the new
 * batch; so do, inside a trigger, the levels at which the statement around it
 * may be running, as it has yet to capture what it has changed already.
 */
static void
prepare_parents(int nestlevel)
{
	bool		nested = in_trigger();

	while (current != NULL && current->nentries == 0 && current->nreserved == 0)
		drop_batch();
	if (current != NULL && (nested || current->nentries > 0))
		reserve_numbers(current);
	if (!nested)
		return;
	for (int level = Max(current ? current->nestlevel + 1 : 1, nestlevel - MAX_NESTED);
		 level < nestlevel; level++)
		reserve_numbers(push_batch(level));
}

static Batch *
batch_for_level(int nestlevel)
{
	if (current != NULL && current->nestlevel == nestlevel)
		return current;

	Assert(current == NULL || current->nestlevel < nestlevel);
	prepare_parents(nestlevel);
	return push_batch(nestlevel);
}

static void
empty_batch(Batch *batch)
{
	MemoryContextReset(batch->cxt);
	batch->nentries = 0;
	batch->bytes = 0;
	batch->arena_used = 0;
	batch->unordered = false;
	batch->moved_relation = 0;
}

static void
fill_row(TupleTableSlot *slot, int row, void *arg)
{
	WriteArg   *write = arg;
	AuditEntry *entry = &write->batch->entries[row];
	Datum	   *values = slot->tts_values;
	bool	   *isnull = slot->tts_isnull;

	memset(isnull, 0, 10 * sizeof(bool));
	values[0] = TimestampTzGetDatum(GetCurrentTransactionStartTimestamp());
	values[1] = Int64GetDatum(entry->id);
	values[2] = Int64GetDatum(write->txn);
	values[3] = TimestampTzGetDatum(entry->statement_time);
	isnull[3] = (entry->statement_time == GetCurrentTransactionStartTimestamp());
	values[4] = Int64GetDatum((int64) entry->row_key);
	isnull[4] = !entry->has_key;
	values[5] = Int64GetDatum((int64) entry->old_row_key);
	isnull[5] = !entry->key_changed;
	values[6] = Int32GetDatum(entry->shape);
	values[7] = CharGetDatum(entry->op);
	values[8] = PointerGetDatum(entry->old);
	isnull[8] = (entry->old == NULL);
	values[9] = PointerGetDatum(entry->new);
	isnull[9] = (entry->new == NULL);
}

static int
compare_entries(const void *a, const void *b)
{
	const AuditEntry *ea = a;
	const AuditEntry *eb = b;

	if (ea->command != eb->command)
		return ea->command < eb->command ? -1 : 1;
	return ea->position - eb->position;
}

/*
 * number_entries gives each entry its number: of the first reservation made
 * after its change, or a new one.
 */
static void
number_entries(Batch *batch)
{
	Reservation *next = batch->reserved;
	Reservation *end = next + batch->nreserved;
	int64		id = 0;

	for (int i = 0; i < batch->nentries; i++)
	{
		AuditEntry *entry = &batch->entries[i];

		while (next < end &&
			   (next->drawn_at < entry->command || next->used == AUDIT_BATCH_ROWS))
			next++;
		if (next < end)
			entry->id = next->first_id + next->used++;
		else
			entry->id = id = (id == 0 ? draw_numbers() : id + 1);
	}
}

/*
 * write_facts sees to it that who and when of each entry are written.  Facts
 * hold from an entry's number on, until others are written; where numbers are
 * reserved, entries of other levels can come in between, so that each series
 * of numbers needs its own.
 */
static int64
write_facts(Batch *batch)
{
	bool		reserved = false;
	int64		txn = 0;

	for (Batch *b = batch; b != NULL; b = b->parent)
		reserved |= (b->nreserved > 0);
	for (int i = 0; i < batch->nentries; i++)
	{
		AuditEntry *entry = &batch->entries[i];

		if (i == 0 || entry->facts != entry[-1].facts || entry->id != entry[-1].id + 1)
			txn = dbp_audit_txn_number(entry->id, entry->facts, reserved);
	}
	return txn;
}

static void
write_batch(Batch *batch)
{
	WriteArg	write;
	bool		pushed = false;

	if (batch->nentries == 0)
		return;

	/* There is none at commit, nor in a procedure that has just committed. */
	if (!ActiveSnapshotSet())
	{
		PushActiveSnapshot(GetTransactionSnapshot());
		pushed = true;
	}
	if (batch->unordered)
		qsort(batch->entries, batch->nentries, sizeof(AuditEntry), compare_entries);
	number_entries(batch);

	write.batch = batch;
	write.txn = write_facts(batch);
	dbp_append(target, GetCurrentTransactionStartTimestamp(), batch->nentries,
			   fill_row, &write);
	if (pushed)
		PopActiveSnapshot();
	empty_batch(batch);
}

static void
make_room(Batch *batch)
{
	if (batch->nentries < batch->room)
		return;
	batch->room = batch->room == 0 ? FIRST_ROOM : Min(batch->room * 4, AUDIT_BATCH_ROWS);
	if (batch->entries == NULL)
		batch->entries = MemoryContextAlloc(TopTransactionContext,
											batch->room * sizeof(AuditEntry));
	else
		batch->entries = repalloc(batch->entries, batch->room * sizeof(AuditEntry));
}

/*
 * dbp_audit_batch_add adds an entry to the batch of the current nesting level and
 * returns it, zeroed but for time, operation and shape, and the row key where
 * no row is concerned.  command: the number of the command that made the
 * change.
 */
AuditEntry *
dbp_audit_batch_add(char op, int shape, CommandId command)
{
	Batch	   *batch = batch_for_level(GetCurrentTransactionNestLevel());
	AuditFacts *facts = NULL;
	AuditEntry *entry;

	/* The server lets temporary tables change, but the log is none. */
	if (XactReadOnly)
		ereport(ERROR,
				(errcode(ERRCODE_READ_ONLY_SQL_TRANSACTION),
				 errmsg("cannot log changes in a read-only transaction"),
				 errhint("Disable auditing of the temporary table, or make the transaction READ WRITE.")));

	if (batch->nentries == AUDIT_BATCH_ROWS || batch->bytes >= AUDIT_BATCH_BYTES)
	{
		write_batch(batch);
		if (batch->arena == NULL)
			batch->arena = MemoryContextAlloc(TopTransactionContext, AUDIT_BATCH_BYTES);
	}
	if (batch->nentries > 0)
	{
		facts = batch->entries[batch->nentries - 1].facts;
		if (!dbp_audit_txn_facts_hold(facts))
			facts = NULL;
		batch->unordered |= (command < batch->entries[batch->nentries - 1].command);
	}
	if (facts == NULL)
		facts = dbp_audit_txn_facts(batch->cxt);

	make_room(batch);
	entry = &batch->entries[batch->nentries];
	memset(entry, 0, sizeof(*entry));
	entry->statement_time = GetCurrentStatementStartTimestamp();
	entry->op = op;
	entry->shape = shape;
	entry->command = command;
	entry->position = batch->nentries++;
	entry->facts = facts;

	/* What concerns the whole table is found by its shape: see read.c. */
	if (op == AUDIT_TRUNCATE || op == AUDIT_MARKER)
	{
		entry->has_key = true;
		entry->row_key = (uint64) -(int64) shape;
	}
	batch->moved_relation = 0;
	return entry;
}

/*
 * dbp_audit_batch_image stores a copy of image in *where, a field of an entry of
 * the current batch.
 */
void
dbp_audit_batch_image(Jsonb **where, Jsonb *image)
{
	Size		size = VARSIZE(image);

	if (current->arena != NULL && size <= AUDIT_BATCH_BYTES - current->arena_used)
	{
		*where = (Jsonb *) (current->arena + current->arena_used);
		current->arena_used += Min(MAXALIGN(size), AUDIT_BATCH_BYTES - current->arena_used);
	}
	else
		*where = MemoryContextAllocHuge(current->cxt, size);
	memcpy(*where, image, size);
	current->bytes += size;
}

/*
 * dbp_audit_batch_set_moved remembers that the entry just added is the delete
 * half of a row's move to another partition.
 */
void
dbp_audit_batch_set_moved(int relation, TupleDesc desc, const Datum *values,
						  const bool *isnull)
{
	int			natts = desc->natts;
	MemoryContext oldcxt;

	if (current->moved_cxt == NULL)
		current->moved_cxt = AllocSetContextCreate(TopTransactionContext,
												   "dbpatterns audit moved row",
												   ALLOCSET_SMALL_SIZES);
	MemoryContextReset(current->moved_cxt);
	oldcxt = MemoryContextSwitchTo(current->moved_cxt);

	current->moved_relation = relation;
	current->moved_values = palloc(sizeof(Datum) * natts);
	current->moved_isnull = palloc(sizeof(bool) * natts);
	for (int i = 0; i < natts; i++)
	{
		Form_pg_attribute att = TupleDescAttr(desc, i);

		current->moved_isnull[i] = isnull[i] || att->attisdropped;
		if (!current->moved_isnull[i])
			current->moved_values[i] = datumCopy(values[i], att->attbyval, att->attlen);
	}
	MemoryContextSwitchTo(oldcxt);
}

/*
 * dbp_audit_batch_take_moved takes back the delete entry of a row that the
 * same command has just made leave a partition of that relation, and returns
 * its values; false if the last entry is none.
 */
bool
dbp_audit_batch_take_moved(int relation, CommandId command,
						   Datum **values, bool **isnull)
{
	if (current == NULL || current->moved_relation != relation ||
		current->nestlevel != GetCurrentTransactionNestLevel() ||
		current->entries[current->nentries - 1].command != command)
		return false;
	*values = current->moved_values;
	*isnull = current->moved_isnull;
	current->nentries--;
	current->moved_relation = 0;
	return true;
}

/*
 * dbp_audit_batch_end_statement makes the entries of a statement visible, unless
 * the statement around it has not captured its own yet.
 */
void
dbp_audit_batch_end_statement(void)
{
	if (in_trigger())
		return;
	dbp_audit_batch_flush();

	/* All that was changed is captured; what comes has later commands. */
	if (current != NULL && current->nestlevel == GetCurrentTransactionNestLevel())
		current->nreserved = 0;
}

/*
 * dbp_audit_batch_flush writes what waits at the current nesting level.
 */
void
dbp_audit_batch_flush(void)
{
	if (current != NULL && current->nestlevel == GetCurrentTransactionNestLevel())
		write_batch(current);
}

/*
 * dbp_audit_batch_waits_outside tells whether entries wait at an outer nesting
 * level, where they cannot be written from here.
 */
bool
dbp_audit_batch_waits_outside(void)
{
	for (Batch *batch = current; batch != NULL; batch = batch->parent)
	{
		if (batch->nestlevel < GetCurrentTransactionNestLevel() && batch->nentries > 0)
			return true;
	}
	return false;
}

static void
at_xact_event(XactEvent event, void *arg)
{
	switch (event)
	{
		case XACT_EVENT_PRE_COMMIT:
		case XACT_EVENT_PRE_PREPARE:
			while (current != NULL && current->nentries == 0)
				drop_batch();
			if (current != NULL)
				write_batch(current);
			break;
		case XACT_EVENT_COMMIT:
		case XACT_EVENT_PREPARE:
		case XACT_EVENT_ABORT:
			/* TopTransactionContext takes the batches with it. */
			current = NULL;
			dbp_audit_txn_end();
			break;
		default:
			break;
	}
}

static void
at_subxact_event(SubXactEvent event, SubTransactionId mine,
				 SubTransactionId parent, void *arg)
{
	int			level = GetCurrentTransactionNestLevel();

	switch (event)
	{
		case SUBXACT_EVENT_PRE_COMMIT_SUB:
			if (current != NULL && current->nestlevel == level)
			{
				if (current->nentries > 0)
					write_batch(current);
				drop_batch();
			}
			break;
		case SUBXACT_EVENT_COMMIT_SUB:
			dbp_audit_txn_subcommit(level);
			break;
		case SUBXACT_EVENT_ABORT_SUB:
			while (current != NULL && current->nestlevel >= level)
				drop_batch();
			dbp_audit_txn_subabort(level);
			break;
		default:
			break;
	}
}

/*
 * dbp_audit_batch_init prepares this backend.
 */
void
dbp_audit_batch_init(void)
{
	target = dbp_append_target("audit_log");
	RegisterXactCallback(at_xact_event, NULL);
	RegisterSubXactCallback(at_subxact_event, NULL);
}
