#!/usr/bin/env bash
#
# matrix.sh: the same tests on the other supported PostgreSQL (make matrix).
#
# Each runs in a chroot made with debootstrap from the Debian release that
# ships it, with that release's compilers and -Werror; the tests are test.sh
# inside.  The warnings are checked on the host's PostgreSQL as well.
#
# The chroots stay in DBP_CHROOTS (/var/cache/dbpatterns) and are made again
# when their recipe below changes or when they are removed.  The archive is
# the one of the host's apt configuration, or DBP_MIRROR.  What the archive does
# not deliver is printed as SKIPPED with the reason and fails nothing; a failing
# installation, build or test does.  Needs root or sudo.  Last line: `N passed, N failed`.

# shellcheck source-path=SCRIPTDIR source=lib.sh
. "$(dirname "${BASH_SOURCE[0]}")/lib.sh"

CHROOTS=${DBP_CHROOTS:-/var/cache/dbpatterns}
SUITES=${SUITES:-warnings rules regress isolation tap model docs}
export PATH="$PATH:/usr/sbin:/sbin"
# What debootstrap and apt say when the archive does not deliver.
UNREACHABLE='E: .*(Failed getting release|Couldn.t download|Failed to fetch|Unable to locate|no installation candidate|unmet dependencies|held broken)'
passed_all=0
failed_all=0
mounted=

mount_proc()
{
	if ! mountpoint -q "$1/proc" && mount -t proc proc "$1/proc"; then
		mounted=$1/proc
	fi
}

unmount_proc()
{
	if [ -n "$mounted" ]; then
		umount "$mounted"
		mounted=
	fi
}

# Print the Debian archive that the host uses.
find_mirror()
{
	if [ -n "${DBP_MIRROR:-}" ]; then
		say "$DBP_MIRROR"
	elif command -v apt-get >/dev/null; then
		# shellcheck disable=SC2016
		apt-get indextargets --format '$(SITE)' 'Created-By: Packages' \
			'Origin: Debian' 'Label: Debian' 'Component: main' | head -n 1
	fi
}

# in_chroot DIR COMMAND...
in_chroot()
{
	local dir=$1

	shift
	env -i PATH=/usr/sbin:/usr/bin:/sbin:/bin LC_ALL=C HOME=/root \
		DEBIAN_FRONTEND=noninteractive chroot "$dir" "$@"
}

# The host's way to the archive, and nothing more than what is asked for.
configure_apt()
{
	apt-config dump Acquire | grep -iE 'proxy|check-(date|valid)' >"$1/etc/apt/apt.conf.d/80host" || true
	echo 'APT::Install-Recommends "false";' >"$1/etc/apt/apt.conf.d/81dbpatterns"
	echo force-unsafe-io >"$1/etc/dpkg/dpkg.cfg.d/dbpatterns"
	printf '#!/bin/sh\nexit 101\n' >"$1/usr/sbin/policy-rc.d"
	chmod 755 "$1/usr/sbin/policy-rc.d"
	mkdir -p "$1/etc/postgresql-common"
	echo 'create_main_cluster = false' >"$1/etc/postgresql-common/createcluster.conf"
	cp -L /etc/resolv.conf /etc/hosts "$1/etc/"
	chmod 1777 "$1/dev/shm"
}

# get_chroot DIR SUITE PACKAGES: make the chroot unless it is there; prints
# what happens to stdout, which is the log.
get_chroot()
{
	local dir=$1 suite=$2 packages=$3

	[ "$(cat "$dir/recipe" 2>/dev/null)" != "$suite $packages" ] || return 0
	rm -rf --one-file-system "$dir"
	debootstrap --variant=minbase --include=ca-certificates "$suite" "$dir" "$mirror" || return
	configure_apt "$dir"
	mount_proc "$dir"
	in_chroot "$dir" apt-get update || return
	# shellcheck disable=SC2086
	in_chroot "$dir" apt-get install -y $packages || return
	in_chroot "$dir" apt-get clean
	echo "$suite $packages" >"$dir/recipe"
}

# add_counts LOG: add the last line of a run, which has failed without one.
add_counts()
{
	local line

	line=$(tail -n 1 "$1")
	if [[ $line =~ ^([0-9]+)\ passed,\ ([0-9]+)\ failed$ ]]; then
		passed_all=$((passed_all + BASH_REMATCH[1]))
		failed_all=$((failed_all + BASH_REMATCH[2]))
	else
		failed_all=$((failed_all + 1))
	fi
}

# show LABEL: pass on what a run prints, so that no line is a last line.
show() { sed -u "s/^/$1  /"; }

# run_major MAJOR SUITE
run_major()
{
	local major=$1 suite=$2 dir=$CHROOTS/$1 log=$WORK/log/$1.log src start=$SECONDS

	exec 9>"$CHROOTS/$major.lock"
	flock 9
	say "== PostgreSQL $major on Debian $suite"
	if ! get_chroot "$dir" "$suite" \
		"gcc libc6-dev make libipc-run-perl pgbouncer postgresql-$major postgresql-server-dev-$major" \
		>"$log" 2>&1 </dev/null
	then
		unmount_proc
		if grep -qE "$UNREACHABLE" "$log"; then
			say "SKIPPED: postgresql $major: $(grep -E "$UNREACHABLE" "$log" | tail -n 1)"
		else
			tail -n 40 "$log" | show "$major"
			failed_all=$((failed_all + 1))
		fi
		return
	fi
	say "$major  chroot ready after $((SECONDS - start)) s"

	mount_proc "$dir"
	rm -f "$dir"/usr/lib/postgresql/*/lib/dbpatterns* "$dir"/usr/share/postgresql/*/extension/dbpatterns*
	src=$(mktemp -d "$dir/var/tmp/matrix.XXXXXX")
	copy_tree "$ROOT" "$src"
	in_chroot "$dir" env NO_INSTALL=1 SUITES="$SUITES" ${DBP_SEED:+DBP_SEED="$DBP_SEED"} \
		bash "${src#"$dir"}/test/setup/test.sh" 2>&1 </dev/null |
		tee "$log" | show "$major" || true
	rm -rf "$src"
	unmount_proc
	add_counts "$log"
	exec 9>&-
}

[ "$(id -u)" = 0 ] || exec sudo env DBP_CHROOTS="$CHROOTS" DBP_MIRROR="${DBP_MIRROR:-}" \
	SUITES="$SUITES" bash "${BASH_SOURCE[0]}"
make_work
trap 'unmount_proc; cleanup' EXIT
get_packages debootstrap
mkdir -p "$CHROOTS"

say "== warnings on the PostgreSQL of this machine"
SUITES=warnings bash "$ROOT/test/setup/test.sh" 2>&1 </dev/null | tee "$WORK/log/host.log" | show host || true
add_counts "$WORK/log/host.log"

mirror=$(find_mirror)
if [ -z "$mirror" ] && command -v apt-get >/dev/null; then
	quietly apt-update apt-get update
	mirror=$(find_mirror)
fi
if [ -z "$mirror" ]; then
	say "SKIPPED: postgresql 17, 18: no Debian archive in the apt configuration; DBP_MIRROR names one"
else
	run_major 17 trixie
	run_major 18 sid
fi
say "$passed_all passed, $failed_all failed"
[ "$failed_all" = 0 ]
