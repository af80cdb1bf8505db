/*-------------------------------------------------------------------------
 *
 * argument.c
 *	  Options in the argument of a trigger.
 *
 * What a pattern's triggers must know travels as one JSON object in their
 * argument, so that dump and restore, and clones on partitions, carry it along.
 * Anybody who may create a trigger can write one, so it is read with suspicion.
 *
 * Copyright (c) 2026, dbpatterns contributors
 *
 * src/core/argument.c
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "core/argument.h"
#include "utils/builtins.h"
#include "utils/fmgrprotos.h"
#include "utils/json.h"

/*
 * dbp_argument_refuse raises 22023; why is a sentence.
 */
void
dbp_argument_refuse(const DbpArgument *argument, const char *why)
{
	ereport(ERROR,
			(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
			 errmsg("invalid argument of %s trigger: %s", argument->pattern, argument->text),
			 errdetail("%s", why),
			 errhint("%s", argument->hint)));
}

/*
 * dbp_argument_read sets each option that an argument holds, or refuses it.
 */
void
dbp_argument_read(const DbpArgument *argument, DbpOption set, void *options)
{
	Jsonb	   *object = DatumGetJsonbP(DirectFunctionCall1(jsonb_in,
															CStringGetDatum(argument->text)));
	JsonbIterator *it;
	JsonbValue	key;
	JsonbValue	value;

	if (!JB_ROOT_IS_OBJECT(object))
		dbp_argument_refuse(argument, "It must be a JSON object.");
	it = JsonbIteratorInit(&object->root);
	(void) JsonbIteratorNext(&it, &key, true);	/* WJB_BEGIN_OBJECT */
	while (JsonbIteratorNext(&it, &key, true) == WJB_KEY)
	{
		char	   *name = pnstrdup(key.val.string.val, key.val.string.len);

		(void) JsonbIteratorNext(&it, &value, true);
		if (!set(argument, name, &value, options))
			dbp_argument_refuse(argument,
								psprintf("Option \"%s\" is not known or has a wrong value.", name));
	}
}

/*
 * dbp_argument_names returns the names that an option lists.
 */
List *
dbp_argument_names(const DbpArgument *argument, JsonbValue *value)
{
	List	   *names = NIL;
	JsonbIterator *it;
	JsonbValue	v;
	JsonbIteratorToken token;

	if (value->type != jbvBinary)
		dbp_argument_refuse(argument, "Column names must be given as an array.");
	it = JsonbIteratorInit(value->val.binary.data);
	while ((token = JsonbIteratorNext(&it, &v, true)) != WJB_DONE)
	{
		if (token == WJB_BEGIN_OBJECT ||
			(token == WJB_ELEM && v.type != jbvString))
			dbp_argument_refuse(argument, "Column names must be given as an array of strings.");
		if (token == WJB_ELEM)
			names = lappend(names, pnstrdup(v.val.string.val, v.val.string.len));
	}
	return names;
}

/*
 * dbp_argument_print_names is the reverse: it adds an option to an object that
 * is being printed, unless there are no names.
 */
void
dbp_argument_print_names(StringInfo out, const char *option, List *names)
{
	ListCell   *lc;

	if (names == NIL)
		return;
	appendStringInfo(out, "%s\"%s\": [", out->len > 1 ? ", " : "", option);
	foreach(lc, names)
	{
		if (foreach_current_index(lc) > 0)
			appendStringInfoString(out, ", ");
		escape_json(out, lfirst(lc));
	}
	appendStringInfoChar(out, ']');
}
