/*-------------------------------------------------------------------------
 *
 * convert.h
 *	  Conversions to and from adjacency lists: what convert*.c share.
 *
 * Copyright (c) 2026, dbpatterns contributors
 *
 * src/hierarchy/convert.h
 *
 *-------------------------------------------------------------------------
 */
#ifndef DBP_HIERARCHY_CONVERT_H
#define DBP_HIERARCHY_CONVERT_H

#include "hierarchy/rows.h"

/* What a message about broken data names at most. */
#define CONVERT_LISTED	10

extern void dbp_convert_open(FunctionCallInfo fcinfo, HierTable *table, int key_argno);
extern void dbp_convert_close(HierTable *table);
extern char *dbp_convert_name(FunctionCallInfo fcinfo, int argno, const char *argument);
extern void dbp_convert_require(Relation rel, HierRows *rows, const char *sql,
								int sqlerrcode, const char *problem, const char *hint);
extern void dbp_convert_require_path(HierTable *table, const char *path);
extern void dbp_convert_require_integer(HierTable *table, const char *column);
extern uint64 dbp_convert_update(HierTable *table, HierRows *rows, const char *from,
								 List *columns, const char *prefix);
extern Oid	dbp_convert_type(HierTable *table, const char *column);
extern void dbp_convert_put_parent(StringInfo sql, HierTable *table, HierColumns parent);
extern uint64 dbp_convert_update_parents(HierTable *table, HierRows *rows, const char *from);

/* A table of pairs of the user's. */
typedef struct ConvertPairs
{
	Relation	rel;
	char	   *name;
	List	   *ancestor;		/* char * */
	List	   *descendant;
	char	   *depth;
} ConvertPairs;

extern void dbp_convert_open_pairs(FunctionCallInfo fcinfo, int argno, HierTable *table,
								   ConvertPairs *pairs);

/* A node of a table that is converted. */
typedef struct ConvertNode
{
	HierMapEntry head;			/* MUST BE FIRST */
	bool		reached;
	int			mark;			/* of the search for cycles that came by */
	Datum	   *parent_key;		/* NULL: a root */
	struct ConvertNode *parent; /* NULL: a root, or an orphan */
	struct ConvertNode *child;	/* the first one */
	struct ConvertNode *sibling;	/* the next one */
	struct ConvertNode *next;	/* of all */
	char	   *label;
	int			depth;
	int			path;			/* length of its path */
	int64		lft;
} ConvertNode;

/* All nodes of a table, linked. */
typedef struct ConvertForest
{
	HierTable  *table;
	HierMap    *map;
	MemoryContext cxt;
	bool		labels;
	ConvertNode *nodes;			/* all, in their order once they are linked */
	ConvertNode *root;			/* the first one; the others are its siblings */
} ConvertForest;

extern void dbp_convert_load(ConvertForest *forest, HierTable *table, const char *order_by,
							 const char *label, bool orphans_are_roots);
extern ConvertNode *dbp_convert_preorder(ConvertNode *node);

#endif							/* DBP_HIERARCHY_CONVERT_H */
