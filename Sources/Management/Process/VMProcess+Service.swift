import Foundation
import HostNetwork
import Machine
import Teleport

/// What a VM process does for the clients of its control socket.
extension VMProcess {
  func serve(_ request: ControlRequest, _ session: ControlSession) throws -> ControlReply {
    switch request.command {
    case .status:
      var reply = status()
      if request.text == "boot" { reply.boot = boot }
      return reply
    case .pause:
      try refuseWhileProtected("paused")
      try step("paused", from: [.running], to: .paused) { $0.pause() }
      debuggers?.machineStopped()
      return .done()
    case .resume:
      if debuggers?.holdsMachine == true {
        throw ManagementError(
          "a debugger holds the machine \"\(entry.name)\"", remedy: "let it go on there, with continue or detach")
      }
      try resume()
      return .done()
    case .reset:
      try reset()
      return .done()
    case .acpipowerbutton:
      try step("asked to power off", from: [.running], to: nil) { $0.pressPowerButton() }
      return .done()
    case .injectnmi:
      try step("sent an NMI", from: [.running], to: nil) { $0.injectNMI() }
      return .done()
    case .poweroff: return try powerOff(session)
    case .savestate:
      try refuseWhileProtected("saved")
      return try saveState(session)
    case .snapshot:
      guard let wish = request.snapshot else { throw ManagementError("a snapshot needs a name") }
      try refuseWhileProtected("kept as a snapshot")
      return try takeSnapshot(wish, session)
    // The client writes the file: this process may not.
    case .screenshotpng: return .done(data: try machine("pictured").screenshotPNG())
    case .keyboardputscancode:
      let codes = request.scancodes ?? []
      try step("typed at", from: [.running], to: nil) { try $0.pressKeys(scancodes: codes) }
      return .done()
    case .keyboardputstring:
      let text = request.text ?? ""
      try step("typed at", from: [.running], to: nil) { try $0.typeText(text) }
      return .done()
    case .teleport:
      if request.teleport?.isCheck != true { try refuseWhileProtected("teleported") }
      return try teleport(request, session)
    case .protect: return try protect(request, session)
    case .unprotect, .failover: return try changeProtection(request)
    case .resolveteleport: return try resolve(request)
    case .getregisters: return .done(try machine("inspected").registers())
    case .info: return .done(try machine("inspected").info(request.text ?? ""))
    case .statistics: return .done(statistics())
    case .block: return .done(try machine("inspected").translatedBlock(request.text))
    case .sandbox: return try probeSandbox(request)
    case .setlinkstate, .natpf, .nictrace, .nictracefile:
      let reply = try changeNetwork(request)
      let words = ["card \(request.card ?? 0):", request.command.rawValue] + (request.words ?? [])
      news.publish(MachineNews(.network, machine: entry.name, text: words.joined(separator: " ")))
      return reply
    case .sendbreak:
      let console = try console(request.uart)
      try step("sent a break", from: [.running], to: nil) { _ in console.sendBreak() }
      return .done()
    case .state:
      try refuseWhileProtected("looked into")
      return try showState(withMemory: request.text == "memory")
    case .consolesize:
      try console(request.uart).resize(columns: request.columns ?? 80, rows: request.rows ?? 25)
      return .done()
    case .events:
      try news.serve(session, first: stateNews)
      return .done()
    case .console, .cancel: return .done()
    }
  }

  private func status() -> ControlReply {
    var reply = ControlReply.done()
    reply.networks = networkFacts()
    lock.withLock {
      reply.status = inner.record
      if inner.source != nil || inner.record.state == .teleportingin { reply.teleport = inner.progress }
      reply.protection = inner.protectionProgress
    }
    return reply
  }

  func resume() throws {
    try step("resumed", from: [.paused], to: .running) {
      // A machine taken back from a target that may have it runs only when that has let go of the media.
      try $0.lockMedia()
      $0.resume()
    }
  }

  func reset() throws { try step("reset", from: [.running, .paused], to: nil) { $0.reset() } }

  /// How far the machine has come.
  private var boot: BootProgress? {
    let (vm, found) = lock.withLock { (inner.vm, inner.hasFoundNothing) }
    guard let vm else { return nil }
    if vm.usesPaging { return .kernel }
    return found ? .nothingBootable : .firmware
  }

  private func machine(_ verb: String) throws -> VirtualMachine {
    let (vm, state) = lock.withLock { (inner.vm, inner.record.state) }
    guard let vm else { throw wrongState(verb, state) }
    return vm
  }

  private func wrongState(_ verb: String, _ state: VMState, _ allowed: [VMState] = [.running, .paused])
    -> ManagementError
  {
    let list = allowed.map(\.rawValue).joined(separator: " or ")
    return ManagementError(
      "the machine \"\(entry.name)\" is \(state.rawValue) and cannot be \(verb)", remedy: "it must be \(list)")
  }

  /// Goes through a state in which nothing else may be done, so that two requests cannot cross.
  func begin(_ verb: String, from allowed: [VMState], to state: VMState) throws -> (
    vm: VirtualMachine, before: VMState
  ) {
    let claim: (vm: VirtualMachine, before: VMState) = try lock.withLock {
      guard let vm = inner.vm, allowed.contains(inner.record.state), !inner.hasEnded else {
        throw wrongState(verb, inner.record.state, allowed)
      }
      let before = inner.record.state
      inner.record.state = state
      return (vm, before)
    }
    do {
      try change(state)
    } catch {
      lock.withLock { inner.record.state = claim.before }
      throw error
    }
    return claim
  }

  func step(
    _ verb: String, from allowed: [VMState], to state: VMState?, _ body: (VirtualMachine) throws -> Void
  ) throws {
    guard let state else {
      let vm = try lock.withLock {
        guard let vm = inner.vm, allowed.contains(inner.record.state) else {
          throw wrongState(verb, inner.record.state, allowed)
        }
        return vm
      }
      return try body(vm)
    }
    let claim = try begin(verb, from: allowed, to: state)
    do {
      try body(claim.vm)
    } catch {
      settle(claim.before)
      throw error
    }
  }

  private func powerOff(_ session: ControlSession) throws -> ControlReply {
    if let reply = try powerOffProtected(session) { return reply }
    let state = self.state
    switch state {
    case .running, .paused, .gurumeditation, .teleportingin, .standby:
      var reply = ControlReply.done()
      reply.notes = carriedFlows()
      for note in reply.notes ?? [] { logger.info("\(note)") }
      end(.poweroff)
      return reply
    case .teleporting, .teleportingpausedvm:
      throw ManagementError(
        "the machine \"\(entry.name)\" is being teleported",
        remedy: "stop the teleport first (^C in the command that started it)")
    default: throw wrongState("powered off", state, [.running, .paused, .gurumeditation, .teleportingin, .standby])
    }
  }

  private func saveState(_ session: ControlSession) throws -> ControlReply {
    debuggers?.dismiss("the machine is being saved")
    let claim = try begin("saved", from: [.running, .paused], to: .saving)
    do {
      claim.vm.pause()
      saveConnections()
      var shown = -1
      try saveMachine(claim.vm, to: folder.state) { pages, total in
        let percent = total == 0 ? 100 : pages * 100 / total
        if percent != shown { session.sendProgress(.progress("saving \(percent) %")) }
        shown = percent
      }
    } catch {
      if claim.before == .running { claim.vm.resume() }
      settle(claim.before)
      finishPending()
      throw ManagementError(
        "the state cannot be saved: \(ManagementError.line(for: error))",
        remedy: "the machine is \(claim.before.rawValue) as before")
    }
    end(.saved)
    return .done()
  }

  /// The machine stands still meanwhile.
  private func showState(withMemory: Bool) throws -> ControlReply {
    let claim = try begin("looked into", from: [.running, .paused], to: .saving)
    defer {
      if claim.before == .running { claim.vm.resume() }
      settle(claim.before)
      finishPending()
    }
    claim.vm.pause()
    return .done(data: try StateContents(of: claim.vm, withMemory: withMemory).encoded())
  }

  private func probeSandbox(_ request: ControlRequest) throws -> ControlReply {
    guard let file = request.path, let process = request.process else {
      throw ManagementError("sandbox needs a file and a process to try its strength on")
    }
    let state = lock.withLock { inner.record.sandbox } ?? "not yet"
    let target = ProbeTarget(file: file, process: process)
    var text = "sandbox: \(state)\n" + SandboxProbe.report(target)
    for (process, report) in try networks.flatMap({ try $0.probeSandbox(target) }) {
      text += "\n\(process):\n\(report)"
    }
    return .done(text)
  }

  private func statistics() -> String {
    var usage = rusage()
    getrusage(__rusage_who_t(RUSAGE_SELF.rawValue), &usage)
    let user = Double(usage.ru_utime.tv_sec) + Double(usage.ru_utime.tv_usec) / 1e6
    let system = Double(usage.ru_stime.tv_sec) + Double(usage.ru_stime.tv_usec) / 1e6
    let record = lock.withLock { inner.record }
    let execution = lock.withLock { inner.vm }.map { "\n" + $0.executionStatistics() } ?? ""
    return """
      state: \(record.state.rawValue)
      seconds in this state: \(Int(Date().timeIntervalSince(record.since)))
      host CPU seconds, user: \(user)
      host CPU seconds, system: \(system)
      host memory, most: \(usage.ru_maxrss >> 10) MB
      """ + execution
  }

  // MARK: Teleport

  func note(_ progress: TeleportProgress) {
    let isNew = lock.withLock {
      defer { inner.progress = progress }
      return inner.progress?.phase != progress.phase
    }
    if isNew { logger.info("teleport: \(progress.summary)") }
    var told = MachineNews(.teleport, machine: entry.name)
    told.teleport = progress
    news.publish(told)
    onProgress(progress)
  }

  private func teleport(_ request: ControlRequest, _ session: ControlSession) throws -> ControlReply {
    guard let wish = request.teleport else { throw ManagementError("teleport needs a host and a port") }
    guard (1...65535).contains(wish.port) else {
      throw ManagementError(
        "port \(wish.port) is not from 1 to 65535", remedy: "the target says its port when it starts")
    }
    guard wish.maxDowntimeMS > 0 else {
      throw ManagementError(
        "--maxdowntime \(wish.maxDowntimeMS) is not possible", remedy: "give at least 1 ms; 250 is usual")
    }
    if wish.isCheck == true { return try checkTeleport(wish, session) }
    debuggers?.dismiss("the machine is being teleported to \(wish.host) port \(wish.port)")
    let claim = try claimSource(wish, session) {
      $0.record.state = $0.record.state == .paused ? .teleportingpausedvm : .teleporting
    }
    session.whenCancelled { [logger] in
      if !claim.cancel() { logger.warning("a cancel came too late: the machine is being handed over") }
    }
    do {
      let result = try claim.run()
      end(.teleported, reason: "it runs at \(wish.host) port \(wish.port)")
      var reply = ControlReply.done(result.summary)
      reply.teleport = result
      return reply
    } catch {
      lock.withLock { inner.source = nil }
      if [.teleporting, .teleportingpausedvm].contains(state) {
        settle(lock.withLock { inner.vm?.runState } == .paused ? .paused : .running)
      }
      finishPending()
      logger.error("teleport failed: \(ManagementError.text(for: error))")
      if lock.withLock({ inner.pendingEnd != nil }) {
        throw ManagementError("no teleport: the machine was powered off meanwhile")
      }
      let reason = ManagementError.text(for: error)
      throw ManagementError("no teleport, the machine is \(state.rawValue) here as before: \(reason)")
    }
  }

  /// One at a time.
  func claimSource(
    _ wish: TeleportRequest, _ session: ControlSession, _ change: (inout Inner) -> Void = { _ in }
  ) throws -> TeleportSource {
    try lock.withLock {
      guard let vm = inner.vm, [.running, .paused].contains(inner.record.state) else {
        throw wrongState("teleported", inner.record.state)
      }
      guard inner.source == nil else {
        throw ManagementError(
          "a check of a teleport of \"\(entry.name)\" is under way", remedy: "try again when it has ended")
      }
      let source = makeSource(vm, wish, session)
      inner.source = source
      inner.progress = nil
      change(&inner)
      return source
    }
  }

  /// After a check.
  func releaseSource() {
    lock.withLock { inner.source = nil }
    finishPending()
  }

  func sourceOptions(_ wish: TeleportRequest) -> TeleportSource.Options {
    var options = TeleportSource.Options(
      host: wish.host, port: wish.port, name: definition.name, uuid: definition.uuid.uuidString.lowercased())
    options.maxDowntimeMS = wish.maxDowntimeMS
    options.password = wish.password
    if let timeout = wish.timeoutMS { options.timeoutMS = timeout }
    options.anchors = anchoredCards
    // Its disks may be others than at the start: a snapshot was taken.
    options.definition = MachineReception.portable((try? folder.readDefinition(checkingHost: false)) ?? definition)
    return options
  }

  private func makeSource(_ vm: VirtualMachine, _ wish: TeleportRequest, _ session: ControlSession) -> TeleportSource {
    let options = sourceOptions(wish)
    let place = "\(wish.host) port \(wish.port)"
    let path = folder.teleport
    return TeleportSource(
      vm: vm, options: options, records: { try $0.write(to: path) },
      state: { [weak self] in self?.teleport($0) },
      progress: { [weak self] progress in
        self?.note(progress)
        session.sendProgress(.progress(progress.summary, progress))
      },
      anchors: { [weak self] links in
        guard let self else { return }
        leaveAnchors(links, towards: place)
      })
  }

  private func resolve(_ request: ControlRequest) throws -> ControlReply {
    let (source, phase) = lock.withLock { (inner.source, inner.progress?.phase) }
    guard let source, phase == .inDoubt else {
      throw ManagementError(
        "no teleport of \"\(entry.name)\" is in doubt", remedy: "see vmctl showvminfo \"\(entry.name)\"")
    }
    switch request.text {
    case "takeback": source.resolve(.takeBack)
    case "giveup": source.resolve(.giveUp)
    default: throw ManagementError("a doubt is resolved by takeback or giveup")
    }
    return .done()
  }
}
