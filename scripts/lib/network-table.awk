# scripts/benchmark-network's table of the values: CARD/NETWORK MACHINE WHAT VALUE. With median.awk.

function shown(x) { return x == "" ? "-" : sprintf(x < 10 ? "%.2f" : x < 100 ? "%.1f" : "%.0f", x) }
# Of throughput more is better, of all else less; ratio: how many times as good vmctl is as the better QEMU.
function row(cell, what, title, isRate,    name, v, t, m, q) {
  v = ""; t = ""
  for (name in machines) {
    if (!((cell, name, what) in values)) continue
    m = median(values[cell, name, what])
    if (name == "vmctl") v = m
    else if (t == "" || (isRate ? m > t : m < t)) t = m
  }
  if (v == "" && t == "") return
  q = v == "" || t == "" || v == 0 || t == 0 ? "" : isRate ? v / t : t / v
  printf "%-14s %-30s %10s %10s %8s%s\n", cell, title, shown(t), shown(v), q == "" ? "-" : sprintf("%.2f", q), \
    (q != "" && q < 1 ? "  worse" : "")
}

{
  values[$1, $2, $3] = values[$1, $2, $3] " " $4
  machines[$2] = 1
  if (!($1 in seen)) { seen[$1] = 1; cells[++count] = $1 }
}

END {
  printf "%-14s %-30s %10s %10s %8s\n", "card/network", "", "TCG", "vmctl", "ratio"
  for (i = 1; i <= count; i++) {
    c = cells[i]
    row(c, "out-1", "out, 1 stream, Mbit/s", 1)
    row(c, "in-1", "in, 1 stream, Mbit/s", 1)
    row(c, "out-4", "out, 4 streams, Mbit/s", 1)
    row(c, "in-4", "in, 4 streams, Mbit/s", 1)
    row(c, "out-1-cpu", "out, CPU s per GB", 0)
    row(c, "in-1-cpu", "in, CPU s per GB", 0)
    row(c, "udp-p50", "UDP exchange, median, us", 0)
    row(c, "udp-p99", "UDP exchange, 99 %, us", 0)
    row(c, "tcp-p50", "TCP exchange, median, us", 0)
    row(c, "tcp-p99", "TCP exchange, 99 %, us", 0)
    row(c, "ping", "ping from the host, median, us", 0)
    row(c, "idle", "idle, CPU thousandths", 0)
  }
}
