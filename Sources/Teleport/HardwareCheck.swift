import DiskImages
import Machine
import X86

/// One difference between two machines that forbids a transfer. What its description does not say is how a user would
/// remove it: that is for who knows the user's commands (Management's `MismatchWords`).
public enum HardwareMismatch: Codable, Equatable, Sendable, CustomStringConvertible {
  /// A setting of `MachineConfiguration.settings`, with the words that would set it. Target nil: a build that does not know
  /// the setting.
  case setting(name: String, source: String, target: String?)
  /// A CPUID leaf: EAX, EBX, ECX, EDX; nil: the leaf is not there.
  case cpuid(leaf: UInt32, subleaf: UInt32, source: [UInt32]?, target: [UInt32]?)
  /// Firmware, kernel, initial RAM disk or command line.
  case content(source: HardwareDescription.Blob?, target: HardwareDescription.Blob?)
  /// A drive at its place. `controller`: the target's name of the controller; `isMissing`: it has none yet; `doubt`: why
  /// the target's medium is not taken for the source's.
  case drive(
    source: HardwareDescription.StorageSlot?, target: HardwareDescription.StorageSlot?, controller: String,
    isMissing: Bool, doubt: String?)
  /// A device that the other side's build has in another version, or not at all.
  case device(source: HardwareDescription.DeviceVersion?, target: HardwareDescription.DeviceVersion?)

  public var description: String { "\(subject): source \(sourceText), target \(targetText)" }

  /// What differs.
  public var subject: String {
    switch self {
    case .setting(let name, _, _): name
    case .cpuid(let leaf, let subleaf, _, _): "CPUID \(Self.key(leaf, subleaf))"
    case .content(let source, let target): source?.name ?? target?.name ?? ""
    case .drive(let source, let target, _, _, _):
      (source ?? target).map { "\($0.controller) port \($0.port) device \($0.device)" } ?? ""
    case .device(let source, let target): "device \(source?.name ?? target?.name ?? "")"
    }
  }

  /// What the source has, as text.
  public var sourceText: String { texts.source }
  /// What the target has, as text.
  public var targetText: String { texts.target }

  private var texts: (source: String, target: String) {
    switch self {
    case .setting(_, let source, let target): (source, target ?? "of a build that does not know it")
    case .cpuid(_, _, let source, let target): (Self.show(source), Self.show(target))
    case .content(let source, let target): (Self.show(source), Self.show(target))
    case .drive(let source, let target, _, _, let doubt):
      (Self.show(source), Self.show(target) + (doubt.map { ": \($0)" } ?? ""))
    case .device(let source, let target): (Self.show(source), Self.show(target))
    }
  }

  /// "0x7" or "0x7:1".
  public static func key(_ leaf: UInt32, _ subleaf: UInt32) -> String {
    "0x" + String(leaf, radix: 16) + (subleaf == 0 ? "" : ":\(subleaf)")
  }

  private static func show(_ registers: [UInt32]?) -> String {
    registers.map { $0.map { "0x" + String($0, radix: 16) }.joined(separator: " ") } ?? "absent"
  }

  private static func show(_ blob: HardwareDescription.Blob?) -> String {
    guard let blob else { return "absent" }
    if let text = blob.text { return "\"\(text)\"" }
    let place = blob.path.map { "\($0), " } ?? ""
    return "\(place)\(blob.size) bytes, SHA-256 \(blob.digest.prefix(12))"
  }

  private static func show(_ slot: HardwareDescription.StorageSlot?) -> String {
    guard let slot else { return "nothing" }
    let medium = slot.medium.map { "\($0.path), \($0.size) bytes, inode \($0.inode)" } ?? "empty"
    return "\(slot.kind.rawValue) (\(medium)\(slot.mode == .normal ? "" : ", \(slot.mode.rawValue)"))"
  }

  private static func show(_ device: HardwareDescription.DeviceVersion?) -> String {
    device.map { "\($0.kind) version \($0.version)" } ?? "absent"
  }
}

/// Compares all that a guest can notice. Every difference is found at once. Names and descriptions may differ.
public enum HardwareCheck {
  /// How the media of two drives are compared.
  public enum Media: Sendable {
    /// Those of a teleport: the target's must be proved to be the source's.
    case proved
    /// Those of a saved state: of the same size where the guest writes them; the rest is `SavedMedia`'s.
    case sized
  }

  /// - Returns: every difference, none where the machines can take over from each other.
  public static func compare(
    source: HardwareDescription, target: HardwareDescription, media: Media = .proved
  ) -> [HardwareMismatch] {
    var check = Comparison(media: media)
    check.settings(source.settings, target.settings)
    check.processor(source, target)
    check.contents(source.roms, target.roms)
    check.contents(source.boot, target.boot)
    check.storage(source, target)
    check.devices(source.devices, target.devices)
    return check.mismatches
  }
}

private struct Comparison {
  let media: HardwareCheck.Media
  var mismatches: [HardwareMismatch] = []

  /// In the order of the table; last what this build does not know. What a build did not know had its default.
  mutating func settings(_ source: [String: String], _ target: [String: String]) {
    let defaults = MachineConfiguration().noticeable
    let known = MachineConfiguration.settings.flatMap(\.settings).map(\.name)
    let unknown = Set(source.keys).union(target.keys).subtracting(known).sorted()
    for name in known where source[name] != nil || target[name] != nil {
      guard let ours = target[name] ?? defaults[name], let theirs = source[name] ?? defaults[name] else { continue }
      if ours != theirs { mismatches.append(.setting(name: name, source: theirs, target: ours)) }
    }
    for name in unknown where source[name] != target[name] {
      mismatches.append(.setting(name: name, source: source[name] ?? "", target: target[name]))
    }
  }

  /// What of the settings makes the leaves.
  private struct Model: Equatable {
    var profile: String?
    var level: String

    init(_ settings: [String: String]) {
      profile = settings["cpu-profile"]
      level = settings["cpuid-portability-level"] ?? "0"
    }
  }

  mutating func processor(_ source: HardwareDescription, _ target: HardwareDescription) {
    struct Place: Hashable {
      var leaf: UInt32
      var subleaf: UInt32
      init(_ leaf: CPUIDLeaf) {
        self.leaf = leaf.leaf
        subleaf = leaf.subleaf
      }
    }
    func table(_ leaves: [CPUIDLeaf]) -> [Place: CPUIDLeaf] {
      Dictionary(leaves.map { (Place($0), $0) }) { first, _ in first }
    }
    var ours = table(target.cpuidLeaves)
    if Model(source.settings) != Model(target.settings) {
      // The leaves differ for that reason; what counts is what is left when it is gone. The target's own changes stay.
      guard let wanted = HardwareDescription.cpuidLeaves(of: source.settings),
        let present = HardwareDescription.cpuidLeaves(of: target.settings)
      else { return }
      let plain = table(present)
      let changed = ours.filter { plain[$0.key] != $0.value }
      let removed = plain.keys.filter { ours[$0] == nil }
      ours = table(wanted).merging(changed) { $1 }
      for leaf in removed { ours[leaf] = nil }
    }
    func add(_ place: Place, _ source: CPUIDLeaf?, _ target: CPUIDLeaf?) {
      func registers(_ leaf: CPUIDLeaf?) -> [UInt32]? { leaf.map { [$0.eax, $0.ebx, $0.ecx, $0.edx] } }
      mismatches.append(
        .cpuid(leaf: place.leaf, subleaf: place.subleaf, source: registers(source), target: registers(target)))
    }
    let theirs = table(source.cpuidLeaves)
    for leaf in source.cpuidLeaves where ours[Place(leaf)] != leaf { add(Place(leaf), leaf, ours[Place(leaf)]) }
    for leaf in ours.values.sorted(by: { ($0.leaf, $0.subleaf) < ($1.leaf, $1.subleaf) })
    where theirs[Place(leaf)] == nil {
      add(Place(leaf), nil, leaf)
    }
  }

  /// Firmware, kernel, initial RAM disk, command line: compared by content.
  mutating func contents(_ source: [HardwareDescription.Blob], _ target: [HardwareDescription.Blob]) {
    for blob in source {
      let other = target.first { $0.name == blob.name }
      if let other, other.digest == blob.digest, other.size == blob.size { continue }
      // Where the target has its user's firmware in place of the distribution's, that is told below.
      if blob.setting.isEmpty && other == nil && target.contains(where: \.isUsersFirmware) { continue }
      mismatches.append(.content(source: blob, target: other))
    }
    for blob in target where !source.contains(where: { $0.name == blob.name }) {
      if blob.setting.isEmpty && source.contains(where: \.isUsersFirmware) { continue }
      mismatches.append(.content(source: nil, target: blob))
    }
  }

  /// A controller's name is for people; its bus is what the guest sees.
  mutating func storage(_ source: HardwareDescription, _ target: HardwareDescription) {
    var names: [MachineConfiguration.StorageController.Bus: String] = [:]
    for controller in target.controllers ?? [] { names[controller.bus] = controller.name }
    for slot in target.storage { names[slot.bus] = slot.controller }
    for slot in source.storage {
      let other = target.storage.first { $0.place == slot.place }
      let doubt = other.flatMap { self.doubt(slot, $0) }
      if let other, slot.kind == other.kind, slot.mode == other.mode, doubt == nil { continue }
      let isMissing = names[slot.bus] == nil
      let name = names[slot.bus] ?? slot.controller
      names[slot.bus] = name
      mismatches.append(.drive(source: slot, target: other, controller: name, isMissing: isMissing, doubt: doubt))
    }
    for slot in target.storage where !source.storage.contains(where: { $0.place == slot.place }) {
      mismatches.append(
        .drive(source: nil, target: slot, controller: slot.controller, isMissing: false, doubt: nil))
    }
  }

  /// Why the media of two drives are not taken for the same.
  private func doubt(
    _ source: HardwareDescription.StorageSlot, _ target: HardwareDescription.StorageSlot
  ) -> String? {
    switch media {
    case .sized:
      // What is in a CD-ROM or floppy drive can change at any time.
      if source.kind.isRemovable { return nil }
      guard let one = source.medium, let other = target.medium, one.size != other.size else { return nil }
      return "its size is another"
    case .proved:
      guard let one = source.medium, let other = target.medium else {
        return source.medium == nil && target.medium == nil ? nil : "one of the drives is empty"
      }
      return one.doubt(about: other, isWritten: source.isWritten)
    }
  }

  /// The same board can still be built by different builds: a newer one reads an older one's state, not the reverse.
  mutating func devices(_ source: [HardwareDescription.DeviceVersion], _ target: [HardwareDescription.DeviceVersion]) {
    let boardsDiffer = !mismatches.isEmpty
    for device in source {
      guard let other = target.first(where: { $0.name == device.name }) else {
        // A device that another difference explains is not told twice.
        if !boardsDiffer { mismatches.append(.device(source: device, target: nil)) }
        continue
      }
      if other.kind != device.kind || other.version < device.version {
        mismatches.append(.device(source: device, target: other))
      }
    }
    for device in target where !boardsDiffer && !source.contains(where: { $0.name == device.name }) {
      mismatches.append(.device(source: nil, target: device))
    }
  }
}

extension HardwareDescription.Blob {
  /// In place of the distribution's.
  public var isUsersFirmware: Bool { setting == "firmware" }
}
