/// A key of any terminal.
public enum MenuKey: Equatable, Sendable {
  case up, down, left, right, pageUp, pageDown, home, end
  case enter, escape, backspace, tab
  /// Printed.
  case character(Character)
  /// With Ctrl, as a small letter.
  case control(Character)
}

/// What an editor is opened for.
public enum MenuEdit: String, Equatable, Sendable {
  /// A machine's definition.
  case definition
  /// What stops it.
  case stopScript = "stop script"
}

/// What is shown page by page.
public enum MenuReading: Equatable, Sendable {
  /// All there is to say of a machine.
  case details(String)
  /// Its log: 0 is the present one, 1 the one before.
  case log(String, Int)
  /// What its first console has said while nobody was connected, by the same numbers.
  case record(String, Int)
  /// How its protection stands.
  case protection(String)

  /// Whether there may be more of it at its end.
  var grows: Bool {
    switch self {
    case .details, .protection: false
    case .log, .record: true
    }
  }
  /// Whether it is another text a moment later.
  var isLive: Bool { if case .protection = self { true } else { false } }

  /// The same of an earlier or later file; nil: there is none.
  func other(_ step: Int) -> MenuReading? {
    func known(_ index: Int) -> Int? { (0...RotatingFile.kept).contains(index + step) ? index + step : nil }
    switch self {
    case .details, .protection: return nil
    case .log(let name, let index): return known(index).map { .log(name, $0) }
    case .record(let name, let index): return known(index).map { .record(name, $0) }
    }
  }
}

/// What happens to the menu.
public enum MenuEvent: Sendable {
  /// Somebody has pressed a key.
  case key(MenuKey)
  /// The terminal has this size, in characters.
  case size(columns: Int, rows: Int)
  /// Time passes: about once a second.
  case tick
  /// The machines as they are now.
  case list(ServiceList)
  /// They cannot be told.
  case listFailed(String)
  /// How far the operation is that runs.
  case progress(String)
  /// It has ended, with its last word.
  case done(String)
  /// It has failed.
  case failed(String)
  /// What was to be read.
  case text(MenuReading, [String])
  /// A program that had the terminal has ended, and this is what there is to say.
  case returned(String)
  /// What somebody has edited is not right; it is kept apart.
  case badEdit(MenuEdit, String, String)
}

/// What the menu wants done.
public enum MenuEffect: Equatable, Sendable {
  /// The list anew.
  case refresh
  /// The terminal may show what is not so: all is drawn anew.
  case redraw
  /// Beside everything else: its progress and its end are events.
  case run(MenuOperation)
  /// The operation that runs is to end, if it can.
  case cancel
  /// The text is an event.
  case read(MenuReading)
  /// The machine's serial console has the terminal until it is left.
  case console(String)
  /// An editor has the terminal; `again`: on what it had before, which was not right.
  case edit(MenuEdit, String, again: Bool)
  /// What was edited and was not right is dropped.
  case dropEdit(MenuEdit, String)
  /// The end.
  case quit
}

/// What is done with machines, beside the menu.
public enum MenuOperation: Equatable, Sendable {
  /// What the form of a new service says.
  public struct Addition: Equatable, Sendable {
    /// Of the machine.
    public var name: String
    /// Of a new one.
    public var memoryMB: Int
    /// Starts with the host.
    public var autoboot: Bool
    /// Starts again after a failure.
    public var restart: Bool
    /// What stops it without a script.
    public var stopMode: ServiceSettings.StopMode
  }

  /// What the form of a protection says.
  public struct Protection: Equatable, Sendable {
    /// Where the backup waits.
    public var host: String
    /// On which port.
    public var port: Int
    /// As users write it (`WitnessPlace`).
    public var witness: String
    /// Whose first line is the backup's password; nil: it has none.
    public var passwordFile: String?
  }

  case add(Addition)
  /// The service goes, the machine stays.
  case removeService(String)
  /// The machine is forgotten, its folder stays.
  case unregister(String)
  case start(String)
  /// By the service's own means.
  case stop(String)
  /// What a machine without a service is stopped by.
  case end(String, ServiceSettings.StopMode)
  case teleport(String, TeleportRequest)
  case protect(String, Protection)
  /// Its protection ends, and it goes on here; `force`: the other host does not run it, whatever the witness says.
  case unprotect(String, force: Bool)
  /// It goes on at the other of the two hosts.
  case handOver(String)

  /// As the menu says it while it is done.
  var title: String {
    switch self {
    case .add(let addition): "adding \"\(addition.name)\""
    case .removeService(let name): "removing the service of \"\(name)\""
    case .unregister(let name): "unregistering \"\(name)\""
    case .start(let name): "starting \"\(name)\""
    case .stop(let name), .end(let name, .acpi), .end(let name, .poweroff): "stopping \"\(name)\""
    case .end(let name, .savestate): "saving \"\(name)\""
    case .teleport(let name, let wish): "teleporting \"\(name)\" to \(wish.host)"
    case .protect(let name, let wish): "protecting \"\(name)\" by \(wish.host)"
    case .unprotect(let name, _): "ending the protection of \"\(name)\""
    case .handOver(let name): "handing \"\(name)\" over"
    }
  }

  /// Whether it may be ended half-way, with the machine as it was.
  var canBeCancelled: Bool {
    switch self {
    case .teleport, .protect: true
    default: false
    }
  }

  /// What becomes of it when the menu is left.
  var whenLeft: String {
    switch self {
    case .teleport: "It ends then, and the machine runs on here."
    case .protect: "It goes on without the menu."
    default: "It goes on as far as it can."
    }
  }
}

/// Something to decide, with an answer for each choice; the first loses nothing.
public struct MenuQuestion: Equatable, Sendable {
  let text: String
  var choices: [String]
  var effects: [MenuEffect?]
  /// What is filled in instead, by the choice's place.
  var forms: [Int: MenuForm] = [:]
  var selected = 0

  /// - Parameter yes: what a yes is called.
  static func confirm(_ text: String, _ yes: String, _ effect: MenuEffect) -> MenuQuestion {
    MenuQuestion(text: text, choices: ["No", yes], effects: [nil, effect])
  }
}

/// A text that is longer than the screen.
public struct MenuText: Equatable, Sendable {
  let reading: MenuReading
  var lines: [String]
  /// The first line that is shown.
  var top = 0
  /// New lines are shown when they come.
  var follows = false

  var title: String {
    switch reading {
    case .details(let name): "\"\(name)\""
    case .log(let name, 0): "Log of \"\(name)\""
    case .log(let name, let index): "Log of \"\(name)\", \(index) before the present one"
    case .record(let name, 0): "Console of \"\(name)\" while nobody was connected"
    case .record(let name, let index): "Console of \"\(name)\", \(index) before the present record"
    case .protection(let name): "Protection of \"\(name)\""
    }
  }
}
