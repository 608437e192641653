// (32 bit) 8259A pair and I/O APIC: masks, priorities, end of interrupt, cascade, level of the request, routing, self-IPI.
#include "guest.h"

static volatile uint32_t ticks, order[8], orders, apic_ticks, ipis;

static void on_pit(struct frame *f) {
  (void)f;
  ticks++;
  order[orders++ & 7] = 0;
  end_of_irq(0);
}
static void on_rtc(struct frame *f) {
  (void)f;
  order[orders++ & 7] = 8;
  read_cmos(0x0c);
  end_of_irq(8);
}
static void on_io_apic(struct frame *f) {
  (void)f;
  apic_ticks++;
  *mmio(0xfee000b0) = 0;
}
static void on_ipi(struct frame *f) {
  (void)f;
  ipis++;
  *mmio(0xfee000b0) = 0;
}

static uint8_t request_register(uint16_t port) {
  out8(port, 0x0a);
  return in8(port);
}

static void spin(uint32_t count) {
  for (volatile uint32_t i = 0; i < count; i++) {}
}

static void await_request(uint16_t port, uint8_t bit) {
  for (uint32_t i = 0; i < 10000000 && !(request_register(port) & bit); i++) {}
}

static void write_io_apic(uint32_t index, uint32_t v) {
  *mmio(0xfec00000) = index;
  *mmio(0xfec00010) = v;
}
static uint32_t read_io_apic(uint32_t index) {
  *mmio(0xfec00000) = index;
  return *mmio(0xfec00010);
}

int guest_main(void) {
  set_handler(IRQ_BASE, on_pit);
  set_handler(IRQ_BASE + 8, on_rtc);
  check_equal(in8(0x21), 0xfb, "the mask register reads back");
  start_pit(11932);
  await_request(0x20, 1);
  check((request_register(0x20) & 1) && ticks == 0, "a masked request waits");
  enable_interrupts();
  spin(10000);
  disable_interrupts();
  check(ticks == 0, "and is not delivered");
  unmask_irq(0);
  enable_interrupts();
  spin(10000);
  disable_interrupts();
  check(ticks >= 1, "unmasked, it is delivered");

  // Both pending: the PIT (0) comes before the RTC (8, through the cascade).
  mask_irq(0);
  write_cmos(0x0a, 0x26);
  write_cmos(0x0b, 0x42);
  read_cmos(0x0c);
  await_request(0xa0, 1);
  await_request(0x20, 1);
  check((request_register(0x20) & 5) == 1 || (request_register(0x20) & 5) == 5, "requests of both are seen");
  orders = 0;
  out8(0x21, 0xfa);
  out8(0xa1, 0xfe);
  for (uint32_t i = 0; i < 100 && orders < 2; i++) wait_for_interrupt();
  check(order[0] == 0 && order[1] == 8, "the lower line comes first");
  mask_irq(8);
  write_cmos(0x0b, 0x02);
  read_cmos(0x0c);

  // In service, a line holds back itself and those below it until its end of interrupt.
  out8(0x20, 0x0b);
  check_equal(in8(0x20), 0, "nothing in service after the end of interrupt");

  // Polled: reading after OCW3 with P set acknowledges.
  await_request(0x20, 1);
  out8(0x20, 0x0c);
  check_equal(in8(0x20), 0x80, "a poll tells the line");
  out8(0x20, 0x0b);
  check_equal(in8(0x20), 1, "and puts it in service");
  out8(0x20, 0x60);  // specific end of interrupt, line 0
  out8(0x20, 0x0b);
  check_equal(in8(0x20), 0, "a specific end of interrupt ends it");
  out8(0x21, 0xff);
  out8(0xa1, 0xff);

  // I/O APIC: the PIT is its input 2.
  *mmio(0xfee000f0) = 0x1ff;
  *mmio(0xfee00350) = 0x10000;
  set_handler(0x50, on_io_apic);
  set_handler(0x51, on_ipi);
  check((read_io_apic(1) >> 16 & 0xff) == 23, "24 redirection entries");
  check((read_io_apic(0x14) & 0x10000) != 0, "masked after reset");
  uint32_t id = *mmio(0xfee00020) >> 24;
  write_io_apic(0x15, id << 24);
  write_io_apic(0x14, 0x50);
  for (uint32_t i = 0; i < 10 && apic_ticks < 3; i++) wait_for_interrupt();
  check(apic_ticks >= 3, "the PIT through the I/O APIC");
  write_io_apic(0x14, 0x10050);
  *mmio(0xfee00300) = 0x40051;  // to self
  enable_interrupts();
  spin(1000);
  disable_interrupts();
  check_equal(ipis, 1, "an interrupt to itself arrives once");
  *mmio(0xfee00080) = 0x60;  // task priority above the vector's class
  *mmio(0xfee00300) = 0x40051;
  enable_interrupts();
  spin(1000);
  disable_interrupts();
  check_equal(ipis, 1, "the task priority holds it back");
  check((*mmio(0xfee00220) & 0x20000) != 0, "its request bit is set");
  *mmio(0xfee00080) = 0;
  enable_interrupts();
  spin(1000);
  disable_interrupts();
  check_equal(ipis, 2, "until it is lowered");
  return 0;
}
