/// The network interface controller DP8390 with the buffer memory and the address PROM of the NE2000 board: sixteen registers
/// in pages, a data port by which software reaches the memory, and a ring of 256-byte buffers in it. Pure: no bus, no wire.
///
/// Sources: National Semiconductor, "DP8390D/NS32490D NIC Network Interface Controller" data sheet (sections named below);
/// Realtek, "RTL8029AS" data sheet, for what its PCI version adds.
struct DP8390Core {
  /// Everything that a guest could notice, but for the buffer memory.
  struct State: Codable, Equatable, Sendable {
    var command: UInt8 = 0x21
    /// It was started and has not been stopped since. Software that writes the command register with neither bit leaves it at
    /// work.
    var isStarted = false
    /// Pages at which the receive ring begins and ends, the one that software reads next, the one that is filled next.
    var ringStart: UInt8 = 0
    var ringStop: UInt8 = 0
    var boundary: UInt8 = 0
    var current: UInt8 = 0
    var transmitPage: UInt8 = 0
    var transmitCount: UInt16 = 0
    var transmitStatus: UInt8 = 0
    var receiveStatus: UInt8 = 0
    /// ISR and IMR.
    var interrupts: UInt8 = 0x80
    var interruptMask: UInt8 = 0
    var remoteAddress: UInt16 = 0
    var remoteCount: UInt16 = 0
    var receiveConfiguration: UInt8 = 0
    var transmitConfiguration: UInt8 = 0
    var dataConfiguration: UInt8 = 0
    var physicalAddress: [UInt8]
    var multicastFilter = [UInt8](repeating: 0, count: 8)
    /// Frames with alignment and CRC errors, which there are not here, and missed ones.
    var missed: UInt8 = 0
  }

  /// What an access asks of whoever holds the core.
  enum Effect { case none, transmit, receiveRoom }

  /// Bits of the interrupt status (10.3).
  private enum Interrupt {
    static let received: UInt8 = 1 << 0
    static let transmitted: UInt8 = 1 << 1
    static let remoteDone: UInt8 = 1 << 6
    static let reset: UInt8 = 1 << 7
  }
  /// Bits of the command register (10.3).
  private enum Command {
    static let stop: UInt8 = 1 << 0
    static let start: UInt8 = 1 << 1
    static let transmit: UInt8 = 1 << 2
    static let remoteRead: UInt8 = 1 << 3
    static let remoteWrite: UInt8 = 1 << 4
    static let sendPacket: UInt8 = 3 << 3
    static let noRemote: UInt8 = 1 << 5
  }

  /// Where the buffer memory lies in the board's address space, and its bytes.
  static let memoryStart = 0x4000
  static let memorySize = 0x4000

  var state: State
  private(set) var memory = [UInt8](repeating: 0, count: memorySize)
  private let prom: [UInt8]
  private let isRealtek: Bool

  /// - Parameter isRealtek: the RTL8029, which says so in two registers.
  init(address: MACAddress, isRealtek: Bool) {
    self.isRealtek = isRealtek
    state = State(physicalAddress: [UInt8](repeating: 0, count: 6))
    // The board's PROM has the address, and two W at the end that tell a 16-bit slot; each byte stands there twice.
    let bytes = address.bytes + [UInt8](repeating: 0, count: 8) + [0x57, 0x57]
    prom = bytes.flatMap { [$0, $0] }
  }

  /// The RESET pin or the reset port (10.0): what runs is stopped; addresses and memory stay as they are.
  mutating func reset() {
    state.command = Command.stop | Command.noRemote
    state.isStarted = false
    state.interrupts = Interrupt.reset
    state.interruptMask = 0
    state.transmitConfiguration = 0
    state.dataConfiguration &= 0x7E
    state.remoteCount = 0
  }

  /// Power-on.
  mutating func powerOn() {
    state = State(physicalAddress: [UInt8](repeating: 0, count: 6))
    memory = [UInt8](repeating: 0, count: Self.memorySize)
  }

  mutating func restore(_ saved: State, memory bytes: [UInt8]) {
    state = saved
    memory = bytes
  }

  /// The level of the interrupt pin.
  var interruptLevel: Bool { state.interrupts & state.interruptMask & 0x7F != 0 }

  private var isRunning: Bool { state.isStarted }
  private var isWordWide: Bool { state.dataConfiguration & 1 != 0 }
  private var isLoopback: Bool { state.transmitConfiguration & 6 != 0 }

  // MARK: Registers

  /// - Parameter offset: 0 to 15.
  func readRegister(_ offset: Int) -> UInt8 {
    if offset == 0 { return state.command }
    switch (state.command >> 6, offset) {
    case (0, 0x01): return UInt8(truncatingIfNeeded: state.remoteAddress)
    case (0, 0x02): return UInt8(state.remoteAddress >> 8)
    case (0, 0x03): return state.boundary
    case (0, 0x04): return state.transmitStatus
    case (0, 0x07): return state.interrupts
    case (0, 0x08): return UInt8(truncatingIfNeeded: state.remoteAddress)
    case (0, 0x09): return UInt8(state.remoteAddress >> 8)
    case (0, 0x0A): return isRealtek ? 0x50 : 0xFF
    case (0, 0x0B): return isRealtek ? 0x43 : 0xFF
    case (0, 0x0C): return state.receiveStatus
    case (0, 0x0F): return state.missed
    case (1, 0x01...0x06): return state.physicalAddress[offset - 1]
    case (1, 0x07): return state.current
    case (1, 0x08...0x0F): return state.multicastFilter[offset - 8]
    case (2, 0x01): return state.ringStart
    case (2, 0x02): return state.ringStop
    case (2, 0x04): return state.transmitPage
    case (2, 0x0C): return state.receiveConfiguration | 0xC0
    case (2, 0x0D): return state.transmitConfiguration | 0xE0
    case (2, 0x0E): return state.dataConfiguration | 0x80
    case (2, 0x0F): return state.interruptMask | 0x80
    default: return 0
    }
  }

  mutating func writeRegister(_ offset: Int, _ value: UInt8) -> Effect {
    if offset == 0 { return writeCommand(value) }
    switch (state.command >> 6, offset) {
    case (0, 0x01): state.ringStart = value
    case (0, 0x02): state.ringStop = value
    case (0, 0x03):
      state.boundary = value
      return .receiveRoom
    case (0, 0x04): state.transmitPage = value
    case (0, 0x05): state.transmitCount = state.transmitCount & 0xFF00 | UInt16(value)
    case (0, 0x06): state.transmitCount = state.transmitCount & 0xFF | UInt16(value) << 8
    // Ones clear; the reset bit goes by itself when the controller is started.
    case (0, 0x07): state.interrupts &= ~(value & 0x7F)
    case (0, 0x08): state.remoteAddress = state.remoteAddress & 0xFF00 | UInt16(value)
    case (0, 0x09): state.remoteAddress = state.remoteAddress & 0xFF | UInt16(value) << 8
    case (0, 0x0A): state.remoteCount = state.remoteCount & 0xFF00 | UInt16(value)
    case (0, 0x0B): state.remoteCount = state.remoteCount & 0xFF | UInt16(value) << 8
    case (0, 0x0C):
      state.receiveConfiguration = value & 0x3F
      return .receiveRoom
    case (0, 0x0D): state.transmitConfiguration = value & 0x1F
    case (0, 0x0E): state.dataConfiguration = value & 0x7F
    case (0, 0x0F): state.interruptMask = value & 0x7F
    case (1, 0x01...0x06): state.physicalAddress[offset - 1] = value
    case (1, 0x07):
      state.current = value
      return .receiveRoom
    case (1, 0x08...0x0F): state.multicastFilter[offset - 8] = value
    default: break
    }
    return .none
  }

  private mutating func writeCommand(_ value: UInt8) -> Effect {
    // A transmission that is under way is not called back.
    let isSending = state.command & Command.transmit
    state.command = value & ~Command.transmit | isSending
    if value & Command.stop != 0 {
      state.command &= ~Command.transmit
      state.isStarted = false
      state.interrupts |= Interrupt.reset
      return .receiveRoom
    }
    if value & Command.start != 0 { state.isStarted = true }
    guard isRunning else { return .none }
    state.interrupts &= ~Interrupt.reset
    if state.command & Command.sendPacket == Command.sendPacket, value & Command.noRemote == 0 {
      // "Send packet": a remote read of what the ring has next, which moves the boundary afterwards (9.0).
      let header = UInt16(state.boundary) << 8
      state.remoteAddress = header
      state.remoteCount = UInt16(readMemory(Int(header) + 2)) | UInt16(readMemory(Int(header) + 3)) << 8
    } else if value & (Command.remoteRead | Command.remoteWrite) != 0, value & Command.noRemote == 0,
      state.remoteCount == 0
    {
      state.interrupts |= Interrupt.remoteDone
    }
    guard value & Command.transmit != 0 else { return .receiveRoom }
    state.command |= Command.transmit
    return .transmit
  }

  // MARK: Data port (9.0, remote DMA)

  private func readMemory(_ address: Int) -> UInt8 {
    if address < 0x4000 { return prom[address & 31] }
    let place = address - Self.memoryStart
    return place < memory.count ? memory[place] : 0xFF
  }

  private mutating func writeMemory(_ address: Int, _ value: UInt8) {
    let place = address - Self.memoryStart
    if place >= 0, place < memory.count { memory[place] = value }
  }

  /// In word mode each transfer moves a word, also where software looks at half of it.
  /// - Parameter size: 1, 2 or 4 bytes.
  mutating func readData(size: Int) -> UInt32 {
    let step = isWordWide ? 2 : 1
    return stride(from: 0, to: size, by: step).reduce(0) { $0 | UInt32(readStep(step)) << UInt32($1 * 8) }
  }

  mutating func writeData(size: Int, _ value: UInt32) {
    let step = isWordWide ? 2 : 1
    for place in stride(from: 0, to: size, by: step) {
      writeStep(step, UInt16(truncatingIfNeeded: value >> UInt32(place * 8)))
    }
  }

  private mutating func readStep(_ bytes: Int) -> UInt16 {
    let address = Int(state.remoteAddress)
    var value = UInt16(readMemory(address))
    if bytes == 2 { value |= UInt16(readMemory(address + 1)) << 8 }
    advance(UInt16(bytes))
    return value
  }

  private mutating func writeStep(_ bytes: Int, _ value: UInt16) {
    guard state.remoteCount > 0 else { return }
    let address = Int(state.remoteAddress)
    writeMemory(address, UInt8(value & 0xFF))
    if bytes == 2 { writeMemory(address + 1, UInt8(value >> 8)) }
    advance(UInt16(bytes))
  }

  private mutating func advance(_ bytes: UInt16) {
    guard state.remoteCount > 0 else { return }
    state.remoteAddress &+= bytes
    // The ring's end leads to its start.
    if state.ringStop != 0, state.remoteAddress == UInt16(state.ringStop) << 8 {
      state.remoteAddress = UInt16(state.ringStart) << 8
    }
    state.remoteCount = state.remoteCount > bytes ? state.remoteCount - bytes : 0
    guard state.remoteCount == 0 else { return }
    state.interrupts |= Interrupt.remoteDone
    if state.command & (Command.sendPacket | Command.noRemote) == Command.sendPacket {
      state.boundary = UInt8(state.remoteAddress >> 8)
    }
  }

  // MARK: Sending (8.0)

  /// Whether a transmission has been asked for and waits for the wire.
  var isSending: Bool { state.command & Command.transmit != 0 }

  /// Sends what the transmit registers name.
  /// - Returns: the frame for the wire, if it goes there.
  mutating func transmit() -> [UInt8]? {
    guard isSending else { return nil }
    state.command &= ~Command.transmit
    state.transmitStatus = 0x01  // PTX: no collision, carrier there
    state.interrupts |= Interrupt.transmitted
    let start = Int(state.transmitPage) << 8
    let count = min(Int(state.transmitCount), Self.memorySize)
    // In loopback what is sent stays within.
    guard !isLoopback, count >= 14 else { return nil }
    return (0..<count).map { readMemory(start + $0) }
  }

  // MARK: Receiving (7.0)

  enum Reception: Equatable { case delivered, discarded, noRoom }

  mutating func receive(_ frame: [UInt8]) -> Reception {
    guard isRunning, !isLoopback, frame.count >= 14, accepts(frame) else { return .discarded }
    // Monitor mode counts only.
    if state.receiveConfiguration & 0x20 != 0 {
      if state.missed < 0xFF { state.missed += 1 }
      return .discarded
    }
    var frame = frame
    if frame.count < 60 { frame.append(contentsOf: repeatElement(0, count: 60 - frame.count)) }
    frame.append(contentsOf: EthernetCRC.bytes(of: frame))
    let (start, stop) = (Int(state.ringStart), Int(state.ringStop))
    let pages = (frame.count + 4 + 255) / 256
    guard start < stop, start >= Self.memoryStart >> 8, stop <= (Self.memoryStart + Self.memorySize) >> 8,
      (start..<stop).contains(Int(state.current)), pages < stop - start
    else { return .discarded }
    // Drivers that keep the boundary one page behind what they read next write the page in front of the ring for its last one.
    let boundary = (start..<stop).contains(Int(state.boundary)) ? Int(state.boundary) : stop - 1
    let ahead = boundary - Int(state.current)
    let room = ahead > 0 ? ahead : stop - start + ahead
    guard pages < room else { return .noRoom }
    store(frame, pages: pages, start: start, stop: stop)
    return .delivered
  }

  /// Frames lie in the ring, and the interrupt that has told of them has been acknowledged. Software keeps the boundary at the
  /// page that it reads next, or one before it.
  var hasUnreadFrames: Bool {
    let (start, stop) = (state.ringStart, state.ringStop)
    guard isRunning, start < stop, state.interrupts & Interrupt.received == 0 else { return false }
    let behind = state.boundary &+ 1 >= stop ? start : state.boundary &+ 1
    return state.current != state.boundary && state.current != behind
  }

  /// Tells of unread frames once more.
  mutating func remind() {
    if hasUnreadFrames { state.interrupts |= Interrupt.received }
  }

  private mutating func store(_ frame: [UInt8], pages: Int, start: Int, stop: Int) {
    state.receiveStatus = 0x01 | (frame[0] & 1 != 0 ? 0x20 : 0)
    var next = Int(state.current) + pages
    if next >= stop { next -= stop - start }
    let header = [
      state.receiveStatus, UInt8(next), UInt8(truncatingIfNeeded: frame.count),
      UInt8(truncatingIfNeeded: frame.count >> 8),
    ]
    var address = Int(state.current) << 8
    for byte in header + frame {
      writeMemory(address, byte)
      address += 1
      if address == stop << 8 { address = start << 8 }
    }
    state.current = UInt8(next)
    state.interrupts |= Interrupt.received
  }

  /// The filters (10.3, receive configuration).
  private func accepts(_ frame: [UInt8]) -> Bool {
    let control = state.receiveConfiguration
    if frame[0] & 1 == 0 { return control & 0x10 != 0 || Array(frame[0..<6]) == state.physicalAddress }
    if frame[0..<6].allSatisfy({ $0 == 0xFF }) { return control & 0x04 != 0 }
    guard control & 0x08 != 0 else { return false }
    let bit = EthernetCRC.highHash(of: frame)
    return state.multicastFilter[bit >> 3] >> UInt8(bit & 7) & 1 != 0
  }
}

extension DP8390Core.State {
  /// Whether a controller could have come to this.
  var isPlausible: Bool {
    physicalAddress.count == 6 && multicastFilter.count == 8 && receiveConfiguration & ~0x3F == 0
      && transmitConfiguration & ~0x1F == 0 && dataConfiguration & 0x80 == 0 && interruptMask & 0x80 == 0
  }
}
