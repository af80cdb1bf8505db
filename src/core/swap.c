/*-------------------------------------------------------------------------
 *
 * swap.c
 *	  Giving a table the files of another one.
 *
 * A table is built anew in a twin, a table like it with indexes like its own,
 * while others go on using it.  In the end the two change files, and with them
 * what pg_class says about the content.  The table keeps its OID and those of
 * its indexes, so whatever refers to it stays right, and whatever others have
 * cached of it ends by relcache invalidation.  That takes a moment of ACCESS
 * EXCLUSIVE, whatever the size.
 *
 * Everything happens in one transaction: an error or a crash leaves the table
 * as it was, and no twin.  The method is that of the server's own CLUSTER and
 * REFRESH MATERIALIZED VIEW, except that the indexes are built beforehand.
 *
 * Copyright (c) 2026, dbpatterns contributors
 *
 * src/core/swap.c
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "access/attmap.h"
#include "access/genam.h"
#include "access/heapam.h"
#include "access/htup_details.h"
#include "access/table.h"
#include "access/toast_internals.h"
#include "access/xact.h"
#include "catalog/dependency.h"
#include "catalog/index.h"
#include "catalog/indexing.h"
#include "catalog/namespace.h"
#include "catalog/pg_class.h"
#include "catalog/pg_type.h"
#include "commands/defrem.h"
#include "commands/tablecmds.h"
#include "commands/tablespace.h"
#include "compat/compat.h"
#include "core/names.h"
#include "core/sql.h"
#include "core/swap.h"
#include "storage/lmgr.h"
#include "storage/predicate.h"
#include "storage/smgr.h"
#include "utils/builtins.h"
#include "utils/lsyscache.h"
#include "utils/syscache.h"

/* ---- the twin ------------------------------------------------------------ */

static bool
is_published(Relation rel)
{
	DbpParam	params[2];

	params[0] = DBP_PARAM(OIDOID, ObjectIdGetDatum(RelationGetRelid(rel)));
	params[1] = DBP_PARAM(OIDOID, ObjectIdGetDatum(RelationGetNamespace(rel)));
	return rel->rd_rel->relpersistence == RELPERSISTENCE_PERMANENT &&
		dbp_sql_query("SELECT FROM pg_publication WHERE puballtables"
					  " UNION ALL SELECT FROM pg_publication_rel WHERE prrelid = $1"
					  " UNION ALL SELECT FROM pg_publication_namespace WHERE pnnspid = $2",
					  2, params) > 0;
}

/*
 * dbp_swap_require raises 55000 unless a table can get the files of another
 * one, with nobody missing what is different in them.  hint: what to do instead.
 * Caller: SPI connected, search_path pinned.
 */
void
dbp_swap_require(Relation rel, const char *hint)
{
	const char *why = NULL;

	if (rel->rd_rel->relkind != RELKIND_RELATION ||
		rel->rd_tableam != GetHeapamTableAmRoutine())
		why = "It is not a plain table.";
	else if (rel->rd_rel->relispartition || rel->rd_rel->relhassubclass)
		why = "It has partitions or children, or is one.";
	else if (rel->trigdesc != NULL)
		why = "It has triggers or foreign keys, which would not see what changes.";
	else if (is_published(rel))
		why = "It is published, and subscribers would not see what changes.";
	if (why != NULL)
		ereport(ERROR,
				(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
				 errmsg("table %s cannot be built anew beside itself", dbp_relation_name(rel)),
				 errdetail("%s", why),
				 errhint("%s", hint)));
}

/*
 * storage_options returns the options of a table and of its TOAST table as
 * they stand in CREATE TABLE.
 */
static char *
storage_options(Relation rel)
{
	DbpParam	param = DBP_PARAM(OIDOID, ObjectIdGetDatum(RelationGetRelid(rel)));

	dbp_sql_query("SELECT ' WITH (' || string_agg(o.prefix || quote_ident(split_part(o.item, '=', 1))"
				  "  || ' = ' || quote_literal(substr(o.item, strpos(o.item, '=') + 1)), ', ') || ')'"
				  " FROM (SELECT '' AS prefix, unnest(c.reloptions) AS item"
				  "  FROM pg_class c WHERE c.oid = $1"
				  "  UNION ALL SELECT 'toast.', unnest(t.reloptions)"
				  "  FROM pg_class c JOIN pg_class t ON t.oid = c.reltoastrelid WHERE c.oid = $1) o",
				  1, &param);
	return dbp_sql_text(0, 0);
}

/*
 * dbp_swap_create_twin creates a table like rel, with indexes like its own, and
 * returns its OID.  Rows written to it need no index entries: the
 * caller then runs REINDEX TABLE.  Caller: SPI connected, search_path pinned.
 */
Oid
dbp_swap_create_twin(Relation rel)
{
	Oid			nsp = RelationGetNamespace(rel);
	char	   *name = ChooseRelationName(RelationGetRelationName(rel), NULL, "rebuild", nsp, false);
	char		persistence = rel->rd_rel->relpersistence;
	char	   *options = storage_options(rel);
	StringInfoData sql;

	initStringInfo(&sql);
	appendStringInfo(&sql, "CREATE %sTABLE %s (LIKE %s INCLUDING INDEXES INCLUDING STORAGE"
					 " INCLUDING COMPRESSION)",
					 persistence == RELPERSISTENCE_TEMP ? "TEMPORARY " :
					 persistence == RELPERSISTENCE_UNLOGGED ? "UNLOGGED " : "",
					 persistence == RELPERSISTENCE_TEMP ? quote_identifier(name) :
					 quote_qualified_identifier(get_namespace_name(nsp), name),
					 dbp_relation_name(rel));
	if (options != NULL)
		appendStringInfoString(&sql, options);
	if (OidIsValid(rel->rd_rel->reltablespace))
		appendStringInfo(&sql, " TABLESPACE %s",
						 quote_identifier(get_tablespace_name(rel->rd_rel->reltablespace)));
	dbp_sql_command("%s", sql.data);
	return get_relname_relid(name, nsp);
}

/* ---- the swap ------------------------------------------------------------ */

#define SWAP(type, a, b) do { type t_ = (a); (a) = (b); (b) = t_; } while (0)

static void
swap_class_rows(Form_pg_class a, Form_pg_class b)
{
	Assert(a->relkind == b->relkind && a->relpersistence == b->relpersistence &&
		   a->relam == b->relam);
	SWAP(Oid, a->relfilenode, b->relfilenode);
	SWAP(Oid, a->reltablespace, b->reltablespace);
	SWAP(Oid, a->reltoastrelid, b->reltoastrelid);
	SWAP(int32, a->relpages, b->relpages);
	SWAP(float4, a->reltuples, b->reltuples);
	SWAP(int32, a->relallvisible, b->relallvisible);
	dbp_swap_relallfrozen(a, b);
	SWAP(TransactionId, a->relfrozenxid, b->relfrozenxid);
	SWAP(TransactionId, a->relminmxid, b->relminmxid);
}

/*
 * move_toast tells the dependencies which table a TOAST table belongs to.
 */
static void
move_toast(Oid toastid, Oid relid)
{
	ObjectAddress toast = {RelationRelationId, toastid, 0};
	ObjectAddress rel = {RelationRelationId, relid, 0};

	if (!OidIsValid(toastid))
		return;
	/* Its only dependency is this one. */
	(void) deleteDependencyRecordsFor(RelationRelationId, toastid, false);
	recordDependencyOn(&toast, &rel, DEPENDENCY_INTERNAL);
}

/*
 * assume_new_file tells the relation cache that the first relation's file is
 * new in this transaction, which is what lets wal_level = minimal do without
 * WAL, and that of the second one is as old as the first one's was.
 */
static void
assume_new_file(Relation rel, Relation twin)
{
	twin->rd_createSubid = rel->rd_createSubid;
	twin->rd_newRelfilelocatorSubid = rel->rd_newRelfilelocatorSubid;
	twin->rd_firstRelfilelocatorSubid = rel->rd_firstRelfilelocatorSubid;
	RelationAssumeNewRelfilelocator(rel);
}

static void
swap_files(Relation rel, Relation twin)
{
	Relation	classes = table_open(RelationRelationId, RowExclusiveLock);
	HeapTuple	a = SearchSysCacheCopy1(RELOID, ObjectIdGetDatum(RelationGetRelid(rel)));
	HeapTuple	b = SearchSysCacheCopy1(RELOID, ObjectIdGetDatum(RelationGetRelid(twin)));

	if (!HeapTupleIsValid(a) || !HeapTupleIsValid(b))
		elog(ERROR, "cache lookup failed for relation %u or %u",
			 RelationGetRelid(rel), RelationGetRelid(twin));

	/* What readers have locked in the old pages becomes a lock on the table. */
	TransferPredicateLocksToHeapRelation(rel);
	assume_new_file(rel, twin);
	swap_class_rows((Form_pg_class) GETSTRUCT(a), (Form_pg_class) GETSTRUCT(b));
	CatalogTupleUpdate(classes, &a->t_self, a);
	CatalogTupleUpdate(classes, &b->t_self, b);
	move_toast(((Form_pg_class) GETSTRUCT(a))->reltoastrelid, RelationGetRelid(rel));
	move_toast(((Form_pg_class) GETSTRUCT(b))->reltoastrelid, RelationGetRelid(twin));
	heap_freetuple(a);
	heap_freetuple(b);
	table_close(classes, RowExclusiveLock);
	RelationCloseSmgr(rel);
	RelationCloseSmgr(twin);
}

/*
 * same_index tells whether two indexes are defined alike.
 */
static bool
same_index(Relation a, Relation b, int natts)
{
	AttrMap    *map = make_attrmap(natts);
	bool		same;

	for (int i = 0; i < natts; i++)
		map->attnums[i] = i + 1;
	same = CompareIndexInfo(BuildIndexInfo(a), BuildIndexInfo(b),
							a->rd_indcollation, b->rd_indcollation,
							a->rd_opfamily, b->rd_opfamily, map) &&
		a->rd_rel->relam == b->rd_rel->relam;
	free_attrmap(map);
	return same;
}

/*
 * swap_indexes swaps the files of each index with those of its like.
 */
static void
swap_indexes(Relation rel, Relation twin)
{
	List	   *rest = RelationGetIndexList(twin);
	ListCell   *lc;

	foreach(lc, RelationGetIndexList(rel))
	{
		Relation	index = index_open(lfirst_oid(lc), AccessExclusiveLock);
		Oid			found = InvalidOid;
		ListCell   *other;

		foreach(other, rest)
		{
			Relation	twin_index = index_open(lfirst_oid(other), AccessExclusiveLock);

			if (same_index(index, twin_index, RelationGetNumberOfAttributes(rel)))
			{
				swap_files(index, twin_index);
				found = lfirst_oid(other);
			}
			index_close(twin_index, NoLock);
			if (OidIsValid(found))
				break;
		}
		index_close(index, NoLock);
		if (!OidIsValid(found))
			ereport(ERROR,
					(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
					 errmsg("table %s has got other indexes while it was built anew",
							dbp_relation_name(rel)),
					 errhint("Try again when they are there.")));
		rest = list_delete_oid(rest, found);
	}
}

/*
 * rename_toast names the TOAST table after the table that it belongs to now.
 */
static void
rename_toast(Oid relid)
{
	Relation	rel = table_open(relid, NoLock);
	Oid			toastid = rel->rd_rel->reltoastrelid;
	Oid			indexid;

	table_close(rel, NoLock);
	if (!OidIsValid(toastid))
		return;
	indexid = toast_get_valid_index(toastid, AccessExclusiveLock);
	RenameRelationInternal(toastid, psprintf("pg_toast_%u", relid), true, false);
	RenameRelationInternal(indexid, psprintf("pg_toast_%u_index", relid), true, true);
	CommandCounterIncrement();
}

/*
 * dbp_swap_with_twin gives a table the files of its twin, and drops the twin
 * with the old ones.  The caller holds ACCESS EXCLUSIVE on both and is
 * connected to SPI.  Raises 55006 if this session has the table open, and 55000
 * if its indexes have changed since the twin was made.
 */
void
dbp_swap_with_twin(Oid relid, Oid twinid)
{
	Relation	rel = table_open(relid, NoLock);
	Relation	twin = table_open(twinid, NoLock);
	char	   *name = dbp_relation_name(twin);

	CheckTableNotInUse(rel, "rebuild");
	swap_indexes(rel, twin);
	swap_files(rel, twin);
	table_close(twin, NoLock);
	table_close(rel, NoLock);
	CommandCounterIncrement();
	dbp_sql_command("DROP TABLE %s", name);
	rename_toast(relid);
}
