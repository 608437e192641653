// Writes and reads a disk past the guest's cache, and says how fast that was: disk-work DEVICE MEGABYTES.
//
// Lines: "first-write MB/s", "write MB/s", "read MB/s" by megabytes in a row, "random-write N/s", "random-read N/s" by 4 KiB,
// "sync N/s": 4 KiB and a flush each.
#define _GNU_SOURCE
#include <fcntl.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

static double now(void) {
  struct timespec time;
  clock_gettime(CLOCK_MONOTONIC, &time);
  return time.tv_sec + time.tv_nsec / 1e9;
}

static uint64_t state = 88172645463325252u;
// Marsaglia's xorshift.
static uint64_t next(void) {
  state ^= state << 13;
  state ^= state >> 7;
  return state ^= state << 17;
}

int main(int count, char **words) {
  if (count != 3) return 64;
  int disk = open(words[1], O_RDWR | O_DIRECT);
  long megabytes = atol(words[2]);
  char *buffer;
  if (disk < 0 || posix_memalign((void **)&buffer, 4096, 1 << 20)) {
    perror(words[1]);
    return 1;
  }
  for (long i = 0; i < 1 << 20; i += 8) {
    uint64_t value = next();
    memcpy(buffer + i, &value, 8);
  }
  const char *passes[] = {"first-write", "write", "read"};
  for (int pass = 0; pass < 3; pass++) {
    double start = now();
    for (long i = 0; i < megabytes; i++) {
      ssize_t done = pass == 2 ? pread(disk, buffer, 1 << 20, i << 20) : pwrite(disk, buffer, 1 << 20, i << 20);
      if (done != 1 << 20) return perror(passes[pass]), 1;
    }
    if (pass < 2) fsync(disk);
    printf("%s %.1f\n", passes[pass], megabytes / (now() - start));
  }
  long blocks = megabytes * 256;
  const char *more[] = {"random-write", "random-read", "sync"};
  int times[] = {4000, 4000, 200};
  for (int pass = 0; pass < 3; pass++) {
    double start = now();
    for (int i = 0; i < times[pass]; i++) {
      off_t place = (off_t)(next() % blocks) * 4096;
      ssize_t done = pass == 1 ? pread(disk, buffer, 4096, place) : pwrite(disk, buffer, 4096, place);
      if (done != 4096) return perror(more[pass]), 1;
      if (pass == 2) fsync(disk);
    }
    if (pass == 0) fsync(disk);
    printf("%s %.0f\n", more[pass], times[pass] / (now() - start));
  }
  return 0;
}
