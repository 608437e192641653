#include "guest.h"

extern uint32_t boot_magic, boot_info;
extern uint8_t interrupt_stubs[];

static int failures;

// MARK: - Output

static void put(char c) {
  out8(PORT_DEBUG_TEXT, (uint8_t)c);
  for (uint32_t i = 0; i < 100000 && !(in8(COM1 + 5) & 0x20); i++) {}
  out8(COM1, (uint8_t)c);
}

void print(const char *text) {
  for (; *text; text++) put(*text);
}

void print_hex(uint32_t v, uint32_t digits) {
  while (digits-- > 0) put("0123456789abcdef"[v >> digits * 4 & 15]);
}

void print_number(uint32_t v) {
  char digits[11];
  uint32_t at = 10;
  digits[at] = 0;
  do digits[--at] = (char)('0' + v % 10);
  while (v /= 10);
  print(digits + at);
}

void finish(uint8_t status) {
  for (uint32_t i = 0; i < 100000 && !(in8(COM1 + 5) & 0x40); i++) {}
  out8(PORT_DEBUG_EXIT, status);
  for (;;) __asm__ volatile("cli; hlt");
}

void check(int good, const char *name) {
  print(good ? "ok " : "FAIL ");
  print(name);
  print("\n");
  failures += !good;
}

void check_equal(word got, word expected, const char *name) {
  check(got == expected, name);
  if (got == expected) return;
  print("  got ");
  print_hex((uint32_t)got, 8);
  print(", expected ");
  print_hex((uint32_t)expected, 8);
  print("\n");
}

// MARK: - Memory

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

uint8_t read_cmos(uint8_t index) {
  out8(0x70, index);
  return in8(0x71);
}

void write_cmos(uint8_t index, uint8_t v) {
  out8(0x70, index);
  out8(0x71, v);
}

uint32_t memory_end(void) {
  if (boot_magic == 0x2badb002) return 0x100000 + ((uint32_t *)(word)boot_info)[2] * 1024;
  uint32_t above_16m = read_cmos(0x34) | (uint32_t)read_cmos(0x35) << 8;
  if (above_16m) return (16u << 20) + above_16m * 65536;
  return 0x100000 + (read_cmos(0x30) | (uint32_t)read_cmos(0x31) << 8) * 1024;
}

// MARK: - Interrupts

static handler handlers[256];
#ifdef __x86_64__
static struct { uint32_t a, b, c, d; } idt[256] __attribute__((aligned(16)));
#else
static struct { uint32_t a, b; } idt[256] __attribute__((aligned(16)));
#endif

void set_handler(uint32_t vector, handler h) { handlers[vector] = h; }

void set_gate_level(uint32_t vector, uint32_t dpl) { idt[vector].b = (idt[vector].b & ~0x6000u) | dpl << 13; }

void set_gate(uint32_t vector, uint32_t low, uint32_t high) {
  idt[vector].a = low;
  idt[vector].b = high;
}

void guest_interrupt(struct frame *f) {
  if (handlers[f->vector]) {
    handlers[f->vector](f);
    return;
  }
  print("FAIL unexpected vector ");
  print_hex((uint32_t)f->vector, 2);
  print(" error ");
  print_hex((uint32_t)f->error, 8);
  print(" at ");
  print_hex((uint32_t)f->ip, 8);
  print(" cr2 ");
  print_hex((uint32_t)READ_CONTROL(2), 8);
  print("\n");
  finish(2);
}

static void fill_idt(void) {
  for (uint32_t i = 0; i < 256; i++) {
    uint32_t address = (uint32_t)(word)(interrupt_stubs + i * 16);
    idt[i].a = (address & 0xffff) | SELECTOR_CODE << 16;
    idt[i].b = (address & 0xffff0000) | 0x8e00;
  }
  struct { uint16_t limit; word base; } __attribute__((packed)) pointer = {sizeof idt - 1, (word)idt};
  __asm__ volatile("lidt %0" : : "m"(pointer));
}

/// The 8259A's requests reach the CPU through the local APIC's LINT0, which a reset leaves masked and a BIOS opens.
static void open_apic(void) {
  write_msr(0x1b, read_msr(0x1b) | 0x800);
  *mmio(0xfee000f0) = 0x1ff;
  *mmio(0xfee00350) = 0x700;
}

static void start_pics(void) {
  static const uint8_t words[][2] = {{0x11, IRQ_BASE}, {0x11, IRQ_BASE + 8}};
  for (uint32_t i = 0; i < 2; i++) {
    uint16_t port = i ? 0xa0 : 0x20;
    out8(port, words[i][0]);
    out8(port + 1, words[i][1]);
    out8(port + 1, i ? 2 : 4);
    out8(port + 1, 1);
    out8(port + 1, i ? 0xff : 0xfb);  // all masked but the cascade
  }
}

void unmask_irq(uint32_t irq) {
  uint16_t port = irq < 8 ? 0x21 : 0xa1;
  out8(port, in8(port) & (uint8_t)~(1u << (irq & 7)));
}

void mask_irq(uint32_t irq) {
  uint16_t port = irq < 8 ? 0x21 : 0xa1;
  out8(port, in8(port) | (uint8_t)(1u << (irq & 7)));
}

void end_of_irq(uint32_t irq) {
  if (irq >= 8) out8(0xa0, 0x20);
  out8(0x20, 0x20);
}

void start_pit(uint32_t divisor) {
  out8(0x43, 0x34);
  out8(0x40, (uint8_t)divisor);
  out8(0x40, (uint8_t)(divisor >> 8));
}

// MARK: - PCI

uint32_t read_pci(uint32_t device, uint32_t function, uint32_t offset) {
  out32(0xcf8, 0x80000000 | device << 11 | function << 8 | (offset & 0xfc));
  return in32(0xcfc);
}

void write_pci(uint32_t device, uint32_t function, uint32_t offset, uint32_t v) {
  out32(0xcf8, 0x80000000 | device << 11 | function << 8 | (offset & 0xfc));
  out32(0xcfc, v);
}

// MARK: - Start

static void start_uart(void) {
  out8(COM1 + 1, 0);
  out8(COM1 + 3, 0x80);
  out8(COM1, 1);
  out8(COM1 + 1, 0);
  out8(COM1 + 3, 3);
  out8(COM1 + 2, 7);
  out8(COM1 + 4, 3);
}

_Noreturn void guest_start(void);
_Noreturn void guest_start(void) {
  start_uart();
  open_apic();
  start_pics();
  fill_idt();
  int status = guest_main();
  finish(failures ? 1 : (uint8_t)status);
}
