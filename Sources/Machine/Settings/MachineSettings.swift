import X86

extension MachineConfiguration {
  /// Every setting of the hardware, described once. To add one: docs/recipes/add-a-setting.md.
  public static let settings: [SettingDescription<MachineConfiguration>] = [
    .number("memory", \.memoryMB, .number(1...(1 << 24)), .init("Memory (MB)", "Memory in MB.", valueName: "mb")),
    .number(
      "vram", \.vramMB, .oneOf([1, 2, 4, 8, 16, 32, 64, 128, 256]),
      .init("Video memory (MB)", "Video memory in MB.", valueName: "mb")),
    .number("cpus", \.cpus, .number(1...CPUGroup.maximum), .init("CPUs", "The number of CPUs.", group: .cpu)),
    .choice(
      "cpu-profile", \.cpuProfile, of: CPUProfile.all.map(\.name),
      .init("CPU profile", "The CPU model: \(CPUProfile.all.map(\.name).joined(separator: ", ")).", group: .cpu)),
    .number(
      "cpuid-portability-level", \.cpuidPortabilityLevel, .number(CPUPortability.levels),
      .init(
        "CPUID portability level",
        "How many features of the CPU model the guest is not to see: 0 none, 1 SSSE3, SSE4, POPCNT, CMPXCHG16B and newer, 2 SSE3 "
          + "and LAHF as well, 3 SSE, SSE2, CMOV and CLFLUSH as well.", valueName: "level", group: .cpu)),
    .tables(
      "cpuid", \.cpuidOverrides,
      // Also while it is saved: a build whose profiles have changed is given the leaves of before in this way.
      .init("CPUID", "Changed CPUID leaves.", group: .cpu, notice: .content, change: .whenSaved),
      fields: CPUIDOverride.fields
    ) { CPUIDOverride(leaf: 0, subleaf: 0, registers: nil) },
    .choice(
      "accel", \.accelerator,
      .init(
        "Execution", "How guest code is executed: translator or interpreter.", key: "accelerator", group: .cpu,
        notice: .none)),
    .flag(
      "verify-code", \.verifyCode,
      .init(
        "Code verification", "Whether translated code is proved to stay in the guest before it runs",
        fact: "verifycode",
        group: .cpu, notice: .none)),
    .flag(
      "deterministic", \.deterministic,
      .init(
        "Deterministic",
        "Whether two runs are the same to the instruction: one CPU, interpreted, 10 ns for each instruction, a clock that begins "
          + "in 2000, disks done at once, seeded random numbers; keys and networks come as they come",
        group: .cpu)),
    .file(
      "firmware", \.firmware, none: "bios",
      .init("Firmware", "bios for SeaBIOS, or the file of a ROM image.", notice: .content)),
    .places(
      "boot", count: 4, \.bootOrder, filler: .none,
      .init("Boot device", "Boot device #: none, floppy, dvd, disk or net.", key: "boot-order", group: .boot)),
    .file(
      "kernel", \.kernel, none: "none",
      .init(
        "Kernel", "A Linux bzImage or multiboot ELF to start directly; none: the firmware boots.", group: .boot,
        notice: .content)
    ) {
      // What belongs to the kernel goes with it.
      guard $0.kernel == nil else { return }
      $0.initrd = nil
      $0.append = nil
    },
    .file(
      "initrd", \.initrd, none: "none",
      .init(
        "Initial RAM disk",
        "The kernel's initial RAM disk, or multiboot modules: \"FILE ARGUMENTS,FILE ARGUMENTS\"; none: without.",
        group: .boot,
        notice: .content)),
    .text(
      "append", \.append, .init("Kernel command line", "The kernel's command line.", group: .boot, notice: .content)),
    .flag("rtc-use-utc", \.rtcUseUTC, .init("Clock in UTC", "Whether the clock shows UTC", fact: "rtcuseutc")),
    .flag("hpet", \.hpet, .init("HPET", "Whether there is an HPET")),
    .flag(
      "debug-ports", \.debugPorts,
      .init(
        "Debug ports", "The ports 0xE9 (log) and 0xF4 (exit), and the test device of public suites", fact: "debugports")
    ),
    .flag(
      "uart-strict", \.uartStrict,
      .init("Strict UARTs", "Whether UART interrupts need OUT2, as on a PC", fact: "uartstrict")),
    .flag(
      "test-device", \.testDevice,
      .init("Test device", "A PCI device for tests of port and memory accesses", fact: "testdevice")),
    .flag(
      "pvpanic", \.pvpanic,
      .init("Panic device", "The port by which a guest's kernel says that it has panicked (Linux's pvpanic)")),
    .flag(
      "virtio-rng", \.virtioEntropy,
      .init("Virtio entropy", "A virtio device that gives the guest random numbers of the host", fact: "virtiorng")),
    .flag(
      "virtio-console", \.virtioConsole,
      .init(
        "Virtio console", "A virtio console, hvc0 of Linux", fact: "virtioconsole", group: .serial)),
    .value(
      "virtio-console-mode", Uart.connection,
      .init(
        "Virtio console mode", "What the virtio console is connected to: \(UartMode.forms).", valueName: "mode",
        fact: "virtioconsolemode", group: .serial, notice: .none), takesWords: true,
      read: { .text($0.virtioConsoleMode.text) },
      write: { (configuration: inout MachineConfiguration, value: SettingValue?) throws(SettingFailure) in
        guard let value else { return configuration.virtioConsoleMode = .disconnected }
        configuration.virtioConsoleMode = try UartMode(text: value.word())
      }),
    .slots(
      "uart", count: 4, \.uarts, slot: \.slot, fields: Uart.fields, new: { Uart(slot: $0, ioBase: 0, irq: 0) },
      options: Uart.options),
    .slots(
      "nic", count: networkAdapterLimit, \.networkAdapters, slot: \.slot, fields: NetworkAdapter.fields,
      new: { NetworkAdapter(slot: $0) }, options: NetworkAdapter.options),
    .tables(
      "storage", \.storageControllers, .init("Storage", "Storage controllers and drives.", notice: .content),
      fields: StorageController.fields
    ) { StorageController(name: "", bus: .ide) },
  ]

  /// What a guest can notice of the settings, by name: machines that take over from each other agree on it.
  public var noticeable: [String: String] {
    var result: [String: String] = [:]
    for setting in Self.settings.flatMap(\.settings) where setting.notice == .value {
      result[setting.name] = setting.text(self)
    }
    return result
  }
}

extension MachineConfiguration.CPUIDOverride {
  static let fields: [SettingField<Self>] = [
    .number("leaf", 0...0xFFFF_FFFF, \.leafNumber).identity.hexadecimal,
    .number("subleaf", 0...0xFFFF_FFFF, \.subleafNumber).optional.hexadecimal,
    SettingField(
      SettingKey("registers", .list(.number(0...0xFFFF_FFFF))),
      read: { leaf in leaf.registers.map { .list($0.map { .number(Int($0)) }) } },
      write: { leaf, value in
        guard case .list(let values) = value else { return }
        leaf.registers = values.map { if case .number(let number) = $0 { UInt32(clamping: number) } else { 0 } }
      }
    ).hexadecimal,
    // Read last: a leaf that is removed has no registers.
    SettingField(
      SettingKey("remove", .flag), read: { $0.registers == nil ? .flag(true) : nil },
      write: { leaf, value in if value == .flag(true) { leaf.registers = nil } }),
  ]

  private var leafNumber: Int {
    get { Int(leaf) }
    set { leaf = UInt32(clamping: newValue) }
  }
  private var subleafNumber: Int {
    get { Int(subleaf) }
    set { subleaf = UInt32(clamping: newValue) }
  }
}

extension MachineConfiguration.Uart {
  static let fields: [SettingField<Self>] = [
    .number("io-base", 0...0xFFF8, \.ioBaseNumber).hexadecimal, .number("irq", 0...15, \.irq),
    SettingField(
      SettingKey("mode", .text), read: { .text($0.mode.text) },
      write: { (uart: inout Self, value: SettingValue) throws(SettingPathFailure) in
        do throws(SettingFailure) {
          uart.mode = try MachineConfiguration.UartMode(text: value.word())
        } catch {
          throw SettingPathFailure(path: [], failure: error)
        }
      }),
  ]

  private static let wiring = SettingForm.words("off | IOBASE IRQ", example: "0x3f8 4")
  static let connection = SettingForm.words(MachineConfiguration.UartMode.forms, example: "tcpserver 2023")

  static let options: [SlotOption<Self>] = [
    SlotOption(
      "uart", wiring,
      .init(
        "Serial port #", "Serial port #: off, or I/O base and interrupt, as 0x3f8 4.", valueName: "off|iobase irq",
        group: .serial), takesWords: true, off: "off",
      read: { ["0x" + String($0.ioBase, radix: 16), String($0.irq)] },
      write: { (uart: inout Self, words: [String]) throws(SettingFailure) in
        let numbers = words.compactMap { Number.parse($0) }
        guard words.count == 2, numbers.count == 2, numbers[0] <= 0xFFFF, numbers[1] < 16 else {
          throw .malformed(words: words, expected: wiring)
        }
        uart.ioBase = UInt16(numbers[0])
        uart.irq = numbers[1]
      }),
    SlotOption(
      "uart-mode", connection,
      .init(
        "Serial port # mode", "What serial port # is connected to: \(MachineConfiguration.UartMode.forms).",
        valueName: "mode", fact: "uartmode", aliases: ["uartmode"], group: .serial, notice: .none), takesWords: true,
      read: { [$0.mode.text] },
      write: { (uart: inout Self, words: [String]) throws(SettingFailure) in
        uart.mode = try MachineConfiguration.UartMode(words: words)
      }),
  ]

  private var ioBaseNumber: Int {
    get { Int(ioBase) }
    set { ioBase = UInt16(clamping: newValue) }
  }
}

extension MachineConfiguration.StorageController {
  static let fields: [SettingField<Self>] = [
    .text("name", \.name).identity, .choice("bus", \.bus).required,
    SettingField(
      SettingKey("attachment", .list(.table(MachineConfiguration.Attachment.fields.map(\.key))), fallback: .list([])),
      read: { .list($0.attachments.map { MachineConfiguration.Attachment.fields.value(of: $0) }) },
      write: { (controller: inout Self, value: SettingValue) throws(SettingPathFailure) in
        controller.attachments = try MachineConfiguration.Attachment.fields.elements(value) {
          .init(port: 0, device: 0, kind: .hdd, medium: nil)
        }.sorted { ($0.port, $0.device) < ($1.port, $1.device) }
      }),
  ]
}

extension MachineConfiguration.Attachment {
  static let fields: [SettingField<Self>] = [
    .number("port", 0...15, \.port).identity, .number("device", 0...1, \.device).identity,
    .choice("type", \.kind).required, .text("medium", \.medium), .choice("mode", \.mode),
    SettingField(
      SettingKey("format", .choice(MachineConfiguration.Attachment.Format.allCases.map(\.rawValue))),
      read: { attachment in attachment.format.map { .text($0.rawValue) } },
      write: { attachment, value in
        if case .text(let text) = value { attachment.format = MachineConfiguration.Attachment.Format(rawValue: text) }
      }),
  ]
}
