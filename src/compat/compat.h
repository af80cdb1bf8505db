/*-------------------------------------------------------------------------
 *
 * compat.h
 *	  Differences between the supported PostgreSQL majors (15 to 18).
 *
 * The only file that looks at PG_VERSION_NUM.  Code elsewhere is written
 * against the newest API; what an older server lacks or spells differently
 * is supplied here under the newest name.
 *
 * Copyright (c) 2026, dbpatterns contributors
 *
 * src/compat/compat.h
 *
 *-------------------------------------------------------------------------
 */
#ifndef DBP_COMPAT_H
#define DBP_COMPAT_H

#if PG_VERSION_NUM < 150000
#error "dbpatterns needs PostgreSQL 15 or newer"
#endif

/* 16: pg_class_ownercheck and friends became one function. */
#if PG_VERSION_NUM < 160000
#include "catalog/pg_class.h"
#include "catalog/pg_namespace.h"
#include "utils/acl.h"
static inline bool
object_ownercheck(Oid classid, Oid objectid, Oid roleid)
{
	Assert(classid == RelationRelationId || classid == NamespaceRelationId);
	return classid == NamespaceRelationId ? pg_namespace_ownercheck(objectid, roleid) :
		pg_class_ownercheck(objectid, roleid);
}
#endif

/* 16: ExecInsertIndexTuples learned to touch summarizing indexes only. */
#if PG_VERSION_NUM < 160000
#include "executor/executor.h"
#define ExecInsertIndexTuples(info, slot, estate, update, nodup, conflict, arbiters, summarizing) \
	ExecInsertIndexTuples(info, slot, estate, update, nodup, conflict, arbiters)
#endif

/* 16: a relation's file has a locator. */
#if PG_VERSION_NUM < 160000
#include "utils/relcache.h"
#define rd_newRelfilelocatorSubid	rd_newRelfilenodeSubid
#define rd_firstRelfilelocatorSubid	rd_firstRelfilenodeSubid
#define RelationAssumeNewRelfilelocator(rel)	RelationAssumeNewRelfilenode(rel)
#endif

/* 18: pg_class counts frozen pages. */
#include "catalog/pg_class.h"
static inline void
dbp_swap_relallfrozen(Form_pg_class a, Form_pg_class b)
{
#if PG_VERSION_NUM >= 180000
	int32		pages = a->relallfrozen;

	a->relallfrozen = b->relallfrozen;
	b->relallfrozen = pages;
#endif
}

/* 16: making a range can fail softly. */
#if PG_VERSION_NUM < 160000
#include "utils/rangetypes.h"
#define make_range(typcache, lower, upper, empty, escontext) \
	make_range(typcache, lower, upper, empty)
#endif

/* 16: so can splitting a qualified name. */
#if PG_VERSION_NUM < 160000
#include "utils/regproc.h"
#define stringToQualifiedNameList(name, escontext)	stringToQualifiedNameList(name)
#endif

/* 17: a process has one virtual transaction id. */
#if PG_VERSION_NUM < 170000
#define dbp_my_lxid()	(MyProc->lxid)
#else
#define dbp_my_lxid()	(MyProc->vxid.lxid)
#endif

/* 17: what transactions share has another name. */
#include "access/transam.h"
#if PG_VERSION_NUM < 170000
#define TransamVariables	ShmemVariableCache
#endif

/* 17: an index access method may have something to end after inserts. */
#if PG_VERSION_NUM < 170000
#define index_insert_cleanup(index, info)	((void) 0)
#endif

/* 17: infinite intervals. */
#if PG_VERSION_NUM < 170000
#define INTERVAL_IS_NOBEGIN(i)	false
#define INTERVAL_IS_NOEND(i)	false
#endif

/* 17: ALTER COLUMN ... SET EXPRESSION. */
#if PG_VERSION_NUM < 170000
#define AT_SetExpression ((AlterTableType) -1)
#endif

/* 17: exclusion constraints on partitioned tables. */
#if PG_VERSION_NUM < 170000
#define DBP_EXCLUSION_ON_PARTITIONED	false
#else
#define DBP_EXCLUSION_ON_PARTITIONED	true
#endif

/* 18: UNIQUE (..., period WITHOUT OVERLAPS). */
#if PG_VERSION_NUM < 180000
#define DBP_WITHOUT_OVERLAPS	false
#else
#define DBP_WITHOUT_OVERLAPS	true
#endif

/* 18: virtual generated columns. */
#if PG_VERSION_NUM < 180000
#define ATTRIBUTE_GENERATED_VIRTUAL	'v'
#endif

/* 18: a tuple descriptor tells the default of a column. */
#if PG_VERSION_NUM < 180000
#include "rewrite/rewriteHandler.h"
#define TupleDescGetDefault(desc, attnum)	((void) (desc), (Node *) NULL)
#endif

/* 18: columns that are NOT NULL may hold it, until that is validated. */
#include "access/tupdesc.h"
#if PG_VERSION_NUM < 180000
#define dbp_att_holds_no_null(desc, i)	(TupleDescAttr(desc, i)->attnotnull)
#else
#define dbp_att_holds_no_null(desc, i) \
	(TupleDescCompactAttr(desc, i)->attnullability == ATTNULLABLE_VALID)
#endif

/* 18: whether a deferrable primary key counts is the caller's choice. */
#if PG_VERSION_NUM < 180000
#include "utils/rel.h"
#define RelationGetPrimaryKeyIndex(rel, deferrable_ok)	RelationGetPrimaryKeyIndex(rel)
#endif

/* 18: constraints that are not enforced. */
#if PG_VERSION_NUM < 180000
#define CONSTRAINT_ENFORCED(form)	true
#else
#define CONSTRAINT_ENFORCED(form)	((form)->conenforced)
#endif

/* 18: index scans can be counted. */
#if PG_VERSION_NUM < 180000
#include "access/genam.h"
#define index_beginscan(heap, index, snapshot, counts, nkeys, norderbys) \
	index_beginscan(heap, index, snapshot, nkeys, norderbys)
#endif

/* 18: the executor no longer asks whether it is run once. */
#if PG_VERSION_NUM < 180000
#define DBP_EXECUTOR_RUN_PARAMS \
	QueryDesc *query, ScanDirection direction, uint64 count, bool once
#define DBP_EXECUTOR_RUN_ARGUMENTS	query, direction, count, once
#else
#define DBP_EXECUTOR_RUN_PARAMS		QueryDesc *query, ScanDirection direction, uint64 count
#define DBP_EXECUTOR_RUN_ARGUMENTS	query, direction, count
#endif

/* 16: memory of settings comes from guc_malloc. */
#if PG_VERSION_NUM < 160000
#define guc_malloc(elevel, size)	malloc(size)
#endif

/* 16: parsing a time tells more about what is wrong. */
#if PG_VERSION_NUM < 160000
#include "utils/datetime.h"
typedef int DateTimeErrorExtra;
#define DecodeDateTime(fields, types, n, dtype, tm, fsec, tz, extra) \
	((void) (extra), DecodeDateTime(fields, types, n, dtype, tm, fsec, tz))
#endif

/* 18: base64 is made of unsigned bytes. */
#if PG_VERSION_NUM < 180000
#include "common/base64.h"
#define pg_b64_encode(src, len, dst, dstlen) \
	pg_b64_encode((const char *) (src), len, dst, dstlen)
#define pg_b64_decode(src, len, dst, dstlen) \
	pg_b64_decode(src, len, (char *) (dst), dstlen)
#endif

/* 16: a type name that does not resolve can be reported softly. */
#include "parser/parse_type.h"
#if PG_VERSION_NUM >= 160000
#include "nodes/miscnodes.h"
#endif
static inline bool
dbp_parse_type(const char *name, Oid *type, int32 *typmod)
{
#if PG_VERSION_NUM >= 160000
	ErrorSaveContext escontext = {T_ErrorSaveContext};

	return parseTypeString(name, type, typmod, (Node *) &escontext);
#else
	parseTypeString(name, type, typmod, true);
	return OidIsValid(*type);
#endif
}

#endif							/* DBP_COMPAT_H */
