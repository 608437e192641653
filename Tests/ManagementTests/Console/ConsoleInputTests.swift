import Foundation
import Logging
import Machine
import NIOCore
import NIOPosix
import Testing

@testable import Management

/// A machine's uart that takes as much as the test lets it.
private final class Uart: @unchecked Sendable {
  private let lock = NSLock()
  private var allowed = 0
  private var bytes: [UInt8] = []

  func take(_ new: [UInt8]) -> Int {
    lock.withLock {
      let taken = min(allowed, new.count)
      allowed -= taken
      bytes += new.prefix(taken)
      return taken
    }
  }
  func allow(_ count: Int) { lock.withLock { allowed += count } }
  var received: [UInt8] { lock.withLock { bytes } }
}

/// What is typed and pasted into a console whose guest does not read, through real sockets.
@Suite struct ConsoleInputTests {
  private static let group = MultiThreadedEventLoopGroup(numberOfThreads: 1)
  private let uart = Uart()
  private let endpoint: ConsoleEndpoint

  init() throws {
    let mode = MachineConfiguration.UartMode.tcpServer(host: nil, port: 0)
    endpoint = try ConsoleEndpoint.open(
      1, mode, ConsoleEndpoint.Named(1, mode), group: Self.group, logger: Logger(label: "test"))
    endpoint.console.connect { [uart] in uart.take($0) }
  }

  private func connect() throws -> Int32 {
    let descriptor = socket(AF_INET, Int32(SOCK_STREAM.rawValue), 0)
    var address = sockaddr_in()
    address.sin_family = sa_family_t(AF_INET)
    address.sin_port = UInt16(try #require(endpoint.port)).bigEndian
    address.sin_addr.s_addr = UInt32(0x7F00_0001).bigEndian
    let status = withUnsafePointer(to: &address) {
      $0.withMemoryRebound(to: sockaddr.self, capacity: 1) {
        Glibc.connect(descriptor, $0, socklen_t(MemoryLayout<sockaddr_in>.size))
      }
    }
    try #require(status == 0)
    return descriptor
  }

  /// Sends until the connection has taken nothing for a while, or everything.
  /// - Returns: how much it took.
  private func paste(_ bytes: [UInt8], into descriptor: Int32) -> Int {
    var done = 0
    while done < bytes.count {
      let count = bytes.withUnsafeBytes {
        send(descriptor, $0.baseAddress! + done, bytes.count - done, Int32(MSG_DONTWAIT))
      }
      if count > 0 {
        done += count
        continue
      }
      var entry = pollfd(fd: descriptor, events: Int16(POLLOUT), revents: 0)
      guard poll(&entry, 1, 500) > 0 else { break }
    }
    return done
  }

  /// Whether it comes to be so, within a time in which it would on any host.
  private func eventually(_ isSo: () -> Bool) -> Bool {
    let end = Date(timeIntervalSinceNow: 120)
    while !isSo() {
      if Date() > end { return false }
      usleep(1000)
    }
    return true
  }

  private static func text(_ count: Int) -> [UInt8] { (0..<count).map { UInt8(32 + $0 % 90) } }

  @Test func aPasteThatNobodyReadsWaitsInTheClient() throws {
    let descriptor = try connect()
    defer { close(descriptor) }
    let bytes = Self.text(32 << 20)
    // The sockets' buffers, and one read of the server: far less than the paste.
    let taken = paste(bytes, into: descriptor)
    #expect(taken < 8 << 20)
    #expect(uart.received.isEmpty)
    endpoint.close()
  }

  @Test func whatWaitsComesWholeAndInOrderWhenThereIsRoom() throws {
    let descriptor = try connect()
    defer { close(descriptor) }
    let bytes = Self.text(1 << 20)
    let sender = Thread { [self] in
      var done = 0
      while done < bytes.count { done += paste(Array(bytes[done...]), into: descriptor) }
    }
    sender.start()
    #expect(
      eventually {
        uart.allow(50_000)
        endpoint.console.hasRoom()
        return uart.received.count >= bytes.count
      })
    #expect(uart.received == bytes)
    endpoint.close()
  }

  @Test func theOutputOfAClientWhoseInputWaitsGoesOn() throws {
    let descriptor = try connect()
    defer { close(descriptor) }
    _ = paste(Self.text(4 << 20), into: descriptor)
    endpoint.console.output(Array("still here\n".utf8))
    var seen: [UInt8] = []
    var chunk = [UInt8](repeating: 0, count: 1024)
    while !String(decoding: seen, as: UTF8.self).contains("still here") {
      let count = read(descriptor, &chunk, chunk.count)
      try #require(count > 0)
      seen += chunk[..<count]
    }
    endpoint.close()
  }

  @Test func otherClientsTypeWhenThereIsRoomAgain() throws {
    let first = try connect()
    let second = try connect()
    defer {
      close(first)
      close(second)
    }
    _ = paste(Array("aaaa".utf8), into: first)
    _ = paste(Array("bb".utf8), into: second)
    #expect(
      eventually {
        uart.allow(6)
        endpoint.console.hasRoom()
        return uart.received.count == 6
      })
    #expect(uart.received.sorted() == Array("aaaabb".utf8))
    endpoint.close()
  }

  @Test func aClientThatLeavesWithAPasteUnreadIsForgotten() throws {
    let descriptor = try connect()
    _ = paste(Self.text(4 << 20), into: descriptor)
    close(descriptor)
    let other = try connect()
    defer { close(other) }
    uart.allow(1 << 30)
    endpoint.console.hasRoom()
    _ = paste(Array("Z".utf8), into: other)
    #expect(eventually { uart.received.last == UInt8(ascii: "Z") })
    endpoint.close()
  }

  @Test func beforeThereIsAMachineAFewKilobytesAreKept() throws {
    endpoint.console.connect(nil)
    let key = ObjectIdentifier(uart)
    #expect(endpoint.console.type(Self.text(5000), key, onRoom: {}) == SerialConsole.earlyLimit)
    #expect(endpoint.console.type([1], key, onRoom: {}) == 0)
    uart.allow(1 << 20)
    endpoint.console.connect { [uart] in uart.take($0) }
    #expect(uart.received == Array(Self.text(5000).prefix(SerialConsole.earlyLimit)))
    endpoint.close()
  }
}
