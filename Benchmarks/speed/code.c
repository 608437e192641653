// A guest that writes code and runs it.

#include "runtime.h"

static uint8_t *memory;
enum { SIZE = 64 << 10 };
static void map_code(void) {
  if (!memory) memory = map_memory(SIZE, 1);
}

static uint8_t *put(uint8_t *at, u32 value) {
  for (u32 i = 0; i < 4; i++) *at++ = (uint8_t)(value >> i * 8);
  return at;
}
/// Writes a function u32 f(u32 x) of `steps` steps; the place after it.
static uint8_t *write_function(uint8_t *at, u32 seed, u32 steps) {
#ifdef __x86_64__
  *at++ = 0x89, *at++ = 0xf8;  // mov %edi, %eax
#else
  *at++ = 0x8b, *at++ = 0x44, *at++ = 0x24, *at++ = 0x04;  // mov 4(%esp), %eax
#endif
  for (u32 i = 0; i < steps; i++) {
    u32 r = next_random(&seed);
    switch (r >> 30) {
      case 0: *at++ = 0x35, at = put(at, r); break;                             // xor $r, %eax
      case 1: *at++ = 0x05, at = put(at, r); break;                             // add $r, %eax
      case 2: *at++ = 0x69, *at++ = 0xc0, at = put(at, r | 1); break;           // imul $r, %eax, %eax
      case 3: *at++ = 0xc1, *at++ = 0xc0, *at++ = (uint8_t)(r >> 8 & 31); break;  // rol $n, %eax
    }
  }
  *at++ = 0xc3;  // ret
  return at;
}
typedef u32 (*function)(u32);
static u32 call(void *at, u32 x) { return ((function)(uintptr_t)at)(x); }

/// As a just-in-time compiler does: functions are written one after the other, each called some hundred times; when the
/// memory is full it is used again.
static u32 compiling(u32 rounds) {
  uint8_t *at = memory;
  u32 sum = 0;
  for (u32 r = 0; r < rounds; r++) {
    if (at + 1024 > memory + SIZE) at = memory;
    uint8_t *end = write_function(at, r, 40);
    for (u32 i = 0; i < 400; i++) sum = call(at, sum + i);
    at = end;
  }
  return sum;
}

/// One instruction's immediate is changed now and then: an inline cache.
static u32 patching(u32 rounds) {
  write_function(memory, 1, 0);
#ifdef __x86_64__
  enum { AT = 2 };
#else
  enum { AT = 4 };
#endif
  typedef u32 __attribute__((aligned(1), may_alias)) immediate;
  uint8_t *site = memory + AT;
  *site = 0x35;  // xor $n, %eax
  put(site + 1, 0)[0] = 0xc3;
  u32 sum = 0;
  for (u32 r = 0; r < rounds; r++) {
    *(volatile immediate *)(site + 1) = r;
    for (u32 i = 0; i < 200; i++) sum = call(memory, sum) + i;
  }
  return sum;
}

/// Code that runs only a little: functions of COLD_STEPS steps, called 32 times each, no two at one place as far as the
/// memory reaches. What this takes beyond its time natively is mostly translation: scripts/lib/speed-table.awk divides.
enum { COLD_SIZE = 4 << 20, COLD_STEPS = 200 };
static uint8_t *cold;
static void map_cold_code(void) {
  if (!cold) cold = map_memory(COLD_SIZE, 1);
}
static u32 cold_code(u32 rounds) {
  uint8_t *at = cold;
  u32 sum = 0;
  for (u32 r = 0; r < rounds; r++) {
    if (at + COLD_STEPS * 6 + 16 > cold + COLD_SIZE) at = cold;
    uint8_t *end = write_function(at, r, COLD_STEPS);
    for (u32 i = 0; i < 32; i++) sum = call(at, sum + i);
    at = end;
  }
  return sum;
}

const struct program code_programs[] = {{"compiling", "code", 40, compiling, map_code},
                                        {"patching", "code", 500, patching, map_code},
                                        {"cold-code", "code", 20, cold_code, map_cold_code},
                                        {0, 0, 0, 0, 0}};
