// String instructions: long runs and short ones.

#include "runtime.h"

enum { SIZE = 64 << 10 };
static uint8_t a[SIZE + 64] __attribute__((aligned(4096))), b[SIZE + 64] __attribute__((aligned(4096)));
static void fill(void) {
  u32 seed = 1;
  for (u32 i = 0; i < SIZE; i++) a[i] = b[i] = (uint8_t)(next_random(&seed) >> 25);
}
static u32 sum(const uint8_t *of) {
  u32 s = 0;
  for (u32 i = 0; i < SIZE; i += 61) s = mix(s, of[i]);
  return s;
}

#define REPEAT_MOVE(width, to, from, times)                                                        \
  do {                                                                                             \
    void *d_ = (to);                                                                               \
    const void *s_ = (from);                                                                       \
    unsigned long n_ = (times);                                                                    \
    __asm__ volatile("rep movs" width : "+D"(d_), "+S"(s_), "+c"(n_) : : "memory");                \
  } while (0)
#define REPEAT_STORE(width, to, value, times)                                                      \
  do {                                                                                             \
    void *d_ = (to);                                                                               \
    unsigned long n_ = (times);                                                                    \
    __asm__ volatile("rep stos" width : "+D"(d_), "+c"(n_) : "a"(value) : "memory");               \
  } while (0)

static u32 move_bytes(u32 rounds) {
  for (u32 r = 0; r < rounds; r++) {
    a[r % SIZE] = (uint8_t)r;
    REPEAT_MOVE("b", b, a, SIZE);
  }
  return sum(b);
}
static u32 move_words(u32 rounds) {
  for (u32 r = 0; r < rounds; r++) {
    a[r % SIZE] = (uint8_t)r;
    REPEAT_MOVE("l", b + r % 8 * 4, a, SIZE / 4);
  }
  return sum(b);
}
static u32 move_short(u32 rounds) {
  u32 seed = 1;
  for (u32 r = 0; r < rounds; r++) {
    u32 x = next_random(&seed);
    REPEAT_MOVE("b", b + (x >> 8 & 0x7fff), a + (x >> 16), x >> 26);
  }
  return sum(b);
}
static u32 store_bytes(u32 rounds) {
  for (u32 r = 0; r < rounds; r++) REPEAT_STORE("b", b + r % 64, r, SIZE - r % 64);
  return sum(b);
}
static u32 store_words(u32 rounds) {
  for (u32 r = 0; r < rounds; r++) REPEAT_STORE("l", b, r * 0x01010101, SIZE / 4);
  return sum(b);
}

/// strlen, as compilers once had it.
static u32 scan_bytes(u32 rounds) {
  u32 s = 0;
  for (u32 r = 0; r < rounds; r++) {
    u32 at = 1000 + r * 37 % 3000;
    uint8_t kept = a[at];
    const uint8_t *p = a;
    unsigned long left = SIZE;
    a[at] = 0xee;
    __asm__ volatile("repne scasb" : "+D"(p), "+c"(left) : "a"(0xee) : "memory", "cc");
    a[at] = kept;
    s = mix(s, (u32)(p - a)) + (u32)left;
  }
  return s;
}
/// memcmp in the same manner.
static u32 compare_bytes(u32 rounds) {
  u32 s = 0;
  for (u32 r = 0; r < rounds; r++) {
    u32 at = 1000 + r * 37 % 3000;
    b[at] ^= 1;
    const uint8_t *p = a, *q = b;
    unsigned long left = SIZE;
    __asm__ volatile("repe cmpsb" : "+S"(p), "+D"(q), "+c"(left) : : "memory", "cc");
    b[at] ^= 1;
    s = mix(s, (u32)(p - a)) + (u32)left;
  }
  return s;
}

const struct program string_programs[] = {
    {"movs-bytes", "string", 20, move_bytes, fill},   {"movs-words", "string", 20, move_words, fill},
    {"movs-short", "string", 10000, move_short, fill}, {"stos-bytes", "string", 80, store_bytes, fill},
    {"stos-words", "string", 80, store_words, fill},  {"scas", "string", 100, scan_bytes, fill},
    {"cmps", "string", 400, compare_bytes, fill},      {0, 0, 0, 0, 0}};
