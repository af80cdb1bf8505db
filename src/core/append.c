/*-------------------------------------------------------------------------
 *
 * append.c
 *	  Appending rows to tables of ours.
 *
 * The one road by which C code writes into tables of the extension.  Rows go
 * in batches straight to the table access method, with their index entries
 * and without planner, rights checks or row security: the caller has decided
 * that they must be written.  The target is a plain table or one that is
 * range-partitioned by its first column, a timestamptz.
 *
 * The hard part is routing without a lock on the partitioned table, so that
 * creating and dropping partitions never waits for writers of other ones.
 * The partition last used is remembered with the range it takes; locking it
 * takes in pending invalidations, and if one of them concerns the partitioned
 * table, the row is routed anew.
 *
 * What an insert needs besides the open relations (index descriptions, slots,
 * an executor state for the predicates of partial indexes) costs more to make
 * than a row costs to write.  It is made once per table and kept until the
 * table changes; the relations themselves are opened anew each time.
 *
 * Whatever is not a plain heap without triggers and checks of the user's gets
 * its rows by INSERT, as the table's owner.
 *
 * Copyright (c) 2026, dbpatterns contributors
 *
 * src/core/append.c
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "access/genam.h"
#include "access/heapam.h"
#include "access/table.h"
#include "access/tableam.h"
#include "catalog/namespace.h"
#include "catalog/pg_class.h"
#include "compat/compat.h"
#include "core/append.h"
#include "core/names.h"
#include "core/owner.h"
#include "core/sql.h"
#include "executor/executor.h"
#include "executor/spi.h"
#include "miscadmin.h"
#include "partitioning/partbounds.h"
#include "partitioning/partdesc.h"
#include "storage/lmgr.h"
#include "utils/builtins.h"
#include "utils/inval.h"
#include "utils/lsyscache.h"
#include "utils/memutils.h"
#include "utils/partcache.h"
#include "utils/timestamp.h"

/* Rows handed to the table access method at once. */
#define CHUNK_ROWS 128
#define CHUNK_BYTES (128 * 1024)

/* What is kept to insert into a table. */
typedef struct Inserter
{
	Oid			relid;
	MemoryContext cxt;			/* owns all of it */
	MemoryContext chunk_cxt;	/* reset after each chunk of rows */
	MemoryContext index_cxt;	/* reset when the indexes are closed */
	EState	   *estate;
	ResultRelInfo *info;		/* its relations are set at each use */
	List	   *indexes;		/* OIDs */
	int			nslots;
	TupleTableSlot *slots[CHUNK_ROWS];
} Inserter;

struct DbpAppendTarget
{
	const char *table;			/* name in schema _dbpatterns, or NULL */
	Oid			fixed;			/* the table, if it is not one of the schema's */
	Oid			relid;			/* InvalidOid: look up again */
	Oid			leafid;			/* InvalidOid: route again */
	TimestampTz from;			/* leafid takes [from, upto) */
	TimestampTz upto;
	Inserter   *inserter;		/* NULL, or that of the last leaf */
	bool		inserter_valid;
	DbpAppendTarget *next;
};

static DbpAppendTarget *targets = NULL;

static void
forget_route(Datum arg, Oid relid)
{
	for (DbpAppendTarget *target = targets; target != NULL; target = target->next)
	{
		if (relid == InvalidOid || relid == target->relid ||
			relid == target->leafid)
		{
			target->relid = InvalidOid;
			target->leafid = InvalidOid;
			target->inserter_valid = false;
		}
	}
}

/*
 * dbp_append_init prepares this backend.
 */
void
dbp_append_init(void)
{
	CacheRegisterRelcacheCallback(forget_route, (Datum) 0);
}

/*
 * dbp_append_target makes a target of a table in our schema.
 */
DbpAppendTarget *
dbp_append_target(const char *table)
{
	DbpAppendTarget *target;

	target = MemoryContextAllocZero(CacheMemoryContext, sizeof(*target));
	target->table = table;
	target->next = targets;
	targets = target;
	return target;
}

/*
 * drop_unused gives up the targets of tables that are gone.
 */
static void
drop_unused(void)
{
	DbpAppendTarget **link = &targets;

	while (*link != NULL)
	{
		DbpAppendTarget *target = *link;

		if (target->table != NULL || get_rel_relkind(target->fixed) != '\0')
		{
			link = &target->next;
			continue;
		}
		*link = target->next;
		if (target->inserter != NULL)
			MemoryContextDelete(target->inserter->cxt);
		pfree(target);
	}
}

/*
 * dbp_append_relation returns the target of a table that we made beside one of
 * the user's.  It is good until that table is dropped.
 */
DbpAppendTarget *
dbp_append_relation(Oid relid)
{
	DbpAppendTarget *target = targets;

	while (target != NULL && target->fixed != relid)
		target = target->next;
	if (target == NULL)
	{
		drop_unused();
		target = dbp_append_target(NULL);
		target->fixed = relid;
	}
	return target;
}

/*
 * dbp_own_relation returns the OID of a relation in schema _dbpatterns.
 */
Oid
dbp_own_relation(const char *name)
{
	Oid			nsp = get_namespace_oid("_dbpatterns", true);
	Oid			relid = OidIsValid(nsp) ? get_relname_relid(name, nsp) : InvalidOid;

	if (!OidIsValid(relid))
		ereport(ERROR,
				(errcode(ERRCODE_UNDEFINED_TABLE),
				 errmsg("relation _dbpatterns.%s does not exist", name),
				 errhint("Run CREATE EXTENSION dbpatterns in this database.")));
	return relid;
}

/*
 * dbp_append_relid returns the OID of a target, which may be a sequence, too.
 */
Oid
dbp_append_relid(DbpAppendTarget *target)
{
	if (!OidIsValid(target->relid))
	{
		target->relid = target->table != NULL ?
			dbp_own_relation(target->table) : target->fixed;
		target->leafid = InvalidOid;
	}
	return target->relid;
}

/*
 * find_leaf routes a row: it sets the target's leaf and the range it takes.
 */
static void
find_leaf(DbpAppendTarget *target, TimestampTz when)
{
	Relation	rel = table_open(target->relid, AccessShareLock);

	/* Opening may have brought news, and with them forget_route. */
	target->relid = RelationGetRelid(rel);
	target->from = DT_NOBEGIN;
	target->upto = DT_NOEND;

	if (rel->rd_rel->relkind != RELKIND_PARTITIONED_TABLE)
		target->leafid = target->relid;
	else
	{
		PartitionKey key = RelationGetPartitionKey(rel);
		PartitionDesc desc = RelationGetPartitionDesc(rel, true);
		PartitionBoundInfo bounds = desc->boundinfo;
		Datum		value = TimestampTzGetDatum(when);
		bool		is_equal;
		int			below = -1;
		int			index = -1;

		/* There are no bounds without partitions. */
		if (bounds != NULL)
		{
			below = partition_range_datum_bsearch(key->partsupfunc,
												  key->partcollation, bounds,
												  1, &value, &is_equal);
			index = bounds->indexes[below + 1];
			if (index < 0)
				index = bounds->default_index;
		}
		if (index < 0)
			ereport(ERROR,
					(errcode(ERRCODE_CHECK_VIOLATION),
					 errmsg("no partition of %s takes rows of %s",
							dbp_relation_name(rel), timestamptz_to_str(when)),
					 errhint("Attach a default partition.")));
		if (below >= 0 && bounds->kind[below][0] == PARTITION_RANGE_DATUM_VALUE)
			target->from = DatumGetTimestampTz(bounds->datums[below][0]);
		if (below + 1 < bounds->ndatums &&
			bounds->kind[below + 1][0] == PARTITION_RANGE_DATUM_VALUE)
			target->upto = DatumGetTimestampTz(bounds->datums[below + 1][0]);
		target->leafid = desc->oids[index];
	}

	/* The leaf is locked next; nothing here needs a lock on the whole. */
	table_close(rel, AccessShareLock);
}

/*
 * open_leaf opens and locks the table that takes rows of the given time.
 */
static Relation
open_leaf(DbpAppendTarget *target, TimestampTz when)
{
	Oid			locked = InvalidOid;

	for (;;)
	{
		(void) dbp_append_relid(target);
		if (!OidIsValid(target->leafid) ||
			when < target->from || when >= target->upto)
			find_leaf(target, when);
		if (target->leafid == locked)
			return table_open(locked, NoLock);

		/*
		 * If an invalidation comes in with the lock, the row is routed again,
		 * and the lock stands if that ends at the same leaf.
		 */
		if (OidIsValid(locked))
			UnlockRelationOid(locked, RowExclusiveLock);
		locked = target->leafid;
		LockRelationOid(locked, RowExclusiveLock);
	}
}

/*
 * dbp_append_is_plain tells whether rows may go straight to the access method.
 */
bool
dbp_append_is_plain(Relation rel)
{
	TupleConstr *constr = RelationGetDescr(rel)->constr;
	TriggerDesc *triggers = rel->trigdesc;

	if (rel->rd_rel->relkind != RELKIND_RELATION ||
		rel->rd_tableam != GetHeapamTableAmRoutine() ||
		rel->rd_rel->relhasrules)
		return false;
	if (constr != NULL && (constr->num_check > 0 || constr->has_generated_stored))
		return false;
	return triggers == NULL ||
		!(triggers->trig_insert_before_row || triggers->trig_insert_after_row ||
		  triggers->trig_insert_before_statement ||
		  triggers->trig_insert_after_statement);
}

/*
 * make_inserter prepares inserts into rel, whose indexes it leaves open.
 */
static Inserter *
make_inserter(Relation rel)
{
	MemoryContext cxt = AllocSetContextCreate(CurrentMemoryContext,
											  "dbpatterns inserter",
											  ALLOCSET_SMALL_SIZES);
	MemoryContext oldcxt = MemoryContextSwitchTo(cxt);
	Inserter   *inserter = palloc0(sizeof(Inserter));

	inserter->relid = RelationGetRelid(rel);
	inserter->cxt = cxt;
	/* Its first block takes a usual chunk and is kept when it is reset. */
	inserter->chunk_cxt = AllocSetContextCreate(cxt, "dbpatterns append chunk",
												CHUNK_BYTES, CHUNK_BYTES,
												ALLOCSET_DEFAULT_MAXSIZE);
	inserter->index_cxt = AllocSetContextCreate(cxt, "dbpatterns append indexes",
												ALLOCSET_SMALL_SIZES);
	inserter->estate = CreateExecutorState();
	inserter->info = makeNode(ResultRelInfo);
	InitResultRelInfo(inserter->info, rel, 0, NULL, 0);
	ExecOpenIndices(inserter->info, false);
	inserter->indexes = RelationGetIndexList(rel);
	MemoryContextSwitchTo(oldcxt);
	return inserter;
}

/*
 * reopen_indexes opens the indexes of a kept inserter again, partial ones
 * excepted; false if they are no longer the same.
 */
static bool
reopen_indexes(Inserter *inserter, Relation rel)
{
	ResultRelInfo *info = inserter->info;
	List	   *indexes = RelationGetIndexList(rel);
	ListCell   *lc;

	if (!equal(indexes, inserter->indexes))
		return false;
	info->ri_RelationDesc = rel;
	foreach(lc, indexes)
	{
		int			i = foreach_current_index(lc);

		info->ri_IndexRelationDescs[i] = info->ri_IndexRelationInfo[i]->ii_Predicate != NIL ?
			NULL : index_open(lfirst_oid(lc), RowExclusiveLock);
	}
	return true;
}

/*
 * open_partial_indexes opens those partial indexes that some row of a chunk
 * belongs to: opening and locking one costs as much as half an insert.
 */
static void
open_partial_indexes(Inserter *inserter, int n)
{
	ExprContext *econtext = GetPerTupleExprContext(inserter->estate);

	for (int i = 0; i < inserter->info->ri_NumIndices; i++)
	{
		IndexInfo  *index = inserter->info->ri_IndexRelationInfo[i];

		if (index->ii_Predicate == NIL || inserter->info->ri_IndexRelationDescs[i] != NULL)
			continue;
		if (index->ii_PredicateState == NULL)
			index->ii_PredicateState = ExecPrepareQual(index->ii_Predicate, inserter->estate);
		for (int row = 0; row < n; row++)
		{
			econtext->ecxt_scantuple = inserter->slots[row];
			if (!ExecQual(index->ii_PredicateState, econtext))
				continue;
			inserter->info->ri_IndexRelationDescs[i] =
				index_open(list_nth_oid(inserter->indexes, i), RowExclusiveLock);
			break;
		}
		ResetPerTupleExprContext(inserter->estate);
	}
}

/*
 * open_inserter returns an inserter for rel with its indexes open, partial ones
 * perhaps excepted.  What an index access method caches for a series of inserts
 * must not outlive the open index, so it goes to a context of its own.
 */
static Inserter *
open_inserter(DbpAppendTarget *target, Relation rel)
{
	Inserter   *inserter = target->inserter;

	if (inserter == NULL || !target->inserter_valid ||
		inserter->relid != RelationGetRelid(rel) || !reopen_indexes(inserter, rel))
	{
		target->inserter = NULL;
		target->inserter_valid = true;
		if (inserter != NULL)
			MemoryContextDelete(inserter->cxt);
		inserter = make_inserter(rel);
		MemoryContextSetParent(inserter->cxt, CacheMemoryContext);
		target->inserter = inserter;
	}

	for (int i = 0; i < inserter->info->ri_NumIndices; i++)
	{
		inserter->info->ri_IndexRelationInfo[i]->ii_AmCache = NULL;
		inserter->info->ri_IndexRelationInfo[i]->ii_Context = inserter->index_cxt;
	}
	return inserter;
}

static void
prepare_slots(Inserter *inserter, Relation rel, int n)
{
	MemoryContext oldcxt = MemoryContextSwitchTo(inserter->cxt);

	for (; inserter->nslots < n; inserter->nslots++)
		inserter->slots[inserter->nslots] =
			MakeSingleTupleTableSlot(CreateTupleDescCopy(RelationGetDescr(rel)),
									 &TTSOpsVirtual);
	MemoryContextSwitchTo(oldcxt);
}

static void
append_chunk(Inserter *inserter, Relation rel, int first, int n,
			 DbpAppendRow fill, void *arg)
{
	TupleTableSlot **slots = inserter->slots;
	CommandId	cid = GetCurrentCommandId(true);

	for (int i = 0; i < n; i++)
	{
		ExecClearTuple(slots[i]);
		fill(slots[i], first + i, arg);
		ExecStoreVirtualTuple(slots[i]);
	}

	if (n == 1)
		table_tuple_insert(rel, slots[0], cid, 0, NULL);
	else
		table_multi_insert(rel, slots, n, cid, 0, NULL);

	if (inserter->info->ri_NumIndices == 0)
		return;
	open_partial_indexes(inserter, n);
	for (int i = 0; i < n; i++)
	{
		(void) ExecInsertIndexTuples(inserter->info, slots[i], inserter->estate,
									 false, false, NULL, NIL, false);
		ResetPerTupleExprContext(inserter->estate);
	}
}

/*
 * close_indexes closes those that are open; ExecCloseIndices wants all to be.
 */
static void
close_indexes(Inserter *inserter)
{
	ResultRelInfo *info = inserter->info;

	for (int i = 0; i < info->ri_NumIndices; i++)
	{
		Relation	index = info->ri_IndexRelationDescs[i];

		if (index == NULL)
			continue;
		index_insert_cleanup(index, info->ri_IndexRelationInfo[i]);
		index_close(index, RowExclusiveLock);
		info->ri_IndexRelationDescs[i] = NULL;
	}
}

static void
append_direct(DbpAppendTarget *target, Relation rel, int nrows,
			  DbpAppendRow fill, void *arg)
{
	Inserter   *inserter = open_inserter(target, rel);
	MemoryContext oldcxt = MemoryContextSwitchTo(inserter->chunk_cxt);

	prepare_slots(inserter, rel, Min(nrows, CHUNK_ROWS));
	for (int done = 0; done < nrows; done += CHUNK_ROWS)
	{
		CHECK_FOR_INTERRUPTS();
		append_chunk(inserter, rel, done, Min(CHUNK_ROWS, nrows - done), fill, arg);
		MemoryContextReset(inserter->chunk_cxt);
	}
	close_indexes(inserter);
	MemoryContextSwitchTo(oldcxt);
	MemoryContextReset(inserter->index_cxt);
}

/*
 * insertable tells whether an INSERT may give a column a value.
 */
static bool
insertable(Form_pg_attribute att)
{
	return !att->attisdropped && att->attgenerated == '\0';
}

/*
 * append_by_insert runs one INSERT for each row, as the owner of rel.
 */
static void
append_by_insert(Relation rel, int nrows, DbpAppendRow fill, void *arg)
{
	TupleDesc	desc = RelationGetDescr(rel);
	StringInfoData columns;
	StringInfoData params;
	Oid		   *types = palloc(sizeof(Oid) * desc->natts);
	Datum	   *values = palloc(sizeof(Datum) * desc->natts);
	char	   *nulls = palloc(desc->natts);
	TupleTableSlot *slot = MakeSingleTupleTableSlot(desc, &TTSOpsVirtual);
	DbpOwnerScope scope;
	SPIPlanPtr	plan;
	int			n = 0;

	initStringInfo(&columns);
	initStringInfo(&params);
	for (int i = 0; i < desc->natts; i++)
	{
		Form_pg_attribute att = TupleDescAttr(desc, i);

		if (!insertable(att))
			continue;
		types[n++] = att->atttypid;
		appendStringInfo(&columns, "%s%s", n > 1 ? ", " : "",
						 quote_identifier(NameStr(att->attname)));
		appendStringInfo(&params, "%s$%d", n > 1 ? ", " : "", n);
	}

	dbp_enter_owner(&scope, rel->rd_rel->relowner);
	SPI_connect();
	plan = dbp_sql_prepare(psprintf("INSERT INTO %s (%s) VALUES (%s)", dbp_relation_name(rel),
									columns.data, params.data), n, types, 0);
	for (int row = 0; row < nrows; row++)
	{
		ExecClearTuple(slot);
		fill(slot, row, arg);
		ExecStoreVirtualTuple(slot);
		n = 0;
		for (int i = 0; i < desc->natts; i++)
		{
			if (!insertable(TupleDescAttr(desc, i)))
				continue;
			values[n] = slot->tts_values[i];
			nulls[n++] = slot->tts_isnull[i] ? 'n' : ' ';
		}
		if (SPI_execute_plan(plan, values, nulls, false, 0) != SPI_OK_INSERT)
			elog(ERROR, "INSERT into %s failed", dbp_relation_name(rel));
	}
	SPI_finish();
	dbp_leave_owner(&scope);
	ExecDropSingleTupleTableSlot(slot);
}

/*
 * dbp_append writes nrows rows, all of one partition_time (any value for a
 * target that is not partitioned).
 */
void
dbp_append(DbpAppendTarget *target, TimestampTz partition_time, int nrows,
		   DbpAppendRow fill, void *arg)
{
	Relation	leaf = open_leaf(target, partition_time);

	if (dbp_append_is_plain(leaf))
		append_direct(target, leaf, nrows, fill, arg);
	else
		append_by_insert(leaf, nrows, fill, arg);

	/* Keep the lock until the transaction ends, as any writer does. */
	table_close(leaf, NoLock);
}

/*
 * dbp_append_by_insert writes nrows rows by INSERT, for a table that is routed by
 * something else than a time.
 */
void
dbp_append_by_insert(Oid relid, int nrows, DbpAppendRow fill, void *arg)
{
	Relation	rel = table_open(relid, RowExclusiveLock);

	append_by_insert(rel, nrows, fill, arg);
	table_close(rel, NoLock);
}
