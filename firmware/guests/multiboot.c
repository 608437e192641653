// (32 bit) What a multiboot loader hands over, if it was one: machine state, memory, command lines, modules,
// memory map, loader name.
#include "guest.h"

extern uint32_t boot_magic, boot_info;

static int equal(const char *a, const char *b) {
  while (*a && *a == *b) a++, b++;
  return *a == *b;
}

/// A loader may put the file's name first; the last word is what counts.
static const char *last_word(const char *line) {
  const char *last = line;
  for (const char *p = line; *p; p++)
    if (*p == ' ') last = p + 1;
  return last;
}

static int first_word_ends_in(const char *line, const char *end) {
  uint32_t length = 0, wanted = 0;
  while (line[length] && line[length] != ' ') length++;
  while (end[wanted]) wanted++;
  if (length < wanted) return 0;
  for (uint32_t i = 0; i < wanted; i++)
    if (line[length - wanted + i] != end[i]) return 0;
  return 1;
}

int guest_main(void) {
  check((READ_CONTROL(0) & 0x80000001) == 1, "protected mode without paging");
  if (boot_magic != 0x2badb002) {
    print("not started by a multiboot loader\n");
    return 0;
  }
  const uint32_t *info = (const uint32_t *)boot_info;
  print("flags of memory, command line, modules, memory map, loader name: ");
  print_hex(info[0] & 0x24d, 3);
  print("\n");
  check(info[1] >= 512 && info[1] <= 640, "lower memory");
  check(info[2] >= 1024, "upper memory");
  const char *line = (const char *)info[4];
  check(first_word_ends_in(line, "multiboot32.elf"), "the command line begins with the kernel's name");
  check(equal(last_word(line), "answer=42"), "and ends with what was given");
  check(*(const char *)info[16] != 0, "the loader has a name");

  int usable = 0, low = 0, sound = 1;
  for (uint32_t at = info[12]; at < info[12] + info[11];) {
    const uint32_t *entry = (const uint32_t *)at;
    usable |= entry[5] == 1 && entry[1] == 0x100000 && entry[3] / 1024 >= info[2] - 1024;
    low |= entry[5] == 1 && entry[1] == 0 && entry[3] / 1024 >= info[1] - 1;
    sound &= entry[0] >= 20 && (entry[3] | entry[4]) != 0 && entry[5] >= 1 && entry[5] <= 5;
    at += entry[0] + 4;
  }
  check(sound, "every entry of the memory map has its size, a length and a type");
  check(low, "the memory map holds the lower memory");
  check(usable, "the memory map holds the upper memory");

  check(info[5] == 2, "two modules");
  static const char *const contents[] = {"module content", "another module"};
  static const char *const lines[] = {"one", "two"};
  for (uint32_t i = 0; i < 2 && i < info[5]; i++) {
    const uint32_t *module = (const uint32_t *)(info[6] + i * 16);
    const char *text = (const char *)module[0];
    check((module[0] & 0xfff) == 0 && module[1] - module[0] == 14, "page aligned, with its size");
    int same = 1;
    for (uint32_t at = 0; at < 14; at++) same &= text[at] == contents[i][at];
    check(same, "with its content");
    check(equal(last_word((const char *)module[2]), lines[i]), "and its command line");
  }
  return 0;
}
