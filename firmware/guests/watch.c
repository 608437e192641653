// (32 bit) Says what it sees of the CD in the secondary master and of the clock, whenever that changes, for ever.
//
// `disc none`, `disc changed` (a unit attention), `disc BLOCK` with the first 8 bytes of block 0; `clock YYMMDDHHMMSS`
// each second, as the RTC counts in BCD.
#include "ide.h"

static uint8_t block[2048] __attribute__((aligned(4096)));
static char last[9], now[9];

static void set(const char *text) {
  for (uint32_t i = 0; i < 8; i++) now[i] = text[i];
}

static void look_at_disc(void) {
  static const uint8_t ready[12] = {0}, read_first[12] = {0x28, 0, 0, 0, 0, 0, 0, 0, 1}, sense[12] = {0x03, 0, 0, 0, 18};
  uint8_t error = 0;
  if (ide_packet(IDE_SECONDARY, ready, block, 0, &error) < 0) {
    int got = ide_packet(IDE_SECONDARY, sense, block, sizeof block, &error);
    uint8_t key = got == 18 ? block[2] & 15 : 0;
    set(key == 6 ? "changed\0" : key == 2 ? "none\0\0\0\0" : "error\0\0\0");
  } else if (ide_packet(IDE_SECONDARY, read_first, block, sizeof block, &error) == 2048) {
    set((const char *)block);
  } else {
    set("error\0\0\0");
  }
}

int guest_main(void) {
  uint8_t second = 0xff;
  ide_setup();
  for (;;) {
    look_at_disc();
    int same = 1;
    for (uint32_t i = 0; i < 8; i++) {
      if (now[i] != last[i]) same = 0;
      last[i] = now[i];
    }
    if (!same) {
      print("disc ");
      print(now);
      print("\n");
    }
    while (read_cmos(10) & 0x80) {}
    uint8_t s = read_cmos(0);
    if (s != second) {
      second = s;
      print("clock ");
      static const uint8_t registers[6] = {9, 8, 7, 4, 2, 0};
      for (uint32_t i = 0; i < 6; i++) print_hex(read_cmos(registers[i]), 2);
      print("\n");
    }
    for (volatile uint32_t idle = 20000; idle; idle--) {}
  }
}
