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
  private let queue = DispatchQueue(label: "vmctl.process")
  private let ended = DispatchSemaphore(value: 0)
  /// What the uarts have in the file system, by their order, or why not.
  private var named: Result<[ConsoleEndpoint.Named], any Error>
  private var consoles: [ConsoleEndpoint] = []
  /// What the network cards are plugged into, or why that is not to be had.
  private var prepared: Result<[NetworkEndpoint], any Error>
  private(set) var networks: [NetworkEndpoint] = []
  private var sandbox: Sandbox
  private var control: ControlServer?
  private var discs: DiscService?

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
    /// The machine ended while an operation held it: done when that is over.
    var pendingEnd: (state: VMState, status: Int32)?
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
    definition = try folder.readDefinition(checkingHost: true)
    inner = Inner(record: folder.restingStatus())
    logFile = try LogFile(folder: folder, takesOutput: detached)
    logger = logFile.logger()
    let uarts = definition.hardware.uarts
    named = Result { try uarts.map { try ConsoleEndpoint.Named($0) } }
    let (folder, logger) = (folder, logger)
    prepared = Result { [definition] in
      let home = try Registry.fromEnvironment().home
      return try definition.hardware.networkAdapters.map {
        try NetworkEndpoint($0, folder: folder, home: home, isSandboxed: definition.sandbox, logger: logger)
      }
    }
    sandbox = Sandbox(isWanted: definition.sandbox)
    sandbox.closeFiles(Sandbox.rules(folder, definition))
    group = MultiThreadedEventLoopGroup(numberOfThreads: 1)
  }

  /// Gives up the system calls of a process that still has something to open. From here on a guest's code may run.
  private func closeSystem() {
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
      discs = try DiscService(path: folder.mediaSocket) { [weak self] in try self?.changeDisc($0, $1) }
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
      summary += ways
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

  /// A process that died in the middle of handing the machine over has left a question: who has it?
  private func settleEarlierTeleport() throws {
    guard let record = TeleportRecord.read(from: folder.teleport), record.role == .source else { return }
    guard record.step == .committing else {
      // What it says is settled, and nothing about the life that begins now.
      unlink(folder.teleport)
      return
    }
    let place = "\(record.host) port \(record.port)"
    var settled = record
    switch TeleportInquiry.ask(record) {
    case .runs:
      settled.step = .handedOver
      try settled.write(to: folder.teleport)
      inner.record = StatusRecord(state: .teleported)
      throw ManagementError(
        "the machine \"\(entry.name)\" was handed over to \(place) and runs there",
        remedy: "start it here again when it has ended there")
    case .discarded, .unknown:
      unlink(folder.teleport)
      logger.info("the teleport to \(place) has left nothing running there")
    case .unreachable(let reason):
      throw ManagementError(
        "the machine \"\(entry.name)\" was being handed over to \(place) when its process died, and may run there; "
          + "that cannot be asked now (\(reason))",
        remedy: "try again, or if you know that it does not run there: "
          + "vmctl controlvm \"\(entry.name)\" resolveteleport takeback")
    }
  }

  private func openConsoles() throws {
    for (uart, named) in zip(definition.hardware.uarts, try named.get()) {
      consoles.append(try ConsoleEndpoint.open(uart, named, group: group, logger: logger))
    }
    lock.withLock {
      for endpoint in consoles { inner.record.consolePorts[endpoint.console.slot] = endpoint.port }
    }
    writeRecord()
  }

  private func build(_ hardware: MachineConfiguration? = nil) throws -> VirtualMachine {
    let vm = try VirtualMachine(
      hardware ?? definition.hardware, identity: MachineIdentity(name: definition.name, uuid: definition.uuid))
    vm.onEvent = { [weak self, weak vm] event in self?.machine(vm, event) }
    for endpoint in consoles {
      let console = endpoint.console
      vm.connectSerial(slot: console.slot) { console.output($0) }
    }
    return vm
  }

  /// Gives the consoles' input to the machine that is to run.
  private func adopt(_ vm: VirtualMachine) {
    lock.withLock { inner.vm = vm }
    for endpoint in consoles {
      let slot = endpoint.console.slot
      vm.onSerialRoom(slot: slot) { [weak console = endpoint.console] in console?.hasRoom() }
      endpoint.console.connect { [weak vm] bytes in vm?.serialInput(slot: slot, bytes) ?? bytes.count }
    }
    for network in networks { network.connect(vm) }
  }

  private func run(_ vm: VirtualMachine) throws {
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
        loaded = try loadMachine(vm, from: folder.state, force: options.force)
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

  private func waitForTeleport() throws -> String {
    let password = try definition.teleporter.effectivePassword()
    let address = try definition.teleporter.listenAddress(hasPassword: password != nil)
    var options = TeleportTarget<VirtualMachine>.Options(
      address: address, port: definition.teleporter.port, password: password, name: definition.name,
      uuid: definition.uuid.uuidString.lowercased())
    options.previous = TeleportRecord.read(from: folder.teleport)
    options.anchors = anchoredCards
    let path = folder.teleport
    let target = TeleportTarget<VirtualMachine>(
      options: options,
      makeMachine: { [weak self] in
        guard let self else { throw TeleportError.cancelled }
        return try build()
      },
      records: { try $0.write(to: path, durable: $1) },
      state: { [weak self] in self?.teleport($0) },
      progress: { [weak self] in self?.note($0) },
      arrival: { [weak self] in self?.arrived($0, $1) })
    target.onWrongPassword = { [logger] count in
      // The first ones each, then powers of two: a guesser does not fill the disk.
      guard count <= 4 || count & (count - 1) == 0 else { return }
      logger.warning("a teleport was tried with a wrong password (\(count) so far)")
    }
    target.onOldSource = { [logger] in
      logger.warning(
        "the source speaks teleport protocol 3 or older: the machine crosses unencrypted, and who listens can guess the password"
      )
    }
    lock.withLock { inner.target = target }
    try change(.teleportingin)
    let port = try target.listen()
    closeSystem()
    lock.withLock {
      inner.record.teleporterPort = port
      inner.record.teleporterAddress = address
    }
    writeRecord()
    Thread.detachNewThread { [weak self] in
      do {
        _ = try target.run()
      } catch TeleportError.cancelled {
      } catch {
        guard let self else { return }
        logger.error("the teleport has failed: \(ManagementError.text(for: error))")
        queue.async { self.end(.poweroff, status: 1, reason: ManagementError.line(for: error)) }
      }
    }
    let warning = password == nil ? " (this host only, as there is no password)" : ""
    return "the machine \"\(entry.name)\" is waiting for its teleport on \(address) port \(port)\(warning)"
  }

  private func arrived(_ vm: VirtualMachine, _ anchors: [Int: AnchorSocket]) {
    logger.info("the machine has arrived")
    joinAnchors(anchors)
    adopt(vm)
    // The guest may have ended itself meanwhile.
    if lock.withLock({ inner.hasEnded }) { return vm.powerOff() }
    lock.withLock {
      inner.record.teleporterPort = nil
      inner.record.teleporterAddress = nil
    }
    settle(vm.runState == .paused ? .paused : .running)
    do {
      try folder.whileEditing {
        var definition = try folder.readDefinition(checkingHost: false)
        definition.teleporter.enabled = false
        try folder.change(to: definition)
      }
    } catch {
      logger.warning("the teleporter setting could not be switched off: \(ManagementError.line(for: error))")
    }
  }

  // MARK: State

  var state: VMState { lock.withLock { inner.record.state } }

  /// Writes the new state down, then it holds.
  func change(_ state: VMState, reason: String? = nil) throws {
    var record = lock.withLock { inner.record }
    record.state = state
    record.since = Date()
    record.process = getpid()
    record.reason = reason
    try write(record)
    lock.withLock { inner.record = record }
    onState(state)
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
      onState(state)
      logger.error("state: \(state.rawValue), which cannot be written down: \(ManagementError.line(for: error))")
    }
  }

  private func writeRecord() {
    let record = lock.withLock { inner.record }
    try? write(record)
  }

  private func write(_ record: StatusRecord) throws { try recordLock.withLock { try folder.write(record) } }

  func note(_ progress: TeleportProgress) {
    let isNew = lock.withLock {
      defer { inner.progress = progress }
      return inner.progress?.phase != progress.phase
    }
    if isNew { logger.info("teleport: \(progress.summary)") }
    onProgress(progress)
  }

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

  /// What a transfer means for the VM's state.
  func teleport(_ state: TeleportState) {
    switch state {
    case .teleporting(let paused): settle(paused ? .teleportingpausedvm : .teleporting)
    case .kept(let paused): settle(paused ? .paused : .running)
    case .inDoubt:
      logger.warning("the machine is handed over, but the target does not answer; see vmctl controlvm resolveteleport")
    case .handedOver, .waiting: break
    case .receiving(let from):
      logger.info("receiving from \(from)")
      onMessage("receiving the machine from \(from)")
    case .dropped(let reason):
      logger.warning("a transfer was dropped: \(reason)")
      onMessage("a transfer was dropped, waiting again: \(reason)")
    case .arrived(let paused):
      logger.info("arrived\(paused ? ", paused" : "")")
      onMessage("the machine has arrived")
    }
  }

  private func machine(_ vm: VirtualMachine?, _ event: MachineEvent) {
    // A machine that was dropped half-loaded has nothing to say any more.
    queue.async { [self] in
      switch event {
      case .log(let text): logger.info("\(text)")
      case .guestReset:
        logger.info("the guest has reset the machine")
        if options.endsAtReset { finish(.poweroff, status: 0) }
      case .poweredOff: finish(.poweroff, status: 0)
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
  private func finish(_ state: VMState, status: Int32) {
    let source = lock.withLock {
      if inner.source != nil || inner.record.state == .saving { inner.pendingEnd = (state, status) }
      return inner.source
    }
    source?.cancel()
    if lock.withLock({ inner.pendingEnd == nil }) { end(state, status: status) }
  }

  /// Does what was put off.
  func finishPending() {
    if let pending = lock.withLock({ inner.pendingEnd }) {
      queue.async { self.end(pending.state, status: pending.status) }
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
    for network in networks { network.close() }
    vm?.powerOff()
    var record = StatusRecord(state: state)
    record.reason = reason
    try? write(record)
    logger.info("ended: \(state.rawValue)")
    // From here on the VM may be started again, though the answer to the request that ended it is still on its way.
    stopServers()
    fileLock.unlock(.running)
    queue.asyncAfter(deadline: .now() + 0.1) { self.ended.signal() }
  }

  /// Nobody can connect any more; who is connected stays so until the process ends.
  private func stopServers() {
    control?.close()
    discs?.close()
    for endpoint in consoles { endpoint.close() }
  }

  /// Returns when the VM has ended.
  /// - Returns: the status to exit with.
  public func waitUntilEnd() -> Int32 {
    ended.wait()
    return lock.withLock { inner.exitStatus }
  }

  // MARK: Looking

  private func console(_ slot: Int?) throws -> SerialConsole {
    let wanted = slot ?? consoles.map(\.console.slot).min() ?? 1
    guard let endpoint = consoles.first(where: { $0.console.slot == wanted }) else {
      let list = consoles.map { String($0.console.slot) }.joined(separator: ", ")
      throw ManagementError(
        "the machine \"\(entry.name)\" has no uart \(wanted)",
        remedy: list.isEmpty ? "give it one with --uart1" : "it has \(list)")
    }
    return endpoint.console
  }
}
