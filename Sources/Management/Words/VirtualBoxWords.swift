/// VBoxManage's words, and what has become of each here: for the messages about words that are not known, and for the table in
/// docs/virtualbox.md, which a test compares with this one.
public enum VirtualBoxWords {
  /// What has become of a word.
  public enum Fate: Equatable, Sendable {
    case same
    /// It is here, and means or takes something else.
    case differs(String)
    /// It is here under another name, which a command line can be told.
    case renamed(String)
    /// Taken so that scripts and fingers go on, without an effect that its users would miss.
    case accepted(String)
    /// What it is about is not built yet.
    case later(String)
    /// It makes no sense here.
    case never(String)
  }

  /// A word and what has become of it.
  public struct Entry: Sendable {
    /// A command, or an option of the command in `of`. "N" stands for a number, 1 for the first.
    public var word: String
    /// The command that it is an option of; nil: it is a command.
    public var of: String?
    /// What has become of it.
    public var fate: Fate

    init(_ word: String, of command: String? = nil, _ fate: Fate) {
      self.word = word
      of = command
      self.fate = fate
    }
  }

  /// Every word, commands first.
  public static let all: [Entry] = commands + options

  /// What is known of a word; nil: nothing.
  public static func entry(_ word: String, of command: String? = nil) -> Entry? {
    all.first { $0.of == command && ($0.word == word || $0.word == numbered(word)) }
  }

  /// "--nic3" as "--nicN".
  private static func numbered(_ word: String) -> String {
    let stem = String(word.reversed().drop { $0.isNumber }.reversed())
    return stem == word ? word : stem + "N"
  }

  // MARK: What is said

  /// What to say of a command that is not known, on one line.
  /// - Parameter known: the commands there are.
  public static func unknownCommand(_ word: String, known: [String]) -> String {
    if let entry = entry(word), let text = entry.fate.text(word) { return text }
    let near = nearest(word, in: known + commands.map(\.word))
    guard let near else { return "there is no command \"\(word)\"" }
    let start = "there is no command \"\(word)\"; the nearest is "
    if let entry = entry(near), !known.contains(near), let text = entry.fate.text(near) { return start + text }
    return start + "\"\(near)\""
  }

  /// What to say of an option that is not known. nil: nothing more than that.
  public static func unknownOption(_ word: String, of command: String) -> String? {
    let plain = word.split(separator: "=", maxSplits: 1).first.map(String.init) ?? word
    return entry(plain, of: command).flatMap { $0.fate.text(plain) }
  }

  /// The known word that is the fewest keys away, if that is at most a third of it.
  public static func nearest(_ word: String, in words: [String]) -> String? {
    guard word.count <= 64 else { return nil }
    let lower = word.lowercased()
    let best = words.map { (word: $0, distance: distance(lower, $0.lowercased())) }
      .min { ($0.distance, $0.word) < ($1.distance, $1.word) }
    guard let best, best.distance <= max(word.count, best.word.count) / 3 else { return nil }
    return best.word
  }

  /// Insertions, deletions, replacements and swaps of neighbours (optimal string alignment).
  static func distance(_ one: String, _ other: String) -> Int {
    let a = Array(one.utf8)
    let b = Array(other.utf8)
    var beforeLast = [Int](repeating: 0, count: b.count + 1)
    var last = Array(0...b.count)
    for i in 0..<a.count {
      var row = [i + 1]
      for j in 0..<b.count {
        var cost = min(last[j + 1] + 1, row[j] + 1, last[j] + (a[i] == b[j] ? 0 : 1))
        if i > 0, j > 0, a[i] == b[j - 1], a[i - 1] == b[j] { cost = min(cost, beforeLast[j - 1] + 1) }
        row.append(cost)
      }
      (beforeLast, last) = (last, row)
    }
    return last[b.count]
  }

  // MARK: The table

  /// docs/virtualbox.md.
  public static var table: String {
    func row(_ entry: Entry) -> String { "| `\(entry.word)` | \(entry.fate.kind) | \(entry.fate.note) |" }
    var text = """
      # For users of VBoxManage

      The words are VBoxManage's. A link named `VBoxManage` to vmctl runs scripts that were written for it as far as this
      table goes. This page is made from `VirtualBoxWords`, which the messages about unknown words come from as well.

      ## Commands

      | VBoxManage | here | |
      |---|---|---|

      """
    text += commands.map(row).joined(separator: "\n") + "\n"
    var seen: [String] = []
    for entry in options {
      guard let command = entry.of, !seen.contains(command) else { continue }
      seen.append(command)
      text += "\n## \(command)\n\n| VBoxManage | here | |\n|---|---|---|\n"
      text += options.filter { $0.of == command }.map(row).joined(separator: "\n") + "\n"
    }
    return text
  }
}

extension VirtualBoxWords.Fate {
  var kind: String {
    switch self {
    case .same: "same"
    case .differs: "differs"
    case .renamed: "renamed"
    case .accepted: "accepted"
    case .later: "not yet"
    case .never: "no"
    }
  }

  var note: String {
    switch self {
    case .same: ""
    case .renamed(let now): "now `\(now)`"
    case .differs(let text), .accepted(let text), .later(let text), .never(let text): text
    }
  }

  /// What to say of a word with this fate where it is not known. nil: nothing that helps.
  func text(_ word: String) -> String? {
    switch self {
    case .same, .accepted: nil
    case .differs(let text): "\(word): \(text)"
    case .renamed(let now): "\(word): now `\(now)`"
    case .later(let text): "\(word) is not built yet: \(text)"
    case .never(let text): "\(word) is not here: \(text)"
    }
  }
}
