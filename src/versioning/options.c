/*-------------------------------------------------------------------------
 *
 * options.c
 *	  Options of a versioned table: the argument of its triggers.
 *
 * The history is named with its schema, columns by name: so a dump restores
 * them.  What is renamed later is renamed here too (follow.c).
 *
 * Copyright (c) 2026, dbpatterns contributors
 *
 * src/versioning/options.c
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "core/argument.h"
#include "lib/stringinfo.h"
#include "utils/json.h"
#include "versioning/versioning.h"

static bool
is_word(JsonbValue *value, const char *word)
{
	return value->type == jbvString && value->val.string.len == (int) strlen(word) &&
		memcmp(value->val.string.val, word, value->val.string.len) == 0;
}

static bool
set_option(const DbpArgument *argument, const char *name, JsonbValue *value, void *arg)
{
	VersioningOptions *options = arg;

	if (strcmp(name, "history") == 0 && value->type == jbvString)
		options->history = pnstrdup(value->val.string.val, value->val.string.len);
	else if (strcmp(name, "period") == 0 && value->type == jbvString)
		options->period = pnstrdup(value->val.string.val, value->val.string.len);
	else if (strcmp(name, "time_source") == 0 && is_word(value, "statement"))
		options->source = TIME_STATEMENT;
	else if (strcmp(name, "time_source") == 0 && is_word(value, "clock"))
		options->source = TIME_CLOCK;
	else if (strcmp(name, "same_transaction") == 0 && is_word(value, "all"))
		options->all = true;
	else if (strcmp(name, "on_newer") == 0 && is_word(value, "error"))
		options->refuse_newer = true;
	else if (strcmp(name, "ignore_unchanged") == 0 && value->type == jbvBool)
		options->keep_unchanged = !value->val.boolean;
	else if (strcmp(name, "exclude") == 0)
		options->exclude = dbp_argument_names(argument, value);
	else if (strcmp(name, "on_truncate") == 0 && is_word(value, "archive"))
		options->archive_truncated = true;
	else
		return false;
	return true;
}

/*
 * dbp_versioning_parse reads a trigger's argument.
 */
void
dbp_versioning_parse(const char *argument, VersioningOptions *options)
{
	DbpArgument source = {
		argument != NULL ? argument : "", "versioning",
		"Create the triggers with dbpatterns.versioning_enable."
	};

	memset(options, 0, sizeof(*options));
	dbp_argument_read(&source, set_option, options);
	if (options->history == NULL || options->period == NULL)
		dbp_argument_refuse(&source, "It must name the history and the period.");
}

static void
print_string(StringInfo out, const char *option, const char *value)
{
	appendStringInfo(out, "%s\"%s\": ", out->len > 1 ? ", " : "", option);
	escape_json(out, value);
}

/*
 * dbp_versioning_print is the reverse; what is left at its default is left out.
 */
char *
dbp_versioning_print(const VersioningOptions *options)
{
	StringInfoData out;

	initStringInfo(&out);
	appendStringInfoChar(&out, '{');
	print_string(&out, "history", options->history);
	print_string(&out, "period", options->period);
	if (options->source != TIME_TRANSACTION)
		print_string(&out, "time_source",
					 options->source == TIME_STATEMENT ? "statement" : "clock");
	if (options->all)
		print_string(&out, "same_transaction", "all");
	if (options->refuse_newer)
		print_string(&out, "on_newer", "error");
	if (options->keep_unchanged)
		appendStringInfoString(&out, ", \"ignore_unchanged\": false");
	dbp_argument_print_names(&out, "exclude", options->exclude);
	if (options->archive_truncated)
		print_string(&out, "on_truncate", "archive");
	appendStringInfoChar(&out, '}');
	return out.data;
}
