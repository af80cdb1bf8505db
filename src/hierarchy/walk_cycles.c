/*-------------------------------------------------------------------------
 *
 * walk_cycles.c
 *	  The cycles of an adjacency list.
 *
 * Every row has at most one parent, so the way up from a row ends at a root
 * or runs into one cycle.  Each row is visited once, with a mark that says
 * from where; who meets his own mark has found a cycle.
 *
 * Copyright (c) 2026, dbpatterns contributors
 *
 * src/hierarchy/walk_cycles.c
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "core/target.h"
#include "funcapi.h"
#include "hierarchy/walk.h"
#include "miscadmin.h"
#include "utils/builtins.h"
#include "utils/memutils.h"

PG_FUNCTION_INFO_V1(dbpatterns_adjacency_cycles);

static int
compare_rows(const void *a, const void *b, void *arg)
{
	WalkForest *forest = arg;

	return walk_compare(&forest->source->type, &forest->key[*(const uint32 *) a],
						&forest->key[*(const uint32 *) b]);
}

/*
 * least_of returns the row with the least key of a cycle.
 */
static uint32
least_of(WalkForest *forest, uint32 row)
{
	uint32		least = row;

	for (uint32 r = forest->parent[row]; r != row; r = forest->parent[r])
	{
		CHECK_FOR_INTERRUPTS();
		if (compare_rows(&r, &least, forest) < 0)
			least = r;
	}
	return least;
}

/*
 * find_cycles returns one row of each cycle, that with the least key, in the
 * order of these keys.
 */
static uint32 *
find_cycles(WalkForest *forest, uint32 *ncycles)
{
	uint32	   *mark = MemoryContextAllocExtended(CurrentMemoryContext,
												  sizeof(uint32) * ((Size) forest->n + 1),
												  MCXT_ALLOC_HUGE | MCXT_ALLOC_ZERO);
	uint32	   *cycles = MemoryContextAllocHuge(CurrentMemoryContext,
												sizeof(uint32) * ((Size) forest->n + 1));
	uint32		n = 0;

	for (uint32 row = 0; row < forest->n; row++)
	{
		uint32		r = row;

		CHECK_FOR_INTERRUPTS();
		while (r != WALK_NONE && mark[r] == 0)
		{
			mark[r] = row + 1;
			r = forest->parent[r];
		}
		if (r != WALK_NONE && mark[r] == row + 1)
			cycles[n++] = least_of(forest, r);
	}
	pfree(mark);
	qsort_arg(cycles, n, sizeof(uint32), compare_rows, forest);
	*ncycles = n;
	return cycles;
}

/*
 * put_cycle emits a cycle from its first row down: each is the parent of the
 * next one.  Parents lead up, so it is turned round.
 */
static void
put_cycle(WalkForest *forest, ReturnSetInfo *rsinfo, uint32 cycle, uint32 first)
{
	HierKeyType *type = &forest->source->type;
	uint32	   *rows = NULL;
	uint32		n = 0;
	uint32		allocated = 0;
	uint32		r = first;
	MemoryContext cxt = AllocSetContextCreate(CurrentMemoryContext, "dbpatterns cycle row",
											  ALLOCSET_SMALL_SIZES);

	do
	{
		if (n == allocated)
		{
			allocated = allocated == 0 ? 16 : allocated * 2;
			rows = rows == NULL ? palloc(sizeof(uint32) * allocated) :
				repalloc_huge(rows, sizeof(uint32) * (Size) allocated);
		}
		rows[n++] = r;
		r = forest->parent[r];
	} while (r != first);

	for (uint32 i = 0; i < n; i++)
	{
		Datum		values[3];
		bool		nulls[3] = {false, false, false};
		uint32		row;
		MemoryContext oldcxt = MemoryContextSwitchTo(cxt);

		CHECK_FOR_INTERRUPTS();
		values[0] = Int32GetDatum((int32) cycle);
		values[1] = Int32GetDatum((int32) i + 1);
		row = rows[i == 0 ? 0 : n - i];
		values[2] = CStringGetTextDatum(dbp_key_text(type, walk_values(type, &forest->key[row])));
		tuplestore_putvalues(rsinfo->setResult, rsinfo->setDesc, values, nulls);
		MemoryContextSwitchTo(oldcxt);
		MemoryContextReset(cxt);
	}
	pfree(rows);
	MemoryContextDelete(cxt);
}

/*
 * adjacency_cycles(target regclass, parent name or name[], "key" name[])
 * returns the nodes of all cycles: cycle (1, 2, ...), position and node, each
 * the parent of the next one and the last that of the first.  Cycles begin
 * with their least key and are ordered by it.  What hangs below a cycle is
 * not listed.
 *
 * parent, key: as in adjacency_walk.  Raises 22004 (target or parent is NULL),
 * 42701 (a column named twice), what dbp_walk_source raises, 23505 (a deferred
 * key occurs twice), 54000 (more than 2^30 rows).  Locks ACCESS SHARE on
 * target.  Runs as the caller and sees what a query in its place would.
 */
Datum
dbpatterns_adjacency_cycles(PG_FUNCTION_ARGS)
{
	MemoryContext cxt;
	MemoryContext oldcxt;
	WalkSource *source;
	WalkForest *forest;
	uint32	   *cycles;
	uint32		ncycles;
	List	   *parent;
	List	   *key;

	dbp_require_argument(fcinfo, 0, "target", "Name the table to look through.");
	dbp_require_argument(fcinfo, 1, "parent", "Name the column that holds the parent's key.");
	InitMaterializedSRF(fcinfo, 0);
	cxt = AllocSetContextCreate(CurrentMemoryContext, "dbpatterns cycles", ALLOCSET_DEFAULT_SIZES);
	oldcxt = MemoryContextSwitchTo(cxt);

	parent = dbp_hier_columns_argument(fcinfo, 1, "parent");
	key = dbp_hier_columns_argument(fcinfo, 2, "key");
	source = dbp_walk_source(PG_GETARG_OID(0), parent, key, NULL);
	dbp_walk_open(source);
	forest = dbp_walk_load(source, false);
	dbp_walk_close(source);
	cycles = find_cycles(forest, &ncycles);
	for (uint32 i = 0; i < ncycles; i++)
		put_cycle(forest, (ReturnSetInfo *) fcinfo->resultinfo, i + 1, cycles[i]);

	MemoryContextSwitchTo(oldcxt);
	MemoryContextDelete(cxt);
	return (Datum) 0;
}
