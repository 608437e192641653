import Foundation

/// A network namespace of a test's own: it is gone with the object. Needs root.
final class NetworkNamespace {
  private let descriptor: Int32
  /// A path by which `ip` finds it.
  var path: String { "/proc/\(getpid())/fd/\(descriptor)" }

  /// Calls of the C library that Swift's does not show.
  private static func call(_ name: String, _ numbers: Int32...) throws {
    typealias One = @convention(c) (Int32) -> Int32
    typealias Two = @convention(c) (Int32, Int32) -> Int32
    guard let symbol = dlsym(nil, name) else { throw Failure("no \(name)") }
    let status =
      numbers.count == 1
      ? unsafeBitCast(symbol, to: One.self)(numbers[0]) : unsafeBitCast(symbol, to: Two.self)(numbers[0], numbers[1])
    guard status == 0 else { throw Failure("\(name): \(String(cString: strerror(errno)))") }
  }
  private static let newNetwork: Int32 = 0x4000_0000  // CLONE_NEWNET

  init() throws {
    descriptor = try Self.onThread {
      try Self.call("unshare", Self.newNetwork)
      let file = open("/proc/thread-self/ns/net", O_RDONLY | O_CLOEXEC)
      guard file >= 0 else { throw Failure("no file of the network namespace") }
      return file
    }
  }

  deinit { close(descriptor) }

  /// Runs `body` in the namespace: its sockets, its processes.
  func run<Value>(_ body: @escaping () throws -> Value) throws -> Value {
    try Self.onThread {
      try Self.call("setns", self.descriptor, Self.newNetwork)
      return try body()
    }
  }

  /// A thread that ends, since what it has changed of itself cannot be changed back. The caller waits.
  private static func onThread<Value>(_ body: @escaping () throws -> Value) throws -> Value {
    let box = Box<Value>()
    // It is over before this returns.
    nonisolated(unsafe) let work = body
    let done = DispatchSemaphore(value: 0)
    let thread = Thread {
      box.result = Result { try work() }
      done.signal()
    }
    thread.start()
    done.wait()
    guard let result = box.result else { throw Failure("the thread in the namespace did nothing") }
    return try result.get()
  }

  private final class Box<Value>: @unchecked Sendable { var result: Result<Value, any Error>? }
}

/// Two hosts as network namespaces, each with a bridge and a tap on it for a machine, and a wire between the bridges. The
/// first host has the address 192.0.2.1 on its bridge. Teleports go by another way: 198.51.100.1 and .2.
final class NetworkLab {
  static let peer = "192.0.2.1"
  static let addresses = ["198.51.100.1", "198.51.100.2"]

  /// nil where it can be; else what is missing.
  static let obstacle: String? = {
    guard geteuid() == 0 else { return "needs root, for network namespaces" }
    guard access("/dev/net/tun", R_OK | W_OK) == 0 else { return "needs /dev/net/tun" }
    let tools = ["ip", "ping"].filter { name in
      !["/usr/sbin/", "/sbin/", "/usr/bin/", "/bin/"].contains { access($0 + name, X_OK) == 0 }
    }
    guard tools.isEmpty else { return "needs \(tools.joined(separator: " and ")) (iproute2, iputils-ping)" }
    do {
      let lab = try NetworkLab(folder: NSTemporaryDirectory())
      lab.wire.stop()
    } catch {
      return "needs bridges and taps: \(error)"
    }
    return nil
  }()

  let hosts: [NetworkNamespace]
  let wire: Wire
  private let folder: String

  init(folder: String, seed: UInt64 = 1, faults: Wire.Faults = .init()) throws {
    self.folder = folder
    hosts = [try NetworkNamespace(), try NetworkNamespace()]
    var ends: [Int32] = []
    for host in hosts {
      try Self.shell(host, folder, "ip link set lo up; ip link add br0 type bridge; ip link set br0 up")
      ends.append(try host.run { try Wire.tap("wire0") })
      try Self.shell(
        host, folder,
        "for tap in tap0 wire0; do [ -e /proc/sys/net/ipv4/conf/$tap ] || ip tuntap add $tap mode tap; "
          + "ip link set $tap master br0 up; done")
    }
    try Self.shell(
      hosts[0], folder,
      """
      ip addr add \(Self.peer)/24 dev br0
      ip link add way type veth peer name way netns \(hosts[1].path)
      ip addr add \(Self.addresses[0])/24 dev way; ip link set way up
      """)
    try Self.shell(hosts[1], folder, "ip addr add \(Self.addresses[1])/24 dev way; ip link set way up")
    wire = Wire(ends[0], ends[1], seed: seed, faults: faults)
  }

  /// Runs a shell's commands on a host.
  /// - Returns: what they print.
  @discardableResult
  static func shell(_ host: NetworkNamespace, _ folder: String, _ text: String) throws -> String {
    let child = try host.run {
      try Child(
        "/bin/sh", ["-ec", text],
        environment: ["PATH": "/usr/sbin:/sbin:/usr/bin:/bin"], streams: .files(folder: folder, input: nil))
    }
    guard try child.wait() == 0 else { throw Failure("\(text): \(child.errors)") }
    return child.output
  }
}

/// A cable between two taps that delays, loses, repeats and swaps frames, and can be cut: what it does follows from its seed
/// and the order of frames.
final class Wire: @unchecked Sendable {
  struct Faults: Sendable {
    /// Milliseconds that each frame takes, and up to how many more.
    var delay = 0.0
    var jitter = 0.0
    /// Of a thousand frames.
    var lost = 0
    var doubled = 0
  }

  private let ends: [Int32]
  private let faults: Faults
  private var random: SplitMix
  private let lock = NSLock()
  private var isEnding = false
  private var isOut = false
  private var waiting: [(due: UInt64, order: Int, to: Int, frame: [UInt8])] = []
  private var count = 0
  private let ended = DispatchSemaphore(value: 0)

  struct SplitMix {
    var state: UInt64
    mutating func next(below limit: UInt64) -> UInt64 {
      state &+= 0x9E37_79B9_7F4A_7C15
      var z = state
      z = (z ^ (z >> 30)) &* 0xBF58_476D_1CE4_E5B9
      z = (z ^ (z >> 27)) &* 0x94D0_49BB_1331_11EB
      return (z ^ (z >> 31)) % limit
    }
  }

  init(_ a: Int32, _ b: Int32, seed: UInt64, faults: Faults) {
    ends = [a, b]
    self.faults = faults
    random = SplitMix(state: seed)
    let thread = Thread { [self] in
      while !lock.withLock({ isEnding }) { turn() }
      ended.signal()
    }
    thread.name = "wire"
    thread.start()
  }

  /// Ends it. What is on it is gone.
  func stop() {
    lock.withLock { isEnding = true }
    ended.wait()
    for end in ends { close(end) }
  }

  func setCut(_ isCut: Bool) { lock.withLock { isOut = isCut } }

  private static var now: UInt64 { DispatchTime.now().uptimeNanoseconds }

  private func turn() {
    var descriptors = ends.map { pollfd(fd: $0, events: Int16(POLLIN), revents: 0) }
    let before = Self.now
    let next = waiting.first.map { $0.due > before ? Int32(clamping: ($0.due - before) / 1_000_000) + 1 : 0 } ?? 50
    _ = Glibc.poll(&descriptors, 2, min(next, 50))
    let isCut = lock.withLock { isOut }
    for (from, descriptor) in descriptors.enumerated() where descriptor.revents & Int16(POLLIN) != 0 {
      var buffer = [UInt8](repeating: 0, count: 2048)
      for _ in 0..<64 {
        let length = read(ends[from], &buffer, buffer.count)
        guard length > 0 else { break }
        if !isCut { take(Array(buffer[..<length]), to: 1 - from) }
      }
    }
    let now = Self.now
    let due = waiting.prefix { $0.due <= now }.count
    for item in waiting[..<due] { _ = write(ends[item.to], item.frame, item.frame.count) }
    waiting.removeFirst(due)
  }

  private func take(_ frame: [UInt8], to: Int) {
    // As a switch does, it drops what it has no room for.
    guard random.next(below: 1000) >= UInt64(faults.lost), waiting.count < 4096 else { return }
    for _ in 0..<(random.next(below: 1000) < UInt64(faults.doubled) ? 2 : 1) {
      let extra = faults.jitter > 0 ? Double(random.next(below: 1000)) / 1000 * faults.jitter : 0
      let item = (Self.now + UInt64((faults.delay + extra) * 1_000_000), count, to, frame)
      count += 1
      let place = waiting.lastIndex { $0.due <= item.0 }.map { $0 + 1 } ?? 0
      waiting.insert(item, at: place)
    }
  }

  /// Makes a tap of this thread's namespace.
  static func tap(_ name: String) throws -> Int32 {
    let file = open("/dev/net/tun", O_RDWR | O_CLOEXEC | O_NONBLOCK)
    // struct ifreq with IFF_TAP and IFF_NO_PI; TUNSETIFF.
    var request = Array(name.utf8) + [UInt8](repeating: 0, count: 40 - name.utf8.count)
    (request[16], request[17]) = (0x02, 0x10)
    guard file >= 0, ioctl(file, 0x4004_54CA, &request) == 0 else {
      throw Failure("cannot make a tap: \(String(cString: strerror(errno)))")
    }
    return file
  }
}
