/// Ethernet frames on a stream of bytes: each one after its length in 32 bits, big-endian. passt and QEMU's `-netdev stream`
/// speak it too, over a Unix socket or TCP.
public enum FrameStream {
  /// Longest frame: the largest IP packet with its Ethernet header and a VLAN tag.
  public static let longestFrame = 65_535 + 18

  /// Appends a frame to `bytes` as the stream has it.
  public static func encode(_ frame: [UInt8], to bytes: inout [UInt8]) {
    withUnsafeBytes(of: UInt32(frame.count).bigEndian) { bytes.append(contentsOf: $0) }
    bytes.append(contentsOf: frame)
  }

  /// Takes a stream apart again, in whatever pieces it comes.
  public struct Decoder: Sendable {
    private var bytes: [UInt8] = []
    private var start = 0

    /// An empty stream.
    public init() {}

    /// Bytes of a frame that is not whole yet, with its length.
    public var pending: Int { bytes.count - start }

    /// Takes what was read.
    public mutating func append(_ more: some Collection<UInt8>) {
      if start > 0 {
        bytes.removeFirst(start)
        start = 0
      }
      bytes.append(contentsOf: more)
    }

    /// The next whole frame, or nil when more has to be read.
    /// - Throws: `HostNetworkError` for a length that no frame has: the other side speaks something else, and nothing that
    ///   follows means anything.
    public mutating func next() throws(HostNetworkError) -> [UInt8]? {
      guard pending >= 4 else { return nil }
      let length = bytes[start..<start + 4].reduce(0) { $0 << 8 | Int($1) }
      guard length > 0, length <= FrameStream.longestFrame else {
        throw HostNetworkError(
          "a frame of \(length) bytes was announced",
          remedy: "the other side must send each frame after its length in 32 bits, big-endian")
      }
      guard pending >= 4 + length else { return nil }
      defer { start += 4 + length }
      return Array(bytes[start + 4..<start + 4 + length])
    }
  }
}
