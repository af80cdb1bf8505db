# period_portion.sh: changing what holds during a portion of time, for 10 000 keys.
#
# Each key has 3 adjacent periods of a year; the portion lies within the second one,
# so that each key gets one changed row and two leftovers.  "by hand" is the SQL
# that one would write, with the same locks: SELECT ... FOR UPDATE in the order of
# the key, UPDATE, two INSERTs of what is left.  By hand the leftovers are inserted
# after statements of their own, which dbpatterns does in one.
#
# "one call" edits all keys at once; "a call a key" edits each on its own, by hand
# with a PL/pgSQL function of kept plans.
#
# Variables and functions are those that run.sh describes.
# shellcheck shell=bash disable=SC2034

TITLE='UPDATE of a portion of time, 10 000 keys'
UNIT=ms
BETTER=less
VARIANTS='byhand dbpatterns'
BASELINE=byhand
CASES='once each'
ROUNDS=9
LABEL=(
	[byhand]='SQL by hand, same locks' [dbpatterns]='portion_update'
	[once]='all keys at once' [each]='a call for each key'
)

prepare()
{
	cat <<-'SQL'
		CREATE EXTENSION btree_gist;
		CREATE EXTENSION dbpatterns;
		CREATE TABLE price (sku int NOT NULL, valid_at daterange NOT NULL, price numeric(10, 2), note text);
		SELECT dbpatterns.period_enable('price', '{sku}', 'valid_at');
		CREATE TABLE seed AS SELECT k AS sku, daterange(make_date(2020 + y, 1, 1), make_date(2021 + y, 1, 1)) AS valid_at,
			10.00 + y AS price, 'a price of some year' AS note FROM generate_series(1, 10000) k, generate_series(1, 3) y;
		CREATE FUNCTION by_hand(key int, portion daterange, new numeric) RETURNS bigint LANGUAGE plpgsql AS $$
		DECLARE
			o record;
			n bigint := 0;
		BEGIN
			FOR o IN SELECT ctid AS tid, * FROM price WHERE sku = key AND valid_at && portion ORDER BY valid_at FOR UPDATE LOOP
				UPDATE price SET valid_at = valid_at * portion, price = new WHERE ctid = o.tid;
				IF lower(o.valid_at) < lower(portion) THEN
					INSERT INTO price VALUES (o.sku, daterange(lower(o.valid_at), lower(portion)), o.price, o.note);
				END IF;
				IF upper(o.valid_at) > upper(portion) THEN
					INSERT INTO price VALUES (o.sku, daterange(upper(portion), upper(o.valid_at)), o.price, o.note);
				END IF;
				n := n + 1;
			END LOOP;
			RETURN n;
		END $$;
	SQL
}

measure()
{
	local portion="'[2022-03-01,2022-04-01)'" statement

	case $1/$2 in
		byhand/once)
			statement="CREATE TEMP TABLE old ON COMMIT DROP AS
					SELECT ctid AS tid, p.* FROM price p WHERE valid_at && $portion ORDER BY sku, valid_at FOR UPDATE;
				UPDATE price p SET valid_at = p.valid_at * $portion, price = 5 FROM old WHERE p.ctid = old.tid;
				INSERT INTO price SELECT sku, daterange(lower(valid_at), lower(daterange $portion)), price, note FROM old
					WHERE lower(valid_at) < lower(daterange $portion);
				INSERT INTO price SELECT sku, daterange(upper(daterange $portion), upper(valid_at)), price, note FROM old
					WHERE upper(valid_at) > upper(daterange $portion);" ;;
		byhand/each) statement="SELECT sum(by_hand(k, $portion, 5)) FROM generate_series(1, 10000) k;" ;;
		*/once) statement="SELECT dbpatterns.portion_update('price', '{}', $portion, '{\"price\": 5}');" ;;
		*/each) statement="SELECT sum(dbpatterns.portion_update('price', jsonb_build_object('sku', k), $portion, '{\"price\": 5}'))
			FROM generate_series(1, 10000) k;" ;;
	esac
	milliseconds "$1" "TRUNCATE price;
		INSERT INTO price SELECT * FROM seed;
		VACUUM ANALYZE price;
		CHECKPOINT" "BEGIN; $statement COMMIT"
}
