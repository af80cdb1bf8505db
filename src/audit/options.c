/*-------------------------------------------------------------------------
 *
 * options.c
 *	  Options of an audited table: the trigger's argument.
 *
 * A table's options travel as one JSON object in the argument of its triggers,
 * so that dump and restore, and clones on partitions, carry them along.
 * Columns are named, not numbered: numbers change in a restore.  A column that
 * is named but gone raises; with redact that is the difference between a
 * failed statement and a secret in the log.
 *
 * Copyright (c) 2026, dbpatterns contributors
 *
 * src/audit/options.c
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "audit/audit.h"
#include "core/names.h"
#include "lib/stringinfo.h"
#include "utils/builtins.h"
#include "utils/fmgrprotos.h"
#include "utils/json.h"

static void
bad_argument(const char *argument, const char *why)
{
	ereport(ERROR,
			(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
			 errmsg("invalid argument of audit trigger: %s", argument),
			 errdetail("%s", why),
			 errhint("Create the triggers with dbpatterns.audit_enable.")));
}

static List *
name_list(const char *argument, JsonbValue *value)
{
	List	   *names = NIL;
	JsonbIterator *it;
	JsonbValue	v;
	JsonbIteratorToken token;

	if (value->type != jbvBinary)
		bad_argument(argument, "Column names must be given as an array.");
	it = JsonbIteratorInit(value->val.binary.data);
	while ((token = JsonbIteratorNext(&it, &v, true)) != WJB_DONE)
	{
		if (token == WJB_BEGIN_OBJECT ||
			(token == WJB_ELEM && v.type != jbvString))
			bad_argument(argument, "Column names must be given as an array of strings.");
		if (token == WJB_ELEM)
			names = lappend(names, pnstrdup(v.val.string.val, v.val.string.len));
	}
	return names;
}

static void
set_option(const char *argument, AuditOptions *options, JsonbValue *key,
		   JsonbValue *value)
{
	char	   *name = pnstrdup(key->val.string.val, key->val.string.len);

	if (strcmp(name, "exclude") == 0)
		options->exclude = name_list(argument, value);
	else if (strcmp(name, "redact") == 0)
		options->redact = name_list(argument, value);
	else if (strcmp(name, "key") == 0)
		options->key = name_list(argument, value);
	else if (strcmp(name, "truncate_rows") == 0 && value->type == jbvBool)
		options->truncate_rows = value->val.boolean;
	else if (strcmp(name, "operations") == 0 && value->type == jbvString)
		options->operations = pnstrdup(value->val.string.val, value->val.string.len);
	else if (strcmp(name, "capture") == 0 && value->type == jbvString &&
			 value->val.string.len == 4 &&
			 (memcmp(value->val.string.val, "full", 4) == 0 ||
			  memcmp(value->val.string.val, "diff", 4) == 0))
		options->full = (value->val.string.val[0] == 'f');
	else
		bad_argument(argument,
					 psprintf("Option \"%s\" is not known or has a wrong value.", name));
}

/*
 * dbp_audit_parse_options reads a trigger's argument; NULL means the defaults.
 */
void
dbp_audit_parse_options(const char *argument, AuditOptions *options)
{
	Jsonb	   *object;
	JsonbIterator *it;
	JsonbValue	key;
	JsonbValue	value;
	JsonbIteratorToken token;

	memset(options, 0, sizeof(*options));
	if (argument == NULL)
		return;

	object = DatumGetJsonbP(DirectFunctionCall1(jsonb_in, CStringGetDatum(argument)));
	if (!JB_ROOT_IS_OBJECT(object))
		bad_argument(argument, "It must be a JSON object.");
	it = JsonbIteratorInit(&object->root);
	(void) JsonbIteratorNext(&it, &key, true);	/* WJB_BEGIN_OBJECT */
	while ((token = JsonbIteratorNext(&it, &key, true)) == WJB_KEY)
	{
		(void) JsonbIteratorNext(&it, &value, true);
		set_option(argument, options, &key, &value);
	}
}

/*
 * dbp_audit_try_options does so for an argument that a user may have written:
 * false for a bad one, with the reason in *why.
 */
bool
dbp_audit_try_options(const Trigger *trigger, AuditOptions *options, char **why)
{
	MemoryContext cxt = CurrentMemoryContext;
	volatile bool good = true;

	PG_TRY();
	{
		dbp_audit_parse_options(trigger->tgnargs > 0 ? trigger->tgargs[0] : NULL, options);
	}
	PG_CATCH();
	{
		ErrorData  *error;

		MemoryContextSwitchTo(cxt);
		error = CopyErrorData();
		if (!dbp_error_lasts(error->sqlerrcode))
			PG_RE_THROW();
		FlushErrorState();
		*why = error->message;
		good = false;
	}
	PG_END_TRY();
	return good;
}

static void
print_names(StringInfo out, const char *option, List *names)
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

/*
 * dbp_audit_print_options is the reverse; options left at their default are left
 * out.
 */
char *
dbp_audit_print_options(const AuditOptions *options)
{
	StringInfoData out;

	initStringInfo(&out);
	appendStringInfoChar(&out, '{');
	if (options->full)
		appendStringInfoString(&out, "\"capture\": \"full\"");
	print_names(&out, "exclude", options->exclude);
	print_names(&out, "redact", options->redact);
	print_names(&out, "key", options->key);
	if (options->truncate_rows)
		appendStringInfo(&out, "%s\"truncate_rows\": true", out.len > 1 ? ", " : "");
	if (options->operations != NULL)
		appendStringInfo(&out, "%s\"operations\": \"%s\"", out.len > 1 ? ", " : "",
						 options->operations);
	appendStringInfoChar(&out, '}');
	return out.data;
}

/*
 * dbp_audit_resolve_options marks the excluded and redacted columns of root, in
 * arrays by attribute, and raises for one that does not exist (42703) or that
 * belongs to the key (22023).
 */
void
dbp_audit_resolve_options(const AuditOptions *options, Relation root,
						  bool *skip, bool *redact)
{
	List	   *key = dbp_audit_key_columns(root, options);
	ListCell   *lc;

	foreach(lc, options->key)
		(void) dbp_column_number(root, lfirst(lc));
	foreach(lc, options->exclude)
		skip[dbp_column_number(root, lfirst(lc)) - 1] = true;
	foreach(lc, options->redact)
		redact[dbp_column_number(root, lfirst(lc)) - 1] = true;

	foreach(lc, key)
	{
		char	   *name = lfirst(lc);

		if (dbp_list_has_name(options->exclude, name) ||
			dbp_list_has_name(options->redact, name))
			ereport(ERROR,
					(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
					 errmsg("key column \"%s\" of table %s cannot be excluded or redacted",
							name, dbp_relation_name(root)),
					 errhint("Name other columns that tell the rows apart in argument \"key\".")));
	}
}
