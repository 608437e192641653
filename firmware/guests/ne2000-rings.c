// (32 bit) The RTL8029AS's ring of pages in its own memory: frames and answers whole, and whatever is wrong in its registers
// harms nothing but the card.
#include "net.h"

enum { COMMAND = 0, START = 1, STOP = 2, BOUNDARY = 3, SEND_PAGE = 4, SEND_COUNT = 5, STATUS = 7 };
enum { DMA_ADDRESS = 8, DMA_COUNT = 10 };
enum { RECEIVE = 12, TRANSMIT = 13, DATA_MODE = 14, MASK = 15, DATA = 16, RESET = 31 };
enum { FIRST = 0x46, END = 0x80 };
static uint16_t base;
static uint8_t own[6];

static uint8_t get(uint32_t n) { return in8((uint16_t)(base + n)); }
static void set(uint32_t n, uint32_t v) { out8((uint16_t)(base + n), (uint8_t)v); }

static void dma(uint32_t address, uint32_t count, uint32_t command) {
  set(STATUS, 0x40);
  set(DMA_COUNT, count);
  set(DMA_COUNT + 1, count >> 8);
  set(DMA_ADDRESS, address);
  set(DMA_ADDRESS + 1, address >> 8);
  set(COMMAND, command);
}

static void read_memory(uint32_t address, uint8_t *bytes, uint32_t count) {
  dma(address, (count + 1) & ~1u, 0x0a);
  for (uint32_t i = 0; i < count; i += 2) {
    uint16_t v = in16(base + DATA);
    bytes[i] = (uint8_t)v;
    if (i + 1 < count) bytes[i + 1] = (uint8_t)(v >> 8);
  }
}

static void start(void) {
  set(RESET, get(RESET));
  set(COMMAND, 0x21);
  set(DATA_MODE, 0x49);
  set(DMA_COUNT, 0);
  set(DMA_COUNT + 1, 0);
  set(RECEIVE, 0x04);
  set(TRANSMIT, 0x02);
  set(START, FIRST);
  set(STOP, END);
  set(BOUNDARY, FIRST);
  set(STATUS, 0xff);
  set(MASK, 0);
  set(COMMAND, 0x61);
  for (uint32_t i = 0; i < 6; i++) set(1 + i, own[i]);
  for (uint32_t i = 0; i < 8; i++) set(8 + i, 0);
  set(7, FIRST + 1);
  set(COMMAND, 0x22);
  set(TRANSMIT, 0);
}

static void find(uint32_t device, uint8_t *address) {
  base = (uint16_t)net_bar(device, 0);
  start();
  uint8_t prom[12];
  read_memory(0, prom, 12);
  for (uint32_t i = 0; i < 6; i++) own[i] = address[i] = prom[2 * i];
}

static void begin(const struct piece *pieces, uint32_t count) {
  static uint8_t frame[1600];
  uint32_t length = 0;
  for (uint32_t i = 0; i < count; i++)
    for (uint32_t n = 0; n < pieces[i].length && length < 1536; n++) frame[length++] = ((const uint8_t *)pieces[i].bytes)[n];
  while (length < 60) frame[length++] = 0;
  dma(FIRST * 256 - 0x600, (length + 1) & ~1u, 0x12);
  for (uint32_t i = 0; i < length; i += 2) out16(base + DATA, (uint16_t)(frame[i] | frame[i + 1] << 8));
  set(SEND_PAGE, FIRST - 6);
  set(SEND_COUNT, length);
  set(SEND_COUNT + 1, length >> 8);
  set(COMMAND, 0x26);
}

static int is_sent(void) { return !(get(COMMAND) & 4); }
static void send(const struct piece *pieces, uint32_t count) {
  begin(pieces, count);
  net_wait(is_sent);
}

static uint32_t receive(uint8_t *frame) {
  set(COMMAND, 0x62);
  uint32_t current = get(7);
  set(COMMAND, 0x22);
  uint32_t page = get(BOUNDARY) + 1u;
  if (page >= END) page = FIRST;
  if (page == current) return 0;
  uint8_t header[4];
  read_memory(page * 256, header, 4);
  uint32_t length = header[2] | (uint32_t)header[3] << 8, next = header[1];
  if (next < FIRST || next >= END || length < 8 || length > 1600) {
    start();
    return 0;
  }
  length -= 4;  // this header, or the FCS: one of them is counted
  uint32_t from = page * 256 + 4, first = END * 256 - from < length ? END * 256 - from : length;
  read_memory(from, frame, first);
  if (first < length) read_memory(FIRST * 256, frame + first, length - first);
  set(BOUNDARY, next == FIRST ? END - 1 : next - 1);
  return length;
}

static void hostile(uint32_t kind) {
  switch (kind) {
    case 0:  // a ring outside of the memory
      set(START, 0xf0);
      set(STOP, 0xff);
      set(BOUNDARY, 0xf8);
      break;
    case 1:  // a ring that ends before it begins
      set(START, 0x7f);
      set(STOP, 0x41);
      set(BOUNDARY, 0x00);
      break;
    case 2:  // a frame of everything from nowhere
      set(SEND_PAGE, 0xff);
      set(SEND_COUNT, 0xff);
      set(SEND_COUNT + 1, 0xff);
      set(COMMAND, 0x26);
      break;
    case 3:  // transfers beyond all memory
      dma(0xfff0, 0xffff, 0x12);
      for (uint32_t i = 0; i < 3000; i++) out32(base + DATA, 0xffffffff);
      dma(0xfff0, 0xffff, 0x0a);
      for (uint32_t i = 0; i < 3000; i++) (void)in32(base + DATA);
      break;
    case 4:  // a place to write to that is outside of the ring
      set(COMMAND, 0x61);
      set(7, 0x10);
      set(COMMAND, 0x22);
      break;
  }
  struct piece piece = {net_rings, 100};
  begin(&piece, 1);
}

int guest_main(void) {
  static const struct card it = {0x802910ec, find, start, send, begin, receive, hostile, 5, 60, 0};
  return net_main(&it);
}
