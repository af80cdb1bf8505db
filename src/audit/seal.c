/*-------------------------------------------------------------------------
 *
 * seal.c
 *	  Sealing the log: blocks of hashes, each with the hash of the one before.
 *
 * The hard part is to seal everything once and nothing too early, without
 * ever making a writer wait.  A writer has its transaction id before it draws
 * the number of its transaction.  So when the upper end of a block is drawn
 * from the same sequence, and the next transaction id (the fence) is read
 * after that, every transaction numbered below that end has an id below the
 * fence.  Once none of those runs, prepared ones included, the block can be
 * completed; until then it waits.
 *
 * Copyright (c) 2026, dbpatterns contributors
 *
 * src/audit/seal.c
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "access/transam.h"
#include "access/xact.h"
#include "access/xlog.h"
#include "audit/seal.h"
#include "catalog/pg_type.h"
#include "commands/sequence.h"
#include "core/append.h"
#include "funcapi.h"
#include "miscadmin.h"
#include "storage/proc.h"
#include "storage/procarray.h"
#include "utils/builtins.h"
#include "utils/memutils.h"
#include "utils/snapmgr.h"
#include "utils/xid8.h"

PG_FUNCTION_INFO_V1(dbpatterns_audit_seal);
PG_FUNCTION_INFO_V1(dbpatterns_audit_digest);

/* A longer range is cut into several blocks. */
#define BLOCK_LEAVES 16384

/* The block that waits to be completed. */
typedef struct Pending
{
	int64		block;
	AuditPosition from;
	AuditPosition upto;
	int64		system;
	FullTransactionId fence;
} Pending;

/* A block being built. */
typedef struct Builder
{
	Pending    *pending;
	pg_cryptohash_ctx *ctx;
	AuditBlock	block;
	AuditMerkle tree;
	AuditPosition last;			/* of the leaf added last */
	AuditSalt  *salts;			/* space for BLOCK_LEAVES */
} Builder;

static FullTransactionId
full_xid(TransactionId xid, FullTransactionId next)
{
	uint32		epoch = EpochFromFullTransactionId(next);

	if (xid > XidFromFullTransactionId(next))
		epoch--;
	return FullTransactionIdFromEpochAndXid(epoch, xid);
}

/*
 * is_elsewhere tells whether a transaction runs in another database, where it
 * cannot write to this log.  It does when it had the same process before and
 * after we looked; a prepared one has none.
 */
static bool
is_elsewhere(TransactionId xid)
{
	int			pid = BackendXidGetPid(xid);
	PGPROC	   *proc = pid != 0 ? BackendPidGetProc(pid) : NULL;
	Oid			database = proc != NULL ? proc->databaseId : InvalidOid;

	return OidIsValid(database) && database != MyDatabaseId &&
		BackendXidGetPid(xid) == pid;
}

/*
 * all_ended tells whether the active snapshot shows all that the transactions
 * numbered up to the block's upper end have written: whether none below the
 * fence was running when it was taken.  To a snapshot, whatever has an id from
 * its xmax on is running.  In another cluster than the one the fence was read
 * in, restored or upgraded, none of them runs.  Our own transaction is in no
 * snapshot; it counts if it has a number.
 */
static bool
all_ended(const Pending *pending)
{
	Snapshot	snapshot = GetActiveSnapshot();
	FullTransactionId next = ReadNextFullTransactionId();
	FullTransactionId xid = full_xid(snapshot->xmax, next);
	int64		own = dbp_audit_txn_current();

	if (own != 0 && own <= pending->upto.txn)
		return false;
	if (pending->system != (int64) GetSystemIdentifier())
		return true;
	for (uint32 i = 0; i < snapshot->xcnt; i++)
	{
		if (FullTransactionIdPrecedes(full_xid(snapshot->xip[i], next), pending->fence) &&
			!is_elsewhere(snapshot->xip[i]))
			return false;
	}
	for (; FullTransactionIdPrecedes(xid, pending->fence); FullTransactionIdAdvance(&xid))
	{
		if (!TransactionIdIsCurrentTransactionId(XidFromFullTransactionId(xid)) &&
			!is_elsewhere(XidFromFullTransactionId(xid)))
			return false;
	}
	return true;
}

static bool
read_pending(Pending *pending)
{
	if (dbp_audit_seal_read("SELECT block, from_txn, from_id, upto_txn, upto_id, system, fence"
							" FROM _dbpatterns.audit_block WHERE root IS NULL", 0, NULL) == 0)
		return false;
	pending->block = DatumGetInt64(dbp_sql_value(0, 0, NULL));
	pending->from.txn = DatumGetInt64(dbp_sql_value(0, 1, NULL));
	pending->from.id = DatumGetInt64(dbp_sql_value(0, 2, NULL));
	pending->upto.txn = DatumGetInt64(dbp_sql_value(0, 3, NULL));
	pending->upto.id = DatumGetInt64(dbp_sql_value(0, 4, NULL));
	pending->system = DatumGetInt64(dbp_sql_value(0, 5, NULL));
	pending->fence = DatumGetFullTransactionId(dbp_sql_value(0, 6, NULL));
	return true;
}

static void
delete_pending(void)
{
	dbp_audit_log_change("DELETE FROM _dbpatterns.audit_block WHERE root IS NULL", 0, NULL);
}

/*
 * newest_block returns the newest sealed block, NULL if there is none.
 */
static AuditBlock *
newest_block(void)
{
	List	   *blocks = dbp_audit_blocks_read("true ORDER BY block DESC LIMIT 1", 0, NULL);

	return blocks == NIL ? NULL : linitial(blocks);
}

/*
 * draw_pending starts a block that reaches up to now; false when no number
 * was drawn since the last one.  The order of what it does matters, see above.
 */
static bool
draw_pending(Pending *pending)
{
	AuditBlock *last = newest_block();
	DbpParam	params[7];

	pending->block = 1;
	pending->from.txn = PG_INT64_MIN;
	pending->from.id = PG_INT64_MIN;
	if (last != NULL)
	{
		pending->block = last->block + 1;
		pending->from = last->upto;
	}
	dbp_audit_seal_read("SELECT is_called, last_value FROM _dbpatterns.audit_id", 0, NULL);
	if (!DatumGetBool(dbp_sql_value(0, 0, NULL)) ||
		DatumGetInt64(dbp_sql_value(0, 1, NULL)) <= pending->from.txn)
		return false;

	pending->upto.txn = nextval_internal(dbp_own_relation("audit_id"), false);
	pending->upto.id = PG_INT64_MAX;
	pending->fence = ReadNextFullTransactionId();
	pending->system = (int64) GetSystemIdentifier();

	params[0] = DBP_PARAM(INT8OID, Int64GetDatum(pending->block));
	params[1] = DBP_PARAM(INT8OID, Int64GetDatum(pending->from.txn));
	params[2] = DBP_PARAM(INT8OID, Int64GetDatum(pending->from.id));
	params[3] = DBP_PARAM(INT8OID, Int64GetDatum(pending->upto.txn));
	params[4] = DBP_PARAM(INT8OID, Int64GetDatum(pending->upto.id));
	params[5] = DBP_PARAM(INT8OID, Int64GetDatum(pending->system));
	params[6] = DBP_PARAM(XID8OID, FullTransactionIdGetDatum(pending->fence));
	dbp_sql_query_latest("INSERT INTO _dbpatterns.audit_block"
						 " (block, from_txn, from_id, upto_txn, upto_id, system, fence)"
						 " VALUES ($1, $2, $3, $4, $5, $6, $7)", 7, params);
	dbp_audit_seal_refresh();
	return true;
}

static void
start_block(Builder *builder, int64 number, AuditPosition from, const AuditHash *previous)
{
	memset(&builder->block, 0, sizeof(AuditBlock));
	builder->block.block = number;
	builder->block.from = from;
	builder->block.previous = *previous;
	builder->block.first_time = DT_NOEND;
	builder->block.last_time = DT_NOBEGIN;
	dbp_audit_merkle_init(&builder->tree, builder->ctx);
}

static void
add_leaf(Builder *builder, const AuditLeaf *leaf)
{
	AuditBlock *block = &builder->block;
	AuditSalt  *salt = &builder->salts[block->leaves++];
	AuditHash	hash;

	dbp_audit_random(salt->salt, sizeof(salt->salt));
	dbp_audit_payload_hash(builder->ctx, salt, &leaf->payload, &hash);
	dbp_audit_leaf_hash(builder->ctx, leaf, &hash, &hash);
	memcpy(salt->check, hash.bytes, sizeof(salt->check));
	dbp_audit_merkle_add(&builder->tree, &hash);

	block->entries += leaf->op == AUDIT_WHO ? 0 : 1;
	block->first_time = Min(block->first_time, leaf->xact_time);
	block->last_time = Max(block->last_time, leaf->xact_time);
	builder->last = leaf->at;
}

/*
 * write_block stores the finished block, the first one of a range in place of
 * the pending one.
 */
static void
write_block(Builder *builder, AuditPosition upto)
{
	AuditBlock *block = &builder->block;
	DbpParam	params[16];

	if (block->block == builder->pending->block)
		delete_pending();

	block->upto = upto;
	block->sealed_at = GetCurrentTimestamp();
	dbp_audit_merkle_root(&builder->tree, &block->root);
	dbp_audit_block_hash(builder->ctx, block, &block->hash);

	params[0] = DBP_PARAM(INT8OID, Int64GetDatum(block->block));
	params[1] = DBP_PARAM(INT8OID, Int64GetDatum(block->from.txn));
	params[2] = DBP_PARAM(INT8OID, Int64GetDatum(block->from.id));
	params[3] = DBP_PARAM(INT8OID, Int64GetDatum(upto.txn));
	params[4] = DBP_PARAM(INT8OID, Int64GetDatum(upto.id));
	params[5] = DBP_PARAM(INT8OID, Int64GetDatum(builder->pending->system));
	params[6] = DBP_PARAM(XID8OID, FullTransactionIdGetDatum(builder->pending->fence));
	params[7] = DBP_PARAM(INT4OID, Int32GetDatum(block->leaves));
	params[8] = DBP_PARAM(INT4OID, Int32GetDatum(block->entries));
	params[9] = DBP_PARAM(TIMESTAMPTZOID, TimestampTzGetDatum(block->first_time));
	params[10] = DBP_PARAM(TIMESTAMPTZOID, TimestampTzGetDatum(block->last_time));
	params[11] = DBP_PARAM(BYTEAOID, dbp_audit_bytea(&block->root, sizeof(AuditHash)));
	params[12] = DBP_PARAM_OR_NULL(BYTEAOID, dbp_audit_bytea(&block->previous, sizeof(AuditHash)),
								   block->block == 1);
	params[13] = DBP_PARAM(BYTEAOID, dbp_audit_bytea(&block->hash, sizeof(AuditHash)));
	params[14] = DBP_PARAM(TIMESTAMPTZOID, TimestampTzGetDatum(block->sealed_at));
	params[15] = DBP_PARAM(BYTEAOID, dbp_audit_bytea(builder->salts,
													 sizeof(AuditSalt) * block->leaves));
	dbp_sql_query_latest("INSERT INTO _dbpatterns.audit_block VALUES"
						 " ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13,"
						 " $14, $15, $16)", 16, params);
	pfree(DatumGetPointer(params[15].value));
}

/*
 * complete_pending seals the pending range, in one or more blocks, and
 * returns the number of the last; 0 if there was nothing in it.  A block ends
 * between two positions, be it inside a transaction: all of it is there.
 */
static int64
complete_pending(Pending *pending)
{
	AuditHash	none = {{0}};
	AuditBlock *before = newest_block();
	Builder		builder;
	AuditLeaves *leaves;
	AuditLeaf  *leaf;
	int64		number = 0;

	builder.pending = pending;
	builder.ctx = dbp_audit_sha256_create();
	builder.salts = palloc(sizeof(AuditSalt) * BLOCK_LEAVES);
	start_block(&builder, pending->block, pending->from,
				before == NULL ? &none : &before->hash);

	leaves = dbp_audit_leaves_open(pending->from, pending->upto);
	while ((leaf = dbp_audit_leaves_peek(leaves)) != NULL)
	{
		if (builder.block.leaves == BLOCK_LEAVES)
		{
			AuditBlock *done = &builder.block;
			AuditHash	hash;

			write_block(&builder, builder.last);
			hash = done->hash;
			start_block(&builder, done->block + 1, done->upto, &hash);
		}
		add_leaf(&builder, leaf);
		dbp_audit_leaves_advance(leaves);
	}
	dbp_audit_leaves_close(leaves);

	if (builder.block.leaves > 0)
	{
		write_block(&builder, pending->upto);
		number = builder.block.block;
	}
	else
		delete_pending();
	pg_cryptohash_free(builder.ctx);
	pfree(builder.salts);
	dbp_audit_seal_refresh();
	return number;
}

/*
 * block_row returns a sealed block as audit_seal does, in the caller's memory.
 */
static Datum
block_row(int64 block)
{
	DbpParam	param = DBP_PARAM(INT8OID, Int64GetDatum(block));

	dbp_audit_seal_read("SELECT block, entries::int8, encode(hash, 'hex'), sealed_at"
						" FROM _dbpatterns.audit_block WHERE block = $1", 1, &param);
	return HeapTupleHeaderGetDatum(SPI_returntuple(SPI_tuptable->vals[0],
												   SPI_tuptable->tupdesc));
}

/*
 * audit_seal() seals what was logged since the last call.
 *
 * What transactions wrote that had ended when a block's upper end was drawn
 * becomes part of that block; where some of them still run, the block waits
 * and a later call completes it.  Returns the newest block that this call has
 * sealed, or NULL with a NOTICE.  A second call finds nothing to do.
 *
 * Raises 25006 in a read-only transaction and on a standby.  Takes a lock of
 * its own to the end of the transaction, which makes other sealing, erasing
 * and purging wait, and ACCESS SHARE on the partitions of the log; writers
 * never wait for it.  Runs as the owner of the log.  The method: Merkle trees
 * after RFC 6962, chained blocks, digests kept outside.
 */
Datum
dbpatterns_audit_seal(PG_FUNCTION_ARGS)
{
	DbpOwnerScope scope;
	Pending		pending;
	int64		sealed = 0;
	bool		waiting;
	Datum		result = (Datum) 0;

	PreventCommandIfReadOnly("dbpatterns.audit_seal()");
	SPI_connect();
	dbp_audit_batch_flush();
	dbp_audit_seal_enter(&scope, true, AccessShareLock);

	waiting = read_pending(&pending);
	if (waiting && all_ended(&pending))
	{
		sealed = complete_pending(&pending);
		waiting = false;
	}
	if (!waiting && draw_pending(&pending))
	{
		waiting = !all_ended(&pending);
		if (!waiting)
		{
			int64		second = complete_pending(&pending);

			sealed = Max(sealed, second);
		}
	}
	if (sealed > 0)
		result = block_row(sealed);
	dbp_audit_seal_leave(&scope);
	SPI_finish();

	if (sealed > 0)
		PG_RETURN_DATUM(result);
	if (waiting)
		ereport(NOTICE,
				(errmsg("block %lld waits for transactions that are still running",
						(long long) pending.block),
				 errhint("Call dbpatterns.audit_seal() again when they have ended.")));
	else
		ereport(NOTICE,
				(errmsg("there is nothing to seal")));
	PG_RETURN_NULL();
}

/*
 * audit_digest(block bigint) returns the digest of a sealed block, NULL: of
 * the newest one.  Stored outside the database it proves later that the block
 * and all before it are unchanged, see audit_verify.
 *
 * Returns NULL when no block is sealed yet.  Raises 42704 for a block that
 * does not exist.  Locks ACCESS SHARE on the log.  Runs as its owner.
 */
Datum
dbpatterns_audit_digest(PG_FUNCTION_ARGS)
{
	DbpOwnerScope scope;
	DbpParam	param = DBP_PARAM_OR_NULL(INT8OID, PG_GETARG_DATUM(0), PG_ARGISNULL(0));
	Datum		digest = (Datum) 0;
	bool		found;

	SPI_connect();
	dbp_audit_seal_enter(&scope, false, AccessShareLock);
	found = dbp_audit_seal_read("SELECT jsonb_build_object('block', block, 'entries', entries,"
								" 'upto', upto_txn, 'hash', encode(hash, 'hex'), 'sealed_at',"
								" to_char(sealed_at AT TIME ZONE 'UTC', 'YYYY-MM-DD\"T\"HH24:MI:SS.US\"Z\"'))"
								" FROM _dbpatterns.audit_block"
								" WHERE root IS NOT NULL AND ($1 IS NULL OR block = $1)"
								" ORDER BY block DESC LIMIT 1", 1, &param) > 0;
	if (found)
		digest = SPI_datumTransfer(dbp_sql_value(0, 0, NULL), false, -1);
	dbp_audit_seal_leave(&scope);
	SPI_finish();

	if (!found && !PG_ARGISNULL(0))
		ereport(ERROR,
				(errcode(ERRCODE_UNDEFINED_OBJECT),
				 errmsg("block %lld is not sealed", (long long) PG_GETARG_INT64(0)),
				 errhint("Leave the argument out for the newest sealed block.")));
	if (!found)
		PG_RETURN_NULL();
	PG_RETURN_DATUM(digest);
}
