/*-------------------------------------------------------------------------
 *
 * check.h
 *	  What the checks share.
 *
 *
 * Copyright (c) 2026, dbpatterns contributors
 *
 * src/tenant/check.h
 *
 *-------------------------------------------------------------------------
 */
#ifndef DBP_TENANT_CHECK_H
#define DBP_TENANT_CHECK_H

#include "core/sql.h"
#include "fmgr.h"

/* Parameters of all queries, $1 and so on. */
enum
{
	CHECK_TABLES,				/* $1: isolated tables and what is below them */
	CHECK_COLUMNS,				/* $2: the tenant's column of each */
	CHECK_ROOTS,				/* $3: the isolated table that each is part of */
	CHECK_EXEMPT,				/* $4: exempt tables */
	CHECK_SCHEMAS,				/* $5: schemas that have isolated tables, or
								 * are covered */
	CHECK_ROLES,				/* $6: roles of applications */
	CHECK_PARAMS
};

typedef struct TenantChecked
{
	FunctionCallInfo fcinfo;	/* where findings go */
	DbpParam	params[CHECK_PARAMS];
} TenantChecked;

extern void dbp_tenant_find(TenantChecked *checked, const char *const *queries, int n);
extern void dbp_tenant_find_keys(TenantChecked *checked);
extern void dbp_tenant_find_ways(TenantChecked *checked);
extern void dbp_tenant_find_roles(TenantChecked *checked);

#endif							/* DBP_TENANT_CHECK_H */
