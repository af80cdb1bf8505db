/*-------------------------------------------------------------------------
 *
 * ddl.c
 *	  Audited tables that are altered or dropped.
 *
 * After an ALTER the new layout is recorded, columns that were renamed are
 * renamed in the triggers' argument, new partitions get their truncate
 * trigger, and the log gets a marker, so that a gap in a table's history has
 * a reason one can read.  All of it is convenience: the row trigger notices a
 * new layout by itself, and refuses to log when a redacted column is gone.
 *
 * Copyright (c) 2026, dbpatterns contributors
 *
 * src/audit/ddl.c
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "access/relation.h"
#include "access/table.h"
#include "audit/audit.h"
#include "catalog/namespace.h"
#include "catalog/pg_class.h"
#include "catalog/pg_inherits.h"
#include "catalog/pg_trigger.h"
#include "catalog/pg_type.h"
#include "core/ddl.h"
#include "core/names.h"
#include "core/owner.h"
#include "core/registry.h"
#include "core/sql.h"
#include "core/trigger.h"
#include "utils/builtins.h"
#include "utils/fmgrprotos.h"
#include "utils/json.h"
#include "utils/lsyscache.h"
#include "utils/rel.h"

/* True while audit_disable drops triggers itself. */
bool		dbp_audit_ddl_silent = false;

/*
 * dbp_audit_log_marker logs an event that is no row change; detail is a JSON
 * object in text or NULL.
 */
void
dbp_audit_log_marker(int shape, const char *event, const char *detail)
{
	StringInfoData text;
	AuditEntry *entry;
	Datum		image;

	initStringInfo(&text);
	appendStringInfo(&text, "{\"event\": \"%s\"", event);
	if (detail != NULL)
		appendStringInfo(&text, ", \"detail\": %s", detail);
	appendStringInfoChar(&text, '}');
	image = DirectFunctionCall1(jsonb_in, CStringGetDatum(text.data));

	entry = dbp_audit_batch_add(AUDIT_MARKER, shape, GetCurrentCommandId(false));
	dbp_audit_batch_image(&entry->new, DatumGetJsonbP(image));
	dbp_audit_batch_flush();
}

/*
 * renamed_column returns the present name of a column that the last recorded
 * shape of a table knows as name, or NULL.
 */
static char *
renamed_column(Relation rel, const char *name)
{
	DbpOwnerScope scope;
	DbpParam	params[2];
	char	   *result = NULL;

	params[0] = DBP_PARAM(INT8OID, Int64GetDatum((int64) RelationGetRelid(rel)));
	params[1] = DBP_PARAM(TEXTOID, CStringGetTextDatum(name));
	dbp_enter_owner(&scope, dbp_audit_log_owner());
	if (dbp_sql_query_latest("SELECT a.attname FROM (SELECT attnums[array_position(columns, $2::name)] AS attnum"
							 " FROM _dbpatterns.audit_shape WHERE table_oid = $1"
							 " ORDER BY shape DESC LIMIT 1) s"
							 " JOIN pg_attribute a ON a.attrelid = $1::oid AND a.attnum = s.attnum"
							 " AND NOT a.attisdropped", 2, params) > 0)
		result = dbp_sql_text(0, 0);
	dbp_leave_owner(&scope);
	return result;
}

static bool
column_exists(Relation rel, const char *name)
{
	return get_attnum(RelationGetRelid(rel), name) != InvalidAttrNumber;
}

/*
 * follow_renames replaces names in a list of columns, and tells whether one
 * had changed.  A column that is gone keeps its name: the trigger will refuse.
 */
static bool
follow_renames(Relation rel, List *names)
{
	bool		changed = false;
	ListCell   *lc;

	foreach(lc, names)
	{
		char	   *name;

		if (column_exists(rel, lfirst(lc)))
			continue;
		name = renamed_column(rel, lfirst(lc));
		if (name != NULL)
		{
			lfirst(lc) = name;
			changed = true;
		}
	}
	return changed;
}

static bool
all_exist(Relation rel, List *names)
{
	ListCell   *lc;

	foreach(lc, names)
	{
		if (!column_exists(rel, lfirst(lc)))
			return false;
	}
	return true;
}

static int
last_shape(Relation rel)
{
	DbpParam	param = DBP_PARAM(INT8OID, Int64GetDatum((int64) RelationGetRelid(rel)));
	DbpOwnerScope scope;
	int			shape = 0;

	dbp_enter_owner(&scope, dbp_audit_log_owner());
	if (dbp_sql_query_latest("SELECT shape FROM _dbpatterns.audit_shape WHERE table_oid = $1"
							 " ORDER BY shape DESC LIMIT 1", 1, &param) > 0)
		shape = DatumGetInt32(dbp_sql_value(0, 0, NULL));
	dbp_leave_owner(&scope);
	return shape;
}

static char *
json_detail(const char *name, const char *value)
{
	StringInfoData text;

	initStringInfo(&text);
	appendStringInfo(&text, "{\"%s\": ", name);
	escape_json(&text, value);
	appendStringInfoChar(&text, '}');
	return text.data;
}

static bool
has_own_trigger(Oid relid, const char *name)
{
	Relation	rel = relation_open(relid, AccessShareLock);
	Trigger    *trigger = dbp_find_trigger(rel, name);
	bool		own = trigger != NULL && dbp_audit_is_trigger(trigger);

	relation_close(rel, NoLock);
	return own;
}

/*
 * release_detached looks at what were partitions of an audited table until
 * now: they have lost their row trigger to the server, and lose the other one
 * here.
 */
static void
release_detached(int shape, List *detached)
{
	ListCell   *lc;

	foreach(lc, detached)
	{
		Oid			relid = lfirst_oid(lc);
		char	   *table = dbp_relation_name_by_oid(relid);
		DbpOwnerScope scope;

		if (has_own_trigger(relid, AUDIT_TRUNCATE_TRIGGER))
		{
			dbp_enter_owner(&scope, dbp_relation_owner(relid));
			dbp_sql_command("DROP TRIGGER %s ON %s", AUDIT_TRUNCATE_TRIGGER, table);
			dbp_leave_owner(&scope);
		}
		dbp_audit_log_marker(shape, "partition detached", json_detail("table", table));
	}
}

/*
 * follow_alter brings the options of an audited table up to date and returns
 * its new shape, 0 if there is none; *before is the one it had.
 *
 * What is new in the database, as when a dump is restored, has no shape yet:
 * there is nothing to tell until its first change.
 */
static int
follow_alter(Relation rel, AuditOptions *options, bool *renamed, int *before)
{
	int			relation;

	*renamed = follow_renames(rel, options->exclude);
	*renamed |= follow_renames(rel, options->redact);
	*renamed |= follow_renames(rel, options->key);
	*before = last_shape(rel);
	if (*before == 0 || !all_exist(rel, options->key))
		return 0;
	return dbp_audit_relation_shape(rel, dbp_audit_key_columns(rel, options), &relation);
}

/*
 * was_disabled tells whether the last marker on a trigger of the table that
 * has a shape, given by the marker's detail, says that it is disabled.
 */
static bool
was_disabled(int shape, const char *detail)
{
	DbpParam	params[2];
	DbpOwnerScope scope;
	bool		disabled;

	params[0] = DBP_PARAM(INT4OID, Int32GetDatum(shape));
	params[1] = DBP_PARAM(TEXTOID, CStringGetTextDatum(detail));
	dbp_enter_owner(&scope, dbp_audit_log_owner());
	disabled = dbp_sql_query_latest("SELECT event FROM (SELECT e.new ->> 'event' AS event"
									"  FROM _dbpatterns.audit_log e"
									"  WHERE e.row_key IN (SELECT -n.shape::bigint"
									"   FROM _dbpatterns.audit_shape s JOIN _dbpatterns.audit_shape n USING (relation)"
									"   WHERE s.shape = $1)"
									"  AND e.op = 'M' AND (e.new ->> 'event' = 'enabled'"
									"   OR e.new -> 'detail' = $2::jsonb)"
									"  ORDER BY e.id DESC LIMIT 1) m"
									" WHERE event = 'trigger disabled'", 2, params) > 0;
	dbp_leave_owner(&scope);
	return disabled;
}

/*
 * log_trigger_state logs a marker when a trigger is disabled, and when it no
 * longer is.
 */
static void
log_trigger_state(int shape, bool disabled, const char *detail)
{
	if (disabled)
		dbp_audit_log_marker(shape, "trigger disabled", detail);
	else if (was_disabled(shape, detail))
		dbp_audit_log_marker(shape, "trigger enabled", detail);
}

/*
 * after_replaced looks at, and closes, a table without a row trigger of ours
 * by our name: it may have been renamed, or replaced by another.
 */
static void
after_replaced(Relation rel)
{
	Trigger    *row = dbp_audit_own_trigger(rel, TRIGGER_TYPE_ROW);
	bool		disabled = (row == NULL || !dbp_audit_fires(row));
	int			shape = 0;

	if (dbp_registry_has(RelationGetRelid(rel), "audit"))
		shape = last_shape(rel);
	table_close(rel, NoLock);
	if (shape != 0)
		log_trigger_state(shape, disabled, json_detail("trigger", AUDIT_ROW_TRIGGER));
}

/*
 * after_alter looks at an audited table that is no partition.
 */
static void
after_alter(Oid relid, const char *command, List *detached)
{
	Relation	rel = table_open(relid, NoLock);
	Trigger    *row = dbp_find_trigger(rel, AUDIT_ROW_TRIGGER);
	AuditOptions options;
	Trigger    *truncate;
	bool		row_disabled;
	bool		truncate_disabled;
	bool		renamed = false;
	int			before;
	int			shape;
	char	   *why;

	if (row == NULL || !dbp_audit_is_trigger(row))
	{
		after_replaced(rel);
		return;
	}
	truncate = dbp_find_trigger(rel, AUDIT_TRUNCATE_TRIGGER);
	row_disabled = !dbp_audit_fires(row);
	truncate_disabled = (truncate != NULL &&
						 (!dbp_audit_fires(truncate) || !dbp_audit_is_trigger(truncate)));
	if (dbp_audit_try_options(row, &options, &why))
		shape = follow_alter(rel, &options, &renamed, &before);
	else
		shape = before = last_shape(rel);	/* it refuses every change */
	table_close(rel, NoLock);

	if (renamed)
		dbp_audit_replace_options(relid, &options);

	/* A restore brings the partitions' triggers itself. */
	if (before != 0)
		dbp_audit_cover_partitions(relid);
	if (shape == 0)
		return;
	if (shape != before)
		dbp_audit_log_marker(shape, "altered", json_detail("command", command));
	if (get_rel_relkind(relid) == RELKIND_PARTITIONED_TABLE)
		release_detached(shape, detached);
	log_trigger_state(shape, row_disabled, json_detail("trigger", AUDIT_ROW_TRIGGER));
	log_trigger_state(shape, truncate_disabled, json_detail("trigger", AUDIT_TRUNCATE_TRIGGER));
}

/*
 * after_alter_partition looks at a partition.
 */
static void
after_alter_partition(Oid relid)
{
	Relation	rel = table_open(relid, NoLock);
	Oid			rootid = dbp_audit_root(rel);
	Relation	root = table_open(rootid, AccessShareLock);
	Trigger    *row = dbp_find_trigger(rel, AUDIT_ROW_TRIGGER);
	bool		disabled = (row != NULL && !dbp_audit_fires(row));
	int			shape = row != NULL ? last_shape(root) : 0;

	table_close(root, NoLock);
	table_close(rel, NoLock);

	if (shape == 0)
		return;					/* as in after_alter */
	log_trigger_state(shape, disabled,
					  json_detail("partition", dbp_relation_name_by_oid(relid)));
	(void) dbp_audit_cover_partition(relid, rootid);
}

/*
 * after_alter_table looks at a table and at those that inherit from it, in
 * which a column is renamed, too.
 */
static void
after_alter_table(Oid relid, const char *command, List *detached)
{
	ListCell   *lc;

	if (get_rel_relispartition(relid))
		after_alter_partition(relid);
	else if (get_rel_relkind(relid) == RELKIND_PARTITIONED_TABLE)
		after_alter(relid, command, detached);
	else
	{
		foreach(lc, find_all_inheritors(relid, AccessShareLock, NULL))
		{
			if (get_rel_relkind(lfirst_oid(lc)) == RELKIND_RELATION)
				after_alter(lfirst_oid(lc), command, detached);
		}
	}
}

static void
after_ddl(const char *command, List *relids, List *detached)
{
	Oid			own_nsp = get_namespace_oid("_dbpatterns", true);
	ListCell   *lc;

	if (dbp_audit_ddl_silent && strcmp(command, "CREATE TRIGGER") == 0)
		return;
	SPI_connect();
	foreach(lc, relids)
	{
		Oid			relid = lfirst_oid(lc);
		Relation	rel = try_relation_open(relid, AccessShareLock);
		bool		concerned;

		if (rel == NULL)
			continue;
		concerned = (rel->rd_rel->relkind == RELKIND_RELATION ||
					 rel->rd_rel->relkind == RELKIND_PARTITIONED_TABLE) &&
			RelationGetNamespace(rel) != own_nsp;
		relation_close(rel, NoLock);
		if (concerned)
			after_alter_table(relid, command, detached);
	}
	SPI_finish();
}

/*
 * log_dropped_table logs a marker and frees the identity of a dropped table;
 * false if it was never audited.
 */
static bool
log_dropped_table(DbpDropped *object)
{
	DbpParam	param = DBP_PARAM(REGCLASSOID, ObjectIdGetDatum(object->objid));
	DbpOwnerScope scope;
	int			shape = 0;

	dbp_enter_owner(&scope, dbp_audit_log_owner());
	if (dbp_sql_query_latest("UPDATE _dbpatterns.audit_relation r SET target = NULL"
							 " WHERE r.target = $1"
							 " RETURNING (SELECT max(s.shape) FROM _dbpatterns.audit_shape s"
							 " WHERE s.relation = r.relation)", 1, &param) > 0)
	{
		bool		isnull;
		Datum		value = dbp_sql_value(0, 0, &isnull);

		shape = isnull ? 0 : DatumGetInt32(value);
	}
	dbp_leave_owner(&scope);
	if (shape != 0)
		dbp_audit_log_marker(shape, "dropped", json_detail("table", object->identity));
	return shape != 0;
}

/*
 * log_dropped_trigger logs a marker when somebody drops a trigger of ours from
 * a table that lives on.  A dropped partition is known by its trigger only.
 */
static void
log_dropped_trigger(DbpDropped *object, bool with_table)
{
	static const char row_prefix[] = AUDIT_ROW_TRIGGER " on ";
	static const char truncate_prefix[] = AUDIT_TRUNCATE_TRIGGER " on ";
	bool		row = strncmp(object->identity, row_prefix, strlen(row_prefix)) == 0;
	const char *table = object->identity + strlen(row_prefix);
	DbpParam	param;
	DbpOwnerScope scope;
	Relation	rel = NULL;

	if (!row && strncmp(object->identity, truncate_prefix, strlen(truncate_prefix)) != 0)
		return;
	param = DBP_PARAM(TEXTOID, CStringGetTextDatum(table));
	dbp_enter_owner(&scope, dbp_audit_log_owner());
	if (dbp_sql_query_latest("SELECT c.oid FROM pg_class c WHERE c.oid = to_regclass($1)",
							 1, &param) > 0)
		rel = try_relation_open(DatumGetObjectId(dbp_sql_value(0, 0, NULL)), AccessShareLock);
	dbp_leave_owner(&scope);

	if (rel != NULL)
	{
		int			shape = last_shape(rel);

		if (shape != 0)
			dbp_audit_log_marker(shape, "trigger dropped",
								 json_detail("trigger",
											 row ? AUDIT_ROW_TRIGGER : AUDIT_TRUNCATE_TRIGGER));
		relation_close(rel, NoLock);
	}
	else if (row && !with_table)
		dbp_audit_log_marker(0, "partition dropped", json_detail("table", table));
}

static void
after_drop(List *dropped)
{
	bool		any_table = false;
	ListCell   *lc;

	if (dbp_audit_ddl_silent)
		return;
	SPI_connect();
	foreach(lc, dropped)
	{
		DbpDropped *object = lfirst(lc);

		if (object->classid == RelationRelationId)
			any_table |= log_dropped_table(object);
	}
	foreach(lc, dropped)
	{
		DbpDropped *object = lfirst(lc);

		if (object->classid == TriggerRelationId)
			log_dropped_trigger(object, any_table);
	}
	SPI_finish();
}

/*
 * dbp_audit_ddl_init registers for altered and dropped tables.
 */
void
dbp_audit_ddl_init(void)
{
	dbp_ddl_register(after_ddl, after_drop);
}
