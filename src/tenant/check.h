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
#include "tenant/tenant.h"

/* Parameters of all queries, $1 and so on. */
enum
{
	CHECK_TABLES,				/* $1: tables to look at: isolated ones, and
								 * what is below them */
	CHECK_ALL,					/* $2: all of these that there are */
	CHECK_COLUMNS,				/* $3: the tenant's column of each of all */
	CHECK_ROOTS,				/* $4: the table that each is part of */
	CHECK_CALLS,				/* $5: arguments of tenant_enable, behind the
								 * table, as it was called for that one */
	CHECK_EXEMPT,				/* $6: exempt tables */
	CHECK_UNCLASSIFIED,			/* $7: tables that are neither */
	CHECK_SCHEMAS,				/* $8: schemas that have isolated tables, or
								 * are covered */
	CHECK_NAMES,				/* $9: names of roles that policies are for */
	CHECK_ROLES,				/* $10: roles of applications */
	CHECK_WALLED,				/* $11: schemas of one tenant, with a wall */
	CHECK_TENANTS,				/* $12: the tenants these are of */
	CHECK_PARAMS
};

typedef struct TenantChecked
{
	FunctionCallInfo fcinfo;	/* where findings go */
	DbpParam	params[CHECK_PARAMS];
} TenantChecked;

/* Whether a role sees the rows of all tenants: policies do not apply to it. */
#define BYPASSES(role) \
	"EXISTS (SELECT FROM pg_roles b WHERE b.oid = " role " AND (b.rolsuper OR b.rolbypassrls))"

/* What others than the owner have been granted on a relation c, and its columns. */
#define GRANTS \
	"LATERAL (SELECT a.grantee, a.privilege_type FROM aclexplode(c.relacl) a WHERE a.grantee <> c.relowner" \
	" UNION SELECT a.grantee, a.privilege_type FROM pg_attribute t, aclexplode(t.attacl) a" \
	"  WHERE t.attrelid = c.oid AND t.attacl IS NOT NULL AND a.grantee <> c.relowner) g"

#define REVOKE_ALL "format('REVOKE ALL ON %s FROM %s CASCADE;', c.oid::regclass," \
	" string_agg(DISTINCT " ROLE_NAME("g.grantee") ", ', '))"

extern void dbp_tenant_find(TenantChecked *checked, const char *const *queries, int n);
extern void dbp_tenant_find_keys(TenantChecked *checked);
extern void dbp_tenant_find_ways(TenantChecked *checked);
extern void dbp_tenant_find_roles(TenantChecked *checked);

#endif							/* DBP_TENANT_CHECK_H */
