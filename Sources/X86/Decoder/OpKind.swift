/// Which case of the executor's switch runs a `vm_op` (`vm_op.kind`).
///
/// Names: R register, M memory, I immediate, destination first; the number is the width in bits; a final `n` means
/// that no flags are written because the next instruction overwrites them all. The rest are families whose functions
/// look at the operands themselves. Runs that `Lowering` counts through (width 32 then 64; RR, RI, RM) must stay in
/// order.
enum OpKind: UInt8 {
  // Ends of blocks
  case leave  // overwritten code: look the address up again
  case fallThrough  // the block ended for want of room; a vm_links follows
  case undefined, tooLong
  case nop

  // Arithmetic, in the order rr, ri, rm
  case addRR32, addRR64, addRI32, addRI64, addRM32, addRM64
  case orRR32, orRR64, orRI32, orRI64, orRM32, orRM64
  case andRR32, andRR64, andRI32, andRI64, andRM32, andRM64
  case subRR32, subRR64, subRI32, subRI64, subRM32, subRM64
  case xorRR32, xorRR64, xorRI32, xorRI64, xorRM32, xorRM64
  case cmpRR32, cmpRR64, cmpRI32, cmpRI64, cmpRM32, cmpRM64
  case addRR32n, addRR64n, addRI32n, addRI64n
  case orRR32n, orRR64n, orRI32n, orRI64n
  case andRR32n, andRR64n, andRI32n, andRI64n
  case subRR32n, subRR64n, subRI32n, subRI64n
  case xorRR32n, xorRR64n, xorRI32n, xorRI64n
  case cmpMR32, cmpMR64, cmpMI32, cmpMI64
  case testRR32, testRR64, testRI32, testRI64, testMI32, testMI64
  case cmpRR8, cmpRI8, cmpMI8, cmpRM8, testRR8, testRI8, testMI8
  case inc32, inc64, dec32, dec64
  case zero32  // xor of a register with itself
  case alu8, alu16, alu32, alu64
  case test
  case incdec, not, neg

  // Moves
  case movRR32, movRR64, movRI32, movRI64
  case movRM32, movRM64, movMR32, movMR64, movMI32, movMI64
  case movRR8, movRM8, movMR8, movMI8, movRI8, movRM16, movMR16, movMI16, movRR16, movRI16
  case movzxR8, movzxR16, movzxM8, movzxM16
  case movsxR8, movsxR16, movsxM8, movsxM16  // to 32 bits
  case movsxdR, movsxdM
  case extend  // the other widths of movzx and movsx
  case lea32, lea64, lea16
  case cmov32, cmov64, cmov
  case setccR, setccM
  case cbw, cwd
  case xchg, xadd, cmpxchg, cmpxchg8b, cmpxchg16b, bswap, movbe, xlat

  // Stack
  case push64, pop64, pushImmediate64, push, pop, pushAll, popAll, enter, leaveFrame

  // Shifts, multiplication, bits
  case shlRI32, shlRI64, shrRI32, shrRI64, sarRI32, sarRI64
  case shlRI32n, shlRI64n, shrRI32n, shrRI64n, sarRI32n, sarRI64n
  case shift, doubleShift
  case imulRR32, imulRR64, imul, multiply, divide
  case bitTest, bitScan, popcnt

  // Decimal, flags, others
  case decimal, loadFlags, storeFlags, flag, bound, wait

  // Control transfer: each ends its block
  case jo, jno, jb, jae, je, jne, jbe, ja, js, jns, jp, jnp, jl, jge, jle, jg
  case jmp, call64, call, ret64, ret, jmpR64, callR64, jmpIndirect, callIndirect, loop, jcxz

  // Strings
  case movs, stos, lods, scas, cmps

  case x87, simd, system
}

extension OpKind {
  /// `vm_op.kind` is only ever written from an OpKind, so every value there is a case.
  @inline(__always)
  init(trusted raw: UInt8) { self = unsafeBitCast(raw, to: OpKind.self) }
}
