// speed64, speed32: programs for comparing machines.
//
//   speed64 list             a line per program: NAME CLASS
//   speed64 PERCENT NAME...  runs them; a line each: speed NAME MICROSECONDS CHECKSUM
//   speed64 PERCENT all      all but the parallel ones
//   speed64 0 clock          the time of CLOCK_MONOTONIC, in place of a duration

#include "runtime.h"

static const struct program *const families[] = {
    integer_programs, control_programs, memory_programs, float_programs, x87_programs,
    vector_programs,  string_programs,  kernel_programs, code_programs,  parallel_programs};
enum { FAMILIES = sizeof families / sizeof families[0] };

void *memcpy(void *restrict to, const void *restrict from, unsigned long count) {
  for (unsigned long i = 0; i < count; i++) ((volatile char *)to)[i] = ((const char *)from)[i];
  return to;
}
void *memset(void *to, int value, unsigned long count) {
  for (unsigned long i = 0; i < count; i++) ((volatile char *)to)[i] = (char)value;
  return to;
}

static int equal(const char *a, const char *b) {
  while (*a && *a == *b) a++, b++;
  return *a == *b;
}

/// A line of output, written at once.
struct line {
  char text[120];
  u32 length;
};
static void add_text(struct line *l, const char *s) {
  while (*s && l->length < sizeof l->text - 1) l->text[l->length++] = *s++;
}
static void add_number(struct line *l, u32 n, u32 base) {
  char digits[12];
  u32 at = sizeof digits - 1;
  digits[at] = 0;
  do digits[--at] = "0123456789abcdef"[n % base];
  while (n /= base);
  add_text(l, digits + at);
}
static void end_line(struct line *l, int file) {
  l->text[l->length++] = '\n';
  system_call(SYS_WRITE, file, (long)l->text, (long)l->length, 0);
  l->length = 0;
}

_Noreturn void fail(const char *what) {
  struct line l = {.length = 0};
  add_text(&l, "speed: ");
  add_text(&l, what);
  end_line(&l, 2);
  exit_with(1);
}

static u32 to_number(const char *s) {
  u32 n = 0;
  if (!*s) fail("a number is missing");
  for (; *s; s++) {
    if (*s < '0' || *s > '9') fail("not a number");
    n = n * 10 + (u32)(*s - '0');
  }
  return n;
}

u32 now(void) {
  long time[2];
  system_call(SYS_CLOCK_GETTIME, 1, (long)time, 0, 0);
  return (u32)time[0] * 1000000 + (u32)time[1] / 1000;
}

void *map_memory(unsigned long size, int executable) {
  int protection = executable ? 7 : 3;
#ifdef __x86_64__
  void *at;
  register long r10 __asm__("r10") = 0x22;
  register long r8 __asm__("r8") = -1;
  register long r9 __asm__("r9") = 0;
  __asm__ volatile("syscall"
                   : "=a"(at)
                   : "a"(9), "D"(0), "S"(size), "d"(protection), "r"(r10), "r"(r8), "r"(r9)
                   : "rcx", "r11", "memory");
#else
  long arguments[6] = {0, (long)size, protection, 0x22, -1, 0};
  void *at = (void *)system_call(90, (long)arguments, 0, 0, 0);
#endif
  if ((unsigned long)at > -4096ul) fail("no memory");
  return at;
}

static void report(const char *name, u32 time, u32 sum) {
  struct line l = {.length = 0};
  add_text(&l, "speed ");
  add_text(&l, name);
  add_text(&l, " ");
  add_number(&l, time, 10);
  add_text(&l, " ");
  add_number(&l, sum, 16);
  end_line(&l, 1);
}

static void run(const struct program *p, u32 percent) {
  if (p->prepare) p->prepare();
  u32 start = now();
  u32 sum = p->run(p->rounds * percent);
  report(p->name, now() - start, sum);
}

static void list(void) {
  struct line l = {.length = 0};
  for (u32 f = 0; f < FAMILIES; f++)
    for (const struct program *p = families[f]; p->name; p++) {
      add_text(&l, p->name);
      add_text(&l, " ");
      add_text(&l, p->class);
      end_line(&l, 1);
    }
}

static void run_named(const char *name, u32 percent) {
  u32 found = 0, all = (u32)equal(name, "all");
  for (u32 f = 0; f < FAMILIES; f++) {
    if (all && families[f] == parallel_programs) continue;
    for (const struct program *p = families[f]; p->name; p++)
      if (all || equal(name, p->name)) run(p, percent), found = 1;
  }
  if (!found) fail("no such program; `list` names them");
}

#ifdef __x86_64__
__asm__(".global _start\n_start: mov %rsp, %rdi\n xor %ebp, %ebp\n and $-16, %rsp\n call start\n");
static void find_system_entry(char **environment) { (void)environment; }
#else
__asm__(".global _start\n_start: mov %esp, %eax\n xor %ebp, %ebp\n and $-16, %esp\n sub $12, %esp\n push %eax\n call start\n");
__asm__(".text\nold_entry: int $0x80\n ret\n");
extern void old_entry(void);
void (*system_entry)(void) = old_entry;
/// The auxiliary vector follows the environment; entry 32 is AT_SYSINFO.
static void find_system_entry(char **environment) {
  while (*environment) environment++;
  for (u32 *entry = (u32 *)(environment + 1); entry[0]; entry += 2)
    if (entry[0] == 32) system_entry = (void (*)(void))entry[1];
}
#endif

__attribute__((used)) void start(long *stack) {
  long count = stack[0];
  char **arguments = (char **)(stack + 1);
  find_system_entry(arguments + count + 1);
  if (count == 2 && equal(arguments[1], "nothing")) exit_with(7);
  if (count == 2 && equal(arguments[1], "list")) list(), exit_with(0);
  if (count < 3) fail("usage: speed PERCENT NAME... | PERCENT all | 0 clock | list");
  u32 percent = to_number(arguments[1]);
  for (long i = 2; i < count; i++) {
    if (equal(arguments[i], "clock")) report("clock", now(), 0);
    else run_named(arguments[i], percent);
  }
  exit_with(0);
}
