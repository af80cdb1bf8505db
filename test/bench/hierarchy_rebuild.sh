# hierarchy_rebuild.sh: building the closure table of 1 million nodes.
#
# "by hand" has the finished pairs in a table in no order and makes the closure
# table of them: CREATE TABLE AS ... ORDER BY, the primary key, the other index.
# closure_enable and closure_rebuild find the pairs first.
#
# Variables and functions are those that run.sh describes.
# shellcheck shell=bash disable=SC2034

TITLE='Closure table of 1 million nodes'
UNIT=ms
BETTER=less
VARIANTS='byhand enable rebuild'
BASELINE=byhand
CASES='ary random'
ROUNDS=5
LABEL=(
	[byhand]='CREATE TABLE AS ... ORDER BY, 2 indexes'
	[enable]='closure_enable' [rebuild]='closure_rebuild'
	[ary]='8-ary, 7.7 million pairs' [random]='random, 14 million pairs'
)

prepare()
{
	cat <<-'SQL'
		CREATE EXTENSION dbpatterns;
		CREATE TABLE ary (id int PRIMARY KEY, parent_id int);
		INSERT INTO ary SELECT i, CASE WHEN i > 1 THEN (i - 2) / 8 + 1 END
			FROM generate_series(1, 1000000) i;
		CREATE TABLE random (id int PRIMARY KEY, parent_id int);
		SELECT setseed(0.5);
		INSERT INTO random SELECT i, CASE WHEN i > 1 THEN 1 + floor(random() * (i - 1)) END
			FROM generate_series(1, 1000000) i;
		CREATE INDEX ON ary (parent_id);
		CREATE INDEX ON random (parent_id);
		VACUUM ANALYZE ary, random;
		SELECT dbpatterns.closure_enable('ary', 'parent_id');
		SELECT dbpatterns.closure_enable('random', 'parent_id');
	SQL
	if [ "$1" = byhand ]; then
		echo 'CREATE TABLE ary_pairs AS SELECT * FROM ary_closure ORDER BY random();
			CREATE TABLE random_pairs AS SELECT * FROM random_closure ORDER BY random();
			VACUUM ANALYZE ary_pairs, random_pairs;'
	fi
}

measure()
{
	case $1 in
		byhand)
			milliseconds "$1" 'DROP TABLE IF EXISTS made; CHECKPOINT' \
				"CREATE TABLE made AS SELECT * FROM $2_pairs ORDER BY ancestor, descendant;
				ALTER TABLE made ADD PRIMARY KEY (ancestor, descendant);
				CREATE INDEX ON made (descendant, ancestor) INCLUDE (depth)" ;;
		enable)
			milliseconds "$1" "SELECT dbpatterns.closure_disable('$2', drop_closure => true); CHECKPOINT" \
				"SELECT dbpatterns.closure_enable('$2', 'parent_id')" ;;
		rebuild)
			milliseconds "$1" 'CHECKPOINT' "CALL dbpatterns.closure_rebuild('$2')" ;;
	esac
}
