/*-------------------------------------------------------------------------
 *
 * hierarchy.h
 *	  Hierarchies: what the files of this module share.
 *
 * Words: a node is a row of the base table (target); its key tells it apart,
 * its parent columns hold the key of the node above it.  The storage of a
 * hierarchy is a table of ours beside the base table: a closure table (pairs
 * of ancestor and descendant with their depth), or intervals of nested sets.
 * A graph has a base table of edges instead, each with a parent and a child.
 *
 * Copyright (c) 2026, dbpatterns contributors
 *
 * src/hierarchy/hierarchy.h
 *
 *-------------------------------------------------------------------------
 */
#ifndef DBP_HIERARCHY_H
#define DBP_HIERARCHY_H

#include "commands/trigger.h"
#include "core/relstate.h"
#include "core/sql.h"
#include "fmgr.h"
#include "storage/itemptr.h"
#include "storage/lockdefs.h"
#include "utils/rel.h"

/* Columns of a key, the scope's included. */
#define HIER_MAX_KEY	8

/* What keeps a hierarchy; each has trigger names and a pattern of its own. */
typedef enum HierKind
{
	HIER_TREE,					/* closure table of an adjacency list */
	HIER_GRAPH,					/* closure table of a table of edges */
	HIER_NESTED					/* nested sets of an adjacency list */
} HierKind;

/* ---- spec.c: what a hierarchy is, as its triggers' argument says it ---- */

/*
 * Columns are named, not numbered: numbers change in a restore.  key and
 * parent have the same length; the first nscope columns of both are the same
 * ones, which a node and its parent agree in.  In a graph, key is the child.
 */
typedef struct HierSpec
{
	HierKind	kind;
	char	   *storage;		/* table, in the schema of the target */
	char	   *prefix;			/* of the reader functions: <prefix>__children */
	List	   *key;			/* char * */
	List	   *parent;			/* char * */
	int			nscope;
	char	   *order_by;		/* column that orders siblings, or NULL */
	int			max_depth;		/* 0: no limit */
	bool		orphan_error;	/* a node without its parent is refused */
	bool		counters;		/* keep numbers of children and descendants */
	int64		gap;			/* of nested sets, otherwise 0 */
} HierSpec;

extern char *dbp_hier_print_spec(const HierSpec *spec);
extern void dbp_hier_parse_spec(const char *argument, HierSpec *spec);
extern List *dbp_hier_spec_columns(const HierSpec *spec, bool with_order);
extern List *dbp_hier_specs(Relation target, HierKind kind);
extern List *dbp_hier_pattern_specs(Relation target, HierKind kind);
extern HierSpec *dbp_hier_find_spec(Relation target, HierKind kind, const char *storage);
extern HierSpec *dbp_hier_find_closure(Relation target, const char *storage);
extern List *dbp_hier_columns_argument(FunctionCallInfo fcinfo, int argno, const char *argument);

/* ---- key.c: keys of any type ---- */

typedef struct HierColumn
{
	Oid			type;			/* base type: domains are looked through */
	int32		typmod;
	Oid			collation;
	int16		typlen;
	bool		typbyval;
	FmgrInfo	eq;				/* of the default btree class */
	FmgrInfo	cmp;
	FmgrInfo	hash;
} HierColumn;

typedef struct HierKeyType
{
	int			n;
	bool		integer;		/* one column, compared as a 64-bit integer */
	HierColumn	col[2 * HIER_MAX_KEY];	/* an edge has two keys */
} HierKeyType;

extern void dbp_key_type(HierKeyType *type, Relation rel, const AttrNumber *attnums, int n);
extern uint32 dbp_key_hash(HierKeyType *type, const Datum *key);
extern bool dbp_key_equal(HierKeyType *type, const Datum *a, const Datum *b);
extern int	dbp_key_compare(HierKeyType *type, const Datum *a, const Datum *b);
extern Datum *dbp_key_copy(HierKeyType *type, const Datum *key);
extern char *dbp_key_text(HierKeyType *type, const Datum *key);
extern char *dbp_value_to_text(Oid type, Datum value);
extern Datum dbp_value_from_text(const HierColumn *column, const char *text, int32 typmod);

/* What the columns of a storage must be like to hold the keys of a hierarchy. */
typedef struct HierKeyShape
{
	int			n;
	int			nscope;
	Oid			types[HIER_MAX_KEY];
	Oid			collations[HIER_MAX_KEY];
} HierKeyShape;

/* A map from keys to entries of the caller's, which start with this head. */
typedef struct HierMapEntry
{
	Datum	   *key;
	uint32		hash;
} HierMapEntry;

typedef struct HierMap HierMap;

/* Entries are of entry_size bytes, zeroed, at a fixed place, in cxt. */
extern HierMap *dbp_map_create(HierKeyType *type, Size entry_size, MemoryContext cxt);
extern void *dbp_map_find(HierMap *map, const Datum *key);
extern void *dbp_map_enter(HierMap *map, const Datum *key, bool *found);	/* copies key */
extern int	dbp_map_count(HierMap *map);

/* Entries one by one, in no order; none may be entered meanwhile. */
typedef struct HierMapIterator
{
	uint32		next;
} HierMapIterator;

extern void dbp_map_iterate(HierMap *map, HierMapIterator *iterator);
extern void *dbp_map_next(HierMap *map, HierMapIterator *iterator);

/* ---- state.c: what triggers and maintenance know of a hierarchy ---- */

typedef struct HierState HierState;

struct HierState
{
	DbpRelState head;			/* MUST BE FIRST; head.rootid: the target */
	HierSpec	spec;
	char		trigger[NAMEDATALEN];	/* name of the trigger asked for */
	Oid			storageid;
	HierKeyType type;			/* of a node's key */
	HierKeyType queue_type;		/* of what the queue holds: a node, or an edge */
	AttrNumber	key[2 * HIER_MAX_KEY];	/* in this relation; of an edge:
										 * parent, child */
	AttrNumber	parent[HIER_MAX_KEY];	/* not in a graph */
	AttrNumber	order;			/* of nested sets; 0: siblings have none */
	bool		has_immediate_fk;	/* see dbp_hier_immediate_fk */
	bool		deferrable_key; /* two rows may have one key for a while */
	bool		unique_alone;	/* keys are unique without the scope, which
								 * there is */
	bool		has_guess;		/* hash of the root below which a leaf came
								 * last */
	uint32		guess;
	SPIPlanPtr	lookup;			/* of state.c, made at first need */
	SPIPlanPtr	children;
	SPIPlanPtr	elsewhere[2];	/* the node itself, its children */
	SPIPlanPtr	nested[4];		/* of nested_order.c */
};

extern HierState *dbp_hier_state(Relation rel, Trigger *trigger);
extern HierState *dbp_hier_target_state(Relation target, const HierSpec *spec);
extern bool dbp_hier_immediate_fk(HierState *state);
extern bool dbp_hier_look_up(HierState *state, const Datum *key, Datum **parent);
extern void dbp_hier_require_not_elsewhere(HierState *state, const Datum *child,
										   const Datum *parent);
extern void dbp_hier_require_same_scope(HierState *state, const Datum *key);
extern bool dbp_hier_look_up_edge_into(HierState *state, const Datum *key);
extern List *dbp_hier_look_up_children(HierState *state, const Datum *key);
extern void dbp_hier_state_init(void);

extern void dbp_key_shape(HierState *state, HierKeyShape *shape);
extern bool dbp_key_fits(HierKeyType *type, Relation storage, const AttrNumber *attnums);
extern void dbp_key_refuse_storage(HierState *state, Relation storage);

/* ---- queue.c: what a statement touched ---- */

/* A node or an edge that a statement touched. */
typedef struct HierTouched
{
	HierMapEntry head;			/* MUST BE FIRST */
	bool		known;			/* exists and parent are those of the table */
	bool		exists;
	bool		looked_up;		/* known by a look at the table, not by a row */
	bool		carried;		/* set by a flush that leaves it to the next
								 * one */
	Datum	   *parent;			/* NULL: a root, or an edge */
	void	   *work;			/* for the flush */
} HierTouched;

/* All that is queued for one hierarchy, in the order of arrival. */
typedef struct HierQueue
{
	MemoryContext cxt;			/* owns all of it; deleted after the flush */
	HierKeyType *type;
	HierMap    *map;
	int			ntouched;
	int			allocated;
	HierTouched **touched;
	bool		inserts;		/* what is in it */
	bool		deletes;
	bool		updates;
	bool		final;			/* the statement is over; if not, what cannot
								 * be placed yet may be carried to the next
								 * flush */
	int			level;			/* nest level of the transaction that owns it */
	int			flushed_at;		/* and of the one that flushed it */
	struct HierQueue *next;		/* of those that were flushed inside */
} HierQueue;

/*
 * Brings the storage in line with the table for all that is queued, whatever
 * was in between: the flush looks up what it does not know.
 */
typedef void (*HierFlush) (HierState *state, HierQueue *queue);

extern void dbp_hier_set_flush(HierKind kind, HierFlush flush);
extern HierQueue *dbp_hier_queue(HierState *state);
extern HierTouched *dbp_hier_touch(HierQueue *queue, const Datum *key, bool *found);
extern void dbp_hier_forget_look_ups(HierQueue *queue);
extern void dbp_hier_require_known(HierState *state, HierQueue *queue, HierTouched *touched);
extern void dbp_hier_remember_orphan(HierState *state, const Datum *key);
extern bool dbp_hier_has_orphans(HierState *state);
extern void dbp_hier_announce(HierState *state, HierQueue *queue);
extern void dbp_hier_flush(HierState *state);
extern void dbp_hier_flush_chunk(HierState *state);
extern void dbp_hier_queue_init(void);

/* ---- cycle.c: nodes that a flush cannot place ---- */

extern bool dbp_hier_refuse_cycle(HierState *state, HierQueue *queue, Datum *node);
extern void dbp_hier_accept_orphan(HierState *state, const Datum *key, const Datum *parent);

/* ---- lock.c: who may change which tree at once ---- */

/*
 * Classes of our advisory locks: field4 of the tag, where the server's own have
 * 1 and 2.
 */
#define HIER_LOCK_TREE		0xDB01
#define HIER_LOCK_ARRIVAL	0xDB02
#define HIER_LOCK_SIBLINGS	0xDB03	/* of edit_order.c */
#define HIER_LOCK_REBUILD	0xDB04

/* A tree that a flush wants to lock, in a map by its root. */
typedef struct HierRootLock
{
	HierMapEntry head;			/* MUST BE FIRST */
	bool		exclusive;
	bool		is_new;			/* of our own making: nobody else can see it */
} HierRootLock;

/* So few nodes are in no more trees than can be locked one by one. */
#define HIER_FEW_TOUCHED	16

extern bool dbp_hier_lock_writing(Relation storage);
extern bool dbp_hier_lock_guess(HierState *state, uint32 hash);
extern void dbp_hier_unlock_guess(HierState *state, uint32 hash);
extern bool dbp_hier_lock_roots(HierState *state, HierMap *roots);
extern void dbp_hier_lock_tree(HierState *state, const Datum *root);
extern void dbp_hier_lock_whole(HierState *state);
extern void dbp_hier_lock_rebuild(HierState *state);
extern uint64 dbp_hier_arrival(HierState *state, const Datum *key);
extern void dbp_hier_lock_arrivals(HierState *state, uint64 arrivals, bool exclusive);
extern void dbp_hier_lock_init(void);

/* ---- storage_row.c: rows of a storage ---- */

extern bool dbp_hier_is_own_row(TupleTableSlot *slot);
extern void dbp_hier_refuse_snapshot(Relation storage);
extern bool dbp_hier_deletes_by_trigger(Relation storage);
extern void dbp_hier_delete_row(Relation storage, const ItemPointerData *tid, bool by_trigger);

/* ---- pairs.c: reading and writing a closure table ---- */

typedef struct HierPairs HierPairs;

/* A pair as read: one end is that which was asked for, key is the other. */
typedef struct HierPair
{
	Datum	   *key;
	int			depth;
	ItemPointerData tid;
	bool		ours;			/* written by this transaction */
} HierPair;

typedef struct HierPairList
{
	int			n;
	int			allocated;
	HierPair   *pairs;			/* in the order of their keys */
} HierPairList;

/* Called for each descendant; what pair points to is gone after that. */
typedef void (*HierPairVisit) (HierPairs *pairs, const HierPair *pair, void *arg);

/*
 * What is read shows what is committed at that moment and what this transaction
 * did, pairs that were added and not yet written excepted.  Under REPEATABLE
 * READ and above, reading raises 40001 where that is not what the transaction's
 * snapshot shows.  A list goes to CurrentMemoryContext.  While descendants are
 * visited, ancestors can be read, pairs deleted, and other pairs added.
 */
extern HierPairs *dbp_pairs_open(HierState *state);
extern bool dbp_pairs_lock(HierPairs *pairs);
extern void dbp_pairs_ancestors(HierPairs *pairs, const Datum *node, HierPairList *list);
extern void dbp_pairs_descendants(HierPairs *pairs, const Datum *node, HierPairVisit visit,
								  void *arg);
extern bool dbp_pairs_find(HierPairs *pairs, const Datum *ancestor, const Datum *descendant,
						   HierPair *pair);

/* The keys that are given to these must last until the pairs are written. */
extern void dbp_pairs_delete(HierPairs *pairs, const HierPair *pair,
							 const Datum *ancestor, const Datum *descendant);
extern void dbp_pairs_add(HierPairs *pairs, const Datum *ancestor, const Datum *descendant,
						  int depth);
extern void dbp_pairs_write(HierPairs *pairs);
extern void dbp_pairs_close(HierPairs *pairs);
extern void dbp_hier_pairs_init(void);

/* ---- counts.c: numbers of children and descendants ---- */

typedef struct HierCounts HierCounts;

/* One flush; NULL if the hierarchy has no counters. */
extern HierCounts *dbp_counts_begin(HierState *state);
extern void dbp_counts_add(HierCounts *counts, const Datum *key, int children,
						   int descendants);
extern void dbp_counts_node(HierCounts *counts, const Datum *key, bool created);
extern void dbp_counts_write(HierCounts *counts);

extern char *dbp_counts_name(const HierSpec *spec);
extern Oid	dbp_counts_id(Oid targetid, const HierSpec *spec);
extern void dbp_counts_create(Oid targetid, const HierSpec *spec);
extern bool dbp_counts_exist(Oid targetid, const HierSpec *spec);
extern void dbp_counts_follow(Oid targetid, Oid storageid, const HierSpec *spec);
extern int64 dbp_counts_repair(HierState *state);
extern uint64 dbp_counts_differences(HierState *state);
extern void dbp_counts_clear(HierState *state);
extern void dbp_counts_init(void);

/* ---- build.c: a whole hierarchy from the rows of its table ---- */

typedef struct HierNode
{
	HierMapEntry head;			/* MUST BE FIRST */
	Datum	   *parent_key;		/* NULL: a root */
	struct HierNode *parent;	/* NULL: a root or an orphan */
	struct HierNode *next;		/* in the order of the table */
	int			depth;			/* 0: a root; -1: on or below a cycle; -2: no
								 * node, only named as the parent of orphans */
	uint32		number;			/* for the caller; 0 */
} HierNode;

typedef struct HierForest
{
	HierMap    *map;			/* of HierNode, those of depth -2 included */
	HierNode   *first;			/* all nodes, in the order they were read */
	int64		nnodes;
	int64		npairs;
	int64		norphans;
	int64		ncyclic;		/* nodes on or below a cycle */
	int			max_depth;
} HierForest;

extern HierForest *dbp_forest_load(HierState *state, MemoryContext cxt);
extern HierForest *dbp_forest_load_snapshot(HierState *state, Snapshot snapshot, MemoryContext cxt);
extern void *dbp_forest_alloc(Size n, Size size);
extern char *dbp_forest_cycles(HierState *state, HierForest *forest);
extern void dbp_forest_require(HierState *state, HierForest *forest);

/* write.c */
extern void dbp_forest_write(HierState *state, HierForest *forest, Oid storageid);

/* ---- compare.c: what a closure table holds, and what it should hold ---- */

typedef enum HierProblem
{
	HIER_MISSING,
	HIER_EXTRA,
	HIER_DEPTH
} HierProblem;

typedef struct HierDifference
{
	HierProblem problem;
	const Datum *ancestor;
	const Datum *descendant;
	int			expected;		/* depth; -1: the pair should not be there */
	int			found;			/* -1: it is not there */
	ItemPointerData tid;		/* of what was found */
} HierDifference;

typedef void (*HierReport) (const HierDifference *difference, void *arg);

/* The columns of a closure table. */
typedef struct HierStorage
{
	AttrNumber	ancestor[HIER_MAX_KEY];
	AttrNumber	descendant[HIER_MAX_KEY];
	AttrNumber	depth;
} HierStorage;

extern bool dbp_hier_storage_columns(HierState *state, Relation storage, HierStorage *columns);
extern void dbp_forest_compare(HierState *state, HierForest *forest, Oid storageid,
							   Snapshot snapshot, HierReport callback, void *arg);

/* What closure_check says of a hierarchy besides its pairs. */
typedef struct HierWholeFacts
{
	char	   *cycles;			/* NULL: none */
	int64		norphans;
	int			max_depth;
} HierWholeFacts;

/*
 * How closure_check, closure_sync and closure_rebuild treat storage of a kind.
 * What load returns lies in cxt, and is what the others are called with.
 */
typedef struct HierWhole
{
	void	   *(*load) (HierState *state, Snapshot snapshot, MemoryContext cxt);
	void		(*find) (HierState *state, void *whole, HierWholeFacts *facts);
	void		(*require) (HierState *state, void *whole);
	void		(*compare) (HierState *state, void *whole, Oid storageid, Snapshot snapshot,
							HierReport callback, void *arg);
	void		(*write) (HierState *state, void *whole, Oid storageid);

	/* From one whole to a later one; NULL: by comparing. */
	void		(*follow) (HierState *state, void *old, void *new);
} HierWhole;

extern void dbp_hier_set_whole(HierKind kind, const HierWhole *whole);
extern const HierWhole *dbp_hier_whole(HierKind kind);
extern const HierWhole *dbp_hier_require_whole(HierState *state);
extern void dbp_hier_compare_init(void);

/* ---- follow.c: from one forest to a later one ---- */

extern void dbp_forest_follow(HierState *state, HierForest *old, HierForest *new);

/* ---- sync.c: repairing differences only ---- */

extern int64 dbp_hier_repair(HierState *state, void *hierarchy, Snapshot snapshot, bool dry_run,
							 ReturnSetInfo *result);

extern int64 dbp_hier_sync(HierState *state);

/* ---- columns.c: which columns say where a node is, and whether they can ---- */

extern char *dbp_hier_print_columns(List *columns);
extern char *dbp_hier_quote_columns(List *columns);
extern void dbp_hier_require_tree(Relation target, List *tree);
extern void dbp_hier_check_columns(Relation target, const HierSpec *spec);
extern void dbp_hier_split_scope(Relation target, HierSpec *spec, List *scope);
extern void dbp_hier_resolve_columns(Relation target, HierSpec *spec, List *scope);

/* ---- storage.c: the table that keeps a hierarchy ---- */

extern void dbp_hier_run(const char *sql);
extern char *dbp_hier_storage_name(Oid targetid, const HierSpec *spec);
extern Oid	dbp_hier_storage_id(Oid targetid, const HierSpec *spec);
extern HierSpec *dbp_hier_existing(Relation target, const HierSpec *spec);
extern bool dbp_hier_same_columns(const HierSpec *a, const HierSpec *b);
extern void dbp_hier_name_storage(Relation target, HierSpec *spec, const char *given);
extern void dbp_hier_require_distinct(List *columns, const char *what);
extern char *dbp_hier_column_type(Relation target, const char *column);
extern List *dbp_hier_closure_columns(const HierSpec *spec);
extern void dbp_hier_create_table(Oid targetid, const HierSpec *spec, const char *columns);
extern void dbp_hier_create_closure(Oid targetid, const HierSpec *spec);
extern char *dbp_hier_index_name(Oid targetid, const HierSpec *spec, const char *what);
extern void dbp_hier_index_closure(Oid targetid, const HierSpec *spec);
extern void dbp_hier_copy_grants(Oid targetid, const HierSpec *spec);
extern bool dbp_hier_has_index(Relation rel, const AttrNumber *attnums, int n, bool ordered,
							   bool unique);
extern void dbp_hier_ensure_index(Oid targetid, List *columns);
extern void dbp_hier_register(Oid targetid, HierKind kind);
extern List *dbp_hier_registered(HierKind kind);

/* ---- install.c: switching a hierarchy on and off ---- */

/* What a kind of hierarchy does differently; SPI is connected. */
typedef struct HierWork
{
	/* Makes the storage, empty and without indexes; the target is closed. */
	void		(*create) (Oid targetid, const HierSpec *spec);

	/*
	 * Reads the rows, raises if they are no such hierarchy, and fills the
	 * storage, unless its OID is invalid.  As the owner; the target is open.
	 */
	void		(*fill) (HierState *state, Oid storageid);

	/* Makes its indexes and statistics; the target is closed. */
	void		(*finish) (Oid targetid, const HierSpec *spec);

	/* Makes and drops reader functions. */
	void		(*create_readers) (Relation target, const HierSpec *spec);
	void		(*drop_readers) (Oid targetid, const HierSpec *spec);
} HierWork;

extern Oid	dbp_hier_install(Oid targetid, const HierSpec *spec, bool always,
							 const HierWork *work);
extern void dbp_hier_disable(FunctionCallInfo fcinfo, HierKind kind, const char *what,
							 const HierWork *work);
extern void dbp_hier_resync(Oid targetid, const HierSpec *spec);

/* ---- enable.c ---- */

extern int	dbp_hier_depth_argument(FunctionCallInfo fcinfo, int argno);
extern char *dbp_hier_name_argument(FunctionCallInfo fcinfo, int argno);
extern List *dbp_hier_names_argument(FunctionCallInfo fcinfo, int argno, const char *argument);

/* ---- triggers.c: the triggers of a hierarchy ---- */

/* One of the triggers of a hierarchy, in the order they fire. */
typedef struct HierPart
{
	int16		type;
	const char *events;
	const char *what;			/* it is for, in messages */
} HierPart;

#define HIER_NPARTS		4

extern const HierPart dbp_hier_parts[HIER_NPARTS];
extern bool dbp_hier_ddl_silent;

extern void dbp_hier_command(const char *sql);
extern const char *dbp_hier_pattern(HierKind kind);
extern List *dbp_hier_own_triggers(Relation rel, HierKind kind);
extern List *dbp_hier_storage_triggers(Relation rel, const HierSpec *spec);
extern bool dbp_hier_is_intact(Oid relid, const HierSpec *spec);
extern bool dbp_hier_fires_always(Relation rel, const HierSpec *spec);
extern bool dbp_hier_set_triggers(Oid relid, const HierSpec *spec, bool always);
extern void dbp_hier_replace_spec(Oid relid, const HierSpec *old, const HierSpec *spec);
extern bool dbp_hier_drop_triggers(Oid relid, const HierSpec *spec);
extern bool dbp_hier_cover_partitions(Oid rootid);

/* ---- check.c: what is wrong with hierarchies ---- */

typedef void (*HierCheck) (FunctionCallInfo fcinfo, Relation target, HierSpec *spec);

extern void dbp_hier_check(FunctionCallInfo fcinfo, HierKind kind, HierCheck check);

/* ---- depend.c: what the server itself refuses to drop or alter ---- */

extern void dbp_hier_depend(Oid relid, const HierSpec *spec);
extern void dbp_hier_depend_readers(Oid targetid, const HierSpec *spec);
extern Oid	dbp_hier_target_of(Oid storageid);
extern List *dbp_hier_storages_of(Oid targetid);
extern void dbp_hier_release_storage(Oid targetid, Oid storageid);

/* ---- readers.c: the functions that read a closure table ---- */

extern void dbp_hier_create_readers(Relation target, const HierSpec *spec);
extern void dbp_hier_drop_readers(Oid targetid, const HierSpec *spec);

/* ---- tree.c, graph.c, nested.c: their flushes ---- */

extern void dbp_hier_tree_init(void);

extern void dbp_hier_graph_init(void);
extern void dbp_hier_nested_init(void);
extern int64 dbp_nested_sync(HierState *state);

/* ---- ddl.c: tables that are altered or dropped ---- */

extern void dbp_hier_ddl_init(void);

extern void dbp_hier_init(void);

#endif							/* DBP_HIERARCHY_H */
