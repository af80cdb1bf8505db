/*-------------------------------------------------------------------------
 *
 * convert_closure.c
 *	  From closure tables to adjacency lists.
 *
 * Pairs of depth 1 are the edges, and the other pairs must be exactly what
 * follows from them: each pair of depth d + 1 is a pair of depth d and an edge,
 * and the reverse.  This also excludes cycles, as those would give a pair of a
 * node with itself whose depth is not 0.
 *
 * Copyright (c) 2026, dbpatterns contributors
 *
 * src/hierarchy/convert_closure.c
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "access/relation.h"
#include "core/names.h"
#include "core/target.h"
#include "hierarchy/convert.h"
#include "utils/builtins.h"

PG_FUNCTION_INFO_V1(dbpatterns_adjacency_from_closure);

/* the node of a pair c for a message: 5, or (1,5); columns may hold NULL */
static char *
text_of(HierColumns columns, int n)
{
	StringInfoData sql;

	initStringInfo(&sql);
	if (n == 1)
		appendStringInfo(&sql, "COALESCE(%s::pg_catalog.text, 'NULL')",
						 dbp_sql_column(columns, 0));
	else
	{
		appendStringInfoString(&sql, "ROW(");
		dbp_sql_put_columns(&sql, columns, 0, n);
		appendStringInfoString(&sql, ")::pg_catalog.text");
	}
	return sql.data;
}

/*
 * dbp_convert_open_pairs opens the table of pairs of a conversion (arguments
 * closure, ancestor, descendant and depth, from number argno on) and checks
 * that its columns fit the key.
 */
void
dbp_convert_open_pairs(FunctionCallInfo fcinfo, int argno, HierTable *table, ConvertPairs *pairs)
{
	AttrNumber	atts[2 * HIER_MAX_KEY];
	HierKeyType type;
	int			n = table->n;

	dbp_require_argument(fcinfo, argno, "closure", "Name the table of pairs.");
	dbp_require_argument(fcinfo, argno + 1, "ancestor", "Leave it out for the default.");
	dbp_require_argument(fcinfo, argno + 2, "descendant", "Leave it out for the default.");
	(void) dbp_relation_name_by_oid(PG_GETARG_OID(argno));
	pairs->rel = relation_open(PG_GETARG_OID(argno), AccessShareLock);
	pairs->name = dbp_relation_name(pairs->rel);
	pairs->ancestor = dbp_hier_columns_argument(fcinfo, argno + 1, "ancestor");
	pairs->descendant = dbp_hier_columns_argument(fcinfo, argno + 2, "descendant");
	pairs->depth = dbp_convert_name(fcinfo, argno + 3, "depth");
	(void) dbp_column_number(pairs->rel, pairs->depth);
	if (list_length(pairs->ancestor) != n || list_length(pairs->descendant) != n)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("the key of table %s has %d columns, \"ancestor\" names %d and \"descendant\" %d",
						dbp_relation_name(table->rel), n, list_length(pairs->ancestor),
						list_length(pairs->descendant)),
				 errhint("Name a column of %s for each, in the same order.", pairs->name)));
	for (int i = 0; i < n; i++)
	{
		atts[i] = dbp_column_number(pairs->rel, list_nth(pairs->ancestor, i));
		atts[n + i] = dbp_column_number(pairs->rel, list_nth(pairs->descendant, i));
	}
	dbp_key_type(&type, pairs->rel, atts, 2 * n);
	for (int i = 0; i < 2 * n; i++)
	{
		HierColumn *key = &table->type.col[i % n];

		if (type.col[i].type != key->type || type.col[i].collation != key->collation)
			ereport(ERROR,
					(errcode(ERRCODE_DATATYPE_MISMATCH),
					 errmsg("column \"%s\" of %s is not of the %s of key column \"%s\"",
							(char *) list_nth(i < n ? pairs->ancestor : pairs->descendant, i % n),
							pairs->name, type.col[i].type != key->type ? "type" : "collation",
							(char *) list_nth(table->key, i % n)),
					 errhint("Change it with ALTER TABLE ... ALTER COLUMN ... TYPE %s.",
							 format_type_be(key->type))));
	}
}

/* Parts of statements on pairs: FROM items with columns a1.., d1.., depth. */
typedef struct PairsSql
{
	Relation	rel;
	char	   *pairs;
	char	   *edges;			/* of depth 1 */
} PairsSql;

static void
pairs_sql(HierTable *table, ConvertPairs *pairs, PairsSql *sql)
{
	StringInfoData from;

	initStringInfo(&from);
	appendStringInfoString(&from, "(SELECT ");
	dbp_sql_put_renamed(&from, HIER_NAMED(NULL, pairs->ancestor), HIER_NUMBERED(NULL, "a"),
						table->n);
	appendStringInfoString(&from, ", ");
	dbp_sql_put_renamed(&from, HIER_NAMED(NULL, pairs->descendant), HIER_NUMBERED(NULL, "d"),
						table->n);
	appendStringInfo(&from, ", %s::pg_catalog.int4 AS depth FROM %s)",
					 quote_identifier(pairs->depth), pairs->name);
	sql->rel = pairs->rel;
	sql->pairs = from.data;
	sql->edges = psprintf("(SELECT * FROM %s AS e WHERE depth OPERATOR(pg_catalog.=) 1)",
						  from.data);
}

static char *
match(HierTable *table, HierColumns a, HierColumns b)
{
	StringInfoData sql;

	initStringInfo(&sql);
	dbp_sql_put_match(&sql, &table->type, a, b);
	return sql.data;
}

static char *
shown(HierTable *table, const char *ancestor, const char *descendant)
{
	return psprintf("%s OPERATOR(pg_catalog.||) ' -> ' OPERATOR(pg_catalog.||) %s",
					text_of(HIER_NUMBERED(ancestor, "a"), table->n),
					text_of(HIER_NUMBERED(descendant, "d"), table->n));
}

/*
 * require_closure raises unless the pairs are the closure of a forest.
 */
static void
require_closure(HierTable *table, PairsSql *sql)
{
	static const char hint[] = "Repair the pairs first.";
	StringInfoData group;
	char	   *below = match(table, HIER_NUMBERED("x", "d"), HIER_NUMBERED("e", "a"));
	char	   *ends = psprintf("%s AND %s",
								match(table, HIER_NUMBERED("x", "a"), HIER_NUMBERED("y", "a")),
								match(table, HIER_NUMBERED("e", "d"), HIER_NUMBERED("y", "d")));

	initStringInfo(&group);
	dbp_sql_put_columns(&group, HIER_NUMBERED("c", "d"), 0, table->n);
	dbp_convert_require(sql->rel, NULL,
						psprintf("SELECT %s FROM %s AS c WHERE"
								 " (depth OPERATOR(pg_catalog.>=) 0 AND"
								 " (depth OPERATOR(pg_catalog.=) 0) OPERATOR(pg_catalog.=) (%s))"
								 " IS NOT TRUE ORDER BY 1", shown(table, "c", "c"), sql->pairs,
								 match(table, HIER_NUMBERED("c", "a"), HIER_NUMBERED("c", "d"))),
						ERRCODE_CHECK_VIOLATION, "pairs have a wrong depth",
						hint);
	dbp_convert_require(sql->rel, NULL,
						psprintf("SELECT %s FROM %s AS c GROUP BY %s"
								 " HAVING pg_catalog.count(*) OPERATOR(pg_catalog.>) 1 ORDER BY 1",
								 text_of(HIER_NUMBERED("c", "d"), table->n), sql->edges, group.data),
						ERRCODE_CARDINALITY_VIOLATION, "nodes have several parents",
						"An adjacency list has room for one parent.");
	dbp_convert_require(sql->rel, NULL,
						psprintf("SELECT %s FROM %s AS x JOIN %s AS e ON %s LEFT JOIN %s AS y"
								 " ON %s AND y.depth OPERATOR(pg_catalog.=) (x.depth OPERATOR(pg_catalog.+) 1)"
								 " WHERE x.depth OPERATOR(pg_catalog.>) 0 AND y.depth IS NULL ORDER BY 1",
								 shown(table, "x", "e"), sql->pairs, sql->edges, below, sql->pairs, ends),
						ERRCODE_CHECK_VIOLATION, "pairs are missing", hint);
	dbp_convert_require(sql->rel, NULL,
						psprintf("SELECT %s FROM %s AS y WHERE y.depth OPERATOR(pg_catalog.>) 1"
								 " AND NOT EXISTS (SELECT FROM %s AS x JOIN %s AS e ON %s"
								 " WHERE %s AND x.depth OPERATOR(pg_catalog.=) (y.depth OPERATOR(pg_catalog.-) 1))"
								 " ORDER BY 1",
								 shown(table, "y", "y"), sql->pairs, sql->pairs, sql->edges, below, ends),
						ERRCODE_CHECK_VIOLATION, "pairs follow from no others",
						hint);
}

/*
 * require_nodes raises unless the nodes at one end of the pairs are rows.
 */
static void
require_nodes(HierTable *table, PairsSql *sql, const char *end)
{
	HierColumns node = HIER_NUMBERED("c", end);

	dbp_convert_require(sql->rel, NULL,
						psprintf("SELECT DISTINCT %s FROM %s AS c WHERE NOT EXISTS"
								 " (SELECT FROM %s AS t WHERE %s) ORDER BY 1",
								 text_of(node, table->n), sql->pairs, table->name,
								 match(table, HIER_NAMED("t", table->key), node)),
						ERRCODE_FOREIGN_KEY_VIOLATION, "pairs name nodes without a row",
						"Insert the rows, or delete the pairs.");
}

/*
 * adjacency_from_closure(target regclass, parent name[], closure regclass,
 * ancestor name[], descendant name[], depth name, key name[]) sets the parent
 * columns from the pairs of a closure table, and returns how many rows it
 * changed.
 *
 * closure: any table of pairs; those of depth 1 are the edges, pairs of a node
 * with itself have depth 0 and may be left out.  ancestor, descendant: its
 * columns, one for each column of the key.  The rest as in
 * adjacency_from_ltree, which see for what it raises and locks, and SHARE on
 * closure; 22004 also for closure and its columns; 21000 if a node has several
 * parents, 23503 if pairs name a node that is not in target, 23514 if pairs are
 * missing, of a wrong depth, or follow from nothing, as those of a cycle do.
 */
Datum
dbpatterns_adjacency_from_closure(PG_FUNCTION_ARGS)
{
	HierTable	table;
	ConvertPairs pairs;
	PairsSql	sql;
	StringInfoData from;
	uint64		changed;

	dbp_convert_open(fcinfo, &table, 6);
	dbp_convert_open_pairs(fcinfo, 2, &table, &pairs);
	dbp_table_require_all_rows(pairs.rel);
	pairs_sql(&table, &pairs, &sql);
	dbp_sql_command("LOCK TABLE %s IN SHARE MODE", pairs.name);
	require_closure(&table, &sql);

	require_nodes(&table, &sql, "a");
	require_nodes(&table, &sql, "d");

	initStringInfo(&from);
	appendStringInfoString(&from, "(SELECT ");
	dbp_sql_put_renamed(&from, HIER_NAMED("n", table.key), HIER_NUMBERED(NULL, "k"), table.n);
	dbp_convert_put_parent(&from, &table, HIER_NUMBERED("e", "a"));
	appendStringInfo(&from, " FROM %s AS n LEFT JOIN %s AS e ON ", table.name, sql.edges);
	dbp_sql_put_match(&from, &table.type, HIER_NAMED("n", table.key), HIER_NUMBERED("e", "d"));
	appendStringInfoChar(&from, ')');
	changed = dbp_convert_update_parents(&table, NULL, from.data);
	relation_close(pairs.rel, NoLock);
	dbp_convert_close(&table);
	PG_RETURN_INT64(changed);
}
