/*-------------------------------------------------------------------------
 *
 * walk_source.c
 *	  Finding out how an adjacency list can be read.
 *
 * Table and indexes are read directly if that shows exactly what a query of
 * the caller would show: a plain table, no row-level security for
 * the caller, SELECT on the columns.  All else is read by SQL,
 * or refused.  The key must be unique: else an adjacency list is a graph, and
 * to walk it may take for ever.
 *
 * Copyright (c) 2026, dbpatterns contributors
 *
 * src/hierarchy/walk_source.c
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "access/genam.h"
#include "access/htup_details.h"
#include "access/relation.h"
#include "access/stratnum.h"
#include "access/transam.h"
#include "catalog/pg_am.h"
#include "catalog/pg_class.h"
#include "catalog/pg_index.h"
#include "catalog/pg_inherits.h"
#include "compat/compat.h"
#include "core/names.h"
#include "hierarchy/walk.h"
#include "miscadmin.h"
#include "nodes/makefuncs.h"
#include "optimizer/optimizer.h"
#include "storage/bufmgr.h"
#include "storage/lmgr.h"
#include "utils/acl.h"
#include "utils/builtins.h"
#include "utils/lsyscache.h"
#include "utils/memutils.h"
#include "utils/rls.h"
#include "utils/snapmgr.h"
#include "utils/typcache.h"

/*
 * require_walkable raises unless rel has rows of its own with a unique key.
 */
static void
require_walkable(Relation rel)
{
	char		kind = rel->rd_rel->relkind;

	if (kind != RELKIND_RELATION && kind != RELKIND_PARTITIONED_TABLE)
		ereport(ERROR,
				(errcode(ERRCODE_WRONG_OBJECT_TYPE),
				 errmsg("%s is not a table", dbp_relation_name(rel)),
				 errhint("Walk an ordinary or partitioned table: a view or a foreign table has no key that is known to be unique.")));
	if (kind == RELKIND_RELATION && rel->rd_rel->relhassubclass &&
		find_inheritance_children(RelationGetRelid(rel), NoLock) != NIL)
		ereport(ERROR,
				(errcode(ERRCODE_FEATURE_NOT_SUPPORTED),
				 errmsg("table %s has inheritance children", dbp_relation_name(rel)),
				 errhint("No key is unique over several tables unless they are partitions; walk one of the children.")));
}

/*
 * index_has tells whether the first n columns of an index are these, in any
 * order, and where each of them is.
 */
static bool
index_has(Relation index, const AttrNumber *attnums, int n, AttrNumber *where)
{
	if (IndexRelationGetNumberOfKeyAttributes(index) < n)
		return false;
	for (int i = 0; i < n; i++)
	{
		int			at = 0;

		while (at < n && index->rd_index->indkey.values[at] != attnums[i])
			at++;
		if (at == n)
			return false;
		where[i] = at + 1;
	}
	return true;
}

/*
 * predicate_holds tells whether an index has all rows with these columns not
 * NULL.
 */
static bool
predicate_holds(Relation rel, Relation index, const AttrNumber *attnums, int n)
{
	List	   *known = NIL;
	List	   *predicate = RelationGetIndexPredicate(index);

	if (predicate == NIL)
		return true;
	for (int i = 0; i < n; i++)
	{
		Form_pg_attribute att = TupleDescAttr(RelationGetDescr(rel), attnums[i] - 1);
		NullTest   *test = makeNode(NullTest);

		test->arg = (Expr *) makeVar(1, att->attnum, att->atttypid, att->atttypmod,
									 att->attcollation, 0);
		test->nulltesttype = IS_NOT_NULL;
		test->argisrow = false;
		test->location = -1;
		known = lappend(known, test);
	}
	return predicate_implied_by(predicate, known, false);
}

/*
 * operators looks up how an index is searched; false if not as keys are
 * compared.
 */
static bool
operators(WalkSource *source, Relation index, WalkIndex *use)
{
	for (int i = 0; i < source->type.n; i++)
	{
		int			at = use->column[i] - 1;
		Oid			family = index->rd_opfamily[at];
		Oid			input = index->rd_opcintype[at];

		if (lookup_type_cache(source->type.col[i].type,
							  TYPECACHE_BTREE_OPFAMILY)->btree_opf != family ||
			index->rd_indcollation[at] != source->type.col[i].collation)
			return false;
		use->equal[i] = get_opcode(get_opfamily_member(family, input, input,
													   BTEqualStrategyNumber));
		if (!RegProcedureIsValid(use->equal[i]))
			return false;
		if (source->type.n == 1 && (index->rd_indoption[at] & INDOPTION_DESC) == 0 &&
			TupleDescAttr(RelationGetDescr(index), at)->atttypid ==
			TupleDescAttr(RelationGetDescr(source->rel), source->parent[0] - 1)->atttypid)
		{
			use->from = get_opcode(get_opfamily_member(family, input, input,
													   BTGreaterEqualStrategyNumber));
			use->upto = get_opcode(get_opfamily_member(family, input, input,
													   BTLessEqualStrategyNumber));
		}
	}
	return true;
}

/*
 * usable tells whether our snapshot may look through an index.
 */
static bool
usable(Relation index)
{
	Form_pg_index form = index->rd_index;

	return form->indisvalid && index->rd_rel->relam == BTREE_AM_OID &&
		(!form->indcheckxmin ||
		 TransactionIdPrecedes(HeapTupleHeaderGetXmin(index->rd_indextuple->t_data),
							   TransactionXmin));
}

static void
consider_index(WalkSource *source, Relation index)
{
	WalkIndex	use = {0};
	int			n = source->type.n;

	use.indexid = RelationGetRelid(index);
	if (!usable(index))
		return;
	if (!OidIsValid(source->by_key.indexid) && index->rd_index->indisunique &&
		index->rd_index->indimmediate && index->rd_index->indnkeyatts == n &&
		RelationGetIndexPredicate(index) == NIL &&
		index_has(index, source->key, n, use.column) && operators(source, index, &use))
		source->by_key = use;
	if (!OidIsValid(source->by_parent.indexid) &&
		index_has(index, source->parent, n, use.column) &&
		predicate_holds(source->rel, index, source->parent, n) && operators(source, index, &use))
		source->by_parent = use;
}

/*
 * key_order returns the names of the key in the order in which the caller
 * knows them: as he gave them, or that of the primary key.
 */
static List *
key_order(Relation rel, List *given)
{
	Relation	index;
	List	   *names = NIL;

	if (given != NIL)
		return given;
	index = index_open(RelationGetPrimaryKeyIndex(rel, true), AccessShareLock);
	for (int i = 0; i < index->rd_index->indnkeyatts; i++)
		names = lappend(names, get_attname(RelationGetRelid(rel),
										   index->rd_index->indkey.values[i], false));
	index_close(index, NoLock);
	return names;
}

/*
 * resolve_columns finds key and parent columns, and returns their number.
 */
static int
resolve_columns(WalkSource *source, List *parent, List *key, const char *order_by)
{
	HierSpec	spec = {.kind = HIER_TREE,.key = key,.parent = parent};
	int			n = 0;
	ListCell   *lc;

	spec.order_by = order_by != NULL ? pstrdup(order_by) : NULL;
	if (order_by != NULL)
		(void) dbp_column_number(source->rel, order_by);
	dbp_hier_resolve_columns(source->rel, &spec, NIL);
	foreach(lc, key_order(source->rel, key))
	{
		ListCell   *k;
		ListCell   *p;

		forboth(k, spec.key, p, spec.parent)
		{
			if (strcmp(lfirst(k), lfirst(lc)) == 0)
			{
				source->key[n] = dbp_column_number(source->rel, lfirst(k));
				source->parent[n++] = dbp_column_number(source->rel, lfirst(p));
			}
		}
	}
	return n;
}

static void
set_order(WalkSource *source, const char *order_by)
{
	Form_pg_attribute att;
	TypeCacheEntry *cache;

	source->order = dbp_column_number(source->rel, order_by);
	att = TupleDescAttr(RelationGetDescr(source->rel), source->order - 1);
	cache = lookup_type_cache(getBaseType(att->atttypid), TYPECACHE_LT_OPR);
	source->order_operator = cache->lt_opr;
	source->order_collation = att->attcollation;
	source->order_typlen = att->attlen;
	source->order_typbyval = att->attbyval;
}

/*
 * check_select raises 42501 unless the caller may read the columns.
 */
static void
check_select(WalkSource *source, const AttrNumber *attnums, int n)
{
	if (pg_class_aclcheck(source->relid, GetUserId(), ACL_SELECT) == ACLCHECK_OK)
		return;
	for (int i = 0; i < n; i++)
	{
		if (pg_attribute_aclcheck(source->relid, attnums[i], GetUserId(),
								  ACL_SELECT) != ACLCHECK_OK)
			aclcheck_error(ACLCHECK_NO_PRIV,
						   OBJECT_TABLE,
						   RelationGetRelationName(source->rel));
	}
}

/*
 * choose_way decides between direct reading and SQL.
 */
static void
choose_way(WalkSource *source)
{
	AttrNumber *used = source->used;
	int			n = source->type.n;
	int			nused = 0;
	double		rows = source->rel->rd_rel->reltuples;
	ListCell   *lc;

	for (int i = 0; i < n; i++)
	{
		used[nused++] = source->key[i];
		used[nused++] = source->parent[i];
	}
	if (source->order != 0)
		used[nused++] = source->order;
	source->nused = nused;
	check_select(source, used, nused);

	source->direct = source->rel->rd_rel->relkind != RELKIND_PARTITIONED_TABLE &&
		check_enable_rls(source->relid, InvalidOid, false) != RLS_ENABLED;
	for (int i = 0; i < nused; i++)
	{
		source->last = Max(source->last, used[i]);
		source->used_type[i] = TupleDescAttr(RelationGetDescr(source->rel), used[i] - 1)->atttypid;
		if (TupleDescAttr(RelationGetDescr(source->rel), used[i] - 1)->attgenerated ==
			ATTRIBUTE_GENERATED_VIRTUAL)
			source->direct = false;
	}

	foreach(lc, RelationGetIndexList(source->rel))
	{
		Relation	index = index_open(lfirst_oid(lc), AccessShareLock);

		consider_index(source, index);
		index_close(index, NoLock);
	}
	if (source->direct && rows < 0) /* never analyzed: about 100 rows a page */
		rows = RelationGetNumberOfBlocks(source->rel) * 100.0;
	source->rows = Max(rows, 0);

	/*
	 * A key whose uniqueness is checked later may occur twice until then;
	 * with the whole table in memory that is noticed.
	 */
	source->direct &= OidIsValid(source->by_key.indexid);
	source->probes = OidIsValid(source->by_key.indexid) && OidIsValid(source->by_parent.indexid);
	for (int i = 0; !source->direct && i < n; i++)
		source->probes &= OidIsValid(get_array_type(source->type.col[i].type));
}

/*
 * dbp_walk_source resolves the arguments of a walk, in CurrentMemoryContext.
 * Takes ACCESS SHARE on the table and keeps it.
 *
 * Raises 42P01, 42809 (not a table), 0A000 (inheritance children), what
 * dbp_hier_resolve_columns raises, 42501 (no SELECT on the columns, or
 * row-level security while it is off).
 */
WalkSource *
dbp_walk_source(Oid relid, List *parent, List *key, const char *order_by)
{
	WalkSource *source = palloc0(sizeof(WalkSource));
	int			n;

	source->relid = relid;
	source->name = dbp_relation_name_by_oid(relid); /* raises if there is none */
	source->cxt = CurrentMemoryContext;
	source->rel = relation_open(relid, AccessShareLock);
	require_walkable(source->rel);
	n = resolve_columns(source, parent, key, order_by);
	dbp_key_type(&source->type, source->rel, source->key, n);
	if (order_by != NULL)
		set_order(source, order_by);
	choose_way(source);

	source->scratch = AllocSetContextCreate(source->cxt, "dbpatterns walk reading",
											ALLOCSET_DEFAULT_SIZES);
	relation_close(source->rel, NoLock);
	source->rel = NULL;
	return source;
}

/*
 * still_there tells whether an index that is read has not been dropped.
 */
static bool
still_there(List *indexes, const WalkIndex *use)
{
	return !OidIsValid(use->indexid) || list_member_oid(indexes, use->indexid);
}

/*
 * require_same raises 55000 if a table is not what it was when the walk began:
 * between two rows of a cursor, its own transaction may have altered it.
 */
static void
require_same(WalkSource *source)
{
	bool		same = source->rel != NULL;
	List	   *indexes = NIL;

	for (int i = 0; same && i < source->nused; i++)
	{
		Form_pg_attribute att = TupleDescAttr(RelationGetDescr(source->rel), source->used[i] - 1);

		same = !att->attisdropped && att->atttypid == source->used_type[i];
	}
	if (same && source->direct)
	{
		indexes = RelationGetIndexList(source->rel);
		same = still_there(indexes, &source->by_key) && still_there(indexes, &source->by_parent);
		list_free(indexes);
	}
	if (!same)
		ereport(ERROR,
				(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
				 errmsg("table %s was altered while it was walked", source->name),
				 errhint("Begin the walk again.")));
}

/*
 * dbp_walk_open prepares for reading; nothing stays open after dbp_walk_close
 * but the lock.  The memory context stays the same.
 */
void
dbp_walk_open(WalkSource *source)
{
	MemoryContext cxt = CurrentMemoryContext;

	source->rel = try_relation_open(source->relid, AccessShareLock);
	require_same(source);
	if (!source->direct)
		SPI_connect();
	MemoryContextSwitchTo(cxt);
}

void
dbp_walk_close(WalkSource *source)
{
	MemoryContext cxt = CurrentMemoryContext;

	dbp_walk_end_lookup(source);
	if (!source->direct)
		SPI_finish();
	MemoryContextSwitchTo(cxt);
	relation_close(source->rel, NoLock);
	source->rel = NULL;
	MemoryContextReset(source->scratch);
}
