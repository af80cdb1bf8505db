/*-------------------------------------------------------------------------
 *
 * registry.c
 *	  Which table carries which pattern, and findings about them.
 *
 * The registry lists; it decides nothing.  Temporary tables are not listed:
 * their OIDs would mean another table after a dump.
 *
 * Copyright (c) 2026, dbpatterns contributors
 *
 * src/core/registry.c
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "catalog/pg_class.h"
#include "catalog/pg_type.h"
#include "compat/compat.h"
#include "core/append.h"
#include "core/ddl.h"
#include "core/owner.h"
#include "core/registry.h"
#include "core/sql.h"
#include "funcapi.h"
#include "utils/builtins.h"
#include "utils/lsyscache.h"

PG_FUNCTION_INFO_V1(dbpatterns_check);

/*
 * dbp_registry_set lists a pattern of a table, or changes its options (a JSON
 * object in text).
 */
void
dbp_registry_set(Oid target, const char *pattern, const char *options)
{
	DbpOwnerScope scope;
	DbpParam	params[3];

	if (get_rel_persistence(target) == RELPERSISTENCE_TEMP)
		return;

	params[0] = DBP_PARAM(REGCLASSOID, ObjectIdGetDatum(target));
	params[1] = DBP_PARAM(TEXTOID, CStringGetTextDatum(pattern));
	params[2] = DBP_PARAM(TEXTOID, CStringGetTextDatum(options));
	dbp_enter_owner(&scope, dbp_relation_owner(dbp_own_relation("registry")));
	dbp_sql_query("INSERT INTO _dbpatterns.registry (target, pattern, options)"
				  " VALUES ($1, $2, $3::jsonb)"
				  " ON CONFLICT (target, pattern) DO UPDATE SET options = excluded.options",
				  3, params);
	dbp_leave_owner(&scope);
}

/*
 * dbp_registry_remove takes a pattern of a table off the list, and tells
 * whether it was there.
 */
bool
dbp_registry_remove(Oid target, const char *pattern)
{
	DbpOwnerScope scope;
	DbpParam	params[2];
	uint64		rows;

	params[0] = DBP_PARAM(REGCLASSOID, ObjectIdGetDatum(target));
	params[1] = DBP_PARAM(TEXTOID, CStringGetTextDatum(pattern));
	dbp_enter_owner(&scope, dbp_relation_owner(dbp_own_relation("registry")));
	rows = dbp_sql_query("DELETE FROM _dbpatterns.registry"
						 " WHERE target = $1 AND pattern = $2", 2, params);
	dbp_leave_owner(&scope);
	return rows > 0;
}

/* Dropped tables leave the registry. */
static void
forget_dropped(List *dropped)
{
	DbpOwnerScope scope;
	ListCell   *lc;

	SPI_connect();
	dbp_enter_owner(&scope, dbp_relation_owner(dbp_own_relation("registry")));
	foreach(lc, dropped)
	{
		DbpDropped *object = lfirst(lc);
		DbpParam	param = DBP_PARAM(REGCLASSOID, ObjectIdGetDatum(object->objid));

		if (object->classid == RelationRelationId)
			dbp_sql_query("DELETE FROM _dbpatterns.registry WHERE target = $1",
						  1, &param);
	}
	dbp_leave_owner(&scope);
	SPI_finish();
}

/*
 * dbp_registry_init registers for dropped tables.
 */
void
dbp_registry_init(void)
{
	dbp_ddl_register(NULL, forget_dropped, NULL, NULL);
}

/*
 * dbp_finding adds a row to the result of a pattern's check function.
 */
void
dbp_finding(FunctionCallInfo fcinfo, const char *severity, const char *object,
			char *problem, char *remedy)
{
	ReturnSetInfo *rsinfo = (ReturnSetInfo *) fcinfo->resultinfo;
	Datum		values[4];
	bool		nulls[4] = {false, false, false, false};

	values[0] = CStringGetTextDatum(severity);
	values[1] = CStringGetTextDatum(object);
	values[2] = CStringGetTextDatum(problem);
	values[3] = CStringGetTextDatum(remedy);
	tuplestore_putvalues(rsinfo->setResult, rsinfo->setDesc, values, nulls);
}

/*
 * check(target regclass) returns the findings of every pattern's check
 * function, worst first.
 *
 * target: a table, whose patterns are checked, or NULL for all.  Changes nothing, so that a second
 * call returns the same.  Raises nothing of its own; runs as the caller; takes
 * the locks of the patterns' check functions.
 */
Datum
dbpatterns_check(PG_FUNCTION_ARGS)
{
	ReturnSetInfo *rsinfo = (ReturnSetInfo *) fcinfo->resultinfo;
	DbpParam	param = DBP_PARAM_OR_NULL(REGCLASSOID,
										  PG_ARGISNULL(0) ? (Datum) 0 : PG_GETARG_DATUM(0),
										  PG_ARGISNULL(0));
	DbpOwnerScope scope;
	StringInfoData sql;
	uint64		rows;

	InitMaterializedSRF(fcinfo, 0);
	SPI_connect();

	initStringInfo(&sql);
	dbp_enter_owner(&scope, dbp_relation_owner(dbp_own_relation("registry")));
	rows = dbp_sql_query("SELECT p.pattern FROM _dbpatterns.pattern p WHERE $1 IS NULL"
						 " OR p.pattern IN (SELECT r.pattern FROM _dbpatterns.registry r WHERE r.target = $1"
						 "  OR r.target IN (SELECT a.relid FROM pg_partition_ancestors($1) a))"
						 " ORDER BY p.position", 1, &param);
	dbp_leave_owner(&scope);
	if (rows == 0)
	{
		SPI_finish();
		PG_RETURN_NULL();
	}
	appendStringInfoString(&sql, "SELECT * FROM (");
	for (uint64 i = 0; i < rows; i++)
	{
		char	   *pattern = dbp_sql_text(i, 0);
		char	   *function = psprintf("%s_check", pattern);

		appendStringInfo(&sql, "%sSELECT %s::pg_catalog.name, f.* FROM dbpatterns.%s($1) f",
						 i > 0 ? " UNION ALL " : "",
						 quote_literal_cstr(pattern), quote_identifier(function));
	}
	appendStringInfoString(&sql, ") AS f (pattern, severity, object, problem, remedy)"
						   " ORDER BY pg_catalog.array_position('{error,warning,info}'::pg_catalog.text[], severity),"
						   " object, pattern, problem");

	rows = dbp_sql_query(sql.data, 1, &param);
	for (uint64 i = 0; i < rows; i++)
		tuplestore_puttuple(rsinfo->setResult, SPI_tuptable->vals[i]);
	SPI_finish();
	PG_RETURN_NULL();
}
