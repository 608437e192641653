// Floating point in vector registers: scalar and packed.

#include <emmintrin.h>
#include "runtime.h"

static u32 bits_of(double value) {
  union {
    double value;
    u64 bits;
  } u = {.value = value};
  return (u32)u.bits ^ (u32)(u.bits >> 32);
}

/// Five bodies that attract each other: multiplications, a square root and a division per pair.
static u32 nbody(u32 rounds) {
  double p[5][3] = {{0, 0, 0}, {4.84, -1.16, -0.10}, {8.34, 4.12, -0.4}, {12.89, -15.11, -0.22}, {15.37, -25.9, 0.17}};
  double v[5][3] = {{0, 0, 0}, {0.6, 2.8, -0.02}, {-1.01, 1.82, 0.008}, {1.08, 0.86, -0.01}, {0.97, 0.59, -0.03}};
  static const double mass[5] = {39.47, 0.037, 0.011, 0.0017, 0.002};
  for (u32 r = 0; r < rounds; r++) {
    for (u32 i = 0; i < 5; i++)
      for (u32 j = i + 1; j < 5; j++) {
        double d[3], distance = 0;
        for (u32 k = 0; k < 3; k++) d[k] = p[i][k] - p[j][k], distance += d[k] * d[k];
        double force = 0.001 / (distance * __builtin_sqrt(distance));
        for (u32 k = 0; k < 3; k++) v[i][k] -= d[k] * mass[j] * force, v[j][k] += d[k] * mass[i] * force;
      }
    for (u32 i = 0; i < 5; i++)
      for (u32 k = 0; k < 3; k++) p[i][k] += 0.001 * v[i][k];
  }
  return bits_of(p[0][0] + p[1][1] + p[2][2] + p[3][0] + p[4][1]);
}

static u32 mandelbrot(u32 rounds) {
  u32 sum = 0;
  for (u32 r = 0; r < rounds; r++) {
    double ci = (double)(int)(r % 64) / 32 - 1;
    for (u32 column = 0; column < 64; column++) {
      double cr = (double)(int)column / 24 - 2, zr = 0, zi = 0;
      u32 n = 0;
      while (n < 60 && zr * zr + zi * zi < 4) {
        double t = zr * zr - zi * zi + cr;
        zi = 2 * zr * zi + ci, zr = t;
        n++;
      }
      sum = sum * 3 + n;
    }
  }
  return sum;
}

enum { SIDE = 48 };
static double a[SIDE][SIDE] __attribute__((aligned(16))), b[SIDE][SIDE] __attribute__((aligned(16))),
    c[SIDE][SIDE] __attribute__((aligned(16)));
static void fill_matrices(void) {
  for (u32 i = 0; i < SIDE; i++)
    for (u32 j = 0; j < SIDE; j++) a[i][j] = (double)(int)(i + j * 2) / 97, b[i][j] = (double)(int)(j - i) / 31, c[i][j] = 0;
}
static u32 sum_matrix(void) {
  u32 sum = 0;
  for (u32 i = 0; i < SIDE; i++)
    for (u32 j = 0; j < SIDE; j++) sum = mix(sum, bits_of(c[i][j]));
  return sum;
}

static u32 matrix(u32 rounds) {
  for (u32 r = 0; r < rounds; r++) {
    for (u32 i = 0; i < SIDE; i++)
      for (u32 j = 0; j < SIDE; j++) {
        double dot = 0;
        for (u32 k = 0; k < SIDE; k++) dot += a[i][k] * b[k][j];
        c[i][j] += dot;
      }
    a[r % SIDE][0] += 0.5;
  }
  return sum_matrix();
}

/// The same with two products at a time.
static u32 matrix_packed(u32 rounds) {
  for (u32 r = 0; r < rounds; r++) {
    for (u32 i = 0; i < SIDE; i++)
      for (u32 j = 0; j < SIDE; j += 4) {
        __m128d x = _mm_load_pd(&c[i][j]), y = _mm_load_pd(&c[i][j + 2]);
        for (u32 k = 0; k < SIDE; k++) {
          __m128d f = _mm_set1_pd(a[i][k]);
          x = _mm_add_pd(x, _mm_mul_pd(f, _mm_load_pd(&b[k][j])));
          y = _mm_add_pd(y, _mm_mul_pd(f, _mm_load_pd(&b[k][j + 2])));
        }
        _mm_store_pd(&c[i][j], x), _mm_store_pd(&c[i][j + 2], y);
      }
    a[r % SIDE][0] += 0.5;
  }
  return sum_matrix();
}

/// Four single-precision points at a time, with comparisons and masks.
static u32 packed(u32 rounds) {
  __m128i sum = _mm_setzero_si128();
  for (u32 r = 0; r < rounds; r++) {
    __m128 ci = _mm_set1_ps((float)(int)(r % 64) / 32 - 1);
    for (u32 column = 0; column < 64; column += 4) {
      __m128 cr = _mm_sub_ps(_mm_div_ps(_mm_add_ps(_mm_set1_ps((float)(int)column), _mm_setr_ps(0, 1, 2, 3)), _mm_set1_ps(24)),
                             _mm_set1_ps(2));
      __m128 zr = _mm_setzero_ps(), zi = zr;
      __m128i count = _mm_setzero_si128();
      for (u32 n = 0; n < 60; n++) {
        __m128 rr = _mm_mul_ps(zr, zr), ii = _mm_mul_ps(zi, zi), inside = _mm_cmplt_ps(_mm_add_ps(rr, ii), _mm_set1_ps(4));
        if (!_mm_movemask_ps(inside)) break;
        count = _mm_sub_epi32(count, _mm_castps_si128(inside));
        __m128 zz = _mm_mul_ps(zr, zi);
        zi = _mm_add_ps(_mm_add_ps(zz, zz), ci);
        zr = _mm_add_ps(_mm_sub_ps(rr, ii), cr);
        zi = _mm_min_ps(_mm_max_ps(zi, _mm_set1_ps(-1000)), _mm_set1_ps(1000));
        zr = _mm_min_ps(_mm_max_ps(zr, _mm_set1_ps(-1000)), _mm_set1_ps(1000));
      }
      sum = _mm_add_epi32(_mm_slli_epi32(sum, 1), count);
    }
  }
  int parts[4];
  _mm_storeu_si128((__m128i *)parts, sum);
  return (u32)(parts[0] ^ parts[1] * 3 ^ parts[2] * 5 ^ parts[3] * 7);
}

/// Conversions between integers, float and double, and comparisons.
static u32 convert(u32 rounds) {
  u32 seed = 1, sum = 0;
  double limit = 0.5;
  for (u32 i = 0; i < rounds; i++) {
    int n = (int)next_random(&seed) >> 7;
    double d = n * (1.0 / 16777216);
    float f = (float)d * 3;
    if (d > limit) sum++;
    if (f < (float)n) sum += 2;
    sum += (u32)(int)(f * 1000) + (u32)(int)(d * 7);
    limit = -limit;
  }
  return sum;
}

const struct program float_programs[] = {
    {"nbody", "float", 2500, nbody, 0},
    {"mandelbrot", "float", 50, mandelbrot, 0},
    {"matrix", "float", 5, matrix, fill_matrices},
    {"matrix-packed", "float", 14, matrix_packed, fill_matrices},
    {"packed", "float", 120, packed, 0},
    {"convert", "float", 100000, convert, 0},
    {0, 0, 0, 0, 0}};
