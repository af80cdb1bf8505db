/*-------------------------------------------------------------------------
 *
 * relstate.h
 *	  Per-relation state that relcache invalidation ends.
 *
 *
 * Copyright (c) 2026, dbpatterns contributors
 *
 * src/core/relstate.h
 *
 *-------------------------------------------------------------------------
 */
#ifndef DBP_RELSTATE_H
#define DBP_RELSTATE_H

#include "utils/rel.h"

/*
 * The head of a module's state for one relation.  The module's struct starts
 * with it.  MUST BE FIRST there.
 */
typedef struct DbpRelState
{
	Oid			relid;			/* relation the state is for */
	Oid			variant;		/* trigger OID, or whatever else tells apart */
	Oid			rootid;			/* also ended by changes of this one */
	Oid			otherid;		/* and of this one, unless it is 0 */
	MemoryContext cxt;			/* owns everything the state points to */
} DbpRelState;

typedef struct DbpRelStateCache DbpRelStateCache;

/* Fills a zeroed state of the module's size; state->cxt is current. */
typedef void (*DbpRelStateBuild) (DbpRelState *state, Relation rel, void *arg);

extern DbpRelStateCache *dbp_relstate_cache(const char *name, Size size,
											DbpRelStateBuild build);
extern DbpRelState *dbp_relstate_get(DbpRelStateCache *cache, Relation rel,
									 Oid variant, void *arg);
extern void dbp_relstate_forget(DbpRelStateCache *cache);
extern void dbp_relstate_init(void);

#endif							/* DBP_RELSTATE_H */
