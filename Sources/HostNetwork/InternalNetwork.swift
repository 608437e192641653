import Devices
import Foundation

/// A network that machines of one user on one host join by its name. There is no daemon: each card has a datagram socket in the
/// network's folder, and who sends to an address that it has not seen sends to all of them, as a switch does. A datagram is
/// packets with the header of `FrameOffload`, each after its length in 32 bits, big-endian: whoever gets it does the work on
/// them that is left, if its guest does not.
public final class InternalNetwork: FrameDevice {
  /// Addresses that are remembered, at most.
  private static let limit = 1024
  /// Members of a network, at most.
  private static let mostMembers = 256

  /// Its networks end at the host's edge.
  var waitsForMachine: Bool { false }
  /// Tenths of a millisecond that a member whose queue is full gets to read. Linux lets some ten frames wait
  /// (net.unix.max_dgram_qlen).
  private static let patience = 200

  let descriptor: Int32
  let hasHeaders = true
  /// What it knows of the network belongs to the link's thread.
  let sendAtOnce: (@Sendable ([UInt8]) -> Void)? = nil
  /// Its own socket's name in the folder.
  private let member: String
  private let folder: Int32
  private let path: String
  private var members: [String] = []
  private var listedAt = timespec()
  /// By address: behind which socket it was seen last.
  private var stations: [[UInt8]: String] = [:]
  /// Who has not read for longer than `patience`: he gets what he has room for, until he reads again.
  private var slow: Set<String> = []
  /// The datagram that was fetched last, what is left of it, and whose it is.
  private var buffer = [UInt8](repeating: 0, count: InternalNetwork.longestDatagram)
  private var (start, end) = (0, 0)
  private var sender: String?

  /// Names that are names of networks, for messages.
  public static let nameForm = "up to 32 letters, digits, \"-\" and \"_\""

  /// Whether a network may be called that.
  public static func isName(_ text: String) -> Bool {
    (1...32).contains(text.utf8.count)
      && text.utf8.allSatisfy {
        $0 < 128 && (Character(Unicode.Scalar($0)).isLetter || (48...57).contains($0) || $0 == 45 || $0 == 95)
      }
      && !text.hasPrefix("-")
  }

  /// A link that joins the network.
  /// - Parameters: folder: of this user's networks. member: a name that no other card has.
  /// - Throws: `HostNetworkError`.
  public static func link(_ name: String, folder: String, member: String) throws(HostNetworkError) -> any NetworkLink {
    try FrameLink("intnet \(name)", try InternalNetwork(path: "\(folder)/\(name)", member: member))
  }

  init(path: String, member: String) throws(HostNetworkError) {
    self.path = path
    self.member = member
    func failed(_ what: String) -> HostNetworkError {
      HostNetworkError("\(what): \(String(cString: strerror(errno)))", remedy: "see who may write there")
    }
    do {
      try FileManager.default.createDirectory(
        atPath: path, withIntermediateDirectories: true, attributes: [.posixPermissions: 0o700])
    } catch {
      throw HostNetworkError("cannot make the folder \(path) of an internal network", remedy: "see who may write there")
    }
    folder = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC)
    guard folder >= 0 else { throw failed("cannot open the folder \(path) of an internal network") }
    descriptor = socket(
      AF_UNIX, Int32(SOCK_DGRAM.rawValue) | Int32(SOCK_CLOEXEC.rawValue) | Int32(SOCK_NONBLOCK.rawValue), 0)
    guard descriptor >= 0 else {
      close(folder)
      throw failed("cannot make a socket")
    }
    // Only this user's machines.
    fchmod(descriptor, 0o600)
    // Two that start at once do not take each other's socket for one that is left over.
    flock(folder, LOCK_EX)
    defer { flock(folder, LOCK_UN) }
    removeDead()
    unlinkat(folder, member, 0)
    let status = Self.withAddress(folder, member) { bind(descriptor, $0, $1) }
    guard status == 0 else {
      let error = failed("cannot join the internal network \(path)")
      close(folder)
      close(descriptor)
      throw error
    }
    var room: Int32 = 1 << 20
    setsockopt(descriptor, SOL_SOCKET, SO_SNDBUF, &room, 4)
  }

  deinit {
    unlinkat(folder, member, 0)
    close(folder)
    close(descriptor)
  }

  /// Paths of sockets are short, so the folder is named by its descriptor.
  private static func withAddress<Value>(
    _ folder: Int32, _ name: String, _ body: (UnsafePointer<sockaddr>, socklen_t) -> Value
  ) -> Value {
    var address = sockaddr_un()
    address.sun_family = sa_family_t(AF_UNIX)
    withUnsafeMutableBytes(of: &address.sun_path) {
      $0.copyBytes(from: Array("/proc/self/fd/\(folder)/\(name)".utf8).prefix($0.count - 1))
    }
    return withUnsafePointer(to: &address) {
      $0.withMemoryRebound(to: sockaddr.self, capacity: 1) { body($0, socklen_t(MemoryLayout<sockaddr_un>.size)) }
    }
  }

  private func names() -> [String] {
    let all = (try? FileManager.default.contentsOfDirectory(atPath: path)) ?? []
    return Array(all.filter { $0 != member && $0.utf8.count < 60 }.prefix(Self.mostMembers))
  }

  /// Sockets whose processes have died without a word.
  private func removeDead() {
    let probe = socket(AF_UNIX, Int32(SOCK_DGRAM.rawValue) | Int32(SOCK_CLOEXEC.rawValue), 0)
    guard probe >= 0 else { return }
    defer { close(probe) }
    for name in names() {
      let code = Self.withAddress(folder, name) { Foundation.connect(probe, $0, $1) == 0 ? 0 : errno }
      if code == ECONNREFUSED { unlinkat(folder, name, 0) }
    }
  }

  /// The folder says when somebody has come or gone.
  private func refresh() {
    var information = stat()
    guard fstat(folder, &information) == 0 else { return }
    let time = information.st_mtim
    guard time.tv_sec != listedAt.tv_sec || time.tv_nsec != listedAt.tv_nsec else { return }
    listedAt = time
    members = names()
    stations = stations.filter { members.contains($0.value) }
    slow.formIntersection(members)
  }

  // MARK: Frames

  /// Bytes of a datagram beyond which nothing is added.
  private static let datagram = 64 << 10
  /// Longest datagram: one that was begun just below that limit.
  private static let longestDatagram =
    datagram + 2 * (4 + FrameOffload.paddedHeaderLength + FrameStream.longestFrame)

  /// As many packets in a datagram as go the same way: Linux lets few datagrams wait, however small they are.
  func send(_ packets: [[UInt8]]) {
    refresh()
    var to: String?
    var bytes: [UInt8] = []
    func flush() {
      guard !bytes.isEmpty else { return }
      if let to { send(bytes, to: to) } else { for member in members { send(bytes, to: member) } }
      bytes.removeAll(keepingCapacity: true)
    }
    for packet in packets {
      let start = FrameOffload.paddedHeaderLength
      guard (start + 14...start + FrameStream.longestFrame).contains(packet.count) else { continue }
      let next = packet[start] & 1 == 0 ? stations[Array(packet[start..<start + 6])] : nil
      if next != to || bytes.count >= Self.datagram { flush() }
      to = next
      FrameStream.encode(packet, to: &bytes)
    }
    flush()
  }

  /// A member whose queue is full gets a moment to read.
  private func send(_ bytes: [UInt8], to name: String) {
    var attempts = slow.contains(name) ? 1 : Self.patience
    while true {
      let count = Self.withAddress(folder, name) { sendto(descriptor, bytes, bytes.count, Int32(MSG_NOSIGNAL), $0, $1) }
      if count == bytes.count {
        slow.remove(name)
        return
      }
      guard errno == EAGAIN || errno == ENOBUFS else { return }
      attempts -= 1
      guard attempts > 0 else {
        slow.insert(name)
        return
      }
      usleep(100)
    }
  }

  func receive() -> [UInt8]? {
    while true {
      if let packet = nextPacket() { return packet }
      guard fetch() else { return nil }
    }
  }

  /// The next packet of the datagram that was fetched last. What is no packet ends it.
  private func nextPacket() -> [UInt8]? {
    let header = FrameOffload.paddedHeaderLength
    guard end - start >= 4 else { return nil }
    let length = buffer[start..<start + 4].reduce(0) { $0 << 8 | Int($1) }
    guard (header + 14...header + FrameStream.longestFrame).contains(length), start + 4 + length <= end else {
      start = end
      return nil
    }
    let packet = Array(buffer[start + 4..<start + 4 + length])
    start += 4 + length
    learn(Array(packet[header + 6..<header + 12]), sender)
    return packet
  }

  /// - Returns: false when there is no datagram now.
  private func fetch() -> Bool {
    var address = sockaddr_un()
    var length = socklen_t(MemoryLayout<sockaddr_un>.size)
    let count = buffer.withUnsafeMutableBytes { bytes in
      withUnsafeMutablePointer(to: &address) {
        $0.withMemoryRebound(to: sockaddr.self, capacity: 1) {
          recvfrom(descriptor, bytes.baseAddress, bytes.count, 0, $0, &length)
        }
      }
    }
    guard count >= 0 else { return false }
    (start, end, sender) = (0, count, Self.name(address))
    return true
  }

  private static func name(_ address: sockaddr_un) -> String? {
    withUnsafeBytes(of: address.sun_path) { bytes in
      let path = String(decoding: bytes.prefix { $0 != 0 }, as: UTF8.self)
      return path.split(separator: "/").last.map(String.init)
    }
  }

  private func learn(_ station: [UInt8], _ name: String?) {
    guard station[0] & 1 == 0, let name, stations[station] != name else { return }
    if stations.count >= Self.limit { stations.removeAll() }
    stations[station] = name
  }
}
