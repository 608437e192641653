/// Memory for emitted code: one object mapped twice, so that no address is ever both writable and executable.
#ifndef VMCTL_CODE_MEMORY_H
#define VMCTL_CODE_MEMORY_H

#include <stddef.h>
#include <stdint.h>
#include "cpu_state.h"

typedef struct vm_code_memory {
  uint8_t *writable;
  uint8_t *executable;  ///< NULL: the host refuses executable memory
  size_t size;
} vm_code_memory;

vm_code_memory vm_code_memory_map(size_t size);
void vm_code_memory_unmap(vm_code_memory memory);

/// Calls emitted code: `thunk(state, code)`.
static inline void vm_code_enter(const void *thunk, vm_cpu_state *state, uint64_t code) {
  ((void (*)(vm_cpu_state *, uint64_t))thunk)(state, code);
}

/// Whether the host has RORX and its kin.
static inline int vm_host_has_bmi2(void) { return __builtin_cpu_supports("bmi2") != 0; }

/// What emitted code calls to have one instruction interpreted. Not 0: leave the emitted code.
typedef uint64_t (*vm_code_step)(vm_cpu_state *, vm_op *, uint64_t index);
static inline uint64_t vm_code_step_address(vm_code_step step) { return (uint64_t)(uintptr_t)step; }

/// What emitted code calls when set `kind` / 2 of the data TLB does not hold the page of `linear`, for an access that
/// writes if bit 0 of `kind` is set. Not 0: it does now.
typedef uint64_t (*vm_code_fill)(vm_cpu_state *, uint64_t linear, uint64_t kind);
static inline uint64_t vm_code_fill_address(vm_code_fill fill) { return (uint64_t)(uintptr_t)fill; }

#endif
