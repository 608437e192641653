/// Finds the line on which a key of a TOML text stands. TOMLKit tells positions of syntax errors only.
///
/// Tables in brackets, tables in double brackets, dotted keys and bare or quoted keys are followed; a key inside an
/// inline table is found on the line of the key that holds the table.
struct TOMLLines {
  private var lines: [String: Int] = [:]

  init(_ text: String) {
    var prefix: [String] = []
    var counts: [String: Int] = [:]
    var openBrackets = 0
    var multiline: String?
    for (index, raw) in Self.split(text).enumerated() {
      let line = raw.drop { $0 == " " || $0 == "\t" }
      if let quote = multiline {
        if line.contains(quote) { multiline = nil }
        continue
      }
      if openBrackets > 0 {
        openBrackets += Self.bracketBalance(line)
        continue
      }
      if line.isEmpty || line.hasPrefix("#") { continue }
      if line.hasPrefix("[[") {
        let keys = Self.keys(of: line.dropFirst(2), until: "]")
        let list = Self.resolve(keys.dropLast(), counts) + keys.suffix(1)
        let name = list.joined(separator: "\u{0}")
        let number = counts[name, default: 0]
        counts[name] = number + 1
        prefix = list + [String(number)]
        note(list, index + 1)
        note(prefix, index + 1)
      } else if line.hasPrefix("[") {
        prefix = Self.resolve(Self.keys(of: line.dropFirst(), until: "]")[...], counts)
        note(prefix, index + 1)
      } else {
        let keys = Self.keys(of: line, until: "=")
        for length in keys.indices { note(prefix + keys[...length], index + 1) }
        let value = line.firstIndex(of: "=").map { line[line.index(after: $0)...] } ?? ""
        for quote in ["\"\"\"", "'''"] where value.components(quote) == 2 { multiline = quote }
        openBrackets = multiline == nil ? max(0, Self.bracketBalance(value)) : 0
      }
    }
  }

  /// "\r\n" is one character.
  private static func split(_ text: String) -> [Substring] {
    text.split(omittingEmptySubsequences: false) { $0 == "\n" || $0 == "\r\n" }
  }

  /// The line of the longest part of the path that the text names; 1 for none.
  func line(of path: [String]) -> Int {
    var path = path
    while !path.isEmpty {
      if let line = lines[path.joined(separator: "\u{0}")] { return line }
      path.removeLast()
    }
    return 1
  }

  private mutating func note(_ path: [String], _ line: Int) {
    let name = path.joined(separator: "\u{0}")
    if lines[name] == nil { lines[name] = line }
  }

  /// Inserts the number of the last element after every key that names a list of tables.
  private static func resolve(_ keys: ArraySlice<String>, _ counts: [String: Int]) -> [String] {
    var path: [String] = []
    for key in keys {
      path.append(key)
      if let count = counts[path.joined(separator: "\u{0}")] { path.append(String(count - 1)) }
    }
    return path
  }

  private static func keys(of text: Substring, until end: Character) -> [String] {
    var keys: [String] = []
    var current = ""
    var quote: Character?
    for character in text {
      if let open = quote {
        if character == open { quote = nil } else { current.append(character) }
      } else if character == end {
        break
      } else if character == "\"" || character == "'" {
        quote = character
      } else if character == "." {
        keys.append(current)
        current = ""
      } else if character != " " && character != "\t" && character != "\r" {
        current.append(character)
      }
    }
    keys.append(current)
    return keys
  }

  /// Opening less closing brackets outside quotes and comments.
  private static func bracketBalance(_ text: Substring) -> Int {
    var balance = 0
    var quote: Character?
    var escaped = false
    for character in text {
      if let open = quote {
        if escaped {
          escaped = false
        } else if character == "\\" && open == "\"" {
          escaped = true
        } else if character == open {
          quote = nil
        }
      } else if character == "\"" || character == "'" {
        quote = character
      } else if character == "#" {
        break
      } else if character == "[" {
        balance += 1
      } else if character == "]" {
        balance -= 1
      }
    }
    return balance
  }
}

extension Substring {
  /// The number of pieces that the separator cuts the text into.
  fileprivate func components(_ separator: String) -> Int {
    var count = 1
    var rest = self
    while let range = rest.firstRange(of: separator) {
      count += 1
      rest = rest[range.upperBound...]
    }
    return count
  }
}
