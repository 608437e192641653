/// Keys typed by the host that the keyboard has not sent yet, as bytes of set 1.
///
/// They go at a fast typist's pace and no faster: firmware and boot loaders take interrupts at once but keep fifteen keys
/// only (IBM Personal System/2 and Personal Computer BIOS Interface Technical Reference, interrupt 09h), and drop the rest.
struct KeyQueue: Sendable {
  /// Bytes that may wait: some 250,000 characters.
  static let limit = 1 << 20
  /// Guest nanoseconds between two keys' presses or releases.
  static let interval: UInt64 = 5_000_000

  private var bytes: [UInt8] = []
  private var head = 0
  /// Guest time before which the next key does not go.
  private(set) var due: UInt64 = 0

  init() {}

  init(bytes: [UInt8], due: UInt64) {
    self.bytes = bytes
    self.due = due
  }

  var waiting: ArraySlice<UInt8> { bytes[head...] }
  var isEmpty: Bool { head == bytes.count }

  /// - Returns: false when there is no room for all of them; then none is taken.
  mutating func append(_ more: [UInt8]) -> Bool {
    guard more.count <= Self.limit - (bytes.count - head) else { return false }
    if head > 0 {
      bytes.removeFirst(head)
      head = 0
    }
    bytes += more
    return true
  }

  /// The next press or release, with its prefix.
  mutating func next(now: UInt64) -> ArraySlice<UInt8>? {
    // A time further off than the pace has it, from a strange saved state, would hold the keys back for ever.
    due = min(due, now &+ Self.interval)
    guard !isEmpty, now >= due else { return nil }
    let start = head
    let isPrefixed = bytes[head] == 0xE0 && head + 1 < bytes.count
    head += isPrefixed ? 2 : 1
    due = now &+ Self.interval
    return bytes[start..<head]
  }
}
