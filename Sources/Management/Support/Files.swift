import Foundation
import Machine

/// The file system calls that the registry needs and Foundation does not promise: durable replacement, modes, locks.
enum Files {
  static func exists(_ path: String) -> Bool { access(path, F_OK) == 0 }

  static func absolute(_ path: String) -> String { HostPath.absolute(path) }

  static func makeDirectory(_ path: String) throws {
    do {
      try FileManager.default.createDirectory(
        atPath: path, withIntermediateDirectories: true, attributes: [.posixPermissions: 0o700])
    } catch {
      throw ManagementError(
        "cannot make the folder \(path): \(reason(error))", remedy: "set VMCTL_HOME to a writable folder")
    }
  }

  /// Opens what must be a file: a FIFO, a socket or a device in its place is refused at once and not waited for.
  /// - Parameter verb: what is to be done with it, for the error.
  static func openFile(
    _ path: String, _ flags: Int32, _ verb: String, mode: mode_t = 0o600, remedy: String? = nil
  ) throws -> Int32 {
    let descriptor = open(path, flags | O_CLOEXEC | O_NONBLOCK | O_NOCTTY, mode)
    // A FIFO that nobody reads.
    if descriptor < 0 && errno == ENXIO {
      throw ManagementError("cannot \(verb) \(path): it is no file", remedy: remedy ?? "name a file, or take that away")
    }
    guard descriptor >= 0 else { throw ManagementError.system("cannot \(verb) \(path)", remedy: remedy) }
    var status = stat()
    let isNull = fstat(descriptor, &status) == 0 && status.st_mode & S_IFMT == S_IFCHR && status.st_rdev == 0x103
    guard isNull || status.st_mode & S_IFMT == S_IFREG else {
      close(descriptor)
      throw ManagementError("cannot \(verb) \(path): it is no file", remedy: remedy ?? "name a file, or take that away")
    }
    return descriptor
  }

  /// The text of a file of at most `limit` bytes.
  static func read(_ path: String, limit: Int = 1 << 20) throws -> String {
    let descriptor = try openFile(path, O_RDONLY, "read")
    defer { close(descriptor) }
    var bytes: [UInt8] = []
    var chunk = [UInt8](repeating: 0, count: 65536)
    while true {
      let count = Glibc.read(descriptor, &chunk, chunk.count)
      guard count >= 0 else { throw ManagementError.system("cannot read \(path)") }
      if count == 0 { break }
      bytes += chunk[..<count]
      guard bytes.count <= limit else { throw ManagementError("\(path) is larger than \(limit) bytes") }
    }
    return String(decoding: bytes, as: UTF8.self)
  }

  /// Replaces the file: readers see the old or the new text, also after a power failure.
  static func replace(_ path: String, with text: String, mode: mode_t = 0o600) throws {
    let temporary = path + ".new"
    unlink(temporary)
    let descriptor = open(temporary, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, mode)
    guard descriptor >= 0 else { throw ManagementError.system("cannot write \(temporary)") }
    do {
      defer { close(descriptor) }
      try writeAll(descriptor, Array(text.utf8), path: temporary)
      guard fsync(descriptor) == 0 else { throw ManagementError.system("cannot write \(temporary)") }
    } catch {
      unlink(temporary)
      throw error
    }
    guard rename(temporary, path) == 0 else { throw ManagementError.system("cannot replace \(path)") }
    syncDirectory(of: path)
  }

  /// Writes over a short text where it stands, which needs no room on the disk; spaces fill up to the old length.
  static func overwrite(_ path: String, with text: String) throws {
    let descriptor = try openFile(path, O_WRONLY, "write")
    defer { close(descriptor) }
    var bytes = Array(text.utf8)
    let old = Int(lseek(descriptor, 0, SEEK_END))
    if old > bytes.count { bytes += Array(repeating: 0x20, count: old - bytes.count) }
    // In one call, so that no reader sees a part of it.
    guard pwrite(descriptor, bytes, bytes.count, 0) == bytes.count else {
      throw ManagementError.system("cannot write \(path)")
    }
  }

  static func writeAll(_ descriptor: Int32, _ bytes: [UInt8], path: String) throws {
    var done = 0
    while done < bytes.count {
      let count = bytes.withUnsafeBytes { write(descriptor, $0.baseAddress! + done, bytes.count - done) }
      if count < 0 {
        if errno == EINTR { continue }
        throw ManagementError.system("cannot write \(path)")
      }
      done += count
    }
  }

  static func syncDirectory(of path: String) {
    let folder = URL(fileURLWithPath: path).deletingLastPathComponent().path
    let descriptor = open(folder, O_RDONLY | O_DIRECTORY | O_CLOEXEC)
    if descriptor >= 0 {
      fsync(descriptor)
      close(descriptor)
    }
  }

  static func reason(_ error: any Error) -> String {
    let cocoa = error as NSError
    if let below = cocoa.userInfo[NSUnderlyingErrorKey] as? NSError, below.domain == NSPOSIXErrorDomain {
      return String(cString: strerror(Int32(below.code)))
    }
    return cocoa.localizedDescription
  }
}

extension Paths {
  /// Writes a file that the user has named, over what is there.
  public static func write(_ path: String, _ bytes: [UInt8]) throws {
    let full = Files.absolute(path)
    let descriptor = try Files.openFile(full, O_WRONLY | O_CREAT | O_TRUNC, "write", mode: 0o666)
    defer { close(descriptor) }
    try Files.writeAll(descriptor, bytes, path: full)
  }
}
