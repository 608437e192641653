import X86

/// What kind of CPU a debugger takes the machine's for. It asks once, when it connects.
public enum DebuggedArchitecture: String, CaseIterable, Sendable {
  /// 64-bit registers, whatever the CPU's mode.
  case x86_64 = "x86-64"
  /// 32-bit registers.
  case i386
  /// The same; the instruction pointer is the linear address, so that real mode's code is found and breakpoints in it are
  /// recognised.
  case i8086
}

/// The registers that a debugger is told of, and how ("Debugging with GDB", appendix G: features `org.gnu.gdb.i386.core`,
/// `.sse` and `.segments`, and one of our own for the system's registers).
struct TargetDescription {
  struct Register {
    var name: String
    var bits: Int
    var type: String
    var group: String?
    var source: DebuggerRegister
  }

  let architecture: DebuggedArchitecture
  /// In the order of their numbers.
  let registers: [Register]
  private let features: [(name: String, types: String, registers: [Register])]

  init(_ architecture: DebuggedArchitecture) {
    self.architecture = architecture
    let isWide = architecture == .x86_64
    let bases = Self.bases(isWide ? 64 : 32)
    // GDB 13 knows the segments' feature for 64-bit registers only, and ends itself where it finds it with others.
    features = [
      ("org.gnu.gdb.i386.core", Self.flagsType, Self.core(architecture)),
      ("org.gnu.gdb.i386.sse", Self.vectorTypes, Self.vectors(isWide ? 16 : 8)),
      ("org.gnu.gdb.i386.segments", "", isWide ? bases : []),
      ("org.vmctl.i386.system", "", (isWide ? [] : bases) + Self.system(isWide ? 64 : 32)),
    ].filter { !$0.2.isEmpty }
    registers = features.flatMap(\.registers)
  }

  private static func core(_ architecture: DebuggedArchitecture) -> [Register] {
    let isWide = architecture == .x86_64
    let bits = isWide ? 64 : 32
    // GDB's order is not the encoding's.
    let order = isWide ? [0, 3, 1, 2, 6, 7, 5, 4] + Array(8..<16) : Array(0..<8)
    let names = ["ax", "cx", "dx", "bx", "sp", "bp", "si", "di"]
    var list = order.map { number in
      let name = number < 8 ? (isWide ? "r" : "e") + names[number] : "r\(number)"
      let isPointer = number == 4 || number == 5
      return Register(
        name: name, bits: bits, type: isPointer ? "data_ptr" : isWide ? "int64" : "int32", source: .general(number))
    }
    list.append(
      Register(
        name: isWide ? "rip" : "eip", bits: bits, type: "code_ptr",
        source: programCounter(architecture)))
    list.append(Register(name: "eflags", bits: 32, type: "i386_eflags", source: .flags))
    for (name, number) in [("cs", 1), ("ss", 2), ("ds", 3), ("es", 0), ("fs", 4), ("gs", 5)] {
      list.append(Register(name: name, bits: 32, type: "int32", source: .selector(number)))
    }
    list += (0..<8).map { Register(name: "st\($0)", bits: 80, type: "i387_ext", source: .st($0)) }
    for (number, name) in ["fctrl", "fstat", "ftag", "fiseg", "fioff", "foseg", "fooff", "fop"].enumerated() {
      list.append(Register(name: name, bits: 32, type: "int", group: "float", source: .x87(number)))
    }
    return list
  }

  private static func programCounter(_ architecture: DebuggedArchitecture) -> DebuggerRegister {
    architecture == .i8086 ? .linearInstructionPointer : .instructionPointer
  }

  private static func vectors(_ count: Int) -> [Register] {
    (0..<count).map { Register(name: "xmm\($0)", bits: 128, type: "vec128", source: .xmm($0)) }
      + [Register(name: "mxcsr", bits: 32, type: "i386_mxcsr", group: "vector", source: .mxcsr)]
  }

  private static func bases(_ bits: Int) -> [Register] {
    [("fs_base", 4), ("gs_base", 5)].map {
      Register(name: $0, bits: bits, type: bits == 64 ? "int64" : "int32", source: .segmentBase($1))
    }
  }

  private static func system(_ bits: Int) -> [Register] {
    let type = bits == 64 ? "int64" : "int32"
    var list = [0, 2, 3, 4, 8].map {
      Register(name: "cr\($0)", bits: bits, type: type, group: "system", source: .control($0))
    }
    list.append(Register(name: "efer", bits: bits, type: type, group: "system", source: .efer))
    list.append(Register(name: "k_gs_base", bits: bits, type: type, group: "system", source: .kernelGSBase))
    return list
  }

  // MARK: XML

  var xml: String {
    let name = architecture == .x86_64 ? "i386:x86-64" : architecture.rawValue
    var text = "<?xml version=\"1.0\"?><!DOCTYPE target SYSTEM \"gdb-target.dtd\">\n"
    text += "<target version=\"1.0\"><architecture>\(name)</architecture>\n"
    var number = 0
    for feature in features {
      text += "<feature name=\"\(feature.name)\">\n\(feature.types)"
      for register in feature.registers {
        text += "<reg name=\"\(register.name)\" bitsize=\"\(register.bits)\" type=\"\(register.type)\""
        if let group = register.group { text += " group=\"\(group)\"" }
        text += " regnum=\"\(number)\"/>\n"
        number += 1
      }
      text += "</feature>\n"
    }
    return text + "</target>\n"
  }

  private static func flags(_ id: String, _ bits: [(String, Int)]) -> String {
    let fields = bits.map { "<field name=\"\($0)\" start=\"\($1)\" end=\"\($1)\"/>" }.joined()
    return "<flags id=\"\(id)\" size=\"4\">\(fields)</flags>\n"
  }

  private static let flagsType = flags(
    "i386_eflags",
    [
      ("CF", 0), ("", 1), ("PF", 2), ("AF", 4), ("ZF", 6), ("SF", 7), ("TF", 8), ("IF", 9), ("DF", 10), ("OF", 11),
      ("NT", 14), ("RF", 16), ("VM", 17), ("AC", 18), ("VIF", 19), ("VIP", 20), ("ID", 21),
    ])

  private static let vectorTypes: String = {
    let parts = [
      ("v4f", "ieee_single", 4), ("v2d", "ieee_double", 2), ("v16i8", "int8", 16), ("v8i16", "int16", 8),
      ("v4i32", "int32", 4), ("v2i64", "int64", 2),
    ]
    var text = parts.map { "<vector id=\"\($0)\" type=\"\($1)\" count=\"\($2)\"/>\n" }.joined()
    text += "<union id=\"vec128\">"
    let fields = ["v4_float", "v2_double", "v16_int8", "v8_int16", "v4_int32", "v2_int64"]
    for (field, part) in zip(fields, parts) { text += "<field name=\"\(field)\" type=\"\(part.0)\"/>" }
    text += "<field name=\"uint128\" type=\"uint128\"/></union>\n"
    return text
      + flags(
        "i386_mxcsr",
        [
          ("IE", 0), ("DE", 1), ("ZE", 2), ("OE", 3), ("UE", 4), ("PE", 5), ("DAZ", 6), ("IM", 7), ("DM", 8), ("ZM", 9),
          ("OM", 10), ("UM", 11), ("PM", 12), ("FZ", 15),
        ])
  }()

  // MARK: Values

  /// Where the CPU is, as the debugger knows it.
  func programCounter(_ cpu: CPU) -> UInt64 {
    cpu.debuggerRead(Self.programCounter(architecture)).enumerated().reduce(0) {
      $0 | UInt64($1.element) << UInt64($1.offset * 8)
    }
  }

  /// - Returns: false when the CPU cannot go on there.
  func setProgramCounter(_ address: UInt64, _ cpu: CPU) -> Bool {
    cpu.debuggerWrite(Self.programCounter(architecture), withUnsafeBytes(of: address.littleEndian) { Array($0) })
  }

  /// The register's bytes at its width.
  func read(_ number: Int, _ cpu: CPU) -> [UInt8]? {
    guard registers.indices.contains(number) else { return nil }
    let register = registers[number]
    let bytes = cpu.debuggerRead(register.source).prefix(register.bits / 8)
    return bytes + [UInt8](repeating: 0, count: register.bits / 8 - bytes.count)
  }

  /// - Returns: false when there is no such register, the value has another width, or it cannot be so.
  func write(_ number: Int, _ value: [UInt8], _ cpu: CPU) -> Bool {
    guard registers.indices.contains(number), value.count == registers[number].bits / 8 else { return false }
    return cpu.debuggerWrite(registers[number].source, value)
  }
}
