/// The x87 FPU, executed by the host's own one under the guest's control word (Intel SDM vol. 1, chapter 8).
///
/// Unmasked exceptions are left unmasked on the host: an x87 instruction only marks them, and the next waiting one
/// would deliver them, so that clearing them at once gives the exact unmasked response without a trap.
#ifndef VMCTL_FPU_H
#define VMCTL_FPU_H

#include <stdint.h>
#include "simd.h"

/// What an instruction does with its memory operand.
enum {
  VM_X87_NONE, VM_X87_LOAD, VM_X87_STORE,
  VM_X87_LDENV, VM_X87_STENV, VM_X87_RSTOR, VM_X87_SAVE,
  VM_X87_LDCW, VM_X87_STCW, VM_X87_STSW,
  VM_X87_UNDEFINED,
};

typedef struct vm_x87_access {
  uint8_t kind;  ///< VM_X87_LOAD and so on
  uint8_t size;  ///< in bytes, 0 where the operand size decides
} vm_x87_access;

/// The memory operand of an instruction: `sub` is (opcode & 7) << 8 | ModRM, with mod != 3.
vm_x87_access vm_x87_memory(uint32_t sub);

/// Runs an instruction with a memory source of VM_X87_LOAD, already read to `operand`.
void vm_x87_run_load(vm_cpu_state *s, uint32_t sub, const void *operand);

/// A memory destination in three steps, so that the store may fault in between.
typedef struct vm_x87_store {
  uint8_t bytes[16];
  uint16_t raised;   ///< status bits to set
  uint8_t writes;    ///< 0: an unmasked exception keeps memory as it is
  uint8_t pops;
} vm_x87_store;
vm_x87_store vm_x87_prepare_store(vm_cpu_state *s, uint32_t sub);
void vm_x87_finish_store(vm_cpu_state *s, const vm_x87_store *store);

/// Runs an instruction with register operands. FCOMI and FCMOV take and give ZF PF CF through `flags` (EFLAGS bits).
/// 0: it is undefined (#UD). 1: done. 2: done, and `flags` has changed.
int vm_x87_run_register(vm_cpu_state *s, uint32_t sub, uint64_t *flags);

void vm_x87_init(vm_cpu_state *s);
/// Recomputes ES and B after a change of the control or the status word.
void vm_x87_summarize(vm_cpu_state *s);
/// The full tag word of FSTENV: two bits a physical register.
uint16_t vm_x87_tag_word(const vm_cpu_state *s);
void vm_x87_set_tag_word(vm_cpu_state *s, uint16_t tags);

static inline void vm_x87_clear(vm_cpu_state *s, int r) {
  s->fpr[r & 7].significand = 0;
  s->fpr[r & 7].exponent = 0;
}
VM_NONNULL static inline vm_segment *vm_segment_at(vm_cpu_state *s, uint32_t index) {
  return &s->segments[index & 7];
}

/// ST(i) in the 10 bytes of the memory format.
void vm_x87_get(const vm_cpu_state *s, int i, uint8_t *bytes);
void vm_x87_put(vm_cpu_state *s, int i, const uint8_t *bytes);
#endif
