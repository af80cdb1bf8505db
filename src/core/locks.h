/*-------------------------------------------------------------------------
 *
 * locks.h
 *	  Taking strong locks without joining the queue.
 *
 *
 * Copyright (c) 2026, dbpatterns contributors
 *
 * src/core/locks.h
 *
 *-------------------------------------------------------------------------
 */
#ifndef DBP_LOCKS_H
#define DBP_LOCKS_H

#include "storage/lockdefs.h"

/* How long dbp_lock_relations tries before it gives up. */
#define DBP_LOCK_PATIENCE_MS	10000

extern bool dbp_lock_relations(int n, const Oid *relids, const LOCKMODE *modes,
							   int patience_ms);

#endif							/* DBP_LOCKS_H */
