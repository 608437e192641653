import Foundation
import NIOConcurrencyHelpers
import NIOCore

/// The host's side of one serial port: keeps the last output, hands it to those who watch, and takes what they type.
///
/// Guest output arrives on a CPU's thread and is only appended there; delivery runs on the event loop. Watchers read at
/// their own speed from the kept output, so that a slow or vanished one costs the guest nothing. What is typed is taken as far
/// as the machine has room; who types more stops reading his connection, and holds up nobody but himself.
final class SerialConsole: Sendable {
  let slot: Int
  let eventLoop: any EventLoop
  private let inner = NIOLockedValueBox(Inner())

  private struct Inner {
    var buffer = ConsoleBuffer()
    var deliveryPending = false
    var watchers: [ObjectIdentifier: @Sendable () -> Void] = [:]
    var input: (@Sendable ([UInt8]) -> Int)?
    var onBreak: (@Sendable () -> Void)?
    var onResize: (@Sendable (_ columns: UInt16, _ rows: UInt16) -> Void)?
    /// The last size of a client's terminal.
    var size: (columns: UInt16, rows: UInt16)?
    var early: [UInt8] = []
    /// How many are connected, and who is told when the first comes and the last goes.
    var clients = 0
    var onAudience: (@Sendable (_ isSomebody: Bool, _ end: Int) -> Void)?
    /// Those whose typing was not taken whole.
    var typists: [ObjectIdentifier: @Sendable () -> Void] = [:]
  }

  /// What is kept of what is typed before there is a machine, in bytes.
  static let earlyLimit = 4096

  /// What people call it: "uart 1".
  var name: String { ConsoleName.text(slot) }

  init(slot: Int, eventLoop: any EventLoop) {
    self.slot = slot
    self.eventLoop = eventLoop
  }

  /// Output of the guest. Never blocks.
  func output(_ bytes: [UInt8]) {
    let schedules = inner.withLockedValue { inner in
      inner.buffer.append(bytes)
      guard !inner.deliveryPending, !inner.watchers.isEmpty else { return false }
      inner.deliveryPending = true
      return true
    }
    if schedules { eventLoop.execute { self.deliver() } }
  }

  private func deliver() {
    let watchers = inner.withLockedValue { inner in
      inner.deliveryPending = false
      return Array(inner.watchers.values)
    }
    for watcher in watchers { watcher() }
  }

  /// What somebody typed: goes to the machine, or is kept (a few KiB) until there is one.
  /// - Parameters: key: of who types. onRoom: called on the event loop when there may be room for what was not taken; the
  ///   typist reads no more until then.
  /// - Returns: how many bytes were taken.
  func type(_ bytes: [UInt8], _ key: ObjectIdentifier, onRoom: @escaping @Sendable () -> Void) -> Int {
    guard !bytes.isEmpty else { return 0 }
    // Asked for before it is needed: room that comes in between is not missed.
    let input = inner.withLockedValue { inner in
      inner.typists[key] = onRoom
      return inner.input
    }
    let taken =
      input?(bytes)
      ?? inner.withLockedValue { inner in
        let taken = min(bytes.count, Self.earlyLimit - inner.early.count)
        inner.early += bytes.prefix(taken)
        return taken
      }
    if taken == bytes.count { forget(typist: key) }
    return taken
  }

  /// A break on the line. Without a machine nobody hears it.
  func sendBreak() { inner.withLockedValue { $0.onBreak }?() }

  /// The terminal of who is connected has another size, in characters.
  func resize(columns: UInt16, rows: UInt16) {
    let tell = inner.withLockedValue { inner in
      inner.size = (columns, rows)
      return inner.onResize
    }
    tell?(columns, rows)
  }

  func forget(typist key: ObjectIdentifier) { inner.withLockedValue { _ = $0.typists.removeValue(forKey: key) } }

  /// The machine's uart has room for what is typed. Never blocks.
  func hasRoom() {
    eventLoop.execute {
      let typists = self.inner.withLockedValue { inner in
        defer { inner.typists = [:] }
        return Array(inner.typists.values)
      }
      for typist in typists { typist() }
    }
  }

  /// Joins the uart of a machine, or parts from it with nil.
  /// - Parameter input: takes what is typed, as much as there is room for, and says how much; `hasRoom` is to be called when
  ///   there is room again. onBreak: takes a break. onResize: is told the size of the terminal.
  func connect(
    _ input: (@Sendable ([UInt8]) -> Int)?, onBreak: (@Sendable () -> Void)? = nil,
    onResize: (@Sendable (_ columns: UInt16, _ rows: UInt16) -> Void)? = nil
  ) {
    let (early, size) = inner.withLockedValue { inner -> ([UInt8], (columns: UInt16, rows: UInt16)?) in
      inner.input = input
      inner.onBreak = onBreak
      inner.onResize = onResize
      guard input != nil else { return ([], nil) }
      defer { inner.early = [] }
      return (inner.early, inner.size)
    }
    if let size { onResize?(size.columns, size.rows) }
    // So little that a new machine takes it.
    if !early.isEmpty { _ = input?(early) }
    hasRoom()
  }

  /// Position where one begins who comes late.
  var recent: Int { inner.withLockedValue { $0.buffer.recent } }
  var end: Int { inner.withLockedValue { $0.buffer.end } }

  func read(from position: Int, limit: Int) -> (lost: Int, bytes: [UInt8], next: Int) {
    inner.withLockedValue { $0.buffer.read(from: position, limit: limit) }
  }

  func watch(_ key: ObjectIdentifier, _ onOutput: @escaping @Sendable () -> Void) {
    inner.withLockedValue { $0.watchers[key] = onOutput }
  }

  /// Tells from now on when the first client comes and when the last has gone, with the position of the output then.
  func onAudience(_ body: @escaping @Sendable (_ isSomebody: Bool, _ end: Int) -> Void) {
    inner.withLockedValue { inner in
      inner.onAudience = body
      // In here, so that it is told in order.
      if inner.clients > 0 { body(true, inner.buffer.end) }
    }
  }

  /// Somebody is connected, or not any more.
  func client(comes: Bool) {
    inner.withLockedValue { inner in
      let before = inner.clients
      inner.clients += comes ? 1 : -1
      if before == 0 || inner.clients == 0 { inner.onAudience?(comes, inner.buffer.end) }
    }
  }

  func unwatch(_ key: ObjectIdentifier) {
    inner.withLockedValue { _ = $0.watchers.removeValue(forKey: key) }
  }
}
