// One load, by one process or divided between two.

#include "runtime.h"

enum { PARTS = 4, WORDS = 4096 };
static u32 part(u32 number, u32 rounds) {
  static u32 table[WORDS];
  u32 seed = number, sum = 0;
  for (u32 i = 0; i < WORDS; i++) table[i] = 0;
  for (u32 r = 0; r < rounds; r++) {
    for (u32 i = 0; i < WORDS; i++) {
      u32 x = next_random(&seed);
      table[x >> 20] += i;
      sum = x & 1 << 20 ? sum + table[i] : rotate(sum, 5) ^ x;
    }
  }
  return sum;
}

static u32 divided(u32 rounds, u32 processes) {
  int ends[2];
  if (system_call(SYS_PIPE, (long)ends, 0, 0, 0)) fail("no pipe");
  long children[PARTS];
  for (u32 p = 0; p < processes; p++) {
    children[p] = fork_process();
    if (children[p] < 0) fail("no process");
    if (children[p]) continue;
    u32 sum = 0;
    for (u32 n = p; n < PARTS; n += processes) sum += part(n, rounds);
    system_call(SYS_WRITE, ends[1], (long)&sum, sizeof sum, 0);
    exit_with(0);
  }
  u32 sum = 0, value = 0;
  for (u32 p = 0; p < processes; p++) {
    system_call(SYS_READ, ends[0], (long)&value, sizeof value, 0);
    sum += value;
    wait_for(children[p]);
  }
  system_call(SYS_CLOSE, ends[0], 0, 0, 0);
  system_call(SYS_CLOSE, ends[1], 0, 0, 0);
  return sum;
}
static u32 by_one(u32 rounds) { return divided(rounds, 1); }
static u32 by_two(u32 rounds) { return divided(rounds, 2); }

const struct program parallel_programs[] = {
    {"parallel-1", "parallel", 50, by_one, 0}, {"parallel-2", "parallel", 50, by_two, 0}, {0, 0, 0, 0, 0}};
