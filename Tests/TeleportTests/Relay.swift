import Foundation
import Synchronization

@testable import Teleport

/// Lies between a source and its target, hears everything, and may change it.
final class Relay: Sendable {
  /// Which way bytes go.
  enum Way: Int, Sendable { case toTarget, toSource }

  private struct State {
    var heard: [[UInt8]] = [[], []]
    /// Sockets of connections that are open, by one of them.
    var open: [Int32: Int32] = [:]
    var isCut = false
  }

  let port: Int
  private let target: Int
  private let listener: Int32
  private let change: @Sendable (_ way: Way, _ before: Int, _ bytes: inout [UInt8]) -> Void
  private let state = Mutex(State())

  private let remembers: Bool

  /// - Parameters: remembers: what has gone through, all of it. change: is given each piece with how many bytes have gone that
  ///   way before, on all connections, as far as they are remembered.
  init(
    to target: Int, remembers: Bool = true,
    change: @escaping @Sendable (_ way: Way, _ before: Int, _ bytes: inout [UInt8]) -> Void = { _, _, _ in }
  ) {
    self.target = target
    self.change = change
    self.remembers = remembers
    let file = socket(AF_INET, Int32(SOCK_STREAM.rawValue), 0)
    var address = Self.loopback(0)
    var length = socklen_t(MemoryLayout<sockaddr_in>.size)
    _ = withUnsafeMutablePointer(to: &address) {
      $0.withMemoryRebound(to: sockaddr.self, capacity: 1) {
        bind(file, $0, length) == 0 && listen(file, 16) == 0 && getsockname(file, $0, &length) == 0
      }
    }
    listener = file
    port = Int(UInt16(bigEndian: address.sin_port))
    Thread { [self] in
      while true {
        let one = accept(file, nil, nil)
        guard one >= 0 else { return }
        join(one)
      }
    }.start()
  }

  func end() {
    shutdown(listener, Int32(SHUT_RDWR))
    close(listener)
  }

  /// Ends every connection, and lets none begin.
  func cut() {
    state.withLock { state in
      state.isCut = true
      for (one, other) in state.open { for end in [one, other] { shutdown(end, Int32(SHUT_RDWR)) } }
    }
  }

  /// All that has gone that way.
  func heard(_ way: Way) -> [UInt8] { state.withLock { $0.heard[way.rawValue] } }

  /// Whether the bytes were heard, on whatever way.
  func hasHeard(_ bytes: [UInt8]) -> Bool {
    [Way.toTarget, .toSource].contains { Data(heard($0)).range(of: Data(bytes)) != nil }
  }

  private static func loopback(_ port: Int) -> sockaddr_in {
    var address = sockaddr_in()
    address.sin_family = sa_family_t(AF_INET)
    address.sin_port = in_port_t(UInt16(port).bigEndian)
    address.sin_addr.s_addr = inet_addr("127.0.0.1")
    return address
  }

  private func join(_ one: Int32) {
    let other = socket(AF_INET, Int32(SOCK_STREAM.rawValue), 0)
    var address = Self.loopback(target)
    _ = withUnsafePointer(to: &address) {
      $0.withMemoryRebound(to: sockaddr.self, capacity: 1) {
        connect(other, $0, socklen_t(MemoryLayout<sockaddr_in>.size))
      }
    }
    let isCut = state.withLock { state in
      if !state.isCut { state.open[one] = other }
      return state.isCut
    }
    guard !isCut else { return [one, other].forEach { close($0) } }
    let group = DispatchGroup()
    for (from, to, way) in [(one, other, Way.toTarget), (other, one, .toSource)] {
      group.enter()
      Thread { [self] in
        defer { group.leave() }
        var piece = [UInt8](repeating: 0, count: 64 << 10)
        while true {
          let count = recv(from, &piece, piece.count, 0)
          guard count > 0 else { break }
          var bytes = Array(piece[..<count])
          let before = state.withLock { state in
            defer { if remembers { state.heard[way.rawValue] += bytes } }
            return state.heard[way.rawValue].count
          }
          change(way, before, &bytes)
          var done = 0
          while done < bytes.count {
            let sent = bytes.withUnsafeBytes {
              Foundation.send(to, $0.baseAddress! + done, $0.count - done, Int32(MSG_NOSIGNAL))
            }
            guard sent > 0 else { break }
            done += sent
          }
        }
        for end in [one, other] { shutdown(end, Int32(SHUT_RDWR)) }
      }.start()
    }
    group.notify(queue: .global()) { [self] in
      state.withLock { state in
        state.open[one] = nil
        for end in [one, other] { close(end) }
      }
    }
  }
}
