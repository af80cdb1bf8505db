/*-------------------------------------------------------------------------
 *
 * ddl.c
 *	  One event trigger for all patterns.
 *
 * Two event triggers exist per database, whatever the number of patterns.
 * Their functions find out which relations a command touched and hand them to
 * each module that registered.  Where event triggers do not fire (restore,
 * event_triggers = off, session_replication_role = replica), nothing breaks: modules
 * notice changed layouts through their relation state, and their check
 * functions report what is missing.
 *
 * Copyright (c) 2026, dbpatterns contributors
 *
 * src/core/ddl.c
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "catalog/namespace.h"
#include "catalog/pg_class.h"
#include "catalog/pg_namespace.h"
#include "commands/event_trigger.h"
#include "core/ddl.h"
#include "core/sql.h"
#include "fmgr.h"
#include "nodes/parsenodes.h"
#include "tcop/cmdtag.h"
#include "tcop/deparse_utility.h"
#include "utils/builtins.h"
#include "utils/memutils.h"

PG_FUNCTION_INFO_V1(dbpatterns_on_ddl_command_end);
PG_FUNCTION_INFO_V1(dbpatterns_on_sql_drop);

#define MAX_MODULES 16

static DbpDdlCallback ddl_callbacks[MAX_MODULES];
static DbpDropCallback drop_callbacks[MAX_MODULES];
static int	nmodules = 0;

/*
 * dbp_ddl_register adds a module's callbacks; called from its init.
 */
void
dbp_ddl_register(DbpDdlCallback after_ddl, DbpDropCallback after_drop)
{
	if (nmodules >= MAX_MODULES)
		elog(ERROR, "too many modules");
	ddl_callbacks[nmodules] = after_ddl;
	drop_callbacks[nmodules] = after_drop;
	nmodules++;
}

static EventTriggerData *
event_data(FunctionCallInfo fcinfo)
{
	if (!CALLED_AS_EVENT_TRIGGER(fcinfo))
		ereport(ERROR,
				(errcode(ERRCODE_E_R_I_E_EVENT_TRIGGER_PROTOCOL_VIOLATED),
				 errmsg("function was not called by event trigger manager"),
				 errhint("Use it in CREATE EVENT TRIGGER only.")));
	return (EventTriggerData *) fcinfo->context;
}

/*
 * detached_partitions returns the partitions that a command has detached; the
 * list of commands names their parent only.  Caller: SPI connected.
 */
static List *
detached_partitions(MemoryContext cxt)
{
	List	   *relids = NIL;
	uint64		rows;

	rows = dbp_sql_query("SELECT command FROM pg_catalog.pg_event_trigger_ddl_commands()"
						 " WHERE command_tag OPERATOR(pg_catalog.=) 'ALTER TABLE'", 0, NULL);
	for (uint64 i = 0; i < rows; i++)
	{
		CollectedCommand *command = (CollectedCommand *) DatumGetPointer(dbp_sql_value(i, 0, NULL));
		ListCell   *lc;

		if (command->type != SCT_AlterTable)
			continue;
		foreach(lc, command->d.alterTable.subcmds)
		{
			CollectedATSubcmd *sub = lfirst(lc);
			AlterTableCmd *alter = castNode(AlterTableCmd, sub->parsetree);
			MemoryContext oldcxt = MemoryContextSwitchTo(cxt);
			Oid			relid = InvalidOid;

			/* The server gives no address for these. */
			if (alter->subtype == AT_DetachPartition ||
				alter->subtype == AT_DetachPartitionFinalize)
				relid = RangeVarGetRelid(castNode(PartitionCmd, alter->def)->name, NoLock, true);
			if (OidIsValid(relid))
				relids = list_append_unique_oid(relids, relid);
			MemoryContextSwitchTo(oldcxt);
		}
	}
	return relids;
}

/*
 * on_ddl_command_end() is the function of the event trigger of that name:
 * patterns keep in step with altered and created tables and triggers.  It
 * hands the relations a command touched to the modules; a renamed schema
 * stands for the tables in it.
 *
 * Raises 39P03 when it is not called as an event trigger, and what a module
 * raises, which undoes the command.  Takes no lock of its own on tables: the
 * command holds them; modules take ACCESS SHARE on roots and children, and
 * SHARE ROW EXCLUSIVE on partitions whose triggers they make.  Runs as the
 * caller of the command; modules become the owner of our tables or of a
 * partition where they write.  A second call finds the modules' work done.
 */
Datum
dbpatterns_on_ddl_command_end(PG_FUNCTION_ARGS)
{
	EventTriggerData *data = event_data(fcinfo);
	const char *command = GetCommandTagName(data->tag);
	MemoryContext caller_cxt = CurrentMemoryContext;
	List	   *relids = NIL;
	List	   *detached;
	uint64		rows;

	SPI_connect();
	rows = dbp_sql_query("SELECT objid FROM pg_catalog.pg_event_trigger_ddl_commands()"
						 " WHERE classid OPERATOR(pg_catalog.=) 'pg_catalog.pg_class'::pg_catalog.regclass"
						 " AND NOT in_extension"
						 " UNION "
						 "SELECT c.oid FROM pg_catalog.pg_event_trigger_ddl_commands() n"
						 " JOIN pg_catalog.pg_class c ON c.relnamespace OPERATOR(pg_catalog.=) n.objid"
						 " WHERE n.classid OPERATOR(pg_catalog.=) 'pg_catalog.pg_namespace'::pg_catalog.regclass"
						 " AND c.relkind OPERATOR(pg_catalog.=) ANY ('{r,p}'::pg_catalog.\"char\"[])"
						 " UNION "
						 "SELECT t.tgrelid FROM pg_catalog.pg_event_trigger_ddl_commands() d"
						 " JOIN pg_catalog.pg_trigger t ON t.oid OPERATOR(pg_catalog.=) d.objid"
						 " WHERE d.classid OPERATOR(pg_catalog.=) 'pg_catalog.pg_trigger'::pg_catalog.regclass"
						 " AND NOT d.in_extension"
						 " ORDER BY 1", 0, NULL);
	for (uint64 i = 0; i < rows; i++)
	{
		MemoryContext oldcxt = MemoryContextSwitchTo(caller_cxt);

		relids = lappend_oid(relids, DatumGetObjectId(dbp_sql_value(i, 0, NULL)));
		MemoryContextSwitchTo(oldcxt);
	}
	detached = detached_partitions(caller_cxt);
	SPI_finish();

	if (relids != NIL)
	{
		for (int i = 0; i < nmodules; i++)
			ddl_callbacks[i] (command, relids, detached);
	}
	PG_RETURN_NULL();
}

/*
 * on_sql_drop() is the function of the event trigger of that name: patterns
 * forget dropped tables, and note dropped triggers.  It hands both to the
 * modules.
 *
 * Raises 39P03 when it is not called as an event trigger, and what a module
 * raises, which undoes the command.  Locks ROW EXCLUSIVE on tables of ours.
 * Runs as the caller of the command; modules become the owner of our tables
 * where they write.  A second call finds nothing left to forget.
 */
Datum
dbpatterns_on_sql_drop(PG_FUNCTION_ARGS)
{
	MemoryContext caller_cxt = CurrentMemoryContext;
	List	   *dropped = NIL;
	uint64		rows;

	(void) event_data(fcinfo);
	SPI_connect();
	rows = dbp_sql_query("SELECT classid, objid, object_type, object_identity"
						 " FROM pg_catalog.pg_event_trigger_dropped_objects()"
						 " WHERE object_type OPERATOR(pg_catalog.=) ANY ('{table,trigger}'::pg_catalog.text[])",
						 0, NULL);
	for (uint64 i = 0; i < rows; i++)
	{
		MemoryContext oldcxt = MemoryContextSwitchTo(caller_cxt);
		DbpDropped *object = palloc(sizeof(DbpDropped));

		object->classid = DatumGetObjectId(dbp_sql_value(i, 0, NULL));
		object->objid = DatumGetObjectId(dbp_sql_value(i, 1, NULL));
		object->type = dbp_sql_text(i, 2);
		object->identity = dbp_sql_text(i, 3);
		dropped = lappend(dropped, object);
		MemoryContextSwitchTo(oldcxt);
	}
	SPI_finish();

	if (dropped != NIL)
	{
		for (int i = 0; i < nmodules; i++)
			drop_callbacks[i] (dropped);
	}
	PG_RETURN_NULL();
}
