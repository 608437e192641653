// Just enough of Linux for the workload programs: system calls of x86-64 and i386, without a C library.

#ifndef LINUX_H
#define LINUX_H

#include <stdint.h>

#ifdef __x86_64__
enum { SYS_WRITE = 1, SYS_MMAP = 9, SYS_NANOSLEEP = 35, SYS_EXIT = 60 };
static inline long system_call(long number, long a, long b, long c, long d) {
  long result;
  register long r10 __asm__("r10") = d;
  register long r8 __asm__("r8") = -1;
  register long r9 __asm__("r9") = 0;
  __asm__ volatile("syscall"
                   : "=a"(result)
                   : "a"(number), "D"(a), "S"(b), "d"(c), "r"(r10), "r"(r8), "r"(r9)
                   : "rcx", "r11", "memory");
  return result;
}
static inline void *map_memory(unsigned long size) { return (void *)system_call(SYS_MMAP, 0, (long)size, 3, 0x22); }
__asm__(".global _start\n_start: mov %rsp, %rdi\n xor %ebp, %ebp\n and $-16, %rsp\n call start\n");
#else
enum { SYS_EXIT = 1, SYS_WRITE = 4, SYS_MMAP = 90, SYS_NANOSLEEP = 162 };
static inline long system_call(long number, long a, long b, long c, long d) {
  long result;
  __asm__ volatile("int $0x80" : "=a"(result) : "a"(number), "b"(a), "c"(b), "d"(c), "S"(d) : "memory");
  return result;
}
static inline void *map_memory(unsigned long size) {
  long arguments[6] = {0, (long)size, 3, 0x22, -1, 0};
  return (void *)system_call(SYS_MMAP, (long)arguments, 0, 0, 0);
}
__asm__(".global _start\n_start: mov %esp, %eax\n xor %ebp, %ebp\n and $-16, %esp\n sub $12, %esp\n push %eax\n call start\n");
#endif

void *memcpy(void *to, const void *from, unsigned long count);
void *memset(void *to, int value, unsigned long count);

void *memcpy(void *to, const void *from, unsigned long count) {
  void *d = to;
  __asm__ volatile("rep movsb" : "+D"(d), "+S"(from), "+c"(count) : : "memory");
  return to;
}
void *memset(void *to, int value, unsigned long count) {
  void *d = to;
  __asm__ volatile("rep stosb" : "+D"(d), "+c"(count) : "a"(value) : "memory");
  return to;
}

static inline _Noreturn void exit_with(int status) {
  for (;;) system_call(SYS_EXIT, status, 0, 0, 0);
}

static inline void sleep_ms(uint32_t ms) {
  long time[2] = {(long)(ms / 1000), (long)(ms % 1000 * 1000000)};
  system_call(SYS_NANOSLEEP, (long)time, 0, 0, 0);
}

/// One line of output, written at once so that it is not mixed with what others print.
struct line {
  char text[160];
  uint32_t length;
};

static inline void add_text(struct line *l, const char *s) {
  while (*s && l->length < sizeof l->text - 1) l->text[l->length++] = *s++;
}

static inline void add_number(struct line *l, uint32_t n, uint32_t base) {
  char digits[11];
  uint32_t at = 10;
  digits[at] = 0;
  do digits[--at] = "0123456789abcdef"[n % base];
  while ((n /= base) && at);
  add_text(l, digits + at);
}

static inline void end_line(struct line *l) {
  l->text[l->length++] = '\n';
  system_call(SYS_WRITE, 1, (long)l->text, (long)l->length, 0);
  l->length = 0;
}

static inline uint32_t to_number(const char *s) {
  uint32_t n = 0;
  while (*s >= '0' && *s <= '9') n = n * 10 + (uint32_t)(*s++ - '0');
  return n;
}

#endif
