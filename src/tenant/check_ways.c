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

/* Views, and views of views, over the tables; and tables whose rules name them. */
#define VIEWS \
	"WITH RECURSIVE v (oid) AS (" \
	" SELECT r.ev_class FROM pg_depend d JOIN pg_rewrite r ON r.oid = d.objid" \
	"  WHERE d.classid = 'pg_rewrite'::regclass AND d.refclassid = 'pg_class'::regclass" \
	"  AND d.refobjid = ANY ($1) AND r.ev_class <> d.refobjid" \
	" UNION SELECT r.ev_class FROM v JOIN pg_depend d ON d.refobjid = v.oid" \
	"  AND d.classid = 'pg_rewrite'::regclass AND d.refclassid = 'pg_class'::regclass" \
	"  JOIN pg_rewrite r ON r.oid = d.objid WHERE r.ev_class <> d.refobjid) "

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
	" " REVOKE_ALL " FROM v JOIN pg_class c ON c.oid = v.oid, " GRANTS
	" WHERE c.relkind = 'm' GROUP BY c.oid ORDER BY 2",

	VIEWS
	"SELECT 'error', c.oid::regclass, 'the materialized view holds rows of all tenants, and an application owns it',"
	" format('ALTER MATERIALIZED VIEW %s OWNER TO CURRENT_USER;', c.oid::regclass)"
	" FROM v JOIN pg_class c ON c.oid = v.oid WHERE c.relkind = 'm' AND c.relowner = ANY ($10)"
	" ORDER BY 2",

	VIEWS
	"SELECT CASE WHEN " BYPASSES("c.relowner") " THEN 'error' ELSE 'warning' END,"
	" format('%s on %s', quote_ident(r.rulename), c.oid::regclass),"
	" 'the rule does something to isolated tables with the rights of its table''s owner',"
	" format('DROP RULE %I ON %s;', r.rulename, c.oid::regclass)"
	" FROM v JOIN pg_class c ON c.oid = v.oid JOIN pg_rewrite r ON r.ev_class = c.oid"
	" WHERE c.relkind = ANY ('{r,p}') AND EXISTS (SELECT FROM pg_depend d"
	"  WHERE d.classid = 'pg_rewrite'::regclass AND d.objid = r.oid AND d.refclassid = 'pg_class'::regclass"
	"  AND (d.refobjid = ANY ($1) OR d.refobjid IN (SELECT w.oid FROM v w)) AND d.refobjid <> c.oid) ORDER BY 2"
};

/* Functions of users. */
#define OF_USERS \
	"p.pronamespace <> ALL ('{pg_catalog,information_schema}'::regnamespace[]) AND cardinality($1) > 0" \
	" AND NOT EXISTS (SELECT FROM pg_depend d WHERE d.classid = 'pg_proc'::regclass AND d.objid = p.oid AND d.deptype = 'e')"

static const char *const functions[] = {
	"SELECT 'error', p.oid::regprocedure, 'applications may call a function that runs as a role without policies',"
	" format('ALTER ROUTINE %s SECURITY INVOKER;', p.oid::regprocedure)"
	" FROM pg_proc p WHERE p.prosecdef AND " BYPASSES("p.proowner") " AND " OF_USERS
	" AND (EXISTS (SELECT FROM unnest($10) r (oid) WHERE has_function_privilege(r.oid, p.oid, 'EXECUTE'))"
	"  OR p.proacl IS NULL) ORDER BY 2",

	/* Those that read the context, or name a function that does. */
	"WITH RECURSIVE body AS (SELECT p.oid, lower(p.proname) AS name, p.provolatile,"
	"  lower(concat(p.prosrc, pg_get_function_sqlbody(p.oid))) AS source"
	"  FROM pg_proc p JOIN pg_language l ON l.oid = p.prolang"
	"  WHERE l.lanname <> ALL ('{c,internal}') AND " OF_USERS "),"
	" reader AS (SELECT b.oid, b.name FROM body b"
	"  WHERE b.source ~ '(current_tenant|require_tenant|current_user_id|current_claim|current_setting)'"
	"  UNION SELECT b.oid, b.name FROM reader r JOIN body b ON position(r.name in b.source) > 0)"
	" SELECT 'error', b.oid::regprocedure, 'plans keep the tenant that an IMMUTABLE function returned',"
	" format('ALTER FUNCTION %s STABLE;', b.oid::regprocedure)"
	" FROM body b WHERE b.provolatile = 'i' AND b.oid IN (SELECT r.oid FROM reader r) ORDER BY 2"
};

/* A condition of a policy, without strings and quoted names. */
#define WORDS(expression) \
	"regexp_replace(pg_get_expr(" expression ", p.polrelid), '''([^'']|'''')*''|\"([^\"]|\"\")*\"', '', 'g')"

static const char *const policies[] = {
	"SELECT 'warning', format('%s on %s', quote_ident(p.polname), p.polrelid::regclass),"
	" 'the policy looks at no column, and lets every row pass or none',"
	" format('DROP POLICY %I ON %s;', p.polname, p.polrelid::regclass)"
	" FROM pg_policy p WHERE p.polrelid = ANY ($1) AND p.polpermissive AND p.polname !~ '^dbpatterns_tenant'"
	" AND NOT EXISTS (SELECT FROM pg_depend d WHERE d.classid = 'pg_policy'::regclass AND d.objid = p.oid"
	"  AND d.refclassid = 'pg_class'::regclass AND d.refobjid = p.polrelid AND d.refobjsubid <> 0) ORDER BY 2",

	"SELECT 'warning', format('%s on %s', quote_ident(p.polname), p.polrelid::regclass),"
	" 'OR and CASE in a policy keep indexes from being used, and hide what it lets pass',"
	" format('DROP POLICY %I ON %s; -- and write it as policies of one condition each', p.polname, p.polrelid::regclass)"
	" FROM pg_policy p WHERE p.polrelid = ANY ($1) AND p.polname !~ '^dbpatterns_tenant'"
	" AND concat(" WORDS("p.polqual") ", " WORDS("p.polwithcheck") ")"
	"  ~ '\\m(OR|CASE|COALESCE|IS NULL|IS DISTINCT|NOT)\\M' ORDER BY 2",

	/*
	 * Roles that policies of tenants are not for, but one that lets rows pass
	 * is.
	 */
	"SELECT 'error', c.oid::regclass,"
	" format('no policy of tenants is for %s, and others show all rows: %s',"
	"  string_agg(DISTINCT " ROLE_NAME("g.grantee") ", ', '), string_agg(DISTINCT quote_ident(p.polname), ', ')),"
	" " REVOKE_ALL
	" FROM pg_class c JOIN pg_policy p ON p.polrelid = c.oid AND p.polpermissive"
	"  AND p.polname !~ '^dbpatterns_tenant'"
	" JOIN pg_policy t ON t.polrelid = c.oid AND t.polname = 'dbpatterns_tenant', " GRANTS
	" WHERE c.oid = ANY ($1) AND NOT 0 = ANY (t.polroles)"
	" AND g.privilege_type = ANY ('{SELECT,INSERT,UPDATE,DELETE}')"
	" AND CASE WHEN g.grantee = 0 THEN 0 = ANY (p.polroles)"
	"  ELSE (SELECT bool_or(r = 0 OR pg_has_role(g.grantee, r, 'USAGE')) FROM unnest(p.polroles) r)"
	"  AND NOT (SELECT bool_or(pg_has_role(g.grantee, r, 'USAGE')) FROM unnest(t.polroles) r) END"
	" GROUP BY c.oid ORDER BY 2"
};

static const char *const tables[] = {
	"SELECT 'error', c.oid::regclass, 'the table is in a schema of tenants, and neither isolated nor exempt',"
	" coalesce((SELECT format('SELECT * FROM dbpatterns.tenant_enable(%L, %s);', c.oid::regclass, w.call)"
	"   FROM unnest($2, $3, $5) w (relid, col, call) JOIN pg_class s ON s.oid = w.relid"
	"   JOIN pg_attribute a ON a.attrelid = c.oid AND a.attname = w.col AND NOT a.attisdropped"
	"   WHERE s.relnamespace = c.relnamespace ORDER BY w.relid LIMIT 1),"
	"  format('SELECT dbpatterns.tenant_exempt(%L, ''tenants share it'');', c.oid::regclass))"
	" FROM pg_class c WHERE c.oid = ANY ($7) ORDER BY 2",

	"SELECT 'error', c.oid::regclass, 'other tenants are not kept out of the schema of tenant ' || w.tenant,"
	" format('SELECT * FROM dbpatterns.tenant_schema_protect(%L);', w.tenant)"
	" FROM unnest($11, $12) w (oid, tenant) JOIN pg_class c ON c.relnamespace = w.oid"
	" WHERE CASE WHEN c.relkind = ANY ('{r,p}') THEN NOT c.relrowsecurity OR NOT EXISTS (SELECT FROM pg_policy p"
	"   WHERE p.polrelid = c.oid AND p.polname = 'dbpatterns_tenant_schema' AND NOT p.polpermissive AND p.polcmd = '*'"
	"   AND pg_get_expr(p.polqual, c.oid) = format('(( SELECT dbpatterns.current_tenant() AS current_tenant) = %L::text)', w.tenant)"
	"   AND pg_get_expr(p.polwithcheck, c.oid) = pg_get_expr(p.polqual, c.oid))"
	"  WHEN c.relkind = 'v' THEN NOT coalesce((SELECT o.option_value::boolean FROM pg_options_to_table(c.reloptions) o"
	"   WHERE o.option_name = 'security_invoker'), false) END ORDER BY 2",

	/* Who queries a parent meets the parent's policies. */
	"SELECT 'error', p.oid::regclass, format('rows of %s show in it, and it is not isolated', c.oid::regclass),"
	" format('ALTER TABLE %s %s;', CASE WHEN c.relispartition THEN p.oid ELSE c.oid END::regclass,"
	"  CASE WHEN c.relispartition THEN format('DETACH PARTITION %s', c.oid::regclass)"
	"  ELSE format('NO INHERIT %s', p.oid::regclass) END)"
	" FROM pg_inherits i JOIN pg_class c ON c.oid = i.inhrelid JOIN pg_class p ON p.oid = i.inhparent"
	" WHERE c.oid = ANY ($1) AND p.oid <> ALL ($2) ORDER BY 2, 3",

	"SELECT 'error', c.oid::regclass, 'no policy protects a foreign table, and others may read it',"
	" " REVOKE_ALL " FROM pg_class c, " GRANTS " WHERE c.relkind = 'f'"
	" AND (c.relnamespace = ANY ($8) OR c.oid = ANY ($1)) AND c.oid <> ALL ($6) GROUP BY c.oid ORDER BY 2",

	"SELECT 'warning', format('publication %I', p.pubname),"
	" format('rows of all tenants in %s are published', r.prrelid::regclass),"
	" format('ALTER PUBLICATION %I DROP TABLE ONLY %s; -- or give it a row filter of one tenant', p.pubname, r.prrelid::regclass)"
	" FROM pg_publication_rel r JOIN pg_publication p ON p.oid = r.prpubid"
	" JOIN unnest($2, $3) w (relid, col) ON w.relid = r.prrelid"
	" WHERE r.prrelid = ANY ($1) AND NOT EXISTS (SELECT FROM pg_depend d JOIN pg_attribute a"
	"  ON a.attrelid = d.refobjid AND a.attnum = d.refobjsubid"
	"  WHERE d.classid = 'pg_publication_rel'::regclass AND d.objid = r.oid"
	"  AND d.refclassid = 'pg_class'::regclass AND a.attname = w.col AND r.prqual IS NOT NULL) ORDER BY 2, 3",

	"SELECT 'warning', format('publication %I', p.pubname), 'rows of all tenants are published',"
	" format('DROP PUBLICATION %I; -- and publish tables by name, with a row filter', p.pubname)"
	" FROM pg_publication p WHERE cardinality($1) > 0 AND (p.puballtables OR EXISTS (SELECT FROM pg_publication_namespace n"
	"  WHERE n.pnpubid = p.oid AND n.pnnspid IN (SELECT c.relnamespace FROM pg_class c WHERE c.oid = ANY ($1)))) ORDER BY 2",

	"SELECT 'info', i.indexrelid::regclass,"
	" 'comparisons of column ' || k.n || ' are not leakproof: queries of applications use the index only up to there',"
	" format('-- compare another column, or one that is GENERATED ALWAYS AS (lower(...)) STORED, and index that: %s',"
	"  pg_get_indexdef(i.indexrelid))"
	" FROM pg_index i, LATERAL (SELECT min(x.n) AS n FROM generate_series(1, i.indnkeyatts) x (n)"
	"  WHERE (i.indkey::int2[])[x.n - 1] = 0 OR NOT EXISTS (SELECT FROM pg_opclass c"
	"   JOIN pg_amop o ON o.amopfamily = c.opcfamily AND o.amoplefttype = c.opcintype AND o.amoppurpose = 's'"
	"   JOIN pg_operator op ON op.oid = o.amopopr JOIN pg_proc p ON p.oid = op.oprcode"
	"   WHERE c.oid = (i.indclass::oid[])[x.n - 1] AND p.proleakproof)) k"
	" JOIN pg_class x ON TRUE WHERE x.oid = i.indexrelid AND NOT x.relispartition AND k.n IS NOT NULL"
	" AND (i.indrelid = ANY ($1) OR i.indrelid IN (SELECT c.oid FROM pg_class c WHERE c.relnamespace = ANY ($11)"
	"  AND c.relkind = ANY ('{r,p}'))) ORDER BY 2"
};

/* What the wall around the schema of a tenant does not keep back. */
static const char *const walled[] = {
	"SELECT 'error', c.oid::regclass, 'no policy protects a materialized view, and others may read it',"
	" " REVOKE_ALL " FROM unnest($11) w (oid) JOIN pg_class c ON c.relnamespace = w.oid, " GRANTS
	" WHERE c.relkind = 'm' GROUP BY c.oid ORDER BY 2",

	"SELECT 'error', quote_ident(n.nspname), 'applications may create in the schema, where the tenant''s own would find it',"
	" format('REVOKE CREATE ON SCHEMA %I FROM %s CASCADE;', n.nspname, string_agg(DISTINCT " ROLE_NAME("a.grantee") ", ', '))"
	" FROM unnest($11) w (oid) JOIN pg_namespace n ON n.oid = w.oid, aclexplode(n.nspacl) a"
	" WHERE a.privilege_type = 'CREATE' AND a.grantee <> n.nspowner AND (a.grantee = 0"
	"  OR EXISTS (SELECT FROM unnest($10) r (oid) WHERE pg_has_role(r.oid, a.grantee, 'USAGE')))"
	" GROUP BY n.nspname ORDER BY 2",

	/* Those of views, too, whoever views read as. */
	"SELECT 'error', format('%s on %s', quote_ident(r.rulename), c.oid::regclass),"
	" 'what the rule does, it does with the rights of the owner, whom policies do not keep back',"
	" format('DROP RULE %I ON %s;', r.rulename, c.oid::regclass)"
	" FROM unnest($11) w (oid) JOIN pg_class c ON c.relnamespace = w.oid JOIN pg_rewrite r ON r.ev_class = c.oid"
	" WHERE r.rulename <> '_RETURN' AND pg_get_ruledef(r.oid) !~ ' NOTHING;$' ORDER BY 2",

	"SELECT 'error', p.oid::regprocedure, 'applications may call a function that runs as its owner, whom policies do not keep back',"
	" format('ALTER ROUTINE %s SECURITY INVOKER;', p.oid::regprocedure)"
	" FROM unnest($11) w (oid) JOIN pg_proc p ON p.pronamespace = w.oid"
	" WHERE p.prosecdef AND p.prorettype <> ALL ('{trigger,event_trigger}'::regtype[])"
	" AND NOT (cardinality($1) > 0 AND " BYPASSES("p.proowner") ")"
	" AND EXISTS (SELECT FROM unnest($10) r (oid) WHERE has_function_privilege(r.oid, p.oid, 'EXECUTE')) ORDER BY 2",

	"SELECT 'error', c.oid::regclass, 'an application has the rights of the owner, whom policies do not keep back',"
	" format('ALTER TABLE %s OWNER TO CURRENT_USER;', c.oid::regclass)"
	" FROM unnest($11) w (oid) JOIN pg_class c ON c.relnamespace = w.oid"
	" WHERE c.relkind = ANY ('{r,p}')"
	" AND EXISTS (SELECT FROM unnest($10) r (oid) WHERE pg_has_role(r.oid, c.relowner, 'USAGE')) ORDER BY 2"
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
	dbp_tenant_find(checked, walled, lengthof(walled));
}
