/*-------------------------------------------------------------------------
 *
 * enable.c
 *	  Switching the audit trail of a table on and off.
 *
 * What is asked for is checked here and becomes triggers in triggers.c, an
 * entry of the registry, and a marker in the log.
 *
 * Copyright (c) 2026, dbpatterns contributors
 *
 * src/audit/enable.c
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "access/table.h"
#include "audit/audit.h"
#include "catalog/pg_class.h"
#include "catalog/pg_trigger.h"
#include "core/names.h"
#include "core/owner.h"
#include "core/registry.h"
#include "core/sql.h"
#include "core/target.h"
#include "core/trigger.h"
#include "core/version.h"
#include "utils/builtins.h"
#include "utils/lsyscache.h"
#include "utils/rel.h"

PG_FUNCTION_INFO_V1(dbpatterns_audit_enable);
PG_FUNCTION_INFO_V1(dbpatterns_audit_disable);

/* What audit_enable was asked for. */
typedef struct Request
{
	AuditOptions options;
	char	   *argument;		/* of the triggers: options in JSON */
	char	   *summary;		/* for the registry: options and the rest */
	int16		events;			/* TRIGGER_TYPE_INSERT | ... */
	bool		always;			/* fire on replicas, too */
} Request;

static int16
parse_operations(const char *operations)
{
	int16		events = 0;

	for (const char *c = operations; *c != '\0'; c++)
	{
		int16		event = *c == AUDIT_INSERT ? TRIGGER_TYPE_INSERT :
			*c == AUDIT_UPDATE ? TRIGGER_TYPE_UPDATE :
			*c == AUDIT_DELETE ? TRIGGER_TYPE_DELETE :
			*c == AUDIT_TRUNCATE ? TRIGGER_TYPE_TRUNCATE : 0;

		if (event == 0 || (events & event) != 0)
		{
			events = 0;
			break;
		}
		events |= event;
	}
	if ((events & AUDIT_ROW_EVENTS) == 0)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("invalid value of argument \"operations\": \"%s\"", operations),
				 errhint("Give some of the letters I, U, D and T, each once, with at least one of I, U, D.")));
	return events;
}

static ArrayType *
array_argument(FunctionCallInfo fcinfo, int argno)
{
	return PG_ARGISNULL(argno) ? NULL : PG_GETARG_ARRAYTYPE_P(argno);
}

static char *
operation_letters(int16 events)
{
	return psprintf("%s%s%s%s",
					events & TRIGGER_TYPE_INSERT ? "I" : "",
					events & TRIGGER_TYPE_UPDATE ? "U" : "",
					events & TRIGGER_TYPE_DELETE ? "D" : "",
					events & TRIGGER_TYPE_TRUNCATE ? "T" : "");
}

/*
 * summarize makes of a trigger's argument what the registry and the log say
 * about the settings.
 */
static char *
summarize(const char *argument, const char *operations, bool always)
{
	return psprintf("%.*s%s\"operations\": \"%s\", \"fire\": \"%s\"}",
					(int) strlen(argument) - 1, argument,
					strlen(argument) > 2 ? ", " : "", operations,
					always ? "always" : "origin");
}

static void
read_request(FunctionCallInfo fcinfo, Request *request)
{
	memset(request, 0, sizeof(*request));
	request->options.exclude = dbp_column_list(array_argument(fcinfo, 1), "exclude");
	request->options.redact = dbp_column_list(array_argument(fcinfo, 2), "redact");
	request->options.full = dbp_choose_argument(fcinfo, 3, "capture", "diff", "full");
	request->events = parse_operations(PG_ARGISNULL(4) ? "" :
									   text_to_cstring(PG_GETARG_TEXT_PP(4)));
	request->options.key = dbp_column_list(array_argument(fcinfo, 5), "key");
	request->options.truncate_rows = !PG_ARGISNULL(6) && PG_GETARG_BOOL(6);
	request->always = dbp_choose_argument(fcinfo, 7, "fire", "origin", "always");

	request->argument = dbp_audit_print_options(&request->options);
	request->summary = summarize(request->argument, operation_letters(request->events),
								 request->always);
}

/*
 * require_auditable raises unless rel is a table whose changes can be logged.
 */
static void
require_auditable(Relation rel)
{
	DbpTargetHints hints = {
		.foreign_table = "Audit the table on the server that holds it.",
		.no_table = "Changes through a view are logged on the tables below it.",
		.ours = "The log cannot log itself.",
		.temporary = "Enable auditing in the session that created it."
	};

	if (rel->rd_rel->relispartition)
	{
		Oid			rootid = dbp_partition_root(RelationGetRelid(rel));

		hints.partition = psprintf("Audit the partitioned table %s; its partitions are then audited with it.",
								   dbp_relation_name_by_oid(rootid));
	}
	dbp_require_target_or_hint(rel, "audited", &hints);
}

/*
 * check_table raises unless the table can be audited as requested, and adapts
 * the request to it: on a partitioned table an update that moves a row fires
 * as delete and insert, so the trigger must get all three and choose itself.
 */
static void
check_table(Relation rel, Request *request)
{
	int			natts = RelationGetDescr(rel)->natts;

	require_auditable(rel);
	dbp_require_owner(RelationGetRelid(rel));
	dbp_audit_resolve_options(&request->options, rel, palloc0(natts), palloc0(natts));

	if (rel->rd_rel->relkind == RELKIND_PARTITIONED_TABLE &&
		(request->events & AUDIT_ROW_EVENTS) != AUDIT_ROW_EVENTS)
	{
		request->options.operations = operation_letters(request->events);
		request->argument = dbp_audit_print_options(&request->options);
		if (request->events & TRIGGER_TYPE_UPDATE)
			request->events |= AUDIT_ROW_EVENTS;
	}
}

/*
 * enable_table makes one table (with its partitions) audited as requested,
 * and tells whether that changed anything.
 */
static bool
enable_table(Oid relid, Request request)
{
	Relation	rel = table_open(relid, ShareRowExclusiveLock);
	bool		changed;
	int			relation;
	int			shape;

	check_table(rel, &request);
	table_close(rel, NoLock);

	changed = dbp_audit_set_trigger(relid, AUDIT_ROW_TRIGGER,
									(request.events & AUDIT_ROW_EVENTS) | TRIGGER_TYPE_ROW,
									request.argument, request.always);
	changed |= dbp_audit_set_truncate_trigger(relid, request.events, request.argument,
											  request.always);
	changed |= dbp_audit_cover_partitions(relid);

	if (changed)
	{
		rel = table_open(relid, NoLock);
		shape = dbp_audit_relation_shape(rel, dbp_audit_key_columns(rel, &request.options),
										 &relation);
		dbp_audit_log_coverage(rel, shape, "enabled", request.summary);
		table_close(rel, NoLock);
		dbp_registry_set(relid, "audit", request.summary);
	}
	return changed;
}

/*
 * audit_enable(target regclass, exclude name[], redact name[], capture text,
 * operations text, key name[], truncate_rows boolean, fire text): from now
 * on every change of target is logged.
 *
 * exclude: columns left out of the log; a change of nothing else makes no
 * entry.  redact: columns whose values never reach the log, though a change
 * of them does.  capture: 'diff' (changed columns of an update) or 'full'
 * (both whole rows).  operations: letters I, U, D, T.  key: columns that tell
 * rows apart; NULL takes the primary key, and a table without one is logged
 * without.  truncate_rows: log the rows that a TRUNCATE removes.  fire:
 * 'origin', or 'always' to log what logical replication applies.
 * Partitions, those added later too, are covered with their root;
 * inheritance children become audited tables of their own.
 *
 * Raises 22004 (target is NULL), 42P01 (there is no such table), 55000
 * (library and SQL versions differ), 22004 or 42701 (bad column list), 22023
 * (bad value), 42501 (not the owner), 42809 (not an ordinary or partitioned
 * table, or a partition), 0A000 (temporary table of another session), 42703
 * (no such column), 22023 (key column excluded or redacted).  Locks SHARE ROW
 * EXCLUSIVE on target and everything below it.  Runs as the caller.
 * An identical second call changes nothing and says so; another one replaces
 * the settings.
 */
Datum
dbpatterns_audit_enable(PG_FUNCTION_ARGS)
{
	Oid			relid;
	Request		request;
	bool		changed;
	List	   *tree;
	ListCell   *lc;

	dbp_require_argument(fcinfo, 0, "target", "Name the table to audit.");
	relid = PG_GETARG_OID(0);
	(void) dbp_relation_name_by_oid(relid); /* raises if there is none */
	dbp_check_version();
	read_request(fcinfo, &request);

	SPI_connect();
	tree = dbp_lock_tree(relid, ShareRowExclusiveLock);
	changed = enable_table(relid, request);
	foreach(lc, tree)
	{
		if (lfirst_oid(lc) != relid && !get_rel_relispartition(lfirst_oid(lc)))
			changed |= enable_table(lfirst_oid(lc), request);
	}
	if (!changed)
		ereport(NOTICE,
				(errmsg("table %s is already audited with these settings",
						dbp_relation_name_by_oid(relid))));

	SPI_finish();
	PG_RETURN_VOID();
}

/*
 * disable_table takes one table of the tree off the trail, and tells whether
 * it was on it.
 */
static bool
disable_table(Oid relid)
{
	Relation	rel = table_open(relid, NoLock);
	Oid			owner = rel->rd_rel->relowner;
	Trigger    *row = dbp_find_trigger(rel, AUDIT_ROW_TRIGGER);
	int			shape = 0;
	DbpOwnerScope scope;
	bool		this_life;
	bool		any;

	if (!rel->rd_rel->relispartition)
		dbp_require_owner(relid);
	if (row != NULL && !row->tgisclone)
		shape = dbp_audit_last_shape(rel, &this_life);
	table_close(rel, NoLock);

	/* A partition may have an owner of its own; what covers it is ours. */
	dbp_enter_owner(&scope, owner);
	any = dbp_audit_set_trigger(relid, AUDIT_ROW_TRIGGER, 0, NULL, false);
	any |= dbp_audit_set_trigger(relid, AUDIT_TRUNCATE_TRIGGER, 0, NULL, false);
	dbp_leave_owner(&scope);
	if (shape != 0)
	{
		rel = table_open(relid, NoLock);
		dbp_audit_log_coverage(rel, shape, "disabled", NULL);
		table_close(rel, NoLock);
	}
	return dbp_registry_remove(relid, "audit") || any;
}

/*
 * audit_disable(target regclass) stops logging changes of target, of its
 * partitions and inheritance children.  Its log entries stay, and a marker
 * says who stopped it when.
 *
 * Raises 22004 (target is NULL), 42P01 (there is no such table), 55000 (library
 * and SQL versions differ), 42809 (a partition), 42501 (not the owner).  Locks
 * ACCESS EXCLUSIVE on target and everything below it, as DROP TRIGGER does.
 * Runs as the caller.  On a table that is not audited it changes nothing and
 * says so.
 */
Datum
dbpatterns_audit_disable(PG_FUNCTION_ARGS)
{
	Oid			relid;
	bool		any = false;
	ListCell   *lc;

	dbp_require_argument(fcinfo, 0, "target", "Name an audited table.");
	relid = PG_GETARG_OID(0);
	(void) dbp_relation_name_by_oid(relid); /* raises if there is none */
	dbp_check_version();
	if (get_rel_relispartition(relid))
		ereport(ERROR,
				(errcode(ERRCODE_WRONG_OBJECT_TYPE),
				 errmsg("%s is a partition", dbp_relation_name_by_oid(relid)),
				 errhint("Disable auditing of the partitioned table it belongs to.")));
	SPI_connect();
	foreach(lc, dbp_lock_tree(relid, AccessExclusiveLock))
		any |= disable_table(lfirst_oid(lc));
	if (!any)
		ereport(NOTICE,
				(errmsg("table %s is not audited", dbp_relation_name_by_oid(relid))));
	SPI_finish();
	PG_RETURN_VOID();
}

/*
 * dbp_audit_replace_options gives an audited table's triggers another argument,
 * after a column named in it was renamed.
 */
void
dbp_audit_replace_options(Oid relid, const AuditOptions *options)
{
	AuditOptions listed = *options;
	int16		events;
	char	   *argument;
	bool		always;

	if (!dbp_audit_trigger_settings(relid, &events, &argument, &always))
		return;
	argument = dbp_audit_print_options(options);
	listed.operations = NULL;
	dbp_registry_set(relid, "audit",
					 summarize(dbp_audit_print_options(&listed),
							   options->operations ? options->operations :
							   operation_letters(events),
							   always));
	(void) dbp_audit_set_trigger(relid, AUDIT_ROW_TRIGGER,
								 (events & AUDIT_ROW_EVENTS) | TRIGGER_TYPE_ROW,
								 argument, always);
	(void) dbp_audit_set_truncate_trigger(relid, events, argument, always);
	dbp_audit_cover_partitions(relid);
}
