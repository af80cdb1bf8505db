/*-------------------------------------------------------------------------
 *
 * portion_table.c
 *	  What editing portions needs to know of a table, its plans, and reading
 *	  portions.
 *
 * Where a row is cut, the part that goes on as that row keeps all its columns;
 * a leftover is a new row, and copies them.  Columns that number rows cannot be
 * copied: identity columns, those with a default from a sequence, and those of a
 * unique index, without the period, that have a volatile default.  In a leftover
 * they get what an INSERT gives them, unless they are part of the key.
 *
 * Plans are kept with what is known of the table and end with it.
 *
 * Copyright (c) 2026, dbpatterns contributors
 *
 * src/period/portion_table.c
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "access/genam.h"
#include "catalog/pg_class.h"
#include "catalog/pg_type.h"
#include "compat/compat.h"
#include "core/names.h"
#include "nodes/nodeFuncs.h"
#include "optimizer/optimizer.h"
#include "period/portion.h"
#include "rewrite/rewriteHandler.h"
#include "utils/builtins.h"
#include "utils/date.h"
#include "utils/fmgroids.h"
#include "utils/guc.h"
#include "utils/lsyscache.h"
#include "utils/memutils.h"
#include "utils/plancache.h"
#include "utils/rangetypes.h"
#include "utils/resowner.h"
#include "utils/timestamp.h"
#include "utils/typcache.h"

/* Texts that differ by which columns a call names; more are planned each time. */
#define PLANS_MAX	24

static DbpRelStateCache *cache = NULL;

/* ---- the table ------------------------------------------------------------- */

static char *
type_name(Oid type)
{
	return format_type_extended(type, -1, FORMAT_TYPE_FORCE_QUALIFY);
}

/*
 * constructor_name returns the name of the function that makes ranges of a type: the
 * server gave it name and schema of the type, which format_type may spell otherwise.
 */
static char *
constructor_name(Oid type)
{
	char	   *name = type_name(type);

	/* Types of the server come without their schema. */
	return strchr(name, '.') != NULL ? name : psprintf("pg_catalog.%s", name);
}

static char *
equality_operator(Relation rel, AttrNumber attno)
{
	Form_pg_attribute att = TupleDescAttr(RelationGetDescr(rel), attno - 1);
	TypeCacheEntry *type = lookup_type_cache(att->atttypid, TYPECACHE_EQ_OPR);
	char	   *name = OidIsValid(type->eq_opr) ? get_opname(type->eq_opr) : NULL;
	Oid			nsp;

	if (name == NULL)
		ereport(ERROR,
				(errcode(ERRCODE_UNDEFINED_FUNCTION),
				 errmsg("column \"%s\" of table %s has a type without equality",
						NameStr(att->attname), dbp_relation_name(rel)),
				 errhint("Choose other columns for the key of the period.")));
	nsp = get_func_namespace(get_opcode(type->eq_opr));
	return psprintf("OPERATOR(%s.%s)", quote_identifier(get_namespace_name(nsp)), name);
}

static bool
calls_nextval(Node *node, void *context)
{
	if (node == NULL)
		return false;
	if (IsA(node, NextValueExpr) ||
		(IsA(node, FuncExpr) && ((FuncExpr *) node)->funcid == F_NEXTVAL))
		return true;
	return expression_tree_walker(node, calls_nextval, context);
}

/*
 * mark_unique marks the columns of unique indexes: with the period, and without.
 */
static void
mark_unique(PortionTable *table, Relation rel, bool *with, bool *without)
{
	List	   *indexes = RelationGetIndexList(rel);
	ListCell   *lc;

	foreach(lc, indexes)
	{
		Relation	index = index_open(lfirst_oid(lc), AccessShareLock);
		Form_pg_index form = index->rd_index;
		bool		has_period = form->indisexclusion;

		for (int i = 0; i < form->indnkeyatts; i++)
		{
			AttrNumber	attno = form->indkey.values[i];

			has_period |= attno > 0 && (attno == table->period || attno == table->from ||
										attno == table->upto);
		}
		for (int i = 0; i < form->indnkeyatts; i++)
		{
			AttrNumber	attno = form->indkey.values[i];

			if ((form->indisunique || form->indisexclusion) && attno > 0)
				(has_period ? with : without)[attno - 1] = true;
		}
		index_close(index, AccessShareLock);
	}
	list_free(indexes);
}

static void
mark_fresh(PortionTable *table, Relation rel)
{
	TupleDesc	desc = RelationGetDescr(rel);
	bool	   *with = palloc0(sizeof(bool) * desc->natts);
	bool	   *without = palloc0(sizeof(bool) * desc->natts);

	table->fresh = palloc0(sizeof(bool) * desc->natts);
	mark_unique(table, rel, with, without);
	for (int i = 0; i < desc->natts; i++)
	{
		Form_pg_attribute att = TupleDescAttr(desc, i);
		Node	   *expr;

		if (att->attisdropped || att->attgenerated != '\0' ||
			(!att->atthasdef && att->attidentity == '\0'))
			continue;
		expr = build_column_default(rel, i + 1);
		table->fresh[i] = expr != NULL &&
			((without[i] && (IsA(expr, NextValueExpr) || contain_volatile_functions(expr))) ||
			 (!with[i] && calls_nextval(expr, NULL)));
	}
	for (int i = 0; i < table->nkey; i++)
		table->fresh[table->key[i] - 1] = false;
	for (int i = 0; i < desc->natts; i++)
		table->has_fresh |= table->fresh[i];
}

/*
 * is_endless tells whether a column of the period has infinity where there is no bound.
 */
static bool
is_endless(PortionTable *table, AttrNumber attno)
{
	return attno > 0 && TupleDescAttr(table->desc, attno - 1)->attnotnull &&
		(table->subtype == DATEOID || table->subtype == TIMESTAMPTZOID);
}

static void
free_plans(void *arg)
{
	PortionTable *table = arg;

	for (PortionPlan *plan = table->plans; plan != NULL; plan = plan->next)
		SPI_freeplan(plan->plan);
}

static void
build_table(DbpRelState *head, Relation rel, void *arg)
{
	PortionTable *table = (PortionTable *) head;
	MemoryContextCallback *callback = palloc0(sizeof(*callback));
	DbpPeriod  *period = dbp_period_get(rel);

	callback->func = free_plans;
	callback->arg = table;
	MemoryContextRegisterResetCallback(head->cxt, callback);

	table->name = dbp_relation_name(rel);
	table->partitioned = rel->rd_rel->relkind == RELKIND_PARTITIONED_TABLE;
	table->desc = CreateTupleDescCopyConstr(RelationGetDescr(rel));
	table->columns = palloc(sizeof(char *) * table->desc->natts);
	for (int i = 0; i < table->desc->natts; i++)
		table->columns[i] = pstrdup(quote_identifier(NameStr(TupleDescAttr(table->desc,
																		   i)->attname)));
	dbp_period_parse(dbp_period_print(&period->options), &table->options);
	table->nkey = period->nkeys;
	table->key = palloc(sizeof(AttrNumber) * period->nkeys);
	memcpy(table->key, period->keys, sizeof(AttrNumber) * period->nkeys);
	table->equal = palloc(sizeof(char *) * period->nkeys);
	for (int i = 0; i < period->nkeys; i++)
		table->equal[i] = equality_operator(rel, table->key[i]);
	table->period = period->range;
	table->from = period->from;
	table->upto = period->upto;
	table->range = period->rangetype;
	table->subtype = period->subtype;
	table->from_endless = is_endless(table, period->from);
	table->upto_endless = is_endless(table, period->upto);
	table->multirange = get_range_multirange(table->range);
	table->range_name = constructor_name(table->range);
	table->multirange_name = constructor_name(table->multirange);
	table->constraint = table->options.constraint;
	table->codec = dbp_codec_create(RelationGetDescr(rel), NULL, NULL, head->cxt);
	mark_fresh(table, rel);
}

/*
 * dbp_portion_table returns what is known of a table, or raises 55000.
 */
PortionTable *
dbp_portion_table(Relation rel)
{
	if (cache == NULL)
		cache = dbp_relstate_cache("dbpatterns tables with portions", sizeof(PortionTable),
								   build_table);
	return (PortionTable *) dbp_relstate_get(cache, rel, InvalidOid, NULL);
}

/* ---- plans ----------------------------------------------------------------- */

/*
 * plan_directly plans a statement that finds its rows by key or ctid.  Left alone, the
 * planner reads all of a table that is empty now, and would go on to do so while calls
 * fill it.
 */
static void
plan_directly(SPIPlanPtr plan)
{
	int			nestlevel = NewGUCNestLevel();
	CachedPlan *cached;

	(void) set_config_option("enable_seqscan", "off", PGC_USERSET, PGC_S_SESSION,
							 GUC_ACTION_SAVE, true, 0, false);
	cached = SPI_plan_get_cached_plan(plan);
	AtEOXact_GUC(false, nestlevel);
	if (cached != NULL)
		ReleaseCachedPlan(cached, CurrentResourceOwner);
}

static SPIPlanPtr
get_plan(PortionTable *table, const char *sql, int n, const DbpParam *params,
		 PortionPlanning planning)
{
	PortionPlan *kept;
	Oid		   *types;
	SPIPlanPtr	plan;

	for (kept = table->plans; kept != NULL; kept = kept->next)
	{
		if (strcmp(kept->sql, sql) == 0)
			return kept->plan;
	}
	types = palloc(sizeof(Oid) * Max(n, 1));
	for (int i = 0; i < n; i++)
		types[i] = params[i].type;
	plan = dbp_sql_prepare(sql, n, types, planning == PORTION_FREE ? 0 : CURSOR_OPT_GENERIC_PLAN);
	if (table->nplans < PLANS_MAX)
	{
		kept = MemoryContextAlloc(table->head.cxt, sizeof(*kept));
		kept->sql = MemoryContextStrdup(table->head.cxt, sql);
		SPI_keepplan(plan);
		if (planning != PORTION_FREE)
			plan_directly(plan);
		kept->plan = plan;
		kept->next = table->plans;
		table->plans = kept;
		table->nplans++;
	}
	return plan;
}

/*
 * dbp_portion_query runs a query by a kept plan and returns the number of rows, in
 * SPI_tuptable.  The caller is connected to SPI.
 */
uint64
dbp_portion_query(PortionTable *table, const char *sql, int n, const DbpParam *params,
				  PortionPlanning planning)
{
	SPIPlanPtr	plan = get_plan(table, sql, n, params, planning);
	Datum	   *values = palloc(sizeof(Datum) * Max(n, 1));
	char	   *nulls = palloc(Max(n, 1));
	int			rc;

	for (int i = 0; i < n; i++)
	{
		values[i] = params[i].value;
		nulls[i] = params[i].isnull ? 'n' : ' ';
	}
	rc = SPI_execute_plan(plan, values, nulls, planning == PORTION_READ, 0);
	if (rc < 0)
		elog(ERROR, "SPI failed for \"%s\": %s", sql, SPI_result_code_string(rc));
	pfree(values);
	pfree(nulls);
	return SPI_processed;
}

/* ---- portions -------------------------------------------------------------- */

/*
 * normalize_bound brings a bound into the form that periods have: [a,b), and none at
 * infinity, so that nothing is left beyond it.
 */
static void
normalize_bound(PortionTable *table, RangeBound *bound)
{
	bool		date = table->subtype == DATEOID;

	if (bound->infinite || (!date && table->subtype != TIMESTAMPTZOID))
		return;
	if (date ? DATE_NOT_FINITE(DatumGetDateADT(bound->val)) :
		TIMESTAMP_NOT_FINITE(DatumGetTimestampTz(bound->val)))
	{
		bound->infinite = true;
		bound->inclusive = false;
		bound->val = (Datum) 0;
	}
	else if (!date && bound->inclusive != bound->lower)
	{
		/* The next microsecond. */
		bound->val = TimestampTzGetDatum(DatumGetTimestampTz(bound->val) + 1);
		bound->inclusive = bound->lower;
	}
}

static Datum
make_portion(PortionTable *table, RangeBound *lower, RangeBound *upper)
{
	TypeCacheEntry *type = lookup_type_cache(table->range, TYPECACHE_RANGE_INFO);
	RangeType  *range;

	normalize_bound(table, lower);
	normalize_bound(table, upper);
	if ((!lower->infinite && !lower->inclusive) || upper->inclusive)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("the portion does not include its beginning or does not exclude its end"),
				 errhint("Write it as [a,b), as the period of table %s is.", table->name)));
	range = make_range(type, lower, upper, false, NULL);
	if (RangeIsEmpty(range))
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("the portion is empty"),
				 errhint("Let it end after it begins.")));
	return RangeTypePGetDatum(range);
}

/*
 * dbp_portion_read makes a portion of text, or of a range of the table's type; it is
 * brought into the form of periods.  It raises 42804 for another type, 22023 for an empty
 * portion or one of another form, and what reading the text raises.
 */
Datum
dbp_portion_read(PortionTable *table, Datum value, Oid type)
{
	TypeCacheEntry *cached = lookup_type_cache(table->range, TYPECACHE_RANGE_INFO);
	RangeBound	lower;
	RangeBound	upper;
	bool		empty;

	if (type == TEXTOID)
	{
		Oid			input;
		Oid			ioparam;

		getTypeInputInfo(table->range, &input, &ioparam);
		value = OidInputFunctionCall(input, TextDatumGetCString(value), ioparam, -1);
	}
	else if (getBaseType(type) != table->range)
		ereport(ERROR,
				(errcode(ERRCODE_DATATYPE_MISMATCH),
				 errmsg("the portion is a %s, the period of table %s a %s", format_type_be(type),
						table->name, format_type_be(table->range)),
				 errhint("Give a %s, or text that reads as one.", format_type_be(table->range))));
	range_deserialize(cached, DatumGetRangeTypeP(value), &lower, &upper, &empty);
	if (empty)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("the portion is empty"),
				 errhint("Let it end after it begins.")));
	return make_portion(table, &lower, &upper);
}

/*
 * dbp_portion_make makes a portion [from, upto) of values of the table's subtype.
 */
Datum
dbp_portion_make(PortionTable *table, Datum from, bool from_open, Datum upto, bool upto_open)
{
	TypeCacheEntry *type = lookup_type_cache(table->range, TYPECACHE_RANGE_INFO);
	RangeBound	lower = {from, from_open, !from_open, true};
	RangeBound	upper = {upto, upto_open, false, false};

	if (!from_open && !upto_open && range_cmp_bound_values(type, &lower, &upper) > 0)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("the portion ends before it begins"),
				 errhint("Let it end after it begins.")));
	return make_portion(table, &lower, &upper);
}

/*
 * dbp_portion_overlaps tells whether two ranges of the table's type overlap.
 */
bool
dbp_portion_overlaps(PortionTable *table, Datum a, Datum b)
{
	return range_overlaps_internal(lookup_type_cache(table->range, TYPECACHE_RANGE_INFO),
								   DatumGetRangeTypeP(a), DatumGetRangeTypeP(b));
}

/*
 * dbp_portion_common returns what two of them that overlap have in common.
 */
Datum
dbp_portion_common(PortionTable *table, Datum a, Datum b)
{
	return RangeTypePGetDatum(range_intersect_internal(lookup_type_cache(table->range,
																		 TYPECACHE_RANGE_INFO),
													   DatumGetRangeTypeP(a),
													   DatumGetRangeTypeP(b)));
}
