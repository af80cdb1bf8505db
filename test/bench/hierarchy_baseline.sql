-- A closure table kept by a PL/pgSQL row trigger, as one writes it by hand:
-- inserts only, parents before their children.
CREATE FUNCTION add_pairs() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    INSERT INTO node_closure
        SELECT ancestor, new.id, depth + 1 FROM node_closure WHERE descendant = new.parent_id
        UNION ALL SELECT new.id, new.id, 0;
    RETURN NULL;
END $$;
CREATE TRIGGER add_pairs AFTER INSERT ON node FOR EACH ROW EXECUTE FUNCTION add_pairs();
