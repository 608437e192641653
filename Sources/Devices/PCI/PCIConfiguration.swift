import Foundation

/// Offsets in the type 0 configuration header (PCI Local Bus Specification 3.0, 6.1).
public enum PCIRegister {
  public static let vendorID = 0x00
  public static let deviceID = 0x02
  public static let command = 0x04
  public static let status = 0x06
  public static let revision = 0x08
  public static let classCode = 0x09
  public static let headerType = 0x0E
  public static let bar0 = 0x10
  public static let subsystemVendor = 0x2C
  public static let subsystem = 0x2E
  public static let expansionROM = 0x30
  public static let capabilities = 0x34
  public static let interruptLine = 0x3C
  public static let interruptPin = 0x3D
}

/// The command register (PCI 3.0, 6.2.2).
public struct PCICommand: OptionSet, Sendable {
  public let rawValue: UInt16
  public init(rawValue: UInt16) { self.rawValue = rawValue }
  /// The device answers in the I/O space, in memory; may master the bus; must not assert INTx.
  public static let ioSpace = PCICommand(rawValue: 1 << 0)
  public static let memorySpace = PCICommand(rawValue: 1 << 1)
  public static let busMaster = PCICommand(rawValue: 1 << 2)
  public static let interruptDisable = PCICommand(rawValue: 1 << 10)
}

/// Who a PCI function says it is.
public struct PCIIdentity: Equatable, Sendable {
  /// As the PCI SIG has given it.
  public var vendor: UInt16
  /// As the vendor has given it.
  public var device: UInt16
  /// The vendor's revision of the device.
  public var revision: UInt8
  /// Base class, subclass, programming interface: 0x010180 is IDE with bus mastering.
  public var classCode: UInt32
  /// Vendor of the card; 0: none is told.
  public var subsystemVendor: UInt16
  /// The card's number; 0: none is told.
  public var subsystem: UInt16

  /// The subsystem ids default to those of QEMU's machine, by which SeaBIOS tells a virtual board.
  public init(
    vendor: UInt16, device: UInt16, revision: UInt8, classCode: UInt32, subsystemVendor: UInt16 = 0x1AF4,
    subsystem: UInt16 = 0x1100
  ) {
    self.vendor = vendor
    self.device = device
    self.revision = revision
    self.classCode = classCode
    self.subsystemVendor = subsystemVendor
    self.subsystem = subsystem
  }
}

/// The 256 bytes of a function's configuration space, with the bits a guest may write and those it clears by
/// writing 1. Pure: no bus.
public struct PCIConfiguration: Sendable {
  /// What a saved state holds of it.
  public struct State: Codable, Equatable, Sendable {
    /// The 256 bytes of configuration space.
    public var bytes: Data
    /// The level of the function's INTx pin.
    public var interrupt: Bool
  }

  /// The 256 bytes as the guest reads them.
  public private(set) var bytes: [UInt8]
  private var writable: [UInt8]
  private var clearable: [UInt8]
  private let initial: [UInt8]

  /// A header of type 0 in which the guest may write the command register and the interrupt line.
  public init(_ identity: PCIIdentity, interruptPin: UInt8, multifunction: Bool) {
    var bytes = [UInt8](repeating: 0, count: 256)
    func put16(_ offset: Int, _ value: UInt16) {
      bytes[offset] = UInt8(truncatingIfNeeded: value)
      bytes[offset + 1] = UInt8(truncatingIfNeeded: value >> 8)
    }
    put16(PCIRegister.vendorID, identity.vendor)
    put16(PCIRegister.deviceID, identity.device)
    bytes[PCIRegister.revision] = identity.revision
    bytes[PCIRegister.classCode] = UInt8(truncatingIfNeeded: identity.classCode)
    bytes[PCIRegister.classCode + 1] = UInt8(truncatingIfNeeded: identity.classCode >> 8)
    bytes[PCIRegister.classCode + 2] = UInt8(truncatingIfNeeded: identity.classCode >> 16)
    bytes[PCIRegister.headerType] = multifunction ? 0x80 : 0
    put16(PCIRegister.subsystemVendor, identity.subsystemVendor)
    put16(PCIRegister.subsystem, identity.subsystem)
    bytes[PCIRegister.interruptPin] = interruptPin
    self.bytes = bytes
    initial = bytes
    writable = [UInt8](repeating: 0, count: 256)
    clearable = [UInt8](repeating: 0, count: 256)
    // I/O, memory, master, parity response, SERR enable; interrupt disable.
    writable[PCIRegister.command] = 0x47
    writable[PCIRegister.command + 1] = 0x05
    // The error bits of the status register.
    clearable[PCIRegister.status + 1] = 0xF9
    writable[0x0C] = 0xFF  // cache line size
    writable[0x0D] = 0xFF  // latency timer
    writable[PCIRegister.interruptLine] = 0xFF
  }

  /// Sets a byte as the device itself does, past the write mask.
  public mutating func set(_ offset: Int, _ value: UInt8) { bytes[offset & 0xFF] = value }

  /// Sets four bytes, whatever the guest may write.
  public mutating func set32(_ offset: Int, _ value: UInt32) {
    for index in 0..<4 { bytes[(offset + index) & 0xFF] = UInt8(truncatingIfNeeded: value >> UInt32(index * 8)) }
  }

  /// Lets the guest write these bits of a byte.
  public mutating func allow(_ offset: Int, mask: UInt8) { writable[offset & 0xFF] = mask }
  /// Lets the guest write these bits of four bytes.
  public mutating func allow32(_ offset: Int, mask: UInt32) {
    for index in 0..<4 { writable[(offset + index) & 0xFF] = UInt8(truncatingIfNeeded: mask >> UInt32(index * 8)) }
  }

  /// The byte at an offset below 256.
  public subscript(_ offset: Int) -> UInt8 { bytes[offset & 0xFF] }
  /// The two bytes at an offset, little-endian.
  public func word(_ offset: Int) -> UInt16 { UInt16(bytes[offset & 0xFF]) | UInt16(bytes[(offset + 1) & 0xFF]) << 8 }
  /// The four bytes at an offset, little-endian.
  public func long(_ offset: Int) -> UInt32 { read(offset, size: 4) }

  public func read(_ offset: Int, size: Int) -> UInt32 {
    var value: UInt32 = 0
    for index in 0..<size where offset + index < 256 { value |= UInt32(bytes[offset + index]) << UInt32(index * 8) }
    return value
  }

  /// A guest's write: only writable bits change, and ones clear the bits that are cleared so.
  public mutating func write(_ offset: Int, size: Int, value: UInt32) {
    for index in 0..<size where offset + index < 256 {
      let byte = UInt8(truncatingIfNeeded: value >> UInt32(index * 8))
      let at = offset + index
      let kept = bytes[at] & ~writable[at]
      bytes[at] = (kept | (byte & writable[at])) & ~(byte & clearable[at])
    }
  }

  /// Clears what a reset clears: the command register, BARs' addresses and the interrupt line.
  mutating func reset() {
    for offset in 0..<256 where writable[offset] != 0 || clearable[offset] != 0 {
      bytes[offset] &= ~(writable[offset] | clearable[offset])
      bytes[offset] |= initial[offset] & (writable[offset] | clearable[offset])
    }
  }

  /// Whether `saved` can be this function's: 256 bytes whose read-only identity is the same.
  func accepts(_ saved: Data) -> Bool {
    guard saved.count == 256 else { return false }
    let other = [UInt8](saved)
    for offset in 0..<0x40 where offset != PCIRegister.status && offset != PCIRegister.status + 1 {
      guard (other[offset] ^ bytes[offset]) & ~writable[offset] == 0 else { return false }
    }
    return true
  }

  mutating func replace(_ saved: Data) { bytes = [UInt8](saved) }
}
