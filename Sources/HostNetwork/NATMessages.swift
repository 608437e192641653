import Foundation

/// What a VM process asks of its NAT process, a JSON object a line.
struct NATRequest: Codable, Equatable {
  enum Action: String, Codable {
    case add, remove
    /// Try what the sandbox forbids, on the target.
    case probe
    /// Tell of the guest's connections, one by one.
    case connections
    /// End connections of the guest's that were another NAT process's and went with it.
    case reset
    /// Tell what flows there are.
    case report
    /// A descriptor comes with the line: the link to an anchor whose flows the guest has.
    case join
    /// The machine is another host's: send no more frames here.
    case hold
    /// A frame for the guest that the machine's process has read and the machine has not had.
    case undelivered
    /// Two descriptors come with the line: the link to where the machine is now, and a file for one's status (`AnchorStatus`).
    /// Go on as the anchor of its flows.
    case anchor
  }
  var number: Int
  var action: Action
  var rule: PortForward?
  var frame: Data?
  var status: AnchorStatus?
  var target: ProbeTarget?
  var flows: [FlowNotice]?
  /// Of the link that comes with the line; nil: nothing on it is encrypted.
  var key: Data?
}

/// What the NAT process says.
struct NATReply: Codable, Equatable {
  /// Of the request that is answered; nil: nobody asked.
  var number: Int?
  /// What went wrong, in words for the user.
  var problem: String?
  /// The stack is there and takes frames.
  var isReady: Bool?
  /// What was asked for.
  var report: NATReport?
  var text: String?
  var flows: [FlowNotice]?
}

/// What a process tries its sandbox on: things of the user's that are none of the machine's.
public struct ProbeTarget: Codable, Equatable, Sendable {
  /// A file that the user can read and write.
  public var file: String
  /// A process that the user may signal.
  public var process: Int32

  /// - Parameters: file: a path. process: its number.
  public init(file: String, process: Int32) {
    self.file = file
    self.process = process
  }
}

/// Lines of JSON on a stream, bounded.
struct JSONLines {
  /// Longer lines are nobody's: the longest has a frame in Base64.
  static let longest = 1 << 17
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
