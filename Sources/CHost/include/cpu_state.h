/// The architectural state of one x86 CPU, and the small structs that the interpreter and a translator's emitted
/// code both touch. One layout for everyone: Swift code reads it through the imported struct.
#ifndef VMCTL_CPU_STATE_H
#define VMCTL_CPU_STATE_H

#include <stdint.h>

/// Slots of `vm_cpu_state.gpr` beyond the sixteen general registers.
enum {
  VM_SLOT_ZERO = 16,  ///< always 0: the base or index of an operand that has none
  VM_SLOT_RIP = 17,   ///< RIP of the first instruction of the running block, the base of RIP-relative operands
  VM_SLOT_COUNT = 20,
};

/// Segment register numbers, in the order of the ModRM encoding, then the two system segments.
enum { VM_ES, VM_CS, VM_SS, VM_DS, VM_FS, VM_GS, VM_LDTR, VM_TR, VM_SEGMENT_COUNT };

/// A segment register with its hidden part.
typedef struct vm_segment {
  uint64_t base;
  uint32_t limit;       ///< in bytes, after granularity: the highest valid offset
  uint16_t selector;
  uint16_t attributes;  ///< descriptor bits 40..55: type 0-3, S 4, DPL 5-6, P 7, AVL 12, L 13, D/B 14, G 15
} vm_segment;

typedef struct vm_table {
  uint64_t base;
  uint32_t limit;
  uint32_t reserved;
} vm_table;

/// A 128-bit vector register. `u64` first so that the alignment is 16.
typedef struct vm_xmm {
  _Alignas(16) uint64_t lo;
  uint64_t hi;
} vm_xmm;

/// An x87 register: 64-bit significand, 16-bit sign and exponent.
typedef struct vm_fpr {
  _Alignas(16) uint64_t significand;
  uint16_t exponent;
  uint16_t reserved[3];
} vm_fpr;

/// One data TLB entry. A tag is the linear page address (low 12 bits zero), or VM_TLB_INVALID.
/// An access of `size` bytes at `linear` hits when `(linear ^ tag) <= 4096 - size`, unsigned: one comparison
/// refuses another page and a page crossing. On a hit the byte is at host address `linear + addend`.
typedef struct vm_tlb_entry {
  uint64_t read_tag;
  uint64_t write_tag;
  uint64_t addend;
  uint64_t physical;  ///< guest-physical page address | VM_TLB_GLOBAL (valid when any tag is)
} vm_tlb_entry;

/// One execute TLB entry.
typedef struct vm_fetch_entry {
  uint64_t tag;
  uint64_t physical;  ///< guest-physical page address | VM_TLB_GLOBAL
  uint64_t host;      ///< host address of the page's first byte; 0 when it is not RAM or ROM
  void *page;         ///< the code cache's record of this physical page, or NULL
} vm_fetch_entry;

/// One entry of the jump cache, where indirect branches find emitted code by RIP, or an inline cache.
typedef struct vm_jump_entry {
  uint64_t tag;   ///< RIP XOR `vm_cpu_state.jump_key`, whose bits are such that no canonical RIP gives 0
  uint64_t code;
  uint64_t page;  ///< RIP of the page's first byte
  /// Of an inline cache only: the branch's visits out of line, whose low byte is counted up to 256; and while it is watched
  /// 1 and how many of them led where the one before did.
  uint32_t visits, repeats;
} vm_jump_entry;

/// A direct branch in emitted code that may be made to lead straight to its target.
typedef struct vm_code_link {
  struct vm_code_link *next;  ///< another branch to the same block
  struct vm_code_link **previous;  ///< what points at this one; NULL while it is not linked
  uint8_t *site;              ///< its 32-bit displacement, in the writable mapping
  uint8_t *unlinked;          ///< where it leads while it is not linked, in the writable mapping
} vm_code_link;

/// `vm_cpu_state.code_exit`: why emitted code was left. Anything else is a vm_code_link.
enum {
  VM_EXIT_INDIRECT,  ///< a target that the jump cache does not hold
  VM_EXIT_ENTRY,     ///< before a block: something pending, no budget, or the block is dead
  VM_EXIT_REFUSED,   ///< before an instruction that the interpreter is to run
  VM_EXIT_CROSSED,    ///< behind an instruction whose page does not hold all that the block's next ones access
  VM_EXIT_STEP,      ///< an interpreted instruction went elsewhere; flags are in lazy form
  VM_EXIT_COUNT,
};

#define VM_TLB_INVALID 0xfff0000000000fffULL
#define VM_TLB_GLOBAL 1ULL
#define VM_TLB_BITS 12
#define VM_TLB_SIZE (1 << VM_TLB_BITS)
#define VM_FETCH_BITS 10
#define VM_FETCH_SIZE (1 << VM_FETCH_BITS)

/// Which translations may be used: `vm_cpu_state.data_tlb` points at one of these sets.
enum { VM_MMU_SUPERVISOR, VM_MMU_SUPERVISOR_SMAP, VM_MMU_USER, VM_MMU_COUNT };

/// Bits of `vm_cpu_state.pending`: reasons to leave the inner loop at the next block boundary.
enum {
  VM_PENDING_INTERRUPT = 1 << 0,   ///< the INTR line is high
  VM_PENDING_NMI = 1 << 1,
  VM_PENDING_INIT = 1 << 2,
  VM_PENDING_SIPI = 1 << 3,
  VM_PENDING_STOP = 1 << 4,        ///< the machine wants this CPU's thread at a safe point
  VM_PENDING_TLB_FLUSH = 1 << 5,   ///< drop every translation (address map or A20 changed)
  VM_PENDING_CODE = 1 << 6,        ///< drop code that DMA or another CPU has overwritten
  VM_PENDING_DEBUG = 1 << 7,       ///< TF, or a data breakpoint was hit: set and cleared by the CPU itself
  VM_PENDING_SHADOW = 1 << 8,      ///< one instruction of interrupt shadow is to be counted out
  VM_PENDING_SECOND_NMI = 1 << 9,  ///< a second NMI waits behind the one of VM_PENDING_NMI
};

/// `vm_cpu_state.activity`.
enum { VM_ACTIVE, VM_HALTED, VM_SHUTDOWN, VM_WAIT_FOR_SIPI };

typedef struct vm_cpu_state {
  uint64_t gpr[VM_SLOT_COUNT];
  uint64_t rip;

  volatile uint32_t pending;   ///< VM_PENDING_*, changed by atomic operations only
  /// While emitted code runs, the arithmetic flags as LAHF and SETO AL leave them in AX, and the lazy ones below are stale.
  uint32_t raw_flags;
  vm_tlb_entry *data_tlb;
  vm_fetch_entry *fetch_tlb;

  /// The translator's own, meaningful only while emitted code runs.
  uint64_t code_page;       ///< RIP of the running page's first byte
  int64_t code_budget;      ///< instructions left
  uint64_t jump_key;        ///< XORed with RIP, tells the entries of the jump cache that are valid now
  struct vm_op *code_left_by;      ///< the indirect branch that VM_EXIT_INDIRECT is about
  uint64_t code_exit;       ///< VM_EXIT_*, or the address of the vm_code_link that was not linked yet
  void *owner;              ///< the CPU object
  uint32_t vector_ready;    ///< the host's XMM registers and MXCSR are the guest's
  uint32_t vectors_allowed; ///< they may be: SSE is on and its exceptions are masked
  uint32_t host_mxcsr;      ///< what the host runs under otherwise
  uint32_t x87_ready;       ///< the host's x87 state is the guest's
  uint32_t x87_allowed;     ///< it may be
  uint32_t micro_used;      ///< byte n is not 0: the micro-TLB's set n may hold something
  uint32_t micro_locals;    ///< entries of the micro-TLB that its list names
  uint32_t micro_exhausted; ///< not 0: an entry of the micro-TLB, by its displacement, that has been filled too often
  uint32_t plain_segments;  ///< bit n: segment register n has no limit to check and may be written
  /// The INTR line was seen high while interrupts were disabled; VM_PENDING_INTERRUPT is posted again when IF is set. Not
  /// saved: the interrupt controller's line is looked at anew.
  uint32_t interrupt_waiting;
  uint32_t translation_drops; ///< counts the times that translations were dropped or lost rights
  uint32_t cache_due; ///< not 0: an inline cache, by its displacement, of VM_EXIT_INDIRECT's branch, that is to be judged

  /// Lazy arithmetic flags. `flag_result` is the last result sign-extended to 64 bits: ZF, SF and PF come from it.
  /// `flag_carries` is the carry-out vector of the operation, shifted so that the carry out of the top bit is bit 63
  /// and the carry into it is bit 62 (CF = bit 63, OF = bit 63 ^ bit 62); the carry out of bit 3 (AF) is kept at bit 3.
  /// `flag_parity` is XORed into the low byte of the result before PF is taken, `flag_sign` into bit 63 of the result
  /// before SF is: both are 0 except after an explicit write of flags, so that any combination can be expressed.
  uint64_t flag_result;
  uint64_t flag_carries;
  uint64_t flag_parity;
  uint64_t flag_sign;
  uint64_t eflags;       ///< everything but CF PF AF ZF SF OF, whose bits are 0 here; bit 1 is 1

  uint32_t mode;         ///< VM_MODE_*: what decoded code depends on
  uint32_t cpl;
  uint32_t activity;
  uint32_t mmu;          ///< index of the current TLB set
  uint32_t nmi_blocked;
  uint32_t shadow;       ///< 1: interrupts are held off for one instruction (after STI, MOV SS, POP SS)
  uint32_t startup_vector;
  uint64_t instructions; ///< retired, counted per block

  vm_segment segments[VM_SEGMENT_COUNT];
  vm_table gdtr, idtr;
  uint64_t cr0, cr2, cr3, cr4, efer, xcr0;
  uint64_t dr[8];        ///< 4 and 5 unused
  uint64_t pdpte[4];     ///< loaded with CR3 in PAE paging (Intel SDM vol. 3A, 4.4.1)
  uint64_t a20_mask;     ///< ANDed to every physical address

  uint64_t star, lstar, cstar, sfmask, kernel_gs_base, tsc_aux;
  uint64_t sysenter_cs, sysenter_esp, sysenter_eip;
  uint64_t pat, apic_base, misc_enable, tsc_offset, debugctl, mcg_status;
  uint64_t mtrr_def_type, mtrr_fixed[11], mtrr_base[8], mtrr_mask[8];

  /// x87 as FXSAVE shows it, except that registers are by physical number: ST(i) is fpr[(top + i) & 7].
  vm_fpr fpr[8];
  uint16_t fpu_control, fpu_status;  ///< TOP is bits 11-13 of fpu_status
  uint16_t fpu_opcode;
  uint8_t fpu_empty;                 ///< bit n: physical register n is empty
  uint8_t fpu_reserved;
  uint64_t fpu_ip, fpu_dp;
  uint16_t fpu_cs, fpu_ds;
  uint32_t mxcsr;
  vm_xmm xmm[16];

  /// Where a page of guest memory is on the host, less its linear address, for the accesses that emitted code has checked
  /// together by way of the data TLB.
  uint64_t window_addends[8];
  /// The same for the accesses of a loop that move by a constant each turn, plus what does not change of their addresses.
  uint64_t stride_pointers[8];
  /// Turns of that loop until they are checked again.
  uint32_t turns_left;
  uint32_t reserved2;
} vm_cpu_state;

/// `vm_cpu_state.mode`: everything the meaning of code bytes depends on besides the bytes.
enum {
  VM_MODE_CODE16 = 0, VM_MODE_CODE32 = 1, VM_MODE_CODE64 = 2,  ///< bits 0-1: default operand size
  VM_MODE_CODE_MASK = 3,
  VM_MODE_STACK32 = 1 << 2,    ///< SS.B is set (or 64-bit code): the stack pointer is ESP or RSP
  VM_MODE_FLAT = 1 << 3,       ///< no segment check can fail: CS, DS, ES, SS have base 0, limit 4 GiB, are writable; or 64-bit
  VM_MODE_PROTECTED = 1 << 4,  ///< CR0.PE and not virtual-8086
  VM_MODE_V86 = 1 << 5,
  VM_MODE_LONG = 1 << 6,       ///< EFER.LMA (64-bit or compatibility)
  VM_MODE_MMU_SHIFT = 8,       ///< bits 8-9: VM_MMU_*, the TLB set of explicit accesses
};

/// One decoded instruction, as the interpreter runs it and the translator reads it.
typedef struct vm_op {
  uint8_t kind;         ///< which executor case (Swift: OpKind)
  uint8_t form;         ///< VM_FORM_*: how the linear address of the memory operand is had
  uint16_t sub;         ///< meaning depends on kind: a SIMD operation, an x87 opcode, a condition code
  uint16_t offset;      ///< of the first byte, prefixes included, from the start of the block
  uint8_t length;       ///< in bytes, prefixes included
  uint8_t prefixes;     ///< VM_PREFIX_*
  uint8_t reg;          ///< ModRM.reg with REX.R; for 8-bit operands the byte offset into `gpr` (AL 0, CL 8, AH 1)
  uint8_t rm;           ///< register operand when ModRM.mod is 3 (same convention), or opcode register
  uint8_t base, index;  ///< slots of vm_cpu_state.gpr; VM_SLOT_ZERO when absent
  uint8_t scale;        ///< 0-3: index is shifted left by this
  uint8_t segment;      ///< of the memory operand, VM_ES..VM_GS
  uint8_t operand_size; ///< 1, 2, 4, 8 bytes
  uint8_t address_size; ///< 2, 4, 8 bytes
  int64_t disp;         ///< of the memory operand; RIP-relative ones include the distance from the block's start.
                        ///< For a near branch: the mask of the new RIP
  int64_t imm;          ///< immediate, sign-extended; for a near branch the displacement from the block's start
} vm_op;

/// How `vm_op` gives a linear address: no segment to add and no check to make (64- or 32-bit offsets), or the general way.
/// BASED64 adds the base of FS or GS.
enum { VM_FORM_GENERAL, VM_FORM_FLAT64, VM_FORM_FLAT32, VM_FORM_BASED64 };

/// The head of a block of decoded instructions; the vm_ops follow it, then a `vm_links`. As long as two
/// vm_ops.
typedef struct vm_block {
  struct vm_block *next;  ///< in the bucket of its page
  void *page;             ///< the page record it belongs to
  uint32_t mode;          ///< the VM_MODE_* it was decoded for, with VM_BLOCK_REGION
  uint16_t start;         ///< offset in its page
  uint16_t bytes;         ///< of code; more than what is left of the page when the only instruction crosses it
  uint16_t count;         ///< instructions
  uint8_t dead;           ///< overwritten: to be looked up anew
  uint8_t heat;           ///< how often the translator's dispatcher has had it interpreted
  uint8_t crossings;      ///< times that accesses checked together lay in two pages
  uint8_t careful;        ///< that is no surprise: code for it is emitted, too
  uint8_t wanders;        ///< its indirect branch leads to many places: no inline cache for it
  uint8_t refused;        ///< the verifier has refused its code: it is interpreted
  uint64_t code;          ///< emitted code, or 0
  vm_code_link *incoming; ///< branches linked to it
  struct vm_block *older;  ///< translated before it into the same region of code memory
  uint32_t code_bytes;
  uint32_t reserved2;
} vm_block;

/// Where the branch at a block's end goes, filled as it is taken. As long as a vm_op.
typedef struct vm_links {
  vm_block *taken, *next;
  uint64_t reserved[2];
} vm_links;

/// In vm_block.mode: conditional branches may stand within; for the translator alone.
#define VM_BLOCK_REGION 0x80000000u

enum {
  VM_PREFIX_REP = 1, VM_PREFIX_REPNE = 2, VM_PREFIX_LOCK = 4, VM_PREFIX_OPSIZE = 8, VM_PREFIX_REX = 16,
  VM_PREFIX_REX_W = 32, VM_PREFIX_MEMORY = 64,     ///< ModRM names memory (mod != 3)
  VM_PREFIX_SCATTERED = 128, ///< accesses many pages: the translator's remark
};

#endif
