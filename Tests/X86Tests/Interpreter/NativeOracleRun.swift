import CNativeOracle
import Foundation
import Testing

@testable import X86

/// A small generator with a fixed seed, so that a failure can be repeated.
struct SplitMix: RandomNumberGenerator {
  var state: UInt64
  mutating func next() -> UInt64 {
    state &+= 0x9E37_79B9_7F4A_7C15
    var z = state
    z = (z ^ (z >> 30)) &* 0xBF58_476D_1CE4_E5B9
    z = (z ^ (z >> 27)) &* 0x94D0_49BB_1331_11EB
    return z ^ (z >> 31)
  }
}

/// Makes code and state at random, runs them on both CPUs and compares.
struct OracleRun {
  let compat: Bool
  /// MXCSR and the x87 control word leave some exceptions unmasked.
  var unmasksExceptions = false
  /// Now and then TF is set.
  var steps = false
  /// Now and then AC is set.
  var aligns = false
  let machine: NativeOracleMachine
  private var generator: SplitMix
  var window = [UInt8](repeating: 0, count: NativeOracleMachine.windowSize)
  private var round = 0

  init(seed: UInt64, compat: Bool, accelerator: Accelerator = .interpreter) throws {
    self.compat = compat
    try #require(NativeOracleMachine.hostWindow != nil, "the host did not give the window its address")
    machine = try NativeOracleMachine()
    machine.cpu.accelerator = accelerator
    machine.cpu.translationThreshold = 0
    generator = SplitMix(state: seed)
  }

  mutating func random(_ range: ClosedRange<Int>) -> Int { Int.random(in: range, using: &generator) }
  private mutating func next() -> UInt64 { generator.next() }
  private mutating func chance(_ oneIn: UInt64) -> Bool { next() % oneIn == 0 }

  // MARK: Running

  /// Runs `code` with an INT3 behind it from a random state. Records an issue and returns false when the two differ.
  mutating func compare(_ code: [UInt8], _ template: InstructionTemplate) -> Bool {
    compare(
      code, template.name, undefined: template.undefined, undefinedStatus: template.undefinedStatus,
      mayFaultElsewhere: template.mayFaultElsewhere)
  }

  mutating func compare(
    _ code: [UInt8], _ name: String, undefined: UInt64 = 0, undefinedStatus: UInt16 = 0, mayFaultElsewhere: Bool = false
  ) -> Bool {
    NativeOracleMachine.hostWindowLock.lock()
    defer { NativeOracleMachine.hostWindowLock.unlock() }
    round += 1
    let before = initialState()
    let (host, guest) = run(code, from: before)
    if host.vector == UInt32(ORACLE_ENDLESS) && guest.vector == host.vector { return true }
    if mayFaultElsewhere && host.vector != 3 && guest.vector != 3 { return true }
    var differences = difference(host, guest, undefined: undefined, undefinedStatus: undefinedStatus)
    let own = UnsafeRawBufferPointer(start: NativeOracleMachine.hostWindow!, count: window.count)
    if memcmp(own.baseAddress!, machine.guestWindow.baseAddress!, window.count) != 0 {
      for (offset, pair) in zip(own, machine.guestWindow).enumerated() where pair.0 != pair.1 {
        differences.append("memory +\(hex(offset)): host \(hex(pair.0)), guest \(hex(pair.1))")
        break
      }
    }
    if differences.isEmpty { return true }
    Issue.record("\(name) [\(text(code))] compat \(compat) round \(round): \(differences.joined(separator: "; "))")
    return false
  }

  /// The state on both CPUs behind `code`.
  mutating func run(_ code: [UInt8], from before: oracle_state) -> (host: oracle_state, guest: oracle_state) {
    NativeOracleMachine.hostWindowLock.lock()
    defer { NativeOracleMachine.hostWindowLock.unlock() }
    fillData()
    for index in 0..<0x280 { window[index] = 0xCC }
    for (index, byte) in (code + [0xCC, 0xCC]).enumerated() { window[index] = byte }
    // A subroutine for calls.
    for (index, byte) in ([0xFF, 0xC0, 0xC3] as [UInt8]).enumerated() { window[0x200 + index] = byte }
    machine.fillWindow(window)
    var host = before
    oracle_run(&host, compat ? 1 : 0)
    var guest = before
    if !machine.run(&guest, compat: compat) { guest.vector = UInt32(ORACLE_ENDLESS) }
    return (host, guest)
  }

  func text(_ code: [UInt8]) -> String { code.map { hex($0) }.joined(separator: " ") }
  private func hex(_ value: some BinaryInteger) -> String { String(value, radix: 16) }

  // MARK: Code

  /// Registers that an instruction may write without leading later ones astray: not rSP, and seldom an address.
  private mutating func register(chained: Bool) -> UInt8 {
    let low: [UInt8] = chained ? [0, 1, 5] : [0, 1, 2, 3, 5, 6, 7]
    if !compat && chance(3) { return UInt8(random(8...15)) }
    return low[random(0...low.count - 1)]
  }

  mutating func encode(_ template: InstructionTemplate) -> [UInt8] {
    var legacy: [UInt8] = []
    var operandSize = 4
    if template.sizes && chance(3) {
      legacy.append(0x66)
      operandSize = 2
    }
    if template.addresses && chance(10) { legacy.append(0x67) }
    if template.addresses && chance(10) { legacy.append([0x26, 0x2E, 0x36, 0x3E][random(0...3)]) }
    if template.takesOddPrefixes && !template.isChained && chance(12) {
      legacy.append([0xF0, 0xF2, 0xF3][random(0...2)])
    }
    // Prefixes without a meaning, up to and beyond the longest instruction.
    if !template.isChained && chance(40) && (compat || !template.isInvalid64) {
      legacy += [UInt8](repeating: 0x3E, count: random(1...13))
    }
    var rex: UInt8 = 0
    if !compat && (template.wide ?? (template.sizes && chance(2))) {
      rex = 0x40 | (template.wide != nil || chance(2) ? 8 : 0)
      if rex & 8 != 0 { operandSize = 8 }
    }
    let address32 = legacy.contains(0x67) != compat
    let address16 = compat && legacy.contains(0x67)
    var tail: [UInt8] = []
    func operand(_ reg: UInt8, _ memory: Bool, _ this: inout OracleRun) {
      if reg > 7 { rex |= 0x44 }
      let middle = (reg & 7) << 3
      if !memory {
        let rm = this.register(chained: template.isChained)
        if rm > 7 { rex |= 0x41 }
        tail.append(0xC0 | middle | rm & 7)
      } else if address16 {
        // Addresses below 64 KiB: nothing is there, and CR2 tells what was computed.
        tail += [0x40 | middle | UInt8(this.random(0...7)), UInt8(truncatingIfNeeded: this.next())]
      } else {
        switch this.random(0...4) {
        case 0, 1: tail += [0x40 | middle | 3, UInt8(this.random(0...127))]  // [rBX + disp8]
        case 2: tail += [0x44 | middle, UInt8(this.random(0...3)) << 6 | 2 << 3 | 3, UInt8(this.random(0...7) << 4)]
        case 3:  // [rBX + disp32]
          tail += [0x83 | middle] + Self.little(UInt64(bitPattern: Int64(this.random(-64...128))), 4)
        default:
          if !this.compat {
            // [r13 + r14 * scale + disp8]: an address and a small index.
            rex |= 0x43
            tail += [0x44 | middle, UInt8(this.random(0...3)) << 6 | 6 << 3 | 5, UInt8(this.random(0...7) << 4)]
          } else {
            let target = NativeOracleMachine.window + UInt64(NativeOracleMachine.dataOffset + this.random(0...0x100))
            tail += [0x05 | middle] + Self.little(target, 4)  // disp32
          }
        }
      }
    }
    let reg = register(chained: template.isChained)
    switch template.operands {
    case .none: break
    case .any: operand(reg, chance(2), &self)
    case .memory: operand(reg, true, &self)
    case .register: operand(reg, false, &self)
    case .digit(let digit): operand(digit, chance(2), &self)
    case .digitMemory(let digit): operand(digit, true, &self)
    case .digitRegister(let digit): operand(digit, false, &self)
    case .fixed(let modrm): tail.append(modrm)
    }
    for immediate in template.immediates {
      switch immediate {
      case .byte: tail.append(immediateByte(template))
      case .nibble: tail.append(UInt8(random(0...16)))
      case .word: tail += [interestingByte(), interestingByte()]
      case .operandSize: for _ in 0..<min(operandSize, 4) { tail.append(interestingByte()) }
      case .wideOperandSize: for _ in 0..<operandSize { tail.append(interestingByte()) }
      case .selector: tail += [selectors[random(0...selectors.count - 1)], 0]
      case .address: tail += Self.little(dataAddress(), address16 ? 2 : address32 ? 4 : 8)
      }
    }
    if rex != 0 && !template.isChained && chance(30) {
      // A REX prefix that is not right before the opcode does not count: but then the operands are others.
      return legacy + template.prefix + [0x4F, rex] + template.opcode + tail
    }
    return legacy + template.prefix + (rex != 0 ? [rex] : []) + template.opcode + tail
  }

  /// INT 80H is a system call.
  private mutating func immediateByte(_ template: InstructionTemplate) -> UInt8 {
    let byte = interestingByte()
    return template.system == .int && byte == 0x80 ? 0x81 : byte
  }

  /// Those of Linux: null, kernel, 32-bit code, data, 64-bit code, the LDT's, beyond the table.
  private let selectors: [UInt8] = [
    0, 3, 0x10, 0x18, 0x20, 0x23, 0x23, 0x2B, 0x2B, 0x2A, 0x33, 0x33, 0x40, 0x63, 0x0C, 0x83, 0xF3,
  ]

  private static func little(_ value: UInt64, _ count: Int) -> [UInt8] {
    (0..<count).map { UInt8(truncatingIfNeeded: value >> UInt64($0 * 8)) }
  }

  /// A transfer of control that skips, repeats or reaches `body`, and its name.
  mutating func branch(around body: [UInt8]) -> ([UInt8], String) {
    let length = UInt8(body.count)
    switch random(0...8) {
    case 8:
      // jmp rAX, call rAX: to nowhere, or to no address at all.
      return ([0xFF, chance(2) ? 0xE0 : 0xD0] + body, "jmp astray")
    case 0, 1:
      let condition = UInt8(random(0...15))
      return ([0x70 + condition, length] + body, "jcc \(condition)")
    case 2:
      let condition = UInt8(random(0...15))
      return ([0x0F, 0x80 + condition, length, 0, 0, 0] + body, "jcc near \(condition)")
    case 3:
      // The count is small, and the body may change it once only.
      let kind = UInt8(0xE0 + random(0...2))
      return ([0xB9, UInt8(random(1...4)), 0, 0, 0, 0xFF, 0xC0, kind, 0xFC] + body, "loop \(kind)")
    case 4: return ((chance(2) ? [] : [0x67]) + [0xE3, length] + body, "jcxz")
    case 5:
      // call over the body, and pop the return address into rBP.
      return ([0xE8, length, 0, 0, 0] + body + [0x5D], "call")
    case 6:
      // mov eax, subroutine; call eax
      let target = NativeOracleMachine.window + 0x200
      return ([0xB8] + Self.little(target, 4) + [0xFF, 0xD0] + body, "call indirect")
    default:
      // Return to where nothing is.
      return ([0xC3] + body, "ret astray")
    }
  }

  // MARK: State

  private mutating func interestingByte() -> UInt8 {
    let values: [UInt8] = [0, 1, 2, 7, 8, 15, 16, 31, 32, 63, 64, 0x7F, 0x80, 0xFF]
    return chance(2) ? values[random(0...values.count - 1)] : UInt8(truncatingIfNeeded: next())
  }

  private static let interestingValues: [UInt64] = [
    0, 1, 2, 0x7F, 0x80, 0xFF, 0x7FFF, 0x8000, 0xFFFF, 0x7FFF_FFFF, 0x8000_0000, 0xFFFF_FFFF,
    0x7FFF_FFFF_FFFF_FFFF, 0x8000_0000_0000_0000, .max,
    // floating point: one, minus zero, infinity, a NaN, a denormal
    0x3FF0_0000_0000_0000, 0x7FF0_0000_0000_0000, 0x7FF8_0000_0000_0001, 0x7FF0_0000_0000_0001, 0x000F_FFFF_FFFF_FFFF,
    0x3F80_0000_3F80_0000, 0x7F80_0000_8000_0000, 0x7FC0_0001_0000_0001, 0xC2C8_0000_4228_0000, 0x4F00_0000_5F00_0000,
    0x41E0_0000_0000_0000, 0xC3E0_0000_0000_0000,
  ]

  private mutating func interesting() -> UInt64 {
    chance(2) ? Self.interestingValues[random(0...Self.interestingValues.count - 1)] : next()
  }

  mutating func fillData() {
    // Where operands lie, and around the page ends.
    for (start, length) in [(NativeOracleMachine.dataOffset, 0x400), (0x8F40, 0x180), (0xFF40, 0xC0)] {
      for offset in stride(from: start, to: start + length, by: 8) {
        let value = interesting()
        for byte in 0..<8 { window[offset + byte] = UInt8(truncatingIfNeeded: value >> UInt64(byte * 8)) }
      }
    }
  }

  /// An address in the data; now and then one whose operands cross a page, or run into the unmapped one.
  private mutating func dataAddress() -> UInt64 {
    let window = NativeOracleMachine.window
    switch random(0...9) {
    case 0, 1: return window + UInt64(0x9000 - random(0...96))
    case 2: return window + UInt64(0x10000 - random(0...96))
    default: return window + UInt64(NativeOracleMachine.dataOffset + random(0...1) * 0x80)
    }
  }

  mutating func initialState() -> oracle_state {
    var state = oracle_state()
    let data = NativeOracleMachine.window + UInt64(NativeOracleMachine.dataOffset)
    var registers = (0..<16).map { _ in interesting() }
    if chance(3) { registers[0] = registers[0] & ~0xFFFF | UInt64(selectors[random(0...selectors.count - 1)]) }
    registers[1] = chance(2) ? next() % 40 : interesting() & 0x3F  // rCX: counts
    registers[2] = next() % 16  // rDX: an index
    registers[3] = dataAddress()  // rBX: the data
    registers[4] = data + 0x4000
    registers[5] = data + 0x4800
    registers[6] = data + 0x100 + next() % 16
    registers[7] = data + 0x200 + next() % 16
    registers[13] = dataAddress()
    registers[14] = next() % 16
    withUnsafeMutableBytes(of: &state.gpr) { bytes in
      let gpr = bytes.bindMemory(to: UInt64.self)
      for index in 0..<16 { gpr[index] = registers[index] }
      if compat { for index in 0..<16 { gpr[index] &= index < 8 ? 0xFFFF_FFFF : 0 } }
    }
    state.rip = NativeOracleMachine.window
    state.flags = 0x202 | (next() & 0x8D5)
    if chance(8) { state.flags |= 0x400 }
    if steps && chance(16) { state.flags |= 0x100 }
    if aligns && chance(8) { state.flags |= 0x40000 }
    var control = UInt16(0x37F) & ~(UInt16(next() & 3) << 8) | UInt16(next() & 3) << 10
    // MXCSR: rounding, flush to zero, denormals are zeros, flags of before.
    var mxcsr = UInt32(0x1F80) | UInt32(next() & 3) << 13
    if chance(4) { mxcsr |= 0x8000 }
    if chance(4) { mxcsr |= 0x40 }
    if chance(2) { mxcsr |= UInt32(next() & 0x3F) }
    if unmasksExceptions {
      control &= ~UInt16(next() & 0x3F)
      mxcsr &= ~(UInt32(next() & 0x3F) << 7)
    }
    let conditions = UInt16(next() & 0x4700)
    let top = UInt16(next() & 7)
    let full = !chance(4)
    let tags = UInt8(truncatingIfNeeded: next())
    var images: [(UInt64, UInt16)] = []
    for _ in 0..<8 {
      switch random(0...5) {
      case 0: images.append((0x8000_0000_0000_0000, 0x3FFF))
      case 1: images.append((next() | 1 << 63, 0x3FF0 + UInt16(next() % 32)))
      case 2: images.append((0, 0))
      case 3: images.append((next() | 1 << 63, 0xBFF0 + UInt16(next() % 64)))
      case 4: images.append((next(), UInt16(truncatingIfNeeded: next())))  // unnormals, denormals, NaNs
      default: images.append((0x8000_0000_0000_0000, chance(2) ? 0x7FFF : 0xFFFF))
      }
    }
    let vectors = (0..<32).map { _ in interesting() }
    withUnsafeMutableBytes(of: &state.fxsave) { image in
      image.storeBytes(of: control, as: UInt16.self)
      image.storeBytes(of: top << 11 | conditions, toByteOffset: 2, as: UInt16.self)
      image[4] = full ? 0xFF : tags
      image.storeBytes(of: mxcsr, toByteOffset: 24, as: UInt32.self)
      image.storeBytes(of: UInt32(0xFFFF), toByteOffset: 28, as: UInt32.self)
      for (index, value) in images.enumerated() {
        image.storeBytes(of: value.0, toByteOffset: 32 + index * 16, as: UInt64.self)
        image.storeBytes(of: value.1, toByteOffset: 40 + index * 16, as: UInt16.self)
      }
      for index in 0..<(compat ? 16 : 32) {
        image.storeBytes(of: vectors[index], toByteOffset: 160 + index * 8, as: UInt64.self)
      }
    }
    return state
  }

  // MARK: Comparing

  func difference(
    _ host: oracle_state, _ guest: oracle_state, undefined: UInt64, undefinedStatus: UInt16
  ) -> [String] {
    var found: [String] = []
    func check(_ what: @autoclosure () -> String, _ a: UInt64, _ b: UInt64) {
      if a != b { found.append("\(what()): host \(hex(a)), guest \(hex(b))") }
    }
    check("vector", UInt64(host.vector), UInt64(guest.vector))
    check("rip", host.rip, guest.rip)
    if host.vector == 14 && guest.vector == 14 { check("cr2", host.fault_address, guest.fault_address) }
    // Linux calls every fault at a kernel's address one of protection.
    let ignored: UInt32 = host.vector == 14 && host.fault_address >> 47 != 0 ? 1 : 0
    if host.vector == guest.vector && (10...14).contains(host.vector) {
      check("error", UInt64(host.error & ~ignored), UInt64(guest.error & ~ignored))
    }
    check("cs", UInt64(host.cs), UInt64(guest.cs))
    check("ss", UInt64(host.ss), UInt64(guest.ss))
    // The way through the kernel may clear the RPL of a null selector.
    check("ds", UInt64(host.ds < 4 ? 0 : host.ds), UInt64(guest.ds < 4 ? 0 : guest.ds))
    check("es", UInt64(host.es < 4 ? 0 : host.es), UInt64(guest.es < 4 ? 0 : guest.es))
    let mask: UInt64 = 0x25_4FD5 & ~undefined
    // RF between the turns of a repeated instruction: Intel's processors set it, AMD's do not (`VendorDifference`).
    let vendors = mask & ~EFLAGS.rf
    check("flags", host.flags & vendors, guest.flags & vendors)
    withUnsafeBytes(of: host.gpr) { a in
      withUnsafeBytes(of: guest.gpr) { b in
        for index in 0..<(compat ? 8 : 16) {
          check(
            "r\(index)", a.load(fromByteOffset: index * 8, as: UInt64.self),
            b.load(fromByteOffset: index * 8, as: UInt64.self))
        }
      }
    }
    withUnsafeBytes(of: host.fxsave) { a in
      withUnsafeBytes(of: guest.fxsave) { b in
        func word16(_ what: String, _ offset: Int) {
          check(
            what, UInt64(a.load(fromByteOffset: offset, as: UInt16.self)),
            UInt64(b.load(fromByteOffset: offset, as: UInt16.self)))
        }
        func word64(_ what: @autoclosure () -> String, _ offset: Int) {
          check(
            what(), a.load(fromByteOffset: offset, as: UInt64.self), b.load(fromByteOffset: offset, as: UInt64.self))
        }
        word16("fcw", 0)
        let status = (a.load(fromByteOffset: 2, as: UInt16.self), b.load(fromByteOffset: 2, as: UInt16.self))
        check("fsw", UInt64(status.0 & ~undefinedStatus), UInt64(status.1 & ~undefinedStatus))
        check("ftw", UInt64(a[4]), UInt64(b[4]))
        let control = (a.load(fromByteOffset: 24, as: UInt32.self), b.load(fromByteOffset: 24, as: UInt32.self))
        // Whether a result that is exact but for its range is called inexact too when that is unmasked.
        let inexact: UInt32 = host.vector == 19 && control.0 & ~(control.0 >> 7) & 0x18 != 0 ? 0x20 : 0
        check("mxcsr", UInt64(control.0 & ~inexact), UInt64(control.1 & ~inexact))
        for index in 0..<8 {
          word64("st\(index)", 32 + index * 16)
          word16("st\(index)e", 40 + index * 16)
        }
        for index in 0..<(compat ? 16 : 32) { word64("xmm\(index / 2).\(index % 2)", 160 + index * 8) }
      }
    }
    return found
  }
}
