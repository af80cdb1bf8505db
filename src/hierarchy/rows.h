/*-------------------------------------------------------------------------
 *
 * rows.h
 *	  Rows that statements on a user's table are made with; what edit*.c and
 *	  convert*.c share; the walk and nested sets use the parts of statements, too.
 *
 * Copyright (c) 2026, dbpatterns contributors
 *
 * src/hierarchy/rows.h
 *
 *-------------------------------------------------------------------------
 */
#ifndef DBP_HIERARCHY_ROWS_H
#define DBP_HIERARCHY_ROWS_H

#include "hierarchy/hierarchy.h"
#include "lib/stringinfo.h"
#include "utils/tuplestore.h"

/* A table of nodes, and which of its columns say where a node is. */
typedef struct HierTable
{
	Relation	rel;
	char	   *name;			/* for statements, with ONLY */
	List	   *key;			/* char * */
	List	   *parent;			/* char * */
	int			n;				/* columns of a key */
	int			nscope;			/* the first columns of both, which are the
								 * same */
	HierKeyType type;
	AttrNumber	key_att[HIER_MAX_KEY];
	AttrNumber	parent_att[HIER_MAX_KEY];
} HierTable;

extern void dbp_table_open(HierTable *table, Oid relid, LOCKMODE mode,
						   const char *what);
extern void dbp_table_find_columns(HierTable *table, List *key, List *parent);
extern void dbp_table_set_columns(HierTable *table, List *key, List *parent);
extern void dbp_table_require_all_rows(Relation rel);

/* ---- parts of statements ---- */

/* Columns have a name, or a prefix and a number (k1, k2), and an alias before. */
typedef struct HierColumns
{
	const char *alias;
	List	   *names;			/* char *, or NIL */
	const char *prefix;
} HierColumns;

#define HIER_NAMED(alias_, names_)		((HierColumns) {(alias_), (names_), NULL})
#define HIER_NUMBERED(alias_, prefix_)	((HierColumns) {(alias_), NIL, (prefix_)})

extern char *dbp_sql_column(HierColumns columns, int i);
extern void dbp_sql_put_columns(StringInfo sql, HierColumns columns, int from, int n);
extern void dbp_sql_put_renamed(StringInfo sql, HierColumns columns, HierColumns to, int n);
extern void dbp_sql_put_equal(StringInfo sql, Oid type, const char *a, const char *b);
extern void dbp_sql_put_match(StringInfo sql, HierKeyType *type, HierColumns a, HierColumns b);
extern void dbp_sql_put_differ(StringInfo sql, const Oid *types, int n,
							   HierColumns a, HierColumns b);
extern void dbp_sql_put_assign(StringInfo sql, List *names, HierColumns values, int from);

/* A pass over the rows of a query; values last as long as the call. */
typedef void (*HierScanRow) (Datum *values, bool *isnull, void *arg);

extern void dbp_sql_scan(const char *sql, int nparams, const DbpParam *params,
						 HierScanRow row, void *arg);

/* ---- typed rows that a statement reads like a table ---- */

/* The name they have in statements. */
#define HIER_ROWS	"dbpatterns_rows"

typedef struct HierRows
{
	TupleDesc	desc;
	Tuplestorestate *store;		/* spills to disk */
	int64		n;
} HierRows;

extern HierRows *dbp_rows_create(int ncolumns);
extern void dbp_rows_column(HierRows *rows, int column, const char *column_name, Oid type,
							int32 typmod, Oid collation);
extern void dbp_rows_key(HierRows *rows, int column, const char *prefix, HierKeyType *type);
extern void dbp_rows_put(HierRows *rows, Datum *values, bool *isnull);
extern uint64 dbp_rows_query(HierRows *rows, const char *sql, int nparams,
							 const DbpParam *params);
extern uint64 dbp_rows_query_latest(HierRows *rows, const char *sql, int nparams,
									const DbpParam *params);
extern void dbp_rows_rescan(HierRows *rows);
extern void dbp_rows_free(HierRows *rows);

#endif							/* DBP_HIERARCHY_ROWS_H */
