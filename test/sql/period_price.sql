-- Prices that hold for a time: setting, reading, the lowest before a reduction.
\set SHOW_CONTEXT never
SET client_min_messages = warning;
CREATE EXTENSION IF NOT EXISTS btree_gist;
CREATE EXTENSION IF NOT EXISTS dbpatterns;
RESET client_min_messages;
SET datestyle = 'ISO, YMD';
SET timezone = 'Europe/Berlin';

-- By day, and by the second; everything below holds for both.
CREATE TABLE by_day (sku text, valid_from date, valid_to date, price numeric(10, 2));
CREATE TABLE by_second (sku text, valid_at tstzrange, price numeric(10, 2));
SELECT dbpatterns.period_enable('by_day', '{sku}', from_column => 'valid_from', to_column => 'valid_to');
SELECT dbpatterns.period_enable('by_second', '{sku}', 'valid_at');
CREATE VIEW each_table AS SELECT t FROM unnest('{by_day,by_second}'::regclass[]) t;

-- A price holds until the next one that is there already; with "to" up to that;
-- with infinity it replaces all that come later.
SELECT t, dbpatterns.price_set(t, '{"sku": "a"}', 10, '2025-01-01') FROM each_table;
SELECT t, dbpatterns.price_set(t, '{"sku": "a"}', 12, '2025-03-01') FROM each_table;
SELECT t, dbpatterns.price_set(t, '{"sku": "a"}', 11, '2025-02-15') FROM each_table;
SELECT t, dbpatterns.price_set(t, '{"sku": "a"}', 8, '2025-02-01', '2025-02-10') FROM each_table;
SELECT t, dbpatterns.price_set(t, '{"sku": "a"}', 8, '2025-02-01', '2025-02-10') FROM each_table;
SELECT t, dbpatterns.price_set(t, '{"sku": "a"}', 7, '2025-03-20') FROM each_table;
SELECT * FROM by_day ORDER BY 1, 2;
SELECT * FROM by_second ORDER BY 1, 2;
SELECT t, dbpatterns.price_set(t, '{"sku": "b"}', 1, '2025-03-01'), dbpatterns.price_set(t, '{"sku": "b"}', 2, '2025-02-01'),
       dbpatterns.price_set(t, '{"sku": "b"}', 3, '2025-02-15', 'infinity') FROM each_table;
SELECT * FROM by_day WHERE sku = 'b' ORDER BY 1, 2;
SELECT * FROM by_second WHERE sku = 'b' ORDER BY 1, 2;

-- What holds when.  What begins later does not count.
SELECT t, dbpatterns.price_at(t, '{"sku": "a"}', d) AS price, d::date FROM each_table,
       unnest('{2024-12-31,2025-01-01,2025-02-01,2025-02-10,2025-03-19,2030-01-01}'::timestamptz[]) d ORDER BY t, d;
SELECT t, dbpatterns.price_at(t, '{"sku": "a"}', '2025-02-09 23:59:59'), dbpatterns.price_at(t, '{"sku": "x"}') FROM each_table;
SELECT t, dbpatterns.price_set(t, '{"sku": "next"}', 5, now() + interval '2 days') FROM each_table;
SELECT t, dbpatterns.price_at(t, '{"sku": "next"}') FROM each_table;

-- The lowest price of the 30 days before a reduction: the one that held when they
-- began counts, the new one and what comes later do not.
SELECT t, dbpatterns.price_lowest(t, '{"sku": "a"}', '2025-03-20') AS "2025-03-20",
       dbpatterns.price_lowest(t, '{"sku": "a"}', '2025-03-12') AS "2025-03-12",
       dbpatterns.price_lowest(t, '{"sku": "a"}', '2025-03-11') AS "2025-03-11",
       dbpatterns.price_lowest(t, '{"sku": "a"}', '2025-03-20', '60 days') AS sixty,
       dbpatterns.price_lowest(t, '{"sku": "a"}', '2025-01-01') AS none FROM each_table;
-- A price that held all the time before is the only one.
SELECT t, dbpatterns.price_set(t, '{"sku": "c"}', 20, '2020-01-01'), dbpatterns.price_set(t, '{"sku": "c"}', 15, '2025-06-01') FROM each_table;
SELECT t, dbpatterns.price_lowest(t, '{"sku": "c"}', '2025-06-01') FROM each_table;
-- Gaps are told, and where the price comes from.
SELECT t, dbpatterns.portion_delete(t, '{"sku": "a"}', '[2025-03-01,2025-03-06)') FROM each_table;
SELECT t, l.* FROM each_table, dbpatterns.price_lowest_detail(t, '{"sku": "a"}', '2025-03-20') l;
SELECT t, l.* FROM each_table, dbpatterns.price_lowest_detail(t, '{"sku": "a"}', '2025-01-10') l;
SELECT t, l.* FROM each_table, dbpatterns.price_lowest_detail(t, '{"sku": "x"}', '2025-01-10') l;

-- Changes.
SELECT t, c.* FROM each_table, dbpatterns.price_changes(t, '{"sku": "a"}') c ORDER BY t, at;
SELECT t, c.* FROM each_table, dbpatterns.price_changes(t, '{"sku": "a"}', '2025-02-10', '2025-03-20') c ORDER BY t, at;

-- Days are those of a time zone: at 23:30 in Berlin it is tomorrow in Tokyo.
SELECT dbpatterns.price_set('by_day', '{"sku": "z"}', 1, '2025-05-01 23:30', time_zone => 'Asia/Tokyo');
SELECT * FROM by_day WHERE sku = 'z';
SELECT dbpatterns.price_at('by_day', '{"sku": "z"}', '2025-05-01 23:30'),
       dbpatterns.price_at('by_day', '{"sku": "z"}', '2025-05-01 23:30', time_zone => 'Asia/Tokyo');
SELECT window_from, window_to FROM dbpatterns.price_lowest_detail('by_day', '{"sku": "z"}', '2025-05-02 12:00', time_zone => 'Asia/Tokyo');
-- 30 days are not 720 hours where the clock is put forward.
SELECT window_from, window_to, window_to - window_from FROM dbpatterns.price_lowest_detail('by_second', '{"sku": "z"}', '2025-04-10');
SELECT window_from AT TIME ZONE 'UTC', window_to AT TIME ZONE 'UTC'
  FROM dbpatterns.price_lowest_detail('by_second', '{"sku": "z"}', '2025-04-10', time_zone => 'UTC');

-- Another column, of another type; a price that is not known is none.
CREATE TABLE rent (flat int, during daterange, "Rent" int, price numeric);
SELECT dbpatterns.period_enable('rent', '{flat}', 'during');
SELECT dbpatterns.price_set('rent', '{"flat": 1}', 700, '2025-01-01', price_column => 'Rent');
SELECT dbpatterns.price_set('rent', '{"flat": 1}', 700.5, '2025-02-01', price_column => 'Rent');
SELECT dbpatterns.price_at('rent', '{"flat": 1}', '2025-01-15', 'Rent'), dbpatterns.price_at('rent', '{"flat": 1}', '2025-01-15'),
       dbpatterns.price_lowest('rent', '{"flat": 1}', '2025-02-01');

-- What is refused.
SELECT dbpatterns.price_set('by_day', '{"sku": "a"}', NULL, '2025-01-01');
SELECT dbpatterns.price_set('by_day', '{"sku": "a"}', 1, NULL);
SELECT dbpatterns.price_set('by_day', '{"sku": "a"}', 1, '2025-01-02', '2025-01-01');
SELECT dbpatterns.price_set('by_day', '{"sku": "a"}', 1, '2025-01-02', '2025-01-02');
SELECT dbpatterns.price_set('by_day', '{}', 1, '2025-01-01');
SELECT dbpatterns.price_set('by_day', '{"sku": "a"}', 1, '2025-01-01', price_column => 'prize');
SELECT dbpatterns.price_set('by_day', '{"sku": "a"}', 1, '2025-01-01', price_column => 'sku');
SELECT dbpatterns.price_set('by_day', '{"sku": "a"}', 1, '2025-01-01', time_zone => 'Mars/Base');
SELECT dbpatterns.price_lowest('by_day', '{"sku": "a"}', 'infinity');
SELECT dbpatterns.price_lowest('by_day', '{"sku": "a"}', '2025-01-01', '0 days');
SELECT dbpatterns.price_lowest('by_second', '{"sku": "a"}', '2025-01-01', '-1 day');
CREATE TABLE numbered (k int, p int4range, price numeric);
SELECT dbpatterns.period_enable('numbered', '{k}', 'p');
SELECT dbpatterns.price_at('numbered', '{"k": 1}');

DROP VIEW each_table;
DROP TABLE by_day, by_second, rent, numbered;
