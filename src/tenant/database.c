/*-------------------------------------------------------------------------
 *
 * database.c
 *	  Tenants that have a database of their own, and ways to all of them.
 *
 * CREATE DATABASE cannot run in a transaction, so a background worker does it, and
 * the procedures here commit what they intend before, and what they did after.  A
 * tenant is listed as suspended until its database is complete: a crash leaves that, and
 * the same call goes on from there.
 *
 * Copyright (c) 2026, dbpatterns contributors
 *
 * src/tenant/database.c
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "catalog/pg_type.h"
#include "commands/dbcommands.h"
#include "core/owner.h"
#include "core/sql.h"
#include "core/target.h"
#include "core/task.h"
#include "core/version.h"
#include "fmgr.h"
#include "funcapi.h"
#include "miscadmin.h"
#include "tcop/pquery.h"
#include "tenant/tenant.h"
#include "utils/builtins.h"

PG_FUNCTION_INFO_V1(dbpatterns_tenant_database_create);
PG_FUNCTION_INFO_V1(dbpatterns_tenant_database_drop);
PG_FUNCTION_INFO_V1(dbpatterns_tenant_route);

static void
commit(void)
{
	SPI_commit();
	EnsurePortalSnapshotExists();
}

/* ---- making one ---- */

/*
 * list writes down a tenant without its database yet.  One that a call before has listed,
 * and not completed, is taken as it is, and true returned.  Raises 42710 for any other.
 */
static bool
list(const DbpParam *params)
{
	DbpOwnerScope scope;
	bool		before;

	dbp_tenant_enter_ours(&scope);
	before = dbp_sql_query("INSERT INTO dbpatterns.tenant (id, template, model, place, slug, limits, state)"
						   " VALUES ($1, $2, 'database', $3::name, $4, $5, 'suspended')"
						   " ON CONFLICT (id) DO NOTHING", 5, params) == 0;
	if (before &&
		dbp_sql_query("SELECT FROM dbpatterns.tenant WHERE id = $1 AND template = $2 AND model = 'database'"
					  " AND place = $3::name AND slug IS NOT DISTINCT FROM $4 AND limits = $5 AND state = 'suspended'"
					  " AND NOT wall", 5, params) == 0)
		ereport(ERROR,
				(errcode(ERRCODE_DUPLICATE_OBJECT),
				 errmsg("tenant \"%s\" is listed already", TextDatumGetCString(params[0].value)),
				 errhint("dbpatterns.tenant has it.")));
	dbp_leave_owner(&scope);
	return before;
}

static void
unlist(DbpParam tenant)
{
	DbpOwnerScope scope;

	dbp_tenant_enter_ours(&scope);
	dbp_sql_query("DELETE FROM dbpatterns.tenant WHERE id = $1", 1, &tenant);
	dbp_leave_owner(&scope);
}

static void
create(void *arg)
{
	dbp_task_run(get_database_name(MyDatabaseId), true, arg);
}

/*
 * create_database makes a database that is not there.  If that fails the tenant is not
 * listed any more, unless a call before has listed it: that may still be at work.
 */
static void
create_database(DbpParam tenant, const char *template, const char *name, bool listed_before)
{
	char	   *command = psprintf("CREATE DATABASE %s TEMPLATE %s", quote_identifier(name),
								   pstrdup(quote_identifier(template)));
	ErrorData  *error = dbp_attempt(create, command, false);

	if (error == NULL)
		return;
	if (!listed_before)
	{
		unlist(tenant);
		commit();
	}
	ThrowErrorData(error);
}

/*
 * open_database gives a database the rights of its template, which CREATE DATABASE does not
 * copy, and to nobody else the right to connect; then the tenant is active.
 */
static void
open_database(DbpParam tenant, const char *template, const char *name)
{
	DbpOwnerScope scope;
	DbpParam	param = DBP_PARAM(TEXTOID, CStringGetTextDatum(template));
	uint64		rows;
	List	   *grants = NIL;
	ListCell   *lc;

	dbp_enter_caller(&scope);
	rows = dbp_sql_query("SELECT format('GRANT %s ON DATABASE %%s TO %s', a.privilege_type, " ROLE_NAME("a.grantee") ")"
						 " FROM pg_database d, aclexplode(d.datacl) a WHERE d.datname = $1::name"
						 " AND a.grantee <> d.datdba AND a.grantee <> 0 ORDER BY 1", 1, &param);
	for (uint64 i = 0; i < rows; i++)
		grants = lappend(grants, dbp_sql_text(i, 0));
	dbp_sql_command("REVOKE ALL ON DATABASE %s FROM PUBLIC", quote_identifier(name));
	foreach(lc, grants)
	{
		char	   *grant = lfirst(lc);
		char	   *place = strstr(grant, "%s");

		dbp_sql_command("%.*s%s%s", (int) (place - grant), grant, quote_identifier(name), place + 2);
	}
	dbp_leave_owner(&scope);
	dbp_tenant_inherit_versions("database", template, name);
	dbp_tenant_enter_ours(&scope);
	dbp_sql_query("UPDATE dbpatterns.tenant SET state = 'active' WHERE id = $1", 1, &tenant);
	dbp_leave_owner(&scope);
}

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
				 errmsg("\"%s\" is too long for the name of a database", name),
				 errhint("Give argument \"database\".")));
	return name;
}

/*
 * tenant_database_create(tenant text, template name, database name, slug name, limits jsonb)
 * makes a database for a tenant from a template, and lists the tenant.
 *
 * template: a database, with what the tenant's is to have.  database: the new one's name; NULL
 * for the slug or else the tenant's id.  slug, limits: as for tenant_create.  Nobody may
 * connect but the roles that may connect to the template by name.  A call that was
 * interrupted is completed by the same call.  Raises 22004 and 22023 for arguments, 42622 for
 * a name that is too long, 25001 inside a transaction block, 3D000 where there is no such
 * template, 42710 for a tenant that is listed, 42P04 for a database that exists, 42501 for who
 * may not create databases, 55006 for a template in use, 53000 and 08006 of the background
 * worker.  Runs as the caller.
 */
Datum
dbpatterns_tenant_database_create(PG_FUNCTION_ARGS)
{
	DbpParam	params[5];
	char	   *template;
	char	   *name;
	bool		exists;
	bool		before;

	dbp_require_words(fcinfo, 0, "tenant", "Give the id that tokens name.");
	dbp_require_argument(fcinfo, 1, "template", "Name the database to copy.");
	dbp_require_argument(fcinfo, 4, "limits", "Give '{}' for no limits.");
	dbp_tenant_check_limits(PG_GETARG_JSONB_P(4));
	dbp_require_own_transaction(fcinfo, "tenant_database_create");
	dbp_check_version();
	template = pstrdup(NameStr(*PG_GETARG_NAME(1)));
	(void) get_database_oid(template, false);
	name = choose_name(fcinfo);
	params[0] = DBP_PARAM(TEXTOID, PG_GETARG_DATUM(0));
	params[1] = DBP_PARAM(NAMEOID, PG_GETARG_DATUM(1));
	params[2] = DBP_PARAM(TEXTOID, CStringGetTextDatum(name));
	params[3] = DBP_PARAM_OR_NULL(NAMEOID, PG_ARGISNULL(3) ? (Datum) 0 : PG_GETARG_DATUM(3),
								  PG_ARGISNULL(3));
	params[4] = DBP_PARAM(JSONBOID, PG_GETARG_DATUM(4));
	SPI_connect_ext(SPI_OPT_NONATOMIC);
	exists = OidIsValid(get_database_oid(name, true));
	before = list(params);
	if (!before && exists)
		ereport(ERROR,
				(errcode(ERRCODE_DUPLICATE_DATABASE),
				 errmsg("database \"%s\" already exists", name),
				 errhint("Give argument \"database\".")));
	commit();
	if (!exists)
		create_database(params[0], template, name, before);
	open_database(params[0], template, name);
	SPI_finish();
	PG_RETURN_VOID();
}

/* ---- dropping one ---- */

/*
 * begin_dropping returns the name of a tenant's database, after the tenant cannot come back.
 * Raises 42704 for a tenant that is not listed, 55000 for one that is active or has no database.
 */
static char *
begin_dropping(FunctionCallInfo fcinfo, DbpParam tenant)
{
	MemoryContext cxt = CurrentMemoryContext;
	MemoryContext oldcxt;
	DbpOwnerScope scope;
	char	   *name;

	dbp_tenant_enter_ours(&scope);
	if (dbp_sql_query("SELECT place, model = 'database' AND state <> 'active', model, state FROM dbpatterns.tenant"
					  " WHERE id = $1 FOR UPDATE", 1, &tenant) == 0)
		ereport(ERROR,
				(errcode(ERRCODE_UNDEFINED_OBJECT),
				 errmsg("there is no tenant \"%s\"", text_to_cstring(PG_GETARG_TEXT_PP(0))),
				 errhint("dbpatterns.tenant has those that are listed.")));
	if (!DatumGetBool(dbp_sql_value(0, 1, NULL)))
		ereport(ERROR,
				(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
				 errmsg("tenant \"%s\" of model %s is %s", text_to_cstring(PG_GETARG_TEXT_PP(0)),
						dbp_sql_text(0, 2), dbp_sql_text(0, 3)),
				 errhint("Suspend it; tenants without a database are dropped by dbpatterns.tenant_drop.")));
	oldcxt = MemoryContextSwitchTo(cxt);
	name = dbp_sql_text(0, 0);
	MemoryContextSwitchTo(oldcxt);
	dbp_sql_query("UPDATE dbpatterns.tenant SET state = 'deleting' WHERE id = $1", 1, &tenant);
	dbp_leave_owner(&scope);
	return name;
}

/*
 * tenant_database_drop(tenant text) drops the database of a suspended tenant, and takes the
 * tenant off the list.
 *
 * A call that was interrupted, or failed, is completed by a second one.  Raises 22004 for
 * NULL, 25001 inside a transaction block, 42704 for a tenant that is not listed, 55000 for one
 * that is active or has no database, 42501 for who does not own it, 55006 for one in use,
 * 53000 and 08006 of the background worker.  Runs as the caller.
 */
Datum
dbpatterns_tenant_database_drop(PG_FUNCTION_ARGS)
{
	DbpParam	tenant;
	char	   *name;

	dbp_require_argument(fcinfo, 0, "tenant", "Name the tenant.");
	dbp_require_own_transaction(fcinfo, "tenant_database_drop");
	dbp_check_version();
	tenant = DBP_PARAM(TEXTOID, PG_GETARG_DATUM(0));
	SPI_connect_ext(SPI_OPT_NONATOMIC);
	name = begin_dropping(fcinfo, tenant);
	commit();
	dbp_task_run(get_database_name(MyDatabaseId), true,
				 psprintf("DROP DATABASE IF EXISTS %s", quote_identifier(name)));
	unlist(tenant);
	dbp_tenant_forget_versions("database", name);
	SPI_finish();
	PG_RETURN_VOID();
}

/* ---- ways ---- */

/*
 * put_escaped writes a value with a backslash before characters that mean something.
 */
static void
put_escaped(StringInfo out, const char *value, const char *special)
{
	for (; *value != '\0'; value++)
	{
		if (strchr(special, *value) != NULL)
			appendStringInfoChar(out, '\\');
		appendStringInfoChar(out, *value);
	}
}

/*
 * conninfo returns connection parameters as libpq reads them.  In options a blank ends an
 * argument, and a backslash escapes; around that, quotes do.
 */
static char *
conninfo(const char *database, const char *schema)
{
	StringInfoData options;
	StringInfoData out;

	initStringInfo(&out);
	appendStringInfoString(&out, "dbname='");
	put_escaped(&out, database, "\\'");
	appendStringInfoChar(&out, '\'');
	if (schema != NULL)
	{
		initStringInfo(&options);
		put_escaped(&options, quote_identifier(schema), "\\ ");
		appendStringInfoString(&out, " options='-csearch_path=");
		put_escaped(&out, options.data, "\\'");
		appendStringInfoChar(&out, '\'');
	}
	return out.data;
}

/*
 * tenant_route(tenant text) returns how to connect to the place of a tenant.
 *
 * Returns model, dbname, schema (NULL unless it has one) and conninfo, for libpq, without
 * host and port: it is this server.  Raises 22004 for NULL, 28000 for a tenant that is not listed,
 * is suspended or deleted.  Takes ACCESS SHARE on dbpatterns.tenant; reads it as its owner.
 */
Datum
dbpatterns_tenant_route(PG_FUNCTION_ARGS)
{
	TupleDesc	desc;
	DbpOwnerScope scope;
	DbpParam	param;
	HeapTuple	tuple;
	char	   *values[4];
	char	   *place;

	dbp_require_argument(fcinfo, 0, "tenant", "Name the tenant.");
	if (get_call_result_type(fcinfo, NULL, &desc) != TYPEFUNC_COMPOSITE)
		elog(ERROR, "return type must be a row type");
	param = DBP_PARAM(TEXTOID, PG_GETARG_DATUM(0));
	SPI_connect();
	dbp_tenant_enter_ours(&scope);
	if (dbp_sql_query_latest("SELECT model, place FROM dbpatterns.tenant WHERE id = $1 AND state = 'active'",
							 1, &param) == 0)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_AUTHORIZATION_SPECIFICATION),
				 errmsg("there is no active tenant \"%s\"", text_to_cstring(PG_GETARG_TEXT_PP(0))),
				 errhint("dbpatterns.tenant has those that are listed, and their states.")));
	values[0] = dbp_sql_text(0, 0);
	place = dbp_sql_text(0, 1);
	values[1] = strcmp(values[0], "database") == 0 ? place : get_database_name(MyDatabaseId);
	values[2] = strcmp(values[0], "schema") == 0 ? place : NULL;
	values[3] = conninfo(values[1], values[2]);
	dbp_leave_owner(&scope);
	tuple = SPI_copytuple(BuildTupleFromCStrings(TupleDescGetAttInMetadata(desc), values));
	SPI_finish();
	PG_RETURN_DATUM(HeapTupleGetDatum(tuple));
}
