import Foundation
import Machine

/// A trace that is to be written into a file which comes with it; without one the running trace is to end.
struct TracePassed: Codable, Sendable {
  var request: TraceRequest?
  /// As zstd.
  var compresses = false
  /// What the file is called.
  var name = ""
}

extension VMEntry {
  /// Has the running machine write down what it does, into a new file: text, or compressed when its name ends with ".zst".
  /// - Throws: `ManagementError` when the file is there already or cannot be made, or the machine has something against it.
  public func startTrace(_ request: TraceRequest, to path: String) throws {
    let path = Files.absolute(path)
    let file = open(path, O_WRONLY | O_CREAT | O_EXCL | O_APPEND | O_CLOEXEC, 0o600)
    guard file >= 0 else {
      throw errno == EEXIST
        ? ManagementError("there is a file \(path) already", remedy: "name one that is not there")
        : ManagementError.system("cannot make \(path)")
    }
    defer { close(file) }
    do {
      try pass(
        PassedRequest(trace: TracePassed(request: request, compresses: path.hasSuffix(".zst"), name: path)), file)
    } catch {
      unlink(path)
      throw error
    }
  }

  /// Ends its trace.
  /// - Throws: `ManagementError` when there is none.
  public func stopTrace() throws { try pass(PassedRequest(trace: TracePassed()), nil) }
}

extension VMProcess {
  /// - Parameter descriptor: then its own.
  func startTrace(_ passed: TracePassed, _ descriptor: Int32?) throws {
    guard let vm = lock.withLock({ inner.vm }) else {
      if let descriptor { close(descriptor) }
      throw ManagementError("the machine \"\(entry.name)\" has not arrived yet", remedy: "try again when it runs")
    }
    guard let request = passed.request, let descriptor else {
      if let descriptor { close(descriptor) }
      guard vm.stopTrace() else { throw ManagementError("the machine \"\(entry.name)\" writes no trace") }
      return
    }
    logger.info("a trace is written into \(passed.name)")
    vm.startTrace(request, to: descriptor, compresses: passed.compresses) { [logger] end in
      if let failure = end.failure {
        logger.warning("the trace has ended after \(end.lines) lines: \(String(cString: strerror(failure)))")
      } else {
        logger.info("the trace has ended after \(end.lines) lines")
      }
    }
  }
}
