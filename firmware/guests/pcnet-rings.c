// (32 bit) The Am79C973's rings: frames and answers whole, and whatever is wrong in them harms nothing but the card.
#include "net.h"

enum { DATA = 0x10, REGISTER = 0x12, RESET = 0x14, BUS_DATA = 0x16 };
struct descriptor {
  uint32_t address, status, count, user;
};
static struct {
  uint16_t mode;
  uint8_t receive_length, send_length, address[6];
  uint16_t reserved;
  uint8_t filter[8];
  uint32_t receive_ring, send_ring;
} __attribute__((aligned(4))) setup;
static volatile struct descriptor *receive_ring = (void *)net_rings, *send_ring;
static uint16_t base;
static uint32_t next_received, next_sent, last_sent;

static uint16_t read_csr(uint16_t n) {
  out16(base + REGISTER, n);
  return in16(base + DATA);
}
static void write_csr(uint16_t n, uint16_t v) {
  out16(base + REGISTER, n);
  out16(base + DATA, v);
}

static void find(uint32_t device, uint8_t *address) {
  base = (uint16_t)net_bar(device, 0);
  for (uint32_t i = 0; i < 6; i++) address[i] = setup.address[i] = in8((uint16_t)(base + i));
}

static int is_initialized(void) { return (read_csr(0) & 0x100) != 0; }
static void initialize(uint32_t at) {
  write_csr(1, (uint16_t)at);
  write_csr(2, (uint16_t)(at >> 16));
  write_csr(0, 1);
}

static void start(void) {
  in32(base + 0x18);
  in16(base + RESET);
  out16(base + REGISTER, 20);
  out16(base + BUS_DATA, 2);  // descriptors of 32 bits
  // The rings lie across pages as well.
  send_ring = (void *)(net_rings + 8192 - 64);
  for (uint32_t i = 0; i < NET_RING; i++) {
    receive_ring[i] = (struct descriptor){(uint32_t)(word)net_buffer(i), 0x80000000 | 0xf000 | (-NET_BUFFER & 0xfff), 0, 0};
    send_ring[i] = (struct descriptor){0, 0, 0, 0};
  }
  setup.mode = 0;
  setup.receive_length = setup.send_length = 3 << 4;
  setup.receive_ring = (uint32_t)(word)receive_ring;
  setup.send_ring = (uint32_t)(word)send_ring;
  write_csr(4, 0x0915);
  initialize((uint32_t)(word)&setup);
  net_wait(is_initialized);
  write_csr(0, 0x102);
  next_received = next_sent = last_sent = 0;
}

static void begin(const struct piece *pieces, uint32_t count) {
  for (uint32_t i = 0; i < count; i++) {
    uint32_t flags = 0x80000000 | (i == 0 ? 0x02000000 : 0) | (i == count - 1 ? 0x01000000 : 0);
    send_ring[next_sent].address = (uint32_t)(word)pieces[i].bytes;
    send_ring[next_sent].count = 0;
    barrier();
    send_ring[next_sent].status = flags | 0xf000 | (-pieces[i].length & 0xfff);
    last_sent = next_sent;
    next_sent = (next_sent + 1) % NET_RING;
  }
  write_csr(0, 8);
}

static int is_sent(void) { return !(send_ring[last_sent].status >> 31); }
static void send(const struct piece *pieces, uint32_t count) {
  // Of nothing there is no descriptor: a length of 0 means 4096 to some.
  struct piece some[2 * NET_MOST_PIECES];
  uint32_t used = 0;
  for (uint32_t i = 0; i < count; i++)
    if (pieces[i].length) some[used++] = pieces[i];
  begin(some, used);
  net_wait(is_sent);
}

static uint32_t receive(uint8_t *frame) {
  volatile struct descriptor *d = &receive_ring[next_received];
  if (d->status >> 31) return 0;
  // An error, or a frame that needs more than one buffer.
  uint32_t is_whole = (d->status & 0x43000000) == 0x03000000, length = d->count & 0xfff;
  length = is_whole && length >= 4 && length - 4 <= NET_BUFFER ? length - 4 : 0;
  memcpy(frame, net_buffer(next_received), length);
  d->count = 0;
  barrier();
  d->status = 0x80000000 | 0xf000 | (-NET_BUFFER & 0xfff);
  next_received = (next_received + 1) % NET_RING;
  return length ? length : receive(frame);
}

static void hostile(uint32_t kind) {
  switch (kind) {
    case 0:  // buffers where nothing is
      for (uint32_t i = 0; i < NET_RING; i++)
        send_ring[i] = (struct descriptor){i & 1 ? 0xf0000000 : 0xffffff80, 0x8300fc00, 0, 0};
      write_csr(0, 8);
      break;
    case 1:
      for (uint32_t i = 0; i < NET_RING; i++) receive_ring[i].address = i & 1 ? 0xf0000000 : 0xffffff80;
      break;
    case 2:  // packets without an end, and ends without a beginning
      for (uint32_t i = 0; i < NET_RING; i++)
        send_ring[i] = (struct descriptor){(uint32_t)(word)net_rings, i & 4 ? 0x8100f001 : 0x8200f001, 0, 0};
      write_csr(0, 8);
      break;
    case 3:  // a setup that is nowhere
      write_csr(0, 4);
      initialize(0xfffffff0);
      write_csr(0, 0x102);
      break;
    case 4:  // rings that are nowhere, of the greatest length
      write_csr(0, 4);
      setup.receive_length = setup.send_length = 0xff;
      setup.receive_ring = setup.send_ring = 0xfffffff0;
      initialize((uint32_t)(word)&setup);
      write_csr(0, 0x10a);
      break;
    case 5:  // rings moved while they are in use
      write_csr(30, 0xfff0);
      write_csr(31, 0xffff);
      write_csr(76, 1);
      write_csr(78, 0);
      write_csr(0, 8);
      break;
  }
}

int guest_main(void) {
  static const struct card it = {0x20001022, find, start, send, begin, receive, hostile, 6, 60, 0};
  return net_main(&it);
}
