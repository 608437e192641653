import GuestMemory

/// AMD's Am79C973 ("PCnet-FAST III"), which drivers of all its family since the LANCE know: control and status registers, bus
/// configuration registers, PHY, and rings of descriptors in memory. Pure: no bus, no wire, no clock.
///
/// Source: AMD, "Am79C973/Am79C975 PCnet-FAST III" data sheet (21510). The chapters named are its own.
struct PCNetCore {
  /// Everything that a guest could notice.
  struct State: Codable, Equatable, Sendable {
    /// RAP: the register that the data ports reach.
    var registerAddress: UInt16 = 0
    /// CSR0 to CSR127 and BCR0 to BCR63. Where the rings are and what is next in them is in CSR24, 30, 72, 74, 76 and 78.
    var csr = [UInt16](repeating: 0, count: 128)
    var bcr = [UInt16](repeating: 0, count: 64)
    var phy = PCNetPHY()
    var hasCarrier: Bool
    /// Ports are 32 bits wide.
    var usesDoubleWords = false
    /// The driver has asked for transmission since it started the controller, so it need not be looked for.
    var usesDemand = false
  }

  /// What an access asks of whoever holds the core.
  struct Effect: OptionSet {
    let rawValue: Int
    static let transmit = Effect(rawValue: 1)
    static let receiveRoom = Effect(rawValue: 2)
  }

  typealias Status = PCNetRegister.Status
  /// Longest frame: the controller's buffer.
  static let frameLimit = 16_384

  private let addressPROM: [UInt8]
  var state: State

  init(address: MACAddress, hasCarrier: Bool) {
    var prom = address.bytes + [UInt8](repeating: 0, count: 10)
    prom[9] = 0x11
    prom[14] = 0x57
    prom[15] = 0x57
    let sum = prom.reduce(0) { $0 + UInt16($1) }
    prom[12] = UInt8(sum & 0xFF)
    prom[13] = UInt8(sum >> 8)
    addressPROM = prom
    state = State(hasCarrier: hasCarrier)
    reset()
  }

  // MARK: Reset

  /// H_RESET: power-on and the bus's reset.
  mutating func reset() {
    state = State(hasCarrier: state.hasCarrier)
    for (index, value) in Self.initialBCR { state.bcr[index] = value }
    resetController()
    state.phy.reset()
  }

  private static let initialBCR: [(Int, UInt16)] = [
    (0, 0x0005), (1, 0x0005), (2, 0x0002), (4, 0x00C0), (5, 0x0084), (6, 0x0088), (7, 0x0090), (18, 0x9001),
    (19, 0x0002), (20, 0x0200), (22, 0xFF06), (23, 0x1022), (24, 0x2000), (31, 0xFFFF), (32, 0x0400), (35, 0x1022),
  ]

  /// S_RESET: by reading the reset port. The bus configuration registers stay.
  mutating func resetController() {
    let multicast = Array(state.csr[8...11])
    state.csr = [UInt16](repeating: 0, count: 128)
    state.csr.replaceSubrange(8...11, with: multicast)
    for (place, pair) in [0, 2, 4].enumerated() {
      state.csr[12 + place] = UInt16(addressPROM[pair]) | UInt16(addressPROM[pair + 1]) << 8
    }
    state.csr[0] = Status.stop.rawValue
    state.csr[4] = PCNetRegister.Features.initial
    state.csr[76] = 0xFFFF
    state.csr[78] = 0xFFFF
    state.csr[80] = 0x1410
    state.csr[88] = 0x5003
    state.csr[89] = 0x0262
    state.csr[124] = 0x0100
    state.usesDemand = false
  }

  // MARK: State of the controller

  var status: Status {
    get { Status(rawValue: state.csr[0]) }
    set { state.csr[0] = newValue.rawValue }
  }
  var isSuspended: Bool { state.csr[5] & PCNetRegister.Extended.suspend != 0 }
  var isTransmitting: Bool { status.contains(.transmitterOn) && !isSuspended }
  var isReceiving: Bool { status.contains(.receiverOn) && !isSuspended }
  var isLoopback: Bool { state.csr[15] & PCNetRegister.Mode.loopback != 0 }
  var isPolling: Bool {
    isTransmitting && !state.usesDemand && state.csr[4] & PCNetRegister.Features.noTransmitPolling == 0
  }

  /// The level of INTA# ("Interrupts").
  var interruptLevel: Bool { status.contains(.interruptEnable) && hasInterrupt }

  private var hasInterrupt: Bool {
    let ordinary = status.intersection(.interrupting).rawValue & ~state.csr[3]
    let featured = state.csr[4] & PCNetRegister.Features.events
    // Each event's mask lies below it; the user's interrupt has none.
    let masks = state.csr[4] << 1 & ~PCNetRegister.Features.userInterrupt
    let extended = state.csr[5] & PCNetRegister.Extended.events
    return ordinary != 0 || featured & ~masks != 0 || extended & (state.csr[5] << 1) != 0
  }

  var usesWideStyle: Bool { state.bcr[20] & 0xFF != 0 }

  // MARK: Ports

  func readPROM(_ offset: Int) -> UInt8 { addressPROM[offset & 15] }

  func readCSR(_ index: Int) -> UInt16 {
    switch index & 127 {
    case 0:
      var value = status.subtracting([.interrupt, .error])
      if hasInterrupt { value.insert(.interrupt) }
      if !status.isDisjoint(with: .errors) { value.insert(.error) }
      return value.rawValue
    case 16: return state.csr[1]
    case 17: return state.csr[2]
    case 58: return state.bcr[20]
    default: return state.csr[index & 127]
    }
  }

  /// Registers that only a stopped (or suspended) controller takes: addresses, rings, mode.
  private static let setUp: Set<Int> = Set(
    [1, 2, 8, 9, 10, 11, 12, 13, 14, 15, 16, 17, 24, 25, 30, 31, 58, 72, 74, 76, 78])
  private static let kept: Set<Int> = [7, 46, 47, 80, 82, 84, 85, 100, 114, 122, 124, 125]

  mutating func writeCSR(_ index: Int, _ value: UInt16, _ memory: PhysicalMemory) -> Effect {
    let index = index & 127
    switch index {
    case 0: return writeStatus(value, memory)
    case 3: state.csr[3] = value & 0x5F7C
    case 4:
      let events = state.csr[4] & PCNetRegister.Features.events & ~value
      state.csr[4] = value & ~PCNetRegister.Features.events & ~PCNetRegister.Features.userCommand | events
      if value & PCNetRegister.Features.userCommand != 0 { state.csr[4] |= PCNetRegister.Features.userInterrupt }
    case 5:
      let wasSuspended = isSuspended
      let events = state.csr[5] & PCNetRegister.Extended.events & ~value
      state.csr[5] = value & ~PCNetRegister.Extended.events | events
      if wasSuspended && !isSuspended { return [.transmit, .receiveRoom] }
    case _ where Self.setUp.contains(index):
      guard status.contains(.stop) || isSuspended else { break }
      writeSetUp(index, value)
    case 112: state.csr[112] = 0
    case _ where Self.kept.contains(index): state.csr[index] = value
    default: break
    }
    return []
  }

  private mutating func writeSetUp(_ index: Int, _ value: UInt16) {
    switch index {
    case 16: state.csr[1] = value
    case 17: state.csr[2] = value
    case 58: writeBCR(20, value)
    default: state.csr[index] = value
    }
  }

  private mutating func writeStatus(_ value: UInt16, _ memory: PhysicalMemory) -> Effect {
    let asked = Status(rawValue: value)
    status.subtract(asked.intersection(.clearable))
    if asked.contains(.interruptEnable) { status.insert(.interruptEnable) } else { status.remove(.interruptEnable) }
    if asked.contains(.stop) {
      status = .stop
      return .receiveRoom
    }
    var effect: Effect = []
    if asked.contains(.initialize), !status.contains(.initialize) {
      status.remove(.stop)
      readInitialisationBlock(memory)
      status.formUnion([.initialize, .initializationDone])
    }
    if asked.contains(.start), !status.contains(.start) {
      status.insert(.start)
      status.remove(.stop)
      state.usesDemand = false
      if state.csr[15] & PCNetRegister.Mode.transmitterOff == 0 { status.insert(.transmitterOn) }
      if state.csr[15] & PCNetRegister.Mode.receiverOff == 0 { status.insert(.receiverOn) }
      effect.formUnion([.transmit, .receiveRoom])
    }
    if asked.contains(.transmitDemand), status.contains(.start) {
      state.usesDemand = true
      effect.insert(.transmit)
    }
    return effect
  }

  func readBCR(_ index: Int) -> UInt16 {
    switch index & 63 {
    // The link's lamp.
    case 4 where state.bcr[4] & 0x40 != 0 && state.hasCarrier: return state.bcr[4] | 0x8000
    case 18: return state.bcr[18] & ~0x80 | (state.usesDoubleWords ? 0x80 : 0)
    case 34: return isOwnPHY ? state.phy.read(Int(state.bcr[33] & 31), hasCarrier: state.hasCarrier) : 0xFFFF
    default: return state.bcr[index & 63]
    }
  }

  mutating func writeBCR(_ index: Int, _ value: UInt16) {
    switch index & 63 {
    case 18: state.bcr[18] = value & ~0x80
    // Style 1 is reserved; the register says with SSIZE32 how wide the structures are ("BCR20: Software Style").
    case 20:
      let style = value & 0xFF
      state.bcr[20] = [0, 2, 3].contains(style) ? style | 0x0200 | (style == 0 ? 0 : 0x0100) : 0x0200
    case 34: if isOwnPHY { state.phy.write(Int(state.bcr[33] & 31), value) }
    case 2, 4, 5, 6, 7, 9, 16, 17, 19, 22, 25, 26, 27, 28, 29, 30, 31, 32, 33: state.bcr[index & 63] = value
    default: break
    }
  }

  /// The PHY in the chip has address 30.
  private var isOwnPHY: Bool { state.bcr[33] >> 5 & 31 == 30 }

  mutating func setCarrier(_ isThere: Bool) { state.hasCarrier = isThere }

  // MARK: Initialisation ("Initialization Block")

  /// Takes over the block that CSR1 and CSR2 name: mode, addresses and rings.
  private mutating func readInitialisationBlock(_ memory: PhysicalMemory) {
    let place = UInt64(state.csr[2]) << 16 | UInt64(state.csr[1])
    var block = [UInt8](repeating: 0, count: 28)
    block.withUnsafeMutableBytes { memory.read(place & ~1, into: $0) }
    func word(_ offset: Int) -> UInt16 { UInt16(block[offset]) | UInt16(block[offset + 1]) << 8 }
    let isWide = usesWideStyle
    state.csr[15] = word(0)
    let (address, filter, rings) = isWide ? (4, 12, 20) : (2, 8, 16)
    for index in 0..<3 { state.csr[12 + index] = word(address + index * 2) }
    for index in 0..<4 { state.csr[8 + index] = word(filter + index * 2) }
    let (receive, transmit) = (rings, rings + 4)
    state.csr[24] = word(receive)
    state.csr[30] = word(transmit)
    if isWide {
      state.csr[25] = word(receive + 2)
      state.csr[31] = word(transmit + 2)
      setRing(length: 76, counter: 72, exponent: min(block[2] >> 4, 9))
      setRing(length: 78, counter: 74, exponent: min(block[3] >> 4, 9))
    } else {
      // The highest byte of 16-bit addresses is that of the block's own ("CSR2").
      let high = state.csr[2] & 0xFF00
      state.csr[25] = word(receive + 2) & 0xFF | high
      state.csr[31] = word(transmit + 2) & 0xFF | high
      setRing(length: 76, counter: 72, exponent: block[receive + 3] >> 5)
      setRing(length: 78, counter: 74, exponent: block[transmit + 3] >> 5)
    }
  }

  /// Length and counter are negative numbers, as they stand in the registers.
  private mutating func setRing(length: Int, counter: Int, exponent: UInt8) {
    state.csr[length] = 0 &- (1 as UInt16) << UInt16(exponent)
    state.csr[counter] = state.csr[length]
  }
}

extension PCNetCore.State {
  /// Whether a controller could have come to this. Values that any register can hold are taken as they are.
  var isPlausible: Bool { csr.count == 128 && bcr.count == 64 && [0, 2, 3].contains(bcr[20] & 0xFF) }
}

/// The chip's own PHY (IEEE 802.3, 22.2.4): 10 and 100 Mbit/s, whose negotiation is over at once.
struct PCNetPHY: Codable, Equatable, Sendable {
  var control: UInt16 = 0x3100
  var advertisement: UInt16 = 0x01E1

  mutating func reset() { self = PCNetPHY() }

  func read(_ register: Int, hasCarrier: Bool) -> UInt16 {
    switch register {
    case 0: control
    // All four speeds, negotiation possible; over, and the link there.
    case 1: 0x7849 | (hasCarrier ? 0x0024 : 0)
    case 2: 0x0000
    case 3: 0x6B60
    case 4: advertisement
    case 5: hasCarrier ? 0x45E1 : 0
    case 6: hasCarrier ? 0x0001 : 0
    default: 0
    }
  }

  mutating func write(_ register: Int, _ value: UInt16) {
    switch register {
    // Reset and the start of a negotiation are over at once.
    case 0: if value & 0x8000 != 0 { reset() } else { control = value & ~0x0200 }
    case 4: advertisement = value & ~0x4000
    default: break
    }
  }
}
