-- Head of the tests of versioned tables: a fresh extension, and settings that
-- make their output the same everywhere.
\set VERBOSITY default
\set SHOW_CONTEXT never
SET client_min_messages = warning;
SET TimeZone = 'UTC';
SET datestyle = 'ISO';
SET intervalstyle = 'postgres';
DROP EXTENSION IF EXISTS dbpatterns CASCADE;
CREATE EXTENSION dbpatterns;
