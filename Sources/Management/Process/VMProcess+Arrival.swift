import Foundation
import Machine
import Teleport

/// How a machine comes from another host, and what became of one that went.
extension VMProcess {
  /// A process that died in the middle of handing the machine over has left a question: who has it?
  func settleEarlierTeleport() throws {
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

  func waitForTeleport() throws -> String {
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
      logger.warning("a teleport was tried with a wrong password (\(count) so far)")
    }
    target.onCheck = { [logger] source, count in
      logger.info("the source \"\(source)\" has asked what stands against its coming: \(count) obstacles")
    }
    target.obstacles = { [weak self] in self?.obstaclesHere() ?? [] }
    target.onOldSource = { [logger] in
      logger.warning(
        "the source speaks teleport protocol 3 or older: the machine crosses unencrypted, and who listens can guess the password"
      )
    }
    if let standbyWitness { target.protection = protectionDuty(standbyWitness) }
    target.onProtection = { [weak self] in self?.note($0) }
    if returning != nil {
      // Nobody looks for it any more.
      target.onDismissal = { [weak self] in
        guard let self else { return }
        queue.async { self.end(.teleported, reason: "the other host needs no backup any more") }
      }
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
    if let returning {
      return
        "the backup at \(returning.peer) has taken the machine \"\(entry.name)\" over: it waits here to be the backup now, on "
        + "\(address) port \(port)\(warning)"
    }
    return "the machine \"\(entry.name)\" is waiting for its teleport on \(address) port \(port)\(warning)"
  }

  private func arrived(_ vm: VirtualMachine, _ anchors: [Int: AnchorSocket]) {
    logger.info("the machine has arrived")
    ReplicaRecord.remove(folder)
    ProtectionRecord.remove(folder)
    joinAnchors(anchors)
    adopt(vm)
    // The guest may have ended itself meanwhile.
    if lock.withLock({ inner.hasEnded }) { return vm.powerOff() }
    lock.withLock {
      inner.record.teleporterPort = nil
      inner.record.teleporterAddress = nil
    }
    settle(vm.runState == .paused ? .paused : .running)
    reprotect()
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

  /// The hosts change places: who was the primary is looked for as the backup of a machine that was taken over.
  private func reprotect() {
    let (wish, isTakenOver) = lock.withLock {
      (inner.target?.reprotection, inner.protectionProgress?.state == .takenover)
    }
    guard isTakenOver, let wish, let standbyWitness else { return }
    Thread.detachNewThread { [logger] in
      if let why = standbyWitness.reprotect(wish) {
        logger.error("\(LogEvents.unprotected)no backup is looked for: \(why)")
      } else {
        logger.info("vmctl remus looks for its backup at \(wish.backup.text)")
      }
    }
  }

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
    case .standby(let from):
      for endpoint in consoles { endpoint.copy(true) }
      settle(.standby)
      onMessage("standing by for the machine of \(from)")
    case .takingOver(let epoch):
      logger.error("\(LogEvents.failedOver)the machine goes on here from checkpoint \(epoch)")
      lock.withLock {
        inner.protectionProgress?.state = .takenover
        inner.record.protection = inner.protectionProgress.flatMap { ProtectionStatus($0) }
      }
    case .dropped(let reason):
      if self.state == .standby {
        lock.withLock { (inner.protectionProgress, inner.record.protection) = (nil, nil) }
        for endpoint in consoles { endpoint.copy(false) }
        settle(.teleportingin)
      }
      logger.warning("a transfer was dropped: \(reason)")
      onMessage("a transfer was dropped, waiting again: \(reason)")
    case .arrived(let paused):
      logger.info("arrived\(paused ? ", paused" : "")")
      onMessage("the machine has arrived")
    }
  }
}
