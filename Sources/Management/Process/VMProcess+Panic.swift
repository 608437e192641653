import Machine

/// What becomes of a machine whose guest's kernel says that it has panicked.
public enum PanicAction: String, Codable, CaseIterable, Sendable {
  /// It runs on, and does what the kernel does then.
  case none
  /// It stands still, to be looked at.
  case pause
  case reset
  /// It ends, with status 1: a service is started again.
  case exit
}

extension VMProcess {
  /// On the process's queue.
  func guestPanicked(_ hasCrashKernel: Bool) {
    let text = "the guest's kernel has panicked\(hasCrashKernel ? " and goes on with its crash kernel" : "")"
    if let before = panicsToTell() {
      let told = text + (before > 0 ? " (and \(before) times before)" : "")
      logger.critical("\(told)")
      news.publish(MachineNews(.panic, machine: entry.name, text: told))
    }
    // What a crash kernel does, a memory dump as a rule, takes a running machine.
    guard !hasCrashKernel else { return }
    switch definition.onPanic {
    case .none: break
    case .exit: finish(.poweroff, status: 1, reason: text)
    case .pause: attempt("paused") { try step("paused", from: [.running], to: .paused) { $0.pause() } }
    case .reset: attempt("reset") { try reset() }
    }
  }

  /// How often the guest has panicked since that was told last; nil: that is not to be told now. A guest that does so again and
  /// again fills no log.
  private func panicsToTell() -> Int? {
    lock.withLock {
      if let panics = inner.panics, panics.told.duration(to: .now) < .seconds(10) {
        inner.panics?.since += 1
        return nil
      }
      defer { inner.panics = (.now, 0) }
      return inner.panics?.since ?? 0
    }
  }

  /// A machine that is about to move or to be saved goes on as it is.
  private func attempt(_ what: String, _ body: () throws -> Void) {
    do {
      try body()
      logger.debug("the machine was \(what), as --on-panic says")
    } catch {
      logger.debug("the machine could not be \(what) after the panic: \(ManagementError.line(for: error))")
    }
  }
}
