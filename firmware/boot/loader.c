// The boot ROM's loader proper: flat 32-bit protected mode, interrupts off.
//
// Takes a kernel, an initial RAM disk and a command line from fw_cfg and puts them where the kernel's own boot protocol
// wants them: The Linux/x86 Boot Protocol (Documentation/arch/x86/boot.rst) or the Multiboot Specification 0.6.96.
// README.md beside this file says what the host puts into fw_cfg.

#include <stdint.h>

enum { BOOT_LINUX = 0, BOOT_MULTIBOOT = 1, BOOT_NOTHING = 2 };

#define SETUP ((uint8_t *)0x10000)
#define COMMAND_LINE ((char *)0x20000)
#define COMMAND_LINE_MAX 0xffff
#define KERNEL_START 0x100000u

struct memory_range {
  uint32_t size;
  uint64_t base, length;
  uint32_t type;
} __attribute__((packed));

// Filled in by stage2.S.
extern struct memory_range memory_map[];
extern uint32_t map_count, lower_kib;
// Read by stage2.S.
extern const char *message;
extern uint32_t multiboot_entry;
extern struct multiboot_info *multiboot_info_address;
extern struct low_piece *multiboot_pieces;
extern uint32_t multiboot_jump_address;
// Code of stage2.S that runs anywhere.
extern const uint8_t multiboot_jump[], multiboot_jump_end[];

// MARK: - Bytes and ports

static inline void out16(uint16_t port, uint16_t v) { __asm__ volatile("outw %0, %1" : : "a"(v), "Nd"(port)); }
static inline void out32(uint16_t port, uint32_t v) { __asm__ volatile("outl %0, %1" : : "a"(v), "Nd"(port)); }

void *memcpy(void *to, const void *from, uint32_t count) {
  void *d = to;
  __asm__ volatile("rep movsb" : "+D"(d), "+S"(from), "+c"(count) : : "memory");
  return to;
}

void *memset(void *to, int value, uint32_t count) {
  void *d = to;
  __asm__ volatile("rep stosb" : "+D"(d), "+c"(count) : "a"(value) : "memory");
  return to;
}

static int equal(const char *a, const char *b) {
  while (*a && *a == *b) a++, b++;
  return *a == *b;
}

static uint16_t get16(const uint8_t *p) { return (uint16_t)(p[0] | p[1] << 8); }
static uint32_t get32(const uint8_t *p) { return get16(p) | (uint32_t)get16(p + 2) << 16; }
static void put16(uint8_t *p, uint16_t v) { p[0] = (uint8_t)v, p[1] = (uint8_t)(v >> 8); }
static void put32(uint8_t *p, uint32_t v) { put16(p, (uint16_t)v), put16(p + 2, (uint16_t)(v >> 16)); }

// MARK: - fw_cfg (docs/specs/fw_cfg.rst of QEMU)

enum {
  KEY_ID = 0x01,
  KEY_KERNEL_SIZE = 0x08,
  KEY_INITRD_SIZE = 0x0b,
  KEY_KERNEL_DATA = 0x11,
  KEY_INITRD_DATA = 0x12,
  KEY_COMMAND_LINE_SIZE = 0x14,
  KEY_COMMAND_LINE_DATA = 0x15,
  KEY_SETUP_SIZE = 0x17,
  KEY_SETUP_DATA = 0x18,
  KEY_DIRECTORY = 0x19,
};
enum { PORT_SELECTOR = 0x510, PORT_DATA = 0x511, PORT_DMA_HIGH = 0x514, PORT_DMA_LOW = 0x518 };
enum { DMA_ERROR = 1, DMA_READ = 2 };

struct blob {
  uint16_t key;
  uint32_t size;
};

static int has_dma;

static void select_key(uint16_t key) { out16(PORT_SELECTOR, key); }

/// Reads on from the selected item; by DMA where the machine offers it, else byte by byte.
static void read_bytes(void *to, uint32_t count) {
  if (count == 0) return;
  if (has_dma) {
    static volatile struct { uint32_t control, length, high, low; } access __attribute__((aligned(16)));
    access.control = __builtin_bswap32(DMA_READ);
    access.length = __builtin_bswap32(count);
    access.high = 0;
    access.low = __builtin_bswap32((uint32_t)to);
    out32(PORT_DMA_HIGH, 0);
    out32(PORT_DMA_LOW, __builtin_bswap32((uint32_t)&access));
    while (access.control & ~__builtin_bswap32(DMA_ERROR)) __asm__ volatile("pause");
    return;
  }
  __asm__ volatile("rep insb" : "+D"(to), "+c"(count) : "d"(PORT_DATA) : "memory");
}

static uint32_t number_at(uint16_t key) {
  uint32_t v = 0;
  select_key(key);
  read_bytes(&v, sizeof v);
  return v;
}

/// The named file, or a blob of size 0.
static struct blob find_file(const char *name) {
  uint32_t count = 0;
  select_key(KEY_DIRECTORY);
  read_bytes(&count, sizeof count);
  count = __builtin_bswap32(count);
  while (count-- > 0) {
    struct { uint32_t size; uint16_t key, reserved; char name[56]; } entry;
    read_bytes(&entry, sizeof entry);
    entry.name[55] = 0;
    if (equal(entry.name, name))
      return (struct blob){__builtin_bswap16(entry.key), __builtin_bswap32(entry.size)};
  }
  return (struct blob){0, 0};
}

static struct blob find(const char *file, uint16_t size_key, uint16_t data_key) {
  struct blob found = find_file(file);
  if (found.size == 0) found = (struct blob){data_key, number_at(size_key)};
  return found;
}

// MARK: - Memory

/// The end of the usable memory that starts at or below 1 MiB: what lies below the hole under 4 GiB.
static uint32_t memory_end(void) {
  for (uint32_t i = 0; i < map_count; i++) {
    struct memory_range *r = &memory_map[i];
    uint64_t end = r->base + r->length;
    if (r->type != 1 || r->base > KERNEL_START || end <= KERNEL_START) continue;
    return end > 0xfffff000u ? 0xfffff000u : (uint32_t)end;
  }
  return KERNEL_START;
}

static int fail(const char *why) {
  message = why;
  return BOOT_NOTHING;
}

static const char no_room[] = "the kernel and its initrd do not fit into memory; give the machine more memory";

static uint32_t read_command_line(uint32_t limit) {
  struct blob line = find("opt/vmctl/cmdline", KEY_COMMAND_LINE_SIZE, KEY_COMMAND_LINE_DATA);
  uint32_t length = line.size < limit ? line.size : limit;
  if (length) {
    select_key(line.key);
    read_bytes(COMMAND_LINE, length);
  }
  COMMAND_LINE[length] = 0;
  return length;
}

// MARK: - Linux

/// The value of `vga=` in the command line, which the boot protocol leaves to the boot loader.
static uint16_t video_mode(void) {
  const char *p = COMMAND_LINE;
  for (; *p; p++)
    if ((p == COMMAND_LINE || p[-1] == ' ') && p[0] == 'v' && p[1] == 'g' && p[2] == 'a' && p[3] == '=') break;
  if (!*p) return 0xffff;
  p += 4;
  if (*p == 'n') return 0xffff;  // normal
  if (*p == 'e') return 0xfffe;  // ext
  if (*p == 'a') return 0xfffd;  // ask
  uint32_t base = 10, value = 0;
  if (p[0] == '0' && (p[1] | 0x20) == 'x') base = 16, p += 2;
  for (;; p++) {
    uint32_t digit = (uint32_t)*p - '0';
    if (digit > 9) digit = (((uint32_t)*p | 0x20) - 'a') + 10;
    if (digit >= base) break;
    value = value * base + digit;
  }
  return (uint16_t)value;
}

/// SETUP holds the first 1024 bytes of the kernel when this is called.
static int load_linux(struct blob kernel, struct blob setup) {
  uint8_t *header = SETUP;
  uint16_t version = get16(header + 0x206);
  if (version < 0x202 || !(header[0x211] & 1)) return fail("this Linux kernel is too old: boot protocol 2.02 is needed");
  uint32_t setup_size = ((header[0x1f1] ? header[0x1f1] : 4u) + 1) * 512;
  if (setup_size > 0x8000) return fail("the kernel's setup code is larger than 32 KiB");

  uint32_t kernel_size;
  if (setup.size) {
    kernel_size = kernel.size;
    select_key(setup.key);
    read_bytes(SETUP, setup.size < setup_size ? setup.size : setup_size);
    select_key(kernel.key);
  } else {
    if (kernel.size <= setup_size) return fail("the kernel file is cut short");
    kernel_size = kernel.size - setup_size;
    select_key(kernel.key);
    read_bytes(SETUP, setup_size);
  }

  uint32_t end = memory_end();
  if (kernel_size > end - KERNEL_START) return fail(no_room);
  read_bytes((void *)KERNEL_START, kernel_size);

  // Where the unpacked kernel will end: initrd must lie above it.
  uint32_t kernel_end = KERNEL_START + kernel_size;
  if (version >= 0x20a) {
    uint32_t preferred = get32(header + 0x258), start = preferred > KERNEL_START ? preferred : KERNEL_START;
    uint32_t unpacked = start + get32(header + 0x260);
    if (unpacked > kernel_end) kernel_end = unpacked;
  }

  uint32_t line_limit = version >= 0x206 ? get32(header + 0x238) : 255;
  read_command_line(line_limit < COMMAND_LINE_MAX ? line_limit : COMMAND_LINE_MAX);

  struct blob initrd = find("opt/vmctl/initrd", KEY_INITRD_SIZE, KEY_INITRD_DATA);
  uint32_t initrd_start = 0;
  if (initrd.size) {
    uint32_t highest = version >= 0x203 ? get32(header + 0x22c) : 0x37ffffff;
    if (highest >= end) highest = end - 1;
    if (highest < kernel_end || initrd.size > highest + 1 - kernel_end) return fail(no_room);
    initrd_start = (highest + 1 - initrd.size) & ~0xfffu;
    if (initrd_start < kernel_end) return fail(no_room);
    select_key(initrd.key);
    read_bytes((void *)initrd_start, initrd.size);
  }

  put16(header + 0x1fa, video_mode());
  header[0x210] = 0xff;                   // type_of_loader: one without a number of its own
  header[0x211] |= 0x80;                  // loadflags: heap_end_ptr is valid
  put32(header + 0x214, KERNEL_START);    // code32_start
  put32(header + 0x218, initrd_start);    // ramdisk_image
  put32(header + 0x21c, initrd.size);     // ramdisk_size
  put16(header + 0x224, 0xe000 - 0x200);  // heap_end_ptr, counted from the setup sector
  put32(header + 0x228, (uint32_t)COMMAND_LINE);
  return BOOT_LINUX;
}

// MARK: - Multiboot

enum { MB_ALIGN_MODULES = 1, MB_MEMORY = 2, MB_VIDEO = 4, MB_ADDRESSES = 0x10000 };

struct multiboot_info {
  uint32_t flags, mem_lower, mem_upper, boot_device, cmdline, mods_count, mods_addr, syms[4], mmap_length, mmap_addr;
  uint32_t drives_length, drives_addr, config_table, boot_loader_name, apm_table;
};
struct module {
  uint32_t start, end, string, reserved;
};
/// What stage2.S copies at last: a piece of a segment below 1 MiB, where the loader itself lies until then.
struct low_piece {
  uint32_t from, to, count, zeros;
};

enum { MAX_MODULES = 64, MAX_PIECES = 64, MODULE_LINE_MAX = 1024 };

/// What a multiboot kernel is handed, at the end of memory: nothing of it is in the way of a segment.
struct handover {
  struct multiboot_info info;
  struct module modules[MAX_MODULES];
  struct low_piece pieces[MAX_PIECES + 1];  // one of nothing ends them
  struct memory_range map[64];
  char loader_name[8];
  uint8_t jump[256];
  char module_lines[MAX_MODULES][MODULE_LINE_MAX];
  char command_line[COMMAND_LINE_MAX + 1];
};

static uint32_t piece_count;

/// The multiboot header in the file's first 8 KiB, or null. `damaged` says whether only its checksum is wrong.
static const uint8_t *multiboot_header(const uint8_t *file, uint32_t size, int *damaged) {
  uint32_t limit = size < 8192 ? size : 8192;
  *damaged = 0;
  for (uint32_t at = 0; at + 12 <= limit; at += 4) {
    if (get32(file + at) != 0x1badb002) continue;
    if (get32(file + at) + get32(file + at + 4) + get32(file + at + 8) == 0) return file + at;
    *damaged = 1;
  }
  return 0;
}

/// Whether the first `end` bytes of a file are an ELF file's headers and zeros behind them.
static int holds_headers_only(const uint8_t *file, uint32_t size, uint32_t end) {
  if (size < 52 || get32(file) != 0x464c457f) return 0;
  const uint32_t table = get32(file + 28), bytes = (uint32_t)get16(file + 42) * get16(file + 44);
  if (table > size || bytes > size - table) return 0;
  for (uint32_t at = table + bytes; at < end && at < size; at++)
    if (file[at]) return 0;
  return 1;
}

/// Puts `count` bytes of the file at `to` and zeros behind them, `memory` bytes in all: at once above 1 MiB, below it a piece
/// for stage2.S. Null, or why it cannot be.
static const char *place(struct handover *handover, const uint8_t *file, uint32_t size, uint32_t from, uint32_t count,
                         uint32_t to, uint32_t memory, uint32_t limit) {
  if (from > size || count > size - from) return "a segment of the multiboot kernel reaches beyond the end of its file";
  if (count > memory) return "a segment of the multiboot kernel has more bytes in its file than in memory";
  if (memory > 0u - 1 - to) return "a segment of the multiboot kernel reaches beyond 4 GiB";
  if (to < KERNEL_START) {
    const uint32_t low_end = lower_kib * 1024;
    uint32_t low = memory < KERNEL_START - to ? memory : KERNEL_START - to;
    // Linkers put an ELF file's headers into the first segment, before what begins at 1 MiB: nobody reads them there.
    const int headers = to >= low_end && from == 0 && holds_headers_only(file, size, low);
    if (!headers) {
      if (to >= low_end || low > low_end - to)
        return "a segment of the multiboot kernel lies between the end of low memory and 1 MiB, where devices and ROM are";
      if (piece_count == MAX_PIECES) return "the multiboot kernel has too many segments below 1 MiB";
      uint32_t copied = count < low ? count : low;
      handover->pieces[piece_count++] = (struct low_piece){(uint32_t)file + from, to, copied, low - copied};
    }
    const uint32_t passed = count < low ? count : low;
    from += passed, count -= passed, to += low, memory -= low;
  }
  if (memory == 0) return 0;
  if (to > limit || memory > limit - to)
    return "the multiboot kernel does not fit into memory where it wants to be; give the machine more memory";
  memcpy((void *)to, file + from, count);
  memset((void *)(to + count), 0, memory - count);
  return 0;
}

/// Reads a text of at most `limit` bytes and ends it.
static void read_text(struct blob blob, char *to, uint32_t limit) {
  uint32_t length = blob.size < limit ? blob.size : limit;
  if (length) {
    select_key(blob.key);
    read_bytes(to, length);
  }
  to[length] = 0;
}

/// Appends the decimal number below 100 to a name of fw_cfg.
static const char *numbered(const char *prefix, uint32_t number) {
  static char name[56];
  char *p = name;
  while (*prefix) *p++ = *prefix++;
  if (number >= 10) *p++ = (char)('0' + number / 10);
  *p++ = (char)('0' + number % 10);
  *p = 0;
  return name;
}

static const char *load_elf(struct handover *handover, const uint8_t *file, uint32_t size, uint32_t limit) {
  if (file[4] != 1) return "the multiboot kernel is a 64-bit ELF file: make a 32-bit one of it (objcopy -O elf32-i386)";
  if (size < 52 || get16(file + 18) != 3) return "the multiboot kernel is not an ELF file for x86";
  uint32_t headers = get32(file + 28), each = get16(file + 42), count = get16(file + 44);
  if (each < 32 || headers > size || each * count > size - headers)
    return "the multiboot kernel's program headers lie beyond the end of its file";
  uint32_t entry = get32(file + 24);
  for (uint32_t i = 0; i < count; i++) {
    const uint8_t *segment = file + headers + i * each;
    if (get32(segment) != 1 || get32(segment + 20) == 0) continue;
    uint32_t virtual = get32(segment + 8), physical = get32(segment + 12), memory = get32(segment + 20);
    const char *why = place(handover, file, size, get32(segment + 4), get32(segment + 16), physical, memory, limit);
    if (why) return why;
    // e_entry is a virtual address; the kernel is started without paging.
    if (get32(file + 24) - virtual < memory) entry = get32(file + 24) - virtual + physical;
  }
  multiboot_entry = entry;
  return 0;
}

static const char *load_by_header(struct handover *handover, const uint8_t *file, uint32_t size, const uint8_t *header,
                                  uint32_t limit) {
  uint32_t header_at = get32(header + 12), load = get32(header + 16), load_end = get32(header + 20);
  uint32_t bss_end = get32(header + 24), before = header_at - load, at = (uint32_t)(header - file);
  if (header_at < load || before > at) return "the multiboot header's load address lies before the beginning of the file";
  if (load_end && load_end < load) return "the multiboot header's load addresses contradict each other";
  uint32_t offset = at - before, count = load_end ? load_end - load : size - offset;
  uint32_t memory = bss_end > load + count ? bss_end - load : count;
  multiboot_entry = get32(header + 28);
  return place(handover, file, size, offset, count, load, memory, limit);
}

static int load_multiboot(struct blob kernel) {
  uint32_t end = memory_end(), top = end;
  // Modules lie at the end of memory, below them what the kernel is handed, below that the file, whose segments are copied
  // from there.
  struct { uint32_t start, size; struct blob line; } found[MAX_MODULES];
  uint32_t modules = 0;
  for (; modules < MAX_MODULES; modules++) {
    struct blob module = find_file(numbered("opt/vmctl/module/", modules));
    if (!module.key && modules == 0) module = find("opt/vmctl/initrd", KEY_INITRD_SIZE, KEY_INITRD_DATA);
    if (!module.key || (!module.size && module.key == KEY_INITRD_DATA)) break;
    if (module.size > top - KERNEL_START) return fail("the multiboot kernel's modules do not fit into memory; give the machine more memory");
    top = (top - module.size) & ~0xfffu;
    select_key(module.key);
    read_bytes((void *)top, module.size);
    found[modules].start = top, found[modules].size = module.size;
    found[modules].line = find_file(numbered("opt/vmctl/module-line/", modules));
  }
  if (top - KERNEL_START < sizeof(struct handover) + 0x2000 ||
      kernel.size > top - KERNEL_START - sizeof(struct handover) - 0x2000)
    return fail(no_room);
  struct handover *handover = (struct handover *)((top - sizeof(struct handover)) & ~0xfffu);
  uint8_t *file = (uint8_t *)(((uint32_t)handover - kernel.size) & ~0xfffu);
  memset(handover, 0, sizeof *handover);
  select_key(kernel.key);
  read_bytes(file, kernel.size);

  int damaged;
  const uint8_t *header = multiboot_header(file, kernel.size, &damaged);
  if (!header)
    return fail(damaged ? "the checksum of the kernel's multiboot header is wrong"
                        : "the kernel is neither a Linux bzImage nor a multiboot image");
  uint32_t flags = get32(header + 4);
  if (flags & 0xfff8) return fail("the multiboot kernel demands a feature this loader does not have");

  const char *why;
  const uint32_t limit = (uint32_t)file;
  if (flags & MB_ADDRESSES) why = load_by_header(handover, file, kernel.size, header, limit);
  else if (file[0] == 0x7f && file[1] == 'E' && file[2] == 'L' && file[3] == 'F')
    why = load_elf(handover, file, kernel.size, limit);
  else why = "the multiboot kernel is no ELF file and names no load addresses";
  if (why) return fail(why);

  struct multiboot_info *info = &handover->info;
  info->flags = 1 << 0 | 1 << 2 | 1 << 3 | 1 << 6 | 1 << 9;  // memory, command line, modules, memory map, loader name
  info->mem_lower = lower_kib;
  info->mem_upper = (end - KERNEL_START) / 1024;
  // The command line begins with the kernel's name, as a shell's does.
  struct blob name = find_file("opt/vmctl/kernel-name");
  read_text(name, handover->command_line, MODULE_LINE_MAX);
  uint32_t length = name.size < MODULE_LINE_MAX ? name.size : MODULE_LINE_MAX;
  struct blob line = find("opt/vmctl/cmdline", KEY_COMMAND_LINE_SIZE, KEY_COMMAND_LINE_DATA);
  if (line.size && length) handover->command_line[length++] = ' ';
  read_text(line, handover->command_line + length, COMMAND_LINE_MAX - length);
  info->cmdline = (uint32_t)handover->command_line;

  for (uint32_t i = 0; i < modules; i++) {
    read_text(found[i].line, handover->module_lines[i], MODULE_LINE_MAX - 1);
    handover->modules[i] =
      (struct module){found[i].start, found[i].start + found[i].size, (uint32_t)handover->module_lines[i], 0};
  }
  info->mods_count = modules;
  info->mods_addr = (uint32_t)handover->modules;
  memcpy(handover->map, memory_map, map_count * sizeof(struct memory_range));
  info->mmap_length = map_count * sizeof(struct memory_range);
  info->mmap_addr = (uint32_t)handover->map;
  memcpy(handover->loader_name, "vmctl", 6);
  info->boot_loader_name = (uint32_t)handover->loader_name;

  // The last steps run beside the information, since the pieces may cover the loader.
  memcpy(handover->jump, multiboot_jump, (uint32_t)(multiboot_jump_end - multiboot_jump));
  multiboot_info_address = info;
  multiboot_pieces = handover->pieces;
  multiboot_jump_address = (uint32_t)handover->jump;
  return BOOT_MULTIBOOT;
}

// MARK: - Entry

int load(void) {
  char signature[4];
  select_key(0);
  has_dma = 0;
  read_bytes(signature, 4);
  if (signature[0] != 'Q' || signature[1] != 'E' || signature[2] != 'M' || signature[3] != 'U')
    return fail("this machine has no firmware configuration device");
  has_dma = (number_at(KEY_ID) & 2) != 0;

  struct blob kernel = find("opt/vmctl/kernel", KEY_KERNEL_SIZE, KEY_KERNEL_DATA);
  struct blob setup = {KEY_SETUP_DATA, 0};
  if (kernel.key == KEY_KERNEL_DATA) setup.size = number_at(KEY_SETUP_SIZE);
  if (kernel.size == 0) return fail("no kernel was given");

  struct blob first = setup.size ? setup : kernel;
  memset(SETUP, 0, 1024);
  select_key(first.key);
  read_bytes(SETUP, first.size < 1024 ? first.size : 1024);
  if (get16(SETUP + 0x1fe) == 0xaa55 && get32(SETUP + 0x202) == 0x53726448) return load_linux(kernel, setup);  // "HdrS"
  return load_multiboot(kernel);
}
