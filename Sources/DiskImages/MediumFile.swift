import Synchronization

#if canImport(Glibc)
  import Glibc
#elseif canImport(Musl)
  import Musl
#endif

/// A file or block device that holds a medium, whatever the medium's format: its bytes, its lock, its mark and who it is.
///
/// Every image has one, so that all formats exclude each other and are told apart alike.
final class MediumFile: ClusterStorage, @unchecked Sendable {
  let path: String
  let isReadOnly: Bool
  var hold: MediumHold { held.withLock { $0 } }
  private let held = Mutex(MediumHold.none)
  private let descriptor: Int32
  private let canonicalPath: String
  /// The device's number, for a block device.
  private let blockDevice: dev_t?
  private var ownMark: UInt64?

  /// Opens without locking.
  convenience init(path: String, readOnly: Bool) throws(DiskImageError) {
    // A FIFO in the place of an image is refused and not waited for.
    let flags = (readOnly ? O_RDONLY : O_RDWR) | O_CLOEXEC | O_NONBLOCK
    let descriptor = open(path, flags)
    if descriptor < 0 && errno == ENXIO { throw .notAFile(path: path) }
    guard descriptor >= 0 else { throw Self.error(errno, "open", path) }
    try self.init(descriptor: descriptor, path: path, readOnly: readOnly)
  }

  /// Takes a file that somebody has opened, who has no more to do with it from here on, also when this throws.
  init(descriptor: Int32, path: String, readOnly: Bool) throws(DiskImageError) {
    do throws(DiskImageError) {
      var status = stat()
      guard fstat(descriptor, &status) == 0 else { throw Self.error(errno, "look at", path) }
      let kind = status.st_mode & S_IFMT
      guard kind == S_IFREG || kind == S_IFBLK else { throw .notAFile(path: path) }
      self.path = path
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

  /// Makes a file that is not there yet. What is made of it is to be flushed.
  static func create(path: String) throws(DiskImageError) -> MediumFile {
    let descriptor = open(path, O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC, 0o644)
    guard descriptor >= 0 else { throw Self.error(errno, "create", path) }
    return try MediumFile(descriptor: descriptor, path: path, readOnly: false)
  }

  /// The format that the file is in, where it is a known one that is not raw.
  func foreignFormat() throws(DiskImageError) -> ForeignFormat? {
    let end = try length
    let tail = min(end, UInt64(ForeignFormat.tailBytes))
    return ForeignFormat.recognize(
      head: try bytes(at: 0, count: Int(min(end, UInt64(ForeignFormat.headBytes)))),
      tail: try bytes(at: end - tail, count: Int(tail)))
  }

  /// Which file it is.
  struct Number: Hashable {
    var device: UInt64
    var inode: UInt64
  }

  var number: Number {
    var status = stat()
    fstat(descriptor, &status)
    // A block device is itself, and not the file by which it is named.
    if let blockDevice { return Number(device: .max, inode: UInt64(blockDevice)) }
    return Number(device: UInt64(status.st_dev), inode: UInt64(status.st_ino))
  }

  /// - Parameter size: bytes that the guest sees.
  func identity(size: UInt64) -> MediumIdentity {
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

  // MARK: Data

  /// Bytes that it has now.
  var length: UInt64 {
    get throws(DiskImageError) {
      // A block device's st_size is 0; the end of its offsets is its size.
      if blockDevice != nil {
        let end = lseek(descriptor, 0, SEEK_END)
        guard end >= 0 else { throw Self.error(errno, "measure", path) }
        return UInt64(end)
      }
      var status = stat()
      guard fstat(descriptor, &status) == 0 else { throw Self.error(errno, "measure", path) }
      return UInt64(max(status.st_size, 0))
    }
  }

  /// What lies behind the end of a block device's used part is whatever was there before.
  var growsWithZeros: Bool { blockDevice == nil }

  /// What lies behind the end reads as zeros.
  func read(at offset: UInt64, into buffer: UnsafeMutableRawBufferPointer) throws(DiskImageError) {
    guard let base = buffer.baseAddress else { return }
    var done = 0
    while done < buffer.count {
      let count = pread(descriptor, base + done, buffer.count - done, try place(offset, done))
      if count < 0 {
        if errno == EINTR { continue }
        throw Self.error(errno, "read", path)
      }
      if count == 0 {
        memset(base + done, 0, buffer.count - done)
        return
      }
      done += count
    }
  }

  func write(at offset: UInt64, from buffer: UnsafeRawBufferPointer) throws(DiskImageError) {
    guard !isReadOnly else { throw .readOnly(path: path) }
    guard let base = buffer.baseAddress else { return }
    var done = 0
    while done < buffer.count {
      let count = pwrite(descriptor, base + done, buffer.count - done, try place(offset, done))
      if count < 0 {
        if errno == EINTR { continue }
        throw Self.error(errno, "write to", path)
      }
      done += count
    }
  }

  private func place(_ offset: UInt64, _ done: Int) throws(DiskImageError) -> off_t {
    guard offset <= UInt64(Int64.max) - UInt64(done) else {
      throw .outOfRange(path: path, offset: offset, length: done)
    }
    return off_t(offset) + off_t(done)
  }

  func sync() throws(DiskImageError) {
    guard !isReadOnly else { return }
    while fdatasync(descriptor) != 0 {
      if errno != EINTR { throw Self.error(errno, "flush", path) }
    }
  }

  func resize(to length: UInt64) throws(DiskImageError) {
    guard blockDevice == nil else { return }
    while ftruncate(descriptor, off_t(length)) != 0 {
      if errno != EINTR { throw Self.error(errno, "change the size of", path) }
    }
  }

  func punchHole(at offset: UInt64, count: UInt64) -> Bool {
    makeHole(offset, count, mode: Self.keepSize | Self.punchHole)
  }

  /// Makes bytes read as zeros and keeps the storage for them, where the host can.
  func zeroRange(at offset: UInt64, count: UInt64) -> Bool {
    makeHole(offset, count, mode: Self.keepSize | Self.zeroRange)
  }

  /// Modes of fallocate(2), <linux/falloc.h>.
  private static let keepSize: Int32 = 0x01
  private static let punchHole: Int32 = 0x02
  private static let zeroRange: Int32 = 0x10

  private func makeHole(_ offset: UInt64, _ count: UInt64, mode: Int32) -> Bool {
    guard count > 0 else { return true }
    while hostFallocate(descriptor, mode, off_t(offset), off_t(count)) != 0 {
      if errno != EINTR { return false }
    }
    return true
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

  /// Locking what is locked already replaces the lock, or leaves it alone when that fails.
  func take(_ wanted: MediumHold) throws(DiskImageError) {
    let wanted = wanted == .exclusive && isReadOnly ? .shared : wanted
    guard hold != wanted else { return }
    let failure = setLock(wanted == .shared ? F_RDLCK : F_WRLCK, from: 0, length: Self.markStart)
    guard failure == 0 else {
      if failure == EAGAIN || failure == EACCES { throw .inUse(path: path) }
      throw Self.error(failure, "lock", path)
    }
    held.withLock { $0 = wanted }
  }

  func release() {
    if ownMark != nil { try? setMark(nil) }
    guard hold != .none else { return }
    _ = setLock(F_UNLCK, from: 0, length: Self.markStart)
    held.withLock { $0 = .none }
  }

  func setMark(_ mark: UInt64?) throws(DiskImageError) {
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
