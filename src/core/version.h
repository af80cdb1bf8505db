/*-------------------------------------------------------------------------
 *
 * version.h
 *	  Agreement between the library and the installed SQL.
 *
 *
 * Copyright (c) 2026, dbpatterns contributors
 *
 * src/core/version.h
 *
 *-------------------------------------------------------------------------
 */
#ifndef DBP_VERSION_H
#define DBP_VERSION_H

extern void dbp_check_version(void);

#endif							/* DBP_VERSION_H */
