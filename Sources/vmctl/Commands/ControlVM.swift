import ArgumentParser
import Foundation
import Management

/// `controlvm NAME VERB ...`: the machine's name comes before the verb, as VBoxManage's users type it.
struct ControlVM: ParsableCommand {
  enum Kind: String, CaseIterable {
    case pause, resume, reset, poweroff, acpipowerbutton, injectnmi, savestate, screenshotpng, keyboardputscancode,
      keyboardputstring, sendbreak
    case teleport, resolveteleport, unprotect, failover
    /// Of a network card, whose number follows.
    case setlinkstate, natpf, nictrace, nictracefile

    var isOfCard: Bool { [.setlinkstate, .natpf, .nictrace, .nictracefile].contains(self) }
  }

  /// "pause", "setlinkstate1".
  struct Verb: ExpressibleByArgument {
    let kind: Kind
    /// 1 to 8.
    let card: Int?

    init?(argument: String) {
      let word = String(argument.prefix { !$0.isNumber })
      let number = argument.dropFirst(word.count)
      guard let kind = Kind(rawValue: word) else { return nil }
      self.kind = kind
      card = Int(number)
      guard kind.isOfCard ? number.count == 1 && (1...8).contains(card ?? 0) : number.isEmpty else { return nil }
    }

    static var defaultCompletionKind: CompletionKind { .list(allValueStrings) }
    static var allValueStrings: [String] {
      Kind.allCases.flatMap { kind in kind.isOfCard ? (1...8).map { "\(kind.rawValue)\($0)" } : [kind.rawValue] }
    }
  }

  static let configuration = CommandConfiguration(
    commandName: "controlvm", abstract: "Controls a running machine.",
    discussion: """
      controlvm NAME pause | resume | reset | poweroff | acpipowerbutton | injectnmi | savestate
      controlvm NAME screenshotpng FILE
      controlvm NAME keyboardputscancode HEX...
      controlvm NAME keyboardputstring TEXT...
      controlvm NAME sendbreak [UART]                  a break on a serial port's line: SysRq on a Linux console
      controlvm NAME setlinkstate1 on | off            plugs the cable of network card 1 in or out
      controlvm NAME natpf1 NAME,tcp|udp,[HOSTIP],HOSTPORT,[GUESTIP],GUESTPORT | delete NAME
      controlvm NAME nictrace1 on | off                writes its frames to a pcap file
      controlvm NAME nictracefile1 FILE
      controlvm NAME teleport --host HOST --port PORT [--maxdowntime MS] [--password P | --passwordfile F] [--timeout MS]
          ^C cancels; the machine then runs on here.
      controlvm NAME teleport --host HOST --port PORT --check ...
          Sends nothing and changes nothing: tells everything that stands against the teleport, a line each, with status 1, or
          that nothing does.
      controlvm NAME resolveteleport takeback | giveup
          Ends a teleport whose target went silent in the middle of the hand-over. takeback: you vouch that the machine
          does not run there.
      controlvm NAME unprotect [force]
          Ends the protection of a machine, which goes on here. force: you vouch that the backup does not run it, where the
          witness cannot be asked.
      controlvm NAME failover
          The backup goes on with the machine: on the host that runs it, hands it over; on the backup, takes it.
      """)
  @OptionGroup var machine: MachineArgument
  @Argument(help: "What to do.") var verb: Verb
  @Argument(help: "What it is done with.", completion: .file()) var arguments: [String] = []
  @Option(help: "Teleport: the target's host.") var host: String?
  @Option(name: [.customShort("p"), .long], help: "Teleport: the port the target waits on.") var port: Int?
  @Option(
    name: [.customShort("d"), .long],
    help: ArgumentHelp("Teleport: how long the machine may stand still.", valueName: "ms"))
  var maxdowntime: Int = 250
  @Flag(help: "Teleport: only tells what stands against it.") var check = false
  @Option(help: "Teleport: the target's password.") var password: String?
  @Option(help: "Teleport: a file with the password in its first line, or stdin.", completion: .file())
  var passwordfile: String?
  @Option(help: ArgumentHelp("Teleport: how long the target may be silent.", valueName: "ms")) var timeout: Int?

  func validate() throws {
    let count = arguments.count
    switch verb.kind {
    case .setlinkstate, .nictrace:
      guard ["on", "off"].contains(arguments.first), count == 1 else {
        throw ValidationError("\(verb.kind.rawValue)\(verb.card ?? 1) needs on or off")
      }
    case .natpf: guard count > 0 else { throw ValidationError("natpf\(verb.card ?? 1) needs a rule, or delete NAME") }
    case .nictracefile:
      guard count == 1 else { throw ValidationError("nictracefile\(verb.card ?? 1) needs a file") }
    case .screenshotpng: guard count == 1 else { throw ValidationError("screenshotpng needs a file") }
    case .keyboardputscancode:
      guard count > 0 else { throw ValidationError("keyboardputscancode needs codes, as 1e 9e") }
    case .sendbreak:
      guard count <= 1, arguments.allSatisfy({ (1...4).contains(Int($0) ?? 0) }) else {
        throw ValidationError("sendbreak takes the number of a serial port, 1 to 4")
      }
    case .keyboardputstring: guard count > 0 else { throw ValidationError("keyboardputstring needs a text") }
    case .resolveteleport:
      guard ["takeback", "giveup"].contains(arguments.first), count == 1 else {
        throw ValidationError("resolveteleport needs takeback or giveup")
      }
    case .teleport: try validateTeleport()
    case .unprotect:
      guard arguments.isEmpty || arguments == ["force"] else {
        throw ValidationError("unprotect takes force or nothing")
      }
    default: guard count == 0 else { throw ValidationError("\(verb.kind.rawValue) takes no \"\(arguments[0])\"") }
    }
    if verb.kind != .teleport
      && (host != nil || port != nil || password != nil || passwordfile != nil || timeout != nil || check)
    {
      throw ValidationError("--host, --port, --password, --passwordfile, --timeout and --check are for teleport")
    }
  }

  private func validateTeleport() throws {
    guard host != nil, let port else { throw ValidationError("teleport needs --host and --port") }
    guard arguments.isEmpty else { throw ValidationError("teleport takes no \"\(arguments[0])\"") }
    guard (1...65535).contains(port) else { throw ValidationError("--port is from 1 to 65535") }
    guard maxdowntime > 0 else { throw ValidationError("--maxdowntime is at least 1 (ms)") }
    guard timeout.map({ $0 > 0 }) ?? true else { throw ValidationError("--timeout is at least 1 (ms)") }
    guard password == nil || passwordfile == nil else {
      throw ValidationError("give --password or --passwordfile, not both")
    }
  }

  func run() throws {
    let entry = try machine.entry()
    if verb.kind == .resolveteleport, try !entry.folder.currentStatus().state.isLive {
      return try entry.resolveTeleport(takeBack: arguments[0] == "takeback")
    }
    let client = try ControlClient(entry)
    switch verb.kind {
    case .setlinkstate, .natpf, .nictrace, .nictracefile:
      guard let command = ControlRequest.Command(rawValue: verb.kind.rawValue) else { return }
      var request = ControlRequest(command)
      request.card = verb.card
      // The machine's process has another current directory.
      request.words = verb.kind == .nictracefile ? arguments.map { Paths.absolute($0) } : arguments
      try client.request(request)
    case .teleport: try teleport(client)
    case .savestate:
      let line = ProgressLine()
      defer { line.finish() }
      _ = try client.request(ControlRequest(.savestate)) { line.show($0.progress ?? "") }
    case .screenshotpng:
      try Paths.write(arguments[0], try client.request(ControlRequest(.screenshotpng)).data)
    case .keyboardputscancode:
      var request = ControlRequest(.keyboardputscancode)
      request.scancodes = try arguments.flatMap { $0.split(separator: " ") }.map { code in
        guard let value = UInt8(code.hasPrefix("0x") ? code.dropFirst(2) : code, radix: 16) else {
          throw ManagementError("\"\(code)\" is no scan code", remedy: "give two hexadecimal digits, as 1e 9e")
        }
        return value
      }
      try client.request(request)
    case .keyboardputstring:
      var request = ControlRequest(.keyboardputstring)
      request.text = arguments.joined(separator: " ")
      try client.request(request)
    case .sendbreak:
      var request = ControlRequest(.sendbreak)
      request.uart = arguments.first.flatMap { Int($0) }
      try client.request(request)
    case .unprotect:
      var request = ControlRequest(.unprotect)
      request.text = arguments.first
      try client.request(request)
    case .resolveteleport:
      var request = ControlRequest(.resolveteleport)
      request.text = arguments[0]
      try client.request(request)
    default:
      guard let command = ControlRequest.Command(rawValue: verb.kind.rawValue) else { return }
      let reply = try client.request(ControlRequest(command)) { reply in
        if let text = reply.progress { Terminal.error(text) }
      }
      for note in reply.notes ?? [] { Terminal.error("note: \(note)") }
    }
  }

  private func checkTeleport(_ client: ControlClient, _ wish: TeleportRequest) throws {
    var (wish, request) = (wish, ControlRequest(.teleport))
    wish.isCheck = true
    request.teleport = wish
    let signals = SignalWatch([SIGINT, SIGTERM]) { try? client.post(ControlRequest(.cancel)) }
    defer { withExtendedLifetime(signals) {} }
    let reply = try client.request(request)
    for line in reply.obstacles ?? [] { Terminal.line("obstacle: \(line)") }
    for line in reply.notes ?? [] { Terminal.line("note: \(line)") }
    guard reply.obstacles?.isEmpty == true else { throw ExitCode(1) }
    Terminal.line("nothing stands against it")
  }

  private func teleport(_ client: ControlClient) throws {
    var wish = TeleportRequest(host: host ?? "", port: port ?? 0, maxDowntimeMS: maxdowntime)
    wish.password = try passwordfile.map { try PasswordFile.read($0) } ?? password
    wish.timeoutMS = timeout
    if check { return try checkTeleport(client, wish) }
    var request = ControlRequest(.teleport)
    request.teleport = wish
    let line = ProgressLine()
    var isDoubted = false
    let signals = SignalWatch([SIGINT, SIGTERM]) { try? client.post(ControlRequest(.cancel)) }
    defer { withExtendedLifetime(signals) {} }
    do {
      let reply = try client.request(request) { reply in
        guard let phase = reply.teleport?.phase, phase != .done else { return }
        guard phase == .inDoubt, !isDoubted else { return line.show(reply.progress ?? "") }
        isDoubted = true
        line.finish()
        Terminal.error(
          "in doubt: the target has not said whether it runs the machine, which stays paused here until it does.\n"
            + "If you know better: vmctl controlvm \(machine.name) resolveteleport takeback|giveup (docs/teleport-protocol.md says when)"
        )
      }
      line.finish(erases: true)
      Terminal.line(reply.text ?? "done")
    } catch {
      line.finish()
      throw error
    }
  }
}
