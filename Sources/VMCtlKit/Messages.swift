import Foundation

/// A line that a machine answers with (docs/control-socket.md). Keys that are not here are passed over.
public struct Reply: Decodable, Sendable {
  /// Nothing follows for this request.
  public var isLast: Bool
  /// Why the request has failed.
  public var error: String?
  /// How far a long request is, in words.
  public var progress: String?
  /// How far a teleport is.
  public var teleport: TeleportProgress?
  /// The answer, where that is text.
  public var text: String?
  /// What the user should know besides.
  public var notes: [String]?
  /// The answer to `status`.
  public var status: MachineStatus?
  /// What has happened.
  public var event: MachineEvent?
  /// How many bytes follow the line.
  var dataLength: Int?
  /// They themselves.
  public var data = Data()

  private enum CodingKeys: CodingKey { case isLast, error, progress, teleport, text, notes, status, event, dataLength }
}

/// What a machine does.
public struct MachineStatus: Decodable, Sendable {
  /// running, paused, teleporting ...: the words of `showvminfo`.
  public var state: String
  /// Since when.
  public var since: Date
  /// The number of its process.
  public var process: Int32?
  /// Why it is in this state, where there is something to say.
  public var reason: String?
}

/// How far a teleport is.
public struct TeleportProgress: Decodable, Sendable {
  /// "memory", "hand-over", "done" ...
  public var phase: String
  /// 0 is the round that sends all of memory.
  public var round: Int
  /// Pages of 4 KiB.
  public var totalPages: Int
  /// Pages still to be sent, as far as is known.
  public var remainingPages: Int
  /// Bytes on the wire.
  public var bytes: UInt64
  /// How fast the wire took bytes lately.
  public var bytesPerSecond: Double
}

/// Something that has happened to a machine.
public struct MachineEvent: Decodable, Sendable {
  /// When, as ISO 8601 in UTC.
  public var time: String
  /// The machine's name.
  public var machine: String
  /// state, reset, panic, teleport, disc, network, warning, lost; more may come.
  public var event: String
  /// state: which.
  public var state: String?
  /// state: why.
  public var reason: String?
  /// In words.
  public var text: String?
  /// teleport: how far it is.
  public var teleport: TeleportProgress?
}

/// Where a machine is to be teleported.
public struct TeleportOrder: Encodable, Sendable {
  /// Name or address of the other host, where the machine waits.
  public var host: String
  /// Its port.
  public var port: Int
  /// The longest that the guest may stand still, in milliseconds.
  public var maxDowntimeMS = 250
  /// The target's password.
  public var password: String?
  /// A teleport without a password.
  public init(host: String, port: Int, password: String? = nil) {
    self.host = host
    self.port = port
    self.password = password
  }
}

/// What a machine is asked.
public struct Request: Encodable, Sendable {
  /// One of docs/control-socket.md.
  public var command: String
  /// What goes with it.
  public var text: String?
  /// keyboardputscancode: keys, set 1.
  public var scancodes: [UInt8]?
  /// The slot of a serial port, 1 to 4.
  public var uart: Int?
  /// A network card, 1 to 8.
  public var card: Int?
  /// Its words.
  public var words: [String]?
  /// teleport: where to.
  public var teleport: TeleportOrder?

  /// A request with nothing but its command.
  public init(_ command: String) { self.command = command }
}
