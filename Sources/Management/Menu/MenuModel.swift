/// What the operator's menu shows, and what becomes of it: events come in, the new state and what is to be done come out. There
/// is no terminal and no machine in here.
public struct MenuModel: Sendable {
  /// What lies over the list of machines.
  enum Page: Equatable, Sendable {
    /// Actions to choose from, for terminals whose keyboard has arrows and little else.
    case actions(Int)
    case question(MenuQuestion)
    case form(MenuForm)
    case text(MenuText)
  }

  /// The operation that runs.
  struct Work: Equatable, Sendable {
    var operation: MenuOperation
    var progress: String?
  }

  private(set) var list: ServiceList
  /// The name of the machine that is chosen; nil: there is none.
  private(set) var selected: String?
  /// The first machine on the screen.
  private(set) var top = 0
  private(set) var page: Page?
  private(set) var work: Work?
  /// The last that there was to say.
  private(set) var message: String?
  private(set) var isMessageBad = false
  private(set) var columns = 80
  private(set) var rows = 24

  /// The smallest terminal that it can be used on, in characters.
  public static let smallest = (columns: 40, rows: 10)

  /// A menu of the machines as they are now.
  public init(_ list: ServiceList) {
    self.list = list
    selected = (list.machines.first(where: \.isCurrent) ?? list.machines.first)?.name
    note(list.problems)
  }

  var isTooSmall: Bool { columns < Self.smallest.columns || rows < Self.smallest.rows }
  /// The machine that is chosen.
  var row: ServiceList.Row? { list.machines.first { $0.name == selected } }
  private var index: Int { list.machines.firstIndex { $0.name == selected } ?? 0 }
  /// Lines of the screen that machines have, or those of a text.
  var room: Int { max(1, rows - (page.map(MenuScreen.panelRows) ?? MenuScreen.footerRows) - 2) }
  var textRoom: Int { max(1, rows - 2) }

  private mutating func say(_ text: String, bad: Bool = false) { (message, isMessageBad) = (text, bad) }
  private mutating func note(_ problems: [String]) { if let first = problems.first { say(first, bad: true) } }

  /// - Returns: what is to be done, in this order.
  public mutating func take(_ event: MenuEvent) -> [MenuEffect] {
    defer { scroll() }
    switch event {
    case .key(let key): return isTooSmall ? (key == .control("c") || key == .character("q") ? [.quit] : []) : take(key)
    case .size(let columns, let rows):
      (self.columns, self.rows) = (columns, rows)
      return []
    case .tick:
      if case .text(let text)? = page, text.follows || text.reading.isLive { return [.read(text.reading)] }
      return [.refresh]
    case .list(let new):
      let place = index
      list = new
      if row == nil { selected = new.machines.isEmpty ? nil : new.machines[min(place, new.machines.count - 1)].name }
      note(new.problems)
      return []
    case .listFailed(let text), .failed(let text):
      if case .failed = event { work = nil }
      say(text, bad: true)
      if case .failed = event { return [.refresh] }
      return []
    case .progress(let text):
      work?.progress = text
      return []
    case .done(let text):
      work = nil
      say(text)
      return [.refresh]
    case .returned(let text):
      say(text)
      return [.refresh]
    case .text(let reading, let lines):
      show(reading, lines)
      return []
    case .badEdit(let edit, let name, let reason):
      say(reason, bad: true)
      page = .question(
        MenuQuestion(
          text: "The \(edit.rawValue) of \"\(name)\" is as it was: \(reason)",
          choices: ["Edit it again", "Drop what was edited"],
          effects: [.edit(edit, name, again: true), .dropEdit(edit, name)]))
      return []
    }
  }

  private mutating func show(_ reading: MenuReading, _ lines: [String]) {
    var text = MenuText(reading: reading, lines: lines)
    text.follows = reading.grows
    // One that is looked at stays where it is.
    if case .text(let old)? = page, old.reading == reading {
      text.top = old.top
      text.follows = old.follows
    }
    page = .text(text)
  }

  /// What is chosen is on the screen, and nothing below the end.
  private mutating func scroll() {
    let place = index
    top = min(max(top, place - room + 1), place)
    top = max(0, min(top, list.machines.count - room))
    guard case .text(var text)? = page else { return }
    let last = max(0, text.lines.count - textRoom)
    text.top = text.follows ? last : max(0, min(text.top, last))
    page = .text(text)
  }

  // MARK: Keys

  private mutating func take(_ key: MenuKey) -> [MenuEffect] {
    if key == .control("l") { return [.redraw, .refresh] }
    switch page {
    case nil: return takeInList(key)
    case .actions(let index): return take(key, actions: index)
    case .question(let question): return take(key, question)
    case .form(let form): return take(key, form)
    case .text(let text): return take(key, text)
    }
  }

  private mutating func takeInList(_ key: MenuKey) -> [MenuEffect] {
    switch key {
    case .up, .character("k"): choose(index - 1)
    case .down, .character("j"): choose(index + 1)
    case .pageUp, .control("b"): choose(index - room)
    case .pageDown, .control("f"), .character(" "): choose(index + room)
    case .home: choose(0)
    case .end: choose(list.machines.count - 1)
    case .enter: page = .actions(0)
    case .control("c"), .control("d"): return begin(.leave)
    case .escape:
      guard let work, work.operation.canBeCancelled else { return [] }
      page = .question(.confirm("End \(work.operation.title)? The machine runs on here.", "End it", .cancel))
    case .character(let letter):
      guard let action = MenuAction(rawValue: letter) else {
        say("\"\(letter)\" means nothing here")
        return []
      }
      return begin(action)
    default: break
    }
    return []
  }

  private mutating func choose(_ place: Int) {
    message = nil
    guard !list.machines.isEmpty else { return }
    selected = list.machines[max(0, min(place, list.machines.count - 1))].name
  }

  private mutating func take(_ key: MenuKey, actions index: Int) -> [MenuEffect] {
    let all = MenuAction.allCases
    switch key {
    case .up, .left: page = .actions((index + all.count - 1) % all.count)
    case .down, .right, .tab: page = .actions((index + 1) % all.count)
    case .escape, .control("c"): page = nil
    case .enter:
      page = nil
      return begin(all[index])
    case .character(let letter):
      guard let action = MenuAction(rawValue: letter) else { return [] }
      page = nil
      return begin(action)
    default: break
    }
    return []
  }

  private mutating func take(_ key: MenuKey, _ question: MenuQuestion) -> [MenuEffect] {
    var question = question
    let count = question.choices.count
    switch key {
    case .up, .left: question.selected = (question.selected + count - 1) % count
    case .down, .right, .tab: question.selected = (question.selected + 1) % count
    case .escape, .control("c"): return answer(question, question.effects.firstIndex(of: nil) ?? count - 1)
    case .enter: return answer(question, question.selected)
    case .character(let letter):
      if count == 2 && "yY".contains(letter) { return answer(question, question.effects[0] == nil ? 1 : 0) }
      if count == 2 && "nN".contains(letter) { return answer(question, question.effects[0] == nil ? 0 : 1) }
      guard let number = letter.wholeNumberValue, (1...count).contains(number) else { return [] }
      return answer(question, number - 1)
    default: return []
    }
    page = .question(question)
    return []
  }

  private mutating func answer(_ question: MenuQuestion, _ choice: Int) -> [MenuEffect] {
    page = question.forms[choice].map { .form($0) }
    guard page == nil, let effect = question.effects[choice] else { return [] }
    guard case .run(let operation) = effect else { return [effect] }
    return run(operation)
  }

  private mutating func take(_ key: MenuKey, _ form: MenuForm) -> [MenuEffect] {
    var form = form
    switch key == .control("c") ? .cancelled : form.take(key) {
    case .stays: page = .form(form)
    case .cancelled: page = nil
    case .filled:
      page = form.doubt.map { .question($0) }
      return page == nil ? run(form.operation) : []
    }
    return []
  }

  private mutating func take(_ key: MenuKey, _ text: MenuText) -> [MenuEffect] {
    var text = text
    message = nil
    let last = max(0, text.lines.count - textRoom)
    switch key {
    case .up, .character("k"): text.top -= 1
    case .down, .character("j"), .enter: text.top += 1
    case .pageUp, .control("b"), .character("b"): text.top -= textRoom
    case .pageDown, .control("f"), .character(" "): text.top += textRoom
    case .home, .character("g"): text.top = 0
    case .end, .character("G"): text.top = last
    case .escape, .character("q"), .control("c"), .left:
      page = nil
      return [.refresh]
    case .character("o"), .character("n"):
      return text.reading.other(key == .character("o") ? 1 : -1).map { [.read($0)] } ?? []
    default: return []
    }
    let goesUp = [.home, .up, .pageUp, .character("g"), .character("b"), .character("k"), .control("b")].contains(key)
    if text.reading.grows { text.follows = text.top >= last && !goesUp }
    page = .text(text)
    return []
  }

  // MARK: Actions

  private mutating func run(_ operation: MenuOperation) -> [MenuEffect] {
    // It may have begun while a form was filled in.
    if let work {
      say("\(work.operation.title) is not done yet", bad: true)
      return []
    }
    work = Work(operation: operation)
    message = nil
    return [.run(operation)]
  }

  private mutating func begin(_ action: MenuAction) -> [MenuEffect] {
    message = nil
    if action.isOperation, let work {
      say("\(work.operation.title) is not done yet", bad: true)
      return []
    }
    guard let row, action.needsMachine else { return beginWithoutMachine(action) }
    let (name, isLive) = (row.name, row.machineState?.isLive ?? false)
    if action.needsLife && !isLive {
      say("\"\(name)\" does not run: s starts it", bad: true)
      return []
    }
    let isService = row.service != "-"
    switch action {
    case .add, .leave: break
    case .remove: remove(row, isLive, isService)
    case .start:
      guard !isLive else {
        say("\"\(name)\" runs already", bad: true)
        return []
      }
      return run(.start(name))
    case .stop: page = .question(Self.stop(row, isService))
    case .console: return [.console(name)]
    case .configuration: return [.edit(.definition, name, again: false)]
    case .stopScript:
      guard isService else {
        say("\"\(name)\" is no service and has no stop script: a makes it one", bad: true)
        return []
      }
      return [.edit(.stopScript, name, again: false)]
    case .log: return [.read(.log(name, 0))]
    case .details: return [.read(.details(name))]
    case .record: return [.read(.record(name, 0))]
    case .teleport: page = .form(.teleport(name))
    case .protection: protection(row)
    case .savestate:
      page = .question(
        .confirm(
          "Save the state of \"\(name)\" and end it? It goes on from there when it is started; what it is connected to may "
            + "not wait.", "Save it", .run(.end(name, .savestate))))
    }
    return []
  }

  private mutating func beginWithoutMachine(_ action: MenuAction) -> [MenuEffect] {
    switch action {
    case .add: page = .form(.add(row.flatMap { $0.service == "-" ? $0.name : nil } ?? ""))
    case .leave:
      guard let work else { return [.quit] }
      page = .question(
        .confirm("Leave while \(work.operation.title)? \(work.operation.whenLeft)", "Leave", .quit))
    default: say("there is no machine: a adds one", bad: true)
    }
    return []
  }

  private mutating func protection(_ row: ServiceList.Row) {
    if let status = row.protection {
      page = .question(.protection(row.name, status))
    } else if row.machineState == .running {
      page = .form(.protect(row.name))
    } else {
      say("\"\(row.name)\" is \(row.machineState?.rawValue ?? "unknown"): one that runs can be protected", bad: true)
    }
  }

  private mutating func remove(_ row: ServiceList.Row, _ isLive: Bool, _ isService: Bool) {
    guard !isLive else { return say("\"\(row.name)\" runs: t stops it", bad: true) }
    page = .question(
      isService
        ? .confirm(
          "Remove the service of \"\(row.name)\"? Its settings and its start with the host go; the machine stays.",
          "Remove it", .run(.removeService(row.name)))
        : .confirm(
          "Forget the machine \"\(row.name)\"? Its folder stays, and vmctl registervm brings it back.", "Forget it",
          .run(.unregister(row.name))))
  }

  private static func stop(_ row: ServiceList.Row, _ isService: Bool) -> MenuQuestion {
    guard !isService else {
      return .confirm(
        "Stop \"\(row.name)\" by its own means (stop script: \(row.stopScript))?", "Stop it", .run(.stop(row.name)))
    }
    return MenuQuestion(
      text: "How is \"\(row.name)\" stopped?",
      choices: [
        "Not at all", "Save its state", "Press its power button", "Switch it off: it loses what it has not written",
      ],
      effects: [
        nil, .run(.end(row.name, .savestate)), .run(.end(row.name, .acpi)), .run(.end(row.name, .poweroff)),
      ])
  }
}
