/*-------------------------------------------------------------------------
 *
 * belongings.c
 *	  All that belongs to a tenant: counted, exported, deleted.
 *
 * The tables are those that are isolated; one in the same schemas that is neither isolated
 * nor exempt could hold rows of the tenant, so nothing is done while there is such a
 * table.  They are taken in the order of foreign keys: parents first to export,
 * children first to delete.  Closure tables and the like follow by their triggers; the
 * audit trail is erased row by row, by its own function.
 *
 * Copyright (c) 2026, dbpatterns contributors
 *
 * src/tenant/belongings.c
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "access/xact.h"
#include "catalog/pg_type.h"
#include "core/names.h"
#include "core/owner.h"
#include "core/sql.h"
#include "core/target.h"
#include "fmgr.h"
#include "funcapi.h"
#include "miscadmin.h"
#include "storage/lmgr.h"
#include "tenant/tenant.h"
#include "utils/acl.h"
#include "utils/builtins.h"
#include "utils/datum.h"
#include "utils/lsyscache.h"

PG_FUNCTION_INFO_V1(dbpatterns_tenant_verify);
PG_FUNCTION_INFO_V1(dbpatterns_tenant_purge);
PG_FUNCTION_INFO_V1(dbpatterns_tenant_rows);
PG_FUNCTION_INFO_V1(dbpatterns_tenant_export);

/* A table that may have rows of the tenant. */
typedef struct Belonging
{
	Oid			relid;
	char	   *column;
	bool		audited;
	Datum		audit_key;		/* columns, text[]; 0: entries do not show
								 * whose they are */
	int			level;			/* more than that of any table it refers to */
} Belonging;

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

/* Tables of $1 with all below them; n is the place of the root. */
#define TREES \
	"WITH RECURSIVE tree (n, relid) AS (SELECT u.n::int - 1, u.relid FROM unnest($1) WITH ORDINALITY u (relid, n)" \
	" UNION SELECT t.n, i.inhrelid FROM tree t JOIN pg_inherits i ON i.inhparent = t.relid)"

#define REFERENCES_BETWEEN TREES \
	" SELECT DISTINCT a.n, b.n FROM pg_constraint f" \
	" JOIN tree a ON a.relid = f.conrelid JOIN tree b ON b.relid = f.confrelid" \
	" WHERE f.contype = 'f' AND a.n <> b.n ORDER BY 1, 2"

/*
 * Foreign keys to a table of the tree of $2 that change rows when theirs is deleted: the name, and
 * a condition that joins the row c to the row p.
 */
#define CHANGING_REFERENCES TREES \
	" SELECT a.n, f.conrelid::regclass::text, f.confrelid::regclass::text, f.conname::text," \
	"  (SELECT string_agg(format('c.%I OPERATOR(%I.%s) p.%I', x.attname, n.nspname, o.oprname, y.attname), ' AND ')" \
	"   FROM unnest(f.conkey, f.confkey, f.conpfeqop) k (c, p, op)" \
	"   JOIN pg_attribute x ON x.attrelid = f.conrelid AND x.attnum = k.c" \
	"   JOIN pg_attribute y ON y.attrelid = f.confrelid AND y.attnum = k.p" \
	"   JOIN pg_operator o ON o.oid = k.op JOIN pg_namespace n ON n.oid = o.oprnamespace)" \
	" FROM pg_constraint f JOIN tree a ON a.relid = f.conrelid JOIN tree b ON b.relid = f.confrelid" \
	" WHERE f.contype = 'f' AND f.conparentid = 0 AND f.confdeltype = ANY ('{c,n,d}') AND b.n = $2" \
	" ORDER BY f.oid"

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
 * condition returns the condition of the rows of the tenant that a text in SQL names.
 */
static char *
condition(const Belonging *table, const char *tenant)
{
	Oid			type;
	int32		typmod;
	Oid			collation;

	get_atttypetypmodcoll(table->relid, get_attnum(table->relid, table->column), &type, &typmod,
						  &collation);
	return psprintf("%s OPERATOR(pg_catalog.=) CAST(%s AS %s)", quote_identifier(table->column),
					tenant, format_type_be_qualified(getBaseType(type)));
}

static int64
count(const char *sql, int nparams, const DbpParam *params)
{
	dbp_sql_query(sql, nparams, params);
	return DatumGetInt64(dbp_sql_value(0, 0, NULL));
}

static int64
count_rows(const Belonging *table, DbpParam tenant)
{
	return count(psprintf("SELECT count(*) FROM %s WHERE %s", dbp_relation_name_by_oid(table->relid),
						  condition(table, "$1")), 1, &tenant);
}

static void
put_count(FunctionCallInfo fcinfo, Oid relid, const char *place, int64 rows)
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
 * audit_query counts keys in the audit trail, or erases what is under them.  Where entries do not
 * show whose they are, it warns: they may hold values of the tenant.
 */
static int64
audit_query(const Belonging *table, DbpParam tenant, const char *what)
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
	return count(psprintf("SELECT %s FROM (" AUDITED_KEYS ") k", what), 4, params);
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
 * begin checks the arguments all these functions have, and returns the tables; *tenant is
 * a parameter.
 */
static Belonging *
begin(FunctionCallInfo fcinfo, DbpOwnerScope *scope, DbpParam *tenant, int *n)
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

static void
end(DbpOwnerScope *scope)
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
	Belonging  *tables = begin(fcinfo, &scope, &tenant, &n);

	for (int i = 0; i < n; i++)
	{
		put_count(fcinfo, tables[i].relid, "table",
				  count_rows(&tables[i], tenant));
		if (tables[i].audited)
			put_count(fcinfo, tables[i].relid, "audit", audit_query(&tables[i], tenant, "count(*)"));
	}
	end(&scope);
	PG_RETURN_NULL();
}

/*
 * begin_deleting raises 55000 for a tenant that is listed and active, or active for others since
 * this transaction suspended it: it could write what was deleted already.  One that is listed
 * cannot come back from now on.
 */
static void
begin_deleting(DbpParam tenant)
{
	DbpOwnerScope scope;
	bool		active;

	dbp_tenant_enter_ours(&scope);
	active = dbp_sql_query("SELECT state, xmin FROM dbpatterns.tenant WHERE id = $1 FOR UPDATE", 1, &tenant) > 0 &&
		(strcmp(dbp_sql_text(0, 0), "active") == 0 ||
		 (strcmp(dbp_sql_text(0, 0), "suspended") == 0 &&
		  TransactionIdIsCurrentTransactionId(DatumGetTransactionId(dbp_sql_value(0, 1, NULL)))));
	if (!active)
		dbp_sql_query("UPDATE dbpatterns.tenant SET state = 'deleting' WHERE id = $1 AND state = 'suspended'",
					  1, &tenant);
	dbp_leave_owner(&scope);
	if (active)
		ereport(ERROR,
				(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
				 errmsg("tenant \"%s\" is active", TextDatumGetCString(tenant.value)),
				 errhint("Suspend it with dbpatterns.tenant_suspend, in a transaction of its own.")));
	if (IsolationUsesXactSnapshot())
		ereport(ERROR,
				(errcode(ERRCODE_ACTIVE_SQL_TRANSACTION),
				 errmsg("a tenant cannot be purged at this isolation level"),
				 errhint("Use READ COMMITTED, which sees what writers bring until they end.")));
}

/*
 * wait_for_writers waits for who writes to a table now, and makes nobody wait.
 */
static void
wait_for_writers(Oid relid)
{
	LOCKTAG		tag;

	SET_LOCKTAG_RELATION(tag, MyDatabaseId, relid);
	WaitForLockers(tag, ShareLock, false);
}

/*
 * delete_rows deletes the rows of the tenant in a table, and returns how many.  Raises 23503 where
 * foreign keys would delete or change rows of other tenants with them.
 */
static int64
delete_rows(const Belonging *tables, int n, int parent, DbpParam tenant)
{
	List	   *relids = NIL;
	DbpParam	params[2];
	SPITupleTable *keys;
	uint64		nkeys;

	for (int i = 0; i < n; i++)
		relids = lappend_oid(relids, tables[i].relid);
	params[0] = dbp_oids_param(relids);
	params[1] = DBP_PARAM(INT4OID, Int32GetDatum(parent));
	nkeys = dbp_sql_query(CHANGING_REFERENCES, 2, params);
	keys = SPI_tuptable;
	for (uint64 i = 0; i < nkeys; i++)
	{
		HeapTuple	key = keys->vals[i];
		bool		isnull;
		int			child = DatumGetInt32(SPI_getbinval(key, keys->tupdesc, 1, &isnull));
		char	   *table = SPI_getvalue(key, keys->tupdesc, 2);

		if (dbp_sql_query(psprintf("SELECT FROM (SELECT * FROM %s WHERE %s) p JOIN %s c ON %s"
								   " WHERE NOT c.%s LIMIT 1",
								   SPI_getvalue(key, keys->tupdesc, 3), condition(&tables[parent], "$1"),
								   table, SPI_getvalue(key, keys->tupdesc, 5),
								   condition(&tables[child], "$1")), 1, &tenant) > 0)
			ereport(ERROR,
					(errcode(ERRCODE_FOREIGN_KEY_VIOLATION),
					 errmsg("rows of other tenants in table %s refer to rows of tenant \"%s\"", table,
							TextDatumGetCString(tenant.value)),
					 errdetail("Foreign key \"%s\" would delete or change them.",
							   SPI_getvalue(key, keys->tupdesc, 4)),
					 errhint("Delete these rows, then isolate both tables with fix_keys.")));
	}
	return dbp_sql_query(psprintf("DELETE FROM %s WHERE %s",
								  dbp_relation_name_by_oid(tables[parent].relid),
								  condition(&tables[parent], "$1")), 1, &tenant);
}

/*
 * require_none_left raises 55000 for rows that triggers have kept or brought back.
 */
static void
require_none_left(const Belonging *table, DbpParam tenant)
{
	char	   *name = dbp_relation_name_by_oid(table->relid);

	if (count_rows(table, tenant) > 0)
		ereport(ERROR,
				(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
				 errmsg("table %s still has rows of tenant \"%s\"", name,
						TextDatumGetCString(tenant.value)),
				 errhint("Look for triggers and rules that keep rows, and call this again.")));
}

/*
 * tenant_purge(tenant text, dry_run boolean) deletes all rows of a tenant, children first, and
 * erases in the audit trail what it shows of them.
 *
 * dry_run: count only.  A tenant that is listed must be suspended by a transaction before: then
 * transactions that write are waited for, and new ones refused; its state becomes "deleting", and
 * it cannot be resumed.  A second run finds nothing.
 * Triggers and foreign keys act as in any DELETE, but foreign keys must not touch other tenants.
 * Raises what tenant_verify does, 55000 for a tenant that is active, 25001 at REPEATABLE
 * READ and above, 23503 where rows of other tenants would go with them, 55000 for rows left.
 * Takes ROW EXCLUSIVE on the tables, and the locks of audit_erase; runs as the caller.
 */
Datum
dbpatterns_tenant_purge(PG_FUNCTION_ARGS)
{
	DbpOwnerScope scope;
	DbpParam	tenant;
	int			n;
	Belonging  *tables;
	bool		dry_run;

	dbp_require_argument(fcinfo, 1, "dry_run", "Give true or false.");
	dry_run = PG_GETARG_BOOL(1);
	tables = begin(fcinfo, &scope, &tenant, &n);
	if (!dry_run)
	{
		begin_deleting(tenant);
		for (int i = 0; i < n; i++)
			wait_for_writers(tables[i].relid);
	}
	for (int i = n - 1; i >= 0; i--)
		put_count(fcinfo, tables[i].relid, "table",
				  dry_run ? count_rows(&tables[i], tenant) : delete_rows(tables, n, i, tenant));
	for (int i = 0; i < n && !dry_run; i++)
		require_none_left(&tables[i], tenant);
	for (int i = n - 1; i >= 0; i--)
	{
		if (tables[i].audited)
			put_count(fcinfo, tables[i].relid, "audit",
					  audit_query(&tables[i], tenant, dry_run ? "count(*)" :
								  "coalesce(sum(dbpatterns.audit_erase($1, k.key, 'tenant purged')), 0)::bigint"));
	}
	end(&scope);
	PG_RETURN_NULL();
}

/*
 * tenant_rows(tenant text) returns all rows of a tenant as JSON, parents first.
 *
 * Raises what tenant_verify does, and takes its locks.
 */
Datum
dbpatterns_tenant_rows(PG_FUNCTION_ARGS)
{
	ReturnSetInfo *rsinfo = (ReturnSetInfo *) fcinfo->resultinfo;
	DbpOwnerScope scope;
	DbpParam	tenant;
	int			n;
	Belonging  *tables = begin(fcinfo, &scope, &tenant, &n);

	for (int i = 0; i < n; i++)
	{
		char	   *table = dbp_relation_name_by_oid(tables[i].relid);
		uint64		rows = dbp_sql_query(psprintf("SELECT %s::pg_catalog.regclass, to_jsonb(t) FROM %s t WHERE %s",
												  quote_literal_cstr(table), table,
												  condition(&tables[i], "$1")), 1, &tenant);

		for (uint64 j = 0; j < rows; j++)
			tuplestore_puttuple(rsinfo->setResult, SPI_tuptable->vals[j]);
		SPI_freetuptable(SPI_tuptable);
	}
	end(&scope);
	PG_RETURN_NULL();
}

/*
 * file_name returns the name of a file for a table, with nothing in it that a
 * path could mean otherwise.
 */
static char *
file_name(const char *directory, int number, const char *table)
{
	char	   *name = pstrdup(table);

	for (char *c = name; *c != '\0'; c++)
	{
		if (!isalnum((unsigned char) *c) && strchr("._-", *c) == NULL)
			*c = '_';
	}
	return psprintf("%s/%03d_%s.csv", directory, number, name);
}

/*
 * tenant_export(tenant text, directory text) writes the rows of a tenant to files on the
 * server, one for each table, in CSV with a header; their names say in which order to load them.
 *
 * directory: an absolute path of a directory that is there.  Raises what tenant_verify
 * does, and what COPY does: 42501 without the rights of pg_write_server_files, 42602 for
 * a relative path, 58P01 where there is no such directory.  Takes ACCESS SHARE on the
 * tables; runs as the caller.
 */
Datum
dbpatterns_tenant_export(PG_FUNCTION_ARGS)
{
	ReturnSetInfo *rsinfo = (ReturnSetInfo *) fcinfo->resultinfo;
	DbpOwnerScope scope;
	DbpParam	tenant;
	char	   *id;
	int			n;
	Belonging  *tables;

	dbp_require_argument(fcinfo, 1, "directory", "Name a directory on the server.");
	tables = begin(fcinfo, &scope, &tenant, &n);
	id = quote_literal_cstr(TextDatumGetCString(tenant.value));
	for (int i = 0; i < n; i++)
	{
		char	   *table = dbp_relation_name_by_oid(tables[i].relid);
		char	   *file = file_name(text_to_cstring(PG_GETARG_TEXT_PP(1)), i + 1, table);
		Datum		values[3];
		bool		nulls[3] = {false, false, false};

		/* COPY takes no parameters. */
		dbp_sql_command("COPY (SELECT * FROM %s WHERE %s) TO %s WITH (FORMAT csv, HEADER)",
						table, condition(&tables[i], id), quote_literal_cstr(file));
		values[0] = ObjectIdGetDatum(tables[i].relid);
		values[1] = Int64GetDatum(SPI_processed);
		values[2] = CStringGetTextDatum(file);
		tuplestore_putvalues(rsinfo->setResult, rsinfo->setDesc, values, nulls);
	}
	end(&scope);
	PG_RETURN_NULL();
}
