import Foundation
import HostNetwork

/// The processes that serve machines' networks beside their VM processes.
public enum NetworkProcesses {
  /// vmctl itself, also when its file has been replaced by another version meanwhile.
  static var program: String {
    "/proc/self/exe"
  }

  /// Translates addresses until the VM process is gone. It parses what a guest sends: before that it gives up all files but
  /// those of the resolver.
  public static func runNAT() throws {
    Sandbox.closeFilesOfNAT()
    try NATProcess.run()
  }

  /// Starts NAT processes for a VM process until that is gone.
  public static func runKeeper() { NATKeeper.run(program) }
}
