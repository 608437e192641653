import Foundation

#if canImport(Glibc)
  import Glibc
#elseif canImport(Musl)
  import Musl
#endif

/// What the host's file system refused.
public struct StateFileError: Error, Equatable, CustomStringConvertible {
  public var path: String
  /// What could not be done to which file.
  public var operation: String
  /// The host's `errno`.
  public var code: Int32

  public var description: String {
    let reason =
      code == ENOSPC || code == EDQUOT ? "no space left; free some and try again" : String(cString: strerror(code))
    return "cannot \(operation) \(path): \(reason)"
  }
}

/// Files that are there whole or not at all.
public enum StateFile {
  /// Writes a file beside `path`, flushes it to the disk and renames it into place. When anything fails, what was at
  /// `path` is untouched and nothing is left behind.
  /// - Parameter durable: false: without waiting for the disk, so that the file outlives the process but perhaps not the
  ///   host.
  public static func replace(
    _ path: String, mode: UInt32 = 0o600, durable: Bool = true,
    _ body: (@escaping (UnsafeRawBufferPointer) throws -> Void) throws -> Void
  ) throws {
    let temporary = "\(path).\(getpid()).part"
    let file = open(temporary, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, mode_t(mode))
    guard file >= 0 else { throw StateFileError(path: temporary, operation: "create", code: errno) }
    var isOpen = true
    do {
      try body { try writeAll(file, $0, path) }
      guard !durable || fsync(file) == 0 else { throw StateFileError(path: path, operation: "write", code: errno) }
      isOpen = false
      // A network file system may report a full disk only now.
      guard close(file) == 0 else { throw StateFileError(path: path, operation: "write", code: errno) }
      guard rename(temporary, path) == 0 else { throw StateFileError(path: path, operation: "replace", code: errno) }
    } catch {
      if isOpen { close(file) }
      unlink(temporary)
      throw error
    }
    if durable { syncFolder(of: path) }
  }

  /// Calls `body` with a reader's source.
  public static func read<T>(
    _ path: String, _ body: (@escaping (UnsafeMutableRawBufferPointer) throws -> Int) throws -> T
  ) throws -> T {
    // What is no file is refused and not waited for.
    let file = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK)
    guard file >= 0 else { throw StateFileError(path: path, operation: "open", code: errno) }
    defer { close(file) }
    var status = stat()
    guard fstat(file, &status) == 0, status.st_mode & S_IFMT == S_IFREG else {
      throw StateFileError(path: path, operation: "open", code: EINVAL)
    }
    return try body { buffer in
      while true {
        let count = readBytes(file, buffer.baseAddress, buffer.count)
        if count >= 0 { return count }
        if errno != EINTR { throw StateFileError(path: path, operation: "read", code: errno) }
      }
    }
  }

  /// All of a file, which must be one.
  /// - Throws: `StateFileError`, also when it holds more than `limit` bytes.
  public static func contents(of path: String, limit: Int) throws -> [UInt8] {
    try read(path) { source in
      var bytes: [UInt8] = []
      var piece = [UInt8](repeating: 0, count: 1 << 20)
      while true {
        let count = try piece.withUnsafeMutableBytes { try source($0) }
        if count == 0 { return bytes }
        guard bytes.count + count <= limit else { throw StateFileError(path: path, operation: "read", code: EFBIG) }
        bytes += piece[..<count]
      }
    }
  }

  private static func writeAll(_ file: Int32, _ bytes: UnsafeRawBufferPointer, _ path: String) throws {
    var done = 0
    while done < bytes.count {
      let count = write(file, bytes.baseAddress! + done, bytes.count - done)
      if count > 0 {
        done += count
      } else if count < 0 && errno != EINTR {
        throw StateFileError(path: path, operation: "write", code: errno)
      }
    }
  }

  /// Makes the rename itself durable. A file system that cannot is no reason to fail.
  private static func syncFolder(of path: String) {
    let folder = open(URL(fileURLWithPath: path).deletingLastPathComponent().path, O_RDONLY | O_DIRECTORY | O_CLOEXEC)
    guard folder >= 0 else { return }
    fsync(folder)
    close(folder)
  }
}

/// `read(2)` under a name that the enclosing type does not hide.
private func readBytes(_ file: Int32, _ buffer: UnsafeMutableRawPointer?, _ count: Int) -> Int {
  read(file, buffer, count)
}
