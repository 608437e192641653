import CHost

/// One instruction as text.
public struct DisassembledInstruction: Sendable {
  /// Intel syntax.
  public var text: String
  /// In bytes, prefixes included; 1 when the bytes make no instruction.
  public var length: Int
}

/// Intel-syntax text of instructions, from the same table that the decoder reads. For people: debugvm, logs, tests.
public enum Disassembler {
  /// - Parameters:
  ///   - bytes: code; 15 bytes are always enough.
  ///   - bits: 16, 32 or 64: the default operand size of the code segment.
  ///   - address: RIP of the first byte, for branch targets and RIP-relative operands.
  public static func instruction(_ bytes: [UInt8], bits: Int, address: UInt64) -> DisassembledInstruction {
    let mode = bits == 64 ? VM_MODE_CODE64 : bits == 32 ? VM_MODE_CODE32 : VM_MODE_CODE16
    guard !bytes.isEmpty else { return DisassembledInstruction(text: "(bad)", length: 1) }
    return bytes.withUnsafeBufferPointer { buffer in
      var decoder = Decoder(
        bytes: buffer.baseAddress!, available: buffer.count, mode: UInt32(mode), blockOffset: 0)
      guard decoder.decode() == .complete else { return DisassembledInstruction(text: "(bad)", length: 1) }
      let length = Int(decoder.op.length)
      if decoder.op.kind == OpKind.undefined.rawValue && decoder.row.family != .undefined {
        return DisassembledInstruction(text: "(bad)", length: length)
      }
      return DisassembledInstruction(text: text(decoder, address), length: length)
    }
  }

  private static func text(_ decoder: Decoder, _ address: UInt64) -> String {
    let op = decoder.op
    var words: [String] = []
    if Int(op.prefixes) & VM_PREFIX_LOCK != 0 { words.append("lock") }
    let isString = [.Xb, .Xv, .Yb, .Yv].contains { decoder.row.first == $0 || decoder.row.second == $0 }
    if isString && Int(op.prefixes) & VM_PREFIX_REPNE != 0 { words.append("repne") }
    if isString && Int(op.prefixes) & VM_PREFIX_REP != 0 { words.append("rep") }
    if decoder.row.family == .x87 { return (words + [x87(decoder)]).joined(separator: " ") }
    words.append(mnemonic(decoder, op))
    if isString {
      words[words.count - 1] += suffix(op.operand_size)
      return words.joined(separator: " ")
    }
    var operands: [String] = []
    if decoder.row.family == .xchg && op.kind == OpKind.nop.rawValue { return words.joined(separator: " ") }
    if decoder.row.family == .simd {
      operands = vectorOperands(decoder)
    } else {
      for form in [decoder.row.first, decoder.row.second, decoder.row.third] where form != .none {
        operands.append(operand(form, decoder, address))
      }
    }
    if !operands.isEmpty { words.append(operands.joined(separator: ", ")) }
    return words.joined(separator: " ")
  }

  private static func mnemonic(_ decoder: Decoder, _ op: vm_op) -> String {
    switch decoder.row.family {
    case .cbw: op.operand_size == 2 ? "cbw" : op.operand_size == 4 ? "cwde" : "cdqe"
    case .cwd: op.operand_size == 2 ? "cwd" : op.operand_size == 4 ? "cdq" : "cqo"
    case .cmpxchg8b: op.operand_size == 8 ? "cmpxchg16b" : "cmpxchg8b"
    case .xchg where op.kind == OpKind.nop.rawValue: Int(op.prefixes) & VM_PREFIX_REP != 0 ? "pause" : "nop"
    default: decoder.mnemonic
    }
  }

  private static func suffix(_ size: UInt8) -> String { size == 1 ? "b" : size == 2 ? "w" : size == 4 ? "d" : "q" }

  private static func operand(_ form: OperandForm, _ decoder: Decoder, _ address: UInt64) -> String {
    let op = decoder.op
    let size = op.operand_size
    let isMemory = Int(op.prefixes) & VM_PREFIX_MEMORY != 0
    // Forms of two registers may have been turned round: the destination is then rm.
    let turned = !isMemory && (decoder.row.first == .Gv || decoder.row.first == .Gb) && swaps(decoder.row.family)
    switch form {
    case .none: return ""
    case .Eb: return isMemory ? memory(decoder, size: 1) : byte(turned ? op.reg : op.rm)
    case .Ew: return isMemory ? memory(decoder, size: 2) : register(op.rm, 2)
    case .Ed: return isMemory ? memory(decoder, size: 4) : register(op.rm, 4)
    case .Ev, .Ey: return isMemory ? memory(decoder, size: size) : register(turned ? op.reg : op.rm, size)
    case .Rv, .Ry: return register(op.rm, size)
    case .Gb: return byte(turned ? op.rm : op.reg)
    case .Gw: return register(op.reg, 2)
    case .Gv, .Gy, .Gd:
      let far = decoder.row.family == .system && decoder.row.sub == SystemOp.loadFarPointer.rawValue
      return register(turned || far ? op.rm : op.reg, size)
    case .M, .Mp, .Ma, .Mq: return memory(decoder, size: nil)
    case .Mb, .Ob: return memory(decoder, size: 1)
    case .Mv, .Ov: return memory(decoder, size: size)
    case .Sw: return segments[Int(op.reg & 7)]
    case .Cd: return "cr\(op.reg)"
    case .Dd: return "dr\(op.reg)"
    case .Zb: return byte(op.rm)
    case .Zv: return register(op.rm, size)
    case .AL: return "al"
    case .AX: return register(0, size)
    case .DX: return "dx"
    case .CL: return "cl"
    case .one: return "1"
    case .ES, .CS, .SS, .DS, .FS, .GS: return segments[Int(form.rawValue - OperandForm.ES.rawValue)]
    case .Ib where decoder.row.family == .enter: return hex(UInt64(op.disp))
    case .Ib, .Ibs, .Iw, .Iz, .Iv: return immediate(op.imm, size)
    case .Jb, .Jz: return hex((address &+ UInt64(bitPattern: op.imm)) & UInt64(bitPattern: op.disp))
    case .Ap: return "\(hex(UInt64(op.disp))):\(hex(UInt64(op.imm)))"
    case .Xb, .Xv, .Yb, .Yv: return ""
    }
  }

  private static func swaps(_ family: InstructionFamily) -> Bool { family == .alu || family == .mov }

  static let segments = ["es", "cs", "ss", "ds", "fs", "gs", "?", "?"]
  private static let low = ["al", "cl", "dl", "bl", "spl", "bpl", "sil", "dil"]
  private static let high = ["ah", "ch", "dh", "bh"]
  private static let names = ["ax", "cx", "dx", "bx", "sp", "bp", "si", "di"]

  private static func byte(_ offset: UInt8) -> String {
    let number = Int(offset >> 3)
    if offset & 7 == 1 { return high[number & 3] }
    return number < 8 ? low[number] : "r\(number)b"
  }

  static func register(_ number: UInt8, _ size: UInt8) -> String {
    if number >= 8 { return "r\(number)" + (size == 2 ? "w" : size == 4 ? "d" : "") }
    return (size == 8 ? "r" : size == 4 ? "e" : "") + names[Int(number)]
  }

  private static func hex(_ value: UInt64) -> String { "0x" + String(value, radix: 16) }

  private static func immediate(_ value: Int64, _ size: UInt8) -> String {
    let mask: UInt64 = size >= 8 ? .max : (1 << (UInt64(size) * 8)) - 1
    return hex(UInt64(bitPattern: value) & mask)
  }

  static func memory(_ decoder: Decoder, size: UInt8?) -> String {
    let op = decoder.op
    var text = ""
    switch size {
    case 1: text = "byte ptr "
    case 2: text = "word ptr "
    case 4: text = "dword ptr "
    case 8: text = "qword ptr "
    default: break
    }
    if decoder.segmentOverride != 0xff { text += segments[Int(decoder.segmentOverride & 7)] + ":" }
    var parts: [String] = []
    var displacement = op.disp
    if Int(op.base) == VM_SLOT_RIP {
      parts.append("rip")
      displacement &-= Int64(op.length)
    } else if Int(op.base) < 16 {
      parts.append(register(op.base, op.address_size))
    }
    if Int(op.index) < 16 {
      let scale = op.scale == 0 ? "" : "*\(1 << op.scale)"
      parts.append(register(op.index, op.address_size) + scale)
    }
    var inner = parts.joined(separator: "+")
    if parts.isEmpty {
      let mask: UInt64 = op.address_size == 8 ? .max : op.address_size == 4 ? 0xffff_ffff : 0xffff
      inner = hex(UInt64(bitPattern: displacement) & mask)
    } else if displacement != 0 {
      inner += displacement < 0 ? "-" + hex(displacement.magnitude) : "+" + hex(displacement.magnitude)
    }
    return text + "[" + inner + "]"
  }
}
