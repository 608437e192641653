import Foundation
import HostNetwork
import Machine
import X86

/// What the settings' own forms do not say of the hardware: what this host has, and what does not go together.
public enum HardwareLimits {
  /// The names of the CPU models, the same on every host.
  public static let cpuProfiles = CPUProfile.all.map(\.name)
  /// How many CPUs a machine may have.
  static let maximumCPUs = CPUGroup.maximum

  /// Everything that is wrong with the hardware. Paths are those of the definition file.
  static func problems(_ hardware: MachineConfiguration, hostMemoryMB: Int = Host.memoryMB) -> [DefinitionProblem] {
    let described = MachineConfiguration.settings
    let whole = SettingKey("hardware", .table(described.map(\.key)))
    if let problem = DefinitionSchema.problem(in: described.value(of: hardware), whole, path: ["hardware"]) {
      return [problem]
    }
    var problems: [DefinitionProblem] = []
    func fail(_ path: [String], _ message: String) {
      problems.append(DefinitionProblem(path: ["hardware"] + path, message: message))
    }
    if hardware.memoryMB > hostMemoryMB {
      fail(
        ["memory"],
        "memory of \(hardware.memoryMB) MB: from 1 to the \(hostMemoryMB) MB that this host has are possible")
    }
    if hardware.deterministic && hardware.cpus > 1 {
      fail(["deterministic"], "a deterministic machine has one CPU: set --cpus 1, or --deterministic off")
    }
    if hardware.bootOrder.count > 4 { fail(["boot-order"], "more than 4 boot devices") }
    if hardware.kernel == nil && hardware.initrd != nil { fail(["initrd"], "an initrd needs a kernel") }
    if hardware.kernel == nil && hardware.append != nil { fail(["append"], "a kernel command line needs a kernel") }
    problems += networkProblems(hardware.networkAdapters) + isaProblems(hardware)
    problems += uartProblems(hardware.uarts) + storageProblems(hardware.storageControllers)
    for (index, entry) in hardware.cpuidOverrides.enumerated() {
      if let registers = entry.registers, registers.count != 4 {
        fail(["cpuid", String(index), "registers"], "a CPUID leaf has 4 registers: EAX, EBX, ECX, EDX")
      }
    }
    return problems
  }

  private static func networkProblems(_ adapters: [MachineConfiguration.NetworkAdapter]) -> [DefinitionProblem] {
    var problems: [DefinitionProblem] = []
    for (index, adapter) in adapters.enumerated() {
      func fail(_ key: String, _ message: String) {
        problems.append(DefinitionProblem(path: ["hardware", "nic", String(index), key], message: message))
      }
      if adapter.network == .bridged {
        if adapter.bridgeAdapter.map({ !TapDevice.isName($0) }) ?? true {
          fail(
            "bridge-adapter",
            "network card \(adapter.slot) is bridged to no interface; name one with --bridge-adapter\(adapter.slot) TAP"
          )
        }
      }
      if adapter.network == .stream, adapter.stream.map({ (try? StreamPlace($0)) == nil }) ?? true {
        fail(
          "stream",
          "network card \(adapter.slot) is on stream and has no place; give it one with --nic-stream\(adapter.slot) "
            + StreamPlace.form)
      }
      for other in adapters[..<index] {
        if other.slot == adapter.slot { fail("slot", "network card \(adapter.slot) is there twice") }
        if other.macAddress == adapter.macAddress {
          fail(
            "mac-address",
            "network cards \(other.slot) and \(adapter.slot) have the same address \(adapter.macAddress); give one of them "
              + "another with --mac-address\(adapter.slot) auto")
        }
        for rule in adapter.natConfiguration.forwards where adapter.network == .nat && other.network == .nat {
          if let problem = other.natConfiguration.forwards.lazy.compactMap({ rule.conflict(with: $0) }).first(where: {
            !$0.message.hasPrefix("there is a port forward")
          }) {
            fail("nat-forward", "port forward \(rule.name) of network card \(adapter.slot): \(problem.description)")
          }
        }
      }
    }
    let isaCards = adapters.indices.filter { adapters[$0].model == .ne2000ISA }
    for index in isaCards.dropFirst(MachineConfiguration.NetworkAdapter.isaPlaces.count) {
      problems.append(
        DefinitionProblem(
          path: ["hardware", "nic", String(index), "type"],
          message: "the ISA bus has place for \(MachineConfiguration.NetworkAdapter.isaPlaces.count) NE2000ISA; "
            + "make network card \(adapters[index].slot) an NE2000PCI"))
    }
    return problems
  }

  /// Ports and interrupts of the ISA bus belong to one device each.
  private static func isaProblems(_ hardware: MachineConfiguration) -> [DefinitionProblem] {
    var problems: [DefinitionProblem] = []
    if hardware.hasFloppyController {
      for (index, uart) in hardware.uarts.enumerated() where uart.irq == 6 || uart.ioBase == 0x3F0 {
        problems.append(
          DefinitionProblem(
            path: ["hardware", "uart", String(index)],
            message:
              "the floppy controller has the ports from 0x3f0 on and interrupt 6, which uart \(uart.slot) cannot "
              + "share; give the uart others"))
      }
    }
    for card in hardware.isaAdapters {
      for (index, uart) in hardware.uarts.enumerated() {
        let isClear = uart.irq != card.irq && (uart.ioBase > card.ioBase + 31 || uart.ioBase + 7 < card.ioBase)
        if isClear { continue }
        problems.append(
          DefinitionProblem(
            path: ["hardware", "uart", String(index)],
            message:
              "network card \(card.slot), an NE2000ISA, has the ports from 0x\(String(card.ioBase, radix: 16)) on and "
              + "interrupt \(card.irq), which uart \(uart.slot) cannot share; give the uart others"))
      }
    }
    return problems
  }

  private static func uartProblems(_ uarts: [MachineConfiguration.Uart]) -> [DefinitionProblem] {
    var problems: [DefinitionProblem] = []
    for (index, uart) in uarts.enumerated() {
      func fail(_ key: String, _ message: String) {
        problems.append(DefinitionProblem(path: ["hardware", "uart", String(index), key], message: message))
      }
      if !(1...4).contains(uart.slot) { fail("slot", "uart \(uart.slot): there are 1 to 4") }
      if !(1...15).contains(uart.irq) || uart.irq == 2 {
        fail("irq", "interrupt \(uart.irq): from 1 to 15 but not 2 are possible")
      }
      if uart.ioBase < 0x100 || uart.ioBase > 0xFFF8 || uart.ioBase & 7 != 0 {
        fail(
          "io-base", "I/O base 0x\(String(uart.ioBase, radix: 16)): multiples of 8 from 0x100 to 0xfff8 are possible")
      }
      for other in uarts[..<index] {
        if other.slot == uart.slot { fail("slot", "uart \(uart.slot) is there twice") }
        if other.ioBase == uart.ioBase { fail("io-base", "uart \(other.slot) and \(uart.slot) have the same I/O base") }
      }
    }
    return problems
  }

  private static func storageProblems(_ controllers: [MachineConfiguration.StorageController]) -> [DefinitionProblem] {
    var problems: [DefinitionProblem] = []
    for (index, controller) in controllers.enumerated() {
      let path = ["hardware", "storage", String(index)]
      if controllers[..<index].contains(where: { $0.name == controller.name }) {
        problems.append(
          DefinitionProblem(
            path: path + ["name"], message: "the storage controller \"\(controller.name)\" is there twice"))
      }
      if controllers[..<index].contains(where: { $0.bus == controller.bus }) {
        problems.append(
          DefinitionProblem(path: path + ["bus"], message: "the board has one \(controller.bus.rawValue) controller"))
      }
      for (number, attachment) in controller.attachments.enumerated() {
        let place = path + ["attachment", String(number)]
        if !controller.bus.has(port: attachment.port, device: attachment.device) {
          problems.append(DefinitionProblem(path: place, message: controller.bus.placesInWords))
        }
        if !controller.bus.kinds.contains(attachment.kind) {
          problems.append(DefinitionProblem(path: place, message: controller.bus.kindsInWords))
        }
        if attachment.kind == .fdd, attachment.format == .qcow2 {
          problems.append(DefinitionProblem(path: place, message: "a floppy disk is a raw image"))
        }
        if controller.attachments[..<number].contains(where: {
          $0.port == attachment.port && $0.device == attachment.device
        }) {
          problems.append(
            DefinitionProblem(path: place, message: "port \(attachment.port) device \(attachment.device) is used twice")
          )
        }
        if attachment.kind == .hdd && attachment.medium == nil {
          problems.append(DefinitionProblem(path: place, message: "a hard disk needs a medium"))
        }
      }
    }
    return problems
  }

  /// Throws the first problem of the hardware as an error with its remedy.
  public static func check(_ hardware: MachineConfiguration) throws {
    if let problem = problems(hardware).first { throw ManagementError(problem.message) }
  }
}
