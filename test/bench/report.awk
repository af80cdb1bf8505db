# report.awk: from the numbers of a comparison to its table and its plot.
#
# Reads the facts (`key name value`) and then the numbers (`round case variant
# number`) that run.sh writes; prints a Markdown section and writes the SVG
# into the file named by the variable svg.  A ratio is taken within a round.

FNR == NR {
	value = $0
	sub(/^[^ ]+ [^ ]+ ?/, "", value)
	fact[$1 SUBSEP $2] = value
	next
}

{
	number[$1, $2, $3] = $4
	if ($1 > rounds)
		rounds = $1
	if (!(($2, $3) in seen)) {
		seen[$2, $3] = 1
		row_case[++rows] = $2
		row_variant[rows] = $3
	}
}

END {
	base = fact["baseline", "-"]
	added_to = fact["added_to", "-"]
	unit = fact["unit", "-"]
	for (row = 1; row <= rows; row++)
		measure_row(row)
	print_table()
	print_plot()
}

# Median, least and greatest of list[1..n], into stat[].
function spread(list, n, stat,    i, j, keep)
{
	for (i = 2; i <= n; i++) {
		keep = list[i]
		for (j = i - 1; j >= 1 && list[j] > keep; j--)
			list[j + 1] = list[j]
		list[j + 1] = keep
	}
	stat["low"] = list[1]
	stat["high"] = list[n]
	stat["median"] = n % 2 ? list[(n + 1) / 2] : (list[n / 2] + list[n / 2 + 1]) / 2
}

function measure_row(row,    round, c, v, b, x, list, ratio, share, stat)
{
	c = row_case[row]
	v = row_variant[row]
	for (round = 1; round <= rounds; round++) {
		b = number[round, c, base]
		list[round] = number[round, c, v]
		ratio[round] = b ? number[round, c, v] / b : 0
		x = added_to == "" ? 0 : number[round, c, added_to] - b
		share[round] = x ? (number[round, c, v] - b) / x : 0
	}
	spread(list, rounds, stat)
	middle[row] = stat["median"]
	from[row] = stat["low"]
	to[row] = stat["high"]
	spread(ratio, rounds, stat)
	ratio_middle[row] = stat["median"]
	ratio_from[row] = stat["low"]
	ratio_to[row] = stat["high"]
	spread(share, rounds, stat)
	share_middle[row] = stat["median"]
}

function label(name) { return (("label", name) in fact) ? fact["label", name] : name }

function row_label(row)
{
	return (row_case[row] == "-" ? "" : label(row_case[row]) ": ") label(row_variant[row])
}

# Three significant digits, without an exponent.
function short(x)
{
	return x >= 100 ? sprintf("%.0f", x) : x >= 10 ? sprintf("%.1f", x) : sprintf("%.2f", x)
}

function print_table(    row, extra)
{
	print "### " fact["title", "-"]
	print ""
	print "| | median " unit " | least – greatest | ratio to " label(base) " | least – greatest |" \
		(added_to == "" ? "" : " added, as a share of " label(added_to) " |")
	print "|---|---:|---:|---:|---:|" (added_to == "" ? "" : "---:|")
	for (row = 1; row <= rows; row++) {
		extra = added_to == "" ? "" : row_variant[row] == base ? " |" : \
			" " sprintf("%.3f", share_middle[row]) " |"
		print "| " row_label(row) " | " short(middle[row]) " | " short(from[row]) \
			" – " short(to[row]) " | " sprintf("%.3f", ratio_middle[row]) " | " \
			sprintf("%.3f", ratio_from[row]) " – " sprintf("%.3f", ratio_to[row]) " |" extra
	}
	print ""
	print "`make bench BENCH=" fact["name", "-"] "`, " fact["server", "-"] ", " \
		fact["rounds", "-"] " interleaved rounds; " fact["better", "-"] " is better."
	print ""
	print "![" fact["title", "-"] "](benchmarks/" fact["name", "-"] ".svg)"
}

function escape(text)
{
	gsub(/&/, "\\&amp;", text)
	gsub(/</, "\\&lt;", text)
	return text
}

# One bar per row: the median ratio, with a line from least to greatest.
function print_plot(    row, y, top, left, width, height, scale)
{
	left = 300
	width = 400
	height = 60 + 26 * rows
	top = 1
	for (row = 1; row <= rows; row++)
		if (ratio_to[row] > top)
			top = ratio_to[row]
	scale = width / top
	printf "<svg xmlns=\"http://www.w3.org/2000/svg\" width=\"%d\" height=\"%d\" font-family=\"sans-serif\" font-size=\"12\">\n", left + width + 90, height >svg
	print "<rect width=\"100%\" height=\"100%\" fill=\"#fff\"/>" >svg
	printf "<text x=\"10\" y=\"20\" font-size=\"14\" font-weight=\"bold\">%s</text>\n", escape(fact["title", "-"]) >svg
	printf "<text x=\"10\" y=\"38\" fill=\"#555\">%s as a ratio to %s, %s is better</text>\n", escape(unit), escape(label(base)), fact["better", "-"] >svg
	for (row = 1; row <= rows; row++) {
		y = 50 + 26 * (row - 1)
		printf "<text x=\"%d\" y=\"%d\" text-anchor=\"end\">%s</text>\n", left - 8, y + 14, escape(row_label(row)) >svg
		printf "<rect x=\"%d\" y=\"%d\" width=\"%.1f\" height=\"18\" fill=\"%s\"/>\n", left, y, ratio_middle[row] * scale, row_variant[row] == base ? "#b8c4d0" : "#336791" >svg
		printf "<path d=\"M%.1f %d H%.1f\" stroke=\"#d9822b\" stroke-width=\"2\"/>\n", left + ratio_from[row] * scale, y + 9, left + ratio_to[row] * scale >svg
		printf "<text x=\"%.1f\" y=\"%d\">%.2f</text>\n", left + ratio_to[row] * scale + 6, y + 14, ratio_middle[row] >svg
	}
	printf "<path d=\"M%.1f 46 V%d\" stroke=\"#888\" stroke-dasharray=\"4 3\"/>\n", left + scale, height - 8 >svg
	print "</svg>" >svg
}
