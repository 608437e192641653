import DiskImages
import Foundation
import Machine
import SavedState
import Teleport

/// A VM that the registry knows.
public struct VMEntry: Sendable {
  /// Its files.
  public let folder: VMFolder
  /// What its definition file says.
  public let definition: VMDefinition
  /// By which commands know it.
  public var name: String { definition.name }
}

/// A machine whose definition cannot be read.
public struct InaccessibleVM: Sendable {
  /// Of its folder, which has the machine's name.
  public var name: String
  /// As its definition has it, where that can be told.
  public var uuid: String?
  /// Why.
  public var reason: String
}

extension VMFolder {
  /// The UUID in a definition that cannot be read as one.
  fileprivate var guessedUUID: String? {
    let text = (try? Files.read(definition)) ?? ""
    let line = text.split(separator: "\n").first { $0.hasPrefix("uuid") }
    return line?.split(separator: "\"").dropFirst().first.flatMap { UUID(uuidString: String($0)) }?.uuidString
      .lowercased()
  }
}

/// A host's VMs: the folders below `$VMCTL_HOME/machines`, and links there to folders elsewhere. The file system is the
/// registry; nobody keeps it in memory.
public struct Registry: Sendable {
  /// The folder that everything of this host is in.
  public let home: String
  var machines: String { home + "/machines" }

  /// The registry of a host.
  public init(home: String) { self.home = home }

  /// `$VMCTL_HOME`, else `$XDG_DATA_HOME/vmctl`, else `~/.local/share/vmctl`.
  /// - Throws: `ManagementError` when there is none of them.
  public static func fromEnvironment(_ environment: [String: String] = ProcessInfo.processInfo.environment) throws
    -> Registry
  {
    if let home = environment["VMCTL_HOME"], !home.isEmpty { return Registry(home: Files.absolute(home)) }
    if let data = environment["XDG_DATA_HOME"], data.hasPrefix("/") { return Registry(home: data + "/vmctl") }
    guard let user = environment["HOME"], user.hasPrefix("/") else {
      throw ManagementError(
        "neither VMCTL_HOME nor HOME is set", remedy: "set VMCTL_HOME to the folder of your machines")
    }
    return Registry(home: user + "/.local/share/vmctl")
  }

  /// A name is a folder's name too, and a word in a table.
  /// - Throws: `ManagementError` when it cannot be.
  public static func checkName(_ name: String) throws {
    let isPlain = name.unicodeScalars.allSatisfy { $0.value >= 32 && $0.value != 127 }
    guard !name.isEmpty, name.utf8.count <= 100, isPlain, !name.contains("/"), !name.hasPrefix("."),
      !name.hasPrefix("-")
    else {
      throw ManagementError(
        "\"\(name)\" cannot be a machine's name",
        remedy: "use up to 100 characters, no \"/\", and no \".\" or \"-\" in front")
    }
  }

  // MARK: Looking

  /// The VMs in order of name, and what is wrong with those that cannot be read.
  public func list() throws -> (entries: [VMEntry], inaccessible: [InaccessibleVM]) {
    guard Files.exists(machines) else { return ([], []) }
    var entries: [VMEntry] = []
    var inaccessible: [InaccessibleVM] = []
    for name in try FileManager.default.contentsOfDirectory(atPath: machines).sorted() where !name.hasPrefix(".") {
      let folder = VMFolder(path: machines + "/" + name)
      do {
        entries.append(VMEntry(folder: folder, definition: try folder.readDefinition(checkingHost: false)))
      } catch {
        // Unregistered meanwhile. A link that leads nowhere is there still.
        var information = stat()
        guard lstat(folder.path, &information) == 0 else { continue }
        inaccessible.append(
          InaccessibleVM(name: name, uuid: folder.guessedUUID, reason: ManagementError.line(for: error)))
      }
    }
    return (entries.sorted { $0.name < $1.name }, inaccessible)
  }

  func folder(of machine: InaccessibleVM) -> VMFolder { VMFolder(path: machines + "/" + machine.name) }

  /// The VM with this name or UUID.
  /// - Throws: `ManagementError` when there is none, or its definition cannot be read.
  public func find(_ name: String, checkingHost: Bool = false) throws -> VMEntry {
    let direct = VMFolder(path: machines + "/" + name)
    if (try? Self.checkName(name)) != nil, Files.exists(direct.definition) {
      let definition = try direct.readDefinition(checkingHost: checkingHost)
      if definition.name == name { return VMEntry(folder: direct, definition: definition) }
    }
    let all = try list()
    let uuid = UUID(uuidString: name)
    guard let entry = all.entries.first(where: { $0.name == name || (uuid != nil && $0.definition.uuid == uuid) })
    else {
      if let problem = all.inaccessible.first(where: { $0.name == name || $0.uuid == name.lowercased() })
        ?? all.inaccessible.first
      {
        throw ManagementError("no machine \"\(name)\" can be read: \(problem.reason)")
      }
      throw ManagementError(
        "there is no machine \"\(name)\" in \(home)", remedy: "see vmctl list vms, or make it with vmctl createvm")
    }
    if checkingHost { _ = try entry.folder.readDefinition(checkingHost: true) }
    return entry
  }

  // MARK: Making and ending

  /// Makes a VM. Its folder is below `baseFolder` when one is given, with a link to it in the registry.
  /// - Throws: `ManagementError` when there is one of that name, or its folder cannot be made.
  @discardableResult
  public func create(_ definition: VMDefinition, baseFolder: String? = nil) throws -> VMEntry {
    try Self.checkName(definition.name)
    try HardwareLimits.check(definition.hardware)
    try checkFree(definition)
    try Files.makeDirectory(machines)
    let path = (baseFolder.map(Files.absolute) ?? machines) + "/" + definition.name
    if let baseFolder { try Files.makeDirectory(Files.absolute(baseFolder)) }
    guard mkdir(path, 0o700) == 0 else {
      throw ManagementError.system("cannot make the folder \(path)", remedy: "choose another --name or --basefolder")
    }
    let folder = VMFolder(path: path)
    do {
      try folder.write(definition)
      if baseFolder != nil { try link(path, as: definition.name) }
    } catch {
      // Nothing but what was made here is in it.
      try? FileManager.default.removeItem(atPath: path)
      throw error
    }
    return VMEntry(folder: VMFolder(path: machines + "/" + definition.name), definition: definition)
  }

  /// Makes a VM known whose folder is elsewhere.
  /// - Throws: `ManagementError` when its definition cannot be read, or its name is taken.
  @discardableResult
  public func register(definitionFile: String) throws -> VMEntry {
    var path = Files.absolute(definitionFile)
    if path.hasSuffix("/definition.toml") { path.removeLast("/definition.toml".count) }
    let folder = VMFolder(path: path)
    guard Files.exists(folder.definition) else {
      throw ManagementError("\(definitionFile) is no machine's definition.toml", remedy: "name that file or its folder")
    }
    let definition = try folder.readDefinition(checkingHost: false)
    try checkFree(definition)
    try Files.makeDirectory(machines)
    if path != machines + "/" + definition.name { try link(path, as: definition.name) }
    return VMEntry(folder: folder, definition: definition)
  }

  func link(_ path: String, as name: String) throws {
    guard symlink(path, machines + "/" + name) == 0 else {
      throw ManagementError.system("cannot register \(path) as \(machines)/\(name)")
    }
  }

  func checkFree(_ definition: VMDefinition) throws {
    for entry in try list().entries {
      if entry.name == definition.name {
        throw ManagementError("there is a machine \"\(entry.name)\" already", remedy: "choose another --name")
      }
      if entry.definition.uuid == definition.uuid {
        throw ManagementError(
          "the machine \"\(entry.name)\" has the UUID \(definition.uuid.uuidString.lowercased()) already")
      }
    }
  }

  /// Forgets a VM; its folder stays unless it is deleted. Disk images elsewhere are left alone.
  /// - Returns: what the user should know.
  @discardableResult
  public func unregister(_ entry: VMEntry, delete: Bool) throws -> [String] {
    let folder = entry.folder
    return try folder.whileEditing {
      try Self.refuse(folder, name: entry.name, doing: "unregistered", whileSaved: false)
      let notes = AnchorFile.end(folder) { _ in true }
      let place = machines + "/" + URL(fileURLWithPath: entry.folder.path).lastPathComponent
      var information = stat()
      guard lstat(place, &information) == 0 else { throw ManagementError.system("cannot find \(place)") }
      let isLink = information.st_mode & S_IFMT == S_IFLNK
      if delete {
        // Gone for who looks at the same moment, then removed file by file.
        var target = machines + "/.removed-" + entry.definition.uuid.uuidString.lowercased()
        if isLink {
          target = try FileManager.default.destinationOfSymbolicLink(atPath: place)
          unlink(place)
        } else {
          guard Glibc.rename(place, target) == 0 else { throw ManagementError.system("cannot remove \(place)") }
        }
        try FileManager.default.removeItem(atPath: target)
      } else if isLink {
        guard unlink(place) == 0 else { throw ManagementError.system("cannot unregister \(place)") }
      } else {
        let target = home + "/unregistered/" + entry.definition.uuid.uuidString.lowercased()
        try Files.makeDirectory(home + "/unregistered")
        guard Glibc.rename(place, target) == 0 else {
          throw ManagementError.system("cannot move \(place) to \(target)")
        }
      }
      return notes
    }
  }

  /// Where `unregister` leaves the folder of a VM that it does not delete.
  public func restingPlace(of entry: VMEntry) -> String {
    let place = machines + "/" + URL(fileURLWithPath: entry.folder.path).lastPathComponent
    if let target = try? FileManager.default.destinationOfSymbolicLink(atPath: place) { return target }
    return home + "/unregistered/" + entry.definition.uuid.uuidString.lowercased()
  }

  // MARK: Changing

  /// Changes a definition. What may change while the VM runs or has a saved state, each setting says (`SettingChange`).
  /// - Throws: what `change` throws; `ManagementError` when the VM's state does not allow it, or this host cannot have it so.
  /// - Returns: what the user should know.
  @discardableResult
  public func modify(_ entry: VMEntry, _ change: (inout VMDefinition) throws -> Void) throws -> [String] {
    let folder = entry.folder
    return try folder.whileEditing {
      let old = try folder.readDefinition(checkingHost: false)
      var new = old
      try change(&new)
      if new != old { try write(new, in: entry, instead: old) }
      return endAnchors(new.name == old.name ? folder : VMFolder(path: machines + "/" + new.name), new)
        + [Self.panicNote(new, instead: old)].compactMap { $0 }
    }
  }

  /// What is asked for when a kernel panics comes to nothing where it cannot say so.
  private static func panicNote(_ new: VMDefinition, instead old: VMDefinition) -> String? {
    func isVain(_ definition: VMDefinition) -> Bool { definition.onPanic != .none && !definition.hardware.pvpanic }
    guard isVain(new), new.onPanic != old.onPanic || !isVain(old) else { return nil }
    return "--on-panic does nothing while the guest has nothing to say a panic by: vmctl modifyvm "
      + "\(ShellWord.quote(new.name)) --pvpanic on"
  }

  private func write(_ new: VMDefinition, in entry: VMEntry, instead old: VMDefinition) throws {
    let folder = entry.folder
    let changed = VMDefinition.settings.filter { $0.text(old) != $0.text(new) }
    // Where an image lies may change, and which disc is in a CD-ROM drive: whether a hard disk is still the one that
    // the state was saved with is seen when it goes on.
    let isOfMedia = old.hardware.withoutMedia == new.hardware.withoutMedia
    switch changed.map({ $0.name == "storage" && isOfMedia ? .whenSaved : $0.change }).min() {
    case .whenOff: try Self.refuse(folder, name: old.name, doing: "changed", whileSaved: true, changed.map(\.name))
    case .whenSaved: try Self.refuse(folder, name: old.name, doing: "changed", whileSaved: false)
    case .always, nil: break
    }
    try HardwareLimits.check(new.hardware)
    _ = try new.screen.place()
    _ = try new.teleporter.listenAddress(
      hasPassword: new.teleporter.password != nil || new.teleporter.passwordFile != nil)
    if new.name == old.name { return try folder.change(to: new) }
    try rename(entry, old: old, to: new.name)
    var moved = new
    // What lies in the machine's own folder has gone with it.
    moved.hardware.moveFiles(from: folder.path, to: machines + "/" + new.name)
    try VMFolder(path: machines + "/" + new.name).change(to: moved)
  }

  /// Flows that this host carries on for a machine that has gone end when they are not wanted any more.
  /// - Returns: what ends, in words.
  private func endAnchors(_ folder: VMFolder, _ definition: VMDefinition) -> [String] {
    let unwanted = definition.hardware.networkAdapters.filter { !$0.isAnchored }.map(\.slot)
    return unwanted.isEmpty ? [] : AnchorFile.end(folder) { unwanted.contains($0.card) }
  }

  private func rename(_ entry: VMEntry, old: VMDefinition, to name: String) throws {
    try Self.checkName(name)
    guard !(try list().entries.contains { $0.name == name }) else {
      throw ManagementError("there is a machine \"\(name)\" already", remedy: "choose another --name")
    }
    let place = machines + "/" + URL(fileURLWithPath: entry.folder.path).lastPathComponent
    guard Glibc.rename(place, machines + "/" + name) == 0 else {
      throw ManagementError.system("cannot rename \(place)")
    }
  }

  /// - Parameter settings: those that only a machine without a saved state may change are told.
  static func refuse(
    _ folder: VMFolder, name: String, doing what: String, whileSaved: Bool, _ settings: [String] = []
  ) throws {
    let state = try folder.currentStatus().state
    if state.isLive {
      throw ManagementError(
        "the machine \"\(name)\" is \(state.rawValue) and cannot be \(what)",
        remedy: "end it first with vmctl controlvm \"\(name)\" poweroff")
    }
    if whileSaved && state == .saved {
      throw ManagementError(
        "the machine \"\(name)\" has a saved state, which fits its present hardware only, and cannot be \(what)"
          + (settings.isEmpty ? "" : " (\(settings.joined(separator: ", ")))"),
        remedy: "start it, or drop the state with vmctl discardstate \"\(name)\"")
    }
  }

  /// Drops the saved state. The VM is then off.
  /// - Throws: `ManagementError` when there is none.
  public func discardState(_ entry: VMEntry) throws {
    let folder = entry.folder
    try folder.whileEditing {
      guard try folder.currentStatus().state == .saved else {
        throw ManagementError(
          "the machine \"\(entry.name)\" has no saved state", remedy: "see vmctl showvminfo \"\(entry.name)\"")
      }
      try folder.write(StatusRecord(state: .poweroff))
      folder.dropState()
    }
  }

  /// Makes a copy of a saved state the machine's, which goes on from it when it is started. Whether it fits is seen then.
  /// - Throws: `ManagementError` when the machine runs or has a state already, or the file is no saved state.
  public func adoptState(_ entry: VMEntry, file: String) throws {
    let folder = entry.folder
    try folder.whileEditing {
      try Self.refuse(folder, name: entry.name, doing: "given a saved state", whileSaved: true)
      do {
        try StateFile.read(file) { _ = try StateReader(source: $0) }
        try StateFile.read(file) { source in
          try StateFile.replace(folder.state) { sink in
            let piece = UnsafeMutableRawBufferPointer.allocate(byteCount: 1 << 20, alignment: 16)
            defer { piece.deallocate() }
            while case let count = try source(piece), count > 0 {
              try sink(UnsafeRawBufferPointer(rebasing: piece[..<count]))
            }
          }
        }
      } catch {
        throw ManagementError(
          "\(file) cannot be adopted: \(ManagementError.line(for: error))",
          remedy: "name a file that controlvm savestate has written")
      }
      unlink(folder.connections)
      try folder.write(StatusRecord(state: .saved))
    }
  }
}

extension VMEntry {
  /// What a teleport left open when its process died, if anything.
  public var openTeleport: TeleportRecord? {
    guard let record = TeleportRecord.read(from: folder.teleport) else { return nil }
    return record.role == .source && record.step == .committing ? record : nil
  }

  /// Answers the question for a VM that does not run.
  /// - Throws: `ManagementError` when there is no such question.
  public func resolveTeleport(takeBack: Bool) throws {
    try folder.whileEditing {
      guard var record = openTeleport, try !folder.currentStatus().state.isLive else {
        throw ManagementError("no teleport of \"\(name)\" is in doubt", remedy: "see vmctl showvminfo \"\(name)\"")
      }
      record.step = takeBack ? .keptHere : .handedOver
      try record.write(to: folder.teleport)
      if !takeBack { try folder.write(StatusRecord(state: .teleported)) }
    }
  }
}

extension Registry {
  /// Limits and folders, as `list systemproperties` has them.
  public var properties: [(String, String)] {
    [
      ("Default machine folder", machines), ("Minimum guest RAM size", "1 MB"),
      ("Maximum guest RAM size", "\(Host.memoryMB) MB"),
      ("Maximum video RAM size", "256 MB"), ("Maximum guest CPU count", "\(HardwareLimits.maximumCPUs)"),
      ("Maximum number of serial ports", "4"), ("Maximum IDE controllers", "1"), ("Maximum IDE port count", "2"),
      ("Maximum devices per IDE port", "2"), ("Default hard disk format", "raw"),
    ]
  }
}

extension MachineConfiguration {
  /// Drives keep their places and kinds.
  fileprivate var withoutMedia: [StorageController] {
    storageControllers.map { controller in
      var controller = controller
      for index in controller.attachments.indices {
        controller.attachments[index].medium = nil
        controller.attachments[index].format = nil
      }
      return controller
    }
  }
}
