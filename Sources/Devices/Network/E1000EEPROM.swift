/// The card's EEPROM: 64 words behind a Microwire bus that software drives bit by bit (EECD), or that the controller reads by
/// itself (EERD). Intel's manual, 5 (contents) and 13.4.3, 13.4.4; the commands are the 93C46's.
struct E1000EEPROM: Codable, Equatable, Sendable {
  static let wordCount = 64
  /// EECD's bits.
  private static let clock: UInt32 = 1, select: UInt32 = 2, dataIn: UInt32 = 4, dataOut: UInt32 = 8
  private static let request: UInt32 = 0x40, grant: UInt32 = 0x80, present: UInt32 = 0x100
  private static let writeEnableBits: UInt32 = 0x30

  private(set) var words: [UInt16]
  private var pins: UInt32 = 0x10
  private var output = true
  /// What has been shifted in since chip select rose, from the start bit on, and how many bits.
  private var shifted: UInt32 = 0
  private var bitCount = 0
  private var isWritable = false
  private var readWord: UInt32 = 0

  init(address: MACAddress, deviceID: UInt16) {
    var words = [UInt16](repeating: 0xFFFF, count: Self.wordCount)
    for index in 0..<3 {
      words[index] = UInt16(address.bytes[index * 2]) | UInt16(address.bytes[index * 2 + 1]) << 8
    }
    // Compatibility, version and the rest of the software's area; then initialization control 1 (a valid signature,
    // load the ids below), subsystem, device and vendor ids, initialization control 2. No wake-up, no management
    // controller.
    words[0x03] = 0x0D03
    words[0x05] = 0x0100
    words[0x08] = 0x0000
    words[0x09] = 0x0000
    words[0x0A] = 0x4403
    words[0x0B] = 0x001E
    words[0x0C] = 0x8086
    words[0x0D] = deviceID
    words[0x0E] = 0x8086
    words[0x0F] = 0x3040
    words[0x24] = 0x0000
    words[0x30] = 0x0000
    words[0x3F] = 0
    self.words = words
    // All 64 words add up to 0xBABA (5.6.35).
    self.words[0x3F] = 0xBABA &- words.dropLast().reduce(0) { $0 &+ $1 }
  }

  /// The first receive address, as the controller loads it after a reset; nil where a guest has made nonsense of it.
  var address: MACAddress? { MACAddress(words[0..<3].flatMap { [UInt8($0 & 0xFF), UInt8($0 >> 8)] }) }

  var isPlausible: Bool { words.count == Self.wordCount && (0...32).contains(bitCount) && pins & ~0x77 == 0 }

  /// The bus falls back; the words stay.
  mutating func reset() {
    pins = 0x10
    output = true
    shifted = 0
    bitCount = 0
    isWritable = false
    readWord = 0
  }

  // MARK: EERD

  var readRegister: UInt32 { readWord }

  /// START reads a word at once: DONE is there when software looks.
  mutating func writeReadRegister(_ value: UInt32) {
    guard value & 1 != 0 else {
      readWord = value & 0xFF00
      return
    }
    let index = Int(value >> 8 & 0xFF)
    let word = index < Self.wordCount ? words[index] : 0
    readWord = UInt32(word) << 16 | value & 0xFF00 | 0x10
  }

  // MARK: EECD

  /// An EEPROM is there; software that asks for the bus has it. 64 words: bit 9 is clear.
  var control: UInt32 {
    pins | Self.present | (output ? Self.dataOut : 0) | (pins & Self.request != 0 ? Self.grant : 0)
  }

  mutating func writeControl(_ value: UInt32) {
    let old = pins
    pins = value & (Self.clock | Self.select | Self.dataIn | Self.request | Self.writeEnableBits)
    guard pins & Self.select != 0 else {
      shifted = 0
      bitCount = 0
      output = true
      return
    }
    if pins & ~old & Self.clock != 0 { clockRose(pins & Self.dataIn != 0) }
  }

  /// A command is a start bit, two bits of operation and six of address; then sixteen of data, in or out.
  private mutating func clockRose(_ bit: Bool) {
    // Zeros before the start bit are passed over.
    if bitCount == 0 && !bit { return }
    guard bitCount < 32 else { return }
    shifted = shifted << 1 | (bit ? 1 : 0)
    bitCount += 1
    guard bitCount >= 9 else { return }
    let command = shifted >> UInt32(bitCount - 9)
    let (operation, address) = (command >> 6 & 3, Int(command & 0x3F))
    switch operation {
    case 2:
      // A zero comes first, then the word, its highest bit first; the next words follow for as long as the clock does.
      let position = (bitCount - 9) % 17
      if bitCount == 9 { output = false } else { output = words[address] >> UInt16(max(0, 16 - position)) & 1 != 0 }
      if bitCount == 25 { restart(at: address + 1) }
    case 1 where bitCount == 25: store(UInt16(truncatingIfNeeded: shifted), at: address)
    case 3 where bitCount == 9: store(0xFFFF, at: address)
    case 0 where bitCount == 9:
      // EWEN and EWDS: the highest bits of the address tell them apart.
      if address >> 4 == 3 { isWritable = true }
      if address >> 4 == 0 { isWritable = false }
    default: break
    }
  }

  /// A read goes on with the next word, without another zero before it.
  private mutating func restart(at address: Int) {
    shifted = 0x180 | UInt32(address & 0x3F)
    bitCount = 9
  }

  private mutating func store(_ word: UInt16, at address: Int) {
    if isWritable { words[address] = word }
    output = true  // ready
  }
}
