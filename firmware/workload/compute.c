// compute [ROUNDS]: a fixed amount of integer work, for comparing emulators: a sieve, a sort, a hash, a recursion.
// Prints `compute ROUNDS CHECKSUM`; the checksum depends on ROUNDS only.

#include "linux.h"

static uint8_t sieve[1 << 18];
static uint32_t numbers[1 << 14];

static uint32_t count_primes(void) {
  uint32_t count = 0;
  memset(sieve, 1, sizeof sieve);
  for (uint32_t i = 2; i < sizeof sieve; i++) {
    if (!sieve[i]) continue;
    count++;
    for (uint32_t j = i * 2; j < sizeof sieve; j += i) sieve[j] = 0;
  }
  return count;
}

static uint32_t shell_sort(uint32_t seed) {
  uint32_t count = sizeof numbers / sizeof numbers[0];
  for (uint32_t i = 0; i < count; i++) numbers[i] = seed = seed * 1664525 + 1013904223;
  for (uint32_t gap = count / 2; gap; gap /= 2)
    for (uint32_t i = gap; i < count; i++) {
      uint32_t value = numbers[i], j = i;
      for (; j >= gap && numbers[j - gap] > value; j -= gap) numbers[j] = numbers[j - gap];
      numbers[j] = value;
    }
  return numbers[count / 3];
}

static uint32_t hash(uint32_t h) {
  for (uint32_t i = 0; i < sizeof sieve; i++) h = (h ^ sieve[i]) * 16777619;
  return h;
}

static __attribute__((noinline)) uint32_t fibonacci(volatile uint32_t n) {
  return n < 2 ? n : fibonacci(n - 1) + fibonacci(n - 2);
}

__attribute__((used)) void start(long *stack) {
  uint32_t rounds = stack[0] > 1 ? to_number(((char **)(stack + 1))[1]) : 20, sum = 2166136261u;
  for (uint32_t i = 0; i < rounds; i++) sum = hash(sum + count_primes() + shell_sort(sum) + fibonacci(22));
  struct line l = {.length = 0};
  add_text(&l, "compute ");
  add_number(&l, rounds, 10);
  add_text(&l, " ");
  add_number(&l, sum, 16);
  end_line(&l);
  exit_with(0);
}
