/*-------------------------------------------------------------------------
 *
 * options.c
 *	  Options of an audited table: the trigger's argument.
 *
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
#include "core/argument.h"
#include "core/names.h"
#include "lib/stringinfo.h"

static bool
set_option(const DbpArgument *argument, const char *name, JsonbValue *value, void *arg)
{
	AuditOptions *options = arg;

	if (strcmp(name, "exclude") == 0)
		options->exclude = dbp_argument_names(argument, value);
	else if (strcmp(name, "redact") == 0)
		options->redact = dbp_argument_names(argument, value);
	else if (strcmp(name, "key") == 0)
		options->key = dbp_argument_names(argument, value);
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
		return false;
	return true;
}

/*
 * dbp_audit_parse_options reads a trigger's argument; NULL means the defaults.
 */
void
dbp_audit_parse_options(const char *argument, AuditOptions *options)
{
	DbpArgument source = {argument, "audit", "Create the triggers with dbpatterns.audit_enable."};

	memset(options, 0, sizeof(*options));
	if (argument != NULL)
		dbp_argument_read(&source, set_option, options);
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
	dbp_argument_print_names(&out, "exclude", options->exclude);
	dbp_argument_print_names(&out, "redact", options->redact);
	dbp_argument_print_names(&out, "key", options->key);
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
