import CHost
import Debugger
import Foundation
import Logging
import Machine
import NIOCore
import NIOPosix
import SavedState
import Teleport

/// The keeper of one running VM: holds its lock, its machine, its consoles and its control socket, and writes down each
/// change of its state.
public final class VMProcess: @unchecked Sendable {
  /// The VM.
  public let entry: VMEntry
  let folder: VMFolder
  let definition: VMDefinition
  let logger: Logger

  private let options: StartOptions
  private let fileLock: FileLock
  private let logFile: LogFile
  private let group: MultiThreadedEventLoopGroup
  /// Work that must not run on a thread of the machine or of the network.
  let queue = DispatchQueue(label: "vmctl.process")
  private let ended = DispatchSemaphore(value: 0)
  /// What the consoles have in the file system, by their order, or why not.
  private var named: Result<[ConsoleEndpoint.Named], any Error>
  private(set) var consoles: [ConsoleEndpoint] = []
  private var recorders: [ConsoleRecorder] = []
  /// What the network cards are plugged into, or why that is not to be had.
  private var prepared: Result<[NetworkEndpoint], any Error>
  private(set) var networks: [NetworkEndpoint] = []
  /// What serves its screen elsewhere, or why that is not to be had.
  private var preparedVNC: Result<VNCServer?, any Error>
  private var vnc: VNCServer?
  /// Asks the witnesses of machines that are protected here; there is one while the machine waits for another.
  let standbyWitness: WitnessClient?
  /// By which the machine is another host's, and waits here to be its backup; nil: it is not, or waits as its user wants.
  let returning: ProtectionRecord?
  private var sandbox: Sandbox
  private var control: ControlServer?
  private var passing: PassingService?
  private(set) var screen: ScreenService?
  let news = NewsHub()

  /// The files of the record are written by one thread at a time.
  private let recordLock = NSLock()
  let lock = NSLock()
  /// Guarded by `lock`.
  var inner: Inner

  struct Inner {
    var record: StatusRecord
    var vm: VirtualMachine?
    var source: TeleportSource?
    var target: TeleportTarget<VirtualMachine>?
    var progress: TeleportProgress?
    var protection: ProtectionSource?
    var protectionProgress: ProtectionProgress?
    /// Somebody has asked for the end of the protection that is under way.
    var isUnprotectWanted = false
    /// Who asks the witness of a protection that is to begin here, and where that is.
    var witness: (place: String, client: WitnessClient)?
    var debuggers: GDBServer?
    /// When a panic of the guest's was told last, and how often it has panicked since.
    var panics: (told: ContinuousClock.Instant, since: Int)?
    /// The BIOS has found nothing to boot.
    var hasFoundNothing = false
    /// The machine ended while an operation held it: done when that is over.
    var pendingEnd: (state: VMState, status: Int32, reason: String?)?
    var hasEnded = false
    var exitStatus: Int32 = 0
  }

  /// What the VM comes from.
  private enum Origin { case powerOn, savedState, teleport }

  /// Takes the VM's lock, and gives up all files that are none of the VM's. When this throws, nothing has changed.
  ///
  /// To be called while the process has no other thread yet (`Sandbox.closeFiles`).
  /// - Parameter detached: standard output and error go to the log.
  public init(_ entry: VMEntry, detached: Bool, options: StartOptions = StartOptions()) throws {
    self.entry = entry
    self.options = options
    // Guests set timers finer than the kernel's tolerance for sleeps; all threads to come have it from this one.
    vm_set_timer_slack(1)
    folder = entry.folder
    let fileLock = try FileLock(path: folder.lock)
    self.fileLock = fileLock
    fileLock.waitLock(.editing)
    defer { fileLock.unlock(.editing) }
    guard fileLock.tryLock(.running) else {
      let state = folder.readStatus()?.state.rawValue ?? "running"
      throw ManagementError(
        "the machine \"\(entry.name)\" runs already (it is \(state))", remedy: "see vmctl showvminfo \"\(entry.name)\"")
    }
    var definition = try folder.readDefinition(checkingHost: true)
    inner = Inner(record: folder.restingStatus())
    if definition.teleporter.enabled { entry.noteLoss() }
    returning = definition.teleporter.enabled ? nil : try ProtectionRecord.settle(entry, force: options.force)
    if let returning, let wait = returning.returning {
      definition.teleporter = wait.teleporter(definition.teleporter, witness: returning.witness)
    }
    self.definition = definition
    logFile = try LogFile(folder: folder, takesOutput: detached)
    logger = logFile.logger()
    let places = definition.hardware.consoles
    named = Result { try places.map { try ConsoleEndpoint.Named($0.slot, $0.mode) } }
    let (folder, logger) = (folder, logger)
    prepared = Result { [definition] in
      let home = try Registry.fromEnvironment().home
      return try definition.hardware.networkAdapters.map {
        let leavesWork = !(options.offloads ?? .keep).switchesOff($0.model)
        return try NetworkEndpoint(
          $0, folder: folder, home: home, isSandboxed: definition.sandbox, leavesWork: leavesWork, logger: logger)
      }
    }
    preparedVNC = Result { [definition] in
      guard definition.screen.enabled else { return nil }
      return try VNCServer(definition.screen, machine: definition.name, isSandboxed: definition.sandbox)
    }
    standbyWitness =
      definition.teleporter.enabled
      ? WitnessClient(
        try WitnessProcess.start(for: WitnessProcess.Backup(entry, definition.teleporter)), entry) : nil
    sandbox = Sandbox(isWanted: definition.sandbox)
    sandbox.closeFiles(Sandbox.rules(folder, definition))
    group = MultiThreadedEventLoopGroup(numberOfThreads: 1)
  }

  /// Gives up the system calls of a process that still has something to open. From here on a guest's code may run.
  func closeSystem() {
    sandbox.closeSystem()
    if sandbox.isWhole {
      logger.info("sandbox: \(sandbox.description)")
    } else {
      logger.warning("sandbox: \(sandbox.description)")
    }
    lock.withLock { inner.record.sandbox = sandbox.description }
    writeRecord()
  }

  // MARK: Starting

  /// Brings the machine up, or into waiting for its teleport.
  /// - Returns: what to tell the user.
  /// - Throws: with everything as it was before.
  public func start() throws -> [String] {
    let before = inner.record.state
    logger.info("starting \(definition.name) (\(definition.uuid.uuidString.lowercased())), process \(getpid())")
    folder.removeLeftovers()
    folder.removeSnapshotLeftovers()
    do {
      try settleEarlierTeleport()
      let origin = try origin(before)
      if origin != .savedState { folder.dropState() }
      try change(origin == .savedState ? .restoring : .starting)
      try openConsoles()
      networks = try prepared.get()
      for network in networks { try network.start(ownsMachine: origin != .teleport) }
      control = try ControlServer(path: folder.controlSocket, group: group) { [unowned self] slot in
        try console(slot)
      } service: { [unowned self] request, session in
        try serve(request, session)
      }
      screen = try ScreenService(path: folder.screenSocket, name: entry.name) { [logger] in logger.warning("\($0)") }
      try startVNC()
      passing = try PassingService(path: folder.passingSocket) { [weak self] in try self?.take($0, $1) }
      var summary: [String]
      switch origin {
      case .powerOn:
        let vm = try build()
        try vm.lockMedia()
        closeSystem()
        try run(vm)
        summary = ["the machine \"\(entry.name)\" has started"]
      case .savedState:
        let notes = try restore()
        summary = ["the machine \"\(entry.name)\" goes on from its saved state"] + notes
      case .teleport:
        summary = [try waitForTeleport()]
      }
      let ways = consoles.compactMap(\.summary)
      summary += ways + (vnc.map { [$0.summary] } ?? [])
      if ways.isEmpty && origin != .teleport {
        summary.append(
          "it has no console: see its screen with vmctl controlvm \"\(entry.name)\" screenshotpng FILE, or give it one with "
            + "vmctl modifyvm \"\(entry.name)\" --uart-mode1 tcpserver 0")
      }
      for line in summary { logger.info("\(line)") }
      return summary
    } catch {
      logger.error("cannot start: \(ManagementError.text(for: error))")
      stopServers()
      for network in networks { network.close() }
      let vm = lock.withLock { inner.vm }
      vm?.powerOff()
      let earlier = inner.record.state == .teleported ? VMState.teleported : before
      var record = StatusRecord(state: earlier.isLive ? .aborted : earlier)
      record.reason = ManagementError.line(for: error)
      try? write(record)
      fileLock.unlock(.running)
      throw error
    }
  }

  private func origin(_ before: VMState) throws -> Origin {
    guard before == .saved else { return definition.teleporter.enabled ? .teleport : .powerOn }
    if definition.teleporter.enabled {
      throw ManagementError(
        "the machine \"\(entry.name)\" has a saved state and its teleporter is on",
        remedy:
          "drop the state with vmctl discardstate, or turn the teleporter off with vmctl modifyvm --teleporter off")
    }
    return .savedState
  }

  private func openConsoles() throws {
    for (place, named) in zip(definition.hardware.consoles, try named.get()) {
      consoles.append(
        try ConsoleEndpoint.open(place.slot, place.mode, named, group: group, logger: logger))
    }
    if options.recordsConsoles || definition.recordsConsoles {
      for (place, endpoint) in zip(definition.hardware.consoles, consoles) where !place.mode.isFile {
        recorders.append(
          ConsoleRecorder(
            endpoint.console, try RotatingFile(folder.consoleRecord(place.slot)), recordsAll: definition.recordsConsoles
          ))
      }
    }
    lock.withLock {
      for endpoint in consoles { inner.record.consolePorts[endpoint.console.slot] = endpoint.port }
    }
    writeRecord()
  }

  private func startVNC() throws {
    vnc = try preparedVNC.get()
    guard let vnc, let screen else { return }
    vnc.start(screen, logger)
    lock.withLock { inner.record.vncPort = vnc.port.map(Int.init) }
    writeRecord()
  }

  func build(_ hardware: MachineConfiguration? = nil) throws -> VirtualMachine {
    let vm = try VirtualMachine(
      hardware ?? definition.hardware, identity: MachineIdentity(name: definition.name, uuid: definition.uuid))
    vm.onEvent = { [weak self, weak vm] event in self?.machine(vm, event) }
    for endpoint in consoles {
      let console = endpoint.console
      vm.connectSerial(slot: console.slot) { console.output($0) }
    }
    for network in networks { network.observe(vm) }
    return vm
  }

  /// Gives the consoles' input to the machine that is to run.
  func adopt(_ vm: VirtualMachine) {
    lock.withLock { inner.vm = vm }
    for endpoint in consoles {
      endpoint.own()
      let slot = endpoint.console.slot
      vm.onSerialRoom(slot: slot) { [weak console = endpoint.console] in console?.hasRoom() }
      endpoint.console.connect { [weak vm] bytes in
        vm?.serialInput(slot: slot, bytes) ?? bytes.count
      } onBreak: { [weak vm] in
        vm?.serialBreak(slot: slot)
      } onResize: { [weak vm] columns, rows in
        vm?.resizeConsole(slot: slot, columns: columns, rows: rows)
      }
    }
    for network in networks { network.connect(vm) }
    screen?.connect(vm)
  }

  private func run(_ vm: VirtualMachine) throws {
    // From here on its disks are its own.
    ReplicaRecord.remove(folder)
    ProtectionRecord.remove(folder)
    adopt(vm)
    try change(options.isPaused ? .paused : .running)
    vm.start(paused: options.isPaused)
  }

  /// - Returns: what the user should know.
  private func restore() throws -> [String] {
    // A guest goes on without its CD as it would when somebody takes it out.
    let (hardware, notes) = Media.withoutMissingDiscs(definition.hardware)
    let vm = try build(hardware)
    closeSystem()
    var loaded: [String]
    do {
      try vm.lockMedia()
      do {
        loaded = try loadMachine(
          vm, from: folder.state, force: options.force, hasOtherDisks: Files.exists(folder.stateOrigin))
      } catch let error as SavedHardwareDiffers {
        throw ManagementError(ManagementError.text(for: error, machine: definition.name))
      } catch let error as ChangedMediaError {
        throw ManagementError(ManagementError.text(for: error, machine: definition.name))
      }
      for note in loaded { logger.warning("\(note)") }
      try run(vm)
    } catch {
      vm.powerOff()
      throw error
    }
    // From the record on the saved state is history: a disk may have changed since.
    resetSavedConnections()
    folder.dropState()
    return notes + loaded
  }

  // MARK: State

  var state: VMState { lock.withLock { inner.record.state } }
  /// Serves debuggers, once one was asked for.
  var debuggers: GDBServer? { lock.withLock { inner.debuggers } }

  /// Writes the new state down, then it holds.
  func change(_ state: VMState, reason: String? = nil) throws {
    var record = lock.withLock { inner.record }
    record.state = state
    record.since = Date()
    record.process = getpid()
    record.reason = reason
    try write(record)
    let isBehind = lock.withLock {
      // It may have changed while this was written.
      let protection = inner.record.protection
      inner.record = record
      inner.record.protection = protection
      return protection != record.protection
    }
    if isBehind { writeRecord() }
    tell(state)
    logger.info("state: \(state.rawValue)\(reason.map { ": \($0)" } ?? "")")
  }

  /// As `change`, for a state that holds whether it can be written down or not.
  func settle(_ state: VMState, reason: String? = nil) {
    do {
      try change(state, reason: reason)
    } catch {
      lock.withLock {
        inner.record.state = state
        inner.record.reason = reason
      }
      tell(state)
      logger.error("state: \(state.rawValue), which cannot be written down: \(ManagementError.line(for: error))")
    }
  }

  private func tell(_ state: VMState) {
    onState(state)
    news.publish(stateNews)
  }

  /// The state that holds now.
  var stateNews: MachineNews {
    var now = MachineNews(.state, machine: entry.name)
    lock.withLock { (now.state, now.reason) = (inner.record.state, inner.record.reason) }
    return now
  }

  /// Writes the record as it is now. The last one, of a machine that has ended, stays.
  func writeRecord() {
    recordLock.withLock {
      let (record, hasEnded) = lock.withLock { (inner.record, inner.hasEnded) }
      if !hasEnded { try? folder.write(record) }
    }
  }

  private func write(_ record: StatusRecord) throws { try recordLock.withLock { try folder.write(record) } }

  /// For a foreground process that shows the incoming machine.
  public var onProgress: @Sendable (TeleportProgress) -> Void = { _ in }
  /// Is told each state that begins, from any thread. To be set before `start`.
  public var onState: @Sendable (VMState) -> Void = { _ in }
  /// Whether the CPUs' threads answer within so many nanoseconds each; true while there is no machine yet.
  public func cpusAnswer(withinNanoseconds limit: UInt64) -> Bool {
    lock.withLock { inner.vm }?.cpusAnswer(withinNanoseconds: limit) ?? true
  }
  /// Is told what people should read.
  public var onMessage: @Sendable (String) -> Void = { _ in }

  private func machine(_ vm: VirtualMachine?, _ event: MachineEvent) {
    // A machine that was dropped half-loaded has nothing to say any more.
    queue.async { [self] in
      switch event {
      case .log(VirtualMachine.nothingBootable):
        lock.withLock { inner.hasFoundNothing = true }
        logger.warning("\(VirtualMachine.nothingBootable)")
        news.publish(MachineNews(.warning, machine: entry.name, text: VirtualMachine.nothingBootable))
      case .log(let text): logger.info("\(text)")
      case .debuggerStop: debuggers?.machineStopped()
      case .guestReset:
        logger.info("the guest has reset the machine")
        lock.withLock { inner.hasFoundNothing = false }
        news.publish(MachineNews(.reset, machine: entry.name))
        if options.endsAtReset { finish(.poweroff, status: 0) }
      case .poweredOff: finish(.poweroff, status: 0)
      case .diskFailed(let error, let before):
        let text =
          LogEvents.diskError + ManagementError.line(for: error) + (before > 0 ? " (and \(before) times before)" : "")
        logger.error("\(text)")
        news.publish(MachineNews(.warning, machine: entry.name, text: text))
      case .guestPanicked(let hasCrashKernel, let goOn):
        guestPanicked(hasCrashKernel)
        goOn()
      case .exited(let status): finish(.poweroff, status: status)
      case .gurumeditation(let text):
        logger.critical("gurumeditation: \(text)")
        settle(.gurumeditation, reason: text)
        if options.isOwned { end(.aborted, status: 1, reason: text) }
      }
    }
  }

  // MARK: Ending

  /// Ends the VM now, or when the operation is over that holds it.
  func finish(_ state: VMState, status: Int32, reason: String? = nil) {
    let source = lock.withLock {
      if inner.source != nil || inner.protection != nil || inner.record.state == .saving {
        inner.pendingEnd = (state, status, reason)
      }
      return inner.source
    }
    source?.cancel()
    lock.withLock { inner.protection }?.powerOff()
    if lock.withLock({ inner.pendingEnd == nil }) { end(state, status: status, reason: reason) }
  }

  /// Does what was put off.
  func finishPending() {
    if let pending = lock.withLock({ inner.pendingEnd }) {
      queue.async { self.end(pending.state, status: pending.status, reason: pending.reason) }
    }
  }

  /// Power off from outside (a signal): clean, whatever is under way.
  public func terminate() {
    queue.async { [self] in
      logger.info("asked to end")
      finish(.poweroff, status: 0)
    }
  }

  func end(_ state: VMState, status: Int32 = 0, reason: String? = nil) {
    let isFirst = lock.withLock {
      defer { inner.hasEnded = true }
      inner.exitStatus = inner.hasEnded ? inner.exitStatus : status
      return !inner.hasEnded
    }
    guard isFirst else { return }
    if state == .poweroff { settle(.stopping) }
    let (vm, target) = lock.withLock { (inner.vm, inner.target) }
    target?.stop()
    for endpoint in consoles { endpoint.console.connect(nil) }
    screen?.close(state == .teleported ? reason ?? "" : "")
    for network in networks { network.close() }
    vm?.powerOff()
    for recorder in recorders { recorder.stop() }
    var record = StatusRecord(state: state)
    record.reason = reason
    try? write(record)
    logger.info("ended: \(state.rawValue)")
    var last = MachineNews(.state, machine: entry.name)
    (last.state, last.reason) = (state, reason)
    news.publish(last)
    news.end()
    // From here on the VM may be started again, though the answer to the request that ended it is still on its way.
    stopServers()
    fileLock.unlock(.running)
    queue.asyncAfter(deadline: .now() + 0.1) { self.ended.signal() }
  }

  /// Nobody can connect any more; who is connected stays so until the process ends.
  private func stopServers() {
    control?.close()
    passing?.close()
    screen?.close()
    vnc?.stop()
    debuggers?.dismiss("the machine has ended", ends: true)
    for endpoint in consoles { endpoint.close() }
  }

  /// Returns when the VM has ended.
  /// - Returns: the status to exit with.
  public func waitUntilEnd() -> Int32 {
    ended.wait()
    for network in networks { network.waitUntilLeft() }
    return lock.withLock { inner.exitStatus }
  }

  // MARK: Looking

  func console(_ slot: Int?) throws -> SerialConsole {
    let wanted = slot ?? consoles.map(\.console.slot).min() ?? 1
    guard let endpoint = consoles.first(where: { $0.console.slot == wanted }) else {
      let list = consoles.map(\.console.name).joined(separator: ", ")
      let option = wanted == MachineConfiguration.virtioConsoleSlot ? "--virtio-console on" : "--uart1"
      throw ManagementError(
        "the machine \"\(entry.name)\" has no \(ConsoleName.text(wanted))",
        remedy: list.isEmpty ? "give it one with \(option)" : "it has \(list)")
    }
    return endpoint.console
  }
}
