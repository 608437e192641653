import CHost

/// Where guest registers are while emitted code runs.
///
/// RAX keeps flags (LAHF) or a temporary, R14 and R15 are temporaries, RBP points 128 bytes into the CPU's state so that
/// most of what is needed lies within 8-bit displacements, RSP is the host's stack. Guest RCX, RDX, RBX, RSI and RDI are
/// themselves. R10, R11, R13, R14 and R15 of the guest stay in the state, but for the loops of `LoopBodies`: compilers take
/// R8 and R9 before them in functions that call no other, and R12 in those that do.
enum GuestRegisters {
  static let bias = 128
  static let state = Host.rbp
  static let first = Host.r14
  static let second = Host.r15

  /// Numbers of guest registers that instructions use without naming them.
  static let rax: UInt8 = 0
  static let rcx: UInt8 = 1
  static let rdx: UInt8 = 2
  static let rsp: UInt8 = 4
  static let rbp: UInt8 = 5

  /// Guest register and its host register.
  static let resident: [(guest: UInt8, host: UInt8)] = [
    (0, Host.r11), (1, Host.rcx), (2, Host.rdx), (3, Host.rbx), (4, Host.r12), (5, Host.r13), (6, Host.rsi),
    (7, Host.rdi), (8, Host.r8), (9, Host.r9), (12, Host.r10),
  ]

  @inline(__always)
  static func slot(_ guest: UInt8) -> HostOperand { .at(state, Int(guest) * 8 - bias) }

  @inline(__always)
  static func field<T>(_ path: KeyPath<vm_cpu_state, T>) -> HostOperand {
    .at(state, MemoryLayout<vm_cpu_state>.offset(of: path)! - bias)
  }
}

/// Which host register each guest register is in.
struct RegisterHomes {
  /// Host register numbers; `Host.none` for those in the state.
  private var hosts = SIMD16<UInt8>(repeating: Host.none)

  /// Wherever blocks begin and end, and in the interpreter's view.
  static let usual = {
    var homes = RegisterHomes()
    for (guest, host) in GuestRegisters.resident { homes.hosts[Int(guest)] = host }
    return homes
  }()

  /// nil for a guest register in the state, and for what is no whole register.
  @inline(__always)
  func host(_ guest: UInt8) -> UInt8? {
    guard guest < 16 else { return nil }
    let host = hosts[Int(guest)]
    return host == Host.none ? nil : host
  }

  /// `guest` takes over the host register of `other`, which goes to the state.
  mutating func exchange(_ guest: UInt8, for other: UInt8) {
    hosts[Int(guest & 15)] = hosts[Int(other & 15)]
    hosts[Int(other & 15)] = Host.none
  }

  /// `guest` goes to the state; what its host register is for then is no guest register.
  mutating func park(_ guest: UInt8) { hosts[Int(guest & 15)] = Host.none }
}

/// Fields of the state that emitted code touches.
enum StateField {
  static let pending = GuestRegisters.field(\.pending)
  static let rawFlags = GuestRegisters.field(\.raw_flags)
  static let rip = GuestRegisters.field(\.rip)
  static let page = GuestRegisters.field(\.code_page)
  static let budget = GuestRegisters.field(\.code_budget)
  static let jumpKey = GuestRegisters.field(\.jump_key)
  static let leftBy = GuestRegisters.field(\.code_left_by)
  static let exit = GuestRegisters.field(\.code_exit)
  static let vectorReady = GuestRegisters.field(\.vector_ready)
  static let vectorsAllowed = GuestRegisters.field(\.vectors_allowed)
  static let x87Ready = GuestRegisters.field(\.x87_ready)
  static let x87Allowed = GuestRegisters.field(\.x87_allowed)
  static let plainSegments = GuestRegisters.field(\.plain_segments)
  static let x87Control = GuestRegisters.field(\.fpu_control)
  static let x87Status = GuestRegisters.field(\.fpu_status)
  static let x87Empty = GuestRegisters.field(\.fpu_empty)
  static let x87Opcode = GuestRegisters.field(\.fpu_opcode)
  static let x87Instruction = GuestRegisters.field(\.fpu_ip)
  static let x87Data = GuestRegisters.field(\.fpu_dp)
  static let x87CodeSegment = GuestRegisters.field(\.fpu_cs)
  static let x87DataSegment = GuestRegisters.field(\.fpu_ds)
  static let hostMXCSR = GuestRegisters.field(\.host_mxcsr)
  static let mxcsr = GuestRegisters.field(\.mxcsr)
  static let microLocals = GuestRegisters.field(\.micro_locals)
  /// The byte of a set in `micro_used`.
  static func microUsed(_ set: Int) -> HostOperand {
    .at(GuestRegisters.state, MemoryLayout<vm_cpu_state>.offset(of: \.micro_used)! + set - GuestRegisters.bias)
  }
  static let microExhausted = GuestRegisters.field(\.micro_exhausted)
  static let segments = MemoryLayout<vm_cpu_state>.offset(of: \vm_cpu_state.segments)!
  /// The place of a segment register's selector.
  static func selector(_ segment: Int) -> HostOperand {
    let field = MemoryLayout<vm_segment>.offset(of: \.selector)! - GuestRegisters.bias
    return .at(GuestRegisters.state, segments + segment * MemoryLayout<vm_segment>.stride + field)
  }
  /// Where the addend of accesses checked together is kept.
  static func windowAddend(_ index: Int) -> HostOperand {
    let addends = MemoryLayout<vm_cpu_state>.offset(of: \vm_cpu_state.window_addends)!
    return .at(GuestRegisters.state, addends + 8 * index - GuestRegisters.bias)
  }
  static let xmm = MemoryLayout<vm_cpu_state>.offset(of: \vm_cpu_state.xmm)!
  static let turnsLeft = GuestRegisters.field(\.turns_left)
  /// Where a stride's pointer is kept.
  static func stridePointer(_ index: Int) -> HostOperand {
    let pointers = MemoryLayout<vm_cpu_state>.offset(of: \vm_cpu_state.stride_pointers)!
    return .at(GuestRegisters.state, pointers + 8 * index - GuestRegisters.bias)
  }
}
