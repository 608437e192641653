# scripts/benchmark-teleport's table of the times: CASE MACHINE TOTAL-MS DOWN-MS GAP-MS. With median.awk.

function shown(name, kind) { return (name, kind) in times ? sprintf(kind == "total" ? "%.0f" : "%.1f", median(times[name, kind])) : "-" }
function row(    name, line) {
  line = sprintf("%-10s", last)
  for (name = 1; name <= 3; name++) {
    if (machine[name] in seen)
      line = line sprintf(" %9s %7s %7s", shown(machine[name], "total"), shown(machine[name], "down"), shown(machine[name], "gap"))
  }
  print line
  delete times
}
function head(    name, line) {
  line = sprintf("%-10s", "case, ms")
  for (name = 1; name <= 3; name++)
    if (machine[name] in seen) line = line sprintf(" %9s %7s %7s", machine[name], "down", "gap")
  print line
}

BEGIN { split("vmctl qemu newer", machine, " ") }
{ line[NR] = $0; seen[$2] }
END {
  head()
  for (number = 1; number <= NR; number++) {
    split(line[number], field, " ")
    if (last != "" && field[1] != last) row()
    last = field[1]
    times[field[2], "total"] = times[field[2], "total"] " " field[3]
    times[field[2], "down"] = times[field[2], "down"] " " field[4]
    times[field[2], "gap"] = times[field[2], "gap"] " " field[5]
  }
  if (last != "") row()
}
