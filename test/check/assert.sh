#!/usr/bin/env bash
#
# assert.sh [plain|discard|valgrind]: the tests on a server that checks itself.
#
# Builds PostgreSQL from the source package of this distribution, with
# assertions, memory checks and valgrind hooks, in DBP_ASSERT
# (/var/cache/dbpatterns/assert; kept until the options below change), and runs
# test.sh on it:
#     plain      all suites that need a server
#     discard    pg_regress and isolation with debug_discard_caches = 1: every
#                catalog entry is dropped as soon as it may be, so that code
#                which keeps a pointer across an invalidation fails at once;
#                takes hours
#     valgrind   pg_regress with every backend under valgrind; its errors count
#                as failures
# SUITES overrides the list.  Needs root or sudo for the packages.  Ends with
# `N passed, N failed`.

# shellcheck source-path=SCRIPTDIR source=../setup/lib.sh
. "$(dirname "${BASH_SOURCE[0]}")/../setup/lib.sh"

MODE=${1:-plain}
HOUSE=${DBP_ASSERT:-/var/cache/dbpatterns/assert}
BUILD_PACKAGES='dpkg-dev bzip2 gcc libc6-dev libicu-dev libxml2-dev make perl pkg-config valgrind zlib1g-dev'
CONFIGURE='--enable-cassert --enable-debug --enable-tap-tests --with-icu --with-libxml --without-readline'

# Download the source package into the current directory, with sources and
# lists of our own: the system's apt configuration stays as it is.
get_source()
{
	local mirror codename

	# shellcheck disable=SC2016
	mirror=$(apt-get indextargets --format '$(SITE)' 'Created-By: Packages' \
		'Component: main' | head -n 1)
	codename=$(sed -n 's/^VERSION_CODENAME=//p' /etc/os-release)
	mkdir -p lists/partial
	echo "deb-src $mirror $codename main" >sources
	local options=(-o "Dir::Etc::SourceList=$PWD/sources" -o Dir::Etc::SourceParts=/dev/null
		-o "Dir::State::Lists=$PWD/lists" -o APT::Sandbox::User=root)
	apt-get "${options[@]}" update &&
		apt-get "${options[@]}" source --download-only "postgresql-$(distribution_major)"
}

build_server()
{
	cd "$HOUSE/build"
	get_source
	tar -xf postgresql-*.orig.tar.*
	cd postgresql-*/
	# shellcheck disable=SC2086
	./configure --prefix="$HOUSE/server" $CONFIGURE \
		CFLAGS='-Og -g -fno-omit-frame-pointer' CPPFLAGS=-DUSE_VALGRIND
	make -s -j "$(nproc)" world-bin
	make -s install-world-bin
	cp src/tools/valgrind.supp "$HOUSE/server"
	echo "$CONFIGURE" >"$HOUSE/server/recipe"
}

# The program that pg_ctl starts instead of postgres.
write_wrapper()
{
	cat >"$HOUSE/server/postgres-valgrind" <<-WRAPPER
		#!/bin/sh
		exec valgrind --quiet --leak-check=no --track-origins=yes --trace-children=yes \\
			--error-markers=VALGRIND-BEGIN,VALGRIND-END \\
			--suppressions=$HOUSE/server/valgrind.supp \\
			--log-file=$HOUSE/valgrind/%p.log \\
			$HOUSE/server/bin/postgres "\$@"
	WRAPPER
	chmod 755 "$HOUSE/server/postgres-valgrind"
}

case $MODE in
	plain) suites='regress isolation tap model docs' conf= ;;
	discard) suites='regress isolation' conf=$'debug_discard_caches = 1\nautovacuum = off' ;;
	valgrind) suites=regress conf= ;;
	*) die "unknown mode $MODE" ;;
esac
make_work
if [ "$(cat "$HOUSE/server/recipe" 2>/dev/null)" != "$CONFIGURE" ]; then
	say "Building an assertion-enabled PostgreSQL in $HOUSE"
	# shellcheck disable=SC2086
	quietly packages as_root apt-get -o DPkg::Lock::Timeout=300 install -y \
		--no-install-recommends $BUILD_PACKAGES
	as_root mkdir -p "$HOUSE"
	as_root chown "$(id -u)" "$HOUSE"
	rm -rf "$HOUSE/build" "$HOUSE/server"
	mkdir "$HOUSE/build"
	(set -e; build_server) >"$HOUSE/build.log" 2>&1 </dev/null || {
		tail -n 40 "$HOUSE/build.log"
		die "the whole log is $HOUSE/build.log"
	}
	rm -rf "$HOUSE/build"
fi

export PG_CONFIG=$HOUSE/server/bin/pg_config SUITES=${SUITES:-$suites} DBP_CONF=$conf
if [ "$MODE" != valgrind ]; then
	bash "$ROOT/test/setup/test.sh"
	exit
fi

write_wrapper
rm -rf "$HOUSE/valgrind"
mkdir -m 1777 "$HOUSE/valgrind"

DBP_POSTGRES=$HOUSE/server/postgres-valgrind bash "$ROOT/test/setup/test.sh" |
	tee "$HOUSE/valgrind.log" | grep -vE '^[0-9]+ passed' || true
grep -hA 30 VALGRIND-BEGIN -r "$HOUSE/valgrind" | head -n 200 || true
errors=$(cat "$HOUSE"/valgrind/*.log | grep -c VALGRIND-BEGIN || true)
read -r passed _ failed _ <<<"$(grep -E '^[0-9]+ passed' "$HOUSE/valgrind.log" || echo 0 passed, 1 failed)"
say "$passed passed, $((failed + errors)) failed"
[ $((failed + errors)) = 0 ]
