/*-------------------------------------------------------------------------
 *
 * triggers.c
 *	  The triggers of a versioned table.
 *
 * Row triggers are cloned to partitions by the server; the one that meets
 * TRUNCATE is not, so every partition gets it here, later ones after the DDL
 * that made them.
 *
 * Callers are connected to SPI, hold a lock on the table, and have it closed,
 * as ALTER TABLE wants.
 *
 * Copyright (c) 2026, dbpatterns contributors
 *
 * src/versioning/triggers.c
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "access/table.h"
#include "catalog/pg_class.h"
#include "catalog/pg_inherits.h"
#include "catalog/pg_trigger.h"
#include "core/names.h"
#include "core/owner.h"
#include "core/sql.h"
#include "core/trigger.h"
#include "utils/builtins.h"
#include "utils/lsyscache.h"
#include "utils/rel.h"
#include "versioning/versioning.h"

/* True while we alter tables and triggers of ours ourselves. */
bool		dbp_versioning_silent = false;

/*
 * dbp_versioning_command runs DDL of ours.
 */
void
dbp_versioning_command(const char *sql)
{
	dbp_sql_silently(&dbp_versioning_silent, "%s", sql);
}

/* What ALTER TABLE says of a trigger that does not fire as usual. */
static const char *
firing(char enabled)
{
	switch (enabled)
	{
		case TRIGGER_DISABLED:
			return "DISABLE";
		case TRIGGER_FIRES_ON_REPLICA:
			return "ENABLE REPLICA";
		case TRIGGER_FIRES_ALWAYS:
			return "ENABLE ALWAYS";
		default:
			return NULL;
	}
}

/*
 * set_trigger makes a trigger as it should be, or drops it where type is 0, and
 * tells whether that changed anything.  A clone follows its parent.  reset: it
 * shall fire in ordinary sessions; otherwise whoever disabled it is respected.
 */
static bool
set_trigger(Oid relid, const char *name, int16 type, const char *events, const char *argument,
			bool reset)
{
	Relation	rel = table_open(relid, NoLock);
	char	   *table = dbp_relation_name(rel);
	Trigger    *trigger = dbp_find_trigger(rel, name);
	const char *fires = (trigger != NULL && !reset) ? firing(trigger->tgenabled) : NULL;
	bool		done;

	table_close(rel, NoLock);
	if (type == 0)
		done = (trigger == NULL || trigger->tgisclone);
	else
		done = (trigger != NULL && dbp_versioning_is_trigger(trigger) &&
				trigger->tgtype == type && trigger->tgnargs == 1 &&
				strcmp(trigger->tgargs[0], argument) == 0 &&
				(!reset || trigger->tgenabled == TRIGGER_FIRES_ON_ORIGIN));
	if (done)
		return false;
	if (type == 0)
	{
		dbp_versioning_command(psprintf("DROP TRIGGER %s ON %s", name, table));
		return true;
	}
	dbp_versioning_command(psprintf("CREATE OR REPLACE TRIGGER %s %s %s ON %s FOR EACH %s"
									" EXECUTE FUNCTION dbpatterns.versioning_trigger(%s)",
									name, type & TRIGGER_TYPE_BEFORE ? "BEFORE" : "AFTER",
									events, table, type & TRIGGER_TYPE_ROW ? "ROW" : "STATEMENT",
									quote_literal_cstr(argument)));
	if (fires != NULL)
		dbp_versioning_command(psprintf("ALTER TABLE %s %s TRIGGER %s", table, fires, name));
	return true;
}

static bool
set_truncate_trigger(Oid relid, const char *argument, bool reset)
{
	DbpOwnerScope scope;
	bool		changed;

	/* A partition may have an owner of its own; what covers it is ours. */
	dbp_enter_owner(&scope, dbp_relation_owner(relid));
	changed = set_trigger(relid, VERSIONING_TRUNCATE_TRIGGER,
						  argument != NULL ? TRIGGER_TYPE_BEFORE | TRIGGER_TYPE_TRUNCATE : 0,
						  "TRUNCATE", argument, reset);
	dbp_leave_owner(&scope);
	return changed;
}

/*
 * set_truncate_triggers does so for a table and its partitions.
 */
static bool
set_truncate_triggers(Oid baseid, const char *argument, bool reset)
{
	bool		changed = false;
	ListCell   *lc;

	foreach(lc, find_all_inheritors(baseid, AccessShareLock, NULL))
	{
		if (get_rel_relkind(lfirst_oid(lc)) != RELKIND_FOREIGN_TABLE)
			changed |= set_truncate_trigger(lfirst_oid(lc), argument, reset);
	}
	return changed;
}

/*
 * dbp_versioning_set_triggers makes the triggers of a table, and tells whether that
 * changed anything.  guard: whether TRUNCATE is met; reset: see set_trigger.  Inserts are
 * looked at afterwards only where a trigger of the user's may have changed the row.
 */
bool
dbp_versioning_set_triggers(Oid baseid, const VersioningOptions *options, bool guard, bool reset)
{
	char	   *argument = dbp_versioning_print(options);
	Relation	rel = table_open(baseid, NoLock);
	bool		look = !dbp_versioning_fires_last(rel, TRIGGER_TYPE_INSERT);
	int16		after = TRIGGER_TYPE_ROW | TRIGGER_TYPE_UPDATE | TRIGGER_TYPE_DELETE;
	bool		changed;

	table_close(rel, NoLock);
	changed = set_trigger(baseid, VERSIONING_BEFORE_TRIGGER,
						  TRIGGER_TYPE_ROW | TRIGGER_TYPE_BEFORE | TRIGGER_TYPE_INSERT |
						  TRIGGER_TYPE_UPDATE, "INSERT OR UPDATE", argument, reset);
	changed |= set_trigger(baseid, VERSIONING_AFTER_TRIGGER,
						   look ? after | TRIGGER_TYPE_INSERT : after,
						   look ? "INSERT OR UPDATE OR DELETE" : "UPDATE OR DELETE", argument, reset);
	changed |= set_truncate_triggers(baseid, guard ? argument : NULL, reset);
	return changed;
}

/*
 * dbp_versioning_drop_triggers drops them, and tells whether there was one.
 */
bool
dbp_versioning_drop_triggers(Oid baseid)
{
	bool		any;

	any = set_trigger(baseid, VERSIONING_BEFORE_TRIGGER, 0, NULL, NULL, false);
	any |= set_trigger(baseid, VERSIONING_AFTER_TRIGGER, 0, NULL, NULL, false);
	any |= set_truncate_triggers(baseid, NULL, false);
	return any;
}

/*
 * dbp_versioning_guards_truncate tells whether a table meets TRUNCATE.
 */
bool
dbp_versioning_guards_truncate(Relation rel)
{
	return dbp_find_trigger(rel, VERSIONING_TRUNCATE_TRIGGER) != NULL;
}

/*
 * dbp_versioning_release drops what is left on a table that was a partition.
 */
void
dbp_versioning_release(Oid relid)
{
	Relation	rel = table_open(relid, NoLock);
	bool		left = dbp_versioning_guards_truncate(rel) && dbp_versioning_trigger(rel) == NULL;

	table_close(rel, NoLock);
	if (left)
		(void) set_truncate_trigger(relid, NULL, false);
}
