# For the tables of the benchmarks.

# The median of numbers with blanks between them.
function median(list,    v, n, i, j, t) {
  n = split(list, v, " ")
  for (i = 2; i <= n; i++) {
    t = v[i] + 0
    for (j = i; j > 1 && v[j - 1] + 0 > t; j--) v[j] = v[j - 1]
    v[j] = t
  }
  return n % 2 ? v[(n + 1) / 2] : (v[n / 2] + v[n / 2 + 1]) / 2
}
