// Integer arithmetic in registers.

#include "runtime.h"

static u32 alu(u32 rounds) {
  u32 a = 1, b = 2, c = 3, d = 4;
  for (u32 i = 0; i < rounds; i++) {
    a ^= a << 13, a ^= a >> 17, a ^= a << 5;
    a += 1;
    b = rotate(b, 7) + a;
    c = (c ^ b) - rotate(d, 11);
    d = d * 5 + (c & a);
    b |= 1;
  }
  return a ^ b ^ c ^ d;
}

/// 64-bit quantities: one instruction each in 64-bit code, two and the carry in 32-bit code.
static u32 wide(u32 rounds) {
  u64 a = 0x123456789abcdefull, b = 0xfedcba987654321ull, c = 1;
  for (u32 i = 0; i < rounds; i++) {
    a += b + i;
    c = c * 6364136223846793005ull + a;
    b -= c ^ (a >> 23);
    a ^= b << 17;
    if (a > c) b += 3;
  }
  return (u32)a ^ (u32)(a >> 32) ^ (u32)b ^ (u32)c;
}

/// Products of numbers of 16 limbs.
static u32 limbs(u32 rounds) {
  u32 x[16], y[16], product[32];
  for (u32 i = 0; i < 16; i++) x[i] = i * 0x9e3779b9u + 1, y[i] = i * 0x85ebca6bu + 7;
  for (u32 r = 0; r < rounds; r++) {
    for (u32 i = 0; i < 32; i++) product[i] = 0;
    for (u32 i = 0; i < 16; i++) {
      u64 carry = 0;
      for (u32 j = 0; j < 16; j++) {
        carry += (u64)x[i] * y[j] + product[i + j];
        product[i + j] = (u32)carry;
        carry >>= 32;
      }
      product[i + 16] = (u32)carry;
    }
    for (u32 i = 0; i < 16; i++) x[i] = product[i] ^ product[i + 16], y[i] ^= product[31 - i];
  }
  u32 sum = 0;
  for (u32 i = 0; i < 32; i++) sum = mix(sum, product[i]);
  return sum;
}

static u32 divide(u32 rounds) {
  u32 seed = 1, sum = 0;
  for (u32 i = 0; i < rounds; i++) {
    u32 a = next_random(&seed) | 1, b = next_random(&seed) >> 8 | 1;
    while (b) {
      u32 r = a % b;
      a = b, b = r;
    }
    sum += a;
    sum += (u32)((int)next_random(&seed) / (int)(i | 1));
  }
  return sum;
}

static u32 bits(u32 rounds) {
  u32 seed = 1, sum = 0;
  for (u32 i = 0; i < rounds; i++) {
    u32 x = next_random(&seed) | 1, n = i & 31;
    OPAQUE(x);
    sum += (u32)__builtin_popcount(x) + (u32)__builtin_ctz(x << n | 1u << 31) + (u32)__builtin_clz(x);
    sum ^= __builtin_bswap32(x) >> n;
    sum += x >> n & 1 ? x << n : rotate(x, 9);
  }
  return sum;
}

const struct program integer_programs[] = {
    {"alu", "integer", 100000, alu, 0},   {"wide", "integer", 100000, wide, 0},
    {"limbs", "integer", 1500, limbs, 0}, {"divide", "integer", 4000, divide, 0},
    {"bits", "integer", 100000, bits, 0}, {0, 0, 0, 0, 0}};
