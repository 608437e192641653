import Devices
import Foundation

/// Frames between a pipe and a stream socket, each after its length. It belongs to one thread.
struct FrameMover {
  /// Frames that are offered at once.
  private static let batch = 128
  /// Bytes that wait for the socket, beyond which no frame joins them.
  static let outputLimit = 1 << 17

  private var input = FrameStream.Decoder()
  /// What goes out, which other threads use too.
  private let output: FrameOutput
  private var held: [[UInt8]] = []
  /// Kept: an array of this size would come from the kernel, page by page, each time.
  private var buffer = [UInt8](repeating: 0, count: 1 << 17)

  /// - Parameter output: the socket's.
  init(_ output: FrameOutput) { self.output = output }

  /// What to wait for, for poll(2). `sends`: what `send` said. While the pipe is closed nothing is read either.
  func events(_ pipe: FramePipe?, sends: Bool?) -> Int16 {
    guard let sends, pipe != nil else { return 0 }
    return (held.isEmpty ? Int16(POLLIN) : 0) | (output.isEmpty || !sends ? 0 : Int16(POLLOUT))
  }

  /// Sends what the pipe has and the socket takes. Frames are left in the pipe only while there is something for the socket to
  /// take first, so that who waits for that (`events`) comes back for them.
  /// - Returns: false when the other side is gone, nil while the pipe is closed.
  mutating func send(_ pipe: FramePipe?) -> Bool? {
    pipe?.toHost.whileOpen {
      guard output.send([]) else { return false }
      guard output.count < Self.outputLimit else { return true }
      return output.send(pipe?.toHost.take() ?? [])
    }
  }

  /// Reads what has come.
  /// - Returns: false when the other side is gone.
  mutating func read(_ socket: Int32) -> Bool {
    switch Descriptors.read(socket, into: &buffer) {
    case .ended: return false
    case .wouldBlock: return true
    case .moved(let count): input.append(buffer[..<count])
    }
    return true
  }

  /// Reads some more, of a socket that nobody writes to any more.
  /// - Returns: false when there is nothing left.
  mutating func readRest(_ socket: Int32) -> Bool {
    var buffer = [UInt8](repeating: 0, count: 1 << 17)
    guard case .moved(let count) = Descriptors.read(socket, into: &buffer) else { return false }
    input.append(buffer[..<count])
    return true
  }

  /// Gives the pipe what it takes; the rest waits until it has room. Nothing is given while the machine stands still: what it
  /// has then is its state, and what is here is not.
  /// - Throws: `HostNetworkError` when what has come cannot be understood.
  mutating func deliver(_ pipe: FramePipe?) throws(HostNetworkError) {
    guard let pipe else { return }
    let result = pipe.toHost.whileOpen { Result { () throws(HostNetworkError) in try deliverNow(pipe) } }
    try result?.get()
  }

  private mutating func deliverNow(_ pipe: FramePipe) throws(HostNetworkError) {
    // All that are there at once, so that the machine is called once for all.
    while held.count < FrameMover.batch, let frame = try input.next() { held.append(frame) }
    while !held.isEmpty {
      let taken = pipe.toDevice.offer(held)
      held.removeFirst(taken)
      guard held.isEmpty else { return }
      while held.count < FrameMover.batch, let frame = try input.next() { held.append(frame) }
    }
  }

  /// What has been read and the pipe has not taken.
  mutating func takeUndelivered() -> [[UInt8]] {
    var frames = held
    held = []
    while let frame = try? input.next() { frames.append(frame) }
    return frames
  }
}
