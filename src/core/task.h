/*-------------------------------------------------------------------------
 *
 * task.h
 *	  Work that another process does.
 *
 *
 * Copyright (c) 2026, dbpatterns contributors
 *
 * src/core/task.h
 *
 *-------------------------------------------------------------------------
 */
#ifndef DBP_TASK_H
#define DBP_TASK_H

#include "storage/dsm.h"

/* What the worker is told, and what it answers, in a segment of shared memory. */
typedef struct DbpTask
{
	NameData	database;
	NameData	role;
	bool		top_level;		/* outside of a transaction block */
	bool		done;			/* it worked */
	int			sqlerrcode;		/* 0: it did not come so far as to fail */
	char		message[1024];
	char		detail[1024];
	char		hint[512];
	char		sql[FLEXIBLE_ARRAY_MEMBER];
} DbpTask;

extern void dbp_task_run(const char *database, bool top_level, const char *sql);

#endif							/* DBP_TASK_H */
