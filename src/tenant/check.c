/*-------------------------------------------------------------------------
 *
 * check.c
 *	  What breaks isolation.
 *
 * Tables are looked at one by one, by asking what tenant_enable would do now; all
 * else are queries over the catalogs, each of which finds one kind of thing in all
 * tables at once.  They run as the caller, with search_path pinned.  A finding's
 * remedy is SQL; where only people can decide, it says what to decide.
 *
 * Copyright (c) 2026, dbpatterns contributors
 *
 * src/tenant/check.c
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "catalog/namespace.h"
#include "catalog/pg_class.h"
#include "catalog/pg_type.h"
#include "core/names.h"
#include "core/owner.h"
#include "core/registry.h"
#include "core/sql.h"
#include "fmgr.h"
#include "funcapi.h"
#include "miscadmin.h"
#include "storage/lmgr.h"
#include "tenant/check.h"
#include "tenant/tenant.h"
#include "utils/array.h"
#include "utils/builtins.h"
#include "utils/guc.h"
#include "utils/lsyscache.h"
#include "utils/syscache.h"

PG_FUNCTION_INFO_V1(dbpatterns_tenant_check);
PG_FUNCTION_INFO_V1(dbpatterns_tenant_assert);

static Datum
copy_array(int column, MemoryContext cxt)
{
	MemoryContext oldcxt = MemoryContextSwitchTo(cxt);
	Datum		copy = PointerGetDatum(DatumGetArrayTypePCopy(dbp_sql_value(0, column, NULL)));

	MemoryContextSwitchTo(oldcxt);
	return copy;
}

/* All isolated tables and what is below them, and which of them are to be looked at. */
#define OURS \
	"WITH RECURSIVE below (root, relid, col, call, options) AS (" \
	" SELECT r.target::oid, r.target::oid, r.options ->> 'column'," \
	"  concat_ws(', ', quote_literal(r.options ->> 'column')," \
	"   'on_missing => ' || quote_literal(nullif(r.options ->> 'on_missing', 'deny'))," \
	"   'user_column => ' || quote_literal(r.options ->> 'user_column')," \
	"   'form => ' || quote_literal(r.options ->> 'form')), r.options" \
	"  FROM _dbpatterns.registry r JOIN pg_class c ON c.oid = r.target WHERE r.pattern = 'tenant'" \
	" UNION ALL SELECT b.root, i.inhrelid, b.col, b.call, b.options FROM below b" \
	"  JOIN pg_inherits i ON i.inhparent = b.relid), " \
	"ours AS (SELECT b.*, c.relnamespace, ($1 IS NULL OR $1 IN (b.root, b.relid))" \
	"  AND ($2 IS NULL OR c.relnamespace = $2) AS looked_at" \
	" FROM below b JOIN pg_class c ON c.oid = b.relid) "

#define WALLED \
	"(SELECT n.oid, t.id FROM dbpatterns.tenant t JOIN pg_namespace n ON n.nspname = t.place" \
	"  WHERE t.model = 'schema' AND t.wall AND $1 IS NULL AND ($2 IS NULL OR n.oid = $2)) w (oid, tenant)"

/*
 * read_ours reads what tables of ours say, as their owner.  target, schema:
 * InvalidOid for all.
 */
static void
read_ours(TenantChecked *checked, Oid target, Oid schema)
{
	static const Oid types[] = {OIDARRAYOID, OIDARRAYOID, NAMEARRAYOID, OIDARRAYOID, TEXTARRAYOID,
	OIDARRAYOID, OIDARRAYOID, OIDARRAYOID, TEXTARRAYOID, OIDARRAYOID, OIDARRAYOID, TEXTARRAYOID};
	MemoryContext cxt = CurrentMemoryContext;
	DbpOwnerScope scope;
	DbpParam	params[2];

	params[0] = DBP_PARAM_OR_NULL(OIDOID, ObjectIdGetDatum(target), !OidIsValid(target));
	params[1] = DBP_PARAM_OR_NULL(OIDOID, ObjectIdGetDatum(schema), !OidIsValid(schema));
	dbp_tenant_enter_ours(&scope);
	dbp_sql_query_latest(OURS
						 "SELECT coalesce(array_agg(relid ORDER BY root, relid) FILTER (WHERE looked_at), '{}'),"
						 " coalesce(array_agg(relid ORDER BY root, relid), '{}'),"
						 " coalesce(array_agg(col::name ORDER BY root, relid), '{}'),"
						 " coalesce(array_agg(root ORDER BY root, relid), '{}'),"
						 " coalesce(array_agg(call ORDER BY root, relid), '{}'),"
						 " ARRAY(SELECT target::oid FROM _dbpatterns.tenant_exempt),"
						 " ARRAY(SELECT u.oid FROM (" UNCLASSIFIED_TABLES ") u (oid)"
						 "  JOIN pg_class c ON c.oid = u.oid WHERE ($1 IS NULL OR c.oid = $1)"
						 "  AND ($2 IS NULL OR c.relnamespace = $2)),"
						 " ARRAY(SELECT n.oid FROM pg_namespace n WHERE $1 IS NULL AND ($2 IS NULL OR n.oid = $2)"
						 "  AND (n.nspname IN (SELECT s.schema FROM _dbpatterns.tenant_schema s)"
						 "   OR n.oid IN (SELECT o.relnamespace FROM ours o))),"
						 " ARRAY(SELECT DISTINCT r FROM ours o, jsonb_array_elements_text(o.options -> 'roles') r"
						 "  WHERE o.looked_at AND o.root = o.relid),"
						 " '{}'::oid[], ARRAY(SELECT w.oid FROM " WALLED " ORDER BY 1),"
						 " ARRAY(SELECT w.tenant FROM " WALLED " ORDER BY w.oid)"
						 " FROM ours", 2, params);
	for (int i = 0; i < CHECK_PARAMS; i++)
		checked->params[i] = DBP_PARAM(types[i], copy_array(i, cxt));
	dbp_leave_owner(&scope);
}

/*
 * find_roles finds the roles of applications: those that are named and those that have
 * their rights; or, where policies are for all, those that have rights on the tables.
 */
static void
find_roles(TenantChecked *checked)
{
	MemoryContext cxt = CurrentMemoryContext;
	DbpParam	params[3];

	params[0] = dbp_texts_param(dbp_tenant_application_roles());
	params[1] = checked->params[CHECK_NAMES];
	params[2] = checked->params[CHECK_TABLES];
	dbp_sql_query("WITH said (name) AS (SELECT unnest($1 || $2)), "
				  "named AS (SELECT r.oid FROM pg_roles r JOIN said s ON s.name = r.rolname"
				  " UNION SELECT g.grantee FROM unnest($3) t (relid) JOIN pg_class c ON c.oid = t.relid,"
				  GRANTS " WHERE 'public' IN (SELECT s.name FROM said s) AND g.grantee <> 0)"
				  " SELECT coalesce(array_agg(DISTINCT r.oid), '{}') FROM pg_roles r"
				  " WHERE r.oid IN (SELECT n.oid FROM named n) OR (r.rolcanlogin AND NOT r.rolsuper"
				  "  AND EXISTS (SELECT FROM named n WHERE pg_has_role(r.oid, n.oid, 'MEMBER')))",
				  3, params);
	checked->params[CHECK_ROLES] = DBP_PARAM(OIDARRAYOID, copy_array(0, cxt));
}

/*
 * dbp_tenant_find runs queries whose rows are findings: severity, object, problem, remedy.
 */
void
dbp_tenant_find(TenantChecked *checked, const char *const *queries, int n)
{
	for (int i = 0; i < n; i++)
	{
		uint64		rows = dbp_sql_query(queries[i], CHECK_PARAMS, checked->params);

		for (uint64 j = 0; j < rows; j++)
			dbp_finding(checked->fcinfo, dbp_sql_text(j, 0), dbp_sql_text(j, 1),
						dbp_sql_text(j, 2), dbp_sql_text(j, 3));
	}
}

/*
 * find_in_table says what tenant_enable would do to a table, and whether that is bad.
 */
static void
find_in_table(TenantChecked *checked, const TenantSpec *spec, Oid relid, bool is_root)
{
	static const struct
	{
		const char *part;		/* of the command */
		const char *severity;
		const char *problem;
	}			kinds[] = {
		{" SET NOT NULL", DBP_ERROR, "the tenant can be NULL"},
		{" SET DEFAULT ", DBP_INFO, "the tenant is not filled from the context"},
		{"CREATE POLICY ", DBP_ERROR, "a policy of tenants is missing, or is not what it should be"},
		{"DROP POLICY ", DBP_ERROR, "a policy of tenants takes away what other policies decide"},
		{" ENABLE ROW ", DBP_ERROR, "row-level security is off"},
		{" FORCE ROW ", DBP_ERROR, "row-level security does not apply to the owner"},
		{"REVOKE ", DBP_ERROR, "applications may do what policies do not look at: TRUNCATE, REFERENCES, TRIGGER"},
		{"CREATE INDEX ", DBP_WARNING, "no index begins with the tenant"}
	};
	TenantScript script = {true, false, NIL, 0, CurrentMemoryContext};

	dbp_tenant_protect(&script, spec, relid, is_root);
	for (int i = 0; i < list_length(script.commands); i++)
	{
		char	   *command = list_nth(script.commands, i);
		char	   *remedy = psprintf("%s;", command);
		char	   *next = i + 1 < list_length(script.commands) ?
			list_nth(script.commands, i + 1) : "";

		/* One that is not what it should be is dropped and made. */
		if (strncmp(command, "DROP POLICY ", 12) == 0 && strncmp(next, "CREATE POLICY ", 14) == 0)
		{
			command = next;
			remedy = psprintf("%s %s;", remedy, next);
			i++;
		}
		for (int j = 0; j < lengthof(kinds); j++)
		{
			if (strstr(command, kinds[j].part) == NULL)
				continue;
			dbp_finding(checked->fcinfo, kinds[j].severity, dbp_relation_name_by_oid(relid),
						pstrdup(kinds[j].problem), remedy);
			break;
		}
	}
}

static bool
same_names(List *a, List *b)
{
	ListCell   *lc;

	foreach(lc, a)
	{
		if (!dbp_list_has_name(b, lfirst(lc)))
			return false;
	}
	return list_length(a) == list_length(b);
}

/*
 * find_in_root says what the settings have changed since a table was isolated.
 */
static void
find_in_root(TenantChecked *checked, const TenantSpec *spec, Oid relid, const char *call)
{
	List	   *now = dbp_tenant_application_roles();
	char	   *admin = dbp_tenant_admin_role();

	if (same_names(now, spec->roles) &&
		strcmp(admin ? admin : "", spec->admin ? spec->admin : "") == 0)
		return;
	dbp_finding(checked->fcinfo, DBP_WARNING, dbp_relation_name_by_oid(relid),
				pstrdup("policies are for other roles than the settings name"),
				psprintf("SELECT * FROM dbpatterns.tenant_enable(%s, %s);",
						 quote_literal_cstr(dbp_relation_name_by_oid(relid)), call));
}

/*
 * find_below looks at a table, locked only meanwhile.
 */
static void
find_below(TenantChecked *checked, const TenantSpec *spec, Oid relid, Oid root)
{
	LockRelationOid(relid, AccessShareLock);
	if (SearchSysCacheExists1(RELOID, ObjectIdGetDatum(relid)))
	{
		if (get_attnum(relid, spec->column) == InvalidAttrNumber)
			dbp_finding(checked->fcinfo, DBP_ERROR, dbp_relation_name_by_oid(relid),
						pstrdup("the tenant's column is gone"),
						psprintf("SELECT dbpatterns.tenant_disable(%s, 'the column was dropped');",
								 quote_literal_cstr(dbp_relation_name_by_oid(root))));
		else if (get_rel_relkind(relid) != RELKIND_FOREIGN_TABLE)
			find_in_table(checked, spec, relid, relid == root);
	}
	UnlockRelationOid(relid, AccessShareLock);
}
static int
take_array(const DbpParam *param, Datum **values)
{
	bool		oids = param->type == OIDARRAYOID;
	int			n;

	deconstruct_array(DatumGetArrayTypeP(param->value), oids ? OIDOID : TEXTOID,
					  oids ? sizeof(Oid) : -1, oids, TYPALIGN_INT, values, NULL, &n);
	return n;
}

/*
 * find_in_tables looks at the isolated tables, one by one.  Those to look at are in the
 * order of all.
 */
static void
find_in_tables(TenantChecked *checked)
{
	MemoryContext cxt = AllocSetContextCreate(CurrentMemoryContext, "dbpatterns tenant check",
											  ALLOCSET_DEFAULT_SIZES);
	MemoryContext oldcxt = CurrentMemoryContext;
	Datum	   *relids;
	Datum	   *all;
	Datum	   *roots;
	Datum	   *calls;
	int			n = take_array(&checked->params[CHECK_TABLES], &relids);
	int			nspecs;
	TenantSpec *spec = dbp_tenant_read_specs(&nspecs);
	TenantSpec *end = spec + nspecs;
	Oid			known = InvalidOid;

	(void) take_array(&checked->params[CHECK_ALL], &all);
	(void) take_array(&checked->params[CHECK_ROOTS], &roots);
	(void) take_array(&checked->params[CHECK_CALLS], &calls);
	MemoryContextSwitchTo(cxt);
	for (int i = 0, j = 0; j < n; i++)
	{
		Oid			root = DatumGetObjectId(roots[i]);

		if (all[i] != relids[j])
			continue;
		j++;
		CHECK_FOR_INTERRUPTS();
		MemoryContextReset(cxt);
		while (spec < end && spec->relid < root)
			spec++;
		if (spec == end || spec->relid != root)
			continue;
		if (root != known)
			find_in_root(checked, spec, root, TextDatumGetCString(calls[i]));
		known = root;
		find_below(checked, spec, DatumGetObjectId(all[i]), root);
	}
	MemoryContextSwitchTo(oldcxt);
	MemoryContextDelete(cxt);
}

/*
 * find_not_isolated says so of a table that the caller thinks is isolated.
 */
static void
find_not_isolated(TenantChecked *checked, Oid target)
{
	Datum	   *values;
	int			n = take_array(&checked->params[CHECK_EXEMPT], &values);

	for (int i = 0; i < n; i++)
	{
		if (DatumGetObjectId(values[i]) == target)
			return;
	}
	if (take_array(&checked->params[CHECK_TABLES], &values) == 0 && get_rel_name(target) != NULL)
		dbp_finding(checked->fcinfo, DBP_ERROR, dbp_relation_name_by_oid(target),
					pstrdup("the table is not isolated"),
					psprintf("SELECT * FROM dbpatterns.tenant_enable(%s);",
							 quote_literal_cstr(dbp_relation_name_by_oid(target))));
}

/*
 * check finds all there is to find.
 */
static void
check(FunctionCallInfo fcinfo, Oid target, Oid schema)
{
	TenantChecked checked;
	DbpOwnerScope scope;

	checked.fcinfo = fcinfo;
	SPI_connect();
	dbp_enter_caller(&scope);
	/* Compiling these queries takes longer than running them. */
	(void) set_config_option("jit", "off", PGC_USERSET, PGC_S_SESSION, GUC_ACTION_SAVE, true, 0,
							 false);
	read_ours(&checked, target, schema);
	find_roles(&checked);
	if (OidIsValid(target))
		find_not_isolated(&checked, target);
	find_in_tables(&checked);
	dbp_tenant_find_keys(&checked);
	dbp_tenant_find_ways(&checked);
	if (!OidIsValid(target))
		dbp_tenant_find_roles(&checked);
	dbp_leave_owner(&scope);
	SPI_finish();
}

/*
 * tenant_check(target regclass, schema name) returns what breaks, or weakens, the isolation
 * of tenants.
 *
 * target: an isolated table; schema: a schema; NULL for all.  severity: "error" is a
 * hole, "warning" tells something to one tenant of others or makes queries slow, "info" is
 * to be known.  Raises 3F000 for a schema that does not exist, otherwise nothing.  Takes
 * ACCESS SHARE on each isolated table for a moment; runs as the caller, who need not
 * have any rights.
 */
Datum
dbpatterns_tenant_check(PG_FUNCTION_ARGS)
{
	InitMaterializedSRF(fcinfo, 0);
	check(fcinfo, PG_ARGISNULL(0) ? InvalidOid : PG_GETARG_OID(0),
		  PG_ARGISNULL(1) ? InvalidOid : get_namespace_oid(NameStr(*PG_GETARG_NAME(1)), false));
	PG_RETURN_NULL();
}

/*
 * tenant_assert(schema name) raises 55000 when tenant_check finds an error, for scripts that
 * deploy.
 *
 * schema: NULL for all.  Raises 3F000 for a schema that does not exist.  Takes the locks of
 * tenant_check.
 */
Datum
dbpatterns_tenant_assert(PG_FUNCTION_ARGS)
{
	DbpParam	param = DBP_PARAM_OR_NULL(NAMEOID, PG_ARGISNULL(0) ? (Datum) 0 : PG_GETARG_DATUM(0),
										  PG_ARGISNULL(0));
	StringInfoData list;
	uint64		rows;

	SPI_connect();
	rows = dbp_sql_query("SELECT object, problem FROM dbpatterns.tenant_check(schema => $1)"
						 " WHERE severity OPERATOR(pg_catalog.=) 'error' ORDER BY 1, 2", 1, &param);
	initStringInfo(&list);
	for (uint64 i = 0; i < Min(rows, 10); i++)
		appendStringInfo(&list, "%s%s: %s", i > 0 ? "\n" : "", dbp_sql_text(i, 0), dbp_sql_text(i, 1));
	if (rows > 0)
		ereport(ERROR,
				(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
				 errmsg("tenants are not isolated: " UINT64_FORMAT " findings", rows),
				 errdetail("%s", list.data),
				 errhint("dbpatterns.tenant_check() has all of them, with remedies.")));
	SPI_finish();
	PG_RETURN_VOID();
}
