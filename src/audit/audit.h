/*-------------------------------------------------------------------------
 *
 * audit.h
 *	  Audit trail: what the files of this module share.
 *
 *
 * Copyright (c) 2026, dbpatterns contributors
 *
 * src/audit/audit.h
 *
 *-------------------------------------------------------------------------
 */
#ifndef DBP_AUDIT_H
#define DBP_AUDIT_H

#include "commands/trigger.h"
#include "core/codec.h"
#include "core/relstate.h"
#include "core/sql.h"
#include "fmgr.h"
#include "utils/jsonb.h"
#include "utils/timestamp.h"

/* Triggers on an audited table, in the order they fire. */
#define AUDIT_ROW_TRIGGER		"dbpatterns_80_audit"
#define AUDIT_TRUNCATE_TRIGGER	"dbpatterns_81_audit"

#define AUDIT_ROW_EVENTS \
	(TRIGGER_TYPE_INSERT | TRIGGER_TYPE_UPDATE | TRIGGER_TYPE_DELETE)

/* Entries of one batch; the sequence of entry numbers counts in these. */
#define AUDIT_BATCH_ROWS		1024
#define AUDIT_BATCH_BYTES		(1024 * 1024)

/* Partitions that one call of audit_run makes at the most. */
#define AUDIT_MAX_CREATE		1000

/* Operations of log entries. */
#define AUDIT_INSERT	'I'
#define AUDIT_UPDATE	'U'
#define AUDIT_DELETE	'D'
#define AUDIT_TRUNCATE	'T'
#define AUDIT_MARKER	'M'
#define AUDIT_WHO		'W'		/* not a change: who made those that follow */
#define AUDIT_ALL_OPERATIONS	"IUDT"

/* Where the index on row_key has who made the entries of a transaction. */
#define AUDIT_WHO_KEY(txn)	((uint64) (txn) + UINT64CONST(0x7000000000000000))

/* Options of a table, as the trigger's argument says them. */
typedef struct AuditOptions
{
	bool		full;			/* both images of an update, not the diff */
	bool		truncate_rows;	/* log the rows a TRUNCATE removes */
	char	   *operations;		/* letters to log; NULL: what the trigger gets */
	List	   *exclude;		/* column names */
	List	   *redact;
	List	   *key;			/* NIL: the primary key */
} AuditOptions;

/* What the triggers of a table log. */
typedef struct AuditCoverage
{
	bool		by[4];			/* operations, in the order I U D T */
	char		operations[5];	/* their letters */
	bool		twice;			/* two triggers log the same */
	bool		missing;		/* it lacks a row or a truncate trigger */
	List	   *exclude;		/* column names */
	List	   *redact;
} AuditCoverage;

/* Everything the row trigger needs to know of a relation. */
typedef struct AuditRelation
{
	DbpRelState head;			/* MUST BE FIRST */
	AuditOptions options;
	int			relation;		/* audit_relation.relation of the root */
	int			shape;			/* audit_shape.shape */
	TupleDesc	desc;			/* the root's layout; all images follow it */
	AttrNumber *map;			/* leaf attribute of each root column, or NULL */
	DbpCodec   *codec;
	bool	   *watched;		/* columns whose change makes an entry */
	int			nkeys;
	int		   *keys;			/* attribute indexes of the key columns */
	bool	   *is_key;
} AuditRelation;

/* Who and when, as far as it can change inside a transaction. */
typedef struct AuditFacts
{
	Oid			roles[4];		/* login, session, set, effective */
	char		role_names[4][NAMEDATALEN];
	int64		query_id;
	int64		context_serial;
	Jsonb	   *context;		/* a copy, or NULL */
	char		application_name[NAMEDATALEN];
} AuditFacts;

/* One log entry that waits for its batch to be written. */
typedef struct AuditEntry
{
	TimestampTz statement_time;
	AuditFacts *facts;
	int64		id;				/* given when it is written */
	CommandId	command;		/* that made the change */
	CommandId	changed_by;		/* that changed the row made here again by
								 * now; InvalidCommandId: none */
	int			position;		/* in the order of capture */
	char		op;
	bool		has_key;
	bool		key_changed;
	uint64		row_key;
	uint64		old_row_key;	/* if key_changed */
	int			shape;
	Oid			log;			/* audit_log, where it belongs */
	bool		says_who;		/* facts are written with it */
	Jsonb	   *old;			/* NULL where the log has NULL */
	Jsonb	   *new;
} AuditEntry;

/* A partition of a log table; [from, upto) */
typedef struct AuditPartition
{
	Oid			relid;
	bool		is_default;
	TimestampTz from;
	TimestampTz upto;
} AuditPartition;

/* A layout the table has had, as audit_shape holds it. */
typedef struct AuditShape
{
	int			shape;
	int			ncolumns;
	char	  **columns;		/* names then */
	int16	   *numbers;		/* lasting column numbers */
	char	  **types;			/* then */
	bool		renamed;		/* some name differs from what is shown today */
	int			nkeys;
	int		   *keys;			/* positions of the key columns in columns */
	TimestampTz since;			/* when it was recorded */
	int			keydef;			/* in AuditTrail.keydefs, -1 without a key */
} AuditShape;

/* A column the table has or has had, by its lasting number. */
typedef struct AuditColumn
{
	char	   *name;			/* shown today; NULL for an unused number */
	AttrNumber	attno;			/* in the table today, or 0 */
} AuditColumn;

/* A key the table has or has had. */
typedef struct AuditKeyDef
{
	int			n;
	char	  **names;			/* then; the columns of the codec */
	char	  **today;
	int16	   *numbers;
	Oid		   *types;			/* then */
	DbpCodec   *codec;			/* of the key columns only, with the types of
								 * then; NULL when a type is gone */
} AuditKeyDef;

/* What a reader knows of a table: its layouts, and what they mean today. */
typedef struct AuditTrail
{
	DbpRelState head;			/* MUST BE FIRST */
	int			relation;		/* 0: never audited */
	int			nshapes;
	AuditShape *shapes;			/* ascending; the last one is today's */
	int			ncolumns;		/* highest lasting number + 1 */
	AuditColumn *columns;
	int			nkeydefs;
	AuditKeyDef *keydefs;
} AuditTrail;

/* A key to look for, under one key definition. */
typedef struct AuditProbe
{
	bool		valid;			/* a row could have that key */
	uint64		hash;
	Datum	   *values;			/* by key column */
	bool	   *isnull;
	JsonbValue *json;			/* the same as an image has them */
} AuditProbe;

/* A log entry as read. */
typedef struct AuditRecord
{
	int64		id;
	int64		txn;
	TimestampTz at;
	TimestampTz statement_at;
	AuditShape *shape;
	char		op;
	bool		key_changed;
	uint64		row_key;
	uint64		old_row_key;
	bool		whole;			/* U: both images have all columns */
	Jsonb	   *old;
	Jsonb	   *new;
	Datum	   *values;			/* of all columns, while the record is read */
	bool	   *isnull;
} AuditRecord;

/* The columns of audit_log, in the order they have there. */
#define AUDIT_RECORD_COLUMNS \
	"e.xact_time, e.id, e.txn, e.statement_time, e.row_key, e.old_row_key," \
	" e.shape, e.op, e.old, e.new, e.xid, e.query_id, e.pid, e.client_addr," \
	" e.login_role, e.session_role, e.set_role, e.effective_role," \
	" e.application_name, e.context"
#define AUDIT_RECORD_NCOLUMNS	20

/* Those that say who and when, counted from 0. */
#define AUDIT_WHO_FIRST				10
#define AUDIT_WHO_COLUMNS			10
#define AUDIT_WHO_CLIENT_ADDR		13
#define AUDIT_WHO_LOGIN_ROLE		14
#define AUDIT_WHO_SESSION_ROLE		15
#define AUDIT_WHO_SET_ROLE			16
#define AUDIT_WHO_EFFECTIVE_ROLE	17
#define AUDIT_WHO_APPLICATION_NAME	18
#define AUDIT_WHO_CONTEXT			19

/* What a reading function has open while it runs. */
typedef struct AuditReading
{
	Relation	root;
	AuditTrail *trail;
} AuditReading;

/* options.c */
extern void dbp_audit_parse_options(const char *argument, AuditOptions *options);
extern bool dbp_audit_try_options(const Trigger *trigger, AuditOptions *options, char **why);
extern char *dbp_audit_print_options(const AuditOptions *options);
extern void dbp_audit_resolve_options(const AuditOptions *options, Relation root,
									  bool *skip, bool *redact);

/* coverage.c */
extern AuditEntry *dbp_audit_add_marker(int shape, const char *event, const char *detail,
										const char *before);
extern void dbp_audit_log_marker(int shape, const char *event, const char *detail);
extern int	dbp_audit_last_shape(Relation root, bool *this_life);
extern void dbp_audit_coverage(Relation rel, AuditCoverage *coverage);
extern bool dbp_audit_logs_all(const AuditCoverage *coverage);
extern void dbp_audit_log_coverage(Relation root, int shape, const char *event,
								   const char *detail);
extern bool dbp_audit_follow_coverage(Oid relid, bool dropped);

/* shape.c */
extern int	dbp_audit_relation_number(Relation root);
extern int	dbp_audit_relation_shape(Relation root, List *key, int *relation);
extern Datum dbp_audit_type_text(Oid type, int32 typmod);
extern List *dbp_audit_key_columns(Relation root, const AuditOptions *options);

/* state.c */
extern AuditRelation *dbp_audit_state(Relation rel, Trigger *trigger);
extern void dbp_audit_state_uncommitted(void);
extern void dbp_audit_state_init(void);

/* batch.c */
extern AuditEntry *dbp_audit_batch_add(char op, int shape, CommandId command);
extern void dbp_audit_batch_image(Jsonb **where, Jsonb *image);
extern void dbp_audit_batch_set_moved(int relation, TupleDesc desc,
									  const Datum *values, const bool *isnull);
extern bool dbp_audit_batch_take_moved(int relation, CommandId command,
									   Datum **values, bool **isnull);
extern void dbp_audit_batch_flush(void);
extern void dbp_audit_batch_init(void);

/* write.c */
extern Oid	dbp_audit_write_log(void);
extern void dbp_audit_write(AuditEntry *entries, int nentries, bool unordered);
extern void dbp_audit_write_init(void);

/* txn.c */
extern AuditFacts *dbp_audit_txn_facts(MemoryContext cxt);
extern bool dbp_audit_txn_facts_hold(const AuditFacts *facts);
extern AuditFacts *dbp_audit_txn_copy_facts(const AuditFacts *facts, MemoryContext cxt);
extern bool dbp_audit_txn_same_facts(const AuditFacts *a, const AuditFacts *b);
extern bool dbp_audit_txn_in_force(const AuditFacts *facts);
extern void dbp_audit_txn_set_in_force(const AuditFacts *facts);
extern void dbp_audit_txn_fill(const AuditFacts *facts, Datum *values, bool *isnull);
extern void dbp_audit_txn_begin(int64 first_id);
extern int64 dbp_audit_txn_current(void);
extern void dbp_audit_txn_end(void);
extern void dbp_audit_txn_subabort(int nestlevel);
extern void dbp_audit_txn_subcommit(int nestlevel);
extern void dbp_audit_txn_init(void);

/* log.c */
extern Oid	dbp_audit_log_owner(void);
extern List *dbp_audit_log_partitions(void);
extern uint64 dbp_audit_log_change(const char *sql, int nparams, const DbpParam *params);

/* change.c */
extern void dbp_audit_seal_purge(Oid partition, TimestampTz before,
								 TimestampTz whole_before);

/* triggers.c */
extern bool dbp_audit_fires(const Trigger *trigger);
extern Trigger *dbp_audit_own_trigger(Relation rel, int16 kind);
extern bool dbp_audit_is_trigger(const Trigger *trigger);
extern bool dbp_audit_set_trigger(Oid relid, const char *name, int16 type,
								  const char *argument, bool always);
extern bool dbp_audit_set_truncate_trigger(Oid relid, int16 events,
										   const char *argument, bool always);
extern bool dbp_audit_trigger_settings(Oid relid, int16 *events, char **argument,
									   bool *always);
extern bool dbp_audit_cover_partition(Oid relid, Oid rootid);
extern bool dbp_audit_cover_partitions(Oid rootid);

/* enable.c */
extern void dbp_audit_replace_options(Oid relid, const AuditOptions *options);

/* ddl.c */
extern void dbp_audit_ddl_init(void);
extern bool dbp_audit_ddl_silent;

/* read.c */
extern void dbp_audit_read_flush(void);
extern void dbp_audit_read_open(AuditReading *reading, Oid target);
extern void dbp_audit_read_close(AuditReading *reading);
extern void dbp_audit_require_reader(Relation root);
extern void dbp_audit_read_record(AuditTrail *trail, Datum *values, bool *isnull,
								  AuditRecord *record);
extern bool dbp_audit_image_value(Jsonb *image, const char *name, JsonbValue *value);
extern void dbp_audit_push_member(JsonbParseState **state, const char *name,
								  JsonbValue *value);
extern Jsonb *dbp_audit_today_image(AuditTrail *trail, AuditShape *shape, Jsonb *image);
extern Jsonb *dbp_audit_record_key(AuditTrail *trail, AuditRecord *record);
extern char *dbp_audit_today_name(AuditTrail *trail, AuditShape *shape, int column);
extern char *dbp_audit_mark_of(JsonbValue *value);
extern bool dbp_audit_value_known(JsonbValue *value);
extern bool dbp_audit_is_redacted(JsonbValue *value);
extern Jsonb *dbp_audit_known_values(Jsonb *image);
extern bool dbp_audit_append_equals(StringInfo sql, const char *column, Oid type, int param);

/* gaps.c */
extern bool *dbp_audit_look_back(AuditTrail *trail, Relation root, TimestampTz at);

/* scan.c */
typedef bool (*AuditReceive) (AuditRecord *record, void *arg);
typedef struct AuditWho AuditWho;

extern void dbp_audit_scan_row(AuditTrail *trail, AuditProbe *probes, TimestampTz since,
							   TimestampTz until, bool newest_first,
							   AuditReceive receive, void *arg);
extern void dbp_audit_scan_table(AuditTrail *trail, SPIPlanPtr *plan, const char *sql,
								 int nparams, const Oid *types, const Datum *values,
								 AuditReceive receive, void *arg);
extern AuditWho *dbp_audit_who_open(void);
extern bool dbp_audit_who(AuditWho *who, AuditRecord *record, Datum **values, bool **isnull);
extern void dbp_audit_who_close(AuditWho *who);

/* trail.c */
extern AuditTrail *dbp_audit_trail(Relation root);
extern AuditShape *dbp_audit_shape_by_number(AuditTrail *trail, int shape);
extern bool dbp_audit_has_key(const AuditShape *shape, const AuditKeyDef *def);
extern Datum dbp_audit_shape_numbers(AuditTrail *trail);
extern void dbp_audit_trail_init(void);

/* probe.c */
extern AuditProbe *dbp_audit_probes(AuditTrail *trail, Relation root, Jsonb *key);
extern bool dbp_audit_same_value(JsonbValue *a, JsonbValue *b);
extern bool dbp_audit_record_is_of(AuditTrail *trail, AuditRecord *record,
								   AuditProbe *probes, bool new_side);

/* All of the module, called from _PG_init. */
extern void dbp_audit_init(void);

#endif							/* DBP_AUDIT_H */
