/*-------------------------------------------------------------------------
 *
 * versioning.h
 *	  Versioned tables: every row has a system time, and old versions are kept.
 *
 *
 * Copyright (c) 2026, dbpatterns contributors
 *
 * src/versioning/versioning.h
 *
 *-------------------------------------------------------------------------
 */
#ifndef DBP_VERSIONING_H
#define DBP_VERSIONING_H

#include "access/htup.h"
#include "core/codec.h"
#include "core/reader.h"
#include "core/relstate.h"
#include "datatype/timestamp.h"
#include "utils/reltrigger.h"
#include "utils/timestamp.h"

/* The triggers of a versioned table. */
#define VERSIONING_BEFORE_TRIGGER	"dbpatterns_70_versioning"
#define VERSIONING_AFTER_TRIGGER	"dbpatterns_71_versioning"
#define VERSIONING_TRUNCATE_TRIGGER	"dbpatterns_72_versioning"

/* Where the system time of a change comes from. */
typedef enum TimeSource
{
	TIME_TRANSACTION,
	TIME_STATEMENT,
	TIME_CLOCK
} TimeSource;

/* The argument of the triggers. */
typedef struct VersioningOptions
{
	char	   *history;		/* quoted, with its schema */
	char	   *period;			/* column of both tables */
	TimeSource	source;
	bool		all;			/* versions that a transaction itself ended,
								 * too */
	bool		refuse_newer;	/* rows newer than the change */
	bool		keep_unchanged; /* versions by updates that change nothing */
	List	   *exclude;		/* columns without a history */
	bool		archive_truncated;	/* TRUNCATE is a DELETE, not an error */
} VersioningOptions;

/* A system time period as it is stored. */
typedef struct SystemPeriod
{
	TimestampTz lower;			/* -infinity: unbounded, too */
	TimestampTz upper;
	bool		open;			/* has no upper bound, or infinity for one */
	bool		empty;
} SystemPeriod;

/* What the triggers know of a relation. */
typedef struct VersioningState
{
	DbpRelState head;			/* MUST BE FIRST */
	VersioningOptions options;
	TupleDesc	desc;
	DbpCodec   *codec;			/* compares values */
	int			nwatched;
	int		   *watched;		/* columns that make a version: number - 1 */
	int			nexcluded;
	int		   *excluded;		/* those that do not */
	AttrNumber	period;			/* here and in the history */
	AttrNumber	history_period;
	Oid			historyid;
	bool		by_time;		/* the history is partitioned by the end of
								 * the period */
	bool		by_insert;		/* or by something else */
	int			nhistory;
	AttrNumber *map;			/* history column number - 1 to column, or 0 */
	bool		same_layout;	/* the map maps each to itself */
	bool		last_before_insert; /* no trigger of the user's comes between
									 * ours and the table */
	bool		last_before_update;
	Datum	   *values;			/* room for a row */
	bool	   *isnull;

	TimestampTz opened;			/* the period in open, if that is not NULL */
	struct varlena *open;
} VersioningState;

/* A table's entry in _dbpatterns.versioning. */
typedef struct VersionedTable
{
	Oid			baseid;
	Oid			historyid;
	int			columns;		/* that the table had when the history was
								 * brought in line, dropped ones too; -1: not
								 * known */
	Interval   *partition_by;	/* NULL: not partitioned */
	Interval   *keep;			/* NULL: for ever */
} VersionedTable;

/* options.c */
extern void dbp_versioning_parse(const char *argument, VersioningOptions *options);
extern char *dbp_versioning_print(const VersioningOptions *options);

/* time.c */
extern TimestampTz dbp_versioning_now(Relation rel, TimeSource source);
extern bool dbp_versioning_importing(Relation rel);
extern void dbp_versioning_require_present(Relation rel);
extern void dbp_versioning_time_init(void);

/* range.c */
extern void dbp_versioning_read_period(Datum value, SystemPeriod *period);
extern Datum dbp_versioning_closed(TimestampTz lower, TimestampTz upper);
extern struct varlena *dbp_versioning_open(VersioningState *state, TimestampTz lower);

/* state.c */
extern VersioningState *dbp_versioning_state(Relation rel, Trigger *trigger);
extern bool dbp_versioning_is_trigger(const Trigger *trigger);
extern Trigger *dbp_versioning_trigger(Relation rel);
extern bool dbp_versioning_options(Relation rel, VersioningOptions *options);
extern Oid	dbp_versioning_history(const VersioningOptions *options);
extern bool dbp_versioning_by_time(Relation history, const char *period);
extern bool dbp_versioning_fires_last(Relation rel, int16 event);
extern void dbp_versioning_state_init(void);

/* batch.c */
extern void dbp_versioning_add(VersioningState *state, HeapTuple row,
							   TimestampTz lower, TimestampTz upper);
extern void dbp_versioning_in_batches(void (*work) (void *), void *arg);
extern void dbp_versioning_batch_init(void);

/* history.c */
extern bool dbp_versioning_has_history(Form_pg_attribute att,
									   const VersioningOptions *options);
extern List *dbp_versioning_key(Relation base);
extern Oid	dbp_versioning_make_history(Oid baseid, const VersioningOptions *options,
										bool by_time);
extern void dbp_versioning_give_index(Oid baseid, Oid historyid,
									  const VersioningOptions *options);
extern void dbp_versioning_check_history(Relation base, Relation history,
										 const VersioningOptions *options);
extern void dbp_versioning_check_types(Relation base, Relation history,
									   const VersioningOptions *options);
extern int	dbp_versioning_sync_history(Oid baseid, Oid historyid,
										const VersioningOptions *options, int known);
extern void dbp_versioning_rename_column(Oid historyid, const char *old_name,
										 const char *new_name);

/* functions.c */
extern const DbpReaders dbp_versioning_readers;
extern void dbp_versioning_make_functions(Oid baseid, Oid historyid,
										  const VersioningOptions *options);
extern char *dbp_versioning_all_query(Relation base, Oid historyid,
									  const VersioningOptions *options);
extern bool dbp_versioning_has_functions(Oid baseid);

/* triggers.c */
extern bool dbp_versioning_silent;
extern void dbp_versioning_command(const char *sql);
extern bool dbp_versioning_set_triggers(Oid baseid, const VersioningOptions *options,
										bool guard, bool reset);
extern bool dbp_versioning_drop_triggers(Oid baseid);
extern bool dbp_versioning_guards_truncate(Relation rel);
extern void dbp_versioning_release(Oid relid);

/* rights.c */
extern void dbp_versioning_sync_rights(Oid baseid, Oid historyid);

/* table.c */
extern bool dbp_versioning_find(Oid relid, VersionedTable *table);
extern void dbp_versioning_save(const VersionedTable *table);
extern void dbp_versioning_forget(Oid baseid);
extern bool dbp_versioning_sync(VersionedTable *table, const VersioningOptions *options,
								bool guard, bool reset);

/* keep.c */
extern int	dbp_versioning_make_partitions(const VersionedTable *table,
										   const VersioningOptions *options);

/* follow.c */
extern void dbp_versioning_follow_init(void);

/* versioning.c */
extern void dbp_versioning_init(void);

#endif							/* DBP_VERSIONING_H */
