import Machine

/// A TOML text that was read once: its values, and where in the text each of them stands, so that errors can name lines
/// and an edit changes nothing but what it is to change.
struct TOMLDocument {
  /// What breaks the grammar, and on which line.
  struct Failure: Error, Equatable {
    var line: Int
    var message: String
  }

  let text: [Unicode.Scalar]
  let root: TOMLTable

  /// - Throws: `Failure` for what is no TOML (v1.0.0), or has a value that no definition has.
  init(_ text: String) throws(Failure) {
    var reader = TOMLReader(text)
    root = try reader.document()
    self.text = reader.scalars
  }
}

/// A value and where it stands. Offsets count the text's Unicode scalars.
struct TOMLNode {
  enum Content {
    case text(String)
    case number(Int)
    case flag(Bool)
    case list([TOMLNode])
    case table(TOMLTable)
    /// `[[name]]` sections.
    case sections([TOMLTable])
  }

  var content: Content
  /// The line it begins on, from 1.
  var line: Int
  /// The value's text; empty for tables and lists that sections or dotted keys make.
  var range: Range<Int>
  /// The whole of "key = value"; empty as `range`.
  var pair: Range<Int>

  var value: SettingValue {
    switch content {
    case .text(let text): .text(text)
    case .number(let number): .number(number)
    case .flag(let isOn): .flag(isOn)
    case .list(let nodes): .list(nodes.map(\.value))
    case .table(let table): .table(table.values)
    case .sections(let tables): .list(tables.map { .table($0.values) })
    }
  }
}

/// A table, however it is written.
final class TOMLTable {
  enum Origin: Equatable {
    /// Named only on the way to a table below it.
    case implied
    /// A section of its own: `[name]` or `[[name]]`.
    case section
    /// Made by dotted keys of the section with this number.
    case dotted(section: Int)
    /// In braces.
    case inline
  }

  var origin: Origin
  let line: Int
  private(set) var keys: [String] = []
  private(set) var nodes: [String: TOMLNode] = [:]
  /// Of a section: its header's text. Of an inline table: its text.
  var range: Range<Int>
  /// Where a new line for a key belongs: behind the last one; for an inline table, behind its last value.
  var end: Int
  /// How a key is written that makes a new entry here from the section that made this table by dotted keys.
  var dottedPrefix = ""

  init(_ origin: Origin, line: Int, range: Range<Int>, end: Int) {
    self.origin = origin
    self.line = line
    self.range = range
    self.end = end
  }

  subscript(key: String) -> TOMLNode? {
    get { nodes[key] }
    set {
      if nodes[key] == nil { keys.append(key) }
      nodes[key] = newValue
    }
  }

  var values: [String: SettingValue] { nodes.mapValues(\.value) }

  /// Where the text of this table and of everything below it ends.
  var extent: Int {
    keys.reduce(end) { most, key in
      switch nodes[key]?.content {
      case .table(let table) where table.origin != .inline: max(most, table.extent)
      case .sections(let tables): tables.reduce(most) { max($0, $1.extent) }
      default: most
      }
    }
  }

  /// Where the text of this table and of everything below it begins.
  var start: Int {
    keys.reduce(origin == .section ? range.lowerBound : Int.max) { least, key in
      switch nodes[key]?.content {
      case .table(let table) where table.origin != .inline: min(least, table.start)
      case .sections(let tables): tables.reduce(least) { min($0, $1.start) }
      default: least
      }
    }
  }

  /// The line of the longest part of a path that the text names; 1 for none.
  /// - Parameter path: keys, and indices after keys that name lists.
  func line(of path: some Collection<String>) -> Int {
    var result = line
    var here: TOMLNode? = TOMLNode(content: .table(self), line: line, range: 0..<0, pair: 0..<0)
    for part in path {
      switch here?.content {
      case .table(let table): here = table[part]
      case .sections(let tables):
        here = Int(part).flatMap { tables.indices.contains($0) ? tables[$0] : nil }
          .map { TOMLNode(content: .table($0), line: $0.line, range: 0..<0, pair: 0..<0) }
      case .list(let nodes): here = Int(part).flatMap { nodes.indices.contains($0) ? nodes[$0] : nil }
      default: here = nil
      }
      guard let here else { return result }
      result = here.line
    }
    return result
  }
}
