/// Text as a shell takes it, for the commands that errors propose.
public enum ShellWord {
  /// `text` as one word: in quotation marks where it needs them.
  public static func quote(_ text: String) -> String {
    let plain = text.allSatisfy { $0.isASCII && ($0.isLetter || $0.isNumber || "-_./:+,=@%".contains($0)) }
    return plain && !text.isEmpty
      ? text : "'" + text.split(separator: "'", omittingEmptySubsequences: false).joined(separator: "'\\''") + "'"
  }
}
