# scripts/benchmark-teleport's table of the times: CASE MACHINE TOTAL-MS DOWN-MS. With median.awk.

function shown(name, kind) { return (name, kind) in times ? sprintf(kind == "down" ? "%.1f" : "%.0f", median(times[name, kind])) : "-" }
function ratio(kind,    q) {
  if (!(("vmctl", kind) in times) || !(("qemu", kind) in times)) return "-"
  q = median(times["qemu", kind])
  return q ? sprintf("%.2f", median(times["vmctl", kind]) / q) : "-"
}
function row() {
  printf "%-10s %11s %11s %11s %11s %11s %11s\n", last, shown("vmctl", "total"), shown("qemu", "total"), ratio("total"),
    shown("vmctl", "down"), shown("qemu", "down"), ratio("down")
  delete times
}

BEGIN { print "case        vmctl ms     qemu ms  vmctl/qemu  vmctl down   qemu down  vmctl/qemu" }
last != "" && $1 != last { row() }
{
  last = $1
  times[$2, "total"] = times[$2, "total"] " " $3
  times[$2, "down"] = times[$2, "down"] " " $4
}
END { if (last != "") row() }
