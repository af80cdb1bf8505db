/*-------------------------------------------------------------------------
 *
 * ddl.c
 *	  Audited tables that are altered or dropped.
 *
 * After an ALTER the new layout is recorded, columns that were renamed are
 * renamed in the triggers' argument, new partitions get their truncate
 * trigger, and the log gets markers: past states are refused where they say
 * that not everything was logged (see gaps.c).  The row trigger needs none of
 * it: it notices a new layout by itself, and refuses to log when a redacted
 * column is gone.
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
#include "core/parts.h"
#include "core/registry.h"
#include "core/sql.h"
#include "core/target.h"
#include "core/trigger.h"
#include "storage/lmgr.h"
#include "utils/builtins.h"
#include "utils/fmgrprotos.h"
#include "utils/json.h"
#include "utils/lsyscache.h"
#include "utils/rel.h"

/* True while triggers of ours are made or dropped by ourselves. */
bool		dbp_audit_ddl_silent = false;

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

/*
 * last_shape returns the last shape of a table in this database, 0 if there
 * is none.
 */
static int
last_shape(Relation rel)
{
	bool		this_life;
	int			shape = dbp_audit_last_shape(rel, &this_life);

	return this_life ? shape : 0;
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
 * log_moved_rows logs that rows came or left with a partition.
 */
static void
log_moved_rows(Oid rootid, const char *event, const char *table)
{
	Relation	root = table_open(rootid, AccessShareLock);
	bool		this_life;
	int			shape = dbp_audit_last_shape(root, &this_life);

	table_close(root, NoLock);
	if (shape != 0)
		dbp_audit_log_marker(shape, event, json_detail("table", table));
}

/*
 * release_detached looks at a table that was a partition until now: it has
 * lost its row trigger to the server, and loses the truncate trigger here.
 */
static void
release_detached(Oid relid, Oid rootid)
{
	char	   *table = dbp_relation_name_by_oid(relid);
	DbpOwnerScope scope;

	log_moved_rows(rootid, "partition detached", table);
	if (has_own_trigger(relid, AUDIT_ROW_TRIGGER))
		return;					/* it has been audited by itself */
	if (!has_own_trigger(relid, AUDIT_TRUNCATE_TRIGGER))
		return;
	dbp_enter_owner(&scope, dbp_relation_owner(relid));
	dbp_sql_command("DROP TRIGGER %s ON %s", AUDIT_TRUNCATE_TRIGGER, table);
	dbp_leave_owner(&scope);
}

/*
 * follow_alter brings the options of an audited table up to date and returns
 * its new shape, 0 if there is none.
 */
static int
follow_alter(Relation rel, Trigger *row, AuditOptions *options, bool *renamed)
{
	int			relation;

	/* Nobody's but our own triggers are changed. */
	if (strcmp(row->tgname, AUDIT_ROW_TRIGGER) == 0)
	{
		*renamed = follow_renames(rel, options->exclude);
		*renamed |= follow_renames(rel, options->redact);
		*renamed |= follow_renames(rel, options->key);
	}
	if (!all_exist(rel, options->key))
		return 0;
	return dbp_audit_relation_shape(rel, dbp_audit_key_columns(rel, options), &relation);
}

/*
 * after_alter looks at an audited table that is no partition.
 */
static void
after_alter(Oid relid, const char *command)
{
	Relation	rel = table_open(relid, NoLock);
	Trigger    *row = dbp_audit_own_trigger(rel, TRIGGER_TYPE_ROW);
	AuditOptions options;
	bool		renamed = false;
	int			before = last_shape(rel);
	int			shape = 0;
	bool		unknown = before == 0 && rel->trigdesc == NULL;
	char	   *why;

	/* With bad options it refuses every change. */
	if (row != NULL && before != 0 && dbp_audit_try_options(row, &options, &why))
		shape = follow_alter(rel, row, &options, &renamed);
	table_close(rel, NoLock);

	/* Its partitions need not be looked at, which may be locked in a restore. */
	if (unknown)
		return;
	if (renamed)
		dbp_audit_replace_options(relid, &options);

	/* A restore brings the partitions' triggers itself. */
	if (before != 0)
		dbp_audit_cover_partitions(relid);
	if (shape > before)
		dbp_audit_log_marker(shape, "altered", json_detail("command", command));
	if (dbp_audit_follow_coverage(relid, false))
		dbp_audit_batch_flush();
}

/*
 * after_alter_partition looks at a partition.  One that is new gets its
 * triggers; a restore makes partitions before there are any.
 */
static void
after_alter_partition(Oid relid, List *touched)
{
	Relation	rel = table_open(relid, NoLock);
	Oid			rootid = dbp_partition_root(RelationGetRelid(rel));
	Relation	root = table_open(rootid, AccessShareLock);
	bool		is_new = dbp_new_part(relid, touched);
	bool		covered = last_shape(root) != 0 || is_new;

	table_close(root, NoLock);
	table_close(rel, NoLock);

	if (covered)
		(void) dbp_audit_cover_partition(relid, rootid);
	if (is_new && dbp_has_rows(relid))
		log_moved_rows(rootid, "partition attached", dbp_relation_name_by_oid(relid));
	if (dbp_audit_follow_coverage(relid, false))
		dbp_audit_batch_flush();
}

/*
 * after_alter_table looks at a table and at those that inherit from it, in
 * which a column is renamed, too.  Not at one that another session has locked:
 * the command did not change it, and to wait could be a deadlock, as in a parallel
 * restore.
 */
static void
after_alter_table(Oid relid, const char *command, List *touched)
{
	bool		creates = strncmp(command, "CREATE ", 7) == 0 &&
		strcmp(command, "CREATE TRIGGER") != 0;
	Oid			former = dbp_former_root(relid, touched);
	ListCell   *lc;

	if (OidIsValid(former) && !get_rel_relispartition(relid))
		release_detached(relid, former);
	if (get_rel_relispartition(relid))
		after_alter_partition(relid, creates ? NIL : touched);
	else if (get_rel_relkind(relid) == RELKIND_PARTITIONED_TABLE)
		after_alter(relid, command);
	else if (get_rel_relkind(relid) == RELKIND_RELATION)
	{
		foreach(lc, find_all_inheritors(relid, NoLock, NULL))
		{
			if (ConditionalLockRelationOid(lfirst_oid(lc), AccessShareLock) &&
				get_rel_relkind(lfirst_oid(lc)) == RELKIND_RELATION)
				after_alter(lfirst_oid(lc), command);
		}
	}
}

static void
after_ddl(const char *command, List *relids)
{
	Oid			own_nsp = get_namespace_oid("_dbpatterns", true);
	ListCell   *lc;

	if (dbp_audit_ddl_silent)
		return;
	SPI_connect();
	foreach(lc, relids)
	{
		Oid			relid = lfirst_oid(lc);
		Relation	rel = try_relation_open(relid, AccessShareLock);
		char		kind;
		bool		own;

		if (rel == NULL)
			continue;
		kind = rel->rd_rel->relkind;
		own = RelationGetNamespace(rel) == own_nsp;
		relation_close(rel, NoLock);
		if (!own && (kind == RELKIND_RELATION || kind == RELKIND_PARTITIONED_TABLE ||
					 kind == RELKIND_FOREIGN_TABLE))
			after_alter_table(relid, command, relids);
	}
	SPI_finish();
}

/*
 * after_rewrite logs which columns of a table hold other values from now on,
 * or show them otherwise, though no trigger fired.  Writers are kept out until
 * that is so for all.
 */
static void
after_rewrite(Oid relid, List *columns, List *computed)
{
	Relation	rel;
	StringInfoData detail;
	bool		this_life;
	int			shape;
	ListCell   *lc;

	if (get_rel_relispartition(relid))
		return;					/* so does its root */
	SPI_connect();
	rel = table_open(relid, AccessShareLock);
	shape = dbp_audit_last_shape(rel, &this_life);
	if (shape != 0)
	{
		LockRelationOid(relid, ShareRowExclusiveLock);
		initStringInfo(&detail);
		appendStringInfoString(&detail, "{\"columns\": [");
		foreach(lc, columns)
		{
			if (foreach_current_index(lc) > 0)
				appendStringInfoString(&detail, ", ");
			escape_json(&detail, get_attname(relid, lfirst_int(lc), false));
		}
		appendStringInfoString(&detail, "]}");
		dbp_audit_log_marker(shape, "rewritten", detail.data);
	}
	table_close(rel, NoLock);
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

static void
after_drop(List *dropped)
{
	List	   *tables = NIL;
	bool		any = false;
	ListCell   *lc;

	if (dbp_audit_ddl_silent)
		return;
	SPI_connect();
	foreach(lc, dropped)
	{
		DbpDropped *object = lfirst(lc);
		Oid			rootid;

		if (object->classid == TriggerRelationId && OidIsValid(object->relid))
			tables = list_append_unique_oid(tables, object->relid);
		if (object->classid != RelationRelationId || log_dropped_table(object))
			continue;
		rootid = dbp_former_root(object->objid, NIL);
		if (OidIsValid(rootid))
			log_moved_rows(rootid, "partition dropped", object->identity);
	}
	foreach(lc, tables)
	{
		char		kind = get_rel_relkind(lfirst_oid(lc));

		if (kind == RELKIND_RELATION || kind == RELKIND_PARTITIONED_TABLE)
			any |= dbp_audit_follow_coverage(lfirst_oid(lc), true);
	}
	if (any)
		dbp_audit_batch_flush();
	SPI_finish();
}

/*
 * dbp_audit_ddl_init registers for altered and dropped tables.
 */
void
dbp_audit_ddl_init(void)
{
	dbp_ddl_register(after_ddl, after_drop, after_rewrite, NULL);
}
