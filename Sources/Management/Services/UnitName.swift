/// Names of systemd's units.
public enum UnitName {
  /// A text as a part of a unit's name, as systemd-escape(1) writes it: letters, digits, ":", "_" and "." stay (a "." not in
  /// front), "/" becomes "-", every other byte "\xHH".
  public static func escape(_ text: String) -> String {
    var result = ""
    for (index, byte) in text.utf8.enumerated() {
      let scalar = Unicode.Scalar(byte)
      let isPlain = byte < 128 && (scalar.properties.isAlphabetic || (48...57).contains(byte))
      if isPlain || scalar == ":" || scalar == "_" || (scalar == "." && index > 0) {
        result.unicodeScalars.append(scalar)
      } else if scalar == "/" {
        result += "-"
      } else {
        let digits = String(byte, radix: 16)
        result += "\\x" + (digits.count == 1 ? "0" : "") + digits
      }
    }
    return result
  }

  /// What `escape` has made of a text.
  public static func unescape(_ name: String) -> String {
    var bytes: [UInt8] = []
    var rest = Array(name.utf8)[...]
    while let byte = rest.popFirst() {
      if byte == UInt8(ascii: "-") {
        bytes.append(UInt8(ascii: "/"))
      } else if byte == UInt8(ascii: "\\"), rest.first == UInt8(ascii: "x"), rest.count >= 3,
        let value = UInt8(String(decoding: rest.dropFirst().prefix(2), as: UTF8.self), radix: 16)
      {
        bytes.append(value)
        rest = rest.dropFirst(3)
      } else {
        bytes.append(byte)
      }
    }
    return String(decoding: bytes, as: UTF8.self)
  }

  /// The unit of a machine's alert.
  static func alert(_ name: String) -> String { "vmctl-alert@\(escape(name)).service" }

  /// The unit of a machine.
  public static func machine(_ name: String) -> String { "vmctl@\(escape(name)).service" }
}
