/*-------------------------------------------------------------------------
 *
 * verify.c
 *	  Whether sealed blocks are what they were.
 *
 * Every leaf is hashed again and the chain of blocks followed.  The root of a
 * block decides; the few bytes kept of each leaf's hash only serve to name the
 * entry where it goes wrong.  What audit_leaf says of leaves that are no
 * longer there counts only as far as a marker in the log confirms it.
 *
 * All is read under one snapshot, and nothing is written: it runs on a
 * standby, too.
 *
 * Copyright (c) 2026, dbpatterns contributors
 *
 * src/audit/verify.c
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "access/xact.h"
#include "audit/seal.h"
#include "catalog/pg_type.h"
#include "funcapi.h"
#include "miscadmin.h"
#include "utils/builtins.h"
#include "utils/fmgrprotos.h"
#include "utils/memutils.h"

PG_FUNCTION_INFO_V1(dbpatterns_audit_verify);

/* Blocks are read together while they have no more leaves than this. */
#define RUN_LEAVES	65536
#define RUN_BLOCKS	32

/* What one call has to go on. */
typedef struct Verifier
{
	FunctionCallInfo fcinfo;
	pg_cryptohash_ctx *ctx;
	AuditBlock *previous;		/* NULL before the first block */
	AuditLeaves *leaves;		/* of the run of blocks being read */
	int64		digest_block;	/* 0: no digest was given */
	AuditHash	digest_hash;
	bool		digest_seen;
	int64		range_change;	/* blocks up to range_last are explained */
	int64		range_last;		/* by this change */
} Verifier;

static void
report(Verifier *verifier, int64 block, bool ok, const char *problem)
{
	ReturnSetInfo *rsinfo = (ReturnSetInfo *) verifier->fcinfo->resultinfo;
	Datum		values[3];
	bool		isnull[3] = {false, false, problem == NULL};

	values[0] = Int64GetDatum(block);
	values[1] = BoolGetDatum(ok);
	values[2] = problem ? CStringGetTextDatum(problem) : (Datum) 0;
	tuplestore_putvalues(rsinfo->setResult, rsinfo->setDesc, values, isnull);
}

static void
invalid_digest(void)
{
	ereport(ERROR,
			(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
			 errmsg("argument \"digest\" is not a digest"),
			 errhint("Give what dbpatterns.audit_digest returned.")));
}

static void
parse_digest(Verifier *verifier, Jsonb *digest)
{
	JsonbValue	block;
	JsonbValue	hash;
	char	   *hex;

	if (!JB_ROOT_IS_OBJECT(digest) ||
		getKeyJsonValueFromContainer(&digest->root, "block", 5, &block) == NULL ||
		block.type != jbvNumeric ||
		getKeyJsonValueFromContainer(&digest->root, "hash", 4, &hash) == NULL ||
		hash.type != jbvString || hash.val.string.len != sizeof(AuditHash) * 2)
		invalid_digest();
	hex = pnstrdup(hash.val.string.val, hash.val.string.len);
	verifier->digest_block =
		DatumGetInt64(DirectFunctionCall1(numeric_int8, NumericGetDatum(block.val.numeric)));
	if (verifier->digest_block < 1 || strspn(hex, "0123456789abcdef") < strlen(hex))
		invalid_digest();
	(void) hex_decode(hex, hash.val.string.len,
					  (char *) verifier->digest_hash.bytes);
}

/*
 * check_chain looks at the block's row alone.
 */
static const char *
check_chain(Verifier *verifier, const AuditBlock *block)
{
	AuditBlock *previous = verifier->previous;
	AuditHash	previous_hash = {{0}};
	AuditHash	hash;

	dbp_audit_block_hash(verifier->ctx, block, &hash);
	if (!dbp_audit_same_hash(&hash, &block->hash))
		return "the row of the block was changed";
	if (previous != NULL)
		previous_hash = previous->hash;
	if ((previous != NULL || block->block == 1) &&
		!dbp_audit_same_hash(&block->previous, &previous_hash))
		return "it does not follow from the block before";
	if (previous != NULL && dbp_audit_position_cmp(block->from, previous->upto) != 0)
		return "it does not begin where the block before ends";
	if (block->block == verifier->digest_block)
	{
		verifier->digest_seen = true;
		if (!dbp_audit_same_hash(&hash, &verifier->digest_hash))
			return "it differs from the digest";
	}
	if (block->purged == 0 && block->salts == NULL)
		return "its salts were changed";
	return NULL;
}

/*
 * check_changes sees whether markers confirm what is kept of changed leaves.
 */
static const char *
check_changes(Verifier *verifier, int64 block)
{
	DbpParam	param = DBP_PARAM(INT8OID, Int64GetDatum(block));
	const char *problem = NULL;
	uint64		n = dbp_audit_seal_read("SELECT DISTINCT change FROM _dbpatterns.audit_leaf"
										" WHERE block = $1 ORDER BY change", 1, &param);
	SPITupleTable *rows = SPI_tuptable;

	for (uint64 i = 0; i < n && problem == NULL; i++)
	{
		bool		isnull;
		int64		change = DatumGetInt64(SPI_getbinval(rows->vals[i], rows->tupdesc, 1,
														 &isnull));

		if (!dbp_audit_change_explains(verifier->ctx, change, block))
			problem = psprintf("no marker in the log explains change %lld of its entries",
							   (long long) change);
	}
	SPI_freetuptable(rows);
	return problem;
}

static const char *
check_purged(Verifier *verifier, const AuditBlock *block)
{
	if (block->purged == verifier->range_change && block->block <= verifier->range_last)
		return NULL;
	if (!dbp_audit_change_range(block->purged, block->block, &verifier->range_last))
		return psprintf("no marker in the log explains purge %lld", (long long) block->purged);
	verifier->range_change = block->purged;
	return NULL;
}

static char *
leaf_name(const AuditLeaf *leaf)
{
	return psprintf("entry %lld of transaction %lld",
					(long long) leaf->at.id, (long long) leaf->at.txn);
}

/* Does the leaf have the hash that the salt's check bytes tell? */
static bool
leaf_fits(Verifier *verifier, const AuditLeaf *leaf, const AuditSalt *salt,
		  const AuditKept *kept, AuditHash *hash)
{
	if (kept != NULL)
		*hash = kept->original;
	else
		dbp_audit_payload_hash(verifier->ctx, salt, &leaf->payload, hash);
	dbp_audit_leaf_hash(verifier->ctx, leaf, hash, hash);
	return memcmp(hash, salt->check, sizeof(salt->check)) == 0;
}

/*
 * explain_misfit says what is wrong with the current leaf, which is not leaf
 * number i of the block.
 */
static const char *
explain_misfit(Verifier *verifier, const AuditBlock *block, AuditKept *kept, int nkept,
			   int i)
{
	AuditLeaf  *leaf = dbp_audit_leaves_peek(verifier->leaves);
	AuditHash	hash;
	char	   *name = leaf_name(leaf);

	if (i + 1 < block->leaves &&
		leaf_fits(verifier, leaf, &block->salts[i + 1],
				  dbp_audit_kept_find(kept, nkept, i + 1), &hash))
		return psprintf("an entry before %s is missing", name);
	dbp_audit_leaves_advance(verifier->leaves);
	leaf = dbp_audit_leaves_peek(verifier->leaves);
	if (leaf != NULL && dbp_audit_position_cmp(leaf->at, block->upto) <= 0 &&
		leaf_fits(verifier, leaf, &block->salts[i],
				  dbp_audit_kept_find(kept, nkept, i), &hash))
		return psprintf("%s was added", name);
	return psprintf("%s is not the one that was sealed", name);
}

/*
 * check_leaves hashes the leaves of a block again.
 */
static const char *
check_leaves(Verifier *verifier, const AuditBlock *block)
{
	int			nkept;
	AuditKept  *kept = dbp_audit_kept_read(block->block, &nkept);
	AuditMerkle tree;
	AuditHash	hash;
	AuditLeaf  *leaf;
	const char *problem = nkept > 0 ? check_changes(verifier, block->block) : NULL;

	if (problem != NULL)
		return problem;
	dbp_audit_merkle_init(&tree, verifier->ctx);
	for (int i = 0; i < block->leaves; i++)
	{
		AuditKept  *this = dbp_audit_kept_find(kept, nkept, i);

		if (this != NULL && this->broken)
			return psprintf("what is kept of its leaf %d was changed", i);
		if (this != NULL && this->purged)
		{
			dbp_audit_merkle_add(&tree, &this->original);
			continue;
		}
		leaf = dbp_audit_leaves_peek(verifier->leaves);
		if (leaf == NULL || dbp_audit_position_cmp(leaf->at, block->upto) > 0)
			return "entries at its end are missing";
		if (this != NULL)
		{
			dbp_audit_payload_hash(verifier->ctx, &block->salts[i], &leaf->payload, &hash);
			if (!dbp_audit_same_hash(&hash, &this->now))
				return psprintf("%s was changed after values of it were erased",
								leaf_name(leaf));
		}
		if (!leaf_fits(verifier, leaf, &block->salts[i], this, &hash))
			return explain_misfit(verifier, block, kept, nkept, i);
		dbp_audit_merkle_add(&tree, &hash);
		dbp_audit_leaves_advance(verifier->leaves);
	}
	leaf = dbp_audit_leaves_peek(verifier->leaves);
	if (leaf != NULL && dbp_audit_position_cmp(leaf->at, block->upto) <= 0)
		return psprintf("%s was added", leaf_name(leaf));

	dbp_audit_merkle_root(&tree, &hash);
	return dbp_audit_same_hash(&hash, &block->root) ? NULL : "its entries do not make its root";
}

static void
check_block(Verifier *verifier, AuditBlock *block)
{
	const char *problem = check_chain(verifier, block);
	AuditLeaf  *leaf;

	if (problem == NULL && block->purged != 0)
	{
		problem = check_purged(verifier, block);
		report(verifier, block->block, problem == NULL,
			   problem ? problem : "purged: only its place in the chain was checked");
	}
	else
	{
		if (problem == NULL)
			problem = check_leaves(verifier, block);
		report(verifier, block->block, problem == NULL, problem);
	}

	/* Whatever was found, the next block starts with its own leaves. */
	while ((leaf = dbp_audit_leaves_peek(verifier->leaves)) != NULL &&
		   dbp_audit_position_cmp(leaf->at, block->upto) <= 0)
		dbp_audit_leaves_advance(verifier->leaves);
	verifier->previous = block;
}

/*
 * check_run checks blocks that follow one another, with one reading of the
 * log, and returns how many that were.
 */
static int
check_run(Verifier *verifier, List *blocks)
{
	AuditBlock *first = linitial(blocks);
	AuditBlock *last = first;
	int64		total = 0;
	int			n = 0;
	ListCell   *lc;

	foreach(lc, blocks)
	{
		AuditBlock *block = lfirst(lc);

		if (n > 0 && (block->block != last->block + 1 ||
					  dbp_audit_position_cmp(block->from, last->upto) != 0 ||
					  total + block->leaves > RUN_LEAVES))
			break;
		total += block->leaves;
		last = block;
		n++;
	}

	verifier->leaves = dbp_audit_leaves_open(first->from, last->upto);
	for (int i = 0; i < n; i++)
		check_block(verifier, list_nth(blocks, i));
	dbp_audit_leaves_close(verifier->leaves);
	return n;
}

static void
report_missing(Verifier *verifier, int64 first, int64 last)
{
	if (verifier->digest_block >= first && verifier->digest_block <= last)
		verifier->digest_seen = true;
	report(verifier, first, false,
		   first == last ? "the block is missing" :
		   psprintf("blocks %lld to %lld are missing", (long long) first, (long long) last));
	verifier->previous = NULL;
}

/*
 * check_range checks the blocks from first to last, a run at a time.
 */
static void
check_range(Verifier *verifier, int64 first, int64 last, bool last_given)
{
	MemoryContext cxts[2];
	int64		next = first;

	for (int i = 0; i < 2; i++)
		cxts[i] = AllocSetContextCreate(CurrentMemoryContext, "dbpatterns audit verify",
										ALLOCSET_DEFAULT_SIZES);
	for (int turn = 0;; turn++)
	{
		/* The previous block is in the context of the turn before. */
		MemoryContext oldcxt = MemoryContextSwitchTo(cxts[turn % 2]);
		DbpParam	params[3];
		List	   *blocks;
		int			done = 0;

		MemoryContextReset(CurrentMemoryContext);
		params[0] = DBP_PARAM(INT8OID, Int64GetDatum(next));
		params[1] = DBP_PARAM(INT8OID, Int64GetDatum(last));
		params[2] = DBP_PARAM(INT8OID, Int64GetDatum(RUN_BLOCKS));
		blocks = dbp_audit_blocks_read("block >= $1 AND block <= $2 ORDER BY block LIMIT $3",
									   3, params);
		while (done < list_length(blocks))
		{
			AuditBlock *block = list_nth(blocks, done);

			if (block->block > next)
				report_missing(verifier, next, block->block - 1);
			done += check_run(verifier, list_copy_tail(blocks, done));
			next = ((AuditBlock *) list_nth(blocks, done - 1))->block + 1;
		}
		MemoryContextSwitchTo(oldcxt);
		if (done == 0)
			break;
	}
	if (last_given && next <= last)
		report_missing(verifier, next, last);
	for (int i = 0; i < 2; i++)
		MemoryContextDelete(cxts[i]);
}

/*
 * check_digest_block looks at the block of the digest if the range did not
 * include it.
 */
static void
check_digest_block(Verifier *verifier)
{
	DbpParam	param = DBP_PARAM(INT8OID, Int64GetDatum(verifier->digest_block));
	List	   *blocks = dbp_audit_blocks_read("block = $1", 1, &param);
	AuditBlock *block = blocks == NIL ? NULL : linitial(blocks);

	if (block == NULL)
		report(verifier, verifier->digest_block, false, "the block of the digest is missing");
	else if (!dbp_audit_same_hash(&block->hash, &verifier->digest_hash))
		report(verifier, block->block, false, "it differs from the digest");
}

/*
 * require_block raises unless a block of that or a greater number is sealed.
 */
static void
require_block(int64 first)
{
	DbpParam	param = DBP_PARAM(INT8OID, Int64GetDatum(first));

	if (dbp_audit_blocks_read("block >= $1 LIMIT 1", 1, &param) == NIL)
		ereport(ERROR,
				(errcode(ERRCODE_UNDEFINED_OBJECT),
				 errmsg("block %lld is not sealed", (long long) first),
				 errhint("Leave argument \"from_block\" out to begin with the first block.")));
}

/*
 * audit_verify(from_block bigint, to_block bigint, digest jsonb) tells for
 * each sealed block whether it is what it was when it was sealed.
 *
 * from_block: NULL for the first one; to_block: NULL for the newest one.
 * digest: what audit_digest returned once and what was stored
 * elsewhere since; without one, removed blocks at the end and a history that
 * was sealed anew cannot be noticed.  Returns one row for each block; problem
 * is NULL when all is well, and says what is wrong when ok is false.  Erased
 * values are no problem as long as the erasure is logged; of blocks that were
 * purged only the chain is checked.  Raises 22023 for a block below 1, a
 * range that ends before it starts, and what is no digest; 42704 when
 * from_block is greater than 1 and beyond the newest block.  Locks ACCESS
 * SHARE on the log; changes nothing, so a second call tells the same.  Runs
 * as the owner of the log.
 */
Datum
dbpatterns_audit_verify(PG_FUNCTION_ARGS)
{
	DbpOwnerScope scope;
	Verifier	verifier = {0};
	int64		first = PG_ARGISNULL(0) ? 1 : PG_GETARG_INT64(0);
	int64		last = PG_ARGISNULL(1) ? PG_INT64_MAX - 1 : PG_GETARG_INT64(1);

	InitMaterializedSRF(fcinfo, 0);
	if (first < 1)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("argument \"from_block\" must be at least 1"),
				 errhint("Leave it out to begin with the first block.")));
	if (last < first)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("argument \"to_block\" must not be less than \"from_block\""),
				 errhint("Leave it out to go on to the newest block.")));
	if (!PG_ARGISNULL(2))
		parse_digest(&verifier, PG_GETARG_JSONB_P(2));

	verifier.fcinfo = fcinfo;
	SPI_connect();
	dbp_audit_seal_enter(&scope, false, AccessShareLock);
	verifier.ctx = dbp_audit_sha256_create();
	if (first > 1)
	{
		DbpParam	param = DBP_PARAM(INT8OID, Int64GetDatum(first - 1));
		List	   *before;

		require_block(first);
		before = dbp_audit_blocks_read("block = $1", 1, &param);
		if (before == NIL)
			report_missing(&verifier, first - 1, first - 1);
		else
			verifier.previous = linitial(before);
	}
	check_range(&verifier, first, last, !PG_ARGISNULL(1));
	if (verifier.digest_block != 0 && !verifier.digest_seen)
		check_digest_block(&verifier);
	pg_cryptohash_free(verifier.ctx);
	dbp_audit_seal_leave(&scope);
	SPI_finish();
	return (Datum) 0;
}
