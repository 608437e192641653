import Foundation

/// A stream on which a NAT process exchanges frames, with its VM process or with another NAT process. It belongs to one
/// thread.
protocol FrameChannel: AnyObject {
  /// To be waited on.
  var descriptor: Int32 { get }
  /// Bytes that wait for the other side.
  var pending: Int { get }
  /// Puts a frame behind what waits.
  func put(_ frame: [UInt8])
  /// Writes what is taken.
  /// - Returns: false when the other side is gone.
  func flush() -> Bool
  /// Reads what has come.
  /// - Returns: false when the other side is gone.
  func read() -> Bool
  /// The next frame that is whole; nil: more must be read.
  /// - Throws: `HostNetworkError` when what has come means nothing.
  func next() throws(HostNetworkError) -> [UInt8]?
}

extension FrameChannel {
  /// What to wait for, for poll(2).
  func events(reads: Bool) -> pollfd {
    pollfd(fd: descriptor, events: (reads ? Int16(POLLIN) : 0) | (pending > 0 ? Int16(POLLOUT) : 0), revents: 0)
  }
}

/// The socket of the VM process, whose machine is here.
final class MachineChannel: FrameChannel {
  let descriptor: Int32
  private var input = FrameStream.Decoder()
  private var buffer = [UInt8](repeating: 0, count: 1 << 17)
  /// Frames as the stream has them, from the first that has not been written to its end.
  private var output: [UInt8] = []
  private var written = 0

  init(_ descriptor: Int32) {
    self.descriptor = descriptor
    Descriptors.setNonBlocking(descriptor)
  }

  var pending: Int { output.count - written }

  func put(_ frame: [UInt8]) { FrameStream.encode(frame, to: &output) }

  func flush() -> Bool {
    while pending > 0 {
      switch Descriptors.write(descriptor, output[written...]) {
      case .moved(let count): written += count
      case .wouldBlock:
        // What has been written leaves the array now and then, so that this costs the same however much waits.
        if written > 1 << 18 { dropWritten() }
        return true
      case .ended: return false
      }
    }
    output.removeAll(keepingCapacity: true)
    written = 0
    return true
  }

  /// Up to the beginning of the frame that is being written.
  private func dropWritten() {
    var start = 0
    while start + 4 <= written {
      let length = output[start..<start + 4].reduce(0) { $0 << 8 | Int($1) }
      guard start + 4 + length <= written else { break }
      start += 4 + length
    }
    output.removeFirst(start)
    written -= start
  }

  /// The frames that the other side does not have whole, which never get there.
  func takeUnwritten() -> [[UInt8]] {
    dropWritten()
    var decoder = FrameStream.Decoder()
    decoder.append(output)
    (output, written) = ([], 0)
    var frames: [[UInt8]] = []
    while let frame = try? decoder.next() { frames.append(frame) }
    return frames
  }

  func read() -> Bool {
    switch Descriptors.read(descriptor, into: &buffer) {
    case .ended: return false
    case .wouldBlock: return true
    case .moved(let count): input.append(buffer[..<count])
    }
    return true
  }

  func next() throws(HostNetworkError) -> [UInt8]? { try input.next() }
}
