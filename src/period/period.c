/*-------------------------------------------------------------------------
 *
 * period.c
 *	  Start of the module, and its findings.
 *
 * Copyright (c) 2026, dbpatterns contributors
 *
 * src/period/period.c
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "access/table.h"
#include "catalog/pg_constraint.h"
#include "catalog/pg_trigger.h"
#include "catalog/pg_type.h"
#include "core/append.h"
#include "core/names.h"
#include "core/owner.h"
#include "core/registry.h"
#include "core/sql.h"
#include "core/target.h"
#include "funcapi.h"
#include "period/foreign.h"
#include "period/period.h"
#include "period/portion.h"
#include "utils/builtins.h"
#include "utils/rel.h"

PG_FUNCTION_INFO_V1(dbpatterns_period_check);

static void
check_table(FunctionCallInfo fcinfo, Oid relid)
{
	Relation	rel = table_open(relid, AccessShareLock);
	char	   *name = dbp_relation_name(rel);
	Trigger    *trigger = dbp_period_trigger(rel);
	PeriodOptions options;

	if (trigger == NULL || trigger->tgenabled == TRIGGER_DISABLED ||
		trigger->tgenabled == TRIGGER_FIRES_ON_REPLICA)
		dbp_finding(fcinfo, DBP_ERROR, name,
					"the trigger is missing or disabled, periods may have other forms",
					psprintf("call dbpatterns.period_enable for %s again", name));
	if (dbp_period_options(rel, &options) &&
		!OidIsValid(get_relation_constraint_oid(relid, options.constraint, true)))
		dbp_finding(fcinfo, DBP_ERROR, name,
					psprintf("constraint \"%s\" is missing, rows may overlap", options.constraint),
					psprintf("call dbpatterns.period_enable for %s again", name));
	if (trigger != NULL && !OidIsValid(dbp_reader_find(relid, "valid_at")))
		dbp_finding(fcinfo, DBP_WARNING, name, "a function that reads the table is missing",
					psprintf("call dbpatterns.period_enable for %s again", name));
	table_close(rel, NoLock);
}

/*
 * period_check(target regclass) returns findings about tables with a period: triggers and
 * constraints that are missing.
 *
 * target: NULL for all.  Raises nothing but 42P01 for a table that is not there.  Locks ACCESS
 * SHARE on what it looks at.  Runs as the caller.
 */
Datum
dbpatterns_period_check(PG_FUNCTION_ARGS)
{
	List	   *tables = NIL;
	DbpParam	param = DBP_PARAM_OR_NULL(OIDOID,
										  PG_ARGISNULL(0) ? (Datum) 0 :
										  ObjectIdGetDatum(dbp_partition_root(PG_GETARG_OID(0))),
										  PG_ARGISNULL(0));
	DbpOwnerScope scope;
	uint64		rows;
	ListCell   *lc;

	InitMaterializedSRF(fcinfo, 0);
	if (!PG_ARGISNULL(0))
		(void) dbp_relation_name_by_oid(PG_GETARG_OID(0));
	SPI_connect();
	dbp_enter_owner(&scope, dbp_relation_owner(dbp_own_relation("registry")));
	rows = dbp_sql_query("SELECT c.oid FROM pg_catalog.pg_class c"
						 " WHERE c.oid IN (SELECT target::pg_catalog.oid FROM _dbpatterns.registry"
						 "  WHERE pattern OPERATOR(pg_catalog.=) 'period'"
						 "  UNION ALL SELECT t.tgrelid FROM pg_catalog.pg_trigger t"
						 "  WHERE t.tgfoid OPERATOR(pg_catalog.=) 'dbpatterns.period_trigger'::pg_catalog.regproc"
						 "  AND t.tgparentid OPERATOR(pg_catalog.=) 0)"
						 " AND NOT c.relispartition AND ($1 IS NULL OR c.oid OPERATOR(pg_catalog.=) $1)"
						 " ORDER BY c.oid", 1, &param);
	dbp_leave_owner(&scope);
	for (uint64 i = 0; i < rows; i++)
		tables = lappend_oid(tables, DatumGetObjectId(dbp_sql_value(i, 0, NULL)));
	foreach(lc, tables)
		check_table(fcinfo, lfirst_oid(lc));
	SPI_finish();
	PG_RETURN_NULL();
}

/*
 * dbp_period_init prepares this backend for tables with a period.
 */
void
dbp_period_init(void)
{
	dbp_period_spec_init();
	dbp_period_follow_init();
	dbp_foreign_check_init();
	dbp_portion_init();
}
