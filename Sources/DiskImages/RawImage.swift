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
  public let identity: MediumIdentity
  public private(set) var hold = MediumHold.none
  private let descriptor: Int32

  /// Opens without locking.
  /// - Parameter readOnly: for ISO images and media attached as readonly or immutable.
  public init(path: String, readOnly: Bool = false) throws(DiskImageError) {
    let flags = (readOnly ? O_RDONLY : O_RDWR) | O_CLOEXEC
    let descriptor = open(path, flags)
    guard descriptor >= 0 else { throw Self.error(errno, "open", path) }
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
      self.path = path
      self.size = size
      self.isReadOnly = readOnly
      self.descriptor = descriptor
      identity = MediumIdentity(
        path: Self.canonicalPath(path), size: size, device: UInt64(status.st_dev), inode: UInt64(status.st_ino))
    } catch {
      close(descriptor)
      throw error
    }
  }

  deinit { close(descriptor) }

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
  private static let setOpenFileLock: Int32 = 37  // F_OFD_SETLK of <bits/fcntl-linux.h>

  public func lock() throws(DiskImageError) { try take(isReadOnly ? .shared : .exclusive) }

  public func share() throws(DiskImageError) { try take(.shared) }

  /// Locking what is locked already replaces the lock, or leaves it alone when that fails.
  private func take(_ wanted: MediumHold) throws(DiskImageError) {
    guard hold != wanted else { return }
    let failure = setLock(wanted == .shared ? F_RDLCK : F_WRLCK)
    guard failure == 0 else {
      if failure == EAGAIN || failure == EACCES { throw .inUse(path: path) }
      throw Self.error(failure, "lock", path)
    }
    hold = wanted
  }

  public func unlock() {
    guard isLocked else { return }
    _ = setLock(F_UNLCK)
    hold = .none
  }

  /// - Returns: 0 or an error number.
  private func setLock(_ type: Int32) -> Int32 {
    var range = flock()  // from 0, of length 0: the whole file, however it grows
    range.l_type = Int16(type)
    range.l_whence = Int16(SEEK_SET)
    while fcntl(descriptor, Self.setOpenFileLock, &range) != 0 {
      if errno != EINTR { return errno }
    }
    return 0
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
