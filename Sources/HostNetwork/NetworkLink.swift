import Devices

/// The frames of one network card's cable, both ways.
public typealias FramePipe = HostPipe<[UInt8]>

/// What a card's cable leads to on the host: it moves frames between a `FramePipe` and some network.
///
/// It is made while the process may still open what it likes, starts when the process has its threads, and moves frames from
/// `connect` on, which is when the machine is this process's own. Nothing is sent while the pipe is closed.
public protocol NetworkLink: AnyObject, Sendable {
  /// What it is, for people: "nat 10.0.2.0/24".
  var description: String { get }
  /// What goes through the pipe is packets with the header of `FrameOffload` in front, of which the network does the work that
  /// is left.
  var takesHeaders: Bool { get }
  /// Frames may be as long as an IP packet can be, where they are TCP's: nothing on the way has an MTU.
  var takesLongFrames: Bool { get }
  /// Makes it ready, without moving frames.
  /// - Throws: `HostNetworkError`.
  func start() throws
  /// From now on frames move.
  func connect(_ pipe: FramePipe)
  /// Nothing moves any more when this returns.
  func stop()
}

extension NetworkLink {
  public var takesHeaders: Bool { false }
  public var takesLongFrames: Bool { false }
}

extension NATHelper {
  /// libslirp ends the guest's connections: how they were cut is lost there anyway.
  public var takesLongFrames: Bool { true }
}
