-- What temporal_tables offers, under its names.
CREATE FUNCTION dbpatterns.versioning() RETURNS trigger
LANGUAGE c VOLATILE PARALLEL UNSAFE AS 'MODULE_PATHNAME', 'dbpatterns_versioning_dropin';
COMMENT ON FUNCTION dbpatterns.versioning() IS
    'keeps the system period of rows and their old versions, as that of temporal_tables does';

CREATE FUNCTION dbpatterns.set_system_time(timestamptz) RETURNS void
LANGUAGE c VOLATILE PARALLEL UNSAFE AS 'MODULE_PATHNAME', 'dbpatterns_versioning_set_system_time';
COMMENT ON FUNCTION dbpatterns.set_system_time(timestamptz) IS
    'sets the time that versioned tables take for the present one; NULL ends that';
