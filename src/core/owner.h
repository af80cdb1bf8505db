/*-------------------------------------------------------------------------
 *
 * owner.h
 *	  Ownership check and run-as-owner scope.
 *
 *
 * Copyright (c) 2026, dbpatterns contributors
 *
 * src/core/owner.h
 *
 *-------------------------------------------------------------------------
 */
#ifndef DBP_OWNER_H
#define DBP_OWNER_H

#include "utils/rel.h"

/* What dbp_enter_owner saved.  An error unwinds it with the transaction. */
typedef struct DbpOwnerScope
{
	Oid			userid;
	int			sec_context;
	int			guc_nestlevel;
} DbpOwnerScope;

extern void dbp_require_owner(Oid relid);
extern void dbp_enter_owner(DbpOwnerScope *scope, Oid owner);
extern void dbp_enter_caller(DbpOwnerScope *scope);
extern void dbp_leave_owner(DbpOwnerScope *scope);
extern Oid	dbp_relation_owner(Oid relid);

#endif							/* DBP_OWNER_H */
