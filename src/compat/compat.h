/*-------------------------------------------------------------------------
 *
 * compat.h
 *	  Differences between the supported PostgreSQL majors (15 to 18).
 *
 * The only file that looks at PG_VERSION_NUM.  Code elsewhere is written
 * against the newest API; what an older server lacks or spells differently
 * is supplied here under the newest name.
 *
 * Copyright (c) 2026, dbpatterns contributors
 *
 * src/compat/compat.h
 *
 *-------------------------------------------------------------------------
 */
#ifndef DBP_COMPAT_H
#define DBP_COMPAT_H

#if PG_VERSION_NUM < 150000
#error "dbpatterns needs PostgreSQL 15 or newer"
#endif

#endif							/* DBP_COMPAT_H */
