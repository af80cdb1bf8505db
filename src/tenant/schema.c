/*-------------------------------------------------------------------------
 *
 * schema.c
 *	  Tenants that have a schema of their own.
 *
 * One role of an application usually serves all of them, with USAGE on every schema, so
 * search_path alone keeps nobody out.  Therefore each table of such a schema has a
 * policy that compares the tenant of the transaction with the one the schema is of: a
 * condition without columns, whose tenant the executor asks for once in a query.  That is
 * the wall.
 *
 * Copyright (c) 2026, dbpatterns contributors
 *
 * src/tenant/schema.c
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "access/table.h"
#include "catalog/namespace.h"
#include "catalog/pg_namespace.h"
#include "catalog/pg_type.h"
#include "core/names.h"
#include "core/owner.h"
#include "core/sql.h"
#include "core/target.h"
#include "core/version.h"
#include "fmgr.h"
#include "funcapi.h"
#include "storage/lmgr.h"
#include "tenant/tenant.h"
#include "utils/builtins.h"
#include "utils/lsyscache.h"

PG_FUNCTION_INFO_V1(dbpatterns_tenant_schema_create);
PG_FUNCTION_INFO_V1(dbpatterns_tenant_schema_protect);
PG_FUNCTION_INFO_V1(dbpatterns_tenant_drop);

static void
protect_table(TenantScript *script, Oid relid, const TenantSpec *spec, const char *tenant)
{
	Relation	rel = table_open(relid, NoLock);
	TenantPolicy wall = {"dbpatterns_tenant_schema", false, spec->roles, NULL};

	wall.condition = psprintf("(SELECT dbpatterns.current_tenant()) OPERATOR(pg_catalog.=) %s",
							  quote_literal_cstr(tenant));
	dbp_tenant_make_policy(script, rel, &wall);
	dbp_tenant_let_pass(script, rel, spec->roles);
	if (!rel->rd_rel->relrowsecurity)
		dbp_tenant_add(script, "ALTER TABLE %s ENABLE ROW LEVEL SECURITY", dbp_relation_name(rel));
	dbp_tenant_revoke(script, spec, rel);
	table_close(rel, NoLock);
	dbp_tenant_carry_out(script);
}

/*
 * protect_views lets views look at tables with the rights of who asks: with those of
 * their owner they would look over the wall.
 */
static void
protect_views(TenantScript *script, DbpParam schema)
{
	uint64		rows = dbp_sql_query("SELECT c.oid FROM pg_class c WHERE c.relnamespace = $1 AND c.relkind = 'v'"
									 " AND NOT coalesce((SELECT o.option_value::boolean FROM pg_options_to_table(c.reloptions) o"
									 "  WHERE o.option_name = 'security_invoker'), false) ORDER BY 1", 1, &schema);

	for (uint64 i = 0; i < rows; i++)
		dbp_tenant_add(script, "ALTER VIEW %s SET (security_invoker = true)",
					   dbp_relation_name_by_oid(DatumGetObjectId(dbp_sql_value(i, 0, NULL))));
	dbp_tenant_carry_out(script);
}

/*
 * raise_wall gives the tables and views of a schema what is missing of the wall.
 */
static void
raise_wall(TenantScript *script, Oid schema, const char *tenant)
{
	TenantSpec	spec = {.roles = dbp_tenant_application_roles()};
	DbpParam	param = DBP_PARAM(OIDOID, ObjectIdGetDatum(schema));
	List	   *relids = NIL;
	ListCell   *lc;
	uint64		rows;

	rows = dbp_sql_query("SELECT c.oid FROM pg_class c WHERE c.relnamespace = $1 AND c.relkind = ANY ('{r,p}')"
						 " ORDER BY 1", 1, &param);
	for (uint64 i = 0; i < rows; i++)
		relids = lappend_oid(relids, DatumGetObjectId(dbp_sql_value(i, 0, NULL)));
	foreach(lc, relids)
	{
		LockRelationOid(lfirst_oid(lc), AccessExclusiveLock);
		protect_table(script, lfirst_oid(lc), &spec, tenant);
	}
	protect_views(script, param);
}

/*
 * protect does so with nobody following the commands.
 */
static void
protect(TenantScript *script, Oid schema, const char *tenant)
{
	bool		following = dbp_tenant_pause_following(true);
	DbpOwnerScope scope;

	PG_TRY();
	{
		dbp_enter_caller(&scope);
		raise_wall(script, schema, tenant);
		dbp_leave_owner(&scope);
	}
	PG_FINALLY();
	{
		dbp_tenant_pause_following(following);
	}
	PG_END_TRY();
}

/*
 * dbp_tenant_protect_schema gives a tenant's schema what is missing of the wall.  Takes
 * ACCESS EXCLUSIVE on the tables.  Caller: SPI connected.
 */
void
dbp_tenant_protect_schema(Oid schema, const char *tenant)
{
	TenantScript script = {false, false, NIL, 0, CurrentMemoryContext};

	protect(&script, schema, tenant);
}

static void
clone(Oid template, const char *schema)
{
	bool		following = dbp_tenant_pause_following(true);
	DbpOwnerScope scope;

	PG_TRY();
	{
		dbp_enter_caller(&scope);
		dbp_tenant_clone(template, schema);
		dbp_leave_owner(&scope);
	}
	PG_FINALLY();
	{
		dbp_tenant_pause_following(following);
	}
	PG_END_TRY();
}

/*
 * list writes down a tenant.  params: what tenant_schema_create was called with, the schema
 * in place of its own argument.
 */
static void
list(const DbpParam *params)
{
	DbpOwnerScope scope;

	dbp_tenant_enter_ours(&scope);
	if (dbp_sql_query("SELECT FROM dbpatterns.tenant WHERE id = $1", 1, params) > 0)
		ereport(ERROR,
				(errcode(ERRCODE_DUPLICATE_OBJECT),
				 errmsg("tenant \"%s\" is listed already", TextDatumGetCString(params[0].value)),
				 errhint("dbpatterns.tenant_drop takes a deleted one off the list.")));
	dbp_sql_query("INSERT INTO dbpatterns.tenant (id, template, model, place, slug, limits, wall)"
				  " VALUES ($1, $2, 'schema', $3, $4, $5, $6)", 6, params);
	dbp_leave_owner(&scope);
}

/*
 * warn_of_gaps says what the wall of a schema does not keep back.
 */
static void
warn_of_gaps(const char *schema)
{
	DbpParam	param = DBP_PARAM(NAMEOID, DirectFunctionCall1(namein, CStringGetDatum(schema)));
	StringInfoData list;
	DbpOwnerScope scope;
	uint64		rows;

	dbp_tenant_enter_ours(&scope);
	rows = dbp_sql_query("SELECT object, problem FROM dbpatterns.tenant_check(schema => $1)"
						 " WHERE severity = 'error' ORDER BY 1, 2", 1, &param);
	dbp_leave_owner(&scope);
	initStringInfo(&list);
	for (uint64 i = 0; i < Min(rows, 10); i++)
		appendStringInfo(&list, "%s%s: %s", i > 0 ? "\n" : "", dbp_sql_text(i, 0), dbp_sql_text(i, 1));
	if (rows > 0)
		ereport(WARNING,
				(errmsg("the wall around schema \"%s\" has gaps", schema),
				 errdetail("%s", list.data),
				 errhint("dbpatterns.tenant_check() has all of them, with remedies.")));
}

/*
 * choose_name returns the name of a new schema.
 */
static char *
choose_name(FunctionCallInfo fcinfo)
{
	char	   *name;

	if (!PG_ARGISNULL(2))
		return pstrdup(NameStr(*PG_GETARG_NAME(2)));
	if (!PG_ARGISNULL(3))
		return pstrdup(NameStr(*PG_GETARG_NAME(3)));
	name = text_to_cstring(PG_GETARG_TEXT_PP(0));
	if (strlen(name) >= NAMEDATALEN)
		ereport(ERROR,
				(errcode(ERRCODE_NAME_TOO_LONG),
				 errmsg("\"%s\" is too long for the name of a schema", name),
				 errhint("Give argument \"schema\".")));
	return name;
}

/*
 * tenant_schema_create(tenant text, template name, schema name, slug name, limits jsonb,
 * wall boolean) makes a schema for a tenant that is like a template, and lists the tenant.
 * Returns the name of the schema.
 *
 * template: a schema; all that is in it is made anew, without rows, owned by the same
 * roles and with the same rights.  schema: the new one's name; NULL for the slug or
 * else the tenant's id.  slug, limits: as for tenant_create.  wall: let only this tenant
 * into the tables.  Raises 22004 and 22023 for arguments, 42622 for a name that is too long,
 * 3F000 where there is no such template, 42710 for a tenant that is listed, 42P06 and 42939
 * for the schema's name, 42501 for who may not create schemas or objects of their
 * owners, 0A000 for what cannot be cloned.  Takes ACCESS SHARE on the relations of the template,
 * and keeps migrations of it waiting.
 * Runs as the caller.
 */
Datum
dbpatterns_tenant_schema_create(PG_FUNCTION_ARGS)
{
	DbpParam	params[6];
	Oid			template;
	char	   *name;

	dbp_require_words(fcinfo, 0, "tenant", "Give the id that tokens name.");
	dbp_require_argument(fcinfo, 1, "template", "Name the schema to clone.");
	dbp_require_argument(fcinfo, 4, "limits", "Give '{}' for no limits.");
	dbp_require_argument(fcinfo, 5, "wall", "Give true or false.");
	dbp_tenant_check_limits(PG_GETARG_JSONB_P(4));
	dbp_check_version();
	name = choose_name(fcinfo);
	template = get_namespace_oid(NameStr(*PG_GETARG_NAME(1)), false);
	if (OidIsValid(get_namespace_oid(name, true)))
		ereport(ERROR,
				(errcode(ERRCODE_DUPLICATE_SCHEMA),
				 errmsg("schema \"%s\" already exists", name),
				 errhint("Give argument \"schema\".")));
	params[0] = DBP_PARAM(TEXTOID, PG_GETARG_DATUM(0));
	params[1] = DBP_PARAM(NAMEOID, PG_GETARG_DATUM(1));
	params[2] = DBP_PARAM(TEXTOID, CStringGetTextDatum(name));
	params[3] = DBP_PARAM_OR_NULL(NAMEOID, PG_ARGISNULL(3) ? (Datum) 0 : PG_GETARG_DATUM(3),
								  PG_ARGISNULL(3));
	params[4] = DBP_PARAM(JSONBOID, PG_GETARG_DATUM(4));
	params[5] = DBP_PARAM(BOOLOID, PG_GETARG_DATUM(5));
	SPI_connect();

	/*
	 * No migration of the template meanwhile: the clone inherits its
	 * versions.
	 */
	LockDatabaseObject(NamespaceRelationId, template, 0, ShareLock);
	list(params);
	clone(template, name);
	dbp_tenant_inherit_versions("schema", NameStr(*PG_GETARG_NAME(1)), name);
	if (PG_GETARG_BOOL(5))
	{
		dbp_tenant_protect_schema(get_namespace_oid(name, false),
								  text_to_cstring(PG_GETARG_TEXT_PP(0)));
		warn_of_gaps(name);
	}
	SPI_finish();
	PG_RETURN_DATUM(DirectFunctionCall1(namein, CStringGetDatum(name)));
}

/*
 * find_tenant returns the model, state and place of a tenant.  Raises 42704 if it is
 * not listed.
 */
static void
find_tenant(FunctionCallInfo fcinfo, char **model, char **state, char **place)
{
	MemoryContext cxt = CurrentMemoryContext;
	MemoryContext oldcxt;
	DbpOwnerScope scope;
	DbpParam	param = DBP_PARAM(TEXTOID, PG_GETARG_DATUM(0));
	uint64		rows;

	dbp_tenant_enter_ours(&scope);
	rows = dbp_sql_query("SELECT model, state, place FROM dbpatterns.tenant WHERE id = $1 FOR UPDATE",
						 1, &param);
	dbp_leave_owner(&scope);
	if (rows == 0)
		ereport(ERROR,
				(errcode(ERRCODE_UNDEFINED_OBJECT),
				 errmsg("there is no tenant \"%s\"", text_to_cstring(PG_GETARG_TEXT_PP(0))),
				 errhint("dbpatterns.tenant has those that are listed.")));
	oldcxt = MemoryContextSwitchTo(cxt);
	*model = dbp_sql_text(0, 0);
	*state = dbp_sql_text(0, 1);
	*place = dbp_sql_text(0, 2);
	MemoryContextSwitchTo(oldcxt);
}

/*
 * tenant_schema_protect(tenant text) lets only the tenant into the tables of its schema, those that
 * are new included, and returns the commands.
 *
 * A second call finds nothing to do.  Raises 22004 for NULL, 42704 for a tenant that is not
 * listed, 55000 for one that has no schema, 42501 unless the caller owns the tables and views.
 * Takes ACCESS EXCLUSIVE on the tables.  Runs as the caller.
 */
Datum
dbpatterns_tenant_schema_protect(PG_FUNCTION_ARGS)
{
	ReturnSetInfo *rsinfo = (ReturnSetInfo *) fcinfo->resultinfo;
	TenantScript script = {false, false, NIL, 0, CurrentMemoryContext};
	DbpOwnerScope scope;
	DbpParam	param;
	char	   *model;
	char	   *state;
	char	   *place;
	ListCell   *lc;

	dbp_require_argument(fcinfo, 0, "tenant", "Name the tenant.");
	dbp_check_version();
	InitMaterializedSRF(fcinfo, MAT_SRF_USE_EXPECTED_DESC);
	SPI_connect();
	find_tenant(fcinfo, &model, &state, &place);
	if (strcmp(model, "schema") != 0)
		ereport(ERROR,
				(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
				 errmsg("tenant \"%s\" has no schema of its own", text_to_cstring(PG_GETARG_TEXT_PP(0))),
				 errhint("Its tables are isolated by dbpatterns.tenant_enable.")));
	protect(&script, get_namespace_oid(place, false), text_to_cstring(PG_GETARG_TEXT_PP(0)));
	param = DBP_PARAM(TEXTOID, PG_GETARG_DATUM(0));
	dbp_tenant_enter_ours(&scope);
	dbp_sql_query("UPDATE dbpatterns.tenant SET wall = true WHERE id = $1 AND NOT wall", 1, &param);
	dbp_leave_owner(&scope);
	foreach(lc, script.commands)
	{
		Datum		value = CStringGetTextDatum(lfirst(lc));
		bool		isnull = false;

		tuplestore_putvalues(rsinfo->setResult, rsinfo->setDesc, &value, &isnull);
	}
	SPI_finish();
	PG_RETURN_NULL();
}

/*
 * require_gone raises 55000 for a tenant of the model row that still has rows.
 */
static void
require_gone(FunctionCallInfo fcinfo)
{
	DbpParam	param = DBP_PARAM(TEXTOID, PG_GETARG_DATUM(0));

	if (dbp_sql_query("SELECT FROM dbpatterns.tenant_verify($1) v WHERE v.rows OPERATOR(pg_catalog.>) 0",
					  1, &param) > 0)
		ereport(ERROR,
				(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
				 errmsg("tenant \"%s\" still has rows", text_to_cstring(PG_GETARG_TEXT_PP(0))),
				 errhint("dbpatterns.tenant_verify counts them, dbpatterns.tenant_purge deletes them.")));
}

/*
 * drop_schema drops a schema with all that is in it, but nothing of others: neither what depends
 * on it nor partitions that are elsewhere.
 */
static void
drop_schema(const char *schema)
{
	Oid			oid = get_namespace_oid(schema, true);
	DbpParam	param = DBP_PARAM(OIDOID, ObjectIdGetDatum(oid));
	DbpOwnerScope scope;

	/* Dropped by hand. */
	if (!OidIsValid(oid))
		return;
	dbp_enter_caller(&scope);
	if (dbp_sql_query("WITH RECURSIVE m (classid, objid) AS (SELECT d.classid, d.objid FROM pg_depend d"
					  "  WHERE d.refclassid = 'pg_namespace'::regclass AND d.refobjid = $1"
					  " UNION SELECT d.classid, d.objid FROM m JOIN pg_depend d ON d.refclassid = m.classid AND d.refobjid = m.objid"
					  "  WHERE d.deptype = ANY ('{a,i,P,S}'))"
					  " SELECT pg_describe_object(d.classid, d.objid, 0) FROM m JOIN pg_depend d"
					  "  ON d.refclassid = m.classid AND d.refobjid = m.objid AND d.deptype = 'n'"
					  " WHERE (d.classid, d.objid) NOT IN (SELECT m.classid, m.objid FROM m)"
					  " UNION SELECT pg_describe_object(m.classid, m.objid, 0) FROM m JOIN pg_class c ON c.oid = m.objid"
					  "  WHERE m.classid = 'pg_class'::regclass AND c.relnamespace <> $1 AND c.relkind <> ALL ('{t,i}')"
					  " ORDER BY 1", 1, &param) > 0)
		ereport(ERROR,
				(errcode(ERRCODE_DEPENDENT_OBJECTS_STILL_EXIST),
				 errmsg("%s depends on schema \"%s\"", dbp_sql_text(0, 0), schema),
				 errhint("Drop what depends on the schema first.")));
	dbp_sql_command("DROP SCHEMA %s CASCADE", quote_identifier(schema));
	dbp_leave_owner(&scope);
}

/*
 * tenant_drop(tenant text) takes a tenant off the list, with its schema if it has one.
 *
 * A tenant of the model row has been purged, and has no rows; one with a schema is suspended.
 * Raises 22004 for NULL, 42704 for a tenant that is not listed, 55000 for one that is not
 * that far or has a database, 2BP01 where something outside depends on the schema, 42501 for
 * who does not own it or does not see all rows.  Runs as the caller.
 */
Datum
dbpatterns_tenant_drop(PG_FUNCTION_ARGS)
{
	DbpOwnerScope scope;
	DbpParam	param;
	char	   *model;
	char	   *state;
	char	   *place;
	bool		is_row;

	dbp_require_argument(fcinfo, 0, "tenant", "Name the tenant.");
	param = DBP_PARAM(TEXTOID, PG_GETARG_DATUM(0));
	SPI_connect();
	find_tenant(fcinfo, &model, &state, &place);
	is_row = strcmp(model, "row") == 0;
	if (strcmp(model, "database") == 0 || strcmp(state, "active") == 0 ||
		(is_row && strcmp(state, "deleting") != 0))
		ereport(ERROR,
				(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
				 errmsg("tenant \"%s\" of model %s is %s", text_to_cstring(PG_GETARG_TEXT_PP(0)),
						model, state),
				 errhint("Suspend it; then call dbpatterns.tenant_purge for its rows.")));
	if (is_row)
		require_gone(fcinfo);
	else
	{
		drop_schema(place);
		dbp_tenant_forget_versions("schema", place);
	}
	dbp_tenant_enter_ours(&scope);
	dbp_sql_query("DELETE FROM dbpatterns.tenant WHERE id = $1", 1, &param);
	dbp_leave_owner(&scope);
	SPI_finish();
	PG_RETURN_VOID();
}
