import Foundation
import GuestMemory
import SavedState

/// The IDE function of the PIIX3 (Intel 82371SB, function 1, 8086:7010): two channels in compatibility mode, ports
/// 0x1F0/0x3F6 and 0x170/0x376, with bus mastering through BAR 4.
public final class PIIX3IDE: PCIDevice, Device, PortIO {
  public let name: String
  private let channels: [IDEChannel]

  /// - Parameters:
  ///   - drives: primary master and slave, secondary master and slave.
  ///   - lines: to inputs 14 and 15 of the interrupt controllers.
  public init(
    name: String = "ide0", drives: [IDEDrive?], lines: (primary: InterruptLine, secondary: InterruptLine),
    memory: PhysicalMemory, ports: PortBus, worker: any DiskWorker
  ) {
    precondition(drives.count == 4)
    self.name = name
    channels = [
      IDEChannel(
        commandBase: 0x1F0, controlPort: 0x3F6, drives: Array(drives[0...1]), line: lines.primary, memory: memory,
        worker: worker),
      IDEChannel(
        commandBase: 0x170, controlPort: 0x376, drives: Array(drives[2...3]), line: lines.secondary, memory: memory,
        worker: worker),
    ]
    super.init(
      name: name, identity: PCIIdentity(vendor: 0x8086, device: 0x7010, revision: 0, classCode: 0x010180))
    // IDETIM and SIDETIM (2.5.9, 2.5.10): timings, kept for who reads them back. The channels always decode.
    configuration.allow32(0x40, mask: .max)
    configuration.allow(0x44, mask: 0xFF)
    addIOBar(4, size: 16, ports: ports) { [unowned self] in self }
    for channel in channels { channel.attach(to: ports) }
  }

  /// The drive at a channel (0, 1) and place (0 master, 1 slave), for changing media at run time.
  public func drive(channel: Int, device: Int) -> IDEDrive? {
    guard channels.indices.contains(channel), (0...1).contains(device) else { return nil }
    return channels[channel].drives[device]
  }

  // MARK: Bus master ports

  public func readPort(_ port: UInt16, size: Int) -> UInt32 {
    var value: UInt32 = 0
    for index in 0..<size {
      let offset = Int((port &+ UInt16(index)) & 15)
      value |= UInt32(channels[offset >> 3].readBusMaster(offset & 7)) << UInt32(index * 8)
    }
    return value
  }

  public func writePort(_ port: UInt16, size: Int, value: UInt32) {
    for index in 0..<size {
      let offset = Int((port &+ UInt16(index)) & 15)
      channels[offset >> 3].writeBusMaster(offset & 7, UInt8(truncatingIfNeeded: value >> UInt32(index * 8)))
    }
  }

  // MARK: Device

  public func reset() {
    resetPCI()
    for channel in channels { channel.reset() }
  }

  public func pause() { for channel in channels { channel.pause() } }
  public func resume() { for channel in channels { channel.resume() } }

  private struct Saved: Codable {
    var pci: PCIConfiguration.State
    var channels: [IDEChannel.State]
  }
  private static let kind = "piix3-ide"
  private static let version = 1

  public func save() throws -> StateSection {
    var blob = Data()
    let saved = Saved(pci: pciState, channels: channels.map { $0.save(blob: &blob) })
    return try StateSection(name: name, kind: Self.kind, version: Self.version, state: saved, blob: blob)
  }

  public func load(_ section: StateSection) throws {
    let saved = try section.decode(Saved.self, kind: Self.kind, upTo: Self.version)
    try requireValid(saved.channels.count == 2, in: section, "the number of channels")
    try checkPCI(saved.pci, in: section)
    var bytes = 0
    for (channel, state) in zip(channels, saved.channels) {
      try channel.check(state, in: section)
      for case let drive? in state.drives { bytes += drive.bufferBytes }
    }
    try requireValid(bytes == section.blob.count, in: section, "the length of the drives' buffers")
    restorePCI(saved.pci)
    var rest = section.blob
    for (channel, state) in zip(channels, saved.channels) { rest = channel.restore(state, blob: rest) }
  }
}
