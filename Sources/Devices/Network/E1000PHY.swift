/// The card's PHY, a Marvell 88E1011 as in the 82540EM, behind MDIO (Intel's manual, 12 and 13.4.7; IEEE 802.3, clause 22).
///
/// The cable leads to a partner that always agrees on 1000 Mbit/s full duplex, and agrees at once.
struct E1000PHY: Codable, Equatable, Sendable {
  static let registerCount = 32
  private static let control = 0, status = 1, advertisement = 4, partner = 5, expansion = 6, gigabitControl = 9
  private static let gigabitStatus = 10, extendedStatus = 15, specificControl = 16, specificStatus = 17
  private static let interruptEnable = 18, interruptStatus = 19

  private(set) var registers: [UInt16]
  /// Whether the cable is plugged in.
  private(set) var hasCarrier: Bool
  /// The link was lost since the status register was last read, which shows it until then.
  private var lostLink = false

  init(hasCarrier: Bool) {
    registers = Self.initial
    self.hasCarrier = hasCarrier
  }

  private static let initial: [UInt16] = {
    var registers = [UInt16](repeating: 0, count: registerCount)
    registers[control] = 0x1140  // auto-negotiation, full duplex, 1000 Mbit/s
    registers[2] = 0x0141  // the 88E1011's identifier
    registers[3] = 0x0C20
    registers[advertisement] = 0x0DE1
    registers[7] = 0x2001
    registers[gigabitControl] = 0x0E00
    registers[extendedStatus] = 0x3000  // 1000BASE-T, full and half duplex
    registers[specificControl] = 0x0360
    registers[20] = 0x0D60
    registers[24] = 0x4100
    return registers
  }()

  var isPlausible: Bool { registers.count == Self.registerCount }
  var isPoweredDown: Bool { registers[Self.control] & 0x0800 != 0 }
  var isLinked: Bool { hasCarrier && !isPoweredDown }
  /// What is sent comes back.
  var isLoopback: Bool { registers[Self.control] & 0x4000 != 0 }

  mutating func reset() {
    registers = Self.initial
    lostLink = false
  }

  mutating func setCarrier(_ isThere: Bool) {
    if !isThere && hasCarrier { noteLoss() }
    if isThere && !hasCarrier { registers[Self.interruptStatus] |= 0x0400 }
    hasCarrier = isThere
  }

  private mutating func noteLoss() {
    lostLink = true
    registers[Self.interruptStatus] |= 0x0400  // link status changed
  }

  // MARK: Registers

  mutating func read(_ register: Int) -> UInt16 {
    switch register {
    case Self.status:
      // All of 10 and 100 Mbit/s, extended status, negotiation done where there is a link; a lost link is told once.
      let isUp = isLinked && !lostLink
      lostLink = false
      return 0x7949 | (isLinked ? 0x20 : 0) | (isUp ? 4 : 0)
    case Self.partner: return isLinked ? 0x41E1 : 0
    case Self.expansion: return isLinked ? 0x000F : 0x000C
    case Self.gigabitStatus: return isLinked ? 0x3C00 : 0
    // 1000 Mbit/s, full duplex, resolved, link.
    case Self.specificStatus: return isLinked ? 0xAC00 : 0
    case Self.interruptStatus:
      let value = registers[register]
      registers[register] = 0
      return value
    default: return registers[register]
    }
  }

  /// - Returns: whether the link was negotiated anew.
  mutating func write(_ register: Int, _ value: UInt16) -> Bool {
    switch register {
    case Self.control:
      if value & 0x8000 != 0 {
        let carrier = hasCarrier
        self = E1000PHY(hasCarrier: carrier)
        return true
      }
      let wasDown = isPoweredDown
      // Reset and restart of the negotiation fall back by themselves.
      registers[register] = value & 0x7DC0
      if isPoweredDown && !wasDown && hasCarrier { noteLoss() }
      return value & 0x0200 != 0 || isPoweredDown != wasDown
    case Self.advertisement, 7, Self.gigabitControl, Self.specificControl, Self.interruptEnable, 20...31:
      registers[register] = value
      return false
    default: return false
    }
  }
}
