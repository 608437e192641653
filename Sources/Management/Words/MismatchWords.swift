import DiskImages
import Machine
import Teleport

/// Differences between two machines' hardware, with the command that removes each.
enum MismatchWords {
  /// - Parameter machine: the target's name for its machine.
  static func report(_ mismatches: [HardwareMismatch], machine: String) -> String {
    let count = mismatches.count == 1 ? "a difference" : "\(mismatches.count) differences"
    let name = machine.isEmpty ? "NAME" : ShellWord.quote(machine)
    return mismatches.reduce("the machines' hardware does not match (\(count)):") {
      $0 + "\n  \(subject($1)): source \($1.sourceText), target \($1.targetText)\n    on the target: "
        + remedy($1, machine: name)
    }
  }

  /// One difference in one line.
  static func line(_ mismatch: HardwareMismatch, machine: String) -> String {
    let name = machine.isEmpty ? "NAME" : ShellWord.quote(machine)
    return "\(subject(mismatch)): source \(mismatch.sourceText), target \(mismatch.targetText); on the target: "
      + remedy(mismatch, machine: name)
  }

  /// A setting is called as `showvminfo` calls it.
  static func subject(_ mismatch: HardwareMismatch) -> String {
    guard case .setting(let name, _, _) = mismatch else { return mismatch.subject }
    return VMDefinition.settings.first { $0.name == name }?.label ?? name
  }

  /// The command that gives the target what the source has.
  /// - Parameter machine: the target's name, quoted.
  static func remedy(_ mismatch: HardwareMismatch, machine: String) -> String {
    let modify = "vmctl modifyvm \(machine)"
    switch mismatch {
    case .setting(_, _, nil), .device: return "use the same vmctl on both hosts"
    case .setting(let name, "none", _) where slot(ofCard: name) != nil:
      return "\(modify) --nic\(slot(ofCard: name) ?? 1) none"
    case .setting(let name, let source, "none") where slot(ofCard: name) != nil:
      return
        "\(modify) --nic\(slot(ofCard: name) ?? 1) nat --\(name) \(source)  # or null, as the network's kind is the target's"
    case .setting(let name, let source, _): return "\(modify) --\(name) \(source)"
    case .cpuid(let leaf, let subleaf, let source?, _):
      let registers = source.map { "0x" + String($0, radix: 16) }.joined(separator: " ")
      return "\(modify) --cpuid-set \(HardwareMismatch.key(leaf, subleaf)) \(registers)"
    case .cpuid(let leaf, let subleaf, nil, _):
      return "\(modify) --cpuid-remove \(HardwareMismatch.key(leaf, subleaf))"
    case .content(let source, let target): return content(source, target, modify)
    case .drive(let source?, let target?, _, _, .some)
    where source.kind == target.kind && source.mode == target.mode && source.medium?.path == target.medium?.path
      && source.medium?.size == target.medium?.size:
      return source.isWritten ? sharedStorage : "make \(source.medium?.path ?? "it") a copy of the source's file"
    case .drive(let source?, _, let controller, let isMissing, _):
      let new = ShellWord.quote(controller)
      let add = isMissing ? "vmctl storagectl \(machine) --name \(new) --add \(source.bus.rawValue); " : ""
      let medium = source.medium.map { ShellWord.quote($0.path) } ?? "emptydrive"
      return add + attach(source, controller, medium, machine)
    case .drive(nil, let target?, let controller, _, _): return attach(target, controller, "none", machine)
    case .drive(nil, nil, _, _, _): return ""
    }
  }

  /// The place of the network card that a setting is about, which both machines have or neither.
  private static func slot(ofCard setting: String) -> Int? {
    for prefix in ["nic-type", "mac-address"] where setting.hasPrefix(prefix) {
      return Int(setting.dropFirst(prefix.count))
    }
    return nil
  }

  private static func content(
    _ source: HardwareDescription.Blob?, _ target: HardwareDescription.Blob?, _ modify: String
  ) -> String {
    if let source {
      if source.setting.isEmpty { return sameVersion }
      if let text = source.text { return "\(modify) --\(source.setting) \(ShellWord.quote(text))" }
      return "\(modify) --\(source.setting) \(ShellWord.quote(source.path ?? "FILE"))  # a copy of the source's file"
    }
    guard let target, !target.setting.isEmpty else { return sameVersion }
    return "\(modify) --\(target.setting) " + (target.isUsersFirmware ? "bios" : target.text == nil ? "none" : "''")
  }

  private static let sameVersion =
    "install the same version of it as on the source (Debian's packages seabios and ipxe-qemu; vmctl)"

  private static let sharedStorage =
    "mount the storage with the source's file at that path, such that both hosts lock it together (NFS: without nolock and "
    + "local_lock), and start the target anew"

  private static func attach(
    _ slot: HardwareDescription.StorageSlot, _ controller: String, _ medium: String, _ machine: String
  ) -> String {
    "vmctl storageattach \(machine) --storagectl \(ShellWord.quote(controller)) --port \(slot.port) "
      + "--device \(slot.device) --type \(slot.kind.rawValue) --medium \(medium)"
      + (slot.mode == .normal ? "" : " --mtype \(slot.mode.rawValue)")
  }
}
