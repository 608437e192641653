// (32 bit) A virtio card's rings, by the ports of drivers from before version 1: frames and answers whole, and whatever is
// wrong in the rings harms nothing but the card.
#include "net.h"

enum { HOST_FEATURES = 0, FEATURES = 4, QUEUE_PAGE = 8, QUEUE_SIZE = 12, QUEUE = 14 };
enum { NOTIFY = 16, STATUS = 18, CONFIGURATION = 20 };
enum { NEXT = 1, WRITE = 2, INDIRECT = 4, HEADER = 10 };
struct descriptor {
  uint64_t address;
  uint32_t length;
  uint16_t flags, next;
};
struct queue {
  volatile struct descriptor *table;
  volatile uint16_t *available;  // flags, index, ring
  volatile uint16_t *used;       // flags, index, then pairs of 32 bits
  uint32_t size;
  uint16_t seen;
};
static struct queue queues[2];
static uint16_t base;
static uint32_t is_set_up;
static uint8_t headers[64][HEADER];

static void find(uint32_t device, uint8_t *address) {
  base = (uint16_t)net_bar(device, 0);
  for (uint32_t i = 0; i < 6; i++) address[i] = in8((uint16_t)(base + CONFIGURATION + i));
}

static void set_up(uint32_t index) {
  struct queue *q = &queues[index];
  out16(base + QUEUE, (uint16_t)index);
  q->size = in16(base + QUEUE_SIZE);
  if (q->size > 1024) finish(0x7e);
  uint8_t *memory = net_rings + index * 32768;
  memset(memory, 0, 32768);
  q->table = (void *)memory;
  q->available = (void *)(memory + 16 * q->size);
  q->used = (void *)(memory + ((16 * q->size + 6 + 2 * q->size + 4095) & ~4095u));
  q->seen = 0;
  out32(base + QUEUE_PAGE, (uint32_t)(word)memory >> 12);
}

static void offer(struct queue *q, uint16_t head) {
  q->available[2 + q->available[1] % q->size] = head;
  barrier();
  q->available[1]++;
}

static void start(void) {
  out8(base + STATUS, 0);
  out8(base + STATUS, 1);
  out8(base + STATUS, 3);
  out32(base + FEATURES, in32(base + HOST_FEATURES) & (1u << 5 | 1u << 16));
  set_up(0);
  set_up(1);
  for (uint16_t i = 0; i < NET_RING; i++) {
    queues[0].table[2 * i] = (struct descriptor){(word)headers[i], HEADER, NEXT | WRITE, (uint16_t)(2 * i + 1)};
    queues[0].table[2 * i + 1] = (struct descriptor){(word)net_buffer(i), NET_BUFFER, WRITE, 0};
    offer(&queues[0], (uint16_t)(2 * i));
  }
  out8(base + STATUS, 7);
  out16(base + NOTIFY, 0);
  is_set_up = 1;
}

/// Chains begin at another place of the table each time.
static uint16_t next_place;
static void begin(const struct piece *pieces, uint32_t count) {
  struct queue *q = &queues[1];
  uint16_t head = next_place, at = head;
  static uint8_t header[HEADER];
  q->table[at] = (struct descriptor){(word)header, HEADER, NEXT, 0};
  for (uint32_t i = 0; i < count; i++) {
    uint16_t next = (uint16_t)((at + 1) % q->size);
    q->table[at].next = next;
    at = next;
    q->table[at] = (struct descriptor){(word)pieces[i].bytes, pieces[i].length, i == count - 1 ? 0 : NEXT, 0};
  }
  next_place = (uint16_t)((at + 1) % q->size);
  offer(q, head);
  out16(base + NOTIFY, 1);
}

static int is_sent(void) { return queues[1].used[1] == queues[1].available[1]; }
static void send(const struct piece *pieces, uint32_t count) {
  begin(pieces, count);
  net_wait(is_sent);
}

static uint32_t receive(uint8_t *frame) {
  struct queue *q = &queues[0];
  if (q->used[1] == q->seen) return 0;
  volatile uint32_t *entry = (volatile uint32_t *)(q->used + 2) + 2 * (q->seen++ % q->size);
  uint32_t head = entry[0], length = entry[1] < HEADER ? 0 : entry[1] - HEADER;
  if (head >= 2 * NET_RING || length > NET_BUFFER) finish(0x7d);
  memcpy(frame, net_buffer(head / 2), length);
  offer(q, (uint16_t)head);
  out16(base + NOTIFY, 0);
  return length;
}

static void hostile(uint32_t kind) {
  struct queue *q = &queues[1];
  volatile struct descriptor *t = q->table;
  t[0] = (struct descriptor){(word)net_rings, HEADER, NEXT, 1};
  t[1] = (struct descriptor){(word)net_rings, 1000, 0, 0};
  switch (kind) {
    case 0: t[1].address = 0xf0000000; break;
    case 1: t[1].address = ~0ull - 100; t[1].length = 0xffffffff; break;
    case 2: t[1].flags = NEXT; t[1].next = 0; break;            // a loop
    case 3: t[1].flags = NEXT; t[1].next = 0xffff; break;       // leads out of the table
    case 4: t[1].flags = WRITE; break;                          // what is sent cannot be written
    case 5: t[0].length = 3; t[0].flags = 0; break;             // no whole header
    case 6: t[0].flags = INDIRECT; t[0].address = 0xf0000000; t[0].length = 0xfffffff0; break;
    case 7: q->available[1] += 5000; break;                     // more than there can be
    case 8: t[0].length = t[1].length = 0; break;
    case 9:  // receive buffers that are none
      for (uint32_t i = 0; i < 2 * NET_RING; i++)
        queues[0].table[i] = (struct descriptor){~0ull - 5, 0xffffffff, NEXT | WRITE, 0};
      break;
    case 10: out32(base + QUEUE_PAGE, 0xfffff); break;          // the ring itself is nowhere
  }
  offer(q, kind == 7 ? 0xfff0 : 0);
  out16(base + NOTIFY, 1);
  out16(base + NOTIFY, 0);
  out16(base + NOTIFY, 0x7fff);
}

static int link(void) { return !is_set_up || (in8((uint16_t)(base + CONFIGURATION + 6)) & 1); }

int guest_main(void) {
  static const struct card it = {0x10001af4, find, start, send, begin, receive, hostile, 11, 600, link};
  return net_main(&it);
}
