/*-------------------------------------------------------------------------
 *
 * foreign.h
 *	  Foreign keys between tables with periods.
 *
 *
 * Copyright (c) 2026, dbpatterns contributors
 *
 * src/period/foreign.h
 *
 *-------------------------------------------------------------------------
 */
#ifndef DBP_PERIOD_FOREIGN_H
#define DBP_PERIOD_FOREIGN_H

#include "nodes/pg_list.h"
#include "utils/reltrigger.h"

/* What happens to rows that lose the one they refer to. */
typedef enum ForeignAction
{
	FOREIGN_NO_ACTION,
	FOREIGN_RESTRICT,
	FOREIGN_CASCADE,
	FOREIGN_SET_NULL,
	FOREIGN_SET_DEFAULT
} ForeignAction;

/* The argument of the triggers. */
typedef struct ForeignKey
{
	char	   *constraint;
	char	   *child;			/* quoted, with their schemas */
	char	   *parent;
	List	   *columns;		/* of the child */
	List	   *parent_columns;
	ForeignAction on_delete;
	ForeignAction on_update;
} ForeignKey;

/* foreign.c */
extern void dbp_foreign_parse(const char *argument, ForeignKey *key);
extern Oid	dbp_foreign_table(const char *name);
extern void dbp_foreign_follow(Oid relid, const char *old_name, const char *new_name);
extern void dbp_foreign_forget(Oid relid);

/* foreign_sql.c */
extern void dbp_foreign_require_covered(const ForeignKey *key, Oid childid, Oid parentid);

/* foreign_check.c */
extern void dbp_foreign_check_init(void);

#endif							/* DBP_PERIOD_FOREIGN_H */
