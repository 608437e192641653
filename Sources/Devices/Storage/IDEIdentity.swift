/// IDENTIFY DEVICE and IDENTIFY PACKET DEVICE data (ATA/ATAPI-6, 8.15 and 8.16).
extension IDEDriveCore {
  private func put(_ word: Int, _ value: Int) {
    buffer[word * 2] = UInt8(truncatingIfNeeded: value)
    buffer[word * 2 + 1] = UInt8(truncatingIfNeeded: value >> 8)
  }

  /// ASCII, padded with spaces, the first character in a word's high byte.
  private func put(_ word: Int, words: Int, text: String) {
    let bytes = Array(text.utf8.prefix(words * 2))
    for index in 0..<words * 2 {
      buffer[word * 2 + (index ^ 1)] = index < bytes.count ? bytes[index] : 0x20
    }
  }

  private var multiwordModes: Int {
    (0x20...0x22).contains(state.transferMode) ? 7 | 0x100 << Int(state.transferMode & 7) : 7
  }
  private var ultraModes: Int {
    (0x40...0x45).contains(state.transferMode) ? 0x3F | 0x100 << Int(state.transferMode & 7) : 0x3F
  }

  /// The geometry a disk of that size has by default: 16 heads of 63 sectors.
  private func defaultCylinders(_ sectors: UInt64) -> Int { Int(max(1, min(sectors / (16 * 63), 16_383))) }

  func writeDiskIdentity() {
    clearBuffer(512)
    let sectors = medium?.sectors ?? 0
    put(0, 0x0040)  // a fixed ATA device
    put(1, defaultCylinders(sectors))
    put(3, 16)
    put(6, 63)
    put(10, words: 10, text: serial)
    put(23, words: 4, text: "1.0")
    put(27, words: 20, text: model)
    put(47, 0x8000 | 128)
    put(48, 1)  // 32-bit access to the data register
    put(49, 0x0F00)  // IORDY, LBA, DMA
    put(50, 0x4000)
    put(51, 0x0200)
    put(53, 0x0007)
    let perCylinder = state.heads * state.sectorsPerTrack
    let cylinders = Int(min(sectors / UInt64(perCylinder), 65_535))
    let current = cylinders * perCylinder
    put(54, cylinders)
    put(55, state.heads)
    put(56, state.sectorsPerTrack)
    put(57, current)
    put(58, current >> 16)
    if state.multiple > 0 { put(59, 0x100 | state.multiple) }
    let short = Int(min(sectors, 0xFFF_FFFF))
    put(60, short)
    put(61, short >> 16)
    put(63, multiwordModes)
    put(64, 3)
    for word in 65...68 { put(word, 120) }
    put(80, 0x007E)  // ATA-1 to ATA-6
    put(82, 0x4021)  // NOP, write cache, SMART
    put(83, 0x7400)  // FLUSH CACHE (EXT), LBA48
    put(84, 0x4000)
    put(85, 0x4000 | (state.writeCache ? 0x20 : 0) | (state.smart ? 1 : 0))
    put(86, 0x3400)
    put(87, 0x4000)
    put(88, ultraModes)
    put(93, 0x6003)  // an 80-wire cable, device 0 passed diagnostics
    for index in 0..<4 { put(100 + index, Int(truncatingIfNeeded: sectors >> UInt64(16 * index))) }
    putIdentityChecksum()
  }

  func writePacketIdentity() {
    clearBuffer(512)
    put(0, 0x85C0)  // a removable CD-ROM drive, DRQ within 50 us, packets of 12 bytes
    put(10, words: 10, text: serial)
    put(23, words: 4, text: "1.0")
    put(27, words: 20, text: model)
    put(48, 1)
    put(49, 0x0B00)  // IORDY, LBA, DMA
    put(53, 0x0007)
    put(63, multiwordModes)
    put(64, 3)
    for word in 65...68 { put(word, 180) }
    put(71, 30)
    put(72, 30)
    put(80, 0x007E)
    put(82, 0x4210)  // NOP, DEVICE RESET, PACKET
    put(83, 0x4000)
    put(85, 0x4210)
    put(87, 0x4000)
    put(88, ultraModes)
    putIdentityChecksum()
  }

  /// Word 255: the integrity word (8.15.62).
  private func putIdentityChecksum() {
    buffer[510] = 0xA5
    var sum: UInt8 = 0
    for index in 0..<511 { sum = sum &+ buffer[index] }
    buffer[511] = 0 &- sum
  }
}
