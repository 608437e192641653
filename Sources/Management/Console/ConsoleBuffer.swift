/// The last bytes of a stream, addressed by their position in the whole stream: each reader keeps its own position, so
/// that a slow one holds nobody up and learns how much it has missed.
struct ConsoleBuffer {
  let capacity: Int
  private var bytes: [UInt8]
  /// Position after the newest byte.
  private(set) var end = 0

  /// - Parameter capacity: how far a reader may fall behind: a megabyte is several seconds of a guest that writes as fast as
  ///   it can.
  init(capacity: Int = 1 << 20) {
    self.capacity = capacity
    bytes = Array(repeating: 0, count: capacity)
  }

  /// Position of the oldest byte that is kept.
  var start: Int { max(0, end - capacity) }

  mutating func append(_ new: some Collection<UInt8>) {
    var position = end + max(0, new.count - capacity)
    for byte in new.suffix(capacity) {
      bytes[position % capacity] = byte
      position += 1
    }
    end += new.count
  }

  /// Where one begins who comes late: what is kept, but no more than fits in a terminal's memory of lines.
  var recent: Int { max(start, end - 65536) }

  /// Up to `limit` bytes (`Int.max`: all) from `position` on, and how many before them are gone.
  func read(from position: Int, limit: Int) -> (lost: Int, bytes: [UInt8], next: Int) {
    let first = min(max(position, start), end)
    let last = first + min(max(0, limit), end - first)
    var result: [UInt8] = []
    result.reserveCapacity(last - first)
    for index in first..<last { result.append(bytes[index % capacity]) }
    return (first - min(position, first), result, last)
  }
}
