/*-------------------------------------------------------------------------
 *
 * batch.c
 *	  Entries waiting to be written.
 *
 * The row trigger adds entries to a batch in memory.  It is written when the
 * transaction commits or is prepared; before that, when it is full or when one
 * of our readers wants to see it.  So a transaction of a few statements writes
 * once, and a statement with a million rows needs the memory of one batch.
 *
 * The first hard part is subtransactions.  Each nesting level has a batch of
 * its own.  When a level ends well its entries join those of its parent; when
 * it is rolled back they go.  What waits outside may have to be written inside
 * a level all the same, before that level's own: its entries are kept, and
 * wait again if the level is rolled back.
 *
 * The other hard part is order: the numbers of one row's entries must ascend
 * in the order of its changes.  Between transactions they do, because a batch
 * gets its numbers when it is written, while the rows it speaks of are still
 * locked; drawing them earlier would not do.  Within a transaction, row
 * triggers are no guide: one of the user's that fires before ours may change
 * the row again, and that change is captured first.  So entries are put in
 * the order of the commands that made the changes; write.c has the details.
 *
 * What this does not reach is a batch written in the middle of a statement,
 * whose own row triggers change rows of the same statement that come later.
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
#include "miscadmin.h"
#include "utils/datum.h"
#include "utils/memutils.h"

PG_FUNCTION_INFO_V1(dbpatterns_audit_flush);

typedef struct Batch
{
	struct Batch *parent;
	int			nestlevel;
	int			depth;			/* 1: has no parent */
	int			written_level;	/* level its entries were written at, or 0 */
	bool		writing;		/* its entries are being written */
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

/*
 * Entries of an outer level must be kept until all levels inside have ended.
 * So that thousands of savepoints, one in the other, do not keep a full batch
 * each, only the first few may have one.
 */
#define FULL_DEPTH	8
#define DEEP_SHARE	64			/* of a full batch, for the others */

static Batch *current = NULL;

static Batch *
push_batch(int nestlevel)
{
	Batch	   *batch = MemoryContextAllocZero(TopTransactionContext, sizeof(Batch));

	batch->parent = current;
	batch->nestlevel = nestlevel;
	batch->depth = current != NULL ? current->depth + 1 : 1;
	batch->cxt = AllocSetContextCreate(TopTransactionContext,
									   "dbpatterns audit batch",
									   ALLOCSET_START_SMALL_SIZES);
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
	pfree(batch);
}

static Batch *
batch_for_level(int nestlevel)
{
	if (current != NULL && current->nestlevel == nestlevel && !current->writing)
		return current;

	Assert(current == NULL || current->nestlevel <= nestlevel);
	return push_batch(nestlevel);
}

static bool
is_full(const Batch *batch)
{
	int			share = batch->depth > FULL_DEPTH ? DEEP_SHARE : 1;

	return batch->nentries >= AUDIT_BATCH_ROWS / share ||
		batch->bytes >= AUDIT_BATCH_BYTES / share;
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
	batch->written_level = 0;
}

/*
 * write_batch writes the entries of a batch.  A trigger of the user's on the log
 * may change audited tables meanwhile; that makes a batch on top of this one,
 * which is written next.
 */
static void
write_batch(Batch *batch)
{
	bool		on_top = (batch == current);

	batch->writing = true;
	dbp_audit_write(batch->entries, batch->nentries, batch->unordered);
	batch->writing = false;
	while (on_top && current != batch && current->nestlevel == batch->nestlevel)
	{
		if (current->nentries > 0)
			write_batch(current);
		drop_batch();
	}
	if (batch->nestlevel == GetCurrentTransactionNestLevel())
		empty_batch(batch);
	else
		batch->written_level = GetCurrentTransactionNestLevel();
}

/*
 * write_waiting writes what waits in a batch and outside of it, the outermost
 * first.
 */
static void
write_waiting(Batch *batch)
{
	if (batch == NULL)
		return;
	check_stack_depth();
	write_waiting(batch->parent);
	if (batch->nentries > 0 && batch->written_level == 0 && !batch->writing)
		write_batch(batch);
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
 * add_entry adds a copy of an entry to a batch.
 */
static AuditEntry *
add_entry(Batch *batch, const AuditEntry *entry)
{
	AuditEntry *added;

	make_room(batch);
	added = &batch->entries[batch->nentries];
	*added = *entry;
	added->position = batch->nentries++;
	if (added->position > 0)
		batch->unordered |= (added->command < added[-1].command);
	return added;
}

/*
 * facts_for returns the facts as they are now, for an entry to be added.
 */
static AuditFacts *
facts_for(Batch *batch)
{
	if (batch->nentries > 0)
	{
		AuditFacts *facts = batch->entries[batch->nentries - 1].facts;

		if (dbp_audit_txn_facts_hold(facts))
			return facts;
	}
	return dbp_audit_txn_facts(batch->cxt);
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
	AuditEntry	entry = {0};

	/* The server lets temporary tables change, but the log is none. */
	if (XactReadOnly)
		ereport(ERROR,
				(errcode(ERRCODE_READ_ONLY_SQL_TRANSACTION),
				 errmsg("cannot log changes in a read-only transaction"),
				 errhint("Disable auditing of the temporary table, or make the transaction READ WRITE.")));

	if (is_full(batch))
	{
		write_waiting(batch);
		if (batch->arena == NULL && batch->depth <= FULL_DEPTH)
			batch->arena = MemoryContextAlloc(TopTransactionContext, AUDIT_BATCH_BYTES);
	}
	entry.facts = facts_for(batch);
	entry.statement_time = GetCurrentStatementStartTimestamp();
	entry.op = op;
	entry.shape = shape;
	entry.command = command;
	entry.log = dbp_audit_write_log();

	/* What concerns the whole table is found by its shape: see scan.c. */
	if (op == AUDIT_TRUNCATE || op == AUDIT_MARKER)
	{
		entry.has_key = true;
		entry.row_key = (uint64) -(int64) shape;
	}
	batch->moved_relation = 0;
	return add_entry(batch, &entry);
}

static Jsonb *
store_image(Batch *batch, Jsonb *image)
{
	Size		size = VARSIZE(image);
	Jsonb	   *copy;

	if (batch->arena != NULL && size <= AUDIT_BATCH_BYTES - batch->arena_used)
	{
		copy = (Jsonb *) (batch->arena + batch->arena_used);
		batch->arena_used += Min(MAXALIGN(size), AUDIT_BATCH_BYTES - batch->arena_used);
	}
	else
		copy = MemoryContextAllocHuge(batch->cxt, size);
	memcpy(copy, image, size);
	batch->bytes += size;
	return copy;
}

/*
 * dbp_audit_batch_image stores a copy of image in *where, a field of an entry of
 * the current batch.
 */
void
dbp_audit_batch_image(Jsonb **where, Jsonb *image)
{
	*where = store_image(current, image);
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
	const AuditEntry *last;

	if (current == NULL || current->moved_relation != relation ||
		current->nestlevel != GetCurrentTransactionNestLevel())
		return false;

	/* What was written and waits again may have been put in order. */
	last = &current->entries[current->nentries - 1];
	if (last->command != command || last->position != current->nentries - 1)
		return false;
	*values = current->moved_values;
	*isnull = current->moved_isnull;
	current->nentries--;
	current->moved_relation = 0;
	return true;
}

/*
 * dbp_audit_batch_flush writes what waits.
 */
void
dbp_audit_batch_flush(void)
{
	write_waiting(current);
}

/*
 * audit_flush() writes the entries of this transaction that wait in memory,
 * so that its own queries on dbpatterns.audit_entries show them from now on.
 * The commit writes them anyway, and the functions that read the log as well.
 *
 * Raises nothing of its own.  Locks ROW EXCLUSIVE on the current partition of
 * the log.  Runs as the caller.  A second call finds nothing to do.
 */
Datum
dbpatterns_audit_flush(PG_FUNCTION_ARGS)
{
	dbp_audit_batch_flush();
	PG_RETURN_VOID();
}

static void
at_xact_event(XactEvent event, void *arg)
{
	switch (event)
	{
		case XACT_EVENT_PRE_COMMIT:
		case XACT_EVENT_PRE_PREPARE:
			write_waiting(current);
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

/*
 * parent_takes tells whether the entries of the current batch fit into the
 * batch of the level around it.
 */
static bool
parent_takes(void)
{
	Batch	   *parent = current->parent;

	return parent == NULL || parent->nestlevel < current->nestlevel - 1 ||
		parent->nentries == 0 ||
		(parent->written_level == 0 && current->arena == NULL &&
		 parent->nentries + current->nentries <= AUDIT_BATCH_ROWS &&
		 parent->bytes + current->bytes <= AUDIT_BATCH_BYTES);
}

/*
 * join_parent gives the entries of the current batch to the level around it.
 */
static void
join_parent(void)
{
	Batch	   *child = current;
	Batch	   *parent = child->parent;
	AuditFacts *facts = NULL;
	AuditFacts *copy = NULL;

	child->moved_relation = 0;
	if (parent == NULL || parent->nestlevel < child->nestlevel - 1)
	{
		child->nestlevel--;
		return;
	}
	parent->moved_relation = 0;
	for (int i = 0; i < child->nentries; i++)
	{
		AuditEntry *entry = add_entry(parent, &child->entries[i]);

		if (entry->facts != facts)
		{
			facts = entry->facts;
			copy = dbp_audit_txn_copy_facts(facts, parent->cxt);
		}
		entry->facts = copy;
		if (entry->old != NULL)
			entry->old = store_image(parent, entry->old);
		if (entry->new != NULL)
			entry->new = store_image(parent, entry->new);
	}
	drop_batch();
}

/*
 * end_level hands what was written at a level that ends well to the one
 * around it, where that makes it final, and the entries that wait as well.
 */
static void
end_level(int level)
{
	for (Batch *batch = current; batch != NULL; batch = batch->parent)
	{
		if (batch->written_level != level)
			continue;
		batch->written_level = level - 1;
		if (batch->nestlevel == level - 1)
			empty_batch(batch);
	}
	if (current != NULL && current->nestlevel == level)
		join_parent();
	dbp_audit_txn_subcommit(level);
}

/*
 * abort_level forgets the entries of a level that is rolled back.  What was
 * written there for the levels around it waits again.
 */
static void
abort_level(int level)
{
	while (current != NULL && current->nestlevel >= level)
		drop_batch();
	for (Batch *batch = current; batch != NULL; batch = batch->parent)
	{
		if (batch->written_level >= level)
			batch->written_level = 0;
		batch->writing = false;
	}
	dbp_audit_txn_subabort(level);
}

static void
at_subxact_event(SubXactEvent event, SubTransactionId mine,
				 SubTransactionId parent, void *arg)
{
	int			level = GetCurrentTransactionNestLevel();

	switch (event)
	{
		case SUBXACT_EVENT_PRE_COMMIT_SUB:
			if (current != NULL && current->nestlevel == level && !parent_takes())
				write_waiting(current);
			break;
		case SUBXACT_EVENT_COMMIT_SUB:
			end_level(level);
			break;
		case SUBXACT_EVENT_ABORT_SUB:
			abort_level(level);
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
	RegisterXactCallback(at_xact_event, NULL);
	RegisterSubXactCallback(at_subxact_event, NULL);
}
