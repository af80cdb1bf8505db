/*-------------------------------------------------------------------------
 *
 * foreign_act.h
 *	  What the triggers of a foreign key between periods know, and what they
 *	  do to rows that lose the one they refer to.
 *
 *
 * Copyright (c) 2026, dbpatterns contributors
 *
 * src/period/foreign_act.h
 *
 *-------------------------------------------------------------------------
 */
#ifndef DBP_PERIOD_FOREIGN_ACT_H
#define DBP_PERIOD_FOREIGN_ACT_H

#include "executor/spi.h"
#include "period/foreign.h"
#include "period/period.h"
#include "utils/rel.h"

/* The queries of a foreign key. */
enum
{
	FOREIGN_COVER,				/* parents cover a period */
	FOREIGN_ORPHAN,				/* a child within a period is not covered */
	FOREIGN_ANY,				/* a child meets periods */
	FOREIGN_LOSER,				/* children that lose cover within periods */
	FOREIGN_PLANS
};

typedef struct ForeignState
{
	DbpRelState head;			/* MUST BE FIRST */
	ForeignKey	key;
	Oid			child_owner;
	Oid			parent_owner;
	DbpPeriod	of_child;
	DbpPeriod	of_parent;
	char	   *multirange;		/* name of the type */
	int			nkeys;
	AttrNumber *child_columns;
	AttrNumber *parent_columns;
	Oid		   *types;			/* of the key, and room for one more */
	char	   *sql[FOREIGN_PLANS];
	SPIPlanPtr	plans[FOREIGN_PLANS];
} ForeignState;

/* foreign_check.c */
extern uint64 dbp_foreign_run(ForeignState *state, int which, const Datum *key, Datum period,
							  bool latest);

/* foreign_sql.c */
extern void dbp_foreign_make_queries(ForeignState *state, Relation child, Relation parent);

/* foreign_act.c */
extern void dbp_foreign_act(ForeignState *state, ForeignAction action, const Datum *key,
							Datum lost, const Datum *new_key, Datum new_period);

#endif							/* DBP_PERIOD_FOREIGN_ACT_H */
