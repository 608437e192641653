import Foundation
import HostNetwork

/// A request to a running machine whose process is to get an open file or socket with it: the VM process may open none.
struct PassedRequest: Codable, Sendable {
  /// A disc for a CD-ROM drive, or nothing in its place.
  var disc: DiscRequest?
  /// A socket on which debuggers are to be served.
  var debugger: DebuggerRequest?
  /// A file into which a trace is to be written, or nothing: the trace ends.
  var trace: TracePassed?
  /// The socket to a process that asks a witness.
  var witness: WitnessPassed?
}

/// What is answered: why it failed, or nothing.
private struct PassedReply: Codable { var error: String? }

/// Takes what is passed to a VM, one client at a time.
final class PassingService: @unchecked Sendable {
  private let listener: Int32
  private let path: String

  /// - Parameter take: gets the request and the descriptor that came with it, which is then its own.
  init(path: String, take: @escaping @Sendable (PassedRequest, Int32?) throws -> Void) throws {
    self.path = path
    listener = try UnixSocket.listen(path: path)
    let thread = Thread { [listener] in
      while true {
        let client = accept(listener, nil, nil)
        if client < 0 {
          if errno == EINTR || errno == ECONNABORTED { continue }
          if errno == EMFILE || errno == ENFILE { usleep(100_000); continue }
          break
        }
        Self.serve(client, take)
        Glibc.close(client)
      }
      Glibc.close(listener)
    }
    thread.name = "passing"
    thread.start()
  }

  private static func serve(_ client: Int32, _ take: (PassedRequest, Int32?) throws -> Void) {
    _ = fcntl(client, F_SETFD, FD_CLOEXEC)
    UnixSocket.setPatience(client, seconds: 5)
    guard let (bytes, descriptors) = DescriptorPassing.receive(client) else { return }
    for extra in descriptors.dropFirst() { Glibc.close(extra) }
    var reply = PassedReply()
    do {
      guard let request = try? JSONDecoder().decode(PassedRequest.self, from: Data(bytes)) else {
        if let descriptor = descriptors.first { Glibc.close(descriptor) }
        throw ManagementError("this is no request with a file", remedy: "use one version of vmctl")
      }
      try take(request, descriptors.first)
    } catch {
      reply.error = ManagementError.text(for: error)
    }
    if let answer = try? JSONEncoder().encode(reply) { _ = DescriptorPassing.send(client, Array(answer), []) }
  }

  /// Nobody can connect any more.
  func close() {
    unlink(path)
    shutdown(listener, Int32(SHUT_RDWR))
  }
}

extension VMEntry {
  /// Passes a request to the machine's process.
  /// - Throws: `ManagementError` with what that has to say against it.
  func pass(_ request: PassedRequest, _ descriptor: Int32?) throws {
    let socket = try UnixSocket.connect(path: folder.passingSocket, patience: 30)
    defer { close(socket) }
    guard
      DescriptorPassing.send(socket, Array(try JSONEncoder().encode(request)), descriptor.map { [$0] } ?? []),
      let (bytes, _) = DescriptorPassing.receive(socket),
      let reply = try? JSONDecoder().decode(PassedReply.self, from: Data(bytes))
    else {
      throw ManagementError(
        "the machine \"\(name)\" does not answer", remedy: "try again in a moment; is its process stopped?")
    }
    if let error = reply.error { throw ManagementError(error) }
  }
}

extension VMProcess {
  func take(_ request: PassedRequest, _ descriptor: Int32?) throws {
    if let disc = request.disc { return try changeDisc(disc, descriptor) }
    if let debugger = request.debugger, let descriptor { return try serveDebuggers(debugger, descriptor) }
    if let witness = request.witness, let descriptor { return take(witness, descriptor) }
    if let trace = request.trace { return try startTrace(trace, descriptor) }
    if let descriptor { close(descriptor) }
    throw ManagementError("this request is not known", remedy: "use one version of vmctl")
  }
}
