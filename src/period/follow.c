/*-------------------------------------------------------------------------
 *
 * follow.c
 *	  Tables with a period that are altered or dropped.
 *
 * The constraint follows its columns by itself.  The argument of the trigger, which
 * names them, and the functions of the table are brought in line here.  Nothing is
 * followed while check_function_bodies is off, as it is in a restore.
 *
 * Copyright (c) 2026, dbpatterns contributors
 *
 * src/period/follow.c
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "access/table.h"
#include "catalog/pg_class.h"
#include "catalog/pg_trigger.h"
#include "core/ddl.h"
#include "core/names.h"
#include "core/registry.h"
#include "core/sql.h"
#include "core/target.h"
#include "period/foreign.h"
#include "period/period.h"
#include "period/portion.h"
#include "utils/builtins.h"
#include "utils/guc.h"
#include "utils/lsyscache.h"
#include "utils/rel.h"

/* True while we alter tables ourselves. */
bool		dbp_period_silent = false;

static bool
is_table(Oid relid)
{
	char		kind = get_rel_relkind(relid);

	return kind == RELKIND_RELATION || kind == RELKIND_PARTITIONED_TABLE;
}

static bool
read_options(Oid relid, PeriodOptions *options)
{
	Relation	rel = table_open(relid, AccessShareLock);
	bool		found = dbp_period_options(rel, options);

	table_close(rel, NoLock);
	return found;
}

static bool
columns_exist(Oid relid, const PeriodOptions *options)
{
	ListCell   *lc;

	foreach(lc, options->key)
	{
		if (get_attnum(relid, lfirst(lc)) <= 0)
			return false;
	}
	return options->period != NULL ? get_attnum(relid, options->period) > 0 :
		get_attnum(relid, options->from) > 0 && get_attnum(relid, options->upto) > 0;
}

/*
 * bring_in_line follows a table that was altered.  One that has lost its period, by losing a
 * column of it, has none any more.
 */
static void
bring_in_line(Oid relid)
{
	PeriodOptions options;

	if (!read_options(relid, &options))
		return;
	if (columns_exist(relid, &options))
	{
		dbp_period_make_functions(relid);
		return;
	}
	ereport(NOTICE,
			(errmsg("table %s has lost its period with a column", dbp_relation_name_by_oid(relid))));
	dbp_readers_drop(&dbp_period_readers, relid);
	dbp_sql_silently(&dbp_period_silent, "DROP TRIGGER %s ON %s", PERIOD_TRIGGER,
					 dbp_relation_name_by_oid(relid));
	(void) dbp_registry_remove(relid, "period");
}

static void
after_ddl(const char *command, List *relids)
{
	ListCell   *lc;

	if (dbp_period_silent || !check_function_bodies)
		return;
	SPI_connect();
	foreach(lc, relids)
	{
		if (is_table(lfirst_oid(lc)))
		{
			bring_in_line(dbp_partition_root(lfirst_oid(lc)));
			dbp_foreign_follow(lfirst_oid(lc), NULL, NULL);
		}
	}
	SPI_finish();
}

static char *
renamed(char *name, const char *old_name, const char *new_name)
{
	return name != NULL && strcmp(name, old_name) == 0 ? pstrdup(new_name) : name;
}

static void
after_rename(Oid relid, bool column, const char *old_name, const char *new_name)
{
	PeriodOptions options;
	char	   *before;
	ListCell   *lc;

	if (dbp_period_silent || !check_function_bodies || !is_table(relid) ||
		!read_options(relid, &options))
		return;
	SPI_connect();
	if (!column)
	{
		dbp_readers_rename(&dbp_period_readers, relid, old_name, new_name);
		dbp_portion_rename_view(relid, old_name, new_name);
	}
	else
	{
		before = dbp_period_print(&options);
		foreach(lc, options.key)
			lfirst(lc) = renamed(lfirst(lc), old_name, new_name);
		options.period = renamed(options.period, old_name, new_name);
		options.from = renamed(options.from, old_name, new_name);
		options.upto = renamed(options.upto, old_name, new_name);
		if (strcmp(before, dbp_period_print(&options)) != 0)
		{
			dbp_period_create_trigger(relid, &options);
			dbp_registry_set(relid, "period", dbp_period_print(&options));
		}
		dbp_foreign_follow(relid, old_name, new_name);
	}
	SPI_finish();
}

/*
 * after_drop looks at tables that lost a trigger: that of versioned ones may be among them,
 * whose functions go next.
 */
static void
after_drop(List *dropped)
{
	ListCell   *lc;

	if (dbp_period_silent || !check_function_bodies)
		return;
	SPI_connect();
	foreach(lc, dropped)
	{
		DbpDropped *object = lfirst(lc);

		if (object->classid == RelationRelationId)
			dbp_foreign_forget(object->objid);
		if (object->classid != TriggerRelationId || !OidIsValid(object->relid) ||
			!is_table(object->relid) ||
			strncmp(object->identity, "dbpatterns_", strlen("dbpatterns_")) != 0)
			continue;
		bring_in_line(object->relid);
	}
	SPI_finish();
}

/*
 * dbp_period_follow_init registers for altered tables.
 */
void
dbp_period_follow_init(void)
{
	dbp_ddl_register(after_ddl, after_drop, NULL, after_rename);
}
