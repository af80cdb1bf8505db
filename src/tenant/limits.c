/*-------------------------------------------------------------------------
 *
 * limits.c
 *	  Limits of a tenant's transactions.
 *
 * statement_timeout and work_mem are set locally to the transaction; the application can
 * set them otherwise, as it can anyway.  The number of rows that a query may return is
 * held by a hook of the executor, from the moment a context with such a limit
 * begins.
 *
 * Copyright (c) 2026, dbpatterns contributors
 *
 * src/tenant/limits.c
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "access/parallel.h"
#include "access/xact.h"
#include "compat/compat.h"
#include "executor/executor.h"
#include "tenant/tenant.h"
#include "utils/guc.h"

static int64 max_rows = 0;		/* of this transaction; 0: no limit */
static int	depth = 0;			/* executors that run */
static bool hooked = false;
static ExecutorRun_hook_type previous_run = NULL;

/*
 * returns_rows tells whether a query's rows leave the server: those of functions and
 * of what is stored do not.
 */
static bool
returns_rows(QueryDesc *query)
{
	CommandDest dest = query->dest->mydest;

	return depth == 0 && (query->operation == CMD_SELECT || query->plannedstmt->hasReturning) &&
		(dest == DestRemote || dest == DestRemoteExecute || dest == DestRemoteSimple ||
		 dest == DestCopyOut || dest == DestTuplestore);
}

/*
 * run_deeper runs the executor, and counts how deep it is.
 */
static void
run_deeper(DBP_EXECUTOR_RUN_PARAMS)
{
	depth++;
	PG_TRY();
	{
		if (previous_run != NULL)
			previous_run(DBP_EXECUTOR_RUN_ARGUMENTS);
		else
			standard_ExecutorRun(DBP_EXECUTOR_RUN_ARGUMENTS);
	}
	PG_FINALLY();
	{
		depth--;
	}
	PG_END_TRY();
}

static void
run_limited(DBP_EXECUTOR_RUN_PARAMS)
{
	int64		limit = max_rows;
	bool		limited = limit > 0 && !IsParallelWorker() && returns_rows(query);

	/* One row more, so that too many can be told from as many as may be. */
	if (limited && (count == 0 || count > limit))
		count = limit + 1;
	run_deeper(DBP_EXECUTOR_RUN_ARGUMENTS);
	if (limited && query->estate->es_processed > limit)
		ereport(ERROR,
				(errcode(ERRCODE_PROGRAM_LIMIT_EXCEEDED),
				 errmsg("a query of this tenant may return " INT64_FORMAT " rows", limit),
				 errhint("Ask for fewer rows at a time.")));
}

static void
end_limits(XactEvent event, void *arg)
{
	if (event == XACT_EVENT_COMMIT || event == XACT_EVENT_ABORT || event == XACT_EVENT_PREPARE)
		max_rows = 0;
}

static void
set_local(const char *name, const char *value)
{
	if (value[0] != '\0')
		(void) set_config_option(name, value, PGC_USERSET, PGC_S_SESSION, GUC_ACTION_LOCAL,
								 true, 0, false);
}

/*
 * dbp_tenant_limit sets limits for this transaction.
 */
void
dbp_tenant_limit(const TenantLimits *limits)
{
	set_local("statement_timeout", limits->statement_timeout);
	set_local("work_mem", limits->work_mem);
	max_rows = limits->max_rows;
	if (max_rows > 0 && !hooked)
	{
		hooked = true;
		previous_run = ExecutorRun_hook;
		ExecutorRun_hook = run_limited;
		RegisterXactCallback(end_limits, NULL);
	}
}
