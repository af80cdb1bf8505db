/*-------------------------------------------------------------------------
 *
 * check_ways.c
 *	  Other ways to the rows of isolated tables.
 *
 * Copyright (c) 2026, dbpatterns contributors
 *
 * src/tenant/check_ways.c
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "tenant/check.h"

/* Whether a role sees the rows of all tenants: policies do not apply to it. */
#define BYPASSES(role) \
	"EXISTS (SELECT FROM pg_roles b WHERE b.oid = " role " AND (b.rolsuper OR b.rolbypassrls))"

/* Views, and views of views, over the tables; m: whether one is materialized. */
#define VIEWS \
	"WITH RECURSIVE v (oid) AS (" \
	" SELECT r.ev_class FROM pg_depend d JOIN pg_rewrite r ON r.oid = d.objid" \
	"  WHERE d.classid = 'pg_rewrite'::regclass AND d.refclassid = 'pg_class'::regclass" \
	"  AND d.refobjid = ANY ($1) AND r.ev_class <> d.refobjid" \
	" UNION SELECT r.ev_class FROM v JOIN pg_depend d ON d.refobjid = v.oid" \
	"  AND d.classid = 'pg_rewrite'::regclass AND d.refclassid = 'pg_class'::regclass" \
	"  JOIN pg_rewrite r ON r.oid = d.objid WHERE r.ev_class <> d.refobjid) "

/* Getters, as they are written in bodies of functions. */
#define GETTERS "'(current_tenant|require_tenant|current_user_id|current_claim|current_setting)'"

static const char *const views[] = {
	VIEWS
	"SELECT CASE WHEN " BYPASSES("c.relowner") " THEN 'error' ELSE 'warning' END, c.oid::regclass,"
	" 'the view reads isolated tables with the rights of its owner',"
	" format('ALTER VIEW %s SET (security_invoker = true);', c.oid::regclass)"
	" FROM v JOIN pg_class c ON c.oid = v.oid WHERE c.relkind = 'v'"
	" AND NOT coalesce((SELECT o.option_value::boolean FROM pg_options_to_table(c.reloptions) o"
	"  WHERE o.option_name = 'security_invoker'), false) ORDER BY 2",

	VIEWS
	"SELECT 'error', c.oid::regclass, 'the materialized view holds rows of all tenants, and others may read it',"
	" format('REVOKE ALL ON %s FROM %s;', c.oid::regclass, string_agg(DISTINCT CASE WHEN a.grantee = 0 THEN 'PUBLIC'"
	"  ELSE quote_ident(pg_get_userbyid(a.grantee)) END, ', '))"
	" FROM v JOIN pg_class c ON c.oid = v.oid, aclexplode(c.relacl) a WHERE c.relkind = 'm'"
	" AND a.grantee <> c.relowner GROUP BY c.oid ORDER BY 2"
};

static const char *const functions[] = {
	"SELECT 'error', p.oid::regprocedure, 'applications may call a function that runs as a role without policies',"
	" format('ALTER ROUTINE %s SECURITY INVOKER;', p.oid::regprocedure)"
	" FROM pg_proc p WHERE p.prosecdef AND " BYPASSES("p.proowner")
	" AND p.pronamespace <> ALL ('{pg_catalog,information_schema}'::regnamespace[]) AND cardinality($1) > 0"
	" AND NOT EXISTS (SELECT FROM pg_depend d WHERE d.classid = 'pg_proc'::regclass AND d.objid = p.oid AND d.deptype = 'e')"
	" AND (EXISTS (SELECT FROM unnest($6) r (oid) WHERE has_function_privilege(r.oid, p.oid, 'EXECUTE'))"
	"  OR p.proacl IS NULL) ORDER BY 2",

	"SELECT 'error', p.oid::regprocedure, 'plans keep the tenant that an IMMUTABLE function returned',"
	" format('ALTER FUNCTION %s STABLE;', p.oid::regprocedure)"
	" FROM pg_proc p JOIN pg_language l ON l.oid = p.prolang WHERE p.provolatile = 'i' AND l.lanname <> ALL ('{c,internal}')"
	" AND (p.prosrc ~ " GETTERS " OR pg_get_function_sqlbody(p.oid) ~ " GETTERS ")"
	" AND p.pronamespace <> ALL ('{pg_catalog,information_schema}'::regnamespace[]) AND cardinality($1) > 0 ORDER BY 2"
};

static const char *const policies[] = {
	"SELECT 'warning', format('%s on %s', quote_ident(p.polname), p.polrelid::regclass),"
	" 'the policy lets every row pass',"
	" format('DROP POLICY %I ON %s;', p.polname, p.polrelid::regclass)"
	" FROM pg_policy p WHERE p.polrelid = ANY ($1) AND p.polpermissive AND p.polname !~ '^dbpatterns_tenant'"
	" AND pg_get_expr(p.polqual, p.polrelid) = 'true' ORDER BY 2",

	"SELECT 'warning', format('%s on %s', quote_ident(p.polname), p.polrelid::regclass),"
	" 'OR and CASE in a policy keep indexes from being used, and hide what it lets pass',"
	" format('DROP POLICY %I ON %s; -- and write it as policies of one condition each', p.polname, p.polrelid::regclass)"
	" FROM pg_policy p WHERE p.polrelid = ANY ($1) AND p.polname !~ '^dbpatterns_tenant'"
	" AND concat(pg_get_expr(p.polqual, p.polrelid), pg_get_expr(p.polwithcheck, p.polrelid))"
	"  ~ '\\m(OR|CASE|IS NULL|IS NOT DISTINCT)\\M' ORDER BY 2"
};

static const char *const tables[] = {
	"SELECT 'error', c.oid::regclass, 'the table is in a schema of tenants, and neither isolated nor exempt',"
	" CASE WHEN EXISTS (SELECT FROM pg_attribute a WHERE a.attrelid = c.oid AND NOT a.attisdropped"
	"   AND a.attname = coalesce($2[1], 'tenant_id'))"
	"  THEN format('SELECT * FROM dbpatterns.tenant_enable(%L, %L);', c.oid::regclass, coalesce($2[1], 'tenant_id'))"
	"  ELSE format('SELECT dbpatterns.tenant_exempt(%L, ''tenants share it'');', c.oid::regclass) END"
	" FROM pg_class c WHERE c.relnamespace = ANY ($5) AND c.relkind = ANY ('{r,p}') AND NOT c.relispartition"
	" AND c.oid <> ALL ($4) AND c.oid NOT IN (SELECT unnest($1))"
	" AND NOT EXISTS (SELECT FROM pg_depend d WHERE d.classid = 'pg_class'::regclass AND d.objid = c.oid AND d.deptype = 'e')"
	" ORDER BY 2",

	"SELECT 'error', c.oid::regclass, 'no policy protects a foreign table, and others may read it',"
	" format('REVOKE ALL ON %s FROM %s;', c.oid::regclass, string_agg(DISTINCT CASE WHEN a.grantee = 0 THEN 'PUBLIC'"
	"  ELSE quote_ident(pg_get_userbyid(a.grantee)) END, ', '))"
	" FROM pg_class c, aclexplode(c.relacl) a WHERE c.relkind = 'f'"
	" AND (c.relnamespace = ANY ($5) OR c.oid = ANY ($1)) AND c.oid <> ALL ($4)"
	" AND a.grantee <> c.relowner GROUP BY c.oid ORDER BY 2",

	"SELECT 'warning', format('publication %I', p.pubname),"
	" format('rows of all tenants in %s are published', r.prrelid::regclass),"
	" format('ALTER PUBLICATION %I DROP TABLE ONLY %s;', p.pubname, r.prrelid::regclass)"
	" FROM pg_publication_rel r JOIN pg_publication p ON p.oid = r.prpubid"
	" WHERE r.prrelid = ANY ($1) AND r.prqual IS NULL ORDER BY 2, 3",

	"SELECT 'warning', format('publication %I', p.pubname), 'rows of all tenants are published',"
	" format('DROP PUBLICATION %I; -- and publish tables by name, with a row filter', p.pubname)"
	" FROM pg_publication p WHERE cardinality($1) > 0 AND (p.puballtables OR EXISTS (SELECT FROM pg_publication_namespace n"
	"  WHERE n.pnpubid = p.oid AND n.pnnspid = ANY ($5))) ORDER BY 2",

	"SELECT 'info', i.indexrelid::regclass,"
	" 'comparisons of column ' || k.n || ' are not leakproof: queries of applications use the index only up to there',"
	" format('-- compare another column, or one that is GENERATED ALWAYS AS (lower(...)) STORED, and index that: %s',"
	"  pg_get_indexdef(i.indexrelid))"
	" FROM pg_index i, LATERAL (SELECT min(x.n) AS n FROM generate_series(1, i.indnkeyatts) x (n)"
	"  JOIN pg_opclass c ON c.oid = (i.indclass::oid[])[x.n - 1]"
	"  JOIN pg_amop o ON o.amopfamily = c.opcfamily AND o.amoplefttype = c.opcintype AND o.amoprighttype = c.opcintype"
	"   AND o.amopstrategy = 3"
	"  JOIN pg_operator op ON op.oid = o.amopopr JOIN pg_proc p ON p.oid = op.oprcode"
	"  WHERE NOT p.proleakproof OR (i.indkey::int2[])[x.n - 1] = 0) k"
	" JOIN pg_class x ON TRUE JOIN pg_am m ON m.oid = x.relam"
	" WHERE x.oid = i.indexrelid AND m.amname = 'btree' AND NOT x.relispartition"
	" AND i.indrelid = ANY ($1) AND k.n IS NOT NULL ORDER BY 2"
};

/*
 * dbp_tenant_find_ways finds them.
 */
void
dbp_tenant_find_ways(TenantChecked *checked)
{
	dbp_tenant_find(checked, views, lengthof(views));
	dbp_tenant_find(checked, functions, lengthof(functions));
	dbp_tenant_find(checked, policies, lengthof(policies));
	dbp_tenant_find(checked, tables, lengthof(tables));
}
