/*-------------------------------------------------------------------------
 *
 * price.c
 *	  Setting and reading prices that hold for a time.
 *
 * A price is a column of a table with a period.  Times are given as timestamptz,
 * to which the server turns a date, too; a period of dates takes the day that
 * contains them, in the time zone of the session or the one that is given.
 *
 * Copyright (c) 2026, dbpatterns contributors
 *
 * src/period/price.c
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "access/table.h"
#include "catalog/pg_type.h"
#include "core/target.h"
#include "miscadmin.h"
#include "period/price.h"
#include "utils/builtins.h"
#include "utils/date.h"
#include "utils/datum.h"
#include "utils/fmgrprotos.h"
#include "utils/timestamp.h"

PG_FUNCTION_INFO_V1(dbpatterns_price_set);
PG_FUNCTION_INFO_V1(dbpatterns_price_at);
PG_FUNCTION_INFO_V1(dbpatterns_price_lowest);

/* ---- reading a call -------------------------------------------------------- */

/*
 * dbp_price_open reads the arguments that all calls have: target and key, the first
 * two; the column of the price and the time zone, from column_argno on.
 */
void
dbp_price_open(FunctionCallInfo fcinfo, PriceCall *call, int column_argno)
{
	Relation	rel = dbp_portion_target(fcinfo);
	PortionTable *table;

	dbp_portion_open(&call->edit, rel, PORTION_UPSERT);
	table = call->edit.table;
	dbp_require_argument(fcinfo, 1, "key", "Name what has the price in a JSON object.");
	dbp_require_argument(fcinfo, column_argno, "price_column", "Name the column of the price.");
	dbp_portion_read_object(&call->edit, PG_GETARG_JSONB_P(1), "key");
	dbp_portion_require_key(&call->edit, "key");
	if (table->subtype != DATEOID && table->subtype != TIMESTAMPTZOID)
		ereport(ERROR,
				(errcode(ERRCODE_DATATYPE_MISMATCH),
				 errmsg("the period of table %s is neither of dates nor of timestamptz",
						table->name),
				 errhint("Prices need a daterange or a tstzrange, or columns of those times.")));
	call->column = quote_identifier(NameStr(*PG_GETARG_NAME(column_argno)));
	if (call->edit.by[dbp_portion_column(table, NameStr(*PG_GETARG_NAME(column_argno))) - 1])
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("column %s of table %s is part of the key and cannot be a price",
						call->column, table->name),
				 errhint("Name the column of the price in argument \"price_column\".")));
	call->zone = PG_ARGISNULL(column_argno + 1) ?
		CStringGetTextDatum(pg_get_timezone_name(session_timezone)) :
		PG_GETARG_DATUM(column_argno + 1);
	table_close(rel, NoLock);
}

static bool
is_finite(Datum at)
{
	return !TIMESTAMP_NOT_FINITE(DatumGetTimestampTz(at));
}

static Datum
local_time(PriceCall *call, Datum at)
{
	return DirectFunctionCall2(timestamptz_zone, call->zone, at);
}

/*
 * dbp_price_time turns a timestamptz into a value of the period's subtype.
 */
Datum
dbp_price_time(PriceCall *call, Datum at)
{
	if (call->edit.table->subtype == TIMESTAMPTZOID)
		return at;
	return DirectFunctionCall1(timestamp_date, local_time(call, at));
}

/*
 * dbp_price_window sets the portion to the time before a time, in the time zone: a day
 * is not always of 24 hours.
 */
void
dbp_price_window(PriceCall *call, Datum before, Datum lookback)
{
	PortionEdit *edit = &call->edit;
	Datum		start;
	bool		date = edit->table->subtype == DATEOID;

	if (!is_finite(before))
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("argument \"before\" is infinite"),
				 errhint("Give the time at which the price is reduced.")));
	start = DirectFunctionCall2(timestamp_mi_interval, local_time(call, before), lookback);
	start = date ? DirectFunctionCall1(timestamp_date, start) :
		DirectFunctionCall2(timestamp_zone, call->zone, start);
	before = dbp_price_time(call, before);
	if (date ? DatumGetDateADT(start) >= DatumGetDateADT(before) :
		DatumGetTimestampTz(start) >= DatumGetTimestampTz(before))
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("argument \"lookback\" leaves no time to look at"),
				 errhint(date ? "Give an interval of days, such as '30 days'." :
						 "Give an interval greater than zero, such as '30 days'.")));
	edit->portion = dbp_portion_make(edit->table, start, false, before, false);
}

/* ---- SQL ------------------------------------------------------------------- */

/*
 * set_price makes the price what the edit sets, in the form that its column reads.
 */
static void
set_price(PriceCall *call, const char *column, Datum price)
{
	JsonbParseState *state = NULL;
	JsonbValue	v;
	JsonbValue *object;

	(void) pushJsonbValue(&state, WJB_BEGIN_OBJECT, NULL);
	v.type = jbvString;
	v.val.string.val = pstrdup(column);
	v.val.string.len = strlen(column);
	(void) pushJsonbValue(&state, WJB_KEY, &v);
	v.type = jbvNumeric;
	v.val.numeric = DatumGetNumeric(price);
	(void) pushJsonbValue(&state, WJB_VALUE, &v);
	object = pushJsonbValue(&state, WJB_END_OBJECT, NULL);
	dbp_portion_read_object(&call->edit, JsonbValueToJsonb(object), "set");
}

/*
 * price_set(target regclass, key jsonb, price numeric, "from" timestamptz, "to"
 * timestamptz, price_column name, time_zone text) makes a price hold from a time up to,
 * but not at, another one, and returns how many rows it changed or inserted.
 *
 * target: a table with a period of dates or timestamptz.  key: its whole key.  to: NULL
 * for the time when the next price begins that is there already, and for ever if there
 * is none; 'infinity' for ever, in place of all later prices.  price_column: the column
 * of the price.  time_zone: in which a time falls on a day; NULL for the session's.
 *
 * It is a portion_upsert, and raises, locks and runs as that; 42804 also if the period
 * is of another type, 22023 if it ends before it begins or the time zone is unknown.  A
 * second call changes nothing.
 */
Datum
dbpatterns_price_set(PG_FUNCTION_ARGS)
{
	PriceCall	call;
	PortionEdit *edit = &call.edit;
	Datum		from;
	Datum		upto = (Datum) 0;
	uint64		rows;

	dbp_price_open(fcinfo, &call, 5);
	dbp_require_argument(fcinfo, 2, "price", "Give the price; portion_delete ends one.");
	dbp_require_argument(fcinfo, 3, "from", "Give the time from which the price holds.");
	from = dbp_price_time(&call, PG_GETARG_DATUM(3));
	edit->until_next = PG_ARGISNULL(4);
	if (!edit->until_next)
		upto = dbp_price_time(&call, PG_GETARG_DATUM(4));
	edit->portion = dbp_portion_make(edit->table, from, false, upto, edit->until_next);
	set_price(&call, NameStr(*PG_GETARG_NAME(5)), PG_GETARG_DATUM(2));

	SPI_connect();
	rows = dbp_portion_run(edit);
	SPI_finish();
	PG_RETURN_INT64(rows);
}

/*
 * read_number runs a query that returns one number, with a first parameter and the key.
 */
static Datum
read_number(PriceCall *call, const char *sql, DbpParam first, bool *isnull)
{
	MemoryContext cxt = CurrentMemoryContext;
	PortionTable *table = call->edit.table;
	DbpParam   *params = palloc(sizeof(DbpParam) * (table->nkey + 1));
	Datum		value = (Datum) 0;

	params[0] = first;
	(void) dbp_portion_key_params(&call->edit, params + 1);
	SPI_connect();
	*isnull = dbp_portion_query(table, sql, table->nkey + 1, params, PORTION_READ) == 0;
	if (!*isnull)
		value = dbp_sql_value(0, 0, isnull);
	if (!*isnull)
	{
		MemoryContext oldcxt = MemoryContextSwitchTo(cxt);

		value = datumCopy(value, false, -1);
		MemoryContextSwitchTo(oldcxt);
	}
	SPI_finish();
	return value;
}

/*
 * price_at(target regclass, key jsonb, at timestamptz, price_column name, time_zone text)
 * returns the price that holds at a time, NULL if there is none.
 *
 * Arguments as for price_set.  Raises 22004 (target, key, at or price_column is NULL),
 * 55000 (versions differ; no period), 42P01, 42703, 42804, 22023 (not the whole key;
 * unknown time zone), 42501.  Locks ACCESS SHARE.  Runs as the caller.
 */
Datum
dbpatterns_price_at(PG_FUNCTION_ARGS)
{
	PriceCall	call;
	PortionTable *table;
	Datum		price;
	bool		isnull;

	dbp_price_open(fcinfo, &call, 3);
	dbp_require_argument(fcinfo, 2, "at", "Give a time.");
	table = call.edit.table;
	price = read_number(&call, psprintf("SELECT o.%s::pg_catalog.numeric FROM %s AS o"
										" WHERE %s OPERATOR(pg_catalog.@>) $1 AND %s",
										call.column, table->name, dbp_portion_period(table, "o"),
										dbp_portion_key_condition(&call.edit, "o", 2)),
						DBP_PARAM(table->subtype, dbp_price_time(&call, PG_GETARG_DATUM(2))),
						&isnull);
	if (isnull)
		PG_RETURN_NULL();
	PG_RETURN_DATUM(price);
}

/*
 * price_lowest(target regclass, key jsonb, before timestamptz, lookback interval,
 * price_column name, time_zone text) returns the lowest price that held at some time
 * of the lookback before a time; NULL if there was none at all.
 *
 * before: when the price is reduced: neither the new price nor later ones count, and the
 * one that held when the lookback began does.  lookback: greater than zero; where the
 * period is of dates, it begins with the day it reaches back to.  Other arguments as for
 * price_set; price_lowest_detail also tells when there was no price.  The rule is Article
 * 6a of Directive 98/6/EC.
 *
 * Raises and locks as price_at.  Runs as the caller.
 */
Datum
dbpatterns_price_lowest(PG_FUNCTION_ARGS)
{
	PriceCall	call;
	PortionTable *table;
	Datum		price;
	bool		isnull;

	dbp_price_open(fcinfo, &call, 4);
	dbp_require_argument(fcinfo, 2, "before", "Give the time at which the price is reduced.");
	dbp_require_argument(fcinfo, 3, "lookback", "Give an interval, such as '30 days'.");
	table = call.edit.table;
	dbp_price_window(&call, PG_GETARG_DATUM(2), PG_GETARG_DATUM(3));
	price = read_number(&call, psprintf("SELECT pg_catalog.min(o.%s::pg_catalog.numeric) FROM %s AS o"
										" WHERE %s OPERATOR(pg_catalog.&&) $1 AND %s",
										call.column, table->name, dbp_portion_period(table, "o"),
										dbp_portion_key_condition(&call.edit, "o", 2)),
						DBP_PARAM(table->range, call.edit.portion), &isnull);
	if (isnull)
		PG_RETURN_NULL();
	PG_RETURN_DATUM(price);
}
