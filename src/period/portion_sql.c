/*-------------------------------------------------------------------------
 *
 * portion_sql.c
 *	  The statements that edit portions.
 *
 * One locks the rows that have a part in the portion, in the order of key and
 * time.  One changes the rows that were locked: rows are trimmed, by UPDATE or
 * DELETE, before any leftover is inserted, so that no constraint has to be
 * deferred, and both are one statement, so that foreign keys and other triggers
 * after it see the result and not what is in between.
 *
 * Alias o is the row as it was, n the row that is changed.  Operators and
 * functions are qualified, so that search_path stays the caller's, for the
 * triggers of the table.
 *
 * Copyright (c) 2026, dbpatterns contributors
 *
 * src/period/portion_sql.c
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "catalog/pg_type.h"
#include "lib/stringinfo.h"
#include "period/portion.h"
#include "utils/builtins.h"

/* ---- pieces ---------------------------------------------------------------- */

/*
 * dbp_portion_period returns the period of a row, as a range.
 */
char *
dbp_portion_period(PortionTable *table, const char *alias)
{
	return dbp_period_expression(&table->options, table->range, alias);
}

/* The columns that hold the period, in an INSERT. */
static char *
period_columns(PortionTable *table)
{
	if (table->period != 0)
		return table->columns[table->period - 1];
	return psprintf("%s, %s", table->columns[table->from - 1], table->columns[table->upto - 1]);
}

static char *
from_value(PortionTable *table, const char *range)
{
	return psprintf(table->from_endless ? "COALESCE(pg_catalog.lower(%s), '-infinity')" :
					"pg_catalog.lower(%s)", range);
}

static char *
upto_value(PortionTable *table, const char *range)
{
	return psprintf(table->upto_endless ? "COALESCE(pg_catalog.upper(%s), 'infinity')" :
					"pg_catalog.upper(%s)", range);
}

/* What they get of a range. */
static char *
period_values(PortionTable *table, const char *range)
{
	if (table->period != 0)
		return pstrdup(range);
	return psprintf("%s, %s", from_value(table, range), upto_value(table, range));
}

/* The same, in an UPDATE. */
static char *
set_period(PortionTable *table, const char *range)
{
	if (table->period != 0)
		return psprintf("%s = %s", table->columns[table->period - 1], range);
	return psprintf("%s = %s, %s = %s",
					table->columns[table->from - 1], from_value(table, range),
					table->columns[table->upto - 1], upto_value(table, range));
}

/*
 * dbp_portion_key_condition returns that a row has the values of the key that the call
 * names, in parameters from number first on; empty if it names none.
 */
char *
dbp_portion_key_condition(PortionEdit *edit, const char *alias, int first)
{
	PortionTable *table = edit->table;
	StringInfoData sql;

	initStringInfo(&sql);
	for (int i = 0; i < table->nkey; i++)
	{
		int			att = table->key[i] - 1;

		if (edit->by[att])
			appendStringInfo(&sql, "%s%s.%s %s $%d", sql.len > 0 ? " AND " : "", alias,
							 table->columns[att], table->equal[i], first++);
	}
	return sql.data;
}

/*
 * dbp_portion_key_params sets the parameters for that, and returns how many.
 */
int
dbp_portion_key_params(PortionEdit *edit, DbpParam *params)
{
	PortionTable *table = edit->table;
	int			n = 0;

	for (int i = 0; i < table->nkey; i++)
	{
		int			att = table->key[i] - 1;

		if (edit->by[att])
			params[n++] = DBP_PARAM_OR_NULL(TupleDescAttr(table->desc, att)->atttypid,
											edit->key_values[att], false);
	}
	return n;
}

/* ---- locking --------------------------------------------------------------- */

/*
 * dbp_portion_lock_sql returns the query for the rows that have a part in the portion:
 * parameters are the portion, then the key.  lock: it locks them.
 */
char *
dbp_portion_lock_sql(PortionEdit *edit, bool lock)
{
	PortionTable *table = edit->table;
	char	   *by = dbp_portion_key_condition(edit, "o", 2);
	StringInfoData sql;

	initStringInfo(&sql);
	appendStringInfo(&sql, "SELECT pg_catalog.array_agg(l.tid), pg_catalog.array_agg(l.rel)"
					 " FROM (SELECT o.ctid AS tid, o.tableoid AS rel FROM %s AS o"
					 " WHERE %s OPERATOR(pg_catalog.&&) $1%s%s ORDER BY ",
					 table->name, dbp_portion_period(table, "o"),
					 by[0] != '\0' ? " AND " : "", by);
	for (int i = 0; i < table->nkey; i++)
		appendStringInfo(&sql, "o.%s, ", table->columns[table->key[i] - 1]);
	appendStringInfo(&sql, "o.%s%s) AS l",
					 table->columns[(table->period != 0 ? table->period : table->from) - 1],
					 lock ? " FOR UPDATE OF o" : "");
	return sql.data;
}

/* ---- writing --------------------------------------------------------------- */

/* Parameters of the statement that writes. */
#define TIDS	"$1"
#define RELS	"$2"
#define PORTION	"$3"
#define FIRST	4

/* FROM item o and, after it, how n is that row. */
static char *
locked_rows(PortionTable *table)
{
	if (table->partitioned)
		return psprintf("ROWS FROM (pg_catalog.unnest(" TIDS "), pg_catalog.unnest(" RELS "))"
						" AS l (tid, rel)"
						" JOIN %s AS o ON o.ctid OPERATOR(pg_catalog.=) l.tid"
						" AND o.tableoid OPERATOR(pg_catalog.=) l.rel", table->name);
	return psprintf("%s AS o", table->name);
}

static const char *
is_locked(PortionTable *table)
{
	/* Without partitions the second array is named only to be there. */
	return table->partitioned ? "true" :
		"o.ctid OPERATOR(pg_catalog.=) ANY (" TIDS ") AND " RELS " IS NOT NULL";
}

/* Of no use to an index: the row is found by its ctid. */
static char *
overlaps(PortionTable *table)
{
	return psprintf("(%s OPERATOR(pg_catalog.&&) " PORTION ") IS TRUE",
					dbp_portion_period(table, "o"));
}

/* What is left of the row o outside of the portion, as a multirange. */
static char *
rest_of(PortionTable *table, const char *period)
{
	return psprintf("%s(%s) OPERATOR(pg_catalog.-) %s(" PORTION ")", table->multirange_name,
					period, table->multirange_name);
}

static const char *
same_row(PortionTable *table, const char *tid, const char *rel)
{
	if (table->partitioned)
		return psprintf("n.ctid OPERATOR(pg_catalog.=) %s AND n.tableoid OPERATOR(pg_catalog.=) %s",
						tid, rel);
	return psprintf("n.ctid OPERATOR(pg_catalog.=) %s", tid);
}

/* A column that a leftover copies. */
static bool
is_copied(PortionTable *table, int att)
{
	Form_pg_attribute attribute = TupleDescAttr(table->desc, att);

	return !attribute->attisdropped && attribute->attgenerated == '\0' && !table->fresh[att] &&
		att + 1 != table->period && att + 1 != table->from && att + 1 != table->upto;
}

/* The columns of the old row that its leftovers need, named by their number. */
static char *
copied_columns(PortionTable *table, const char *format)
{
	StringInfoData sql;

	initStringInfo(&sql);
	for (int i = 0; i < table->desc->natts; i++)
	{
		if (!is_copied(table, i))
			continue;
		if (format == NULL)
			appendStringInfo(&sql, "%s, ", table->columns[i]);
		else
			appendStringInfo(&sql, format, table->columns[i], i + 1);
	}
	return sql.data;
}

static char *
plain_columns(PortionTable *table, const char *prefix)
{
	StringInfoData sql;

	initStringInfo(&sql);
	for (int i = 0; i < table->desc->natts; i++)
	{
		if (is_copied(table, i))
			appendStringInfo(&sql, "%s%d, ", prefix, i + 1);
	}
	return sql.data;
}

/* WITH item i: the leftovers, ranges r of rows in u. */
static void
put_leftovers(StringInfo sql, PortionTable *table, const char *source)
{
	appendStringInfo(sql, ", i AS (INSERT INTO %s (%s%s) OVERRIDING SYSTEM VALUE"
					 " SELECT %s%s FROM (%s) AS x)", table->name,
					 copied_columns(table, NULL), period_columns(table),
					 plain_columns(table, "x.c"), period_values(table, "x.r"), source);
}

/* What is set, as a list of columns and as a list of parameters. */
static void
list_set(PortionEdit *edit, StringInfo columns, StringInfo params, StringInfo assigned)
{
	PortionTable *table = edit->table;
	int			next = FIRST;

	for (int i = 0; i < table->desc->natts; i++)
	{
		if (!edit->set[i])
			continue;
		appendStringInfo(columns, "%so.%s", columns->len > 0 ? ", " : "", table->columns[i]);
		appendStringInfo(params, "%s$%d", params->len > 0 ? ", " : "", next);
		appendStringInfo(assigned, "%s = $%d, ", table->columns[i], next);
		next++;
	}
}

/* Rows whose values are these already stay as they are, uncut. */
static void
put_update(PortionEdit *edit, StringInfo sql)
{
	PortionTable *table = edit->table;
	char	   *period = dbp_portion_period(table, "o");
	StringInfoData columns;
	StringInfoData params;
	StringInfoData assigned;

	initStringInfo(&columns);
	initStringInfo(&params);
	initStringInfo(&assigned);
	list_set(edit, &columns, &params, &assigned);
	appendStringInfo(sql, "WITH u AS (UPDATE %s AS n SET %s%s FROM %s WHERE %s AND %s AND %s",
					 table->name, assigned.data,
					 set_period(table, psprintf("(%s OPERATOR(pg_catalog.*) " PORTION ")", period)),
					 locked_rows(table), is_locked(table),
					 same_row(table, "o.ctid", "o.tableoid"), overlaps(table));
	if (edit->verb != PORTION_DELETE)
		appendStringInfo(sql, " AND (ROW(%s)::pg_catalog.record OPERATOR(pg_catalog.*<>)"
						 " ROW(%s)::pg_catalog.record)", columns.data, params.data);
	appendStringInfo(sql, " RETURNING %s%s AS p%s)", copied_columns(table, "o.%s AS c%d, "), period,
					 edit->returning ? psprintf(", (n.*)::%s AS n", table->name) : "");
	put_leftovers(sql, table,
				  psprintf("SELECT u.*, pg_catalog.unnest(%s) AS r FROM u", rest_of(table, "u.p")));
}

/*
 * A row that sticks out of the portion is trimmed to the first part that is left, so that
 * what refers to it still does; the second one is a new row.
 */
static void
put_delete(PortionEdit *edit, StringInfo sql)
{
	PortionTable *table = edit->table;
	char	   *rest = rest_of(table, dbp_portion_period(table, "o"));
	char	   *found = psprintf("%s AND %s AND %s", is_locked(table),
								 same_row(table, "o.ctid", "o.tableoid"), overlaps(table));

	appendStringInfo(sql, "WITH u AS (UPDATE %s AS n SET %s FROM %s WHERE %s"
					 " AND NOT pg_catalog.isempty(%s) RETURNING %s%s AS rest)", table->name,
					 set_period(table, psprintf("(SELECT f FROM pg_catalog.unnest(%s) AS f LIMIT 1)",
												rest)),
					 locked_rows(table), found, rest, copied_columns(table, "o.%s AS c%d, "), rest);
	appendStringInfo(sql, ", d AS (DELETE FROM %s AS n USING %s WHERE %s"
					 " AND pg_catalog.isempty(%s) RETURNING 1)", table->name,
					 locked_rows(table), found, rest);
	put_leftovers(sql, table, "SELECT u.*, s.r FROM u, LATERAL"
				  " (SELECT f FROM pg_catalog.unnest(u.rest) AS f OFFSET 1) AS s (r)");
}

/* WITH item g: rows for what of the portion no row has. */
static void
put_gaps(PortionEdit *edit, StringInfo sql)
{
	PortionTable *table = edit->table;
	StringInfoData columns;
	StringInfoData params;
	int			next = FIRST;

	initStringInfo(&columns);
	initStringInfo(&params);
	for (int i = 0; i < table->desc->natts; i++)
	{
		if (!edit->set[i])
			continue;
		appendStringInfo(&columns, "%s, ", table->columns[i]);
		appendStringInfo(&params, "$%d, ", next++);
	}
	for (int i = 0; i < table->nkey; i++)
	{
		appendStringInfo(&columns, "%s, ", table->columns[table->key[i] - 1]);
		appendStringInfo(&params, "$%d, ", next++);
	}
	appendStringInfo(sql, ", g AS (INSERT INTO %s (%s%s) SELECT %s%s FROM"
					 " pg_catalog.unnest(%s(" PORTION ") OPERATOR(pg_catalog.-)"
					 " COALESCE((SELECT pg_catalog.range_agg(%s) FROM %s WHERE %s), %s()))"
					 " AS x (r) RETURNING 1)",
					 table->name, columns.data, period_columns(table), params.data,
					 period_values(table, "x.r"), table->multirange_name,
					 dbp_portion_period(table, "o"), locked_rows(table), is_locked(table),
					 table->multirange_name);
}

/*
 * dbp_portion_write_sql returns the statement that changes the locked rows.  Its result
 * is one row with their number, or the changed rows themselves.  Parameters: the rows
 * (tid[]), their tables (oid[]), the portion, what is set, and for an upsert the key.
 */
char *
dbp_portion_write_sql(PortionEdit *edit)
{
	StringInfoData sql;
	bool		sets = false;

	for (int i = 0; i < edit->table->desc->natts; i++)
		sets |= edit->set[i];
	initStringInfo(&sql);
	if (edit->verb == PORTION_DELETE)
		put_delete(edit, &sql);
	else if (edit->verb == PORTION_UPDATE || sets)
		put_update(edit, &sql);
	else
		appendStringInfoString(&sql, "WITH u AS (SELECT WHERE false)");
	if (edit->verb == PORTION_UPSERT)
		put_gaps(edit, &sql);
	if (edit->returning)
		appendStringInfoString(&sql, " SELECT u.n FROM u");
	else
		appendStringInfo(&sql, " SELECT (SELECT pg_catalog.count(*) FROM u)%s",
						 edit->verb == PORTION_DELETE ?
						 " OPERATOR(pg_catalog.+) (SELECT pg_catalog.count(*) FROM d)" :
						 edit->verb == PORTION_UPSERT ?
						 " OPERATOR(pg_catalog.+) (SELECT pg_catalog.count(*) FROM g)" : "");
	return sql.data;
}

/*
 * dbp_portion_write_params sets its parameters, and returns how many.
 */
int
dbp_portion_write_params(PortionEdit *edit, DbpParam *params)
{
	PortionTable *table = edit->table;
	int			n = 0;

	params[n++] = DBP_PARAM(TIDARRAYOID, edit->tids);
	params[n++] = DBP_PARAM(OIDARRAYOID, edit->rels);
	params[n++] = DBP_PARAM(table->range, edit->portion);
	for (int i = 0; i < table->desc->natts; i++)
	{
		if (edit->set[i])
			params[n++] = DBP_PARAM_OR_NULL(TupleDescAttr(table->desc, i)->atttypid,
											edit->values[i], edit->isnull[i]);
	}
	if (edit->verb == PORTION_UPSERT)
		n += dbp_portion_key_params(edit, params + n);
	return n;
}
