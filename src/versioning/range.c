/*-------------------------------------------------------------------------
 *
 * range.c
 *	  Periods of system time as values of tstzrange.
 *
 * A current row's period has no upper bound.  All rows that a transaction
 * writes mostly have the same one, so it is made once and kept, in the short
 * form in which it is stored.
 *
 * Copyright (c) 2026, dbpatterns contributors
 *
 * src/versioning/range.c
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "catalog/pg_type.h"
#include "compat/compat.h"
#include "utils/rangetypes.h"
#include "utils/timestamp.h"
#include "utils/typcache.h"
#include "versioning/versioning.h"

/* Header, two bounds and flags take 25 bytes. */
#define MAX_PERIOD_BYTES 32

static TypeCacheEntry *
range_type(void)
{
	static TypeCacheEntry *cache = NULL;

	if (cache == NULL)
		cache = lookup_type_cache(TSTZRANGEOID, TYPECACHE_RANGE_INFO);
	return cache;
}

/*
 * dbp_versioning_read_period takes a period apart.
 */
void
dbp_versioning_read_period(Datum value, SystemPeriod *period)
{
	union
	{
		RangeType	range;
		char		bytes[MAX_PERIOD_BYTES];
		int64		align;
	}			copy;
	struct varlena *stored = (struct varlena *) DatumGetPointer(value);
	RangeBound	lower;
	RangeBound	upper;

	/* The usual case, without a copy that somebody must free. */
	if (VARATT_IS_SHORT(stored) && VARSIZE_SHORT(stored) + VARHDRSZ <= MAX_PERIOD_BYTES)
	{
		Size		size = VARSIZE_SHORT(stored) - VARHDRSZ_SHORT;

		SET_VARSIZE(&copy, size + VARHDRSZ);
		memcpy(copy.bytes + VARHDRSZ, VARDATA_SHORT(stored), size);
		range_deserialize(range_type(), &copy.range, &lower, &upper, &period->empty);
	}
	else
		range_deserialize(range_type(), DatumGetRangeTypeP(value), &lower, &upper,
						  &period->empty);
	if (period->empty)
	{
		period->open = false;
		return;
	}
	period->lower = lower.infinite ? DT_NOBEGIN : DatumGetTimestampTz(lower.val);
	period->upper = upper.infinite ? DT_NOEND : DatumGetTimestampTz(upper.val);
	period->open = upper.infinite || period->upper == DT_NOEND;
}

static RangeType *
make_period(TimestampTz from, TimestampTz upto, bool open)
{
	RangeBound	lower = {TimestampTzGetDatum(from), false, true, true};
	RangeBound	upper = {TimestampTzGetDatum(upto), open, false, false};

	return make_range(range_type(), &lower, &upper, false, NULL);
}

/*
 * dbp_versioning_closed makes the period [lower, upper) in the current memory context.
 */
Datum
dbp_versioning_closed(TimestampTz lower, TimestampTz upper)
{
	return RangeTypePGetDatum(make_period(lower, upper, false));
}

/*
 * dbp_versioning_open returns the period [lower,) in short form; it belongs to the state.
 */
struct varlena *
dbp_versioning_open(VersioningState *state, TimestampTz lower)
{
	RangeType  *range;
	Size		size;

	if (state->open != NULL && state->opened == lower)
		return state->open;
	range = make_period(lower, 0, true);
	size = VARSIZE(range) - VARHDRSZ;
	if (state->open == NULL)
		state->open = MemoryContextAlloc(state->head.cxt, MAX_PERIOD_BYTES);
	SET_VARSIZE_SHORT(state->open, size + VARHDRSZ_SHORT);
	memcpy(VARDATA_SHORT(state->open), (char *) range + VARHDRSZ, size);
	state->opened = lower;
	pfree(range);
	return state->open;
}
