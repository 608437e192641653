// (32 bit) IDE hard disk as primary master: IDENTIFY, PIO and DMA reads and writes against each other, errors.
#include "ide.h"
#include "page_pattern.h"

static uint32_t pages[2][8 * 1024] __attribute__((aligned(4096)));
static uint16_t identity[256];

static void fill(uint32_t seed) {
  for (uint32_t i = 0; i < 8; i++) pattern_write(pages[0] + i * 1024, seed + i, seed);
}

static int same(uint32_t count) {
  for (uint32_t i = 0; i < count * 128; i++)
    if (pages[0][i] != pages[1][i]) return 0;
  return 1;
}

static void round_trip(const char *name, uint8_t write, uint8_t read, uint64_t lba, uint32_t count) {
  int dma_write = write == ATA_WRITE_DMA || write == ATA_WRITE_DMA_EXT;
  int dma_read = read == ATA_READ_DMA || read == ATA_READ_DMA_EXT;
  fill((uint32_t)lba + count);
  memset(pages[1], 0xee, sizeof pages[1]);
  int good = (dma_write ? ide_dma : ide_pio)(IDE_PRIMARY, write, lba, pages[0], count);
  good = good && (dma_read ? ide_dma : ide_pio)(IDE_PRIMARY, read, lba, pages[1], count);
  check(good && same(count) && pages[1][count * 128] == 0xeeeeeeee, name);
}

int guest_main(void) {
  ide_setup();
  check(ide_pio(IDE_PRIMARY, ATA_IDENTIFY, 0, identity, 1), "identify");
  uint32_t sectors = identity[60] | (uint32_t)identity[61] << 16;
  check(sectors >= 2048, "disk has at least 1 MiB");
  check((identity[49] & 0x300) == 0x300, "identify: LBA and DMA");
  check((identity[83] & 0x400) != 0, "identify: LBA48");
  check(identity[100] == identity[60] && identity[101] == identity[61], "identify: both capacities agree");
  round_trip("PIO write, PIO read, 1 sector", ATA_WRITE_PIO, ATA_READ_PIO, 7, 1);
  round_trip("PIO write, PIO read, 63 sectors", ATA_WRITE_PIO, ATA_READ_PIO, 100, 63);
  round_trip("PIO write, DMA read", ATA_WRITE_PIO, ATA_READ_DMA, 200, 17);
  round_trip("DMA write, PIO read", ATA_WRITE_DMA, ATA_READ_PIO, 300, 33);
  round_trip("DMA write, DMA read, 63 sectors", ATA_WRITE_DMA, ATA_READ_DMA, 400, 63);
  round_trip("LBA48 PIO write, DMA read", ATA_WRITE_PIO_EXT, ATA_READ_DMA_EXT, 500, 9);
  round_trip("LBA48 DMA write, PIO read", ATA_WRITE_DMA_EXT, ATA_READ_PIO_EXT, 600, 31);
  round_trip("last sector", ATA_WRITE_PIO, ATA_READ_DMA, sectors - 1, 1);
  check(!ide_pio(IDE_PRIMARY, ATA_READ_PIO, sectors, pages[1], 1), "reading past the end is an error");
  check((in8(0x1f1) & 0x14) != 0, "error register: no such sector");
  check(ide_pio(IDE_PRIMARY, ATA_FLUSH, 0, 0, 0), "flush");
  out8(0x1f7, 0xff);
  ide_ready(IDE_PRIMARY);
  check((in8(0x1f7) & 1) && (in8(0x1f1) & 4), "an unknown command is aborted");
  out8(0x3f6, 6);  // soft reset
  out8(0x3f6, 2);
  ide_ready(IDE_PRIMARY);
  check(in8(0x1f2) == 1 && in8(0x1f3) == 1 && in8(0x1f4) == 0 && in8(0x1f5) == 0, "soft reset leaves the ATA signature");
  check(in8(0x1f1) == 1, "soft reset: diagnostics passed");
  return 0;
}
