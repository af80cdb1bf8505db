/*-------------------------------------------------------------------------
 *
 * codec_probe.c
 *	  Ways for the tests to reach the parts of the codec that have no SQL
 *	  function: the tests declare these functions themselves, the install
 *	  script does not.
 *
 * Copyright (c) 2026, dbpatterns contributors
 *
 * src/core/codec_probe.c
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "access/htup_details.h"
#include "catalog/pg_type.h"
#include "commands/trigger.h"
#include "core/codec.h"
#include "executor/executor.h"
#include "fmgr.h"
#include "utils/array.h"
#include "utils/builtins.h"
#include "utils/rel.h"
#include "utils/typcache.h"

PG_FUNCTION_INFO_V1(dbpatterns_probe_image);
PG_FUNCTION_INFO_V1(dbpatterns_probe_hash);
PG_FUNCTION_INFO_V1(dbpatterns_probe_changed);

/* A flag per attribute: is its name in the text[] argument? */
static bool *
named_columns(FunctionCallInfo fcinfo, int arg, TupleDesc desc)
{
	bool	   *result;
	Datum	   *names;
	int			n;

	if (PG_ARGISNULL(arg))
		return NULL;
	deconstruct_array(PG_GETARG_ARRAYTYPE_P(arg), TEXTOID, -1, false,
					  TYPALIGN_INT, &names, NULL, &n);
	result = palloc0(sizeof(bool) * desc->natts);
	for (int i = 0; i < n; i++)
	{
		for (int j = 0; j < desc->natts; j++)
			result[j] |= strcmp(NameStr(TupleDescAttr(desc, j)->attname),
								TextDatumGetCString(names[i])) == 0;
	}
	return result;
}

/*
 * probe_image(row record, skip text[], redact text[], pick text[]) returns
 * jsonb: the image a codec made with skip and redact gives for pick, after
 * images of other picks, so that the kept layouts come into play.
 */
Datum
dbpatterns_probe_image(PG_FUNCTION_ARGS)
{
	HeapTupleHeader header = PG_GETARG_HEAPTUPLEHEADER(0);
	TupleDesc	desc = lookup_rowtype_tupdesc_copy(HeapTupleHeaderGetTypeId(header),
												   HeapTupleHeaderGetTypMod(header));
	DbpCodec   *codec = dbp_codec_create(desc, named_columns(fcinfo, 1, desc),
										 named_columns(fcinfo, 2, desc),
										 CurrentMemoryContext);
	bool	   *pick = named_columns(fcinfo, 3, desc);
	Datum	   *values = palloc(sizeof(Datum) * desc->natts);
	bool	   *isnull = palloc(sizeof(bool) * desc->natts);
	HeapTupleData tuple = {.t_data = header};

	tuple.t_len = HeapTupleHeaderGetDatumLength(header);
	heap_deform_tuple(&tuple, desc, values, isnull);
	for (int i = 0; i < 2 * desc->natts; i++)
	{
		bool	   *other = palloc0(sizeof(bool) * desc->natts);

		other[i % desc->natts] = true;
		(void) dbp_codec_encode(codec, values, isnull, other);
		(void) dbp_codec_encode(codec, values, isnull, i % 3 ? pick : NULL);
	}
	PG_RETURN_JSONB_P(dbp_codec_encode(codec, values, isnull, pick));
}

/* probe_hash(row record, seed bigint) returns bigint: of all columns. */
Datum
dbpatterns_probe_hash(PG_FUNCTION_ARGS)
{
	HeapTupleHeader header = PG_GETARG_HEAPTUPLEHEADER(0);
	TupleDesc	desc = lookup_rowtype_tupdesc_copy(HeapTupleHeaderGetTypeId(header),
												   HeapTupleHeaderGetTypMod(header));
	DbpCodec   *codec = dbp_codec_create(desc, NULL, NULL, CurrentMemoryContext);
	Datum	   *values = palloc(sizeof(Datum) * desc->natts);
	bool	   *isnull = palloc(sizeof(bool) * desc->natts);
	int		   *attnos = palloc(sizeof(int) * desc->natts);
	HeapTupleData tuple = {.t_data = header};

	tuple.t_len = HeapTupleHeaderGetDatumLength(header);
	heap_deform_tuple(&tuple, desc, values, isnull);
	for (int i = 0; i < desc->natts; i++)
		attnos[i] = i;
	PG_RETURN_INT64((int64) dbp_codec_hash(codec, values, isnull, attnos,
										   desc->natts, PG_GETARG_INT64(1)));
}

/*
 * probe_changed() returns trigger: AFTER UPDATE FOR EACH ROW, names the
 * columns that changed, and the size of the new image, in a NOTICE.  Only a
 * trigger sees stored values that are still compressed or out of line.
 */
Datum
dbpatterns_probe_changed(PG_FUNCTION_ARGS)
{
	TriggerData *trigdata = (TriggerData *) fcinfo->context;
	TupleDesc	desc = RelationGetDescr(trigdata->tg_relation);
	DbpCodec   *codec = dbp_codec_create(desc, NULL, NULL, CurrentMemoryContext);
	TupleTableSlot *oldslot = trigdata->tg_trigslot;
	TupleTableSlot *newslot = trigdata->tg_newslot;
	StringInfoData names;
	Jsonb	   *image;

	initStringInfo(&names);
	slot_getallattrs(oldslot);
	slot_getallattrs(newslot);
	for (int i = 0; i < desc->natts; i++)
	{
		if (dbp_codec_changed(codec, i,
							  oldslot->tts_values[i], oldslot->tts_isnull[i],
							  newslot->tts_values[i], newslot->tts_isnull[i]))
			appendStringInfo(&names, " %s",
							 NameStr(TupleDescAttr(desc, i)->attname));
	}
	image = dbp_codec_encode(codec, newslot->tts_values, newslot->tts_isnull,
							 NULL);
	ereport(NOTICE, (errmsg("changed:%s, new image of %u bytes", names.data,
							(unsigned) VARSIZE(image))));
	return PointerGetDatum(NULL);
}
