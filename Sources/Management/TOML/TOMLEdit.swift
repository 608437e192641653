import Machine

/// Changes some values of a TOML text and leaves everything else as it is: comments, order, blank lines, the spelling of
/// what does not change.
///
/// What changes is told by the difference of two values, before and after, which the same keys describe.
struct TOMLEdit {
  /// The text has a form that cannot be changed in place.
  struct Impossible: Error {}

  private let document: TOMLDocument
  private var changes: [(range: Range<Int>, text: String)] = []

  /// - Returns: the new text.
  static func apply(
    _ document: TOMLDocument, keys: [SettingKey], from old: SettingValue, to new: SettingValue
  ) throws(Impossible) -> String {
    var edit = TOMLEdit(document: document)
    guard case .table(let old) = old, case .table(let new) = new else { throw Impossible() }
    try edit.update(document.root, keys, old, new, path: [])
    return try edit.result()
  }

  private init(document: TOMLDocument) { self.document = document }

  private func result() throws(Impossible) -> String {
    var text = String.UnicodeScalarView()
    var position = 0
    // Of several at one place the first one comes first.
    let ordered = changes.enumerated().sorted {
      ($0.element.range.lowerBound, $0.offset) < ($1.element.range.lowerBound, $1.offset)
    }
    for (_, change) in ordered {
      guard change.range.lowerBound >= position else { throw Impossible() }
      text.append(contentsOf: document.text[position..<change.range.lowerBound])
      text.append(contentsOf: change.text.unicodeScalars)
      position = change.range.upperBound
    }
    text.append(contentsOf: document.text[position...])
    return String(text)
  }

  // MARK: Tables

  private mutating func update(
    _ table: TOMLTable, _ keys: [SettingKey], _ old: [String: SettingValue], _ new: [String: SettingValue],
    path: [String]
  ) throws(Impossible) {
    for key in keys where old[key.name] != new[key.name] {
      try update(table, key, old[key.name], new[key.name], path: path)
    }
  }

  private mutating func update(
    _ table: TOMLTable, _ key: SettingKey, _ old: SettingValue?, _ new: SettingValue?, path: [String]
  ) throws(Impossible) {
    let path = path + [key.name]
    guard let node = table[key.name] else {
      // Left out in the file is what it meant before.
      if let new { try insert(key, new, into: table, path: path) }
      return
    }
    switch (node.content, old, new, key.schema) {
    case (.table(let inner), .table(let old)?, .table(let new)?, .table(let keys)):
      try update(inner, keys, old, new, path: path)
    case (.sections(let sections), .list(let old)?, .list(let new)?, .list(.table(let keys))):
      try update(sections, keys, old, new, path: path)
      if new.isEmpty && key.fallback != .list([]) { try insert(key, .list([]), into: table, path: path) }
    case (_, _, nil, _): remove(node.pair)
    case (_, _, .list(let elements)?, .list(.table)) where elements.isEmpty && key.fallback == .list([]):
      remove(node.pair)
    case (_, _, .list(let elements)?, .list(.table(let keys)))
    where !elements.isEmpty && table.origin == .section && old == .list([]):
      // In place of an empty list.
      remove(node.pair)
      try append(elements, keys, to: table, path: path)
    case (_, _, let new?, _):
      guard !node.range.isEmpty else { throw Impossible() }
      changes.append((node.range, TOMLText.value(new, key)))
    }
  }

  // MARK: Lists of tables in sections

  private mutating func update(
    _ sections: [TOMLTable], _ keys: [SettingKey], _ old: [SettingValue], _ new: [SettingValue], path: [String]
  ) throws(Impossible) {
    guard sections.count == old.count else { throw Impossible() }
    func identity(_ value: SettingValue) -> [SettingValue?] { keys.filter(\.isIdentity).map { value[$0.name] } }
    // The definition may have them in another order than the file has: each is found by what tells it from the others.
    for section in sections {
      let values = SettingValue.table(section.values)
      guard let before = old.first(where: { isSame(identity($0), identity(values), keys) }) else { throw Impossible() }
      if let after = new.first(where: { identity($0) == identity(before) }),
        case .table(let before) = before, case .table(let after) = after
      {
        try update(section, keys, before, after, path: path)
      } else {
        removeSection(section)
      }
    }
    let added = new.filter { element in !old.contains { identity($0) == identity(element) } }
    for case .table(let element) in added {
      let text = TOMLText.section(element, keys, path: path, isElement: true)
      insert("\n" + text, at: sections[sections.count - 1].extent)
    }
  }

  /// A key that may be missing in the file is told by its default in the definition.
  private func isSame(_ one: [SettingValue?], _ file: [SettingValue?], _ keys: [SettingKey]) -> Bool {
    zip(one, file).allSatisfy { $1 == nil || $0 == $1 }
  }

  private mutating func append(
    _ elements: [SettingValue], _ keys: [SettingKey], to table: TOMLTable, path: [String]
  ) throws(Impossible) {
    for case .table(let element) in elements {
      insert("\n" + TOMLText.section(element, keys, path: path, isElement: true), at: table.extent)
    }
  }

  /// Its header and keys go, and those of the sections below it; comments stay.
  private mutating func removeSection(_ table: TOMLTable) {
    remove(table.range)
    for key in table.keys {
      guard let node = table[key] else { continue }
      switch node.content {
      case .table(let inner) where inner.origin != .inline: removeSection(inner)
      case .sections(let tables): for inner in tables { removeSection(inner) }
      default: remove(node.pair)
      }
    }
  }

  // MARK: Lines

  /// Takes something out that has a line of its own: with the line, or without its comment.
  private mutating func remove(_ range: Range<Int>) {
    guard !range.isEmpty else { return }
    let text = document.text
    var (start, end) = (range.lowerBound, range.upperBound)
    while start > 0, text[start - 1] == " " || text[start - 1] == "\t" { start -= 1 }
    while end < text.count, text[end] == " " || text[end] == "\t" { end += 1 }
    let isWholeLine = start == 0 || text[start - 1] == "\n"
    if isWholeLine, end < text.count, text[end] == "\r" { end += 1 }
    if isWholeLine, end < text.count, text[end] == "\n" {
      end += 1
      // Not two blank lines where there were two.
      if isBlankLine(before: start), isBlankLine(at: end) { end = endOfLine(end) }
    }
    changes.append((start..<end, ""))
  }

  private func endOfLine(_ start: Int) -> Int {
    document.text[start...].firstIndex(of: "\n").map { $0 + 1 } ?? document.text.count
  }

  private func isBlankLine(at start: Int) -> Bool {
    start < document.text.count && document.text[start..<endOfLine(start)].allSatisfy(\.properties.isWhitespace)
  }

  private func isBlankLine(before end: Int) -> Bool {
    guard end > 0 else { return true }
    let start = document.text[..<(end - 1)].lastIndex(of: "\n").map { $0 + 1 } ?? 0
    return document.text[start..<end].allSatisfy(\.properties.isWhitespace)
  }

  private mutating func insert(_ key: SettingKey, _ value: SettingValue, into table: TOMLTable, path: [String])
    throws(Impossible)
  {
    let name = TOMLText.key(key.name)
    let line = "\(name) = \(TOMLText.value(value, key))"
    switch (table.origin, value, key.schema) {
    case (.section, .table(let entries), .table(let keys)):
      insert("\n" + TOMLText.section(entries, keys, path: path), at: document.text.count)
    case (.section, .list(let elements), .list(.table(let keys))) where !elements.isEmpty:
      try append(elements, keys, to: table, path: path)
    case (.section, _, _): insert(line + "\n", at: table.end)
    case (.dotted, _, _): insert(table.dottedPrefix + line + "\n", at: table.end)
    case (.implied, .list(let elements), .list(.table(let keys))) where !elements.isEmpty:
      try append(elements, keys, to: table, path: path)
    case (.implied, _, _):
      let header = path.dropLast().map(TOMLText.key).joined(separator: ".")
      // A section may stand before those below it, with the comments above them.
      insert("[\(header)]\n\(line)\n\n", at: startOfLine(table.start))
    case (.inline, _, _):
      guard !table.range.isEmpty else { throw Impossible() }
      let separator = table.keys.isEmpty ? " " : ", "
      changes.append((table.end..<table.end, separator + line + (table.keys.isEmpty ? " " : "")))
    }
  }

  private func startOfLine(_ position: Int) -> Int {
    document.text[..<position].lastIndex(of: "\n").map { $0 + 1 } ?? 0
  }

  private mutating func insert(_ text: String, at position: Int) {
    let needsLine = position > 0 && document.text[position - 1] != "\n"
    changes.append((position..<position, needsLine ? "\n" + text : text))
  }
}
