/*-------------------------------------------------------------------------
 *
 * check.c
 *	  What stands between a table and a complete audit trail.
 *
 * Copyright (c) 2026, dbpatterns contributors
 *
 * src/audit/check.c
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "access/relation.h"
#include "access/table.h"
#include "access/xact.h"
#include "audit/audit.h"
#include "catalog/pg_class.h"
#include "catalog/pg_inherits.h"
#include "catalog/pg_trigger.h"
#include "catalog/pg_type.h"
#include "core/names.h"
#include "core/owner.h"
#include "core/registry.h"
#include "core/sql.h"
#include "core/trigger.h"
#include "funcapi.h"
#include "utils/builtins.h"
#include "utils/lsyscache.h"
#include "utils/rel.h"

PG_FUNCTION_INFO_V1(dbpatterns_audit_check);

static void
check_columns(FunctionCallInfo fcinfo, Relation rel, const char *option, List *names)
{
	ListCell   *lc;

	foreach(lc, names)
	{
		if (get_attnum(RelationGetRelid(rel), lfirst(lc)) == InvalidAttrNumber)
			dbp_finding(fcinfo, DBP_ERROR, dbp_relation_name(rel),
						psprintf("column \"%s\" of option \"%s\" does not exist, every change is refused",
								 (char *) lfirst(lc), option),
						"call dbpatterns.audit_enable again with existing columns");
	}
}

static bool
fires(Relation rel, const char *name)
{
	Trigger    *trigger = dbp_find_trigger(rel, name);

	return trigger != NULL && trigger->tgenabled != TRIGGER_DISABLED;
}

/*
 * check_below looks at partitions and inheritance children.
 */
static void
check_below(FunctionCallInfo fcinfo, Relation rel)
{
	bool		truncate = dbp_find_trigger(rel, AUDIT_TRUNCATE_TRIGGER) != NULL;
	ListCell   *lc;

	foreach(lc, find_all_inheritors(RelationGetRelid(rel), AccessShareLock, NULL))
	{
		Relation	child;
		Trigger    *row;

		if (lfirst_oid(lc) == RelationGetRelid(rel))
			continue;
		child = table_open(lfirst_oid(lc), NoLock);
		row = dbp_find_trigger(child, AUDIT_ROW_TRIGGER);
		if (row == NULL || row->tgenabled == TRIGGER_DISABLED)
			dbp_finding(fcinfo, DBP_ERROR, dbp_relation_name(child),
						"changes are not logged, although those of its parent are",
						row == NULL ?
						psprintf("call dbpatterns.audit_enable for %s again",
								 dbp_relation_name(rel)) :
						psprintf("ALTER TABLE %s ENABLE TRIGGER %s",
								 dbp_relation_name(child), AUDIT_ROW_TRIGGER));
		else if (truncate && !fires(child, AUDIT_TRUNCATE_TRIGGER))
			dbp_finding(fcinfo, DBP_WARNING, dbp_relation_name(child),
						"TRUNCATE of this partition alone is not logged",
						psprintf("call dbpatterns.audit_enable for %s again",
								 dbp_relation_name(rel)));
		table_close(child, NoLock);
	}
}

/*
 * setting_has tells whether the registry lists an option of a table with a
 * value like pattern.
 */
static bool
setting_has(Oid relid, const char *option, const char *pattern)
{
	DbpParam	params[3];
	DbpOwnerScope scope;
	bool		has;

	params[0] = DBP_PARAM(REGCLASSOID, ObjectIdGetDatum(relid));
	params[1] = DBP_PARAM(TEXTOID, CStringGetTextDatum(option));
	params[2] = DBP_PARAM(TEXTOID, CStringGetTextDatum(pattern));
	dbp_enter_owner(&scope, dbp_audit_log_owner());
	has = dbp_sql_query("SELECT FROM _dbpatterns.registry WHERE target = $1 AND pattern = 'audit'"
						" AND options->>$2 LIKE $3", 3, params) > 0;
	dbp_leave_owner(&scope);
	return has;
}

/*
 * parse_options reads a trigger's argument, which a user may have written; a
 * bad one is a finding.
 */
static bool
parse_options(FunctionCallInfo fcinfo, Relation rel, Trigger *row, AuditOptions *options)
{
	char	   *why;

	if (dbp_audit_try_options(row, options, &why))
		return true;
	dbp_finding(fcinfo, DBP_ERROR, dbp_relation_name(rel),
				psprintf("trigger \"%s\": %s, every change is refused", row->tgname, why),
				"drop the trigger, then call dbpatterns.audit_enable");
	return false;
}

static void
check_table(FunctionCallInfo fcinfo, Oid relid)
{
	Relation	rel = try_relation_open(relid, AccessShareLock);
	Trigger    *row;
	AuditOptions options;

	if (rel == NULL)
		return;
	row = dbp_find_trigger(rel, AUDIT_ROW_TRIGGER);
	if (row == NULL)
		row = dbp_audit_own_trigger(rel, TRIGGER_TYPE_ROW);
	if (row != NULL && !dbp_audit_is_trigger(row))
		dbp_finding(fcinfo, DBP_ERROR, dbp_relation_name(rel),
					"the row trigger is not the one audit_enable created, changes may not be logged",
					"call dbpatterns.audit_enable again");
	else if (row == NULL)
		dbp_finding(fcinfo, DBP_ERROR, dbp_relation_name(rel),
					"the row trigger is missing, changes are not logged",
					"call dbpatterns.audit_enable again, or dbpatterns.audit_disable");
	else if (parse_options(fcinfo, rel, row, &options))
	{
		if (row->tgenabled == TRIGGER_DISABLED)
			dbp_finding(fcinfo, DBP_ERROR, dbp_relation_name(rel),
						"the row trigger is disabled, changes are not logged",
						psprintf("ALTER TABLE %s ENABLE TRIGGER %s",
								 dbp_relation_name(rel), quote_identifier(row->tgname)));
		if (setting_has(relid, "operations", "%T%") && !fires(rel, AUDIT_TRUNCATE_TRIGGER))
			dbp_finding(fcinfo, DBP_ERROR, dbp_relation_name(rel),
						"the truncate trigger is missing or disabled, TRUNCATE is not logged",
						"call dbpatterns.audit_enable again");
		if (row->tgenabled == TRIGGER_FIRES_ON_ORIGIN && setting_has(relid, "fire", "always"))
			dbp_finding(fcinfo, DBP_ERROR, dbp_relation_name(rel),
						"replicated changes are not logged, although option fire is 'always'",
						"call dbpatterns.audit_enable again");
		if (row->tgenabled == TRIGGER_FIRES_ON_REPLICA)
			dbp_finding(fcinfo, DBP_WARNING, dbp_relation_name(rel),
						"the row trigger fires for replicated changes only",
						"call dbpatterns.audit_enable again");
		check_columns(fcinfo, rel, "exclude", options.exclude);
		check_columns(fcinfo, rel, "redact", options.redact);
		check_columns(fcinfo, rel, "key", options.key);
		if (dbp_audit_key_columns(rel, &options) == NIL)
			dbp_finding(fcinfo, DBP_INFO, dbp_relation_name(rel),
						"there is no key, so the history of one row cannot be read",
						"add a primary key, or name columns in argument \"key\" of dbpatterns.audit_enable");
		check_below(fcinfo, rel);
	}
	relation_close(rel, AccessShareLock);
}

static bool
has_partition_for_now(void)
{
	TimestampTz now = GetCurrentTransactionStartTimestamp();
	ListCell   *lc;

	foreach(lc, dbp_audit_log_partitions())
	{
		AuditPartition *part = lfirst(lc);

		if (!part->is_default && part->from <= now && now < part->upto)
			return true;
	}
	return false;
}

/*
 * check_partitions looks for entries that wait in the default partition; as
 * long as there is no other for today, all do.
 */
static void
check_partitions(FunctionCallInfo fcinfo)
{
	if (!has_partition_for_now())
		dbp_finding(fcinfo, DBP_WARNING, "_dbpatterns.audit_log",
					"there is no partition for new entries, they wait in the default one, where a purge is slow",
					"CALL dbpatterns.audit_run(), and have it called daily");
	else if (dbp_sql_query("SELECT FROM _dbpatterns.audit_log_default LIMIT 1", 0, NULL) > 0)
		dbp_finding(fcinfo, DBP_WARNING, "_dbpatterns.audit_log_default",
					"log entries wait in the default partition, where a purge is slow",
					"CALL dbpatterns.audit_run()");
}

/*
 * check_log looks at what all audited tables share.
 */
static void
check_log(FunctionCallInfo fcinfo)
{
	DbpOwnerScope scope;
	uint64		rows;

	dbp_enter_owner(&scope, dbp_audit_log_owner());
	check_partitions(fcinfo);
	rows = dbp_sql_query("SELECT n.name, CASE WHEN e.oid IS NULL THEN"
						 "  'create it again, as the install script does'"
						 "  ELSE format('ALTER EVENT TRIGGER %I ENABLE', n.name) END"
						 " FROM (VALUES ('dbpatterns_ddl_command_end'), ('dbpatterns_sql_drop')) n (name)"
						 " LEFT JOIN pg_event_trigger e ON e.evtname = n.name"
						 " WHERE e.oid IS NULL OR e.evtenabled = 'D'", 0, NULL);
	for (uint64 i = 0; i < rows; i++)
		dbp_finding(fcinfo, DBP_WARNING, dbp_sql_text(i, 0),
					"the event trigger is missing or disabled, schema changes leave no marker in the log",
					dbp_sql_text(i, 1));
	dbp_leave_owner(&scope);
}

/*
 * audit_check(target regclass) returns what is wrong with the audit trail of
 * a table, or of all tables and of the log itself when target is NULL: one
 * row per finding with severity (error: changes are lost or refused; warning:
 * will become a problem; info), object, problem and remedy.
 *
 * Raises nothing.  Locks ACCESS SHARE on the tables it looks at.  Reads the
 * registry as the owner of the log.
 */
Datum
dbpatterns_audit_check(PG_FUNCTION_ARGS)
{
	DbpOwnerScope scope;
	List	   *targets = NIL;
	ListCell   *lc;

	InitMaterializedSRF(fcinfo, 0);
	SPI_connect();
	if (!PG_ARGISNULL(0))
		targets = list_make1_oid(PG_GETARG_OID(0));
	else
	{
		uint64		rows;

		dbp_enter_owner(&scope, dbp_audit_log_owner());
		rows = dbp_sql_query("SELECT target FROM _dbpatterns.registry"
							 " WHERE pattern = 'audit' ORDER BY target", 0, NULL);
		for (uint64 i = 0; i < rows; i++)
			targets = lappend_oid(targets, DatumGetObjectId(dbp_sql_value(i, 0, NULL)));
		dbp_leave_owner(&scope);
		check_log(fcinfo);
	}
	foreach(lc, targets)
		check_table(fcinfo, lfirst_oid(lc));
	SPI_finish();
	PG_RETURN_NULL();
}
