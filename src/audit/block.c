/*-------------------------------------------------------------------------
 *
 * block.c
 *	  Reading sealed blocks, and the scope in which that is done.
 *
 * Sealing, erasing and purging exclude one another by a lock of ours that
 * nobody else knows; verifying needs none.  Writers of the log never meet it.
 * All of them lock the log's partitions before they take the snapshot they
 * read with, so that rows cannot leave with a partition in between.
 *
 * Copyright (c) 2026, dbpatterns contributors
 *
 * src/audit/block.c
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "access/xact.h"
#include "audit/seal.h"
#include "catalog/pg_inherits.h"
#include "catalog/pg_type.h"
#include "core/append.h"
#include "miscadmin.h"
#include "storage/lmgr.h"
#include "storage/lock.h"
#include "utils/guc.h"
#include "utils/snapmgr.h"

/* SQL-callable advisory locks have 1 and 2 here. */
#define SEAL_LOCK_KIND 0xdb

static void
lock_sealing(void)
{
	LOCKTAG		tag;

	SET_LOCKTAG_ADVISORY(tag, MyDatabaseId, dbp_own_relation("audit_block"), 0,
						 SEAL_LOCK_KIND);
	(void) LockAcquire(&tag, ExclusiveLock, false, false);
}

/*
 * dbp_audit_seal_enter becomes the owner of the log, locks its partitions in mode
 * until the transaction ends, and takes a snapshot of all that is committed;
 * with exclusive, after everybody else who changes blocks.  Caller: SPI
 * connected.
 */
void
dbp_audit_seal_enter(DbpOwnerScope *scope, bool exclusive, LOCKMODE mode)
{
	dbp_enter_owner(scope, dbp_audit_log_owner());
	(void) set_config_option("jit", "off", PGC_USERSET, PGC_S_SESSION,
							 GUC_ACTION_SAVE, true, 0, false);
	if (exclusive)
		lock_sealing();
	LockRelationOid(dbp_own_relation("audit_log"), mode);
	(void) find_all_inheritors(dbp_own_relation("audit_log"), mode, NULL);
	CommandCounterIncrement();
	PushActiveSnapshot(GetLatestSnapshot());
}

/*
 * dbp_audit_seal_refresh takes a new snapshot, which shows what we did ourselves.
 */
void
dbp_audit_seal_refresh(void)
{
	PopActiveSnapshot();
	CommandCounterIncrement();
	PushActiveSnapshot(GetLatestSnapshot());
}

/*
 * dbp_audit_seal_leave ends the scope.
 */
void
dbp_audit_seal_leave(DbpOwnerScope *scope)
{
	PopActiveSnapshot();
	dbp_leave_owner(scope);
}

/*
 * dbp_audit_seal_read runs a query under the scope's snapshot, so that all
 * queries of one function see one state of the log.
 */
uint64
dbp_audit_seal_read(const char *sql, int nparams, const DbpParam *params)
{
	Oid			types[8];
	Datum		values[8];
	char		nulls[8] = {0};
	int			rc;

	Assert(nparams <= lengthof(types));
	for (int i = 0; i < nparams; i++)
	{
		types[i] = params[i].type;
		values[i] = params[i].value;
		nulls[i] = params[i].isnull ? 'n' : ' ';
	}
	rc = SPI_execute_with_args(sql, nparams, types, values, nulls, true, 0);
	if (rc < 0)
		elog(ERROR, "SPI failed for \"%s\": %s", sql, SPI_result_code_string(rc));
	return SPI_processed;
}

static int64
int64_column(uint64 row, int column)
{
	bool		isnull;
	Datum		value = dbp_sql_value(row, column, &isnull);

	return isnull ? 0 : DatumGetInt64(value);
}

/* A hash that is not 32 bytes long, or missing, becomes zeros. */
static void
hash_column(uint64 row, int column, AuditHash *hash)
{
	bool		isnull;
	Datum		value = dbp_sql_value(row, column, &isnull);

	memset(hash, 0, sizeof(AuditHash));
	if (!isnull)
	{
		bytea	   *bytes = DatumGetByteaPP(value);

		if (VARSIZE_ANY_EXHDR(bytes) == sizeof(AuditHash))
			memcpy(hash, VARDATA_ANY(bytes), sizeof(AuditHash));
	}
}

static AuditSalt *
salts_column(uint64 row, int column, int leaves)
{
	bool		isnull;
	Datum		value = dbp_sql_value(row, column, &isnull);
	bytea	   *bytes;
	AuditSalt  *salts;

	if (isnull)
		return NULL;
	bytes = DatumGetByteaPP(value);
	if (VARSIZE_ANY_EXHDR(bytes) != (Size) leaves * sizeof(AuditSalt))
		return NULL;
	salts = palloc((Size) leaves * sizeof(AuditSalt));
	memcpy(salts, VARDATA_ANY(bytes), (Size) leaves * sizeof(AuditSalt));
	return salts;
}

/*
 * dbp_audit_blocks_read returns the blocks that meet a condition, and what may
 * follow it in a query; sealed ones only, unless the condition says otherwise.
 */
List *
dbp_audit_blocks_read(const char *condition, int nparams, const DbpParam *params)
{
	uint64		rows;
	List	   *blocks = NIL;

	rows = dbp_audit_seal_read(psprintf("SELECT block, from_txn, from_id, upto_txn, upto_id,"
										" leaves::int8, entries::int8, first_time, last_time,"
										" root, previous, hash, sealed_at, salts, purged"
										" FROM _dbpatterns.audit_block"
										" WHERE root IS NOT NULL AND %s", condition),
							   nparams, params);
	for (uint64 i = 0; i < rows; i++)
	{
		AuditBlock *block = palloc0(sizeof(AuditBlock));

		block->block = int64_column(i, 0);
		block->from.txn = int64_column(i, 1);
		block->from.id = int64_column(i, 2);
		block->upto.txn = int64_column(i, 3);
		block->upto.id = int64_column(i, 4);
		block->leaves = (int) int64_column(i, 5);
		block->entries = (int) int64_column(i, 6);
		block->first_time = int64_column(i, 7);
		block->last_time = int64_column(i, 8);
		hash_column(i, 9, &block->root);
		hash_column(i, 10, &block->previous);
		hash_column(i, 11, &block->hash);
		block->sealed_at = int64_column(i, 12);
		block->salts = salts_column(i, 13, block->leaves);
		block->purged = int64_column(i, 14);
		blocks = lappend(blocks, block);
	}
	SPI_freetuptable(SPI_tuptable);
	return blocks;
}

/*
 * dbp_audit_kept_read returns what is kept of the leaves of a block that were
 * erased or purged, in their order.
 */
AuditKept *
dbp_audit_kept_read(int64 block, int *n)
{
	DbpParam	param = DBP_PARAM(INT8OID, Int64GetDatum(block));
	uint64		rows = dbp_audit_seal_read("SELECT leaf, step, hash, now"
										   " FROM _dbpatterns.audit_leaf WHERE block = $1"
										   " ORDER BY leaf, step", 1, &param);
	AuditKept  *kept = palloc(sizeof(AuditKept) * Max(rows, 1));

	*n = 0;
	for (uint64 i = 0; i < rows; i++)
	{
		int			leaf = DatumGetInt32(dbp_sql_value(i, 0, NULL));
		AuditKept  *this = *n > 0 ? &kept[*n - 1] : NULL;
		AuditHash	hash;
		bool		isnull;

		hash_column(i, 2, &hash);
		if (this == NULL || this->leaf != leaf)
		{
			this = &kept[(*n)++];
			memset(this, 0, sizeof(AuditKept));
			this->leaf = leaf;
			this->original = hash;
		}
		(void) dbp_sql_value(i, 3, &isnull);
		this->broken |= this->purged ||
			DatumGetInt32(dbp_sql_value(i, 1, NULL)) != this->steps ||
			(!isnull && this->steps > 0 && !dbp_audit_same_hash(&hash, &this->now));
		this->steps++;
		this->purged = isnull;
		if (isnull)
			this->original = hash;
		else
			hash_column(i, 3, &this->now);
	}
	SPI_freetuptable(SPI_tuptable);
	return kept;
}

static int
compare_kept(const void *key, const void *element)
{
	int			a = *(const int *) key;
	int			b = ((const AuditKept *) element)->leaf;

	return a < b ? -1 : a > b;
}

/*
 * dbp_audit_kept_find returns what is kept of one leaf, NULL for nothing.
 */
AuditKept *
dbp_audit_kept_find(AuditKept *kept, int n, int leaf)
{
	return n == 0 ? NULL :
		bsearch(&leaf, kept, n, sizeof(AuditKept), compare_kept);
}
