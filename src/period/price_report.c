/*-------------------------------------------------------------------------
 *
 * price_report.c
 *	  What became of a price during some time.
 *
 * Days are reported as the time at which they begin in the time zone of the
 * call, so that the answer has one form for both kinds of periods.
 *
 * Copyright (c) 2026, dbpatterns contributors
 *
 * src/period/price_report.c
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "catalog/pg_type.h"
#include "core/target.h"
#include "funcapi.h"
#include "period/price.h"
#include "utils/builtins.h"

PG_FUNCTION_INFO_V1(dbpatterns_price_lowest_detail);
PG_FUNCTION_INFO_V1(dbpatterns_price_changes);

/* A bound of a period, or NULL, as timestamptz; $2 is the time zone. */
static char *
moment(PriceCall *call, const char *bound)
{
	if (call->edit.table->subtype == TIMESTAMPTZOID)
		return psprintf("%s", bound);
	return psprintf("pg_catalog.timezone($2, (%s)::pg_catalog.timestamp)", bound);
}

/*
 * prices returns the prices that held during the portion $1, or next to it, as p and v;
 * the key is in parameters from number 3 on.
 */
static char *
prices(PriceCall *call, const char *period, bool adjacent)
{
	PortionTable *table = call->edit.table;
	char	   *own = dbp_portion_period(table, "o");

	return psprintf("SELECT %s AS p, o.%s::pg_catalog.numeric AS v FROM %s AS o"
					" WHERE (%s OPERATOR(pg_catalog.&&) $1%s) AND %s AND o.%s IS NOT NULL"
					" AND $2 IS NOT NULL",
					psprintf(period, own), call->column, table->name, own,
					adjacent ? psprintf(" OR %s OPERATOR(pg_catalog.-|-) $1", own) : "",
					dbp_portion_key_condition(&call->edit, "o", 3), call->column);
}

static Datum
return_rows(FunctionCallInfo fcinfo, PriceCall *call, const char *sql)
{
	ReturnSetInfo *rsinfo = (ReturnSetInfo *) fcinfo->resultinfo;
	PortionTable *table = call->edit.table;
	DbpParam   *params = palloc(sizeof(DbpParam) * (table->nkey + 2));
	uint64		rows;

	InitMaterializedSRF(fcinfo, 0);
	params[0] = DBP_PARAM(table->range, call->edit.portion);
	params[1] = DBP_PARAM(TEXTOID, call->zone);
	(void) dbp_portion_key_params(&call->edit, params + 2);
	SPI_connect();
	rows = dbp_portion_query(table, sql, table->nkey + 2, params, PORTION_READ);
	for (uint64 i = 0; i < rows; i++)
		tuplestore_puttuple(rsinfo->setResult, SPI_tuptable->vals[i]);
	SPI_finish();
	PG_RETURN_NULL();
}

/*
 * price_lowest_detail(...) returns, in one row, what price_lowest does, and on what it
 * rests: lowest; since, from when it held within the lookback; window_from and
 * window_to, the lookback; gaps, the times in it without a price.
 *
 * Arguments, errors and locks as for price_lowest.  Runs as the caller.
 */
Datum
dbpatterns_price_lowest_detail(PG_FUNCTION_ARGS)
{
	PriceCall	call;
	const char *multirange;
	char	   *gaps;

	dbp_price_open(fcinfo, &call, 4);
	dbp_require_argument(fcinfo, 2, "before", "Give the time at which the price is reduced.");
	dbp_require_argument(fcinfo, 3, "lookback", "Give an interval, such as '30 days'.");
	dbp_price_window(&call, PG_GETARG_DATUM(2), PG_GETARG_DATUM(3));
	multirange = call.edit.table->multirange_name;
	gaps = psprintf("SELECT COALESCE(pg_catalog.range_agg(pg_catalog.tstzrange(%s, %s)), '{}')"
					" FROM pg_catalog.unnest(%s($1) OPERATOR(pg_catalog.-)"
					" COALESCE((SELECT pg_catalog.range_agg(r.p) FROM r), %s())) AS g",
					moment(&call, "pg_catalog.lower(g)"), moment(&call, "pg_catalog.upper(g)"),
					multirange, multirange);
	return return_rows(fcinfo, &call,
					   psprintf("WITH r AS (%s) SELECT (SELECT pg_catalog.min(r.v) FROM r),"
								" (SELECT %s FROM r ORDER BY r.v, r.p LIMIT 1), %s, %s, (%s)",
								prices(&call, "%s OPERATOR(pg_catalog.*) $1", false),
								moment(&call, "pg_catalog.lower(r.p)"),
								moment(&call, "pg_catalog.lower($1)"),
								moment(&call, "pg_catalog.upper($1)"), gaps));
}

/*
 * price_changes(target regclass, key jsonb, a timestamptz, b timestamptz, price_column
 * name, time_zone text) returns when a price changed, from a up to, but not at, b: at,
 * old_price, new_price, difference, and percent of the old price, in the order of time.
 *
 * a, b: NULL for no bound.  old_price is NULL where there was none before, new_price
 * where there is none from then on.  Where one row follows another with the same price,
 * nothing changed.  Other arguments as for price_set.
 *
 * Raises and locks as price_at.  Runs as the caller.
 */
Datum
dbpatterns_price_changes(PG_FUNCTION_ARGS)
{
	PriceCall	call;
	PortionEdit *edit = &call.edit;
	Datum		a = (Datum) 0;
	Datum		b = (Datum) 0;

	dbp_price_open(fcinfo, &call, 4);
	if (!PG_ARGISNULL(2))
		a = dbp_price_time(&call, PG_GETARG_DATUM(2));
	if (!PG_ARGISNULL(3))
		b = dbp_price_time(&call, PG_GETARG_DATUM(3));
	edit->portion = dbp_portion_make(edit->table, a, PG_ARGISNULL(2), b, PG_ARGISNULL(3));
	return return_rows(fcinfo, &call,
					   psprintf("WITH r AS (%s), e AS (SELECT pg_catalog.lower(r.p) AS at FROM r"
								" UNION SELECT pg_catalog.upper(r.p) FROM r)"
								" SELECT %s, x.v, y.v, y.v OPERATOR(pg_catalog.-) x.v,"
								" pg_catalog.round(100::pg_catalog.numeric OPERATOR(pg_catalog.*)"
								" (y.v OPERATOR(pg_catalog.-) x.v)"
								" OPERATOR(pg_catalog./) NULLIF(x.v, 0::pg_catalog.numeric), 2)"
								" FROM e LEFT JOIN r AS x ON pg_catalog.upper(x.p) OPERATOR(pg_catalog.=) e.at"
								" LEFT JOIN r AS y ON pg_catalog.lower(y.p) OPERATOR(pg_catalog.=) e.at"
								" WHERE $1 OPERATOR(pg_catalog.@>) e.at AND pg_catalog.isfinite(e.at)"
								" AND (x.v IS NULL) OPERATOR(pg_catalog.<>) (y.v IS NULL)"
								" OR $1 OPERATOR(pg_catalog.@>) e.at"
								" AND x.v OPERATOR(pg_catalog.<>) y.v ORDER BY e.at",
								prices(&call, "%s", true), moment(&call, "e.at")));
}
