// (32 bit) The 82540EM's rings: frames and answers whole, and whatever is wrong in them harms nothing but the card.
#include "net.h"

enum { CTRL = 0, STATUS = 2, ICR = 0xc0 / 4, IMC = 0xd8 / 4, RCTL = 0x100 / 4, TCTL = 0x400 / 4 };
enum { RD = 0x2800 / 4, TD = 0x3800 / 4 };
enum { RAL = 0x5400 / 4, BASE = 0, HIGH = 1, LENGTH = 2, HEAD = 4, TAIL = 6 };
struct descriptor {
  uint64_t address;
  uint32_t command, status;
};
static volatile uint32_t *card;
static volatile struct descriptor *receive_ring = (void *)net_rings, *send_ring = (void *)(net_rings + 4096 - 16 * 4);
static uint32_t next_received, next_sent;

static void find(uint32_t device, uint8_t *address) {
  card = mmio(net_bar(device, 0));
  for (uint32_t i = 0; i < 6; i++) address[i] = (uint8_t)(card[RAL + i / 4] >> 8 * (i % 4));
}

static void start(void) {
  card[CTRL] = 1u << 26;
  net_sleep(3);
  card[IMC] = ~0u;
  (void)card[ICR];
  card[CTRL] |= 0x40;
  // The rings lie across pages as well: the transmit ring's first four descriptors end at one's end.
  send_ring = (void *)(net_rings + 8192 - 64);
  for (uint32_t i = 0; i < NET_RING; i++) {
    receive_ring[i] = (struct descriptor){(word)net_buffer(i), 0, 0};
    send_ring[i] = (struct descriptor){0, 0, 0};
  }
  card[RD + BASE] = (uint32_t)(word)receive_ring;
  card[RD + HIGH] = 0;
  card[RD + LENGTH] = NET_RING * 16;
  card[RD + HEAD] = 0;
  card[RD + TAIL] = NET_RING - 1;
  card[TD + BASE] = (uint32_t)(word)send_ring;
  card[TD + HIGH] = 0;
  card[TD + LENGTH] = NET_RING * 16;
  card[TD + HEAD] = card[TD + TAIL] = 0;
  next_received = next_sent = 0;
  card[RCTL] = 0x04008002;  // on, broadcasts, no FCS
  card[TCTL] = 0x000400fa;
}

static void begin(const struct piece *pieces, uint32_t count) {
  for (uint32_t i = 0; i < count; i++) {
    uint32_t is_last = i == count - 1;
    send_ring[next_sent] = (struct descriptor){
      (word)pieces[i].bytes, pieces[i].length | 0x0a000000 | (is_last ? 0x01000000 : 0), 0};
    next_sent = (next_sent + 1) % NET_RING;
  }
  card[TD + TAIL] = next_sent;
}

static int is_sent(void) { return card[TD + HEAD] == next_sent; }
static void send(const struct piece *pieces, uint32_t count) {
  // One place stays free.
  for (uint32_t done = 0; done < count;) {
    uint32_t some = count - done < NET_RING - 1 ? count - done : NET_RING - 1;
    begin(pieces + done, some);
    net_wait(is_sent);
    done += some;
  }
}

static uint32_t receive(uint8_t *frame) {
  volatile struct descriptor *d = &receive_ring[next_received];
  if (!(d->status & 1)) return 0;
  uint32_t length = d->command & 0xffff;
  memcpy(frame, net_buffer(next_received), length);
  d->status = 0;
  card[RD + TAIL] = next_received;
  next_received = (next_received + 1) % NET_RING;
  return length;
}

static void misuse(volatile struct descriptor *d, uint64_t address, uint32_t command, uint32_t status) {
  *d = (struct descriptor){address, command, status};
}

static void hostile(uint32_t kind) {
  switch (kind) {
    case 0:  // buffers where nothing is, and at the end of all addresses
      for (uint32_t i = 0; i < 4; i++)
        misuse(&send_ring[(next_sent + i) % NET_RING], i & 1 ? ~0ull - 100 : 0xf0000000, 0x0b0005dc, 0);
      card[TD + TAIL] = (next_sent + 4) % NET_RING;
      break;
    case 1:  // receive buffers there
      for (uint32_t i = 0; i < NET_RING; i++) receive_ring[i].address = i & 1 ? ~0ull - 7 : 0xf0000000;
      break;
    case 2:  // rings that are none, and a tail far beyond
      card[TD + LENGTH] = card[RD + LENGTH] = 0;
      card[TD + TAIL] = card[RD + TAIL] = 0xffff;
      break;
    case 3:  // rings where nothing is, of the greatest length
      card[TD + HIGH] = card[RD + HIGH] = ~0u;
      card[TD + LENGTH] = card[RD + LENGTH] = 0xfff80;
      card[TD + TAIL] = card[RD + TAIL] = 0xfffe;
      break;
    case 4:  // segmentation into segments of nothing, with headers of everything
      misuse(&send_ring[next_sent], 0xffffffffffffffff, 0x2f0fffff, 0x0000ff00);
      misuse(&send_ring[(next_sent + 1) % NET_RING], (word)net_rings, 0x2d1fffff, 0x00000300);
      card[TD + TAIL] = (next_sent + 2) % NET_RING;
      break;
    case 5:  // a packet without an end
      for (uint32_t i = 0; i < NET_RING; i++) misuse(&send_ring[i], (word)net_rings, 0x0800ffff, 0);
      for (uint32_t i = 0; i < 40; i++) card[TD + TAIL] = (next_sent + i) % NET_RING;
      break;
  }
}

static int link(void) { return (card[STATUS] & 2) != 0; }

int guest_main(void) {
  static const struct card it = {0x100e8086, find, start, send, begin, receive, hostile, 6, 60, link};
  return net_main(&it);
}
