import Foundation
import Machine
import Teleport

/// Makes machines of definitions that come with them, and has them wait for the rest (`vmctl receive`).
public struct MachineReception: Sendable {
  private let registry: Registry
  private let address: String
  private let passwordFile: String

  /// - Parameters: address: on which they wait. passwordFile: with the password that sources know.
  public init(_ registry: Registry, address: String, passwordFile: String) {
    self.registry = registry
    self.address = address
    self.passwordFile = Files.absolute(passwordFile)
  }

  /// A definition as it travels: what is one host's own stays there.
  static func portable(_ definition: VMDefinition) -> String {
    var definition = definition
    definition.teleporter = VMDefinition.Teleporter()
    definition.screen = VMDefinition.RemoteScreen()
    definition.sandbox = true
    return definition.toml()
  }

  /// What a definition from elsewhere becomes here. How the machine waits and is kept in is this host's to say.
  /// - Throws: `ManagementError` when it is none, or this host cannot have it.
  func arriving(_ text: String) throws -> VMDefinition {
    var definition = try VMDefinition(toml: text, file: "the definition", checkingHost: true)
    try Registry.checkName(definition.name)
    definition.teleporter = VMDefinition.Teleporter()
    definition.teleporter.enabled = true
    definition.teleporter.address = address
    definition.teleporter.passwordFile = passwordFile
    definition.screen = VMDefinition.RemoteScreen()
    definition.sandbox = true
    return definition
  }

  /// - Returns: where the machine waits.
  /// - Throws: `ManagementError` when this host cannot have it, or has another machine of that name, or has it already.
  public func receive(_ text: String) throws -> TeleportReceiver.Place {
    let definition = try arriving(text)
    let known = try registry.list().entries.first { $0.definition.uuid == definition.uuid }
    let entry = try known.map { try take($0, definition) } ?? registry.create(definition)
    do {
      _ = try VMLauncher.start(entry, registry: registry)
      guard let port = try entry.folder.currentStatus().teleporterPort else {
        throw ManagementError("\"\(entry.name)\" does not say where it waits")
      }
      return TeleportReceiver.Place(port: port) { release(entry, before: known?.definition) }
    } catch {
      restore(entry, known?.definition)
      throw error
    }
  }

  /// The machine has been here before: it is now what the definition says.
  private func take(_ entry: VMEntry, _ definition: VMDefinition) throws -> VMEntry {
    guard entry.name == definition.name else {
      throw ManagementError("the machine is called \"\(entry.name)\" here", remedy: "give it one name on both hosts")
    }
    // What still waits does so for a source that has gone.
    if try entry.folder.currentStatus().state == .teleportingin { Self.end(entry) }
    try registry.modify(entry) { $0 = definition }
    return try registry.find(entry.name)
  }

  /// What was made for a machine that has not come is what it was before, if it was there at all.
  private func restore(_ entry: VMEntry, _ before: VMDefinition?) {
    if let before {
      _ = try? registry.modify(entry) { $0 = before }
    } else {
      _ = try? registry.unregister(entry, delete: true)
    }
  }

  /// A machine that has not come leaves nothing behind.
  private func release(_ entry: VMEntry, before: VMDefinition?) -> Bool {
    // Of a hand-over that is under way the target decides, within its time of grace.
    let end = Date().addingTimeInterval(15)
    var state = VMState.teleportingin
    while Date() < end || state == .standby {
      state = (try? entry.folder.currentStatus().state) ?? .aborted
      // A copy of a machine that is protected decides for itself, when its primary is lost.
      if state == .standby {
        usleep(100_000)
        continue
      }
      guard state == .teleportingin else { break }
      let reply = try? ControlClient(entry, patience: 3).request(ControlRequest(.status))
      guard let phase = reply?.teleport?.phase, ![.connecting, .done].contains(phase) else { break }
      usleep(100_000)
    }
    guard state == .teleportingin else { return state == .running || state == .paused }
    Self.end(entry)
    restore(entry, before)
    return false
  }

  private static func end(_ entry: VMEntry) {
    _ = try? ControlClient(entry).request(ControlRequest(.poweroff))
    let end = Date().addingTimeInterval(10)
    while Date() < end, let state = try? entry.folder.currentStatus().state, state.isLive { usleep(20_000) }
  }
}
