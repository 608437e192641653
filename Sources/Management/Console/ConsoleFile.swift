import Foundation
import Logging

/// Appends a console's output to a file, on a thread of its own.
///
/// Both halves of a protected machine may have one file, on storage that their hosts share. What the guest prints is to be in
/// it once: whose machine runs holds a lock on it, and a copy that does not get the lock keeps what it is told, until it goes
/// on with the machine. Then it finds in the file's end how far the other has come, and writes the rest.
final class ConsoleFile: @unchecked Sendable {
  private enum Role {
    /// There is no machine yet.
    case idle
    case copy
    case owner
  }

  private let console: SerialConsole
  private let path: String
  private let logger: Logger
  private let descriptor: Int32
  private let lock: FileLock
  private let queue = DispatchQueue(label: "vmctl.console.file")
  // Used on the queue only.
  private var role = Role.idle
  private var isLocked = false
  /// Another has had the lock so far.
  private var hasWaited = false
  private var position = 0
  private var failed = false

  /// How much of what was printed must be in the file's end to be known there, in bytes.
  private static let known = 4096

  /// - Parameter descriptor: of the file at `path`, and from now on this object's.
  init(console: SerialConsole, path: String, descriptor: Int32, logger: Logger) {
    self.console = console
    self.path = path
    self.descriptor = descriptor
    self.logger = logger
    lock = FileLock(descriptor: descriptor)
    console.watch(ObjectIdentifier(self)) { [weak self] in self?.wake() }
  }

  deinit { close(descriptor) }

  private func wake() { queue.async { self.drain() } }

  /// The machine runs here from now on.
  func own() {
    queue.async { [self] in
      role = .owner
      drain()
    }
  }

  /// A copy of the machine is here from now on, or not any more. Returns when that is so: the primary lives, and whether it has
  /// this file is to be seen now.
  func copy(_ isCopy: Bool) {
    queue.sync {
      guard role != .owner else { return }
      role = isCopy ? .copy : .idle
      position = console.end
      hasWaited = false
      if isCopy {
        takeLock()
      } else if isLocked {
        lock.unlock(.running)
        isLocked = false
      }
    }
  }

  private func takeLock() {
    isLocked = lock.tryLock(.running)
    if !isLocked && role == .copy { hasWaited = true }
  }

  private func drain() {
    guard role != .idle else { return }
    if !isLocked {
      takeLock()
      guard isLocked || role == .owner else { return }
      if hasWaited { findEnd() }
      hasWaited = false
    }
    while true {
      let piece = console.read(from: position, limit: 65536)
      position = piece.next
      if piece.lost > 0 { logger.warning("\(console.name): \(piece.lost) bytes did not reach \(path) in time") }
      if piece.bytes.isEmpty { return }
      do {
        try Files.writeAll(descriptor, piece.bytes, path: path)
      } catch {
        if !failed { logger.error("\(console.name): \(ManagementError.line(for: error))") }
        failed = true
      }
    }
  }

  /// Goes to the first byte that the other half has not written.
  private func findEnd() {
    let kept = console.read(from: position, limit: .max)
    let first = kept.next - kept.bytes.count
    let end = fileEnd()
    let known = Self.overlap(kept.bytes, with: end)
    if known == 0 && !kept.bytes.isEmpty && !end.isEmpty {
      logger.warning(
        "\(console.name): \(path) does not end with what the machine has printed; some of it may be there twice")
    }
    position = first + known
  }

  /// How many of the first bytes of `kept` are in the file already, which ends with `end`.
  static func overlap(_ kept: [UInt8], with end: [UInt8]) -> Int {
    for count in stride(from: kept.count, to: 0, by: -1) {
      let tail = kept[..<count].suffix(known)
      if end.suffix(tail.count).elementsEqual(tail) { return count }
    }
    return 0
  }

  private func fileEnd() -> [UInt8] {
    var status = stat()
    guard fstat(descriptor, &status) == 0, status.st_size > 0 else { return [] }
    var bytes = [UInt8](repeating: 0, count: min(Int(status.st_size), Self.known))
    let count = pread(descriptor, &bytes, bytes.count, status.st_size - off_t(bytes.count))
    return Array(bytes.prefix(max(0, count)))
  }

  func stop() {
    console.unwatch(ObjectIdentifier(self))
    queue.sync { drain() }
  }
}
