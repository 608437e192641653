/// One counter of an 8254, computed from guest time: nothing ticks.
///
/// Source: Intel 8254 data sheet (231164). Times are in ticks of 1.193182 MHz since power-on.
public struct PITCounter: Codable, Equatable, Sendable {
  /// Read/write selection of the control word: 1 low byte, 2 high byte, 3 both.
  var access: UInt8 = 3
  var mode: UInt8 = 0
  var bcd = false
  var gate = true
  /// The count register: 1 to 65536 (0 stands for the greatest count).
  var count: UInt32 = 65536
  /// A count for the next period (modes 2, 3) or trigger (1, 5); 0: none.
  var nextCount: UInt32 = 0
  /// Tick at which the counting element was loaded.
  var start: UInt64 = 0
  /// Whether the counting element runs; with `frozen`, ticks it had counted when the gate stopped it.
  var running = false
  var frozen: UInt64 = 0
  /// No count since the control word: the output is at its initial level.
  var nullCount = true
  /// The low byte of a two-byte write that is under way; -1: none.
  var pendingLow: Int = -1
  var readsHigh = false
  /// A latched count and how many bytes of it wait; a latched status, -1: none.
  var latchedCount: UInt16 = 0
  var latchedBytes: UInt8 = 0
  var latchedStatus: Int = -1

  /// Ticks the element has counted at `tick`.
  private func elapsed(_ tick: UInt64) -> UInt64 { running ? tick &- min(start, tick) : frozen }

  private var modulus: UInt64 { bcd ? 10000 : 65536 }
  private var isPeriodic: Bool { mode == 2 || mode == 3 }

  /// Takes a waiting count over at the end of the period (3.3, modes 2 and 3).
  mutating func settle(_ tick: UInt64) {
    guard isPeriodic, running, nextCount != 0 else { return }
    let periods = elapsed(tick) / UInt64(count)
    guard periods > 0 else { return }
    start &+= UInt64(count)
    count = nextCount
    nextCount = 0
    nullCount = false
  }

  func output(_ tick: UInt64) -> Bool {
    let counted = elapsed(tick)
    let length = UInt64(count)
    switch mode {
    case 0: return started && counted >= length
    case 1: return !started || counted >= length
    case 2: return !started || !gate || counted % length != length - 1
    case 3: return !started || !gate || counted % length < (length + 1) / 2
    default: return !started || counted != length
    }
  }

  /// Whether the counting element has been loaded since the control word.
  private var started: Bool { running || frozen != 0 }

  /// The tick of the next change of the output after `tick`, or nil.
  func nextChange(_ tick: UInt64) -> UInt64? {
    guard running else { return nil }
    let counted = elapsed(tick)
    let length = UInt64(count)
    switch mode {
    case 0, 1: return counted < length ? start &+ length : nil
    case 2:
      let into = counted % length
      let base = tick &- into
      return into < length - 1 ? base &+ length &- 1 : base &+ length
    case 3:
      let into = counted % length
      let base = tick &- into
      let high = (length + 1) / 2
      return into < high && high < length ? base &+ high : base &+ length
    default:
      if counted < length { return start &+ length }
      return counted == length ? start &+ length &+ 1 : nil
    }
  }

  /// The counting element's value as the guest reads it.
  func value(_ tick: UInt64) -> UInt16 {
    let counted = elapsed(tick)
    let length = UInt64(count)
    var now: UInt64
    switch mode {
    case 2: now = length - counted % length
    case 3:
      // It counts down by two, twice a period; an odd count starts from the even number below.
      let high = (length + 1) / 2
      let into = counted % length
      let half = into < high ? into : into - high
      now = (length & ~1) &- min(2 * half, length & ~1)
      if now == 0 { now = length & ~1 }
    default: now = (length &+ modulus &- counted % modulus) % modulus
    }
    now %= modulus
    return bcd ? Self.toBCD(now) : UInt16(truncatingIfNeeded: now)
  }

  static func toBCD(_ value: UInt64) -> UInt16 {
    let thousands = (value / 1000 % 10) << 12
    let hundreds = (value / 100 % 10) << 8
    let tens = (value / 10 % 10) << 4
    return UInt16(thousands | hundreds | tens | value % 10)
  }

  static func fromBCD(_ value: UInt16) -> UInt32 {
    var result: UInt32 = 0
    for digit in 0..<4 { result = result * 10 + min(UInt32(value >> UInt16(12 - digit * 4) & 15), 9) }
    return result
  }

  // MARK: Commands

  mutating func control(_ word: UInt8) {
    access = word >> 4 & 3
    let selected = word >> 1 & 7
    mode = selected > 5 ? selected - 4 : selected
    bcd = word & 1 != 0
    running = false
    frozen = 0
    nextCount = 0
    nullCount = true
    pendingLow = -1
    readsHigh = false
    latchedBytes = 0
    latchedStatus = -1
  }

  mutating func latchCount(_ tick: UInt64) {
    guard latchedBytes == 0 else { return }
    latchedCount = value(tick)
    latchedBytes = access == 3 ? 2 : 1
  }

  mutating func latchStatus(_ tick: UInt64) {
    guard latchedStatus < 0 else { return }
    var status = access << 4 | mode << 1
    if bcd { status |= 1 }
    if nullCount { status |= 0x40 }
    if output(tick) { status |= 0x80 }
    latchedStatus = Int(status)
  }

  mutating func read(_ tick: UInt64) -> UInt8 {
    if latchedStatus >= 0 {
      defer { latchedStatus = -1 }
      return UInt8(truncatingIfNeeded: latchedStatus)
    }
    let current = latchedBytes > 0 ? latchedCount : value(tick)
    if latchedBytes > 0 { latchedBytes -= 1 }
    switch access {
    case 1: return UInt8(truncatingIfNeeded: current)
    case 2: return UInt8(current >> 8)
    default:
      defer { readsHigh.toggle() }
      return readsHigh ? UInt8(current >> 8) : UInt8(truncatingIfNeeded: current)
    }
  }

  mutating func write(_ byte: UInt8, _ tick: UInt64) {
    switch access {
    case 1: load(UInt16(byte), tick)
    case 2: load(UInt16(byte) << 8, tick)
    default:
      if pendingLow < 0 {
        pendingLow = Int(byte)
        // Mode 0: the first byte stops the counting and drops the output.
        if mode == 0 {
          running = false
          frozen = 0
        }
      } else {
        let low = UInt16(truncatingIfNeeded: pendingLow)
        pendingLow = -1
        load(UInt16(byte) << 8 | low, tick)
      }
    }
  }

  private mutating func load(_ raw: UInt16, _ tick: UInt64) {
    var value = bcd ? Self.fromBCD(raw) : UInt32(raw)
    if value == 0 { value = UInt32(modulus) }
    switch mode {
    case 1, 5:
      // Takes effect with the next trigger.
      nextCount = value
      nullCount = true
    case 2, 3:
      if running {
        nextCount = value
        nullCount = true
      } else {
        count = value
        nextCount = 0
        if gate { begin(tick) }
      }
    default:
      count = value
      if gate {
        begin(tick)
      } else {
        running = false
        frozen = 0
        nullCount = false
      }
    }
  }

  private mutating func begin(_ tick: UInt64) {
    start = tick
    running = true
    frozen = 0
    nullCount = false
  }

  mutating func setGate(_ level: Bool, _ tick: UInt64) {
    guard level != gate else { return }
    settle(tick)
    switch mode {
    case 1, 5:
      if level && (nextCount != 0 || !nullCount) {
        if nextCount != 0 {
          count = nextCount
          nextCount = 0
        }
        begin(tick)
      }
    case 2, 3:
      if level && (!nullCount || nextCount != 0 || running || frozen != 0) {
        if nextCount != 0 {
          count = nextCount
          nextCount = 0
        }
        begin(tick)
      } else if !level {
        frozen = max(elapsed(tick) % UInt64(count), 1)
        running = false
      }
    default:
      if level {
        if !nullCount {
          start = tick &- frozen
          running = true
        }
      } else if running {
        frozen = elapsed(tick)
        running = false
      }
    }
    gate = level
  }

  var isValid: Bool {
    (1...65536).contains(count) && nextCount <= 65536 && access <= 3 && mode <= 5 && (-1...255).contains(pendingLow)
      && (-1...255).contains(latchedStatus) && latchedBytes <= 2 && start < 1 << 62 && frozen < 1 << 62
      && (!bcd || count <= 10000 && nextCount <= 10000)
  }
}
