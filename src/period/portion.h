/*-------------------------------------------------------------------------
 *
 * portion.h
 *	  Editing what holds during a portion of time.
 *
 *
 * Copyright (c) 2026, dbpatterns contributors
 *
 * src/period/portion.h
 *
 *-------------------------------------------------------------------------
 */
#ifndef DBP_PORTION_H
#define DBP_PORTION_H

#include "core/codec.h"
#include "core/relstate.h"
#include "core/sql.h"
#include "period/period.h"
#include "utils/jsonb.h"
#include "utils/rel.h"

/* A plan that is kept with the table it is for. */
typedef struct PortionPlan
{
	char	   *sql;
	SPIPlanPtr	plan;
	struct PortionPlan *next;
} PortionPlan;

/* How a statement is planned and run. */
typedef enum PortionPlanning
{
	PORTION_READ,				/* by index, on the caller's snapshot */
	PORTION_DIRECT,				/* by index or ctid, on a new snapshot */
	PORTION_FREE				/* as the planner finds best */
} PortionPlanning;

/* What is known of a table with a period, until it is altered. */
typedef struct PortionTable
{
	DbpRelState head;			/* MUST BE FIRST */
	char	   *name;			/* qualified and quoted, as all names here */
	bool		partitioned;
	TupleDesc	desc;
	char	  **columns;		/* by attribute number - 1 */
	bool	   *fresh;			/* a leftover gets a new value */
	bool		has_fresh;
	int			nkey;
	AttrNumber *key;
	char	  **equal;			/* operators of the key's columns */
	AttrNumber	period;			/* a range, or 0 */
	AttrNumber	from;			/* or the columns of its bounds */
	AttrNumber	upto;
	PeriodOptions options;
	bool		from_endless;	/* infinity is its only form without a bound */
	bool		upto_endless;
	Oid			range;
	Oid			subtype;
	Oid			multirange;
	char	   *range_name;
	char	   *multirange_name;
	char	   *constraint;		/* as it is called */
	DbpCodec   *codec;
	PortionPlan *plans;
	int			nplans;
} PortionTable;

typedef enum PortionVerb
{
	PORTION_UPDATE,
	PORTION_DELETE,
	PORTION_UPSERT
} PortionVerb;

/* One call. */
typedef struct PortionEdit
{
	PortionTable *table;
	PortionVerb verb;
	Datum		portion;		/* of the table's type of range */
	bool		until_next;		/* it ends where the next period begins */
	bool		returning;		/* the changed rows are wanted, not their
								 * number */
	bool	   *by;				/* columns of the key that tell which rows */
	bool	   *set;			/* columns that are set */
	Datum	   *key_values;		/* by attribute number - 1, as all of these */
	Datum	   *values;
	bool	   *isnull;
	Datum		tids;			/* what is locked */
	Datum		rels;			/* in which partitions */
} PortionEdit;

/* in portion_table.c */
extern PortionTable *dbp_portion_table(Relation rel);
extern uint64 dbp_portion_query(PortionTable *table, const char *sql, int n,
								const DbpParam *params, PortionPlanning planning);
extern Datum dbp_portion_read(PortionTable *table, Datum value, Oid type);
extern Datum dbp_portion_make(PortionTable *table, Datum from, bool from_open,
							  Datum upto, bool upto_open);
extern bool dbp_portion_overlaps(PortionTable *table, Datum a, Datum b);
extern Datum dbp_portion_common(PortionTable *table, Datum a, Datum b);

/* in portion_sql.c */
extern char *dbp_portion_period(PortionTable *table, const char *alias);
extern char *dbp_portion_lock_sql(PortionEdit *edit, bool lock);
extern char *dbp_portion_write_sql(PortionEdit *edit);
extern int	dbp_portion_key_params(PortionEdit *edit, DbpParam *params);
extern int	dbp_portion_write_params(PortionEdit *edit, DbpParam *params);
extern char *dbp_portion_key_condition(PortionEdit *edit, const char *alias, int first);

/* in portion.c */
extern void dbp_portion_open(PortionEdit *edit, Relation rel, PortionVerb verb);
extern void dbp_portion_read_object(PortionEdit *edit, Jsonb *object, const char *argument);
extern void dbp_portion_require_key(PortionEdit *edit, const char *argument);
extern AttrNumber dbp_portion_column(PortionTable *table, const char *name);
extern uint64 dbp_portion_run(PortionEdit *edit);
extern Relation dbp_portion_target(FunctionCallInfo fcinfo);

/* in portion_view.c */
extern bool dbp_portion_drop_view(Oid relid);
extern void dbp_portion_rename_view(Oid relid, const char *old_name, const char *new_name);
extern void dbp_portion_init(void);

#endif							/* DBP_PORTION_H */
