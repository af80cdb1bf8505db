/*-------------------------------------------------------------------------
 *
 * graph.h
 *	  What the files of graphs share; nobody else includes it.
 *
 * Copyright (c) 2026, dbpatterns contributors
 *
 * src/hierarchy/graph.h
 *
 *-------------------------------------------------------------------------
 */
#ifndef DBP_GRAPH_H
#define DBP_GRAPH_H

#include "hierarchy/hierarchy.h"
#include "utils/hsearch.h"

typedef struct GraphPair GraphPair;

typedef struct GraphFlush GraphFlush;

/* How far a walk has come with a node. */
typedef enum GraphVisit
{
	NODE_NEW,
	NODE_ON_PATH,
	NODE_DONE
} GraphVisit;

/* A node that something was asked about. */
typedef struct GraphNode
{
	HierMapEntry head;			/* MUST BE FIRST */
	uint32		id;				/* in the order of arrival */
	uint32		rank;			/* in the order of the keys, if they were
								 * sorted */
	bool		out_known;
	bool		self_done;		/* its pair with itself is right */
	bool		is_source;		/* pairs of which it is the ancestor may
								 * change */
	bool		visited;
	GraphVisit	state;
	uint32		next_child;
	uint32		nout;
	uint32		nkept;			/* of them; the others' edges are added */
	struct GraphNode **out;		/* children */
	struct GraphEdge *removed;	/* edges from it */
	struct GraphEdge *added;
	struct GraphNode *removed_from; /* last one whose children were read */

	/* of the last walk that came by */
	uint32		walk;
	uint32		matched;		/* a stored pair was compared in this walk */
	int			depth;
	struct GraphNode *via;

	/* of the pairs that are kept in memory */
	GraphPair  *as_source;
	GraphPair  *as_target;
	uint32		row;			/* round in which its pairs were read */
	uint32		target;			/* round in which it was asked for */
} GraphNode;

typedef struct GraphEdge
{
	GraphNode  *parent;
	GraphNode  *child;
	struct GraphEdge *next;		/* from the same parent */
} GraphEdge;

typedef struct Graph
{
	HierState  *state;			/* NULL: it is no hierarchy */
	GraphFlush *flush;			/* NULL: all edges are here */
	Oid			relid;
	List	   *parent;
	List	   *child;
	HierKeyType *type;
	MemoryContext cxt;			/* owns all of it */
	HierMap    *map;
	GraphNode **nodes;			/* by id */
	uint32		nnodes;
	uint32		allocated;
	GraphNode **targets;		/* of all edges, if they are here */
	uint32		walks;
	GraphNode **queue;			/* of a walk */
	uint32		queue_size;
} Graph;

/* graph_edges.c */
extern Graph *dbp_graph_create(HierState *state, MemoryContext cxt);
extern Graph *dbp_graph_create_for(Oid relid, List *parent, List *child, HierKeyType *type,
								   MemoryContext cxt);
extern GraphNode *dbp_graph_node(Graph *graph, const Datum *key);
extern void dbp_graph_load(Graph *graph, Snapshot snapshot);
extern void dbp_graph_sort_nodes(Graph *graph, GraphNode **nodes, uint32 n);
extern bool dbp_graph_is_indexed(Relation rel, List *columns);
extern uint32 dbp_graph_find_child(const GraphNode *node, const GraphNode *child);
extern uint32 dbp_graph_walk(Graph *graph, GraphNode *from, GraphNode **closing);

typedef void (*GraphRow) (Graph *graph, const Datum *edge, Oid tableoid, ItemPointer tid,
						  void *arg);
extern void dbp_graph_scan(Graph *graph, Snapshot snapshot, GraphRow row, void *arg);

/* graph_cycles.c */
typedef struct GraphComponents
{
	int		   *of_node;		/* by id; 0: on no cycle */
	bool	   *closes;			/* beside graph->targets: walks back */
	int			n;
	int			longest;		/* edges of the longest path; without cycles */
} GraphComponents;

extern GraphComponents *dbp_graph_components(Graph *graph);

/* graph.c: what a flush does */
struct GraphFlush
{
	Graph	   *graph;
	HierQueue  *queue;
	HierPairs  *pairs;
	GraphEdge  *removed;
	int			nremoved;
	GraphEdge  *added;
	int			nadded;
	GraphEdge  *absent;			/* touched, but neither there before nor now */
	int			nabsent;
	bool		child_indexed;	/* the table can be asked for parents */
	double		many;			/* so many changed edges are many */
	MemoryContext scratch;		/* reset for each edge or ancestor */
};

/* What a way of doing it ends with. */
typedef enum GraphResult
{
	GRAPH_DONE,
	GRAPH_TOO_MUCH,				/* nothing was written: go the other way */
	GRAPH_AGAIN					/* nothing was written: more is to be removed */
} GraphResult;

extern void dbp_graph_children(GraphFlush *flush, GraphNode *node);
extern void dbp_graph_put(GraphFlush *flush, GraphNode *ancestor, GraphNode *descendant,
						  const HierPair *stored, int depth);
extern GraphResult dbp_graph_refuse_cycle(GraphFlush *flush, GraphNode *from);
extern void dbp_graph_refuse_depth(HierState *state, GraphNode *ancestor,
								   GraphNode *descendant, int depth);

/* graph_pairs.c: pairs in memory */

struct GraphPair
{
	uint64		key;			/* MUST BE FIRST: ids of both ends */
	int			old;			/* depth as stored */
	int			now;
	ItemPointerData tid;
	bool		ours;
	bool		affected;
	GraphNode  *ancestor;
	GraphNode  *descendant;
	GraphPair  *next_as_source; /* of the same ancestor */
	GraphPair  *next_as_target; /* of the same descendant */
};

typedef struct GraphDelta
{
	GraphFlush *flush;
	HTAB	   *pairs;
	MemoryContext cxt;
	uint32		round;			/* in which targets are asked for */
	double		rows;			/* of the closure table read by ancestor */
	double		row_pairs;		/* pairs in them */
	double		read;			/* other pairs read */
	GraphNode **sources;		/* ancestors of affected pairs */
	int			nsources;
	int			allocated;
} GraphDelta;

/* Nodes above or below one, with the depth between; itself first. */
typedef struct GraphReach
{
	GraphNode  *node;
	int			depth;
} GraphReach;

typedef struct GraphReachList
{
	GraphDelta *delta;
	GraphNode  *node;
	bool		up;
	int			n;
	int			allocated;
	GraphReach *nodes;
} GraphReachList;

extern GraphPair *dbp_graph_pair(GraphDelta *delta, GraphNode *ancestor, GraphNode *descendant);
extern void dbp_graph_read_row(GraphDelta *delta, GraphNode *ancestor);
extern void dbp_graph_expect(GraphDelta *delta, GraphNode *ancestor, int n);
extern void dbp_graph_reach(GraphDelta *delta, GraphNode *node, bool up, GraphReachList *list);

/* graph_delta.c, graph_rows.c: two ways to find what changes */
extern GraphResult dbp_graph_apply_delta(GraphFlush *flush);
extern GraphResult dbp_graph_apply_rows(GraphFlush *flush);

/* graph_whole.c */
extern void dbp_graph_whole_init(void);

#endif							/* DBP_GRAPH_H */
