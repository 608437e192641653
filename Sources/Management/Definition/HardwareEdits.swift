import Foundation
import Machine

/// File names as users give them.
public enum Paths {
  /// The path from the root on; what begins with ~ is in the home folder.
  public static func absolute(_ path: String) -> String { HostPath.absolute(path) }

  /// A list of boot modules (`BootModule.list`), each an existing file, made absolute.
  /// - Throws: `ManagementError` when one cannot be read.
  static func modules(_ text: String, what: String) throws -> String {
    BootModule.text(
      try BootModule.list(text).map { module in
        guard !module.path.isEmpty else {
          throw ManagementError(
            "\"\(text)\" names a module without a file", remedy: "give it as \"FILE ARGUMENTS,FILE\"")
        }
        return BootModule(path: try readable(module.path, what: what), arguments: module.arguments)
      })
  }

  /// An existing file, made absolute, so that the machine finds it from any folder.
  /// - Throws: `ManagementError` when it cannot be read.
  static func readable(_ path: String, what: String) throws -> String {
    let full = HostPath.absolute(path)
    guard access(full, R_OK) == 0 else {
      throw ManagementError.system("cannot read \(full) (\(what))", remedy: "name a file that can be read")
    }
    return full
  }
}

/// What `modifyvm`, `storagectl` and `storageattach` do to the hardware that is no setting of one value.
extension MachineConfiguration {
  /// - Parameter words: leaf, EAX, EBX, ECX, EDX.
  /// - Throws: `ManagementError` when they are not.
  public mutating func setCPUID(_ words: [String]) throws {
    let numbers = words.dropFirst().compactMap { Number.parse($0) }
    guard words.count == 5, numbers.count == 4, numbers.allSatisfy({ $0 <= 0xFFFF_FFFF }) else {
      throw ManagementError(
        "--cpuid-set needs LEAF[:SUB] EAX EBX ECX EDX", remedy: "as in --cpuid-set 0x40000000 1 2 3 4")
    }
    try override(words[0], registers: numbers.map { UInt32($0) })
  }

  /// A changed leaf is the model's again; one that is the model's own reads as zeros from now on.
  /// - Throws: `ManagementError` when the text names no leaf.
  public mutating func removeCPUID(_ text: String) throws {
    let (leaf, subleaf) = try Self.leaf(text)
    if let index = cpuidOverrides.firstIndex(where: { $0.leaf == leaf && $0.subleaf == subleaf && $0.registers != nil })
    {
      cpuidOverrides.remove(at: index)
    } else {
      try override(text, registers: nil)
    }
  }

  /// All leaves are the model's again.
  public mutating func removeAllCPUID() { cpuidOverrides = [] }

  private mutating func override(_ text: String, registers: [UInt32]?) throws {
    let (leaf, subleaf) = try Self.leaf(text)
    let new = CPUIDOverride(leaf: leaf, subleaf: subleaf, registers: registers)
    if let index = cpuidOverrides.firstIndex(where: { $0.leaf == leaf && $0.subleaf == subleaf }) {
      cpuidOverrides[index] = new
    } else {
      cpuidOverrides.append(new)
    }
  }

  private static func leaf(_ text: String) throws -> (UInt32, UInt32) {
    let parts = text.split(separator: ":", omittingEmptySubsequences: false).map { Number.parse(String($0)) }
    guard (1...2).contains(parts.count), let leaf = parts[0], let subleaf = parts.count == 2 ? parts[1] : 0,
      leaf <= 0xFFFF_FFFF, subleaf <= 0xFFFF_FFFF
    else {
      throw ManagementError("\"\(text)\" is no CPUID leaf", remedy: "give LEAF or LEAF:SUB, as 7:0 or 0x80000001")
    }
    return (UInt32(leaf), UInt32(subleaf))
  }

  // MARK: Storage

  /// Adds a controller without drives. Throws `ManagementError` when there is one of that name or bus already.
  public mutating func addController(name: String, bus: StorageController.Bus) throws {
    guard !storageControllers.contains(where: { $0.name == name }) else {
      throw ManagementError("there is a storage controller \"\(name)\" already", remedy: "choose another --name")
    }
    guard !storageControllers.contains(where: { $0.bus == bus }) else {
      throw ManagementError(
        "the board has one \(bus.rawValue) controller, and it is there already", remedy: "attach media to it")
    }
    storageControllers.append(StorageController(name: name, bus: bus))
  }

  /// Removes a controller and its drives. Throws `ManagementError` when there is none of that name.
  public mutating func removeController(name: String) throws {
    let index = try controller(name)
    storageControllers.remove(at: index)
  }

  private func controller(_ name: String) throws -> Int {
    guard let index = storageControllers.firstIndex(where: { $0.name == name }) else {
      let list = storageControllers.map { "\"\($0.name)\"" }.joined(separator: ", ")
      throw ManagementError(
        "there is no storage controller \"\(name)\"",
        remedy: list.isEmpty ? "add one with vmctl storagectl --name NAME --add ide" : "there is \(list)")
    }
    return index
  }

  /// Whether there is a drive of this kind, for removable media, at a place of a controller.
  public func hasRemovableDrive(_ kind: Attachment.Kind, _ controller: String, port: Int, device: Int) -> Bool {
    storageControllers.first { $0.name == controller }?.attachments
      .contains { $0.port == port && $0.device == device && $0.kind == kind && kind.isRemovable } == true
  }

  /// - Parameter medium: nil: the place becomes free.
  /// - Throws: `ManagementError` when the controller has no such place.
  public mutating func attach(_ attachment: Attachment?, controller name: String, port: Int, device: Int) throws {
    let index = try controller(name)
    let bus = storageControllers[index].bus
    guard bus.has(port: port, device: device) else {
      throw ManagementError("port \(port) device \(device) is not possible", remedy: bus.placesInWords)
    }
    if let kind = attachment?.kind, !bus.kinds.contains(kind) {
      throw ManagementError(bus.kindsInWords, remedy: "attach it to \(kind.busInWords)")
    }
    storageControllers[index].attachments.removeAll { $0.port == port && $0.device == device }
    if let attachment {
      storageControllers[index].attachments.append(attachment)
      storageControllers[index].attachments.sort { ($0.port, $0.device) < ($1.port, $1.device) }
    }
  }
}
