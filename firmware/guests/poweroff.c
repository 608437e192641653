// (32 bit) Ends by ACPI soft-off (S5): SLP_TYP 0 and SLP_EN in PM1a_CNT of the PIIX4 power management function.
#include "guest.h"

int guest_main(void) {
  uint32_t base = read_pci(1, 3, 0x40) & 0xffc0;
  if (base == 0) {
    base = 0x600;
    write_pci(1, 3, 0x40, base | 1);
  }
  write_pci(1, 3, 0x80, read_pci(1, 3, 0x80) | 1);
  uint32_t before = in32((uint16_t)(base + 8)) & 0xffffff, now = before;
  for (uint32_t i = 0; i < 1000000 && now == before; i++) now = in32((uint16_t)(base + 8)) & 0xffffff;
  check(now != before, "the PM timer counts");
  out16((uint16_t)(base + 4), 0x2000);
  for (volatile uint32_t i = 0; i < 100000000; i++) {}
  print("FAIL still on\n");
  return 1;
}
