/// A command line as fingers type it, made into one that the parser knows: what VBoxManage's users do by habit, and values
/// that begin with a dash.
public enum CommandWords {
  /// The option whose value is told as free text: it may begin with a dash.
  private static let textOptions: Set<String> = ["--append", "--description", "--password", "--teleporter-password"]

  /// - Parameter words: without the program's own name.
  public static func normalized(_ words: [String]) -> [String] {
    var words = words
    // VBoxManage's options before a command.
    while let first = words.first, first == "-q" || first == "--nologo" { words.removeFirst() }
    switch words.first {
    case "-v", "-V": words[0] = "--version"
    case "-?", "-help": words[0] = "--help"
    default: break
    }
    return withDashedValues(words)
  }

  /// `--memory -5` and `--append -s` as one word each, so that the value is not taken for an option.
  private static func withDashedValues(_ words: [String]) -> [String] {
    var result: [String] = []
    var index = 0
    while index < words.count {
      let word = words[index]
      if word == "--" { return result + words[index...] }
      index += 1
      guard word.hasPrefix("--"), !word.contains("="), index < words.count else {
        result.append(word)
        continue
      }
      let next = words[index]
      let isNumber = next.hasPrefix("-") && next.count > 1 && next.dropFirst().allSatisfy { $0.isASCII && $0.isNumber }
      let isText = textOptions.contains(word) && next.hasPrefix("-") && !next.hasPrefix("--")
      if isNumber || isText {
        result.append(word + "=" + next)
        index += 1
      } else {
        result.append(word)
      }
    }
    return result
  }

  /// What is wrong with a command line before it is parsed: a command that is not there, a change of nothing.
  /// - Parameter known: the commands there are.
  /// - Returns: one line, or nil.
  public static func complaint(about words: [String], known: [String]) -> String? {
    guard let first = words.first, !first.hasPrefix("-") else { return nil }
    let isHelp = first == "help"
    if isHelp && words.count == 1 { return nil }
    let command = isHelp ? words[1] : first
    guard known.contains(command) || (isHelp && command.hasPrefix("-")) else {
      return VirtualBoxWords.unknownCommand(command, known: known)
    }
    if first == "modifyvm", words.count == 2, !words[1].hasPrefix("-") {
      return "modifyvm \(words[1]) changes nothing; give the settings to change, as --memory 512"
    }
    return nil
  }

  /// What there is to say beside the parser's own complaint about an option or a verb. nil: nothing more.
  public static func hint(about words: [String], complaint: String, verbs: [String]) -> String? {
    guard let command = words.first else { return nil }
    if complaint.hasPrefix("Unknown option "), let option = quoted(complaint) {
      return VirtualBoxWords.unknownOption(option, of: command)
    }
    if command == "controlvm" || command == "debugvm" || command == "list", complaint.contains("is invalid for"),
      let verb = quoted(complaint)
    {
      if let text = VirtualBoxWords.unknownOption(verb, of: command) { return text }
      return VirtualBoxWords.nearest(verb, in: verbs).map { "the nearest is \"\($0)\"" }
    }
    return nil
  }

  /// What stands between the first pair of quotation marks.
  private static func quoted(_ text: String) -> String? {
    let parts = text.split(separator: "'", maxSplits: 2, omittingEmptySubsequences: false)
    return parts.count == 3 ? String(parts[1]) : nil
  }
}
