/*-------------------------------------------------------------------------
 *
 * normalize.c
 *	  The trigger function: periods in one form.
 *
 * [a,b] and [a,b+1) mean the same, and so do a period without an end and one
 * that ends at infinity; but as values they differ, and none of them is found
 * by looking for the other.  So every period is stored as [a,b), with no bound
 * where it has no end.
 *
 * Copyright (c) 2026, dbpatterns contributors
 *
 * src/period/normalize.c
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "access/htup_details.h"
#include "catalog/pg_type.h"
#include "compat/compat.h"
#include "core/names.h"
#include "core/trigger.h"
#include "period/period.h"
#include "utils/date.h"
#include "utils/rangetypes.h"
#include "utils/rel.h"
#include "utils/timestamp.h"
#include "utils/typcache.h"

PG_FUNCTION_INFO_V1(dbpatterns_period_trigger);

static bool
is_infinite(Oid type, Datum value, bool end)
{
	if (type == DATEOID)
		return end ? DATE_IS_NOEND(DatumGetDateADT(value)) :
			DATE_IS_NOBEGIN(DatumGetDateADT(value));
	if (type == TIMESTAMPTZOID)
		return end ? TIMESTAMP_IS_NOEND(DatumGetTimestampTz(value)) :
			TIMESTAMP_IS_NOBEGIN(DatumGetTimestampTz(value));
	return false;
}

static void
refuse(Relation rel, int sqlerrcode, const char *why, const char *hint)
{
	ereport(ERROR,
			(errcode(sqlerrcode),
			 errmsg("period of a row of table %s %s", dbp_relation_name(rel), why),
			 errhint("%s", hint)));
}

/*
 * normalize_bound brings a bound into its one form, and tells whether it was in
 * another: no bound instead of infinity, inclusive below, exclusive above.
 */
static bool
normalize_bound(Relation rel, Oid type, RangeBound *bound)
{
	if (bound->infinite)
		return false;
	if (is_infinite(type, bound->val, !bound->lower))
	{
		bound->infinite = true;
		bound->inclusive = false;
		return true;
	}
	if (bound->inclusive == bound->lower)
		return false;
	if (type != TIMESTAMPTZOID)
		refuse(rel, ERRCODE_DATA_EXCEPTION, "must include its beginning and exclude its end",
			   "Write it as [a,b).");

	/*
	 * The next microsecond: inclusive above becomes exclusive, and vice versa
	 * below.
	 */
	bound->val = TimestampTzGetDatum(DatumGetTimestampTz(bound->val) + 1);
	bound->inclusive = bound->lower;
	return true;
}

static HeapTuple
normalize_range(DbpPeriod *period, Relation rel, HeapTuple row)
{
	TypeCacheEntry *type = lookup_type_cache(period->rangetype, TYPECACHE_RANGE_INFO);
	bool		isnull;
	Datum		value = heap_getattr(row, period->range, RelationGetDescr(rel), &isnull);
	int			attno = period->range;
	RangeBound	lower;
	RangeBound	upper;
	bool		empty;
	bool		changed;

	if (isnull)
		refuse(rel, ERRCODE_NOT_NULL_VIOLATION, "is NULL", "Give a range; one without bounds holds for ever.");
	range_deserialize(type, DatumGetRangeTypeP(value), &lower, &upper, &empty);
	if (empty)
		refuse(rel, ERRCODE_CHECK_VIOLATION, "is empty", "Its end must be after its beginning.");
	changed = normalize_bound(rel, period->subtype, &lower);
	changed |= normalize_bound(rel, period->subtype, &upper);
	if (!changed)
		return row;
	value = RangeTypePGetDatum(make_range(type, &lower, &upper, false, NULL));
	return heap_modify_tuple_by_cols(row, RelationGetDescr(rel), 1, &attno, &value, &isnull);
}

static HeapTuple
normalize_column(Relation rel, HeapTuple row, AttrNumber column, Oid type, bool end)
{
	bool		isnull;
	Datum		value = heap_getattr(row, column, RelationGetDescr(rel), &isnull);
	int			attno = column;

	if (isnull || !is_infinite(type, value, end))
		return row;
	isnull = true;
	return heap_modify_tuple_by_cols(row, RelationGetDescr(rel), 1, &attno, &value, &isnull);
}

static HeapTuple
normalize_columns(DbpPeriod *period, Relation rel, HeapTuple row)
{
	TypeCacheEntry *type = lookup_type_cache(period->subtype, TYPECACHE_CMP_PROC_FINFO);
	bool		no_from;
	bool		no_upto;
	Datum		from = heap_getattr(row, period->from, RelationGetDescr(rel), &no_from);
	Datum		upto = heap_getattr(row, period->upto, RelationGetDescr(rel), &no_upto);

	if (!no_from && !no_upto &&
		DatumGetInt32(FunctionCall2(&type->cmp_proc_finfo, from, upto)) >= 0)
		refuse(rel, ERRCODE_CHECK_VIOLATION, "is empty", "Its end must be after its beginning.");
	if (!period->upto_not_null)
		row = normalize_column(rel, row, period->upto, period->subtype, true);
	if (!TupleDescAttr(RelationGetDescr(rel), period->from - 1)->attnotnull)
		row = normalize_column(rel, row, period->from, period->subtype, false);
	return row;
}

/*
 * period_trigger() brings the period of a row into the form [a,b), without a bound where it
 * has no end.  BEFORE INSERT OR UPDATE, FOR EACH ROW.  Its only argument is a JSON object
 * with key, constraint, and period or from and to; period_enable makes it.
 *
 * Raises 39P01 when called otherwise, 22P02 or 22023 for a bad argument, 42703 when a
 * column is gone, 23502 for NULL, 23514 for an empty or inverted period, 22000 for a
 * bound of another kind that cannot be expressed.  Takes no lock.  Runs as the caller.
 */
Datum
dbpatterns_period_trigger(PG_FUNCTION_ARGS)
{
	TriggerData *data = dbp_trigger_data(fcinfo, "period_trigger");
	Relation	rel = data->tg_relation;
	HeapTuple	row = TRIGGER_FIRED_BY_UPDATE(data->tg_event) ? data->tg_newtuple :
		data->tg_trigtuple;
	DbpPeriod  *period;

	if (!TRIGGER_FIRED_FOR_ROW(data->tg_event) || !TRIGGER_FIRED_BEFORE(data->tg_event) ||
		TRIGGER_FIRED_BY_DELETE(data->tg_event))
		ereport(ERROR,
				(errcode(ERRCODE_E_R_I_E_TRIGGER_PROTOCOL_VIOLATED),
				 errmsg("period trigger \"%s\" of table %s must be fired BEFORE INSERT OR UPDATE, FOR EACH ROW",
						data->tg_trigger->tgname, dbp_relation_name(rel)),
				 errhint("Drop it, and call dbpatterns.period_enable.")));
	period = dbp_period_get(rel);
	row = period->range != InvalidAttrNumber ? normalize_range(period, rel, row) :
		normalize_columns(period, rel, row);
	return PointerGetDatum(row);
}
