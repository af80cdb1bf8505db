/*-------------------------------------------------------------------------
 *
 * locks.c
 *	  Taking strong locks without joining the queue.
 *
 * A waiting ACCESS EXCLUSIVE lock stalls everybody who comes after it.  DDL
 * that meets traffic therefore never waits in the queue: it takes all its
 * locks or none, and tries again a little later.
 *
 * Copyright (c) 2026, dbpatterns contributors
 *
 * src/core/locks.c
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "core/locks.h"
#include "miscadmin.h"
#include "pgstat.h"
#include "storage/latch.h"
#include "storage/lmgr.h"
#include "utils/timestamp.h"
#include "utils/wait_event.h"

#define RETRY_MS	50
#define PATIENCE_MS	10000

static bool
try_locks(int n, const Oid *relids, const LOCKMODE *modes)
{
	for (int i = 0; i < n; i++)
	{
		if (!ConditionalLockRelationOid(relids[i], modes[i]))
		{
			while (--i >= 0)
				UnlockRelationOid(relids[i], modes[i]);
			return false;
		}
	}
	return true;
}

/*
 * dbp_lock_relations takes all of the locks, trying for ten seconds, and tells
 * whether it did.
 */
bool
dbp_lock_relations(int n, const Oid *relids, const LOCKMODE *modes)
{
	TimestampTz start = GetCurrentTimestamp();

	while (!try_locks(n, relids, modes))
	{
		if (TimestampDifferenceExceeds(start, GetCurrentTimestamp(), PATIENCE_MS))
			return false;
		(void) WaitLatch(MyLatch, WL_LATCH_SET | WL_TIMEOUT | WL_EXIT_ON_PM_DEATH,
						 RETRY_MS, PG_WAIT_EXTENSION);
		ResetLatch(MyLatch);
		CHECK_FOR_INTERRUPTS();
	}
	return true;
}
