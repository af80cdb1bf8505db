/*-------------------------------------------------------------------------
 *
 * progress.c
 *	  Progress of long work.
 *
 * A procedure that commits in batches keeps one row in _dbpatterns.progress:
 * after each commit the others see how far it is.  An error does not take back
 * what was committed, so the row says which statement it belongs to: the view
 * shows it only while that process is at work on that statement, and the next
 * work of a process with that id overwrites it.
 *
 * Copyright (c) 2026, dbpatterns contributors
 *
 * src/core/progress.c
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "access/xact.h"
#include "catalog/pg_type.h"
#include "core/append.h"
#include "core/owner.h"
#include "core/progress.h"
#include "core/sql.h"
#include "miscadmin.h"
#include "utils/builtins.h"
#include "utils/timestamp.h"

static void
run_as_owner(const char *sql, int nparams, const DbpParam *params)
{
	DbpOwnerScope scope;

	dbp_enter_owner(&scope, dbp_relation_owner(dbp_own_relation("progress")));
	dbp_sql_query(sql, nparams, params);
	dbp_leave_owner(&scope);
}

/*
 * dbp_progress_start announces work on target (NULL for none); total is the
 * number of steps to do, or -1 when it is not known.
 */
void
dbp_progress_start(const char *operation, const char *target, int64 total)
{
	DbpParam	params[5];

	params[0] = DBP_PARAM(INT4OID, Int32GetDatum(MyProcPid));
	params[1] = DBP_PARAM(TIMESTAMPTZOID, TimestampTzGetDatum(GetCurrentStatementStartTimestamp()));
	params[2] = DBP_PARAM(TEXTOID, CStringGetTextDatum(operation));
	params[3] = DBP_PARAM_OR_NULL(TEXTOID,
								  target ? CStringGetTextDatum(target) : (Datum) 0,
								  target == NULL);
	params[4] = DBP_PARAM_OR_NULL(INT8OID, Int64GetDatum(total), total < 0);
	run_as_owner("INSERT INTO _dbpatterns.progress (pid, statement_start, operation, target, total)"
				 " VALUES ($1, $2, $3, $4, $5)"
				 " ON CONFLICT (pid) DO UPDATE SET statement_start = excluded.statement_start,"
				 " operation = excluded.operation, target = excluded.target,"
				 " total = excluded.total, done = 0, started_at = clock_timestamp(),"
				 " updated_at = clock_timestamp()", 5, params);
}

/*
 * dbp_progress_update tells how many steps are done.
 */
void
dbp_progress_update(int64 done)
{
	DbpParam	params[2];

	params[0] = DBP_PARAM(INT4OID, Int32GetDatum(MyProcPid));
	params[1] = DBP_PARAM(INT8OID, Int64GetDatum(done));
	run_as_owner("UPDATE _dbpatterns.progress SET done = $2, updated_at = clock_timestamp()"
				 " WHERE pid = $1", 2, params);
}

/*
 * dbp_progress_end takes the announcement back.
 */
void
dbp_progress_end(void)
{
	DbpParam	param = DBP_PARAM(INT4OID, Int32GetDatum(MyProcPid));

	run_as_owner("DELETE FROM _dbpatterns.progress WHERE pid = $1", 1, &param);
}
