// (32 64 bit) REP string instructions over page ends, with a page fault in the middle that is mended and restarted.
//
// Pages at 8 MiB are mapped one by one (32 bit: a page table of its own; 64 bit: the 2 MiB page is split).
#include "guest.h"

#ifdef __x86_64__
typedef uint64_t entry;
enum { ENTRIES = 512 };
extern entry page_directories[];
#else
typedef uint32_t entry;
enum { ENTRIES = 1024 };
static entry directory[1024] __attribute__((aligned(4096)));
#endif
static entry table[ENTRIES] __attribute__((aligned(4096)));

enum { BASE = 0x800000 };

static volatile uint32_t faults;
static volatile word fault_address, fault_error;

static void on_page_fault(struct frame *f) {
  faults++;
  fault_address = READ_CONTROL(2);
  fault_error = f->error;
  table[(fault_address - BASE) >> 12] |= 3;
  __asm__ volatile("invlpg (%0)" : : "r"(fault_address) : "memory");
}

static void set_up_paging(void) {
  for (uint32_t i = 0; i < ENTRIES; i++) table[i] = (entry)(BASE + i * 4096) | 3;
#ifdef __x86_64__
  page_directories[BASE >> 21] = (word)table | 3;
  WRITE_CONTROL(3, READ_CONTROL(3));
  WRITE_CONTROL(0, READ_CONTROL(0) | 0x10000);  // WP
#else
  WRITE_CONTROL(4, READ_CONTROL(4) | 0x10);  // PSE
  for (uint32_t i = 0; i < 1024; i++) directory[i] = i << 22 | 0x83;
  directory[BASE >> 22] = (entry)table | 3;
  WRITE_CONTROL(3, directory);
  WRITE_CONTROL(0, READ_CONTROL(0) | 0x80010000);  // PG, WP
#endif
  set_handler(14, on_page_fault);
}

static void take_away(uint32_t page, entry bits) {
  table[page] &= ~bits;
  __asm__ volatile("invlpg (%0)" : : "r"((word)BASE + page * 4096) : "memory");
  faults = 0;
}

static uint8_t *at(uint32_t offset) { return (uint8_t *)(word)(BASE + offset); }

static int holds(const uint8_t *p, uint32_t count, uint8_t v) {
  for (uint32_t i = 0; i < count; i++)
    if (p[i] != v) return 0;
  return 1;
}

int guest_main(void) {
  set_up_paging();
  memset(at(0), 0, 16 * 4096);

  take_away(1, 1);
  void *to = at(4000);
  word count = 200;
  __asm__ volatile("rep stosb" : "+D"(to), "+c"(count) : "a"(0x5a) : "memory");
  check(faults == 1 && fault_address == BASE + 4096 && fault_error == 2, "rep stosb faults at the absent page");
  check(count == 0 && to == at(4200), "and ends with its registers right");
  check(holds(at(4000), 200, 0x5a) && *at(3999) == 0 && *at(4200) == 0, "having written just its bytes");

  take_away(3, 2);
  to = at(3 * 4096 - 2), count = 3;
  __asm__ volatile("rep stosl" : "+D"(to), "+c"(count) : "a"(0xa5a5a5a5) : "memory");
  check(faults == 1 && fault_address == BASE + 3 * 4096 && fault_error == 3, "a store across into a read-only page faults");
  check(count == 0 && holds(at(3 * 4096 - 2), 12, 0xa5), "and is whole after the restart");

  for (uint32_t i = 0; i < 8192; i++) *at(5 * 4096 + i) = (uint8_t)(i * 7);
  take_away(6, 1);
  const void *from = at(5 * 4096 + 1);
  to = at(8 * 4096 + 3), count = 8000;
  __asm__ volatile("rep movsb" : "+D"(to), "+S"(from), "+c"(count) : : "memory");
  check(faults == 1 && fault_address == BASE + 6 * 4096 && fault_error == 0, "rep movsb faults reading the absent page");
  int same = 1;
  for (uint32_t i = 0; i < 8000; i++) same &= *at(8 * 4096 + 3 + i) == (uint8_t)((i + 1) * 7);
  check(count == 0 && same, "and copies all");

  // Downwards, and overlapping: the result is that of one element after the other.
  from = at(8 * 4096 + 100), to = at(8 * 4096 + 101), count = 101;
  for (uint32_t i = 0; i < 102; i++) *at(8 * 4096 + i) = (uint8_t)i;
  __asm__ volatile("std; rep movsb; cld" : "+D"(to), "+S"(from), "+c"(count) : : "memory");
  same = *at(8 * 4096) == 0;
  for (uint32_t i = 0; i < 101; i++) same &= *at(8 * 4096 + 1 + i) == i;
  check(same && to == at(8 * 4096), "rep movsb downwards over itself");
  from = at(8 * 4096), to = at(8 * 4096 + 1), count = 5000;
  *at(8 * 4096) = 0x77;
  __asm__ volatile("rep movsb" : "+D"(to), "+S"(from), "+c"(count) : : "memory");
  check(holds(at(8 * 4096), 5001, 0x77), "rep movsb upwards over itself repeats the first byte");

  memset(at(10 * 4096), 'x', 8192);
  *at(11 * 4096 + 5) = 'y';
  take_away(11, 1);
  to = at(10 * 4096), count = 8192;
  uint8_t zero;
  __asm__ volatile("repne scasb; setz %2" : "+D"(to), "+c"(count), "=r"(zero) : "a"('y') : "memory");
  check(faults == 1 && zero && to == at(11 * 4096 + 6) && count == 8192 - 4096 - 6, "repne scasb finds past the fault");
  from = at(10 * 4096), to = at(10 * 4096 + 1), count = 8000;
  take_away(11, 1);
  __asm__ volatile("repe cmpsb; setz %3" : "+D"(to), "+S"(from), "+c"(count), "=r"(zero) : : "memory");
  check(faults == 1 && !zero && to == at(11 * 4096 + 6) && count == 8000 - 4096 - 5, "repe cmpsb stops at the difference");

  to = at(0), count = 0;
  take_away(0, 1);
  __asm__ volatile("rep stosb" : "+D"(to), "+c"(count) : "a"(1) : "memory");
  check(faults == 0 && to == at(0), "rep with a count of 0 touches nothing");
  return 0;
}
