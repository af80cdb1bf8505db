/*-------------------------------------------------------------------------
 *
 * readers.c
 *	  Making and dropping the functions that read a closure table.
 *
 * They live beside the table, belong to its owner, and run with the rights of
 * whoever calls them.  Bodies are parsed once, here, so that no search_path
 * has a say later; and they depend on the closure table: by that, and by the
 * name, a function is known to be ours, before and after a restore.  With the
 * tables they go, without a CASCADE, unless they were restored from a dump.
 *
 * Copyright (c) 2026, dbpatterns contributors
 *
 * src/hierarchy/readers.c
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "access/table.h"
#include "catalog/dependency.h"
#include "catalog/pg_class.h"
#include "catalog/pg_proc.h"
#include "catalog/pg_type.h"
#include "commands/comment.h"
#include "commands/defrem.h"
#include "core/names.h"
#include "core/owner.h"
#include "core/sql.h"
#include "hierarchy/readers.h"
#include "miscadmin.h"
#include "utils/builtins.h"
#include "utils/catcache.h"
#include "utils/lsyscache.h"
#include "utils/syscache.h"

static const char *
reader_name(const HierSpec *spec, const HierReader *reader)
{
	return makeObjectName(spec->prefix, NULL, psprintf("_%s", reader->name));
}

/*
 * dbp_hier_reader_name returns the quoted name of a reader, with its schema.
 */
char *
dbp_hier_reader_name(const HierShape *shape, const HierReader *reader)
{
	return quote_qualified_identifier(get_namespace_name(shape->nspid),
									  reader_name(shape->spec, reader));
}

static bool
is_wanted(const HierSpec *spec, const HierReader *reader)
{
	return (reader->reads & (spec->kind == HIER_GRAPH ? READS_GRAPH : READS_TREE)) != 0;
}

/*
 * label_column returns the column that most likely says what a node is.
 */
static const char *
label_column(Relation target, const HierShape *shape)
{
	static const char *const usual[] = {"name", "title", "label"};

	for (int i = 0; i < lengthof(usual); i++)
	{
		if (get_attnum(RelationGetRelid(target), usual[i]) > 0)
			return usual[i];
	}
	return shape->key[shape->nkey - 1];
}

/*
 * read_closure takes from the closure table the names and types of its columns,
 * which are known by their place.
 */
static void
read_closure(HierShape *shape)
{
	Relation	closure = table_open(shape->closureid, AccessShareLock);
	TupleDesc	desc = RelationGetDescr(closure);
	int			nscope = shape->spec->nscope;
	int			n = 0;

	shape->closure = dbp_relation_name(closure);
	for (int i = 0; i < desc->natts && n < 2 * shape->nkey - nscope; i++)
	{
		Form_pg_attribute att = TupleDescAttr(desc, i);
		const char *name = pstrdup(NameStr(att->attname));
		Oid			type = getBaseType(att->atttypid);

		if (att->attisdropped)
			continue;
		if (n < shape->nkey)
		{
			shape->ancestor[n] = name;
			shape->type[n] = format_type_extended(type, -1, FORMAT_TYPE_FORCE_QUALIFY);
			shape->basetype[n] = type;
		}
		if (n < nscope)
			shape->descendant[n] = name;
		else if (n >= shape->nkey)
			shape->descendant[n - shape->nkey + nscope] = name;
		n++;
	}
	table_close(closure, NoLock);
}

static void
fill_names(const char **array, List *names)
{
	ListCell   *lc;
	int			n = 0;

	foreach(lc, names)
		array[n++] = lfirst(lc);
}

static void
fill_shape(HierShape *shape, Relation target, const HierSpec *spec)
{
	memset(shape, 0, sizeof(*shape));
	shape->spec = spec;
	shape->targetid = RelationGetRelid(target);
	shape->owner = target->rd_rel->relowner;
	shape->nspid = RelationGetNamespace(target);
	shape->closureid = get_relname_relid(spec->storage, shape->nspid);
	if (!OidIsValid(shape->closureid))
		elog(ERROR, "closure table \"%s\" does not exist", spec->storage);
	shape->target = dbp_relation_name(target);
	shape->nkey = list_length(spec->key);
	Assert(shape->nkey <= HIER_MAX_KEY);
	fill_names(shape->key, spec->key);
	fill_names(shape->parent, spec->parent);
	read_closure(shape);
	shape->label = label_column(target, shape);
}

/*
 * our_readers finds the readers of a closure table among all functions of their
 * names, wherever those are: each depends on it.  Columns are the OID, the name
 * with the types of the arguments, and the schema.
 */
static uint64
our_readers(Oid closureid, const HierSpec *spec)
{
	Datum	   *names = palloc(dbp_hier_nreaders * sizeof(Datum));
	DbpParam	params[2] = {DBP_PARAM(OIDOID, ObjectIdGetDatum(closureid))};

	for (int i = 0; i < dbp_hier_nreaders; i++)
		names[i] = CStringGetTextDatum(reader_name(spec, &dbp_hier_readers[i]));
	params[1] = DBP_PARAM(TEXTARRAYOID,
						  PointerGetDatum(construct_array(names, dbp_hier_nreaders, TEXTOID, -1,
														  false, TYPALIGN_INT)));
	return dbp_sql_query("SELECT p.oid, p.oid::pg_catalog.regprocedure::pg_catalog.text,"
						 " p.pronamespace"
						 " FROM pg_catalog.pg_proc p"
						 " WHERE p.proname::pg_catalog.text OPERATOR(pg_catalog.=) ANY ($2)"
						 " AND EXISTS (SELECT FROM pg_catalog.pg_depend d"
						 " WHERE d.classid OPERATOR(pg_catalog.=) 'pg_catalog.pg_proc'::pg_catalog.regclass"
						 " AND d.objid OPERATOR(pg_catalog.=) p.oid AND d.refobjid OPERATOR(pg_catalog.=) $1"
						 " AND d.refclassid OPERATOR(pg_catalog.=) 'pg_catalog.pg_class'::pg_catalog.regclass)",
						 2, params);
}

/*
 * functions_named returns the OIDs of all functions of a reader's name in the
 * schema, ours or not.
 */
static List *
functions_named(const HierShape *shape, const HierReader *reader)
{
	CatCList   *list = SearchSysCacheList1(PROCNAMEARGSNSP,
										   CStringGetDatum(reader_name(shape->spec, reader)));
	List	   *functions = NIL;

	for (int i = 0; i < list->n_members; i++)
	{
		Form_pg_proc form = (Form_pg_proc) GETSTRUCT(&list->members[i]->tuple);

		if (form->pronamespace == shape->nspid)
			functions = lappend_oid(functions, form->oid);
	}
	ReleaseCatCacheList(list);
	return functions;
}

/*
 * require_free raises 42723 unless all functions of a reader's name in the
 * schema are ours, and tells whether there is one.  own holds the OIDs of ours.
 */
static bool
require_free(const HierShape *shape, const HierReader *reader, List *own)
{
	List	   *functions = functions_named(shape, reader);

	if (list_difference_oid(functions, own) != NIL)
		ereport(ERROR,
				(errcode(ERRCODE_DUPLICATE_FUNCTION),
				 errmsg("function %s already exists", dbp_hier_reader_name(shape, reader)),
				 errhint("The functions that read a closure table are named after it: give another closure name, or rename that function.")));
	return functions != NIL;
}

static void
drop_readers(Oid closureid, const HierSpec *spec)
{
	StringInfoData sql;
	uint64		rows = our_readers(closureid, spec);

	if (rows == 0)
		return;
	initStringInfo(&sql);
	for (uint64 i = 0; i < rows; i++)
		appendStringInfo(&sql, "%s%s", i == 0 ? "DROP FUNCTION " : ", ", dbp_sql_text(i, 1));
	dbp_hier_command(sql.data);
}

/*
 * create_reader creates one reader.  It goes silently with either table, for
 * which it depends on both once more; a replaced one does not any longer.
 */
static void
create_reader(const HierShape *shape, const HierReader *reader, bool replace)
{
	ObjectAddress function = {ProcedureRelationId};
	ObjectAddress table = {RelationRelationId};
	List	   *functions;

	dbp_hier_command(dbp_reader_definition(shape, reader, replace));
	if (!replace && shape->owner != GetUserId())
		dbp_hier_command(psprintf("ALTER FUNCTION %s OWNER TO %s",
								  dbp_hier_reader_name(shape, reader),
								  quote_identifier(GetUserNameFromId(shape->owner, false))));
	CommandCounterIncrement();
	functions = functions_named(shape, reader);
	if (functions == NIL)
		elog(ERROR, "function %s is not there", dbp_hier_reader_name(shape, reader));
	function.objectId = linitial_oid(functions);
	table.objectId = shape->closureid;
	recordDependencyOn(&function, &table, DEPENDENCY_AUTO);
	table.objectId = shape->targetid;
	recordDependencyOn(&function, &table, DEPENDENCY_AUTO);
	CreateComments(function.objectId, ProcedureRelationId, 0,
				   psprintf("hierarchy %s: %s", quote_identifier(shape->spec->storage),
							reader->comment));
}

/* What create_readers is to do. */
typedef struct Creation
{
	HierShape	shape;
	List	   *own;			/* OIDs of readers that are there */
} Creation;

static void
create_readers(void *arg)
{
	Creation   *creation = arg;

	for (int i = 0; i < dbp_hier_nreaders; i++)
	{
		const HierReader *reader = &dbp_hier_readers[i];

		if (is_wanted(creation->shape.spec, reader))
			create_reader(&creation->shape, reader,
						  require_free(&creation->shape, reader, creation->own));
	}
}

/*
 * dbp_hier_create_readers creates the readers of a hierarchy, or brings them
 * up to date: in place, so that rights and views stay; but anew where columns
 * of their results have another name or type by now, or the table another schema.
 */
void
dbp_hier_create_readers(Relation target, const HierSpec *spec)
{
	Creation	creation = {0};
	DbpOwnerScope scope;
	ErrorData  *error = NULL;
	bool		moved = false;
	uint64		rows;

	dbp_enter_caller(&scope);
	SPI_connect();
	fill_shape(&creation.shape, target, spec);
	rows = our_readers(creation.shape.closureid, spec);
	for (uint64 i = 0; i < rows; i++)
	{
		creation.own = lappend_oid(creation.own, DatumGetObjectId(dbp_sql_value(i, 0, NULL)));
		moved = moved ||
			DatumGetObjectId(dbp_sql_value(i, 2, NULL)) != creation.shape.nspid;
	}

	if (creation.own != NIL && !moved)
	{
		error = dbp_attempt(create_readers, &creation, true);
		if (error != NULL && error->sqlerrcode != ERRCODE_INVALID_FUNCTION_DEFINITION)
			ReThrowError(error);
	}
	if (creation.own == NIL || moved || error != NULL)
	{
		drop_readers(creation.shape.closureid, spec);
		creation.own = NIL;
		create_readers(&creation);
	}
	SPI_finish();
	dbp_leave_owner(&scope);
}

/*
 * dbp_hier_drop_readers drops the readers of a hierarchy.  With tables that are
 * gone they went by themselves.
 */
void
dbp_hier_drop_readers(Oid targetid, const HierSpec *spec)
{
	DbpOwnerScope scope;
	Oid			closureid;

	if (get_rel_name(targetid) == NULL)
		return;
	closureid = get_relname_relid(spec->storage, get_rel_namespace(targetid));
	if (!OidIsValid(closureid))
		return;
	dbp_enter_caller(&scope);
	SPI_connect();
	drop_readers(closureid, spec);
	SPI_finish();
	dbp_leave_owner(&scope);
}
