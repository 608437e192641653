/// One drive on an IDE channel: the task file and the transfer engine (ATA/ATAPI-6, T13 1410D; clauses named below).
///
/// It knows no host: what it wants from the medium is a `Request`, which the glue carries out on `buffer`, followed by
/// `complete`. The commands are in ATACommands.swift and ATAPICommands.swift.
struct IDEDriveCore {
  enum Kind: String, Codable, Sendable {
    case disk, cdrom
  }

  /// What the glue tells of the medium in the drive.
  struct Medium: Equatable {
    var sectors: UInt64  // of 512 bytes
    var isReadOnly: Bool
  }

  struct Request: Codable, Equatable, Sendable {
    enum Operation: String, Codable, Sendable { case read, write, flush }
    var operation: Operation
    var offset: UInt64  // bytes on the medium
    var length: Int  // bytes from the buffer's start
  }

  enum Phase: String, Codable, Sendable {
    case idle, dataIn, dataOut, packet, waiting, dmaIn, dmaOut
  }

  /// Status register bits (7.15).
  enum Status {
    static let error: UInt8 = 0x01
    static let dataRequest: UInt8 = 0x08
    static let seekComplete: UInt8 = 0x10
    static let deviceFault: UInt8 = 0x20
    static let ready: UInt8 = 0x40
    static let busy: UInt8 = 0x80
    static let idle: UInt8 = ready | seekComplete
  }

  /// Error register bits (7.9).
  enum ErrorBit {
    static let aborted: UInt8 = 0x04
    static let idNotFound: UInt8 = 0x10
    static let uncorrectable: UInt8 = 0x40
  }

  /// Task file registers. The `high` ones hold what was written before last: LBA48's upper halves (6.20).
  struct TaskFile: Codable, Equatable, Sendable {
    var feature: UInt8 = 0
    var count: UInt8 = 1
    var low: UInt8 = 1
    var mid: UInt8 = 0
    var high: UInt8 = 0
    var featurePrevious: UInt8 = 0
    var countPrevious: UInt8 = 0
    var lowPrevious: UInt8 = 0
    var midPrevious: UInt8 = 0
    var highPrevious: UInt8 = 0
    var device: UInt8 = 0xA0
  }

  struct Sense: Codable, Equatable, Sendable {
    var key: UInt8 = 0
    var code: UInt8 = 0
    var qualifier: UInt8 = 0
  }

  struct State: Codable, Equatable, Sendable {
    var registers = TaskFile()
    var status = Status.idle
    var error: UInt8 = 1
    /// INTRQ, before the channel's gates.
    var interrupt = false
    var phase = Phase.idle
    /// The block being moved: `cursor..<end` of the buffer, which holds `filled` bytes.
    var cursor = 0
    var end = 0
    var filled = 0
    /// Next sector on the medium, and how many are still to be asked of it.
    var position: UInt64 = 0
    var remaining = 0
    var blockSectors = 1
    var isExtended = false
    var request: Request?
    // Settings
    var heads = 16
    var sectorsPerTrack = 63
    var multiple = 16
    var transferMode: UInt8 = 0x22  // multiword DMA 2
    var writeCache = true
    var smart = true
    var isStandby = false
    // Packet devices
    var isPacket = false
    var packetDMA = false
    var byteLimit = 0
    var rawSectors = false
    var sense = Sense()
    var unitAttention = false
    var trayOpen = false
    var isLocked = false
    var mediaEvent: UInt8 = 0
  }

  static let bufferSize = 131_072
  /// Bytes past the end that a last access of four bytes may touch.
  static let bufferSlack = 16
  static let chunkSectors = bufferSize / 512

  let kind: Kind
  let serial: String
  let model: String
  /// `bufferSize + bufferSlack` bytes, owned by the glue.
  let buffer: UnsafeMutablePointer<UInt8>
  var medium: Medium?
  var state = State()

  init(kind: Kind, serial: String, model: String, buffer: UnsafeMutablePointer<UInt8>) {
    self.kind = kind
    self.serial = serial
    self.model = model
    self.buffer = buffer
    putSignature()
  }

  // MARK: Reset

  /// Power-on: settings fall back too.
  mutating func powerOn() {
    let tray = state.trayOpen
    state = State()
    state.trayOpen = tray
    putSignature()
  }

  /// Software reset (9.2): the running command is dropped, settings stay.
  mutating func softReset() {
    stopTransfer()
    state.error = 1  // passed diagnostics
    state.isStandby = false
    state.interrupt = false
    putSignature()
  }

  /// The signature that tells a disk from a packet device (9.12).
  mutating func putSignature() {
    state.registers.count = 1
    state.registers.low = 1
    state.registers.mid = kind == .cdrom ? 0x14 : 0
    state.registers.high = kind == .cdrom ? 0xEB : 0
    state.registers.device &= 0x10
    // A packet device is not ready before its first packet.
    state.status = kind == .cdrom ? 0 : Status.idle
  }

  private mutating func stopTransfer() {
    state.phase = .idle
    state.request = nil
    state.cursor = 0
    state.end = 0
    state.filled = 0
    state.remaining = 0
  }

  // MARK: Ends of commands

  mutating func finish(interrupt: Bool = true) {
    stopTransfer()
    state.status = Status.idle
    state.error = 0
    state.interrupt = state.interrupt || interrupt
  }

  mutating func fail(_ error: UInt8, fault: Bool = false) {
    stopTransfer()
    state.error = error
    state.status = Status.idle | Status.error | (fault ? Status.deviceFault : 0)
    state.interrupt = true
  }

  mutating func abort() { fail(ErrorBit.aborted) }

  // MARK: Transfers

  /// Offers `length` bytes that lie in the buffer, by programmed I/O.
  mutating func offer(_ length: Int) {
    state.filled = length
    state.cursor = 0
    state.end = length
    state.phase = .dataIn
    state.status = Status.idle | Status.dataRequest
    state.error = 0
    state.interrupt = true
  }

  mutating func ask(_ operation: Request.Operation, sector: UInt64, sectorSize: Int, count: Int) {
    state.request = Request(
      operation: operation, offset: sector &* UInt64(sectorSize), length: count &* sectorSize)
    state.status = Status.busy | Status.seekComplete
  }

  /// The block `cursor..<end` has been moved, by the CPU or by the bus master.
  mutating func blockMoved() {
    switch state.phase {
    case .dataIn:
      if state.isPacket { packetBlockMoved() } else { readBlockMoved() }
    case .dataOut:
      writeBlockMoved()
    case .packet:
      executePacket()
    case .dmaIn:
      if state.remaining > 0 {
        askForChunk()
      } else if state.isPacket {
        finishPacket()
      } else {
        finish()
      }
    case .dmaOut:
      writeBlockMoved()
    case .idle, .waiting:
      break
    }
  }

  private mutating func readBlockMoved() {
    if state.end < state.filled {
      presentBlock()
    } else if state.remaining > 0 {
      askForChunk()
    } else {
      finish(interrupt: false)
    }
  }

  private mutating func writeBlockMoved() {
    let sectors = state.end / 512
    ask(.write, sector: state.position, sectorSize: 512, count: sectors)
    if state.phase == .dataOut { state.phase = .waiting }
  }

  /// The next read from the medium into the buffer.
  mutating func askForChunk() {
    if state.isPacket {
      let count = min(state.remaining, Self.packetChunk(raw: state.rawSectors))
      ask(.read, sector: state.position, sectorSize: 2048, count: count)
    } else {
      let count = min(state.remaining, Self.chunkSectors)
      ask(.read, sector: state.position, sectorSize: 512, count: count)
    }
    state.cursor = 0
    state.end = 0
    state.filled = 0
    if state.phase != .dmaIn { state.phase = .waiting }
  }

  /// Offers the next block of the buffer.
  private mutating func presentBlock() {
    state.cursor = state.end
    state.end = min(state.cursor + state.blockSectors * 512, state.filled)
    state.phase = .dataIn
    state.status = Status.idle | Status.dataRequest
    state.interrupt = true
  }

  /// Wants the next block for a write.
  mutating func wantBlock(interrupt: Bool) {
    let sectors = min(state.remaining, state.phase == .dmaOut ? Self.chunkSectors : state.blockSectors)
    state.cursor = 0
    state.end = sectors * 512
    state.filled = 0
    if state.phase != .dmaOut { state.phase = .dataOut }
    state.status = Status.idle | Status.dataRequest
    if interrupt { state.interrupt = true }
  }

  /// The request has been carried out, or has failed on the host.
  mutating func complete(success: Bool) {
    guard let request = state.request else { return }
    state.request = nil
    if state.isPacket {
      completePacket(request, success: success)
      return
    }
    switch request.operation {
    case .flush:
      if success { finish() } else { fail(ErrorBit.aborted, fault: true) }
    case .read:
      guard success else {
        putSector(state.position)
        return fail(ErrorBit.uncorrectable)
      }
      let sectors = request.length / 512
      state.position &+= UInt64(sectors)
      state.remaining -= sectors
      state.filled = request.length
      state.cursor = 0
      if state.phase == .dmaIn {
        state.end = request.length
        state.status = Status.idle | Status.dataRequest
      } else {
        state.end = 0
        presentBlock()
      }
    case .write:
      guard success else {
        putSector(state.position)
        return fail(ErrorBit.aborted, fault: true)
      }
      let sectors = request.length / 512
      state.position &+= UInt64(sectors)
      state.remaining -= sectors
      if state.remaining > 0 { wantBlock(interrupt: state.phase != .dmaOut) } else { finish() }
    }
  }

  // MARK: Registers

  /// A write to task file register 1 to 5 (feature to LBA high).
  mutating func writeRegister(_ register: Int, _ value: UInt8) {
    switch register {
    case 1:
      state.registers.featurePrevious = state.registers.feature
      state.registers.feature = value
    case 2:
      state.registers.countPrevious = state.registers.count
      state.registers.count = value
    case 3:
      state.registers.lowPrevious = state.registers.low
      state.registers.low = value
    case 4:
      state.registers.midPrevious = state.registers.mid
      state.registers.mid = value
    default:
      state.registers.highPrevious = state.registers.high
      state.registers.high = value
    }
  }

  /// - Parameter previous: HOB of the device control register: the bytes written before last (7.8).
  func readRegister(_ register: Int, previous: Bool) -> UInt8 {
    let registers = state.registers
    switch register {
    case 1: return previous ? registers.featurePrevious : state.error
    case 2: return previous ? registers.countPrevious : registers.count
    case 3: return previous ? registers.lowPrevious : registers.low
    case 4: return previous ? registers.midPrevious : registers.mid
    case 5: return previous ? registers.highPrevious : registers.high
    default: return registers.device | 0xA0
    }
  }

  /// Reading the status register acknowledges the interrupt (7.15.4).
  mutating func readStatus() -> UInt8 {
    state.interrupt = false
    return state.status
  }

  // MARK: The data register

  @inline(__always)
  mutating func readData(size: Int) -> UInt32 {
    guard state.phase == .dataIn else { return 0 }
    let pointer = UnsafeRawPointer(buffer + state.cursor)
    let value: UInt32 =
      size == 2 ? UInt32(pointer.loadUnaligned(as: UInt16.self)) : pointer.loadUnaligned(as: UInt32.self)
    state.cursor &+= size == 1 ? 2 : size
    if state.cursor >= state.end { blockMoved() }
    return size == 1 ? value & 0xFF : value
  }

  @inline(__always)
  mutating func writeData(size: Int, value: UInt32) {
    guard state.phase == .dataOut || state.phase == .packet else { return }
    let pointer = UnsafeMutableRawPointer(buffer + state.cursor)
    if size == 4 {
      pointer.storeBytes(of: value, as: UInt32.self)
    } else {
      pointer.storeBytes(of: UInt16(truncatingIfNeeded: value), as: UInt16.self)
    }
    state.cursor &+= size == 4 ? 4 : 2
    if state.cursor >= state.end { blockMoved() }
  }
}

extension IDEDriveCore.State {
  /// Whether every index lies where a drive of that kind can have it.
  func isPlausible(for kind: IDEDriveCore.Kind) -> Bool {
    let limit = IDEDriveCore.bufferSize
    guard (0...limit).contains(filled), (0...limit).contains(end), cursor >= 0, cursor <= end else { return false }
    guard (0...Int(UInt32.max)).contains(remaining), (1...128).contains(blockSectors) else { return false }
    guard (1...16).contains(heads), (1...255).contains(sectorsPerTrack), (0...128).contains(multiple) else {
      return false
    }
    guard (0...0xFFFF).contains(byteLimit) else { return false }
    if phase == .dataIn || phase == .dataOut || phase == .packet {
      guard cursor < end else { return false }
    }
    if phase == .waiting && request == nil { return false }
    if let request {
      guard (0...limit).contains(request.length), request.offset <= UInt64(Int64.max) else { return false }
      if rawSectors && request.length > IDEDriveCore.packetChunk(raw: true) * 2048 { return false }
    }
    return !isPacket || kind == .cdrom
  }
}
