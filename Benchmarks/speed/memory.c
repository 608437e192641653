// Loads and stores: chains, streams, tables.

#include "runtime.h"

/// Nodes of a cache line each, linked in a random circle.
struct node {
  struct node *next;
  char rest[64 - sizeof(struct node *)];
};
enum { SMALL = (16 << 10) / sizeof(struct node), LARGE = (16 << 20) / sizeof(struct node) };
static struct node nodes[LARGE] __attribute__((aligned(4096)));

static void link_nodes(u32 count) {
  static u32 order[LARGE];
  u32 seed = 1;
  for (u32 i = 0; i < count; i++) order[i] = i;
  for (u32 i = count - 1; i; i--) {
    u32 j = (u32)((u64)next_random(&seed) * (i + 1) >> 32), t = order[i];
    order[i] = order[j], order[j] = t;
  }
  for (u32 i = 0; i < count; i++) nodes[order[i]].next = &nodes[order[i + 1 == count ? 0 : i + 1]];
}
static void link_small(void) { link_nodes(SMALL); }
static void link_large(void) { link_nodes(LARGE); }
static u32 chase(u32 rounds) {
  struct node *at = nodes;
  for (u32 i = 0; i < rounds; i++) at = at->next;
  return (u32)(at - nodes);
}

enum { STREAM = 256 << 10, WORDS = (4 << 20) / 4 };
static uint8_t from[STREAM + 64] __attribute__((aligned(4096))), to[STREAM + 64] __attribute__((aligned(4096)));
static u32 x[WORDS] __attribute__((aligned(4096))), y[WORDS] __attribute__((aligned(4096)));
static uint8_t table[256];

static void fill_streams(void) {
  u32 seed = 1;
  for (u32 i = 0; i < STREAM; i++) from[i] = (uint8_t)(next_random(&seed) >> 24), to[i] = 0;
  for (u32 i = 0; i < 256; i++) table[i] = (uint8_t)(i * 167 + 13);
}
static void fill_words(void) {
  for (u32 i = 0; i < WORDS; i++) x[i] = i * 0x9e3779b9u, y[i] = i;
}

/// Bytes, each looked up in a table.
static u32 bytes(u32 rounds) {
  u32 sum = 0;
  for (u32 r = 0; r < rounds; r++)
    for (u32 i = 0; i < 65536; i++) {
      uint8_t c = table[from[i]];
      to[i] = c;
      sum = sum * 3 + c;
    }
  return sum;
}

/// 4 MB read and 4 MB updated, by words.
static u32 words(u32 rounds) {
  for (u32 r = 0; r < rounds; r++)
    for (u32 i = r % 4 * (WORDS / 4), end = i + WORDS / 4; i < end; i++) y[i] += x[i] * 3;
  u32 sum = 0;
  for (u32 i = 0; i < WORDS; i += 61) sum = mix(sum, y[i]);
  return sum;
}

/// memcpy as C libraries have it for large blocks: 64 bytes a turn in four vector registers.
static u32 copy(u32 rounds) {
  typedef long long vector __attribute__((vector_size(16)));
  for (u32 r = 0; r < rounds; r++) {
    vector *d = (vector *)to, *s = (vector *)from;
    from[r % STREAM] = (uint8_t)r;
    for (u32 i = 0; i < STREAM / 64; i++, d += 4, s += 4) {
      vector a = s[0], b = s[1], c = s[2], e = s[3];
      d[0] = a, d[1] = b, d[2] = c, d[3] = e;
    }
    __asm__ volatile("" : : : "memory");
  }
  u32 sum = 0;
  for (u32 i = 0; i < STREAM; i += 67) sum = mix(sum, to[i]);
  return sum;
}

/// memcpy for short blocks: overlapping moves chosen by the length.
static NOINLINE void copy_short(uint8_t *d, const uint8_t *s, u32 count) {
  typedef u64 __attribute__((aligned(1), may_alias)) u64u;
  typedef u32 __attribute__((aligned(1), may_alias)) u32u;
  if (count >= 16) {
    for (u32 i = 0; i + 16 < count; i += 16) *(u64u *)(d + i) = *(u64u *)(s + i), *(u64u *)(d + i + 8) = *(u64u *)(s + i + 8);
    *(u64u *)(d + count - 16) = *(u64u *)(s + count - 16);
    *(u64u *)(d + count - 8) = *(u64u *)(s + count - 8);
  } else if (count >= 8) {
    u64 a = *(u64u *)s, b = *(u64u *)(s + count - 8);
    *(u64u *)d = a, *(u64u *)(d + count - 8) = b;
  } else if (count >= 4) {
    u32 a = *(u32u *)s, b = *(u32u *)(s + count - 4);
    *(u32u *)d = a, *(u32u *)(d + count - 4) = b;
  } else {
    while (count--) *d++ = *s++;
  }
}
static u32 copies(u32 rounds) {
  u32 seed = 1, sum = 0;
  for (u32 i = 0; i < rounds; i++) {
    u32 r = next_random(&seed), length = r >> 26, at = r >> 8 & 0x3fff;
    copy_short(to + at, from + (at ^ 0x1357), length);
    sum += to[at];
  }
  return sum;
}

static u32 sieve(u32 rounds) {
  u32 sum = 0;
  for (u32 r = 0; r < rounds; r++) {
    u32 limit = STREAM / 2;
    for (u32 i = 2; i < limit; i++) to[i] = 1;
    for (u32 i = 2; i < limit; i++) {
      if (!to[i]) continue;
      sum++;
      for (u32 j = i * 2; j < limit; j += i) to[j] = 0;
    }
  }
  return sum;
}

/// A hash table of 4 MB: open addressing, half full.
static u32 hashing(u32 rounds) {
  u32 seed = 1, sum = 0;
  for (u32 i = 0; i < rounds; i++) {
    u32 key = next_random(&seed) >> 13 | 1;
    u32 at = key * 0x9e3779b1u >> 12;
    while (x[at] && x[at] != key) at = (at + 1) % WORDS;
    x[at] = key;
    sum += ++y[at];
  }
  return sum;
}
static void clear_words(void) {
  for (u32 i = 0; i < WORDS; i++) x[i] = y[i] = 0;
}

/// Counts in a table of 64 KB: each step reads, changes and writes one place.
static u32 histogram(u32 rounds) {
  u32 seed = 1, sum = 0;
  for (u32 i = 0; i < rounds; i++) {
    u32 r = next_random(&seed);
    y[r >> 18]++;
    sum += y[r >> 4 & 0x3fff];
  }
  return sum;
}

/// A list of records, unlinked and linked again: fields off one register.
struct record {
  struct record *next, *previous;
  u32 key, count, flags, stamp;
};
static struct record records[512];
static void fill_records(void) {
  for (u32 i = 0; i < 512; i++)
    records[i] = (struct record){&records[(i * 5 + 1) % 512], 0, i, 0, i * 3, 0};
  for (u32 i = 0; i < 512; i++) records[i].next->previous = &records[i];
}
static u32 fields(u32 rounds) {
  struct record *r = records;
  u32 sum = 0;
  for (u32 i = 0; i < rounds; i++) {
    r->count += r->key, r->stamp = i, r->flags ^= r->count;
    sum += r->flags;
    struct record *moved = r->next, *after = moved->next;
    r->next = after, after->previous = r;
    moved->next = after->next, moved->previous = after;
    after->next->previous = moved, after->next = moved;
    r = after;
  }
  return sum;
}

const struct program memory_programs[] = {
    {"chase-16k", "memory", 250000, chase, link_small},  {"chase-16m", "memory", 2500, chase, link_large},
    {"bytes", "memory", 7, bytes, fill_streams},         {"words", "memory", 4, words, fill_words},
    {"memcpy", "memory", 60, copy, fill_streams},       {"copies", "memory", 40000, copies, fill_streams},
    {"sieve", "memory", 1, sieve, 0},                    {"hashing", "memory", 50000, hashing, clear_words},
    {"histogram", "memory", 300000, histogram, clear_words}, {"fields", "memory", 200000, fields, fill_records},
    {0, 0, 0, 0, 0}};
