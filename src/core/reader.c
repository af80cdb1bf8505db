/*-------------------------------------------------------------------------
 *
 * reader.c
 *	  SQL functions beside a table that return rows of it.
 *
 * They are named <table>__<what>, belong to the table's owner, live in its schema
 * and run with the rights of whoever calls them; the planner inlines them, which
 * a setting of their own would prevent, so all names in a body are qualified.
 * By name and result type a function is known to be ours.  Each goes silently with
 * the table, unless it was restored from a dump.
 *
 * Callers are connected to SPI.
 *
 * Copyright (c) 2026, dbpatterns contributors
 *
 * src/core/reader.c
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "access/xact.h"
#include "catalog/dependency.h"
#include "catalog/pg_class.h"
#include "catalog/pg_proc.h"
#include "catalog/pg_type.h"
#include "commands/comment.h"
#include "commands/defrem.h"
#include "core/names.h"
#include "core/owner.h"
#include "core/reader.h"
#include "core/sql.h"
#include "utils/builtins.h"
#include "utils/lsyscache.h"
#include "utils/regproc.h"

/*
 * dbp_reader_name returns the name of a function of a table; if it is too long, the
 * table's part is cut.
 */
char *
dbp_reader_name(const char *table, const char *what)
{
	return makeObjectName(table, NULL, psprintf("_%s", what));
}

static Oid
find_function(Oid relid, const char *name)
{
	DbpParam	params[2];

	params[0] = DBP_PARAM(OIDOID, ObjectIdGetDatum(get_rel_type_id(relid)));
	params[1] = DBP_PARAM(TEXTOID, CStringGetTextDatum(name));
	if (dbp_sql_query("SELECT oid FROM pg_catalog.pg_proc"
					  " WHERE prorettype OPERATOR(pg_catalog.=) $1"
					  " AND proname OPERATOR(pg_catalog.=) $2::pg_catalog.name"
					  " AND proretset ORDER BY 1 LIMIT 1", 2, params) == 0)
		return InvalidOid;
	return DatumGetObjectId(dbp_sql_value(0, 0, NULL));
}

/*
 * dbp_reader_find returns the OID of a function of a table, InvalidOid if there is none.
 */
Oid
dbp_reader_find(Oid relid, const char *what)
{
	return find_function(relid, dbp_reader_name(get_rel_name(relid), what));
}

static bool
name_is_taken(Oid schema, const char *name)
{
	DbpParam	params[2];

	params[0] = DBP_PARAM(OIDOID, ObjectIdGetDatum(schema));
	params[1] = DBP_PARAM(TEXTOID, CStringGetTextDatum(name));
	return dbp_sql_query("SELECT FROM pg_catalog.pg_proc"
						 " WHERE pronamespace OPERATOR(pg_catalog.=) $1"
						 " AND proname OPERATOR(pg_catalog.=) $2::pg_catalog.name", 2, params) > 0;
}

/*
 * has_body tells whether a function has a body already: no need to replace it.
 */
static bool
has_body(Oid functionid, const char *body)
{
	DbpParam	params[2];

	params[0] = DBP_PARAM(OIDOID, ObjectIdGetDatum(functionid));
	params[1] = DBP_PARAM(TEXTOID, CStringGetTextDatum(body));
	return dbp_sql_query("SELECT FROM pg_catalog.pg_proc WHERE oid OPERATOR(pg_catalog.=) $1"
						 " AND prosrc OPERATOR(pg_catalog.=) $2", 2, params) > 0;
}

/*
 * dbp_reader_make creates a function of a table, or brings it up to date in place, so that
 * rights and views stay.  It raises 42723 if the name belongs to another one.
 */
void
dbp_reader_make(const DbpReaders *readers, Relation rel, const char *what,
				const char *arguments, const char *body, const char *comment)
{
	Oid			nsp = RelationGetNamespace(rel);
	char	   *name = dbp_reader_name(RelationGetRelationName(rel), what);
	char	   *qualified = quote_qualified_identifier(get_namespace_name(nsp), name);
	Oid			functionid = find_function(RelationGetRelid(rel), name);
	bool		here = OidIsValid(functionid) && get_func_namespace(functionid) == nsp;
	ObjectAddress function = {ProcedureRelationId};
	ObjectAddress table = {RelationRelationId, RelationGetRelid(rel)};
	DbpOwnerScope scope;

	if (here && has_body(functionid, body))
		return;
	if (!here && name_is_taken(nsp, name))
		ereport(ERROR,
				(errcode(ERRCODE_DUPLICATE_FUNCTION),
				 errmsg("function %s already exists", qualified),
				 errhint("The functions that read %s are named after it: rename that function.",
						 readers->kind)));
	dbp_enter_owner(&scope, rel->rd_rel->relowner);
	if (OidIsValid(functionid) && !here)
		dbp_sql_silently(readers->silent, "ALTER FUNCTION %s SET SCHEMA %s",
						 format_procedure_qualified(functionid),
						 quote_identifier(get_namespace_name(nsp)));
	dbp_sql_silently(readers->silent, "CREATE OR REPLACE FUNCTION %s(%s) RETURNS SETOF %s"
					 " LANGUAGE sql STABLE PARALLEL SAFE AS %s",
					 qualified, arguments, dbp_relation_name(rel), quote_literal_cstr(body));
	dbp_leave_owner(&scope);
	CommandCounterIncrement();
	function.objectId = find_function(RelationGetRelid(rel), name);
	recordDependencyOn(&function, &table, DEPENDENCY_AUTO);
	CreateComments(function.objectId, ProcedureRelationId, 0, comment);
}

/*
 * dbp_reader_drop drops a function of a table if it is there; what depends on it raises.
 */
void
dbp_reader_drop(const DbpReaders *readers, Oid relid, const char *what)
{
	Oid			functionid = dbp_reader_find(relid, what);
	DbpOwnerScope scope;

	if (!OidIsValid(functionid))
		return;
	dbp_enter_owner(&scope, dbp_relation_owner(relid));
	dbp_sql_silently(readers->silent, "DROP FUNCTION %s", format_procedure_qualified(functionid));
	dbp_leave_owner(&scope);
}

/*
 * dbp_readers_rename names the functions of a table after its new name.
 */
void
dbp_readers_rename(const DbpReaders *readers, Oid relid, const char *old_name,
				   const char *new_name)
{
	DbpOwnerScope scope;

	dbp_enter_owner(&scope, dbp_relation_owner(relid));
	for (int i = 0; i < readers->n; i++)
	{
		char	   *name = dbp_reader_name(old_name, readers->names[i]);
		char	   *other = dbp_reader_name(new_name, readers->names[i]);
		Oid			functionid = find_function(relid, name);

		if (OidIsValid(functionid) && strcmp(name, other) != 0)
			dbp_sql_silently(readers->silent, "ALTER FUNCTION %s RENAME TO %s",
							 format_procedure_qualified(functionid), quote_identifier(other));
	}
	dbp_leave_owner(&scope);
}

/*
 * dbp_readers_give gives the functions of a table to its new owner.
 */
void
dbp_readers_give(const DbpReaders *readers, Oid relid, const char *owner)
{
	for (int i = 0; i < readers->n; i++)
	{
		Oid			functionid = dbp_reader_find(relid, readers->names[i]);

		if (OidIsValid(functionid))
			dbp_sql_silently(readers->silent, "ALTER FUNCTION %s OWNER TO %s",
							 format_procedure_qualified(functionid), quote_identifier(owner));
	}
}

/*
 * dbp_readers_drop drops all functions of a table that are there.
 */
void
dbp_readers_drop(const DbpReaders *readers, Oid relid)
{
	for (int i = 0; i < readers->n; i++)
		dbp_reader_drop(readers, relid, readers->names[i]);
}
