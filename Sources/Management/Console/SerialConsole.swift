import Foundation
import NIOConcurrencyHelpers
import NIOCore

/// The host's side of one uart: keeps the last output, hands it to those who watch, and takes what they type.
///
/// Guest output arrives on a CPU's thread and is only appended there; delivery runs on the event loop. Watchers read at
/// their own speed from the kept output, so that a slow or vanished one costs the guest nothing.
final class SerialConsole: Sendable {
  let slot: Int
  let eventLoop: any EventLoop
  private let inner = NIOLockedValueBox(Inner())

  private struct Inner {
    var buffer = ConsoleBuffer()
    var deliveryPending = false
    var watchers: [ObjectIdentifier: @Sendable () -> Void] = [:]
    var input: (@Sendable ([UInt8]) -> Void)?
    var early: [UInt8] = []
  }

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

  /// What somebody typed. Kept (a few KiB) until a machine is there to take it.
  func type(_ bytes: [UInt8]) {
    guard !bytes.isEmpty else { return }
    let input = inner.withLockedValue { inner in
      if inner.input == nil && inner.early.count + bytes.count <= 4096 { inner.early += bytes }
      return inner.input
    }
    input?(bytes)
  }

  /// Joins the uart of a machine, or parts from it with nil.
  func connect(_ input: (@Sendable ([UInt8]) -> Void)?) {
    let early = inner.withLockedValue { inner in
      inner.input = input
      guard input != nil else { return [UInt8]() }
      defer { inner.early = [] }
      return inner.early
    }
    if !early.isEmpty { input?(early) }
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

  func unwatch(_ key: ObjectIdentifier) {
    inner.withLockedValue { _ = $0.watchers.removeValue(forKey: key) }
  }
}
