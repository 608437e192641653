import Foundation
import SavedState

/// Where a UART's output goes.
public protocol SerialBackend: AnyObject {
  /// A byte the guest sent. Called with the machine lock held: it must not block, and what it cannot pass on at once it
  /// keeps.
  func transmit(_ byte: UInt8)
}

/// A 16550A serial port: eight I/O ports and an interrupt line.
///
/// Bytes for the guest wait in a queue of 64 KiB, which is part of the saved state, and enter the FIFO when the guest
/// has emptied it, at the pace of 115,200 baud whatever speed it has set: Linux leaves a console at 9600 baud, which makes
/// typing a file a matter of hours, and a guest that is slower empties the FIFO later. Nothing typed is
/// lost: a back end asks `receiveRoom` and keeps the rest until `onReceiveRoom`.
public final class UART16550: Device, PortIO {
  /// Bytes that wait for the guest at most.
  public static let queueSize = 65_536

  public let name: String
  /// The first of its eight ports.
  public let ioBase: UInt16
  /// The ISA interrupt it asserts.
  public let interruptNumber: Int
  /// Who takes what the guest sends.
  public weak var backend: (any SerialBackend)?
  /// Called with the machine lock held when there is room in the queue again after `receive` could not take all.
  public var onReceiveRoom: () -> Void = {}

  private var core: UART16550Core
  private let clock: GuestClock
  private let line: InterruptLine
  private var queue: [UInt8] = []
  private var queueHead = 0
  private var wantsRoom = false
  private var isPaused = false
  /// Guest time before which the wire is still busy with the characters fed last.
  private var wireBusyUntil: UInt64 = 0
  private var timeoutTimer: ClockTimer!
  private var feedTimer: ClockTimer!

  /// The ports and interrupts of COM1 to COM4.
  public static let defaults: [(ioBase: UInt16, interrupt: Int)] = [(0x3F8, 4), (0x2F8, 3), (0x3E8, 4), (0x2E8, 3)]

  /// - Parameters:
  ///   - line: the wire to the interrupt controller's input `interruptNumber`.
  ///   - isStrict: the interrupt line passes a gate that OUT2 opens, as on a PC.
  public init(
    name: String, ioBase: UInt16, interruptNumber: Int, line: InterruptLine, clock: GuestClock, isStrict: Bool = false
  ) {
    core = UART16550Core(isStrict: isStrict)
    self.name = name
    self.ioBase = ioBase
    self.interruptNumber = interruptNumber
    self.line = line
    self.clock = clock
    timeoutTimer = clock.makeTimer { [unowned self] in timeoutPassed() }
    feedTimer = clock.makeTimer { [unowned self] in feed() }
  }

  /// Maps its eight ports.
  public func attach(to ports: PortBus) { ports.map(self, ioBase...ioBase + 7) }

  // MARK: The host's side

  /// Free bytes in the queue.
  public var receiveRoom: Int { Self.queueSize - (queue.count - queueHead) }

  /// Takes bytes for the guest, as many as there is room for.
  /// - Returns: how many were taken; the caller keeps the rest until `onReceiveRoom`.
  @discardableResult
  public func receive(_ bytes: some Collection<UInt8>) -> Int {
    let taken = min(bytes.count, receiveRoom)
    if taken < bytes.count { wantsRoom = true }
    queue.append(contentsOf: bytes.prefix(taken))
    feed()
    return taken
  }

  /// Has `onReceiveRoom` called when there is room again.
  public func wantReceiveRoom() { wantsRoom = true }

  /// The carrier of the other side: whether CTS, DSR and DCD are up. They are, unless told otherwise.
  public func setConnected(_ connected: Bool) {
    core.setModemInputs(connected ? .connected : [])
    update()
  }

  /// The other side sends a break (SysRq on a Linux console).
  public func receiveBreak() {
    core.receiveBreak(now: clock.now)
    update()
  }

  /// Moves waiting bytes into an empty FIFO, as many as arrive in one go, and not before the wire is free.
  private func feed() {
    guard !isPaused, queueHead < queue.count, !core.isLoopback, core.state.received.isEmpty else { return }
    let now = clock.now
    guard now >= wireBusyUntil else {
      feedTimer.arm(at: wireBusyUntil)
      return
    }
    let count = min(core.room, queue.count - queueHead)
    for _ in 0..<count {
      core.receive(queue[queueHead], now: now)
      queueHead += 1
    }
    wireBusyUntil = now &+ UInt64(count) &* core.shortestCharacterTime
    if queueHead == queue.count {
      queue.removeAll(keepingCapacity: true)
      queueHead = 0
    } else if queueHead >= 4096 {
      queue.removeFirst(queueHead)
      queueHead = 0
    }
    update()
    tellRoom()
  }

  private func tellRoom() {
    guard wantsRoom, receiveRoom >= 1024 else { return }
    wantsRoom = false
    onReceiveRoom()
  }

  private func timeoutPassed() {
    core.checkTimeout(now: clock.now)
    update()
  }

  /// Brings line and alarm in step with the registers.
  private func update() {
    line.set(core.interruptLevel)
    if let deadline = core.timeoutDeadline, !isPaused {
      timeoutTimer.arm(at: deadline)
    } else {
      timeoutTimer.cancel()
    }
  }

  // MARK: Ports

  public func readPort(_ port: UInt16, size: Int) -> UInt32 {
    var value: UInt32 = 0
    for index in 0..<size {
      let register = Int(port &- ioBase) + index
      let byte: UInt8 = register < 8 ? readRegister(register) : 0xFF
      value |= UInt32(byte) << UInt32(index * 8)
    }
    return value
  }

  public func writePort(_ port: UInt16, size: Int, value: UInt32) {
    for index in 0..<size {
      let register = Int(port &- ioBase) + index
      if register < 8 { writeRegister(register, UInt8(truncatingIfNeeded: value >> UInt32(index * 8))) }
    }
  }

  private func readRegister(_ register: Int) -> UInt8 {
    let value = core.read(register, now: clock.now)
    switch register {
    case 0:
      update()
      feed()
    case 2, 5, 6: update()
    default: break
    }
    return value
  }

  private func writeRegister(_ register: Int, _ value: UInt8) {
    let sendsByte = register == 0 && core.state.lineControl & 0x80 == 0
    let leaving = core.write(register, value, now: clock.now)
    update()
    if let leaving { backend?.transmit(leaving) }
    if sendsByte {
      core.transmitterBecameEmpty()
      update()
    }
    feed()
  }

  // MARK: Device

  /// Registers fall back, and what was typed for the guest that ran before is gone.
  public func reset() {
    core.reset()
    queue.removeAll()
    queueHead = 0
    wireBusyUntil = 0
    feedTimer.cancel()
    update()
    tellRoom()
  }

  public func pause() {
    isPaused = true
    timeoutTimer.cancel()
    feedTimer.cancel()
  }

  public func resume() {
    isPaused = false
    update()
    feed()
    tellRoom()
  }

  private struct Saved: Codable {
    var core: UART16550Core.State
    var wireBusyUntil: UInt64
    var line: Bool
    /// Bytes of the queue, which are the section's blob.
    var queued: Int
  }

  public func save() throws -> StateSection {
    let saved = Saved(
      core: core.state, wireBusyUntil: wireBusyUntil, line: line.level, queued: queue.count - queueHead)
    return try StateSection(
      name: name, kind: UART16550Core.State.kind, version: UART16550Core.State.version, state: saved,
      blob: Data(queue[queueHead...]))
  }

  public func load(_ section: StateSection) throws {
    let saved = try section.decode(Saved.self, kind: UART16550Core.State.kind, upTo: UART16550Core.State.version)
    try requireValid(saved.core.isPlausible, in: section, "registers no UART can have")
    let fits = saved.queued == section.blob.count && saved.queued <= Self.queueSize
    try requireValid(fits, in: section, "the length of the input queue")
    core.state = saved.core
    wireBusyUntil = saved.wireBusyUntil
    queue = Array(section.blob)
    queueHead = 0
    line.restore(saved.line)
    timeoutTimer.cancel()
    feedTimer.cancel()
  }
}
