// (32 bit) 16550A at COM1: scratch register, divisor latch, FIFO, loopback of data and modem lines, interrupts.
#include "guest.h"

static volatile uint32_t interrupts, last_id;

static void on_uart(struct frame *f) {
  (void)f;
  interrupts++;
  last_id = in8(COM1 + 2) & 0x0f;
  if (last_id == 4 || last_id == 12) in8(COM1);
  end_of_irq(4);
}

static void drain(void) {
  for (uint32_t i = 0; i < 10000000 && !(in8(COM1 + 5) & 0x40); i++) {}
}
static int await_data(void) {
  for (uint32_t i = 0; i < 10000000; i++)
    if (in8(COM1 + 5) & 1) return 1;
  return 0;
}

// While the port loops back, its text would come back as input: results are kept and told at the end.
static struct { int good; const char *name; } results[32];
static uint32_t result_count;
static void keep(int good, const char *name) {
  results[result_count].good = good;
  results[result_count++].name = name;
}

int guest_main(void) {
  drain();
  out8(COM1 + 7, 0x5a);
  keep(in8(COM1 + 7) == 0x5a, "scratch register");
  out8(COM1 + 3, 0x83);
  out8(COM1, 0x0c);
  out8(COM1 + 1, 0x01);
  keep(in8(COM1) == 0x0c && in8(COM1 + 1) == 0x01, "divisor latch reads back");
  out8(COM1, 1);
  out8(COM1 + 1, 0);
  out8(COM1 + 3, 0x03);
  out8(COM1 + 2, 0x07);
  keep((in8(COM1 + 2) & 0xc0) == 0xc0, "FIFOs enabled: a 16550A");
  out8(COM1 + 2, 0x00);
  keep((in8(COM1 + 2) & 0xc0) == 0x00, "FIFOs disabled");
  keep((in8(COM1 + 5) & 0x60) == 0x60, "transmitter empty");

  out8(COM1 + 4, 0x10);
  static const uint8_t lines[][2] = {{0x01, 0x20}, {0x02, 0x10}, {0x04, 0x40}, {0x08, 0x80}, {0x0f, 0xf0}, {0x00, 0x00}};
  int good = 1;
  for (uint32_t i = 0; i < 6; i++) {
    out8(COM1 + 4, 0x10 | lines[i][0]);
    good &= (in8(COM1 + 6) & 0xf0) == lines[i][1];
  }
  keep(good, "loopback of the modem lines");
  good = 1;
  for (uint32_t i = 0; i < 256; i += 5) {
    out8(COM1, (uint8_t)i);
    good &= await_data() && in8(COM1) == (uint8_t)i;
  }
  keep(good, "loopback of data");
  out8(COM1 + 2, 0x07);
  for (uint32_t i = 0; i < 10; i++) {
    out8(COM1, (uint8_t)(0x30 + i));
    drain();
  }
  good = 1;
  for (uint32_t i = 0; i < 10; i++) good &= await_data() && in8(COM1) == 0x30 + i;
  keep(good && !(in8(COM1 + 5) & 1), "the FIFO keeps ten bytes in order");
  out8(COM1, 0x11);
  await_data();
  out8(COM1 + 2, 0x03);
  keep(!(in8(COM1 + 5) & 1), "clearing the receive FIFO empties it");

  set_handler(IRQ_BASE + 4, on_uart);
  unmask_irq(4);
  out8(COM1 + 2, 0x00);
  out8(COM1 + 4, 0x1b);
  in8(COM1 + 6);
  out8(COM1 + 4, 0x13);
  out8(COM1 + 1, 0);
  enable_interrupts();
  out8(COM1 + 4, 0x0b);  // out of loopback, OUT2 on
  out8(COM1 + 1, 2);
  for (uint32_t i = 0; i < 10000000 && !interrupts; i++) barrier();
  disable_interrupts();
  keep(interrupts == 1 && last_id == 2, "transmitter-empty interrupt, once");
  out8(COM1 + 1, 0);
  keep((in8(COM1 + 2) & 1) == 1, "no interrupt pending after it");
  mask_irq(4);
  out8(COM1 + 1, 1);
  out8(COM1 + 4, 0x1b);
  out8(COM1, 0x44);
  await_data();
  keep((in8(COM1 + 2) & 0x0f) == 4, "received-data interrupt identifies itself");
  in8(COM1);
  keep((in8(COM1 + 2) & 1) == 1, "and is cleared by reading the byte");
  out8(COM1 + 1, 0);
  out8(COM1 + 2, 7);
  out8(COM1 + 4, 0x03);
  for (uint32_t i = 0; i < result_count; i++) check(results[i].good, results[i].name);
  return 0;
}
