#!/bin/sh
# check.sh [PSQL ARGUMENT...]
#
# Looks at a database that load.sh filled (before anything changed the rows):
# counts equal to the tables of README.md, no orphans, one tree per area,
# cycles in the graph, no personal data.  Prints what fails and a last line
# "N passed, N failed"; the exit status is 1 if anything failed.
set -eu
here=$(cd "$(dirname "$0")" && pwd)

# "| `name` | 1234 | ..." in README.md says what is expected.
expected=$(sed -n "s/^| \`\([a-z_ ]*\)\` | \([0-9][0-9]*\) |.*/('\1', \2),/p" \
	"$here/README.md")
[ -n "$expected" ] || { echo "check.sh: README.md holds no counts" >&2; exit 2; }

result=$("${PSQL:-psql}" -X -q -A -t -v ON_ERROR_STOP=1 "$@" <<SQL
SET search_path = catalogue, pg_catalog;

CREATE TEMP TABLE hard AS
	SELECT package_id AS a, depends_on_id AS b FROM dependency
	WHERE kind IN ('pre-depends', 'depends') AND alternative = 1;
ANALYZE hard;

-- Packages on a cycle, each with the least number of its cycle.
CREATE TEMP TABLE cyclic AS
	WITH RECURSIVE reach AS (
		SELECT a, b FROM hard
		UNION SELECT r.a, h.b FROM reach r JOIN hard h ON h.a = r.b)
	SELECT f.a AS id, min(f.b) AS cycle
	FROM reach f JOIN reach g ON g.a = f.b AND g.b = f.a GROUP BY f.a;

CREATE TEMP TABLE tree AS
	WITH RECURSIVE walk AS (
		SELECT id, 1 AS depth FROM section WHERE parent_id IS NULL
		UNION ALL SELECT s.id, w.depth + 1
		FROM walk w JOIN section s ON s.parent_id = w.id)
	SELECT * FROM walk;

CREATE TEMP TABLE found (name text, n bigint);
INSERT INTO found VALUES
	('maintainer', (SELECT count(*) FROM maintainer)),
	('section', (SELECT count(*) FROM section)),
	('package', (SELECT count(*) FROM package)),
	('dependency', (SELECT count(*) FROM dependency)),
	('release', (SELECT count(*) FROM release)),
	('teams', (SELECT count(*) FROM maintainer WHERE kind = 'team')),
	('roots', (SELECT count(*) FROM section WHERE parent_id IS NULL)),
	('dated packages', (SELECT count(released_at) FROM package)),
	('sources with releases', (SELECT count(DISTINCT source) FROM release)),
	('cycles', (SELECT count(DISTINCT cycle) FROM cyclic)),
	('packages on a cycle', (SELECT count(*) FROM cyclic)),
	('edges between tenants', (SELECT count(*) FROM dependency d
		JOIN package p ON p.id = package_id JOIN package q ON q.id = depends_on_id
		WHERE p.maintainer_id <> q.maintainer_id));

CREATE TEMP TABLE finding (ok boolean, what text);
INSERT INTO finding SELECT n IS NOT DISTINCT FROM want,
	format('%s: README.md says %s, found %s', name,
	coalesce(want::text, 'nothing'), coalesce(n::text, 'nothing'))
FROM found FULL JOIN (VALUES ${expected%,}) AS e (name, want) USING (name);

INSERT INTO finding VALUES
	((SELECT count(*) = 5 AND bool_and(convalidated) FROM pg_constraint
		WHERE contype = 'f' AND connamespace = 'catalogue'::regnamespace),
		'all five foreign keys are there and hold'),
	((SELECT count(*) FROM tree) = (SELECT count(*) FROM section),
		'every section is reached from a root'),
	(NOT EXISTS (SELECT FROM section WHERE parent_id IS NULL
		GROUP BY name HAVING count(*) > 1), 'one root for each archive area'),
	(NOT EXISTS (SELECT FROM package p JOIN tree t ON t.id = section_id
		JOIN section s ON s.id = section_id
		WHERE t.depth <> 3 OR s.name <> p.source),
		'every package hangs on the node of its source, at depth 3'),
	(NOT EXISTS (SELECT FROM tree t WHERE depth = 3 AND NOT EXISTS
		(SELECT FROM package WHERE section_id = t.id)), 'no leaf is empty'),
	(NOT EXISTS (SELECT FROM maintainer m WHERE NOT EXISTS
		(SELECT FROM package WHERE maintainer_id = m.id)),
		'every maintainer has a package'),
	(NOT EXISTS (SELECT FROM maintainer WHERE name LIKE '%@%'
		OR kind = 'person' AND (name !~ '^maintainer [0-9]{4}$'
			OR domain IS NOT NULL)),
		'persons are pseudonyms, and no name holds an address'),
	(NOT EXISTS (SELECT FROM hard WHERE a = b), 'no package depends on itself'),
	(NOT EXISTS (SELECT FROM package p WHERE released_at IS NOT NULL AND
		NOT EXISTS (SELECT FROM release r WHERE r.source = p.source
			AND r.released_at = p.released_at)),
		'every date of a package is the date of a release of its source'),
	(NOT EXISTS (SELECT FROM release r WHERE NOT EXISTS
		(SELECT FROM package p WHERE p.source = r.source)),
		'every release belongs to the source of a package'),
	(NOT EXISTS (SELECT FROM package WHERE
		NOT attributes ?& '{architecture,priority,deb_bytes}'
		OR '' = ANY (tags)), 'attributes and tags are well formed');

SELECT 'FAILED ' || what FROM finding WHERE ok IS NOT TRUE ORDER BY what;
SELECT count(*) FILTER (WHERE ok) || ' passed, '
	|| count(*) FILTER (WHERE ok IS NOT TRUE) || ' failed' FROM finding;
SQL
)
echo "$result"
case $result in *" 0 failed") ;; *) exit 1 ;; esac
