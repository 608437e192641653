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
    case setlinkstate, natpf, nictrace, nictracefile, sendbreak, consolesize, events, state, snapshot, protect,
      unprotect,
      failover
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
  /// consolesize: of the terminal, in characters.
  public var columns: UInt16?
  /// consolesize: the other number.
  public var rows: UInt16?
  /// setlinkstate, natpf, nictrace, nictracefile: which network card, 1 to 8.
  public var card: Int?
  /// Their words.
  public var words: [String]?
  /// Where to, for a teleport.
  public var teleport: TeleportRequest?
  /// How, for a protection.
  public var protection: ProtectionRequest?

  /// What a snapshot is to be called.
  public var snapshot: SnapshotRequest?

  /// A request with nothing but its command.
  public init(_ command: Command) { self.command = command }
}

/// Where a VM is to be teleported, and how.
public struct TeleportRequest: Codable, Equatable, Sendable {
  /// Name or address of the target host.
  public var host: String
  /// The port that the target waits on.
  public var port: Int
  /// The longest that the guest may stand still, in milliseconds.
  public var maxDowntimeMS: Int
  /// The target's password, where it has one.
  public var password: String?
  /// Whether the target is only asked what stands against it.
  public var isCheck: Bool?
  /// Milliseconds after which a silent target is given up; nil: the usual.
  public var timeoutMS: Int?

  /// A teleport without a password. An IPv6 address may stand in a URL's brackets.
  public init(host: String, port: Int, maxDowntimeMS: Int = 250) {
    let isBracketed = host.hasPrefix("[") && host.hasSuffix("]")
    self.host = isBracketed ? String(host.dropFirst().dropLast()) : host
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
  /// How a protection stands.
  public var protection: ProtectionProgress?
  /// The answer, where that is text.
  public var text: String?
  /// What the user should know besides, a line each.
  public var notes: [String]?
  /// teleport that was a check: what stands against it, a line each.
  public var obstacles: [String]?
  /// The answer to `status`.
  public var status: StatusRecord?
  /// status: each network card that is there.
  public var networks: [NetworkFacts]?
  /// status that was asked with the text "boot": how far the machine has come.
  public var boot: BootProgress?
  /// events: what has happened.
  public var event: MachineNews?
  /// How many bytes follow the line.
  public var dataLength: Int?
  /// They themselves: what no line of text should hold, such as a picture.
  public var data: [UInt8] = []

  /// Says only that the request is being worked on.
  var isSignOfLife: Bool {
    !isLast && progress == nil && teleport == nil && protection == nil && event == nil
  }

  private enum CodingKeys: CodingKey {
    case isLast, error, progress, teleport, protection, text, notes, obstacles, status, networks, boot, event,
      dataLength
  }

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

  static func event(_ news: MachineNews) -> ControlReply {
    var reply = ControlReply(isLast: false)
    reply.event = news
    return reply
  }

  static func progress(_ text: String, _ teleport: TeleportProgress? = nil) -> ControlReply {
    var reply = ControlReply(isLast: false)
    reply.progress = text
    reply.teleport = teleport
    return reply
  }
}

/// How far a machine has come on its way from power-on.
public enum BootProgress: String, Codable, Sendable {
  /// BIOS or boot loader run.
  case firmware
  /// The BIOS has found nothing to boot.
  case nothingBootable
  /// The first CPU has switched paging on.
  case kernel
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
