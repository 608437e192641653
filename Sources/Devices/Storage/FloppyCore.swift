/// The floppy disk controller: an Intel 82077AA in PC/AT mode, without its bus and its host.
///
/// Source: Intel 82077AA data sheet (290166); sections named below. What it wants of a disk is a `Request`, which the glue
/// carries out on `buffer`, followed by `complete`. Commands are in FloppyCommands.swift, transfers in FloppyTransfer.swift.
///
/// It differs from the chip in this:
/// - Steps, rotation and settling take no time.
/// - Implied seeks are on after a reset, and FORMAT TRACK does them too: SeaBIOS never seeks.
/// - A drive without a disk, or none, is answered with a missing address mark; the chip waits for an index pulse for ever.
/// - An image has no place for deleted data marks, nor for sectors of other sizes or numbers than its format's.
struct FloppyCore {
  /// What the glue tells of the disk in a drive.
  struct Medium: Equatable {
    var format: FloppyFormat
    var isReadOnly: Bool
  }

  /// What is wanted of the disk: the sector that the transfer is at, of or from the buffer.
  enum Request: String, Codable, Sendable { case read, write, flush }

  enum Phase: String, Codable, Sendable { case command, execution, result }

  struct Drive: Codable, Equatable, Sendable {
    var model: FloppyDriveModel
    /// DSKCHG: another disk, or none, since the last step.
    var isChanged = true
    /// The sector whose address mark READ ID has seen last.
    var passed: UInt8 = 0
  }

  struct State: Codable, Equatable, Sendable {
    var drives: [Drive?]
    /// Where the heads of the four units are, in steps (PCN).
    var cylinders: [UInt8] = [0, 0, 0, 0]
    /// DOR: bits 0 and 1 the unit, 2 no reset, 3 interrupt and DMA reach the bus, 4 to 7 motors.
    var output: UInt8 = 0
    /// TDR, bits 0 and 1.
    var tape: UInt8 = 0
    /// The data rate, as CCR and DSR have it.
    var rate: UInt8 = 2
    var phase = Phase.command
    /// Of the command, as far as they have come; or of the result.
    var bytes: [UInt8] = []
    /// The next byte of the result.
    var cursor = 0
    var interrupt = false
    /// Units whose state has to be sensed after a reset, bits 0 to 3.
    var polled: UInt8 = 0
    /// ST0 of each unit whose seek has ended and was not sensed yet; 0: none.
    var sought: [UInt8] = [0, 0, 0, 0]
    /// SPECIFY's bytes. Bit 0 of the second: no DMA.
    var stepRate: UInt8 = 0
    var headLoad: UInt8 = 0
    /// CONFIGURE's bytes.
    var configuration = FloppyCore.Configuration.initial
    var precompensation: UInt8 = 0
    var isLocked = false
    /// PERPENDICULAR MODE: bits 2 to 5 the drives, 1 GAP, 0 WGATE.
    var perpendicular: UInt8 = 0
    /// EOT or the number of sectors of the last command that had one.
    var lastSector: UInt8 = 0
    var transfer: Transfer?
    var request: Request?
  }

  /// Bits of CONFIGURE's second byte (5.2.7).
  enum Configuration {
    static let impliedSeek: UInt8 = 0x40
    static let noFIFO: UInt8 = 0x20
    static let noPolling: UInt8 = 0x10
    static let initial = impliedSeek | noFIFO
  }

  static let sectorSize = 512

  /// Of the two units that there can be.
  var media: [Medium?]
  /// `sectorSize` bytes, owned by the glue.
  let buffer: UnsafeMutablePointer<UInt8>
  var state: State

  /// - Parameter drives: nil: there is none.
  init(drives: [FloppyDriveModel?], media: [Medium?], buffer: UnsafeMutablePointer<UInt8>) {
    state = State(drives: drives.map { $0.map { Drive(model: $0) } })
    self.media = media
    self.buffer = buffer
  }

  // MARK: Reset (4.0)

  private var isInReset: Bool { state.output & 4 == 0 }

  /// By the RESET pin. Heads stay where they are.
  mutating func hardReset() {
    var new = State(drives: state.drives)
    new.cylinders = state.cylinders
    state = new
  }

  /// What was under way is dropped.
  private mutating func stop() {
    state.phase = .command
    state.bytes = []
    state.cursor = 0
    state.transfer = nil
    state.request = nil
    state.interrupt = false
    state.polled = 0
    state.sought = [0, 0, 0, 0]
  }

  /// The end of a reset by DOR or DSR: what LOCK does not keep is as at power-on, and the units are polled (5.2.2).
  private mutating func softReset() {
    stop()
    if !state.isLocked {
      state.configuration = Configuration.initial
      state.precompensation = 0
    }
    state.perpendicular &= 0x3C
    if state.configuration & Configuration.noPolling == 0 {
      state.polled = 0x0F
      state.interrupt = true
    }
  }

  // MARK: Registers (2.1)

  /// A register that a reset comes from.
  enum Control { case output, rate }

  /// Whether a write will drop what is under way.
  func drops(_ register: Control, _ value: UInt8) -> Bool {
    switch register {
    case .output: !isInReset && value & 4 == 0
    case .rate: !isInReset && value & 0x80 != 0
    }
  }

  /// DOR.
  mutating func writeOutput(_ value: UInt8) {
    let wasInReset = isInReset
    state.output = value
    if isInReset { stop() } else if wasInReset { softReset() }
  }

  /// DSR. Its power-down bit does nothing: the chip wakes up by itself.
  mutating func writeRate(_ value: UInt8) {
    state.rate = value & 3
    if value & 0x80 != 0, !isInReset { softReset() }
  }

  /// CCR.
  mutating func writeControl(_ value: UInt8) { state.rate = value & 3 }

  /// TDR.
  mutating func writeTape(_ value: UInt8) { state.tape = value & 3 }

  /// DIR: in AT mode the change line of the selected unit alone. Of a unit that is not there nobody drives it.
  var digitalInput: UInt8 {
    let unit = Int(state.output & 3)
    guard state.drives.indices.contains(unit) else { return 0 }
    return state.drives[unit]?.isChanged == true ? 0x80 : 0
  }

  /// MSR (2.1.5): bit 7 RQM, 6 DIO: to the host, 5 a transfer without DMA, 4 a command is under way.
  var mainStatus: UInt8 {
    guard !isInReset else { return 0 }
    switch state.phase {
    case .command: return state.bytes.isEmpty ? 0x80 : 0x90
    case .result: return 0xD0
    case .execution:
      guard let transfer = state.transfer, !transfer.usesDMA, transfer.movesData else { return 0x10 }
      return 0x30 | (transfer.isToHost ? 0x40 : 0) | (wantsData ? 0x80 : 0)
    }
  }

  /// The line to the interrupt controller.
  var interruptLine: Bool { state.interrupt && state.output & 0x0C == 0x0C }

  // MARK: FIFO

  mutating func readData() -> UInt8 {
    switch state.phase {
    case .command: return 0
    case .execution:
      guard wantsData, let transfer = state.transfer, !transfer.usesDMA, transfer.isToHost else { return 0 }
      let value = buffer[transfer.cursor]
      state.transfer?.cursor += 1
      state.interrupt = false
      dataMoved()
      return value
    case .result:
      let value = state.bytes[state.cursor]
      state.cursor += 1
      // The first byte acknowledges (2.1.7).
      state.interrupt = false
      if state.cursor == state.bytes.count {
        state.phase = .command
        state.bytes = []
        state.cursor = 0
        // Another unit's seek has ended besides.
        state.interrupt = state.sought.contains { $0 != 0 }
      }
      return value
    }
  }

  mutating func writeData(_ value: UInt8) {
    guard !isInReset else { return }
    switch state.phase {
    case .command:
      state.bytes.append(value)
      if state.bytes.count == Self.length(of: state.bytes[0]) { execute() }
    case .execution:
      guard wantsData, let transfer = state.transfer, !transfer.usesDMA, !transfer.isToHost else { return }
      take(value)
      state.interrupt = false
      dataMoved()
    case .result: break
    }
  }

  /// Ends a command with a result, or without one.
  mutating func respond(_ result: [UInt8], interrupt: Bool = false) {
    state.transfer = nil
    state.request = nil
    state.cursor = 0
    state.bytes = result
    state.phase = result.isEmpty ? .command : .result
    if interrupt { raise() }
  }

  /// What was left to be sensed of a reset is forgotten.
  mutating func raise() {
    state.polled = 0
    state.interrupt = true
  }

  // MARK: Disks

  /// Another disk, or none, is in a drive. What goes on with the old one fails.
  mutating func mediumChanged(_ unit: Int, to medium: Medium?) {
    media[unit] = medium
    state.drives[unit]?.isChanged = true
    guard state.transfer?.unit == unit else { return }
    state.transfer?.hasWritten = false
    state.request = nil
    end(0x40, st1: ST1.missingMark)
  }

  /// Moves a unit's head. Steps with a disk in the drive take the change line back.
  /// - Returns: whether it was elsewhere.
  @discardableResult
  mutating func step(_ unit: Int, to cylinder: UInt8) -> Bool {
    guard state.cylinders[unit] != cylinder else { return false }
    state.cylinders[unit] = cylinder
    if unit < media.count, media[unit] != nil { state.drives[unit]?.isChanged = false }
    return true
  }
}

extension FloppyCore.State {
  /// Whether a controller could be in this state.
  var isPlausible: Bool {
    guard drives.count == 2, cylinders.count == 4, sought.count == 4, polled < 16, perpendicular < 64, rate < 4,
      tape < 4
    else { return false }
    for (unit, status) in sought.enumerated() where status != 0 {
      guard status & 0x20 != 0, Int(status & 3) == unit else { return false }
    }
    guard (transfer != nil) == (phase == .execution), request == nil || transfer != nil else { return false }
    if phase != .execution && output & 4 == 0 && (phase == .result || !bytes.isEmpty) { return false }
    switch phase {
    case .command: return cursor == 0 && (bytes.isEmpty || bytes.count < FloppyCore.length(of: bytes[0]))
    case .result: return (1...10).contains(bytes.count) && (0..<bytes.count).contains(cursor)
    case .execution: return output & 4 != 0 && bytes.count <= 9 && transfer?.isPlausible(request) == true
    }
  }
}
