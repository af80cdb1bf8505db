/*-------------------------------------------------------------------------
 *
 * timeline.c
 *	  The rows of one key in time: in order, with gaps, merged.
 *
 * A key is named by its values in a JSON object.  Everything runs with the rights
 * of the caller, as the queries do that these functions stand for.
 *
 * Copyright (c) 2026, dbpatterns contributors
 *
 * src/period/timeline.c
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "access/sysattr.h"
#include "access/table.h"
#include "catalog/pg_class.h"
#include "catalog/pg_type.h"
#include "core/append.h"
#include "core/names.h"
#include "core/owner.h"
#include "core/sql.h"
#include "core/target.h"
#include "core/version.h"
#include "funcapi.h"
#include "lib/stringinfo.h"
#include "period/period.h"
#include "utils/builtins.h"
#include "utils/lsyscache.h"
#include "utils/rel.h"
#include "utils/relcache.h"
#include "utils/typcache.h"

PG_FUNCTION_INFO_V1(dbpatterns_timeline);
PG_FUNCTION_INFO_V1(dbpatterns_gaps);
PG_FUNCTION_INFO_V1(dbpatterns_coalesce_periods);

/* The rows of a key. */
typedef struct Line
{
	char	   *table;
	char	   *from;			/* FROM x, k WHERE the key is the same */
	char	   *period;			/* of x */
	char	   *multirange;		/* name of the type */
	char	   *range;
	DbpPeriod	of;
	DbpParam	key;
} Line;

/*
 * read_line finds the table and the key that the first two arguments name, or raises.
 * The caller is connected to SPI.
 */
static void
read_line(FunctionCallInfo fcinfo, Line *line)
{
	Oid			relid;
	Relation	rel;
	StringInfoData from;
	ListCell   *lc;

	dbp_require_argument(fcinfo, 0, "target", "Name a table with a period.");
	dbp_require_argument(fcinfo, 1, "key", "Give the values of the key in a JSON object.");
	relid = PG_GETARG_OID(0);
	line->table = dbp_relation_name_by_oid(relid);
	dbp_check_version();
	rel = table_open(relid, AccessShareLock);
	line->of = *dbp_period_get(rel);
	dbp_require_key(fcinfo, 1, "key", line->table, line->of.options.key);
	line->key = DBP_PARAM(JSONBOID, PG_GETARG_DATUM(1));
	line->period = dbp_period_expression(&line->of.options, line->of.rangetype, "x");
	line->range = format_type_extended(line->of.rangetype, -1, FORMAT_TYPE_FORCE_QUALIFY);
	line->multirange = format_type_extended(get_range_multirange(line->of.rangetype), -1,
											FORMAT_TYPE_FORCE_QUALIFY);
	initStringInfo(&from);
	appendStringInfo(&from, "%s x, pg_catalog.jsonb_populate_record(NULL::%s, $1) k WHERE true",
					 line->table, line->table);
	foreach(lc, line->of.options.key)
	{
		const char *column = quote_identifier(lfirst(lc));
		AttrNumber	attno = line->of.keys[foreach_current_index(lc)];
		Oid			type = TupleDescAttr(RelationGetDescr(rel), attno - 1)->atttypid;

		appendStringInfo(&from, " AND x.%s %s k.%s", column, dbp_equality_operator(type), column);
	}
	line->from = from.data;
	table_close(rel, NoLock);
}

static void
put_rows(ReturnSetInfo *rsinfo, uint64 rows)
{
	for (uint64 i = 0; i < rows; i++)
		tuplestore_puttuple(rsinfo->setResult, SPI_tuptable->vals[i]);
}

/*
 * timeline(target regclass, key jsonb) returns the rows of one key in order of time: the period
 * in text, and the row.
 *
 * key: values of the period's key.  Raises 22004 (an argument is NULL), 42P01, 55000 (no
 * period), 22023 (not a key), 42501.  Locks ACCESS SHARE.  Runs as the caller.
 */
Datum
dbpatterns_timeline(PG_FUNCTION_ARGS)
{
	DbpOwnerScope scope;
	Line		line;

	InitMaterializedSRF(fcinfo, 0);
	SPI_connect();
	read_line(fcinfo, &line);
	dbp_enter_caller(&scope);
	put_rows((ReturnSetInfo *) fcinfo->resultinfo,
			 dbp_sql_query(psprintf("SELECT %s::text, dbpatterns.row_to_jsonb(x.*) FROM %s ORDER BY %s",
									line.period, line.from, line.period), 1, &line.key));
	dbp_leave_owner(&scope);
	SPI_finish();
	PG_RETURN_NULL();
}

/*
 * gaps(target regclass, key jsonb, within text) returns the periods, in text, in which no row of
 * a key holds.
 *
 * key: values of the period's key.  within: the range to look at, as its type is written; NULL
 * for the time from the first row to the last.  Raises what timeline does, and 22P02 (no
 * range).  Locks ACCESS SHARE.  Runs as the caller.
 */
Datum
dbpatterns_gaps(PG_FUNCTION_ARGS)
{
	DbpOwnerScope scope;
	Line		line;
	DbpParam	params[2];

	InitMaterializedSRF(fcinfo, MAT_SRF_USE_EXPECTED_DESC);
	SPI_connect();
	read_line(fcinfo, &line);
	params[0] = line.key;
	params[1] = DBP_PARAM_OR_NULL(TEXTOID, PG_ARGISNULL(2) ? (Datum) 0 : PG_GETARG_DATUM(2),
								  PG_ARGISNULL(2));
	dbp_enter_caller(&scope);
	put_rows((ReturnSetInfo *) fcinfo->resultinfo,
			 dbp_sql_query(psprintf("SELECT unnest(%1$s(coalesce($2::%2$s, range_merge(m))) - coalesce(m, '{}'))::text"
									" FROM (SELECT range_agg(%3$s) AS m FROM %4$s) x"
									" WHERE m IS NOT NULL OR $2 IS NOT NULL",
									line.multirange, line.range, line.period, line.from),
						   2, params));
	dbp_leave_owner(&scope);
	SPI_finish();
	PG_RETURN_NULL();
}

/*
 * is_system_period tells whether a column is the system time of a versioned table, as the
 * registry says.
 */
static bool
is_system_period(Relation rel, const char *column)
{
	DbpOwnerScope scope;
	DbpParam	params[2];
	bool		is;

	params[0] = DBP_PARAM(REGCLASSOID, ObjectIdGetDatum(RelationGetRelid(rel)));
	params[1] = DBP_PARAM(TEXTOID, CStringGetTextDatum(column));
	dbp_enter_owner(&scope, dbp_relation_owner(dbp_own_relation("registry")));
	is = dbp_sql_query("SELECT FROM _dbpatterns.registry WHERE target = $1"
					   " AND pattern = 'versioning' AND options->>'period' = $2", 2, params) > 0;
	dbp_leave_owner(&scope);
	return is;
}

/*
 * left_out lists the columns in which rows that are merged may differ: the period, what is
 * computed, the system time, and a primary key that is not the period's.
 */
static char *
left_out(Oid relid, const DbpPeriod *period)
{
	Relation	rel = table_open(relid, AccessShareLock);
	TupleDesc	desc = RelationGetDescr(rel);
	Bitmapset  *primary = RelationGetIndexAttrBitmap(rel, INDEX_ATTR_BITMAP_PRIMARY_KEY);
	StringInfoData out;

	initStringInfo(&out);
	for (int i = 0; i < desc->natts; i++)
	{
		Form_pg_attribute att = TupleDescAttr(desc, i);
		bool		ours = att->attnum == period->range || att->attnum == period->from ||
			att->attnum == period->upto;
		bool		identifies = bms_is_member(att->attnum - FirstLowInvalidHeapAttributeNumber,
											   primary) &&
			!dbp_list_has_name(period->options.key, NameStr(att->attname));

		if (att->attisdropped ||
			!(ours || identifies || att->attgenerated != '\0' ||
			  is_system_period(rel, NameStr(att->attname))))
			continue;
		appendStringInfo(&out, "%s%s", out.len > 0 ? ", " : "",
						 quote_literal_cstr(NameStr(att->attname)));
	}
	table_close(rel, NoLock);
	return psprintf("ARRAY[%s]::text[]", out.data);
}

/*
 * coalesce_periods(target regclass, key jsonb) makes one row of rows of a key that follow each
 * other without a gap and are equal in all other columns, and returns how many went.
 *
 * key: values of the period's key.  Columns that are computed, and a primary key that is not
 * the period's, may differ; the first row stays.  Raises what timeline does.  Locks ROW
 * EXCLUSIVE, and the rows FOR UPDATE.  Runs as the caller.  A second call finds nothing.
 */
Datum
dbpatterns_coalesce_periods(PG_FUNCTION_ARGS)
{
	DbpOwnerScope scope;
	Line		line;
	const PeriodOptions *options;
	char	   *runs;
	char	   *set;
	uint64		gone;

	SPI_connect();
	read_line(fcinfo, &line);
	options = &line.of.options;
	runs = psprintf("WITH r AS MATERIALIZED (SELECT x.tableoid AS o, x.ctid AS c, %1$s AS p,"
					"  dbpatterns.row_to_jsonb(x.*) - %2$s AS j FROM %3$s FOR UPDATE OF x),"
					" n AS (SELECT *, CASE WHEN lag(j) OVER w = j AND lag(p) OVER w -|- p"
					"  THEN 0 ELSE 1 END AS first FROM r WINDOW w AS (ORDER BY p)),"
					" g AS (SELECT *, sum(first) OVER (ORDER BY p) AS run FROM n),"
					" m AS (SELECT run, range_merge(range_agg(p)) AS p FROM g GROUP BY run HAVING count(*) > 1)",
					line.period, left_out(PG_GETARG_OID(0), &line.of), line.from);
	if (options->period != NULL)
		set = psprintf("%s = m.p", quote_identifier(options->period));
	else if (line.of.upto_not_null &&
			 (line.of.subtype == DATEOID || line.of.subtype == TIMESTAMPTZOID))
		set = psprintf("%s = coalesce(upper(m.p), 'infinity')", quote_identifier(options->upto));
	else
		set = psprintf("%s = upper(m.p)", quote_identifier(options->upto));

	/*
	 * One statement finds, deletes and extends: the rows that go make room
	 * first.
	 */
	dbp_enter_caller(&scope);
	gone = dbp_sql_query(psprintf("%1$s, d AS (DELETE FROM %2$s x USING g JOIN m USING (run)"
								  "  WHERE g.first = 0 AND x.tableoid = g.o AND x.ctid = g.c RETURNING 1),"
								  " u AS (UPDATE %2$s x SET %3$s FROM g JOIN m USING (run)"
								  "  WHERE g.first = 1 AND x.tableoid = g.o AND x.ctid = g.c"
								  "  AND (SELECT count(*) FROM d) >= 0 RETURNING 1)"
								  " SELECT (SELECT count(*) FROM d), (SELECT count(*) FROM u)",
								  runs, line.table, set), 1, &line.key);
	gone = DatumGetInt64(dbp_sql_value(0, 0, NULL));
	dbp_leave_owner(&scope);
	SPI_finish();
	PG_RETURN_INT64(gone);
}
