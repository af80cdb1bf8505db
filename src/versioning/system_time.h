/*-------------------------------------------------------------------------
 *
 * system_time.h
 *	  The system time that a session has set.
 *
 *
 * Copyright (c) 2026, dbpatterns contributors
 *
 * src/versioning/system_time.h
 *
 *-------------------------------------------------------------------------
 */
#ifndef DBP_SYSTEM_TIME_H
#define DBP_SYSTEM_TIME_H

#include "datatype/timestamp.h"
#include "utils/rel.h"

extern bool dbp_versioning_system_time(TimestampTz *when);
extern bool dbp_versioning_system_time_of(Relation rel, TimestampTz *when);
extern bool dbp_versioning_parse_time(const char *string, TimestampTz *when);
extern void dbp_versioning_system_time_init(void);

#endif							/* DBP_SYSTEM_TIME_H */
