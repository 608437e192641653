/// The characters of the PC's character generator, as Unicode has them (IBM code page 437, with the graphic characters
/// in the control positions).
enum CodePage437 {
  private static let control: [Character] = Array(" ☺☻♥♦♣♠•◘○◙♂♀♪♫☼►◄↕‼¶§▬↨↑↓→←∟↔▲▼")
  private static let upper: [Character] = Array(
    "ÇüéâäàåçêëèïîìÄÅÉæÆôöòûùÿÖÜ¢£¥₧ƒáíóúñÑªº¿⌐¬½¼¡«»░▒▓│┤╡╢╖╕╣║╗╝╜╛┐└┴┬├─┼╞╟╚╔╩╦╠═╬╧╨╤╥╙╘╒╓╫╪┘┌█▄▌▐▀"
      + "αßΓπΣσµτΦΘΩδ∞φε∩≡±≥≤⌠⌡÷≈°∙·√ⁿ²■ ")

  static func character(_ code: UInt8) -> Character {
    switch code {
    case 0..<0x20: control[Int(code)]
    case 0x20..<0x7F: Character(UnicodeScalar(code))
    case 0x7F: "⌂"
    default: upper[Int(code) - 0x80]
    }
  }
}
