import Foundation
import Synchronization

/// A file of frames in libpcap's format, which Wireshark and tcpdump read while it grows.
///
/// Frames are written by a thread of its own, from a bounded queue. What finds no room there is not in the file, and counted. A
/// file that cannot be written any more (a full disk) is left as it is: the trace ends, and says so.
///
/// Source: draft-ietf-opsawg-pcap, "PCAP Capture File Format", 3 and 4. Times are nanoseconds of the host's clock.
public final class PcapFile: Sendable {
  /// Bytes that wait to be written, at most.
  static let capacity = 4 << 20

  /// Where it is.
  public let path: String
  private let descriptor: Int32
  private let queue = DispatchQueue(label: "vmctl.pcap")
  private let state = Mutex(State())
  private let onEnd: @Sendable (String) -> Void

  private struct State {
    var waiting: [UInt8] = []
    var isScheduled = false
    var hasEnded = false
    var dropped: UInt64 = 0
  }

  /// Opens the file; what was in it is gone.
  /// - Parameter onEnd: called once when it cannot be written any more, with the reason.
  /// - Throws: `HostNetworkError` when it cannot be written.
  public init(path: String, onEnd: @escaping @Sendable (String) -> Void) throws(HostNetworkError) {
    self.path = path
    self.onEnd = onEnd
    descriptor = open(path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0o600)
    guard descriptor >= 0 else {
      throw HostNetworkError(
        "cannot write the trace \(path): \(String(cString: strerror(errno)))", remedy: "name a file that can be written"
      )
    }
    var header: [UInt8] = []
    // Magic (nanoseconds), version 2.4, two reserved words, longest frame, Ethernet.
    let words: [UInt32] = [0xA1B2_3C4D, 4 << 16 | 2, 0, 0, UInt32(FrameStream.longestFrame), 1]
    for word in words { Self.append(word, to: &header) }
    write(header)
  }

  deinit { close(descriptor) }

  /// Frames that found no room.
  public var dropped: UInt64 { state.withLock { $0.dropped } }
  /// Whether frames are still written.
  public var isOpen: Bool { !state.withLock { $0.hasEnded } }

  /// Adds a frame. Never waits.
  public func add(_ frame: [UInt8]) {
    var now = timespec()
    clock_gettime(CLOCK_REALTIME, &now)
    let schedules = state.withLock { state in
      guard !state.hasEnded else { return false }
      guard state.waiting.count + frame.count + 16 <= Self.capacity else {
        state.dropped += 1
        return false
      }
      let length = UInt32(frame.count)
      for word in [UInt32(truncatingIfNeeded: now.tv_sec), UInt32(now.tv_nsec), length, length] {
        Self.append(word, to: &state.waiting)
      }
      state.waiting += frame
      defer { state.isScheduled = true }
      return !state.isScheduled
    }
    if schedules { queue.async { self.drain() } }
  }

  /// Writes what waits. No frame is taken any more.
  public func finish() {
    queue.sync { drain() }
    state.withLock { $0.hasEnded = true }
  }

  private func drain() {
    let bytes = state.withLock { state in
      state.isScheduled = false
      defer { state.waiting = [] }
      return state.waiting
    }
    write(bytes)
  }

  /// A record that is not written whole is taken back, so that readers find whole ones only.
  private func write(_ bytes: [UInt8]) {
    guard isOpen, !bytes.isEmpty else { return }
    let end = lseek(descriptor, 0, SEEK_CUR)
    var done = 0
    while done < bytes.count {
      let count = bytes.withUnsafeBytes { Foundation.write(descriptor, $0.baseAddress! + done, $0.count - done) }
      if count < 0, errno == EINTR { continue }
      guard count > 0 else {
        let reason = count < 0 ? String(cString: strerror(errno)) : "nothing was written"
        ftruncate(descriptor, end)
        state.withLock {
          $0.hasEnded = true
          $0.waiting = []
        }
        return onEnd(reason)
      }
      done += count
    }
  }

  private static func append(_ word: UInt32, to bytes: inout [UInt8]) {
    withUnsafeBytes(of: word.littleEndian) { bytes.append(contentsOf: $0) }
  }
}
