import Foundation

/// A NAT process and what leads to it.
public struct NATConnection: Sendable {
  /// Socket of the frames.
  public var frames: Int32
  /// Socket of requests and replies.
  public var control: Int32
  /// The process.
  public var process: pid_t
  /// Ends it, if it has not ended, and says how it ended, as waitpid(2) does.
  public var end: @Sendable () -> Int32
  /// Lets it go on by itself: it ends neither with who has started it nor by `end`.
  public var release: @Sendable () -> Void

  /// - Parameters: frames, control: sockets, then the helper's to close. end: ends the process and returns its status.
  ///   release: lets it go on by itself.
  public init(
    frames: Int32, control: Int32, process: pid_t, end: @escaping @Sendable () -> Int32,
    release: @escaping @Sendable () -> Void
  ) {
    self.frames = frames
    self.control = control
    self.process = process
    self.end = end
    self.release = release
  }
}

/// Starts a NAT process. Called from the helper's thread, again after each end of the process.
public typealias NATLauncher = @Sendable () throws -> NATConnection

/// Starting of helper processes.
enum HelperProcess {
  /// Starts `program` with default signals, with the descriptors as its 3, 4 and so on; all others are closed by
  /// an exec.
  /// - Throws: `HostNetworkError`.
  static func spawn(_ program: String, _ arguments: [String], descriptors: [Int32]) throws(HostNetworkError) -> pid_t {
    do {
      return try ChildProcess.spawn(program, ["vmctl"] + arguments, descriptors: descriptors)
    } catch {
      throw HostNetworkError("cannot start \(program): \(String(cString: strerror(error.code)))")
    }
  }

  /// Ends a child of this process.
  /// - Returns: its status, as waitpid(2) gives it.
  static func end(_ process: pid_t) -> Int32 {
    kill(process, SIGKILL)
    return ChildProcess.wait(process)
  }

  /// Starts a NAT process as a child of this one.
  static func startNAT(
    _ program: String, _ purpose: NATKeeper.Purpose
  ) throws(HostNetworkError) -> (frames: Int32, control: Int32, process: pid_t) {
    let (frames, theirFrames) = try Descriptors.pair()
    let (control, theirControl) = try Descriptors.pair()
    defer {
      close(theirFrames)
      close(theirControl)
    }
    do {
      return (
        frames, control,
        try spawn(
          program, [NATProcess.subcommand] + purpose.arguments, descriptors: [theirFrames, theirControl])
      )
    } catch {
      close(frames)
      close(control)
      throw error
    }
  }
}

extension NATHelper {
  /// Starts NAT processes as children of this process.
  /// - Parameters: program: vmctl. tftpFolder: whose files guests get by TFTP.
  public static func launcher(_ program: String, tftpFolder: String? = nil) -> NATLauncher {
    {
      let (frames, control, process) = try HelperProcess.startNAT(program, .init(tftpFolder: tftpFolder))
      return NATConnection(
        frames: frames, control: control, process: process, end: { HelperProcess.end(process) }, release: {})
    }
  }
}
