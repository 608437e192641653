// (32 bit) PCI configuration mechanism 1: lists the host bridge and the PIIX3's functions, and sizes a base address.
#include "guest.h"

int guest_main(void) {
  out32(0xcf8, 0x80000000);
  check(in32(0xcf8) == 0x80000000, "mechanism 1 is there");
  static const uint8_t places[][2] = {{0, 0}, {1, 0}, {1, 1}, {1, 3}};
  for (uint32_t i = 0; i < 4; i++) {
    uint32_t device = places[i][0], function = places[i][1];
    uint32_t id = read_pci(device, function, 0);
    print("00:");
    print_hex(device, 2);
    print(".");
    print_hex(function, 1);
    print(" ");
    print_hex(id & 0xffff, 4);
    print(":");
    print_hex(id >> 16, 4);
    print(" class ");
    print_hex(read_pci(device, function, 8) >> 8, 6);
    print("\n");
  }
  check_equal(read_pci(31, 0, 0), 0xffffffff, "an empty slot reads all ones");
  check((read_pci(1, 0, 0x0c) >> 16 & 0x80) != 0, "the PIIX3 has several functions");
  uint32_t before = read_pci(1, 1, 0x20);
  write_pci(1, 1, 0x20, 0xffffffff);
  check_equal(read_pci(1, 1, 0x20), 0xfffffff1, "bus-master base: 16 I/O ports");
  write_pci(1, 1, 0x20, before);
  uint32_t id = read_pci(0, 0, 0);
  write_pci(0, 0, 0, 0);
  check_equal(read_pci(0, 0, 0), id, "identifiers cannot be written");
  out32(0xcf8, 0x80000000);
  check_equal(in16(0xcfc), id & 0xffff, "configuration data by words");
  check_equal(in8(0xcff), id >> 24, "configuration data by bytes");
  return 0;
}
