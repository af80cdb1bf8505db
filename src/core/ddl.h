/*-------------------------------------------------------------------------
 *
 * ddl.h
 *	  One event trigger for all patterns.
 *
 *
 * Copyright (c) 2026, dbpatterns contributors
 *
 * src/core/ddl.h
 *
 *-------------------------------------------------------------------------
 */
#ifndef DBP_DDL_H
#define DBP_DDL_H

#include "nodes/pg_list.h"

/*
 * Called after a command that altered or created relations (their OIDs in
 * relids), or detached partitions.  command is its tag, such as ALTER TABLE.
 */
typedef void (*DbpDdlCallback) (const char *command, List *relids, List *detached);

/* An object that a DROP removed. */
typedef struct DbpDropped
{
	Oid			classid;
	Oid			objid;
	const char *type;			/* as in pg_event_trigger_dropped_objects */
	const char *identity;
} DbpDropped;

typedef void (*DbpDropCallback) (List *dropped);

extern void dbp_ddl_register(DbpDdlCallback after_ddl, DbpDropCallback after_drop);

#endif							/* DBP_DDL_H */
