import Foundation

/// A wire between source and target that a test can cut, slow down or let fall silent.
final class TCPProxy: @unchecked Sendable {
  private(set) var port = 0
  private let target: Int
  private let listener: Int32
  private let lock = NSLock()
  private var pairs: [OpenEnds] = []
  private var bytesPerSecond: Int?
  private var silent = false
  private var mostBytes: Int?

  init(to target: Int, bytesPerSecond: Int? = nil) throws {
    self.target = target
    self.bytesPerSecond = bytesPerSecond
    listener = socket(AF_INET, Int32(SOCK_STREAM.rawValue), 0)
    var address = Self.loopback(0)
    var length = socklen_t(MemoryLayout<sockaddr_in>.size)
    let file = listener
    let made = withUnsafeMutablePointer(to: &address) {
      $0.withMemoryRebound(to: sockaddr.self, capacity: 1) {
        bind(file, $0, length) == 0 && listen(file, 16) == 0 && getsockname(file, $0, &length) == 0
      }
    }
    guard made else { throw Failure("no port for a proxy: \(String(cString: strerror(errno)))") }
    port = Int(UInt16(bigEndian: address.sin_port))
    Thread { [weak self] in
      while true {
        let one = accept(file, nil, nil)
        guard one >= 0, let self else { return }
        self.join(one)
      }
    }.start()
  }

  deinit {
    shutdown(listener, Int32(SHUT_RDWR))
    close(listener)
    cut()
  }

  private static func loopback(_ port: Int) -> sockaddr_in {
    var address = sockaddr_in()
    address.sin_family = sa_family_t(AF_INET)
    address.sin_port = UInt16(port).bigEndian
    address.sin_addr.s_addr = inet_addr("127.0.0.1")
    return address
  }

  /// Ends all connections; new ones are let through.
  func cut() {
    let all = lock.withLock {
      defer { pairs = [] }
      return pairs
    }
    for pair in all { pair.cut() }
  }

  /// From now on nothing passes, and nobody is told.
  func fallSilent() { lock.withLock { silent = true } }
  func speakAgain() { lock.withLock { silent = false } }
  func setRate(_ bytesPerSecond: Int?) { lock.withLock { self.bytesPerSecond = bytesPerSecond } }

  /// Each connection ends when the source has sent so many bytes.
  func cut(after bytes: Int) { lock.withLock { mostBytes = bytes } }

  private func join(_ one: Int32) {
    let other = socket(AF_INET, Int32(SOCK_STREAM.rawValue), 0)
    var address = Self.loopback(target)
    let status = withUnsafePointer(to: &address) {
      $0.withMemoryRebound(to: sockaddr.self, capacity: 1) {
        connect(other, $0, socklen_t(MemoryLayout<sockaddr_in>.size))
      }
    }
    guard status == 0 else {
      close(one)
      close(other)
      return
    }
    // What waits in the sockets cannot be slowed down any more.
    var small: Int32 = 16384
    setsockopt(one, SOL_SOCKET, SO_RCVBUF, &small, socklen_t(MemoryLayout<Int32>.size))
    let open = OpenEnds(one, other)
    lock.withLock { pairs.append(open) }
    Thread { [self] in pump(one, other, slowed: true, open) }.start()
    Thread { [self] in pump(other, one, slowed: false, open) }.start()
  }

  private func pump(_ from: Int32, _ to: Int32, slowed: Bool, _ open: OpenEnds) {
    defer {
      shutdown(from, Int32(SHUT_RDWR))
      shutdown(to, Int32(SHUT_RDWR))
      open.leave()
    }
    var bytes = [UInt8](repeating: 0, count: 16384)
    var passed = 0
    while true {
      let count = recv(from, &bytes, bytes.count, 0)
      guard count > 0 else { return }
      passed += count
      if slowed, let most = lock.withLock({ mostBytes }), passed > most { return }
      while lock.withLock({ silent }) { usleep(10_000) }
      if slowed, let rate = lock.withLock({ bytesPerSecond }) { usleep(UInt32(count * 1_000_000 / rate)) }
      var done = 0
      while done < count {
        let sent = bytes.withUnsafeBytes { send(to, $0.baseAddress! + done, count - done, Int32(MSG_NOSIGNAL)) }
        guard sent > 0 else { return }
        done += sent
      }
    }
  }

  /// Closes two sockets when both threads are done with them.
  private final class OpenEnds: @unchecked Sendable {
    private let ends: (Int32, Int32)
    private let lock = NSLock()
    private var users = 2
    init(_ one: Int32, _ other: Int32) { ends = (one, other) }
    func leave() {
      lock.withLock {
        users -= 1
        guard users == 0 else { return }
        close(ends.0)
        close(ends.1)
      }
    }
    /// A number that has been closed may be another socket's by now.
    func cut() {
      lock.withLock {
        guard users > 0 else { return }
        shutdown(ends.0, Int32(SHUT_RDWR))
        shutdown(ends.1, Int32(SHUT_RDWR))
      }
    }
  }
}

/// A peer that is no teleport target: answers each connection with some bytes, or with silence.
final class StrangePeer: @unchecked Sendable {
  private(set) var port = 0
  private let listener: Int32

  /// - Parameter answer: sent at once; nil: the connection is accepted and nothing is ever said.
  init(answer: [UInt8]?) throws {
    listener = socket(AF_INET, Int32(SOCK_STREAM.rawValue), 0)
    var address = sockaddr_in()
    address.sin_family = sa_family_t(AF_INET)
    address.sin_addr.s_addr = inet_addr("127.0.0.1")
    var length = socklen_t(MemoryLayout<sockaddr_in>.size)
    let file = listener
    let made = withUnsafeMutablePointer(to: &address) {
      $0.withMemoryRebound(to: sockaddr.self, capacity: 1) {
        bind(file, $0, length) == 0 && listen(file, 16) == 0 && getsockname(file, $0, &length) == 0
      }
    }
    guard made else { throw Failure("no port for a peer") }
    port = Int(UInt16(bigEndian: address.sin_port))
    Thread {
      while true {
        let one = accept(file, nil, nil)
        guard one >= 0 else { return }
        if let answer { _ = answer.withUnsafeBytes { send(one, $0.baseAddress, $0.count, Int32(MSG_NOSIGNAL)) } }
        Thread {
          var bytes = [UInt8](repeating: 0, count: 65536)
          while recv(one, &bytes, bytes.count, 0) > 0 {}
          close(one)
        }.start()
      }
    }.start()
  }

  deinit {
    shutdown(listener, Int32(SHUT_RDWR))
    close(listener)
  }
}
