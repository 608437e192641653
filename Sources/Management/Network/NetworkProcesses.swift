import Foundation
import HostNetwork

/// The processes that serve machines' networks beside their VM processes.
public enum NetworkProcesses {
  /// vmctl itself, also when its file has been replaced by another version meanwhile.
  static var program: String {
    "/proc/self/exe"
  }

  /// Translates addresses until the VM process is gone. It parses what a guest sends: before that it gives up all files but
  /// those of the resolver and those that guests may get by TFTP, and all system calls but those of its work.
  /// - Throws: an error of that process when it cannot begin.
  public static func runNAT(_ words: [String]) throws {
    let purpose = NATKeeper.Purpose(words)
    if purpose.isSandboxed { Sandbox.closeNAT(reading: purpose.readable) }
    try NATProcess.run(tftpFolder: purpose.tftpFolder, probe: SandboxProbe.report)
  }

  /// Does for a VM process in its sandbox what that may not do any more, until it is gone.
  public static func runKeeper(_ words: [String]) {
    let purpose = NATKeeper.Purpose(words)
    if purpose.isSandboxed { Sandbox.closeKeeper(purpose) }
    NATKeeper.run(program, purpose, probe: SandboxProbe.report)
  }
}
