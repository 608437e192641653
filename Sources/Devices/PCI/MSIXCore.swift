/// Message-signalled interrupts in their extended form: a table in which software says for each vector what is written where,
/// and a bit for each vector that waits because it is masked. Pure: the capability's control word comes in.
///
/// Source: PCI Local Bus Specification 3.0, 6.8.2.
struct MSIXCore {
  /// What goes over the bus in place of a pin's edge.
  struct Message: Equatable {
    var address: UInt64
    var data: UInt32
  }

  struct State: Codable, Equatable, Sendable {
    /// Four double words for each vector: address, its upper half, data, control.
    var table: [UInt32]
    /// Bit n: vector n waits.
    var pending: UInt64 = 0
  }

  /// Of the message control word (6.8.2.3).
  static let enable: UInt16 = 1 << 15
  static let functionMask: UInt16 = 1 << 14
  /// Of a vector's control (6.8.2.9).
  private static let mask: UInt32 = 1
  /// Where the pending bits lie in the memory that `read` shows; the table is at 0.
  static let pendingOffset = 0x800

  /// At most 64.
  let vectors: Int
  var state: State

  init(vectors: Int) {
    precondition((1...64).contains(vectors))
    self.vectors = vectors
    state = State(table: [])
    reset()
  }

  /// Every vector is masked.
  mutating func reset() {
    state = State(table: (0..<vectors * 4).map { $0 & 3 == 3 ? Self.mask : 0 })
  }

  /// - Parameter offset: of a double word.
  func read(_ offset: Int) -> UInt32 {
    if offset & 3 == 0, offset / 4 < state.table.count { return state.table[offset / 4] }
    switch offset {
    case Self.pendingOffset: return UInt32(truncatingIfNeeded: state.pending)
    case Self.pendingOffset + 4: return UInt32(truncatingIfNeeded: state.pending >> 32)
    default: return 0
    }
  }

  mutating func write(_ offset: Int, _ value: UInt32) {
    guard offset & 3 == 0, offset / 4 < state.table.count else { return }
    state.table[offset / 4] = offset & 0xC == 0xC ? value & Self.mask : value
  }

  /// A vector's interrupt: the message to send now, if it is not masked. A vector that there is not is nobody's.
  mutating func raise(_ vector: Int, control: UInt16) -> Message? {
    guard vector < vectors, control & Self.enable != 0 else { return nil }
    state.pending |= 1 << UInt64(vector)
    return release(vector, control: control)
  }

  /// What waited and is masked no longer.
  mutating func released(control: UInt16) -> [Message] {
    guard state.pending != 0 else { return [] }
    return (0..<vectors).compactMap { release($0, control: control) }
  }

  private mutating func release(_ vector: Int, control: UInt16) -> Message? {
    let bit = UInt64(1) << UInt64(vector)
    let isHeld = control & Self.functionMask != 0 || state.table[vector * 4 + 3] & Self.mask != 0
    guard state.pending & bit != 0, control & Self.enable != 0, !isHeld else { return nil }
    state.pending &= ~bit
    let address = UInt64(state.table[vector * 4 + 1]) << 32 | UInt64(state.table[vector * 4] & ~3)
    return Message(address: address, data: state.table[vector * 4 + 2])
  }

  /// Whether `state` can be this function's.
  func accepts(_ state: State) -> Bool {
    state.table.count == vectors * 4 && (vectors == 64 || state.pending >> UInt64(vectors) == 0)
  }
}
