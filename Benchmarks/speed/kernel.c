// What the kernel does: system calls, pipes, processes, page faults.

#include "runtime.h"

static u32 syscalls(u32 rounds) {
  u32 sum = 0;
  for (u32 i = 0; i < rounds; i++) sum += system_call(SYS_GETPPID, 0, 0, 0, 0) > 0;
  return sum;
}

/// By the old gate, INT 80H, whatever way in the kernel offers: `syscalls` takes that, which in 32-bit code is SYSENTER.
static u32 int80s(u32 rounds) {
  u32 sum = 0;
  for (u32 i = 0; i < rounds; i++) {
    long result;
#ifdef __x86_64__
    __asm__ volatile("int $0x80" : "=a"(result) : "a"(64l) : "r8", "r9", "r10", "r11", "memory");
#else
    __asm__ volatile("int $0x80" : "=a"(result) : "a"(64) : "memory");
#endif
    sum += (int)result > 0;
  }
  return sum;
}

/// Puts this process and its children on the CPU it is on: a guest with one CPU compares with no more than that.
static void stay_here(void) {
  u32 cpu = 0;
  unsigned long set[32] = {0};
  system_call(SYS_GETCPU, (long)&cpu, 0, 0, 0);
  set[cpu / (8 * sizeof set[0]) % 32] = 1ul << cpu % (8 * sizeof set[0]);
  system_call(SYS_SET_AFFINITY, 0, sizeof set, (long)set, 0);
}

/// A word goes to another process and comes back.
static u32 pipes(u32 rounds) {
  int there[2], back[2];
  u32 word = 1;
  if (system_call(SYS_PIPE, (long)there, 0, 0, 0) || system_call(SYS_PIPE, (long)back, 0, 0, 0)) fail("no pipe");
  stay_here();
  long child = fork_process();
  if (child < 0) fail("no process");
  if (!child) {
    system_call(SYS_CLOSE, there[1], 0, 0, 0);
    while (system_call(SYS_READ, there[0], (long)&word, sizeof word, 0) == sizeof word) {
      word = word * 5 + 1;
      system_call(SYS_WRITE, back[1], (long)&word, sizeof word, 0);
    }
    exit_with(3);
  }
  system_call(SYS_CLOSE, there[0], 0, 0, 0);
  for (u32 i = 0; i < rounds; i++) {
    word ^= i;
    if (system_call(SYS_WRITE, there[1], (long)&word, sizeof word, 0) != sizeof word) fail("a broken pipe");
    if (system_call(SYS_READ, back[0], (long)&word, sizeof word, 0) != sizeof word) fail("a broken pipe");
  }
  system_call(SYS_CLOSE, there[1], 0, 0, 0);
  system_call(SYS_CLOSE, back[0], 0, 0, 0);
  system_call(SYS_CLOSE, back[1], 0, 0, 0);
  return word + wait_for(child);
}

static u32 forks(u32 rounds) {
  u32 sum = 0;
  stay_here();
  for (u32 i = 0; i < rounds; i++) {
    long child = fork_process();
    if (child < 0) fail("no process");
    if (!child) exit_with((int)(i & 127));
    sum = mix(sum, wait_for(child));
  }
  return sum;
}

static u32 execs(u32 rounds) {
  static const char *const arguments[] = {"speed", "nothing", 0}, *const environment[] = {0};
  u32 sum = 0;
  stay_here();
  for (u32 i = 0; i < rounds; i++) {
    long child = fork_process();
    if (child < 0) fail("no process");
    if (!child) {
      system_call(SYS_EXECVE, (long)"/proc/self/exe", (long)arguments, (long)environment, 0);
      exit_with(1);
    }
    sum = mix(sum, wait_for(child));
  }
  return sum;
}

/// Memory that is mapped, touched and given back: a page fault a page.
static u32 faults(u32 rounds) {
  u32 sum = 0;
  for (u32 r = 0; r < rounds; r++) {
    enum { SIZE = 1 << 20 };
    volatile uint8_t *at = map_memory(SIZE, 0);
    for (u32 i = 0; i < SIZE; i += 4096) at[i] = (uint8_t)r, sum += at[i + 1] + 1u;
    unmap_memory((void *)at, SIZE);
  }
  return sum;
}

const struct program kernel_programs[] = {{"syscalls", "kernel", 2000, syscalls, 0}, {"int80", "kernel", 200, int80s, 0},
                                          {"pipes", "kernel", 60, pipes, 0},         {"forks", "kernel", 2, forks, 0},
                                          {"execs", "kernel", 1, execs, 0},          {"faults", "kernel", 1, faults, 0},
                                          {0, 0, 0, 0, 0}};
