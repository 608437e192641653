// (32 64 bit) A guest that keeps writing all its memory and checking it, for teleporting.
//
// It owns the RAM above 2 MiB up to the hole under 4 GiB. A step picks a page at random, checks it, writes it in its next
// generation, and checks one more page in order. A table holds the generation each page must have, so a page that comes
// back old is found as well as one that is torn. `FAIL page ...` and status 7Fh at the first wrong word.
//
// Command line: pages=N  steps from one heartbeat line to the next (default 2000)   pause=N  loops of idling per step (0)
//               beats=N  heartbeats before it ends with status 0 (default 0: never)  limit=MB  leave memory above alone
#include "options.h"
#include "page_pattern.h"

static uint32_t *generations;
static word first_page;
static uint32_t count;

static void fail(uint32_t page, uint32_t wrong, uint32_t holds) {
  print("\nFAIL page ");
  print_hex((uint32_t)(first_page >> 12) + page, 6);
  print(" word ");
  print_number(wrong);
  print(" holds ");
  print_hex(holds, 8);
  print(" generation ");
  print_number(generations[page]);
  print("\n");
  finish(0x7f);
}

static void check_page(uint32_t page) {
  volatile uint32_t *words = mmio(first_page + (word)page * 4096);
  uint32_t wrong = pattern_check(words, page, generations[page]);
  if (wrong != PAGE_WORDS) fail(page, wrong, words[wrong]);
}

int guest_main(void) {
  uint32_t per_beat = option("pages", 2000), pause = option("pause", 0), beats = option("beats", 0);
  uint32_t end = memory_end(), limit = option("limit", 0);
  if (limit && limit < end >> 20) end = limit << 20;
  uint32_t pages = (end - 0x200000) / 4096;
  generations = (uint32_t *)0x200000;
  uint32_t table = (pages * 4 + 4095) / 4096;
  count = pages - table;
  first_page = 0x200000 + (word)table * 4096;
  print("walker: ");
  print_number(count);
  print(" pages\n");
  for (uint32_t i = 0; i < count; i++) {
    generations[i] = 0;
    pattern_write(mmio(first_page + (word)i * 4096), i, 0);
  }
  uint32_t random = 0x2545f491, sweep = 0;
  for (uint32_t beat = 1; !beats || beat <= beats; beat++) {
    for (uint32_t i = 0; i < per_beat; i++) {
      random = pattern_next(random);
      uint32_t page = random % count;
      check_page(page);
      pattern_write(mmio(first_page + (word)page * 4096), page, ++generations[page]);
      check_page(sweep);
      if (++sweep == count) sweep = 0;
      echo_typed();
      for (volatile uint32_t idle = pause; idle; idle--) {}
    }
    print("heartbeat ");
    print_number(beat);
    print("\n");
  }
  print("done\n");
  return 0;
}
