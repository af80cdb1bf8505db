/*-------------------------------------------------------------------------
 *
 * period.h
 *	  Tables with application time: each row holds for a period.
 *
 *
 * Copyright (c) 2026, dbpatterns contributors
 *
 * src/period/period.h
 *
 *-------------------------------------------------------------------------
 */
#ifndef DBP_PERIOD_H
#define DBP_PERIOD_H

#include "core/reader.h"
#include "core/relstate.h"
#include "utils/reltrigger.h"

#define PERIOD_TRIGGER	"dbpatterns_30_period"

/* The argument of the trigger: names of columns. */
typedef struct PeriodOptions
{
	List	   *key;			/* rows with one key must not overlap */
	char	   *period;			/* range column, or NULL */
	char	   *from;			/* otherwise the two bounds */
	char	   *upto;
	char	   *constraint;		/* that keeps them from overlapping */
} PeriodOptions;

/* A table's period. */
typedef struct DbpPeriod
{
	DbpRelState head;			/* MUST BE FIRST */
	PeriodOptions options;
	int			nkeys;
	AttrNumber *keys;
	AttrNumber	range;			/* 0: it has two columns */
	AttrNumber	from;			/* 0: it has a range */
	AttrNumber	upto;
	bool		upto_not_null;	/* so infinity is its only form without an end */
	Oid			rangetype;		/* of two columns, that of their type */
	Oid			subtype;
	bool		deferrable;		/* the constraint is */
} DbpPeriod;

/* spec.c */
extern void dbp_period_parse(const char *argument, PeriodOptions *options);
extern char *dbp_period_print(const PeriodOptions *options);
extern Trigger *dbp_period_trigger(Relation rel);
extern bool dbp_period_options(Relation rel, PeriodOptions *options);
extern DbpPeriod *dbp_period_get(Relation rel);
extern Oid	dbp_period_range_of(Oid subtype);
extern char *dbp_period_expression(const PeriodOptions *options, Oid rangetype,
								   const char *alias);
extern void dbp_period_spec_init(void);

/* enable.c */
extern void dbp_period_create_trigger(Oid relid, const PeriodOptions *options);

/* functions.c */
extern const DbpReaders dbp_period_readers;
extern void dbp_period_make_functions(Oid relid);

/* foreign.c */
extern void dbp_period_require_unreferenced(Oid relid);

/* follow.c */
extern bool dbp_period_silent;
extern void dbp_period_follow_init(void);

/* period.c */
extern void dbp_period_init(void);

#endif							/* DBP_PERIOD_H */
