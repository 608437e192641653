// (32 bit) What a multiboot loader hands over, if it was one: machine state, memory, command line, module,
// memory map, loader name.
#include "guest.h"

extern uint32_t boot_magic, boot_info;

static int equal(const char *a, const char *b) {
  while (*a && *a == *b) a++, b++;
  return *a == *b;
}

int guest_main(void) {
  check((READ_CONTROL(0) & 0x80000001) == 1, "protected mode without paging");
  if (boot_magic != 0x2badb002) {
    print("not started by a multiboot loader\n");
    return 0;
  }
  const uint32_t *info = (const uint32_t *)boot_info;
  print("flags of memory, command line, memory map: ");
  print_hex(info[0] & 0x45, 2);
  print("\n");
  check(info[1] >= 512 && info[1] <= 640, "lower memory");
  check(info[2] >= 1024, "upper memory");
  // A loader may put the file's name first; the last word is what counts.
  const char *line = (const char *)info[4], *last = line;
  for (const char *p = line; *p; p++)
    if (*p == ' ') last = p + 1;
  check(equal(last, "answer=42"), "command line");
  int usable = 0;
  for (uint32_t at = info[12]; at < info[12] + info[11];) {
    const uint32_t *entry = (const uint32_t *)at;
    usable |= entry[5] == 1 && entry[1] == 0x100000 && entry[3] / 1024 >= info[2] - 1024;
    at += entry[0] + 4;
  }
  check(usable, "the memory map holds the upper memory");
  check((info[0] & 8) != 0 && info[5] == 1, "one module");
  const uint32_t *module = (const uint32_t *)info[6];
  const char *text = (const char *)module[0];
  check((module[0] & 0xfff) == 0 && module[1] - module[0] == 14, "page aligned, with its size");
  int same = 1;
  for (uint32_t i = 0; i < 14; i++) same &= text[i] == "module content"[i];
  check(same, "and its content");
  return 0;
}
