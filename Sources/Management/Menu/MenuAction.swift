/// What can be done from the list, by a letter or from the list of actions.
enum MenuAction: Character, CaseIterable, Sendable {
  case add = "a"
  case remove = "d"
  case start = "s"
  case stop = "t"
  case console = "c"
  case configuration = "e"
  case stopScript = "p"
  case log = "l"
  case record = "r"
  case details = "i"
  case teleport = "m"
  case protection = "b"
  case savestate = "v"
  case leave = "q"

  var label: String {
    switch self {
    case .add: "add"
    case .remove: "remove"
    case .start: "start"
    case .stop: "stop"
    case .console: "console"
    case .configuration: "configuration"
    case .stopScript: "stop script"
    case .log: "log"
    case .record: "record"
    case .details: "details"
    case .teleport: "teleport"
    case .protection: "protect"
    case .savestate: "save"
    case .leave: "leave"
    }
  }

  /// Whether it is about the machine that is chosen.
  var needsMachine: Bool { self != .add && self != .leave }
  /// What needs a process of the machine's.
  var needsLife: Bool { [.stop, .console, .teleport, .protection, .savestate].contains(self) }
  /// What is done beside the menu, one at a time.
  var isOperation: Bool { [.add, .remove, .start, .stop, .teleport, .savestate].contains(self) }
}
