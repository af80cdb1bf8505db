/*-------------------------------------------------------------------------
 *
 * undo.c
 *	  Undoing a transaction, entry by entry, the last one first.
 *
 * Each entry becomes one statement that the caller runs with the caller's
 * rights, so that privileges, policies, constraints and triggers all have
 * their say, and the undo is audited itself.  Values travel as parameters,
 * read back by the codec: what is written is the value that was there, bit by
 * bit.  Before that the row is locked and compared with the state in which
 * the transaction left it; a difference is a conflict.
 *
 * The statements together are one to the server: AFTER triggers, and with
 * them foreign keys, wait for the last one.  So it does not matter in which
 * order a cascade removed its rows.
 *
 * A dry run does the same work and takes it back.  So it finds what the real
 * run would find, whatever the schema thinks up.
 *
 * Copyright (c) 2026, dbpatterns contributors
 *
 * src/audit/undo.c
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "access/relation.h"
#include "audit/undo.h"
#include "catalog/pg_class.h"
#include "catalog/pg_type.h"
#include "core/names.h"
#include "core/owner.h"
#include "core/target.h"
#include "executor/executor.h"
#include "funcapi.h"
#include "miscadmin.h"
#include "utils/builtins.h"
#include "utils/lsyscache.h"
#include "utils/memutils.h"
#include "utils/rel.h"

PG_FUNCTION_INFO_V1(dbpatterns_audit_undo);

/* Entries fetched at once. */
#define FETCH_ROWS 100

/* One call of audit_undo. */
typedef struct Undo
{
	int64		txn;
	bool		dry_run;
	bool		ddl;			/* the transaction did more than change rows */
	bool		firing;			/* all entries are undone */
	List	   *tables;			/* UndoTable */
	ReturnSetInfo *result;
	MemoryContext cxt;
	MemoryContext entry_cxt;
} Undo;

/*
 * open_table returns a table of the transaction; one that is gone has no
 * relation.
 */
static UndoTable *
open_table(Undo *undo, Oid relid)
{
	UndoTable  *table;
	Relation	rel;
	ListCell   *lc;

	foreach(lc, undo->tables)
	{
		table = lfirst(lc);
		if (table->relid == relid)
			return table;
	}

	rel = OidIsValid(relid) ? try_relation_open(relid, AccessShareLock) : NULL;
	table = palloc0(sizeof(UndoTable));
	table->relid = relid;
	undo->tables = lappend(undo->tables, table);
	if (rel == NULL)
		return table;
	if ((rel->rd_rel->relkind != RELKIND_RELATION &&
		 rel->rd_rel->relkind != RELKIND_PARTITIONED_TABLE) || RELATION_IS_OTHER_TEMP(rel))
	{
		relation_close(rel, AccessShareLock);
		return table;
	}
	dbp_audit_require_reader(rel);
	table->rel = rel;
	table->trail = dbp_audit_trail(rel);
	table->name = psprintf("%s%s", rel->rd_rel->relkind == RELKIND_PARTITIONED_TABLE
						   ? "" : "ONLY ", dbp_relation_name(rel));
	table->codec = dbp_codec_create(RelationGetDescr(rel), NULL, NULL, CurrentMemoryContext);
	return table;
}

static char *
undo_truncate(AuditRecord *record, char **sql)
{
	JsonbValue	unused;

	if (!dbp_audit_image_value(record->new, "rows", &unused))
		return "the rows that TRUNCATE removed were not logged";
	*sql = "-- the rows that TRUNCATE removed are inserted by the entries before it";
	return NULL;
}

/*
 * undo_record undoes one entry and returns the conflict that keeps it from
 * being undone, or NULL.
 */
static char *
undo_record(UndoTable *table, AuditRecord *record, char **sql)
{
	if (table->rel == NULL || record->shape == NULL)
		return "the table has been dropped";
	switch (record->op)
	{
		case AUDIT_INSERT:
			return dbp_audit_undo_insert(table, record, sql);
		case AUDIT_UPDATE:
			return dbp_audit_undo_update(table, record, sql);
		case AUDIT_DELETE:
			return dbp_audit_undo_delete(table, record, sql);
		default:
			return undo_truncate(record, sql);
	}
}

/* An entry to be undone on trial. */
typedef struct Trial
{
	UndoTable  *table;
	AuditRecord *record;
	char	   *sql;
	char	   *conflict;
} Trial;

/*
 * What undoing queues for AFTER triggers goes with the subtransaction, because
 * of the query level of its own.
 */
static void
undo_on_trial(void *arg)
{
	Trial	   *trial = arg;

	AfterTriggerBeginQuery();
	trial->conflict = undo_record(trial->table, trial->record, &trial->sql);
}

/*
 * try_record finds out whether an entry can be undone, and turns an error into
 * a conflict.
 */
static char *
try_record(UndoTable *table, AuditRecord *record, char **sql)
{
	Trial		trial = {table, record};
	ErrorData  *error = dbp_attempt(undo_on_trial, &trial, false);

	*sql = trial.sql;
	if (error == NULL)
		return trial.conflict;
	if (!dbp_error_lasts(error->sqlerrcode))
		ReThrowError(error);
	return error->message;
}

static void
entry_context(void *arg)
{
	errcontext("undoing entry %lld of the audit log", (long long) *(int64 *) arg);
}

/*
 * return_entry returns a row for an entry, or for what comes after the last
 * one.
 */
static void
return_entry(Undo *undo, UndoTable *table, AuditRecord *record, char *sql, char *conflict)
{
	Datum		values[5] = {0};
	bool		isnull[5] = {0};

	isnull[0] = isnull[2] = (record == NULL);
	isnull[1] = (record == NULL || table->rel == NULL);
	if (record != NULL)
	{
		values[0] = Int64GetDatum(record->id);
		values[1] = ObjectIdGetDatum(table->relid);
		values[2] = CharGetDatum(record->op);
	}
	isnull[3] = (sql == NULL);
	if (sql != NULL)
		values[3] = CStringGetTextDatum(sql);
	isnull[4] = (conflict == NULL);
	if (conflict != NULL)
		values[4] = CStringGetTextDatum(conflict);
	tuplestore_putvalues(undo->result->setResult, undo->result->setDesc, values, isnull);
}

/*
 * table_of returns the table of an entry.
 */
static UndoTable *
table_of(Undo *undo, TupleTableSlot *slot)
{
	bool		isnull;
	Datum		relid = slot_getattr(slot, AUDIT_RECORD_NCOLUMNS + 1, &isnull);

	return open_table(undo, isnull ? InvalidOid : DatumGetObjectId(relid));
}

static void
undo_row(Undo *undo, TupleTableSlot *slot)
{
	MemoryContext oldcxt = MemoryContextSwitchTo(undo->cxt);
	AuditTrail	none = {0};
	ErrorContextCallback callback;
	UndoTable  *table;
	AuditRecord record;
	char	   *sql = NULL;
	char	   *conflict;

	slot_getallattrs(slot);
	table = table_of(undo, slot);
	MemoryContextSwitchTo(undo->entry_cxt);
	dbp_audit_read_record(table->trail ? table->trail : &none, slot->tts_values,
						  slot->tts_isnull, &record);
	if (record.op == AUDIT_MARKER)
		undo->ddl = true;
	else
	{
		callback.callback = entry_context;
		callback.arg = &record.id;
		callback.previous = error_context_stack;
		error_context_stack = &callback;
		conflict = undo->dry_run ? try_record(table, &record, &sql) : NULL;
		if (conflict == NULL)
			conflict = undo_record(table, &record, &sql);
		error_context_stack = callback.previous;
		if (conflict != NULL && !undo->dry_run)
			ereport(ERROR,
					(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
					 errmsg("transaction %lld cannot be undone", (long long) undo->txn),
					 errdetail("Entry %lld: %s.", (long long) record.id, conflict),
					 errhint("Nothing was changed.  A dry run lists all conflicts.")));
		MemoryContextSwitchTo(undo->entry_cxt);
		return_entry(undo, table, &record, sql, conflict);
	}
	MemoryContextSwitchTo(oldcxt);
	MemoryContextReset(undo->entry_cxt);
}

/*
 * fetch_all puts what a cursor returns into a tuplestore, in a slot for its
 * rows, and closes the cursor.
 */
static Tuplestorestate *
fetch_all(Portal portal, TupleTableSlot **slot)
{
	Tuplestorestate *store = tuplestore_begin_heap(false, false, work_mem);

	*slot = MakeSingleTupleTableSlot(CreateTupleDescCopy(portal->tupDesc),
									 &TTSOpsMinimalTuple);
	for (;;)
	{
		uint64		n;

		CHECK_FOR_INTERRUPTS();
		SPI_cursor_fetch(portal, true, FETCH_ROWS);
		n = SPI_processed;
		for (uint64 i = 0; i < n; i++)
			tuplestore_puttuple(store, SPI_tuptable->vals[i]);
		SPI_freetuptable(SPI_tuptable);
		if (n == 0)
			break;
	}
	SPI_cursor_close(portal);
	return store;
}

/*
 * read_entries reads the entries of a transaction, the last one first; NULL if
 * there is none of that number.  No cursor stays open: triggers could fetch
 * from it what their owners may not read.
 */
static Tuplestorestate *
read_entries(int64 txn, TupleTableSlot **slot)
{
	static const char query[] =
		"SELECT " AUDIT_RECORD_COLUMNS ", coalesce(r.target::oid, (SELECT c.oid FROM pg_class c"
		"  WHERE r.temporary_name IS NOT NULL AND c.oid = s.table_oid::oid"
		"  AND c.relnamespace = pg_my_temp_schema()))"
		" FROM _dbpatterns.audit_log e"
		" LEFT JOIN _dbpatterns.audit_shape s ON s.shape = e.shape"
		" LEFT JOIN _dbpatterns.audit_relation r ON r.relation = s.relation"
		" WHERE e.xact_time = $1 AND e.txn = $2 AND e.op <> 'W' ORDER BY e.id DESC";
	Oid			types[2] = {TIMESTAMPTZOID, INT8OID};
	Datum		values[2];
	DbpParam	param = DBP_PARAM(INT8OID, Int64GetDatum(txn));
	DbpOwnerScope scope;
	Tuplestorestate *store = NULL;
	Portal		portal;

	dbp_enter_owner(&scope, dbp_audit_log_owner());
	if (dbp_sql_query("SELECT xact_time FROM _dbpatterns.audit_log WHERE txn = $1 LIMIT 1",
					  1, &param) > 0)
	{
		values[0] = dbp_sql_value(0, 0, NULL);
		values[1] = Int64GetDatum(txn);
		portal = SPI_cursor_open_with_args(NULL, query, 2, types, values, NULL, false, 0);
		if (portal == NULL)
			elog(ERROR, "SPI failed for \"%s\": %s", query,
				 SPI_result_code_string(SPI_result));
		store = fetch_all(portal, slot);
	}
	dbp_leave_owner(&scope);
	return store;
}

/*
 * fire_triggers fires the AFTER triggers of all statements.
 */
static void
fire_triggers(Undo *undo)
{
	EState	   *estate = CreateExecutorState();

	undo->firing = true;
	AfterTriggerEndQuery(estate);
	ExecResetTupleTable(estate->es_tupleTable, false);
	ExecCloseResultRelations(estate);
	FreeExecutorState(estate);
}

static void
undo_all(void *arg)
{
	Undo	   *undo = arg;
	TupleTableSlot *slot;
	Tuplestorestate *entries = read_entries(undo->txn, &slot);
	ListCell   *lc;

	if (entries == NULL)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("the audit log has no transaction %lld", (long long) undo->txn),
				 errhint("Take the number from column transaction of dbpatterns.audit_history or dbpatterns.audit_changes.")));

	/* Nothing runs unless the caller may read all of it. */
	while (tuplestore_gettupleslot(entries, true, false, slot))
		(void) table_of(undo, slot);
	tuplestore_rescan(entries);
	AfterTriggerBeginQuery();
	while (tuplestore_gettupleslot(entries, true, false, slot))
	{
		CHECK_FOR_INTERRUPTS();
		undo_row(undo, slot);
	}
	ExecDropSingleTupleTableSlot(slot);
	tuplestore_end(entries);
	fire_triggers(undo);
	foreach(lc, undo->tables)
	{
		UndoTable  *table = lfirst(lc);

		if (table->rel != NULL)
			relation_close(table->rel, NoLock);
	}
}

/*
 * audit_undo(transaction bigint, dry_run boolean) undoes what a transaction
 * did to audited tables: one row per entry, the last one first, with the
 * statement that undoes it and the conflict that prevents this, if any.
 *
 * transaction: number of a transaction in the log.  dry_run: the statements
 * run, triggers and all, and are rolled back at once; otherwise they stay,
 * part of the current transaction.  A conflict is a row that is not as the
 * transaction left it, a value that was not logged, a table or column that is
 * gone, a truncation without its rows, or an error of the statement.  What
 * AFTER triggers and foreign keys object to in the end is a last row without
 * id.  Generated columns are left to the server.  Schema changes are not undone.
 *
 * Raises 22004 (an argument is NULL), 22023 (no such transaction), 42501
 * (neither owner of a table of the transaction nor reader of
 * dbpatterns.audit_entries, or row-level security hides its rows); without
 * dry_run also 55000 at the first conflict, and what the statements raise.
 * Locks ROW EXCLUSIVE on the tables, the rows themselves, ACCESS SHARE on the
 * log.  Statements run as the caller; values are read as the owners of their
 * types and of the table.  A second call finds conflicts, since rows are no
 * longer as the transaction left them.
 */
Datum
dbpatterns_audit_undo(PG_FUNCTION_ARGS)
{
	Undo		undo = {0};

	dbp_require_argument(fcinfo, 0, "transaction", "Give the number of a transaction in the audit log.");
	dbp_require_argument(fcinfo, 1, "dry_run", "Leave it out for a dry run.");
	InitMaterializedSRF(fcinfo, 0);
	dbp_audit_read_flush();

	SPI_connect();
	undo.txn = PG_GETARG_INT64(0);
	undo.dry_run = PG_GETARG_BOOL(1);
	undo.result = (ReturnSetInfo *) fcinfo->resultinfo;
	undo.cxt = CurrentMemoryContext;
	undo.entry_cxt = AllocSetContextCreate(undo.cxt, "dbpatterns undo entry",
										   ALLOCSET_DEFAULT_SIZES);
	if (undo.dry_run)
	{
		ErrorData  *error = dbp_attempt(undo_all, &undo, false);

		/* What AFTER triggers object to in the end belongs to no entry. */
		if (error != NULL && undo.firing && dbp_error_lasts(error->sqlerrcode))
			return_entry(&undo, NULL, NULL, NULL, error->message);
		else if (error != NULL)
			ReThrowError(error);
	}
	else
		undo_all(&undo);
	if (undo.ddl)
		ereport(NOTICE,
				(errmsg("the transaction also changed tables or their auditing, which is not undone")));
	SPI_finish();
	PG_RETURN_NULL();
}
