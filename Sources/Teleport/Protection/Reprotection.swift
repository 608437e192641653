/// A port of a host, as users write it: "HOST[:PORT]", an IPv6 address in brackets or, without a port, alone.
public struct HostPlace: Codable, Equatable, Sendable {
  /// A name or an address, without brackets.
  public var host: String
  /// 1 to 65535.
  public var port: Int

  /// A place by its parts, which need not be possible.
  public init(host: String, port: Int) {
    (self.host, self.port) = (host, port)
  }

  /// - Parameter port: the one that is meant where the text has none.
  /// - Returns: nil: the text is no place.
  public init?(_ text: String, port: Int) {
    var (host, number) = (text[...], port)
    if text.hasPrefix("["), let end = text.firstIndex(of: "]") {
      host = text[text.index(after: text.startIndex)..<end]
      let rest = text[text.index(after: end)...]
      guard rest.isEmpty || rest.hasPrefix(":"), host.contains(":") else { return nil }
      if !rest.isEmpty {
        guard let given = Self.number(rest.dropFirst()) else { return nil }
        number = given
      }
    } else if let colon = text.firstIndex(of: ":"), colon == text.lastIndex(of: ":") {
      host = text[..<colon]
      guard let given = Self.number(text[text.index(after: colon)...]) else { return nil }
      number = given
    }
    self.init(host: String(host), port: number)
    guard isPossible else { return nil }
  }

  private static func number(_ digits: Substring) -> Int? {
    digits.count <= 5 && digits.allSatisfy { $0.isASCII && $0.isNumber } ? Int(digits) : nil
  }

  /// Whether it is one: a word that a resolver can be asked for, and that no command takes for an option.
  public var isPossible: Bool {
    (1...65535).contains(port) && (1...253).contains(host.utf8.count) && !host.hasPrefix("-")
      && host.utf8.allSatisfy { byte in
        switch byte {
        case UInt8(ascii: "a")...UInt8(ascii: "z"), UInt8(ascii: "A")...UInt8(ascii: "Z"),
          UInt8(ascii: "0")...UInt8(ascii: "9"), UInt8(ascii: "."), UInt8(ascii: "-"), UInt8(ascii: ":"),
          UInt8(ascii: "%"), UInt8(ascii: "_"):
          true
        default: false
        }
      }
  }

  /// As it is written.
  public var text: String { host.contains(":") ? "[\(host)]:\(port)" : "\(host):\(port)" }
}

/// How a machine is to be protected when its backup has taken it over: with the hosts in each other's places.
public struct Reprotection: Codable, Equatable, Sendable {
  /// Where the survivor finds its backup, which was the primary.
  public var backup: HostPlace
  /// Where the survivor waits when it comes back in its turn: where the primary has found it.
  public var survivor: HostPlace
  /// The longest time between two checkpoints, in milliseconds.
  public var intervalMS: Int
  /// Memory is compressed.
  public var compresses: Bool

  /// What the survivor is to do.
  public init(backup: HostPlace, survivor: HostPlace, intervalMS: Int, compresses: Bool) {
    (self.backup, self.survivor, self.intervalMS, self.compresses) = (backup, survivor, intervalMS, compresses)
  }

  /// How often checkpoints can be taken, in milliseconds.
  public static let intervals = 25...10_000

  /// It comes from another host.
  /// - Throws: `TeleportError.damaged` when it cannot be meant.
  public func checked() throws -> Reprotection {
    guard backup.isPossible, survivor.isPossible, Self.intervals.contains(intervalMS) else {
      throw TeleportError.damaged("hosts that are to change places, and are none")
    }
    return self
  }
}
