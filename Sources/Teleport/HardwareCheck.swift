import DiskImages
import Machine
import X86

/// One difference between two machines that forbids a transfer.
public struct HardwareMismatch: Codable, Equatable, Sendable {
  /// What differs, as a person calls it: "memory".
  public var what: String
  /// What the source has, as text.
  public var source: String
  /// What the target has, as text.
  public var target: String
  /// The command that changes the target, or other advice.
  public var remedy: String

  /// All differences, each with the command that removes it.
  public static func report(_ mismatches: [HardwareMismatch]) -> String {
    let count = mismatches.count == 1 ? "a difference" : "\(mismatches.count) differences"
    let lines = mismatches.map {
      "  \($0.what): source \($0.source), target \($0.target)\n    on the target: \($0.remedy)"
    }
    return (["the machines' hardware does not match (\(count)):"] + lines).joined(separator: "\n")
  }
}

/// Compares all that a guest can notice. Every difference is found at once. Names and descriptions may differ.
public enum HardwareCheck {
  /// What is asked of the media.
  public enum Media: Sendable {
    /// Those of a teleport: the target's must be proved to be the source's.
    case proved
    /// Those of a saved state: of the same size where the guest writes them; the rest is `SavedMedia`'s.
    case sized
  }

  /// - Parameter name: the target VM's name, for the remedies.
  public static func compare(
    source: HardwareDescription, target: HardwareDescription, name: String, media: Media = .proved
  ) -> [HardwareMismatch] {
    var check = Comparison(name: ShellWord.quote(name), media: media)
    check.settings(source, target)
    check.processor(source, target) { CPUProfile.named($0)?.leaves }
    check.contents(source.roms, target.roms)
    check.contents(source.boot, target.boot)
    check.uarts(source.uarts, target.uarts)
    check.storage(source, target)
    check.devices(source.devices, target.devices)
    return check.mismatches
  }

  static let sameVersion = "install the same version of it as on the source (Debian's seabios package; vmctl)"
}

private struct Comparison {
  let name: String
  let media: HardwareCheck.Media
  var mismatches: [HardwareMismatch] = []

  private mutating func add(_ what: String, _ source: String, _ target: String, _ remedy: String) {
    mismatches.append(HardwareMismatch(what: what, source: source, target: target, remedy: remedy))
  }

  private mutating func modify(_ what: String, _ source: String, _ target: String, _ options: String) {
    add(what, source, target, "vmctl modifyvm \(name) \(options)")
  }

  private mutating func number(_ what: String, _ source: Int, _ target: Int, _ option: String, unit: String = "") {
    if source != target { modify(what, "\(source)\(unit)", "\(target)\(unit)", "\(option) \(source)") }
  }

  private mutating func flag(_ what: String, _ source: Bool, _ target: Bool, _ option: String) {
    func word(_ value: Bool) -> String { value ? "on" : "off" }
    if source != target { modify(what, word(source), word(target), "\(option) \(word(source))") }
  }

  mutating func settings(_ source: HardwareDescription, _ target: HardwareDescription) {
    number("memory", source.memoryMB, target.memoryMB, "--memory", unit: " MB")
    number("video memory", source.vramMB, target.vramMB, "--vram", unit: " MB")
    number("CPUs", source.cpus, target.cpus, "--cpus")
    flag("HPET", source.hpet, target.hpet, "--hpet")
    flag("debug ports", source.debugPorts, target.debugPorts, "--debug-ports")
    flag("RTC in UTC", source.rtcUseUTC, target.rtcUseUTC, "--rtc-use-utc")
    if source.bootOrder != target.bootOrder {
      let options = source.bootOrder.enumerated().map { "--boot\($0 + 1) \($1.rawValue)" }.joined(separator: " ")
      func list(_ order: [MachineConfiguration.BootDevice]) -> String { order.map(\.rawValue).joined(separator: ", ") }
      modify("boot order", list(source.bootOrder), list(target.bootOrder), options)
    }
  }

  /// - Parameter known: the leaves of a profile that this build has.
  mutating func processor(
    _ source: HardwareDescription, _ target: HardwareDescription, known: (String) -> [CPUIDLeaf]?
  ) {
    func key(_ leaf: CPUIDLeaf) -> String {
      let number = "0x" + String(leaf.leaf, radix: 16)
      return leaf.subleaf == 0 ? number : number + ":" + String(leaf.subleaf)
    }
    func values(_ leaf: CPUIDLeaf) -> String {
      [leaf.eax, leaf.ebx, leaf.ecx, leaf.edx].map { "0x" + String($0, radix: 16) }.joined(separator: " ")
    }
    func table(_ leaves: [CPUIDLeaf]) -> [String: CPUIDLeaf] {
      Dictionary(leaves.map { (key($0), $0) }) { first, _ in first }
    }
    var ours = table(target.cpuidLeaves)
    if source.cpuProfile != target.cpuProfile {
      modify(
        "CPU profile", source.cpuProfile, target.cpuProfile, "--cpu-profile \(ShellWord.quote(source.cpuProfile))")
      // The leaves differ for that reason; what counts is what is left when it is gone. The target's own changes stay.
      guard let wanted = known(source.cpuProfile), let present = known(target.cpuProfile) else { return }
      let plain = table(present)
      let changed = ours.filter { plain[$0.key] != $0.value }
      let removed = plain.keys.filter { ours[$0] == nil }
      ours = table(wanted).merging(changed) { $1 }
      for leaf in removed { ours[leaf] = nil }
    }
    for leaf in source.cpuidLeaves {
      let other = ours[key(leaf)]
      if other != leaf {
        modify(
          "CPUID \(key(leaf))", values(leaf), other.map(values) ?? "absent", "--cpuid-set \(key(leaf)) \(values(leaf))")
      }
    }
    let theirs = Set(source.cpuidLeaves.map(key))
    for leaf in ours.values.sorted(by: { ($0.leaf, $0.subleaf) < ($1.leaf, $1.subleaf) })
    where !theirs.contains(key(leaf)) {
      modify("CPUID \(key(leaf))", "absent", values(leaf), "--cpuid-remove \(key(leaf))")
    }
  }

  /// Firmware, kernel, initial RAM disk, command line: compared by content.
  mutating func contents(_ source: [HardwareDescription.Blob], _ target: [HardwareDescription.Blob]) {
    func show(_ blob: HardwareDescription.Blob?) -> String {
      guard let blob else { return "absent" }
      if let text = blob.text { return "\"\(text)\"" }
      let place = blob.path.map { "\($0), " } ?? ""
      return "\(place)\(blob.size) bytes, SHA-256 \(blob.digest.prefix(12))"
    }
    for blob in source {
      let other = target.first { $0.name == blob.name }
      if let other, other.digest == blob.digest, other.size == blob.size { continue }
      if blob.option.isEmpty {
        // Of the distribution or built in. Where the target has its user's file instead, taking that away is the remedy.
        if other != nil || !target.contains(where: { $0.isUsersFirmware }) {
          add(blob.name, show(blob), show(other), HardwareCheck.sameVersion)
        }
      } else if let text = blob.text {
        modify(blob.name, show(blob), show(other), "\(blob.option) \(ShellWord.quote(text))")
      } else if let path = blob.path {
        modify(
          blob.name, show(blob), show(other),
          "\(blob.option) \(ShellWord.quote(path))  # a copy of the source's file")
      }
    }
    for blob in target where !source.contains(where: { $0.name == blob.name }) {
      if blob.isUsersFirmware {
        modify(blob.name, "SeaBIOS", show(blob), "\(blob.option) bios")
      } else if blob.option.isEmpty {
        if !source.contains(where: { $0.isUsersFirmware }) {
          add(blob.name, "absent", show(blob), HardwareCheck.sameVersion)
        }
      } else {
        modify(blob.name, "absent", show(blob), "\(blob.option) \(blob.text == nil ? "none" : "''")")
      }
    }
  }

  mutating func uarts(_ source: [HardwareDescription.UartWiring], _ target: [HardwareDescription.UartWiring]) {
    func show(_ wiring: HardwareDescription.UartWiring?) -> String {
      guard let wiring else { return "off" }
      return "0x\(String(wiring.ioBase, radix: 16)) \(wiring.irq)"
    }
    for slot in Set((source + target).map(\.slot)).sorted() {
      let one = source.first { $0.slot == slot }
      let other = target.first { $0.slot == slot }
      if one != other { modify("UART \(slot)", show(one), show(other), "--uart\(slot) \(show(one))") }
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
      var remedy = ""
      if names[slot.bus] == nil {
        names[slot.bus] = slot.controller
        remedy =
          "vmctl storagectl \(name) --name \(ShellWord.quote(slot.controller)) --add \(slot.bus.rawValue); "
      }
      remedy += attach(slot, to: names[slot.bus] ?? slot.controller)
      if let other, let doubt, slot.kind == other.kind, slot.mode == other.mode,
        slot.medium?.path == other.medium?.path,
        slot.medium?.size == other.medium?.size
      {
        remedy = slot.isWritten ? Self.sharedStorage : "make \(slot.medium?.path ?? "it") a copy of the source's file"
        add(place(slot), show(slot), "\(show(other)): \(doubt)", remedy)
      } else {
        add(place(slot), show(slot), (other.map(show) ?? "nothing") + (doubt.map { ": \($0)" } ?? ""), remedy)
      }
    }
    for slot in target.storage where !source.storage.contains(where: { $0.place == slot.place }) {
      add(place(slot), "nothing", show(slot), attach(slot, to: slot.controller, medium: "none"))
    }
  }

  private static let sharedStorage =
    "mount the storage with the source's file at that path, such that both hosts lock it together (NFS: without nolock and "
    + "local_lock), and start the target anew"

  /// Why the media of two drives are not taken for the same.
  private func doubt(
    _ source: HardwareDescription.StorageSlot, _ target: HardwareDescription.StorageSlot
  ) -> String? {
    switch media {
    case .sized:
      // What is in a CD-ROM drive can change at any time.
      if source.kind == .dvddrive { return nil }
      guard let one = source.medium, let other = target.medium, one.size != other.size else { return nil }
      return "its size is another"
    case .proved:
      guard let one = source.medium, let other = target.medium else {
        return source.medium == nil && target.medium == nil ? nil : "one of the drives is empty"
      }
      return one.doubt(about: other, isWritten: source.isWritten)
    }
  }

  private func place(_ slot: HardwareDescription.StorageSlot) -> String {
    "\(slot.controller) port \(slot.port) device \(slot.device)"
  }

  private func show(_ slot: HardwareDescription.StorageSlot) -> String {
    let medium = slot.medium.map { "\($0.path), \($0.size) bytes, inode \($0.inode)" } ?? "empty"
    return "\(slot.kind.rawValue) (\(medium)\(slot.mode == .normal ? "" : ", \(slot.mode.rawValue)"))"
  }

  private func attach(_ slot: HardwareDescription.StorageSlot, to name: String, medium: String? = nil) -> String {
    let medium = medium ?? slot.medium.map { ShellWord.quote($0.path) } ?? "emptydrive"
    let controller = ShellWord.quote(name)
    return "vmctl storageattach \(self.name) --storagectl \(controller) --port \(slot.port) --device \(slot.device) "
      + "--type \(slot.kind.rawValue) --medium \(medium)"
      + (slot.mode == .normal ? "" : " --mtype \(slot.mode.rawValue)")
  }

  /// The same board can still be built by different builds: a newer one reads an older one's state, not the reverse.
  mutating func devices(_ source: [HardwareDescription.DeviceVersion], _ target: [HardwareDescription.DeviceVersion]) {
    let advice = "use the same vmctl on both hosts"
    let boardsDiffer = !mismatches.isEmpty
    for device in source {
      guard let other = target.first(where: { $0.name == device.name }) else {
        // A device that another difference explains is not told twice.
        if !boardsDiffer { add("device \(device.name)", "\(device.kind) version \(device.version)", "absent", advice) }
        continue
      }
      if other.kind != device.kind || other.version < device.version {
        let shown = "\(device.kind) version \(device.version)"
        add("device \(device.name)", shown, "\(other.kind) version \(other.version)", advice)
      }
    }
    for device in target where !boardsDiffer && !source.contains(where: { $0.name == device.name }) {
      add("device \(device.name)", "absent", "\(device.kind) version \(device.version)", advice)
    }
  }
}

extension HardwareDescription.Blob {
  /// In place of the distribution's.
  fileprivate var isUsersFirmware: Bool { option == "--firmware" }
}
