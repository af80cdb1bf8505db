# audit_history.sh: the history of one row in a log of ten million entries,
# against the SQL that reads those very rows by their index.
#
# Variables and functions are those that run.sh describes.
# shellcheck shell=bash disable=SC2034

TITLE='History of one row, 10 000 000 entries in the log'
UNIT='tps'
BETTER='more'
VARIANTS='direct dbpatterns'
BASELINE=direct
ROUNDS=5
LABEL=([direct]='index scan of the log' [dbpatterns]='audit_history')

# One database serves both.
prepare()
{
	[ "$1" = direct ] || return 0
	cat <<-'SQL'
		CREATE EXTENSION dbpatterns;
		CREATE TABLE item (id bigint PRIMARY KEY, size integer, updated_at timestamptz);
		CALL dbpatterns.audit_run();
		SELECT dbpatterns.audit_enable('item');
		INSERT INTO item SELECT i, 0, now() FROM generate_series(1, 1000000) i;
		-- Nine updates of each row, in an order of their own each time, a
		-- hundred to a transaction.
		INSERT INTO _dbpatterns.audit_log
		SELECT now() + t * interval '10 ms', 10000000000 + t * 1024, 10000000000 + t * 1024,
		       NULL, x'7000000000000000'::bigint + 10000000000 + t * 1024, NULL, 0, 'W', NULL, NULL,
		       '7', NULL, 1, NULL, 'app', 'app', 'app', 'app', 'bench', '{"user": "ann"}'
		FROM generate_series(0, 89999) t;
		INSERT INTO _dbpatterns.audit_log
		SELECT now() + (n / 100) * interval '10 ms', 10000000000 + (n / 100) * 1024 + 1 + n % 100,
		       10000000000 + (n / 100) * 1024, NULL, l.base + r.id, NULL, l.shape, 'U',
		       jsonb_build_object('size', n / 1000000),
		       jsonb_build_object('id', r.id, 'size', n / 1000000 + 1)
		FROM generate_series(0::bigint, 8999999) n,
		     LATERAL (SELECT (n * 611953 + n / 1000000) % 1000000 + 1 AS id) r,
		     (SELECT row_key - (new ->> 'id')::bigint AS base, shape
		      FROM _dbpatterns.audit_log WHERE op = 'I' LIMIT 1) l;
		VACUUM ANALYZE _dbpatterns.audit_log;
		CREATE TABLE base AS
		SELECT row_key - (new ->> 'id')::bigint AS base
		FROM _dbpatterns.audit_log WHERE op = 'I' LIMIT 1;
	SQL
}

measure()
{
	local base

	base=$(number direct 'SELECT base FROM base')
	if [ "$1" = dbpatterns ]; then
		tps direct 1 5 '
			\set id random(1, 1000000)
			SELECT * FROM dbpatterns.audit_history('\''item'\'', jsonb_build_object('\''id'\'', :id::bigint));'
	else
		tps direct 1 5 '
			\set id random(1, 1000000)
			SELECT e.*, t.*
			FROM _dbpatterns.audit_log e
			LEFT JOIN LATERAL (
			    SELECT * FROM _dbpatterns.audit_log x
			    WHERE x.xact_time = e.xact_time AND x.op = '\'W\''
			      AND x.row_key = e.txn + 8070450532247928832 AND x.id < e.id
			    ORDER BY x.id DESC LIMIT 1) t ON true
			WHERE e.row_key = :base + :id::bigint
			ORDER BY e.id;' -D "base=$base"
	fi
}
