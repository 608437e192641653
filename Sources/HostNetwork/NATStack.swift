import CSlirp
import Foundation

/// libslirp: a TCP/IP stack that speaks Ethernet with a guest and ordinary sockets with the world, so it needs no privilege.
///
/// It belongs to one thread. It parses what a guest sends in C, so it runs in a process of its own (`NATProcess`).
final class NATStack {
  /// A frame for the guest.
  var onFrame: ([UInt8]) -> Void = { _ in }

  private let configuration: NATConfiguration
  private var stack: OpaquePointer?
  private let callbacks: UnsafeMutablePointer<SlirpCb>
  /// Descriptors to be polled, collected by `fill`.
  private var polled: [pollfd] = []
  private var base = 0
  private var timers: [UnsafeMutablePointer<Timer>] = []

  private struct Timer {
    let id: SlirpTimerId
    let argument: UnsafeMutableRawPointer?
    /// Milliseconds of the monotonic clock; nil: not armed.
    var deadline: Int64?
  }

  /// - Throws: `HostNetworkError` when libslirp does not take the configuration.
  init(_ configuration: NATConfiguration, tftpFolder: String?) throws(HostNetworkError) {
    self.configuration = configuration
    callbacks = .allocate(capacity: 1)
    callbacks.initialize(to: Self.callbackTable)
    var config = SlirpConfig()
    config.version = 4
    config.in_enabled = true
    config.vnetwork = Self.address(configuration.network)
    config.vnetmask = Self.address(configuration.mask)
    config.vhost = Self.address(configuration.gateway)
    config.vdhcp_start = Self.address(configuration.firstGuest)
    config.vnameserver = Self.address(configuration.nameServer)
    // fec0::/64, as user networking has had it ever since; the gateway is fec0::2, the name server fec0::3.
    config.in6_enabled = true
    config.vprefix_len = 64
    config.vprefix_addr6 = Self.address6(0)
    config.vhost6 = Self.address6(2)
    config.vnameserver6 = Self.address6(3)
    // libslirp copies them.
    let names = [tftpFolder, configuration.bootFile].map { $0.map { strdup($0) } ?? nil }
    defer { for name in names { free(name) } }
    config.tftp_path = UnsafePointer(names[0])
    config.bootfile = UnsafePointer(names[1])
    stack = slirp_new(&config, callbacks, Unmanaged.passUnretained(self).toOpaque())
    guard stack != nil else { throw HostNetworkError("libslirp did not take the network's configuration") }
  }

  deinit {
    if let stack { slirp_cleanup(stack) }
    for timer in timers { timer.deallocate() }
    callbacks.deallocate()
  }

  private static func address(_ address: IPv4Address) -> in_addr { in_addr(s_addr: address.bits.bigEndian) }

  private static func address6(_ host: UInt8) -> in6_addr {
    var address = in6_addr()
    withUnsafeMutableBytes(of: &address) {
      $0[0] = 0xFE
      $0[1] = 0xC0
      $0[15] = host
    }
    return address
  }

  // MARK: The guest's side

  /// A frame from the guest, of any length that an IP packet has: libslirp takes its payload as a stream.
  /// What is too short to be one is dropped.
  func receive(_ frame: [UInt8]) {
    guard frame.count >= 14, frame.count <= FrameStream.longestFrame else { return }
    frame.withUnsafeBufferPointer { slirp_input(stack, $0.baseAddress, Int32($0.count)) }
  }

  // MARK: Port forwards

  /// - Throws: `HostNetworkError` where the port is taken or not allowed.
  func add(_ rule: PortForward) throws(HostNetworkError) {
    errno = 0
    let (host, guest) = addresses(rule)
    let status = slirp_add_hostfwd(
      stack, rule.transport == .udp ? 1 : 0, host, Int32(rule.hostPort), guest, Int32(rule.guestPort))
    guard status == 0 else {
      let place = "\(rule.hostAddress ?? "127.0.0.1"):\(rule.hostPort)/\(rule.transport.rawValue)"
      switch errno {
      case EADDRINUSE:
        throw HostNetworkError(
          "port forward \(rule.name): \(place) is in use", remedy: "choose another port, or stop what uses it")
      case EACCES:
        throw HostNetworkError(
          "port forward \(rule.name): \(place) may not be opened", remedy: "choose a port from 1024 on")
      case EADDRNOTAVAIL:
        throw HostNetworkError(
          "port forward \(rule.name): this host does not have the address of \(place)", remedy: "see ip address")
      default: throw HostNetworkError("port forward \(rule.name): \(place): \(String(cString: strerror(errno)))")
      }
    }
  }

  /// Ends a rule. Connections that it has made go on.
  func remove(_ rule: PortForward) {
    slirp_remove_hostfwd(stack, rule.transport == .udp ? 1 : 0, addresses(rule).host, Int32(rule.hostPort))
  }

  private func addresses(_ rule: PortForward) -> (host: in_addr, guest: in_addr) {
    let host = rule.hostAddress.flatMap { IPv4Address($0) } ?? IPv4Address(bits: 0x7F00_0001)
    let guest = rule.guestAddress.flatMap { IPv4Address($0) } ?? configuration.firstGuest
    return (Self.address(host), Self.address(guest))
  }

  // MARK: The world's side

  /// Adds what it waits for to `descriptors`, and shortens `timeout` (milliseconds) to when it must be called at the latest.
  func fill(_ descriptors: inout [pollfd], timeout: inout UInt32) {
    polled = []
    base = descriptors.count
    slirp_pollfds_fill(
      stack, &timeout,
      { descriptor, events, opaque in
        let stack = NATStack.from(opaque)
        stack.polled.append(pollfd(fd: descriptor, events: NATStack.events(events), revents: 0))
        return Int32(stack.polled.count - 1)
      }, Unmanaged.passUnretained(self).toOpaque())
    descriptors += polled
    let now = Self.milliseconds
    for timer in timers {
      guard let deadline = timer.pointee.deadline else { continue }
      timeout = min(timeout, UInt32(clamping: max(0, deadline - now)))
    }
  }

  /// After poll(2), with the descriptors as it left them.
  func poll(_ descriptors: [pollfd], failed: Bool) {
    polled = Array(descriptors[base...])
    slirp_pollfds_poll(
      stack, failed ? 1 : 0,
      { index, opaque in
        let polled = NATStack.from(opaque).polled
        guard polled.indices.contains(Int(index)) else { return 0 }
        return NATStack.results(polled[Int(index)].revents)
      }, Unmanaged.passUnretained(self).toOpaque())
    runTimers()
  }

  private func runTimers() {
    let now = Self.milliseconds
    for timer in timers where (timer.pointee.deadline ?? .max) <= now {
      timer.pointee.deadline = nil
      slirp_handle_timer(stack, timer.pointee.id, timer.pointee.argument)
    }
  }

  private static let eventBits: [(slirp: Int, poll: Int32)] = [
    (SLIRP_POLL_IN, POLLIN), (SLIRP_POLL_OUT, POLLOUT), (SLIRP_POLL_PRI, POLLPRI), (SLIRP_POLL_ERR, POLLERR),
    (SLIRP_POLL_HUP, POLLHUP),
  ]

  private static func events(_ events: Int32) -> Int16 {
    eventBits.reduce(0) { Int(events) & $1.slirp != 0 ? $0 | Int16($1.poll) : $0 }
  }

  private static func results(_ events: Int16) -> Int32 {
    eventBits.reduce(0) { Int32(events) & $1.poll != 0 ? $0 | Int32($1.slirp) : $0 }
  }

  // MARK: What libslirp calls

  private static func from(_ opaque: UnsafeMutableRawPointer?) -> NATStack {
    guard let opaque else { preconditionFailure("libslirp lost its owner") }
    return Unmanaged<NATStack>.fromOpaque(opaque).takeUnretainedValue()
  }

  private static var nanoseconds: Int64 {
    var now = timespec()
    clock_gettime(CLOCK_MONOTONIC, &now)
    return Int64(now.tv_sec) * 1_000_000_000 + Int64(now.tv_nsec)
  }

  /// Of the monotonic clock.
  static var milliseconds: Int64 { nanoseconds / 1_000_000 }

  private static var callbackTable: SlirpCb {
    var table = SlirpCb()
    table.send_packet = { buffer, count, opaque in
      NATStack.from(opaque).onFrame([UInt8](UnsafeRawBufferPointer(start: buffer, count: count)))
      return count
    }
    table.guest_error = { _, _ in }
    table.clock_get_ns = { _ in NATStack.nanoseconds }
    table.timer_free = { timer, opaque in
      guard let timer else { return }
      let stack = NATStack.from(opaque)
      stack.timers.removeAll { UnsafeMutableRawPointer($0) == timer }
      timer.assumingMemoryBound(to: Timer.self).deallocate()
    }
    table.timer_mod = { timer, deadline, _ in
      timer?.assumingMemoryBound(to: Timer.self).pointee.deadline = deadline
    }
    table.register_poll_fd = { _, _ in }
    table.unregister_poll_fd = { _, _ in }
    table.notify = { _ in }
    table.timer_new_opaque = { id, argument, opaque in
      let timer = UnsafeMutablePointer<Timer>.allocate(capacity: 1)
      timer.initialize(to: Timer(id: id, argument: argument, deadline: nil))
      NATStack.from(opaque).timers.append(timer)
      return UnsafeMutableRawPointer(timer)
    }
    return table
  }
}
