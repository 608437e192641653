import CHost

/// What emitted code calls, and how it is entered and left: emitted once.
extension Translator {
  func emitThunks(_ step: UInt64, _ emptyTag: UInt64) {
    var a = Assembler(cursor: cursor)
    let pushed = [Host.rbx, Host.rbp, Host.r12, Host.r13, Host.r14, Host.r15]
    enterThunk = UnsafeRawPointer(bitPattern: UInt(executable(a.cursor))) ?? enterThunk
    for register in pushed { a.push(register) }
    a.arithmetic(5, .register(Host.rsp), 8, size: 8)
    a.emit(0x8d, Host.rbp, .at(Host.rdi, GuestRegisters.bias), size: 8)
    a.move(Host.r14, Host.rsi)
    fill(&a)
    a.emit(0xff, 4, .register(Host.r14), size: 4)  // jmp r14

    x87StoreThunk = a.cursor
    emitX87Store(&a)
    x87Thunk = a.cursor
    emitX87Load(&a)

    exitThunk = a.cursor
    spill(&a)
    a.arithmetic(7, StateField.x87Ready, 0, size: 4)
    let noX87 = a.jumpIf(Condition.equal)
    a.call(x87StoreThunk)
    Assembler.patch(noX87, a.cursor)
    a.arithmetic(7, StateField.vectorReady, 0, size: 4)
    let noVectors = a.jumpIf(Condition.equal)
    moveVectors(&a, load: false)
    Assembler.patch(noVectors, a.cursor)
    let leave = a.cursor
    a.arithmetic(0, .register(Host.rsp), 8, size: 8)
    for register in pushed.reversed() { a.pop(register) }
    a.byte(0xc3)

    // Two kinds of step: vectors that were loaded before are loaded again after.
    stepThunk = a.cursor
    a.arithmetic(7, StateField.vectorReady, 0, size: 4)
    let withVectors = a.jumpIf(Condition.notEqual)
    emitStepBody(&a, step, vectors: false, reloads: true, leave)
    Assembler.patch(withVectors, a.cursor)
    emitStepBody(&a, step, vectors: true, reloads: true, leave)

    plainStepThunk = a.cursor
    emitStepBody(&a, step, vectors: false, reloads: false, leave)

    vectorThunk = a.cursor
    a.arithmetic(7, StateField.vectorsAllowed, 0, size: 4)
    let refused = a.jumpIf(Condition.equal)
    moveVectors(&a, load: true)
    // ZF is clear: the comparison above was not equal.
    Assembler.patch(refused, a.cursor)
    a.byte(0xc3)

    displacedThunk = a.cursor
    emitDisplaced(&a)
    deadThunk = a.cursor
    emitDeadEntry(&a)
    lookupThunk = a.cursor
    emitLookup(&a)

    walkThunk = a.cursor
    emitWalk(&a)
    for index in 0..<2 * VM_MMU_COUNT {
      fillThunks.append(a.cursor)
      emitMicroFill(&a, set: index / 2, write: index & 1 != 0, emptyTag)
      missThunks.append(a.cursor)
      emitMiss(&a, set: index / 2, write: index & 1 != 0)
    }
    advance(to: a.cursor)
    firstBlock = cursor
  }

  private func spill(_ a: inout Assembler) {
    a.store(StateField.rawFlags, Host.rax, size: 4)
    for (guest, host) in GuestRegisters.resident { a.store(GuestRegisters.slot(guest), host) }
  }

  private func fill(_ a: inout Assembler) {
    for (guest, host) in GuestRegisters.resident { a.load(host, GuestRegisters.slot(guest)) }
    a.load(Host.rax, StateField.rawFlags, size: 4)
  }

  /// Has the interpreter run an instruction; the stack is that of a call from a block.
  ///
  /// - Parameters:
  ///   - vectors: the vector registers are loaded.
  ///   - reloads: what was loaded is loaded again after; else it is only stored.
  private func emitStepBody(
    _ a: inout Assembler, _ step: UInt64, vectors: Bool, reloads: Bool, _ leave: UnsafeMutablePointer<UInt8>
  ) {
    a.arithmetic(5, .register(Host.rsp), 8, size: 8)
    spill(&a)
    if vectors {
      moveVectors(&a, load: false)
    } else if !reloads {
      a.arithmetic(7, StateField.vectorReady, 0, size: 4)
      let noVectors = a.jumpIf(Condition.equal)
      moveVectors(&a, load: false)
      Assembler.patch(noVectors, a.cursor)
    }
    a.emit(0x8d, Host.rdi, .at(GuestRegisters.state, -GuestRegisters.bias), size: 8)
    a.move(Host.rsi, Host.r14)
    a.move(Host.rdx, Host.r15, size: 4)
    if reloads {
      // The word above the return address remembers whether the x87 state is to be loaded again.
      a.load(Host.rax, StateField.x87Ready, size: 4)
      a.store(.at(Host.rsp, 0), Host.rax)
      a.emit(0x85, Host.rax, .register(Host.rax), size: 4)
    } else {
      a.arithmetic(7, StateField.x87Ready, 0, size: 4)
    }
    let noX87 = a.jumpIf(Condition.equal)
    a.call(x87StoreThunk)
    Assembler.patch(noX87, a.cursor)
    a.moveImmediate(Host.rax, step)
    a.emit(0xff, 2, .register(Host.rax), size: 4)  // call rax
    a.emit(0x85, Host.rax, .register(Host.rax), size: 4)
    let goesOn = a.jumpIf(Condition.equal)
    a.arithmetic(0, .register(Host.rsp), 16, size: 8)
    a.arithmetic(7, .register(Host.rax), 1, size: 8)
    a.jump(to: leave, if: Condition.equal)
    // The code of another block.
    a.move(Host.r14, Host.rax)
    fill(&a)
    a.emit(0xff, 4, .register(Host.r14), size: 4)  // jmp r14
    Assembler.patch(goesOn, a.cursor)
    if vectors { moveVectors(&a, load: true) }
    if reloads {
      a.arithmetic(7, .at(Host.rsp, 0), 0, size: 4)
      let stays = a.jumpIf(Condition.equal)
      a.call(x87Thunk)
      Assembler.patch(stays, a.cursor)
    }
    fill(&a)
    a.arithmetic(0, .register(Host.rsp), 8, size: 8)
    a.byte(0xc3)
  }

  /// The guest's XMM registers and MXCSR from the state to the host's, or back. Flags are left alone.
  private func moveVectors(_ a: inout Assembler, load: Bool) {
    for number in 0..<16 {
      let place = HostOperand.at(GuestRegisters.state, StateField.xmm + number * 16 - GuestRegisters.bias)
      a.emit(load ? 0x0f28 : 0x0f29, UInt8(number), place, size: 4)
    }
    if load {
      a.emit(0x0fae, 2, StateField.mxcsr, size: 4)
    } else {
      a.emit(0x0fae, 3, StateField.mxcsr, size: 4)
      a.emit(0x0fae, 2, StateField.hostMXCSR, size: 4)
    }
    a.emit(0xc7, 0, StateField.vectorReady, size: 4)
    a.word32(load ? 1 : 0)
  }
}
