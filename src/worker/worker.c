/*-------------------------------------------------------------------------
 *
 * worker.c
 *	  The background worker: carries out one task, and ends.
 *
 * It knows no pattern.  What it is told, and where it answers, is a segment of shared
 * memory (core/task.h).
 *
 * Copyright (c) 2026, dbpatterns contributors
 *
 * src/worker/worker.c
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "access/xact.h"
#include "core/task.h"
#include "executor/spi.h"
#include "miscadmin.h"
#include "pgstat.h"
#include "postmaster/bgworker.h"
#include "storage/ipc.h"
#include "tcop/tcopprot.h"
#include "tcop/utility.h"
#include "utils/memutils.h"
#include "utils/snapmgr.h"

PGDLLEXPORT void dbpatterns_worker_main(Datum arg);

/*
 * run_top_level runs one command as a client would send it.
 */
static void
run_top_level(const char *sql)
{
	RawStmt    *raw = linitial_node(RawStmt, pg_parse_query(sql));
	List	   *queries = pg_analyze_and_rewrite_fixedparams(raw, sql, NULL, 0, NULL);
	PlannedStmt *plan = linitial_node(PlannedStmt, pg_plan_queries(queries, sql, 0, NULL));

	PushActiveSnapshot(GetTransactionSnapshot());
	ProcessUtility(plan, sql, false, PROCESS_UTILITY_TOPLEVEL, NULL, NULL, None_Receiver, NULL);
	/* Some commands have taken it away, and started new transactions. */
	if (ActiveSnapshotSet())
		PopActiveSnapshot();
}

static void
run_in_transaction(const char *sql)
{
	int			result;

	SPI_connect();
	PushActiveSnapshot(GetTransactionSnapshot());
	result = SPI_execute(sql, false, 0);
	if (result < 0)
		elog(ERROR, "SPI_execute failed: %s", SPI_result_code_string(result));
	PopActiveSnapshot();
	SPI_finish();
}

/*
 * answer puts the current error into shared memory.
 */
static void
answer(DbpTask *task)
{
	ErrorData  *error = CopyErrorData();

	strlcpy(task->message, error->message ? error->message : "", sizeof(task->message));
	strlcpy(task->detail, error->detail ? error->detail : "", sizeof(task->detail));
	strlcpy(task->hint, error->hint ? error->hint : "", sizeof(task->hint));
	task->sqlerrcode = error->sqlerrcode;
}

/*
 * work carries out a task.
 */
static void
work(DbpTask *task)
{
	MemoryContext cxt = CurrentMemoryContext;

	PG_TRY();
	{
		SetCurrentStatementStartTimestamp();
		debug_query_string = task->sql;
		pgstat_report_activity(STATE_RUNNING, task->sql);
		StartTransactionCommand();
		if (task->top_level)
			run_top_level(task->sql);
		else
			run_in_transaction(task->sql);
		CommitTransactionCommand();
		task->done = true;
	}
	PG_CATCH();
	{
		MemoryContextSwitchTo(cxt);
		answer(task);
		AbortOutOfAnyTransaction();
		FlushErrorState();
	}
	PG_END_TRY();
	pgstat_report_activity(STATE_IDLE, NULL);
}

/*
 * dbpatterns_worker_main is what the postmaster calls in a new process.  arg: the handle of
 * the segment.
 */
void
dbpatterns_worker_main(Datum arg)
{
	dsm_segment *segment;
	DbpTask    *task;

	pqsignal(SIGTERM, die);
	BackgroundWorkerUnblockSignals();
	segment = dsm_attach(DatumGetUInt32(arg));
	/* Who wanted it done is gone. */
	if (segment == NULL)
		proc_exit(0);
	task = dsm_segment_address(segment);
	BackgroundWorkerInitializeConnection(NameStr(task->database), NameStr(task->role), 0);
	work(task);
	proc_exit(0);
}
