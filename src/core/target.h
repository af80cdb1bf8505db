/*-------------------------------------------------------------------------
 *
 * target.h
 *	  The table that a pattern is switched on for.
 *
 *
 * Copyright (c) 2026, dbpatterns contributors
 *
 * src/core/target.h
 *
 *-------------------------------------------------------------------------
 */
#ifndef DBP_TARGET_H
#define DBP_TARGET_H

#include "fmgr.h"
#include "nodes/pg_list.h"
#include "storage/lockdefs.h"
#include "utils/rel.h"

/* What to do instead, by what a relation is; NULL for a general hint. */
typedef struct DbpTargetHints
{
	const char *foreign_table;
	const char *no_table;
	const char *ours;
	const char *partition;
	const char *temporary;
} DbpTargetHints;

extern List *dbp_lock_tree(Oid relid, LOCKMODE mode);
extern Oid	dbp_partition_root(Oid relid);
extern void dbp_require_target(Relation rel, const char *what);
extern void dbp_require_target_or_hint(Relation rel, const char *what,
									   const DbpTargetHints *hints);
extern void dbp_require_argument(FunctionCallInfo fcinfo, int argno, const char *argument,
								 const char *hint);
extern void dbp_require_words(FunctionCallInfo fcinfo, int argno, const char *argument,
							  const char *hint);
extern void dbp_require_key(FunctionCallInfo fcinfo, int argno, const char *argument,
							const char *table, List *columns);
extern void dbp_require_own_transaction(FunctionCallInfo fcinfo, const char *procedure);
extern bool dbp_choose_argument(FunctionCallInfo fcinfo, int argno, const char *argument,
								const char *first, const char *second);

#endif							/* DBP_TARGET_H */
