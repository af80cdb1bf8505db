/*-------------------------------------------------------------------------
 *
 * dropin.h
 *	  The trigger function of temporal_tables.
 *
 *
 * Copyright (c) 2026, dbpatterns contributors
 *
 * src/versioning/dropin.h
 *
 *-------------------------------------------------------------------------
 */
#ifndef DBP_DROPIN_H
#define DBP_DROPIN_H

#include "access/htup.h"
#include "commands/trigger.h"
#include "core/append.h"
#include "core/relstate.h"
#include "executor/spi.h"
#include "utils/rangetypes.h"
#include "utils/typcache.h"

/* A row of a partition that was updated, and may be on its way to another. */
typedef struct DropinMove
{
	TransactionId xid;
	SubTransactionId subid;
	Oid			file;
	ItemPointerData tid;
	TimestampTz start;			/* of the new row's period */
} DropinMove;

/* What a trigger's arguments say of its table. */
typedef struct DropinTable
{
	DbpRelState head;			/* MUST BE FIRST */
	char	   *period;
	AttrNumber	period_no;
	TypeCacheEntry *range;		/* the type of the period */
	char	   *history;		/* as the trigger names it */
	char	   *adjust;			/* not parsed before it is needed */
	bool		ignore_unchanged;
	bool		include_current;
	char	   *version;		/* NULL: rows carry no version number */
	AttrNumber	version_no;
	int16		later;			/* events whose history an AFTER trigger
								 * writes */
	Oid			owner;
	DropinMove	last_update;
} DropinTable;

/* How its history is written. */
typedef struct DropinHistory
{
	DbpRelState head;			/* MUST BE FIRST; rootid is the history */
	Oid			relid;
	char	   *name;			/* quoted, with its schema */
	bool		temporary;
	bool		as_owner;		/* the owner of the table may write it */
	Oid			owner;			/* of the table */
	DbpAppendTarget *target;	/* NULL: only INSERT will do */
	int			ncolumns;		/* that both tables have */
	AttrNumber *from;			/* their numbers in the table */
	AttrNumber *to;				/* and in the history */
	Oid		   *types;
	bool	   *needed;			/* NOT NULL in the history */
	bool	   *computed;		/* generated in the table */
	bool	   *watched;		/* a change of it makes a version */
	bool		overriding;		/* the history generates one of them */
	int			nkey;			/* columns that tell the rows apart */
	int		   *key;			/* indexes into from */
	SPIPlanPtr	insert;
	SPIPlanPtr	close;
} DropinHistory;

/* A row, taken apart. */
typedef struct DropinRow
{
	Datum	   *values;
	bool	   *isnull;
} DropinRow;

/* One firing of the trigger. */
typedef struct DropinFiring
{
	TriggerData *data;
	Relation	rel;
	DropinTable *table;
	HeapTuple	old;			/* or NULL */
	HeapTuple	new;			/* or NULL */
	bool		own;			/* this transaction began the old version */
} DropinFiring;

/* dropin_table.c */
extern DropinTable *dbp_dropin_table(Relation rel, Trigger *trigger);
extern void dbp_dropin_table_init(void);

/* dropin_history.c */
extern DropinHistory *dbp_dropin_history(Relation rel, Trigger *trigger, DropinTable *table);
extern void dbp_dropin_history_init(void);

/* dropin_write.c */
extern void dbp_dropin_append(DropinHistory *history, DropinTable *table,
							  const DropinRow *row, Datum period);
extern void dbp_dropin_close(DropinHistory *history, DropinTable *table,
							 const DropinRow *row, Datum period);

/* dropin_period.c */
extern Datum dbp_dropin_closed_period(const DropinFiring *firing, const RangeBound *lower,
									  TimestampTz upto);
extern Datum dbp_dropin_open_period(const DropinFiring *firing, TimestampTz from);
extern bool dbp_dropin_read_period(const DropinFiring *firing, HeapTuple tuple,
								   RangeBound *lower, bool *isnull);
extern void dbp_dropin_require_period(const DropinFiring *firing, HeapTuple tuple,
									  RangeBound *lower);
extern TimestampTz dbp_dropin_now(const DropinFiring *firing);
extern TimestampTz dbp_dropin_end(const DropinFiring *firing, const RangeBound *lower, bool quiet);

/* dropin_own.c */
extern bool dbp_dropin_is_own(const DropinFiring *firing);
extern void dbp_dropin_leave_alone(const DropinFiring *firing, const RangeBound *lower);

#endif							/* DBP_DROPIN_H */
