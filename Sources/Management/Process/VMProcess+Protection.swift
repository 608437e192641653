import Foundation
import Machine
import Teleport

/// Protection: as the machine's primary host, and as the backup of another.
extension VMProcess {
  // MARK: The primary

  /// Takes the process that asks the witness.
  func take(_ wish: WitnessPassed, _ descriptor: Int32) {
    let known = lock.withLock { inner.witness }
    if let known, known.place == wish.place {
      logger.info("the witness's process is another one now")
      return known.client.replace(descriptor)
    }
    let client = WitnessClient(descriptor, entry)
    lock.withLock { inner.witness = (wish.place, client) }
  }

  /// Returns when there is no protection any more.
  func protect(_ request: ControlRequest, _ session: ControlSession) throws -> ControlReply {
    guard let wish = request.protection else { throw ManagementError("remus needs a host and a port") }
    guard Reprotection.intervals.contains(wish.intervalMS) else {
      throw ManagementError("an interval of \(wish.intervalMS) ms is not possible", remedy: "give 25 to 10000 with -i")
    }
    guard !definition.hardware.deterministic else {
      throw ManagementError("a deterministic machine cannot be protected", remedy: "use modifyvm --deterministic off")
    }
    let (progressBefore, before) = lock.withLock { (inner.protectionProgress, inner.record.protection) }
    if wish.isRenewal == true, before == nil { return .done(Self.goesOnAlone) }
    let peer = "\(wish.target.host) port \(wish.target.port)"
    let protection = try claimProtection(wish, session, peer)
    debuggers?.dismiss("the machine is being protected")
    session.whenCancelled { protection.end() }
    let outcome: ProtectionSource.Outcome
    do {
      if !wish.isBlackhole { try Self.record(wish, protection.session, peer, isEstablished: false).write(folder) }
      outcome = try protection.run()
    } catch {
      ProtectionRecord.remove(folder)
      // One that was lost before is wanted as before.
      let isMissed = lock.withLock {
        let isMissed = before?.state == .unprotected && !inner.isUnprotectWanted
        inner.protectionProgress = isMissed ? progressBefore : nil
        return isMissed
      }
      release(protection, isMissed ? before : nil)
      logger.error("no protection: \(ManagementError.text(for: error))")
      let reason = ManagementError.text(for: error)
      if lock.withLock({ inner.pendingEnd != nil }) { throw ManagementError("no protection: the machine has ended") }
      throw ManagementError("no protection, the machine is \(state.rawValue) here as before: \(reason)")
    }
    switch outcome {
    case .takenOver(let isWanted):
      try? ReplicaRecord(entry).write(folder)
      lock.withLock { inner.protection = nil }
      end(.teleported, reason: "the backup at \(peer) has taken it over")
      guard isWanted else {
        throw ManagementError(
          "the backup at \(peer) has taken the machine over; what it had not sent yet is lost with it")
      }
      return .done("the machine goes on at \(peer)")
    case .undecided(let reason):
      lock.withLock { inner.pendingEnd?.reason = "the backup at \(peer) may go on with it: \(reason)" }
      release(protection, nil)
      return .done("the machine has ended")
    case .unprotected(let reason, let isWanted):
      ProtectionRecord.remove(folder)
      let hasEnded = lock.withLock { inner.pendingEnd != nil }
      // Who was killed has not asked for anything.
      let isAbandoned = isWanted && session.hasLeft
      let why = isAbandoned ? "the command that protected it has ended without a word" : reason
      let isMissed = !hasEnded && (!isWanted || isAbandoned)
      release(protection, isMissed ? ProtectionStatus(.unprotected, .primary, peer: peer, reason: why) : nil)
      if hasEnded { return .done("the machine has ended") }
      if !isMissed { return .done(Self.goesOnAlone) }
      logger.error("\(LogEvents.unprotected)\(why)")
      throw ManagementError("\(why); \(Self.goesOnAlone)", remedy: "protect it again with vmctl remus")
    }
  }

  private static func record(
    _ wish: ProtectionRequest, _ session: String, _ peer: String, isEstablished: Bool
  ) -> ProtectionRecord {
    ProtectionRecord(
      witness: wish.witness, session: session, peer: peer, returning: wish.returning, isEstablished: isEstablished)
  }

  private static let goesOnAlone = "the machine goes on here, without protection"

  /// - Parameter status: what is to be said of it from now on; nil: nobody wants it to be protected.
  private func release(_ protection: ProtectionSource, _ status: ProtectionStatus?) {
    lock.withLock {
      inner.protection = nil
      inner.protectionProgress?.state = .unprotected
      if let status { inner.protectionProgress?.reason = status.reason }
      inner.record.protection = status
    }
    if lock.withLock({ inner.pendingEnd == nil }) { writeRecord() }
    finishPending()
  }

  /// One at a time. The witness, which may take its time, is asked before.
  private func claimProtection(
    _ wish: ProtectionRequest, _ session: ControlSession, _ peer: String
  ) throws -> ProtectionSource {
    var witness = Witness.none
    if wish.witness != WitnessPlace.none.text {
      guard let passed = lock.withLock({ inner.witness }), passed.place == wish.witness else {
        throw ManagementError("the witness \(wish.witness) was not passed", remedy: "use one version of vmctl")
      }
      witness = try passed.client.witness(passed.place)
    } else if wish.returning != nil {
      throw ManagementError(
        "without a witness nobody knows when the hosts change places", remedy: "give one with --witness")
    }
    if !wish.isBlackhole {
      // From then on the backup may have it.
      witness.establish = { [folder, establish = witness.establish] session in
        let answer = establish(session)
        guard answer == .won else { return answer }
        do {
          try Self.record(wish, session, peer, isEstablished: true).write(folder)
          return .won
        } catch {
          return .unreachable(ManagementError.line(for: error))
        }
      }
    }
    var options = ProtectionSource.Options(link: sourceOptions(wish.target))
    options.intervalMS = wish.intervalMS
    options.compresses = wish.compresses
    options.isBlackhole = wish.isBlackhole
    options.holdsOutput = wish.holdsOutput
    options.replicatesDisks = wish.replicatesDisks
    options.reprotection = wish.returning?.place
    return try lock.withLock {
      guard let vm = inner.vm, inner.record.state == .running, !inner.hasEnded else {
        throw ManagementError(
          "the machine \"\(entry.name)\" is \(inner.record.state.rawValue) and cannot be protected",
          remedy: "it must be running")
      }
      guard inner.source == nil, inner.protection == nil else {
        throw ManagementError(
          "the machine \"\(entry.name)\" is being \(inner.source == nil ? "protected" : "teleported") already",
          remedy: "end that first, with vmctl controlvm \"\(entry.name)\" unprotect or ^C in its command")
      }
      let protection = ProtectionSource(vm: vm, options: options, witness: witness) { [weak self] progress in
        self?.note(progress)
        var reply = ControlReply.progress(progress.summary)
        reply.protection = progress
        session.sendProgress(reply)
      }
      inner.protection = protection
      inner.isUnprotectWanted = false
      return protection
    }
  }

  func note(_ progress: ProtectionProgress) {
    let (isNew, isOther) = lock.withLock {
      defer { inner.protectionProgress = progress }
      let isNew = inner.protectionProgress?.state != progress.state
      let known = inner.record.protection
      // How it has ended is said where it is known who has ended it; a backup that is looked for is none before it answers.
      guard progress.state != .unprotected, progress.bytes > 0 || known?.state != .unprotected else {
        return (isNew, false)
      }
      inner.record.protection = ProtectionStatus(progress)
      return (isNew, inner.record.protection != known)
    }
    if isNew { logger.info("protection: \(progress.summary)") }
    // Not on this thread: the other host waits for signs of life, and a disk may be slow.
    if isOther { queue.async { [weak self] in self?.writeRecord() } }
    var told = MachineNews(.protection, machine: entry.name)
    told.protection = progress
    news.publish(told)
  }

  /// `unprotect` and `failover`.
  func changeProtection(_ request: ControlRequest) throws -> ControlReply {
    let (protection, target, state) = lock.withLock { (inner.protection, inner.target, inner.record.state) }
    if request.command == .failover {
      if let protection {
        protection.failOver()
        return try awaitHandOver(protection)
      }
      guard state == .standby, let target else { throw notProtected() }
      target.takeOver()
      return try awaitTakeOver()
    }
    guard let protection else {
      // One that is looked for again is not wanted any more.
      let isMissed = lock.withLock {
        guard inner.record.protection?.state == .unprotected else { return false }
        inner.record.protection = nil
        return true
      }
      guard isMissed else { throw notProtected() }
      writeRecord()
      return .done()
    }
    lock.withLock { inner.isUnprotectWanted = true }
    protection.end()
    if request.text == "force" { protection.vouch() }
    return .done()
  }

  /// The seconds that somebody who asks for a failover waits for it.
  private static let failoverPatience = 30.0

  /// Looks again and again.
  /// - Returns: nil: it has not come within so many seconds.
  private func look<Value>(forSeconds seconds: Double, _ body: () -> Value?) -> Value? {
    let limit = Date().addingTimeInterval(seconds)
    while Date() < limit {
      if let value = body() { return value }
      usleep(10_000)
    }
    return nil
  }

  private func awaitHandOver(_ protection: ProtectionSource) throws -> ControlReply {
    let end = look(forSeconds: Self.failoverPatience) { () -> ProtectionProgress? in
      lock.withLock {
        guard inner.protection !== protection else { return nil }
        return inner.protectionProgress ?? ProtectionProgress(role: .primary, state: .unprotected)
      }
    }
    guard let end else {
      throw ManagementError(
        "the backup does not take the machine, and whose it is is being decided", remedy: "see vmctl showvminfo")
    }
    guard end.state == .takenover else {
      throw ManagementError("the machine goes on here: \(end.reason ?? "the protection has ended")")
    }
    return .done("the machine goes on at \(end.peer)")
  }

  private func awaitTakeOver() throws -> ControlReply {
    let now = look(forSeconds: Self.failoverPatience) { state == .standby ? nil : state }
    let reason = lock.withLock { inner.protectionProgress?.reason }
    switch now {
    case .running, .paused: return .done("the machine goes on here")
    case nil:
      throw ManagementError(
        "whose the machine is cannot be decided yet: \(reason ?? "the witness does not answer")",
        remedy: "it goes on here as soon as the witness says so")
    default: throw ManagementError("the machine stays where it was", remedy: "see this machine's log")
    }
  }

  private func notProtected() -> ManagementError {
    ManagementError(
      "the machine \"\(entry.name)\" is not protected", remedy: "protect it with vmctl remus \"\(entry.name)\" HOST")
  }

  /// What must not be done to a protected machine.
  func refuseWhileProtected(_ verb: String) throws {
    guard lock.withLock({ inner.protection != nil }) else { return }
    throw ManagementError(
      "the machine \"\(entry.name)\" is protected and cannot be \(verb)",
      remedy: "end that first with vmctl controlvm \"\(entry.name)\" unprotect")
  }

  /// Ends the protection before the machine, so that no backup goes on with it.
  /// - Returns: nil: there is none.
  func powerOffProtected(_ session: ControlSession) throws -> ControlReply? {
    guard lock.withLock({ inner.protection }) != nil else { return nil }
    logger.info("asked to end")
    finish(.poweroff, status: 0)
    var told = ""
    let hasEnded = look(forSeconds: 15) { () -> Bool? in
      let (hasEnded, standing) = lock.withLock { (inner.hasEnded, inner.protectionProgress) }
      if let standing, standing.state == .deciding, standing.summary != told {
        told = standing.summary
        session.sendProgress(.progress("the machine stands still, and ends when it is known whose it is: \(told)"))
      }
      return hasEnded ? true : nil
    }
    if hasEnded == true {
      // It has when that is written down.
      queue.sync {}
      var reply = ControlReply.done()
      if let left = ProtectionRecord.read(folder) {
        reply.notes = [
          "the witness (\(left.witness)) has not said whose the machine is, and the backup at \(left.peer) may go on with it; "
            + "the next start here asks again"
        ]
      }
      return reply
    }
    throw ManagementError(
      "the witness cannot be asked whose the machine is, which waits for its answer",
      remedy: "if you know that the backup does not run: vmctl controlvm \"\(entry.name)\" unprotect force")
  }

  // MARK: The backup

  /// What makes this process take protected machines.
  func protectionDuty(_ witness: WitnessClient) -> ProtectionDuty {
    let (folder, replica) = (folder, ReplicaRecord(entry))
    let media = definition.hardware.storageControllers.flatMap { controller in
      controller.attachments.map { (controller.bus, $0) }
    }
    return ProtectionDuty(
      obstacle: { place in
        if ReplicaRecord.read(folder)?.machine == replica.machine { return nil }
        let medium = media.first { $0.0 == place.bus && $0.1.port == place.port && $0.1.device == place.device }?.1
          .medium
        return
          "the backup's disk \(medium ?? "") holds something, which would be written over; give the backup an empty one "
          + "of the same size (vmctl createmedium), the same file on storage that both hosts share, or leave disks alone with -F -d"
      },
      overwrites: { places in
        if !places.isEmpty { try replica.write(folder) }
      },
      witness: { place, machine in
        if place == WitnessPlace.none.text { return .none }
        return try witness.witness(place, of: machine)
      })
  }
}
