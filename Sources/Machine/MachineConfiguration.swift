import DiskImages

/// The hardware of a machine and how the host runs it. A definition (TOML) holds one of these; `VirtualMachine` builds a
/// board from it. What is to be said of each setting (its name, its values, whether a guest can notice it) is said once, in
/// `MachineConfiguration.settings`.
public struct MachineConfiguration: Codable, Equatable, Sendable {
  /// RAM in MiB.
  public var memoryMB: Int = 256
  /// Video memory in MiB: 1 to 256, a power of two.
  public var vramMB: Int = 16
  /// How many CPUs, 1 to 16.
  public var cpus: Int = 1
  /// The name of a `CPUProfile`.
  public var cpuProfile: String = "x86-64-v2"
  /// How much of the profile is left out, so that a guest does not depend on it: 0 nothing, 3 the most.
  public var cpuidPortabilityLevel: Int = 0
  /// What is different from the profile.
  public var cpuidOverrides: [CPUIDOverride] = []
  #if arch(x86_64)
    /// How guest code is executed; hosts of other kinds interpret.
    public var accelerator: Accelerator = .translator
  #else
    /// How guest code is executed.
    public var accelerator: Accelerator = .interpreter
  #endif
  /// Whether each CPU proves of the host code that it makes of guest code that it cannot leave the guest, before it runs.
  public var verifyCode: Bool = false
  /// The same run twice is the same, instruction by instruction: one CPU, interpreted, whose time is what it has executed.
  public var deterministic: Bool = false
  /// Path of a ROM image, or nil for the distribution's SeaBIOS.
  public var firmware: String?
  /// Boot devices in order.
  public var bootOrder: [BootDevice] = [.floppy, .dvd, .disk, .none]
  /// Path of a Linux bzImage or multiboot image to start directly; nil: the firmware boots.
  public var kernel: String?
  /// Path of its initial RAM disk, or a list of modules (`BootModule.list`).
  public var initrd: String?
  /// Its command line.
  public var append: String?
  /// The serial ports there are, in the order of their slots.
  public var uarts: [Uart] = [Uart(ioBase: 0x3F8, irq: 4), nil, nil, nil].compactMap { $0 }
  /// The clock chip shows UTC, not local time.
  public var rtcUseUTC: Bool = true
  /// There is an HPET.
  public var hpet: Bool = true
  /// There are the ports of test programs: 0xE9 (log), 0xF4 (exit).
  public var debugPorts: Bool = false
  /// There is the port by which guests say that they have panicked.
  public var pvpanic: Bool = false
  /// There is the PCI device for tests of accesses.
  public var testDevice: Bool = false
  /// A virtio device that gives random numbers.
  public var virtioEntropy: Bool = false
  /// A virtio console.
  public var virtioConsole: Bool = false
  /// What it is connected to.
  public var virtioConsoleMode: UartMode = .disconnected
  /// The UARTs' interrupts pass the gate that OUT2 opens, as on a PC; without it they reach systems that leave the modem
  /// control register alone.
  public var uartStrict: Bool = false
  /// Storage controllers and what is attached to them.
  public var storageControllers: [StorageController] = []
  /// The network cards there are, in the order of their slots.
  public var networkAdapters: [NetworkAdapter] = []

  /// A machine with every setting as it is without a word about it.
  public init() {}

  /// The place of the virtio console among the serial ports, which have 1 to 4.
  public static let virtioConsoleSlot = 5

  /// What has a console on the host: the serial ports, and behind them the virtio console.
  public var consoles: [(slot: Int, mode: UartMode)] {
    uarts.map { ($0.slot, $0.mode) } + (virtioConsole ? [(Self.virtioConsoleSlot, virtioConsoleMode)] : [])
  }

  /// Whether there is a floppy controller, with its ports and its interrupt.
  public var hasFloppyController: Bool { storageControllers.contains { $0.bus == .floppy } }

  /// The NE2000s on the ISA bus, in order, with the ports and interrupts that they have.
  public var isaAdapters: [(slot: Int, ioBase: UInt16, irq: Int)] {
    zip(networkAdapters.filter { $0.model == .ne2000ISA }, NetworkAdapter.isaPlaces).map {
      ($0.slot, $1.ioBase, $1.irq)
    }
  }

  /// How guest code is executed.
  public enum Accelerator: String, Codable, CaseIterable, Sendable { case translator, interpreter }
  /// What the firmware boots from.
  public enum BootDevice: String, Codable, CaseIterable, Sendable { case none, floppy, dvd, disk, net }

  /// One CPUID leaf set or removed by the user.
  public struct CPUIDOverride: Codable, Equatable, Sendable {
    /// EAX before CPUID.
    public var leaf: UInt32
    /// ECX before CPUID, 0 where the leaf has no others.
    public var subleaf: UInt32
    /// EAX, EBX, ECX, EDX; nil: the leaf is removed.
    public var registers: [UInt32]?
    /// A leaf with these registers, or without any: removed.
    public init(leaf: UInt32, subleaf: UInt32, registers: [UInt32]?) {
      self.leaf = leaf
      self.subleaf = subleaf
      self.registers = registers
    }
  }

  /// A 16550A. `slot` is 1 to 4, as in the setting `uart1`.
  public struct Uart: Codable, Equatable, Sendable {
    /// Its number, 1 to 4.
    public var slot: Int
    /// Its first I/O port.
    public var ioBase: UInt16
    /// Its interrupt line on the ISA bus.
    public var irq: Int
    /// What it is connected to.
    public var mode: UartMode
    /// A serial port; `slot` is 1 to 4.
    public init(slot: Int = 1, ioBase: UInt16, irq: Int, mode: UartMode = .disconnected) {
      self.slot = slot
      self.ioBase = ioBase
      self.irq = irq
      self.mode = mode
    }
  }

  /// What a UART is connected to on the host.
  public enum UartMode: Codable, Equatable, Sendable {
    case disconnected
    /// A telnet server. Host nil: loopback. Port 0: a free one.
    case tcpServer(host: String?, port: Int)
    case tcpClient(host: String, port: Int)
    case file(path: String)
    case unixServer(path: String)
  }

  /// A storage controller and its drives.
  public struct StorageController: Codable, Equatable, Sendable {
    /// Kinds of controllers.
    public enum Bus: String, Codable, CaseIterable, Sendable {
      case ide
      /// Each port is a PCI device of its own, a virtio block device.
      case virtio
      /// The floppy controller; drives A and B are devices 0 and 1.
      case floppy

      /// Numbers that a drive's port may have.
      public var ports: ClosedRange<Int> {
        switch self {
        case .ide: 0...1
        case .virtio: 0...15
        case .floppy: 0...0
        }
      }
      /// Numbers that it may have on its port.
      public var devices: ClosedRange<Int> { self == .virtio ? 0...0 : 0...1 }
      /// Kinds of drives that it has.
      public var kinds: [Attachment.Kind] {
        switch self {
        case .ide: [.hdd, .dvddrive]
        case .virtio: [.hdd]
        case .floppy: [.fdd]
        }
      }
      /// Whether a drive can be there.
      public func has(port: Int, device: Int) -> Bool { ports.contains(port) && devices.contains(device) }
    }
    /// Its name, by which commands know it.
    public var name: String
    /// What kind it is.
    public var bus: Bus
    /// Its drives.
    public var attachments: [Attachment]
    /// A controller with these drives.
    public init(name: String, bus: Bus, attachments: [Attachment] = []) {
      self.name = name
      self.bus = bus
      self.attachments = attachments
    }
  }

  /// A drive.
  public struct Attachment: Codable, Equatable, Sendable {
    /// Kinds of drives.
    public enum Kind: String, Codable, CaseIterable, Sendable {
      case hdd, dvddrive, fdd
      /// The drive may be empty, and its medium changes while the machine runs.
      public var isRemovable: Bool { self != .hdd }
      /// Whether the guest can write to what is in it.
      func isWritten(_ mode: Mode) -> Bool { self != .dvddrive && mode == .normal }
    }
    /// Whether the guest may write.
    public enum Mode: String, Codable, CaseIterable, Sendable { case normal, readonly }
    /// IDE channel, 0 or 1; a number from 0 on of virtio's; 0 of the floppy controller.
    public var port: Int
    /// On IDE 0 master, 1 slave; 0 and 1 are the floppy drives A and B.
    public var device: Int
    /// What kind of drive it is.
    public var kind: Kind
    /// Path of the image; nil: an empty drive.
    public var medium: String?
    /// Whether the guest may write to a hard disk or a floppy disk.
    public var mode: Mode
    /// nil: raw, unless the file looks like another format, and then it is refused.
    public var format: Format?
    /// Formats of images.
    public typealias Format = ImageFormat
    /// Whether the guest can write to what is in it.
    public var isWritten: Bool { kind.isWritten(mode) }
    /// A drive at a place; without a medium it is empty.
    public init(port: Int, device: Int, kind: Kind, medium: String?, mode: Mode = .normal, format: Format? = nil) {
      self.port = port
      self.device = device
      self.kind = kind
      self.medium = medium
      self.mode = mode
      self.format = format
    }
  }
}
