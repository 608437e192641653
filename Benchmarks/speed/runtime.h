// The speed programs' ground: Linux system calls of x86-64 and i386 without a C library, so that the toolchain's clang
// alone builds them, and the table of programs.

#ifndef RUNTIME_H
#define RUNTIME_H

#include <stdint.h>

typedef uint32_t u32;
typedef uint64_t u64;

/// One program. `run` does `rounds` rounds of work, a quarter of a millisecond's worth of them natively per percent of
/// scale, and returns a checksum that depends on nothing but `rounds`.
struct program {
  const char *name, *class;
  u32 rounds;  // for one percent
  u32 (*run)(u32 rounds);
  void (*prepare)(void);  // not timed; may be null
};

extern const struct program integer_programs[], control_programs[], memory_programs[], float_programs[], x87_programs[],
    vector_programs[], string_programs[], kernel_programs[], code_programs[], parallel_programs[];

/// Keeps the compiler from knowing what a value is.
#define OPAQUE(x) __asm__ volatile("" : "+r"(x))
#define NOINLINE __attribute__((noinline))

static inline u32 next_random(u32 *state) { return *state = *state * 1664525 + 1013904223; }
static inline u32 mix(u32 sum, u32 value) { return (sum ^ value) * 16777619; }
static inline u32 rotate(u32 x, u32 n) { return x << n | x >> (32 - n); }

#ifdef __x86_64__
enum {
  SYS_READ = 0, SYS_WRITE = 1, SYS_CLOSE = 3, SYS_MUNMAP = 11, SYS_PIPE = 22, SYS_FORK = 57, SYS_EXECVE = 59,
  SYS_EXIT = 60, SYS_WAIT4 = 61, SYS_GETPPID = 110, SYS_SET_AFFINITY = 203, SYS_CLOCK_GETTIME = 228, SYS_GETCPU = 309
};
static inline long system_call(long number, long a, long b, long c, long d) {
  long result;
  register long r10 __asm__("r10") = d;
  __asm__ volatile("syscall"
                   : "=a"(result)
                   : "a"(number), "D"(a), "S"(b), "d"(c), "r"(r10)
                   : "rcx", "r11", "memory");
  return result;
}
#else
enum {
  SYS_EXIT = 1, SYS_FORK = 2, SYS_READ = 3, SYS_WRITE = 4, SYS_CLOSE = 6, SYS_EXECVE = 11, SYS_PIPE = 42,
  SYS_GETPPID = 64, SYS_MUNMAP = 91, SYS_WAIT4 = 114, SYS_SET_AFFINITY = 241, SYS_CLOCK_GETTIME = 265, SYS_GETCPU = 318
};
/// The kernel's entry (AT_SYSINFO), SYSENTER where the CPU has it, as a C library calls it.
extern void (*system_entry)(void);
static inline long system_call(long number, long a, long b, long c, long d) {
  long result;
  __asm__ volatile("call *%6"
                   : "=a"(result)
                   : "a"(number), "b"(a), "c"(b), "d"(c), "S"(d), "m"(system_entry)
                   : "memory");
  return result;
}
#endif

/// Fresh zeroed memory; `executable` memory can be written too.
void *map_memory(unsigned long size, int executable);
static inline void unmap_memory(void *at, unsigned long size) { system_call(SYS_MUNMAP, (long)at, (long)size, 0, 0); }

static inline _Noreturn void exit_with(int status) {
  for (;;) system_call(SYS_EXIT, status, 0, 0, 0);
}
static inline long fork_process(void) { return system_call(SYS_FORK, 0, 0, 0, 0); }
/// Waits for a child; what it exited with.
static inline u32 wait_for(long child) {
  int status = 0;
  system_call(SYS_WAIT4, child, (long)&status, 0, 0);
  return (u32)status >> 8 & 0xff;
}

/// CLOCK_MONOTONIC in microseconds, modulo 2^32.
u32 now(void);
/// Says what went wrong and ends the process.
_Noreturn void fail(const char *what);

#endif
