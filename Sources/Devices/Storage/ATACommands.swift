/// The commands of a hard disk (ATA/ATAPI-6, clause 8), and the dispatch of both kinds of drives.
extension IDEDriveCore {
  /// A write to the command register.
  mutating func execute(_ command: UInt8) {
    state.interrupt = false
    state.isPacket = false
    state.error = 0
    if kind == .cdrom { executePacketDevice(command) } else { executeDisk(command) }
  }

  private mutating func executeDisk(_ command: UInt8) {
    switch command {
    case 0x10...0x1F, 0x70...0x7F: finish()  // RECALIBRATE, SEEK
    case 0x20, 0x21: startRead(extended: false, block: 1)
    case 0x24: startRead(extended: true, block: 1)
    case 0xC4: startRead(extended: false, block: state.multiple)
    case 0x29: startRead(extended: true, block: state.multiple)
    case 0x30, 0x31, 0x3C: startWrite(extended: false, block: 1)
    case 0x34: startWrite(extended: true, block: 1)
    case 0xC5: startWrite(extended: false, block: state.multiple)
    case 0x39, 0xCE: startWrite(extended: true, block: state.multiple)
    case 0xC8, 0xC9: startDMA(extended: false, write: false)
    case 0x25: startDMA(extended: true, write: false)
    case 0xCA, 0xCB: startDMA(extended: false, write: true)
    case 0x35, 0x3D: startDMA(extended: true, write: true)
    case 0x40, 0x41: verify(extended: false)
    case 0x42: verify(extended: true)
    case 0xE7, 0xEA: flush()
    case 0xEC:
      writeDiskIdentity()
      offer(512)
    case 0xEF: setFeatures()
    case 0xC6: setMultiple()
    case 0x91: initializeParameters()
    case 0xF8: readNativeMax(extended: false)
    case 0x27: readNativeMax(extended: true)
    case 0xB0: smart()
    case 0x94, 0x96, 0xE0, 0xE2, 0x99, 0xE6: enterStandby()
    case 0x95, 0x97, 0xE1, 0xE3: leaveStandby()
    case 0x98, 0xE5:
      state.registers.count = state.isStandby ? 0x00 : 0xFF
      finish()
    default: abort()  // NOP (0x00) too: it always aborts (8.19)
    }
  }

  // MARK: Addresses

  /// Where the task file points, or nil for a CHS address with sector 0 or beyond the geometry (6.2).
  private func sectorAddress(extended: Bool) -> UInt64? {
    let registers = state.registers
    let low = UInt64(registers.low)
    let mid = UInt64(registers.mid)
    let high = UInt64(registers.high)
    if extended {
      let upper = UInt64(registers.lowPrevious) << 24 | UInt64(registers.midPrevious) << 32
      return low | mid << 8 | high << 16 | upper | UInt64(registers.highPrevious) << 40
    }
    if registers.device & 0x40 != 0 {
      return low | mid << 8 | high << 16 | UInt64(registers.device & 0xF) << 24
    }
    let head = UInt64(registers.device & 0xF)
    guard low >= 1, low <= UInt64(state.sectorsPerTrack), head < UInt64(state.heads) else { return nil }
    let cylinder = mid | high << 8
    return (cylinder * UInt64(state.heads) + head) * UInt64(state.sectorsPerTrack) + low - 1
  }

  /// Puts a sector's number into the task file, in the form of the running command.
  mutating func putSector(_ sector: UInt64) {
    if state.isExtended {
      state.registers.lowPrevious = UInt8(truncatingIfNeeded: sector >> 24)
      state.registers.midPrevious = UInt8(truncatingIfNeeded: sector >> 32)
      state.registers.highPrevious = UInt8(truncatingIfNeeded: sector >> 40)
    } else if state.registers.device & 0x40 != 0 {
      state.registers.device = state.registers.device & 0xF0 | UInt8(sector >> 24 & 0xF)
    } else {
      let track = sector / UInt64(state.sectorsPerTrack)
      let cylinder = track / UInt64(state.heads)
      state.registers.low = UInt8(truncatingIfNeeded: sector % UInt64(state.sectorsPerTrack) + 1)
      state.registers.device = state.registers.device & 0xF0 | UInt8(track % UInt64(state.heads))
      state.registers.mid = UInt8(truncatingIfNeeded: cylinder)
      state.registers.high = UInt8(truncatingIfNeeded: cylinder >> 8)
      return
    }
    state.registers.low = UInt8(truncatingIfNeeded: sector)
    state.registers.mid = UInt8(truncatingIfNeeded: sector >> 8)
    state.registers.high = UInt8(truncatingIfNeeded: sector >> 16)
  }

  /// Reads address and count of a command, and checks them against the medium.
  private mutating func locate(extended: Bool) -> Bool {
    state.isExtended = extended
    let registers = state.registers
    let count: Int
    if extended {
      let wide = Int(registers.countPrevious) << 8 | Int(registers.count)
      count = wide == 0 ? 65_536 : wide
    } else {
      count = registers.count == 0 ? 256 : Int(registers.count)
    }
    let total = medium?.sectors ?? 0
    guard let sector = sectorAddress(extended: extended), sector < total, UInt64(count) <= total - sector else {
      fail(ErrorBit.idNotFound)
      return false
    }
    state.isStandby = false
    state.position = sector
    state.remaining = count
    return true
  }

  // MARK: Data

  private mutating func startRead(extended: Bool, block: Int) {
    guard block > 0 else { return abort() }
    guard locate(extended: extended) else { return }
    state.blockSectors = block
    askForChunk()
  }

  private mutating func startWrite(extended: Bool, block: Int) {
    guard block > 0, medium?.isReadOnly == false else { return abort() }
    guard locate(extended: extended) else { return }
    state.blockSectors = block
    state.phase = .dataOut
    wantBlock(interrupt: false)
  }

  private mutating func startDMA(extended: Bool, write: Bool) {
    if write && medium?.isReadOnly != false { return abort() }
    guard locate(extended: extended) else { return }
    state.phase = write ? .dmaOut : .dmaIn
    if write { wantBlock(interrupt: false) } else { askForChunk() }
  }

  private mutating func verify(extended: Bool) {
    guard locate(extended: extended) else { return }
    finish()
  }

  private mutating func flush() {
    state.phase = .waiting
    ask(.flush, sector: 0, sectorSize: 0, count: 0)
  }

  // MARK: Settings

  mutating func setFeatures() {
    switch state.registers.feature {
    case 0x02: state.writeCache = true
    case 0x82: state.writeCache = false
    case 0x03:
      let mode = state.registers.count
      let isKnown =
        mode <= 1 || (0x08...0x0C).contains(mode) || (0x20...0x22).contains(mode) || (0x40...0x45).contains(mode)
      guard isKnown else { return abort() }
      if mode >= 0x20 { state.transferMode = mode }
    case 0x05, 0x85, 0x55, 0xAA, 0x66, 0xCC, 0x42, 0xC2: break
    default: return abort()
    }
    finish()
  }

  private mutating func setMultiple() {
    let count = Int(state.registers.count)
    guard count <= 128, count == 0 || count.nonzeroBitCount == 1 else { return abort() }
    state.multiple = count
    finish()
  }

  private mutating func initializeParameters() {
    guard state.registers.count > 0 else { return abort() }
    state.heads = Int(state.registers.device & 0xF) + 1
    state.sectorsPerTrack = Int(state.registers.count)
    finish()
  }

  private mutating func readNativeMax(extended: Bool) {
    guard let medium, extended || state.registers.device & 0x40 != 0 else { return abort() }
    state.isExtended = extended
    let last = medium.sectors - 1
    putSector(extended ? last : min(last, 0xFFF_FFFF))
    finish()
  }

  mutating func enterStandby() {
    state.isStandby = true
    finish()
  }

  mutating func leaveStandby() {
    state.isStandby = false
    finish()
  }

  // MARK: SMART

  /// SMART as far as asking for it is answered: a healthy drive without attributes (8.55).
  private mutating func smart() {
    guard state.registers.mid == 0x4F, state.registers.high == 0xC2 else { return abort() }
    if state.registers.feature != 0xD8 && !state.smart { return abort() }
    switch state.registers.feature {
    case 0xD0:  // READ DATA
      clearBuffer(512)
      buffer[0] = 0x10
      buffer[362] = 0x02  // off-line data collection: never started, nothing supported
      buffer[368] = 0x03  // saves before and after power modes
      buffer[370] = 0x00
      putChecksum()
      offer(512)
    case 0xD1:  // READ THRESHOLDS
      clearBuffer(512)
      buffer[0] = 0x10
      putChecksum()
      offer(512)
    case 0xD2, 0xD3, 0xDB: finish()
    case 0xD8:
      state.smart = true
      finish()
    case 0xD9:
      state.smart = false
      finish()
    case 0xDA: finish()  // the signature left as it is means healthy
    default: abort()
    }
  }

  func clearBuffer(_ count: Int) { buffer.update(repeating: 0, count: count) }

  private func putChecksum() {
    var sum: UInt8 = 0
    for index in 0..<511 { sum = sum &+ buffer[index] }
    buffer[511] = 0 &- sum
  }
}
