// (32 bit) PIT, RTC (periodic, update, alarm), HPET and local APIC timer: their counters move and their interrupts arrive.
#include "guest.h"

static volatile uint32_t pit_ticks, rtc_ticks, apic_ticks, hpet_ticks;
static volatile uint8_t rtc_flags;

static void on_pit(struct frame *f) {
  (void)f;
  pit_ticks++;
  end_of_irq(0);
}
static void on_rtc(struct frame *f) {
  (void)f;
  rtc_ticks++;
  rtc_flags |= read_cmos(0x0c);
  end_of_irq(8);
}
static void on_apic_timer(struct frame *f) {
  (void)f;
  apic_ticks++;
  *mmio(0xfee000b0) = 0;
}
static void on_hpet(struct frame *f) {
  (void)f;
  hpet_ticks++;
  end_of_irq(0);
}

static uint32_t read_pit(void) {
  out8(0x43, 0);
  uint32_t low = in8(0x40);
  return low | (uint32_t)in8(0x40) << 8;
}

/// Waits for interrupts until the counter has reached `n`; another timer keeps it from waiting for ever.
static int await(volatile uint32_t *counter, uint32_t n) {
  for (uint32_t i = 0; i < 20000 && *counter < n; i++) wait_for_interrupt();
  return *counter >= n;
}

/// The same until the RTC has told all of `flags`; an interrupt that was on its way already may come first.
static int await_rtc(uint8_t flags) {
  for (uint32_t i = 0; i < 20000 && (rtc_flags & flags) != flags; i++) wait_for_interrupt();
  return (rtc_flags & flags) == flags;
}

int guest_main(void) {
  set_handler(IRQ_BASE, on_pit);
  set_handler(IRQ_BASE + 8, on_rtc);

  start_pit(11932);  // 100 Hz
  uint32_t changes = 0, last = read_pit();
  for (uint32_t i = 0; i < 1000000 && changes < 10; i++) {
    uint32_t now = read_pit();
    changes += now != last;
    last = now;
  }
  check(changes == 10 && last <= 11932, "the PIT counts");
  out8(0x43, 0xe2);  // read back: status of channel 0
  uint8_t status = in8(0x40);
  check((status & 0x3f) == 0x34, "the PIT's status tells its mode");
  unmask_irq(0);
  check(await(&pit_ticks, 10), "PIT interrupts");

  // Channel 2 through port 61h: the gate stops and starts it, its output is seen in bit 5.
  out8(0x61, (in8(0x61) & 0xfc) | 1);
  out8(0x43, 0xb0);
  out8(0x42, 0xff);
  out8(0x42, 0x04);
  uint32_t high = 0;
  for (uint32_t i = 0; i < 10000000 && !high; i++) high = in8(0x61) & 0x20;
  check(high != 0, "PIT channel 2 counts down once");

  write_cmos(0x0a, 0x26);
  write_cmos(0x0b, 0x42);  // periodic, 24 hours, BCD
  read_cmos(0x0c);
  unmask_irq(8);
  check(await(&rtc_ticks, 10) && (rtc_flags & 0xc0) == 0xc0, "RTC periodic interrupts");
  rtc_flags = 0;
  write_cmos(0x0b, 0x12);
  check(await_rtc(0x90), "RTC update-ended interrupt");
  for (uint32_t i = 1; i <= 5; i += 2) write_cmos((uint8_t)i, 0xff);  // alarm: any second, minute, hour
  rtc_flags = 0;
  write_cmos(0x0b, 0x22);
  check(await_rtc(0xa0), "RTC alarm interrupt");
  write_cmos(0x0b, 0x02);
  mask_irq(8);
  uint8_t seconds = read_cmos(0), month = read_cmos(8);
  check((seconds & 15) < 10 && seconds < 0x60 && month >= 1 && month <= 0x12, "RTC time is BCD");

  // Local APIC timer, beside the PICs, which it passes on as they are (LINT0 as ExtINT).
  uint64_t base = read_msr(0x1b);
  write_msr(0x1b, base | 0x800);
  set_handler(0x40, on_apic_timer);
  *mmio(0xfee000f0) = 0x1ff;
  *mmio(0xfee00350) = 0x700;
  *mmio(0xfee003e0) = 0xb;
  *mmio(0xfee00320) = 0x20040;
  *mmio(0xfee00380) = 1000000;
  uint32_t count = *mmio(0xfee00390);
  check(count <= 1000000, "APIC timer counts from its initial count");
  check(await(&apic_ticks, 5), "APIC timer interrupts, periodic");
  *mmio(0xfee00320) = 0x40;
  apic_ticks = 0;
  *mmio(0xfee00380) = 10000;
  uint32_t before = pit_ticks;
  check(await(&apic_ticks, 1) && await(&pit_ticks, before + 5) && apic_ticks == 1, "APIC timer, one-shot: one interrupt");
  check_equal(*mmio(0xfee00390), 0, "and stops at 0");
  mask_irq(0);

  uint32_t period = *mmio(0xfed00004);
  check((*mmio(0xfed00000) >> 16) == 0x8086 && period > 0 && period <= 100000000, "HPET: vendor and period");
  *mmio(0xfed00010) = 0;
  *mmio(0xfed000f0) = 0;
  *mmio(0xfed000f4) = 0;
  check(*mmio(0xfed000f0) == 0, "a stopped HPET keeps its counter");
  // Timer 0, periodic, 10 ms, on the PIT's interrupt line (legacy replacement).
  uint32_t ticks = (uint32_t)(10000000ull * 1000000 / 1 >> 20);
  ticks = ticks / (period >> 10 ? period >> 10 : 1) * 1000;
  set_handler(IRQ_BASE, on_hpet);
  *mmio(0xfed00100) = 0x4c;
  *mmio(0xfed00108) = ticks;
  *mmio(0xfed00108) = ticks;
  *mmio(0xfed00010) = 3;
  last = *mmio(0xfed000f0);
  for (volatile uint32_t i = 0; i < 10000; i++) {}
  check(*mmio(0xfed000f0) != last, "a running HPET counts");
  unmask_irq(0);
  check(await(&hpet_ticks, 5), "HPET interrupts, in the PIT's place");
  *mmio(0xfed00010) = 0;
  return 0;
}
