/// The commands of the 82077AA that move data (5.1), a sector at a time.
extension FloppyCore {
  struct Transfer: Codable, Equatable, Sendable {
    enum Operation: String, Codable, Sendable {
      case read, readDeleted, write, readTrack, verify, scanEqual, scanLow, scanHigh, format
    }

    var operation: Operation
    var unit: Int
    /// Which of the drive's heads: HDS.
    var head: UInt8
    /// C, H, R and N: what is looked for in address marks, and what the result tells.
    var cylinder: UInt8 = 0
    var headNumber: UInt8 = 0
    var sector: UInt8 = 1
    var sizeCode: UInt8 = 0
    /// EOT: behind this sector the track ends, whatever is there.
    var lastSector: UInt8 = 0
    var isMFM: Bool
    var isMultiTrack = false
    var skips = false
    var usesDMA: Bool
    /// Of a scan: to the next sector, 1 or 2.
    var stride: UInt8 = 1
    /// Sectors that are left: of a format, of READ TRACK, of a VERIFY that counts.
    var remaining = 0
    var isCounted = false
    /// READ TRACK: the sector by its place on the track.
    var place: UInt8 = 1
    /// What a format fills sectors with.
    var filler: UInt8 = 0
    /// What is to be moved: `cursor..<end` of the buffer.
    var cursor = 0
    var end = 0
    /// TC has come.
    var isOver = false
    /// Of a scan: all bytes of the sector were equal, or as wanted.
    var isEqual = true
    var isSatisfied = true
    /// Of the result.
    var didSeek = false
    var code: UInt8 = 0
    var st1: UInt8 = 0
    var st2: UInt8 = 0
    /// Something is not on stable storage yet.
    var hasWritten = false

    var isToHost: Bool { [.read, .readDeleted, .readTrack].contains(operation) }
    var isScan: Bool { [.scanEqual, .scanLow, .scanHigh].contains(operation) }
    var movesData: Bool { operation != .verify }

    func isPlausible(_ request: Request?) -> Bool {
      guard (0...1).contains(unit), head < 2, (0...256).contains(remaining) else { return false }
      guard (0...FloppyCore.sectorSize).contains(end), (0...end).contains(cursor) else { return false }
      if operation == .format && end > 4 { return false }
      // It goes on by one of the two.
      return request != nil || cursor < end
    }
  }

  /// 512 bytes, as N has it.
  static let sizeCode: UInt8 = 2

  static func operation(of command: UInt8) -> Transfer.Operation? {
    switch command & 0x1F {
    case 0x02: command & 0xA0 == 0 ? .readTrack : nil
    // An image has no deleted data: written as such they are ordinary.
    case 0x05, 0x09: command & 0x20 == 0 ? .write : nil
    case 0x06: .read
    case 0x0C: .readDeleted
    case 0x0D: command & 0xA0 == 0 ? .format : nil
    case 0x11: .scanEqual
    case 0x16: .verify
    case 0x19: .scanLow
    case 0x1D: .scanHigh
    default: nil
    }
  }

  // MARK: Beginning

  mutating func begin(_ operation: Transfer.Operation) {
    let bytes = state.bytes
    var transfer = Transfer(
      operation: operation, unit: Int(bytes[1] & 3), head: bytes[1] >> 2 & 1, isMFM: bytes[0] & 0x40 != 0,
      usesDMA: state.headLoad & 1 == 0)
    if operation == .format {
      (transfer.sizeCode, transfer.remaining, transfer.filler) = (bytes[2], Int(bytes[3]), bytes[5])
      state.lastSector = bytes[3]
    } else {
      (transfer.cylinder, transfer.headNumber, transfer.sector) = (bytes[2], bytes[3], bytes[4])
      (transfer.sizeCode, transfer.lastSector) = (bytes[5], bytes[6])
      transfer.isMultiTrack = bytes[0] & 0x80 != 0
      transfer.skips = bytes[0] & 0x20 != 0
      state.lastSector = bytes[6]
    }
    if operation == .readTrack { transfer.remaining = max(Int(bytes[6]), 1) }
    if operation == .verify, bytes[1] & 0x80 != 0 {
      transfer.isCounted = true
      transfer.remaining = bytes[8] == 0 ? 256 : Int(bytes[8])
    }
    if transfer.isScan { transfer.stride = bytes[8] == 2 ? 2 : 1 }
    state.transfer = transfer
    state.phase = .execution

    guard media.indices.contains(transfer.unit), let medium = media[transfer.unit] else {
      return end(ST0.abnormal, st1: ST1.missingMark)
    }
    if operation != .format { seekByItself(transfer.cylinder) }
    if operation == .write || operation == .format, medium.isReadOnly {
      return end(ST0.abnormal, st1: ST1.notWritable)
    }
    if operation == .format {
      guard track(transfer.unit, head: transfer.head, isMFM: transfer.isMFM) != nil else {
        return end(ST0.abnormal, st1: ST1.missingMark)
      }
      if transfer.remaining == 0 { return end() }
      return want(4)
    }
    beginSector()
  }

  /// An implied seek, where they are on (5.2.8).
  private mutating func seekByItself(_ cylinder: UInt8) {
    guard state.configuration & Configuration.impliedSeek != 0, let transfer = state.transfer,
      let medium = media[transfer.unit]
    else { return }
    if step(transfer.unit, to: UInt8(clamping: Int(cylinder) * medium.format.steps)) { state.transfer?.didSeek = true }
  }

  /// The track under a head; nil: no address mark can be read there.
  func track(_ unit: Int, head: UInt8, isMFM: Bool) -> (format: FloppyFormat, cylinder: Int)? {
    guard isMFM, media.indices.contains(unit), state.drives[unit] != nil, let format = media[unit]?.format else {
      return nil
    }
    let cylinder = Int(state.cylinders[unit]) / format.steps
    guard state.rate == format.rate, Int(head) < format.heads, cylinder < format.cylinders else { return nil }
    return (format, cylinder)
  }

  private enum Place {
    /// Bytes from the disk's beginning.
    case at(UInt64)
    case missing(st1: UInt8, st2: UInt8)
  }

  /// Where the sector is that the transfer looks for.
  private func find(_ transfer: Transfer) -> Place {
    guard let (format, cylinder) = track(transfer.unit, head: transfer.head, isMFM: transfer.isMFM) else {
      return .missing(st1: ST1.missingMark, st2: 0)
    }
    func offset(_ sector: UInt8) -> UInt64 {
      UInt64(((cylinder * format.heads + Int(transfer.head)) * format.sectors + Int(sector) - 1) * Self.sectorSize)
    }
    if transfer.operation == .readTrack {
      guard (1...format.sectors).contains(Int(transfer.place)) else { return .missing(st1: ST1.noData, st2: 0) }
      return .at(offset(transfer.place))
    }
    guard Int(transfer.cylinder) == cylinder else { return .missing(st1: ST1.noData, st2: ST2.wrongCylinder) }
    guard transfer.headNumber == transfer.head, transfer.sizeCode == Self.sizeCode,
      (1...format.sectors).contains(Int(transfer.sector))
    else { return .missing(st1: ST1.noData, st2: 0) }
    return .at(offset(transfer.sector))
  }

  /// Where the request's sector is; nil: it cannot be done.
  var requestOffset: UInt64? {
    guard let transfer = state.transfer, case .at(let offset) = find(transfer) else { return nil }
    return offset
  }

  private mutating func beginSector() {
    guard let transfer = state.transfer else { return }
    if case .missing(let st1, let st2) = find(transfer) { return end(ST0.abnormal, st1: st1, st2: st2) }
    // All sectors have ordinary marks; a command for the others that skips them finds none.
    if transfer.operation == .readDeleted && transfer.skips { return sectorDone() }
    if transfer.operation == .write { return want(Self.sectorSize) }
    setWindow(0)
    state.request = .read
  }

  /// So many bytes of the buffer are to be moved.
  private mutating func setWindow(_ count: Int) {
    state.transfer?.cursor = 0
    state.transfer?.end = count
  }

  /// The buffer is to be moved.
  private mutating func want(_ count: Int) {
    setWindow(count)
    state.transfer?.isEqual = true
    state.transfer?.isSatisfied = true
    if state.transfer?.usesDMA == false { raise() }
  }

  // MARK: Data

  /// There are bytes to be moved.
  var wantsData: Bool {
    guard let transfer = state.transfer, state.request == nil else { return false }
    return transfer.cursor < transfer.end
  }

  /// DREQ.
  var wantsDMA: Bool { state.output & 8 != 0 && state.transfer?.usesDMA == true && wantsData }

  /// To the host, by DMA.
  mutating func give(_ target: UnsafeMutableRawBufferPointer) -> Int {
    guard wantsDMA, let transfer = state.transfer, transfer.isToHost else { return 0 }
    let count = min(target.count, transfer.end - transfer.cursor)
    target.copyMemory(from: UnsafeRawBufferPointer(start: buffer + transfer.cursor, count: count))
    state.transfer?.cursor += count
    return count
  }

  /// From the host, by DMA.
  mutating func take(_ source: UnsafeRawBufferPointer) -> Int {
    guard wantsDMA, let transfer = state.transfer, !transfer.isToHost else { return 0 }
    let count = min(source.count, transfer.end - transfer.cursor)
    for index in 0..<count { take(source[index]) }
    return count
  }

  mutating func take(_ value: UInt8) {
    guard let transfer = state.transfer else { return }
    let own = buffer[transfer.cursor]
    // FF on either side stands for anything (5.1.7).
    if transfer.isScan, own != 0xFF, value != 0xFF, own != value {
      state.transfer?.isEqual = false
      if transfer.operation != (own < value ? .scanLow : .scanHigh) { state.transfer?.isSatisfied = false }
    }
    if !transfer.isScan { buffer[transfer.cursor] = value }
    state.transfer?.cursor += 1
  }

  /// TC.
  mutating func terminalCount() { state.transfer?.isOver = true }

  /// Bytes have been moved, by the CPU or by DMA.
  mutating func dataMoved() {
    guard let transfer = state.transfer, transfer.cursor == transfer.end || transfer.isOver else { return }
    switch transfer.operation {
    case .write:
      // What is left of a sector is zeros (5.1.3).
      for index in transfer.cursor..<Self.sectorSize { buffer[index] = 0 }
      state.transfer?.cursor = transfer.end
      state.request = .write
    case .format:
      guard transfer.cursor == transfer.end else { return end() }
      formatSector()
    default:
      state.transfer?.cursor = transfer.end
      sectorDone()
    }
  }

  /// An address mark's content has come.
  private mutating func formatSector() {
    let wanted = state.transfer?.sizeCode
    state.transfer?.cylinder = buffer[0]
    state.transfer?.headNumber = buffer[1]
    state.transfer?.sector = buffer[2]
    seekByItself(buffer[0])
    guard let transfer = state.transfer else { return }
    if wanted != buffer[3] { return end(ST0.abnormal, st1: ST1.noData) }
    if case .missing(let st1, let st2) = find(transfer) { return end(ST0.abnormal, st1: st1, st2: st2) }
    for index in 0..<Self.sectorSize { buffer[index] = transfer.filler }
    state.request = .write
  }

  /// The request has been carried out, or has failed on the host.
  mutating func complete(success: Bool) {
    guard let request = state.request, let transfer = state.transfer else { return }
    state.request = nil
    switch request {
    case .flush: success ? finish() : end(ST0.abnormal, st1: ST1.dataError)
    case .read where !success: end(ST0.abnormal, st1: ST1.dataError, st2: ST2.dataErrorInData)
    // More cannot be said of a write than that the sector is not to be found.
    case .write where !success: end(ST0.abnormal, st1: ST1.dataError)
    case .read: transfer.movesData ? want(Self.sectorSize) : sectorDone()
    case .write:
      state.transfer?.hasWritten = true
      sectorDone()
    }
  }

  // MARK: From sector to sector

  private mutating func sectorDone() {
    guard let transfer = state.transfer else { return }
    switch transfer.operation {
    case .format:
      state.transfer?.remaining = max(transfer.remaining - 1, 0)
      return transfer.remaining <= 1 || transfer.isOver ? end() : want(4)
    case .readTrack: return placeDone(transfer)
    case .readDeleted where !transfer.skips:
      // It had the other mark: told, and the end (table 5-4).
      return end(st2: ST2.controlMark)
    case .scanEqual, .scanLow, .scanHigh:
      if transfer.isEqual { return end(st2: ST2.scanEqual) }
      if transfer.isSatisfied && transfer.operation != .scanEqual { return end() }
    case .verify where transfer.isCounted:
      state.transfer?.remaining = max(transfer.remaining - 1, 0)
      if transfer.remaining <= 1 {
        nextID()
        return end()
      }
    default: break
    }
    let isEnd = transfer.sector == transfer.lastSector && !(transfer.isMultiTrack && transfer.head == 0)
    nextID()
    if transfer.isOver { return end(st2: transfer.isScan ? ST2.scanNotSatisfied : 0) }
    if isEnd {
      if transfer.isScan { return end(st2: ST2.scanNotSatisfied) }
      if transfer.operation == .verify && !transfer.isCounted { return end() }
      return end(ST0.abnormal, st1: ST1.endOfCylinder)
    }
    if transfer.sector == transfer.lastSector { state.transfer?.head = 1 }
    beginSector()
  }

  /// C, H and R of what follows (table 6-1).
  private mutating func nextID() {
    guard let transfer = state.transfer else { return }
    guard transfer.sector == transfer.lastSector else {
      state.transfer?.sector = transfer.sector &+ transfer.stride
      return
    }
    state.transfer?.sector = 1
    if transfer.isMultiTrack { state.transfer?.headNumber ^= 1 }
    if !transfer.isMultiTrack || transfer.head == 1 { state.transfer?.cylinder = transfer.cylinder &+ 1 }
  }

  /// READ TRACK goes on by place, and tells when an address mark was not the expected one (5.1.4).
  private mutating func placeDone(_ transfer: Transfer) {
    guard let (format, cylinder) = track(transfer.unit, head: transfer.head, isMFM: transfer.isMFM) else {
      return end(ST0.abnormal, st1: ST1.missingMark)
    }
    let isExpected =
      Int(transfer.cylinder) == cylinder && transfer.headNumber == transfer.head && transfer.sector == transfer.place
      && transfer.sizeCode == Self.sizeCode
    if !isExpected { state.transfer?.st1 |= ST1.noData }
    state.transfer?.remaining = max(transfer.remaining - 1, 0)
    state.transfer?.sector = transfer.sector &+ 1
    state.transfer?.place = UInt8(Int(transfer.place) % format.sectors + 1)
    if transfer.isOver { return end() }
    if transfer.remaining <= 1 { return end(ST0.abnormal, st1: ST1.endOfCylinder) }
    beginSector()
  }

  // MARK: The end

  /// What was written is on stable storage before the result tells of it: the controller has no flush.
  mutating func end(_ code: UInt8 = 0, st1: UInt8 = 0, st2: UInt8 = 0) {
    state.transfer?.code = code
    state.transfer?.st1 |= st1
    state.transfer?.st2 |= st2
    setWindow(0)
    if state.transfer?.hasWritten == true {
      state.transfer?.hasWritten = false
      state.request = .flush
    } else {
      finish()
    }
  }

  private mutating func finish() {
    guard let transfer = state.transfer else { return }
    let status = transfer.code | (transfer.didSeek ? ST0.seekEnd : 0) | transfer.head << 2 | UInt8(transfer.unit)
    respond(
      [
        status, transfer.st1, transfer.st2, transfer.cylinder, transfer.headNumber, transfer.sector,
        transfer.sizeCode,
      ], interrupt: true)
  }
}
