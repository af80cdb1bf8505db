/*-------------------------------------------------------------------------
 *
 * residue.c
 *	  What another tenant may have left in this session.
 *
 * A pooled session goes from tenant to tenant.  The context ends with each
 * transaction; rows that were fetched do not: those of a cursor WITH HOLD, of
 * temporary tables, and what was sent to a channel that is still listened to.
 *
 * Copyright (c) 2026, dbpatterns contributors
 *
 * src/tenant/residue.c
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "catalog/namespace.h"
#include "core/owner.h"
#include "core/sql.h"
#include "fmgr.h"
#include "funcapi.h"
#include "miscadmin.h"
#include "tenant/tenant.h"
#include "utils/builtins.h"

PG_FUNCTION_INFO_V1(dbpatterns_tenant_residue);

/* Cursors that this transaction declared are its own, held or not. */
#define CURSORS \
	"SELECT 'cursor', c.name FROM pg_catalog.pg_cursor() c" \
	" WHERE c.is_holdable AND c.creation_time < pg_catalog.transaction_timestamp()"
#define TABLES \
	" UNION ALL SELECT 'temporary table', c.relname::pg_catalog.text FROM pg_catalog.pg_class c" \
	" WHERE c.relnamespace = pg_catalog.pg_my_temp_schema()" \
	" AND c.relkind = ANY ('{r,p,m,S,v}'::pg_catalog.\"char\"[])"
#define CHANNELS \
	" UNION ALL SELECT 'channel', l FROM pg_catalog.pg_listening_channels() l"
#define ADVISORY \
	" UNION ALL SELECT DISTINCT 'advisory lock', l.classid || ' ' || l.objid FROM pg_catalog.pg_locks l" \
	" WHERE l.locktype = 'advisory' AND l.pid = pg_catalog.pg_backend_pid() AND l.granted"

/*
 * find returns the number of rows of a query, with search_path pinned and the
 * caller's rights.
 */
static uint64
find(const char *sql)
{
	DbpOwnerScope scope;
	uint64		rows;

	dbp_enter_caller(&scope);
	rows = dbp_sql_query(sql, 0, NULL);
	dbp_leave_owner(&scope);
	return rows;
}

/*
 * dbp_tenant_require_no_residue raises 55006, where dbpatterns.tenant_strict_pool
 * is on, when the session holds what another tenant may have left.  Advisory
 * locks carry no rows and are not looked for.
 */
void
dbp_tenant_require_no_residue(void)
{
	if (!dbp_tenant_strict_pool)
		return;
	SPI_connect();
	if (find(CURSORS TABLES CHANNELS) > 0)
		ereport(ERROR,
				(errcode(ERRCODE_OBJECT_IN_USE),
				 errmsg("this session holds what another tenant may have left: %s %s",
						dbp_sql_text(0, 0), quote_identifier(dbp_sql_text(0, 1))),
				 errhint("Let the pool run DISCARD ALL between clients, or close and drop it at the end of each transaction.")));
	SPI_finish();
}

/*
 * tenant_residue() returns what this session holds beyond its transactions: cursors
 * WITH HOLD, temporary relations, channels it listens to, advisory locks.
 *
 * kind, name: one row each.  Takes no lock; runs as the caller.
 */
Datum
dbpatterns_tenant_residue(PG_FUNCTION_ARGS)
{
	ReturnSetInfo *rsinfo = (ReturnSetInfo *) fcinfo->resultinfo;
	uint64		rows;

	InitMaterializedSRF(fcinfo, 0);
	SPI_connect();
	rows = find(CURSORS TABLES CHANNELS ADVISORY);
	for (uint64 i = 0; i < rows; i++)
		tuplestore_puttuple(rsinfo->setResult, SPI_tuptable->vals[i]);
	SPI_finish();
	PG_RETURN_NULL();
}
