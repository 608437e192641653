import Foundation
import Logging
import Machine
import NIOConcurrencyHelpers
import NIOCore
import NIOPosix

/// What a serial port's mode connects its console to: a telnet server, a TCP client, a file or a socket in the file system.
final class ConsoleEndpoint: Sendable {
  let console: SerialConsole
  /// Port of the telnet server.
  let port: Int?
  /// What to tell the user, such as "uart 1: telnet 127.0.0.1 2023".
  let summary: String?
  /// The file that it writes to.
  private let file: ConsoleFile?
  private let stop: @Sendable () -> Void
  /// What the kernel keeps of a paste that the guest does not read, in bytes; when the client closes its side all of it is
  /// read at once.
  static let receiveBuffer: SocketOptionValue = 65536

  private init(
    console: SerialConsole, port: Int? = nil, summary: String? = nil, file: ConsoleFile? = nil,
    stop: @escaping @Sendable () -> Void
  ) {
    self.console = console
    self.file = file
    self.port = port
    self.summary = summary
    self.stop = stop
  }

  func close() { stop() }

  /// The machine whose console it is runs here from now on.
  func own() { file?.own() }

  /// What it is told is what a copy of the machine knows, which runs elsewhere; or that has ended.
  func copy(_ isCopy: Bool) { file?.copy(isCopy) }

  /// What of a serial port's host side lies in the file system, opened: a file, a listening socket, or nothing.
  ///
  /// Apart from `open`, since a VM process opens these before it gives the rest of the file system up, which it does before it
  /// has an event loop.
  final class Named: Sendable {
    private let descriptor: NIOLockedValueBox<Int32>

    /// - Throws: what keeps the file from being written or the socket from being made.
    init(_ slot: Int, _ mode: MachineConfiguration.UartMode) throws {
      switch mode {
      case .file(let path):
        let file = try Files.openFile(
          path, O_RDWR | O_CREAT | O_APPEND, "open for \(ConsoleName.text(slot))",
          remedy: "choose another with vmctl modifyvm \(ConsoleName.option(slot)) file PATH")
        descriptor = NIOLockedValueBox(file)
      case .unixServer(let path): descriptor = NIOLockedValueBox(try UnixSocket.listen(path: path))
      case .disconnected, .tcpServer, .tcpClient: descriptor = NIOLockedValueBox(-1)
      }
    }

    deinit {
      let rest = take()
      if rest >= 0 { Glibc.close(rest) }
    }

    /// The descriptor, which is then the caller's.
    func take() -> Int32 {
      descriptor.withLockedValue { value in
        defer { value = -1 }
        return value
      }
    }
  }

  /// Opens the host's side of a serial port. A port in use is an error here and now.
  static func open(
    _ slot: Int, _ mode: MachineConfiguration.UartMode, _ named: Named, group: any EventLoopGroup, logger: Logger
  ) throws -> ConsoleEndpoint {
    let console = SerialConsole(slot: slot, eventLoop: group.next())
    switch mode {
    case .disconnected:
      return ConsoleEndpoint(console: console) {}
    case .tcpServer(let host, let port):
      return try server(console, host: host ?? "127.0.0.1", port: port)
    case .tcpClient(let host, let port):
      let client = ReconnectingClient(console: console, host: host, port: port, logger: logger)
      client.start()
      return ConsoleEndpoint(console: console, summary: "\(console.name) connects to \(host) port \(port)") {
        client.stop()
      }
    case .file(let path):
      let file = ConsoleFile(console: console, path: path, descriptor: named.take(), logger: logger)
      return ConsoleEndpoint(console: console, summary: "\(console.name) writes to \(path)", file: file) { file.stop() }
    case .unixServer(let path): return try unixServer(console, path: path, listener: named.take())
    }
  }

  private static func bootstrap(_ console: SerialConsole, telnet: Bool) -> ServerBootstrap {
    ServerBootstrap(group: console.eventLoop)
      .serverChannelOption(.backlog, value: 16)
      .serverChannelOption(.socketOption(.so_reuseaddr), value: 1)
      .childChannelOption(.writeBufferWaterMark, value: .init(low: 16384, high: 65536))
      .childChannelInitializer { channel in
        channel.eventLoop.makeCompletedFuture {
          try channel.pipeline.syncOperations.addHandler(ConsoleHandler(console: console, telnet: telnet))
        }
      }
  }

  private static func server(_ console: SerialConsole, host: String, port: Int) throws -> ConsoleEndpoint {
    let channel: any Channel
    do {
      channel = try bootstrap(console, telnet: true)
        .childChannelOption(.tcpOption(.tcp_nodelay), value: 1)
        .childChannelOption(.socketOption(.so_rcvbuf), value: Self.receiveBuffer)
        .bind(host: host, port: port).wait()
    } catch let error as IOError where error.errnoCode == EADDRINUSE {
      throw ManagementError(
        "port \(port) of \(host), for the console of \(console.name), is in use",
        remedy: "choose another with vmctl modifyvm \(ConsoleName.option(console.slot)) tcpserver PORT (0: a free one)")
    } catch {
      throw ManagementError(
        "cannot listen on port \(port) of \(host) for the console of \(console.name): \(NetworkFailure.text(error))",
        remedy: "choose another with vmctl modifyvm \(ConsoleName.option(console.slot)) tcpserver [HOST:]PORT")
    }
    let actual = channel.localAddress?.port ?? port
    return ConsoleEndpoint(console: console, port: actual, summary: "\(console.name): telnet \(host) \(actual)") {
      try? channel.close().wait()
    }
  }

  private static func unixServer(_ console: SerialConsole, path: String, listener: Int32) throws -> ConsoleEndpoint {
    let channel = try bootstrap(console, telnet: false).withBoundSocket(listener).wait()
    return ConsoleEndpoint(console: console, summary: "\(console.name) listens on \(path)") {
      // Outside of the VM's folder a process in its sandbox removes nothing: the socket stays, dead, and the next start
      // replaces it.
      unlink(path)
      try? channel.close().wait()
    }
  }
}

/// Errors of sockets in words.
enum NetworkFailure {
  static func text(_ error: any Error) -> String {
    switch error {
    case let error as IOError: String(cString: strerror(error.errnoCode))
    case let error as NIOConnectionError:
      error.connectionErrors.first.map { text($0.error) } ?? "no address for \(error.host)"
    case let error as SocketAddressError: "not an address (\(error))"
    default: ManagementError.line(for: error)
    }
  }
}

/// Connects a console to a TCP server and tries again each second when there is none or it goes away.
private final class ReconnectingClient: Sendable {
  private let console: SerialConsole
  private let host: String
  private let port: Int
  private let logger: Logger
  private let state = NIOLockedValueBox<(stopped: Bool, channel: (any Channel)?, reported: Bool)>((false, nil, false))

  init(console: SerialConsole, host: String, port: Int, logger: Logger) {
    self.console = console
    self.host = host
    self.port = port
    self.logger = logger
  }

  func start() {
    guard !state.withLockedValue({ $0.stopped }) else { return }
    let console = console
    ClientBootstrap(group: console.eventLoop)
      .channelOption(.writeBufferWaterMark, value: .init(low: 16384, high: 65536))
      .channelOption(.socketOption(.so_rcvbuf), value: ConsoleEndpoint.receiveBuffer)
      .channelInitializer { channel in
        channel.eventLoop.makeCompletedFuture {
          try channel.pipeline.syncOperations.addHandler(ConsoleHandler(console: console, telnet: false))
        }
      }
      .connect(host: host, port: port)
      .whenComplete { self.connected($0) }
  }

  private func connected(_ result: Result<any Channel, any Error>) {
    switch result {
    case .success(let channel):
      let stopped = state.withLockedValue { state in
        state.channel = channel
        state.reported = false
        return state.stopped
      }
      logger.info("\(console.name): connected to \(host) port \(port)")
      if stopped { channel.close(promise: nil) }
      channel.closeFuture.whenComplete { _ in self.again() }
    case .failure(let error):
      let first = state.withLockedValue { state in
        defer { state.reported = true }
        return !state.reported
      }
      if first {
        logger.warning("\(console.name): no connection to \(host) port \(port): \(NetworkFailure.text(error))")
      }
      again()
    }
  }

  private func again() {
    guard !state.withLockedValue({ $0.stopped }) else { return }
    console.eventLoop.scheduleTask(in: .seconds(1)) { self.start() }
  }

  func stop() {
    let channel = state.withLockedValue { state in
      state.stopped = true
      return state.channel
    }
    channel?.close(promise: nil)
  }
}
