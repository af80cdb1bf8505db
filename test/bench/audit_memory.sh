# audit_memory.sh: private memory of the backend while one statement updates a
# million rows.
#
# Variables and functions are those that run.sh describes.
# shellcheck shell=bash disable=SC2034

TITLE='Memory of an UPDATE of 1 000 000 rows, audited'
UNIT=MB
BETTER=less
VARIANTS='plain dbpatterns'
BASELINE=plain
ROUNDS=3
LABEL=([plain]='not audited' [dbpatterns]='dbpatterns')

prepare()
{
	cat <<-SQL
		CREATE TABLE item (id bigint PRIMARY KEY, label text, size integer, updated_at timestamptz);
		INSERT INTO item SELECT i, 'item ' || i, i, now() FROM generate_series(1, 1000000) i;
	SQL
	[ "$1" = plain ] ||
		echo "CREATE EXTENSION dbpatterns; CALL dbpatterns.audit_run(); SELECT dbpatterns.audit_enable('item');"
}

measure()
{
	private_memory "$1" 'VACUUM item' \
		'UPDATE item SET size = size + 1, updated_at = clock_timestamp()'
}
