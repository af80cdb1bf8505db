/*-------------------------------------------------------------------------
 *
 * enable.c
 *	  Switching isolation of tables on and off.
 *
 * Everything is plain DDL, run with the rights of the caller, who owns the
 * table; a dry run returns it instead.  Partitions and inheritance children get
 * policies of their own, at every level: who queries a child directly meets the
 * child's policies, not its parent's.
 *
 * Copyright (c) 2026, dbpatterns contributors
 *
 * src/tenant/enable.c
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "access/table.h"
#include "catalog/namespace.h"
#include "catalog/pg_inherits.h"
#include "catalog/pg_namespace.h"
#include "catalog/pg_type.h"
#include "compat/compat.h"
#include "core/names.h"
#include "core/owner.h"
#include "core/registry.h"
#include "core/sql.h"
#include "core/target.h"
#include "core/version.h"
#include "fmgr.h"
#include "funcapi.h"
#include "miscadmin.h"
#include "storage/lmgr.h"
#include "tenant/tenant.h"
#include "utils/acl.h"
#include "utils/array.h"
#include "utils/builtins.h"
#include "utils/lsyscache.h"

PG_FUNCTION_INFO_V1(dbpatterns_tenant_enable);
PG_FUNCTION_INFO_V1(dbpatterns_tenant_enable_schema);
PG_FUNCTION_INFO_V1(dbpatterns_tenant_exempt);
PG_FUNCTION_INFO_V1(dbpatterns_tenant_disable);

/* The options that follow the first two arguments of the enabling functions. */
typedef struct Options
{
	char	   *column;
	bool		on_missing_error;
	char	   *user_column;
	bool		fix_keys;
	char	   *form;
	bool		dry_run;
} Options;

/*
 * get_options reads the options, which begin at an argument.
 */
static Options
get_options(FunctionCallInfo fcinfo, int first)
{
	Options		options;

	dbp_require_argument(fcinfo, first, "tenant_column", "Name the column that holds the tenant.");
	dbp_require_argument(fcinfo, first + 3, "fix_keys", "Give true or false.");
	dbp_require_argument(fcinfo, first + 5, "dry_run", "Give true or false.");
	options.column = pstrdup(NameStr(*PG_GETARG_NAME(first)));
	options.on_missing_error = dbp_choose_argument(fcinfo, first + 1, "on_missing", "deny", "error");
	options.user_column = PG_ARGISNULL(first + 2) ? NULL :
		pstrdup(NameStr(*PG_GETARG_NAME(first + 2)));
	options.fix_keys = PG_GETARG_BOOL(first + 3);
	options.form = PG_ARGISNULL(first + 4) ? "" : text_to_cstring(PG_GETARG_TEXT_PP(first + 4));
	options.dry_run = PG_GETARG_BOOL(first + 5);
	if (strcmp(options.form, "auto") != 0 && strcmp(options.form, "initplan") != 0 &&
		strcmp(options.form, "bare") != 0)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("invalid value of argument \"form\": \"%s\"", options.form),
				 errhint("Give 'auto', 'initplan' or 'bare'.")));
	return options;
}

/*
 * make_spec makes the spec of a table from options, and raises what is wrong with
 * either.  Caller: SPI connected.
 */
static void
make_spec(TenantSpec *spec, const Options *options, Oid relid)
{
	TenantSpec	old;
	Relation	rel = table_open(relid, NoLock);
	bool		known;

	dbp_require_target(rel, "isolated");
	if (rel->rd_rel->relpersistence == RELPERSISTENCE_TEMP)
		ereport(ERROR,
				(errcode(ERRCODE_FEATURE_NOT_SUPPORTED),
				 errmsg("temporary table %s cannot be isolated", RelationGetRelationName(rel)),
				 errhint("It belongs to one session, and ends with it.")));
	known = dbp_tenant_read_spec(relid, &old);
	memset(spec, 0, sizeof(TenantSpec));
	spec->column = options->column;
	spec->user_column = options->user_column;
	spec->on_missing_error = options->on_missing_error;
	spec->had_rls = known ? old.had_rls : rel->rd_rel->relrowsecurity;
	spec->had_force = known ? old.had_force : rel->rd_rel->relforcerowsecurity;
	dbp_tenant_complete_spec(spec, rel, options->form);
	table_close(rel, NoLock);
}

/*
 * dbp_tenant_apply gives a table, and all that is below it, what they need.  Caller:
 * has locked the tree; SPI connected, search_path pinned.
 */
void
dbp_tenant_apply(TenantScript *script, TenantSpec *spec, Oid relid, List *tree)
{
	ListCell   *lc;

	foreach(lc, tree)
		dbp_tenant_protect(script, spec, lfirst_oid(lc), lfirst_oid(lc) == relid);
}

static void
remove_exemption(Oid relid)
{
	DbpOwnerScope scope;
	DbpParam	param = DBP_PARAM(REGCLASSOID, ObjectIdGetDatum(relid));

	dbp_tenant_enter_ours(&scope);
	dbp_sql_query("DELETE FROM _dbpatterns.tenant_exempt WHERE target = $1", 1, &param);
	dbp_leave_owner(&scope);
}

/*
 * enable isolates one table, keys aside, and returns the tables it consists of.
 */
static List *
enable(TenantScript *script, const Options *options, Oid relid)
{
	List	   *tree = dbp_lock_tree(relid, AccessExclusiveLock);
	TenantSpec	spec;

	make_spec(&spec, options, relid);
	if (!options->dry_run)
	{
		dbp_registry_set(relid, "tenant", dbp_tenant_spec_options(&spec));
		remove_exemption(relid);
	}
	dbp_tenant_apply(script, &spec, relid, tree);
	return tree;
}

static void
return_commands(FunctionCallInfo fcinfo, TenantScript *script)
{
	ReturnSetInfo *rsinfo = (ReturnSetInfo *) fcinfo->resultinfo;
	ListCell   *lc;

	foreach(lc, script->commands)
	{
		Datum		value = CStringGetTextDatum(lfirst(lc));
		bool		isnull = false;

		tuplestore_putvalues(rsinfo->setResult, rsinfo->setDesc, &value, &isnull);
	}
}

/*
 * index_what_has_none makes indexes for tables whose keys had to stay.
 */
static void
index_what_has_none(TenantScript *script, List *relids)
{
	ListCell   *lc;

	foreach(lc, relids)
	{
		TenantSpec	spec;

		(void) dbp_tenant_read_spec(lfirst_oid(lc), &spec);
		dbp_tenant_apply(script, &spec, lfirst_oid(lc),
						 find_all_inheritors(lfirst_oid(lc), NoLock, NULL));
	}
}

/*
 * enable_all isolates tables, and turns over their keys if so asked.  Caller: SPI
 * connected.
 */
static void
enable_all(TenantScript *script, const Options *options, List *relids)
{
	List	   *tables = NIL;
	DbpOwnerScope scope;
	ListCell   *lc;

	dbp_enter_caller(&scope);
	foreach(lc, relids)
		tables = list_concat(tables, enable(script, options, lfirst_oid(lc)));
	if (options->fix_keys)
	{
		dbp_tenant_fix_keys(script, tables, options->column);
		script->fix_keys = false;
		if (!options->dry_run)
			index_what_has_none(script, relids);
	}
	else if (script->commands != NIL)
		dbp_tenant_report_keys(tables, options->column);
	dbp_leave_owner(&scope);
}

/*
 * run does so with nobody following the commands, and returns them.
 */
static void
run(FunctionCallInfo fcinfo, const Options *options, List *relids)
{
	TenantScript script = {options->dry_run, options->fix_keys, NIL, 0, CurrentMemoryContext};
	bool		following = dbp_tenant_pause_following(true);

	PG_TRY();
	{
		enable_all(&script, options, relids);
	}
	PG_FINALLY();
	{
		dbp_tenant_pause_following(following);
	}
	PG_END_TRY();
	return_commands(fcinfo, &script);
}

/*
 * tenant_enable(target regclass, tenant_column name, on_missing text,
 * user_column name, fix_keys boolean, form text, dry_run boolean) isolates the tenants of a
 * table by row-level security, and returns the commands that did it, or would.
 *
 * target: a table, with its partitions and inheritance children.  tenant_column: of type
 * uuid, bigint, integer or text, without NULLs.  on_missing: without a tenant there are no
 * rows ("deny"), or queries raise 42501 ("error").  user_column: rows are the
 * user's, too; NULL for no such thing.  fix_keys: keys and foreign keys get the tenant
 * in front.  form: of the policies; "initplan" computes the tenant once in a
 * query, "bare" calls for it in place, "auto" chooses.  A call with other
 * options alters the table; an identical one finds nothing to do, which a
 * NOTICE says.  Raises 22004 and 22023 for arguments, 42501 unless the caller
 * owns the table, 42809 for what is no table, a partition or a foreign partition, 42703 and
 * 42804 for columns, 0A000 for temporary tables, computed columns, and keys that cannot
 * be turned over, 23502 where a tenant is NULL.  Takes ACCESS EXCLUSIVE on the
 * table and what is below it, with fix_keys on tables of foreign keys as well.
 * Runs as the caller.
 */
Datum
dbpatterns_tenant_enable(PG_FUNCTION_ARGS)
{
	ReturnSetInfo *rsinfo = (ReturnSetInfo *) fcinfo->resultinfo;
	Options		options;
	Oid			relid;

	dbp_require_argument(fcinfo, 0, "target", "Name a table.");
	relid = PG_GETARG_OID(0);
	options = get_options(fcinfo, 1);
	dbp_check_version();
	InitMaterializedSRF(fcinfo, MAT_SRF_USE_EXPECTED_DESC);
	SPI_connect();
	run(fcinfo, &options, list_make1_oid(relid));
	SPI_finish();
	if (tuplestore_tuple_count(rsinfo->setResult) == 0)
		ereport(NOTICE,
				(errmsg("table %s is isolated already", dbp_relation_name_by_oid(relid))));
	PG_RETURN_NULL();
}

/*
 * tables_of_schema returns the tables of a schema that are to be isolated.
 */
static List *
tables_of_schema(const char *schema, Datum except)
{
	MemoryContext cxt = CurrentMemoryContext;
	MemoryContext oldcxt;
	DbpOwnerScope scope;
	DbpParam	params[2];
	List	   *relids = NIL;
	uint64		rows;

	params[0] = DBP_PARAM(OIDOID, ObjectIdGetDatum(get_namespace_oid(schema, false)));
	params[1] = DBP_PARAM(REGCLASSARRAYOID, except);
	dbp_tenant_enter_ours(&scope);
	rows = dbp_sql_query("SELECT c.oid FROM pg_class c WHERE c.relnamespace = $1"
						 " AND c.relkind = ANY ('{r,p}') AND NOT c.relispartition AND c.relpersistence <> 't'"
						 " AND c.oid <> ALL ($2::oid[])"
						 " AND NOT EXISTS (SELECT FROM _dbpatterns.tenant_exempt x WHERE x.target = c.oid)"
						 " AND NOT EXISTS (SELECT FROM pg_depend d WHERE d.classid = 'pg_class'::regclass"
						 "  AND d.objid = c.oid AND d.deptype = 'e')"
						 " AND NOT EXISTS (SELECT FROM pg_inherits i JOIN pg_class p ON p.oid = i.inhparent"
						 "  WHERE i.inhrelid = c.oid AND p.relnamespace = $1)"
						 " ORDER BY c.oid", 2, params);
	oldcxt = MemoryContextSwitchTo(cxt);
	for (uint64 i = 0; i < rows; i++)
		relids = lappend_oid(relids, DatumGetObjectId(dbp_sql_value(i, 0, NULL)));
	MemoryContextSwitchTo(oldcxt);
	dbp_leave_owner(&scope);
	return relids;
}

/*
 * exempt writes down that tables are not isolated, and why.
 */
static void
exempt(DbpParam relids, const char *reason)
{
	DbpOwnerScope scope;
	DbpParam	params[2];

	params[0] = relids;
	params[1] = DBP_PARAM(TEXTOID, CStringGetTextDatum(reason));
	dbp_tenant_enter_ours(&scope);
	dbp_sql_query("INSERT INTO _dbpatterns.tenant_exempt (target, reason)"
				  " SELECT DISTINCT r::regclass, $2 FROM unnest($1) r WHERE r IS NOT NULL"
				  " ON CONFLICT (target) DO UPDATE SET reason = excluded.reason,"
				  "  exempted_by = excluded.exempted_by, exempted_at = excluded.exempted_at",
				  2, params);
	dbp_leave_owner(&scope);
}

static void
cover_schema(const char *schema, const Options *options)
{
	DbpOwnerScope scope;
	DbpParam	params[5];

	params[0] = DBP_PARAM(TEXTOID, CStringGetTextDatum(schema));
	params[1] = DBP_PARAM(TEXTOID, CStringGetTextDatum(options->column));
	params[2] = DBP_PARAM(TEXTOID, CStringGetTextDatum(options->on_missing_error ? "error" : "deny"));
	params[3] = DBP_PARAM(TEXTOID, CStringGetTextDatum(options->form));
	params[4] = DBP_PARAM(BOOLOID, BoolGetDatum(options->fix_keys));
	dbp_tenant_enter_ours(&scope);
	dbp_sql_query("INSERT INTO _dbpatterns.tenant_schema VALUES ($1, $2, $3, $4, $5)"
				  " ON CONFLICT (schema) DO UPDATE SET tenant_column = excluded.tenant_column,"
				  "  on_missing = excluded.on_missing, form = excluded.form, fix_keys = excluded.fix_keys",
				  5, params);
	dbp_leave_owner(&scope);
}

/*
 * require_owners raises 42501 unless the caller owns each table of an array.
 */
static void
require_owners(Datum relids)
{
	Datum	   *values;
	bool	   *nulls;
	int			n;

	deconstruct_array(DatumGetArrayTypeP(relids), REGCLASSOID, sizeof(Oid), true, TYPALIGN_INT,
					  &values, &nulls, &n);
	for (int i = 0; i < n; i++)
	{
		if (!nulls[i])
			dbp_require_owner(DatumGetObjectId(values[i]));
	}
}

/*
 * tenant_enable_schema(schema name, except_tables regclass[], ...) isolates all tables of a
 * schema as tenant_enable does, and covers the schema: what becomes of tables that are
 * made there later, dbpatterns.tenant_new_tables says.
 *
 * except_tables: tables that are not isolated, because all tenants share them;
 * they are written down as exempt.  Tables that are exempt already, belong to extensions or are
 * temporary are left out.  Raises 3F000 for a schema that does not exist, 42501 unless the
 * caller owns it and every table, 42703 for a table without the column, otherwise as
 * tenant_enable does.
 */
Datum
dbpatterns_tenant_enable_schema(PG_FUNCTION_ARGS)
{
	Options		options;
	char	   *schema;
	Datum		except;

	dbp_require_argument(fcinfo, 0, "schema", "Name a schema.");
	dbp_require_argument(fcinfo, 1, "except_tables", "Give '{}' for no exception.");
	schema = NameStr(*PG_GETARG_NAME(0));
	except = PG_GETARG_DATUM(1);
	options = get_options(fcinfo, 2);
	dbp_check_version();
	if (!object_ownercheck(NamespaceRelationId, get_namespace_oid(schema, false), GetUserId()))
		ereport(ERROR,
				(errcode(ERRCODE_INSUFFICIENT_PRIVILEGE),
				 errmsg("must be owner of schema %s", schema),
				 errhint("Run this as the owner of the schema or as a superuser.")));
	require_owners(except);
	InitMaterializedSRF(fcinfo, MAT_SRF_USE_EXPECTED_DESC);
	SPI_connect();
	if (!options.dry_run)
	{
		cover_schema(schema, &options);
		exempt(DBP_PARAM(REGCLASSARRAYOID, except), "excepted from its schema");
	}
	run(fcinfo, &options, tables_of_schema(schema, except));
	SPI_finish();
	PG_RETURN_NULL();
}

static char *
get_reason(FunctionCallInfo fcinfo, int argno)
{
	dbp_require_words(fcinfo, argno, "reason", "Say why.");
	return text_to_cstring(PG_GETARG_TEXT_PP(argno));
}

/*
 * dbp_tenant_is_exempt tells whether a table need not be isolated.  Caller: SPI
 * connected.
 */
bool
dbp_tenant_is_exempt(Oid relid)
{
	DbpOwnerScope scope;
	DbpParam	param = DBP_PARAM(REGCLASSOID, ObjectIdGetDatum(relid));
	bool		found;

	dbp_tenant_enter_ours(&scope);
	found = dbp_sql_query("SELECT FROM _dbpatterns.tenant_exempt WHERE target = $1", 1, &param) > 0;
	dbp_leave_owner(&scope);
	return found;
}

/*
 * tenant_exempt(target regclass, reason text) writes down that a table need not be
 * isolated: all tenants share it.
 *
 * reason: why; not NULL or empty.  A second call replaces it.  Raises 22004 and 22023 for
 * arguments, 42501 unless the caller owns the table, 55000 when it is isolated.
 * Takes ROW EXCLUSIVE on a table of ours.
 */
Datum
dbpatterns_tenant_exempt(PG_FUNCTION_ARGS)
{
	TenantSpec	spec;
	Oid			relid;
	char	   *reason;

	dbp_require_argument(fcinfo, 0, "target", "Name a table.");
	relid = PG_GETARG_OID(0);
	reason = get_reason(fcinfo, 1);
	dbp_require_owner(relid);
	SPI_connect();
	if (dbp_tenant_read_spec(relid, &spec))
		ereport(ERROR,
				(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
				 errmsg("table %s is isolated", dbp_relation_name_by_oid(relid)),
				 errhint("Call dbpatterns.tenant_disable.")));
	exempt(dbp_oids_param(list_make1_oid(relid)), reason);
	SPI_finish();
	PG_RETURN_VOID();
}

static void
disable(const TenantSpec *spec, List *tree)
{
	TenantScript script = {false, false, NIL, 0, CurrentMemoryContext};
	bool		following = dbp_tenant_pause_following(true);
	DbpOwnerScope scope;
	ListCell   *lc;

	PG_TRY();
	{
		dbp_enter_caller(&scope);
		foreach(lc, tree)
			dbp_tenant_unprotect(&script, spec, lfirst_oid(lc));
		dbp_leave_owner(&scope);
	}
	PG_FINALLY();
	{
		dbp_tenant_pause_following(following);
	}
	PG_END_TRY();
}

/*
 * tenant_disable(target regclass, reason text) ends the isolation of a table, and writes
 * down why.
 *
 * Policies of ours go, and row-level security is what it was before; so does the
 * default from the context.  NOT NULL, the index, keys and revoked rights stay as they
 * are.  Raises 22004 and 22023 for arguments, 42501 unless the caller owns the table,
 * 42704 when it is not isolated.  Takes ACCESS EXCLUSIVE on the table and what is below it.
 * Runs as the caller.
 */
Datum
dbpatterns_tenant_disable(PG_FUNCTION_ARGS)
{
	TenantSpec	spec;
	List	   *tree;
	Oid			relid;
	char	   *reason;

	dbp_require_argument(fcinfo, 0, "target", "Name a table.");
	relid = PG_GETARG_OID(0);
	reason = get_reason(fcinfo, 1);
	dbp_check_version();
	tree = dbp_lock_tree(relid, AccessExclusiveLock);
	SPI_connect();
	if (!dbp_tenant_read_spec(relid, &spec))
		ereport(ERROR,
				(errcode(ERRCODE_UNDEFINED_OBJECT),
				 errmsg("table %s is not isolated", dbp_relation_name_by_oid(relid)),
				 errhint("dbpatterns.tenant_status has the tables that are.")));
	disable(&spec, tree);
	dbp_registry_remove(relid, "tenant");
	exempt(dbp_oids_param(list_make1_oid(relid)), reason);
	SPI_finish();
	PG_RETURN_VOID();
}
