import Foundation

/// Locks on the bytes of one file, each held by the open file (F_OFD_SETLK, fcntl(2)): they end with the process however
/// it ends, and another may ask who holds one without taking it.
final class FileLock: @unchecked Sendable {
  enum Part: Int {
    /// Held by the VM process as long as it lives: "runs".
    case running = 0
    /// Held while a definition is read in order to change it.
    case editing = 1
  }

  private static let getLock: Int32 = 36  // F_OFD_GETLK
  static let setLock: Int32 = 37  // F_OFD_SETLK
  private static let setLockWait: Int32 = 38  // F_OFD_SETLKW
  private let descriptor: Int32
  private let isOwner: Bool

  init(path: String) throws {
    descriptor = try Files.openFile(path, O_RDWR | O_CREAT, "lock")
    isOwner = true
  }

  /// Of a file that stays the caller's, open for reading and writing.
  init(descriptor: Int32) {
    self.descriptor = descriptor
    isOwner = false
  }

  deinit { if isOwner { close(descriptor) } }

  private func record(_ kind: Int32, _ part: Part) -> flock {
    flock(l_type: Int16(kind), l_whence: Int16(SEEK_SET), l_start: part.rawValue, l_len: 1, l_pid: 0)
  }

  /// Takes the part now, or says that another holds it.
  func tryLock(_ part: Part) -> Bool {
    var lock = record(F_WRLCK, part)
    return fcntl(descriptor, Self.setLock, &lock) == 0
  }

  func waitLock(_ part: Part) {
    var lock = record(F_WRLCK, part)
    while fcntl(descriptor, Self.setLockWait, &lock) != 0 && errno == EINTR {}
  }

  func unlock(_ part: Part) {
    var lock = record(F_UNLCK, part)
    _ = fcntl(descriptor, Self.setLock, &lock)
  }

  /// Whether somebody else holds the part.
  func isHeldElsewhere(_ part: Part) -> Bool {
    var lock = record(F_WRLCK, part)
    guard fcntl(descriptor, Self.getLock, &lock) == 0 else { return false }
    return lock.l_type != Int16(F_UNLCK)
  }
}
