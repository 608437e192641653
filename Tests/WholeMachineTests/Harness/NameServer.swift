import Foundation
import Synchronization

/// A name server on the host's loopback network for one machine: it knows one name.
final class NameServer: Sendable {
  static let name = "guest.vmctl.test"
  static let address: [UInt8] = [192, 0, 2, 77]

  /// A resolv.conf that names it.
  let configuration: String
  private let descriptor: Int32
  private let questions = Mutex<[String]>([])

  /// - Returns: nil for who may not have port 53 or another resolv.conf for a process: all but root.
  static func forRoot(folder: String) throws -> NameServer? { geteuid() == 0 ? try NameServer(folder: folder) : nil }

  private init(folder: String) throws {
    configuration = folder + "/resolv.conf"
    descriptor = socket(AF_INET, Int32(SOCK_DGRAM.rawValue) | Int32(SOCK_CLOEXEC.rawValue), 0)
    // Resolvers know no port but 53. All of 127.0.0.0/8 is this host: others keep theirs.
    let socket = descriptor
    let place = try poll("a free address for a name server") { () -> String? in
      let text = "127.\(UInt8.random(in: 1...254)).\(UInt8.random(in: 1...254)).\(UInt8.random(in: 1...254))"
      var address = sockaddr_in()
      address.sin_family = sa_family_t(AF_INET)
      address.sin_port = UInt16(53).bigEndian
      address.sin_addr.s_addr = inet_addr(text)
      return withUnsafePointer(to: &address) {
        $0.withMemoryRebound(to: sockaddr.self, capacity: 1) {
          bind(socket, $0, socklen_t(MemoryLayout<sockaddr_in>.size)) == 0 ? text : nil
        }
      }
    }
    try Data("nameserver \(place)\n".utf8).write(to: URL(fileURLWithPath: configuration))
    Thread { [weak self] in
      while let self, self.serve() {}
    }.start()
  }

  deinit { close(descriptor) }

  /// The names that were asked for.
  var asked: [String] { questions.withLock { $0 } }

  /// Answers one question (RFC 1035, 4.1).
  private func serve() -> Bool {
    var entry = pollfd(fd: descriptor, events: Int16(POLLIN), revents: 0)
    guard Glibc.poll(&entry, 1, 200) >= 0 || errno == EINTR else { return false }
    guard entry.revents != 0 else { return true }
    var question = [UInt8](repeating: 0, count: 512)
    var sender = sockaddr_in()
    var length = socklen_t(MemoryLayout<sockaddr_in>.size)
    let count = withUnsafeMutablePointer(to: &sender) {
      $0.withMemoryRebound(to: sockaddr.self, capacity: 1) { recvfrom(descriptor, &question, 512, 0, $0, &length) }
    }
    guard count > 12, let answer = answer(Array(question[..<count])) else { return count >= 0 }
    _ = withUnsafePointer(to: &sender) {
      $0.withMemoryRebound(to: sockaddr.self, capacity: 1) { sendto(descriptor, answer, answer.count, 0, $0, length) }
    }
    return true
  }

  private func answer(_ question: [UInt8]) -> [UInt8]? {
    var labels: [String] = []
    var place = 12
    while place < question.count, question[place] != 0 {
      let end = place + 1 + Int(question[place])
      guard end < question.count else { return nil }
      labels.append(String(decoding: question[place + 1..<end], as: UTF8.self))
      place = end
    }
    guard place + 5 <= question.count else { return nil }
    let name = labels.joined(separator: ".").lowercased()
    questions.withLock { $0.append(name) }
    let isKnown = name == Self.name
    let hasAddress = isKnown && question[place + 2] == 1
    // A response, recursion available; NXDOMAIN for other names.
    var bytes = Array(question[0..<2]) + [0x81, isKnown ? 0x80 : 0x83, 0, 1, 0, hasAddress ? 1 : 0, 0, 0, 0, 0]
    bytes += question[12..<place + 5]
    if hasAddress { bytes += [0xC0, 12, 0, 1, 0, 1, 0, 0, 0, 60, 0, 4] + Self.address }
    return bytes
  }
}

extension TwoHosts {
  /// Starts the machine on a host; its NAT asks that name server.
  func start(_ host: TestHost, resolvingBy server: NameServer?) throws {
    guard let server else { return try start(host) }
    // In a mount namespace of its own, which ends with its processes.
    let text = "mount --bind \"$1\" /etc/resolv.conf && shift && exec \"$@\""
    let words = ["--mount", "/bin/sh", "-ec", text, "sh", server.configuration, TestHost.vmctl, "startvm", "box"]
    let child = try Child(
      "unshare", words, environment: host.environment, streams: .files(folder: shared, input: nil))
    guard try child.wait() == 0 else { throw Failure("startvm: \(child.errors)") }
  }
}
