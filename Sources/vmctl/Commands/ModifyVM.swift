import ArgumentParser
import Foundation
import Machine
import Management

/// `--boot1` and its like: an option for each of four slots.
struct BootOptions: ParsableArguments {
  @Option(help: "First boot device: none, floppy, dvd, disk or net.") var boot1: MachineConfiguration.BootDevice?
  @Option(help: "Second boot device.") var boot2: MachineConfiguration.BootDevice?
  @Option(help: "Third boot device.") var boot3: MachineConfiguration.BootDevice?
  @Option(help: "Fourth boot device.") var boot4: MachineConfiguration.BootDevice?

  func apply(_ hardware: inout MachineConfiguration) {
    for (index, device) in [boot1, boot2, boot3, boot4].enumerated() {
      guard let device else { continue }
      while hardware.bootOrder.count <= index { hardware.bootOrder.append(.none) }
      hardware.bootOrder[index] = device
    }
  }
}

struct UartOptions: ParsableArguments {
  @Option(
    name: .customLong("uart1"), parsing: .upToNextOption,
    help: ArgumentHelp("Serial port 1: off, or I/O base and interrupt, as 0x3f8 4.", valueName: "off|iobase irq"))
  var uart1: [String] = []
  @Option(
    name: .customLong("uart2"), parsing: .upToNextOption,
    help: ArgumentHelp("Serial port 2, as 0x2f8 3.", valueName: "off|iobase irq"))
  var uart2: [String] = []
  @Option(
    name: .customLong("uart3"), parsing: .upToNextOption,
    help: ArgumentHelp("Serial port 3, as 0x3e8 4.", valueName: "off|iobase irq"))
  var uart3: [String] = []
  @Option(
    name: .customLong("uart4"), parsing: .upToNextOption,
    help: ArgumentHelp("Serial port 4, as 0x2e8 3.", valueName: "off|iobase irq"))
  var uart4: [String] = []
  @Option(
    name: [.customLong("uart-mode1"), .customLong("uartmode1")], parsing: .upToNextOption,
    help: ArgumentHelp("What serial port 1 is connected to: \(MachineConfiguration.UartMode.forms).", valueName: "mode")
  )
  var mode1: [String] = []
  @Option(
    name: [.customLong("uart-mode2"), .customLong("uartmode2")], parsing: .upToNextOption,
    help: ArgumentHelp("What serial port 2 is connected to.", valueName: "mode"))
  var mode2: [String] = []
  @Option(
    name: [.customLong("uart-mode3"), .customLong("uartmode3")], parsing: .upToNextOption,
    help: ArgumentHelp("What serial port 3 is connected to.", valueName: "mode"))
  var mode3: [String] = []
  @Option(
    name: [.customLong("uart-mode4"), .customLong("uartmode4")], parsing: .upToNextOption,
    help: ArgumentHelp("What serial port 4 is connected to.", valueName: "mode"))
  var mode4: [String] = []

  func apply(_ hardware: inout MachineConfiguration) throws {
    for (index, words) in [uart1, uart2, uart3, uart4].enumerated() where !words.isEmpty {
      try hardware.setUart(index + 1, words: Self.split(words))
    }
    for (index, words) in [mode1, mode2, mode3, mode4].enumerated() where !words.isEmpty {
      try hardware.setUartMode(index + 1, words: Self.split(words))
    }
  }

  /// `--uart1="0x3f8 4"` is one word of two.
  private static func split(_ words: [String]) -> [String] {
    guard words.count == 1 else { return words }
    return words[0].split(separator: " ", maxSplits: 1).map(String.init)
  }
}

struct TeleporterOptions: ParsableArguments {
  @Option(
    name: .customLong("teleporter"), help: "Whether the machine waits for its teleport when it is started: on or off.")
  var enabled: Switch?
  @Option(name: .customLong("teleporter-port"), help: "The port it waits on; 0: a free one.") var port: Int?
  @Option(name: .customLong("teleporter-address"), help: "The address it waits on. Without a password: loopback only.")
  var address: String?
  @Option(name: .customLong("teleporter-password"), help: "The password it asks for; empty: none.") var password:
    String?
  @Option(
    name: .customLong("teleporter-password-file"), help: "A file with the password in its first line, or stdin.",
    completion: .file())
  var passwordFile: String?

  func apply(_ teleporter: inout VMDefinition.Teleporter) throws {
    if let enabled { teleporter.enabled = enabled.isOn }
    if let port {
      guard (0...65535).contains(port) else {
        throw ManagementError("--teleporter-port \(port) is not possible", remedy: "give 0 (a free one) to 65535")
      }
      teleporter.port = port
    }
    if let address { teleporter.address = address.isEmpty ? nil : address }
    if let password {
      teleporter.password = password.isEmpty ? nil : password
      teleporter.passwordFile = nil
    }
    if let passwordFile {
      if passwordFile == "stdin" || passwordFile == "-" {
        teleporter.password = try PasswordFile.read(passwordFile)
        teleporter.passwordFile = nil
      } else {
        teleporter.passwordFile = passwordFile.isEmpty ? nil : Paths.absolute(passwordFile)
        teleporter.password = nil
      }
    }
  }
}

struct CPUOptions: ParsableArguments {
  @Option(help: "The number of CPUs.") var cpus: Int?
  @Option(name: .customLong("cpu-profile"), help: "The CPU model; see vmctl list cpu-profiles.") var profile: String?
  @Option(name: .customLong("accel"), help: "How guest code is executed: translator or interpreter.") var accelerator:
    String?
  @Option(
    name: .customLong("cpuid-set"), parsing: .upToNextOption,
    help: ArgumentHelp("Sets a CPUID leaf.", valueName: "leaf[:sub] eax ebx ecx edx"))
  var cpuidSet: [String] = []
  @Option(
    name: .customLong("cpuid-remove"), help: ArgumentHelp("Takes a changed CPUID leaf away.", valueName: "leaf[:sub]"))
  var cpuidRemove: String?

  func apply(_ hardware: inout MachineConfiguration) throws {
    if let cpus { hardware.cpus = cpus }
    if let profile { hardware.cpuProfile = profile }
    if let accelerator { try hardware.setAccelerator(accelerator) }
    if !cpuidSet.isEmpty {
      try hardware.setCPUID(cpuidSet.flatMap { $0.split(separator: " ").map(String.init) })
    }
    if let cpuidRemove { try hardware.removeCPUID(cpuidRemove) }
  }
}

extension MachineConfiguration.BootDevice: ExpressibleByArgument {}

struct ModifyVM: ParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "modifyvm", abstract: "Changes a machine's definition, while it is off.")
  @OptionGroup var machine: MachineArgument
  @Option(help: "A new name.") var name: String?
  @Option(help: "A text for people.") var description: String?
  @Option(help: ArgumentHelp("Memory in MB.", valueName: "mb")) var memory: Int?
  @Option(help: ArgumentHelp("Video memory in MB.", valueName: "mb")) var vram: Int?
  @OptionGroup(title: "CPU options") var cpu: CPUOptions
  @Option(help: "bios for SeaBIOS, or the file of a ROM image.", completion: .file()) var firmware: String?
  @OptionGroup(title: "Boot options") var boot: BootOptions
  @Option(help: "A Linux bzImage or multiboot ELF to start directly; none: the firmware boots.", completion: .file())
  var kernel: String?
  @Option(
    help: "The kernel's initial RAM disk, or multiboot modules: \"FILE ARGUMENTS,FILE ARGUMENTS\"; none: without.",
    completion: .file()) var initrd: String?
  @Option(help: "The kernel's command line.") var append: String?
  @Option(name: .customLong("rtc-use-utc"), help: "Whether the clock shows UTC: on or off.") var rtcUseUTC: Switch?
  @Option(help: "Whether there is an HPET: on or off.") var hpet: Switch?
  @Option(
    name: .customLong("debug-ports"),
    help: "The ports 0xE9 (log) and 0xF4 (exit), and the test device of public suites: on or off.")
  var debugPorts: Switch?
  @Option(
    name: .customLong("uart-strict"),
    help: "Whether UART interrupts need OUT2, as on a PC: on or off.")
  var uartStrict: Switch?
  @OptionGroup(title: "Serial port options") var uarts: UartOptions
  @OptionGroup(title: "Teleporter options") var teleporter: TeleporterOptions

  func run() throws {
    let registry = try Registry.fromEnvironment()
    try registry.modify(try registry.find(machine.name)) { definition in
      if let name { definition.name = name }
      if let description { definition.description = description }
      if let memory { definition.hardware.memoryMB = memory }
      if let vram { definition.hardware.vramMB = vram }
      try cpu.apply(&definition.hardware)
      if let firmware { definition.hardware.firmware = try Paths.file(firmware, none: "bios", what: "firmware") }
      boot.apply(&definition.hardware)
      if let kernel { definition.hardware.setKernel(try Paths.file(kernel, none: "none", what: "kernel")) }
      if let initrd { definition.hardware.initrd = try Paths.modules(initrd, none: "none") }
      if let append { definition.hardware.append = append.isEmpty ? nil : append }
      if let rtcUseUTC { definition.hardware.rtcUseUTC = rtcUseUTC.isOn }
      if let hpet { definition.hardware.hpet = hpet.isOn }
      if let debugPorts { definition.hardware.debugPorts = debugPorts.isOn }
      if let uartStrict { definition.hardware.uartStrict = uartStrict.isOn }
      try uarts.apply(&definition.hardware)
      try teleporter.apply(&definition.teleporter)
    }
  }
}
