/*-------------------------------------------------------------------------
 *
 * check.c
 *	  Findings about versioned tables.
 *
 * Copyright (c) 2026, dbpatterns contributors
 *
 * src/versioning/check.c
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "access/table.h"
#include "catalog/pg_class.h"
#include "catalog/pg_inherits.h"
#include "catalog/pg_trigger.h"
#include "catalog/pg_type.h"
#include "core/append.h"
#include "core/names.h"
#include "core/owner.h"
#include "core/registry.h"
#include "core/sql.h"
#include "core/target.h"
#include "miscadmin.h"
#include "core/trigger.h"
#include "funcapi.h"
#include "utils/builtins.h"
#include "utils/lsyscache.h"
#include "utils/rel.h"
#include "versioning/versioning.h"

PG_FUNCTION_INFO_V1(dbpatterns_versioning_check);

static bool
fires(Relation rel, const char *name)
{
	Trigger    *trigger = dbp_find_trigger(rel, name);

	return trigger != NULL && dbp_versioning_is_trigger(trigger) &&
		(trigger->tgenabled == TRIGGER_FIRES_ON_ORIGIN ||
		 trigger->tgenabled == TRIGGER_FIRES_ALWAYS);
}

static char *
enable_again(Relation rel)
{
	return psprintf("call dbpatterns.versioning_enable for %s again", dbp_relation_name(rel));
}

/*
 * check_triggers looks at the triggers of a table and its partitions.
 */
static void
check_triggers(FunctionCallInfo fcinfo, Relation rel)
{
	bool		guard = dbp_versioning_guards_truncate(rel);
	ListCell   *lc;

	foreach(lc, find_all_inheritors(RelationGetRelid(rel), AccessShareLock, NULL))
	{
		Relation	part = table_open(lfirst_oid(lc), NoLock);
		Trigger    *after = dbp_find_trigger(part, VERSIONING_AFTER_TRIGGER);

		if (!fires(part, VERSIONING_BEFORE_TRIGGER) || !fires(part, VERSIONING_AFTER_TRIGGER))
			dbp_finding(fcinfo, DBP_ERROR, dbp_relation_name(part),
						"a trigger is missing or disabled, changes make no versions",
						enable_again(rel));
		else if (!dbp_versioning_fires_last(part, TRIGGER_TYPE_INSERT) &&
				 (after->tgtype & TRIGGER_TYPE_INSERT) == 0)
			dbp_finding(fcinfo, DBP_WARNING, dbp_relation_name(part),
						"another BEFORE trigger fires last and may change the period of a new row",
						enable_again(rel));
		if (guard && part->rd_rel->relkind != RELKIND_FOREIGN_TABLE &&
			!fires(part, VERSIONING_TRUNCATE_TRIGGER))
			dbp_finding(fcinfo, DBP_WARNING, dbp_relation_name(part),
						"TRUNCATE would remove rows without a version", enable_again(rel));
		table_close(part, NoLock);
	}
}

/*
 * check_columns looks for columns that are not archived, or cannot be.
 */
static void
check_columns(FunctionCallInfo fcinfo, Relation rel, Oid historyid,
			  const VersioningOptions *options)
{
	TupleDesc	desc = RelationGetDescr(rel);

	for (int i = 0; i < desc->natts; i++)
	{
		Form_pg_attribute att = TupleDescAttr(desc, i);
		AttrNumber	attno;

		if (!dbp_versioning_has_history(att, options))
			continue;
		attno = get_attnum(historyid, NameStr(att->attname));
		if (attno == InvalidAttrNumber)
			dbp_finding(fcinfo, DBP_ERROR, dbp_relation_name(rel),
						psprintf("column \"%s\" is not in history %s, its old values are lost",
								 NameStr(att->attname), options->history), enable_again(rel));
		else if (getBaseType(att->atttypid) != getBaseType(get_atttype(historyid, attno)))
			dbp_finding(fcinfo, DBP_ERROR, dbp_relation_name(rel),
						psprintf("column \"%s\" has another type in history %s, changes are refused",
								 NameStr(att->attname), options->history), enable_again(rel));
	}
}

static bool
others_may_read(Oid relid)
{
	DbpParam	param = DBP_PARAM(OIDOID, ObjectIdGetDatum(relid));

	return dbp_sql_query("SELECT FROM pg_catalog.pg_class c, pg_catalog.aclexplode(c.relacl) a"
						 " WHERE c.oid OPERATOR(pg_catalog.=) $1"
						 " AND a.grantee OPERATOR(pg_catalog.<>) c.relowner"
						 " AND a.privilege_type OPERATOR(pg_catalog.=) 'SELECT'", 1, &param) > 0;
}

static void
check_history(FunctionCallInfo fcinfo, Relation rel, const VersioningOptions *options)
{
	Oid			historyid = dbp_versioning_history(options);
	Relation	history;

	if (!OidIsValid(historyid))
	{
		dbp_finding(fcinfo, DBP_ERROR, dbp_relation_name(rel),
					psprintf("history %s does not exist, changes are refused", options->history),
					psprintf("restore it, or call dbpatterns.versioning_disable for %s",
							 dbp_relation_name(rel)));
		return;
	}
	history = table_open(historyid, AccessShareLock);
	if (history->rd_rel->relowner != rel->rd_rel->relowner)
		dbp_finding(fcinfo, DBP_ERROR, dbp_relation_name(history),
					"the history belongs to another role than the table, changes are refused",
					psprintf("ALTER TABLE %s OWNER TO %s", dbp_relation_name(history),
							 quote_identifier(GetUserNameFromId(rel->rd_rel->relowner, false))));
	if (rel->rd_rel->relrowsecurity && !history->rd_rel->relrowsecurity &&
		others_may_read(historyid))
		dbp_finding(fcinfo, DBP_ERROR, dbp_relation_name(history),
					"the table has row-level security, and others may read all of its history",
					enable_again(rel));
	if (history->rd_rel->relkind == RELKIND_RELATION && !history->rd_rel->relhasindex)
		dbp_finding(fcinfo, DBP_INFO, dbp_relation_name(history),
					"the history has no index, the past of one row is found by reading all of it",
					psprintf("create an index on the key and upper(%s)",
							 quote_identifier(options->period)));
	table_close(history, NoLock);
	check_columns(fcinfo, rel, historyid, options);
}

static void
check_table(FunctionCallInfo fcinfo, Oid relid)
{
	Relation	rel = table_open(relid, AccessShareLock);
	VersioningOptions options;
	VersionedTable table;

	if (!dbp_versioning_options(rel, &options))
	{
		if (dbp_versioning_find(relid, &table) && table.baseid == relid)
			dbp_finding(fcinfo, DBP_ERROR, dbp_relation_name(rel),
						"a trigger is missing, changes make no versions", enable_again(rel));
		table_close(rel, NoLock);
		return;
	}
	check_triggers(fcinfo, rel);
	check_history(fcinfo, rel, &options);
	if (!dbp_versioning_has_functions(relid))
		dbp_finding(fcinfo, DBP_WARNING, dbp_relation_name(rel),
					"a function that reads the past of the table is missing", enable_again(rel));
	if (!dbp_versioning_find(relid, &table) || table.baseid != relid)
		dbp_finding(fcinfo, DBP_WARNING, dbp_relation_name(rel),
					"the table is not listed, its history is not followed when it is renamed",
					enable_again(rel));
	table_close(rel, NoLock);
}

/*
 * versioning_check(target regclass) returns findings about versioned tables: triggers that
 * do not fire, histories that lost touch with their table, rights that show too much.
 *
 * target: NULL for all.  Raises nothing but 42P01 for a table that is not there.  Locks
 * ACCESS SHARE on what it looks at.  Runs as the caller.
 */
Datum
dbpatterns_versioning_check(PG_FUNCTION_ARGS)
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
	dbp_enter_owner(&scope, dbp_relation_owner(dbp_own_relation("versioning")));
	rows = dbp_sql_query("SELECT c.oid FROM pg_catalog.pg_class c"
						 " WHERE c.oid IN (SELECT target::pg_catalog.oid FROM _dbpatterns.versioning"
						 "  UNION ALL SELECT t.tgrelid FROM pg_catalog.pg_trigger t"
						 "  WHERE t.tgfoid OPERATOR(pg_catalog.=) 'dbpatterns.versioning_trigger'::pg_catalog.regproc"
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
