/*-------------------------------------------------------------------------
 *
 * triggers.c
 *	  The triggers of an audited table.
 *
 * Two triggers make the trail: one for rows, which the server clones to
 * partitions present and future; one before TRUNCATE.  That one is not cloned,
 * so it is put on each partition when the trail is enabled and, for later
 * ones, after the DDL that made them.
 *
 * All of it is SQL, and ALTER TABLE refuses a table that is open elsewhere in
 * the session: callers are connected to SPI, hold a lock, and have the tables
 * closed.
 *
 * Copyright (c) 2026, dbpatterns contributors
 *
 * src/audit/triggers.c
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "access/table.h"
#include "audit/audit.h"
#include "catalog/namespace.h"
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

/*
 * dbp_audit_is_trigger tells whether a trigger is ours, whatever its name: with
 * our function, and without a condition.
 */
bool
dbp_audit_is_trigger(const Trigger *trigger)
{
	char	   *function = get_func_name(trigger->tgfoid);

	return trigger->tgqual == NULL && trigger->tgnattr == 0 && function != NULL &&
		strcmp(function, "audit_trigger") == 0 &&
		get_func_namespace(trigger->tgfoid) == get_namespace_oid("dbpatterns", true);
}

/*
 * dbp_audit_fires tells whether a trigger fires for ordinary sessions.
 */
bool
dbp_audit_fires(const Trigger *trigger)
{
	return trigger->tgenabled == TRIGGER_FIRES_ON_ORIGIN ||
		trigger->tgenabled == TRIGGER_FIRES_ALWAYS;
}

/*
 * dbp_audit_own_trigger returns a trigger of ours that has the bits of kind,
 * whatever its name; one that fires, if there is any.
 */
Trigger *
dbp_audit_own_trigger(Relation rel, int16 kind)
{
	Trigger    *found = NULL;

	for (int i = 0; rel->trigdesc != NULL && i < rel->trigdesc->numtriggers; i++)
	{
		Trigger    *trigger = dbp_copy_trigger(&rel->trigdesc->triggers[i]);

		if ((trigger->tgtype & kind) == kind && dbp_audit_is_trigger(trigger) &&
			(found == NULL || !dbp_audit_fires(found)))
			found = trigger;
	}
	return found;
}

/*
 * run_silently runs a command on a trigger of ours that needs no marker.
 */
static void
run_silently(const char *sql)
{
	bool		silent = dbp_audit_ddl_silent;

	dbp_audit_ddl_silent = true;
	PG_TRY();
	{
		dbp_sql_command("%s", sql);
	}
	PG_FINALLY();
	{
		dbp_audit_ddl_silent = silent;
	}
	PG_END_TRY();
}

/*
 * trigger_is tells whether a trigger is there just as it should be: not at all,
 * but for one the server cloned, when no event is left for it.
 */
static bool
trigger_is(Relation rel, const char *name, int16 type, const char *argument, bool always)
{
	Trigger    *trigger = dbp_find_trigger(rel, name);

	if ((type & (AUDIT_ROW_EVENTS | TRIGGER_TYPE_TRUNCATE)) == 0)
		return trigger == NULL || trigger->tgisclone;
	return trigger != NULL && dbp_audit_is_trigger(trigger) &&
		trigger->tgtype == type && trigger->tgnargs == 1 &&
		strcmp(trigger->tgargs[0], argument) == 0 &&
		trigger->tgenabled == (always ? TRIGGER_FIRES_ALWAYS : TRIGGER_FIRES_ON_ORIGIN);
}

/*
 * dbp_audit_set_trigger makes a trigger as it should be, or drops it when no event is
 * left for it, and tells whether that changed anything.
 */
bool
dbp_audit_set_trigger(Oid relid, const char *name, int16 type, const char *argument, bool always)
{
	Relation	rel = table_open(relid, NoLock);
	char	   *table = dbp_relation_name(rel);
	bool		done = trigger_is(rel, name, type, argument, always);
	StringInfoData events;

	/* ALTER TABLE wants it closed. */
	table_close(rel, NoLock);
	if (done)
		return false;

	initStringInfo(&events);
	if (type & TRIGGER_TYPE_INSERT)
		appendStringInfoString(&events, " OR INSERT");
	if (type & TRIGGER_TYPE_UPDATE)
		appendStringInfoString(&events, " OR UPDATE");
	if (type & TRIGGER_TYPE_DELETE)
		appendStringInfoString(&events, " OR DELETE");
	if (type & TRIGGER_TYPE_TRUNCATE)
		appendStringInfoString(&events, " OR TRUNCATE");

	if (events.len == 0)
	{
		run_silently(psprintf("DROP TRIGGER %s ON %s", name, table));
		return true;
	}
	run_silently(psprintf("CREATE OR REPLACE TRIGGER %s %s%s ON %s FOR EACH %s"
						  " EXECUTE FUNCTION dbpatterns.audit_trigger(%s)",
						  name, type & TRIGGER_TYPE_BEFORE ? "BEFORE" : "AFTER",
						  events.data + strlen(" OR"), table,
						  type & TRIGGER_TYPE_ROW ? "ROW" : "STATEMENT",
						  quote_literal_cstr(argument)));
	if (always)
		run_silently(psprintf("ALTER TABLE %s ENABLE ALWAYS TRIGGER %s", table, name));
	return true;
}

/*
 * dbp_audit_set_truncate_trigger puts the trigger on a table that the server
 * does not clone to partitions.
 */
bool
dbp_audit_set_truncate_trigger(Oid relid, int16 events, const char *argument, bool always)
{
	return dbp_audit_set_trigger(relid, AUDIT_TRUNCATE_TRIGGER,
								 (events & TRIGGER_TYPE_TRUNCATE)
								 ? TRIGGER_TYPE_TRUNCATE | TRIGGER_TYPE_BEFORE : 0,
								 argument, always);
}

/*
 * dbp_audit_trigger_settings reads from an audited table what its truncate trigger
 * must be like; false if it has no row trigger of ours.
 */
bool
dbp_audit_trigger_settings(Oid relid, int16 *events, char **argument, bool *always)
{
	Relation	rel = table_open(relid, AccessShareLock);
	Trigger    *row = dbp_find_trigger(rel, AUDIT_ROW_TRIGGER);

	if (row != NULL && row->tgnargs == 1)
	{
		*events = row->tgtype & AUDIT_ROW_EVENTS;
		if (dbp_find_trigger(rel, AUDIT_TRUNCATE_TRIGGER) != NULL)
			*events |= TRIGGER_TYPE_TRUNCATE;
		*argument = pstrdup(row->tgargs[0]);
		*always = (row->tgenabled == TRIGGER_FIRES_ALWAYS);
	}
	table_close(rel, NoLock);
	return row != NULL && row->tgnargs == 1;
}

/*
 * dbp_audit_cover_partition gives a partition the truncate trigger of its root,
 * and tells whether that changed anything.
 */
bool
dbp_audit_cover_partition(Oid relid, Oid rootid)
{
	int16		events;
	char	   *argument;
	bool		always;
	DbpOwnerScope scope;
	bool		changed;

	if (get_rel_relkind(relid) == RELKIND_FOREIGN_TABLE ||
		!dbp_audit_trigger_settings(rootid, &events, &argument, &always))
		return false;
	dbp_enter_owner(&scope, dbp_relation_owner(relid));
	changed = dbp_audit_set_truncate_trigger(relid, events, argument, always);
	dbp_leave_owner(&scope);
	return changed;
}

/*
 * dbp_audit_cover_partitions does so for all partitions of an audited table.
 */
bool
dbp_audit_cover_partitions(Oid rootid)
{
	bool		changed = false;
	ListCell   *lc;

	if (get_rel_relkind(rootid) != RELKIND_PARTITIONED_TABLE)
		return false;
	foreach(lc, find_all_inheritors(rootid, AccessShareLock, NULL))
	{
		if (lfirst_oid(lc) != rootid)
			changed |= dbp_audit_cover_partition(lfirst_oid(lc), rootid);
	}
	return changed;
}
