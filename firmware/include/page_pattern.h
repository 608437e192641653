// What the memory-checking guests and the Linux workload write into each 4 KiB page, and how they check it.
//
// A page holds its own number, the generation it was last written in, a checksum, and pseudo-random words that follow from
// the first two. Who checks also knows from elsewhere which generation to expect: a page that is whole but old (a write
// lost on the way to another host) is found too.

#ifndef PAGE_PATTERN_H
#define PAGE_PATTERN_H

#include <stdint.h>

#define PAGE_WORDS 1024u

enum { WORD_NUMBER = 0, WORD_GENERATION = 1, WORD_CHECKSUM = 2, WORD_FIRST_RANDOM = 3 };

static inline uint32_t pattern_next(uint32_t x) {
  x ^= x << 13;
  x ^= x >> 17;
  return x ^ x << 5;
}

static inline uint32_t pattern_seed(uint32_t number, uint32_t generation) {
  return (number * 0x9e3779b1u ^ generation * 0x85ebca6bu) | 1u;
}

static inline void pattern_write(volatile uint32_t *page, uint32_t number, uint32_t generation) {
  uint32_t x = pattern_seed(number, generation), sum = number + generation;
  page[WORD_NUMBER] = number;
  page[WORD_GENERATION] = generation;
  for (uint32_t i = WORD_FIRST_RANDOM; i < PAGE_WORDS; i++) {
    x = pattern_next(x);
    sum += x;
    page[i] = x;
  }
  page[WORD_CHECKSUM] = sum;
}

/// The first wrong word's index, or PAGE_WORDS.
static inline uint32_t pattern_check(const volatile uint32_t *page, uint32_t number, uint32_t generation) {
  uint32_t x = pattern_seed(number, generation), sum = number + generation;
  if (page[WORD_NUMBER] != number) return WORD_NUMBER;
  if (page[WORD_GENERATION] != generation) return WORD_GENERATION;
  for (uint32_t i = WORD_FIRST_RANDOM; i < PAGE_WORDS; i++) {
    x = pattern_next(x);
    sum += x;
    if (page[i] != x) return i;
  }
  return page[WORD_CHECKSUM] == sum ? PAGE_WORDS : WORD_CHECKSUM;
}

#endif
