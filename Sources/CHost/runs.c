#include "runs.h"

// One function per element size: 64 bytes a turn in vectors until a turn holds the end, then element by element.
#define RUN_LENGTH(name, type)                                                                                   \
  typedef type name##_vector __attribute__((vector_size(16), aligned(1), may_alias));                             \
  typedef type name##_element __attribute__((aligned(1), may_alias));                                             \
  static uint64_t name(const uint8_t *a, const uint8_t *b, uint64_t count, int fixed, int equal) {                \
    typedef long long whole __attribute__((vector_size(16)));                                                     \
    enum { PER_TURN = 64 / sizeof(type) };                                                                        \
    const type value = *(const name##_element *)b;                                                                \
    name##_vector same = (name##_vector){0} + value;                                                              \
    const whole flip = (whole){0} - (long long)equal;                                                             \
    uint64_t done = 0;                                                                                            \
    for (; done + PER_TURN <= count; done += PER_TURN) {                                                          \
      const name##_vector *x = (const name##_vector *)(a + done * sizeof(type));                                  \
      const name##_vector *y = (const name##_vector *)(b + done * sizeof(type));                                  \
      whole ends = {0};                                                                                           \
      for (int i = 0; i < 4; i++) ends |= (whole)(x[i] == (fixed ? same : y[i])) ^ flip;                          \
      if (ends[0] | ends[1]) break;                                                                               \
    }                                                                                                             \
    for (; done < count; done++) {                                                                                \
      const type x = *(const name##_element *)(a + done * sizeof(type));                                          \
      const type y = fixed ? value : *(const name##_element *)(b + done * sizeof(type));                          \
      if ((x == y) != equal) break;                                                                               \
    }                                                                                                             \
    return done;                                                                                                  \
  }
RUN_LENGTH(run_of_bytes, uint8_t)
RUN_LENGTH(run_of_words, uint16_t)
RUN_LENGTH(run_of_doublewords, uint32_t)
RUN_LENGTH(run_of_quadwords, uint64_t)

uint64_t vm_run_length(const void *a, const void *b, int size, uint64_t count, int fixed, int equal) {
  switch (size) {
    case 1: return run_of_bytes(a, b, count, fixed, equal);
    case 2: return run_of_words(a, b, count, fixed, equal);
    case 4: return run_of_doublewords(a, b, count, fixed, equal);
    default: return run_of_quadwords(a, b, count, fixed, equal);
  }
}
