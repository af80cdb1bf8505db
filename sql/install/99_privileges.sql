-- Who may call what.  Everything is taken from PUBLIC first; what is given back
-- below either changes nothing, or checks in C that its caller owns the table.
GRANT USAGE ON SCHEMA dbpatterns TO PUBLIC;
REVOKE ALL ON ALL TABLES IN SCHEMA _dbpatterns FROM PUBLIC;
REVOKE ALL ON ALL TABLES IN SCHEMA dbpatterns FROM PUBLIC;
REVOKE ALL ON ALL ROUTINES IN SCHEMA dbpatterns FROM PUBLIC;
REVOKE ALL ON ALL ROUTINES IN SCHEMA _dbpatterns FROM PUBLIC;

-- What is where, and how long it takes.
GRANT SELECT ON dbpatterns.status, dbpatterns.audit_status, dbpatterns.closure_status,
    dbpatterns.nested_set_status TO PUBLIC;
GRANT EXECUTE ON FUNCTION
    dbpatterns."check"(regclass),
    dbpatterns.audit_check(regclass),
    dbpatterns.closure_check(regclass),
    dbpatterns.closure_graph_cycles(regclass, name[], name[]),
    dbpatterns.closure_graph_cycles(regclass, name, name),
    dbpatterns.nested_set_check(regclass)
TO PUBLIC;

-- Rows and their JSONB images.
GRANT EXECUTE ON FUNCTION
    dbpatterns.row_to_jsonb(record),
    dbpatterns.row_from_jsonb(anyelement, jsonb)
TO PUBLIC;

-- Adjacency lists are read with the rights of who calls.
GRANT EXECUTE ON FUNCTION
    dbpatterns.adjacency_walk(regclass, name, bigint, name[], text, integer, text, name, boolean),
    dbpatterns.adjacency_walk(regclass, name, integer, name[], text, integer, text, name, boolean),
    dbpatterns.adjacency_walk(regclass, name, text, name[], text, integer, text, name, boolean),
    dbpatterns.adjacency_walk(regclass, name, anyelement, name[], text, integer, text, name, boolean),
    dbpatterns.adjacency_walk(regclass, name, text[], name[], text, integer, text, name, boolean),
    dbpatterns.adjacency_walk(regclass, name[], text[], name[], text, integer, text, name, boolean),
    dbpatterns.adjacency_cycles(regclass, name, name[]),
    dbpatterns.adjacency_cycles(regclass, name[], name[])
TO PUBLIC;

-- Owners switch the trail of their tables; the trigger function is checked
-- when a trigger is created.
GRANT EXECUTE ON FUNCTION
    dbpatterns.audit_enable(regclass, name[], name[], text, text, name[], boolean, text),
    dbpatterns.audit_disable(regclass),
    dbpatterns.audit_trigger(),
    dbpatterns.audit_set_context(jsonb),
    dbpatterns.audit_flush()
TO PUBLIC;

-- The log of a table, for its owner and for auditors: checked in C.
GRANT EXECUTE ON FUNCTION
    dbpatterns.audit_history(regclass, jsonb, timestamptz, timestamptz),
    dbpatterns.audit_changes(regclass, timestamptz, timestamptz, jsonb),
    dbpatterns.audit_row_at(regclass, jsonb, timestamptz),
    dbpatterns.audit_table_at(regclass, timestamptz),
    dbpatterns.audit_undo(bigint, boolean)
TO PUBLIC;

-- Owners switch the hierarchies of their tables; trigger functions are checked
-- when a trigger is created.
GRANT EXECUTE ON FUNCTION
    dbpatterns.closure_enable(regclass, name[], name[], name, integer, name, name[], text, boolean, text),
    dbpatterns.closure_enable(regclass, name, name[], name, integer, name, name[], text, boolean, text),
    dbpatterns.closure_enable_graph(regclass, name[], name[], name, integer, text),
    dbpatterns.closure_enable_graph(regclass, name, name, name, integer, text),
    dbpatterns.closure_disable(regclass, name, boolean),
    dbpatterns.closure_sync(regclass, name, boolean),
    dbpatterns.closure_trigger(),
    dbpatterns.closure_graph_trigger(),
    dbpatterns.nested_set_enable(regclass, name[], name[], name, bigint, name, name[], text, text),
    dbpatterns.nested_set_enable(regclass, name, name[], name, bigint, name, name[], text, text),
    dbpatterns.nested_set_disable(regclass, name, boolean),
    dbpatterns.nested_set_rebuild(regclass, name, text[]),
    dbpatterns.nested_set_trigger()
TO PUBLIC;
GRANT EXECUTE ON PROCEDURE dbpatterns.closure_rebuild(regclass, name) TO PUBLIC;

-- What the readers of closure tables call; they check their caller themselves.
GRANT EXECUTE ON FUNCTION
    dbpatterns.closure_pair_depth(regclass, "any"),
    dbpatterns.closure_node_depth(regclass, "any"),
    dbpatterns.closure_may_have_orphans(regclass, regclass),
    dbpatterns.closure_column(record, name),
    dbpatterns.closure_columns(record, name[]),
    dbpatterns.closure_preorder(integer[], boolean, boolean),
    dbpatterns.closure_dot_string(text),
    dbpatterns.closure_mermaid_string(text),
    dbpatterns.closure_mermaid_id(text)
TO PUBLIC;

-- Edits and conversions run as their caller.
GRANT EXECUTE ON FUNCTION
    dbpatterns.closure_move(regclass, "any", "any", "any", name),
    dbpatterns.closure_move(regclass, text, text, text, name),
    dbpatterns.closure_copy_subtree(regclass, "any", "any", jsonb, jsonb, name),
    dbpatterns.closure_copy_subtree(regclass, text, text, jsonb, jsonb, name),
    dbpatterns.closure_delete(regclass, "any", text, name),
    dbpatterns.closure_delete(regclass, text, text, name),
    dbpatterns.adjacency_from_ltree(regclass, name[], name, name[], text),
    dbpatterns.adjacency_from_ltree(regclass, name, name, name[], text),
    dbpatterns.adjacency_from_nested_set(regclass, name[], name, name, name[], name[]),
    dbpatterns.adjacency_from_nested_set(regclass, name, name, name, name[], name[]),
    dbpatterns.adjacency_from_closure(regclass, name[], regclass, name[], name[], name, name[]),
    dbpatterns.adjacency_from_closure(regclass, name, regclass, name[], name[], name, name[]),
    dbpatterns.adjacency_to_ltree(regclass, name[], name, name, name[], text),
    dbpatterns.adjacency_to_ltree(regclass, name, name, name, name[], text),
    dbpatterns.adjacency_to_nested_set(regclass, name[], name, name, name, name, name, name[], text),
    dbpatterns.adjacency_to_nested_set(regclass, name, name, name, name, name, name, name[], text),
    dbpatterns.adjacency_to_closure(regclass, name[], regclass, name[], name[], name, name[], text),
    dbpatterns.adjacency_to_closure(regclass, name, regclass, name[], name[], name, name[], text)
TO PUBLIC;

-- The tenant of a transaction.  tenant_set, tenant_token, tenant_key_... and
-- tenant_admin_begin are granted to nobody.
GRANT EXECUTE ON FUNCTION
    dbpatterns.tenant_begin(text),
    dbpatterns.tenant_challenge(),
    dbpatterns.tenant_residue(),
    dbpatterns.current_tenant(),
    dbpatterns.current_tenant_uuid(),
    dbpatterns.current_tenant_bigint(),
    dbpatterns.current_tenant_int(),
    dbpatterns.require_tenant(),
    dbpatterns.require_tenant_uuid(),
    dbpatterns.require_tenant_bigint(),
    dbpatterns.require_tenant_int(),
    dbpatterns.current_user_id(),
    dbpatterns.current_user_id_uuid(),
    dbpatterns.current_user_id_bigint(),
    dbpatterns.current_user_id_int(),
    dbpatterns.current_claim(text),
    dbpatterns.tenant_is_admin(),
    dbpatterns.tenant_lets_pass()
TO PUBLIC;

-- Owners isolate their tables.
GRANT SELECT ON dbpatterns.tenant_status TO PUBLIC;
GRANT EXECUTE ON FUNCTION
    dbpatterns.tenant_enable(regclass, name, text, name, boolean, text, boolean),
    dbpatterns.tenant_enable_schema(name, regclass[], name, text, name, boolean, text, boolean),
    dbpatterns.tenant_exempt(regclass, text),
    dbpatterns.tenant_disable(regclass, text)
TO PUBLIC;
GRANT EXECUTE ON FUNCTION
    dbpatterns.tenant_check(regclass, name),
    dbpatterns.tenant_assert(name)
TO PUBLIC;

-- Versioning under the names of temporal_tables: rights on the history, and whose
-- tables a system time is good for, are checked where they are used.
GRANT EXECUTE ON FUNCTION
    dbpatterns.versioning(),
    dbpatterns.set_system_time(timestamptz)
TO PUBLIC;

-- Owners version their tables; the past is read with the rights of who calls.
GRANT SELECT ON dbpatterns.versioning_status TO PUBLIC;
GRANT EXECUTE ON FUNCTION
    dbpatterns.versioning_enable(regclass, text, name, text, text, text, boolean, name[], text, interval, interval),
    dbpatterns.versioning_disable(regclass, boolean),
    dbpatterns.versioning_check(regclass),
    dbpatterns.versioning_trigger(),
    dbpatterns.versioning_views(name, regclass[]),
    dbpatterns.as_of(),
    dbpatterns.row_history(regclass, jsonb),
    dbpatterns.restore_as_of(regclass, jsonb, timestamptz),
    dbpatterns.history_erase(regclass, jsonb, text)
TO PUBLIC;
GRANT EXECUTE ON PROCEDURE
    dbpatterns.versioning_run(regclass),
    dbpatterns.history_purge(regclass, interval, bigint)
TO PUBLIC;

-- Owners give their tables periods.
GRANT SELECT ON dbpatterns.period_status TO PUBLIC;
GRANT EXECUTE ON FUNCTION
    dbpatterns.period_enable(regclass, name[], name, name, name, boolean),
    dbpatterns.period_disable(regclass),
    dbpatterns.period_check(regclass),
    dbpatterns.period_trigger(),
    dbpatterns.timeline(regclass, jsonb),
    dbpatterns.gaps(regclass, jsonb, text),
    dbpatterns.coalesce_periods(regclass, jsonb),
    dbpatterns.period_foreign_key(regclass, name[], regclass, name[], text, text, name),
    dbpatterns.period_foreign_key_drop(regclass, name),
    dbpatterns.period_foreign_trigger()
TO PUBLIC;

-- Portions and prices are edited and read with the rights of who calls.
GRANT EXECUTE ON FUNCTION
    dbpatterns.portion_update(regclass, jsonb, text, jsonb),
    dbpatterns.portion_update(regclass, jsonb, anyrange, jsonb),
    dbpatterns.portion_delete(regclass, jsonb, text),
    dbpatterns.portion_delete(regclass, jsonb, anyrange),
    dbpatterns.portion_upsert(regclass, jsonb, text),
    dbpatterns.portion_upsert(regclass, jsonb, anyrange),
    dbpatterns.portion_trigger(),
    dbpatterns.portion_view_enable(regclass),
    dbpatterns.portion_view_disable(regclass),
    dbpatterns.price_set(regclass, jsonb, numeric, timestamptz, timestamptz, name, text),
    dbpatterns.price_at(regclass, jsonb, timestamptz, name, text),
    dbpatterns.price_lowest(regclass, jsonb, timestamptz, interval, name, text),
    dbpatterns.price_lowest_detail(regclass, jsonb, timestamptz, interval, name, text),
    dbpatterns.price_changes(regclass, jsonb, timestamptz, timestamptz, name, text)
TO PUBLIC;
