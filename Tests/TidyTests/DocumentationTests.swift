import Foundation
import Testing

/// Every public declaration says what it is, in what unit it counts and how it fails.
///
/// Exceptions are by rule, not by name:
/// - what implements a requirement that its protocol documents (or overrides what its class does),
/// - constants in a row without a gap, below one that is documented: a table has one heading,
/// - initializers that do nothing but assign (`init(rawValue:)`, memberwise ones): the properties are documented.
@Suite struct DocumentationTests {
  struct Declaration {
    var file: Repository.File
    var line: Int
    /// Without attributes and access: "func save() throws -> StateSection {".
    var text: String
    var documentation: String
    /// The type or extension it stands in.
    var owner: String
    /// The line above is a constant as well.
    var followsConstant: Bool

    /// "func save", "var name": how a requirement is found again.
    var key: String {
      let words = text.split(whereSeparator: { " (:<={".contains($0) }).filter {
        !["static", "mutating", "final", "override", "lazy", "weak", "private", "internal", "nonisolated"].contains($0)
          && $0 != "set)"
      }
      let kind = words.first.map(String.init) ?? ""
      return (kind == "let" ? "var" : kind) + " " + (words.count > 1 ? String(words[1]) : "")
    }
    var isConstant: Bool { text.hasPrefix("static let ") || text.hasPrefix("case ") }
  }

  /// Floors that are being rebuilt and have not been looked through yet.
  private static let pending: Set<String> = []

  private static let all: [Declaration] = Repository.shared.files(under: "Sources", "swift").filter {
    !pending.contains($0.target ?? "")
  }.flatMap(declarations)

  /// Words before a declaration's own.
  private static func strip(_ line: String) -> String? {
    var words = line.trimmingCharacters(in: .whitespaces).split(separator: " ", omittingEmptySubsequences: false)[...]
    while let word = words.first, word.hasPrefix("@") {
      // An attribute with arguments may have spaces in them.
      var depth = word.filter { $0 == "(" }.count - word.filter { $0 == ")" }.count
      words = words.dropFirst()
      while depth > 0, let next = words.first {
        depth += next.filter { $0 == "(" }.count - next.filter { $0 == ")" }.count
        words = words.dropFirst()
      }
    }
    guard let access = words.first, access == "public" || access == "open" else { return nil }
    words = words.dropFirst()
    if let setter = words.first, setter.hasSuffix("(set)") { words = words.dropFirst() }
    return words.joined(separator: " ")
  }

  private static func declarations(_ file: Repository.File) -> [Declaration] {
    var found: [Declaration] = []
    var owners: [(indent: Int, name: String)] = []
    var lastConstant = -2
    for (number, line) in file.lines.enumerated() {
      let indent = line.prefix { $0 == " " }.count
      let words = line.split(separator: " ")
      for kind in ["struct", "class", "enum", "extension", "protocol"] {
        guard let at = words.firstIndex(of: Substring(kind)), at + 1 < words.count, at <= 4 else { continue }
        guard words[..<at].allSatisfy({ !$0.hasPrefix("//") && !$0.hasPrefix("\"") }) else { continue }
        owners.removeAll { $0.indent >= indent }
        owners.append((indent, String(words[at + 1].prefix { $0.isLetter || $0.isNumber || $0 == "_" || $0 == "." })))
        break
      }
      guard line.utf8.count > indent,
        line.utf8.dropFirst(indent).first.map({ [0x40, 0x6F, 0x70].contains($0) }) == true
      else { continue }
      guard let rest = strip(line), !rest.hasPrefix("extension ") else { continue }
      var above = number - 1
      while above >= 0, file.lines[above].trimmingCharacters(in: .whitespaces).hasPrefix("@") { above -= 1 }
      var documentation: [String] = []
      while above >= 0 {
        let text = file.lines[above].trimmingCharacters(in: .whitespaces)
        guard text.hasPrefix("///") else { break }
        documentation.insert(text, at: 0)
        above -= 1
      }
      let owner = owners.last { $0.indent < indent }?.name ?? ""
      // A declaration goes on to the brace or the end of its parameters.
      var text = rest
      var next = number
      while text.filter({ $0 == "(" }).count > text.filter({ $0 == ")" }).count, next + 1 < file.lines.count {
        next += 1
        text += " " + file.lines[next].trimmingCharacters(in: .whitespaces)
      }
      if words.first == "public", words.dropFirst().first == "enum" || words.dropFirst().first == "struct" {
        // The type's own comment is the heading of constants right below it.
        if !documentation.isEmpty { lastConstant = number }
      }
      let one = Declaration(
        file: file, line: number, text: text, documentation: documentation.joined(separator: " "), owner: owner,
        followsConstant: lastConstant == number - 1)
      if one.isConstant && (!documentation.isEmpty || one.followsConstant) { lastConstant = next }
      found.append(one)
    }
    return found
  }

  /// Requirements of protocols of ours and of the library, and what classes of ours let others override.
  private static let requirements: Set<String> = {
    var keys: Set = [
      "var description", "func ==", "func encode", "var rawValue", "var errorDescription",
      "func makeIterator",
      "var testDescription", "func <", "typealias Element", "func next",
    ]
    for file in Repository.shared.files(under: "Sources", "swift") {
      var isProtocol = false
      var documented = false
      for line in file.lines {
        if line.contains("protocol "), line.hasSuffix("{"), !line.hasPrefix(" "), !line.hasPrefix("//") {
          isProtocol = true
          documented = true
          continue
        }
        if line.hasPrefix("}") { isProtocol = false }
        guard isProtocol else { continue }
        let text = line.trimmingCharacters(in: .whitespaces)
        if text.hasPrefix("///") {
          documented = true
        } else if text.isEmpty {
          documented = false
        } else if documented {
          let one = Declaration(file: file, line: 0, text: text, documentation: "", owner: "", followsConstant: false)
          keys.insert(one.key)
        }
      }
    }
    return keys
  }()

  private static func isWitness(_ one: Declaration) -> Bool {
    one.text.contains("override ") || requirements.contains(one.key)
  }

  private static func onlyAssigns(_ one: Declaration) -> Bool {
    guard one.text.hasPrefix("init("), !one.text.contains("throws") else { return false }
    if one.text.contains("{ self.") || one.text.hasSuffix("{}") { return true }
    var at = one.line
    while at < one.file.lines.count, !one.file.lines[at].hasSuffix("{") { at += 1 }
    let indent = one.file.lines[one.line].prefix { $0 == " " }.count
    for line in one.file.lines.dropFirst(at + 1) {
      let text = line.trimmingCharacters(in: .whitespaces)
      if line.prefix(while: { $0 == " " }).count <= indent { return text == "}" }
      if !text.contains(" = ") || text.hasPrefix("if") || text.hasPrefix("let") || text.hasPrefix("for") {
        return false
      }
    }
    return false
  }

  @Test func thereAreDeclarations() {
    #expect(Self.all.count > 800)
    #expect(Self.requirements.contains("func save"))
  }

  @Test func publicDeclarationsAreDocumented() {
    var found = Findings()
    for one in Self.all where one.documentation.isEmpty {
      if Self.isWitness(one) || Self.onlyAssigns(one) || (one.isConstant && one.followsConstant) { continue }
      found.add(one.file, one.line, "says nothing about: \(one.owner) \(one.text.prefix(70))")
    }
    #expect(found.isEmpty, "\(found.report)")
  }

  /// A typed `throws(E)` says by its type what is thrown; another says it in words.
  @Test func whatThrowsSaysHow() {
    let words = ["throw", "error", "Error", "refuse", "fail", "Fail", "cannot", "unless", "when it", "must"]
    var found = Findings()
    for one in Self.all where one.text.contains(" throws ") || one.text.hasSuffix(" throws") {
      if one.text.hasPrefix("typealias ") { continue }
      if one.text.contains("() throws") && (one.text.contains("@escaping") || one.text.contains("rethrows")) {
        continue
      }
      if Self.isWitness(one) || words.contains(where: { one.documentation.contains($0) }) { continue }
      found.add(one.file, one.line, "does not say how it fails: \(one.owner) \(one.text.prefix(70))")
    }
    #expect(found.isEmpty, "\(found.report)")
  }

  /// Numbers that count time, sizes or speeds name their unit, in the name or in the comment.
  @Test func quantitiesHaveUnits() {
    let quantities = [
      "size", "length", "time", "timeout", "delay", "interval", "deadline", "frequency", "memory", "vram", "rate",
      "duration", "downtime", "capacity", "limit", "offset",
    ]
    let units = [
      "byte", "page", "sector", "block", "nanosecond", "millisecond", "microsecond", "second", " ms", " ns", " s ",
      "MB",
      "MiB", "KiB", "GiB", "Hz", "hertz", "bit", "percent", "pixel", "tick", "element", "cycle", "character", "line",
      " ns",
    ]
    let numbers = ["Int", "UInt64", "UInt32", "Double", "Int64"]
    var found = Findings()
    for one in Self.all {
      let words = one.text.split(whereSeparator: { " :=?{".contains($0) }).map(String.init)
      guard let at = words.firstIndex(where: { $0 == "var" || $0 == "let" }), at + 2 < words.count else { continue }
      guard numbers.contains(words[at + 2]), one.text.contains("\(words[at + 1]):") else { continue }
      let name = words[at + 1]
      guard quantities.contains(where: { name == $0 || name.hasSuffix($0.prefix(1).uppercased() + $0.dropFirst()) })
      else {
        continue
      }
      if Self.isWitness(one) || (one.isConstant && one.followsConstant) { continue }
      let text = one.documentation + " "
      if !units.contains(where: { text.contains($0) || text.lowercased().contains($0) }) {
        found.add(one.file, one.line, "has no unit: \(one.owner) \(one.text.prefix(70))")
      }
    }
    #expect(found.isEmpty, "\(found.report)")
  }
}
