/// Runs of equal or different elements, for REP SCAS and REP CMPS.
#ifndef VMCTL_RUNS_H
#define VMCTL_RUNS_H

#include <stdint.h>

/// How many of the `count` elements of `size` bytes at `a` equal those at `b`, one after the other from the first
/// (`equal` 1), or differ from them (`equal` 0). `b` is memory, or with `fixed` one element that all are compared with.
uint64_t vm_run_length(const void *a, const void *b, int size, uint64_t count, int fixed, int equal);

#endif
