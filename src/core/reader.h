/*-------------------------------------------------------------------------
 *
 * reader.h
 *	  SQL functions beside a table that return rows of it.
 *
 *
 * Copyright (c) 2026, dbpatterns contributors
 *
 * src/core/reader.h
 *
 *-------------------------------------------------------------------------
 */
#ifndef DBP_READER_H
#define DBP_READER_H

#include "utils/rel.h"

/* Functions of a module. */
typedef struct DbpReaders
{
	const char *const *names;	/* what follows the name of the table and "__" */
	int			n;
	const char *kind;			/* what the table is, for an error */
	bool	   *silent;			/* true while DDL of the module's is run */
} DbpReaders;

extern char *dbp_reader_name(const char *table, const char *what);
extern Oid	dbp_reader_find(Oid relid, const char *what);
extern void dbp_reader_make(const DbpReaders *readers, Relation rel, const char *what,
							const char *arguments, const char *body, const char *comment);
extern void dbp_reader_drop(const DbpReaders *readers, Oid relid, const char *what);
extern void dbp_readers_rename(const DbpReaders *readers, Oid relid, const char *old_name,
							   const char *new_name);
extern void dbp_readers_give(const DbpReaders *readers, Oid relid, const char *owner);
extern void dbp_readers_drop(const DbpReaders *readers, Oid relid);

#endif							/* DBP_READER_H */
