/*-------------------------------------------------------------------------
 *
 * change.c
 *	  Changes of sealed leaves: what an erasure or a purge leaves behind.
 *
 * Each change has a number and a marker in the log, which lists the blocks it
 * touched with a hash of what audit_leaf keeps of them, and the ranges of
 * blocks it removed as a whole.  The marker is sealed like any entry, so what
 * audit_leaf says cannot be made up later; and what it does not list, nobody
 * was meant to change.
 *
 * A purge that would take the marker of an earlier change with it makes that
 * change part of its own.
 *
 * Copyright (c) 2026, dbpatterns contributors
 *
 * src/audit/change.c
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "audit/seal.h"
#include "catalog/pg_type.h"
#include "commands/sequence.h"
#include "core/append.h"
#include "core/names.h"
#include "libpq/pqformat.h"
#include "utils/array.h"
#include "utils/builtins.h"
#include "utils/lsyscache.h"

/*
 * dbp_audit_change_number returns the number of a new change.
 */
int64
dbp_audit_change_number(void)
{
	return nextval_internal(dbp_own_relation("audit_id"), false);
}

/*
 * dbp_audit_change_keep records one step of a leaf: hash and now as in
 * audit_leaf, now NULL for a purged leaf.
 */
void
dbp_audit_change_keep(int64 change, int64 block, int leaf, int step,
					  const AuditHash *hash, const AuditHash *now)
{
	DbpParam	params[6];

	params[0] = DBP_PARAM(INT8OID, Int64GetDatum(block));
	params[1] = DBP_PARAM(INT4OID, Int32GetDatum(leaf));
	params[2] = DBP_PARAM(INT4OID, Int32GetDatum(step));
	params[3] = DBP_PARAM(INT8OID, Int64GetDatum(change));
	params[4] = DBP_PARAM(BYTEAOID, dbp_audit_bytea(hash, sizeof(AuditHash)));
	params[5] = DBP_PARAM_OR_NULL(BYTEAOID,
								  now ? dbp_audit_bytea(now, sizeof(AuditHash)) : (Datum) 0,
								  now == NULL);
	dbp_sql_query_latest("INSERT INTO _dbpatterns.audit_leaf VALUES ($1, $2, $3, $4, $5, $6)",
						 6, params);
}

/*
 * dbp_audit_change_salts stores the salts of a block.
 */
void
dbp_audit_change_salts(const AuditBlock *block)
{
	DbpParam	params[2];

	params[0] = DBP_PARAM(INT8OID, Int64GetDatum(block->block));
	params[1] = DBP_PARAM(BYTEAOID, dbp_audit_bytea(block->salts,
													sizeof(AuditSalt) * block->leaves));
	dbp_audit_log_change("UPDATE _dbpatterns.audit_block SET salts = $2 WHERE block = $1",
						 2, params);
	pfree(DatumGetPointer(params[1].value));
}

/*
 * change_digest hashes what audit_leaf keeps of a block for a change.
 */
static char *
change_digest(pg_cryptohash_ctx *ctx, int64 change, int64 block)
{
	DbpParam	params[2];
	uint64		rows;
	StringInfoData buf;
	AuditHash	hash;
	char	   *hex = palloc(sizeof(AuditHash) * 2 + 1);

	params[0] = DBP_PARAM(INT8OID, Int64GetDatum(change));
	params[1] = DBP_PARAM(INT8OID, Int64GetDatum(block));
	rows = dbp_audit_seal_read("SELECT leaf, step, hash, coalesce(now, '')"
							   " FROM _dbpatterns.audit_leaf WHERE change = $1 AND block = $2"
							   " ORDER BY leaf, step", 2, params);
	initStringInfo(&buf);
	for (uint64 i = 0; i < rows; i++)
	{
		pq_sendint32(&buf, DatumGetInt32(dbp_sql_value(i, 0, NULL)));
		pq_sendint32(&buf, DatumGetInt32(dbp_sql_value(i, 1, NULL)));
		for (int j = 2; j < 4; j++)
		{
			bytea	   *bytes = DatumGetByteaPP(dbp_sql_value(i, j, NULL));

			pq_sendint32(&buf, VARSIZE_ANY_EXHDR(bytes));
			appendBinaryStringInfo(&buf, VARDATA_ANY(bytes), VARSIZE_ANY_EXHDR(bytes));
		}
	}
	SPI_freetuptable(SPI_tuptable);
	dbp_audit_buffer_hash(ctx, &buf, &hash);
	pfree(buf.data);
	hex[hex_encode((const char *) hash.bytes, sizeof(hash.bytes), hex)] = '\0';
	return hex;
}

/*
 * dbp_audit_change_blocks returns the JSON object of a marker that lists the
 * blocks a change has touched, each with its hash.
 */
char *
dbp_audit_change_blocks(pg_cryptohash_ctx *ctx, int64 change)
{
	DbpParam	param = DBP_PARAM(INT8OID, Int64GetDatum(change));
	StringInfoData text;
	SPITupleTable *rows;
	uint64		n;

	n = dbp_audit_seal_read("SELECT DISTINCT block FROM _dbpatterns.audit_leaf"
							" WHERE change = $1 ORDER BY block", 1, &param);
	rows = SPI_tuptable;
	initStringInfo(&text);
	appendStringInfoChar(&text, '{');
	for (uint64 i = 0; i < n; i++)
	{
		bool		isnull;
		int64		block = DatumGetInt64(SPI_getbinval(rows->vals[i], rows->tupdesc, 1,
														&isnull));

		appendStringInfo(&text, "%s\"%lld\": \"%s\"", i > 0 ? ", " : "",
						 (long long) block, change_digest(ctx, change, block));
	}
	appendStringInfoChar(&text, '}');
	SPI_freetuptable(rows);
	return text.data;
}

/*
 * dbp_audit_change_log writes the marker of a change; detail is the text of a
 * JSON object.  Caller: as the user who asked for the change.
 */
void
dbp_audit_change_log(int64 change, int shape, const char *event, const char *detail)
{
	AuditEntry *entry = dbp_audit_add_marker(shape, event, detail, NULL);

	entry->key_changed = true;
	entry->old_row_key = (uint64) change;
	dbp_audit_batch_flush();
}

/*
 * dbp_audit_change_explains tells whether a marker says of a block what
 * audit_leaf keeps of it for a change.
 */
bool
dbp_audit_change_explains(pg_cryptohash_ctx *ctx, int64 change, int64 block)
{
	char	   *digest = change_digest(ctx, change, block);
	DbpParam	params[3];
	bool		found;

	params[0] = DBP_PARAM(INT8OID, Int64GetDatum(change));
	params[1] = DBP_PARAM(INT8OID, Int64GetDatum(block));
	params[2] = DBP_PARAM(TEXTOID, CStringGetTextDatum(digest));
	found = dbp_audit_seal_read("SELECT FROM _dbpatterns.audit_log"
								" WHERE old_row_key = $1 AND op = 'M'"
								" AND new #>> ARRAY['detail', 'blocks', $2::text] = $3",
								3, params) > 0;
	SPI_freetuptable(SPI_tuptable);
	return found;
}

/*
 * dbp_audit_change_range tells whether a marker says that a change has removed a
 * block as a whole, and the last one of the range it lists.
 */
bool
dbp_audit_change_range(int64 change, int64 block, int64 *last)
{
	DbpParam	params[2];
	bool		found;

	params[0] = DBP_PARAM(INT8OID, Int64GetDatum(change));
	params[1] = DBP_PARAM(INT8OID, Int64GetDatum(block));
	found = dbp_audit_seal_read("SELECT (r ->> 1)::int8"
								" FROM _dbpatterns.audit_log,"
								" jsonb_array_elements(new #> '{detail,whole}') r"
								" WHERE old_row_key = $1 AND op = 'M'"
								" AND $2 BETWEEN (r ->> 0)::int8 AND (r ->> 1)::int8",
								2, params) > 0;
	if (found)
		*last = DatumGetInt64(dbp_sql_value(0, 0, NULL));
	SPI_freetuptable(SPI_tuptable);
	return found;
}

/*
 * purge_whole gives blocks of which nothing stays to a change.
 */
static void
purge_whole(int64 change, TimestampTz before)
{
	DbpParam	params[2];

	params[0] = DBP_PARAM(INT8OID, Int64GetDatum(change));
	params[1] = DBP_PARAM(TIMESTAMPTZOID, TimestampTzGetDatum(before));
	dbp_audit_log_change("WITH whole AS (UPDATE _dbpatterns.audit_block"
						 " SET purged = $1, salts = NULL"
						 " WHERE root IS NOT NULL AND purged IS NULL AND last_time < $2"
						 " RETURNING block)"
						 " DELETE FROM _dbpatterns.audit_leaf l USING whole w"
						 " WHERE l.block = w.block", 2, params);
}

/*
 * purge_leaves keeps the leaves of a block that go with a partition.
 */
static void
purge_leaves(int64 change, const AuditBlock *block, Oid partition, TimestampTz before)
{
	pg_cryptohash_ctx *ctx = dbp_audit_sha256_create();
	int			nkept;
	AuditKept  *kept = dbp_audit_kept_read(block->block, &nkept);
	AuditLeaves *leaves = dbp_audit_leaves_open(block->from, block->upto);
	AuditLeaf  *leaf;

	for (int i = 0; i < block->leaves && (leaf = dbp_audit_leaves_peek(leaves)) != NULL; i++)
	{
		AuditKept  *this = dbp_audit_kept_find(kept, nkept, i);
		AuditHash	hash;

		if (this != NULL && this->purged)
			continue;
		if (leaf->relid == partition && leaf->xact_time < before)
		{
			if (this == NULL)
				dbp_audit_payload_hash(ctx, &block->salts[i], &leaf->payload, &hash);
			dbp_audit_leaf_hash(ctx, leaf, this ? &this->original : &hash, &hash);
			dbp_audit_change_keep(change, block->block, i, this ? this->steps : 0, &hash, NULL);
		}
		dbp_audit_leaves_advance(leaves);
	}
	dbp_audit_leaves_close(leaves);
	pg_cryptohash_free(ctx);
}

/*
 * partial_blocks returns the sealed blocks that lose leaves with a partition.
 */
static List *
partial_blocks(Oid partition, TimestampTz before)
{
	DbpParam	param = DBP_PARAM(TIMESTAMPTZOID, TimestampTzGetDatum(before));

	return dbp_audit_blocks_read(psprintf("purged IS NULL AND salts IS NOT NULL AND first_time < $1"
										  " AND EXISTS (SELECT FROM %s p WHERE p.xact_time < $1"
										  " AND p.txn >= from_txn AND p.txn <= upto_txn"
										  " AND (p.txn, p.id) > (from_txn, from_id)"
										  " AND (p.txn, p.id) <= (upto_txn, upto_id))"
										  " ORDER BY block",
										  dbp_relation_name_by_oid(partition)),
								 1, &param);
}

/*
 * going_changes returns the changes whose markers go with a partition, as an
 * array of bigint; NULL for none.
 */
static ArrayType *
going_changes(Oid partition, TimestampTz before)
{
	DbpParam	param = DBP_PARAM(TIMESTAMPTZOID, TimestampTzGetDatum(before));
	bool		isnull;
	Datum		changes;

	dbp_audit_seal_read(psprintf("SELECT array_agg(c.change) FROM"
								 " (SELECT change FROM _dbpatterns.audit_leaf"
								 " UNION SELECT purged FROM _dbpatterns.audit_block"
								 " WHERE purged IS NOT NULL) c"
								 " WHERE EXISTS (SELECT FROM %s m WHERE m.old_row_key = c.change"
								 " AND m.op = 'M' AND m.xact_time < $1)",
								 dbp_relation_name_by_oid(partition)), 1, &param);
	changes = dbp_sql_value(0, 0, &isnull);
	return isnull ? NULL : DatumGetArrayTypePCopy(changes);
}

/*
 * take_over makes earlier changes part of a new one, as far as their markers
 * explain them: what was tampered with must not become right by a purge.
 */
static void
take_over(int64 change, ArrayType *earlier)
{
	pg_cryptohash_ctx *ctx = dbp_audit_sha256_create();
	DbpParam	params[3];
	SPITupleTable *rows;
	uint64		n;

	params[0] = DBP_PARAM(INT8OID, Int64GetDatum(change));
	params[1] = DBP_PARAM(INT8ARRAYOID, PointerGetDatum(earlier));
	dbp_audit_log_change("UPDATE _dbpatterns.audit_block b SET purged = $1"
						 " FROM _dbpatterns.audit_log m,"
						 " jsonb_array_elements(m.new #> '{detail,whole}') r"
						 " WHERE m.old_row_key = ANY ($2) AND m.op = 'M'"
						 " AND b.purged = m.old_row_key"
						 " AND b.block BETWEEN (r ->> 0)::int8 AND (r ->> 1)::int8", 2, params);

	n = dbp_audit_seal_read("SELECT DISTINCT change, block FROM _dbpatterns.audit_leaf"
							" WHERE change = ANY ($1)", 1, &params[1]);
	rows = SPI_tuptable;
	for (uint64 i = 0; i < n; i++)
	{
		bool		isnull;
		Datum		old = SPI_getbinval(rows->vals[i], rows->tupdesc, 1, &isnull);
		Datum		block = SPI_getbinval(rows->vals[i], rows->tupdesc, 2, &isnull);

		if (!dbp_audit_change_explains(ctx, DatumGetInt64(old), DatumGetInt64(block)))
			continue;
		params[1] = DBP_PARAM(INT8OID, old);
		params[2] = DBP_PARAM(INT8OID, block);
		dbp_audit_log_change("UPDATE _dbpatterns.audit_leaf SET change = $1"
							 " WHERE change = $2 AND block = $3", 3, params);
	}
	SPI_freetuptable(rows);
	pg_cryptohash_free(ctx);
}

/*
 * purge_detail says what a purge did to sealed blocks.
 */
static char *
purge_detail(int64 change, Oid partition)
{
	pg_cryptohash_ctx *ctx = dbp_audit_sha256_create();
	DbpParam	param = DBP_PARAM(INT8OID, Int64GetDatum(change));
	StringInfoData text;

	dbp_audit_seal_refresh();
	dbp_audit_seal_read("SELECT coalesce(jsonb_agg(jsonb_build_array(first, last) ORDER BY first), '[]')"
						" FROM (SELECT min(block) AS first, max(block) AS last"
						" FROM (SELECT block, block - row_number() OVER (ORDER BY block) AS island"
						" FROM _dbpatterns.audit_block WHERE purged = $1) i GROUP BY island) r",
						1, &param);
	initStringInfo(&text);
	appendStringInfo(&text, "{\"change\": %lld, \"partition\": \"%s\", \"whole\": %s",
					 (long long) change, get_rel_name(partition), dbp_sql_text(0, 0));
	appendStringInfo(&text, ", \"blocks\": %s}", dbp_audit_change_blocks(ctx, change));
	pg_cryptohash_free(ctx);
	return text.data;
}

/*
 * dbp_audit_seal_purge keeps what sealed blocks need of the rows of a log
 * partition that began before a time and are about to be removed.  Blocks all
 * of whose transactions began before whole_before lose all their leaves sooner
 * or later in the same purge; of them only the row in audit_block stays.
 *
 * Caller: SPI connected, as the user who purges.
 */
void
dbp_audit_seal_purge(Oid partition, TimestampTz before, TimestampTz whole_before)
{
	DbpOwnerScope scope;
	DbpParam	param = DBP_PARAM(TIMESTAMPTZOID, TimestampTzGetDatum(whole_before));
	List	   *partial;
	ArrayType  *earlier;
	int64		change = 0;
	char	   *detail = NULL;
	bool		whole;
	ListCell   *lc;

	dbp_audit_seal_enter(&scope, true, AccessShareLock);
	whole = dbp_audit_seal_read("SELECT FROM _dbpatterns.audit_block WHERE root IS NOT NULL"
								" AND purged IS NULL AND last_time < $1 LIMIT 1", 1, &param) > 0;
	earlier = going_changes(partition, before);
	if (whole)
	{
		change = dbp_audit_change_number();
		purge_whole(change, whole_before);
		dbp_audit_seal_refresh();
	}
	partial = partial_blocks(partition, before);

	if (whole || partial != NIL || earlier != NULL)
	{
		if (change == 0)
			change = dbp_audit_change_number();
		if (earlier != NULL)
			take_over(change, earlier);
		foreach(lc, partial)
			purge_leaves(change, lfirst(lc), partition, before);
		detail = purge_detail(change, partition);
	}
	dbp_audit_seal_leave(&scope);
	if (detail != NULL)
		dbp_audit_change_log(change, 0, "sealed entries purged", detail);
}
