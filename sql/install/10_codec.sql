
-- Row images: a row as one jsonb object, and back.
CREATE FUNCTION dbpatterns.row_to_jsonb(record) RETURNS jsonb
    AS 'MODULE_PATHNAME', 'dbpatterns_row_to_jsonb'
    LANGUAGE C STABLE STRICT PARALLEL SAFE;
COMMENT ON FUNCTION dbpatterns.row_to_jsonb(record) IS
    'image of a row: one jsonb object that does not depend on settings and reads back exactly';

CREATE FUNCTION dbpatterns.row_from_jsonb(base anyelement, image jsonb) RETURNS anyelement
    AS 'MODULE_PATHNAME', 'dbpatterns_row_from_jsonb'
    LANGUAGE C STABLE PARALLEL SAFE;
COMMENT ON FUNCTION dbpatterns.row_from_jsonb(anyelement, jsonb) IS
    'row from its image; columns the image lacks are taken from base';
