/*-------------------------------------------------------------------------
 *
 * lives.c
 *	  All log entries of a row, under all keys it has had.
 *
 * A key may change, and may be used by another row before or afterwards.  So
 * the row is followed from one life under a key to the next, each with the
 * entry numbers between which the key was its own.  The key that the caller
 * gives counts for all time: whatever row had it is meant.
 *
 * Copyright (c) 2026, dbpatterns contributors
 *
 * src/audit/lives.c
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "audit/seal.h"
#include "catalog/pg_type.h"
#include "miscadmin.h"
#include "utils/memutils.h"

#define FETCH_ROWS 500

/* The time a key belonged to the row; entry numbers are inclusive. */
typedef struct Life
{
	int64		row_key;
	int64		from;
	int64		upto;
	bool		given;			/* the caller gave the key */
} Life;

typedef struct Search
{
	AuditTrail *trail;
	AuditProbe *probes;
	List	   *lives;
	int			nhits;
	int			room;
	AuditHit   *hits;
	MemoryContext entry_cxt;	/* reset after each entry */
	MemoryContext cxt;			/* the rest */
} Search;

static void
add_life(Search *search, int64 row_key, int64 from, int64 upto, bool given)
{
	ListCell   *lc;
	Life	   *life;

	foreach(lc, search->lives)
	{
		life = lfirst(lc);
		if (life->row_key == row_key && life->from <= from && life->upto >= upto)
			return;
	}
	life = palloc(sizeof(Life));
	life->row_key = row_key;
	life->from = from;
	life->upto = upto;
	life->given = given;
	search->lives = lappend(search->lives, life);
}

/*
 * bound finds where a life under a key began or ended, seen from an entry in
 * which the row left it or came to it.
 */
static int64
bound(const char *sql, int64 row_key, int64 id, int64 none)
{
	DbpParam	params[2];
	bool		isnull;
	Datum		value;

	params[0] = DBP_PARAM(INT8OID, Int64GetDatum(row_key));
	params[1] = DBP_PARAM(INT8OID, Int64GetDatum(id));
	dbp_audit_seal_read(sql, 2, params);
	value = dbp_sql_value(0, 0, &isnull);
	SPI_freetuptable(SPI_tuptable);
	return isnull ? none : DatumGetInt64(value);
}

static void
follow_key_change(Search *search, const Life *life, const AuditRecord *record)
{
	int64		now = (int64) record->row_key;
	int64		was = (int64) record->old_row_key;

	if (now == life->row_key)
		add_life(search, was,
				 bound("SELECT max(CASE WHEN op = 'D' OR old_row_key = $1 THEN id + 1 ELSE id END)"
					   " FROM _dbpatterns.audit_log WHERE id < $2 AND"
					   " ((row_key = $1 AND (op IN ('I', 'D') OR old_row_key IS NOT NULL))"
					   " OR old_row_key = $1)",
					   was, record->id, PG_INT64_MIN),
				 record->id, false);
	if (was == life->row_key)
		add_life(search, now, record->id,
				 bound("SELECT min(CASE WHEN op = 'D' OR old_row_key = $1 THEN id ELSE id - 1 END)"
					   " FROM _dbpatterns.audit_log WHERE id > $2 AND"
					   " ((row_key = $1 AND (op IN ('I', 'D') OR old_row_key IS NOT NULL))"
					   " OR old_row_key = $1)",
					   now, record->id, PG_INT64_MAX),
				 false);
}

static void
add_hit(Search *search, const AuditRecord *record, Oid relid, ItemPointer tid)
{
	AuditHit   *hit;

	if (search->nhits == search->room)
	{
		search->room = Max(search->room * 2, 64);
		search->hits = search->hits == NULL ?
			palloc(sizeof(AuditHit) * search->room) :
			repalloc_huge(search->hits, sizeof(AuditHit) * search->room);
	}
	hit = &search->hits[search->nhits++];
	hit->at.txn = record->txn;
	hit->at.id = record->id;
	hit->relid = relid;
	hit->tid = *tid;
}

/*
 * find_entries finds the entries of one life, and the lives next to it.
 */
static void
find_entries(Search *search, const Life *life)
{
	Oid			types[3] = {INT8OID, INT8OID, INT8OID};
	Datum		params[3];
	Portal		portal;

	params[0] = Int64GetDatum(life->row_key);
	params[1] = Int64GetDatum(life->from);
	params[2] = Int64GetDatum(life->upto);
	portal = SPI_cursor_open_with_args(NULL, "SELECT " AUDIT_RECORD_COLUMNS ", e.tableoid, e.ctid"
									   " FROM _dbpatterns.audit_log e"
									   " WHERE (e.row_key = $1 OR e.old_row_key = $1)"
									   " AND e.id >= $2 AND e.id <= $3"
									   " AND e.op IN ('I', 'U', 'D')",
									   3, types, params, NULL, true, 0);
	for (;;)
	{
		SPITupleTable *rows;
		uint64		n;

		CHECK_FOR_INTERRUPTS();
		SPI_cursor_fetch(portal, true, FETCH_ROWS);
		rows = SPI_tuptable;
		n = SPI_processed;
		for (uint64 i = 0; i < n; i++)
		{
			Datum		values[AUDIT_RECORD_NCOLUMNS + 2];
			bool		isnull[AUDIT_RECORD_NCOLUMNS + 2];
			AuditRecord record;
			bool		ours;

			heap_deform_tuple(rows->vals[i], rows->tupdesc, values, isnull);
			MemoryContextReset(search->entry_cxt);
			MemoryContextSwitchTo(search->entry_cxt);
			dbp_audit_read_record(search->trail, values, isnull, &record);
			ours = record.shape != NULL &&
				(!life->given ||
				 dbp_audit_record_is_of(search->trail, &record, search->probes, true) ||
				 (record.key_changed &&
				  dbp_audit_record_is_of(search->trail, &record, search->probes, false)));
			MemoryContextSwitchTo(search->cxt);
			if (!ours)
				continue;
			add_hit(search, &record, DatumGetObjectId(values[AUDIT_RECORD_NCOLUMNS]),
					(ItemPointer) DatumGetPointer(values[AUDIT_RECORD_NCOLUMNS + 1]));
			if (record.key_changed)
				follow_key_change(search, life, &record);
		}
		SPI_freetuptable(rows);
		if (n == 0)
			break;
	}
	SPI_cursor_close(portal);
}

static int
compare_hits(const void *a, const void *b)
{
	return dbp_audit_position_cmp(((const AuditHit *) a)->at, ((const AuditHit *) b)->at);
}

/*
 * dbp_audit_row_entries returns the entries of a row in the order of leaves.
 */
AuditHit *
dbp_audit_row_entries(AuditTrail *trail, AuditProbe *probes, int *n)
{
	Search		search = {0};

	search.trail = trail;
	search.probes = probes;
	search.cxt = CurrentMemoryContext;
	search.entry_cxt = AllocSetContextCreate(CurrentMemoryContext, "dbpatterns audit row search",
											 ALLOCSET_DEFAULT_SIZES);
	for (int i = 0; i < trail->nkeydefs; i++)
	{
		if (probes[i].valid)
			add_life(&search, (int64) probes[i].hash, PG_INT64_MIN, PG_INT64_MAX, true);
	}
	for (int i = 0; i < list_length(search.lives); i++)
		find_entries(&search, list_nth(search.lives, i));
	MemoryContextDelete(search.entry_cxt);

	/* Where the key changed, an entry was found from both sides. */
	*n = 0;
	if (search.nhits > 0)
		qsort(search.hits, search.nhits, sizeof(AuditHit), compare_hits);
	for (int i = 0; i < search.nhits; i++)
	{
		if (*n == 0 || compare_hits(&search.hits[*n - 1], &search.hits[i]) != 0)
			search.hits[(*n)++] = search.hits[i];
	}
	return search.hits;
}
