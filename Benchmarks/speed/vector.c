// Integers in vector registers: MMX, and SSE2 to SSE4.2.

#include <nmmintrin.h>
#include "runtime.h"

enum { SIZE = 16 << 10 };
static uint8_t from[SIZE] __attribute__((aligned(4096))), to[SIZE] __attribute__((aligned(4096)));
static void fill(void) {
  u32 seed = 1;
  for (u32 i = 0; i < SIZE; i++) from[i] = (uint8_t)(next_random(&seed) >> 24) | 1, to[i] = (uint8_t)i;
}
static u32 fold(__m128i v) {
  u32 parts[4];
  _mm_storeu_si128((__m128i *)parts, v);
  return parts[0] ^ rotate(parts[1], 7) ^ rotate(parts[2], 13) ^ rotate(parts[3], 21);
}
static u32 sum_bytes(void) {
  u32 sum = 0;
  for (u32 i = 0; i < SIZE; i += 7) sum = mix(sum, to[i]);
  return sum;
}

/// Searching and blending bytes.
static u32 vector_bytes(u32 rounds) {
  __m128i total = _mm_setzero_si128();
  u32 found = 0;
  for (u32 r = 0; r < rounds; r++) {
    __m128i wanted = _mm_set1_epi8((char)r);
    for (u32 i = 0; i < SIZE; i += 16) {
      __m128i a = _mm_load_si128((__m128i *)(from + i)), b = _mm_load_si128((__m128i *)(to + i));
      found += (u32)__builtin_popcount((u32)_mm_movemask_epi8(_mm_cmpeq_epi8(a, wanted)));
      total = _mm_add_epi64(total, _mm_sad_epu8(a, b));
      _mm_store_si128((__m128i *)(to + i), _mm_avg_epu8(_mm_subs_epu8(a, wanted), _mm_max_epu8(b, wanted)));
    }
  }
  return fold(total) + found + sum_bytes();
}

/// A filter on 16-bit samples.
static u32 vector_words(u32 rounds) {
  __m128i taps = _mm_setr_epi16(3, -5, 12, 40, 40, 12, -5, 3), total = _mm_setzero_si128();
  for (u32 r = 0; r < rounds; r++)
    for (u32 i = 0; i + 32 <= SIZE; i += 16) {
      __m128i a = _mm_loadu_si128((__m128i *)(from + i + 2)), b = _mm_load_si128((__m128i *)(from + i));
      __m128i products = _mm_madd_epi16(a, taps), high = _mm_mulhi_epi16(b, taps), low = _mm_mullo_epi16(a, b);
      products = _mm_srai_epi32(_mm_add_epi32(products, _mm_shuffle_epi32(products, 0xb1)), 7);
      __m128i packed = _mm_packs_epi32(products, _mm_unpackhi_epi16(low, high));
      total = _mm_add_epi16(_mm_xor_si128(total, packed), _mm_slli_epi16(high, 1));
    }
  return fold(total);
}

#define ROTATE(v, n) _mm_or_si128(_mm_slli_epi32(v, n), _mm_srli_epi32(v, 32 - (n)))
#define QUARTER(a, b, c, d)                                      \
  a = _mm_add_epi32(a, b), d = ROTATE(_mm_xor_si128(d, a), 16);  \
  c = _mm_add_epi32(c, d), b = ROTATE(_mm_xor_si128(b, c), 12);  \
  a = _mm_add_epi32(a, b), d = ROTATE(_mm_xor_si128(d, a), 8);   \
  c = _mm_add_epi32(c, d), b = ROTATE(_mm_xor_si128(b, c), 7);
/// ChaCha20's block function.
static u32 chacha(u32 rounds) {
  __m128i sum = _mm_setzero_si128();
  for (u32 r = 0; r < rounds; r++) {
    __m128i a = _mm_setr_epi32(0x61707865, 0x3320646e, 0x79622d32, 0x6b206574), b = _mm_set1_epi32(1), c = _mm_set1_epi32(2),
            d = _mm_setr_epi32((int)r, 0, 0, 9);
    for (u32 i = 0; i < 10; i++) {
      QUARTER(a, b, c, d)
      b = _mm_shuffle_epi32(b, 0x39), c = _mm_shuffle_epi32(c, 0x4e), d = _mm_shuffle_epi32(d, 0x93);
      QUARTER(a, b, c, d)
      b = _mm_shuffle_epi32(b, 0x93), c = _mm_shuffle_epi32(c, 0x4e), d = _mm_shuffle_epi32(d, 0x39);
    }
    sum = _mm_xor_si128(sum, _mm_add_epi32(_mm_add_epi32(a, b), _mm_add_epi32(c, d)));
  }
  return fold(sum);
}

/// SSSE3 to SSE4.2: byte shuffles, blends, wide products, CRC32.
static u32 vector_new(u32 rounds) {
  __m128i order = _mm_setr_epi8(3, 2, 1, 0, 7, 6, 5, 4, 11, 10, 9, 8, 15, 14, 13, 12), total = _mm_setzero_si128();
  u32 crc = ~0u, zeros = 0;
  for (u32 r = 0; r < rounds; r++)
    for (u32 i = 0; i < SIZE; i += 16) {
      __m128i a = _mm_shuffle_epi8(_mm_load_si128((__m128i *)(from + i)), order);
      __m128i b = _mm_blendv_epi8(a, total, _mm_slli_epi16(a, 3));
      total = _mm_add_epi32(total, _mm_mullo_epi32(a, _mm_max_epu32(b, order)));
      zeros += (u32)_mm_testz_si128(a, b);
      crc = _mm_crc32_u32(crc, (u32)_mm_extract_epi32(total, 2));
      total = _mm_xor_si128(total, _mm_cvtepu8_epi16(b));
    }
  return fold(total) ^ crc ^ zeros;
}

/// MMX, as the instructions themselves: a compiler makes SSE2 of the intrinsics.
static u32 mmx(u32 rounds) {
  u64 out = 0;
  for (u32 r = 0; r < rounds; r++) {
    u32 count = SIZE / 16;
    uint8_t *at = from;
    __asm__ volatile(
        "movq %2, %%mm7\n"
        "1: movq (%0), %%mm0\n movq 8(%0), %%mm1\n movq %%mm0, %%mm2\n"
        "punpcklbw %%mm1, %%mm0\n pmullw %%mm7, %%mm0\n psrlw $3, %%mm0\n paddusb %%mm1, %%mm2\n"
        "packuswb %%mm0, %%mm2\n pxor %%mm2, %%mm7\n psllq $1, %%mm1\n paddw %%mm1, %%mm7\n"
        "add $16, %0\n dec %1\n jnz 1b\n movq %%mm7, %2\n emms"
        : "+r"(at), "+r"(count), "+m"(out)
        :
        : "memory", "cc");
  }
  return (u32)out ^ (u32)(out >> 32);
}

const struct program vector_programs[] = {
    {"vector-bytes", "simd", 300, vector_bytes, fill}, {"vector-words", "simd", 300, vector_words, fill},
    {"chacha", "simd", 4000, chacha, 0},               {"vector-new", "simd", 120, vector_new, fill},
    {"mmx", "simd", 120, mmx, fill},                   {0, 0, 0, 0, 0}};
