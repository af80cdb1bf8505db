#!/usr/bin/env bash
#
# demo.sh: from nothing to a narrated tour in one command (make demo).
#
# KEEP=1 leaves the server running and prints how to connect and how to stop.

# shellcheck source-path=SCRIPTDIR source=lib.sh
. "$(dirname "${BASH_SOURCE[0]}")/lib.sh"

# shellcheck disable=SC2119
setup
start_server ""

run() { as_user psql -X -q -v ON_ERROR_STOP=1 -P pager=off "$@"; }

createdb demo
createdb try
export PGDATABASE=demo
cd "$STAGE" || exit
say "Loading the catalogue"
run -c 'CREATE EXTENSION dbpatterns'
quietly data as_user test/data/load.sh
run -f test/setup/demo.sql
[ -z "${KEEP:-}" ] || say "" "Database demo has the tables of the tour, database try is empty: for the guide."
