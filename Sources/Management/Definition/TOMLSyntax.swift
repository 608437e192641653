/// Checks that a text is TOML (v1.0.0) before the TOML library sees it: that library ends the process at some texts that
/// are not, by failed assertions. Values are those that a definition can have: texts, whole numbers, booleans, lists
/// and tables.
struct TOMLSyntax {
  struct Failure: Error, Equatable {
    var line: Int
    var message: String
  }

  private let scalars: [Unicode.Scalar]
  private var position = 0
  private var line = 1
  private static let deepest = 16

  static func check(_ text: String) throws(Failure) {
    var syntax = TOMLSyntax(scalars: Array(text.unicodeScalars))
    try syntax.document()
  }

  private init(scalars: [Unicode.Scalar]) { self.scalars = scalars }

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

  private mutating func document() throws(Failure) {
    while position < scalars.count {
      blanks()
      switch current {
      case nil, "#", "\n", "\r": break
      case "[": try header()
      default: try pair(depth: 0)
      }
      blanks()
      try comment()
      guard lineEnd() || current == nil else { throw expected("the line's end") }
    }
  }

  private mutating func header() throws(Failure) {
    let isList = take("[[")
    if !isList { position += 1 }
    try keys()
    guard isList ? take("]]") : take("]") else { throw expected(isList ? "]]" : "]") }
  }

  private mutating func pair(depth: Int) throws(Failure) {
    try keys()
    guard take("=") else { throw expected("=") }
    blanks()
    try value(depth: depth)
  }

  private mutating func keys() throws(Failure) {
    repeat {
      blanks()
      let start = position
      if current == "\"" || current == "'" {
        try string(allowsLines: false)
      } else {
        while let scalar = current, Self.isBare(scalar) { position += 1 }
      }
      guard position > start else { throw expected("a key") }
      blanks()
    } while take(".")
  }

  private static func isBare(_ scalar: Unicode.Scalar) -> Bool {
    scalar.isASCII && (scalar.properties.isAlphabetic || ("0"..."9").contains(scalar) || scalar == "_" || scalar == "-")
  }

  // MARK: Values

  private mutating func value(depth: Int) throws(Failure) {
    guard depth < Self.deepest else { throw fail("lists and tables are nested too deeply") }
    switch current {
    case "\"", "'": try string(allowsLines: true)
    case "[": try list(depth: depth)
    case "{": try inlineTable(depth: depth)
    default: try word()
    }
  }

  private mutating func word() throws(Failure) {
    let start = position
    while let scalar = current, Self.isBare(scalar) || scalar == "+" || scalar == "." || scalar == ":" { position += 1 }
    guard position > start else { throw expected("a value") }
    let text = String(String.UnicodeScalarView(scalars[start..<position]))
    guard text == "true" || text == "false" || Self.isNumber(text) else {
      throw fail("\"\(text)\" is neither a text in quotes nor a whole number nor true or false")
    }
  }

  private static func isNumber(_ text: String) -> Bool {
    let radixes: [(String, Int)] = [("0x", 16), ("0o", 8), ("0b", 2)]
    if let radix = radixes.first(where: { text.hasPrefix($0.0) }) {
      let digits = text.dropFirst(2)
      return digits.first.map { $0 != "+" && $0 != "-" } == true && Int64(digits, radix: radix.1) != nil
    }
    guard Int64(text) != nil else { return false }
    let digits = text.drop { $0 == "+" || $0 == "-" }
    return digits.count == 1 || digits.first != "0"
  }

  private mutating func list(depth: Int) throws(Failure) {
    position += 1
    while true {
      try space()
      if take("]") { return }
      try value(depth: depth + 1)
      try space()
      if take("]") { return }
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

  private mutating func inlineTable(depth: Int) throws(Failure) {
    position += 1
    blanks()
    if take("}") { return }
    while true {
      try pair(depth: depth + 1)
      blanks()
      if take("}") { return }
      guard take(",") else { throw expected(", or }") }
    }
  }

  private mutating func string(allowsLines: Bool) throws(Failure) {
    let isLiteral = current == "'"
    let hasLines = allowsLines && (isLiteral ? take("'''") : take("\"\"\""))
    if !hasLines { position += 1 }
    while let scalar = current {
      if hasLines {
        if isLiteral ? take("'''") : take("\"\"\"") {
          // Up to two more quotes belong to the text.
          let quote: Unicode.Scalar = isLiteral ? "'" : "\""
          for _ in 0..<2 where current == quote { position += 1 }
          return
        }
        if lineEnd() { continue }
      } else if scalar == (isLiteral ? "'" : "\"") {
        position += 1
        return
      }
      if Self.isControl(scalar) { break }
      position += 1
      if scalar == "\\" && !isLiteral { try escape(hasLines: hasLines) }
    }
    throw fail("a text does not end, or has a control character")
  }

  private mutating func escape(hasLines: Bool) throws(Failure) {
    if hasLines && (next(is: "\n") || next(is: "\r\n")) { return }
    guard let scalar = current else { throw fail("a text does not end") }
    position += 1
    if "btnfr\"\\".unicodeScalars.contains(scalar) { return }
    let length = scalar == "u" ? 4 : scalar == "U" ? 8 : 0
    let end = min(position + length, scalars.count)
    let digits = String(String.UnicodeScalarView(scalars[position..<end]))
    guard digits.utf8.count == length, length > 0, digits.allSatisfy(\.isHexDigit),
      let code = UInt32(digits, radix: 16),
      Unicode.Scalar(code) != nil
    else { throw fail("\\\(scalar) is no escape sequence") }
    position = end
  }
}
