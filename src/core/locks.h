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

extern bool dbp_lock_relations(int n, const Oid *relids, const LOCKMODE *modes);

#endif							/* DBP_LOCKS_H */
