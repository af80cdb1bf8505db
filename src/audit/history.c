/*-------------------------------------------------------------------------
 *
 * history.c
 *	  What happened: the entries of a row, and changes column by column.
 *
 * Copyright (c) 2026, dbpatterns contributors
 *
 * src/audit/history.c
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "audit/audit.h"
#include "core/target.h"
#include "catalog/pg_type.h"
#include "funcapi.h"
#include "utils/array.h"
#include "utils/builtins.h"
#include "utils/rel.h"

PG_FUNCTION_INFO_V1(dbpatterns_audit_history);
PG_FUNCTION_INFO_V1(dbpatterns_audit_changes);

static const char table_query[] =
"SELECT " AUDIT_RECORD_COLUMNS " FROM _dbpatterns.audit_log e"
" WHERE e.shape = ANY ($1) AND e.xact_time >= $2 AND e.xact_time < $3"
" ORDER BY e.id";

static SPIPlanPtr table_plan = NULL;

/* What the two functions need per entry. */
typedef struct History
{
	ReturnSetInfo *result;
	AuditTrail *trail;
	AuditProbe *probes;			/* NULL: the whole table */
	AuditWho   *who;
} History;

#define HISTORY_COLUMNS		15
#define CHANGES_COLUMNS		11

static TimestampTz
time_argument(FunctionCallInfo fcinfo, int argno, TimestampTz otherwise)
{
	return PG_ARGISNULL(argno) ? otherwise : PG_GETARG_TIMESTAMPTZ(argno);
}

static void
set_image(Datum *values, bool *isnull, int column, Jsonb *image)
{
	values[column] = PointerGetDatum(image);
	isnull[column] = (image == NULL);
}

/*
 * concerns tells whether an entry belongs to the history asked for.
 */
static bool
concerns(History *history, AuditRecord *record)
{
	if (record->op == AUDIT_MARKER || record->shape == NULL)
		return false;
	return history->probes == NULL || record->op == AUDIT_TRUNCATE ||
		dbp_audit_record_is_of(history->trail, record, history->probes, true) ||
		(record->key_changed &&
		 dbp_audit_record_is_of(history->trail, record, history->probes, false));
}

/*
 * set_who sets some columns to who made an entry.
 */
static void
set_who(History *history, AuditRecord *record, int n, const int *columns,
		Datum *values, bool *isnull)
{
	Datum	   *who;
	bool	   *whonull;
	bool		found = dbp_audit_who(history->who, record, &who, &whonull);

	for (int i = 0; i < n; i++)
	{
		isnull[i] = !found || whonull[columns[i]];
		values[i] = isnull[i] ? (Datum) 0 : who[columns[i]];
	}
}

static bool
history_row(AuditRecord *record, void *arg)
{
	static const int who_columns[] = {
		AUDIT_WHO_LOGIN_ROLE, AUDIT_WHO_SESSION_ROLE, AUDIT_WHO_SET_ROLE,
		AUDIT_WHO_EFFECTIVE_ROLE, AUDIT_WHO_APPLICATION_NAME, AUDIT_WHO_CLIENT_ADDR,
		AUDIT_WHO_CONTEXT
	};
	History    *history = arg;
	AuditTrail *trail = history->trail;
	bool		is_row = (record->op != AUDIT_TRUNCATE);
	Datum		values[HISTORY_COLUMNS];
	bool		isnull[HISTORY_COLUMNS] = {0};

	if (!concerns(history, record))
		return true;
	values[0] = Int64GetDatum(record->id);
	values[1] = Int64GetDatum(record->txn);
	values[2] = TimestampTzGetDatum(record->at);
	values[3] = TimestampTzGetDatum(record->statement_at);
	values[4] = CharGetDatum(record->op);
	set_image(values, isnull, 5, dbp_audit_record_key(trail, record));
	set_image(values, isnull, 6, dbp_audit_today_image(trail, record->shape, record->old));
	set_image(values, isnull, 7,
			  is_row ? dbp_audit_today_image(trail, record->shape, record->new) : record->new);
	set_who(history, record, lengthof(who_columns), who_columns, &values[8], &isnull[8]);
	tuplestore_putvalues(history->result->setResult, history->result->setDesc, values, isnull);
	return true;
}

static void
history_open(History *history, AuditReading *reading, FunctionCallInfo fcinfo)
{
	memset(history, 0, sizeof(*history));
	history->result = (ReturnSetInfo *) fcinfo->resultinfo;
	history->trail = reading->trail;
	history->who = dbp_audit_who_open();
}

/*
 * audit_history(target regclass, key jsonb, since timestamptz, until
 * timestamptz) returns the log entries of one row, in the order in which it
 * was changed.  Nothing is changed.
 *
 * key: a JSON object with the row's key, under the names the key columns
 * have today or had once; the entries of the row that has or had that key,
 * and those of TRUNCATE on the table.  since, until: only transactions that
 * began at or after since and before until; NULL sets no limit.  Images have
 * the column names of today; a column dropped since keeps its last one.
 *
 * Raises 22004 (target or key is NULL), 42809 (not a table), 42501 (neither
 * owner nor reader of dbpatterns.audit_entries, or row-level security hides
 * rows from the caller), 55000 (never audited, or rows have no key), 22023
 * (key has other names), and what the key's types raise for bad values.
 * Locks ACCESS SHARE on target and the log.  Reads the log as its owner, keys
 * as the owners of their types and of target.
 */
Datum
dbpatterns_audit_history(PG_FUNCTION_ARGS)
{
	AuditReading reading;
	History		history;

	dbp_require_argument(fcinfo, 0, "target", "Name an audited table.");
	dbp_require_argument(fcinfo, 1, "key", "Give a JSON object with the row's key columns.");
	InitMaterializedSRF(fcinfo, 0);
	dbp_audit_read_open(&reading, PG_GETARG_OID(0));

	history_open(&history, &reading, fcinfo);
	history.probes = dbp_audit_probes(reading.trail, reading.root, PG_GETARG_JSONB_P(1));
	dbp_audit_scan_row(reading.trail, history.probes, time_argument(fcinfo, 2, DT_NOBEGIN),
					   time_argument(fcinfo, 3, DT_NOEND), false, history_row, &history);
	dbp_audit_who_close(history.who);

	dbp_audit_read_close(&reading);
	PG_RETURN_NULL();
}

static bool
same_json(Jsonb *a, Jsonb *b)
{
	return VARSIZE(a) == VARSIZE(b) && memcmp(a, b, VARSIZE(a)) == 0;
}

/*
 * change_row returns the row for one column, if an entry changes it; with
 * redacted also if both values are redacted.
 */
static bool
change_row(History *history, AuditRecord *record, int column, bool redacted,
		   Datum *values, bool *isnull)
{
	AuditShape *shape = record->shape;
	char	   *name = dbp_audit_today_name(history->trail, shape, column);
	JsonbValue	value;
	Jsonb	   *old = NULL;
	Jsonb	   *new = NULL;

	if (dbp_audit_image_value(record->old, shape->columns[column], &value))
		old = JsonbValueToJsonb(&value);
	if (dbp_audit_image_value(record->new, shape->columns[column], &value))
		new = JsonbValueToJsonb(&value);
	if (old == NULL && new == NULL)
		return false;

	/* A difference has the key beside what changed. */
	if (record->op == AUDIT_UPDATE &&
		(old == NULL || new == NULL ||
		 (record->whole && same_json(old, new) && !(redacted && dbp_audit_is_redacted(&value)))))
		return false;

	values[5] = DirectFunctionCall1(namein, CStringGetDatum(name));
	set_image(values, isnull, 6, old);
	set_image(values, isnull, 7, new);
	tuplestore_putvalues(history->result->setResult, history->result->setDesc, values, isnull);
	return true;
}

/*
 * changes_row returns a row per column of an entry, in the order the columns
 * have in the table.
 */
static bool
changes_row(AuditRecord *record, void *arg)
{
	static const int who_columns[] = {
		AUDIT_WHO_SESSION_ROLE, AUDIT_WHO_SET_ROLE, AUDIT_WHO_CONTEXT
	};
	History    *history = arg;
	AuditShape *shape = record->shape;
	bool		any = false;
	Datum		values[CHANGES_COLUMNS];
	bool		isnull[CHANGES_COLUMNS] = {0};

	if (!concerns(history, record))
		return true;
	values[0] = Int64GetDatum(record->id);
	values[1] = Int64GetDatum(record->txn);
	values[2] = TimestampTzGetDatum(record->at);
	values[3] = CharGetDatum(record->op);
	set_image(values, isnull, 4, dbp_audit_record_key(history->trail, record));
	set_who(history, record, lengthof(who_columns), who_columns, &values[8], &isnull[8]);
	if (record->op == AUDIT_TRUNCATE)
	{
		isnull[5] = isnull[6] = true;
		set_image(values, isnull, 7, record->new);
		tuplestore_putvalues(history->result->setResult, history->result->setDesc, values, isnull);
		return true;
	}

	for (int i = 0; i < shape->ncolumns; i++)
		any |= change_row(history, record, i, false, values, isnull);

	/* No visible difference: it must be in what was kept from the log. */
	for (int i = 0; i < shape->ncolumns && !any; i++)
		(void) change_row(history, record, i, true, values, isnull);
	return true;
}

/*
 * audit_changes(target regclass, since timestamptz, until timestamptz, key
 * jsonb) returns one row per changed column of the table, or of one row, in
 * the order of the changes.  Nothing is changed.
 *
 * since, until: only transactions that began at or after since and before
 * until; NULL sets no limit.  key: a JSON object as for audit_history; NULL
 * means all rows.  old is NULL for an insert, new for a delete; a column
 * that was NULL is a JSON null.  A TRUNCATE is one row without a column.
 *
 * Raises 22004 (target is NULL), 42809 (not a table), 42501 (neither owner
 * nor reader of dbpatterns.audit_entries, or row-level security hides rows
 * from the caller), 55000 (never audited, or rows have no key), 22023 (key
 * has other names), and what the key's types raise for bad values.  Locks
 * ACCESS SHARE on target and the log.  Reads the log as its owner, keys as
 * the owners of their types and of target.
 */
Datum
dbpatterns_audit_changes(PG_FUNCTION_ARGS)
{
	static const Oid types[] = {INT4ARRAYOID, TIMESTAMPTZOID, TIMESTAMPTZOID};
	AuditReading reading;
	History		history;
	TimestampTz since = time_argument(fcinfo, 1, DT_NOBEGIN);
	TimestampTz until = time_argument(fcinfo, 2, DT_NOEND);

	dbp_require_argument(fcinfo, 0, "target", "Name an audited table.");
	InitMaterializedSRF(fcinfo, 0);
	dbp_audit_read_open(&reading, PG_GETARG_OID(0));

	history_open(&history, &reading, fcinfo);
	if (PG_ARGISNULL(3))
	{
		Datum		params[3];

		params[0] = dbp_audit_shape_numbers(reading.trail);
		params[1] = TimestampTzGetDatum(since);
		params[2] = TimestampTzGetDatum(until);
		dbp_audit_scan_table(reading.trail, &table_plan, table_query, 3, types, params,
							 changes_row, &history);
	}
	else
	{
		history.probes = dbp_audit_probes(reading.trail, reading.root, PG_GETARG_JSONB_P(3));
		dbp_audit_scan_row(reading.trail, history.probes, since, until, false,
						   changes_row, &history);
	}
	dbp_audit_who_close(history.who);

	dbp_audit_read_close(&reading);
	PG_RETURN_NULL();
}
