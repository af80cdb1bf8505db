/*-------------------------------------------------------------------------
 *
 * functions.c
 *	  The functions that read the past of a versioned table.
 *
 * <table>__versions() returns all versions, <table>__as_of(t) those of a time,
 * <table>__between(a, b) those of some time between.  They are SQL functions
 * that the planner inlines, so that conditions and joins reach the indexes of
 * both tables; they return rows of the table, belong to its owner, live beside it
 * and run with the rights of whoever calls them.  All names in them are
 * qualified, so that no search_path has a say.
 *
 * Each goes silently with the table, unless it was restored from a dump.
 *
 * Copyright (c) 2026, dbpatterns contributors
 *
 * src/versioning/functions.c
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "access/sysattr.h"
#include "access/table.h"
#include "access/xact.h"
#include "catalog/dependency.h"
#include "catalog/pg_class.h"
#include "catalog/pg_proc.h"
#include "commands/comment.h"
#include "commands/defrem.h"
#include "compat/compat.h"
#include "core/names.h"
#include "core/owner.h"
#include "core/sql.h"
#include "optimizer/optimizer.h"
#include "utils/builtins.h"
#include "utils/lsyscache.h"
#include "utils/regproc.h"
#include "utils/rel.h"
#include "utils/ruleutils.h"
#include "versioning/versioning.h"

/* A function: %1$s stands for the period, qualified, where it is read. */
typedef struct Reader
{
	const char *name;
	const char *arguments;
	const char *base_condition; /* NULL: all rows; %s: the period */
	const char *history_condition;
	const char *comment;
} Reader;

#define AT(period) period " OPERATOR(pg_catalog.@>) $1"
#define DURING(period) \
	period " OPERATOR(pg_catalog.&&) pg_catalog.tstzrange($1, $2)"

/*
 * The end of a period is in the index of the history and decides about its
 * partition, hence the second condition.
 */
static const Reader readers[] = {
	{"as_of", "at timestamptz", AT("b.%1$s"),
		AT("h.%1$s") " AND pg_catalog.upper(h.%1$s) OPERATOR(pg_catalog.>) $1",
	"rows as they were at a time"},
	{"between", "from_time timestamptz, to_time timestamptz", DURING("b.%1$s"),
		DURING("h.%1$s") " AND pg_catalog.upper(h.%1$s) OPERATOR(pg_catalog.>) $1",
	"versions of rows that were current at some time from from_time up to, but not at, to_time"},
	{"versions", "", NULL, NULL, "all versions of rows, the current ones too"},
};

/*
 * dbp_versioning_function_name returns the name of a function that reads a table.
 */
char *
dbp_versioning_function_name(const char *table, const char *what)
{
	return makeObjectName(table, NULL, psprintf("_%s", what));
}

/*
 * virtual_expression returns what a virtual column is computed from in the history,
 * NULL for another column, and where a column without a history has a part in it.
 */
static char *
virtual_expression(Relation base, Form_pg_attribute att, const VersioningOptions *options)
{
	TupleDesc	desc = RelationGetDescr(base);
	Bitmapset  *columns = NULL;
	Node	   *expr;

	if (att->attgenerated != ATTRIBUTE_GENERATED_VIRTUAL)
		return NULL;
	expr = TupleDescGetDefault(desc, att->attnum);
	pull_varattnos(expr, 1, &columns);
	for (int i = 0; i < desc->natts; i++)
	{
		if (bms_is_member(i + 1 - FirstLowInvalidHeapAttributeNumber, columns) &&
			!dbp_versioning_has_history(TupleDescAttr(desc, i), options))
			return NULL;
	}
	return deparse_expression(expr, deparse_context_for("h", RelationGetRelid(base)),
							  true, false);
}

/*
 * append_past appends how a column of the table is read from the history.
 */
static void
append_past(StringInfo sql, Relation base, Oid historyid, Form_pg_attribute att,
			const VersioningOptions *options)
{
	const char *type = format_type_extended(att->atttypid, att->atttypmod,
											FORMAT_TYPE_TYPEMOD_GIVEN | FORMAT_TYPE_FORCE_QUALIFY);
	AttrNumber	attno = get_attnum(historyid, NameStr(att->attname));
	char	   *virtual = virtual_expression(base, att, options);

	if (virtual != NULL)
		appendStringInfo(sql, "(%s)::%s", virtual, type);
	else if (!dbp_versioning_has_history(att, options) || attno == InvalidAttrNumber)
		appendStringInfo(sql, "NULL::%s", type);
	else if (get_atttype(historyid, attno) != att->atttypid)
		appendStringInfo(sql, "h.%s::%s", quote_identifier(NameStr(att->attname)), type);
	else
		appendStringInfo(sql, "h.%s", quote_identifier(NameStr(att->attname)));
}

static char *
reader_query(Relation base, Oid historyid, const VersioningOptions *options,
			 const Reader *reader)
{
	TupleDesc	desc = RelationGetDescr(base);
	const char *period = quote_identifier(options->period);
	StringInfoData now;
	StringInfoData past;

	initStringInfo(&now);
	initStringInfo(&past);
	for (int i = 0; i < desc->natts; i++)
	{
		Form_pg_attribute att = TupleDescAttr(desc, i);

		if (att->attisdropped)
			continue;
		appendStringInfo(&now, "%sb.%s", now.len > 0 ? ", " : "SELECT ",
						 quote_identifier(NameStr(att->attname)));
		appendStringInfoString(&past, past.len > 0 ? ", " : "SELECT ");
		append_past(&past, base, historyid, att, options);
	}
	appendStringInfo(&now, " FROM %s b", dbp_relation_name(base));
	appendStringInfo(&past, " FROM %s h", dbp_relation_name_by_oid(historyid));
	if (reader->base_condition != NULL)
	{
		appendStringInfoString(&now, " WHERE ");
		appendStringInfo(&now, reader->base_condition, period);
		appendStringInfoString(&past, " WHERE ");
		appendStringInfo(&past, reader->history_condition, period);
	}
	return psprintf("%s UNION ALL %s", now.data, past.data);
}

/*
 * find_function returns the OID of a function that returns rows of the table and
 * has that name, with its schema; InvalidOid if there is none.
 */
static Oid
find_function(Oid typeid, const char *name, Oid *schema)
{
	DbpParam	params[2];

	params[0] = DBP_PARAM(OIDOID, ObjectIdGetDatum(typeid));
	params[1] = DBP_PARAM(TEXTOID, CStringGetTextDatum(name));
	if (dbp_sql_query("SELECT oid, pronamespace FROM pg_catalog.pg_proc"
					  " WHERE prorettype OPERATOR(pg_catalog.=) $1"
					  " AND proname OPERATOR(pg_catalog.=) $2::pg_catalog.name"
					  " AND proretset ORDER BY 1 LIMIT 1", 2, params) == 0)
		return InvalidOid;
	*schema = DatumGetObjectId(dbp_sql_value(0, 1, NULL));
	return DatumGetObjectId(dbp_sql_value(0, 0, NULL));
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
 * make_function creates a function of the table, or brings it up to date in place, so that
 * rights and views stay.
 */
static void
make_function(Relation base, Oid historyid, const VersioningOptions *options,
			  const Reader *reader)
{
	Oid			nsp = RelationGetNamespace(base);
	Oid			typeid = base->rd_rel->reltype;
	char	   *name = dbp_versioning_function_name(RelationGetRelationName(base), reader->name);
	char	   *qualified = quote_qualified_identifier(get_namespace_name(nsp), name);
	Oid			schema = nsp;
	Oid			functionid = find_function(typeid, name, &schema);
	ObjectAddress function = {ProcedureRelationId};
	ObjectAddress table = {RelationRelationId, RelationGetRelid(base)};

	if ((!OidIsValid(functionid) || schema != nsp) && name_is_taken(nsp, name))
		ereport(ERROR,
				(errcode(ERRCODE_DUPLICATE_FUNCTION),
				 errmsg("function %s already exists", qualified),
				 errhint("The functions that read a versioned table are named after it: rename that function.")));
	if (OidIsValid(functionid) && schema != nsp)
		dbp_versioning_command(psprintf("ALTER FUNCTION %s SET SCHEMA %s",
										format_procedure_qualified(functionid),
										quote_identifier(get_namespace_name(nsp))));
	dbp_versioning_command(psprintf("CREATE OR REPLACE FUNCTION %s(%s) RETURNS SETOF %s"
									" LANGUAGE sql STABLE PARALLEL SAFE AS %s",
									qualified, reader->arguments, dbp_relation_name(base),
									quote_literal_cstr(reader_query(base, historyid, options,
																	reader))));
	CommandCounterIncrement();
	function.objectId = find_function(typeid, name, &schema);
	recordDependencyOn(&function, &table, DEPENDENCY_AUTO);
	CreateComments(function.objectId, ProcedureRelationId, 0, reader->comment);
}

/*
 * dbp_versioning_make_functions creates the functions of a table, or brings them up to
 * date.  The caller is connected to SPI.
 */
void
dbp_versioning_make_functions(Oid baseid, Oid historyid, const VersioningOptions *options)
{
	Relation	base = table_open(baseid, AccessShareLock);
	DbpOwnerScope scope;

	dbp_enter_owner(&scope, base->rd_rel->relowner);
	for (int i = 0; i < lengthof(readers); i++)
		make_function(base, historyid, options, &readers[i]);
	dbp_leave_owner(&scope);
	table_close(base, NoLock);
}

/* Work on one function; arg is the caller's. */
typedef void (*FunctionWork) (Oid functionid, const Reader *reader, const void *arg);

/*
 * for_each_function does work on the functions of a table that are there, by the name
 * of the table, and returns how many.
 */
static int
for_each_function(Oid baseid, const char *table, FunctionWork work, const void *arg)
{
	int			n = 0;

	for (int i = 0; i < lengthof(readers); i++)
	{
		char	   *name = dbp_versioning_function_name(table, readers[i].name);
		Oid			schema;
		Oid			functionid = find_function(get_rel_type_id(baseid), name, &schema);

		if (!OidIsValid(functionid))
			continue;
		n++;
		if (work != NULL)
			work(functionid, &readers[i], arg);
	}
	return n;
}

static void
rename_function(Oid functionid, const Reader *reader, const void *arg)
{
	dbp_versioning_command(psprintf("ALTER FUNCTION %s RENAME TO %s",
									format_procedure_qualified(functionid),
									quote_identifier(dbp_versioning_function_name(arg,
																				  reader->name))));
}

static void
give_function(Oid functionid, const Reader *reader, const void *arg)
{
	dbp_versioning_command(psprintf("ALTER FUNCTION %s OWNER TO %s",
									format_procedure_qualified(functionid),
									quote_identifier(arg)));
}

static void
drop_function(Oid functionid, const Reader *reader, const void *arg)
{
	dbp_versioning_command(psprintf("DROP FUNCTION %s", format_procedure_qualified(functionid)));
}

/*
 * dbp_versioning_rename_functions names them after the table's new name.
 */
void
dbp_versioning_rename_functions(Oid baseid, const char *old_name, const char *new_name)
{
	DbpOwnerScope scope;

	dbp_enter_owner(&scope, dbp_relation_owner(baseid));
	(void) for_each_function(baseid, old_name, rename_function, new_name);
	dbp_leave_owner(&scope);
}

/*
 * dbp_versioning_give_functions gives them to the table's new owner.
 */
void
dbp_versioning_give_functions(Oid baseid, const char *owner)
{
	(void) for_each_function(baseid, get_rel_name(baseid), give_function, owner);
}

/*
 * dbp_versioning_drop_functions drops them; what depends on them raises.
 */
void
dbp_versioning_drop_functions(Oid baseid)
{
	DbpOwnerScope scope;

	dbp_enter_owner(&scope, dbp_relation_owner(baseid));
	(void) for_each_function(baseid, get_rel_name(baseid), drop_function, NULL);
	dbp_leave_owner(&scope);
}

/*
 * dbp_versioning_has_functions tells whether all of them are there.
 */
bool
dbp_versioning_has_functions(Oid baseid)
{
	return for_each_function(baseid, get_rel_name(baseid), NULL, NULL) == lengthof(readers);
}
