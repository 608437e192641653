// (32 64 bit) x87, SSE and SSE2 known answers: constants, arithmetic, rounding, comparisons, exceptions, FXSAVE.
#include "guest.h"

static volatile uint32_t faults;
static void on_fault(struct frame *f) {
  faults++;
  __asm__ volatile("fnclex" : : : "memory");
  (void)f;
}

static uint8_t image[512] __attribute__((aligned(16)));

static int holds(const void *got, const void *expected, uint32_t count) {
  for (uint32_t i = 0; i < count; i++)
    if (((const uint8_t *)got)[i] != ((const uint8_t *)expected)[i]) return 0;
  return 1;
}

#define X87(code) __asm__ volatile(code "; fstpt %0" : "=m"(result))

int guest_main(void) {
  WRITE_CONTROL(0, (READ_CONTROL(0) & ~(word)0xc) | 0x22);  // MP, NE; no EM, no TS
  WRITE_CONTROL(4, READ_CONTROL(4) | 0x600);
  set_handler(16, on_fault);
  __asm__ volatile("fninit");
  uint16_t control, status;
  __asm__ volatile("fnstcw %0; fnstsw %1" : "=m"(control), "=m"(status));
  check(control == 0x37f && status == 0, "FNINIT");

  struct { uint64_t mantissa; uint16_t exponent; } __attribute__((packed)) result;
  static const struct { uint64_t mantissa; uint16_t exponent; const char *name; } constants[] = {
      {0x8000000000000000, 0x3fff, "FLD1"},   {0xd49a784bcd1b8afe, 0x4000, "FLDL2T"}, {0xb8aa3b295c17f0bc, 0x3fff, "FLDL2E"},
      {0xc90fdaa22168c235, 0x4000, "FLDPI"},  {0x9a209a84fbcff799, 0x3ffd, "FLDLG2"}, {0xb17217f7d1cf79ac, 0x3ffe, "FLDLN2"},
      {0, 0, "FLDZ"},
  };
  for (uint32_t i = 0; i < 7; i++) {
    switch (i) {
      case 0: X87("fld1"); break;
      case 1: X87("fldl2t"); break;
      case 2: X87("fldl2e"); break;
      case 3: X87("fldpi"); break;
      case 4: X87("fldlg2"); break;
      case 5: X87("fldln2"); break;
      default: X87("fldz"); break;
    }
    check(result.mantissa == constants[i].mantissa && result.exponent == constants[i].exponent, constants[i].name);
  }
  X87("fld1; fadd %%st(0); fsqrt");
  check(result.mantissa == 0xb504f333f9de6484 && result.exponent == 0x3fff, "FSQRT of 2");
  static const uint32_t integer_three = 3;
  __asm__ volatile("fld1; fidivl %1; fstpt %0" : "=m"(result) : "m"(integer_three));
  check(result.mantissa == 0xaaaaaaaaaaaaaaab && result.exponent == 0x3ffd, "FIDIV of 1 and 3");

  static const uint32_t seven = 7, two = 2;
  int32_t integer;
  static const uint16_t modes[] = {0x37f, 0x77f, 0xb7f, 0xf7f};
  static const int32_t expected[] = {4, 3, 4, 3};
  int good = 1;
  for (uint32_t i = 0; i < 4; i++) {
    __asm__ volatile("fldcw %1; fildl %2; fidivl %3; fistpl %0; fninit" : "=m"(integer) : "m"(modes[i]), "m"(seven), "m"(two));
    good &= integer == expected[i];
  }
  check(good, "FISTP of 3.5 in the four rounding modes");
  __asm__ volatile("fld1; fldz; fucompp; fnstsw %0" : "=m"(status));
  check((status & 0x4500) == 0x0100, "FUCOM: below");
  __asm__ volatile("fninit; fldz; fld1; fdiv %%st(1); fnstsw %0; fninit" : "=m"(status));
  check((status & 0x84) == 0x04, "division by zero sets ZE, masked");
  static const uint16_t unmasked = 0x37b;
  __asm__ volatile("fldcw %0; fldz; fld1; fdiv %%st(1); fwait; fninit" : : "m"(unmasked));
  check_equal(faults, 1, "unmasked, the next waiting instruction faults");

  static const float a[4] = {1.5f, -2.0f, 1e10f, 0.1f}, b[4] = {0.5f, 4.0f, 1e-10f, 0.2f};
  float out[4] __attribute__((aligned(16)));
  __asm__ volatile("movups %1, %%xmm0; movups %2, %%xmm1; mulps %%xmm1, %%xmm0; movups %%xmm0, %0" : "=m"(out) : "m"(a), "m"(b));
  static const uint32_t products[4] = {0x3f400000, 0xc1000000, 0x3f800000, 0x3ca3d70b};
  check(holds(out, products, 16), "MULPS");
  static const double three = 3.0, one = 1.0;
  uint64_t third;
  __asm__ volatile("movsd %1, %%xmm0; divsd %2, %%xmm0; movsd %%xmm0, %0" : "=m"(third) : "m"(one), "m"(three));
  check(third == 0x3fd5555555555555, "DIVSD of 1 and 3");
  uint32_t mxcsr = 0x5f80;  // round up
  __asm__ volatile("ldmxcsr %3; movsd %1, %%xmm0; divsd %2, %%xmm0; movsd %%xmm0, %0" : "=m"(third) : "m"(one), "m"(three), "m"(mxcsr));
  __asm__ volatile("stmxcsr %0" : "=m"(mxcsr));
  check(third == 0x3fd5555555555556 && (mxcsr & 0x3f) == 0x20, "DIVSD rounding up, and the precision flag");
  mxcsr = 0x1f80;
  __asm__ volatile("ldmxcsr %0" : : "m"(mxcsr));
  static const uint8_t bytes[16] = {0, 1, 2, 3, 250, 251, 252, 253, 128, 127, 129, 9, 10, 11, 12, 255};
  uint8_t sums[16] __attribute__((aligned(16)));
  __asm__ volatile("movdqu %1, %%xmm2; paddusb %%xmm2, %%xmm2; movdqu %%xmm2, %0" : "=m"(sums) : "m"(bytes));
  static const uint8_t doubled[16] = {0, 2, 4, 6, 255, 255, 255, 255, 255, 254, 255, 18, 20, 22, 24, 255};
  check(holds(sums, doubled, 16), "PADDUSB");

  __asm__ volatile("fninit; fldpi; fxsave %0; fninit; xorps %%xmm2, %%xmm2; fxrstor %0; movdqu %%xmm2, %1; fstpt %2"
                   : "+m"(image), "=m"(sums), "=m"(result));
  check(holds(sums, doubled, 16) && result.mantissa == 0xc90fdaa22168c235, "FXSAVE and FXRSTOR");
  check(image[4] == 0x80 && image[24] == 0x80 && image[25] == 0x1f, "FXSAVE: abridged tag word and MXCSR");
  return 0;
}
