import Devices
import Foundation
import HostNetwork
import Machine
import Synchronization

/// Shows a machine's screen to those who watch, and gives it their keys (`ScreenProtocol`).
///
/// While somebody waits for changes it looks for some, 60 times a second; the machine is held up only for as long as copying
/// takes of what its guest has written on the screen (`ScreenCopy`). A viewer that does not ask is told nothing: its changes
/// gather in its seat, which does not grow.
final class ScreenService: @unchecked Sendable {
  static let seatLimit = 32
  private static let interval = Duration.nanoseconds(16_666_667)

  private struct State {
    weak var vm: VirtualMachine?
    /// Counts machines, since one may lie where another has been.
    var turn = 0
    var newcomers: [Int32] = []
    var isEnding = false
    var farewell = ""
  }

  private let state = Mutex(State())
  private let listener: Int32
  private let path: String
  private let name: String
  private let bell: Bell
  private let log: @Sendable (String) -> Void

  // Of the thread.
  private var seats: [ScreenSeat] = []
  private var picture: SharedPicture?
  private var copy: ScreenCopy?
  private var shownTurn = -1
  private var lookedAt = ContinuousClock.now - .seconds(1)
  private var hasFailed = false

  /// Listens, and serves from now on.
  /// - Parameters: name: the machine's. log: gets lines for the machine's log.
  /// - Throws: when the socket is not to be had.
  init(path: String, name: String, log: @escaping @Sendable (String) -> Void) throws {
    self.path = path
    self.name = name
    self.log = log
    bell = try Bell()
    listener = try UnixSocket.listen(path: path, packets: true)
    _ = fcntl(listener, F_SETFL, fcntl(listener, F_GETFL) | O_NONBLOCK)
    let thread = Thread { [self] in loop() }
    thread.name = "screen"
    thread.start()
  }

  /// Shows another machine, or nothing.
  func connect(_ vm: VirtualMachine?) {
    state.withLock {
      $0.vm = vm
      $0.turn += 1
    }
    bell.ring()
  }

  /// Somebody watches who has not come by the path.
  /// - Parameter socket: then no longer the caller's.
  func seat(_ socket: Int32) {
    state.withLock { $0.newcomers.append(socket) }
    bell.ring()
  }

  /// Nobody can watch any more.
  /// - Parameter farewell: where the machine runs now, if it does.
  func close(_ farewell: String = "") {
    unlink(path)
    state.withLock {
      if !$0.isEnding { $0.farewell = farewell }
      $0.isEnding = true
    }
    bell.ring()
  }

  // MARK: The thread

  private func loop() {
    while true {
      let (vm, turn, newcomers, isEnding) = state.withLock { state in
        defer { state.newcomers = [] }
        return (state.vm, state.turn, state.newcomers, state.isEnding)
      }
      for socket in newcomers { admit(socket) }
      if isEnding { break }
      if turn != shownTurn { show(vm, turn) }
      wait()
      serve(vm)
    }
    let farewell = state.withLock { $0.farewell }
    for seat in seats { _ = seat.tell(.gone(farewell)) }
    seats = []
    Glibc.close(listener)
  }

  private func wait() {
    var descriptors = [
      pollfd(fd: bell.descriptor, events: Int16(POLLIN), revents: 0),
      pollfd(fd: seats.count < Self.seatLimit ? listener : -1, events: Int16(POLLIN), revents: 0),
    ]
    descriptors += seats.map { pollfd(fd: $0.socket, events: Int16(POLLIN), revents: 0) }
    var timeout: Int32 = -1
    if seats.contains(where: \.wantsChanges) {
      let left = lookedAt + Self.interval - .now
      timeout = Int32(max(0, left / .milliseconds(1)).rounded(.up))
    }
    guard poll(&descriptors, nfds_t(descriptors.count), timeout) > 0 else { return }
    if descriptors[0].revents != 0 { bell.hear() }
    if descriptors[1].revents != 0 {
      let client = accept(listener, nil, nil)
      if client >= 0 { admit(client) }
      // Without a descriptor left the listener stays ready; it is not to be asked at once again.
      if client < 0, errno == EMFILE || errno == ENFILE { usleep(100_000) }
    }
    let spoken = zip(seats, descriptors.dropFirst(2)).filter { $0.1.revents != 0 }.map(\.0)
    let vm = state.withLock { $0.vm }
    for seat in spoken where !seat.listen(vm) { dismiss(seat, vm) }
  }

  private func admit(_ socket: Int32) {
    let seat = ScreenSeat(socket)
    guard seats.count < Self.seatLimit else { return }
    guard seat.tell(.greeting(version: ScreenProtocol.version, machine: name)) else { return }
    seats.append(seat)
  }

  private func dismiss(_ seat: ScreenSeat, _ vm: VirtualMachine?) {
    seat.release(vm)
    seats.removeAll { $0 === seat }
    // Nobody watches: the memory is given back.
    guard seats.isEmpty else { return }
    (picture, copy, shownTurn) = (nil, nil, -1)
  }

  private func show(_ vm: VirtualMachine?, _ turn: Int) {
    guard !seats.isEmpty else { return }
    copy = vm?.makeScreenCopy()
    shownTurn = turn
    if copy == nil { resize(width: 720, height: 400) }
  }

  private func serve(_ vm: VirtualMachine?) {
    guard seats.contains(where: \.wantsChanges), ContinuousClock.now >= lookedAt + Self.interval else { return }
    lookedAt = .now
    look(vm)
    guard let picture else { return }
    for seat in seats where seat.wantsChanges {
      if !inform(seat, picture) { dismiss(seat, vm) }
    }
  }

  /// - Returns: false when the viewer is gone.
  private func inform(_ seat: ScreenSeat, _ picture: SharedPicture) -> Bool {
    if seat.needsPicture {
      seat.needsPicture = false
      seat.changes = ChangedLines(width: picture.width, height: picture.height)
      seat.wantsChanges = false
      return seat.tell(.picture(width: picture.width, height: picture.height), [picture.descriptor])
    }
    guard !seat.changes.isEmpty else { return true }
    seat.wantsChanges = false
    return seat.tell(.changes(seat.changes.takeRectangles()))
  }

  /// Takes what has changed on the machine's screen into the picture.
  private func look(_ vm: VirtualMachine?) {
    guard let vm, let copy else { return }
    vm.take(into: copy)
    let height = min(copy.height, ScreenProtocol.pixelLimit / copy.width)
    let isOther = picture?.width != copy.width || picture?.height != height
    guard copy.isFresh || isOther else { return }
    if isOther { resize(width: copy.width, height: height) }
    guard let picture else { return }
    copy.draw(all: isOther, limit: height) { y, line in
      guard let part = picture.put(line: y, line) else { return }
      for seat in seats { seat.changes.add(line: y, part) }
    }
  }

  private func resize(width: Int, height: Int) {
    do {
      picture = try SharedPicture(width: width, height: height)
      hasFailed = false
    } catch {
      picture = nil
      if !hasFailed { log("screen: \(ManagementError.line(for: error))") }
      hasFailed = true
    }
    for seat in seats { seat.needsPicture = true }
  }
}
