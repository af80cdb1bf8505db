/*-------------------------------------------------------------------------
 *
 * follow.c
 *	  Versioned tables and histories that are altered or dropped.
 *
 * After DDL on a versioned table its history, triggers, functions and policies
 * are brought in line, in the same transaction: what cannot be followed raises
 * and undoes the ALTER.  After DDL on a history the triggers learn its new
 * name.  Where event triggers do not fire, the row triggers notice a column
 * they cannot archive, and versioning_check tells the rest.
 *
 * Nothing is followed while check_function_bodies is off, as it is in a restore:
 * the dump brings all of it, and would meet what we made.
 *
 * Copyright (c) 2026, dbpatterns contributors
 *
 * src/versioning/follow.c
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "access/table.h"
#include "catalog/pg_class.h"
#include "catalog/pg_policy.h"
#include "catalog/pg_type.h"
#include "core/ddl.h"
#include "core/names.h"
#include "core/owner.h"
#include "core/sql.h"
#include "core/target.h"
#include "miscadmin.h"
#include "storage/lmgr.h"
#include "utils/builtins.h"
#include "utils/guc.h"
#include "utils/lsyscache.h"
#include "utils/rel.h"
#include "versioning/versioning.h"

static bool
is_idle(void)
{
	return dbp_versioning_silent || !check_function_bodies;
}

static bool
is_table(Oid relid)
{
	char		kind = get_rel_relkind(relid);

	return kind == RELKIND_RELATION || kind == RELKIND_PARTITIONED_TABLE;
}

/*
 * read_table reads the options of a table, whether it meets TRUNCATE, and its entry;
 * false if it is not versioned, or its history is not there.
 */
static bool
read_table(Oid relid, VersionedTable *table, VersioningOptions *options, bool *guard)
{
	Relation	rel = table_open(relid, AccessShareLock);
	bool		versioned = dbp_versioning_options(rel, options);

	*guard = dbp_versioning_guards_truncate(rel);
	table_close(rel, NoLock);
	if (!versioned)
		return false;
	if (!dbp_versioning_find(relid, table) || table->baseid != relid)
	{
		memset(table, 0, sizeof(*table));
		table->baseid = relid;
		table->columns = -1;
		table->historyid = dbp_versioning_history(options);
	}
	else if (get_rel_name(table->historyid) == NULL)
		table->historyid = dbp_versioning_history(options);
	return OidIsValid(table->historyid);
}

/*
 * follow_owner gives the history, and what reads it, to the new owner of the table.
 */
static void
follow_owner(const VersionedTable *table)
{
	char	   *owner = GetUserNameFromId(dbp_relation_owner(table->baseid), false);

	if (dbp_relation_owner(table->historyid) == dbp_relation_owner(table->baseid))
		return;
	dbp_versioning_command(psprintf("ALTER TABLE %s OWNER TO %s",
									dbp_relation_name_by_oid(table->historyid),
									quote_identifier(owner)));
	dbp_readers_give(&dbp_versioning_readers, table->baseid, owner);
}

/*
 * require_period raises 55000 if the period was dropped or is of another type.
 */
static void
require_period(Oid relid, const char *period)
{
	AttrNumber	attno = get_attnum(relid, period);

	if (attno == InvalidAttrNumber || get_atttype(relid, attno) != TSTZRANGEOID)
		ereport(ERROR,
				(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
				 errmsg("column \"%s\" is the system time period of table %s", period,
						dbp_relation_name_by_oid(relid)),
				 errhint("Call dbpatterns.versioning_disable for the table first.")));
}

/*
 * bring_in_line brings everything in line with a versioned table.
 */
static void
bring_in_line(Oid relid)
{
	VersionedTable table;
	VersioningOptions options;
	bool		guard;

	if (!read_table(relid, &table, &options, &guard))
		return;
	require_period(relid, options.period);
	follow_owner(&table);
	options.history = dbp_relation_name_by_oid(table.historyid);
	(void) dbp_versioning_sync(&table, &options, guard, false);
}

/*
 * after_alter follows a table, the table of a partition, or a history that may
 * have another name by now.
 */
static void
after_alter(Oid relid)
{
	Oid			rootid = dbp_partition_root(relid);
	VersionedTable table;

	if (rootid == relid)
		dbp_versioning_release(relid);
	bring_in_line(rootid);
	if (dbp_versioning_find(rootid, &table) && table.historyid == rootid &&
		is_table(table.baseid))
	{
		VersioningOptions options;
		bool		guard;
		char	   *name = dbp_relation_name_by_oid(rootid);

		if (read_table(table.baseid, &table, &options, &guard) &&
			strcmp(options.history, name) != 0)
			bring_in_line(table.baseid);
	}
}

static void
after_ddl(const char *command, List *relids)
{
	ListCell   *lc;

	if (is_idle())
		return;
	SPI_connect();
	foreach(lc, relids)
	{
		if (is_table(lfirst_oid(lc)))
			after_alter(lfirst_oid(lc));
	}
	SPI_finish();
}

/*
 * after_rewrite refuses an expression that the history does not know.
 */
static void
after_rewrite(Oid relid, List *columns, List *computed)
{
	VersionedTable table;
	VersioningOptions options;
	bool		guard;
	ListCell   *lc;

	if (is_idle() || computed == NIL || !is_table(relid) ||
		get_rel_relispartition(relid))
		return;
	SPI_connect();
	if (read_table(relid, &table, &options, &guard))
	{
		foreach(lc, computed)
		{
			char	   *name = get_attname(relid, lfirst_int(lc), false);
			AttrNumber	attno = get_attnum(table.historyid, name);

			if (attno != InvalidAttrNumber &&
				get_atttype(table.historyid, attno) !=
				getBaseType(get_atttype(relid, lfirst_int(lc))))
				ereport(ERROR,
						(errcode(ERRCODE_FEATURE_NOT_SUPPORTED),
						 errmsg("column \"%s\" of versioned table %s cannot be computed anew by ALTER TABLE",
								name, dbp_relation_name_by_oid(relid)),
						 errdetail("Its values in history %s would keep their old meaning.",
								   options.history),
						 errhint("Alter the column of the history in the same way first, in the same transaction; or add a new column.")));
		}
	}
	SPI_finish();
}

static void
replace_name(List *names, const char *old_name, const char *new_name)
{
	ListCell   *lc;

	foreach(lc, names)
	{
		if (strcmp(lfirst(lc), old_name) == 0)
			lfirst(lc) = pstrdup(new_name);
	}
}

/*
 * follow_column renames a column of the history, and in the options.
 */
static void
follow_column(Oid relid, const char *old_name, const char *new_name)
{
	VersionedTable table;
	VersioningOptions options;
	bool		guard;

	if (!read_table(relid, &table, &options, &guard))
		return;
	dbp_versioning_rename_column(table.historyid, old_name, new_name);
	if (strcmp(options.period, old_name) == 0)
		options.period = pstrdup(new_name);
	replace_name(options.exclude, old_name, new_name);
	options.history = dbp_relation_name_by_oid(table.historyid);
	(void) dbp_versioning_set_triggers(relid, &options, guard, false);
}

/*
 * refuse_history_rename raises 55000 for the column of a history that the table still
 * has: it would no longer be archived.
 */
static void
refuse_history_rename(Oid historyid, const char *old_name)
{
	VersionedTable table;

	if (dbp_versioning_find(historyid, &table) && table.historyid == historyid &&
		get_attnum(table.baseid, old_name) > 0)
		ereport(ERROR,
				(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
				 errmsg("column \"%s\" of history %s follows table %s", old_name,
						dbp_relation_name_by_oid(historyid),
						dbp_relation_name_by_oid(table.baseid)),
				 errhint("Rename the column of the table.")));
}

static void
after_rename(Oid relid, bool column, const char *old_name, const char *new_name)
{
	if (is_idle() || !is_table(relid))
		return;
	SPI_connect();
	if (column)
	{
		follow_column(relid, old_name, new_name);
		refuse_history_rename(relid, old_name);
	}
	else
	{
		VersionedTable table;
		VersioningOptions options;
		bool		guard;

		if (read_table(relid, &table, &options, &guard))
			dbp_readers_rename(&dbp_versioning_readers, relid, old_name, new_name);
	}
	SPI_finish();
}

/*
 * after_drop_table forgets a versioned table, and keeps the history of one that is
 * there: its next change would fail.
 */
static void
after_drop_table(const DbpDropped *object)
{
	VersionedTable table;
	Relation	base;
	bool		needed;

	if (!dbp_versioning_find(object->objid, &table))
		return;
	if (table.baseid == object->objid || get_rel_name(table.baseid) == NULL)
	{
		dbp_versioning_forget(table.baseid);
		return;
	}
	base = table_open(table.baseid, AccessShareLock);
	needed = check_function_bodies && dbp_versioning_trigger(base) != NULL;
	table_close(base, NoLock);
	if (needed)
		ereport(ERROR,
				(errcode(ERRCODE_DEPENDENT_OBJECTS_STILL_EXIST),
				 errmsg("cannot drop %s: it is the history of table %s", object->identity,
						dbp_relation_name_by_oid(table.baseid)),
				 errhint("Call dbpatterns.versioning_disable for the table first.")));
	dbp_versioning_forget(table.baseid);
}

static void
after_drop(List *dropped)
{
	ListCell   *lc;

	if (dbp_versioning_silent)
		return;
	SPI_connect();
	foreach(lc, dropped)
	{
		DbpDropped *object = lfirst(lc);

		if (object->classid == RelationRelationId)
			after_drop_table(object);
		else if (object->classid == PolicyRelationId && !is_idle() &&
				 OidIsValid(object->relid) && is_table(object->relid))
			bring_in_line(object->relid);
	}
	SPI_finish();
}

/*
 * dbp_versioning_follow_init registers for altered and dropped tables.
 */
void
dbp_versioning_follow_init(void)
{
	dbp_ddl_register(after_ddl, after_drop, after_rewrite, after_rename);
}
