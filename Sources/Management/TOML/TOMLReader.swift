import Machine

/// Reads TOML (v1.0.0) in one pass. Values are those that a definition can have: texts, whole numbers, booleans, lists and
/// tables; others are refused by name.
struct TOMLReader {
  typealias Failure = TOMLDocument.Failure

  let scalars: [Unicode.Scalar]
  private var position = 0
  private var line = 1
  private let root = TOMLTable(.section, line: 1, range: 0..<0, end: 0)
  private lazy var here = root
  private var section = 0
  private static let deepest = 16

  init(_ text: String) { scalars = Array(text.unicodeScalars) }

  // MARK: Characters

  private var current: Unicode.Scalar? { position < scalars.count ? scalars[position] : nil }

  private func next(is text: StaticString) -> Bool {
    text.withUTF8Buffer { bytes in
      guard position + bytes.count <= scalars.count else { return false }
      return bytes.indices.allSatisfy { scalars[position + $0].value == UInt32(bytes[$0]) }
    }
  }

  private mutating func take(_ text: StaticString) -> Bool {
    guard next(is: text) else { return false }
    position += text.utf8CodeUnitCount
    return true
  }

  private func fail(_ message: String) -> Failure { Failure(line: line, message: message) }

  private func expected(_ what: String) -> Failure {
    guard let current, current != "\n", current != "\r" else { return fail("\(what) is missing at the line's end") }
    return fail("\(what) is expected where \"\(current)\" stands")
  }

  private mutating func blanks() {
    while current == " " || current == "\t" { position += 1 }
  }

  /// Takes a line's end; false where there is none.
  private mutating func lineEnd() -> Bool {
    guard take("\n") || take("\r\n") else { return false }
    line += 1
    return true
  }

  private mutating func comment() throws(Failure) {
    guard current == "#" else { return }
    while let scalar = current, scalar != "\n", !next(is: "\r\n") {
      if Self.isControl(scalar) { throw fail("a control character") }
      position += 1
    }
  }

  private static func isControl(_ scalar: Unicode.Scalar) -> Bool {
    (scalar.value < 32 && scalar != "\t") || (0x7F...0x9F).contains(scalar.value)
      || [0x2028, 0x2029].contains(scalar.value)
  }

  // MARK: Lines

  mutating func document() throws(Failure) -> TOMLTable {
    while position < scalars.count {
      blanks()
      var isEntry = true
      switch current {
      case nil, "#", "\n", "\r": isEntry = false
      case "[": try header()
      default: try pair(in: here, depth: 0)
      }
      blanks()
      try comment()
      guard lineEnd() || current == nil else { throw expected("the line's end") }
      if isEntry { here.end = position }
    }
    return root
  }

  private mutating func header() throws(Failure) {
    let start = position
    let isList = take("[[")
    if !isList { position += 1 }
    let keys = try keys()
    guard isList ? take("]]") : take("]") else { throw expected(isList ? "]]" : "]") }
    section += 1
    var table = root
    for key in keys.dropLast() {
      switch table[key]?.content {
      case nil:
        let implied = TOMLTable(.implied, line: line, range: 0..<0, end: 0)
        table[key] = TOMLNode(content: .table(implied), line: line, range: 0..<0, pair: 0..<0)
        table = implied
      case .table(let known) where known.origin != .inline: table = known
      case .sections(let tables): table = tables[tables.count - 1]
      default: throw fail("\"\(key)\" has a value already, which is no table to extend")
      }
    }
    let last = keys[keys.count - 1]
    let new = TOMLTable(.section, line: line, range: start..<position, end: position)
    switch table[last]?.content {
    case nil:
      let content = isList ? TOMLNode.Content.sections([new]) : .table(new)
      table[last] = TOMLNode(content: content, line: line, range: 0..<0, pair: 0..<0)
      here = new
    case .sections(let tables) where isList:
      table[last]?.content = .sections(tables + [new])
      here = new
    case .table(let known) where !isList && known.origin == .implied:
      known.origin = .section
      known.range = new.range
      known.end = new.end
      here = known
    default: throw fail("\"\(last)\" is there already")
    }
  }

  private mutating func pair(in table: TOMLTable, depth: Int) throws(Failure) {
    let start = position
    let keys = try keys()
    guard take("=") else { throw expected("=") }
    blanks()
    let keyLine = line
    var table = table
    var prefix = ""
    for key in keys.dropLast() {
      prefix += TOMLText.key(key) + "."
      switch table[key]?.content {
      case nil:
        let origin = table.origin == .inline ? TOMLTable.Origin.inline : .dotted(section: section)
        let new = TOMLTable(origin, line: keyLine, range: 0..<0, end: 0)
        new.dottedPrefix = prefix
        table[key] = TOMLNode(content: .table(new), line: keyLine, range: 0..<0, pair: 0..<0)
        table = new
      case .table(let known) where known.origin == .dotted(section: section): table = known
      case .table(let known) where known.range.isEmpty && known.origin == .inline: table = known
      default: throw fail("\"\(key)\" has a value already, which is no table to extend")
      }
    }
    let last = keys[keys.count - 1]
    guard table[last] == nil else { throw fail("\"\(last)\" is there already") }
    var node = try value(depth: depth)
    node.line = keyLine
    node.pair = start..<position
    table[last] = node
    // A new dotted key goes behind the line of this one.
    if case .dotted = table.origin { table.end = endOfLine(from: position) }
  }

  private func endOfLine(from start: Int) -> Int {
    guard let end = scalars[start...].firstIndex(of: "\n") else { return scalars.count }
    return end + 1
  }

  private mutating func keys() throws(Failure) -> [String] {
    var keys: [String] = []
    repeat {
      blanks()
      if current == "\"" || current == "'" {
        keys.append(try string(allowsLines: false))
      } else {
        let start = position
        while let scalar = current, TOMLText.isBare(scalar) { position += 1 }
        guard position > start else { throw expected("a key") }
        keys.append(text(start..<position))
      }
      blanks()
    } while take(".")
    return keys
  }

  private func text(_ range: Range<Int>) -> String { String(String.UnicodeScalarView(scalars[range])) }

  // MARK: Values

  private mutating func value(depth: Int) throws(Failure) -> TOMLNode {
    guard depth < Self.deepest else { throw fail("lists and tables are nested too deeply") }
    let (start, startLine) = (position, line)
    let content: TOMLNode.Content
    switch current {
    case "\"", "'": content = .text(try string(allowsLines: true))
    case "[": content = .list(try list(depth: depth))
    case "{": content = .table(try inlineTable(depth: depth))
    default: content = try word()
    }
    return TOMLNode(content: content, line: startLine, range: start..<position, pair: 0..<0)
  }

  private mutating func word() throws(Failure) -> TOMLNode.Content {
    let start = position
    while let scalar = current, TOMLText.isBare(scalar) || scalar == "+" || scalar == "." || scalar == ":" {
      position += 1
    }
    guard position > start else { throw expected("a value") }
    let word = text(start..<position)
    if word == "true" || word == "false" { return .flag(word == "true") }
    guard let number = Self.number(word) else {
      throw fail("\"\(word)\" is neither a text in quotes nor a whole number nor true or false")
    }
    return .number(number)
  }

  private static func number(_ text: String) -> Int? {
    let radixes: [(String, Int)] = [("0x", 16), ("0o", 8), ("0b", 2)]
    let radix = radixes.first { text.hasPrefix($0.0) }?.1 ?? 10
    let digits = text.dropFirst(radix == 10 ? 0 : 2)
    // A sign stands before decimal numbers only; an underscore stands between two digits.
    let plain = radix == 10 ? digits.drop { $0 == "+" || $0 == "-" } : digits
    guard digits.count - plain.count <= 1, plain.first != "_", plain.last != "_", !plain.contains("__"),
      plain.first != "+", plain.first != "-", radix != 10 || plain.count == 1 || plain.first != "0"
    else { return nil }
    return Int(digits.filter { $0 != "_" }, radix: radix)
  }

  private mutating func list(depth: Int) throws(Failure) -> [TOMLNode] {
    position += 1
    var elements: [TOMLNode] = []
    while true {
      try space()
      if take("]") { return elements }
      elements.append(try value(depth: depth + 1))
      try space()
      if take("]") { return elements }
      guard take(",") else { throw expected(", or ]") }
    }
  }

  /// Blanks, comments and line ends, as a list may have between its elements.
  private mutating func space() throws(Failure) {
    repeat {
      blanks()
      try comment()
    } while lineEnd()
  }

  private mutating func inlineTable(depth: Int) throws(Failure) -> TOMLTable {
    let table = TOMLTable(.inline, line: line, range: position..<position, end: position + 1)
    position += 1
    blanks()
    if !take("}") {
      while true {
        blanks()
        try pair(in: table, depth: depth + 1)
        table.end = position
        blanks()
        if take("}") { break }
        guard take(",") else { throw expected(", or }") }
      }
    }
    table.range = table.range.lowerBound..<position
    return table
  }

  private mutating func string(allowsLines: Bool) throws(Failure) -> String {
    let isLiteral = current == "'"
    let hasLines = allowsLines && (isLiteral ? take("'''") : take("\"\"\""))
    if !hasLines { position += 1 }
    var result = String.UnicodeScalarView()
    // A line's end right behind the opening quotes belongs to them.
    if hasLines { _ = lineEnd() }
    while let scalar = current {
      if hasLines {
        if isLiteral ? take("'''") : take("\"\"\"") {
          // Up to two more quotes belong to the text.
          let quote: Unicode.Scalar = isLiteral ? "'" : "\""
          for _ in 0..<2 where current == quote {
            position += 1
            result.append(quote)
          }
          return String(result)
        }
        if lineEnd() {
          result.append("\n")
          continue
        }
      } else if scalar == (isLiteral ? "'" : "\"") {
        position += 1
        return String(result)
      }
      if Self.isControl(scalar) { break }
      position += 1
      if scalar == "\\" && !isLiteral {
        if let escaped = try escape(hasLines: hasLines) { result.append(escaped) }
      } else {
        result.append(scalar)
      }
    }
    throw fail("a text does not end, or has a control character")
  }

  /// - Returns: nil for a line's end that is taken out with what follows it.
  private mutating func escape(hasLines: Bool) throws(Failure) -> Unicode.Scalar? {
    if hasLines {
      let mark = position
      blanks()
      if lineEnd() {
        repeat { blanks() } while lineEnd()
        return nil
      }
      position = mark
    }
    guard let scalar = current else { throw fail("a text does not end") }
    position += 1
    let short: [Unicode.Scalar: Unicode.Scalar] = [
      "b": "\u{8}", "t": "\t", "n": "\n", "f": "\u{C}", "r": "\r", "\"": "\"", "\\": "\\",
    ]
    if let meant = short[scalar] { return meant }
    let length = scalar == "u" ? 4 : scalar == "U" ? 8 : 0
    let end = min(position + length, scalars.count)
    let digits = text(position..<end)
    guard digits.utf8.count == length, length > 0, digits.allSatisfy(\.isHexDigit),
      let code = UInt32(digits, radix: 16), let meant = Unicode.Scalar(code)
    else { throw fail("\\\(scalar) is no escape sequence") }
    position = end
    return meant
  }
}
