/*-------------------------------------------------------------------------
 *
 * foreign_check.c
 *	  The triggers of foreign keys between tables with periods.
 *
 * A new row of the child locks all parent rows that its period meets, FOR SHARE,
 * and asks whether together they cover it.  That lock is what makes the check
 * sound: a period that shrinks takes a lock that conflicts with it, where the
 * weaker FOR KEY SHARE of ordinary foreign keys would let it pass.  So parents
 * that a child relies on stay as they are until it has committed; and whoever
 * changes a parent afterwards sees the child, because the other side looks at
 * the newest rows, whatever snapshot its transaction has.
 *
 * All queries run as the owner of the table they read or change, as those of the
 * server's foreign keys do.
 *
 * Copyright (c) 2026, dbpatterns contributors
 *
 * src/period/foreign_check.c
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "access/table.h"
#include "access/tableam.h"
#include "access/xact.h"
#include "catalog/pg_type.h"
#include "compat/compat.h"
#include "core/names.h"
#include "core/owner.h"
#include "core/sql.h"
#include "core/trigger.h"
#include "core/version.h"
#include "lib/stringinfo.h"
#include "period/foreign.h"
#include "period/foreign_act.h"
#include "period/period.h"
#include "utils/builtins.h"
#include "utils/date.h"
#include "utils/datum.h"
#include "utils/lsyscache.h"
#include "utils/multirangetypes.h"
#include "utils/rangetypes.h"
#include "utils/rel.h"
#include "utils/snapmgr.h"
#include "utils/timestamp.h"
#include "utils/typcache.h"

PG_FUNCTION_INFO_V1(dbpatterns_period_foreign_trigger);

static DbpRelStateCache *states = NULL;

/* ---- state ----------------------------------------------------------------- */

static void
free_plans(void *arg)
{
	ForeignState *state = arg;

	for (int i = 0; i < FOREIGN_PLANS; i++)
	{
		if (state->plans[i] != NULL)
			SPI_freeplan(state->plans[i]);
		state->plans[i] = NULL;
	}
}

static void
build_state(DbpRelState *head, Relation rel, void *arg)
{
	ForeignState *state = (ForeignState *) head;
	Trigger    *trigger = arg;
	Oid			childid;
	Oid			parentid;
	Relation	child;
	Relation	parent;
	MemoryContextCallback *callback = palloc0(sizeof(MemoryContextCallback));
	ListCell   *lc;

	dbp_check_version();
	dbp_foreign_parse(trigger->tgnargs > 0 ? trigger->tgargs[0] : NULL, &state->key);
	childid = dbp_foreign_table(state->key.child);
	parentid = dbp_foreign_table(state->key.parent);
	head->rootid = childid;
	head->otherid = parentid;
	child = table_open(childid, AccessShareLock);
	parent = table_open(parentid, AccessShareLock);
	state->child_owner = child->rd_rel->relowner;
	state->parent_owner = parent->rd_rel->relowner;
	state->of_child = *dbp_period_get(child);
	state->of_parent = *dbp_period_get(parent);
	state->multirange = format_type_extended(get_range_multirange(state->of_child.rangetype), -1,
											 FORMAT_TYPE_FORCE_QUALIFY);
	state->nkeys = list_length(state->key.columns);
	state->types = palloc(sizeof(Oid) * (state->nkeys + 1));
	state->child_columns = palloc(sizeof(AttrNumber) * state->nkeys);
	state->parent_columns = palloc(sizeof(AttrNumber) * state->nkeys);
	foreach(lc, state->key.columns)
		state->child_columns[foreach_current_index(lc)] = dbp_column_number(child, lfirst(lc));
	foreach(lc, state->key.parent_columns)
	{
		int			i = foreach_current_index(lc);

		state->parent_columns[i] = dbp_column_number(parent, lfirst(lc));
		state->types[i] = getBaseType(TupleDescAttr(RelationGetDescr(parent),
													state->parent_columns[i] - 1)->atttypid);
	}
	dbp_foreign_make_queries(state, child, parent);
	table_close(child, AccessShareLock);
	table_close(parent, AccessShareLock);

	callback->func = free_plans;
	callback->arg = state;
	MemoryContextRegisterResetCallback(head->cxt, callback);
}

static ForeignState *
get_state(TriggerData *data)
{
	return (ForeignState *) dbp_relstate_get(states, data->tg_relation,
											 data->tg_trigger->tgoid, data->tg_trigger);
}

/*
 * dbp_foreign_run runs one of the queries for a key and a period, or several in a multirange.
 * latest: it sees what is committed now.  The caller is connected to SPI and has entered the
 * owner's scope.
 */
uint64
dbp_foreign_run(ForeignState *state, int which, const Datum *key, Datum period, bool latest)
{
	Datum	   *values = palloc(sizeof(Datum) * (state->nkeys + 1));
	Snapshot	snapshot = InvalidSnapshot;
	int			rc;

	memcpy(values, key, sizeof(Datum) * state->nkeys);
	values[state->nkeys] = period;
	if (state->plans[which] == NULL)
	{
		SPIPlanPtr	plan;

		state->types[state->nkeys] = which == FOREIGN_LOSER || which == FOREIGN_ANY ?
			get_range_multirange(state->of_child.rangetype) : state->of_child.rangetype;
		plan = dbp_sql_prepare(state->sql[which], state->nkeys + 1, state->types, 0);
		SPI_keepplan(plan);
		state->plans[which] = plan;
	}
	if (latest)
	{
		CommandCounterIncrement();
		snapshot = RegisterSnapshot(GetLatestSnapshot());
	}
	rc = SPI_execute_snapshot(state->plans[which], values, NULL, snapshot, InvalidSnapshot,
							  false, true, 0);
	if (latest)
		UnregisterSnapshot(snapshot);
	if (rc < 0)
		elog(ERROR, "SPI failed for \"%s\": %s", state->sql[which], SPI_result_code_string(rc));
	return SPI_processed;
}

/* ---- rows ------------------------------------------------------------------ */

static RangeBound
bound_of(TupleTableSlot *slot, AttrNumber column, Oid type, bool lower)
{
	RangeBound	bound = {0, false, lower, lower};
	bool		isnull;

	bound.val = slot_getattr(slot, column, &isnull);
	if (isnull ||
		(type == DATEOID && DATE_NOT_FINITE(DatumGetDateADT(bound.val))) ||
		(type == TIMESTAMPTZOID && TIMESTAMP_NOT_FINITE(DatumGetTimestampTz(bound.val))))
		bound.infinite = true;
	return bound;
}

/*
 * period_of returns the period of a row as a range.
 */
static Datum
period_of(DbpPeriod *period, TupleTableSlot *slot)
{
	RangeBound	lower;
	RangeBound	upper;
	bool		isnull;

	if (period->range != InvalidAttrNumber)
		return slot_getattr(slot, period->range, &isnull);
	lower = bound_of(slot, period->from, period->subtype, true);
	upper = bound_of(slot, period->upto, period->subtype, false);
	return RangeTypePGetDatum(make_range(lookup_type_cache(period->rangetype, TYPECACHE_RANGE_INFO),
										 &lower, &upper, false, NULL));
}

/*
 * key_of reads columns of a row, and returns false if one of them is NULL.
 */
static bool
key_of(ForeignState *state, const AttrNumber *columns, TupleTableSlot *slot, Datum *key)
{
	bool		isnull;

	for (int i = 0; i < state->nkeys; i++)
	{
		key[i] = slot_getattr(slot, columns[i], &isnull);
		if (isnull)
			return false;
	}
	return true;
}

static bool
same_keys(ForeignState *state, const Datum *a, const Datum *b)
{
	for (int i = 0; i < state->nkeys; i++)
	{
		TypeCacheEntry *type = lookup_type_cache(state->types[i], TYPECACHE_EQ_OPR_FINFO);

		if (!DatumGetBool(FunctionCall2Coll(&type->eq_opr_finfo,
											get_typcollation(state->types[i]), a[i], b[i])))
			return false;
	}
	return true;
}

static bool
contains(ForeignState *state, Datum outer, Datum inner)
{
	return range_contains_internal(lookup_type_cache(state->of_child.rangetype,
													 TYPECACHE_RANGE_INFO),
								   DatumGetRangeTypeP(outer), DatumGetRangeTypeP(inner));
}

/* ---- the child's side ------------------------------------------------------ */

static void
refuse_child(ForeignState *state, Relation rel, Datum period)
{
	Oid			out;
	bool		varlena;

	getTypeOutputInfo(state->of_child.rangetype, &out, &varlena);
	ereport(ERROR,
			(errcode(ERRCODE_FOREIGN_KEY_VIOLATION),
			 errmsg("insert or update on table %s violates foreign key \"%s\"",
					dbp_relation_name(rel), state->key.constraint),
			 errdetail("Its period %s is not covered by rows with its key in table %s.",
					   OidOutputFunctionCall(out, period), state->key.parent),
			 errhint("Insert or extend rows there first, or defer the constraint.")));
}

static bool
run_cover(ForeignState *state, const Datum *key, Datum period)
{
	DbpOwnerScope scope;
	bool		is_covered;

	dbp_enter_owner(&scope, state->parent_owner);
	dbp_foreign_run(state, FOREIGN_COVER, key, period, false);
	is_covered = DatumGetBool(dbp_sql_value(0, 0, NULL));
	dbp_leave_owner(&scope);
	return is_covered;
}

/*
 * check_child checks a row of the child.  A row that has changed again is left to the check of
 * that change.  What a parent's row lost to one that came while we waited is seen the second
 * time, when nothing of it can change any more.
 */
static void
check_child(ForeignState *state, TriggerData *data)
{
	Relation	rel = data->tg_relation;
	bool		update = TRIGGER_FIRED_BY_UPDATE(data->tg_event);
	TupleTableSlot *slot = update ? data->tg_newslot : data->tg_trigslot;
	Datum	   *key = palloc(sizeof(Datum) * state->nkeys);
	Datum		period;

	if (!table_tuple_satisfies_snapshot(rel, slot, SnapshotSelf) ||
		!key_of(state, state->child_columns, slot, key))
		return;
	period = period_of(&state->of_child, slot);
	if (update)
	{
		Datum	   *old = palloc(sizeof(Datum) * state->nkeys);

		if (key_of(state, state->child_columns, data->tg_trigslot, old) &&
			same_keys(state, key, old) &&
			contains(state, period_of(&state->of_child, data->tg_trigslot), period))
			return;
	}
	SPI_connect();
	if (!run_cover(state, key, period) && !run_cover(state, key, period))
		refuse_child(state, rel, period);
	SPI_finish();
}

/* ---- the parent's side ----------------------------------------------------- */

static void
refuse_parent(ForeignState *state, Relation rel, int sqlerrcode)
{
	ereport(ERROR,
			(errcode(sqlerrcode),
			 errmsg("update or delete on table %s violates foreign key \"%s\" of table %s",
					dbp_relation_name(rel), state->key.constraint, state->key.child),
			 errdetail("The period %s of a row there would not be covered any more.",
					   dbp_sql_text(0, 0)),
			 errhint("Change that row first, or make the foreign key cascade.")));
}

/*
 * lost_part returns, as a multirange, what a key has lost; false if that is nothing.
 */
static bool
lost_part(ForeignState *state, Datum old, bool keeps, Datum new, Datum *lost)
{
	TypeCacheEntry *range = lookup_type_cache(state->of_child.rangetype, TYPECACHE_RANGE_INFO);
	Oid			type = get_range_multirange(state->of_child.rangetype);
	RangeType  *ranges[1] = {DatumGetRangeTypeP(old)};
	MultirangeType *whole = make_multirange(type, range, 1, ranges);
	MultirangeType *rest;
	RangeType **a;
	RangeType **b;
	int32		na;
	int32		nb;

	if (!keeps)
	{
		*lost = MultirangeTypePGetDatum(whole);
		return true;
	}
	ranges[0] = DatumGetRangeTypeP(new);
	rest = make_multirange(type, range, 1, ranges);
	multirange_deserialize(range, whole, &na, &a);
	multirange_deserialize(range, rest, &nb, &b);
	rest = multirange_minus_internal(type, range, na, a, nb, b);
	*lost = MultirangeTypePGetDatum(rest);
	return !MultirangeIsEmpty(rest);
}

/*
 * check_orphans raises if a child is not covered any more.
 */
static void
check_orphans(ForeignState *state, Relation rel, const Datum *key, Datum old, int sqlerrcode)
{
	DbpOwnerScope scope;
	uint64		rows;

	dbp_enter_owner(&scope, state->child_owner);
	rows = dbp_foreign_run(state, FOREIGN_ORPHAN, key, old, true);
	dbp_leave_owner(&scope);
	if (rows > 0)
		refuse_parent(state, rel, sqlerrcode);
}

/*
 * check_parent checks, or acts on, the children of a row that was updated or deleted.
 */
static void
check_parent(ForeignState *state, TriggerData *data)
{
	Relation	rel = data->tg_relation;
	bool		update = TRIGGER_FIRED_BY_UPDATE(data->tg_event);
	ForeignAction action = update ? state->key.on_update : state->key.on_delete;
	Datum	   *key = palloc(sizeof(Datum) * state->nkeys);
	Datum	   *new_key = palloc(sizeof(Datum) * state->nkeys);
	Datum		old = period_of(&state->of_parent, data->tg_trigslot);
	Datum		new = update ? period_of(&state->of_parent, data->tg_newslot) : (Datum) 0;
	Datum		lost;
	bool		keeps;

	if (!key_of(state, state->parent_columns, data->tg_trigslot, key))
		return;
	keeps = update && key_of(state, state->parent_columns, data->tg_newslot, new_key) &&
		same_keys(state, key, new_key);
	if (!lost_part(state, old, keeps, new, &lost))
		return;

	SPI_connect();
	if (action == FOREIGN_RESTRICT)
	{
		DbpOwnerScope scope;
		uint64		rows;

		dbp_enter_owner(&scope, state->child_owner);
		rows = dbp_foreign_run(state, FOREIGN_ANY, key, lost, true);
		dbp_leave_owner(&scope);
		if (rows > 0)
			refuse_parent(state, rel, ERRCODE_RESTRICT_VIOLATION);
	}
	else if (action == FOREIGN_NO_ACTION)
		check_orphans(state, rel, key, old, ERRCODE_FOREIGN_KEY_VIOLATION);
	else
	{
		dbp_foreign_act(state, action, key, lost, update && !keeps ? new_key : NULL, new);
		/* A child that our snapshot does not show came while we ran. */
		if (IsolationUsesXactSnapshot())
			check_orphans(state, rel, key, old, ERRCODE_T_R_SERIALIZATION_FAILURE);
	}
	SPI_finish();
}

/*
 * check_truncate raises if a child still refers to a table that is empty now.
 */
static void
check_truncate(ForeignState *state, Relation rel)
{
	StringInfoData sql;
	DbpOwnerScope scope;
	ListCell   *lc;
	uint64		rows;

	initStringInfo(&sql);
	appendStringInfo(&sql, "SELECT FROM %s c WHERE true", state->key.child);
	foreach(lc, state->key.columns)
		appendStringInfo(&sql, " AND c.%s IS NOT NULL", quote_identifier(lfirst(lc)));
	appendStringInfoString(&sql, " LIMIT 1");
	SPI_connect();
	dbp_enter_owner(&scope, state->child_owner);
	rows = dbp_sql_query_latest(sql.data, 0, NULL);
	dbp_leave_owner(&scope);
	if (rows > 0)
		ereport(ERROR,
				(errcode(ERRCODE_FOREIGN_KEY_VIOLATION),
				 errmsg("cannot truncate table %s: rows of table %s refer to it",
						dbp_relation_name(rel), state->key.child),
				 errhint("Truncate both tables in one command.")));
	SPI_finish();
}

/*
 * period_foreign_trigger() keeps a foreign key between tables with periods.  AFTER, on child and
 * parent; period_foreign_key makes its triggers, whose only argument is a JSON object.
 *
 * Raises 39P01 when called otherwise, 22P02 or 22023 for a bad argument, 42P01, 42703, 55000 when
 * a table, column or period is gone, 23503 or 23001 for a row that refers to what is not there,
 * 40001 at REPEATABLE READ and above when a child came meanwhile, 27000 when a trigger
 * cancels what a cascade does.  Locks parent rows FOR SHARE, child rows that change
 * FOR UPDATE.  Runs its queries as the owner of the table.
 */
Datum
dbpatterns_period_foreign_trigger(PG_FUNCTION_ARGS)
{
	TriggerData *data = dbp_trigger_data(fcinfo, "period_foreign_trigger");
	ForeignState *state;
	bool		row = TRIGGER_FIRED_FOR_ROW(data->tg_event);

	if (!TRIGGER_FIRED_AFTER(data->tg_event) ||
		(!row && !TRIGGER_FIRED_BY_TRUNCATE(data->tg_event)))
		ereport(ERROR,
				(errcode(ERRCODE_E_R_I_E_TRIGGER_PROTOCOL_VIOLATED),
				 errmsg("trigger \"%s\" of table %s is not one that dbpatterns.period_foreign_key makes",
						data->tg_trigger->tgname, dbp_relation_name(data->tg_relation)),
				 errhint("Drop it, and call dbpatterns.period_foreign_key.")));
	state = get_state(data);
	if (!row)
		check_truncate(state, data->tg_relation);
	else if (strncmp(data->tg_trigger->tgname, "dbpatterns_31", strlen("dbpatterns_31")) == 0)
		check_child(state, data);
	else
		check_parent(state, data);
	return PointerGetDatum(NULL);
}

/*
 * dbp_foreign_check_init prepares this backend.
 */
void
dbp_foreign_check_init(void)
{
	states = dbp_relstate_cache("dbpatterns period foreign keys", sizeof(ForeignState),
								build_state);
}
