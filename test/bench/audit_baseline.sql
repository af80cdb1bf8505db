-- The audit trail as one writes it by hand: a log with the indexes it takes to
-- find a row's history and a period, and the PL/pgSQL row trigger that logs
-- what dbpatterns logs: whole rows of inserts and deletes, the changed columns
-- of updates beside the key.
CREATE TABLE log (
    id     bigserial PRIMARY KEY,
    at     timestamptz NOT NULL DEFAULT now(),
    xid    xid8 NOT NULL DEFAULT pg_current_xact_id(),
    who    text NOT NULL DEFAULT session_user,
    tab    text NOT NULL,
    op     "char" NOT NULL,
    row_id bigint,
    old    jsonb,
    new    jsonb
);
CREATE INDEX ON log (tab, row_id);
CREATE INDEX ON log USING brin (at);

CREATE FUNCTION log_diff() RETURNS trigger LANGUAGE plpgsql AS $$
DECLARE
    o jsonb;
    n jsonb;
    changed_old jsonb;
    changed_new jsonb;
BEGIN
    IF TG_OP = 'INSERT' THEN
        INSERT INTO log (tab, op, row_id, new) VALUES (TG_TABLE_NAME, 'I', NEW.id, to_jsonb(NEW));
    ELSIF TG_OP = 'DELETE' THEN
        INSERT INTO log (tab, op, row_id, old) VALUES (TG_TABLE_NAME, 'D', OLD.id, to_jsonb(OLD));
    ELSE
        o := to_jsonb(OLD);
        n := to_jsonb(NEW);
        SELECT jsonb_object_agg(e.key, e.value), jsonb_object_agg(e.key, n -> e.key)
        INTO changed_old, changed_new
        FROM jsonb_each(o) e
        WHERE n -> e.key IS DISTINCT FROM e.value;
        IF changed_old IS NOT NULL THEN
            INSERT INTO log (tab, op, row_id, old, new)
            VALUES (TG_TABLE_NAME, 'U', NEW.id, changed_old,
                    changed_new || jsonb_build_object('id', NEW.id));
        END IF;
    END IF;
    RETURN NULL;
END $$;

-- The same trail with both whole rows of an update: the usual recipe.
CREATE FUNCTION log_full() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    INSERT INTO log (tab, op, row_id, old, new)
    VALUES (TG_TABLE_NAME, left(TG_OP, 1)::"char",
            CASE TG_OP WHEN 'DELETE' THEN OLD.id ELSE NEW.id END,
            CASE WHEN TG_OP <> 'INSERT' THEN to_jsonb(OLD) END,
            CASE WHEN TG_OP <> 'DELETE' THEN to_jsonb(NEW) END);
    RETURN NULL;
END $$;
