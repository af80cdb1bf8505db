/*-------------------------------------------------------------------------
 *
 * progress.h
 *	  Progress of long work.
 *
 *
 * Copyright (c) 2026, dbpatterns contributors
 *
 * src/core/progress.h
 *
 *-------------------------------------------------------------------------
 */
#ifndef DBP_PROGRESS_H
#define DBP_PROGRESS_H

extern void dbp_progress_start(const char *operation, const char *target, int64 total);
extern void dbp_progress_update(int64 done);
extern void dbp_progress_end(void);

#endif							/* DBP_PROGRESS_H */
