import Foundation
import HostNetwork
import Teleport

/// What a witness process is asked, a line of JSON each.
struct WitnessRequest: Codable {
  enum Verb: String, Codable {
    /// Whether the witness is there and has nothing of another machine's.
    case check
    case establish
    case claim
    /// Whose it is, without a change.
    case look
    /// The backup has taken the machine over: `vmctl remus` is to be started for it here.
    case reprotect
  }
  /// Counts them, so that no answer is taken for another's.
  var number: UInt64 = 0
  var verb: Verb
  /// The place, as users write it.
  var place: String
  /// The machine.
  var uuid: String
  var name: String
  var session: String?
  var side: ProtectionSide?
  /// reprotect: how.
  var reprotection: Reprotection?
}

/// What it answers, a line of JSON each.
struct WitnessReply: Codable {
  enum Word: String, Codable { case won, lost, unreachable }
  /// The request's.
  var number: UInt64
  var word: Word
  var reason: String?

  init(_ number: UInt64, _ answer: WitnessAnswer) {
    self.number = number
    switch answer {
    case .won: word = .won
    case .lost: word = .lost
    case .unreachable(let why): (word, reason) = (.unreachable, why)
    }
  }

  var answer: WitnessAnswer {
    switch word {
    case .won: .won
    case .lost: .lost
    case .unreachable: .unreachable(reason ?? "it does not say why")
    }
  }
}

/// The process beside a VM process that asks the witness: the VM process's sandbox lets it open no file and run no program.
///
/// On the primary's host `vmctl remus` starts it, for a place that the user has named. On the backup's host the VM process
/// starts it when it begins to wait, and the place is what the primary says: it makes no file there, and runs a program only if
/// this host's user has named the same one.
public enum WitnessProcess {
  /// The subcommand of vmctl that this is.
  public static let subcommand = "witness-process"
  private static let descriptor: Int32 = 3
  /// Seconds that a program may take to decide.
  private static let patience = 30

  /// The machine that waits here, as it does before its guest runs.
  struct Backup: Codable, Equatable {
    /// Its UUID.
    var machine: String
    /// The program that decides in place of one that another host names; nil: none does.
    var command: String?
    /// Whose first line is the password that it asks for.
    var passwordFile: String?
    /// Its password is the one in its definition.
    var usesOwnPassword = false

    /// - Parameter teleporter: by which it waits, whatever its definition says.
    init(_ entry: VMEntry, _ teleporter: VMDefinition.Teleporter) {
      machine = entry.definition.uuid.uuidString
      command = teleporter.witnessCommand
      passwordFile = teleporter.passwordFile.map { Files.absolute($0) }
      usesOwnPassword = teleporter.passwordFile == nil && teleporter.password != nil
    }
  }

  /// Starts it.
  /// - Parameter backup: the machine that waits here for another host's, which names the places; nil: the places are this
  ///   host's user's words.
  /// - Returns: the socket on which it is asked; it ends with that.
  /// - Throws: `ManagementError`.
  static func start(for backup: Backup?) throws -> Int32 {
    let (ours, theirs) = try Descriptors.pair()
    defer { close(theirs) }
    let words = try backup.map { ["--", "backup", String(decoding: try JSONEncoder().encode($0), as: UTF8.self)] }
    do {
      _ = try ChildProcess.spawn(
        Program.own, ["vmctl", subcommand] + (words ?? ["trusted"]), output: .null, descriptors: [theirs],
        group: .ownSession)
    } catch {
      close(ours)
      throw ManagementError.system("cannot start the witness's process", error.code)
    }
    return ours
  }

  /// Serves until the socket is closed.
  /// - Parameter words: "trusted", or "backup" and a `Backup`.
  public static func run(_ words: [String]) {
    _ = fcntl(descriptor, F_SETFD, FD_CLOEXEC)
    let isTrusted = words.first == "trusted"
    let backup =
      words.first == "backup" ? try? JSONDecoder().decode(Backup.self, from: Data(words[1...].joined().utf8)) : nil
    // The witness by which the machine is this host's since a moment.
    var taken: String?
    var framer = LineFramer()
    var chunk = [UInt8](repeating: 0, count: 4096)
    while true {
      let count = read(descriptor, &chunk, chunk.count)
      if count < 0 && errno == EINTR { continue }
      guard count > 0, let lines = try? framer.feed(chunk[..<count]) else { return }
      for line in lines {
        // Who asks something else is none of ours.
        guard let request = try? JSONDecoder().decode(WitnessRequest.self, from: Data(line)) else { return }
        let answer: WitnessAnswer
        if request.verb == .reprotect {
          answer = reprotect(request, backup, taken: taken)
          taken = nil
        } else {
          answer = serve(request, isTrusted: isTrusted, command: backup?.command)
          if request.verb == .claim, request.side == .backup, answer == .won { taken = request.place }
        }
        let reply = WitnessReply(request.number, answer)
        guard let bytes = try? JSONEncoder().encode(reply),
          (try? Files.writeAll(descriptor, Array(bytes) + [10], path: "the answer")) != nil
        else { return }
      }
    }
  }

  /// Starts `vmctl remus` for the machine that this process was started for. Once for each takeover, and with the witness
  /// that has allowed it: a VM process that its guest has broken into gets no more by this than it has.
  static func reprotect(_ request: WitnessRequest, _ backup: Backup?, taken: String?) -> WitnessAnswer {
    do {
      guard let backup, let taken, let wish = try request.reprotection?.checked() else {
        throw ManagementError("nothing was taken over here")
      }
      let registry = try Registry.fromEnvironment()
      var witness = taken
      if case .command = try WitnessPlace(taken), let own = backup.command { witness = WitnessPlace.command(own).text }
      try ProtectionProcess(
        try registry.find(backup.machine), wish, witness: witness, password: backup, home: registry.home
      ).release()
      return .won
    } catch {
      return .unreachable(ManagementError.line(for: error))
    }
  }

  /// Never throws: what cannot be asked is unreachable.
  static func serve(_ request: WitnessRequest, isTrusted: Bool, command: String? = nil) -> WitnessAnswer {
    do {
      let place = try WitnessPlace(request.place)
      switch place {
      case .none: return .won
      case .file(let path):
        return try ask(FileWitness(path: path, makes: isTrusted && request.verb == .check), request)
      case .etcd(let url): return try ask(EtcdWitness(url: url, machine: request.uuid), request)
      case .command(let line):
        guard let own = isTrusted ? line : command else {
          throw ManagementError(
            "a program that another host names is not run here",
            remedy: "name this host's own with vmctl modifyvm \(request.name) --teleporter-witness-command, "
              + "or use a file or etcd as the witness")
        }
        return try run(own, request)
      }
    } catch {
      return .unreachable(ManagementError.line(for: error))
    }
  }

  private static func ask(_ store: any WitnessStore, _ request: WitnessRequest) throws -> WitnessAnswer {
    var answer = WitnessAnswer.lost
    try store.change { before in
      // Who has one of another machine that is not protected any more takes its place.
      if let before, before.machine != request.uuid, before.holder == .both,
        [.check, .establish].contains(request.verb)
      {
        throw ManagementError("it holds the record of another machine, \(before.machine)")
      }
      let known = before ?? WitnessRecord(machine: request.uuid, session: "", holder: .nobody)
      switch (request.verb, request.session, request.side) {
      case (.check, _, _):
        answer = .won
        return before ?? known
      case (.establish, let session?, _):
        answer = .won
        return known.established(session, machine: request.uuid)
      case (.claim, let session?, let side?):
        guard before != nil else { throw ManagementError("it has lost its record of the machine") }
        let after = known.claimed(session, side)
        answer = after == nil ? .lost : .won
        return after
      case (.look, let session?, let side?):
        guard let before else { throw ManagementError("it has lost its record of the machine") }
        if before.session == session, before.holder == .both { throw ManagementError("nobody has asked it yet") }
        answer = before.claimed(session, side) == nil ? .lost : .won
        return nil
      default: throw ManagementError("it was asked for nothing")
      }
    }
    return answer
  }

  /// Status 0: the machine is the asker's; 1: it is the other's; everything else: nobody knows.
  private static func run(_ line: String, _ request: WitnessRequest) throws -> WitnessAnswer {
    guard request.verb != .check else { return .won }
    guard request.verb != .look else { throw ManagementError("a program is not asked before somebody wants to know") }
    let variables = [
      "VMCTL_WITNESS": request.verb.rawValue, "VMCTL_SESSION": request.session ?? "", "VMCTL_NAME": request.name,
      "VMCTL_SIDE": request.side?.rawValue ?? "", "VMCTL_UUID": request.uuid,
    ]
    let outcome = try Program.run("/bin/sh", ["-c", line], environment: variables, seconds: patience)
    switch outcome.status {
    case 0: return .won
    case 1 where !outcome.hasTimedOut: return .lost
    default:
      return .unreachable(
        outcome.hasTimedOut ? "the program hung for \(patience) s" : "status \(outcome.status): \(outcome.firstLine)")
    }
  }
}
