import DiskImages
import Foundation
import HostNetwork
import Machine

/// A machine that is made to be run once: its folder is a temporary one, and goes with it.
public final class PassingMachine {
  private let home: String
  private let registry: Registry
  private let entry: VMEntry
  private let janitor: Janitor
  private var process: OwnedProcess?
  /// Where debuggers are served.
  private var socket: String?

  /// What is left of a machine that ended.
  public struct End: Sendable {
    /// The VM process's; nil: a signal ended it.
    public var status: Int32?
    /// Why it could go no further.
    public var reason: String?
    /// Why its trace is not whole.
    public var traceFailure: String?
  }

  /// - Parameters:
  ///   - definition: whose disks become copies where `snapshots` says so.
  ///   - snapshots: places of disks that the guest may write to, and whose images stay as they are.
  /// - Throws: `ManagementError`, with nothing left behind.
  public init(_ definition: VMDefinition, snapshots: [HardwareDescription.StorageSlot.Place]) throws {
    var template = Array((FileManager.default.temporaryDirectory.path + "/vmctl-run-XXXXXX").utf8CString)
    guard let made = mkdtemp(&template) else {
      throw ManagementError.system(
        "cannot make a folder in \(FileManager.default.temporaryDirectory.path)", remedy: "set TMPDIR")
    }
    home = String(cString: made)
    do {
      janitor = try Janitor(of: home)
    } catch {
      rmdir(home)
      throw error
    }
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
    _ place: HardwareDescription.StorageSlot.Place, of hardware: inout MachineConfiguration, to folder: String
  ) throws {
    for controller in hardware.storageControllers.indices where hardware.storageControllers[controller].bus == place.bus
    {
      for index in hardware.storageControllers[controller].attachments.indices {
        let disk = hardware.storageControllers[controller].attachments[index]
        guard disk.port == place.port, disk.device == place.device, let image = disk.medium else { continue }
        let copy = "\(folder)/\(place.bus.rawValue)-\(place.port)-\(place.device)"
        if disk.format == .qcow2 {
          // What the guest writes is all that takes room.
          try Qcow2Image.create(path: copy, size: nil, base: (image, .qcow2))
        } else {
          try SparseCopy.make(of: image, at: copy)
        }
        hardware.storageControllers[controller].attachments[index].medium = copy
      }
    }
  }

  /// Starts it, and connects to its first console before its first instruction.
  /// - Parameters:
  ///   - isHeld: it is not let go: a debugger will do that.
  ///   - prepare: what is to be done before its first instruction.
  /// - Throws: `ManagementError` with what kept it from starting.
  public func start(
    endsAtReset: Bool, isHeld: Bool = false, prepare: (PassingMachine) throws -> Void = { _ in }
  ) throws -> ControlClient {
    var options = StartOptions()
    options.isPaused = true
    options.endsAtReset = endsAtReset
    options.janitor = janitor.descriptor
    process = try VMLauncher.startOwned(entry, registry: registry, options: options)
    let console = try ControlClient(entry)
    try console.request(ControlRequest(.console))
    try prepare(self)
    if !isHeld { try ControlClient(entry).request(ControlRequest(.resume)) }
    return console
  }

  /// As `VMEntry.serveDebuggers`.
  /// - Throws: `ManagementError` when the port or socket cannot be had.
  public func serveDebuggers(at place: DebuggerPlace, architecture: String?) throws -> String {
    let name = try entry.serveDebuggers(at: place, architecture: architecture)
    if case .socket = place { socket = name }
    return name
  }

  /// As `VMEntry.startTrace`.
  /// - Throws: `ManagementError`, as that does.
  public func startTrace(_ request: TraceRequest, to path: String) throws {
    try entry.startTrace(request, to: path)
  }

  /// Sends a break to its first serial port.
  /// - Throws: `ManagementError` when it does not run.
  public func sendBreak() throws { try ControlClient(entry).request(ControlRequest(.sendbreak)) }

  /// Waits for its end, or switches it off.
  public func end(off: Bool) -> End {
    guard let process else { return End() }
    self.process = nil
    let status = off ? process.end() : process.wait()
    let mark = " warning the trace has ended"
    let line = entry.folder.readLog(0)?.split(separator: "\n").last { $0.contains(mark) }
    return End(
      status: status, reason: entry.folder.readStatus()?.reason,
      traceFailure: line.flatMap { line in
        line.firstRange(of: "the trace has ended").map { String(line[$0.lowerBound...]) }
      })
  }

  /// Switches it off if it runs, and removes all that it had.
  deinit {
    _ = end(off: true)
    if let socket { unlink(socket) }
    try? FileManager.default.removeItem(atPath: home)
  }
}

/// Removes a folder when those who use it have ended, however that was: a shell that waits for the end of a pipe whose other
/// end they have.
private final class Janitor {
  /// Whoever has it open uses the folder.
  let descriptor: Int32

  /// - Throws: `ManagementError` when there is no shell.
  init(of folder: String) throws {
    var ends: [Int32] = [0, 0]
    guard pipe(&ends) == 0 else { throw ManagementError.system("cannot make a pipe") }
    for end in ends { _ = fcntl(end, F_SETFD, FD_CLOEXEC) }
    defer { close(ends[0]) }
    do {
      _ = try ChildProcess.spawn(
        "/bin/sh", ["sh", "-c", "read -r end; cd / && rm -rf -- \"$1\"", "vmctl-run", folder],
        input: .descriptor(ends[0]), output: .null, group: .ownSession)
    } catch {
      close(ends[1])
      throw ManagementError.system("cannot start /bin/sh", error.code)
    }
    descriptor = ends[1]
  }

  deinit { close(descriptor) }
}
