/*-------------------------------------------------------------------------
 *
 * dbpatterns.c
 *	  Library entry point: one init call per module, nothing else.
 *
 * The only file that knows all modules.
 *
 * Copyright (c) 2026, dbpatterns contributors
 *
 * src/dbpatterns.c
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "audit/audit.h"
#include "core/append.h"
#include "core/registry.h"
#include "core/relstate.h"
#include "fmgr.h"
#include "hierarchy/hierarchy.h"
#include "period/period.h"
#include "tenant/tenant.h"
#include "utils/catcache.h"
#include "utils/guc.h"
#include "utils/memutils.h"
#include "versioning/versioning.h"

PG_MODULE_MAGIC;

void		_PG_init(void);

void
_PG_init(void)
{
	/* Preloaded by the postmaster, we come before the caches. */
	if (CacheMemoryContext == NULL)
		CreateCacheMemoryContext();

	dbp_relstate_init();
	dbp_append_init();
	dbp_registry_init();
	dbp_audit_init();
	dbp_hier_init();
	dbp_tenant_init();
	dbp_versioning_init();
	dbp_period_init();
	MarkGUCPrefixReserved("dbpatterns");
}
