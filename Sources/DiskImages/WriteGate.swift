import Foundation

/// A medium whose writes can be held back: what the guest has written is there for the guest, and reaches the medium when
/// somebody says that it may. While nothing is held it is the medium itself.
///
/// What is held is in two parts: `current` is what is written now, `sealed` what was written before the last `seal`, which
/// `commit` puts into the medium.
public final class WriteGate: ImageInFront, @unchecked Sendable {
  /// Bytes of a block: what is held is held by blocks.
  public static let blockBytes = 4096

  /// What has been written to a block.
  public struct Block: Equatable, Sendable {
    /// From where on, in bytes.
    public var offset: UInt64
    /// What it holds now; nil: zeros.
    public var bytes: [UInt8]?

    public init(offset: UInt64, bytes: [UInt8]?) {
      self.offset = offset
      self.bytes = bytes
    }
  }

  private struct Held {
    /// By number; nil: zeros.
    var blocks: [UInt64: [UInt8]?] = [:]
    var isFlushed = false
    /// The older of the two wins nothing.
    mutating func add(older: Held) {
      blocks.merge(older.blocks) { new, _ in new }
      isFlushed = isFlushed || older.isFlushed
    }
  }

  public let behind: any DiskImage
  private let mutex = NSLock()
  private var current: Held?
  private var sealed: Held?
  /// The gate was to be open, and the medium has not taken what was held: nothing more is held before it has.
  private var isStuck = false
  private var whenWritten: @Sendable () -> Void = {}
  /// While it is open: the pieces of `pieceBytes` that are written, for who copies the medium meanwhile.
  private var written: Set<UInt64>?

  /// Bytes of a piece in which writes are noted for a copy.
  public static let pieceBytes: UInt64 = 64 << 10

  /// In front of a medium. It is open.
  public init(_ medium: any DiskImage) { behind = medium }

  // MARK: Holding

  /// From now on writes are held. No request may be under way.
  /// - Parameter onWrite: called when something is written for the first time since this or the last `seal`, on the thread
  ///   that writes.
  public func holdWrites(_ onWrite: @escaping @Sendable () -> Void) {
    mutex.withLock {
      isStuck = false
      if current == nil { current = Held() }
      whenWritten = onWrite
    }
  }

  /// What is held, and not sealed yet, in bytes.
  public var heldBytes: Int { mutex.withLock { (current?.blocks.count ?? 0) * Self.blockBytes } }

  /// What was written since the last call, in order of place; it belongs together, and waits for `commit`.
  public func seal() -> [Block] {
    mutex.withLock {
      guard var new = current else { return [] }
      current = Held()
      let blocks = new.blocks.sorted { $0.key < $1.key }.map {
        Block(offset: $0.key * UInt64(Self.blockBytes), bytes: $0.value)
      }
      if let before = sealed { new.add(older: before) }
      sealed = new
      return blocks
    }
  }

  /// Puts what was sealed into the medium, as far as it was flushed on stable storage.
  /// - Throws: `DiskImageError`; then it is still held, and reads see it.
  public func commit() throws(DiskImageError) {
    guard let held = mutex.withLock({ sealed }) else { return }
    try put(held)
    mutex.withLock { sealed = nil }
  }

  /// Puts all into the medium and holds nothing any more.
  /// - Throws: `DiskImageError`; then it holds what it has held, and whatever is written or flushed tries again, and fails.
  public func open() throws(DiskImageError) {
    while true {
      _ = seal()
      do throws(DiskImageError) {
        try commit()
      } catch {
        mutex.withLock { isStuck = true }
        throw error
      }
      // Something may have been written meanwhile.
      let isDone = mutex.withLock {
        guard let rest = current else { return true }
        guard rest.blocks.isEmpty, !rest.isFlushed else { return false }
        (current, isStuck) = (nil, false)
        return true
      }
      if isDone { return }
    }
  }

  /// Before bytes are changed: what could not be put into the medium is tried again, and they are noted where that is wanted.
  /// - Returns: whether they are to be held.
  private func begin(_ offset: UInt64, _ count: UInt64) throws(DiskImageError) -> Bool {
    while true {
      let isHeld = mutex.withLock { () -> Bool? in
        guard !isStuck else { return nil }
        note(offset, count)
        return current != nil
      }
      if let isHeld { return isHeld }
      try open()
    }
  }

  private func put(_ held: Held) throws(DiskImageError) {
    for (number, bytes) in held.blocks.sorted(by: { $0.key < $1.key }) {
      let offset = number * UInt64(Self.blockBytes)
      if let bytes {
        try behind.write(bytes, at: offset)
      } else {
        try behind.writeZeroes(at: offset, count: UInt64(blockLength(number)), mayUnmap: true)
      }
    }
    if held.isFlushed { try behind.flush() }
  }

  private func blockLength(_ number: UInt64) -> Int {
    Int(min(size - number * UInt64(Self.blockBytes), UInt64(Self.blockBytes)))
  }

  // MARK: Copying

  /// From now on it is noted what is written.
  public func noteWrites() { mutex.withLock { written = [] } }

  /// The pieces, each of `pieceBytes` from its number times that on, which were written since the last call.
  public func takeWritten() -> Set<UInt64> {
    mutex.withLock {
      defer { if written != nil { written = [] } }
      return written ?? []
    }
  }

  /// Nothing is noted any more.
  public func stopNoting() { mutex.withLock { written = nil } }

  /// With the lock held.
  private func note(_ offset: UInt64, _ count: UInt64) {
    guard written != nil, count > 0 else { return }
    for piece in offset / Self.pieceBytes...(offset + count - 1) / Self.pieceBytes { written?.insert(piece) }
  }

  // MARK: The medium

  public func read(at offset: UInt64, into buffer: UnsafeMutableRawBufferPointer) throws(DiskImageError) {
    let held = mutex.withLock { () -> [(UInt64, [UInt8]?)] in
      guard current != nil || sealed != nil, !buffer.isEmpty else { return [] }
      return numbers(offset, buffer.count).compactMap { number in find(number).map { (number, $0) } }
    }
    try behind.read(at: offset, into: buffer)
    for (number, bytes) in held {
      let first = number * UInt64(Self.blockBytes)
      let (from, to) = (max(first, offset), min(first + UInt64(Self.blockBytes), offset + UInt64(buffer.count)))
      let target = UnsafeMutableRawBufferPointer(rebasing: buffer[Int(from - offset)..<Int(to - offset)])
      guard let bytes else {
        target.initializeMemory(as: UInt8.self, repeating: 0)
        continue
      }
      target.copyBytes(from: bytes[Int(from - first)..<Int(to - first)])
    }
  }

  private func numbers(_ offset: UInt64, _ count: Int) -> ClosedRange<UInt64> {
    offset / UInt64(Self.blockBytes)...(offset + UInt64(count) - 1) / UInt64(Self.blockBytes)
  }

  /// What is held of a block; nil: nothing. With the lock held.
  private func find(_ number: UInt64) -> [UInt8]?? { current?.blocks[number] ?? sealed?.blocks[number] }

  public func write(at offset: UInt64, from buffer: UnsafeRawBufferPointer) throws(DiskImageError) {
    guard try begin(offset, UInt64(buffer.count)) else { return try behind.write(at: offset, from: buffer) }
    try checkRange(offset, UInt64(buffer.count))
    guard !buffer.isEmpty else { return }
    for number in numbers(offset, buffer.count) {
      let first = number * UInt64(Self.blockBytes)
      let (from, to) = (max(first, offset), min(first + UInt64(Self.blockBytes), offset + UInt64(buffer.count)))
      let source = UnsafeRawBufferPointer(rebasing: buffer[Int(from - offset)..<Int(to - offset)])
      let length = blockLength(number)
      guard source.count < length else {
        keep(number, Array(source))
        continue
      }
      var whole = try bytes(at: first, count: length)
      whole.replaceSubrange(Int(from - first)..<Int(to - first), with: source)
      keep(number, whole)
    }
  }

  private func checkRange(_ offset: UInt64, _ count: UInt64) throws(DiskImageError) {
    guard !isReadOnly else { throw .readOnly(path: path) }
    guard offset <= size, count <= size - offset else {
      throw .outOfRange(path: path, offset: offset, length: Int(clamping: count))
    }
  }

  private func keep(_ number: UInt64, _ bytes: [UInt8]?) {
    let isFirst = mutex.withLock {
      guard current != nil else { return false }
      defer { current?.blocks[number] = .some(bytes) }
      return current?.blocks.isEmpty == true
    }
    if isFirst { whenWritten() }
  }

  public func discard(at offset: UInt64, count: UInt64) throws(DiskImageError) {
    // What is of no use any more may be kept.
    guard mutex.withLock({ current == nil }) else { return }
    try behind.discard(at: offset, count: count)
  }

  public func writeZeroes(at offset: UInt64, count: UInt64, mayUnmap: Bool) throws(DiskImageError) {
    guard try begin(offset, count) else {
      return try behind.writeZeroes(at: offset, count: count, mayUnmap: mayUnmap)
    }
    try checkRange(offset, count)
    var position = offset
    while position < offset + count {
      let number = position / UInt64(Self.blockBytes)
      let first = number * UInt64(Self.blockBytes)
      let end = min(first + UInt64(Self.blockBytes), offset + count)
      if position == first && Int(end - first) == blockLength(number) {
        keep(number, nil)
      } else {
        try fillWithZeros(at: position, count: end - position)
      }
      position = end
    }
  }

  public func flush() throws(DiskImageError) {
    guard try begin(0, 0) else { return try behind.flush() }
    mutex.withLock { current?.isFlushed = true }
  }
}
