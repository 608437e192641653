import Foundation
import Synchronization
import Testing

@testable import HostNetwork

/// A NAT process with a guest that consists of a test.
final class NATBench: Sendable {
  /// vmctl: what VMCTL names, or what was built beside the tests.
  static let program: String? = {
    if let path = ProcessInfo.processInfo.environment["VMCTL"] { return path }
    let tests = URL(fileURLWithPath: CommandLine.arguments[0]).deletingLastPathComponent()
    let beside = tests.appendingPathComponent("vmctl").path
    return access(beside, X_OK) == 0 ? beside : nil
  }()

  let helper: NATHelper
  let guest = MiniGuest()
  private let inbox: Inbox

  private final class Inbox: Sendable {
    let frames = Mutex<[[UInt8]]>([])
    let lines = Mutex<[String]>([])
    let takes = Mutex(true)
  }

  init(_ rules: [String] = []) throws {
    let inbox = Inbox()
    self.inbox = inbox
    var configuration = NATConfiguration()
    configuration.forwards = try rules.map { try PortForward($0) }
    helper = try NATHelper(
      configuration, launch: NATHelper.launcher(try #require(Self.program)),
      log: { line in inbox.lines.withLock { $0.append(line) } },
      onFrame: { frame in
        guard inbox.takes.withLock({ $0 }) else { return false }
        inbox.frames.withLock { $0.append(frame) }
        return true
      }, onRoom: {})
    try helper.start()
  }

  /// Whether the guest takes frames.
  func setTaking(_ isTaking: Bool) { inbox.takes.withLock { $0 = isTaking } }

  var log: [String] { inbox.lines.withLock { $0 } }

  /// Waits for a frame of which `find` makes something, and drops those before it.
  func wait<Found>(_ find: ([UInt8]) -> Found?) throws -> Found {
    let end = Date() + 60
    while Date() < end {
      let found = inbox.frames.withLock { frames -> Found? in
        while !frames.isEmpty { if let found = find(frames.removeFirst()) { return found } }
        return nil
      }
      if let found { return found }
      usleep(2000)
    }
    throw HostNetworkError("no such frame came")
  }

  func until(_ condition: () -> Bool) throws {
    let end = Date() + 60
    while !condition() {
      guard Date() < end else { throw HostNetworkError("it did not come to that") }
      usleep(2000)
    }
  }

  /// Asks for the gateway's address until it answers: the process may have just been started.
  func findGateway() throws -> MiniGuest {
    var guest = guest
    helper.send(guest.arp(asking: [10, 0, 2, 2]))
    guest.gatewayMAC = try wait { frame -> [UInt8]? in
      guard MiniGuest.type(frame) == 0x0806, frame[21] == 2 else { return nil }
      return Array(frame[22..<28])
    }
    return guest
  }
}

/// A socket of the host's on its loopback address.
final class HostSocket {
  let descriptor: Int32
  private(set) var port = 0

  init(_ kind: __socket_type, bound: Bool = true, listening: Bool = false) throws {
    descriptor = socket(AF_INET, Int32(kind.rawValue), 0)
    // Nothing waits for ever in a test.
    var patience = timeval(tv_sec: 60, tv_usec: 0)
    setsockopt(descriptor, SOL_SOCKET, SO_RCVTIMEO, &patience, socklen_t(MemoryLayout<timeval>.size))
    guard bound else { return }
    var address = Self.address(0)
    var size = socklen_t(MemoryLayout<sockaddr_in>.size)
    let status = withUnsafeMutablePointer(to: &address) {
      $0.withMemoryRebound(to: sockaddr.self, capacity: 1) { pointer in
        bind(descriptor, pointer, size) == 0 ? getsockname(descriptor, pointer, &size) : -1
      }
    }
    guard status == 0 else { throw HostNetworkError("cannot bind") }
    port = Int(UInt16(bigEndian: address.sin_port))
    if listening { listen(descriptor, 4) }
  }

  deinit { close(descriptor) }

  static func freePort(_ kind: __socket_type) throws -> Int { try HostSocket(kind).port }

  private static func address(_ port: Int) -> sockaddr_in {
    var address = sockaddr_in()
    address.sin_family = sa_family_t(AF_INET)
    address.sin_port = UInt16(port).bigEndian
    address.sin_addr.s_addr = UInt32(0x7F00_0001).bigEndian
    return address
  }

  /// - Returns: 0, or why not.
  @discardableResult
  func connect(_ port: Int) -> Int32 {
    var address = Self.address(port)
    let status = withUnsafePointer(to: &address) {
      $0.withMemoryRebound(to: sockaddr.self, capacity: 1) {
        Foundation.connect(descriptor, $0, socklen_t(MemoryLayout<sockaddr_in>.size))
      }
    }
    return status == 0 ? 0 : errno
  }

  func receive() throws -> ([UInt8], sockaddr_in) {
    var buffer = [UInt8](repeating: 0, count: 2048)
    var sender = sockaddr_in()
    var size = socklen_t(MemoryLayout<sockaddr_in>.size)
    let count = withUnsafeMutablePointer(to: &sender) {
      $0.withMemoryRebound(to: sockaddr.self, capacity: 1) { recvfrom(descriptor, &buffer, buffer.count, 0, $0, &size) }
    }
    guard count >= 0 else { throw HostNetworkError("nothing came") }
    return (Array(buffer[..<count]), sender)
  }

  func send(_ bytes: [UInt8], to address: sockaddr_in) throws {
    var address = address
    let count = withUnsafePointer(to: &address) {
      $0.withMemoryRebound(to: sockaddr.self, capacity: 1) {
        sendto(descriptor, bytes, bytes.count, 0, $0, socklen_t(MemoryLayout<sockaddr_in>.size))
      }
    }
    guard count == bytes.count else { throw HostNetworkError("cannot send") }
  }
}
