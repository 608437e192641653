import Machine

/// What would keep a machine from coming to a target, found without sending it.
public enum TeleportObstacle: Codable, Equatable, Sendable {
  case hardware(HardwareMismatch)
  /// The target's host has less memory left than the machine may need, both in megabytes.
  case memory(needed: Int, available: Int)
  /// The target cannot take a medium.
  case medium(String)
  /// The place where a host writes down whose the machine is.
  case records(String)
  /// A port that the machine's network card is to have there and that is not to be had. The machine comes all the same.
  case forward(card: Int, reason: String)

  /// Whether the machine does not come for it, or not for sure.
  public var isFatal: Bool {
    if case .forward = self { return false }
    return true
  }
}

/// What a source has learned of a target.
public struct TeleportCheck: Equatable, Sendable {
  /// In the order of the check; none: the machine would go.
  public var obstacles: [TeleportObstacle] = []
  /// The target's name for its machine.
  public var machine = ""
  /// The target is of a version that tells its hardware only.
  public var isOfOlderTarget = false
}

extension TeleportSource {
  /// Does all that a teleport does before memory is sent, and has the target say everything that stands against it.
  /// Nothing is changed on either side, and the machine runs on meanwhile.
  /// - Throws: `TeleportError` for a target that cannot be reached or asked.
  public func check() throws -> TeleportCheck {
    guard machine.teleportState != .stopped else { throw TeleportError.machineStopped }
    return try whileConnected(toCheck: true) { link in
      try machine.markMedia()
      defer { machine.unmarkMedia() }
      let hardware = Message.encode(try machine.hardwareDescription())
      try link.send(.hardware, hardware, timeoutMS: options.timeoutMS)
      let frame = try link.receive(timeoutMS: options.timeoutMS, "check")
      switch frame.type {
      case .report:
        let report = try Message.decodeText(Message.Report.self, frame)
        return TeleportCheck(obstacles: report.obstacles, machine: report.machine)
      case .accept:
        // It waits for the machine now, and is told at once that none comes.
        try? link.send(.abort, Array("a check".utf8), timeoutMS: 1000)
        return TeleportCheck(isOfOlderTarget: true)
      default:
        let answer = frame.unexpected("a report")
        guard case .hardware(let mismatches, let machine) = answer else { throw answer }
        return TeleportCheck(
          obstacles: mismatches.map { .hardware($0) }, machine: machine, isOfOlderTarget: true)
      }
    }
  }
}

extension TargetSession {
  /// What stands against a source's machine. The target's own takes nothing in and serves again; the seat is held meanwhile, so
  /// that there is one of it.
  func report(on source: HardwareDescription) throws -> Message.Report {
    defer { target.desk.forget(transfer) }
    let machine = try target.takeMachine()
    defer { target.giveBack(machine) }
    let mine = try machine.hardwareDescription()
    var obstacles = HardwareCheck.compare(source: source, target: mine).map { TeleportObstacle.hardware($0) }
    obstacles += machine.mediaObstacles().map { .medium($0) }
    obstacles += target.obstacles()
    target.onCheck(sourceName, obstacles.count)
    return Message.Report(obstacles: obstacles, machine: options.name)
  }
}
