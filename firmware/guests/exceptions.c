// (32 64 bit) Each exception that a program can raise, with its error code and the address it is reported at.
#include "guest.h"

static volatile uint32_t seen_vector, seen_error, count;
static volatile word seen_ip, resume_at;

static void on_exception(struct frame *f) {
  count++;
  seen_vector = (uint32_t)f->vector;
  seen_error = (uint32_t)f->error;
  seen_ip = f->ip;
  f->ip = resume_at;
  f->flags &= ~(word)0x100;
}

static void expect(uint32_t vector, uint32_t error, word ip, const char *name) {
  check(count == 1 && seen_vector == vector && seen_error == error && seen_ip == ip, name);
  if (count != 1 || seen_vector != vector || seen_error != error || seen_ip != ip) {
    print("  vector ");
    print_hex(seen_vector, 2);
    print(" error ");
    print_hex(seen_error, 8);
    print(" count ");
    print_number(count);
    print(seen_ip == ip ? "\n" : " at another address\n");
  }
  count = 0;
}

typedef void (*snippet)(void);
// Each snippet has its label at the instruction expected to fault, and one where to go on.
#define SNIPPET(name, before, code)                                                                                \
  void name##_run(void);                                                                                           \
  extern uint8_t name##_at[], name##_next[];                                                                       \
  __asm__(".text\n.global " #name "_run, " #name "_at, " #name "_next\n" #name "_run: " before "\n" #name          \
          "_at: " code "\n" #name "_next: ret\n")

#ifdef __x86_64__
#define A "%rax"
#define PTR "(%rax)"
#else
#define A "%eax"
#define PTR "(%eax)"
#endif

SNIPPET(divide, "xor %ecx, %ecx", "div %ecx");
SNIPPET(divide_overflow, "mov $1, %edx; mov $1, %ecx", "div %ecx");
SNIPPET(breakpoint, "", "int3");
SNIPPET(undefined, "", "ud2");
SNIPPET(no_fpu, "mov %cr0, " A "; or $4, %al; mov " A ", %cr0", "fnop");
SNIPPET(no_fpu_ts, "mov %cr0, " A "; or $8, %al; mov " A ", %cr0", "fnop");
SNIPPET(bad_selector, "mov $0x200, %eax", "mov %ax, %ds");
SNIPPET(ldt_selector, "mov $0x14, %eax", "mov %ax, %ds");
SNIPPET(code_as_stack, "mov $0x08, %eax", "mov %ax, %ss");
SNIPPET(absent_data, "mov $0x38, %eax", "mov %ax, %ds");
SNIPPET(absent_stack, "mov $0x38, %eax", "mov %ax, %ss");
SNIPPET(aligned_sse, "mov %cr4, " A "; or $0x200, %eax; mov " A ", %cr4; mov $0x300004, %eax", "movaps " PTR ", %xmm0");
#ifdef __x86_64__
SNIPPET(non_canonical, "mov $1, %eax; shl $63, " A, "movb $0, " PTR);
SNIPPET(into_64, "", ".byte 0xce");
#else
SNIPPET(null_stack, "mov $3, %eax", "mov %ax, %ss");
SNIPPET(software_high, "", "int $0x90");
SNIPPET(overflow, "mov $0x7fffffff, %eax; inc %eax", "into");
SNIPPET(bound_check, "movl $5, 0x300000; movl $9, 0x300004; mov $10, %eax", "bound %eax, 0x300000");
#endif

static void run(snippet code, uint8_t *next) {
  resume_at = (word)next;
  code();
}
#define FAULT(name, vector, error, text)      \
  do {                                        \
    run(name##_run, name##_next);             \
    expect(vector, error, (word)name##_at, text); \
  } while (0)
#define TRAP(name, vector, text)              \
  do {                                        \
    run(name##_run, name##_next);             \
    expect(vector, 0, (word)name##_next, text); \
  } while (0)

extern uint64_t gdt[];

int guest_main(void) {
  for (uint32_t vector = 0; vector < 32; vector++) set_handler(vector, on_exception);
  gdt[7] = 0x00cf13000000ffff;  // 38: data, not present
  FAULT(divide, 0, 0, "0: division by zero");
  FAULT(divide_overflow, 0, 0, "0: quotient too large");
  TRAP(breakpoint, 3, "3: INT3 reports the next instruction");
  FAULT(undefined, 6, 0, "6: UD2");
  FAULT(no_fpu, 7, 0, "7: x87 with CR0.EM");
  WRITE_CONTROL(0, READ_CONTROL(0) & ~(word)4);
  FAULT(no_fpu_ts, 7, 0, "7: x87 with CR0.TS");
  __asm__ volatile("clts");
  FAULT(bad_selector, 13, 0x200, "13: selector beyond the table");
  FAULT(ldt_selector, 13, 0x14, "13: selector in an absent LDT");
  FAULT(code_as_stack, 13, 0x08, "13: code as stack segment");
  FAULT(absent_data, 11, 0x38, "11: data segment not present");
  FAULT(absent_stack, 12, 0x38, "12: stack segment not present");
  FAULT(aligned_sse, 13, 0, "13: unaligned MOVAPS");
#ifdef __x86_64__
  FAULT(non_canonical, 13, 0, "13: non-canonical address");
  FAULT(into_64, 6, 0, "6: INTO does not exist in 64-bit mode");
#else
  set_gate(0x90, 0, 0);
  FAULT(software_high, 13, 0x90 << 3 | 2, "13: INT through an empty gate");
  FAULT(null_stack, 13, 0, "13: null stack selector with RPL 3");
  TRAP(overflow, 4, "4: INTO");
  FAULT(bound_check, 5, 0, "5: BOUND");
#endif
  return 0;
}
