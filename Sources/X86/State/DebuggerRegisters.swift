import CHost

/// A register as a debugger names it.
public enum DebuggerRegister: Hashable, Sendable {
  /// RAX RCX RDX RBX RSP RBP RSI RDI R8 to R15: 8 bytes.
  case general(Int)
  /// RIP, 8 bytes: the offset in the code segment.
  case instructionPointer
  /// The linear address of the next instruction, 8 bytes.
  case linearInstructionPointer
  /// RFLAGS, 8 bytes.
  case flags
  /// The selector in ES CS SS DS FS GS (0 to 5), 2 bytes.
  case selector(Int)
  /// The base address of the same, 8 bytes.
  case segmentBase(Int)
  /// ST(0) to ST(7), 10 bytes.
  case st(Int)
  /// FCTRL FSTAT FTAG FISEG FIOFF FOSEG FOOFF FOP as GDB numbers them: 4 bytes.
  case x87(Int)
  /// XMM0 to XMM15, 16 bytes.
  case xmm(Int)
  /// MXCSR, 4 bytes.
  case mxcsr
  /// CR0 CR2 CR3 CR4 CR8, 8 bytes.
  case control(Int)
  /// IA32_EFER and IA32_KERNEL_GS_BASE, 8 bytes.
  case efer, kernelGSBase
}

/// Registers for a debugger. To be used while the CPU is at rest.
extension CPU {
  /// The register's bytes, least significant first; empty for one that there is not.
  public func debuggerRead(_ register: DebuggerRegister) -> [UInt8] {
    func bytes<T: FixedWidthInteger>(_ value: T) -> [UInt8] { withUnsafeBytes(of: value.littleEndian) { Array($0) } }
    let state = s.pointee
    switch register {
    case .general(let number): return bytes(slots[number])
    case .instructionPointer: return bytes(state.rip)
    case .linearInstructionPointer: return bytes(codeLinear)
    case .flags: return bytes(flagsImage())
    case .selector(let number): return bytes(segmentRegister(number).pointee.selector)
    case .segmentBase(let number): return bytes(segmentRegister(number).pointee.base)
    case .st(let number):
      var value = [UInt8](repeating: 0, count: 16)
      value.withUnsafeMutableBufferPointer { vm_x87_get(s, Int32(number), $0.baseAddress!) }
      return Array(value[..<10])
    case .x87(let number): return bytes(x87Control(number))
    case .xmm(let number):
      let value = vm_xmm_at(s, UInt32(number)).pointee
      return bytes(value.lo) + bytes(value.hi)
    case .mxcsr: return bytes(state.mxcsr)
    case .control(0): return bytes(state.cr0)
    case .control(2): return bytes(state.cr2)
    case .control(3): return bytes(state.cr3)
    case .control(4): return bytes(state.cr4)
    case .control(8): return bytes(UInt64(environment.taskPriority))
    case .control: return []
    case .efer: return bytes(state.efer)
    case .kernelGSBase: return bytes(state.kernel_gs_base)
    }
  }

  private func x87Control(_ number: Int) -> UInt32 {
    let state = s.pointee
    switch number {
    case 0: return UInt32(state.fpu_control)
    case 1: return UInt32(state.fpu_status)
    // The full tag word (Intel SDM vol. 1, 8.1.7) from the one bit that is kept: 3 is empty, 0 stands for all else.
    case 2: return (0..<8).reduce(0) { $0 | (state.fpu_empty >> UInt8($1) & 1 != 0 ? 3 << UInt32($1 * 2) : 0) }
    case 3: return UInt32(state.fpu_cs)
    case 4: return UInt32(truncatingIfNeeded: state.fpu_ip)
    case 5: return UInt32(state.fpu_ds)
    case 6: return UInt32(truncatingIfNeeded: state.fpu_dp)
    default: return UInt32(state.fpu_opcode & 0x7ff)
    }
  }

  /// Changes a register. Those whose change means more than itself (selectors, control registers) are the guest's alone.
  /// - Parameter value: as `debuggerRead` gives it; what is missing above counts as zeros.
  /// - Returns: false when the register cannot be changed, or not so; then nothing has changed.
  public func debuggerWrite(_ register: DebuggerRegister, _ value: [UInt8]) -> Bool {
    let word = value.prefix(8).enumerated().reduce(UInt64(0)) { $0 | UInt64($1.element) << UInt64($1.offset * 8) }
    let half = UInt32(truncatingIfNeeded: word)
    switch register {
    case .general(let number): slots[number] = word
    case .instructionPointer: return setInstructionPointer(word)
    case .linearInstructionPointer:
      return setInstructionPointer(isCode64 ? word : (word &- segmentRegister(Seg.cs).pointee.base) & 0xffff_ffff)
    case .flags:
      setFlags(word, mask: EFLAGS.defined & ~EFLAGS.vm)
      updateMode()
      updateDebug()
      recheckInterrupts()
    case .segmentBase(let number):
      guard isLongMode, number >= Seg.fs, CPU.isCanonical(word) else {
        return word == segmentRegister(number).pointee.base
      }
      segmentRegister(number).pointee.base = word
    case .st(let number):
      guard value.count >= 10 else { return false }
      value.withUnsafeBufferPointer { vm_x87_put(s, Int32(number), $0.baseAddress!) }
    case .xmm(let number):
      let high = value.dropFirst(8).prefix(8).enumerated().reduce(UInt64(0)) {
        $0 | UInt64($1.element) << UInt64($1.offset * 8)
      }
      vm_xmm_at(s, UInt32(number)).pointee = vm_xmm(lo: word, hi: high)
    case .mxcsr:
      guard half >> 16 == 0 else { return false }
      s.pointee.mxcsr = half
    case .kernelGSBase:
      guard CPU.isCanonical(word) else { return false }
      s.pointee.kernel_gs_base = word
    case .selector, .x87, .control, .efer:
      // A debugger that writes all registers back has changed none of these.
      let now = debuggerRead(register)
      return now.starts(with: value.prefix(now.count))
    }
    return true
  }

  private func setInstructionPointer(_ value: UInt64) -> Bool {
    guard isCode64 ? CPU.isCanonical(value) : value >> 32 == 0 else { return false }
    s.pointee.rip = value
    s.pointee.shadow = 0
    latches.isWithinRepeat = false
    return true
  }

  /// The guest-physical address that `linear` has in the CPU's present address space, whatever the rights; nil: none.
  public func debuggerPhysical(_ linear: UInt64) -> UInt64? { probe(isLongMode ? linear : linear & 0xffff_ffff) }

  /// Whether the CPU runs instructions now: it is not halted, shut down or waiting for its start.
  public var isActive: Bool { Int(s.pointee.activity) == VM_ACTIVE }
}
