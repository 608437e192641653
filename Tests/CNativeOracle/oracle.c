#define _GNU_SOURCE
#include "CNativeOracle.h"

#include <cpuid.h>
#include <pthread.h>
#include <signal.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <time.h>
#include <ucontext.h>
#include <unistd.h>

// The way in is a signal handler that rewrites the interrupted context: when it returns, the kernel loads every
// register, flags and FXSAVE image included. The way out is the handler of the trap or fault that ends the code, which
// puts the first context back. A timer of the thread's own CPU time ends code that does not end.

static pthread_mutex_t gate = PTHREAD_MUTEX_INITIALIZER;
static oracle_state *current;
static int compat_mode;
static int running;
static ucontext_t home;
static struct _libc_fpstate home_fp;
static const int registers[16] = {REG_RAX, REG_RCX, REG_RDX, REG_RBX, REG_RSP, REG_RBP, REG_RSI, REG_RDI,
                                  REG_R8,  REG_R9,  REG_R10, REG_R11, REG_R12, REG_R13, REG_R14, REG_R15};

// The flags that a process may load: all of the arithmetic, DF, TF, AC. ID and NT stay clear.
static const uint64_t loadable = 0x40dd5;

static void enter(int signal, siginfo_t *info, void *context) {
  (void)signal, (void)info;
  ucontext_t *u = context;
  memcpy(&home.uc_mcontext.gregs, &u->uc_mcontext.gregs, sizeof home.uc_mcontext.gregs);
  memcpy(&home_fp, u->uc_mcontext.fpregs, sizeof home_fp);
  for (int i = 0; i < 16; i++) u->uc_mcontext.gregs[registers[i]] = (greg_t)current->gpr[i];
  u->uc_mcontext.gregs[REG_RIP] = (greg_t)current->rip;
  u->uc_mcontext.gregs[REG_EFL] = (greg_t)((current->flags & loadable) | 0x202);
  // The software-reserved bytes at the end of the image stay the kernel's.
  memcpy(u->uc_mcontext.fpregs, current->fxsave, 416);
  if (compat_mode) {
    uint64_t selectors = (uint64_t)u->uc_mcontext.gregs[REG_CSGSFS];
    u->uc_mcontext.gregs[REG_CSGSFS] = (greg_t)((selectors & ~0xffffULL) | ORACLE_CODE32);
    // 64-bit processes run with null DS and ES, and the kernel leaves them alone on the way back.
    __asm__ volatile("mov %0, %%ds\n\tmov %0, %%es" : : "r"(ORACLE_DATA));
  }
  running = 1;
}

/// Reached through `leave_entry`, which gets rid of EFLAGS.AC: the kernel leaves it set for handlers.
__attribute__((used)) static void oracle_leave(int signal, siginfo_t *info, void *context) {
  ucontext_t *u = context;
  if (!running) {
    // The timer may come late. A fault of the test program's own: let it die of it.
    if (signal != SIGUSR2) sigaction(signal, &(struct sigaction){.sa_handler = SIG_DFL}, NULL);
    return;
  }
  running = 0;
  uint32_t ds, es;
  __asm__ volatile("mov %%ds, %0\n\tmov %%es, %1" : "=r"(ds), "=r"(es));
  __asm__ volatile("mov %0, %%ds\n\tmov %0, %%es" : : "r"(0));
  for (int i = 0; i < 16; i++) current->gpr[i] = (uint64_t)u->uc_mcontext.gregs[registers[i]];
  current->rip = (uint64_t)u->uc_mcontext.gregs[REG_RIP];
  current->flags = (uint64_t)u->uc_mcontext.gregs[REG_EFL];
  current->vector = signal == SIGUSR2 ? ORACLE_ENDLESS : (uint32_t)u->uc_mcontext.gregs[REG_TRAPNO];
  current->error = (uint32_t)u->uc_mcontext.gregs[REG_ERR];
  current->fault_address = (uint64_t)info->si_addr;
  const uint64_t selectors = (uint64_t)u->uc_mcontext.gregs[REG_CSGSFS];
  current->cs = (uint16_t)selectors;
  current->ss = (uint16_t)(selectors >> 48);
  current->ds = (uint16_t)ds;
  current->es = (uint16_t)es;
  memcpy(current->fxsave, u->uc_mcontext.fpregs, 416);
  memcpy(&u->uc_mcontext.gregs, &home.uc_mcontext.gregs, sizeof home.uc_mcontext.gregs);
  memcpy(u->uc_mcontext.fpregs, &home_fp, 416);
}

void oracle_leave_entry(int, siginfo_t *, void *);
__asm__(
  ".pushsection .text\n"
  ".type oracle_leave_entry, @function\n"
  "oracle_leave_entry:\n"
  "  pushfq\n"
  "  btrq $18, (%rsp)\n"
  "  popfq\n"
  "  jmp oracle_leave\n"
  ".size oracle_leave_entry, . - oracle_leave_entry\n"
  ".popsection\n");

int oracle_map(uint64_t address, size_t size, size_t code) {
  // The neighbourhood is kept empty, so that code that runs over the ends faults.
  const size_t margin = 1 << 16;
  void *start = (void *)(address - margin);
  void *got = mmap(start, size + 2 * margin, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED_NOREPLACE, -1, 0);
  if (got != start) return -1;
  if (mprotect((void *)address, size, PROT_READ | PROT_WRITE) != 0) return -1;
  return mprotect((void *)address, code, PROT_READ | PROT_WRITE | PROT_EXEC);
}

int oracle_run(oracle_state *state, int compat) {
  pthread_mutex_lock(&gate);
  static uint8_t *stack;
  if (!stack) stack = mmap(NULL, 1 << 16, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  stack_t old_stack, own_stack = {.ss_sp = stack, .ss_size = 1 << 16};
  sigaltstack(&own_stack, &old_stack);

  enum { END_COUNT = 6 };
  static const int ends[END_COUNT] = {SIGTRAP, SIGSEGV, SIGILL, SIGFPE, SIGBUS, SIGUSR2};
  struct sigaction old[END_COUNT], old_entry;
  struct sigaction action = {.sa_sigaction = oracle_leave_entry, .sa_flags = SA_SIGINFO | SA_ONSTACK};
  for (int i = 0; i < END_COUNT; i++) sigaction(ends[i], &action, &old[i]);
  action.sa_sigaction = enter;
  sigaction(SIGUSR1, &action, &old_entry);

  // A test may run on a thread that blocks signals. A blocked fault would end the process, and a blocked SIGUSR1 would
  // wait while the answer is read.
  sigset_t used, old_mask;
  sigemptyset(&used);
  for (int i = 0; i < END_COUNT; i++) sigaddset(&used, ends[i]);
  sigaddset(&used, SIGUSR1);
  pthread_sigmask(SIG_UNBLOCK, &used, &old_mask);

  struct sigevent event = {.sigev_notify = SIGEV_THREAD_ID, .sigev_signo = SIGUSR2};
  event._sigev_un._tid = (pid_t)syscall(SYS_gettid);
  timer_t timer;
  const int timed = timer_create(CLOCK_THREAD_CPUTIME_ID, &event, &timer) == 0;
  const struct itimerspec limit = {.it_value.tv_nsec = 20000000};
  if (timed) timer_settime(timer, 0, &limit, NULL);

  current = state;
  compat_mode = compat;
  pthread_kill(pthread_self(), SIGUSR1);

  if (timed) timer_delete(timer);
  pthread_sigmask(SIG_SETMASK, &old_mask, NULL);

  for (int i = 0; i < END_COUNT; i++) sigaction(ends[i], &old[i], NULL);
  sigaction(SIGUSR1, &old_entry, NULL);
  sigaltstack(&old_stack, NULL);
  pthread_mutex_unlock(&gate);
  return 0;
}

int oracle_host_is_amd(void) {
  unsigned a, b, c, d;
  __cpuid(0, a, b, c, d);
  return b == 0x68747541 || b == 0x6f677948;
}
