/*-------------------------------------------------------------------------
 *
 * spec.c
 *	  What a hierarchy is, as the argument of its triggers says it.
 *
 * The object (see core/argument.c) begins with what tells hierarchies of a table
 * apart: {"closure": "name", or {"nested_set": "name" (the view
 * _dbpatterns.hierarchy relies on that).
 *
 * Copyright (c) 2026, dbpatterns contributors
 *
 * src/hierarchy/spec.c
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "catalog/pg_type.h"
#include "core/argument.h"
#include "core/names.h"
#include "core/trigger.h"
#include "hierarchy/hierarchy.h"
#include "lib/stringinfo.h"
#include "utils/array.h"
#include "utils/builtins.h"
#include "utils/fmgroids.h"
#include "utils/fmgrprotos.h"
#include "utils/json.h"
#include "utils/jsonb.h"
#include "utils/numeric.h"

/*
 * big_value returns a number that is not negative, or -1.
 */
static int64
big_value(JsonbValue *value)
{
	char	   *word;
	char	   *end;
	int64		number;

	if (value->type != jbvNumeric)
		return -1;
	word = DatumGetCString(DirectFunctionCall1(numeric_out,
											   NumericGetDatum(value->val.numeric)));
	errno = 0;
	number = strtoll(word, &end, 10);
	return (errno == 0 && *end == '\0' && number >= 0) ? number : -1;
}

/*
 * number_value returns a number from 0 to INT_MAX, or -1.
 */
static int
number_value(JsonbValue *value)
{
	int64		number = big_value(value);

	return number <= PG_INT32_MAX ? (int) number : -1;
}

static bool
set_option(const DbpArgument *argument, const char *name, JsonbValue *value, void *arg)
{
	HierSpec   *spec = arg;
	char	   *word = value->type == jbvString ?
		pnstrdup(value->val.string.val, value->val.string.len) : NULL;
	int			number = number_value(value);

	if (strcmp(name, "closure") == 0 && word != NULL)
		spec->storage = word;
	else if (strcmp(name, "nested_set") == 0 && word != NULL)
	{
		spec->storage = word;
		spec->kind = HIER_NESTED;
	}
	else if (strcmp(name, "kind") == 0 && word != NULL && strcmp(word, "graph") == 0)
		spec->kind = HIER_GRAPH;
	else if (strcmp(name, "prefix") == 0 && word != NULL)
		spec->prefix = word;
	else if (strcmp(name, "key") == 0 || strcmp(name, "child") == 0)
		spec->key = dbp_argument_names(argument, value);
	else if (strcmp(name, "parent") == 0)
		spec->parent = dbp_argument_names(argument, value);
	else if (strcmp(name, "scope") == 0 && number >= 0)
		spec->nscope = number;
	else if (strcmp(name, "gap") == 0 && big_value(value) > 0)
		spec->gap = big_value(value);
	else if (strcmp(name, "order_by") == 0 && word != NULL)
		spec->order_by = word;
	else if (strcmp(name, "max_depth") == 0 && number >= 0)
		spec->max_depth = number;
	else if (strcmp(name, "on_orphan") == 0 && word != NULL &&
			 (strcmp(word, "root") == 0 || strcmp(word, "error") == 0))
		spec->orphan_error = strcmp(word, "error") == 0;
	else if (strcmp(name, "counters") == 0 && value->type == jbvBool)
		spec->counters = value->val.boolean;
	else
		return false;
	return true;
}

/*
 * dbp_hier_parse_spec reads a trigger's argument; 22023 for a bad one.
 */
void
dbp_hier_parse_spec(const char *argument, HierSpec *spec)
{
	DbpArgument source = {argument != NULL ? argument : "(none)", "hierarchy",
	"Drop the trigger, and create it with dbpatterns.closure_enable."};

	memset(spec, 0, sizeof(*spec));
	if (argument == NULL)
		dbp_argument_refuse(&source, "It must be a JSON object.");
	dbp_argument_read(&source, set_option, spec);

	if (spec->storage == NULL || spec->prefix == NULL)
		dbp_argument_refuse(&source, "It must name the storage and the prefix of its functions.");
	if (list_length(spec->key) != list_length(spec->parent) ||
		list_length(spec->key) > HIER_MAX_KEY || spec->nscope >= list_length(spec->key))
		dbp_argument_refuse(&source, "Key and parent must have the same number of columns,"
							" at least one that is not of the scope.");
	for (int i = 0; i < spec->nscope; i++)
	{
		if (strcmp(list_nth(spec->key, i), list_nth(spec->parent, i)) != 0)
			dbp_argument_refuse(&source, "Columns of the scope must be the same in key and parent.");
	}
}

static void
print_text(StringInfo out, const char *option, const char *value)
{
	appendStringInfo(out, "%s\"%s\": ", out->len > 1 ? ", " : "", option);
	escape_json(out, value);
}

/*
 * dbp_hier_print_spec is the reverse; equal specs give equal texts, and options
 * left at their default are left out.
 */
char *
dbp_hier_print_spec(const HierSpec *spec)
{
	StringInfoData out;

	initStringInfo(&out);
	appendStringInfoChar(&out, '{');
	print_text(&out, spec->kind == HIER_NESTED ? "nested_set" : "closure", spec->storage);
	if (spec->kind == HIER_GRAPH)
		print_text(&out, "kind", "graph");
	print_text(&out, "prefix", spec->prefix);
	dbp_argument_print_names(&out, spec->kind == HIER_GRAPH ? "child" : "key", spec->key);
	dbp_argument_print_names(&out, "parent", spec->parent);
	if (spec->nscope > 0)
		appendStringInfo(&out, ", \"scope\": %d", spec->nscope);
	if (spec->gap > 0)
		appendStringInfo(&out, ", \"gap\": %lld", (long long) spec->gap);
	if (spec->order_by != NULL)
		print_text(&out, "order_by", spec->order_by);
	if (spec->max_depth > 0)
		appendStringInfo(&out, ", \"max_depth\": %d", spec->max_depth);
	if (spec->orphan_error)
		print_text(&out, "on_orphan", "error");
	if (spec->counters)
		appendStringInfoString(&out, ", \"counters\": true");
	appendStringInfoChar(&out, '}');
	return out.data;
}

/*
 * dbp_hier_specs returns all hierarchies of a kind that an open table has, as
 * its triggers say: a list of HierSpec.
 */
List *
dbp_hier_specs(Relation target, HierKind kind)
{
	List	   *specs = NIL;
	List	   *triggers = dbp_hier_own_triggers(target, kind);
	ListCell   *lc;

	foreach(lc, triggers)
	{
		Trigger    *trigger = lfirst(lc);
		HierSpec   *spec = palloc(sizeof(HierSpec));
		bool		seen = false;
		ListCell   *other;

		dbp_hier_parse_spec(trigger->tgnargs > 0 ? trigger->tgargs[0] : NULL, spec);
		foreach(other, specs)
			seen |= strcmp(((HierSpec *) lfirst(other))->storage, spec->storage) == 0;
		if (!seen)
			specs = lappend(specs, spec);
	}
	return specs;
}

/*
 * dbp_hier_pattern_specs returns those of all kinds that have the pattern of
 * one: trees and graphs are both closures.
 */
List *
dbp_hier_pattern_specs(Relation target, HierKind kind)
{
	List	   *specs = NIL;

	for (HierKind k = HIER_TREE; k <= HIER_NESTED; k++)
	{
		if (strcmp(dbp_hier_pattern(k), dbp_hier_pattern(kind)) == 0)
			specs = list_concat(specs, dbp_hier_specs(target, k));
	}
	return specs;
}

/*
 * dbp_hier_spec_columns returns the names of the columns that say where a node
 * is, each once; and that which orders siblings, if asked for.
 */
List *
dbp_hier_spec_columns(const HierSpec *spec, bool with_order)
{
	List	   *columns = list_copy(spec->key);
	ListCell   *lc;

	foreach(lc, spec->parent)
	{
		if (!dbp_list_has_name(columns, lfirst(lc)))
			columns = lappend(columns, lfirst(lc));
	}
	if (with_order && spec->order_by != NULL && !dbp_list_has_name(columns, spec->order_by))
		columns = lappend(columns, spec->order_by);
	return columns;
}

static char *
storage_names(List *specs)
{
	StringInfoData out;
	ListCell   *lc;

	initStringInfo(&out);
	foreach(lc, specs)
		appendStringInfo(&out, "%s\"%s\"", foreach_current_index(lc) > 0 ? ", " : "",
						 ((HierSpec *) lfirst(lc))->storage);
	return out.data;
}

static HierSpec *
choose(Relation target, List *specs, const char *storage, const char *what,
	   const char *argument, const char *enable)
{
	ListCell   *lc;

	if (specs == NIL)
		ereport(ERROR,
				(errcode(ERRCODE_UNDEFINED_OBJECT),
				 errmsg("table %s has no %s", dbp_relation_name(target), what),
				 errhint("Call dbpatterns.%s for it.", enable)));
	foreach(lc, specs)
	{
		HierSpec   *spec = lfirst(lc);

		if (storage == NULL ? list_length(specs) == 1 : strcmp(spec->storage, storage) == 0)
			return spec;
	}

	if (storage == NULL)
		ereport(ERROR,
				(errcode(ERRCODE_AMBIGUOUS_ALIAS),
				 errmsg("table %s has more than one %s: %s", dbp_relation_name(target),
						what, storage_names(specs)),
				 errhint("Name one in argument \"%s\".", argument)));
	ereport(ERROR,
			(errcode(ERRCODE_UNDEFINED_OBJECT),
			 errmsg("table %s has no %s \"%s\"", dbp_relation_name(target), what, storage),
			 errhint("It has %s.", storage_names(specs))));
	return NULL;				/* keep the compiler quiet */
}

/*
 * dbp_hier_find_spec returns the hierarchy of an open table that has a storage
 * of that name; with NULL its only one.  It raises 42704 if there is none, and
 * 42P09 if there are several.
 */
HierSpec *
dbp_hier_find_spec(Relation target, HierKind kind, const char *storage)
{
	List	   *specs = dbp_hier_specs(target, kind);

	switch (kind)
	{
		case HIER_TREE:
			return choose(target, specs, storage, "closure table of a tree", "closure",
						  "closure_enable");
		case HIER_GRAPH:
			return choose(target, specs, storage, "closure table of a graph", "closure",
						  "closure_enable_graph");
		default:
			return choose(target, specs, storage, "nested set", "nested_set",
						  "nested_set_enable");
	}
}

/*
 * dbp_hier_find_closure does so among the closure tables of trees and graphs.
 */
HierSpec *
dbp_hier_find_closure(Relation target, const char *storage)
{
	return choose(target, dbp_hier_pattern_specs(target, HIER_TREE), storage, "closure table",
				  "closure", "closure_enable");
}

/*
 * dbp_hier_columns_argument reads an argument that names columns: name[], or
 * name, where a value that begins with a brace is an array literal, so that
 * both 'parent_id' and '{tenant_id,parent_id}' can be given without a cast.
 * NULL gives NIL.
 */
List *
dbp_hier_columns_argument(FunctionCallInfo fcinfo, int argno, const char *argument)
{
	char	   *word;
	Datum		array;

	if (PG_ARGISNULL(argno))
		return NIL;
	if (get_fn_expr_argtype(fcinfo->flinfo, argno) != NAMEOID)
		return dbp_column_list(PG_GETARG_ARRAYTYPE_P(argno), argument);

	word = pstrdup(NameStr(*PG_GETARG_NAME(argno)));
	if (word[0] != '{')
		return list_make1(word);

	/* As a name it may have been cut. */
	if (strlen(word) > NAMEDATALEN - 5 && strchr(word, '}') == NULL)
		ereport(ERROR,
				(errcode(ERRCODE_NAME_TOO_LONG),
				 errmsg("argument \"%s\" is too long: %s...", argument, word),
				 errhint("Give the columns as ARRAY['one', 'two'].")));
	array = OidInputFunctionCall(F_ARRAY_IN, word, NAMEOID, -1);
	return dbp_column_list(DatumGetArrayTypeP(array), argument);
}
