import GuestMemory

/// A chain of buffers that the driver has made available: first those that the device reads, then those that it writes.
///
/// Source: virtio 1.2, 2.7.4 (message framing: where one buffer ends and the next begins means nothing).
struct VirtioChain {
  struct Piece {
    var address: UInt64
    var length: UInt32
  }

  /// Index of its first descriptor, by which it goes back to the driver.
  let head: UInt16
  private(set) var pieces: [Piece] = []
  /// The first piece that the device writes.
  private(set) var firstWritable = 0
  /// Bytes that the device may read, and may write.
  private(set) var readableBytes = 0
  private(set) var writableBytes = 0

  init(head: UInt16) { self.head = head }

  /// - Returns: false when it is out of order: a buffer to read behind one to write (2.7.4.2).
  mutating func append(_ piece: Piece, isWritable: Bool) -> Bool {
    if isWritable {
      writableBytes += Int(piece.length)
    } else {
      guard firstWritable == pieces.count else { return false }
      firstWritable += 1
      readableBytes += Int(piece.length)
    }
    pieces.append(piece)
    return true
  }

  /// Reads up to `count` bytes of what the driver has put there.
  func read(_ count: Int, from offset: Int = 0, memory: PhysicalMemory) -> [UInt8] {
    let count = max(0, min(count, readableBytes - offset))
    guard count > 0 else { return [] }
    return [UInt8](unsafeUninitializedCapacity: count) { buffer, initialized in
      read(from: offset, into: UnsafeMutableRawBufferPointer(buffer), memory: memory)
      initialized = count
    }
  }

  /// Fills `buffer`; there are as many bytes to read from `offset` on.
  func read(from offset: Int, into buffer: UnsafeMutableRawBufferPointer, memory: PhysicalMemory) {
    forEach(0..<firstWritable, from: offset, count: buffer.count) { address, done, length in
      memory.read(address, into: UnsafeMutableRawBufferPointer(rebasing: buffer[done..<done + length]))
    }
  }

  /// Writes `bytes`, as far as there is room from `offset` on.
  /// - Returns: how many were written.
  @discardableResult
  func write(_ bytes: UnsafeRawBufferPointer, at offset: Int = 0, memory: PhysicalMemory) -> Int {
    forEach(firstWritable..<pieces.count, from: offset, count: bytes.count) { address, done, length in
      memory.write(address, from: UnsafeRawBufferPointer(rebasing: bytes[done..<done + length]))
    }
  }

  @discardableResult
  func write(_ bytes: [UInt8], at offset: Int = 0, memory: PhysicalMemory) -> Int {
    bytes.withUnsafeBytes { write($0, at: offset, memory: memory) }
  }

  /// Calls `body` with an address, the bytes that came before it and a length, for each piece of the stretch.
  @discardableResult
  private func forEach(
    _ range: Range<Int>, from offset: Int, count: Int, _ body: (UInt64, Int, Int) -> Void
  ) -> Int {
    var skip = offset
    var done = 0
    for piece in pieces[range] where done < count {
      let length = Int(piece.length)
      if skip >= length {
        skip -= length
        continue
      }
      let part = min(length - skip, count - done)
      body(piece.address &+ UInt64(skip), done, part)
      done += part
      skip = 0
    }
    return done
  }
}
