/*-------------------------------------------------------------------------
 *
 * codec_put.c
 *	  How the values of each class are written.
 *
 * Every put function appends the value's bytes to the writer and returns its
 * JEntry with the length (alignment padding included), or CODEC_TOO_LARGE
 * when the value would end beyond the writer's limit.
 *
 * Copyright (c) 2026, dbpatterns contributors
 *
 * src/core/codec_put.c
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include <math.h>

#include "access/detoast.h"
#include "access/tupmacs.h"
#include "catalog/pg_type.h"
#include "common/cryptohash.h"
#include "common/sha2.h"
#include "common/shortest_dec.h"
#include "core/codec_impl.h"
#include "mb/pg_wchar.h"
#include "miscadmin.h"
#include "utils/array.h"
#include "utils/builtins.h"
#include "utils/cash.h"
#include "utils/date.h"
#include "utils/timestamp.h"
#include "utils/uuid.h"

JEntry
dbp_codec_put_string(CodecWriter *w, const char *s, Size len)
{
	if (unlikely(len > w->limit - w->len))
		return CODEC_TOO_LARGE;
	memcpy(writer_room(w, len), s, len);
	w->len += len;
	return JENTRY_ISSTRING | (JEntry) len;
}

/* A numeric that may have a short header and any alignment. */
static JEntry
put_numeric(CodecWriter *w, const struct varlena *num)
{
	uint32		start = w->len;
	uint32		len = VARSIZE_ANY_EXHDR(num) + VARHDRSZ;
	Numeric		copy;

	if (unlikely(len + 3 > w->limit - w->len))
		return CODEC_TOO_LARGE;
	writer_align(w);
	copy = (Numeric) writer_room(w, len);
	SET_VARSIZE(copy, len);
	memcpy(VARDATA(copy), VARDATA_ANY(num), len - VARHDRSZ);
	if (unlikely(numeric_is_nan(copy) || numeric_is_inf(copy)))
	{
		char	   *s = DatumGetCString(DirectFunctionCall1(numeric_out,
															NumericGetDatum(copy)));

		w->len = start;
		return dbp_codec_put_string(w, s, strlen(s));
	}
	w->len += len;
	return JENTRY_ISNUMERIC | (w->len - start);
}

static JEntry
put_new_numeric(CodecWriter *w, Numeric num)
{
	JEntry		entry = put_numeric(w, (struct varlena *) num);

	pfree(num);
	return entry;
}

static JEntry
put_int64(CodecWriter *w, int64 value)
{
	return put_new_numeric(w, int64_to_numeric(value));
}

/*
 * A decimal of at most 17 digits as numeric.  Without an exponent it is an
 * integer divided by a power of ten, for which there is a way around the
 * parser.
 */
static Numeric
numeric_from_decimal(const char *s)
{
	const char *p = s;
	bool		negative = *p == '-';
	int64		digits = 0;
	int			scale = 0;
	bool		fraction = false;

	for (p += negative; *p != '\0'; p++)
	{
		if (*p == '.')
			fraction = true;
		else if (*p == 'e')
			return DatumGetNumeric(DirectFunctionCall3(numeric_in,
													   CStringGetDatum(s),
													   ObjectIdGetDatum(InvalidOid),
													   Int32GetDatum(-1)));
		else
		{
			digits = digits * 10 + (*p - '0');
			scale += fraction;
		}
	}
	return int64_div_fast_to_numeric(negative ? -digits : digits, scale);
}

/*
 * The shortest decimal that reads back as the same float.  JSON has no
 * numbers for NaN, infinities and the negative zero.
 */
static JEntry
put_float(CodecWriter *w, double value, const char *shortest)
{
	if (unlikely(isnan(value)))
		return dbp_codec_put_string(w, "NaN", 3);
	if (unlikely(isinf(value)))
		return value > 0 ? dbp_codec_put_string(w, "Infinity", 8) :
			dbp_codec_put_string(w, "-Infinity", 9);
	if (unlikely(value == 0 && signbit(value)))
		return dbp_codec_put_string(w, "-0", 2);
	return put_new_numeric(w, numeric_from_decimal(shortest));
}

static JEntry
put_float4(CodecWriter *w, float4 value)
{
	char		s[FLOAT_SHORTEST_DECIMAL_LEN];

	float_to_shortest_decimal_buf(value, s);
	return put_float(w, value, s);
}

static JEntry
put_float8(CodecWriter *w, float8 value)
{
	char		s[DOUBLE_SHORTEST_DECIMAL_LEN];

	double_to_shortest_decimal_buf(value, s);
	return put_float(w, value, s);
}

/*
 * "char": empty for the zero byte; bytes that are no ASCII would not be valid
 * in every database encoding and become a backslash and three octal digits.
 */
static JEntry
put_char(CodecWriter *w, unsigned char c)
{
	char		s[5];

	if (c == '\0')
		return dbp_codec_put_string(w, "", 0);
	if (c < 0x80)
	{
		s[0] = c;
		return dbp_codec_put_string(w, s, 1);
	}
	snprintf(s, sizeof(s), "\\%03o", c);
	return dbp_codec_put_string(w, s, 4);
}

static JEntry
put_uuid(CodecWriter *w, const pg_uuid_t *uuid)
{
	static const char digits[] = "0123456789abcdef";
	char	   *p = writer_room(w, UUID_LEN * 2 + 4);

	for (int i = 0; i < UUID_LEN; i++)
	{
		if (i == 4 || i == 6 || i == 8 || i == 10)
			*p++ = '-';
		*p++ = digits[uuid->data[i] >> 4];
		*p++ = digits[uuid->data[i] & 0xF];
	}
	w->len += UUID_LEN * 2 + 4;
	return JENTRY_ISSTRING | (UUID_LEN * 2 + 4);
}

static JEntry
put_bytea(CodecWriter *w, const struct varlena *value)
{
	uint32		len = VARSIZE_ANY_EXHDR(value);
	char	   *p;

	if (unlikely((uint64) len * 2 + 2 > w->limit - w->len))
		return CODEC_TOO_LARGE;
	p = writer_room(w, len * 2 + 2);
	p[0] = '\\';
	p[1] = 'x';
	hex_encode(VARDATA_ANY(value), len, p + 2);
	w->len += len * 2 + 2;
	return JENTRY_ISSTRING | (len * 2 + 2);
}

/* {"$dbp": kind, key: value}; the two value entries are the caller's. */
static void
begin_marker(CodecWriter *w, CodecContainer *c, int npairs,
			 const char *const *keys, const char *kind)
{
	dbp_container_begin(w, c, npairs | JB_FOBJECT, npairs * 2);
	for (int i = 0; i < npairs; i++)
		container_add(w, c, dbp_codec_put_string(w, keys[i], strlen(keys[i])));
	container_add(w, c, dbp_codec_put_string(w, kind, strlen(kind)));
}

static const char *const marker_keys[] = {"$dbp", "value"};
static const char *const omitted_keys[] = {"$dbp", "bytes", "sha256"};

JEntry
dbp_codec_put_redacted(CodecWriter *w)
{
	CodecContainer c;

	begin_marker(w, &c, 1, marker_keys, "redacted");
	return dbp_container_end(w, &c);
}

/* The payload of a jsonb, which starts at an aligned place of the writer. */
static JEntry
embed_jsonb(CodecWriter *w, uint32 start, uint32 len)
{
	JsonbContainer *jc = (JsonbContainer *) (w->buf + w->len);
	uint32		skip = offsetof(JsonbContainer, children) + sizeof(JEntry);
	JEntry		type;

	if (!JsonContainerIsScalar(jc))
	{
		w->len += len;
		return JENTRY_ISCONTAINER | (w->len - start);
	}
	/* a lone scalar is stored as an array of one */
	type = jc->children[0] & JENTRY_TYPEMASK;
	if (type == JENTRY_ISSTRING)
		w->len = start;
	else if (type != JENTRY_ISNUMERIC)
	{
		w->len = start;
		return type;
	}
	memmove(w->buf + w->len, (char *) jc + skip, len - skip);
	w->len += len - skip;
	return type | (w->len - start);
}

/*
 * A jsonb null must not look like an SQL NULL, nor an object of the user's
 * like a marker.
 */
static bool
jsonb_needs_wrapper(JsonbContainer *jc)
{
	JsonbValue	unused;

	if (JsonContainerIsScalar(jc))
		return JBE_ISNULL(jc->children[0]);
	return JsonContainerIsObject(jc) &&
		getKeyJsonValueFromContainer(jc, "$dbp", 4, &unused) != NULL;
}

/* Containers are embedded as they are: their inner offsets are relative. */
static JEntry
put_jsonb(CodecWriter *w, const struct varlena *value)
{
	uint32		start = w->len;
	uint32		len = VARSIZE_ANY_EXHDR(value);
	CodecContainer c;

	if (unlikely((uint64) len + 3 > w->limit - w->len))
		return CODEC_TOO_LARGE;
	writer_align(w);
	memcpy(writer_room(w, len), VARDATA_ANY(value), len);
	if (likely(!jsonb_needs_wrapper((JsonbContainer *) (w->buf + w->len))))
		return embed_jsonb(w, start, len);

	w->len = start;
	if (unlikely((uint64) len + CODEC_SMALL > w->limit - w->len))
		return CODEC_TOO_LARGE;
	begin_marker(w, &c, 2, marker_keys, "jsonb");
	start = w->len;
	writer_align(w);
	memcpy(writer_room(w, len), VARDATA_ANY(value), len);
	container_add(w, &c, embed_jsonb(w, start, len));
	return dbp_container_end(w, &c);
}

/*
 * The text of the output function.  If that is not valid in the database
 * encoding (which a "char" inside a composite can achieve) its bytes are
 * kept in hexadecimal.
 */
static JEntry
put_output(CodecWriter *w, CodecType *type, Datum value)
{
	char	   *s = OutputFunctionCall(type->out, value);
	Size		len = strlen(s);
	JEntry		entry;

	if (likely(len > w->limit - w->len || pg_verifymbstr(s, len, true)))
		entry = dbp_codec_put_string(w, s, len);
	else
	{
		CodecContainer c;
		char	   *hex;

		if (len * 2 + CODEC_SMALL > w->limit - w->len)
			return CODEC_TOO_LARGE;
		begin_marker(w, &c, 2, marker_keys, "bytes");
		hex = writer_room(w, len * 2);
		hex_encode(s, len, hex);
		w->len += len * 2;
		container_add(w, &c, JENTRY_ISSTRING | (JEntry) (len * 2));
		entry = dbp_container_end(w, &c);
	}
	pfree(s);
	return entry;
}

/*
 * Arrays of plain values with subscripts from 1 become JSON arrays; others
 * keep their dimensions in the text of the output function.
 */
static JEntry
put_array(CodecWriter *w, CodecType *type, Datum value)
{
	ArrayType  *array = DatumGetArrayTypeP(value);
	CodecType  *elem = type->elem;
	int			n = ArrayGetNItems(ARR_NDIM(array), ARR_DIMS(array));
	bits8	   *nulls = ARR_NULLBITMAP(array);
	char	   *p = ARR_DATA_PTR(array);
	CodecContainer c;
	JEntry		entry;

	if (ARR_NDIM(array) > 1 ||
		(ARR_NDIM(array) == 1 && ARR_LBOUND(array)[0] != 1))
		entry = put_output(w, type, PointerGetDatum(array));
	else if ((uint64) n * sizeof(JEntry) + 8 > w->limit - w->len)
		entry = CODEC_TOO_LARGE;
	else
	{
		dbp_container_begin(w, &c, n | JB_FARRAY, n);
		for (int i = 0; i < n; i++)
		{
			if (nulls != NULL && (nulls[i / 8] & (1 << (i % 8))) == 0)
				entry = JENTRY_ISNULL;
			else
			{
				entry = dbp_codec_put(w, elem,
									  fetch_att(p, elem->typbyval, elem->typlen));
				p = att_addlength_pointer(p, elem->typlen, p);
				p = (char *) att_align_nominal(p, elem->typalign);
			}
			if (unlikely(entry == CODEC_TOO_LARGE || w->len > w->limit))
				break;
			container_add(w, &c, entry);
			if (i % 4096 == 4095)
				CHECK_FOR_INTERRUPTS();
		}
		entry = c.n < n ? CODEC_TOO_LARGE : dbp_container_end(w, &c);
	}
	if ((Pointer) array != DatumGetPointer(value))
		pfree(array);
	return entry;
}

/*
 * A varlena that is compressed or stored out of line is fetched for the time
 * of writing; one that cannot fit is not fetched at all.
 */
static JEntry
put_varlena(CodecWriter *w, CodecType *type, Datum value)
{
	struct varlena *v = (struct varlena *) DatumGetPointer(value);
	struct varlena *fetched = NULL;
	JEntry		entry;

	if (unlikely(VARATT_IS_COMPRESSED(v) || VARATT_IS_EXTERNAL(v)))
	{
		if (toast_raw_datum_size(value) - VARHDRSZ > w->limit - w->len)
			return CODEC_TOO_LARGE;
		v = fetched = detoast_attr(v);
	}
	switch (type->cls)
	{
		case CODEC_NUMERIC:
			entry = put_numeric(w, v);
			break;
		case CODEC_BYTEA:
			entry = put_bytea(w, v);
			break;
		case CODEC_JSONB:
			entry = put_jsonb(w, v);
			break;
		default:
			entry = dbp_codec_put_string(w, VARDATA_ANY(v),
										 VARSIZE_ANY_EXHDR(v));
			break;
	}
	if (fetched != NULL)
		pfree(fetched);
	return entry;
}

static JEntry
put_enum(CodecWriter *w, Datum value)
{
	char	   *label = DatumGetCString(DirectFunctionCall1(enum_out, value));
	JEntry		entry = dbp_codec_put_string(w, label, strlen(label));

	pfree(label);
	return entry;
}

JEntry
dbp_codec_put(CodecWriter *w, CodecType *type, Datum value)
{
	switch (type->cls)
	{
		case CODEC_BOOL:
			return DatumGetBool(value) ? JENTRY_ISBOOL_TRUE : JENTRY_ISBOOL_FALSE;
		case CODEC_INT2:
			return put_int64(w, DatumGetInt16(value));
		case CODEC_INT4:
			return put_int64(w, DatumGetInt32(value));
		case CODEC_INT8:
			return put_int64(w, DatumGetInt64(value));
		case CODEC_FLOAT4:
			return put_float4(w, DatumGetFloat4(value));
		case CODEC_FLOAT8:
			return put_float8(w, DatumGetFloat8(value));
		case CODEC_MONEY:
			return put_new_numeric(w, int64_div_fast_to_numeric(DatumGetCash(value), 2));
		case CODEC_NUMERIC:
		case CODEC_TEXT:
		case CODEC_BPCHAR:
		case CODEC_JSON:
		case CODEC_BYTEA:
		case CODEC_JSONB:
			return put_varlena(w, type, value);
		case CODEC_NAME:
			return dbp_codec_put_string(w, NameStr(*DatumGetName(value)),
										strlen(NameStr(*DatumGetName(value))));
		case CODEC_CHAR:
			return put_char(w, (unsigned char) DatumGetChar(value));
		case CODEC_ENUM:
			return put_enum(w, value);
		case CODEC_UUID:
			return put_uuid(w, DatumGetUUIDP(value));
		case CODEC_DATE:
		case CODEC_TIME:
		case CODEC_TIMETZ:
		case CODEC_TIMESTAMP:
		case CODEC_TIMESTAMPTZ:
			return dbp_codec_put_datetime(w, type, value);
		case CODEC_INTERVAL:
			return dbp_codec_put_interval(w, DatumGetIntervalP(value));
		case CODEC_ARRAY:
		case CODEC_OUTPUT:
			/* what is too large in binary form is not even tried */
			if (type->typlen == -1 &&
				toast_raw_datum_size(value) > w->limit - w->len)
				return CODEC_TOO_LARGE;
			if (type->cls == CODEC_ARRAY)
				return put_array(w, type, value);
			return put_output(w, type, value);
	}
	pg_unreachable();
}

static void
sha256_hex(const uint8 *data, Size len, char *hex)
{
	pg_cryptohash_ctx *ctx = pg_cryptohash_create(PG_SHA256);
	uint8		digest[PG_SHA256_DIGEST_LENGTH];
	bool		ok = pg_cryptohash_init(ctx) >= 0;

	for (Size done = 0; ok && done < len;)
	{
		Size		chunk = Min(len - done, 1024 * 1024);

		CHECK_FOR_INTERRUPTS();
		ok = pg_cryptohash_update(ctx, data + done, chunk) >= 0;
		done += chunk;
	}
	if (!ok || pg_cryptohash_final(ctx, digest, sizeof(digest)) < 0)
		elog(ERROR, "could not compute SHA-256: %s", pg_cryptohash_error(ctx));
	pg_cryptohash_free(ctx);
	hex_encode((char *) digest, sizeof(digest), hex);
}

/* The marker for a value that is too large, telling its stored bytes. */
JEntry
dbp_codec_put_omitted(CodecWriter *w, CodecType *type, Datum value)
{
	CodecContainer c;
	char		byval[sizeof(Datum)];
	char	   *data = byval;
	struct varlena *v = NULL;
	Size		len;
	char		hex[PG_SHA256_DIGEST_LENGTH * 2];

	if (type->typlen == -1)
	{
		v = pg_detoast_datum_packed((struct varlena *) DatumGetPointer(value));
		data = VARDATA_ANY(v);
		len = VARSIZE_ANY_EXHDR(v);
	}
	else
	{
		if (type->typbyval)
			store_att_byval(byval, value, type->typlen);
		else
			data = DatumGetPointer(value);
		len = type->typlen == -2 ? strlen(data) : type->typlen;
	}
	sha256_hex((const uint8 *) data, len, hex);
	if (v != NULL && (Pointer) v != DatumGetPointer(value))
		pfree(v);
	begin_marker(w, &c, 3, omitted_keys, "omitted");
	container_add(w, &c, put_int64(w, len));
	container_add(w, &c, dbp_codec_put_string(w, hex, sizeof(hex)));
	return dbp_container_end(w, &c);
}
