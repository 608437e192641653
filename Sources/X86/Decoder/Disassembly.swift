import CHost
import CZydis

/// An instruction as a debugger sees it.
public struct GuestInstruction: Equatable, Sendable {
  /// Its linear address.
  public var address: UInt64
  /// Its bytes: 15 at most, none where its page is not mapped.
  public var bytes: [UInt8]
  /// 16, 32 or 64.
  public var bits: Int
  /// In Intel's syntax; "(bad)" for what is none.
  public var text: String
}

extension CPU {
  /// What the CPU runs next, as memory has it now. The CPU must be at rest, or be asked on its own thread.
  public var nextInstruction: GuestInstruction {
    let address = codeLinear
    let bits = isCode64 ? 64 : s.pointee.mode & UInt32(VM_MODE_CODE_MASK) == UInt32(VM_MODE_CODE16) ? 16 : 32
    var bytes: [UInt8] = []
    for offset in 0..<UInt64(15) {
      let place = bits == 64 ? address &+ offset : (address &+ offset) & 0xffff_ffff
      guard let physical = probe(place), memory.target(physical).read != nil else { break }
      bytes.append(memory.read(physical, as: UInt8.self))
    }
    return .disassembled(bytes, at: address, bits: bits)
  }
}

extension GuestInstruction {
  /// The instruction that bytes begin with.
  public static func disassembled(_ bytes: [UInt8], at address: UInt64, bits: Int) -> GuestInstruction {
    let mode =
      switch bits {
      case 64: ZYDIS_MACHINE_MODE_LONG_64
      case 32: ZYDIS_MACHINE_MODE_LEGACY_32
      default: ZYDIS_MACHINE_MODE_LEGACY_16
      }
    var found = ZydisDisassembledInstruction()
    let status = bytes.withUnsafeBytes {
      ZydisDisassembleIntel(mode, address, $0.baseAddress, ZyanUSize(bytes.count), &found)
    }
    // Zyan/Status.h: the highest bit is that of errors.
    guard status & 0x8000_0000 == 0 else {
      return GuestInstruction(address: address, bytes: bytes, bits: bits, text: "(bad)")
    }
    let text = withUnsafeBytes(of: found.text) { String(decoding: $0.prefix { $0 != 0 }, as: UTF8.self) }
    return GuestInstruction(
      address: address, bytes: Array(bytes.prefix(Int(found.info.length))), bits: bits, text: text)
  }
}
