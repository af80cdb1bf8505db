/*-------------------------------------------------------------------------
 *
 * replay.c
 *	  States of the past: a row or a table as it was.
 *
 * The present rows are taken from the table, and what the log says of them is
 * undone, newest entry first.  So a row that was there before auditing began
 * needs no entry, and the work depends on what changed since.
 *
 * Copyright (c) 2026, dbpatterns contributors
 *
 * src/audit/replay.c
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "access/table.h"
#include "audit/replay.h"
#include "catalog/pg_type.h"
#include "core/names.h"
#include "core/target.h"
#include "funcapi.h"
#include "miscadmin.h"
#include "utils/builtins.h"
#include "utils/guc.h"
#include "utils/memutils.h"

PG_FUNCTION_INFO_V1(dbpatterns_audit_row_at);
PG_FUNCTION_INFO_V1(dbpatterns_audit_table_at);

/* Rows of the table fetched at once. */
#define FETCH_ROWS 256

static void
replay_open(AuditReplay *replay, AuditReading *reading, TimestampTz at)
{
	AuditTrail *trail = reading->trail;
	TupleDesc	desc = RelationGetDescr(reading->root);

	memset(replay, 0, sizeof(*replay));
	replay->trail = trail;
	replay->root = reading->root;
	replay->at = at;
	replay->cxt = CurrentMemoryContext;
	replay->shown = dbp_audit_look_back(trail, reading->root, at);
	replay->keydef = &trail->keydefs[trail->shapes[trail->nshapes - 1].keydef];

	replay->codec = dbp_codec_create(desc, NULL, NULL, CurrentMemoryContext);
	replay->pick = palloc0(sizeof(bool) * desc->natts);
	replay->values = palloc0(sizeof(Datum) * desc->natts);
	replay->isnull = palloc(sizeof(bool) * desc->natts);
	memset(replay->isnull, true, sizeof(bool) * desc->natts);
	for (int n = 0; n < trail->ncolumns; n++)
	{
		if (replay->shown[n])
			replay->pick[trail->columns[n].attno - 1] = true;
	}
}

/*
 * read_row puts a row of the result of SELECT * into the table's layout and
 * returns the image of its shown columns.
 */
static Jsonb *
read_row(AuditReplay *replay, HeapTuple tuple, TupleDesc desc)
{
	TupleDesc	layout = RelationGetDescr(replay->root);
	int			column = 0;

	for (int a = 0; a < layout->natts; a++)
	{
		if (!TupleDescAttr(layout, a)->attisdropped)
			replay->values[a] = heap_getattr(tuple, ++column, desc, &replay->isnull[a]);
	}
	return dbp_codec_encode(replay->codec, replay->values, replay->isnull, replay->pick);
}

/*
 * row_key_hash returns the hash of the key of the row read last, and its key.
 */
static uint64
row_key_hash(AuditReplay *replay, Jsonb **key)
{
	AuditKeyDef *def = replay->keydef;
	Datum	   *values = palloc(sizeof(Datum) * def->n);
	bool	   *isnull = palloc(sizeof(bool) * def->n);
	int		   *attnos = palloc(sizeof(int) * def->n);

	for (int k = 0; k < def->n; k++)
	{
		AttrNumber	attno = replay->trail->columns[def->numbers[k]].attno;

		values[k] = replay->values[attno - 1];
		isnull[k] = replay->isnull[attno - 1];
		attnos[k] = k;
	}
	*key = dbp_codec_encode(def->codec, values, isnull, NULL);
	return dbp_codec_hash(def->codec, values, isnull, attnos, def->n,
						  (uint64) replay->trail->relation);
}

static const char *
from_table(Relation root)
{
	return psprintf("%s%s", root->rd_rel->relkind == RELKIND_PARTITIONED_TABLE ? "" : "ONLY ",
					dbp_relation_name(root));
}

/* Takes a row of the table: its image, its key and the hash of that. */
typedef void (*TakePresent) (AuditReplay *replay, Jsonb *row, Jsonb *key, uint64 hash,
							 void *arg);

/*
 * scan_present hands rows of the table to a function, one by one.  The table is
 * read as the caller, who must see all of them.
 */
static void
scan_present(AuditReplay *replay, const char *sql, int nparams, Oid *types, Datum *values,
			 TakePresent take, void *arg)
{
	int			nestlevel = NewGUCNestLevel();
	MemoryContext row_cxt = AllocSetContextCreate(replay->cxt, "dbpatterns audit row",
												  ALLOCSET_DEFAULT_SIZES);
	Portal		portal;
	uint64		rows;

	(void) set_config_option("row_security", "off", PGC_USERSET, PGC_S_SESSION,
							 GUC_ACTION_SAVE, true, 0, false);
	portal = SPI_cursor_open_with_args(NULL, sql, nparams, types, values, NULL, true, 0);
	if (portal == NULL)
		elog(ERROR, "SPI failed for \"%s\": %s", sql, SPI_result_code_string(SPI_result));
	AtEOXact_GUC(false, nestlevel);
	do
	{
		MemoryContext oldcxt;

		CHECK_FOR_INTERRUPTS();
		SPI_cursor_fetch(portal, true, FETCH_ROWS);
		rows = SPI_processed;
		oldcxt = MemoryContextSwitchTo(row_cxt);
		for (uint64 i = 0; i < rows; i++)
		{
			Jsonb	   *row = read_row(replay, SPI_tuptable->vals[i], SPI_tuptable->tupdesc);
			Jsonb	   *key;
			uint64		hash = row_key_hash(replay, &key);

			take(replay, row, key, hash, arg);
			MemoryContextReset(row_cxt);
		}
		MemoryContextSwitchTo(oldcxt);
		SPI_freetuptable(SPI_tuptable);
	} while (rows > 0);
	SPI_cursor_close(portal);
	MemoryContextDelete(row_cxt);
}

static void
not_unique(AuditReplay *replay)
{
	ereport(ERROR,
			(errcode(ERRCODE_CARDINALITY_VIOLATION),
			 errmsg("more than one row of table %s has the same key", dbp_relation_name(replay->root)),
			 errhint("Name columns that tell rows apart in argument \"key\" of dbpatterns.audit_enable.")));
}

/*
 * take_probed keeps the row with the probed key.
 */
static void
take_probed(AuditReplay *replay, Jsonb *row, Jsonb *key, uint64 hash, void *arg)
{
	Jsonb	  **image = arg;

	/* Equal by the type's operator is not yet the same value. */
	if (hash != replay->probes[replay->keydef - replay->trail->keydefs].hash)
		return;
	if (*image != NULL)
		not_unique(replay);
	*image = dbp_audit_replay_keep(replay, row);
}

/*
 * read_present_row returns the image of the row with the probed key, or NULL.
 */
static Jsonb *
read_present_row(AuditReplay *replay)
{
	AuditKeyDef *def = replay->keydef;
	AuditProbe *probe = &replay->probes[def - replay->trail->keydefs];
	Oid		   *types = palloc(sizeof(Oid) * def->n);
	Datum	   *values = palloc(sizeof(Datum) * def->n);
	int			nparams = 0;
	Jsonb	   *image = NULL;
	StringInfoData sql;

	initStringInfo(&sql);
	appendStringInfo(&sql, "SELECT * FROM %s WHERE true", from_table(replay->root));
	for (int k = 0; k < def->n; k++)
	{
		const char *column = quote_identifier(def->today[k]);

		if (probe->isnull[k])
			appendStringInfo(&sql, " AND %s IS NULL", column);
		else if (dbp_audit_append_equals(&sql, column, def->types[k], nparams + 1))
		{
			types[nparams] = def->types[k];
			values[nparams++] = probe->values[k];
		}
	}
	scan_present(replay, sql.data, nparams, types, values, take_probed, &image);
	return image;
}

/*
 * wanted_row returns the only row of a slot, NULL if it is empty.
 */
static Jsonb *
wanted_row(AuditReplay *replay, AuditSlot *slot, Jsonb *present)
{
	if (slot->unknown != 0)
		ereport(ERROR,
				(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
				 errmsg("the row of table %s may have been truncated after %s",
						dbp_relation_name(replay->root), timestamptz_to_str(replay->at)),
				 errhint("The rows removed by the TRUNCATE of %s were not logged; with truncate_rows in dbpatterns.audit_enable they are.",
						 timestamptz_to_str(slot->unknown))));
	if (list_length(slot->rows) + (slot->gone ? 0 : 1) > 1)
		not_unique(replay);
	if (slot->rows != NIL)
		return linitial(slot->rows);
	if (slot->gone)
		return NULL;
	return slot->overlay == NULL ? present : dbp_audit_overlay(present, slot->overlay);
}

/*
 * audit_row_at(target regclass, key jsonb, at timestamptz) returns the row
 * with that key as it was at a time: an image with the columns of today; NULL
 * if there was none.  Nothing is changed.
 *
 * key: a JSON object with the key columns, under today's names or those of
 * then.  The state is the one after the last change of the row by a
 * transaction that began at or before the time.  Absent are columns that
 * were added or dropped since, and those excluded, redacted or rewritten at
 * some time since.
 *
 * Raises 22004 (an argument is NULL), 42809 (not a table), 42501 (neither
 * owner nor reader of dbpatterns.audit_entries, no SELECT on target, or
 * row-level security applies), 55000 (never audited; not audited all the time
 * since; rows came or left with a partition since; purged; rows have no key,
 * or another one since; truncated without logged rows; table and log
 * disagree), 22023 (key has other names), 21000 (the key is not unique), and
 * what the key's types raise for bad values.
 * Locks ACCESS SHARE on target and the log.  Reads the log as its owner, the
 * table as the caller, the key as the owners of its types and of target.
 */
Datum
dbpatterns_audit_row_at(PG_FUNCTION_ARGS)
{
	MemoryContext caller_cxt = CurrentMemoryContext;
	AuditReading reading;
	AuditReplay replay;
	AuditSlot	slot = {0};
	Jsonb	   *present;
	Jsonb	   *row;

	dbp_require_argument(fcinfo, 0, "target", "Name an audited table.");
	dbp_require_argument(fcinfo, 1, "key", "Give a JSON object with the row's key columns.");
	dbp_require_argument(fcinfo, 2, "at", "Give the time of the wanted state.");
	dbp_audit_read_open(&reading, PG_GETARG_OID(0));
	replay_open(&replay, &reading, PG_GETARG_TIMESTAMPTZ(2));

	replay.probes = dbp_audit_probes(reading.trail, reading.root, PG_GETARG_JSONB_P(1));
	if (!replay.probes[replay.keydef - reading.trail->keydefs].valid)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("argument \"key\" is a former key of table %s",
						dbp_relation_name(reading.root)),
				 errhint("Give the key columns of today; dbpatterns.audit_history takes former keys, too.")));
	present = read_present_row(&replay);
	slot.gone = (present == NULL);
	replay.only = &slot;
	dbp_audit_scan_row(reading.trail, replay.probes, DT_NOBEGIN, DT_NOEND, true,
					   dbp_audit_undo_entry, &replay);
	row = wanted_row(&replay, &slot, present);
	if (row != NULL)
	{
		replay.cxt = caller_cxt;
		row = dbp_audit_replay_keep(&replay, row);
	}

	dbp_audit_read_close(&reading);
	if (row == NULL)
		PG_RETURN_NULL();
	PG_RETURN_JSONB_P(row);
}

static void
emit(ReturnSetInfo *result, Jsonb *image)
{
	Datum		value = JsonbPGetDatum(image);
	bool		isnull = false;

	tuplestore_putvalues(result->setResult, result->setDesc, &value, &isnull);
}

/*
 * emit_present returns a row of the table as it was, if it was there.
 */
static void
emit_present(AuditReplay *replay, Jsonb *row, Jsonb *key, uint64 hash, void *arg)
{
	AuditSlot  *slot = dbp_audit_find_slot(replay, key, hash, false);

	if (slot != NULL && slot->seen)
		not_unique(replay);
	if (slot != NULL)
		slot->seen = true;
	if (slot == NULL || !slot->gone)
		emit(arg, slot == NULL || slot->overlay == NULL ? row :
			 dbp_audit_overlay(row, slot->overlay));
}

/*
 * emit_absent returns the rows that are there no longer.
 */
static void
emit_absent(AuditReplay *replay, ReturnSetInfo *result)
{
	HASH_SEQ_STATUS seq;
	AuditSlotEntry *entry;

	hash_seq_init(&seq, replay->slots);
	while ((entry = hash_seq_search(&seq)) != NULL)
	{
		for (AuditSlot *slot = entry->first; slot != NULL; slot = slot->next)
		{
			ListCell   *lc;

			if (!slot->seen && (slot->gone || slot->overlay != NULL))
				ereport(ERROR,
						(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
						 errmsg("table %s and its audit log disagree",
								dbp_relation_name(replay->root)),
						 errdetail("According to the log it has a row with key %s.",
								   JsonbToCString(NULL, &slot->key->root, VARSIZE(slot->key))),
						 errhint("The table was changed while its triggers did not fire, or the call comes from a trigger of a statement that is still at work.")));
			foreach(lc, slot->rows)
				emit(result, lfirst(lc));
		}
	}
}

/*
 * audit_table_at(target regclass, at timestamptz) returns the rows of a table
 * as they were at a time, as images with the columns of today, in no order.
 * Nothing is changed.
 *
 * The state of each row is the one that audit_row_at returns.  Partitions
 * belong to their root; inheritance children are tables of their own and not
 * included.  Memory is needed for the rows that changed since.
 *
 * Raises 22004 (an argument is NULL), 42809 (not a table), 42501 (neither
 * owner nor reader of dbpatterns.audit_entries, no SELECT on target, or
 * row-level security applies), 55000 (never audited; not audited all the time
 * since; rows came or left with a partition since; purged; rows have no key,
 * or another one since; truncated without logged rows; table and log
 * disagree), 21000 (the key is not unique).  Locks ACCESS SHARE on target and
 * the log.  Reads the log as its owner, the table as the caller.
 */
Datum
dbpatterns_audit_table_at(PG_FUNCTION_ARGS)
{
	static const char query[] =
		"SELECT " AUDIT_RECORD_COLUMNS " FROM _dbpatterns.audit_log e"
		" WHERE e.shape = ANY ($1) AND e.id >="
		" (SELECT min(m.id) FROM _dbpatterns.audit_log m"
		"  WHERE m.shape = ANY ($1) AND m.xact_time > $2)"
		" ORDER BY e.id DESC";
	static const Oid types[] = {INT4ARRAYOID, TIMESTAMPTZOID};
	static SPIPlanPtr plan = NULL;
	ReturnSetInfo *result = (ReturnSetInfo *) fcinfo->resultinfo;
	AuditReading reading;
	AuditReplay replay;
	HASHCTL		ctl = {0};
	Datum		params[2];

	dbp_require_argument(fcinfo, 0, "target", "Name an audited table.");
	dbp_require_argument(fcinfo, 1, "at", "Give the time of the wanted state.");
	InitMaterializedSRF(fcinfo, MAT_SRF_USE_EXPECTED_DESC);
	dbp_audit_read_open(&reading, PG_GETARG_OID(0));
	replay_open(&replay, &reading, PG_GETARG_TIMESTAMPTZ(1));

	ctl.keysize = sizeof(uint64);
	ctl.entrysize = sizeof(AuditSlotEntry);
	ctl.hcxt = replay.cxt;
	replay.slots = hash_create("dbpatterns audit slots", 1024, &ctl,
							   HASH_ELEM | HASH_BLOBS | HASH_CONTEXT);
	params[0] = dbp_audit_shape_numbers(reading.trail);
	params[1] = TimestampTzGetDatum(replay.at);
	dbp_audit_scan_table(reading.trail, &plan, query, 2, types, params,
						 dbp_audit_undo_entry, &replay);
	scan_present(&replay, psprintf("SELECT * FROM %s", from_table(replay.root)), 0, NULL, NULL,
				 emit_present, result);
	emit_absent(&replay, result);

	dbp_audit_read_close(&reading);
	PG_RETURN_NULL();
}
