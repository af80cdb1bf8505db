/*-------------------------------------------------------------------------
 *
 * codec_sql.c
 *	  SQL access to the codec.
 *
 * Copyright (c) 2026, dbpatterns contributors
 *
 * src/core/codec_sql.c
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "access/htup_details.h"
#include "catalog/pg_type.h"
#include "core/codec.h"
#include "fmgr.h"
#include "funcapi.h"
#include "utils/builtins.h"
#include "utils/lsyscache.h"
#include "utils/memutils.h"
#include "utils/typcache.h"

PG_FUNCTION_INFO_V1(dbpatterns_row_to_jsonb);
PG_FUNCTION_INFO_V1(dbpatterns_row_from_jsonb);

/* In fn_extra: everything about the row type of the previous call. */
typedef struct RowType
{
	MemoryContext cxt;			/* holds what follows */
	uint64		identifier;		/* changes when the type does */
	TupleDesc	desc;
	DbpCodec   *codec;
	Datum	   *values;
	bool	   *isnull;
	bool	   *present;
} RowType;

static RowType *
row_type_for(FunctionCallInfo fcinfo, Oid typid, int32 typmod)
{
	RowType    *row = fcinfo->flinfo->fn_extra;
	uint64		identifier = assign_record_type_identifier(typid, typmod);
	TupleDesc	desc;
	MemoryContext cxt;
	MemoryContext old;

	if (likely(row != NULL && row->identifier == identifier))
		return row;

	fcinfo->flinfo->fn_extra = NULL;
	if (row != NULL)
		MemoryContextDelete(row->cxt);
	cxt = AllocSetContextCreate(fcinfo->flinfo->fn_mcxt, "dbpatterns row type",
								ALLOCSET_SMALL_SIZES);
	old = MemoryContextSwitchTo(cxt);
	desc = lookup_rowtype_tupdesc(typid, typmod);
	row = palloc0(sizeof(RowType));
	row->cxt = cxt;
	row->identifier = identifier;
	row->desc = CreateTupleDescCopyConstr(desc);
	row->codec = dbp_codec_create(row->desc, NULL, NULL, cxt);
	row->values = palloc(sizeof(Datum) * Max(desc->natts, 1));
	row->isnull = palloc(sizeof(bool) * Max(desc->natts, 1));
	row->present = palloc(sizeof(bool) * Max(desc->natts, 1));
	ReleaseTupleDesc(desc);
	MemoryContextSwitchTo(old);
	fcinfo->flinfo->fn_extra = row;
	return row;
}

static void
deform(RowType *row, HeapTupleHeader header, Datum *values, bool *isnull)
{
	HeapTupleData tuple;

	tuple.t_len = HeapTupleHeaderGetDatumLength(header);
	ItemPointerSetInvalid(&tuple.t_self);
	tuple.t_tableOid = InvalidOid;
	tuple.t_data = header;
	heap_deform_tuple(&tuple, row->desc, values, isnull);
}

/*
 * dbpatterns.row_to_jsonb(record) returns jsonb
 *
 * The caller gets the image of a row, the one the audit trail and the other
 * patterns store; nothing is changed.  The row is any composite value.  NULL
 * for a NULL row.  The result does not depend on settings of the session.
 * Raises nothing of its own, takes no locks, runs as the caller.
 */
Datum
dbpatterns_row_to_jsonb(PG_FUNCTION_ARGS)
{
	HeapTupleHeader header = PG_GETARG_HEAPTUPLEHEADER(0);
	RowType    *row = row_type_for(fcinfo, HeapTupleHeaderGetTypeId(header),
								   HeapTupleHeaderGetTypMod(header));

	deform(row, header, row->values, row->isnull);
	PG_RETURN_JSONB_P(dbp_codec_encode(row->codec, row->values, row->isnull,
									   NULL));
}

/*
 * dbpatterns.row_from_jsonb(base anyelement, image jsonb) returns anyelement
 *
 * The caller gets a row of the type of base; nothing is changed.  Columns
 * that the image does not hold, or holds as a redacted or omitted marker, are
 * taken from base, or are NULL when base is NULL.  Keys that are no column
 * are ignored.  NULL when image is NULL.
 *
 * Raises, in this order: datatype_mismatch (base is not of a row type),
 * invalid_parameter_value (image is not an object), then whatever the input
 * functions of the column types and the constraints of domains raise, with
 * the column named in the context.  Takes no locks, runs as the caller.
 */
Datum
dbpatterns_row_from_jsonb(PG_FUNCTION_ARGS)
{
	Oid			argtype = get_fn_expr_argtype(fcinfo->flinfo, 0);
	int32		typmod = -1;
	Oid			typid = getBaseTypeAndTypmod(argtype, &typmod);
	HeapTupleHeader base = NULL;
	RowType    *row;
	Datum	   *values;
	bool	   *isnull;
	Datum		result;

	if (PG_ARGISNULL(1))
		PG_RETURN_NULL();
	if (type_is_rowtype(typid) && !PG_ARGISNULL(0))
	{
		base = PG_GETARG_HEAPTUPLEHEADER(0);
		typid = HeapTupleHeaderGetTypeId(base);
		typmod = HeapTupleHeaderGetTypMod(base);
	}
	else if (!type_is_rowtype(typid) || typid == RECORDOID)
		ereport(ERROR,
				(errcode(ERRCODE_DATATYPE_MISMATCH),
				 errmsg("base of type %s is not a row of a known type",
						format_type_be(argtype)),
				 errhint("Pass a row of the table, or NULL::table_name.")));

	row = row_type_for(fcinfo, typid, typmod);
	dbp_codec_decode(row->codec, InvalidOid, PG_GETARG_JSONB_P(1), row->values,
					 row->isnull, row->present);
	values = palloc(sizeof(Datum) * Max(row->desc->natts, 1));
	isnull = palloc(sizeof(bool) * Max(row->desc->natts, 1));
	memset(isnull, true, sizeof(bool) * row->desc->natts);
	if (base != NULL)
		deform(row, base, values, isnull);
	for (int i = 0; i < row->desc->natts; i++)
	{
		if (row->present[i])
		{
			values[i] = row->values[i];
			isnull[i] = row->isnull[i];
		}
	}
	result = HeapTupleGetDatum(heap_form_tuple(row->desc, values, isnull));
	if (argtype != typid && get_typtype(argtype) == TYPTYPE_DOMAIN)
		domain_check(result, false, argtype, NULL, NULL);
	PG_RETURN_DATUM(result);
}
