// What the guests of the network cards' rings have in common: each has a driver of one card, with which the same is tried.
//
// The network is address translation, whose gateway at 10.0.2.2 answers ARP and pings by itself, byte for byte.

#ifndef NET_H
#define NET_H

#include "guest.h"

enum { NET_MOST_PIECES = 5, NET_BUFFER = 2048, NET_RING = 8 };

struct piece {
  const void *bytes;
  uint32_t length;
};

struct card {
  /// Vendor and device, as PCI's first register has them.
  uint32_t id;
  /// Finds its registers and its address.
  void (*find)(uint32_t device, uint8_t *address);
  /// Resets the card and sets its rings up, receiver on.
  void (*start)(void);
  /// Sends a frame in pieces and waits until the card has taken it.
  void (*send)(const struct piece *pieces, uint32_t count);
  /// Hands the card a frame and waits for nothing.
  void (*begin)(const struct piece *pieces, uint32_t count);
  /// The next frame that has come, without its FCS; 0: none. At most NET_BUFFER bytes.
  uint32_t (*receive)(uint8_t *frame);
  /// Does what no driver should: `kind` is below `hostile_kinds`.
  void (*hostile)(uint32_t kind);
  uint32_t hostile_kinds;
  /// Frames after which its rings have wrapped.
  uint32_t frames_to_wrap;
  /// Whether there is a link; 0 where the card does not tell.
  int (*link)(void);
};

/// Milliseconds since the start.
extern volatile uint32_t net_ticks;
/// Memory for rings, on a page's boundary, and for receive buffers, of which every second lies across one.
extern uint8_t net_rings[65536];
uint8_t *net_buffer(uint32_t index);
/// A base address register's place; one that no firmware has set is set.
uint32_t net_bar(uint32_t device, uint32_t bar);
/// Waits until `done` says so, at most for two seconds.
int net_wait(int (*done)(void));
void net_sleep(uint32_t ticks);

int net_main(const struct card *card);

#endif
