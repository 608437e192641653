import Foundation
import X86

/// Who a machine says it is: from its definition.
public struct MachineIdentity: Equatable, Sendable {
  /// The definition's name.
  public var name: String
  /// The definition's UUID, which the guest reads as its serial number, too.
  public var uuid: UUID

  /// Without a definition: no UUID.
  public init(name: String = "vmctl", uuid: UUID = UUID(uuid: (0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0))) {
    self.name = name
    self.uuid = uuid
  }
}

/// The SMBIOS structures of the board, as the two files that firmware makes its tables of. The firmware adds the BIOS
/// information, which is its own.
///
/// Source: SMBIOS Reference Specification (DSP0134) 2.8, clauses 5.2.1 and 7.
struct SMBIOSTables {
  static let tablesFile = "etc/smbios/smbios-tables"
  static let anchorFile = "etc/smbios/smbios-anchor"

  private(set) var tables = TableBytes()
  private(set) var anchor = TableBytes()
  private var structures = 0
  private var largest = 0

  private static let manufacturer = "vmctl"

  /// - Parameter memory: where the RAM lies.
  init(_ identity: MachineIdentity, cpus: Int, profile: CPUProfile, memory: [Range<UInt64>]) {
    addSystem(identity)
    addEnclosure()
    for index in 0..<cpus { addProcessor(index, profile) }
    addMemory(memory)
    add(32, 0x2000) { $0.append([0, 0, 0, 0, 0, 0, 0]) }  // boot status: no errors
    add(127, 0x7F00) { _ in }
    writeAnchor()
  }

  /// Adds a structure: type, length and handle, `body`, then the strings it names by number.
  private mutating func add(_ type: UInt8, _ handle: UInt16, strings: [String] = [], _ body: (inout TableBytes) -> Void)
  {
    var structure = TableBytes([type, 0])
    structure.append(handle)
    body(&structure)
    structure.put(UInt8(structure.count), at: 1)
    for string in strings { structure.append(Array(string.utf8) + [0]) }
    structure.append(strings.isEmpty ? [0, 0] : [0])
    largest = max(largest, structure.count)
    structures += 1
    tables.append(structure)
  }

  /// The first three fields of a UUID are little-endian (7.2.1).
  private static func bytes(_ uuid: UUID) -> [UInt8] {
    let u = uuid.uuid
    return [u.3, u.2, u.1, u.0, u.5, u.4, u.7, u.6, u.8, u.9, u.10, u.11, u.12, u.13, u.14, u.15]
  }

  private mutating func addSystem(_ identity: MachineIdentity) {
    let serial = identity.uuid.uuidString.lowercased()
    add(1, 0x100, strings: [Self.manufacturer, "Virtual PC (i440FX)", "1.0", serial, "Virtual Machine"]) {
      $0.append([1, 2, 3, 4])
      $0.append(Self.bytes(identity.uuid))
      $0.append([6, 0, 5])  // woken by the power switch; no SKU
    }
  }

  private mutating func addEnclosure() {
    add(3, 0x300, strings: [Self.manufacturer, "1.0"]) {
      $0.append([1, 1, 2, 0, 0, 3, 3, 3, 2])  // "other"; all states safe, no security
      $0.append(UInt32(0))
      $0.append([0, 0, 0, 0, 0])
    }
  }

  private mutating func addProcessor(_ index: Int, _ profile: CPUProfile) {
    let isWide = profile.query(0x8000_0001, 0).edx & 1 << 29 != 0
    add(4, UInt16(0x400 + index), strings: ["CPU \(index)", "GenuineIntel", profile.name]) {
      $0.append([1, 3, 1, 2])  // a central processor of "other" family, by string 2
      $0.append(profile.signature)
      $0.append(profile.query(1, 0).edx)
      $0.append([3, 0])  // version; voltage unknown
      $0.append(UInt16(0))  // external clock unknown
      $0.append(UInt16(1000))
      $0.append(UInt16(1000))
      $0.append([0x41, 1])  // there and enabled; upgrade: other
      for _ in 0..<3 { $0.append(UInt16(0xFFFF)) }  // caches are not told
      $0.append([0, 0, 0, 1, 1, 1])  // no serial number, tag, part; one core, enabled, one thread
      $0.append(UInt16(isWide ? 0x04 : 0))  // 64-bit capable
      $0.append(UInt16(1))
    }
  }

  /// An array of the board, its devices of at most 16 GiB, and where their memory lies.
  private mutating func addMemory(_ ranges: [Range<UInt64>]) {
    let total = ranges.reduce(0) { $0 + UInt64($1.count) }
    let deviceSize: UInt64 = 16 << 30
    let devices = Int((total + deviceSize - 1) / deviceSize)
    add(16, 0x1000) {
      $0.append([1, 3, 6])  // other; system memory; ECC of several bits
      $0.append(total >> 10 < 0x8000_0000 ? UInt32(total >> 10) : 0x8000_0000)
      $0.append(UInt16(0xFFFE))
      $0.append(UInt16(devices))
      $0.append(total >> 10 < 0x8000_0000 ? UInt64(0) : total)
    }
    for index in 0..<devices {
      let size = min(total - UInt64(index) * deviceSize, deviceSize) >> 20
      add(17, UInt16(0x1100 + index), strings: ["DIMM \(index)", Self.manufacturer]) {
        for word in [0x1000, 0xFFFE, 0xFFFF, 0xFFFF] as [UInt16] { $0.append(word) }
        $0.append(size < 0x7FFF ? UInt16(size) : 0x7FFF)
        $0.append([9, 0, 1, 0, 7])  // DIMM, of no set, string 1, no bank; RAM
        $0.append(UInt16(1 << 1))
        $0.append(UInt16(0))
        $0.append([2, 0, 0, 0, 0])  // manufacturer; no serial number, tag, part, rank
        $0.append(size < 0x7FFF ? UInt32(0) : UInt32(size))
        $0.append(UInt16(0))
      }
    }
    for (index, range) in ranges.enumerated() {
      let isShort = range.upperBound >> 10 <= 0xFFFF_FFFF
      add(19, UInt16(0x1300 + index)) {
        $0.append(isShort ? UInt32(range.lowerBound >> 10) : .max)
        $0.append(isShort ? UInt32((range.upperBound - 1) >> 10) : .max)
        $0.append(UInt16(0x1000))
        $0.append(UInt8(1))
        $0.append(isShort ? UInt64(0) : range.lowerBound)
        $0.append(isShort ? UInt64(0) : range.upperBound - 1)
      }
    }
  }

  /// The entry point of 2.x; address and checksums are the firmware's to set.
  private mutating func writeAnchor() {
    anchor.append("_SM_", length: 4)
    anchor.append([0, 0x1F, 2, 8])  // checksum, length, version 2.8
    anchor.append(UInt16(largest))
    anchor.append([0, 0, 0, 0, 0, 0])
    anchor.append("_DMI_", length: 5)
    anchor.append(UInt8(0))
    anchor.append(UInt16(tables.count))
    anchor.append(UInt32(0))
    anchor.append(UInt16(structures))
    anchor.append(UInt8(0x28))
    anchor.put(anchor.checksum(16..<31), at: 21)
    anchor.put(anchor.checksum(0..<31), at: 4)
  }
}
