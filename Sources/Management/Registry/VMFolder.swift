import Foundation
import Teleport

/// The files of one VM.
public struct VMFolder: Equatable, Sendable {
  /// Of the folder.
  public let path: String

  /// The files of the VM in a folder, which need not be there.
  public init(path: String) { self.path = path }

  /// The definition file.
  public var definition: String { path + "/definition.toml" }
  /// The log of the present or last run.
  public var log: String { path + "/log" }
  /// The file whose locks say whether the VM runs.
  public var lock: String { path + "/lock" }
  /// The status record.
  public var status: String { path + "/status.json" }
  /// The saved state.
  public var state: String { path + "/saved.state" }
  /// The connections through NAT that the machine had when its state was saved.
  var connections: String { path + "/saved.connections" }
  /// What is known of the last teleport, also after the process has died.
  public var teleport: String { path + "/teleport.json" }
  /// Says that the disks are copies of another host's.
  var replica: String { path + "/replica.json" }
  /// Says which protection the machine had when it ran here last.
  var protection: String { path + "/protection.json" }
  /// What the command has said that protects the machine, where the menu has started it.
  var protectionLog: String { path + "/protection.log" }
  /// The socket on which the VM process takes requests.
  public var controlSocket: String { path + "/control.sock" }

  /// The socket on which it takes open files and sockets.
  public var passingSocket: String { path + "/passing.sock" }

  /// The socket on which viewers get its screen, and send keys and the pointer's moves.
  public var screenSocket: String { path + "/screen.sock" }

  /// Log file number `index`: 0 is the present one.
  public func log(_ index: Int) -> String { RotatingFile.numbered(log, index) }

  /// Where a serial port's words are written while nobody is connected to it.
  public func consoleRecord(_ slot: Int) -> String { "\(path)/console\(slot).log" }

  /// Reads the definition. Throws `ManagementError` when it is not there or is not right; `checkingHost`: nor possible on
  /// this host.
  public func readDefinition(checkingHost: Bool = true) throws -> VMDefinition {
    guard Files.exists(definition) else {
      throw ManagementError(
        "there is no definition \(definition)", remedy: "register the machine again or unregister it")
    }
    return try VMDefinition(toml: Files.read(definition), file: definition, checkingHost: checkingHost)
  }

  /// Writes the definition anew, without comments. Throws `ManagementError` when the file cannot be written.
  public func write(_ definition: VMDefinition) throws {
    try Files.replace(self.definition, with: definition.toml())
  }

  /// Changes the definition's file where it says something else; its comments stay.
  func change(to definition: VMDefinition) throws {
    try Files.replace(
      self.definition, with: definition.toml(changing: Files.read(self.definition), file: self.definition))
  }

  /// The record as it was written last; nil: there is none that can be read.
  public func readStatus() -> StatusRecord? {
    guard let text = try? Files.read(status) else { return nil }
    return try? JSONDecoder().decode(StatusRecord.self, from: Data(text.utf8))
  }

  func write(_ record: StatusRecord) throws {
    let encoder = JSONEncoder()
    encoder.outputFormatting = [.sortedKeys, .prettyPrinted]
    let text = try String(decoding: encoder.encode(record), as: UTF8.self) + "\n"
    do {
      try Files.replace(status, with: text)
    } catch {
      // A full disk must not make the record a lie.
      do { try Files.overwrite(status, with: text) } catch _ { throw error }
    }
  }

  /// Takes away what a process has left half-written that was killed. For who holds the VM's lock.
  func removeLeftovers() {
    for name in (try? FileManager.default.contentsOfDirectory(atPath: path)) ?? []
    where name.hasSuffix(".part") && (name.hasPrefix("saved.state.") || name.hasPrefix("teleport.json.")) {
      unlink(path + "/" + name)
    }
  }

  /// Takes the saved state away, and what belongs to it.
  func dropState() {
    unlink(state)
    unlink(connections)
    unlink(stateOrigin)
  }

  /// Runs `body` while nobody else changes the definition or starts the VM.
  func whileEditing<T>(_ body: () throws -> T) throws -> T {
    let lock = try FileLock(path: lock)
    lock.waitLock(.editing)
    defer { lock.unlock(.editing) }
    return try body()
  }

  /// Whether there is a file with a saved state.
  public var hasSavedState: Bool { Files.exists(state) }

  /// The VM's state, and its record with that state in it.
  /// - Throws: `ManagementError` when its lock cannot be looked at.
  public func currentStatus() throws -> StatusRecord {
    let isLocked = Files.exists(lock) ? try FileLock(path: lock).isHeldElsewhere(.running) : false
    return status(isLocked: isLocked)
  }

  /// As `currentStatus`, for who holds the VM's lock himself.
  func restingStatus() -> StatusRecord { status(isLocked: false) }

  private func status(isLocked: Bool) -> StatusRecord {
    let recorded = readStatus()
    var state = VMState.actual(recorded: recorded?.state, isLocked: isLocked, hasStateFile: hasSavedState)
    // The process has died after it had handed the machine over and before it had written that down as its state.
    if state == .aborted, let last = TeleportRecord.read(from: teleport), last.role == .source, last.step == .handedOver
    {
      state = .teleported
    }
    var record = recorded ?? StatusRecord(state: state)
    record.state = state
    if !state.isLive {
      record.process = nil
      record.consolePorts = [:]
      record.teleporterPort = nil
      record.teleporterAddress = nil
      record.vncPort = nil
      record.sandbox = nil
      record.protection = nil
    }
    return record
  }
}
