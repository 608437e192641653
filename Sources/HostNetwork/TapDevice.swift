import Devices
import Foundation

/// A network interface of the host whose other end is the card's cable: a tap (Linux, Documentation/networking/tuntap.rst).
public final class TapDevice: FrameDevice, @unchecked Sendable {
  let descriptor: Int32
  let hasHeaders: Bool
  private var buffer = [UInt8](repeating: 0, count: FrameStream.longestFrame + FrameOffload.paddedHeaderLength + 1)

  /// Names that an interface may have, for messages.
  public static let nameForm = "the name of a tap or a bridge, up to 15 characters, as tap0"

  /// Whether an interface may be called that.
  public static func isName(_ text: String) -> Bool {
    (1...15).contains(text.utf8.count) && text != "." && text != ".."
      && text.utf8.allSatisfy { $0 > 32 && $0 < 127 && $0 != 47 && $0 != 58 }
  }

  /// Where Debian has QEMU's helper, which gives users a tap on the bridges that /etc/qemu/bridge.conf names.
  static let bridgeHelper = "/usr/lib/qemu/qemu-bridge-helper"

  /// A link to a tap that the user may open, or to a new one on a bridge.
  /// - Parameter leavesWork: the host may leave checksums and the cutting of segments to this side. Otherwise a tap's
  ///   offloads are switched off, as far as this process may do that.
  /// - Throws: `HostNetworkError` for an interface that is not there, is neither, or is not the user's.
  public static func link(_ name: String, leavesWork: Bool = true) throws(HostNetworkError) -> any NetworkLink {
    guard let interface = HostInterface(name) else {
      throw HostNetworkError(
        "there is no interface \(name) on this host",
        remedy: "make a tap, as root: ip tuntap add \(name) mode tap user $USER; or name a bridge")
    }
    if interface.kind == .bridge {
      return try FrameLink("bridged \(name)", TapDevice(askHelper(bridge: name)))
    }
    return try FrameLink("bridged \(name)", TapDevice(open(tap: name), leavesWork: leavesWork, name: name))
  }

  /// - Parameters: descriptor: of a tap, whose frames have headers if it says so. leavesWork, name: as `link`.
  init(_ descriptor: Int32, leavesWork: Bool = true, name: String = "") {
    self.descriptor = descriptor
    Descriptors.setNonBlocking(descriptor)
    // TUNGETIFF is _IOR('T', 210, unsigned int).
    var request = [UInt8](repeating: 0, count: 40)
    hasHeaders = ioctl(descriptor, 0x8004_54D2, &request) == 0 && request[17] & 0x40 != 0
    // TUNSETVNETHDRSZ, _IOW('T', 216, int), and TUNSETOFFLOAD, _IOW('T', 208, unsigned int): checksums, TSO for both versions
    // of IP and with ECN. A tap keeps both when who had it before has gone: without headers nothing may be left to do.
    var length = Int32(FrameOffload.paddedHeaderLength)
    if hasHeaders { _ = ioctl(descriptor, 0x4004_54D8, &length) }
    _ = ioctl(descriptor, 0x4004_54D0, hasHeaders && leavesWork ? 0x0F : 0)
    // What the kernel does by itself. Who may not change that has it done before, or lives with it.
    if !leavesWork { try? HostInterface(name)?.want([]) }
  }

  deinit { close(descriptor) }

  private static func open(tap name: String) throws(HostNetworkError) -> Int32 {
    let file = Foundation.open("/dev/net/tun", O_RDWR | O_CLOEXEC)
    guard file >= 0 else {
      throw HostNetworkError(
        "cannot open /dev/net/tun: \(String(cString: strerror(errno)))", remedy: "see who may open it")
    }
    // struct ifreq: a name of 16 bytes, then flags: IFF_TAP, IFF_NO_PI, IFF_VNET_HDR. TUNSETIFF is _IOW('T', 202, int).
    var request = [UInt8](repeating: 0, count: 40)
    for (index, byte) in name.utf8.prefix(15).enumerated() { request[index] = byte }
    (request[16], request[17]) = (0x02, 0x50)
    // Who had it may be a process of this machine's that is about to end.
    var status = ioctl(file, 0x4004_54CA, &request)
    for _ in 0..<30 where status != 0 && errno == EBUSY {
      usleep(100_000)
      status = ioctl(file, 0x4004_54CA, &request)
    }
    guard status == 0 else {
      let code = errno
      close(file)
      guard code != EINVAL else {
        throw HostNetworkError("\(name) is neither a tap nor a bridge", remedy: "name one of those; see ip -d link")
      }
      let remedy =
        code == EBUSY
        ? "another machine or program has it; give this one another"
        : "as root: ip tuntap del \(name) mode tap; ip tuntap add \(name) mode tap user $USER"
      throw HostNetworkError("cannot open the tap \(name): \(String(cString: strerror(code)))", remedy: remedy)
    }
    return file
  }

  /// The helper sends the tap's descriptor over a socket that it is given.
  private static func askHelper(bridge: String) throws(HostNetworkError) -> Int32 {
    guard access(bridgeHelper, X_OK) == 0 else {
      throw HostNetworkError(
        "\(bridge) is a bridge, and \(bridgeHelper) is not installed",
        remedy: "install qemu-system-common, or join a tap of yours to it and name that")
    }
    let (ours, theirs) = try Descriptors.pair()
    defer { close(ours) }
    let process: pid_t
    do {
      defer { close(theirs) }
      process = try HelperProcess.spawn(bridgeHelper, Self.options(bridge: bridge), descriptors: [theirs])
    }
    let answer = DescriptorPassing.receive(ours)
    ChildProcess.wait(process)
    guard let tap = answer?.1.first else {
      throw HostNetworkError(
        "\(bridgeHelper) gives no tap on \(bridge)",
        remedy: "let it: echo allow \(bridge) >>/etc/qemu/bridge.conf; it must be setuid root or run by root")
    }
    return tap
  }

  /// Another program's.
  private static func options(bridge: String) -> [String] {
    ["br=\(bridge)", "fd=3", "use-vnet"].map { "-" + "-" + $0 }
  }

  func send(_ frames: [[UInt8]]) {
    for frame in frames { _ = frame.withUnsafeBytes { write(descriptor, $0.baseAddress, $0.count) } }
  }

  var waitsForMachine: Bool { true }

  var sendAtOnce: (@Sendable ([UInt8]) -> Void)? {
    // It keeps the descriptor open.
    { [self] frame in send([frame]) }
  }

  func receive() -> [UInt8]? {
    while true {
      let count = read(descriptor, &buffer, buffer.count)
      guard count >= 0 else { return nil }
      let length = hasHeaders ? count - FrameOffload.paddedHeaderLength : count
      if (14...FrameStream.longestFrame).contains(length) { return Array(buffer[..<count]) }
      if count == 0 { return nil }
    }
  }
}
