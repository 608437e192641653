// (32 bit) 8042: self test, command byte, keyboard and mouse commands, output buffer loop, interrupt 1 and 12.
#include "guest.h"

static volatile uint32_t key_interrupts, mouse_interrupts;
static volatile uint8_t key_data, mouse_data;

static void on_key(struct frame *f) {
  (void)f;
  key_interrupts++;
  key_data = in8(0x60);
  end_of_irq(1);
}
static void on_mouse(struct frame *f) {
  (void)f;
  mouse_interrupts++;
  mouse_data = in8(0x60);
  end_of_irq(12);
}

static void command(uint8_t v) {
  for (uint32_t i = 0; i < 1000000 && (in8(0x64) & 2); i++) {}
  out8(0x64, v);
}
static void data(uint8_t v) {
  for (uint32_t i = 0; i < 1000000 && (in8(0x64) & 2); i++) {}
  out8(0x60, v);
}
static uint32_t answer(void) {
  for (uint32_t i = 0; i < 10000000; i++)
    if (in8(0x64) & 1) return in8(0x60);
  return 0x100;
}
static void flush(void) {
  for (uint32_t i = 0; i < 100 && (in8(0x64) & 1); i++) in8(0x60);
}

int guest_main(void) {
  flush();
  command(0xaa);
  check_equal(answer(), 0x55, "controller self test");
  command(0xab);
  check_equal(answer(), 0x00, "keyboard interface test");
  command(0x60);
  data(0x00);
  command(0x20);
  check_equal(answer(), 0x00, "command byte reads back");
  command(0xae);
  data(0xee);
  check_equal(answer(), 0xee, "keyboard echo");
  data(0xf2);
  check(answer() == 0xfa && answer() == 0xab && (answer() & 0xbf) == 0x83, "keyboard identifies itself");
  data(0xff);
  check(answer() == 0xfa && answer() == 0xaa, "keyboard reset and self test");
  data(0xed);
  check(answer() == 0xfa, "keyboard LEDs: acknowledged");
  data(2);
  check(answer() == 0xfa, "and their value");
  command(0xa8);
  command(0xd4);
  data(0xff);
  check(answer() == 0xfa && answer() == 0xaa && answer() == 0x00, "mouse reset and self test");
  command(0xd4);
  data(0xf2);
  check(answer() == 0xfa && answer() == 0x00, "mouse identifies itself");
  command(0xd2);
  data(0x5a);
  for (uint32_t i = 0; i < 1000000 && !(in8(0x64) & 1); i++) {}
  check((in8(0x64) & 0x20) == 0 && answer() == 0x5a, "a byte through the keyboard's output buffer");
  command(0xd3);
  data(0xa5);
  for (uint32_t i = 0; i < 1000000 && !(in8(0x64) & 1); i++) {}
  check((in8(0x64) & 0x20) != 0 && answer() == 0xa5, "a byte through the mouse's output buffer");

  set_handler(IRQ_BASE + 1, on_key);
  set_handler(IRQ_BASE + 12, on_mouse);
  unmask_irq(1);
  unmask_irq(12);
  command(0x60);
  data(0x03);
  enable_interrupts();
  data(0xee);
  for (uint32_t i = 0; i < 100000000 && !key_interrupts; i++) barrier();
  check(key_interrupts >= 1 && key_data == 0xee, "keyboard interrupt");
  command(0xd4);
  data(0xe6);  // scaling 1:1
  for (uint32_t i = 0; i < 100000000 && !mouse_interrupts; i++) barrier();
  disable_interrupts();
  check(mouse_interrupts >= 1 && mouse_data == 0xfa, "mouse interrupt");
  command(0xd0);
  check((answer() & 2) != 0, "the output port has A20 on");
  return 0;
}
