import Devices
import Foundation
import Synchronization

/// Where the other end of a stream of frames is: `[listen:]HOST:PORT` or `[listen:]PATH`.
public enum StreamPlace: Equatable, Sendable {
  case connect(host: String, port: Int)
  case listen(host: String, port: Int)
  case connectPath(String)
  case listenPath(String)

  /// The forms, for messages and helps.
  public static let form = "[listen:]HOST:PORT | [listen:]PATH"

  /// - Throws: `HostNetworkError` for what is no place. A path begins with "/".
  public init(_ text: String) throws(HostNetworkError) {
    let isListening = text.hasPrefix("listen:")
    let rest = isListening ? String(text.dropFirst("listen:".count)) : text
    if rest.hasPrefix("/") {
      self = isListening ? .listenPath(rest) : .connectPath(rest)
      return
    }
    let wrong = HostNetworkError("\"\(text)\" is no place", remedy: "give it as \(Self.form)")
    guard let colon = rest.lastIndex(of: ":"), let port = Int(rest[rest.index(after: colon)...]) else { throw wrong }
    var host = String(rest[..<colon])
    if host.hasPrefix("["), host.hasSuffix("]") { host = String(host.dropFirst().dropLast()) }
    guard !host.isEmpty, host.count <= 255, host.allSatisfy({ $0.isASCII && $0 != " " && $0 != "/" }),
      (1...65535).contains(port)
    else { throw wrong }
    self = isListening ? .listen(host: host, port: port) : .connect(host: host, port: port)
  }

  /// As it is given.
  public var text: String {
    switch self {
    case .connect(let host, let port): Self.join(host, port)
    case .listen(let host, let port): "listen:" + Self.join(host, port)
    case .connectPath(let path): path
    case .listenPath(let path): "listen:" + path
    }
  }

  private static func join(_ host: String, _ port: Int) -> String {
    host.contains(":") ? "[\(host)]:\(port)" : "\(host):\(port)"
  }
}

/// A card's cable to somebody who speaks `FrameStream`: passt, QEMU's `-netdev stream`, another vmctl, a program of the user's.
///
/// It connects, and again when the connection ends, every second; or it listens, and has one connection at a time. While there
/// is none what the guest sends is lost, as on a cable that leads nowhere.
public final class StreamLink: NetworkLink, @unchecked Sendable {
  private struct State {
    var pipe: FramePipe?
    var isEnding = false
    var isConnected = false
    var lost: UInt64 = 0
  }

  private let place: StreamPlace
  /// Gives a connected socket, or none at present. On the link's thread.
  private let connector: @Sendable () throws -> Int32
  private let listener: Int32?
  private let log: @Sendable (String) -> Void
  private let state = Mutex(State())
  private let bell: Bell
  private let output = FrameOutput()
  private var thread: Thread?
  private let ended = DispatchSemaphore(value: 0)

  /// Listens already, so that what is in use is told at once.
  /// - Parameters: connectPath: connects to a socket in the file system, for a process that may do so no more. log: takes lines
  ///   for the machine's log.
  /// - Throws: `HostNetworkError` when it cannot listen there.
  public init(
    _ place: StreamPlace, connectPath: @escaping @Sendable () throws -> Int32, log: @escaping @Sendable (String) -> Void
  ) throws(HostNetworkError) {
    self.place = place
    self.log = log
    bell = try Bell()
    switch place {
    case .connect(let host, let port):
      listener = nil
      connector = { try StreamSockets.connect(host, port) }
    case .connectPath:
      listener = nil
      connector = connectPath
    case .listen(let host, let port):
      listener = try StreamSockets.listen(host, port)
      connector = { -1 }
    case .listenPath(let path):
      listener = try StreamSockets.listen(path: path)
      connector = { -1 }
    }
    if let listener { Descriptors.setNonBlocking(listener) }
  }

  deinit { if let listener { close(listener) } }

  public var description: String {
    "stream \(place.text)" + (state.withLock { $0.isConnected } ? ", connected" : ", not connected")
  }

  /// Port of a listener of TCP; for tests, which ask for any by 0.
  var port: Int? { listener.flatMap { StreamSockets.port($0) } }

  public func start() throws {
    let thread = Thread { [self] in loop() }
    thread.name = "stream"
    self.thread = thread
    thread.start()
  }

  public func connect(_ pipe: FramePipe) {
    state.withLock { $0.pipe = pipe }
    pipe.toHost.onItems { [bell, output, unowned queue = pipe.toHost] in
      if !output.sendAtOnce(from: queue) { bell.ring() }
    }
    pipe.toDevice.onRoom { [bell] in bell.ring() }
    bell.ring()
  }

  public func stop() {
    guard thread != nil else { return }
    thread = nil
    state.withLock { $0.isEnding = true }
    bell.ring()
    ended.wait()
    if case .listenPath(let path) = place { unlink(path) }
  }

  // MARK: The thread

  private var isEnding: Bool { state.withLock { $0.isEnding } }

  private func loop() {
    var isTold = false
    while !isEnding {
      guard let socket = obtain(&isTold) else { continue }
      isTold = false
      Descriptors.setNonBlocking(socket)
      // Of before the connection: who is told of that may send.
      discard()
      output.attach(socket)
      state.withLock { $0.isConnected = true }
      log("stream \(place.text): connected")
      serve(socket)
      output.detach()
      close(socket)
      state.withLock { $0.isConnected = false }
      if !isEnding { log("stream \(place.text): the connection has ended") }
    }
    ended.signal()
  }

  /// Waits for a connection, or a second.
  private func obtain(_ isTold: inout Bool) -> Int32? {
    discard()
    if let listener {
      wait([pollfd(fd: listener, events: Int16(POLLIN), revents: 0)], milliseconds: 1000)
      let socket = accept(listener, nil, nil)
      if socket >= 0 { _ = fcntl(socket, F_SETFD, FD_CLOEXEC) }
      return socket >= 0 ? socket : nil
    }
    do {
      return try connector()
    } catch {
      if !isTold { log("stream \(place.text): no connection (\(error)); it is tried again every second") }
      isTold = true
      let next = ContinuousClock.now + .seconds(1)
      while !isEnding, ContinuousClock.now < next {
        wait([], milliseconds: 1000)
        discard()
      }
      return nil
    }
  }

  /// What the guest sends meanwhile finds nobody.
  private func discard() {
    guard let pipe = state.withLock({ $0.pipe }) else { return }
    let count = pipe.toHost.whileOpen { pipe.toHost.take().count } ?? 0
    state.withLock { $0.lost += UInt64(count) }
  }

  private func wait(_ descriptors: [pollfd], milliseconds: Int32) {
    var all = [pollfd(fd: bell.descriptor, events: Int16(POLLIN), revents: 0)] + descriptors
    guard poll(&all, nfds_t(all.count), milliseconds) > 0 else { return }
    if all[0].revents != 0 {
      bell.hear()
      // The bell rings for each frame that nobody takes: not in a hurry.
      if descriptors.isEmpty, !isEnding { usleep(20_000) }
    }
  }

  private func serve(_ socket: Int32) {
    var mover = FrameMover(output)
    while !isEnding {
      let pipe = state.withLock { $0.pipe }
      do throws(HostNetworkError) {
        try mover.deliver(pipe)
      } catch {
        log("stream \(place.text): \(error)")
        return
      }
      let sends = mover.send(pipe)
      guard sends != false else { return }
      var descriptors = [
        pollfd(fd: bell.descriptor, events: Int16(POLLIN), revents: 0),
        pollfd(fd: socket, events: mover.events(pipe, sends: sends), revents: 0),
      ]
      guard poll(&descriptors, 2, -1) > 0 else { continue }
      if descriptors[0].revents != 0 { bell.hear() }
      if descriptors[1].revents & Int16(POLLIN) != 0, !mover.read(socket) { return }
      if descriptors[1].revents & Int16(POLLHUP | POLLERR) != 0, descriptors[1].revents & Int16(POLLIN) == 0 { return }
    }
  }
}
