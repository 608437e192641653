import Foundation
import Machine

/// One line of `showvminfo`.
public struct VMFact: Equatable, Sendable {
  /// As `--machinereadable` names it.
  public var key: String
  /// As people read it.
  public var label: String
  public var value: String
  var isNumber = false
  /// As `--machinereadable` writes it: in quotes where it has a place's dashes, as VBoxManage does.
  public var quotedKey: String { isPlace ? "\"\(key)\"" : key }
  var isPlace = false

  /// The value as VBoxManage writes it: numbers bare, texts in quotes.
  public var quoted: String {
    if isNumber { return value }
    let escaped = value.replacingOccurrences(of: "\\", with: "\\\\").replacingOccurrences(of: "\"", with: "\\\"")
    return "\"\(escaped.replacingOccurrences(of: "\n", with: "\\n"))\""
  }
}

public enum VMFacts {
  /// What there is to say of a VM. Asks its process, when there is one, for the progress of a teleport.
  public static func of(_ entry: VMEntry) throws -> [VMFact] {
    var status = try entry.folder.currentStatus()
    var progress: ControlReply?
    if status.state.isLive, let reply = try? ControlClient(entry).request(ControlRequest(.status)) {
      status = reply.status ?? status
      progress = reply
    }
    var facts: [VMFact] = []
    func add(_ key: String, _ label: String, _ value: String?) {
      if let value { facts.append(VMFact(key: key, label: label, value: value)) }
    }
    func number(_ key: String, _ label: String, _ value: Int?, unit: String = "") {
      if let value { facts.append(VMFact(key: key, label: label, value: String(value), isNumber: true)) }
    }
    let definition = entry.definition
    let hardware = definition.hardware
    add("name", "Name", definition.name)
    add("UUID", "UUID", definition.uuid.uuidString.lowercased())
    add("description", "Description", definition.description.isEmpty ? nil : definition.description)
    add("CfgFile", "Definition", entry.folder.definition)
    add("LogFldr", "Log", entry.folder.log)
    add("VMState", "State", status.state.rawValue)
    add("VMStateChangeTime", "Since", status.since.ISO8601Format())
    add("VMStateReason", "Reason", status.reason)
    number("VMProcess", "Process", status.process.map(Int.init))
    number("memory", "Memory (MB)", hardware.memoryMB)
    number("vram", "Video memory (MB)", hardware.vramMB)
    number("cpus", "CPUs", hardware.cpus)
    add("cpu-profile", "CPU profile", hardware.cpuProfile)
    for (index, entry) in hardware.cpuidOverrides.enumerated() {
      let leaf = String(format: "%08x:%08x", entry.leaf, entry.subleaf)
      let registers = entry.registers?.map { String(format: "%08x", $0) }.joined(separator: " ") ?? "removed"
      add("cpuid\(index)", "CPUID \(leaf)", "\(leaf) \(registers)")
    }
    add("accel", "Execution", hardware.accelerator.rawValue)
    add("firmware", "Firmware", hardware.firmware ?? "bios")
    for (index, device) in hardware.bootOrder.enumerated() {
      add("boot\(index + 1)", "Boot device \(index + 1)", device.rawValue)
    }
    add("kernel", "Kernel", hardware.kernel)
    add("initrd", "Initial RAM disk", hardware.initrd)
    add("append", "Kernel command line", hardware.append)
    add("rtcuseutc", "Clock in UTC", hardware.rtcUseUTC ? "on" : "off")
    add("hpet", "HPET", hardware.hpet ? "on" : "off")
    add("debugports", "Debug ports", hardware.debugPorts ? "on" : "off")
    for slot in 1...4 {
      guard let uart = hardware.uarts.first(where: { $0.slot == slot }) else {
        add("uart\(slot)", "Serial port \(slot)", "off")
        continue
      }
      add("uart\(slot)", "Serial port \(slot)", "0x\(String(uart.ioBase, radix: 16)),\(uart.irq)")
      add("uartmode\(slot)", "Serial port \(slot) mode", uart.mode.text)
      number("uartport\(slot)", "Serial port \(slot) telnet port", status.consolePorts[slot])
    }
    for (index, controller) in hardware.storageControllers.enumerated() {
      add("storagecontrollername\(index)", "Storage controller \(index)", controller.name)
      add("storagecontrollertype\(index)", "Storage controller \(index) kind", controller.bus.rawValue)
      // As VBoxManage has them: every place, and its image alone.
      for port in 0...1 {
        for device in 0...1 {
          let place = "\(controller.name)-\(port)-\(device)"
          let attachment = controller.attachments.first { $0.port == port && $0.device == device }
          func tell(_ what: String, _ value: String?) {
            guard let value else { return }
            let label = what.isEmpty ? place : "\(place) \(what.dropLast())"
            let key = "\(controller.name)-\(what)\(port)-\(device)"
            facts.append(VMFact(key: key, label: label, value: value, isPlace: true))
          }
          tell("", attachment.map { $0.medium ?? "emptydrive" } ?? "none")
          guard let attachment else { continue }
          tell("type-", attachment.kind.rawValue)
          tell("mode-", attachment.mode.rawValue)
          tell("format-", attachment.format?.rawValue)
        }
      }
    }
    let teleporter = definition.teleporter
    add("teleporterenabled", "Teleporter", teleporter.enabled ? "on" : "off")
    number("teleporterport", "Teleporter port", status.teleporterPort ?? teleporter.port)
    add("teleporteraddress", "Teleporter address", status.teleporterAddress ?? teleporter.address)
    add(
      "teleporterpassword", "Teleporter password",
      teleporter.password == nil && teleporter.passwordFile == nil ? "none" : "set")
    if let teleport = progress?.teleport {
      add("teleportphase", "Teleport phase", teleport.phase.rawValue)
      add("teleportprogress", "Teleport progress", teleport.summary)
      number("teleportbytes", "Teleport bytes", Int(teleport.bytes))
      number("teleportremainingpages", "Teleport pages remaining", teleport.remainingPages)
    }
    if let open = entry.openTeleport, !status.state.isLive {
      add("teleportindoubt", "Teleport in doubt", "\(open.host):\(open.port)")
    }
    return facts
  }
}

extension VMFolder {
  /// The text of log file number `index`; nil when there is none.
  public func readLog(_ index: Int) -> String? {
    guard (0...LogFile.kept).contains(index) else { return nil }
    return try? Files.read(log(index), limit: 64 << 20)
  }
}
