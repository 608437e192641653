// The x87: extended precision on its register stack. Compiled without SSE in 32-bit code.

#include "runtime.h"

static u32 bits_of(long double value) {
  union {
    long double value;
    u32 words[4];
  } u = {.value = value};
  return u.words[0] ^ u.words[1];
}

/// Newton's iteration and a polynomial.
static u32 basic(u32 rounds) {
  long double sum = 0, x = 1.5L;
  for (u32 i = 0; i < rounds; i++) {
    long double n = (long double)(int)(i % 1000) + 2, r = n * 0.5L;
    for (u32 k = 0; k < 4; k++) r = (r + n / r) * 0.5L;
    x = ((x * 0.125L + r) * 0.0625L - 1.25L) * 0.5L + __builtin_sqrtl(n);
    sum += x;
  }
  return bits_of(sum);
}

/// Double precision in memory, the x87 between: what 32-bit code without SSE does.
static double values[1024];
static u32 streams(u32 rounds) {
  for (u32 i = 0; i < 1024; i++) values[i] = (double)(int)(i % 37) + 0.25;
  for (u32 r = 0; r < rounds; r++)
    for (u32 i = 1; i < 1023; i++) {
      long double left = values[i - 1], here = values[i], right = values[i + 1];
      values[i] = (double)((left + right) * 0.25L + here * 0.5L);
    }
  long double sum = 0;
  for (u32 i = 0; i < 1024; i++) sum += values[i];
  return bits_of(sum);
}

/// Sines, arctangents, logarithms and powers. Their last bits differ between CPUs, so the checksum is of rounded results.
static u32 functions(u32 rounds) {
  u32 sum = 0;
  for (u32 i = 0; i < rounds; i++) {
    long double x = (long double)(int)(i % 997) / 512 + 0.1L, sine, cosine, angle, logarithm, power;
    __asm__("fsincos" : "=t"(cosine), "=u"(sine) : "0"(x));
    __asm__("fpatan" : "=t"(angle) : "0"(x), "u"(sine) : "st(1)");
    __asm__("fyl2x" : "=t"(logarithm) : "0"(x), "u"(1.0L) : "st(1)");
    __asm__("f2xm1" : "=t"(power) : "0"(sine * 0.5L));
    sum += (u32)(int)((cosine + angle + logarithm + power) * 65536);
  }
  return sum;
}

const struct program x87_programs[] = {{"x87", "x87", 20000, basic, 0},
                                       {"x87-streams", "x87", 40, streams, 0},
                                       {"x87-functions", "x87", 2000, functions, 0},
                                       {0, 0, 0, 0, 0}};
