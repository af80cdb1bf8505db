-- The table that comparisons work on: ten columns of the real data set, 101 000
-- rows (every package twenty times, under ids of its own).
CREATE TABLE item (
    id                bigint PRIMARY KEY,
    maintainer_id     integer NOT NULL,
    name              text NOT NULL,
    source            text NOT NULL,
    version           text NOT NULL,
    installed_size_kb integer,
    packed_ratio      numeric(10,4),
    attributes        jsonb NOT NULL,
    released_at       timestamptz,
    updated_at        timestamptz NOT NULL
);
INSERT INTO item
SELECT p.id + c * 10000, p.maintainer_id, p.name, p.source, p.version, p.installed_size_kb,
       p.packed_ratio, p.attributes, p.released_at, '2026-01-01 12:00:00.123456+00'
FROM generate_series(0, 19) c, catalogue.package p
ORDER BY 1;
CREATE TABLE item_copy AS SELECT * FROM item;
