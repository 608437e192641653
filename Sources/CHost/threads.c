#include "threads.h"

#include <sys/prctl.h>
#include <time.h>

void vm_name_thread(const char *name) { prctl(PR_SET_NAME, name, 0, 0, 0); }

void vm_set_timer_slack(uint32_t nanoseconds) { prctl(PR_SET_TIMERSLACK, (unsigned long)nanoseconds, 0, 0, 0); }

uint64_t vm_monotonic_nanoseconds(void) {
  struct timespec now;
  clock_gettime(CLOCK_MONOTONIC, &now);
  return (uint64_t)now.tv_sec * 1000000000u + (uint64_t)now.tv_nsec;
}
