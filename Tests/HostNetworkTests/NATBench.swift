import Devices
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
  /// What the guest's card would be at.
  let pipe = FramePipe(capacity: 4)
  let guest = MiniGuest()
  private let lines: Lines

  private final class Lines: Sendable { let all = Mutex<[String]>([]) }

  /// - Parameter keeper: whether the process is started by a keeper, as for a machine in its sandbox.
  init(_ rules: [String] = [], keeper: Bool = false) throws {
    let lines = Lines()
    self.lines = lines
    var configuration = NATConfiguration()
    configuration.forwards = try rules.map { try PortForward($0) }
    let program = try #require(Self.program)
    helper = try NATHelper(
      configuration, launch: keeper ? try NATKeeper(program).launcher : NATHelper.launcher(program)
    ) { line in lines.all.withLock { $0.append(line) } }
    try helper.start()
    helper.connect(pipe)
  }

  var log: [String] { lines.all.withLock { $0 } }

  /// A frame of the guest's. A process that is being started takes none for a while.
  func send(_ frame: [UInt8]) {
    let end = Date() + 60
    while !pipe.toHost.hasRoom(for: 1), Date() < end { usleep(1000) }
    pipe.toHost.send(frame)
  }

  /// Waits for a frame of which `find` makes something, and drops those before it.
  func wait<Found>(_ find: ([UInt8]) -> Found?) throws -> Found {
    let end = Date() + 60
    while Date() < end {
      while let frame = pipe.toDevice.take(1).first { if let found = find(frame) { return found } }
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
    send(guest.arp(asking: [10, 0, 2, 2]))
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

  /// A connection that was accepted.
  init(descriptor: Int32) {
    self.descriptor = descriptor
    var patience = timeval(tv_sec: 60, tv_usec: 0)
    setsockopt(descriptor, SOL_SOCKET, SO_RCVTIMEO, &patience, socklen_t(MemoryLayout<timeval>.size))
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
