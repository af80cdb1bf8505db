-- Stands for what other fragments will bring; to be deleted.
CREATE FUNCTION dbpatterns.closure_check(
    target regclass DEFAULT NULL,
    OUT severity text, OUT object text, OUT problem text, OUT remedy text)
RETURNS SETOF record
LANGUAGE c VOLATILE AS 'MODULE_PATHNAME', 'dbpatterns_closure_check';
