import Foundation

/// An interface of the host's, as the kernel tells it by ioctl (netdevice(7)): /sys may be that of another network namespace.
public struct HostInterface: Equatable, Sendable {
  /// What it is.
  public enum Kind: Equatable, Sendable { case tap, bridge, other }

  /// What it is called.
  public let name: String
  /// What it is.
  public let kind: Kind
  /// Of a tap: it is up, and a program has it open.
  public let isRunning: Bool
  /// The host's own on it, but for those that IPv6 gives each interface.
  public let addresses: [String]

  /// nil: there is none of that name.
  public init?(_ name: String) {
    guard TapDevice.isName(name), if_nametoindex(name) != 0 else { return nil }
    self.name = name
    // SIOCGIFFLAGS; IFF_RUNNING.
    var flags = [UInt8](repeating: 0, count: 24)
    isRunning = Self.request(0x8913, name, &flags) && flags[0] & 0x40 != 0
    kind = Self.kind(name)
    addresses = Self.addresses(name)
  }

  /// Calls ioctl with a struct ifreq: a name of 16 bytes and 24 more.
  private static func request(_ number: UInt, _ name: String, _ data: inout [UInt8]) -> Bool {
    let descriptor = socket(AF_INET, Int32(SOCK_DGRAM.rawValue) | Int32(SOCK_CLOEXEC.rawValue), 0)
    guard descriptor >= 0 else { return false }
    defer { close(descriptor) }
    var request = [UInt8](repeating: 0, count: 40)
    for (index, byte) in name.utf8.prefix(15).enumerated() { request[index] = byte }
    request.replaceSubrange(16..<16 + data.count, with: data)
    guard ioctl(descriptor, number, &request) >= 0 else { return false }
    data = Array(request[16..<16 + data.count])
    return true
  }

  /// SIOCETHTOOL: the request's data is a pointer to what begins with the command's number (linux/ethtool.h).
  private static func ethtool(_ name: String, _ command: [UInt8]) -> [UInt8]? {
    var command = command
    let count = command.count
    let isDone = command.withUnsafeMutableBytes { bytes in
      var data = withUnsafeBytes(of: UInt(bitPattern: bytes.baseAddress)) { Array($0) }
      return request(0x8946, name, &data)
    }
    return isDone ? Array(command.prefix(count)) : nil
  }

  /// ETHTOOL_GDRVINFO: the driver's name, and what it is on, stand behind the command's number.
  private static func kind(_ name: String) -> Kind {
    guard let answer = ethtool(name, [3, 0, 0, 0] + [UInt8](repeating: 0, count: 192)) else { return .other }
    func text(_ start: Int) -> String { String(decoding: answer[start..<start + 32].prefix { $0 != 0 }, as: UTF8.self) }
    switch (text(4), text(100)) {
    case ("tun", "tap"): return .tap
    case ("bridge", _): return .bridge
    default: return .other
    }
  }

  private static func addresses(_ name: String) -> [String] {
    var list: UnsafeMutablePointer<ifaddrs>?
    guard getifaddrs(&list) == 0 else { return [] }
    defer { freeifaddrs(list) }
    var found: [String] = []
    var next = list
    while let entry = next?.pointee {
      next = entry.ifa_next
      guard let address = entry.ifa_addr, String(cString: entry.ifa_name) == name else { continue }
      let family = Int32(address.pointee.sa_family)
      guard family == AF_INET || family == AF_INET6 else { continue }
      let size = family == AF_INET ? MemoryLayout<sockaddr_in>.size : MemoryLayout<sockaddr_in6>.size
      var host = [CChar](repeating: 0, count: Int(NI_MAXHOST))
      guard
        getnameinfo(address, socklen_t(size), &host, socklen_t(host.count), nil, 0, NI_NUMERICHOST) == 0
      else { continue }
      let text = String(decoding: host.prefix { $0 != 0 }.map { UInt8(bitPattern: $0) }, as: UTF8.self)
      if !text.hasPrefix("fe80:") { found.append(text) }
    }
    return found
  }

  // MARK: Offloads

  /// What the host may leave to an interface, as ethtool(8) calls it for short, and the kernel's features that it is made of.
  private static let offloadFeatures: [(name: String, features: Set<String>)] = [
    ("rx", ["rx-checksum"]),
    ("tx", ["tx-checksum-ip-generic", "tx-checksum-ipv4", "tx-checksum-ipv6", "tx-checksum-sctp"]),
    (
      "tso",
      [
        "tx-tcp-segmentation", "tx-tcp6-segmentation", "tx-tcp-ecn-segmentation", "tx-tcp-mangleid-segmentation",
      ]
    ), ("uso", ["tx-udp-segmentation"]), ("gso", ["tx-generic-segmentation"]), ("gro", ["rx-gro"]), ("lro", ["rx-lro"]),
  ]
  private static let allFeatures = Set(offloadFeatures.flatMap(\.features))

  /// A feature of an interface: its bit, whether somebody wants it, and whether it is on.
  private struct Feature {
    var name: String
    var bit: Int
    var canChange: Bool
    var isWanted: Bool
    var isActive: Bool
    /// Words of 32 bits that all features take, which a request has to have.
    var words: Int
  }

  /// The features that are offloads (ETHTOOL_GSSET_INFO, ETHTOOL_GSTRINGS of ETH_SS_FEATURES and ETHTOOL_GFEATURES of
  /// linux/ethtool.h; their bits are the running kernel's own).
  private var features: [Feature] {
    func word(_ value: Int) -> [UInt8] { withUnsafeBytes(of: UInt32(value).littleEndian) { Array($0) } }
    func number(_ bytes: [UInt8], _ place: Int) -> Int {
      (0..<4).reduce(0) { $0 | Int(bytes[place + $1]) << (8 * $1) }
    }
    let set = word(0x37) + word(0) + word(1 << 4) + word(0) + word(0)
    guard let sizes = Self.ethtool(name, set), case let count = number(sizes, 16), (1...4096).contains(count),
      let names = Self.ethtool(name, word(0x1B) + word(4) + word(count) + [UInt8](repeating: 0, count: count * 32)),
      case let blocks = (count + 31) / 32,
      let states = Self.ethtool(name, word(0x3A) + word(blocks) + [UInt8](repeating: 0, count: blocks * 16))
    else { return [] }
    return (0..<count).compactMap { bit in
      let text = String(decoding: names[(12 + bit * 32)..<(44 + bit * 32)].prefix { $0 != 0 }, as: UTF8.self)
      guard Self.allFeatures.contains(text) else { return nil }
      func has(_ word: Int) -> Bool { number(states, 8 + bit / 32 * 16 + word * 4) >> (bit % 32) & 1 == 1 }
      return Feature(name: text, bit: bit, canChange: has(0), isWanted: has(1), isActive: has(2), words: blocks)
    }
  }

  /// Those that are on, as ethtool(8) calls them: rx, tx, tso, gso, gro and so on.
  public var offloads: [String] {
    let active = Set(features.filter(\.isActive).map(\.name))
    return Self.offloadFeatures.filter { !$0.features.isDisjoint(with: active) }.map(\.name)
  }

  /// The kernel's names of those that are wanted, whether they are on now or will be when a program opens the tap.
  public var wantedOffloads: Set<String> { Set(features.filter { $0.canChange && $0.isWanted }.map(\.name)) }

  /// From now on these offloads are wanted, and no others (ETHTOOL_SFEATURES).
  /// - Parameter names: the kernel's.
  /// - Throws: `HostNetworkError` when the kernel refuses it: CAP_NET_ADMIN is needed.
  public func want(_ names: Set<String>) throws(HostNetworkError) {
    let changes = features.filter { $0.canChange && $0.isWanted != names.contains($0.name) }
    guard let count = changes.first?.words else { return }
    var words = [UInt32](repeating: 0, count: 2 + count * 2)
    (words[0], words[1]) = (0x3B, UInt32(count))
    for change in changes {
      words[2 + change.bit / 32 * 2] |= 1 << UInt32(change.bit % 32)
      if names.contains(change.name) { words[3 + change.bit / 32 * 2] |= 1 << UInt32(change.bit % 32) }
    }
    guard Self.ethtool(name, words.flatMap { word in withUnsafeBytes(of: word) { Array($0) } }) == nil else { return }
    let code = errno
    throw HostNetworkError(
      "cannot change the offloads of \(name): \(String(cString: strerror(code)))",
      remedy: code == EPERM ? "that needs root or CAP_NET_ADMIN" : nil)
  }
}
