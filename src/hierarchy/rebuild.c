/*-------------------------------------------------------------------------
 *
 * rebuild.c
 *	  Building a closure table anew while others use it.
 *
 * The new pairs and their indexes are made in a twin, without a lock that
 * readers or writers notice.  Then writers are kept out, what they changed
 * meanwhile is carried over, and the twin's files become those of the closure
 * table, in a moment in which nobody reads it.  But a transaction that has read
 * it and goes on to write waits for us then, and we for it.  So each try is
 * short, what it locked and did is undone before the next, and after the first
 * one readers are kept out from the beginning, too: the server lets those that
 * are there already go ahead of us.
 *
 * The pairs of the twin are frozen: a transaction with an older snapshot that
 * has not read the closure table before sees those, and not an empty table.
 *
 * Copyright (c) 2026, dbpatterns contributors
 *
 * src/hierarchy/rebuild.c
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "access/table.h"
#include "access/xact.h"
#include "core/names.h"
#include "core/owner.h"
#include "core/progress.h"
#include "core/sql.h"
#include "core/swap.h"
#include "core/target.h"
#include "core/version.h"
#include "hierarchy/hierarchy.h"
#include "miscadmin.h"
#include "nodes/parsenodes.h"
#include "pgstat.h"
#include "storage/latch.h"
#include "storage/lmgr.h"
#include "tcop/pquery.h"
#include "utils/builtins.h"
#include "utils/guc.h"
#include "utils/lsyscache.h"
#include "utils/memutils.h"
#include "utils/snapmgr.h"
#include "utils/timestamp.h"
#include "utils/wait_event.h"

PG_FUNCTION_INFO_V1(dbpatterns_closure_rebuild);

/* How long others may have to queue behind us, and how often. */
#define WRITERS_WAIT	"2s"
#define READERS_WAIT	"500ms"
#define TRIES			10
#define PAUSE_MS		500

/* How long, and how often, readers are waited for without queueing. */
#define CHANCE_MS		500
#define POLL_MS			10

/* A build that lasted longer is brought up to date before writers wait. */
#define LONG_BUILD_MS	2000

typedef struct Rebuild
{
	const HierWhole *whole;
	HierState  *state;
	HierState	twin;			/* the same, with the twin for its storage */
	void	   *hierarchy;		/* what the twin holds */
	MemoryContext cxt;			/* where that is */
	MemoryContext try_cxt;		/* for one try */
	int			tries;			/* that failed */
} Rebuild;

/*
 * load reads the hierarchy as it is committed now.
 */
static void *
load(Rebuild *rebuild, MemoryContext cxt)
{
	Snapshot	snapshot;
	void	   *hierarchy;

	CommandCounterIncrement();
	snapshot = RegisterSnapshot(GetLatestSnapshot());
	hierarchy = rebuild->whole->load(rebuild->state, snapshot, cxt);
	UnregisterSnapshot(snapshot);
	rebuild->whole->require(rebuild->state, hierarchy);
	return hierarchy;
}

static MemoryContext
make_context(void)
{
	return AllocSetContextCreate(CurrentMemoryContext, "dbpatterns hierarchy",
								 ALLOCSET_DEFAULT_SIZES);
}

/*
 * follow brings the twin up to date.
 */
static void
follow(Rebuild *rebuild, void *hierarchy)
{
	if (rebuild->whole->follow != NULL)
		rebuild->whole->follow(&rebuild->twin, rebuild->hierarchy, hierarchy);
	else
	{
		Snapshot	snapshot = RegisterSnapshot(GetLatestSnapshot());

		(void) dbp_hier_repair(&rebuild->twin, hierarchy, snapshot, false, NULL);
		UnregisterSnapshot(snapshot);
	}
}

/*
 * follow_meanwhile does so while writers go on.
 */
static void
follow_meanwhile(Rebuild *rebuild)
{
	MemoryContext cxt = make_context();
	void	   *hierarchy = load(rebuild, cxt);

	follow(rebuild, hierarchy);
	MemoryContextDelete(rebuild->cxt);
	rebuild->cxt = cxt;
	rebuild->hierarchy = hierarchy;
}

static void
set_lock_timeout(const char *value)
{
	(void) set_config_option("lock_timeout", value, PGC_USERSET, PGC_S_SESSION,
							 GUC_ACTION_SAVE, true, 0, false);
}

/*
 * pause_for waits for some milliseconds.
 */
static void
pause_for(long ms)
{
	(void) WaitLatch(MyLatch, WL_LATCH_SET | WL_TIMEOUT | WL_EXIT_ON_PM_DEATH, ms,
					 PG_WAIT_EXTENSION);
	ResetLatch(MyLatch);
	CHECK_FOR_INTERRUPTS();
}

/*
 * lock_by_chance takes ACCESS EXCLUSIVE when nobody is there.  It does not
 * queue: those who have read and wait for us to write would be told that they
 * are in a deadlock.
 */
static void
lock_by_chance(Oid relid)
{
	for (int waited = 0; !ConditionalLockRelationOid(relid, AccessExclusiveLock);
		 waited += POLL_MS)
	{
		if (waited >= CHANCE_MS)
			ereport(ERROR,
					(errcode(ERRCODE_LOCK_NOT_AVAILABLE),
					 errmsg("table %s is in use", dbp_relation_name_by_oid(relid))));
		pause_for(POLL_MS);
	}
}

/*
 * close_in keeps writers out, brings the twin up to date, and keeps everybody
 * out.
 */
static void
close_in(void *arg)
{
	Rebuild    *rebuild = arg;
	Oid			storageid = rebuild->state->storageid;
	int			nestlevel = NewGUCNestLevel();

	if (rebuild->tries > 0)
	{
		set_lock_timeout(READERS_WAIT);
		LockRelationOid(storageid, AccessExclusiveLock);
	}
	set_lock_timeout(WRITERS_WAIT);
	dbp_hier_lock_whole(rebuild->state);
	AtEOXact_GUC(false, nestlevel);
	follow(rebuild, load(rebuild, rebuild->try_cxt));
	lock_by_chance(storageid);
}

static void
require_swap(Relation storage)
{
	dbp_swap_require(storage, "Repair it in place with dbpatterns.closure_sync.");
}

/*
 * swap exchanges the files when it has got everybody out.  Triggers and
 * publications may have come while the twin was built.
 */
static void
swap(Rebuild *rebuild)
{
	Relation	storage;

	for (; rebuild->tries < TRIES; rebuild->tries++)
	{
		ErrorData  *error;

		rebuild->try_cxt = make_context();
		error = dbp_attempt(close_in, rebuild, true);
		MemoryContextDelete(rebuild->try_cxt);
		if (error == NULL)
		{
			storage = table_open(rebuild->state->storageid, NoLock);
			require_swap(storage);
			table_close(storage, NoLock);
			dbp_swap_with_twin(rebuild->state->storageid, rebuild->twin.storageid);
			return;
		}
		if (error->sqlerrcode != ERRCODE_LOCK_NOT_AVAILABLE &&
			error->sqlerrcode != ERRCODE_T_R_DEADLOCK_DETECTED)
			ReThrowError(error);
		FreeErrorData(error);
		pause_for(PAUSE_MS);
	}
	ereport(ERROR,
			(errcode(ERRCODE_LOCK_NOT_AVAILABLE),
			 errmsg("closure table %s is in use",
					dbp_relation_name_by_oid(rebuild->state->storageid)),
			 errdetail("It was tried %d times to keep writers and readers out for a moment.", TRIES),
			 errhint("Long transactions use it; call dbpatterns.closure_rebuild again later.")));
}

/*
 * build_twin makes a twin of the closure table with all pairs and indexes.
 */
static void
build_twin(Rebuild *rebuild)
{
	Relation	storage = table_open(rebuild->state->storageid, NoLock);
	Oid			twinid;

	require_swap(storage);
	twinid = dbp_swap_create_twin(storage);
	table_close(storage, NoLock);

	rebuild->twin = *rebuild->state;
	rebuild->twin.spec.counters = false;	/* repaired at the end */
	rebuild->twin.storageid = twinid;
	rebuild->cxt = make_context();
	rebuild->hierarchy = load(rebuild, rebuild->cxt);
	rebuild->whole->write(&rebuild->twin, rebuild->hierarchy, twinid);
	dbp_sql_command("REINDEX TABLE %s", dbp_relation_name_by_oid(twinid));

	/* For its size, which REINDEX does not count where autovacuum is off. */
	dbp_sql_command("ANALYZE %s", dbp_relation_name_by_oid(twinid));
	CommandCounterIncrement();
}

/*
 * enter runs what follows as the owner, who can make no temporary table that
 * way: those are of this session anyway.
 */
static void
enter(DbpOwnerScope *scope, Oid storageid)
{
	if (get_rel_persistence(storageid) == RELPERSISTENCE_TEMP)
		dbp_enter_caller(scope);
	else
		dbp_enter_owner(scope, dbp_relation_owner(storageid));
}

static void
rebuild_closure(Oid relid, const char *closure)
{
	Relation	target = table_open(relid, AccessShareLock);
	Rebuild		rebuild = {NULL};
	TimestampTz start = GetCurrentTimestamp();
	DbpOwnerScope scope;

	rebuild.state = dbp_hier_target_state(target, dbp_hier_find_closure(target, closure));
	rebuild.whole = dbp_hier_require_whole(rebuild.state);

	dbp_hier_lock_rebuild(rebuild.state);
	LockRelationOid(rebuild.state->storageid, AccessShareLock);
	enter(&scope, rebuild.state->storageid);
	build_twin(&rebuild);
	if (TimestampDifferenceExceeds(start, GetCurrentTimestamp(), LONG_BUILD_MS))
		follow_meanwhile(&rebuild);
	swap(&rebuild);
	if (rebuild.state->spec.counters)
		(void) dbp_counts_repair(rebuild.state);
	dbp_leave_owner(&scope);
	MemoryContextDelete(rebuild.cxt);
	table_close(target, NoLock);
}

static bool
can_commit(FunctionCallInfo fcinfo)
{
	return fcinfo->context != NULL && IsA(fcinfo->context, CallContext) &&
		!castNode(CallContext, fcinfo->context)->atomic;
}

/*
 * closure_rebuild(target regclass, closure name) builds the pairs of a closure
 * table and all its indexes anew, from the rows of its table, while others go
 * on reading and writing.
 *
 * A partition stands for its root.  closure: NULL for the only one of the
 * table.  It happens whole or not at all; canceled or crashed, it leaves the
 * closure table as it was.  A second call does the same again.  Inside a
 * transaction block the locks last until that ends.
 *
 * Raises 22004 for a NULL target, 55000 when library and SQL versions differ,
 * 42P01, 42501 when the caller does not own the table, 25001 inside a
 * transaction block above READ COMMITTED, 42704, 42P09 for a closure that is
 * not there or not the only one, 55000 for a closure table that is published,
 * has triggers or is no plain table, 23514 for cycles and too great a depth,
 * 23503 for orphans where they are refused, 55006 when this session has it
 * open, 55P03 when others use it for too long.
 *
 * Locks ACCESS SHARE on the target and the closure table, and other rebuilds of
 * it out; at the end SHARE ROW EXCLUSIVE and for a moment ACCESS EXCLUSIVE on
 * it, in ten tries of at most 2 seconds in which others queue behind it.  Runs
 * as the owner of the closure table, regardless of row-level security.
 */
Datum
dbpatterns_closure_rebuild(PG_FUNCTION_ARGS)
{
	bool		nonatomic = can_commit(fcinfo);
	char	   *closure;
	Oid			relid;

	dbp_require_argument(fcinfo, 0, "target", "Give the table that has a closure table.");
	relid = dbp_partition_root(PG_GETARG_OID(0));
	closure = dbp_hier_name_argument(fcinfo, 1);
	dbp_check_version();
	dbp_require_owner(relid);
	if (!nonatomic && IsolationUsesXactSnapshot())
		ereport(ERROR,
				(errcode(ERRCODE_ACTIVE_SQL_TRANSACTION),
				 errmsg("closure_rebuild cannot run inside a transaction that keeps its snapshot"),
				 errhint("Call it outside of a transaction block, or at isolation level READ COMMITTED.")));

	SPI_connect_ext(nonatomic ? SPI_OPT_NONATOMIC : 0);
	dbp_progress_start("closure_rebuild", dbp_relation_name_by_oid(relid), -1);
	if (nonatomic)
	{
		/* So that others see it. */
		SPI_commit();
		EnsurePortalSnapshotExists();
		dbp_require_owner(relid);
	}
	rebuild_closure(relid, closure);
	dbp_progress_end();
	SPI_finish();
	PG_RETURN_VOID();
}
