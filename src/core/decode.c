/*-------------------------------------------------------------------------
 *
 * decode.c
 *	  Images back to rows.
 *
 * A JSON value becomes text and goes through the input function of the
 * column's type, under the settings the image was written with; only jsonb,
 * "char" and arrays written as JSON arrays are built directly.
 *
 * Copyright (c) 2026, dbpatterns contributors
 *
 * src/core/decode.c
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "access/htup_details.h"
#include "catalog/pg_type.h"
#include "core/codec_impl.h"
#include "core/owner.h"
#include "mb/pg_wchar.h"
#include "miscadmin.h"
#include "utils/array.h"
#include "utils/builtins.h"
#include "utils/fmgroids.h"
#include "utils/lsyscache.h"
#include "utils/syscache.h"

/* What a column's value in an image turned out to be. */
typedef enum Found
{
	FOUND_VALUE,
	FOUND_NULL,
	FOUND_NOTHING				/* redacted, omitted or erased */
} Found;

static void
column_context(void *arg)
{
	errcontext("column \"%s\" of a row image", (const char *) arg);
}

static void
wrong_kind(void)
{
	ereport(ERROR,
			(errcode(ERRCODE_INVALID_TEXT_REPRESENTATION),
			 errmsg("row image holds a JSON value of the wrong kind"),
			 errdetail("A JSON object or array cannot be read as a value of this type."),
			 errhint("Give a string with the value as text, or an image of dbpatterns.row_to_jsonb.")));
}

/* The inverse of output_function() in codec_types.c. */
static void
input_init(CodecType *type, MemoryContext cxt)
{
	Oid			func;
	FmgrInfo   *in = MemoryContextAllocZero(cxt, sizeof(FmgrInfo));

	getTypeInputInfo(type->base, &func, &type->ioparam);
	if (type->base == REGPROCOID)
		func = F_REGPROCEDUREIN;
	else if (type->base == REGOPEROID)
		func = F_REGOPERATORIN;
	fmgr_info_cxt(func, in, cxt);
	type->in = in;
}

/* "char", see put_char() in codec_types.c. */
static Datum
char_from_text(const char *s)
{
	if (s[0] == '\\' && s[1] >= '2' && s[1] <= '3' &&
		s[2] >= '0' && s[2] <= '7' && s[3] >= '0' && s[3] <= '7' && s[4] == '\0')
		return CharGetDatum((char) (((s[1] - '0') << 6) | ((s[2] - '0') << 3) |
									(s[3] - '0')));
	return CharGetDatum(s[0]);
}

static Datum
value_from_text(CodecType *type, char *s, MemoryContext cxt)
{
	if (type->cls == CODEC_CHAR)
		return char_from_text(s);
	if (type->in == NULL)
		input_init(type, cxt);
	return InputFunctionCall(type->in, s, type->ioparam, type->typmod);
}

static Datum
jsonb_from_value(JsonbValue *v)
{
	return JsonbPGetDatum(JsonbValueToJsonb(v));
}

static Found decode_value(CodecType *type, JsonbValue *v, MemoryContext cxt,
						  Datum *value);

/* Look up a key of an object that must be a string. */
static JsonbValue *
get_string(JsonbContainer *jc, const char *key, JsonbValue *v)
{
	if (getKeyJsonValueFromContainer(jc, key, strlen(key), v) == NULL ||
		v->type != jbvString)
		return NULL;
	return v;
}

static bool
string_is(const JsonbValue *v, const char *s)
{
	return v->val.string.len == strlen(s) &&
		memcmp(v->val.string.val, s, v->val.string.len) == 0;
}

static Datum
value_from_bytes(CodecType *type, JsonbValue *hex, MemoryContext cxt)
{
	int			len = hex->val.string.len / 2;
	char	   *s = palloc(len + 1);

	len = hex_decode(hex->val.string.val, hex->val.string.len, s);
	s[len] = '\0';

	/* Anybody can write such a marker, but not invalid text by it. */
	(void) pg_verifymbstr(s, len, false);
	return value_from_text(type, s, cxt);
}

/* An object with a key "$dbp" is never a value of the user's. */
static Found
decode_marker(CodecType *type, JsonbContainer *jc, const JsonbValue *kind,
			  MemoryContext cxt, Datum *value)
{
	JsonbValue	inner;

	if (string_is(kind, "redacted") || string_is(kind, "omitted") ||
		string_is(kind, "erased"))
		return FOUND_NOTHING;
	if (string_is(kind, "jsonb") && type->cls == CODEC_JSONB &&
		getKeyJsonValueFromContainer(jc, "value", 5, &inner) != NULL)
		*value = jsonb_from_value(&inner);
	else if (string_is(kind, "bytes") && get_string(jc, "value", &inner))
		*value = value_from_bytes(type, &inner, cxt);
	else
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_TEXT_REPRESENTATION),
				 errmsg("row image holds an unknown marker \"%s\"",
						pnstrdup(kind->val.string.val, kind->val.string.len)),
				 errhint("Objects with a key \"$dbp\" are kept for markers of dbpatterns.row_to_jsonb.")));
	return FOUND_VALUE;
}

static Datum
decode_array(CodecType *type, JsonbContainer *jc, MemoryContext cxt)
{
	CodecType  *elem = type->elem;
	int			n = JsonContainerSize(jc);
	int			lbound = 1;
	Datum	   *values;
	bool	   *nulls;
	ArrayType  *array;
	JsonbIterator *it;
	JsonbValue	v;
	JsonbIteratorToken token;
	int			i = 0;

	if (n == 0)
		return PointerGetDatum(construct_empty_array(elem->declared));
	values = palloc0(sizeof(Datum) * n);
	nulls = palloc(sizeof(bool) * n);
	it = JsonbIteratorInit(jc);
	while ((token = JsonbIteratorNext(&it, &v, true)) != WJB_DONE)
	{
		Found		found;

		if (token != WJB_ELEM)
			continue;
		found = decode_value(elem, &v, cxt, &values[i]);
		if (found == FOUND_NOTHING)
			wrong_kind();
		nulls[i++] = found == FOUND_NULL;
		if (i % 4096 == 0)
			CHECK_FOR_INTERRUPTS();
	}
	array = construct_md_array(values, nulls, 1, &n, &lbound, elem->declared,
							   elem->typlen, elem->typbyval, elem->typalign);
	if (!elem->typbyval)
	{
		for (i = 0; i < n; i++)
		{
			if (!nulls[i])
				pfree(DatumGetPointer(values[i]));
		}
	}
	pfree(values);
	pfree(nulls);
	return PointerGetDatum(array);
}

static Found
decode_container(CodecType *type, JsonbValue *v, MemoryContext cxt,
				 Datum *value)
{
	JsonbContainer *jc = v->val.binary.data;
	JsonbValue	kind;

	if (JsonContainerIsObject(jc) && get_string(jc, "$dbp", &kind))
		return decode_marker(type, jc, &kind, cxt, value);
	if (type->cls == CODEC_JSONB)
		*value = jsonb_from_value(v);
	else if (type->cls == CODEC_ARRAY && JsonContainerIsArray(jc))
		*value = decode_array(type, jc, cxt);
	else
		wrong_kind();
	return FOUND_VALUE;
}

static Found
decode_scalar(CodecType *type, JsonbValue *v, MemoryContext cxt, Datum *value)
{
	char	   *s;

	if (v->type == jbvNull)
		return FOUND_NULL;
	if (type->cls == CODEC_JSONB)
	{
		*value = jsonb_from_value(v);
		return FOUND_VALUE;
	}
	if (v->type == jbvString)
		s = pnstrdup(v->val.string.val, v->val.string.len);
	else if (v->type == jbvNumeric)
		s = DatumGetCString(DirectFunctionCall1(numeric_out,
												NumericGetDatum(v->val.numeric)));
	else
		s = pstrdup(v->val.boolean ? "true" : "false");
	*value = value_from_text(type, s, cxt);
	/* an input function may return its argument */
	if (type->typbyval || DatumGetPointer(*value) != s)
		pfree(s);
	return FOUND_VALUE;
}

static Found
decode_value(CodecType *type, JsonbValue *v, MemoryContext cxt, Datum *value)
{
	Found		found;

	*value = (Datum) 0;
	if (v->type == jbvBinary)
		found = decode_container(type, v, cxt, value);
	else
		found = decode_scalar(type, v, cxt, value);
	if (found != FOUND_NOTHING && type->declared != type->base)
		domain_check(*value, found == FOUND_NULL, type->declared,
					 &type->domain_extra, cxt);
	return found;
}

/*
 * become_type_owner lets the owner of a type run its code, such as the checks
 * of a domain, so that nobody else's rights can be had by it.  The code of a
 * superuser runs as somebody else: it may trust what it finds less than they.
 */
static void
become_type_owner(Oid typid, Oid otherwise)
{
	HeapTuple	tuple = SearchSysCache1(TYPEOID, ObjectIdGetDatum(typid));
	Oid			userid;
	int			sec_context;
	Oid			owner;

	if (!HeapTupleIsValid(tuple))
		elog(ERROR, "cache lookup failed for type %u", typid);
	owner = ((Form_pg_type) GETSTRUCT(tuple))->typowner;
	ReleaseSysCache(tuple);
	GetUserIdAndSecContext(&userid, &sec_context);
	SetUserIdAndSecContext(superuser_arg(owner) ? otherwise : owner, sec_context);
}

static void
decode_columns(DbpCodec *codec, Oid owner, JsonbContainer *jc, Datum *values,
			   bool *isnull, bool *present)
{
	ErrorContextCallback callback;

	callback.callback = column_context;
	callback.previous = error_context_stack;
	error_context_stack = &callback;
	for (int i = 0; i < codec->full.n; i++)
	{
		int			attno = codec->full.attnos[i];
		CodecColumn *col = &codec->cols[attno];
		JsonbValue	v;
		Found		found;

		callback.arg = col->name;
		if (getKeyJsonValueFromContainer(jc, col->name, col->namelen,
										 &v) == NULL)
			continue;
		if (OidIsValid(owner))
			become_type_owner(col->type.declared, owner);
		found = decode_value(&col->type, &v, codec->cxt, &values[attno]);
		isnull[attno] = found != FOUND_VALUE;
		present[attno] = found != FOUND_NOTHING;
	}
	error_context_stack = callback.previous;
}

void
dbp_codec_decode(DbpCodec *codec, Oid owner, Jsonb *image, Datum *values,
				 bool *isnull, bool *present)
{
	DbpOwnerScope scope;
	CodecPins	pins;

	if (!JB_ROOT_IS_OBJECT(image))
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("row image is not a JSON object"),
				 errhint("Give an object with a value for each column name.")));
	for (int i = 0; i < codec->natts; i++)
	{
		values[i] = (Datum) 0;
		isnull[i] = true;
		present[i] = false;
	}
	if (OidIsValid(owner))
		dbp_enter_owner(&scope, owner);
	dbp_codec_pin(&pins, codec->hard);
	PG_TRY();
	{
		decode_columns(codec, owner, &image->root, values, isnull, present);
	}
	PG_CATCH();
	{
		dbp_codec_unpin(&pins, false);
		PG_RE_THROW();
	}
	PG_END_TRY();
	dbp_codec_unpin(&pins, true);
	if (OidIsValid(owner))
		dbp_leave_owner(&scope);
}
