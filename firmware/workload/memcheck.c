// memcheck MB [PAGES MS]: keeps writing MB megabytes of memory and checks what it wrote.
//
// A beat rewrites PAGES pages chosen at random (default 512) and checks as many in order, prints `heartbeat N ok`, and sleeps
// MS milliseconds (default 500). The first wrong word ends it with `MEMORY ERROR ...` and status 1.

#include "linux.h"
#include "page_pattern.h"

static volatile uint32_t *memory;
static uint32_t *generations;

static void check(uint32_t page) {
  const volatile uint32_t *words = memory + (unsigned long)page * PAGE_WORDS;
  uint32_t wrong = pattern_check(words, page, generations[page]);
  if (wrong == PAGE_WORDS) return;
  struct line l = {.length = 0};
  add_text(&l, "MEMORY ERROR page ");
  add_number(&l, page, 10);
  add_text(&l, " word ");
  add_number(&l, wrong, 10);
  add_text(&l, " holds ");
  add_number(&l, words[wrong], 16);
  add_text(&l, ", its generation should be ");
  add_number(&l, generations[page], 10);
  end_line(&l);
  exit_with(1);
}

__attribute__((used)) void start(long *stack) {
  long count = stack[0];
  char **arguments = (char **)(stack + 1);
  uint32_t megabytes = count > 1 ? to_number(arguments[1]) : 32;
  uint32_t per_beat = count > 2 ? to_number(arguments[2]) : 512;
  uint32_t pause = count > 3 ? to_number(arguments[3]) : 500;
  struct line l = {.length = 0};
  uint32_t pages = megabytes * 256;
  memory = map_memory((unsigned long)pages * 4096);
  generations = map_memory((unsigned long)pages * 4);
  if (!pages || (unsigned long)memory > -4096ul || (unsigned long)generations > -4096ul) {
    add_text(&l, "memcheck: no memory");
    end_line(&l);
    exit_with(2);
  }
  for (uint32_t i = 0; i < pages; i++) pattern_write(memory + (unsigned long)i * PAGE_WORDS, i, 0);
  uint32_t random = 0x12345678, sweep = 0;
  for (uint32_t beat = 1;; beat++) {
    for (uint32_t i = 0; i < per_beat; i++) {
      random = pattern_next(random);
      uint32_t page = random % pages;
      check(page);
      pattern_write(memory + (unsigned long)page * PAGE_WORDS, page, ++generations[page]);
      check(sweep);
      if (++sweep == pages) sweep = 0;
    }
    add_text(&l, "heartbeat ");
    add_number(&l, beat, 10);
    add_text(&l, " ok");
    end_line(&l);
    if (pause) sleep_ms(pause);
  }
}
