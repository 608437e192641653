import Dispatch
import DiskImages
import GuestMemory
import SavedState
import X86

/// What a running machine tells its keeper. Sent from any thread, never with the machine lock held.
public enum MachineEvent: Sendable {
  /// The guest switched the power off (ACPI S5). The machine is still to be ended with `powerOff`.
  case poweredOff
  case guestReset
  /// A bare-metal test program asked for the end through the debug exit port.
  case exited(status: Int32)
  /// The host could not do what the guest wanted of a disk, for the first time in a minute; `before`: how often since it was
  /// told last.
  case diskFailed(DiskImageError, before: Int)
  /// The guest's kernel has panicked, and goes on with its crash kernel where it has one. Its CPUs stand behind the instruction
  /// that said so until `goOn` is called.
  case guestPanicked(hasCrashKernel: Bool, goOn: @Sendable () -> Void)
  /// The machine cannot go on by itself.
  case gurumeditation(String)
  case log(String)
  /// A CPU has come to a debugger's breakpoint or watchpoint and waits there; the others run on until `pause`.
  case debuggerStop
}

/// A virtual PC: a board and its CPUs, running, resting or off.
///
/// Life: `init` builds the board; `loadState` may follow; `lockMedia`, then `start`. From then on `pause`, `resume`,
/// `reset`, until `powerOff` ends it for good. All methods may be called from any thread but those of the machine. The last
/// reference to one that was started is let go after `powerOff`, or by a thread that is not the machine's: the end waits for
/// the machine's threads.
public final class VirtualMachine: @unchecked Sendable {
  /// Whether its CPUs run.
  public enum RunState: Sendable { case stopped, running, paused }

  /// What it was built from.
  public let configuration: MachineConfiguration
  /// The guest's physical memory, which its CPUs may be changing.
  public var memory: PhysicalMemory { board.memory }
  /// Is told what happens to the machine, from any thread.
  public var onEvent: @Sendable (MachineEvent) -> Void {
    get { events.handler }
    set { events.handler = newValue }
  }

  let board: Board
  let lock: MachineLock
  let threads: [CPUThread]
  let media: MachineMedia
  private let timers: TimerThread
  private let brake: CPUThrottle
  private let events = EventRelay()
  /// Serialises pause, resume, reset and the end. Never taken with the machine lock held.
  private let lifecycle = MachineLock()
  let requests = DispatchQueue(label: "vmctl.machine.requests")
  /// Asked for by the guest and not done yet. Under the machine lock.
  private(set) var requestCount = 0
  let serialGate = SerialGate()
  private var state = RunState.stopped
  private var hasEnded = false
  private var guestEnd = false

  /// Opens the media (without locking them), loads the ROMs and builds the board.
  ///
  /// - Parameter identity: what the guest's firmware tables say who it is.
  /// - Throws: `MachineError` for what the configuration asks and the host does not have.
  public init(_ configuration: MachineConfiguration, identity: MachineIdentity = MachineIdentity()) throws {
    self.configuration = configuration
    lock = MachineLock()
    board = try Board(configuration, identity: identity, lock: lock)
    media = MachineMedia(board.images)
    let pacer = board.instructionClock.map { [board, lock] in InstructionPacer(board, $0, lock: lock) }
    threads = board.cpus.map { CPUThread(cpu: $0, pacer: pacer) }
    timers = TimerThread(clock: board.clock, lock: lock)
    brake = CPUThrottle(threads: threads)
    for (thread, environment) in zip(threads, board.environments) {
      environment.wake = { [unowned thread] in thread.wake() }
      thread.onExit = { [events] in events.send($0 == .debugger ? .debuggerStop : .log("cpu: triple fault")) }
    }
    board.onRequest = { [weak self] in self?.serve($0) }
    board.onDiskFailure = { [events] in events.send(.diskFailed($0, before: $1)) }
    board.log = { [events] in events.send(.log($0)) }
  }

  deinit {
    powerOff()
    board.dismantle()
  }

  /// Whether its CPUs run now.
  public var runState: RunState { lifecycle.withLock { state } }

  /// The guest has ended itself (power off, exit port): what is left is to be ended with `powerOff`.
  public var guestHasEnded: Bool { lifecycle.withLock { guestEnd } }

  /// Guest time in nanoseconds since power-on.
  public var guestTime: UInt64 { board.clock.now }

  // MARK: Running

  /// Starts the CPUs, from power-on or from what was loaded.
  public func start(paused: Bool = false) {
    lifecycle.withLock {
      guard state == .stopped, !hasEnded else { return }
      if board.instructionClock == nil { timers.start() }
      for thread in threads { thread.start() }
      state = .paused
      if !paused { run() }
    }
  }

  /// When this returns, what the guest had asked for before (a reset, its end) has been done: it is not lost on who takes
  /// the machine over.
  public func pause() {
    lifecycle.withLock {
      guard state == .running else { return }
      rest()
      stopDevices()
      state = .paused
    }
    requests.sync {}
  }

  /// Runs on after a pause; else does nothing.
  public func resume() {
    lifecycle.withLock {
      guard state == .paused else { return }
      run()
    }
  }

  /// The CPUs rest already (at birth or by `pause`).
  private func run() {
    startDevices()
    state = .running
    for thread in threads { thread.go() }
  }

  private func startDevices() {
    lock.withLock {
      for device in board.devices { device.resume() }
      board.clock.start()
    }
  }

  private func stopDevices() {
    closeNetwork()
    lock.withLock {
      board.disks.drain()
      board.clock.stop()
      for device in board.devices { device.pause() }
    }
  }

  /// Of a paused machine: devices and clock go on while `body` is done, the CPUs stay at rest. False when it is not paused.
  func whileDevicesRun(_ body: () -> Void) -> Bool {
    lifecycle.withLock {
      guard state == .paused, !hasEnded else { return false }
      startDevices()
      body()
      stopDevices()
      return true
    }
  }

  /// Nothing leaves a machine that does not run. Machine lock not held: who sends may want it.
  private func closeNetwork() { for port in board.networkPorts.values { port.close() } }

  private func rest() {
    for thread in threads { thread.rest() }
    for thread in threads { thread.waitUntilResting() }
  }

  /// The reset button.
  public func reset() {
    lifecycle.withLock { resetBoard() }
  }

  private func resetBoard() {
    guard !hasEnded else { return }
    let isRunning = state != .stopped
    if isRunning { rest() }
    lock.withLock {
      board.disks.drain()
      board.reset()
    }
    if isRunning { for thread in threads { thread.go() } }
  }

  /// Whether the thread of each CPU answers, running, halted or at rest: one that hangs in a device or in translated code
  /// does not. Waits at most `limit` nanoseconds for each of them, without any lock of the machine's.
  public func cpusAnswer(withinNanoseconds limit: UInt64) -> Bool {
    threads.allSatisfy { $0.answers(withinNanoseconds: limit) }
  }

  /// Ends the machine: its threads are gone and its media unlocked when this returns.
  public func powerOff() {
    lifecycle.withLock {
      guard !hasEnded else { return }
      hasEnded = true
      if state != .stopped {
        for thread in threads { thread.rest() }
        for thread in threads { thread.end() }
        timers.end()
      }
      closeNetwork()
      board.environments.first?.trace?.finish()
      lock.withLock {
        board.disks.drain()
        board.clock.stop()
      }
      state = .stopped
    }
    unlockMedia()
  }

  /// Lets the CPUs rest for `percent` of the time, 0 to 99.9, so that they write less memory. One caller at a time.
  public func throttle(_ percent: Double) { brake.set(percent) }

  /// The guest sees its power button pressed, and does what it likes.
  public func pressPowerButton() { lock.withLock { board.pressPowerButton() } }

  /// The board's NMI button: an edge of every local APIC's LINT1, which their local vectors may mask.
  public func injectNMI() { lock.withLock { board.injectNMI() } }

  /// Runs `body` with every CPU between two instructions and the machine lock held. For short work: the guest stalls.
  public func atSafePoint<T>(_ body: () throws -> T) rethrows -> T { try whileCPUsRest { try lock.withLock(body) } }

  /// The same without the machine lock.
  func whileCPUsRest<T>(_ body: () throws -> T) rethrows -> T {
    try lifecycle.withLock {
      rest()
      defer { for thread in threads { thread.go() } }
      return try body()
    }
  }

  /// Soon, on a thread on which nothing of the machine waits; not when it has gone by then.
  func later(_ body: @escaping @Sendable (VirtualMachine) -> Void) {
    requests.async { [weak self] in if let self { body(self) } }
  }

  // MARK: Requests of the board

  /// What the board asks for in the middle of an access, to be done as soon as the CPUs rest.
  enum Request: Sendable { case reset, powerOff, exit(Int32), tripleFault, panic(hasCrashKernel: Bool) }

  /// Machine lock held, on a CPU's thread.
  private func serve(_ request: Request) {
    // The CPUs stop after the running instruction, as they would on a board whose reset line is pulled.
    for thread in threads { thread.rest() }
    requestCount += 1
    requests.async { [self] in
      defer { lock.withLock { requestCount -= 1 } }
      switch request {
      case .reset, .tripleFault:
        lifecycle.withLock { resetBoard() }
        events.send(.guestReset)
      case .powerOff:
        lifecycle.withLock { guestEnd = true }
        events.send(.poweredOff)
      case .panic(let hasCrashKernel):
        let threads = threads
        return events.send(.guestPanicked(hasCrashKernel: hasCrashKernel) { for thread in threads { thread.go() } })
      case .exit(let status):
        lifecycle.withLock { guestEnd = true }
        events.send(.exited(status: status))
      }
      for thread in threads { thread.go() }
    }
  }

  // MARK: Dirty pages

  /// Every page counts as clean from here on.
  public func startDirtyLog() {
    atSafePoint {
      memory.dirtyLog.start()
      for cpu in board.cpus { cpu.dropWriteTranslations() }
    }
  }

  /// Pages that are written are not noted any more.
  public func stopDirtyLog() { atSafePoint { memory.dirtyLog.stop() } }

  /// Adds the pages written since the last call to `bitmap`. No write of a CPU or of DMA is missed.
  /// - Returns: how many there were.
  public func takeDirtyPages(into bitmap: inout PageBitmap) -> Int {
    atSafePoint {
      let count = memory.dirtyLog.take(into: &bitmap)
      for cpu in board.cpus { cpu.dropWriteTranslations() }
      return count
    }
  }
}

/// Hands events to whoever listens.
private final class EventRelay: @unchecked Sendable {
  private let lock = MachineLock()
  private var current: @Sendable (MachineEvent) -> Void = { _ in }
  var handler: @Sendable (MachineEvent) -> Void {
    get { lock.withLock { current } }
    set { lock.withLock { current = newValue } }
  }
  func send(_ event: MachineEvent) { handler(event) }
}
