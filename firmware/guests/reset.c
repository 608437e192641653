// (32 bit) Every way to reset the machine, one after the other; CMOS memory, which a reset keeps, counts them.
#include "guest.h"

enum { CMOS_MAGIC = 0x50, CMOS_STEP = 0x51 };

int guest_main(void) {
  if (read_cmos(CMOS_MAGIC) != 0xa7) {
    write_cmos(CMOS_MAGIC, 0xa7);
    write_cmos(CMOS_STEP, 0);
  }
  uint8_t step = read_cmos(CMOS_STEP);
  write_cmos(CMOS_STEP, step + 1);
  static const char *const names[] = {"port CF9h", "port 92h", "8042 command FEh", "triple fault"};
  if (step == 4) {
    write_cmos(CMOS_MAGIC, 0);
    print("ok reset by each\n");
    return 0;
  }
  print("resetting by ");
  print(names[step]);
  print("\n");
  for (uint32_t i = 0; i < 100000 && !(in8(COM1 + 5) & 0x40); i++) {}
  switch (step) {
    case 0:
      out8(0xcf9, 2);
      out8(0xcf9, 6);
      break;
    case 1:
      out8(0x92, in8(0x92) & 0xfe);
      out8(0x92, in8(0x92) | 1);
      break;
    case 2: out8(0x64, 0xfe); break;
    default: {
      struct { uint16_t limit; uint32_t base; } __attribute__((packed)) none = {0, 0};
      __asm__ volatile("lidt %0; int3" : : "m"(none));
    }
  }
  for (volatile uint32_t i = 0; i < 100000000; i++) {}
  print("FAIL no reset\n");
  return 1;
}
