/*-------------------------------------------------------------------------
 *
 * parts.c
 *	  Partitions that come and go, with rows that no trigger sees.
 *
 * When a partition is dropped or detached, nothing in the catalog names the
 * table it left any more.  But the row of pg_inherits that did is still there,
 * deleted by the current transaction, and so cannot have been removed.
 *
 * Copyright (c) 2026, dbpatterns contributors
 *
 * src/core/parts.c
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "access/genam.h"
#include "access/htup_details.h"
#include "access/table.h"
#include "access/tableam.h"
#include "access/xact.h"
#include "catalog/pg_class.h"
#include "catalog/pg_inherits.h"
#include "core/parts.h"
#include "core/target.h"
#include "executor/tuptable.h"
#include "storage/lmgr.h"
#include "utils/fmgroids.h"
#include "utils/lsyscache.h"
#include "utils/rel.h"
#include "utils/snapmgr.h"

static bool
deleted_by_us(HeapTupleHeader tuple)
{
	return (tuple->t_infomask & HEAP_XMAX_INVALID) == 0 &&
		!HEAP_XMAX_IS_LOCKED_ONLY(tuple->t_infomask) &&
		TransactionIdIsCurrentTransactionId(HeapTupleHeaderGetUpdateXid(tuple));
}

static bool
inserted_by_us(HeapTupleHeader tuple)
{
	return TransactionIdIsCurrentTransactionId(HeapTupleHeaderGetXmin(tuple));
}

/*
 * linked_parent returns the parent of a table by a row of pg_inherits that
 * the current transaction has deleted or inserted; InvalidOid if there is
 * none.
 */
static Oid
linked_parent(Oid relid, bool (*by_us) (HeapTupleHeader tuple))
{
	Relation	inherits = table_open(InheritsRelationId, AccessShareLock);
	Oid			parent = InvalidOid;
	ScanKeyData key;
	SysScanDesc scan;
	HeapTuple	tuple;

	ScanKeyInit(&key, Anum_pg_inherits_inhrelid, BTEqualStrategyNumber, F_OIDEQ,
				ObjectIdGetDatum(relid));
	scan = systable_beginscan(inherits, InheritsRelidSeqnoIndexId, true, SnapshotAny, 1, &key);
	while (HeapTupleIsValid(tuple = systable_getnext(scan)))
	{
		if (by_us(tuple->t_data))
			parent = ((Form_pg_inherits) GETSTRUCT(tuple))->inhparent;
	}
	systable_endscan(scan);
	table_close(inherits, AccessShareLock);
	return parent;
}

static bool
is_touched(Oid relid, const List *touched)
{
	return touched == NIL || list_member_oid(touched, relid);
}

/*
 * dbp_former_root returns the partitioned table whose partition a table
 * was before the command that dropped or detached it; InvalidOid if it was
 * none, or that table is dropped, too.  touched: the relations that the
 * command touched, NIL for a DROP.
 */
Oid
dbp_former_root(Oid relid, const List *touched)
{
	Oid			parent = linked_parent(relid, deleted_by_us);

	if (!OidIsValid(parent) || !is_touched(parent, touched))
		return InvalidOid;
	if (get_rel_relkind(parent) == '\0')
		return dbp_former_root(parent, touched);
	if (get_rel_relkind(parent) != RELKIND_PARTITIONED_TABLE)
		return InvalidOid;		/* inheritance */
	return dbp_partition_root(parent);
}

/*
 * dbp_new_part tells whether a command made or attached a partition.
 */
bool
dbp_new_part(Oid relid, const List *touched)
{
	Oid			parent = linked_parent(relid, inserted_by_us);

	return OidIsValid(parent) && is_touched(parent, touched);
}

/*
 * dbp_has_rows tells whether a table or partition holds any row now.  Locks ACCESS
 * SHARE on it and its partitions.
 */
bool
dbp_has_rows(Oid relid)
{
	bool		found = false;
	ListCell   *lc;

	LockRelationOid(relid, AccessShareLock);
	foreach(lc, find_all_inheritors(relid, AccessShareLock, NULL))
	{
		Relation	rel = table_open(lfirst_oid(lc), NoLock);

		/* What a foreign table holds is not ours to ask. */
		found |= (rel->rd_rel->relkind == RELKIND_FOREIGN_TABLE);
		if (!found && rel->rd_rel->relkind == RELKIND_RELATION)
		{
			Snapshot	snapshot = RegisterSnapshot(GetLatestSnapshot());
			TupleTableSlot *slot = table_slot_create(rel, NULL);
			TableScanDesc scan = table_beginscan(rel, snapshot, 0, NULL);

			found = table_scan_getnextslot(scan, ForwardScanDirection, slot);
			table_endscan(scan);
			ExecDropSingleTupleTableSlot(slot);
			UnregisterSnapshot(snapshot);
		}
		table_close(rel, NoLock);
	}
	return found;
}
