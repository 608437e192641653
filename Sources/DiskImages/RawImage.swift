import Synchronization

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
  public let path: String
  public let size: UInt64
  public let isReadOnly: Bool
  public var hold: MediumHold { held.withLock { $0 } }
  private let held = Mutex(MediumHold.none)
  private let descriptor: Int32
  private let canonicalPath: String
  /// The device's number, for a block device.
  private let blockDevice: dev_t?
  private var ownMark: UInt64?
  private let recent = Mutex<[UInt64]>([])

  /// Opens without locking.
  /// - Parameters:
  ///   - readOnly: for ISO images and media attached as readonly or immutable.
  ///   - insists: it is raw whatever it looks like. Otherwise an image of a known other format is refused.
  public convenience init(path: String, readOnly: Bool = false, insists: Bool = false) throws(DiskImageError) {
    // A FIFO in the place of an image is refused and not waited for.
    let flags = (readOnly ? O_RDONLY : O_RDWR) | O_CLOEXEC | O_NONBLOCK
    let descriptor = open(path, flags)
    if descriptor < 0 && errno == ENXIO { throw .notAFile(path: path) }
    guard descriptor >= 0 else { throw Self.error(errno, "open", path) }
    try self.init(descriptor: descriptor, path: path, readOnly: readOnly, insists: insists)
  }

  /// Takes a file that somebody has opened, who has no more to do with it from here on, also when this throws.
  public init(
    descriptor: Int32, path: String, readOnly: Bool, insists: Bool = false
  ) throws(DiskImageError) {
    do throws(DiskImageError) {
      var status = stat()
      guard fstat(descriptor, &status) == 0 else { throw Self.error(errno, "look at", path) }
      let kind = status.st_mode & S_IFMT
      guard kind == S_IFREG || kind == S_IFBLK else { throw .notAFile(path: path) }
      // A block device's st_size is 0; the end of its offsets is its size.
      let end = kind == S_IFBLK ? lseek(descriptor, 0, SEEK_END) : Int(status.st_size)
      guard end >= 0 else { throw Self.error(errno, "measure", path) }
      guard end > 0 else { throw .empty(path: path) }
      let size = (UInt64(end) + 511) & ~511
      if !insists, let format = Self.format(descriptor, end) { throw .foreign(path: path, format: format) }
      self.path = path
      self.size = size
      self.isReadOnly = readOnly
      self.descriptor = descriptor
      canonicalPath = Self.canonicalPath(path)
      blockDevice = kind == S_IFBLK ? status.st_rdev : nil
    } catch {
      close(descriptor)
      throw error
    }
  }

  deinit { close(descriptor) }

  /// The format that a file is in, where it is a known one that is not raw.
  public static func foreignFormat(of path: String) throws(DiskImageError) -> ForeignFormat? {
    do throws(DiskImageError) {
      _ = try RawImage(path: path, readOnly: true)
      return nil
    } catch {
      if case .foreign(_, let format) = error { return format }
      throw error
    }
  }

  private static func format(_ descriptor: Int32, _ end: Int) -> ForeignFormat? {
    func bytes(_ count: Int, from offset: Int) -> [UInt8] {
      var bytes = [UInt8](repeating: 0, count: count)
      let done = pread(descriptor, &bytes, count, off_t(offset))
      return Array(bytes.prefix(max(done, 0)))
    }
    let tail = min(end, ForeignFormat.tailBytes)
    return ForeignFormat.recognize(
      head: bytes(ForeignFormat.headBytes, from: 0), tail: bytes(tail, from: end - tail))
  }

  public var identity: MediumIdentity {
    var status = stat()
    fstat(descriptor, &status)
    var identity = MediumIdentity(
      path: canonicalPath, size: size, device: UInt64(status.st_dev), inode: UInt64(status.st_ino))
    if let blockDevice {
      identity.deviceNames = BlockDeviceFacts.names(blockDevice)
      identity.writes = BlockDeviceFacts.writes(blockDevice)
    } else {
      identity.modified = Self.nanoseconds(status.st_mtim)
      identity.changed = Self.nanoseconds(status.st_ctim)
    }
    identity.mark = ownMark ?? othersMark
    return identity
  }

  private static func nanoseconds(_ time: timespec) -> Int64 {
    Int64(time.tv_sec) &* 1_000_000_000 &+ Int64(time.tv_nsec)
  }

  /// Makes a sparse image of `size` bytes, a positive multiple of 512. Refuses to overwrite.
  public static func createRaw(path: String, size: UInt64) throws(DiskImageError) {
    guard size > 0, size % 512 == 0, size <= UInt64(Int64.max) else { throw .badSize(path: path, bytes: size) }
    let descriptor = open(path, O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC, 0o644)
    guard descriptor >= 0 else { throw Self.error(errno, "create", path) }
    defer { close(descriptor) }
    if ftruncate(descriptor, off_t(size)) != 0 {
      let reason = errno
      unlink(path)
      throw Self.error(reason, "create", path)
    }
  }

  // MARK: Data

  public func read(at offset: UInt64, into buffer: UnsafeMutableRawBufferPointer) throws(DiskImageError) {
    try check(offset, buffer.count)
    guard let base = buffer.baseAddress else { return }
    var done = 0
    while done < buffer.count {
      let count = pread(descriptor, base + done, buffer.count - done, off_t(offset) + off_t(done))
      if count < 0 {
        if errno == EINTR { continue }
        throw Self.error(errno, "read", path)
      }
      if count == 0 {  // the end of the file, within its last sector
        memset(base + done, 0, buffer.count - done)
        return
      }
      done += count
    }
  }

  public func write(at offset: UInt64, from buffer: UnsafeRawBufferPointer) throws(DiskImageError) {
    guard !isReadOnly else { throw .readOnly(path: path) }
    try check(offset, buffer.count)
    guard let base = buffer.baseAddress else { return }
    note(offset, buffer.count)
    var done = 0
    while done < buffer.count {
      let count = pwrite(descriptor, base + done, buffer.count - done, off_t(offset) + off_t(done))
      if count < 0 {
        if errno == EINTR { continue }
        throw Self.error(errno, "write to", path)
      }
      done += count
    }
  }

  /// Punches a hole, where the host's file system has holes.
  public func discard(at offset: UInt64, count: UInt64) throws(DiskImageError) {
    guard !isReadOnly else { throw .readOnly(path: path) }
    try check(offset, Int(clamping: count))
    _ = makeHole(offset, count, mode: Self.keepSize | Self.punchHole)
  }

  public func writeZeroes(at offset: UInt64, count: UInt64, mayUnmap: Bool) throws(DiskImageError) {
    guard !isReadOnly else { throw .readOnly(path: path) }
    try check(offset, Int(clamping: count))
    if makeHole(offset, count, mode: Self.keepSize | (mayUnmap ? Self.punchHole : Self.zeroRange)) { return }
    // The host cannot.
    try fillWithZeros(at: offset, count: count)
  }

  /// Modes of fallocate(2), <linux/falloc.h>.
  private static let keepSize: Int32 = 0x01
  private static let punchHole: Int32 = 0x02
  private static let zeroRange: Int32 = 0x10

  private func makeHole(_ offset: UInt64, _ count: UInt64, mode: Int32) -> Bool {
    guard count > 0 else { return true }
    note(offset, Int(clamping: count))
    while hostFallocate(descriptor, mode, off_t(offset), off_t(count)) != 0 {
      if errno != EINTR { return false }
    }
    return true
  }

  public var recentlyWritten: [UInt64] { recent.withLock { $0 } }

  public func noteWritten(blocks: [UInt64]) {
    recent.withLock { $0 = Array((blocks + $0).suffix(MediumSamples.recentBlocks)) }
  }

  /// Of a long write, first and last block.
  private func note(_ offset: UInt64, _ count: Int) {
    let first = offset / MediumSamples.blockSize
    let last = (offset + UInt64(max(count, 1)) - 1) / MediumSamples.blockSize
    recent.withLock { list in
      for block in first == last ? [first] : [first, last] where !list.suffix(2).contains(block) {
        if list.count == MediumSamples.recentBlocks { list.removeFirst() }
        list.append(block)
      }
    }
  }

  public func flush() throws(DiskImageError) {
    guard !isReadOnly else { return }
    while fdatasync(descriptor) != 0 {
      if errno != EINTR { throw Self.error(errno, "flush", path) }
    }
  }

  private func check(_ offset: UInt64, _ length: Int) throws(DiskImageError) {
    guard offset <= size, UInt64(length) <= size - offset else {
      throw .outOfRange(path: path, offset: offset, length: length)
    }
  }

  // MARK: The lock

  /// fcntl(2), "Open file description locks": they belong to the open file, not to the process, so two images of one
  /// file in one process exclude each other as well, and closing another descriptor of the file does not drop them.
  private static let getOpenFileLock: Int32 = 36  // F_OFD_GETLK of <bits/fcntl-linux.h>
  private static let setOpenFileLock: Int32 = 37  // F_OFD_SETLK

  /// The medium's lock lies on all bytes that a file can have. Behind them are 64 that no file has, for the mark: bit N of
  /// it is a shared lock on byte N. Locks go by the file, through every path and mount and over network file systems, and
  /// say so which file it is.
  private static let markStart: off_t = 1 << 62

  public func lock() throws(DiskImageError) { try take(isReadOnly ? .shared : .exclusive) }

  public func share() throws(DiskImageError) { try take(.shared) }

  /// Locking what is locked already replaces the lock, or leaves it alone when that fails.
  private func take(_ wanted: MediumHold) throws(DiskImageError) {
    guard hold != wanted else { return }
    let failure = setLock(wanted == .shared ? F_RDLCK : F_WRLCK, from: 0, length: Self.markStart)
    guard failure == 0 else {
      if failure == EAGAIN || failure == EACCES { throw .inUse(path: path) }
      throw Self.error(failure, "lock", path)
    }
    held.withLock { $0 = wanted }
  }

  public func unlock() {
    if ownMark != nil { try? setMark(nil) }
    guard isLocked else { return }
    _ = setLock(F_UNLCK, from: 0, length: Self.markStart)
    held.withLock { $0 = .none }
  }

  public func setMark(_ mark: UInt64?) throws(DiskImageError) {
    var failure = setLock(F_UNLCK, from: Self.markStart, length: 64)
    for bit in 0..<off_t(64) where failure == 0 && (mark ?? 0) >> UInt64(bit) & 1 != 0 {
      failure = setLock(F_RDLCK, from: Self.markStart + bit, length: 1)
    }
    guard failure == 0 else {
      _ = setLock(F_UNLCK, from: Self.markStart, length: 64)
      ownMark = nil
      throw Self.error(failure, "lock", path)
    }
    ownMark = mark
  }

  /// The mark that others have set. nil: none, or it cannot be asked for.
  private var othersMark: UInt64? {
    var mark: UInt64 = 0
    for bit in 0..<off_t(64) {
      var range = Self.range(F_WRLCK, from: Self.markStart + bit, length: 1)
      guard fcntl(descriptor, Self.getOpenFileLock, &range) == 0 else { return nil }
      if range.l_type != Int16(F_UNLCK) { mark |= 1 << UInt64(bit) }
    }
    return mark == 0 ? nil : mark
  }

  /// - Returns: 0 or an error number.
  private func setLock(_ type: Int32, from start: off_t, length: off_t) -> Int32 {
    var range = Self.range(type, from: start, length: length)
    while fcntl(descriptor, Self.setOpenFileLock, &range) != 0 {
      if errno != EINTR { return errno }
    }
    return 0
  }

  private static func range(_ type: Int32, from start: off_t, length: off_t) -> flock {
    flock(l_type: Int16(type), l_whence: Int16(SEEK_SET), l_start: start, l_len: length, l_pid: 0)
  }

  // MARK: Helpers

  private static func canonicalPath(_ path: String) -> String {
    guard let resolved = realpath(path, nil) else { return path }
    defer { free(resolved) }
    return String(cString: resolved)
  }

  private static func error(_ number: Int32, _ operation: String, _ path: String) -> DiskImageError {
    switch number {
    case ENOENT: .notFound(path: path)
    case EACCES, EPERM, EROFS: .notAllowed(path: path)
    case EEXIST: .alreadyExists(path: path)
    case EISDIR: .notAFile(path: path)
    case ENOSPC, EDQUOT, EFBIG: .noSpace(path: path)
    default: .host(path: path, operation: operation, reason: String(cString: strerror(number)))
    }
  }
}

/// fallocate(2): the C library has it, Swift's view of its headers does not.
@_silgen_name("fallocate")
private func hostFallocate(_ descriptor: Int32, _ mode: Int32, _ offset: off_t, _ length: off_t) -> Int32
