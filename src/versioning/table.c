/*-------------------------------------------------------------------------
 *
 * table.c
 *	  Which tables are versioned, and bringing everything in line with one.
 *
 * The table _dbpatterns.versioning lists versioned tables with their histories,
 * by OID, so that renames of either are noticed, and says how long versions
 * are kept.  The triggers work without it.
 *
 * Copyright (c) 2026, dbpatterns contributors
 *
 * src/versioning/table.c
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "access/table.h"
#include "catalog/pg_type.h"
#include "core/append.h"
#include "core/names.h"
#include "core/owner.h"
#include "core/registry.h"
#include "core/sql.h"
#include "miscadmin.h"
#include "utils/builtins.h"
#include "utils/datum.h"
#include "utils/fmgrprotos.h"
#include "utils/json.h"
#include "utils/lsyscache.h"
#include "utils/rel.h"
#include "versioning/versioning.h"

static Interval *
interval_or_null(int column)
{
	bool		isnull;
	Datum		value = dbp_sql_value(0, column, &isnull);

	return isnull ? NULL : DatumGetIntervalP(datumCopy(value, false, sizeof(Interval)));
}

/*
 * dbp_versioning_find finds the entry of a versioned table, or that of a history; false if
 * relid is neither.  The caller is connected to SPI.
 */
bool
dbp_versioning_find(Oid relid, VersionedTable *table)
{
	DbpOwnerScope scope;
	DbpParam	param = DBP_PARAM(REGCLASSOID, ObjectIdGetDatum(relid));
	bool		found;

	dbp_enter_owner(&scope, dbp_relation_owner(dbp_own_relation("versioning")));
	found = dbp_sql_query_latest("SELECT target, history, columns, partition_by, keep"
								 " FROM _dbpatterns.versioning"
								 " WHERE target OPERATOR(pg_catalog.=) $1"
								 " OR history OPERATOR(pg_catalog.=) $1"
								 " ORDER BY target OPERATOR(pg_catalog.=) $1 DESC LIMIT 1",
								 1, &param) > 0;
	dbp_leave_owner(&scope);
	if (!found)
		return false;
	table->baseid = DatumGetObjectId(dbp_sql_value(0, 0, NULL));
	table->historyid = DatumGetObjectId(dbp_sql_value(0, 1, NULL));
	table->columns = DatumGetInt16(dbp_sql_value(0, 2, NULL));
	table->partition_by = interval_or_null(3);
	table->keep = interval_or_null(4);
	return true;
}

/*
 * dbp_versioning_save lists a versioned table, or changes its entry.
 */
void
dbp_versioning_save(const VersionedTable *table)
{
	DbpOwnerScope scope;
	DbpParam	params[5];

	if (get_rel_persistence(table->baseid) == RELPERSISTENCE_TEMP)
		return;
	params[0] = DBP_PARAM(REGCLASSOID, ObjectIdGetDatum(table->baseid));
	params[1] = DBP_PARAM(REGCLASSOID, ObjectIdGetDatum(table->historyid));
	params[2] = DBP_PARAM(INT2OID, Int16GetDatum(table->columns));
	params[3] = DBP_PARAM_OR_NULL(INTERVALOID, PointerGetDatum(table->partition_by),
								  table->partition_by == NULL);
	params[4] = DBP_PARAM_OR_NULL(INTERVALOID, PointerGetDatum(table->keep),
								  table->keep == NULL);
	dbp_enter_owner(&scope, dbp_relation_owner(dbp_own_relation("versioning")));
	dbp_sql_query("INSERT INTO _dbpatterns.versioning AS v"
				  " (target, history, columns, partition_by, keep)"
				  " VALUES ($1, $2, $3, $4, $5) ON CONFLICT (target) DO UPDATE"
				  " SET history = excluded.history, columns = excluded.columns,"
				  " partition_by = excluded.partition_by, keep = excluded.keep", 5, params);
	dbp_leave_owner(&scope);
}

/*
 * dbp_versioning_forget takes a table off the list.
 */
void
dbp_versioning_forget(Oid baseid)
{
	DbpOwnerScope scope;
	DbpParam	param = DBP_PARAM(REGCLASSOID, ObjectIdGetDatum(baseid));

	dbp_enter_owner(&scope, dbp_relation_owner(dbp_own_relation("versioning")));
	dbp_sql_query("DELETE FROM _dbpatterns.versioning"
				  " WHERE target OPERATOR(pg_catalog.=) $1", 1, &param);
	dbp_leave_owner(&scope);
	(void) dbp_registry_remove(baseid, "versioning");
}

static void
append_interval(StringInfo out, const char *option, Interval *value)
{
	int			style;

	if (value == NULL)
		return;
	appendStringInfo(out, ", \"%s\": ", option);
	style = IntervalStyle;
	IntervalStyle = INTSTYLE_POSTGRES;
	escape_json(out, DatumGetCString(DirectFunctionCall1(interval_out,
														 IntervalPGetDatum(value))));
	IntervalStyle = style;
}

/*
 * summarize makes of the options what the registry says.
 */
static char *
summarize(const VersionedTable *table, const VersioningOptions *options, bool guard)
{
	StringInfoData out;
	char	   *argument = dbp_versioning_print(options);

	initStringInfo(&out);
	appendBinaryStringInfo(&out, argument, strlen(argument) - 1);
	if (!guard)
		appendStringInfoString(&out, ", \"on_truncate\": \"ignore\"");
	append_interval(&out, "partition_by", table->partition_by);
	append_interval(&out, "keep", table->keep);
	appendStringInfoChar(&out, '}');
	return out.data;
}

/*
 * dbp_versioning_sync brings triggers, history, functions and rights in line with a
 * table and its options, and tells whether triggers changed.  guard: whether TRUNCATE is
 * met; reset: whether triggers that were disabled fire again.  The caller is
 * connected to SPI and holds a lock on the table, which is closed.
 */
bool
dbp_versioning_sync(VersionedTable *table, const VersioningOptions *options, bool guard,
					bool reset)
{
	bool		changed;

	table->columns = dbp_versioning_sync_history(table->baseid, table->historyid, options,
												 table->columns);
	dbp_versioning_make_functions(table->baseid, table->historyid, options);
	changed = dbp_versioning_set_triggers(table->baseid, options, guard, reset);
	dbp_versioning_sync_rights(table->baseid, table->historyid);
	dbp_versioning_save(table);
	dbp_registry_set(table->baseid, "versioning", summarize(table, options, guard));
	return changed;
}
