/// The menu as a terminal shows it: line by line, without a terminal.
public struct MenuScreen: Equatable, Sendable {
  /// How a line looks.
  public enum Style: Equatable, Sendable { case plain, bold, reverse }

  /// One line, as wide as the terminal.
  public struct Line: Equatable, Sendable {
    /// What stands in it.
    public var text: String
    /// How it looks.
    public var style: Style

    /// A line with a look.
    public init(text: String, style: Style) { (self.text, self.style) = (text, style) }
  }

  /// From the top to the bottom, as many as the terminal has.
  public private(set) var lines: [Line] = []
  /// Where the cursor is; nil: nowhere.
  public private(set) var cursor: (row: Int, column: Int)?

  /// Two screens show the same.
  public static func == (left: MenuScreen, right: MenuScreen) -> Bool {
    left.lines == right.lines && left.cursor?.row == right.cursor?.row && left.cursor?.column == right.cursor?.column
  }

  /// Lines below the machines where nothing else is asked: what there is to say, and the keys.
  static let footerRows = 4

  /// Lines of what is asked, below the machines.
  static func panelRows(_ page: MenuModel.Page) -> Int {
    switch page {
    case .actions: (MenuAction.allCases.count + 2) / 3 + 2
    case .question(let question): question.choices.count + 4
    case .form(let form): form.fields.count + 4
    case .text: 0
    }
  }

  private let width: Int
  private let columns: TextColumns

  /// What a model looks like.
  public init(_ model: MenuModel, columns: TextColumns) {
    self.columns = columns
    width = model.columns
    guard !model.isTooSmall else {
      let least = MenuModel.smallest
      add("too small: \(least.columns) x \(least.rows) is needed")
      fill(model.rows)
      return
    }
    if case .text(let text)? = model.page {
      draw(text, model)
    } else {
      drawList(model)
      fill(max(lines.count, model.rows - (model.page.map(Self.panelRows) ?? Self.footerRows)))
      drawPanel(model)
    }
    fill(model.rows)
  }

  private mutating func add(_ text: String, _ style: Style = .plain) {
    lines.append(Line(text: columns.fit(text, width), style: style))
  }

  private mutating func fill(_ count: Int) {
    while lines.count < count { add("") }
    if lines.count > count { lines.removeLast(lines.count - count) }
  }

  // MARK: The list

  /// Columns with names that are as long as somebody likes.
  private static let givesWay = Set(
    ServiceText.headings.indices.filter { ["NAME", "OTHER HOST"].contains(ServiceText.headings[$0]) })

  private mutating func drawList(_ model: MenuModel) {
    add(" vmctl  " + ServiceText.header(model.list.host), .reverse)
    let shown = Array(model.list.machines.dropFirst(model.top).prefix(model.room))
    let cells = shown.map { ServiceText.row($0).map { columns.fit($0, columns.count($0)) } }
    // What the terminal is too narrow for is left out from the right; names give way first.
    let widths = ServiceText.headings.indices.map { column in
      let longest = ([ServiceText.headings[column]] + cells.map { $0[column] }).map(columns.count).max() ?? 0
      return Self.givesWay.contains(column) ? min(longest, max(8, width / 3)) : longest
    }
    func line(_ cells: [String]) -> String {
      var text = ""
      var used = 1
      for (column, cell) in cells.enumerated() where used + widths[column] <= width {
        guard used >= 0 else { break }
        text += (column == 0 ? "" : column == 1 ? " " : "  ") + columns.fit(cell, widths[column])
        used += widths[column] + 2
      }
      return text
    }
    add(" " + line(ServiceText.headings), .bold)
    if shown.isEmpty { add("  no machines; a adds one") }
    for (row, cells) in zip(shown, cells) {
      let isChosen = row.name == model.selected
      add((isChosen ? ">" : " ") + line(cells), isChosen ? .reverse : .plain)
    }
  }

  // MARK: Below it

  private mutating func drawPanel(_ model: MenuModel) {
    let bottom = model.rows
    switch model.page {
    case .actions(let chosen)?:
      add(String(repeating: "-", count: width))
      let all = Array(MenuAction.allCases.enumerated())
      let share = max(1, width / 3)
      for start in stride(from: 0, to: all.count, by: 3) {
        let cells = all[start..<min(start + 3, all.count)].map { index, action in
          columns.fit("\(index == chosen ? ">" : " ") \(action.rawValue)  \(action.label)", share)
        }
        add(cells.joined(), cells.isEmpty || !(start..<start + 3).contains(chosen) ? .plain : .bold)
      }
      add(" arrows and Enter, or its letter; Esc goes back")
    case .question(let question)?:
      add(String(repeating: "-", count: width))
      let text = columns.wrap(question.text, width - 2)
      // The last line has the rest, cut.
      for line in text.prefix(1) + [text.dropFirst().joined(separator: " ")] { add(" " + line, .bold) }
      for (index, choice) in question.choices.enumerated() {
        let isChosen = index == question.selected
        add("\(isChosen ? ">" : " ") \(index + 1)  \(choice)", isChosen ? .reverse : .plain)
      }
      add(
        question.choices.count == 2 && question.effects[0] == nil
          ? " y or n; Esc: no" : " a number, or arrows and Enter")
    case .form(let form)?: draw(form)
    default: drawFooter(model)
    }
    if lines.count > bottom { lines.removeSubrange(bottom...) }
  }

  private mutating func draw(_ form: MenuForm) {
    add(String(repeating: "-", count: width))
    add(" " + form.title, .bold)
    let share = min(width / 2, (form.fields.map { columns.count($0.label) }.max() ?? 0) + 2)
    for (index, field) in form.fields.enumerated() {
      let hasFocus = index == form.focus
      // The end of what is typed is what is looked at.
      var value = field.shown
      while columns.count(value) > max(1, width - share - 5) { value.removeFirst() }
      let text = "\(hasFocus ? ">" : " ") " + columns.fit(field.label, share) + " " + value
      if hasFocus { cursor = (lines.count, min(width - 1, columns.count(text))) }
      add(text)
    }
    add(" " + (form.complaint ?? ""), .bold)
    add(" Enter: next, and at the last: do it; Tab, arrows; Esc: leave it")
  }

  private mutating func drawFooter(_ model: MenuModel) {
    var said = model.message ?? ""
    if let work = model.work {
      let end = work.operation.canBeCancelled ? " (Esc ends it)" : ""
      said = "\(work.operation.title)\(end) ... \(work.progress ?? "")"
      if let message = model.message { said = message + "; " + said }
    }
    add(String(repeating: "-", count: width))
    // What is longer than a line takes one of the keys'; of a third line there is the beginning.
    let text = columns.wrap(said, width - 2)
    let shown = text.count > 2 ? [text[0], text[1...].joined(separator: " ")] : text
    for line in shown { add(" " + line, model.isMessageBad || model.work != nil ? .bold : .plain) }
    let keys = MenuAction.allCases.map { "\($0.rawValue) \($0.label)" } + ["Enter: all"]
    var rows = [""]
    for key in keys {
      let longer = rows[rows.count - 1] + "  " + key
      if columns.count(longer) <= width {
        rows[rows.count - 1] = longer
      } else {
        rows.append("  " + key)
      }
    }
    for row in rows.prefix(Self.footerRows - 1 - shown.count) { add(String(row.dropFirst())) }
  }

  // MARK: Texts

  private mutating func draw(_ text: MenuText, _ model: MenuModel) {
    let last = min(text.lines.count, text.top + model.textRoom)
    add(" \(text.title)  (\(last) of \(text.lines.count))", .reverse)
    for line in text.lines.dropFirst(text.top).prefix(model.textRoom) { add(line) }
    fill(model.rows - 1)
    if let message = model.message {
      add(" " + message, .bold)
    } else if text.reading.grows {
      add(" arrows, space, b, g, G; o: the one before, n: after; q: back", .bold)
    } else {
      add(" arrows, space, b, g, G; q: back", .bold)
    }
  }
}
