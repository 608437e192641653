import Foundation

/// What a VM process asks of its NAT process, a JSON object a line.
struct NATRequest: Codable, Equatable {
  enum Action: String, Codable { case add, remove }
  var number: Int
  var action: Action
  var rule: PortForward
}

/// What the NAT process says.
struct NATReply: Codable, Equatable {
  /// Of the request that is answered; nil: nobody asked.
  var number: Int?
  /// What went wrong, in words for the user.
  var problem: String?
  /// The stack is there and takes frames.
  var isReady: Bool?
}

/// Lines of JSON on a stream, bounded.
struct JSONLines {
  /// Longer lines are nobody's.
  static let longest = 1 << 16
  private var bytes: [UInt8] = []

  /// - Returns: the lines that are whole now, or nil when a line is longer than any can be.
  mutating func append(_ more: some Collection<UInt8>) -> [Data]? {
    bytes.append(contentsOf: more)
    var lines: [Data] = []
    while let end = bytes.firstIndex(of: 0x0A) {
      lines.append(Data(bytes[..<end]))
      bytes.removeFirst(end + 1)
    }
    return bytes.count > Self.longest ? nil : lines
  }

  static func line(_ message: some Encodable) -> [UInt8] {
    let encoder = JSONEncoder()
    encoder.outputFormatting = [.sortedKeys, .withoutEscapingSlashes]
    return [UInt8]((try? encoder.encode(message)) ?? Data()) + [0x0A]
  }
}
