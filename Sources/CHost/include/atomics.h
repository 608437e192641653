/// Atomic operations on plain words that C structs and mapped memory hold.
#ifndef VMCTL_ATOMICS_H
#define VMCTL_ATOMICS_H
#include <stdint.h>

static inline uint32_t vm_load_relaxed(const volatile uint32_t *word) {
  return __atomic_load_n(word, __ATOMIC_RELAXED);
}
static inline uint64_t vm_load_relaxed64(const volatile uint64_t *word) {
  return __atomic_load_n(word, __ATOMIC_RELAXED);
}
static inline uint32_t vm_fetch_or(volatile uint32_t *word, uint32_t bits) {
  return __atomic_fetch_or(word, bits, __ATOMIC_SEQ_CST);
}
static inline uint32_t vm_fetch_and(volatile uint32_t *word, uint32_t bits) {
  return __atomic_fetch_and(word, bits, __ATOMIC_SEQ_CST);
}
static inline uint64_t vm_load64(const volatile uint64_t *word) { return __atomic_load_n(word, __ATOMIC_ACQUIRE); }
static inline void vm_store64(volatile uint64_t *word, uint64_t value) {
  __atomic_store_n(word, value, __ATOMIC_RELEASE);
}
static inline uint8_t vm_load8(const volatile uint8_t *byte) { return __atomic_load_n(byte, __ATOMIC_ACQUIRE); }
static inline void vm_store8(volatile uint8_t *byte, uint8_t value) { __atomic_store_n(byte, value, __ATOMIC_RELEASE); }
static inline void vm_store16(volatile uint16_t *word, uint16_t value) {
  __atomic_store_n(word, value, __ATOMIC_RELEASE);
}
static inline void vm_store32(volatile uint32_t *word, uint32_t value) {
  __atomic_store_n(word, value, __ATOMIC_RELEASE);
}
static inline uint64_t vm_fetch_or64(volatile uint64_t *word, uint64_t bits) {
  return __atomic_fetch_or(word, bits, __ATOMIC_SEQ_CST);
}
static inline uint64_t vm_fetch_and64(volatile uint64_t *word, uint64_t bits) {
  return __atomic_fetch_and(word, bits, __ATOMIC_SEQ_CST);
}
static inline uint64_t vm_exchange64(volatile uint64_t *word, uint64_t value) {
  return __atomic_exchange_n(word, value, __ATOMIC_SEQ_CST);
}
static inline uint32_t vm_exchange32(volatile uint32_t *word, uint32_t value) {
  return __atomic_exchange_n(word, value, __ATOMIC_SEQ_CST);
}
static inline uint32_t vm_load32(const volatile uint32_t *word) { return __atomic_load_n(word, __ATOMIC_SEQ_CST); }
static inline uint16_t vm_load16(const volatile uint16_t *word) { return __atomic_load_n(word, __ATOMIC_SEQ_CST); }
static inline uint16_t vm_fetch_or16(volatile uint16_t *word, uint16_t bits) {
  return __atomic_fetch_or(word, bits, __ATOMIC_SEQ_CST);
}
static inline uint16_t vm_fetch_and16(volatile uint16_t *word, uint16_t bits) {
  return __atomic_fetch_and(word, bits, __ATOMIC_SEQ_CST);
}
static inline uint16_t vm_exchange16(volatile uint16_t *word, uint16_t value) {
  return __atomic_exchange_n(word, value, __ATOMIC_SEQ_CST);
}
/// Every access before it is done for all to see before any access after it.
static inline void vm_fence(void) { __atomic_thread_fence(__ATOMIC_SEQ_CST); }
static inline uint8_t vm_fetch_or8(volatile uint8_t *byte, uint8_t bits) {
  return __atomic_fetch_or(byte, bits, __ATOMIC_SEQ_CST);
}

/// Compare and exchange of 1, 2, 4, 8 bytes in guest memory: non-zero when `*expected` was found; else it receives
/// what was there.
static inline int vm_cas8(volatile uint8_t *p, uint8_t *expected, uint8_t v) {
  return __atomic_compare_exchange_n(p, expected, v, 0, __ATOMIC_SEQ_CST, __ATOMIC_SEQ_CST);
}
static inline int vm_cas16(volatile uint16_t *p, uint16_t *expected, uint16_t v) {
  return __atomic_compare_exchange_n(p, expected, v, 0, __ATOMIC_SEQ_CST, __ATOMIC_SEQ_CST);
}
static inline int vm_cas32(volatile uint32_t *p, uint32_t *expected, uint32_t v) {
  return __atomic_compare_exchange_n(p, expected, v, 0, __ATOMIC_SEQ_CST, __ATOMIC_SEQ_CST);
}
static inline int vm_cas64(volatile uint64_t *p, uint64_t *expected, uint64_t v) {
  return __atomic_compare_exchange_n(p, expected, v, 0, __ATOMIC_SEQ_CST, __ATOMIC_SEQ_CST);
}
/// Sixteen bytes; `p` is 16-byte aligned. `expected` and `value` are low half first.
static inline int vm_cas128(volatile void *p, uint64_t expected[2], const uint64_t value[2]) {
  unsigned char done;
  __asm__ volatile("lock cmpxchg16b %1"
                   : "=@ccz"(done), "+m"(*(volatile __int128 *)p), "+a"(expected[0]), "+d"(expected[1])
                   : "b"(value[0]), "c"(value[1])
                   : "memory");
  return done;
}
static inline uint8_t vm_fetch_add8(volatile uint8_t *byte, uint8_t value) {
  return __atomic_fetch_add(byte, value, __ATOMIC_SEQ_CST);
}
static inline uint8_t vm_fetch_sub8(volatile uint8_t *byte, uint8_t value) {
  return __atomic_fetch_sub(byte, value, __ATOMIC_SEQ_CST);
}
#endif
