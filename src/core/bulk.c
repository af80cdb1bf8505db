/*-------------------------------------------------------------------------
 *
 * bulk.c
 *	  Filling a new table.
 *
 * Rows go to the table access method a page at a time, without index entries:
 * the caller builds the indexes afterwards.  In a table that this transaction
 * created, nobody else can look yet, so the rows are written frozen: they are
 * never rewritten by a vacuum, and index-only scans work at once.
 *
 * Copyright (c) 2026, dbpatterns contributors
 *
 * src/core/bulk.c
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "access/heapam.h"
#include "access/tableam.h"
#include "access/xact.h"
#include "catalog/pg_class.h"
#include "core/bulk.h"
#include "core/names.h"
#include "miscadmin.h"
#include "utils/memutils.h"

/* Rows handed to the table access method at once: some pages full. */
#define BATCH_ROWS	1000

struct DbpBulk
{
	Relation	rel;
	BulkInsertState state;
	CommandId	cid;
	int			options;
	MemoryContext batch_cxt;	/* reset after each batch */
	int			nrows;			/* rows in the batch */
	TupleTableSlot *slots[BATCH_ROWS];
};

/*
 * dbp_bulk_begin starts to fill a table that the caller has locked.  Raises
 * 42809 unless it is a heap without triggers.
 */
DbpBulk *
dbp_bulk_begin(Relation rel)
{
	DbpBulk    *bulk = palloc0(sizeof(DbpBulk));

	if (rel->rd_rel->relkind != RELKIND_RELATION || rel->trigdesc != NULL ||
		rel->rd_tableam != GetHeapamTableAmRoutine())
		ereport(ERROR,
				(errcode(ERRCODE_WRONG_OBJECT_TYPE),
				 errmsg("table %s cannot be filled directly", dbp_relation_name(rel)),
				 errdetail("It is not a plain table, or it has triggers."),
				 errhint("Drop the triggers, or make it an ordinary table.")));
	bulk->rel = rel;
	bulk->state = GetBulkInsertState();
	bulk->cid = GetCurrentCommandId(true);
	bulk->options = TABLE_INSERT_SKIP_FSM;
	if (rel->rd_createSubid == GetCurrentSubTransactionId())
		bulk->options |= TABLE_INSERT_FROZEN;
	bulk->batch_cxt = AllocSetContextCreate(CurrentMemoryContext, "dbpatterns bulk batch",
											ALLOCSET_DEFAULT_SIZES);
	return bulk;
}

static void
write_batch(DbpBulk *bulk)
{
	MemoryContext oldcxt = MemoryContextSwitchTo(bulk->batch_cxt);

	CHECK_FOR_INTERRUPTS();
	for (int i = 0; i < bulk->nrows; i++)
		ExecStoreVirtualTuple(bulk->slots[i]);
	table_multi_insert(bulk->rel, bulk->slots, bulk->nrows, bulk->cid, bulk->options,
					   bulk->state);
	for (int i = 0; i < bulk->nrows; i++)
		ExecClearTuple(bulk->slots[i]);
	bulk->nrows = 0;
	MemoryContextSwitchTo(oldcxt);
	MemoryContextReset(bulk->batch_cxt);
}

/*
 * dbp_bulk_row returns an empty slot; the caller sets the values and nulls of
 * all columns before it asks for the next one.  What they point to must stay
 * until dbp_bulk_end.
 */
TupleTableSlot *
dbp_bulk_row(DbpBulk *bulk)
{
	if (bulk->nrows == BATCH_ROWS)
		write_batch(bulk);
	if (bulk->slots[bulk->nrows] == NULL)
		bulk->slots[bulk->nrows] = MakeSingleTupleTableSlot(RelationGetDescr(bulk->rel),
															&TTSOpsVirtual);
	return bulk->slots[bulk->nrows++];
}

/*
 * dbp_bulk_end writes the last rows.
 */
void
dbp_bulk_end(DbpBulk *bulk)
{
	if (bulk->nrows > 0)
		write_batch(bulk);
	for (int i = 0; i < BATCH_ROWS && bulk->slots[i] != NULL; i++)
		ExecDropSingleTupleTableSlot(bulk->slots[i]);
	FreeBulkInsertState(bulk->state);
	table_finish_bulk_insert(bulk->rel, bulk->options);
	MemoryContextDelete(bulk->batch_cxt);
	pfree(bulk);
}
