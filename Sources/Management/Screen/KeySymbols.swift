import Devices

/// Keys by what they mean (X11's keysyms, which VNC sends) as keys of a US keyboard.
///
/// Viewers say which character is wanted and which modifiers are down, by their own layout. Where a character needs Shift on a
/// US keyboard and has it not on the viewer's, or the other way round, Shift is pressed or let go while the key is pressed.
public struct KeySymbols {
  /// What each symbol that is down was pressed as.
  private var down: [UInt32: [UInt8]] = [:]
  private var shifts: Set<UInt8> = []
  private var isCapsLocked = false

  /// Nothing is down.
  public init() {}

  /// - Parameter symbol: a keysym (X11's keysymdef.h).
  /// - Returns: bytes of scan code set 1; none where a US keyboard has no such key.
  public mutating func event(_ symbol: UInt32, isDown: Bool) -> [UInt8] {
    isDown ? press(symbol) : release(symbol)
  }

  private mutating func press(_ symbol: UInt32) -> [UInt8] {
    if symbol == Self.pause { return [0xE1, 0x1D, 0x45, 0xE1, 0x9D, 0xC5] }
    if let key = Self.keys[symbol] {
      if symbol == Self.capsLock, down[symbol] == nil { isCapsLocked.toggle() }
      down[symbol] = key
      if Self.shifts.contains(symbol), let code = key.last { shifts.insert(code) }
      return key
    }
    guard let (code, needsShift) = character(symbol) else { return [] }
    down[symbol] = [code]
    if needsShift && shifts.isEmpty { return [0x2A, code, 0xAA] }
    if !needsShift && !shifts.isEmpty {
      let held = shifts.sorted()
      return held.map { $0 | 0x80 } + [code] + held
    }
    return [code]
  }

  private mutating func release(_ symbol: UInt32) -> [UInt8] {
    if let key = down.removeValue(forKey: symbol) {
      if Self.shifts.contains(symbol), let code = key.last { shifts.remove(code) }
      return down.values.contains(key) ? [] : Self.released(key)
    }
    // The key that went down as another character, before a modifier changed; which one is not known.
    guard character(symbol) != nil else { return [] }
    let characters = down.filter { Self.keys[$0.key] == nil }
    for other in characters.keys { down[other] = nil }
    return Set(characters.values).sorted { $0.lexicographicallyPrecedes($1) }.flatMap(Self.released)
  }

  private static func released(_ key: [UInt8]) -> [UInt8] { key.dropLast() + [(key.last ?? 0) | 0x80] }

  /// The key of a character of ASCII, and whether it needs Shift. With Caps Lock on, letters need it the other way round.
  private func character(_ symbol: UInt32) -> (code: UInt8, needsShift: Bool)? {
    guard (0x20...0x7E).contains(symbol), let scalar = Unicode.Scalar(symbol),
      let codes = ScanCodes.type(Character(scalar))
    else { return nil }
    let isShifted = codes.count == 4
    let isLetter = scalar.properties.isAlphabetic
    return (isShifted ? codes[1] : codes[0], isShifted != (isLetter && isCapsLocked))
  }

  private static let pause: UInt32 = 0xFF13
  private static let capsLock: UInt32 = 0xFFE5
  private static let shifts: Set<UInt32> = [0xFFE1, 0xFFE2]

  /// Keys that are no characters. AltGr (ISO_Level3_Shift) is none of them: it has made its character on the viewer's side.
  private static let keys: [UInt32: [UInt8]] = {
    var table: [UInt32: [UInt8]] = [
      // BackSpace, Tab (also with Shift), Return, Escape
      0xFF08: [0x0E], 0xFF09: [0x0F], 0xFE20: [0x0F], 0xFF0D: [0x1C], 0xFF1B: [0x01],
      // Scroll Lock, SysRq, Print, Num Lock
      0xFF14: [0x46], 0xFF15: [0x54], 0xFF61: [0xE0, 0x37], 0xFF7F: [0x45],
      // Home, the arrows, Page Up, Page Down, End, Insert, Delete, Menu
      0xFF50: [0xE0, 0x47], 0xFF51: [0xE0, 0x4B], 0xFF52: [0xE0, 0x48], 0xFF53: [0xE0, 0x4D], 0xFF54: [0xE0, 0x50],
      0xFF55: [0xE0, 0x49], 0xFF56: [0xE0, 0x51], 0xFF57: [0xE0, 0x4F], 0xFF63: [0xE0, 0x52], 0xFFFF: [0xE0, 0x53],
      0xFF67: [0xE0, 0x5D],
      // Shift, Control, Caps Lock, Alt, Meta, Super
      0xFFE1: [0x2A], 0xFFE2: [0x36], 0xFFE3: [0x1D], 0xFFE4: [0xE0, 0x1D], 0xFFE5: [0x3A], 0xFFE9: [0x38],
      0xFFEA: [0xE0, 0x38], 0xFFE7: [0x38], 0xFFE8: [0xE0, 0x38], 0xFFEB: [0xE0, 0x5B], 0xFFEC: [0xE0, 0x5C],
      // The keypad's Enter and operators
      0xFF8D: [0xE0, 0x1C], 0xFFAA: [0x37], 0xFFAB: [0x4E], 0xFFAD: [0x4A], 0xFFAE: [0x53], 0xFFAF: [0xE0, 0x35],
    ]
    // The keypad's digits, and what they are without Num Lock: Home to Begin, then Insert and Delete.
    let digits: [UInt8] = [0x52, 0x4F, 0x50, 0x51, 0x4B, 0x4C, 0x4D, 0x47, 0x48, 0x49]
    for (digit, code) in digits.enumerated() { table[0xFFB0 + UInt32(digit)] = [code] }
    let moves: [UInt8] = [0x47, 0x4B, 0x48, 0x4D, 0x50, 0x49, 0x51, 0x4F, 0x4C, 0x52, 0x53]
    for (index, code) in moves.enumerated() { table[0xFF95 + UInt32(index)] = [code] }
    for function in 0..<10 { table[0xFFBE + UInt32(function)] = [0x3B + UInt8(function)] }
    table[0xFFC8] = [0x57]
    table[0xFFC9] = [0x58]
    return table
  }()
}
