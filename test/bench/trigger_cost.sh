# trigger_cost.sh: what a row trigger costs at the least, so that the figures of
# the patterns can be told from the price of having a trigger at all.
#
# Variables and functions are those that run.sh describes.
# shellcheck shell=bash disable=SC2034

TITLE='A trigger that does nothing: UPDATE of one row, and of 100 000 rows'
UNIT=ms
BETTER=less
VARIANTS='plain plpgsql'
BASELINE=plain
CASES='one many'
ROUNDS=7
LABEL=(
	[plain]='no trigger' [plpgsql]='PL/pgSQL row trigger'
	[one]='2 000 updates by key' [many]='100 000 rows'
)

prepare()
{
	cat <<-SQL
		CREATE TABLE item (id int PRIMARY KEY, label text, price numeric);
		INSERT INTO item SELECT i, 'item ' || i, i FROM generate_series(1, 100000) i;
	SQL
	[ "$1" = plain ] || cat <<-SQL
		CREATE FUNCTION touch() RETURNS trigger LANGUAGE plpgsql AS
			'BEGIN RETURN NULL; END';
		CREATE TRIGGER touch AFTER UPDATE ON item
			FOR EACH ROW EXECUTE FUNCTION touch();
	SQL
}

measure()
{
	case $2 in
		one)
			milliseconds "$1" 'VACUUM FULL ANALYZE item' "SELECT format(
				'UPDATE item SET price = price + 1 WHERE id = %s', i)
				FROM generate_series(1, 2000) i \gexec" ;;
		many)
			milliseconds "$1" 'VACUUM FULL ANALYZE item' \
				'UPDATE item SET price = price + 1' ;;
	esac
}
