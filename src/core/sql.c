/*-------------------------------------------------------------------------
 *
 * sql.c
 *	  Running SQL text from C, and work that may fail.
 *
 * Thin wrappers around SPI, for work that is not on a hot path.  The caller
 * has connected to SPI and, where rights matter, entered the owner's scope.
 * User text never becomes part of the SQL: names come from core/names, values
 * travel as parameters.
 *
 * Copyright (c) 2026, dbpatterns contributors
 *
 * src/core/sql.c
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "access/xact.h"
#include "catalog/pg_type.h"
#include "core/sql.h"
#include "lib/stringinfo.h"
#include "utils/array.h"
#include "utils/builtins.h"
#include "utils/memutils.h"
#include "utils/resowner.h"
#include "utils/snapmgr.h"

static DbpParam
array_param(Datum *values, int n, Oid element, Oid array)
{
	bool		by_value = element == OIDOID;

	return DBP_PARAM(array, PointerGetDatum(construct_array(values, n, element,
															by_value ? sizeof(Oid) : -1,
															by_value, TYPALIGN_INT)));
}

/*
 * dbp_texts_param returns a parameter of type text[] with the strings of a list.
 */
DbpParam
dbp_texts_param(List *strings)
{
	Datum	   *values = palloc(sizeof(Datum) * list_length(strings));
	ListCell   *lc;

	foreach(lc, strings)
		values[foreach_current_index(lc)] = CStringGetTextDatum(lfirst(lc));
	return array_param(values, list_length(strings), TEXTOID, TEXTARRAYOID);
}

/*
 * dbp_oids_param returns a parameter of type oid[] with the OIDs of a list.
 */
DbpParam
dbp_oids_param(List *oids)
{
	Datum	   *values = palloc(sizeof(Datum) * list_length(oids));
	ListCell   *lc;

	foreach(lc, oids)
		values[foreach_current_index(lc)] = ObjectIdGetDatum(lfirst_oid(lc));
	return array_param(values, list_length(oids), OIDOID, OIDARRAYOID);
}

/*
 * dbp_sql_prepare makes a plan for a query, with the options of a cursor.  It
 * goes with the connection unless SPI_keepplan is called.
 */
SPIPlanPtr
dbp_sql_prepare(const char *sql, int nparams, const Oid *types, int options)
{
	SPIPlanPtr	plan = SPI_prepare_cursor(sql, nparams, unconstify(Oid *, types), options);

	if (plan == NULL)
		elog(ERROR, "SPI_prepare failed for \"%s\": %s", sql,
			 SPI_result_code_string(SPI_result));
	return plan;
}

static uint64
run(const char *sql, int nparams, const DbpParam *params, Snapshot snapshot)
{
	Oid		   *types = palloc(sizeof(Oid) * nparams);
	Datum	   *values = palloc(sizeof(Datum) * nparams);
	char	   *nulls = palloc(nparams);
	SPIPlanPtr	plan;
	int			rc;

	for (int i = 0; i < nparams; i++)
	{
		types[i] = params[i].type;
		values[i] = params[i].value;
		nulls[i] = params[i].isnull ? 'n' : ' ';
	}

	plan = dbp_sql_prepare(sql, nparams, types, 0);
	rc = SPI_execute_snapshot(plan, values, nulls, snapshot, InvalidSnapshot,
							  false, true, 0);
	if (rc < 0)
		elog(ERROR, "SPI failed for \"%s\": %s", sql, SPI_result_code_string(rc));
	SPI_freeplan(plan);
	pfree(types);
	pfree(values);
	pfree(nulls);
	return SPI_processed;
}

static void
run_command(char *sql)
{
	int			rc = SPI_execute(sql, false, 0);

	if (rc < 0)
		elog(ERROR, "SPI failed for \"%s\": %s", sql, SPI_result_code_string(rc));
	pfree(sql);
}

/* The text of a command: in a macro, since va_start wants its function's arguments. */
#define FORMAT_COMMAND(sql, format) \
	do { \
		initStringInfo(&(sql)); \
		for (;;) \
		{ \
			va_list		args_; \
			int			needed_; \
			va_start(args_, format); \
			needed_ = appendStringInfoVA(&(sql), format, args_); \
			va_end(args_); \
			if (needed_ == 0) \
				break; \
			enlargeStringInfo(&(sql), needed_); \
		} \
	} while (0)

/*
 * dbp_sql_command runs a utility command or other text without parameters.
 */
void
dbp_sql_command(const char *format,...)
{
	StringInfoData sql;

	FORMAT_COMMAND(sql, format);
	run_command(sql.data);
}

/*
 * dbp_sql_silently does so while a flag is up that tells a module that the command is
 * its own.
 */
void
dbp_sql_silently(bool *silent, const char *format,...)
{
	bool		was = *silent;
	StringInfoData sql;

	FORMAT_COMMAND(sql, format);
	*silent = true;
	PG_TRY();
	{
		run_command(sql.data);
	}
	PG_FINALLY();
	{
		*silent = was;
	}
	PG_END_TRY();
}

/*
 * dbp_sql_query runs a query and returns the number of rows; dbp_sql_value
 * and dbp_sql_text read them from SPI_tuptable.
 */
uint64
dbp_sql_query(const char *sql, int nparams, const DbpParam *params)
{
	return run(sql, nparams, params, InvalidSnapshot);
}

/*
 * dbp_sql_query_kept is dbp_sql_query for a query over catalogs, without parameters, whose
 * plan is kept in *plan.
 */
uint64
dbp_sql_query_kept(const char *sql, SPIPlanPtr *plan)
{
	int			rc;

	if (*plan == NULL)
	{
		SPIPlanPtr	made = dbp_sql_prepare(sql, 0, NULL, 0);

		SPI_keepplan(made);
		*plan = made;
	}
	rc = SPI_execute_plan(*plan, NULL, NULL, false, 0);
	if (rc < 0)
		elog(ERROR, "SPI failed for \"%s\": %s", sql, SPI_result_code_string(rc));
	return SPI_processed;
}

/*
 * dbp_sql_query_latest sees all that is committed now, whatever snapshot the
 * transaction has; for catalogs of ours, as the server does for its own.
 */
uint64
dbp_sql_query_latest(const char *sql, int nparams, const DbpParam *params)
{
	Snapshot	snapshot;
	uint64		rows;

	CommandCounterIncrement();
	snapshot = RegisterSnapshot(GetLatestSnapshot());
	rows = run(sql, nparams, params, snapshot);
	UnregisterSnapshot(snapshot);
	return rows;
}

/*
 * dbp_sql_value returns a value of the last query's result, row and column
 * counted from 0.
 */
Datum
dbp_sql_value(uint64 row, int column, bool *isnull)
{
	bool		null;
	Datum		value = SPI_getbinval(SPI_tuptable->vals[row], SPI_tuptable->tupdesc,
									  column + 1, &null);

	if (isnull != NULL)
		*isnull = null;
	else if (null)
		elog(ERROR, "unexpected null in column %d", column + 1);
	return value;
}

/*
 * dbp_sql_text returns it as text, NULL for NULL.
 */
char *
dbp_sql_text(uint64 row, int column)
{
	return SPI_getvalue(SPI_tuptable->vals[row], SPI_tuptable->tupdesc, column + 1);
}

/*
 * dbp_attempt does work in a subtransaction and returns the error it raised,
 * or NULL.  The subtransaction lasts if keep is true and there was no error.
 */
ErrorData *
dbp_attempt(DbpWork work, void *arg, bool keep)
{
	MemoryContext cxt = CurrentMemoryContext;
	ResourceOwner owner = CurrentResourceOwner;
	ErrorData  *volatile error = NULL;

	BeginInternalSubTransaction(NULL);
	MemoryContextSwitchTo(cxt);
	PG_TRY();
	{
		work(arg);
	}
	PG_CATCH();
	{
		MemoryContextSwitchTo(cxt);
		error = CopyErrorData();
		FlushErrorState();
	}
	PG_END_TRY();
	if (keep && error == NULL)
		ReleaseCurrentSubTransaction();
	else
		RollbackAndReleaseCurrentSubTransaction();
	MemoryContextSwitchTo(cxt);
	CurrentResourceOwner = owner;
	return error;
}

/*
 * dbp_error_lasts tells whether an error says that something cannot be done,
 * and not that this is a bad time for it.
 */
bool
dbp_error_lasts(int sqlerrcode)
{
	switch (ERRCODE_TO_CATEGORY(sqlerrcode))
	{
		case MAKE_SQLSTATE('0', '8', '0', '0', '0'):
		case MAKE_SQLSTATE('2', '5', '0', '0', '0'):
		case MAKE_SQLSTATE('4', '0', '0', '0', '0'):
		case MAKE_SQLSTATE('5', '3', '0', '0', '0'):
		case MAKE_SQLSTATE('5', '7', '0', '0', '0'):
		case MAKE_SQLSTATE('5', '8', '0', '0', '0'):
		case MAKE_SQLSTATE('X', 'X', '0', '0', '0'):
			return false;
		default:
			return sqlerrcode != ERRCODE_LOCK_NOT_AVAILABLE;
	}
}
