import Foundation
import HostNetwork
import Teleport

/// Asks a witness process.
final class WitnessClient: @unchecked Sendable {
  /// Seconds: longer than a program may take.
  private static let patience = 40
  private let lock = NSLock()
  // Guarded by `lock`.
  private var socket: Int32
  private var framer = LineFramer()
  private var number: UInt64 = 0
  private let own: String
  private let name: String

  /// - Parameter socket: to the process; it is this object's.
  init(_ socket: Int32, _ entry: VMEntry) {
    self.socket = socket
    own = entry.definition.uuid.uuidString.lowercased()
    name = entry.name
    UnixSocket.setPatience(socket, seconds: Self.patience)
  }

  deinit { close(socket) }

  /// Has another process asked from now on.
  /// - Parameter new: to it; it is this object's.
  func replace(_ new: Int32) {
    UnixSocket.setPatience(new, seconds: Self.patience)
    lock.withLock {
      close(socket)
      (socket, framer) = (new, LineFramer())
    }
  }

  /// Whether the process lives. One that works on an answer does.
  var isThere: Bool {
    guard lock.try() else { return true }
    defer { lock.unlock() }
    var entry = pollfd(fd: socket, events: 0, revents: 0)
    return poll(&entry, 1, 0) == 0
  }

  /// Lends the socket.
  func pass(_ body: (Int32) throws -> Void) throws { try body(lock.withLock { socket }) }

  func ask(
    _ verb: WitnessRequest.Verb, _ place: String, _ machine: String?, session: String? = nil,
    side: ProtectionSide? = nil, reprotection: Reprotection? = nil
  ) -> WitnessAnswer {
    lock.withLock {
      number += 1
      let request = WitnessRequest(
        number: number, verb: verb, place: place, uuid: machine ?? own, name: name, session: session, side: side,
        reprotection: reprotection)
      guard let bytes = try? JSONEncoder().encode(request),
        (try? Files.writeAll(socket, Array(bytes) + [10], path: "the witness's process")) != nil
      else { return .unreachable("its process has ended") }
      let end = ContinuousClock.now + .seconds(Self.patience)
      var chunk = [UInt8](repeating: 0, count: 4096)
      while ContinuousClock.now < end {
        let count = read(socket, &chunk, chunk.count)
        if count < 0 && errno == EINTR { continue }
        guard count >= 0 else { break }
        guard count > 0, let lines = try? framer.feed(chunk[..<count]) else {
          return .unreachable("its process has ended")
        }
        for line in lines {
          guard let reply = try? JSONDecoder().decode(WitnessReply.self, from: Data(line)) else {
            return .unreachable("its process says nothing that can be understood")
          }
          // What was asked before, and given up, is answered late.
          if reply.number == number { return reply.answer }
        }
      }
      return .unreachable("its process does not answer")
    }
  }

  /// Has `vmctl remus` started for the machine that was taken over.
  /// - Returns: why it was not; nil: it was.
  func reprotect(_ wish: Reprotection) -> String? {
    guard case .unreachable(let why) = ask(.reprotect, "", nil, reprotection: wish) else { return nil }
    return why
  }

  /// - Parameter machine: its UUID on its primary host; nil: that is this one.
  /// - Throws: `ManagementError` when it cannot be asked.
  func witness(_ place: String, of machine: String? = nil) throws -> Witness {
    if case .unreachable(let why) = ask(.check, place, machine) {
      throw ManagementError("the witness \(place) cannot be asked: \(why)")
    }
    return Witness(
      text: place, establish: { self.ask(.establish, place, machine, session: $0) },
      claim: { self.ask(.claim, place, machine, session: $0, side: $1) }, isThere: { self.isThere })
  }
}
