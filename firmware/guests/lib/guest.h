// What every bare-metal guest stands on: ports, output, checks, interrupts, memory size.
//
// Text goes to COM1 and to debug port 0xE9; a guest ends by writing its status to debug port 0xF4 (0: all is well).
// Output names facts only, never times or counts that vary, so that it can be compared byte by byte.

#ifndef GUEST_H
#define GUEST_H

#include <stdint.h>

typedef uintptr_t word;

enum { COM1 = 0x3f8, PORT_DEBUG_TEXT = 0xe9, PORT_DEBUG_EXIT = 0xf4 };
enum { SELECTOR_CODE = 0x08, SELECTOR_DATA = 0x10, SELECTOR_TSS = 0x28, SELECTOR_FREE = 0x38 };
enum { IRQ_BASE = 0x20 };

static inline void out8(uint16_t port, uint8_t v) { __asm__ volatile("outb %0, %1" : : "a"(v), "Nd"(port)); }
static inline void out16(uint16_t port, uint16_t v) { __asm__ volatile("outw %0, %1" : : "a"(v), "Nd"(port)); }
static inline void out32(uint16_t port, uint32_t v) { __asm__ volatile("outl %0, %1" : : "a"(v), "Nd"(port)); }
static inline uint8_t in8(uint16_t port) {
  uint8_t v;
  __asm__ volatile("inb %1, %0" : "=a"(v) : "Nd"(port));
  return v;
}
static inline uint16_t in16(uint16_t port) {
  uint16_t v;
  __asm__ volatile("inw %1, %0" : "=a"(v) : "Nd"(port));
  return v;
}
static inline uint32_t in32(uint16_t port) {
  uint32_t v;
  __asm__ volatile("inl %1, %0" : "=a"(v) : "Nd"(port));
  return v;
}

static inline volatile uint32_t *mmio(word address) { return (volatile uint32_t *)address; }

static inline uint64_t read_msr(uint32_t index) {
  uint32_t low, high;
  __asm__ volatile("rdmsr" : "=a"(low), "=d"(high) : "c"(index));
  return low | (uint64_t)high << 32;
}
static inline void write_msr(uint32_t index, uint64_t v) {
  __asm__ volatile("wrmsr" : : "c"(index), "a"((uint32_t)v), "d"((uint32_t)(v >> 32)));
}

#define READ_CONTROL(n) ({ word v_; __asm__ volatile("mov %%cr" #n ", %0" : "=r"(v_)); v_; })
#define WRITE_CONTROL(n, v) __asm__ volatile("mov %0, %%cr" #n : : "r"((word)(v)) : "memory")

static inline void enable_interrupts(void) { __asm__ volatile("sti" : : : "memory"); }
static inline void disable_interrupts(void) { __asm__ volatile("cli" : : : "memory"); }
static inline void barrier(void) { __asm__ volatile("" : : : "memory"); }

/// Waits for one interrupt; interrupts are off before and after.
static inline void wait_for_interrupt(void) { __asm__ volatile("sti; hlt; cli" : : : "memory"); }

// MARK: - Output and the end

void print(const char *text);
void print_hex(uint32_t v, uint32_t digits);
void print_number(uint32_t v);
_Noreturn void finish(uint8_t status);

/// Prints `ok NAME` or `FAIL NAME`; a guest with a failure ends with status 1.
void check(int good, const char *name);
/// Like check, and shows both values when they differ.
void check_equal(word got, word expected, const char *name);

/// The guest itself, in its own file. Its result is the exit status if no check failed.
int guest_main(void);

// MARK: - Memory

void *memcpy(void *to, const void *from, unsigned long count);
void *memset(void *to, int value, unsigned long count);
/// Where RAM below the hole under 4 GiB ends: from the multiboot loader, else from CMOS.
uint32_t memory_end(void);
uint8_t read_cmos(uint8_t index);
void write_cmos(uint8_t index, uint8_t v);

// MARK: - Interrupts

#ifdef __x86_64__
struct frame {
  word r15, r14, r13, r12, r11, r10, r9, r8, di, si, bp, bx, dx, cx, ax;
  word vector, error, ip, cs, flags, sp, ss;
};
#else
struct frame {
  word ds, di, si, bp, bx, dx, cx, ax;
  word vector, error, ip, cs, flags, sp, ss;  // sp and ss only when the privilege level changed
};
#endif
typedef void (*handler)(struct frame *);

/// Vectors without a handler end the guest with a message.
void set_handler(uint32_t vector, handler h);
/// Lets programs of privilege level `dpl` use INT with this vector.
void set_gate_level(uint32_t vector, uint32_t dpl);
/// Puts a raw gate into the table.
void set_gate(uint32_t vector, uint32_t low, uint32_t high);

/// 8259A pair: vectors 20h to 2Fh; all lines start masked.
void unmask_irq(uint32_t irq);
void mask_irq(uint32_t irq);
void end_of_irq(uint32_t irq);

/// 8254 channel 0, mode 2.
void start_pit(uint32_t divisor);

// MARK: - PCI

uint32_t read_pci(uint32_t device, uint32_t function, uint32_t offset);
void write_pci(uint32_t device, uint32_t function, uint32_t offset, uint32_t v);

#endif
