/*-------------------------------------------------------------------------
 *
 * merkle.c
 *	  Hashes of leaves, trees and blocks.
 *
 * The tree is that of RFC 6962: leaves and nodes are hashed with different
 * first bytes, so that none can pass for the other, and a node without a
 * sibling moves up as it is.  It is built as leaves come, keeping one hash for
 * each level.
 *
 * The content of a leaf enters its hash by way of a salted hash of its own:
 * that one is kept when the content is erased, and with the salt gone nobody
 * can find out the content by trying.
 *
 *		payload = SHA256(salt || payload bytes)
 *		leaf    = SHA256(0x00 || fixed bytes || payload)
 *		node    = SHA256(0x01 || left || right)
 *		block   = SHA256(0x02 || fields of the block, root and previous hash)
 *
 * Copyright (c) 2026, dbpatterns contributors
 *
 * src/audit/merkle.c
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "audit/seal.h"
#include "libpq/pqformat.h"
#include "utils/builtins.h"

/*
 * dbp_audit_sha256_create makes a context to be used for many hashes.
 */
pg_cryptohash_ctx *
dbp_audit_sha256_create(void)
{
	pg_cryptohash_ctx *ctx = pg_cryptohash_create(PG_SHA256);

	if (ctx == NULL)
		ereport(ERROR,
				(errcode(ERRCODE_OUT_OF_MEMORY),
				 errmsg("out of memory for computing SHA-256"),
				 errhint("Try again when the server has more memory free.")));
	return ctx;
}

/*
 * dbp_audit_random fills bytes with random ones that nobody can guess.
 */
void
dbp_audit_random(void *bytes, Size length)
{
	if (!pg_strong_random(bytes, length))
		ereport(ERROR,
				(errcode(ERRCODE_INTERNAL_ERROR),
				 errmsg("the system has no random numbers for salts of the audit log"),
				 errhint("See that the server's process can read its source of them, such as /dev/urandom.")));
}

/*
 * dbp_audit_sha256 hashes the concatenation of n parts.
 */
void
dbp_audit_sha256(pg_cryptohash_ctx *ctx, AuditHash *hash, int n,
				 const void *const *parts, const Size *lengths)
{
	bool		ok = pg_cryptohash_init(ctx) >= 0;

	for (int i = 0; ok && i < n; i++)
		ok = pg_cryptohash_update(ctx, parts[i], lengths[i]) >= 0;
	if (!ok || pg_cryptohash_final(ctx, hash->bytes, sizeof(hash->bytes)) < 0)
		elog(ERROR, "could not compute SHA-256: %s", pg_cryptohash_error(ctx));
}

/*
 * dbp_audit_buffer_hash hashes a buffer.
 */
void
dbp_audit_buffer_hash(pg_cryptohash_ctx *ctx, const StringInfoData *buf, AuditHash *hash)
{
	const void *parts[] = {buf->data};
	Size		lengths[] = {buf->len};

	dbp_audit_sha256(ctx, hash, 1, parts, lengths);
}

/*
 * dbp_audit_payload_hash hashes what an erasure may change.
 */
void
dbp_audit_payload_hash(pg_cryptohash_ctx *ctx, const AuditSalt *salt,
					   const StringInfoData *payload, AuditHash *hash)
{
	const void *parts[] = {salt->salt, payload->data};
	Size		lengths[] = {sizeof(salt->salt), payload->len};

	dbp_audit_sha256(ctx, hash, 2, parts, lengths);
}

/*
 * dbp_audit_leaf_hash makes the hash of a leaf from that of its payload.
 */
void
dbp_audit_leaf_hash(pg_cryptohash_ctx *ctx, const AuditLeaf *leaf,
					const AuditHash *payload, AuditHash *hash)
{
	const void *parts[] = {"\0", leaf->fixed.data, payload};
	Size		lengths[] = {1, leaf->fixed.len, sizeof(AuditHash)};

	dbp_audit_sha256(ctx, hash, 3, parts, lengths);
}

static void
send_hash(StringInfo buf, const AuditHash *hash)
{
	appendBinaryStringInfo(buf, (const char *) hash->bytes, sizeof(hash->bytes));
}

/*
 * dbp_audit_block_hash makes the hash that the next block refers to.
 */
void
dbp_audit_block_hash(pg_cryptohash_ctx *ctx, const AuditBlock *block, AuditHash *hash)
{
	StringInfoData buf;

	initStringInfo(&buf);
	pq_sendbyte(&buf, 2);
	pq_sendint64(&buf, block->block);
	pq_sendint64(&buf, block->from.txn);
	pq_sendint64(&buf, block->from.id);
	pq_sendint64(&buf, block->upto.txn);
	pq_sendint64(&buf, block->upto.id);
	pq_sendint32(&buf, block->leaves);
	pq_sendint32(&buf, block->entries);
	pq_sendint64(&buf, block->first_time);
	pq_sendint64(&buf, block->last_time);
	send_hash(&buf, &block->root);
	send_hash(&buf, &block->previous);
	pq_sendint64(&buf, block->sealed_at);
	dbp_audit_buffer_hash(ctx, &buf, hash);
	pfree(buf.data);
}

/*
 * dbp_audit_merkle_init starts an empty tree.
 */
void
dbp_audit_merkle_init(AuditMerkle *tree, pg_cryptohash_ctx *ctx)
{
	tree->ctx = ctx;
	tree->depth = 0;
}

/* Replace the two last nodes by their parent. */
static void
join_nodes(AuditMerkle *tree)
{
	AuditHash  *left = &tree->nodes[tree->depth - 2];
	const void *parts[] = {"\1", left, left + 1};
	Size		lengths[] = {1, sizeof(AuditHash), sizeof(AuditHash)};
	AuditHash	parent;

	dbp_audit_sha256(tree->ctx, &parent, 3, parts, lengths);
	*left = parent;
	tree->depth--;
	tree->levels[tree->depth - 1]++;
}

/*
 * dbp_audit_merkle_add adds the next leaf.
 */
void
dbp_audit_merkle_add(AuditMerkle *tree, const AuditHash *leaf)
{
	Assert(tree->depth < lengthof(tree->nodes));
	tree->nodes[tree->depth] = *leaf;
	tree->levels[tree->depth++] = 0;
	while (tree->depth > 1 &&
		   tree->levels[tree->depth - 1] == tree->levels[tree->depth - 2])
		join_nodes(tree);
}

/*
 * dbp_audit_merkle_root ends a tree of at least one leaf.
 */
void
dbp_audit_merkle_root(AuditMerkle *tree, AuditHash *root)
{
	Assert(tree->depth > 0);
	while (tree->depth > 1)
		join_nodes(tree);
	*root = tree->nodes[0];
}

/*
 * dbp_audit_same_hash tells whether two hashes are equal.
 */
bool
dbp_audit_same_hash(const AuditHash *a, const AuditHash *b)
{
	return memcmp(a, b, sizeof(AuditHash)) == 0;
}

/*
 * dbp_audit_bytea returns bytes as bytea.
 */
Datum
dbp_audit_bytea(const void *bytes, Size length)
{
	bytea	   *result = palloc(VARHDRSZ + length);

	SET_VARSIZE(result, VARHDRSZ + length);
	memcpy(VARDATA(result), bytes, length);
	return PointerGetDatum(result);
}
