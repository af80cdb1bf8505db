/*-------------------------------------------------------------------------
 *
 * past.c
 *	  One row's past: its history, its restoration, its erasure; and views
 *	  that show the past of whole tables.
 *
 * A row is named by its primary key, in a JSON object.  A version belongs to
 * the key it had: where a key was changed, the earlier versions are found under
 * the earlier one.
 *
 * What reads and restores runs with the rights of the caller.  It does not call the
 * functions of the table: their owner may have put others in their place.
 *
 * Copyright (c) 2026, dbpatterns contributors
 *
 * src/versioning/past.c
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "access/table.h"
#include "access/xact.h"
#include "catalog/namespace.h"
#include "catalog/pg_class.h"
#include "catalog/pg_type.h"
#include "core/append.h"
#include "core/names.h"
#include "core/owner.h"
#include "core/sql.h"
#include "core/target.h"
#include "core/version.h"
#include "funcapi.h"
#include "miscadmin.h"
#include "utils/builtins.h"
#include "utils/fmgrprotos.h"
#include "utils/jsonb.h"
#include "utils/lsyscache.h"
#include "utils/rel.h"
#include "utils/timestamp.h"
#include "versioning/versioning.h"

PG_FUNCTION_INFO_V1(dbpatterns_row_history);
PG_FUNCTION_INFO_V1(dbpatterns_restore_as_of);
PG_FUNCTION_INFO_V1(dbpatterns_history_erase);
PG_FUNCTION_INFO_V1(dbpatterns_versioning_views);

/* A row of a versioned table. */
typedef struct Subject
{
	char	   *base;			/* names */
	char	   *history;
	char	   *from;			/* FROM list item k: the key */
	char	   *same_key;		/* condition that joins x to k */
	char	   *versions;		/* query of all versions */
	Oid			baseid;
	Oid			historyid;
	Oid			owner;
	TupleDesc	desc;
	List	   *key;
	VersioningOptions options;
} Subject;

static void
join_key(Subject *subject)
{
	StringInfoData condition;
	ListCell   *lc;

	initStringInfo(&condition);
	foreach(lc, subject->key)
	{
		const char *column = quote_identifier(lfirst(lc));
		Oid			type = get_atttype(subject->baseid, get_attnum(subject->baseid, lfirst(lc)));

		appendStringInfo(&condition, "%sx.%s %s k.%s", condition.len > 0 ? " AND " : "",
						 column, dbp_equality_operator(type), column);
	}
	subject->same_key = condition.data;
}

/*
 * read_subject finds the row that the first two arguments name, or raises.
 */
static void
read_subject(FunctionCallInfo fcinfo, Subject *subject)
{
	Relation	base;

	dbp_require_argument(fcinfo, 0, "target", "Name a versioned table.");
	dbp_require_argument(fcinfo, 1, "key", "Give the row's primary key in a JSON object.");
	subject->baseid = PG_GETARG_OID(0);
	subject->base = dbp_relation_name_by_oid(subject->baseid);
	dbp_check_version();
	base = table_open(subject->baseid, AccessShareLock);
	if (!dbp_versioning_options(base, &subject->options))
		ereport(ERROR,
				(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
				 errmsg("table %s is not versioned", subject->base),
				 errhint("Call dbpatterns.versioning_enable for it.")));
	subject->historyid = dbp_versioning_history(&subject->options);
	if (!OidIsValid(subject->historyid))
		ereport(ERROR,
				(errcode(ERRCODE_UNDEFINED_TABLE),
				 errmsg("history %s of table %s does not exist", subject->options.history,
						subject->base),
				 errhint("Restore it, or call dbpatterns.versioning_disable for the table.")));
	subject->history = subject->options.history;
	subject->owner = base->rd_rel->relowner;
	subject->desc = CreateTupleDescCopyConstr(RelationGetDescr(base));
	subject->key = dbp_versioning_key(base);
	if (subject->key == NIL)
		ereport(ERROR,
				(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
				 errmsg("table %s has no primary key", subject->base),
				 errhint("Without one a row cannot be told from others; read the functions of the table.")));
	dbp_require_key(fcinfo, 1, "key", subject->base, subject->key);
	join_key(subject);
	subject->versions = dbp_versioning_all_query(base, subject->historyid, &subject->options);
	subject->from = psprintf("pg_catalog.jsonb_populate_record(NULL::%s, $1) k", subject->base);
	table_close(base, NoLock);
}

static char *
function_of(const Subject *subject, const char *what)
{
	return quote_qualified_identifier(get_namespace_name(get_rel_namespace(subject->baseid)),
									  dbp_reader_name(get_rel_name(subject->baseid),
													  what));
}

/* ---- history of a row ------------------------------------------------------ */

/* What a row's image does not show: the period and columns without a history. */
static char *
left_out(const Subject *subject)
{
	List	   *names = lcons(subject->options.period, list_copy(subject->options.exclude));
	StringInfoData out;
	ListCell   *lc;

	initStringInfo(&out);
	foreach(lc, names)
		appendStringInfo(&out, "%s%s", out.len > 0 ? ", " : "",
						 quote_literal_cstr(lfirst(lc)));
	return psprintf("ARRAY[%s]::pg_catalog.text[]", out.data);
}

/*
 * row_history(target regclass, key jsonb) returns what became of one row: period, op
 * ('I', 'U' or 'D'), the row, and the columns that differ from the version before.
 *
 * key: values of the primary key.  A deletion is a row of its own, from when the row
 * went until it came back; its row is NULL.  Columns without a history are not shown.
 *
 * Raises 22004 (an argument is NULL), 42P01, 55000 (not versioned, no primary key),
 * 22023 (not a key), 42501 (no right to read table or history).  Locks ACCESS SHARE.
 * Runs as the caller.
 */
Datum
dbpatterns_row_history(PG_FUNCTION_ARGS)
{
	ReturnSetInfo *rsinfo = (ReturnSetInfo *) fcinfo->resultinfo;
	Subject		subject;
	DbpOwnerScope scope;
	DbpParam	param;
	const char *period;
	uint64		rows;

	read_subject(fcinfo, &subject);
	period = quote_identifier(subject.options.period);
	param = DBP_PARAM(JSONBOID, PG_GETARG_DATUM(1));
	InitMaterializedSRF(fcinfo, 0);
	SPI_connect();
	dbp_enter_caller(&scope);
	rows = dbp_sql_query(psprintf("WITH v AS (SELECT x.%s AS p, dbpatterns.row_to_jsonb(x.*) - %s AS r"
								  " FROM (%s) x, %s WHERE %s),"
								  " w AS (SELECT p, r, lag(p) OVER o AS lp, lag(r) OVER o AS lr,"
								  " lead(p) OVER o AS np FROM v"
								  " WINDOW o AS (ORDER BY lower(p) NULLS FIRST, upper(p) NULLS LAST))"
								  " SELECT e.* FROM w, LATERAL ("
								  " SELECT p, CASE WHEN upper(lp) = lower(p) THEN 'U' ELSE 'I' END, r,"
								  "  CASE WHEN upper(lp) = lower(p) THEN"
								  "  (SELECT coalesce(array_agg(c.key ORDER BY c.key), '{}') FROM jsonb_each(r) c"
								  "   WHERE c.value IS DISTINCT FROM lr->c.key) END"
								  " UNION ALL"
								  " SELECT tstzrange(upper(p), lower(np)), 'D', NULL, NULL"
								  "  WHERE NOT upper_inf(p) AND upper(p) IS DISTINCT FROM lower(np)) e"
								  " ORDER BY 1",
								  period, left_out(&subject), subject.versions,
								  subject.from, subject.same_key), 1, &param);
	dbp_leave_owner(&scope);
	for (uint64 i = 0; i < rows; i++)
		tuplestore_puttuple(rsinfo->setResult, SPI_tuptable->vals[i]);
	SPI_finish();
	PG_RETURN_NULL();
}

/* ---- restoration ----------------------------------------------------------- */

/*
 * list_columns lists columns that a restored row gets, with a prefix: for an update
 * those that are not of the key.
 */
static char *
list_columns(const Subject *subject, const char *prefix, bool update)
{
	StringInfoData out;

	initStringInfo(&out);
	for (int i = 0; i < subject->desc->natts; i++)
	{
		Form_pg_attribute att = TupleDescAttr(subject->desc, i);
		const char *name = NameStr(att->attname);

		if (att->attisdropped || att->attgenerated != '\0' ||
			strcmp(name, subject->options.period) == 0 ||
			dbp_list_has_name(subject->options.exclude, name) ||
			(update && (dbp_list_has_name(subject->key, name) ||
						att->attidentity == ATTRIBUTE_IDENTITY_ALWAYS)))
			continue;
		appendStringInfo(&out, "%s%s%s", out.len > 0 ? ", " : "", prefix,
						 quote_identifier(name));
	}
	return out.data;
}

/*
 * restore_as_of(target regclass, key jsonb, at timestamptz) makes one row what it was
 * at a time, and returns how many rows it changed: 0 if there was no such row then.
 *
 * key: values of the primary key.  A row that is gone is inserted, one that is there
 * is updated; columns without a history keep their value.  That is a change like
 * any other: it makes a version, triggers fire, constraints hold.
 *
 * Raises 22004 (an argument is NULL), 42P01, 55000 (not versioned, no primary key),
 * 22023 (not a key), 42501 (no right to read the history or to change the table), and what
 * an INSERT or UPDATE raises, such as 23505.  Locks as those do.  Runs as the caller.
 */
Datum
dbpatterns_restore_as_of(PG_FUNCTION_ARGS)
{
	Subject		subject;
	DbpOwnerScope scope;
	DbpParam	params[2];
	char	   *then;
	char	   *columns;
	uint64		rows = 0;

	dbp_require_argument(fcinfo, 2, "at", "Give the time to go back to.");
	read_subject(fcinfo, &subject);
	params[0] = DBP_PARAM(JSONBOID, PG_GETARG_DATUM(1));
	params[1] = DBP_PARAM(TIMESTAMPTZOID, PG_GETARG_DATUM(2));
	then = psprintf("SELECT x.* FROM (%s) x, %s WHERE x.%s @> $2 AND %s", subject.versions,
					subject.from, quote_identifier(subject.options.period), subject.same_key);
	columns = list_columns(&subject, "", true);

	SPI_connect();
	dbp_enter_caller(&scope);
	if (columns[0] != '\0')
		rows = dbp_sql_query(psprintf("UPDATE %s x SET (%s) = ROW(%s) FROM (%s) k WHERE %s",
									  subject.base, columns, list_columns(&subject, "k.", true),
									  then, subject.same_key), 2, params);
	if (rows == 0 &&
		dbp_sql_query(psprintf("SELECT FROM %s x, %s WHERE %s AND $2 IS NOT NULL", subject.base,
							   subject.from, subject.same_key), 2, params) == 0)
		rows = dbp_sql_query(psprintf("INSERT INTO %s (%s) OVERRIDING SYSTEM VALUE"
									  " SELECT %s FROM (%s) k", subject.base,
									  list_columns(&subject, "", false),
									  list_columns(&subject, "k.", false), then), 2, params);
	dbp_leave_owner(&scope);
	SPI_finish();
	PG_RETURN_INT64(rows);
}

/* ---- erasure --------------------------------------------------------------- */

/*
 * history_erase(target regclass, key jsonb, reason text) removes the old versions of one
 * row for good, and returns how many; _dbpatterns.versioning_erasure keeps who did
 * that, when, why and for how many versions, but not the key.
 *
 * The current row, if there is one, stays: delete it first to leave nothing.
 *
 * Raises 22004 (an argument is NULL), 22023 (empty reason, not a key), 42P01, 55000 (not
 * versioned, no primary key), 42501 (not the owner).  Locks ROW EXCLUSIVE on the
 * history.  Runs as the owner.  A second call finds nothing.
 */
Datum
dbpatterns_history_erase(PG_FUNCTION_ARGS)
{
	Subject		subject;
	DbpOwnerScope scope;
	DbpParam	params[3];
	uint64		rows;

	dbp_require_words(fcinfo, 2, "reason", "Say why, for the record.");
	read_subject(fcinfo, &subject);
	dbp_require_owner(subject.baseid);
	params[0] = DBP_PARAM(JSONBOID, PG_GETARG_DATUM(1));

	SPI_connect();
	dbp_enter_owner(&scope, subject.owner);
	rows = dbp_sql_query(psprintf("DELETE FROM %s x USING %s WHERE %s", subject.history,
								  subject.from, subject.same_key), 1, params);
	dbp_leave_owner(&scope);

	params[0] = DBP_PARAM(TEXTOID, CStringGetTextDatum(subject.base));
	params[1] = DBP_PARAM(TEXTOID, PG_GETARG_DATUM(2));
	params[2] = DBP_PARAM(INT8OID, Int64GetDatum(rows));
	dbp_enter_owner(&scope, dbp_relation_owner(dbp_own_relation("versioning_erasure")));
	dbp_sql_query("INSERT INTO _dbpatterns.versioning_erasure (target, reason, versions)"
				  " VALUES ($1, $2, $3)", 3, params);
	dbp_leave_owner(&scope);
	SPI_finish();
	PG_RETURN_INT64(rows);
}

/* ---- views ----------------------------------------------------------------- */

/*
 * all_versioned returns the versioned tables that the current user may alter.
 */
static List *
all_versioned(void)
{
	DbpParam	param = DBP_PARAM(NAMEOID, CStringGetDatum(GetUserNameFromId(GetUserId(), false)));
	DbpOwnerScope scope;
	List	   *tables = NIL;
	uint64		rows;

	dbp_enter_owner(&scope, dbp_relation_owner(dbp_own_relation("versioning")));
	rows = dbp_sql_query("SELECT v.target::pg_catalog.oid FROM _dbpatterns.versioning v"
						 " JOIN pg_catalog.pg_class c ON c.oid OPERATOR(pg_catalog.=) v.target"
						 " WHERE pg_catalog.pg_has_role($1, c.relowner, 'USAGE')"
						 " ORDER BY v.target::pg_catalog.regclass::pg_catalog.text",
						 1, &param);
	dbp_leave_owner(&scope);
	for (uint64 i = 0; i < rows; i++)
		tables = lappend_oid(tables, DatumGetObjectId(dbp_sql_value(i, 0, NULL)));
	return tables;
}

static void
make_view(Oid baseid, const char *schema)
{
	Relation	base = table_open(baseid, AccessShareLock);
	VersioningOptions options;
	Subject		subject = {.baseid = baseid};
	char	   *view = quote_qualified_identifier(schema, RelationGetRelationName(base));
	bool		versioned = dbp_versioning_options(base, &options);

	if (!versioned)
		ereport(ERROR,
				(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
				 errmsg("table %s is not versioned", dbp_relation_name(base)),
				 errhint("Call dbpatterns.versioning_enable for it.")));
	table_close(base, NoLock);
	dbp_sql_command("CREATE OR REPLACE VIEW %s WITH (security_invoker = true) AS"
					" SELECT * FROM %s(dbpatterns.as_of())", view,
					function_of(&subject, "as_of"));
}

/*
 * versioning_views(schema name, targets regclass[]) makes in a schema, for each versioned
 * table, a view of its name that shows it at the time in dbpatterns.as_of, and returns
 * how many.  A session that puts the schema first in its search_path reads the past with
 * unchanged queries.
 *
 * schema: created if it does not exist.  targets: NULL for all versioned tables that the
 * caller may alter.  Views belong to the caller and check the rights of who reads.
 *
 * Raises 22004 (schema is NULL), 55000 (not versioned), 42501 (no right to create),
 * 42809 (another relation has the name), 42P16 (a view of that name has other columns).
 * Locks ACCESS EXCLUSIVE on views that are replaced.  Runs as the caller.  A second
 * call adds the columns that tables got since.
 */
Datum
dbpatterns_versioning_views(PG_FUNCTION_ARGS)
{
	DbpOwnerScope scope;
	List	   *tables = NIL;
	char	   *schema;
	ListCell   *lc;

	dbp_require_argument(fcinfo, 0, "schema", "Name a schema for the views.");
	schema = NameStr(*PG_GETARG_NAME(0));
	dbp_check_version();
	SPI_connect();
	if (PG_ARGISNULL(1))
		tables = all_versioned();
	else
	{
		Datum	   *values;
		bool	   *isnull;
		int			n;

		deconstruct_array(PG_GETARG_ARRAYTYPE_P(1), REGCLASSOID, sizeof(Oid), true, TYPALIGN_INT,
						  &values, &isnull, &n);
		for (int i = 0; i < n; i++)
		{
			if (isnull[i])
				ereport(ERROR,
						(errcode(ERRCODE_NULL_VALUE_NOT_ALLOWED),
						 errmsg("argument \"targets\" must not contain NULL"),
						 errhint("Name versioned tables only.")));
			tables = list_append_unique_oid(tables, DatumGetObjectId(values[i]));
		}
	}
	dbp_enter_caller(&scope);
	if (!OidIsValid(get_namespace_oid(schema, true)))
		dbp_sql_command("CREATE SCHEMA %s", quote_identifier(schema));
	foreach(lc, tables)
		make_view(lfirst_oid(lc), schema);
	dbp_leave_owner(&scope);
	SPI_finish();
	PG_RETURN_INT32(list_length(tables));
}
