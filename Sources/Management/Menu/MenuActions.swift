import Foundation
import Teleport

/// What the menu does with machines, by the functions that commands have too.
public final class MenuActions: @unchecked Sendable {
  let services: Services
  private let lock = NSLock()
  /// Ends the operation that can be ended half-way. Guarded by `lock`.
  private var canceller: (() -> Void)?

  /// The actions on a host's machines.
  public init(_ services: Services) { self.services = services }

  /// - Parameter progress: is told how far it is, from this thread.
  /// - Returns: what to tell the user.
  /// - Throws: `ManagementError`, with the machine as it was where that was possible.
  public func perform(_ operation: MenuOperation, progress: (String) -> Void) throws -> String {
    switch operation {
    case .add(let addition): return try add(addition)
    case .removeService(let name):
      try services.remove(try services.registry.find(name))
      return "\"\(name)\" is no service any more"
    case .unregister(let name):
      let entry = try services.registry.find(name)
      let place = services.registry.restingPlace(of: entry)
      let notes = try services.registry.unregister(entry, delete: false)
      return (["\"\(name)\" is forgotten; its folder is \(place)"] + notes).joined(separator: "; ")
    case .start(let name): return try start(try services.registry.find(name))
    case .stop(let name): return try services.stop(try services.registry.find(name)).joined(separator: "; ")
    case .end(let name, let mode):
      let client = try ControlClient(try services.registry.find(name))
      try client.request(ControlRequest(mode.command)) { progress($0.progress ?? "") }
      switch mode {
      case .savestate: return "\"\(name)\" is saved"
      case .acpi: return "the power button of \"\(name)\" is pressed; its guest does with that what it does"
      case .poweroff: return "\"\(name)\" is off"
      }
    case .teleport(let name, let wish): return try teleport(try services.registry.find(name), wish, progress)
    case .protect(let name, let wish): return try protect(try services.registry.find(name), wish, progress)
    case .unprotect(let name, let force):
      return try unprotect(try services.registry.find(name), force: force, progress)
    case .handOver(let name): return try handOver(try services.registry.find(name))
    }
  }

  /// Ends a teleport that is under way, or the beginning of a protection; the machine runs on here.
  public func cancel() { lock.withLock { canceller }?() }

  /// - Parameter canceller: called from another thread.
  func whileCancellable<T>(_ canceller: @escaping () -> Void, _ body: () throws -> T) rethrows -> T {
    lock.withLock { self.canceller = canceller }
    defer { lock.withLock { self.canceller = nil } }
    return try body()
  }

  private func add(_ addition: MenuOperation.Addition) throws -> String {
    let registry = services.registry
    var made = ""
    if !(try registry.list().entries.contains { $0.name == addition.name }) {
      var definition = VMDefinition(name: addition.name)
      try definition.set("memory", [String(addition.memoryMB)])
      definition.addDefaults()
      try registry.create(definition)
      made = "the machine is made; "
    }
    var changes = Services.Changes()
    changes.autoboot = addition.autoboot
    changes.restart = addition.restart
    changes.stopMode = addition.stopMode
    return made + (try services.add(try registry.find(addition.name), changes)).joined(separator: "; ")
  }

  private func start(_ entry: VMEntry) throws -> String {
    let isService = try services.store.settings(entry) != nil
    let lines =
      isService ? try services.start(entry) : try VMLauncher.start(entry, registry: services.registry)
    try services.setCurrent(entry)
    return lines.joined(separator: "; ")
  }

  private func teleport(_ entry: VMEntry, _ wish: TeleportRequest, _ progress: (String) -> Void) throws -> String {
    let client = try ControlClient(entry)
    var request = ControlRequest(.teleport)
    request.teleport = wish
    let reply = try whileCancellable({ try? client.post(ControlRequest(.cancel)) }) {
      try client.request(request) { progress($0.progress ?? "") }
    }
    return "\"\(entry.name)\" is teleported to \(wish.host)" + (reply.text.map { ", \($0)" } ?? "")
  }

  // MARK: Reading

  /// Lines of a log that are shown, from its end.
  private static let mostLines = 50_000

  private static func lines(_ text: String) -> [String] {
    text.split(whereSeparator: \.isNewline).suffix(mostLines).map { ForeignText.clean(String($0)) }
  }

  /// - Throws: `ManagementError` when there is nothing to read.
  public func read(_ reading: MenuReading) throws -> [String] {
    switch reading {
    case .details(let name):
      guard let row = try services.list(asksGuests: true, only: name).machines.first else {
        throw ManagementError("\"\(name)\" cannot be read")
      }
      return ServiceText.details(row)
    case .log(let name, let index):
      let entry = try services.registry.find(name)
      guard let text = entry.folder.readLog(index) else {
        throw ManagementError(
          index == 0 ? "\"\(name)\" has no log yet: it has never been started" : "\"\(name)\" has no older log")
      }
      // What a guest has written is in it, too.
      return Self.lines(text)
    case .record(let name, let index):
      let entry = try services.registry.find(name)
      let slot = entry.definition.hardware.uarts.map(\.slot).min() ?? 1
      guard let text = entry.folder.readConsoleRecord(slot, index) else {
        throw ManagementError(
          "\"\(name)\" has no such record: services' consoles are recorded while nobody is connected")
      }
      return Self.lines(text)
    case .protection(let name): return try standing(try services.registry.find(name))
    }
  }
}

extension VMDefinition {
  /// An IDE controller, and a console on a free port.
  public mutating func addDefaults() {
    hardware.storageControllers = [.init(name: "IDE", bus: .ide)]
    hardware.uarts = [.init(slot: 1, ioBase: 0x3F8, irq: 4, mode: .tcpServer(host: nil, port: 0))]
  }
}
