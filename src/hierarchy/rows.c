/*-------------------------------------------------------------------------
 *
 * rows.c
 *	  Rows that statements on a user's table are made with.
 *
 * Conversions and edits of a hierarchy end in one statement on the table of
 * its nodes, run with the rights of the caller, so that privileges, policies,
 * constraints and triggers have their say.  What was computed for many nodes
 * travels as typed rows in a tuplestore that the statement reads by name, as
 * it would a transition table.  Names in a statement are qualified and quoted,
 * and its operators are those of the types' own operator classes, whatever
 * the caller's search_path.
 *
 * Copyright (c) 2026, dbpatterns contributors
 *
 * src/hierarchy/rows.c
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "access/relation.h"
#include "catalog/pg_class.h"
#include "core/names.h"
#include "core/target.h"
#include "hierarchy/rows.h"
#include "miscadmin.h"
#include "utils/builtins.h"
#include "utils/lsyscache.h"
#include "utils/memutils.h"
#include "utils/rls.h"
#include "utils/typcache.h"

/* Rows fetched at once. */
#define FETCH_ROWS	1000

#define MAX_PARAMS	(2 * HIER_MAX_KEY)

/*
 * dbp_table_open opens a table whose rows are nodes; 42P01, and what
 * dbp_require_target raises.  what: what it cannot be otherwise, a participle.
 */
void
dbp_table_open(HierTable *table, Oid relid, LOCKMODE mode, const char *what)
{
	Relation	rel;

	(void) dbp_relation_name_by_oid(relid); /* 42P01 instead of an internal
											 * error */
	rel = relation_open(relid, mode);
	dbp_require_target(rel, what);
	memset(table, 0, sizeof(*table));
	table->rel = rel;
	table->name = psprintf("%s%s", rel->rd_rel->relkind == RELKIND_PARTITIONED_TABLE
						   ? "" : "ONLY ", dbp_relation_name(rel));
}

/*
 * dbp_table_set_columns sets which columns say where a node is.
 */
void
dbp_table_set_columns(HierTable *table, List *key, List *parent)
{
	Relation	rel = table->rel;

	table->key = key;
	table->parent = parent;
	table->n = list_length(key);
	for (int i = 0; i < table->n; i++)
	{
		table->key_att[i] = dbp_column_number(rel, list_nth(key, i));
		table->parent_att[i] = dbp_column_number(rel, list_nth(parent, i));
		if (table->key_att[i] == table->parent_att[i] && table->nscope == i)
			table->nscope++;
	}
	dbp_key_type(&table->type, rel, table->key_att, table->n);
}

/*
 * dbp_table_find_columns does so for a table that need not be a hierarchy of
 * ours, and raises what dbp_hier_resolve_columns does; key is NIL for the
 * primary key.
 */
void
dbp_table_find_columns(HierTable *table, List *key, List *parent)
{
	HierSpec	spec = {.kind = HIER_TREE,.key = key,.parent = parent};

	dbp_hier_resolve_columns(table->rel, &spec, NIL);
	dbp_table_set_columns(table, spec.key, spec.parent);
}

/*
 * dbp_table_require_all_rows raises 42501 if row-level security may hide rows
 * from the current user.
 */
void
dbp_table_require_all_rows(Relation rel)
{
	if (check_enable_rls(RelationGetRelid(rel), InvalidOid, true) == RLS_ENABLED)
		ereport(ERROR,
				(errcode(ERRCODE_INSUFFICIENT_PRIVILEGE),
				 errmsg("row-level security may hide rows of table %s", dbp_relation_name(rel)),
				 errhint("Run this as a role that sees every row: the owner, or one with BYPASSRLS.")));
}

/* ---- parts of statements ------------------------------------------------- */

/*
 * dbp_sql_column returns a column, counted from 0, with its alias.
 */
char *
dbp_sql_column(HierColumns columns, int i)
{
	char	   *name = columns.names != NIL
		? pstrdup(quote_identifier(list_nth(columns.names, i)))
		: psprintf("%s%d", columns.prefix, i + 1);

	return columns.alias == NULL ? name : psprintf("%s.%s", columns.alias, name);
}

/*
 * dbp_sql_put_columns appends a list of columns number from to n - 1.
 */
void
dbp_sql_put_columns(StringInfo sql, HierColumns columns, int from, int n)
{
	for (int i = from; i < n; i++)
		appendStringInfo(sql, "%s%s", i > from ? ", " : "", dbp_sql_column(columns, i));
}

/*
 * dbp_sql_put_renamed appends a list of columns under other names.
 */
void
dbp_sql_put_renamed(StringInfo sql, HierColumns columns, HierColumns to, int n)
{
	for (int i = 0; i < n; i++)
		appendStringInfo(sql, "%s%s AS %s", i > 0 ? ", " : "", dbp_sql_column(columns, i),
						 dbp_sql_column(to, i));
}

/*
 * dbp_sql_put_equal appends a = b for values of a type.
 */
void
dbp_sql_put_equal(StringInfo sql, Oid type, const char *a, const char *b)
{
	generate_operator_clause(sql, a, type, lookup_type_cache(type, TYPECACHE_EQ_OPR)->eq_opr,
							 b, type);
}

/*
 * dbp_sql_put_match appends the condition that two keys are the same.
 */
void
dbp_sql_put_match(StringInfo sql, HierKeyType *type, HierColumns a, HierColumns b)
{
	for (int i = 0; i < type->n; i++)
	{
		if (i > 0)
			appendStringInfoString(sql, " AND ");
		dbp_sql_put_equal(sql, type->col[i].type, dbp_sql_column(a, i), dbp_sql_column(b, i));
	}
}

/*
 * dbp_sql_put_differ appends the condition that values of n types differ; two
 * NULLs do not.
 */
void
dbp_sql_put_differ(StringInfo sql, const Oid *types, int n, HierColumns a, HierColumns b)
{
	appendStringInfoChar(sql, '(');
	for (int i = 0; i < n; i++)
	{
		char	   *left = dbp_sql_column(a, i);
		char	   *right = dbp_sql_column(b, i);

		appendStringInfoString(sql, i > 0 ? " OR (" : "(");
		dbp_sql_put_equal(sql, types[i], left, right);
		appendStringInfo(sql, ") IS NOT TRUE AND (%s IS NOT NULL OR %s IS NOT NULL)",
						 left, right);
	}
	appendStringInfoChar(sql, ')');
}

/*
 * dbp_sql_put_assign appends what follows SET, for columns from number from on.
 */
void
dbp_sql_put_assign(StringInfo sql, List *names, HierColumns values, int from)
{
	for (int i = from; i < list_length(names); i++)
		appendStringInfo(sql, "%s%s = %s", i > from ? ", " : "",
						 quote_identifier(list_nth(names, i)), dbp_sql_column(values, i));
}

/*
 * dbp_sql_scan calls row for each row of a query, in a context that is reset.
 */
void
dbp_sql_scan(const char *sql, int nparams, const DbpParam *params, HierScanRow row, void *arg)
{
	MemoryContext row_cxt = AllocSetContextCreate(CurrentMemoryContext, "dbpatterns scan row",
												  ALLOCSET_DEFAULT_SIZES);
	Oid			types[MAX_PARAMS];
	Datum		args[MAX_PARAMS];
	char		nulls[MAX_PARAMS];
	Portal		portal;
	Datum	   *values;
	bool	   *isnull;

	Assert(nparams <= MAX_PARAMS);
	for (int i = 0; i < nparams; i++)
	{
		types[i] = params[i].type;
		args[i] = params[i].value;
		nulls[i] = params[i].isnull ? 'n' : ' ';
	}
	portal = SPI_cursor_open_with_args(NULL, sql, nparams, types, args, nulls, false, 0);
	if (portal == NULL)
		elog(ERROR, "SPI failed for \"%s\": %s", sql, SPI_result_code_string(SPI_result));
	values = palloc(sizeof(Datum) * portal->tupDesc->natts);
	isnull = palloc(sizeof(bool) * portal->tupDesc->natts);
	for (;;)
	{
		uint64		n;

		SPI_cursor_fetch(portal, true, FETCH_ROWS);
		n = SPI_processed;
		for (uint64 i = 0; i < n; i++)
		{
			MemoryContext oldcxt = MemoryContextSwitchTo(row_cxt);

			heap_deform_tuple(SPI_tuptable->vals[i], SPI_tuptable->tupdesc, values, isnull);
			row(values, isnull, arg);
			MemoryContextSwitchTo(oldcxt);
			MemoryContextReset(row_cxt);
		}
		SPI_freetuptable(SPI_tuptable);
		CHECK_FOR_INTERRUPTS();
		if (n == 0)
			break;
	}
	SPI_cursor_close(portal);
	MemoryContextDelete(row_cxt);
}

/* ---- typed rows ---------------------------------------------------------- */

/*
 * dbp_rows_create makes an empty set of rows, whose columns are set next.
 */
HierRows *
dbp_rows_create(int ncolumns)
{
	HierRows   *rows = palloc0(sizeof(HierRows));

	rows->desc = CreateTemplateTupleDesc(ncolumns);
	rows->store = tuplestore_begin_heap(false, false, work_mem);
	return rows;
}

/*
 * dbp_rows_column sets a column, counted from 0.
 */
void
dbp_rows_column(HierRows *rows, int column, const char *column_name, Oid type, int32 typmod,
				Oid collation)
{
	TupleDescInitEntry(rows->desc, column + 1, column_name, type, typmod, 0);
	TupleDescInitEntryCollation(rows->desc, column + 1, collation);
}

/*
 * dbp_rows_key sets the columns of a key, from number column on: prefix and 1,
 * 2 and so on.
 */
void
dbp_rows_key(HierRows *rows, int column, const char *prefix, HierKeyType *type)
{
	for (int i = 0; i < type->n; i++)
		dbp_rows_column(rows, column + i, psprintf("%s%d", prefix, i + 1), type->col[i].type,
						-1, type->col[i].collation);
}

/*
 * dbp_rows_put adds a row.
 */
void
dbp_rows_put(HierRows *rows, Datum *values, bool *isnull)
{
	tuplestore_putvalues(rows->store, rows->desc, values, isnull);
	rows->n++;
}

static uint64
query_rows(HierRows *rows, const char *sql, int nparams, const DbpParam *params,
		   uint64 (*query) (const char *, int, const DbpParam *))
{
	EphemeralNamedRelation enr = palloc0(sizeof(EphemeralNamedRelationData));
	uint64		result;
	int			rc;

	enr->md.name = HIER_ROWS;
	enr->md.tupdesc = rows->desc;
	enr->md.enrtype = ENR_NAMED_TUPLESTORE;
	enr->md.enrtuples = rows->n;
	enr->reldata = rows->store;
	rc = SPI_register_relation(enr);
	if (rc != SPI_OK_REL_REGISTER)
		elog(ERROR, "SPI_register_relation failed: %s", SPI_result_code_string(rc));
	result = query(sql, nparams, params);
	SPI_unregister_relation(HIER_ROWS);
	return result;
}

/*
 * dbp_rows_query runs a statement that can read the rows as HIER_ROWS.  The
 * caller has connected to SPI.
 */
uint64
dbp_rows_query(HierRows *rows, const char *sql, int nparams, const DbpParam *params)
{
	return query_rows(rows, sql, nparams, params, dbp_sql_query);
}

/*
 * dbp_rows_query_latest sees all that is committed now, whatever snapshot the
 * transaction has.
 */
uint64
dbp_rows_query_latest(HierRows *rows, const char *sql, int nparams, const DbpParam *params)
{
	return query_rows(rows, sql, nparams, params, dbp_sql_query_latest);
}

/*
 * dbp_rows_rescan lets the rows be read from the first on, after statements
 * that have read them.
 */
void
dbp_rows_rescan(HierRows *rows)
{
	tuplestore_select_read_pointer(rows->store, 0);
	tuplestore_rescan(rows->store);
}

/*
 * dbp_rows_free frees the rows.
 */
void
dbp_rows_free(HierRows *rows)
{
	tuplestore_end(rows->store);
	pfree(rows);
}
