/*-------------------------------------------------------------------------
 *
 * erase.c
 *	  Removing personal data from the log.
 *
 * What is erased are the values; that there was a change, of which columns, by
 * whom and when stays.  A sealed entry is found out to have been erased, not
 * forged, by what change.c keeps of it; the salt of the old values goes, so
 * that they cannot be guessed from their hash.
 *
 * When the key is erased, so are the numbers made from it by which the log
 * finds entries: small keys could be found out by trying.  Random ones take
 * their place, so that the entries of the row still belong together.
 *
 * Copyright (c) 2026, dbpatterns contributors
 *
 * src/audit/erase.c
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "access/table.h"
#include "audit/seal.h"
#include "catalog/pg_type.h"
#include "core/names.h"
#include "core/target.h"
#include "miscadmin.h"
#include "utils/array.h"
#include "utils/builtins.h"
#include "utils/json.h"
#include "utils/memutils.h"
#include "utils/rel.h"

PG_FUNCTION_INFO_V1(dbpatterns_audit_erase);

/* A hash of an erased key, and what it becomes. */
typedef struct KeyHash
{
	int64		was;
	int64		becomes;
} KeyHash;

typedef struct Erasure
{
	AuditTrail *trail;
	bool	   *erase;			/* by lasting column number; NULL: all */
	List	   *key_hashes;
	int64		change;
	pg_cryptohash_ctx *ctx;

	MemoryContext entry_cxt;	/* reset after each entry */
	MemoryContext block_cxt;	/* reset after each block */
	MemoryContext cxt;			/* the rest */

	/* The block being changed, if any, and how far it has been read. */
	AuditBlock *block;
	AuditKept  *kept;
	int			nkept;
	AuditLeaves *leaves;
	int			leaf;
} Erasure;

/*
 * find_columns translates the column names given, of today or of former
 * times, to lasting numbers.
 */
static bool *
find_columns(AuditTrail *trail, Relation root, ArrayType *columns)
{
	bool	   *erase = palloc0(sizeof(bool) * Max(trail->ncolumns, 1));
	ListCell   *lc;

	foreach(lc, dbp_column_list(columns, "columns"))
	{
		char	   *name = lfirst(lc);
		int			number = -1;

		for (int n = 0; n < trail->ncolumns && number < 0; n++)
		{
			if (trail->columns[n].name != NULL && strcmp(trail->columns[n].name, name) == 0)
				number = n;
		}
		for (int s = trail->nshapes - 1; s >= 0 && number < 0; s--)
		{
			AuditShape *shape = &trail->shapes[s];

			for (int i = 0; i < shape->ncolumns; i++)
			{
				if (strcmp(shape->columns[i], name) == 0)
					number = shape->numbers[i];
			}
		}
		if (number < 0)
			ereport(ERROR,
					(errcode(ERRCODE_UNDEFINED_COLUMN),
					 errmsg("the audit log has no column \"%s\" of table %s", name,
							dbp_relation_name(root)),
					 errhint("Name columns the table has or has had; leave the argument out for all.")));
		erase[number] = true;
	}
	return erase;
}

/* A value that is not there any more, or never was. */
static bool
is_gone(JsonbValue *value)
{
	char	   *mark = dbp_audit_mark_of(value);

	return mark != NULL && (strcmp(mark, "erased") == 0 || strcmp(mark, "redacted") == 0);
}

static bool
column_goes(Erasure *erasure, AuditShape *shape, const JsonbValue *name)
{
	if (erasure->erase == NULL)
		return true;
	for (int i = 0; i < shape->ncolumns; i++)
	{
		if (strlen(shape->columns[i]) == name->val.string.len &&
			memcmp(shape->columns[i], name->val.string.val, name->val.string.len) == 0)
			return erasure->erase[shape->numbers[i]];
	}
	return false;
}

/*
 * erase_image returns an image without the values to be erased, and tells
 * whether that made a difference.
 */
static Jsonb *
erase_image(Erasure *erasure, AuditShape *shape, Jsonb *image, bool *changed)
{
	static const char mark[] = "{\"$dbp\": \"erased\"}";
	Jsonb	   *erased;
	JsonbIterator *it;
	JsonbIteratorToken token;
	JsonbParseState *state = NULL;
	JsonbValue *result = NULL;
	JsonbValue	value;
	bool		goes = false;

	if (image == NULL)
		return NULL;
	erased = DatumGetJsonbP(DirectFunctionCall1(jsonb_in, CStringGetDatum(mark)));
	it = JsonbIteratorInit(&image->root);
	while ((token = JsonbIteratorNext(&it, &value, true)) != WJB_DONE)
	{
		if (token == WJB_KEY)
			goes = column_goes(erasure, shape, &value);
		if (token == WJB_VALUE && goes && !is_gone(&value))
		{
			value.type = jbvBinary;
			value.val.binary.data = &erased->root;
			value.val.binary.len = VARSIZE(erased) - VARHDRSZ;
			*changed = true;
		}
		result = pushJsonbValue(&state, token,
								(token == WJB_KEY || token == WJB_VALUE) ? &value : NULL);
	}
	return JsonbValueToJsonb(result);
}

static bool
erases_key(Erasure *erasure, AuditShape *shape)
{
	for (int k = 0; k < shape->nkeys && erasure->erase != NULL; k++)
	{
		if (erasure->erase[shape->numbers[shape->keys[k]]])
			return true;
	}
	return erasure->erase == NULL;
}

/*
 * new_key_hash replaces the hash of an erased key by a random number, the
 * same for all entries.
 */
static int64
new_key_hash(Erasure *erasure, int64 was)
{
	MemoryContext oldcxt;
	ListCell   *lc;
	KeyHash    *hash;

	foreach(lc, erasure->key_hashes)
	{
		hash = lfirst(lc);
		if (hash->was == was)
			return hash->becomes;
	}
	oldcxt = MemoryContextSwitchTo(erasure->cxt);
	hash = palloc(sizeof(KeyHash));
	hash->was = was;
	dbp_audit_random(&hash->becomes, sizeof(hash->becomes));
	erasure->key_hashes = lappend(erasure->key_hashes, hash);
	MemoryContextSwitchTo(oldcxt);
	return hash->becomes;
}

static void
close_block(Erasure *erasure)
{
	if (erasure->block == NULL)
		return;
	dbp_audit_leaves_close(erasure->leaves);
	dbp_audit_change_salts(erasure->block);
	erasure->block = NULL;
	MemoryContextReset(erasure->block_cxt);
}

static void
broken_block(const AuditBlock *block)
{
	ereport(ERROR,
			(errcode(ERRCODE_DATA_CORRUPTED),
			 errmsg("block %lld of the audit log is not what was sealed",
					(long long) block->block),
			 errhint("Call dbpatterns.audit_verify to see what is wrong.")));
}

/*
 * open_block finds the sealed block an entry is in, and its leaf there; false
 * if it is not sealed.  Entries come in the order of leaves.
 */
static bool
open_block(Erasure *erasure, AuditPosition at)
{
	if (erasure->block == NULL || dbp_audit_position_cmp(at, erasure->block->upto) > 0)
	{
		DbpParam	params[2];
		List	   *blocks;
		MemoryContext oldcxt;

		close_block(erasure);
		oldcxt = MemoryContextSwitchTo(erasure->block_cxt);
		params[0] = DBP_PARAM(INT8OID, Int64GetDatum(at.txn));
		params[1] = DBP_PARAM(INT8OID, Int64GetDatum(at.id));
		blocks = dbp_audit_blocks_read("purged IS NULL AND salts IS NOT NULL"
									   " AND (upto_txn, upto_id) >= ($1, $2)"
									   " AND (from_txn, from_id) < ($1, $2)"
									   " ORDER BY upto_txn, upto_id LIMIT 1", 2, params);
		if (blocks != NIL)
		{
			erasure->block = linitial(blocks);
			erasure->kept = dbp_audit_kept_read(erasure->block->block, &erasure->nkept);
			erasure->leaves = dbp_audit_leaves_open(erasure->block->from, erasure->block->upto);
			erasure->leaf = 0;
		}
		MemoryContextSwitchTo(oldcxt);
		if (blocks == NIL)
			return false;
	}

	for (; erasure->leaf < erasure->block->leaves; erasure->leaf++)
	{
		AuditKept  *kept = dbp_audit_kept_find(erasure->kept, erasure->nkept, erasure->leaf);
		AuditLeaf  *leaf;

		if (kept != NULL && kept->purged)
			continue;
		leaf = dbp_audit_leaves_peek(erasure->leaves);
		if (leaf == NULL)
			break;
		if (dbp_audit_position_cmp(leaf->at, at) == 0)
			return true;
		dbp_audit_leaves_advance(erasure->leaves);
	}
	broken_block(erasure->block);
	return false;
}

/*
 * keep_proof records the change of a sealed entry: the hash of its payload
 * before, and, under a new salt, afterwards.
 */
static void
keep_proof(Erasure *erasure, const StringInfoData *before, const StringInfoData *after)
{
	AuditSalt  *salt = &erasure->block->salts[erasure->leaf];
	AuditKept  *kept = dbp_audit_kept_find(erasure->kept, erasure->nkept, erasure->leaf);
	AuditHash	hash;
	AuditHash	now;
	AuditHash	leaf;

	/* What is not what was sealed must not become so by being erased. */
	dbp_audit_payload_hash(erasure->ctx, salt, before, &hash);
	dbp_audit_leaf_hash(erasure->ctx, dbp_audit_leaves_peek(erasure->leaves),
						kept ? &kept->original : &hash, &leaf);
	if (memcmp(&leaf, salt->check, sizeof(salt->check)) != 0 ||
		(kept != NULL && !dbp_audit_same_hash(&hash, &kept->now)))
		broken_block(erasure->block);

	dbp_audit_random(salt->salt, sizeof(salt->salt));
	dbp_audit_payload_hash(erasure->ctx, salt, after, &now);
	dbp_audit_change_keep(erasure->change, erasure->block->block, erasure->leaf,
						  kept ? kept->steps : 0, &hash, &now);
}

static void
update_entry(const AuditHit *hit, const char *table, const int64 *row_key,
			 const int64 *old_row_key, Jsonb *old, Jsonb *new)
{
	DbpParam	params[5];

	params[0] = DBP_PARAM(TIDOID, PointerGetDatum(&hit->tid));
	params[1] = DBP_PARAM_OR_NULL(INT8OID, row_key ? Int64GetDatum(*row_key) : (Datum) 0, !row_key);
	params[2] = DBP_PARAM_OR_NULL(INT8OID, old_row_key ? Int64GetDatum(*old_row_key) : (Datum) 0,
								  !old_row_key);
	params[3] = DBP_PARAM_OR_NULL(JSONBOID, PointerGetDatum(old), !old);
	params[4] = DBP_PARAM_OR_NULL(JSONBOID, PointerGetDatum(new), !new);
	if (dbp_audit_log_change(psprintf("UPDATE %s SET row_key = $2, old_row_key = $3,"
									  " old = $4, new = $5 WHERE ctid = $1", table),
							 5, params) != 1)
		elog(ERROR, "log entry %lld is gone", (long long) hit->at.id);
}

/*
 * erase_entry erases the values of one entry; false if they were not there.
 */
static bool
erase_entry(Erasure *erasure, const AuditHit *hit)
{
	char	   *table = dbp_relation_name_by_oid(hit->relid);
	DbpParam	param = DBP_PARAM(TIDOID, PointerGetDatum(&hit->tid));
	AuditShape *shape;
	bool		changed = false;
	bool		no_key;
	bool		no_old_key;
	bool		isnull;
	int64		key;
	int64		old_key;
	Jsonb	   *images[4];		/* old, new, and what they become */
	StringInfoData before;
	StringInfoData after;

	if (dbp_audit_seal_read(psprintf("SELECT shape, row_key, old_row_key, old, new"
									 " FROM %s WHERE ctid = $1", table), 1, &param) != 1)
		elog(ERROR, "log entry %lld is gone", (long long) hit->at.id);
	shape = dbp_audit_shape_by_number(erasure->trail, DatumGetInt32(dbp_sql_value(0, 0, NULL)));
	key = DatumGetInt64(dbp_sql_value(0, 1, &no_key));
	old_key = DatumGetInt64(dbp_sql_value(0, 2, &no_old_key));
	for (int i = 0; i < 2; i++)
	{
		Datum		image = dbp_sql_value(0, 3 + i, &isnull);

		images[i] = isnull ? NULL : DatumGetJsonbPCopy(image);
		images[2 + i] = erase_image(erasure, shape, images[i], &changed);
	}
	SPI_freetuptable(SPI_tuptable);
	if (!changed)
		return false;

	initStringInfo(&before);
	initStringInfo(&after);
	dbp_audit_entry_payload(&before, no_key ? NULL : &key, no_old_key ? NULL : &old_key,
							images[0], images[1]);
	if (erases_key(erasure, shape))
	{
		key = new_key_hash(erasure, key);
		old_key = no_old_key ? 0 : new_key_hash(erasure, old_key);
	}
	dbp_audit_entry_payload(&after, no_key ? NULL : &key, no_old_key ? NULL : &old_key,
							images[2], images[3]);
	if (open_block(erasure, hit->at))
		keep_proof(erasure, &before, &after);
	update_entry(hit, table, no_key ? NULL : &key, no_old_key ? NULL : &old_key,
				 images[2], images[3]);
	return true;
}

static int64
erase_entries(Erasure *erasure, AuditProbe *probes)
{
	int			nhits;
	AuditHit   *hits = dbp_audit_row_entries(erasure->trail, probes, &nhits);
	int64		n = 0;

	for (int i = 0; i < nhits; i++)
	{
		CHECK_FOR_INTERRUPTS();
		MemoryContextReset(erasure->entry_cxt);
		MemoryContextSwitchTo(erasure->entry_cxt);
		n += erase_entry(erasure, &hits[i]) ? 1 : 0;
		MemoryContextSwitchTo(erasure->cxt);
	}
	close_block(erasure);
	return n;
}

/*
 * erase_detail says what was erased and why, but not whose: the key may be
 * erased later, and what the log says of erasures cannot be.
 */
static char *
erase_detail(Erasure *erasure, int64 n, ArrayType *columns, const char *reason)
{
	StringInfoData text;
	ListCell   *lc;

	initStringInfo(&text);
	appendStringInfo(&text, "{\"change\": %lld, \"entries\": %lld, \"reason\": ",
					 (long long) erasure->change, (long long) n);
	escape_json(&text, reason);
	if (columns != NULL)
	{
		const char *comma = "";

		appendStringInfoString(&text, ", \"columns\": [");
		foreach(lc, dbp_column_list(columns, "columns"))
		{
			appendStringInfoString(&text, comma);
			escape_json(&text, lfirst(lc));
			comma = ", ";
		}
		appendStringInfoChar(&text, ']');
	}
	dbp_audit_seal_refresh();
	appendStringInfo(&text, ", \"blocks\": %s}",
					 dbp_audit_change_blocks(erasure->ctx, erasure->change));
	return text.data;
}

/*
 * audit_erase(target regclass, key jsonb, reason text, columns name[]) erases
 * values of a row from all its log entries, under former and later keys, too,
 * and returns in how many entries it did.
 *
 * key: a JSON object as for audit_history.  reason: logged, with who, when and
 * how much.  columns: names the columns have or had once; NULL for all, the
 * key included, after which the entries cannot be found by the key.  Each value
 * becomes {"$dbp": "erased"}; the operation, the times and the names of the
 * columns stay.  Sealed blocks stay verifiable.  What running transactions
 * have written is not seen.  A second call finds nothing and logs nothing.
 *
 * Raises 22004 when target, key or reason is NULL, 42809, 42501, 55000 and
 * 22023 as audit_history, 42703 for a column the log does not know, XX001
 * when a sealed block is not what it was.  Locks ROW EXCLUSIVE on the
 * partitions of the log, and the lock of audit_seal, to the end of the
 * transaction.  Changes the log as its owner, reads the key as the owners of
 * its types and of target.
 */
Datum
dbpatterns_audit_erase(PG_FUNCTION_ARGS)
{
	AuditReading reading;
	AuditProbe *probes;
	Erasure		erasure = {0};
	DbpOwnerScope scope;
	ArrayType  *columns = PG_ARGISNULL(3) ? NULL : PG_GETARG_ARRAYTYPE_P(3);
	int64		n;
	char	   *detail = NULL;

	dbp_require_argument(fcinfo, 0, "target", "Name an audited table.");
	dbp_require_argument(fcinfo, 1, "key", "Give a JSON object with the row's key columns.");
	dbp_require_argument(fcinfo, 2, "reason",
						 "Say why, without personal data: the reason is logged.");
	dbp_audit_read_open(&reading, PG_GETARG_OID(0));
	erasure.trail = reading.trail;
	probes = dbp_audit_probes(reading.trail, reading.root, PG_GETARG_JSONB_P(1));
	if (columns != NULL)
		erasure.erase = find_columns(reading.trail, reading.root, columns);

	dbp_audit_seal_enter(&scope, true, RowExclusiveLock);
	erasure.ctx = dbp_audit_sha256_create();
	erasure.cxt = CurrentMemoryContext;
	erasure.block_cxt = AllocSetContextCreate(CurrentMemoryContext, "dbpatterns audit erase block",
											  ALLOCSET_DEFAULT_SIZES);
	erasure.entry_cxt = AllocSetContextCreate(CurrentMemoryContext, "dbpatterns audit erase entry",
											  ALLOCSET_DEFAULT_SIZES);
	erasure.change = dbp_audit_change_number();
	n = erase_entries(&erasure, probes);
	if (n > 0)
		detail = erase_detail(&erasure, n, columns, text_to_cstring(PG_GETARG_TEXT_PP(2)));
	pg_cryptohash_free(erasure.ctx);
	dbp_audit_seal_leave(&scope);
	if (detail != NULL)
		dbp_audit_change_log(erasure.change,
							 reading.trail->shapes[reading.trail->nshapes - 1].shape,
							 "erased", detail);
	else
		ereport(NOTICE,
				(errmsg("the audit log holds no such values of this row")));
	dbp_audit_read_close(&reading);
	PG_RETURN_INT64(n);
}
