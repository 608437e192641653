import CHost

/// How emitted code gets on when the data TLB does not hold a page: the paging structures are walked and the entry is
/// filled while the guest's registers stay where they are, and the check is tried again. What takes more than that (a
/// fault, a flag to be set in a paging structure, a device) goes to the interpreter.
extension CPU {
  /// Called by emitted code, while registers and flags in the state are stale.
  static let fillFromCode: vm_code_fill = { state, linear, kind in
    let state = state.unsafelyUnwrapped
    let cpu = Unmanaged<CPU>.fromOpaque(state.pointee.owner.unsafelyUnwrapped)
    let filled = cpu._withUnsafeGuaranteedRef {
      $0.fillQuietly(linear, write: kind & 1 != 0, set: Int(truncatingIfNeeded: kind &>> 1))
    }
    return filled ? 1 : 0
  }
}

extension Translator {
  /// Emits `walkThunk`: calls `CPU.fillFromCode` for the linear address in R15 and the kind of access in RCX (twice the
  /// set, plus 1 for a write). RAX: not 0 when that has helped. RCX and flags are lost. Called by thunks that have
  /// pushed two registers, for the stack's alignment.
  func emitWalk(_ a: inout Assembler) {
    let saved = [Host.rdx, Host.rsi, Host.rdi, Host.r8, Host.r9, Host.r10, Host.r11]
    for register in saved { a.push(register) }
    a.arithmetic(5, .register(Host.rsp), 8, size: 8)
    a.emit(0x8d, Host.rdi, .at(GuestRegisters.state, -GuestRegisters.bias), size: 8)
    a.move(Host.rsi, GuestRegisters.second)
    a.move(Host.rdx, Host.rcx, size: 4)
    a.moveImmediate(Host.rax, vm_code_fill_address(CPU.fillFromCode))
    a.arithmetic(7, StateField.vectorReady, 0, size: 4)
    let withVectors = a.jumpIf(Condition.notEqual)
    a.emit(0xff, 2, .register(Host.rax), size: 4)  // call rax
    let done = a.cursor
    a.arithmetic(0, .register(Host.rsp), 8, size: 8)
    for register in saved.reversed() { a.pop(register) }
    a.byte(0xc3)
    // Vector registers belong to the caller, and Swift's code may use them.
    Assembler.patch(withVectors, a.cursor)
    for number in 0..<16 { a.emit(0x0f29, UInt8(number), vectorPlace(number), size: 4) }
    a.emit(0xff, 2, .register(Host.rax), size: 4)  // call rax
    for number in 0..<16 { a.emit(0x0f28, UInt8(number), vectorPlace(number), size: 4) }
    a.jump(to: done)
  }

  private func vectorPlace(_ number: Int) -> HostOperand {
    .at(GuestRegisters.state, StateField.xmm + number * 16 - GuestRegisters.bias)
  }

  /// Emits the function for a check of the data TLB that has failed: R14 is the entry's offset in the set, R15 the
  /// linear address XORed with the tag, and afterwards with the tag that is there then. Flags are lost.
  func emitMiss(_ a: inout Assembler, set: Int, write: Bool) {
    let start = CPU.tlbOffset + set * Int(VM_TLB_SIZE) * MemoryLayout<vm_tlb_entry>.stride + (write ? 8 : 0)
    let tag = HostOperand.memory(
      base: GuestRegisters.state, index: GuestRegisters.first, scale: 0, disp: Int32(start - GuestRegisters.bias))
    a.push(Host.rax)
    a.push(Host.rcx)
    a.arithmetic(7, .register(GuestRegisters.second), 4096, size: 8)
    // The page is there: the access does not lie in it alone.
    let crosses = a.jumpIf(Condition.below)
    a.emit(0x33, GuestRegisters.second, tag, size: 8)
    emitWalkCall(&a, set: set, write: write)
    a.emit(0x33, GuestRegisters.second, tag, size: 8)
    Assembler.patch(crosses, a.cursor)
    a.pop(Host.rcx)
    a.pop(Host.rax)
    a.byte(0xc3)
  }

  func emitWalkCall(_ a: inout Assembler, set: Int, write: Bool) {
    a.moveImmediate(Host.rcx, UInt64(2 * set + (write ? 1 : 0)))
    a.call(walkThunk)
  }
}
