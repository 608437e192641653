/// What Swift's view of the C library lacks.
#ifndef VMCTL_THREADS_H
#define VMCTL_THREADS_H

#include <stdint.h>

/// Names the calling thread as the host's tools show it; at most 15 bytes count.
void vm_name_thread(const char *name);

/// CLOCK_MONOTONIC in nanoseconds.
uint64_t vm_monotonic_nanoseconds(void);
#endif
