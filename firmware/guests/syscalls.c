// (32 64 bit) Privilege: to level 3 and back by IRET and INT, SYSENTER and SYSEXIT, SYSCALL and SYSRET, and what
// level 3 may not do.
#include "guest.h"

#ifdef __x86_64__
extern uint64_t page_map[], page_directory_pointers[], page_directories[];
enum { USER_CODE = 0x23, USER_DATA = 0x1b };
#else
enum { USER_CODE = 0x1b, USER_DATA = 0x23 };
#endif

static volatile uint32_t vector_seen, calls;
volatile word kernel_stack;
// Interrupts from level 3 come in here, away from the stack guest_main() waits on.
static uint8_t interrupt_stack[4096] __attribute__((aligned(16)));
extern uint8_t tss[];
static uint8_t user_stack[4096] __attribute__((aligned(16)));

void enter_user(word cs, word ss, word stack), leave_user(void);

static void on_fault(struct frame *f) {
  vector_seen = (uint32_t)f->vector;
  f->ip += 1;  // the instructions tried are one byte long
}
static void on_call(struct frame *f) {
  calls += (f->cs & 3) == 3;
}
static void on_leave(struct frame *f) {
  f->ip = (word)leave_user;
  f->cs = SELECTOR_CODE;
#ifdef __x86_64__
  f->ss = SELECTOR_DATA;
  f->sp = kernel_stack;
#endif
}

volatile uint32_t fast_calls;

#ifdef __x86_64__
__asm__(
    ".text\n"
    "enter_user: push %rbx; push %rbp; push %r12; push %r13; push %r14; push %r15; mov %rsp, kernel_stack(%rip)\n"
    " push %rsi; push %rdx; pushf; push %rdi; lea user_program(%rip), %rax; push %rax; iretq\n"
    "leave_user: pop %r15; pop %r14; pop %r13; pop %r12; pop %rbp; pop %rbx; ret\n"
    "user_program: int $0x80\n cli\n hlt\n"
    " syscall\n syscall\n"
    " int $0x81\n"
    ".global fast_entry\nfast_entry: incl fast_calls(%rip); sysretq\n");
#else
__asm__(
    ".text\n"
    "enter_user: push %ebx; push %ebp; push %esi; push %edi; mov %esp, kernel_stack\n"
    " mov 20(%esp), %eax; mov 24(%esp), %ecx; mov 28(%esp), %edx\n"
    " push %ecx; push %edx; pushf; push %eax; push $user_program; iret\n"
    "leave_user: mov kernel_stack, %esp; mov $0x10, %eax; mov %ax, %ss; mov %ax, %ds; mov %ax, %es\n"
    " pop %edi; pop %esi; pop %ebp; pop %ebx; ret\n"
    "user_program: mov $0x23, %eax; mov %ax, %ds; mov %ax, %es; int $0x80\n cli\n hlt\n"
    " mov %esp, %ecx; mov $1f, %edx; sysenter\n1: mov %esp, %ecx; mov $2f, %edx; sysenter\n2: int $0x81\n"
    ".global fast_entry\nfast_entry: incl fast_calls; sysexit\n");
#endif
extern uint8_t fast_entry[];
#ifndef __x86_64__
static uint8_t fast_stack[1024];
#endif

static volatile uint32_t privilege_faults;
static void on_privilege(struct frame *f) {
  privilege_faults += f->error == 0 && (f->cs & 3) == 3;
  on_fault(f);
}

int guest_main(void) {
  *(word *)(tss + 4) = (word)(interrupt_stack + sizeof interrupt_stack);
  set_handler(13, on_privilege);
  set_handler(0x80, on_call);
  set_handler(0x81, on_leave);
  set_gate_level(0x80, 3);
  set_gate_level(0x81, 3);
#ifdef __x86_64__
  page_map[0] |= 4;
  for (uint32_t i = 0; i < 4; i++) page_directory_pointers[i] |= 4;
  page_directories[0] |= 4;
  WRITE_CONTROL(3, READ_CONTROL(3));
  write_msr(0xc0000080, read_msr(0xc0000080) | 1);             // EFER.SCE
  write_msr(0xc0000081, (uint64_t)0x13 << 48 | (uint64_t)SELECTOR_CODE << 32);
  write_msr(0xc0000082, (word)fast_entry);
  write_msr(0xc0000084, 0x200);
#else
  write_msr(0x174, SELECTOR_CODE);
  write_msr(0x175, (word)(fast_stack + sizeof fast_stack));
  write_msr(0x176, (word)fast_entry);
#endif
  enter_user(USER_CODE, USER_DATA, (word)(user_stack + sizeof user_stack));
  check(calls == 1, "level 3 calls level 0 by INT");
  check_equal(privilege_faults, 2, "CLI and HLT are refused at level 3");
#ifdef __x86_64__
  check_equal(fast_calls, 2, "SYSCALL and SYSRET, twice");
#else
  check_equal(fast_calls, 2, "SYSENTER and SYSEXIT, twice");
#endif
  check((vector_seen & 0xff) == 13, "and the faults were general protection");
  return 0;
}
