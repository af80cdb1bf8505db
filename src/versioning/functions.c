/*-------------------------------------------------------------------------
 *
 * functions.c
 *	  The functions that read the past of a versioned table.
 *
 * <table>__versions() returns all versions, <table>__as_of(t) those of a time,
 * <table>__between(a, b) those of some time between.  They are SQL functions
 * that the planner inlines, so that conditions and joins reach the indexes of
 * both tables.
 *
 * Copyright (c) 2026, dbpatterns contributors
 *
 * src/versioning/functions.c
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "access/sysattr.h"
#include "access/table.h"
#include "compat/compat.h"
#include "core/names.h"
#include "optimizer/optimizer.h"
#include "utils/builtins.h"
#include "utils/lsyscache.h"
#include "utils/rel.h"
#include "utils/ruleutils.h"
#include "versioning/versioning.h"

static const char *const names[] = {"as_of", "between", "versions"};

const DbpReaders dbp_versioning_readers = {
	names, lengthof(names), "a versioned table", &dbp_versioning_silent
};

/* A function: %1$s stands for the period, qualified, where it is read. */
typedef struct Reader
{
	const char *name;
	const char *arguments;
	const char *base_condition; /* NULL: all rows; %s: the period */
	const char *history_condition;
	const char *comment;
} Reader;

#define AT(period) period " OPERATOR(pg_catalog.@>) $1"
#define DURING(period) \
	period " OPERATOR(pg_catalog.&&) pg_catalog.tstzrange($1, $2)"

/*
 * The end of a period is in the index of the history and decides about its
 * partition, hence the second condition.
 */
static const Reader readers[] = {
	{"as_of", "at timestamptz", AT("b.%1$s"),
		AT("h.%1$s") " AND pg_catalog.upper(h.%1$s) OPERATOR(pg_catalog.>) $1",
	"rows as they were at a time"},
	{"between", "from_time timestamptz, to_time timestamptz", DURING("b.%1$s"),
		DURING("h.%1$s") " AND pg_catalog.upper(h.%1$s) OPERATOR(pg_catalog.>) $1",
	"versions of rows that were current at some time from from_time up to, but not at, to_time"},
	{"versions", "", NULL, NULL, "all versions of rows, the current ones too"}, /* last */
};

/*
 * virtual_expression returns what a virtual column is computed from in the history,
 * NULL for another column, and where a column without a history has a part in it.
 */
static char *
virtual_expression(Relation base, Form_pg_attribute att, const VersioningOptions *options)
{
	TupleDesc	desc = RelationGetDescr(base);
	Bitmapset  *columns = NULL;
	Node	   *expr;

	if (att->attgenerated != ATTRIBUTE_GENERATED_VIRTUAL)
		return NULL;
	expr = TupleDescGetDefault(desc, att->attnum);
	pull_varattnos(expr, 1, &columns);
	for (int i = 0; i < desc->natts; i++)
	{
		if (bms_is_member(i + 1 - FirstLowInvalidHeapAttributeNumber, columns) &&
			!dbp_versioning_has_history(TupleDescAttr(desc, i), options))
			return NULL;
	}
	return deparse_expression(expr, deparse_context_for("h", RelationGetRelid(base)),
							  true, false);
}

/*
 * append_past appends how a column of the table is read from the history.
 */
static void
append_past(StringInfo sql, Relation base, Oid historyid, Form_pg_attribute att,
			const VersioningOptions *options)
{
	const char *type = format_type_extended(att->atttypid, att->atttypmod,
											FORMAT_TYPE_TYPEMOD_GIVEN | FORMAT_TYPE_FORCE_QUALIFY);
	AttrNumber	attno = get_attnum(historyid, NameStr(att->attname));
	char	   *virtual = virtual_expression(base, att, options);

	if (virtual != NULL)
		appendStringInfo(sql, "(%s)::%s", virtual, type);
	else if (!dbp_versioning_has_history(att, options) || attno == InvalidAttrNumber)
		appendStringInfo(sql, "NULL::%s", type);
	else if (get_atttype(historyid, attno) != att->atttypid)
		appendStringInfo(sql, "h.%s::%s", quote_identifier(NameStr(att->attname)), type);
	else
		appendStringInfo(sql, "h.%s", quote_identifier(NameStr(att->attname)));
}

static char *
reader_query(Relation base, Oid historyid, const VersioningOptions *options,
			 const Reader *reader)
{
	TupleDesc	desc = RelationGetDescr(base);
	const char *period = quote_identifier(options->period);
	StringInfoData now;
	StringInfoData past;

	initStringInfo(&now);
	initStringInfo(&past);
	for (int i = 0; i < desc->natts; i++)
	{
		Form_pg_attribute att = TupleDescAttr(desc, i);

		if (att->attisdropped)
			continue;
		appendStringInfo(&now, "%sb.%s", now.len > 0 ? ", " : "SELECT ",
						 quote_identifier(NameStr(att->attname)));
		appendStringInfoString(&past, past.len > 0 ? ", " : "SELECT ");
		append_past(&past, base, historyid, att, options);
	}
	appendStringInfo(&now, " FROM %s b", dbp_relation_name(base));
	appendStringInfo(&past, " FROM %s h", dbp_relation_name_by_oid(historyid));
	if (reader->base_condition != NULL)
	{
		appendStringInfoString(&now, " WHERE ");
		appendStringInfo(&now, reader->base_condition, period);
		appendStringInfoString(&past, " WHERE ");
		appendStringInfo(&past, reader->history_condition, period);
	}
	return psprintf("%s UNION ALL %s", now.data, past.data);
}

/*
 * dbp_versioning_all_query returns the query of <table>__versions, for those who would not
 * call what somebody may have put in its place.
 */
char *
dbp_versioning_all_query(Relation base, Oid historyid, const VersioningOptions *options)
{
	return reader_query(base, historyid, options, &readers[lengthof(readers) - 1]);
}

/*
 * dbp_versioning_make_functions creates the functions of a table, or brings them up to
 * date.  The caller is connected to SPI.
 */
void
dbp_versioning_make_functions(Oid baseid, Oid historyid, const VersioningOptions *options)
{
	Relation	base = table_open(baseid, AccessShareLock);

	for (int i = 0; i < lengthof(readers); i++)
		dbp_reader_make(&dbp_versioning_readers, base, readers[i].name, readers[i].arguments,
						reader_query(base, historyid, options, &readers[i]),
						readers[i].comment);
	table_close(base, NoLock);
}

/*
 * dbp_versioning_has_functions tells whether all of them are there.
 */
bool
dbp_versioning_has_functions(Oid baseid)
{
	for (int i = 0; i < lengthof(readers); i++)
	{
		if (!OidIsValid(dbp_reader_find(baseid, readers[i].name)))
			return false;
	}
	return true;
}
