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
  /// After a run: the x86 vector that ended it (3 for the INT3 that follows the code), and the faulting address.
  uint32_t vector;
  uint64_t fault_address;
} oracle_state;

/// Maps `size` bytes at exactly `address` (below 4 GiB), readable, writable and executable. 0 on success.
int oracle_map(uint64_t address, size_t size);

/// Sets the registers, jumps to `state->rip`, and comes back at the first trap or fault with the registers as they are
/// then. With `compat` the code runs in a 32-bit code segment. 0 on success, -1 when the host refused.
int oracle_run(oracle_state *state, int compat);
#endif
