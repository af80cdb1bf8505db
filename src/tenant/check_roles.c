/*-------------------------------------------------------------------------
 *
 * check_roles.c
 *	  Roles, rights and servers that make policies void.
 *
 * Copyright (c) 2026, dbpatterns contributors
 *
 * src/tenant/check_roles.c
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "tenant/check.h"

static const char *const roles[] = {
	"SELECT 'error', r.rolname, CASE WHEN r.rolsuper THEN 'the role is a superuser: no policy applies to it'"
	"  ELSE 'the role bypasses row-level security' END,"
	" format('ALTER ROLE %I %s;', r.rolname, CASE WHEN r.rolsuper THEN 'NOSUPERUSER NOBYPASSRLS' ELSE 'NOBYPASSRLS' END)"
	" FROM pg_roles r WHERE r.oid = ANY ($6) AND (r.rolsuper OR r.rolbypassrls) ORDER BY 2",

	/* Direct members only: what they lead to is what their remedy takes away. */
	"SELECT 'error', r.rolname,"
	" format('the role can become %s, which %s', string_agg(DISTINCT quote_ident(g.rolname), ', '),"
	"  CASE WHEN bool_or(g.rolsuper OR g.rolbypassrls) THEN 'bypasses row-level security' ELSE 'owns isolated tables' END),"
	" format('REVOKE %I FROM %I;', m.rolname, r.rolname)"
	" FROM pg_roles r JOIN pg_auth_members a ON a.member = r.oid JOIN pg_roles m ON m.oid = a.roleid"
	" JOIN pg_roles g ON pg_has_role(m.oid, g.oid, 'MEMBER')"
	" WHERE r.oid = ANY ($6) AND NOT r.rolsuper AND g.oid <> r.oid"
	" AND (g.rolsuper OR g.rolbypassrls OR EXISTS (SELECT FROM pg_class c WHERE c.oid = ANY ($1) AND c.relowner = g.oid))"
	" AND (NOT m.rolsuper OR g.oid = m.oid)"
	" GROUP BY r.rolname, m.rolname ORDER BY 2, 4",

	"SELECT 'error', c.oid::regclass, format('the application''s role %I owns the table, and could end its isolation', r.rolname),"
	" format('ALTER TABLE %s OWNER TO CURRENT_USER;', c.oid::regclass)"
	" FROM pg_class c JOIN pg_roles r ON r.oid = c.relowner WHERE c.oid = ANY ($1) AND r.oid = ANY ($6) AND NOT r.rolsuper ORDER BY 2",

	"SELECT 'error', p.parname, format('%s may set the parameter', string_agg(DISTINCT CASE WHEN a.grantee = 0 THEN 'PUBLIC'"
	"  ELSE quote_ident(pg_get_userbyid(a.grantee)) END, ', ')),"
	" format('REVOKE ALL ON PARAMETER %s FROM %s;', p.parname, string_agg(DISTINCT CASE WHEN a.grantee = 0 THEN 'PUBLIC'"
	"  ELSE quote_ident(pg_get_userbyid(a.grantee)) END, ', '))"
	" FROM pg_parameter_acl p, aclexplode(p.paracl) a LEFT JOIN pg_roles r ON r.oid = a.grantee"
	" WHERE p.parname ~ '^dbpatterns\\.' AND NOT coalesce(r.rolsuper, false) GROUP BY p.parname ORDER BY 2",

	"SELECT CASE WHEN p.proname = 'tenant_set' THEN 'warning' ELSE 'error' END, p.oid::regprocedure,"
	" format('the application''s role %I may call it, and so be any tenant', r.rolname),"
	" format('REVOKE EXECUTE ON FUNCTION %s FROM PUBLIC, %I;', p.oid::regprocedure, r.rolname)"
	" FROM pg_proc p JOIN pg_roles r ON r.oid = ANY ($6) AND NOT r.rolsuper"
	" WHERE p.pronamespace = 'dbpatterns'::regnamespace"
	" AND p.proname = ANY ('{tenant_set,tenant_token,tenant_key_create,tenant_key_drop,tenant_admin_begin}')"
	" AND has_function_privilege(r.oid, p.oid, 'EXECUTE') ORDER BY 2, 3",

	/* Releases that mend how row-level security is planned or estimated. */
	"SELECT 'warning', 'PostgreSQL ' || current_setting('server_version'),"
	" 'the release has known flaws of row-level security (the last is CVE-2025-8713)',"
	" '-- install the current minor release'"
	" FROM (SELECT current_setting('server_version_num')::int AS v) s WHERE cardinality($1) > 0"
	" AND s.v < CASE s.v / 10000 WHEN 15 THEN 150014 WHEN 16 THEN 160010 WHEN 17 THEN 170006 ELSE 0 END",

	"SELECT 'info', 'dbpatterns.tenant_setting', 'whoever can send SQL can change the tenant: a setting names it',"
	" 'ALTER SYSTEM RESET dbpatterns.tenant_setting; -- or where it is set: the database, the role'"
	" WHERE cardinality($1) > 0 AND current_setting('dbpatterns.tenant_setting', true) <> ''"
};

/*
 * dbp_tenant_find_roles finds them.
 */
void
dbp_tenant_find_roles(TenantChecked *checked)
{
	dbp_tenant_find(checked, roles, lengthof(roles));
}
