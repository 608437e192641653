import CHost

/// How an operand is encoded, in the notation of the Intel SDM vol. 2D, appendix A.2: a letter for the place, a letter
/// for the size (b 1, w 2, d 4, q 8, v 2/4/8, z 2/4, y 4/8 bytes). Sized by name; `Z` is the register in the opcode.
enum OperandForm: UInt8, CaseIterable {
  case none
  case Eb, Ew, Ed, Ev, Ey  // ModRM.rm, register or memory
  case Gb, Gw, Gv, Gy, Gd  // ModRM.reg
  case M, Mb, Mv, Ma, Mp, Mq  // memory only; the last four: bounds pair, far pointer, 8 or 16 bytes
  case Rv, Ry  // ModRM.rm, register only, 32 or 64 bits by mode for Ry
  case Sw, Cd, Dd  // segment, control, debug register in ModRM.reg
  case Zb, Zv
  case AL, AX, DX, CL, one  // AX: the accumulator of operand size
  case ES, CS, SS, DS, FS, GS
  case Ib, Ibs, Iw, Iz, Iv  // Ibs: sign-extended to operand size
  case Jb, Jz
  case Ob, Ov, Ap
  case Xb, Xv, Yb, Yv
}

/// What an instruction does: the family that executes it. `sub` of a row chooses within the family.
enum InstructionFamily: UInt8, CaseIterable {
  case undefined
  case alu, test, inc, dec, not, neg
  case mov, movzx, movsx, lea, xchg, xadd, cmpxchg, cmpxchg8b, bswap, movbe, setcc, cmovcc
  case push, pop, pusha, popa, enter, leave
  case shift, shld, shrd, mul, imul1, imul2, imul3, div, idiv
  case bittest, bsf, bsr, popcnt
  case cbw, cwd, daa, das, aaa, aas, aam, aad, salc, lahf, sahf, flag, xlat, bound
  case jcc, jmp, jmpIndirect, call, callIndirect, ret, loop, jcxz
  case movs, cmps, stos, lods, scas
  case nop, wait, x87, simd, system
}

/// Attributes of a row.
struct RowAttributes: OptionSet {
  var rawValue: UInt8
  static let lockable = RowAttributes(rawValue: 1)  // LOCK is valid when the destination is memory
  static let not64 = RowAttributes(rawValue: 2)  // invalid in 64-bit code
  static let only64 = RowAttributes(rawValue: 4)
  static let default64 = RowAttributes(rawValue: 8)  // operand size 64 in 64-bit code, 16 with 66
  static let force64 = RowAttributes(rawValue: 16)  // operand size 64 in 64-bit code
  static let f3 = RowAttributes(rawValue: 32)  // valid with F3 only
}

/// A row as the decoder reads it: plain bytes, kept in raw memory.
struct InstructionRow {
  var family: InstructionFamily = .undefined
  var sub: UInt16 = 0
  var first: OperandForm = .none
  var second: OperandForm = .none
  var third: OperandForm = .none
  var attributes: RowAttributes = []
  var hasModRM = false
  /// Index into `InstructionTable.mnemonics`.
  var mnemonic: UInt16 = 0
}

/// All instructions but x87 and SIMD, from the rows of `InstructionRows`.
///
/// A map's entry is a row number, or `groupFlag` | group number where ModRM takes part: a group has 8 entries for
/// memory operands by ModRM.reg, then 64 for register operands by the low six bits of ModRM.
final class InstructionTable: @unchecked Sendable {
  static let shared = InstructionTable()
  static let groupFlag: UInt16 = 0x8000
  static let groupSize = 72

  /// Maps 0: one byte, 1: 0F, 2: 0F 38, 3: 0F 3A.
  let maps: UnsafeMutablePointer<UInt16>
  let groups: UnsafeMutablePointer<UInt16>
  let rows: UnsafeMutablePointer<InstructionRow>
  let mnemonics: [String]
  let rowCount: Int

  private init() {
    maps = .allocate(capacity: 1024)
    maps.initialize(repeating: 0, count: 1024)
    var builder = Builder()
    for line in InstructionRows.oneByte.split(separator: "\n") { builder.add(line, map: 0) }
    for line in InstructionRows.twoByte.split(separator: "\n") { builder.add(line, map: 1) }
    for line in InstructionRows.threeByte38.split(separator: "\n") { builder.add(line, map: 2) }
    for (index, entry) in builder.maps.enumerated() { maps[index] = entry }
    groups = .allocate(capacity: max(1, builder.groups.count))
    for (index, entry) in builder.groups.enumerated() { (groups + index).initialize(to: entry) }
    rows = .allocate(capacity: builder.rows.count)
    for (index, row) in builder.rows.enumerated() { (rows + index).initialize(to: row) }
    rowCount = builder.rows.count
    mnemonics = builder.mnemonics
  }

  /// Names of the sixteen conditions, in the order of their encoding.
  static let conditions = ["o", "no", "b", "ae", "e", "ne", "be", "a", "s", "ns", "p", "np", "l", "ge", "le", "g"]
  static let arithmetic = ["add", "or", "adc", "sbb", "and", "sub", "xor", "cmp"]

  /// Reads the text rows: "opcode mnemonic operands family[.sub] attributes". An opcode may be followed by "/n"
  /// (ModRM.reg is n), "/nm" (with a memory operand), "/nr" (with a register operand), "=xx" (the whole ModRM byte),
  /// "+r" (eight opcodes, one a register), "+c" (sixteen opcodes, one a condition, whose name replaces % in the
  /// mnemonic) or "+a" (the eight arithmetic operations, eight opcodes apart).
  private struct Builder {
    var maps = [UInt16](repeating: 0, count: 1024)
    var groups: [UInt16] = []
    var rows: [InstructionRow] = [InstructionRow()]
    var mnemonics: [String] = ["(bad)"]

    mutating func add(_ line: Substring, map: Int) {
      let columns = line.split(separator: " ")
      guard columns.count >= 4 else { return }
      var place = columns[0]
      let opcode = UInt8(place.prefix(2), radix: 16)!
      place = place.dropFirst(2)
      let base = map * 256 + Int(opcode)
      switch place.prefix(2) {
      case "": maps[base] = row(columns, String(columns[1]))
      case "+r":
        for index in 0..<8 { maps[base + index] = row(columns, String(columns[1])) }
      case "+c":
        for index in 0..<16 {
          let name = columns[1].dropLast() + InstructionTable.conditions[index]
          maps[base + index] = row(columns, String(name), sub: UInt16(index))
        }
      case "+a":
        for index in 0..<8 {
          maps[base + index * 8] = row(columns, InstructionTable.arithmetic[index], sub: UInt16(index))
        }
      default:
        let number = row(columns, String(columns[1]))
        let group = groupBase(base)
        if place.first == "=" {
          groups[group + 8 + (Int(place.dropFirst(), radix: 16)! & 63)] = number
          return
        }
        let reg = Int(String(place.dropFirst().first!))!
        if place.last != "r" { groups[group + reg] = number }
        if place.last != "m" {
          for rm in 0..<8 { groups[group + 8 + reg * 8 + rm] = number }
        }
      }
    }

    private mutating func groupBase(_ entry: Int) -> Int {
      if maps[entry] & InstructionTable.groupFlag == 0 {
        maps[entry] = InstructionTable.groupFlag | UInt16(groups.count / InstructionTable.groupSize)
        groups += [UInt16](repeating: 0, count: InstructionTable.groupSize)
      }
      return Int(maps[entry] & ~InstructionTable.groupFlag) * InstructionTable.groupSize
    }

    private mutating func row(_ columns: [Substring], _ name: String, sub: UInt16? = nil) -> UInt16 {
      var row = InstructionRow()
      var forms: [OperandForm] = []
      if columns[2] != "-" {
        for name in columns[2].split(separator: ",") {
          let form = name == "1" ? OperandForm.one : OperandForm.allCases.first { "\($0)" == name }
          forms.append(form!)
        }
      }
      if forms.count > 0 { row.first = forms[0] }
      if forms.count > 1 { row.second = forms[1] }
      if forms.count > 2 { row.third = forms[2] }
      let family = columns[3].split(separator: ".")
      row.family = InstructionFamily.allCases.first { "\($0)" == family[0] }!
      if family.count > 1 {
        if row.family == .system {
          row.sub = SystemOp.allCases.first { "\($0)" == family[1] }!.rawValue
        } else {
          row.sub = UInt16(family[1])!
        }
      }
      if let sub { row.sub = sub }
      for attribute in columns.dropFirst(4) {
        switch attribute {
        case "lock": row.attributes.insert(.lockable)
        case "i64": row.attributes.insert(.not64)
        case "o64": row.attributes.insert(.only64)
        case "d64": row.attributes.insert(.default64)
        case "f64": row.attributes.insert(.force64)
        case "f3": row.attributes.insert(.f3)
        case "modrm": row.hasModRM = true
        default: preconditionFailure("attribute \(attribute)")
        }
      }
      for form in forms where form.rawValue >= OperandForm.Eb.rawValue && form.rawValue <= OperandForm.Dd.rawValue {
        row.hasModRM = true
      }
      row.mnemonic = UInt16(mnemonics.count)
      mnemonics.append(name)
      rows.append(row)
      return UInt16(rows.count - 1)
    }
  }
}
