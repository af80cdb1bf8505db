# shellcheck shell=bash
#
# lib.sh: what demo, test, matrix and bench share, sourced by them.
#
# Finds or installs PostgreSQL and the build tools, builds a copy of the tree
# in a private directory, installs it, and runs a throw-away server there:
# unix socket only, never as root, gone when the script ends.  The copy makes
# the path of the clone irrelevant: PGXS cannot build in a path with a space,
# and the unprivileged user often may not enter the clone.
#
# Environment: PG_CONFIG picks a PostgreSQL, NO_INSTALL=1 only checks, KEEP=1
# leaves server and files, DBP_TMP is where the private directory goes.

set -euo pipefail
umask 022
ROOT=$(cd "$(dirname "${BASH_SOURCE[0]}")/../.." && pwd)
for name in $(compgen -e | grep -E '^(PG[A-Z]|LANG|LC_|MAKE|MFLAGS)' || true); do
	unset "$name"
done
export LC_ALL=C DEBIAN_FRONTEND=noninteractive
export -n NO_INSTALL			# means something else to PGXS

PORT=65432				# only names the socket file
WORK=					# private directory; holds the four below
STAGE=					# copy of the tree, built here
RUN_AS=					# user who owns the server; empty: the caller

say() { printf '%s\n' "$@"; }
die() { printf '%s: %s\n' "$(basename "$0")" "$*" >&2; exit 1; }

as_root()
{
	if [ "$(id -u)" = 0 ]; then
		"$@"
	elif command -v sudo >/dev/null; then
		sudo "$@"
	else
		say "needs root or sudo to run: $*" >&2
		return 1
	fi
}

# Run a command as the owner of the server.
as_user()
{
	if [ -z "$RUN_AS" ]; then
		"$@"
	else
		setpriv --reuid="$RUN_AS" --regid="$(id -g "$RUN_AS")" --init-groups \
			env HOME="$WORK" "$@"
	fi
}

# quietly LABEL COMMAND...: output to a log, shown only when it fails.
quietly()
{
	local log="$WORK/log/$1.log"

	shift
	if ! "$@" >"$log" 2>&1 </dev/null; then
		[[ $1 != as_* ]] || shift
		say "FAILED: $*" >&2
		grep -vE '^[^ ]*(gcc|clang)[^ ]* ' "$log" | tail -n 40 | sed 's/^/    /' >&2
		KEEP_LOGS=1
		die "the whole log is $log"
	fi
}

# ---- private directory -------------------------------------------------

make_work()
{
	WORK=$(mktemp -d "${DBP_TMP:-/var/tmp}/dbpatterns.XXXXXX")
	STAGE=$WORK/src
	mkdir "$WORK/log"
	KEEP_LOGS=
	trap cleanup EXIT
	trap 'exit 130' INT
	trap 'exit 143' TERM HUP
	cd "$WORK"
}

cleanup()
{
	local status=$?

	trap - EXIT
	cd /
	if [ -n "${KEEP:-}" ] && [ -f "$WORK/data/postmaster.pid" ]; then
		keep_server
		exit "$status"
	fi
	stop_server
	if [ -n "$KEEP_LOGS" ]; then
		rm -rf "$WORK/data" "$STAGE"
	else
		rm -rf "$WORK"
	fi
	exit "$status"
}

# ---- packages ----------------------------------------------------------

has_headers() { echo '#include <stdlib.h>' | cc -E - >/dev/null 2>&1; }

# A pg_config that belongs to a server and its development files.
usable_pg_config()
{
	[ -x "$1" ] && "$1" --version >/dev/null 2>&1 &&
		[ -x "$("$1" --bindir)/postgres" ] && [ -x "$("$1" --bindir)/initdb" ] &&
		[ -f "$("$1" --includedir-server)/postgres.h" ] && [ -f "$("$1" --pgxs)" ]
}

# Print the pg_config to use: the given one, else the newest usable one.
find_pg_config()
{
	local candidate

	if [ -n "${PG_CONFIG:-}" ]; then
		candidate=$(command -v "$PG_CONFIG" || true)
		usable_pg_config "$candidate" ||
			die "PG_CONFIG=$PG_CONFIG has no server with development files"
		say "$candidate"
		return
	fi
	while read -r candidate; do
		if usable_pg_config "$candidate"; then
			say "$candidate"
			return
		fi
	done <<<"$(printf '%s\n' /usr/lib/postgresql/*/bin/pg_config | sort -rV
			   command -v pg_config || true)"
}

# PostgreSQL major version of the distribution.
distribution_major()
{
	{ apt-cache depends postgresql 2>/dev/null || true; } |
		sed -nE 's/^ *Depends: postgresql-([0-9]+)$/\1/p'
}

# Print the packages that provide what is missing.  Arguments name what a
# script needs beyond compiler, make and server: tap, debootstrap.
missing_packages()
{
	local need pg major

	command -v cc >/dev/null || say gcc
	has_headers || say libc6-dev
	command -v make >/dev/null || say make
	pg=$(find_pg_config) || exit 1
	if [ -z "$pg" ]; then
		major=$(distribution_major)
		say "postgresql${major:+-$major}" "postgresql-server-dev-${major:-all}"
	fi
	for need in "$@"; do
		case $need in
			tap)
				command -v prove >/dev/null || say perl
				perl -MIPC::Run -e 1 2>/dev/null || say libipc-run-perl
				PATH=$PATH:/usr/sbin command -v pgbouncer >/dev/null || say pgbouncer ;;
			debootstrap)
				PATH=$PATH:/usr/sbin command -v debootstrap >/dev/null || say debootstrap
				[ -f /usr/share/keyrings/debian-archive-keyring.gpg ] || say debian-archive-keyring ;;
		esac
	done
}

# Install the packages with apt; a new server must not get a cluster, and no
# service is to be started.
apt_install()
{
	local conf=/etc/postgresql-common/createcluster.d/dbpatterns.conf policy=/usr/sbin/policy-rc.d
	local made=("$conf") status=0

	as_root mkdir -p "${conf%/*}"
	echo 'create_main_cluster = false' | as_root tee "$conf" >/dev/null
	if [ ! -e "$policy" ]; then
		made+=("$policy")
		printf '#!/bin/sh\nexit 101\n' | as_root tee "$policy" >/dev/null
		as_root chmod 755 "$policy"
	fi
	as_root apt-get -o DPkg::Lock::Timeout=300 install -y --no-install-recommends "$@" || status=1
	as_root rm -f "${made[@]}"
	return "$status"
}

# See that everything needed is here, installing it where that is possible.
get_packages()
{
	local missing

	missing=$(missing_packages "$@") || exit 1
	if [ -n "$missing" ] && [ -z "${NO_INSTALL:-}" ] && command -v apt-get >/dev/null; then
		quietly apt-update as_root apt-get -o DPkg::Lock::Timeout=300 update
		missing=$(missing_packages "$@") || exit 1
		say "Installing packages (a few minutes): ${missing//$'\n'/ }"
		# shellcheck disable=SC2086
		quietly apt-install apt_install $missing
		missing=$(missing_packages "$@") || exit 1
	fi
	[ -z "$missing" ] ||
		die "these packages (Debian names) are needed: ${missing//$'\n'/ }"
}

# ---- build -------------------------------------------------------------

# List the files of the tree, NUL-terminated, without what a build leaves.
list_tree()
{
	local git=(git -c "safe.directory=*" -C "$1")

	if [ -e "$1/.git" ] && command -v git >/dev/null; then
		(cd "$1" && "${git[@]}" ls-files -z -co --exclude-standard |
			while IFS= read -r -d '' file; do
				[ ! -e "$file" ] || printf '%s\0' "$file"
			done)
	else
		(cd "$1" && find . -type f -print0)
	fi
}

# copy_tree FROM TO
copy_tree()
{
	mkdir -p "$2"
	list_tree "$1" | tar -C "$1" --null -T - -cf - | tar -C "$2" --no-same-owner -xf -
}

# Make variables a build needs: which PostgreSQL, and no bitcode where the
# compiler for it is missing.
make_vars()
{
	local global clang

	say "PG_CONFIG=$PG_CONFIG"
	global=$(dirname "$("$PG_CONFIG" --pgxs)")/../Makefile.global
	clang=$(sed -n 's/^CLANG[ \t]*=[ \t]*//p' "$global")
	command -v "${clang:-clang}" >/dev/null || say with_llvm=no
}

# Set up everything up to an installed extension; arguments: see missing_packages.
setup()
{
	make_work
	get_packages "$@"
	PG_CONFIG=$(find_pg_config)
	BINDIR=$("$PG_CONFIG" --bindir)
	export PATH="$BINDIR:$PATH"
	if [ "$(id -u)" = 0 ]; then
		RUN_AS=postgres
		id "$RUN_AS" >/dev/null 2>&1 || RUN_AS=nobody
	fi
	say "Using $("$PG_CONFIG" --version), server owned by ${RUN_AS:-$(id -un)}"
	if [ ! -w "$("$PG_CONFIG" --pkglibdir)" ] && ! command -v sudo >/dev/null; then
		die "needs root or sudo, to install the extension into PostgreSQL"
	fi
	say "Building the extension"
	copy_tree "$ROOT" "$STAGE"
	[ -z "$RUN_AS" ] || chown -R "$RUN_AS": "$WORK"
	mapfile -t MAKE_VARS <<<"$(make_vars)"
	quietly build as_user make -C "$STAGE" -j "$(nproc)" "${MAKE_VARS[@]}" COPT="${COPT:-}" all
	if [ -w "$("$PG_CONFIG" --pkglibdir)" ]; then
		quietly install make -C "$STAGE" "${MAKE_VARS[@]}" install
	else
		quietly install as_root make -C "$STAGE" "${MAKE_VARS[@]}" install
	fi
}

# ---- server ------------------------------------------------------------

# start_server [CONFIGURATION]: start the throw-away server; psql and friends
# find it by the environment.  assert.sh adds to the configuration (DBP_CONF)
# and replaces the program (DBP_POSTGRES).
start_server()
{
	say "Starting a private server"
	quietly initdb as_user initdb -D "$WORK/data" -U postgres --auth=trust \
		--encoding=UTF8 --locale=C --no-sync
	as_user tee -a "$WORK/data/postgresql.conf" >/dev/null <<-CONF
		listen_addresses = ''
		unix_socket_directories = '$WORK'
		port = $PORT
		fsync = off
		${1:-}
		${DBP_CONF:-}
	CONF
	quietly start as_user pg_ctl ${DBP_POSTGRES:+-p "$DBP_POSTGRES"} -D "$WORK/data" -t 300 -l "$WORK/log/server.log" -w start
	export PGHOST=$WORK PGPORT=$PORT PGUSER=postgres PGDATABASE=postgres
}

# Tell how to use and how to end the server that KEEP=1 leaves running.
keep_server()
{
	local sudo=

	[ -z "$RUN_AS" ] || sudo="sudo -u $RUN_AS "
	[ "$(id -u)" != 0 ] || [ -n "${SUDO_USER:-}" ] || sudo="runuser -u $RUN_AS -- "
	say "" "The server is still running, with its files in $WORK.  Connect with"
	say "    ${sudo}$BINDIR/psql -h $WORK -p $PORT -U postgres $PGDATABASE"
	say "and stop it with"
	say "    ${sudo}$BINDIR/pg_ctl -D $WORK/data stop && ${sudo}rm -r $WORK"
}

stop_server()
{
	if [ -n "$WORK" ] && [ -f "$WORK/data/postmaster.pid" ]; then
		as_user pg_ctl -D "$WORK/data" -m fast -w stop >>"$WORK/log/stop.log" 2>&1 ||
			say "the server in $WORK/data did not stop" >&2
	fi
}
