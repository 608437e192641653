import CHost
import CNativeOracle

@testable import X86

/// How to make an instruction: fixed bytes and what may vary.
struct InstructionTemplate: CustomStringConvertible {
  /// ModRM: none, anything, memory or register only; with a fixed reg field; or the whole byte.
  enum Operands {
    case none, any, memory, register, digit(UInt8), digitMemory(UInt8), digitRegister(UInt8), fixed(UInt8)
  }
  enum Immediate { case byte, nibble, word, operandSize, wideOperandSize, address, selector }
  enum Modes { case both, only64, only32 }

  var name: String
  var family: InstructionFamily
  var system: SystemOp?
  var prefix: [UInt8] = []
  var opcode: [UInt8]
  var operands = Operands.none
  var immediates: [Immediate] = []
  /// Flags that the manual leaves undefined.
  var undefined: UInt64 = 0
  /// Bits of the x87 status word that one vendor's processors leave alone.
  var undefinedStatus: UInt16 = 0
  /// #UD in 64-bit code: how long it is then differs by processor.
  var isInvalid64 = false
  /// Whether unmasked exceptions leave the same on every vendor's processors.
  var unmasks = true
  /// Which of two faulty operands is reported differs by processor.
  var mayFaultElsewhere = false
  var modes = Modes.both
  /// Whether 66 and REX.W may be put before it.
  var sizes = true
  /// REX.W: at random (where `sizes` lets it), always or never.
  var wide: Bool?
  /// Whether LOCK and the repeat prefixes may be put before it though it has no use for them.
  var takesOddPrefixes = false
  /// One of several: it must not change the registers that later ones address memory with.
  var isChained = false

  /// Whether it has a memory operand that an address size prefix or a segment override may stand before.
  var addresses: Bool {
    switch operands {
    case .none, .register, .digitRegister, .fixed:
      family == .xlat || family.isString || immediates.contains(.address)
    default: true
    }
  }

  func runs(compat: Bool) -> Bool { compat ? modes != .only64 : modes != .only32 }

  var description: String { name }
}

extension InstructionFamily {
  var isString: Bool { [.movs, .cmps, .stos, .lods, .scas].contains(self) }
}

/// What the oracle tries: a template for each row of the decoder's tables that a process may run.
enum OracleTemplates {
  typealias T = InstructionTemplate

  static let CF: UInt64 = 1
  static let PF: UInt64 = 4
  static let AF: UInt64 = 16
  static let ZF: UInt64 = 64
  static let SF: UInt64 = 128
  static let OF: UInt64 = 0x800

  static let isAMD = oracle_host_is_amd() != 0

  /// What a process can run on the host and compare.
  static let all: [T] = general + x87 + simd
  /// Every form of the tables, whatever processors make of it: for comparisons of our accelerators with each other.
  static let everything: [T] = rows(forHost: false) + vectorRows(forHost: false) + x87Rows(forHost: false)

  // MARK: The instruction table

  static let general: [T] = rows(forHost: true)

  private static func rows(forHost: Bool) -> [T] {
    let table = InstructionTable.shared
    var list: [T] = []
    for map in 0..<3 {
      for opcode in 0..<256 {
        if map == 0 && (opcode & 0xF8 == 0xD8 || isPrefix(UInt8(opcode))) { continue }
        let entry = table.maps[map << 8 | opcode]
        let bytes: [UInt8] = [[], [0x0F], [0x0F, 0x38]][map] + [UInt8(opcode)]
        if entry & InstructionTable.groupFlag == 0 {
          if entry != 0 { add(&list, table.rows[Int(entry)], bytes, nil, forHost) }
          continue
        }
        let group = table.groups + Int(entry & ~InstructionTable.groupFlag) * InstructionTable.groupSize
        for reg in UInt8(0)..<8 {
          if group[Int(reg)] != 0 { add(&list, table.rows[Int(group[Int(reg)])], bytes, .digitMemory(reg), forHost) }
          let members = (0..<8).map { group[8 + Int(reg) * 8 + $0] }
          if members.allSatisfy({ $0 == members[0] }) {
            if members[0] != 0 { add(&list, table.rows[Int(members[0])], bytes, .digitRegister(reg), forHost) }
          } else {
            for (rm, member) in members.enumerated() where member != 0 {
              add(&list, table.rows[Int(member)], bytes, .fixed(0xC0 | reg << 3 | UInt8(rm)), forHost)
            }
          }
        }
      }
    }
    return list
  }

  private static func isPrefix(_ opcode: UInt8) -> Bool {
    [0x26, 0x2E, 0x36, 0x3E, 0x64, 0x65, 0x66, 0x67, 0xF0, 0xF2, 0xF3].contains(opcode)
  }

  /// What a process may not run, would not come back from, or gets the host's own answer to.
  private static func excluded(_ row: InstructionRow) -> Bool {
    guard row.family == .system else { return false }
    switch SystemOp.allCases[Int(row.sub)] {
    case .syscall, .sysret, .sysenter, .sysexit: return true  // enter the kernel, or differ by vendor
    case .cpuid, .rdtsc, .rdtscp, .rdpid, .rdpmc: return true  // the host's own
    case .xgetbv, .xsetbv, .monitor, .mwait, .invpcid: return true  // the host's own
    case .rdfsbase, .rdgsbase, .wrfsbase, .wrgsbase: return true  // the process's own
    case .sgdt, .sidt, .sldt, .str, .smsw: return true  // UMIP, or the host's own
    case .lsl: return true  // one descriptor's limit is the number of the host's processor
    case .int1: return true  // a hypervisor may report it as a fault
    case .farReturn: return row.first == .Iw  // an outer stack that is not there may be noticed first
    default: return false
    }
  }

  private static func add(
    _ list: inout [T], _ row: InstructionRow, _ opcode: [UInt8], _ operands: T.Operands?, _ forHost: Bool
  ) {
    if forHost && excluded(row) { return }
    let name = InstructionTable.shared.mnemonics[Int(row.mnemonic)]
    var template = T(
      name: "\(name) \(opcode.map { String($0, radix: 16) }.joined())", family: row.family, opcode: opcode)
    if row.family == .system { template.system = SystemOp.allCases[Int(row.sub)] }
    if let operands {
      template.operands = operands
      switch operands {
      case .digit(let digit), .digitMemory(let digit), .digitRegister(let digit): template.name += "/\(digit)"
      default: break
      }
    } else if row.hasModRM {
      template.operands = .any
      for form in [row.first, row.second] {
        if [.M, .Mv, .Mp, .Mq, .Ma].contains(form) { template.operands = .memory }
        if [.Ry, .Rv].contains(form) { template.operands = .register }
      }
    }
    for form in [row.first, row.second, row.third] {
      switch form {
      case .Ib, .Ibs, .Jb: template.immediates.append(.byte)
      case .Iw: template.immediates.append(.word)
      case .Iz, .Jz: template.immediates.append(.operandSize)
      case .Iv: template.immediates.append(.wideOperandSize)
      case .Ob, .Ov: template.immediates.append(.address)
      case .Ap: template.immediates += [.operandSize, .selector]
      default: break
      }
    }
    template.undefined = undefined(row)
    template.isInvalid64 = row.attributes.contains(.not64)
    if row.attributes.contains(.f3) { template.prefix = [0xF3] }
    // FS and GS are the process's own; BOUND, LES and LDS are prefixes of later extensions in 64-bit code.
    if forHost && [.FS, .GS].contains(row.first) && row.family == .system { return }
    if forHost && template.system == .loadFarPointer && [0xB4, 0xB5].contains(opcode.last) { return }
    if row.family == .bound || [0xC4, 0xC5].contains(opcode[0]) { template.modes = .only32 }
    // 66 before a near branch in 64-bit code is ignored by one vendor's processors and not by the other's.
    template.sizes = !(row.attributes.contains(.force64) && row.family != .system)
    template.takesOddPrefixes = opcode.count == 1 && !row.family.isString && row.family != .loop
    template.mayFaultElsewhere = row.family == .cmps || row.family == .undefined || template.system == .arpl
    switch row.family {
    // Counts beyond 16 leave anything in a 16-bit operand.
    case .shld, .shrd: template.sizes = false
    default: break
    }
    // Whether a register of 32 bits that compares unequal is written, and its upper half cleared.
    if forHost && !isAMD && row.family == .cmpxchg { template.operands = .memory }
    if forHost && isAMD {
      // Far pointers have no 64-bit offsets there, and PREFETCHW no register.
      if [.farJumpIndirect, .farCallIndirect, .loadFarPointer].contains(template.system) { template.wide = false }
      if row.family == .nop, opcode.last == 0x0D { template.operands = .memory }
    }
    switch template.system {
    case .movToControl, .movFromControl, .ins, .outs: template.takesOddPrefixes = false
    case .int: template.immediates = [.byte]
    default: break
    }
    if template.system == .movToSegment {
      for segment: UInt8 in forHost ? [0, 1, 2, 3, 6, 7] : [0, 1, 2, 3, 4, 5, 6, 7] {
        var load = template
        load.operands = .digit(segment)
        list.append(load)
      }
      return
    }
    list.append(template)
    if row.family == .shld || row.family == .shrd {
      if row.third == .Ib {
        var word = template.with(prefix: [0x66], "66 ")
        word.immediates = [.nibble]
        list.append(word)
      }
      var wide = template
      wide.wide = true
      wide.modes = .only64
      list.append(wide)
    }
    if row.family.isString {
      list.append(template.with(prefix: [0xF3], "rep "))
      list.append(template.with(prefix: [0xF2], "repne "))
    }
    let memory: Bool
    switch template.operands {
    case .any, .memory, .digitMemory: memory = true
    default: memory = false
    }
    if row.attributes.contains(.lockable) && memory {
      var locked = template.with(prefix: [0xF0], "lock ")
      if case .any = locked.operands { locked.operands = .memory }
      list.append(locked)
    }
  }

  private static func undefined(_ row: InstructionRow) -> UInt64 {
    switch row.family {
    case .alu: [1, 4, 6].contains(row.sub) ? AF : 0
    case .test: AF
    case .shift:
      row.second == .one ? (row.sub < 4 ? 0 : AF) : (row.sub < 4 ? OF : OF | AF | CF)
    case .shld, .shrd: OF | AF | CF
    case .mul, .imul1, .imul2, .imul3: SF | ZF | AF | PF
    case .div, .idiv: SF | ZF | AF | PF | CF | OF
    case .bittest: OF | SF | AF | PF
    case .bsf, .bsr: OF | SF | AF | PF | CF
    case .daa, .das: OF
    case .aaa, .aas: OF | SF | ZF | PF
    case .aam, .aad: CF | OF | AF
    default: 0
    }
  }

  // MARK: x87

  static let x87: [T] = x87Rows(forHost: true)

  private static func x87Rows(forHost: Bool) -> [T] {
    var list: [T] = []
    for opcode in UInt8(0xD8)...0xDF {
      for digit in UInt8(0)..<8 {
        // The images of FNSTENV and FNSAVE hold pointers that the oracle does not compare.
        if forHost && (opcode == 0xD9 || opcode == 0xDD) && digit == 6 { continue }
        var template = T(name: "x87 \(opcode)/\(digit)", family: .x87, opcode: [opcode], operands: .digitMemory(digit))
        if forHost && isAMD && comparesX87(opcode, digit << 3) { template.unmasks = false }
        // FLDENV and FRSTOR: of an image that runs over a page's end.
        template.mayFaultElsewhere = digit == 4 && (opcode == 0xD9 || opcode == 0xDD)
        list.append(template)
      }
      for modrm in UInt8(0xC0)...0xFF {
        // Undefined encodings that processors take for others.
        let alias: Bool =
          switch (opcode, modrm) {
          case (0xD9, 0xD8...0xDF), (0xDC, 0xD0...0xDF), (0xDD, 0xC8...0xCF), (0xDE, 0xD0...0xD7), (0xDF, 0xC0...0xDF):
            true
          case (0xDB, 0xE0...0xE5): true
          default: false
          }
        if forHost && alias { continue }
        var template = T(name: "x87 \(opcode) \(modrm)", family: .x87, opcode: [opcode, modrm], sizes: false)
        switch (opcode, modrm) {
        // FCMOVcc, FCOMI and FUCOMI: C1.
        case (0xDA, 0xC0...0xDF), (0xDB, 0xC0...0xDF), (0xDB, 0xE8...0xF7), (0xDF, 0xE8...0xF7):
          if isAMD { template.undefinedStatus = 0x200 }
        default: break
        }
        if isAMD && comparesX87(opcode, modrm) { template.unmasks = false }
        list.append(template)
      }
    }
    return list
  }

  /// Compares: after an unmasked invalid operation the condition codes differ by vendor.
  private static func comparesX87(_ opcode: UInt8, _ modrm: UInt8) -> Bool {
    let group = modrm >> 3 & 7
    switch opcode {
    case 0xD8, 0xDC: return group == 2 || group == 3
    case 0xD9: return modrm == 0xE4
    case 0xDA, 0xDE: return modrm < 0xC0 ? group == 2 || group == 3 : modrm == 0xE9 || modrm == 0xD9
    case 0xDB, 0xDF: return modrm >= 0xC0 && (group == 5 || group == 6)
    default: return modrm >= 0xC0 && (group == 4 || group == 5)
    }
  }

  // MARK: MMX and SSE

  static let simd: [T] = vectorRows(forHost: true)

  private static func vectorRows(forHost: Bool) -> [T] {
    var list: [T] = []
    for index in 0..<SIMDTable.rowCount {
      let row = SIMDTable.rows[index]
      let shape = Int(row.shape)
      // The host's XCR0, and images with pointers. Approximations are each processor's own.
      let own = [VM_SIMD_FXSAVE, VM_SIMD_FXRSTOR, VM_SIMD_XSAVE, VM_SIMD_XRSTOR, VM_SIMD_XSAVEOPT]
      // MXCSR has a bit more there.
      if forHost && isAMD && shape == VM_SIMD_LDMXCSR { continue }
      if forHost && (own.contains(shape) || row.flags & UInt8(VM_SIMD_APPROXIMATE) != 0) { continue }
      let escape: [UInt8] = [[0x0F], [0x0F, 0x38], [0x0F, 0x3A]][Int(row.map) - 1]
      let prefix: [UInt8] = [[], [0x66], [0xF3], [0xF2]][Int(row.prefix)]
      var template = T(
        name: "\(String(cString: row.name)) \((prefix + escape + [row.opcode]).map { String($0, radix: 16) }.joined())",
        family: .simd, prefix: prefix, opcode: escape + [row.opcode], sizes: false)
      let isMemory = row.flags & UInt8(VM_SIMD_MEMORY_ONLY) != 0
      let isRegister = row.flags & UInt8(VM_SIMD_REGISTER_ONLY) != 0
      if shape == VM_SIMD_EMMS {
        template.operands = .none
      } else if row.group != 0xff {
        template.operands = isMemory ? .digitMemory(row.group) : .digitRegister(row.group)
      } else {
        template.operands = isMemory ? .memory : isRegister ? .register : .any
      }
      template.mayFaultElsewhere = shape == VM_SIMD_MASKMOVQ || shape == VM_SIMD_MASKMOVDQU
      // CVTPI2PS of memory leaves the x87 stack alone there.
      if forHost && isAMD && shape == VM_SIMD_XP && row.opcode == 0x2A { template.operands = .register }
      if shape == VM_SIMD_FENCE { template.operands = .fixed(0xC0 | row.group << 3) }
      // There they leave x87 code before they fault.
      if isAMD && [VM_SIMD_PX, VM_SIMD_XP].contains(shape) { template.unmasks = false }
      if row.flags & UInt8(VM_SIMD_IMMEDIATE) != 0 { template.immediates = [.byte] }
      if row.rex_w != 0 {
        template.wide = row.rex_w == 2
        if row.rex_w == 2 { template.modes = .only64 }
      }
      list.append(template)
      // CRC32 of 16 bits.
      if shape == VM_SIMD_CRC32 && row.opcode == 0xF1 && row.rex_w == 1 {
        list.append(template.with(prefix: [0x66, 0xF2], "66 "))
      }
    }
    return list
  }

  /// What several of which may follow each other: no undefined flags, no change of rSP, and of rBX and rDX only by
  /// accident.
  static let chainable: [T] = {
    let families: [InstructionFamily] = [
      .alu, .test, .inc, .dec, .not, .neg, .mov, .movzx, .movsx, .lea, .xadd, .cmpxchg, .movbe, .setcc, .cmovcc, .shift,
      .bittest, .popcnt, .cbw, .lahf, .sahf, .flag, .nop, .simd,
    ]
    return all.filter { template in
      guard families.contains(template.family), template.undefined == 0 else { return false }
      switch template.operands {
      case .none:
        // INC, DEC and MOV of a register in the opcode may be of any register.
        return [.cbw, .lahf, .sahf, .nop].contains(template.family)
          || template.family == .flag && template.opcode[0] < 0xFC
          || template.family == .alu
      case .any, .memory, .register, .digit, .digitMemory, .digitRegister:
        return template.family != .simd || !["maskmov", "clflush", "emms"].contains { template.name.hasPrefix($0) }
      case .fixed: return false
      }
    }.map {
      var template = $0
      template.isChained = true
      template.takesOddPrefixes = false
      return template
    }
  }()
}

extension InstructionTemplate {
  func with(prefix: [UInt8], _ text: String) -> InstructionTemplate {
    var copy = self
    copy.prefix = prefix
    copy.name = text + name
    copy.takesOddPrefixes = false
    return copy
  }
}
