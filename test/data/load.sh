#!/bin/sh
# load.sh [PSQL ARGUMENT...]
#
# Loads the test data into a new schema "catalogue", all or nothing.  The
# arguments are psql's (database, host, port, user); PSQL names another psql.
# Nothing is replaced: an existing schema of that name is an error.
set -eu
here=$(cd "$(dirname "$0")" && pwd)
tables="maintainer section package dependency release"

# A damaged file must not end its rows early and pass for a whole one.
for table in $tables; do gzip -t "$here/$table.tsv.gz"; done

# Text format with inline rows is read alike by every psql; a \copy could not
# be told where this directory is.
{
	cat "$here/load.sql"
	for table in $tables; do
		echo "COPY catalogue.$table FROM STDIN WITH (HEADER MATCH);"
		gzip -dc "$here/$table.tsv.gz"
		echo '\.'
	done
	for table in $tables; do echo "ANALYZE catalogue.$table;"; done
	echo 'COMMIT;'
} | "${PSQL:-psql}" -X -q -v ON_ERROR_STOP=1 "$@"
