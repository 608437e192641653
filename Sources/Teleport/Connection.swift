import Foundation
import SavedState

#if canImport(Glibc)
  import Glibc
#elseif canImport(Musl)
  import Musl
#endif

/// Wakes a thread that waits for a socket.
final class WakePipe: @unchecked Sendable {
  let readEnd: Int32
  private let writeEnd: Int32

  init() {
    var ends: [Int32] = [-1, -1]
    // Without descriptors nothing can be woken; time-outs still end every wait.
    if pipe(&ends) == 0 {
      for end in ends {
        _ = fcntl(end, F_SETFD, FD_CLOEXEC)
        _ = fcntl(end, F_SETFL, O_NONBLOCK)
      }
    }
    readEnd = ends[0]
    writeEnd = ends[1]
  }

  deinit {
    close(readEnd)
    close(writeEnd)
  }

  func wake() {
    var byte: UInt8 = 1
    _ = write(writeEnd, &byte, 1)
  }

  func clear() {
    var bytes: [UInt8] = Array(repeating: 0, count: 64)
    while read(readEnd, &bytes, bytes.count) > 0 {}
  }
}

/// One TCP connection: frames out and in, every wait bounded. For one thread at a time.
final class Connection {
  private let descriptor: Int32
  private var wake: WakePipe?
  private var decoder = Wire.Decoder()
  private var outgoing: [UInt8] = []
  private var scratch = [UInt8](repeating: 0, count: 256 << 10)
  private var isClosed = false
  private var channel: SecureChannel?
  let peer: String
  private(set) var bytesSent: UInt64 = 0
  private(set) var bytesReceived: UInt64 = 0

  /// - Parameter wake: when it fires, waits end with `cancelled`.
  init(descriptor: Int32, peer: String, wake: WakePipe?) {
    self.descriptor = descriptor
    self.peer = peer
    self.wake = wake
    _ = fcntl(descriptor, F_SETFL, fcntl(descriptor, F_GETFL) | O_NONBLOCK)
    var one: Int32 = 1
    setsockopt(descriptor, Int32(IPPROTO_TCP), TCP_NODELAY, &one, socklen_t(MemoryLayout<Int32>.size))
    outgoing = Wire.preface
  }

  deinit { close() }

  func close() {
    guard !isClosed else { return }
    isClosed = true
    channel = nil
    #if canImport(Glibc)
      Glibc.close(descriptor)
    #else
      Musl.close(descriptor)
    #endif
  }

  /// Gives the socket to the caller, who speaks something else on it, without TLS. Nothing may be on its way here.
  func release() -> Int32 {
    isClosed = true
    channel = nil
    return descriptor
  }

  /// From here on the wait cannot be cancelled.
  func ignoreWake() { wake = nil }
  func setWake(_ pipe: WakePipe) { wake = pipe }

  // MARK: Connecting

  static func connect(host: String, port: Int, timeoutMS: Int, wake: WakePipe?) throws(TeleportError) -> Connection {
    var hints = addrinfo()
    hints.ai_family = AF_UNSPEC
    hints.ai_socktype = Int32(SOCK_STREAM.rawValue)
    hints.ai_flags = AI_NUMERICSERV
    var list: UnsafeMutablePointer<addrinfo>?
    let found = getaddrinfo(host, String(port), &hints, &list)
    guard found == 0 else {
      throw TeleportError.cannotConnect(host: host, port: port, reason: String(cString: gai_strerror(found)))
    }
    defer { freeaddrinfo(list) }
    let deadline = Deadline(milliseconds: timeoutMS)
    var last = TeleportError.cannotConnect(host: host, port: port, reason: "it has no address")
    var entry = list
    while let info = entry {
      entry = info.pointee.ai_next
      let kind = Int32(SOCK_STREAM.rawValue) | Int32(SOCK_CLOEXEC.rawValue) | Int32(SOCK_NONBLOCK.rawValue)
      let descriptor = socket(info.pointee.ai_family, kind, 0)
      guard descriptor >= 0 else { continue }
      let connection = Connection(descriptor: descriptor, peer: "\(host) port \(port)", wake: wake)
      let code = try connection.open(info.pointee, deadline)
      if code == 0 { return connection }
      last =
        code == ECONNREFUSED
        ? .nobodyListens(host: host, port: port)
        : .cannotConnect(host: host, port: port, reason: String(cString: strerror(code)))
    }
    throw last
  }

  /// - Returns: 0 or the reason in `errno`'s numbers.
  private func open(_ info: addrinfo, _ deadline: Deadline) throws(TeleportError) -> Int32 {
    #if canImport(Glibc)
      let started = Glibc.connect(descriptor, info.ai_addr, info.ai_addrlen)
    #else
      let started = Musl.connect(descriptor, info.ai_addr, info.ai_addrlen)
    #endif
    if started == 0 { return isOwnEcho ? ECONNREFUSED : 0 }
    guard errno == EINPROGRESS else { return errno }
    do {
      try wait(for: Int16(POLLOUT), deadline, "connecting")
    } catch {
      if error == .cancelled { throw error }
      return ETIMEDOUT
    }
    var code: Int32 = 0
    var length = socklen_t(MemoryLayout<Int32>.size)
    getsockopt(descriptor, SOL_SOCKET, SO_ERROR, &code, &length)
    return code == 0 && isOwnEcho ? ECONNREFUSED : code
  }

  /// The other side's address in numbers; nil: it has gone.
  var remoteHost: String? {
    var storage = sockaddr_storage()
    var length = socklen_t(MemoryLayout<sockaddr_storage>.size)
    var text = [CChar](repeating: 0, count: 64)
    let status = withUnsafeMutablePointer(to: &storage) {
      $0.withMemoryRebound(to: sockaddr.self, capacity: 1) {
        getpeername(descriptor, $0, &length) == 0
          ? getnameinfo($0, length, &text, socklen_t(text.count), nil, 0, NI_NUMERICHOST) : -1
      }
    }
    guard status == 0 else { return nil }
    let name = String(decoding: text.prefix { $0 != 0 }.map { UInt8(bitPattern: $0) }, as: UTF8.self)
    // IPv4 in IPv6 is the former (RFC 4291, 2.5.5.2).
    return name.hasPrefix("::ffff:") && name.contains(".") ? String(name.dropFirst(7)) : name
  }

  /// A socket that seeks a free port of its own host may find itself.
  private var isOwnEcho: Bool {
    func name(_ of: (Int32, UnsafeMutablePointer<sockaddr>, UnsafeMutablePointer<socklen_t>) -> Int32) -> [UInt8] {
      var storage = sockaddr_storage()
      var length = socklen_t(MemoryLayout<sockaddr_storage>.size)
      _ = withUnsafeMutablePointer(to: &storage) {
        $0.withMemoryRebound(to: sockaddr.self, capacity: 1) { of(descriptor, $0, &length) }
      }
      return withUnsafeBytes(of: storage) { Array($0) }
    }
    return name { getsockname($0, $1, $2) } == name { getpeername($0, $1, $2) }
  }

  // MARK: Securing

  /// From here on everything goes through TLS. Nothing else may have been sent meanwhile.
  ///
  /// - Parameters: key: 32 bytes, which the other side has too. isClient: of TLS; the other side is not.
  /// - Throws: `TeleportError.tampered` when the other side has another key.
  func secure(key: [UInt8], isClient: Bool, timeoutMS: Int) throws(TeleportError) {
    let deadline = Deadline(milliseconds: timeoutMS)
    try flush(timeoutMS: timeoutMS)
    guard channel == nil, !decoder.isWithinFrame else { throw .damaged("bytes before their time") }
    guard let made = SecureChannel(descriptor: descriptor, isClient: isClient, key: key) else {
      throw .connectionLost("no memory for TLS")
    }
    while let why = made.handshake() {
      switch why {
      case .wantsRead: try wait(for: Int16(POLLIN), deadline, "\(peer) is silent (TLS)")
      case .wantsWrite: try wait(for: Int16(POLLOUT), deadline, "\(peer) takes no more bytes")
      case .closed, .socket, .notAuthentic: throw failure(why)
      }
    }
    channel = made
  }

  /// Whether nobody but the peer can read or change what crosses.
  var isSecure: Bool { channel != nil }

  private func failure(_ why: SecureChannel.Failure) -> TeleportError {
    switch why {
    case .wantsRead, .wantsWrite: .timedOut(peer)
    case .closed: .closed
    case .socket(let code): lost(code)
    case .notAuthentic: .tampered
    }
  }

  /// Some of the bytes.
  /// - Parameter more: others follow at once.
  /// - Returns: how many, or why none.
  private func write(_ bytes: UnsafeRawBufferPointer, more: Bool) -> Result<Int, SecureChannel.Failed> {
    if let channel { return channel.write(bytes) }
    let flags = Int32(MSG_NOSIGNAL) | (more ? Int32(MSG_MORE) : 0)
    while true {
      let count = Foundation.send(descriptor, bytes.baseAddress, bytes.count, flags)
      if count > 0 { return .success(count) }
      if errno == EAGAIN { return .failure(.init(why: .wantsWrite)) }
      if errno != EINTR { return .failure(.init(why: .socket(errno))) }
    }
  }

  /// Gives the decoder some of the bytes.
  /// - Returns: how many, or why none.
  private func readSome() -> Result<Int, SecureChannel.Failed> {
    if let result = decoder.fill({ read(into: $0) }) { return result }
    let result = scratch.withUnsafeMutableBytes { read(into: $0) }
    if case .success(let count) = result { decoder.feed(scratch[..<count]) }
    return result
  }

  private func read(into bytes: UnsafeMutableRawBufferPointer) -> Result<Int, SecureChannel.Failed> {
    if let channel { return channel.read(into: bytes) }
    while true {
      let count = Foundation.recv(descriptor, bytes.baseAddress, bytes.count, 0)
      if count > 0 { return .success(count) }
      if count == 0 { return .failure(.init(why: .closed)) }
      if errno == EAGAIN { return .failure(.init(why: .wantsRead)) }
      if errno != EINTR { return .failure(.init(why: .socket(errno))) }
    }
  }

  // MARK: Frames

  /// Queues a frame; it goes out with `flush`, or when much is queued.
  func queue(_ frame: Wire.Frame, timeoutMS: Int) throws(TeleportError) {
    outgoing += Wire.header(of: frame)
    guard frame.payload.count >= Self.largeBytes else {
      outgoing += frame.payload
      if outgoing.count >= Self.largeBytes { try flush(timeoutMS: timeoutMS) }
      return
    }
    // Memory goes out from where it is.
    try flush(timeoutMS: timeoutMS, more: true)
    try write(frame.payload, Deadline(milliseconds: timeoutMS))
  }

  private static let largeBytes = 256 << 10

  func send(_ type: Wire.FrameType, _ payload: [UInt8] = [], timeoutMS: Int) throws(TeleportError) {
    try queue(Wire.Frame(type, payload), timeoutMS: timeoutMS)
    try flush(timeoutMS: timeoutMS)
  }

  /// - Parameter more: others follow at once.
  func flush(timeoutMS: Int, more: Bool = false) throws(TeleportError) {
    guard !outgoing.isEmpty else { return }
    let bytes = outgoing
    outgoing = []
    try write(bytes, Deadline(milliseconds: timeoutMS), more: more)
  }

  /// What is left when it fails goes out before anything else: a frame is whole, also one that somebody has interrupted.
  private func write(_ bytes: [UInt8], _ deadline: Deadline, more: Bool = false) throws(TeleportError) {
    var done = 0
    defer { if done < bytes.count { outgoing = Array(bytes[done...]) + outgoing } }
    while done < bytes.count {
      let result = bytes.withUnsafeBytes { write(UnsafeRawBufferPointer(rebasing: $0[done...]), more: more) }
      switch result {
      case .success(let count):
        done += count
        bytesSent += UInt64(count)
      case .failure(let failed) where failed.why == .wantsWrite:
        try wait(for: Int16(POLLOUT), deadline, "\(peer) takes no more bytes")
      case .failure(let failed) where failed.why == .wantsRead:
        try wait(for: Int16(POLLIN), deadline, "\(peer) is silent (TLS)")
      case .failure(let failed): throw failure(failed.why)
      }
    }
  }

  /// Waits for a whole frame.
  func receive(timeoutMS: Int, _ what: String) throws(TeleportError) -> Wire.Frame {
    let deadline = Deadline(milliseconds: timeoutMS)
    while true {
      if let frame = try poll() { return frame }
      try wait(for: Int16(POLLIN), deadline, "\(peer) is silent (\(what))")
    }
  }

  /// A frame that is here already, or nil.
  func poll() throws(TeleportError) -> Wire.Frame? {
    while true {
      if let frame = try decoder.next() { return frame }
      switch readSome() {
      case .success(let count): bytesReceived += UInt64(count)
      case .failure(let failed) where failed.why == .wantsRead || failed.why == .wantsWrite: return nil
      case .failure(let failed): throw failure(failed.why)
      }
    }
  }

  private func lost(_ code: Int32) -> TeleportError {
    // A reset says the same as an orderly end: the peer's process or socket is gone.
    code == ECONNRESET || code == EPIPE ? .closed : .connectionLost(String(cString: strerror(code)))
  }

  /// Lets time pass.
  /// - Throws: `TeleportError.closed` as soon as the connection has been shut down.
  func pause(milliseconds: Int) throws(TeleportError) {
    let deadline = Deadline(milliseconds: milliseconds)
    while deadline.remainingMS > 0 {
      var entry = pollfd(fd: descriptor, events: 0, revents: 0)
      if Foundation.poll(&entry, 1, Int32(clamping: deadline.remainingMS)) > 0 { throw .closed }
    }
  }

  private func wait(for events: Int16, _ deadline: Deadline, _ what: String) throws(TeleportError) {
    var entries = [pollfd(fd: descriptor, events: events, revents: 0)]
    if let wake { entries.append(pollfd(fd: wake.readEnd, events: Int16(POLLIN), revents: 0)) }
    while true {
      let left = deadline.remainingMS
      let ready = Foundation.poll(&entries, nfds_t(entries.count), Int32(clamping: max(left, 0)))
      if ready < 0 && errno == EINTR { continue }
      if entries.count > 1 && entries[1].revents != 0 { throw .cancelled }
      if ready > 0 { return }
      if left <= 0 || ready < 0 { throw .timedOut(what) }
    }
  }
}

/// A point in time that waits end at.
struct Deadline {
  private let end: ContinuousClock.Instant
  init(milliseconds: Int) { end = ContinuousClock.now + .milliseconds(milliseconds) }
  var remainingMS: Int { Int((ContinuousClock.now.duration(to: end) / .milliseconds(1)).rounded(.up)) }
}

/// Measures in milliseconds.
struct Stopwatch {
  private var start = ContinuousClock.now
  var milliseconds: Double { start.duration(to: .now) / .milliseconds(1) }
  /// The time since the start or the last lap.
  mutating func lap() -> Double {
    let now = ContinuousClock.now
    defer { start = now }
    return start.duration(to: now) / .milliseconds(1)
  }
}

extension Wire.Frame {
  /// The frame, if it is of the expected type; what the peer says instead becomes the error.
  func expect(_ type: Wire.FrameType) throws(TeleportError) -> Wire.Frame {
    if self.type == type { return self }
    throw unexpected("\(type)")
  }

  func unexpected(_ wanted: String) -> TeleportError {
    switch type {
    case .refuse:
      guard let refusal = try? Message.decodeText(Message.Refusal.self, self) else { return .damaged("a refusal") }
      switch refusal.code {
      case .busy: return .busy(refusal.message)
      case .version: return .version(refusal.message)
      case .password: return .password(refusal.message)
      case .hardware:
        return refusal.differences.map { .hardware($0, machine: refusal.machine ?? "") } ?? .refused(refusal.message)
      case .damaged, .machine, .media, .other: return .refused(refusal.message)
      }
    case .abort: return .refused(ForeignText.clean(String(decoding: payload, as: UTF8.self)))
    default: return .damaged("a frame \(type) where \(wanted) was due")
    }
  }
}
