/// The network device of virtio: its configuration, its filters and the commands that set them. Pure.
///
/// Source: virtio 1.2, 5.1.
struct VirtioNetCore {
  /// Feature bits (5.1.3).
  enum Feature {
    /// The device fills in checksums; the driver can do with those that are checked already.
    static let checksum = VirtioFeatures.bit(0)
    static let guestChecksum = VirtioFeatures.bit(1)
    static let address = VirtioFeatures.bit(5)
    /// The driver takes large TCP packets that have not been cut.
    static let guestTCP4 = VirtioFeatures.bit(7)
    static let guestTCP6 = VirtioFeatures.bit(8)
    /// The device cuts large TCP packets.
    static let hostTCP4 = VirtioFeatures.bit(11)
    static let hostTCP6 = VirtioFeatures.bit(12)
    static let hostECN = VirtioFeatures.bit(13)
    static let mergeableBuffers = VirtioFeatures.bit(15)
    static let status = VirtioFeatures.bit(16)
    static let controlQueue = VirtioFeatures.bit(17)
    static let receiveModes = VirtioFeatures.bit(18)
    static let vlanFilter = VirtioFeatures.bit(19)
    static let moreReceiveModes = VirtioFeatures.bit(20)
    static let announce = VirtioFeatures.bit(21)
    static let setAddress = VirtioFeatures.bit(23)

    static let all: VirtioFeatures = [
      checksum, guestChecksum, address, guestTCP4, guestTCP6, hostTCP4, hostTCP6, hostECN, mergeableBuffers, status,
      controlQueue, receiveModes, vlanFilter, moreReceiveModes, announce, setAddress,
    ]
  }

  /// Which frames reach the driver (5.1.6.5.1).
  struct Modes: OptionSet, Codable, Equatable, Sendable {
    let rawValue: UInt8
    static let promiscuous = Modes(rawValue: 1)
    static let allMulticast = Modes(rawValue: 2)
    static let allUnicast = Modes(rawValue: 4)
    static let noMulticast = Modes(rawValue: 8)
    static let noUnicast = Modes(rawValue: 16)
    static let noBroadcast = Modes(rawValue: 32)

    /// By the number of the command.
    static let byCommand: [Modes] = [promiscuous, allMulticast, allUnicast, noMulticast, noUnicast, noBroadcast]
  }

  struct State: Codable, Equatable, Sendable {
    /// As bytes 0 to 5 of a number, from the highest on.
    var address: UInt64
    /// Until a driver that can set the filters does so, everything comes through.
    var modes: Modes = .promiscuous
    var unicast: [UInt64] = []
    var multicast: [UInt64] = []
    /// More than the tables hold were set.
    var tablesOverflow: Modes = []
    /// A bit for each VLAN.
    var vlans = [UInt32](repeating: 0, count: 128)
    var hasCarrier: Bool
    /// The driver has been asked to announce the guest, and has not said yet that it did.
    var mustAnnounce = false
  }

  /// Addresses that each table holds.
  static let tableSize = 64
  /// Bytes of a command that are looked at.
  static let commandLimit = 65_536

  let burnedIn: UInt64
  var state: State

  init(address: MACAddress, hasCarrier: Bool) {
    burnedIn = Self.number(address.bytes, 0)
    state = State(address: burnedIn, hasCarrier: hasCarrier)
  }

  mutating func reset() { state = State(address: burnedIn, hasCarrier: state.hasCarrier) }

  private static func number(_ bytes: [UInt8], _ offset: Int) -> UInt64 {
    (0..<6).reduce(0) { $0 << 8 | UInt64(bytes[offset + $1]) }
  }

  // MARK: Configuration (5.1.4)

  var configuration: [UInt8] {
    let address = (0..<6).map { UInt8(truncatingIfNeeded: state.address >> UInt64(40 - 8 * $0)) }
    // The link's bit and the announcement's; one pair of queues, which is not told where there is no choice.
    return address + [(state.hasCarrier ? 1 : 0) | (state.mustAnnounce ? 2 : 0), 0]
  }

  /// Only what is older than the control queue writes the address here.
  mutating func writeConfiguration(_ offset: Int, _ value: UInt8) {
    guard offset < 6 else { return }
    let shift = UInt64(40 - 8 * offset)
    state.address = state.address & ~(0xFF << shift) | UInt64(value) << shift
  }

  // MARK: Filters

  /// - Parameter start: where the frame begins.
  func accepts(_ frame: [UInt8], from start: Int = 0, _ features: VirtioFeatures) -> Bool {
    guard frame.count >= start + 14 else { return false }
    if features.contains(Feature.vlanFilter), frame.word(at: start + 12) == 0x8100, frame.count >= start + 18 {
      let vlan = Int(frame.word(at: start + 14) & 0xFFF)
      guard state.vlans[vlan >> 5] >> UInt32(vlan & 31) & 1 != 0 else { return false }
    }
    if state.modes.contains(.promiscuous) { return true }
    let destination = Self.number(frame, start)
    let modes = state.modes.union(state.tablesOverflow)
    if destination == 0xFFFF_FFFF_FFFF { return !modes.contains(.noBroadcast) }
    if frame[start] & 1 != 0 {
      if modes.contains(.noMulticast) { return false }
      return modes.contains(.allMulticast) || state.multicast.contains(destination)
    }
    if modes.contains(.noUnicast) { return false }
    return modes.contains(.allUnicast) || destination == state.address || state.unicast.contains(destination)
  }

  // MARK: Commands (5.1.6.5)

  /// Does what a command says: class, command, data.
  /// - Returns: whether it could be done; otherwise nothing has changed.
  mutating func perform(_ command: [UInt8], _ features: VirtioFeatures) -> Bool {
    guard command.count >= 2 else { return false }
    let data = Array(command.dropFirst(2))
    switch (command[0], command[1]) {
    case (0, 0...1) where features.contains(Feature.receiveModes): return setMode(command[1], data)
    case (0, 2...5) where features.contains(Feature.moreReceiveModes): return setMode(command[1], data)
    case (1, 0) where features.contains(Feature.receiveModes): return setTables(data)
    case (1, 1) where features.contains(Feature.setAddress):
      guard data.count == 6 else { return false }
      state.address = Self.number(data, 0)
    case (2, 0...1) where features.contains(Feature.vlanFilter):
      guard data.count == 2 else { return false }
      let vlan = Int(data[0]) | Int(data[1]) << 8
      guard vlan < 4096 else { return false }
      let bit = UInt32(1) << UInt32(vlan & 31)
      if command[1] == 0 { state.vlans[vlan >> 5] |= bit } else { state.vlans[vlan >> 5] &= ~bit }
    case (3, 0) where features.contains(Feature.announce):
      guard state.mustAnnounce else { return false }
      state.mustAnnounce = false
    default: return false
    }
    return true
  }

  private mutating func setMode(_ command: UInt8, _ data: [UInt8]) -> Bool {
    guard data.count == 1 else { return false }
    let mode = Modes.byCommand[Int(command)]
    if data[0] != 0 { state.modes.insert(mode) } else { state.modes.remove(mode) }
    return true
  }

  /// Two tables, each with its number of entries in front.
  private mutating func setTables(_ data: [UInt8]) -> Bool {
    var rest = data[...]
    var tables: [[UInt64]] = []
    for _ in 0..<2 {
      guard rest.count >= 4 else { return false }
      let count = rest.prefix(4).reversed().reduce(0) { $0 << 8 | Int($1) }
      rest = rest.dropFirst(4)
      guard count <= rest.count / 6 else { return false }
      let entries = Array(rest.prefix(count * 6))
      tables.append((0..<count).map { Self.number(entries, $0 * 6) })
      rest = rest.dropFirst(count * 6)
    }
    state.tablesOverflow = []
    if tables[0].count > Self.tableSize { state.tablesOverflow.insert(.allUnicast) }
    if tables[1].count > Self.tableSize { state.tablesOverflow.insert(.allMulticast) }
    state.unicast = state.tablesOverflow.contains(.allUnicast) ? [] : tables[0]
    state.multicast = state.tablesOverflow.contains(.allMulticast) ? [] : tables[1]
    return true
  }
}

extension VirtioNetCore.State {
  /// Whether a device could have come to this.
  var isPlausible: Bool {
    let addresses = unicast + multicast + [address]
    return unicast.count <= VirtioNetCore.tableSize && multicast.count <= VirtioNetCore.tableSize
      && addresses.allSatisfy { $0 >> 48 == 0 } && vlans.count == 128
      && tablesOverflow.isSubset(of: [.allUnicast, .allMulticast])
  }
}
