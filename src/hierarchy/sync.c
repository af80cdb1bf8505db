/*-------------------------------------------------------------------------
 *
 * sync.c
 *	  Repairing a closure table where it differs from its table.
 *
 * Everything is read anew under the lock of the whole hierarchy, as it is
 * committed at that moment, whatever snapshot the transaction has: what is
 * written must hold for those that come after it, as with any DDL.
 *
 * Copyright (c) 2026, dbpatterns contributors
 *
 * src/hierarchy/sync.c
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "access/table.h"
#include "access/xact.h"
#include "core/names.h"
#include "core/owner.h"
#include "core/target.h"
#include "core/version.h"
#include "funcapi.h"
#include "hierarchy/hierarchy.h"
#include "utils/builtins.h"
#include "utils/lsyscache.h"
#include "utils/memutils.h"
#include "utils/snapmgr.h"

PG_FUNCTION_INFO_V1(dbpatterns_closure_sync);

/* Differences after which what waits is written. */
#define BATCH	8192

typedef struct Repair
{
	HierState  *state;
	ReturnSetInfo *result;		/* NULL: nobody is told */
	HierPairs  *pairs;			/* NULL: nothing is changed */
	MemoryContext batch_cxt;	/* keys that wait to be written */
	int			nbatch;
	int64		n;
} Repair;

static const char *
problem_name(HierProblem problem)
{
	return problem == HIER_MISSING ? "missing" : problem == HIER_EXTRA ? "extra" : "depth";
}

static void
put_row(Repair *repair, const HierDifference *difference)
{
	HierKeyType *type = &repair->state->type;
	Datum		values[5];
	bool		nulls[5] = {false, false, false, difference->expected < 0, difference->found < 0};

	values[0] = CStringGetTextDatum(problem_name(difference->problem));
	values[1] = CStringGetTextDatum(dbp_key_text(type, difference->ancestor));
	values[2] = CStringGetTextDatum(dbp_key_text(type, difference->descendant));
	values[3] = Int32GetDatum(difference->expected);
	values[4] = Int32GetDatum(difference->found);
	tuplestore_putvalues(repair->result->setResult, repair->result->setDesc, values, nulls);
}

static void
change_pair(Repair *repair, const HierDifference *difference)
{
	HierKeyType *type = &repair->state->type;
	MemoryContext oldcxt = MemoryContextSwitchTo(repair->batch_cxt);
	Datum	   *ancestor = dbp_key_copy(type, difference->ancestor);
	Datum	   *descendant = dbp_key_copy(type, difference->descendant);

	if (difference->problem != HIER_MISSING)
	{
		HierPair	pair = {NULL, difference->found, difference->tid};

		dbp_pairs_delete(repair->pairs, &pair, ancestor, descendant);
	}
	if (difference->problem != HIER_EXTRA)
		dbp_pairs_add(repair->pairs, ancestor, descendant, difference->expected);
	if (++repair->nbatch == BATCH)
	{
		dbp_pairs_write(repair->pairs);
		MemoryContextReset(repair->batch_cxt);
		repair->nbatch = 0;
	}
	MemoryContextSwitchTo(oldcxt);
}

static void
repair_pair(const HierDifference *difference, void *arg)
{
	Repair	   *repair = arg;

	repair->n++;
	if (repair->result != NULL)
		put_row(repair, difference);
	if (repair->pairs != NULL)
		change_pair(repair, difference);
}

/*
 * dbp_hier_repair makes storage hold what a whole hierarchy should have, and
 * returns the number of differences.  The caller holds a lock that keeps
 * writers out.
 */
int64
dbp_hier_repair(HierState *state, void *hierarchy, Snapshot snapshot, bool dry_run,
				ReturnSetInfo *result)
{
	Repair		repair = {state, result};
	HierState	uncounted = *state;

	/* Counts are repaired as a whole, for they may be wrong, too. */
	uncounted.spec.counters = false;
	repair.batch_cxt = AllocSetContextCreate(CurrentMemoryContext, "dbpatterns repair",
											 ALLOCSET_DEFAULT_SIZES);
	if (!dry_run)
		repair.pairs = dbp_pairs_open(&uncounted);
	dbp_hier_require_whole(state)->compare(state, hierarchy, state->storageid, snapshot,
										   repair_pair, &repair);
	if (!dry_run)
	{
		dbp_pairs_close(repair.pairs);
		CommandCounterIncrement();
	}
	MemoryContextDelete(repair.batch_cxt);
	return repair.n;
}

/*
 * repair_now does so with what is committed now.
 */
static int64
repair_now(HierState *state, bool dry_run, ReturnSetInfo *result)
{
	const HierWhole *whole = dbp_hier_require_whole(state);
	MemoryContext cxt = AllocSetContextCreate(CurrentMemoryContext, "dbpatterns hierarchy",
											  ALLOCSET_DEFAULT_SIZES);
	DbpOwnerScope scope;
	Snapshot	snapshot;
	void	   *hierarchy;
	int64		n;

	/* Functions of types run as the owner of the table that uses them. */
	dbp_enter_owner(&scope, dbp_relation_owner(state->head.rootid));
	if (!dry_run)
		dbp_hier_lock_whole(state);
	CommandCounterIncrement();
	snapshot = RegisterSnapshot(GetLatestSnapshot());
	hierarchy = whole->load(state, snapshot, cxt);
	whole->require(state, hierarchy);
	n = dbp_hier_repair(state, hierarchy, snapshot, dry_run, result);
	UnregisterSnapshot(snapshot);
	if (state->spec.counters && !dry_run)
		(void) dbp_counts_repair(state);
	dbp_leave_owner(&scope);
	MemoryContextDelete(cxt);
	return n;
}

/*
 * dbp_hier_sync repairs the storage of a hierarchy and returns the number of
 * differences, for whoever changed rows that no trigger saw.  Raises what
 * dbp_forest_require raises.  Locks the whole hierarchy.
 */
int64
dbp_hier_sync(HierState *state)
{
	if (state->spec.kind == HIER_NESTED)
		return dbp_nested_sync(state);
	return repair_now(state, false, NULL);
}

/*
 * closure_sync(target regclass, closure name, dry_run boolean) repairs the
 * pairs of a closure table that are not what the rows of its table ask for,
 * and returns them: problem (missing, extra, depth: of another depth),
 * ancestor, descendant, the depth expected and the one found.
 *
 * A partition stands for its root.  closure: NULL for the only one of the
 * table.  dry_run: change nothing, take no lock that others notice.  Whatever
 * the isolation level, it sees what is committed when it has its lock.  A
 * second call finds nothing.
 *
 * Raises 22004 for a NULL argument, 55000 when library and SQL versions differ,
 * 42P01, 42501 when the caller does not own the table, 42704, 42P09 for a
 * closure that is not there or not the only one, 23514 for cycles (all are
 * named) and too great a depth, 23503 for orphans where they are refused,
 * 55000 for a closure table without its columns or indexes.
 *
 * Locks ACCESS SHARE on the target, SHARE ROW EXCLUSIVE on the closure table
 * (dry run: ACCESS SHARE).  Reads and writes as the owner of the target,
 * regardless of row-level security.
 */
Datum
dbpatterns_closure_sync(PG_FUNCTION_ARGS)
{
	Oid			relid;
	bool		dry_run;
	Relation	target;
	HierState  *state;

	dbp_require_argument(fcinfo, 0, "target", "Give the table that has a closure table.");
	dbp_require_argument(fcinfo, 2, "dry_run", "Leave it out for the default.");
	relid = dbp_partition_root(PG_GETARG_OID(0));
	dry_run = PG_GETARG_BOOL(2);
	dbp_check_version();
	dbp_require_owner(relid);
	InitMaterializedSRF(fcinfo, 0);

	target = table_open(relid, AccessShareLock);
	state = dbp_hier_target_state(target,
								  dbp_hier_find_closure(target, dbp_hier_name_argument(fcinfo, 1)));
	(void) repair_now(state, dry_run, (ReturnSetInfo *) fcinfo->resultinfo);
	table_close(target, NoLock);
	PG_RETURN_NULL();
}
