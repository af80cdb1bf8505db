# tenant_check.sh: tenant_check on 10 000 isolated tables.
#
# Variables and functions are those that run.sh describes.
# shellcheck shell=bash disable=SC2034

TITLE='tenant_check on 10 000 isolated tables'
UNIT='ms'
BETTER='less'
VARIANTS='check'
BASELINE=check
CASES='first again'
ROUNDS=5
LABEL=([check]='dbpatterns' [first]='first call of a session' [again]='second call')

prepare()
{
	cat <<-'SQL'
		CREATE EXTENSION dbpatterns;
		CREATE SCHEMA s;
		DO $$ BEGIN CREATE ROLE bench_app LOGIN; EXCEPTION WHEN duplicate_object THEN NULL; END $$;
		ALTER DATABASE bench_check SET dbpatterns.tenant_application_roles = 'bench_app';
		SET dbpatterns.tenant_application_roles = 'bench_app';
		\o /dev/null
		SELECT format('CREATE TABLE s.t%s (tenant_id int, id int, note text, PRIMARY KEY (tenant_id, id))', i),
			format('GRANT SELECT, INSERT, UPDATE, DELETE ON s.t%s TO bench_app', i),
			format('SELECT count(*) FROM dbpatterns.tenant_enable(''s.t%s'')', i) FROM generate_series(1, 10000) i
		\gexec
		\o
		VACUUM ANALYZE;
	SQL
}

measure()
{
	local before=''

	[ "$2" = first ] || before='SELECT count(*) FROM dbpatterns.tenant_check()'
	milliseconds "$1" "$before" 'SELECT count(*) FROM dbpatterns.tenant_check();'
}
