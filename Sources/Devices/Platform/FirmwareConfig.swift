import Foundation
import GuestMemory
import SavedState

/// fw_cfg: how the board hands sizes, tables and kernels to the firmware. Ports 0x510 (selector), 0x511 (data) and
/// 0x514 to 0x51B (DMA address, big-endian).
///
/// Source: QEMU, docs/specs/fw_cfg.
public final class FirmwareConfig: Device, PortIO {
  /// Well-known keys.
  public enum Key {
    public static let signature: UInt16 = 0x00
    public static let id: UInt16 = 0x01
    public static let uuid: UInt16 = 0x02
    public static let ramSize: UInt16 = 0x03
    public static let noGraphic: UInt16 = 0x04
    public static let cpuCount: UInt16 = 0x05
    public static let machineID: UInt16 = 0x06
    public static let kernelAddress: UInt16 = 0x07
    public static let kernelSize: UInt16 = 0x08
    public static let kernelCommandLine: UInt16 = 0x09
    public static let initrdAddress: UInt16 = 0x0A
    public static let initrdSize: UInt16 = 0x0B
    public static let bootDevice: UInt16 = 0x0C
    public static let numa: UInt16 = 0x0D
    public static let bootMenu: UInt16 = 0x0E
    public static let maxCPUs: UInt16 = 0x0F
    public static let kernelEntry: UInt16 = 0x10
    public static let kernelData: UInt16 = 0x11
    public static let initrdData: UInt16 = 0x12
    public static let commandLineAddress: UInt16 = 0x13
    public static let commandLineSize: UInt16 = 0x14
    public static let commandLineData: UInt16 = 0x15
    public static let setupAddress: UInt16 = 0x16
    public static let setupSize: UInt16 = 0x17
    public static let setupData: UInt16 = 0x18
    public static let fileDirectory: UInt16 = 0x19
    public static let firstFile: UInt16 = 0x20
    public static let acpiTables: UInt16 = 0x8000
    public static let smbiosEntries: UInt16 = 0x8001
    public static let irq0Override: UInt16 = 0x8002
    public static let e820: UInt16 = 0x8003
    public static let hpet: UInt16 = 0x8004
  }

  /// What the guest has selected; the items are the definition's, not the state's.
  public struct State: Codable, Equatable, Sendable {
    var selector: UInt16 = 0
    var offset: UInt32 = 0
    var dmaAddressHigh: UInt32 = 0
  }

  public let name = "fw_cfg"
  private let memory: PhysicalMemory
  private var state = State()
  private var items: [UInt16: Data] = [:]
  private var generators: [UInt16: () -> Data] = [:]
  private var files: [(name: String, size: Int, key: UInt16)] = []
  private var current = Data()

  /// At ports 510H and 511H, with its DMA interface at 514H.
  public init(ports: PortBus, memory: PhysicalMemory) {
    self.memory = memory
    items[Key.signature] = Data("QEMU".utf8)
    // Bit 0: the traditional interface; bit 1: DMA.
    items[Key.id] = Data([3, 0, 0, 0])
    updateDirectory()
    select(0)
    ports.map(self, 0x510...0x511)
    ports.map(self, 0x514...0x51B)
  }

  // MARK: Items

  /// Makes the item under a key; one that was there is replaced.
  public func add(key: UInt16, data: Data) {
    items[key & 0xBFFF] = data
    if state.selector == key { current = data }
  }

  /// An item of two bytes, little-endian.
  public func add(key: UInt16, _ value: UInt16) {
    add(key: key, data: withUnsafeBytes(of: value.littleEndian) { Data($0) })
  }
  /// An item of four bytes, little-endian.
  public func add(key: UInt16, _ value: UInt32) {
    add(key: key, data: withUnsafeBytes(of: value.littleEndian) { Data($0) })
  }
  /// An item of eight bytes, little-endian.
  public func add(key: UInt16, _ value: UInt64) {
    add(key: key, data: withUnsafeBytes(of: value.littleEndian) { Data($0) })
  }

  /// An item made anew each time the guest selects it.
  public func add(key: UInt16, _ data: @escaping () -> Data) { generators[key & 0xBFFF] = data }

  /// A named file; its name has at most 55 bytes. A file of the same name is replaced.
  public func add(file: String, data: Data) {
    let known = files.firstIndex { $0.name == file }
    let key = known.map { files[$0].key } ?? Key.firstFile + UInt16(files.count)
    items[key] = data
    if let known { files[known].size = data.count } else { files.append((file, data.count, key)) }
    updateDirectory()
  }

  /// A named file of fixed size whose bytes are made when the guest selects it.
  public func add(file: String, size: Int, _ data: @escaping () -> Data) {
    add(file: file, data: Data(count: size))
    if let entry = files.first(where: { $0.name == file }) { generators[entry.key] = data }
  }

  /// The directory: count, then size, key, reserved and a 56-byte name of each, big-endian, in order of name.
  private func updateDirectory() {
    var directory = Data()
    func append<T: FixedWidthInteger>(_ value: T) {
      withUnsafeBytes(of: value.bigEndian) { directory.append(contentsOf: $0) }
    }
    append(UInt32(files.count))
    for file in files.sorted(by: { $0.name < $1.name }) {
      append(UInt32(file.size))
      append(file.key)
      append(UInt16(0))
      var name = Array(file.name.utf8.prefix(55))
      name += Array(repeating: 0, count: 56 - name.count)
      directory.append(contentsOf: name)
    }
    items[Key.fileDirectory] = directory
  }

  private func select(_ selector: UInt16) {
    state.selector = selector
    state.offset = 0
    current = content(selector)
  }

  private func content(_ selector: UInt16) -> Data {
    // Bit 14 chose the write channel in old versions.
    let key = selector & 0xBFFF
    if let generate = generators[key] { return generate() }
    return items[key] ?? Data()
  }

  private func nextByte() -> UInt8 {
    guard Int(state.offset) < current.count else { return 0 }
    defer { state.offset += 1 }
    return current[current.startIndex + Int(state.offset)]
  }

  // MARK: Ports

  public func readPort(_ port: UInt16, size: Int) -> UInt32 {
    switch port {
    case 0x511:
      var value: UInt32 = 0
      for index in 0..<size { value |= UInt32(nextByte()) << UInt32(index * 8) }
      return value
    case 0x514: return size == 4 ? UInt32(0x51454D55).byteSwapped : 0  // "QEMU"
    case 0x518: return size == 4 ? UInt32(0x20434647).byteSwapped : 0  // " CFG"
    default: return 0
    }
  }

  public func writePort(_ port: UInt16, size: Int, value: UInt32) {
    switch port {
    case 0x510: if size >= 2 { select(UInt16(truncatingIfNeeded: value)) }
    case 0x514: if size == 4 { state.dmaAddressHigh = value.byteSwapped }
    case 0x518:
      guard size == 4 else { return }
      let address = UInt64(state.dmaAddressHigh) << 32 | UInt64(value.byteSwapped)
      state.dmaAddressHigh = 0
      transfer(address)
    default: break
    }
  }

  /// Runs the DMA command at `address`: control, length and address, big-endian.
  private func transfer(_ address: UInt64) {
    let control = UInt32(bigEndian: memory.read(address, as: UInt32.self).littleEndian)
    let length = UInt32(bigEndian: memory.read(address &+ 4, as: UInt32.self).littleEndian)
    let target = UInt64(bigEndian: memory.read(address &+ 8, as: UInt64.self).littleEndian)
    if control & 8 != 0 { select(UInt16(truncatingIfNeeded: control >> 16)) }
    var result: UInt32 = 0
    if control & 2 != 0 {
      read(to: target, length)
    } else if control & 4 != 0 {
      state.offset = UInt32(min(UInt64(state.offset) + UInt64(length), UInt64(current.count)))
    } else if control & 0x10 != 0 {
      result = 1  // nothing here can be written
    }
    memory.write(address, result.bigEndian)
  }

  /// Bytes past the item's end read as zero.
  private func read(to target: UInt64, _ length: UInt32) {
    let available = max(current.count - Int(state.offset), 0)
    let copied = min(Int(length), available)
    if copied > 0 {
      let first = current.startIndex + Int(state.offset)
      current[first..<(first + copied)].withUnsafeBytes { memory.write(target, from: $0) }
      state.offset += UInt32(copied)
    }
    var done = copied
    let zeros = [UInt8](repeating: 0, count: 4096)
    // A length beyond all memory is the guest's mistake: what lies past it has nobody to take it.
    let end = min(Int(length), copied + Int(clamping: memory.size))
    while done < end {
      let piece = min(end - done, zeros.count)
      zeros.withUnsafeBytes {
        memory.write(target &+ UInt64(done), from: UnsafeRawBufferPointer(rebasing: $0[..<piece]))
      }
      done += piece
    }
  }

  // MARK: Device

  public func reset() {
    state = State()
    select(0)
  }

  public func save() throws -> StateSection {
    try StateSection(name: name, kind: "fw_cfg", version: 1, state: state)
  }

  public func load(_ section: StateSection) throws {
    let loaded = try section.decode(State.self, kind: "fw_cfg", upTo: 1)
    state = loaded
    current = content(loaded.selector)
  }

  public func pause() {}
  public func resume() {}
}
