import Testing

@testable import Management

@Suite struct KeySymbolTests {
  private var keys = KeySymbols()
  private static let (shift, capsLock): (UInt32, UInt32) = (0xFFE1, 0xFFE5)

  private mutating func press(_ symbol: UInt32) -> [UInt8] { keys.event(symbol, isDown: true) }
  private mutating func release(_ symbol: UInt32) -> [UInt8] { keys.event(symbol, isDown: false) }
  private mutating func press(_ character: Character) -> [UInt8] { press(character.unicodeScalars.first?.value ?? 0) }
  private mutating func release(_ character: Character) -> [UInt8] {
    release(character.unicodeScalars.first?.value ?? 0)
  }

  /// Codes as the IBM PS/2 Hardware Interface Technical Reference has them, symbols as X11's keysymdef.h.
  @Test(
    arguments: [
      (0x61, [0x1E]), (0x31, [0x02]), (0x20, [0x39]), (0x2F, [0x35]), (0x5C, [0x2B]), (0x60, [0x29]), (0xFF0D, [0x1C]),
      (0xFF1B, [0x01]), (0xFF09, [0x0F]), (0xFF08, [0x0E]), (0xFFBE, [0x3B]), (0xFFC7, [0x44]), (0xFFC8, [0x57]),
      (0xFFC9, [0x58]), (0xFF52, [0xE0, 0x48]), (0xFF54, [0xE0, 0x50]), (0xFF51, [0xE0, 0x4B]), (0xFF53, [0xE0, 0x4D]),
      (0xFF50, [0xE0, 0x47]), (0xFF57, [0xE0, 0x4F]), (0xFF55, [0xE0, 0x49]), (0xFF56, [0xE0, 0x51]),
      (0xFF63, [0xE0, 0x52]), (0xFFFF, [0xE0, 0x53]), (0xFFE3, [0x1D]), (0xFFE4, [0xE0, 0x1D]), (0xFFE9, [0x38]),
      (0xFFEA, [0xE0, 0x38]), (0xFFEB, [0xE0, 0x5B]), (0xFF67, [0xE0, 0x5D]), (0xFF8D, [0xE0, 0x1C]),
      (0xFFB0, [0x52]), (0xFFB5, [0x4C]), (0xFFB9, [0x49]), (0xFF95, [0x47]), (0xFF97, [0x48]), (0xFF9D, [0x4C]),
      (0xFF9E, [0x52]), (0xFF9F, [0x53]), (0xFFAF, [0xE0, 0x35]),
    ] as [(UInt32, [UInt8])])
  func aSymbolIsItsKey(_ symbol: UInt32, _ codes: [UInt8]) {
    var keys = KeySymbols()
    let (down, up) = (keys.event(symbol, isDown: true), keys.event(symbol, isDown: false))
    #expect(down == codes)
    #expect(up == codes.dropLast() + [(codes.last ?? 0) | 0x80])
  }

  @Test mutating func theViewersShiftIsTheGuests() {
    var told = press(Self.shift) + press("A") + release("A") + release(Self.shift)
    #expect(told == [0x2A, 0x1E, 0x9E, 0xAA])
    // A German keyboard has the quotation mark on Shift 2, and the slash on Shift 7.
    told = press(Self.shift) + press("\"") + release("\"")
    #expect(told == [0x2A, 0x28, 0xA8])
    told = press("/") + release("/") + release(Self.shift)
    #expect(told == [0xAA, 0x35, 0x2A, 0xB5, 0xAA])
  }

  @Test mutating func aCharacterWithoutShiftGetsIt() {
    let told = press("A") + release("A") + press("@") + release("@")
    #expect(told == [0x2A, 0x1E, 0xAA, 0x9E, 0x2A, 0x03, 0xAA, 0x83])
  }

  @Test mutating func capsLockTurnsLettersAround() {
    var told = press(Self.capsLock) + release(Self.capsLock)
    #expect(told == [0x3A, 0xBA])
    told = press("A") + release("A") + press("!") + release("!")
    #expect(told == [0x1E, 0x9E, 0x2A, 0x02, 0xAA, 0x82])
    // Held down it is one turn.
    told = press(Self.capsLock) + press(Self.capsLock) + release(Self.capsLock) + press("a")
    #expect(told == [0x3A, 0x3A, 0xBA, 0x1E])
  }

  @Test mutating func aKeyIsLetGoWhateverItIsCalledThen() {
    // Shift goes up first: the viewer then says that "2" is let go, which never went down.
    let told = press(Self.shift) + press("\"") + release(Self.shift) + release("2")
    #expect(told == [0x2A, 0x28, 0xAA, 0xA8])
    let nothing = release("x") + release(0xFF0D)
    #expect(nothing.isEmpty)
  }

  @Test mutating func repeatedPressesAreRepeated() {
    let told = press("a") + press("a") + release("a")
    #expect(told == [0x1E, 0x1E, 0x9E])
  }

  @Test mutating func whatNoKeyHasIsLeftOut() {
    let told = press(0xE4) + release(0xE4) + press(0x0100_20AC) + press(0xFE03) + release(0xFE03) + press(0)
    #expect(told.isEmpty)
    let pause = press(0xFF13) + release(0xFF13)
    #expect(pause == [0xE1, 0x1D, 0x45, 0xE1, 0x9D, 0xC5])
  }
}
