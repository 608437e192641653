import Foundation
import GuestMemory
import SavedState

/// One IDE channel: the command and control block, up to two drives, their interrupt and the bus master that serves
/// them.
///
/// A request to the host is submitted as soon as a drive has one, and never while the machine is paused: then it stays
/// in the drive's state, and is submitted after `resume`, here or wherever the state has been loaded.
final class IDEChannel: PortIO {
  let commandBase: UInt16
  let controlPort: UInt16
  let drives: [IDEDrive?]
  private(set) var busMaster = BusMasterCore()
  private let line: InterruptLine
  private let memory: PhysicalMemory
  private let worker: any DiskWorker
  /// Device control register (ATA/ATAPI-6, 7.8): bit 7 HOB, 2 SRST, 1 nIEN.
  private var control: UInt8 = 0
  private var selected = 0
  private var selectedDrive: IDEDrive?
  private var isHolding = false
  private var isAdvancing = false

  init(
    commandBase: UInt16, controlPort: UInt16, drives: [IDEDrive?], line: InterruptLine, memory: PhysicalMemory,
    worker: any DiskWorker
  ) {
    precondition(drives.count == 2)
    self.commandBase = commandBase
    self.controlPort = controlPort
    self.drives = drives
    self.line = line
    self.memory = memory
    self.worker = worker
    selectedDrive = drives[0]
  }

  func attach(to ports: PortBus) {
    ports.map(self, commandBase...commandBase + 7)
    ports.map(self, controlPort...controlPort)
  }

  private var isEmpty: Bool { drives[0] == nil && drives[1] == nil }

  // MARK: Ports

  func readPort(_ port: UInt16, size: Int) -> UInt32 {
    if port == commandBase {
      guard let drive = selectedDrive else { return isEmpty ? (size == 4 ? .max : 0xFFFF) : 0 }
      let value = drive.core.readData(size: size)
      if drive.core.state.cursor == 0 || drive.core.state.interrupt { advance() }
      return value
    }
    var value: UInt32 = 0
    for index in 0..<size {
      let byte = readByte(port &+ UInt16(index))
      value |= UInt32(byte) << UInt32(index * 8)
    }
    return value
  }

  func writePort(_ port: UInt16, size: Int, value: UInt32) {
    if port == commandBase {
      guard let drive = selectedDrive else { return }
      drive.core.writeData(size: size, value: value)
      if drive.core.state.phase != .dataOut { advance() }
      return
    }
    for index in 0..<size {
      writeByte(port &+ UInt16(index), UInt8(truncatingIfNeeded: value >> UInt32(index * 8)))
    }
  }

  private func readByte(_ port: UInt16) -> UInt8 {
    if port == controlPort { return status(acknowledge: false) }
    let register = Int(port &- commandBase)
    guard register <= 7 else { return 0xFF }
    if register == 7 { return status(acknowledge: true) }
    // Without device 1, device 0 answers for its registers (9.16); without both the bus floats.
    guard let drive = selectedDrive ?? drives[0] else { return isEmpty ? 0xFF : 0 }
    if register == 6 { return drive.core.readRegister(6, previous: false) & 0xEF | UInt8(selected << 4) }
    return drive.core.readRegister(register, previous: control & 0x80 != 0)
  }

  private func status(acknowledge: Bool) -> UInt8 {
    guard let drive = selectedDrive else { return 0 }
    if control & 4 != 0 { return IDEDriveCore.Status.busy }
    guard acknowledge else { return drive.core.state.status }
    let value = drive.core.readStatus()
    updateLine()
    return value
  }

  private func writeByte(_ port: UInt16, _ value: UInt8) {
    if port == controlPort { return writeControl(value) }
    let register = Int(port &- commandBase)
    guard (1...7).contains(register) else { return }
    control &= 0x7F
    if register == 7 { return execute(value) }
    // Both drives listen to the registers; a busy one does not (7.2).
    for case let drive? in drives where drive.core.state.status & (IDEDriveCore.Status.busy) == 0 {
      if register == 6 {
        drive.core.state.registers.device = value
      } else {
        drive.core.writeRegister(register, value)
      }
    }
    if register == 6 {
      selected = Int(value >> 4 & 1)
      selectedDrive = drives[selected]
      updateLine()
    }
  }

  private func execute(_ command: UInt8) {
    if command == 0x90 {  // EXECUTE DEVICE DIAGNOSTIC goes to both (8.9)
      resetDrives { $0.core.softReset() }
      drives[0]?.core.state.interrupt = true
      return updateLine()
    }
    guard let drive = selectedDrive else { return }
    if command == 0x08 && drive.isCDROM {
      quiesce()
    } else if drive.core.state.status & IDEDriveCore.Status.busy != 0 {
      return
    }
    drive.core.execute(command)
    advance()
  }

  private func writeControl(_ value: UInt8) {
    let rises = value & ~control & 4 != 0
    control = value
    if rises { resetDrives { $0.core.softReset() } }
    updateLine()
  }

  private func resetDrives(_ reset: (IDEDrive) -> Void) {
    quiesce()
    for case let drive? in drives { reset(drive) }
    selected = 0
    selectedDrive = drives[0]
  }

  // MARK: The bus master's ports

  func readBusMaster(_ offset: Int) -> UInt8 { busMaster.read(offset) }

  func writeBusMaster(_ offset: Int, _ value: UInt8) {
    if busMaster.write(offset, value) { advance() }
  }

  // MARK: Progress

  /// Does what can be done now: submits requests and moves DMA data, until both wait for something.
  private func advance() {
    guard !isAdvancing else { return }
    isAdvancing = true
    repeat {
      for case let drive? in drives where drive.core.state.request != nil && !isHolding {
        drive.submitRequest(to: worker) { [unowned self] in advance() }
      }
    } while moveData()
    isAdvancing = false
    updateLine()
  }

  /// - Returns: whether a block has been moved, so that the drive may want something new.
  private func moveData() -> Bool {
    guard busMaster.isActive, !isHolding else { return false }
    for case let drive? in drives {
      let state = drive.core.state
      let toMemory = state.phase == .dmaIn
      guard toMemory || state.phase == .dmaOut, state.request == nil, state.cursor < state.end else { continue }
      let count = state.end - state.cursor
      let moved = busMaster.move(drive.core.buffer + state.cursor, count, toMemory: toMemory, memory: memory)
      drive.core.state.cursor += moved
      guard moved == count else { return false }
      drive.core.blockMoved()
      if drive.core.state.phase == .idle { busMaster.driveFinished() }
      if drive.core.state.phase == .dmaOut && drive.core.state.remaining == state.end / 512 { lastWriteIsOut() }
      return true
    }
    return false
  }

  /// The last data of a write have left memory: with the table used up the engine is done before the drive is.
  private func lastWriteIsOut() { busMaster.driveFinished() }

  /// INTRQ of the selected drive, gated by nIEN, is the channel's line; its rise sets the bus master's interrupt bit.
  private func updateLine() {
    let level = (selectedDrive?.core.state.interrupt ?? false) && control & 2 == 0
    if level && !line.level { busMaster.state.status |= 4 }
    line.set(level)
  }

  /// Waits for the host's work in flight. Requests that follow from it are held.
  private func quiesce() {
    guard drives.contains(where: { $0?.isBusy ?? false }) else { return }
    let wasHolding = isHolding
    isHolding = true
    worker.drain()
    isHolding = wasHolding
  }

  // MARK: Reset, pause, state

  func reset() {
    resetDrives { $0.core.powerOn() }
    control = 0
    busMaster = BusMasterCore()
    updateLine()
  }

  func pause() {
    isHolding = true
    quiesce()
  }

  func resume() {
    isHolding = false
    advance()
  }

  struct State: Codable {
    var control: UInt8
    var selected: Int
    var line: Bool
    var busMaster: BusMasterCore.State
    var drives: [Drive?]

    struct Drive: Codable {
      var kind: IDEDriveCore.Kind
      var core: IDEDriveCore.State
      /// Bytes of the buffer in the section's blob.
      var bufferBytes: Int
    }
  }

  func save(blob: inout Data) -> State {
    let saved = drives.map { drive -> State.Drive? in
      guard let drive else { return nil }
      let core = drive.core.state
      let count = core.phase == .idle ? 0 : max(core.filled, core.end, core.request?.length ?? 0)
      blob.append(UnsafeBufferPointer(start: drive.core.buffer, count: count))
      return State.Drive(kind: drive.core.kind, core: core, bufferBytes: count)
    }
    return State(
      control: control, selected: selected, line: line.level, busMaster: busMaster.state, drives: saved)
  }

  /// Throws when the state cannot be this channel's; changes nothing.
  func check(_ state: State, in section: StateSection) throws {
    try requireValid(state.drives.count == 2 && (0...1).contains(state.selected), in: section, "drive numbers")
    try requireValid(state.busMaster.isPlausible, in: section, "bus master registers")
    for (drive, saved) in zip(drives, state.drives) {
      guard drive?.core.kind == saved?.kind else {
        throw SavedStateError.mismatch("section \(section.name): other drives are attached than were when it was saved")
      }
      guard let saved else { continue }
      try requireValid(saved.core.isPlausible(for: saved.kind), in: section, "drive registers")
      try requireValid((0...IDEDriveCore.bufferSize).contains(saved.bufferBytes), in: section, "buffer length")
    }
  }

  /// Takes a checked state over. - Returns: the rest of the blob.
  func restore(_ state: State, blob: Data) -> Data {
    var rest = blob
    control = state.control
    selected = state.selected
    selectedDrive = drives[selected]
    busMaster.state = state.busMaster
    for (drive, saved) in zip(drives, state.drives) {
      guard let drive, let saved else { continue }
      drive.core.state = saved.core
      rest.prefix(saved.bufferBytes).withUnsafeBytes { bytes in
        guard let base = bytes.baseAddress else { return }
        UnsafeMutableRawPointer(drive.core.buffer).copyMemory(from: base, byteCount: bytes.count)
      }
      rest = rest.dropFirst(saved.bufferBytes)
    }
    line.restore(state.line)
    return rest
  }
}
