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
#include "catalog/pg_index.h"
#include "catalog/pg_operator.h"
#include "compat/compat.h"
#include "core/names.h"
#include "core/target.h"
#include "hierarchy/rows.h"
#include "miscadmin.h"
#include "utils/builtins.h"
#include "utils/lsyscache.h"
#include "utils/memutils.h"
#include "utils/relcache.h"
#include "utils/rls.h"
#include "utils/syscache.h"
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

	(void) dbp_relation_name_by_oid(relid); /* 42P01 instead of an internal error */
	rel = relation_open(relid, mode);
	dbp_require_target(rel, what);
	memset(table, 0, sizeof(*table));
	table->rel = rel;
	table->name = psprintf("%s%s", rel->rd_rel->relkind == RELKIND_PARTITIONED_TABLE
						   ? "" : "ONLY ", dbp_relation_name(rel));
}

/*
 * index_columns returns the names of an index's columns if it makes them
 * unique in all rows, else NIL.
 */
static List *
index_columns(Relation rel, Oid indexid)
{
	HeapTuple	tuple = SearchSysCache1(INDEXRELID, ObjectIdGetDatum(indexid));
	Form_pg_index index;
	List	   *names = NIL;

	if (!HeapTupleIsValid(tuple))
		elog(ERROR, "cache lookup failed for index %u", indexid);
	index = (Form_pg_index) GETSTRUCT(tuple);
	if (index->indisunique && index->indisvalid &&
		heap_attisnull(tuple, Anum_pg_index_indpred, NULL) &&
		heap_attisnull(tuple, Anum_pg_index_indexprs, NULL))
	{
		for (int i = 0; i < index->indnkeyatts; i++)
		{
			Form_pg_attribute att = TupleDescAttr(RelationGetDescr(rel),
												  index->indkey.values[i] - 1);

			names = lappend(names, pstrdup(NameStr(att->attname)));
		}
	}
	ReleaseSysCache(tuple);
	return names;
}

/*
 * key_columns returns the primary key's columns when asked is NIL, otherwise
 * asked, if it is unique; the scope of the parent's columns comes first.
 */
static List *
key_columns(Relation rel, List *asked)
{
	Oid			primary;
	ListCell   *lc;

	if (asked == NIL)
	{
		(void) RelationGetIndexList(rel);	/* finds the primary key, too */
		primary = RelationGetPrimaryKeyIndex(rel, true);
		if (!OidIsValid(primary))
			ereport(ERROR,
					(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
					 errmsg("table %s has no primary key", dbp_relation_name(rel)),
					 errhint("Name the columns of another unique key in argument \"key\".")));
		return index_columns(rel, primary);
	}
	foreach(lc, asked)
		(void) dbp_column_number(rel, lfirst(lc));
	foreach(lc, RelationGetIndexList(rel))
	{
		List	   *columns = index_columns(rel, lfirst_oid(lc));
		ListCell   *name;
		bool		all = list_length(columns) == list_length(asked);

		foreach(name, columns)
			all = all && dbp_list_has_name(asked, lfirst(name));
		if (all)
			return asked;
	}
	ereport(ERROR,
			(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
			 errmsg("the key columns of table %s are not unique", dbp_relation_name(rel)),
			 errhint("A node needs columns with a unique index that is not partial.")));
	return NIL;					/* keep the compiler quiet */
}

/*
 * same_order puts key columns that are parent columns, too, first and at the
 * same place; the others stay in their order.
 */
static List *
same_order(List *key, List *parent)
{
	List	   *result = NIL;
	ListCell   *lc;

	foreach(lc, parent)
	{
		if (dbp_list_has_name(key, lfirst(lc)))
			result = lappend(result, lfirst(lc));
	}
	foreach(lc, key)
	{
		if (!dbp_list_has_name(result, lfirst(lc)))
			result = lappend(result, lfirst(lc));
	}
	return result;
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
 * ours: key is NIL for the primary key.  55000 no primary key, 42703 no such
 * column, 22023 not unique or not as many parent columns, 42804 not of the
 * key's types, 42883.
 */
void
dbp_table_find_columns(HierTable *table, List *key, List *parent)
{
	Relation	rel = table->rel;
	HierKeyType parent_type;

	key = same_order(key_columns(rel, key), parent);
	parent = same_order(parent, key);
	if (list_length(key) != list_length(parent) || list_length(key) > HIER_MAX_KEY)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("the key of table %s has %d columns, \"parent\" names %d",
						dbp_relation_name(rel), list_length(key), list_length(parent)),
				 errhint("Name a parent column for each key column, at most %d in the same order.",
						 HIER_MAX_KEY)));
	dbp_table_set_columns(table, key, parent);
	if (table->nscope == table->n)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("key and parent of table %s are the same columns", dbp_relation_name(rel)),
				 errhint("Name the columns that hold the key of the node above.")));
	dbp_key_type(&parent_type, rel, table->parent_att, table->n);
	for (int i = 0; i < table->n; i++)
	{
		if (table->type.col[i].type != parent_type.col[i].type)
			ereport(ERROR,
					(errcode(ERRCODE_DATATYPE_MISMATCH),
					 errmsg("columns \"%s\" and \"%s\" of table %s are of different types",
							(char *) list_nth(table->key, i), (char *) list_nth(table->parent, i),
							dbp_relation_name(rel)),
					 errhint("Give the parent column the type of the key column, %s.",
							 format_type_be(table->type.col[i].type))));
	}
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
	TypeCacheEntry *cache = lookup_type_cache(type, TYPECACHE_EQ_OPR);
	HeapTuple	tuple = SearchSysCache1(OPEROID, ObjectIdGetDatum(cache->eq_opr));
	Form_pg_operator op;

	if (!HeapTupleIsValid(tuple))
		elog(ERROR, "cache lookup failed for operator %u", cache->eq_opr);
	op = (Form_pg_operator) GETSTRUCT(tuple);
	appendStringInfo(sql, "%s OPERATOR(%s.%s) %s", a,
					 quote_identifier(get_namespace_name(op->oprnamespace)),
					 NameStr(op->oprname), b);
	ReleaseSysCache(tuple);
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

/*
 * dbp_rows_query runs a statement that can read the rows as HIER_ROWS.  The
 * caller has connected to SPI.
 */
uint64
dbp_rows_query(HierRows *rows, const char *sql, int nparams, const DbpParam *params)
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
	result = dbp_sql_query(sql, nparams, params);
	SPI_unregister_relation(HIER_ROWS);
	return result;
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
