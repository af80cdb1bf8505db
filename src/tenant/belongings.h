/*-------------------------------------------------------------------------
 *
 * belongings.h
 *	  What the files share that look for all that belongs to a tenant.
 *
 *
 * Copyright (c) 2026, dbpatterns contributors
 *
 * src/tenant/belongings.h
 *
 *-------------------------------------------------------------------------
 */
#ifndef DBP_TENANT_BELONGINGS_H
#define DBP_TENANT_BELONGINGS_H

#include "core/sql.h"
#include "fmgr.h"
#include "tenant/tenant.h"

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

/* Tables of $1 with all below them; n is the place of the root. */
#define TREES \
	"WITH RECURSIVE tree (n, relid) AS (SELECT u.n::int - 1, u.relid FROM unnest($1) WITH ORDINALITY u (relid, n)" \
	" UNION SELECT t.n, i.inhrelid FROM tree t JOIN pg_inherits i ON i.inhparent = t.relid)"

extern Belonging *dbp_tenant_begin_belongings(FunctionCallInfo fcinfo, DbpOwnerScope *scope,
											  DbpParam *tenant, int *n);
extern void dbp_tenant_end_belongings(DbpOwnerScope *scope);
extern char *dbp_tenant_condition(const Belonging *table, const char *tenant);
extern int64 dbp_tenant_count(const char *sql, int nparams, const DbpParam *params);
extern int64 dbp_tenant_count_rows(const Belonging *table, DbpParam tenant);
extern void dbp_tenant_put_count(FunctionCallInfo fcinfo, Oid relid, const char *place, int64 rows);
extern int64 dbp_tenant_audit_query(const Belonging *table, DbpParam tenant, const char *what);

#endif							/* DBP_TENANT_BELONGINGS_H */
