/// Runs a few user-mode instructions on the host's own CPU and tells what they left behind: the reference that the
/// interpreter (and a translator) is compared with.
#ifndef CNATIVEORACLE_H
#define CNATIVEORACLE_H
#include <stdint.h>
#include <stddef.h>

/// Registers before and after. General registers in ModRM order (RAX RCX RDX RBX RSP RBP RSI RDI R8..R15).
typedef struct oracle_state {
  uint64_t gpr[16];
  uint64_t rip;
  uint64_t flags;
  /// The FXSAVE image (64-bit form): x87, MXCSR and XMM0-15.
  _Alignas(16) uint8_t fxsave[512];
  /// After a run: the x86 vector that ended it (3 for the INT3 that follows the code), its error code, and the
  /// faulting address. ORACLE_ENDLESS when the code was stopped because it went on and on.
  uint32_t vector;
  uint32_t error;
  uint64_t fault_address;
  /// Selectors, before: set by the runs themselves; after: what the code left.
  uint16_t cs, ss, ds, es;
} oracle_state;

enum { ORACLE_ENDLESS = 0xffff };

/// The selectors that the host's kernel gives to its processes: the same for 20 years of x86-64 Linux.
enum { ORACLE_CODE32 = 0x23, ORACLE_DATA = 0x2b, ORACLE_CODE64 = 0x33 };

/// Maps `size` bytes at exactly `address` (below 4 GiB), readable and writable, the first `code` of them executable.
/// 0 on success.
int oracle_map(uint64_t address, size_t size, size_t code);

/// Sets the registers, jumps to `state->rip`, and comes back at the first trap or fault with the registers as they are
/// then. With `compat` the code runs in a 32-bit code segment. 0 on success, -1 when the host refused.
int oracle_run(oracle_state *state, int compat);

/// Whether the host's CPU says that it is AMD's (or Hygon's): what the manuals leave undefined differs by vendor.
int oracle_host_is_amd(void);
#endif
