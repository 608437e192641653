// (32 bit) ATAPI CD-ROM as secondary master, holding blocks that start with "block N" right-adjusted in 2048 bytes.
#include "ide.h"

static uint8_t buffer[4 * 2048] __attribute__((aligned(4096)));
static uint16_t identity[256];

static int holds_block(const uint8_t *block, uint32_t number) {
  return block[2047] == ' ' && block[2046] == '0' + number % 10 && block[0] == ' ';
}

int guest_main(void) {
  uint8_t error = 0;
  ide_setup();
  check(!ide_pio(IDE_SECONDARY, ATA_IDENTIFY, 0, identity, 1), "IDENTIFY DEVICE is refused");
  check(in8(0x174) == 0x14 && in8(0x175) == 0xeb, "and leaves the packet signature");
  out8(0x176, 0xa0);
  check(ide_pio(IDE_SECONDARY, ATA_IDENTIFY_PACKET, 0, identity, 1), "IDENTIFY PACKET DEVICE");
  check((identity[0] & 0xdf00) == 0x8500, "a CD-ROM with 12-byte packets");

  static const uint8_t inquiry[12] = {0x12, 0, 0, 0, 36};
  int got = ide_packet(IDE_SECONDARY, inquiry, buffer, sizeof buffer, &error);
  check(got == 36 && (buffer[0] & 0x1f) == 5 && (buffer[1] & 0x80), "INQUIRY: removable CD-ROM");
  static const uint8_t ready[12] = {0};
  int is_ready = -1;
  // The first commands after a reset or a medium change report a unit attention.
  for (uint32_t i = 0; i < 4 && is_ready < 0; i++) is_ready = ide_packet(IDE_SECONDARY, ready, buffer, 0, &error);
  check(is_ready == 0, "TEST UNIT READY");
  static const uint8_t capacity[12] = {0x25};
  got = ide_packet(IDE_SECONDARY, capacity, buffer, sizeof buffer, &error);
  check(got == 8 && buffer[2] == 0 && buffer[3] == 63 && buffer[6] == 8 && buffer[7] == 0, "READ CAPACITY: 64 blocks of 2048");
  static const uint8_t read_three[12] = {0x28, 0, 0, 0, 0, 5, 0, 0, 3};
  got = ide_packet(IDE_SECONDARY, read_three, buffer, sizeof buffer, &error);
  check(got == 6144 && holds_block(buffer, 5) && holds_block(buffer + 4096, 7), "READ(10) by PIO");
  memset(buffer, 0, sizeof buffer);
  static const uint8_t read_two[12] = {0xa8, 0, 0, 0, 0, 62, 0, 0, 0, 2};
  check(ide_packet_dma(IDE_SECONDARY, read_two, buffer, 4096) && holds_block(buffer, 62) && holds_block(buffer + 2048, 63),
        "READ(12) by DMA");
  static const uint8_t beyond[12] = {0x28, 0, 0, 0, 1, 0, 0, 0, 1};
  error = 0;
  check(ide_packet(IDE_SECONDARY, beyond, buffer, 2048, &error) < 0 && error >> 4 == 5, "beyond the end: illegal request");
  static const uint8_t sense[12] = {0x03, 0, 0, 0, 18};
  got = ide_packet(IDE_SECONDARY, sense, buffer, sizeof buffer, &error);
  check(got == 18 && (buffer[2] & 15) == 5 && buffer[12] == 0x21, "REQUEST SENSE: address out of range");
  static const uint8_t toc[12] = {0x43, 0, 0, 0, 0, 0, 0, 0, 64};
  got = ide_packet(IDE_SECONDARY, toc, buffer, sizeof buffer, &error);
  check(got == 20 && buffer[2] == 1 && buffer[3] == 1 && buffer[14] == 0xaa, "READ TOC: one track and the lead-out");
  return 0;
}
