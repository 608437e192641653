import Devices
import Foundation

/// Frames between a pipe and a stream socket, each after its length. It belongs to one thread.
struct FrameMover {
  private var input = FrameStream.Decoder()
  private var output = OutputBuffer()
  private var held: [UInt8]?

  /// What to wait for, for poll(2). `sends`: what `send` said.
  func events(_ pipe: FramePipe?, sends: Bool?) -> Int16 {
    (pipe != nil && held == nil ? Int16(POLLIN) : 0) | (sends == nil || output.isEmpty ? 0 : Int16(POLLOUT))
  }

  /// Sends what the pipe has and the socket takes.
  /// - Returns: false when the other side is gone, nil while the pipe is closed.
  mutating func send(_ pipe: FramePipe?, _ socket: Int32) -> Bool? {
    pipe?.toHost.whileOpen {
      if output.count < 1 << 17, let pipe {
        let frames = pipe.toHost.take()
        output.append { bytes in for frame in frames { FrameStream.encode(frame, to: &bytes) } }
      }
      return output.flush(socket)
    }
  }

  /// Reads what has come.
  /// - Returns: false when the other side is gone.
  mutating func read(_ socket: Int32) -> Bool {
    var buffer = [UInt8](repeating: 0, count: 1 << 17)
    switch Descriptors.read(socket, into: &buffer) {
    case .ended: return false
    case .wouldBlock: return true
    case .moved(let count): input.append(buffer[..<count])
    }
    return true
  }

  /// Gives the pipe what it takes; the rest waits until it has room.
  /// - Throws: `HostNetworkError` when what has come cannot be understood.
  mutating func deliver(_ pipe: FramePipe?) throws(HostNetworkError) {
    guard let pipe else { return }
    while true {
      var next = held
      if next == nil { next = try input.next() }
      guard let frame = next else { return }
      held = nil
      guard pipe.toDevice.offer(CollectionOfOne(frame)) == 1 else {
        held = frame
        return
      }
    }
  }
}
