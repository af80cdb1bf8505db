/*-------------------------------------------------------------------------
 *
 * clone.c
 *	  Cloning a schema.
 *
 * Definitions are read first, all of them with one snapshot and with locks on the
 * relations, then run.  Objects that may depend on each other in any order (types,
 * tables, functions, views, defaults, keys) are made in the order of their
 * dependencies, as pg_dump does; the rest, from indexes to comments, follows in a fixed
 * order.  At last it is proved that nothing of the clone depends on the original.
 *
 * Copyright (c) 2026, dbpatterns contributors
 *
 * src/tenant/clone.c
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "catalog/namespace.h"
#include "catalog/objectaddress.h"
#include "catalog/pg_namespace.h"
#include "catalog/pg_type.h"
#include "core/owner.h"
#include "core/sql.h"
#include "lib/stringinfo.h"
#include "miscadmin.h"
#include "storage/lmgr.h"
#include "tenant/clone.h"
#include "tenant/tenant.h"
#include "utils/builtins.h"
#include "utils/guc.h"
#include "utils/hsearch.h"
#include "utils/lsyscache.h"
#include "utils/snapmgr.h"
#include "utils/syscache.h"

typedef struct Address
{
	Oid			classid;
	Oid			objid;
} Address;

/* An object, or another name of one. */
typedef struct Known
{
	Address		address;		/* the key; must be first */
	int			object;			/* place in the array */
} Known;

typedef struct Object
{
	Address		address;
	char	   *command;
	List	   *needs;			/* places of objects */
	bool		making;
	bool		made;
} Object;

typedef struct Clone
{
	Oid			original;
	const char *name;
	HTAB	   *names;
	Object	   *objects;
	int			nobjects;
	int			room;
	List	   *making;			/* places of objects, each needed by the one
								 * before */
	List	   *definitions;	/* commands */
	List	   *late;
	List	   *rights;
	MemoryContext cxt;
} Clone;

static void
set_for_now(const char *name, const char *value)
{
	(void) set_config_option(name, value, PGC_USERSET, PGC_S_SESSION, GUC_ACTION_SAVE, true, 0,
							 false);
}

/*
 * enter_schema lets names mean what they do in a schema, and values be written in a way that
 * loses nothing.
 */
static void
enter_schema(const char *schema)
{
	set_for_now("search_path", psprintf("%s, pg_temp", quote_identifier(schema)));
	set_for_now("datestyle", "ISO");
	set_for_now("intervalstyle", "postgres");
	set_for_now("extra_float_digits", "1");
	set_for_now("array_nulls", "on");
	set_for_now("transform_null_equals", "off");
	set_for_now("check_function_bodies", "off");
}

/*
 * read_rows runs a query whose names mean what they do in pg_catalog, while deparsers
 * meet the original's search_path.  The rows are in SPI_tuptable.
 */
static uint64
read_rows(Clone *clone, const char *sql)
{
	Oid			types[] = {OIDOID, TEXTOID};
	Datum		values[2];
	int			nestlevel;
	Portal		portal;

	values[0] = ObjectIdGetDatum(clone->original);
	values[1] = CStringGetTextDatum(clone->name);
	portal = SPI_cursor_open_with_args(NULL, sql, 2, types, values, NULL, true, 0);
	nestlevel = NewGUCNestLevel();
	enter_schema(get_namespace_name(clone->original));
	SPI_cursor_fetch(portal, true, LONG_MAX);
	AtEOXact_GUC(false, nestlevel);
	SPI_cursor_close(portal);
	return SPI_processed;
}

static Address
address_at(uint64 row, int column)
{
	Address		address;

	address.classid = DatumGetObjectId(dbp_sql_value(row, column, NULL));
	address.objid = DatumGetObjectId(dbp_sql_value(row, column + 1, NULL));
	return address;
}

static void
add_name(Clone *clone, Address address, int object)
{
	Known	   *known = hash_search(clone->names, &address, HASH_ENTER, NULL);

	known->object = object;
}

static int
find(Clone *clone, Address address)
{
	Known	   *known = hash_search(clone->names, &address, HASH_FIND, NULL);

	return known == NULL ? -1 : known->object;
}

static void
read_objects(Clone *clone, const char *sql)
{
	uint64		rows = read_rows(clone, sql);
	MemoryContext oldcxt = MemoryContextSwitchTo(clone->cxt);

	for (uint64 i = 0; i < rows; i++)
	{
		Object	   *object;

		if (clone->nobjects == clone->room)
		{
			clone->room *= 2;
			clone->objects = repalloc(clone->objects, sizeof(Object) * clone->room);
		}
		object = &clone->objects[clone->nobjects];
		memset(object, 0, sizeof(Object));
		object->address = address_at(i, 0);
		object->command = dbp_sql_text(i, 2);
		add_name(clone, object->address, clone->nobjects++);
	}
	MemoryContextSwitchTo(oldcxt);
}

static void
read_aliases(Clone *clone)
{
	uint64		rows = read_rows(clone, dbp_clone_aliases);

	for (uint64 i = 0; i < rows; i++)
	{
		int			object = find(clone, address_at(i, 2));

		if (object >= 0)
			add_name(clone, address_at(i, 0), object);
	}
}

/*
 * read_needs reads which objects need which.
 */
static void
read_needs(Clone *clone)
{
	Datum	   *oids = palloc(sizeof(Datum) * hash_get_num_entries(clone->names));
	HASH_SEQ_STATUS seq;
	Known	   *known;
	ArrayType  *array;
	DbpParam	param;
	uint64		rows;
	int			n = 0;
	MemoryContext oldcxt;

	hash_seq_init(&seq, clone->names);
	while ((known = hash_seq_search(&seq)) != NULL)
		oids[n++] = ObjectIdGetDatum(known->address.objid);
	array = construct_array(oids, n, OIDOID, sizeof(Oid), true, TYPALIGN_INT);
	param = DBP_PARAM(OIDARRAYOID, PointerGetDatum(array));
	rows = dbp_sql_query("SELECT d.classid, d.objid, d.refclassid, d.refobjid FROM pg_depend d"
						 " WHERE d.objid = ANY ($1) AND d.refobjid = ANY ($1) AND d.deptype = ANY ('{n,a}')"
						 " ORDER BY 4, 3, 2, 1", 1, &param);
	oldcxt = MemoryContextSwitchTo(clone->cxt);
	for (uint64 i = 0; i < rows; i++)
	{
		int			from = find(clone, address_at(i, 0));
		int			to = find(clone, address_at(i, 2));

		if (from >= 0 && to >= 0 && from != to)
			clone->objects[from].needs = lappend_int(clone->objects[from].needs, to);
	}
	MemoryContextSwitchTo(oldcxt);
}

static char *
describe(const Object *object)
{
	ObjectAddress address;

	ObjectAddressSet(address, object->address.classid, object->address.objid);
	return getObjectDescription(&address, false);
}

/*
 * describe_circle describes the objects that are being made, from one on that needs itself.
 */
static char *
describe_circle(const Clone *clone, const Object *object)
{
	StringInfoData out;
	ListCell   *lc;

	initStringInfo(&out);
	foreach(lc, clone->making)
	{
		const Object *member = &clone->objects[lfirst_int(lc)];

		if (out.len > 0 || member == object)
			appendStringInfo(&out, "%s%s", out.len > 0 ? "\n" : "", describe(member));
	}
	return out.data;
}

/*
 * make puts the commands of an object, and before them those of what it needs, into the
 * list.  Raises 0A000 for objects that need each other.
 */
static void
make(Clone *clone, Object *object)
{
	ListCell   *lc;

	check_stack_depth();
	if (object->made)
		return;
	if (object->making)
		ereport(ERROR,
				(errcode(ERRCODE_FEATURE_NOT_SUPPORTED),
				 errmsg("%s needs itself through other objects", describe(object)),
				 errdetail("%s", describe_circle(clone, object)),
				 errhint("Break the circle in the template.")));
	object->making = true;
	clone->making = lappend_int(clone->making, object - clone->objects);
	foreach(lc, object->needs)
		make(clone, &clone->objects[lfirst_int(lc)]);
	clone->making = list_delete_last(clone->making);
	object->made = true;
	clone->definitions = lappend(clone->definitions, object->command);
}

static int
by_oid(const void *a, const void *b)
{
	const Object *x = a;
	const Object *y = b;

	if (x->address.objid != y->address.objid)
		return x->address.objid < y->address.objid ? -1 : 1;
	return x->address.classid < y->address.classid ? -1 : x->address.classid > y->address.classid;
}

static List *
read_list(Clone *clone, List *commands, const char *const *list)
{
	for (; *list != NULL; list++)
	{
		uint64		rows = read_rows(clone, psprintf("SELECT * FROM (%s) x (c, o, command)"
													 " WHERE command IS NOT NULL ORDER BY o, command", *list));
		MemoryContext oldcxt = MemoryContextSwitchTo(clone->cxt);

		for (uint64 i = 0; i < rows; i++)
			commands = lappend(commands, dbp_sql_text(i, 2));
		MemoryContextSwitchTo(oldcxt);
	}
	return commands;
}

/*
 * read_commands reads what makes a clone.
 */
static void
read_commands(Clone *clone)
{
	HASHCTL		ctl = {0};

	ctl.keysize = sizeof(Address);
	ctl.entrysize = sizeof(Known);
	ctl.hcxt = clone->cxt;
	clone->names = hash_create("dbpatterns clone", 256, &ctl, HASH_ELEM | HASH_BLOBS | HASH_CONTEXT);
	clone->room = 256;
	clone->objects = MemoryContextAlloc(clone->cxt, sizeof(Object) * clone->room);
	for (const char *const *list = dbp_clone_objects; *list != NULL; list++)
		read_objects(clone, *list);
	qsort(clone->objects, clone->nobjects, sizeof(Object), by_oid);
	for (int i = 0; i < clone->nobjects; i++)
		add_name(clone, clone->objects[i].address, i);
	read_aliases(clone);
	read_needs(clone);
	for (int i = 0; i < clone->nobjects; i++)
		make(clone, &clone->objects[i]);
	clone->definitions = read_list(clone, clone->definitions, dbp_clone_rest);
	clone->late = read_list(clone, NIL, dbp_clone_late);
	clone->rights = read_list(clone, NIL, dbp_clone_rights);
}

static char *
lines_of_result(uint64 rows)
{
	StringInfoData out;

	initStringInfo(&out);
	for (uint64 i = 0; i < Min(rows, 10); i++)
		appendStringInfo(&out, "%s%s", i > 0 ? "\n" : "", dbp_sql_text(i, 0));
	return out.data;
}

/*
 * require_clonable raises 0A000 for a schema with something in it that cannot be cloned.
 */
static void
require_clonable(Clone *clone)
{
	DbpParam	params[2];
	DbpOwnerScope scope;
	uint64		rows;

	params[0] = DBP_PARAM(OIDOID, ObjectIdGetDatum(clone->original));
	rows = dbp_sql_query(dbp_clone_refused, 1, params);
	if (rows > 0)
		ereport(ERROR,
				(errcode(ERRCODE_FEATURE_NOT_SUPPORTED),
				 errmsg("schema \"%s\" cannot be cloned", get_namespace_name(clone->original)),
				 errdetail("It has:\n%s", lines_of_result(rows)),
				 errhint("Move them to another schema; let functions name their objects without the schema, or have a body of BEGIN ATOMIC.")));
	dbp_tenant_enter_ours(&scope);
	rows = dbp_sql_query("SELECT c.oid::regclass::text || ' (' || r.pattern || ')' FROM _dbpatterns.registry r"
						 " JOIN pg_class c ON c.oid = r.target WHERE c.relnamespace = $1 ORDER BY 1", 1, params);
	dbp_leave_owner(&scope);
	if (rows > 0)
		ereport(ERROR,
				(errcode(ERRCODE_FEATURE_NOT_SUPPORTED),
				 errmsg("tables of schema \"%s\" carry patterns, which a clone would lack",
						get_namespace_name(clone->original)),
				 errdetail("%s", lines_of_result(rows)),
				 errhint("Disable them in the template, and enable them in the clones with dbpatterns.tenant_migrate.")));
}

/*
 * require_separate raises 0A000 if something of a clone depends on the original.
 */
static void
require_separate(Clone *clone)
{
	DbpParam	params[2];
	uint64		rows;

	params[0] = DBP_PARAM(OIDOID, ObjectIdGetDatum(clone->original));
	params[1] = DBP_PARAM(OIDOID, ObjectIdGetDatum(get_namespace_oid(clone->name, false)));
	rows = dbp_sql_query(dbp_clone_left_over, 2, params);
	if (rows > 0)
		ereport(ERROR,
				(errcode(ERRCODE_FEATURE_NOT_SUPPORTED),
				 errmsg("schema \"%s\" cannot be cloned: the clone would depend on it",
						get_namespace_name(clone->original)),
				 errdetail("%s", lines_of_result(rows)),
				 errhint("Objects that have the name of a system object cannot be told from it; give them other names.")));
}

/*
 * require_unnamed raises 0A000 for an expression with a string that names an object of the
 * original, which nothing depends on, but a clone would use.
 */
static void
require_unnamed(Clone *clone)
{
	DbpParam	params[2];
	uint64		rows;

	params[0] = DBP_PARAM(OIDOID, ObjectIdGetDatum(clone->original));
	params[1] = dbp_texts_param(list_concat_copy(clone->definitions, clone->late));
	rows = dbp_sql_query(dbp_clone_named, 2, params);
	if (rows > 0)
		ereport(ERROR,
				(errcode(ERRCODE_FEATURE_NOT_SUPPORTED),
				 errmsg("schema \"%s\" cannot be cloned: strings name it",
						get_namespace_name(clone->original)),
				 errdetail("%s", lines_of_result(rows)),
				 errhint("Name objects without the schema, and cast strings to regclass.")));
}

/*
 * lock_relations keeps the relations of the original as they are.  Those that came while it
 * waited are locked, too.
 */
static void
lock_relations(Clone *clone)
{
	List	   *locked = NIL;
	uint64		rows;

	do
	{
		DbpParam	params[2];

		params[0] = DBP_PARAM(OIDOID, ObjectIdGetDatum(clone->original));
		params[1] = dbp_oids_param(locked);
		rows = dbp_sql_query_latest("SELECT c.oid FROM pg_class c WHERE c.relnamespace = $1"
									" AND c.relkind = ANY ('{r,p,v,m,S}') AND c.oid <> ALL ($2) ORDER BY 1",
									2, params);
		for (uint64 i = 0; i < rows; i++)
		{
			Oid			relid = DatumGetObjectId(dbp_sql_value(i, 0, NULL));

			LockRelationOid(relid, AccessShareLock);
			locked = lappend_oid(locked, relid);
		}
	} while (rows > 0);
}

static void
run(Clone *clone, List *commands)
{
	int			nestlevel = NewGUCNestLevel();
	ListCell   *lc;

	enter_schema(clone->name);
	foreach(lc, commands)
	{
		CHECK_FOR_INTERRUPTS();
		dbp_sql_command("%s", (char *) lfirst(lc));
	}
	AtEOXact_GUC(false, nestlevel);
}

/*
 * choose_maker returns who makes the objects: for a superuser, the owner of the original,
 * whose functions may be called.
 */
static Oid
choose_maker(Oid original)
{
	HeapTuple	tuple = SearchSysCache1(NAMESPACEOID, ObjectIdGetDatum(original));
	Oid			owner;

	if (!HeapTupleIsValid(tuple))
		ereport(ERROR,
				(errcode(ERRCODE_UNDEFINED_SCHEMA),
				 errmsg("the template has been dropped"),
				 errhint("Name another schema.")));
	owner = ((Form_pg_namespace) GETSTRUCT(tuple))->nspowner;
	ReleaseSysCache(tuple);
	return superuser() && !superuser_arg(owner) ? owner : GetUserId();
}

/*
 * dbp_tenant_clone makes a schema that is like another one, but has no rows.  Raises
 * 0A000 for what cannot be cloned, and what the commands raise.  Takes ACCESS SHARE on the
 * relations of the original.  Caller: SPI connected, search_path pinned.
 */
void
dbp_tenant_clone(Oid original, const char *name)
{
	Clone		clone = {original, name};
	DbpOwnerScope scope;
	Oid			maker;

	clone.cxt = CurrentMemoryContext;
	lock_relations(&clone);
	maker = choose_maker(original);
	/* Definitions may have changed while we waited, for whatever snapshot. */
	PushActiveSnapshot(GetLatestSnapshot());
	require_clonable(&clone);
	dbp_sql_command("CREATE SCHEMA %s AUTHORIZATION %s", quote_identifier(name),
					quote_identifier(GetUserNameFromId(maker, false)));
	if (maker == GetUserId())
		dbp_enter_caller(&scope);
	else
		dbp_enter_owner(&scope, maker);
	read_commands(&clone);
	PopActiveSnapshot();
	require_unnamed(&clone);
	run(&clone, clone.definitions);
	dbp_leave_owner(&scope);
	run(&clone, clone.late);
	run(&clone, clone.rights);
	require_separate(&clone);
}
