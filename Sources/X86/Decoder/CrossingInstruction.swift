import CHost

/// A decoded instruction that lies in two pages.
struct CrossingInstruction {
  var mode: UInt32 = 0
  /// In the first page; no instruction has -1.
  var offset = -1
  /// As many as its length, then zeros.
  var bytes = InstructionBytes()
  var op = vm_op()

  /// Whether the instruction at `offset` begins with the same bytes in its first page.
  @inline(__always)
  func matches(_ offset: Int, _ mode: UInt32, _ first: InstructionBytes) -> Bool {
    self.offset == offset && self.mode == mode && bytes.prefix(4096 - offset) == first.prefix(4096 - offset)
  }
}

/// Up to 15 bytes of code.
struct InstructionBytes: Equatable {
  var low: UInt64 = 0
  var high: UInt64 = 0

  subscript(index: Int) -> UInt8 {
    get { UInt8(truncatingIfNeeded: (index < 8 ? low : high) &>> (UInt64(index & 7) &* 8)) }
    set {
      let shift = UInt64(index & 7) &* 8
      if index < 8 {
        low = low & ~(0xff &<< shift) | UInt64(newValue) &<< shift
      } else {
        high = high & ~(0xff &<< shift) | UInt64(newValue) &<< shift
      }
    }
  }

  /// The first `count` bytes, then zeros.
  @inline(__always)
  func prefix(_ count: Int) -> InstructionBytes {
    if count >= 16 { return self }
    if count >= 8 { return InstructionBytes(low: low, high: high & ((1 &<< UInt64((count - 8) * 8)) &- 1)) }
    return InstructionBytes(low: low & ((1 &<< UInt64(count * 8)) &- 1), high: 0)
  }
}
