#if canImport(Glibc)
  import Glibc
#elseif canImport(Musl)
  import Musl
#endif

/// A raw image: byte N of the medium is byte N of the file (or block device).
///
/// A file that ends in the middle of a sector is offered with that sector filled up with zeros; writing it completes the
/// file.
public final class RawImage: DiskImage, @unchecked Sendable {
  public var path: String { file.path }
  public let size: UInt64
  public var isReadOnly: Bool { file.isReadOnly }
  public var hold: MediumHold { file.hold }
  let file: MediumFile
  private let journal = ImageJournal()

  public func onFailure(_ body: @escaping @Sendable (DiskImageError) -> Void) { journal.onFailure(body) }
  public func note(failure: DiskImageError) { journal.note(failure: failure) }

  /// Opens without locking.
  /// - Parameters:
  ///   - readOnly: for ISO images and media attached as readonly or immutable.
  ///   - insists: it is raw whatever it looks like. Otherwise an image of a known other format is refused.
  public convenience init(path: String, readOnly: Bool = false, insists: Bool = false) throws(DiskImageError) {
    try self.init(MediumFile(path: path, readOnly: readOnly), insists: insists)
  }

  /// Takes a file that somebody has opened, who has no more to do with it from here on, also when this throws.
  public convenience init(
    descriptor: Int32, path: String, readOnly: Bool, insists: Bool = false
  ) throws(DiskImageError) {
    try self.init(MediumFile(descriptor: descriptor, path: path, readOnly: readOnly), insists: insists)
  }

  init(_ file: MediumFile, insists: Bool) throws(DiskImageError) {
    let end = try file.length
    guard end > 0 else { throw .empty(path: file.path) }
    if !insists, let format = try file.foreignFormat() { throw .foreign(path: file.path, format: format) }
    self.file = file
    size = (end + 511) & ~511
  }

  /// The format that a file is in, where it is a known one that is not raw.
  public static func foreignFormat(of path: String) throws(DiskImageError) -> ForeignFormat? {
    let file = try MediumFile(path: path, readOnly: true)
    guard try file.length > 0 else { throw .empty(path: path) }
    return try file.foreignFormat()
  }

  public var identity: MediumIdentity { file.identity(size: size) }

  /// Makes a sparse image of `size` bytes, a positive multiple of 512. Refuses to overwrite.
  public static func createRaw(path: String, size: UInt64) throws(DiskImageError) {
    guard size > 0, size % 512 == 0, size <= UInt64(Int64.max) else { throw .badSize(path: path, bytes: size) }
    let file = try MediumFile.create(path: path)
    do throws(DiskImageError) {
      try file.resize(to: size)
    } catch {
      unlink(path)
      throw error
    }
  }

  // MARK: Data

  public func read(at offset: UInt64, into buffer: UnsafeMutableRawBufferPointer) throws(DiskImageError) {
    try check(offset, buffer.count)
    try file.read(at: offset, into: buffer)
  }

  public func write(at offset: UInt64, from buffer: UnsafeRawBufferPointer) throws(DiskImageError) {
    guard !isReadOnly else { throw .readOnly(path: path) }
    try check(offset, buffer.count)
    journal.noteWrite(at: offset, count: buffer.count)
    try file.write(at: offset, from: buffer)
  }

  /// Punches a hole, where the host's file system has holes.
  public func discard(at offset: UInt64, count: UInt64) throws(DiskImageError) {
    guard !isReadOnly else { throw .readOnly(path: path) }
    try check(offset, Int(clamping: count))
    journal.noteWrite(at: offset, count: Int(clamping: count))
    _ = file.punchHole(at: offset, count: count)
  }

  public func writeZeroes(at offset: UInt64, count: UInt64, mayUnmap: Bool) throws(DiskImageError) {
    guard !isReadOnly else { throw .readOnly(path: path) }
    try check(offset, Int(clamping: count))
    journal.noteWrite(at: offset, count: Int(clamping: count))
    if mayUnmap ? file.punchHole(at: offset, count: count) : file.zeroRange(at: offset, count: count) { return }
    // The host cannot.
    try fillWithZeros(at: offset, count: count)
  }

  public var recentlyWritten: [UInt64] { journal.recentlyWritten }
  public func noteWritten(blocks: [UInt64]) { journal.noteWritten(blocks: blocks) }

  public func flush() throws(DiskImageError) { try file.sync() }

  private func check(_ offset: UInt64, _ length: Int) throws(DiskImageError) {
    guard offset <= size, UInt64(length) <= size - offset else {
      throw .outOfRange(path: path, offset: offset, length: length)
    }
  }

  // MARK: As a whole

  /// Makes the file larger by a hole. It is to be held alone, and opened anew to be used.
  public func grow(to size: UInt64) throws(DiskImageError) {
    guard size >= self.size, size % 512 == 0, size <= UInt64(Int64.max) else {
      throw .badSize(path: path, bytes: size)
    }
    try file.resize(to: size)
    try file.sync()
  }

  /// Makes holes of what holds zeros. It is to be held alone.
  /// - Throws: `DiskImageError`, or what `progress` throws.
  public func compact(_ progress: (UInt64) throws -> Void = { _ in }) throws {
    let piece = UnsafeMutableRawBufferPointer.allocate(byteCount: 1 << 16, alignment: 4096)
    defer { piece.deallocate() }
    var position: UInt64 = 0
    while position < size {
      let count = min(UInt64(piece.count), size - position)
      let part = UnsafeMutableRawBufferPointer(rebasing: piece[..<Int(count)])
      try read(at: position, into: part)
      if part.allSatisfy({ $0 == 0 }) { try discard(at: position, count: count) }
      position += count
      try progress(position)
    }
    try flush()
  }

  // MARK: The lock

  public func lock() throws(DiskImageError) { try file.take(.exclusive) }
  public func share() throws(DiskImageError) { try file.take(.shared) }
  public func unlock() { file.release() }
  public func setMark(_ mark: UInt64?) throws(DiskImageError) { try file.setMark(mark) }
}
