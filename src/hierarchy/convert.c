/*-------------------------------------------------------------------------
 *
 * convert.c
 *	  From ltree paths, nested sets and closure tables to adjacency lists.
 *
 * Each function sets the parent columns of a table, in one UPDATE run as the
 * caller, from what the table, or a closure table beside it, says in another
 * form.  The other form is checked first: what is not a forest is refused as a
 * whole, with the nodes that break it.
 *
 * Copyright (c) 2026, dbpatterns contributors
 *
 * src/hierarchy/convert.c
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "access/relation.h"
#include "catalog/pg_type.h"
#include "core/names.h"
#include "core/target.h"
#include "core/version.h"
#include "hierarchy/convert.h"
#include "utils/builtins.h"
#include "utils/lsyscache.h"
#include "utils/syscache.h"

PG_FUNCTION_INFO_V1(dbpatterns_adjacency_from_ltree);
PG_FUNCTION_INFO_V1(dbpatterns_adjacency_from_nested_set);

/*
 * dbp_convert_open opens the table of a conversion (arguments 0, target, and
 * 1, parent), connects to SPI and keeps others from writing meanwhile.
 */
void
dbp_convert_open(FunctionCallInfo fcinfo, HierTable *table, int key_argno)
{
	List	   *key;
	List	   *parent;

	dbp_require_argument(fcinfo, 0, "target", "Name the table to convert.");
	dbp_require_argument(fcinfo, 1, "parent", "Name the columns that hold the key of the node above.");
	dbp_check_version();
	key = dbp_hier_columns_argument(fcinfo, key_argno, "key");
	parent = dbp_hier_columns_argument(fcinfo, 1, "parent");
	dbp_table_open(table, PG_GETARG_OID(0), AccessShareLock, "converted");
	dbp_table_find_columns(table, key, parent);
	dbp_table_require_all_rows(table->rel);
	SPI_connect();
	dbp_sql_command("LOCK TABLE %s IN SHARE ROW EXCLUSIVE MODE", table->name);
}

/*
 * dbp_convert_close ends what dbp_convert_open began; locks stay.
 */
void
dbp_convert_close(HierTable *table)
{
	SPI_finish();
	relation_close(table->rel, NoLock);
}

/*
 * dbp_convert_name returns an argument of type name; NULL for NULL if
 * argument, its name, is not given.
 */
char *
dbp_convert_name(FunctionCallInfo fcinfo, int argno, const char *argument)
{
	if (argument != NULL)
		dbp_require_argument(fcinfo, argno, argument, "Give the name of a column.");
	return dbp_hier_name_argument(fcinfo, argno);
}

/*
 * dbp_convert_require raises unless a query, whose first column is text,
 * returns no rows; it may read rows, unless that is NULL.
 */
void
dbp_convert_require(Relation rel, HierRows *rows, const char *sql, int sqlerrcode,
					const char *problem, const char *hint)
{
	char	   *query = psprintf("%s LIMIT %d", sql, CONVERT_LISTED + 1);
	uint64		n = rows == NULL ? dbp_sql_query(query, 0, NULL)
		: dbp_rows_query(rows, query, 0, NULL);
	StringInfoData list;

	if (n == 0)
		return;
	initStringInfo(&list);
	for (uint64 i = 0; i < Min(n, CONVERT_LISTED); i++)
		appendStringInfo(&list, "%s%s", i > 0 ? ", " : "", dbp_sql_text(i, 0));
	if (n > CONVERT_LISTED)
		appendStringInfoString(&list, ", and more");
	ereport(ERROR,
			(errcode(sqlerrcode),
			 errmsg("%s in table %s", problem, dbp_relation_name(rel)),
			 errdetail("Found: %s.", list.data),
			 errhint("%s", hint)));
}

/*
 * dbp_convert_type returns the type of a column, below domains.
 */
Oid
dbp_convert_type(HierTable *table, const char *column)
{
	AttrNumber	attno = dbp_column_number(table->rel, column);

	return getBaseType(TupleDescAttr(RelationGetDescr(table->rel), attno - 1)->atttypid);
}

/*
 * dbp_convert_update sets columns to values that a FROM item gives as r: the
 * key in k1, k2 and so on, the values in prefix and a number; rows that have
 * them already are left alone.
 */
uint64
dbp_convert_update(HierTable *table, HierRows *rows, const char *from, List *columns,
				   const char *prefix)
{
	HierColumns values = HIER_NUMBERED("r", prefix);
	Oid			types[HIER_MAX_KEY];
	StringInfoData sql;
	int			n = list_length(columns);

	Assert(n <= lengthof(types));
	for (int i = 0; i < n; i++)
		types[i] = dbp_convert_type(table, list_nth(columns, i));
	initStringInfo(&sql);
	appendStringInfo(&sql, "UPDATE %s AS t SET ", table->name);
	dbp_sql_put_assign(&sql, columns, values, 0);
	appendStringInfo(&sql, " FROM %s AS r WHERE ", from);
	dbp_sql_put_match(&sql, &table->type, HIER_NAMED("t", table->key), HIER_NUMBERED("r", "k"));
	appendStringInfoString(&sql, " AND ");
	dbp_sql_put_differ(&sql, types, n, HIER_NAMED("t", columns), values);
	return rows == NULL ? dbp_sql_query(sql.data, 0, NULL)
		: dbp_rows_query(rows, sql.data, 0, NULL);
}

/*
 * dbp_convert_put_parent appends the columns that dbp_convert_update_parents
 * reads, to a list of others: those of a key, without the scope.
 */
void
dbp_convert_put_parent(StringInfo sql, HierTable *table, HierColumns parent)
{
	for (int i = table->nscope; i < table->n; i++)
		appendStringInfo(sql, ", %s AS p%d", dbp_sql_column(parent, i), i + 1 - table->nscope);
}

/*
 * dbp_convert_update_parents sets the parent columns; those of the scope are
 * the key's and stay.
 */
uint64
dbp_convert_update_parents(HierTable *table, HierRows *rows, const char *from)
{
	return dbp_convert_update(table, rows, from, list_copy_tail(table->parent, table->nscope),
							  "p");
}

/* ---- ltree paths --------------------------------------------------------- */

static char *
type_name(Oid type)
{
	HeapTuple	tuple = SearchSysCache1(TYPEOID, ObjectIdGetDatum(type));
	char	   *name;

	if (!HeapTupleIsValid(tuple))
		elog(ERROR, "cache lookup failed for type %u", type);
	name = pstrdup(NameStr(((Form_pg_type) GETSTRUCT(tuple))->typname));
	ReleaseSysCache(tuple);
	return name;
}

/*
 * dbp_convert_require_path raises 42804 unless a column can hold a path: text, or the type
 * ltree, wherever that is installed.
 */
void
dbp_convert_require_path(HierTable *table, const char *path)
{
	Oid			type = dbp_convert_type(table, path);

	/* The extension can be in any schema. */
	if (type != TEXTOID && type != VARCHAROID && strcmp(type_name(type), "ltree") != 0)
		ereport(ERROR,
				(errcode(ERRCODE_DATATYPE_MISMATCH),
				 errmsg("column \"%s\" of table %s holds no paths", path,
						dbp_relation_name(table->rel)),
				 errhint("Name a column of type ltree, or one of type text with labels separated by dots.")));
}

/* Path p is that of the node right above path c. */
#define ABOVE \
	"p.path OPERATOR(pg_catalog.=) pg_catalog.\"left\"(c.path," \
	" OPERATOR(pg_catalog.-) pg_catalog.strpos(pg_catalog.reverse(c.path), '.'))" \
	" AND pg_catalog.strpos(c.path, '.') OPERATOR(pg_catalog.>) 0"

/*
 * adjacency_from_ltree(target regclass, parent name[], path name, key name[],
 * on_orphan text) sets the parent columns from paths such as a.b.c, and
 * returns how many rows it changed.
 *
 * target: the table.  parent: the columns to set, for each column of the key;
 * those that are key columns, too, are the scope: paths are told apart within
 * it.  path: a column of type ltree, text or varchar; a path of one label, an
 * empty one and NULL are roots.  key: columns that tell rows apart, NULL for
 * the primary key.  on_orphan: error, or root for nodes with no row for the
 * path above them.
 *
 * Raises 22004 (target, parent or path is NULL, a column list holds NULL),
 * 22023 (on_orphan), 42701, 55000 (versions differ), 42P01, 42809, 42704 (no
 * such key), 42703, 22023 (key and parent do not fit), 42804 (types), 42883,
 * 42P16 (a key column may be NULL), 42501 (no right, or row-level security
 * applies), 21000 (a node has two parents), 23503 (a parent is missing), and
 * what the UPDATE raises.
 * Locks SHARE ROW EXCLUSIVE on target, the rows it changes.  Runs as the
 * caller.  A second call changes nothing and returns 0.
 */
Datum
dbpatterns_adjacency_from_ltree(PG_FUNCTION_ARGS)
{
	HierTable	table;
	char	   *path = dbp_convert_name(fcinfo, 2, "path");
	bool		root = dbp_choose_argument(fcinfo, 4, "on_orphan", "error", "root");
	StringInfoData nodes;
	StringInfoData match;
	StringInfoData from;
	StringInfoData key;
	uint64		changed;

	dbp_convert_open(fcinfo, &table, 3);
	dbp_convert_require_path(&table, path);

	/* Equal in bytes, as ltree compares labels. */
	initStringInfo(&nodes);
	appendStringInfoString(&nodes, "(SELECT ");
	dbp_sql_put_renamed(&nodes, HIER_NAMED(NULL, table.key), HIER_NUMBERED(NULL, "k"), table.n);
	appendStringInfo(&nodes, ", %s::pg_catalog.text COLLATE pg_catalog.\"C\" AS path FROM %s)",
					 quote_identifier(path), table.name);
	initStringInfo(&match);
	appendStringInfoString(&match, ABOVE);
	for (int i = 0; i < table.nscope; i++)
	{
		appendStringInfoString(&match, " AND ");
		dbp_sql_put_equal(&match, table.type.col[i].type,
						  dbp_sql_column(HIER_NUMBERED("p", "k"), i),
						  dbp_sql_column(HIER_NUMBERED("c", "k"), i));
	}
	initStringInfo(&key);
	dbp_sql_put_columns(&key, HIER_NUMBERED("c", "k"), 0, table.n);

	dbp_convert_require(table.rel, NULL,
						psprintf("SELECT DISTINCT c.path FROM %s AS c JOIN %s AS p ON %s"
								 " GROUP BY c.path, %s HAVING pg_catalog.count(*) OPERATOR(pg_catalog.>) 1"
								 " ORDER BY 1", nodes.data, nodes.data, match.data, key.data),
						ERRCODE_CARDINALITY_VIOLATION, "rows have several parents",
						"Give the rows above them paths of their own.");
	if (!root)
		dbp_convert_require(table.rel, NULL,
							psprintf("SELECT c.path FROM %s AS c LEFT JOIN %s AS p ON %s"
									 " WHERE p.path IS NULL AND pg_catalog.strpos(c.path, '.')"
									 " OPERATOR(pg_catalog.>) 0 ORDER BY 1",
									 nodes.data, nodes.data, match.data),
							ERRCODE_FOREIGN_KEY_VIOLATION, "rows lack their parent",
							"Insert the rows of the paths above, or call with on_orphan => 'root'.");

	initStringInfo(&from);
	appendStringInfo(&from, "(SELECT %s", key.data);
	dbp_convert_put_parent(&from, &table, HIER_NUMBERED("p", "k"));
	appendStringInfo(&from, " FROM %s AS c LEFT JOIN %s AS p ON %s)", nodes.data, nodes.data,
					 match.data);
	changed = dbp_convert_update_parents(&table, NULL, from.data);
	dbp_convert_close(&table);
	PG_RETURN_INT64(changed);
}

/* ---- nested sets --------------------------------------------------------- */

/* An interval that is open where the scan is. */
typedef struct OpenNode
{
	int64		rgt;
	Datum	   *key;
} OpenNode;

typedef struct IntervalScan
{
	HierTable  *table;
	HierRows   *rows;
	MemoryContext cxt;
	int64		tree;
	int64		last;			/* greatest lft or rgt that was closed or
								 * opened */
	int			depth;
	int			allocated;
	OpenNode   *open;
} IntervalScan;

static void
broken_interval(IntervalScan *scan, Datum *key, const char *detail)
{
	ereport(ERROR,
			(errcode(ERRCODE_CHECK_VIOLATION),
			 errmsg("the intervals in table %s are no nested sets",
					dbp_relation_name(scan->table->rel)),
			 errdetail("Node %s: %s.", dbp_key_text(&scan->table->type, key), detail),
			 errhint("Repair the columns first.")));
}

/*
 * The rows come tree by tree, and in a tree by lft: the intervals that are
 * still open are the nodes above.  Columns: key, tree, lft, rgt.
 */
static void
interval_row(Datum *values, bool *isnull, void *arg)
{
	IntervalScan *scan = arg;
	int			n = scan->table->n;
	Datum		row[2 * HIER_MAX_KEY];
	bool		null[2 * HIER_MAX_KEY] = {0};
	int64		lft = DatumGetInt64(values[n + 1]);
	int64		rgt = DatumGetInt64(values[n + 2]);
	OpenNode   *above;
	MemoryContext oldcxt;

	if (isnull[n + 1] || isnull[n + 2] || lft >= rgt)
		broken_interval(scan, values, "the left bound is not less than the right one");
	if (DatumGetInt64(values[n]) != scan->tree)
	{
		scan->tree = DatumGetInt64(values[n]);
		scan->depth = 0;
		scan->last = PG_INT64_MIN;
	}
	while (scan->depth > 0 && scan->open[scan->depth - 1].rgt < lft)
		scan->last = scan->open[--scan->depth].rgt;
	above = scan->depth > 0 ? &scan->open[scan->depth - 1] : NULL;
	if (lft <= scan->last && scan->last != PG_INT64_MIN)
		broken_interval(scan, values, "its left bound is that of another node");
	if (above != NULL && rgt >= above->rgt)
		broken_interval(scan, values,
						psprintf("its interval overlaps that of node %s",
								 dbp_key_text(&scan->table->type, above->key)));

	memcpy(row, values, sizeof(Datum) * n);
	for (int i = 0; i < n; i++)
	{
		row[n + i] = above == NULL ? (Datum) 0 : above->key[i];
		null[n + i] = above == NULL;
	}
	dbp_rows_put(scan->rows, row, null);

	oldcxt = MemoryContextSwitchTo(scan->cxt);
	if (scan->depth == scan->allocated)
	{
		scan->open = repalloc(scan->open, sizeof(OpenNode) * (scan->allocated *= 2));
		memset(&scan->open[scan->depth], 0, sizeof(OpenNode) * scan->depth);
	}
	if (scan->open[scan->depth].key != NULL)
		pfree(scan->open[scan->depth].key);
	scan->open[scan->depth].key = dbp_key_copy(&scan->table->type, values);
	scan->open[scan->depth++].rgt = rgt;
	scan->last = lft;
	MemoryContextSwitchTo(oldcxt);
}

/*
 * dbp_convert_require_integer raises 42804 unless a column holds integers.
 */
void
dbp_convert_require_integer(HierTable *table, const char *column)
{
	Oid			type = dbp_convert_type(table, column);

	if (type != INT2OID && type != INT4OID && type != INT8OID)
		ereport(ERROR,
				(errcode(ERRCODE_DATATYPE_MISMATCH),
				 errmsg("column \"%s\" of table %s is of type %s", column,
						dbp_relation_name(table->rel), format_type_be(type)),
				 errhint("It must be smallint, integer or bigint.")));
}

/*
 * adjacency_from_nested_set(target regclass, parent name[], lft name, rgt name,
 * tree name[], key name[]) sets the parent columns from intervals, and returns
 * how many rows it changed: the parent of a node is the innermost node whose
 * interval encloses its own.
 *
 * lft, rgt: columns of the bounds, integers with or without gaps.  tree:
 * columns that tell trees apart, each with intervals of its own; NULL if all
 * share one numbering.  The rest as in adjacency_from_ltree, which see for what
 * it raises and locks; 23514 if intervals overlap, share a bound, or end
 * before they begin.
 */
Datum
dbpatterns_adjacency_from_nested_set(PG_FUNCTION_ARGS)
{
	HierTable	table;
	char	   *lft = dbp_convert_name(fcinfo, 2, "lft");
	char	   *rgt = dbp_convert_name(fcinfo, 3, "rgt");
	List	   *tree = dbp_hier_columns_argument(fcinfo, 4, "tree");
	IntervalScan scan = {&table};
	StringInfoData sql;
	StringInfoData from;
	uint64		changed;
	ListCell   *lc;

	dbp_convert_open(fcinfo, &table, 5);
	dbp_convert_require_integer(&table, lft);
	dbp_convert_require_integer(&table, rgt);
	foreach(lc, tree)
		(void) dbp_column_number(table.rel, lfirst(lc));
	tree = list_concat(list_copy_head(table.key, table.nscope), tree);

	initStringInfo(&sql);
	appendStringInfoString(&sql, "SELECT ");
	dbp_sql_put_columns(&sql, HIER_NAMED("t", table.key), 0, table.n);
	appendStringInfoString(&sql, ", ");
	if (tree != NIL)
	{
		appendStringInfoString(&sql, "pg_catalog.dense_rank() OVER (ORDER BY ");
		dbp_sql_put_columns(&sql, HIER_NAMED("t", tree), 0, list_length(tree));
		appendStringInfoString(&sql, ") AS tree");
	}
	else
		appendStringInfoString(&sql, "1::pg_catalog.int8 AS tree");
	appendStringInfo(&sql, ", t.%s::pg_catalog.int8 AS lft, t.%s::pg_catalog.int8 AS rgt"
					 " FROM %s AS t ORDER BY tree, lft",
					 quote_identifier(lft), quote_identifier(rgt), table.name);

	scan.cxt = CurrentMemoryContext;
	scan.allocated = 16;
	scan.open = palloc0(sizeof(OpenNode) * scan.allocated);
	scan.rows = dbp_rows_create(2 * table.n);
	dbp_rows_key(scan.rows, 0, "k", &table.type);
	dbp_rows_key(scan.rows, table.n, "q", &table.type);
	dbp_sql_scan(sql.data, 0, NULL, interval_row, &scan);

	initStringInfo(&from);
	appendStringInfoString(&from, "(SELECT ");
	dbp_sql_put_columns(&from, HIER_NUMBERED(NULL, "k"), 0, table.n);
	dbp_convert_put_parent(&from, &table, HIER_NUMBERED(NULL, "q"));
	appendStringInfoString(&from, " FROM " HIER_ROWS ")");
	changed = dbp_convert_update_parents(&table, scan.rows, from.data);
	dbp_rows_free(scan.rows);
	dbp_convert_close(&table);
	PG_RETURN_INT64(changed);
}
