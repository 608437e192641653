/// How to make an instruction: fixed bytes and what may vary.
struct InstructionTemplate: CustomStringConvertible {
  enum Operands { case none, any, memory, register, digit(UInt8), digitMemory(UInt8) }
  enum Immediate { case none, byte, word, operandSize }
  enum Modes { case both, only64, only32 }

  var name: String
  var prefix: [UInt8] = []
  var opcode: [UInt8]
  var operands = Operands.none
  var immediate = Immediate.none
  /// Flags that the manual leaves undefined.
  var undefined: UInt64 = 0
  var modes = Modes.both
  /// Whether 66 and REX.W may be put before it.
  var sizes = true
  /// One of several: it must not change the registers that later ones address memory with.
  var isChained = false

  /// Whether it has a memory operand that an address size prefix or a segment override may stand before.
  var addresses: Bool {
    switch operands {
    case .none, .register: false
    default: true
    }
  }

  func runs(compat: Bool) -> Bool { compat ? modes != .only64 : modes != .only32 }

  var description: String { name }
}

/// What the oracle tries, by family.
enum OracleTemplates {
  typealias T = InstructionTemplate

  static let CF: UInt64 = 1
  static let PF: UInt64 = 4
  static let AF: UInt64 = 16
  static let ZF: UInt64 = 64
  static let SF: UInt64 = 128
  static let OF: UInt64 = 0x800

  static let arithmetic: [T] = {
    var list: [T] = []
    let names = ["add", "or", "adc", "sbb", "and", "sub", "xor", "cmp"]
    for (index, name) in names.enumerated() {
      let base = UInt8(index * 8)
      let undefined = ["or", "and", "xor"].contains(name) ? AF : 0
      list.append(T(name: "\(name) Eb,Gb", opcode: [base], operands: .any, undefined: undefined))
      list.append(T(name: "\(name) Ev,Gv", opcode: [base + 1], operands: .any, undefined: undefined))
      list.append(T(name: "\(name) Gb,Eb", opcode: [base + 2], operands: .any, undefined: undefined))
      list.append(T(name: "\(name) Gv,Ev", opcode: [base + 3], operands: .any, undefined: undefined))
      list.append(T(name: "\(name) AL,Ib", opcode: [base + 4], immediate: .byte, undefined: undefined))
      list.append(T(name: "\(name) rAX,Iz", opcode: [base + 5], immediate: .operandSize, undefined: undefined))
      let digit = T.Operands.digit(UInt8(index))
      list.append(T(name: "\(name) Eb,Ib", opcode: [0x80], operands: digit, immediate: .byte, undefined: undefined))
      list.append(T(name: "\(name) Ev,Iz", opcode: [0x81], operands: digit, immediate: .operandSize, undefined: undefined))
      list.append(T(name: "\(name) Ev,Ib", opcode: [0x83], operands: digit, immediate: .byte, undefined: undefined))
    }
    list.append(T(name: "test Eb,Gb", opcode: [0x84], operands: .any, undefined: AF))
    list.append(T(name: "test Ev,Gv", opcode: [0x85], operands: .any, undefined: AF))
    list.append(T(name: "test Eb,Ib", opcode: [0xF6], operands: .digit(0), immediate: .byte, undefined: AF))
    list.append(T(name: "test Ev,Iz", opcode: [0xF7], operands: .digit(0), immediate: .operandSize, undefined: AF))
    for (digit, name) in [(UInt8(2), "not"), (3, "neg")] {
      list.append(T(name: "\(name) Eb", opcode: [0xF6], operands: .digit(digit)))
      list.append(T(name: "\(name) Ev", opcode: [0xF7], operands: .digit(digit)))
    }
    let multiply = SF | ZF | AF | PF
    let divide = multiply | CF | OF
    for (digit, name, undefined) in [(UInt8(4), "mul", multiply), (5, "imul", multiply), (6, "div", divide), (7, "idiv", divide)] {
      list.append(T(name: "\(name) Eb", opcode: [0xF6], operands: .digit(digit), undefined: undefined))
      list.append(T(name: "\(name) Ev", opcode: [0xF7], operands: .digit(digit), undefined: undefined))
    }
    list.append(T(name: "imul Gv,Ev", opcode: [0x0F, 0xAF], operands: .any, undefined: multiply))
    list.append(T(name: "imul Gv,Ev,Ib", opcode: [0x6B], operands: .any, immediate: .byte, undefined: multiply))
    list.append(T(name: "imul Gv,Ev,Iz", opcode: [0x69], operands: .any, immediate: .operandSize, undefined: multiply))
    for (digit, name) in [(UInt8(0), "inc"), (1, "dec")] {
      list.append(T(name: "\(name) Eb", opcode: [0xFE], operands: .digit(digit)))
      list.append(T(name: "\(name) Ev", opcode: [0xFF], operands: .digit(digit)))
      for register in UInt8(0)..<8 where register != 4 {
        list.append(T(name: "\(name) r\(register)", opcode: [0x40 + digit * 8 + register], modes: .only32))
      }
    }
    for (opcode, name, undefined) in [
      (UInt8(0x27), "daa", OF), (0x2F, "das", OF), (0x37, "aaa", OF | SF | ZF | PF), (0x3F, "aas", OF | SF | ZF | PF),
    ] {
      list.append(T(name: name, opcode: [opcode], undefined: undefined, modes: .only32, sizes: false))
    }
    list.append(T(name: "aam", opcode: [0xD4], immediate: .byte, undefined: CF | OF | AF, modes: .only32, sizes: false))
    list.append(T(name: "aad", opcode: [0xD5], immediate: .byte, undefined: CF | OF | AF, modes: .only32, sizes: false))
    return list
  }()

  static let shifts: [T] = {
    var list: [T] = []
    let names = ["rol", "ror", "rcl", "rcr", "shl", "shr", "sal", "sar"]
    for (index, name) in names.enumerated() {
      let digit = T.Operands.digit(UInt8(index))
      // OF is undefined for counts other than 1; AF for the shifts.
      let undefined = index < 4 ? OF : OF | AF
      let one = index < 4 ? 0 : AF
      list.append(T(name: "\(name) Eb,1", opcode: [0xD0], operands: digit, undefined: one))
      list.append(T(name: "\(name) Ev,1", opcode: [0xD1], operands: digit, undefined: one))
      list.append(T(name: "\(name) Eb,CL", opcode: [0xD2], operands: digit, undefined: undefined | (index < 4 ? 0 : CF)))
      list.append(T(name: "\(name) Ev,CL", opcode: [0xD3], operands: digit, undefined: undefined | (index < 4 ? 0 : CF)))
      list.append(T(name: "\(name) Eb,Ib", opcode: [0xC0], operands: digit, immediate: .byte, undefined: undefined | (index < 4 ? 0 : CF)))
      list.append(T(name: "\(name) Ev,Ib", opcode: [0xC1], operands: digit, immediate: .byte, undefined: undefined | (index < 4 ? 0 : CF)))
    }
    return list
  }()

  static let bits: [T] = {
    var list: [T] = []
    let undefined = OF | SF | AF | PF
    for (opcode, name) in [(UInt8(0xA3), "bt"), (0xAB, "bts"), (0xB3, "btr"), (0xBB, "btc")] {
      list.append(T(name: "\(name) Ev,Gv", opcode: [0x0F, opcode], operands: .register, undefined: undefined))
    }
    for (digit, name) in [(UInt8(4), "bt"), (5, "bts"), (6, "btr"), (7, "btc")] {
      list.append(T(name: "\(name) Ev,Ib", opcode: [0x0F, 0xBA], operands: .digit(digit), immediate: .byte, undefined: undefined))
    }
    list.append(T(name: "popcnt", prefix: [0xF3], opcode: [0x0F, 0xB8], operands: .any))
    for code in UInt8(0)..<16 {
      list.append(T(name: "cmov\(code)", opcode: [0x0F, 0x40 + code], operands: .any))
      list.append(T(name: "set\(code)", opcode: [0x0F, 0x90 + code], operands: .digit(0)))
    }
    for opcode in [UInt8(0xB6), 0xB7, 0xBE, 0xBF] {
      list.append(T(name: "movx \(opcode)", opcode: [0x0F, opcode], operands: .any))
    }
    list.append(T(name: "movsxd", opcode: [0x63], operands: .any, modes: .only64))
    for register in UInt8(0)..<8 where register != 4 {
      list.append(T(name: "bswap \(register)", opcode: [0x0F, 0xC8 + register], sizes: false))
    }
    list.append(T(name: "xadd Eb", opcode: [0x0F, 0xC0], operands: .any))
    list.append(T(name: "xadd Ev", opcode: [0x0F, 0xC1], operands: .any))
    list.append(T(name: "cmpxchg Eb", opcode: [0x0F, 0xB0], operands: .any))
    list.append(T(name: "cmpxchg Ev", opcode: [0x0F, 0xB1], operands: .any))
    list.append(T(name: "cmpxchg8b", opcode: [0x0F, 0xC7], operands: .digitMemory(1), sizes: false))
    list.append(T(name: "xchg Eb", opcode: [0x86], operands: .any))
    list.append(T(name: "xchg Ev", opcode: [0x87], operands: .any))
    list.append(T(name: "lock xadd", prefix: [0xF0], opcode: [0x0F, 0xC1], operands: .memory))
    list.append(T(name: "lock add", prefix: [0xF0], opcode: [0x01], operands: .memory))
    list.append(T(name: "lock cmpxchg", prefix: [0xF0], opcode: [0x0F, 0xB1], operands: .memory))
    list.append(T(name: "lock inc", prefix: [0xF0], opcode: [0xFF], operands: .digitMemory(0)))
    return list
  }()

  static let moves: [T] = {
    var list: [T] = [
      T(name: "mov Eb,Gb", opcode: [0x88], operands: .any), T(name: "mov Ev,Gv", opcode: [0x89], operands: .any),
      T(name: "mov Gb,Eb", opcode: [0x8A], operands: .any), T(name: "mov Gv,Ev", opcode: [0x8B], operands: .any),
      T(name: "lea", opcode: [0x8D], operands: .memory),
      T(name: "mov Eb,Ib", opcode: [0xC6], operands: .digit(0), immediate: .byte),
      T(name: "mov Ev,Iz", opcode: [0xC7], operands: .digit(0), immediate: .operandSize),
      T(name: "push Ev", opcode: [0xFF], operands: .digit(6)), T(name: "pop Ev", opcode: [0x8F], operands: .digitMemory(0)),
      T(name: "push Ib", opcode: [0x6A], immediate: .byte), T(name: "push Iz", opcode: [0x68], immediate: .operandSize),
      T(name: "cbw", opcode: [0x98]), T(name: "cwd", opcode: [0x99]), T(name: "lahf", opcode: [0x9F], sizes: false),
      T(name: "sahf", opcode: [0x9E], sizes: false), T(name: "cmc", opcode: [0xF5], sizes: false),
      T(name: "clc", opcode: [0xF8], sizes: false), T(name: "stc", opcode: [0xF9], sizes: false),
      T(name: "salc", opcode: [0xD6], modes: .only32, sizes: false), T(name: "xlat", opcode: [0xD7], modes: .only64, sizes: false),
      T(name: "pusha", opcode: [0x60], modes: .only32), T(name: "popa", opcode: [0x61], modes: .only32),
      T(name: "enter 8,0", opcode: [0xC8, 8, 0, 0], sizes: false), T(name: "nop Ev", opcode: [0x0F, 0x1F], operands: .digit(0)),
      T(name: "std", opcode: [0xFD], sizes: false), T(name: "cld", opcode: [0xFC], sizes: false),
    ]
    for register in UInt8(0)..<8 {
      list.append(T(name: "push \(register)", opcode: [0x50 + register]))
      if register != 4 {
        list.append(T(name: "pop \(register)", opcode: [0x58 + register]))
        list.append(T(name: "xchg rAX,\(register)", opcode: [0x90 + register]))
        list.append(T(name: "mov r\(register),Ib", opcode: [0xB0 + register], immediate: .byte))
      }
    }
    for opcode in [UInt8(0xA4), 0xA5, 0xA6, 0xA7, 0xAA, 0xAB, 0xAC, 0xAD, 0xAE, 0xAF] {
      list.append(T(name: "string \(opcode)", opcode: [opcode]))
      list.append(T(name: "rep string \(opcode)", prefix: [0xF3], opcode: [opcode]))
      list.append(T(name: "repne string \(opcode)", prefix: [0xF2], opcode: [opcode]))
    }
    return list
  }()

  /// Doubles, singles and integers all over the vector registers; operands .any. A list of (prefix, opcode).
  static let vectors: [T] = {
    var list: [T] = []
    func add(_ prefixes: [UInt8], _ opcodes: [UInt8], _ escape: [UInt8] = [0x0F], _ immediate: T.Immediate = .none) {
      for prefix in prefixes {
        for opcode in opcodes {
          let bytes = escape + [opcode]
          list.append(
            T(name: "sse \(prefix) \(bytes)", prefix: prefix == 0 ? [] : [prefix], opcode: bytes, operands: .any,
              immediate: immediate, sizes: false))
        }
      }
    }
    add([0, 0x66, 0xF2, 0xF3], [0x10, 0x11, 0x51, 0x58, 0x59, 0x5C, 0x5D, 0x5E, 0x5F])
    add([0, 0x66], [0x14, 0x15, 0x28, 0x29, 0x2E, 0x2F, 0x54, 0x55, 0x56, 0x57])
    add([0, 0x66, 0xF2, 0xF3], [0xC2], [0x0F], .byte)
    add([0, 0x66], [0xC6], [0x0F], .byte)
    add([0x66, 0xF2, 0xF3], [0xE6])
    add([0, 0x66, 0xF3], [0x5B])
    add([0, 0x66, 0xF2, 0xF3], [0x5A])
    add([0xF2, 0xF3], [0x2A, 0x2C, 0x2D])
    add([0x66], Array(0x60...0x6D))
    add([0x66], [0x6E, 0x6F, 0x7E, 0x7F, 0xD6])
    add([0xF3], [0x6F, 0x7E, 0x7F, 0x12, 0x16])
    add([0xF2], [0x12, 0xF0])
    add([0x66, 0xF2, 0xF3], [0x70], [0x0F], .byte)
    add([0x66], [0x74, 0x75, 0x76, 0x7C, 0x7D, 0xD0])
    add([0xF2], [0x7C, 0x7D, 0xD0])
    add([0x66], [0xD1, 0xD2, 0xD3, 0xD4, 0xD5, 0xD8, 0xD9, 0xDA, 0xDB, 0xDC, 0xDD, 0xDE, 0xDF])
    add([0x66], [0xE0, 0xE1, 0xE2, 0xE3, 0xE4, 0xE5, 0xE8, 0xE9, 0xEA, 0xEB, 0xEC, 0xED, 0xEE, 0xEF])
    add([0x66], [0xF1, 0xF2, 0xF3, 0xF4, 0xF5, 0xF6, 0xF8, 0xF9, 0xFA, 0xFB, 0xFC, 0xFD, 0xFE])
    add([0x66], Array(0x00...0x0B) + [0x10, 0x14, 0x15, 0x17, 0x1C, 0x1D, 0x1E], [0x0F, 0x38])
    add([0x66], Array(0x20...0x25) + Array(0x28...0x2B) + Array(0x30...0x35) + Array(0x37...0x41), [0x0F, 0x38])
    add([0x66], Array(0x08...0x0F) + [0x14, 0x15, 0x16, 0x17, 0x20, 0x21, 0x22, 0x40, 0x41, 0x42], [0x0F, 0x3A], .byte)
    add([0x66], Array(0x60...0x63), [0x0F, 0x3A], .byte)
    add([0xF2], [0xF0, 0xF1], [0x0F, 0x38])
    return list
  }()

  /// MMX and x87 on registers and memory.
  static let x87: [T] = {
    var list: [T] = []
    for opcode in UInt8(0xD8)...0xDF {
      for digit in UInt8(0)..<8 {
        // FLDENV, FLDCW, FNSTENV, FRSTOR, FNSAVE: their images hold pointers that the oracle does not compare.
        if opcode == 0xD9 && [1, 4, 5, 6].contains(digit) { continue }
        if opcode == 0xDD && [4, 5, 6].contains(digit) { continue }
        if opcode == 0xDB && [4, 6].contains(digit) { continue }
        list.append(T(name: "x87 \(opcode)/\(digit)", opcode: [opcode], operands: .digitMemory(digit), sizes: false))
      }
    }
    for (opcode, range) in [
      (UInt8(0xD8), UInt8(0xC0)...0xFF), (0xD9, 0xC0...0xCF), (0xDA, 0xC0...0xDF), (0xDB, 0xC0...0xDF), (0xDB, 0xE8...0xF7),
      (0xDC, 0xC0...0xC7), (0xDC, 0xE0...0xFF), (0xDD, 0xC0...0xC7), (0xDD, 0xD0...0xEF), (0xDE, 0xC0...0xC7),
      (0xDE, 0xE0...0xFF), (0xDF, 0xE8...0xF7),
    ] {
      for modrm in range { list.append(T(name: "x87 \(opcode) \(modrm)", opcode: [opcode, modrm], sizes: false)) }
    }
    for modrm: UInt8 in [0xD0, 0xE0, 0xE1, 0xE4, 0xE5] + Array(0xE8...0xEE) + Array(0xF0...0xFF) {
      list.append(T(name: "x87 D9 \(modrm)", opcode: [0xD9, modrm], sizes: false))
    }
    list.append(T(name: "fcompp", opcode: [0xDE, 0xD9], sizes: false))
    list.append(T(name: "fucompp", opcode: [0xDA, 0xE9], sizes: false))
    list.append(T(name: "fnstsw ax", opcode: [0xDF, 0xE0], sizes: false))
    return list
  }()

  static let mmx: [T] =
    (Array(0x60...0x6B) + [0x6E, 0x6F, 0x74, 0x75, 0x76, 0x7E, 0x7F] + Array(0xD1...0xD5) + Array(0xD8...0xE5)
    + Array(0xE8...0xEF) + Array(0xF1...0xF6) + Array(0xF8...0xFE)).map {
      T(name: "mmx \($0)", opcode: [0x0F, $0], operands: .any, sizes: false)
    } + (Array(0x00...0x0B) + [0x1C, 0x1D, 0x1E]).map {
      T(name: "mmx 38 \($0)", opcode: [0x0F, 0x38, $0], operands: .any, sizes: false)
    }

  /// What several of which may follow each other: no undefined flags, no change of rSP, and of rBX and rDX only by
  /// accident.
  static let chainable: [T] = {
    let families = arithmetic + shifts + bits + moves + vectors
    return families.filter { template in
      guard template.undefined == 0 else { return false }
      switch template.operands {
      case .none: return ["cbw", "lahf", "sahf", "cmc", "clc", "stc", "push 0", "push 1"].contains(template.name)
      default: return !template.name.hasPrefix("cmpxchg8b") && !template.name.hasPrefix("pop ")
      }
    }.map {
      var template = $0
      template.isChained = true
      return template
    }
  }()
}
