/*-------------------------------------------------------------------------
 *
 * belongings.c
 *	  All that belongs to a tenant.
 *
 * The tables are those that are isolated; one in the same schemas that is neither isolated
 * nor exempt could hold rows of the tenant, so nothing is done while there is such a
 * table.  They are in the order of foreign keys, parents first.
 *
 * Copyright (c) 2026, dbpatterns contributors
 *
 * src/tenant/belongings.c
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "catalog/pg_type.h"
#include "core/names.h"
#include "core/owner.h"
#include "core/sql.h"
#include "core/target.h"
#include "fmgr.h"
#include "funcapi.h"
#include "miscadmin.h"
#include "tenant/belongings.h"
#include "utils/acl.h"
#include "utils/builtins.h"
#include "utils/datum.h"
#include "utils/lsyscache.h"

PG_FUNCTION_INFO_V1(dbpatterns_tenant_verify);

/* A foreign key between two, by place in the list. */
typedef struct Reference
{
	int			child;
	int			parent;
} Reference;

#define ISOLATED_TABLES \
	"SELECT g.target::oid, g.options ->> 'column', a.target IS NOT NULL," \
	" CASE WHEN coalesce(a.options -> 'exclude', '[]') ? (g.options ->> 'column') THEN NULL" \
	"  WHEN a.options ? 'key' THEN ARRAY(SELECT jsonb_array_elements_text(a.options -> 'key'))" \
	"  ELSE (SELECT array_agg(k.attname::text) FROM pg_index i JOIN pg_attribute k ON k.attrelid = i.indrelid" \
	"   AND k.attnum = ANY (i.indkey) WHERE i.indrelid = g.target AND i.indisprimary) END" \
	" FROM _dbpatterns.registry g JOIN pg_class c ON c.oid = g.target" \
	" LEFT JOIN _dbpatterns.registry a ON a.target = g.target AND a.pattern = 'audit'" \
	" WHERE g.pattern = 'tenant' ORDER BY 1"

#define REFERENCES_BETWEEN TREES \
	" SELECT DISTINCT a.n, b.n FROM pg_constraint f" \
	" JOIN tree a ON a.relid = f.conrelid JOIN tree b ON b.relid = f.confrelid" \
	" WHERE f.contype = 'f' AND a.n <> b.n ORDER BY 1, 2"

/* Keys, of columns $4, of the rows of $1 in the audit trail that were the tenant's ($3). */
#define AUDITED_KEYS \
	"SELECT DISTINCT (SELECT jsonb_object_agg(k.name, coalesce(e.new -> k.name, e.old -> k.name))" \
	"  FROM unnest($4) k (name)) AS key" \
	" FROM dbpatterns.audit_entries e WHERE e.target = $1 AND e.op = ANY ('{I,U,D}')" \
	" AND (e.old ->> $2 = $3 OR e.new ->> $2 = $3)"

/*
 * require_all_rows raises 42501 for who does not see the rows of all tenants, and 55000
 * where tables are unclassified.
 */
static void
require_all_rows(void)
{
	DbpOwnerScope scope;
	StringInfoData list;
	uint64		rows;

	if (!has_bypassrls_privilege(GetUserId()))
		ereport(ERROR,
				(errcode(ERRCODE_INSUFFICIENT_PRIVILEGE),
				 errmsg("policies hide rows of tenants from role \"%s\"",
						GetUserNameFromId(GetUserId(), false)),
				 errhint("Call this as a superuser, or as a role with BYPASSRLS and rights on the tables.")));
	initStringInfo(&list);
	dbp_tenant_enter_ours(&scope);
	rows = dbp_sql_query("SELECT u.oid::regclass::text FROM (" UNCLASSIFIED_TABLES ") u ORDER BY 1",
						 0, NULL);
	for (uint64 i = 0; i < rows; i++)
		appendStringInfo(&list, "%s%s", i > 0 ? ", " : "", dbp_sql_text(i, 0));
	dbp_leave_owner(&scope);
	if (rows > 0)
		ereport(ERROR,
				(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
				 errmsg("some tables are neither isolated nor exempt"),
				 errdetail("These may hold rows of tenants: %s.", list.data),
				 errhint("Call dbpatterns.tenant_enable or dbpatterns.tenant_exempt for each.")));
}

/*
 * set_levels gives each table a level above those it refers to.  Tables that refer to each
 * other in a circle have no such order, and get any.
 */
static void
set_levels(Belonging *tables, int n)
{
	List	   *relids = NIL;
	DbpParam	param;
	Reference  *references;
	int			nreferences;
	bool		changed = true;

	for (int i = 0; i < n; i++)
		relids = lappend_oid(relids, tables[i].relid);
	param = dbp_oids_param(relids);
	nreferences = dbp_sql_query(REFERENCES_BETWEEN, 1, &param);
	references = palloc(sizeof(Reference) * Max(nreferences, 1));
	for (int i = 0; i < nreferences; i++)
	{
		references[i].child = DatumGetInt32(dbp_sql_value(i, 0, NULL));
		references[i].parent = DatumGetInt32(dbp_sql_value(i, 1, NULL));
	}
	for (int round = 0; round < n && changed; round++)
	{
		changed = false;
		for (int i = 0; i < nreferences; i++)
		{
			Belonging  *child = &tables[references[i].child];
			Belonging  *parent = &tables[references[i].parent];

			if (child->level <= parent->level)
			{
				child->level = parent->level + 1;
				changed = true;
			}
		}
	}
}

static int
parents_first(const void *a, const void *b)
{
	const Belonging *x = a;
	const Belonging *y = b;

	if (x->level != y->level)
		return x->level < y->level ? -1 : 1;
	return x->relid < y->relid ? -1 : x->relid > y->relid;
}

/*
 * find_tables returns the tables, parents first.
 */
static Belonging *
find_tables(int *n)
{
	MemoryContext cxt = CurrentMemoryContext;
	MemoryContext oldcxt;
	DbpOwnerScope scope;
	Belonging  *tables;

	dbp_tenant_enter_ours(&scope);
	*n = dbp_sql_query_latest(ISOLATED_TABLES, 0, NULL);
	oldcxt = MemoryContextSwitchTo(cxt);
	tables = palloc0(sizeof(Belonging) * Max(*n, 1));
	for (int i = 0; i < *n; i++)
	{
		bool		isnull;
		Datum		key = dbp_sql_value(i, 3, &isnull);

		tables[i].relid = DatumGetObjectId(dbp_sql_value(i, 0, NULL));
		tables[i].column = dbp_sql_text(i, 1);
		tables[i].audited = DatumGetBool(dbp_sql_value(i, 2, NULL));
		tables[i].audit_key = isnull ? (Datum) 0 : datumCopy(key, false, -1);
	}
	MemoryContextSwitchTo(oldcxt);
	dbp_leave_owner(&scope);
	set_levels(tables, *n);
	qsort(tables, *n, sizeof(Belonging), parents_first);
	return tables;
}

/*
 * dbp_tenant_condition returns the condition of the rows of the tenant that a text in SQL names.
 */
char *
dbp_tenant_condition(const Belonging *table, const char *tenant)
{
	Oid			type;
	int32		typmod;
	Oid			collation;

	get_atttypetypmodcoll(table->relid, get_attnum(table->relid, table->column), &type, &typmod,
						  &collation);
	return psprintf("%s OPERATOR(pg_catalog.=) CAST(%s AS %s)", quote_identifier(table->column),
					tenant, format_type_be_qualified(getBaseType(type)));
}

int64
dbp_tenant_count(const char *sql, int nparams, const DbpParam *params)
{
	dbp_sql_query(sql, nparams, params);
	return DatumGetInt64(dbp_sql_value(0, 0, NULL));
}

int64
dbp_tenant_count_rows(const Belonging *table, DbpParam tenant)
{
	return dbp_tenant_count(psprintf("SELECT count(*) FROM %s WHERE %s", dbp_relation_name_by_oid(table->relid),
									 dbp_tenant_condition(table, "$1")), 1, &tenant);
}

void
dbp_tenant_put_count(FunctionCallInfo fcinfo, Oid relid, const char *place, int64 rows)
{
	ReturnSetInfo *rsinfo = (ReturnSetInfo *) fcinfo->resultinfo;
	Datum		values[3];
	bool		nulls[3] = {false, false, false};

	values[0] = ObjectIdGetDatum(relid);
	values[1] = CStringGetTextDatum(place);
	values[2] = Int64GetDatum(rows);
	tuplestore_putvalues(rsinfo->setResult, rsinfo->setDesc, values, nulls);
}

/*
 * dbp_tenant_audit_query counts keys in the audit trail, or erases what is under them.
 * Where entries do not
 * show whose they are, it warns: they may hold values of the tenant.
 */
int64
dbp_tenant_audit_query(const Belonging *table, DbpParam tenant, const char *what)
{
	DbpParam	params[4];

	if (table->audit_key == (Datum) 0)
	{
		ereport(WARNING,
				(errcode(ERRCODE_WARNING),
				 errmsg("the audit trail of table %s does not show which entries are of a tenant",
						dbp_relation_name_by_oid(table->relid)),
				 errdetail("It has no key, or leaves out column \"%s\".", table->column),
				 errhint("Delete old entries with dbpatterns.audit_purge.")));
		return 0;
	}
	params[0] = DBP_PARAM(REGCLASSOID, ObjectIdGetDatum(table->relid));
	params[1] = DBP_PARAM(TEXTOID, CStringGetTextDatum(table->column));
	params[2] = tenant;
	params[3] = DBP_PARAM(TEXTARRAYOID, table->audit_key);
	return dbp_tenant_count(psprintf("SELECT %s FROM (" AUDITED_KEYS ") k", what), 4, params);
}

/*
 * require_spelling raises 22023 for an id that a column shows otherwise, such as 02: neither
 * the list of tenants nor the audit trail would know it.
 */
static void
require_spelling(const Belonging *table, DbpParam tenant)
{
	Oid			type = get_atttype(table->relid, get_attnum(table->relid, table->column));
	char	   *name = format_type_be_qualified(getBaseType(type));

	dbp_sql_query(psprintf("SELECT CAST(CAST($1 AS %s) AS text)", name), 1, &tenant);
	if (strcmp(dbp_sql_text(0, 0), TextDatumGetCString(tenant.value)) != 0)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("tenant \"%s\" is \"%s\" in table %s", TextDatumGetCString(tenant.value),
						dbp_sql_text(0, 0), dbp_relation_name_by_oid(table->relid)),
				 errhint("Write the id as the table shows it.")));
}

/*
 * dbp_tenant_begin_belongings checks the arguments all these functions have, and returns the
 * tables; *tenant is
 * a parameter.
 */
Belonging *
dbp_tenant_begin_belongings(FunctionCallInfo fcinfo, DbpOwnerScope *scope, DbpParam *tenant, int *n)
{
	Belonging  *tables;

	dbp_require_argument(fcinfo, 0, "tenant", "Name the tenant.");
	*tenant = DBP_PARAM(TEXTOID, PG_GETARG_DATUM(0));
	InitMaterializedSRF(fcinfo, 0);
	SPI_connect();
	require_all_rows();
	dbp_enter_caller(scope);
	tables = find_tables(n);
	for (int i = 0; i < *n; i++)
		require_spelling(&tables[i], *tenant);
	return tables;
}

void
dbp_tenant_end_belongings(DbpOwnerScope *scope)
{
	dbp_leave_owner(scope);
	SPI_finish();
}

/*
 * tenant_verify(tenant text) counts the rows of a tenant in all isolated tables, and in the audit
 * trail those that its entries show.
 *
 * place: "table", or "audit" for tables that have an audit trail.  Raises 22004 for NULL, 42501
 * for who does not see all rows, 55000 where a table is neither isolated nor exempt, 22P02 for
 * an id that is none of a column's type.  Takes ACCESS SHARE on the tables; runs as the
 * caller.
 */
Datum
dbpatterns_tenant_verify(PG_FUNCTION_ARGS)
{
	DbpOwnerScope scope;
	DbpParam	tenant;
	int			n;
	Belonging  *tables = dbp_tenant_begin_belongings(fcinfo, &scope, &tenant, &n);

	for (int i = 0; i < n; i++)
	{
		dbp_tenant_put_count(fcinfo, tables[i].relid, "table",
							 dbp_tenant_count_rows(&tables[i], tenant));
		if (tables[i].audited)
			dbp_tenant_put_count(fcinfo, tables[i].relid, "audit", dbp_tenant_audit_query(&tables[i], tenant, "count(*)"));
	}
	dbp_tenant_end_belongings(&scope);
	PG_RETURN_NULL();
}
