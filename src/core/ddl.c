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
#include "catalog/pg_trigger.h"
#include "catalog/pg_type.h"
#include "commands/event_trigger.h"
#include "compat/compat.h"
#include "core/ddl.h"
#include "core/sql.h"
#include "fmgr.h"
#include "nodes/parsenodes.h"
#include "tcop/cmdtag.h"
#include "tcop/deparse_utility.h"
#include "utils/builtins.h"
#include "utils/lsyscache.h"
#include "utils/memutils.h"

PG_FUNCTION_INFO_V1(dbpatterns_on_ddl_command_end);
PG_FUNCTION_INFO_V1(dbpatterns_on_sql_drop);

#define MAX_MODULES 16

static DbpDdlCallback ddl_callbacks[MAX_MODULES];
static DbpDropCallback drop_callbacks[MAX_MODULES];
static DbpRewriteCallback rewrite_callbacks[MAX_MODULES];
static DbpRenameCallback rename_callbacks[MAX_MODULES];
static int	nmodules = 0;

/*
 * dbp_ddl_register adds a module's callbacks; called from its init.
 */
void
dbp_ddl_register(DbpDdlCallback after_ddl, DbpDropCallback after_drop,
				 DbpRewriteCallback after_rewrite, DbpRenameCallback after_rename)
{
	if (nmodules >= MAX_MODULES)
		elog(ERROR, "too many modules");
	ddl_callbacks[nmodules] = after_ddl;
	drop_callbacks[nmodules] = after_drop;
	rewrite_callbacks[nmodules] = after_rewrite;
	rename_callbacks[nmodules] = after_rename;
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

/* What the list of commands does not tell in columns. */
typedef struct Touched
{
	List	   *relids;
	List	   *rewritten;		/* Rewritten */
	List	   *types;			/* whose values are shown otherwise */
	List	   *renamed;		/* Renamed */
} Touched;

typedef struct Rewritten
{
	Oid			relid;
	List	   *columns;
	List	   *computed;
} Rewritten;

typedef struct Renamed
{
	Oid			relid;
	bool		column;
	char	   *old_name;
	char	   *new_name;
} Renamed;

static void
add_rewritten(Touched *touched, Oid relid, AttrNumber attnum, bool computed)
{
	Rewritten  *table = NULL;
	ListCell   *lc;

	foreach(lc, touched->rewritten)
	{
		table = lfirst(lc);
		if (table->relid == relid)
			break;
	}
	if (lc == NULL)
	{
		table = palloc0(sizeof(Rewritten));
		table->relid = relid;
		touched->rewritten = lappend(touched->rewritten, table);
	}
	table->columns = list_append_unique_int(table->columns, attnum);
	if (computed)
		table->computed = list_append_unique_int(table->computed, attnum);
}

/*
 * is_computed tells whether ALTER COLUMN TYPE has an expression that is more than
 * the column, perhaps cast.
 */
static bool
is_computed(AlterTableCmd *alter)
{
	Node	   *expr = castNode(ColumnDef, alter->def)->raw_default;

	if (expr != NULL && IsA(expr, TypeCast))
		expr = castNode(TypeCast, expr)->arg;
	return expr != NULL &&
		!(IsA(expr, ColumnRef) && list_length(castNode(ColumnRef, expr)->fields) == 1 &&
		  strcmp(strVal(linitial(castNode(ColumnRef, expr)->fields)), alter->name) == 0);
}

/*
 * look_at_alter finds partitions that ALTER TABLE attached or detached, where
 * the list of commands names their parent only, and columns that it computed
 * anew.  Of a composite type it adds, drops or changes attributes.
 */
static void
look_at_alter(Touched *touched, CollectedCommand *command)
{
	Oid			relid = command->d.alterTable.objectId;
	ListCell   *lc;

	if (get_rel_relkind(relid) == RELKIND_COMPOSITE_TYPE)
		touched->types = lappend_oid(touched->types, get_rel_type_id(relid));
	foreach(lc, command->d.alterTable.subcmds)
	{
		CollectedATSubcmd *sub = lfirst(lc);
		AlterTableCmd *alter = castNode(AlterTableCmd, sub->parsetree);

		/* For some of these the server gives no address. */
		if (alter->subtype == AT_AttachPartition || alter->subtype == AT_DetachPartition ||
			alter->subtype == AT_DetachPartitionFinalize)
		{
			Oid			part = RangeVarGetRelid(castNode(PartitionCmd, alter->def)->name,
												NoLock, true);

			if (OidIsValid(part))
				touched->relids = list_append_unique_oid(touched->relids, part);
		}
		if ((alter->subtype == AT_AlterColumnType || alter->subtype == AT_SetExpression) &&
			sub->address.classId == RelationRelationId && sub->address.objectSubId > 0)
			add_rewritten(touched, sub->address.objectId, sub->address.objectSubId,
						  alter->subtype == AT_AlterColumnType && is_computed(alter));
	}
}

/*
 * look_at_rename finds tables and columns that were renamed.  ALTER INDEX
 * renames tables, too.
 */
static void
look_at_rename(Touched *touched, RenameStmt *rename, ObjectAddress address)
{
	Renamed    *renamed;

	if (address.classId != RelationRelationId ||
		(rename->renameType != OBJECT_TABLE && rename->renameType != OBJECT_INDEX &&
		 rename->renameType != OBJECT_COLUMN))
		return;
	renamed = palloc(sizeof(Renamed));
	renamed->relid = address.objectId;
	renamed->column = rename->renameType == OBJECT_COLUMN;
	renamed->old_name = pstrdup(renamed->column ? rename->subname : rename->relation->relname);
	renamed->new_name = pstrdup(rename->newname);
	touched->renamed = lappend(touched->renamed, renamed);
}

/*
 * look_at_simple finds what was renamed: enums of which a label was, too.
 */
static void
look_at_simple(Touched *touched, CollectedCommand *command)
{
	Node	   *parsetree = command->parsetree;

	if (IsA(parsetree, AlterEnumStmt) && castNode(AlterEnumStmt, parsetree)->oldVal != NULL)
		touched->types = lappend_oid(touched->types, command->d.simple.address.objectId);
	if (IsA(parsetree, RenameStmt))
		look_at_rename(touched, castNode(RenameStmt, parsetree), command->d.simple.address);
}

/*
 * find_columns_of finds the columns whose values contain those of a type: as
 * elements, as attributes, as bounds, or under another name.
 */
static void
find_columns_of(Touched *touched, Oid type, MemoryContext cxt)
{
	DbpParam	param = DBP_PARAM(OIDOID, ObjectIdGetDatum(type));
	uint64		rows;

	rows = dbp_sql_query("WITH RECURSIVE t (oid) AS ("
						 " SELECT $1"
						 " UNION SELECT d.oid FROM t, LATERAL ("
						 "  SELECT y.oid FROM pg_catalog.pg_type y"
						 "   WHERE t.oid OPERATOR(pg_catalog.=) ANY (ARRAY[y.typbasetype, y.typelem])"
						 "  UNION ALL SELECT r.rngtypid FROM pg_catalog.pg_range r"
						 "   WHERE r.rngsubtype OPERATOR(pg_catalog.=) t.oid"
						 "  UNION ALL SELECT r.rngmultitypid FROM pg_catalog.pg_range r"
						 "   WHERE r.rngsubtype OPERATOR(pg_catalog.=) t.oid"
						 "  UNION ALL SELECT c.reltype FROM pg_catalog.pg_attribute a"
						 "   JOIN pg_catalog.pg_class c ON c.oid OPERATOR(pg_catalog.=) a.attrelid"
						 "   WHERE a.atttypid OPERATOR(pg_catalog.=) t.oid"
						 "   AND NOT a.attisdropped AND c.reltype OPERATOR(pg_catalog.<>) 0) d)"
						 " SELECT a.attrelid, a.attnum FROM t JOIN pg_catalog.pg_attribute a"
						 "  ON a.atttypid OPERATOR(pg_catalog.=) t.oid AND NOT a.attisdropped"
						 " JOIN pg_catalog.pg_class c ON c.oid OPERATOR(pg_catalog.=) a.attrelid"
						 "  AND c.relkind OPERATOR(pg_catalog.=) ANY ('{r,p}'::pg_catalog.\"char\"[])"
						 " ORDER BY 1, 2", 1, &param);
	for (uint64 i = 0; i < rows; i++)
	{
		MemoryContext oldcxt = MemoryContextSwitchTo(cxt);

		add_rewritten(touched, DatumGetObjectId(dbp_sql_value(i, 0, NULL)),
					  DatumGetInt16(dbp_sql_value(i, 1, NULL)), false);
		MemoryContextSwitchTo(oldcxt);
	}
}

/*
 * look_at_commands looks into what the server collected of the commands.
 * Caller: SPI connected.
 */
static void
look_at_commands(Touched *touched, MemoryContext cxt)
{
	static SPIPlanPtr plan = NULL;
	uint64		rows = dbp_sql_query_kept("SELECT command FROM pg_catalog.pg_event_trigger_ddl_commands()"
										  " WHERE NOT in_extension", &plan);
	MemoryContext oldcxt = MemoryContextSwitchTo(cxt);
	ListCell   *lc;

	for (uint64 i = 0; i < rows; i++)
	{
		CollectedCommand *command = (CollectedCommand *) DatumGetPointer(dbp_sql_value(i, 0, NULL));

		if (command->type == SCT_AlterTable)
			look_at_alter(touched, command);
		else if (command->type == SCT_Simple)
			look_at_simple(touched, command);
	}
	MemoryContextSwitchTo(oldcxt);
	foreach(lc, touched->types)
		find_columns_of(touched, lfirst_oid(lc), cxt);
}

/*
 * dbpatterns_on_ddl_command_end hands altered and created relations to the
 * modules.  A renamed schema stands for the tables with a pattern in it.
 */
Datum
dbpatterns_on_ddl_command_end(PG_FUNCTION_ARGS)
{
	EventTriggerData *data = event_data(fcinfo);
	const char *command = GetCommandTagName(data->tag);
	static SPIPlanPtr plan = NULL;
	MemoryContext caller_cxt = CurrentMemoryContext;
	Touched		touched = {0};
	uint64		rows;
	ListCell   *lc;

	SPI_connect();
	rows = dbp_sql_query_kept("SELECT c.oid FROM pg_catalog.pg_event_trigger_ddl_commands() d"
							  " JOIN pg_catalog.pg_class c ON c.oid OPERATOR(pg_catalog.=) d.objid"
							  " WHERE d.classid OPERATOR(pg_catalog.=) 'pg_catalog.pg_class'::pg_catalog.regclass"
							  " AND c.relkind OPERATOR(pg_catalog.<>) ALL ('{i,I}'::pg_catalog.\"char\"[])"
							  " AND NOT d.in_extension"
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
							  " UNION "
							  "SELECT p.polrelid FROM pg_catalog.pg_event_trigger_ddl_commands() d"
							  " JOIN pg_catalog.pg_policy p ON p.oid OPERATOR(pg_catalog.=) d.objid"
							  " WHERE d.classid OPERATOR(pg_catalog.=) 'pg_catalog.pg_policy'::pg_catalog.regclass"
							  " AND NOT d.in_extension"
							  " ORDER BY 1", &plan);
	for (uint64 i = 0; i < rows; i++)
	{
		MemoryContext oldcxt = MemoryContextSwitchTo(caller_cxt);

		touched.relids = lappend_oid(touched.relids, DatumGetObjectId(dbp_sql_value(i, 0, NULL)));
		MemoryContextSwitchTo(oldcxt);
	}
	look_at_commands(&touched, caller_cxt);
	SPI_finish();

	foreach(lc, touched.renamed)
	{
		Renamed    *renamed = lfirst(lc);

		for (int i = 0; i < nmodules; i++)
		{
			if (rename_callbacks[i] != NULL)
				rename_callbacks[i] (renamed->relid, renamed->column, renamed->old_name,
									 renamed->new_name);
		}
	}
	foreach(lc, touched.rewritten)
	{
		Rewritten  *table = lfirst(lc);

		for (int i = 0; i < nmodules; i++)
		{
			if (rewrite_callbacks[i] != NULL)
				rewrite_callbacks[i] (table->relid, table->columns, table->computed);
		}
	}
	for (int i = 0; i < nmodules && touched.relids != NIL; i++)
	{
		if (ddl_callbacks[i] != NULL)
			ddl_callbacks[i] (command, touched.relids);
	}
	PG_RETURN_NULL();
}

/*
 * dbpatterns_on_sql_drop hands dropped objects to the modules.
 */
Datum
dbpatterns_on_sql_drop(PG_FUNCTION_ARGS)
{
	static SPIPlanPtr plan = NULL;
	MemoryContext caller_cxt = CurrentMemoryContext;
	List	   *dropped = NIL;
	uint64		rows;

	(void) event_data(fcinfo);
	SPI_connect();
	rows = dbp_sql_query_kept("SELECT classid, objid, object_identity,"
							  " address_names[1], address_names[2]"
							  " FROM pg_catalog.pg_event_trigger_dropped_objects()"
							  " WHERE object_type OPERATOR(pg_catalog.=) ANY ('{table,foreign table,trigger,policy}'::pg_catalog.text[])",
							  &plan);
	for (uint64 i = 0; i < rows; i++)
	{
		MemoryContext oldcxt = MemoryContextSwitchTo(caller_cxt);
		DbpDropped *object = palloc(sizeof(DbpDropped));

		object->classid = DatumGetObjectId(dbp_sql_value(i, 0, NULL));
		object->objid = DatumGetObjectId(dbp_sql_value(i, 1, NULL));
		object->identity = dbp_sql_text(i, 2);
		object->relid = object->classid == RelationRelationId ? InvalidOid :
			get_relname_relid(dbp_sql_text(i, 4), LookupNamespaceNoError(dbp_sql_text(i, 3)));
		dropped = lappend(dropped, object);
		MemoryContextSwitchTo(oldcxt);
	}
	SPI_finish();

	if (dropped != NIL)
	{
		for (int i = 0; i < nmodules; i++)
		{
			if (drop_callbacks[i] != NULL)
				drop_callbacks[i] (dropped);
		}
	}
	PG_RETURN_NULL();
}
