/*-------------------------------------------------------------------------
 *
 * readers_text.c
 *	  From the template of a reader function to its CREATE FUNCTION.
 *
 * A template holds, in @{...}, one of
 *
 *	target closure		the table, the closure table, with their schema
 *	target id, closure id	as regclass constants
 *	title label			prefix and default label as literals
 *	1 2 ...				the n-th argument after those for keys
 *	KEY					its columns, with commas
 *	KEY as k			the same, named k1, k2, ...
 *	KEY = KEY			equal, by the operator of the column's type
 *	text KEY			a text that tells keys apart
 *	null KEY			it is none
 *	scope KEY			in the scope that was given, if one was
 *	pair				the columns of the closure table, but for the depth
 *	roots				a subquery with k1, k2, ...: the roots of the scope
 *	order b				what siblings are ordered by
 *	sort b, sorted s	the same through a subquery
 *
 * where a KEY is node or other, an argument; or ALIAS.ancestor,
 * ALIAS.descendant, ALIAS.key or ALIAS.parent, columns; or ALIAS.k, what a
 * subquery named so.  Arguments are $1, $2, ...: no column can be mistaken for
 * one.
 *
 * Copyright (c) 2026, dbpatterns contributors
 *
 * src/hierarchy/readers_text.c
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "core/names.h"
#include "hierarchy/readers.h"
#include "hierarchy/rows.h"
#include "lib/stringinfo.h"
#include "mb/pg_wchar.h"
#include "utils/builtins.h"

typedef struct Expansion
{
	const HierShape *shape;
	const HierReader *reader;
	StringInfo	out;
} Expansion;

static void expand(Expansion *x, const char *template);

static int
nscope(const Expansion *x)
{
	return x->shape->spec->nscope;
}

/*
 * nkeys returns the number of arguments for keys.
 */
static int
nkeys(const Expansion *x)
{
	int			n = x->shape->nkey;

	switch (x->reader->nodes)
	{
		case TAKES_SCOPE:
			return nscope(x);
		case TAKES_NODE:
		case TAKES_NODE_OR_ALL:
			return n;
		case TAKES_TWO_NODES:
		case TAKES_PAIR:
			return 2 * n - nscope(x);
	}
	return 0;
}

/*
 * element returns the i-th column of a key.
 */
static char *
element(const Expansion *x, const char *key, int i)
{
	const HierShape *shape = x->shape;
	const char *dot = strchr(key, '.');
	const char *const *columns;

	if (strcmp(key, "node") == 0)
		return psprintf("$%d", i + 1);
	if (strcmp(key, "other") == 0)
		return psprintf("$%d", i + 1 + (i < nscope(x) ? 0 : shape->nkey - nscope(x)));
	Assert(dot != NULL);
	if (strcmp(dot, ".ancestor") == 0)
		columns = shape->ancestor;
	else if (strcmp(dot, ".descendant") == 0)
		columns = shape->descendant;
	else if (strcmp(dot, ".key") == 0)
		columns = shape->key;
	else if (strcmp(dot, ".parent") == 0)
		columns = shape->parent;
	else
		return psprintf("%s%d", key, i + 1);
	return psprintf("%.*s.%s", (int) (dot - key), key, quote_identifier(columns[i]));
}

static void
put_list(Expansion *x, const char *key, const char *as)
{
	for (int i = 0; i < x->shape->nkey; i++)
	{
		appendStringInfo(x->out, "%s%s", i == 0 ? "" : ", ", element(x, key, i));
		if (as != NULL)
			appendStringInfo(x->out, " AS %s%d", as, i + 1);
	}
}

/*
 * put_equal writes that the columns from..to-1 of two keys are equal.
 */
static void
put_equal(Expansion *x, const char *a, const char *b, int from, int to)
{
	const char *and = "";

	appendStringInfoChar(x->out, '(');
	for (int i = from; i < to; i++)
	{
		char	   *left = element(x, a, i);
		char	   *right = element(x, b, i);

		/* Both ends of a pair have the same scope columns. */
		if (strcmp(left, right) == 0)
			continue;
		appendStringInfoString(x->out, and);
		dbp_sql_put_equal(x->out, x->shape->basetype[i], left, right);
		and = " AND ";
	}
	appendStringInfoString(x->out, *and == '\0' ? "true)" : ")");
}

/*
 * put_scope writes that a key is in the scope that was given.
 */
static void
put_scope(Expansion *x, const char *key)
{
	appendStringInfoString(x->out, nscope(x) == 0 ? "true" : "");
	for (int i = 0; i < nscope(x); i++)
	{
		appendStringInfo(x->out, "%s($%d IS NULL OR ", i == 0 ? "" : " AND ", i + 1);
		dbp_sql_put_equal(x->out, x->shape->basetype[i], element(x, key, i),
						  psprintf("$%d", i + 1));
		appendStringInfoChar(x->out, ')');
	}
}

/*
 * put_null writes that a key is none: a column besides the scope's is NULL.
 */
static void
put_null(Expansion *x, const char *key)
{
	for (int i = nscope(x); i < x->shape->nkey; i++)
		appendStringInfo(x->out, "%s%s IS NULL", i == nscope(x) ? "(" : " OR ",
						 element(x, key, i));
	appendStringInfoChar(x->out, ')');
}

/*
 * put_order writes what siblings are ordered by, of a row or through columns
 * o and k1, k2, ... of a subquery.
 */
static void
put_order(Expansion *x, const char *alias, bool subquery)
{
	if (x->shape->spec->order_by != NULL)
		appendStringInfo(x->out, "%s.%s, ", alias,
						 subquery ? "o" : quote_identifier(x->shape->spec->order_by));
	put_list(x, psprintf("%s.%s", alias, subquery ? "k" : "key"), NULL);
}

/*
 * put_roots writes a subquery for the roots of the scope: nodes without a
 * parent, and those whose parent is not there.  The latter costs a look at all
 * nodes, unless they cannot be; that is asked when the query runs.
 */
static void
put_roots(Expansion *x)
{
	expand(x, "SELECT @{b.key as k} FROM @{target} b "
		   "WHERE @{scope b.key} AND @{null b.parent} "
		   "UNION ALL SELECT @{b.key as k} FROM @{target} b "
		   "WHERE @{scope b.key} AND NOT @{null b.parent} "
		   "AND dbpatterns.closure_may_have_orphans(@{target id}, @{closure id}) "
		   "AND NOT EXISTS (SELECT FROM @{target} up WHERE @{up.key = b.parent})");
}

static void
put_text(Expansion *x, const char *key)
{
	if (x->shape->nkey == 1)
		appendStringInfo(x->out, "%s::pg_catalog.text", element(x, key, 0));
	else
	{
		appendStringInfoString(x->out, "ROW(");
		put_list(x, key, NULL);
		appendStringInfoString(x->out, ")::pg_catalog.text");
	}
}

/*
 * put_phrase fills in what begins with a word of its own, and tells whether it
 * was that.
 */
static bool
put_phrase(Expansion *x, const char *what)
{
	const HierShape *shape = x->shape;

	if (strcmp(what, "target") == 0)
		appendStringInfoString(x->out, shape->target);
	else if (strcmp(what, "closure") == 0)
		appendStringInfoString(x->out, shape->closure);
	else if (strcmp(what, "target id") == 0)
		appendStringInfo(x->out, "%s::pg_catalog.regclass", quote_literal_cstr(shape->target));
	else if (strcmp(what, "closure id") == 0)
		appendStringInfo(x->out, "%s::pg_catalog.regclass", quote_literal_cstr(shape->closure));
	else if (strcmp(what, "title") == 0)
		appendStringInfoString(x->out, quote_literal_cstr(shape->spec->prefix));
	else if (strcmp(what, "label") == 0)
		appendStringInfoString(x->out, quote_literal_cstr(shape->label));
	else if (*what >= '1' && *what <= '9')
		appendStringInfo(x->out, "$%d", nkeys(x) + atoi(what));
	else if (strcmp(what, "pair") == 0)
	{
		for (int i = 0; i < nkeys(x); i++)
			appendStringInfo(x->out, "%s$%d", i == 0 ? "" : ", ", i + 1);
	}
	else if (strncmp(what, "null ", 5) == 0)
		put_null(x, what + 5);
	else if (strncmp(what, "text ", 5) == 0)
		put_text(x, what + 5);
	else if (strncmp(what, "scope ", 6) == 0)
		put_scope(x, what + 6);
	else if (strcmp(what, "roots") == 0)
		put_roots(x);
	else if (strncmp(what, "order ", 6) == 0)
		put_order(x, what + 6, false);
	else if (strncmp(what, "sorted ", 7) == 0)
		put_order(x, what + 7, true);
	else if (strncmp(what, "sort ", 5) == 0)
	{
		if (shape->spec->order_by != NULL)
			appendStringInfo(x->out, ", %s.%s AS o", what + 5,
							 quote_identifier(shape->spec->order_by));
	}
	else
		return false;
	return true;
}

/*
 * put fills in what stands between @{ and }.
 */
static void
put(Expansion *x, const char *what)
{
	char	   *key = pstrdup(what);
	char	   *equals = strstr(key, " = ");
	char	   *as = strstr(key, " as ");

	if (put_phrase(x, what))
		return;
	if (equals != NULL)
	{
		*equals = '\0';
		put_equal(x, key, equals + 3, 0, x->shape->nkey);
	}
	else if (as != NULL)
	{
		*as = '\0';
		put_list(x, key, as + 4);
	}
	else
		put_list(x, key, NULL);
}

static void
expand(Expansion *x, const char *template)
{
	const char *at = template;
	const char *open;

	while ((open = strstr(at, "@{")) != NULL)
	{
		const char *close = strchr(open, '}');

		appendBinaryStringInfo(x->out, at, open - at);
		put(x, pnstrdup(open + 2, close - open - 2));
		at = close + 1;
	}
	appendStringInfoString(x->out, at);
}

/*
 * unused_name returns a name, with as many underscores added as it takes to be
 * in no list of names yet, and adds it to names.
 */
static const char *
unused_name(List **names, const char *wanted)
{
	char	   *name = pnstrdup(wanted, pg_mbcliplen(wanted, strlen(wanted), NAMEDATALEN - 1));

	while (dbp_list_has_name(*names, name))
	{
		int			length = pg_mbcliplen(name, strlen(name), NAMEDATALEN - 2);

		name = psprintf("%.*s_", length, name);
	}
	*names = lappend(*names, name);
	return quote_identifier(name);
}

/*
 * put_words writes arguments or columns of a result, each `name type` and more,
 * which are separated by "; " in the template.
 */
static void
put_words(Expansion *x, const char *words, bool first, List **names)
{
	while (*words != '\0')
	{
		int			length = strcspn(words, ";");
		int			name = strcspn(words, " ");

		appendStringInfo(x->out, "%s%s", first ? "" : ", ",
						 unused_name(names, pnstrdup(words, name)));
		expand(x, pnstrdup(words + name, length - name));
		first = false;
		words += length;
		words += strspn(words, "; ");
	}
}

/*
 * put_columns writes the columns of a result that is a table.
 */
static void
put_columns(Expansion *x, List **names)
{
	const HierShape *shape = x->shape;
	const char *const *columns = shape->key;
	const char *words = x->reader->result;
	bool		key = strncmp(words, "key", 3) == 0;

	if (shape->spec->kind == HIER_GRAPH && key)
		columns = strcmp(x->reader->graph_key, "ancestor") == 0 ? shape->ancestor :
			shape->descendant;
	for (int i = 0; key && i < shape->nkey; i++)
		appendStringInfo(x->out, "%s%s %s", i == 0 ? "" : ", ",
						 unused_name(names, columns[i]), shape->type[i]);
	if (key)
		words += strlen("key");
	put_words(x, words + strspn(words, "; "), !key, names);
}

/*
 * key_argument returns the name for the i-th column of a key as an argument:
 * word for a key of one column, else word_column.
 */
static char *
key_argument(const Expansion *x, const char *word, int i)
{
	const HierShape *shape = x->shape;

	if (i < nscope(x))
		return psprintf("scope_%s", shape->key[i]);
	if (shape->nkey - nscope(x) == 1)
		return pstrdup(word);
	return psprintf("%s_%s", word, shape->key[i]);
}

static void
put_arguments(Expansion *x, List **names)
{
	const HierShape *shape = x->shape;
	ReaderNodes nodes = x->reader->nodes;

	/* What follows an argument with a default has one, too. */
	bool		optional = nodes == TAKES_NODE_OR_ALL ||
		(nodes == TAKES_SCOPE && *x->reader->arguments == '\0');
	const char *first = nodes == TAKES_PAIR ? "ancestor" : "node";
	const char *second = nodes == TAKES_PAIR ? "descendant" : "other";

	for (int i = 0; i < nkeys(x); i++)
	{
		bool		is_second = i >= shape->nkey;
		int			column = is_second ? i - shape->nkey + nscope(x) : i;

		appendStringInfo(x->out, "%s%s %s%s", i == 0 ? "" : ", ",
						 unused_name(names, key_argument(x, is_second ? second : first, column)),
						 shape->type[column],
						 optional ? " DEFAULT NULL" : "");
	}
	put_words(x, x->reader->arguments, nkeys(x) == 0, names);
}

/*
 * dbp_reader_definition returns the command that creates a reader, or replaces
 * it.
 */
char *
dbp_reader_definition(const HierShape *shape, const HierReader *reader, bool replace)
{
	StringInfoData sql;
	StringInfoData result;
	Expansion	x = {shape, reader, &result};
	List	   *names = NIL;

	/* Columns have their names first: they are what is joined by. */
	initStringInfo(&result);
	if (reader->rows)
	{
		appendStringInfoString(&result, "TABLE (");
		put_columns(&x, &names);
		appendStringInfoChar(&result, ')');
	}
	else
		appendStringInfoString(&result, reader->result);

	initStringInfo(&sql);
	x.out = &sql;
	appendStringInfo(&sql, "CREATE %sFUNCTION %s(", replace ? "OR REPLACE " : "",
					 dbp_hier_reader_name(shape, reader));
	put_arguments(&x, &names);
	appendStringInfo(&sql, ") RETURNS %s LANGUAGE sql STABLE PARALLEL SAFE BEGIN ATOMIC ",
					 result.data);
	expand(&x, reader->body);
	appendStringInfoString(&sql, "; END");
	return sql.data;
}
