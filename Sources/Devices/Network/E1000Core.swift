import GuestMemory

/// The Intel 82540EM gigabit Ethernet controller ("e1000"): its registers, without bus, clock and network.
///
/// Source: Intel, "PCI/PCI-X Family of Gigabit Ethernet Controllers Software Developer's Manual" (317453), revision
/// 4.0; sections are named where something is done. Times are guest nanoseconds. What a frame's way is: `transmit`
/// takes frames from the guest's ring (E1000Transmit), `receive` puts one into the guest's buffers (E1000Receive), both
/// between calls of `read` and `write`. What has become of the interrupt pin is in `interruptLevel` (E1000Interrupts).
struct E1000Core {
  /// Everything that a guest could notice.
  struct State: Codable, Equatable, Sendable {
    var control = E1000Control.initial
    var receiveControl = E1000ReceiveControl(rawValue: 0)
    var transmitControl = E1000TransmitControl(rawValue: 0)
    /// MDIC as software reads it.
    var mdic: UInt32 = 1 << 28
    /// `E1000Register.plain`, in its order.
    var plain: [UInt32] = E1000Register.plain.map(\.initial)
    var multicastTable = [UInt32](repeating: 0, count: 128)
    var vlanTable = [UInt32](repeating: 0, count: 128)
    /// RAL and RAH of the sixteen addresses.
    var receiveAddresses = [UInt32](repeating: 0, count: 32)
    var statistics = [UInt32](repeating: 0, count: 64)
    var receiveRing = E1000Ring()
    var transmitRing = E1000Ring()
    var interrupts = E1000InterruptState()
    var transmission = E1000Transmission()
    var eeprom: E1000EEPROM
    var phy: E1000PHY
  }

  /// What a write asks of whoever holds the core.
  struct Effect: OptionSet {
    let rawValue: Int
    /// There may be frames to take: call `transmit`.
    static let transmit = Effect(rawValue: 1)
    /// There may be room in the receive ring.
    static let receiveRoom = Effect(rawValue: 2)
  }

  static let deviceID: UInt16 = 0x100E

  var state: State

  init(address: MACAddress, hasCarrier: Bool) {
    let eeprom = E1000EEPROM(address: address, deviceID: Self.deviceID)
    state = State(eeprom: eeprom, phy: E1000PHY(hasCarrier: hasCarrier))
    loadAddress()
  }

  /// Power-on and the system's reset. The EEPROM keeps its words and the cable stays where it is.
  mutating func reset() {
    state.eeprom.reset()
    state.phy.reset()
    resetController()
  }

  /// CTRL.RST (13.4.1): all but the PHY and the EEPROM.
  private mutating func resetController() {
    state = State(eeprom: state.eeprom, phy: state.phy)
    loadAddress()
  }

  private mutating func loadAddress() {
    guard let address = state.eeprom.address else { return }
    let bytes = address.bytes.map(UInt32.init)
    state.receiveAddresses[0] = bytes[0] | bytes[1] << 8 | bytes[2] << 16 | bytes[3] << 24
    state.receiveAddresses[1] = bytes[4] | bytes[5] << 8 | 0x8000_0000
  }

  // MARK: Link

  /// The MAC has a link: the PHY has one and software has asked for it.
  var isLinked: Bool { state.phy.isLinked && state.control.contains(.setLinkUp) }

  /// Plugs the cable in or out.
  mutating func setCarrier(_ isThere: Bool, now: UInt64) {
    guard isThere != state.phy.hasCarrier else { return }
    state.phy.setCarrier(isThere)
    raise(.linkStatus, now: now)
  }

  /// STATUS (13.4.2): 1000 Mbit/s as set and as detected; full duplex as negotiated, unless software forces what it
  /// says itself.
  private var status: UInt32 {
    let isForced = state.control.contains(.forceDuplex)
    let isFullDuplex = !isForced || state.control.contains(.fullDuplex)
    return 0x0000_0680 | (isLinked ? 2 : 0) | (isFullDuplex ? 1 : 0)
  }

  // MARK: Reading

  /// - Parameter offset: of a register: a multiple of four.
  mutating func read(_ offset: Int, now: UInt64) -> UInt32 {
    let register = E1000Register.canonical(offset)
    switch register {
    case E1000Register.icr: return readCauses(now: now)
    case E1000Register.ims: return state.interrupts.mask.rawValue
    case E1000Register.ctrl: return state.control.rawValue
    case E1000Register.status: return status
    case E1000Register.eecd: return state.eeprom.control
    case E1000Register.eerd: return state.eeprom.readRegister
    case E1000Register.mdic: return state.mdic
    case E1000Register.itr: return state.interrupts.throttle
    case E1000Register.rdtr: return state.interrupts.receiveDelay
    case E1000Register.radv: return state.interrupts.receiveAbsoluteDelay
    case E1000Register.tidv: return state.interrupts.transmitDelay
    case E1000Register.tadv: return state.interrupts.transmitAbsoluteDelay
    case E1000Register.rctl: return state.receiveControl.rawValue
    case E1000Register.tctl: return state.transmitControl.rawValue
    case E1000Register.rdbal...E1000Register.rdt: return state.receiveRing.read(register - E1000Register.rdbal)
    case E1000Register.tdbal...E1000Register.tdt: return state.transmitRing.read(register - E1000Register.tdbal)
    case E1000Register.statistics: return readStatistic((register - E1000Register.statistics.lowerBound) / 4)
    case E1000Register.multicastTable:
      return state.multicastTable[(register - E1000Register.multicastTable.lowerBound) / 4]
    case E1000Register.vlanTable: return state.vlanTable[(register - E1000Register.vlanTable.lowerBound) / 4]
    case E1000Register.receiveAddresses:
      return state.receiveAddresses[(register - E1000Register.receiveAddresses.lowerBound) / 4]
    default:
      guard let index = E1000Register.plainIndex[register] else { return 0 }
      return state.plain[index]
    }
  }

  // MARK: Writing

  mutating func write(_ offset: Int, _ value: UInt32, now: UInt64) -> Effect {
    let register = E1000Register.canonical(offset)
    switch register {
    case E1000Register.tdt:
      state.transmitRing.tail = value & 0xFFFF
      return .transmit
    case E1000Register.rdt:
      state.receiveRing.tail = value & 0xFFFF
      return .receiveRoom
    case E1000Register.icr: clearCauses(E1000Interrupt(rawValue: value), now: now)
    case E1000Register.ics: raise(E1000Interrupt(rawValue: value).intersection(.all), now: now)
    case E1000Register.ims:
      setMask(state.interrupts.mask.union(E1000Interrupt(rawValue: value).intersection(.all)), now: now)
    case E1000Register.imc: setMask(state.interrupts.mask.subtracting(E1000Interrupt(rawValue: value)), now: now)
    case E1000Register.ctrl: writeControl(value, now: now)
    case E1000Register.eecd: state.eeprom.writeControl(value)
    case E1000Register.eerd: state.eeprom.writeReadRegister(value)
    case E1000Register.mdic: writeMDIC(value, now: now)
    case E1000Register.itr: setThrottle(value & 0xFFFF, now: now)
    case E1000Register.rdtr: setReceiveDelay(value, now: now)
    case E1000Register.radv: state.interrupts.receiveAbsoluteDelay = value & 0xFFFF
    case E1000Register.tidv: state.interrupts.transmitDelay = value & 0xFFFF
    case E1000Register.tadv: state.interrupts.transmitAbsoluteDelay = value & 0xFFFF
    case E1000Register.rctl:
      state.receiveControl = E1000ReceiveControl(rawValue: value & 0x07FF_FFFE)
      return .receiveRoom
    case E1000Register.tctl:
      state.transmitControl = E1000TransmitControl(rawValue: value & 0x03FF_FFFA)
      return .transmit
    case E1000Register.rdbal...E1000Register.rdh:
      state.receiveRing.write(register - E1000Register.rdbal, value)
      return .receiveRoom
    case E1000Register.tdbal...E1000Register.tdh:
      state.transmitRing.write(register - E1000Register.tdbal, value)
      // A packet that was begun in another ring is not gone on with.
      state.transmission.forgetPacket()
    case E1000Register.multicastTable:
      state.multicastTable[(register - E1000Register.multicastTable.lowerBound) / 4] = value
    case E1000Register.vlanTable: state.vlanTable[(register - E1000Register.vlanTable.lowerBound) / 4] = value
    case E1000Register.receiveAddresses:
      let index = (register - E1000Register.receiveAddresses.lowerBound) / 4
      state.receiveAddresses[index] = index & 1 == 0 ? value : value & 0x8003_FFFF
    default:
      guard let index = E1000Register.plainIndex[register] else { return [] }
      state.plain[index] = value & E1000Register.plain[index].mask
    }
    return []
  }

  private mutating func writeControl(_ value: UInt32, now: UInt64) {
    let control = E1000Control(rawValue: value)
    if control.contains(.reset) {
      resetController()
      update(now: now)
      return
    }
    if control.contains(.phyReset) { state.phy.reset() }
    let wasLinked = isLinked
    state.control = control.subtracting(.phyReset)
    if isLinked != wasLinked { raise(.linkStatus, now: now) }
  }

  /// MDIO (13.4.7): done at once. The PHY's address is 1; nobody answers at another.
  private mutating func writeMDIC(_ value: UInt32, now: UInt64) {
    let (register, address) = (Int(value >> 16 & 31), value >> 21 & 31)
    var result = value & 0x2FFF_FFFF | 1 << 28  // ready
    switch (value >> 26 & 3, address) {
    case (1, 1):
      let wasLinked = isLinked
      if state.phy.write(register, UInt16(truncatingIfNeeded: value)) || wasLinked != isLinked {
        raise(.linkStatus, now: now)
      }
    case (2, 1): result = result & 0xFFFF_0000 | UInt32(state.phy.read(register))
    default: result |= 1 << 30  // error
    }
    state.mdic = result
    if value & 1 << 29 != 0 { raise(.mdioComplete, now: now) }
  }

  // MARK: Statistics

  private mutating func readStatistic(_ index: Int) -> UInt32 {
    let value = state.statistics[index]
    if E1000Statistic.lowHalves.contains(index) { return value }
    state.statistics[index] = 0
    if index > 0, E1000Statistic.lowHalves.contains(index - 1) { state.statistics[index - 1] = 0 }
    return value
  }

  mutating func count(_ index: Int) {
    if state.statistics[index] < .max { state.statistics[index] &+= 1 }
  }

  /// Adds to a 64-bit counter whose low half is at `index`.
  mutating func count(octets: Int, at index: Int) {
    let old = UInt64(state.statistics[index + 1]) << 32 | UInt64(state.statistics[index])
    let (new, isOver) = old.addingReportingOverflow(UInt64(octets))
    state.statistics[index] = UInt32(truncatingIfNeeded: isOver ? .max : new)
    state.statistics[index + 1] = UInt32(truncatingIfNeeded: (isOver ? .max : new) >> 32)
  }
}

/// A ring of sixteen-byte descriptors: base, length, head (the controller's) and tail (software's).
struct E1000Ring: Codable, Equatable, Sendable {
  var baseLow: UInt32 = 0
  var baseHigh: UInt32 = 0
  var length: UInt32 = 0
  var head: UInt32 = 0
  var tail: UInt32 = 0

  /// Descriptors.
  var count: UInt32 { length / 16 }
  var isEmpty: Bool { count == 0 || head % count == tail % count }
  /// Descriptors that software has given to the controller.
  var available: UInt32 { count == 0 ? 0 : (tail % count &+ count &- head % count) % count }

  /// Where the descriptor `index` places behind the head lies.
  func address(_ index: UInt32 = 0) -> UInt64 {
    let base = UInt64(baseHigh) << 32 | UInt64(baseLow)
    return base &+ UInt64((head % count &+ index) % count) &* 16
  }

  mutating func advance(_ places: UInt32 = 1) { head = (head % count &+ places) % count }

  /// - Parameter offset: from the base's register on.
  func read(_ offset: Int) -> UInt32 {
    switch offset {
    case 0x00: baseLow
    case 0x04: baseHigh
    case 0x08: length
    case 0x10: head
    case 0x18: tail
    default: 0
    }
  }

  mutating func write(_ offset: Int, _ value: UInt32) {
    switch offset {
    case 0x00: baseLow = value & ~15
    case 0x04: baseHigh = value
    case 0x08: length = value & 0xF_FF80
    case 0x10: head = value & 0xFFFF
    default: break
    }
  }

  var isPlausible: Bool { baseLow & 15 == 0 && length & ~0xF_FF80 == 0 && head <= 0xFFFF && tail <= 0xFFFF }
}

extension E1000Core.State {
  /// Whether a controller could have come to this. Values that any register can hold are taken as they are.
  var isPlausible: Bool {
    plain.count == E1000Register.plain.count && multicastTable.count == 128 && vlanTable.count == 128
      && receiveAddresses.count == 32 && statistics.count == 64 && receiveRing.isPlausible && transmitRing.isPlausible
      && eeprom.isPlausible && phy.isPlausible && transmission.isPlausible && interrupts.isPlausible
  }
}
