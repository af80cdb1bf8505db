/*-------------------------------------------------------------------------
 *
 * readers.h
 *	  What the files that make reader functions share.
 *
 * Copyright (c) 2026, dbpatterns contributors
 *
 * src/hierarchy/readers.h
 *
 *-------------------------------------------------------------------------
 */
#ifndef DBP_HIERARCHY_READERS_H
#define DBP_HIERARCHY_READERS_H

#include "hierarchy/hierarchy.h"

/* Which hierarchies have a reader. */
#define READS_TREE		1
#define READS_GRAPH		2

/* The keys that a reader takes, before its other arguments. */
typedef enum ReaderNodes
{
	TAKES_SCOPE,				/* scope columns, NULL: all */
	TAKES_NODE,
	TAKES_NODE_OR_ALL,			/* NULL: all, of the scope if given */
	TAKES_TWO_NODES,			/* of one scope */
	TAKES_PAIR					/* the same, called ancestor and descendant */
} ReaderNodes;

/*
 * A reader function: other arguments and columns of the result are words as
 * SQL has them, separated by "; ".  key stands for the columns of a key, which
 * a graph names as its closure table does.
 */
typedef struct HierReader
{
	const char *name;
	int			reads;
	ReaderNodes nodes;
	const char *arguments;
	bool		rows;			/* result is a table; else it is one value */
	const char *result;
	const char *graph_key;		/* what a key is in the closure of a graph */
	const char *body;			/* a template */
	const char *comment;
} HierReader;

/* Names and types that templates are filled with, all quoted. */
typedef struct HierShape
{
	const HierSpec *spec;
	Oid			targetid;
	Oid			closureid;
	Oid			nspid;
	Oid			owner;
	char	   *target;
	char	   *closure;
	int			nkey;
	const char *type[HIER_MAX_KEY];
	Oid			basetype[HIER_MAX_KEY]; /* the same */
	/* Names of columns, not quoted: of the closure table, and of the base. */
	const char *ancestor[HIER_MAX_KEY];
	const char *descendant[HIER_MAX_KEY];
	const char *key[HIER_MAX_KEY];
	const char *parent[HIER_MAX_KEY];
	const char *label;			/* a column that says what a node is */
} HierShape;

extern const HierReader dbp_hier_readers[];
extern const int dbp_hier_nreaders;

extern char *dbp_reader_definition(const HierShape *shape, const HierReader *reader,
								   bool replace);
extern char *dbp_hier_reader_name(const HierShape *shape, const HierReader *reader);

#endif							/* DBP_HIERARCHY_READERS_H */
