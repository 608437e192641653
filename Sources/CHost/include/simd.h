/// MMX and SSE to SSE4.2, executed by the host's own instructions: one table row and one tiny stub an instruction.
/// (Intel SDM vol. 2: instruction reference; vol. 1, chapters 9 to 12.)
#ifndef VMCTL_SIMD_H
#define VMCTL_SIMD_H

#include <stdint.h>
#include "cpu_state.h"

/// Imported by Swift as a pointer that needs no unwrapping.
#define VM_NONNULL __attribute__((returns_nonnull))

/// `vm_simd_row.shape`: where an instruction's operands are. X is an XMM register, P an MMX register, G a general
/// register; the second letter is the operand that may be memory.
enum {
  VM_SIMD_XX,           ///< xmm[reg] = f(xmm[reg], xmm[rm] or memory)
  VM_SIMD_LOAD,         ///< like XX, but a memory operand replaces the register, zero-extended
  VM_SIMD_STORE,        ///< the low bytes of xmm[reg] to memory, or xmm[rm] = f(xmm[rm], xmm[reg])
  VM_SIMD_STORE_HIGH,   ///< the high half of xmm[reg] to memory
  VM_SIMD_PP,           ///< mm[reg] = f(mm[reg], mm[rm] or memory)
  VM_SIMD_PSTORE,       ///< mm[reg] to memory or mm[rm]
  VM_SIMD_XP, VM_SIMD_PX,
  VM_SIMD_XG, VM_SIMD_PG,  ///< from a general register or memory
  VM_SIMD_GX, VM_SIMD_GP,  ///< gpr[reg] = f(xmm[rm] or memory), mm[rm]
  VM_SIMD_EX, VM_SIMD_EP,  ///< gpr[rm] or memory = f(xmm[reg]), mm[reg]
  VM_SIMD_XI, VM_SIMD_PI,  ///< xmm[rm] = f(xmm[rm], immediate), mm[rm]
  VM_SIMD_FLAGS,        ///< ZF PF CF (and OF SF AF, cleared) = f(xmm[reg], xmm[rm] or memory)
  VM_SIMD_BLENDV,       ///< XX with xmm[0] as third source
  VM_SIMD_STRINGS,      ///< PCMPESTRI, PCMPESTRM, PCMPISTRI, PCMPISTRM
  VM_SIMD_MASKMOVQ, VM_SIMD_MASKMOVDQU,
  VM_SIMD_CRC32,
  VM_SIMD_MOVNTI,
  VM_SIMD_EMMS,
  VM_SIMD_FXSAVE, VM_SIMD_FXRSTOR, VM_SIMD_LDMXCSR, VM_SIMD_STMXCSR, VM_SIMD_XSAVE, VM_SIMD_XRSTOR, VM_SIMD_XSAVEOPT,
  VM_SIMD_FENCE, VM_SIMD_CLFLUSH,
};

/// `vm_simd_row.flags`
enum {
  VM_SIMD_ALIGNED = 1,       ///< a 16-byte memory operand must be aligned: else #GP(0)
  VM_SIMD_FLOAT = 2,         ///< runs under the guest's MXCSR and may raise #XM
  VM_SIMD_IMMEDIATE = 4,     ///< an imm8 follows
  VM_SIMD_APPROXIMATE = 8,   ///< runs under a fixed MXCSR, raises nothing
  VM_SIMD_MEMORY_ONLY = 16,
  VM_SIMD_REGISTER_ONLY = 32,
  VM_SIMD_SINGLE_RESULT = 64,   ///< the result's elements are single: for the tiny-result rule of unmasked underflow
  VM_SIMD_DOUBLE_RESULT = 128,
};

typedef struct vm_simd_row {
  const char *name;
  const void *code;     ///< the stub; with an immediate, the first of 256 stubs
  uint8_t map;          ///< 1: 0F, 2: 0F38, 3: 0F3A
  uint8_t opcode;
  uint8_t prefix;       ///< 0 none, 1: 66, 2: F3, 3: F2
  uint8_t shape;        ///< VM_SIMD_XX and so on
  uint8_t size;         ///< of the memory operand, in bytes
  uint8_t flags;        ///< VM_SIMD_ALIGNED and so on
  uint8_t group;        ///< ModRM.reg that selects this row, or 0xff
  uint8_t rex_w;        ///< 0: REX.W does not matter, 1: row of W = 0, 2: row of W = 1
  uint8_t stride;       ///< bytes from one immediate's stub to the next
  uint8_t lanes;        ///< float result elements written
} vm_simd_row;

/// All rows; `vm_op.sub` of a SIMD instruction is an index into it.
VM_NONNULL const vm_simd_row *vm_simd_rows(void);
int vm_simd_row_count(void);

/// `*dst = f(*dst, *src)`. `immediate` is ignored by rows that have none.
void vm_simd_run(const vm_simd_row *row, vm_xmm *dst, const vm_xmm *src, uint8_t immediate);
/// The same under `mxcsr` with all exceptions masked; the exception flags (bits 0-5) that the operation raised,
/// possibly with some that were set in `mxcsr`.
uint32_t vm_simd_run_float(const vm_simd_row *row, vm_xmm *dst, const vm_xmm *src, uint8_t immediate, uint32_t mxcsr);
/// RCPPS and its kin: a fixed environment, so that the result is the same on every host.
void vm_simd_run_approximate(const vm_simd_row *row, vm_xmm *dst, const vm_xmm *src);
/// BLENDVPS, BLENDVPD, PBLENDVB.
void vm_simd_run_blend(const vm_simd_row *row, vm_xmm *dst, const vm_xmm *src, const vm_xmm *mask);

/// Registers by number, without the tuples that Swift sees arrays as.
VM_NONNULL static inline vm_xmm *vm_xmm_at(vm_cpu_state *s, uint32_t index) { return &s->xmm[index & 15]; }
VM_NONNULL static inline uint64_t *vm_mmx_at(vm_cpu_state *s, uint32_t index) {
  return &s->fpr[index & 7].significand;
}
static inline void vm_mmx_mark(vm_cpu_state *s, uint32_t index) { s->fpr[index & 7].exponent = 0xffff; }
VM_NONNULL static inline uint64_t *vm_gpr_at(vm_cpu_state *s, uint32_t index) { return &s->gpr[index & 15]; }

/// LFENCE, MFENCE and SFENCE, the strongest for all.
static inline void vm_full_fence(void) { __atomic_thread_fence(__ATOMIC_SEQ_CST); }

/// The image of FXSAVE and the XSAVE header (Intel SDM vol. 1, 10.5.1 and 13.4).
typedef struct vm_fx_image {
  _Alignas(16) uint64_t words[72];
} vm_fx_image;
/// The image as bytes; the image must outlive their use.
VM_NONNULL static inline uint8_t *vm_fx_bytes(vm_fx_image *image) { return (uint8_t *)image->words; }

typedef struct vm_simd_string_result {
  uint64_t index;  ///< ECX of the index forms
  uint64_t flags;  ///< the host's EFLAGS after the instruction
} vm_simd_string_result;

/// The string compares. Lengths are EAX and EDX of the explicit forms; `mask` receives XMM0 of the mask forms.
vm_simd_string_result vm_simd_run_strings(
  const vm_simd_row *row, const vm_xmm *a, const vm_xmm *b, uint8_t immediate, int32_t length_a, int32_t length_b,
  vm_xmm *mask);
#endif
