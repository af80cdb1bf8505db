\set ECHO none
-- For tests of sealing, after audit.sql.
SET client_min_messages = warning;

-- audit_seal() waits for every transaction in the database, autovacuum's too.
CREATE FUNCTION t.seal(OUT block bigint, OUT entries bigint)
LANGUAGE plpgsql SET client_min_messages = warning AS $$
BEGIN
    FOR i IN 1..1000 LOOP
        SELECT s.block, s.entries INTO block, entries FROM dbpatterns.audit_seal() s;
        EXIT WHEN block IS NOT NULL;
        PERFORM pg_sleep(0.01);
    END LOOP;
END $$;

-- Change what must not be changed: a superuser can switch the guard off.
CREATE FUNCTION t.tamper(statement text) RETURNS void LANGUAGE plpgsql AS $$
DECLARE
    tables regclass[] := '{_dbpatterns.audit_log,_dbpatterns.audit_block,_dbpatterns.audit_leaf}'
        || ARRAY(SELECT inhrelid::regclass FROM pg_inherits
                  WHERE inhparent = '_dbpatterns.audit_log'::regclass);
    tab regclass;
BEGIN
    FOREACH tab IN ARRAY tables LOOP
        EXECUTE format('ALTER TABLE %s DISABLE TRIGGER dbpatterns_guard', tab);
    END LOOP;
    EXECUTE statement;
    FOREACH tab IN ARRAY tables LOOP
        EXECUTE format('ALTER TABLE %s ENABLE TRIGGER dbpatterns_guard', tab);
    END LOOP;
END $$;

-- Entry numbers are of no interest.
CREATE FUNCTION t.verify(from_block bigint DEFAULT NULL, to_block bigint DEFAULT NULL, digest jsonb DEFAULT NULL)
RETURNS TABLE (block bigint, ok boolean, problem text) LANGUAGE sql AS $$
    SELECT v.block, v.ok, regexp_replace(v.problem, 'entry -?\d+ of transaction -?\d+', 'entry #')
      FROM dbpatterns.audit_verify(from_block, to_block, digest) v
$$;
RESET client_min_messages;
\set ECHO all
