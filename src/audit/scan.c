/*-------------------------------------------------------------------------
 *
 * scan.c
 *	  Finding log entries, and who made them.
 *
 * The entries of a row are found by index, partition by partition, without
 * the planner and the executor: to start a query on a table with many
 * partitions costs more than the few rows it then returns.  A whole table's
 * entries come from a query.  Who and when is looked up once per transaction.
 *
 * The caller has checked the rights (see read.c); nothing here does.
 *
 * Copyright (c) 2026, dbpatterns contributors
 *
 * src/audit/scan.c
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "access/genam.h"
#include "access/table.h"
#include "audit/audit.h"
#include "catalog/pg_am.h"
#include "catalog/pg_type.h"
#include "compat/compat.h"
#include "core/append.h"
#include "core/names.h"
#include "core/owner.h"
#include "miscadmin.h"
#include "nodes/params.h"
#include "tcop/dest.h"
#include "utils/fmgroids.h"
#include "utils/guc.h"
#include "utils/memutils.h"
#include "utils/rel.h"
#include "utils/snapmgr.h"
#include "utils/tuplesort.h"
#include "utils/typcache.h"

/* Columns of audit_log. */
#define LOG_ID			2
#define LOG_ROW_KEY		5
#define LOG_OLD_ROW_KEY	6
#define LOG_OP			8

/* What a scan by key carries from leaf to leaf. */
typedef struct KeyScan
{
	AuditTrail *trail;
	AuditProbe *probes;
	TimestampTz since;
	TimestampTz until;
	Tuplesortstate *sort;
	TupleTableSlot *slot;
} KeyScan;

/* A row of the log that says who made the entries after it. */
typedef struct WhoRow
{
	int64		id;
	Datum		values[AUDIT_RECORD_NCOLUMNS];
	bool		isnull[AUDIT_RECORD_NCOLUMNS];
} WhoRow;

struct AuditWho
{
	Relation	parent;			/* locked, so that its partitions stay */
	List	   *partitions;
	MemoryContext cxt;			/* holds rows */
	int64		txn;			/* whose rows these are */
	List	   *rows;			/* WhoRow, the newest first */
};

/* Hands the rows of a query to a function, one by one. */
typedef struct Receiver
{
	DestReceiver pub;			/* MUST BE FIRST */
	AuditTrail *trail;
	AuditReceive receive;
	void	   *arg;
	MemoryContext row_cxt;
	Oid			caller;
	int			caller_sec_context;
} Receiver;

/*
 * has_all tells whether an index has all rows in which its first column is not
 * NULL: an auditor may have added indexes of other kinds.
 */
static bool
has_all(Relation index)
{
	List	   *predicate = RelationGetIndexPredicate(index);
	NullTest   *test = list_length(predicate) == 1 ? linitial(predicate) : NULL;

	if (!index->rd_index->indisvalid)
		return false;
	return predicate == NIL ||
		(test != NULL && IsA(test, NullTest) && test->nulltesttype == IS_NOT_NULL &&
		 IsA(test->arg, Var) &&
		 castNode(Var, test->arg)->varattno == index->rd_index->indkey.values[0]);
}

/*
 * index_on returns the btree of a log partition that begins with a column.
 */
static Oid
index_on(Relation leaf, AttrNumber column)
{
	ListCell   *lc;

	foreach(lc, RelationGetIndexList(leaf))
	{
		Relation	index = index_open(lfirst_oid(lc), AccessShareLock);
		bool		found = index->rd_rel->relam == BTREE_AM_OID &&
			index->rd_index->indkey.values[0] == column && has_all(index);

		index_close(index, AccessShareLock);
		if (found)
			return lfirst_oid(lc);
	}
	ereport(ERROR,
			(errcode(ERRCODE_UNDEFINED_OBJECT),
			 errmsg("partition %s of the audit log lacks an index", dbp_relation_name(leaf)),
			 errhint("Give it the indexes of the other partitions.")));
	return InvalidOid;			/* keep the compiler quiet */
}

/*
 * collect puts what an index finds into the sort, if it lies in time.
 */
static void
collect(KeyScan *scan, Relation leaf, Oid index, int nkeys, ScanKey keys)
{
	SysScanDesc desc = systable_beginscan(leaf, index, true, GetActiveSnapshot(), nkeys, keys);
	HeapTuple	tuple;

	while (HeapTupleIsValid(tuple = systable_getnext(desc)))
	{
		bool		isnull;
		TimestampTz at = DatumGetTimestampTz(heap_getattr(tuple, 1, RelationGetDescr(leaf),
														  &isnull));

		CHECK_FOR_INTERRUPTS();
		if (at < scan->since || at >= scan->until)
			continue;
		ExecStoreHeapTuple(tuple, scan->slot, false);
		tuplesort_puttupleslot(scan->sort, scan->slot);
	}
	ExecClearTuple(scan->slot);
	systable_endscan(desc);
}

/*
 * scan_leaf finds the row's entries in one partition: by its key; by the key
 * it had before a change of it, unless that gave it the same hash; and those
 * that concern the table as a whole.
 */
static void
scan_leaf(KeyScan *scan, Relation leaf)
{
	Oid			by_key = index_on(leaf, LOG_ROW_KEY);
	Oid			by_old_key = index_on(leaf, LOG_OLD_ROW_KEY);
	AuditTrail *trail = scan->trail;
	ScanKeyData keys[2];

	for (int i = 0; i < trail->nkeydefs && scan->probes != NULL; i++)
	{
		Datum		hash = Int64GetDatum((int64) scan->probes[i].hash);
		bool		done = !scan->probes[i].valid;

		for (int j = 0; j < i; j++)
			done |= scan->probes[j].valid && scan->probes[j].hash == scan->probes[i].hash;
		if (done)
			continue;
		ScanKeyInit(&keys[0], LOG_ROW_KEY, BTEqualStrategyNumber, F_INT8EQ, hash);
		collect(scan, leaf, by_key, 1, keys);
		ScanKeyInit(&keys[0], LOG_OLD_ROW_KEY, BTEqualStrategyNumber, F_INT8EQ, hash);
		collect(scan, leaf, by_old_key, 1, keys);
	}

	ScanKeyInit(&keys[0], LOG_ROW_KEY, BTGreaterEqualStrategyNumber, F_INT8GE,
				Int64GetDatum(-(int64) trail->shapes[trail->nshapes - 1].shape));
	ScanKeyInit(&keys[1], LOG_ROW_KEY, BTLessEqualStrategyNumber, F_INT8LE, Int64GetDatum(0));
	collect(scan, leaf, by_key, 2, keys);
}

static bool
deliver(AuditTrail *trail, TupleTableSlot *slot, AuditReceive receive, void *arg)
{
	AuditRecord record;

	slot_getallattrs(slot);
	dbp_audit_read_record(trail, slot->tts_values, slot->tts_isnull, &record);
	return receive(&record, arg);
}

/*
 * dbp_audit_scan_row hands the entries of a row, and those of its table as a
 * whole, to a function, until that returns false; in order, or the newest
 * first.  Without probes only the latter.  Only entries of transactions that
 * began at or after since and before until.  Entries of another row or table
 * may be among them.
 */
void
dbp_audit_scan_row(AuditTrail *trail, AuditProbe *probes, TimestampTz since,
				   TimestampTz until, bool newest_first, AuditReceive receive, void *arg)
{
	Relation	parent = table_open(dbp_own_relation("audit_log"), AccessShareLock);
	AttrNumber	column = LOG_ID;
	TypeCacheEntry *type = lookup_type_cache(INT8OID, TYPECACHE_LT_OPR | TYPECACHE_GT_OPR);
	Oid			order = newest_first ? type->gt_opr : type->lt_opr;
	Oid			collation = InvalidOid;
	bool		nulls_first = false;
	MemoryContext row_cxt = AllocSetContextCreate(CurrentMemoryContext, "dbpatterns audit entry",
												  ALLOCSET_DEFAULT_SIZES);
	MemoryContext oldcxt;
	KeyScan		scan = {trail, probes, since, until};
	TupleTableSlot *slot;
	int64		last_id = 0;
	bool		more = true;
	ListCell   *lc;

	scan.sort = tuplesort_begin_heap(RelationGetDescr(parent), 1, &column, &order, &collation,
									 &nulls_first, work_mem, NULL, TUPLESORT_NONE);
	scan.slot = MakeSingleTupleTableSlot(RelationGetDescr(parent), &TTSOpsHeapTuple);
	foreach(lc, dbp_audit_log_partitions())
	{
		AuditPartition *part = lfirst(lc);
		Relation	leaf;

		if (part->upto <= since || part->from >= until)
			continue;
		leaf = table_open(part->relid, AccessShareLock);
		scan_leaf(&scan, leaf);
		table_close(leaf, NoLock);
	}
	ExecDropSingleTupleTableSlot(scan.slot);

	tuplesort_performsort(scan.sort);
	slot = MakeSingleTupleTableSlot(RelationGetDescr(parent), &TTSOpsMinimalTuple);
	oldcxt = MemoryContextSwitchTo(row_cxt);
	while (more && tuplesort_gettupleslot(scan.sort, true, false, slot, NULL))
	{
		bool		isnull;
		int64		id = DatumGetInt64(slot_getattr(slot, LOG_ID, &isnull));

		/* Found by its old key and by its new one, an entry comes twice. */
		if (id == last_id)
			continue;
		last_id = id;
		more = deliver(trail, slot, receive, arg);
		MemoryContextReset(row_cxt);
	}
	MemoryContextSwitchTo(oldcxt);
	ExecDropSingleTupleTableSlot(slot);
	tuplesort_end(scan.sort);
	MemoryContextDelete(row_cxt);
	table_close(parent, NoLock);
}

static void
receiver_startup(DestReceiver *self, int operation, TupleDesc desc)
{
}

static void
receiver_shutdown(DestReceiver *self)
{
}

static bool
receiver_row(TupleTableSlot *slot, DestReceiver *self)
{
	Receiver   *receiver = (Receiver *) self;
	MemoryContext oldcxt = MemoryContextSwitchTo(receiver->row_cxt);
	Oid			owner;
	int			sec_context;
	bool		more;

	/* What is done with the entry is done as the caller. */
	GetUserIdAndSecContext(&owner, &sec_context);
	SetUserIdAndSecContext(receiver->caller, receiver->caller_sec_context);
	more = deliver(receiver->trail, slot, receiver->receive, receiver->arg);
	SetUserIdAndSecContext(owner, sec_context);
	MemoryContextSwitchTo(oldcxt);
	MemoryContextReset(receiver->row_cxt);
	return more;
}

/*
 * kept_plan returns the plan for a query, made at the first call and kept.
 * It is made for all values of its parameters, so that none is planned for
 * anew.
 */
static SPIPlanPtr
kept_plan(SPIPlanPtr *plan, const char *sql, int nparams, const Oid *types)
{
	if (*plan == NULL)
	{
		SPIPlanPtr	made = dbp_sql_prepare(sql, nparams, types, CURSOR_OPT_GENERIC_PLAN);

		SPI_keepplan(made);
		*plan = made;
	}
	return *plan;
}

/*
 * dbp_audit_scan_table runs a query on the log, which returns
 * AUDIT_RECORD_COLUMNS, and hands each entry to a function, until that returns false.
 * Caller: SPI connected.
 */
void
dbp_audit_scan_table(AuditTrail *trail, SPIPlanPtr *plan, const char *sql, int nparams,
					 const Oid *types, const Datum *values, AuditReceive receive, void *arg)
{
	ParamListInfo params = makeParamList(nparams);
	SPIExecuteOptions options = {0};
	Receiver	receiver = {{0}};
	DbpOwnerScope scope;
	int			rc;

	for (int i = 0; i < nparams; i++)
	{
		params->params[i].value = values[i];
		params->params[i].isnull = false;
		params->params[i].pflags = PARAM_FLAG_CONST;
		params->params[i].ptype = types[i];
	}
	receiver.pub.receiveSlot = receiver_row;
	receiver.pub.rStartup = receiver_startup;
	receiver.pub.rShutdown = receiver_shutdown;
	receiver.pub.rDestroy = receiver_shutdown;
	receiver.pub.mydest = DestNone;
	receiver.trail = trail;
	receiver.receive = receive;
	receiver.arg = arg;
	receiver.row_cxt = AllocSetContextCreate(CurrentMemoryContext, "dbpatterns audit entry",
											 ALLOCSET_DEFAULT_SIZES);
	options.params = params;
	options.read_only = true;
	options.dest = (DestReceiver *) &receiver;

	/*
	 * The plan is made for any times, of which the planner expects a third of
	 * the log; but the index on times costs nothing even for all of it.
	 */
	GetUserIdAndSecContext(&receiver.caller, &receiver.caller_sec_context);
	dbp_enter_owner(&scope, dbp_audit_log_owner());
	(void) set_config_option("enable_seqscan", "off", PGC_USERSET, PGC_S_SESSION,
							 GUC_ACTION_SAVE, true, 0, false);
	rc = SPI_execute_plan_extended(kept_plan(plan, sql, nparams, types), &options);
	if (rc < 0)
		elog(ERROR, "SPI failed for \"%s\": %s", sql, SPI_result_code_string(rc));
	dbp_leave_owner(&scope);
	MemoryContextDelete(receiver.row_cxt);
}

/*
 * dbp_audit_who_open prepares to look up who made entries.
 */
AuditWho *
dbp_audit_who_open(void)
{
	AuditWho   *who = palloc0(sizeof(AuditWho));

	who->parent = table_open(dbp_own_relation("audit_log"), AccessShareLock);
	who->partitions = dbp_audit_log_partitions();
	who->cxt = AllocSetContextCreate(CurrentMemoryContext, "dbpatterns audit transaction",
									 ALLOCSET_SMALL_SIZES);
	return who;
}

static Oid
partition_at(AuditWho *who, TimestampTz at)
{
	AuditPartition *found = NULL;
	ListCell   *lc;

	foreach(lc, who->partitions)
	{
		AuditPartition *part = lfirst(lc);

		if (part->is_default ? found == NULL : (part->from <= at && at < part->upto))
			found = part;
	}
	return found != NULL ? found->relid : InvalidOid;
}

static int
newest_first(const ListCell *a, const ListCell *b)
{
	int64		ia = ((const WhoRow *) lfirst(a))->id;
	int64		ib = ((const WhoRow *) lfirst(b))->id;

	return ia > ib ? -1 : ia < ib ? 1 : 0;
}

/*
 * read_who reads the rows that say who made the entries of a transaction.
 */
static void
read_who(AuditWho *who, AuditRecord *record)
{
	Oid			relid = partition_at(who, record->at);
	MemoryContext oldcxt = MemoryContextSwitchTo(who->cxt);
	Relation	leaf;
	ScanKeyData key;
	SysScanDesc scan;
	HeapTuple	tuple;

	MemoryContextReset(who->cxt);
	who->txn = record->txn;
	who->rows = NIL;
	if (OidIsValid(relid))
	{
		leaf = table_open(relid, AccessShareLock);
		ScanKeyInit(&key, LOG_ROW_KEY, BTEqualStrategyNumber, F_INT8EQ,
					Int64GetDatum((int64) AUDIT_WHO_KEY(record->txn)));
		scan = systable_beginscan(leaf, index_on(leaf, LOG_ROW_KEY), true,
								  GetActiveSnapshot(), 1, &key);
		while (HeapTupleIsValid(tuple = systable_getnext(scan)))
		{
			WhoRow	   *row = palloc(sizeof(WhoRow));

			heap_deform_tuple(heap_copytuple(tuple), RelationGetDescr(leaf),
							  row->values, row->isnull);
			row->id = DatumGetInt64(row->values[LOG_ID - 1]);
			if (DatumGetChar(row->values[LOG_OP - 1]) == AUDIT_WHO)
				who->rows = lappend(who->rows, row);
		}
		systable_endscan(scan);
		table_close(leaf, NoLock);
		list_sort(who->rows, newest_first);
	}
	MemoryContextSwitchTo(oldcxt);
}

/*
 * dbp_audit_who returns the facts in force when an entry was written, as columns
 * of audit_log; false when the log does not have them.  They are valid until
 * the next call, and as long as the record.
 */
bool
dbp_audit_who(AuditWho *who, AuditRecord *record, Datum **values, bool **isnull)
{
	ListCell   *lc;

	if (!record->isnull[AUDIT_WHO_FIRST])
	{
		*values = record->values;
		*isnull = record->isnull;
		return true;
	}
	if (who->txn != record->txn)
		read_who(who, record);
	foreach(lc, who->rows)
	{
		WhoRow	   *row = lfirst(lc);

		if (row->id <= record->id)
		{
			*values = row->values;
			*isnull = row->isnull;
			return true;
		}
	}
	return false;
}

/*
 * dbp_audit_who_close ends it.
 */
void
dbp_audit_who_close(AuditWho *who)
{
	MemoryContextDelete(who->cxt);
	table_close(who->parent, NoLock);
}
