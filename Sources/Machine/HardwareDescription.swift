import DiskImages
import X86

/// What two machines must have in common for one to take over from the other: the greeting of a teleport carries it, and
/// a saved state opens with it. Contents are compared, not file names: firmware, kernel and initial RAM disk by digest.
public struct HardwareDescription: Codable, Equatable, Sendable {
  /// Every setting whose value the guest can notice, by name, as the words that would set it. One that is missing comes
  /// from a build that did not know it, and has its default.
  public var settings: [String: String]
  /// Every leaf that CPUID has, changed ones with their changes.
  public var cpuidLeaves: [CPUIDLeaf]
  /// Firmware and other ROMs.
  public var roms: [Blob]
  /// Kernel, initrd and command line, where they are given.
  public var boot: [Blob]
  /// Every drive, with an image or empty.
  public var storage: [StorageSlot]
  /// Controllers, also those with nothing attached; for the remedies.
  public var controllers: [Controller]?
  /// Every section that the machine's state consists of, with the version this build writes.
  public var devices: [DeviceVersion]

  /// A named piece of content. `setting` is the name of the setting that chooses it ("firmware"), empty where none does.
  public struct Blob: Codable, Equatable, Sendable {
    /// What it is, for people: "SeaBIOS", "kernel".
    public var name: String
    /// The setting that chooses it; empty: none does.
    public var setting: String
    /// Its file on the host that tells of it, where it has one.
    public var path: String?
    /// In bytes.
    public var size: Int
    /// SHA-256 or another strong digest, in hexadecimal.
    public var digest: String
    /// The content itself, where it is a line of text.
    public var text: String?
  }

  /// A storage controller.
  public struct Controller: Codable, Equatable, Sendable {
    /// Its name, by which commands know it.
    public var name: String
    /// What kind of controller it is.
    public var bus: MachineConfiguration.StorageController.Bus
  }

  /// A drive.
  public struct StorageSlot: Codable, Equatable, Sendable {
    /// The controller's name.
    public var controller: String
    /// What kind of controller it is on.
    public var bus: MachineConfiguration.StorageController.Bus
    /// The channel: 0 or 1.
    public var port: Int
    /// Its place on that: 0 master, 1 slave.
    public var device: Int
    /// Hard disk, CD-ROM or floppy disk.
    public var kind: MachineConfiguration.Attachment.Kind
    /// Whether a hard disk or a floppy disk may be written.
    public var mode: MachineConfiguration.Attachment.Mode
    /// nil: the drive is empty.
    public var medium: MediumIdentity?

    /// Whether the guest can write to it.
    public var isWritten: Bool { kind.isWritten(mode) }
    /// Where it is.
    public var place: Place { Place(bus: bus, port: port, device: device) }

    /// Where a drive is, whatever its controller is called.
    public struct Place: Codable, Hashable, Sendable {
      /// What kind of controller it is on.
      public var bus: MachineConfiguration.StorageController.Bus
      /// The channel.
      public var port: Int
      /// The place on that.
      public var device: Int

      /// A place, whether there is a drive or not.
      public init(bus: MachineConfiguration.StorageController.Bus, port: Int, device: Int) {
        self.bus = bus
        self.port = port
        self.device = device
      }
    }
  }

  /// A section of the state.
  public struct DeviceVersion: Codable, Equatable, Sendable {
    /// The section's name, of which there is one: "uart1".
    public var name: String
    /// What kind of device it is of: "uart".
    public var kind: String
    /// The version of its content.
    public var version: Int
  }
}

// MARK: Version 1

extension HardwareDescription {
  /// Reads version 2, and version 1, which had a field for each setting.
  /// - Throws: `DecodingError` for what is neither.
  public init(from decoder: any Decoder) throws {
    let fields = try decoder.container(keyedBy: CodingKeys.self)
    cpuidLeaves = try fields.decode([CPUIDLeaf].self, forKey: .cpuidLeaves)
    roms = try fields.decode([Blob].self, forKey: .roms)
    boot = try fields.decode([Blob].self, forKey: .boot)
    storage = try fields.decode([StorageSlot].self, forKey: .storage)
    controllers = try fields.decodeIfPresent([Controller].self, forKey: .controllers)
    devices = try fields.decode([DeviceVersion].self, forKey: .devices)
    settings =
      try fields.decodeIfPresent([String: String].self, forKey: .settings)
      ?? Version1(from: decoder).configuration.noticeable
  }

  /// The fields that became `settings`.
  private struct Version1: Decodable {
    var memoryMB: Int
    var vramMB: Int
    var cpus: Int
    var cpuProfile: String
    var bootOrder: [MachineConfiguration.BootDevice]
    var uarts: [Wiring]
    var hpet: Bool
    var debugPorts: Bool
    var rtcUseUTC: Bool

    struct Wiring: Decodable {
      var slot: Int
      var ioBase: UInt16
      var irq: Int
    }

    var configuration: MachineConfiguration {
      var result = MachineConfiguration()
      result.memoryMB = memoryMB
      result.vramMB = vramMB
      result.cpus = cpus
      result.cpuProfile = cpuProfile
      result.bootOrder = bootOrder
      result.uarts = uarts.map { .init(slot: $0.slot, ioBase: $0.ioBase, irq: $0.irq) }
      result.hpet = hpet
      result.debugPorts = debugPorts
      result.rtcUseUTC = rtcUseUTC
      return result
    }
  }
}

extension HardwareDescription.Blob {
  private enum Version1Keys: String, CodingKey { case option }

  /// Version 1 named the option in place of the setting.
  /// - Throws: `DecodingError` for what is neither version.
  public init(from decoder: any Decoder) throws {
    let fields = try decoder.container(keyedBy: CodingKeys.self)
    name = try fields.decode(String.self, forKey: .name)
    path = try fields.decodeIfPresent(String.self, forKey: .path)
    size = try fields.decode(Int.self, forKey: .size)
    digest = try fields.decode(String.self, forKey: .digest)
    text = try fields.decodeIfPresent(String.self, forKey: .text)
    if let known = try fields.decodeIfPresent(String.self, forKey: .setting) {
      setting = known
    } else {
      let option = try decoder.container(keyedBy: Version1Keys.self).decode(String.self, forKey: .option)
      setting = String(option.drop { $0 == "-" })
    }
  }
}
