/*-------------------------------------------------------------------------
 *
 * counts.c
 *	  Counting children and descendants while a closure table changes.
 *
 * What a flush does to pairs is summed up for each ancestor in memory and then
 * written in the order of the keys, by kept plans, as the owner.  With counters
 * every change of a tree locks it exclusively, so that two flushes never meet
 * at a row.
 *
 * Copyright (c) 2026, dbpatterns contributors
 *
 * src/hierarchy/counts.c
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "access/table.h"
#include "catalog/pg_type.h"
#include "core/owner.h"
#include "hierarchy/counts.h"
#include "miscadmin.h"
#include "utils/array.h"
#include "utils/lsyscache.h"
#include "utils/memutils.h"

/* Rows written at once. */
#define BATCH_ROWS	8192

/* What a flush does to the numbers of a node. */
typedef struct Delta
{
	HierMapEntry head;			/* MUST BE FIRST */
	int64		children;
	int64		descendants;
	int			life;			/* 1: the node is new; -1: it is gone */
} Delta;

struct HierCounts
{
	HierState  *state;
	MemoryContext cxt;
	HierMap    *map;
};

/* Plans kept for a table of counts. */
typedef struct Plans
{
	DbpRelState head;			/* MUST BE FIRST */
	SPIPlanPtr	add;
	SPIPlanPtr	change;
	SPIPlanPtr	remove;
} Plans;

static DbpRelStateCache *plans_cache;

/* ---- summing up ---------------------------------------------------------- */

/*
 * dbp_counts_begin begins a flush; NULL if there are no counters.
 */
HierCounts *
dbp_counts_begin(HierState *state)
{
	HierCounts *counts;
	MemoryContext cxt;

	if (!state->spec.counters)
		return NULL;
	cxt = AllocSetContextCreate(CurrentMemoryContext, "dbpatterns counts",
								ALLOCSET_DEFAULT_SIZES);
	counts = MemoryContextAllocZero(cxt, sizeof(HierCounts));
	counts->state = state;
	counts->cxt = cxt;
	counts->map = dbp_map_create(&state->type, sizeof(Delta), cxt);
	return counts;
}

/*
 * dbp_counts_add changes the numbers of a node.
 */
void
dbp_counts_add(HierCounts *counts, const Datum *key, int children, int descendants)
{
	bool		found;
	Delta	   *delta = dbp_map_enter(counts->map, key, &found);

	delta->children += children;
	delta->descendants += descendants;
}

/*
 * dbp_counts_node says that a node is new, or gone.
 */
void
dbp_counts_node(HierCounts *counts, const Datum *key, bool created)
{
	bool		found;
	Delta	   *delta = dbp_map_enter(counts->map, key, &found);

	delta->life += created ? 1 : -1;
}

/* ---- writing ------------------------------------------------------------- */

static void
free_plans(void *arg)
{
	Plans	   *plans = arg;

	if (plans->add != NULL)
		SPI_freeplan(plans->add);
	if (plans->change != NULL)
		SPI_freeplan(plans->change);
	if (plans->remove != NULL)
		SPI_freeplan(plans->remove);
}

/* The plans are made by get_plans. */
static void
build_plans(DbpRelState *head, Relation rel, void *arg)
{
	MemoryContextCallback *callback = palloc0(sizeof(*callback));

	callback->func = free_plans;
	callback->arg = head;
	MemoryContextRegisterResetCallback(head->cxt, callback);
}

/*
 * dbp_counts_init prepares this backend.
 */
void
dbp_counts_init(void)
{
	plans_cache = dbp_relstate_cache("dbpatterns counts", sizeof(Plans), build_plans);
}

static SPIPlanPtr
prepare(const char *sql, int nparams, Oid *types)
{
	SPIPlanPtr	plan = dbp_sql_prepare(sql, nparams, types, 0);

	SPI_keepplan(plan);
	return plan;
}

/*
 * make_plans makes the plans for a table of counts, those that are not there
 * yet: they take arrays, one for each column.
 */
static void
make_plans(Plans *plans, HierState *state)
{
	int			n = state->type.n;
	Oid			types[HIER_MAX_KEY + 2];
	CountsSql	names;
	char	   *key;
	char	   *match;
	StringInfoData arrays;
	StringInfoData aliases;

	dbp_counts_read_names(&names, state);
	key = dbp_hier_quote_columns(names.key);
	match = dbp_counts_match(&names);
	initStringInfo(&aliases);
	dbp_sql_put_columns(&aliases, HIER_NUMBERED(NULL, "k"), 0, n);
	initStringInfo(&arrays);
	for (int i = 0; i < n; i++)
	{
		types[i] = dbp_counts_array_type(state->type.col[i].type);
		appendStringInfo(&arrays, "%s$%d", i > 0 ? ", " : "", i + 1);
	}
	types[n] = types[n + 1] = INT8ARRAYOID;
	if (plans->add == NULL)
		plans->add = prepare(psprintf("INSERT INTO %s AS c (%s, children, descendants)"
									  " SELECT * FROM unnest(%s, $%d, $%d) ON CONFLICT (%s)"
									  " DO UPDATE SET children = c.children + excluded.children,"
									  " descendants = c.descendants + excluded.descendants",
									  names.counts, key, arrays.data, n + 1, n + 2, key),
							 n + 2, types);
	if (plans->change == NULL)
		plans->change = prepare(psprintf("UPDATE %s AS c SET children = c.children + e.children,"
										 " descendants = c.descendants + e.descendants"
										 " FROM unnest(%s, $%d, $%d) AS e (%s, children, descendants)"
										 " WHERE %s", names.counts, arrays.data, n + 1, n + 2,
										 aliases.data, match),
								n + 2, types);
	if (plans->remove == NULL)
		plans->remove = prepare(psprintf("DELETE FROM %s AS c USING unnest(%s) AS e (%s) WHERE %s",
										 names.counts, arrays.data, aliases.data, match),
								n, types);
}

static Plans *
get_plans(HierState *state, Oid countsid)
{
	Relation	rel = table_open(countsid, RowExclusiveLock);
	Plans	   *plans = (Plans *) dbp_relstate_get(plans_cache, rel, InvalidOid, NULL);

	table_close(rel, NoLock);
	if (plans->remove == NULL)
		make_plans(plans, state);
	return plans;
}

static int
compare_deltas(const void *a, const void *b, void *arg)
{
	const Delta *x = *(Delta *const *) a;
	const Delta *y = *(Delta *const *) b;

	return dbp_key_compare(arg, x->head.key, y->head.key);
}

static void
run_batch(HierKeyType *type, SPIPlanPtr plan, Delta **deltas, int n, bool numbers)
{
	Datum		params[HIER_MAX_KEY + 2];
	Datum	   *values = palloc(sizeof(Datum) * n);
	int			rc;

	for (int i = 0; i < type->n + (numbers ? 2 : 0); i++)
	{
		bool		is_key = i < type->n;
		int16		typlen;
		bool		typbyval;
		char		typalign;

		for (int j = 0; j < n; j++)
			values[j] = is_key ? deltas[j]->head.key[i] :
				Int64GetDatum(i == type->n ? deltas[j]->children : deltas[j]->descendants);
		get_typlenbyvalalign(is_key ? type->col[i].type : INT8OID, &typlen, &typbyval, &typalign);
		params[i] = PointerGetDatum(construct_array(values, n, is_key ? type->col[i].type : INT8OID,
													typlen, typbyval, typalign));
	}
	rc = SPI_execute_plan(plan, params, NULL, false, 0);
	if (rc < 0)
		elog(ERROR, "writing counts failed: %s", SPI_result_code_string(rc));
}

/*
 * write_sorted writes the deltas of nodes that came (life 1), went (-1) or stayed
 * (0).  A node may have gone in an earlier flush, before what was below it: then
 * there is nothing to change.
 */
static void
write_sorted(HierCounts *counts, SPIPlanPtr plan, Delta **deltas, int n, int life)
{
	MemoryContext batch_cxt = AllocSetContextCreate(CurrentMemoryContext,
													"dbpatterns counts batch",
													ALLOCSET_DEFAULT_SIZES);
	MemoryContext oldcxt = MemoryContextSwitchTo(batch_cxt);

	for (int from = 0; from < n;)
	{
		Delta	  **batch = palloc(sizeof(Delta *) * BATCH_ROWS);
		int			m = 0;

		for (; from < n && m < BATCH_ROWS; from++)
		{
			Delta	   *delta = deltas[from];

			if (delta->life == life &&
				(life != 0 || delta->children != 0 || delta->descendants != 0))
				batch[m++] = delta;
		}
		if (m > 0)
			run_batch(&counts->state->type, plan, batch, m, life >= 0);
		MemoryContextReset(batch_cxt);
		CHECK_FOR_INTERRUPTS();
	}
	MemoryContextSwitchTo(oldcxt);
	MemoryContextDelete(batch_cxt);
}

/*
 * dbp_counts_write writes what was summed up, and ends the flush.
 */
void
dbp_counts_write(HierCounts *counts)
{
	HierState  *state = counts->state;
	int			n = dbp_map_count(counts->map);
	Delta	  **deltas;
	HierMapIterator iterator;
	Oid			countsid;
	DbpOwnerScope scope;
	Plans	   *plans;

	if (n > 0)
	{
		deltas = MemoryContextAllocHuge(counts->cxt, sizeof(Delta *) * n);
		dbp_map_iterate(counts->map, &iterator);
		for (int i = 0; i < n; i++)
			deltas[i] = dbp_map_next(counts->map, &iterator);
		qsort_arg(deltas, n, sizeof(Delta *), compare_deltas, &state->type);

		countsid = dbp_counts_require(state);
		SPI_connect();
		dbp_enter_owner(&scope, dbp_relation_owner(countsid));
		plans = get_plans(state, countsid);
		write_sorted(counts, plans->remove, deltas, n, -1);
		write_sorted(counts, plans->add, deltas, n, 1);
		write_sorted(counts, plans->change, deltas, n, 0);
		dbp_leave_owner(&scope);
		SPI_finish();
	}
	MemoryContextDelete(counts->cxt);
}
