// Options of guests that run for long: words NAME=NUMBER on the multiboot command line.

#ifndef OPTIONS_H
#define OPTIONS_H

#include "guest.h"

extern uint32_t boot_magic, boot_info;

static inline uint32_t option(const char *name, uint32_t otherwise) {
  const uint32_t *info = (const uint32_t *)(word)boot_info;
  if (boot_magic != 0x2badb002 || !(info[0] & 4)) return otherwise;
  for (const char *p = (const char *)(word)info[4]; *p; p++) {
    const char *n = name, *q = p;
    while (*n && *n == *q) n++, q++;
    if (*n || *q != '=') continue;
    uint32_t value = 0;
    for (q++; *q >= '0' && *q <= '9'; q++) value = value * 10 + (uint32_t)(*q - '0');
    return value;
  }
  return otherwise;
}

/// Echoes what was typed at COM1, letters in upper case.
static inline void echo_typed(void) {
  while (in8(COM1 + 5) & 1) {
    char text[2] = {(char)in8(COM1), 0};
    if (text[0] >= 'a' && text[0] <= 'z') text[0] -= 32;
    print(text);
    if (text[0] == '\r') print("\n");
  }
}

#endif
