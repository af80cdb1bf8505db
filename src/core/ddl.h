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
 * relids), indexes aside.  command is its tag, such as ALTER TABLE.
 */
typedef void (*DbpDdlCallback) (const char *command, List *relids);

/* An object that a DROP removed. */
typedef struct DbpDropped
{
	Oid			classid;
	Oid			objid;
	const char *identity;
	Oid			relid;			/* of a trigger or policy: its table, if that
								 * is still there */
} DbpDropped;

typedef void (*DbpDropCallback) (List *dropped);

/*
 * Called, before the first one, for each table in which a command changed what
 * columns (attribute numbers) hold, or how they show it: by computing a column
 * anew, or through a type.  computed: those computed by an expression that is
 * more than a cast of the column.
 */
typedef void (*DbpRewriteCallback) (Oid relid, List *columns, List *computed);

/*
 * Called, before those, for a table that was renamed, or a column of one; of
 * the tables that inherit the column only the first is named.
 */
typedef void (*DbpRenameCallback) (Oid relid, bool column, const char *old_name,
								   const char *new_name);

/* A callback may be NULL. */
extern void dbp_ddl_register(DbpDdlCallback after_ddl, DbpDropCallback after_drop,
							 DbpRewriteCallback after_rewrite, DbpRenameCallback after_rename);

#endif							/* DBP_DDL_H */
