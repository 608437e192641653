import Foundation
import NIOCore
import NIOPosix

/// Serves a VM's control socket.
final class ControlServer: Sendable {
  /// Does a request, on a thread where it may take its time.
  typealias Service = @Sendable (ControlRequest, ControlSession) throws -> ControlReply
  private let channel: any Channel
  private let path: String

  /// - Parameter console: the console of a uart, for `console` requests.
  init(
    path: String, group: any EventLoopGroup, console: @escaping @Sendable (Int?) throws -> SerialConsole,
    service: @escaping Service
  ) throws {
    self.path = path
    let listener = try UnixSocket.listen(path: path)
    channel = try ServerBootstrap(group: group)
      .childChannelOption(.writeBufferWaterMark, value: .init(low: 16384, high: 65536))
      .childChannelInitializer { channel in
        channel.eventLoop.makeCompletedFuture {
          try channel.pipeline.syncOperations.addHandler(ControlHandler(console: console, service: service))
        }
      }
      .withBoundSocket(listener).wait()
  }

  func close() {
    unlink(path)
    try? channel.close().wait()
  }
}

/// What a request that takes long knows of its client.
final class ControlSession: @unchecked Sendable {
  private let channel: any Channel
  private let lock = NSLock()
  private var cancelled = false
  private var left = false
  private var onCancel: (@Sendable () -> Void)?

  init(channel: any Channel) { self.channel = channel }

  func send(_ reply: ControlReply) {
    let encoder = JSONEncoder()
    encoder.outputFormatting = [.sortedKeys]
    guard var bytes = try? encoder.encode(reply) else { return }
    bytes.append(10)
    var buffer = channel.allocator.buffer(capacity: bytes.count + reply.data.count)
    buffer.writeBytes(bytes)
    buffer.writeBytes(reply.data)
    channel.writeAndFlush(buffer, promise: nil)
  }

  /// Whether the client takes what it is sent.
  var isReading: Bool { channel.isWritable }

  /// Progress is worth sending only to a client that reads it.
  func sendProgress(_ reply: ControlReply) {
    if channel.isWritable { send(reply) }
  }

  /// Called when the client asks for an end or goes away, at once if it has already.
  func whenCancelled(_ body: @escaping @Sendable () -> Void) {
    lock.lock()
    onCancel = body
    let now = cancelled
    lock.unlock()
    if now { body() }
  }

  /// The request has been answered. What would have cancelled it knows the session, and so the session must forget it.
  func end() {
    lock.lock()
    onCancel = nil
    lock.unlock()
  }

  /// Whether the client has gone away and had not asked for the end before.
  var hasLeft: Bool { lock.withLock { left } }

  func leave() {
    lock.withLock { left = !cancelled }
    cancel()
  }

  func cancel() {
    lock.lock()
    cancelled = true
    let body = onCancel
    lock.unlock()
    body?()
  }
}

/// One client of the control socket.
final class ControlHandler: ChannelInboundHandler, RemovableChannelHandler, @unchecked Sendable {
  // Used on the channel's event loop only.
  typealias InboundIn = ByteBuffer
  typealias OutboundOut = ByteBuffer
  private let console: @Sendable (Int?) throws -> SerialConsole
  private let service: ControlServer.Service
  private var framer = LineFramer()
  private var session: ControlSession?

  init(console: @escaping @Sendable (Int?) throws -> SerialConsole, service: @escaping ControlServer.Service) {
    self.console = console
    self.service = service
  }

  func channelRead(context: ChannelHandlerContext, data: NIOAny) {
    do {
      for line in try framer.feed(unwrapInboundIn(data).readableBytesView) where !line.isEmpty {
        take(line, context)
      }
    } catch {
      ControlSession(channel: context.channel).send(
        .failed(ManagementError("a request may have \(LineFramer.limit) bytes")))
      context.close(promise: nil)
    }
  }

  private func take(_ line: [UInt8], _ context: ChannelHandlerContext) {
    let request: ControlRequest
    do {
      request = try JSONDecoder().decode(ControlRequest.self, from: Data(line))
    } catch {
      let known = ControlRequest.Command.allCases.map(\.rawValue).joined(separator: ", ")
      ControlSession(channel: context.channel).send(
        .failed(ManagementError("this is no request", remedy: "send JSON with a command of \(known)")))
      return
    }
    if request.command == .cancel {
      session?.cancel()
      return
    }
    guard session == nil else {
      ControlSession(channel: context.channel).send(.failed(ManagementError("a request is under way already")))
      return
    }
    let session = ControlSession(channel: context.channel)
    if request.command == .console { return attach(request, session, context) }
    self.session = session
    let service = service
    let loop = context.eventLoop
    // The handler is touched on its event loop only.
    let handler = NIOLoopBound(self, eventLoop: loop)
    // A client that hears nothing takes this process for stopped.
    let signs = loop.scheduleRepeatedTask(initialDelay: .seconds(1), delay: .seconds(1)) { _ in
      session.sendProgress(.signOfLife())
    }
    // Threads of their own: a pool has few, and some requests last as long as their clients like.
    Thread.detachNewThread {
      let reply: ControlReply
      do {
        reply = try service(request, session)
      } catch {
        reply = .failed(error)
      }
      loop.execute {
        signs.cancel()
        handler.value.session = nil
        session.end()
        session.send(reply)
      }
    }
  }

  /// The connection becomes a console.
  private func attach(_ request: ControlRequest, _ session: ControlSession, _ context: ChannelHandlerContext) {
    do {
      let console = try console(request.uart)
      session.send(.done())
      let handler = ConsoleHandler(console: console, telnet: false)
      try context.pipeline.syncOperations.addHandler(handler, position: .after(self))
      context.pipeline.syncOperations.removeHandler(self, promise: nil)
    } catch {
      session.send(.failed(error))
    }
  }

  func channelInactive(context: ChannelHandlerContext) {
    session?.leave()
    context.fireChannelInactive()
  }

  func errorCaught(context: ChannelHandlerContext, error: any Error) { context.close(promise: nil) }
}
