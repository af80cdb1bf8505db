#!/usr/bin/env bash
#
# indent.sh [--check]: format src/ as PostgreSQL does, with its pgindent.
#
# pgindent comes with the development files of PostgreSQL 17 and later.  On an
# older system the one in the chroot of `make matrix` is used, if that is there
# (DBP_CHROOTS; root only).  --check changes nothing and shows what would be
# changed.  Exit status: 1 something to change, 77 no pgindent.

set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/../.."

# Print the directory of the newest pgindent below a root directory.
find_pgindent()
{
	printf '%s\n' "$1"/usr/lib/postgresql/*/bin/pgindent | sort -V | tail -n 1 |
		while read -r program; do
			[ ! -x "$program" ] || dirname "${program#"$1"}"
		done
}

root=
bindir=$(find_pgindent "")
if [ -z "$bindir" ] && [ "$(id -u)" = 0 ]; then
	root=${DBP_CHROOTS:-/var/cache/dbpatterns}/17
	bindir=$(find_pgindent "$root")
fi
if [ -z "$bindir" ]; then
	echo 'pgindent is not installed: it comes with postgresql-server-dev-17 and later'
	exit 77
fi

work=$(mktemp -d "$root/var/tmp/indent.XXXXXX")
trap 'rm -rf "$work"' EXIT
inside=${work#"$root"}
major=$(basename "$(dirname "$bindir")")
find src -name '*.[ch]' | tar -T - -cf - | tar -C "$work" -xf -

# It must know the names of types: those of the server and those we define.
{
	cat "$root/usr/share/postgresql/$major/typedefs.list"
	find src -name '*.[ch]' -exec cat {} + |
		sed -nE 's/^}[[:space:]]*([A-Za-z_0-9]+);.*/\1/p
				 s/^typedef .*[ *]([A-Za-z_0-9]+);.*/\1/p
				 s/^typedef .*\(\*[[:space:]]*([A-Za-z_0-9]+)\).*/\1/p'
} | sort -u >"$work/typedefs"
${root:+chroot "$root"} env PATH="$bindir:$PATH" pgindent \
	--typedefs="$inside/typedefs" --indent="$bindir/pg_bsd_indent" "$inside/src"

status=0
while IFS= read -r file; do
	if [ "${1:-}" = --check ]; then
		diff -u "$file" "$work/$file" || status=1
	elif ! cmp -s "$file" "$work/$file"; then
		cp "$work/$file" "$file"
	fi
done <<<"$(find src -name '*.[ch]' | sort)"
exit "$status"
