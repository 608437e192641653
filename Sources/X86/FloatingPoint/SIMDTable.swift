import CHost

/// The mandatory prefix of an MMX or SSE opcode (Intel SDM vol. 2A, 2.1.2). F2 and F3 win over 66.
enum SIMDPrefix: UInt8 {
  case none, _66, f3, f2
}

/// What the decoder needs to know of an MMX or SSE instruction.
struct SIMDEncoding {
  /// For `vm_op.sub`: the row of the SIMD table.
  var sub: UInt16
  /// An imm8 follows the memory operand's displacement.
  var hasImmediate: Bool

  var mnemonic: String { String(cString: SIMDTable.rows[Int(sub)].name) }
}

/// The MMX and SSE to SSE4.2 opcodes (Intel SDM vol. 2D, tables ): a view of the rows that CHost keeps.
enum SIMDTable {
  nonisolated(unsafe) static let rows: UnsafePointer<vm_simd_row> = vm_simd_rows()
  static let rowCount = Int(vm_simd_row_count())

  /// CRC32 r32, r/m8: its 16-bit form is two of these.
  nonisolated(unsafe) static let crc32Byte: UnsafePointer<vm_simd_row> = {
    let encoding = lookup(map: 2, opcode: 0xf0, prefix: .f2, modrm: 0xc0, rexW: false)
    return rows + Int(encoding?.sub ?? 0)
  }()

  /// For each map, prefix and opcode the first row plus one, or 0.
  nonisolated(unsafe) private static let first: UnsafePointer<UInt16> = links.first
  /// For each row the next one of the same map, prefix and opcode plus one, or 0.
  nonisolated(unsafe) private static let next: UnsafePointer<UInt16> = links.next

  nonisolated(unsafe) private static let links: (first: UnsafePointer<UInt16>, next: UnsafePointer<UInt16>) = {
    let first = UnsafeMutablePointer<UInt16>.allocate(capacity: 3 * 4 * 256)
    let next = UnsafeMutablePointer<UInt16>.allocate(capacity: rowCount)
    first.initialize(repeating: 0, count: 3 * 4 * 256)
    next.initialize(repeating: 0, count: rowCount)
    for index in stride(from: rowCount - 1, through: 0, by: -1) {
      let row = rows[index]
      let slot = slot(map: Int(row.map), prefix: row.prefix, opcode: row.opcode)
      next[index] = first[slot]
      first[slot] = UInt16(index + 1)
    }
    return (UnsafePointer(first), UnsafePointer(next))
  }()

  @inline(__always)
  private static func slot(map: Int, prefix: UInt8, opcode: UInt8) -> Int {
    ((map &- 1) &* 4 &+ Int(prefix)) &* 256 &+ Int(opcode)
  }

  /// Whether an opcode in map 1, 2 or 3 has rows at all: then the ModRM byte says which of them, if any.
  @inline(__always)
  static func holds(map: Int, opcode: UInt8, prefix: SIMDPrefix) -> Bool {
    first[slot(map: map, prefix: prefix.rawValue, opcode: opcode)] != 0
  }

  /// The instruction of an opcode in map 1 (0F), 2 (0F 38) or 3 (0F 3A), or nil when it is no MMX or SSE instruction.
  static func lookup(map: Int, opcode: UInt8, prefix: SIMDPrefix, modrm: UInt8, rexW: Bool) -> SIMDEncoding? {
    guard map >= 1, map <= 3 else { return nil }
    var link = first[slot(map: map, prefix: prefix.rawValue, opcode: opcode)]
    let group = (modrm >> 3) & 7
    let isRegister = modrm >= 0xc0
    while link != 0 {
      let index = Int(link &- 1)
      let row = rows + index
      let flags = row.pointee.flags
      let groupFits = row.pointee.group == 0xff || row.pointee.group == group
      let modeBit: UInt8 = isRegister ? UInt8(VM_SIMD_MEMORY_ONLY) : UInt8(VM_SIMD_REGISTER_ONLY)
      let modeFits = flags & modeBit == 0
      let widthFits = row.pointee.rex_w == 0 || (row.pointee.rex_w == 2) == rexW
      if groupFits && modeFits && widthFits {
        return SIMDEncoding(
          sub: UInt16(index), hasImmediate: flags & UInt8(VM_SIMD_IMMEDIATE) != 0)
      }
      link = next[index]
    }
    return nil
  }
}
