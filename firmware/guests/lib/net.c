#include "net.h"
#include "options.h"

uint8_t net_rings[65536] __attribute__((aligned(4096)));
static uint8_t buffers[(2 * NET_RING + 1) * NET_BUFFER + 4096] __attribute__((aligned(4096)));
// For frames that are sent: pieces of it lie across pages.
static uint8_t outgoing[3 * 4096] __attribute__((aligned(4096)));
static uint8_t incoming[NET_BUFFER];
static uint8_t own[6], gateway[6];
static const struct card *card;
static uint32_t has_gateway, sequence, answers;
// How often what is not answered is sent: on journeys and in misused rings much is lost.
static uint32_t attempts = 5;

volatile uint32_t net_ticks;
static void on_tick(struct frame *f) {
  (void)f;
  net_ticks++;
  end_of_irq(0);
}

uint8_t *net_buffer(uint32_t index) { return buffers + 1984 + index * NET_BUFFER; }

uint32_t net_bar(uint32_t device, uint32_t bar) {
  uint32_t offset = 0x10 + 4 * bar, value = read_pci(device, 0, offset), is_port = value & 1;
  if (!(value & ~15u)) write_pci(device, 0, offset, is_port ? 0xc000 : 0x90000000);
  write_pci(device, 0, 4, 7);
  return read_pci(device, 0, offset) & (is_port ? ~3u : ~15u);
}

int net_wait(int (*done)(void)) {
  for (uint32_t end = net_ticks + 2000; !done();) {
    if ((int32_t)(net_ticks - end) >= 0) return 0;
    wait_for_interrupt();
  }
  return 1;
}

void net_sleep(uint32_t ticks) {
  // Two may come in one wait.
  for (uint32_t end = net_ticks + ticks; (int32_t)(net_ticks - end) < 0;) wait_for_interrupt();
}

// MARK: - Frames

static uint16_t sum(const uint8_t *bytes, uint32_t count) {
  uint32_t total = 0;
  for (uint32_t i = 0; i < count; i++) total += i & 1 ? bytes[i] : bytes[i] << 8;
  while (total >> 16) total = (total & 0xffff) + (total >> 16);
  return (uint16_t)~total;
}

static void put16(uint8_t *at, uint32_t v) {
  at[0] = (uint8_t)(v >> 8);
  at[1] = (uint8_t)v;
}

static const uint8_t own_ip[4] = {10, 0, 2, 15}, gateway_ip[4] = {10, 0, 2, 2};

static void header(uint8_t *frame, const uint8_t *to, uint32_t type) {
  memcpy(frame, to, 6);
  memcpy(frame + 6, own, 6);
  put16(frame + 12, type);
}

static void send_arp(uint32_t operation, const uint8_t *to) {
  uint8_t *frame = outgoing;
  static const uint8_t everyone[6] = {255, 255, 255, 255, 255, 255};
  memset(frame, 0, 60);
  header(frame, operation == 1 ? everyone : to, 0x0806);
  static const uint8_t start[6] = {0, 1, 8, 0, 6, 4};
  memcpy(frame + 14, start, 6);
  put16(frame + 20, operation);
  memcpy(frame + 22, own, 6);
  memcpy(frame + 28, own_ip, 4);
  if (operation == 2) memcpy(frame + 32, to, 6);
  memcpy(frame + 38, gateway_ip, 4);
  struct piece piece = {frame, 60};
  card->send(&piece, 1);
}

static int same(const uint8_t *a, const uint8_t *b, uint32_t count) {
  for (uint32_t i = 0; i < count; i++)
    if (a[i] != b[i]) return 0;
  return 1;
}

static uint8_t pattern(uint32_t n, uint32_t i) { return (uint8_t)(n * 37 + i * 11 + (i >> 8)); }

/// Takes what has come. An answer to the last ping counts if each of its bytes is right.
static void take(uint32_t size) {
  uint32_t length;
  while ((length = card->receive(incoming)) != 0) {
    uint8_t *ip = incoming + 14;
    if (length < 42 || !same(incoming, own, 6)) continue;
    if (incoming[12] == 8 && incoming[13] == 6) {
      if (incoming[21] == 1) send_arp(2, incoming + 6);
      if (incoming[21] == 2 && same(incoming + 28, gateway_ip, 4)) {
        memcpy(gateway, incoming + 22, 6);
        has_gateway = 1;
      }
      continue;
    }
    if (incoming[12] != 8 || incoming[13] != 0 || ip[9] != 1 || ip[20] != 0 || length < 42 + size) continue;
    if (ip[26] != (uint8_t)(sequence >> 8) || ip[27] != (uint8_t)sequence) continue;
    uint32_t i = 0;
    while (i < size && ip[28 + i] == pattern(sequence, i)) i++;
    if (i == size) answers++;
  }
}

static uint32_t wanted, wanted_size;
static int is_answered(void) {
  take(wanted_size);
  return answers != wanted;
}
static int knows_gateway(void) {
  take(0);
  return has_gateway != 0;
}

/// Makes a ping of `size` bytes that ends at a page's end or lies across it.
/// - Returns: where it begins; it is 42 + size bytes long.
static uint8_t *make_ping(uint32_t size) {
  sequence++;
  uint8_t *frame = outgoing + 4096 - (sequence * 29 % (size + 42)), *ip = frame + 14;
  header(frame, gateway, 0x0800);
  memset(ip, 0, 28);
  ip[0] = 0x45;
  put16(ip + 2, 28 + size);
  put16(ip + 4, sequence);
  ip[8] = 64;
  ip[9] = 1;
  memcpy(ip + 12, own_ip, 4);
  memcpy(ip + 16, gateway_ip, 4);
  put16(ip + 10, sum(ip, 20));
  ip[20] = 8;
  put16(ip + 24, 0x766d);
  put16(ip + 26, sequence);
  for (uint32_t i = 0; i < size; i++) ip[28 + i] = pattern(sequence, i);
  put16(ip + 22, sum(ip + 20, 8 + size));
  return frame;
}

/// Sends a ping in `count` pieces, of which every other one is empty where `empties`, until it is answered: what is lost on a
/// journey is sent again.
static int ping(uint32_t size, uint32_t count, int empties) {
  for (uint32_t attempt = 0; attempt < (empties ? 1 : attempts); attempt++) {
    uint8_t *frame = make_ping(size);
    uint32_t length = 42 + size, done = 0, used = 0;
    struct piece pieces[2 * NET_MOST_PIECES];
    for (uint32_t i = 0; i < count; i++) {
      uint32_t part = i == count - 1 ? length - done : length / count;
      if (empties && i > 0) pieces[used++] = (struct piece){frame + done, 0};
      pieces[used++] = (struct piece){frame + done, part};
      done += part;
    }
    if (card->link && !card->link()) return 0;
    wanted = answers;
    wanted_size = size;
    card->send(pieces, used);
    if (net_wait(is_answered)) return 1;
  }
  return 0;
}

static int find_gateway(void) {
  has_gateway = 0;
  for (uint32_t attempt = 0; attempt < attempts && !has_gateway; attempt++) {
    send_arp(1, gateway);
    net_wait(knows_gateway);
  }
  return has_gateway != 0;
}

// MARK: - What is tried

static int restart(void) {
  card->start();
  return find_gateway() && ping(100, 1, 0);
}

static void long_frames(void) {
  // Longer than any buffer of the guest's; what becomes of it is the network's affair.
  uint8_t *frame = make_ping(1400);
  for (uint32_t i = 0; i < 8; i++) {
    struct piece pieces[4] = {{frame, 2900}, {frame, 2900}, {frame, 2900}, {frame, i}};
    card->send(pieces, 4);
  }
}

static void run_for_ever(void) {
  int link = card->link ? card->link() : 1;
  uint32_t random = 0x2545f491;
  for (uint32_t beat = 1;; beat++) {
    for (uint32_t i = 0; i < 20; i++) {
      random = random * 1664525 + 1013904223;
      if (card->link && card->link() != link) {
        link = !link;
        print(link ? "link up\n" : "link down\n");
      }
      echo_typed();
      if (!link) {
        wait_for_interrupt();
        continue;
      }
      if (ping(random >> 16 & 1023, 1 + (random >> 8 & 3), 0) || (card->link && !card->link())) continue;
      print("FAIL no answer\n");
      finish(0x7f);
    }
    if (link) {
      card->hostile(beat % card->hostile_kinds);
      card->start();
    }
    print("heartbeat ");
    print_number(beat);
    print("\n");
  }
}

int net_main(const struct card *it) {
  card = it;
  uint32_t device = 0;
  while (device < 32 && read_pci(device, 0, 0) != card->id) device++;
  check(device < 32, "the card is there");
  if (device == 32) return 1;
  card->find(device, own);
  set_handler(IRQ_BASE, on_tick);
  start_pit(1193);
  unmask_irq(0);
  card->start();
  check(find_gateway(), "the gateway answers");
  if (option("forever", 0)) {
    attempts = 30;
    run_for_ever();
  }

  int good = 1;
  for (uint32_t i = 0; i < card->frames_to_wrap && good; i++) good = ping(i * 67 % 1472, 1, 0);
  check(good, "rings wrap, and all frames come back whole");
  for (uint32_t i = 0; i < 40 && good; i++) good = ping(100 + i * 31, 2 + i % (NET_MOST_PIECES - 1), 0);
  check(good, "frames in pieces across pages");
  for (uint32_t i = 0; i < 10 && good; i++) good = ping(700 + i, 2, 1);
  check(good || restart(), "empty pieces");
  long_frames();
  check(restart(), "frames that are too long");
  for (uint32_t kind = 0; kind < card->hostile_kinds; kind++) {
    card->hostile(kind);
    net_sleep(3);
    check(restart(), "the card works again after misuse");
  }
  for (uint32_t i = 0; i < 20 && good; i++) {
    struct piece piece = {make_ping(1000 + i), 1042 + i};
    for (uint32_t n = 0; n <= i % 4; n++) card->begin(&piece, 1);
    good = restart();
  }
  check(good, "resets in the middle of sending");
  return 0;
}
