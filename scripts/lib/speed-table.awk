# scripts/benchmark-speed's table: of the list (PROGRAM/WIDTH CLASS), the clocks (MACHINE GUEST HOST) and the times
# (PROGRAM/WIDTH MACHINE MICROSECONDS); -v scale=PERCENT. With median.awk.

function ratio(a, b) { return a == "" || b == "" || b + 0 == 0 ? "" : a / b }
function shown(x, form) { return x == "" ? "-" : sprintf(form, x) }

# Notes the three ratios for a group's geometric mean.
function note(group, key, value) {
  if (value == "") return
  logs[group, key] += log(value)
  counts[group, key]++
  seen[group] = 1
}
function mean(group, key) { return counts[group, key] ? exp(logs[group, key] / counts[group, key]) : "" }
function print_group(group, title) {
  if (seen[group])
    printf "%-28s %38s %8s %8s\n", title, shown(mean(group, "v/n"), "%.2f"), shown(mean(group, "t/n"), "%.2f"), shown(mean(group, "t/v"), "%.2f")
}

FILENAME ~ /list$/ { order[++programs] = $1; class[$1] = $2; next }
FILENAME ~ /clocks$/ {
  guest[$1] += $2
  host[$1] += $3
  next
}
$3 == "failed" { bad[$1, $2] = 1; next }
{ times[$1, $2] = times[$1, $2] " " $3; if ($2 ~ /^tcg/) tcgs[$2] = 1 }

END {
  printf "%-19s %-8s %11s %11s %11s %13s %8s %9s\n", "program/bits", "class", "native ms", "TCG ms", "vmctl ms", "vmctl/native", "TCG/nat.", "TCG/vmctl"
  for (i = 1; i <= programs; i++) {
    p = order[i]
    n = (p, "native") in times ? median(times[p, "native"]) : ""
    v = (p, "vmctl") in times ? median(times[p, "vmctl"]) : ""
    t = ""
    for (name in tcgs) if ((p, name) in times) {
      m = median(times[p, name])
      if (t == "" || m < t) t = m
    }
    vn = ratio(v, n); tn = ratio(t, n); tv = ratio(t, v)
    if ((p, "vmctl") in bad) v = vn = tv = ""
    printf "%-19s %-8s %11s %11s %11s %13s %8s %9s%s\n", p, class[p], shown(n / 1000, "%.2f"), shown(t == "" ? "" : t / 1000, "%.2f"), \
      (p, "vmctl") in bad ? "FAILED" : shown(v == "" ? "" : v / 1000, "%.2f"), shown(vn, "%.2f"), shown(tn, "%.2f"), shown(tv, "%.2f"), \
      (tv != "" && tv < 1 ? "  slower" : "")
    if (p ~ /^cold-code/) {
      # 20 functions of 200 instructions per percent
      if (v != "") cold[p, "v/n"] = (v - n) / (20 * 200 * scale)
      if (t != "") cold[p, "t/n"] = (t - n) / (20 * 200 * scale)
    }
    c = class[p]
    if (c == "parallel") { single[p, "n"] = n; single[p, "t"] = t; single[p, "v"] = v; continue }
    split("all " c " " (c == "kernel" ? "" : "user ") (c ~ /^(float|x87|simd|string)$/ ? "vector " : "") \
      (c ~ /^(integer|branches|calls|indirect|sorting|float|x87|simd)$/ ? "compute " : "") (p ~ /64$/ ? "64" : "32"), groups, " ")
    for (g in groups) { note(groups[g], "v/n", vn); note(groups[g], "t/n", tn); note(groups[g], "t/v", tv) }
    if (!(c in named)) { named[c] = 1; classes[++many] = c }
  }
  print ""
  print "geometric means"
  for (i = 1; i <= many; i++) print_group(classes[i], "  " classes[i])
  print_group("64", "64-bit")
  print_group("32", "32-bit")
  print_group("compute", "integer and floating point")
  print_group("vector", "floating point, SIMD, string")
  print_group("user", "user mode")
  print_group("all", "all")
  for (w = 64; w >= 32; w -= 32)
    if (("cold-code/" w, "v/n") in cold)
      printf "cold code, %d-bit: %.2f us a guest instruction beyond native; TCG %s\n", w, cold["cold-code/" w, "v/n"], \
        shown(cold["cold-code/" w, "t/n"], "%.2f")
  for (w = 64; w >= 32; w -= 32)
    if (("parallel-1/" w, "n") in single && ("parallel-2/" w, "n") in single)
      printf "two CPUs against one, %d-bit: native %s, TCG %s, vmctl %s\n", w, \
        shown(ratio(single["parallel-1/" w, "n"], single["parallel-2/" w, "n"]), "%.2f"), \
        shown(ratio(single["parallel-1/" w, "t"], single["parallel-2/" w, "t"]), "%.2f"), \
        shown(ratio(single["parallel-1/" w, "v"], single["parallel-2/" w, "v"]), "%.2f")
  for (name in host) {
    off = (guest[name] - host[name]) / host[name] * 100
    wrong = host[name] > 5e6 && (off > 1 || off < -1)
    printf "clock of the guest in %s: %+.3f %% in %.0f s%s\n", name, off, host[name] / 1e6, \
      (wrong ? "  *** off the host's: its times do not count" : "")
  }
}
