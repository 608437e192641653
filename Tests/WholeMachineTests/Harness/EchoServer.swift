import Foundation
import Synchronization

/// A server on the host's loopback address for connections of guests: each gets back what it sends, or a stream that does not
/// end before the test says so.
final class EchoServer: @unchecked Sendable {
  private(set) var port = 0
  private let listener: Int32
  /// What the stream has sent so far, in a file.
  private let record: String?
  private let isFinished = Mutex(false)
  private let isDone = DispatchSemaphore(value: 0)

  /// - Parameter record: the file for what the stream has sent; nil: an echo.
  init(streamingTo record: String? = nil) throws {
    self.record = record
    listener = socket(AF_INET, Self.kind, 0)
    var address = Self.address(0)
    var length = socklen_t(MemoryLayout<sockaddr_in>.size)
    let descriptor = listener
    let made = withUnsafeMutablePointer(to: &address) {
      $0.withMemoryRebound(to: sockaddr.self, capacity: 1) {
        bind(descriptor, $0, length) == 0 && listen(descriptor, 8) == 0 && getsockname(descriptor, $0, &length) == 0
      }
    }
    guard made else { throw Failure("no port for a server: \(String(cString: strerror(errno)))") }
    port = Int(UInt16(bigEndian: address.sin_port))
    Thread { [weak self] in
      while true {
        let connection = accept(descriptor, nil, nil)
        guard connection >= 0, let self else { return }
        _ = fcntl(connection, F_SETFD, FD_CLOEXEC)
        Thread { self.serve(connection) }.start()
      }
    }.start()
  }

  deinit {
    shutdown(listener, Int32(SHUT_RDWR))
    close(listener)
  }

  /// The hosts' processes, which live longer than a connection, do not have it too.
  private static let kind = Int32(SOCK_STREAM.rawValue) | Int32(SOCK_CLOEXEC.rawValue)

  private static func address(_ port: Int) -> sockaddr_in {
    var address = sockaddr_in()
    address.sin_family = sa_family_t(AF_INET)
    address.sin_port = UInt16(port).bigEndian
    address.sin_addr.s_addr = inet_addr("127.0.0.1")
    return address
  }

  /// Ends the stream, and waits until all of it has been taken.
  func finish() throws {
    isFinished.withLock { $0 = true }
    guard isDone.wait(timeout: .now() + 300) == .success else { throw Failure("the stream has not ended") }
  }

  private func serve(_ connection: Int32) {
    defer {
      // For good, also when a process that was started just then has it too.
      shutdown(connection, Int32(SHUT_RDWR))
      close(connection)
    }
    if let record { return stream(connection, record) }
    var bytes = [UInt8](repeating: 0, count: 4096)
    while true {
      let count = recv(connection, &bytes, bytes.count, 0)
      guard count > 0, Self.send(connection, bytes[..<count]) else { return }
    }
  }

  private func stream(_ connection: Int32, _ record: String) {
    let file = open(record, O_WRONLY | O_CREAT | O_TRUNC, 0o600)
    defer {
      close(file)
      isDone.signal()
    }
    var random = SystemRandomNumberGenerator()
    while !isFinished.withLock({ $0 }) {
      let words = (0..<4096).map { _ in random.next() as UInt64 }
      let bytes = words.withUnsafeBytes { Array($0) }
      guard write(file, bytes, bytes.count) == bytes.count, Self.send(connection, bytes[...]) else { return }
      // As a network would.
      usleep(5000)
    }
  }

  private static func send(_ connection: Int32, _ bytes: ArraySlice<UInt8>) -> Bool {
    var rest = bytes
    while !rest.isEmpty {
      let count = rest.withUnsafeBytes { Foundation.send(connection, $0.baseAddress, $0.count, Int32(MSG_NOSIGNAL)) }
      guard count > 0 else { return false }
      rest = rest.dropFirst(count)
    }
    return true
  }

  /// A connection of the test's own to a port of the loopback address, on which each line comes back.
  final class Client {
    private let descriptor: Int32

    /// nil: nobody listens there.
    init?(port: Int) {
      descriptor = socket(AF_INET, EchoServer.kind, 0)
      var patience = timeval(tv_sec: 120, tv_usec: 0)
      setsockopt(descriptor, SOL_SOCKET, SO_RCVTIMEO, &patience, socklen_t(MemoryLayout<timeval>.size))
      var address = EchoServer.address(port)
      let (file, length) = (descriptor, socklen_t(MemoryLayout<sockaddr_in>.size))
      let status = withUnsafePointer(to: &address) {
        $0.withMemoryRebound(to: sockaddr.self, capacity: 1) { connect(file, $0, length) }
      }
      guard status == 0 else { return nil }
    }

    deinit { close(descriptor) }

    /// - Returns: what comes back for a line; nil: the connection has ended.
    func echo(_ line: String) -> String? {
      guard EchoServer.send(descriptor, Array((line + "\n").utf8)[...]) else { return nil }
      var answer: [UInt8] = []
      while answer.last != 10 {
        var byte: UInt8 = 0
        guard recv(descriptor, &byte, 1, 0) == 1 else { return nil }
        answer.append(byte)
      }
      return String(decoding: answer.dropLast(), as: UTF8.self)
    }
  }
}
