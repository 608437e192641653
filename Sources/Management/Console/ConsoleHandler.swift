import NIOCore

/// One client of a serial console: a telnet or plain connection.
///
/// Output is taken from the console's buffer only while the connection can take more; a client that falls more than the
/// buffer behind gets a mark in the place of what it has missed. Input is read only while the machine has taken all that was
/// read before: a paste waits in the client and its connection, not here.
final class ConsoleHandler: ChannelDuplexHandler, @unchecked Sendable {
  // Used on the channel's event loop only, which is the console's.
  typealias InboundIn = ByteBuffer
  typealias OutboundIn = ByteBuffer
  typealias OutboundOut = ByteBuffer

  private let console: SerialConsole
  private var telnet: TelnetCodec?
  private var position: Int
  private var context: ChannelHandlerContext?
  /// Read, and not taken by the machine yet: at most what one read of the connection yields.
  private var typed: [UInt8] = []
  /// The channel wants to read on, as soon as there is room.
  private var wantsRead = false

  /// - Parameter position: where in the output this client begins; nil: some way back (`ConsoleBuffer.recent`).
  init(console: SerialConsole, telnet: Bool, from position: Int? = nil) {
    self.console = console
    self.telnet = telnet ? TelnetCodec() : nil
    self.position = position ?? console.recent
  }

  func handlerAdded(context: ChannelHandlerContext) {
    if context.channel.isActive { join(context) }
  }

  func channelActive(context: ChannelHandlerContext) {
    join(context)
    context.fireChannelActive()
  }

  private func join(_ context: ChannelHandlerContext) {
    guard self.context == nil else { return }
    self.context = context
    console.client(comes: true)
    if telnet != nil { write(TelnetCodec.greeting, context) }
    console.watch(ObjectIdentifier(self)) { [weak self] in self?.flush() }
    // Answers to the greeting come first where they can: the kept output follows on the next turn of the loop.
    context.eventLoop.assumeIsolated().execute { self.flush() }
  }

  func channelInactive(context: ChannelHandlerContext) {
    leave()
    context.fireChannelInactive()
  }

  func handlerRemoved(context: ChannelHandlerContext) { leave() }

  private func leave() {
    if context != nil { console.client(comes: false) }
    context = nil
    typed = []
    console.unwatch(ObjectIdentifier(self))
    console.forget(typist: ObjectIdentifier(self))
  }

  // MARK: Input

  func channelRead(context: ChannelHandlerContext, data: NIOAny) {
    let bytes = Array(unwrapInboundIn(data).readableBytesView)
    guard var codec = telnet else {
      typed += bytes
      return pass()
    }
    let result = codec.receive(bytes)
    let breaks = codec.takeBreaks()
    let size = codec.takeSize()
    telnet = codec
    if let size { console.resize(columns: size.columns, rows: size.rows) }
    for _ in 0..<breaks { console.sendBreak() }
    typed += result.data
    if !result.reply.isEmpty { write(result.reply, context) }
    pass()
  }

  /// Gives the machine what it takes, and reads on when that was all.
  private func pass() {
    let taken = console.type(typed, ObjectIdentifier(self)) { [weak self] in self?.pass() }
    typed.removeFirst(taken)
    guard typed.isEmpty, wantsRead else { return }
    wantsRead = false
    context?.read()
  }

  func read(context: ChannelHandlerContext) {
    if typed.isEmpty { context.read() } else { wantsRead = true }
  }

  // MARK: Output

  func channelWritabilityChanged(context: ChannelHandlerContext) {
    flush()
    context.fireChannelWritabilityChanged()
  }

  func errorCaught(context: ChannelHandlerContext, error: any Error) { context.close(promise: nil) }

  private func flush() {
    guard let context else { return }
    while context.channel.isWritable {
      let piece = console.read(from: position, limit: 8192)
      position = piece.next
      if piece.lost > 0 { send(Array("\r\n[\(piece.lost) bytes of output are lost]\r\n".utf8), context) }
      if piece.bytes.isEmpty { break }
      send(piece.bytes, context)
    }
  }

  private func send(_ bytes: [UInt8], _ context: ChannelHandlerContext) {
    write(telnet?.send(bytes) ?? bytes, context)
  }

  private func write(_ bytes: [UInt8], _ context: ChannelHandlerContext) {
    var buffer = context.channel.allocator.buffer(capacity: bytes.count)
    buffer.writeBytes(bytes)
    context.writeAndFlush(wrapOutboundOut(buffer), promise: nil)
  }
}
