/*-------------------------------------------------------------------------
 *
 * seal.h
 *	  Audit trail: what sealing, verifying, erasing and purging share.
 *
 *
 * Copyright (c) 2026, dbpatterns contributors
 *
 * src/audit/seal.h
 *
 *-------------------------------------------------------------------------
 */
#ifndef DBP_AUDIT_SEAL_H
#define DBP_AUDIT_SEAL_H

#include "audit/audit.h"
#include "common/cryptohash.h"
#include "common/sha2.h"
#include "core/owner.h"
#include "core/sql.h"
#include "datatype/timestamp.h"
#include "lib/stringinfo.h"
#include "storage/itemptr.h"
#include "storage/lockdefs.h"
#include "utils/jsonb.h"

typedef struct AuditHash
{
	uint8		bytes[PG_SHA256_DIGEST_LENGTH];
} AuditHash;

/* What audit_block.salts holds for each leaf. */
typedef struct AuditSalt
{
	uint8		salt[16];
	uint8		check[4];		/* first bytes of the leaf's hash */
} AuditSalt;

/* A place in the order of leaves. */
typedef struct AuditPosition
{
	int64		txn;
	int64		id;
} AuditPosition;

/* A row of audit_block.  Sealed: has a root. */
typedef struct AuditBlock
{
	int64		block;
	AuditPosition from;			/* exclusive */
	AuditPosition upto;			/* inclusive */
	int			leaves;
	int			entries;
	TimestampTz first_time;
	TimestampTz last_time;
	AuditHash	root;
	AuditHash	previous;		/* zeros in the first block */
	AuditHash	hash;
	TimestampTz sealed_at;
	AuditSalt  *salts;			/* NULL: purged, or not as many as leaves */
	int64		purged;			/* change, 0: not purged */
} AuditBlock;

/* A row of audit_log in canonical form. */
typedef struct AuditLeaf
{
	char		op;
	Oid			relid;			/* partition it is in */
	TimestampTz xact_time;
	AuditPosition at;
	StringInfoData fixed;		/* what an erasure leaves */
	StringInfoData payload;		/* what it may change */
} AuditLeaf;

typedef struct AuditLeaves AuditLeaves;

/* What is kept of a leaf that was erased or purged, from audit_leaf. */
typedef struct AuditKept
{
	int			leaf;
	int			steps;
	bool		purged;
	AuditHash	original;		/* of the payload, or purged: of the leaf */
	AuditHash	now;			/* of the payload, unless purged */
	bool		broken;			/* the steps do not follow from one another */
} AuditKept;

/* An entry of a row. */
typedef struct AuditHit
{
	AuditPosition at;
	Oid			relid;
	ItemPointerData tid;
} AuditHit;

/* merkle.c */
typedef struct AuditMerkle
{
	pg_cryptohash_ctx *ctx;
	int			depth;
	int			levels[32];
	AuditHash	nodes[32];
} AuditMerkle;

extern void dbp_audit_sha256(pg_cryptohash_ctx *ctx, AuditHash *hash, int n,
							 const void *const *parts, const Size *lengths);
extern void dbp_audit_buffer_hash(pg_cryptohash_ctx *ctx, const StringInfoData *buf,
								  AuditHash *hash);
extern void dbp_audit_leaf_hash(pg_cryptohash_ctx *ctx, const AuditLeaf *leaf,
								const AuditHash *payload, AuditHash *hash);
extern void dbp_audit_payload_hash(pg_cryptohash_ctx *ctx, const AuditSalt *salt,
								   const StringInfoData *payload, AuditHash *hash);
extern void dbp_audit_block_hash(pg_cryptohash_ctx *ctx, const AuditBlock *block,
								 AuditHash *hash);
extern void dbp_audit_merkle_init(AuditMerkle *tree, pg_cryptohash_ctx *ctx);
extern void dbp_audit_merkle_add(AuditMerkle *tree, const AuditHash *leaf);
extern void dbp_audit_merkle_root(AuditMerkle *tree, AuditHash *root);
extern bool dbp_audit_same_hash(const AuditHash *a, const AuditHash *b);
extern Datum dbp_audit_bytea(const void *bytes, Size length);
extern pg_cryptohash_ctx *dbp_audit_sha256_create(void);
extern void dbp_audit_random(void *bytes, Size length);

/* leaf.c */
extern int	dbp_audit_position_cmp(AuditPosition a, AuditPosition b);
extern AuditLeaves *dbp_audit_leaves_open(AuditPosition from, AuditPosition upto);
extern AuditLeaf *dbp_audit_leaves_peek(AuditLeaves *leaves);
extern void dbp_audit_leaves_advance(AuditLeaves *leaves);
extern void dbp_audit_leaves_close(AuditLeaves *leaves);
extern void dbp_audit_entry_payload(StringInfo buf, const int64 *row_key,
									const int64 *old_row_key, Jsonb *old, Jsonb *new);

/* block.c */
extern void dbp_audit_seal_enter(DbpOwnerScope *scope, bool exclusive, LOCKMODE mode);
extern void dbp_audit_seal_refresh(void);
extern void dbp_audit_seal_leave(DbpOwnerScope *scope);
extern uint64 dbp_audit_seal_read(const char *sql, int nparams, const DbpParam *params);
extern List *dbp_audit_blocks_read(const char *condition, int nparams, const DbpParam *params);
extern AuditKept *dbp_audit_kept_read(int64 block, int *n);
extern AuditKept *dbp_audit_kept_find(AuditKept *kept, int n, int leaf);

/* change.c */
extern int64 dbp_audit_change_number(void);
extern void dbp_audit_change_keep(int64 change, int64 block, int leaf, int step,
								  const AuditHash *hash, const AuditHash *now);
extern void dbp_audit_change_salts(const AuditBlock *block);
extern char *dbp_audit_change_blocks(pg_cryptohash_ctx *ctx, int64 change);
extern void dbp_audit_change_log(int64 change, int shape, const char *event,
								 const char *detail);
extern bool dbp_audit_change_explains(pg_cryptohash_ctx *ctx, int64 change, int64 block);
extern bool dbp_audit_change_range(int64 change, int64 block, int64 *last);

/* lives.c */
extern AuditHit *dbp_audit_row_entries(AuditTrail *trail, AuditProbe *probes, int *n);

#endif							/* DBP_AUDIT_SEAL_H */
