/// An Ethernet address (IEEE 802-2014, 8).
public struct MACAddress: Hashable, Sendable, CustomStringConvertible {
  /// Six, in the order in which they are sent.
  public let bytes: [UInt8]

  /// Every station's.
  public static let broadcast = MACAddress(trusted: [UInt8](repeating: 0xFF, count: 6))

  /// nil unless there are six bytes.
  public init?(_ bytes: some Collection<UInt8>) {
    guard bytes.count == 6 else { return nil }
    self.bytes = Array(bytes)
  }

  private init(trusted bytes: [UInt8]) { self.bytes = bytes }

  /// From text: twelve hexadecimal digits, with ":" or "-" between the pairs or nothing.
  public init?(_ text: String) {
    let separators = text.filter { $0 == ":" || $0 == "-" }
    let digits = text.filter { $0 != ":" && $0 != "-" }
    guard digits.count == 12, digits.allSatisfy({ $0.isASCII && $0.isHexDigit }) else { return nil }
    guard separators.isEmpty || (separators.count == 5 && text.count == 17) else { return nil }
    guard let number = UInt64(digits, radix: 16) else { return nil }
    bytes = (0..<6).map { UInt8(truncatingIfNeeded: number >> UInt64(40 - 8 * $0)) }
  }

  /// A group's address: no station has it.
  public var isMulticast: Bool { bytes[0] & 1 != 0 }

  public var description: String {
    bytes.map { ($0 < 16 ? "0" : "") + String($0, radix: 16) }.joined(separator: ":")
  }
}
