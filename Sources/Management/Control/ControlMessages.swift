import Foundation
import Teleport

/// What a client asks of a running VM over its control socket: one JSON object a line. While a request is under way the
/// only other line that is heard is `cancel`.
public struct ControlRequest: Codable, Sendable {
  /// What can be asked.
  public enum Command: String, Codable, CaseIterable, Sendable {
    case status, pause, resume, reset, poweroff, acpipowerbutton, injectnmi, savestate, screenshotpng,
      keyboardputscancode
    case keyboardputstring, teleport, resolveteleport, console, getregisters, info, statistics, block, sandbox, cancel
    case setlinkstate, natpf, nictrace, nictracefile
  }

  /// What is asked.
  public var command: Command
  /// sandbox: a file that the client can read and write.
  public var path: String?
  /// sandbox: the client.
  public var process: Int32?
  /// What it is asked with, where that is text.
  public var text: String?
  /// Keys to press and release, as a keyboard sends them.
  public var scancodes: [UInt8]?
  /// The slot of a serial port.
  public var uart: Int?
  /// setlinkstate, natpf, nictrace, nictracefile: which network card, 1 to 8.
  public var card: Int?
  /// Their words.
  public var words: [String]?
  /// Where to, for a teleport.
  public var teleport: TeleportRequest?

  /// A request with nothing but its command.
  public init(_ command: Command) { self.command = command }
}

/// Where a VM is to be teleported, and how.
public struct TeleportRequest: Codable, Sendable {
  /// Name or address of the target host.
  public var host: String
  /// The port that the target waits on.
  public var port: Int
  /// The longest that the guest may stand still, in milliseconds.
  public var maxDowntimeMS: Int
  /// The target's password, where it has one.
  public var password: String?
  /// Milliseconds after which a silent target is given up; nil: the usual.
  public var timeoutMS: Int?

  /// A teleport without a password.
  public init(host: String, port: Int, maxDowntimeMS: Int = 250) {
    self.host = host
    self.port = port
    self.maxDowntimeMS = maxDowntimeMS
  }
}

/// One line of answer. The last one for a request has `isLast` set and says in `error` whether it failed.
public struct ControlReply: Codable, Sendable {
  /// Nothing follows for this request.
  public var isLast: Bool
  /// Why it has failed; nil: it has not.
  public var error: String?
  /// One line of text about how far a long request is.
  public var progress: String?
  /// How far a teleport is.
  public var teleport: TeleportProgress?
  /// The answer, where that is text.
  public var text: String?
  /// The answer to `status`.
  public var status: StatusRecord?
  /// status: each network card that is there.
  public var networks: [NetworkFacts]?
  /// How many bytes follow the line.
  public var dataLength: Int?
  /// They themselves: what no line of text should hold, such as a picture.
  public var data: [UInt8] = []

  /// Says only that the request is being worked on.
  var isSignOfLife: Bool { !isLast && progress == nil && teleport == nil }

  private enum CodingKeys: CodingKey { case isLast, error, progress, teleport, text, status, networks, dataLength }

  init(isLast: Bool) { self.isLast = isLast }

  static func done(_ text: String? = nil) -> ControlReply {
    var reply = ControlReply(isLast: true)
    reply.text = text
    return reply
  }

  static func done(data: [UInt8]) -> ControlReply {
    var reply = ControlReply(isLast: true)
    reply.data = data
    reply.dataLength = data.count
    return reply
  }

  static func failed(_ error: any Error) -> ControlReply {
    var reply = ControlReply(isLast: true)
    // A report of hardware mismatches has one line each.
    reply.error = ManagementError.text(for: error)
    return reply
  }

  static func signOfLife() -> ControlReply { ControlReply(isLast: false) }

  static func progress(_ text: String, _ teleport: TeleportProgress? = nil) -> ControlReply {
    var reply = ControlReply(isLast: false)
    reply.progress = text
    reply.teleport = teleport
    return reply
  }
}

/// Cuts a stream into lines of bounded length.
struct LineFramer {
  static let limit = 65536
  struct TooLong: Error {}
  private var pending: [UInt8] = []

  /// - Returns: the complete lines, without their ends.
  mutating func feed(_ bytes: some Sequence<UInt8>) throws(TooLong) -> [[UInt8]] {
    var lines: [[UInt8]] = []
    for byte in bytes {
      if byte == 10 {
        lines.append(pending)
        pending = []
      } else {
        guard pending.count < Self.limit else { throw TooLong() }
        pending.append(byte)
      }
    }
    return lines
  }
}
