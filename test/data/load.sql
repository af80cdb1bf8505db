-- load.sql: the catalogue schema of the test data.  load.sh feeds it to psql,
-- followed by the rows and a COMMIT; README.md describes every column.

BEGIN;
SET LOCAL client_encoding = 'UTF8';

CREATE SCHEMA catalogue;

-- The tenant: who looks after a package.
CREATE TABLE catalogue.maintainer (
    id          integer PRIMARY KEY,
    name        text NOT NULL UNIQUE,
    kind        text NOT NULL CHECK (kind IN ('team', 'person')),
    domain      text
);

-- The tree: archive area, section, source.
CREATE TABLE catalogue.section (
    id          integer PRIMARY KEY,
    parent_id   integer REFERENCES catalogue.section,
    name        text NOT NULL,
    UNIQUE (parent_id, name)
);

CREATE TABLE catalogue.package (
    id                  integer PRIMARY KEY,
    name                text NOT NULL UNIQUE,
    maintainer_id       integer NOT NULL REFERENCES catalogue.maintainer,
    section_id          integer NOT NULL REFERENCES catalogue.section,
    source              text NOT NULL,
    version             text NOT NULL,
    installed_size_kb   integer,
    packed_ratio        numeric(10,4),
    tags                text[] NOT NULL,
    attributes          jsonb NOT NULL,
    released_at         timestamptz
);

-- The graph: an edge from a package to one that it names.
CREATE TABLE catalogue.dependency (
    package_id          integer REFERENCES catalogue.package,
    depends_on_id       integer REFERENCES catalogue.package,
    kind                text CHECK (kind IN ('pre-depends', 'depends',
                                             'recommends', 'suggests')),
    alternative         smallint NOT NULL,
    version_constraint  text,
    PRIMARY KEY (package_id, depends_on_id, kind)
);

-- The series in time: what a source released, and when.
CREATE TABLE catalogue.release (
    source      text,
    version     text,
    released_at timestamptz NOT NULL,
    suite       text NOT NULL,
    urgency     text,
    PRIMARY KEY (source, version)
);
