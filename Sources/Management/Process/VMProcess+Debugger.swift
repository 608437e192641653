import Debugger
import Foundation
import Machine

/// Serving debuggers on a socket that comes with it.
struct DebuggerRequest: Codable, Sendable {
  /// `DebuggedArchitecture`; nil: as the machine's CPUs are.
  var architecture: String?
  /// What the socket is called.
  var place: String
}

/// Where debuggers are to connect to.
public enum DebuggerPlace: Sendable {
  /// A TCP port of the loopback interface, 0 for a free one.
  case port(Int)
  /// A Unix socket.
  case socket(path: String)
}

extension VMEntry {
  /// Has the running machine serve debuggers (GDB), instead of where it has done so before.
  /// - Returns: where: what GDB's `target remote` takes.
  /// - Throws: `ManagementError` when the port or socket cannot be had, or the machine has something against it.
  public func serveDebuggers(at place: DebuggerPlace, architecture: String?) throws -> String {
    let (listener, name) = try Self.listen(place)
    defer { close(listener) }
    try pass(PassedRequest(debugger: DebuggerRequest(architecture: architecture, place: name)), listener)
    return name
  }

  private static func listen(_ place: DebuggerPlace) throws -> (Int32, String) {
    switch place {
    case .socket(let path):
      let path = Files.absolute(path)
      return (try UnixSocket.listen(path: path), path)
    case .port(let port):
      let loopback = in_addr(s_addr: UInt32(0x7F00_0001).bigEndian)
      let (listener, actual) = try TCPListener.open(
        loopback, port: UInt16(port), "cannot listen on port \(port) for debuggers",
        remedy: "choose another with --port (0: a free one)")
      return (listener, "localhost:\(actual)")
    }
  }
}

extension VMProcess {
  /// - Parameter listener: then its own.
  func serveDebuggers(_ request: DebuggerRequest, _ listener: Int32) throws {
    let hasLongMode = lock.withLock { inner.vm }?.hasLongMode ?? true
    let usual: DebuggedArchitecture = hasLongMode ? .x86_64 : .i386
    guard let architecture = request.architecture.map(DebuggedArchitecture.init(rawValue:)) ?? usual else {
      close(listener)
      throw ManagementError("this architecture is not known", remedy: "use one version of vmctl")
    }
    debuggers?.dismiss("debuggers are served elsewhere from now on", ends: true)
    let server: GDBServer
    do {
      server = try GDBServer(listener: listener, machine: self, architecture: architecture) { [logger] in
        logger.info("\($0)")
      }
    } catch {
      close(listener)
      throw ManagementError("no descriptors are left", remedy: "see ulimit -n")
    }
    lock.withLock { inner.debuggers = server }
    logger.info("debuggers are served at \(request.place), as \(architecture.rawValue)")
  }
}

extension VMProcess: DebuggedMachine {
  public var debuggedMachine: VirtualMachine? { lock.withLock { inner.vm } }
  public var isRunning: Bool { state == .running }

  public func pauseForDebugger() throws {
    if state == .paused { return }
    try step("stopped by a debugger", from: [.running], to: .paused) { $0.pause() }
  }

  public func resumeForDebugger() throws { try resume() }

  public func powerOffForDebugger() { terminate() }

  public func resetForDebugger() throws { try reset() }
}
