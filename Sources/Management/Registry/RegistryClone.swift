import DiskImages
import Foundation
import Machine

/// What a copy of a machine is to be like.
public struct CloneOptions: Sendable {
  /// What becomes of the network cards' addresses.
  public enum Addresses: Sendable {
    case new
    /// Cards on nat keep theirs: nobody else sees them.
    case newButForNAT
    case same
  }

  /// Its name.
  public var name: String
  /// Its identity.
  public var uuid = UUID()
  /// The folder in which its folder is made; nil: that of this host's machines.
  public var baseFolder: String?
  /// Its network cards' addresses.
  public var addresses = Addresses.new
  /// The copies of its disks are called as these are, and not after the machine.
  public var keepsDiskNames = false

  /// A copy with an identity of its own.
  public init(name: String) { self.name = name }
}

extension Registry {
  /// Makes a copy of a machine that does not run: its settings, and copies of the disks that it writes, in the copy's folder.
  /// Discs and disks that are only read stay where they are. The copy is there whole or not at all.
  /// - Parameter progress: is told how far the disks are, in per cent; what it throws ends it.
  /// - Returns: the copy, and what the user should know.
  /// - Throws: `ManagementError` or `DiskImageError`; then nothing has changed.
  public func clone(
    _ entry: VMEntry, _ options: CloneOptions, progress: (_ percent: Int) throws -> Void = { _ in }
  ) throws -> (entry: VMEntry, notes: [String]) {
    try Self.checkName(options.name)
    let original = try entry.folder.whileEditing { () throws -> VMDefinition in
      try Self.refuse(entry.folder, name: entry.name, doing: "cloned", whileSaved: true)
      return try entry.folder.readDefinition(checkingHost: false)
    }
    var copy = original
    (copy.name, copy.uuid) = (options.name, options.uuid)
    try checkFree(copy)
    let base = options.baseFolder.map(Files.absolute) ?? machines
    try Files.makeDirectory(machines)
    try Files.makeDirectory(base)
    let path = base + "/" + options.name
    guard !Files.exists(path) else {
      throw ManagementError("\(path) is there already", remedy: "choose another --name or --basefolder")
    }
    var passing = try PassingFolder(base, gate: machines + "/.cloning.lock")
    do {
      let disks = copy.hardware.moveWrittenDisks(to: path, named: options.keepsDiskNames ? nil : options.name)
      try Self.copy(disks, in: passing.path, progress)
      copy.hardware.moveOutputs(from: Self.paths(of: entry), to: path)
      try copy.hardware.renewAddresses(options.addresses)
      try VMFolder(path: passing.path).write(copy)
      // It may have taken a while.
      try checkFree(copy)
      guard rename(passing.path, path) == 0 else { throw ManagementError.system("cannot make \(path)") }
      passing.path = path
      if options.baseFolder != nil { try link(path, as: options.name) }
    } catch {
      passing.remove()
      throw error
    }
    return (
      VMEntry(folder: VMFolder(path: machines + "/" + options.name), definition: copy),
      copy.meetings(with: original)
    )
  }

  private static func copy(
    _ disks: [MachineConfiguration.MovedDisk], in folder: String, _ progress: (Int) throws -> Void
  ) throws {
    // All of them before the first is copied: what is in use is told at once.
    var copies: [ImageCopy] = []
    defer { for copy in copies { copy.close() } }
    for disk in disks { copies.append(try ImageCopy(of: disk.path, format: disk.format)) }
    let total = max(copies.reduce(0) { $0 + $1.size }, 1)
    var before: UInt64 = 0
    for (disk, copy) in zip(disks, copies) {
      try copy.write(to: folder + "/" + disk.name) { try progress(Int((before + $0) * 100 / total)) }
      before += copy.size
    }
  }

  /// A machine's folder as paths may name it: by its place here, and where that leads.
  static func paths(of entry: VMEntry) -> [String] {
    let place = entry.folder.path
    let target = URL(fileURLWithPath: place).resolvingSymlinksInPath().path
    return place == target ? [place] : [place, target]
  }
}

/// A folder that is a machine's when all of it is there. What a copying that was killed has left is removed by the next one.
private struct PassingFolder {
  private static let prefix = ".cloning-"
  var path: String
  private let life: FileLock

  /// - Parameter gate: a file by whose lock one at a time makes or clears away.
  init(_ base: String, gate: String) throws {
    path = base + "/" + Self.prefix + UUID().uuidString.lowercased()
    let gate = try FileLock(path: gate)
    gate.waitLock(.editing)
    defer { gate.unlock(.editing) }
    for name in (try? FileManager.default.contentsOfDirectory(atPath: base)) ?? [] where name.hasPrefix(Self.prefix) {
      let old = base + "/" + name
      guard (try? FileLock(path: old + "/lock").isHeldElsewhere(.editing)) == false else { continue }
      try? FileManager.default.removeItem(atPath: old)
    }
    guard mkdir(path, 0o700) == 0 else { throw ManagementError.system("cannot make the folder \(path)") }
    life = try FileLock(path: VMFolder(path: path).lock)
    life.waitLock(.editing)
  }

  func remove() { try? FileManager.default.removeItem(atPath: path) }
}

extension MachineConfiguration {
  /// A disk of which a copy is to be made.
  struct MovedDisk: Equatable {
    /// Where it is.
    var path: String
    /// nil: raw, unless it looks otherwise.
    var format: ImageFormat?
    /// What the copy is called.
    var name: String
  }

  /// Gives each disk that the guest writes a new place in `folder`.
  /// - Parameter machine: after which they are called there; nil: as they are called now.
  /// - Returns: which, once each.
  mutating func moveWrittenDisks(to folder: String, named machine: String?) -> [MovedDisk] {
    var moved: [MovedDisk] = []
    for index in storageControllers.indices {
      for number in storageControllers[index].attachments.indices {
        let attachment = storageControllers[index].attachments[number]
        guard attachment.isWritten, let path = attachment.medium else { continue }
        let disk =
          moved.first { $0.path == path }
          ?? MovedDisk(
            path: path, format: attachment.format,
            name: Self.name(for: path, machine, moved.map(\.name)))
        if !moved.contains(disk) { moved.append(disk) }
        storageControllers[index].attachments[number].medium = folder + "/" + disk.name
      }
    }
    return moved
  }

  private static func name(for path: String, _ machine: String?, _ taken: [String]) -> String {
    let url = URL(fileURLWithPath: path)
    let ending = url.pathExtension.isEmpty ? "img" : url.pathExtension
    guard let machine else {
      let name = url.lastPathComponent
      let stem = url.deletingPathExtension().lastPathComponent
      // Two folders may have a file of one name; and a machine's folder has files of its own.
      let own = ["definition.toml", "lock", "log", "status.json", "saved.state", "teleport.json"]
      if !taken.contains(name), !own.contains(name) { return name }
      return (2...).lazy.map { "\(stem)-\($0).\(ending)" }.first { !taken.contains($0) } ?? name
    }
    return "\(machine)-disk\(taken.count + 1).\(ending)"
  }

  /// What was in a folder is in another.
  mutating func moveFiles(from old: String, to new: String) {
    func moved(_ path: String) -> String { path.hasPrefix(old + "/") ? new + path.dropFirst(old.count) : path }
    moveOutputs(from: [old], to: new)
    firmware = firmware.map(moved)
    kernel = kernel.map(moved)
    // Several files, perhaps, with their arguments.
    initrd = initrd?.replacing(old + "/", with: new + "/")
    for index in networkAdapters.indices {
      networkAdapters[index].tftpFolder = networkAdapters[index].tftpFolder.map(moved)
    }
    for index in storageControllers.indices {
      for number in storageControllers[index].attachments.indices {
        let medium = storageControllers[index].attachments[number].medium
        storageControllers[index].attachments[number].medium = medium.map(moved)
      }
    }
  }

  /// What is written or made in one of the folders is written in another.
  mutating func moveOutputs(from folders: [String], to folder: String) {
    func moved(_ path: String) -> String {
      for old in folders where path.hasPrefix(old + "/") { return folder + path.dropFirst(old.count) }
      return path
    }
    func moved(_ mode: UartMode) -> UartMode {
      switch mode {
      case .file(let path): .file(path: moved(path))
      case .unixServer(let path): .unixServer(path: moved(path))
      case .disconnected, .tcpServer, .tcpClient: mode
      }
    }
    for index in uarts.indices { uarts[index].mode = moved(uarts[index].mode) }
    virtioConsoleMode = moved(virtioConsoleMode)
    for index in networkAdapters.indices {
      networkAdapters[index].traceFile = networkAdapters[index].traceFile.map(moved)
    }
  }

  fileprivate mutating func renewAddresses(_ policy: CloneOptions.Addresses) throws {
    for index in networkAdapters.indices {
      let staysSame =
        switch policy {
        case .new: false
        case .newButForNAT: networkAdapters[index].network == .nat
        case .same: true
        }
      if !staysSame { networkAdapters[index].macAddress = NetworkAdapter.newAddress() }
    }
  }
}

extension VMDefinition {
  /// What the two cannot have at one time, in words: a copy is told of what it has from its original.
  func meetings(with other: VMDefinition) -> [String] {
    let quoted = ShellWord.quote(name)
    let both = "\"\(other.name)\" and \"\(name)\""
    var lines: [String] = []
    for console in hardware.consoles {
      guard let theirs = other.hardware.consoles.first(where: { $0.slot == console.slot }), theirs.mode == console.mode
      else { continue }
      let option = ConsoleName.option(console.slot)
      switch console.mode {
      case .tcpServer(_, let port) where port != 0:
        lines.append(
          "\(ConsoleName.text(console.slot)) of both \(both) is on port \(port): they cannot run at one time; "
            + "vmctl modifyvm \(quoted) \(option) tcpserver 0 gives it a free one")
      case .file(let path), .unixServer(let path):
        lines.append(
          "\(ConsoleName.text(console.slot)) of both \(both) is on \(path): give it another with "
            + "vmctl modifyvm \(quoted) \(option)")
      case .disconnected, .tcpServer, .tcpClient: break
      }
    }
    for card in hardware.networkAdapters where card.network == .nat {
      for rule in card.natConfiguration.forwards {
        lines.append(
          "network card \(card.slot) of both \(both) forwards port \(rule.hostPort): it holds for the one that starts first; "
            + "vmctl modifyvm \(quoted) --nat-pf\(card.slot) delete \(ShellWord.quote(rule.name)) takes it away")
      }
    }
    if screen.enabled, screen.port != 0, screen.address?.hasPrefix("/") != true {
      lines.append(
        "the screens of both \(both) are on port \(screen.port): they cannot run at one time; "
          + "vmctl modifyvm \(quoted) --vrde-port 0 gives it a free one")
    }
    if teleporter.enabled, teleporter.port != 0 {
      lines.append(
        "both \(both) wait for a teleport on port \(teleporter.port); vmctl modifyvm \(quoted) --teleporter off ends that"
      )
    }
    return lines
  }
}
