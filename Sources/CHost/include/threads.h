/// What Swift's view of the C library lacks.
#ifndef VMCTL_THREADS_H
#define VMCTL_THREADS_H

#include <stdint.h>

/// Names the calling thread as the host's tools show it; at most 15 bytes count.
void vm_name_thread(const char *name);

/// How much later than asked for the calling thread's sleeps may end, and those of threads and programs that it starts from
/// then on: 50 us unless somebody says otherwise (prctl(2), PR_SET_TIMERSLACK).
void vm_set_timer_slack(uint32_t nanoseconds);

/// CLOCK_MONOTONIC in nanoseconds.
uint64_t vm_monotonic_nanoseconds(void);
#endif
