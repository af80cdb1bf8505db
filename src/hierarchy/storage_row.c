/*-------------------------------------------------------------------------
 *
 * storage_row.c
 *	  Rows of the storage of a hierarchy: whose they are, and their end.
 *
 * For closure tables and nested sets alike, whose flushes read rows as they are
 * now (SnapshotSelf) under locks of ours.
 *
 * Copyright (c) 2026, dbpatterns contributors
 *
 * src/hierarchy/storage_row.c
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "access/htup_details.h"
#include "access/tableam.h"
#include "access/xact.h"
#include "catalog/pg_type.h"
#include "core/names.h"
#include "core/owner.h"
#include "hierarchy/hierarchy.h"
#include "utils/snapmgr.h"

/*
 * dbp_hier_is_own_row tells whether this transaction has written the row that an
 * index scan has left in a slot.
 */
bool
dbp_hier_is_own_row(TupleTableSlot *slot)
{
	HeapTuple	tuple = ((BufferHeapTupleTableSlot *) slot)->base.tuple;

	return TransactionIdIsCurrentTransactionId(HeapTupleHeaderGetXmin(tuple->t_data));
}

/*
 * dbp_hier_refuse_snapshot raises 40001: the transaction's snapshot does not
 * show what is there.
 */
void
dbp_hier_refuse_snapshot(Relation storage)
{
	ereport(ERROR,
			(errcode(ERRCODE_T_R_SERIALIZATION_FAILURE),
			 errmsg("could not serialize access due to concurrent change of hierarchy \"%s\"",
					RelationGetRelationName(storage)),
			 errhint("The transaction might succeed if retried.")));
}

/*
 * dbp_hier_deletes_by_trigger tells whether deletes must fire triggers of the
 * user's.
 */
bool
dbp_hier_deletes_by_trigger(Relation storage)
{
	TriggerDesc *triggers = storage->trigdesc;

	return triggers != NULL &&
		(triggers->trig_delete_before_row || triggers->trig_delete_after_row ||
		 triggers->trig_delete_before_statement || triggers->trig_delete_after_statement);
}

static void
delete_by_trigger(Relation storage, const ItemPointerData *tid)
{
	DbpOwnerScope scope;
	DbpParam	param = DBP_PARAM(TIDOID, PointerGetDatum(tid));

	SPI_connect();
	dbp_enter_owner(&scope, storage->rd_rel->relowner);
	dbp_sql_query_latest(psprintf("DELETE FROM %s WHERE ctid OPERATOR(pg_catalog.=) $1",
								  dbp_relation_name(storage)), 1, &param);
	dbp_leave_owner(&scope);
	SPI_finish();
}

/*
 * dbp_hier_delete_row deletes a row; by_trigger is what
 * dbp_hier_deletes_by_trigger said.
 */
void
dbp_hier_delete_row(Relation storage, const ItemPointerData *tid, bool by_trigger)
{
	TM_FailureData failure;

	if (by_trigger)
		delete_by_trigger(storage, tid);

	/* It is locked: only somebody who edits the storage can be at it. */
	else if (table_tuple_delete(storage, unconstify(ItemPointerData *, tid),
								GetCurrentCommandId(true), SnapshotSelf, InvalidSnapshot,
								true, &failure, false) != TM_Ok)
		dbp_hier_refuse_snapshot(storage);
}
