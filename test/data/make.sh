#!/bin/sh
# make.sh PACKAGES [DOCDIR]
#
# Makes maintainer, section, package, dependency and release.tsv.gz beside
# this script from an uncompressed Debian Packages file, and prints their row
# counts.  DOCDIR is a directory of installed package documentation
# (usr/share/doc), whose changelogs give the releases and so the dates; without
# it the releases are taken from the release.tsv.gz that is there.  The same
# input gives the same bytes.  README.md states the rules; needs awk, sort and
# gzip only.
set -eu
LC_ALL=C; export LC_ALL
if [ ! -f "${1-}" ] || [ ! -d "${2-/}" ]; then
	echo "usage: $0 PACKAGES [DOCDIR]" >&2; exit 2
fi
here=$(cd "$(dirname "$0")" && pwd)
tmp=$(mktemp -d); trap 'rm -rf "$tmp"' EXIT
tab=$(printf '\t')

# Sections taken whole, beside the sources that have releases.
whole="database httpd shells vcs interpreters"

# 1. One line per package, in order of name: the fields used, tab separated.
awk -v OFS='\t' '
function put(  a, src, srcver, area, sec) {
	if (!("Package" in f)) return
	split(f["Source"] == "" ? f["Package"] : f["Source"], a, " ")
	src = a[1]; srcver = a[2]; gsub(/[()]/, "", srcver)
	if (srcver == "") { srcver = f["Version"]; sub(/\+b[0-9]+$/, "", srcver) }
	area = "main"; sec = f["Section"]
	if (split(sec, a, "/") == 2) { area = a[1]; sec = a[2] }
	print f["Package"], src, srcver, f["Version"], f["Maintainer"], area, \
		sec, f["Priority"], f["Architecture"], f["Multi-Arch"], \
		f["Essential"], f["Homepage"], f["Installed-Size"], f["Size"], \
		f["Tag"], f["Pre-Depends"], f["Depends"], f["Recommends"], \
		f["Suggests"]
}
/^$/ { put(); split("", f); next }
{ gsub(/[\t\\]/, " ") }
/^ / { f[key] = f[key] $0; next }
{ key = substr($0, 1, index($0, ":") - 1); f[key] = substr($0, length(key) + 3) }
END { put() }' "$1" | sort -t "$tab" -k1,1 -k4,4 |
awk -F '\t' 'NR > 1 && $1 != name { print line }
	{ name = $1; line = $0 } END { print line }' > "$tmp/packages"

# 2. Releases: source, version, time, suite, urgency.
if [ $# -ge 2 ]; then
	find "$2"/ -type f -name 'changelog*.gz' | sort |
	while read -r file; do gzip -dc "$file"; done |
	awk -v OFS='\t' '
	BEGIN {
		split("Jan Feb Mar Apr May Jun Jul Aug Sep Oct Nov Dec", m, " ")
		for (i in m) month[m[i]] = sprintf("%02d", i)
	}
	/^[a-z0-9][a-z0-9.+-]+ \([0-9A-Za-z.+:~-]+\) [^;]*;/ {
		src = $1; ver = substr($2, 2, length($2) - 2); suite = $3; urgency = "\\N"
		sub(/;.*/, "", suite)
		if (match($0, /urgency=[A-Za-z]+/))
			urgency = tolower(substr($0, RSTART + 8, RLENGTH - 8))
		next
	}
	/^ -- .*>  ?[A-Z][a-z][a-z], +[0-9]+ / && src != "" {
		sub(/.*>  ?[A-Z][a-z][a-z], +/, "")
		if (($2 in month) && $3 ~ /^[12][0-9][0-9][0-9]$/ &&
			$4 ~ /^[0-9][0-9]:[0-9][0-9]:[0-9][0-9]$/ &&
			$5 ~ /^[+-][01][0-9][0-9][0-9]$/)
			print src, ver, sprintf("%s-%s-%02d %s%s", $3, month[$2], $1, $4, $5), \
				suite, urgency
		src = ""
	}' | sort -u |
	# A history counts only if it shares a leading number with the version in
	# the index, which keeps out another vendor's builds of the same name; of
	# two dates for one version the later stands.
	awk -F '\t' '
	{ v = (FILENAME == ARGV[1]) ? $3 : $2; match(v, /^([0-9]+:)?[0-9]+/)
	  number = substr(v, 1, RLENGTH) }
	FILENAME == ARGV[1] { indexed[$2, number] = 1; next }
	{ line[$1, $2] = $0; source[$1, $2] = $1
	  if (($1, number) in indexed) ours[$1] = 1 }
	END { for (k in line) if (source[k] in ours) print line[k] }' \
		"$tmp/packages" - | sort > "$tmp/release"
else
	gzip -dc "$here/release.tsv.gz" | sed 1d > "$tmp/release"
fi

# 3. Dependencies on packages of the index: package, target, kind, place of the
#    alternative in its "a | b" group, version constraint.  One row for a pair
#    and kind; constraints of repeated pairs are joined.
awk -F '\t' -v OFS='\t' '
FILENAME == ARGV[1] && FNR == NR { real[$1] = 1; next }
{
	n = split("pre-depends depends recommends suggests", kind, " ")
	for (k = 1; k <= n; k++) {
		terms = split($(15 + k), term, ",")
		split("", place); split("", want); order = 0
		for (t = 1; t <= terms; t++) {
			alts = split(term[t], alt, "|"); rank = 0
			for (a = 1; a <= alts; a++) {
				target = alt[a]; sub(/^ +/, "", target); constraint = ""
				if (match(target, /\(.*\)/))
					constraint = substr(target, RSTART + 1, RLENGTH - 2)
				sub(/[ :(].*/, "", target)
				if (!(target in real) || target == $1) continue
				rank++
				if (!(target in place)) { place[target] = rank; seq[++order] = target }
				if (rank < place[target]) place[target] = rank
				if (constraint != "") want[target] = \
					(want[target] == "" ? "" : want[target] ", ") constraint
			}
		}
		for (i = 1; i <= order; i++) print $1, seq[i], kind[k], place[seq[i]], \
			want[seq[i]] == "" ? "\\N" : want[seq[i]]
	}
}' "$tmp/packages" "$tmp/packages" > "$tmp/edges"

# 4. The subset: see README.md.
awk -F '\t' -v whole="$whole" '
BEGIN { n = split(whole, w, " "); for (i = 1; i <= n; i++) section[w[i]] = 1 }
FILENAME == ARGV[1] { dated[$1] = 1; next }
FILENAME == ARGV[2] {
	if (($2 in dated) || ($7 in section) || $8 ~ /^(required|important|standard)$/)
		{ in_set[$1] = 1; queue[++last] = $1 }
	next
}
$3 ~ /depends$/ && $4 == 1 { need[$1] = need[$1] " " $2 }
END {
	for (i = 1; i <= last; i++) {
		n = split(need[queue[i]], d, " ")
		for (j = 1; j <= n; j++)
			if (!(d[j] in in_set)) { in_set[d[j]] = 1; queue[++last] = d[j] }
	}
	for (p in in_set) print p
}' "$tmp/release" "$tmp/packages" "$tmp/edges" | sort > "$tmp/chosen"
awk -F '\t' 'FNR == NR { c[$1] = 1; next } $1 in c' "$tmp/chosen" \
	"$tmp/packages" > "$tmp/subset"
[ -s "$tmp/subset" ] ||
	{ echo "$0: $1 gives no packages; is it compressed?" >&2; exit 1; }

# 5. Maintainers: a team keeps its name and domain, a person gets a pseudonym.
#    A team is known by the letters of its name, as spellings of it vary.
awk -F '\t' -v OFS='\t' '
{
	name = $5; sub(/ *<.*/, "", name); gsub(/"/, "", name)
	address = $5; sub(/.*</, "", address); sub(/>.*/, "", address)
	domain = tolower(address); sub(/.*@/, "", domain)
	words = " " tolower(name) " "; gsub(/[^a-z]/, " ", words)
	team = name ~ /^Debian / ||
		words ~ / (team|group|project|force|folks|party) / ||
		words ~ / (maintainers?|maintaners|developers) / ||
		words ~ / (packagers|packages|packaging) /
	gsub(/ +/, " ", words); gsub(/ +/, " ", name)
	key = team ? words : address
	if (!(key in id)) {
		id[key] = ++last
		print last, team ? name : sprintf("maintainer %04d", ++persons), \
			team ? "team" : "person", team ? domain : "\\N" > (dir "/maintainer")
	}
	print $1, id[key] > (dir "/maintainer_of")
}' dir="$tmp" "$tmp/subset"

# 6. The section tree: area, section, source.  Parents come before children.
awk -F '\t' -v OFS='\t' '{ print 1, $6; print 2, $6 "/" $7
	print 3, $6 "/" $7 "/" $2 }' "$tmp/subset" | sort -u -k1,1n -k2,2 |
awk -F '\t' -v OFS='\t' '{
	id[$2] = NR; parent = $2; name = $2
	sub(/\/?[^\/]*$/, "", parent); sub(/.*\//, "", name)
	print NR, parent == "" ? "\\N" : id[parent], name, $2
}' > "$tmp/section_path"
cut -f 1-3 "$tmp/section_path" > "$tmp/section"

# 7. Packages.  A homepage host is kept where three sources share it.
awk -F '\t' -v OFS='\t' '
function host(url) {
	url = tolower(url); sub(/^[a-z]+:\/\//, "", url); sub(/[\/:?#].*/, "", url)
	return url ~ /^[a-z0-9.-]+$/ ? url : ""
}
FILENAME == ARGV[1] { section[$4] = $1; next }
FILENAME == ARGV[2] { maintainer[$1] = $2; next }
FILENAME == ARGV[3] { dated[$1, $2] = $3; next }
!last {
	h = host($12); if (!((h, $2) in seen)) { seen[h, $2] = 1; sources[h]++ }
	next
}
{
	h = host($12); tags = $15; gsub(/ +/, "", tags); when = "\\N"
	if (($2, $3) in dated) when = dated[$2, $3]
	json = "{\"architecture\": \"" $9 "\", \"priority\": \"" $8 "\""
	if ($10 != "") json = json ", \"multi_arch\": \"" $10 "\""
	if ($11 == "yes") json = json ", \"essential\": true"
	if (h != "" && sources[h] >= 3) json = json ", \"homepage_host\": \"" h "\""
	json = json ", \"deb_bytes\": " $14 "}"
	print ++id, $1, maintainer[$1], section[$6 "/" $7 "/" $2], $2, $4, \
		$13 == "" ? "\\N" : $13, \
		($13 > 0) ? sprintf("%.4f", $14 / ($13 * 1024)) : "\\N", \
		"{" tags "}", json, when
}' "$tmp/section_path" "$tmp/maintainer_of" "$tmp/release" "$tmp/subset" \
	last=1 "$tmp/subset" > "$tmp/package"

# 8. The edges inside the subset, by number; the releases of its sources.
awk -F '\t' -v OFS='\t' '
FNR == NR { id[$2] = $1; next }
($1 in id) && ($2 in id) { print id[$1], id[$2], $3, $4, $5 }' \
	"$tmp/package" "$tmp/edges" | sort -k1,1n -k2,2n -k3,3 > "$tmp/dependency"
mv "$tmp/release" "$tmp/all"
awk -F '\t' 'FNR == NR { s[$5] = 1; next } $1 in s' "$tmp/package" \
	"$tmp/all" > "$tmp/release"

put() {
	table=$1; shift
	{ echo "$*" | tr ' ' '\t'; cat "$tmp/$table"; } | gzip -9n > "$here/$table.tsv.gz"
	echo "$table $(($(wc -l < "$tmp/$table")))"
}
put maintainer id name kind domain
put section id parent_id name
put package id name maintainer_id section_id source version \
	installed_size_kb packed_ratio tags attributes released_at
put dependency package_id depends_on_id kind alternative version_constraint
put release source version released_at suite urgency
