-- The rows of one key in time: in order, with gaps, merged.
\getenv srcdir PG_ABS_SRCDIR
\set include :srcdir '/sql/include/versioning.sql'
\i :include
\set VERBOSITY terse
CREATE SCHEMA tl;
CREATE EXTENSION IF NOT EXISTS btree_gist SCHEMA tl;
SET search_path = tl, dbpatterns, public;
CREATE TABLE rate (nr int GENERATED ALWAYS AS IDENTITY PRIMARY KEY, org text, id int, valid daterange, price int, twice int GENERATED ALWAYS AS (price * 2) STORED);
SELECT period_enable('rate', '{org,id}', 'valid');
INSERT INTO rate (org, id, valid, price) VALUES
    ('a', 1, '[2020-03-01,2020-04-01)', 10), ('a', 1, '[2020-01-01,2020-02-01)', 10), ('a', 1, '[2020-02-01,2020-03-01)', 10),
    ('a', 1, '[2020-05-01,2020-06-01)', 10), ('a', 1, '[2020-06-01,2020-07-01)', 11), ('a', 1, '[2020-07-01,)', 11), ('b', 1, '[2020-01-01,)', 1);
SELECT * FROM timeline('rate', '{"org": "a", "id": 1}');
SELECT * FROM timeline('rate', '{"org": "x", "id": 1}');
SELECT * FROM gaps('rate', '{"org": "a", "id": 1}');
SELECT * FROM gaps('rate', '{"org": "a", "id": 1}', '[2019-01-01,2020-05-15)');
SELECT * FROM gaps('rate', '{"org": "a", "id": 1}', '(,)');
SELECT * FROM gaps('rate', '{"org": "x", "id": 1}', '[2019-01-01,2020-05-15)');
SELECT * FROM gaps('rate', '{"org": "x", "id": 1}');
SELECT coalesce_periods('rate', '{"org": "a", "id": 1}');
SELECT coalesce_periods('rate', '{"org": "a", "id": 1}');
SELECT * FROM timeline('rate', '{"org": "a", "id": 1}');

-- Two columns, one of them NOT NULL; a versioned table.
CREATE TABLE span (id int, f date NOT NULL, t date NOT NULL, v json);
SELECT period_enable('span', '{id}', from_column => 'f', to_column => 't');
SELECT versioning_enable('span');
INSERT INTO span VALUES (1, '2020-01-01', '2020-02-01', '{"a": 1}'), (1, '2020-02-01', 'infinity', '{"a": 1}'), (2, '2020-01-01', '2020-02-01', '1');
UPDATE span SET v = '{"a": 1}' WHERE t = 'infinity';
SELECT coalesce_periods('span', '{"id": 1}');
SELECT id, f, t, v FROM span ORDER BY id, f;
SELECT count(*) FROM span_history;

-- Columns with the names that our queries use.
CREATE TABLE names (x int, k int, c int, o int, j int, p int, run int, g int, m int, first int, valid daterange);
SELECT period_enable('names', '{x,k}', 'valid');
INSERT INTO names (x, k, valid) VALUES (1, 1, '[2020-01-01,2020-02-01)'), (1, 1, '[2020-02-01,2020-03-01)');
SELECT coalesce_periods('names', '{"x": 1, "k": 1}');
SELECT period, "row" - '{c,o,j,p,run,g,m,first}'::text[] AS "row" FROM timeline('names', '{"x": 1, "k": 1}');
SELECT * FROM gaps('names', '{"x": 1, "k": 1}', '[2019-01-01,2021-01-01)');

-- Refused.
CREATE TABLE plain (id int);
SELECT * FROM timeline('plain', '{"id": 1}');
SELECT * FROM timeline('rate', '{"id": 1}');
SELECT * FROM timeline(NULL, '{"id": 1}');
SELECT * FROM gaps('rate', NULL);
SELECT * FROM gaps('rate', '{"org": "a", "id": 1}', 'no range');
SELECT coalesce_periods('rate', '[]');
CREATE ROLE regress_dbp_period;
GRANT USAGE ON SCHEMA tl TO regress_dbp_period;
SET ROLE regress_dbp_period;
SELECT * FROM timeline('rate', '{"org": "a", "id": 1}');
SELECT coalesce_periods('rate', '{"org": "a", "id": 1}');
RESET ROLE;
DROP SCHEMA tl CASCADE;
DROP ROLE regress_dbp_period;
