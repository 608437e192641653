/// Interrupt causes and their moderation (Intel's manual, 3.2.7, 3.4.3 and 13.4.17 to 13.4.21).
struct E1000InterruptState: Codable, Equatable, Sendable {
  var causes = E1000Interrupt(rawValue: 0)
  var mask = E1000Interrupt(rawValue: 0)
  var pin = false
  /// ITR: units of 256 ns between two interrupts at least; 0: none.
  var throttle: UInt32 = 0
  /// When the pin may rise again.
  var pinAllowedAt: UInt64 = 0
  /// RDTR, RADV, TIDV, TADV: units of 1.024 us.
  var receiveDelay: UInt32 = 0
  var receiveAbsoluteDelay: UInt32 = 0
  var transmitDelay: UInt32 = 0
  var transmitAbsoluteDelay: UInt32 = 0
  /// When a held cause is raised at the latest: each frame moves the first, the second stands. nil: nothing is held.
  var receiveDeadline: UInt64?
  var receiveAbsoluteDeadline: UInt64?
  var transmitDeadline: UInt64?
  var transmitAbsoluteDeadline: UInt64?

  var isPlausible: Bool {
    causes.isSubset(of: .all) && mask.isSubset(of: .all) && throttle <= 0xFFFF && receiveDelay <= 0xFFFF
      && receiveAbsoluteDelay <= 0xFFFF && transmitDelay <= 0xFFFF && transmitAbsoluteDelay <= 0xFFFF
  }
}

extension E1000Core {
  /// The level of INTA#.
  var interruptLevel: Bool { state.interrupts.pin }

  /// When `timePassed` has something to do next.
  var nextDeadline: UInt64? {
    let interrupts = state.interrupts
    var first = isWanted && !interrupts.pin ? interrupts.pinAllowedAt : .max
    first = min(first, interrupts.receiveDeadline ?? .max, interrupts.receiveAbsoluteDeadline ?? .max)
    first = min(first, interrupts.transmitDeadline ?? .max, interrupts.transmitAbsoluteDeadline ?? .max)
    return first == .max ? nil : first
  }

  /// Raises what was held until now.
  mutating func timePassed(now: UInt64) {
    func isDue(_ deadline: UInt64?) -> Bool { deadline.map { $0 <= now } ?? false }
    if isDue(state.interrupts.receiveDeadline) || isDue(state.interrupts.receiveAbsoluteDeadline) {
      raiseReceived(now: now)
    }
    if isDue(state.interrupts.transmitDeadline) || isDue(state.interrupts.transmitAbsoluteDeadline) {
      raiseTransmitted(now: now)
    }
    update(now: now)
  }

  private var isWanted: Bool { !state.interrupts.causes.isDisjoint(with: state.interrupts.mask) }

  /// Brings the pin in line with causes, mask and throttle.
  mutating func update(now: UInt64) {
    guard isWanted else {
      state.interrupts.pin = false
      return
    }
    guard !state.interrupts.pin, now >= state.interrupts.pinAllowedAt else { return }
    state.interrupts.pin = true
    state.interrupts.pinAllowedAt = now &+ UInt64(state.interrupts.throttle) &* 256
  }

  mutating func raise(_ causes: E1000Interrupt, now: UInt64) {
    state.interrupts.causes.formUnion(causes)
    update(now: now)
  }

  /// ICR clears as it is read.
  mutating func readCauses(now: UInt64) -> UInt32 {
    let value = state.interrupts.causes.rawValue
    state.interrupts.causes = []
    update(now: now)
    return value
  }

  mutating func clearCauses(_ causes: E1000Interrupt, now: UInt64) {
    state.interrupts.causes.subtract(causes)
    update(now: now)
  }

  mutating func setMask(_ mask: E1000Interrupt, now: UInt64) {
    state.interrupts.mask = mask
    update(now: now)
  }

  mutating func setThrottle(_ value: UInt32, now: UInt64) {
    // The new interval counts from the last interrupt too; the first one of all waits for nothing.
    if state.interrupts.pinAllowedAt != 0 {
      let last = state.interrupts.pinAllowedAt &- UInt64(state.interrupts.throttle) &* 256
      state.interrupts.pinAllowedAt = last &+ UInt64(value) &* 256
    }
    state.interrupts.throttle = value
    update(now: now)
  }

  // MARK: Delays

  private static func nanoseconds(_ units: UInt32) -> UInt64 { UInt64(units) &* 1024 }

  /// RDTR's highest bit raises at once what is held (13.4.30).
  mutating func setReceiveDelay(_ value: UInt32, now: UInt64) {
    state.interrupts.receiveDelay = value & 0xFFFF
    if value >> 31 != 0 && state.interrupts.receiveDeadline != nil { raiseReceived(now: now) }
  }

  /// A frame has come into the guest's buffers.
  mutating func frameReceived(length: Int, now: UInt64) {
    let small = state.plain[E1000Register.rsrpdIndex]
    if small != 0 && length <= Int(small) { raise(.smallPacket, now: now) }
    guard state.interrupts.receiveDelay != 0 else { return raiseReceived(now: now) }
    state.interrupts.receiveDeadline = now &+ Self.nanoseconds(state.interrupts.receiveDelay)
    if state.interrupts.receiveAbsoluteDelay != 0 && state.interrupts.receiveAbsoluteDeadline == nil {
      state.interrupts.receiveAbsoluteDeadline = now &+ Self.nanoseconds(state.interrupts.receiveAbsoluteDelay)
    }
  }

  private mutating func raiseReceived(now: UInt64) {
    state.interrupts.receiveDeadline = nil
    state.interrupts.receiveAbsoluteDeadline = nil
    raise(.received, now: now)
  }

  /// A descriptor was written back.
  /// - Parameter isDelayed: its IDE bit.
  mutating func descriptorDone(isDelayed: Bool, now: UInt64) {
    guard isDelayed, state.interrupts.transmitDelay != 0 else { return raiseTransmitted(now: now) }
    state.interrupts.transmitDeadline = now &+ Self.nanoseconds(state.interrupts.transmitDelay)
    if state.interrupts.transmitAbsoluteDelay != 0 && state.interrupts.transmitAbsoluteDeadline == nil {
      state.interrupts.transmitAbsoluteDeadline = now &+ Self.nanoseconds(state.interrupts.transmitAbsoluteDelay)
    }
  }

  private mutating func raiseTransmitted(now: UInt64) {
    state.interrupts.transmitDeadline = nil
    state.interrupts.transmitAbsoluteDeadline = nil
    raise(.transmitted, now: now)
  }
}
