-- The tenant of a transaction: what sets it, what reads it, and when it ends.
\getenv srcdir PG_ABS_SRCDIR
\set include :srcdir '/sql/include/tenant.sql'
\i :include

-- Without one, getters are NULL, never an error, and the others say what is
-- missing.
SELECT dbpatterns.current_tenant(), dbpatterns.current_tenant_uuid(),
       dbpatterns.current_tenant_bigint(), dbpatterns.current_tenant_int(),
       dbpatterns.current_user_id(), dbpatterns.current_claim('role');
SELECT dbpatterns.require_tenant();
SELECT dbpatterns.require_tenant_int();

-- It takes a transaction block.
SELECT dbpatterns.tenant_set('1');
DO $$ BEGIN PERFORM dbpatterns.tenant_set('1'); END $$;

-- A token brings the tenant, the user and claims.
SELECT t.token('acme', '7', '{"role": "editor", "level": 3, "tags": ["a"], "none": null, "yes": true}') AS token \gset
SET ROLE regress_dbp_app;
BEGIN;
SELECT dbpatterns.tenant_begin(:'token');
SELECT dbpatterns.current_tenant(), dbpatterns.require_tenant(), dbpatterns.current_user_id(),
       dbpatterns.current_user_id_bigint(), dbpatterns.current_user_id_int();
SELECT k, dbpatterns.current_claim(k)
  FROM unnest('{role,level,tags,none,yes,missing,sub}'::text[]) k;
COMMIT;
SELECT dbpatterns.current_tenant(), dbpatterns.current_user_id(), dbpatterns.current_claim('role');
RESET ROLE;

-- A trusted role names them.
SET ROLE regress_dbp_trusted;
BEGIN;
SELECT dbpatterns.tenant_set('2', 'ann');
SELECT dbpatterns.current_tenant(), dbpatterns.current_user_id(), dbpatterns.current_claim('role');
COMMIT;
BEGIN;
SELECT dbpatterns.tenant_set(NULL);
ROLLBACK;
BEGIN;
SELECT dbpatterns.tenant_set('');
ROLLBACK;
RESET ROLE;

-- Typed getters take what is of their type, and refuse what is not.
CREATE FUNCTION t.getters(tenant text, OUT uuid text, OUT "bigint" text, OUT "int" text)
LANGUAGE plpgsql AS $$
BEGIN
    BEGIN uuid := dbpatterns.current_tenant_uuid(); EXCEPTION WHEN invalid_text_representation THEN uuid := 'refused'; END;
    BEGIN "bigint" := dbpatterns.current_tenant_bigint(); EXCEPTION WHEN invalid_text_representation THEN "bigint" := 'refused'; END;
    BEGIN "int" := dbpatterns.current_tenant_int(); EXCEPTION WHEN invalid_text_representation THEN "int" := 'refused'; END;
END $$;
SELECT format('BEGIN; SELECT FROM dbpatterns.tenant_set(%1$L); SELECT %1$L AS id, g.* FROM t.getters(%1$L) g; COMMIT', id)
  FROM unnest('{0,-1,+1,02,-0," 1",1.0,2147483647,2147483648,-2147483648,-2147483649,9223372036854775807,9223372036854775808,
                99999999999999999999999,-,1-1,acme,67e55044-10b1-426f-9247-bb680e5fe0c8,67E55044-10B1-426F-9247-BB680E5FE0C8,
                67e5504410b1426f9247bb680e5fe0c8,67e55044-10b1-426f-9247-bb680e5fe0cg,67e55044-10b1-426f-9247-bb680e5fe0c}'::text[]) id
\gexec
BEGIN;
SELECT dbpatterns.tenant_set('acme');
SELECT dbpatterns.current_tenant_uuid();
ROLLBACK;

-- Strange ids stay whole.
BEGIN;
SELECT dbpatterns.tenant_set(E'3:a,"b\'c\\\n4:x,', E'1:,');
SELECT dbpatterns.current_tenant() = E'3:a,"b\'c\\\n4:x,' AS tenant, dbpatterns.current_user_id() = E'1:,' AS "user";
COMMIT;
BEGIN;
SELECT dbpatterns.tenant_set(repeat('x', 1000000));
SELECT length(dbpatterns.current_tenant());
COMMIT;

-- Once in a transaction, in a savepoint or not, also after it was rolled back.
BEGIN;
SELECT dbpatterns.tenant_set('1');
SAVEPOINT s;
SELECT dbpatterns.tenant_set('2');
ROLLBACK TO s;
SELECT dbpatterns.tenant_set('1');
ROLLBACK TO s;
SELECT dbpatterns.current_tenant();
COMMIT;
BEGIN;
SAVEPOINT s;
SELECT dbpatterns.tenant_set('1');
RELEASE s;
SELECT dbpatterns.current_tenant();
SAVEPOINT s2;
ROLLBACK TO s2;
SELECT dbpatterns.current_tenant();
COMMIT;
BEGIN;
SAVEPOINT s;
SELECT dbpatterns.tenant_set('1');
ROLLBACK TO s;
SELECT dbpatterns.current_tenant();
SELECT dbpatterns.tenant_set('2');
ROLLBACK;
DO $$
BEGIN
    BEGIN
        PERFORM 1 / 0;
    EXCEPTION WHEN division_by_zero THEN NULL;
    END;
    RAISE NOTICE 'tenant: %', dbpatterns.current_tenant();
END $$;

-- It ends with the transaction, whatever its end.
BEGIN;
SELECT dbpatterns.tenant_set('1');
ROLLBACK;
SELECT dbpatterns.current_tenant();
BEGIN;
SELECT dbpatterns.tenant_set('1');
SELECT 1 / 0;
COMMIT;
SELECT dbpatterns.current_tenant();
BEGIN;
SELECT dbpatterns.tenant_set('1');
COMMIT AND CHAIN;
SELECT dbpatterns.current_tenant();
SELECT dbpatterns.tenant_set('2');
SELECT dbpatterns.current_tenant();
ROLLBACK AND CHAIN;
SELECT dbpatterns.current_tenant();
COMMIT;

-- Deferred triggers still see it.
CREATE TABLE late (id int);
CREATE FUNCTION t.tell() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    RAISE NOTICE 'at commit: %', dbpatterns.current_tenant();
    RETURN NULL;
END $$;
CREATE CONSTRAINT TRIGGER tell AFTER INSERT ON late DEFERRABLE INITIALLY DEFERRED
    FOR EACH ROW EXECUTE FUNCTION t.tell();
BEGIN;
SELECT dbpatterns.tenant_set('1');
INSERT INTO late VALUES (1);
COMMIT;

-- Set in a function that has settings of its own, it outlasts that.
CREATE FUNCTION t.login(tenant text) RETURNS text LANGUAGE plpgsql SET work_mem = '1MB' AS $$
BEGIN
    PERFORM dbpatterns.tenant_set(tenant);
    RETURN dbpatterns.current_tenant();
END $$;
BEGIN;
SELECT t.login('1');
SELECT dbpatterns.current_tenant();
COMMIT;

-- A plan made for one tenant is right for the next.
PREPARE p AS SELECT dbpatterns.current_tenant_int() AS bare, (SELECT dbpatterns.current_tenant_int()) AS initplan;
SELECT format('BEGIN; SELECT FROM dbpatterns.tenant_set(%L); EXECUTE p; COMMIT', i) FROM generate_series(1, 7) i
\gexec
EXECUTE p;
DEALLOCATE p;

-- A setting of the application's own, where a superuser says so; a context
-- counts more.
SET app.tenant = '5';
SELECT dbpatterns.current_tenant_int();
SET dbpatterns.tenant_setting = 'app.tenant';
SELECT dbpatterns.current_tenant_int(), dbpatterns.require_tenant(), dbpatterns.current_user_id();
BEGIN;
SELECT dbpatterns.tenant_set('6');
SELECT dbpatterns.current_tenant_int();
COMMIT;
SET app.tenant = '';
SELECT dbpatterns.current_tenant_int();
SET dbpatterns.tenant_setting = 'app.never_set';
SELECT dbpatterns.current_tenant_int();
RESET dbpatterns.tenant_setting;

:finish
