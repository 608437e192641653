/// A CD-ROM drive: the packet protocol (ATA/ATAPI-6, 9.10) and its commands (SPC-3; MMC-4, clause 6).
extension IDEDriveCore {
  /// Sense keys and additional codes (SPC-3, 4.5.6).
  enum Fault {
    static let invalidOpcode = Sense(key: 5, code: 0x20, qualifier: 0)
    static let outOfRange = Sense(key: 5, code: 0x21, qualifier: 0)
    static let invalidField = Sense(key: 5, code: 0x24, qualifier: 0)
    static let savingUnsupported = Sense(key: 5, code: 0x39, qualifier: 0)
    static let removalPrevented = Sense(key: 5, code: 0x53, qualifier: 2)
    static let noMedium = Sense(key: 2, code: 0x3A, qualifier: 0)
    static let trayOpen = Sense(key: 2, code: 0x3A, qualifier: 2)
    static let mediumChanged = Sense(key: 6, code: 0x28, qualifier: 0)
    static let unreadable = Sense(key: 3, code: 0x11, qualifier: 0)
  }

  /// Sectors of the medium read in one go, so that they fit the buffer as they go to the guest.
  static func packetChunk(raw: Bool) -> Int { bufferSize / (raw ? 2352 : 2048) }

  private var discSectors: UInt64 { (medium?.sectors ?? 0) / 4 }
  private var isReady: Bool { medium != nil && !state.trayOpen }
  /// What no CD can hold is a DVD: 80 minutes are 360,000 sectors.
  private var isDVD: Bool { discSectors > 360_000 }

  // MARK: ATA commands of a packet device

  mutating func executePacketDevice(_ command: UInt8) {
    switch command {
    case 0x08:  // DEVICE RESET: no interrupt (8.10)
      softReset()
    case 0xA0: startPacket()
    case 0xA1:
      writePacketIdentity()
      offer(512)
    case 0xEC, 0x20:  // shows that it is a packet device (8.15.5.2)
      let device = state.registers.device
      putSignature()
      state.registers.device = device
      abort()
    case 0xEF: setFeatures()
    case 0xE7: finish()
    case 0x94, 0x96, 0xE0, 0xE2, 0x99, 0xE6: enterStandby()
    case 0x95, 0x97, 0xE1, 0xE3: leaveStandby()
    case 0x98, 0xE5:
      state.registers.count = state.isStandby ? 0x00 : 0xFF
      finish()
    default: abort()
    }
  }

  private mutating func startPacket() {
    state.isPacket = true
    state.packetDMA = state.registers.feature & 1 != 0
    state.byteLimit = Int(state.registers.mid) | Int(state.registers.high) << 8
    state.cursor = 0
    state.end = 12
    state.filled = 0
    state.remaining = 0
    state.phase = .packet
    state.registers.count = 1  // interrupt reason: command
    state.status = Status.idle | Status.dataRequest
  }

  // MARK: Ends of packets

  mutating func finishPacket() {
    finish()
    state.registers.count = 3  // interrupt reason: input, command: done
  }

  private mutating func check(_ sense: Sense) {
    state.sense = sense
    fail(sense.key << 4 | (sense.key == 5 ? ErrorBit.aborted : 0))
    state.registers.count = 3
  }

  /// Sends the first `length` bytes of the buffer, but no more than the guest has room for.
  private mutating func reply(_ length: Int, allocation: Int) {
    let count = min(length, allocation)
    guard count > 0 else { return finishPacket() }
    state.remaining = 0
    state.filled = count
    deliver()
  }

  /// `filled` bytes are ready to go.
  private mutating func deliver() {
    state.cursor = 0
    if state.packetDMA {
      state.end = state.filled
      state.phase = .dmaIn
      state.status = Status.idle | Status.dataRequest
      state.registers.count = 2
    } else {
      state.end = 0
      presentPacketBlock()
    }
  }

  /// One DRQ block, no longer than the guest's byte count limit, which is even unless it is the last (9.10.5).
  private mutating func presentPacketBlock() {
    let limit = state.byteLimit == 0 || state.byteLimit == 0xFFFF ? 0xFFFE : state.byteLimit
    let left = state.filled - state.end
    let count = left <= limit ? left : max(limit & ~1, 2)
    state.cursor = state.end
    state.end = state.cursor + count
    state.registers.mid = UInt8(truncatingIfNeeded: count)
    state.registers.high = UInt8(truncatingIfNeeded: count >> 8)
    state.registers.count = 2  // interrupt reason: data, to the host
    state.phase = .dataIn
    state.status = Status.idle | Status.dataRequest
    state.interrupt = true
  }

  mutating func packetBlockMoved() {
    if state.end < state.filled {
      presentPacketBlock()
    } else if state.remaining > 0 {
      askForChunk()
    } else {
      finishPacket()
    }
  }

  mutating func completePacket(_ request: Request, success: Bool) {
    guard success, request.operation == .read else { return check(Fault.unreadable) }
    let sectors = request.length / 2048
    let first = state.position
    state.position &+= UInt64(sectors)
    state.remaining -= sectors
    if state.rawSectors {
      expandRaw(first: first, count: sectors)
      state.filled = sectors * 2352
    } else {
      state.filled = request.length
    }
    deliver()
  }

  /// Turns sectors of 2048 bytes into mode 1 sectors with sync pattern and header (ECMA-130, clause 14), the last one
  /// first, because they grow. An image holds no EDC and ECC; these bytes are zero.
  private func expandRaw(first: UInt64, count: Int) {
    for index in stride(from: count - 1, through: 0, by: -1) {
      let target = buffer + index * 2352
      UnsafeMutableRawPointer(target + 16).copyMemory(from: buffer + index * 2048, byteCount: 2048)
      target[0] = 0
      for byte in 1...10 { target[byte] = 0xFF }
      target[11] = 0
      putBCDAddress(target + 12, first &+ UInt64(index))
      target[15] = 1
      (target + 2064).update(repeating: 0, count: 288)
    }
  }

  private func putBCDAddress(_ target: UnsafeMutablePointer<UInt8>, _ sector: UInt64) {
    let frames = sector &+ 150
    let parts = [frames / 75 / 60, frames / 75 % 60, frames % 75]
    for (index, part) in parts.enumerated() { target[index] = UInt8(truncatingIfNeeded: (part / 10) << 4 | part % 10) }
  }

  // MARK: The commands

  private func word(_ index: Int) -> Int { Int(buffer[index]) << 8 | Int(buffer[index + 1]) }
  private func long(_ index: Int) -> UInt64 { UInt64(word(index)) << 16 | UInt64(word(index + 2)) }
  private func putWord(_ index: Int, _ value: Int) {
    buffer[index] = UInt8(truncatingIfNeeded: value >> 8)
    buffer[index + 1] = UInt8(truncatingIfNeeded: value)
  }
  private func putLong(_ index: Int, _ value: UInt64) {
    putWord(index, Int(truncatingIfNeeded: value >> 16))
    putWord(index + 2, Int(truncatingIfNeeded: value & 0xFFFF))
  }

  mutating func executePacket() {
    state.phase = .idle
    state.rawSectors = false
    let opcode = buffer[0]
    // A unit attention comes before all but the commands that must not disturb it (MMC-4, 4.1.6).
    let ignoresAttention = opcode == 0x12 || opcode == 0x03 || opcode == 0x46 || opcode == 0x4A
    if state.unitAttention && !ignoresAttention && isReady {
      state.unitAttention = false
      return check(Fault.mediumChanged)
    }
    if Self.needsMedium.contains(opcode) && !isReady {
      return check(state.trayOpen ? Fault.trayOpen : Fault.noMedium)
    }
    switch opcode {
    case 0x00, 0x2B, 0x2F, 0xBB: finishPacket()  // TEST UNIT READY, SEEK, VERIFY, SET CD SPEED
    case 0x01, 0x35: finishPacket()  // REZERO, SYNCHRONIZE CACHE
    case 0x03: requestSense()
    case 0x12: inquiry()
    case 0x1A: modeSense(long: false)
    case 0x5A: modeSense(long: true)
    case 0x1B: startStop()
    case 0x1E:
      state.isLocked = buffer[4] & 1 != 0
      finishPacket()
    case 0x25: readCapacity()
    case 0x28: readSectors(long(2), count: word(7))
    case 0xA8: readSectors(long(2), count: Int(long(6)))
    case 0xBE: readCD(long(2), count: Int(buffer[6]) << 16 | word(7))
    case 0xB9: readCDByTime()
    case 0x43: readTOC()
    case 0x46: getConfiguration()
    case 0x4A: getEventStatus()
    case 0x51: readDiscInformation()
    case 0x52: readTrackInformation()
    case 0xBD: mechanismStatus()
    default: check(Fault.invalidOpcode)
    }
  }

  private static let needsMedium: Set<UInt8> = [0x00, 0x25, 0x28, 0xA8, 0xBE, 0xB9, 0x43, 0x51, 0x52, 0x2B, 0x2F]

  private mutating func requestSense() {
    let allocation = Int(buffer[4])
    var sense = state.sense
    if state.unitAttention && sense.key == 0 {
      state.unitAttention = false
      sense = Fault.mediumChanged
    }
    clearBuffer(18)
    buffer[0] = 0x70
    buffer[2] = sense.key
    buffer[7] = 10
    buffer[12] = sense.code
    buffer[13] = sense.qualifier
    state.sense = Sense()
    reply(18, allocation: allocation)
  }

  private mutating func inquiry() {
    let allocation = word(3)
    if buffer[1] & 1 != 0 { return check(Fault.invalidField) }  // no vital product data
    clearBuffer(36)
    buffer[0] = 5  // a CD/DVD device
    buffer[1] = 0x80  // removable
    buffer[3] = 0x21  // ATAPI, response format 1
    buffer[4] = 31
    put(8, 8, "VMCTL")
    put(16, 16, "DVD-ROM")
    put(32, 4, "1.0")
    reply(36, allocation: allocation)
  }

  private func put(_ index: Int, _ length: Int, _ text: String) {
    (buffer + index).update(repeating: 0x20, count: length)
    for (offset, byte) in text.utf8.prefix(length).enumerated() { buffer[index + offset] = byte }
  }

  private mutating func readCapacity() {
    putLong(0, discSectors &- 1)
    putLong(4, 2048)
    reply(8, allocation: 8)
  }

  private mutating func readSectors(_ sector: UInt64, count: Int) {
    guard sector <= discSectors, UInt64(count) <= discSectors - sector else { return check(Fault.outOfRange) }
    guard count > 0 else { return finishPacket() }
    state.position = sector
    state.remaining = count
    state.phase = .waiting
    askForChunk()
  }

  /// READ CD: the user data alone, or whole sectors (MMC-4, 6.20).
  private mutating func readCD(_ sector: UInt64, count: Int) {
    switch buffer[9] & 0xF8 {
    case 0x00: return finishPacket()
    case 0x10: break
    case 0xF8: state.rawSectors = true
    default: return check(Fault.invalidField)
    }
    readSectors(sector, count: count)
  }

  /// READ CD MSF: the same, addressed by minute, second and frame.
  private mutating func readCDByTime() {
    let first = (Int(buffer[3]) * 60 + Int(buffer[4])) * 75 + Int(buffer[5]) - 150
    let last = (Int(buffer[6]) * 60 + Int(buffer[7])) * 75 + Int(buffer[8]) - 150
    guard first >= 0, last >= first else { return check(Fault.outOfRange) }
    readCD(UInt64(first), count: last - first)
  }

  private mutating func startStop() {
    let operation = buffer[4] & 3
    if operation == 2 {
      guard !state.isLocked else { return check(Fault.removalPrevented) }
      if !state.trayOpen { state.mediaEvent = 3 }
      state.trayOpen = true
    } else if operation == 3 && state.trayOpen {
      state.trayOpen = false
      mediumArrived()
    }
    finishPacket()
  }

  /// The drive finds what lies in its closed tray.
  mutating func mediumArrived() {
    guard medium != nil else { return }
    state.unitAttention = true
    state.mediaEvent = 2
  }

  private mutating func getEventStatus() {
    let allocation = word(7)
    guard buffer[1] & 1 != 0 else { return check(Fault.invalidField) }  // no asynchronous reports
    let wantsMedia = buffer[4] & 0x10 != 0
    clearBuffer(8)
    buffer[3] = 0x10  // supported: media
    guard wantsMedia else {
      putWord(0, 2)
      buffer[2] = 0x80  // no event available
      return reply(4, allocation: allocation)
    }
    putWord(0, 6)
    buffer[2] = 4
    buffer[4] = state.mediaEvent
    buffer[5] = (state.trayOpen ? 1 : 0) | (isReady ? 2 : 0)
    if allocation > 4 { state.mediaEvent = 0 }
    reply(8, allocation: allocation)
  }

  private mutating func mechanismStatus() {
    let allocation = word(8)
    clearBuffer(8)
    if state.trayOpen { buffer[1] = 0x10 }
    reply(8, allocation: allocation)
  }

  private mutating func readDiscInformation() {
    let allocation = word(7)
    guard buffer[1] & 7 == 0 else { return check(Fault.invalidField) }
    clearBuffer(34)
    putWord(0, 32)
    buffer[2] = 0x0E  // a complete disc, last session complete
    for index in 3...6 { buffer[index] = 1 }
    buffer[7] = 0x20  // unrestricted use
    for index in 16...23 { buffer[index] = 0xFF }
    reply(34, allocation: allocation)
  }

  /// READ TRACK INFORMATION: of the one track, named by a sector, its number or its session (MMC-4, 6.31).
  private mutating func readTrackInformation() {
    let allocation = word(7)
    let place = long(2)
    switch buffer[1] & 3 {
    case 0 where place < discSectors, 1 where place == 1, 2 where place == 1: break
    default: return check(Fault.invalidField)
    }
    clearBuffer(36)
    putWord(0, 34)
    buffer[2] = 1  // track
    buffer[3] = 1  // session
    buffer[5] = 0x04  // a data track
    buffer[6] = 0x01  // mode 1
    putLong(24, discSectors)
    reply(36, allocation: allocation)
  }

  private func putTrackAddress(_ index: Int, _ sector: UInt64, time: Bool) {
    guard time else { return putLong(index, sector) }
    let frames = sector &+ 150
    buffer[index] = 0
    buffer[index + 1] = UInt8(truncatingIfNeeded: frames / 75 / 60)
    buffer[index + 2] = UInt8(truncatingIfNeeded: frames / 75 % 60)
    buffer[index + 3] = UInt8(truncatingIfNeeded: frames % 75)
  }

  /// READ TOC/PMA/ATIP: one data track, one session (MMC-4, 6.30).
  private mutating func readTOC() {
    let allocation = word(7)
    let time = buffer[1] & 2 != 0
    let first = buffer[6]
    // The format's old place is the control byte's upper two bits (SFF-8020i).
    let format = buffer[2] & 0xF != 0 ? buffer[2] & 0xF : buffer[9] >> 6
    var length = 4
    func putTrack(_ number: UInt8, _ sector: UInt64) {
      (buffer + length).update(repeating: 0, count: 8)
      buffer[length + 1] = 0x14  // a data track
      buffer[length + 2] = number
      putTrackAddress(length + 4, sector, time: time)
      length += 8
    }
    switch format {
    case 0:
      guard first <= 1 || first == 0xAA else { return check(Fault.invalidField) }
      clearBuffer(4)
      if first <= 1 { putTrack(1, 0) }
      putTrack(0xAA, discSectors)
    case 1:
      clearBuffer(4)
      putTrack(1, 0)
    case 2:
      // The lead-in's Q sub-channel, whose addresses are always minutes, seconds and frames: first and last track, the
      // start of the lead-out, and the track.
      guard first <= 1 else { return check(Fault.invalidField) }
      clearBuffer(4)
      for point: UInt8 in [0xA0, 0xA1, 0xA2, 1] {
        (buffer + length).update(repeating: 0, count: 11)
        buffer[length] = 1  // session
        buffer[length + 1] = 0x14
        buffer[length + 3] = point
        switch point {
        case 0xA0, 0xA1: buffer[length + 8] = 1  // the track; the disc type of A0 is 0: CD-ROM
        default: putTrackAddress(length + 7, point == 0xA2 ? discSectors : 0, time: true)
        }
        length += 11
      }
    default: return check(Fault.invalidField)
    }
    putWord(0, length - 2)
    buffer[2] = 1
    buffer[3] = 1
    reply(length, allocation: allocation)
  }

  /// GET CONFIGURATION: the features of a CD/DVD reader (MMC-4, 5.3).
  private mutating func getConfiguration() {
    let allocation = word(7)
    let selection = buffer[1] & 3
    let start = word(2)
    guard selection != 3 else { return check(Fault.invalidField) }
    let profile = !isReady ? 0 : isDVD ? 0x10 : 0x08
    let isCD = profile == 0x08
    // Bit 0 of the flags: current; bit 1: persistent; above: the feature's version.
    let features: [(code: Int, flags: UInt8, data: [UInt8])] = [
      (0x00, 0x03, [0, 0x10, profile == 0x10 ? 1 : 0, 0, 0, 0x08, isCD ? 1 : 0, 0]),
      (0x01, 0x07, [0, 0, 0, 2]),  // core: ATAPI
      (0x02, 0x07, [2, 0, 0, 0]),  // morphing: operational changes are not reported
      (0x03, 0x03, [0x29, 0, 0, 0]),  // removable: tray, eject, lock
      (0x10, isReady ? 1 : 0, [0, 0, 8, 0, 0, 0x10, 0, 0]),  // random readable, 2048 bytes
      (0x1E, isCD ? 1 : 0, [0, 0, 0, 0]),  // CD read
      (0x1F, profile == 0x10 ? 1 : 0, []),  // DVD read
    ]
    clearBuffer(8)
    var length = 8
    for feature in features {
      let isCurrent = feature.flags & 1 != 0
      switch selection {
      case 0: if feature.code < start { continue }
      case 1: if feature.code < start || !isCurrent { continue }
      default: if feature.code != start { continue }
      }
      putWord(length, feature.code)
      buffer[length + 2] = feature.flags
      buffer[length + 3] = UInt8(feature.data.count)
      for (index, byte) in feature.data.enumerated() { buffer[length + 4 + index] = byte }
      length += 4 + feature.data.count
    }
    putLong(0, UInt64(length - 4))
    putWord(6, profile)
    reply(length, allocation: allocation)
  }

  /// MODE SENSE(6) and (10): error recovery and capabilities (MMC-4, 7.2).
  private mutating func modeSense(long isLong: Bool) {
    let allocation = isLong ? word(7) : Int(buffer[4])
    let page = buffer[2] & 0x3F
    let control = buffer[2] >> 6
    guard control != 3 else { return check(Fault.savingUnsupported) }
    let changeable = control == 1
    let header = isLong ? 8 : 4
    clearBuffer(64)
    var length = header
    func putPage(_ code: UInt8, _ bytes: [UInt8]) {
      buffer[length] = code
      buffer[length + 1] = UInt8(bytes.count)
      for (index, byte) in bytes.enumerated() { buffer[length + 2 + index] = changeable ? 0 : byte }
      length += 2 + bytes.count
    }
    if page == 0x01 || page == 0x3F { putPage(0x01, [0, 5, 0, 0, 0, 0]) }
    if page == 0x2A || page == 0x3F {
      let lock: UInt8 = state.isLocked ? 0x02 : 0
      let speed: [UInt8] = [0x02, 0xC2]  // 706 kB/s: 4x
      let cache: [UInt8] = [0x02, 0x00]
      let reads: [UInt8] = [0x3B, 0x00, 0x70, 0x00]  // CD-R, CD-RW, DVD; mode 2 form 1 and 2, multisession
      putPage(0x2A, reads + [0x29 | lock, 0] + speed + [0, 2] + cache + speed + [0, 0, 0, 0, 0, 0])
    }
    guard length > header else { return check(Fault.invalidField) }
    // The medium type: a 120 mm data disc, no disc, or an open tray (SFF-8020i, table 64).
    let mediumType: UInt8 = state.trayOpen ? 0x71 : medium == nil ? 0x70 : 0x01
    if isLong {
      putWord(0, length - 2)
      buffer[2] = mediumType
    } else {
      buffer[0] = UInt8(length - 1)
      buffer[1] = mediumType
    }
    reply(length, allocation: allocation)
  }
}
