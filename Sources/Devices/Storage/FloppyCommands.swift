/// The commands of the 82077AA that move no data (5.0).
extension FloppyCore {
  /// The bytes of a command with its parameters (table 5-1). What is no command has one.
  static func length(of command: UInt8) -> Int {
    switch command {
    case 0x08, 0x0E, 0x10, 0x14, 0x94: 1
    case 0x04, 0x07, 0x12: 2
    case 0x03, 0x0F, 0x8F, 0xCF: 3
    case 0x13: 4
    default:
      switch operation(of: command) {
      case nil: command & 0xBF == 0x0A ? 2 : 1
      case .format: 6
      default: 9
      }
    }
  }

  mutating func execute() {
    let bytes = state.bytes
    if let operation = Self.operation(of: bytes[0]) { return begin(operation) }
    switch bytes[0] {
    case 0x03:  // SPECIFY
      (state.stepRate, state.headLoad) = (bytes[1], bytes[2])
      respond([])
    case 0x04:  // SENSE DRIVE STATUS
      respond([driveStatus(bytes[1])])
    case 0x07:  // RECALIBRATE
      recalibrate(Int(bytes[1] & 3))
    case 0x08:  // SENSE INTERRUPT STATUS
      senseInterrupt()
    case 0x0A, 0x4A:  // READ ID
      readID(bytes[1], isMFM: bytes[0] & 0x40 != 0)
    case 0x0E: dumpRegisters()
    case 0x0F:  // SEEK
      seek(Int(bytes[1] & 3), to: bytes[2])
    case 0x8F, 0xCF:  // RELATIVE SEEK: out, or in towards the spindle
      let unit = Int(bytes[1] & 3)
      let now = Int(state.cylinders[unit])
      let then = bytes[0] & 0x40 != 0 ? now + Int(bytes[2]) : now - Int(bytes[2])
      seek(unit, to: UInt8(clamping: then))
    case 0x10:  // VERSION: an enhanced controller
      respond([0x90])
    case 0x12:  // PERPENDICULAR MODE: the drives' bits count with OW only (5.2.13)
      let drives = bytes[1] & 0x80 != 0 ? bytes[1] & 0x3C : state.perpendicular & 0x3C
      state.perpendicular = drives | bytes[1] & 3
      respond([])
    case 0x13:  // CONFIGURE
      (state.configuration, state.precompensation) = (bytes[2] & 0x7F, bytes[3])
      respond([])
    case 0x14, 0x94:  // LOCK
      state.isLocked = bytes[0] & 0x80 != 0
      respond([state.isLocked ? 0x10 : 0])
    default:  // PART ID among them, which the 82077AA has not
      respond([ST0.invalid])
    }
  }

  /// ST3 (6.4).
  private func driveStatus(_ select: UInt8) -> UInt8 {
    let unit = Int(select & 3)
    var status = 0x28 | select & 7
    guard unit < state.drives.count, state.drives[unit] != nil else { return status }
    if state.cylinders[unit] == 0 { status |= 0x10 }
    if media[unit]?.isReadOnly == true { status |= 0x40 }
    return status
  }

  /// Up to 79 steps out (5.2.5). Without track 0, as of a drive that is not there, equipment check is set.
  private mutating func recalibrate(_ unit: Int) {
    let rest = state.cylinders[unit] - min(state.cylinders[unit], 79)
    step(unit, to: rest)
    let isThere = unit < state.drives.count && state.drives[unit] != nil
    let failed = ST0.abnormal | ST0.equipmentCheck
    state.sought[unit] = ST0.seekEnd | (isThere && rest == 0 ? 0 : failed) | UInt8(unit)
    respond([], interrupt: true)
  }

  private mutating func seek(_ unit: Int, to cylinder: UInt8) {
    step(unit, to: cylinder)
    // The head's bit is 0 (5.2.4).
    state.sought[unit] = ST0.seekEnd | UInt8(unit)
    respond([], interrupt: true)
  }

  /// One cause at a time; without one it is no valid command (5.2.6).
  private mutating func senseInterrupt() {
    state.interrupt = false
    if state.polled != 0 {
      let unit = state.polled.trailingZeroBitCount
      state.polled &= state.polled - 1
      respond([ST0.ready | UInt8(unit), state.cylinders[unit]])
    } else if let unit = state.sought.firstIndex(where: { $0 != 0 }) {
      let status = state.sought[unit]
      state.sought[unit] = 0
      respond([status, state.cylinders[unit]])
    } else {
      respond([ST0.invalid])
    }
  }

  private mutating func dumpRegisters() {
    let lock: UInt8 = state.isLocked ? 0x80 : 0
    respond(
      state.cylinders + [
        state.stepRate, state.headLoad, state.lastSector, lock | state.perpendicular, state.configuration,
        state.precompensation,
      ])
  }

  /// The next address mark that comes by (5.1.6).
  private mutating func readID(_ select: UInt8, isMFM: Bool) {
    let (unit, head) = (Int(select & 3), select >> 2 & 1)
    guard let track = track(unit, head: head, isMFM: isMFM) else {
      return respond([ST0.abnormal | select & 7, ST1.missingMark, 0, 0, 0, 0, 0], interrupt: true)
    }
    let passed = state.drives[unit]?.passed ?? 0
    let next = passed % UInt8(track.format.sectors) + 1
    state.drives[unit]?.passed = next
    respond([select & 7, 0, 0, UInt8(track.cylinder), head, next, Self.sizeCode], interrupt: true)
  }

  // MARK: Status registers (6.0)

  enum ST0 {
    /// The cause is a change of the ready line, after a reset.
    static let ready: UInt8 = 0xC0
    static let invalid: UInt8 = 0x80
    static let abnormal: UInt8 = 0x40
    static let seekEnd: UInt8 = 0x20
    static let equipmentCheck: UInt8 = 0x10
  }

  enum ST1 {
    static let endOfCylinder: UInt8 = 0x80
    static let dataError: UInt8 = 0x20
    static let noData: UInt8 = 0x04
    static let notWritable: UInt8 = 0x02
    static let missingMark: UInt8 = 0x01
  }

  enum ST2 {
    static let controlMark: UInt8 = 0x40
    static let dataErrorInData: UInt8 = 0x20
    static let wrongCylinder: UInt8 = 0x10
    static let scanEqual: UInt8 = 0x08
    static let scanNotSatisfied: UInt8 = 0x04
  }
}
