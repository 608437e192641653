/// The hardware of a machine and how the host runs it. A definition (TOML) holds one of these; `VirtualMachine` builds a
/// board from it. What is to be said of each setting (its name, its values, whether a guest can notice it) is said once, in
/// `MachineConfiguration.settings`.
public struct MachineConfiguration: Codable, Equatable, Sendable {
  /// RAM in MiB.
  public var memoryMB: Int = 256
  /// Video memory in MiB: 1 to 256, a power of two.
  public var vramMB: Int = 16
  public var cpus: Int = 1
  public var cpuProfile: String = "x86-64-v2"
  public var cpuidOverrides: [CPUIDOverride] = []
  #if arch(x86_64)
    public var accelerator: Accelerator = .translator
  #else
    public var accelerator: Accelerator = .interpreter
  #endif
  /// Path of a ROM image, or nil for the distribution's SeaBIOS.
  public var firmware: String?
  /// Boot devices in order.
  public var bootOrder: [BootDevice] = [.floppy, .dvd, .disk, .none]
  public var kernel: String?
  public var initrd: String?
  public var append: String?
  public var uarts: [Uart] = [Uart(ioBase: 0x3F8, irq: 4), nil, nil, nil].compactMap { $0 }
  public var rtcUseUTC: Bool = true
  public var hpet: Bool = true
  public var debugPorts: Bool = false
  public var testDevice: Bool = false
  /// The UARTs' interrupts pass the gate that OUT2 opens, as on a PC; without it they reach systems that leave the modem
  /// control register alone.
  public var uartStrict: Bool = false
  public var storageControllers: [StorageController] = []
  public var networkAdapters: [NetworkAdapter] = []

  public init() {}

  public enum Accelerator: String, Codable, CaseIterable, Sendable { case translator, interpreter }
  public enum BootDevice: String, Codable, CaseIterable, Sendable { case none, floppy, dvd, disk, net }

  /// One CPUID leaf set or removed by the user.
  public struct CPUIDOverride: Codable, Equatable, Sendable {
    public var leaf: UInt32
    public var subleaf: UInt32
    /// EAX, EBX, ECX, EDX; nil: the leaf is removed.
    public var registers: [UInt32]?
    public init(leaf: UInt32, subleaf: UInt32, registers: [UInt32]?) {
      self.leaf = leaf
      self.subleaf = subleaf
      self.registers = registers
    }
  }

  /// A 16550A. `slot` is 1 to 4, as in the setting `uart1`.
  public struct Uart: Codable, Equatable, Sendable {
    public var slot: Int
    public var ioBase: UInt16
    public var irq: Int
    public var mode: UartMode
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

  public struct StorageController: Codable, Equatable, Sendable {
    public enum Bus: String, Codable, CaseIterable, Sendable { case ide }
    public var name: String
    public var bus: Bus
    public var attachments: [Attachment]
    public init(name: String, bus: Bus, attachments: [Attachment] = []) {
      self.name = name
      self.bus = bus
      self.attachments = attachments
    }
  }

  public struct Attachment: Codable, Equatable, Sendable {
    public enum Kind: String, Codable, CaseIterable, Sendable { case hdd, dvddrive }
    public enum Mode: String, Codable, CaseIterable, Sendable { case normal, readonly }
    /// IDE channel: 0 or 1.
    public var port: Int
    /// 0 master, 1 slave.
    public var device: Int
    public var kind: Kind
    /// Path of the image; nil: an empty drive.
    public var medium: String?
    public var mode: Mode
    /// nil: raw, unless the file looks like another format, and then it is refused.
    public var format: Format?
    public enum Format: String, Codable, CaseIterable, Sendable { case raw }
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
