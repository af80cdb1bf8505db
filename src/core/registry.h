/*-------------------------------------------------------------------------
 *
 * registry.h
 *	  Which table carries which pattern, and findings about them.
 *
 *
 * Copyright (c) 2026, dbpatterns contributors
 *
 * src/core/registry.h
 *
 *-------------------------------------------------------------------------
 */
#ifndef DBP_REGISTRY_H
#define DBP_REGISTRY_H

#include "fmgr.h"
#include "utils/jsonb.h"

extern void dbp_registry_set(Oid target, const char *pattern, const char *options);
extern bool dbp_registry_remove(Oid target, const char *pattern);
extern void dbp_registry_init(void);

/* How bad a finding is. */
#define DBP_ERROR	"error"
#define DBP_WARNING	"warning"
#define DBP_INFO	"info"

extern void dbp_finding(FunctionCallInfo fcinfo, const char *severity,
						const char *object, char *problem, char *remedy);

#endif							/* DBP_REGISTRY_H */
