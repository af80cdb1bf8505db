/*-------------------------------------------------------------------------
 *
 * portion.c
 *	  Editing what holds during a portion of time.
 *
 * All rows that have a part in the portion are locked first.  A row that was
 * changed while that waited may have left parts which the snapshot of the lock
 * does not show; so the rows are read once more, by a new snapshot, until that
 * shows none but those that are locked.  Then they are changed by one
 * statement.  Only an upsert writes where no row was; what somebody else writes
 * there meanwhile makes it start again.
 *
 * All runs as the caller, who needs the rights that the statements need.
 *
 * Copyright (c) 2026, dbpatterns contributors
 *
 * src/period/portion.c
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "access/table.h"
#include "access/xact.h"
#include "catalog/pg_type.h"
#include "compat/compat.h"
#include "core/names.h"
#include "core/target.h"
#include "core/version.h"
#include "fmgr.h"
#include "miscadmin.h"
#include "period/portion.h"
#include "port/atomics.h"
#include "storage/lock.h"
#include "storage/proc.h"
#include "utils/array.h"
#include "utils/builtins.h"
#include "utils/datum.h"
#include "utils/lsyscache.h"

PG_FUNCTION_INFO_V1(dbpatterns_portion_update);
PG_FUNCTION_INFO_V1(dbpatterns_portion_delete);
PG_FUNCTION_INFO_V1(dbpatterns_portion_upsert);

/* Class of our advisory locks on a key. */
#define PORTION_LOCK_KEY	0xDB31

/*
 * How many of them a transaction takes.  They only keep edits from running into each
 * other; a transaction that edits more keys does without.
 */
#define KEY_LOCKS_MAX		256

static LocalTransactionId locking = InvalidLocalTransactionId;
static int	key_locks = 0;

/* How often an upsert starts again. */
#define ATTEMPTS_MAX		20

/* ---- reading a call -------------------------------------------------------- */

/*
 * dbp_portion_target opens the table that the first argument names.
 */
Relation
dbp_portion_target(FunctionCallInfo fcinfo)
{
	dbp_require_argument(fcinfo, 0, "target", "Name a table with a period.");
	(void) dbp_relation_name_by_oid(PG_GETARG_OID(0));
	dbp_check_version();
	return table_open(PG_GETARG_OID(0), AccessShareLock);
}

/*
 * dbp_portion_open begins a call for an open table, or raises 55000.
 */
void
dbp_portion_open(PortionEdit *edit, Relation rel, PortionVerb verb)
{
	int			natts = RelationGetDescr(rel)->natts;

	memset(edit, 0, sizeof(*edit));
	edit->table = dbp_portion_table(rel);
	edit->verb = verb;
	edit->by = palloc0(sizeof(bool) * natts);
	edit->set = palloc0(sizeof(bool) * natts);
	edit->key_values = palloc0(sizeof(Datum) * natts);
	edit->values = palloc0(sizeof(Datum) * natts);
	edit->isnull = palloc0(sizeof(bool) * natts);
}

static int
find_column(PortionTable *table, const char *name, int len)
{
	for (int i = 0; i < table->desc->natts; i++)
	{
		Form_pg_attribute att = TupleDescAttr(table->desc, i);

		if (!att->attisdropped && strlen(NameStr(att->attname)) == len &&
			memcmp(NameStr(att->attname), name, len) == 0)
			return i;
	}
	ereport(ERROR,
			(errcode(ERRCODE_UNDEFINED_COLUMN),
			 errmsg("column \"%s\" of table %s does not exist", pnstrdup(name, len), table->name),
			 errhint("Column names are case-sensitive here and are given without quotes.")));
	return 0;					/* keep the compiler quiet */
}

/*
 * dbp_portion_column returns the number of a column, or raises 42703.
 */
AttrNumber
dbp_portion_column(PortionTable *table, const char *name)
{
	return find_column(table, name, strlen(name)) + 1;
}

static bool
is_key(PortionTable *table, int att)
{
	for (int i = 0; i < table->nkey; i++)
	{
		if (table->key[i] == att + 1)
			return true;
	}
	return false;
}

static void
refuse_column(PortionTable *table, int att, const char *argument, const char *hint)
{
	ereport(ERROR,
			(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
			 errmsg("argument \"%s\" must not have column \"%s\"", argument,
					NameStr(TupleDescAttr(table->desc, att)->attname)),
			 errhint("%s", hint)));
}

static void
put_value(PortionEdit *edit, int att, const char *argument, Datum value, bool isnull)
{
	PortionTable *table = edit->table;
	bool		key = is_key(table, att);

	if (att + 1 == table->period || att + 1 == table->from || att + 1 == table->upto)
		refuse_column(table, att, argument, "The period is given by argument \"portion\".");
	if (strcmp(argument, "set") == 0 || !key)
	{
		if (strcmp(argument, "key") == 0)
			refuse_column(table, att, argument, "It names rows by columns of the key.");
		edit->set[att] = true;
		edit->values[att] = value;
		edit->isnull[att] = isnull;
		return;
	}
	if (isnull)
		ereport(ERROR,
				(errcode(ERRCODE_NULL_VALUE_NOT_ALLOWED),
				 errmsg("argument \"%s\" has NULL for column \"%s\" of the key", argument,
						NameStr(TupleDescAttr(table->desc, att)->attname)),
				 errhint("Columns of the key of a period are never NULL.")));
	edit->by[att] = true;
	edit->key_values[att] = value;
}

/*
 * dbp_portion_read_object takes values from a JSON object: argument "key" names rows,
 * "set" is what they get, "row" both.  It raises 22023, 22004 or 42703, and what reading
 * a value raises.
 */
void
dbp_portion_read_object(PortionEdit *edit, Jsonb *object, const char *argument)
{
	PortionTable *table = edit->table;
	int			natts = table->desc->natts;
	Datum	   *values = palloc(sizeof(Datum) * natts);
	bool	   *isnull = palloc(sizeof(bool) * natts);
	bool	   *present = palloc(sizeof(bool) * natts);
	JsonbIterator *it;
	JsonbIteratorToken token;
	JsonbValue	v;

	if (!JB_ROOT_IS_OBJECT(object))
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("argument \"%s\" is not a JSON object", argument),
				 errhint("Give an object with a value for each column name.")));
	dbp_codec_decode(table->codec, InvalidOid, object, values, isnull, present);
	it = JsonbIteratorInit(&object->root);
	while ((token = JsonbIteratorNext(&it, &v, true)) != WJB_DONE)
	{
		int			att;

		if (token != WJB_KEY)
			continue;
		att = find_column(table, v.val.string.val, v.val.string.len);
		if (!present[att])
			refuse_column(table, att, argument, "It has no value there that could be written.");
		put_value(edit, att, argument, values[att], isnull[att]);
	}
}

/*
 * dbp_portion_require_key raises 22023 unless the whole key is given.
 */
void
dbp_portion_require_key(PortionEdit *edit, const char *argument)
{
	PortionTable *table = edit->table;

	for (int i = 0; i < table->nkey; i++)
	{
		if (!edit->by[table->key[i] - 1])
			ereport(ERROR,
					(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
					 errmsg("argument \"%s\" has no value for column \"%s\" of the key", argument,
							NameStr(TupleDescAttr(table->desc, table->key[i] - 1)->attname)),
					 errhint("Give a value for each column of the key.")));
	}
}

/* ---- locking --------------------------------------------------------------- */

static bool
has_whole_key(PortionEdit *edit)
{
	PortionTable *table = edit->table;

	for (int i = 0; i < table->nkey; i++)
	{
		if (!edit->by[table->key[i] - 1])
			return false;
	}
	return true;
}

/*
 * lock_key lets one edit of a key happen at a time.  Without it one that finds parts that
 * another one left would lock them out of their order, and two inserts into one gap
 * would wait for each other.
 */
static void
lock_key(PortionEdit *edit)
{
	PortionTable *table = edit->table;
	int		   *attnos = palloc(sizeof(int) * Max(table->nkey, 1));
	bool	   *isnull = palloc0(sizeof(bool) * table->desc->natts);
	uint64		hash;
	LOCKTAG		tag;

	if (locking != dbp_my_lxid())
	{
		locking = dbp_my_lxid();
		key_locks = 0;
	}
	if (!has_whole_key(edit) || key_locks >= KEY_LOCKS_MAX)
		return;
	key_locks++;
	for (int i = 0; i < table->nkey; i++)
		attnos[i] = table->key[i] - 1;
	hash = dbp_codec_hash(table->codec, edit->key_values, isnull, attnos, table->nkey, 0);
	SET_LOCKTAG_ADVISORY(tag, MyDatabaseId, table->head.relid, (uint32) (hash ^ (hash >> 32)),
						 PORTION_LOCK_KEY);
	(void) LockAcquire(&tag, ExclusiveLock, false, false);
}

static bool
same_arrays(Datum a, Datum b)
{
	return datumIsEqual(a, b, false, -1);
}

/*
 * read_rows sets which rows have a part in the portion; with lock, it locks them.
 */
static void
read_rows(PortionEdit *edit, bool lock, Datum *tids, Datum *rels)
{
	DbpParam   *params = palloc(sizeof(DbpParam) * (edit->table->nkey + 1));
	int			n = 1;
	bool		none;

	params[0] = DBP_PARAM(edit->table->range, edit->portion);
	n += dbp_portion_key_params(edit, params + 1);
	(void) dbp_portion_query(edit->table, dbp_portion_lock_sql(edit, lock), n, params,
							 has_whole_key(edit) ? PORTION_DIRECT : PORTION_FREE);
	*tids = dbp_sql_value(0, 0, &none);
	if (none)
	{
		*tids = PointerGetDatum(construct_empty_array(TIDOID));
		*rels = PointerGetDatum(construct_empty_array(OIDOID));
	}
	else
	{
		*tids = datumCopy(*tids, false, -1);
		*rels = datumCopy(dbp_sql_value(0, 1, NULL), false, -1);
	}
	SPI_freetuptable(SPI_tuptable);
}

/*
 * lock_rows locks all rows that have a part in the portion.  In transactions with one
 * snapshot a row that was changed raises 40001.  In others, if no transaction ended
 * meanwhile, which is what lets the server use a snapshot again, too, nothing changed.
 */
static void
lock_rows(PortionEdit *edit)
{
	Datum		tids;
	Datum		rels;

	for (;;)
	{
		uint64		ended = TransamVariables->xactCompletionCount;

		CHECK_FOR_INTERRUPTS();
		pg_memory_barrier();
		read_rows(edit, true, &edit->tids, &edit->rels);
		pg_memory_barrier();
		if (IsolationUsesXactSnapshot() || TransamVariables->xactCompletionCount == ended)
			return;
		read_rows(edit, false, &tids, &rels);
		if (same_arrays(tids, edit->tids) && same_arrays(rels, edit->rels))
			return;
		pfree(DatumGetPointer(tids));
		pfree(DatumGetPointer(rels));
	}
}

/* ---- writing --------------------------------------------------------------- */

/*
 * end_at_next lets the portion end where the next period of the key begins.
 */
static void
end_at_next(PortionEdit *edit)
{
	PortionTable *table = edit->table;
	DbpParam   *params = palloc(sizeof(DbpParam) * (table->nkey + 1));
	char	   *period = dbp_portion_period(table, "o");
	char	   *sql = psprintf("SELECT %s(pg_catalog.lower($1), x.m)"
							   " FROM (SELECT pg_catalog.min(pg_catalog.lower(%s)) AS m"
							   " FROM %s AS o WHERE %s AND %s OPERATOR(pg_catalog.&&) $1"
							   " AND pg_catalog.lower(%s) OPERATOR(pg_catalog.>) pg_catalog.lower($1))"
							   " AS x WHERE x.m IS NOT NULL", table->range_name, period, table->name,
							   dbp_portion_key_condition(edit, "o", 2), period, period);

	/* What is locked is all there is: it reaches as far as the portion. */
	params[0] = DBP_PARAM(table->range, edit->portion);
	(void) dbp_portion_key_params(edit, params + 1);
	if (dbp_portion_query(table, sql, table->nkey + 1, params, PORTION_DIRECT) > 0)
		edit->portion = datumCopy(dbp_sql_value(0, 0, NULL), false, -1);
	SPI_freetuptable(SPI_tuptable);
}

static uint64
write_rows(PortionEdit *edit)
{
	DbpParam   *params = palloc(sizeof(DbpParam) * (edit->table->desc->natts +
													edit->table->nkey + 3));
	int			n = dbp_portion_write_params(edit, params);
	uint64		rows;

	rows = dbp_portion_query(edit->table, dbp_portion_write_sql(edit), n, params, PORTION_DIRECT);
	if (edit->returning)
		return rows;
	rows = DatumGetInt64(dbp_sql_value(0, 0, NULL));
	SPI_freetuptable(SPI_tuptable);
	return rows;
}

/* An upsert's attempt. */
typedef struct Attempt
{
	PortionEdit *edit;
	uint64		rows;
} Attempt;

static void
attempt_write(void *arg)
{
	Attempt    *attempt = arg;

	attempt->rows = write_rows(attempt->edit);
}

/*
 * is_conflict tells whether an error says that somebody else wrote into the portion.
 */
static bool
is_conflict(PortionEdit *edit, ErrorData *error)
{
	/* Those of partitions have names of their own. */
	return error->sqlerrcode == ERRCODE_EXCLUSION_VIOLATION &&
		(edit->table->partitioned ||
		 (error->constraint_name != NULL &&
		  strcmp(error->constraint_name, edit->table->constraint) == 0));
}

static uint64
upsert(PortionEdit *edit)
{
	Attempt		attempt = {edit};
	Datum		portion = edit->portion;

	for (int i = 1;; i++)
	{
		ErrorData  *error;

		edit->portion = portion;
		lock_rows(edit);
		if (edit->until_next)
			end_at_next(edit);
		error = dbp_attempt(attempt_write, &attempt, true);
		if (error == NULL)
			return attempt.rows;
		if (!is_conflict(edit, error) || (!IsolationUsesXactSnapshot() && i >= ATTEMPTS_MAX))
			ReThrowError(error);
		if (IsolationUsesXactSnapshot())
			ereport(ERROR,
					(errcode(ERRCODE_T_R_SERIALIZATION_FAILURE),
					 errmsg("could not serialize access due to a concurrent row of table %s",
							edit->table->name),
					 errdetail("Another transaction inserted it into the portion."),
					 errhint("Try the transaction again.")));
		FreeErrorData(error);
	}
}

/*
 * dbp_portion_run does an edit and returns how many rows it changed.  The caller is
 * connected to SPI.
 */
uint64
dbp_portion_run(PortionEdit *edit)
{
	lock_key(edit);
	if (edit->verb == PORTION_UPSERT)
		return upsert(edit);
	lock_rows(edit);
	if (ArrayGetNItems(ARR_NDIM(DatumGetArrayTypeP(edit->tids)),
					   ARR_DIMS(DatumGetArrayTypeP(edit->tids))) == 0)
		return 0;
	return write_rows(edit);
}

/* ---- SQL ------------------------------------------------------------------- */

static void
read_portion(FunctionCallInfo fcinfo, int argno, PortionEdit *edit)
{
	dbp_require_argument(fcinfo, argno, "portion", "Give a range of time; (,) is all of it.");
	edit->portion = dbp_portion_read(edit->table, PG_GETARG_DATUM(argno),
									 get_fn_expr_argtype(fcinfo->flinfo, argno));
}

static Datum
run_call(PortionEdit *edit, Relation rel)
{
	uint64		rows;

	table_close(rel, NoLock);
	SPI_connect();
	rows = dbp_portion_run(edit);
	SPI_finish();
	PG_RETURN_INT64(rows);
}

/*
 * portion_update(target regclass, key jsonb, portion, set jsonb) sets columns during a
 * portion of time, and returns how many rows it changed.
 *
 * target: a table with a period.  key: values of columns of its key; of some of them, or
 * of none, '{}', for all rows that have those.  portion: a range of the type of the
 * period, or its text.  set: values of columns, in the form of row images; not of the
 * period.  Of a row that sticks out of the portion, the part inside goes on as that row,
 * what is left becomes new rows.  A row that has these values already stays as it is.
 *
 * Raises 22004 (an argument is NULL), 55000 (versions differ; no period), 42P01, 42804
 * (another type of range), 22023 (no object; empty portion; nothing to set; a column
 * that does not belong there), 42703, 22P02 and the like, and what SELECT FOR UPDATE,
 * UPDATE and INSERT raise.  Locks the key, if it is whole, by an advisory lock of our own,
 * and the rows as SELECT FOR UPDATE does, in the order of key and time.  Runs as the
 * caller.  A second call changes nothing.
 */
Datum
dbpatterns_portion_update(PG_FUNCTION_ARGS)
{
	Relation	rel = dbp_portion_target(fcinfo);
	PortionEdit edit;

	dbp_portion_open(&edit, rel, PORTION_UPDATE);
	dbp_require_argument(fcinfo, 1, "key", "Name rows in a JSON object; '{}' is all of them.");
	dbp_require_argument(fcinfo, 3, "set", "Give new values in a JSON object.");
	read_portion(fcinfo, 2, &edit);
	dbp_portion_read_object(&edit, PG_GETARG_JSONB_P(1), "key");
	dbp_portion_read_object(&edit, PG_GETARG_JSONB_P(3), "set");
	if (JB_ROOT_COUNT(PG_GETARG_JSONB_P(3)) == 0)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("argument \"set\" sets nothing"),
				 errhint("Give a value for at least one column.")));
	return run_call(&edit, rel);
}

/*
 * portion_delete(target regclass, key jsonb, portion) removes what holds during a portion
 * of time, and returns how many rows it changed or deleted.
 *
 * Arguments as for portion_update.  A row that sticks out of the portion is trimmed; one
 * that sticks out at both ends is trimmed to what is before the portion, and what is
 * after it becomes a new row.
 *
 * Raises what portion_update raises, and what DELETE raises.  Locks as that does.  Runs
 * as the caller.  A second call changes nothing.
 */
Datum
dbpatterns_portion_delete(PG_FUNCTION_ARGS)
{
	Relation	rel = dbp_portion_target(fcinfo);
	PortionEdit edit;

	dbp_portion_open(&edit, rel, PORTION_DELETE);
	dbp_require_argument(fcinfo, 1, "key", "Name rows in a JSON object; '{}' is all of them.");
	read_portion(fcinfo, 2, &edit);
	dbp_portion_read_object(&edit, PG_GETARG_JSONB_P(1), "key");
	return run_call(&edit, rel);
}

/*
 * portion_upsert(target regclass, "row" jsonb, portion) sets columns during a portion of
 * time, also where there was no row, and returns how many rows it changed or inserted,
 * leftovers not counted.
 *
 * target, portion: as for portion_update.  row: values of columns, with all of the key.
 * Rows that are there are changed as by portion_update; each gap in the portion gets a
 * row, with defaults for columns that are not given.
 *
 * Raises what portion_update raises, except that 22023 also means a key that is not
 * whole; at REPEATABLE READ and above 40001 if somebody else wrote into the portion.
 * Locks as portion_update does.  Runs as the caller.  A second call changes nothing.
 */
Datum
dbpatterns_portion_upsert(PG_FUNCTION_ARGS)
{
	Relation	rel = dbp_portion_target(fcinfo);
	PortionEdit edit;

	dbp_portion_open(&edit, rel, PORTION_UPSERT);
	dbp_require_argument(fcinfo, 1, "row", "Give the values of a row in a JSON object.");
	read_portion(fcinfo, 2, &edit);
	dbp_portion_read_object(&edit, PG_GETARG_JSONB_P(1), "row");
	dbp_portion_require_key(&edit, "row");
	return run_call(&edit, rel);
}
