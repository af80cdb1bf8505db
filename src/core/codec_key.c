/*-------------------------------------------------------------------------
 *
 * codec_key.c
 *	  Comparing and identifying values: has a column changed, and the hash
 *	  that finds a row again by its key.
 *
 * Copyright (c) 2026, dbpatterns contributors
 *
 * src/core/codec_key.c
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include <math.h>

#include "access/detoast.h"
#include "common/hashfn.h"
#include "port/pg_bswap.h"
#include "core/codec_impl.h"
#include "utils/builtins.h"
#include "utils/cash.h"
#include "utils/date.h"
#include "utils/float.h"
#include "utils/timestamp.h"
#include "utils/uuid.h"

static bool
is_plain(const struct varlena *v)
{
	return !VARATT_IS_COMPRESSED(v) && !VARATT_IS_EXTERNAL(v);
}

static bool
same_payload(const struct varlena *a, const struct varlena *b)
{
	Size		len = VARSIZE_ANY_EXHDR(a);

	return len == VARSIZE_ANY_EXHDR(b) &&
		memcmp(VARDATA_ANY(a), VARDATA_ANY(b), len) == 0;
}

/*
 * The cheap answers come first: identical stored forms (above all identical
 * TOAST pointers), then the sizes; only then are values fetched.
 */
static bool
varlena_changed(struct varlena *a, struct varlena *b)
{
	struct varlena *fa;
	struct varlena *fb;
	bool		changed;

	if (is_plain(a) && is_plain(b))
		return !same_payload(a, b);
	if ((VARATT_IS_EXTERNAL_ONDISK(a) && VARATT_IS_EXTERNAL_ONDISK(b)) ||
		(VARATT_IS_COMPRESSED(a) && VARATT_IS_COMPRESSED(b)))
	{
		if (VARSIZE_ANY(a) == VARSIZE_ANY(b) &&
			memcmp(a, b, VARSIZE_ANY(a)) == 0)
			return false;
	}
	if (toast_raw_datum_size(PointerGetDatum(a)) !=
		toast_raw_datum_size(PointerGetDatum(b)))
		return true;
	fa = pg_detoast_datum_packed(a);
	fb = pg_detoast_datum_packed(b);
	changed = !same_payload(fa, fb);
	if (fa != a)
		pfree(fa);
	if (fb != b)
		pfree(fb);
	return changed;
}

bool
dbp_codec_changed(DbpCodec *codec, int attno0, Datum oldvalue, bool oldisnull,
				  Datum newvalue, bool newisnull)
{
	CodecType  *type = &codec->cols[attno0].type;
	char	   *a;
	char	   *b;

	if (oldisnull || newisnull)
		return oldisnull != newisnull;
	if (type->typbyval)
		return oldvalue != newvalue;
	a = DatumGetPointer(oldvalue);
	b = DatumGetPointer(newvalue);
	if (a == b)
		return false;
	if (type->typlen == -1)
		return varlena_changed((struct varlena *) a, (struct varlena *) b);
	if (type->typlen == -2)
		return strcmp(a, b) != 0;
	return memcmp(a, b, type->typlen) != 0;
}

static uint64
hash_chars(const void *data, Size len, uint64 seed)
{
	return hash_bytes_extended(data, (int) len, seed);
}

/*
 * Integers keep their order: neighbours stay neighbours, so that an index on
 * the identity is filled and read where its pages are warm.  What the seed
 * stands for (table, earlier columns) sets ranges of values far apart.
 */
static uint64
hash_int64(int64 value, uint64 seed)
{
	return hash_chars(&seed, sizeof(seed), 0) + (uint64) value;
}

/*
 * The order of UUIDs that begin with a time (version 7) is kept alike; the
 * second half only tells apart what the first does not.
 */
static uint64
hash_uuid(const pg_uuid_t *uuid, uint64 seed)
{
	uint64		half;

	memcpy(&half, uuid->data, sizeof(half));
	return hash_int64((int64) pg_ntoh64(half), seed) +
		(hash_chars(uuid->data + sizeof(half), sizeof(half), seed) >> 40);
}

/* Bytes of a varlena; bpchar without its padding. */
static uint64
hash_varlena(CodecClass cls, Datum value, uint64 seed)
{
	struct varlena *v = PG_DETOAST_DATUM_PACKED(value);
	Size		len = VARSIZE_ANY_EXHDR(v);
	uint64		hash;

	if (cls == CODEC_BPCHAR)
		len = bpchartruelen(VARDATA_ANY(v), len);
	hash = hash_chars(VARDATA_ANY(v), len, seed);
	if ((Pointer) v != DatumGetPointer(value))
		pfree(v);
	return hash;
}

/*
 * Without trailing zeros, so that 1.0 is 1.00.  hash_numeric_extended will not
 * do: it does not look at the sign.
 */
static uint64
hash_numeric_value(Datum value, uint64 seed)
{
	Numeric		num = DatumGetNumeric(value);
	char	   *s = numeric_normalize(num);
	uint64		hash = hash_chars(s, strlen(s), seed);

	pfree(s);
	if ((Pointer) num != DatumGetPointer(value))
		pfree(num);
	return hash;
}

static uint64
hash_double(double value, uint64 seed)
{
	if (value == 0)
		value = 0;				/* one zero */
	else if (isnan(value))
		value = get_float8_nan();
	return hash_chars(&value, sizeof(value), seed);
}

/* Any other type by the bytes it has in an image. */
static uint64
hash_encoded(CodecType *type, Datum value, uint64 seed)
{
	CodecWriter w = {0};
	CodecPins	pins;
	JEntry		entry;
	uint64		hash;

	w.cap = 256;
	w.buf = palloc(w.cap);
	w.limit = DBP_CODEC_MAX_VALUE;
	dbp_codec_pin(&pins, type->hard);
	PG_TRY();
	{
		entry = dbp_codec_put(&w, type, value);
		if (entry == CODEC_TOO_LARGE)
		{
			w.len = 0;
			entry = dbp_codec_put_omitted(&w, type, value);
		}
	}
	PG_CATCH();
	{
		dbp_codec_unpin(&pins, false);
		PG_RE_THROW();
	}
	PG_END_TRY();
	dbp_codec_unpin(&pins, true);
	hash = hash_chars(w.buf, w.len, seed ^ entry);
	pfree(w.buf);
	return hash;
}

static uint64
hash_value(CodecType *type, Datum value, uint64 seed)
{
	switch (type->cls)
	{
		case CODEC_BOOL:
			return hash_int64(DatumGetBool(value), seed);
		case CODEC_INT2:
			return hash_int64(DatumGetInt16(value), seed);
		case CODEC_INT4:
			return hash_int64(DatumGetInt32(value), seed);
		case CODEC_INT8:
			return hash_int64(DatumGetInt64(value), seed);
		case CODEC_MONEY:
			return hash_int64(DatumGetCash(value), seed);
		case CODEC_DATE:
			return hash_int64(DatumGetDateADT(value), seed);
		case CODEC_TIME:
			return hash_int64(DatumGetTimeADT(value), seed);
		case CODEC_TIMESTAMP:
		case CODEC_TIMESTAMPTZ:
			return hash_int64(DatumGetTimestamp(value), seed);
		case CODEC_FLOAT4:
			return hash_double(DatumGetFloat4(value), seed);
		case CODEC_FLOAT8:
			return hash_double(DatumGetFloat8(value), seed);
		case CODEC_NUMERIC:
			return hash_numeric_value(value, seed);
		case CODEC_UUID:
			return hash_uuid(DatumGetUUIDP(value), seed);
		case CODEC_NAME:
			return hash_chars(NameStr(*DatumGetName(value)),
							  strlen(NameStr(*DatumGetName(value))), seed);
		case CODEC_TEXT:
		case CODEC_BPCHAR:
		case CODEC_JSON:
		case CODEC_BYTEA:
			return hash_varlena(type->cls, value, seed);
		default:
			return hash_encoded(type, value, seed);
	}
}

/*
 * Every value is hashed with the hash of those before it as its seed, so the
 * border between two values counts; a NULL stirs the seed instead.
 */
uint64
dbp_codec_hash(DbpCodec *codec, const Datum *values, const bool *isnull,
			   const int *attnos, int n, uint64 seed)
{
	uint64		hash = seed;

	for (int i = 0; i < n; i++)
	{
		int			attno = attnos[i];

		if (isnull[attno])
			hash = hash_combine64(hash, UINT64CONST(0x6e756c6c) + i);
		else
			hash = hash_value(&codec->cols[attno].type, values[attno], hash);
	}
	return hash;
}
