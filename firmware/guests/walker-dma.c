// (32 bit) As walker, but the pages are written by the disk: bus-master reads of the primary master into random pages.
//
// The disk's first 4 MiB get a pattern first. A table holds which block each page must hold.
// Command line: pages=N steps per heartbeat (default 200)   beats=N heartbeats before it ends (default 0: never)
//               limit=MB  leave memory above alone
#include "ide.h"
#include "options.h"
#include "page_pattern.h"

enum { BLOCKS = 1024 };
static uint32_t *blocks;
static uint32_t first_page;

static void check_page(uint32_t page) {
  volatile uint32_t *words = mmio(first_page + page * 4096);
  uint32_t wrong = pattern_check(words, blocks[page], 1);
  if (wrong == PAGE_WORDS) return;
  print("\nFAIL page ");
  print_hex((first_page >> 12) + page, 6);
  print(" word ");
  print_number(wrong);
  print(" holds ");
  print_hex(words[wrong], 8);
  print(" of block ");
  print_number(blocks[page]);
  print("\n");
  finish(0x7f);
}

static void must(int good, const char *what) {
  if (good) return;
  print("FAIL ");
  print(what);
  print("\n");
  finish(0x7e);
}

int guest_main(void) {
  uint32_t per_beat = option("pages", 200), beats = option("beats", 0);
  uint32_t end = memory_end(), limit = option("limit", 0);
  if (limit && limit < end >> 20) end = limit << 20;
  ide_setup();
  blocks = (uint32_t *)0x200000;
  uint32_t pages = (end - 0x200000) / 4096, table = (pages * 4 + 4095) / 4096, count = pages - table;
  first_page = 0x200000 + table * 4096;
  uint8_t *scratch = (uint8_t *)first_page;
  for (uint32_t block = 0; block < BLOCKS; block += 8) {
    for (uint32_t i = 0; i < 8; i++) pattern_write(mmio((word)scratch + i * 4096), block + i, 1);
    must(ide_dma(IDE_PRIMARY, ATA_WRITE_DMA, block * 8, scratch, 64), "disk write");
  }
  // Every page starts as block 0 to BLOCKS - 1 in turn, read eight at a time.
  for (uint32_t page = 0; page < count; page += 8) {
    uint32_t some = count - page < 8 ? count - page : 8, block = page % BLOCKS;
    must(ide_dma(IDE_PRIMARY, ATA_READ_DMA, block * 8, scratch + page * 4096, some * 8), "disk read");
    for (uint32_t i = 0; i < some; i++) blocks[page + i] = block + i;
  }
  print("walker-dma: ");
  print_number(count);
  print(" pages\n");
  uint32_t random = 0x2545f491, sweep = 0;
  for (uint32_t beat = 1; !beats || beat <= beats; beat++) {
    for (uint32_t i = 0; i < per_beat; i++) {
      random = pattern_next(random);
      uint32_t page = random % count, block = (random >> 7) % BLOCKS;
      check_page(page);
      blocks[page] = block;
      must(ide_dma(IDE_PRIMARY, ATA_READ_DMA, block * 8, scratch + page * 4096, 8), "disk read");
      check_page(page);
      check_page(sweep);
      if (++sweep == count) sweep = 0;
      echo_typed();
    }
    print("heartbeat ");
    print_number(beat);
    print("\n");
  }
  print("done\n");
  return 0;
}
