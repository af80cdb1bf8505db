/*-------------------------------------------------------------------------
 *
 * dropin_period.c
 *	  Periods that a versioning trigger reads and sets.
 *
 * A period is of tstzrange, or of another range over timestamptz.
 *
 * Copyright (c) 2026, dbpatterns contributors
 *
 * src/versioning/dropin_period.c
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "access/htup_details.h"
#include "access/xact.h"
#include "compat/compat.h"
#include "core/target.h"
#include "utils/rel.h"
#include "utils/timestamp.h"
#include "versioning/dropin.h"
#include "versioning/system_time.h"

/* SQLSTATE of the warning, as in temporal_tables. */
#define WARNING_PERIOD_ADJUSTED MAKE_SQLSTATE('0', '1', 'X', '0', '1')

/* Tables that were warned of, in what a client sent at warned_at. */
#define MAX_WARNED 16

static Oid	warned[MAX_WARNED];
static int	nwarned = 0;
static TimestampTz warned_at = 0;

/*
 * dbp_dropin_closed_period makes the period [lower, upto).
 */
Datum
dbp_dropin_closed_period(const DropinFiring *firing, const RangeBound *lower, TimestampTz upto)
{
	RangeBound	from = *lower;
	RangeBound	upper = {TimestampTzGetDatum(upto), false, false, false};

	return RangeTypePGetDatum(make_range(firing->table->range, &from, &upper, false, NULL));
}

/*
 * dbp_dropin_open_period makes the period [from,).
 */
Datum
dbp_dropin_open_period(const DropinFiring *firing, TimestampTz from)
{
	RangeBound	lower = {TimestampTzGetDatum(from), false, true, true};
	RangeBound	upper = {0, true, false, false};

	return RangeTypePGetDatum(make_range(firing->table->range, &lower, &upper, false, NULL));
}

/*
 * dbp_dropin_read_period returns the lower bound of a row's period; false if that is
 * NULL or not the period of a current row.  One that ends at infinity is such a
 * period.
 */
bool
dbp_dropin_read_period(const DropinFiring *firing, HeapTuple tuple, RangeBound *lower,
					   bool *isnull)
{
	Datum		value = heap_getattr(tuple, firing->table->period_no,
									 RelationGetDescr(firing->rel), isnull);
	RangeBound	upper;
	bool		empty;

	if (*isnull)
		return false;
	range_deserialize(firing->table->range, DatumGetRangeTypeP(value), lower, &upper, &empty);
	return !empty &&
		(upper.infinite || TIMESTAMP_IS_NOEND(DatumGetTimestampTz(upper.val))) &&
		(lower->infinite || !TIMESTAMP_IS_NOEND(DatumGetTimestampTz(lower->val)));
}

/*
 * dbp_dropin_require_period does so or raises.
 */
void
dbp_dropin_require_period(const DropinFiring *firing, HeapTuple tuple, RangeBound *lower)
{
	bool		isnull;

	if (dbp_dropin_read_period(firing, tuple, lower, &isnull))
		return;
	if (isnull)
		ereport(ERROR,
				(errcode(ERRCODE_NULL_VALUE_NOT_ALLOWED),
				 errmsg("system period column \"%s\" of relation \"%s\" must not be null",
						firing->table->period, RelationGetRelationName(firing->rel))));
	ereport(ERROR,
			(errcode(ERRCODE_DATA_EXCEPTION),
			 errmsg("system period column \"%s\" of relation \"%s\" contains invalid value",
					firing->table->period, RelationGetRelationName(firing->rel)),
			 errdetail("valid ranges must be non-empty and unbounded on the high side")));
}

/*
 * dbp_dropin_now returns the time of a change that is made now.
 */
TimestampTz
dbp_dropin_now(const DropinFiring *firing)
{
	TimestampTz when;

	if (dbp_versioning_system_time_of(firing->rel, &when))
		return when;
	return GetCurrentTransactionStartTimestamp();
}

static bool
may_adjust(const DropinTable *table)
{
	if (pg_strcasecmp(table->adjust, "true") == 0)
		return true;
	if (pg_strcasecmp(table->adjust, "false") == 0)
		return false;
	ereport(ERROR,
			(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
			 errmsg("invalid value \"%s\" for \"adjust\" parameter", table->adjust),
			 errdetail("valid values are: \"true\", \"false\"")));
	return false;				/* keep the compiler quiet */
}

/*
 * warn says that a period was adjusted, once for a table in what a client sends.
 */
static void
warn(const DropinFiring *firing)
{
	Oid			root = dbp_partition_root(RelationGetRelid(firing->rel));

	if (warned_at != GetCurrentStatementStartTimestamp())
	{
		warned_at = GetCurrentStatementStartTimestamp();
		nwarned = 0;
	}
	for (int i = 0; i < nwarned; i++)
	{
		if (warned[i] == root)
			return;
	}
	if (nwarned < MAX_WARNED)
		warned[nwarned++] = root;
	ereport(WARNING,
			(errcode(WARNING_PERIOD_ADJUSTED),
			 errmsg("system period value of relation \"%s\" was adjusted",
					RelationGetRelationName(firing->rel))));
}

static void
raise_newer(const DropinFiring *firing, TimestampTz from, TimestampTz now)
{
	/* Both come in the same buffer. */
	char	   *began = pstrdup(timestamptz_to_str(from));

	ereport(ERROR,
			(errcode(ERRCODE_DATA_EXCEPTION),
			 errmsg("system period value of relation \"%s\" cannot be set to a valid period "
					"because a row that is attempted to modify was also modified by another "
					"transaction", RelationGetRelationName(firing->rel)),
			 errdetail("the start time of system period is %s but the start time of the "
					   "current transaction is %s", began, timestamptz_to_str(now)),
			 errhint("retry the statement or set \"adjust\" parameter of \"versioning\" "
					 "function to true")));
}

/*
 * dbp_dropin_end returns when a version ends that began at lower: now, or one
 * microsecond after it began, if that is not before now.
 */
TimestampTz
dbp_dropin_end(const DropinFiring *firing, const RangeBound *lower, bool quiet)
{
	TimestampTz now = dbp_dropin_now(firing);
	TimestampTz from;

	if (lower->infinite || DatumGetTimestampTz(lower->val) < now)
		return now;
	from = DatumGetTimestampTz(lower->val);
	if (!may_adjust(firing->table))
		raise_newer(firing, from, now);

	/* Its own earlier change is nothing a transaction need be told of. */
	if (!quiet && !firing->own)
		warn(firing);
	return from + 1;
}
