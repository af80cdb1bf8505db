/*-------------------------------------------------------------------------
 *
 * clone.h
 *	  What the files that clone a schema share.
 *
 *
 * Copyright (c) 2026, dbpatterns contributors
 *
 * src/tenant/clone.h
 *
 *-------------------------------------------------------------------------
 */
#ifndef DBP_TENANT_CLONE_H
#define DBP_TENANT_CLONE_H

#include "tenant/tenant.h"

/* ---- clone_read.c: lists end with NULL ---- */
extern const char *const dbp_clone_objects[];
extern const char *const dbp_clone_aliases;
extern const char *const dbp_clone_rest[];
extern const char *const dbp_clone_late[];

/* ---- clone_rights.c ---- */
extern const char *const dbp_clone_rights[];
extern const char *const dbp_clone_refused;
extern const char *const dbp_clone_named;
extern const char *const dbp_clone_left_over;

#endif							/* DBP_TENANT_CLONE_H */
