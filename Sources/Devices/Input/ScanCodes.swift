/// Scan code sets and characters of a US keyboard.
///
/// Source: IBM PS/2 Hardware Interface Technical Reference, "Keyboard (101/102-key)"; 8042 translation table, ibid.
public enum ScanCodes {
  /// Set 1 codes of the keys without prefix, and their set 2 codes: the 8042's translation, read backwards.
  static let set2OfSet1: [UInt8] = {
    var table = [UInt8](repeating: 0, count: 128)
    for (code, translated) in set1OfSet2.enumerated() where translated != 0 && translated < 0x80 {
      if table[Int(translated)] == 0 { table[Int(translated)] = UInt8(code) }
    }
    // Two codes beyond the table: F7, and SysRq, which is Print Screen with Alt.
    table[0x41] = 0x83
    table[0x54] = 0x84
    return table
  }()

  /// The 8042's translation of set 2 to set 1, for codes below 0x80. 0x83 (F7) and 0x84 (SysRq) are apart.
  static let set1OfSet2: [UInt8] = [
    0xFF, 0x43, 0x41, 0x3F, 0x3D, 0x3B, 0x3C, 0x58, 0x64, 0x44, 0x42, 0x40, 0x3E, 0x0F, 0x29, 0x59,
    0x65, 0x38, 0x2A, 0x70, 0x1D, 0x10, 0x02, 0x5A, 0x66, 0x71, 0x2C, 0x1F, 0x1E, 0x11, 0x03, 0x5B,
    0x67, 0x2E, 0x2D, 0x20, 0x12, 0x05, 0x04, 0x5C, 0x68, 0x39, 0x2F, 0x21, 0x14, 0x13, 0x06, 0x5D,
    0x69, 0x31, 0x30, 0x23, 0x22, 0x15, 0x07, 0x5E, 0x6A, 0x72, 0x32, 0x24, 0x16, 0x08, 0x09, 0x5F,
    0x6B, 0x33, 0x25, 0x17, 0x18, 0x0B, 0x0A, 0x60, 0x6C, 0x34, 0x35, 0x26, 0x27, 0x19, 0x0C, 0x61,
    0x6D, 0x73, 0x28, 0x74, 0x1A, 0x0D, 0x62, 0x6E, 0x3A, 0x36, 0x1C, 0x1B, 0x75, 0x2B, 0x63, 0x76,
    0x55, 0x56, 0x77, 0x78, 0x79, 0x7A, 0x0E, 0x7B, 0x7C, 0x4F, 0x7D, 0x4B, 0x47, 0x7E, 0x7F, 0x6F,
    0x52, 0x53, 0x50, 0x4C, 0x4D, 0x48, 0x01, 0x45, 0x57, 0x4E, 0x51, 0x4A, 0x37, 0x49, 0x46, 0x54,
  ]

  /// One byte through the 8042's translation; `isBreak` says that 0xF0 came before.
  static func translate(_ code: UInt8, isBreak: Bool) -> UInt8 {
    let translated: UInt8
    switch code {
    case 0x83: translated = 0x41
    case 0x84: translated = 0x54
    case 0..<0x80: translated = set1OfSet2[Int(code)]
    default: return code
    }
    return isBreak ? translated | 0x80 : translated
  }

  /// The set 1 bytes that type `character` on a US keyboard (press and release), or nil where it has no key.
  public static func type(_ character: Character) -> [UInt8]? {
    guard let scalar = character.unicodeScalars.first, scalar.isASCII else { return nil }
    if let key = plain[character] { return [key, key | 0x80] }
    if let key = shifted[character] { return [0x2A, key, key | 0x80, 0xAA] }
    // Control characters: Ctrl and the letter.
    if scalar.value >= 1 && scalar.value <= 26, let letter = Unicode.Scalar(scalar.value + 0x60),
      let key = plain[Character(letter)]
    {
      return [0x1D, key, key | 0x80, 0x9D]
    }
    return nil
  }

  private static let rows: [(UInt8, String, String)] = [
    (0x02, "1234567890-=", "!@#$%^&*()_+"),
    (0x10, "qwertyuiop[]", "QWERTYUIOP{}"),
    (0x1E, "asdfghjkl;'`", "ASDFGHJKL:\"~"),
    (0x2B, "\\zxcvbnm,./", "|ZXCVBNM<>?"),
  ]

  private static let plain: [Character: UInt8] = {
    var table: [Character: UInt8] = [" ": 0x39, "\t": 0x0F, "\n": 0x1C, "\r": 0x1C, "\r\n": 0x1C]
    table["\u{1B}"] = 0x01
    table["\u{08}"] = 0x0E
    table["\u{7F}"] = 0x0E
    for (first, characters, _) in rows {
      for (index, character) in characters.enumerated() { table[character] = first + UInt8(index) }
    }
    return table
  }()

  private static let shifted: [Character: UInt8] = {
    var table: [Character: UInt8] = [:]
    for (first, _, characters) in rows {
      for (index, character) in characters.enumerated() { table[character] = first + UInt8(index) }
    }
    return table
  }()
}
