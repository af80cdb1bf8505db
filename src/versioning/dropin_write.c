/*-------------------------------------------------------------------------
 *
 * dropin_write.c
 *	  Rows of the history of a versioning trigger.
 *
 * A history that is a plain table takes its rows without SPI.  Any other, and any
 * row that would violate a NOT NULL, takes them by a kept INSERT of the columns
 * that both tables have, so that the server computes, routes and refuses.
 *
 * Where the history holds the current versions, too, a version ends by an UPDATE
 * of its row there.  It is found by the primary key and the period, or, without
 * a key, by all its columns, compared bit by bit: some types have no equality.
 * A version that the history lacks, because it is older than the trigger, is
 * appended when it ends.
 *
 * Copyright (c) 2026, dbpatterns contributors
 *
 * src/versioning/dropin_write.c
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "access/htup_details.h"
#include "catalog/pg_operator.h"
#include "core/names.h"
#include "core/owner.h"
#include "core/sql.h"
#include "executor/tuptable.h"
#include "miscadmin.h"
#include "tcop/utility.h"
#include "utils/acl.h"
#include "utils/builtins.h"
#include "utils/lsyscache.h"
#include "utils/syscache.h"
#include "versioning/dropin.h"

/* A row on its way into the history. */
typedef struct Copy
{
	const DropinHistory *history;
	const DropinTable *table;
	const DropinRow *row;
	Datum		period;
} Copy;

static Datum
copied(const Copy *copy, int i, bool *isnull)
{
	AttrNumber	from = copy->history->from[i];

	if (from == copy->table->period_no)
	{
		*isnull = false;
		return copy->period;
	}
	*isnull = copy->row->isnull[from - 1];
	return copy->row->values[from - 1];
}

static void
fill_slot(TupleTableSlot *slot, int row, void *arg)
{
	const Copy *copy = arg;
	const DropinHistory *history = copy->history;

	memset(slot->tts_isnull, true, sizeof(bool) * slot->tts_tupleDescriptor->natts);
	for (int i = 0; i < history->ncolumns; i++)
	{
		int			to = history->to[i] - 1;

		slot->tts_values[to] = copied(copy, i, &slot->tts_isnull[to]);
	}
}

/* ---- by SPI ----------------------------------------------------------- */

static void
enter(DropinHistory *history, DbpOwnerScope *scope)
{
	if (history->as_owner)
		dbp_enter_owner(scope, history->owner);
	else
		dbp_enter_caller(scope);
	SPI_connect();
}

static void
leave(DbpOwnerScope *scope)
{
	SPI_finish();
	dbp_leave_owner(scope);
}

static SPIPlanPtr
prepare(const DropinHistory *history, const char *sql, Oid last)
{
	int			n = history->ncolumns;
	Oid		   *types = palloc(sizeof(Oid) * (n + 1));
	SPIPlanPtr	plan;

	memcpy(types, history->types, sizeof(Oid) * n);
	types[n] = last;
	plan = dbp_sql_prepare(sql, OidIsValid(last) ? n + 1 : n, types, 0);
	SPI_keepplan(plan);
	return plan;
}

static uint64
execute(SPIPlanPtr plan, Datum *values, char *nulls)
{
	int			rc = SPI_execute_plan(plan, values, nulls, false, 0);

	if (rc < 0)
		elog(ERROR, "writing a history failed: %s", SPI_result_code_string(rc));
	return SPI_processed;
}

static char *
column_name(const DropinHistory *history, int i)
{
	return pstrdup(quote_identifier(get_attname(history->relid, history->to[i], false)));
}

static SPIPlanPtr
prepare_insert(DropinHistory *history)
{
	StringInfoData columns;
	StringInfoData params;

	initStringInfo(&columns);
	initStringInfo(&params);
	for (int i = 0; i < history->ncolumns; i++)
	{
		appendStringInfo(&columns, "%s%s", i > 0 ? ", " : "", column_name(history, i));
		appendStringInfo(&params, "%s$%d", i > 0 ? ", " : "", i + 1);
	}
	return prepare(history, psprintf("INSERT INTO %s (%s) %sVALUES (%s)", history->name,
									 columns.data,
									 history->overriding ? "OVERRIDING SYSTEM VALUE " : "",
									 params.data), InvalidOid);
}

static void
insert_by_plan(DropinHistory *history, const Copy *copy)
{
	Datum	   *values = palloc(sizeof(Datum) * history->ncolumns);
	char	   *nulls = palloc(history->ncolumns);
	DbpOwnerScope scope;

	for (int i = 0; i < history->ncolumns; i++)
	{
		bool		isnull;

		values[i] = copied(copy, i, &isnull);
		nulls[i] = isnull ? 'n' : ' ';
	}
	enter(history, &scope);
	if (history->insert == NULL)
		history->insert = prepare_insert(history);
	(void) execute(history->insert, values, nulls);
	leave(&scope);
}

/* ---- ending a version ------------------------------------------------- */

static char *
equality(Oid type)
{
	Oid			opr = lookup_type_cache(type, TYPECACHE_EQ_OPR)->eq_opr;
	HeapTuple	tuple = SearchSysCache1(OPEROID, ObjectIdGetDatum(opr));
	Form_pg_operator form;
	char	   *text;

	if (!HeapTupleIsValid(tuple))
		elog(ERROR, "cache lookup failed for operator %u", opr);
	form = (Form_pg_operator) GETSTRUCT(tuple);
	text = psprintf("OPERATOR(%s.%s)",
					quote_identifier(get_namespace_name(form->oprnamespace)),
					NameStr(form->oprname));

	ReleaseSysCache(tuple);
	return text;
}

static void
add_key_match(StringInfo sql, const DropinHistory *history)
{
	for (int i = 0; i < history->nkey; i++)
	{
		int			k = history->key[i];

		appendStringInfo(sql, " AND h.%s %s $%d", column_name(history, k),
						 equality(history->types[k]), k + 1);
	}
}

static void
add_row_match(StringInfo sql, const DropinHistory *history, const DropinTable *table)
{
	StringInfoData columns;
	StringInfoData params;
	const char *comma = "";

	initStringInfo(&columns);
	initStringInfo(&params);
	for (int i = 0; i < history->ncolumns; i++)
	{
		if (history->computed[i] || history->from[i] == table->period_no)
			continue;
		appendStringInfo(&columns, "%sh.%s", comma, column_name(history, i));
		appendStringInfo(&params, "%s$%d", comma, i + 1);
		comma = ", ";
	}
	appendStringInfo(sql, " AND ROW(%s)::pg_catalog.record OPERATOR(pg_catalog.*=) "
					 "ROW(%s)::pg_catalog.record", columns.data, params.data);
}

/*
 * prepare_close makes the UPDATE that ends a version.  It takes one row even if
 * there are more alike, and gives it what the table has computed since.
 */
static SPIPlanPtr
prepare_close(DropinHistory *history, const DropinTable *table)
{
	StringInfoData sql;
	int			period = 0;
	char	   *name;

	while (history->from[period] != table->period_no)
		period++;
	name = column_name(history, period);

	initStringInfo(&sql);
	appendStringInfo(&sql, "WITH pick AS (SELECT h.tableoid AS t, h.ctid AS c FROM %s AS h "
					 "WHERE h.%s OPERATOR(pg_catalog.=) $%d", history->name, name, period + 1);
	if (history->nkey > 0)
		add_key_match(&sql, history);
	else
		add_row_match(&sql, history, table);
	appendStringInfo(&sql, " LIMIT 1) UPDATE %s AS h SET %s = $%d", history->name, name,
					 history->ncolumns + 1);
	for (int i = 0; i < history->ncolumns; i++)
	{
		if (history->computed[i])
			appendStringInfo(&sql, ", %s = $%d", column_name(history, i), i + 1);
	}
	appendStringInfoString(&sql, " FROM pick WHERE h.ctid OPERATOR(pg_catalog.=) pick.c "
						   "AND h.tableoid OPERATOR(pg_catalog.=) pick.t");
	return prepare(history, sql.data, history->types[period]);
}

static bool
close_by_plan(DropinHistory *history, const DropinTable *table, const DropinRow *row,
			  Datum period)
{
	int			n = history->ncolumns;
	Datum	   *values = palloc(sizeof(Datum) * (n + 1));
	char	   *nulls = palloc(n + 1);
	DbpOwnerScope scope;
	bool		found;

	for (int i = 0; i < n; i++)
	{
		values[i] = row->values[history->from[i] - 1];
		nulls[i] = row->isnull[history->from[i] - 1] ? 'n' : ' ';
	}
	values[n] = period;
	nulls[n] = ' ';
	enter(history, &scope);
	if (history->close == NULL)
		history->close = prepare_close(history, table);
	found = execute(history->close, values, nulls) > 0;
	leave(&scope);
	return found;
}

/* ---- for the trigger -------------------------------------------------- */

/*
 * lacks_needed tells whether a row has NULL where the history forbids it.
 */
static bool
lacks_needed(const DropinHistory *history, const DropinRow *row)
{
	for (int i = 0; i < history->ncolumns; i++)
	{
		if (history->needed[i] && row->isnull[history->from[i] - 1])
			return true;
	}
	return false;
}

/*
 * dbp_dropin_append adds a row of the table to the history, with that period.
 */
void
dbp_dropin_append(DropinHistory *history, DropinTable *table, const DropinRow *row,
				  Datum period)
{
	Copy		copy = {history, table, row, period};

	if (history->target == NULL || lacks_needed(history, row))
	{
		insert_by_plan(history, &copy);
		return;
	}
	if (!history->as_owner)
	{
		AclResult	result = pg_class_aclcheck(history->relid, GetUserId(), ACL_INSERT);

		if (result != ACLCHECK_OK)
			aclcheck_error(result, OBJECT_TABLE, get_rel_name(history->relid));
	}
	if (!history->temporary)
		PreventCommandIfReadOnly("INSERT");
	dbp_append(history->target, 0, 1, fill_slot, &copy);
}

/*
 * dbp_dropin_close ends the version that a row of the table is, in a history that
 * holds the current ones.
 */
void
dbp_dropin_close(DropinHistory *history, DropinTable *table, const DropinRow *row,
				 Datum period)
{
	if (!close_by_plan(history, table, row, period))
		dbp_dropin_append(history, table, row, period);
}
