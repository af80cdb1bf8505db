/*-------------------------------------------------------------------------
 *
 * walk_sql.c
 *	  Reading an adjacency list by SQL.
 *
 * For partitioned tables and where row-level security applies: queries of the
 * caller, with the snapshot that is active, whose rows go to a receiver and
 * are kept nowhere.  SPI is connected.
 *
 * Copyright (c) 2026, dbpatterns contributors
 *
 * src/hierarchy/walk_sql.c
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "catalog/pg_type.h"
#include "core/names.h"
#include "executor/executor.h"
#include "hierarchy/rows.h"
#include "hierarchy/walk.h"
#include "lib/stringinfo.h"
#include "nodes/params.h"
#include "tcop/dest.h"
#include "utils/array.h"
#include "utils/builtins.h"
#include "utils/lsyscache.h"
#include "utils/memutils.h"

/*
 * A receiver of rows: [node], key columns, [parent columns], [order].
 */
typedef struct Receiver
{
	DestReceiver pub;			/* MUST BE FIRST */
	WalkSource *source;
	bool		with_node;
	bool		with_parent;
	bool		with_order;
	WalkRow		row;
	void	   *arg;
} Receiver;

static bool
receive(TupleTableSlot *slot, DestReceiver *self)
{
	Receiver   *receiver = (Receiver *) self;
	int			n = receiver->source->type.n;
	int			at = receiver->with_node ? 1 : 0;
	Datum	   *key;
	Datum	   *parent = NULL;

	slot_getallattrs(slot);
	key = slot->tts_values + at;
	at += n;
	if (receiver->with_parent)
	{
		parent = slot->tts_values + at;
		for (int i = 0; i < n && parent != NULL; i++)
		{
			if (slot->tts_isnull[at + i])
				parent = NULL;
		}
		at += n;
	}
	receiver->row(receiver->arg,
				  receiver->with_node ? (uint32) DatumGetInt64(slot->tts_values[0]) : 0,
				  key, parent, receiver->with_order ? slot->tts_values[at] : (Datum) 0,
				  receiver->with_order ? slot->tts_isnull[at] : true);
	return true;
}

static void
receiver_startup(DestReceiver *self, int operation, TupleDesc typeinfo)
{
}

static void
receiver_done(DestReceiver *self)
{
}

/*
 * run runs a query, or a plan of it, and stays in the caller's memory context,
 * which SPI does not.
 */
static void
run(Receiver *receiver, const char *sql, SPIPlanPtr plan, ParamListInfo params)
{
	SPIExecuteOptions options = {0};
	MemoryContext cxt = CurrentMemoryContext;
	int			rc;

	receiver->pub.receiveSlot = receive;
	receiver->pub.rStartup = receiver_startup;
	receiver->pub.rShutdown = receiver_done;
	receiver->pub.rDestroy = receiver_done;
	receiver->pub.mydest = DestTuplestore;
	options.params = params;
	options.read_only = true;	/* the snapshot of the query that called us */
	options.dest = &receiver->pub;
	rc = plan != NULL ? SPI_execute_plan_extended(plan, &options) :
		SPI_execute_extended(sql, &options);
	MemoryContextSwitchTo(cxt);
	if (rc < 0)
		elog(ERROR, "SPI failed for \"%s\": %s", sql, SPI_result_code_string(rc));
}

static void
set_param(ParamListInfo params, int i, Oid type, Datum value)
{
	params->params[i].ptype = type;
	params->params[i].value = value;
	params->params[i].isnull = false;
	params->params[i].pflags = PARAM_FLAG_CONST;
}

/* ---- the queries ---- */

/*
 * columns returns columns of the table as t.
 */
static HierColumns
columns(WalkSource *source, const AttrNumber *attnums, int n)
{
	List	   *names = NIL;

	for (int i = 0; i < n; i++)
		names = lappend(names, NameStr(TupleDescAttr(RelationGetDescr(source->rel),
													 attnums[i] - 1)->attname));
	return HIER_NAMED("t", names);
}

/*
 * put_columns appends some columns, with a comma before.
 */
static void
put_columns(StringInfo sql, WalkSource *source, const AttrNumber *attnums, int n)
{
	if (n == 0)
		return;
	appendStringInfoString(sql, ", ");
	dbp_sql_put_columns(sql, columns(source, attnums, n), 0, n);
}

static void
put_order(StringInfo sql, WalkSource *source)
{
	put_columns(sql, source, &source->order, source->order != 0 ? 1 : 0);
}

/*
 * put_rows begins a query for keys, parents and the order.
 */
static void
put_rows(StringInfo sql, WalkSource *source, bool with_order)
{
	initStringInfo(sql);
	appendStringInfoString(sql, "SELECT ");
	dbp_sql_put_columns(sql, columns(source, source->key, source->type.n), 0, source->type.n);
	put_columns(sql, source, source->parent, source->type.n);
	if (with_order)
		put_order(sql, source);
	appendStringInfo(sql, " FROM %s AS t", dbp_relation_name(source->rel));
}

/*
 * keep ends the building of a query and keeps its text as long as the source.
 */
static char *
keep(WalkSource *source, StringInfo sql)
{
	return MemoryContextStrdup(source->cxt, sql->data);
}

static const char *
query_all(WalkSource *source)
{
	StringInfoData sql;

	if (source->sql_all == NULL)
	{
		put_rows(&sql, source, true);
		source->sql_all = keep(source, &sql);
	}
	return source->sql_all;
}

static const char *
query_children(WalkSource *source)
{
	StringInfoData sql;
	int			n = source->type.n;
	HierColumns given = HIER_NUMBERED(NULL, "c");

	if (source->sql_children == NULL)
	{
		initStringInfo(&sql);
		appendStringInfoString(&sql, "SELECT u.node");
		put_columns(&sql, source, source->key, n);
		put_order(&sql, source);
		appendStringInfoString(&sql, " FROM ROWS FROM (pg_catalog.unnest($1)");
		for (int i = 0; i < n; i++)
			appendStringInfo(&sql, ", pg_catalog.unnest($%d)", i + 2);
		appendStringInfoString(&sql, ") AS u (node, ");
		dbp_sql_put_columns(&sql, given, 0, n);
		appendStringInfo(&sql, ") JOIN %s AS t ON ", dbp_relation_name(source->rel));
		given.alias = "u";
		dbp_sql_put_match(&sql, &source->type, columns(source, source->parent, n), given);
		appendStringInfoString(&sql, " ORDER BY u.node");
		source->sql_children = keep(source, &sql);
	}
	return source->sql_children;
}

static const char *
query_node(WalkSource *source)
{
	StringInfoData sql;

	if (source->sql_node == NULL)
	{
		put_rows(&sql, source, false);
		appendStringInfoString(&sql, " WHERE ");
		dbp_sql_put_match(&sql, &source->type, columns(source, source->key, source->type.n),
						  HIER_NUMBERED(NULL, "$"));
		source->sql_node = keep(source, &sql);
	}
	return source->sql_node;
}

/* ---- running them ---- */

void
dbp_walk_sql_all(WalkSource *source, WalkRow row, void *arg)
{
	Receiver	receiver = {.source = source,.with_parent = true,
		.with_order = source->order != 0,.row = row,.arg = arg
	};

	run(&receiver, query_all(source), NULL, NULL);
}

void
dbp_walk_sql_children(WalkSource *source, WalkProbe *probes, uint32 n, WalkRow row, void *arg)
{
	Receiver	receiver = {.source = source,.with_node = true,
		.with_order = source->order != 0,.row = row,.arg = arg
	};
	MemoryContext oldcxt = MemoryContextSwitchTo(source->scratch);
	ParamListInfo params = makeParamList(source->type.n + 1);
	Datum	   *values = MemoryContextAllocHuge(source->scratch, sizeof(Datum) * n);

	for (uint32 p = 0; p < n; p++)
		values[p] = Int64GetDatum(probes[p].node);
	set_param(params, 0, INT8ARRAYOID,
			  PointerGetDatum(construct_array(values, n, INT8OID, 8, FLOAT8PASSBYVAL,
											  TYPALIGN_DOUBLE)));
	for (int i = 0; i < source->type.n; i++)
	{
		HierColumn *column = &source->type.col[i];
		int16		typlen;
		bool		typbyval;
		char		typalign;

		for (uint32 p = 0; p < n; p++)
			values[p] = walk_values(&source->type, &probes[p].key)[i];
		get_typlenbyvalalign(column->type, &typlen, &typbyval, &typalign);
		set_param(params, i + 1, get_array_type(column->type),
				  PointerGetDatum(construct_array(values, n, column->type, typlen, typbyval,
												  typalign)));
	}
	run(&receiver, query_children(source), NULL, params);
	MemoryContextSwitchTo(oldcxt);
	MemoryContextReset(source->scratch);
}

/* One row, kept for the next query. */
typedef struct FoundNode
{
	WalkSource *source;
	MemoryContext cxt;
	bool		found;
	WalkKey		key;
	bool		has_parent;
	WalkKey		parent;
} FoundNode;

static void
keep_node(void *arg, uint32 unused, const Datum *key, const Datum *parent,
		  Datum order, bool order_isnull)
{
	FoundNode  *node = arg;
	MemoryContext oldcxt = MemoryContextSwitchTo(node->cxt);

	node->found = true;
	node->key = walk_key(&node->source->type, key);
	node->has_parent = parent != NULL;
	if (node->has_parent)
		node->parent = walk_key(&node->source->type, parent);
	MemoryContextSwitchTo(oldcxt);
}

bool
dbp_walk_sql_climb(WalkSource *source, WalkKey from, WalkStep step, void *arg)
{
	FoundNode	node = {.source = source};
	Receiver	receiver = {.source = source,.with_parent = true,.row = keep_node,.arg = &node};
	HierKeyType *type = &source->type;
	ParamListInfo params = makeParamList(type->n);
	WalkKey		next = from;
	bool		more;
	Oid			types[HIER_MAX_KEY];
	SPIPlanPtr	plan;
	MemoryContext oldcxt = CurrentMemoryContext;

	/* Two contexts in turn: the key looked for, and the row found. */
	MemoryContext cxt[2];
	int			turn = 0;

	for (int i = 0; i < type->n; i++)
		types[i] = type->col[i].type;
	for (int i = 0; i < 2; i++)
		cxt[i] = AllocSetContextCreate(source->scratch, "dbpatterns walk node",
									   ALLOCSET_SMALL_SIZES);
	plan = dbp_sql_prepare(query_node(source), type->n, types, 0);
	MemoryContextSwitchTo(oldcxt);
	do
	{
		for (int i = 0; i < type->n; i++)
			set_param(params, i, type->col[i].type, walk_values(type, &next)[i]);
		node.cxt = cxt[turn];
		turn = 1 - turn;
		MemoryContextReset(node.cxt);
		node.found = false;
		run(&receiver, query_node(source), plan, params);
		more = node.found &&
			step(arg, walk_values(type, &node.key),
				 node.has_parent ? walk_values(type, &node.parent) : NULL) && node.has_parent;
		next = node.parent;
	} while (more);
	SPI_freeplan(plan);
	MemoryContextSwitchTo(oldcxt);
	for (int i = 0; i < 2; i++)
		MemoryContextDelete(cxt[i]);
	return node.found;
}
