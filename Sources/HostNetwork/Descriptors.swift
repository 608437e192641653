import Foundation

/// Reading and writing of non-blocking descriptors.
package enum Descriptors {
  /// A pair of connected sockets that do not survive an exec.
  /// - Parameter packets: what is sent at once arrives at once; else it is a stream.
  /// - Throws: `HostNetworkError` when the host has none left.
  package static func pair(packets: Bool = false) throws(HostNetworkError) -> (Int32, Int32) {
    var ends: [Int32] = [0, 0]
    let kind = Int32((packets ? SOCK_SEQPACKET : SOCK_STREAM).rawValue) | Int32(SOCK_CLOEXEC.rawValue)
    guard socketpair(AF_UNIX, kind, 0, &ends) == 0 else {
      throw HostNetworkError("cannot make a pair of sockets: \(String(cString: strerror(errno)))")
    }
    return (ends[0], ends[1])
  }

  static func setNonBlocking(_ descriptor: Int32) {
    _ = fcntl(descriptor, F_SETFL, fcntl(descriptor, F_GETFL) | O_NONBLOCK)
  }

  enum Outcome: Equatable {
    case moved(Int)
    /// Nothing now; poll(2) will tell.
    case wouldBlock
    /// The other side is gone.
    case ended
  }

  static func read(_ descriptor: Int32, into buffer: inout [UInt8]) -> Outcome {
    let count = Foundation.read(descriptor, &buffer, buffer.count)
    if count > 0 { return .moved(count) }
    if count == 0 { return .ended }
    return errno == EAGAIN || errno == EINTR ? .wouldBlock : .ended
  }

  static func write(_ descriptor: Int32, _ bytes: ArraySlice<UInt8>) -> Outcome {
    let count = bytes.withUnsafeBytes { send(descriptor, $0.baseAddress, $0.count, Int32(MSG_NOSIGNAL)) }
    if count >= 0 { return .moved(count) }
    return errno == EAGAIN || errno == EINTR || errno == ENOBUFS ? .wouldBlock : .ended
  }
}

/// Bytes that wait for a socket to take them.
struct OutputBuffer {
  private var bytes: [UInt8] = []
  private var start = 0

  var count: Int { bytes.count - start }
  var isEmpty: Bool { count == 0 }

  mutating func append(_ body: (inout [UInt8]) -> Void) { body(&bytes) }

  mutating func removeAll() {
    bytes.removeAll()
    start = 0
  }

  /// Writes what the socket takes.
  /// - Returns: false when the other side is gone.
  mutating func flush(_ descriptor: Int32) -> Bool {
    while !isEmpty {
      switch Descriptors.write(descriptor, bytes[start...]) {
      case .moved(let count): start += count
      case .wouldBlock:
        // What has been written leaves the array now and then, so that this costs the same however much waits.
        if start > 1 << 18 {
          bytes.removeFirst(start)
          start = 0
        }
        return true
      case .ended: return false
      }
    }
    bytes.removeAll(keepingCapacity: true)
    start = 0
    return true
  }
}
