-- What breaks isolation.

CREATE FUNCTION dbpatterns.tenant_check(
    target regclass DEFAULT NULL,
    schema name DEFAULT NULL,
    OUT severity text, OUT object text, OUT problem text, OUT remedy text)
RETURNS SETOF record
LANGUAGE c VOLATILE PARALLEL UNSAFE AS 'MODULE_PATHNAME', 'dbpatterns_tenant_check';
COMMENT ON FUNCTION dbpatterns.tenant_check(regclass, name) IS
    'what breaks, or weakens, the isolation of tenants, with remedies';

CREATE FUNCTION dbpatterns.tenant_assert(schema name DEFAULT NULL) RETURNS void
LANGUAGE c VOLATILE PARALLEL UNSAFE AS 'MODULE_PATHNAME', 'dbpatterns_tenant_assert';
COMMENT ON FUNCTION dbpatterns.tenant_assert(name) IS
    'an error if tenant_check finds one, for scripts that deploy';
