// (32 bit) Hardware tasks: far call, IRET back, far jump, a task gate in the IDT; and virtual-8086 mode with its monitor.
#include "guest.h"

struct task {
  uint32_t link, esp0, ss0, esp1, ss1, esp2, ss2, cr3, eip, eflags, eax, ecx, edx, ebx, esp, ebp, esi, edi;
  uint32_t es, cs, ss, ds, fs, gs, ldt;
  uint16_t trap, io_map;
};

extern uint64_t gdt[];
extern struct task tss;
static struct task second;
static uint8_t second_stack[4096] __attribute__((aligned(16)));
static uint8_t monitor_stack[4096] __attribute__((aligned(16)));

volatile uint32_t second_runs, second_flags, kernel_stack;
static volatile uint32_t monitor_calls, monitor_segments, interrupt_number;

void second_task(void), enter_v86(void), leave_v86(void);
extern uint8_t v86_code[], v86_code_end[];
__asm__(
    ".text\n"
    "second_task: incl second_runs; pushf; popl second_flags; iret\n"
    " jmp second_task\n"
    "enter_v86: push %ebx; push %ebp; push %esi; push %edi; mov %esp, kernel_stack\n"
    " push $0; push $0; push $0x900; push $0x900; push $0x900; push $0x1000\n"  // GS FS DS ES SS ESP
    " push $0x20202; push $0x800; push $0x10; iret\n"                          // EFLAGS: VM, IF; CS:IP 0800:0010
    // Leaving virtual-8086 mode has left null selectors in the data segments.
    "leave_v86: mov $0x10, %eax; mov %ax, %ds; mov %ax, %es; mov %ax, %ss; mov kernel_stack, %esp\n"
    " pop %edi; pop %esi; pop %ebp; pop %ebx; ret\n"
    ".code16\n"
    "v86_code: movw $0x1234, %ax; movw %ax, 0x20; movw %cs, 0x22\n"
    " pushw $0x5678; popw 0x24\n"
    " cli\n sti\n int $0x21\n"
    "v86_code_end: .code32\n");

static void on_protection(struct frame *f) {
  if (!(f->flags & 0x20000)) {
    print("FAIL a fault outside virtual-8086 mode\n");
    finish(2);
  }
  const uint8_t *code = (const uint8_t *)(f->cs * 16 + f->ip);
  monitor_segments += f->error == 0 && f->cs == 0x800 && f->ds == 0;
  if (code[0] == 0xcd) {
    interrupt_number = code[1];
    f->ip = (word)leave_v86;
    f->cs = SELECTOR_CODE;
    f->flags = 2;
    return;
  }
  monitor_calls = monitor_calls * 16 + (code[0] & 15);
  f->ip++;
}

static uint32_t type_of(uint32_t index) { return (uint32_t)(gdt[index] >> 40) & 0x1f; }

int guest_main(void) {
  second = (struct task){.eip = (uint32_t)second_task, .eflags = 2, .esp = (uint32_t)(second_stack + sizeof second_stack),
                         .ss = SELECTOR_DATA, .ds = SELECTOR_DATA, .es = SELECTOR_DATA, .cs = SELECTOR_CODE,
                         .ss0 = SELECTOR_DATA, .esp0 = (uint32_t)(second_stack + sizeof second_stack), .io_map = 104};
  uint32_t base = (uint32_t)&second;
  gdt[7] = 0x67 | (uint64_t)(base & 0xffffff) << 16 | 0x89ull << 40 | (uint64_t)(base >> 24) << 56;
  uint32_t marker = 0x5a5a5a5a;
  __asm__ volatile("lcall $0x38, $0" : "+b"(marker) : : "memory", "cc");
  check(second_runs == 1 && marker == 0x5a5a5a5a, "a far call switches to the task and IRET back, with all registers");
  check((second_flags & 0x4000) != 0, "NT was set in the called task");
  check_equal(second.link & 0xffff, SELECTOR_TSS, "its link named the caller");
  check(type_of(5) == 0x0b && type_of(7) == 0x09, "the running task alone is marked busy");
  check((READ_CONTROL(0) & 8) != 0, "a task switch sets CR0.TS");
  __asm__ volatile("clts");
  set_gate(0x91, 0x38 << 16, 0x8500);
  __asm__ volatile("int $0x91" : : : "memory", "cc");
  check_equal(second_runs, 2, "a task gate does the same");
  check(tss.cs == SELECTOR_CODE && (tss.eflags & 0x4000) == 0, "the caller's state was kept in its TSS");

  tss.esp0 = (uint32_t)(monitor_stack + sizeof monitor_stack);
  tss.ss0 = SELECTOR_DATA;
  set_handler(13, on_protection);
  memcpy((void *)0x8010, v86_code, (uint32_t)(v86_code_end - v86_code));
  memset((void *)0x9000, 0, 64);
  enter_v86();
  volatile uint16_t *seen = (volatile uint16_t *)0x9020;
  check(seen[0] == 0x1234 && seen[1] == 0x800 && seen[2] == 0x5678, "virtual-8086 code works with real-mode segments");
  check_equal(monitor_calls, 0xab, "CLI and STI come to the monitor");
  check_equal(interrupt_number, 0x21, "INT comes to the monitor");
  check_equal(monitor_segments, 3, "with cleared data segments and error code 0");
  return 0;
}
