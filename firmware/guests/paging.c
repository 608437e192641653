// (32 64 bit) Paging: accessed and dirty bits, permissions, restartable faults, large pages, global pages, INVLPG.
#include "guest.h"

#ifdef __x86_64__
typedef uint64_t entry;
enum { ENTRIES = 512 };
extern entry page_map[], page_directory_pointers[], page_directories[];
#else
typedef uint32_t entry;
enum { ENTRIES = 1024 };
static entry directory[1024] __attribute__((aligned(4096)));
#endif
static entry table[ENTRIES] __attribute__((aligned(4096)));

enum { BASE = 0x800000, PRESENT = 1, WRITABLE = 2, USER = 4, ACCESSED = 0x20, DIRTY = 0x40, LARGE = 0x80 };

static volatile uint32_t faults;
static volatile word fault_address, fault_error, resume_at;

static void on_page_fault(struct frame *f) {
  faults++;
  fault_address = READ_CONTROL(2);
  fault_error = f->error;
  if (resume_at) {
    f->ip = resume_at;
    resume_at = 0;
    return;
  }
  table[(fault_address - BASE) >> 12 & (ENTRIES - 1)] |= PRESENT | WRITABLE;
  __asm__ volatile("invlpg (%0)" : : "r"(fault_address) : "memory");
}

static volatile uint32_t *page(uint32_t n) { return mmio((word)BASE + n * 4096); }

static void change(uint32_t n, entry v) {
  table[n] = v;
  __asm__ volatile("invlpg (%0)" : : "r"(page(n)) : "memory");
  faults = 0;
}

int guest_main(void) {
  for (uint32_t i = 0; i < ENTRIES; i++) table[i] = (entry)(BASE + i * 4096) | PRESENT | WRITABLE;
#ifdef __x86_64__
  page_directories[BASE >> 21] = (word)table | 7;
  WRITE_CONTROL(3, READ_CONTROL(3));
  WRITE_CONTROL(0, READ_CONTROL(0) | 0x10000);
#else
  WRITE_CONTROL(4, READ_CONTROL(4) | 0x10);
  for (uint32_t i = 0; i < 1024; i++) directory[i] = i << 22 | 0x83;
  directory[BASE >> 22] = (entry)table | 7;
  WRITE_CONTROL(3, directory);
  WRITE_CONTROL(0, READ_CONTROL(0) | 0x80010000);
#endif
  set_handler(14, on_page_fault);

  for (uint32_t i = 0; i < 16; i++) *page(i) = i;
  change(0, BASE | PRESENT | WRITABLE);
  uint32_t value = *page(0);
  check(value == 0 && (table[0] & (ACCESSED | DIRTY)) == ACCESSED, "a read sets the accessed bit only");
  *page(0) = 5;
  check((table[0] & (ACCESSED | DIRTY)) == (ACCESSED | DIRTY), "a write sets the dirty bit");

  change(1, (BASE + 5 * 4096) | PRESENT | WRITABLE);
  check_equal(*page(1), 5, "a page can be mapped elsewhere");
  *page(1) = 55;
  check_equal(*page(5), 55, "and written there");

  change(2, (BASE + 2 * 4096) | WRITABLE);
  value = *page(2);
  check(value == 2 && faults == 1 && fault_error == 0 && fault_address == BASE + 2 * 4096, "an absent page faults on reading");
  change(2, (BASE + 2 * 4096) | WRITABLE);
  *mmio(BASE + 2 * 4096 + 0x124) = 9;
  check(faults == 1 && fault_error == 2 && fault_address == BASE + 2 * 4096 + 0x124, "and on writing, at the exact address");
  check_equal(*mmio(BASE + 2 * 4096 + 0x124), 9, "the write is done after the restart");

  change(3, (BASE + 3 * 4096) | PRESENT);
  *page(3) = 33;
  check(faults == 1 && fault_error == 3, "CR0.WP: the kernel cannot write a read-only page");
  WRITE_CONTROL(0, READ_CONTROL(0) & ~(word)0x10000);
  change(3, (BASE + 3 * 4096) | PRESENT);
  *page(3) = 34;
  check(faults == 0 && *page(3) == 34, "without WP it can");
  WRITE_CONTROL(0, READ_CONTROL(0) | 0x10000);

  // A read-modify-write faults as a write and is done once.
  change(4, (BASE + 4 * 4096) | PRESENT);
  *mmio(BASE + 4 * 4096) += 100;
  check(faults == 1 && fault_error == 3 && *page(4) == 104, "a read-modify-write restarts and is done once");

  // Writes that straddle two pages: nothing is written when the second is missing.
  change(7, (BASE + 7 * 4096) | WRITABLE);
  volatile uint32_t *across = mmio(BASE + 7 * 4096 - 2);
  *across = 0x11223344;
  check(faults == 1 && fault_address == BASE + 7 * 4096, "a write across two pages faults at the second");
  check_equal(*across, 0x11223344, "and is whole afterwards");

  // INVLPG is needed and is enough.
  change(8, (BASE + 8 * 4096) | PRESENT | WRITABLE);
  value = *page(8);
  change(8, (BASE + 9 * 4096) | PRESENT | WRITABLE);
  check_equal(*page(8), 9, "INVLPG makes a new mapping visible");

  // Global pages outlive a CR3 load when CR4.PGE is set; clearing PGE drops them.
  WRITE_CONTROL(4, READ_CONTROL(4) | 0x80);
  change(10, (BASE + 10 * 4096) | PRESENT | WRITABLE | 0x100);
  value = *page(10);
  table[10] = (entry)(BASE + 11 * 4096) | PRESENT | WRITABLE | 0x100;
  WRITE_CONTROL(4, READ_CONTROL(4) & ~(word)0x80);
  check_equal(*page(10), 11, "clearing CR4.PGE drops global pages");

  // Execution from a fresh page: mov $0x1234, %eax; ret
  static const uint8_t code[] = {0xb8, 0x34, 0x12, 0, 0, 0xc3};
  for (uint32_t i = 0; i < sizeof code; i++) ((volatile uint8_t *)page(12))[i] = code[i];
  change(12, (BASE + 12 * 4096) | WRITABLE);
  check(((uint32_t(*)(void))page(12))() == 0x1234 && faults == 1, "a fetch from an absent page restarts");
#ifdef __x86_64__
  write_msr(0xc0000080, read_msr(0xc0000080) | 0x800);  // EFER.NXE
  change(12, (BASE + 12 * 4096) | PRESENT | (entry)1 << 63);
  __asm__ volatile("lea 1f(%%rip), %%rax; mov %%rax, %0; call *%1; 1:" : "=m"(resume_at) : "r"(page(12)) : "rax", "memory");
  __asm__ volatile("add $8, %%rsp" : : : "memory");
  check(faults == 1 && fault_error == 0x11, "NX: a fetch faults with the instruction bit");
  change(12, (BASE + 12 * 4096) | PRESENT | (entry)1 << 52 | (entry)1 << 62);
  value = *page(12);
  check(faults == 0, "bits for software are ignored");
  page_map[0] &= ~(entry)ACCESSED;
  WRITE_CONTROL(3, READ_CONTROL(3));
  value = *page(0);
  check((page_map[0] & ACCESSED) != 0, "accessed bits are set at every level");
#else
  directory[0x1000000 >> 22] = 0x1000000 | PRESENT | WRITABLE | LARGE;
  WRITE_CONTROL(3, READ_CONTROL(3));
  *mmio(0x1000000 + 0x3ffffc) = 7;
  check((directory[0x1000000 >> 22] & (ACCESSED | DIRTY)) == (ACCESSED | DIRTY), "a 4 MiB page has its own dirty bit");
#endif
  return 0;
}
