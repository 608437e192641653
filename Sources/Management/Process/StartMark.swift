import Foundation
import Machine

/// What a starting machine is waited for.
public enum StartMark: Equatable, Sendable, CustomStringConvertible {
  /// The machine runs.
  case ready
  /// A kernel does: the first CPU has switched paging on, which neither BIOS nor boot loaders do.
  case kernel
  /// The first serial console has shown a text.
  case console(String)

  /// From "ready", "kernel" or "console:TEXT".
  public init?(argument: String) {
    switch argument {
    case "ready": self = .ready
    case "kernel": self = .kernel
    default:
      guard argument.hasPrefix("console:"), argument.count > "console:".count else { return nil }
      self = .console(String(argument.dropFirst("console:".count)))
    }
  }

  /// As messages name it.
  public var description: String {
    switch self {
    case .ready: "the machine"
    case .kernel: "a kernel"
    case .console(let text): "\"\(text)\" on the console"
    }
  }
}

extension VMEntry {
  /// How a wait has ended.
  public enum Waited: Equatable, Sendable {
    /// It has come.
    case seen
    /// It cannot come any more, and why.
    case ended(String)
    /// The time was over.
    case timedOut
  }

  /// Waits for a mark of a machine that has just been started.
  /// - Throws: `ManagementError` when the machine cannot be asked.
  public func waitUntil(_ mark: StartMark, within seconds: Double) throws -> Waited {
    switch mark {
    case .ready: return .seen
    case .kernel: return try waitForKernel(until: Date(timeIntervalSinceNow: seconds))
    case .console(let text):
      guard let client = try? ControlClient(self) else { return .ended(whyItEnded) }
      try client.request(ControlRequest(.console))
      let nowhere = try Files.openFile("/dev/null", O_WRONLY, "open")
      defer { close(nowhere) }
      var link = ConsoleLink(client.descriptor, keys: .none)
      (link.expect, link.timeout) = (text, seconds)
      switch link.join(input: -1, output: nowhere) {
      case .found: return .seen
      case .timedOut: return .timedOut
      case .left, .stopped, .outputFailed, .alarmed, .machineEnded: return .ended(whyItEnded)
      }
    }
  }

  private func waitForKernel(until end: Date) throws -> Waited {
    var request = ControlRequest(.status)
    request.text = "boot"
    while Date() < end {
      guard let reply = try? ControlClient(self).request(request) else {
        if try folder.currentStatus().state.isLive { usleep(50_000); continue }
        return .ended(whyItEnded)
      }
      switch reply.boot {
      case .kernel: return .seen
      case .nothingBootable: return .ended(VirtualMachine.nothingBootable)
      case .firmware, nil: usleep(20_000)
      }
    }
    return .timedOut
  }

  private var whyItEnded: String {
    let record = try? folder.currentStatus()
    return "the machine is \(record?.state.rawValue ?? "gone")\(record?.reason.map { " (\($0))" } ?? "")"
  }
}
