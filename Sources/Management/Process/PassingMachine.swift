import Foundation
import Machine

/// A machine that is made to be run once: its folder is a temporary one, and goes with it.
public final class PassingMachine {
  private let home: String
  private let registry: Registry
  private let entry: VMEntry
  private var process: OwnedProcess?

  /// What is left of a machine that ended.
  public struct End: Sendable {
    /// The VM process's; nil: a signal ended it.
    public var status: Int32?
    /// Why it could go no further.
    public var reason: String?
  }

  /// - Parameters:
  ///   - definition: whose disks become copies where `snapshots` says so.
  ///   - snapshots: places of disks that the guest may write to, and whose images stay as they are.
  /// - Throws: `ManagementError`, with nothing left behind.
  public init(_ definition: VMDefinition, snapshots: [(port: Int, device: Int)]) throws {
    var template = Array((FileManager.default.temporaryDirectory.path + "/vmctl-run-XXXXXX").utf8CString)
    guard let made = mkdtemp(&template) else {
      throw ManagementError.system(
        "cannot make a folder in \(FileManager.default.temporaryDirectory.path)", remedy: "set TMPDIR")
    }
    home = String(cString: made)
    // Its process looks for internal networks and itself there.
    setenv("VMCTL_HOME", home, 1)
    registry = Registry(home: home)
    var definition = definition
    do {
      for place in snapshots { try Self.copy(place, of: &definition.hardware, to: home) }
      entry = try registry.create(definition)
    } catch {
      try? FileManager.default.removeItem(atPath: home)
      throw error
    }
  }

  private static func copy(
    _ place: (port: Int, device: Int), of hardware: inout MachineConfiguration, to folder: String
  ) throws {
    for controller in hardware.storageControllers.indices {
      for index in hardware.storageControllers[controller].attachments.indices {
        let disk = hardware.storageControllers[controller].attachments[index]
        guard disk.port == place.port, disk.device == place.device, let image = disk.medium else { continue }
        let copy = "\(folder)/disk-\(place.port)-\(place.device)"
        try SparseCopy.make(of: image, at: copy)
        hardware.storageControllers[controller].attachments[index].medium = copy
      }
    }
  }

  /// Starts it, and connects to its first console before its first instruction.
  /// - Throws: `ManagementError` with what kept it from starting.
  public func start(endsAtReset: Bool) throws -> ControlClient {
    var options = StartOptions()
    options.isPaused = true
    options.endsAtReset = endsAtReset
    process = try VMLauncher.startOwned(entry, registry: registry, options: options)
    let console = try ControlClient(entry)
    try console.request(ControlRequest(.console))
    try ControlClient(entry).request(ControlRequest(.resume))
    return console
  }

  /// Waits for its end, or switches it off.
  public func end(off: Bool) -> End {
    guard let process else { return End() }
    self.process = nil
    let status = off ? process.end() : process.wait()
    return End(status: status, reason: entry.folder.readStatus()?.reason)
  }

  /// Switches it off if it runs, and removes all that it had.
  deinit {
    _ = end(off: true)
    try? FileManager.default.removeItem(atPath: home)
  }
}

/// Copies of images.
enum SparseCopy {
  /// Shares the blocks where the file system can, else copies those that hold data.
  /// - Throws: `ManagementError` with the system's reason.
  static func make(of source: String, at copy: String) throws {
    let from = open(source, O_RDONLY | O_CLOEXEC)
    guard from >= 0 else { throw ManagementError.system("cannot read \(source)") }
    defer { close(from) }
    let to = open(copy, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0o600)
    guard to >= 0 else { throw ManagementError.system("cannot write \(copy)") }
    defer { close(to) }
    let clone: UInt = 0x4004_9409  // FICLONE, ioctl_ficlone(2)
    if ioctl(to, clone, from) == 0 { return }
    let size = lseek(from, 0, SEEK_END)
    guard ftruncate(to, size) == 0 else { throw ManagementError.system("cannot write \(copy)") }
    // lseek(2); the numbers of <unistd.h> for _GNU_SOURCE.
    let (data, hole): (Int32, Int32) = (3, 4)
    var piece = [UInt8](repeating: 0, count: 1 << 20)
    var end: off_t = 0
    while end < size {
      // A file system that knows no holes says that all is data.
      let start = lseek(from, end, data)
      if start < 0 { return }
      end = lseek(from, start, hole)
      var place = start
      while place < end {
        let count = pread(from, &piece, min(piece.count, Int(end - place)), place)
        guard count > 0 else { throw ManagementError.system("cannot read \(source)") }
        var done = 0
        while done < count {
          let written = piece.withUnsafeBytes {
            pwrite(to, $0.baseAddress! + done, count - done, place + off_t(done))
          }
          guard written > 0 else {
            throw ManagementError.system(
              "cannot copy \(source) to \(copy)", remedy: "make room there, or set TMPDIR to a folder with more")
          }
          done += written
        }
        place += off_t(count)
      }
    }
  }
}
