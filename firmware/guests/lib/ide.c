#include "ide.h"

static uint16_t bus_master;
static const uint16_t ports[2] = {0x1f0, 0x170}, controls[2] = {0x3f6, 0x376};

void ide_setup(void) {
  uint32_t base = read_pci(1, 1, 0x20) & 0xfffc;
  if (base == 0) {
    write_pci(1, 1, 0x20, 0xc001);
    base = 0xc000;
  }
  bus_master = (uint16_t)base;
  write_pci(1, 1, 0x40, 0x80008000);  // IDETIM: both channels decode
  write_pci(1, 1, 0x04, 5);           // I/O space and bus mastering
  for (uint32_t channel = 0; channel < 2; channel++) {
    out8(controls[channel], 2);  // no interrupts: the guests poll
    out8(ports[channel] + 6, 0xe0);
  }
}

uint8_t ide_status(uint32_t channel) { return in8(controls[channel]); }

int ide_ready(uint32_t channel) {
  for (uint32_t i = 0; i < 100000000; i++)
    if (!(ide_status(channel) & 0x80)) return 1;
  return 0;
}

static int wait_for_data(uint32_t channel) {
  if (!ide_ready(channel)) return 0;
  return (ide_status(channel) & 0x29) == 0x08;
}

static int is_extended(uint8_t command) {
  return command == ATA_READ_PIO_EXT || command == ATA_WRITE_PIO_EXT || command == ATA_READ_DMA_EXT ||
         command == ATA_WRITE_DMA_EXT;
}

static int is_write(uint8_t command) {
  return command == ATA_WRITE_PIO || command == ATA_WRITE_PIO_EXT || command == ATA_WRITE_DMA ||
         command == ATA_WRITE_DMA_EXT;
}

static void start(uint32_t channel, uint8_t command, uint64_t lba, uint32_t sectors) {
  uint16_t port = ports[channel];
  ide_ready(channel);
  if (is_extended(command)) {
    out8(port + 6, 0xe0);
    out8(port + 2, (uint8_t)(sectors >> 8));
    out8(port + 3, (uint8_t)(lba >> 24));
    out8(port + 4, (uint8_t)(lba >> 32));
    out8(port + 5, (uint8_t)(lba >> 40));
  } else {
    out8(port + 6, 0xe0 | (uint8_t)(lba >> 24 & 15));
  }
  out8(port + 2, (uint8_t)sectors);
  out8(port + 3, (uint8_t)lba);
  out8(port + 4, (uint8_t)(lba >> 8));
  out8(port + 5, (uint8_t)(lba >> 16));
  out8(port + 7, command);
  for (uint32_t i = 0; i < 4; i++) ide_status(channel);  // 400 ns
}

int ide_pio(uint32_t channel, uint8_t command, uint64_t lba, void *buffer, uint32_t sectors) {
  start(channel, command, lba, sectors);
  for (uint32_t i = 0; i < sectors; i++) {
    if (!wait_for_data(channel)) return 0;
    uint32_t count = 256;
    if (is_write(command))
      __asm__ volatile("rep outsw" : "+S"(buffer), "+c"(count) : "d"(ports[channel]) : "memory");
    else
      __asm__ volatile("rep insw" : "+D"(buffer), "+c"(count) : "d"(ports[channel]) : "memory");
  }
  if (!ide_ready(channel)) return 0;
  return (in8(ports[channel] + 7) & 0x29) == 0;
}

static struct { uint32_t address; uint16_t count, flags; } regions[64] __attribute__((aligned(4096)));

/// The region table: a region must not cross 64 KiB; cut at pages, so that several are used.
static void prepare(uint32_t channel, void *buffer, uint32_t size, int to_disk) {
  uint32_t address = (uint32_t)(word)buffer, i = 0;
  while (size > 0) {
    uint32_t part = 4096 - (address & 4095);
    if (part > size) part = size;
    regions[i].address = address;
    regions[i].count = (uint16_t)part;
    size -= part;
    address += part;
    regions[i++].flags = size ? 0 : 0x8000;
  }
  uint16_t base = bus_master + (uint16_t)(channel * 8);
  out8(base, 0);
  out32(base + 4, (uint32_t)(word)regions);
  out8(base + 2, in8(base + 2) | 6);
  out8(base, to_disk ? 0 : 8);
}

static int run(uint32_t channel, int to_disk) {
  uint16_t base = bus_master + (uint16_t)(channel * 8);
  out8(base, to_disk ? 1 : 9);
  uint8_t status = 0;
  for (uint32_t i = 0; i < 100000000; i++) {
    status = in8(base + 2);
    if (status & 2 || (!(status & 1) && !(ide_status(channel) & 0x88))) break;
  }
  out8(base, 0);
  if (!ide_ready(channel)) return 0;
  barrier();
  return !(status & 2) && (in8(ports[channel] + 7) & 0x29) == 0;
}

int ide_dma(uint32_t channel, uint8_t command, uint64_t lba, void *buffer, uint32_t sectors) {
  prepare(channel, buffer, sectors * 512, is_write(command));
  start(channel, command, lba, sectors);
  return run(channel, is_write(command));
}

static int start_packet(uint32_t channel, const uint8_t packet[12], uint32_t limit, int dma) {
  uint16_t port = ports[channel];
  ide_ready(channel);
  out8(port + 6, 0xa0);
  out8(port + 1, dma ? 1 : 0);
  out8(port + 4, (uint8_t)limit);
  out8(port + 5, (uint8_t)(limit >> 8));
  out8(port + 7, ATA_PACKET);
  if (!wait_for_data(channel)) return 0;
  for (uint32_t i = 0; i < 12; i += 2) out16(port, (uint16_t)(packet[i] | packet[i + 1] << 8));
  return 1;
}

int ide_packet(uint32_t channel, const uint8_t packet[12], void *buffer, uint32_t limit, uint8_t *error) {
  uint16_t port = ports[channel];
  uint8_t *to = buffer;
  uint32_t total = 0;
  if (!start_packet(channel, packet, 0xf800, 0)) return -1;
  for (;;) {
    if (!ide_ready(channel)) return -1;
    uint8_t status = in8(port + 7);
    if (status & 1) {
      *error = in8(port + 1);
      return -1;
    }
    if (!(status & 8)) return (int)total;
    uint32_t count = in8(port + 4) | (uint32_t)in8(port + 5) << 8;
    for (uint32_t i = 0; i < count; i += 2) {
      uint16_t v = in16(port);
      if (total + 1 < limit) to[total] = (uint8_t)v, to[total + 1] = (uint8_t)(v >> 8);
      total += 2;
    }
  }
}

int ide_packet_dma(uint32_t channel, const uint8_t packet[12], void *buffer, uint32_t size) {
  prepare(channel, buffer, size, 0);
  if (!start_packet(channel, packet, 0xf800, 1)) return 0;
  return run(channel, 0);
}
