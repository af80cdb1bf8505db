\echo Use "CREATE EXTENSION dbpatterns" to load this file. \quit

-- dbpatterns holds the API and the views; _dbpatterns holds tables, trigger
-- functions and helpers.  Plain CREATE (never IF NOT EXISTS, never OR REPLACE)
-- so that nobody can plant an object under one of our names beforehand.
CREATE SCHEMA dbpatterns;
CREATE SCHEMA _dbpatterns;

COMMENT ON SCHEMA dbpatterns IS 'dbpatterns: functions and views to use';
COMMENT ON SCHEMA _dbpatterns IS 'dbpatterns: tables, trigger functions and helpers; not to be used directly';
