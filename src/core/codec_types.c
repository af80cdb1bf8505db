/*-------------------------------------------------------------------------
 *
 * codec_types.c
 *	  What class a type belongs to, and the settings pinned while output and
 *	  input functions run.
 *
 * Copyright (c) 2026, dbpatterns contributors
 *
 * src/core/codec_types.c
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "catalog/pg_type.h"
#include "core/codec_impl.h"
#include "miscadmin.h"
#include "utils/array.h"
#include "utils/builtins.h"
#include "utils/bytea.h"
#include "utils/float.h"
#include "utils/fmgroids.h"
#include "utils/guc.h"
#include "utils/lsyscache.h"
#include "utils/xml.h"

static const struct
{
	Oid			typid;
	CodecClass	cls;
}			builtin_classes[] =

{
	{BOOLOID, CODEC_BOOL},
	{INT2OID, CODEC_INT2},
	{INT4OID, CODEC_INT4},
	{INT8OID, CODEC_INT8},
	{NUMERICOID, CODEC_NUMERIC},
	{FLOAT4OID, CODEC_FLOAT4},
	{FLOAT8OID, CODEC_FLOAT8},
	{MONEYOID, CODEC_MONEY},
	{TEXTOID, CODEC_TEXT},
	{VARCHAROID, CODEC_TEXT},
	{XMLOID, CODEC_TEXT},
	{BPCHAROID, CODEC_BPCHAR},
	{NAMEOID, CODEC_NAME},
	{CHAROID, CODEC_CHAR},
	{UUIDOID, CODEC_UUID},
	{DATEOID, CODEC_DATE},
	{TIMEOID, CODEC_TIME},
	{TIMETZOID, CODEC_TIMETZ},
	{TIMESTAMPOID, CODEC_TIMESTAMP},
	{TIMESTAMPTZOID, CODEC_TIMESTAMPTZ},
	{INTERVALOID, CODEC_INTERVAL},
	{JSONOID, CODEC_JSON},
	{BYTEAOID, CODEC_BYTEA},
	{JSONBOID, CODEC_JSONB},
};

static CodecClass
class_of(Oid base)
{
	for (int i = 0; i < lengthof(builtin_classes); i++)
	{
		if (builtin_classes[i].typid == base)
			return builtin_classes[i].cls;
	}
	return get_typtype(base) == TYPTYPE_ENUM ? CODEC_ENUM : CODEC_OUTPUT;
}

/*
 * Does the text of the type depend on search_path or lc_monetary?  Composite
 * types count always: ALTER TYPE can add such an attribute without the codec
 * being made anew.
 */
static bool
text_is_hard(Oid typid)
{
	Oid			base = getBaseType(typid);
	Oid			elem = get_element_type(base);

	if (OidIsValid(elem))
		return text_is_hard(elem);
	switch (get_typtype(base))
	{
		case TYPTYPE_COMPOSITE:
		case TYPTYPE_PSEUDO:
			return true;
		case TYPTYPE_RANGE:
			return text_is_hard(get_range_subtype(base));
		case TYPTYPE_MULTIRANGE:
			return text_is_hard(get_multirange_range(base));
	}
	switch (base)
	{
		case MONEYOID:
		case REGPROCOID:
		case REGPROCEDUREOID:
		case REGOPEROID:
		case REGOPERATOROID:
		case REGCLASSOID:
		case REGTYPEOID:
		case REGROLEOID:
		case REGNAMESPACEOID:
		case REGCONFIGOID:
		case REGDICTIONARYOID:
		case REGCOLLATIONOID:
			return true;
	}
	return false;
}

/*
 * regproc and regoper show names without arguments, which cannot be read
 * back when the name is overloaded: use the functions of regprocedure and
 * regoperator, whose values are the same.
 */
static Oid
output_function(Oid base)
{
	Oid			func;
	bool		isvarlena;

	if (base == REGPROCOID)
		return F_REGPROCEDUREOUT;
	if (base == REGOPEROID)
		return F_REGOPERATOROUT;
	getTypeOutputInfo(base, &func, &isvarlena);
	return func;
}

void
dbp_codec_type_init(CodecType *type, Oid typid, int32 typmod,
					MemoryContext cxt)
{
	Oid			func;
	Oid			elem;

	type->declared = typid;
	type->typmod = typmod;
	type->base = getBaseTypeAndTypmod(typid, &type->typmod);
	type->cls = class_of(type->base);
	type->hard = text_is_hard(type->base);
	if (type->cls != CODEC_OUTPUT)
		return;

	func = output_function(type->base);
	type->out = MemoryContextAllocZero(cxt, sizeof(FmgrInfo));
	fmgr_info_cxt(func, type->out, cxt);

	/* int2vector and oidvector have elements too, but their own output */
	elem = get_element_type(type->base);
	if (OidIsValid(elem) && func == F_ARRAY_OUT &&
		CODEC_IS_ELEMENT(class_of(getBaseType(elem))))
	{
		type->cls = CODEC_ARRAY;
		type->elem = MemoryContextAllocZero(cxt, sizeof(CodecType));
		get_typlenbyvalalign(elem, &type->elem->typlen,
							 &type->elem->typbyval, &type->elem->typalign);
		dbp_codec_type_init(type->elem, elem, type->typmod, cxt);
	}
}

/*
 * Plain assignment to the variables behind the settings, since going through
 * the GUC machinery costs microseconds; that is left to the settings whose
 * assignment has side effects, for the few types that look at them.
 */
void
dbp_codec_pin(CodecPins *pins, bool hard)
{
	static pg_tz *gmt = NULL;	/* time zones live as long as the process */

	if (gmt == NULL)
		gmt = pg_tzset("GMT");
	pins->datestyle = DateStyle;
	pins->intervalstyle = IntervalStyle;
	pins->float_digits = extra_float_digits;
	pins->bytea_out = bytea_output;
	pins->xml_option = xmloption;
	pins->array_nulls = Array_nulls;
	pins->quote_all = quote_all_identifiers;
	pins->timezone = session_timezone;
	pins->nestlevel = 0;
	if (hard)
	{
		pins->nestlevel = NewGUCNestLevel();
		(void) set_config_option("search_path", "pg_catalog, pg_temp", PGC_USERSET,
								 PGC_S_SESSION, GUC_ACTION_SAVE, true, 0,
								 false);
		(void) set_config_option("lc_monetary", "C", PGC_USERSET,
								 PGC_S_SESSION, GUC_ACTION_SAVE, true, 0,
								 false);
	}
	DateStyle = USE_ISO_DATES;
	IntervalStyle = INTSTYLE_ISO_8601;
	extra_float_digits = 1;
	bytea_output = BYTEA_OUTPUT_HEX;
	xmloption = XMLOPTION_CONTENT;
	Array_nulls = true;
	quote_all_identifiers = false;
	session_timezone = gmt;
}

/* After an error the transaction's end undoes the GUC nest level. */
void
dbp_codec_unpin(CodecPins *pins, bool ok)
{
	DateStyle = pins->datestyle;
	IntervalStyle = pins->intervalstyle;
	extra_float_digits = pins->float_digits;
	bytea_output = pins->bytea_out;
	xmloption = pins->xml_option;
	Array_nulls = pins->array_nulls;
	quote_all_identifiers = pins->quote_all;
	session_timezone = pins->timezone;
	if (ok && pins->nestlevel > 0)
		AtEOXact_GUC(true, pins->nestlevel);
}
