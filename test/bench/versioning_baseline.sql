-- What a developer writes by hand to version table item: one row trigger in
-- PL/pgSQL that keeps the period and inserts the old row.
ALTER TABLE item ADD sys_period tstzrange NOT NULL DEFAULT tstzrange(now(), NULL);
CREATE TABLE item_history (LIKE item);
CREATE INDEX ON item_history (id, lower(sys_period));

CREATE FUNCTION version_item() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    IF TG_OP <> 'INSERT' AND lower(OLD.sys_period) < now() THEN
        INSERT INTO item_history VALUES (OLD.id, OLD.maintainer_id, OLD.name, OLD.source, OLD.version,
            OLD.installed_size_kb, OLD.packed_ratio, OLD.attributes, OLD.released_at, OLD.updated_at,
            tstzrange(lower(OLD.sys_period), now()));
    END IF;
    IF TG_OP = 'DELETE' THEN
        RETURN OLD;
    END IF;
    NEW.sys_period := tstzrange(now(), NULL);
    RETURN NEW;
END $$;
