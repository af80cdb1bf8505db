/*-------------------------------------------------------------------------
 *
 * nested_readers.c
 *	  The functions that read nested sets.
 *
 * They live beside the table, belong to its owner, and run with the rights of
 * whoever calls them.  Bodies are parsed once, here, so that no search_path has
 * a say later, and are one SELECT, so that the planner can put it in the place
 * of the call.
 *
 * Templates: n is the row of the node asked for, @S the storage.  Columns of
 * keys are written @node(a), @tree(a); equality of them @same(tree, a, b) and
 * @is(a, 1) (the node of a is that of the first argument).
 *
 * Copyright (c) 2026, dbpatterns contributors
 *
 * src/hierarchy/nested_readers.c
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "access/table.h"
#include "catalog/pg_type.h"
#include "commands/defrem.h"
#include "core/names.h"
#include "core/owner.h"
#include "hierarchy/nested.h"
#include "hierarchy/rows.h"
#include "miscadmin.h"
#include "utils/array.h"
#include "utils/builtins.h"
#include "utils/lsyscache.h"

typedef struct Reader
{
	const char *name;
	const char *nodes[2];		/* what keys that it takes are called */
	const char *arguments;		/* further ones */
	const char *result;			/* of one value; NULL: rows */
	bool		with_depth;		/* rows have a depth */
	const char *body;
	const char *comment;
} Reader;

#define LIMITS	", max_depth integer DEFAULT NULL, include_self boolean DEFAULT false"

static const Reader readers[] = {
	{
		"descendants", {"node"}, LIMITS, NULL, true,
		"SELECT @node(d), d.depth - n.depth FROM @S n JOIN @S d ON @same(tree, d, n)"
		" AND d.lft >= n.lft AND d.lft < n.rgt"
		" WHERE @is(n, 1) AND (max_depth IS NULL OR d.depth <= n.depth + max_depth)"
		" AND (include_self OR d.lft > n.lft) ORDER BY d.lft",
		"the nodes below one, each followed by what is below it"
	},
	{
		"ancestors", {"node"}, LIMITS, NULL, true,
		"SELECT @node(a), n.depth - a.depth FROM @S n"
		" CROSS JOIN LATERAL generate_series(n.depth, 0, -1) l"
		" CROSS JOIN LATERAL (SELECT x.* FROM @S x WHERE @same(tree, x, n) AND x.depth = l"
		" AND x.lft <= n.lft ORDER BY x.lft DESC LIMIT 1) a"
		" WHERE @is(n, 1) AND (max_depth IS NULL OR l >= n.depth - max_depth)"
		" AND (include_self OR l < n.depth) ORDER BY n.depth - a.depth",
		"the nodes above one, the nearest first"
	},
	{
		"children", {"node"}, "", NULL, false,
		"SELECT @node(c) FROM @S n JOIN @S c ON @same(tree, c, n) AND c.depth = n.depth + 1"
		" AND c.lft > n.lft AND c.lft < n.rgt WHERE @is(n, 1) ORDER BY c.lft",
		"the nodes right below one, in their order"
	},
	{
		"leaves", {"node"}, "", NULL, true,
		"SELECT @node(d), d.depth - n.depth FROM @S n JOIN @S d ON @same(tree, d, n)"
		" AND d.lft >= n.lft AND d.lft < n.rgt"
		" WHERE @is(n, 1) AND NOT EXISTS (SELECT FROM @S x WHERE @same(tree, x, d)"
		" AND x.lft > d.lft AND x.lft < d.rgt) ORDER BY d.lft",
		"the nodes at and below one that have none below them"
	},
	{
		"root", {"node"}, "", NULL, false,
		"SELECT @tree(n) FROM @S n WHERE @is(n, 1)",
		"the root of the tree a node is in"
	},
	{
		"depth", {"node"}, "", "pg_catalog.int4", false,
		"SELECT n.depth FROM @S n WHERE @is(n, 1)",
		"how far below its root a node is; 0 for a root"
	},
	{
		"count", {"node"}, "", "pg_catalog.int8", false,
		"SELECT count(*) FROM @S n JOIN @S d ON @same(tree, d, n)"
		" AND d.lft > n.lft AND d.lft < n.rgt WHERE @is(n, 1)",
		"how many nodes are below one"
	},
	{
		"is_ancestor", {"ancestor", "descendant"}, "", "pg_catalog.bool", false,
		"SELECT EXISTS (SELECT FROM @S n JOIN @S d ON @same(tree, d, n)"
		" AND d.lft > n.lft AND d.lft < n.rgt WHERE @is(n, 1) AND @is(d, 2))",
		"whether the first node is above the second"
	}
};

typedef struct Shape
{
	const HierSpec *spec;
	Oid			nspid;
	Oid			owner;
	List	   *ours;			/* names of readers that are there */
	char	   *storage;
	int			n;
	char	   *node[HIER_MAX_KEY]; /* columns of the storage, quoted */
	char	   *tree[HIER_MAX_KEY];
	List	   *key;			/* columns of the result */
	char	   *depth;
	Oid			types[HIER_MAX_KEY];
	char	   *type_names[HIER_MAX_KEY];
} Shape;

static char *
reader_name(const HierSpec *spec, const Reader *reader)
{
	return makeObjectName(spec->prefix, NULL, psprintf("_nested_%s", reader->name));
}

/*
 * argument_name returns the name of a key's column as an argument: one that no
 * column of the result has.
 */
static char *
argument_name(const Shape *shape, const char *what, int i)
{
	char	   *name = shape->n == 1 ? pstrdup(what) :
		makeObjectName(what, list_nth(shape->key, i), NULL);

	while (dbp_list_has_name(shape->key, name))
		name = psprintf("%s_", name);
	return name;
}

/* ---- templates ------------------------------------------------------------------ */

static void
put_columns(StringInfo sql, const Shape *shape, const char *alias, char *const *columns)
{
	for (int i = 0; i < shape->n; i++)
		appendStringInfo(sql, "%s%s.%s", i > 0 ? ", " : "", alias, columns[i]);
}

static void
put_same(StringInfo sql, const Shape *shape, const char *a, const char *b)
{
	for (int i = 0; i < shape->n; i++)
	{
		appendStringInfoString(sql, i > 0 ? " AND " : "");
		dbp_sql_put_equal(sql, shape->types[i], psprintf("%s.%s", a, shape->tree[i]),
						  psprintf("%s.%s", b, shape->tree[i]));
	}
}

static void
put_is(StringInfo sql, const Shape *shape, const Reader *reader, const char *alias, int which)
{
	for (int i = 0; i < shape->n; i++)
	{
		char	   *argument = quote_qualified_identifier(reader_name(shape->spec, reader),
														  argument_name(shape,
																		reader->nodes[which], i));

		appendStringInfoString(sql, i > 0 ? " AND " : "");
		dbp_sql_put_equal(sql, shape->types[i], psprintf("%s.%s", alias, shape->node[i]), argument);
	}
}

static void
put_body(StringInfo sql, const Shape *shape, const Reader *reader)
{
	for (const char *c = reader->body; *c != '\0'; c++)
	{
		char		a[2] = "";
		char		b[2] = "";
		int			which;

		if (*c != '@')
		{
			appendStringInfoChar(sql, *c);
			continue;
		}
		if (c[1] == 'S')
		{
			appendStringInfoString(sql, shape->storage);
			c++;
			continue;
		}
		if (sscanf(c, "@node(%1[a-z])", a) == 1)
			put_columns(sql, shape, a, shape->node);
		else if (sscanf(c, "@tree(%1[a-z])", a) == 1)
			put_columns(sql, shape, a, shape->tree);
		else if (sscanf(c, "@same(tree, %1[a-z], %1[a-z])", a, b) == 2)
			put_same(sql, shape, a, b);
		else if (sscanf(c, "@is(%1[a-z], %d)", a, &which) == 2)
			put_is(sql, shape, reader, a, which - 1);
		else
			elog(ERROR, "bad template \"%s\"", c);
		c = strchr(c, ')');
	}
}

static void
put_arguments(StringInfo sql, const Shape *shape, const Reader *reader)
{
	for (int which = 0; which < 2 && reader->nodes[which] != NULL; which++)
	{
		for (int i = 0; i < shape->n; i++)
			appendStringInfo(sql, "%s%s %s", which + i > 0 ? ", " : "",
							 quote_identifier(argument_name(shape, reader->nodes[which], i)),
							 shape->type_names[i]);
	}
	appendStringInfoString(sql, reader->arguments);
}

static void
put_result(StringInfo sql, const Shape *shape, const Reader *reader)
{
	if (reader->result != NULL)
	{
		appendStringInfoString(sql, reader->result);
		return;
	}
	appendStringInfoString(sql, "TABLE (");
	for (int i = 0; i < shape->n; i++)
		appendStringInfo(sql, "%s%s %s", i > 0 ? ", " : "",
						 quote_identifier(list_nth(shape->key, i)), shape->type_names[i]);
	if (reader->with_depth)
		appendStringInfo(sql, ", %s pg_catalog.int4", quote_identifier(shape->depth));
	appendStringInfoChar(sql, ')');
}

/* ---- making and dropping ----------------------------------------------------------- */

static void
fill_shape(Shape *shape, Relation target, const HierSpec *spec)
{
	Relation	storage = table_open(dbp_hier_storage_id(RelationGetRelid(target), spec),
									 AccessShareLock);
	NestedColumns columns;

	dbp_nested_find_columns(storage, spec, &columns);
	shape->spec = spec;
	shape->nspid = RelationGetNamespace(target);
	shape->owner = target->rd_rel->relowner;
	shape->storage = dbp_hier_storage_name(RelationGetRelid(target), spec);
	shape->n = list_length(spec->key);
	shape->key = spec->key;
	shape->depth = "depth";
	while (dbp_list_has_name(shape->key, shape->depth))
		shape->depth = psprintf("%s_", shape->depth);
	for (int i = 0; i < shape->n; i++)
	{
		Form_pg_attribute att = TupleDescAttr(RelationGetDescr(storage), columns.node[i] - 1);

		shape->types[i] = getBaseType(att->atttypid);
		shape->type_names[i] = format_type_extended(shape->types[i], -1,
													FORMAT_TYPE_FORCE_QUALIFY);
		shape->node[i] = dbp_nested_column(storage, columns.node[i]);
		shape->tree[i] = dbp_nested_column(storage, columns.tree[i]);
	}
	table_close(storage, NoLock);
}

/*
 * our_readers returns the names of readers of a storage that are there, and as
 * SQL what they are: functions of these names that depend on it.
 */
static List *
our_readers(Oid storageid, const HierSpec *spec, List **functions)
{
	Datum		names[lengthof(readers)];
	DbpParam	params[2];
	List	   *ours = NIL;
	uint64		rows;

	for (int i = 0; i < lengthof(readers); i++)
		names[i] = CStringGetTextDatum(reader_name(spec, &readers[i]));
	params[0] = DBP_PARAM(OIDOID, ObjectIdGetDatum(storageid));
	params[1] = DBP_PARAM(TEXTARRAYOID,
						  PointerGetDatum(construct_array(names, lengthof(readers), TEXTOID, -1,
														  false, TYPALIGN_INT)));
	rows = dbp_sql_query("SELECT p.proname, p.oid::regprocedure FROM pg_proc p"
						 " WHERE p.proname = ANY ($2) AND EXISTS (SELECT FROM pg_depend d"
						 " WHERE d.classid = 'pg_proc'::regclass AND d.objid = p.oid"
						 " AND d.refclassid = 'pg_class'::regclass AND d.refobjid = $1)"
						 " ORDER BY 1", 2, params);
	for (uint64 i = 0; i < rows; i++)
	{
		ours = lappend(ours, dbp_sql_text(i, 0));
		*functions = lappend(*functions, dbp_sql_text(i, 1));
	}
	return ours;
}

static void
drop_readers(Oid storageid, const HierSpec *spec)
{
	List	   *functions = NIL;
	ListCell   *lc;

	(void) our_readers(storageid, spec, &functions);
	foreach(lc, functions)
		dbp_hier_command(psprintf("DROP FUNCTION %s", (char *) lfirst(lc)));
}

static void
create_reader(const Shape *shape, const Reader *reader)
{
	char	   *bare_name = reader_name(shape->spec, reader);
	const char *name = quote_qualified_identifier(get_namespace_name(shape->nspid), bare_name);
	bool		replace = dbp_list_has_name(shape->ours, bare_name);
	StringInfoData signature;
	StringInfoData sql;

	initStringInfo(&signature);
	appendStringInfo(&signature, "%s(", name);
	for (int which = 0; which < 2 && reader->nodes[which] != NULL; which++)
	{
		for (int i = 0; i < shape->n; i++)
			appendStringInfo(&signature, "%s%s", which + i > 0 ? ", " : "", shape->type_names[i]);
	}
	appendStringInfo(&signature, "%s)", reader->arguments[0] != '\0' ?
					 ", pg_catalog.int4, pg_catalog.bool" : "");

	initStringInfo(&sql);
	appendStringInfo(&sql, "CREATE %sFUNCTION %s(", replace ? "OR REPLACE " : "", name);
	put_arguments(&sql, shape, reader);
	appendStringInfoString(&sql, ") RETURNS ");
	put_result(&sql, shape, reader);
	appendStringInfoString(&sql, " LANGUAGE sql STABLE PARALLEL SAFE BEGIN ATOMIC ");
	put_body(&sql, shape, reader);
	appendStringInfoString(&sql, "; END");
	dbp_hier_command(sql.data);
	dbp_hier_command(psprintf("COMMENT ON FUNCTION %s IS %s", signature.data,
							  quote_literal_cstr(psprintf("nested sets %s: %s",
														  shape->spec->storage, reader->comment))));
	if (!replace && shape->owner != GetUserId())
		dbp_hier_command(psprintf("ALTER FUNCTION %s OWNER TO %s", signature.data,
								  quote_identifier(GetUserNameFromId(shape->owner, false))));
}

static void
create_readers(void *arg)
{
	for (int i = 0; i < lengthof(readers); i++)
		create_reader(arg, &readers[i]);
}

/*
 * dbp_nested_create_readers creates the readers of nested sets, or replaces them
 * in place, so that rights and views stay; anew where columns of their results
 * have another name by now.  42723 if something else has their name.
 */
void
dbp_nested_create_readers(Relation target, const HierSpec *spec)
{
	Oid			storageid = dbp_hier_storage_id(RelationGetRelid(target), spec);
	List	   *functions = NIL;
	ErrorData  *error = NULL;
	DbpOwnerScope scope;
	Shape		shape;

	dbp_enter_caller(&scope);
	fill_shape(&shape, target, spec);
	shape.ours = our_readers(storageid, spec, &functions);
	if (shape.ours == NIL)
		create_readers(&shape);
	else
		error = dbp_attempt(create_readers, &shape, true);
	if (error != NULL && error->sqlerrcode != ERRCODE_INVALID_FUNCTION_DEFINITION)
		ReThrowError(error);
	if (error != NULL)
	{
		drop_readers(storageid, spec);
		shape.ours = NIL;
		create_readers(&shape);
	}
	dbp_leave_owner(&scope);
}

/*
 * dbp_nested_drop_readers drops them.
 */
void
dbp_nested_drop_readers(Oid targetid, const HierSpec *spec)
{
	Oid			storageid = dbp_hier_storage_id(targetid, spec);
	DbpOwnerScope scope;

	if (!OidIsValid(storageid))
		return;
	dbp_enter_caller(&scope);
	drop_readers(storageid, spec);
	dbp_leave_owner(&scope);
}
