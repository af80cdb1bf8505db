/*-------------------------------------------------------------------------
 *
 * policy.c
 *	  What a table needs to be isolated.
 *
 * Two policies: a restrictive one, which every other policy is ANDed with, so that
 * none that is added later can show more; and a permissive one that lets pass,
 * since restrictive ones alone let nothing pass.  Where the table has permissive
 * policies of its own they stay the ones that decide what passes.  It calls a function
 * of ours, which the planner replaces by true, so that it goes when the extension
 * does: then nothing passes.
 *
 * What is there already is not made again.  Policies are compared as the server
 * stores them, not as text.
 *
 * Copyright (c) 2026, dbpatterns contributors
 *
 * src/tenant/policy.c
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "access/genam.h"
#include "access/htup_details.h"
#include "access/table.h"
#include "catalog/indexing.h"
#include "catalog/pg_am.h"
#include "catalog/pg_class.h"
#include "catalog/pg_index.h"
#include "catalog/pg_policy.h"
#include "catalog/pg_type.h"
#include "core/names.h"
#include "core/sql.h"
#include "nodes/nodeFuncs.h"
#include "parser/parse_clause.h"
#include "parser/parse_collate.h"
#include "parser/parse_node.h"
#include "parser/parse_relation.h"
#include "parser/parser.h"
#include "rewrite/rewriteHandler.h"
#include "tenant/tenant.h"
#include "utils/acl.h"
#include "utils/builtins.h"
#include "utils/fmgroids.h"
#include "utils/rel.h"
#include "utils/ruleutils.h"
#include "utils/syscache.h"

/*
 * cook returns what the server would store of a condition.
 */
static Node *
cook(Relation rel, const char *condition)
{
	List	   *raw = raw_parser(psprintf("SELECT %s", condition), RAW_PARSE_DEFAULT);
	SelectStmt *select = castNode(SelectStmt, linitial_node(RawStmt, raw)->stmt);
	ParseState *pstate = make_parsestate(NULL);
	ParseNamespaceItem *item;
	Node	   *cooked;

	item = addRangeTableEntryForRelation(pstate, rel, AccessShareLock, NULL, false, false);
	addNSItemToQuery(pstate, item, false, true, true);
	cooked = transformWhereClause(pstate, linitial_node(ResTarget, select->targetList)->val,
								  EXPR_KIND_POLICY, "POLICY");
	assign_expr_collations(pstate, cooked);
	free_parsestate(pstate);
	return cooked;
}

static int
compare_roles(const void *a, const void *b)
{
	return memcmp(a, b, sizeof(Oid));
}

static bool
same_roles(Datum stored, List *names)
{
	ArrayType  *array = DatumGetArrayTypeP(stored);
	int			n = ARR_DIMS(array)[0];
	Oid		   *wanted = palloc(sizeof(Oid) * list_length(names));
	Oid		   *given = palloc(sizeof(Oid) * n);
	ListCell   *lc;

	if (n != list_length(names))
		return false;
	foreach(lc, names)
		wanted[foreach_current_index(lc)] = strcmp(lfirst(lc), "public") == 0 ? ACL_ID_PUBLIC :
		get_role_oid(lfirst(lc), false);
	memcpy(given, ARR_DATA_PTR(array), sizeof(Oid) * n);
	qsort(given, n, sizeof(Oid), compare_roles);
	qsort(wanted, n, sizeof(Oid), compare_roles);
	return memcmp(given, wanted, sizeof(Oid) * n) == 0;
}

static bool
same_condition(HeapTuple tuple, AttrNumber attnum, TupleDesc desc, Node *wanted)
{
	bool		isnull;
	Datum		stored = heap_getattr(tuple, attnum, desc, &isnull);

	return !isnull && equal(stringToNode(TextDatumGetCString(stored)), wanted);
}

/*
 * is_policy tells whether a stored policy is the one that is wanted.
 */
static bool
is_policy(HeapTuple tuple, TupleDesc desc, Relation rel, const TenantPolicy *policy)
{
	Form_pg_policy form = (Form_pg_policy) GETSTRUCT(tuple);
	Node	   *wanted = cook(rel, policy->condition);
	bool		isnull;

	return form->polcmd == '*' && form->polpermissive == policy->permissive &&
		same_roles(heap_getattr(tuple, Anum_pg_policy_polroles, desc, &isnull), policy->roles) &&
		same_condition(tuple, Anum_pg_policy_polqual, desc, wanted) &&
		same_condition(tuple, Anum_pg_policy_polwithcheck, desc, wanted);
}

static bool
is_name_of_ours(const char *name)
{
	static const char *const names[] = {"dbpatterns_tenant", "dbpatterns_tenant_admin",
	"dbpatterns_tenant_rows", "dbpatterns_tenant_schema", "dbpatterns_tenant_user"};

	for (int i = 0; i < lengthof(names); i++)
	{
		if (strcmp(name, names[i]) == 0)
			return true;
	}
	return false;
}

/* What a look at the policies of a table finds. */
typedef struct Found
{
	bool		present;		/* there is a policy of that name */
	bool		right;			/* it is the one that is wanted */
	bool		others;			/* permissive policies of the user's */
} Found;

static Found
look_at_policies(Relation rel, const TenantPolicy *policy)
{
	Relation	catalog = table_open(PolicyRelationId, AccessShareLock);
	ScanKeyData key;
	SysScanDesc scan;
	HeapTuple	tuple;
	Found		found = {0};

	ScanKeyInit(&key, Anum_pg_policy_polrelid, BTEqualStrategyNumber, F_OIDEQ,
				ObjectIdGetDatum(RelationGetRelid(rel)));
	scan = systable_beginscan(catalog, PolicyPolrelidPolnameIndexId, true, NULL, 1, &key);
	while (HeapTupleIsValid(tuple = systable_getnext(scan)))
	{
		Form_pg_policy form = (Form_pg_policy) GETSTRUCT(tuple);

		if (strcmp(NameStr(form->polname), policy->name) == 0)
		{
			found.present = true;
			found.right = is_policy(tuple, RelationGetDescr(catalog), rel, policy);
		}
		else if (form->polpermissive && !is_name_of_ours(NameStr(form->polname)))
			found.others = true;
	}
	systable_endscan(scan);
	table_close(catalog, AccessShareLock);
	return found;
}

static char *
role_list(List *roles)
{
	StringInfoData out;
	ListCell   *lc;

	initStringInfo(&out);
	foreach(lc, roles)
		appendStringInfo(&out, "%s%s", out.len > 0 ? ", " : "",
						 strcmp(lfirst(lc), "public") == 0 ? "PUBLIC" : quote_identifier(lfirst(lc)));
	return out.data;
}

/*
 * dbp_tenant_make_policy sees to it that a policy is there and right; with condition
 * NULL, that it is not there.
 */
void
dbp_tenant_make_policy(TenantScript *script, Relation rel, const TenantPolicy *policy)
{
	char	   *table = dbp_relation_name(rel);
	TenantPolicy nothing = {policy->name, false, list_make1("public"), "true"};
	Found		found = look_at_policies(rel, policy->condition != NULL ? policy : &nothing);

	if (policy->condition != NULL && found.right)
		return;
	if (found.present)
		dbp_tenant_add(script, "DROP POLICY %s ON %s", policy->name, table);
	if (policy->condition != NULL)
		dbp_tenant_add(script, "CREATE POLICY %s ON %s AS %s FOR ALL TO %s USING (%s) WITH CHECK (%s)",
					   policy->name, table, policy->permissive ? "PERMISSIVE" : "RESTRICTIVE",
					   role_list(policy->roles), policy->condition, policy->condition);
}

/*
 * dbp_tenant_let_pass sees to it that rows pass which no policy keeps back, unless the
 * table has permissive policies of its own.
 */
void
dbp_tenant_let_pass(TenantScript *script, Relation rel, List *roles)
{
	TenantPolicy rows = {"dbpatterns_tenant_rows", true, roles, "dbpatterns.tenant_lets_pass()"};

	if (look_at_policies(rel, &rows).others)
		rows.condition = NULL;
	dbp_tenant_make_policy(script, rel, &rows);
}

static void
make_policies(TenantScript *script, const TenantSpec *spec, Relation rel)
{
	TenantPolicy tenant = {"dbpatterns_tenant", false, spec->roles, dbp_tenant_equality(spec)};
	TenantPolicy user = {"dbpatterns_tenant_user", false, spec->roles, NULL};
	TenantPolicy admin = {"dbpatterns_tenant_admin", true, NIL, NULL};

	if (spec->user_column != NULL)
		user.condition = dbp_tenant_user_equality(spec);
	if (spec->admin != NULL)
	{
		admin.roles = list_make1(spec->admin);
		admin.condition = "(SELECT dbpatterns.tenant_is_admin())";
	}
	dbp_tenant_make_policy(script, rel, &tenant);
	dbp_tenant_make_policy(script, rel, &user);
	dbp_tenant_let_pass(script, rel, spec->roles);
	dbp_tenant_make_policy(script, rel, &admin);
}

/*
 * leads tells whether an index begins with a column, or may if it is unique.  It asks the
 * catalog caches: to open indexes would take most of the time of tenant_check.
 */
static bool
leads(Oid indexid, AttrNumber attnum, bool or_unique)
{
	HeapTuple	index = SearchSysCache1(INDEXRELID, ObjectIdGetDatum(indexid));
	HeapTuple	class = SearchSysCache1(RELOID, ObjectIdGetDatum(indexid));
	Form_pg_index form = (Form_pg_index) GETSTRUCT(index);
	bool		result;

	result = form->indisvalid &&
		(form->indkey.values[0] == attnum || (or_unique && form->indisunique)) &&
		((Form_pg_class) GETSTRUCT(class))->relam == BTREE_AM_OID &&
		heap_attisnull(index, Anum_pg_index_indpred, NULL);
	ReleaseSysCache(class);
	ReleaseSysCache(index);
	return result;
}

/*
 * has_leading_index tells whether an index begins with a column or, where keys are
 * about to be turned over, will.
 */
static bool
has_leading_index(Relation rel, AttrNumber attnum, bool fix_keys)
{
	List	   *indexes = RelationGetIndexList(rel);
	bool		found = false;
	ListCell   *lc;

	foreach(lc, indexes)
		found |= leads(lfirst_oid(lc), attnum, fix_keys);
	list_free(indexes);
	return found;
}

/*
 * fill_column sees to it that the tenant's column is never NULL, and filled from
 * the context where a statement does not name it.  Commands reach what is below a
 * table by themselves.
 */
static void
fill_column(TenantScript *script, const TenantSpec *spec, Relation rel)
{
	AttrNumber	attnum = dbp_column_number(rel, spec->column);
	Form_pg_attribute att = TupleDescAttr(RelationGetDescr(rel), attnum - 1);
	char	   *table = dbp_relation_name(rel);
	const char *column = quote_identifier(spec->column);

	if (!att->attnotnull)
		dbp_tenant_add(script, "ALTER TABLE %s ALTER COLUMN %s SET NOT NULL", table, column);
	if (!att->atthasdef)
		dbp_tenant_add(script, "ALTER TABLE %s ALTER COLUMN %s SET DEFAULT %s", table, column,
					   dbp_tenant_getter(spec));
}

/*
 * dbp_tenant_protect gives one table what it needs.  is_root: nothing above it
 * hands things down.  Caller: holds ACCESS EXCLUSIVE on it.
 */
void
dbp_tenant_protect(TenantScript *script, const TenantSpec *spec, Oid relid, bool is_root)
{
	Relation	rel = table_open(relid, NoLock);
	char	   *table = dbp_relation_name(rel);

	if (rel->rd_rel->relkind == RELKIND_FOREIGN_TABLE)
		ereport(ERROR,
				(errcode(ERRCODE_WRONG_OBJECT_TYPE),
				 errmsg("%s is a foreign table, which no policy protects", table),
				 errhint("Detach it, or isolate the table on the server that holds it.")));
	if (is_root)
		fill_column(script, spec, rel);
	make_policies(script, spec, rel);
	if (!rel->rd_rel->relrowsecurity)
		dbp_tenant_add(script, "ALTER TABLE %s ENABLE ROW LEVEL SECURITY", table);
	if (!rel->rd_rel->relforcerowsecurity)
		dbp_tenant_add(script, "ALTER TABLE %s FORCE ROW LEVEL SECURITY", table);
	dbp_tenant_revoke(script, spec, rel);
	if (!rel->rd_rel->relispartition &&
		!has_leading_index(rel, dbp_column_number(rel, spec->column), script->fix_keys))
		dbp_tenant_add(script, "CREATE INDEX ON %s (%s)", table, quote_identifier(spec->column));
	table_close(rel, NoLock);
	dbp_tenant_carry_out(script);
}

/*
 * drop_default takes away the default from the context, of a table and what is
 * below it.
 */
static void
drop_default(TenantScript *script, const TenantSpec *spec, Relation rel)
{
	AttrNumber	attnum = dbp_column_number(rel, spec->column);
	Node	   *stored = build_column_default(rel, attnum);

	/* A cast, to varchar for instance, may be around the getter. */
	if (stored != NULL &&
		strcmp(dbp_tenant_getter(spec),
			   deparse_expression(strip_implicit_coercions(stored), NIL, true, false)) == 0)
		dbp_tenant_add(script, "ALTER TABLE %s ALTER COLUMN %s DROP DEFAULT",
					   dbp_relation_name(rel), quote_identifier(spec->column));
}

/*
 * dbp_tenant_unprotect takes from one table what it was given, keys, index and NOT NULL
 * aside.
 */
void
dbp_tenant_unprotect(TenantScript *script, const TenantSpec *spec, Oid relid)
{
	Relation	rel = table_open(relid, NoLock);
	char	   *table = dbp_relation_name(rel);
	TenantPolicy policies[] = {{"dbpatterns_tenant_admin"}, {"dbpatterns_tenant_rows"},
	{"dbpatterns_tenant_user"}, {"dbpatterns_tenant"}};

	for (int i = 0; i < lengthof(policies); i++)
		dbp_tenant_make_policy(script, rel, &policies[i]);
	if (!spec->had_force && rel->rd_rel->relforcerowsecurity)
		dbp_tenant_add(script, "ALTER TABLE %s NO FORCE ROW LEVEL SECURITY", table);
	if (!spec->had_rls && rel->rd_rel->relrowsecurity)
		dbp_tenant_add(script, "ALTER TABLE %s DISABLE ROW LEVEL SECURITY", table);
	drop_default(script, spec, rel);
	table_close(rel, NoLock);
	dbp_tenant_carry_out(script);
}
