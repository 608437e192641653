// (32 64 bit) Self-modifying code: stores into code that ran before, into the next instruction, over page ends, by REP MOVS.
#include "guest.h"

static uint8_t code[3 * 4096] __attribute__((aligned(4096)));
typedef uint32_t (*function)(void);

/// mov $v, %eax; ret
static void emit(volatile uint8_t *at, uint32_t v) {
  at[0] = 0xb8;
  for (uint32_t i = 0; i < 4; i++) at[1 + i] = (uint8_t)(v >> i * 8);
  at[5] = 0xc3;
}

int guest_main(void) {
  int good = 1;
  for (uint32_t i = 0; i < 1000; i++) {
    emit(code + 64, i * 77);
    good &= ((function)(code + 64))() == i * 77;
  }
  check(good, "code written and run again and again");

  emit(code + 4096 - 3, 1);
  good = ((function)(code + 4096 - 3))() == 1;
  code[4096] = 0x12;  // the immediate's third byte, in the second page
  good &= ((function)(code + 4096 - 3))() == 0x120001;
  check(good, "an instruction over a page end, changed in its second page");

  // A loop patches the instruction right after the store: movb $n, 1f+1; 1: mov $0, %al; the new value must count.
  uint32_t sum = 0;
  for (uint32_t i = 1; i <= 100; i++) {
    uint32_t got;
    __asm__ volatile(
#ifdef __x86_64__
        "lea 1f(%%rip), %%rdx; movb %b1, 1(%%rdx); jmp 1f; 1: mov $0, %%al; movzbl %%al, %0"
#else
        "mov $1f, %%edx; movb %b1, 1(%%edx); jmp 1f; 1: mov $0, %%al; movzbl %%al, %0"
#endif
        : "=r"(got)
        : "c"(i)
        : "eax", "edx", "memory");
    sum += got;
  }
  check_equal(sum, 5050, "a store into the next instruction");

  emit(code + 128, 0x1111);
  emit(code + 256, 0x2222);
  good = ((function)(code + 128))() == 0x1111;
  memcpy(code + 128, code + 256, 6);
  good &= ((function)(code + 128))() == 0x2222;
  check(good, "code replaced by rep movsb");

  // Data beside code in the same page changes often; the code stays right.
  volatile uint32_t *data = (volatile uint32_t *)(code + 8192);
  emit(code + 8192 + 512, 0x3333);
  good = 1;
  for (uint32_t i = 0; i < 5000; i++) {
    data[i % 64] += i;
    good &= ((function)(code + 8192 + 512))() == 0x3333;
  }
  check(good, "data in a page of code");
  return 0;
}
