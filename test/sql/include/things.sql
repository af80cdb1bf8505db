\set ECHO none
-- What a schema has, with its name taken out.
CREATE FUNCTION t.things(schema name) RETURNS SETOF text LANGUAGE sql SET search_path = pg_catalog AS $$
    WITH n AS (SELECT oid FROM pg_namespace WHERE nspname = $1),
    o AS (
        SELECT format('relation %s: %s %s %s %s %s %s %s %s', c.relname, c.relkind, c.relpersistence, c.reloptions, c.relacl, pg_get_userbyid(c.relowner),
                      c.relrowsecurity, c.relforcerowsecurity, c.relreplident) FROM pg_class c, n WHERE c.relnamespace = n.oid
        UNION ALL SELECT format('toast of %s: %s', c.relname, t.reloptions) FROM pg_class c JOIN pg_class t ON t.oid = c.reltoastrelid, n WHERE c.relnamespace = n.oid
        UNION ALL SELECT format('column %s.%s: %s %s %s %s %s %s %s %s %s %s', c.relname, a.attname, format_type(a.atttypid, a.atttypmod), a.attnotnull, a.attcollation::regcollation,
                      a.attidentity, a.attgenerated, a.attstorage, nullif(a.attstattarget, -1), array_to_string(array_remove(a.attoptions, (SELECT o FROM unnest(a.attoptions) o WHERE o ~ '^pg_')), ','), a.attacl, pg_get_expr(d.adbin, d.adrelid))
            FROM pg_class c JOIN pg_attribute a ON a.attrelid = c.oid AND a.attnum > 0 AND NOT a.attisdropped LEFT JOIN pg_attrdef d ON d.adrelid = a.attrelid AND d.adnum = a.attnum, n
            WHERE c.relnamespace = n.oid
        UNION ALL SELECT format('constraint %s of %s: %s %s %s %s', k.conname, k.conrelid::regclass, pg_get_constraintdef(k.oid), k.convalidated, k.conislocal, k.coninhcount) FROM pg_constraint k, n WHERE k.connamespace = n.oid
        UNION ALL SELECT format('index %s: %s', i.indexrelid::regclass, pg_get_indexdef(i.indexrelid)) FROM pg_index i JOIN pg_class c ON c.oid = i.indexrelid, n WHERE c.relnamespace = n.oid AND i.indisvalid
        UNION ALL SELECT format('inherits %s: %s %s', c.relname, i.inhparent::regclass, pg_get_expr(c.relpartbound, c.oid)) FROM pg_inherits i JOIN pg_class c ON c.oid = i.inhrelid, n WHERE c.relnamespace = n.oid
        UNION ALL SELECT format('view %s: %s', c.relname, pg_get_viewdef(c.oid)) FROM pg_class c, n WHERE c.relnamespace = n.oid AND c.relkind IN ('v', 'm')
        UNION ALL SELECT format('function %s: %s %s %s', p.oid::regprocedure, pg_get_functiondef(p.oid), p.proacl, pg_get_userbyid(p.proowner)) FROM pg_proc p, n WHERE p.pronamespace = n.oid
        UNION ALL SELECT format('trigger %s', pg_get_triggerdef(g.oid)) || g.tgenabled::text FROM pg_trigger g JOIN pg_class c ON c.oid = g.tgrelid, n WHERE c.relnamespace = n.oid AND NOT g.tgisinternal
        UNION ALL SELECT format('rule %s', pg_get_ruledef(r.oid)) FROM pg_rewrite r JOIN pg_class c ON c.oid = r.ev_class, n WHERE c.relnamespace = n.oid
        UNION ALL SELECT format('policy %s %s: %s %s %s %s %s', c.relname, p.policyname, p.cmd, p.permissive, p.roles, p.qual, p.with_check) FROM pg_policies p JOIN pg_class c ON c.relname = p.tablename JOIN n ON n.oid = c.relnamespace WHERE p.schemaname = $1
        UNION ALL SELECT format('type %s: %s %s %s %s %s', t.typname, t.typtype, t.typnotnull, t.typdefault, t.typacl, (SELECT array_agg(enumlabel ORDER BY enumsortorder) FROM pg_enum e WHERE e.enumtypid = t.oid)) FROM pg_type t, n WHERE t.typnamespace = n.oid
        UNION ALL SELECT format('sequence %s: %s', c.relname, (to_jsonb(s) - 'seqrelid')) FROM pg_sequence s JOIN pg_class c ON c.oid = s.seqrelid, n WHERE c.relnamespace = n.oid
        UNION ALL SELECT format('owned %s: %s.%s %s', c.relname, d.refobjid::regclass, d.refobjsubid > 0, d.deptype) FROM pg_depend d JOIN pg_class c ON c.oid = d.objid AND c.relkind = 'S', n WHERE c.relnamespace = n.oid AND d.classid = 'pg_class'::regclass AND d.refclassid = 'pg_class'::regclass
        UNION ALL SELECT format('statistics %s %s', pg_get_statisticsobjdef(s.oid), nullif(s.stxstattarget, -1)) FROM pg_statistic_ext s, n WHERE s.stxnamespace = n.oid
        UNION ALL SELECT format('comment %s: %s', pg_describe_object(d.classoid, d.objoid, d.objsubid), d.description)
            FROM (SELECT n.oid FROM n UNION ALL SELECT c.oid FROM pg_class c, n WHERE c.relnamespace = n.oid UNION ALL SELECT p.oid FROM pg_proc p, n WHERE p.pronamespace = n.oid
                  UNION ALL SELECT t.oid FROM pg_type t, n WHERE t.typnamespace = n.oid UNION ALL SELECT k.oid FROM pg_constraint k, n WHERE k.connamespace = n.oid
                  UNION ALL SELECT g.oid FROM pg_trigger g JOIN pg_class c ON c.oid = g.tgrelid, n WHERE c.relnamespace = n.oid
                  UNION ALL SELECT g.oid FROM pg_policy g JOIN pg_class c ON c.oid = g.polrelid, n WHERE c.relnamespace = n.oid) x JOIN pg_description d ON d.objoid = x.oid
        UNION ALL SELECT format('schema: %s %s', n.nspacl, pg_get_userbyid(n.nspowner)) FROM pg_namespace n WHERE n.nspname = $1
        UNION ALL SELECT format('default privileges: %s %s', f.defaclobjtype, f.defaclacl) FROM pg_default_acl f, n WHERE f.defaclnamespace = n.oid
    )
    SELECT replace(replace(replace(format, quote_ident($1) || '.', ''), quote_ident($1), 'X'), $1, 'X') FROM o
$$;
\set ECHO all
