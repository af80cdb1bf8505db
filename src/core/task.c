/*-------------------------------------------------------------------------
 *
 * task.c
 *	  Work that another process does.
 *
 * Some commands cannot run in a transaction (CREATE DATABASE), others must run in
 * another database.  A dynamic background worker does both; it needs no preloading.
 * Who starts it waits, and gets its error as if it were its own.
 *
 * Copyright (c) 2026, dbpatterns contributors
 *
 * src/core/task.c
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "core/task.h"
#include "miscadmin.h"
#include "postmaster/bgworker.h"
#include "utils/builtins.h"

static BackgroundWorkerHandle *
start(dsm_handle segment)
{
	BackgroundWorker worker = {0};
	BackgroundWorkerHandle *handle;

	strlcpy(worker.bgw_name, "dbpatterns task", BGW_MAXLEN);
	strlcpy(worker.bgw_type, "dbpatterns task", BGW_MAXLEN);
	strlcpy(worker.bgw_library_name, "dbpatterns", sizeof(worker.bgw_library_name));
	strlcpy(worker.bgw_function_name, "dbpatterns_worker_main", sizeof(worker.bgw_function_name));
	worker.bgw_flags = BGWORKER_SHMEM_ACCESS | BGWORKER_BACKEND_DATABASE_CONNECTION;
	worker.bgw_start_time = BgWorkerStart_RecoveryFinished;
	worker.bgw_restart_time = BGW_NEVER_RESTART;
	worker.bgw_main_arg = UInt32GetDatum(segment);
	worker.bgw_notify_pid = MyProcPid;
	if (!RegisterDynamicBackgroundWorker(&worker, &handle))
		ereport(ERROR,
				(errcode(ERRCODE_INSUFFICIENT_RESOURCES),
				 errmsg("no background worker is free"),
				 errhint("Try again later, or raise max_worker_processes.")));
	return handle;
}

/*
 * wait_for waits until a worker has ended; if this is cancelled, it is.
 */
static void
wait_for(BackgroundWorkerHandle *handle)
{
	BgwHandleStatus status = BGWH_STOPPED;

	PG_TRY();
	{
		status = WaitForBackgroundWorkerShutdown(handle);
	}
	PG_CATCH();
	{
		TerminateBackgroundWorker(handle);
		PG_RE_THROW();
	}
	PG_END_TRY();
	if (status == BGWH_POSTMASTER_DIED)
		ereport(FATAL,
				(errcode(ERRCODE_ADMIN_SHUTDOWN),
				 errmsg("the server has ended"),
				 errhint("Start it again.")));
}

static void
raise_error(const DbpTask *task)
{
	if (task->sqlerrcode == 0)
		ereport(ERROR,
				(errcode(ERRCODE_CONNECTION_FAILURE),
				 errmsg("a background worker could not work in database \"%s\"", NameStr(task->database)),
				 errhint("The server's log has the reason: role \"%s\" needs LOGIN, CONNECT on the database, and a free connection.",
						 NameStr(task->role))));
	ereport(ERROR,
			(errcode(task->sqlerrcode),
			 errmsg_internal("%s", task->message),
			 task->detail[0] != '\0' ? errdetail_internal("%s", task->detail) : 0,
			 task->hint[0] != '\0' ? errhint("%s", task->hint) : 0));
}

/*
 * dbp_task_run runs SQL in a database, in a process of its own, as the current role and with
 * its rights; settings of this session do not reach it.
 *
 * top_level: one command, outside of a transaction block; otherwise any number, in one
 * transaction.  It has committed when this returns.  Raises its error, 53000 when no worker is
 * free, 08006 when the worker cannot connect.
 */
void
dbp_task_run(const char *database, bool top_level, const char *sql)
{
	Size		size = offsetof(DbpTask, sql) + strlen(sql) + 1;
	dsm_segment *segment = dsm_create(size, 0);
	DbpTask    *task = dsm_segment_address(segment);

	memset(task, 0, offsetof(DbpTask, sql));
	namestrcpy(&task->database, database);
	namestrcpy(&task->role, GetUserNameFromId(GetUserId(), false));
	task->top_level = top_level;
	strcpy(task->sql, sql);
	wait_for(start(dsm_segment_handle(segment)));
	if (!task->done)
		raise_error(task);
	dsm_detach(segment);
}
