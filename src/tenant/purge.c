/*-------------------------------------------------------------------------
 *
 * purge.c
 *	  Deleting all that belongs to a tenant.
 *
 * Tables of children come first.  Closure tables and the like follow by their triggers; the
 * audit trail is erased row by row, by its own function, after the rows.
 *
 * Copyright (c) 2026, dbpatterns contributors
 *
 * src/tenant/purge.c
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
#include "miscadmin.h"
#include "storage/lmgr.h"
#include "tenant/belongings.h"
#include "utils/builtins.h"
#include "utils/lsyscache.h"

PG_FUNCTION_INFO_V1(dbpatterns_tenant_purge);

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
								   SPI_getvalue(key, keys->tupdesc, 3), dbp_tenant_condition(&tables[parent], "$1"),
								   table, SPI_getvalue(key, keys->tupdesc, 5),
								   dbp_tenant_condition(&tables[child], "$1")), 1, &tenant) > 0)
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
								  dbp_tenant_condition(&tables[parent], "$1")), 1, &tenant);
}

/*
 * require_none_left raises 55000 for rows that triggers have kept or brought back.
 */
static void
require_none_left(const Belonging *table, DbpParam tenant)
{
	char	   *name = dbp_relation_name_by_oid(table->relid);

	if (dbp_tenant_count_rows(table, tenant) > 0)
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
	tables = dbp_tenant_begin_belongings(fcinfo, &scope, &tenant, &n);
	if (!dry_run)
	{
		begin_deleting(tenant);
		for (int i = 0; i < n; i++)
			wait_for_writers(tables[i].relid);
	}
	for (int i = n - 1; i >= 0; i--)
		dbp_tenant_put_count(fcinfo, tables[i].relid, "table",
							 dry_run ? dbp_tenant_count_rows(&tables[i], tenant) :
							 delete_rows(tables, n, i, tenant));
	for (int i = 0; i < n && !dry_run; i++)
		require_none_left(&tables[i], tenant);
	for (int i = n - 1; i >= 0; i--)
	{
		if (tables[i].audited)
			dbp_tenant_put_count(fcinfo, tables[i].relid, "audit",
								 dbp_tenant_audit_query(&tables[i], tenant, dry_run ? "count(*)" :
														"coalesce(sum(dbpatterns.audit_erase($1, k.key, 'tenant purged')), 0)::bigint"));
	}
	dbp_tenant_end_belongings(&scope);
	PG_RETURN_NULL();
}
