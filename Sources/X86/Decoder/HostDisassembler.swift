import CHost

/// Text of emitted host code: what the guest's instruction table knows, and beyond it the BMI instructions (Intel SDM
/// vol. 2, VEX-encoded general-register instructions) that the translator may use though a guest may not.
enum HostDisassembler {
  struct Instruction {
    var text: String
    var length: Int
    /// Of a direct branch: the distance from the instruction's first byte.
    var branch: Int?
    /// The displacement of an operand in the CPU's state, with whether it is indexed by a TLB offset.
    var state: (displacement: Int, isIndexed: Bool)?
  }

  /// - Parameter bytes: host code; 15 bytes are always enough.
  static func instruction(_ bytes: [UInt8]) -> Instruction {
    if bytes.count > 4, bytes[0] == 0xc4, let found = vector(bytes) { return found }
    let known = Disassembler.instruction(bytes, bits: 64, address: 0)
    var result = Instruction(text: known.text, length: known.length)
    if let counted = zeroCount(bytes) { result.text = result.text.replacing(counted.guest, with: counted.host) }
    result.branch = branch(bytes)
    result.state = state(bytes)
    return result
  }

  /// TZCNT and LZCNT, which are BSF and BSR with a prefix that the guest's processor does not see.
  private static func zeroCount(_ bytes: [UInt8]) -> (guest: String, host: String)? {
    guard bytes.count > 3, bytes[0] == 0xf3 else { return nil }
    let opcode = bytes[1] & 0xf0 == 0x40 ? 2 : 1
    guard opcode + 1 < bytes.count, bytes[opcode] == 0x0f else { return nil }
    switch bytes[opcode + 1] {
    case 0xbc: return ("bsf", "tzcnt")
    case 0xbd: return ("bsr", "lzcnt")
    default: return nil
    }
  }

  private static func little(_ bytes: [UInt8], _ from: Int) -> Int? {
    guard from + 4 <= bytes.count else { return nil }
    let value = (0..<4).reduce(UInt32(0)) { $0 | UInt32(bytes[from + $1]) << UInt32($1 * 8) }
    return Int(Int32(bitPattern: value))
  }

  private static func branch(_ bytes: [UInt8]) -> Int? {
    switch bytes[0] {
    case 0xe8, 0xe9: return little(bytes, 1).map { $0 + 5 }
    case 0xeb, 0x70...0x7f, 0xe0...0xe3: return bytes.count > 1 ? Int(Int8(bitPattern: bytes[1])) + 2 : nil
    case 0x0f where bytes.count > 1 && bytes[1] & 0xf0 == 0x80: return little(bytes, 2).map { $0 + 6 }
    default: return nil
    }
  }

  private static func state(_ bytes: [UInt8]) -> (displacement: Int, isIndexed: Bool)? {
    bytes.withUnsafeBufferPointer { buffer in
      var decoder = Decoder(
        bytes: buffer.baseAddress!, available: buffer.count, mode: UInt32(VM_MODE_CODE64), blockOffset: 0)
      guard decoder.decode() == .complete else { return nil }
      let op = decoder.op
      guard op.prefixes & UInt8(VM_PREFIX_MEMORY) != 0, op.base == GuestRegisters.state else { return nil }
      return (Int(op.disp), op.index != UInt8(VM_SLOT_ZERO))
    }
  }

  // MARK: BMI1 and BMI2

  private enum Order {
    /// Destination, VEX.vvvv, ModRM.rm.
    case middle
    /// Destination, ModRM.rm, VEX.vvvv.
    case last
    /// VEX.vvvv, ModRM.rm.
    case only
    /// Destination, ModRM.rm, imm8.
    case immediate
  }

  private static func vector(_ bytes: [UInt8]) -> Instruction? {
    let map = bytes[1] & 0x1f
    let pp = bytes[2] & 3
    guard bytes[2] & 4 == 0 else { return nil }
    let group = Int(bytes[4] >> 3 & 7)
    let name: String
    let order: Order
    switch (map, bytes[3], pp) {
    case (2, 0xf2, 0): (name, order) = ("andn", .middle)
    case (2, 0xf3, 0):
      guard (1...3).contains(group) else { return nil }
      (name, order) = (["blsr", "blsmsk", "blsi"][group - 1], .only)
    case (2, 0xf5, 0): (name, order) = ("bzhi", .last)
    case (2, 0xf5, 2): (name, order) = ("pext", .middle)
    case (2, 0xf5, 3): (name, order) = ("pdep", .middle)
    case (2, 0xf6, 3): (name, order) = ("mulx", .middle)
    case (2, 0xf7, 0): (name, order) = ("bextr", .last)
    case (2, 0xf7, 1): (name, order) = ("shlx", .last)
    case (2, 0xf7, 2): (name, order) = ("sarx", .last)
    case (2, 0xf7, 3): (name, order) = ("shrx", .last)
    case (3, 0xf0, 3): (name, order) = ("rorx", .immediate)
    default: return nil
    }
    let wide = bytes[2] & 0x80 != 0
    // The operands are those of MOV reg, rm with the same ModRM byte; VEX has the bits of REX inverted.
    let rex = 0x40 | (wide ? 8 : 0) | ~bytes[1] >> 5 & 7
    let plain = Disassembler.instruction([rex, 0x8b] + bytes[4...], bits: 64, address: 0)
    guard plain.text.hasPrefix("mov ") else { return nil }
    let operands = plain.text.dropFirst(4).components(separatedBy: ", ")
    guard operands.count == 2 else { return nil }
    var length = plain.length + 2
    let other = Disassembler.register(~bytes[2] >> 3 & 15, wide ? 8 : 4)
    let list: [String]
    switch order {
    case .middle: list = [operands[0], other, operands[1]]
    case .last: list = [operands[0], operands[1], other]
    case .only: list = [other, operands[1]]
    case .immediate:
      guard length < bytes.count else { return nil }
      list = [operands[0], operands[1], "0x" + String(bytes[length], radix: 16)]
      length += 1
    }
    return Instruction(text: name + " " + list.joined(separator: ", "), length: length, state: nil)
  }
}

extension Substring {
  /// Without Foundation.
  fileprivate func components(separatedBy separator: String) -> [String] {
    guard let found = firstRange(of: separator) else { return [String(self)] }
    return [String(self[..<found.lowerBound]), String(self[found.upperBound...])]
  }
}
