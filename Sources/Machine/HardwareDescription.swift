import DiskImages
import X86

/// What two machines must have in common for one to take over from the other: the greeting of a teleport carries it, and
/// a saved state opens with it. Contents are compared, not file names: firmware, kernel and initial RAM disk by digest.
public struct HardwareDescription: Codable, Equatable, Sendable {
  public var memoryMB: Int
  public var vramMB: Int
  public var cpus: Int
  public var cpuProfile: String
  public var cpuidLeaves: [CPUIDLeaf]
  public var roms: [Blob]
  /// Kernel, initrd and command line, where they are given.
  public var boot: [Blob]
  public var bootOrder: [MachineConfiguration.BootDevice]
  public var uarts: [UartWiring]
  public var hpet: Bool
  public var debugPorts: Bool
  public var rtcUseUTC: Bool
  public var storage: [StorageSlot]
  /// Controllers, also those with nothing attached; for the remedies.
  public var controllers: [Controller]?
  /// Every section that the machine's state consists of, with the version this build writes.
  public var devices: [DeviceVersion]

  /// A named piece of content. `option` is the modifyvm option that sets it ("--firmware"), empty where none does.
  public struct Blob: Codable, Equatable, Sendable {
    public var name: String
    public var option: String
    public var path: String?
    public var size: Int
    /// SHA-256 or another strong digest, in hexadecimal.
    public var digest: String
    /// The content itself, where it is a line of text.
    public var text: String?
  }

  public struct Controller: Codable, Equatable, Sendable {
    public var name: String
    public var bus: MachineConfiguration.StorageController.Bus
  }

  public struct UartWiring: Codable, Equatable, Sendable {
    public var slot: Int
    public var ioBase: UInt16
    public var irq: Int
  }

  public struct StorageSlot: Codable, Equatable, Sendable {
    public var controller: String
    public var bus: MachineConfiguration.StorageController.Bus
    public var port: Int
    public var device: Int
    public var kind: MachineConfiguration.Attachment.Kind
    public var mode: MachineConfiguration.Attachment.Mode
    /// nil: the drive is empty.
    public var medium: MediumIdentity?

    /// Whether the guest can write to it.
    public var isWritten: Bool { kind == .hdd && mode == .normal }
    public var place: Place { Place(bus: bus, port: port, device: device) }

    /// Where a drive is, whatever its controller is called.
    public struct Place: Codable, Hashable, Sendable {
      public var bus: MachineConfiguration.StorageController.Bus
      public var port: Int
      public var device: Int
    }
  }

  public struct DeviceVersion: Codable, Equatable, Sendable {
    public var name: String
    public var kind: String
    public var version: Int
  }
}
